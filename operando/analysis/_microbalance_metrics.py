"""Mass against charge: what a quartz microbalance tells of what is plated."""

import math

import numpy as np

from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    listed,
    placed_rows,
    undefined,
)
from operando.analysis.segments import HalfCycle
from operando.analysis.straight_lines import slope_of_line
from operando.analysis.thickness import FARADAY_C_MOL, METALS
from operando.runs import Floats, Run, Stream

_NAME = "mass_per_charge_ug_mc"
_MC_PER_MAH = 3600.0
_FEWEST = 4
# What of a plating has to lie between the first and the last reading.
_LEAST_SHARE = 0.3


def microbalance_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the mass gained per charge of each plating."""
    balance = _balance(found.run)
    if balance is None:
        return undefined((_NAME,), "the run has no microbalance")
    cell = found.cell
    if cell is None or not found.halves:
        return undefined((_NAME,), found.no_halves)
    name, stream = balance
    mass = stream.columns[f"{name}_mass"]
    placed = placed_rows(stream, name)
    values: list[Number] = []
    errors: list[Number] = []
    reasons: list[str | None] = []
    for number, (plating, _) in found.cycles.items():
        value, error, reason = (
            (None, None, "no plating")
            if plating is None
            else _of_plating(found, plating, mass, (placed.before_s, placed.after_s))
        )
        values.append(value)
        errors.append(error)
        reasons.append(reason and f"cycle {number}: {reason}")
    told = found.calibration.get(name) or {}
    sensitivity = told.get("sensitivity_hz_cm2_ug")
    of = f"{sensitivity:g} Hz cm2/ug" if sensitivity else "that of its driver"
    metal = METALS[cell.metal]
    ideal = metal.molar_mass_g_mol / (metal.electrons * FARADAY_C_MOL) * 1e3
    basis = (
        f"sensitivity of the crystal {of}, as declared; its active area is taken for the "
        f"electrode's; {cell.metal} alone is {ideal:.4f} ug/mC"
    )
    if all(value is None for value in values):
        return {_NAME: listed(_NAME, values, errors, reasons, "no plating half-cycle")}
    return {_NAME: listed(_NAME, values, errors, [basis, *reasons])}


def _balance(run: Run) -> tuple[str, Stream] | None:
    """Return the first stream that tells a mass and the frequency it was made of."""
    for name, stream in run.streams.items():
        needed = ("mass", "frequency", "t_before", "t_after")
        if len(stream) and all(f"{name}_{key}" in stream.columns for key in needed):
            return name, stream
    return None


def _of_plating(
    found: Evaluation, half: HalfCycle, mass: Floats, placed: tuple[Floats, Floats]
) -> tuple[Number, Number, str | None]:
    """Return mass per charge of one plating, its uncertainty, and why there is none."""
    begin, end = float(half.t_s[0]), float(half.t_s[-1])
    before, after = placed
    inside = (before >= begin) & (after <= end) & np.isfinite(mass)
    count = int(np.sum(inside))
    if count < _FEWEST:
        return None, None, f"{count} readings within the plating, {_FEWEST} are needed"
    middle = 0.5 * (before[inside] + after[inside])
    charge = np.array([found.ledger.net_plated_mah_cm2(float(t)) for t in middle])
    spanned = float(charge.max() - charge.min())
    if not spanned > _LEAST_SHARE * half.capacity_mah_cm2:
        return None, None, "its readings lie too close together in charge"
    per_charge, scatter = slope_of_line(charge * _MC_PER_MAH, mass[inside])
    relative = found.accuracy.relative(half.mean_current_a, zeroed=half.zero is not None)
    error = math.hypot(relative * per_charge, scatter or 0.0)
    return per_charge, error, None
