"""Roughness of a height map."""

from typing import NamedTuple

import numpy as np

from operando.runs import Floats

_FEWEST = 16


class Roughness(NamedTuple):
    """Height parameters of ISO 25178-2, in the unit of the heights.

    Attributes:
        sa: Arithmetical mean height: the mean magnitude.
        sq: Root mean square height.
    """

    sa: float
    sq: float


def roughness(x: Floats, y: Floats, height: Floats) -> Roughness:
    """Return the roughness of a surface above its plane.

    Sa is the mean of |z|, Sq the root of the mean of z squared over the area (ISO 25178-2, height
    parameters), z being the height above the plane that fits best: the tilt of the sample is the
    form that is taken off first, and no filter is applied. They depend on the size of the map and
    of its pixels.

    Args:
        x: Where each height was measured, any unit, of the heights' shape; points of equal area.
        y: The same across.
        height: Heights; NaN is left out.

    Raises:
        ValueError: Fewer than 16 heights, or all of them on one line.
    """
    known = np.isfinite(x) & np.isfinite(y) & np.isfinite(height)
    if known.sum() < _FEWEST:
        raise ValueError(f"the map has {known.sum()} heights, fewer than {_FEWEST}")
    across, along, z = x[known], y[known], height[known]
    columns = [np.ones(len(z)), across - across.mean(), along - along.mean()]
    scales = [float(np.abs(column).max()) for column in columns]
    if min(scales) == 0:
        raise ValueError("the heights lie on one line")
    plane = np.column_stack([column / scale for column, scale in zip(columns, scales, strict=True)])
    z = z - plane @ np.linalg.lstsq(plane, z, rcond=None)[0]
    return Roughness(float(np.mean(np.abs(z))), float(np.sqrt(np.mean(z**2))))
