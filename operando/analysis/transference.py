"""The cation's transference number from a small potential step between two spectra."""

import math
from dataclasses import dataclass

import numpy as np

from operando.runs import Floats

# A larger step drives concentrations apart so far that the linear response does not hold (10 mV
# are usual: Bruce and Vincent 1987).
LARGEST_STEP_V = 0.020
# Beyond this uncertainty the number says nothing.
LARGEST_UNCERTAINTY = 0.1
# The current stands when it changes by less than this share over the last fifth of the step.
LARGEST_CHANGE = 0.02
LAST_SHARE = 0.2


@dataclass(frozen=True)
class Currents:
    """The current of a potential step at its beginning and at its end.

    Attributes:
        initial_a: Current once the double layers are charged, A; None if it cannot be told.
        initial_uncertainty_a: Its standard uncertainty from the scatter, A.
        steady_a: Mean over the last fifth, A.
        steady_uncertainty_a: Its standard uncertainty from the scatter, A.
        change: By what share the current changes over the last fifth.
        reason: Why there are none.
    """

    initial_a: float | None
    initial_uncertainty_a: float | None
    steady_a: float | None
    steady_uncertainty_a: float | None
    change: float | None
    reason: str | None = None


def step_currents(step_t_s: Floats, current_a: Floats, *, charging_s: float = 0.0) -> Currents:
    """Return the initial and the steady current of a potential step.

    The initial current is that of the first row after the double layers are charged, by a line
    through the first rows then against the square root of time, as diffusion begins.

    Args:
        step_t_s: Time since the step's edge, s.
        current_a: Current, A.
        charging_s: Rows before belong to the double layers: five times the slowest time constant
            of the arcs of the spectrum before, s.
    """
    good = np.isfinite(step_t_s) & np.isfinite(current_a)
    t, i = step_t_s[good], current_a[good]
    first = int(np.searchsorted(t, charging_s))
    if len(t) - first < 10:
        told = f"{len(t) - first} rows after {charging_s:.2g} s, at least 10 are needed"
        return Currents(None, None, None, None, None, told)
    early = slice(first, first + 5)
    root = np.sqrt(np.maximum(t[early], 0.0))
    slope, offset = np.polyfit(root, i[early], 1) if np.ptp(root) > 0 else (0.0, i[first])
    rest = i[early] - offset - slope * root
    initial = float(offset + slope * root[0])
    last = t >= t[-1] - LAST_SHARE * (t[-1] - t[first])
    steady = float(i[last].mean())
    scatter = float(np.std(i[last])) / math.sqrt(np.count_nonzero(last))
    change = 0.0
    if np.count_nonzero(last) >= 3 and np.ptp(t[last]) > 0 and steady != 0:
        trend = float(np.polyfit(t[last], i[last], 1)[0])
        change = trend * float(np.ptp(t[last])) / steady
    noise = math.sqrt(float(rest @ rest) / 3)
    return Currents(initial, noise, steady, scatter, change)


@dataclass(frozen=True)
class Transference:
    """An apparent transference number.

    Attributes:
        number: t+; None if it is not valid.
        uncertainty: Its standard uncertainty.
        reason: Why there is none.
    """

    number: float | None
    uncertainty: float | None
    reason: str | None = None


def transference_number(
    currents: Currents,
    step_v: float,
    resistance_before_ohm: float,
    resistance_after_ohm: float,
    *,
    step_uncertainty_v: float = 0.0,
    resistance_before_uncertainty_ohm: float = 0.0,
    resistance_after_uncertainty_ohm: float = 0.0,
    current_offset_a: float = 0.0,
) -> Transference:
    """Return t+ = I_ss (dV - I_0 R_0) / (I_0 (dV - I_ss R_ss)) (Bruce, Evans and Vincent, 1987).

    It is apparent: valid for dilute binary electrolytes between two electrodes of the metal, and
    the resistances are those of both interfaces. None if the step exceeds 20 mV, if the current
    rose or did not stand, if the interfaces take all of the step, or if its uncertainty exceeds
    0.1. The current's gain cancels, as the impedance has it, too.

    Args:
        currents: As `step_currents` tells them.
        step_v: dV, V.
        resistance_before_ohm: R_0 of the interfaces before, ohm.
        resistance_after_ohm: R_ss after, ohm.
        step_uncertainty_v: Standard uncertainty of dV, V.
        resistance_before_uncertainty_ohm: Of R_0, ohm.
        resistance_after_uncertainty_ohm: Of R_ss, ohm.
        current_offset_a: Of both currents at once: the zero of the range, A.
    """
    initial, steady = currents.initial_a, currents.steady_a
    if abs(step_v) > LARGEST_STEP_V:
        return Transference(
            None,
            None,
            f"a step of {abs(step_v) * 1e3:.0f} mV: the number is that of a small one, up to "
            f"{LARGEST_STEP_V * 1e3:.0f} mV (Bruce and Vincent 1987)",
        )
    if initial is None or steady is None:
        return Transference(None, None, currents.reason or "the current is not known")
    if step_v < 0:
        step_v, initial, steady = -step_v, -initial, -steady
    if currents.change is None or abs(currents.change) > LARGEST_CHANGE:
        change = 0.0 if currents.change is None else currents.change
        return Transference(
            None, None, f"the current still changed by {change:.1%} over the last fifth of the step"
        )
    if not 0 < steady <= initial:
        return Transference(
            None, None, f"the current went from {initial:.3g} to {steady:.3g} A: it did not fall"
        )
    if step_v <= initial * resistance_before_ohm or step_v <= steady * resistance_after_ohm:
        return Transference(None, None, "the interfaces take the whole step: I R >= dV")
    inputs = np.array([initial, steady, step_v, resistance_before_ohm, resistance_after_ohm])

    def number(x: Floats) -> float:
        return float(x[1] * (x[2] - x[0] * x[3]) / (x[0] * (x[2] - x[1] * x[4])))

    errors = (
        currents.initial_uncertainty_a or 0.0,
        currents.steady_uncertainty_a or 0.0,
        step_uncertainty_v,
        resistance_before_uncertainty_ohm,
        resistance_after_uncertainty_ohm,
    )
    value = number(inputs)
    moves = []
    for place, error in enumerate(errors):
        shift = np.zeros(5)
        shift[place] = error
        moves.append(0.5 * (number(inputs + shift) - number(inputs - shift)))
    both = np.array([current_offset_a, current_offset_a, 0.0, 0.0, 0.0])
    moves.append(0.5 * (number(inputs + both) - number(inputs - both)))
    uncertainty = math.hypot(*moves)
    if uncertainty > LARGEST_UNCERTAINTY:
        return Transference(
            None, None, f"{value:.2f} with a standard uncertainty of {uncertainty:.2g}: too much"
        )
    return Transference(value, uncertainty)
