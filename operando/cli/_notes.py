"""Commands of the log book: note, notes."""

import argparse
import json
import time
from datetime import datetime

from ._arguments import AddCommand
from ._run_names import resolve_run
from ._terminal import OK, say


def declare(add: AddCommand) -> None:
    """Add the commands."""
    sub = add(
        "note",
        _note,
        "write a note into the log book, with the time",
        "At any moment, of a cell, a station, a run, or none of them. It is shown in the reports "
        "of what was measured on that cell at that time. A note of a station is one of the cell "
        "in it, and of the run that goes on there.",
    )
    sub.add_argument("text", metavar="TEXT", nargs="+", help="what is noted")
    sub.add_argument("--cell", metavar="CELL", help="of which cell: its label")
    sub.add_argument("--station", metavar="STATION", help="of which station")
    sub.add_argument("--run", metavar="RUN", help="of which run: a uid, the beginning of one, last")
    sub.add_argument(
        "--by", metavar="NAME", default=None, help="who; by default the user of this computer"
    )

    sub = add("notes", _notes, "show the notes of the log book")
    sub.add_argument("--cell", metavar="CELL", help="only those of this cell")
    sub.add_argument("--station", metavar="STATION", help="only those of this station")
    sub.add_argument(
        "--since", metavar="TIME", help='only those since "YYYY-MM-DD HH:MM", local time'
    )
    sub.add_argument("--json", action="store_true", help="as a list of objects")


def _note(arguments: argparse.Namespace) -> int:
    from operando.queueing._labels import check_label
    from operando.queueing.noting import note
    from operando.settings import data_dir

    folder = data_dir()
    run = None if arguments.run is None else resolve_run(folder, arguments.run)
    station = None if arguments.station is None else _known(arguments.station)
    if arguments.cell is not None:
        check_label(folder, arguments.cell)
    written = note(
        folder,
        " ".join(arguments.text),
        by=arguments.by,
        station=station,
        cell_id=arguments.cell,
        run=run,
    )
    say(f"Noted: {written.line}")
    return OK


def _known(station: str) -> str:
    """Return a station that there is; where no file tells of stations, any."""
    from operando.configuration import ConfigurationError, load_stations
    from operando.queueing.queue import Queue

    try:
        if load_stations().station(station) is not None:
            return station
    except ConfigurationError:
        return station
    with Queue() as queue:
        return queue.station_of(station)


def _notes(arguments: argparse.Namespace) -> int:
    from operando.logbook import NoteError, notes
    from operando.settings import existing_data_dir

    since = None
    if arguments.since is not None:
        try:
            since = datetime.fromisoformat(arguments.since).astimezone().timestamp()
        except ValueError:
            raise NoteError(
                f"{arguments.since!r} is no time: write YYYY-MM-DD or YYYY-MM-DD HH:MM"
            ) from None
    found = notes(existing_data_dir(), arguments.cell, arguments.station, since)
    if arguments.json:
        say(json.dumps([note.model_dump(exclude_none=True) for note in found], indent=2))
        return OK
    for note in found:
        say(note.line)
    if not found:
        say(f"Nothing was noted ({time.strftime('%Y-%m-%d %H:%M')}).")
    return OK
