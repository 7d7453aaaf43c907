"""How the strongest echo of an ultrasonic waveform moves and fades."""

from typing import NamedTuple

import numpy as np

from operando.runs import Floats

# Where the envelope of an echo is above this share of its maximum, it is the echo.
_GATE = 0.1
_UNEVEN = 0.01  # of a step
_SEEN = 8.0  # maximum of the envelope over the scatter of the waveform


class Echo(NamedTuple):
    """An echo against that of another waveform.

    Attributes:
        shift_s: How much later it comes, s.
        ratio: Its amplitude over that of the other.
    """

    shift_s: float
    ratio: float


def envelope(amplitude: Floats) -> Floats:
    """Return the magnitude of the analytic signal (Gabor, J. IEE 93 (1946) 429)."""
    from scipy.signal import hilbert

    return np.asarray(np.abs(hilbert(amplitude - np.mean(amplitude))))


def gate_of(delay_s: Floats, amplitude: Floats) -> slice:
    """Return which values of a waveform are its strongest echo.

    Raises:
        ValueError: The delays are not even, or no echo stands out.
    """
    steps = np.diff(delay_s)
    if len(steps) < 8 or np.ptp(steps) > _UNEVEN * abs(float(np.mean(steps))):
        raise ValueError("the delays of the waveform are not in even steps")
    size = envelope(amplitude)
    peak = int(np.argmax(size))
    if size[peak] < _SEEN * 1.4826 * float(np.median(np.abs(amplitude - np.median(amplitude)))):
        raise ValueError("no echo stands out of the waveform")
    low = size < _GATE * size[peak]
    before, after = np.flatnonzero(low[:peak]), np.flatnonzero(low[peak:])
    first = int(before[-1]) + 1 if len(before) else 0
    last = peak + int(after[0]) if len(after) else len(size)
    return slice(first, last)


def compare(delay_s: Floats, first: Floats, amplitude: Floats) -> Echo:
    """Return how the strongest echo of a waveform differs from where it was in the first.

    The shift is where the cross-correlation of the first's echo with the waveform is largest,
    between samples by a parabola through three values; the amplitudes are maxima of envelopes
    within the echo.

    Args:
        delay_s: Delays of both, in even steps, s.
        first: The first waveform.
        amplitude: The other, of the same length.

    Raises:
        ValueError: As `gate_of`; or the waveforms differ in length.
    """
    if len(first) != len(amplitude):
        raise ValueError("the waveform has another length than the first")
    gate = gate_of(delay_s, first)
    step = float(np.mean(np.diff(delay_s)))
    echo = (first - np.mean(first))[gate]
    likeness = np.correlate(amplitude - np.mean(amplitude), echo, "valid")
    best = int(np.argmax(likeness))
    between = 0.0
    if 0 < best < len(likeness) - 1:
        left, top, right = likeness[best - 1 : best + 2]
        bend = left - 2 * top + right
        between = 0.5 * (left - right) / bend if bend else 0.0
    moved = slice(best, best + len(echo))
    ratio = float(envelope(amplitude)[moved].max() / envelope(first)[gate].max())
    return Echo(step * (best - (gate.start or 0) + float(between)), ratio)
