"""A potentiostat that fails in a step, and what the failure policy of that step makes of it."""

import contextlib
import os
import select
import signal
import subprocess
import threading
import tty
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from instruments.bench_file import BenchFile
from operando.analysis.metrics import half_cycles_of, metrics
from operando.configuration import load_bench, load_cell
from operando.journal import documents, journal_path, list_runs
from operando.questions import questions
from operando.report import text_report
from operando.resume import resume
from operando.runs import Run
from operando.session import RequestRefusedError, RunFailedError, Session
from techniques import Protocol, Schedule, SkipStep, StopCell, Technique, elementary_steps

pytestmark = pytest.mark.timeout(240)
FACTOR = 400.0
CHARGE = 0.1  # mAh/cm2 a plating, 360 s at 1 mA/cm2
PLATE, STRIP, HOLD, LOST_BEFORE = -1, 1, 4, 16
QUICK = {"times": 2, "wait_s": 0.05, "growth": 2.0}


def cycle(
    policy: dict[str, Any] | None = None, charge: float = CHARGE, **of_steps: dict[str, Any]
) -> Protocol:
    """One plating and one strip; a policy of the protocol, and policies of ``plate``, ``strip``."""
    record = {"dt_s": 1.0, "edge_dt_s": 1.0}
    half = {"current_density_ma_cm2": 1.0, "record": record}
    plate: dict[str, Any] = half | {"until": [{"quantity": "charge_mah_cm2", "value": charge}]}
    strip: dict[str, Any] = half | {
        "until": [
            {"quantity": "potential_above_v", "value": 0.5},
            {"quantity": "charge_mah_cm2", "value": 1.5 * charge, "action": "stop"},
        ]
    }
    told: dict[str, Any] = {"plate": plate, "strip": strip}
    for name, one in of_steps.items():
        told[name]["on_failure"] = one
    technique = {"type": "plate_strip_cycle", "rest_s": 10, **told}
    more = {} if policy is None else {"on_failure": policy}
    return Protocol.model_validate(
        {"name": "a cycle", "cell": "zn-bare-half", "technique": technique, "rules": [], **more}
    )


