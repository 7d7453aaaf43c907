"""What is left of a technique that was interrupted: data in, data out.

A technique unfolds into elementary steps; taking the first one away leaves a technique again. Where
a loop was entered but not left, what is left of the present pass and the passes to come stand
together in a ``repeat`` of one, so that an ``end_loop`` still leaves the loop it was written in.
"""

import math
from collections.abc import Iterable
from collections.abc import Sequence as Several
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeVar

from techniques.experiments import Experiment
from techniques.limits import Action, Limit
from techniques.programs import Block, Repeat, Sequence
from techniques.recording import FINEST_CHECK_S, Recording
from techniques.steps import (
    CyclicVoltammetry,
    ElementaryStep,
    GalvanostaticStep,
    ImpedanceSpectrum,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Role,
)
from techniques.technique import Technique, unresolved

T = TypeVar("T")
Kind = Literal[
    "open_circuit",
    "galvanostatic_step",
    "potentiostatic_step",
    "linear_sweep",
    "cyclic_voltammetry",
    "impedance_spectrum",
]
# A duration that is told by charge and one told by time are the same within rounding.
_SAME = 1e-9
# A potential this near to a threshold may have been on either side of it before it was rounded.
_ROUNDING_V = 1e-6
# Likewise a current to its threshold, and to both sides of a package's digits.
_ROUNDING_OF_CURRENT = 1e-5
# A sweep whose rows come more slowly is divided further, s.
_SHORTEST_LAST_STEP_S = 0.5


class PositionError(ValueError):
    """Where an experiment stood cannot be told with certainty."""


@dataclass(frozen=True)
class ExecutedStep:
    """One elementary step as it was seen to run.

    Attributes:
        kind: what it was; ``None``: it had the role, at a set current or at a set potential.
        role: plate, strip, or ``None``.
        cycle: as in its rows.
        half_cycle: as in its rows.
        action: what the limit that ended it asked for; ``None``: its last row tells, or nothing.
        elapsed_s: time from its edge to its last row, s; ``None``: not known.
        potential_v: potential of the metal electrode in its last row, V; ``None``: not known.
        current_ma_cm2: magnitude of the current in its last row; ``None``: not known.
    """

    kind: Kind | None
    role: Role | None
    cycle: int
    half_cycle: int
    action: Action | None = "next"
    elapsed_s: float | None = None
    potential_v: float | None = None
    current_ma_cm2: float | None = None


@dataclass(frozen=True)
class Interrupted:
    """How far the last step had come.

    Attributes:
        elapsed_s: time since its edge, s.
        charge_mah_cm2: magnitude of the charge that had passed since then.
        potential_v: potential of the metal electrode that was set, V; ``None``: not known, or none
            was.
    """

    elapsed_s: float
    charge_mah_cm2: float = 0.0
    potential_v: float | None = None


@dataclass(frozen=True)
class Remaining:
    """What is left, and from which counters it goes on.

    Attributes:
        technique: what is left; ``None`` if nothing is.
        cycle: number of the cycle it begins in.
        half_cycle: number before its first half-cycle, which is the interrupted one if there is
            one.
        step: the elementary step that was interrupted, whole; ``None`` if none was.
    """

    technique: Technique | None
    cycle: int
    half_cycle: int
    step: ElementaryStep | None = None

    @property
    def step_is_half_cycle(self) -> bool:
        """Return whether a half-cycle was interrupted, which then keeps its number."""
        return _role(self.step) is not None


@dataclass(frozen=True)
class _Place:
    """A position that agrees with what was seen: what follows, and the counters so far."""

    left: Technique | None
    cycle: int
    half_cycle: int


