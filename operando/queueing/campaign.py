"""Campaigns: what one comes to, whether it can work, and its items in the queues.

`read_campaign` reads the files, `plan_campaign` makes items of them and touches nothing,
`add_campaign` adds all of them or none.
"""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from typing import Protocol as Shape

from operando.configuration import (
    ConfigurationError,
    campaign_path,
    load_bench,
    load_campaign,
    load_cell,
    load_protocol,
    load_stations,
)
from operando.queueing._plan import CampaignFiles, CampaignPlan, PlannedItem, StationPlan
from operando.queueing._planner import Planner
from operando.queueing.errors import QueueError
from operando.queueing.model import Mount, Record
from operando.settings import data_dir as the_data_dir
from techniques import Campaign, CampaignProtocol, CampaignSample, Cell, Protocol, StationsFile

if TYPE_CHECKING:
    from instruments.bench_file import BenchFile

__all__ = [
    "Campaign",
    "CampaignFiles",
    "CampaignPlan",
    "CampaignProtocol",
    "CampaignRefusedError",
    "CampaignSample",
    "PlannedItem",
    "StationPlan",
    "add_campaign",
    "plan_campaign",
    "plan_now",
    "read_campaign",
]


class CampaignRefusedError(QueueError):
    """A campaign cannot work, or is in the queues already; the message tells every reason."""


def read_campaign(path: Path, stations: StationsFile) -> CampaignFiles:
    """Read a campaign and all files that it and the stations name.

    Files are looked for beside the campaign as well. What is wrong with the campaign, or with a
    file that it names, is told by `plan_campaign` with every other reason; raises
    ConfigurationError if nothing of the campaign can be understood.
    """
    campaign, place, wrong = load_campaign(path)
    missing: dict[str, str] = {}
    cells: dict[str, Cell] = {}
    protocols: dict[str, Protocol] = {}
    benches: dict[str, BenchFile] = {}
    for name in dict.fromkeys(sample.cell for sample in campaign.samples):
        with _noted(missing, f"cell {name}"):
            cells[name] = load_cell(name, beside=path.parent)
    for name in dict.fromkeys(entry.protocol for entry in campaign.protocols):
        with _noted(missing, f"protocol {name}"):
            beside = path.parent / name
            protocols[name] = load_protocol(beside if beside.is_file() else name)
    for name in dict.fromkeys(entry.bench for entry in stations.stations):
        with _noted(missing, f"bench {name}"):
            benches[name] = load_bench(name)
    return CampaignFiles(campaign, place, cells, protocols, benches, missing, wrong)


class _noted:  # noqa: N801 - used as a word: with _noted(...)
    """Notes a ConfigurationError under a name, and goes on."""

    def __init__(self, where: dict[str, str], name: str) -> None:
        self._where, self._name = where, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, ConfigurationError):
            self._where[self._name] = str(error)
            return True
        return False


def plan_campaign(
    files: CampaignFiles,
    stations: StationsFile,
    *,
    now: float,
    free_b: float,
    only: Sequence[str] | None = None,
    mounts: Sequence[Mount] = (),
    busy_until: Mapping[str, float] | None = None,
) -> CampaignPlan:
    """Return what a campaign comes to, and every reason why it cannot work.

    Cells without a station of their own go where there is room first, by the expected lengths; a
    cell that is mounted stays where it is. On a station cell follows cell, and times are told as if
    the next were mounted at once.

    Args:
        files: What `read_campaign` has read.
        stations: The stations there are.
        now: s of the epoch.
        free_b: Free space on the disk of the data folder.
        only: Stations to which it is confined, besides what it says itself.
        mounts: The cells that are in stations.
        busy_until: By station, when what its queue holds will have ended, s of the epoch.
    """
    return Planner(files, stations, now, free_b, only, mounts, busy_until or {}).plan()


def plan_now(
    campaign: str | Path,
    only: Sequence[str] | None = None,
    data_dir: Path | None = None,
) -> CampaignPlan:
    """Return what a campaign comes to if it is added now, to the stations there are.

    Where no Redis answers it is not known which cells are mounted and what the queues hold; the
    plan tells so.

    Args:
        campaign: A file, or a name in the configuration folder.
        only: Stations to which it is confined.
        data_dir: The data folder; by default ``$OPERANDO_DATA``.
    """
    folder = the_data_dir() if data_dir is None else Path(data_dir).resolve()
    stations = load_stations()
    files = read_campaign(campaign_path(campaign), stations)
    there = next(part for part in (folder, *folder.parents) if part.exists())
    now, free_b = time.time(), shutil.disk_usage(there).free
    mounts, busy, unknown = list[Mount](), dict[str, float](), ""
    try:
        mounts = _mounts_in(folder, stations)
        busy = _busy_until(folder, now)
    except QueueError as error:
        unknown = str(error)
    plan = plan_campaign(
        files, stations, now=now, free_b=free_b, only=only, mounts=mounts, busy_until=busy
    )
    return dataclasses.replace(plan, mounts_unknown=unknown)


