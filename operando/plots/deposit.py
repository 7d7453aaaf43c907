"""Frames of the deposit beside the potential, and what they measure against the charge."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operando.analysis.images import Front, NoFrontError, front, grey_levels
from operando.analysis.metrics import place, region_of
from operando.analysis.segments import PLATE, ChargeLedger
from operando.analysis.thickness import COULOMB_PER_MAH, METALS, theoretical_thickness_um
from operando.plots._style import (
    FAINT,
    PLATING,
    STRIPPING,
    dress,
    marker_size,
    size,
    spread,
    tell_missing,
)
from operando.plots.cycles import numbered
from operando.plots.evaluated import EvaluatedRun
from operando.plots.potential import potential
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def thickness(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the deposit's mean height in each frame against the net charge plated until then.

    The line is what the charge would make of dense metal without loss.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Height of the deposit"
    at_s, height, error, reason = _by_frame(one, "image_thickness_um")
    if reason is not None or one.cell is None:
        return tell_missing(axes, title, reason or "the start document describes no cell")
    ledger = ChargeLedger(one.halves)
    net = np.array([ledger.net_plated_mah_cm2(when) for when in at_s])
    plating = _during_plating(one, at_s)
    for chosen, colour, label in (
        (plating, PLATING, "plating"),
        (~plating, STRIPPING, "stripping, rest"),
    ):
        axes.errorbar(
            net[chosen], height[chosen], error[chosen], fmt="o", color=colour, label=label,
            ms=size("lines.markersize", marker_size(len(net))), capsize=0,
            elinewidth=size("axes.linewidth"),
        )  # fmt: skip
    ends = np.array([0.0, max(float(net.max()), 0.0)])
    dense = [theoretical_thickness_um(q, METALS[one.cell.metal]) for q in ends]
    axes.plot(ends, dense, "--", color="#777777", label=f"dense {one.cell.metal}", zorder=0)
    dress(axes, title, "Net charge plated (mAh cm$^{-2}$)", "Mean height (µm)")
    axes.legend(loc="upper left")
    return None


def roughness(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw roughness and highest point of each frame against the charge plated until then.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Roughness"
    at_s, rough, _, reason = _by_frame(one, "image_roughness_um")
    if reason is not None or one.cell is None:
        return tell_missing(axes, title, reason or "the start document describes no cell")
    ledger = ChargeLedger(one.halves)

    def plated(when: float) -> float:
        passed = ledger.passed_c(1.0, when) / COULOMB_PER_MAH
        return 0.5 * (passed + ledger.net_plated_mah_cm2(when))

    charge = np.array([plated(when) for when in at_s])
    markersize = size("lines.markersize", marker_size(len(charge)))
    axes.plot(charge, rough, "o", color=PLATING, ms=markersize, label="roughness Rq")
    tip_s, tip, _, no_tip = _by_frame(one, "image_tip_um")
    if no_tip is None:
        at = [plated(when) for when in tip_s]
        axes.plot(at, tip, "^", color=STRIPPING, ms=markersize, label="highest tip")
    dress(axes, title, "Cumulative charge plated (mAh cm$^{-2}$)", "Height (µm)")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    return None


def _by_frame(one: EvaluatedRun, name: str) -> tuple[Floats, Floats, Floats, str | None]:
    """Return times (s), values and uncertainties by frame since the program's begin; or why not."""
    stream = one.rows_of("camera")
    nothing = np.empty(0)
    number, value, error = numbered(one.numbers[name])
    if stream is None or not len(number):
        return nothing, nothing, nothing, one.why_not(name)
    if not one.spans:
        return nothing, nothing, nothing, "the run has no plating or stripping half-cycle"
    placed = place(stream.columns["camera_t_before"], stream.columns["camera_t_after"])
    at_s = placed.middle_s[number.astype(np.int64) - 1]
    # Before the program nothing had been plated; after it, all had been.
    at_s = np.where(np.isneginf(at_s), 0.0, at_s)
    at_s = np.where(np.isposinf(at_s), one.spans[-1].end_s, at_s)
    return at_s, value, np.where(np.isfinite(error), error, 0.0), None


