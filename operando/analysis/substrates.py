"""What else diffracts near zinc's reflections: the electrode that a deposit lies on."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from operando.analysis.texture import (
    COPPER_200,
    NEAR_DEG,
    ZINC,
    Area,
    Reflection,
    area_around,
    relative_texture,
    zinc_areas,
)
from operando.runs import Floats

# By material, its reflections by what they are called, as for `ZINC`: JCPDS 04-0836 (Cu), 04-0783
# (Ag), 04-0784 (Au), 04-0850 (Ni), 04-0787 (Al), 04-0802 (Pt), 04-0686 (Pb), 44-1294 (Ti), 04-0673
# (Sn), 05-0642 (In), 06-0696 (Fe), 41-1487 (graphite), 33-0397 (austenite).
_REFLECTIONS: Mapping[str, Mapping[str, Reflection]] = MappingProxyType(
    {
        "copper": {"111": Reflection(43.297, 100.0), "200": COPPER_200},
        # Of any composition: where it begins, and ends as copper.
        "brass": {
            "111": Reflection(43.0, 100.0),
            "200 of much zinc": Reflection(49.35, 46.0),
            "200 of some zinc": Reflection(49.9, 46.0),
            "200": COPPER_200,
        },
        "silver": {"111": Reflection(38.116, 100.0), "200": Reflection(44.277, 40.0)},
        "gold": {"111": Reflection(38.184, 100.0), "200": Reflection(44.392, 52.0)},
        "nickel": {"111": Reflection(44.507, 100.0), "200": Reflection(51.846, 42.0)},
        "aluminium": {"111": Reflection(38.472, 100.0), "200": Reflection(44.738, 47.0)},
        "platinum": {"111": Reflection(39.763, 100.0), "200": Reflection(46.243, 53.0)},
        "lead": {"111": Reflection(31.305, 100.0), "200": Reflection(36.266, 50.0)},
        "titanium": {
            "100": Reflection(35.093, 25.0),
            "002": Reflection(38.421, 30.0),
            "101": Reflection(40.170, 100.0),
        },
        "tin": {"200": Reflection(30.644, 100.0), "220": Reflection(43.871, 34.0)},
        "indium": {
            "101": Reflection(32.967, 100.0),
            "002": Reflection(36.315, 21.0),
            "110": Reflection(39.169, 36.0),
        },
        "iron": {"110": Reflection(44.673, 100.0)},
        "steel": {"111": Reflection(43.583, 100.0), "200": Reflection(50.792, 45.0)},
        "carbon": {"002": Reflection(26.54, 100.0), "100": Reflection(42.32, 4.0)},
        "molybdenum": {"110": Reflection(40.516, 100.0)},
        "tungsten": {"110": Reflection(40.265, 100.0)},
        "zinc": {},
    }
)
_SYMBOLS = {
    "Cu": "copper", "Ag": "silver", "Au": "gold", "Ni": "nickel", "Al": "aluminium",
    "Pt": "platinum", "Pb": "lead", "Ti": "titanium", "Sn": "tin", "In": "indium", "Fe": "iron",
    "C": "carbon", "Mo": "molybdenum", "W": "tungsten", "Zn": "zinc", "SS": "steel",
    "SUS": "steel",
}  # fmt: skip
_WORDS = {"aluminum": "aluminium", "stainless": "steel", "graphite": "carbon"}
# A word or a formula, Zn(NbO3)2; which face of a crystal, Cu(111); steels by grade, SS316L.
_WORD = re.compile(r"[A-Za-z0-9]+(?:\([A-Za-z0-9]+\)[A-Za-z0-9]*)*")
_FACE, _GRADE = re.compile(r"\(-?\d+\)"), re.compile(r"(?:SS|SUS)\d+[A-Z]*")
# A substrate may be oriented as strongly as this, against a powder: `assumed_of` tells it.
_FOIL = 3.0
# Beside a peak, of which this share lies beyond the distance to zinc's window.
_TAIL = 0.03
# What may be hidden, as a share in the sum that texture coefficients are of.
_MINDED = 0.05


class _Hidden(NamedTuple):
    """What may be in zinc's areas: the largest share, as area, and the sentence if it is much."""

    reflection: str
    area: float
    reason: str


def materials_of(material: str, coating: str | None) -> tuple[str, ...] | None:
    """Return what an electrode is made of, as far as its reflections are known.

    Args:
        material: What its surface is, as the cell file tells: ``Cu``, ``Zn@Ag``, ``carbon paper``.
        coating: Its coating; one that is no metal by its name is not looked for.

    Returns:
        Names; None if the material is none that is known.
    """
    words = _WORD.findall(_FACE.sub("", material))
    found = [name for word in words if (name := _named(word))]
    if not found:
        return None
    coat = _named((coating or "").strip())
    return tuple(dict.fromkeys([*found, *([coat] if coat else [])]))


def _named(word: str) -> str | None:
    """Return the material of a whole word; symbols with others or numbers are a compound's."""
    if _GRADE.fullmatch(word):
        return "steel"
    lower = word.lower()
    known = _SYMBOLS.get(word)
    # TiN is no tin.
    if known is None and word in (lower, lower.capitalize(), lower.upper()):
        known = _WORDS.get(lower) or (lower if lower in _REFLECTIONS else None)
    return known


