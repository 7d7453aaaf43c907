"""What is there to be plated on, and what a change of the protocol tells."""

import dataclasses
import math
from typing import Any

import pytest

from instruments.errors import SafetyLimitError
from instruments.potentiostat.contract import PLATE, REST, STRIP, ImpedancePoint, Sample
from plans.changes import Amendment, Changes, NotDoneError
from plans.course import Course
from plans.deposit import Deposit
from plans.going_on import LEFT, Following, amended_program
from plans.progress import Progress
from plans.rules import Watch
from techniques import (
    Amend,
    Assignment,
    Counters,
    Limit,
    OpenCircuit,
    PositionError,
    PotentiostaticStep,
    Protocol,
    Repeat,
    SafetyLimits,
    Sequence,
    SkipStep,
    TakeSpectrum,
    Technique,
)
from techniques.amended import half_cycles_of
from tests.techniques.test_amended import cycling, half

AREA_CM2, CURRENT_A, ROW_S = 1.131, 1.131e-3, 60.0


def rows(*halves: tuple[int, float], begin: int = 0, first_step: int = 1) -> list[Sample]:
    """Return rows of half-cycles (role, mAh/cm2) at 1 mA/cm2, one a minute, a rest after each."""
    found, t_s = [], 0.0
    for number, (role, charge) in enumerate(halves, begin + 1):
        for place, (kind, seconds) in enumerate(((role, 3600 * charge), (REST, 60.0))):
            step = first_step + 2 * (number - begin - 1) + place
            for row in range(1, round(seconds / ROW_S) + 1):
                where = ((number + 1) // 2, number, step, kind, 0, 0)
                current_a = kind * CURRENT_A
                found.append(Sample(t_s + row * ROW_S, row * ROW_S, 0.05 * kind, current_a, *where))
            t_s += seconds
    return found


def deposit(*halves: tuple[int, float], skipped: int = 0) -> float:
    found = Deposit(AREA_CM2)
    for row in rows(*halves):
        if row.half_cycle > skipped:
            found.keep(skipped)
        found.take(row)
    return found.mah_cm2


def test_a_deposit_is_what_was_plated_since_the_last_whole_strip() -> None:
    assert deposit((PLATE, 1.0)) == pytest.approx(1.0, rel=1e-6)
    assert deposit((PLATE, 1.0), (STRIP, 0.4)) == pytest.approx(0.6, rel=1e-6)
    # What a strip leaves that came to its end is dead, and counts as nothing.
    assert deposit((PLATE, 1.0), (STRIP, 0.9), (PLATE, 0.5)) == pytest.approx(0.5, rel=1e-6)
    assert deposit((PLATE, 1.0), (STRIP, 0.3), (PLATE, 0.5), skipped=2) == pytest.approx(1.2)
    assert deposit((PLATE, 1.0), (PLATE, 1.0)) == pytest.approx(2.0)
    assert deposit((STRIP, 1.0)) == 0.0


def test_a_spectrum_puts_no_metal_there() -> None:
    found = Deposit(AREA_CM2)
    found.take(ImpedancePoint(1.0, 1, 1, 1, 1, 1e3, 10.0, -1.0, 0, 0))
    assert found.mah_cm2 == 0.0


class Leader:
    """A potentiostat as far as a request looks at it."""

    name, in_columns, finished = "potentiostat", False, False
    limits = SafetyLimits(charge_max_mah_cm2=1.5)
    refuses = ""

    remarks: tuple[str, ...] = ()
    stop_reason, lost_rows, parent = None, 0, None

    @property
    def log_told(self) -> dict[str, None]:
        return {"name": None}

    def on_measured(self, _: Any) -> Any:
        return lambda: None

    def ended(self, ending: str, progress: Progress) -> None:
        self.program_end = dataclasses.replace(progress.now(), ending=ending)  # type: ignore[arg-type]
        self.counters = self.program_end.counters

    def latest(self) -> None:
        """Return nothing: the position of a request is then that of the program's beginning."""

    def check(self, assignment: Assignment) -> SafetyLimits:
        if self.refuses:
            raise SafetyLimitError(self.refuses)
        return assignment.limits


def course_of(technique: Technique, seen: list[Sample], there: float) -> tuple[Changes, Course]:
    limits = SafetyLimits(potential_min_v=-1, potential_max_v=1)
    assignment = Assignment(technique=technique, area_cm2=AREA_CM2, limits=limits)
    changes = Changes(None, None, technique, None, None, None)  # type: ignore[arg-type]
    course = Course(Leader(), assignment, changes=changes)  # type: ignore[arg-type]
    course.progress = Progress(technique, Counters(), AREA_CM2, 1)
    for row in seen:
        course.progress.take(row)
    course.deposit = Deposit(AREA_CM2, there)
    return changes, course


def test_a_strip_is_not_skipped_where_the_next_plating_would_be_too_much() -> None:
    technique = cycling(1.0, 5)
    seen = rows((PLATE, 1.0), (STRIP, 0.2))[:-1]
    changes, course = course_of(technique, seen, 0.8)
    with pytest.raises(NotDoneError, match=r"0\.8 mAh/cm2 of metal are there.*up to 1\.8 mAh"):
        changes._skippable(course)
    _, course = course_of(technique, seen, 0.1)
    assert changes._skippable(course) == ("strip step (cycle 1, half-cycle 2)", 3)


def test_what_an_interrupted_run_left_there_counts_when_it_goes_on() -> None:
    technique = cycling(1.0, 5)
    left = {"deposit_mah_cm2": 0.8, "half_cycle": 2}
    seen = rows((STRIP, 0.2), begin=1)[:-1]
    there = Deposit.as_left(AREA_CM2, left, 1, "strip")
    for row in seen:
        there.take(row)
    assert there.mah_cm2 == pytest.approx(0.6)
    changes, course = course_of(technique, rows((PLATE, 1.0), (STRIP, 0.2))[:-1], 0.0)
    course.deposit = there
    with pytest.raises(NotDoneError, match=r"0\.6 mAh/cm2 of metal are there.*up to 1\.6 mAh"):
        changes._skippable(course)
    # It comes to its end: nothing counts of what it leaves.
    assert there.behind(2) == 0.0
    for row in rows((PLATE, 0.5), begin=2, first_step=5):
        there.take(row)
    assert there.mah_cm2 == pytest.approx(0.5)
    # A strip that was left out leaves it.
    there = Deposit.as_left(AREA_CM2, left, 2, "plate")
    for row in rows((PLATE, 0.5), begin=2, first_step=5):
        there.take(row)
    assert there.mah_cm2 == pytest.approx(1.3)
    assert Deposit.as_left(AREA_CM2, left, 2, "plate").behind(2) == 0.8
    assert Deposit.as_left(AREA_CM2, left, 1, "strip").behind(2) == 0.0
    assert Deposit.as_left(AREA_CM2, left, 1, "plate").behind(2) == 0.8


def test_a_rest_behind_a_whole_strip_is_skipped_whatever_that_has_left() -> None:
    changes, course = course_of(cycling(1.0, 5), [], 0.0)
    assert course.deposit is not None
    assert course.progress is not None
    *seen, rested = rows((PLATE, 1.0), (STRIP, 0.4))
    for row in (*seen, rested._replace(step_t_s=30.0)):
        course.progress.take(row)
        course.deposit.take(row)
    changes.begun = 2
    assert changes._skippable(course)[0].startswith("open circuit")


def test_a_change_is_not_made_where_with_what_is_there_it_would_be_too_much() -> None:
    seen = [row for row in rows((PLATE, 1.0), (STRIP, 0.2)) if row.role != REST or row.step == 2]
    rested = rows((PLATE, 1.0), (STRIP, 0.2))[-1]._replace(step_t_s=30.0)
    technique, other = cycling(1.0, 5), cycling(0.9, 5)
    for skipped, made in ((0, True), (2, False)):
        changes, course = course_of(technique, [], 0.0)
        leader: Any = course.potentiostat
        assert course.progress is not None
        assert course.deposit is not None
        for row in (*seen, rested):
            course.progress.take(row)
            course.deposit.take(row)
        course.deposit.keep(skipped)
        leader.ended("opened", course.progress)
        limits = course.assignment.limits
        asked = Amend(by="Ada", protocol=Protocol(name="other", cell="c", technique=other))
        changes.amendment = amendment = Amendment(asked, other, limits, limits, (), 2)
        going = course.progress.stood(leader.program_end)
        found = amended_program(course, changes, amendment, going)
        assert found is not None
        assert bool(changes.made) is made
        assert (found.why == LEFT) is not made
    (told,) = course.remarks
    assert "was not amended by Ada: 0.8 mAh/cm2 of metal are there" in told
    assert "up to 1.8 mAh/cm2" in told


def test_a_step_is_not_skipped_where_the_program_stands_nowhere_certain() -> None:
    technique = cycling(1.0, 5)
    changes, course = course_of(technique, [], 0.0)
    with pytest.raises(NotDoneError, match="no row of the program has arrived yet"):
        changes._skippable(course)
    lost = [row for row in rows((PLATE, 1.0), (STRIP, 0.2)) if row.step != 2]
    _, course = course_of(technique, lost[:-1], 0.0)
    with pytest.raises(NotDoneError, match="no row of step 2 arrived"):
        changes._skippable(course)
    changes.skip = (3, SkipStep(by="Bob"))
    with pytest.raises(NotDoneError, match="a step is being skipped for Bob"):
        changes._skippable(course)


def test_how_far_a_program_came_is_told_with_what_ran_since_the_last_half_cycle() -> None:
    progress = Progress(cycling(1.0, 5), Counters(), AREA_CM2, 1)
    with pytest.raises(PositionError, match="no row"):
        progress.now()
    for row in rows((PLATE, 1.0))[:-1]:
        progress.take(row)
    stood = progress.stood(progress.now())
    assert (stood.since, stood.left.half_cycle) == ((), 1)
    for row in rows((PLATE, 1.0), (STRIP, 0.5)):
        if row.step > 1:
            progress.take(row)
    stood = progress.stood(progress.now())
    assert stood.since == ("open_circuit",)
    assert math.isclose(stood.left.half_cycle, 2)


def going_on(
    technique: Technique,
    other: Technique,
    seen: list[Sample],
    ending: str,
    refuses: str = "",
    watch: Watch | None = None,
) -> tuple[Following | None, Course]:
    """Return with what a run goes on under ``other`` where its rows and its program ended."""
    changes, course = course_of(technique, seen, 0.0)
    assert course.deposit is not None
    course.watch = watch
    for row in seen:
        course.deposit.take(row)
    leader: Any = course.potentiostat
    leader.refuses = refuses
    assert course.progress is not None
    leader.ended(ending, course.progress)
    stood = None if ending == "complete" else course.progress.stood(leader.program_end)
    asked = Amend(by="Ada", protocol=Protocol(name="other", cell="c", technique=other))
    limits = course.assignment.limits
    amendment = Amendment(asked, other, limits, limits, (), 1)
    changes.amendment = amendment
    return amended_program(course, changes, amendment, stood), course


def test_a_change_in_the_last_half_cycle_makes_the_experiment_longer() -> None:
    seen = rows((PLATE, 1.0), (STRIP, 1.0))
    found, course = going_on(cycling(1.0, 1), cycling(2.0, 3), seen, "complete")
    assert found is not None
    assert (found.begin.cycle, found.begin.half_cycle) == (1, 2)
    assert half_cycles_of(found.technique) == 4
    assert "amended by Ada to protocol 'other' from half-cycle 3 on" in course.remarks
    assert course.told_besides["amendments"][0]["half_cycle"] == 3


def test_a_protocol_that_has_no_half_cycle_left_ends_the_experiment() -> None:
    seen = rows((PLATE, 1.0), (STRIP, 1.0))
    seen[-1] = seen[-1]._replace(step_t_s=30.0)
    found, course = going_on(cycling(1.0, 9), half("plate", 1.0, 1.0), seen, "opened")
    assert found is None
    assert course.ended_by.endswith("from half-cycle 3 on: that ends behind half-cycle 1")


def test_a_strip_of_which_nothing_is_left_leaves_its_metal() -> None:
    *seen, _ = rows((PLATE, 1.0), (STRIP, 0.2))
    less = cycling(1.0, 2).model_copy(update={"strip": half("strip", 1.0, 0.1)})
    found, course = going_on(cycling(1.0, 5), less, seen, "opened")
    # 0.8 mAh/cm2 and 1 more would be too much.
    assert found is not None
    assert found.why == LEFT
    (told,) = course.remarks
    assert "was not amended by Ada: 0.8 mAh/cm2 of metal are there" in told
    assert course.deposit is not None
    assert course.deposit.behind(2) == 0.0  # it goes on to its end after all
    less = less.model_copy(update={"plate": half("plate", 1.0, 0.5)})
    found, course = going_on(cycling(1.0, 5), less, seen, "opened")
    assert found is not None
    assert found.begin.half_cycle == 2
    assert course.deposit is not None
    assert course.deposit.behind(2) == pytest.approx(0.8)


def test_nothing_is_left_of_the_half_cycle_that_is_the_last_one_under_the_new_protocol() -> None:
    *seen, _ = rows((PLATE, 0.2))
    found, course = going_on(cycling(1.0, 5), half("plate", 1.0, 0.1), seen, "opened")
    assert found is None
    assert "from half-cycle 2 on (half-cycle 1 had passed all that" in course.ended_by
    assert course.ended_by.endswith("that ends behind half-cycle 1")
    assert course.told_besides["amendments"][0]["half_cycle"] == 2


def loop(times: int) -> Technique:
    """Return plating and stripping that a potential leaves, and a last plating."""
    leave = Limit(quantity="potential_above_v", value=0.04, action="end_loop")
    strip = half("strip", 1.0, 1.0)
    strip = strip.model_copy(update={"until": (*strip.until, leave)})
    rest = OpenCircuit(duration_s=60)
    inside = Sequence(steps=(half("plate", 1.0, 1.0), rest, strip))
    return Sequence(steps=(Repeat(times=times, step=inside), rest, half("plate", 1.0, 1.0)))


def test_where_a_loop_was_left_early_half_cycles_have_no_common_numbers() -> None:
    early = rows((PLATE, 1.0), (STRIP, 0.5))
    early = [row._replace(cycle=0) for row in early]
    found, course = going_on(loop(5), loop(6), early[:-1], "opened")
    assert found is not None
    assert found.why == LEFT
    (told,) = course.remarks
    assert "was not amended by Ada: a limit has left a loop early" in told


def test_where_the_instrument_refuses_the_rest_it_goes_on_as_it_was() -> None:
    seen = [row for row in rows((PLATE, 1.0)) if row.role == PLATE]
    half_rested = rows((PLATE, 1.0))[-1]._replace(step_t_s=30.0)
    told = cycling(1.0, 4), cycling(2.0, 4), [*seen, half_rested], "opened"
    found, course = going_on(*told, "too much for it")
    assert found is not None
    assert found.why == LEFT
    assert course.remarks == ["the protocol was not amended by Ada: too much for it"]
    assert "amendments" not in course.told_besides
    # A resume would make it, were it not on record.
    assert course.changes is not None
    noted = [message.obj for message in course.changes.tell_dropped(course) if message.obj]
    reading = {key: one["value"] for key, one in noted[0].read().items()}
    told_of_it = [reading[f"requests_{key}"] for key in ("t", "request", "by", "why")]
    assert told_of_it == [0.0, "not amended", "Ada", "too much for it"]
    assert list(course.changes.tell_dropped(course)) == []
    found, _ = going_on(*told)
    assert found is not None
    assert (found.begin.half_cycle, half_cycles_of(found.technique)) == (1, 7)


def test_a_hold_that_goes_on_with_the_half_cycle_is_let_go_on() -> None:
    hold = PotentiostaticStep(
        role="plate",
        potential_v=-0.05,
        continues_half_cycle=True,
        until=(Limit(quantity="time_s", value=600),),
    )
    technique = cycling(1.0, 4).model_copy(update={"plate_hold": hold, "rest_s": 0.0})
    seen = [row for row in rows((PLATE, 1.0)) if row.role == PLATE]
    held = [row._replace(step=2, t_s=row.t_s + 3600) for row in seen[:3]]
    found, course = going_on(technique, technique, [*seen, *held], "opened")
    assert found is not None
    assert found.why == LEFT
    assert course.changes is not None
    assert course.changes.amendment is not None
    assert course.changes.amendment.behind == 1
    assert course.remarks == []


@pytest.mark.parametrize("ending", ["opened", "complete"])
def test_a_spectrum_of_a_rule_that_was_skipped_is_told_of(ending: str) -> None:
    changes, course = course_of(cycling(1.0, 4), rows((PLATE, 1.0))[:-1], 0.0)
    leader: Any = course.potentiostat
    assert course.progress is not None
    leader.ended("opened", course.progress)
    wish = TakeSpectrum()

    def run_program() -> Any:
        yield from ()
        leader.program_end = dataclasses.replace(leader.program_end, ending=ending)
        changes.skip = 3, SkipStep(by="Bob", why="too long")

    gone_on: list[Following | None] = []

    def plan() -> Any:
        gone_on.append((yield from course._take_spectrum(wish, run_program)))

    list(plan())
    (found,) = gone_on
    assert found is not None
    assert changes.skip is None
    if ending == "complete":
        assert (found.why, course.remarks) == (
            LEFT,
            ["the step that Bob asked to skip had just ended"],
        )
    else:
        told = "impedance spectrum of a rule (cycle 1, half-cycle 1) skipped by Bob: too long"
        assert (found.why, course.remarks) == (told, [told])
