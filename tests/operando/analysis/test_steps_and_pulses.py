import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from instruments.potentiostat import contract
from operando.analysis import segments, steps
from operando.analysis.pulses import edge_resistance, mean_resistance, titration
from operando.analysis.steps import StepRows, recorded_steps
from operando.runs import Run

SERIES, FILM, TAU = 3.0, 20.0, 0.2
NAMES = ("t", "step_t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")


def _columns(parts: list[tuple[int, np.ndarray, np.ndarray, float]]) -> dict[str, np.ndarray]:
    """Rows of steps, each a role, times since its edge, potentials and a current."""
    columns: dict[str, list[float]] = {name: [] for name in NAMES}
    begin, half = 0.0, 0
    for number, (role, since, potential, current) in enumerate(parts, 1):
        half += role in (-1, 1)
        for at, value in zip(since, potential, strict=True):
            row = (begin + at, at, value, current, 1, half, number, role, 0)
            for name, entry in zip(NAMES, row, strict=True):
                columns[name].append(float(entry))
        begin += float(since[-1]) + 1e-3
    return {name: np.array(values) for name, values in columns.items()}


def _interrupts(row_s: float, noise_v: float = 0.0, seed: int = 0) -> dict[str, np.ndarray]:
    """A current on and off in a cell of R_s and one arc, five times."""
    random = np.random.default_rng(seed)
    parts = []
    since = np.arange(row_s, 2.0, row_s)
    for _ in range(5):
        rising = -1e-3 * (SERIES + FILM * (1 - np.exp(-since / TAU)))
        falling = -1e-3 * FILM * np.exp(-since / TAU)
        for role, shape, current in ((3, rising, -1e-3), (0, falling, 0.0)):
            parts.append((role, since, shape + noise_v * random.normal(size=len(since)), current))
    return _columns(parts)


@pytest.fixture
def steps_of(make_run: Callable[..., Any], synthetic: Any) -> Callable[..., tuple[StepRows, ...]]:
    def make(columns: dict[str, np.ndarray], sample: Any = None) -> tuple[StepRows, ...]:
        told = make_run(sample or synthetic.SYMMETRIC_CELL)
        told.stream("potentiostat", "potentiostat", columns)
        told.stop()
        return recorded_steps(Run.from_documents(told.documents))

    return make


def test_the_role_codes_are_those_of_the_drivers() -> None:
    ours = (segments.PLATE, steps.REST, segments.STRIP, steps.IMPEDANCE, steps.GALVANOSTATIC)
    theirs = (
        contract.PLATE,
        contract.REST,
        contract.STRIP,
        contract.IMPEDANCE,
        contract.OTHER,
    )
    assert ours == theirs
    assert (steps.HOLD, steps.SWEEP, steps.VOLTAMMOGRAM) == (
        contract.HOLD,
        contract.SWEEP,
        contract.VOLTAMMOGRAM,
    )


def test_the_steps_of_a_run_are_told_in_their_order(steps_of: Any) -> None:
    found = steps_of(_interrupts(0.01))
    assert [step.number for step in found] == list(range(1, 11))
    assert [step.role for step in found] == [3, 0] * 5
    assert all(step.ended for step in found)
    assert found[2].edge_s == pytest.approx(found[2].t_s[0] - 0.01)
    assert found[0].current_a[0] == -1e-3


def test_a_mirrored_cell_has_the_metal_electrodes_signs(steps_of: Any, synthetic: Any) -> None:
    found = steps_of(_interrupts(0.01), synthetic.MIRRORED_CELL)
    assert found[0].current_a[0] == 1e-3
    assert found[0].instrument_current_a[0] == -1e-3
    assert np.all(found[0].potential_v == -found[0].instrument_potential_v)


def test_a_run_without_rows_has_no_steps(make_run: Callable[..., Any], synthetic: Any) -> None:
    told = make_run(synthetic.SYMMETRIC_CELL)
    assert recorded_steps(Run.from_documents(told.documents)) == ()


def test_rows_that_are_no_numbers_are_left_out(steps_of: Any) -> None:
    columns = _interrupts(0.01)
    columns["potential"][3] = math.nan
    assert len(steps_of(columns)[0]) == 198


@pytest.mark.parametrize("noise_v", [0.0, 2e-5])
def test_an_interrupt_gives_the_series_resistance_back_within_its_uncertainty(
    steps_of: Any, noise_v: float
) -> None:
    inside = 0
    for seed in range(10):
        found = steps_of(_interrupts(0.01, noise_v, seed))
        edges = [
            edge_resistance(before, after) for before, after in pairwise(found) if after.role == 0
        ]
        value, error = mean_resistance(edges)  # type: ignore[misc]  # there are five
        assert value == pytest.approx(SERIES, abs=0.15)
        inside += abs(value - SERIES) < 2 * error
    assert inside >= 9


def test_rows_too_far_apart_do_not_resolve_an_edge(steps_of: Any) -> None:
    found = steps_of(_interrupts(0.1))
    told = edge_resistance(found[0], found[1])
    assert told.resistance_ohm is None
    assert "do not resolve the edge" in str(told.reason)
    assert mean_resistance([told]) is None


def test_a_series_of_pulses_has_resistances_and_relaxed_potentials(steps_of: Any) -> None:
    rest = np.arange(1.0, 61.0)
    parts = [(0, rest, np.full(60, 0.10), 0.0)]
    for k in range(3):
        level = 0.10 - 0.01 * k
        parts.append((-1, rest, np.full(60, level - 0.05), -1e-3))
        after = level - 0.01 - 0.02 * np.exp(-rest / 5)
        parts.append((0, rest, after, 0.0))
    found = titration(steps_of(_columns(parts)))
    assert [pulse.resistance_ohm for pulse in found] == pytest.approx([50.0] * 3, rel=1e-3)
    assert [pulse.relaxed_v for pulse in found] == pytest.approx([0.09, 0.08, 0.07], abs=1e-4)
    assert [pulse.relaxation_v for pulse in found] == pytest.approx([0.04] * 3, abs=1e-4)
    assert found[0].charge_c == pytest.approx(60e-3, rel=1e-3)


def test_half_cycles_in_turn_are_no_series_of_pulses(steps_of: Any) -> None:
    rest = np.arange(1.0, 61.0)
    parts = [(0, rest, np.zeros(60), 0.0)]
    for _ in range(3):
        parts += [
            (-1, rest, np.full(60, -0.05), -1e-3),
            (0, rest, np.zeros(60), 0.0),
            (1, rest, np.full(60, 0.05), 1e-3),
            (0, rest, np.zeros(60), 0.0),
        ]
    assert titration(steps_of(_columns(parts))) == ()
