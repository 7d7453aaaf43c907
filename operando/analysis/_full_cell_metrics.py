"""Capacities, voltages and retention of a full cell."""

import math
from collections.abc import Collection, Mapping, Sequence

from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    enumerated,
    interruptions,
    listed,
    metric,
    undefined,
)
from operando.analysis.blocks import left_out_of_run, temperatures_of_cycles_k
from operando.analysis.coulombic import cut_off_share, told_unrecorded, unrecorded_share
from operando.analysis.full_cell import (
    NO_CELL_VOLTAGE,
    capacities_at_temperatures,
    mean_voltage_v,
    rates,
    retention,
    whole_discharges,
)
from operando.analysis.segments import HalfCycle

_PER_MASS = (
    "charge_capacity_mah_g",
    "discharge_capacity_mah_g",
    "rate_capacity_mah_g",
    "rate_current_ma_g",
)
_AT_TEMPERATURES = ("capacity_temperature_k", "capacity_at_temperature_pct")
_FULL_CELL = (
    *_PER_MASS,
    "capacity_retention_pct",
    *_AT_TEMPERATURES,
    "mean_charge_v",
    "mean_discharge_v",
)
# Capacities at several temperatures refer to that at 25 C, within so much.
_REFERENCE_K, _REFERENCE_WITHIN_K = 298.15, 1.0


def full_cell_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return what a full cell gives by cycle and by rate, and what is left of it."""
    cell = found.cell
    if cell is None or not found.halves:
        return undefined(_FULL_CELL, found.no_halves)
    if not cell.full_cell:
        return undefined(_FULL_CELL, "no full cell: the cell declares no cathode")
    left_out = {*range(1, cell.formation_cycles + 1)}
    left_out |= left_out_of_run(found.run).keys()
    at_k = temperatures_of_cycles_k(found.run.start)
    discharges = whole_discharges(found.halves)
    kept = retention(discharges, left_out, at_k)
    name = "capacity_retention_pct"
    told: dict[str, Metric] = {}
    if kept.percent is None:
        told |= undefined((name,), kept.reason or "it cannot be told")
    else:
        # One range, one direction: gain and offset of both cycles are the same and cancel.
        basis = f"cycle {kept.last} over cycle {kept.reference}"
        apart = sorted(cycle for cycle in left_out if cycle < kept.reference)
        if apart:
            basis += f"; cycle {enumerated(apart)} left out as the protocol or the cell file says"
        told[name] = metric(name, kept.percent, reason=basis)
    told |= _at_temperatures(discharges, at_k, left_out)
    for what, index in (("mean_charge_v", 0), ("mean_discharge_v", 1)):
        if cell.reference_electrode is not None:
            told[what] = metric(what, None, reason=NO_CELL_VOLTAGE)
            continue
        values = [
            mean_voltage_v(half) if half is not None and half.ended else None
            for half in (pair[index] for pair in found.cycles.values())
        ]
        told[what] = listed(what, values, None, (), "no complete half-cycle")
    mass_g = (cell.other_electrode.active_mass_mg or 0.0) * 1e-3
    if not mass_g:
        return told | undefined(_PER_MASS, "the cathode's active_mass_mg is not declared")
    per_mass = cell.area_cm2 / mass_g
    for what, index in (("charge_capacity_mah_g", 0), ("discharge_capacity_mah_g", 1)):
        halves = [pair[index] for pair in found.cycles.values()]
        capacities = [_capacity(half, per_mass, found) for half in halves]
        doubts = [gap for gap in interruptions(found) if "rows could not be read" in gap]
        doubts += [
            f"cycle {half.cycle}: {told_unrecorded([half])}"
            for half, value in zip(halves, capacities, strict=True)
            if half is not None and value is None and half.doubts
        ]
        errors = [
            None
            if value is None or half is None
            else value
            * (
                math.hypot(
                    found.accuracy.relative(half.mean_current_a, zeroed=half.zero is not None),
                    cut_off_share([half], half.capacity_mah_cm2),
                )
                + unrecorded_share([half], half.capacity_mah_cm2)
            )
            for half, value in zip(halves, capacities, strict=True)
        ]
        running = [
            f"cycle {half.cycle} has not ended" for half in halves if half and not half.ended
        ]
        told[what] = listed(what, capacities, errors, [*running, *doubts], "no complete half-cycle")
    by_rate = rates(discharges, left_out, at_k)
    bases = [f"median of cycle {enumerated(rate.cycles)}" for rate in by_rate]
    told["rate_capacity_mah_g"] = listed(
        "rate_capacity_mah_g",
        [rate.capacity_mah_cm2 * per_mass for rate in by_rate],
        [
            per_mass
            * math.hypot(
                rate.capacity_mah_cm2 * found.accuracy.relative(rate.current_a),
                rate.cut_off_u_mah_cm2,
            )
            for rate in by_rate
        ],
        bases,
        "no complete discharge",
    )
    told["rate_current_ma_g"] = listed(
        "rate_current_ma_g",
        [math.fabs(rate.current_a) * 1e3 / mass_g for rate in by_rate],
        None,
        bases,
        "no complete discharge",
    )
    return told


def _at_temperatures(
    discharges: Sequence[HalfCycle], at_k: Mapping[int, float], left_out: Collection[int]
) -> dict[str, Metric]:
    """Return the capacity at each temperature of the program, of that at 25 C.

    One current and one direction: gain and offset are the same in both and cancel.
    """
    kelvin, percent = _AT_TEMPERATURES
    found = capacities_at_temperatures(discharges, at_k, left_out)
    if len(found) < 2:
        return undefined(_AT_TEMPERATURES, "no complete discharges at two temperatures")
    bases = [f"{one.temperature_k:g} K: median of cycle {enumerated(one.cycles)}" for one in found]
    told = {kelvin: metric(kelvin, [one.temperature_k for one in found], reason="as asked for")}
    reference = next(
        (one for one in found if abs(one.temperature_k - _REFERENCE_K) <= _REFERENCE_WITHIN_K),
        None,
    )
    if reference is None:
        return told | undefined((percent,), "the program has no temperature of 25 C to refer to")
    values = [100 * one.capacity_mah_cm2 / reference.capacity_mah_cm2 for one in found]
    basis = f"of that at {reference.temperature_k:g} K; {', '.join(bases)}"
    return told | {percent: metric(percent, [*values], reason=basis)}


def _capacity(half: HalfCycle | None, per_mass: float, found: Evaluation) -> Number:
    if half is None or not half.ended or half.end_lost:
        return None
    unknown = unrecorded_share([half], half.capacity_mah_cm2)
    if unknown > found.accuracy.relative(half.mean_current_a, zeroed=half.zero is not None):
        return None
    return half.capacity_mah_cm2 * per_mass
