"""Whether a half-cycle reached one of the limits that its technique gives it."""

from collections.abc import Iterator

from pydantic import TypeAdapter, ValidationError

from techniques import Block, GalvanostaticStep, PlateStripCycle, Repeat, Sequence, Technique
from techniques.steps import Role

# At the steep end of a strip this is no charge; noise of the last row must not hide its end.
CUT_OFF_WITHIN_V = 0.01
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

    A charge is checked as the time it takes, as the instrument does: at a set current it is one,
    and the error of the measured current stays out of it.

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
    return any(found) if found else None


def _candidates(technique: Technique, number: int, role: Role) -> list[GalvanostaticStep]:
    """Return the step a half-cycle belongs to; all of its role where loops may end early."""
    written = [step for step in _half_cycles(technique, once=True) if step.role == role]
    early = any(
        limit.action == "end_loop"
        for step in _half_cycles(technique, once=True)
        for limit in step.until
    )
    if not early:
        for count, step in enumerate(_half_cycles(technique), 1):
            if count == number:
                return [step] if step.role == role else written
    return written


def _half_cycles(technique: Technique, *, once: bool = False) -> Iterator[GalvanostaticStep]:
    """Yield the plate and strip steps in the order in which they run; loops ``once`` if asked."""
    match technique:
        case Sequence():
            for step in technique.steps:
                yield from _half_cycles(step, once=once)
        case Repeat():
            for _ in range(1 if once else technique.times):
                yield from _half_cycles(technique.step, once=once)
        case Block():
            yield from _half_cycles(technique.step, once=once)
        case PlateStripCycle():
            for _ in range(1 if once else technique.cycles):
                yield from technique.halves
        case GalvanostaticStep() if technique.role is not None:
            yield technique


def _reached(
    step: GalvanostaticStep,
    potential_v: float,
    from_first_row_s: float,
    since_edge_s: float | None,
    parts: int,
) -> bool:
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
    return next(
        (step.expected_s for step in _half_cycles(known, once=True) if step.role == "plate"), None
    )


def planned_strips_mah_cm2(technique: object) -> set[float]:
    """Return the charges that a stored technique's strips end by, mAh/cm2; none if not known.

    Strips that a potential ends are asked for all metal, and have none.
    """
    try:
        known = _TECHNIQUE.validate_python(technique)
    except ValidationError:
        return set()
    found = set()
    for step in _half_cycles(known, once=True):
        cut_off = any(
            limit.quantity.endswith("potential_above_v") and limit.action != "stop"
            for limit in step.until
        )
        if step.role == "strip" and not cut_off:
            ends = [limit.value for limit in step.until if limit.quantity == "charge_mah_cm2"]
            ends += [
                step.current_density_ma_cm2 * limit.value / 3600
                for limit in step.until
                if limit.quantity == "time_s"
            ]
            found.add(min(ends))
    return found
