"""A campaign's files, and what it comes to, as data."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from operando.queueing._outlook import Outlook
from operando.queueing.items import as_data
from operando.room import Estimate
from techniques import Campaign, Cell, Protocol

if TYPE_CHECKING:
    from instruments.bench_file import BenchFile


@dataclass(frozen=True)
class CampaignFiles:
    """A campaign and what its files tell.

    Attributes:
        campaign: The campaign.
        place: Tells file and line of a key of it, by the keys above it.
        cells: By the name that the campaign gives.
        protocols: Likewise.
        benches: By the name that the file of stations gives.
        missing: Names for which there is no right file, and why.
        wrong: What is wrong with the file of the campaign itself, and left out of it here.
    """

    campaign: Campaign
    place: Callable[[Sequence[str | int]], str]
    cells: Mapping[str, Cell]
    protocols: Mapping[str, Protocol]
    benches: Mapping[str, "BenchFile"]
    missing: Mapping[str, str] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedItem:
    """One item as it would be added.

    Attributes:
        station: Where.
        cell: On which cell; its label is of this one cell.
        protocol: What runs, with everything that the campaign sets.
        label: In words: which cell of how many, and what is varied.
        varied: What is varied, by its path in the protocol.
        after: Place in the plan of the item that must have been done before.
        outlook: Length and charge.
        estimate: What it writes at most.
        begins: When it is expected to begin, s of the epoch.
        ends: When it is expected to end.
    """

    station: str
    cell: Cell
    protocol: Protocol
    label: str
    varied: Mapping[str, Any]
    after: int | None
    outlook: Outlook
    estimate: Estimate
    begins: float
    ends: float

    @property
    def charge_mah(self) -> float:
        """Return the charge expected in all its half-cycles, mAh."""
        return self.outlook.charge_mah_cm2 * self.cell.area_cm2

    def count(self, what: str) -> float:
        """Return how many of a kind it writes at most, e.g. ``images``."""
        return sum(part.count for part in self.estimate.parts if part.what.startswith(what))

    def data(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "station": self.station,
            "cell_id": self.cell.cell_id,
            "protocol": self.protocol.name,
            "label": self.label,
            "varied": dict(self.varied),
            "after": self.after,
            "begins": self.begins,
            "ends": self.ends,
            "expected_s": self.outlook.expected_s,
            "longest_s": self.outlook.longest_s,
            "half_cycles": self.outlook.half_cycles,
            "half_cycle_mah_cm2": [self.outlook.least_mah_cm2, self.outlook.most_mah_cm2],
            "charge_mah_cm2": self.outlook.charge_mah_cm2,
            "charge_mah": self.charge_mah,
            "rows": self.count("rows"),
            "images": self.count("images"),
            "spectra": self.count("spectra"),
            "injections": self.count("injections"),
            "bytes": self.estimate.bytes,
        }


@dataclass(frozen=True)
class StationPlan:
    """What of a plan is on one station."""

    station: str
    items: tuple[PlannedItem, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the labels of its cells, in the order in which they are to be mounted."""
        return tuple(dict.fromkeys(item.cell.cell_id for item in self.items))

    @property
    def ends(self) -> float:
        """Return when its last item is expected to end, s of the epoch."""
        return max(item.ends for item in self.items)

    @property
    def longest_s(self) -> float:
        """Return how long its items last together at most, s."""
        return sum(item.outlook.longest_s for item in self.items)

    @property
    def bytes(self) -> float:
        """Return what they write at most."""
        return sum(item.estimate.bytes for item in self.items)


@dataclass(frozen=True, repr=False)
class CampaignPlan:
    """What a campaign comes to; shown, a table.

    Attributes:
        campaign: The campaign.
        items: In the order in which they are added.
        refusals: Every reason why it cannot work, with file and line; empty if it can.
        free_b: Free space of the data folder's disk.
        begins: When its first items begin at the earliest, s of the epoch.
        at: That as it is told to the queue; empty: at once.
        mounts_unknown: Why it is not known which cells are mounted; empty: it is.
    """

    campaign: Campaign
    items: tuple[PlannedItem, ...]
    refusals: tuple[str, ...]
    free_b: float
    begins: float
    at: str
    mounts_unknown: str = ""

    def __repr__(self) -> str:
        from operando.queueing._campaign_table import plan_text

        return plan_text(self)

    @property
    def stations(self) -> tuple[StationPlan, ...]:
        """Return what is on each station, in the order of their first items."""
        found: dict[str, list[PlannedItem]] = {}
        for item in self.items:
            found.setdefault(item.station, []).append(item)
        return tuple(StationPlan(name, tuple(items)) for name, items in found.items())

    @property
    def bytes(self) -> float:
        """Return what all items write at most."""
        return sum(item.estimate.bytes for item in self.items)

    @cached_property
    def content(self) -> str:
        """Return a short digest of what would run on which cells."""
        told = [
            (item.station, as_data(item.cell), as_data(item.protocol), item.label)
            for item in self.items
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def tag(self) -> str:
        """Return what its items carry as their campaign: name and content."""
        return f"{self.campaign.campaign}@{self.content}"

    def data(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "campaign": self.campaign.campaign,
            "content": self.content,
            "begins": self.begins,
            "free_bytes": self.free_b,
            "bytes": self.bytes,
            "refusals": list(self.refusals),
            "stations": [
                {
                    "station": one.station,
                    "items": len(one.items),
                    "cells": list(one.cells),
                    "ends": one.ends,
                    "longest_s": one.longest_s,
                    "bytes": one.bytes,
                }
                for one in self.stations
            ],
            "items": [item.data() for item in self.items],
        }
