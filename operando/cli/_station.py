"""The command station: what runs cells unattended is started, stopped and looked at."""

import argparse
import getpass
import json
import time
from typing import TYPE_CHECKING, Any, cast

from ._arguments import AddCommand, add_decisions, decided
from ._terminal import OK, REFUSED, columns, complain, say, whoever_interrupts_is_told

if TYPE_CHECKING:
    from operando.queueing.control import Control, Shown
    from operando.queueing.decided import Decided


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "station",
        _status,
        "start, stop and look at the stations that run queues of experiments unattended",
        "A station is the instruments of one cell (a bench file) with a queue of its own; which "
        "there are is told in config/stations.yaml ($OPERANDO_STATIONS names another file).",
    )
    sub.set_defaults(names=[], json=False)
    parts = sub.add_subparsers(metavar="WHAT")

    def part(name: str, command: Any, about: str) -> argparse.ArgumentParser:
        one = parts.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        one.set_defaults(command=command)
        return one

    start = part(
        "start",
        _start,
        "open stations, and keep them open, also after the computer was started anew; a "
        "supervisor is started if none runs",
    )
    start.add_argument("names", nargs="*", metavar="STATION", help="by default all")
    start.add_argument(
        "--no-wait", action="store_true", help="do not wait until their workers are open"
    )
    stop = part("stop", _stop, "close stations; their queues are kept")
    stop.add_argument("names", nargs="*", metavar="STATION", help="at least one, or --all")
    stop.add_argument(
        "--all",
        action="store_true",
        help="all stations, and end everything that was started for them: queue servers, "
        "simulated benches, the supervisor, and Redis if it is ours",
    )
    stop.add_argument(
        "--abort", action="store_true", help="also if an item runs: it is ended, the cell opened"
    )
    status = part("status", _status, "tell how stations are")
    status.add_argument("names", nargs="*", metavar="STATION", help="by default all")
    status.add_argument("--json", action="store_true", help="for programs")
    part("list", _list, "list the stations of the file, with bench, policy and supply")
    decide = part(
        "decide",
        _decide,
        "say how a station that is held goes on: with its item where it stood (resume), with the "
        "next item (skip), or with the next, the item counting as failed (fail)",
    )
    decide.add_argument("name", metavar="STATION")
    decide.add_argument("do", choices=("resume", "skip", "fail"))
    decide.add_argument("--by", metavar="NAME", help="who decided (by default who you are here)")
    add_decisions(decide)
    mains = part(
        "mains",
        _status,
        "say that the mains are lost, or back: for the scripts of a UPS (NUT, apcupsd), and by "
        "hand; nothing begins until they are back",
    )
    said = mains.add_subparsers(metavar="lost|back", required=True)
    about = "they are lost, or, with --low, the battery is about to be empty as well"
    lost = said.add_parser("lost", help=about, description=f"Say that {about}.")
    about = "they are back: what is held for them goes on behind a look at its cell"
    back = said.add_parser("back", help=about, description=f"Say that {about}.")
    for one in (lost, back):
        one.set_defaults(command=_mains, back=one is back, low=False, battery_min=None)
        one.add_argument("names", nargs="*", metavar="STATION", help="by default all")
        one.add_argument("--why", default="", metavar="TEXT", help="what the UPS, or you, tell")
        one.add_argument("--by", metavar="NAME", help="who says so (by default who you are here)")
    lost.add_argument(
        "--low",
        action="store_true",
        help="the battery is about to be empty: what runs is ended now, its cell opened, and held",
    )
    lost.add_argument(
        "--battery-min",
        type=float,
        metavar="MINUTES",
        help="how long the battery lasts, as the UPS tells: what runs is ended when half of it is "
        "over",
    )
    part(
        "serve",
        _serve,
        "be the supervisor, in the foreground: for systemd and the like; end it at any time, "
        "workers go on and the next supervisor takes over",
    )


def _control() -> "Control":
    from operando.queueing.control import Control
    from operando.settings import data_dir

    return Control(data_dir())


