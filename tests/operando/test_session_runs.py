"""A session: what it promises about records, failures, signals and the end."""

import gc
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
import serial
from bluesky.utils import Msg, MsgGenerator

from instruments.bench import Bench, BenchConnectionError
from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError, InstrumentFaultError, UnsupportedTechniqueError
from operando import __version__
from operando.cli import main
from operando.configuration import ConfigurationError, load_bench, load_cell
from operando.journal import JournalError, documents, journal_path, list_runs
from operando.session import RunFailedError, Session
from operando.session._engine import without_pause
from operando.simulation import SimulatedBench, SimulationError, serving_process
from techniques import Assignment, GalvanostaticStep, Limit, OpenCircuit, Protocol, Sequence

pytestmark = pytest.mark.timeout(180)

EMPTY = BenchFile(name="nothing", instruments={})


@bpp.run_decorator(md={"sample": "none"})
def nothing_for(duration_s: float) -> MsgGenerator:
    yield from bps.sleep(duration_s)


@bpp.run_decorator()
def failing(error: Exception) -> MsgGenerator:
    yield from bps.null()
    raise error


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(EMPTY, tmp_path, catalog=False) as opened:
        yield opened


def stop_of(data_dir: Path, uid: str) -> dict[str, Any]:
    name, doc = list(documents(journal_path(data_dir, uid)))[-1]
    assert name == "stop"
    return doc


def short_protocol(duration_s: float = 36.0) -> Protocol:
    """Rest 2 s, plate for ``duration_s``, strip half of it, at 1 mA/cm2."""

    def half(role: Literal["plate", "strip"]) -> GalvanostaticStep:
        lasts_s = duration_s if role == "plate" else duration_s / 2
        ends = (Limit(quantity="time_s", value=lasts_s),)
        return GalvanostaticStep(role=role, current_density_ma_cm2=1.0, until=ends)

    steps = (OpenCircuit(duration_s=2.0), half("plate"), half("strip"))
    return Protocol(name="short", cell="zn-bare-half", technique=Sequence(steps=steps))


# -- without instruments


def test_a_run_is_in_the_journal_with_bench_version_and_sign(session: Session) -> None:
    uid = session.run(nothing_for(0.0))
    name, start = next(iter(documents(journal_path(session.data_dir, uid))))
    assert name == "start"
    assert start["bench"]["name"] == "nothing"
    assert start["operando_version"] == __version__
    assert start["sign_convention"] == "IUPAC"
    assert stop_of(session.data_dir, uid)["exit_status"] == "success"


def test_runs_of_a_data_folder_are_numbered_across_sessions(tmp_path: Path) -> None:
    numbers = []
    for _ in range(2):
        with Session(EMPTY, tmp_path, catalog=False) as session:
            uid = session.run(nothing_for(0.0))
            _, start = next(iter(documents(journal_path(tmp_path, uid))))
            numbers.append(start["scan_id"])
    assert numbers == [1, 2]


def test_an_alarm_of_an_instrument_shows_where_the_rows_do_and_is_told(tmp_path: Path) -> None:
    out = io.StringIO()
    session = Session(load_bench("sim"), tmp_path, out=out, catalog=False)
    told: list[str] = []
    session.on_alarm = told.append
    session.devices["potentiostat"].on_alarm("the disk takes no rows")
    session.on_alarm = lambda text: told[1]  # who is told fails, and nothing else
    session.devices["potentiostat"].on_alarm("the disk takes no rows")
    session.close()
    assert out.getvalue().count("ALARM  the disk takes no rows") == 2
    assert told == ["the disk takes no rows"]


def test_a_run_that_fails_tells_its_uid_its_reason_and_where_the_data_are(
    session: Session,
) -> None:
    with pytest.raises(RunFailedError) as caught:
        session.run(failing(InstrumentFaultError("overload on range 3")))
    error = caught.value
    assert error.exit_status == "fail"
    assert "overload on range 3" in str(error)
    assert str(session.data_dir) in str(error)
    assert isinstance(error.__cause__, InstrumentFaultError)
    assert stop_of(session.data_dir, error.uid)["reason"] == "overload on range 3"


def test_what_fails_before_a_run_begins_is_told_as_it_is(session: Session) -> None:
    def refused() -> MsgGenerator:
        yield from bps.null()
        raise UnsupportedTechniqueError("no impedance here")

    with pytest.raises(UnsupportedTechniqueError, match="no impedance here"):
        session.run(refused())
    assert session.runs() == []


