"""Commands for results that arrive when a run has ended: attach, collect."""

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from ._arguments import AddCommand, add_bench_file
from ._run_names import resolve_run
from ._terminal import FAILED, OK, complain, say


def declare(add: AddCommand) -> None:
    """Add the commands."""
    sub = add(
        "attach",
        _attach,
        "attach a file to a run that has ended",
        "Its rows become part of the run for whoever reads it; the run's own journal is not "
        "touched. The file's time is what it tells, else when it was last written; one that is not "
        "the run's is refused. The same file with another clock, name or reader takes the place "
        "of what was attached.",
    )
    sub.add_argument("run", metavar="RUN", help="a uid, the beginning of one, or last")
    sub.add_argument("file", metavar="FILE", type=Path, help="what arrived")
    sub.add_argument(
        "--as", dest="kind", metavar="KIND", help="how it is read; by default by its ending"
    )
    sub.add_argument(
        "--name", metavar="NAME", help="of the stream and the instrument; by default the kind's"
    )
    sub.add_argument(
        "--clock-offset",
        type=float,
        default=0.0,
        metavar="S",
        help="how far the instrument's clock was ahead of this computer's, s (0)",
    )
    sub.add_argument(
        "--time-zone",
        metavar="ZONE",
        help="of times in the file that tell none, such as Europe/Berlin; by default this "
        "computer's",
    )
    sub.add_argument(
        "--duration",
        type=float,
        default=0.0,
        metavar="S",
        help="how long the measurement took, where the file tells one end of it alone, s",
    )
    sub.add_argument(
        "--anyway",
        action="store_true",
        help="attach it although its time is none of the run's",
    )
    sub.add_argument(
        "--instead-of",
        metavar="ATTACHMENT",
        default="",
        help="take the place of what was attached to this or another run by mistake",
    )

    sub = add(
        "collect",
        _collect,
        "attach what instruments of a bench have handed over since their runs ended",
        "Every place where results appear is looked at. What belongs to no run is kept and told "
        "each time. A session does the same when it connects. Ends with 1 if a place could not "
        "be looked at or a file not be read.",
    )
    add_bench_file(sub)
    sub.add_argument("--json", action="store_true", help="as one object")


def _attach(arguments: argparse.Namespace) -> int:
    from operando.attachments import (
        AROUND_S,
        FileClock,
        attach,
        attached_to,
        file_parts,
        missed_by_s,
    )
    from operando.readers import FORMATS, read
    from operando.runs import Run
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uid = resolve_run(folder, arguments.run)
    kind = arguments.kind
    if kind is not None and kind not in FORMATS:
        complain(f"there is no kind {kind!r}; there are {', '.join(FORMATS)}")
        return FAILED
    zone = arguments.time_zone
    if zone is not None and not _is_zone(zone):
        complain(f"there is no time zone {zone!r}; write it like Europe/Berlin or UTC")
        return FAILED
    clock = FileClock(
        offset_s=arguments.clock_offset, time_zone=zone, duration_s=arguments.duration
    )
    name = arguments.name or kind or read(arguments.file).source.format
    late = file_parts(arguments.file, device=name, format=kind, clock=clock)
    instead_of = arguments.instead_of and resolve_run(folder, arguments.instead_of)
    run = Run.from_journal(uid, folder, chain=False, without=[instead_of])
    missed = missed_by_s(late, run)
    if missed > AROUND_S and not arguments.anyway:
        complain(
            f"{arguments.file.name} was begun at {_told(late.started)} (by "
            f"{(late.told or {}).get('time_from')}), {missed:.0f} s away from run {uid[:8]}, which "
            f"lasted from {_told(run.start['time'])} to {_told((run.stop or {}).get('time'))}; if "
            "it is of that run, tell how its clock was wrong (--clock-offset, --time-zone), or "
            "attach it with --anyway"
        )
        return FAILED
    parts = late.parts(run)
    if not parts:
        say(f"{arguments.file.name} is among the rows of run {uid[:8]} already")
        return OK
    attached = attach(
        folder,
        uid,
        parts,
        late.source,
        kind=late.kind,
        instrument=arguments.name or "",
        clock_offset_s=clock.offset_s,
        told={"told": dict(late.told or {}), "declared": {"reader": kind or "", **clock.told()}},
        instead_of=instead_of,
    )
    rows = ", ".join(f"{len(part.time)} rows of {part.stream}" for part in parts)
    (start,) = (one for one in attached_to(folder, uid) if one["uid"] == attached)
    before = start["attachment"].get("supersedes")
    instead = f", in place of {before[:8]}" if before else ""
    say(f"{arguments.file.name} is attached to run {uid[:8]} as {attached[:8]}{instead}: {rows}")
    return OK


def _is_zone(name: str) -> bool:
    """Return whether a time zone is known by that name."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def _told(epoch_s: float | None) -> str:
    if epoch_s is None:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch_s))


def _collect(arguments: argparse.Namespace) -> int:
    from operando.late import collect_late
    from operando.settings import existing_data_dir

    from ._bench import bench_file

    folder = existing_data_dir()
    found, troubles = collect_late(folder, bench_file(arguments))
    bad = bool(troubles) or any(one.outcome == "unreadable" for one in found)
    if arguments.json:
        say(json.dumps({"results": [asdict(one) for one in found], "troubles": troubles}, indent=2))
        return FAILED if bad else OK
    for trouble in troubles:
        complain(trouble)
    for one in found:
        if one.outcome in ("present", "older"):
            continue
        told = f"{one.instrument}: {one.name} {one.outcome}"
        told += f" to run {one.uid[:8]}" if one.outcome == "attached" else ""
        told += f" ({one.reason})" if one.reason else ""
        say(told)
    counts = Counter(one.outcome for one in found)
    say(
        ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        if counts
        else "Nothing new."
    )
    return FAILED if bad else OK
