"""The command daily: one figure and one table of all stations."""

import argparse
from pathlib import Path

from ._arguments import AddCommand
from ._terminal import OK, say


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


def _daily(arguments: argparse.Namespace) -> int:
    from operando.queueing.daily import table, write_day
    from operando.settings import existing_data_dir

    day, figure, text = write_day(existing_data_dir(), arguments.date, arguments.out)
    say(table(day))
    say(f"Written: {figure}, {text}")
    return OK
