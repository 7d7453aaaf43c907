"""Raman spectra of a run one above the other, and their bands against the blanks."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operando.analysis.metrics import band_areas, place
from operando.analysis.raman import (
    BANDS,
    FEWEST_BLANKS,
    SATURATION_COUNTS,
    BandError,
    Joint,
    decision_factor,
    despike,
    water_area,
)
from operando.plots._style import FAINT, dress, shades, size, spread, tell_missing
from operando.plots.evaluated import EvaluatedRun
from operando.runs import Floats, Stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND_COLOURS = {"band_3633": "#7b3294", "band_980": "#008060", "band_465": "#c07000"}
BAND_LABELS = {
    "band_3633": "3633 (O-H of film)",
    "band_980": "980 (sulfate)",
    "band_465": "465",
}
LOW_SHIFT, HIGH_SHIFT = (330.0, 1120.0), (2950.0, 3900.0)  # cm-1, where the bands lie
_MOST_SPECTRA = 7


class ShownSpectrum(NamedTuple):
    """One spectrum of a waterfall: when, and its counts over the area of water's band."""

    label: str
    intensity: Floats


def waterfall(axes: "Axes", one: EvaluatedRun, window: tuple[float, float]) -> str | None:
    """Draw spectra of a run one above the other, oldest lowest, in a window of the shift.

    Each is free of cosmic rays and of its dark spectrum, and divided by the area of water's band
    (3050-3550 cm-1); the baseline stays. ``window`` is (low, high), cm-1.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = f"Raman spectra, {window[0]:.0f} to {window[1]:.0f} cm⁻¹"
    shown, axis, reason = _shown_spectra(one)
    inside = (axis >= window[0]) & (axis <= window[1])
    if reason is None and not inside.any():
        reason = f"the axis of the spectrometer does not reach {window[0]:.0f} cm-1"
    if reason is not None:
        return tell_missing(axes, title, reason)
    lines = [each.intensity[inside] - each.intensity[inside].min() for each in shown]
    step = 0.3 * max(float(line.max()) for line in lines)
    colours = shades(len(lines))
    for number, (line, each, colour) in enumerate(zip(lines, shown, colours, strict=True)):
        axes.plot(axis[inside], line + number * step, color=colour)
        if window == HIGH_SHIFT:
            axes.text(
                1.0, line[-12:].mean() + number * step, each.label, va="bottom", ha="right",
                transform=axes.get_yaxis_transform(), color=colour, fontsize="small",
            )  # fmt: skip
    for name, band in BANDS.items():
        centre = band.wanted[0] if isinstance(band, Joint) else float(name.removeprefix("band_"))
        if window[0] <= centre <= window[1]:
            axes.axvline(
                centre, color=BAND_COLOURS[name], lw=size("axes.linewidth"), ls=(0, (4, 3)),
                zorder=0,
            )  # fmt: skip
            axes.text(
                centre, 1.0, f" {centre:.0f}", transform=axes.get_xaxis_transform(),
                color=BAND_COLOURS[name], fontsize="small", va="top",
            )  # fmt: skip
    dress(
        axes,
        title,
        "Raman shift (cm$^{-1}$)",
        "Intensity over water's area, offset",
    )
    axes.set_xlim(*window)
    axes.set_yticks([])
    highest = max(number * step + float(line.max()) for number, line in enumerate(lines))
    axes.set_ylim(-0.1 * step, 1.08 * highest)
    return None


def _shown_spectra(one: EvaluatedRun) -> tuple[list[ShownSpectrum], Floats, str | None]:
    """Return spectra to show, their common axis (cm-1), and why there are none."""
    stream = one.rows_of("raman")
    nothing = np.empty(0)
    if stream is None:
        return [], nothing, one.why_not("band_980_area")
    axis = np.asarray(stream.configuration.get("raman_wavenumber", ()), dtype=np.float64)
    if not len(axis) or "raman_counts" not in stream.assets or "raman_dark" not in stream.assets:
        return [], axis, one.why_not("band_980_area")
    counts, dark = stream.asset("raman_counts"), stream.asset("raman_dark")
    present = min(len(stream), len(counts), len(dark))
    usable = np.flatnonzero(stream.columns["raman_laser"][:present] != 0)
    chosen = [int(usable[k]) for k in spread(len(usable), _MOST_SPECTRA)]
    found, problem = [], "no spectrum with the laser on could be read"
    for row in chosen:
        readings = np.atleast_2d(counts[row])
        if readings.shape[-1] != len(axis) or np.max(readings) >= SATURATION_COUNTS:
            problem = "the spectra are saturated, or do not fit their axis"
            continue
        clean = despike(readings).counts - dark[row]
        try:
            found.append(ShownSpectrum(_moment(one, stream, row), clean / water_area(axis, clean)))
        except BandError as error:
            problem = str(error)
    return found, axis, None if found else problem


def _moment(one: EvaluatedRun, stream: Stream, row: int) -> str:
    placed = place(stream.columns["raman_t_before"], stream.columns["raman_t_after"])
    if one.spans and placed.after_s[row] <= one.spans[0].begin_s:
        return "blank"
    return one.moment(float(placed.middle_s[row]))


def bands(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw how the Raman bands moved since the blanks, in units of their decision limits.

    Blanks are hollow; with too few of them the change is told in 10^-3 of water's area.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Raman bands against blanks"
    stream = one.rows_of("raman")
    # With those below the limit of detection: what scatters about nothing tells the limit.
    areas = band_areas(one.run)
    told = [name for name, found in areas.items() if any(area is not None for area in found)]
    if stream is None or not told:
        return tell_missing(axes, title, one.why_not(*(f"{name}_area" for name in BANDS)))
    placed = place(stream.columns["raman_t_before"], stream.columns["raman_t_after"])
    begin = one.spans[0].begin_s if one.spans else np.inf
    scale, unit = one.time_unit
    highest, lowest = 1.3, -1.3
    decided = int((placed.after_s <= begin).sum()) >= FEWEST_BLANKS
    handles: list[Any] = []
    for name in told:
        area = np.array([np.nan if number is None else number for number in areas[name]])
        blank = placed.after_s[: len(area)] <= begin
        known = np.isfinite(area)
        blanks = area[blank & known]
        zero = float(blanks.mean()) if len(blanks) else float(area[known][0])
        at = placed.middle_s[: len(area)]
        at = np.where(np.isfinite(at), at, 0.0) / scale
        limit = _decision_limit(blanks) if decided else 1e-3
        change = (area - zero) / limit
        highest = max(highest, float(np.nanmax(change)))
        lowest = min(lowest, float(np.nanmin(change)))
        colour = BAND_COLOURS[name]
        handles += axes.plot(at[~blank], change[~blank], "o-", color=colour, alpha=0.9)
        axes.plot(
            at[blank], change[blank], "o", mfc="white", mec=colour,
            mew=size("lines.linewidth", 0.8),
        )  # fmt: skip
    axes.axhline(0, color=FAINT, lw=size("axes.linewidth"), zorder=0)
    if decided:
        axes.axhspan(-1, 1, color="#eeeeee", lw=0, zorder=-1)
    scaled = "Change (decision limits)" if decided else "Change (10$^{-3}$ of water)"
    dress(axes, title, f"Time ({unit})", scaled)
    axes.set_ylim(1.15 * lowest, highest + 0.75 * (highest - lowest))
    axes.legend(
        handles, [BAND_LABELS[name] for name in told], loc="upper left", borderaxespad=0.1,
        title="cm$^{-1}$; within grey: undecided" if decided else "cm$^{-1}$", alignment="left",
    )  # fmt: skip
    return None


def _decision_limit(blanks: Floats) -> float:
    if len(blanks) < 2 or not blanks.std() > 0:
        return 1e-3
    return decision_factor(len(blanks)) * float(blanks.std(ddof=1))
