"""Bands of the Raman spectra of a run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.analysis import raman
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    Placed,
    listed,
    metric,
    placed_rows,
    summary,
    undefined,
)
from operando.analysis.band_shapes import NoBandError, fit_band
from operando.analysis.calibrations import between
from operando.analysis.calibrations import found as calibrated
from operando.analysis.gas_calibration import LOD_SIGMAS
from operando.analysis.raman_axis import axis_shift, out_of_sight
from operando.analysis.segments import PLATE
from operando.runs import Floats, Run, Stream

# Bands of which a shape is fitted: window, and how `fit_band` takes it.
_AT_465 = raman.BANDS["band_465"]
assert isinstance(_AT_465, raman.Joint)
_SHAPES: dict[str, tuple[float, float, dict[str, Any]]] = {
    "band_3633": (3590.0, 3680.0, {"curved": True}),
    "band_980": (955.0, 1006.0, {}),
    "band_465": (_AT_465.low, _AT_465.high, {"at": _AT_465.wanted, "beside": _AT_465.neighbours}),
}
_POSITIONS = {"band_3633": 3633.0, "band_980": 980.0, "band_465": 465.0}
_SHIFT = "raman_axis_shift_cm1"
_OF_SHAPE = ("position_cm1", "width_cm1", "fit_area")
_AREAS = ("area", "raw")  # raw: also below the limit of detection
_OF_TREND = ("change", "decision_limit", "detected_h")
_RATIO = "band_980_to_390"

# A value with its standard uncertainty (None: not evaluated), or why there is none.
_Told = tuple[float, float | None] | str


def raman_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return area, shape and change of each band, and the shift of the axis."""
    names = tuple(raman.BANDS)
    areas = [f"{name}_area" for name in names]
    shapes = [f"{name}_{what}" for name in _SHAPES for what in _OF_SHAPE]
    by_spectrum = (*areas, *shapes, _RATIO, _SHIFT)
    all_names = (*by_spectrum, *(f"{name}_{what}" for what in _OF_TREND for name in names))
    stream = found.run.streams.get("raman")
    if stream is None or not len(stream):
        return undefined(all_names, "the run has no Raman spectrum")
    axis = np.asarray(stream.configuration.get("raman_wavenumber", ()), dtype=np.float64)
    if not len(axis):
        return undefined(all_names, "the spectrometer told no wavenumber axis")
    measured = _measured(found.run, stream, axis)
    if not measured:
        return undefined(all_names, "no spectrum could be read")
    placed = placed_rows(stream, "raman")
    spiked = _may_hold_spikes(stream)
    told: dict[str, Metric] = {}
    reasons: dict[str, list[str | None]] = {}
    numbers: dict[str, list[Number]] = {}
    for name in by_spectrum:
        values = [one[name] for one in measured]
        numbers[name] = [None if isinstance(value, str) else value[0] for value in values]
        errors = [None if isinstance(value, str) else value[1] for value in values]
        reasons[name] = [value if isinstance(value, str) else None for value in values]
        put_right = _put_right(found, name, numbers[name], errors)
        known = any(error is not None for error in errors)
        notes = [spiked, put_right, *reasons[name]]
        told[name] = listed(name, numbers[name], errors if known else None, notes)
    for name in names:
        # Below the limit of detection there is no area; its scatter still decides on changes.
        raw = _raw_areas(measured, name)
        told |= _trend(found, name, raw, placed, reasons[f"{name}_area"])
    return told


def _put_right(
    found: Evaluation, name: str, positions: list[Number], errors: list[Number]
) -> str | None:
    """Take the calibrated shift of the axis off the positions of a band; say so if it was."""
    of = name.removesuffix("_position_cm1")
    if of == name:
        return None
    shift = between(calibrated(found.calibration, "raman", "axis_shift"), _POSITIONS[of])
    if shift is None:
        return None
    scatter = next(iter(calibrated(found.calibration, "raman", "axis_scatter")), None)
    more = math.hypot(shift.u, 0.0 if scatter is None else scatter.value)
    for row, position in enumerate(positions):
        if position is not None:
            positions[row] = position - shift.value
            error = errors[row]
            errors[row] = None if error is None else math.hypot(error, more)
    return f"{shift.value:+.3g} cm-1 taken off the axis ({shift.told})"


