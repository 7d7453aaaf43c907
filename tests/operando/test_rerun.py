"""A re-run takes everything from the record, and says what the record lacks."""

import json

import pytest
from event_model import compose_run

from operando import cli
from operando.configuration import load_cell, load_protocol
from operando.journal import JournalWriter
from operando.rerun import RerunError, recorded
from plans.synchronised import protocol_told, technique_told
from techniques import FailureCriteria, Protocol
from techniques.default_rules import default_rules


def write_start(folder, **md):
    run = compose_run(metadata=md)
    with JournalWriter(folder) as writer:
        writer("start", run.start_doc)
        writer("stop", run.compose_stop())
    return run.start_doc["uid"]


def as_recorded(protocol, cell):
    """Return what a run of this protocol on this cell has in its start document."""
    return {
        "protocol": protocol.name,
        "technique": protocol.technique.model_dump(mode="json"),
        "every": protocol.every.model_dump(mode="json"),
        "sample": cell.model_dump(mode="json"),
        "limits": {
            "cell": cell.limits.model_dump(mode="json"),
            "protocol": protocol.limits.model_dump(mode="json"),
        },
    }


def test_protocol_and_sample_come_back_as_they_were(tmp_path):
    protocol, cell = load_protocol("zinc-operando"), load_cell("zn-bare-half")
    protocol = protocol.model_copy(
        update={"limits": protocol.limits.model_copy(update={"potential_max_v": 0.9})}
    )
    uid = write_start(tmp_path, **as_recorded(protocol, cell))
    found = recorded("last", tmp_path)
    assert found.cell == cell
    for part in ("name", "technique", "every", "limits"):
        assert getattr(found.protocol, part) == getattr(protocol, part)
    assert found.md == {"replay_of": uid, "provenance": {"kind": "rerun", "of": uid}}


def test_thresholds_of_the_failure_rules_come_back(tmp_path):
    protocol, cell = load_protocol("zinc-operando"), load_cell("zn-bare-half")
    criteria = FailureCriteria(hard_share=0.05)
    told = {**as_recorded(protocol, cell), "failure_criteria": criteria.model_dump(mode="json")}
    write_start(tmp_path, **told)
    assert recorded("last", tmp_path).protocol.failure_criteria == criteria


def test_thresholds_of_a_cell_go_with_the_cell_and_not_with_the_protocol(tmp_path):
    protocol, cell = load_protocol("zinc-operando"), load_cell("zn-bare-half")
    own = FailureCriteria(hard_share=0.3)
    cell = cell.model_copy(update={"failure_criteria": own})
    criteria = FailureCriteria(hard_share=0.05)
    told = {
        **as_recorded(protocol, cell),
        "failure_criteria": own.model_dump(mode="json"),
        "failure_criteria_of_protocol": criteria.model_dump(mode="json"),
    }
    write_start(tmp_path, **told)
    found = recorded("last", tmp_path)
    assert found.cell == cell
    assert found.protocol.failure_criteria == criteria


def test_a_record_that_tells_no_rules_is_run_again_with_those_by_default(tmp_path, caplog):
    protocol, cell = load_protocol("zinc-coulombic-efficiency-5-1"), load_cell("zn-bare-half")
    told = as_recorded(protocol, cell)
    # As of a run without a judge, or from before there were such rules.
    write_start(tmp_path, **told)
    silent = recorded("last", tmp_path).protocol
    assert silent.rules_by_default
    assert silent.rules == default_rules(protocol.technique)
    assert "'end at a hard short'" in caplog.text
    caplog.clear()
    # That there were to be none stands in the record.
    none = protocol.model_copy(update={"rules": ()})
    write_start(tmp_path, **told, **protocol_told(none, cell))
    assert recorded("last", tmp_path).protocol.rules == ()
    mine = Protocol.model_validate(
        {
            **none.model_dump(mode="json"),
            "rules": [{"name": "x", "when": {"event": "soft_short"}, "then": [{"do": "images"}]}],
        }
    )
    write_start(tmp_path, **told, **protocol_told(mine, cell))
    assert recorded("last", tmp_path).protocol.rules == mine.rules
    assert not caplog.text


def test_any_run_of_a_resumed_experiment_stands_for_the_whole(tmp_path):
    protocol, cell = load_protocol("zinc-operando"), load_cell("zn-bare-half")
    told = as_recorded(protocol, cell)
    root = write_start(tmp_path, **told)
    # Its own technique is the first run's; what was left of it is told apart.
    uid = write_start(
        tmp_path,
        **told,
        resume_of=root,
        resume={"of": root, "root": root},
        remaining_technique={"type": "open_circuit", "duration_s": 5},
    )
    found = recorded(uid, tmp_path)
    assert found.uid == root
    assert found.protocol.technique == protocol.technique
    lost = write_start(tmp_path, **told, resume={"of": "gone", "root": "gone"})
    assert recorded(lost, tmp_path).protocol.technique == protocol.technique


def test_a_run_without_a_technique_is_refused(tmp_path, monkeypatch, capsys):
    uid = write_start(tmp_path, plan_name="count")
    with pytest.raises(RerunError, match=r"\(count\) has no technique in its record"):
        recorded(uid, tmp_path)
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    assert cli.main(["rerun", uid[:8]]) == cli.REFUSED
    assert "only runs of a protocol" in capsys.readouterr().err
    assert cli.main(["rerun", "ffff"]) == cli.REFUSED


def test_a_record_of_another_version_is_refused_with_what_is_not_understood(tmp_path):
    told = as_recorded(load_protocol("zinc-operando"), load_cell("zn-bare-half"))
    told["technique"] = {"type": "sequence", "steps": [{"type": "teleportation"}]}
    write_start(tmp_path, **told)
    with pytest.raises(RerunError, match=r"technique\.sequence\.steps\.0"):
        recorded("last", tmp_path)


def test_limits_are_checked_before_anything_is_started(tmp_path, monkeypatch, capsys):
    protocol, cell = load_protocol("zinc-operando"), load_cell("zn-bare-half")
    told = as_recorded(protocol, cell)
    told["sample"]["limits"]["current_max_a"] = 1e-6
    write_start(tmp_path, **told)
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    assert cli.main(["rerun", "--simulate", "zn-bare-half"]) == cli.REFUSED
    said = capsys.readouterr()
    assert "asks cell 'ZN-CU-001' for more than is allowed" in said.err
    assert "Starting a simulated bench" not in said.out
    assert cli.main(["rerun", "--simulate"]) == cli.REFUSED
    assert "which simulated cell?" in capsys.readouterr().err


def test_potentials_that_were_told_against_the_reference_are_not_moved_without_a_word(
    tmp_path, caplog
):
    silver = {"reference_electrode": "Ag/AgCl", "metal_vs_reference_v": -0.98}
    cell = load_cell("zn-bare-half-reference").model_copy(update=silver)
    protocol = load_protocol("zinc-coulombic-efficiency-5-1")
    told = {**as_recorded(protocol, cell), **protocol_told(protocol, cell)}
    told |= technique_told(protocol.technique, protocol.program(cell))
    write_start(tmp_path, **told)
    recorded("last", tmp_path)
    assert not caplog.text
    # As a run from before has it, whose cut-off was taken as the instrument measures it.
    told["technique"] = json.loads(json.dumps(told["technique"]).replace("-0.48", "0.5"))
    write_start(tmp_path, **told)
    recorded("last", tmp_path)
    assert "ended at 0.5 V against Ag/AgCl, and would now end at -0.48 V" in caplog.text
