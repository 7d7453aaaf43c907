"""Charge transfer, transport, voltammograms and pulses of a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from operando.analysis._activation_metrics import ACTIVATION
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    listed,
    metric,
    placed_rows,
    summary,
    undefined,
)
from operando.analysis._impedance_metrics import impedance_fits, spectrum_times
from operando.analysis.activation import settled
from operando.analysis.charge_transfer import TAFEL_WINDOW_V, linear_polarisation, tafel
from operando.analysis.impedance import ArcFit
from operando.analysis.pulses import edge_resistance, mean_resistance, titration
from operando.analysis.steps import (
    HOLD,
    REST,
    SET_CURRENT,
    SWEEP,
    VOLTAMMOGRAM,
    StepRows,
    recorded_steps,
)
from operando.analysis.transference import step_currents, transference_number
from operando.analysis.voltammetry import OneWay, couples, one_ways, peaks, rate_exponent
from operando.registry._kinetics import KINETICS
from operando.runs import Floats, Run
from techniques import Cell
from techniques.metals import METALS

_NAMES = tuple(one.name for one in KINETICS if one.name not in ACTIVATION)
ROOM_TEMPERATURE_K = 298.15
# Charging of the double layers is over after so many of the slowest arc's time constants.
CHARGING_TIMES = 5.0
# Rows that tell the open circuit potential before a step.
OPEN_CIRCUIT_ROWS = 5


def kinetics_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return what sweeps, holds, voltammograms, pulses and temperatures tell."""
    leader = found.run.streams.get("potentiostat")
    if found.cell is None or leader is None or not len(leader):
        return undefined(_NAMES, found.no_halves)
    steps = recorded_steps(found.run)
    told = _tafel(found, found.cell, steps)
    told["transference_number_apparent"] = _transference(found, steps)
    told |= _voltammograms(found.cell, steps)
    return told | _pulses(found, steps)


# -- what precedes a step


def _spectrum_before(run: Run, at_s: float) -> ArcFit | None:
    fits, times = impedance_fits(run), spectrum_times(run)
    for fit, (_, end) in zip(reversed(fits), reversed(times), strict=True):
        if end <= at_s and isinstance(fit, ArcFit):
            return fit
    return None


def _spectrum_after(run: Run, at_s: float) -> ArcFit | None:
    for fit, (begin, _) in zip(impedance_fits(run), spectrum_times(run), strict=True):
        if begin >= at_s and isinstance(fit, ArcFit):
            return fit
    return None


def open_circuit_v(steps: Sequence[StepRows], place: int) -> float | None:
    """Return the potential of the metal electrode at the end of the rest before a step, V."""
    if place == 0 or steps[place - 1].role != REST:
        return None
    return float(np.median(steps[place - 1].potential_v[-OPEN_CIRCUIT_ROWS:]))


def _temperature_k(found: Evaluation, begin_s: float, end_s: float) -> tuple[float, str | None]:
    stream = found.run.streams.get("thermostat")
    if stream is not None and len(stream):
        told = settled(
            placed_rows(stream, "thermostat").middle_s,
            stream.columns["thermostat_temperature"],
            stream.columns.get("thermostat_setpoint"),
            begin_s,
            end_s,
        )
        if told.temperature_k is not None:
            return told.temperature_k, told.reason
    stored = found.run.start.get("temperature_k")
    if isinstance(stored, int | float) and stored > 0:
        return float(stored), None
    return ROOM_TEMPERATURE_K, f"temperature not recorded: {ROOM_TEMPERATURE_K} K assumed"


