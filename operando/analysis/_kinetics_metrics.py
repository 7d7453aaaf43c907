"""Charge transfer, transport, voltammograms and pulses of a run."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from operando.analysis._activation_metrics import ACTIVATION
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    listed,
    metric,
    summary,
    undefined,
)
from operando.analysis._step_surroundings import (
    OPEN_CIRCUIT_ROWS,
    open_circuit_v,
    spectrum_after,
    spectrum_before,
)
from operando.analysis._sweep_metrics import sweep_metrics
from operando.analysis.accuracy import PotentialAccuracy
from operando.analysis.pulses import edge_resistance, mean_resistance, titration
from operando.analysis.steps import (
    HOLD,
    REST,
    SET_CURRENT,
    VOLTAMMOGRAM,
    StepRows,
    recorded_steps,
)
from operando.analysis.tip_uncertainty import median_u
from operando.analysis.transference import step_currents, transference_number
from operando.analysis.voltammetry import OneWay, couples, one_ways, peaks, rate_exponent
from operando.registry._kinetics import KINETICS
from techniques import Cell

_NAMES = tuple(one.name for one in KINETICS if one.name not in ACTIVATION)
# Charging of the double layers is over after so many of the slowest arc's time constants.
CHARGING_TIMES = 5.0


def kinetics_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return what sweeps, holds, voltammograms, pulses and temperatures tell."""
    leader = found.run.streams.get("potentiostat")
    if found.cell is None or leader is None or not len(leader):
        return undefined(_NAMES, found.no_halves)
    steps = recorded_steps(found.run)
    told = sweep_metrics(found, found.cell, steps)
    told["transference_number_apparent"] = _transference(found, steps)
    told |= _voltammograms(found.cell, steps)
    return told | _pulses(found, steps)


# -- transference number


def _transference(found: Evaluation, steps: Sequence[StepRows]) -> Metric:
    name = "transference_number_apparent"
    assert found.cell is not None
    place = next((k for k in range(len(steps) - 1, -1, -1) if steps[k].role == HOLD), None)
    if place is None:
        return metric(name, None, reason="the run has no potential step")
    if not found.cell.symmetric:
        why = (
            "it needs the metal on both electrodes (Bruce and Vincent 1987), and "
            f"{found.cell.other_electrode.material} opposite {found.cell.electrode.material} is no "
            "symmetric cell"
        )
        return metric(name, None, reason=why)
    hold = steps[place]
    rest_v = open_circuit_v(steps, place)
    before = spectrum_before(found.run, hold.edge_s)
    after = spectrum_after(found.run, float(hold.t_s[-1]))
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
    accuracy = PotentialAccuracy.from_calibration(found.calibration)
    resting_v = steps[place - 1].potential_v[-OPEN_CIRCUIT_ROWS:]
    # The rows of a hold tell what was set; open circuit was measured: the offset is between them.
    step_u_v = math.hypot(
        accuracy.offset_v,
        accuracy.gain * height,
        float(np.std(hold.potential_v)) / math.sqrt(len(hold)),
        median_u(float(np.std(resting_v)), len(resting_v)),
    )
    steady = currents.steady_a or 0.0
    result = transference_number(
        currents,
        height,
        before.interfacial_ohm,
        after.interfacial_ohm,
        step_uncertainty_v=step_u_v,
        resistance_before_uncertainty_ohm=before.interfacial_uncertainty_ohm,
        resistance_after_uncertainty_ohm=after.interfacial_uncertainty_ohm,
        current_offset_a=found.accuracy.relative_offset(steady) * abs(steady),
    )
    if result.number is None:
        return metric(name, None, reason=result.reason)
    assert currents.initial_a is not None
    basis = (
        f"apparent; dV {height * 1e3:.2f} mV +- {step_u_v * 1e3:.2g} mV, "
        f"I {currents.initial_a * 1e6:.4g} to "
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
