"""A cell that was put into a station: what is held against it, and what is not."""

from typing import Any

import pytest

from operando.queueing._fitness import judged
from operando.queueing._known import Known
from operando.queueing.look import Look
from techniques import Cell, SafetyLimits

LIMITS = SafetyLimits(potential_min_v=-1.0, potential_max_v=1.0, current_max_a=0.025)
ZINC = {"material": "Zn", "area_cm2": 1.131, "metal": "Zn", "thickness_um": 100}
COPPER = {"material": "Cu", "area_cm2": 1.131}
CATHODE = {"material": "MnO2", "area_cm2": 1.131, "active_mass_mg": 3.0}


def cell(working: Any = COPPER, counter: Any = ZINC, **more: Any) -> Cell:
    told = {
        "cell_id": "ZN-1",
        "metal": "Zn",
        "working_electrode": working,
        "counter_electrode": counter,
        "electrolyte": {"composition": "2 mol/L ZnSO4"},
    }
    return Cell.model_validate(told | more)


def look(ocv_v: float | None = 0.9, series: float | None = 2.0, **more: Any) -> Look:
    told = {
        "run_uid": "u",
        "exit_status": "success",
        "ocv_v": ocv_v,
        "ocv_spread_v": 0.001,
        "series_ohm": series,
        "lowest_ohm": None if series is None else series + 50.0,
        "lowest_hz": 10.0,
    }
    return Look.model_validate(told | more)


def found(of: Cell, seen: Look, known: Known) -> str:
    return "; ".join(judged(of, seen, known, LIMITS).findings)


SYMMETRIC = cell(ZINC, ZINC)


@pytest.mark.parametrize(
    ("of", "seen", "known"),
    [
        (cell(), look(), Known()),
        (cell(ZINC, COPPER, metal_electrode="CE"), look(-0.9), Known()),
        (SYMMETRIC, look(0.002), Known()),
        (cell(CATHODE, ZINC), look(1.4), Known()),
        # Covered with what was plated on it.
        (cell(), look(0.004), Known(run="r", metal_mah_cm2=(("WE", 0.5), ("CE", 50.0)))),
        # Drifted since it was left, and its contacts were made anew.
        (cell(), look(0.7, 2.9), Known(run="r", open_circuit_v=0.9, series_ohm=2.0)),
        # No spectrum: the instrument does none.
        (cell(), look(0.9, None, no_spectrum="it does no impedance spectrum"), Known()),
    ],
)
def test_a_cell_as_it_should_be_is_mounted(of: Cell, seen: Look, known: Known) -> None:
    assert found(of, seen, known) == ""


@pytest.mark.parametrize(
    ("of", "seen", "known", "told"),
    [
        (cell(), look(-0.9), Known(), "wrong sign"),
        (cell(CATHODE, ZINC), look(-1.4), Known(), "wrong sign"),
        (SYMMETRIC, look(0.4), Known(), "within 0.1 V of 0"),
        (cell(), look(0.001), Known(), "shorted"),
        (cell(), look(-0.8), Known(run="r", open_circuit_v=0.9), "cables"),
        (cell(), look(0.5), Known(run="r", open_circuit_v=0.9), "same cell"),
        (SYMMETRIC, look(0.4), Known(run="r", open_circuit_v=0.3), "within 0.1 V of 0"),
        (cell(), look(0.9, 40000.0), Known(), "is a lead off"),
        (cell(), look(0.9, 60.0), Known(), "more than half of the potential window"),
        (SYMMETRIC, look(0.0, 0.2, lowest_ohm=0.201), Known(), "has no arc"),
        (cell(), look(0.9, None, lowest_ohm=5.0), Known(), "no series resistance"),
        (cell(), look(0.9, 9.0), Known(series_ohm=2.0, series_run="s"), "it was 2 ohm"),
        (cell(), look(0.9, 0.4), Known(series_ohm=3.0, series_run="s"), "it was 3 ohm"),
        (cell(), look(ocv_spread_v=0.2), Known(), "moved by 200 mV"),
        (cell(), look(overloaded=0.6), Known(), "overloaded in 60%"),
        (cell(), look(None, None, reason="the cable is off"), Known(), "the cable is off"),
        (cell(), look(exit_status="fail", reason="a limit"), Known(), "ended early: a limit"),
    ],
)
def test_what_speaks_against_a_cell_is_told(of: Cell, seen: Look, known: Known, told: str) -> None:
    assert told in found(of, seen, known)


def test_what_was_expected_and_what_could_not_be_judged_is_told() -> None:
    known = Known(run="r" * 36, open_circuit_v=0.01, series_ohm=2.0, series_run="s")
    verdict = judged(SYMMETRIC, look(0.0), known, LIMITS)
    assert verdict.expected == {
        "ocv_v": 0.01,
        "ocv_run": "r" * 36,
        "series_ohm": 2.0,
        "series_run": "s",
    }
    assert any("no polarity" in one for one in verdict.told)
    verdict = judged(cell(), look(0.9, None, no_spectrum="no impedance here"), Known(), LIMITS)
    assert any("no impedance here" in one for one in verdict.told)