def _start(arguments: argparse.Namespace) -> int:
    control = _control()
    names = control.known(arguments.names)
    if control.start(names):
        say("A supervisor was started.")
    if arguments.no_wait:
        return OK
    refused = 0
    for name in names:
        with whoever_interrupts_is_told("stations go on to open: operando station status"):
            shown = control.wait_until_open(name)
        if shown.is_open:
            say(f"    {name:<12} {shown.told}")
        else:
            refused += 1
            complain(f"station {name} is not open: {shown.told}")
    return REFUSED if refused else OK


def _stop(arguments: argparse.Namespace) -> int:
    control = _control()
    if bool(arguments.names) == bool(arguments.all):
        complain("which stations are to be stopped? Name them, or --all")
        return REFUSED
    if arguments.all:
        with whoever_interrupts_is_told("stations go on to close: operando station status"):
            control.stop_all(abort=arguments.abort, by=getpass.getuser(), say=say)
        say("Everything has ended. The queues are kept.")
        return OK
    names = control.known(arguments.names)
    with whoever_interrupts_is_told("stations go on to close: operando station status"):
        control.stop(names, abort=arguments.abort, by=getpass.getuser())
    for name in names:
        say(f"    {name:<12} closed")
    return OK


def _status(arguments: argparse.Namespace) -> int:
    control = _control()
    names = control.known(arguments.names)
    shown = [control.shown(name) for name in names]
    if arguments.json:
        say(json.dumps([one.as_json() for one in shown], indent=1))
        return OK
    alive = control.supervisor_lives
    say("The supervisor runs." if alive else "No supervisor runs: operando station start")
    _table(shown)
    return OK


def _table(shown: "list[Shown]") -> None:
    from operando.queueing.listing import table

    rows = [
        (
            one.name,
            one.state,
            "" if not one.since else time.strftime("%d %b %H:%M", time.localtime(one.since)),
            one.cell,
            (one.item or "")[:8],
            str(one.waiting),
            one.why,
        )
        for one in shown
    ]
    say(table(("station", "state", "since", "cell", "item", "queue", "why"), rows, columns()))


def _list(arguments: argparse.Namespace) -> int:
    del arguments
    control = _control()
    from operando.queueing.listing import table

    rows = [
        (
            one.name,
            one.bench,
            "" if one.simulate is None else f"{one.simulate.cell} x{one.simulate.factor:g}",
            one.on_death,
            one.supply,
        )
        for one in control.file.stations
    ]
    say(table(("station", "bench", "simulated cell", "after a death", "supply"), rows, columns()))
    return OK


def _decide(arguments: argparse.Namespace) -> int:
    control = _control()
    (name,) = control.known([arguments.name])
    told = decided(arguments)
    by = arguments.by or getpass.getuser()
    control.decide(name, arguments.do, by=by, decisions=cast("Decided", told))
    say(f"Station {name}: decided, {arguments.do}.")
    return OK


def _mains(arguments: argparse.Namespace) -> int:
    control = _control()
    names = control.known(arguments.names)
    by = arguments.by or getpass.getuser()
    if arguments.back:
        failed = control.mains_back(names, by=by, why=arguments.why)
    else:
        failed = control.mains_lost(
            names,
            by=by,
            why=arguments.why,
            low=arguments.low,
            battery_min=arguments.battery_min,
        )
    say(f"The mains are {'back' if arguments.back else 'lost'}: {', '.join(names)}.")
    for text in failed:
        complain(text)
    if not control.supervisor_lives:
        complain(
            "no supervisor runs: what is to be ended, or to go on, it does when it is started: "
            "operando station start"
        )
        return REFUSED
    return OK


def _serve(arguments: argparse.Namespace) -> int:
    del arguments
    import logging

    from operando.queueing.supervisor._serve import serve
    from operando.settings import data_dir

    logging.getLogger("operando").setLevel(logging.WARNING)
    return serve(data_dir())
