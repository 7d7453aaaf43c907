"""The worker of a station: three plans, each with its ticket; and how cells are mounted in it.

In this process, on a simulated potentiostat, with a real Redis; at the end one whole queue server.
"""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import pytest
import yaml
from bluesky.utils import RunEngineInterrupted

from operando.checking import CheckFailedError
from operando.cli import main
from operando.configuration import load_bench, load_cell, load_stations
from operando.journal import RunSummary, list_runs
from operando.logbook import notes
from operando.pages.report import report_page
from operando.queueing import _redis, managers, tickets
from operando.queueing.commands import CommandTaker, look_key
from operando.queueing.errors import QueueError
from operando.queueing.items import as_data
from operando.queueing.look import Look
from operando.queueing.model import AMENDED, Command, Record
from operando.queueing.mounting import Mounting, finish, finished_key, request_key
from operando.queueing.places import station_dir
from operando.queueing.store import Store
from operando.queueing.tickets import BEAT, AttemptReport, What, issue, read_report
from operando.queueing.worker import BEAT_EVERY_S, StationWorker
from operando.report import report_json, text_report
from operando.runs import Run
from operando.session import Session
from operando.simulation import SimulatedBench
from techniques.requests import StopCell

pytestmark = pytest.mark.timeout(180)
FACTOR = 1000.0
SAMPLE = as_data(load_cell("zn-bare"))
LABEL = SAMPLE["cell_id"]


def cycles(number: int = 1, charge: float = 0.05, **more: Any) -> dict[str, Any]:
    half = {"current_density_ma_cm2": 1.0, "record": {"dt_s": 2.0}}
    half["until"] = [{"quantity": "charge_mah_cm2", "value": charge}]
    technique = {"type": "plate_strip_cycle", "cycles": number, "plate": half, "strip": half}
    return {"name": "short", "cell": "zn-bare", "technique": technique, "rules": []} | more


def wait_for(what: Callable[[], Any], patience_s: float = 60.0) -> Any:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come in time")


class Station:
    """A folder with one simulated station in it, and its Redis."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.sim = folder / "sim"
        self.server = _redis.RedisServer(self.data)
        self.address = self.server.ensure()
        self.store = Store(_redis.client(self.address))
        # As its supervisor tells.
        self.store.change_station("A1", wanted="open", state="idle")

    def report(self, token: str) -> AttemptReport:
        def told() -> AttemptReport | None:
            found = read_report(self.data, "A1")
            return found if found is not None and found.ticket == token else None

        return wait_for(told)


class Open(Station):
    """The same with a worker in this process."""

    def __init__(self, folder: Path, session: Session) -> None:
        super().__init__(folder)
        self.session = session
        commands = CommandTaker("A1", session, lambda: _redis.client(self.address))
        self.worker = StationWorker("A1", self.data, session, commands)
        self.plans = self.worker.plans()
        # At which the cell was mounted: it is the one that answers.
        self.potentiostat = session.bench.marks()["potentiostat"]

    def execute(self, what: What, item: str, **kwargs: Any) -> AttemptReport:
        """Execute a plan as the queue server does; return what is reported of it."""
        mounted: dict[str, Any] = {"mounted_at": 17.0, "potentiostat": self.potentiostat}
        token = issue(self.data, "A1", item, what, label="zn 1/2", **mounted)
        with contextlib.suppress(Exception):
            self.session.RE(self.plans[what](ticket=token, **kwargs))
        return self.report(token)

    def run(self, item: str, protocol: dict[str, Any], label: str = LABEL) -> AttemptReport:
        sample = SAMPLE | {"cell_id": label}
        return self.execute("run_protocol", item, protocol=protocol, sample=sample)

    def stopped_meanwhile(self, action: Callable[[], object] = lambda: None) -> threading.Thread:
        """Do something while a run goes on, which then ends in order, however long that took."""

        def act() -> None:
            action()
            self.session.requests.put(StopCell(by="Cy", why="enough")).answer(60.0)

        return self.meanwhile(act)

    def meanwhile(self, action: Callable[[], object]) -> threading.Thread:
        def act() -> None:
            wait_for(lambda: any(map(_has_rows, list_runs(self.data))))
            action()

        thread = threading.Thread(target=act)
        thread.start()
        return thread

    @contextlib.contextmanager
    def supervised(self) -> Iterator[None]:
        """Take requests to look at cells, as the supervisor does; from a thread of its own."""
        over = threading.Event()

        def take() -> None:
            while not over.wait(0.05):
                text: Any = self.store.client.getdel(request_key("A1"))
                if text is not None:
                    asked = json.loads(text)
                    self.execute("look_at_cell", asked["token"], sample=asked["sample"])

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration folder whose station A1 has a simulated potentiostat."""
    from operando.settings import config_dir

    folder = tmp_path_factory.mktemp("configured") / "config"
    shutil.copytree(config_dir(), folder)
    bench = yaml.safe_load((folder / "sim.yaml").read_text())
    bench["instruments"] = {"potentiostat": bench["instruments"]["potentiostat"]}
    (folder / "sim-alone.yaml").write_text(yaml.safe_dump(bench))
    stations = {"stations": [{"name": name, "bench": "sim-alone"} for name in ("A1", "A2")]}
    (folder / "stations.yaml").write_text(yaml.safe_dump(stations))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPERANDO_CONFIG", str(folder))
        yield folder


