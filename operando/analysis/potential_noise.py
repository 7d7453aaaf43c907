"""How restless the potential of a half-cycle is: the band power of dE/dt (Welch)."""

import math
from functools import cache

import numpy as np

from operando.analysis.segments import HalfCycle
from operando.runs import Floats

BAND_HZ = (0.01, 0.5)
# Without its ends: the relaxation after the edge and the rise at the end of a strip are no noise.
WITHIN = (0.2, 0.9)
SEGMENT, OVERLAP = 128, 32
# The band must hold at least this part of a decade, or the rows are too far apart for it.
_LOWEST_NYQUIST_HZ = 0.05


def potential_noise_v_s(half: HalfCycle) -> float | None:
    """Return the root of the mean square of dE/dt between 0.01 and 0.5 Hz, V/s.

    Welch's estimate: Hann windows of 128 points that overlap by 32, each without its mean. Rows are
    taken to a grid of their median interval; where that is longer than 1 s the band ends at half
    the row rate. None if rows are fewer than one window, or more than 10 s apart.

    Args:
        half: The half-cycle; the time between 20 and 90 % of it counts, or of its longest part
            where it was interrupted.
    """
    begin_s, end_s = _longest_part_s(half)
    t_s, length_s = half.t_s, end_s - begin_s
    first, stop = t_s.searchsorted([begin_s + share * length_s for share in WITHIN])
    count = int(stop - first)
    if count <= SEGMENT:
        return None
    t_s, potential_v = t_s[first:stop], half.potential_v[first:stop]
    step_s = float(t_s[-1] - t_s[0]) / (count - 1)
    even_s = t_s[0] + step_s * np.arange(count)
    if float(np.abs(t_s - even_s).max()) > 0.01 * step_s:
        step_s = float(np.median(np.diff(t_s)))
        if step_s <= 0:
            return None
        even_s = np.arange(t_s[0], t_s[-1], step_s)
        potential_v = np.interp(even_s, t_s, potential_v)
    if step_s <= 0 or 0.5 / step_s < _LOWEST_NYQUIST_HZ:
        return None
    # Finer rows than the band needs are thinned out: the windows stay long enough for its lower
    # end, and the mean of dE/dt over an interval is the difference over it.
    together = max(1, int(0.5 / (step_s * BAND_HZ[1]) + 1e-9))
    step_s *= together
    rate = np.diff(potential_v[::together]) / step_s
    return _band_rms(rate, step_s) if len(rate) >= SEGMENT else None


def _longest_part_s(half: HalfCycle) -> tuple[float, float]:
    """Return from when to when a half-cycle was not interrupted, the longest such time, s."""
    begin_s, end_s = float(half.t_s[0]), float(half.t_s[-1])
    if not half.interruptions:
        return begin_s, end_s
    begins = [begin_s, *(gap.at_s + gap.for_s for gap in half.interruptions)]
    ends = [*(gap.at_s for gap in half.interruptions), end_s]
    return max(zip(begins, ends, strict=True), key=lambda part: part[1] - part[0])


def _band_rms(values: Floats, step_s: float) -> float:
    """Return the root mean square of evenly spaced values within the band."""
    window = _hann()
    count = (len(values) - OVERLAP) // (SEGMENT - OVERLAP)
    stride = values.strides[0]
    windows = np.lib.stride_tricks.as_strided(
        values, (count, SEGMENT), ((SEGMENT - OVERLAP) * stride, stride), writeable=False
    )
    mean = windows.mean(axis=1, keepdims=True)
    spectra = np.fft.rfft((windows - mean) * window, axis=1)
    step_hz = 1.0 / (SEGMENT * step_s)
    low = math.ceil(BAND_HZ[0] / step_hz - 1e-9)
    high = min(math.floor(BAND_HZ[1] / step_hz + 1e-9), SEGMENT // 2)
    inside = spectra[:, low : high + 1].ravel()
    # The highest frequency stands for itself, all others for their negative ones too.
    total = 2.0 * float(np.vdot(inside, inside).real)
    if high == SEGMENT // 2:
        last = spectra[:, high]
        total -= float(np.vdot(last, last).real)
    return math.sqrt(step_s * total / count / _WINDOW_POWER * step_hz)


@cache
def _hann() -> Floats:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SEGMENT) / SEGMENT)


_WINDOW_POWER = SEGMENT * 3 / 8  # the sum of a Hann window's squares
