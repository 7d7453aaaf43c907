"""What precedes and follows a step of a run: open circuit, spectra, temperature."""

from collections.abc import Sequence

import numpy as np

from operando.analysis._evaluation import Evaluation, placed_rows
from operando.analysis._impedance_metrics import impedance_fits, spectrum_times
from operando.analysis.activation import settled
from operando.analysis.calibrations import thermometer
from operando.analysis.impedance import ArcFit
from operando.analysis.steps import REST, StepRows
from operando.runs import Run

ROOM_TEMPERATURE_K = 298.15
# Rows that tell the open circuit potential before a step.
OPEN_CIRCUIT_ROWS = 5


def spectrum_before(run: Run, at_s: float) -> ArcFit | None:
    """Return the fit of the last valid spectrum that had ended at a time, s."""
    fits, times = impedance_fits(run), spectrum_times(run)
    for fit, (_, end) in zip(reversed(fits), reversed(times), strict=True):
        if end <= at_s and isinstance(fit, ArcFit):
            return fit
    return None


def spectrum_after(run: Run, at_s: float) -> ArcFit | None:
    """Return the fit of the first valid spectrum that began after a time, s."""
    for fit, (begin, _) in zip(impedance_fits(run), spectrum_times(run), strict=True):
        if begin >= at_s and isinstance(fit, ArcFit):
            return fit
    return None


def open_circuit_v(steps: Sequence[StepRows], place: int) -> float | None:
    """Return the potential of the metal electrode at the end of the rest before a step, V."""
    if place == 0 or steps[place - 1].role != REST:
        return None
    return float(np.median(steps[place - 1].potential_v[-OPEN_CIRCUIT_ROWS:]))


def temperature_k(found: Evaluation, begin_s: float, end_s: float) -> tuple[float, str | None]:
    """Return the temperature between two times, K, and what is to be said of it."""
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
            kelvin, _, put_right = thermometer(found.calibration, told.temperature_k)
            return kelvin, "; ".join(filter(None, (told.reason, put_right))) or None
    stored = found.run.start.get("temperature_k")
    if isinstance(stored, int | float) and stored > 0:
        return float(stored), None
    return ROOM_TEMPERATURE_K, f"temperature not recorded: {ROOM_TEMPERATURE_K} K assumed"
