"""Which rules a technique has where a protocol says nothing of rules."""

from typing import Any

import pytest

from techniques import Cell, FailureCriteria, Protocol
from techniques.default_rules import OVERRUN_ENDS

HALF = {
    "current_density_ma_cm2": 1.0,
    "until": [{"quantity": "time_s", "value": 60}],
}
STRIP = {"type": "galvanostatic_step", "role": "strip", **HALF}
PLATE = {"type": "galvanostatic_step", "role": "plate", **HALF}
REST = {"type": "open_circuit", "duration_s": 60}
SLOW = {**HALF, "current_density_ma_cm2": 0.5}
SHORT, OVERRUN = "hard_short", "strip_overrun"
SYMMETRIC = {
    "type": "symmetric_cycling",
    "current_density_ma_cm2": 1.0,
    "capacity_mah_cm2": 1.0,
    "cycles": 3,
}


def cycles(count: int, strip: dict[str, Any] = HALF) -> dict[str, Any]:
    return {"type": "plate_strip_cycle", "plate": HALF, "strip": strip, "cycles": count}


def several(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "sequence", "steps": list(steps)}


def times(count: int, step: dict[str, Any]) -> dict[str, Any]:
    return {"type": "repeat", "times": count, "step": step}


def protocol(technique: dict[str, Any], **more: Any) -> Protocol:
    told = {"name": "p", "cell": "zn-bare-half", "technique": technique}
    return Protocol.model_validate({**told, **more})


@pytest.mark.parametrize(
    ("technique", "events"),
    [
        (REST, []),
        (PLATE, []),
        (STRIP, [OVERRUN]),
        (cycles(2), [OVERRUN]),
        (cycles(3), [SHORT, OVERRUN]),
        # A baseline of each current, and a half-cycle of each below it.
        (cycles(3, SLOW), [OVERRUN]),
        (cycles(4, SLOW), [SHORT, OVERRUN]),
        (times(3, several(cycles(1), REST)), [SHORT, OVERRUN]),
        (times(4, several(PLATE, REST)), []),
        (times(5, several(PLATE, REST)), [SHORT]),
        (several(cycles(1), cycles(2)), [SHORT, OVERRUN]),
        ({"type": "impedance_series", "cycling": SYMMETRIC}, [SHORT, OVERRUN]),
        (
            {
                "type": "nucleation_series",
                "current_densities_ma_cm2": [1.0, 2.0],
                "capacity_mah_cm2": 0.5,
            },
            [SHORT, OVERRUN],
        ),
        *(
            (
                {
                    "type": "pulses",
                    "role": role,
                    "current_density_ma_cm2": 1.0,
                    "pulse_s": 60,
                    "relax_s": 600,
                    "pulses": 20,
                },
                events,
            )
            for role, events in (("plate", [SHORT]), ("strip", [SHORT, OVERRUN]))
        ),
        (
            {
                "type": "rate_capability",
                "current_densities_ma_cm2": [1.0, 2.0],
                "capacity_mah_cm2": 1.0,
            },
            [SHORT, OVERRUN],
        ),
        (
            {
                "type": "reservoir_efficiency",
                "current_density_ma_cm2": 1.0,
                "reservoir_mah_cm2": 5.0,
                "cycled_mah_cm2": 1.0,
            },
            [SHORT, OVERRUN],
        ),
        ({"type": "formation", "step": SYMMETRIC}, [SHORT, OVERRUN]),
        ({"type": "formation", "step": REST}, []),
        (
            {
                "type": "full_cell_cycling",
                "charge_to_v": 1.8,
                "discharge_to_v": 0.8,
                "c_rate": 1.0,
            },
            [SHORT],
        ),
    ],
)
def test_what_plates_and_strips_again_and_again_ends_at_a_short_or_an_overrun(
    technique: dict[str, Any], events: list[str]
) -> None:
    assert [rule.when.event for rule in protocol(technique).rules] == events
    assert protocol(technique, rules=[]).rules == ()


def test_a_baseline_that_begins_earlier_tells_a_short_of_fewer_half_cycles() -> None:
    told = FailureCriteria(baseline_from=1).model_dump()
    rules = protocol(cycles(2), failure_criteria=told).rules
    assert [rule.when.event for rule in rules] == [SHORT, OVERRUN]


def test_a_full_cell_has_no_overrun_unless_a_protocol_says_so() -> None:
    zinc = {"material": "Zn", "area_cm2": 1.0, "metal": "Zn"}
    cathode = {"material": "PB", "area_cm2": 1.0, "active_mass_mg": 3.0}
    cell = {
        "cell_id": "F",
        "metal": "Zn",
        "working_electrode": zinc,
        "counter_electrode": {**cathode, "specific_capacity_mah_g": 100.0},
        "electrolyte": {"composition": "2 mol/L ZnSO4"},
    }
    full = Cell.model_validate(cell)
    half = Cell.model_validate({**cell, "counter_electrode": zinc})
    assert full.full_cell
    silent = protocol(STRIP)
    assert silent.rules_on(half) == (OVERRUN_ENDS,)
    assert silent.rules_on(full) == ()
    spoken = protocol(STRIP, rules=[OVERRUN_ENDS.model_dump()])
    assert spoken.rules_on(full) == (OVERRUN_ENDS,)