def _during_plating(one: EvaluatedRun, at_s: Floats) -> Any:
    inside = np.zeros(len(at_s), dtype=bool)
    for span in one.spans:
        if span.role == PLATE:
            inside |= (at_s >= span.begin_s) & (at_s <= span.end_s)
    return inside


@dataclass(frozen=True)
class _Frame:
    """One frame that is shown: its pixels, when it was taken, and the front in it."""

    pixels: Any
    at_s: float
    front: Front | None


@dataclass(frozen=True)
class ShownFrames:
    """Frames of a run cut alike, so that they can be compared.

    Attributes:
        frames: In order of time.
        micrometre_per_pixel: Their scale; None: the camera was not calibrated.
        reason: Why there are none.
    """

    frames: tuple[_Frame, ...]
    micrometre_per_pixel: float | None = None
    reason: str | None = None


def shown_frames(one: EvaluatedRun, most: int) -> ShownFrames:
    """Return at most ``most`` frames: one of the beginning, the others at ends of half-cycles.

    Frames without the lamp, or with the laser on, show no front and are passed over.
    """
    stream = one.rows_of("camera")
    told = (one.run.start.get("calibration") or {}).get("camera") or {}
    scale = told.get("micrometre_per_pixel")
    if stream is None or "camera_image" not in stream.assets:
        return ShownFrames((), reason=one.why_not("image_thickness_um"))
    asset = stream.asset("camera_image")
    count = min(len(asset), len(stream))
    placed = place(stream.columns["camera_t_before"], stream.columns["camera_t_after"])
    usable = (stream.columns["camera_lamp"][:count] != 0) & (
        stream.columns["camera_laser"][:count] != 1
    )
    rows = np.flatnonzero(usable)
    if not len(rows):
        return ShownFrames((), reason="no frame was taken with the lamp on and the laser off")
    ends_s = [span.end_s for span in one.spans]
    # The last one at the end of a plating: it shows most.
    while ends_s and one.spans[len(ends_s) - 1].role != PLATE:
        ends_s.pop()
    wanted_s = [-np.inf, *ends_s]
    chosen = []
    for position in spread(len(wanted_s), most):
        with np.errstate(invalid="ignore"):
            distance = np.abs(placed.middle_s[rows] - wanted_s[position])
        nearest = 0 if position == 0 else int(np.nanargmin(distance))
        chosen.append(int(rows[nearest]))
    frames = []
    for row in dict.fromkeys(chosen):
        pixels = np.asarray(asset[row])
        seen: Front | None = None
        if scale:
            with contextlib.suppress(NoFrontError):
                seen = front(grey_levels(pixels), float(scale), region_of(told))
        frames.append(_Frame(pixels, float(placed.middle_s[row]), seen))
    return ShownFrames(tuple(frames), float(scale) if scale else None)


def _top_um(front: Front) -> float:
    return (front.thickness_um or 0.0) + front.tip_um


