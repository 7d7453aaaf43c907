"""Gas bubbles in front of an electrode: dark rings in the bright electrolyte.

A bubble shows as a ring, because its rim reflects the light away while its middle lets it pass.
Rings are looked for in the frame binned four by four, over a background that is fitted to the
electrolyte itself; each ring that is verified is erased before the next one is looked for, so that
one ring is counted once. Bubbles whose rims overlap are under-counted, and only one side of the
electrode is seen: the volume is a lower bound of the gas.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats

BINNED = 4
SMALLEST_RADIUS, LARGEST_RADIUS = 2.5, 40.0  # binned pixels
# A pixel is dark that lacks so much of the background, or so many of its standard deviations.
DARKER, DARKER_SIGMAS = 0.08, 6.0
RING_SHARE = 0.7  # of a ring's circumference that must be dark
FILLED_SHARE = 0.5  # of its middle that must not be
ANGLES = 72
MOST_PER_PIECE = 8  # rings looked for in one connected dark piece
_HALF_RIM = 1.5  # binned pixels on each side of a ring that belong to it


@dataclass(frozen=True)
class Bubble:
    """One bubble.

    Attributes:
        column: Of its centre, pixels.
        row: Of its centre, pixels.
        radius: Of the darkest circle of its rim, pixels.
        dark_share: Which share of that circle is dark, 0..1.
    """

    column: float
    row: float
    radius: float
    dark_share: float


def find_bubbles(binned: NDArray[Any], front_row: Floats) -> tuple[Bubble, ...]:
    """Return the bubbles above a front, from left to right.

    Args:
        binned: Sums (or means) of four by four pixels, shape (rows, columns).
        front_row: Row of the deposit's front for each binned column, in pixels of the frame that
            was not binned; NaN where it is not known: nothing is looked for in that column.
    """
    from scipy import ndimage

    dark = _dark(np.asarray(binned, dtype=np.float64), front_row / BINNED)
    pieces, count = ndimage.label(dark, structure=np.ones((3, 3), dtype=np.int8))
    if not count:
        return ()
    found: list[Bubble] = []
    smallest = math.pi * SMALLEST_RADIUS
    sizes = np.bincount(pieces.ravel())
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        extent = min(part.stop - part.start for part in box)
        if sizes[number] >= smallest and extent >= 2 * SMALLEST_RADIUS:
            top, left = box[0].start, box[1].start
            for row, column, radius, share in _rings(pieces[box] == number):
                found.append(
                    Bubble(
                        column=(column + left + 0.5) * BINNED - 0.5,
                        row=(row + top + 0.5) * BINNED - 0.5,
                        radius=radius * BINNED,
                        dark_share=share,
                    )
                )
    return tuple(sorted(found, key=lambda one: (one.column, one.row)))


def volume_nl(bubbles: tuple[Bubble, ...], micrometre_per_pixel: float) -> float:
    """Return the volume of spheres as large as the rings, nL: the sum of 4/3 pi r^3."""
    radii_um = [one.radius * micrometre_per_pixel for one in bubbles]
    return math.fsum(4 / 3 * math.pi * (radius * 1e-3) ** 3 * 1e3 for radius in radii_um)


def _dark(binned: Floats, front_row: Floats) -> NDArray[np.bool_]:
    """Return which pixels of the electrolyte are darker than its background."""
    rows, columns = binned.shape
    # A rim that touches the deposit must not lift the line below which nothing is looked at.
    known = np.isfinite(front_row)
    if known.sum() < 8:
        return np.zeros(binned.shape, dtype=bool)
    limit = _rolling_median(np.where(known, front_row, np.nanmedian(front_row)))
    above = np.arange(rows)[:, None] < (limit - 1.0)[None, :]
    above &= known[None, :]
    if above.sum() < 100:
        return np.zeros(binned.shape, dtype=bool)
    x = np.arange(columns) / columns - 0.5
    y = (np.arange(rows) / rows - 0.5)[:, None]
    # A sixteenth of the pixels fits six numbers well enough.
    at_row, at_column = np.nonzero(above[::4, ::4])
    values = binned[::4, ::4][at_row, at_column]
    x_at, y_at = x[::4][at_column], y[::4, 0][at_row]
    design = np.column_stack(
        (np.ones_like(x_at), x_at, y_at, x_at * x_at, x_at * y_at, y_at * y_at)
    )
    kept = values >= 0.8 * np.median(values)
    for _ in range(2):
        chosen = design[kept]
        numbers = np.linalg.lstsq(chosen.T @ chosen, chosen.T @ values[kept], rcond=None)[0]
        relative = values / np.maximum(design @ numbers, 1e-9) - 1.0
        spread = 1.4826 * float(np.median(np.abs(relative - np.median(relative))))
        kept = np.abs(relative) <= max(3.0 * spread, 1e-6)
        if kept.sum() < 12:
            break
    level, along, down, bend, twist, sag = (float(number) for number in numbers)
    background = (level + along * x + bend * x * x) + y * (down + twist * x) + sag * y * y
    threshold = 1.0 - max(DARKER, DARKER_SIGMAS * spread)
    return np.asarray((binned < threshold * background) & above)


def _rolling_median(front_row: Floats) -> Floats:
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(front_row, size=41, mode="nearest"))


def _rings(piece: NDArray[np.bool_]) -> list[tuple[float, float, float, float]]:
    """Return row, column, radius and dark share of the rings in a piece, the best first."""
    left = piece.copy()
    found: list[tuple[float, float, float, float]] = []
    for _ in range(MOST_PER_PIECE):
        if left.sum() < math.pi * SMALLEST_RADIUS:
            break
        # Most pieces are one ring, which needs no votes.
        height, width = left.shape
        whole = (0.5 * (height - 1), 0.5 * (width - 1), 0.25 * (height + width) - 1)
        ring = _verified(left, *whole) if not found else None
        for voted in _voted(left) if ring is None else ():
            other = _verified(left, *voted)
            if other is not None and (ring is None or other[3] > ring[3]):
                ring = other
        if ring is None:
            break
        found.append(ring)
        _erase(left, *ring[:3])
    return found


def _voted(dark: NDArray[np.bool_]) -> list[tuple[float, float, float]]:
    """Return the three circles with most votes of the dark pixels (Hough)."""
    from skimage.transform import hough_circle

    largest = min(LARGEST_RADIUS, 0.5 * max(dark.shape) + 1)
    radii = np.arange(math.floor(SMALLEST_RADIUS), math.ceil(largest) + 1)
    votes = hough_circle(dark, radii)
    found = []
    for _ in range(3):
        size, row, column = np.unravel_index(np.argmax(votes), votes.shape)
        found.append((float(row), float(column), float(radii[size])))
        votes[:, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = 0.0
    return found


def _verified(
    dark: NDArray[np.bool_], row: float, column: float, radius: float
) -> tuple[float, float, float, float] | None:
    """Return the ring near a circle with its dark share, or None if there is no bubble's."""
    row, column, radius = _refined(dark, row, column, radius)
    share = _dark_share(dark, row, column, radius)
    if radius < SMALLEST_RADIUS or share < RING_SHARE or _filled(dark, row, column, radius):
        return None
    return row, column, radius, share


