"""Charges of a run, and what they would make of the metal."""

import math
from collections.abc import Iterable, Sequence

from operando.analysis import thickness
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    enumerated,
    interruptions,
    listed,
    metric,
    summary,
    undefined,
    zeros_taken_off,
)
from operando.analysis.coulombic import told_unrecorded, unrecorded_share
from operando.analysis.endings import has_strips, planned_strips_mah_cm2
from operando.analysis.segments import PLATE, STRIP, HalfCycle
from operando.runs import told_of_each
from techniques import Cell

_CHARGES = (
    "current_zero_ua",
    "plated_capacity_mah_cm2",
    "cumulative_plated_mah_cm2",
    "depth_of_discharge_pct",
    "depth_of_discharge_planned_pct",
    "theoretical_thickness_um",
)


def charge_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the charges plated, the depth of discharge and the thickness they would make."""
    cell = found.cell
    if cell is None or not found.halves:
        return undefined(_CHARGES, found.no_halves)
    accuracy, told = found.accuracy, dict[str, Metric]()
    plated: dict[int, float] = {}
    platings: dict[int, list[HalfCycle]] = {}
    relative = 0.0
    for half in found.halves:
        if half.role == PLATE:
            platings.setdefault(half.cycle, []).append(half)
            plated[half.cycle] = plated.get(half.cycle, 0.0) + half.capacity_mah_cm2
            relative = max(
                relative, accuracy.relative(half.mean_current_a, zeroed=half.zero is not None)
            )
    values: list[Number] = []
    errors: list[Number] = []
    unknown: list[str] = []
    for number in found.cycles:
        value = plated.get(number)
        halves = platings.get(number, [])
        missing = unrecorded_share(halves, value or 0.0)
        if value is not None and missing > relative:
            unknown.append(f"cycle {number}: {told_unrecorded(halves)}")
            value = None
        values.append(value)
        errors.append(None if value is None else (relative + missing) * value)
    told["current_zero_ua"] = _current_zero(found)
    running = None
    if not found.halves[-1].ended:
        running = f"cycle {found.halves[-1].cycle} has not ended"
    cut = [half.cycle for half in found.halves if half.role == PLATE and half.end_lost]
    lost = None
    if cut:
        lost = f"rows were lost at the end of the plating of cycle {enumerated(cut)}"
    gaps = [gap for gap in interruptions(found) if gap.startswith("the plating")]
    told["plated_capacity_mah_cm2"] = listed(
        "plated_capacity_mah_cm2",
        values,
        errors,
        [running, lost, *unknown, *gaps, zeros_taken_off(found)],
        "no plating half-cycle",
    )
    total = math.fsum(plated.values())
    missing = unrecorded_share([h for h in found.halves if h.role == PLATE], total)
    if missing > relative:
        told |= undefined(("cumulative_plated_mah_cm2",), summary(unknown) or "")
    else:
        told["cumulative_plated_mah_cm2"] = metric(
            "cumulative_plated_mah_cm2",
            total,
            (relative + missing) * total,
            summary([running, lost, *unknown, *gaps]),
        )
    told["depth_of_discharge_pct"] = _depth_of_discharge(found, cell)
    told["depth_of_discharge_planned_pct"] = _planned_depth_of_discharge(found, cell)
    metal = thickness.METALS[cell.metal]
    uncertain = [half for half in found.halves if half.unrecorded_mah_cm2 != 0.0]
    theory = [
        _theory_um(found, plating, metal, relative, uncertain)
        for plating, _ in found.cycles.values()
    ]
    told["theoretical_thickness_um"] = listed(
        "theoretical_thickness_um",
        theory,
        [None if value is None else relative * value for value in theory],
        [lost, *unknown],
        otherwise="no plating left more metal than there was at the start",
    )
    return told


def _theory_um(
    found: Evaluation,
    plating: HalfCycle | None,
    metal: thickness.Metal,
    relative: float,
    uncertain: Sequence[HalfCycle],
) -> Number:
    if plating is None:
        return None
    net = found.ledger.net_plated_mah_cm2(float(plating.t_s[-1]))
    before = [half for half in uncertain if half.number <= plating.number]
    if unrecorded_share(before, net) > relative:
        return None
    # Metal that only came back onto a pre-deposited layer has no thickness of its own.
    return thickness.theoretical_thickness_um(net, metal) if net > 1e-6 else None


def _current_zero(found: Evaluation) -> Metric:
    """Return the zero of the range in which the first half-cycle with one was measured."""
    name = "current_zero_ua"
    zeros = (half.zero for half in found.halves if half.zero is not None)
    zero = next((zero for zero in zeros if zero.source != "none"), None)
    if zero is not None:
        told = f"of the range {zero.range_a * 1e3:g} mA"
        if zero.source == "calibration":
            told += ", of its calibration; it was not measured before the run"
        return metric(name, zero.current_a * 1e6, zero.uncertainty_a * 1e6, told)
    reason = (found.run.start.get("current_zero") or {}).get("reason")
    if any(zero.source != "none" for zero in found.accuracy.zeros):
        reason = "no half-cycle has a steady current in a range whose zero was measured"
    return metric(name, None, reason=reason or "it was not measured before the run")


def _depth_of_discharge(found: Evaluation, cell: Cell) -> Metric:
    name = "depth_of_discharge_pct"
    available, basis = _available_mah_cm2(cell)
    if available is None:
        return metric(name, None, reason=basis)
    strips = [half for half in found.halves if half.role == STRIP and half.ended]
    lost = [half.cycle for half in strips if half.end_lost]
    strips = [half for half in strips if not half.end_lost]
    known = []
    for half in strips:
        relative = found.accuracy.relative(half.mean_current_a, zeroed=half.zero is not None)
        if unrecorded_share([half], half.capacity_mah_cm2) > relative:
            basis += f"; without cycle {half.cycle}: {told_unrecorded([half])}"
        else:
            known.append(half)
    strips = known
    if lost:
        basis += f"; rows were lost at the end of the stripping of cycle {enumerated(lost)}"
    if not strips:
        return metric(name, None, reason="no complete stripping half-cycle")
    value = 100.0 * math.fsum(half.capacity_mah_cm2 for half in strips) / len(strips) / available
    relative = found.accuracy.relative(
        strips[0].mean_current_a, zeroed=all(half.zero is not None for half in strips)
    )
    return metric(name, value, relative * value, basis)


def _available_mah_cm2(cell: Cell) -> tuple[float | None, str]:
    """Return the metal on the metal electrode that a depth of discharge refers to, and in words."""
    electrode = cell.electrode
    available = cell.inventory_mah_cm2(electrode)
    if not available:
        return None, "the metal available on the electrode is not declared"
    foil = f"of a foil of {electrode.thickness_um:g} um" if electrode.metal == cell.metal else ""
    if not electrode.predeposited_mah_cm2:
        return available, foil
    return (
        available,
        f"{foil} and the pre-deposited metal" if foil else "of the pre-deposited metal",
    )


def _planned_depth_of_discharge(found: Evaluation, cell: Cell) -> Metric:
    """Return the share of the metal that the technique asks each strip for."""
    name = "depth_of_discharge_planned_pct"
    available, basis = _available_mah_cm2(cell)
    if available is None:
        return metric(name, None, reason=basis)
    asked = [
        one
        for one in found.run.asked
        if one.has_half_cycles
        and has_strips(one.technique, one.first_half_cycle, one.last_half_cycle)
    ]
    by_protocol = {
        one.first_half_cycle: planned_strips_mah_cm2(
            one.technique, one.first_half_cycle, one.last_half_cycle
        )
        for one in asked
    }
    planned = set[float]().union(*by_protocol.values())
    if not planned:
        return metric(name, None, reason="no technique with a strip of known charge is stored")
    if len(planned) > 1 or not all(by_protocol.values()):
        several = told_of_each(asked, lambda one: _told_charges(by_protocol[one.first_half_cycle]))
        return metric(name, None, reason=f"strips of several charges: {several}")
    return metric(name, 100.0 * planned.pop() / available, reason=basis)


def _told_charges(charges: Iterable[float]) -> str:
    several = ", ".join(f"{charge:g}" for charge in sorted(charges)[:5])
    return f"{several} mAh/cm2" if several else "what there is"
