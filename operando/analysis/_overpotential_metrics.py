"""Overpotentials of a run."""

import math

import numpy as np

from operando.analysis import overpotential
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    listed,
    metric,
    summary,
    undefined,
)
from operando.analysis._impedance_metrics import impedance_fits
from operando.analysis.accuracy import PotentialAccuracy
from operando.analysis.full_cell import NO_CELL_VOLTAGE, mean_voltage_v
from operando.analysis.impedance import ArcFit
from operando.analysis.inventory import metal_potential_v
from operando.analysis.segments import PLATE, REST
from operando.analysis.tip_uncertainty import Rest
from techniques import Cell

_OVERPOTENTIALS = (
    "cell_eta_n_mv",
    "eta_n_mv",
    "plateau_overpotential_mv",
    "polarisation_mv",
    "late_strip_rise",
    "overpotential_mv",
    "voltage_hysteresis_mv",
    "electrode_overpotential_mv",
)
_OF_ONE_METAL = ("cell_eta_n_mv", "eta_n_mv", "plateau_overpotential_mv", "late_strip_rise")
_BETWEEN_ELECTRODES = ("polarisation_mv", "overpotential_mv", "voltage_hysteresis_mv")
_NO_REST = "no rest long enough to tell what built up since the tip: not in the uncertainty"
# Of the plating's current: less may be an instrument's zero, more is no rest.
_NO_CURRENT = 0.1
# A number and its standard uncertainty.
_Pair = tuple[Number, Number]


