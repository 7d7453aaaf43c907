"""The command retention: what of the raw data was exported and may go."""

import argparse

from ._arguments import AddCommand, not_negative
from ._terminal import OK, complain, say


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "retention",
        _retention,
        "which images and spectra were exported and may be deleted",
        "Only those of experiments that ended as planned, and whose complete export (rocrate, or "
        "nexus without --link) is still there, byte by byte. Journals are never deleted. Without "
        "--delete nothing is.",
    )
    sub.add_argument(
        "--older-than",
        type=not_negative,
        metavar="DAYS",
        help="of runs that ended so long ago (by default delete_exported_after_days of the file of "
        "stations)",
    )
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="only tell; the default")
    what.add_argument("--delete", action="store_true", help="delete what may go")


def _retention(arguments: argparse.Namespace) -> int:
    from operando.configuration import load_stations
    from operando.queueing.disk import space
    from operando.queueing.retention import delete, judge, runs_in_use
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    stations = load_stations()
    days = arguments.older_than
    if days is None:
        days = stations.retention.delete_exported_after_days
    in_use, problem = runs_in_use(folder, stations)
    if problem:
        complain(problem)
    freed = may = 0
    for verdict in judge(folder, days, in_use):
        named = f"{verdict.run.uid[:8]}  {verdict.run.sample:<24} {_size(verdict.bytes):>9}"
        if verdict.why:
            say(f"{named}  stays: {verdict.why}")
            continue
        assert verdict.export is not None
        may += verdict.bytes
        if arguments.delete:
            freed += delete(folder, verdict)
            say(f"{named}  deleted; exported to {verdict.export.path}")
        else:
            say(f"{named}  may go: exported to {verdict.export.path}")
    if arguments.delete:
        say(f"Deleted: {_size(freed)}. {space(folder, stations.retention)}.")
    else:
        say(f"May go: {_size(may)} (--delete). {space(folder, stations.retention)}.")
    return OK


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