def test_a_plan_that_pauses_with_nobody_there_is_aborted_and_kept(session: Session) -> None:
    @bpp.run_decorator()
    def pausing() -> MsgGenerator:
        yield from bps.checkpoint()
        yield from bps.pause()

    with pytest.raises(RunFailedError) as caught:
        session.run(pausing())
    assert caught.value.exit_status == "abort"
    assert session.RE.state == "idle"
    assert stop_of(session.data_dir, caught.value.uid)["exit_status"] == "abort"


def test_a_journal_that_cannot_be_written_stops_the_plan_before_it_moves(
    tmp_path: Path,
) -> None:
    moved = []

    @bpp.run_decorator()
    def plan() -> MsgGenerator:
        moved.append(True)
        yield from bps.null()

    with Session(EMPTY, tmp_path, catalog=False) as session:
        (tmp_path / "journal").rmdir()
        (tmp_path / "journal").write_text("in the way")
        with pytest.raises(JournalError, match="journal"):
            session.run(plan())
    assert not moved


def test_a_session_that_could_record_nothing_does_not_connect(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    session = Session(EMPTY, tmp_path, catalog=False)
    with pytest.raises(JournalError, match="move the file away"), session:
        pass
    assert not session.connected


def test_the_live_table_cannot_end_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = io.StringIO()
    out.close()
    with Session(EMPTY, tmp_path, out, catalog=False) as session:
        uid = session.run(nothing_for(0.0))
    assert stop_of(tmp_path, uid)["exit_status"] == "success"
    assert "left out" in caplog.text


def test_the_table_is_complete_when_the_run_has_returned(tmp_path: Path) -> None:
    out = io.StringIO()
    with Session(EMPTY, tmp_path, out, catalog=False) as session:
        session.run(nothing_for(0.0))
        assert "ended: success" in out.getvalue()


def test_a_catalog_that_cannot_start_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("in the way")
    with caplog.at_level(logging.WARNING), Session(EMPTY, tmp_path) as session:
        uid = session.run(nothing_for(0.0))
        while not caplog.records:
            time.sleep(0.01)
    assert stop_of(tmp_path, uid)["exit_status"] == "success"
    assert "the catalog service did not start" in caplog.text


def test_a_closed_session_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Session(EMPTY, tmp_path, io.StringIO(), catalog=False) as session:
        session.run(nothing_for(0.0))
    session.close()
    left = [thread for thread in threading.enumerate() if thread not in before]
    # ophyd keeps dispatchers of its own for the life of the process.
    assert [
        thread.name for thread in left if "bluesky" in thread.name or "live" in thread.name
    ] == []


def test_instruments_that_do_not_answer_are_all_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_SIM", str(tmp_path / "nobody"))
    bench = load_bench("sim").only({"potentiostat", "gas_chromatograph"})
    with pytest.raises(BenchConnectionError) as caught, Session(bench, tmp_path, catalog=False):
        pass
    told = str(caught.value)
    assert set(caught.value.failures) >= {"potentiostat", "relay_board"}
    assert "operando sim" in told


def test_failures_are_told_in_the_order_of_the_bench_whoever_was_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_SIM", str(tmp_path / "nobody"))
    bench = Bench(load_bench("sim"))
    before = set(threading.enumerate())
    with pytest.raises(BenchConnectionError) as caught:
        bench.connect()
    assert list(caught.value.failures) == [
        "relay_board",
        "potentiostat",
        "camera",
        "raman",
        "gas_chromatograph",
        "thermostat",
    ]
    assert "hangs on relay_board" in str(caught.value.failures["gas_chromatograph"])
    assert "6 of its instruments did not connect" in str(caught.value)
    assert not [x for x in set(threading.enumerate()) - before if x.name.startswith("connect")]


def test_a_prompt_gets_devices_plans_techniques_and_stubs_by_name(tmp_path: Path) -> None:
    bench = load_bench("sim")
    session = Session(bench, tmp_path, catalog=False)
    try:
        names = session.namespace()
    finally:
        session.close()
    assert set(bench.instruments) - {"relay_board"} <= set(names)
    assert {"RE", "bps", "bp", "cat", "runs", "report", "run_protocol"} <= set(names)
    assert {"operando_plating_stripping", "PlateStripCycle", "Protocol"} <= set(names)
    for plan in ("operando_plating_stripping", "continue_plating_stripping"):
        told = {"verdicts": session.verdicts, "requests": session.requests}
        assert names[plan].keywords == told
        assert "as one run" in names[plan].__doc__
    assert "verdicts" not in getattr(names["gas_blank"], "keywords", {})
    assert names["protocol"]("zinc-operando").name == "zinc-operando"
    assert names["cell"]("zn-bare").cell_id == "ZN-ZN-001"
    assert "not opened yet" in repr(names["cat"])
    assert not (tmp_path / "catalog").exists()


STOPPED = """
import sys
from pathlib import Path
import bluesky.plan_stubs as bps, bluesky.preprocessors as bpp
from instruments.bench_file import BenchFile
from operando.session import RunFailedError, Session

@bpp.run_decorator()
def plan():
    def work():
        print("running", flush=True)
        yield from bps.sleep(60)
    def end():
        print("ending", flush=True)
        while not Path(sys.argv[2]).exists():
            yield from bps.sleep(0.02)
        yield from bps.sleep(0.3)  # time for the signal that was sent before
        print("safe", flush=True)
    yield from bpp.finalize_wrapper(work(), end())

nothing = BenchFile(name="nothing", instruments={})
with Session(nothing, Path(sys.argv[1]), catalog=False) as session:
    try:
        session.run(plan())
    except RunFailedError as error:
        print(error.exit_status, error.reason, session.stop_signal, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_and_a_second_one_does_not_interrupt_its_end(
    number: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(tmp_path), str(tmp_path / "sent")],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() in ("running", "ending"):
                process.send_signal(number)
            if line.strip() == "ending":
                (tmp_path / "sent").touch()
            told = line
            if "safe" in line:
                break
        else:
            pytest.fail("the plan's end was not reached")
        told = process.stdout.read()
        assert process.wait(60) == 0
    assert f"abort stopped by {number.name} {int(number)}" in told
    (run,) = list_runs(tmp_path)
    assert (run.exit_status, run.reason) == ("abort", f"stopped by {number.name}")


# -- with a simulated potentiostat


def test_a_protocol_runs_on_a_simulated_potentiostat(tmp_path: Path) -> None:
    bench = load_bench("sim").only({"potentiostat"})
    out = io.StringIO()
    with (
        SimulatedBench(
            "zn-bare-half", factor=200, instruments=["potentiostat"], directory=tmp_path / "sim"
        ) as simulated,
        Session(bench, tmp_path / "data", out, catalog=False) as session,
    ):
        pid = simulated.pid
        assert os.environ["OPERANDO_SIM"] == str(tmp_path / "sim")
        uid = session.run_protocol(short_protocol(), cell=load_cell("zn-bare-half"))
        assert "plated_capacity_mah_cm2" in session.report(uid[:8])
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert stop_of(tmp_path / "data", uid)["exit_status"] == "success"
    assert " plate " in out.getvalue()
    (run,) = list_runs(tmp_path / "data")
    assert run.rows["potentiostat"] > 20


@pytest.mark.parametrize("told", ["two minutes", "-1", "inf"])
def test_a_patience_that_is_no_number_of_seconds_is_refused(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERANDO_JOURNAL_PATIENCE_S", told)
    with pytest.raises(ConfigurationError, match=f"in seconds, 0 or more; it is '{told}'"):
        Session("sim", tmp_path)


def test_a_technique_the_cell_forbids_is_refused_before_a_run_begins(tmp_path: Path) -> None:
    bench = load_bench("sim").only({"potentiostat"})
    cell = load_cell("zn-bare-half")
    narrow = cell.model_copy(
        update={"limits": cell.limits.model_copy(update={"current_max_a": 1e-6})}
    )
    with (
        SimulatedBench("zn-bare-half", instruments=["potentiostat"], directory=tmp_path / "sim"),
        Session(bench, tmp_path / "data", catalog=False) as session,
    ):
        with pytest.raises(Exception, match="limit") as caught:
            session.run_protocol(short_protocol(), cell=narrow)
        assert not isinstance(caught.value, RunFailedError)
        assert session.runs() == []


def test_a_bench_without_potentiostat_cannot_run_a_protocol(tmp_path: Path) -> None:
    with (
        Session(EMPTY, tmp_path, catalog=False) as session,
        pytest.raises(ConfigurationError, match="has no potentiostat"),
    ):
        session.run_protocol(short_protocol(), cell="zn-bare-half")


# -- the simulator as a process


def test_a_simulator_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(SimulationError, match="zn-nope"),
        SimulatedBench("zn-nope", directory=tmp_path),
    ):
        pass
    assert serving_process(tmp_path) is None


def test_two_simulators_cannot_publish_in_one_folder(tmp_path: Path) -> None:
    with (
        SimulatedBench("zn-bare", instruments=["relay_board"], directory=tmp_path) as first,
        pytest.raises(SimulationError, match=f"process {first.pid}"),
        SimulatedBench("zn-bare", instruments=["relay_board"], directory=tmp_path),
    ):
        pass


def test_the_mark_of_a_killed_simulator_is_no_obstacle(tmp_path: Path) -> None:
    with SimulatedBench("zn-bare", instruments=["relay_board"], directory=tmp_path) as first:
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        while first.alive:
            time.sleep(0.01)
    assert (tmp_path / "ready").exists()
    with SimulatedBench("zn-bare", instruments=["relay_board"], directory=tmp_path) as second:
        assert serving_process(tmp_path) == second.pid


def test_a_simulator_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; "
        "from operando.simulation import SimulatedBench; "
        "bench = SimulatedBench('zn-bare', instruments=['relay_board'], "
        "directory=Path(sys.argv[1])); "
        "bench.__enter__(); print(bench.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    deadline = time.monotonic() + 60
    while serving_process(tmp_path) == pid:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_kickoff_that_fails_leaves_no_plan_that_was_never_begun() -> None:
    def plan() -> MsgGenerator:
        yield Msg("kickoff")

    watched = without_pause(plan())
    assert next(watched).command == "kickoff"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(InstrumentError):
            watched.throw(InstrumentError("refused"))
        del watched
        gc.collect()
    assert not told


def test_a_plan_of_anybody_that_breaks_after_kickoff_leaves_the_cell_open(tmp_path: Path) -> None:
    bench = load_bench("sim").only({"potentiostat"})
    cell = load_cell("zn-bare-half")
    truth = tmp_path / "truth"
    with (
        SimulatedBench(
            "zn-bare-half",
            factor=20,
            instruments=["potentiostat"],
            directory=tmp_path / "sim",
            truth=truth,
        ),
        Session(bench, tmp_path / "data", catalog=False) as session,
    ):
        leader = session.devices["potentiostat"]

        @bpp.run_decorator()
        def careless() -> MsgGenerator:
            technique = short_protocol(3600.0).technique
            limits = cell.limits
            assignment = Assignment(technique=technique, area_cm2=cell.area_cm2, limits=limits)
            yield from bps.prepare(leader, assignment, wait=True)
            yield from bps.kickoff(leader, wait=True)
            while leader.latest() is None or leader.latest().role == 0:
                yield from bps.sleep(0.02)
            raise RuntimeError("a slip in somebody's plan")

        with pytest.raises(RunFailedError, match="a slip in somebody's plan"):
            session.run(careless())
        events = [line["event"] for line in read_lines(truth / "potentiostat.jsonl")]
        assert "cell_on" in events
        assert events.index("cell_off", events.index("cell_on")) > 0


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_verb_safe_opens_a_cell_that_nobody_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tmp_path / "truth"
    script = (
        "var p\nvar c\nset_pgstat_mode 6\nset_range db 10m\nset_i -1m\ncell_on\n"
        "meas_loop_cp p c -1m 1 3600\nendloop\ncell_off\n"
    )
    with SimulatedBench(
        "zn-bare-half",
        factor=1,
        instruments=["potentiostat", "relay_board"],
        directory=tmp_path / "sim",
        truth=truth,
    ):
        address = (tmp_path / "sim" / "potentiostat").read_text().strip()
        with serial.Serial(address.removeprefix("serial://"), timeout=60) as port:
            port.write(f"e\n{script}\n".encode())
            assert port.readline().startswith(b"e")
        bench = tmp_path / "bench.yaml"
        bench.write_text(
            "name: two\ninstruments:\n"
            "  relay_board: {kind: relay_board, language: numato,"
            " address: 'published:${OPERANDO_SIM}/relay_board'}\n"
            "  potentiostat: {kind: potentiostat, language: methodscript,"
            " address: 'published:${OPERANDO_SIM}/potentiostat'}\n"
        )
        assert main(["safe", "--bench", str(bench)]) == 0
        told = capsys.readouterr().out
        assert "cell open" in told
        assert "Safe: what could be made safe has confirmed it." in told
        events = [line["event"] for line in read_lines(truth / "potentiostat.jsonl")]
        assert "cell_off" in events[events.index("cell_on") :]


def test_the_verb_safe_names_what_it_did_not_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = tmp_path / "bench.yaml"
    bench.write_text(
        "name: three\ninstruments:\n"
        "  board: {kind: relay_board, language: numato, address: 'serial:///dev/nothing1'}\n"
        "  light: {kind: lamp, language: relay, board: board, relay: 1}\n"
        "  bath: {kind: thermostat, language: huber_pb, safe_temperature_k: 298.15,"
        " address: 'published:${OPERANDO_SIM}/thermostat'}\n"
        "  balance: {kind: sensor, language: not_installed, address: 'serial:///dev/nothing2'}\n"
        "  meter: {kind: potentiostat, language: methodscript, address: 'serial:///dev/nothing'}\n"
    )
    with SimulatedBench(
        "zn-bare-half", instruments=["potentiostat", "thermostat"], directory=tmp_path / "sim"
    ):
        # As a program that has died left it.
        address = (tmp_path / "sim" / "thermostat").read_text().strip()
        host, _, port = address.removeprefix("tcp://").partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as bath:
            bath.sendall(b"{M000FA0\r\n")  # to 40.00 degC
            assert bath.recv(64) == b"{S000FA0\r\n"
            bath.sendall(b"{M140001\r\n")
            assert bath.recv(64) == b"{S140001\r\n"
        assert main(["safe", "--bench", str(bench)]) == 1
        told = capsys.readouterr()
    assert "bath               goes to 298.15 K, its safe temperature" in told.out
    assert "cell open" not in told.out
    assert "NOT SAFE: 4 of 5" in told.err
    assert "balance: left out, it cannot be used: " in told.err
    assert "THE CELL MAY BE UNDER CURRENT: disconnect it" in told.err
    assert "the lamp may be on" in told.err


def test_a_bench_that_was_not_left_safe_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"published:{tmp_path / 'sim' / 'potentiostat'}"
    entry = {"kind": "potentiostat", "language": "methodscript", "address": address}
    file = BenchFile.model_validate({"name": "one", "instruments": {"meter": entry}})
    with SimulatedBench("zn-bare-half", instruments=["potentiostat"], directory=tmp_path / "sim"):
        bench = Bench(file)
        bench.connect()
    bench.close()
    assert [text.partition(":")[0] for text in bench.left_unsafe] == ["meter"]
    assert "leaving the bench: meter" in caplog.text
    bench.close()
    assert len(bench.left_unsafe) == 1  # what is not connected is not complained of


def test_a_driver_that_fails_in_its_own_way_keeps_no_cell_closed(tmp_path: Path) -> None:
    entries = {
        "stage": {
            "kind": "stage",
            "language": "zaber_ascii",
            "address": "serial:///dev/nothing",
            "axes": {"x": {"device": 1, "micrometre_per_step": 1, "min_um": 0, "max_um": 1}},
        },
        "meter": {
            "kind": "potentiostat",
            "language": "methodscript",
            "address": f"published:{tmp_path / 'sim' / 'potentiostat'}",
        },
    }

    class Broken:
        """A driver with a slip in it."""

        verified_on = None

        def connect(self) -> None:
            raise KeyError("a slip in somebody's driver")

        def close(self) -> None:
            raise OSError("another one")

    bench = Bench(BenchFile.model_validate({"name": "two", "instruments": entries}))
    bench._parts.drivers["stage"] = Broken()
    with SimulatedBench("zn-bare-half", instruments=["potentiostat"], directory=tmp_path / "sim"):
        told = bench.make_safe()
        bench.close()
        assert told["meter"] == "cell open"
        assert isinstance(told["stage"], KeyError)
        assert bench.left_unsafe == []
        with pytest.raises(BenchConnectionError, match="a slip in somebody's driver"):
            bench.connect()
        assert not bench._opened  # what had been opened was closed again
