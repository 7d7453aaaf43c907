"""The mains are lost: what runs is ended in time, nothing begins, and all goes on afterwards."""

import dataclasses
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from operando.cli import main
from operando.guard import _places
from operando.journal import JournalWriter
from operando.logbook import notes
from operando.queueing import mains
from operando.queueing._alert_spool import Spool
from operando.queueing._redis import RedisServer
from operando.queueing.alerts import spool_path
from operando.queueing.control import Control
from operando.queueing.errors import QueueError
from operando.queueing.mains import Mains, MainsLost, mark_of, set_back, set_lost
from operando.queueing.model import Attempt, Mount, Record
from operando.queueing.places import private, station_dir
from operando.queueing.queue import Queue
from operando.queueing.store import Store, manager_prefix
from operando.queueing.supervisor import _deaths
from operando.queueing.supervisor._deaths import LOOK_FIRST, MAINS
from operando.queueing.supervisor._house import House
from operando.queueing.supervisor._processes import Process
from operando.queueing.supervisor._station import Station
from operando.queueing.supervisor._supervisor import claim_key
from techniques import StationEntry, StationsFile

CELL = {"cell_id": "zn-1"}
IDLE = {"manager_state": "idle", "worker_environment_state": "idle"}
NO_WORKER = {**IDLE, "worker_environment_exists": False}


class Told:
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None:
        del title, body, station
        self.events.append(event)


@dataclasses.dataclass
class Bench:
    """A station that its UPS feeds, with a cell in it."""

    station: Station
    store: Store
    folder: Path

    def look(self) -> None:
        self.station._mains.look(time.time(), time.monotonic())

    @property
    def record(self) -> Record:
        found = self.store.record("i-1")
        assert found is not None
        return found

    @property
    def state(self) -> tuple[str, str]:
        found = self.store.station("A1")
        assert found is not None
        return found.state, found.why

    def begun(self, state: Any = "running", run: str | None = "u-1") -> Record:
        """Return an item that has begun, with a run that nobody has closed."""
        told = {"item": "i-1", "station": "A1", "cell_id": "zn-1", "state": state}
        kwargs = {"sample": CELL, "protocol": {}}
        attempts = (Attempt(kind="run", began=1.0),)
        one = Record.model_validate({**told, "attempts": attempts, "kwargs": kwargs})
        self.store.put_record(one)
        self.store.change_station("A1", item="i-1", wanted="open", state="running", since=1.0)
        if run is not None:
            self.station.files.give_ticket(
                "i-1", 1, "run_protocol", boot=self.station._house.clock.boot()
            )
            self.interrupted(run)
        return one

    def interrupted(self, uid: str, resumes: str | None = None) -> None:
        start = {"uid": uid, "time": 1.0, "plan_name": "operando_plating_stripping", "scan_id": 1}
        if resumes is not None:
            start |= {"resume": {"of": resumes, "root": resumes}}
        with JournalWriter(self.folder) as journal:
            journal("start", start | {"sample": CELL, "queue": {"item": "i-1", "station": "A1"}})
            stop = {"uid": f"{uid}-end", "run_start": uid, "time": 2.0, "exit_status": "abort"}
            journal("stop", stop | {"reason": "stopped by SIGTERM", "num_events": {}})


@pytest.fixture
def bench(folder: Path, server: RedisServer, store: Store) -> Bench:
    entry = StationEntry(name="A1", bench="bench", supply="ups")
    house = House(
        data_dir=folder,
        stations=StationsFile(stations=(entry,)),
        where=server.address(),
        store=store,
        alerts=Told(),
    )
    store.put_mount(Mount(station="A1", cell_id="zn-1", sample=CELL, by="me", at=1.0))
    return Bench(Station(house, entry), store, folder)


# -- the mark


