"""Thresholds of the failure rules: what a protocol may say, and what it is told when it may not."""

from typing import Any

import pytest
from pydantic import ValidationError

from plans.synchronised import protocol_told
from techniques import Cell, DropCriteria, FailureCriteria, Protocol

PROTOCOL = {
    "name": "p",
    "cell": "zn-bare",
    "technique": {"type": "open_circuit", "duration_s": 5},
}
ZINC = {"material": "Zn", "area_cm2": 1.131, "metal": "Zn"}
CELL = {
    "cell_id": "ZN-1",
    "metal": "Zn",
    "working_electrode": ZINC,
    "counter_electrode": ZINC,
    "electrolyte": {"composition": "2 mol/L ZnSO4"},
}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"hard_share": 1.0}, "less than 1"),
        ({"hard_half_cycles": 1}, "greater than or equal to 2"),
        ({"polarisation_factor": 1.0}, "greater than 1"),
        ({"ce_above_pct": 98.0}, "greater than or equal to 100"),
        ({"noise_cycles": 0}, "greater than or equal to 1"),
        ({"drops": {"drop": 0.0}}, "greater than 0"),
        ({"drops": {"window": 4}}, "greater than or equal to 5"),
        ({"drops": {"least_v": float("nan")}}, "finite"),
        ({"drops": {"drop": 0.1}}, "an event would be over before it began"),
        ({"baseline_from": 5, "baseline_to": 6}, "asks for 3 half-cycles, and .* are 2"),
        ({"baseline_from": 9, "baseline_to": 6}, "are 0"),
        ({"hard_shares": 0.1}, "Extra inputs"),
    ],
)
def test_a_threshold_out_of_range_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Protocol.model_validate({**PROTOCOL, "failure_criteria": wrong})


def test_a_start_document_has_all_thresholds_of_a_protocol_that_has_some_and_else_none() -> None:
    cell = Cell.model_validate(CELL)
    assert "failure_criteria" not in protocol_told(Protocol.model_validate(PROTOCOL), cell)
    some = {"failure_criteria": {"hard_share": 0.05}}
    told = protocol_told(Protocol.model_validate({**PROTOCOL, **some}), cell)["failure_criteria"]
    assert told["hard_share"] == 0.05
    # Those that were not told, too: what a later version takes for its default judges no old run.
    assert told["polarisation_factor"] == 3.0
    assert told.keys() == FailureCriteria.model_fields.keys()
    assert told["drops"].keys() == DropCriteria.model_fields.keys()


def test_thresholds_of_a_cell_hold_instead_of_the_protocol_s_one_by_one() -> None:
    own = {"hard_share": 0.2, "drops": {"after_edge": 5}}
    cell = Cell.model_validate({**CELL, "failure_criteria": own})
    criteria = {"hard_share": 0.05, "polarisation_factor": 5.0, "drops": {"drop": 0.3}}
    protocol = Protocol.model_validate({**PROTOCOL, "failure_criteria": criteria})
    told = protocol_told(protocol, cell)
    held = FailureCriteria.model_validate(told["failure_criteria"])
    assert (held.hard_share, held.polarisation_factor) == (0.2, 5.0)
    assert (held.drops.drop, held.drops.after_edge) == (0.3, 5)
    assert told["failure_criteria_of_protocol"]["hard_share"] == 0.05
    # In the record stands what the cell file told, without defaults that nobody told.
    assert cell.model_dump(mode="json")["failure_criteria"] == own
    again = Cell.model_validate(cell.model_dump(mode="json"))
    assert protocol.failure_criteria_on(again) == held
    silent = protocol_told(Protocol.model_validate(PROTOCOL), cell)
    assert silent["failure_criteria"]["hard_share"] == 0.2
    assert "failure_criteria_of_protocol" not in silent


def test_thresholds_of_a_cell_that_contradict_the_protocol_s_are_refused_by_name() -> None:
    cell = Cell.model_validate({**CELL, "failure_criteria": {"drops": {"recovered": 0.85}}})
    some = {"failure_criteria": {"drops": {"drop": 0.1, "recovered": 0.95}}}
    protocol = Protocol.model_validate({**PROTOCOL, **some})
    with pytest.raises(ValueError, match=r"of cell 'ZN-1': .*over before it began"):
        protocol_told(protocol, cell)


def test_what_differs_from_the_default_is_told_with_both_values() -> None:
    criteria = FailureCriteria(
        hard_share=0.05, drops=DropCriteria(drop=0.3, recovered=0.8, least_v=2e-3)
    )
    assert criteria.not_default(["drops", "hard_share", "ohmic_within"]) == [
        "drop 0.3 instead of 0.2",
        "recovered 0.8 instead of 0.9",
        "least_v 0.002 instead of the potential's offset",
        "hard_share 0.05 instead of 0.1",
    ]
    assert criteria.not_default(["polarisation_factor"]) == []
    assert FailureCriteria().not_default(FailureCriteria.model_fields) == []
