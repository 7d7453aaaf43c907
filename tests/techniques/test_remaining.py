"""What is left of a technique: executed and left together are the whole, wherever it was cut."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from techniques import (
    Block,
    CyclicVoltammetry,
    ExecutedStep,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Interrupted,
    Limit,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PositionError,
    PotentialControlled,
    PotentiostaticStep,
    Recording,
    Repeat,
    Sequence,
    Technique,
    remaining,
    without_first_step,
)
from techniques.remaining import ElementaryStep, how_it_ended

Limited = GalvanostaticStep | PotentialControlled

# -- an executor of its own: what an instrument does with a technique, step by step


@dataclass(frozen=True)
class Ran:
    step: ElementaryStep
    cycle: int
    half_cycle: int
    action: str

    @property
    def seen(self) -> ExecutedStep:
        role = getattr(self.step, "role", None)
        return ExecutedStep(
            # A row with a role does not tell whether the current or the potential was set.
            None if role is not None else self.step.type,
            role,
            self.cycle,
            self.half_cycle,
            self.action,  # type: ignore[arg-type]
        )

    @property
    def kept(self) -> tuple[Any, ...]:
        """Everything that must not change, whichever part of the technique it comes from."""
        return self.step, self.cycle, self.half_cycle, self.action


class Leave(Exception):  # noqa: N818 - control flow
    pass


class Stop(Exception):  # noqa: N818 - control flow
    pass


class Executor:
    """Runs a technique as the compiled program does; ``draw`` says which limit ends each step."""

    def __init__(self, draw: Any, cycle: int = 0, half_cycle: int = 0) -> None:
        self.draw, self.cycle, self.half_cycle = draw, cycle, half_cycle
        self.ran: list[Ran] = []

    def run(self, technique: Technique | None) -> list[Ran]:
        try:
            if technique is not None:
                self._run(technique)
        except (Leave, Stop):
            pass
        return self.ran

    def _run(self, technique: Technique) -> None:
        match technique:
            case Sequence():
                for step in technique.steps:
                    self._run(step)
            case Repeat():
                self._loop(technique.times, lambda: self._run(technique.step))
            case Block():
                self._run(technique.step)
            case PlateStripCycle():
                numbers = iter(range(1, technique.cycles + 1))
                self._loop(technique.cycles, lambda: self._cycle(technique, next(numbers)))
            case _:
                self._step(technique)

    def _loop(self, times: int, once: Any) -> None:
        try:
            for _ in range(times):
                once()
        except Leave:
            pass

    def _cycle(self, technique: PlateStripCycle, number: int) -> None:
        self.cycle += 1
        first, second = technique.halves
        self._half(technique, first)
        due = number - technique.between_first
        if technique.between is not None and due >= 0 and due % technique.between_every == 0:
            self._step(technique.between)
        self._half(technique, second)

    def _half(self, technique: PlateStripCycle, half: GalvanostaticStep) -> None:
        self._step(half)
        if half.role == "plate" and technique.plate_hold is not None:
            self._step(technique.plate_hold)
        self._rest(technique.rest_s, half.record)

    def _rest(self, duration_s: float, record: Recording) -> None:
        if duration_s > 0:
            self._step(OpenCircuit(duration_s=duration_s, record=record))

    def _step(self, step: ElementaryStep) -> None:
        action = "next"
        if isinstance(step, Limited):
            role, going_on = (getattr(step, x, None) for x in ("role", "continues_half_cycle"))
            self.half_cycle += role is not None and not going_on
            action = self.draw(step)
        self.ran.append(Ran(step, self.cycle, self.half_cycle, action))
        if action == "end_loop":
            raise Leave
        if action == "stop":
            raise Stop


# -- techniques to cut

times = st.floats(min_value=1.0, max_value=1e4)
records = st.builds(Recording, dt_s=st.floats(min_value=0.1, max_value=100))


def galvanostatic(role: str | None, loops: bool) -> st.SearchStrategy[GalvanostaticStep]:
    actions = st.sampled_from(["next", "end_loop", "stop"] if loops else ["next", "stop"])
    sure = st.builds(
        Limit, quantity=st.sampled_from(["time_s", "charge_mah_cm2"]), value=times, action=actions
    )
    potential = st.builds(
        Limit,
        quantity=st.just("potential_above_v"),
        value=st.floats(min_value=-1, max_value=1),
        action=actions,
    )
    return st.builds(
        lambda a, b, density, record: GalvanostaticStep(
            role=role,  # type: ignore[arg-type]
            current_density_ma_cm2=density,
            until=(*a, *b),
            record=record,
        ),
        st.lists(sure, min_size=1, max_size=2),
        st.lists(potential, max_size=2),
        st.floats(min_value=0.1, max_value=10),
        records,
    )


def watched(loops: bool) -> st.SearchStrategy[tuple[Limit, ...]]:
    actions = st.sampled_from(["next", "end_loop", "stop"] if loops else ["next", "stop"])
    quantities = st.sampled_from(["abs_current_above_ma_cm2", "charge_mah_cm2"])
    one = st.builds(Limit, quantity=quantities, value=times, action=actions)
    return st.lists(one, max_size=2).map(tuple)


def holds(
    loops: bool, role: st.SearchStrategy[Any], going_on: st.SearchStrategy[bool]
) -> st.SearchStrategy[PotentiostaticStep]:
    actions = st.sampled_from(["next", "end_loop", "stop"] if loops else ["next", "stop"])
    return st.builds(
        lambda role, going_on, time, others, record: PotentiostaticStep(
            role=role,
            potential_v=0.1,
            continues_half_cycle=going_on and role is not None,
            until=(time, *others),
            record=record,
        ),
        role,
        going_on,
        st.builds(Limit, quantity=st.just("time_s"), value=times, action=actions),
        watched(loops),
        records,
    )


def controlled(loops: bool) -> st.SearchStrategy[PotentiostaticStep | LinearSweep]:
    sweeps = st.builds(
        LinearSweep,
        begin_v=st.just(0.0),
        end_v=st.just(0.1),
        scan_rate_v_s=st.just(1e-3),
        until=watched(loops),
    )
    return sweeps | holds(loops, st.sampled_from([None, "plate", "strip"]), st.booleans())


rests = st.builds(OpenCircuit, duration_s=times, record=records)
spectra = st.builds(ImpedanceSpectrum, amplitude_rms_v=st.just(0.005))
cycles = st.builds(
    PlateStripCycle,
    plate=galvanostatic("plate", True),
    plate_hold=st.none() | holds(True, st.just("plate"), st.just(True)),
    strip=galvanostatic("strip", True),
    rest_s=st.just(0.0) | times,
    cycles=st.integers(1, 4),
    between_every=st.integers(1, 3),
    between_first=st.integers(1, 3),
    first=st.sampled_from(["plate", "strip"]),
    between=st.none() | rests | spectra,
)


def looped(inner: Any) -> st.SearchStrategy[Technique]:
    return st.one_of(
        st.builds(Sequence, steps=st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Repeat, times=st.integers(1, 3), step=inner),
        st.builds(Block, name=st.just("part"), step=inner),
    )


inside_a_loop = st.recursive(
    rests
    | spectra
    | galvanostatic(None, True)
    | galvanostatic("plate", True)
    | cycles
    | controlled(True),
    looped,
    max_leaves=4,
)
techniques = st.recursive(
    rests
    | spectra
    | galvanostatic("strip", False)
    | controlled(False)
    | cycles
    | st.builds(Repeat, times=st.integers(1, 3), step=inside_a_loop),
    lambda inner: (
        st.builds(Sequence, steps=st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Block, name=st.just("part"), step=inner)
    ),
    max_leaves=5,
)


def drawn(data: st.DataObject, rarely: bool = False) -> Any:
    def draw(step: Limited) -> str:
        actions = sorted({limit.action for limit in step.until} | {"next"})
        return data.draw(st.sampled_from(["next"] * 3 + actions))

    return draw


def replayed(ran: list[Ran]) -> Any:
    """Return what ends the steps of a second run as those of ``ran`` were ended."""
    actions: Iterator[str] = iter([x.action for x in ran if isinstance(x.step, Limited)])
    return lambda step: next(actions)


@settings(deadline=None, max_examples=300)
@given(techniques, st.data())
def test_what_ran_and_what_is_left_are_the_whole(technique: Technique, data: Any) -> None:
    whole = Executor(drawn(data)).run(technique)
    cut = data.draw(st.integers(0, len(whole)))
    left = remaining(technique, [x.seen for x in whole[:cut]])
    rest = Executor(replayed(whole[cut:]), left.cycle, left.half_cycle).run(left.technique)
    assert [x.kept for x in rest] == [x.kept for x in whole[cut:]]


@settings(deadline=None, max_examples=150)
@given(techniques, st.data())
def test_behind_a_step_that_is_left_out_everything_else_is_as_it_was(
    technique: Technique, data: Any
) -> None:
    whole = Executor(drawn(data)).run(technique)
    cut = data.draw(st.integers(1, len(whole)))
    seen = [x.seen for x in whole[:cut]]
    left = without_first_step(remaining(technique, seen, Interrupted(0.0)))
    out = whole[cut - 1 : cut]
    if getattr(out[0].step, "role", None) is not None:
        for ran in whole[cut:]:
            if not getattr(ran.step, "continues_half_cycle", False):
                break
            out.append(ran)  # a hold that goes on with the half-cycle
    # How a step would have ended that is not run is not known: as by its time.
    assume(all(ran.action == "next" for ran in out))
    behind = whole[cut - 1 + len(out) :]
    rest = Executor(replayed(behind), left.cycle, left.half_cycle).run(left.technique)
    assert [x.kept for x in rest] == [x.kept for x in behind]


@settings(deadline=None, max_examples=300)
@given(techniques, st.data(), st.floats(min_value=0.01, max_value=0.99))
def test_an_interrupted_step_goes_on_for_what_is_left_of_it(
    technique: Technique, data: Any, share: float
) -> None:
    whole = Executor(drawn(data)).run(technique)
    cut = data.draw(st.integers(1, len(whole)))
    step = whole[cut - 1].step
    length_s = (
        step.expected_s
        if isinstance(step, Limited)
        else step.duration_s
        if isinstance(step, OpenCircuit)
        else 1.0
    )
    elapsed_s = share * length_s
    rate = 0.0
    if isinstance(step, GalvanostaticStep):
        rate = abs(step.current_density_ma_cm2) / 3600
    elif isinstance(step, PotentiostaticStep):
        # So much that each of its charges lasts as long as it does.
        charges = [x.value for x in step.until if x.quantity == "charge_mah_cm2"]
        rate = min(charges, default=0.0) / length_s
    passed = Interrupted(elapsed_s, rate * elapsed_s)
    left = remaining(technique, [x.seen for x in whole[:cut]], passed)
    if left.step is None:
        return  # less than a check interval was left: the step counts as ended
    rest = Executor(replayed(whole[cut - 1 :]), left.cycle, left.half_cycle).run(left.technique)
    assert [x.kept for x in rest[1:]] == [x.kept for x in whole[cut:]]
    head = rest[0]
    assert (head.cycle, head.half_cycle) == (whole[cut - 1].cycle, whole[cut - 1].half_cycle)
    if isinstance(step, GalvanostaticStep | PotentiostaticStep):
        assert isinstance(head.step, type(step))
        assert head.step.expected_s + elapsed_s == pytest.approx(step.expected_s, rel=1e-9)
        for before, after in zip(step.until, head.step.until, strict=True):
            part = {"time_s": elapsed_s, "charge_mah_cm2": rate * elapsed_s}
            assert after.value + part.get(before.quantity, 0.0) == pytest.approx(before.value)
            assert (after.quantity, after.action) == (before.quantity, before.action)
        assert head.step.model_copy(update={"until": step.until}) == step
    elif isinstance(step, OpenCircuit):
        assert isinstance(head.step, OpenCircuit)
        assert head.step.duration_s + elapsed_s == pytest.approx(step.duration_s)
    else:
        assert head.step == step


@settings(deadline=None, max_examples=200)
@given(techniques, st.data())
def test_a_second_cut_of_what_was_left_is_as_good_as_the_first(
    technique: Technique, data: Any
) -> None:
    whole = Executor(drawn(data)).run(technique)
    first = data.draw(st.integers(0, len(whole)))
    second = data.draw(st.integers(first, len(whole)))
    once = remaining(technique, [x.seen for x in whole[:first]])
    if once.technique is None:
        assert whole[first:] == []
        return
    again = remaining(
        once.technique,
        [x.seen for x in whole[first:second]],
        cycle=once.cycle,
        half_cycle=once.half_cycle,
    )
    rest = Executor(replayed(whole[second:]), again.cycle, again.half_cycle).run(again.technique)
    assert [x.kept for x in rest] == [x.kept for x in whole[second:]]


@settings(deadline=None, max_examples=200)
@given(techniques, st.data())
def test_without_knowing_what_ended_a_step_it_is_right_or_refused(
    technique: Technique, data: Any
) -> None:
    whole = Executor(drawn(data)).run(technique)
    cut = data.draw(st.integers(0, len(whole)))
    seen = [x.seen for x in whole[:cut]]
    blind = [ExecutedStep(x.kind, x.role, x.cycle, x.half_cycle, None) for x in seen]
    try:
        found = remaining(technique, blind)
    except PositionError:
        return
    assert found == remaining(technique, seen)


# -- the cases that have a name


def plate(charge: float = 1.0, **more: Any) -> GalvanostaticStep:
    return GalvanostaticStep(
        role="plate",
        current_density_ma_cm2=1.0,
        until=(Limit(quantity="charge_mah_cm2", value=charge),),
        **more,
    )


def strip(action: str = "next") -> GalvanostaticStep:
    return GalvanostaticStep(
        role="strip",
        current_density_ma_cm2=1.0,
        until=(
            Limit(quantity="potential_above_v", value=0.5),
            Limit(quantity="charge_mah_cm2", value=1.2, action=action),  # type: ignore[arg-type]
        ),
    )


CYCLING = PlateStripCycle(plate=plate(), strip=strip("stop"), rest_s=30, cycles=3)
PLATE, REST, STRIP = (
    ExecutedStep("galvanostatic_step", "plate", 1, 1),
    ExecutedStep("open_circuit", None, 1, 1),
    ExecutedStep("galvanostatic_step", "strip", 1, 2),
)


def test_half_a_plating_leaves_half_of_it_and_all_that_follows() -> None:
    left = remaining(CYCLING, [PLATE], Interrupted(1800.0, 0.5))
    rest = OpenCircuit(duration_s=30)
    assert left.technique == Repeat(
        times=1,
        step=Sequence(
            steps=(plate(0.5), rest, strip("stop"), rest, CYCLING.model_copy(update={"cycles": 2}))
        ),
    )
    assert (left.cycle, left.half_cycle, left.step) == (1, 0, plate())
    assert left.step_is_half_cycle


def test_an_interrupted_strip_keeps_its_potential_and_what_is_left_of_its_charge() -> None:
    left = remaining(CYCLING, [PLATE, REST, STRIP], Interrupted(720.0, 0.2))
    assert isinstance(left.technique, Repeat)
    assert isinstance(left.technique.step, Sequence)
    first = left.technique.step.steps[0]
    assert isinstance(first, GalvanostaticStep)
    assert [(x.quantity, x.value) for x in first.until] == [
        ("potential_above_v", 0.5),
        ("charge_mah_cm2", pytest.approx(1.0)),
    ]
    assert (left.cycle, left.half_cycle) == (1, 1)


def test_a_spectrum_that_was_interrupted_is_measured_again_from_its_start() -> None:
    spectrum = ImpedanceSpectrum(amplitude_rms_v=0.005)
    technique = Sequence(steps=(spectrum, plate()))
    seen = ExecutedStep("impedance_spectrum", None, 0, 0)
    left = remaining(technique, [seen], Interrupted(3.0))
    assert left.technique == technique
    assert not left.step_is_half_cycle


def test_nothing_is_left_of_a_technique_that_is_complete() -> None:
    assert remaining(plate(), [ExecutedStep("galvanostatic_step", "plate", 0, 1)]).technique is None


def test_a_limit_that_stops_the_program_leaves_nothing() -> None:
    stopped = ExecutedStep("galvanostatic_step", "strip", 1, 2, "stop")
    assert remaining(CYCLING, [PLATE, REST, stopped]).technique is None


def test_a_step_that_has_next_to_nothing_left_counts_as_ended() -> None:
    left = remaining(CYCLING, [PLATE], Interrupted(3599.9, 3599.9 / 3600))
    assert left.step is None
    assert isinstance(left.technique, Repeat)
    assert isinstance(left.technique.step, Sequence)
    assert left.technique.step.steps[0] == OpenCircuit(duration_s=30)
    assert left.half_cycle == 1


def test_end_loop_still_leaves_the_loop_it_was_written_in() -> None:
    technique = Sequence(
        steps=(Repeat(times=5, step=Sequence(steps=(plate(), strip("end_loop")))), plate(2.0))
    )
    seen = ExecutedStep("galvanostatic_step", "plate", 0, 1)
    left = remaining(technique, [seen])
    ended = ExecutedStep("galvanostatic_step", "strip", 0, 2, "end_loop")
    assert left.technique is not None
    after = remaining(left.technique, [ended], half_cycle=left.half_cycle)
    assert after.technique == plate(2.0)


def test_a_loop_that_may_have_been_left_is_refused_unless_what_came_next_tells() -> None:
    technique = Sequence(
        steps=(Repeat(times=5, step=Sequence(steps=(plate(), strip("end_loop")))), plate(2.0))
    )
    seen = [
        ExecutedStep("galvanostatic_step", "plate", 0, 1),
        ExecutedStep("galvanostatic_step", "strip", 0, 2, None),
    ]
    with pytest.raises(PositionError, match="may have left its loop"):
        remaining(technique, seen)
    # A plating comes next either way; the strip after it exists only inside the loop.
    with pytest.raises(PositionError, match="several places"):
        remaining(technique, [*seen, ExecutedStep("galvanostatic_step", "plate", 0, 3)])
    inside = remaining(
        technique,
        [
            *seen,
            ExecutedStep("galvanostatic_step", "plate", 0, 3),
            ExecutedStep("galvanostatic_step", "strip", 0, 4),
        ],
    )
    assert inside.technique is not None


def test_steps_that_the_technique_does_not_have_there_are_refused() -> None:
    with pytest.raises(PositionError, match=r"step 2 was strip step .*\(expected: open circuit"):
        remaining(CYCLING, [PLATE, STRIP])
    with pytest.raises(PositionError, match="expected: nothing"):
        remaining(plate(), [ExecutedStep("galvanostatic_step", "plate", 0, n) for n in (1, 2)])
    assert math.isfinite(plate().expected_s)


# -- holds and sweeps


def held(*until: Limit, **more: Any) -> PotentiostaticStep:
    more = {"potential_v": 0.2, "record": Recording(edge_dt_s=1.0), **more}
    return PotentiostaticStep(until=(Limit(quantity="time_s", value=3600.0), *until), **more)


BELOW = Limit(quantity="abs_current_below_ma_cm2", value=0.1, action="end_loop")
ABOVE = Limit(quantity="abs_current_above_ma_cm2", value=5.0, action="stop")


@pytest.mark.parametrize(
    ("elapsed_s", "current", "action"),
    [
        (100.0, 0.0999, "end_loop"),
        (100.0, 5.001, "stop"),
        (100.0, 1.0, None),
        (100.0, 0.1, None),
        (3599.6, 1.0, "next"),
        (3599.6, 0.0999, "end_loop"),
        (100.0, None, None),
    ],
)
def test_the_last_row_of_a_hold_tells_what_ended_it(
    elapsed_s: float, current: float | None, action: str | None
) -> None:
    assert how_it_ended(held(BELOW, ABOVE), elapsed_s, 0.2, current) == action


@pytest.mark.parametrize(
    ("step", "last_s"),
    [
        (LinearSweep(begin_v=0.0, end_v=0.1, scan_rate_v_s=1e-3), 101.0),
        # Divided tenfold: the last potential is measured a tenth of a row later.
        (LinearSweep(begin_v=0.0, end_v=0.1, scan_rate_v_s=1e-4), 1001.0),
        (
            CyclicVoltammetry(
                begin_v=0.0, vertex1_v=0.1, vertex2_v=-0.1, scan_rate_v_s=0.01, scans=3
            ),
            120.1,
        ),
    ],
)
def test_the_last_row_of_a_sweep_tells_whether_it_has_ended(step: Any, last_s: float) -> None:
    assert how_it_ended(step, last_s, 0.0, 1.0) == "next"
    assert how_it_ended(step, last_s - step.row_step_v / step.scan_rate_v_s, 0.0, 1.0) is None
    limited = step.model_copy(update={"until": (ABOVE,)})
    assert how_it_ended(limited, 5.0, 0.0, 5.5) == "stop"


def test_an_interrupted_hold_keeps_its_potential_also_if_it_was_told_against_open_circuit() -> None:
    technique = held(
        Limit(quantity="charge_mah_cm2", value=2.0), potential_v=0.01, versus="open_circuit"
    )
    seen = ExecutedStep("potentiostatic_step", None, 0, 0, None)
    left = remaining(technique, [seen], Interrupted(600.0, 0.5, 0.98765))
    assert isinstance(left.technique, PotentiostaticStep)
    assert (left.technique.potential_v, left.technique.versus) == (0.98765, "other_electrode")
    assert [x.value for x in left.technique.until] == pytest.approx([3000.0, 1.5])
    assert not left.step_is_half_cycle


def test_a_hold_that_goes_on_with_a_half_cycle_keeps_its_number_when_it_is_interrupted() -> None:
    tail = held(role="strip", continues_half_cycle=True)
    technique = Sequence(steps=(strip(), tail, plate()))
    seen = [ExecutedStep(None, "strip", 0, 1), ExecutedStep(None, "strip", 0, 1, None)]
    left = remaining(technique, seen, Interrupted(600.0))
    assert (left.half_cycle, left.step, left.step_is_half_cycle) == (1, tail, True)
    again = remaining(Sequence(steps=(strip(), plate())), seen[:1], Interrupted(600.0))
    assert again.half_cycle == 0


def test_a_sweep_that_was_interrupted_is_repeated_from_its_beginning() -> None:
    technique = Sequence(steps=(LinearSweep(begin_v=0.0, end_v=0.1, scan_rate_v_s=1e-3), plate()))
    seen = ExecutedStep("linear_sweep", None, 0, 0, None)
    assert remaining(technique, [seen], Interrupted(50.0)).technique == technique
