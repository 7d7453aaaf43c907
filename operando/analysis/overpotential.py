"""Overpotentials and polarisation of galvanostatic half-cycles."""

import math
from dataclasses import dataclass

import numpy as np

from operando.analysis.accuracy import POTENTIAL_GAIN, PotentialAccuracy
from operando.analysis.segments import PLATE, STRIP, HalfCycle, at_charge
from operando.analysis.tip_uncertainty import (
    Rest,
    grown_on_the_plateau_v,
    median_u,
    missed_v,
    rectangular,
    relaxed_v,
    resolution_v,
    with_bias,
)
from operando.runs import Floats

PLATEAU = (0.40, 0.90)  # shares of the half-cycle's charge
MIDDLE = (0.45, 0.55)
LATE = (0.945, 0.955)
TIP_WITHIN = 0.20
NO_ZERO = "the potential of the metal against the reference is not known (metal_vs_reference_v)"
PROMINENCE_SIGMAS = 3.0
# So many rows tell the noise of a half-cycle.
_ROWS_OF_NOISE = 200
# Rows further apart than this share of the charge at the tip blunt it; far beyond, there is none.
TIP_SAMPLING, TIP_SAMPLING_WORST = 0.1, 0.5


@dataclass(frozen=True)
class Nucleation:
    """Tip and plateau of the first plating.

    Attributes:
        overpotential_v: |tip| - |plateau|, V; None if it cannot be told.
        uncertainty_v: Its standard uncertainty, V; see `nucleation`.
        reason: Why there is none, or what to keep in mind.
        tip_v: Potential of the tip, V, as it was measured.
        tip_charge_mah_cm2: Charge passed at the tip since the potential crossed zero, mAh/cm2.
        plateau_v: Potential of the plateau, V, as it was measured.
        grown_v: How much the line through the plateau grows from the tip to its middle, V.
        relaxed_v: How much of the polarisation built up meanwhile as a rest after the plating tells
            it, V; None without one that is long enough.
    """

    overpotential_v: float | None
    uncertainty_v: float | None = None
    reason: str | None = None
    tip_v: float | None = None
    tip_charge_mah_cm2: float | None = None
    plateau_v: float | None = None
    grown_v: float | None = None
    relaxed_v: float | None = None


def plateau_v(half: HalfCycle) -> float:
    """Return the plateau overpotential |E|, V: the median over 40-90 % of the charge.

    Like every |E| here it counts from the metal's own potential; NaN where that is not known.
    """
    return abs(at_charge(half, *PLATEAU) - half.metal_v)


def middle_v(half: HalfCycle) -> float:
    """Return the overpotential at half the charge, V, signed; the median over 45-55 %."""
    return at_charge(half, *MIDDLE) - half.metal_v


def noise_v(values: Floats) -> float:
    """Return the standard deviation of white noise on a slowly changing signal, V.

    From the median absolute second difference, which a slope does not enter.
    """
    if len(values) < 5:
        return 0.0
    second = values[2:] - 2 * values[1:-1] + values[:-2]
    return float(1.4826 * np.median(np.abs(second))) / math.sqrt(6.0)


