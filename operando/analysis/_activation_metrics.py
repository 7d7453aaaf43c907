"""Resistances at several temperatures, and their activation energies."""

import math
from dataclasses import dataclass

import numpy as np

from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    metric,
    placed_rows,
    summary,
    undefined,
)
from operando.analysis._impedance_metrics import impedance_fits, spectrum_times
from operando.analysis.activation import activation_energy, settled
from operando.analysis.calibrations import thermometer
from operando.runs import Run


@dataclass(frozen=True)
class TemperaturePoint:
    """The interfacial resistance at one temperature.

    Attributes:
        temperature_k: Mean temperature during the spectrum, K.
        resistance_ohm: Sum of the arcs, ohm.
        uncertainty_ohm: Its standard uncertainty, ohm; the current's gain is not in it, as it is
            the same at all temperatures.
        spectrum: Number of the spectrum, from 1.
    """

    temperature_k: float
    resistance_ohm: float
    uncertainty_ohm: float
    spectrum: int
    temperature_uncertainty_k: float = 0.0


def temperature_points(run: Run) -> tuple[list[TemperaturePoint], list[str]]:
    """Return resistance and temperature of every spectrum of a run, and why some are left out.

    The temperature is that of the stream ``thermostat`` if there is one, and must have stood;
    else ``temperature_k`` of the start document of the run, or of each run of a chain. The points
    of several runs can be put together for `activation_energy`.
    """
    points: list[TemperaturePoint] = []
    left_out: list[str] = []
    put_right: dict[str, None] = {}
    stream = run.streams.get("thermostat")
    spectra = run.streams.get("impedance")
    fits, times = impedance_fits(run), spectrum_times(run)
    calibration = run.start.get("calibration") or {}
    for number, (fit, (begin, end)) in enumerate(zip(fits, times, strict=True), 1):
        error_k = 0.0
        if isinstance(fit, str) or not fit.arcs:
            told = fit if isinstance(fit, str) else "no arc stands out"
            left_out.append(f"spectrum {number}: {told}")
            continue
        if stream is not None and len(stream):
            bath = settled(
                placed_rows(stream, "thermostat").middle_s,
                stream.columns["thermostat_temperature"],
                stream.columns.get("thermostat_setpoint"),
                begin,
                end,
            )
            temperature, problem = bath.temperature_k, bath.reason
            if temperature is not None and problem is None:
                temperature, error_k, told_k = thermometer(calibration, temperature)
                put_right |= {} if told_k is None else {told_k: None}
        else:
            assert spectra is not None  # there are spectra
            row = int(
                np.flatnonzero(spectra.columns["potentiostat_impedance_spectrum"] == number)[0]
            )
            temperature, problem = _stored_k(run, sum(at <= row for at in spectra.begins[1:]))
        if problem is not None or temperature is None:
            left_out.append(f"spectrum {number}: {problem}")
            continue
        points.append(
            TemperaturePoint(
                temperature,
                fit.interfacial_ohm,
                fit.interfacial_uncertainty_ohm,
                number,
                error_k,
            )
        )
    return points, [*left_out, *put_right]


def _stored_k(run: Run, member: int) -> tuple[float | None, str | None]:
    document = run.members[member] if member < len(run.members) else run.start
    told = document.get("temperature_k")
    if isinstance(told, int | float) and told > 0:
        return float(told), None
    return None, "no temperature was recorded"


ACTIVATION = (
    "temperature_k",
    "resistance_at_temperature_ohm",
    "activation_energy_kj_mol",
    "activation_energy_ln_inverse_r_kj_mol",
)


def activation_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the activation energies in both forms, and what they rest on."""
    if not impedance_fits(found.run):
        return undefined(ACTIVATION, "the run has no impedance spectrum")
    points, left_out = temperature_points(found.run)
    if not points:
        return undefined(ACTIVATION, summary(left_out) or "no spectrum has a temperature")
    temperatures = [point.temperature_k for point in points]
    resistances = [point.resistance_ohm for point in points]
    errors = [point.uncertainty_ohm for point in points]
    errors_k = [point.temperature_uncertainty_k for point in points]
    worst_k = max(errors_k)
    gain = found.accuracy.gain
    told = {
        "temperature_k": metric(
            "temperature_k",
            list(temperatures),
            list(errors_k) if worst_k else None,
            summary(left_out),
        ),
        "resistance_at_temperature_ohm": metric(
            "resistance_at_temperature_ohm",
            list(resistances),
            [math.hypot(u, gain * r) for u, r in zip(errors, resistances, strict=True)],
            summary(left_out),
        ),
    }
    for name, form in (
        ("activation_energy_kj_mol", "ln(T/R)"),
        ("activation_energy_ln_inverse_r_kj_mol", "ln(1/R)"),
    ):
        fit = activation_energy(
            temperatures,
            resistances,
            errors,
            form=form,  # type: ignore[arg-type]  # both are forms
            temperature_uncertainty_k=worst_k,
        )
        if fit.kj_mol is None or fit.r2 is None:
            told[name] = metric(name, None, reason=summary([fit.reason, *left_out]))
            continue
        basis = f"{form}, {fit.temperatures} temperatures, r2 {fit.r2:.4f}"
        told[name] = metric(name, fit.kj_mol, fit.uncertainty_kj_mol, summary([basis, *left_out]))
    return told