class Queue(Shape):
    """What a campaign needs of the queue: as `operando.queueing.queue.Queue`."""

    def add(
        self,
        protocol: Protocol,
        sample: Cell,
        *,
        station: str,
        at: str | None,
        after: str | None,
        priority: int,
        hold: bool,
        on_death: Literal["", "resume", "skip", "hold"],
        label: str,
        campaign: str,
        by: str | None,
    ) -> list[str]:
        """Add an item; return its id as a list of one."""

    def list(self) -> "Sequence[Any]":
        """Return what runs and what is to come, each with the campaign it is of."""

    def history(self) -> "Sequence[Record]":
        """Return what became of items."""

    def release(self, item: str) -> Any:
        """Let an item that is held be started."""

    def remove(self, item: str, by: str | None = None) -> Any:
        """Take an item out of its queue."""


def add_campaign(
    plan: CampaignPlan, queue: Queue, by: str | None = None, *, again: bool = False
) -> list[str]:
    """Add all items of a plan, or none; return their ids, in the order of the plan.

    The first of each cell is on hold until all are there, so that none has begun if one cannot be
    added.

    Raises:
        CampaignRefusedError: The plan has reasons why it cannot work, or a campaign of that name
            was added before; ``again``: although it was.
        QueueError: An item could not be added; those before were removed again, or the message
            tells which were not.
    """
    if plan.refusals:
        raise CampaignRefusedError(
            f"campaign {plan.campaign.campaign} cannot work; nothing was added:\n  "
            + "\n  ".join(plan.refusals)
        )
    if not again:
        _refuse_again(plan, queue)
    ids: list[str] = []
    try:
        for item in plan.items:
            after = None if item.after is None else ids[item.after]
            ids += queue.add(
                item.protocol,
                item.cell,
                station=item.station,
                at=plan.at or None,
                after=after,
                priority=plan.campaign.priority,
                hold=plan.campaign.hold or after is None,
                on_death=plan.campaign.on_death or "",
                label=item.label,
                campaign=plan.tag,
                by=by,
            )
    except BaseException as error:
        left = _removed_again(ids, queue, by)
        told = "nothing was added"
        if left:
            told = "these are still in the queue, on hold; remove them: " + ", ".join(left)
        error.add_note(f"Item {len(ids) + 1} of {len(plan.items)} could not be added; {told}.")
        raise
    if not plan.campaign.hold:
        first = [one for one, item in zip(ids, plan.items, strict=True) if item.after is None]
        for done, one in enumerate(first):
            try:
                queue.release(one)
            except BaseException as error:
                held = ", ".join(first[done:])
                error.add_note(f"All {len(ids)} items were added; still on hold are {held}.")
                raise
    return ids


def _removed_again(ids: Sequence[str], queue: Queue, by: str | None) -> list[str]:
    """Remove items, the last first; return those that could not be."""
    left = []
    for item in reversed(ids):
        try:
            queue.remove(item, by=by)
        except QueueError:
            left.append(item)
    return left


def _refuse_again(plan: CampaignPlan, queue: Queue) -> None:
    tags = [item.campaign for item in queue.list()]
    tags += [record.campaign for record in queue.history() if record.state != "removed"]
    found = {tag for tag in tags if tag.split("@")[0] == plan.campaign.campaign}
    if found:
        told = "the same" if plan.tag in found else "another content"
        raise CampaignRefusedError(
            f"a campaign {plan.campaign.campaign} was added before, with {told} ({plan.content} "
            "now); nothing was added. --again adds it all the same; or give it another name, and "
            "its cells other labels"
        )


def _mounts_in(data_dir: Path, stations: StationsFile) -> list[Mount]:
    """Return which cells are in the stations; raises QueueError if Redis does not answer."""
    from operando.queueing import _redis
    from operando.queueing.store import Store

    with contextlib.closing(_redis.client(_redis.address(data_dir, stations))) as client:
        return Store(client).mounts()


def _busy_until(data_dir: Path, now: float) -> dict[str, float]:
    """Return when what runs and is to come in each station will have ended at the latest."""
    from operando.queueing.queue import Queue

    busy: dict[str, float] = {}
    with Queue(data_dir) as queue:
        for item in queue.list():
            before = busy.get(item.station, now)
            # What waits for somebody has no end yet, and takes its time all the same.
            after = before + (item.longest_s or 0.0)
            busy[item.station] = after if item.ends is None else max(before, item.ends)
    return busy
