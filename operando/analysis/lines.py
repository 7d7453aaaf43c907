"""Straight lines with their standard errors."""

import math
from dataclasses import dataclass

import numpy as np

from operando.runs import Floats


@dataclass(frozen=True)
class Line:
    """A straight line y = intercept + slope x.

    Attributes:
        slope: Slope.
        slope_uncertainty: Its standard error.
        intercept: Value at x = 0.
        intercept_uncertainty: Its standard error.
        r2: Coefficient of determination; 1 for a horizontal line that fits exactly.
        points: Number of points.
        covariance: Of slope and intercept.
    """

    slope: float
    slope_uncertainty: float
    intercept: float
    intercept_uncertainty: float
    r2: float
    points: int
    covariance: float

    def at(self, x: float) -> tuple[float, float]:
        """Return the line's value at ``x`` and its standard error."""
        variance = (
            self.intercept_uncertainty**2
            + 2 * x * self.covariance
            + (x * self.slope_uncertainty) ** 2
        )
        return self.intercept + self.slope * x, math.sqrt(max(variance, 0.0))


def fit_line(x: Floats, y: Floats, uncertainty: Floats | None = None) -> Line:
    """Fit a straight line by least squares.

    Args:
        x: At least three values that are not all the same.
        y: As many.
        uncertainty: Standard uncertainty of each y; the residuals are weighted with it, and the
            standard errors are the larger of what it and what the residuals found tell. None: all
            weigh the same and the residuals tell.

    Raises:
        ValueError: Fewer than three points, or all at one x.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) < 3 or np.ptp(x) == 0:
        raise ValueError(f"{len(x)} points at {len(np.unique(x))} places are too few for a line")
    weight = np.ones(len(x)) if uncertainty is None else 1 / np.asarray(uncertainty) ** 2
    total = float(weight.sum())
    mean_x, mean_y = float(weight @ x) / total, float(weight @ y) / total
    spread = float(weight @ (x - mean_x) ** 2)
    slope = float(weight @ ((x - mean_x) * (y - mean_y))) / spread
    rest = y - mean_y - slope * (x - mean_x)
    misfit = float(weight @ rest**2)
    variance = misfit / (len(x) - 2)
    if uncertainty is not None:
        variance = max(variance, 1.0)
    height = float(weight @ (y - mean_y) ** 2)
    return Line(
        slope=slope,
        slope_uncertainty=math.sqrt(variance / spread),
        intercept=mean_y - slope * mean_x,
        intercept_uncertainty=math.sqrt(variance * (1 / total + mean_x**2 / spread)),
        r2=1 - misfit / height if height > 0 else 1.0,
        points=len(x),
        covariance=-variance * mean_x / spread,
    )
