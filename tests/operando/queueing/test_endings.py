"""Items that are to end while nobody drives them, and cells whose end only the record tells of."""

import json
from pathlib import Path
from typing import Any

import pytest

from operando.journal import JournalWriter
from operando.queueing._redis import RedisServer
from operando.queueing.errors import QueueError
from operando.queueing.model import Attempt, Command, Mount, Record, StationState
from operando.queueing.queue import Queue
from operando.queueing.store import Store
from operando.queueing.supervisor._endings import noted
from operando.queueing.supervisor._house import House
from operando.queueing.supervisor._station import Station
from operando.queueing.tickets import REPORT
from techniques import StationEntry, StationsFile

DIED = "the acquisition process died before its stop document"
LOST = Attempt(kind="run", began=1.0, ended=2.0, exit_status="lost", run_uid="u-1")
GOES_ON = (LOST, Attempt(kind="resume", began=3.0))


class Told:
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None:
        del title, body, station
        self.events.append(event)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def station(folder: Path, server: RedisServer, store: Store, told: Told) -> Station:
    entry = StationEntry(name="A1", bench="bench")
    stations = StationsFile(stations=(entry,))
    store.put_mount(Mount(station="A1", cell_id="zn-1", sample={}, by="me", at=1.0))
    store.change_station("A1", wanted="open", state="running", item="i-1", since=1.0)
    house = House(
        data_dir=folder, stations=stations, where=server.address(), store=store, alerts=told
    )
    return Station(house, entry)


@pytest.fixture
def queue(folder: Path, station: Station) -> Queue:
    (folder / "stations.yaml").write_text("stations:\n- name: A1\n  bench: sim\n")
    return Queue(folder, folder / "stations.yaml")


def record(state: Any, *attempts: Attempt, **kwargs: Any) -> Record:
    attempts = attempts or (Attempt(kind="run", began=1.0),)
    return Record(
        item="i-1", station="A1", cell_id="zn-1", state=state, attempts=attempts, kwargs=kwargs
    )


def journal_of(folder: Path, *rows: tuple[str, dict[str, Any]], **start: Any) -> None:
    """Write the run of an item whose worker died: rows of streams, and no end of its own."""
    with JournalWriter(folder) as journal:
        told = {"uid": "u-1", "time": 1.0, "plan_name": "operando_plating_stripping", "scan_id": 1}
        journal("start", told | {"queue": {"item": "i-1", "station": "A1"}} | start)
        for number, (stream, data) in enumerate(rows):
            columns = {f"{stream}_{key}": value for key, value in data.items()}
            keys = {
                key: {
                    "source": "here",
                    "dtype": "string" if isinstance(value, str) else "number",
                    "shape": [],
                }
                for key, value in columns.items()
            }
            one = {"uid": f"d-{number}", "run_start": "u-1", "time": 1.0, "name": stream}
            rest = {"data_keys": keys, "configuration": {}, "hints": {}, "object_keys": {}}
            journal("descriptor", one | rest)
            event = {"uid": f"e-{number}", "descriptor": f"d-{number}", "time": 1.0, "seq_num": 1}
            times = dict.fromkeys(columns, 1.0)
            journal("event", event | {"data": columns, "timestamps": times, "filled": {}})
        end = {"uid": "u-1-end", "run_start": "u-1", "time": 2.0, "num_events": {}}
        journal("stop", end | {"exit_status": "fail", "reason": DIED})


STOP = ("requests", {"t": 1.0, "half_cycle": 3.0, "request": "stop", "by": "Ada", "why": "leaks"})
SHORT = (
    "rules",
    {"t": 1.0, "half_cycle": 7.0, "rule": "short", "reason": "a short", "actions": "open_cell"},
)
RULE = {"name": "short", "then": [{"do": "open_cell", "end_of_life": True}]}


def stopped(store: Store) -> tuple[Record, Mount, StationState]:
    found, mount, state = store.record("i-1"), store.mount("A1"), store.station("A1")
    assert found is not None
    assert mount is not None
    assert state is not None
    return found, mount, state


@pytest.mark.parametrize("attempts", [(), GOES_ON])
def test_a_cell_that_is_stopped_between_two_workers_does_not_go_on(
    station: Station, store: Store, queue: Queue, attempts: tuple[Attempt, ...]
) -> None:
    store.put_record(record("starting", *attempts))
    asked = queue.stop("zn-1", "leaks", by="Ada")
    assert asked is not None
    assert store.pop_command("A1") == asked  # a worker that has just been opened takes it
    station._items._execute(record("starting", *attempts))
    found, mount, state = stopped(store)
    assert (found.state, found.reason) == ("stopped", "stopped by Ada: leaks")
    assert (mount.state, mount.why_finished) == ("finished", "stopped by Ada: leaks")
    assert not state.paused
    assert "nothing more is run on cell zn-1" in queue.answer("A1", asked, 0.1)
    assert store.wish("A1", "i-1") is None


