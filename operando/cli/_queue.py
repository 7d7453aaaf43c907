"""The command queue: what is to be run, and what people ask of what runs."""

import argparse
from typing import TYPE_CHECKING, Any

from . import _campaign, _ledger
from ._arguments import AddCommand, Command, add_replicate, count, integer
from ._terminal import OK, columns, say, whoever_interrupts_is_told

if TYPE_CHECKING:
    from operando.queueing.model import Command as Asked
    from operando.queueing.queue import Queue


def declare(add: AddCommand) -> None:
    """Add the command with its verbs."""
    sub = add(
        "queue",
        _list,
        "add experiments to the queues of stations, look at them, change them",
        "Without a verb what runs and what is to come is shown. Items are named by their ids, or "
        "by the beginning of one.",
    )
    sub.set_defaults(station=None, json=False)
    verbs = sub.add_subparsers(metavar="VERB", help="what to do with them; by default list")

    def verb(name: str, command: Command, help: str, more: str = "") -> argparse.ArgumentParser:
        description = f"{help[0].upper()}{help[1:]}. {more}".strip()
        one = verbs.add_parser(name, help=help, description=description)
        one.set_defaults(command=command)
        return one

    one = verb(
        "add",
        _add,
        "add a protocol on a sample",
        "It is checked at once against the cell and the limits of the bench, and started when the "
        "station is free and the sample mounted in it. Prints the id of each item.",
    )
    one.add_argument("protocol", metavar="FILE", help="a protocol file, or a name in protocols/")
    one.add_argument(
        "--sample",
        metavar="CELL",
        required=True,
        help="a cell file, a name in cells/, or the label of a mounted cell",
    )
    add_replicate(one)
    _add_station(one, "by default where the sample is mounted, or the only one")
    one.add_argument(
        "--at", metavar="TIME", help='not before: "YYYY-MM-DD HH:MM", local time, or ISO 8601'
    )
    one.add_argument("--after", metavar="ITEM", help="not before that item has ended as done")
    one.add_argument(
        "--priority", type=integer, default=0, metavar="N", help="more is earlier (%(default)s)"
    )
    one.add_argument(
        "--repeat", type=count, default=1, metavar="N", help="so many alike items (%(default)s)"
    )
    one.add_argument("--hold", action="store_true", help="it waits until it is released")
    one.add_argument(
        "--on-death",
        choices=("resume", "skip", "hold"),
        default="",
        help="what is done if the worker dies in it; by default what the station says",
    )
    one.add_argument("--label", metavar="TEXT", default="", help="for people")
    _add_by(one)

    _campaign.declare(verb)

    one = verb("list", _list, "show what runs and what is to come")
    _add_station(one, "only that one")
    _add_json(one)

    one = verb("history", _history, "show what became of items")
    _add_station(one, "only that one")
    one.add_argument("--last", type=count, metavar="N", help="only the last ones")
    _add_json(one)

    _ledger.declare(verb)

    one = verb("move", _move, "change the order of a queue")
    _add_item(one)
    one.add_argument("to", choices=("front", "back", "before", "after"), help="where to")
    one.add_argument("beside", metavar="OTHER", nargs="?", help="before or after which item")

    _add_item(verb("hold", _hold, "keep an item from being started until it is released"))
    _add_item(verb("release", _release, "let an item that is on hold be started"))
    one = verb("remove", _remove, "take an item out of its queue")
    _add_item(one)
    _add_by(one)

    one = verb("pause", _pause, "start no further item in a station; what runs goes on")
    one.add_argument("station", metavar="STATION", help="which")
    _add_why(one)
    one = verb("resume", _resume, "let a paused station start items again")
    one.add_argument("station", metavar="STATION", help="which")

    one = verb("abort", _abort, "end the item that runs in a station; its cell is opened")
    _add_where(one)
    _add_why(one)
    one = verb(
        "stop",
        _stop,
        "end the experiment on a cell: what runs on it and what is to come",
        "Other cells go on. The cell is opened, and nothing more is started on it.",
    )
    one.add_argument("cell", metavar="CELL", help="the label of a mounted cell")
    _add_why(one)
    one = verb(
        "note",
        _note,
        "write a note of the cell of an item into the log book",
        "As operando note, which also takes cells, stations and runs.",
    )
    _add_item(one)
    one.add_argument("text", metavar="TEXT", nargs="+", help="what is noted")
    _add_by(one)
    one = verb("skip-step", _skip_step, "end the step that runs, and go on with the next one")
    _add_where(one)
    _add_by(one)
    one = verb(
        "amend",
        _amend,
        "go on with a changed protocol from the next half-cycle on",
        "It is checked before; old and new are recorded.",
    )
    _add_where(one)
    one.add_argument("protocol", metavar="FILE", help="a protocol file, or a name in protocols/")
    _add_why(one)


