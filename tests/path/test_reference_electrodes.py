"""The check of a reference electrode, from the plan to the numbers and the stop document."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.potentiostat.contract import LOOK, SAFETY_LIMIT_PASSED
from operando.analysis import metrics
from operando.analysis.segments import recorded_half_cycles
from operando.runs import Run
from operando.session import RunFailedError
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
    assert "he reference electrode (Zn wire) is off" in run.stop["reason"]
    said = re.search(r"moved by (-[\d.]+) mV", run.stop["reason"])
    assert said is not None
    assert float(said[1]) == pytest.approx(drift.value, abs=0.1)
    # The protocol begins with open circuit, and ends within a cycle.
    written = run.start["technique_as_written"]
    assert run.start["technique"]["steps"][0] == written
    assert [step["type"] for step in run.start["technique"]["steps"][1:]] == ["open_circuit"]


def ended_early(how: str) -> Protocol:
    """Return a plating and a strip that something ends before their end, and a rest behind them."""

    def half(role: str, charge: float, action: str = "next") -> dict[str, Any]:
        return {
            "type": "galvanostatic_step",
            "role": role,
            "current_density_ma_cm2": 2.0,
            "until": [{"quantity": "charge_mah_cm2", "value": charge, "action": action}],
            "record": {"dt_s": 5.0, "edge_dt_s": 1.0},
        }

    rest = {"type": "open_circuit", "duration_s": 5000}
    steps = {
        "a limit of the technique": [half("plate", 0.1), half("strip", 0.05, "stop"), rest],
        "a safety limit": [half("plate", 0.1), half("strip", 0.2), rest],
        "a rule": [half("plate", 0.5), rest],
    }
    tip = {"name": "tip", "when": {"event": "nucleation_tip"}, "then": [{"do": "open_cell"}]}
    told = {
        "name": "ended early",
        "cell": CELL,
        "technique": {"type": "sequence", "steps": steps[how]},
        "rules": [tip] if how == "a rule" else [],
    }
    return Protocol.model_validate(told)


@pytest.mark.parametrize(
    ("how", "ended", "status"),
    [
        ("a limit of the technique", True, "success"),
        ("a safety limit", False, "fail"),
        ("a rule", False, "success"),
    ],
)
def test_a_reference_is_looked_at_also_after_what_ended_the_program(
    make_chain: Callable[..., Any], how: str, ended: bool, status: str
) -> None:
    chain = make_chain("zn-bare-half-bad-reference", factor=1000)
    try:
        uid = chain.run(ended_early(how), CELL)
    except RunFailedError as error:
        uid = error.uid
    run = Run.from_journal(uid, chain.data)
    assert run.stop is not None
    assert run.stop["exit_status"] == status
    columns = run.streams["potentiostat"].columns
    looked = columns["potentiostat_flags"].astype(int) & LOOK != 0
    # The last rows, at open circuit, and the instrument closed the cell for none of them.
    first = int(np.argmax(looked))
    assert 5 <= np.count_nonzero(looked) <= 15
    assert looked[first:].all()
    assert not columns["potentiostat_role"][first:].any()
    assert not columns["potentiostat_current"][first:].any()
    t_s, step = columns["potentiostat_t"], columns["potentiostat_step"]
    assert (np.diff(t_s) > 0).all()
    assert step[-1] == step[first - 1] + 1
    events = [line["event"] for line in chain.truth("potentiostat")]
    assert events.count("cell_on") == events.count("cell_off") > 0
    # The second number of the drift.
    found = metrics(run)
    made = chain.truth("cell", "made")[0]["parameters"]
    wire_v = made["reference_offset_v"] + made["reference_drift_v_h"] * (t_s[-1] - 5) / 3600
    after = found["reference_offset_after_mv"]
    assert after.value == pytest.approx(-1e3 * wire_v, abs=4 * after.uncertainty)
    assert found["reference_drift_mv"].value is not None
    # A look ends no half-cycle that something else has cut off.
    assert recorded_half_cycles(run, area_cm2=1.131)[-1].ended is ended
    assert "he reference electrode (Zn wire) is off" in run.stop["reason"]
    said = {"a safety limit": SAFETY_LIMIT_PASSED, "a rule": "rule 'tip'"}.get(how, "limit")
    assert said in run.stop["reason"]
