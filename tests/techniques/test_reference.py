"""What is known of a reference electrode, and the looks at it."""

import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from techniques import (
    Assignment,
    Cell,
    KnownPotential,
    OpenCircuit,
    Protocol,
    ReferenceCheck,
    SafetyLimits,
    Sequence,
    elementary_steps,
    known_potential,
    reference_bound,
    with_looks,
)
from techniques.reference import middle

ZINC = {"material": "Zn", "area_cm2": 1.0, "metal": "Zn"}
COPPER = {"material": "Cu", "area_cm2": 1.0}
PLATE = {
    "type": "galvanostatic_step",
    "role": "plate",
    "current_density_ma_cm2": 1.0,
    "until": [{"quantity": "time_s", "value": 60}],
}
LOOK = OpenCircuit(duration_s=10)
WINDOW = {"potential_min_v": -1.0, "potential_max_v": 2.0}


def cell(reference: str | None = "Zn wire", **more: Any) -> Cell:
    told = {"cell_id": "A", "metal": "Zn", "electrolyte": {"composition": "2 mol/L ZnSO4"}}
    electrodes = {"working_electrode": COPPER, "counter_electrode": ZINC}
    return Cell.model_validate({**told, **electrodes, "reference_electrode": reference, **more})


def protocol(technique: dict[str, Any], **more: Any) -> Protocol:
    told = {"name": "short", "cell": "A", "technique": technique, **more}
    return Protocol.model_validate(told)


def rest(duration_s: float) -> dict[str, Any]:
    return {"type": "open_circuit", "duration_s": duration_s}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "sequence", "steps": list(steps)}


@pytest.mark.parametrize("reference", ["Zn wire", "zinc", "Zn", "Zn/Zn2+ (2 mol/L)", "Zinc ring"])
def test_a_metal_against_itself_has_no_potential(reference: str) -> None:
    assert known_potential(cell(reference)) == KnownPotential("CE", 0.0)


@pytest.mark.parametrize("reference", ["Hg/Hg2SO4", "Ag/AgCl", "Zn-Hg", "Na3Bi", "Na ring", "zn"])
def test_against_something_else_it_must_be_told(reference: str) -> None:
    assert "give metal_vs_reference_v" in str(known_potential(cell(reference)))
    told = known_potential(cell(reference, metal_vs_reference_v=-1.42))
    assert told == KnownPotential("CE", -1.42)


def test_the_counter_electrode_is_looked_at_unless_only_the_working_electrode_is_metal() -> None:
    both = cell(working_electrode=ZINC)
    assert known_potential(both) == KnownPotential("CE", 0.0)
    working = cell(working_electrode=ZINC, counter_electrode=COPPER)
    assert known_potential(working) == KnownPotential("WE", 0.0)
    assert "neither electrode holds Zn" in str(known_potential(cell(counter_electrode=COPPER)))
    covered = {**COPPER, "predeposited_mah_cm2": 1.0}
    assert known_potential(cell(counter_electrode=covered)) == KnownPotential("CE", 0.0)


def test_an_offset_is_what_differs_from_what_is_known() -> None:
    assert KnownPotential("CE", 0.0).offset_v(0.25, 0.24) == pytest.approx(0.01)
    assert KnownPotential("CE", -1.42).offset_v(-1.2, 0.2) == pytest.approx(0.02)
    assert KnownPotential("WE", 0.0).offset_v(0.003, 0.5) == pytest.approx(0.003)


def test_a_cell_of_two_electrodes_has_no_reference_to_be_checked() -> None:
    two = cell(None)
    assert "two-electrode" in str(known_potential(two))
    assert reference_bound(two) is None
    with pytest.raises(ValueError, match="no reference_electrode is named"):
        cell(None, metal_vs_reference_v=0.1)


def test_what_the_instrument_demands_follows_from_the_cell() -> None:
    bound = reference_bound(cell(reference_check=ReferenceCheck(refuse_above_v=0.05)))
    assert bound is not None
    assert (bound.name, bound.electrode, bound.within_v) == ("Zn wire", "CE", 0.05)
    unknown = reference_bound(cell("Ag/AgCl"))
    assert unknown is not None
    assert unknown.electrode is None


