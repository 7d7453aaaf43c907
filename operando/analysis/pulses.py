"""What the potential does at the edges of a current: series resistance, pulses, relaxation."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from operando.analysis.steps import REST, SET_CURRENT, StepRows
from operando.runs import Floats

# Rows of an edge are dense enough if they are no further apart, s; what relaxes faster is in R.
SPARSEST_ROWS_S = 0.05
EDGE_ROWS = 8


@dataclass(frozen=True)
class EdgeResistance:
    """The resistance by which the potential jumps at an edge of the current.

    Attributes:
        resistance_ohm: dE/di at the edge's instant, ohm; None if it cannot be told.
        uncertainty_ohm: Its standard uncertainty: of the extrapolation and of the noise, ohm.
        first_row_s: How long after the edge the first row came, s.
        reason: Why there is none.
    """

    resistance_ohm: float | None
    uncertainty_ohm: float | None
    first_row_s: float | None
    reason: str | None = None


def edge_resistance(before: StepRows, after: StepRows) -> EdgeResistance:
    """Extrapolate the potential to an edge of the current from both sides.

    A parabola through the 8 rows nearest to the edge on each side; the difference to a line
    through the nearer half is taken for the uncertainty of the extrapolation. What relaxes within
    the first row belongs to the resistance.

    Args:
        before: The step before the edge.
        after: The step after it, whose rows tell the time since the edge.
    """

    def none(reason: str) -> EdgeResistance:
        return EdgeResistance(None, None, None, reason)

    if min(len(before), len(after)) < EDGE_ROWS:
        return none(f"fewer than {EDGE_ROWS} rows on a side of the edge")
    if not math.isfinite(after.step_t_s[0]):
        return none("the time since the edge was not recorded")
    edge = after.edge_s
    left, right = slice(len(before) - EDGE_ROWS, len(before)), slice(0, EDGE_ROWS)
    times = before.t_s[left] - edge, after.t_s[right] - edge
    sparse = max(float(times[0][-1] - times[0][0]), float(times[1][-1] - times[1][0]))
    sparse = max(sparse / (EDGE_ROWS - 1), -float(times[0][-1]), float(times[1][0]))
    if sparse > SPARSEST_ROWS_S:
        return none(
            f"rows {sparse:.2g} s apart do not resolve the edge: {SPARSEST_ROWS_S:g} s at most"
        )
    sides = (times[0], before.potential_v[left]), (times[1], after.potential_v[right])
    di = float(np.median(after.current_a[right]) - np.median(before.current_a[left]))
    if di == 0:
        return none("the current does not change at the edge")
    (left_v, left_error), (right_v, right_error) = (_at_zero(t, e) for t, e in sides)
    return EdgeResistance(
        (right_v - left_v) / di,
        math.hypot(left_error, right_error) / abs(di),
        float(after.step_t_s[0]),
    )


def _at_zero(t: Floats, e: Floats) -> tuple[float, float]:
    """Return the potential at t = 0 and its uncertainty, V."""
    scale = float(np.abs(t).max())
    x = t / scale
    design = np.column_stack((np.ones_like(x), x, x**2))
    found, *_ = np.linalg.lstsq(design, e, rcond=None)
    rest = e - design @ found
    variance = float(rest @ rest) / (len(e) - 3)
    statistical = math.sqrt(max(float(np.linalg.inv(design.T @ design)[0, 0]) * variance, 0.0))
    near = np.argsort(np.abs(t))[: len(t) // 2]
    line = float(np.polyfit(x[near], e[near], 1)[1])
    return float(found[0]), math.hypot(statistical, 0.5 * abs(line - float(found[0])))


def mean_resistance(edges: list[EdgeResistance]) -> tuple[float, float] | None:
    """Return the mean of several edges and its standard uncertainty, ohm; None without any.

    The extrapolation errs the same way at each edge: it is not averaged away, the scatter is.
    """
    known = [
        (edge.resistance_ohm, edge.uncertainty_ohm)
        for edge in edges
        if edge.resistance_ohm is not None and edge.uncertainty_ohm is not None
    ]
    if not known:
        return None
    values = np.array([value for value, _ in known])
    shared = float(np.mean([error for _, error in known]))
    scatter = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), math.hypot(shared, scatter)


@dataclass(frozen=True)
class Pulse:
    """One current pulse between two rests (galvanostatic intermittent titration).

    Attributes:
        number: Number of its step.
        current_a: Median current, A, positive when it strips the metal electrode.
        charge_c: Charge passed, C, magnitude.
        resistance_ohm: (E at the end of the pulse - E at rest before) / i, ohm.
        relaxation_v: E at the end of the rest after less E at the end of the pulse, V.
        relaxed_v: E at the end of the rest after, V.
        drift_v_h: Slope of E over the last tenth of that rest, V/h: how far from equilibrium it is.
    """

    number: int
    current_a: float
    charge_c: float
    resistance_ohm: float
    relaxation_v: float
    relaxed_v: float
    drift_v_h: float


def titration(steps: tuple[StepRows, ...]) -> tuple[Pulse, ...]:
    """Return the pulses of a series: steps of one direction with rests before and after each.

    A single pulse, or both directions in turn, are no series.
    """
    turns = [step.role for step in steps if step.role != REST]
    if all(a != b or a not in SET_CURRENT for a, b in pairwise(turns)):
        return ()
    found: list[tuple[tuple[int, bool], Pulse]] = []
    for before, pulse, after in zip(steps, steps[1:], steps[2:], strict=False):
        rests = before.role == after.role == REST
        if rests and pulse.role in SET_CURRENT and min(map(len, (before, pulse, after))) > 1:
            told = _pulse(before, pulse, after)
            if told is not None:
                found.append(((pulse.role, told.current_a > 0), told))
    kinds = [kind for kind, _ in found]
    return tuple(
        pulse
        for k, (kind, pulse) in enumerate(found)
        if kind in (kinds[k - 1] if k else None, kinds[k + 1] if k + 1 < len(kinds) else None)
    )


def _pulse(before: StepRows, pulse: StepRows, after: StepRows) -> Pulse | None:
    currents, potentials = pulse.current_a, after.potential_v
    current = float(np.median(currents))
    if current == 0:
        return None
    mean = 0.5 * (currents[1:] + currents[:-1])
    charge = abs(float(mean @ np.diff(pulse.t_s)))
    since = float(pulse.step_t_s[0])
    charge += abs(float(currents[0])) * since if math.isfinite(since) else 0.0
    ended, rested = float(pulse.potential_v[-1]), float(potentials[-1])
    late = after.t_s >= after.t_s[-1] - 0.1 * (after.t_s[-1] - after.t_s[0])
    drift = 0.0
    if np.count_nonzero(late) >= 2 and np.ptp(after.t_s[late]) > 0:
        drift = 3600 * float(np.polyfit(after.t_s[late], potentials[late], 1)[0])
    return Pulse(
        number=pulse.number,
        current_a=current,
        charge_c=charge,
        resistance_ohm=(ended - float(before.potential_v[-1])) / current,
        relaxation_v=rested - ended,
        relaxed_v=rested,
        drift_v_h=drift,
    )
