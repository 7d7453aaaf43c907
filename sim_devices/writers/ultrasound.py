"""An ultrasonic transducer that looks at the electrode through the electrolyte; A-scans as CSV.

Pulse and echo: the front of an electrode at the distance D answers after t = 2 D / c, and a deposit
of thickness d brings it nearer by 2 d / c. What comes back is R = (Z2 - Z1) / (Z2 + Z1), with the
acoustic impedances Z of deposit and electrolyte; a surface rough by sigma returns R exp(-2 (k
sigma)^2) of it in phase, and bubbles in the way cast a shadow twice (Krautkraemer, Ultrasonic
Testing of Materials, 4th ed., ch. 1 and 2; Ogilvy, Rep. Prog. Phys. 50 (1987) 1553). The gas that
has not left the electrolyte is bubbles of one radius, which is chosen; c is that of water, with its
slope, and 4 % for the salt.
"""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import numpy.typing as npt

from sim_devices.writers.look import Look

CLOCK_AHEAD_S = 0.0
DISTANCE_UM = 2000.0
FREQUENCY_HZ = 20e6
FIRST_S, STEP_S, POINTS = 2.2e-6, 2e-9, 400
Floats = npt.NDArray[np.float64]

_WATER_M_S, _SLOPE_M_S_K, _SALT, _AT_K = 1497.0, 2.7, 1.04, 298.15
_DENSITY, _ZINC_DENSITY, _ZINC_M_S = 1290.0, 7140.0, 4210.0  # kg/m3, kg/m3, m/s
_PULSE_S = 45e-9  # standard deviation of its envelope
_SENT_MV, _NOISE_MV = 500.0, 0.5
_RADIUS_UM = 20.0
_GAS_UM3_UMOL = 2.447e10  # an ideal gas at 298.15 K and 1 atm: 24.47 L/mol
_ROUGHNESS = 0.3  # per missing compactness, of the thickness


def speed_m_s(temperature_k: float) -> float:
    """Return the speed of sound in the electrolyte."""
    return _SALT * (_WATER_M_S + _SLOPE_M_S_K * (temperature_k - _AT_K))


def delay_s(look: Look) -> float:
    """Return when the echo's middle comes back."""
    return 2e-6 * (DISTANCE_UM - look.thickness_um) / speed_m_s(look.temperature_k)


def amplitude_mv(look: Look) -> float:
    """Return how large the echo is."""
    speed = speed_m_s(look.temperature_k)
    before = _DENSITY * speed
    pores = 1 - look.compactness if look.deposit_um > 0 else 0.0
    # Mixed by volume, in both density and slowness (Wyllie, Geophysics 21 (1956) 41).
    behind = (pores * _DENSITY + (1 - pores) * _ZINC_DENSITY) / (
        pores / speed + (1 - pores) / _ZINC_M_S
    )
    reflected = (behind - before) / (behind + before)
    sigma = _ROUGHNESS * (1 - look.compactness) * look.thickness_um * 1e-6
    coherent = math.exp(-2 * (2 * math.pi * FREQUENCY_HZ / speed * sigma) ** 2)
    return _SENT_MV * reflected * coherent * (1 - shadow(look)) ** 2


def shadow(look: Look) -> float:
    """Return the share of the area that bubbles cover."""
    gas_um = look.bubbles_umol_cm2 * _GAS_UM3_UMOL / 1e8  # volume per area
    return 1 - math.exp(-3 * gas_um / (4 * _RADIUS_UM))


def measure(
    look: Look, began: datetime, random: np.random.Generator
) -> tuple[str, dict[str, float]]:
    """Return an A-scan as CSV, and what is true of its echo."""
    times = FIRST_S + STEP_S * np.arange(POINTS)
    off = times - delay_s(look)
    echo = np.exp(-0.5 * (off / _PULSE_S) ** 2) * np.cos(2 * np.pi * FREQUENCY_HZ * off)
    values = amplitude_mv(look) * echo + random.normal(0, _NOISE_MV, POINTS)
    lines = [
        f"# started: {began.isoformat(timespec='milliseconds')}",
        "Time (us),Amplitude (mV)",
    ]
    lines += [f"{1e6 * t:.4f},{v:.4f}" for t, v in zip(times, values, strict=True)]
    told = {
        "echo_ns": 1e9 * delay_s(look),
        "amplitude_mv": amplitude_mv(look),
        "thickness_um": look.thickness_um,
        "bubbles_cover": shadow(look),
    }
    return "\n".join(lines) + "\n", told