def remaining(
    technique: Technique,
    executed: Several[ExecutedStep],
    interrupted: Interrupted | None = None,
    *,
    cycle: int = 0,
    half_cycle: int = 0,
) -> Remaining:
    """Return what is left of ``technique`` after ``executed``.

    A galvanostatic step that was interrupted keeps its potentials and runs for the time and charge
    that are left; a potentiostatic step keeps its potential and its currents likewise; an open
    circuit goes on for the time that is left; an impedance spectrum, a sweep and a voltammetry are
    measured again from their beginning.

    Args:
        technique: What was started.
        executed: The elementary steps that were begun, in their order, rests included.
        interrupted: How far the last of them had come; ``None`` if it had ended.
        cycle: The counter before the first step.
        half_cycle: The counter before the first step.

    Raises:
        PositionError: The steps are not those of the technique, or they fit to several places in
            it between which nothing tells.
    """
    places = [_Place(technique, cycle, half_cycle)]
    for number, step in enumerate(executed, 1):
        last = number == len(executed)
        arrived = [found for place in places if (found := _enter(place, step)) is not None]
        if not arrived:
            raise PositionError(
                f"step {number} was {_told(step)}, which is not what the technique does there"
                f" ({_expected(places)})"
            )
        if last and interrupted is not None:
            return _interrupted(arrived, step, interrupted)
        places = _unique(place for found in arrived for place in _leave(found, step))
        if last and step.action is None and len(places) > 1:
            raise PositionError(
                f"step {number}, {_told(step)}, may have left its loop or not: what ended it is "
                "not known"
            )
    if len(places) > 1:
        raise PositionError(
            "the steps that were seen fit to several places in the technique: a loop may have been "
            "left early, and nothing tells whether it was"
        )
    (place,) = places
    return Remaining(place.left, place.cycle, place.half_cycle)


def first_step(technique: Technique) -> ElementaryStep:
    """Return the elementary step with which a program begins."""
    return _first(technique)[0]


def without_first_step(left: Remaining) -> Remaining:
    """Return what is left when the step is left out with which it would go on.

    A hold that goes on with the half-cycle of that step is left out with it. The half-cycle keeps
    its number, and the next one has the next, so that nothing which ran is counted twice.
    """
    technique, cycle, half_cycle = left.technique, left.cycle, left.half_cycle
    if technique is None:
        return left
    first, begun = _first(technique)
    cycle, half_cycle = cycle + begun, half_cycle + _counts(first)
    technique, _ = _after(technique, None, leaving=False)
    while _role(first) is not None and technique is not None:
        hold, _ = _first(technique)
        if _role(hold) is None or _counts(hold):
            break
        technique, _ = _after(technique, None, leaving=False)
    return Remaining(technique, cycle, half_cycle)


def last_step(
    technique: Technique,
    executed: Several[ExecutedStep],
    *,
    cycle: int = 0,
    half_cycle: int = 0,
) -> ElementaryStep:
    """Return the elementary step of ``technique`` that the last of ``executed`` was, as written.

    Arguments and errors as for ``remaining``.
    """
    # An interrupted step of no length is the whole step.
    whole = remaining(technique, executed, Interrupted(0.0), cycle=cycle, half_cycle=half_cycle)
    assert whole.step is not None  # nothing of it is missing
    return whole.step


def how_it_ended(
    step: ElementaryStep,
    elapsed_s: float,
    potential_v: float | None,
    current_ma_cm2: float | None = None,
) -> Action | None:
    """Return what the limit that ended a step asks for, by the step's last row.

    ``None`` if that row passes no limit: the step had not ended then, or its end was not recorded.
    The charge of a step at a set potential, which only the instrument has counted, tells nothing.

    Args:
        step: The step as written; no open circuit and no spectrum.
        elapsed_s: Time from its edge to the row, s.
        potential_v: Potential of the metal electrode in the row, V.
        current_ma_cm2: Magnitude of the current in the row.
    """
    passed = []
    for number, limit in enumerate(_limits(step)):
        beyond, within = _beyond(limit, potential_v, current_ma_cm2)
        if beyond is not None and abs(beyond) < within:
            return None
        if beyond is not None and beyond > 0:
            passed.append((-beyond, number, limit.action))
    if passed:
        # The instrument compares with the nearest threshold, which was passed furthest.
        return min(passed)[2]
    return action_at_the_end(step) if elapsed_s >= _ends_from_s(step) else None


