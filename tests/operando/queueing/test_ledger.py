"""Each item of a queue and each half-cycle of each cell are accounted for once, or it is told."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operando.configuration import load_bench, load_cell
from operando.queueing.ledger import ExperimentSeen, HalfSeen, account, as_data, told
from operando.queueing.model import Attempt, Record
from operando.queueing.seen import experiments
from operando.resume import resume
from operando.session import RunFailedError, Session
from operando.simulation import SimulatedBench
from techniques import OpenCircuit, PlateStripCycle, Protocol, Schedule
from techniques import Sequence as Steps

CELL = "zn-bare-half"


def record(item: str = "i1", state: str = "done", **told: Any) -> Record:
    values = {"item": item, "station": "A1", "cell_id": "zn-1", "began": 1.0, **told}
    return Record.model_validate({**values, "state": state})


def halves(*numbers: int, run: str = "r1") -> tuple[HalfSeen, ...]:
    return tuple(
        HalfSeen(n, 1 - 2 * (n % 2), True, (run,), charge_mah_cm2=0.5, most_mah_cm2=0.5)
        for n in numbers
    )


def seen(*numbers: int, item: str = "i1", planned: int | None = 4, **told: Any) -> ExperimentSeen:
    values = {"station": "A1", "cell_id": "zn-1", "runs": ("r1",), "exit_status": "success"}
    return ExperimentSeen(
        item=item, **{**values, "halves": halves(*numbers), "planned": planned, **told}
    )


def kinds(records: list[Record], *experiments: ExperimentSeen) -> list[str]:
    return [one.kind for one in account(records, experiments).findings]


def test_an_item_whose_half_cycles_all_ran_once_adds_up() -> None:
    found = account([record()], [seen(1, 2, 3, 4)], ["A1", "A2"])
    assert found.findings == ()
    (line,) = found.lines
    assert (line.planned, line.whole, line.parts) == (4, 4, 0)
    assert "Everything adds up: 4 half-cycles, each of them once." in told(found)
    assert "A2" in told(found)


def test_a_half_cycle_that_ran_twice_is_told_with_its_runs() -> None:
    doubled = seen(1, 2, runs=("r1", "r2"))
    doubled = replace(doubled, halves=halves(1, 2) + halves(2, 3, 4, run="r2"))
    (finding,) = account([record()], [doubled]).findings
    assert finding.kind == "doubled"
    assert finding.text == "half-cycle 2 ran 2 times, in the runs r1, r2"


@pytest.mark.parametrize("numbers", [(1, 2, 4), (2, 3, 4), (1, 2, 3)])
def test_a_half_cycle_that_did_not_run_is_missing(numbers: tuple[int, ...]) -> None:
    assert kinds([record()], seen(*numbers)) == ["missing"]


def test_half_cycles_beyond_the_program_are_told() -> None:
    assert kinds([record()], seen(1, 2, 3, 4, 5)) == ["doubled"]


def test_one_that_was_left_half_is_told_unless_its_item_ended_there() -> None:
    whole = seen(1, 2, 3)
    half = replace(whole, halves=(*whole.halves[:2], replace(whole.halves[2], whole=False)))
    assert kinds([record(state="failed", reason="a short")], half) == []
    assert kinds([record(state="running")], half) == []
    assert kinds([record()], half) == ["missing", "half"]
    left = replace(seen(1, 2, 3, 4), halves=(half.halves[2], *halves(4)))
    assert kinds([record(state="failed", reason="a short")], left) == ["missing", "half"]


def test_one_that_somebody_skipped_is_not_half() -> None:
    one = seen(1, 2, 3, 4)
    part = replace(one.halves[1], whole=False, skipped=True)
    skipped = replace(one, halves=(one.halves[0], part, *one.halves[2:]))
    assert kinds([record()], skipped) == []


def test_the_same_charge_passed_once_more_is_told_though_the_number_is_there_once() -> None:
    one = seen(1, 2, 3, 4)
    more = replace(one.halves[2], charge_mah_cm2=0.8, runs=("r1", "r2"))
    many = replace(one, halves=(*one.halves[:2], more, one.halves[3]))
    assert kinds([record()], many) == ["too much charge"]
    # What nobody knows is not told as too much.
    unknown = replace(more, unrecorded_mah_cm2=None)
    assert kinds([record()], replace(many, halves=(*one.halves[:2], unknown, one.halves[3]))) == []


def test_an_item_that_was_begun_anew_is_told() -> None:
    again = seen(1, 2, 3, 4, runs=("r2",))
    assert kinds([record()], seen(1, 2), again) == ["begun anew", "missing"]


def test_runs_without_a_record_and_records_without_a_run_are_told() -> None:
    assert kinds([], seen(1, 2, 3, 4)) == ["unknown run"]
    assert kinds([record()]) == ["no run"]
    assert kinds([record(state="removed")]) == []
    assert kinds([record(state="skipped")]) == ["no reason"]
    assert kinds([record()], seen(trouble="its journal is damaged")) == ["missing"]


def test_an_item_that_was_left_behind_is_told() -> None:
    records = [record("i1", "starting", began=1.0), record("i2", began=2.0)]
    assert kinds(records, seen(1, 2, 3, 4, item="i2")) == ["left behind"]
    elsewhere = record("i2", began=2.0, station="A2")
    assert kinds([records[0], elsewhere], seen(1, 2, 3, 4, item="i2")) == []


def test_a_program_that_a_rule_ended_needs_no_more() -> None:
    assert kinds([record()], seen(1, 2, ended_early=True)) == []
    assert kinds([record()], seen(1, 2, planned=None)) == []


def test_32_channels_stand_in_one_table() -> None:
    names = [f"C{number:02}" for number in range(1, 33)]
    records = [
        record(f"i{name}", station=name, cell_id=f"zn-{name}", attempts=(lost(), resumed()))
        for name in names
    ]
    all_seen = [
        seen(1, 2, 3, 4, item=f"i{name}", station=name, cell_id=f"zn-{name}") for name in names
    ]
    found = account(records, all_seen, names)
    lines = told(found, items=True, faults={"worker killed": 32}).splitlines()
    assert [line.split()[0] for line in lines[1:33]] == names
    assert lines[33].split()[:3] == ["all", "32", "32"]
    assert "128 of 128" in lines[33]
    assert "Faults: 32 (worker killed 32); workers lost in an item: 32" in lines
    data = as_data(found)
    assert len(data["items"]) == 32
    assert data["items"][0]["resumes"] == 1


def test_a_table_for_a_terminal_leaves_noughts_out() -> None:
    items = [record("i1", "stopped", reason="smoke"), record("i2", "removed")]
    found = account(items, [seen(1, 2, item="i1")], ["A1"])
    head, row = told(found, width=80).splitlines()[:2]
    kept = ["station", "cells", "items", "done", "stopped", "removed", "half-cycles", "findings"]
    assert head.split() == kept
    assert row.split() == ["A1", "1", "2", "0", "1", "1", "2", "0"]
    assert "waited h" in told(found)


def lost() -> Attempt:
    return Attempt(kind="run", began=1.0, ended=2.0, exit_status="lost", reason="killed")


def resumed() -> Attempt:
    return Attempt(kind="resume", began=3.0, ended=4.0, exit_status="success")


# ---- real runs


def cycles(number: int) -> Protocol:
    record_s = {"dt_s": 30.0}
    until = [{"quantity": "charge_mah_cm2", "value": 0.1}]
    plate = {"current_density_ma_cm2": 2.0, "until": until, "record": record_s}
    guard = {"quantity": "charge_mah_cm2", "value": 0.12, "action": "stop"}
    strip = plate | {"until": [{"quantity": "potential_above_v", "value": 0.5}, guard]}
    cycle = PlateStripCycle.model_validate(
        {"plate": plate, "strip": strip, "cycles": number, "rest_s": 10.0}
    )
    steps = Steps(steps=(OpenCircuit(duration_s=10.0), cycle))
    return Protocol(name="short", cell=CELL, technique=steps, every=Schedule(), rules=())


def run_until(session: Session, half_cycle: int, run: Callable[[], str]) -> bool:
    """Run and abort within a half-cycle; return whether the run has ended in it.

    The cell goes on while a busy computer has no time for us.
    """
    leader, over = session.devices["potentiostat"], threading.Event()

    def is_in(number: int) -> bool:
        newest = leader.latest()
        return newest is not None and newest.half_cycle == number and newest.role != 0

    def abort() -> None:
        for number in (1, half_cycle):  # until then the newest row is of the run before
            while not is_in(number):
                if over.wait(0.002):
                    return
        session.abort("somebody tripped over a cable")

    thread = threading.Thread(target=abort)
    thread.start()
    try:
        run()
    except RunFailedError as error:
        if error.reason != "somebody tripped over a cable":
            raise
        return is_in(half_cycle)
    else:
        return False
    finally:
        over.set()
        thread.join()


def interrupted_and_resumed(folder: Path) -> bool:
    """Run an item that is interrupted and gone on with, and one that is begun anew."""
    bench = load_bench("sim").only({"potentiostat"})
    sim = SimulatedBench(CELL, 600.0, directory=folder / "sim", instruments=["potentiostat"])
    with sim, Session(bench, folder / "data", catalog=False) as session:
        cell = load_cell(CELL)
        session.RE.md["queue"] = {"item": "resumed", "station": "A1"}
        if not run_until(session, 3, lambda: session.run_protocol(cycles(2), cell=cell)):
            return False
        resume(session, "last", same_cell=True)
        session.RE.md["queue"] = {"item": "anew", "station": "A1"}
        if not run_until(session, 2, lambda: session.run_protocol(cycles(2), cell=cell)):
            return False
        session.run_protocol(cycles(2), cell=cell)
    return True


@pytest.mark.timeout(180)
def test_real_runs_that_were_interrupted_and_resumed_add_up(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in range(10))
    data = next(folder for folder in folders if interrupted_and_resumed(folder)) / "data"
    found = list(experiments(data))
    assert [one.item for one in found] == ["resumed", "anew", "anew"]
    first = found[0]
    assert len(first.runs) == 2
    assert first.planned == 4
    assert [half.number for half in first.halves] == [1, 2, 3, 4]
    assert all(half.whole for half in first.halves)
    assert [half.runs for half in first.halves] == [
        *[first.runs[:1]] * 2, first.runs, first.runs[1:]
    ]  # fmt: skip
    assert first.halves[2].charge_mah_cm2 == pytest.approx(0.1, rel=0.02)
    records = [record("resumed", "resumed"), record("anew")]
    assert [(one.kind, one.item) for one in account(records, found).findings] == [
        ("begun anew", "anew"),
        ("missing", "anew"),
        ("half", "anew"),
    ]
    # An item that failed may end within a half-cycle; one that is told to be done may not.
    cut = found[1]
    assert kinds([record("anew", "failed", reason="a cable")], cut) == []
    assert kinds([record("anew")], cut) == ["missing", "half"]