def _distances(shape: tuple[int, int], row: float, column: float) -> Floats:
    return np.hypot(
        np.arange(shape[0], dtype=np.float64)[:, None] - row,
        np.arange(shape[1], dtype=np.float64)[None, :] - column,
    )


def _refined(
    dark: NDArray[np.bool_], row: float, column: float, radius: float
) -> tuple[float, float, float]:
    """Return the circle through the dark pixels near a circle, by least squares (Kasa)."""
    near = dark & (np.abs(_distances(dark.shape, row, column) - radius) <= _HALF_RIM)
    rows, columns = np.nonzero(near)
    if len(rows) < 6:
        return row, column, radius
    design = np.column_stack((rows - row, columns - column, np.ones(len(rows))))
    squares = (rows - row) ** 2 + (columns - column) ** 2
    a, b, c = np.linalg.lstsq(design, squares.astype(np.float64), rcond=None)[0]
    squared = c + (a * a + b * b) / 4
    moved = 0.5 * math.hypot(a, b)
    # A fit that runs away was no circle: the votes are the better guess.
    if not squared > 0 or moved > 2 or abs(math.sqrt(squared) - radius) > 2:
        return row, column, radius
    return row + a / 2, column + b / 2, math.sqrt(squared)


def _dark_share(dark: NDArray[np.bool_], row: float, column: float, radius: float) -> float:
    angles = 2 * math.pi * np.arange(ANGLES) / ANGLES
    height, width = dark.shape
    seen = np.zeros(ANGLES, dtype=bool)
    for offset in (-1.0, 0.0, 1.0):
        at_row = np.rint(row + (radius + offset) * np.sin(angles)).astype(np.int64)
        at_column = np.rint(column + (radius + offset) * np.cos(angles)).astype(np.int64)
        inside = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
        seen[inside] |= dark[at_row[inside], at_column[inside]]
    return float(seen.mean())


def _filled(dark: NDArray[np.bool_], row: float, column: float, radius: float) -> bool:
    """Tell whether the middle is dark too: a floating piece, no bubble."""
    middle = _distances(dark.shape, row, column) < max(radius - 2.0, 0.8)
    return bool(middle.any() and dark[middle].mean() > FILLED_SHARE)


def _erase(dark: NDArray[np.bool_], row: float, column: float, radius: float) -> None:
    dark[np.abs(_distances(dark.shape, row, column) - radius) <= _HALF_RIM + 0.5] = False