def frame(axes: "Axes", one: EvaluatedRun, shown: ShownFrames, number: int) -> None:
    """Draw one of the frames that are shown, with a bar of length and its mean height.

    Without a scale it is drawn whole, and neither is told.
    """
    this, scale = shown.frames[number], shown.micrometre_per_pixel or 1.0
    calibrated = shown.micrometre_per_pixel is not None
    seen = [each.front for each in shown.frames if each.front is not None]
    highest = max(seen, key=_top_um, default=None)
    rows, columns = this.pixels.shape
    high_um = 0.0 if highest is None else _top_um(highest)
    height = min(rows, round(max(80.0, 1.9 * high_um) / scale)) if calibrated else rows
    width = min(columns, round(1.6 * height))
    centre = columns // 2 if highest is None else highest.tip_column
    left = min(max(0, centre - width // 2), columns - width)
    bare = None if this.front is None else this.front.reference_row
    base = rows if bare is None else round(bare + 0.22 * height)
    bottom = min(max(base, height), rows)
    axes.imshow(
        this.pixels[bottom - height : bottom, left : left + width], cmap="gray", vmin=0,
        vmax=float(np.percentile(this.pixels, 99.8)), aspect="equal",
        extent=(0, width * scale, 0, height * scale), interpolation="antialiased",
    )  # fmt: skip
    if this.front is not None and this.front.thickness_um is not None and bare is not None:
        level = (bottom - bare) * scale
        axes.axhline(level, color="#ffd24d", lw=size("axes.linewidth", 1.3), ls=(0, (4, 3)))
        axes.text(
            0.02, 0.95, f"mean height {round(this.front.thickness_um, 1) + 0.0:.1f} µm",
            transform=axes.transAxes, va="top", fontsize="small",
            bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1.0},
        )  # fmt: skip
    if calibrated:
        _length_bar(axes, width * scale, height * scale)
    else:
        axes.text(
            0.98, 0.04, "no scale: not calibrated", transform=axes.transAxes, ha="right",
            va="bottom", color="white", fontsize="small",
        )  # fmt: skip
    axes.set_title(one.moment(this.at_s), loc="left", fontsize="medium")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _length_bar(axes: "Axes", width_um: float, height_um: float) -> None:
    bar = _round_length(0.3 * width_um)
    x, y = 0.96 * width_um - bar, 0.07 * height_um
    axes.plot([x, x + bar], [y, y], color="white", lw=size("lines.linewidth", 2.2),
              solid_capstyle="butt")  # fmt: skip
    axes.text(
        x + bar, y + 0.03 * height_um, f"{bar:g} µm", color="white", ha="right", va="bottom",
        fontsize="small",
    )  # fmt: skip


def montage(frames: Sequence["Axes"], curve: "Axes", one: EvaluatedRun) -> str | None:
    """Draw frames above the potential curve, each joined to the moment when it was taken.

    Args:
        frames: As many panels as frames may be shown; those left over are switched off.
        curve: The panel below them.
        one: The run.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    from matplotlib.patches import ConnectionPatch

    shown = shown_frames(one, len(frames))
    for axes in frames[max(len(shown.frames), 1) :]:
        axes.set_axis_off()
    if shown.reason is not None:
        curve.set_axis_off()
        return tell_missing(frames[0], "Frames of the deposit", shown.reason)
    potential(curve, one)
    curve.set_title("")
    legend = curve.get_legend()
    if legend is not None:
        legend.remove()  # it lies where the frames are joined to their moments
    scale = one.time_unit[0]
    for number, axes in enumerate(frames[: len(shown.frames)]):
        frame(axes, one, shown, number)
        at_s = shown.frames[number].at_s
        at = 0.0 if not np.isfinite(at_s) else at_s / scale
        curve.axvline(at, color=FAINT, lw=size("axes.linewidth"), zorder=0)
        joint = ConnectionPatch(
            (0.5, 0.0), (at, curve.get_ylim()[1]), coordsA=axes.transAxes,
            coordsB=curve.transData, color="#888888", lw=size("axes.linewidth"),
        )  # fmt: skip
        joint.set_in_layout(False)
        curve.add_artist(joint)
    return None


def thumbnails(axes: Sequence["Axes"], one: EvaluatedRun) -> str | None:
    """Draw a frame of the beginning and one of the end of the last plating.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    shown = shown_frames(one, len(axes))
    for each in axes[max(len(shown.frames), 1) :]:
        each.set_axis_off()
    if shown.reason is not None:
        return tell_missing(axes[0], "Frames of the deposit", shown.reason)
    for number, each in enumerate(axes[: len(shown.frames)]):
        frame(each, one, shown, number)
    return None


def _round_length(length_um: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten below a length."""
    power = 10.0 ** np.floor(np.log10(length_um))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= length_um))