@pytest.fixture(scope="module")
def station(config: Path) -> Iterator[Open]:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPERANDO_SIM", str(folder / "sim"))
        patch.setenv("OPERANDO_DATA", str(folder / "data"))
        served = SimulatedBench(
            "zn-bare", directory=folder / "sim", instruments=("potentiostat",), factor=FACTOR
        )
        with (
            served,
            Session(load_bench("sim-alone"), folder / "data", catalog=False) as session,
        ):
            opened = Open(folder, session)
            tickets.private(station_dir(opened.data, "A1"))
            opened.worker.live()
            try:
                yield opened
            finally:
                opened.worker.close()
                opened.server.stop()
    shutil.rmtree(folder)


# -- items


def test_nothing_is_driven_without_a_ticket(station: Open) -> None:
    before = len(list_runs(station.data))
    with pytest.raises(QueueError, match="without a ticket"):
        station.session.RE(station.plans["run_protocol"](protocol=cycles(), sample=SAMPLE))
    token = issue(station.data, "A1", "i", "look_at_cell")
    with pytest.raises(QueueError, match="ticket of look_at_cell"):
        station.session.RE(
            station.plans["run_protocol"](protocol=cycles(), sample=SAMPLE, ticket=token)
        )
    assert len(list_runs(station.data)) == before
    assert station.session.RE.state == "idle"


def test_an_item_is_checked_run_and_reported(station: Open) -> None:
    report = station.run("item-1", cycles())
    assert (report.exit_status, report.item, report.environment) == ("success", "item-1", "ok")
    assert report.run_uid is not None
    run = Run.from_journal(report.run_uid, station.data)
    assert run.start["queue"] == {
        "item": "item-1",
        "station": "A1",
        "label": "zn 1/2",
        "campaign": "",
        "attempt": 1,
        "mounted_at": 17.0,
    }
    assert run.start["check"]["passed"]
    assert run.start["plan_name"] == "operando_plating_stripping"
    assert report.handling
    assert "queue" not in station.session.RE.md


def test_what_was_noted_of_the_cell_while_it_ran_is_in_its_reports(station: Open) -> None:
    before = station.session.note("not of this run", cell=LABEL, by="Ada")

    def act() -> None:
        main(["note", "a bubble", "--station", "A1", "--by", "Ada"])
        station.session.abort("noted")

    thread = station.meanwhile(act)
    report = station.run("item-1b", cycles(50))
    thread.join()
    note = notes(station.data)[-1]
    assert (note.run, note.cell_id) == (report.run_uid, LABEL)
    run = Run.from_journal(str(report.run_uid), station.data)
    assert station.session.note("of the last one").run == report.run_uid
    text = text_report(run, {})
    assert "a bubble (Ada)" in text
    assert "of the last one" in text
    assert before.text not in text
    assert "a bubble (Ada)" in report_page(run)
    assert [one["text"] for one in report_json(run, {})["notes"]] == ["a bubble", "of the last one"]


def test_an_instrument_that_was_lost_is_connected_anew_before_the_next_item(
    station: Open,
) -> None:
    driver = station.session.devices["potentiostat"]._driver
    driver._transport.close()  # as a cable that was pulled while nothing ran
    assert station.run("item-1c", cycles()).exit_status == "success"


