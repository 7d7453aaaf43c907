"""``operando queue campaign``: many items at once."""

import argparse
import json
from typing import TYPE_CHECKING, Protocol

from ._arguments import Command
from ._terminal import OK, REFUSED, complain, say

if TYPE_CHECKING:
    from operando.queueing.campaign import CampaignPlan


class AddVerb(Protocol):
    """Add a verb to the command queue."""

    def __call__(
        self, name: str, command: Command, help: str, more: str = ""
    ) -> argparse.ArgumentParser: ...


def declare(verb: AddVerb) -> None:
    """Add the verb."""
    one = verb(
        "campaign",
        _campaign,
        "add the items of a campaign: samples times protocols times replicates",
        "All are checked before, on the bench of their station, and every reason why it cannot "
        "work is told at once. All are added or none. docs/how-to/plan-a-campaign.md",
    )
    one.add_argument("file", metavar="FILE", help="a campaign file, or a name in protocols/")
    one.add_argument(
        "--dry-run",
        action="store_true",
        help="add nothing; tell times, charge, rows, images and disk of every item",
    )
    one.add_argument(
        "--stations", metavar="NAMES", help="only on these, separated by commas: A1,A2"
    )
    one.add_argument(
        "--again", action="store_true", help="although a campaign of that name was added before"
    )
    one.add_argument("--by", metavar="NAME", help="who does it; by default who is logged in")
    one.add_argument("--json", action="store_true", help="for programs")


def _campaign(arguments: argparse.Namespace) -> int:
    plan, unknown = _planned(arguments)
    if plan.refusals:
        if arguments.json:
            say(json.dumps(plan.data(), indent=1))
        reasons = "\n  ".join(plan.refusals)
        complain(f"campaign {plan.campaign.campaign} cannot work; nothing was added:\n  {reasons}")
        return REFUSED
    if not arguments.dry_run:
        return _add(arguments, plan)
    if arguments.json:
        say(json.dumps(plan.data(), indent=1))
        return OK
    from operando.queueing._campaign_table import plan_text

    say(plan_text(plan))
    if unknown:
        say(f"Which cells are mounted is not known: {unknown}")
    say("Nothing was added (--dry-run).")
    return OK


def _planned(arguments: argparse.Namespace) -> "tuple[CampaignPlan, str]":
    """Return the plan, and why it is not known which cells are mounted; empty: it is."""
    import shutil
    import time

    from operando.configuration import campaign_path, load_stations
    from operando.queueing.campaign import mounts_in, plan_campaign, read_campaign
    from operando.queueing.errors import QueueError
    from operando.settings import data_dir

    stations = load_stations()
    files = read_campaign(campaign_path(arguments.file), stations)
    folder = data_dir()
    there = next(part for part in (folder, *folder.parents) if part.exists())
    unknown = ""
    try:
        mounts = mounts_in(folder, stations)
    except QueueError as error:
        if not arguments.dry_run:
            raise
        mounts, unknown = [], str(error)
    plan = plan_campaign(
        files,
        stations,
        now=time.time(),
        free_b=shutil.disk_usage(there).free,
        only=None if arguments.stations is None else arguments.stations.split(","),
        mounts=mounts,
    )
    return plan, unknown


def _add(arguments: argparse.Namespace, plan: "CampaignPlan") -> int:
    from operando.queueing.campaign import add_campaign, added_before
    from operando.queueing.queue import Queue

    with Queue() as queue:
        known = [item.campaign for item in queue.list()]
        known += [record.campaign for record in queue.history() if record.state != "removed"]
        before = added_before(plan, known)
        if before is not None and not arguments.again:
            told = "the same" if before == "same" else "another content"
            complain(
                f"a campaign {plan.campaign.campaign} was added before, with {told} "
                f"({plan.content} now); nothing was added. --again adds it all the same; or give "
                "it another name, and its cells other labels"
            )
            return REFUSED
        ids = add_campaign(plan, queue, by=arguments.by)
    if arguments.json:
        say(json.dumps(plan.data() | {"ids": ids}, indent=1))
        return OK
    for one in plan.stations:
        say(
            f"Station {one.station}: {len(one.items)} items on {len(one.cells)} cells; mount "
            f"{one.cells[0]} first."
        )
    say(f"Added {len(ids)} items of campaign {plan.tag}.")
    return OK