def nucleation(
    halves: tuple[HalfCycle, ...],
    *,
    rest: Rest | None = None,
    potential_gain: float = POTENTIAL_GAIN,
) -> Nucleation:
    """Return the nucleation overpotential of the first plating: tip minus plateau (Yan 2016).

    The tip is the largest |E| in the first 20 % of the charge after the potential has crossed
    zero, the metal's own potential: the slope above it belongs to interphase and alloy formation.
    Rows are smoothed by a median of three and no more. None unless the tip stands out of its
    surroundings by more than three standard deviations of the noise.

    Its standard uncertainty is that of the overpotential of nucleation itself, for which the
    difference stands: u = u_c + (|grown_v| + |relaxed_v|) / 2. u_c is the root of the sum of
    squares of noise and steps of one row and of the plateau's median, the gain of the potential,
    what rows that are apart miss of the tip, and the uncertainties of the two other terms, which
    are what other polarisation grew between tip and plateau (see
    `operando.analysis.tip_uncertainty`). An offset of the potential and the resistance of leads are
    the same in both and cancel.

    Args:
        halves: Half-cycles of a run.
        rest: The rest after the first plating; without it what it would tell is not in the
            uncertainty.
        potential_gain: Relative standard uncertainty of a difference of two potentials.
    """
    first = next((half for half in halves if half.role == PLATE), None)
    if first is None:
        return Nucleation(None, reason="no plating half-cycle")
    if math.isnan(first.metal_v):
        return Nucleation(None, reason=NO_ZERO)
    potential_v = first.overpotential_v
    below = np.flatnonzero(potential_v < 0)
    if not len(below):
        return Nucleation(None, reason="the potential did not cross zero in the first plating")
    begin = int(below[0])
    charge = first.charge_mah_cm2[begin:] - first.charge_mah_cm2[begin]
    magnitude = _median_of_three(-potential_v[begin:])
    total = charge[-1]
    window = int(np.searchsorted(charge, TIP_WITHIN * total, side="right"))
    if total <= 0 or window < 3 or len(charge) < 10:
        return Nucleation(None, reason="too few rows in the first plating")
    tip = int(np.argmax(magnitude[:window]))
    plateau = plateau_v(first)
    flat = (charge >= PLATEAU[0] * total) & (charge <= PLATEAU[1] * total)
    sigma = noise_v(potential_v[begin:][flat])
    told = {
        "tip_v": first.metal_v - float(magnitude[tip]),
        "tip_charge_mah_cm2": float(charge[tip]),
        "plateau_v": first.metal_v - plateau,
    }
    before = magnitude[: tip + 1].min()
    if begin > 0:
        before = min(before, 0.0)  # the tip was approached from above zero
    # Against the plateau and not the lowest row after the tip, which is noise's own extreme.
    prominence = float(magnitude[tip]) - max(float(before), plateau)
    if tip == 0 and begin == 0:
        return Nucleation(None, reason="the tip is the first row: recorded too coarsely", **told)
    if prominence <= PROMINENCE_SIGMAS * sigma or prominence <= 0:
        return Nucleation(
            None,
            reason=f"no tip: it stands out by {prominence * 1e3:.3g} mV and the noise is "
            f"{sigma * 1e3:.2g} mV",
            **told,
        )
    spacing = float(np.diff(charge[max(tip - 1, 0) : tip + 2]).max())
    coarse = spacing / float(charge[tip]) if charge[tip] > 0 else math.inf
    if coarse > TIP_SAMPLING_WORST:
        return Nucleation(None, reason="rows are too far apart to resolve the tip", **told)
    reason = None
    if coarse > TIP_SAMPLING:
        reason = f"rows at the tip are {coarse:.0%} of its charge apart: a lower bound"
    value = float(magnitude[tip]) - plateau
    middle = 0.5 * (PLATEAU[0] + PLATEAU[1]) * total
    raw = -potential_v[begin:]
    one_row = math.hypot(sigma, resolution_v(raw[flat]))
    at_tip = float(charge[tip])
    grown, u_grown = grown_on_the_plateau_v(charge[flat], raw[flat], at_tip, middle, one_row)
    since_s = first.t_s[begin:] - first.t_s[begin]
    at_middle_s = float(np.interp(middle, charge, since_s))
    relaxation = relaxed_v(rest, float(since_s[tip]), at_middle_s, one_row)
    relaxed, u_relaxed = (None, 0.0) if relaxation is None else relaxation
    parts = (
        one_row,
        median_u(one_row, int(flat.sum())),
        potential_gain * value,
        rectangular(missed_v(charge, raw, tip, spacing)),
        u_grown,
        u_relaxed,
    )
    u = with_bias(parts, abs(grown) + abs(relaxed or 0.0))
    return Nucleation(value, u, reason, grown_v=grown, relaxed_v=relaxed, **told)


def polarisation_v(plating: HalfCycle, stripping: HalfCycle, *, symmetric: bool) -> float:
    """Return the voltage hysteresis of one cycle at half its charge, V.

    Symmetric cells: |E_plate| + |E_strip|; half cells: E_strip - E_plate, whatever E is against.
    """
    if not symmetric:
        return at_charge(stripping, *MIDDLE) - at_charge(plating, *MIDDLE)
    return abs(middle_v(plating)) + abs(middle_v(stripping))