def test_a_cell_that_is_stopped_before_the_death_was_noticed_does_not_go_on(
    station: Station, store: Store, queue: Queue, folder: Path
) -> None:
    journal_of(folder)
    store.put_record(record("running"))
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    queue.stop("zn-1", "leaks", by="Ada")
    assert station._outcomes.after_death(record("running"), "it died").state == "stopped"
    found, mount, _ = stopped(store)
    assert (found.attempts[-1].exit_status, found.attempts[-1].run_uid) == ("lost", "u-1")
    assert "it died" in found.reason
    assert mount.state == "finished"


def test_an_item_that_is_aborted_between_two_workers_ends_and_nothing_follows_it(
    station: Station, store: Store, queue: Queue
) -> None:
    store.put_record(record("starting", *GOES_ON))
    queue.abort("A1", "smoke", by="ben")
    station._items._execute(record("starting", *GOES_ON))
    found, mount, state = stopped(store)
    assert (found.state, found.reason) == ("stopped", "aborted by ben: smoke")
    assert mount.state == "mounted"
    assert state.paused


def test_a_stop_counts_for_more_than_an_abort(store: Store) -> None:
    stop = Command(do="stop", by="Ada", at=1.0, item="i-1")
    abort = Command(do="abort", by="ben", at=2.0, item="i-1")
    store.keep_wish("A1", abort)
    store.keep_wish("A1", stop)
    store.keep_wish("A1", abort)
    assert store.wish("A1", "i-1") == stop
    store.client.hset("operando:wishes:A1", "i-1", "{torn")
    assert store.wish("A1", "i-1") is None
    assert store.poisoned()[-1]["key"] == "operando:wishes:A1"
    assert not store.client.exists("operando:wishes:A1")


def test_a_held_item_can_be_stopped(station: Station, store: Store, queue: Queue) -> None:
    store.put_record(record("held", LOST).model_copy(update={"reason": "it died"}))
    store.change_station("A1", state="held", why="it died")
    queue.stop("zn-1", "leaks", by="Ada")
    held = station._held(station._state())
    assert held is not None
    assert station._outcomes.ended_as_wished(held)
    found, mount, state = stopped(store)
    assert (found.state, found.reason) == ("stopped", "stopped by Ada: leaks; it died")
    assert found.attempts[-1].exit_status == "lost"
    assert mount.state == "finished"
    assert (state.state, state.why) == ("idle", "")


def test_a_closed_station_does_not_keep_what_was_to_be_ended(
    station: Station, store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_record(record("starting", *GOES_ON))
    store.change_station("A1", wanted="closed")
    queue.abort("A1", by="ben")
    # What a queue server tells that has no worker.
    idle = {"manager_state": "idle", "worker_environment_exists": False}
    monkeypatch.setattr(station.process, "status", lambda: idle)
    station.step()
    assert stopped(store)[0].state == "stopped"
    station.step()
    assert stopped(store)[2].state == "closed"


def test_a_station_is_not_closed_while_its_worker_is_being_opened(
    station: Station, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.change_station("A1", wanted="closed", state="opening", item=None)
    told = {"manager_state": "creating_environment", "worker_environment_exists": False}
    monkeypatch.setattr(station.process, "status", lambda: told)
    station.step()
    assert stopped_state(store) == "opening"
    told["manager_state"] = "idle"
    station.step()
    assert stopped_state(store) == "closed"


def stopped_state(store: Store) -> str:
    state = store.station("A1")
    return "" if state is None else state.state


def test_going_on_that_was_refused_is_not_held_if_the_cell_was_stopped(
    station: Station, store: Store, queue: Queue
) -> None:
    store.put_record(record("running", *GOES_ON))
    queue.stop("zn-1", by="Ada")
    ticket = station.files.give_ticket("i-1", 2, "resume_protocol", boot="b")
    report = {"exit_status": "refused", "run_uid": None, "reason": "the log is damaged"}
    station._outcomes.finish(record("running", *GOES_ON), ticket, report)
    found, mount, state = stopped(store)
    assert (found.state, mount.state, state.paused) == ("stopped", "finished", False)
    assert "the log is damaged" in found.reason


def test_a_run_that_came_to_its_end_before_the_stop_finishes_its_cell_all_the_same(
    station: Station, store: Store, queue: Queue
) -> None:
    store.put_record(record("running"))
    queue.stop("zn-1", by="Ada")
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    station._outcomes.finish(
        record("running"), ticket, {"exit_status": "success", "run_uid": "u-1"}
    )
    found, mount, _ = stopped(store)
    assert (found.state, mount.state) == ("done", "finished")


def test_who_is_not_answered_is_told_what_is_kept(
    station: Station, store: Store, queue: Queue
) -> None:
    store.put_record(record("running"))
    asked = queue.abort("A1")
    with pytest.raises(QueueError, match="is to end is kept, and done before it goes on"):
        queue.answer("A1", asked, 0.1)
    skip = queue.skip_step("A1")
    with pytest.raises(QueueError, match="is lost if its worker dies"):
        queue.answer("A1", skip, 0.1)


# -- what only the record tells


def test_the_record_tells_of_a_stop_and_of_the_end_of_a_life(folder: Path) -> None:
    journal_of(folder, STOP, SHORT, rules=[RULE])
    found = noted(folder, "u-1")
    assert found.stopped == {"by": "Ada", "why": "leaks"}
    assert found.end_of_life == {"rule": "short", "reason": "a short", "half_cycle": 7}


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (("rules", SHORT[1] | {"actions": "take_spectrum"}), RULE),
        (SHORT, RULE | {"then": [{"do": "open_cell"}]}),
        (("requests", STOP[1] | {"request": "skip_step"}), RULE),
    ],
)
def test_what_ends_no_life_finishes_no_cell(folder: Path, row: Any, rule: Any) -> None:
    journal_of(folder, row, rules=[rule])
    assert noted(folder, "u-1").why == ""


