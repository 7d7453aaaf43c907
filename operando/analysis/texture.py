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
# Half the width that a peak is integrated over, and of the baseline on each side of that [deg].
_HALF_WIDTH_DEG, _EDGE_DEG = 0.6, 0.3
# Signal over the scatter of the baseline, below which a reflection is not told from none.
_SEEN = 3.0


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
        off = two_theta_deg - reflection.two_theta_deg - shift_deg
        inside = np.abs(off) <= _HALF_WIDTH_DEG
        left = (off < -_HALF_WIDTH_DEG) & (off >= -_HALF_WIDTH_DEG - _EDGE_DEG)
        right = (off > _HALF_WIDTH_DEG) & (off <= _HALF_WIDTH_DEG + _EDGE_DEG)
        if inside.sum() < 5 or left.sum() < 3 or right.sum() < 3:
            found[name] = f"the pattern does not reach around ({name}), or is too coarse there"
            continue
        ends = [(off[side].mean(), float(np.median(intensity[side]))) for side in (left, right)]
        base = np.interp(off[inside], [ends[0][0], ends[1][0]], [ends[0][1], ends[1][1]])
        signal = intensity[inside] - base
        area = float(np.trapezoid(signal, off[inside]))
        scatter = np.concatenate([intensity[side] - np.median(intensity[side])
                                  for side in (left, right)])  # fmt: skip
        step = float(np.mean(np.diff(off[inside])))
        noise = float(np.std(scatter)) * step * np.sqrt(inside.sum())
        found[name] = area if area > _SEEN * noise else 0.0
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
