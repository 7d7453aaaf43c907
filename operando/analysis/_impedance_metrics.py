"""Resistances and relaxation times from the impedance spectra of a run."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from operando.analysis import impedance
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    enumerated,
    listed,
    metric,
    summary,
    undefined,
)
from operando.analysis.impedance_validity import ImpedanceFitError, usable_points, valid_points
from operando.analysis.relaxation_times import (
    RelaxationTimes,
    RelaxationTimesError,
    relaxation_times,
)
from operando.analysis.shunt import Shunt, shunt
from operando.registry._impedance import IMPEDANCE
from operando.runs import Floats, Run, Stream, at_time

_NAMES = tuple(one.name for one in IMPEDANCE)
# Over how long the drift before a spectrum is taken, s.
DRIFT_WINDOW_S = 60.0
# Above this a cell need not answer linearly, V rms.
LARGEST_AMPLITUDE_V = 0.010

_Told = Callable[[impedance.ArcFit], tuple[float, float] | None]


def impedance_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return what the fitted circuits tell by spectrum, and the last distribution by peak."""
    stream = found.run.streams.get("impedance")
    if stream is None or not len(stream):
        return undefined(_NAMES, "the run has no impedance spectrum")
    told_fits = impedance_fits(found.run)
    notes: list[str | None] = [
        f"model {fit.model}" if isinstance(fit, impedance.ArcFit) else f"spectrum {number}: {fit}"
        for number, fit in enumerate(told_fits, start=1)
    ]
    if len(told_fits) == 1 and isinstance(told_fits[0], impedance.ArcFit):
        notes = [f"model {told_fits[0].model} ({told_fits[0].choice})"]
    notes.append(_beyond_linear(found, stream))
    # The scale of |Z| is that of the current; it adds to what the fit tells.
    gain = found.accuracy.gain
    own = _whose(found)
    told = {
        name: _by_spectrum(
            name,
            told_fits,
            tell,
            gain,
            [own, *notes] if name == "interfacial_resistance_ohm" else notes,
        )
        for name, tell in _BY_SPECTRUM.items()
    }
    told["impedance_chi2_reduced"] = listed(
        "impedance_chi2_reduced",
        [fit.chi2_reduced if isinstance(fit, impedance.ArcFit) else None for fit in told_fits],
        None,
        notes,
    )
    told["spectrum_drift_mv"] = _drifts(found, stream, len(told_fits))
    told["parallel_resistance_ohm"] = _in_parallel(found.run, stream, told_fits, gain)
    return told | _relaxation(found.run, gain)


_BY_SPECTRUM: dict[str, _Told] = {
    "series_resistance_ohm": lambda fit: (fit.series_ohm, fit.series_uncertainty_ohm),
    "interfacial_resistance_ohm": lambda fit: (
        (fit.interfacial_ohm, fit.interfacial_uncertainty_ohm) if fit.arcs else None
    ),
    "brug_capacitance_uf": lambda fit: _capacitance_uf(fit),
    "diffusion_resistance_ohm": lambda fit: (
        None
        if fit.diffusion is None
        else (fit.diffusion.resistance_ohm, fit.diffusion.resistance_uncertainty_ohm)
    ),
}


def _whose(found: Evaluation) -> str | None:
    """Say whose the interfacial resistance is; None where the cell is not described."""
    if found.cell is None:
        return None
    if found.cell.reference_electrode is None:
        return "of both interfaces, not halved"
    return f"of the working electrode alone, against {found.cell.reference_electrode}"


def _beyond_linear(found: Evaluation, stream: Stream) -> str | None:
    """Say if an amplitude of the program is too large for a linear response; None if it is not.

    Where the protocol was changed, of those that were measured under each, and which these are.
    """
    area = 1.0 if found.cell is None else found.cell.area_cm2
    points = (stream.columns[f"potentiostat_impedance_{part}"] for part in ("z_real", "z_imag"))
    largest = float(np.nanmax(np.hypot(*points)))
    asked = found.run.asked
    under: dict[float, list[int]] = {}
    for number, (begin_s, _) in enumerate(spectrum_times(found.run), 1):
        under.setdefault(at_time(asked, begin_s).begin_s, []).append(number)
    told = []
    for one in asked:
        numbers = under.get(one.begin_s, [])
        beyond = numbers and _first_beyond(one.technique, area, largest)
        if beyond:
            of = "" if len(asked) == 1 else f" of spectrum {enumerated(numbers)}"
            told.append(
                f"an amplitude{of} of {beyond * 1e3:.3g} mV rms may be beyond the linear response"
            )
    return "; ".join(told) or None


def _first_beyond(technique: object, area_cm2: float, largest_ohm: float) -> float | None:
    """Return the first amplitude of a stored technique that is too large, V rms; None: none is."""
    for rms_v, rms_ma_cm2 in _amplitudes(technique):
        if rms_v is None and rms_ma_cm2 is not None:
            rms_v = 1e-3 * rms_ma_cm2 * area_cm2 * largest_ohm
        if rms_v is not None and rms_v > LARGEST_AMPLITUDE_V * (1 + 1e-9):
            return rms_v
    return None