@pytest.mark.parametrize("policy", ["resume", "hold", "skip"])
def test_a_stop_that_was_noted_before_a_death_is_done(
    station: Station, store: Store, folder: Path, policy: str
) -> None:
    journal_of(folder, STOP)
    one = record("running", on_death=policy)
    store.put_record(one)
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    assert station._outcomes.after_death(one, "it died").state == "stopped"
    assert stopped(store)[1].why_finished == "stopped by Ada: leaks"


def test_a_life_that_ended_before_a_death_is_over_if_the_item_is_skipped(
    station: Station, store: Store, folder: Path, told: Told
) -> None:
    journal_of(folder, SHORT, rules=[RULE])
    one = record("running", on_death="skip")
    store.put_record(one)
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    assert station._outcomes.after_death(one, "it died").state == "skipped"
    assert stopped(store)[1].why_finished == "a short"
    assert told.events == ["cell_finished"]


@pytest.mark.parametrize("do", ["skip", "fail"])
def test_a_life_that_ended_before_a_death_is_over_if_somebody_decides_so(
    station: Station, store: Store, folder: Path, do: str
) -> None:
    journal_of(folder, SHORT, rules=[RULE])
    store.put_record(record("held", LOST))
    decision = {"do": do, "by": "me", "item": "i-1", "attempt": 1}
    store.client.set("operando:decision:A1", json.dumps(decision))
    station._asked.decide(store.record("i-1"))
    assert stopped(store)[1].why_finished == "a short"


# -- a record that cannot be read


def spoil(store: Store, text: str) -> None:
    store.put_record(record("running"))
    store.client.set("operando:record:i-1", text)
    # Whoever reads it first moves it away.
    assert store.record("i-1") is None


@pytest.mark.parametrize("left", ["{torn", '{"item": 1, "label": "zn 1/2", "state": "running"}'])
def test_a_run_whose_record_cannot_be_read_is_followed_to_its_end(
    station: Station, store: Store, told: Told, left: str
) -> None:
    ticket = station.files.give_ticket("i-1", 3, "resume_protocol", boot="b")
    spoil(store, left)
    found = station._record(station._state())
    assert found is not None
    assert (found.state, found.cell_id, len(found.attempts)) == ("running", "zn-1", 3)
    assert found.attempts[-1].kind == "resume"
    assert found.label == ("" if left == "{torn" else "zn 1/2")
    assert store.record_ids("A1") == ["i-1"]
    assert told.events == []
    end_of_life = {"rule": "short", "reason": "hard short", "half_cycle": 7}
    report = {
        "ticket": ticket.token,
        "exit_status": "success",
        "run_uid": "u-1",
        "end_of_life": end_of_life,
    }
    (station.files.folder / REPORT).write_text(json.dumps(report))
    assert not station._items.follow(found, None)
    after, mount, _ = stopped(store)
    assert (after.state, mount.why_finished) == ("resumed", "hard short")


