"""The command on the catalog."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ._arguments import AddCommand
from ._run_names import resolve_run
from ._terminal import FAILED, OK, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operando.catalog import CatalogStatus, Verification


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "catalog",
        _catalog,
        "the searchable copy of the journals, for databroker",
        "verify compares runs with their journals, every row and every value, and ends with 1 if "
        "anything differs. repair closes runs whose process died, takes in anew what differs, and "
        "begins a damaged catalog anew; it may be used at any time.",
    )
    sub.add_argument(
        "verb",
        choices=("status", "start", "stop", "verify", "repair", "rebuild"),
        help="status: does it serve, is it complete; rebuild: make it anew from the journals",
    )
    sub.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="verify, repair: a uid, the beginning of one, or last; by default last for verify, "
        "all for repair",
    )
    sub.add_argument("--all", action="store_true", help="verify, repair: all runs of the folder")
    sub.add_argument("--json", action="store_true", help="status, verify, repair: as JSON")


def _catalog(arguments: argparse.Namespace) -> int:
    from operando import catalog
    from operando.settings import data_dir, existing_data_dir

    # A service may be there before the first run; all else is about runs that are there.
    folder = data_dir() if arguments.verb == "start" else existing_data_dir()
    match arguments.verb:
        case "start":
            service = catalog.ensure_service(folder, wait_s=120.0)
            # Another folder may have taken the name since the service started.
            catalog.write_profile(folder)
            say(f"The catalog of {folder} serves at {service.uri} (process {service.pid}).")
        case "stop":
            stopped = catalog.stop_service(folder)
            say("Stopped." if stopped else "It did not run.")
        case "rebuild":
            service = catalog.rebuild_catalog(folder)
            say(f"A new catalog serves at {service.uri}; runs enter it from the journals.")
            for uid, why in service.kept.items():
                say(f"{uid[:8]}  {why}")
            if service.aside:
                say(
                    f"The old one is {service.aside}: delete it when `operando catalog verify "
                    "--all` finds no difference."
                )
        case "verify":
            return _verify_catalog(arguments, folder)
        case "repair":
            return _repair_catalog(arguments, folder)
        case _:
            told = catalog.status(folder)
            if arguments.json:
                say(json.dumps(dataclasses.asdict(told), indent=2))
            else:
                _say_catalog(told, folder)
    return OK


def _verify_catalog(arguments: argparse.Namespace, folder: Path) -> int:
    from operando.catalog import verify_runs
    from operando.journal import list_runs

    if arguments.all or not arguments.runs:
        uids = [run.uid for run in list_runs(folder)]
        if not uids:
            say("[]" if arguments.json else f"No runs in {folder} yet.")
            return OK
    if not arguments.all:
        uids = [resolve_run(folder, text) for text in arguments.runs or ["last"]]
    outcomes = []
    for outcome in verify_runs(uids, folder):
        outcomes.append(outcome)
        if not arguments.json:
            rows = sum(outcome.rows.values())
            frames = sum(outcome.frames.values())
            verdict = "same" if outcome.same else "DIFFERS"
            lasts = ", still being written" * outcome.lasts
            say(f"{outcome.uid[:8]}  {verdict:7}  {rows:>10} rows  {frames:>8} in files{lasts}")
            for difference in outcome.damage + outcome.differences:
                say(f"          {difference}")
    differing = sum(not outcome.same for outcome in outcomes)
    if arguments.json:
        told = [{**dataclasses.asdict(outcome), "same": outcome.same} for outcome in outcomes]
        say(json.dumps(told, indent=2))
    elif differing:
        differ = "run differs" if len(outcomes) == 1 else "runs differ"
        say(f"{differing} of {len(outcomes)} {differ}.")
        _say_cures(outcomes, folder)
    elif len(outcomes) == 1:
        say("The run is the same in journal and catalog.")
    else:
        say(f"{len(outcomes)} runs are the same in journal and catalog.")
    return FAILED if differing else OK


def _say_cures(outcomes: "Sequence[Verification]", folder: Path) -> None:
    """Say of runs that differ whether a repair cures them, or where else their rows are."""
    from operando.catalog import left_by_repair

    left = left_by_repair([one for one in outcomes if not one.same], folder)
    for uid, held in left.items():
        if held:
            say(
                f"{uid[:8]}  the catalog holds what its journal lacks: read it with operando "
                f"report {uid[:8]} --from catalog"
            )
        else:
            say(f"{uid[:8]}  the catalog holds what can be read of its journal")
    if left:
        say("operando catalog repair changes nothing there.")
    if any(not one.same and one.uid not in left for one in outcomes):
        say("Cure: operando catalog repair")


def _repair_catalog(arguments: argparse.Namespace, folder: Path) -> int:
    from operando.catalog import repair

    uids = None
    if arguments.runs and not arguments.all:
        uids = [resolve_run(folder, text) for text in arguments.runs]
    done = []
    for repaired in repair(folder, uids):
        done.append(repaired)
        if not arguments.json:
            what = repaired.uid[:8] or "catalog"
            say(f"{what:8}  {repaired.found}\n          -> {repaired.done}")
    if arguments.json:
        say(json.dumps([dataclasses.asdict(repaired) for repaired in done], indent=2))
    elif not done:
        say("Nothing was wrong.")
    return OK if all(repaired.cured for repaired in done) else FAILED


def _say_catalog(status: "CatalogStatus", folder: Path) -> None:
    service = "serves" if status.ready else "is starting" if status.running else "does not run"
    say(f"data folder    {folder} ({status.free_bytes / 1e9:.1f} GB free)")
    say(f"service        {service}")
    if status.shared:
        say(f"shared catalog {status.shared}")
    if status.away:
        say(f"  does not answer: {status.away}")
    say(f"journals       {_runs_told(status.runs)}, {status.journal_bytes / 1e6:.1f} MB")
    say(f"catalog        {_runs_told(status.ingested)} whole, {status.catalog_bytes / 1e6:.1f} MB")
    for uid, missing in status.behind.items():
        say(f"  {uid[:8]} is behind by {missing} bytes")
    for uid, error in status.errors.items():
        say(f"  {uid[:8]} cannot be taken in: {error}")
    for uid in status.unfinished:
        say(f"  {uid[:8]} was never closed: its process died")
    for uid in status.damaged:
        say(f"  {uid[:8]} has a damaged journal: operando catalog verify {uid[:8]}")
    for cut in status.cuts:
        say(f"  {cut} was cut off a damaged journal")
    for uid in status.more:
        say(f"  {uid[:8]} has more rows in the catalog than in its journal; both are kept")
    say(f"in Python      databroker.catalog[{_profile(folder)!r}]")


def _runs_told(count: int) -> str:
    return f"{count} run" + "s" * (count != 1)


def _profile(folder: Path) -> str:
    from operando.catalog import profile_name

    return profile_name(folder)