def _may_hold_spikes(stream: Stream) -> str | None:
    """Say if cosmic rays were not taken out: a single reading has no median to compare with."""
    told = stream.columns.get("raman_accumulations")
    alone = 0 if told is None else int(np.count_nonzero(told == 1))
    if not alone:
        return None
    which = "the spectra are" if alone == len(stream) else f"{alone} of {len(stream)} spectra are"
    return f"{which} of one accumulation: cosmic rays are not taken out (three tell them)"


def band_areas(run: Run) -> dict[str, list[Number]]:
    """Return the area of each band over that of water, by spectrum, also below its LOD.

    None where the spectrum or the band could not be evaluated; no bands without spectra.
    """
    stream = run.streams.get("raman")
    if stream is None or not len(stream):
        return {}
    axis = np.asarray(stream.configuration.get("raman_wavenumber", ()), dtype=np.float64)
    measured = _measured(run, stream, axis) if len(axis) else ()
    return {name: _raw_areas(measured, name) for name in raman.BANDS} if measured else {}


def _raw_areas(measured: Sequence[Mapping[str, _Told]], name: str) -> list[Number]:
    values = [one[f"{name}_raw"] for one in measured]
    return [None if isinstance(value, str) else value[0] for value in values]


def _trend(
    found: Evaluation,
    name: str,
    areas: Sequence[Number],
    placed: Placed,
    reasons: Sequence[str | None],
) -> dict[str, Metric]:
    blanks: list[float] = []
    later: list[float] = []
    at_s: list[float] = []
    platings = [half for half in found.halves if half.role == PLATE]
    begins_s = np.array([half.t_s[0] for half in platings])
    ends_s = np.array([half.t_s[-1] for half in platings])
    spots = found.run.streams["raman"].columns.get("raman_spot")
    for row, area in enumerate(areas):
        if area is None or (spots is not None and spots[row] > 0):
            continue  # another spot, with which the usual one is compared
        middle = float(placed.middle_s[row])
        if placed.after_s[row] <= found.begin_s:
            blanks.append(area)
        elif name != "band_465" or np.any((begins_s <= middle) & (middle <= ends_s)):
            # What band_465 shows comes and goes with the current: it is no dose.
            later.append(area)
            at_s.append(middle)
    names = [f"{name}_{what}" for what in _OF_TREND]
    if not blanks and not later:
        return undefined(names, summary(reasons) or "no spectrum")
    moved = raman.trend(np.array(blanks), np.array(later))
    change, limit, detected = names
    basis = moved.reason
    if moved.decision_limit is not None:
        basis = f"{raman.decision_factor(moved.blanks):.2g} sd of {moved.blanks} blanks"
    told = {
        change: metric(change, moved.change, moved.uncertainty, moved.reason),
        limit: metric(limit, moved.decision_limit, reason=basis),
        detected: metric(detected, None, reason=f"not detected: {moved.reason}"),
    }
    if moved.detected is not None and np.isfinite(at_s[moved.detected]):
        told[detected] = metric(
            detected,
            at_s[moved.detected] / 3600,
            reason=f"spectrum {moved.detected + 1} of {len(later)} since the start",
        )
    return told


