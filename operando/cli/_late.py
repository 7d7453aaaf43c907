"""Commands for results that arrive when a run has ended: attach, collect."""

import argparse
import json
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
        "touched. The file's time is what it tells, else when it was last written.",
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
    from operando.attachments import attach, file_parts
    from operando.readers import FORMATS, read
    from operando.runs import Run
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uid = resolve_run(folder, arguments.run)
    kind = arguments.kind
    if kind is not None and kind not in FORMATS:
        complain(f"there is no kind {kind!r}; there are {', '.join(FORMATS)}")
        return FAILED
    name = arguments.name or kind or read(arguments.file).source.format
    late = file_parts(
        arguments.file, device=name, format=kind, clock_offset_s=arguments.clock_offset
    )
    parts = late.parts(Run.from_journal(uid, folder, chain=False))
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
        clock_offset_s=arguments.clock_offset,
        told={"told": dict(late.told or {})},
    )
    rows = ", ".join(f"{len(part.time)} rows of {part.stream}" for part in parts)
    say(f"{arguments.file.name} is attached to run {uid[:8]} as {attached[:8]}: {rows}")
    return OK


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
