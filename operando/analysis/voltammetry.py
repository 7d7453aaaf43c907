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
        potential_v: Where the smoothed current is largest, V.
        uncertainty_v: Standard uncertainty of it: of the step between rows, and of the noise, V.
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
    deviations of the noise. The baseline is the lower convex hull of the sweep; what rises to its
    end, as metal deposition does, is no peak.
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
    tops, told = find_peaks(smooth, prominence=least)
    step = float(np.median(np.abs(np.diff(sweep.potential_v))))
    below = _lower_hull(sweep.potential_v, smooth)
    found = []
    for k, top in enumerate(tops):
        # How far from the top the noise could make a row the highest.
        around = smooth[told["left_bases"][k] : told["right_bases"][k] + 1]
        flat = np.flatnonzero(around >= smooth[top] - 2 * noise)
        width = step * max(float(np.ptp(flat)), 1.0)
        found.append(
            VoltammetricPeak(
                float(sweep.potential_v[top]),
                width / math.sqrt(12.0),
                sweep.direction * float(smooth[top] - below[top]),
            )
        )
    return tuple(sorted(found, key=lambda peak: peak.potential_v))


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