def _beyond(
    limit: Limit, potential_v: float | None, current_ma_cm2: float | None
) -> tuple[float | None, float]:
    """Return how far a row is beyond a limit, and how exactly that is known."""
    if "potential" in limit.quantity and potential_v is not None:
        return {
            "potential_above_v": potential_v - limit.value,
            "potential_below_v": limit.value - potential_v,
            "abs_potential_above_v": abs(potential_v) - limit.value,
        }[limit.quantity], _ROUNDING_V
    if "current" in limit.quantity and current_ma_cm2 is not None:
        above = current_ma_cm2 - limit.value
        beyond = above if limit.quantity == "abs_current_above_ma_cm2" else -above
        return beyond, _ROUNDING_OF_CURRENT * limit.value
    return None, 0.0


def _ends_from_s(step: ElementaryStep) -> float:
    """Return from which time on the last row of a step is its end by the time, s."""
    match step:
        case GalvanostaticStep() | PotentiostaticStep():
            return step.expected_s - step.record.check_interval_s(step.expected_s) / 2
        case LinearSweep() | CyclicVoltammetry():
            # The last potential is measured one step of the instrument after it was reached.
            row_s = step.row_step_v / step.scan_rate_v_s
            return step.expected_s - _falls_short_s(step) + min(row_s, _SHORTEST_LAST_STEP_S) / 2
    return math.inf


def _falls_short_s(step: LinearSweep | CyclicVoltammetry) -> float:
    """Return how much earlier a voltammetry may end: a part that the steps do not divide."""
    if isinstance(step, LinearSweep):
        return 0.0
    parts = [abs(b - a) / step.row_step_v for a, b in pairwise(step.turns_v)]
    uneven = sum(abs(part - round(part)) > 1e-6 for part in parts)
    return step.scans * uneven * step.row_step_v / step.scan_rate_v_s


def left_of(step: ElementaryStep, interrupted: Interrupted) -> ElementaryStep | None:
    """Return what is left of one step; ``None`` if that is less than one check of its limits."""
    match step:
        case GalvanostaticStep() | PotentiostaticStep():
            until = tuple(_less(limit, interrupted) for limit in step.until)
            if any(limit is None for limit in until):
                return None
            left = step.model_copy(update={"until": until})
            if isinstance(left, PotentiostaticStep) and left.versus == "open_circuit":
                left = _at_the_same_potential(left, interrupted)
            shortest = step.record.check_interval_s(step.expected_s)
            return left if left.expected_s >= shortest * (1 - _SAME) else None
        case OpenCircuit():
            duration_s = step.duration_s - interrupted.elapsed_s
            if duration_s < FINEST_CHECK_S:
                return None
            return step.model_copy(update={"duration_s": duration_s})
    return step


def _at_the_same_potential(
    step: PotentiostaticStep, interrupted: Interrupted
) -> PotentiostaticStep:
    """Return a hold that does not ask for the open circuit potential again, which has moved."""
    if interrupted.potential_v is None:
        return step
    held = {"potential_v": round(interrupted.potential_v, 6), "versus": "other_electrode"}
    return step.model_copy(update=held)


def action_at_the_end(step: ElementaryStep) -> Action:
    """Return what a step does when its time, or the charge that its time stands for, is over."""
    if not isinstance(step, GalvanostaticStep | PotentiostaticStep):
        return "next"
    for limit in step.until:
        if limit.quantity == "time_s":
            ends_s = limit.value
        elif limit.quantity == "charge_mah_cm2" and isinstance(step, GalvanostaticStep):
            ends_s = limit.value * 3600 / abs(step.current_density_ma_cm2)
        else:
            continue
        if ends_s <= step.expected_s * (1 + _SAME) and limit.action != "next":
            return limit.action
    return "next"


