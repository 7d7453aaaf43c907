"""Failure policies: of which step, and what is waited."""

from typing import Any

import pytest
from pydantic import ValidationError

from operando.configuration import load_cell
from techniques import Cell, FailurePolicy, Protocol, Retry, elementary_steps, first_step
from techniques.failure_policy import LONGEST_WAIT_S

SKIP = {"then": "skip"}
HOLD = {"then": "hold", "hold_s": 60.0}
RETRY = {"retry": {"times": 3, "wait_s": 1.0}}


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("zn-bare-half")


def protocol(technique: dict[str, Any], **more: Any) -> Protocol:
    told = {"name": "policies", "cell": "zn-bare-half", "technique": technique, **more}
    return Protocol.model_validate(told)


def policies(told: Protocol, cell: Cell) -> list[str | None]:
    """Return what each elementary step of the program does about a failure; None: not told."""
    steps = list(elementary_steps(told.program(cell)))
    return [None if step.on_failure is None else step.on_failure.then for step in steps]


REST = {"type": "open_circuit", "duration_s": 10}
HALF = {"current_density_ma_cm2": 1, "until": [{"quantity": "charge_mah_cm2", "value": 0.1}]}
CYCLE = {"type": "plate_strip_cycle", "plate": HALF, "strip": HALF}


def test_each_wait_is_longer_than_the_one_before_and_none_longer_than_a_day() -> None:
    retry = Retry(times=100, wait_s=10, growth=3)
    assert [retry.wait_before_s(n) for n in (1, 2, 3)] == [10, 30, 90]
    assert retry.wait_before_s(100) == LONGEST_WAIT_S
    assert Retry(times=1, wait_s=0).wait_before_s(1) == 0


def test_by_default_a_failure_ends_the_experiment() -> None:
    assert FailurePolicy().ends_at_once
    assert not FailurePolicy.model_validate(RETRY).ends_at_once
    assert not FailurePolicy.model_validate(SKIP).ends_at_once
    assert protocol(REST).on_failure == FailurePolicy()


def test_a_policy_holds_for_what_is_in_it_unless_that_tells_its_own(cell: Cell) -> None:
    inner = {"type": "sequence", "steps": [REST, REST | {"on_failure": HOLD}], "on_failure": SKIP}
    told = protocol(
        {"type": "sequence", "steps": [REST, {"type": "repeat", "times": 1} | {"step": inner}]}
    )
    assert policies(told, cell) == [None, "skip", "hold"]
    block = {"type": "block", "name": "part", "step": CYCLE, "on_failure": SKIP}
    assert policies(protocol(block), cell) == ["skip", "skip"]
    named = CYCLE | {"strip": HALF | {"on_failure": HOLD}, "rest_s": 5, "on_failure": SKIP}
    program = protocol(named).program(cell)
    assert program.on_failure is not None  # its rests have it when they are unfolded
    experiment = {
        "type": "half_cell_cycling",
        "current_density_ma_cm2": 1,
        "capacity_mah_cm2": 1,
        "cycles": 3,
        "on_failure": HOLD,
    }
    assert set(policies(protocol(experiment), cell)) == {"hold"}


def test_what_is_written_out_in_steps_without_policies_stays_what_it_is(cell: Cell) -> None:
    told = protocol(CYCLE, on_failure=RETRY)
    assert told.program(cell) is told.technique
    assert first_step(told.technique).on_failure is None


def test_policies_are_read_back_as_they_were_written(cell: Cell) -> None:
    told = protocol(CYCLE | {"on_failure": HOLD}, on_failure=RETRY)
    assert Protocol.model_validate(told.model_dump(mode="json")) == told


@pytest.mark.parametrize(
    "wrong",
    [
        {"then": "go on"},
        {"retry": {"times": 0}},
        {"retry": {"times": 1, "growth": 0.5}},
        {"retry": {"times": 1, "wait_s": -1}},
        {"then": "hold", "hold_s": 0},
        {"retries": 3},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FailurePolicy.model_validate(wrong)