@pytest.mark.parametrize(
    ("technique", "begins", "ends"),
    [
        (PLATE, True, True),
        (sequence(rest(10), PLATE), False, True),
        (sequence(PLATE, rest(10)), True, False),
        (sequence(rest(9), PLATE, rest(30)), True, False),
        (rest(60), False, False),
        (rest(5), True, True),
        ({"type": "block", "name": "all", "step": sequence(rest(60), PLATE)}, False, True),
        ({"type": "repeat", "times": 2, "step": sequence(rest(60), PLATE, rest(60))}, True, True),
    ],
)
def test_a_program_begins_and_ends_with_a_look_at_the_reference(
    technique: dict[str, Any], begins: bool, ends: bool
) -> None:
    written = protocol(technique).technique
    program = protocol(technique).program(cell())
    assert protocol(technique).program(cell(None)) == written
    if not (begins or ends):
        assert program == written
        return
    assert isinstance(program, Sequence)
    assert program.steps == (LOOK,) * begins + (written,) + (LOOK,) * ends
    assert with_looks(program, cell()) == program


def test_how_long_a_look_lasts_is_told_by_the_cell() -> None:
    patient = cell(reference_check={"look_s": 120})
    steps = list(elementary_steps(protocol(sequence(rest(60), PLATE)).program(patient)))
    assert [getattr(step, "duration_s", None) for step in steps] == [120, 60, None, 120]


def test_at_each_temperature_the_reference_is_looked_at() -> None:
    told = protocol(PLATE, temperatures={"kelvin": [298.15, 308.15]})
    program = told.program(cell())
    assert isinstance(program, Sequence)
    kinds = [[step.type for step in elementary_steps(part)] for part in program.steps]
    assert kinds == [["open_circuit", "open_circuit", "galvanostatic_step", "open_circuit"]] * 2


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_the_middle_is_the_median_and_its_uncertainty_that_of_the_scatter(
    values: list[float],
) -> None:
    median, uncertainty = middle(values)
    assert median == pytest.approx(statistics.median(values))
    scatter = statistics.stdev(values) if len(values) > 1 else 0.0
    assert uncertainty == pytest.approx(
        1.2533141 * scatter / len(values) ** 0.5, rel=1e-6, abs=1e-9
    )


# -- the limit of |E_WE - E_CE|


def assigned(most: float | None, *, reference: bool, **window: float) -> Assignment:
    limits = {**WINDOW, **window, "cell_potential_max_v": most}
    told = {"technique": PLATE, "area_cm2": 1.0, "reference": reference, "limits": limits}
    return Assignment.model_validate(told)


def test_without_a_reference_the_largest_cell_potential_narrows_the_window() -> None:
    two = assigned(1.5, reference=False)
    assert two.bounds == SafetyLimits(potential_min_v=-1.0, potential_max_v=1.5)
    assert two.violations() == []
    alone = Assignment.model_validate(
        {"technique": PLATE, "area_cm2": 1.0, "limits": {"cell_potential_max_v": 1.5}}
    )
    assert alone.violations() == []
    three = assigned(1.5, reference=True)
    assert three.bounds == three.limits


def test_a_largest_cell_potential_that_leaves_no_window_is_refused() -> None:
    (told,) = assigned(0.5, reference=False, potential_min_v=1.0).violations()
    assert told.startswith("cell_potential_max_v 0.5 V leaves nothing")
    assert assigned(0.5, reference=True, potential_min_v=1.0).violations() == []


def test_the_smaller_of_two_largest_cell_potentials_counts() -> None:
    bench, own = SafetyLimits(cell_potential_max_v=2.0), SafetyLimits(cell_potential_max_v=1.2)
    assert bench.narrowed_by(own).cell_potential_max_v == 1.2
    assert bench.narrowed_by(SafetyLimits()).cell_potential_max_v == 2.0
