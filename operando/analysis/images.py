"""Side views of an electrode: how high the front of the deposit stands.

The electrode is dark and lies at the bottom, the electrolyte above it is bright. A margin that
stays bare (masked before plating) is the height reference within each frame, so that drift of
the stage and shading of the lamp cancel.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.analysis.bubbles import BINNED, Bubble, find_bubbles, volume_nl
from operando.runs import Floats

COLUMNS_AVERAGED = 4
ROWS_SKIPPED = 4
# Between the two plateaus of a front lie at least this many grey levels, or there is no front.
SMALLEST_CONTRAST = 15.0
REACH = 20  # rows on each side of the front from which its two plateaus are taken
GUARD = 8  # rows next to the front that belong to neither
SUB_PIXEL = 0.1  # standard uncertainty of a crossing's systematic part, pixels
TIP_PROMINENCE = 3.0  # of a tip candidate, in Rq
SMALLEST_TIP = 1.0  # pixels; what stands out less is the crossing's own noise


@dataclass(frozen=True)
class Region:
    """Columns of a frame, in pixels; all results are of this region only.

    Attributes:
        margin_start: First column of the bare margin.
        margin_stop: Column after its last.
        deposit_start: First column of the deposit.
        deposit_stop: Column after its last; None: the right edge.
    """

    margin_start: int = 0
    margin_stop: int = 112
    deposit_start: int = 128
    deposit_stop: int | None = None

    def __str__(self) -> str:
        stop = "the right edge" if self.deposit_stop is None else str(self.deposit_stop)
        return (
            f"columns {self.deposit_start} to {stop}, "
            f"height from columns {self.margin_start} to {self.margin_stop}"
        )


@dataclass(frozen=True)
class Front:
    """The front of a deposit in one frame.

    Attributes:
        thickness_um: Mean height above the bare margin, um.
        uncertainty_um: Its standard uncertainty, um, without that of the calibration.
        roughness_um: Rq, standard deviation of the height about its straight line, um.
        peak_to_valley_um: Highest minus lowest point about that line, um.
        tip_um: Highest point above the median, um.
        tip_column: Where that is, pixels.
        tip_columns: Where points stand out by more than 3 Rq (and a pixel), pixels.
        bubbles: The bubbles above the front, anywhere in the frame.
        bubble_volume_nl: Volume of spheres of their size, nL: a lower bound of the gas.
        reference_row: Row of the front in the bare margin, pixels.
        region: Where this was measured.
    """

    thickness_um: float
    uncertainty_um: float
    roughness_um: float
    peak_to_valley_um: float
    tip_um: float
    tip_column: int
    tip_columns: tuple[int, ...]
    bubbles: tuple[Bubble, ...]
    bubble_volume_nl: float
    reference_row: float
    region: Region


class NoFrontError(ValueError):
    """A frame shows no front; the message says why."""


def front_rows(image: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the columns (pixels) and the sub-pixel row of the front in each.

    Columns that a bubble hides are masked out.

    Raises:
        NoFrontError: The frame has no contrast between electrolyte and electrode.
    """
    columns, rows, _ = front_and_bubbles(image)
    return columns, rows


