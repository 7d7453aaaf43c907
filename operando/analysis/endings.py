"""By which of the limits that its technique gives it a half-cycle ended."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from techniques import (
    Block,
    GalvanostaticStep,
    PlateStripCycle,
    PotentiostaticStep,
    Repeat,
    Sequence,
    Technique,
)
from techniques.steps import Role

# At the steep end of a strip this is no charge; noise of the last row must not hide its end.
CUT_OFF_WITHIN_V = 0.01
# By a potential, by a charge or a time, or by one of these that ends the program.
EndedBy = Literal["potential", "charge", "guard"]
# A set current, a set potential, or one after the other.
HalfCycleSteps = tuple[GalvanostaticStep | PotentiostaticStep, ...]
_ABOVE = ("potential_above_v", "abs_potential_above_v")
_TECHNIQUE: TypeAdapter[Technique] = TypeAdapter(Technique)


@dataclass(frozen=True)
class Ending:
    """What a technique says of how a half-cycle ended.

    Attributes:
        reached: Whether it reached one of its own limits; None if that is not known.
        by: Which kind: ``potential``; ``charge`` or time, after which the program goes on; or
            ``guard``, a charge or time that ends the program. None if it reached none, or if that
            is not known.
        cut_off_v: Potential of the metal electrode above which it ends, V, as it was told; the
            lowest of several. None if it has none, or that is not known.
        check_s: How often its potential is compared with its limits, s; None if not known.
    """

    reached: bool | None = None
    by: EndedBy | None = None
    cut_off_v: float | None = None
    check_s: float | None = None


class PlannedHalfCycles:
    """The half-cycles that a stored technique asks for; none where it is not understood.

    Args:
        technique: With which the experiment began.
        changes: By what it was replaced while it ran: the number of the first half-cycle of each
            other technique, and that technique.
    """

    def __init__(self, technique: object, changes: Iterable[tuple[int, object]] = ()) -> None:
        self._later: list[tuple[int, PlannedHalfCycles]] = []
        for first, other in changes:
            self.change(first, other)
        self._technique: Technique | None = None
        with suppress(ValidationError):
            self._technique = _TECHNIQUE.validate_python(technique)

    def change(self, first: int, technique: object) -> None:
        """Have half-cycles from the number ``first`` on be those of another technique."""
        self._later.append((first, PlannedHalfCycles(technique)))

    def in_half_cycle(self, number: int) -> "PlannedHalfCycles":
        """Return those of the technique that held in a half-cycle."""
        holding = self
        for first, later in self._later:
            holding = later if number >= first else holding
        return holding

    def ending(
        self,
        number: int,
        role: Role,
        *,
        potential_v: float,
        from_first_row_s: float,
        since_edge_s: float | None,
        parts: int = 1,
    ) -> Ending:
        """Return how a half-cycle ended.

        That is not known of one that ends at a set potential. A charge is checked as the time it
        takes, as the instrument does: at a set current it is one, and the error of the measured
        current stays out of it.

        Args:
            number: Which plating or stripping of the run, from 1.
            role: What it was.
            potential_v: Last potential of the metal electrode as it was measured, V.
            from_first_row_s: From its first row to its last, s, without interruptions.
            since_edge_s: From the step's edge to its first row, s; None if the instrument did not
                tell: then that row may have come one check interval after it.
            parts: In how many parts it ran; each may end one check interval early or late.
        """
        candidates = self.in_half_cycle(number).candidates(number, role)
        found = [
            _ending(steps, potential_v, from_first_row_s, since_edge_s, parts)
            for steps in candidates
        ]
        reached = [one.reached for one in found]
        if not found or (None in reached and not any(reached)):
            return Ending()
        kinds = {one.by for one in found if one.reached}
        cut_offs = [one.cut_off_v for one in found if one.cut_off_v is not None]
        checks_s = [one.check_s for one in found if one.reached and one.check_s is not None]
        return Ending(
            any(reached),
            kinds.pop() if len(kinds) == 1 else None,
            min(cut_offs, default=None),
            max(checks_s, default=None),
        )

    @property
    def count(self) -> int | None:
        """Return how many there are; None if a loop may end early, or the technique is unknown.

        Where the technique was replaced, as many as the last one has.
        """
        counts = [self.own_count, *(later.own_count for _, later in self._later)]
        return None if None in counts else counts[-1]

    @property
    def own_count(self) -> int | None:
        """Return the same as if the technique had not been replaced."""
        if self._technique is None or self._loops_end_early:
            return None
        return len(self._all)

    def most_charge_mah_cm2(self, number: int) -> float | None:
        """Return the most charge that a half-cycle may pass, mAh/cm2; None if that is not known.

        That of its limits of charge and time; at a set potential nobody knows it before.
        """
        if self.count is None or number < 1:
            return None
        steps = next(iter(self.in_half_cycle(number).between(number, number)), ())
        if not steps:
            return None
        found = [
            abs(step.current_density_ma_cm2) * step.expected_s / 3600
            for step in steps
            if isinstance(step, GalvanostaticStep)
        ]
        most = math.fsum(found)
        return most if len(found) == len(steps) and math.isfinite(most) else None

    def held_at_v(self, role: Role, number: int = 1) -> tuple[float, ...]:
        """Return at which potentials of the metal electrode half-cycles of a role are held, V.

        Those of the technique that held in the half-cycle ``number``; NaN for what counts from the
        open circuit potential before it.
        """
        held = (
            step
            for steps in self.in_half_cycle(number).written
            for step in steps
            if isinstance(step, PotentiostaticStep) and step.role == role
        )
        return tuple(
            math.nan if step.versus == "open_circuit" else step.potential_v for step in held
        )

    def candidates(self, number: int, role: Role) -> tuple[HalfCycleSteps, ...]:
        """Return what a half-cycle consists of; all of its role where loops may end early."""
        written = tuple(steps for steps in self.written if steps[0].role == role)
        if not self._loops_end_early and 0 < number <= len(self._all):
            steps = self._all[number - 1]
            if steps[0].role == role:
                return (steps,)
        return written

    def between(self, first: int, last: int | None) -> tuple[HalfCycleSteps, ...]:
        """Return what the half-cycles from one number to another consist of.

        All that are written out where these are all, or where loops may end early.
        """
        if (first, last) == (1, None) or self._loops_end_early:
            return self.written
        return self._all[first - 1 : last]

    @cached_property
    def written(self) -> tuple[HalfCycleSteps, ...]:
        """Return what each half-cycle consists of that is written out, loops once."""
        return () if self._technique is None else tuple(_half_cycles(self._technique, once=True))

    @cached_property
    def _all(self) -> tuple[HalfCycleSteps, ...]:
        return () if self._technique is None else tuple(_half_cycles(self._technique))

    @cached_property
    def _loops_end_early(self) -> bool:
        return any(
            limit.action == "end_loop"
            for steps in self.written
            for step in steps
            for limit in step.until
        )


def changes_told(start: Mapping[str, Any]) -> list[tuple[int, object]]:
    """Return the other techniques an experiment had come under before a run, as that tells.

    With the number of the first half-cycle of each.
    """
    told = start.get("amendments")
    entries = told if isinstance(told, list | tuple) else ()
    return [(int(one["half_cycle"]), one["technique"]) for one in entries]


def _half_cycles(technique: Technique, *, once: bool = False) -> Iterator[HalfCycleSteps]:
    """Yield what each half-cycle consists of, in their order; loops ``once`` if asked."""
    steps: HalfCycleSteps = ()
    for step in _steps_with_a_role(technique, once=once):
        goes_on = isinstance(step, PotentiostaticStep) and step.continues_half_cycle
        if steps and not goes_on:
            yield steps
            steps = ()
        steps = (*steps, step)
    if steps:
        yield steps


def _steps_with_a_role(
    technique: Technique, *, once: bool
) -> Iterator[GalvanostaticStep | PotentiostaticStep]:
    match technique:
        case Sequence():
            for step in technique.steps:
                yield from _steps_with_a_role(step, once=once)
        case Repeat():
            for _ in range(1 if once else technique.times):
                yield from _steps_with_a_role(technique.step, once=once)
        case Block():
            yield from _steps_with_a_role(technique.step, once=once)
        case PlateStripCycle():
            for _ in range(1 if once else technique.cycles):
                for half in technique.halves:
                    yield from technique.goes_on_with(half)
        case GalvanostaticStep() | PotentiostaticStep() if technique.role is not None:
            yield technique


def _ending(
    steps: HalfCycleSteps,
    potential_v: float,
    from_first_row_s: float,
    since_edge_s: float | None,
    parts: int,
) -> Ending:
    step = steps[-1]
    cut_offs = [
        limit.value
        for limit in step.until
        if limit.quantity in ("potential_above_v", "abs_potential_above_v")
    ]
    cut_off_v = min(cut_offs, default=None)
    if isinstance(step, PotentiostaticStep):
        return Ending(None, None, cut_off_v)
    for limit in step.until:
        match limit.quantity:
            case "potential_above_v":
                beyond = potential_v - limit.value
            case "potential_below_v":
                beyond = limit.value - potential_v
            case "abs_potential_above_v":
                beyond = abs(potential_v) - limit.value
            case _:
                continue
        if beyond >= -CUT_OFF_WITHIN_V:
            return Ending(
                True, "potential", cut_off_v, step.record.check_interval_s(step.expected_s)
            )
    check_s = parts * step.record.check_interval_s(step.expected_s)
    if since_edge_s is None:
        lasted_s, within_s = from_first_row_s, 2 * check_s
    else:
        lasted_s, within_s = since_edge_s + from_first_row_s, check_s
    if lasted_s < step.expected_s * (1 - 1e-6) - within_s:
        return Ending(False, None, cut_off_v)
    return Ending(True, "guard" if _is_guarded(step) else "charge", cut_off_v)


def _is_guarded(step: GalvanostaticStep) -> bool:
    """Return whether the first of a step's charges and times to come ends the program."""
    rate = step.current_density_ma_cm2 / 3600
    ends = [
        (limit.value if limit.quantity == "time_s" else limit.value / abs(rate), limit.action)
        for limit in step.until
        if limit.quantity in ("time_s", "charge_mah_cm2")
    ]
    first_s = min((end_s for end_s, _ in ends), default=math.inf)
    return all(action == "stop" for end_s, action in ends if end_s <= first_s * (1 + 1e-9))


