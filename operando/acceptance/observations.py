"""What a row asks of a run beside the metrics of the registry."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from operando.acceptance.measures import Numbers
from operando.analysis import Metric, metrics
from operando.analysis.accuracy import CurrentAccuracy, PotentialAccuracy
from operando.analysis.metrics import band_areas
from operando.analysis.steps import GALVANOSTATIC, HOLD, REST, SWEEP, recorded_steps
from operando.replay import replay
from operando.runs import Run, RunBuilder

Observe = Callable[[Run, Mapping[str, Metric], str | None, Path], dict[str, Numbers]]

# 20 blanks and two spectra that are compared with them.
_SPECTRA_TO_DECIDE = 22


def completed(
    run: Run, found: Mapping[str, Metric], failed: str | None, folder: Path
) -> dict[str, Numbers]:
    """Return 1 if the run ended as planned, else 0."""
    del run, found, folder
    return {"completed": Numbers(0.0 if failed else 1.0, reason=failed)}


def dummy_ranges(
    run: Run, found: Mapping[str, Metric], failed: str | None, folder: Path
) -> dict[str, Numbers]:
    """Return what a resistor was measured to be on each range, and the charge that went through.

    ``dummy_resistance_ohm``: by range, (E+ - E-) / (i+ - i-) of its two directions, so that offsets
    cancel; the gains of current and potential are its uncertainty. ``dummy_charge_ratio``: by step,
    the trapezoid of the current over its median times the step's length.
    """
    del found, failed, folder
    steps = [step for step in recorded_steps(run) if step.role == GALVANOSTATIC and len(step) > 2]
    if len(steps) < 2:
        reason = "the run has no steps of both directions"
        return {
            name: Numbers(None, reason=reason)
            for name in ("dummy_resistance_ohm", "dummy_charge_ratio")
        }
    means = [
        (
            float(np.median(step.instrument_potential_v)),
            float(np.median(step.instrument_current_a)),
        )
        for step in steps
    ]
    ohm: list[float | None] = [
        (one_v - other_v) / (one_a - other_a)
        for (one_v, one_a), (other_v, other_a) in zip(means[::2], means[1::2], strict=False)
    ]
    charges: list[float | None] = []
    for step in steps:
        passed = np.trapezoid(step.instrument_current_a, step.t_s)
        length_s = step.t_s[-1] - step.t_s[0]
        charges.append(float(passed / (np.median(step.instrument_current_a) * length_s)))
    relative = _gains(run)
    ohm_u = [None if one is None else relative * abs(one) for one in ohm]
    return {"dummy_resistance_ohm": Numbers(ohm, ohm_u), "dummy_charge_ratio": Numbers(charges)}


def _gains(run: Run) -> float:
    """Return the relative standard uncertainty of a resistance: the gains of its two readings."""
    potential = PotentialAccuracy.from_calibration(run.start.get("calibration") or {})
    return math.hypot(CurrentAccuracy.from_start(run.start).gain, potential.gain)


def dummy_potentials(
    run: Run, found: Mapping[str, Metric], failed: str | None, folder: Path
) -> dict[str, Numbers]:
    """Return what a resistor was measured to be where its potential was set, ohm.

    ``dummy_hold_resistance_ohm``: (E+ - E-) / (i+ - i-) of two holds;
    ``dummy_sweep_resistance_ohm``: of a straight line through a sweep. Offsets cancel in both; the
    gains of current and potential are their uncertainty. ``dummy_open_circuit_mv``: the potential
    at open circuit, which is zero.
    """
    del found, failed, folder
    steps = recorded_steps(run)
    potential = PotentialAccuracy.from_calibration(run.start.get("calibration") or {})
    relative = _gains(run)
    told: dict[str, Numbers] = {}
    resting = [step for step in steps if step.role == REST]
    if resting:
        value = 1e3 * float(np.median(resting[0].instrument_potential_v))
        told["dummy_open_circuit_mv"] = Numbers(value, 1e3 * potential.offset_v)
    held = [step for step in steps if step.role == HOLD]
    if len(held) > 1:
        volts = [float(np.median(step.instrument_potential_v)) for step in held[:2]]
        amperes = [float(np.median(step.instrument_current_a)) for step in held[:2]]
        ohm = (volts[0] - volts[1]) / (amperes[0] - amperes[1])
        told["dummy_hold_resistance_ohm"] = Numbers(ohm, relative * abs(ohm))
    swept = [step for step in steps if step.role == SWEEP]
    if swept:
        slope = np.polyfit(swept[0].instrument_potential_v, swept[0].instrument_current_a, 1)[0]
        ohm = 1.0 / float(slope)
        told["dummy_sweep_resistance_ohm"] = Numbers(ohm, relative * abs(ohm))
    return told


def refused(
    run: Run, found: Mapping[str, Metric], failed: str | None, folder: Path
) -> dict[str, Numbers]:
    """Return 1 if the run was ended and the reason names the cell file's metal electrode."""
    del run, found, folder
    told = failed is not None and "metal_electrode" in failed
    return {"refused": Numbers(1.0 if told else 0.0, reason=failed)}