def texture_on(
    two_theta_deg: Floats, intensity: Floats, materials: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return zinc's relative texture coefficients on a substrate, each with its uncertainty.

    What the substrate diffracts beside zinc's reflections is left out of their baselines. What may
    lie under them is judged by its other reflections: it must be absent there, or so little that
    it makes 5 % of the sum at most, which is then in the uncertainty. What that assumes is told by
    `assumed_of`.

    Args:
        two_theta_deg: Angles for Cu K-alpha, rising, degrees.
        intensity: Of the detector.
        materials: What the electrode is made of, as of `materials_of`.

    Returns:
        Indices -> share and standard uncertainty, of counting (by the scatter beside the peaks)
        and of what may be hidden.

    Raises:
        ValueError: They cannot be told; the message says why.
    """
    near = [
        peak.two_theta_deg for name in materials for peak in _REFLECTIONS.get(name, {}).values()
    ]
    areas: dict[str, Area] = {}
    for name, area in zinc_areas(two_theta_deg, intensity, near=near).items():
        if isinstance(area, str):
            raise ValueError(area)
        areas[name] = area
    shares = relative_texture({name: area.value for name, area in areas.items()})
    total = sum(area.value / ZINC[name].intensity for name, area in areas.items())
    variance = {name: area.uncertainty**2 for name, area in areas.items()}
    for one in _hidden(two_theta_deg, intensity, materials):
        share = one.area / ZINC[one.reflection].intensity / total
        if share > _MINDED:
            raise ValueError(one.reason)
        variance[one.reflection] += (one.area / 2) ** 2
    errors = {name: variance[name] ** 0.5 / ZINC[name].intensity / total for name in ZINC}
    return {name: (share, _propagated(name, shares, errors)) for name, share in shares.items()}


def _propagated(name: str, shares: Mapping[str, float], errors: Mapping[str, float]) -> float:
    """Return the uncertainty of a share r / sum(r), of independent ones of r / sum(r)."""
    share = shares[name]
    own = ((1 - share) * errors[name]) ** 2
    others = sum((share * error) ** 2 for other, error in errors.items() if other != name)
    return float(own + others) ** 0.5


def _hidden(two_theta_deg: Floats, intensity: Floats, materials: Sequence[str]) -> list[_Hidden]:
    found = []
    # Copper may be behind an electrode that is said to be of something else, too.
    for material in dict.fromkeys([*materials, "copper"]):
        peaks = _REFLECTIONS.get(material, {})
        for label, peak in peaks.items():
            for zinc, reflection in ZINC.items():
                away = abs(peak.two_theta_deg - reflection.two_theta_deg)
                if away > 2 * NEAR_DEG:
                    continue
                if not _lies_under(peak, reflection):
                    area = area_around(two_theta_deg, intensity, peak.two_theta_deg, half_deg=0.3)
                    seen = max(area.value, 0.0) if area is not None else 0.0
                    told = f"{material}'s ({label}) is seen: it reaches into zinc's ({zinc})"
                    found.append(_Hidden(zinc, _TAIL * seen, told))
                    continue
                others = {
                    other: one
                    for other, one in peaks.items()
                    if all(abs(one.two_theta_deg - z.two_theta_deg) > 2 * NEAR_DEG
                           for z in ZINC.values())
                }  # fmt: skip
                hides = f"{material}'s ({label}) lies under zinc's ({zinc})"
                found += _by_others(
                    two_theta_deg, intensity, zinc, peak, others, hides, material in materials
                )
    return found


def _lies_under(peak: Reflection, zinc: Reflection) -> bool:
    return abs(peak.two_theta_deg - zinc.two_theta_deg) <= 1.25 * NEAR_DEG


def assumed_of(materials: Sequence[str]) -> list[str]:
    """Return what a texture on these materials rests on that its pattern cannot tell, as sentences.

    A reflection that lies under one of zinc's is judged by the material's others, which says
    nothing of a substrate that is strongly oriented: its others are absent, too.
    """
    return [
        f"assumes that the {material} is no more than {_FOIL:g} times ({label})-oriented"
        for material in materials
        for label, peak in _REFLECTIONS.get(material, {}).items()
        if any(_lies_under(peak, zinc) for zinc in ZINC.values())
    ]


def _by_others(
    two_theta_deg: Floats,
    intensity: Floats,
    zinc: str,
    peak: Reflection,
    others: Mapping[str, Reflection],
    hides: str,
    expected: bool,
) -> list[_Hidden]:
    """Return what may be hidden, by the reflections that nothing lies over."""
    found = []
    for label, other in others.items():
        area = area_around(two_theta_deg, intensity, other.two_theta_deg)
        if area is None:
            continue
        at_most = _FOIL * peak.intensity / other.intensity
        if area.value:
            told = f"{hides}, and its ({label}) is seen"
            found.append(_Hidden(zinc, at_most * area.value, told))
        elif expected:
            told = f"{hides}; the pattern is too noisy around its ({label}) to tell it absent"
            found.append(_Hidden(zinc, at_most * area.uncertainty, told))
    if expected and not found:
        where = " or ".join(f"{one.two_theta_deg:.1f}" for one in others.values())
        told = f"{hides}; the pattern does not reach {where} degrees, which would tell how much"
        return [_Hidden(zinc, float("inf"), told)]
    return found