def _amplitudes(technique: object) -> Iterator[tuple[float | None, float | None]]:
    """Yield the amplitudes of all spectra of a stored technique, V and mA/cm2, rms."""
    if isinstance(technique, Mapping):
        if technique.get("type") == "impedance_spectrum":
            yield technique.get("amplitude_rms_v"), technique.get("amplitude_rms_ma_cm2")
        for part in technique.values():
            yield from _amplitudes(part)
    elif isinstance(technique, list | tuple):
        for part in technique:
            yield from _amplitudes(part)


def _capacitance_uf(fit: impedance.ArcFit) -> tuple[float, float] | None:
    if not fit.arcs:
        return None
    largest = max(fit.arcs, key=lambda arc: arc.resistance_ohm)
    if not math.isfinite(largest.capacitance_uncertainty_f):
        return None
    return largest.capacitance_f * 1e6, largest.capacitance_uncertainty_f * 1e6


def _by_spectrum(
    name: str,
    fits: Sequence[impedance.ArcFit | str],
    tell: _Told,
    gain: float,
    notes: Sequence[str | None],
) -> Metric:
    values: list[Number] = []
    errors: list[Number] = []
    for fit in fits:
        told = None if isinstance(fit, str) else tell(fit)
        values.append(None if told is None else told[0])
        errors.append(None if told is None else math.hypot(told[1], gain * told[0]))
    return listed(name, values, errors, notes)


def impedance_fits(run: Run) -> list[impedance.ArcFit | str]:
    """Return the fit of each impedance spectrum of a run, or why there is none."""
    stream = run.streams.get("impedance")
    if stream is None or not len(stream):
        return []
    return [_fitted(run, stream, spectrum) for spectrum in range(1, _last(stream) + 1)]


def spectrum_times(run: Run) -> list[tuple[float, float]]:
    """Return when each spectrum began and ended, s; NaN for one without points."""
    stream = run.streams.get("impedance")
    if stream is None or not len(stream):
        return []
    number = stream.columns["potentiostat_impedance_spectrum"]
    times = stream.columns["potentiostat_impedance_t"]
    found = []
    for spectrum in range(1, int(number.max()) + 1):
        span = times[number == spectrum]
        found.append((float(span.min()), float(span.max())) if len(span) else (math.nan, math.nan))
    return found


def last_relaxation_times(run: Run) -> RelaxationTimes | str:
    """Return the distribution of relaxation times of the last valid spectrum, or why none."""
    stream = run.streams.get("impedance")
    if stream is None or not len(stream):
        return "the run has no impedance spectrum"
    reasons: list[str | None] = []
    for number in range(_last(stream), 0, -1):
        fit = _fitted(run, stream, number)
        if isinstance(fit, str) and "Kramers-Kronig" in fit:
            reasons.append(f"spectrum {number}: {fit}")
            continue
        told = _distribution(run, stream, number)
        if isinstance(told, RelaxationTimes):
            return told
        reasons.append(f"spectrum {number}: {told}")
    return summary(reasons) or "no spectrum"


def _last(stream: Stream) -> int:
    return int(stream.columns["potentiostat_impedance_spectrum"].max())


def _points(stream: Stream, spectrum: int) -> tuple[Floats, Floats, Floats]:
    rows = stream.columns["potentiostat_impedance_spectrum"] == spectrum
    names = ("frequency", "z_real", "z_imag")
    frequency, real, imag = (
        stream.columns[f"potentiostat_impedance_{name}"][rows] for name in names
    )
    return frequency, real, imag


def _fitted(run: Run, stream: Stream, spectrum: int) -> impedance.ArcFit | str:
    points = _points(stream, spectrum)

    def compute() -> impedance.ArcFit | str:
        try:
            return impedance.fit_arcs(*points)
        except ImpedanceFitError as error:
            return str(error)

    return run.remembered(("impedance", spectrum, len(points[0])), compute)


def _distribution(run: Run, stream: Stream, spectrum: int) -> RelaxationTimes | str:
    points = _points(stream, spectrum)

    def compute() -> RelaxationTimes | str:
        try:
            frequency, impedance_ohm = usable_points(*points)
            fit = _fitted(run, stream, spectrum)
            if isinstance(fit, str) or fit.dropped:
                # What the fit left out, a spike of the mains, would be a peak of its own.
                frequency, impedance_ohm, _, _ = valid_points(frequency, impedance_ohm)
            return relaxation_times(frequency, impedance_ohm)
        except (ImpedanceFitError, RelaxationTimesError) as error:
            return str(error)

    return run.remembered(("relaxation times", spectrum, len(points[0])), compute)


