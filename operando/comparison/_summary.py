"""Means over cells and lives of cells, group by group."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from operando.analysis.survival import Survival, survival
from operando.comparison._cells import ComparedRun, Group, grouped
from operando.comparison._judged import judged_differently
from operando.comparison._quantities import QUANTITIES, Quantity, value_of

_NUMBERS = re.compile(r"\d[\d.]*")

# The three ways in which a cell's life ends: metric's begin -> what it is called.
LIVES: Mapping[str, str] = {
    "life_first_soft_short": "first soft short",
    "life_hard_short": "hard short",
    "life_polarisation": "polarisation failure",
}


@dataclass(frozen=True)
class CellValue:
    """One cell's value of a quantity.

    Attributes:
        cell: The cell's label.
        value: The value; the mean, where several runs of it have one. None if none has.
        uncertainty: Its standard uncertainty, where one run tells one.
        reason: Why there is none, or what it rests on.
        runs: The runs that have one.
    """

    cell: str
    value: float | None
    uncertainty: float | None
    reason: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """A quantity of a group: mean and scatter over cells, never over pooled cycles.

    Attributes:
        cells: The value of each cell.
        mean: Mean over the cells that have one; None if none has.
        sd: Standard deviation (n - 1) over them; None for fewer than two.
        count: How many cells have one.
        reason: Why there is no mean, no deviation, or a smaller number of cells.
    """

    cells: tuple[CellValue, ...]
    mean: float | None
    sd: float | None
    count: int
    reason: str


@dataclass(frozen=True)
class GroupLives:
    """How long the cells of a group live until one kind of failure.

    Attributes:
        survival: The product-limit estimate; None if no cell has a life.
        cells: Cell -> (life or length of the test, h; whether it failed).
        reason: Why cells, or all, are missing.
        left_out: Cell -> why nobody knows whether it failed: it is no survivor, and in no estimate.
    """

    survival: Survival | None
    cells: Mapping[str, tuple[float, bool]]
    reason: str
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """Groups of cells side by side.

    Attributes:
        by: What groups them.
        groups: The groups, in the order of their first run.
        summaries: Quantity's name -> group's name -> summary; those that no cell has are absent.
        lives: Kind of failure -> group's name -> lives.
        notes: What must be known of the comparison, in sentences.
    """

    by: str
    groups: tuple[Group, ...]
    summaries: Mapping[str, Mapping[str, Summary]]
    lives: Mapping[str, Mapping[str, GroupLives]]
    notes: tuple[str, ...]

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Return the quantities that a cell has."""
        return tuple(one for one in QUANTITIES if one.name in self.summaries)


def compare(
    runs: Sequence[ComparedRun], by: str = "electrode", *, cell_per_run: bool = False
) -> Comparison:
    """Compare groups of cells.

    Args:
        runs: What is compared; a run named twice counts once.
        by: What cells of a group have in common, one of `GROUPS`.
        cell_per_run: Whether each run is a cell by itself. By default runs of one label
            (``cell_id``) are of one cell, and count as one.

    Raises:
        ComparisonError: No run, cells of different metals, a dummy cell, or an unknown ``by``.
    """
    groups, notes = grouped(runs, by, cell_per_run=cell_per_run)
    notes += judged_differently([run for group in groups for run in group.runs])
    summaries = {}
    for quantity in QUANTITIES:
        of_groups = {group.name: _summary(group, quantity) for group in groups}
        if any(summary.count for summary in of_groups.values()):
            summaries[quantity.name] = of_groups
    lives = {kind: {group.name: _lives(group, kind) for group in groups} for kind in LIVES}
    return Comparison(by, groups, summaries, lives, notes)


def _summary(group: Group, quantity: Quantity) -> Summary:
    cells = tuple(_cell_value(cell, runs, quantity) for cell, runs in group.cells.items())
    values = [one.value for one in cells if one.value is not None]
    missing = alike({one.cell: one.reason for one in cells if one.value is None})
    if not values:
        why = dict.fromkeys(one.reason for one in cells)
        return Summary(cells, None, None, 0, "; ".join(why))
    reasons = filter(None, ("one cell: no scatter" if len(values) == 1 else "", missing))
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Summary(cells, math.fsum(values) / len(values), sd, len(values), "; ".join(reasons))


def _cell_value(cell: str, runs: Sequence[ComparedRun], quantity: Quantity) -> CellValue:
    found = [(run, *value_of(run, quantity)) for run in runs]
    known = [one for one in found if one[1] is not None]
    reasons = dict.fromkeys(reason for _, _, _, reason in known or found if reason)
    told = "; ".join(reasons)
    if not known:
        return CellValue(cell, None, None, told, ())
    mean = math.fsum(value for _, value, _, _ in known if value is not None) / len(known)
    error = known[0][2] if len(known) == 1 else None
    return CellValue(cell, mean, error, told, tuple(run.uid for run, _, _, _ in known))


def _lives(group: Group, kind: str) -> GroupLives:
    cells: dict[str, tuple[float, bool]] = {}
    missing: dict[str, str] = {}
    for cell, runs in group.cells.items():
        told = []
        reasons = []
        for run in runs:
            life = run.numbers.get(f"{kind}_h")
            observed = run.numbers.get(f"{kind}_observed")
            if (
                life is not None
                and observed is not None
                and isinstance(life.value, float)
                and isinstance(observed.value, float)
            ):
                told.append((life.value, observed.value == 1.0))
            elif life is not None:
                reasons.append(life.reason or "")
        if len(told) == 1:
            cells[cell] = told[0]
        elif told:
            missing[cell] = f"{len(told)} runs have a life, which is the cell's?"
        else:
            missing[cell] = "; ".join(dict.fromkeys(reasons)) or "no life"
    lives = list(cells.values())
    estimate = (
        survival([life for life, _ in lives], [failed for _, failed in lives]) if lives else None
    )
    return GroupLives(estimate, cells, alike(missing), missing)


def alike(reasons: Mapping[str, str]) -> str:
    """Return why cells have no value: reasons that differ in their numbers only are told once.

    Args:
        reasons: Cell -> why it has none.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for cell, reason in reasons.items():
        kinds.setdefault(_NUMBERS.sub("#", reason), []).append((cell, reason))
    told = []
    for same in kinds.values():
        cell, reason = same[0]
        more = f" (and {len(same) - 1} more like it)" if len(same) > 1 else ""
        told.append(f"{cell}: {reason}{more}")
    return "; ".join(told)
