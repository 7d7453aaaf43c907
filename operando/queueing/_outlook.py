"""How long a program lasts and what charge it passes: at most, and as is expected.

At most: every step lasts until its time or its charge ends it. Expected: a strip that its potential
ends takes off what was plated, and a full cell passes its nominal capacity between its voltages.
What holds and sweeps pass is not known beforehand, and not counted.
"""

import math
from dataclasses import dataclass, field

from techniques import (
    Cell,
    GalvanostaticStep,
    PlateStripCycle,
    Technique,
    longest_duration_s,
)
from techniques.programs import Block, Repeat, Sequence

# A loop is gone through so often, while what can be stripped differs from pass to pass.
_MOST_PASSES = 10_000


@dataclass(frozen=True)
class Outlook:
    """What a program is to come to.

    Attributes:
        expected_s: How long it is expected to last, s.
        longest_s: How long it lasts at most, s.
        half_cycles: How many there are.
        least_mah_cm2: The least charge expected of a half-cycle, mAh per cm2 of the metal
            electrode; ``None``: it has none at a set current.
        most_mah_cm2: The largest.
        charge_mah_cm2: Charge expected in all half-cycles together, both directions added up.
    """

    expected_s: float
    longest_s: float
    half_cycles: int
    least_mah_cm2: float | None
    most_mah_cm2: float | None
    charge_mah_cm2: float


def outlook(program: Technique, cell: Cell) -> Outlook:
    """Return what ``program`` comes to on ``cell``; it is what ``for_cell`` has made of it."""
    walk = _Walk(cell)
    passed = walk.over(program)
    return Outlook(
        expected_s=passed.seconds,
        longest_s=longest_duration_s(program),
        half_cycles=passed.half_cycles,
        least_mah_cm2=None if math.isinf(passed.least) else passed.least,
        most_mah_cm2=None if math.isinf(passed.least) else passed.most,
        charge_mah_cm2=passed.charge,
    )


@dataclass
class _Passed:
    seconds: float = 0.0
    half_cycles: int = 0
    charge: float = 0.0
    least: float = math.inf
    most: float = 0.0

    def add(self, other: "_Passed", times: int = 1) -> None:
        self.seconds += times * other.seconds
        self.half_cycles += times * other.half_cycles
        self.charge += times * other.charge
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)


@dataclass
class _Walk:
    """Goes along a program; ``deposit`` is what can be stripped, ``room`` what can be plated."""

    cell: Cell
    deposit: float = field(init=False)
    room: float = field(init=False)
    _begun: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        inventory = self.cell.inventory_mah_cm2(self.cell.electrode)
        self.deposit = math.inf if inventory is None else inventory
        self.room = math.inf

    def over(self, technique: Technique) -> _Passed:
        passed = _Passed()
        match technique:
            case Sequence():
                for step in technique.steps:
                    passed.add(self.over(step))
            case Block():
                return self.over(technique.step)
            case Repeat():
                self._often(technique.times, (technique.step,), passed)
            case PlateStripCycle():
                first, second = technique.halves
                parts = (*technique.goes_on_with(first), *technique.goes_on_with(second))
                self._often(technique.cycles, parts, passed)
                passed.seconds += 2 * technique.rest_s * technique.cycles
                if technique.between is not None:
                    between_s = longest_duration_s(technique.between)
                    passed.seconds += technique.times_between * between_s
            case GalvanostaticStep():
                return self._at_set_current(technique)
            case _:
                role = getattr(technique, "role", None)
                goes_on = getattr(technique, "continues_half_cycle", False)
                passed.half_cycles = int(role is not None and not goes_on)
                passed.seconds = longest_duration_s(technique)
        return passed

    def _often(self, times: int, parts: tuple[Technique, ...], passed: _Passed) -> None:
        for done in range(times):
            before = self.deposit, self.room
            once = _Passed()
            for part in parts:
                once.add(self.over(part))
            if (self.deposit, self.room) == before or done == _MOST_PASSES:
                # Every further time is the same, or near enough.
                passed.add(once, times - done)
                return
            passed.add(once)

    def _at_set_current(self, step: GalvanostaticStep) -> _Passed:
        density = abs(step.current_density_ma_cm2)
        most = density * step.expected_s / 3600
        plates = step.signed_current_density_ma_cm2 < 0
        ends = "potential_below_v" if plates else "potential_above_v"
        by_potential = any(limit.quantity == ends for limit in step.until)
        nominal = self.cell.nominal_capacity_mah_cm2
        if not self._begun:
            self._begun = True
            if self.cell.full_cell and nominal is not None:
                # As it comes: discharged where it is charged first.
                self.room = nominal if plates else 0.0
        left = self.room if plates else self.deposit
        if not plates and self.cell.full_cell and nominal is not None:
            left = min(left, nominal - self.room)
        charge = min(most, left) if by_potential else most
        self.deposit = self.deposit + charge if plates else max(0.0, self.deposit - charge)
        if self.cell.full_cell and nominal is not None:
            self.room = max(0.0, self.room - charge) if plates else min(nominal, self.room + charge)
        passed = _Passed(seconds=charge / density * 3600, charge=charge)
        if step.role is not None:
            passed.half_cycles, passed.least, passed.most = 1, charge, charge
        return passed