def first_plating_s(technique: object) -> float | None:
    """Return how long the first plating of a stored technique lasts at most, s; None: not known."""
    try:
        known = _TECHNIQUE.validate_python(technique)
    except ValidationError:
        return None
    for steps in _half_cycles(known, once=True):
        if steps[0].role == "plate":
            return sum(step.expected_s for step in steps)
    return None


def planned_strips_mah_cm2(
    technique: object, first: int = 1, last: int | None = None
) -> set[float]:
    """Return the charges that a stored technique's strips end by, mAh/cm2; none if not known.

    Strips that a potential ends are asked for all metal, and have none; nor have those at a set
    potential, whose charge nobody sets.

    Args:
        technique: As it was stored.
        first: The first half-cycle that was under it, by its number.
        last: The last one; ``None``: it came to its end under it.
    """
    planned = PlannedHalfCycles(technique)
    found = set()
    for steps in planned.between(first, last):
        step = steps[0]
        if step.role != "strip" or len(steps) > 1 or isinstance(step, PotentiostaticStep):
            continue
        cut_off = any(
            limit.quantity.endswith("potential_above_v") and limit.action != "stop"
            for limit in step.until
        )
        if not cut_off:
            ends = [limit.value for limit in step.until if limit.quantity == "charge_mah_cm2"]
            ends += [
                step.current_density_ma_cm2 * limit.value / 3600
                for limit in step.until
                if limit.quantity == "time_s"
            ]
            found.add(min(ends))
    return found