def overpotential_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the nucleation overpotential, and plateau, polarisation and late rise by cycle."""
    cell = found.cell
    if cell is None or not found.halves:
        return undefined(_OVERPOTENTIALS, found.no_halves)
    told: dict[str, Metric] = {}
    accuracy = PotentialAccuracy.from_calibration(found.calibration)
    tip = overpotential.nucleation(
        found.halves,
        rest=_rest_after_first_plating(found),
        potential_gain=accuracy.gain,
    )
    untold = _NO_REST if tip.overpotential_v is not None and tip.relaxed_v is None else None
    measured = {
        "value": None if tip.overpotential_v is None else tip.overpotential_v * 1e3,
        "uncertainty": None if tip.uncertainty_v is None else tip.uncertainty_v * 1e3,
        "reason": summary([found.no_zero or tip.reason, untold]),
    }
    if cell.reference_electrode is None:
        told["cell_eta_n_mv"] = metric("cell_eta_n_mv", **measured)  # type: ignore[arg-type]  # one dict of three kinds
        told |= undefined(("eta_n_mv",), "needs a reference electrode; see cell_eta_n_mv")
    else:
        told["eta_n_mv"] = metric("eta_n_mv", **measured)  # type: ignore[arg-type]  # as above
        told |= undefined(("cell_eta_n_mv",), "measured against a reference; see eta_n_mv")
    plateaus, gaps, rises = _by_cycle(found, accuracy)
    running = None
    if not found.halves[-1].ended:
        running = f"cycle {found.halves[-1].cycle} has not ended"
    halved = [(_half(gap), _half(error)) for gap, error in gaps]
    for name, pairs in (
        ("plateau_overpotential_mv", plateaus),
        ("polarisation_mv", gaps),
        ("late_strip_rise", rises),
        ("overpotential_mv", halved),
        ("voltage_hysteresis_mv", _mean_gaps(found, accuracy) if cell.full_cell else gaps),
    ):
        # The difference of two potentials of a half cell does not depend on the reference.
        counts_from_metal = name in _OF_ONE_METAL or cell.symmetric
        zero = found.no_zero or _counted_from(cell) if counts_from_metal else None
        told[name] = listed(
            name,
            [value for value, _ in pairs],
            [error for _, error in pairs],
            [zero, running],
            "no complete half-cycle",
        )
    if cell.full_cell:
        against = "its cathode" if cell.reference_electrode is None else "a reference"
        told |= undefined(_OF_ONE_METAL, f"a full cell: the potential is that against {against}")
        if cell.reference_electrode is not None:
            told |= undefined(_BETWEEN_ELECTRODES, NO_CELL_VOLTAGE)
    told["electrode_overpotential_mv"] = _of_one_electrode(found, plateaus)
    return told


def _by_cycle(found: Evaluation, accuracy: PotentialAccuracy) -> tuple[list[_Pair], ...]:
    """Return plateau and polarisation, mV, and late rise by cycle, with their uncertainties."""
    assert found.cell is not None  # it has half-cycles
    symmetric = found.cell.symmetric
    plateaus: list[_Pair] = []
    gaps: list[_Pair] = []
    rises: list[_Pair] = []
    for plating, stripping in found.cycles.values():
        row_u_v = {
            half.number: overpotential.one_row_u_v(half)
            for half in (plating, stripping)
            if half is not None
        }
        plateau: _Pair = (None, None)
        gap: _Pair = (None, None)
        rise: _Pair = (None, None)
        if plating is not None and plating.ended:
            value = overpotential.plateau_v(plating)
            u = overpotential.plateau_u_v(plating, value, row_u_v[plating.number], accuracy)
            plateau = _millivolt(value, u)
        if plating is not None and stripping is not None and stripping.ended:
            value = overpotential.polarisation_v(plating, stripping, symmetric=symmetric)
            rows = (row_u_v[plating.number], row_u_v[stripping.number])
            u = overpotential.polarisation_u_v(
                plating, stripping, value, rows, accuracy, symmetric=symmetric
            )
            gap = _millivolt(value, u)
        if stripping is not None and stripping.ended and not stripping.end_lost:
            ratio = overpotential.late_rise(stripping)
            if ratio is not None:
                row = row_u_v[stripping.number]
                rise = (ratio, overpotential.late_rise_u(stripping, ratio, row, accuracy))
        plateaus.append(plateau)
        gaps.append(gap)
        rises.append(rise)
    return plateaus, gaps, rises


def _millivolt(value_v: float, u_v: float) -> _Pair:
    return (1e3 * value_v, 1e3 * u_v) if math.isfinite(value_v) else (None, None)


def _half(number: Number) -> Number:
    return None if number is None else 0.5 * number


def _counted_from(cell: Cell) -> str | None:
    """Say from which potential |E| counts where that is another than 0."""
    metal_v, why = metal_potential_v(cell)
    if why is not None or metal_v == 0:
        return None
    return f"|E| counts from {metal_v:g} V, {cell.metal} against {cell.reference_electrode}"


def _rest_after_first_plating(found: Evaluation) -> Rest | None:
    """Return what was recorded at rest right after the first plating; None if nothing was."""
    number = next((n for n, half in enumerate(found.halves) if half.role == PLATE), None)
    if number is None:
        return None
    half = found.halves[number]
    columns = found.run.streams["potentiostat"].columns
    t_s, current_a = columns["potentiostat_t"], columns["potentiostat_current"]
    first = int(np.searchsorted(t_s, half.t_s[-1], "right"))
    stop = len(t_s)
    if number + 1 < len(found.halves):
        stop = int(np.searchsorted(t_s, found.halves[number + 1].t_s[0], "left"))
    flowing = np.abs(current_a[first:stop]) > _NO_CURRENT * abs(half.mean_current_a)
    broken = np.flatnonzero(flowing | (columns["potentiostat_role"][first:stop] != REST))
    stop = first + int(broken[0]) if len(broken) else stop
    potential_v = columns["potentiostat_potential"][first:stop]
    known = np.isfinite(potential_v)
    if not known.any():
        return None
    assert found.cell is not None  # it has half-cycles
    mirror = 1.0 if found.cell.metal_electrode == "WE" else -1.0
    return Rest((t_s[first:stop] - half.t_s[-1])[known], mirror * potential_v[known])


def _mean_gaps(found: Evaluation, accuracy: PotentialAccuracy) -> list[_Pair]:
    """Return the mean voltage of charge less that of discharge by cycle, mV; the offset cancels."""
    gaps: list[_Pair] = []
    for charge, discharge in found.cycles.values():
        both = [
            mean_voltage_v(half) if half is not None and half.ended else None
            for half in (charge, discharge)
        ]
        if both[0] is None or both[1] is None:
            gaps.append((None, None))
            continue
        gap = 1e3 * (both[0] - both[1])
        gaps.append((gap, accuracy.gain * abs(gap)))
    return gaps


def _of_one_electrode(found: Evaluation, plateaus: list[_Pair]) -> Metric:
    """Return |E| - |i| R_s by cycle, half of it without a reference; R_s of the last spectrum."""
    name, cell = "electrode_overpotential_mv", found.cell
    assert cell is not None  # it has half-cycles
    if found.no_zero is not None:
        return metric(name, None, reason=found.no_zero)
    share = 0.5 if cell.reference_electrode is None else 1.0
    if cell.reference_electrode is None and not cell.symmetric:
        return metric(name, None, reason="needs a symmetric cell: both electrodes alike")
    fits = [
        (int(spectrum.half_cycle[0]), fit)
        for spectrum, fit in zip(found.spectra, impedance_fits(found.run), strict=True)
        if len(spectrum.t_s) and isinstance(fit, ArcFit)
    ]
    if not fits:
        return metric(name, None, reason="R_s is not known: no impedance spectrum could be fitted")
    values: list[Number] = []
    errors: list[Number] = []
    for (plating, _), (plateau, plateau_u) in zip(found.cycles.values(), plateaus, strict=True):
        if plating is None or plateau is None or plateau_u is None:
            values.append(None)
            errors.append(None)
            continue
        before = [fit for half_cycle, fit in fits if half_cycle < plating.number]
        fit = before[-1] if before else fits[0][1]
        current_a = abs(plating.mean_current_a)
        value = share * (plateau - 1e3 * current_a * fit.series_ohm)
        # Below i R_s that resistance is no longer the cell's: it is shorted.
        values.append(value if value > 0 else None)
        error = share * math.hypot(plateau_u, 1e3 * current_a * fit.series_uncertainty_ohm)
        errors.append(error if value > 0 else None)
    first_ohm = fits[0][1].series_ohm
    below = sum(value is None for value in values) - sum(one is None for one, _ in plateaus)
    lower = f"|E| below i R_s in {below} cycles" if below else None
    basis = f"R_s of the last spectrum before, {first_ohm:.3g} ohm at first"
    alone = None
    if cell.reference_electrode is not None:
        alone = f"of the working electrode alone, against {cell.reference_electrode}: not halved"
    return listed(name, values, errors, [alone, basis, lower], "no complete plating")
