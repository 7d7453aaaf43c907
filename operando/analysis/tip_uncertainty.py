"""What makes the tip of a plating less its plateau uncertain, apart from the noise.

The difference stands for the overpotential of nucleation, and it is one only if everything else
that polarises the cell is the same at the tip and on the plateau. It is not: concentrations change,
films and surfaces grow. What grew is estimated from the record in two ways and added, not in
quadrature, for both may come of one cause:

* What keeps on growing shows as the slope of the plateau: its line, taken back to the charge of
  the tip (`grown_on_the_plateau_v`).
* What goes towards a limit has reached it on the plateau, and does not show there. It shows in a
  rest that follows: switching a current off is adding the opposite current, so that in a linear
  cell what was built up from a time ``t1`` after the current began to a time ``t2`` fades from
  ``t1`` to ``t2`` after it has ended (superposition, as in current reversal: Bard and Faulkner,
  Electrochemical Methods, ch. 8) (`relaxed_v`).

The definition takes none of this off: it is a known bias that is not corrected. Twice the stated
uncertainty is to reach from the difference to where the correction would put it, and by twice the
uncertainty of everything else beyond: u = u_c + |bias| / 2, which is the sum of expanded
uncertainty and bias of Phillips, Eberhardt and Parry (J. Res. Natl. Inst. Stand. Technol. 102, 577
(1997)) for k = 2, stated to both sides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from operando.runs import Floats

_ROWS_BESIDE_TIP = 2
# Rows of a rest whose times differ by less than this share belong to one moment.
_ONE_MOMENT = 0.2
# A rest tells what built up since the tip if it is so many times as long as the way to the tip.
_LONG_ENOUGH = 2.0


@dataclass(frozen=True)
class Rest:
    """The rest after a plating.

    Attributes:
        since_s: Time since the current ended, s, rising.
        potential_v: Potential of the metal electrode, V, as many.
    """

    since_s: Floats
    potential_v: Floats


def rectangular(half_width: float) -> float:
    """Return the standard uncertainty of what lies within +- ``half_width``, anywhere."""
    return abs(half_width) / math.sqrt(3.0)


def resolution_v(values: Floats) -> float:
    """Return the standard uncertainty of the steps of a converter in its readings, V.

    The step is the median distance of the readings that occur: of readings without steps that is
    far below their noise, which alone counts then. Step over the root of twelve (JCGM 100:2008,
    F.2.2.1).
    """
    steps = np.diff(np.unique(values))
    return float(np.median(steps)) / math.sqrt(12.0) if len(steps) else 0.0


def missed_v(charge_mah_cm2: Floats, magnitude_v: Floats, tip: int, spacing: float) -> float:
    """Return how far the highest row may lie below the tip because rows are apart, V.

    Of a parabola c (q/h)^2 that is sampled every h, the median of three rows with the summit in its
    middle takes c off at most. c is that of the parabola through the rows beside the tip.

    Args:
        charge_mah_cm2: Charge of the rows, mAh/cm2.
        magnitude_v: Their |E|, V, not smoothed.
        tip: Which of them is the tip.
        spacing: h, the distance of the rows at the tip, mAh/cm2.
    """
    if spacing <= 0:
        return 0.0
    beside = slice(max(tip - _ROWS_BESIDE_TIP, 0), tip + _ROWS_BESIDE_TIP + 1)
    at = (charge_mah_cm2[beside] - charge_mah_cm2[tip]) / spacing
    if len(np.unique(at)) < 3:
        return 0.0
    return max(-float(np.polyfit(at, magnitude_v[beside], 2)[0]), 0.0)


def grown_on_the_plateau_v(
    charge_mah_cm2: Floats, magnitude_v: Floats, begin: float, end: float, noise_v: float = 0.0
) -> tuple[float, float]:
    """Return how much the line through a plateau grows from a charge to another, and its u, V.

    Args:
        charge_mah_cm2: Charge of the plateau's rows, mAh/cm2.
        magnitude_v: Their |E|, V.
        begin: Charge of the tip, mAh/cm2.
        end: Charge of the middle of the plateau, mAh/cm2.
        noise_v: Standard deviation of one row, V.
    """
    if len(charge_mah_cm2) < 2:
        return 0.0, 0.0
    at = charge_mah_cm2 - charge_mah_cm2.mean()
    squares = float(at @ at)
    if squares <= 0:
        return 0.0, 0.0
    slope = float(at @ (magnitude_v - magnitude_v.mean())) / squares
    return slope * (end - begin), noise_v / math.sqrt(squares) * abs(end - begin)


def relaxed_v(
    rest: Rest | None, begin_s: float, end_s: float, noise_v: float = 0.0
) -> tuple[float, float] | None:
    """Return how much of a polarisation fades between two times after the current, and its u, V.

    A rest that ends before ``end_s`` counts to its end. What was still to fade then is unknown: by
    as much at most as faded in the second half of the time, if that is an exponential that falls to
    a half or less in it; the uncertainty holds that as a rectangular part.

    Args:
        rest: The rest after the plating; None: there was none.
        begin_s: How long after the current began the tip was, s.
        end_s: How long after that the middle of the plateau was, s.
        noise_v: Standard deviation of one row, V.

    Returns:
        Positive where |E| falls; None if no rest tells, for want of one or of its length.
    """
    if rest is None or len(rest.since_s) < 2 or begin_s < 0:
        return None
    last_s = min(end_s, float(rest.since_s[-1]))
    if last_s < _LONG_ENOUGH * begin_s:
        return None
    begin_v, u_begin = _at(rest, begin_s, noise_v)
    end_v, u_end = _at(rest, last_s, noise_v)
    still_v = 0.0
    if last_s < end_s:
        still_v = end_v - _at(rest, 0.5 * (begin_s + last_s), noise_v)[0]
    return end_v - begin_v, math.hypot(u_begin, u_end, rectangular(still_v))


def with_bias(parts: Sequence[float], bias: float) -> float:
    """Return the standard uncertainty of a number whose known bias was not taken off.

    Args:
        parts: Standard uncertainties that do not depend on each other.
        bias: Estimate of it; its own uncertainty is one of ``parts``.
    """
    return math.hypot(*parts) + 0.5 * abs(bias)


def median_u(noise: float, count: int) -> float:
    """Return the standard uncertainty of the median of so many rows of normal noise."""
    return noise * math.sqrt(0.5 * math.pi / count) if count > 1 else noise


def _at(rest: Rest, at_s: float, noise_v: float) -> tuple[float, float]:
    near = np.abs(rest.since_s - at_s) <= _ONE_MOMENT * at_s
    if near.any():
        return float(np.median(rest.potential_v[near])), median_u(noise_v, int(near.sum()))
    return float(np.interp(at_s, rest.since_s, rest.potential_v)), noise_v