# -- sweeps


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
    """

    eta_v: Floats
    j_ma_cm2: Floats
    open_circuit_v: float
    begin_s: float
    end_s: float
    measured: bool


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


_SWEEPS = (
    "tafel_slope_mv_dec",
    "j0_apparent_ma_cm2",
    "tafel_slope_cathodic_mv_dec",
    "j0_apparent_cathodic_ma_cm2",
    "j0_linear_ma_cm2",
)


def _tafel(found: Evaluation, cell: Cell, steps: Sequence[StepRows]) -> dict[str, Metric]:
    curve = polarisation_curve(steps, cell.area_cm2)
    if isinstance(curve, str):
        return undefined(_SWEEPS, curve)
    if cell.full_cell:
        return undefined(_SWEEPS, "opposite the metal stands a cathode: no overpotential is known")
    told: dict[str, Metric] = {}
    rest = None if curve.measured else "open circuit taken where the current changes its sign"
    low, high = TAFEL_WINDOW_V
    relative = found.accuracy.relative(1e-3 * cell.area_cm2 * float(np.abs(curve.j_ma_cm2).max()))
    for slope_name, j0_name, window in (
        (*_SWEEPS[0:2], (low, high)),
        (*_SWEEPS[2:4], (-high, -low)),
    ):
        line = tafel(curve.eta_v, curve.j_ma_cm2, window_v=window)
        if line.j0_ma_cm2 is None or line.j0_uncertainty_ma_cm2 is None or line.r2 is None:
            told |= undefined((slope_name, j0_name), line.reason or "no line")
            continue
        basis = summary(
            [
                f"apparent, {line.window_v[0] * 1e3:g} to {line.window_v[1] * 1e3:g} mV, "
                f"{line.points} rows, r2 {line.r2:.4f}",
                rest,
            ]
        )
        told[slope_name] = metric(
            slope_name, line.slope_mv_dec, line.slope_uncertainty_mv_dec, basis
        )
        error = math.hypot(line.j0_uncertainty_ma_cm2, relative * line.j0_ma_cm2)
        told[j0_name] = metric(j0_name, line.j0_ma_cm2, error, basis)
    told["j0_linear_ma_cm2"] = _linear(found, cell, curve, rest)
    return told


def _linear(found: Evaluation, cell: Cell, curve: PolarisationCurve, rest: str | None) -> Metric:
    name = "j0_linear_ma_cm2"
    electrons = METALS[cell.metal].electrons
    both = cell.symmetric and cell.reference_electrode is None
    temperature, note = _temperature_k(found, curve.begin_s, curve.end_s)
    asked = _asks_for_correction(found.run.start.get("technique_as_written"))
    series, error = None, 0.0
    if asked:
        fit = _spectrum_before(found.run, curve.begin_s)
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


def _asks_for_correction(technique: object) -> bool:
    """Return whether a technique as it was written asks to take i R_s off anywhere in it."""
    if isinstance(technique, Mapping):
        if technique.get("type") == "tafel":
            return technique.get("correct_series_resistance") is True
        return any(_asks_for_correction(part) for part in technique.values())
    if isinstance(technique, list | tuple):
        return any(_asks_for_correction(part) for part in technique)
    return False


# -- transference number


def _transference(found: Evaluation, steps: Sequence[StepRows]) -> Metric:
    name = "transference_number_apparent"
    assert found.cell is not None
    place = next((k for k in range(len(steps) - 1, -1, -1) if steps[k].role == HOLD), None)
    if place is None:
        return metric(name, None, reason="the run has no potential step")
    hold = steps[place]
    rest_v = open_circuit_v(steps, place)
    before = _spectrum_before(found.run, hold.edge_s)
    after = _spectrum_after(found.run, float(hold.t_s[-1]))
    for missing, told in (
        (rest_v, "no rest before the potential step tells its height"),
        (before, "no valid spectrum before the potential step"),
        (after, "no valid spectrum after the potential step"),
    ):
        if missing is None:
            return metric(name, None, reason=told)
    assert rest_v is not None
    assert before is not None
    assert after is not None
    since = hold.step_t_s if np.isfinite(hold.step_t_s[0]) else hold.t_s - hold.t_s[0]
    slowest = max((arc.time_constant_s for arc in before.arcs), default=0.0)
    currents = step_currents(since, hold.current_a, charging_s=CHARGING_TIMES * slowest)
    height = float(np.median(hold.potential_v)) - rest_v
    noise = float(np.std(hold.potential_v)) / math.sqrt(len(hold))
    steady = currents.steady_a or 0.0
    result = transference_number(
        currents,
        height,
        before.interfacial_ohm,
        after.interfacial_ohm,
        step_uncertainty_v=noise,
        resistance_before_uncertainty_ohm=before.interfacial_uncertainty_ohm,
        resistance_after_uncertainty_ohm=after.interfacial_uncertainty_ohm,
        current_offset_a=found.accuracy.relative_offset(steady) * abs(steady),
    )
    if result.number is None:
        return metric(name, None, reason=result.reason)
    assert currents.initial_a is not None
    basis = (
        f"apparent; dV {height * 1e3:.2f} mV, I {currents.initial_a * 1e6:.4g} to "
        f"{steady * 1e6:.4g} uA, R {before.interfacial_ohm:.4g} to {after.interfacial_ohm:.4g} ohm"
    )
    return metric(name, result.number, result.uncertainty, basis)


# -- voltammograms

_PEAKS = (
    "cv_anodic_peak_v",
    "cv_cathodic_peak_v",
    "cv_peak_separation_mv",
    "cv_anodic_peak_ma_cm2",
    "cv_rate_exponent",
)


def last_scans(cell: Cell, steps: Sequence[StepRows]) -> list[tuple[float, OneWay, OneWay]]:
    """Return by cyclic voltammetry its scan rate, V/s, and its last sweeps up and down.

    In a full cell potentials are cell voltages and a positive current charges the cell.
    """
    sign = -1.0 if cell.full_cell else 1.0
    found = []
    for step in steps:
        if step.role != VOLTAMMOGRAM:
            continue
        ways = one_ways(step.t_s, sign * step.potential_v, sign * step.current_a)
        up = next((way for way in reversed(ways) if way.direction > 0), None)
        down = next((way for way in reversed(ways) if way.direction < 0), None)
        if up is not None and down is not None and up.scan_rate_v_s > 0:
            found.append((up.scan_rate_v_s, up, down))
    return found


def _voltammograms(cell: Cell, steps: Sequence[StepRows]) -> dict[str, Metric]:
    scans = last_scans(cell, steps)
    if not scans:
        return undefined(_PEAKS, "the run has no cyclic voltammogram with both directions")
    rate, up, down = min(reversed(scans), key=lambda scan: scan[0])
    anodic, cathodic = peaks(up), peaks(down)
    pairs = couples(anodic, cathodic)
    at = f"last scan at {rate * 1e3:.3g} mV/s"
    alone = len(anodic) + len(cathodic) - 2 * len(pairs)
    basis = f"{at}; {alone} peaks have no partner" if alone else at
    if not pairs:
        told = undefined(_PEAKS, f"{at}: no couple of peaks")
        for name, single in ((_PEAKS[0], anodic), (_PEAKS[1], cathodic)):
            if single:
                told[name] = metric(
                    name,
                    [peak.potential_v for peak in single],
                    [peak.uncertainty_v for peak in single],
                    f"{at}; no couple of peaks",
                )
        return told
    told = {
        name: metric(
            name,
            [getattr(pair, side).potential_v for pair in pairs],
            [getattr(pair, side).uncertainty_v for pair in pairs],
            basis,
        )
        for name, side in ((_PEAKS[0], "anodic"), (_PEAKS[1], "cathodic"))
    }
    told[_PEAKS[2]] = metric(
        _PEAKS[2],
        [1e3 * pair.separation_v for pair in pairs],
        [
            1e3 * math.hypot(pair.anodic.uncertainty_v, pair.cathodic.uncertainty_v)
            for pair in pairs
        ],
        basis,
    )
    told[_PEAKS[3]] = metric(
        _PEAKS[3],
        [1e3 * pair.anodic.current_a / cell.area_cm2 for pair in pairs],
        None,
        basis,
    )
    told[_PEAKS[4]] = _exponents(scans, len(pairs))
    return told


def _exponents(scans: Sequence[tuple[float, OneWay, OneWay]], count: int) -> Metric:
    name = "cv_rate_exponent"
    rates: list[float] = []
    currents: list[list[float]] = []
    for rate, up, down in scans:
        pairs = couples(peaks(up), peaks(down))
        if len(pairs) == count:
            rates.append(rate)
            currents.append([pair.anodic.current_a for pair in pairs])
    values: list[Number] = []
    errors: list[Number] = []
    reasons: list[str | None] = []
    for k in range(count):
        fit = rate_exponent(np.array(rates), np.array([row[k] for row in currents]))
        values.append(fit.exponent)
        errors.append(fit.uncertainty)
        reasons.append(fit.reason)
    return listed(name, values, errors, reasons)


# -- edges and pulses


def _pulses(found: Evaluation, steps: tuple[StepRows, ...]) -> dict[str, Metric]:
    gain = found.accuracy.gain
    edges = [
        edge_resistance(before, after)
        for before, after in pairwise(steps)
        if before.role in SET_CURRENT and after.role == REST
    ]
    mean = mean_resistance(edges)
    name = "interrupt_resistance_ohm"
    told: dict[str, Metric] = {}
    if mean is None:
        reasons = summary([edge.reason for edge in edges])
        told[name] = metric(name, None, reason=reasons or "no current was interrupted")
    else:
        resolved = [edge for edge in edges if edge.resistance_ohm is not None]
        first_s = max(edge.first_row_s or 0.0 for edge in resolved)
        told[name] = metric(
            name,
            mean[0],
            math.hypot(mean[1], gain * mean[0]),
            f"{len(resolved)} interrupts; what relaxes within {first_s * 1e3:.3g} ms is in it",
        )
    series = titration(steps)
    names = ("pulse_resistance_ohm", "relaxed_potential_v")
    if not series:
        return told | undefined(names, "the run has no series of pulses with rests")
    drifts = max(abs(pulse.drift_v_h) for pulse in series)
    basis = f"{len(series)} pulses; at the ends of the rests E drifts by up to {drifts:.2g} V/h"
    told[names[0]] = metric(
        names[0],
        [pulse.resistance_ohm for pulse in series],
        [gain * abs(pulse.resistance_ohm) for pulse in series],
        basis,
    )
    told[names[1]] = metric(names[1], [pulse.relaxed_v for pulse in series], None, basis)
    return told
