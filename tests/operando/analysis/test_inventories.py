"""What a cell starts with, and where it is given up."""

import math
from typing import Any

import pytest

from operando.analysis.failure import PotentialWindow
from operando.analysis.inventory import given_up_beyond, metal_at_start_mah_cm2
from techniques import Cell

ZINC = {"material": "Zn", "area_cm2": 1.131, "metal": "Zn", "thickness_um": 100}
COPPER = {"material": "Cu", "area_cm2": 1.131}
LIMITS = {"effective": {"potential_min_v": -1.0, "potential_max_v": 1.5}}


def cell(working: dict[str, Any] = ZINC, **more: Any) -> Cell:
    told = {"cell_id": "1", "metal": "Zn", "electrolyte": {"composition": "2 mol/L ZnSO4"}}
    electrodes = {"working_electrode": working, "counter_electrode": ZINC}
    return Cell.model_validate({**told, **electrodes, **more})


def limit(quantity: str, value: float, action: str = "next") -> dict[str, Any]:
    return {"quantity": quantity, "value": value, "action": action}


def window(*until: dict[str, Any], which: str = "WE") -> PotentialWindow:
    technique = {"type": "repeat", "times": 2, "step": {"type": "any", "until": list(until)}}
    start = {"technique": technique, "limits": LIMITS}
    return given_up_beyond(start, cell(metal_electrode=which))


def test_the_effective_limits_are_those_of_the_metal_electrode() -> None:
    assert window() == PotentialWindow(-1.0, 1.5)
    assert window(which="CE") == PotentialWindow(-1.5, 1.0)
    assert given_up_beyond({}, cell()) == PotentialWindow(-math.inf, math.inf)


def test_a_limit_that_stops_the_program_narrows_them() -> None:
    assert window(limit("abs_potential_above_v", 0.4, "stop")) == PotentialWindow(-0.4, 0.4)
    assert window(limit("potential_above_v", 0.4, "stop")) == PotentialWindow(-1.0, 0.4)
    assert window(limit("potential_below_v", -0.4, "stop")) == PotentialWindow(-0.4, 1.5)


def test_a_side_on_which_half_cycles_end_at_a_cut_off_has_no_limit() -> None:
    # Where the last metal goes, the last row of a strip can lie beyond the safety limit.
    strip = limit("potential_above_v", 0.5)
    assert window(strip) == PotentialWindow(-1.0, math.inf)
    assert window(strip, limit("potential_above_v", 0.5, "stop")).high_v == math.inf
    assert window(limit("abs_potential_above_v", 0.5)) == PotentialWindow(-math.inf, math.inf)


def test_the_metal_at_the_start_is_foil_and_deposit() -> None:
    assert metal_at_start_mah_cm2(cell())[0] == pytest.approx(58.5, rel=2e-3)
    assert metal_at_start_mah_cm2(cell(COPPER)) == (0.0, None)
    deposited = {**COPPER, "predeposited_mah_cm2": 2.0}
    assert metal_at_start_mah_cm2(cell(deposited)) == (2.0, None)
    unknown, why = metal_at_start_mah_cm2(cell({**ZINC, "thickness_um": None}))
    assert unknown is None
    assert "thickness" in str(why)
    full = metal_at_start_mah_cm2(cell(COPPER, counter_electrode={**COPPER, "active_mass_mg": 2.0}))
    assert full[0] is None