def _limits(step: ElementaryStep) -> tuple[Limit, ...]:
    return () if isinstance(step, OpenCircuit | ImpedanceSpectrum) else step.until


def _role(step: ElementaryStep | None) -> Role | None:
    return step.role if isinstance(step, GalvanostaticStep | PotentiostaticStep) else None


def _counts(step: ElementaryStep) -> bool:
    """Return whether a half-cycle begins with a step."""
    going_on = isinstance(step, PotentiostaticStep) and step.continues_half_cycle
    return _role(step) is not None and not going_on


def _less(limit: Limit, interrupted: Interrupted) -> Limit | None:
    passed = {
        "time_s": interrupted.elapsed_s,
        "charge_mah_cm2": interrupted.charge_mah_cm2,
    }.get(limit.quantity)
    if passed is None:
        return limit
    value = limit.value - passed
    return limit.model_copy(update={"value": value}) if value > 0 else None


# -- unfolding


def _enter(place: _Place, step: ExecutedStep) -> _Place | None:
    """Return the place with the counters of its first step, if that step is what was seen."""
    if place.left is None:
        return None
    first, begun = _first(place.left)
    role = _role(first)
    cycle, half_cycle = place.cycle + begun, place.half_cycle + _counts(first)
    kind = step.kind
    if kind is None and role is not None:
        kind = first.type
    seen = (kind, step.role, step.cycle, step.half_cycle)
    return (
        _Place(place.left, cycle, half_cycle)
        if seen
        == (
            first.type,
            role,
            cycle,
            half_cycle,
        )
        else None
    )


def _leave(place: _Place, step: ExecutedStep) -> list[_Place]:
    """Return the places after the first step, one for each action that it can have ended with."""
    assert place.left is not None  # told to the type checker; _enter has asked
    first, _ = _first(place.left)
    possible: set[Action] = {"next"}
    action = step.action
    if not isinstance(first, OpenCircuit | ImpedanceSpectrum):
        possible |= {limit.action for limit in first.until}
        if action is None and step.elapsed_s is not None:
            action = how_it_ended(first, step.elapsed_s, step.potential_v, step.current_ma_cm2)
    taken = possible if action is None else possible & {action}
    if not taken:
        raise PositionError(
            f"a {name_of(first)} ended with the action {action!r}, which none of its limits has"
        )
    found = []
    for one in sorted(taken):
        if one == "stop":
            left = None
        else:
            left, escaped = _after(place.left, None, leaving=one == "end_loop")
            left = None if escaped else left
        found.append(_Place(left, place.cycle, place.half_cycle))
    return found


def _interrupted(places: list[_Place], seen: ExecutedStep, interrupted: Interrupted) -> Remaining:
    """Return what is left when the first step of the (one) place had not ended."""
    found = []
    for place in places:
        assert place.left is not None  # told to the type checker; _enter has asked
        first, _ = _first(place.left)
        rest = left_of(first, interrupted)
        half_cycle = place.half_cycle
        if rest is None:
            # So little is left that the step counts as ended by its time.
            action = action_at_the_end(first)
            found += [
                Remaining(after.left, after.cycle, after.half_cycle)
                for after in _leave(place, replace(seen, action=action))
            ]
            continue
        left, _ = _after(place.left, rest, leaving=False)
        half_cycle -= _counts(first)
        found.append(Remaining(left, place.cycle, half_cycle, first))
    found = _unique(found)
    if len(found) > 1:
        raise PositionError(
            "the steps that were seen fit to several places in the technique: a loop may have been "
            "left early, and nothing tells whether it was"
        )
    return found[0]


