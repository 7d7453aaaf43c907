"""What a spectrum tells of a short: the intercept at high frequency, a resistance in parallel."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats

# The parallel conductance of the upper and the lower half of the frequencies agree so well where a
# resistance in parallel explains the change of a spectrum.
SAME_WITHIN = 0.2
# Points of two spectra belong together when their frequencies do.
_SAME_FREQUENCY = 1e-3


@dataclass(frozen=True)
class Shunt:
    """A resistance in parallel to a cell.

    Attributes:
        ohm: The resistance; None if none is seen.
        uncertainty_ohm: Its standard uncertainty from the scatter over the frequencies.
        reason: Why there is none.
    """

    ohm: float | None
    uncertainty_ohm: float | None = None
    reason: str | None = None


def high_frequency_intercept_ohm(frequency_hz: Floats, z_real: Floats, z_imag: Floats) -> float:
    """Return where a spectrum crosses the real axis at high frequency, ohm.

    Where it is not inductive at its highest frequency, that point's real part. NaN without points.
    """
    order = np.argsort(-frequency_hz)
    real, imaginary = z_real[order], z_imag[order]
    good = np.isfinite(real) & np.isfinite(imaginary)
    real, imaginary = real[good], imaginary[good]
    if not len(real):
        return math.nan
    capacitive = np.flatnonzero(imaginary <= 0)
    if not len(capacitive) or capacitive[0] == 0:
        return float(real[0])
    row = int(capacitive[0])
    share = imaginary[row - 1] / (imaginary[row - 1] - imaginary[row])
    return float(real[row - 1] + share * (real[row] - real[row - 1]))


def shunt(
    frequency_hz: Floats,
    z_ohm: NDArray[np.complex128],
    before_hz: Floats,
    z_before_ohm: NDArray[np.complex128],
) -> Shunt:
    """Return the resistance that, parallel to a cell, makes one spectrum of another.

    Z = Z_before R / (Z_before + R): at every frequency the admittance grows by 1/R, so that the
    intercept and the arc fall together (Menkin et al. 2023). The least squares over the relative
    deviation of Z; none unless the admittance grew by the same, within 20 %, in the upper and in
    the lower half of the frequencies.

    Args:
        frequency_hz: Frequencies, Hz.
        z_ohm: Impedance there, ohm.
        before_hz: Frequencies of a spectrum of the sound cell, Hz.
        z_before_ohm: Its impedance, ohm.
    """
    order = np.argsort(before_hz)
    sorted_hz = before_hz[order]
    at = np.clip(np.searchsorted(sorted_hz, frequency_hz * (1 - _SAME_FREQUENCY)), 0, None)
    inside = at < len(sorted_hz)
    at = np.where(inside, at, 0)
    same = inside & (np.abs(sorted_hz[at] / frequency_hz - 1) <= _SAME_FREQUENCY)
    same &= np.isfinite(z_ohm) & np.isfinite(z_before_ohm[order][at]) & (z_ohm != 0)
    if np.count_nonzero(same) < 6:
        return Shunt(None, reason="the spectra share fewer than 6 frequencies")
    hz, now, before = frequency_hz[same], z_ohm[same], z_before_ohm[order][at][same]
    grown = (1 / now - 1 / before).real
    weight = np.abs(now) ** 2
    conductance = float(np.sum(weight * grown) / np.sum(weight))
    middle = np.median(hz)
    halves = [
        float(np.sum((weight * grown)[part]) / np.sum(weight[part]))
        for part in (hz >= middle, hz < middle)
    ]
    smallest = 0.02 / float(np.max(np.abs(before)))
    if conductance <= smallest or min(halves) <= 0:
        return Shunt(None, reason="intercept and arc did not fall together")
    if max(halves) - min(halves) > SAME_WITHIN * conductance:
        return Shunt(None, reason="no resistance in parallel explains how the spectrum changed")
    scatter = np.sqrt(np.sum(weight**2 * (grown - conductance) ** 2)) / np.sum(weight)
    return Shunt(1 / conductance, float(scatter) / conductance**2)
