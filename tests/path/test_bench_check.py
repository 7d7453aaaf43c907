"""A bench is looked at before it is run: everything that is wrong is told in one report."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from instruments.relay_board import NumatoRelayBoard
from operando.checking import check
from operando.cli import FAILED, OK, REFUSED, main
from operando.configuration import load_bench, load_cell
from operando.guard import guards_of
from operando.journal import documents, list_runs
from techniques import OpenCircuit, Protocol, Recording, Schedule

SERIAL = "00000000"  # of the simulated relay board
ONLY = {"potentiostat", "relay_board", "thermostat", "gas_chromatograph"}


@pytest.fixture(scope="module")
def chain(make_chain: Callable[..., Any]) -> Iterator[Any]:
    """Have one simulated bench for all tests here."""
    served = ("potentiostat", "relay_board", "thermostat")
    chain = make_chain("zn-bare-half", factor=1000, instruments=served)
    with chain.simulated():
        yield chain


@pytest.fixture
def told(
    tmp_path: Path, chain: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Return what runs a command and returns its status and what it said."""
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path / "data"))
    assert chain.sim.is_dir()

    def run(*arguments: object) -> tuple[int, str]:
        status = main([str(one) for one in arguments])
        said = capsys.readouterr()
        return status, said.out + (said.err if status == REFUSED else "")

    return run


def written(path: Path, what: Any, **changes: Any) -> Path:
    data = what.model_dump(mode="json", exclude_none=True)
    for place, value in changes.items():
        inside, *keys = data, *place.split("__")
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = value
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def rest(seconds: float, **every: Any) -> Protocol:
    return Protocol(
        name="rest",
        cell="zn-bare-half",
        technique=OpenCircuit(duration_s=seconds, record=Recording(dt_s=2.0)),
        every=Schedule(**every),
    )


def exchanged(path: Path) -> Path:
    """Write the cell file of somebody who took the two electrodes for each other."""
    cell = load_cell("zn-bare-half")
    return written(
        path,
        cell.model_copy(
            update={
                "working_electrode": cell.counter_electrode,
                "counter_electrode": cell.working_electrode,
                "metal_electrode": "CE",
            }
        ),
    )