@pytest.mark.parametrize(
    ("entry", "lost", "over_at"),
    [
        ({}, {}, 100.0),
        ({"supply": "ups"}, {}, 400.0),
        ({"supply": "independent", "hold_after_s": 60}, {}, 160.0),
        ({"supply": "ups"}, {"ends_at": 130.0}, 130.0),
        ({"supply": "ups"}, {"ends_at": 500.0}, 400.0),
        ({"supply": "ups", "hold_after_s": None}, {}, None),
        ({"supply": "ups", "hold_after_s": None}, {"low": True}, 100.0),
        ({"supply": "independent"}, {"low": True}, 100.0),
    ],
)
def test_what_runs_is_ended_when_the_first_of_its_reasons_comes(
    folder: Path, entry: dict[str, Any], lost: dict[str, Any], over_at: float | None
) -> None:
    told = StationEntry.model_validate({"name": "A1", "bench": "bench", **entry})
    mark = MainsLost(at=100.0, **lost)
    assert mark.over_at(told) == over_at
    path = private(station_dir(folder, "A1")) / mains.MARK
    path.write_text(mark.model_dump_json())
    seen = Mains(folder, told)
    for after_s in (0.0, 29.0, 30.0, 299.0, 300.0, 1e6):
        seen.look(100.0 + after_s, 7.0 + after_s)
        assert seen.out == (over_at is not None and 100.0 + after_s >= over_at)
    # Somebody sets the clock back: the battery is as empty.
    seen.look(100.0, 7.0 + 1e6)
    assert seen.out == (over_at is not None)
    path.unlink()
    seen.look(100.0, 7.0 + 1e6)
    assert (seen.out, seen.why) == (False, "")


def test_a_battery_that_was_low_is_low_until_the_mains_are_back(folder: Path) -> None:
    first, is_new = set_lost(folder, "A1", by="nut", why="rack")
    assert (is_new, first.low) == (True, False)
    low, is_new = set_lost(folder, "A1", by="nut", low=True)
    assert (is_new, low.at, low.why) == (True, first.at, "rack")
    again, is_new = set_lost(folder, "A1", by="nut", battery_min=60)
    assert (is_new, again.low) == (False, True)
    assert again.ends_at == pytest.approx(time.time() + 1800, abs=60)
    assert mark_of(folder, "A1") == again
    assert set_back(folder, "A1") == again
    assert (mark_of(folder, "A1"), set_back(folder, "A1")) == (None, None)


def test_a_battery_that_is_told_again_and_again_ends_what_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after_s in (0.0, 300.0, 599.0):
        monkeypatch.setattr(mains.time, "time", lambda at=1000.0 + after_s: at)
        set_lost(folder, "A1", by="nut", battery_min=20 - after_s / 60)
    found = mark_of(folder, "A1")
    assert found is not None
    assert found.ends_at == 1600.0
    # It is emptied faster than was thought.
    assert set_lost(folder, "A1", by="nut", battery_min=0)[0].ends_at == 1599.0


def test_of_what_a_ups_says_at_once_nothing_is_lost(folder: Path) -> None:
    with ThreadPoolExecutor(8) as several:
        for low in [False] * 7 + [True] + [False] * 8:
            several.submit(set_lost, folder, "A1", by="nut", low=low)
    found = mark_of(folder, "A1")
    assert found is not None
    assert found.low


def test_a_mark_that_cannot_be_read_is_one_of_a_battery_that_is_low(folder: Path) -> None:
    private(station_dir(folder, "A1")).joinpath(mains.MARK).write_text("{torn")
    found = mark_of(folder, "A1")
    assert found is not None
    assert found.low
    seen = Mains(folder, StationEntry(name="A1", bench="bench", supply="ups"))
    seen.look(time.time(), 0.0)
    assert seen.out
    assert set_back(folder, "A1") is not None
    assert mark_of(folder, "A1") is None


