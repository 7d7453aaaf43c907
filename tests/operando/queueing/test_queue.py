"""What people do with queues, on a queue server and a Redis as stations have them."""

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operando.cli import OK, REFUSED, main
from operando.configuration import ConfigurationError, load_cell, load_protocol, load_stations
from operando.logbook import notes
from operando.queueing._known import OVER
from operando.queueing._labels import check_label
from operando.queueing._redis import RedisServer, client
from operando.queueing.desk import Desk, add_at_desk
from operando.queueing.errors import QueueError
from operando.queueing.listing import table
from operando.queueing.mains import set_back, set_lost
from operando.queueing.managers import Manager, start_manager, wait_for_manager
from operando.queueing.model import AMENDED, Attempt, Command, Mount, Record
from operando.queueing.mounting import finished_key
from operando.queueing.places import private, socket_dir, station_dir
from operando.queueing.queue import Queue
from operando.queueing.sanitise import pending
from operando.queueing.store import Store

PROTOCOL, SAMPLE, CELL_ID = "zinc-symmetric-1-1", "zn-bare", "ZN-ZN-001"
# A queue server is started, which takes long on a busy computer.
pytestmark = pytest.mark.timeout(180)
QUEUE_KEY = "operando_qs_A1_plan_queue"


class Running:
    """A Redis, and the queue server of station A1; station A2 is not started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis = RedisServer(folder)
        self.redis.ensure()
        self.start()

    def start(self) -> None:
        entry = load_stations().station("A1")
        assert entry is not None
        self.process = start_manager(self.folder, entry)
        self.manager = wait_for_manager(self.folder, "A1", self.process)
        self.manager.lock()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        with contextlib.suppress(QueueError):
            self.manager.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        self.redis.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="operando-", dir="/tmp"))
    one = Running(folder)
    yield one
    one.stop()
    shutil.rmtree(folder)


@pytest.fixture
def queue(running: Running) -> Iterator[Queue]:
    """The queue of people, with nothing in it and nothing known."""
    with Queue(running.folder) as one:
        yield one
    with contextlib.closing(client(running.redis.address())) as redis:
        for item in running.manager.items():
            running.manager.remove(item["item_uid"])
        for key in redis.scan_iter("operando:*"):
            redis.delete(key)


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    one = client(running.redis.address())
    yield Store(one)
    one.close()


def _add(queue: Queue, **more: Any) -> str:
    (item,) = queue.add(PROTOCOL, SAMPLE, **({"station": "A1"} | more))
    return item


def _mount(store: Store, station: str = "A1", **more: Any) -> None:
    sample = load_cell(SAMPLE).model_dump(mode="json")
    told = {"station": station, "cell_id": CELL_ID, "sample": sample, "by": "anna", "at": 1.0}
    store.put_mount(Mount.model_validate(told | more))


def _ids(running: Running) -> list[str]:
    return [one["item_uid"] for one in running.manager.items()]


# -- adding


def test_an_item_holds_all_there_is_to_know(running: Running, queue: Queue) -> None:
    (item,) = queue.add(PROTOCOL, SAMPLE, "A1", priority=2, label="first", by="anna")
    (found,) = running.manager.items()
    assert (found["item_uid"], found["name"], found["user"]) == (item, "run_protocol", "anna")
    kwargs = found["kwargs"]
    assert type(load_protocol(PROTOCOL)).model_validate(kwargs["protocol"]) == load_protocol(
        PROTOCOL
    )
    assert kwargs["sample"]["cell_id"] == CELL_ID
    assert (kwargs["priority"], kwargs["label"]) == (2, "first")


def test_files_models_and_data_can_be_added(running: Running, queue: Queue) -> None:
    protocol, cell = load_protocol(PROTOCOL), load_cell(SAMPLE)
    queue.add(protocol, cell, "A1")
    queue.add(Path("config/protocols/zinc-symmetric-1-1.yaml").resolve(), SAMPLE, "A1")
    (first, second) = running.manager.items()
    assert first["kwargs"] == second["kwargs"]
    queue.add(first["kwargs"]["protocol"], first["kwargs"]["sample"], "A1", replicate=2)
    assert running.manager.items()[2]["kwargs"]["sample"]["cell_id"] == f"{CELL_ID}-2"


def test_repeated_items_are_numbered(running: Running, queue: Queue) -> None:
    assert _ids(running) == []
    items = queue.add(PROTOCOL, SAMPLE, "A1", repeat=3)
    assert _ids(running) == items
    labels = [one["kwargs"]["label"] for one in running.manager.items()]
    assert labels == [f"{PROTOCOL} {k}/3" for k in (1, 2, 3)]
    with pytest.raises(QueueError, match="repeat is 0"):
        queue.add(PROTOCOL, SAMPLE, "A1", repeat=0)


def test_the_station_is_the_one_in_which_the_sample_is_mounted(
    running: Running, queue: Queue, store: Store
) -> None:
    with pytest.raises(QueueError, match=r"in which station is cell ZN-ZN-001.*A1, A2"):
        queue.add(PROTOCOL, SAMPLE)
    _mount(store)
    queue.add(PROTOCOL, SAMPLE)
    queue.add(PROTOCOL, CELL_ID)  # by its label
    for label, replicate, said in (
        ("ZN-CU-001-2", None, "mount it: operando mount zn-bare-half --replicate 2 --station"),
        ("ZN-CU-001", 3, "name its file: --sample zn-bare-half --replicate 3$"),
        (f"{CELL_ID}-2", None, f"did you mean {CELL_ID}[?] Or mount it: operando mount {SAMPLE} "),
        ("my-ZN-001", None, f"once its cell is: did you mean {CELL_ID}[?] Or mount it first"),
    ):
        with pytest.raises(QueueError, match=said):
            queue.add(PROTOCOL, label, replicate=replicate)
    with pytest.raises(ConfigurationError, match="no cell 'nothing'"):
        queue.add(PROTOCOL, "nothing")
    assert len(_ids(running)) == 2
    with pytest.raises(QueueError, match="is mounted in station A1, not in A2"):
        queue.add(PROTOCOL, SAMPLE, "A2")
    _mount(store, state="finished", why_finished="a hard short")
    with pytest.raises(QueueError, match=r"in station A1 is finished \(a hard short\)"):
        queue.add(PROTOCOL, SAMPLE, "A1")
    assert len(_ids(running)) == 2


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"station": "a1"}, "there is no station 'a1'; there are A1, A2; did you mean A1?"),
        ({"station": "nowhere"}, "there is no station 'nowhere'"),
        ({"station": "A2"}, "A2 was never started on this computer: operando station start A2"),
        ({"at": "2020-01-01 10:00"}, r"2020-01-01 10:00 is past: it is \d{4}-"),
        ({"at": "tomorrow"}, "'tomorrow' is no time"),
        ({"after": "nothing"}, "there is no item nothing"),
        ({"priority": 1e9}, "priority"),
        ({"on_death": "pray"}, "on_death"),
    ],
)
def test_what_cannot_be_is_refused(
    running: Running, queue: Queue, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(QueueError, match=told):
        _add(queue, **more)
    assert _ids(running) == []


def test_limits_of_the_stations_bench_hold(running: Running, queue: Queue) -> None:
    step = {"type": "galvanostatic_step", "current_density_ma_cm2": 1e6,
            "until": [{"quantity": "time_s", "value": 1.0}]}  # fmt: skip
    data = {"name": "strong", "cell": "zn-bare", "technique": step}
    with pytest.raises(QueueError, match=r"(?s)more than is allowed.*limits of bench"):
        queue.add(data, SAMPLE, "A1")
    assert _ids(running) == []


def test_an_item_waits_for_one_that_can_still_be_done(
    running: Running, queue: Queue, store: Store
) -> None:
    first = _add(queue)
    second = _add(queue, after=first[:6])
    assert running.manager.items()[1]["kwargs"]["after"] == first
    failed = Record(item="f" * 36, station="A1", cell_id="x", state="failed")
    store.put_record(failed)
    with pytest.raises(QueueError, match=r"ffffffff is failed: .* wait for ever"):
        _add(queue, after="fff")
    store.change_record(failed.item, state="done")
    _add(queue, after="fff")
    queue.remove(first)
    assert [one.waits for one in queue.list() if one.item == second] == [
        f"for ever: {first[:8]} is removed"
    ]


def test_of_many_items_all_are_added_or_none(running: Running, queue: Queue) -> None:
    good = {"protocol": {"name": "p"}, "sample": {}}
    with pytest.raises(QueueError, match="priority"):
        running.manager.add_all([*[good] * 45, good | {"priority": "high"}], "anna")
    assert _ids(running) == []
    items = running.manager.add_all([good] * 45, "anna")
    assert _ids(running) == items
    assert len(items) == 45


# -- looking


def test_the_list_tells_what_each_item_waits_for(
    running: Running, queue: Queue, store: Store
) -> None:
    later = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + 7200))
    plain = _add(queue)
    first = _add(queue, priority=5)
    held = _add(queue, hold=True)
    timed = _add(queue, at=later)
    after = _add(queue, after=plain)

    def waits() -> dict[str, str]:
        return {one.item: one.waits for one in queue.list("A1")}

    mount = f"for {CELL_ID} to be mounted"
    others = {"on hold", f"{mount}, until {later}", f"{mount}, after {plain[:8]}"}
    assert set(waits().values()) == {mount, *others}
    assert list(waits()) == [first, plain, held, timed, after]
    _mount(store)
    assert waits()[first] == "station closed"
    store.change_station("A1", state="idle")
    assert waits() == {
        first: "next",
        plain: "its turn",
        held: "on hold",
        timed: f"until {later}",
        after: f"after {plain[:8]}",
    }
    ends = {one.item: one.ends for one in queue.list("A1")}
    assert ends[held] is None
    assert None not in (ends[first], ends[plain], ends[timed], ends[after])
    queue.pause("A1", "microscope away", by="anna")
    assert waits()[first] == "paused by anna: microscope away"
    queue.resume("A1")
    assert waits()[first] == "next"
    store.change_station("A1", state="running", item="r")
    kwargs = running.manager.items()[0]["kwargs"]
    record = Record(item="r", station="A1", cell_id=CELL_ID, state="running", kwargs=kwargs)
    store.put_record(record.model_copy(update={"began": time.time()}))
    assert queue.list()[0].state == "running"
    assert waits()[first] == "its turn"
    set_lost(running.folder, "A1", by="nut", why="storm")
    lost = waits()[first]
    assert lost.startswith("the mains are lost since ")
    assert (waits()["r"], queue.list()[0].ends) == (
        f"{lost}, it is to be ended, its cell to be opened",
        None,
    )
    with pytest.raises(QueueError, match=r"did not answer within 0 s \(the mains are lost since"):
        queue.answer("A1", queue.abort("A1"), 0.0)
    set_back(running.folder, "A1")
    assert waits()[first] == "its turn"
    text = repr(queue)
    assert text == repr(queue.list())
    assert re.search(rf"(?m)^{first[:8]}  A1 +{CELL_ID}  {PROTOCOL} +5 .* its turn$", text)
    told = json.loads(queue.list().json())
    assert [one["item"] for one in told] == [one.item for one in queue.list()]


def test_a_station_that_does_not_run_is_told(queue: Queue, store: Store) -> None:
    assert "Nothing" in repr(queue)
    store.client.rpush(
        "operando_qs_A2_plan_queue", json.dumps({"item_uid": "u", "kwargs": {"sample": 3}})
    )
    try:
        (found,) = queue.list()
        assert (found.station, found.waits) == ("A2", "for ? to be mounted")
    finally:
        store.client.delete("operando_qs_A2_plan_queue")


def test_a_station_of_another_computer_is_listed_and_left_alone(queue: Queue, store: Store) -> None:
    store.change_station("B1", host="elsewhere.example", state="idle")
    _mount(store, "B1")
    key = "operando_qs_B1_plan_queue"
    kwargs = {"protocol": {"name": "p"}, "sample": {"cell_id": CELL_ID}}
    store.client.rpush(key, json.dumps({"item_uid": "u", "kwargs": kwargs}))
    try:
        assert [(one.station, one.waits) for one in queue.list()] == [("B1", "next")]
        with pytest.raises(QueueError, match=r"station B1 is on the computer elsewhere\.example"):
            queue.remove("u")
        assert queue.pause("B1").paused
    finally:
        store.client.delete(key)


def test_another_computer_sees_the_queues_by_the_address_of_redis(
    running: Running, queue: Queue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    item = _add(queue)
    where = running.redis.address()
    stations = tmp_path / "stations.yaml"
    entry = "stations: [{name: A1, bench: sim}]"
    stations.write_text(f"redis: 127.0.0.1:{where.port}\n{entry}\n")
    with Queue(tmp_path, stations) as other:
        with pytest.raises(QueueError, match="OPERANDO_REDIS_PASSWORD"):
            other.list()
        monkeypatch.setenv("OPERANDO_REDIS_PASSWORD", where.password)
        assert [one.item for one in other.list()] == [item]
        with pytest.raises(QueueError, match="A1 was never started on this computer"):
            other.hold(item)
        assert other.pause("A1").paused


def test_the_history_tells_what_became_of_items(queue: Queue, store: Store) -> None:
    item = _add(queue)
    queue.remove(item, by="anna")
    kwargs = {"protocol": {"name": PROTOCOL}}
    attempts = tuple(
        Attempt(kind=kind, began=1.0, run_uid=uid)
        for kind, uid in (("run", "a" * 36), ("resume", "b" * 36))
    )
    record = Record(item="r" * 36, station="A1", cell_id="zn-2", state="resumed", kwargs=kwargs)
    store.put_record(
        record.model_copy(update={"began": 1e9, "ended": 1e9 + 7200, "attempts": attempts})
    )
    assert [one.state for one in queue.history()] == ["resumed", "removed"]
    assert queue.history(last=1)[0].reason == "removed by anna"
    assert queue.history("A2") == []
    text = repr(queue.history())
    assert re.search(r"2\.0 h +bbbbbbbb  resumed \(1 time resumed\)$", text, re.M)
    assert json.loads(queue.history().json())[1]["item"] == item


# -- changing


def test_items_are_moved(running: Running, queue: Queue) -> None:
    a, b, c = queue.add(PROTOCOL, SAMPLE, "A1", repeat=3)
    queue.move(c[:8], "front")
    assert _ids(running) == [c, a, b]
    queue.move(c, "back")
    assert _ids(running) == [a, b, c]
    queue.move(c, f"before {b}")
    assert _ids(running) == [a, c, b]
    queue.move(a, "after", b)
    assert _ids(running) == [c, b, a]
    for item, to, told in (
        (a, f"before {a}", "before itself"),
        (a, "up", "allowed are front, back, before X, after X"),
        (a, "before", "allowed are"),
        (a, "front of all", "allowed are"),
        ("nothing", "front", "there is no item nothing"),
        ("", "front", "which item"),
    ):
        with pytest.raises(QueueError, match=told):
            queue.move(item, to)
    assert _ids(running) == [c, b, a]


def test_an_abbreviation_that_fits_several_is_refused(running: Running, queue: Queue) -> None:
    items = queue.add(PROTOCOL, SAMPLE, "A1", repeat=20)
    first = next(one[0] for one in items if sum(x[0] == one[0] for x in items) > 1)
    with pytest.raises(QueueError, match=f"items begin with {first}"):
        queue.hold(first)
    assert not any("hold" in one["kwargs"] for one in running.manager.items())


def test_an_item_on_hold_keeps_its_place(running: Running, queue: Queue) -> None:
    items = queue.add(PROTOCOL, SAMPLE, "A1", repeat=3)
    queue.hold(items[1])
    queue.hold(items[1])
    assert _ids(running) == items
    assert [one["kwargs"].get("hold", False) for one in running.manager.items()] == [
        False,
        True,
        False,
    ]
    queue.release(items[1])
    assert not running.manager.items()[1]["kwargs"]["hold"]


def test_of_two_that_take_an_item_away_one_does(running: Running, queue: Queue) -> None:
    for _ in range(5):
        item = _add(queue)
        refused: list[QueueError] = []
        barrier = threading.Barrier(2)

        def remove(item: str, barrier: threading.Barrier, refused: list[QueueError]) -> None:
            with Queue(running.folder) as own:
                found = own._pending(item)
                barrier.wait()
                try:
                    own._change(*found, lambda m: m.remove(item))
                except QueueError as error:
                    refused.append(error)

        threads = [threading.Thread(target=remove, args=(item, barrier, refused)) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [bool(re.search("not in the queue .* any more", str(x))) for x in refused] == [True]


def test_an_item_that_has_begun_is_not_changed(
    running: Running, queue: Queue, store: Store
) -> None:
    item = _add(queue)
    station, found = queue._pending(item)
    running.manager.remove(item)  # as the supervisor does
    store.put_record(Record(item=item, station="A1", cell_id=CELL_ID, state="running"))
    with pytest.raises(QueueError, match="any more: meanwhile it is running"):
        queue._change(station, found, lambda m: m.move(item, "front"))
    with pytest.raises(QueueError, match="is not in the queue any more: it is running"):
        queue.hold(item)


def test_a_poisoned_entry_harms_nobody(running: Running, queue: Queue, store: Store) -> None:
    a = _add(queue)
    store.client.rpush(QUEUE_KEY, "poison", '{"no": "item"}')
    b = _add(queue)
    assert [one.item for one in queue.list()] == [a, b]
    with pytest.raises(QueueError):
        running.manager.items()
    queue.move(b, "front")
    assert _ids(running) == [b, a]
    assert [one["text"] for one in store.poisoned()] == ["poison", '{"no": "item"}']


def test_an_item_that_the_queue_server_does_not_know_is_added_again(
    running: Running, queue: Queue, store: Store
) -> None:
    a, lost, b = queue.add(PROTOCOL, SAMPLE, "A1", repeat=3)
    item = running.manager.remove(lost)
    store.client.linsert(QUEUE_KEY, "BEFORE", store.client.lindex(QUEUE_KEY, 1), json.dumps(item))
    assert _ids(running) == [a, lost, b]
    assert [running.manager.knows(one) for one in (a, lost, b)] == [True, False, True]
    with pytest.raises(QueueError, match=f"{lost[:8]} had been lost .* try again"):
        queue.hold(lost)
    first, new, last = _ids(running)
    assert (first, last) == (a, b)
    assert running.manager.items()[1]["kwargs"] == item["kwargs"]
    queue.hold(new)
    assert running.manager.items()[1]["kwargs"]["hold"]


# -- what is asked of what runs


def test_what_is_asked_reaches_the_station(running: Running, queue: Queue, store: Store) -> None:
    item = _add(queue)
    kwargs = running.manager.remove(item)["kwargs"]
    for ask in (
        lambda: queue.abort("A1"),
        lambda: queue.skip_step("A1"),
        lambda: queue.amend("A1", PROTOCOL),
    ):
        with pytest.raises(QueueError, match="nothing runs in station A1"):
            ask()
    with pytest.raises(QueueError, match="no cell 'ZN-ZN-001' is mounted; mounted are none"):
        queue.stop(CELL_ID)
    _mount(store)
    store.put_record(
        Record(item=item, station="A1", cell_id=CELL_ID, state="running", kwargs=kwargs)
    )
    store.change_station("A1", state="running", item=item)
    queue.skip_step(CELL_ID, by="anna")
    with pytest.raises(QueueError, match="runs by this protocol already"):
        queue.amend("A1", PROTOCOL)
    changed = kwargs["protocol"] | {"description": "longer"}
    queue.amend(CELL_ID, changed, "longer", by="anna")
    store.client.set(f"{AMENDED}{item}", json.dumps(changed))
    with pytest.raises(QueueError, match="runs by this protocol already"):
        queue.amend("A1", changed)
    with pytest.raises(QueueError, match=f"A1 is a station: name its cell, {CELL_ID}"):
        queue.stop("A1")
    queue.abort("A1", "smoke", by="ben")
    asked = queue.stop(CELL_ID, by="ben")
    taken = [store.pop_command("A1") for _ in range(4)]
    assert taken[3] == asked
    assert [(one.do, one.by, one.text, one.item) for one in taken if one is not None] == [
        ("skip_step", "anna", "", item),
        ("amend", "anna", "longer", item),
        ("abort", "ben", "smoke", item),
        ("stop", "ben", "", item),
    ]
    store.change_station("A1", state="held", why="it died")
    for ask in (lambda: queue.skip_step("A1"), lambda: queue.amend("A1", PROTOCOL)):
        with pytest.raises(QueueError, match=r"station A1 is held \(it died\): look at the cell"):
            ask()
    store.change_station("A1", state="running", why="")
    assert taken[1] is not None
    assert taken[1].protocol is not None
    assert taken[1].protocol["name"] == PROTOCOL
    with pytest.raises(QueueError, match=r"has 2 mistakes:\n  cell: is missing"):
        queue.amend("A1", {"name": "nothing"})
    assert store.pop_command("A1") is None


def test_a_cell_on_which_nothing_runs_is_finished_by_stop(queue: Queue, store: Store) -> None:
    _mount(store)
    assert queue.stop(CELL_ID, "looks bad", by="anna") is None
    mount = store.mount("A1")
    assert mount is not None
    assert (mount.state, mount.why_finished) == ("finished", "stopped by anna: looks bad")
    # After it was taken out, and if Redis is lost, it is known.
    assert "stopped by anna: looks bad" in (store.text(finished_key(CELL_ID)) or "")
    (note,) = notes(queue.data_dir, cell_id=CELL_ID)
    assert (note.text, note.by) == (f"{OVER}stopped by anna: looks bad", "anna")
    with pytest.raises(QueueError, match="finished already"):
        queue.stop(CELL_ID)
    with pytest.raises(QueueError, match="did you mean ZN-ZN-001"):
        queue.stop("ZN-ZN-01")


def test_the_answer_of_a_worker_is_told(queue: Queue, store: Store) -> None:
    command = Command(do="skip_step", by="anna", at=1.25)
    key = "operando:answered:A1:1.25"
    store.client.set(key, json.dumps({"taken": True, "told": "skipped"}))
    assert queue.answer("A1", command) == "skipped"
    store.client.set(key, json.dumps({"taken": False, "told": "there is no next step"}))
    with pytest.raises(QueueError, match="station A1 refused: there is no next step"):
        queue.answer("A1", command)
    store.client.set(key, "nonsense")
    with pytest.raises(QueueError, match=r"did not answer within 0\.2 s"):
        queue.answer("A1", command, timeout_s=0.2)


def test_a_held_station_needs_a_decision(queue: Queue, store: Store) -> None:
    store.change_station("A1", state="held", why="the cell is not as it was left")
    with pytest.raises(QueueError, match="operando station decide A1"):
        queue.resume("A1")
    _mount(store)
    _add(queue)
    assert queue.list()[0].waits == "station held: the cell is not as it was left"


# -- who may do what


def test_nobody_but_the_supervisor_starts_anything(running: Running) -> None:
    item = {"item_type": "plan", "name": "run_protocol", "kwargs": {"protocol": {}, "sample": {}}}
    who = {"user": "eve", "user_group": "primary"}
    for method, asked in (
        ("queue_start", {}),
        ("queue_autostart", {"enable": True}),
        ("queue_item_execute", {"item": item} | who),
        ("environment_open", {}),
        ("environment_close", {}),
        ("environment_destroy", {}),
        ("environment_update", {}),
        ("script_upload", {"script": "import os"}),
        ("re_abort", {}),
    ):
        with pytest.raises(QueueError, match="lock key"):
            running.manager._done(method, asked)
    function = {"item_type": "function", "name": "exit", "kwargs": {}}
    key = running.manager._key()
    for group in ("root", "supervisor", "primary", "operator", "viewer"):
        asked = {"item": function, "user": "eve", "user_group": group} | key
        with pytest.raises(QueueError, match="not allowed"):
            running.manager._done("function_execute", asked)
    for plan in ("resume_protocol", "look_at_cell", "count", "os.system"):
        for group in ("primary", "operator", "viewer"):
            asked = {"item": item | {"name": plan}, "user": "eve", "user_group": group}
            with pytest.raises(QueueError, match=f"'{plan}' is not in the list of allowed plans"):
                running.manager._done("queue_item_add", asked)
    with pytest.raises(QueueError, match="Unknown user group"):
        running.manager._done("queue_item_add", {"item": item, "user": "e", "user_group": "x"})
    assert running.manager.items() == []


def test_a_lock_of_a_lost_key_is_taken_over(running: Running) -> None:
    manager = running.manager
    key = manager._key()
    manager._done("unlock", key)
    manager._done("lock", {"lock_key": "lost", "environment": True, "user": "eve"})
    with pytest.raises(QueueError, match="lock key"):
        manager.open()
    manager.lock()
    assert manager.status()["lock"] == {"environment": True, "queue": False}
    with pytest.raises(QueueError, match="lock key"):
        manager._done("environment_open", {"lock_key": "lost"})


def test_files_and_sockets_are_private(running: Running) -> None:
    folder = station_dir(running.folder, "A1")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert not path.stat().st_mode & 0o077 or path.suffix == ".sock", path
    told = (folder / "manager.yaml").read_text()
    password = running.redis.address().password
    assert password in told
    pids = [running.process.pid]
    tasks = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    pids += [int(pid) for pid in tasks.read_text().split()]
    assert len(pids) > 1
    listening = {
        line.split()[9]
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()
        if line.split()[3] == "0A"
    }
    for pid in pids:
        assert password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inode = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
                assert inode is None or inode[1] not in listening


def test_whoever_has_not_the_key_is_not_let_in(running: Running) -> None:
    import zmq

    manager = Manager(running.folder, "A1")
    keys = dict(manager._known_keys())
    wrong, _ = zmq.curve_keypair()
    manager._keys, manager._timeout_s = keys | {"public": wrong.decode()}, 0.3
    with pytest.raises(QueueError, match=r"does not answer status within 0\.3 s"):
        manager.status()


def test_one_manager_is_started_once(running: Running) -> None:
    entry = load_stations().station("A1")
    assert entry is not None
    with pytest.raises(QueueError, match="A1 runs already"):
        start_manager(running.folder, entry)


# -- faults


def test_the_queue_is_the_same_after_everything_was_killed(
    running: Running, queue: Queue, store: Store
) -> None:
    queue.add(PROTOCOL, SAMPLE, "A1", repeat=3)
    _mount(store)
    queue.pause("A1", "for the night")
    before, shown = running.manager.items(), repr(queue)
    running.kill()
    os.kill(int(store.client.info("server")["process_id"]), signal.SIGKILL)
    with pytest.raises(QueueError, match="does not answer"):
        queue.list()
    running.redis.ensure()
    assert pending(store, "A1") == before
    with pytest.raises(QueueError, match="operando station start A1"):
        _add(queue)
    running.start()
    assert running.manager.items() == before
    assert repr(queue) == shown
    assert running.manager.status()["queue_autostart_enabled"] is False


def test_a_queue_server_goes_on_when_redis_was_killed(running: Running, queue: Queue) -> None:
    first = _add(queue)
    with contextlib.closing(client(running.redis.address())) as one:
        os.kill(int(one.info("server")["process_id"]), signal.SIGKILL)
    with pytest.raises(QueueError, match=r"Redis, which keeps the queues, does not answer"):
        _add(queue)
    running.redis.ensure()
    second = _add(queue)
    assert _ids(running) == [first, second]


def test_sockets_of_a_folder_with_a_long_path_lie_elsewhere(tmp_path: Path) -> None:
    data = tmp_path / ("long " * 20) / ("longer " * 12)
    sockets = socket_dir(data, "A1")
    try:
        assert len(str(sockets / "control.sock")) < 100
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert sockets == socket_dir(data, "A1") != socket_dir(data, "A2")
    finally:
        for station in ("A1", "A2"):
            socket_dir(data, station).rmdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(QueueError, match="not a folder of yours"):
        private(link)


# -- the command line, and the desk


def test_the_command_adds_lists_and_removes(
    running: Running, queue: Queue, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(running.folder))
    add = ["queue", "add", PROTOCOL, "--sample", SAMPLE]
    assert main([*add, "--station", "A1", "--repeat", "2"]) == OK
    a, b = capsys.readouterr().out.split()
    assert _ids(running) == [a, b]
    assert main(["queue", "move", b[:8], "before", a[:8]]) == OK
    assert _ids(running) == [b, a]
    assert main(["queue", "hold", a]) == main(["queue", "release", a]) == OK
    assert main(["queue"]) == main(["queue", "list"]) == OK
    out = capsys.readouterr().out
    assert out.count(f"{b[:8]}  A1") == 2
    assert main(["queue", "list", "--json", "--station", "A1"]) == OK
    assert [one["item"] for one in json.loads(capsys.readouterr().out)] == [b, a]
    assert main(["queue", "remove", b, "--by", "anna"]) == OK
    removed = f"Item {b[:8]} ({PROTOCOL} on {CELL_ID}) of station A1 was removed.\n"
    assert capsys.readouterr().out == removed
    assert main(["queue", "history", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)[0]["reason"] == "removed by anna"
    assert main(["queue", "pause", "A1"]) == main(["queue", "resume", "A1"]) == OK
    assert main([*add, "--station", "A3"]) == REFUSED
    assert "did you mean" in capsys.readouterr().err
    assert main(["queue", "ledger", "--station", "A9"]) == REFUSED
    assert "there is no station 'A9'" in capsys.readouterr().err
    assert main(["queue", "abort", "A1"]) == REFUSED
    assert "nothing runs in station A1" in capsys.readouterr().err


def test_a_note_of_an_item_is_one_of_its_cell(
    running: Running, queue: Queue, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("OPERANDO_DATA", str(running.folder))
    item = _add(queue)
    assert main(["queue", "note", item[:8], "looks", "dark", "--by", "anna"]) == OK
    # What became of the cell before is noted as well.
    note = notes(running.folder, cell_id=CELL_ID)[-1]
    assert (note.text, note.by, note.station) == ("looks dark", "anna", "A1")
    queue.remove(item)
    assert queue.note(item, "it was the wrong one").cell_id == CELL_ID
    # Cells that are known to the queue alone may be noted by their label.
    _mount(queue._store(), cell_id="of-Ada")
    queue.add(PROTOCOL, {**load_cell(SAMPLE).model_dump(mode="json"), "cell_id": "of-Bo"}, "A1")
    for label in ("of-Ada", "of-Bo"):
        check_label(running.folder, label)
    with pytest.raises(QueueError, match="did you mean of-Ada"):
        check_label(running.folder, "of-Adda")
    assert main(["queue", "note", "nothing", "x"]) == REFUSED
    assert "there is no item" in capsys.readouterr().err


def test_a_desk_adds_what_is_asked(
    running: Running, queue: Queue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = {"protocol": PROTOCOL, "sample": SAMPLE, "station": "A1"}
    assert add_at_desk(running.folder, asked) is None
    with Desk(running.folder):
        items = add_at_desk(running.folder, asked | {"repeat": 2})
        assert items == _ids(running)
        with pytest.raises(QueueError, match="there is no station 'A9'"):
            add_at_desk(running.folder, asked | {"station": "A9"})
        with pytest.raises(QueueError, match="no protocol 'nothing'"):
            add_at_desk(running.folder, asked | {"protocol": "nothing"})
        # Files of the folder in which the command is typed, not of the desk's.
        shutil.copy("config/protocols/zinc-symmetric-1-1.yaml", tmp_path / "mine.yaml")
        monkeypatch.chdir(tmp_path)
        assert add_at_desk(running.folder, asked | {"protocol": "mine.yaml"})
        # What it does not know it leaves to whoever asked.
        assert add_at_desk(running.folder, asked | {"colour": "blue"}) is None
        monkeypatch.setenv("OPERANDO_STATIONS", "others")
        with pytest.raises(QueueError, match="no file of stations 'others'"):
            add_at_desk(running.folder, asked)  # this process is the desk's
    monkeypatch.undo()
    assert add_at_desk(running.folder, asked) is None
    assert len(_ids(running)) == 3


def test_a_table_keeps_to_the_terminal_and_to_its_lines() -> None:
    heads, long = ("item", "station", "state"), f"done: {'as it should be, ' * 9}and so on"
    rows = [("1234abcd", "A1", long), ("5678abcd", "A2", "two\nlines")]
    whole = table(heads, rows).splitlines()
    assert whole[1:] == [f"1234abcd  A1       {long}", "5678abcd  A2       two lines"]
    cut = table(heads, rows, 60).splitlines()
    assert [len(line) for line in cut] == [24, 60, 28]
    assert cut[1].endswith("…")
    below = table(heads, rows, 40).splitlines()
    assert below[:3] == ["item      station", "          state", "1234abcd  A1"]
    assert below[3:5] == [
        "          done: as it should be, as it",
        "          should be, as it should be, …",
    ]
    assert below[5:] == ["5678abcd  A2", "          two lines"]
