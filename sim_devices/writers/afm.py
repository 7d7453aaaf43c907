"""An atomic force microscope over the electrode; height maps as Gwyddion exports text.

The deposit is self-affine: roughness over a length L grows as L to the power of its Hurst exponent
(Barabasi and Stanley, Fractal Concepts in Surface Growth, 1995). The microscope's side view has
0.3 (1 - compactness) of the thickness over its 400 um; a map of 20 um shows what lies within that.
The surface it begins with has 25 nm. Beside the surface a map holds the tilt of the sample.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache

import numpy as np
import numpy.typing as npt

from sim_devices.writers.look import Look

CLOCK_AHEAD_S = -30.0
SIDE_UM, PIXELS = 20.0, 48
Floats = npt.NDArray[np.float64]

_BARE_NM = 25.0
_ROUGHNESS, _OVER_UM, _HURST = 0.3, 400.0, 0.7
_TILT_NM_UM = 12.0
_NOISE_NM = 0.5


def root_mean_square_nm(look: Look) -> float:
    """Return Sq of the surface within one map, nm."""
    share = _ROUGHNESS * (1 - look.compactness) * (SIDE_UM / _OVER_UM) ** _HURST
    return float(np.hypot(_BARE_NM, 1e3 * share * look.thickness_um))


@cache
def _shape(pixels: int) -> Floats:
    """Return a self-affine surface of mean 0, no tilt and variance 1; always the same."""
    draw = np.random.default_rng(11)
    across = np.fft.fftfreq(pixels)
    frequency = np.hypot(across[:, None], across[None, :])
    frequency[0, 0] = np.inf
    # Twice the exponent of a line's: two dimensions, and amplitude is the root of power.
    amplitude = frequency ** -(_HURST + 1)
    phases = np.exp(2j * np.pi * draw.random((pixels, pixels)))
    surface = np.real(np.fft.ifft2(amplitude * phases))
    rows, columns = np.mgrid[0:pixels, 0:pixels]
    plane = np.column_stack([np.ones(pixels**2), rows.ravel(), columns.ravel()])
    surface = surface.ravel()
    surface -= plane @ np.linalg.lstsq(plane, surface, rcond=None)[0]
    return np.asarray((surface / surface.std()).reshape(pixels, pixels))


def measure(
    look: Look, began: datetime, random: np.random.Generator
) -> tuple[str, dict[str, float]]:
    """Return a map as text, and the roughness of the surface without tilt and noise."""
    surface = root_mean_square_nm(look) * _shape(PIXELS)
    place = (np.arange(PIXELS) + 0.5) * SIDE_UM / PIXELS
    tilt = _TILT_NM_UM * (place[None, :] - 0.4 * place[:, None])
    values = surface + tilt + random.normal(0, _NOISE_NM, surface.shape)
    lines = [
        "# Channel: Height",
        f"# Width: {SIDE_UM:g} µm",
        f"# Height: {SIDE_UM:g} µm",
        "# Value units: nm",
        f"# Started: {began.isoformat(timespec='milliseconds')}",
    ]
    lines += ["\t".join(f"{value:.3f}" for value in row) for row in values]
    told = {
        "sq_nm": float(np.sqrt(np.mean(surface**2))),
        "sa_nm": float(np.mean(np.abs(surface))),
        "thickness_um": look.thickness_um,
    }
    return "\n".join(lines) + "\n", told