def test_a_mark_that_is_taken_away_while_it_is_read_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_lost(folder, "A1", by="nut")
    there = Path.read_bytes

    def read(path: Path) -> bytes:
        path.unlink()
        return there(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert mark_of(folder, "A1") is None


# -- at the station


@pytest.mark.parametrize("safe", [True, False])
def test_a_worker_is_ended_when_the_battery_is_low_and_its_item_waits(
    bench: Bench, safe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while Redis is gone; and after a death of the supervisor another one does the rest."""
    bench.begun()
    guard = {"time": time.time(), "guard": 1, "run": "u-1", "instrument": "potentiostat"}
    guard |= {"became": "cell open" if safe else "no answer", "safe": safe}
    (bench.folder / "state" / "guard.jsonl").write_text(json.dumps(guard) + "\n")
    station, child = bench.station, subprocess.Popen(["sleep", "60"])
    try:
        ticks = Process.of(child.pid).started_ticks
        told = {"pid": child.pid, "started_ticks": ticks, "began": 0.0}
        (station.files.folder / "worker.json").write_text(json.dumps(told))
        set_lost(bench.folder, "A1", by="nut")
        bench.look()
        assert not station._mains.out  # what runs goes on
        set_lost(bench.folder, "A1", by="nut", low=True)
        if not safe:
            monkeypatch.setattr(_deaths, "GUARD_ACTS_WITHIN_S", 0.2)
            place = _places.beside(bench.folder)
            place.mkdir(mode=0o700, parents=True)
            _places.announce({"pid": os.getpid(), "owner": child.pid}, place)
        there = bench.store.client
        bench.store.client = _gone()
        with pytest.raises(QueueError, match="does not answer"):
            station.step()
        assert child.wait(5.0) == -signal.SIGTERM
        bench.store.client = there
        station.step()
    finally:
        child.kill()
        child.wait()
    assert (bench.record.state, bench.record.attempts[-1].exit_status) == ("held", MAINS)
    assert bench.record.attempts[-1].run_uid == "u-1"
    assert bench.state[0] == "held"
    assert "the battery is low" in bench.state[1]
    assert not (station.files.folder / "worker.json").exists()
    # Its cell is told to be open by who has seen that, and people are told where nobody has.
    acted = "its guard acted (potentiostat: cell open)"
    is_at_it = "NOT KNOWN TO BE SAFE, its guard is at it (potentiostat: no answer)"
    assert bench.state[1].endswith(acted if safe else is_at_it)
    assert bench.record.reason == bench.state[1]
    events = station._house.alerts.events  # type: ignore[attr-defined]
    assert events == ([] if safe else ["worker_died"])


def _gone() -> redis.Redis:
    return redis.Redis(port=1, retry=Retry(NoBackoff(), 0))


def test_an_item_that_waited_for_the_mains_goes_on_behind_a_look_at_its_cell(
    bench: Bench,
) -> None:
    set_lost(bench.folder, "A1", by="nut", low=True)
    bench.look()
    after = bench.station._outcomes.after_death(bench.begun(), "told to end")
    assert bench.station._outcomes.waits_for_mains(after)
    set_back(bench.folder, "A1")
    bench.look()
    bench.station._outcomes.mains_are_back(bench.record)
    assert [(x.kind, x.reason) for x in bench.record.attempts[1:]] == [("resume", LOOK_FIRST)]
    assert (bench.record.state, bench.state) == ("starting", ("idle", ""))


def test_in_a_paused_station_nothing_goes_on_when_the_mains_are_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.folder / "stations.yaml"
    path.write_text(json.dumps({"stations": [{"name": "A1", "bench": "sim", "supply": "ups"}]}))
    monkeypatch.setenv("OPERANDO_STATIONS", str(path))
    monkeypatch.setenv("OPERANDO_DATA", str(bench.folder))
    claim = {"host": "elsewhere", "data_dir": "/data", "pid": 1}
    bench.store.client.set(claim_key("A1"), json.dumps(claim))
    queue = Queue(bench.folder)
    one = bench.begun()
    queue.pause("A1", "door open until Monday", by="Ada")
    set_lost(bench.folder, "A1", by="nut", low=True)
    bench.look()
    bench.station._outcomes.after_death(one, "told to end")
    set_back(bench.folder, "A1")
    bench.look()
    assert not bench.station._outcomes.may_go_on(bench.record, bench.station._state())
    told = Control(bench.folder).shown("A1").why
    assert "told to end" in told
    assert "paused by Ada: door open until Monday; operando queue resume A1 goes on" in told
    # Whatever becomes of it, why the station is paused is told.
    bench.station._outcomes.mains_are_back(bench.record)
    assert bench.state == ("idle", "")
    assert bench.station._state().why_paused == "paused by Ada: door open until Monday"
    set_lost(bench.folder, "A1", by="nut", low=True)
    bench.look()
    bench.station._outcomes.after_death(bench.record, "told to end")
    queue.resume("A1")
    assert not bench.station._outcomes.may_go_on(bench.record, bench.station._state())
    set_back(bench.folder, "A1")
    bench.look()
    assert bench.station._outcomes.may_go_on(bench.record, bench.station._state())
    bench.station._outcomes.mains_are_back(bench.record)
    assert bench.state == ("idle", "")


@pytest.mark.parametrize("driven", [True, False])
def test_what_was_decided_is_decided_for_the_interruption_that_was_seen(
    bench: Bench, driven: bool
) -> None:
    """Weeks later, at the next power cut, nobody has looked at anything."""
    one, decisions = bench.begun(), {"trust_log": True, "assume_charge_mah_cm2": 1.23}
    seen = one.attempts[0].model_copy(update={"exit_status": "lost", "run_uid": "u-1"})
    attempts = (seen, Attempt(kind="resume", began=2.0, decisions=decisions))
    one = one.model_copy(update={"attempts": attempts})
    bench.station.files.give_ticket(
        "i-1", 2, "resume_protocol", boot=bench.station._house.clock.boot()
    )
    if driven:
        bench.interrupted("u-2", resumes="u-1")
    set_lost(bench.folder, "A1", by="nut", low=True)
    bench.look()
    for _ in range(2):  # a second cut, before anything went on
        after = bench.station._outcomes.after_death(one, "told to end")
        assert bench.station._outcomes.waits_for_mains(after)
        bench.station._outcomes.mains_are_back(after)
        one = bench.record
        assert (one.attempts[-1].kind, one.attempts[-1].reason) == ("resume", LOOK_FIRST)
        assert one.attempts[-1].decisions == ({} if driven else decisions)
        bench.station.files.give_ticket(
            "i-1", len(one.attempts), "look_at_cell", boot=bench.station._house.clock.boot()
        )


@pytest.mark.parametrize(("policy", "state"), [("skip", "skipped"), ("hold", "held")])
def test_what_was_declared_for_a_death_is_done_when_the_mains_are_lost(
    bench: Bench, policy: str, state: str
) -> None:
    set_lost(bench.folder, "A1", by="nut", low=True)
    bench.look()
    one = bench.begun()
    one = one.model_copy(update={"kwargs": {**one.kwargs, "on_death": policy}})
    after = bench.station._outcomes.after_death(one, "told to end")
    assert after.state == state
    assert not bench.station._outcomes.waits_for_mains(after)


def test_nothing_begins_and_nothing_goes_on_before_the_mains_are_back(bench: Bench) -> None:
    item = {"item_uid": "i-1", "name": "run_protocol", "kwargs": {"sample": CELL, "protocol": {}}}
    key = f"{manager_prefix('A1')}_plan_queue"
    bench.store.client.rpush(key, json.dumps(item))
    set_lost(bench.folder, "A1", by="nut", why="rack 2")
    bench.look()
    state = bench.store.change_station("A1", wanted="open", state="idle", since=1.0)
    bench.station._next(state)
    assert bench.store.record("i-1") is None
    assert "the mains are lost since" in bench.state[1]
    assert "(rack 2)" in bench.state[1]
    # One that had been recorded and not begun, as a dead supervisor leaves it.
    bench.station._items.follow(bench.begun("starting", run=None), IDLE)
    assert (bench.record.state, bench.station.files.ticket()) == ("held", None)
    assert bench.station._outcomes.waits_for_mains(bench.record)
    bench.station._outcomes.mains_are_back(bench.record)
    assert bench.record.attempts[-1].kind == "run"  # of it there is no run


def test_a_station_whose_worker_was_ended_is_opened_when_the_mains_are_back(bench: Bench) -> None:
    set_lost(bench.folder, "A1", by="nut", low=True)
    bench.look()
    bench.begun()
    state = bench.station._state()
    bench.station._without_mains(state, bench.record)  # its report is there, its worker gone
    assert bench.station._outcomes.waits_for_mains(bench.record)
    bench.store.change_station("A1", item=None, state="idle", why="")
    bench.station._without_mains(bench.station._state(), None)
    assert bench.state[0] == "lost"
    assert bench.state[1].endswith("operando station mains back A1")


def test_why_a_station_is_paused_is_told_when_the_mains_are_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.folder / "stations.yaml"
    path.write_text(json.dumps({"stations": [{"name": "A1", "bench": "sim", "supply": "ups"}]}))
    monkeypatch.setenv("OPERANDO_STATIONS", str(path))
    monkeypatch.setenv("OPERANDO_DATA", str(bench.folder))
    claim = {"host": "elsewhere", "data_dir": "/data", "pid": 1}
    bench.store.client.set(claim_key("A1"), json.dumps(claim))
    bench.store.change_station("A1", wanted="open", state="idle", since=1.0)
    bench.store.pause_station("A1", "paused by root: leaking")
    paused = "paused by root: leaking; operando queue resume A1 goes on"
    set_lost(bench.folder, "A1", by="nut", low=True)
    bench.look()
    bench.station._without_mains(bench.station._state(), None)
    told = Control(bench.folder).shown("A1").why
    assert told.count("the mains are lost") == 1
    assert told.endswith(paused)
    set_back(bench.folder, "A1")
    bench.look()
    bench.station._standing.tell(bench.station._state(), state="opening", why="")
    bench.station._next(bench.station._state())
    assert Control(bench.folder).shown("A1").told == f"idle: {paused}"


def test_an_item_that_fails_without_mains_is_for_people_to_decide(bench: Bench) -> None:
    set_lost(bench.folder, "A1", by="nut")
    bench.look()
    one = bench.begun()
    ticket = bench.station.files.ticket()
    assert ticket is not None
    report = {"exit_status": "fail", "run_uid": "u-1", "reason": "the potentiostat is silent"}
    unsafe = "NOT known to be safe: potentiostat: disconnect the cell"
    bench.station._outcomes.finish(one, ticket, {**report, "handling": unsafe})
    assert bench.record.state == "held"
    assert "the potentiostat is silent" in bench.record.reason
    assert unsafe in bench.record.reason
    assert unsafe in bench.state[1]
    assert unsafe in bench.station.files.held()
    assert not bench.station._outcomes.waits_for_mains(bench.record)


# -- what people and the scripts of a UPS say


def test_the_mains_of_stations_are_lost_and_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bench.folder / "stations.yaml"
    two = [{"name": "A1", "bench": "sim", "supply": "ups"}, {"name": "A2", "bench": "sim"}]
    path.write_text(json.dumps({"stations": two}))
    monkeypatch.setenv("OPERANDO_STATIONS", str(path))
    monkeypatch.setenv("OPERANDO_DATA", str(bench.folder))
    bench.store.change_station("A1", wanted="open", state="idle", since=1.0)
    lost = ["station", "mains", "lost", "--by", "nut"]
    # No supervisor is there that would do something about it, which is told.
    assert main([*lost, "--why", "on battery"]) == 2
    assert "no supervisor runs" in capsys.readouterr().err
    assert main([*lost, "--low", "A1"]) == 2
    marks = [mark_of(bench.folder, name) for name in ("A1", "A2")]
    assert [mark.low for mark in marks if mark] == [True, False]
    control = Control(bench.folder)
    told = "the battery is low (on battery); "
    assert f"{told}nothing begins before" in control.shown("A1").why
    bench.store.change_station("A1", item="i-1", state="running")
    assert f"{told}what runs is to be ended, its cell to be opened" in control.shown("A1").why
    bench.store.change_station("A1", item=None, state="idle")
    before = marks[0].since if marks[0] else ""
    why = f"{before}; when they are back: {mains.back('A1')}; NOT SAFE: no answer"
    bench.store.change_station("A1", state="lost", why=why)
    claim = {"host": "elsewhere", "data_dir": "/data", "pid": 1}
    bench.store.client.set(claim_key("A1"), json.dumps(claim))
    assert control.shown("A1").why.count("the mains are lost") == 1
    assert control.shown("A1").why.endswith("mains back A1; NOT SAFE: no answer")
    with pytest.raises(QueueError, match="mains back A1"):
        control.decide("A1", "resume", by="me")
    main(["station", "mains", "back", "--by", "nut"])
    assert [mark_of(bench.folder, name) for name in ("A1", "A2")] == [None, None]
    main(["station", "mains", "back"])  # said again it is no news
    spool = Spool(spool_path(bench.folder))
    spool.read()
    events = [one.event for one in spool.alerts.values()]
    assert events == ["mains_lost", "mains_lost", "mains_back"]
    texts = [note.text for note in notes(bench.folder, cell_id="zn-1")]
    assert [text.split(" since")[0].split(" after")[0] for text in texts] == [
        "the mains are lost",
        "the mains are lost",
        "the mains are back",
    ]


def test_what_cannot_be_marked_is_told_and_the_others_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "stations.yaml"
    two = [{"name": "A1", "bench": "sim"}, {"name": "A2", "bench": "sim"}]
    path.write_text(json.dumps({"redis": "127.0.0.1:1", "stations": two}))
    monkeypatch.setenv("OPERANDO_STATIONS", str(path))
    private(station_dir(folder, "A1") / mains.MARK)
    control = Control(folder)
    with pytest.raises(QueueError, match="station A1: "):
        control.mains_lost(["A1", "A2"], by="nut")
    assert mark_of(folder, "A2") is not None
    with pytest.raises(QueueError, match="does not last for -1 min"):
        control.mains_lost(["A2"], by="nut", battery_min=-1)
