"""Going on as another technique says: of the same one exactly what was left is left."""

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from techniques import (
    GalvanostaticStep,
    Interrupted,
    Limit,
    PlateStripCycle,
    PositionError,
    Sequence,
    Technique,
    remaining,
)
from techniques.amended import amended, behind, cycles_begun, half_cycle_begun, half_cycles_of
from tests.techniques.test_remaining import Executor, Ran, techniques


def run(technique: Technique | None, cycle: int = 0, half_cycle: int = 0) -> list[Ran]:
    return Executor(lambda step: "next", cycle, half_cycle).run(technique)


def role_of(ran: Ran) -> str | None:
    return getattr(ran.step, "role", None)


def kept(ran: list[Ran]) -> list[Any]:
    return [one.kept for one in ran]


@settings(deadline=None, max_examples=100)
@given(techniques, st.data())
def test_amended_to_the_same_technique_between_two_steps_all_is_left_that_was(
    technique: Technique, data: Any
) -> None:
    whole = run(technique)
    cut = data.draw(st.integers(0, len(whole)))
    before, after = whole[:cut], whole[cut:]
    # A hold that goes on with a half-cycle is no step behind it.
    assume(not after or not getattr(after[0].step, "continues_half_cycle", False))
    since: list[str] = []
    for number, one in enumerate(before):
        if one.half_cycle > (before[number - 1].half_cycle if number else 0):
            since = []
        elif role_of(one) is None or since or not one.half_cycle:
            since.append(one.step.type)
    cycle, half_cycle = (before[-1].cycle, before[-1].half_cycle) if before else (0, 0)
    left = amended(technique, half_cycle, cycle, since)
    assert (left.cycle, left.half_cycle) == (cycle, half_cycle)
    assert kept(run(left.technique, cycle, half_cycle)) == kept(after)
    assert half_cycles_of(technique) == max((one.half_cycle for one in whole), default=0)
    assert half_cycles_of(left.technique) == half_cycles_of(technique) - half_cycle
    assert all(cycles_begun(technique, one.half_cycle) == one.cycle for one in whole)


@settings(deadline=None, max_examples=100)
@given(techniques, st.data(), st.floats(min_value=0.001, max_value=0.99))
def test_amended_to_the_same_technique_in_a_half_cycle_what_passed_of_it_counts(
    technique: Technique, data: Any, share: float
) -> None:
    technique = Sequence(steps=(technique, half("plate", 1.0, 1.0)))
    whole = run(technique)
    begun = [
        number
        for number, one in enumerate(whole)
        # Else it is asked what ends it, which is another when time and charge end it together.
        if role_of(one) and all(limit.action == "next" for limit in one.step.until)  # type: ignore[union-attr]
        if not getattr(one.step, "continues_half_cycle", False)
    ]
    number = data.draw(st.sampled_from(begun))
    at = whole[number]
    assert half_cycle_begun(technique, at.half_cycle) == at.step
    elapsed_s = share * at.step.expected_s  # type: ignore[union-attr]
    rate = getattr(at.step, "current_density_ma_cm2", 0.0) / 3600
    interrupted = Interrupted(elapsed_s, elapsed_s * rate)
    seen = [one.seen for one in whole[: number + 1]]
    as_before = remaining(technique, seen, interrupted)
    left = amended(
        technique,
        at.half_cycle - 1,
        at.cycle,
        interrupted=interrupted,
        role=role_of(at),  # type: ignore[arg-type]
    )
    rest = run(left.technique, left.cycle, left.half_cycle)
    assert kept(rest) == kept(run(as_before.technique, as_before.cycle, as_before.half_cycle))


def half(role: str, density: float, charge: float) -> GalvanostaticStep:
    limit = Limit(quantity="charge_mah_cm2", value=charge)
    return GalvanostaticStep(role=role, current_density_ma_cm2=density, until=(limit,))  # type: ignore[arg-type]


def cycling(density: float, cycles: int, first: str = "plate") -> PlateStripCycle:
    plate, strip = half("plate", density, 1.0), half("strip", density, 1.0)
    return PlateStripCycle(plate=plate, strip=strip, cycles=cycles, rest_s=60, first=first)  # type: ignore[arg-type]


def test_cycle_37_of_a_hundred_goes_on_as_cycle_37_of_another_technique() -> None:
    left = amended(cycling(2.0, 50), 72, 36, ["open_circuit"])
    rest = run(left.technique, left.cycle, left.half_cycle)
    assert (rest[0].cycle, rest[0].half_cycle, role_of(rest[0])) == (37, 73, "plate")
    assert rest[-1].cycle == 50
    assert {one.step.current_density_ma_cm2 for one in rest if role_of(one)} == {2.0}  # type: ignore[union-attr]


def test_a_technique_with_fewer_half_cycles_has_nothing_left() -> None:
    assert amended(cycling(2.0, 20), 72, 36, ["open_circuit"]).technique is None
    assert behind(cycling(2.0, 20), 41) is None


def test_a_rest_that_had_begun_goes_on_for_what_is_left_of_it() -> None:
    left = amended(cycling(1.0, 2), 1, 1, ["open_circuit"], Interrupted(45.0))
    first = run(left.technique, 1, 1)[0]
    assert first.step.duration_s == pytest.approx(15.0)  # type: ignore[union-attr]


def test_a_half_cycle_that_had_begun_keeps_its_number_and_passes_what_is_left() -> None:
    passed = Interrupted(360.0, 0.1)
    left = amended(cycling(2.0, 5), 4, 3, interrupted=passed, role="plate")
    first, *_ = rest = run(left.technique, left.cycle, left.half_cycle)
    assert (first.cycle, first.half_cycle) == (3, 5)
    assert first.step.until[0].value == pytest.approx(0.9)  # type: ignore[union-attr]
    assert rest[-1].half_cycle == 10


def test_a_plating_that_had_begun_is_no_strip() -> None:
    with pytest.raises(PositionError, match="half-cycle 5 has begun to plate, and there it is to"):
        amended(cycling(2.0, 5, "strip"), 4, 3, interrupted=Interrupted(1.0, 0.0), role="plate")
    with pytest.raises(PositionError, match="nothing is left"):
        amended(
            Sequence(steps=(cycling(2.0, 2),)), 4, 3, interrupted=Interrupted(1.0), role="plate"
        )
