"""Linear sweeps of a run: Tafel lines, transfer coefficients, exchange current densities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from operando.analysis._evaluation import Evaluation, Metric, metric, summary, undefined
from operando.analysis._step_surroundings import open_circuit_v, spectrum_before, temperature_k
from operando.analysis.accuracy import PotentialAccuracy, potential_offset_v
from operando.analysis.charge_transfer import (
    TAFEL_WINDOW_V,
    LinearPolarisation,
    fit_butler_volmer,
    linear_polarisation,
    tafel,
)
from operando.analysis.impedance import ArcFit
from operando.analysis.steps import SWEEP, StepRows
from operando.runs import Floats, Run, at_time
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
    return declared_tafel_window_v(_written_of_the_last_sweep(run))


def _written_of_the_last_sweep(run: Run) -> object:
    """Return the technique as it was written under which the last linear sweep of a run ran."""
    asked, stream = run.asked, run.streams.get("potentiostat")
    if len(asked) == 1 or stream is None:
        return asked[0].written
    t_s, role = (stream.columns[f"potentiostat_{name}"] for name in ("t", "role"))
    return at_time(asked, float(np.max(t_s, where=role == SWEEP, initial=-math.inf))).written


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
_LINEAR, _LINEAR_APPARENT = "j0_linear_ma_cm2", "j0_linear_apparent_ma_cm2"
_SWEEPS = (*_LINES, *_COEFFICIENTS, _LINEAR, _LINEAR_APPARENT)


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
    told[_LINEAR] = _linear(found, cell, raw, rest)
    told[_LINEAR_APPARENT] = _linear_of(_LINEAR_APPARENT, found, cell, raw, rest, None)
    return told


def _lines(
    found: Evaluation, cell: Cell, curve: PolarisationCurve, remark: str | None
) -> dict[str, Metric]:
    told: dict[str, Metric] = {}
    low, high = tafel_window_v(found.run)
    relative = found.accuracy.relative(1e-3 * cell.area_cm2 * float(np.abs(curve.j_ma_cm2).max()))
    corrected = curve.series_ohm_cm2 is not None
    both = cell.symmetric and cell.reference_electrode is None
    off_v = _open_circuit_off_v(found, curve) / (2 if corrected and both else 1)
    gain = PotentialAccuracy.from_calibration(found.calibration).gain
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
        assert line.slope_mv_dec is not None  # there is a line
        assert line.slope_uncertainty_mv_dec is not None
        error = math.hypot(line.slope_uncertainty_mv_dec, gain * line.slope_mv_dec)
        told[slope_name] = metric(slope_name, line.slope_mv_dec, error, basis)
        of_zero = math.log(10.0) * 1e3 * off_v / line.slope_mv_dec
        error = math.hypot(
            line.j0_uncertainty_ma_cm2, relative * line.j0_ma_cm2, of_zero * line.j0_ma_cm2
        )
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
        others = [
            fit_butler_volmer(curve.eta_v - shift_v, curve.j_ma_cm2, temperature_k=kelvin)
            for shift_v in (wrong_v, _open_circuit_off_v(found, curve) / (2 if two else 1))
        ]
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
            [other.alpha_anodic for other in others],
        ),
        (
            _COEFFICIENTS[1],
            fit.alpha_cathodic,
            fit.alpha_cathodic_uncertainty,
            [other.alpha_cathodic for other in others],
        ),
    ):
        total = math.hypot(error, *(one - value for one in moved))
        if not total < LARGEST_RELATIVE_UNCERTAINTY * value:
            why = f"{value:.2g} with a standard uncertainty of {total:.2g}: the sweep decides none"
            told[name] = metric(name, None, reason=why)
            continue
        basis = [f"of the whole reaction, {kelvin:.2f} K", summary([remark, alike, note])]
        told[name] = metric(name, value, total, summary(basis))
    return told


def _linear(found: Evaluation, cell: Cell, curve: PolarisationCurve, rest: str | None) -> Metric:
    """Return j0 of the interface, for which i R_s must be taken off."""
    if not corrects_series_resistance(found.run):
        why = (
            "i R_s is not taken off (tafel: correct_series_resistance: true, after a spectrum): "
            f"see {_LINEAR_APPARENT}"
        )
        return metric(_LINEAR, None, reason=why)
    fit = spectrum_before(found.run, curve.begin_s)
    if fit is None:
        why = "i R_s is to be taken off, and no spectrum before the sweep tells R_s"
        return metric(_LINEAR, None, reason=f"{why}: see {_LINEAR_APPARENT}")
    return _linear_of(_LINEAR, found, cell, curve, rest, fit)


def _linear_of(
    name: str,
    found: Evaluation,
    cell: Cell,
    curve: PolarisationCurve,
    rest: str | None,
    fit: ArcFit | None,
) -> Metric:
    """Return j0 by the rows near open circuit, with what R_s of a fit makes taken off."""
    electrons = METALS[cell.metal].electrons
    both = cell.symmetric and cell.reference_electrode is None
    temperature, note = temperature_k(found, curve.begin_s, curve.end_s)
    series = None if fit is None else fit.series_ohm * cell.area_cm2
    error = 0.0 if fit is None else fit.series_uncertainty_ohm * cell.area_cm2
    limit_v = 0.005 if electrons == 1 else 0.003

    def line_of(open_circuit_off_v: float) -> LinearPolarisation:
        return linear_polarisation(
            curve.eta_v - open_circuit_off_v,
            curve.j_ma_cm2,
            electrons,
            limit_v=limit_v,
            temperature_k=temperature,
            interfaces=2 if both else 1,
            series_ohm_cm2=series,
            series_uncertainty_ohm_cm2=error,
        )

    line, off_v = line_of(0.0), _open_circuit_off_v(found, curve)
    if line.j0_ma_cm2 is None or line.j0_uncertainty_ma_cm2 is None:
        return metric(name, None, reason=line.reason)
    basis = summary(
        [
            f"{line.points} rows within {line.limit_v * 1e3:g} mV, {temperature:.2f} K"
            + (", one of two interfaces" if both else ""),
            "apparent, i R_s is not taken off"
            if fit is None
            else f"i R_s taken off, R_s {fit.series_ohm:.4g} ohm of the spectrum before",
            summary([rest, note]),
        ]
    )
    gain = math.hypot(
        found.accuracy.relative(1e-3 * cell.area_cm2 * line.largest_ma_cm2),
        PotentialAccuracy.from_calibration(found.calibration).gain,
    )
    moved = [
        other.j0_ma_cm2 - line.j0_ma_cm2
        for other in map(line_of, (off_v, -off_v))
        if other.j0_ma_cm2 is not None
    ]
    # Which rows lie near open circuit depends on where that is.
    of_zero = max(map(abs, moved), default=0.0)
    total = math.hypot(line.j0_uncertainty_ma_cm2, gain * line.j0_ma_cm2, of_zero)
    return metric(name, line.j0_ma_cm2, total, basis)


def _open_circuit_off_v(found: Evaluation, curve: PolarisationCurve) -> float:
    """Return the standard uncertainty of a curve's zero, V.

    Potentials of a sweep are those that were set, that of open circuit was measured: the offset is
    between them. There is none where the zero is where the current changes its sign.
    """
    return potential_offset_v(found.calibration) if curve.measured else 0.0


def corrects_series_resistance(run: Run) -> bool:
    """Return whether the technique of a run as it was written asks to take i R_s off."""
    told = declared_tafel(_written_of_the_last_sweep(run))
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
