"""What a campaign comes to, in words and columns."""

import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime

from operando.queueing._outlook import Outlook
from operando.queueing._plan import CampaignPlan, PlannedItem
from operando.room import size_text

_WIDTH = 120
_MEANING = (
    "Times are expected ones, of the cell, behind what the queues hold at most, each cell mounted "
    "as soon as the one before it has ended: a strip that its potential ends takes off what was "
    "plated, a full cell passes its nominal capacity. At most: every step lasts until its time or "
    "charge ends it; rows, images and disk are of that. Charges are those at set currents, both "
    "directions added up, per cm2 of the metal electrode."
)
_WHEN = ("begins", "ends", "lasts", "at most")
_MUCH = ("mAh/cm2", "mAh", "rows", "images", "disk")
# Columns that are read as words, not compared as numbers.
_WORDS = frozenset(("", "cell", "protocol", "varied"))


def plan_text(plan: CampaignPlan) -> str:
    """Return all items by station, what each station comes to, and what all of them do."""
    if plan.refusals:
        return "\n  ".join([f"{_title(plan)} cannot work:", *plan.refusals])
    lines = [_title(plan), ""]
    rows: list[tuple[str, ...]] = [
        ("", "cell", "protocol", "varied", *_WHEN, "half-cycles", "each", *_MUCH)
    ]
    for station in plan.stations:
        rows += [_row(station.station, item) for item in station.items]
    lines += _aligned(rows)
    lines += ["", *_aligned([("", "cells", "items", *_WHEN, *_MUCH), *_sums(plan)])]
    lines += ["", *_notes(plan)]
    return "\n".join(lines)


def _title(plan: CampaignPlan) -> str:
    cells = {item.cell.cell_id for item in plan.items}
    return (
        f"Campaign {plan.campaign.campaign} ({plan.content}): {len(plan.items)} items on "
        f"{len(cells)} cells in {len(plan.stations)} stations"
    )


def _row(station: str, item: PlannedItem) -> tuple[str, ...]:
    look = item.outlook
    return (
        station,
        item.cell.cell_id,
        item.protocol.name,
        " / ".join(map(str, item.varied.values())) or "-",
        moment(item.begins),
        moment(item.ends)[5:],
        length(look.expected_s),
        length(look.longest_s),
        str(look.half_cycles),
        _each(look),
        _charge(look.charge_mah_cm2),
        _charge(item.charge_mah),
        _count(item.count("rows")),
        _count(item.count("images")),
        size_text(item.estimate.bytes),
    )


def _each(look: Outlook) -> str:
    if look.least_mah_cm2 is None or look.most_mah_cm2 is None:
        return "-"
    least, most = f"{look.least_mah_cm2:.4g}", f"{look.most_mah_cm2:.4g}"
    return most if least == most else f"{least} to {most}"


def _sums(plan: CampaignPlan) -> list[tuple[str, ...]]:
    rows = [_sum(one.station, one.items, one.longest_s) for one in plan.stations]
    if len(rows) > 1:
        first = min(item.begins for item in plan.items)
        ends = [min(x.begins for x in one.items) + one.longest_s for one in plan.stations]
        rows.append(_sum("all", plan.items, max(ends) - first))
    return rows


def _sum(name: str, items: Sequence[PlannedItem], longest_s: float) -> tuple[str, ...]:
    begins, ends = min(item.begins for item in items), max(item.ends for item in items)
    return (
        name,
        str(len({item.cell.cell_id for item in items})),
        str(len(items)),
        moment(begins),
        moment(ends),
        length(ends - begins),
        length(longest_s),
        _charge(sum(item.outlook.charge_mah_cm2 for item in items)),
        _charge(sum(item.charge_mah for item in items)),
        _count(sum(item.count("rows") for item in items)),
        _count(sum(item.count("images") for item in items)),
        size_text(sum(item.estimate.bytes for item in items)),
    )


def _notes(plan: CampaignPlan) -> list[str]:
    first = [f"{one.cells[0]} in {one.station}" for one in plan.stations]
    told = [f"Varied of {name}: {' / '.join(paths)}." for name, paths in _varied(plan).items()]
    told += [
        f"Disk: {size_text(plan.bytes)} at most, {size_text(plan.free_b)} are free.",
        textwrap.fill(f"Mount first: {', '.join(first)}.", _WIDTH),
        textwrap.fill(_MEANING, _WIDTH),
    ]
    if plan.mounts_unknown:
        unknown = "Which cells are mounted, and what the queues hold, is not known"
        told.append(f"{unknown}: {plan.mounts_unknown}")
    return told


def _varied(plan: CampaignPlan) -> dict[str, list[str]]:
    """Return what is varied of each protocol."""
    return {item.protocol.name: list(item.varied) for item in plan.items if item.varied}


def moment(seconds: float) -> str:
    """Return a time as people read it, local."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def length(seconds: float) -> str:
    """Return a length of time as people read it: 12 min, 6.3 h, 41.7 d."""
    if seconds < 3600:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h" if seconds < 48 * 3600 else f"{seconds / 86400:.3g} d"


def _charge(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _count(number: float) -> str:
    if number < 1:
        return "-"
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number:.0f}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [
            text.ljust(width) if head in _WORDS else text.rjust(width)
            for head, text, width in zip(rows[0], row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()
