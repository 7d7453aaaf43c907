"""Lines of millions of rows, thinned so that they look the same."""

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats

# More columns than a double-column figure has at 300 dots per inch.
COLUMNS = 2200


def envelope(x: Floats, y: Floats, columns: int = COLUMNS) -> tuple[Floats, Floats]:
    """Return the rows of a line that show: in each column first, lowest, highest and last.

    A line of millions of points takes minutes and gigabytes to draw. Means or every n-th row would
    hide what matters most, single rows that stand out: a tip, a short, the end of a strip. The
    lowest and the highest row of each column of pixels keep them, and the first and last join the
    columns as before. NaN, where a line is interrupted, stays an interruption.

    Args:
        x: Ascending, shape (rows,); rows where it is NaN are left out.
        y: By row; NaN interrupts the line.
        columns: How many columns the line is drawn in.

    Returns:
        Rows of ``x`` and ``y`` in their order, at most six per column; all, if there are no more.
    """
    known = np.isfinite(x)
    if not known.all():
        x, y = x[known], y[known]
    if len(x) <= 4 * columns:
        return x, y
    begins = _column_begins(x, columns)
    last = np.append(begins[1:], len(x)) - 1
    gaps = np.isnan(y)
    chosen = [begins, last]
    for fill, extreme in ((np.inf, np.minimum), (-np.inf, np.maximum)):
        filled = np.where(gaps, fill, y)
        reached = np.repeat(extreme.reduceat(filled, begins), last - begins + 1)
        chosen.append(_first_of_each(np.flatnonzero(filled == reached), begins))
    interrupted = np.flatnonzero(gaps)
    chosen += [_first_of_each(interrupted, begins), _last_of_each(interrupted, last)]
    rows = np.unique(np.concatenate(chosen))
    return x[rows], y[rows]


def broken(x: Floats, y: Floats, before: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return a line with an interruption before each of the rows ``before``."""
    return np.insert(x, before, x[before]), np.insert(y, before, np.nan)


def _column_begins(x: Floats, columns: int) -> NDArray[np.int64]:
    """Return the first row of each column that has any."""
    edges = np.linspace(x[0], x[-1], columns + 1)[:-1]
    return np.unique(np.searchsorted(x, edges, side="left"))


def _first_of_each(rows: NDArray[np.int64], begins: NDArray[np.int64]) -> NDArray[np.int64]:
    column = np.searchsorted(begins, rows, side="right")
    return rows[np.flatnonzero(np.diff(column, prepend=-1))]


def _last_of_each(rows: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    column = np.searchsorted(last, rows, side="left")
    return rows[np.flatnonzero(np.diff(column, append=-1))]
