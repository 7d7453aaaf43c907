"""Straight lines through values."""

import math

from operando.runs import Floats


def slope_of_line(at: Floats, values: Floats) -> tuple[float, float | None]:
    """Return the slope of the straight line through values, by least squares, and its error.

    Args:
        at: Where at least two values are.
        values: The values there.

    Returns:
        The slope, in the unit of the values over that of ``at``, and its standard error, which is
        None with two values.
    """
    away = at - at.mean()
    squares = float((away * away).sum())
    slope = float((away * values).sum()) / squares
    if len(away) < 3:
        return slope, None
    rest = values - values.mean() - slope * away
    return slope, math.sqrt(float((rest * rest).sum()) / (len(away) - 2) / squares)


def slope_per_hour(t_s: Floats, values: Floats) -> tuple[float, float | None]:
    """Return how fast something grows per hour, and its standard error.

    Args:
        t_s: Times of at least two values, s.
        values: What grows, in any unit.

    Returns:
        The slope, in that unit per hour, and its standard error, which is None with two values.
    """
    slope, error = slope_of_line(t_s, values)
    return slope * 3600, None if error is None else error * 3600