def _measured(run: Run, stream: Stream, axis: Floats) -> tuple[dict[str, _Told], ...]:
    def more(known: tuple[dict[str, _Told], ...]) -> Iterator[dict[str, _Told]]:
        if "raman_counts" not in stream.assets or "raman_dark" not in stream.assets:
            return
        rows = zip(
            range(len(known), len(stream)),
            stream.asset("raman_counts").rows(len(known)),
            stream.asset("raman_dark").rows(len(known)),
            strict=False,
        )
        for row, counts, dark in rows:
            problem = _problem(axis, counts, laser_on=laser[row] != 0)
            if problem is None:
                clean = raman.despike(np.atleast_2d(counts)).counts - dark
                yield _measure(axis, clean, excitation_nm, line_cm1, weights)
            else:
                yield _nothing(problem)

    weights: dict[str, tuple[NDArray[np.intp], Floats] | None] = {}
    calibration = (run.start.get("calibration") or {}).get("raman") or {}
    line = calibration.get("reference_line_cm1")
    line_cm1 = None if line is None else float(line)
    laser = stream.columns["raman_laser"]
    told = stream.configuration.get("raman_excitation")
    excitation_nm = float(told) if isinstance(told, (int, float)) else None
    return run.continued(("bands", line_cm1), more)


def _problem(axis: Floats, counts: NDArray[Any], *, laser_on: bool) -> str | None:
    if not laser_on:
        return "a spectrum was taken without the laser"
    if np.max(counts) >= raman.SATURATION_COUNTS:
        return "a spectrum is saturated"
    if counts.shape[-1] != len(axis):
        return f"a spectrum has {counts.shape[-1]} pixels, its axis {len(axis)}"
    return None


def _nothing(reason: str, names: Sequence[str] = tuple(raman.BANDS)) -> dict[str, _Told]:
    told: dict[str, _Told] = {f"{name}_{what}": reason for name in names for what in _AREAS}
    told |= {f"{name}_{what}": reason for name in _SHAPES if name in names for what in _OF_SHAPE}
    return told | ({_RATIO: reason, _SHIFT: reason} if len(names) > 1 else {})


def _measure(
    axis: Floats,
    spectrum: Floats,
    excitation_nm: float | None,
    line_cm1: float | None,
    known: dict[str, tuple[NDArray[np.intp], Floats] | None],
) -> dict[str, _Told]:
    told: dict[str, _Told] = {}
    for name in raman.BANDS:
        hidden = out_of_sight(excitation_nm, _POSITIONS[name])
        if hidden:
            told |= _nothing(hidden, (name,))
            continue
        try:
            area = raman.band_area(axis, spectrum, name)
            weights = known.setdefault(name, None) or raman.area_weights(axis, name)
            known[name] = weights
            error = raman.band_area_error(axis, spectrum, weights)
            told[f"{name}_raw"] = area, error
            limit = LOD_SIGMAS * error
            told[f"{name}_area"] = (
                (area, error)
                if area >= limit
                else f"{name} is below its limit of detection, about {limit:.1g} of water's area"
            )
        except raman.BandError as error:
            told |= _nothing(str(error), (name,))
            continue
        if name in _SHAPES:
            told |= _shape(axis, spectrum, name)
    try:
        told[_RATIO] = raman.sulfate_to_zinc(axis, spectrum), None
    except raman.BandError as error:
        told[_RATIO] = str(error)
    told[_SHIFT] = "no reference line was declared (reference_line_cm1)"
    if line_cm1 is not None:
        try:
            moved = axis_shift(axis, spectrum, line_cm1)
            told[_SHIFT] = moved.shift_cm1, moved.error_cm1
        except NoBandError as error:
            told[_SHIFT] = _without_numbers(error)
    return told


def _shape(axis: Floats, spectrum: Floats, name: str) -> dict[str, _Told]:
    low, high, how = _SHAPES[name]
    try:
        shape = fit_band(axis, spectrum, low, high, **how)
        water = raman.water_area(axis, spectrum)
    except (NoBandError, raman.BandError) as error:
        return {f"{name}_{what}": _without_numbers(error) for what in _OF_SHAPE}
    return {
        f"{name}_position_cm1": (shape.position_cm1, shape.position_error_cm1),
        f"{name}_width_cm1": (shape.width_cm1, shape.width_error_cm1),
        f"{name}_fit_area": (shape.area / water, shape.area_error / water),
    }


def _without_numbers(error: Exception) -> str:
    """Return a message that is the same for every spectrum, so that they can be counted."""
    return str(error).split(":")[0]
