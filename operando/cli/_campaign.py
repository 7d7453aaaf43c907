"""``operando queue campaign``: many items at once."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from ._terminal import OK, REFUSED, complain, say

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from operando.queueing.campaign import CampaignPlan


def declare_campaign(verbs: "_SubParsersAction[Any]") -> None:
    """Add the command to those of the queue."""
    sub = verbs.add_parser(
        "campaign",
        help="add the items of a campaign: samples times protocols times replicates",
        description="Add the items of a campaign: samples times protocols times replicates. All "
        "are checked before, against the bench of their station, and every reason why it cannot "
        "work is told at once; all are added or none.",
    )
    sub.add_argument("file", metavar="FILE", help="a campaign file, or a name in protocols/")
    sub.add_argument(
        "--dry-run",
        action="store_true",
        help="add nothing; tell times, charge, rows, images and disk of every item",
    )
    sub.add_argument(
        "--stations", metavar="NAMES", help="only on these, separated by commas: A1,A2"
    )
    sub.add_argument(
        "--again", action="store_true", help="although a campaign of that name was added before"
    )
    sub.add_argument(
        "--by", metavar="NAME", help="who adds it; by default who you are logged in as"
    )
    sub.add_argument("--json", action="store_true", help="as one object")
    sub.set_defaults(command=_campaign)


def _campaign(arguments: argparse.Namespace) -> int:
    plan = _planned(arguments)
    if plan.refusals:
        if arguments.json:
            say(json.dumps(plan.data()))
        reasons = "\n  ".join(plan.refusals)
        complain(f"campaign {plan.campaign.campaign} cannot work; nothing was added:\n  {reasons}")
        return REFUSED
    if arguments.dry_run:
        from operando.queueing._campaign_table import plan_text

        said = json.dumps(plan.data()) if arguments.json else plan_text(plan)
        say(said if arguments.json else f"{said}\nNothing was added (--dry-run).")
        return OK
    return _add(arguments, plan)


def _planned(arguments: argparse.Namespace) -> "CampaignPlan":
    import shutil
    import time

    from operando.configuration import campaign_path, load_stations
    from operando.queueing.campaign import plan_campaign, read_campaign
    from operando.settings import data_dir

    stations = load_stations()
    files = read_campaign(campaign_path(arguments.file), stations)
    folder = data_dir()
    there = next(part for part in (folder, *folder.parents) if part.exists())
    only = None if arguments.stations is None else arguments.stations.split(",")
    return plan_campaign(
        files, stations, now=time.time(), free_b=shutil.disk_usage(there).free, only=only
    )


def _add(arguments: argparse.Namespace, plan: "CampaignPlan") -> int:
    raise NotImplementedError