def has_strips(technique: object, first: int = 1, last: int | None = None) -> bool:
    """Return whether half-cycles of a stored technique strip; arguments as for the charges.

    Of one that this version does not understand it may.
    """
    planned = PlannedHalfCycles(technique)
    return not planned.written or any(
        steps[0].role == "strip" for steps in planned.between(first, last)
    )


def strip_cut_offs_v(technique: object, first: int = 1, last: int | None = None) -> set[float]:
    """Return the potentials above which a stored technique's strips end, V; none if not known.

    As it tells them, whatever they count from; arguments as for `planned_strips_mah_cm2`. Of one
    that this version does not understand those of all its strips.
    """
    planned = PlannedHalfCycles(technique)
    if not planned.written:
        return set(_strip_limits_v(technique))
    return {
        limit.value
        for steps in planned.between(first, last)
        for step in steps
        if step.role == "strip"
        for limit in step.until
        if limit.quantity in _ABOVE
    }


def _strip_limits_v(technique: object) -> Iterator[float]:
    if isinstance(technique, Mapping):
        for part in technique.values():
            yield from _strip_limits_v(part)
        if technique.get("role") == "strip":
            for limit in technique.get("until", ()):
                if limit.get("quantity") in _ABOVE:
                    yield float(limit["value"])
    elif isinstance(technique, list | tuple):
        for part in technique:
            yield from _strip_limits_v(part)
