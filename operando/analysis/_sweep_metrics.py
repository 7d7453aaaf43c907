"""Linear sweeps of a run: Tafel lines, transfer coefficients, exchange current densities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from operando.analysis._evaluation import Evaluation, Metric, metric, summary, undefined
from operando.analysis._step_surroundings import open_circuit_v, spectrum_before, temperature_k
from operando.analysis.charge_transfer import (
    TAFEL_WINDOW_V,
    fit_butler_volmer,
    linear_polarisation,
    tafel,
)
from operando.analysis.steps import SWEEP, StepRows
from operando.runs import Floats, Run
from techniques import Cell
from techniques.metals import METALS

# A transfer coefficient that is less certain is none.
LARGEST_RELATIVE_UNCERTAINTY = 0.25


@dataclass(frozen=True)
class PolarisationCurve:
    """The rows of a linear sweep as overpotential and current density.

    Attributes:
        eta_v: Potential less that of open circuit, V, of all that lies between the electrodes.
        j_ma_cm2: Current density, mA/cm2, positive when the metal dissolves.
        open_circuit_v: That potential, V.
        begin_s: When the sweep began, s.
        end_s: When it ended, s.
        measured: Whether the open circuit potential is that of a rest before; else it is where
            the current changes its sign.
        interfaces: Of how many interfaces ``eta_v`` is: 2 in a symmetric cell of two electrodes
            of which nothing was taken off.
        series_ohm_cm2: Series resistance times the area that was taken off, ohm cm2; None: none.
        series_uncertainty_ohm_cm2: Its standard uncertainty, ohm cm2.
    """

    eta_v: Floats
    j_ma_cm2: Floats
    open_circuit_v: float
    begin_s: float
    end_s: float
    measured: bool
    interfaces: int = 1
    series_ohm_cm2: float | None = None
    series_uncertainty_ohm_cm2: float = 0.0


def polarisation_curve(steps: Sequence[StepRows], area_cm2: float) -> PolarisationCurve | str:
    """Return the last linear sweep of a run, or why there is none."""
    place = next((k for k in range(len(steps) - 1, -1, -1) if steps[k].role == SWEEP), None)
    if place is None:
        return "the run has no linear sweep"
    sweep = steps[place]
    potential, current = sweep.potential_v, sweep.current_a
    rest_v = open_circuit_v(steps, place)
    measured = rest_v is not None
    if rest_v is None:
        turn = np.flatnonzero(np.diff(np.sign(current)) != 0)
        if len(turn) != 1:
            return "no rest before the sweep, and its current does not change sign just once"
        row = int(turn[0])
        share = current[row] / (current[row] - current[row + 1])
        rest_v = float(potential[row] + share * (potential[row + 1] - potential[row]))
    return PolarisationCurve(
        potential - rest_v,
        1e3 * current / area_cm2,
        rest_v,
        float(sweep.t_s[0]),
        float(sweep.t_s[-1]),
        measured,
    )


def interface_curve(
    run: Run, cell: Cell, steps: Sequence[StepRows]
) -> tuple[PolarisationCurve, str | None] | str:
    """Return the curve that Tafel's lines are fitted to, and what is to be said of it.

    Where the technique asks for it (tafel: correct_series_resistance) and a spectrum before tells
    R_s, eta = E - i R_s, in a symmetric cell of two electrodes (E - i R_s)/2: of one interface.
    Else the whole potential, of all that lies between the electrodes.
    """
    curve = polarisation_curve(steps, cell.area_cm2)
    if isinstance(curve, str):
        return curve
    both = cell.symmetric and cell.reference_electrode is None
    uncorrected = replace(curve, interfaces=2 if both else 1)
    of_both = "of both interfaces, " if both else ""
    if not corrects_series_resistance(run):
        return uncorrected, f"{of_both}i R_s not taken off"
    fit = spectrum_before(run, curve.begin_s)
    if fit is None:
        why = "i R_s was to be taken off, and no spectrum before the sweep tells R_s"
        return uncorrected, f"{of_both}i R_s not taken off: {why}"
    series = fit.series_ohm * cell.area_cm2
    corrected = replace(
        curve,
        eta_v=(curve.eta_v - 1e-3 * curve.j_ma_cm2 * series) / (2 if both else 1),
        series_ohm_cm2=series,
        series_uncertainty_ohm_cm2=fit.series_uncertainty_ohm * cell.area_cm2,
    )
    eta = "(E - i R_s)/2, one of two interfaces" if both else "E - i R_s"
    return corrected, f"eta = {eta}, R_s {fit.series_ohm:.4g} ohm of the spectrum before"


def tafel_window_v(run: Run) -> tuple[float, float]:
    """Return the window of |eta| for Tafel's lines, V: declared, or 60 to 110 mV."""
    return declared_tafel_window_v(run.start.get("technique_as_written"))