def test_an_item_that_had_not_begun_is_held_if_its_record_cannot_be_read(
    station: Station, store: Store, told: Told
) -> None:
    spoil(store, "{torn")
    assert station._record(station._state()) is None
    found, _, state = stopped(store)
    assert (found.state, found.reason) == ("held", "its record could not be read")
    assert (state.state, state.item) == ("held", "i-1")
    assert told.events == ["item_held"]


def test_what_was_held_stays_held_if_its_record_cannot_be_read(
    station: Station, store: Store
) -> None:
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    spoil(store, "{torn")
    store.change_station("A1", state="held", why="it died")
    assert station._record(station._state()) is None
    assert stopped(store)[0].state == "held"


# -- what cannot be read while an item is under way

RUNS = {"manager_state": "executing_queue", "worker_environment_exists": True}


def test_a_cell_that_is_stopped_while_nobody_can_say_what_runs_on_it_does_not_go_on(
    station: Station, store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station.process, "status", lambda: RUNS)
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    spoil(store, "{torn")
    assert queue.stop("zn-1", "leaks", by="Ada") is None
    station.step()
    wish = store.wish("A1", "i-1")
    assert wish is not None
    assert (wish.do, wish.by, wish.text) == ("stop", "Ada", "leaks")
    # As the worker ends it.
    report = {"ticket": ticket.token, "exit_status": "abort", "reason": "stopped", "run_uid": "u"}
    (station.files.folder / REPORT).write_text(json.dumps(report))
    station.step()
    found, mount, _ = stopped(store)
    assert (found.state, mount.why_finished) == ("stopped", "stopped by Ada: leaks")
    assert store.wish("A1", "i-1") is None


@pytest.mark.parametrize("over", [False, True])
def test_the_cell_of_an_item_that_is_under_way_stays_mounted_if_its_mount_cannot_be_read(
    station: Station, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    journal_of(folder, sample={"cell_id": "zn-1"}, queue={"item": "i-1", "mounted_at": 0.5})
    monkeypatch.setattr(station.process, "status", lambda: RUNS)
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    store.put_record(record("running", sample={"cell_id": "zn-1"}))
    store.client.set("operando:mount:A1", "{torn")
    store.client.delete("operando:mounted:zn-1")
    if over:
        finished = {"station": "A1", "why": "stopped by Ada", "at": 1.0}
        store.client.set("operando:finished:zn-1", json.dumps(finished))
    station.step()
    mount = store.mount("A1")
    assert mount is not None
    assert (mount.cell_id, mount.sample, mount.at) == ("zn-1", {"cell_id": "zn-1"}, 0.5)
    assert mount.state == ("finished" if over else "mounted")
    assert (store.wish("A1", "i-1") is not None) == over


@pytest.mark.parametrize("state", ["starting", "held"])
def test_a_mount_that_cannot_be_read_is_made_anew_for_no_cell_that_was_taken_out(
    station: Station, store: Store, state: str
) -> None:
    one = record(state, sample={"cell_id": "zn-1"})
    store.remove_mount("A1")
    station._items.see_to_cell(one)
    assert store.mount("A1") is None
    store.put_mount(Mount(station="A2", cell_id="zn-1", sample={}, by="me", at=1.0))
    station._items.see_to_cell(record("running", sample={"cell_id": "zn-1"}))
    assert store.mount("A1") is None


def test_a_run_of_which_redis_knows_nothing_any_more_is_followed_to_its_end(
    station: Station, store: Store, folder: Path
) -> None:
    sample = {"cell_id": "zn-1", "cell_metal": "Zn"}
    journal_of(folder, sample=sample)
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    station._state()
    for key in store.client.scan_iter("operando:*"):
        store.client.delete(key)
    found = station._record(station._state())
    assert found is not None
    assert (found.state, found.cell_id, found.kwargs["sample"]) == ("running", "zn-1", sample)


def test_an_item_that_had_begun_is_not_begun_anew_if_its_record_is_lost(
    station: Station, store: Store
) -> None:
    mount = store.mount("A1")
    assert mount is not None
    kwargs = {"protocol": {"name": "p"}, "sample": {"cell_id": "zn-1"}}
    item = {"item_uid": "i-1", "kwargs": kwargs}
    store.client.rpush("operando_qs_A1_plan_queue", json.dumps(item))
    store.put_record(record("starting"))
    store.client.delete("operando:record:i-1")
    store.client.hset("operando:record:i-1", "no", "text")
    station._items.begin(item, mount)
    assert station._record(station._state()) is None
    found, _, state = stopped(store)
    assert (found.state, found.kwargs, state.state) == ("held", kwargs, "held")
    assert station.files.ticket() is None
