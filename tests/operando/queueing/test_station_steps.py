"""What a supervisor makes of what an earlier one left in Redis and in files, wherever that died."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from operando.configuration import load_cell
from operando.queueing._alert_events import stations_told
from operando.queueing._amended import keep_amended, protocol_names
from operando.queueing._redis import RedisServer
from operando.queueing.errors import QueueError
from operando.queueing.items import as_data
from operando.queueing.listing import Records, listed
from operando.queueing.model import AMENDED, Attempt, Command, Mount, Record, StationState
from operando.queueing.store import Store
from operando.queueing.supervisor._choice import choose
from operando.queueing.supervisor._house import House
from operando.queueing.supervisor._journal import LastRun
from operando.queueing.supervisor._outcomes import is_of
from operando.queueing.supervisor._station import _STUCK_S, Station
from operando.queueing.supervisor._supervisor import (
    Supervisor,
    _Served,
    claim_key,
    parsed_claim,
)
from operando.queueing.supervisor._surroundings import Surroundings
from operando.queueing.tickets import REPORT
from techniques import StationEntry, StationsFile

EXECUTING = {"manager_state": "executing_queue", "worker_environment_state": "executing_plan"}


class Told:
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.bodies: list[str] = []

    def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None:
        del station
        self.events.append((event, title))
        self.bodies.append(body)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def station(folder: Path, server: RedisServer, store: Store, told: Told) -> Station:
    entry = StationEntry(name="A1", bench="bench")
    stations = StationsFile(stations=(entry,))
    house = House(
        data_dir=folder, stations=stations, where=server.address(), store=store, alerts=told
    )
    return Station(house, entry)


def record(state: Any = "running", **more: Any) -> Record:
    attempts = (Attempt(kind="run", began=1.0),)
    told = {"item": "i-1", "station": "A1", "cell_id": "zn-1", "attempts": attempts, **more}
    return Record.model_validate({**told, "state": state})


@pytest.mark.parametrize("state", ["starting", "running", "held"])
def test_an_item_that_was_recorded_is_followed_though_the_station_does_not_name_it(
    station: Station, store: Store, state: str
) -> None:
    store.change_station("A1", wanted="open", since=1.0)
    store.put_record(record(state))
    assert station._state().item == "i-1"


def test_an_item_that_runs_is_followed_however_many_were_removed_since(
    station: Station, store: Store
) -> None:
    store.put_record(record())
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    for number in range(5):
        store.put_record(record("removed", item=f"r-{number}"))
    # Nothing else is known of the station: whether it was paused somebody has to say.
    state = station._state()
    assert (state.item, state.wanted, state.paused) == ("i-1", "open", True)
    assert "operando queue resume A1" in state.paused_why


def test_an_item_that_the_station_names_and_that_was_not_recorded_was_not_begun(
    station: Station, store: Store
) -> None:
    state = store.change_station("A1", wanted="open", since=1.0, item="i-1", state="running")
    assert station._record(state) is None
    after = store.station("A1")
    assert after is not None
    assert (after.item, after.state) == (None, "idle")


def test_a_station_whose_state_cannot_be_read_stays_as_it_was(
    station: Station, store: Store
) -> None:
    store.change_station("A1", wanted="open", since=1.0, item="i-1", paused=True)
    store.put_record(record())
    before = station._state()
    store.client.set("operando:station:A1", "{torn")
    assert station._state() == before
    assert store.poisoned()[-1]["key"] == "operando:station:A1"


def test_why_a_station_is_paused_is_told_until_somebody_lets_it_go_on(
    station: Station, store: Store
) -> None:
    store.change_station("A1", wanted="open", since=1.0, state="idle")
    for why in ("item i-1 ended before its time", "paused by Ada: smoke", "paused by Ada: smoke"):
        state = store.pause_station("A1", why)
    paused = "paused: item i-1 ended before its time; paused by Ada: smoke"
    for told in (
        {"state": "lost", "why": "the mains are lost"},
        {"state": "opening", "why": ""},
        {"state": "held", "why": "the worker has died"},
        {"state": "idle", "why": ""},
        {"state": "idle", "why": "closing"},
        {"state": "closed", "why": ""},
    ):
        station._standing.tell(state, **told)
        state = store.change_station("A1")
        assert state.told_why == "; ".join(filter(None, (told["why"], paused)))
    assert f"A1 is closed: {paused}." in stations_told([store.change_station("A1", since=0.0)])
    store.resume_station("A1")
    assert store.pause_station("A1", "tea").why_paused == "paused: tea"


def test_a_station_whose_state_is_lost_with_its_supervisor_stays_as_it_was(
    station: Station, store: Store
) -> None:
    why = "look at the cell"
    before = store.change_station("A1", wanted="open", since=1.0, paused=True, paused_why=why)
    station._state()
    store.client.delete("operando:station:A1")
    store.client.rpush("operando:station:A1", "no text")
    # The next supervisor claims the station first.
    store.change_station("A1", host="here", supervisor_pid=7)
    state = Station(station._house, station.entry)._state()
    assert state == before.model_copy(update={"host": "here", "supervisor_pid": 7})


def test_an_item_of_which_only_its_ticket_tells_is_followed(station: Station, store: Store) -> None:
    # Somebody has started the station again since.
    store.change_station("A1", wanted="open", state="opening", since=2.0)
    station.files.give_ticket("t-1", 1, "look_at_cell", boot="b")
    assert Station(station._house, station.entry)._state().item is None
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    again = Station(station._house, station.entry)
    found = again._record(again._state())
    assert found is not None
    assert (found.item, found.state) == ("i-1", "running")
    over = store.change_record("i-1", state="done")
    store.change_station("A1", item=None)
    assert over.over
    assert Station(station._house, station.entry)._state().item is None


@pytest.mark.parametrize("kind", ["list", "string"])
def test_no_key_of_ours_stops_a_station_whatever_somebody_wrote_there(
    station: Station, store: Store, told: Told, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = {"manager_state": "idle", "worker_environment_exists": True}
    monkeypatch.setattr(station.process, "status", lambda: idle)
    monkeypatch.setattr(station.manager, "items", list)
    store.put_mount(Mount(station="A1", cell_id="zn-1", sample={}, by="me", at=1.0))
    store.put_record(record("held", kwargs={"sample": {"cell_id": "zn-1"}}))
    store.change_station("A1", wanted="open", since=1.0, item="i-1", state="held", why="it died")
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    station.step()
    of_station = ("station", "mount", "records", "commands", "wishes", "decision", "mounting")
    keys = [*(f"{word}:A1" for word in of_station), "mounted:zn-1", "record:i-1"]
    for key in keys:
        store.client.delete(f"operando:{key}")
        if (kind == "list") != (key in ("records:A1", "commands:A1")):
            store.client.rpush(f"operando:{key}", "{torn")
        else:
            store.client.set(f"operando:{key}", "{torn")
    for _ in range(3):
        station.step()
        store.pop_command("A1")
    state, held = store.station("A1"), store.record("i-1")
    assert state is not None
    assert held is not None
    assert (state.state, state.item, held.state) == ("held", "i-1", "held")
    # Each is told once, by whoever of the supervisors is first.
    for _ in range(2):
        Surroundings(station._house)._look_at_poisoned()
    titles = [title for event, title in told.events if event == "poisoned"]
    assert "Which cell is mounted in station A1 could not be read" in titles
    assert "What was decided of station A1 could not be read" in titles
    assert any(title.startswith("What was asked of station A1") for title in titles)
    assert len(titles) == len(set(titles))
    bodies = "\n".join(told.bodies)
    assert "operando station decide A1 resume|skip|fail" in bodies
    assert "operando mount CELL --station A1" in bodies


@pytest.mark.parametrize("spoiled", ["{torn", '{"host": 3}', None])
def test_a_claim_that_nobody_can_read_is_said_again_by_who_serves_the_station(
    station: Station, store: Store, server: RedisServer, spoiled: str | None
) -> None:
    house, key = station._house, claim_key("A1")
    ours, other = (Supervisor(house.data_dir, house.stations) for _ in range(2))
    ours._served["A1"] = _Served(station, threading.Thread(), threading.Event())
    assert ours._claimed(house, "A1")
    store.client.delete(key)
    store.client.rpush(key, "no text") if spoiled is None else store.client.set(key, spoiled)
    assert not other._claimed(house, "A1")
    assert ours._claimed(house, "A1")
    assert parsed_claim(store.text(key))["host"] == house.host
    assert store.client.ttl(key) > 0
    assert store.poisoned()[-1]["key"] == key


def test_a_station_that_nobody_ever_started_costs_no_queue_server(
    station: Station, store: Store
) -> None:
    store.change_station("A1", host="here")
    station.step()
    assert not (station.files.folder / "manager.json").exists()


def test_only_the_ticket_of_this_attempt_tells_that_it_was_begun(station: Station) -> None:
    once = record()
    assert not is_of(station.files.ticket(), once)
    station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    assert is_of(station.files.ticket(), once)
    again = record(attempts=(*once.attempts, Attempt(kind="resume", began=2.0)))
    assert not is_of(station.files.ticket(), again)
    assert not is_of(station.files.ticket(), record(item="i-2"))


def test_a_manager_that_does_not_notice_the_end_of_an_item_is_found_out(station: Station) -> None:
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    assert not station._is_stuck(EXECUTING)
    assert station._stuck_since is None
    (station.files.folder / REPORT).write_text(json.dumps({"ticket": ticket.token}))
    assert not station._is_stuck(EXECUTING)
    assert station._stuck_since is not None
    station._stuck_since = time.monotonic() - _STUCK_S - 1
    assert station._is_stuck(EXECUTING)
    assert not station._is_stuck({"manager_state": "idle"})
    assert not station._is_stuck(EXECUTING)  # it is counted from the beginning


def test_a_cell_at_its_end_is_finished_before_its_item_is_closed(
    station: Station, store: Store, told: Told
) -> None:
    store.put_mount(Mount(station="A1", cell_id="zn-1", sample={}, by="me", at=1.0))
    store.put_record(record())
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    report = {
        "exit_status": "success",
        "run_uid": "u-1",
        "end_of_life": {"rule": "short", "reason": "hard short", "half_cycle": 7},
    }
    station._outcomes.finish(record(), ticket, report)
    mount, closed = store.mount("A1"), store.record("i-1")
    assert mount is not None
    assert closed is not None
    assert (mount.state, mount.why_finished) == ("finished", "hard short")
    assert (closed.state, closed.attempts[-1].run_uid) == ("done", "u-1")
    assert told.events[0][0] == "cell_finished"


def test_an_item_whose_experiment_somebody_stopped_frees_the_station(
    station: Station, store: Store
) -> None:
    store.put_mount(Mount(station="A1", cell_id="zn-1", sample={}, by="me", at=1.0))
    store.put_record(record())
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    report = {"exit_status": "success", "run_uid": "u", "stopped": {"by": "Ada", "why": "leaks"}}
    station._outcomes.finish(record(), ticket, report)
    mount, closed = store.mount("A1"), store.record("i-1")
    assert mount is not None
    assert closed is not None
    assert mount.why_finished == "stopped by Ada: leaks"
    assert closed.state == "stopped"


def test_a_worker_that_was_told_to_end_is_a_death_and_nobody_s_decision(
    station: Station, store: Store
) -> None:
    store.put_record(record())
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    report = {"exit_status": "abort", "run_uid": None, "reason": "stopped by SIGTERM"}
    station._outcomes.finish(record(), ticket, report)
    after, state = store.record("i-1"), store.station("A1")
    assert after is not None
    assert (after.state, after.attempts[-2].exit_status) == ("starting", "lost")
    assert state is None or not state.paused
    assert LastRun("u", "abort", "stopped by SIGTERM. The cell is open").interrupted
    assert not LastRun("u", "abort", "aborted by Ada: smells").interrupted
    # Nor is it anybody's before the run had begun.
    store.put_record(record())
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    station._outcomes.finish(record(), ticket, report | {"exit_status": "refused"})
    again = store.record("i-1")
    assert again is not None
    assert again.state == "starting"


def test_that_nothing_can_be_done_for_a_while_is_told_once(station: Station, told: Told) -> None:
    station._tell_failing("Redis is gone")
    assert station._failing_since is not None
    station._failing_since -= 61.0
    for _ in range(3):
        station._tell_failing("Redis is gone")
    assert len(told.events) == 1
    assert told.events[0][0] == "station_lost"


def test_a_hold_outlasts_a_worker_that_cannot_be_opened(
    station: Station, store: Store, told: Told
) -> None:
    state = store.change_station("A1", wanted="open", state="held", why="NOT known to be safe")
    station._opening_since = time.monotonic()
    station._closed(state, {"manager_state": "idle"})
    after = store.station("A1")
    assert after is not None
    assert (after.state, after.why) == ("held", "NOT known to be safe")
    assert told.events[0][0] == "station_lost"


def test_three_failures_in_a_row_hold_whatever_was_removed_in_between(
    station: Station, store: Store
) -> None:
    for number in range(2):
        store.put_record(record("failed", item=f"i-{number}"))
        store.put_record(record("removed", item=f"r-{number}", attempts=()))
    one = record(item="i-2")
    store.put_record(one)
    ticket = station.files.give_ticket("i-2", 1, "run_protocol", boot="b")
    station._outcomes.finish(one, ticket, {"exit_status": "fail", "reason": "no answer"})
    assert "the last 3 items failed" in store.change_station("A1").why


def test_a_hold_without_an_item_outlasts_a_station_that_is_closed_and_opened(
    station: Station, store: Store
) -> None:
    idle = {"manager_state": "idle", "worker_environment_state": "idle"}
    station._outcomes.hold("NOT known to be safe")
    for started in (station, Station(station._house, station.entry)):
        # As `operando station stop` and `start` leave it.
        state = store.change_station("A1", wanted="open", state="opening", why="")
        started._open(state, idle)
        state = store.change_station("A1")
        assert (state.state, state.why) == ("held", "NOT known to be safe")
    store.client.set("operando:decision:A1", json.dumps({"do": "resume", "item": None}))
    station._asked.decide(None)
    assert station.files.held() == ""
    assert store.change_station("A1").state == "idle"


def test_a_stop_that_comes_while_the_end_is_written_down_finishes_the_cell(
    station: Station, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = Mount(station="A1", cell_id="zn-1", sample={}, by="me", at=1.0)
    store.put_mount(mounted)
    store.put_record(record())
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    command = Command(do="stop", by="Ada", at=time.time(), text="leaks", item="i-1")
    put = store.put_record

    def meanwhile(one: Record) -> Any:
        store.keep_wish("A1", command)
        return put(one)

    monkeypatch.setattr(station._outcomes._store, "put_record", meanwhile)
    station._outcomes.finish(record(), ticket, {"exit_status": "success", "run_uid": "u"})
    mount = store.mount("A1")
    assert mount is not None
    assert mount.state == "finished"
    assert store.wish("A1", "i-1") is None


def test_going_on_that_is_refused_is_held_and_somebody_is_told(
    station: Station, store: Store, told: Told
) -> None:
    attempts = (
        Attempt(kind="run", began=1.0, ended=2.0, exit_status="lost", run_uid="u-1"),
        Attempt(kind="resume", began=3.0),
    )
    one = record(attempts=attempts)
    store.put_record(one)
    ticket = station.files.give_ticket("i-1", 2, "resume_protocol", boot="b")
    report = {"exit_status": "refused", "run_uid": None, "reason": "the cell was exchanged"}
    station._outcomes.finish(one, ticket, report)
    held = store.record("i-1")
    assert held is not None
    assert (held.state, held.ended) == ("held", None)
    state = store.station("A1")
    assert state == StationState.model_validate({**state.model_dump(), "state": "held"})  # type: ignore[union-attr]
    assert told.events == [("item_held", "Item i-1 on zn-1 is held")]


def test_when_the_last_item_of_a_campaign_has_ended_somebody_is_told(
    station: Station, store: Store, told: Told
) -> None:
    one = record(campaign="zinc")
    store.put_record(one)
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    station._outcomes.finish(one, ticket, {"exit_status": "success", "run_uid": "u-1"})
    assert told.events == [("campaign_done", "Campaign zinc is done")]


def finished(station: Station, store: Store, one: Record, **report: Any) -> tuple[Record, Mount]:
    """Return what an item and its cell have become by what a worker reports of it."""
    store.put_mount(Mount(station="A1", cell_id="zn-1", sample={}, by="me", at=1.0))
    store.put_record(one)
    what: Any = "run_protocol" if len(one.attempts) == 1 else "resume_protocol"
    ticket = station.files.give_ticket("i-1", len(one.attempts), what, boot="b")
    station._outcomes.finish(one, ticket, {"exit_status": "success", "run_uid": "u-1", **report})
    after, mount = store.record("i-1"), store.mount("A1")
    assert after is not None
    assert mount is not None
    return after, mount


def test_a_cell_that_was_left_shorted_is_finished_whatever_its_rules_say(
    station: Station, store: Store
) -> None:
    why = "rule 'end at a hard short': 1.8 ohm"
    after, mount = finished(station, store, record(), reason=why, ended_early=why, shorted=True)
    assert (after.state, mount.state) == ("stopped", "finished")
    assert "shorted" in mount.why_finished


def test_a_hard_short_that_is_no_end_of_a_life_has_somebody_look_at_the_cell(
    station: Station, store: Store
) -> None:
    kwargs = {"protocol": {"name": "p", "end_of_life": {"hard_short": False}}}
    after, mount = finished(
        station, store, record(kwargs=kwargs), ended_early="rule 'end': short", shorted=True
    )
    assert (after.state, mount.state) == ("stopped", "mounted")
    assert store.station("A1").paused  # type: ignore[union-attr]
    # The protocol to which it was changed while it ran says nothing of it: then it ends a life.
    store.client.set(f"{AMENDED}i-1", json.dumps({"name": "other"}))
    after, mount = finished(
        station, store, record(kwargs=kwargs), ended_early="rule 'end': short", shorted=True
    )
    assert (after.state, mount.state) == ("stopped", "finished")


def test_an_item_that_a_limit_ended_before_its_time_pauses_the_station(
    station: Station, store: Store, told: Told
) -> None:
    why = "limit charge_mah_cm2 1.05 reached in step 16"
    after, mount = finished(station, store, record(), reason=why, ended_early=why)
    state = store.station("A1")
    assert state is not None
    assert (after.state, mount.state, state.paused) == ("stopped", "mounted", True)
    assert "ended before its time (limit charge_mah_cm2 1.05 reached" in state.paused_why
    assert "operando queue resume A1" in state.paused_why
    assert "operando queue stop zn-1" in state.paused_why
    assert told.events[0] == ("item_held", "Item i-1 on zn-1 ended before its time")
    # What was to come after it waits: it was not done.
    items = [{"item_uid": "i-2", "kwargs": {"sample": {"cell_id": "zn-1"}, "after": "i-1"}}]
    assert choose(items, store.record, mount, 9.0).waits == {"i-2": "item i-1, which was stopped"}


def test_a_limit_that_ended_the_life_of_a_cell_pauses_nothing(
    station: Station, store: Store
) -> None:
    life = {"rule": "low", "reason": "CE is 40 %", "half_cycle": 8}
    after, mount = finished(station, store, record(), ended_early="", end_of_life=life)
    assert (after.state, mount.state) == ("done", "finished")
    assert not store.change_station("A1").paused


RESUMED = (
    Attempt(kind="run", began=1.0, ended=2.0, exit_status="lost", run_uid="u-1"),
    Attempt(kind="resume", began=3.0),
)


def test_a_resume_that_only_looked_at_the_cell_is_held(
    station: Station, store: Store, told: Told
) -> None:
    why = "the cell is not as it was left: is it the same cell?"
    one = record(attempts=RESUMED)
    report = {"exit_status": "fail", "run_uid": "u-2", "reason": why}
    after, _ = finished(station, store, one, **report, refused=why)
    assert (after.state, after.ended, after.attempts[-1].run_uid) == ("held", None, "u-2")
    assert store.station("A1").state == "held"  # type: ignore[union-attr]
    assert told.events == [("item_held", "Item i-1 on zn-1 is held")]
    # One that drove the cell and failed has failed.
    assert finished(station, store, one, **report)[0].state == "failed"


def test_a_shorted_cell_that_may_not_be_safe_also_holds_its_station(
    station: Station, store: Store
) -> None:
    report = {"exit_status": "fail", "reason": "it is NOT known to be safe", "shorted": True}
    after, mount = finished(station, store, record(), **report)
    assert (after.state, mount.state) == ("failed", "finished")
    assert store.station("A1").state == "held"  # type: ignore[union-attr]


def test_a_list_tells_how_long_an_item_lasts_that_was_amended_and_by_what(store: Store) -> None:
    half = {"current_density_ma_cm2": 1.0, "until": [{"quantity": "charge_mah_cm2", "value": 1.0}]}

    def protocol(cycles: int, name: str = "p") -> dict[str, Any]:
        technique = {"type": "plate_strip_cycle", "plate": half, "strip": half, "cycles": cycles}
        return {"name": name, "cell": "zn-bare", "technique": technique}

    kwargs = {"protocol": protocol(500), "sample": as_data(load_cell("zn-bare"))}
    store.put_record(record(kwargs=kwargs, began=time.time()))
    (before,) = listed(store, "A1", [], alive=True)
    keep_amended(store, "i-1", protocol(20, "faster"))
    keep_amended(store, "i-1", protocol(10, "last"))
    (after,) = listed(store, "A1", [], alive=True)
    assert before.longest_s is not None
    assert after.longest_s is not None
    assert after.longest_s < before.longest_s / 40
    assert after.ends is not None
    assert before.ends is not None
    assert after.ends < before.ends
    # As the list of runs, the history of items names them all.
    assert (before.protocol, after.protocol) == ("p", "p, then faster, then last")
    known = store.records("A1")
    assert "  p, then faster, then last  " in repr(Records(known, protocol_names(store, known)))


def test_a_worker_that_cannot_be_ended_is_told_once_and_tried_again(
    station: Station, store: Store, told: Told, server: RedisServer
) -> None:
    store.change_station("A1", wanted="open", since=1.0, item="i-1", state="running")
    store.put_record(record())
    for _ in range(2):
        station._not_ended("it hangs", "the worker (process 7) cannot be ended")
    after = store.station("A1")
    assert after is not None
    assert (after.state, after.why) == ("lost", "the worker (process 7) cannot be ended")
    assert told.events == [("station_lost", "it hangs")]
    # Whether it goes on is decided when the worker has ended.
    assert station._record(after) == record()
    # Also while Redis is gone somebody is told.
    server.stop()
    with pytest.raises(QueueError, match="does not answer"):
        station._not_ended("it hangs", "the worker (process 8) cannot be ended")
    assert len(told.events) == 2
