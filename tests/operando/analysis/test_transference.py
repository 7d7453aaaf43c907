import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.analysis.transference import Currents, step_currents, transference_number

T = np.concatenate((np.arange(0.1, 30, 0.1), np.arange(30, 3600, 30)))


def _cell(number: float, before: float, after: float, bulk: float = 20.0) -> tuple[float, float]:
    """Initial and steady current of a dilute binary electrolyte at 10 mV, A."""
    return 0.01 / (bulk + before), 0.01 / (bulk / number + after)


@settings(max_examples=60, deadline=None)
@given(
    number=st.floats(0.1, 0.95),
    before=st.floats(1, 60),
    grown=st.floats(0.9, 1.3),
    seed=st.integers(0, 99),
)
def test_a_dilute_electrolyte_gives_its_number_back(
    number: float, before: float, grown: float, seed: int
) -> None:
    after = before * grown
    initial, steady = _cell(number, before, after)
    if steady > initial:
        return
    currents = Currents(initial, 0.0, steady, 0.0, 0.0)
    random = np.random.default_rng(seed)
    relative = 2e-3
    found = transference_number(
        currents,
        0.01,
        before * (1 + relative * random.normal()),
        after * (1 + relative * random.normal()),
        resistance_before_uncertainty_ohm=relative * before,
        resistance_after_uncertainty_ohm=relative * after,
    )
    if found.number is None:
        assert "standard uncertainty" in str(found.reason)
        return
    assert found.uncertainty is not None
    assert abs(found.number - number) < 5 * found.uncertainty + 1e-3 * number


@pytest.mark.parametrize(("target", "bulk"), [(0.17, 30.0), (0.549, 30.0), (0.82, 30.0)])
def test_the_published_numbers_come_back(target: float, bulk: float) -> None:
    initial, steady = _cell(target, 10.0, 11.0, bulk)
    found = transference_number(Currents(initial, 0, steady, 0, 0.0), 0.01, 10.0, 11.0)
    assert found.number == pytest.approx(target, rel=1e-9)


def test_the_direction_of_the_step_does_not_matter() -> None:
    initial, steady = _cell(0.4, 10.0, 11.0)
    one = transference_number(Currents(initial, 0, steady, 0, 0.0), 0.01, 10.0, 11.0)
    other = transference_number(Currents(-initial, 0, -steady, 0, 0.0), -0.01, 10.0, 11.0)
    assert one == other


@pytest.mark.parametrize(
    ("currents", "resistance", "error", "told"),
    [
        (Currents(1e-4, 0, 2e-4, 0, 0.0), 10.0, 0.0, "did not fall"),
        (Currents(2e-4, 0, 1e-4, 0, 0.0), 60.0, 0.0, "I R >= dV"),
        (Currents(2e-4, 0, 1e-4, 0, -0.05), 10.0, 0.0, "still changed by -5.0%"),
        (Currents(2e-4, 0, 1e-4, 0, 0.0), 40.0, 8.0, "too much"),
        (Currents(None, None, None, None, None, "3 rows"), 40.0, 8.0, "3 rows"),
    ],
)
def test_what_is_not_valid_is_none_with_a_reason(
    currents: Currents, resistance: float, error: float, told: str
) -> None:
    found = transference_number(
        currents, 0.01, resistance, resistance, resistance_before_uncertainty_ohm=error
    )
    assert found.number is None
    assert told in str(found.reason)


def test_the_currents_are_those_after_the_double_layer_and_at_the_end() -> None:
    charging = 1e-3 * np.exp(-T / 0.05)
    current = 1e-4 + 4e-5 * np.exp(-np.sqrt(T / 100)) + charging
    noise = 1e-8 * np.random.default_rng(0).normal(size=len(T))
    found = step_currents(T, current + noise, charging_s=0.5)
    assert found.initial_a == pytest.approx(1e-4 + 4e-5 * math.exp(-math.sqrt(0.5 / 100)), rel=5e-3)
    assert found.steady_a == pytest.approx(1e-4, rel=5e-3)
    assert found.change == pytest.approx(0.0, abs=5e-3)


def test_a_handful_of_rows_tells_no_currents() -> None:
    found = step_currents(T[:6], np.full(6, 1e-4))
    assert found.initial_a is None
    assert "6 rows" in str(found.reason)
