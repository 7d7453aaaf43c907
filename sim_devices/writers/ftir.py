"""An infrared spectrometer with a diamond crystal pressed onto the electrode (ATR); JCAMP-DX.

What lies on the crystal first is the film, behind it the electrolyte. The evanescent field falls
off with the depth d_p = 1 / (2 pi n1 nu sqrt(sin^2 theta - (n2 / n1)^2)) (Harrick, Internal
Reflection Spectroscopy, 1967), its square is what is absorbed, so that a film of thickness d takes
the share 1 - exp(-2 d / d_p) of the spectrum and the electrolyte the rest. Positions of bands are
typical ones of water, sulfate and zinc hydroxide sulfate; strengths are chosen.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sim_devices.writers.look import Look

CLOCK_AHEAD_S = 45.0
FIRST_CM1, LAST_CM1, STEP_CM1 = 700.0, 4000.0, 4.0
Floats = npt.NDArray[np.float64]

_CRYSTAL, _SAMPLE = 2.40, 1.38  # refractive indices: diamond, an aqueous solution
_ANGLE = math.radians(45.0)
_NOISE = 2e-4
_FACTOR = 1e-6
_PER_LINE = 8


class Band(NamedTuple):
    """A Gaussian band where its substance fills the field."""

    centre_cm1: float
    width_cm1: float  # full width at half maximum
    absorbance: float


ELECTROLYTE = (
    Band(981, 14, 0.03),  # sulfate, totally symmetric: weak
    Band(1095, 60, 0.35),  # sulfate
    Band(1640, 80, 0.20),  # water bends
    Band(3300, 400, 0.80),  # water stretches
)
SHEET_HYDROXYL = Band(3500, 60, 0.60)
FILM = (
    Band(780, 50, 0.30),  # Zn-O-H bends
    Band(1125, 40, 0.40),  # its sulfate
    Band(1610, 60, 0.10),  # its water
    SHEET_HYDROXYL,
)


def depth_um(wavenumber_cm1: Floats) -> Floats:
    """Return how deep the field reaches, um."""
    leaks = math.sqrt(math.sin(_ANGLE) ** 2 - (_SAMPLE / _CRYSTAL) ** 2)
    return 1e4 / (2 * np.pi * _CRYSTAL * wavenumber_cm1 * leaks)


def absorbance(look: Look, wavenumber_cm1: Floats) -> Floats:
    """Return the absorbance at wavenumbers, without noise."""
    film = 1 - np.exp(-2 * look.film_um / depth_um(wavenumber_cm1))
    found = np.zeros(len(wavenumber_cm1))
    for bands, share in ((ELECTROLYTE, 1 - film), (FILM, film)):
        if look.metal != "zinc":
            continue  # an organic electrolyte has no band in this model
        for band in bands:
            off = (wavenumber_cm1 - band.centre_cm1) / band.width_cm1
            found += share * band.absorbance * np.exp(-4 * math.log(2) * off**2)
    return found


def measure(
    look: Look, began: datetime, random: np.random.Generator
) -> tuple[str, dict[str, float]]:
    """Return a spectrum as JCAMP-DX 4.24, and what is true of it."""
    axis = np.arange(FIRST_CM1, LAST_CM1 + STEP_CM1 / 2, STEP_CM1)
    values = np.rint((absorbance(look, axis) + random.normal(0, _NOISE, len(axis))) / _FACTOR)
    stamp = began.strftime("%Y/%m/%d %H:%M:%S.") + f"{began.microsecond // 1000:03d}"
    head = {
        "TITLE": "electrode on diamond",
        "JCAMP-DX": "4.24",
        "DATA TYPE": "INFRARED SPECTRUM",
        "ORIGIN": "simulated",
        "OWNER": "nobody",
        "LONGDATE": stamp,
        "XUNITS": "1/CM",
        "YUNITS": "ABSORBANCE",
        "XFACTOR": "1",
        "YFACTOR": f"{_FACTOR:g}",
        "FIRSTX": f"{axis[0]:g}",
        "LASTX": f"{axis[-1]:g}",
        "DELTAX": f"{STEP_CM1:g}",
        "FIRSTY": f"{values[0] * _FACTOR:g}",
        "NPOINTS": str(len(axis)),
        "XYDATA": "(X++(Y..Y))",
    }
    lines = [f"##{label}={value}" for label, value in head.items()]
    for at in range(0, len(axis), _PER_LINE):
        numbers = " ".join(f"{value:.0f}" for value in values[at : at + _PER_LINE])
        lines.append(f"{axis[at]:g} {numbers}")
    lines.append("##END=")
    hydroxyl = np.array([SHEET_HYDROXYL.centre_cm1])
    share = 1 - math.exp(-2 * look.film_um / float(depth_um(hydroxyl)[0]))
    return "\n".join(lines) + "\n", {"film_um": look.film_um, "film_share": share}