def late_rise(half: HalfCycle) -> float | None:
    """Return |E| at 95 % of the charge over |E| at 50 %; None if the latter is zero."""
    middle = abs(middle_v(half))
    late = abs(at_charge(half, *LATE) - half.metal_v)
    return late / middle if middle > 0 and math.isfinite(late) else None


def plateau_u_v(
    half: HalfCycle, value_v: float, row_u_v: float, accuracy: PotentialAccuracy
) -> float:
    """Return the standard uncertainty of `plateau_v`, V: offset, gain, noise of its rows.

    Args:
        half: The plating.
        value_v: Its `plateau_v`, V.
        row_u_v: Its `one_row_u_v`, V.
        accuracy: The potential's.
    """
    noise = _median_u_v(half, PLATEAU, row_u_v)
    return math.hypot(accuracy.offset_v, accuracy.gain * value_v, noise)


def polarisation_u_v(
    plating: HalfCycle,
    stripping: HalfCycle,
    value_v: float,
    rows_u_v: tuple[float, float],
    accuracy: PotentialAccuracy,
    *,
    symmetric: bool,
) -> float:
    """Return the standard uncertainty of `polarisation_v`, V.

    The offset is the same in both directions and cancels, unless both potentials of a symmetric
    cell lie on one side of zero: then it counts twice.

    Args:
        plating: The plating.
        stripping: The strip of the same cycle.
        value_v: Their `polarisation_v`, V.
        rows_u_v: `one_row_u_v` of both, V.
        accuracy: The potential's.
        symmetric: As in `polarisation_v`.
    """
    one_side = symmetric and _rough_middle_v(plating) * _rough_middle_v(stripping) > 0
    return math.hypot(
        2.0 * accuracy.offset_v if one_side else 0.0,
        accuracy.gain * value_v,
        *(
            _median_u_v(half, MIDDLE, row_u_v)
            for half, row_u_v in zip((plating, stripping), rows_u_v, strict=True)
        ),
    )


def late_rise_u(
    half: HalfCycle, value: float, row_u_v: float, accuracy: PotentialAccuracy
) -> float | None:
    """Return the standard uncertainty of `late_rise`; the gain is in both potentials and cancels.

    None where the potential at half the charge is zero. Arguments as in `plateau_u_v`.
    """
    middle = abs(_rough_middle_v(half))
    if middle == 0:
        return None
    return math.hypot(
        accuracy.offset_v * (1.0 - value) / middle,
        _median_u_v(half, LATE, row_u_v) / middle,
        value * _median_u_v(half, MIDDLE, row_u_v) / middle,
    )


def _rough_middle_v(half: HalfCycle) -> float:
    first, stop = _rows_between(half, MIDDLE)
    return float(half.potential_v[first : max(stop, first + 1)].mean()) - half.metal_v


def one_row_u_v(half: HalfCycle) -> float:
    """Return the standard uncertainty of one row of a half-cycle from noise and steps, V."""
    first, _ = _rows_between(half, PLATEAU)
    rows = half.potential_v[first : first + _ROWS_OF_NOISE]
    return math.hypot(noise_v(rows), resolution_v(rows))


def _median_u_v(half: HalfCycle, shares: tuple[float, float], row_u_v: float) -> float:
    first, stop = _rows_between(half, shares)
    return median_u(row_u_v, max(stop - first, 1))


def _rows_between(half: HalfCycle, shares: tuple[float, float]) -> tuple[int, int]:
    total = half.capacity_mah_cm2
    first, stop = half.charge_mah_cm2.searchsorted((shares[0] * total, shares[1] * total))
    return int(first), int(stop)


def by_cycle(halves: tuple[HalfCycle, ...]) -> dict[int, tuple[HalfCycle | None, HalfCycle | None]]:
    """Return cycle number -> (plating, stripping); of several of one role the last counts."""
    found: dict[int, tuple[HalfCycle | None, HalfCycle | None]] = {}
    for half in halves:
        plating, stripping = found.get(half.cycle, (None, None))
        if half.role == PLATE:
            plating = half
        elif half.role == STRIP:
            stripping = half
        found[half.cycle] = (plating, stripping)
    return found


def _median_of_three(values: Floats) -> Floats:
    if len(values) < 3:
        return values
    middle = np.median(np.stack((values[:-2], values[1:-1], values[2:])), axis=0)
    return np.concatenate((values[:1], middle, values[-1:]))
