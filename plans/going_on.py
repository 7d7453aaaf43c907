"""With what a run goes on behind a program that was ended before its time, or changed."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from instruments.errors import InstrumentError
from plans.changes import (
    Amendment,
    Changes,
    NotDoneError,
    refuse_too_thick,
    told_of_change,
    told_of_skip,
)
from plans.progress import Stood
from techniques import (
    Counters,
    ImpedanceSpectrum,
    PositionError,
    Remaining,
    Technique,
    without_first_step,
)
from techniques.amended import amended, first_half_cycle, half_cycles_of
from techniques.amended import behind as program_behind
from techniques.remaining import name_of

if TYPE_CHECKING:
    from plans.course import Course

# Why a program goes on that was ended for something else.
LEFT = "what was left of the program"


@dataclass(frozen=True)
class Following:
    """A further program of a run.

    Attributes:
        technique: What it does.
        begin: The counters it goes on from.
        why: In words, for the record.
    """

    technique: Technique
    begin: Counters
    why: str


def following(course: "Course", left: Remaining, why: str) -> Following | None:
    """Return a program that goes on with what is left; ``None``: nothing is."""
    if left.technique is None:
        return None
    update = {"cycle": left.cycle, "half_cycle": left.half_cycle}
    return Following(left.technique, course.potentiostat.counters.model_copy(update=update), why)


def behind_the_step(course: "Course", changes: Changes, stood: Stood) -> Following | None:
    """Return what is behind the step that is to be skipped.

    Args:
        course: The course of the run.
        changes: What was asked.
        stood: Where the program was ended.
    """
    assert changes.skip is not None  # somebody has asked
    (number, asked), changes.skip = changes.skip, None
    left = stood.left
    end = course.potentiostat.program_end
    if left.step is None or end.counters.step != number:
        told = f"the step that {asked.by} asked to skip had just ended"
        return _behind(course, left, told, LEFT)
    at = f"(cycle {end.counters.cycle}, half-cycle {end.counters.half_cycle})"
    told = told_of_skip(asked, f"{name_of(left.step)} {at}")
    if left.step_is_half_cycle:
        _not_to_its_end(course, end.counters.half_cycle, told)
    return _behind(course, without_first_step(left), told, told)


def _not_to_its_end(course: "Course", half_cycle: int, told: str) -> None:
    """Note that a half-cycle does not come to its end: a strip leaves its metal there."""
    course.skipped = (half_cycle, told)
    if course.deposit is not None:
        course.deposit.keep(half_cycle)
    if course.watch is not None:
        course.watch.skipped(half_cycle)


def behind_the_spectrum(
    course: "Course", changes: Changes | None, spectrum: ImpedanceSpectrum, left: Remaining
) -> Following | None:
    """Return what is behind the spectrum of a rule, which somebody may have asked to skip.

    Args:
        course: The course of the run.
        changes: What was asked; ``None``: nothing is heard.
        spectrum: That of the rule, whose program is over.
        left: What was left of the program before it.
    """
    if changes is None or changes.skip is None:
        return following(course, left, LEFT)
    (_, asked), changes.skip = changes.skip, None
    end = course.potentiostat.program_end
    if end.ending in ("complete", "stopped"):
        course.remark(f"the step that {asked.by} asked to skip had just ended")
        return following(course, left, LEFT)
    at = f"(cycle {end.counters.cycle}, half-cycle {end.counters.half_cycle})"
    told = told_of_skip(asked, f"{name_of(spectrum)} of a rule {at}")
    course.remark(told)
    return following(course, left, told)


def _behind(course: "Course", left: Remaining, told: str, why: str) -> Following | None:
    if left.technique is None:
        course.ended_by = f"{told}: nothing is left behind it"
    else:
        course.remark(told)
    return following(course, left, why)


def amended_program(
    course: "Course", changes: Changes, amendment: Amendment, stood: Stood | None
) -> Following | None:
    """Return with what the run goes on under a change; the old way where it cannot be made.

    Args:
        course: The course of the run.
        changes: What was asked.
        amendment: The change.
        stood: Where the program was ended; ``None``: it came to its own end.
    """
    at = course.potentiostat.program_end.counters
    old = None if stood is None else following(course, stood.left, LEFT)
    left = Remaining(None, at.cycle, at.half_cycle) if stood is None else stood.left
    begun = left.step if left.step_is_half_cycle else None
    if getattr(begun, "continues_half_cycle", False):
        # A half-cycle that is not quite over: the next one is the first that changes.
        changes.amendment = replace(amendment, behind=left.half_cycle)
        return old
    changes.amendment = None
    behind, asked = left.half_cycle, amendment.asked
    try:
        if behind + half_cycles_of(left.technique) != half_cycles_of(changes.technique):
            raise PositionError(
                "a limit has left a loop early, and half-cycles have no numbers that both "
                "protocols share"
            )
        passed = None if stood is None else stood.interrupted
        if begun is not None:
            passed = course.passed.get(behind + 1, passed)
        since = course.progress.behind_the_end() if course.progress is not None else ()
        going = amended(
            amendment.technique,
            behind,
            at.cycle,
            since if stood is None else stood.since,
            passed,
            role=getattr(begun, "role", None),
        )
        first = first_half_cycle(going.technique, going.half_cycle)
        # Of the half-cycle that had begun nothing is left: it stays one of the old protocol.
        cut = begun is not None and first > behind + 1
        update = {"technique": going.technique, "limits": amendment.limits}
        assignment = course.assignment.model_copy(update=update)
        if going.technique is not None:
            course.potentiostat.check(assignment)
            rest = program_behind(amendment.technique, behind) or going.technique
            there = course.deposit_behind(behind)
            if cut:
                rest, there = going.technique, course.deposit_mah_cm2
            refuse_too_thick(course, there, rest, amendment.limits)
    except (PositionError, InstrumentError, NotDoneError) as error:
        changes.drop(asked, str(error), course)
        return old
    told = told_of_change(asked, first, cut=cut)
    changes.made_at(amendment, first, at.t_s)
    if cut:
        _not_to_its_end(course, behind + 1, told)
    if going.technique is None:
        course.ended_by = (
            f"{told}: that ends behind half-cycle {half_cycles_of(amendment.technique)}"
        )
        return None
    course.remark(told)
    course.assignment = assignment
    _watch_under(course, changes, amendment, first)
    return following(course, going, told)


def _watch_under(course: "Course", changes: Changes, amendment: Amendment, half_cycle: int) -> None:
    """Have the rules of a changed protocol hold, from that half-cycle on."""
    rules = amendment.rules
    if course.watch is not None:
        course.watch.rules = rules
    elif rules:
        course.watch = changes.watch_anew(rules)
        if course.watch is not None:
            course.watch.begin(course.potentiostat)
            course.readers.append(course.watch.read)
    if course.watch is not None:
        course.watch.amended(
            amendment.technique.model_dump(mode="json"),
            amendment.effective.model_dump(mode="json"),
            half_cycle,
        )