def declared_tafel_window_v(technique: object) -> tuple[float, float]:
    """Return the same of a technique as it was written."""
    told = (declared_tafel(technique) or {}).get("fit_window_v")
    if isinstance(told, list | tuple) and len(told) == 2:
        low, high = sorted(float(limit) for limit in told)
        return low, high
    return TAFEL_WINDOW_V


_LINES = (
    "tafel_slope_mv_dec",
    "j0_apparent_ma_cm2",
    "tafel_slope_cathodic_mv_dec",
    "j0_apparent_cathodic_ma_cm2",
)
_COEFFICIENTS = ("transfer_coefficient_anodic", "transfer_coefficient_cathodic")
_SWEEPS = (*_LINES, *_COEFFICIENTS, "j0_linear_ma_cm2")


def sweep_metrics(found: Evaluation, cell: Cell, steps: Sequence[StepRows]) -> dict[str, Metric]:
    """Return what the last linear sweep of a run tells."""
    raw = polarisation_curve(steps, cell.area_cm2)
    told_curve = interface_curve(found.run, cell, steps)
    if isinstance(raw, str) or isinstance(told_curve, str):
        return undefined(_SWEEPS, str(raw))
    if cell.full_cell:
        return undefined(_SWEEPS, "opposite the metal stands a cathode: no overpotential is known")
    curve, remark = told_curve
    rest = None if curve.measured else "open circuit taken where the current changes its sign"
    told = _lines(found, cell, curve, summary([remark, rest]))
    told |= _coefficients(found, cell, curve, summary([remark, rest]))
    told["j0_linear_ma_cm2"] = _linear(found, cell, raw, rest)
    return told


def _lines(
    found: Evaluation, cell: Cell, curve: PolarisationCurve, remark: str | None
) -> dict[str, Metric]:
    told: dict[str, Metric] = {}
    low, high = tafel_window_v(found.run)
    relative = found.accuracy.relative(1e-3 * cell.area_cm2 * float(np.abs(curve.j_ma_cm2).max()))
    corrected = curve.series_ohm_cm2 is not None
    for slope_name, j0_name, window in (
        (*_LINES[0:2], (low, high)),
        (*_LINES[2:4], (-high, -low)),
    ):
        line = tafel(curve.eta_v, curve.j_ma_cm2, window_v=window)
        if line.j0_ma_cm2 is None or line.j0_uncertainty_ma_cm2 is None or line.r2 is None:
            reason = summary([line.reason or "no line", remark])
            told |= undefined((slope_name, j0_name), str(reason))
            continue
        basis = summary(
            [
                f"{'' if corrected else 'apparent, '}{line.window_v[0] * 1e3:g} to "
                f"{line.window_v[1] * 1e3:g} mV, {line.points} rows, r2 {line.r2:.4f}",
                remark,
            ]
        )
        told[slope_name] = metric(
            slope_name, line.slope_mv_dec, line.slope_uncertainty_mv_dec, basis
        )
        error = math.hypot(line.j0_uncertainty_ma_cm2, relative * line.j0_ma_cm2)
        told[j0_name] = metric(j0_name, line.j0_ma_cm2, error, basis)
    return told


