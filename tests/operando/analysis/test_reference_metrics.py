"""The reference electrode of a run, by its looks at open circuit."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.registry import FAMILIES
from operando.runs import Run

Make = Callable[..., Any]
NAMES = [one.name for one in FAMILIES["Reference electrode"]]
REST, PLATE, SPECTRUM = 0.0, -1.0, 2.0


def part(role: float, t_s: float, working_v: float, counter_v: float, rows: int = 11) -> Any:
    """Return rows every second with the potentials of both electrodes, V."""
    noise = 1e-3 * np.tile([1.0, -1.0], rows)[:rows]
    working = working_v + noise
    told = {
        "t": t_s + np.arange(rows),
        "potential": working,
        "current": np.full(rows, -1e-3 if role == PLATE else 0.0),
        "cycle": np.zeros(rows),
        "half_cycle": np.full(rows, float(role == PLATE)),
        "step": np.full(rows, 1.0 + t_s),
        "role": np.full(rows, role),
        "flags": np.zeros(rows),
        "potential_cell": working - counter_v,
    }
    return told


def evaluated(make_run: Make, sample: Any, *parts: Any, ended: bool = True) -> Any:
    told = make_run(sample)
    columns = {key: np.concatenate([one[key] for one in parts]) for key in parts[0]}
    told.stream("potentiostat", "potentiostat", columns)
    if ended:
        told.stop()
    return metrics(Run.from_documents(told.documents))


@pytest.fixture
def three(synthetic: Any) -> Any:
    return {**synthetic.HALF_CELL, "reference_electrode": "Zn wire"}


def test_offsets_are_those_just_before_and_at_the_end(make_run: Make, three: Any) -> None:
    # At first, and in between, the counter electrode is somewhere else.
    found = evaluated(
        make_run,
        three,
        part(REST, 0, 0.9, 0.050),
        part(REST, 100, 0.8, 0.004),
        part(PLATE, 200, -0.1, -0.1),
        part(REST, 300, -0.01, 0.1),
        part(SPECTRUM, 400, -0.01, 0.2, rows=2),
        part(REST, 500, -0.002, 0.019),
    )
    value = {name: found[name].value for name in NAMES}
    assert value["reference_offset_before_mv"] == pytest.approx(4.0)
    assert value["reference_offset_after_mv"] == pytest.approx(19.0)
    assert value["reference_drift_mv"] == pytest.approx(15.0)
    assert value["counter_potential_before_mv"] == pytest.approx(4.0)
    assert value["counter_potential_after_mv"] == pytest.approx(19.0)
    assert value["working_potential_before_mv"] == pytest.approx(801.0)
    assert value["working_potential_after_mv"] == pytest.approx(-1.0)
    # Two readings, each within 1 mV and 0.1 %; the working electrode's is one, and scatters.
    u = found["reference_offset_before_mv"].uncertainty
    assert u == pytest.approx(math.hypot(1.0, 1.0, 0.801, 0.797))
    scatter = math.sqrt(math.pi / 2 / 11) * math.sqrt(1.2 / 1.1)
    u = found["working_potential_before_mv"].uncertainty
    assert u == pytest.approx(math.hypot(1.0, 0.801, scatter), rel=0.01)
    # What the instrument adds to every reading is in both looks.
    u = found["reference_drift_mv"].uncertainty
    assert u == pytest.approx(math.hypot(0.802, 0.797 + 0.020), rel=1e-6)
    assert "counter electrode, 0 V against Zn wire" in str(found["reference_drift_mv"].reason)


def test_the_offset_is_from_what_the_cell_file_tells(make_run: Make, three: Any) -> None:
    told = {**three, "reference_electrode": "Hg/Hg2SO4"}
    looks = (part(REST, 0, -0.6, -1.40), part(PLATE, 100, -1.5, -1.3), part(REST, 200, -1.4, -1.43))
    found = evaluated(make_run, {**told, "metal_vs_reference_v": -1.42}, *looks)
    assert found["reference_offset_before_mv"].value == pytest.approx(20.0)
    assert found["reference_drift_mv"].value == pytest.approx(-30.0)
    found = evaluated(make_run, told, *looks)
    assert found["reference_offset_before_mv"].value is None
    assert "give metal_vs_reference_v" in str(found["reference_drift_mv"].reason)
    assert found["counter_potential_after_mv"].value == pytest.approx(-1430.0)


def test_where_only_the_working_electrode_is_metal_that_one_counts(
    make_run: Make, synthetic: Any, three: Any
) -> None:
    sample = {
        **three,
        "working_electrode": synthetic.ZINC,
        "counter_electrode": {"material": "Pt", "area_cm2": 1.0},
    }
    looks = (part(REST, 0, 0.001, 1.0), part(PLATE, 100, -0.1, 1.5), part(REST, 200, 0.003, 1.2))
    found = evaluated(make_run, sample, *looks)
    assert found["reference_offset_before_mv"].value == pytest.approx(2.0)
    assert found["reference_drift_mv"].value == pytest.approx(2.0)
    assert "working electrode" in str(found["reference_offset_after_mv"].reason)


def test_of_open_circuit_alone_both_ends_are_told(make_run: Make, three: Any) -> None:
    parts = [part(REST, t, 0.5, 1e-5 * t) for t in range(0, 1000, 11)]
    found = evaluated(make_run, three, *parts)
    assert found["reference_offset_before_mv"].value == pytest.approx(0.0, abs=0.2)
    assert found["reference_drift_mv"].value == pytest.approx(9.9, abs=0.3)
    found = evaluated(make_run, three, parts[0])
    assert "too short" in str(found["reference_drift_mv"].reason)


def test_without_a_look_there_is_a_reason(make_run: Make, synthetic: Any, three: Any) -> None:
    before, driven = part(REST, 0, 0.5, 0.001), part(PLATE, 100, -0.1, 0.1)
    found = evaluated(make_run, three, driven)
    assert "does not begin with open circuit" in str(found["reference_offset_before_mv"].reason)
    found = evaluated(make_run, three, before, driven)
    assert found["reference_offset_before_mv"].value == pytest.approx(1.0)
    assert "does not end with open circuit" in str(found["reference_offset_after_mv"].reason)
    found = evaluated(make_run, three, before, driven, part(REST, 200, 0, 0), ended=False)
    assert "has not ended" in str(found["reference_drift_mv"].reason)
    del before["potential_cell"], driven["potential_cell"]
    found = evaluated(make_run, three, before, driven)
    assert {found[name].reason for name in NAMES} == {"E_WE - E_CE was not recorded"}
    found = evaluated(make_run, synthetic.HALF_CELL, before, driven)
    assert all("two-electrode" in str(found[name].reason) for name in NAMES)