class Cable:
    """A serial cable between the bench and a simulated instrument, which can be pulled.

    To the driver it is the device at the published address; each time it is plugged in it is
    another one, as those of USB are.
    """

    def __init__(self, published: Path) -> None:
        self._published = published
        self._address = published.read_text()
        line = self._address.strip().partition("://")[2]
        self._instrument = os.open(line, os.O_RDWR | os.O_NONBLOCK)
        tty.setraw(self._instrument)
        self._ended = threading.Event()
        # What is told through it of who is at its end.
        self.instead: tuple[bytes, bytes] | None = None
        self._host: int | None = None
        self._devices: list[int] = []
        self._thread: threading.Thread | None = None

    def plug(self) -> None:
        host, device = os.openpty()
        tty.setraw(device)
        os.set_blocking(host, False)
        part = self._published.with_suffix(".part")
        part.write_text(f"serial://{os.ttyname(device)}")
        part.replace(self._published)
        self._ended.clear()
        self._host = host
        self._devices.append(device)
        self._thread = threading.Thread(target=self._carry, args=(host,), daemon=True)
        self._thread.start()

    def pull(self) -> None:
        """Be gone; the number stays taken, or another test's instrument would be found there."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None
            assert self._host is not None
            os.close(self._host)

    def close(self) -> None:
        self.pull()
        for device in self._devices:
            os.close(device)
        os.close(self._instrument)
        self._published.write_text(self._address)

    def _carry(self, host: int) -> None:
        ways = {host: self._instrument, self._instrument: host}
        while not self._ended.is_set():
            for end in select.select(list(ways), [], [], 0.01)[0]:
                data = os.read(end, 4096)
                if end == self._instrument and self.instead is not None:
                    data = data.replace(*self.instead)
                while data and not self._ended.is_set():
                    if select.select([], [ways[end]], [], 0.01)[1]:
                        data = data[os.write(ways[end], data) :]


class Bench:
    """A simulated potentiostat, and a session that runs on it in this process."""

    def __init__(self, broken: Any, wait_for: Callable[..., None]) -> None:
        self.broken = broken
        self.wait_for = wait_for
        self.told: list[str] = []

    @contextlib.contextmanager
    def session(self, factor: float = FACTOR) -> Iterator[Session]:
        bench = load_bench("sim").only({"potentiostat"})
        with (
            self.broken.serve("potentiostat", factor=factor),
            Session(bench, self.broken.data, catalog=False) as session,
        ):
            session._tell = self.told.append  # type: ignore[method-assign]
            yield session

    @contextlib.contextmanager
    def cabled(
        self, name: str = "sim", instrument: str = "potentiostat", factor: float = FACTOR
    ) -> Iterator[tuple[Session, Cable]]:
        """As ``session``, with a cable in between."""
        bench = load_bench(name).only({"potentiostat"})
        with self.broken.serve(instrument, factor=factor):
            cable = Cable(self.broken.sim / instrument)
            cable.plug()
            try:
                with Session(bench, self.broken.data, catalog=False) as session:
                    session._tell = self.told.append  # type: ignore[method-assign]
                    yield session, cable
            finally:
                cable.close()

    def garble(self) -> None:
        """Damage so many lines that the run cannot go on."""
        self.broken.inject("potentiostat", "garble", count=8)

    def run(self, session: Session, protocol: Protocol) -> str:
        return session.run_protocol(protocol, cell=load_cell("zn-bare-half"))

    @property
    def chain(self) -> list[Run]:
        uids = [one.uid for one in reversed(list_runs(self.broken.data))]
        return [Run.from_documents(documents(journal_path(self.broken.data, x))) for x in uids]

    @property
    def experiment(self) -> Run:
        return Run.from_journal("last", self.broken.data)

    def whole(self, *, garbled: bool = False) -> None:
        """No row twice, none filled in, every counter goes on."""
        columns = self.experiment.streams["potentiostat"].columns
        for name in ("t", "step", "half_cycle", "cycle"):
            steps = np.diff(columns[f"potentiostat_{name}"])
            assert np.all(steps > 0 if name == "t" else steps >= 0)
        assert np.all(np.isfinite(columns["potentiostat_current"]))
        if not garbled:
            assert not np.any(columns["potentiostat_flags"].astype(int) & LOST_BEFORE)

    def charge(self, number: int) -> float:
        halves = {half.number: half for half in half_cycles_of(self.experiment)}
        return float(halves[number].capacity_mah_cm2)


@pytest.fixture
def bench(broken: Any, wait_for: Callable[..., None]) -> Bench:
    return Bench(broken, wait_for)


@contextlib.contextmanager
def after_rows(
    session: Session,
    role: int,
    rows: int,
    breaks: Callable[[], object],
    then: Callable[[], object] = lambda: None,
) -> Any:
    """Break something when so many rows of a role have come, and do more in a thread of its own.

    It is broken in the thread that reads: however busy the computer is, no further row is read
    before.
    """
    seen: list[float] = []
    done: list[threading.Thread] = []

    def look(row: Any) -> None:
        if getattr(row, "role", None) == role:
            seen.append(row.t_s)
        if len(seen) >= rows and not done:
            breaks()
            done.append(threading.Thread(target=then))
            done[0].start()

    unsubscribe = session.devices["potentiostat"].on_measured(look)
    try:
        yield
    finally:
        unsubscribe()
    assert done
    done[0].join()


def test_after_a_cable_that_returns_the_step_goes_on_where_it_stood(bench: Bench) -> None:
    retry = {"times": 5, "wait_s": 0.2, "growth": 2.0}
    with bench.cabled() as (session, cable):

        def plug() -> None:
            driven = "Nothing was driven"
            bench.wait_for(lambda: any(driven in x for x in bench.told), "no attempt was made")
            held = partial(bench.broken.truth, "potentiostat", "held")
            bench.wait_for(held, "the clock was not held")
            cable.plug()

        # In the plating, however long it takes to connect.
        bench.broken.hold(after_s=200.0)
        with after_rows(session, PLATE, 60, cable.pull, plug):
            uid = bench.run(session, cycle({"retry": retry}))
        assert not bench.broken.cell_is_on()
    failed, resumed = bench.chain
    assert resumed.uid == uid
    assert failed.start["on_failure"]["retry"] == retry
    assert failed.stop is not None
    assert (failed.stop["exit_status"], "cable" in failed.stop["reason"]) == ("fail", True)
    told = resumed.start["recovery"]
    assert told["failed_run"] == failed.uid
    assert told["step"] == "plate step (cycle 1, half-cycle 1)"
    first, *_, last = told["attempts"]
    assert (first["number"], first["waited_s"], first["identified"]) == (1, 0.2, None)
    assert "potentiostat" in first["failure"]
    before = failed.start["bench"]["instruments"]["potentiostat"]["identity"]
    assert last["identified"]["serial_number"] == before["serial_number"]
    assert last["failure"] is None
    assert last["waited_s"] == 0.2 * 2 ** (len(told["attempts"]) - 1)
    # What the instrument measured meanwhile was collected from its own log.
    assert resumed.start["resume"]["collected_rows"] > 0
    assert resumed.start["resume"]["checks"]["passed"]
    bench.whole()
    assert bench.charge(1) == pytest.approx(CHARGE, rel=2e-3)
    report = text_report(bench.experiment)
    assert f"{failed.uid[:8]} failed in plate step" in report
    assert "tried to go on, attempt 1, 0.2 s after the failure before: " in report


@pytest.mark.long
def test_without_a_log_the_time_until_the_cell_is_seen_open_bounds_what_passed(
    bench: Bench,
) -> None:
    hold = {
        "type": "potentiostatic_step",
        "potential_v": -0.05,
        "until": [
            {"quantity": "time_s", "value": 3600},
            {"quantity": "charge_mah_cm2", "value": 5},
        ],
        "record": {"dt_s": 1.0, "edge_dt_s": 1.0},
        "on_failure": {"retry": QUICK, "then": "hold"},
    }
    protocol = Protocol.model_validate({"name": "hold", "cell": "zn-bare-half", "technique": hold})
    answers: list[Any] = []

    def act() -> None:
        bench.wait_for(lambda: "Attempt 1" in "".join(bench.told), "no attempt was made")
        cable.plug()
        bench.wait_for(lambda: questions(bench.broken.data), "nothing was asked")
        # It measures no impedance: somebody has to know that the cell is not shorted.
        uid = questions(bench.broken.data)[0].run
        answers.append(answer(bench, uid, "retry", "--accept-check"))
        rows = lambda: list_runs(bench.broken.data)[0].rows.get("potentiostat", 0)  # noqa: E731
        bench.wait_for(lambda: len(bench.chain) == 3 and rows() > 30, "it did not go on")
        os.kill(os.getpid(), signal.SIGINT)

    with bench.cabled("sim-rodeostat", "rodeostat", factor=4.0) as (session, cable):
        with after_rows(session, HOLD, 20, cable.pull, act), pytest.raises(RunFailedError):
            bench.run(session, protocol)
    assert answers[0].returncode == 0, answers
    failed, refused, resumed = bench.chain
    assert failed.start["instrument_log"]["name"] is None
    assert "does no impedance spectrum" in refused.start["resume"]["refused"]
    told = resumed.start["resume"]
    assert told["decisions"] == {"accept_check": True}
    assert 0 < told["gap_s"]
    assert told["unrecorded_charge_mah_cm2"] > 0
    left = resumed.start["remaining_technique"]["until"][0]["value"]
    last = failed.streams["potentiostat"].columns["potentiostat_step_t"][-1]
    assert 0.99 * (3600 - last) < left < 3600 - last
    assert resumed.stop is not None
    assert resumed.stop["exit_status"] == "abort"
    bench.whole()


def test_another_instrument_at_the_address_is_refused_by_name_and_not_tried_again(
    bench: Bench,
) -> None:
    with bench.cabled() as (session, cable):
        leader = session.bench.metadata()["bench"]["instruments"]["potentiostat"]
        serial = leader["identity"]["serial_number"]

        def exchange() -> None:
            cable.pull()
            cable.instead = (serial.encode(), b"ES4HR24C9999")
            cable.plug()

        policy = {"retry": QUICK | {"times": 50}, "then": "hold"}
        with (
            after_rows(session, PLATE, 30, exchange),
            pytest.raises(RunFailedError) as caught,
        ):
            bench.run(session, cycle(policy))
        assert f"ran on the potentiostat {serial}, this one is ES4HR24C9999" in caught.value.reason
        # That the other one has its cell open says nothing of ours.
        assert "NOT known to be safe: potentiostat" in str(caught.value)
        assert f"another instrument than {serial}" in str(caught.value)
        assert "The cell is open" not in str(caught.value)
        assert not bench.broken.cell_is_on()
    failed, ended = bench.chain
    assert caught.value.uid == ended.uid
    told = ended.start["recovery"]
    # Whatever the policy says, nobody is asked.
    assert "asked" not in told
    assert told["attempts"][-1]["identified"]["serial_number"] == "ES4HR24C9999"
    refused = ended.start["resume"]["refused"]
    assert ended.start["resume"] == {"of": failed.uid, "root": failed.uid, "refused": refused}
    assert caught.value.reason == f"{told['failure']}. By its failure policy: {refused}"
    assert len(ended.streams) == 0


def test_when_the_retries_are_used_up_it_ends_and_can_still_be_resumed(bench: Bench) -> None:
    with bench.cabled() as (session, cable):
        with (
            after_rows(session, PLATE, 30, cable.pull),
            pytest.raises(RunFailedError, match="tried 2 times to go on") as caught,
        ):
            bench.run(session, cycle({"retry": QUICK}))
        assert "NOT known to be safe: potentiostat" in str(caught.value)
        failed, ended = bench.chain
        assert caught.value.uid == ended.uid
        assert ended.stop is not None
        assert ended.stop["reason"].startswith(failed.stop["reason"] if failed.stop else "?")
        attempts = ended.start["recovery"]["attempts"]
        assert [(x["do"], x["number"], x["waited_s"]) for x in attempts] == [
            ("retry", 1, 0.05),
            ("retry", 2, 0.1),
        ]
        assert all(x["failure"] for x in attempts)
        assert "Nothing went on: " in text_report(bench.experiment)
        cable.plug()
        # In the same session, whose line was lost.
        uid = resume(session)
    assert [run.uid for run in bench.chain] == [failed.uid, ended.uid, uid]
    bench.whole()
    assert bench.charge(1) == pytest.approx(CHARGE, rel=2e-3)


@pytest.mark.long
def test_it_goes_on_without_a_sensor_that_was_lost_as_well(bench: Bench) -> None:
    file = load_bench("sim").only({"potentiostat"})
    ph = {"kind": "sensor", "language": "atlas_ezo_ph", "on_failure": "note"}
    told = file.model_dump(mode="json")
    told["instruments"]["ph"] = ph | {"address": "published:${OPERANDO_SIM}/ph_meter"}

    def lose() -> None:
        bench.broken.inject("ph_meter", "unplug")
        bench.broken.inject("potentiostat", "garble", count=8)

    with (
        bench.broken.serve("potentiostat", "ph_meter", factor=FACTOR),
        Session(BenchFile.model_validate(told), bench.broken.data, catalog=False) as session,
    ):
        session._tell = bench.told.append  # type: ignore[method-assign]
        protocol = cycle({"retry": QUICK})
        quickly = protocol.model_copy(update={"every": Schedule(reading_s=60.0)})
        with after_rows(session, PLATE, 60, lose):
            uid = bench.run(session, quickly)
        # Who it was is not told of one that is gone.
        instruments = session.bench.metadata()["bench"]["instruments"]
        assert instruments["ph"]["identity"] is None
        assert "ph_meter" in instruments["ph"]["identity_missing"]
    failed, resumed = bench.chain
    assert resumed.uid == uid
    assert failed.start["bench"]["instruments"]["ph"]["identity"]
    # Nothing is made up for it.
    assert np.all(np.isnan(resumed.streams["ph"].columns["ph_ph"]))
    assert resumed.stop is not None
    assert "ph: " in resumed.stop["reason"]


@pytest.mark.long
def test_a_lead_that_the_interlock_opened_under_current_ends_it_by_the_safety_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {"retry": QUICK | {"wait_s": 3.0}, "then": "hold"}
    monkeypatch.setenv("OPERANDO_GUARD", "on")
    file = load_bench("sim-interlock").only({"potentiostat", "interlock"})

    def plug() -> None:
        bench.wait_for(lambda: bench.told, "no attempt was made")
        cable.plug()

    with bench.broken.serve("potentiostat", "interlock", factor=FACTOR):
        cable = Cable(bench.broken.sim / "potentiostat")
        cable.plug()
        try:
            with Session(file, bench.broken.data, catalog=False) as session:
                session._tell = bench.told.append  # type: ignore[method-assign]
                guard = session.guard_state()
                with (
                    after_rows(session, PLATE, 60, cable.pull, plug),
                    pytest.raises(RunFailedError, match="by a safety limit"),
                ):
                    bench.run(session, cycle(policy))
                # The guard had opened the lead, which is told by none any more; another watches.
                assert guard is not None
                assert guard["pid"] != (session.guard_state() or {})["pid"]
        finally:
            cable.close()
    _, collected, ended = bench.chain
    # What the instrument measured until then is kept, and nobody is asked to go on.
    assert collected.start["resume"]["ending"] == "safety"
    assert collected.start["resume"]["collected_rows"] > 0
    assert "asked" not in ended.start["recovery"]
    assert not bench.broken.cell_is_on()


@pytest.mark.long
def test_the_failure_of_another_instrument_is_none_of_the_policys_business(bench: Bench) -> None:
    file = load_bench("sim").only({"potentiostat", "camera"})
    with (
        bench.broken.serve("potentiostat", "camera", "relay_board"),
        Session(file, bench.broken.data, catalog=False) as session,
    ):
        unplug = lambda: bench.broken.inject("relay_board", "unplug")  # noqa: E731
        protocol = cycle({"retry": QUICK}).model_copy(update={"every": Schedule(image_s=10.0)})
        with (
            after_rows(session, PLATE, 40, unplug),
            pytest.raises(RunFailedError, match="camera: relay board"),
        ):
            bench.run(session, protocol)
    assert len(bench.chain) == 1


@pytest.mark.long
def test_after_a_power_cycle_the_step_goes_on(bench: Bench) -> None:
    with bench.session() as session:
        session.devices["potentiostat"]._driver._added_patience_s = 1.0
        cut = lambda: bench.broken.inject("potentiostat", "power-cycle", seconds=0.3)  # noqa: E731
        with after_rows(session, STRIP, 20, cut):
            bench.run(session, cycle(strip={"retry": QUICK}))
    failed, resumed = bench.chain
    assert failed.start["on_failure"]["retry"] is None
    told = resumed.start["recovery"]
    assert told["step"] == "strip step (cycle 1, half-cycle 2)"
    assert told["policy"]["retry"] == QUICK
    assert resumed.start["resume"]["unpowered_s"] > 0
    bench.whole()


def test_a_step_that_is_skipped_is_left_out_and_the_record_says_so(bench: Bench) -> None:
    charge = 10 * CHARGE  # the plating is not over for a computer that is slow
    with bench.session() as session:
        with after_rows(session, PLATE, 60, bench.garble):
            bench.run(session, cycle(charge=charge, plate={"then": "skip"}))
    failed, resumed = bench.chain
    (attempt,) = resumed.start["recovery"]["attempts"]
    assert (attempt["do"], attempt["failure"]) == ("skip", None)
    skipped = resumed.start["resume"]["skipped"]
    assert (skipped["type"], skipped["role"]) == ("galvanostatic_step", "plate")
    left = TypeAdapter[Technique](Technique).validate_python(resumed.start["remaining_technique"])
    assert [step.type for step in elementary_steps(left)] == [
        "open_circuit",
        "galvanostatic_step",
        "open_circuit",
    ]
    own = resumed.streams["potentiostat"].columns
    begun = resumed.start["resume"]["begin"]["step"]
    assert PLATE not in own["potentiostat_role"][own["potentiostat_step"] > begun]
    bench.whole(garbled=True)
    # What was stripped of what was plated.
    assert 0.1 * CHARGE < bench.charge(1) < 0.9 * charge
    efficiency = metrics(bench.experiment)["ce_pct"].value
    assert efficiency == [pytest.approx(100 * bench.charge(2) / bench.charge(1), rel=1e-3)]
    assert "left out: plate" in text_report(bench.experiment)
    assert failed.stop is not None


@pytest.mark.long
def test_a_strip_that_is_skipped_has_no_efficiency(bench: Bench) -> None:
    with bench.session() as session:
        with after_rows(session, STRIP, 60, bench.garble):
            bench.run(session, cycle({"then": "skip"}))
    resumed = bench.chain[1]
    assert resumed.start["resume"]["skipped"]["role"] == "strip"
    assert resumed.stop is not None
    assert resumed.stop["exit_status"] == "success"
    bench.whole(garbled=True)
    efficiency = metrics(bench.experiment)["ce_pct"]
    assert efficiency.value in (None, [None]), efficiency
    assert efficiency.reason


def answer(bench: Bench, *what: str) -> "subprocess.CompletedProcess[str]":
    process = bench.broken.operando("answer", *what)
    told, complained = process.communicate()
    return subprocess.CompletedProcess(what, process.returncode, told, complained)


@pytest.mark.parametrize("as_plan", [False, True])
def test_a_run_that_holds_is_answered_from_another_process(bench: Bench, as_plan: bool) -> None:
    answers: list[Any] = []

    def run(session: Session) -> None:
        if as_plan:  # as a queue server runs it, in one call of the RunEngine
            session.RE(session.as_plan(lambda: bench.run(session, cycle({"then": "hold"}))))
        else:
            bench.run(session, cycle({"then": "hold"}))

    def reply() -> None:
        bench.wait_for(lambda: questions(bench.broken.data), "nothing was asked")
        (question,) = questions(bench.broken.data)
        assert not bench.broken.cell_is_on()
        answers.append(answer(bench))
        answers.append(answer(bench, question.run[:8], "retry"))

    with bench.session() as session:
        with after_rows(session, PLATE, 60, bench.garble, reply):
            run(session)
        assert questions(bench.broken.data) == []
        refused = answer(bench, "last", "stop")
    assert [one.returncode for one in answers] == [0, 0], answers
    assert "plate step (cycle 1, half-cycle 1) failed" in answers[0].stdout
    assert refused.returncode == 2
    assert "nothing is asked" in refused.stderr
    resumed = bench.chain[1]
    (asked,) = resumed.start["recovery"]["asked"]
    assert (asked["answer"], asked["by"].endswith("operando answer")) == ("retry", True)
    bench.whole(garbled=True)
    assert bench.charge(1) == pytest.approx(CHARGE, rel=2e-3)


@pytest.mark.long
def test_a_question_that_nobody_answers_ends_the_experiment(bench: Bench) -> None:
    with bench.session() as session:
        with (
            after_rows(session, PLATE, 60, bench.garble),
            pytest.raises(RunFailedError, match=r"nobody answered within 0\.3 s"),
        ):
            bench.run(session, cycle({"then": "hold", "hold_s": 0.3}))
        assert not bench.broken.cell_is_on()
    (asked,) = bench.chain[1].start["recovery"]["asked"]
    assert asked["answer"] is None


def test_ctrl_c_while_it_waits_ends_the_experiment_and_is_recorded(bench: Bench) -> None:
    def stop() -> None:
        bench.wait_for(lambda: bench.told, "it did not wait")
        os.kill(os.getpid(), signal.SIGINT)

    policy = {"retry": {"times": 1, "wait_s": 600}}
    with bench.session() as session:
        with after_rows(session, PLATE, 60, bench.garble, stop), pytest.raises(KeyboardInterrupt):
            bench.run(session, cycle(policy))
        assert not bench.broken.cell_is_on()
    ended = bench.chain[1]
    assert ended.stop is not None
    assert ended.stop["exit_status"] == "abort"
    assert "ended by KeyboardInterrupt" in ended.stop["reason"]
    assert ended.start["recovery"]["attempts"] == []


def test_somebody_who_asks_to_stop_while_it_waits_is_heard(bench: Bench) -> None:
    answers: list[str] = []

    def stop(session: Session) -> None:
        bench.wait_for(lambda: bench.told, "it did not wait")
        for request in (SkipStep(by="Bob"), StopCell(by="Ada", why="enough")):
            try:
                answers.append(session.requests.put(request).answer(60.0))
            except RequestRefusedError as why:
                answers.append(str(why))

    policy = {"retry": {"times": 1, "wait_s": 600}}
    with bench.session() as session:
        asking = partial(stop, session)
        with (
            after_rows(session, PLATE, 60, bench.garble, asking),
            pytest.raises(RunFailedError) as failed,
        ):
            bench.run(session, cycle(policy))
        with pytest.raises(RequestRefusedError, match="no run goes on"):
            session.requests.put(StopCell(by="Ada")).answer(0.0)
    refused, accepted = answers
    assert refused.startswith("not done: the potentiostat failed")
    assert "the cell stays open" in accepted
    assert failed.value.exit_status == "abort"
    assert failed.value.reason.endswith("By its failure policy: stopped by Ada: enough")


def test_a_safety_limit_is_never_tried_again(bench: Bench) -> None:
    protocol = cycle({"retry": QUICK, "then": "skip"})
    narrow = protocol.model_copy(
        update={"limits": protocol.limits.model_copy(update={"potential_min_v": -0.03})}
    )
    with bench.session() as session, pytest.raises(RunFailedError, match="safety limit"):
        bench.run(session, narrow)
    assert len(bench.chain) == 1
