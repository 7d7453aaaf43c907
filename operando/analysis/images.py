"""Side views of an electrode: how high the front of the deposit stands.

The electrode is dark and lies at the bottom, the electrolyte above it is bright. A margin that
stays bare (masked before plating) is the height reference within each frame, so that drift of
the stage and shading of the lamp cancel. It is declared, never assumed: without one there are no
heights, only what needs none (roughness, tips, bubbles).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.analysis.bubbles import BINNED, Bubble, find_bubbles, volume_nl
from operando.analysis.prominences import prominent_peaks
from operando.runs import Floats

COLUMNS_AVERAGED = 4
ROWS_SKIPPED = 4
# Between the two plateaus of a front lie at least this many grey levels, or there is no front.
SMALLEST_CONTRAST = 15.0
REACH = 20  # rows on each side of the front from which its two plateaus are taken
GUARD = 8  # rows next to the front that belong to neither
SUB_PIXEL = 0.1  # standard uncertainty of a crossing's systematic part, pixels
BESIDE_MARGIN = 16  # columns between the margin and the deposit that belong to neither
TIP_PROMINENCE = 3.0  # of a tip candidate, in Rq
SMALLEST_TIP = 1.0  # pixels; what stands out less is the crossing's own noise


@dataclass(frozen=True)
class Region:
    """Columns of a frame, in pixels; all results are of this region only.

    Attributes:
        margin: First column of the bare margin, and the column after its last; None: no margin
            was declared.
        deposit_start: First column of the deposit.
        deposit_stop: Column after its last; None: the right edge.
    """

    margin: tuple[int, int] | None = None
    deposit_start: int = 0
    deposit_stop: int | None = None

    @classmethod
    def beside(cls, margin: tuple[int, int]) -> "Region":
        """Return a margin and all to its right as deposit, 16 columns between them as neither."""
        return cls(margin, margin[1] + BESIDE_MARGIN)

    def __str__(self) -> str:
        stop = "the right edge" if self.deposit_stop is None else str(self.deposit_stop)
        told = f"columns {self.deposit_start} to {stop}, "
        if self.margin is None:
            return told + "no bare margin"
        return told + f"height from columns {self.margin[0]} to {self.margin[1]}"


@dataclass(frozen=True)
class Front:
    """The front of a deposit in one frame.

    Attributes:
        thickness_um: Mean height above the bare margin, um; None without a margin.
        uncertainty_um: Its standard uncertainty, um, without that of the calibration.
        roughness_um: Rq, standard deviation of the height about its straight line, um.
        peak_to_valley_um: Highest minus lowest point about that line, um.
        tip_um: Highest point above the median, um.
        tip_column: Where that is, pixels.
        tip_columns: Where points stand out by more than 3 Rq (and a pixel), pixels.
        bubbles: The bubbles above the front, anywhere in the frame.
        bubble_volume_nl: Volume of spheres of their size, nL: a lower bound of the gas.
        reference_row: Row of the front in the bare margin, pixels; None without a margin.
        region: Where this was measured.
    """

    thickness_um: float | None
    uncertainty_um: float | None
    roughness_um: float
    peak_to_valley_um: float
    tip_um: float
    tip_column: int
    tip_columns: tuple[int, ...]
    bubbles: tuple[Bubble, ...]
    bubble_volume_nl: float
    reference_row: float | None
    region: Region


class NoFrontError(ValueError):
    """A frame shows no front; the message says why."""


def grey_levels(image: NDArray[Any]) -> NDArray[Any]:
    """Return a picture in grey levels of 8 bits, as thresholds here are told.

    Pictures of 16 bits have 256 of theirs in each, whatever the camera's depth; they keep what lies
    between.
    """
    return image / 256.0 if image.dtype == np.uint16 else image


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
    height, width = image.shape
    groups = width // COLUMNS_AVERAGED
    if height < 2 * REACH or groups < 8:
        raise NoFrontError(f"a frame of {width} x {height} pixels is too small")
    summed = _summed(image[:, : groups * COLUMNS_AVERAGED])
    sample = summed[::ROWS_SKIPPED]
    low, high = np.percentile(sample, (2, 98))
    if high - low < SMALLEST_CONTRAST * COLUMNS_AVERAGED:
        raise NoFrontError("no contrast: is the lamp off, or the laser on?")
    bright_at = summed > _level(sample)
    dark_from_below = np.argmax(bright_at[::-1], axis=0)  # 0 also where nothing is bright
    lowest_bright = height - 1 - dark_from_below
    shown = (dark_from_below >= GUARD) & (lowest_bright >= GUARD)
    shown &= bright_at[lowest_bright, np.arange(groups)]
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
    by_four = summed[: height // BINNED * BINNED].reshape(-1, BINNED, groups)
    binned = by_four[:, 0].astype(np.float64)
    for row in range(1, BINNED):
        binned += by_four[:, row]
    bubbles = find_bubbles(binned, rows)
    for bubble in bubbles:
        rows[_hidden(columns, rows, bubble)] = np.nan
    return columns, rows, bubbles


def _summed(image: NDArray[Any]) -> NDArray[Any]:
    """Return the sums of four columns each; whole numbers as such: exact, the same in any order."""
    if image.dtype == np.uint8 and image.flags.c_contiguous:
        # Two bytes, then two words, lie in one number; which of them comes first does not matter.
        pairs = image.view(np.uint16)
        pairs = (pairs & 0xFF) + (pairs >> 8)
        fours = pairs.view(np.uint32)
        return ((fours & 0xFFFF) + (fours >> 16)).astype(np.uint16)
    kind = np.uint32 if image.dtype.kind in "ub" else np.float64
    summed = np.zeros((image.shape[0], image.shape[1] // COLUMNS_AVERAGED), dtype=kind)
    for offset in range(COLUMNS_AVERAGED):
        summed += image[:, offset::COLUMNS_AVERAGED]
    return summed


def _level(sample: NDArray[Any]) -> float:
    """Return the level between dark and bright (Otsu 1979, of 256 bins)."""
    from skimage.filters import threshold_otsu

    if sample.dtype.kind != "u":
        return float(threshold_otsu(sample))
    # Of a hundred thousand whole numbers a few hundred differ: those are put into the bins.
    counts = np.bincount(sample.ravel())
    values = np.flatnonzero(counts)
    counts, edges = np.histogram(values.astype(np.float64), 256, weights=counts[values])
    level = float(threshold_otsu(hist=(counts, 0.5 * (edges[:-1] + edges[1:]))))
    return math.floor(level)  # nothing lies between


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
        region: Columns of the bare margin and of the deposit; None: all columns, no margin.

    Raises:
        NoFrontError: No front, or too little of it, in the margin or the deposit.
    """
    region = region or Region()
    columns, rows, bubbles = front_and_bubbles(image)
    stop = math.inf if region.deposit_stop is None else region.deposit_stop
    inside = (columns >= region.deposit_start) & (columns < stop)
    _require_seen(rows[inside], "deposit")
    base, error = None, None
    if region.margin is not None:
        begin, end = region.margin
        base, error = _bare_row(rows[(columns >= begin) & (columns < end)])
    found = inside & np.isfinite(rows)
    height = (0.0 if base is None else base) - rows[found]
    at = columns[found]
    # The straight line by sums, not by a matrix: the same bits everywhere.
    centred = at - at.mean()
    slope = float((centred * height).sum() / (centred * centred).sum())
    mean = float(height.mean())
    about = height - mean - slope * centred
    rough = float(np.sqrt(np.mean(about**2)))
    tip = int(np.argmax(height))
    return Front(
        thickness_um=None if base is None else mean * micrometre_per_pixel,
        uncertainty_um=None if error is None else error * micrometre_per_pixel,
        roughness_um=rough * micrometre_per_pixel,
        peak_to_valley_um=float(about.max() - about.min()) * micrometre_per_pixel,
        tip_um=float(height[tip] - np.median(height)) * micrometre_per_pixel,
        tip_column=round(float(at[tip])),
        tip_columns=_tip_columns(at, height, rough),
        bubbles=bubbles,
        bubble_volume_nl=volume_nl(bubbles, micrometre_per_pixel),
        reference_row=base,
        region=region,
    )


def _require_seen(rows: Floats, name: str) -> None:
    seen = np.isfinite(rows).mean() if len(rows) else 0.0
    if seen < 0.5:
        raise NoFrontError(f"the front is seen in {seen:.0%} of the columns of the {name}")


def _bare_row(margin: Floats) -> tuple[float, float]:
    """Return the row of the front in the bare margin and its standard uncertainty, pixels."""
    _require_seen(margin, "bare margin")
    base = float(np.nanmedian(margin))
    scatter = 1.4826 * float(np.nanmedian(np.abs(margin - base)))
    return base, math.hypot(1.25 * scatter / math.sqrt(np.isfinite(margin).sum()), SUB_PIXEL)


def _tip_columns(columns: Floats, height: Floats, rough: float) -> tuple[int, ...]:
    # A valley on both sides, so that a tip at the edge of the region is one too.
    edged = np.concatenate(([height.min()], height, [height.min()]))
    peaks = prominent_peaks(edged, max(TIP_PROMINENCE * rough, SMALLEST_TIP))
    return tuple(round(float(columns[peak - 1])) for peak in peaks)
