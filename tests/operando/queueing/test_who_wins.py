"""Of people and a supervisor who want the same one wins; and queue servers that are slow."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operando.configuration import load_stations
from operando.queueing._redis import RedisServer, client
from operando.queueing.errors import NotKnownError, QueueError
from operando.queueing.managers import Manager, start_manager, wait_for_manager
from operando.queueing.model import Attempt, Mount, Record
from operando.queueing.queue import Queue
from operando.queueing.sanitise import adopt, pending
from operando.queueing.store import Store
from operando.queueing.supervisor._house import House
from operando.queueing.supervisor._items import _EXECUTED_KEPT
from operando.queueing.supervisor._processes import Process, members
from operando.queueing.supervisor._simulators import Simulator
from operando.queueing.supervisor._station import _STUCK_S, Station

pytestmark = pytest.mark.timeout(180)

PROTOCOL, SAMPLE, CELL_ID = "zinc-symmetric-1-1", "zn-bare", "ZN-ZN-001"


class Told:
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None:
        del title, body, station
        self.events.append(event)


class Running:
    """A Redis, a queue server of station A1, and what a supervisor has of the station."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = RedisServer(folder)
        self.redis.ensure()
        entry = load_stations().station("A1")
        assert entry is not None
        self.store = Store(client(self.redis.address()))
        house = House(
            data_dir=folder,
            stations=load_stations(),
            where=self.redis.address(),
            store=self.store,
            alerts=Told(),
        )
        self.station = Station(house, entry)
        # As a supervisor that was killed before it noted which process it started.
        self.unknown = start_manager(folder, entry)
        wait_for_manager(folder, "A1", self.unknown)
        self.queue = Queue(folder)

    @property
    def manager(self) -> Manager:
        return self.station.manager

    def chosen(self) -> tuple[dict[str, Any], Mount]:
        """Add an item, and choose it."""
        self.queue.add(PROTOCOL, SAMPLE, "A1")
        mount = self.store.mount("A1")
        choice = self.station._items.choice(mount)
        assert choice.item is not None
        assert mount is not None
        return dict(choice.item), mount

    def begin(self, item: dict[str, Any], mount: Mount) -> Record | None:
        """Begin an item; no environment is open, so that a queue server refuses to execute it."""
        with contextlib.suppress(QueueError):
            self.station._items.begin(item, mount)
        return self.store.record(item["item_uid"])

    def given(self) -> bool:
        return (self.station.files.folder / "given.json").exists()


@pytest.fixture(scope="module")
def one() -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="operando-", dir="/tmp"))
    running = Running(folder)
    running.station.process.restart()
    yield running
    running.station.process.end_all_but_worker()
    Simulator(running.station.files.folder, running.station.entry).stop()
    running.redis.stop()
    shutil.rmtree(folder)


@pytest.fixture
def running(one: Running) -> Iterator[Running]:
    sample = one.queue._sample(SAMPLE, None)
    one.store.put_mount(
        Mount(station="A1", cell_id=sample["cell_id"], sample=sample, by="me", at=1.0)
    )
    one.store.change_station("A1", wanted="open", state="idle", since=1.0)
    yield one
    for item in one.manager.items():
        one.manager.remove(item["item_uid"])
    for key in one.store.client.scan_iter("operando:*"):
        one.store.client.delete(key)
    (one.station.files.folder / "given.json").unlink(missing_ok=True)


def test_a_queue_server_that_nobody_noted_is_ended_and_started_anew(one: Running) -> None:
    assert one.unknown.wait(60) == -signal.SIGKILL
    process = one.station.process.process
    assert process is not None
    assert process.pid != one.unknown.pid
    assert one.manager.alive()


def test_an_item_that_is_begun_is_recorded_and_taken_out(running: Running) -> None:
    executed = [json.dumps({"item_uid": str(number)}) for number in range(150)]
    running.store.client.rpush("operando_qs_A1_plan_history", *executed)
    item, mount = running.chosen()
    record = running.begin(item, mount)
    assert record is not None
    assert (record.state, record.kwargs) == ("starting", item["kwargs"])
    # What was executed long ago is forgotten there.
    left = running.store.client.lrange("operando_qs_A1_plan_history", 0, -1)
    assert left == executed[-_EXECUTED_KEPT:]
    assert running.given()
    assert pending(running.store, "A1") == []


def test_an_item_that_was_removed_is_not_begun(running: Running) -> None:
    item, mount = running.chosen()
    running.queue.remove(item["item_uid"], by="Ada")
    record = running.begin(item, mount)
    assert record is not None
    assert (record.state, record.reason, running.given()) == ("removed", "removed by Ada", False)
    state = running.store.station("A1")
    assert state is not None
    assert (state.state, state.item) == ("idle", None)


def test_an_item_that_somebody_took_out_of_the_queue_alone_is_not_begun(running: Running) -> None:
    item, mount = running.chosen()
    running.manager.remove(item["item_uid"])
    record = running.begin(item, mount)
    assert record is not None
    assert (record.state, running.given()) == ("removed", False)


