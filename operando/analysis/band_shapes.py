"""Shape of a Raman band: where it lies, how wide it is, and whether it is there at all.

A pseudo-Voigt (the sum of a Lorentzian and a Gaussian of one width) over a straight line is fitted
to the spectrum around the band. Below a signal-to-noise ratio of three there is no band, and no
number is told of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats

SMALLEST_SIGNAL_TO_NOISE = 3.0
FEWEST_PIXELS, ENOUGH_PIXELS = 8, 20
EDGE_SHARE = 0.15  # of the window at each end, where no band may lie
NARROWEST_PIXELS = 2.0
LOOSEST_WIDTH = 0.3  # relative standard error, of a band among neighbours
# What scatters about the line by no more than so many times its noise is the line alone.
PLAIN = 1.1
# A band that is there is found in about fifty.
MOST_EVALUATIONS = 150


class NoBandError(ValueError):
    """There is no band to be told of; the message says why."""


@dataclass(frozen=True)
class BandShape:
    """One band as fitted.

    Attributes:
        position_cm1: Its centre, cm-1.
        position_error_cm1: Standard error of that, cm-1.
        width_cm1: Full width at half maximum, cm-1; that of the instrument is in it.
        width_error_cm1: Standard error of that, cm-1.
        height: Above the line, counts.
        lorentzian: Share of the Lorentzian, 0..1.
        area: Counts cm-1.
        area_error: Standard error of the area, counts cm-1.
        signal_to_noise: Height over the standard deviation of what the fit leaves.
    """

    position_cm1: float
    position_error_cm1: float
    width_cm1: float
    width_error_cm1: float
    height: float
    lorentzian: float
    area: float
    area_error: float
    signal_to_noise: float


def fit_band(
    axis: Floats,
    spectrum: Floats,
    low: float,
    high: float,
    *,
    curved: bool = False,
    at: tuple[float, float] | None = None,
    beside: Sequence[tuple[float, float]] = (),
) -> BandShape:
    """Fit a pseudo-Voigt over a straight line to a window with one band, or with known neighbours.

    Standard errors hold for noise that grows with the signal too (White's estimator).

    Args:
        axis: Wavenumbers, cm-1, ascending or descending.
        spectrum: Counts.
        low: Lower end of the window, cm-1.
        high: Upper end, cm-1.
        curved: The line is a parabola: for a band on the shoulder of a broad one.
        at: Position and full width at half maximum from which the search begins, cm-1; the band is
            taken for another one if it lies half that width away. None: the highest of the window.
        beside: The same of neighbours: Gaussians that stay where they are, fitted with it.

    Raises:
        NoBandError: Too few pixels, no maximum inside, no convergence, a signal-to-noise ratio
            below three (the message tells the height below which nothing is seen), or
            a width that its neighbours leave open by more than 30 %.
    """
    from scipy.optimize import leastsq

    if axis.min() > low or axis.max() < high:
        raise NoBandError(f"{low:.0f} to {high:.0f} cm-1 lies outside the axis")
    inside = (axis >= low) & (axis <= high)
    x, y = axis[inside], spectrum[inside]
    if len(x) < FEWEST_PIXELS:
        raise NoBandError(f"only {len(x)} pixels between {low:.0f} and {high:.0f} cm-1")
    edge = max(3, len(x) // 8)
    x0, x1, y0, y1 = x[:edge].mean(), x[-edge:].mean(), y[:edge].mean(), y[-edge:].mean()
    over = y - (y0 + (y1 - y0) / (x1 - x0) * (x - x0))
    # Three pixels together tell a band from a noisy one.
    smooth = np.convolve(over, np.full(3, 1 / 3), mode="valid")
    top = int(np.argmax(smooth)) + 1
    height = float(over[top])
    noise = 1.4826 * float(np.median(np.abs(np.diff(y, 2)))) / math.sqrt(6.0)
    if at is None and not height > 0:
        raise NoBandError(f"no band between {low:.0f} and {high:.0f} cm-1: no maximum")
    half = float((over > 0.5 * height).sum()) * (high - low) / len(x)
    middle = 0.5 * (low + high)
    along = (x - middle) / (high - low)
    line = (np.ones_like(x), along, along * along) if curved else (np.ones_like(x), along)
    known = [_profile(x, where, math.log(width), _GAUSSIAN) for where, width in beside]
    design = np.column_stack((np.zeros_like(x), *known, *line))

    base = design[:, 1:]
    bare = y - base @ np.linalg.solve(base.T @ base, base.T @ y)
    if float(bare @ bare) < (len(x) - base.shape[1]) * (PLAIN * noise) ** 2:
        raise NoBandError(
            f"no band between {low:.0f} and {high:.0f} cm-1: nothing stands out of its noise, "
            f"limit of detection {SMALLEST_SIGNAL_TO_NOISE * noise:.2g} counts"
        )

    def linear(shape: Floats) -> tuple[Floats, Floats]:
        # Height and line follow from the shape: three parameters are searched for, not six.
        design[:, 0] = _profile(x, *shape)
        numbers = np.linalg.solve(design.T @ design, design.T @ y)
        return numbers, design @ numbers - y

    first, reach = at or (float(x[top]), max(half, 2 * (high - low) / len(x)))
    start = np.array([first, math.log(reach), 0.0])
    shape, _, _, _, flag = leastsq(
        lambda s: linear(s)[1],
        start,
        full_output=True,
        ftol=1e-7,
        xtol=1e-6,
        maxfev=MOST_EVALUATIONS,
    )
    numbers, left = linear(shape)
    position, width = float(shape[0]), math.exp(float(shape[1]))
    margin = EDGE_SHARE * (high - low)
    there = (low + margin, high - margin) if at is None else (first - reach / 2, first + reach / 2)
    if flag not in (1, 2, 3, 4) or not there[0] < position < there[1]:
        raise NoBandError(f"no band between {low:.0f} and {high:.0f} cm-1: none could be fitted")
    spread = math.sqrt(float(left @ left) / max(len(x) - 3 - design.shape[1], 1))
    spread = max(spread, noise, 1e-12)
    ratio = float(numbers[0]) / spread
    share = _lorentzian(float(shape[2]))
    factor = _GAUSSIAN_FACTOR + _FACTOR_SLOPE * share
    area = float(numbers[0]) * width * factor
    gradient = np.zeros(3 + design.shape[1])
    slope = 0.5 * math.cos(float(shape[2]))
    gradient[1:4] = area, float(numbers[0]) * width * _FACTOR_SLOPE * slope, width * factor
    inverse = np.linalg.pinv(_jacobian(x, shape, numbers, design))
    freedom = len(x) / max(len(x) - len(gradient), 1)
    covariance = freedom * (inverse * left**2) @ inverse.T
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    area_error = math.sqrt(max(float(gradient @ covariance @ gradient), 0.0))
    pixel = (high - low) / len(x)
    # With few pixels the area hangs on the line, and says nothing of whether a band is there.
    told = area_error > 0 and len(x) >= ENOUGH_PIXELS
    seen = min(ratio, area / area_error) if told else ratio
    if seen < SMALLEST_SIGNAL_TO_NOISE or not NARROWEST_PIXELS * pixel <= width <= high - low:
        limit = SMALLEST_SIGNAL_TO_NOISE * spread
        raise NoBandError(
            f"no band between {low:.0f} and {high:.0f} cm-1: a height of {numbers[0]:.3g} counts, "
            f"limit of detection {limit:.2g}"
        )
    if beside and errors[1] > LOOSEST_WIDTH:
        others = " and ".join(f"{where:.0f}" for where, _ in beside)
        raise NoBandError(
            f"the width at {first:.0f} cm-1 is not told apart from its neighbours at {others} "
            f"cm-1: {width:.3g} cm-1, known to {100 * errors[1]:.0f} %"
        )
    return BandShape(
        position_cm1=position,
        position_error_cm1=float(errors[0]),
        width_cm1=width,
        width_error_cm1=width * float(errors[1]),
        height=float(numbers[0]),
        lorentzian=share,
        area=area,
        area_error=area_error,
        signal_to_noise=ratio,
    )


_GAUSSIAN_FACTOR = math.sqrt(math.pi / (4 * math.log(2)))
_FACTOR_SLOPE = 0.5 * math.pi - _GAUSSIAN_FACTOR
_GAUSSIAN = -0.5 * math.pi  # a mixing without Lorentzian


def _lorentzian(mixing: float) -> float:
    """Return the Lorentzian's share, 0..1, of a number without bounds."""
    return 0.5 * (1 + math.sin(mixing))


def _profile(x: Floats, position: float, log_width: float, mixing: float) -> NDArray[np.float64]:
    """Return a pseudo-Voigt of height 1."""
    # A search may try any number; beyond these nothing changes any more.
    squared = ((x - position) * math.exp(-min(max(log_width, -10.0), 10.0))) ** 2
    share = _lorentzian(mixing)
    gaussian = np.exp(-4 * math.log(2) * squared)
    return np.asarray(share / (1 + 4 * squared) + (1 - share) * gaussian)


def _jacobian(x: Floats, shape: Floats, numbers: Floats, design: Floats) -> Floats:
    columns = []
    for index, step in enumerate((1e-4, 1e-5, 1e-4)):
        moved = np.array(shape)
        moved[index] += step
        back = np.array(shape)
        back[index] -= step
        columns.append(numbers[0] * (_profile(x, *moved) - _profile(x, *back)) / (2 * step))
    return np.column_stack((*columns, design))
