"""Commands that say which cell is in which station: mount, unmount, mounts."""

import argparse
import getpass
import json
import sys
import time

from ._arguments import AddCommand, add_replicate
from ._terminal import FAILED, OK, columns, complain, say


def declare(add: AddCommand) -> None:
    """Add the commands."""
    sub = add(
        "mount",
        _mount,
        "say which cell was put into a station, and have it looked at",
        "Shown is what has to hang where; who says yes has looked. Then the station measures the "
        "open circuit and the series resistance (an impedance of 5 mV), and both are compared with "
        "the cell's record, else with what its file implies. What does not fit is told, and the "
        "cell is not mounted. Nothing is ever started on a cell that is not mounted. Ends with 1 "
        "if something speaks against the cell.",
    )
    sub.add_argument("cell", metavar="CELL", help="a cell file, or a name in cells/")
    _add_station(sub)
    add_replicate(sub)
    _add_by(sub)
    sub.add_argument("--yes", action="store_true", help="do not ask: somebody has looked")
    sub.add_argument(
        "--accept",
        action="store_true",
        help="mount it although something speaks against it; recorded",
    )
    sub.add_argument(
        "--again", metavar="WHY", default="", help="mount it although it is finished; recorded"
    )

    sub = add(
        "unmount",
        _unmount,
        "say that the cell of a station was taken out",
        "Refused while something runs on it. A finished cell stays finished.",
    )
    _add_station(sub)
    _add_by(sub)
    sub.add_argument("--why", metavar="TEXT", default="", help="for the log book")

    sub = add("mounts", _mounts, "show which cell is in which station")
    sub.add_argument("--json", action="store_true", help="as a list of objects")


def _add_station(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--station", metavar="STATION", required=True, help="where")


def _add_by(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--by", metavar="NAME", default=None, help="who; by default the user of this computer"
    )


def _mount(arguments: argparse.Namespace) -> int:
    from operando.configuration import load_cell
    from operando.queueing.errors import QueueError
    from operando.queueing.mounting import Mounting, what_to_look_at
    from operando.settings import data_dir

    cell = load_cell(arguments.cell)
    if arguments.replicate is not None:
        cell = cell.model_copy(update={"cell_id": f"{cell.cell_id}-{arguments.replicate}"})
    mounting = Mounting(data_dir())
    mounting.refuse(cell, arguments.station, arguments.again)
    for line in what_to_look_at(cell, arguments.station):
        say(line)
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise QueueError(
                "somebody has to look at the cell and say yes: answer at a terminal, or say --yes"
            )
        if not _confirmed():
            complain("nothing is mounted")
            return FAILED
    done = mounting.mount(
        cell,
        arguments.station,
        arguments.by or getpass.getuser(),
        accept=arguments.accept,
        again=arguments.again,
        say=say,
    )
    for sentence in done.verdict.told:
        say(f"  {sentence}")
    for sentence in done.verdict.findings:
        say(f"  NOT AS EXPECTED: {sentence}")
    if not done.kept:
        complain(
            f"cell {cell.cell_id} is not mounted. If it is right all the same: --accept mounts it, "
            "and records that you said so"
        )
        return FAILED
    accepted = ", accepted as it is" if done.mount.accepted else ""
    say(f"Cell {cell.cell_id} is mounted in station {arguments.station}{accepted}.")
    return OK


def _confirmed() -> bool:
    sys.stdout.write("Type yes if it is so: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("yes", "y")


def _unmount(arguments: argparse.Namespace) -> int:
    from operando.queueing.mounting import Mounting
    from operando.settings import existing_data_dir

    mounting = Mounting(existing_data_dir())
    mount = mounting.unmount(arguments.station, arguments.by or getpass.getuser(), arguments.why)
    finished = f", finished ({mount.why_finished})" if mount.state == "finished" else ""
    say(f"Cell {mount.cell_id} is not in station {arguments.station} any more{finished}.")
    return OK


def _mounts(arguments: argparse.Namespace) -> int:
    from operando.queueing.listing import table
    from operando.queueing.mounting import Mounting
    from operando.settings import existing_data_dir

    found = Mounting(existing_data_dir()).mounts()
    if arguments.json:
        say(json.dumps([mount.model_dump(mode="json") for mount in found], indent=2))
        return OK
    if not found:
        say("No cell is mounted: operando mount CELL --station STATION")
        return OK
    rows = []
    for mount in found:
        state = f"finished: {mount.why_finished}" if mount.state == "finished" else "mounted"
        if mount.accepted:
            state += f", accepted although: {'; '.join(mount.findings)}"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(mount.at))
        volts = "-" if mount.ocv_v is None else f"{mount.ocv_v:.4f}"
        ohms = "-" if mount.series_ohm is None else f"{mount.series_ohm:.4g}"
        rows.append((mount.station, mount.cell_id, when, mount.by, volts, ohms, state))
    heads = ("station", "cell", "since", "by", "OCV / V", "Rs / ohm", "state")
    say(table(heads, rows, columns()))
    return OK
