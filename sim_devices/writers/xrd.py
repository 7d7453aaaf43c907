"""A diffractometer with a copper tube that scans the electrode; two columns (.xy).

A layer of thickness t gives a reflection at the angle 2 theta the share 1 - exp(-2 mu t / sin
theta) of what a thick one would, and leaves exp(-2 mu t / sin theta) to what lies below (Cullity
and Stock, Elements of X-Ray Diffraction, on the depth of penetration). Reflections of an oriented
layer are those of a powder times its texture coefficients (Harris, Phil. Mag. 43 (1952) 113),
powders those of JCPDS 04-0831 (zinc), 04-0836 (copper) and 39-0688 (hydroxide sulfate, basal).
"""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import numpy.typing as npt

from sim_devices.writers.look import Look

CLOCK_AHEAD_S = 3600.0  # it never heard of winter time
FIRST_DEG, LAST_DEG, STEP_DEG = 5.0, 60.0, 0.03
Floats = npt.NDArray[np.float64]

# Degrees 2 theta for K-alpha 1, and intensity of a powder.
ZINC = {"002": (36.297, 53.0), "100": (38.993, 40.0), "101": (43.232, 100.0)}
COPPER = {"111": (43.297, 100.0), "200": (50.433, 46.0)}
BASAL_DEG = 8.1
_BASAL_COUNTS_UM = 400.0  # per um of film
_ZINC_CM, _COPPER_CM = 430.0, 470.0  # linear absorption coefficients, 1/cm
_POWDER = {"002": 1 / 3, "100": 1 / 3, "101": 1 / 3}  # of the foil
_COUNTS = 60.0  # peak counts of a powder, per unit of intensity
_WIDTH_DEG, _LORENTZ_SHARE = 0.14, 0.3
_ALPHA_2, _ALPHA_2_SHARE = 0.00249, 0.5  # relative shift of the wavelength
_BACKGROUND, _AIR = 90.0, 900.0


def zinc_shares(look: Look) -> dict[str, float]:
    """Return texture coefficient times visible share of each of zinc's reflections.

    Deposit and, seen through it, foil; a third each is a thick powder.
    """
    found = {}
    for coefficient, (name, (angle, _)) in zip(look.texture, ZINC.items(), strict=True):
        through = _through(look, angle)
        below = _POWDER[name] * through if look.on_foil else 0.0
        found[name] = coefficient * (1 - through) + below
    return found


def _through(look: Look, angle_deg: float) -> float:
    zinc_cm = look.deposit_um * look.compactness * 1e-4
    return math.exp(-2 * _ZINC_CM * zinc_cm / math.sin(math.radians(angle_deg / 2)))


def counts(look: Look, two_theta_deg: Floats) -> Floats:
    """Return the counts that are expected at angles."""
    found = _BACKGROUND + _AIR * np.exp(-two_theta_deg / 6)
    if look.metal != "zinc":
        return found
    for name, share in zinc_shares(look).items():
        angle, intensity = ZINC[name]
        found += 3 * _COUNTS * intensity * share * _profile(two_theta_deg, angle)
    if not look.on_foil:
        for angle, intensity in COPPER.values():
            through = _through(look, angle)
            found += _COUNTS * intensity * through * _profile(two_theta_deg, angle)
    return found + _BASAL_COUNTS_UM * look.film_um * _profile(two_theta_deg, BASAL_DEG)


def _profile(two_theta_deg: Floats, angle_deg: float) -> Floats:
    """Return a pseudo-Voigt doublet, 1 at the maximum of K-alpha 1."""
    second = angle_deg + 2 * math.degrees(_ALPHA_2 * math.tan(math.radians(angle_deg / 2)))
    found = np.zeros(len(two_theta_deg))
    for at, share in ((angle_deg, 1.0), (second, _ALPHA_2_SHARE)):
        off = 2 * (two_theta_deg - at) / _WIDTH_DEG
        gauss, lorentz = np.exp(-math.log(2) * off**2), 1 / (1 + off**2)
        found += share * ((1 - _LORENTZ_SHARE) * gauss + _LORENTZ_SHARE * lorentz)
    return found


def measure(
    look: Look, began: datetime, random: np.random.Generator
) -> tuple[str, dict[str, float]]:
    """Return a pattern, and the texture coefficients of the zinc that is seen, in per cent."""
    angles = np.arange(FIRST_DEG, LAST_DEG + STEP_DEG / 2, STEP_DEG)
    values = random.poisson(counts(look, angles))
    lines = [
        "# simulated diffractometer, Cu K-alpha",
        f"# started: {began.isoformat(timespec='milliseconds')}",
    ]
    lines += [f"{angle:.3f} {value:d}" for angle, value in zip(angles, values, strict=True)]
    shares = zinc_shares(look)
    total = sum(shares.values())
    told = {f"rtc_{name}_pct": 100 * share / total for name, share in shares.items() if total}
    return "\n".join(lines) + "\n", told | {"deposit_um": look.deposit_um}