def test_an_item_of_which_its_queue_server_was_never_told_is_begun_once(running: Running) -> None:
    # Redis died while it was added: it is kept, and nobody could take it out.
    item, mount = running.chosen()
    unknown = {**item, "item_uid": "never-told"}
    running.store.client.rpush("operando_qs_A1_plan_queue", json.dumps(unknown))
    running.begin(unknown, mount)
    record = running.store.record("never-told")
    assert record is not None
    assert record.state == "starting"
    left = [one["item_uid"] for one in pending(running.store, "A1")]
    assert "never-told" not in left
    # What has a record is added under no other id.
    running.store.client.rpush("operando_qs_A1_plan_queue", json.dumps(unknown))
    assert adopt(running.store, running.manager) == {}
    assert len(pending(running.store, "A1")) == len(left)


def test_an_item_that_is_about_to_run_is_not_removed(running: Running) -> None:
    item, _ = running.chosen()
    running.store.put_record(
        Record(item=item["item_uid"], station="A1", cell_id=CELL_ID, state="starting")
    )
    with pytest.raises(QueueError, match="is starting"):
        running.queue.remove(item["item_uid"])
    record = running.store.record(item["item_uid"])
    assert record is not None
    assert record.state == "starting"


def test_an_item_that_somebody_holds_as_it_is_chosen_waits_for_a_decision(
    running: Running,
) -> None:
    item, mount = running.chosen()
    running.queue.hold(item["item_uid"])
    record = running.begin(item, mount)
    assert record is not None
    assert (record.state, running.given()) == ("held", False)


def test_nothing_is_begun_in_a_station_that_was_paused_meanwhile(running: Running) -> None:
    item, mount = running.chosen()
    running.queue.pause("A1", "lunch", by="Ada")
    assert running.begin(item, mount) is None
    state = running.store.station("A1")
    assert state is not None
    assert (state.item, state.state, state.told_why) == (None, "idle", "paused by Ada: lunch")
    assert [x["item_uid"] for x in pending(running.store, "A1")] == [item["item_uid"]]


# -- a queue server that is slow


@pytest.fixture
def stopped(running: Running) -> Iterator[Running]:
    """The manager does not answer; its watchdog would start it anew in 5 s."""
    watchdog = running.station.process.process
    assert watchdog is not None
    children = [Process.of(pid) for pid, parent in members(watchdog.pid) if parent == watchdog.pid]
    patience_s, running.manager._timeout_s = running.manager._timeout_s, 0.1
    for process in (watchdog, *children):
        process.send(signal.SIGSTOP)
    yield running
    for process in (*children, watchdog):
        process.send(signal.SIGCONT)
    running.manager._timeout_s = patience_s
    while not running.manager.alive():
        time.sleep(0.05)  # its watchdog may have found it silent, and starts it anew


def test_an_execution_of_which_nobody_knows_whether_it_began_is_not_held(
    stopped: Running,
) -> None:
    sample = dict(stopped.queue._sample(SAMPLE, None))
    mount = stopped.store.mount("A1")
    assert mount is not None
    record = Record(
        item="i-1",
        station="A1",
        cell_id=mount.cell_id,
        state="starting",
        attempts=(Attempt(kind="run", began=1.0),),
        kwargs={"sample": sample},
    )
    stopped.store.put_record(record)
    for _ in range(4):
        with pytest.raises(NotKnownError):
            stopped.station._items._execute(record)
    assert stopped.store.record("i-1") == record


def test_a_worker_is_not_forgotten_as_long_as_its_queue_server_takes_it_for_alive(
    stopped: Running,
) -> None:
    note = stopped.station.files.folder / "worker.json"
    note.write_text('{"pid": 1, "started_ticks": 1, "began": 0.0}')
    dead = Process(1, 1)
    stopped.station._secured = dead, "its guard acts"
    try:
        stopped.station._dead(dead, "the worker has died")
        assert note.exists()
    finally:
        note.unlink(missing_ok=True)
        stopped.station._secured = None


def test_refusals_are_counted_by_attempt(running: Running) -> None:
    record = None
    for number in range(4):
        item, mount = running.chosen()
        record = running.begin(item, mount)
        assert record is not None
        assert record.state == "starting", number
    assert record is not None
    with pytest.raises(QueueError, match="refused"):
        running.station._items._execute(record)
    running.station._items._execute(record)
    held = running.store.record(record.item)
    assert held is not None
    assert (held.state, held.attempts[-1].exit_status) == ("held", "refused")


# -- a worker that nothing tells of


def test_a_worker_that_nothing_tells_of_is_found_out(running: Running) -> None:
    state = running.store.station("A1")
    assert state is not None
    there = {"worker_environment_exists": True, "manager_state": "executing_queue"}
    station = running.station
    assert not station._lost_sight(state, None, there)
    assert station._unseen_since is not None
    assert not station._lost_sight(state, Process(os.getpid()), there)
    assert station._unseen_since is None
    opening = there | {"manager_state": "creating_environment"}
    assert not station._lost_sight(state, None, opening)
    assert station._unseen_since is None


@pytest.mark.long
def test_a_worker_that_nothing_tells_of_is_ended_and_people_are_told(running: Running) -> None:
    state = running.store.station("A1")
    assert state is not None
    station = running.station
    station._unseen_since = time.monotonic() - _STUCK_S - 1
    there = {"worker_environment_exists": True, "manager_state": "executing_queue"}
    assert station._lost_sight(state, None, there)
    alerts = station._house.alerts
    assert isinstance(alerts, Told)
    assert alerts.events[-1] == "worker_died"
