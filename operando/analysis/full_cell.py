"""Capacities of a full cell: per mass of the cathode's active material, by cycle and by rate."""

import math
from collections.abc import Collection, Mapping, Sequence
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
        last: n, the last complete cycle of the same current.
        reason: Why it cannot be told.
    """

    percent: float | None
    reference: int = 0
    last: int = 0
    reason: str | None = None


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


def retention(
    discharges: Sequence[HalfCycle],
    left_out: Collection[int] = (),
    temperatures_k: Mapping[int, float] | None = None,
) -> Retention:
    """Return the capacity of the last cycle over that of the first, of those at one current.

    That is the current of more than half of the cycles that count: others before them are a
    formation, and of a test of rates there is none.

    Args:
        discharges: `whole_discharges` of a test.
        left_out: Cycles that do not count: a formation.
        temperatures_k: Cycle -> temperature at which the program ran it, K, where it has several.
    """
    counted = [half for half in discharges if half.cycle not in left_out]
    temperatures_k = temperatures_k or {}
    if len({temperatures_k.get(half.cycle) for half in counted}) > 1:
        why = "cycles at several temperatures: see capacity_at_temperature_pct"
        return Retention(None, reason=why)
    by_current: list[list[HalfCycle]] = []
    for half in counted:
        same = next((one for one in by_current if _same_rate(one[0], half)), None)
        if same is None:
            by_current.append([half])
        else:
            same.append(half)
    most = max(by_current, key=len, default=[])
    if len(by_current) > 1 and 2 * len(most) <= len(counted):
        return Retention(
            None,
            reason=f"cycles at {len(by_current)} currents, none of them that of more than half of "
            "the cycles: see rate_capacity_mah_g",
        )
    if len(most) < 2:
        return Retention(None, reason="needs two complete discharges of one current")
    first, last = most[0], most[-1]
    return Retention(
        100.0 * last.capacity_mah_cm2 / first.capacity_mah_cm2, first.cycle, last.cycle
    )


@dataclass(frozen=True)
class Rate:
    """Consecutive cycles of one current.

    Attributes:
        current_a: Of the discharge, A.
        capacity_mah_cm2: Median discharge capacity of the last three cycles, mAh/cm2.
        cycles: Their numbers.
        cut_off_u_mah_cm2: Standard uncertainty of a charge up to the cut-off, the largest of
            theirs, mAh/cm2.
    """

    current_a: float
    capacity_mah_cm2: float
    cycles: tuple[int, ...]
    cut_off_u_mah_cm2: float = 0.0


def rates(
    discharges: Sequence[HalfCycle],
    left_out: Collection[int] = (),
    temperatures_k: Mapping[int, float] | None = None,
) -> tuple[Rate, ...]:
    """Return the rates of a test in their order; of each the last three cycles count.

    Arguments as in `retention`; at another temperature a rate is another one.
    """
    at_k = temperatures_k or {}
    groups: list[list[HalfCycle]] = []
    for half in discharges:
        if half.cycle in left_out:
            continue
        before = groups[-1][-1] if groups else None
        here = before is not None and at_k.get(before.cycle) == at_k.get(half.cycle)
        if before is not None and here and _same_rate(before, half):
            groups[-1].append(half)
        else:
            groups.append([half])
    found = []
    for group in groups:
        last = group[-LAST_CYCLES:]
        capacity = float(np.median([half.capacity_mah_cm2 for half in last]))
        cut_off_u = max(half.cut_off_u_mah_cm2 for half in last)
        numbers = tuple(half.cycle for half in last)
        found.append(Rate(last[-1].mean_current_a, capacity, numbers, cut_off_u))
    return tuple(found)


@dataclass(frozen=True)
class AtTemperature:
    """The discharges at one temperature, as the program has them.

    Attributes:
        temperature_k: The temperature, K.
        capacity_mah_cm2: Median discharge capacity of the last three cycles there, mAh/cm2.
        cycles: Their numbers.
    """

    temperature_k: float
    capacity_mah_cm2: float
    cycles: tuple[int, ...]


def capacities_at_temperatures(
    discharges: Sequence[HalfCycle],
    temperatures_k: Mapping[int, float],
    left_out: Collection[int] = (),
) -> tuple[AtTemperature, ...]:
    """Return the capacities at the temperatures of a program, in its order.

    Of a temperature at which several currents flowed the first one counts. Arguments as in
    `retention`.
    """
    groups: list[tuple[float, list[HalfCycle]]] = []
    for half in discharges:
        kelvin = temperatures_k.get(half.cycle)
        if kelvin is None or half.cycle in left_out:
            continue
        if not groups or groups[-1][0] != kelvin:
            groups.append((kelvin, []))
        there = groups[-1][1]
        if not there or _same_rate(there[0], half):
            there.append(half)
    return tuple(
        AtTemperature(
            kelvin,
            float(np.median([half.capacity_mah_cm2 for half in there[-LAST_CYCLES:]])),
            tuple(half.cycle for half in there[-LAST_CYCLES:]),
        )
        for kelvin, there in groups
    )


def _same_rate(one: HalfCycle, other: HalfCycle) -> bool:
    return math.isclose(one.mean_current_a, other.mean_current_a, rel_tol=SAME_RATE)