def _first(technique: Technique) -> tuple[ElementaryStep, int]:
    """Return the first elementary step, and how many cycles begin with it."""
    match technique:
        case Sequence():
            return _first(technique.steps[0])
        case Repeat() | Block():
            return _first(technique.step)
        case PlateStripCycle():
            return technique.halves[0], 1
        case Experiment():
            raise PositionError(unresolved(technique))
    return technique, 0


def _after(
    technique: Technique, instead: ElementaryStep | None, *, leaving: bool
) -> tuple[Technique | None, bool]:
    """Return ``technique`` with ``instead`` for its first elementary step.

    Also returns whether the loop that is to be left (``leaving``) is further out.
    """
    match technique:
        case Sequence():
            left, escaped = _after(technique.steps[0], instead, leaving=leaving)
            return (None, True) if escaped else (_joined(left, *technique.steps[1:]), False)
        case Repeat():
            left, escaped = _after(technique.step, instead, leaving=leaving)
            if escaped:
                return None, False
            more = technique.times - 1
            more_of_it = technique.model_copy(update={"times": more}) if more else None
            return _one_pass(left, more_of_it), False
        case Block():
            # What is left of a named part has no name of its own: the whole is on record.
            return _after(technique.step, instead, leaving=leaving)
        case PlateStripCycle():
            if leaving:
                return None, False
            again = _next_cycles(technique)
            return _one_pass(_joined(instead, *_rest_of_cycle(technique)), again), False
    return instead, leaving


def _next_cycles(cycle: PlateStripCycle) -> PlateStripCycle | None:
    """Return the passes after the first one; ``between`` keeps to its own count of cycles."""
    more, first = cycle.cycles - 1, cycle.between_first - 1
    if not more:
        return None
    return cycle.model_copy(
        update={"cycles": more, "between_first": first if first else cycle.between_every}
    )


def _rest_of_cycle(cycle: PlateStripCycle) -> list[Technique]:
    """Return what follows the first half-cycle in one pass of ``cycle``."""
    first, second = cycle.halves
    steps: list[Technique] = [*cycle.goes_on_with(first)[1:], *_rest(cycle, first.record)]
    if cycle.between is not None and cycle.between_first == 1:
        steps.append(cycle.between)
    return [*steps, *cycle.goes_on_with(second), *_rest(cycle, second.record)]


def _rest(cycle: PlateStripCycle, record: Recording) -> list[OpenCircuit]:
    if not cycle.rest_s > 0:
        return []
    return [OpenCircuit(duration_s=cycle.rest_s, record=record, on_failure=cycle.on_failure)]


def _one_pass(left: Technique | None, again: Technique | None) -> Technique | None:
    """Return what is left of a pass and the passes to come, still inside one loop."""
    if left is None or (again is None and isinstance(left, Repeat | PlateStripCycle)):
        return again if left is None else left
    inside = _joined(left, again)
    assert inside is not None  # left is not None
    return Repeat(times=1, step=inside)


def _joined(*techniques: Technique | None) -> Technique | None:
    steps: list[Technique] = []
    for technique in techniques:
        if isinstance(technique, Sequence):
            steps += technique.steps
        elif technique is not None:
            steps.append(technique)
    if not steps:
        return None
    return steps[0] if len(steps) == 1 else Sequence(steps=tuple(steps))


def _unique(items: Iterable[T]) -> list[T]:
    found: list[T] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def name_of(step: ElementaryStep) -> str:
    """Return what messages call a step."""
    role = _role(step)
    return f"{role} step" if role else step.type.replace("_", " ")


def _told(step: ExecutedStep) -> str:
    name = f"{step.role} step" if step.role else str(step.kind).replace("_", " ")
    return f"{name} (cycle {step.cycle}, half-cycle {step.half_cycle})"


def _expected(places: list[_Place]) -> str:
    names = {"nothing" if x.left is None else name_of(_first(x.left)[0]) for x in places}
    return f"expected: {' or '.join(sorted(names))}"
