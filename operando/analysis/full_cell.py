"""Capacities of a full cell: per mass of the cathode's active material, by cycle and by rate."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from operando.analysis.segments import STRIP, HalfCycle

# Currents closer than this are one rate.
SAME_RATE = 0.03
LAST_CYCLES = 3
NO_CELL_VOLTAGE = (
    "E is that of the anode against a reference, no cell voltage: connect the cell with two "
    "electrodes"
)


def mean_voltage_v(half: HalfCycle) -> float | None:
    """Return the mean voltage of the cathode against the anode over the charge, V.

    None where no charge passed.
    """
    charge = half.charge_mah_cm2
    total = float(charge[-1] - charge[0])
    if total <= 0:
        return None
    return -float(np.trapezoid(half.potential_v, charge)) / total


@dataclass(frozen=True)
class Retention:
    """What is left of the capacity.

    Attributes:
        percent: 100 Q_n / Q_ref; None if it cannot be told.
        reference: The cycle of Q_ref.
        last: n, the last complete cycle of the same rate.
    """

    percent: float | None
    reference: int = 0
    last: int = 0


def whole_discharges(halves: Sequence[HalfCycle]) -> list[HalfCycle]:
    """Return the discharges that ended as planned and of which all rows could be read."""
    return [
        half
        for half in halves
        if half.role == STRIP
        and half.ended
        and not half.end_lost
        and not half.doubts
        and half.capacity_mah_cm2 > 0
    ]


def retention(discharges: Sequence[HalfCycle], left_out: Collection[int] = ()) -> Retention:
    """Return the capacity of the last cycle over that of the first one that counts.

    Args:
        discharges: `whole_discharges` of a test.
        left_out: Cycles that are no reference: a formation.
    """
    counted = [half for half in discharges if half.cycle not in left_out]
    if not counted:
        return Retention(None)
    first = counted[0]
    alike = [half for half in counted if _same_rate(half, first)]
    if len(alike) < 2:
        return Retention(None, first.cycle, first.cycle)
    last = alike[-1]
    percent = 100.0 * last.capacity_mah_cm2 / first.capacity_mah_cm2
    return Retention(percent, first.cycle, last.cycle)


@dataclass(frozen=True)
class Rate:
    """Consecutive cycles of one current.

    Attributes:
        current_a: Of the discharge, A.
        capacity_mah_cm2: Median discharge capacity of the last three cycles, mAh/cm2.
        cycles: Their numbers.
    """

    current_a: float
    capacity_mah_cm2: float
    cycles: tuple[int, ...]


def rates(discharges: Sequence[HalfCycle], left_out: Collection[int] = ()) -> tuple[Rate, ...]:
    """Return the rates of a test in their order; of each the last three cycles count."""
    groups: list[list[HalfCycle]] = []
    for half in discharges:
        if half.cycle in left_out:
            continue
        if groups and _same_rate(groups[-1][-1], half):
            groups[-1].append(half)
        else:
            groups.append([half])
    found = []
    for group in groups:
        last = group[-LAST_CYCLES:]
        capacity = float(np.median([half.capacity_mah_cm2 for half in last]))
        found.append(Rate(last[-1].mean_current_a, capacity, tuple(half.cycle for half in last)))
    return tuple(found)


def _same_rate(one: HalfCycle, other: HalfCycle) -> bool:
    return math.isclose(one.mean_current_a, other.mean_current_a, rel_tol=SAME_RATE)