def _coefficients(
    found: Evaluation, cell: Cell, curve: PolarisationCurve, remark: str | None
) -> dict[str, Metric]:
    """Return the transfer coefficients of the whole reaction, fitted by Butler and Volmer."""
    if curve.series_ohm_cm2 is None:
        return undefined(
            _COEFFICIENTS,
            "a curve with i R_s in it tells none (tafel: correct_series_resistance, after a "
            "spectrum)",
        )
    kelvin, note = temperature_k(found, curve.begin_s, curve.end_s)
    two = cell.symmetric and cell.reference_electrode is None
    # What R_s is wrong by moves the potential of every row to the same side.
    wrong_v = 1e-3 * curve.j_ma_cm2 * curve.series_uncertainty_ohm_cm2 / (2 if two else 1)
    try:
        fit = fit_butler_volmer(curve.eta_v, curve.j_ma_cm2, temperature_k=kelvin)
        other = fit_butler_volmer(curve.eta_v - wrong_v, curve.j_ma_cm2, temperature_k=kelvin)
    except ValueError as problem:
        return undefined(_COEFFICIENTS, str(problem))
    alike = (
        "two electrodes of the metal: one branch each at any time, so that both come out alike, "
        "the harmonic mean of both"
        if two
        else None
    )
    told: dict[str, Metric] = {}
    for name, value, error, moved in (
        (
            _COEFFICIENTS[0],
            fit.alpha_anodic,
            fit.alpha_anodic_uncertainty,
            other.alpha_anodic,
        ),
        (
            _COEFFICIENTS[1],
            fit.alpha_cathodic,
            fit.alpha_cathodic_uncertainty,
            other.alpha_cathodic,
        ),
    ):
        total = math.hypot(error, moved - value)
        if not total < LARGEST_RELATIVE_UNCERTAINTY * value:
            why = f"{value:.2g} with a standard uncertainty of {total:.2g}: the sweep decides none"
            told[name] = metric(name, None, reason=why)
            continue
        basis = [f"of the whole reaction, {kelvin:.2f} K", summary([remark, alike, note])]
        told[name] = metric(name, value, total, summary(basis))
    return told


def _linear(found: Evaluation, cell: Cell, curve: PolarisationCurve, rest: str | None) -> Metric:
    name = "j0_linear_ma_cm2"
    electrons = METALS[cell.metal].electrons
    both = cell.symmetric and cell.reference_electrode is None
    temperature, note = temperature_k(found, curve.begin_s, curve.end_s)
    series, error = None, 0.0
    if corrects_series_resistance(found.run):
        fit = spectrum_before(found.run, curve.begin_s)
        if fit is None:
            return metric(
                name,
                None,
                reason="i R_s is to be taken off, and no spectrum before the sweep tells R_s",
            )
        series = fit.series_ohm * cell.area_cm2
        error = fit.series_uncertainty_ohm * cell.area_cm2
    line = linear_polarisation(
        curve.eta_v,
        curve.j_ma_cm2,
        electrons,
        limit_v=0.005 if electrons == 1 else 0.003,
        temperature_k=temperature,
        interfaces=2 if both else 1,
        series_ohm_cm2=series,
        series_uncertainty_ohm_cm2=error,
    )
    if line.j0_ma_cm2 is None or line.j0_uncertainty_ma_cm2 is None:
        return metric(name, None, reason=line.reason)
    basis = summary(
        [
            f"{line.points} rows within {line.limit_v * 1e3:g} mV, {temperature:.2f} K"
            + (", one of two interfaces" if both else ""),
            "i R_s is not taken off"
            if series is None
            else f"i R_s taken off, R_s {series / cell.area_cm2:.4g} ohm of the spectrum before",
            summary([rest, note]),
        ]
    )
    gain = found.accuracy.relative(1e-3 * cell.area_cm2 * line.limit_v)
    return metric(
        name, line.j0_ma_cm2, math.hypot(line.j0_uncertainty_ma_cm2, gain * line.j0_ma_cm2), basis
    )


def corrects_series_resistance(run: Run) -> bool:
    """Return whether the technique of a run as it was written asks to take i R_s off."""
    told = declared_tafel(run.start.get("technique_as_written"))
    return told is not None and told.get("correct_series_resistance") is True


def declared_tafel(technique: object) -> Mapping[str, Any] | None:
    """Return the last ``tafel`` anywhere in a technique as it was written."""
    if isinstance(technique, Mapping):
        if technique.get("type") == "tafel":
            return technique
        parts = list(technique.values())
    elif isinstance(technique, list | tuple):
        parts = list(technique)
    else:
        return None
    found = (declared_tafel(part) for part in reversed(parts))
    return next((one for one in found if one is not None), None)