def test_an_instrument_that_does_not_come_back_asks_for_a_new_worker(station: Open) -> None:
    published = station.data.parent / "sim" / "potentiostat"
    aside = published.with_name("aside")
    station.session.devices["potentiostat"]._driver._transport.close()
    published.rename(aside)
    try:
        report = station.run("item-1e", cycles())
        assert (report.exit_status, report.environment) == ("refused", "broken")
        assert report.of_bench
        assert "nothing was begun" in report.reason
    finally:
        aside.rename(published)
    # Where it came back by itself, the next item finds it.
    assert station.run("item-1f", cycles()).exit_status == "success"


def test_another_potentiostat_than_the_one_at_which_the_cell_was_mounted_drives_nothing(
    station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(list_runs(station.data))
    for who, why in (
        ("EmStat4 HR 7", "mounted at the potentiostat EmStat4 HR 7, and EmStat4 HR ES4"),
        ("", "at which potentiostat its cell was mounted is not known any more"),
    ):
        monkeypatch.setattr(station, "potentiostat", who)
        # Also the look that comes first after a power cut: its spectrum modulates the cell.
        for report in (
            station.execute("look_at_cell", "look-swapped", sample=SAMPLE),
            station.run("item-swapped", cycles()),
        ):
            assert report.exit_status == "refused"
            assert report.run_uid is None
            assert report.environment == "ok"
            assert report.of_bench
            assert why in report.reason
    assert len(list_runs(station.data)) == before


def test_a_refused_item_drives_nothing_and_the_next_one_runs(station: Open) -> None:
    before = len(list_runs(station.data))
    too_much = cycles(charge=90.0)
    report = station.run("item-2", too_much)
    assert (report.exit_status, report.run_uid, report.of_bench) == ("refused", None, False)
    assert "charge" in report.reason
    assert len(list_runs(station.data)) == before
    assert station.run("item-3", cycles()).exit_status == "success"


def test_a_check_that_fails_is_the_reason(station: Open) -> None:
    fast = cycles(400, charge=4.0)
    fast["technique"]["plate"]["record"] = {"dt_s": 0.001}  # more rows than any disk takes
    token = issue(station.data, "A1", "item-4", "run_protocol")
    with pytest.raises(CheckFailedError):
        station.session.RE(
            station.plans["run_protocol"](protocol=fast, sample=SAMPLE, ticket=token)
        )
    report = station.report(token)
    assert report.exit_status == "refused"
    assert "nothing was begun" in report.reason
    assert "a run writes at most" in report.reason


def test_somebody_who_aborts_is_named_and_the_next_item_runs(station: Open) -> None:
    command = Command(do="abort", by="Ada", at=time.time(), item="item-5", text="smells")
    other = Command(do="abort", by="Bo", at=time.time(), item="item-9")

    def ask() -> None:
        station.store.push_command("A1", other)
        station.store.push_command("A1", command)

    thread = station.meanwhile(ask)
    report = station.run("item-5", cycles(50))
    thread.join()
    assert (report.exit_status, report.reason) == ("abort", "aborted by Ada: smells")
    answers = [wait_for(lambda c=one: station.store.answered("A1", c)) for one in (other, command)]
    assert [taken for taken, _ in answers] == [False, True]
    assert "item-5" in answers[0][1]
    assert station.run("item-6", cycles()).exit_status == "success"


@pytest.mark.parametrize("within_a_plan", [False, True])
def test_somebody_who_aborts_before_a_run_has_begun_is_named_too(
    station: Open, within_a_plan: bool
) -> None:
    command = Command(do="abort", by="Ada", at=time.time(), item="item-5b", text="smells")
    begun: list[str] = []

    def wait(ticket: tickets.Ticket) -> str:
        # As a check of the bench or a look at the cell does, before a run is opened.
        begun.append(ticket.item)
        station.store.push_command("A1", command)
        if within_a_plan:
            station.session.run(bps.sleep(60.0))
        station.session.wait(60.0)
        raise AssertionError("nobody ended it")

    token = issue(station.data, "A1", "item-5b", "run_protocol")
    with pytest.raises(RunEngineInterrupted):
        station.session.RE(station.worker._executed("run_protocol", token, wait))
    report = station.report(token)
    assert begun == ["item-5b"]
    assert (report.exit_status, report.run_uid) == ("abort", None)
    assert report.reason == "aborted by Ada: smells"
    taken, _ = wait_for(lambda: station.store.answered("A1", command))
    assert taken
    assert station.run("item-5c", cycles()).exit_status == "success"


def test_who_asks_for_a_step_to_be_skipped_and_for_the_end_is_answered(station: Open) -> None:
    now = time.time()
    asked = [
        Command(do="skip_step", by="Ada", at=now, item="item-6b"),
        Command(do="amend", by="Bo", at=now + 1, item="item-6b", protocol={"name": "nothing"}),
        Command(do="amend", by="Bo", at=now + 2, item="item-6b", protocol=cycles(charge=90.0)),
        Command(do="amend", by="Bo", at=now + 3, item="item-6b", protocol=cycles(60)),
        Command(do="stop", by="Cy", at=now + 4, item="item-6b", text="dendrites"),
    ]
    answers = []

    def ask() -> None:
        for one in asked:
            station.store.push_command("A1", one)
            answers.append(wait_for(lambda c=one: station.store.answered("A1", c)))

    thread = station.meanwhile(ask)
    report = station.run("item-6b", cycles(50), "stopped")
    thread.join()
    assert [taken for taken, _ in answers] == [True, False, False, True, True]
    # For whoever asks how long it lasts.
    kept = station.store.text(f"{AMENDED}item-6b")
    assert json.loads(kept or "null") == cycles(60)
    assert "technique" in answers[1][1]
    assert "the limit is 20 mAh/cm2" in answers[2][1]
    assert report.exit_status == "success"
    assert report.reason.startswith("stopped by Cy: dendrites")
    assert report.stopped == {"by": "Cy", "why": "dendrites"}


def test_what_is_asked_of_an_item_that_is_about_to_go_on_is_done(station: Open) -> None:
    store, now = station.store, time.time()
    asked = [
        Command(do="skip_step", by="Ada", at=now, item="item-6c"),
        Command(do="stop", by="Cy", at=now + 1, item="item-6c", text="dendrites"),
    ]
    told = {"item": "item-6c", "station": "A1", "cell_id": LABEL, "state": "starting"}
    store.put_record(Record.model_validate(told))
    store.push_command("A1", asked[0])
    store.keep_wish("A1", asked[1])
    store.push_command("A1", asked[1])
    wait_for(lambda: not store.client.exists("operando:commands:A1"))
    assert [store.answered("A1", one) for one in asked] == [None, None]
    report = station.run("item-6c", cycles(50), "stopped")
    assert report.stopped == {"by": "Cy", "why": "dendrites"}
    answers = [wait_for(lambda c=one: store.answered("A1", c)) for one in asked]
    assert answers[1][0]
    store.forget_wish("A1", "item-6c")


def test_an_interrupted_item_goes_on_as_an_attempt_of_its_own(station: Open) -> None:
    aborted = station.meanwhile(lambda: station.session.abort("stopped by SIGTERM"))
    first = station.run("item-7", cycles(50), "stopped")
    aborted.join()
    assert first.exit_status == "abort"
    token = issue(station.data, "A1", "item-7", "resume_protocol", attempt=2)
    stopped = station.stopped_meanwhile()
    station.session.RE(station.plans["resume_protocol"](run=first.run_uid, ticket=token))
    stopped.join()
    report = station.report(token)
    assert (report.what, report.exit_status) == ("resume_protocol", "success")
    assert report.run_uid is not None
    run = Run.from_journal(report.run_uid, station.data, chain=False)
    assert run.start["resume_of"] == first.run_uid
    assert run.start["queue"]["attempt"] == 2


def test_what_cannot_be_resumed_is_refused_with_the_reason(station: Open) -> None:
    done = station.run("item-8", cycles())
    report = station.execute("resume_protocol", "item-8", run=done.run_uid)
    assert (report.exit_status, report.run_uid) == ("refused", None)
    assert "nothing is left to resume" in report.reason


def test_a_run_does_not_need_redis(station: Open) -> None:
    thread = station.stopped_meanwhile(station.server.stop)
    report = station.run("item-10", cycles(50), "stopped")
    thread.join()
    assert report.exit_status == "success"
    station.server.ensure()
    command = Command(do="skip_step", by="Ada", at=time.time())
    wait_for(lambda: _pushed(station, command))
    taken, _ = wait_for(lambda: station.store.answered("A1", command))
    assert not taken


def _has_rows(run: RunSummary) -> bool:
    return run.exit_status == "running" and run.rows.get("potentiostat", 0) > 5


def _pushed(station: Open, command: Command) -> bool:
    try:
        station.store.push_command("A1", command)
    except QueueError:
        return False
    return True


def test_it_beats_while_the_event_loop_answers_and_only_then(station: Open) -> None:
    beat = station_dir(station.data, "A1") / BEAT

    def count() -> int:
        return int.from_bytes(beat.read_bytes(), "little")

    first = count()
    wait_for(lambda: count() >= first + 2)
    hangs, goes_on = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        goes_on.wait(60.0)

    station.session.RE.loop.call_soon_threadsafe(hang)
    assert hangs.wait(60.0)
    before = count()
    time.sleep(3 * BEAT_EVERY_S)
    stopped = count()
    assert stopped <= before + 1  # one may have been about to be written
    goes_on.set()
    wait_for(lambda: count() > stopped)


def test_it_beats_again_after_its_disk_has_failed(
    station: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("operando.queueing.worker.BEAT_EVERY_S", 0.02)
    beat = tickets.private(station_dir(tmp_path, "A1")) / BEAT
    beat.mkdir()  # a disk that takes it not
    worker = StationWorker("A1", tmp_path, station.session)
    worker.live()
    try:
        wait_for(lambda: caplog.text.count("its beat cannot be written") == 1)
        beat.rmdir()
        wait_for(beat.is_file)
        # Written again and again, it may be there anew before the folder is.
        wait_for(lambda: _made_folder(beat))
        wait_for(lambda: caplog.text.count("its beat cannot be written") == 2)
        beat.rmdir()
        wait_for(beat.is_file)
    finally:
        worker._closed.set()


def _made_folder(path: Path) -> bool:
    path.unlink(missing_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


# -- mounting


def test_a_look_at_the_cell_tells_its_potential_and_resistance(station: Open) -> None:
    report = station.execute("look_at_cell", "look-1", sample=SAMPLE)
    assert report.exit_status == "success"
    seen = Look.model_validate_json(wait_for(lambda: station.store.text(look_key("look-1"))))
    assert seen.run_uid == report.run_uid
    assert seen.ocv_v == pytest.approx(0.0, abs=0.05)
    assert seen.series_ohm is not None
    assert seen.lowest_ohm is not None
    assert 0 < seen.series_ohm < seen.lowest_ohm
    run = Run.from_journal(str(report.run_uid), station.data)
    assert (run.start["plan_name"], run.start["queue"]["station"]) == ("look_at_cell", "A1")


def test_a_cell_is_mounted_once_noted_and_named_in_its_items(
    station: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    with station.supervised():
        status = main(["mount", "zn-bare", "--station", "A1", "--by", "Ada", "--yes"])
    assert status == 0, capsys.readouterr()
    out = capsys.readouterr().out
    assert "working cable on    Zn" in out
    assert f"Cell {LABEL} is mounted in station A1" in out
    mount = station.store.mount("A1")
    assert mount is not None
    assert (mount.cell_id, mount.by, mount.accepted) == (LABEL, "Ada", False)
    assert mount.series_ohm is not None
    assert mount.potentiostat == station.potentiostat
    assert notes(station.data, cell_id=LABEL, station="A1")[-1].text.startswith("mounted: ")
    # In a station there is one cell, and a cell is in one station.
    assert main(["mount", "zn-bare", "--station", "A2", "--yes"]) == 2
    assert "is mounted in station A1" in capsys.readouterr().err
    assert main(["mount", "zn-bare-half", "--station", "A1", "--yes"]) == 2
    assert f"cell {LABEL} is mounted in station A1: take it out" in capsys.readouterr().err
    assert main(["mounts"]) == 0
    assert LABEL in capsys.readouterr().out
    assert main(["note", "pressed", "--station", "A1", "--by", "Ada"]) == 0
    assert notes(station.data)[-1].cell_id == LABEL
    assert main(["unmount", "--station", "A1"]) == 0
    assert station.store.mounted_at(LABEL) is None
    assert main(["unmount", "--station", "A1"]) == 2


def test_a_cell_that_is_not_what_its_file_says_is_not_mounted(
    station: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    half = ["mount", "zn-bare-half", "--station", "A1", "--yes"]
    with station.supervised():
        assert main(half) == 1
        said = capsys.readouterr()
        assert "NOT AS EXPECTED: open circuit" in said.out
        assert "--accept" in said.err
        assert station.store.mount("A1") is None
        assert main([*half, "--accept"]) == 0
    mount = station.store.mount("A1")
    assert mount is not None
    assert mount.accepted
    assert "shorted" in mount.findings[0]
    Mounting(station.data).unmount("A1", "Ada")


def test_a_finished_cell_is_not_mounted_by_mistake(
    station: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    mounting = Mounting(station.data)
    cell = load_cell("zn-bare")
    with station.supervised():
        assert mounting.mount(cell, "A1", "Ada").kept
        finish(station.store, "A1", "hard short in half-cycle 12", station.data)
        mounting.unmount("A1", "Ada")
        # Also if Redis were lost.
        station.store.client.delete(finished_key(cell.cell_id))
        assert main(["mount", "zn-bare", "--station", "A1", "--yes"]) == 2
        assert "hard short in half-cycle 12" in capsys.readouterr().err
        anew = mounting.mount(cell, "A1", "Ada", again="pressed anew")
    assert anew.kept
    # Compared with the look before, which was of the same cell.
    assert anew.mount.series_ohm == pytest.approx(anew.mount.expected["series_ohm"], rel=0.3)
    assert "mounted again: pressed anew" in notes(station.data)[-1].text
    mounting.unmount("A1", "Ada")
    mounting.refuse(cell, "A1")


def test_without_a_supervisor_a_mount_says_what_to_do(station: Open) -> None:
    mounting = Mounting(station.data)
    cell = load_cell("zn-bare")
    with pytest.raises(QueueError, match=r"not looked at the cell within 0\.2 s .it is idle"):
        mounting.mount(cell, "A1", "Ada", within_s=0.2)
    assert station.store.text(request_key("A1")) is None
    with pytest.raises(QueueError, match="station A2 is not open"):
        mounting.refuse(cell, "A2")
    with pytest.raises(QueueError, match="no station 'B7'; there are A1, A2"):
        mounting.refuse(cell, "B7")
    assert main(["mount", "zn-bare", "--station", "A1"]) == 2  # nobody can say yes here


# -- a whole queue server


def test_a_worker_that_is_told_to_end_opens_the_cell_reports_and_ends(config: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("OPERANDO_SIM", str(folder / "sim"))
        patch.setenv("OPERANDO_DATA", str(folder / "data"))
        patch.setenv("OPERANDO_STATION_CATALOG", "off")
        served = SimulatedBench(
            "zn-bare", directory=folder / "sim", instruments=("potentiostat",), factor=50.0
        )
        stack.enter_context(served)
        station = Station(folder)
        stack.callback(station.server.stop)
        entry = load_stations().station("A1")
        assert entry is not None
        process = managers.start_manager(station.data, entry)
        stack.callback(_end_group, process)
        manager = managers.wait_for_manager(station.data, "A1", process)
        manager.lock()
        manager.open()
        wait_for(lambda: _status(manager).get("worker_environment_state") == "idle")
        pid = json.loads((station_dir(station.data, "A1") / tickets.WORKER).read_text())["pid"]
        token = issue(station.data, "A1", "item-1", "run_protocol", label="zn 1/1")
        kwargs = {"protocol": cycles(50), "sample": SAMPLE, "ticket": token, "label": "zn 1/1"}
        wait_for(lambda: _status(manager).get("manager_state") == "idle")
        manager.execute("run_protocol", kwargs)
        wait_for(lambda: any(one.rows.get("potentiostat") for one in list_runs(station.data)))
        os.kill(pid, signal.SIGTERM)
        report = station.report(token)
        assert (report.exit_status, report.reason) == ("abort", "stopped by SIGTERM")
        wait_for(lambda: not (station_dir(station.data, "A1") / tickets.WORKER).exists())
        truth = (folder / "sim" / "sim_truth" / "potentiostat.jsonl").read_text().splitlines()
        told = [json.loads(line)["event"] for line in truth]
        assert [one for one in told if one in ("cell_on", "cell_off")][-1] == "cell_off"
        # What is logged is in a file of bounded size, and not printed a second time.
        log = (station_dir(station.data, "A1") / tickets.LOG).read_text()
        assert "station A1 is open" in log
        assert (
            "station A1 is open"
            not in (station_dir(station.data, "A1") / "manager.log").read_text()
        )
    shutil.rmtree(folder)


def _status(manager: managers.Manager) -> dict[str, Any]:
    """Return what it tells; nothing while a busy computer keeps it from answering in time."""
    try:
        return manager.status()
    except QueueError:
        return {}


def _end_group(process: Any) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
