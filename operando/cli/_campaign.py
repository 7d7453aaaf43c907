"""``operando queue campaign``: many items at once."""

import argparse
import json
from typing import Protocol

from ._arguments import Command
from ._terminal import OK, REFUSED, complain, say


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
    from operando.queueing.campaign import add_campaign, plan_now

    only = None if arguments.stations is None else arguments.stations.split(",")
    plan = plan_now(arguments.file, only)
    if plan.refusals:
        if arguments.json:
            say(json.dumps(plan.data(), indent=1))
        reasons = "\n  ".join(plan.refusals)
        complain(f"campaign {plan.campaign.campaign} cannot work; nothing was added:\n  {reasons}")
        return REFUSED
    ids: list[str] = []
    if not arguments.dry_run:
        from operando.queueing.queue import Queue

        with Queue() as queue:
            ids = add_campaign(plan, queue, arguments.by, again=arguments.again)
    if arguments.json:
        say(json.dumps(plan.data() | {"ids": ids}, indent=1))
    elif arguments.dry_run:
        say(f"{plan}\nNothing was added (--dry-run).")
    else:
        for one in plan.stations:
            say(
                f"Station {one.station}: {len(one.items)} items on {len(one.cells)} cells; mount "
                f"{one.cells[0]} first."
            )
        say(f"Added {len(ids)} items of campaign {plan.tag}.")
    return OK
