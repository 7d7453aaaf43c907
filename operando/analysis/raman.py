"""Raman spectra of the electrolyte and the film at a zinc electrode: three bands against water.

Zinc hydroxide sulfate shows at 3633 cm-1 (O-H), dissolved sulfate at 980 cm-1 (v1), and
``band_465`` rises beside the sulfate v2 band at 451 cm-1 while hydroxide is made. Areas are
relative to the raw area of the water band, which does not take part.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats

DESPIKE_SIGMAS = 6.0
SATURATION_COUNTS = 65535.0
WATER = (3050.0, 3550.0)
EDGE = 8.0  # cm-1 over which the end of a local line is taken
FEWEST_BLANKS = 5
DECISION_SIGMAS, DECISION_BLANKS = 4.0, 20


@dataclass(frozen=True)
class Window:
    """Where a band is integrated above the line through its edges, cm-1."""

    low: float
    high: float


@dataclass(frozen=True)
class Joint:
    """Bands of fixed position and width, fitted together over a line.

    Attributes:
        low: Lower end of the fitted region, cm-1.
        high: Upper end, cm-1.
        wanted: (centre, full width at half maximum) of the band itself, cm-1.
        neighbours: The same of the bands beside it.
    """

    low: float
    high: float
    wanted: tuple[float, float]
    neighbours: tuple[tuple[float, float], ...]


BANDS: MappingProxyType[str, Window | Joint] = MappingProxyType(
    {
        "band_3633": Window(3596.0, 3670.0),
        "band_980": Window(955.0, 1006.0),
        "band_465": Joint(415.0, 515.0, (465.0, 15.0), ((451.0, 25.0), (390.0, 30.0))),
    }
)


@dataclass(frozen=True)
class Despiked:
    """A spectrum without cosmic rays.

    Attributes:
        counts: Mean of the accumulations, counts, shape (pixels,).
        flagged: How many readings were replaced.
    """

    counts: Floats
    flagged: int


@dataclass(frozen=True)
class Trend:
    """How a band moved over a run.

    Attributes:
        change: Mean of the last two spectra minus the mean of the blanks; None if undecided.
        uncertainty: Standard uncertainty of the change.
        decision_limit: The change below which nothing is said.
        blanks: How many spectra were taken before the first half-cycle.
        sign: -1, 0 or +1: sign of the correlation of area and time when it is significant at
            1 % (Kendall), else 0.
        detected: Index, among the spectra since, of the second of the first two in a row beyond the
            decision limit to the same side; None if there are none.
        reason: Why there is no change, or what it rests on.
    """

    change: float | None
    uncertainty: float | None
    decision_limit: float | None
    blanks: int
    sign: Literal[-1, 0, 1]
    detected: int | None
    reason: str | None


class BandError(ValueError):
    """A band cannot be evaluated; the message says why."""


def despike(counts: NDArray[np.float64]) -> Despiked:
    """Replace readings far above the median of their accumulations, then average.

    A reading more than six standard deviations above the median of its pixel, and its direct
    neighbours, take the median's value. The noise is found in the spectra themselves: differences
    of accumulations over the square root of the signal. Accumulations are first brought to a
    common height, because the laser's power differs between them. With fewer than three there is
    no median to compare with (two: the lower reading counts where they disagree).

    Args:
        counts: Readings, shape (accumulations, pixels).
    """
    counts = np.asarray(counts, dtype=np.float64)
    if len(counts) < 2:
        return Despiked(np.array(counts[0]), 0)
    middle = np.median(counts, axis=0) if len(counts) > 2 else counts.min(axis=0)
    positive = middle > 0
    scale = np.array([float(np.median(row[positive] / middle[positive])) for row in counts])
    level = counts / scale[:, None]
    middle = np.median(level, axis=0) if len(level) > 2 else level.min(axis=0)
    root = np.sqrt(np.maximum(middle, 1.0))
    differences = np.diff(level, axis=0) / root
    sigma = 1.4826 * float(np.median(np.abs(differences))) / math.sqrt(2.0)
    excess = (level - middle) / root
    spiked = excess > DESPIKE_SIGMAS * max(sigma, 1e-12)
    beside = np.zeros_like(spiked)
    beside[:, 1:] |= spiked[:, :-1]
    beside[:, :-1] |= spiked[:, 1:]
    # A neighbour is replaced only where it stands out too: a spike's wing, not plain noise.
    replaced = spiked | (beside & (excess > 0.5 * DESPIKE_SIGMAS * sigma))
    clean = np.where(replaced, middle, level) * scale[:, None]
    return Despiked(clean.mean(axis=0), int(replaced.sum()))


def _between(axis: Floats, low: float, high: float) -> NDArray[np.bool_]:
    if axis.min() > low or axis.max() < high:
        raise BandError(
            f"{low:.0f} to {high:.0f} cm-1 lies outside the axis, "
            f"{axis.min():.0f} to {axis.max():.0f} cm-1"
        )
    return (axis >= low) & (axis <= high)


def area_over_line(axis: Floats, spectrum: Floats, low: float, high: float) -> float:
    """Return the area above the straight line through both edges, counts cm-1.

    Each end of the line is the mean over 8 cm-1 (or three pixels) inside the edge.

    Raises:
        BandError: The axis does not reach over the window.
    """
    inside = _between(axis, low, high)
    x, y = axis[inside], spectrum[inside]
    left = max(3, int((x <= low + EDGE).sum()))
    right = max(3, int((x >= high - EDGE).sum()))
    if left + right >= len(x):
        raise BandError(f"too few pixels between {low:.0f} and {high:.0f} cm-1")
    x0, y0 = float(x[:left].mean()), float(y[:left].mean())
    x1, y1 = float(x[-right:].mean()), float(y[-right:].mean())
    over = y - (y0 + (y1 - y0) / (x1 - x0) * (x - x0))
    return float(np.trapezoid(over, x))


def areas_of_joint(axis: Floats, spectrum: Floats, joint: Joint) -> tuple[float, ...]:
    """Return the areas of Gaussian bands fitted together over a line, counts cm-1.

    The wanted band comes first, then its neighbours.

    Raises:
        BandError: The axis does not reach over the region.
    """
    inside = _between(axis, joint.low, joint.high)
    x, y = axis[inside], spectrum[inside]
    bands = (joint.wanted, *joint.neighbours)
    shapes = [np.exp(-4 * math.log(2) * ((x - centre) / width) ** 2) for centre, width in bands]
    middle = 0.5 * (joint.low + joint.high)
    design = np.column_stack((*shapes, np.ones_like(x), (x - middle) / (joint.high - joint.low)))
    heights = np.linalg.lstsq(design, y, rcond=None)[0]
    factor = math.sqrt(math.pi / (4 * math.log(2)))
    return tuple(
        float(height) * width * factor
        for height, (_, width) in zip(heights, bands, strict=False)  # the line has no width
    )


def water_area(axis: Floats, spectrum: Floats) -> float:
    """Return the raw area of water's stretching band over an edge line, counts cm-1.

    Raises:
        BandError: It is outside the axis, or not above it.
    """
    area = area_over_line(axis, spectrum, *WATER)
    if not area > 0:
        raise BandError("no water band to compare with: is the laser off?")
    return area


def band_area(axis: Floats, spectrum: Floats, name: str) -> float:
    """Return the area of a band of `BANDS` relative to that of water.

    Raises:
        BandError: The band or water lies outside the axis.
    """
    band = BANDS[name]
    if isinstance(band, Joint):
        area = areas_of_joint(axis, spectrum, band)[0]
    else:
        area = area_over_line(axis, spectrum, band.low, band.high)
    return area / water_area(axis, spectrum)


def area_weights(axis: Floats, name: str) -> tuple[NDArray[np.intp], Floats]:
    """Return the pixels of a band's window and the weight of each in its area, cm-1.

    Areas are linear in the counts: the weights carry the noise of the pixels into them.

    Raises:
        BandError: The band lies outside the axis.
    """
    band = BANDS[name]
    pixels = np.flatnonzero(_between(axis, band.low, band.high))
    weights = np.empty(len(pixels))
    for place, pixel in enumerate(pixels):
        unit = np.zeros(len(axis))
        unit[pixel] = 1.0
        weights[place] = (
            areas_of_joint(axis, unit, band)[0]
            if isinstance(band, Joint)
            else area_over_line(axis, unit, band.low, band.high)
        )
    return pixels, weights


def band_area_error(
    axis: Floats, spectrum: Floats, weights: tuple[NDArray[np.intp], Floats]
) -> float:
    """Return the standard uncertainty of `band_area` from the noise of its pixels.

    The noise grows with the root of the signal; how much of it there is tells the whole spectrum,
    by its second differences.

    Raises:
        BandError: Water lies outside the axis.
    """
    pixels, each = weights
    root = np.sqrt(np.maximum(spectrum, 1.0))
    rough = np.abs(np.diff(spectrum, 2)) / root[1:-1]
    noise = 1.4826 * float(np.median(rough)) / math.sqrt(6.0) * root[pixels] * each
    return float(np.sqrt(noise @ noise)) / water_area(axis, spectrum)


# Reaches over all of the zinc aquo ion's band, which BANDS["band_465"] cuts.
_ZINC_ION = Joint(340.0, 515.0, (390.0, 30.0), ((451.0, 25.0), (465.0, 15.0)))


def sulfate_to_zinc(axis: Floats, spectrum: Floats) -> float:
    """Return the area of sulfate at 980 cm-1 over that of the zinc aquo ion at 390 cm-1.

    Raises:
        BandError: One lies outside the axis, or there is no band at 390 cm-1.
    """
    band = BANDS["band_980"]
    assert isinstance(band, Window)
    zinc = areas_of_joint(axis, spectrum, _ZINC_ION)[0]
    if not zinc > 0:
        raise BandError("no band of the zinc aquo ion at 390 cm-1")
    return area_over_line(axis, spectrum, band.low, band.high) / zinc


def decision_factor(blanks: int) -> float:
    """Return how many standard deviations of ``blanks`` spectra a change must exceed.

    Four with twenty blanks or more. Fewer tell their own scatter badly, so the factor grows with
    Student's t at the same rate of false alarms (five blanks: about ten).
    """
    from scipy.stats import t as student

    if blanks >= DECISION_BLANKS:
        return DECISION_SIGMAS
    reference = DECISION_SIGMAS / math.sqrt(1 + 1 / DECISION_BLANKS)
    tail = student.sf(reference, DECISION_BLANKS - 1)
    return float(student.isf(tail, blanks - 1)) * math.sqrt(1 + 1 / blanks)


def trend(blanks: Floats, later: Floats) -> Trend:
    """Return how a band moved from the blanks to the end of a run.

    A change is told only when the last two spectra both exceed the decision limit to the same
    side: below it the band has not been shown to move.

    Args:
        blanks: Relative areas before the first half-cycle.
        later: Relative areas since, in order of time.
    """
    from scipy.stats import kendalltau

    count = len(blanks)
    sign: Literal[-1, 0, 1] = 0
    if len(later) >= 4:
        test = kendalltau(np.arange(len(later)), later)
        if test.pvalue < 0.01:
            sign = 1 if test.statistic > 0 else -1
    if count < FEWEST_BLANKS:
        reason = (
            f"{count} blank spectra before the first half-cycle, at least {FEWEST_BLANKS} needed"
        )
        return Trend(None, None, None, count, sign, None, reason)
    if len(later) < 2:
        limit = decision_factor(count) * float(np.std(blanks, ddof=1))
        reason = "fewer than two spectra since the start"
        return Trend(None, None, limit, count, sign, None, reason)
    zero, spread = float(np.mean(blanks)), float(np.std(blanks, ddof=1))
    limit = decision_factor(count) * spread
    beyond = np.sign(later - zero) * (np.abs(later - zero) > limit)
    pairs = np.flatnonzero((beyond[1:] != 0) & (beyond[1:] == beyond[:-1]))
    detected = int(pairs[0]) + 1 if len(pairs) else None
    last = later[-2:] - zero
    change = float(last.mean())
    if not (np.all(last > limit) or np.all(last < -limit)):
        reason = (
            f"below the decision limit: {change:+.3g}, limit {limit:.2g} "
            f"({decision_factor(count):.2g} sd of {count} blanks)"
        )
        return Trend(None, None, limit, count, sign, detected, reason)
    uncertainty = spread * math.sqrt(1 / 2 + 1 / count)
    reason = f"{count} blanks, decision limit {limit:.2g}"
    return Trend(change, uncertainty, limit, count, sign, detected, reason)
