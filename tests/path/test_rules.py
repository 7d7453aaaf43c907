"""Rules on a run that goes on: what was seen, what was done, and that nothing was lost by it."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.analysis.segments import recorded_half_cycles
from operando.runs import Run
from techniques import Protocol, Rule

FACTOR = 1000
CHARGE = 0.2
QUICK = {"amplitude_rms_v": 0.005, "frequency_max_hz": 1e5, "frequency_min_hz": 1e3}
TAKE_SPECTRUM = {"do": "impedance_spectrum", "spectrum": QUICK}


def rule(event: str, *then: dict[str, Any], **more: Any) -> Rule:
    return Rule.model_validate(
        {"name": f"on {event}", "when": {"event": event}, "then": list(then), **more}
    )


def with_rules(protocol: Protocol, *rules: Rule) -> Protocol:
    return protocol.model_copy(update={"rules": rules})


@pytest.fixture(scope="module")
def interrupted(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> tuple[Any, Run]:
    """Return a chain and its run of two cycles, the first plating of which a rule interrupted."""
    chain = make_chain("zn-bare-half", factor=FACTOR)
    record = {"dt_s": 10.0, "edge_dt_s": 1.0, "edge_for_s": 60.0}
    protocol = plate_strip("zn-bare-half", 1.0, CHARGE, cycles=2, record=record)
    uid = chain.run(with_rules(protocol, rule("nucleation_tip", TAKE_SPECTRUM)), "zn-bare-half")
    return chain, Run.from_journal(uid, chain.data)


def test_a_spectrum_is_taken_within_the_half_cycle_and_the_program_goes_on_to_its_end(
    interrupted: tuple[Any, Run],
) -> None:
    _, run = interrupted
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    points = run.streams["impedance"].columns
    assert set(points["potentiostat_impedance_half_cycle"]) == {1}
    assert set(points["potentiostat_impedance_cycle"]) == {1}
    columns = run.streams["potentiostat"].columns
    t, step = columns["potentiostat_t"], columns["potentiostat_step"]
    assert np.all(np.diff(t) >= 0)
    assert np.all(np.diff(step) >= 0)
    # OCP, plating, spectrum, plating, rest, strip, rest, and four of the second cycle.
    assert step[-1] == 11
    plating = columns["potentiostat_half_cycle"][columns["potentiostat_role"] == -1]
    assert sorted(set(plating)) == [1, 3]
    assert list(columns["potentiostat_cycle"][[0, -1]]) == [0, 2]


def test_the_interrupted_plating_passes_its_whole_charge_and_no_more(
    interrupted: tuple[Any, Run],
) -> None:
    chain, run = interrupted
    first, _, second, _ = recorded_half_cycles(run, area_cm2=1.131)
    assert first.lasted_s == pytest.approx(second.lasted_s, abs=2.0)
    assert first.capacity_mah_cm2 == pytest.approx(second.capacity_mah_cm2, rel=2e-3)
    (gap,) = first.interruptions
    assert 0 < gap.for_s < 60
    # The cell's own ledger says the same: two parts of one plating, and what came back of it.
    before, passed = {"charge_cathodic": 0.0, "charge_anodic": 0.0}, []
    for segment in chain.truth("potentiostat", "segment"):
        ledger = segment["ledger"]["WE"]
        if segment["technique"] == "cp":
            passed.append(sum(ledger[key] - before[key] for key in before))
        before = {key: ledger[key] for key in before}
    plated, rest_of_it, stripped, *later = passed
    assert len(later) == 2
    assert plated + rest_of_it == pytest.approx(CHARGE, rel=3e-3)
    found = metrics(run)["ce_pct"]
    true_pct = [100 * stripped / (plated + rest_of_it), 100 * later[1] / later[0]]
    assert found.value == pytest.approx(true_pct, rel=5e-3)
    # What the instrument's offset does to both cycles aside, the interruption changed nothing.
    first_ratio, second_ratio = np.divide(found.value, true_pct)
    assert first_ratio == pytest.approx(second_ratio, abs=2e-4)


def test_what_was_seen_and_what_was_done_is_on_record(interrupted: tuple[Any, Run]) -> None:
    _, run = interrupted
    told = run.streams["rules"].columns
    assert list(told["rules_rule"]) == ["on nucleation_tip"]
    assert list(told["rules_actions"]) == ["impedance_spectrum"]
    assert told["rules_half_cycle"][0] == 1
    programs = run.streams["programs"].columns
    assert [reason.partition(":")[0] for reason in programs["programs_reason"]] == [
        "a spectrum",
        "what was left of the program",
    ]
    assert run.start["rules"][0]["when"]["event"] == "nucleation_tip"
    begun = programs["programs_t"]
    tip = float(told["rules_t"][0])
    assert tip <= begun[0] < begun[1]
    assert math.isfinite(begun[1])


def test_a_spectrum_that_waits_for_a_rest_interrupts_no_half_cycle(
    make_chain: Callable[..., Any], plate_strip: Callable[..., Protocol]
) -> None:
    chain = make_chain("zn-bare-half", factor=FACTOR)
    protocol = plate_strip(
        "zn-bare-half", 1.0, CHARGE, rest_s=60.0, record={"dt_s": 10.0, "edge_dt_s": 1.0}
    )
    patient = rule("nucleation_tip", {**TAKE_SPECTRUM, "when": "next_rest"})
    uid = chain.run(with_rules(protocol, patient), "zn-bare-half")
    run = Run.from_journal(uid, chain.data)
    halves = recorded_half_cycles(run, area_cm2=1.131)
    assert [half.role for half in halves] == [-1, 1]
    assert [half.interruptions for half in halves] == [(), ()]
    at = run.streams["impedance"].columns["potentiostat_impedance_t"]
    assert halves[0].t_s[-1] < at[0] < at[-1] < halves[1].t_s[0]
    # The rest goes on for what was left of it.
    columns = run.streams["potentiostat"].columns
    rests = columns["potentiostat_role"] == 0
    between = rests & (columns["potentiostat_half_cycle"] == 1)
    steps = np.unique(columns["potentiostat_step"][between])
    assert len(steps) == 2
    rested = [
        columns["potentiostat_step_t"][between][columns["potentiostat_step"][between] == step][-1]
        for step in steps
    ]
    assert sum(rested) == pytest.approx(60.0, abs=0.5)


def test_a_hard_short_opens_the_cell_and_ends_the_run_as_a_success_that_says_why(
    make_chain: Callable[..., Any],
) -> None:
    chain = make_chain("zn-bare", factor=FACTOR)
    half = {
        "current_density_ma_cm2": 2.0,
        "until": [{"quantity": "time_s", "value": 200}],
        "record": {"dt_s": 5, "edge_dt_s": 1, "edge_for_s": 20},
    }
    protocol = Protocol.model_validate(
        {
            "name": "to a short",
            "cell": "zn-bare",
            "technique": {"type": "plate_strip_cycle", "cycles": 60, "plate": half, "strip": half},
            "rules": [rule("hard_short", {"do": "open_cell"})],
        }
    )
    with chain.simulated(leader_only=True), chain.session() as session:
        fault = {"instrument": "cell", "fault": "hard-short", "at": 5000, "ohm": 0.5}
        (chain.sim / "faults").write_text(json.dumps(fault) + "\n")
        uid = session.run_protocol(protocol)
    run = Run.from_journal(uid, chain.data)
    assert run.stop is not None
    assert run.stop["exit_status"] == "success"
    assert run.stop["reason"].startswith("rule 'on hard_short': ")
    last = run.streams["potentiostat"].columns["potentiostat_t"][-1]
    assert 5000 < last < 60 * 400
    assert list(run.streams["rules"].columns["rules_event"]) == ["hard_short"]
