"""The check of a reference electrode, from the plan to the numbers and the stop document."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from operando.analysis import metrics
from operando.runs import Run
from techniques import Protocol

CELL = "zn-bare-half-reference"


def test_a_reference_that_is_off_and_drifts_is_told_before_and_after(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain("zn-bare-half-bad-reference", factor=10_000)
    run = Run.from_journal(chain.run(plate_strip(CELL, 2.0, 0.1, rest_s=400.0), CELL), chain.data)
    made = chain.truth("cell", "made")[0]["parameters"]
    columns = run.streams["potentiostat"].columns
    driven = columns["potentiostat_t"][columns["potentiostat_role"] != 0]
    look_s = 10.0
    found = metrics(run)
    for when, t_s in (
        ("before", driven[0] - look_s / 2),
        ("after", columns["potentiostat_t"][-1] - look_s / 2),
    ):
        wire_v = made["reference_offset_v"] + made["reference_drift_v_h"] * t_s / 3600
        offset = found[f"reference_offset_{when}_mv"]
        assert offset.value == pytest.approx(-1e3 * wire_v, abs=4 * offset.uncertainty)
    drift = found["reference_drift_mv"]
    assert drift.value < -10
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert "the reference electrode (Zn wire) is off" in run.stop["reason"]
    said = re.search(r"moved by (-[\d.]+) mV", run.stop["reason"])
    assert said is not None
    assert float(said[1]) == pytest.approx(drift.value, abs=0.1)
    # The protocol begins with open circuit, and ends within a cycle.
    written = run.start["technique_as_written"]
    assert run.start["technique"]["steps"][0] == written
    assert [step["type"] for step in run.start["technique"]["steps"][1:]] == ["open_circuit"]
