"""What a technique does behind its n-th half-cycle, where another one has come: data in, data out.

Half-cycles are counted as the technique is written. Where a limit leaves a loop early there are
fewer of them, and a place in it is not told by their number.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Several

from techniques.assignment import elementary_steps
from techniques.limits import Action
from techniques.programs import Block, Repeat, Sequence
from techniques.remaining import (
    Interrupted,
    PositionError,
    Remaining,
    _after,
    _counts,
    _first,
    _joined,
    _next_cycles,
    _one_pass,
    _rest,
    _rest_of_cycle,
    _role,
    left_of,
)
from techniques.steps import ElementaryStep, PlateStripCycle, Role
from techniques.technique import Technique


def half_cycles_of(technique: Technique | None) -> int:
    """Return how many half-cycles a program has, as written."""
    match technique:
        case None:
            return 0
        case Sequence():
            return sum(map(half_cycles_of, technique.steps))
        case Repeat():
            return technique.times * half_cycles_of(technique.step)
        case Block():
            return half_cycles_of(technique.step)
        case PlateStripCycle():
            return 2 * technique.cycles
    return sum(map(_counts, elementary_steps(technique)))


def cycles_begun(technique: Technique | None, half_cycles: int) -> int:
    """Return how many cycles of a program have begun when so many of its half-cycles have."""
    match technique:
        case Sequence():
            begun = 0
            for step in technique.steps:
                inside = half_cycles_of(step)
                begun += cycles_begun(step, min(half_cycles, inside))
                half_cycles -= min(half_cycles, inside)
            return begun
        case Repeat():
            inside = half_cycles_of(technique.step)
            if not inside:
                return 0
            passes, within = divmod(min(half_cycles, technique.times * inside), inside)
            each = cycles_begun(technique.step, inside)
            return passes * each + cycles_begun(technique.step, within)
        case Block():
            return cycles_begun(technique.step, half_cycles)
        case PlateStripCycle():
            return (min(half_cycles, 2 * technique.cycles) + 1) // 2
    return 0


def behind(technique: Technique, half_cycles: int) -> Technique | None:
    """Return what a program does behind that many of its half-cycles; ``None``: nothing.

    A hold with which the last of them goes on belongs to it; a rest or a spectrum after it does
    not. Behind none of them is the whole program.
    """
    if half_cycles == 0:
        return technique
    if half_cycles > half_cycles_of(technique):
        return None
    left = _behind(technique, half_cycles)
    while left is not None:
        step, _ = _first(left)
        if _role(step) is None or _counts(step):
            break
        left, _ = _after(left, None, leaving=False)
    return left


def _behind(technique: Technique, number: int) -> Technique | None:
    match technique:
        case Sequence():
            for index, step in enumerate(technique.steps):
                inside = half_cycles_of(step)
                if number <= inside:
                    return _joined(_behind(step, number), *technique.steps[index + 1 :])
                number -= inside
        case Repeat():
            passes, within = _passes(number, half_cycles_of(technique.step))
            more = technique.times - passes - 1
            again = technique.model_copy(update={"times": more}) if more else None
            return _one_pass(_behind(technique.step, within), again)
        case Block():
            return _behind(technique.step, number)
        case PlateStripCycle():
            passes, within = _passes(number, 2)
            cycle = _at_pass(technique, passes)
            rest = _rest_of_cycle(cycle) if within == 1 else _rest(cycle, cycle.halves[1].record)
            if within == 2:
                rest = [*cycle.goes_on_with(cycle.halves[1])[1:], *rest]
            return _one_pass(_joined(*rest), _next_cycles(cycle))
    return None


def _passes(number: int, in_a_pass: int) -> tuple[int, int]:
    """Return how many passes were whole before the one with that half-cycle, and its number."""
    passes = (number - 1) // in_a_pass
    return passes, number - passes * in_a_pass


def _at_pass(cycle: PlateStripCycle, passes: int) -> PlateStripCycle:
    """Return what is left of ``cycle`` after whole passes; ``between`` keeps to its own count."""
    first = (cycle.between_first - passes - 1) % cycle.between_every + 1
    if passes < cycle.between_first:
        first = cycle.between_first - passes
    return cycle.model_copy(update={"cycles": cycle.cycles - passes, "between_first": first})


def half_cycle_begun(technique: Technique, number: int) -> ElementaryStep | None:
    """Return the step with which the n-th half-cycle of a program begins; ``None``: there is none.

    Args:
        technique: A program.
        number: From 1.
    """
    left = behind(technique, number - 1)
    while left is not None:
        step, _ = _first(left)
        if _counts(step):
            return step
        left, _ = _after(left, None, leaving=False)
    return None


def amended(
    technique: Technique,
    half_cycles: int,
    cycle: int,
    since: Several[str] = (),
    interrupted: Interrupted | None = None,
    *,
    role: Role | None = None,
) -> Remaining:
    """Return with what a program goes on where another one stood.

    Of steps that ran already behind the last half-cycle it leaves out those that it has there as
    well; of the last of them, or of a half-cycle that had begun, what had passed of it.

    Args:
        technique: A program.
        half_cycles: How many half-cycles are over.
        cycle: The counter so far, that of a half-cycle that had begun included.
        since: The types of the steps that were begun since, rests and spectra.
        interrupted: How far the last of these, or the half-cycle, had come; ``None``: it had ended.
        role: Of the half-cycle that had begun; ``None``: none had.

    Raises:
        PositionError: A half-cycle had begun, and here the next one is another, or there is none.
    """
    left = behind(technique, half_cycles)
    if role is not None:
        return _in_half_cycle(left, half_cycles, cycle, interrupted or Interrupted(0.0), role)
    for number, kind in enumerate(since, 1):
        if left is None or _first(left)[0].type != kind:
            break
        step, _ = _first(left)
        last = number == len(since)
        rest = left_of(step, interrupted) if last and interrupted is not None else None
        left, _ = _after(left, rest, leaving=False)
    return Remaining(left, cycle, half_cycles)


def _in_half_cycle(
    left: Technique | None, half_cycles: int, cycle: int, interrupted: Interrupted, role: Role
) -> Remaining:
    while left is not None and not _counts(_first(left)[0]):
        # What it would do between the half-cycles was passed over by the other program.
        left, _ = _after(left, None, leaving=False)
    step = None if left is None else _first(left)[0]
    if left is None or step is None or _role(step) != role:
        found = "nothing is left" if step is None else f"it is to {_role(step)}"
        raise PositionError(f"half-cycle {half_cycles + 1} has begun to {role}, and there {found}")
    rest = left_of(step, interrupted)
    left, _ = _after(left, rest, leaving=False)
    # What is left of a half-cycle has its number; where nothing is, the next one has the next.
    return Remaining(left, cycle, half_cycles + (rest is None), None if rest is None else step)


def first_half_cycle(program: Technique | None, half_cycle: int) -> int:
    """Return the number of the first half-cycle that runs under another technique.

    One that had begun is the first if the program goes on with any of it, with its current or with
    the hold behind that. If nothing of it is left it ran under the technique before, the next one
    is the first.

    Args:
        program: With what it goes on; ``None``: nothing is left.
        half_cycle: The counter that this goes on from, as `amended` tells it.
    """
    step = None if program is None else _first(program)[0]
    goes_on = step is not None and _role(step) is not None and not _counts(step)
    return half_cycle if goes_on else half_cycle + 1


def ends_loops(technique: Technique) -> bool:
    """Return whether a limit may leave a loop early: half-cycles have other numbers behind it."""
    actions: Iterator[Action] = (
        limit.action for step in elementary_steps(technique) for limit in getattr(step, "until", ())
    )
    return "end_loop" in actions
