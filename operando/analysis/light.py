"""What light does to a sample: dose by spot, a step of the potential, a change against fresh spots.

Arrays in, numbers out; where and when comes from the leader's clock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats

# Rows on each side of an exposure that tell the line its step is counted from.
ROWS_BESIDE = 12
FEWEST_BESIDE = 3
FEWEST_FRESH = 3
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Step:
    """A step of the potential while the laser was on.

    Attributes:
        step_v: V, positive where the potential rises.
        uncertainty_v: Standard error, from the scatter about the line.
        lit: Rows within the exposure that it rests on.
        beside: Rows before and after it.
    """

    step_v: float
    uncertainty_v: float
    lit: int
    beside: int


def potential_step(
    t_s: Floats,
    potential_v: Floats,
    before_s: float,
    after_s: float,
    lit_s: float,
    usable: NDArray[np.bool_],
) -> Step | str:
    """Return the step of the potential in one exposure, or why there is none.

    A straight line in time and a step during the exposure are fitted together (least squares). The
    light of ``lit_s`` lies somewhere between the leader's last row before it and the first after
    it: only rows that it covers wherever it lies count as lit, less the first of them, whose
    measurement may have begun before.

    Args:
        t_s: Of the leader's rows, s, ascending.
        potential_v: Of these, V.
        before_s: Leader's time just before the exposure, s.
        after_s: Just after, s.
        lit_s: How long the laser was on between these two, at least, s.
        usable: Which rows may tell: of the same step, and of no other exposure.
    """
    lit = np.flatnonzero((t_s >= after_s - lit_s) & (t_s <= before_s + lit_s) & usable)[1:]
    if not len(lit):
        return (
            "too few rows of the potentiostat are certainly within an exposure: expose longer, or "
            "record more densely"
        )
    earlier = np.flatnonzero((t_s <= before_s) & usable)[-ROWS_BESIDE:]
    later = np.flatnonzero((t_s > after_s) & usable)[:ROWS_BESIDE]
    if len(earlier) < FEWEST_BESIDE:
        return f"fewer than {FEWEST_BESIDE} rows in the dark before an exposure, in the same step"
    rows = np.concatenate((earlier, lit, later))
    if len(rows) < 5:
        return "too few rows beside an exposure"
    t, e = t_s[rows] - before_s, potential_v[rows]
    on = np.isin(rows, lit).astype(np.float64)
    design = np.column_stack((np.ones_like(t), t, on))
    # By orders of magnitude alike, so that the normal equations are well conditioned.
    scale = np.array([1.0, max(float(np.ptp(t)), 1e-12), 1.0])
    scaled = design / scale
    solution, _, rank, _ = np.linalg.lstsq(scaled, e, rcond=None)
    if rank < 3:
        return "the rows beside an exposure cannot tell a step from a drift"
    left = e - scaled @ solution
    variance = float(left @ left) / (len(rows) - 3)
    covariance = np.linalg.inv(scaled.T @ scaled) * variance
    error_v = math.sqrt(max(float(covariance[2, 2]), 0.0))
    return Step(float(solution[2]), error_v, len(lit), len(rows) - len(lit))


def spots_of(x_um: Floats, y_um: Floats, apart_um: float) -> NDArray[np.int64]:
    """Return the number of the spot of each position, from 0 in the order of first use.

    A position less than ``apart_um`` from where a spot was first used is of that spot. -1 where the
    position is not known.
    """
    centres: list[tuple[float, float]] = []
    found = np.full(len(x_um), -1, dtype=np.int64)
    for row, (x, y) in enumerate(zip(x_um.tolist(), y_um.tolist(), strict=True)):
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        near = (
            number for number, (a, b) in enumerate(centres) if math.hypot(x - a, y - b) < apart_um
        )
        number = next(near, len(centres))
        if number == len(centres):
            centres.append((x, y))
        found[row] = number
    return found


@dataclass(frozen=True)
class Mean:
    """A mean of differences, and whether it differs from nothing.

    Attributes:
        value: The mean.
        uncertainty: Its standard error.
        count: Of how many.
        bound: What it must exceed to differ from nothing at 95 % (Student).
    """

    value: float
    uncertainty: float
    count: int
    bound: float

    @property
    def differs(self) -> bool:
        """Return whether it differs from nothing."""
        return abs(self.value) > self.bound


def mean_of(differences: Sequence[float]) -> Mean:
    """Return the mean of two or more differences."""
    from scipy.stats import t as student

    values = np.asarray(differences, dtype=np.float64)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    factor = float(student.isf((1 - CONFIDENCE) / 2, len(values) - 1))
    return Mean(float(values.mean()), error, len(values), factor * error)


def against_fresh(at_s: Floats, value: Floats, fresh: NDArray[np.bool_]) -> list[float]:
    """Return by how much the usual spot differs from each fresh one, at its time.

    The usual spot's value is taken between the spectra before and after; a fresh spot without a
    usual one on both sides tells nothing.

    Args:
        at_s: When each spectrum was taken, s.
        value: What was found in it; NaN where nothing was.
        fresh: Which of them are of fresh spots.
    """
    known = np.isfinite(at_s) & np.isfinite(value)
    usual = np.flatnonzero(known & ~fresh)
    found = []
    for row in np.flatnonzero(known & fresh).tolist():
        before, after = usual[at_s[usual] <= at_s[row]], usual[at_s[usual] > at_s[row]]
        if len(before) and len(after):
            beside = [before[-1], after[0]]
            found.append(float(np.interp(at_s[row], at_s[beside], value[beside]) - value[row]))
    return found
