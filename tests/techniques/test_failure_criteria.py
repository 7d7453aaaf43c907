"""Thresholds of the failure rules: what a protocol may say, and what it is told when it may not."""

from typing import Any

import pytest
from pydantic import ValidationError

from plans.synchronised import protocol_told
from techniques import DropCriteria, FailureCriteria, Protocol

PROTOCOL = {
    "name": "p",
    "cell": "zn-bare",
    "technique": {"type": "open_circuit", "duration_s": 5},
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
    assert "failure_criteria" not in protocol_told(Protocol.model_validate(PROTOCOL))
    some = {"failure_criteria": {"hard_share": 0.05}}
    told = protocol_told(Protocol.model_validate({**PROTOCOL, **some}))["failure_criteria"]
    assert told["hard_share"] == 0.05
    # Those that were not told, too: what a later version takes for its default judges no old run.
    assert told["polarisation_factor"] == 3.0
    assert told.keys() == FailureCriteria.model_fields.keys()
    assert told["drops"].keys() == DropCriteria.model_fields.keys()


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
