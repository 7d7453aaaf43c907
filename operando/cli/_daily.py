"""The command daily: one figure and one table of all stations."""

import argparse
from pathlib import Path

from ._arguments import AddCommand
from ._terminal import OK, complain, say


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "daily",
        _daily,
        "the day at all stations: a figure and a table of every cell that ran",
        "Coulombic efficiency or overpotential by cycle, cycles done, time left, alarms; of runs "
        "that go on, too. The supervisor makes them every day (daily_at) and sends them.",
    )
    sub.add_argument("--date", metavar="DATE", help="2026-11-27; by default the 24 hours until now")
    sub.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where to (by default state/daily of the data folder)",
    )
    sub.add_argument(
        "--send", action="store_true", help="also send both to whom alerts go (operando alerts)"
    )


def _daily(arguments: argparse.Namespace) -> int:
    from operando.configuration import load_stations
    from operando.queueing._known_records import known_records
    from operando.queueing.daily import table, write_day
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    stations = load_stations()
    records, problem = known_records(folder, stations)
    if problem:
        complain(f"what the queues tell is not in it: {problem}")
    day, figure, text = write_day(folder, arguments.date, arguments.out, records=records)
    told = table(day)
    say(told)
    say(f"Written: {figure}, {text}")
    if arguments.send:
        from operando.queueing.alerts import Alerts

        alerts = Alerts(stations.alerts, folder)
        alerts.send("daily", day.title, told, attach=[figure])
        # The supervisor sends it if there is one, else it is sent from here.
        alerts.close(timeout_s=30.0)
    return OK
