"""How a zinc deposit is oriented, by the reflections of a diffraction pattern."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

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
_HALF_WIDTH_DEG, _EDGE_DEG = 0.6, 0.3
# Signal over the scatter of the baseline, below which a reflection is not told from none.
_SEEN = 3.0
_MINDED = 0.01


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
    found: dict[str, float | str] = {}
    for name, reflection in ZINC.items():
        at = reflection.two_theta_deg + shift_deg
        area = _area(two_theta_deg, intensity, at)
        if area is None:
            found[name] = f"the pattern does not reach around ({name}), or is too coarse there"
        else:
            found[name] = area
    return found


def copper_is_seen(two_theta_deg: Floats, intensity: Floats, *, shift_deg: float = 0.0) -> bool:
    """Return whether a pattern has copper's (200): then its (111) is in zinc's (101).

    It is not minded below 1 % of zinc's reflections together. A pattern that does not reach there
    tells nothing: False.
    """
    copper = _area(two_theta_deg, intensity, COPPER_200.two_theta_deg + shift_deg)
    zinc = reflection_areas(two_theta_deg, intensity, shift_deg=shift_deg).values()
    return (copper or 0.0) > _MINDED * sum(area for area in zinc if not isinstance(area, str))


def _area(two_theta_deg: Floats, intensity: Floats, at_deg: float) -> float | None:
    """Return the area above the baseline; 0: less than the noise; None: it is not reached."""
    off = two_theta_deg - at_deg
    inside = np.abs(off) <= _HALF_WIDTH_DEG
    left = (off < -_HALF_WIDTH_DEG) & (off >= -_HALF_WIDTH_DEG - _EDGE_DEG)
    right = (off > _HALF_WIDTH_DEG) & (off <= _HALF_WIDTH_DEG + _EDGE_DEG)
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
    noise = float(np.std(scatter)) * step * np.sqrt(count + count**2 * np.pi / 2 / edges)
    return area if area > _SEEN * noise else 0.0


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