def test_a_bench_that_is_well_passes_and_nothing_of_it_moves(
    chain: Any, told: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    bench = written(
        tmp_path / "well.yaml",
        load_bench("sim").only(ONLY),
        instruments__relay_board__serial_number=SERIAL,
    )
    status, said = told("check", "--bench", bench, "--cell", "zn-bare-half")
    assert status == OK, said
    assert "FAILED" not in said
    assert "its serial number is that of the bench file" in said
    assert "Cu against Zn" in said
    assert "does not control; read back" in said
    assert "it would obey a start now" in said
    assert "ZN-CU-001 may be at 274.15 to 333.15 K" in said
    assert not chain.truth("potentiostat", "cell_on")  # no current, and the cell is open
    assert not chain.truth("chromatograph", "injection")

    # A program that died has left a contact closed.
    board = NumatoRelayBoard(f"published:{chain.sim / 'relay_board'}")
    board.connect()
    board.set_relay(0, True)
    board._closed_here.clear()
    board.close()
    try:
        status, said = told("check", "--bench", bench)
    finally:
        board.connect()
        board.set_relay(0, False)
        board.close()
    assert status == FAILED
    assert "closed although nothing runs: relay 0 (of gas_chromatograph)" in said


def test_several_faults_at_once_are_told_in_one_report(
    chain: Any, told: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    bench = written(
        tmp_path / "bad.yaml",
        load_bench("sim").only(ONLY),
        instruments__relay_board__serial_number="00000001",
        instruments__thermostat__address="tcp://127.0.0.1:9",
    )
    cell = exchanged(tmp_path / "cell.yaml")
    # An image a millisecond for months has room on no disk; nor have rows.
    large = written(
        tmp_path / "large.yaml",
        rest(1.4e7, temperature_s=1e-6).model_copy(update={"cell": str(cell)}),
    )
    before = chain.truth("potentiostat", "cell_on")
    status, said = told("check", "--bench", bench, "--protocol", large, "--json")
    assert status == FAILED
    report = json.loads(said)
    assert report["passed"] is False
    failed = {one["name"]: one for one in report["items"] if one["status"] == "failed"}
    assert set(failed) == {
        "relay_board: connected",
        "thermostat: connected",
        "gas_chromatograph: connected",
        "potentiostat: open circuit",
        "disk",
    }
    wrong = failed["relay_board: connected"]["told"]
    assert f"it told '{SERIAL}', the bench file names '00000001'" in wrong
    assert "hangs on relay_board" in failed["gas_chromatograph: connected"]["told"]
    assert "it has the wrong sign" in failed["potentiostat: open circuit"]["told"]
    assert "exchange the leads" in failed["potentiostat: open circuit"]["do"]
    assert "temperatures" in failed["disk"]["told"]
    others = {one["name"]: one["status"] for one in report["items"]}
    assert others["potentiostat: identity"] == "ok"  # looked at all the same
    assert chain.truth("potentiostat", "cell_on") == before


@pytest.mark.parametrize(
    ("name", "changes", "bath", "told"),
    [
        ("na-bare-half", {}, "water", "the cell holds sodium, which burns in it"),
        ("zn-bare-half", {"temperature_max_k": 290.0}, "water", "the bath is at 298.15 K; ZN-CU"),
        ("zn-bare-half", {}, "water", ""),
    ],
)
@pytest.mark.usefixtures("chain")
def test_a_bath_that_a_cell_must_not_stand_in_fails(
    name: str, changes: dict[str, float], bath: str, told: str, tmp_path: Path
) -> None:
    bench = load_bench("sim").only({"thermostat"})
    entry = bench.instruments["thermostat"].model_copy(update={"bath_liquid": bath})
    bench = bench.model_copy(update={"instruments": {"thermostat": entry}})
    cell = load_cell(name).model_copy(update=changes)
    report = check(bench, data_dir=tmp_path / "data", cell=cell)
    found = {one.name: one for one in report.items}["thermostat: cell"]
    assert found.status == ("failed" if told else "ok")
    assert told in found.told


def test_a_check_goes_before_each_run_and_into_its_record(
    chain: Any, told: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    only = ("--bench", "sim", "--only", "potentiostat")
    protocol = written(tmp_path / "rest.yaml", rest(600.0))
    status, said = told("run", protocol, *only)
    assert status == OK, said
    assert "check of bench sim:" in said
    status, said = told("run", protocol, *only, "--no-check")
    assert status == OK, said
    assert "check of bench" not in said
    status, said = told("run", protocol, *only, "--set-cell", exchanged(tmp_path / "cell.yaml"))
    assert status == REFUSED
    assert "nothing was begun" in said
    assert "it has the wrong sign" in said
    data = tmp_path / "data"
    without, checked = (
        next(doc for name, doc in documents(run.path) if name == "start")["check"]
        for run in list_runs(data)
    )
    if checked["done"] is False:
        without, checked = checked, without
    assert without == {"done": False, "why": "--no-check"}
    assert checked["passed"] is True
    assert {one["name"] for one in checked["items"]} >= {"potentiostat: open circuit", "disk"}
    assert not any("identity" in one["name"] for one in checked["items"])


@pytest.mark.usefixtures("chain")
def test_a_program_that_could_burst_its_cell_fails_before_it_is_run(
    plate_strip: Callable[..., Protocol], tmp_path: Path
) -> None:
    changes = {"headspace": "closed", "headspace_ml": 0.05}
    cell = load_cell("zn-bare-half").model_copy(update=changes)
    report = check(
        load_bench("sim").only({"potentiostat"}),
        data_dir=tmp_path / "data",
        protocol=plate_strip("zn-bare-half", 1.0, 1.0),
        cell=cell,
    )
    (item,) = report.failed
    assert item.name == "protocol"
    assert "above the atmosphere in the closed headspace of 0.05 mL" in item.told


@pytest.mark.parametrize(("file", "status"), [("dummy-100ohm", "ok"), ("dummy-10ohm", "failed")])
def test_the_resistance_of_a_dummy_cell_tells_whether_it_is_the_one(
    file: str, status: str, dummy: Any, tmp_path: Path
) -> None:
    bench = load_bench("sim").only({"potentiostat"})
    report = check(bench, data_dir=tmp_path / "data", cell=load_cell(file))
    found = {one.name: one for one in report.items}["potentiostat: dummy cell"]
    assert found.status == status
    assert 99 < float(found.told.split(" ohm")[0]) < 101
    assert dummy.truth("potentiostat", "cell_off")


@pytest.fixture(scope="module")
def dummy(make_chain: Callable[..., Any]) -> Iterator[Any]:
    chain = make_chain("dummy-100ohm", factor=1000)
    with chain.simulated(leader_only=True):
        yield chain


def test_each_kind_of_instrument_reads_a_setpoint_back(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    second, sim = load_bench("sim-second"), load_bench("sim")
    served = ("relay_board", "camera", "raman", "stage", "ph_meter", "sampling_valve", "fusion")
    bench = sim.only({"relay_board", "camera", "raman"})
    bench = bench.model_copy(
        update={
            "instruments": bench.instruments
            | second.only({"stage", "ph_meter", "sampling_valve", "gas_chromatograph"}).instruments
        }
    )
    chain = make_chain("zn-bare-half", factor=1000, instruments=served)
    with chain.simulated():
        report = check(bench, data_dir=tmp_path / "data")
    assert report.passed, report.text()
    found = {one.name: one for one in report.items}
    assert "5 ms read back" in found["camera: exposure"].told
    assert found["raman: laser"].told == "reads back off"
    assert "0.3 s read back in the dark" in found["raman: integration time"].told
    assert found["stage: position"].status == "warning"
    assert "home it" in found["stage: position"].do
    assert found["ph_meter: reading"].told.startswith("ph 4")
    assert found["sampling_valve: position"].told == "stands at A"
    assert found["gas_chromatograph: ready"].status == "ok"
    assert found["gas_chromatograph: clock"].status == "ok"
    assert [one["laser_mj"] for one in chain.truth("raman", "spectrum")] == [0.0]


def test_the_guard_holds_the_interlock_while_its_cell_is_looked_at(
    make_chain: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_GUARDS", str(tmp_path / "guards"))
    bench = load_bench("sim-interlock").only({"potentiostat", "interlock"})
    cell, data = load_cell("dummy-100ohm"), tmp_path / "data"
    chain = make_chain("dummy-100ohm", factor=1000, instruments=("potentiostat", "interlock"))
    with chain.simulated():
        # Open, its relay is a contact of 1 gigaohm in the lead of the cell.
        alone = {one.name: one for one in check(bench, data_dir=data, cell=cell).items}
        monkeypatch.setenv("OPERANDO_GUARD", "on")
        held = {one.name: one for one in check(bench, data_dir=data, cell=cell).items}
    assert alone["guard"].status == alone["potentiostat: dummy cell"].status == "failed"
    assert "nobody holds the interlock" in alone["guard"].told
    assert (alone["interlock: relays"].status, held["interlock: relays"].status) == (
        "not checked",
        "ok",
    )
    assert held["guard"].status == held["potentiostat: dummy cell"].status == "ok"
    assert not list(guards_of(bench))  # it has gone with the check


def test_what_cannot_be_read_is_wrong_usage(told: Callable[..., tuple[int, str]]) -> None:
    status, said = told("check", "--bench", "no-such-bench")
    assert status == REFUSED
    assert "no bench 'no-such-bench'" in said
