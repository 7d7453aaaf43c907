"""The most hydrogen that a program can make in a closed headspace, and the pressure of it."""

from typing import Any

import pytest

from techniques import Assignment, Cell, Protocol
from techniques.headspace import Headspace

ZINC = {"material": "Zn", "area_cm2": 2.0, "metal": "Zn", "thickness_um": 100}
COPPER = {"material": "Cu", "area_cm2": 2.0}
CATHODE = {"material": "PB", "area_cm2": 2.0, "active_mass_mg": 10, "specific_capacity_mah_g": 60}
HALF = {
    "cell_id": "closed",
    "metal": "Zn",
    "working_electrode": COPPER,
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
    "headspace": "closed",
    "headspace_ml": 10.0,
}
OF_FOIL_MAH = 2.0 * 58.54  # 100 um of zinc


def cell(**changes: Any) -> Cell:
    return Cell.model_validate({**HALF, **changes})


def headspace(**changes: Any) -> Headspace:
    found = Headspace.of(cell(**changes))
    assert found is not None
    return found


def program(cycles: int = 1, **steps: Any) -> dict[str, Any]:
    def half(role: str, mah: float) -> dict[str, Any]:
        ends = [{"quantity": "charge_mah_cm2", "value": mah}]
        return {"current_density_ma_cm2": 1.0, "until": ends, **steps.get(role, {})}

    return {
        "type": "plate_strip_cycle",
        "plate": half("plate", 1.0),
        "strip": half("strip", 0.9),
        "cycles": cycles,
    }


def worst_mah(technique: dict[str, Any], **changes: Any) -> float:
    on = cell(**changes)
    told = {"name": "one", "cell": "closed", "technique": technique}
    assignment = Assignment(
        technique=Protocol.model_validate(told).program(on),
        area_cm2=on.area_cm2,
        metal_electrode=on.metal_electrode,
        limits={"current_max_a": 0.01},
    )
    found = Headspace.of(on)
    assert found is not None
    return found.worst_case_mah(assignment)


def test_the_pressure_is_that_of_an_ideal_gas_of_two_electrons_a_molecule() -> None:
    # 13 mAh are 242.5 umol of hydrogen: 0.6012 J at 298.15 K, in 10 mL.
    assert headspace().overpressure_kpa(13.0) == pytest.approx(60.12, rel=1e-3)
    assert headspace(temperature_max_k=333.15).overpressure_kpa(13.0) == pytest.approx(
        67.18, rel=1e-3
    )
    assert headspace(headspace_kpa=121.325).overpressure_kpa(0.0) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("changes", "plated", "stripped", "hydrogen"),
    [
        # A bare electrode: what was stripped had been metal; the foil opposite may make hydrogen.
        ({}, 2.0, 1.5, 0.5 + 1.5),
        ({"headspace_separated": True}, 2.0, 1.5, 0.5),
        ({"headspace_separated": True}, 1.0, 1.5, 0.0),
        # Foil: what is stripped may be of the foil, and all that was plated hydrogen.
        ({"working_electrode": ZINC}, 2.0, 1.5, 3.5),
        ({"working_electrode": ZINC, "headspace_separated": True}, 2.0, 1.5, 2.0),
        # A cathode takes up ions.
        ({"working_electrode": ZINC, "counter_electrode": CATHODE}, 2.0, 1.5, 2.0),
        ({"counter_electrode": CATHODE}, 2.0, 1.5, 0.5),
        # Not more than there is metal to be oxidised in its place.
        ({}, 900.0, 1.0, OF_FOIL_MAH),
        ({"counter_electrode": {**ZINC, "thickness_um": None}}, 900.0, 1.0, 900.0),
    ],
)
def test_what_is_not_accounted_for_as_metal_may_be_hydrogen(
    changes: dict[str, Any], plated: float, stripped: float, hydrogen: float
) -> None:
    found = headspace(**changes).hydrogen_mah(plated, stripped)
    assert found == pytest.approx(hydrogen, rel=1e-3)


def test_a_program_counts_with_the_most_that_each_step_can_pass() -> None:
    assert worst_mah(program(3)) == pytest.approx(3 * 2.0)
    assert worst_mah(program(3), working_electrode=ZINC) == pytest.approx(3 * 3.8)
    assert worst_mah(program(1000)) == pytest.approx(OF_FOIL_MAH, rel=1e-3)
    ends = [{"quantity": "time_s", "value": 720.0}]
    hold = {"type": "potentiostatic_step", "potential_v": -0.1, "until": ends}
    assert worst_mah(hold) == pytest.approx(10.0 * 0.2)  # 10 mA for 720 s
    assert worst_mah({"type": "open_circuit", "duration_s": 1e4}) == 0.0
    nested = {
        "type": "repeat",
        "times": 4,
        "step": {"type": "sequence", "steps": [hold, program()]},
    }
    assert worst_mah(nested) == pytest.approx(4 * 4.0)


def test_only_a_closed_headspace_above_water_is_watched() -> None:
    for other in ({"headspace": "open"}, {"headspace": "swept"}, {"headspace": None}):
        assert Headspace.of(cell(**other)) is None
    sodium = {"metal": "Na", "working_electrode": COPPER, "counter_electrode": COPPER}
    assert Headspace.of(cell(**sodium)) is None
    assert Headspace.of(cell(dummy="R 1000 ohm")) is None
    with pytest.raises(ValueError, match="give headspace_ml"):
        cell(headspace_ml=None)
