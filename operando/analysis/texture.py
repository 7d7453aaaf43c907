"""How a zinc deposit is oriented, by the reflections of a diffraction pattern."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats


class Reflection(NamedTuple):
    """A reflection of a powder without orientation: where (Cu K-alpha, degrees), how strong."""

    two_theta_deg: float
    intensity: float


# JCPDS 04-0831, hexagonal zinc; intensities relative to (101).
ZINC: Mapping[str, Reflection] = MappingProxyType(
    {
        "002": Reflection(36.297, 53.0),
        "100": Reflection(38.993, 40.0),
        "101": Reflection(43.232, 100.0),
    }
)
# JCPDS 04-0836: its (111), at 43.297, cannot be told from zinc's (101); this one can.
COPPER_200 = Reflection(50.433, 46.0)
# Half the width that a peak is integrated over, and of the baseline on each side of that [deg].
NEAR_DEG, _EDGE_DEG = 0.6, 0.3
# Where something else diffracts, so much around it is no baseline, which then lies within the
# second further out [deg].
_TAIL_DEG, _FURTHER_DEG = 0.35, 1.2
# Signal over the scatter of the baseline, below which a reflection is not told from none.
_SEEN = 3.0


class Area(NamedTuple):
    """Of a reflection, intensity times degrees; 0 where it cannot be told from its noise."""

    value: float
    uncertainty: float


def reflection_areas(
    two_theta_deg: Floats, intensity: Floats, *, shift_deg: float = 0.0
) -> dict[str, float | str]:
    """Return the area of each of zinc's reflections above its baseline, or why there is none.

    Args:
        two_theta_deg: Angles for Cu K-alpha, rising, degrees.
        intensity: Of the detector.
        shift_deg: How far the sample's height shifts all reflections, degrees.

    Returns:
        Indices -> area, intensity times degrees; 0 where the pattern has no peak there that can be
        told from its noise. A sentence where the pattern does not reach.
    """
    found = zinc_areas(two_theta_deg, intensity, shift_deg=shift_deg)
    return {name: one if isinstance(one, str) else one.value for name, one in found.items()}


def zinc_areas(
    two_theta_deg: Floats,
    intensity: Floats,
    *,
    shift_deg: float = 0.0,
    near: Sequence[float] = (),
) -> dict[str, Area | str]:
    """Return what `reflection_areas` does, with uncertainties.

    Args:
        two_theta_deg: Angles for Cu K-alpha, rising, degrees.
        intensity: Of the detector.
        shift_deg: How far the sample's height shifts all reflections, degrees.
        near: Where something else diffracts, which is no baseline, degrees.
    """
    found: dict[str, Area | str] = {}
    for name, reflection in ZINC.items():
        at = reflection.two_theta_deg + shift_deg
        area = area_around(two_theta_deg, intensity, at, near=[one + shift_deg for one in near])
        none = f"the pattern does not reach around ({name}), or is too coarse there"
        found[name] = none if area is None else area
    return found


def area_around(
    two_theta_deg: Floats,
    intensity: Floats,
    at_deg: float,
    *,
    half_deg: float = NEAR_DEG,
    near: Sequence[float] = (),
) -> Area | None:
    """Return the area of a reflection above its baseline; None if the pattern does not reach there.

    The uncertainty is that of counting, by how the baseline scatters: the variance of counts grows
    as they do, whatever they are divided by.

    Args:
        two_theta_deg: Angles, rising, degrees.
        intensity: Of the detector.
        at_deg: Where it lies, degrees.
        half_deg: Half the width that it is integrated over, degrees.
        near: Where something else diffracts, which is no baseline, degrees.
    """
    off = two_theta_deg - at_deg
    inside = np.abs(off) <= half_deg
    free = np.ones(len(off), dtype=bool)
    for one in near:
        free &= np.abs(two_theta_deg - one) > _TAIL_DEG
    left, right = (_edge(sign * off, free, half_deg) for sign in (-1, 1))
    if inside.sum() < 5 or left.sum() < 3 or right.sum() < 3:
        return None
    ends = [(off[side].mean(), float(np.median(intensity[side]))) for side in (left, right)]
    base = np.interp(off[inside], [ends[0][0], ends[1][0]], [ends[0][1], ends[1][1]])
    area = float(np.trapezoid(intensity[inside] - base, off[inside]))
    scatter = np.concatenate(
        [intensity[side] - np.median(intensity[side]) for side in (left, right)]
    )
    step = float(np.mean(np.diff(off[inside])))
    # The baseline's ends are medians, each uncertain by the root of pi/2 over their number; that
    # shifts the whole area.
    count, edges = inside.sum(), len(scatter)
    one_point = float(np.std(scatter))
    of_base = count**2 * np.pi / 2 / edges
    noise = one_point * step * np.sqrt(count + of_base)
    level = np.maximum(np.median(base), np.finfo(float).tiny)
    counts = float(np.sum(np.maximum(intensity[inside] / level, 1.0)))
    error = one_point * step * float(np.sqrt(counts + of_base))
    return Area(area if area > _SEEN * noise else 0.0, error if area > _SEEN * noise else noise)


def _edge(outward: Floats, free: NDArray[np.bool_], half_deg: float) -> NDArray[np.bool_]:
    """Return the baseline on one side; further out where something else diffracts in it."""
    beside = (outward > half_deg) & (outward <= half_deg + _EDGE_DEG)
    if free[beside].all():
        return beside
    further = np.flatnonzero(free & (outward > half_deg) & (outward <= half_deg + _FURTHER_DEG))
    nearest = further[np.argsort(outward[further])][: beside.sum()]
    found = np.zeros(len(outward), dtype=bool)
    found[nearest] = True
    return found


def relative_texture(areas: Mapping[str, float]) -> dict[str, float]:
    """Return the relative texture coefficients, by Harris' formula, as shares that sum to 1.

    RTC(hkl) = (I/I0)(hkl) / sum over the reflections of I/I0, with the intensities I0 of a powder
    (Harris, Phil. Mag. 43 (1952) 113; JCPDS 04-0831). A powder has a third of each of three.

    Args:
        areas: Area of each reflection of `ZINC`; not all of them 0.

    Raises:
        ValueError: None of them is there.
    """
    ratios = {name: areas[name] / reflection.intensity for name, reflection in ZINC.items()}
    total = sum(ratios.values())
    if not total > 0:
        raise ValueError("no reflection of zinc is there")
    return {name: ratio / total for name, ratio in ratios.items()}
