"""Whether a half-cycle reached one of the limits that its technique gives it."""

from collections.abc import Iterator

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
# A set current, a set potential, or one after the other.
HalfCycleSteps = tuple[GalvanostaticStep | PotentiostaticStep, ...]
_TECHNIQUE: TypeAdapter[Technique] = TypeAdapter(Technique)


def reached_a_limit(
    technique: object,
    number: int,
    role: Role,
    *,
    potential_v: float,
    from_first_row_s: float,
    since_edge_s: float | None,
    parts: int = 1,
) -> bool | None:
    """Return whether a half-cycle ended by one of its own limits; None if that is not known.

    That is not known of one that ends at a set potential. A charge is checked as the time it takes,
    as the instrument does: at a set current it is one, and the error of the measured current stays
    out of it.

    Args:
        technique: The technique as the start document stores it.
        number: Which plating or stripping of the run, from 1.
        role: What it was.
        potential_v: Last potential of the metal electrode against the other, V.
        from_first_row_s: From its first row to its last, s, without interruptions.
        since_edge_s: From the step's edge to its first row, s; None if the instrument did not
            tell: then that row may have come one check interval after it.
        parts: In how many parts it ran; each may end one check interval early or late.
    """
    try:
        known = _TECHNIQUE.validate_python(technique)
    except ValidationError:
        return None
    found = [
        _reached(step, potential_v, from_first_row_s, since_edge_s, parts)
        for step in _candidates(known, number, role)
    ]
    if not found or (None in found and not any(found)):
        return None
    return any(found)


def _candidates(technique: Technique, number: int, role: Role) -> list[HalfCycleSteps]:
    """Return what a half-cycle consists of; all of its role where loops may end early."""
    written = [steps for steps in _half_cycles(technique, once=True) if steps[0].role == role]
    early = any(
        limit.action == "end_loop"
        for steps in _half_cycles(technique, once=True)
        for step in steps
        for limit in step.until
    )
    if not early:
        for count, steps in enumerate(_half_cycles(technique), 1):
            if count == number:
                return [steps] if steps[0].role == role else written
    return written


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


def _reached(
    steps: HalfCycleSteps,
    potential_v: float,
    from_first_row_s: float,
    since_edge_s: float | None,
    parts: int,
) -> bool | None:
    step = steps[-1]
    if isinstance(step, PotentiostaticStep):
        return None
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
            return True
    check_s = parts * step.record.check_interval_s(step.expected_s)
    if since_edge_s is None:
        lasted_s, within_s = from_first_row_s, 2 * check_s
    else:
        lasted_s, within_s = since_edge_s + from_first_row_s, check_s
    return lasted_s >= step.expected_s * (1 - 1e-6) - within_s


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


def planned_strips_mah_cm2(technique: object) -> set[float]:
    """Return the charges that a stored technique's strips end by, mAh/cm2; none if not known.

    Strips that a potential ends are asked for all metal, and have none; nor have those at a set
    potential, whose charge nobody sets.
    """
    try:
        known = _TECHNIQUE.validate_python(technique)
    except ValidationError:
        return set()
    found = set()
    for steps in _half_cycles(known, once=True):
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
