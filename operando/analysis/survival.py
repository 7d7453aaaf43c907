"""Lives of several cells of which some were stopped before they failed.

The product-limit estimate of Kaplan and Meier (J. Am. Stat. Assoc. 1958, 53, 457) with the
variance of Greenwood (Reports on Public Health and Medical Subjects 33, 1926), and the pointwise
interval on the scale log(-log S), which stays within 0 and 1 (Kalbfleisch and Prentice, The
Statistical Analysis of Failure Time Data, 2nd ed. 2002, section 1.4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

NORMAL_95 = 1.959963984540054  # 97.5 % of a standard normal distribution lie below it


@dataclass(frozen=True)
class Survival:
    """How many of a group of cells live longer than a time.

    Attributes:
        times_h: When cells failed, each time once, ascending, h.
        at_risk: Cells that were still under test just before each.
        failed: How many failed then.
        surviving: Estimated share of cells that live longer than each of ``times_h``.
        low: Lower end of its pointwise interval of 95 %; None where every cell has failed.
        high: Upper end.
        censored_h: When cells were stopped that had not failed, ascending, h.
        cells: How many cells in all.
    """

    times_h: tuple[float, ...]
    at_risk: tuple[int, ...]
    failed: tuple[int, ...]
    surviving: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    censored_h: tuple[float, ...]
    cells: int

    @property
    def median_h(self) -> float | None:
        """Return the first time at which half the cells or fewer survive, h; None if none is."""
        return next(
            (t for t, share in zip(self.times_h, self.surviving, strict=True) if share <= 0.5), None
        )

    def share_at(self, time_h: float) -> float:
        """Return the estimated share of cells that live longer than ``time_h``."""
        share = 1.0
        for time, surviving in zip(self.times_h, self.surviving, strict=True):
            if time > time_h:
                break
            share = surviving
        return share

    def restricted_mean_h(self, until_h: float) -> float:
        """Return the mean life until ``until_h``: the area under the estimate, h."""
        area, share, begin = 0.0, 1.0, 0.0
        for time, surviving in zip(self.times_h, self.surviving, strict=True):
            if time >= until_h:
                break
            area += share * (time - begin)
            share, begin = surviving, time
        return area + share * (until_h - begin)


def survival(lives_h: Sequence[float], failed: Sequence[bool]) -> Survival:
    """Return the product-limit estimate of the lives of cells.

    S(t) is the product over failures at t_i <= t of 1 - d_i / n_i, with d_i of n_i cells under test
    failing; a cell stopped at the time of a failure was still under test. Its variance is
    S^2 * sum of d_i / (n_i (n_i - d_i)).

    Args:
        lives_h: How long each cell lived, or until when it was watched, h.
        failed: Whether it failed then; False: it was stopped, its life is longer.

    Raises:
        ValueError: No cell, lengths that differ, or a life that is no time.
    """
    if len(lives_h) != len(failed):
        raise ValueError(f"{len(lives_h)} lives, but {len(failed)} times failed or not")
    if not lives_h:
        raise ValueError("no cell, no life")
    wrong = [life for life in lives_h if not (math.isfinite(life) and life >= 0)]
    if wrong:
        raise ValueError(f"a life is a time in h, not {wrong[0]!r}")
    ends = sorted(zip(lives_h, failed, strict=True))
    times = sorted({life for life, fell in ends if fell})
    at_risk, fallen, shares = [], [], []
    low: list[float | None] = []
    high: list[float | None] = []
    share, greenwood = 1.0, 0.0
    for time in times:
        under_test = sum(life >= time for life, _ in ends)
        fell = sum(life == time and failed_then for life, failed_then in ends)
        share *= 1.0 - fell / under_test
        if fell < under_test:
            greenwood += fell / (under_test * (under_test - fell))
        at_risk.append(under_test)
        fallen.append(fell)
        shares.append(share)
        if fell == under_test or share <= 0:
            low.append(None)
            high.append(None)
            continue
        width = NORMAL_95 * math.sqrt(greenwood) / abs(math.log(share))
        low.append(share ** math.exp(width))
        high.append(share ** math.exp(-width))
    return Survival(
        tuple(times),
        tuple(at_risk),
        tuple(fallen),
        tuple(shares),
        tuple(low),
        tuple(high),
        tuple(life for life, fell in ends if not fell),
        len(ends),
    )
