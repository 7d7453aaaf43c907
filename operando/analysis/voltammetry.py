"""Cyclic voltammograms: their sweeps, the peaks in them, and how those grow with the scan rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from operando.analysis.lines import fit_line
from operando.runs import Floats

# Rows of the smoothing polynomial, and its order.
SMOOTHING_ROWS, SMOOTHING_ORDER = 5, 2
# A peak stands out by more than this share of the sweep's range of current, and of the noise.
PROMINENCE, PROMINENCE_SIGMAS = 0.03, 6.0
# Rows within this share of a peak's height below its top tell where it is.
SUMMIT_SHARE = 0.05
FEWEST_RATES = 3


@dataclass(frozen=True)
class OneWay:
    """The rows of one sweep in one direction.

    Attributes:
        direction: +1 towards higher potentials, -1 towards lower.
        t_s: Time, s.
        potential_v: Potential, V.
        current_a: Current, A.
    """

    direction: Literal[-1, 1]
    t_s: Floats
    potential_v: Floats
    current_a: Floats

    @property
    def scan_rate_v_s(self) -> float:
        """Return the mean |dE/dt|, V/s; NaN with fewer than two rows."""
        if len(self.t_s) < 2 or self.t_s[-1] <= self.t_s[0]:
            return math.nan
        return abs(float(self.potential_v[-1] - self.potential_v[0])) / float(
            self.t_s[-1] - self.t_s[0]
        )


def one_ways(t_s: Floats, potential_v: Floats, current_a: Floats) -> tuple[OneWay, ...]:
    """Split a voltammogram where its potential turns.

    A turn counts once the potential has come back by five of its steps; the ends of a sweep are
    the extremes.
    """
    good = np.isfinite(t_s) & np.isfinite(potential_v) & np.isfinite(current_a)
    t, e, i = t_s[good], potential_v[good], current_a[good]
    if len(e) < 3:
        return ()
    back = 5 * float(np.median(np.abs(np.diff(e))))
    turns, extreme, direction = [0], 0, 0
    for row, value in enumerate(e):
        if direction == 0:
            if abs(value - e[0]) > back:
                direction, extreme = (1 if value > e[0] else -1), row
        elif direction * (value - e[extreme]) >= 0:
            extreme = row
        elif direction * (e[extreme] - value) > back:
            turns.append(extreme)
            direction, extreme = -direction, row
    turns.append(len(e) - 1)
    found = []
    for first, last in pairwise(turns):
        if last - first >= SMOOTHING_ROWS:
            # A row on the turn itself belongs to neither way.
            part = slice(first + (first > 0), last + (last == len(e) - 1))
            way: Literal[-1, 1] = 1 if e[last] > e[first] else -1
            found.append(OneWay(way, t[part], e[part], i[part]))
    return tuple(found)


@dataclass(frozen=True)
class VoltammetricPeak:
    """One peak of a sweep.

    Attributes:
        potential_v: Where the current is largest, V.
        uncertainty_v: Standard uncertainty of it: of the step between rows, the noise and the
            peak's asymmetry, V.
        current_a: Current there above the baseline, A, positive in an anodic sweep and negative in
            a cathodic one.
    """

    potential_v: float
    uncertainty_v: float
    current_a: float


def peaks(sweep: OneWay) -> tuple[VoltammetricPeak, ...]:
    """Return the peaks of a sweep, lowest potential first.

    Local maxima of the current in the sweep's direction, smoothed by a second-order polynomial
    over 5 rows (Savitzky-Golay), that stand out by more than 3 % of its range and 6 standard
    deviations of the noise. Noise moves the highest row along a flat top, so the position is the
    vertex of a parabola through the rows within 5 % of the top. The baseline is the lower convex
    hull of the sweep; what rises to its end, as metal deposition does, is no peak.
    """
    from scipy.signal import find_peaks, savgol_filter

    if len(sweep.potential_v) < 2 * SMOOTHING_ROWS:
        return ()
    raw = sweep.direction * sweep.current_a
    smooth = savgol_filter(raw, SMOOTHING_ROWS, SMOOTHING_ORDER)
    second = raw[2:] - 2 * raw[1:-1] + raw[:-2]
    noise = 1.4826 * float(np.median(np.abs(second))) / math.sqrt(6.0)
    least = max(PROMINENCE * float(np.ptp(smooth)), PROMINENCE_SIGMAS * noise)
    if not least > 0:
        return ()
    tops, _ = find_peaks(smooth, prominence=least)
    step = float(np.median(np.abs(np.diff(sweep.potential_v))))
    below = _lower_hull(sweep.potential_v, smooth)
    found = []
    for top in tops:
        height = float(smooth[top] - below[top])
        position, error = _summit(sweep.potential_v, raw, smooth, int(top), height)
        found.append(
            VoltammetricPeak(
                position, math.hypot(error, step / math.sqrt(12.0)), sweep.direction * height
            )
        )
    return tuple(sorted(found, key=lambda peak: peak.potential_v))


def _summit(
    potential_v: Floats, raw: Floats, smooth: Floats, top: int, height: float
) -> tuple[float, float]:
    """Return where the parabola through the rows near a top has its vertex, and its error, V.

    The error is that of the noise and half of what the vertex moves when twice as much of the
    flanks takes part: a peak need not be symmetric.
    """
    vertices: list[float] = []
    error = 0.0
    for share in (SUMMIT_SHARE, 2 * SUMMIT_SHARE):
        low = high = top
        while low > 0 and smooth[low - 1] > smooth[top] - share * height:
            low -= 1
        while high < len(smooth) - 1 and smooth[high + 1] > smooth[top] - share * height:
            high += 1
        if high - low < SMOOTHING_ROWS:
            return float(potential_v[top]), 0.0
        x = potential_v[low : high + 1] - potential_v[top]
        (a, b, c), covariance = np.polyfit(x, raw[low : high + 1], 2, cov="unscaled")
        rest = raw[low : high + 1] - np.polyval((a, b, c), x)
        if a >= 0 or not x.min() <= -b / (2 * a) <= x.max():
            return float(potential_v[top]), float(np.ptp(x)) / math.sqrt(12.0)
        vertices.append(float(potential_v[top] - b / (2 * a)))
        if share == SUMMIT_SHARE:
            slopes = np.array([b / (2 * a**2), -1 / (2 * a), 0.0])
            variance = float(rest @ rest) / max(len(x) - 3, 1)
            error = math.sqrt(max(float(slopes @ covariance @ slopes) * variance, 0.0))
    return vertices[0], math.hypot(error, 0.5 * (vertices[1] - vertices[0]))


def _lower_hull(x: Floats, y: Floats) -> Floats:
    """Return the lower convex hull of a curve at each x: the line that a peak stands on."""
    order = np.argsort(x, kind="stable")
    hull: list[int] = []
    for row in order.tolist():
        while len(hull) > 1 and (x[hull[-1]] - x[hull[-2]]) * (y[row] - y[hull[-2]]) <= (
            y[hull[-1]] - y[hull[-2]]
        ) * (x[row] - x[hull[-2]]):
            hull.pop()
        hull.append(row)
    return np.interp(x, x[hull], y[hull])


@dataclass(frozen=True)
class Couple:
    """An anodic peak and the cathodic one that belongs to it.

    Attributes:
        anodic: Of the sweep upwards.
        cathodic: Of the sweep downwards.
    """

    anodic: VoltammetricPeak
    cathodic: VoltammetricPeak

    @property
    def separation_v(self) -> float:
        """Return E_pa - E_pc, V."""
        return self.anodic.potential_v - self.cathodic.potential_v

    @property
    def middle_v(self) -> float:
        """Return (E_pa + E_pc)/2, V."""
        return 0.5 * (self.anodic.potential_v + self.cathodic.potential_v)


def couples(
    anodic: Sequence[VoltammetricPeak], cathodic: Sequence[VoltammetricPeak]
) -> tuple[Couple, ...]:
    """Pair the peaks of an upward and a downward sweep, lowest potential first.

    From the lowest up each anodic peak takes the highest cathodic one that lies below it and is
    not taken; one for which there is none stays alone.
    """
    free = sorted(cathodic, key=lambda peak: peak.potential_v)
    found = []
    for peak in sorted(anodic, key=lambda peak: peak.potential_v):
        below = [other for other in free if other.potential_v <= peak.potential_v]
        if below:
            found.append(Couple(peak, below[-1]))
            free.remove(below[-1])
    return tuple(found)


@dataclass(frozen=True)
class RateExponent:
    """How a peak's current grows with the scan rate: |i_p| = a v^b.

    Attributes:
        exponent: b: 0.5 where diffusion limits, 1 where all that reacts sits on the surface; None
            if it cannot be told.
        uncertainty: Its standard error.
        r2: Coefficient of determination of log |i_p| against log v.
        reason: Why there is none.
    """

    exponent: float | None
    uncertainty: float | None
    r2: float | None
    reason: str | None = None


def rate_exponent(scan_rate_v_s: Floats, peak_current_a: Floats) -> RateExponent:
    """Fit log |i_p| against log v over at least three rates."""
    good = np.isfinite(scan_rate_v_s) & np.isfinite(peak_current_a)
    good &= (scan_rate_v_s > 0) & (peak_current_a != 0)
    rates = np.log10(scan_rate_v_s[good])
    distinct = len(np.unique(np.round(rates, 3)))
    if distinct < FEWEST_RATES:
        told = f"{distinct} scan rates, at least {FEWEST_RATES} are needed"
        return RateExponent(None, None, None, told)
    line = fit_line(rates, np.log10(np.abs(peak_current_a[good])))
    return RateExponent(line.slope, line.slope_uncertainty, line.r2)