def _relaxation(run: Run, gain: float) -> dict[str, Metric]:
    names = ("drt_tau_s", "drt_area_ohm")
    told = last_relaxation_times(run)
    if isinstance(told, str):
        return undefined(names, told)
    if not told.peaks:
        return undefined(names, "the distribution has no peak")
    basis = summary(
        [
            f"lambda {told.regularisation:.2g} by cross-validation",
            "hints: " + ", ".join(peak.hint for peak in told.peaks),
            None
            if all(peak.inside for peak in told.peaks)
            else "a peak lies beyond the band: extrapolated",
        ]
    )
    return {
        names[0]: metric(
            names[0],
            [peak.tau_s for peak in told.peaks],
            [peak.tau_uncertainty_s for peak in told.peaks],
            basis,
        ),
        names[1]: metric(
            names[1],
            [peak.area_ohm for peak in told.peaks],
            [math.hypot(peak.area_uncertainty_ohm, gain * peak.area_ohm) for peak in told.peaks],
            basis,
        ),
    }


def shunts(run: Run) -> list[Shunt | str]:
    """Return what lies in parallel to the cell by spectrum, the first valid one told apart."""
    stream = run.streams.get("impedance")
    fits = impedance_fits(run)
    first = next((k for k, fit in enumerate(fits) if isinstance(fit, impedance.ArcFit)), None)
    if stream is None or first is None:
        return ["no spectrum before could be fitted"] * len(fits)
    before = fits[first]
    assert isinstance(before, impedance.ArcFit)
    return [
        "this spectrum is the one the others are compared with"
        if k == first
        else "no spectrum before could be fitted"
        if k < first
        else _shunt(run, stream, before, first + 1, k + 1)
        for k in range(len(fits))
    ]


def _shunt(
    run: Run, stream: Stream, before: impedance.ArcFit, first: int, spectrum: int
) -> Shunt | str:
    points = _points(stream, spectrum)

    def compute() -> Shunt | str:
        try:
            return shunt(before, *points)
        except ImpedanceFitError as error:
            return str(error)

    return run.remembered(("shunt", first, spectrum, len(points[0])), compute)


def _in_parallel(
    run: Run, stream: Stream, fits: Sequence[impedance.ArcFit | str], gain: float
) -> Metric:
    name = "parallel_resistance_ohm"
    if len(fits) < 2:
        return metric(name, None, reason="needs a spectrum of the same cell from before")
    told = shunts(run)
    values: list[Number] = []
    errors: list[Number] = []
    notes: list[str | None] = []
    for one in told:
        value = None if isinstance(one, str) else one.resistance_ohm
        values.append(value)
        if isinstance(one, str) or value is None or one.uncertainty_ohm is None:
            errors.append(None)
        else:
            errors.append(math.hypot(one.uncertainty_ohm, gain * value))
        if isinstance(one, str):
            notes.append(one)
        elif one.resistance_ohm is None:
            notes.append("no conductance in parallel stands out")
    return listed(name, values, errors, notes)


def _drifts(found: Evaluation, stream: Stream, count: int) -> Metric:
    name = "spectrum_drift_mv"
    leader = found.run.streams.get("potentiostat")
    if leader is None or not len(leader):
        return metric(name, None, reason="the run has no row before or after a spectrum")
    mirror = -1.0 if found.cell is not None and found.cell.metal_electrode == "CE" else 1.0
    t_s, potential, role = (
        leader.columns[f"potentiostat_{column}"] for column in ("t", "potential", "role")
    )
    number = stream.columns["potentiostat_impedance_spectrum"]
    times = stream.columns["potentiostat_impedance_t"]
    values: list[Number] = []
    notes: list[str | None] = []
    for spectrum in range(1, count + 1):
        span = times[number == spectrum]
        if not len(span):
            values.append(None)
            continue
        drift, note = _drift(t_s, potential, role, float(span.min()), float(span.max()))
        values.append(None if drift is None else mirror * drift * 1e3)
        notes.append(note)
    return listed(name, values, None, notes)


def _drift(
    t_s: Floats, potential: Floats, role: Floats, begin_s: float, end_s: float
) -> tuple[float | None, str | None]:
    """Return the drift of the open circuit potential during a spectrum, V, and what it rests on."""
    before = int(np.searchsorted(t_s, begin_s, "right")) - 1
    after = int(np.searchsorted(t_s, end_s, "left"))
    if before < 0 or role[before] != 0:
        return None, "a spectrum was not at rest before"
    if after < len(t_s) and role[after] == 0 and math.isfinite(potential[after]):
        return float(potential[after] - potential[before]), None
    rest = np.arange(before + 1)
    moving = np.flatnonzero(
        (role[: before + 1] != 0) | (t_s[: before + 1] < begin_s - DRIFT_WINDOW_S)
    )
    rest = rest[int(moving[-1]) + 1 :] if len(moving) else rest
    rest = rest[np.isfinite(potential[rest])]
    if len(rest) < 3 or t_s[rest[-1]] <= t_s[rest[0]]:
        return None, "too few rows at rest before a spectrum"
    slope = float(np.polyfit(t_s[rest] - t_s[rest[0]], potential[rest], 1)[0])
    return slope * (end_s - begin_s), "extrapolated from the rest before"