def front_and_bubbles(image: NDArray[Any]) -> tuple[Floats, Floats, tuple[Bubble, ...]]:
    """Return the columns (pixels), the front's sub-pixel row in each, and the bubbles above it.

    Columns are averaged by four. The lowest bright row of a column gives the front to a pixel
    (bubbles and floating pieces above it do not count); the level half-way between the plateaus
    on its two sides, taken in the column itself, gives the rest. NaN where a column shows none, and
    where a bubble comes so near to the front that it might be taken for it.

    Raises:
        NoFrontError: The frame has no contrast between electrolyte and electrode.
    """
    from skimage.filters import threshold_otsu

    height, width = image.shape
    groups = width // COLUMNS_AVERAGED
    if height < 2 * REACH or groups < 8:
        raise NoFrontError(f"a frame of {width} x {height} pixels is too small")
    used = image[:, : groups * COLUMNS_AVERAGED]
    kind = np.uint32 if image.dtype.kind in "ub" else np.float64
    # Whole numbers are summed as such: fast, exact, and the same in any order.
    summed = np.zeros((height, groups), dtype=kind)
    for offset in range(COLUMNS_AVERAGED):
        summed += used[:, offset::COLUMNS_AVERAGED]
    sample = summed[::ROWS_SKIPPED].astype(np.float64)
    low, high = np.percentile(sample, (2, 98))
    if high - low < SMALLEST_CONTRAST * COLUMNS_AVERAGED:
        raise NoFrontError("no contrast: is the lamp off, or the laser on?")
    level = threshold_otsu(sample)
    dark_from_below = np.argmax(summed[::-1] > level, axis=0)  # 0 also where nothing is bright
    lowest_bright = height - 1 - dark_from_below
    shown = (dark_from_below >= GUARD) & (lowest_bright >= GUARD)
    shown &= summed.max(axis=0) > level
    columns = np.arange(groups) * COLUMNS_AVERAGED + 0.5 * (COLUMNS_AVERAGED - 1)
    rows = np.full(groups, np.nan)
    if not shown.any():
        raise NoFrontError("no column goes from bright to dark")
    offsets = np.arange(-REACH, REACH + 1)
    index = np.clip(lowest_bright[shown][None, :] + offsets[:, None], 0, height - 1)
    window = summed[index, np.flatnonzero(shown)[None, :]].astype(np.float64)
    bright = np.median(window[: REACH - GUARD + 1], axis=0)
    dark = np.median(window[REACH + GUARD + 1 :], axis=0)
    half = 0.5 * (bright + dark)
    # From below: the first row pair around the half level, near the coarse front.
    near = window[REACH - GUARD : REACH + GUARD + 2]
    above = near >= half[None, :]
    crossing = above[:-1] & ~above[1:]
    last = crossing.shape[0] - 1 - np.argmax(crossing[::-1], axis=0)
    pick = np.arange(near.shape[1])
    upper, lower = near[last, pick], near[last + 1, pick]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (upper - half) / (upper - lower)
    exact = lowest_bright[shown] - GUARD + last + share
    sound = crossing.any(axis=0) & (bright - dark > SMALLEST_CONTRAST * COLUMNS_AVERAGED)
    rows[shown] = np.where(sound & np.isfinite(exact), exact, np.nan)
    binned = summed[: height // BINNED * BINNED].reshape(-1, BINNED, groups).sum(axis=1)
    bubbles = find_bubbles(binned, rows)
    for bubble in bubbles:
        rows[_hidden(columns, rows, bubble)] = np.nan
    return columns, rows, bubbles


def _hidden(columns: Floats, rows: Floats, bubble: Bubble) -> NDArray[np.bool_]:
    """Return in which columns a bubble's rim lies where the front or its plateau is measured."""
    rim = bubble.radius + BINNED
    beside = np.abs(columns - bubble.column)
    with np.errstate(invalid="ignore"):
        lower = bubble.row + np.sqrt(np.maximum(rim**2 - beside**2, 0.0))
        return (beside <= rim) & (lower >= rows - REACH)


def front(image: NDArray[Any], micrometre_per_pixel: float, region: Region | None = None) -> Front:
    """Measure the front of the deposit in one frame.

    Args:
        image: Grey levels, shape (rows, columns), row 0 at the top.
        micrometre_per_pixel: Calibration, um per pixel.
        region: Columns of the bare margin and of the deposit.

    Raises:
        NoFrontError: No front, or too little of it, in the margin or the deposit.
    """
    region = region or Region()
    columns, rows, bubbles = front_and_bubbles(image)
    margin = rows[(columns >= region.margin_start) & (columns < region.margin_stop)]
    stop = math.inf if region.deposit_stop is None else region.deposit_stop
    inside = (columns >= region.deposit_start) & (columns < stop)
    for name, values in (("bare margin", margin), ("deposit", rows[inside])):
        seen = np.isfinite(values).mean() if len(values) else 0.0
        if seen < 0.5:
            raise NoFrontError(f"the front is seen in {seen:.0%} of the columns of the {name}")
    reference = float(np.nanmedian(margin))
    found = inside & np.isfinite(rows)
    height = reference - rows[found]
    at = columns[found]
    # The straight line by sums, not by a matrix: the same bits everywhere.
    centred = at - at.mean()
    slope = float((centred * height).sum() / (centred * centred).sum())
    mean = float(height.mean())
    about = height - mean - slope * centred
    rough = float(np.sqrt(np.mean(about**2)))
    scatter = 1.4826 * float(np.nanmedian(np.abs(margin - reference)))
    error = math.hypot(1.25 * scatter / math.sqrt(np.isfinite(margin).sum()), SUB_PIXEL)
    tip = int(np.argmax(height))
    return Front(
        thickness_um=mean * micrometre_per_pixel,
        uncertainty_um=error * micrometre_per_pixel,
        roughness_um=rough * micrometre_per_pixel,
        peak_to_valley_um=float(about.max() - about.min()) * micrometre_per_pixel,
        tip_um=float(height[tip] - np.median(height)) * micrometre_per_pixel,
        tip_column=round(float(at[tip])),
        tip_columns=_tip_columns(at, height, rough),
        bubbles=bubbles,
        bubble_volume_nl=volume_nl(bubbles, micrometre_per_pixel),
        reference_row=reference,
        region=region,
    )


def _tip_columns(columns: Floats, height: Floats, rough: float) -> tuple[int, ...]:
    from scipy.signal import find_peaks

    # A valley on both sides, so that a tip at the edge of the region is one too.
    edged = np.concatenate(([height.min()], height, [height.min()]))
    peaks, _ = find_peaks(edged, prominence=max(TIP_PROMINENCE * rough, SMALLEST_TIP))
    return tuple(round(float(columns[peak - 1])) for peak in peaks)
