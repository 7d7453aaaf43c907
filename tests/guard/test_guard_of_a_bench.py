"""Hosts that die: a real session, a real guard, a simulated bench that writes down the truth."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults import guards
from benchmarks.faults.guards import WITHIN_S, Station, die, station
from benchmarks.faults.outcome import Effort
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from operando.configuration import load_bench
from operando.guard import guards_of, let_go_on, settle, take_back
from operando.session import Session
from operando.simulation import SimulatedBench
from techniques import Assignment

pytestmark = pytest.mark.timeout(240)
# So long that nothing else than a guard opens the cell, however busy the computer is.
LONG_S, PATIENCE_S = 300.0, 60.0


def plating_for(seconds: float) -> Assignment:
    step = {
        "type": "galvanostatic_step",
        "role": "plate",
        "current_density_ma_cm2": 1.0,
        "until": [{"quantity": "time_s", "value": seconds}],
    }
    technique = {"type": "sequence", "steps": [step]}
    limits = {"potential_min_v": -3.0, "potential_max_v": 3.0}
    told = {"technique": technique, "area_cm2": 1.0, "limits": limits}
    return Assignment.model_validate(told)


@pytest.fixture(autouse=True)
def own_guards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The folder of `station`, so that what is asked here sees its guards.
    monkeypatch.setenv("OPERANDO_GUARDS", str(tmp_path / "station" / "guards"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Station]:
    with station(tmp_path / "station", "methodscript", plate_s=LONG_S) as at:
        yield at


def test_a_killed_and_a_stopped_host_leave_the_cell_open_and_the_laser_off(
    bench: Station, tmp_path: Path
) -> None:
    def under_way() -> bool:
        return bench.truth.cell_is_on() and bench.truth.laser_is_on()

    # How quickly is measured by the trials of `benchmarks.faults`.
    for way in ("kill -9", "SIGSTOP"):
        death = die(bench, way, under_way, tmp_path / way)
        assert death.was_on
        assert death.open_after_s < PATIENCE_S, way
        assert (death.laser_off_after_s or 0) < PATIENCE_S, way
        assert death.stop is not None
        assert death.stop["exit_status"] == "fail"
        told = death.stop["guard"]
        assert "cell open" in told["instruments"]["potentiostat"]
        assert "laser off" in told["instruments"]["raman"]
        assert told["not_safe"] == []
        assert "cell open" in death.stop["reason"]


def test_a_guard_that_cannot_reach_the_cell_goes_on_and_hands_back(
    bench: Station, tmp_path: Path
) -> None:
    file = load_bench(bench.bench)
    os.environ["OPERANDO_SIM"] = str(bench.sim.directory)
    with bench.victim(tmp_path / "data") as (process, said):
        bench.wait(bench.truth.cell_is_on)
        assert take_back(file) == []  # of an owner that lives nothing is taken
        bench.inject("potentiostat", "stall")
        bench.wait(lambda: bool(bench.truth.lines("bench")))
        process.kill()
        process.wait()
        log = tmp_path / "data" / "state" / "guard.jsonl"
        bench.wait(lambda: log.exists() and "potentiostat" in log.read_text())
    (guard,) = guards_of(file)
    assert guard["pid"] == said["guard"]
    (taken,) = take_back(file)
    assert taken.run == said["run"]
    assert taken.unsafe == ("potentiostat",)
    assert "silent" in taken.became["potentiostat"] or "nothing came" in str(taken)
    # It was lent: who ends without a word leaves it to the guard, and that opens the cell.
    let_go_on([taken])
    bench.inject("potentiostat", "resume")
    assert bench.wait(lambda: not bench.truth.cell_is_on()) < PATIENCE_S
    assert bench.wait(bench.guard_is_gone) < PATIENCE_S


@pytest.mark.long
def test_another_instrument_at_the_address_is_not_told_for_the_one_that_was_there(
    bench: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, address = tmp_path / "data", bench.sim.directory / "potentiostat"
    file, ours = load_bench(bench.bench), address.read_text()
    monkeypatch.setenv("OPERANDO_SIM", str(bench.sim.directory))
    other = SimulatedBench(
        "zn-bare-half", 1.0, seed=1, instruments=["potentiostat"], directory=tmp_path / "other"
    )
    with other, bench.victim(data) as (process, said):
        monkeypatch.setenv("OPERANDO_SIM", str(bench.sim.directory))
        bench.wait(bench.truth.cell_is_on)
        address.write_text((tmp_path / "other" / "potentiostat").read_text())
        process.kill()
        process.wait()
        log = data / "state" / "guard.jsonl"
        assert bench.wait(lambda: log.exists() and "instead of" in log.read_text(), 20) < 20
        (taken,) = take_back(file)
        assert taken.unsafe == ("potentiostat",)
        (told,) = taken.who["potentiostat"]
        assert settle([taken], {"potentiostat": "EmStat4 HR of somebody else"}) == [taken]
        assert f"instead of {told}) answers" in taken.became["potentiostat"]
        let_go_on([taken])
        address.write_text(ours)
        assert bench.wait(bench.guard_is_gone, 20) < 20
        assert not bench.truth.cell_is_on()
    told_last = [json.loads(line) for line in log.read_text().splitlines()][-1]
    assert (told_last["instrument"], told_last["safe"]) == ("potentiostat", True)
    stop = guards._stop(data, said["run"])
    assert stop is not None
    assert stop["guard"]["not_safe"] == ["potentiostat"]
    assert "NOT known to be safe: another instrument" in stop["reason"]


def test_neither_a_forked_child_nor_a_hanging_disk_keeps_the_cell_closed(
    bench: Station, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "state").mkdir(parents=True)
    os.mkfifo(data / "state" / "guard.jsonl")  # who writes to it waits for ever
    with bench.victim(data, "fork") as (process, said):
        bench.wait(bench.truth.cell_is_on)
        process.kill()
        assert bench.wait(lambda: not bench.truth.cell_is_on()) < PATIENCE_S
        os.kill(said["guard"], signal.SIGKILL)  # it waits for that disk


@pytest.mark.long
def test_who_takes_a_bench_back_and_cannot_make_it_safe_leaves_it_to_a_guard_again(
    bench: Station, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with bench.victim(data) as (process, _):
        bench.wait(bench.truth.cell_is_on)
        bench.inject("potentiostat", "disconnect", seconds=12.0)
        bench.wait(lambda: bool(bench.truth.lines("bench")))
        process.kill()
        process.wait()
    # The folder of marks was emptied, as those of the system are.
    for mark in (bench.folder / "guards").glob("*.json"):
        mark.unlink()
    safe = subprocess.run(
        [sys.executable, "-m", "operando", "safe", "--bench", str(bench.bench)],
        env=bench.environment | {"OPERANDO_DATA": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert safe.returncode == 1
    # The owner may have noticed the cable before it was killed, and have left the cell to it.
    assert "acted because" in safe.stdout
    assert "goes on trying" in safe.stderr
    assert bench.wait(lambda: not bench.truth.cell_is_on()) < PATIENCE_S
    assert bench.wait(bench.guard_is_gone) < PATIENCE_S


def test_a_bench_is_made_safe_also_where_guards_cannot_be_believed(
    bench: Station, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    safe = subprocess.run(
        [sys.executable, "-m", "operando", "safe", "--bench", str(bench.bench)],
        env=bench.environment | {"OPERANDO_GUARDS": str(theirs), "OPERANDO_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert safe.returncode == 0, safe.stderr
    assert "cell open" in safe.stdout


def test_another_guard_takes_the_place_of_one_that_dies(tmp_path: Path) -> None:
    outcome = guards._guard_dies(
        tmp_path / "station", Effort(), within_s=PATIENCE_S, plate_s=LONG_S
    )
    assert outcome.held, outcome


@pytest.mark.long
def test_a_program_that_is_declared_to_finish_does(tmp_path: Path) -> None:
    outcome = guards._finishing(tmp_path / "station", Effort(), 2)
    assert outcome.held, outcome


@pytest.mark.long
def test_without_guard_and_host_the_instrument_keeps_its_own_limits(tmp_path: Path) -> None:
    outcome = guards._both_die(tmp_path / "station", Effort())
    assert outcome.held, outcome


@pytest.mark.long
def test_the_other_potentiostats_are_opened_too(tmp_path: Path) -> None:
    for maker in ("keithley", "rodeostat"):
        with station(tmp_path / maker, maker) as at:
            death = die(at, "kill -9", 2.0, tmp_path / f"{maker}-data")
        assert death.was_on
        assert death.open_after_s < WITHIN_S
        assert death.stop is not None
        assert "cell open" in death.stop["guard"]["instruments"]["potentiostat"]


def test_an_interlock_is_closed_only_when_what_ran_on_the_cell_has_been_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ("potentiostat", "interlock")
    file = load_bench("sim-interlock").only({"potentiostat", "interlock"})
    monkeypatch.setenv("OPERANDO_GUARD", "on")
    with SimulatedBench(
        "zn-bare-half", factor=1.0, instruments=served, directory=tmp_path / "sim"
    ) as sim:
        # A program that a computer which lost its power has left behind.
        left = MethodScriptPotentiostat((sim.directory / "potentiostat").read_text().strip())
        left.connect()
        left.start(plating_for(60.0))
        assert left._transport is not None
        left._transport.close()
        left._transport = None
        # So late that a guard is there long before anything is ended.
        stall = {"instrument": "potentiostat", "fault": "stall", "seconds": 1.8}
        (sim.directory / "faults").write_text(json.dumps(stall) + "\n")
        time.sleep(0.3)
        with Session(file, tmp_path / "data", catalog=False):
            truth = guards._Truth(sim.directory)
            ended = [x for x in truth.lines("potentiostat") if x["event"] == "script_end"]
            closed = [x for x in truth.lines("interlock") if x.get("closed")]
            assert closed
            assert ended[-1]["cell_t_s"] <= closed[0]["cell_t_s"]
            program = max(ended, key=lambda x: x["cell_t_s"])
            assert not program["cell_is_on"]


def test_a_session_that_ends_takes_its_guard_along(bench: Station, tmp_path: Path) -> None:
    with bench.victim(tmp_path / "data") as (process, said):
        assert bench.guards() == [said["guard"]]
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        assert bench.wait(bench.guard_is_gone) < PATIENCE_S
    assert not bench.truth.cell_is_on()
