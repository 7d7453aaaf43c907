"""Straight lines through values against time."""

import math

from operando.runs import Floats


def slope_per_hour(t_s: Floats, values: Floats) -> tuple[float, float | None]:
    """Return how fast something grows per hour, by least squares, and its standard error.

    Args:
        t_s: Times of at least two values, s.
        values: What grows, in any unit.

    Returns:
        The slope, in that unit per hour, and its standard error, which is None with two values.
    """
    at = t_s - t_s.mean()
    squares = float((at * at).sum())
    slope = float((at * values).sum()) / squares
    if len(at) < 3:
        return slope * 3600, None
    rest = values - values.mean() - slope * at
    error = math.sqrt(float((rest * rest).sum()) / (len(at) - 2) / squares)
    return slope * 3600, error * 3600
