"""Calibration of a detector by gases of several known compositions: areas to mole fractions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOD_SIGMAS = 3.0


@dataclass(frozen=True)
class LinearCalibration:
    """A straight line through areas of known mole fractions.

    Attributes:
        slope: Area per mole fraction.
        intercept: Area at nothing; 0 where the line was forced through zero.
        slope_error: Standard error of the slope.
        intercept_error: Standard error of the intercept; 0 where it was forced.
        residual: Standard deviation of the areas about the line.
        r2: Share of the areas' variance that the line explains; about zero if it was forced.
        forced: Whether the line was forced through zero.
        levels: How many points it rests on.
        lod: Limit of detection, mole fraction: three residuals over the slope.
    """

    slope: float
    intercept: float
    slope_error: float
    intercept_error: float
    residual: float
    r2: float
    forced: bool
    levels: int
    lod: float

    def mole_fraction(self, area: float) -> tuple[float, float]:
        """Return the mole fraction of an area and its standard uncertainty (the line's part)."""
        value = (area - self.intercept) / self.slope
        error = math.hypot(self.intercept_error, value * self.slope_error) / abs(self.slope)
        return value, error


def calibrate(
    mole_fractions: Sequence[float], areas: Sequence[float], *, through_zero: bool
) -> LinearCalibration:
    """Fit a line to the areas of gases of known composition.

    Args:
        mole_fractions: Of the gases; each may occur several times.
        areas: Found for them.
        through_zero: Whether the line is forced through zero; that is declared, never chosen here.

    Raises:
        ValueError: Fewer points than the line needs to be judged (two forced, three not), fewer
            than two different levels where it is not forced, or no slope.
    """
    x, y = np.asarray(mole_fractions, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    unknowns = 1 if through_zero else 2
    if len(x) != len(y) or len(x) < unknowns + 1:
        raise ValueError(
            f"{len(x)} mole fractions and {len(y)} areas: a line that is "
            f"{'' if through_zero else 'not '}forced through zero needs {unknowns + 1} of each"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or (x < 0).any() or (x > 1).any():
        raise ValueError("mole fractions lie between 0 and 1, and areas are finite")
    centre = 0.0 if through_zero else float(x.mean())
    level = 0.0 if through_zero else float(y.mean())
    squares = float(((x - centre) ** 2).sum())
    if squares <= 0:
        raise ValueError("all levels are the same: no slope can be told")
    slope = float(((x - centre) * (y - level)).sum()) / squares
    intercept = level - slope * centre
    left = y - intercept - slope * x
    rest = float(left @ left)
    residual = math.sqrt(rest / (len(x) - unknowns))
    total = float(((y - level) ** 2).sum())
    if not slope > 0 or total <= 0:
        raise ValueError(f"the areas do not rise with the mole fraction: slope {slope:.3g}")
    slope_error = residual / math.sqrt(squares)
    offset_error = residual * math.sqrt(1 / len(x) + centre**2 / squares)
    return LinearCalibration(
        slope=slope,
        intercept=intercept,
        slope_error=slope_error,
        intercept_error=0.0 if through_zero else offset_error,
        residual=residual,
        r2=1 - rest / total,
        forced=through_zero,
        levels=len(x),
        lod=LOD_SIGMAS * residual / slope,
    )