def injection_interval(
    run: Run, found: Mapping[str, Metric], failed: str | None, folder: Path
) -> dict[str, Numbers]:
    """Return the median time between injections by the leader's clock, min.

    Injections at the ends of half-cycles come in between and shorten some of the intervals.
    """
    del found, failed, folder
    stream = run.streams.get("gas_chromatograph")
    if stream is None or len(stream) < 3:
        return {"injection_interval_min": Numbers(None, reason="fewer than three injections")}
    before = np.asarray(stream.columns["gas_chromatograph_t_before"], dtype=np.float64)
    after = np.asarray(stream.columns["gas_chromatograph_t_after"], dtype=np.float64)
    times = 0.5 * (before + after)
    times = times[np.isfinite(times)]
    gaps = np.diff(np.sort(times)) / 60
    if not len(gaps):
        return {"injection_interval_min": Numbers(None, reason="fewer than two injections")}
    return {"injection_interval_min": Numbers(float(np.median(gaps)))}


def bands_detected(
    run: Run, found: Mapping[str, Metric], failed: str | None, folder: Path
) -> dict[str, Numbers]:
    """Return for each Raman band 1 if it has changed beyond the decision limit, else 0.

    Spectra count in which the band was evaluated, also those in which it is below its limit of
    detection: that is what a band looks like which does not appear.
    """
    del failed, folder
    told, evaluated = {}, band_areas(run)
    for band in ("3633", "980", "465"):
        areas, change = found[f"band_{band}_area"], found[f"band_{band}_change"]
        seen = sum(area is not None for area in evaluated.get(f"band_{band}", ()))
        if seen < _SPECTRA_TO_DECIDE:
            numbers = Numbers(None, reason=areas.reason or f"{seen} spectra decide nothing")
        else:
            numbers = Numbers(0.0 if change.value is None else 1.0, reason=change.reason)
        told[f"band_{band}_detected"] = numbers
    return told


def replayed(
    run: Run, found: Mapping[str, Metric], failed: str | None, folder: Path
) -> dict[str, Numbers]:
    """Return how many metrics differ by a bit in journal, catalog and a replay of either."""
    del failed
    told = {name: repr(metric) for name, metric in found.items()}
    builders = RunBuilder(), RunBuilder()
    replay(run.uid, folder, builders[0])
    replay(run.uid, folder, builders[1], source="catalog")
    others = (Run.from_journal(run.uid, folder), *(builder.run for builder in builders))
    different = {
        name
        for other in others
        for name, metric in metrics(other).items()
        if repr(metric) != told[name]
    }
    reason = ", ".join(sorted(different)) or None
    return {"metrics_that_differ": Numbers(float(len(different)), reason=reason)}


OBSERVATIONS: Mapping[str, Observe] = {
    "bands_detected": bands_detected,
    "completed": completed,
    "dummy_potentials": dummy_potentials,
    "dummy_ranges": dummy_ranges,
    "injection_interval": injection_interval,
    "refused": refused,
    "replayed": replayed,
}
