"""Bands of the Raman spectra of a run."""

from collections.abc import Iterator, Sequence
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
from operando.analysis.segments import PLATE
from operando.runs import Floats, Run, Stream


def raman_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return area and change of each band."""
    names = tuple(raman.BANDS)
    all_names = [f"{name}_{what}" for what in ("area", "change") for name in names]
    stream = found.run.streams.get("raman")
    if stream is None or not len(stream):
        return undefined(all_names, "the run has no Raman spectrum")
    axis = np.asarray(stream.configuration.get("raman_wavenumber", ()), dtype=np.float64)
    if not len(axis):
        return undefined(all_names, "the spectrometer told no wavenumber axis")
    areas = _areas(found.run, stream, axis)
    if not areas:
        return undefined(all_names, "no spectrum could be read")
    placed = placed_rows(stream, "raman")
    told: dict[str, Metric] = {}
    for name in names:
        values = [one[name] for one in areas]
        numbers = [value if isinstance(value, float) else None for value in values]
        reasons = [value if isinstance(value, str) else None for value in values]
        told[f"{name}_area"] = listed(f"{name}_area", numbers, None, reasons)
        told[f"{name}_change"] = _change(found, name, numbers, placed, reasons)
    return told


def _change(
    found: Evaluation,
    name: str,
    areas: Sequence[Number],
    placed: Placed,
    reasons: Sequence[str | None],
) -> Metric:
    blanks: list[float] = []
    later: list[float] = []
    platings = [half for half in found.halves if half.role == PLATE]
    begins_s = np.array([half.t_s[0] for half in platings])
    ends_s = np.array([half.t_s[-1] for half in platings])
    for row, area in enumerate(areas):
        if area is None:
            continue
        middle = float(placed.middle_s[row])
        if placed.after_s[row] <= found.begin_s:
            blanks.append(area)
        elif name != "band_465" or np.any((begins_s <= middle) & (middle <= ends_s)):
            # What band_465 shows comes and goes with the current: it is no dose.
            later.append(area)
    if not blanks and not later:
        return metric(f"{name}_change", None, reason=summary(reasons) or "no spectrum")
    moved = raman.trend(np.array(blanks), np.array(later))
    return metric(f"{name}_change", moved.change, moved.uncertainty, moved.reason)


def _areas(run: Run, stream: Stream, axis: Floats) -> tuple[dict[str, float | str], ...]:
    def more(known: tuple[dict[str, float | str], ...]) -> Iterator[dict[str, float | str]]:
        if "raman_counts" not in stream.assets or "raman_dark" not in stream.assets:
            return
        rows = zip(
            range(len(known), len(stream)),
            stream.asset("raman_counts").rows(len(known)),
            stream.asset("raman_dark").rows(len(known)),
            strict=False,
        )
        for row, counts, dark in rows:
            yield _areas_of(axis, counts, dark, laser_on=laser[row] != 0)

    laser = stream.columns["raman_laser"]
    return run.continued(("areas",), more)


def _areas_of(
    axis: Floats, counts: NDArray[Any], dark: NDArray[Any], *, laser_on: bool
) -> dict[str, float | str]:
    problem = None
    if not laser_on:
        problem = "a spectrum was taken without the laser"
    elif np.max(counts) >= raman.SATURATION_COUNTS:
        problem = "a spectrum is saturated"
    elif counts.shape[-1] != len(axis):
        problem = f"a spectrum has {counts.shape[-1]} pixels, its axis {len(axis)}"
    if problem:
        return dict.fromkeys(raman.BANDS, problem)
    spectrum = raman.despike(np.atleast_2d(counts)).counts - dark
    areas: dict[str, float | str] = {}
    for name in raman.BANDS:
        try:
            areas[name] = raman.band_area(axis, spectrum, name)
        except raman.BandError as error:
            areas[name] = str(error)
    return areas
