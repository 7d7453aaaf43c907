"""Peaks of a curve by how far they stand out."""

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats


def prominent_peaks(values: Floats, least: float) -> NDArray[np.int64]:
    """Return where a curve has maxima that stand out by ``least`` or more.

    The prominence of a maximum is its height above the higher of the two lowest points that lie
    between it and what is higher than it (or the curve's end), on either side. Of a flat top the
    middle is returned; neither end of the curve is a maximum.

    These are the peaks of ``scipy.signal.find_peaks(values, prominence=least)``, the import of
    which takes longer than the measurement of twenty frames.

    Args:
        values: The curve, finite, shape (points,).
        least: The smallest prominence, in the curve's unit.
    """
    if len(values) < 3:
        return np.empty(0, dtype=np.int64)
    # Stretches of equal values count as one point.
    first = np.concatenate(([0], np.flatnonzero(np.diff(values)) + 1))
    last = np.append(first[1:], len(values)) - 1
    level = values[first]
    top = np.flatnonzero((level[1:-1] > level[:-2]) & (level[1:-1] > level[2:])) + 1
    # Nothing stands out farther than it stands above the lowest point.
    top = top[level[top] - values.min() >= least]
    found = []
    for stretch in top:
        height = level[stretch]
        higher = np.flatnonzero(level > height)
        at = int(np.searchsorted(higher, stretch))
        begin = higher[at - 1] + 1 if at else 0
        stop = higher[at] if at < len(higher) else len(level)
        base = max(level[begin : stretch + 1].min(), level[stretch:stop].min())
        if height - base >= least:
            found.append((first[stretch] + last[stretch]) // 2)
    return np.array(found, dtype=np.int64)