def _add_station(parser: argparse.ArgumentParser, more: str) -> None:
    parser.add_argument("--station", metavar="STATION", help=f"of which station; {more}")


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("where", metavar="STATION|CELL", help="in which something runs")


def _add_item(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("item", metavar="ITEM", help="an id, or the beginning of one")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_by(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", metavar="NAME", help="who does it; by default who is logged in")


def _add_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", metavar="TEXT", default="", help="why, for the record")
    _add_by(parser)


def _queue() -> "Queue":
    from operando.queueing.queue import Queue

    return Queue()


def _add(arguments: argparse.Namespace) -> int:
    asked: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in (
            *("protocol", "sample", "station", "at", "after", "priority", "repeat", "hold"),
            *("on_death", "label", "by", "replicate"),
        )
        if getattr(arguments, name) is not None
    }
    from operando.queueing.desk import add_at_desk
    from operando.settings import data_dir

    # The supervisor does it in a tenth of the time that it takes here.
    with whoever_interrupts_is_told("operando queue list tells whether it was added"):
        items = add_at_desk(data_dir(), asked)
        if items is None:
            with _queue() as queue:
                items = queue.add(**asked)
    for item in items:
        say(item)
    return OK


def _list(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        found = queue.list(arguments.station)
    say(found.json() if arguments.json else found.text(columns()))
    return OK


def _history(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        found = queue.history(arguments.station, arguments.last)
    say(found.json() if arguments.json else found.text(columns()))
    return OK


def _move(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        which = queue.move(arguments.item, arguments.to, arguments.beside)
    place = f"{arguments.to} {arguments.beside}" if arguments.beside else f"to the {arguments.to}"
    say(f"{which} was moved {place}.")
    return OK


def _hold(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        which = queue.hold(arguments.item)
    say(f"{which} is on hold: operando queue release {arguments.item[:8]} lets it be started.")
    return OK


def _release(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        which = queue.release(arguments.item)
    say(f"{which} may be started.")
    return OK


def _remove(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        which = queue.remove(arguments.item, by=arguments.by)
    say(f"{which} was removed.")
    return OK


def _note(arguments: argparse.Namespace) -> int:
    written = _queue().note(arguments.item, " ".join(arguments.text), by=arguments.by)
    say(f"Noted: {written.line}")
    return OK


def _pause(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        state = queue.pause(arguments.station, arguments.why, arguments.by)
    runs = f"; item {state.item[:8]} goes on" if state.item else ""
    say(f"Station {state.name} starts no further item{runs}.")
    return OK


def _resume(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        state = queue.resume(arguments.station)
    say(f"Station {state.name} starts items again.")
    return OK


def _answer(queue: "Queue", where: str, asked: "Asked") -> None:
    """Say what the station of a cell says to something that was asked of the item that runs."""
    station = queue.station_of(where)
    what = f"{asked.do.replace('_', '-')} was asked of station {station}, and is not taken back"
    with whoever_interrupts_is_told(f"{what}: operando queue list"):
        said = queue.answer(station, asked)
    say(f"Station {station}, item {(asked.item or '')[:8]}: {said}")


def _abort(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        command = queue.abort(arguments.where, arguments.why, arguments.by)
        _answer(queue, arguments.where, command)
    return OK


def _stop(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        asked = queue.stop(arguments.cell, arguments.why, arguments.by)
        if asked is None:
            say(f"Nothing runs on {arguments.cell}, and nothing more will.")
        else:
            _answer(queue, arguments.cell, asked)
    return OK


def _skip_step(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        _answer(queue, arguments.where, queue.skip_step(arguments.where, arguments.by))
    return OK


def _amend(arguments: argparse.Namespace) -> int:
    with _queue() as queue:
        asked = queue.amend(arguments.where, arguments.protocol, arguments.why, arguments.by)
        _answer(queue, arguments.where, asked)
    return OK
