"""What somebody decides of what is held, and what is held for the bench's sake."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instruments.errors import (
    ReferenceElectrodeError,
    SafetyLimitError,
    TransportError,
    UnsupportedTechniqueError,
)
from operando.checking import CheckFailedError, Item, Report
from operando.journal import JournalWriter
from operando.queueing._redis import RedisServer
from operando.queueing._refusals import AskedError, of_what_was_asked
from operando.queueing.control import Control
from operando.queueing.errors import QueueError
from operando.queueing.model import Attempt, Mount, Record
from operando.queueing.store import Store
from operando.queueing.supervisor._deaths import LOOK_FIRST, MAINS
from operando.queueing.supervisor._house import House
from operando.queueing.supervisor._station import Station
from operando.queueing.tickets import redeem
from techniques import StationEntry, StationsFile


class Told:
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None:
        del title, body, station
        self.events.append(event)


@pytest.fixture
def station(folder: Path, server: RedisServer, store: Store) -> Station:
    entry = StationEntry(name="A1", bench="bench")
    stations = StationsFile(stations=(entry,))
    house = House(
        data_dir=folder, stations=stations, where=server.address(), store=store, alerts=Told()
    )
    return Station(house, entry)


def record(state: Any = "running", **more: Any) -> Record:
    attempts = (Attempt(kind="run", began=1.0),)
    told = {"item": "i-1", "station": "A1", "cell_id": "zn-1", "attempts": attempts, **more}
    return Record.model_validate({**told, "state": state})


def _failed(*names: str) -> CheckFailedError:
    return CheckFailedError(Report("b", tuple(Item(name, "failed", "so") for name in names)))


def test_the_ticket_tells_the_worker_at_which_potentiostat_the_cell_was_mounted(
    station: Station, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station.manager, "execute", lambda plan, kwargs: None)
    mounted = Mount(station="A1", cell_id="zn-1", sample={}, by="me", at=1.0, potentiostat="E 7")
    store.put_mount(mounted)
    one = record("starting", kwargs={"sample": {"cell_id": "zn-1"}})
    store.put_record(one)
    station._items._execute(one)
    given = station.files.ticket()
    assert given is not None
    ticket = redeem(station._house.data_dir, "A1", "run_protocol", given.token)
    assert (ticket.mounted_at, ticket.potentiostat) == (1.0, "E 7")


@pytest.mark.parametrize(("of_bench", "state"), [(True, "held"), (False, "failed")])
def test_a_bench_at_which_nothing_can_be_driven_uses_up_no_queue(
    station: Station, store: Store, of_bench: bool, state: str
) -> None:
    one = record()
    store.put_record(one)
    ticket = station.files.give_ticket("i-1", 1, "run_protocol", boot="b")
    report = {"exit_status": "refused", "run_uid": None, "reason": "another one answers"}
    station._outcomes.finish(one, ticket, {**report, "of_bench": of_bench})
    after = store.record("i-1")
    assert after is not None
    assert after.state == state
    assert "another one answers" in after.reason
    assert (store.change_station("A1").state == "held") == (state == "held")
    if state == "held":
        # Behind it, of the items that wait nothing has begun: it begins when somebody says so.
        decision = {"do": "resume", "by": "me", "item": "i-1", "attempt": 1}
        store.client.set("operando:decision:A1", json.dumps(decision))
        station._asked.decide(after)
        assert store.record("i-1").attempts[-1].kind == "run"  # type: ignore[union-attr]


def test_what_a_worker_did_not_run_is_held_and_tells_what_the_queue_server_says(
    station: Station, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_record(record())
    history = [{"result": {"msg": "the ticket cannot be read"}}]
    monkeypatch.setattr(station.manager, "history", lambda: history)
    station._items._ended_silently(record())
    after = store.record("i-1")
    assert after is not None
    assert (after.state, after.reason) == (
        "held",
        "the worker did not run it: the ticket cannot be read",
    )


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (AskedError("no such step"), True),
        (SafetyLimitError("2 mA/cm2"), True),
        (UnsupportedTechniqueError("no impedance"), True),
        (_failed("protocol"), True),
        (_failed("protocol", "guard"), False),
        (_failed("potentiostat: open circuit"), False),
        (ReferenceElectrodeError("it floats"), False),
        (QueueError("another one answers"), False),
        (TransportError("gone"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_an_item_is_refused_for_itself_or_for_the_bench(error: Exception, asked: bool) -> None:
    assert of_what_was_asked(error) == asked


def test_a_decision_about_another_item_is_not_taken(station: Station, store: Store) -> None:
    store.put_record(record("held"))
    key = "operando:decision:A1"
    decision = {"do": "fail", "by": "me", "attempt": 1}
    store.client.set(key, json.dumps(decision | {"item": "i-0"}))
    station._asked.decide(store.record("i-1"))
    assert not store.client.exists(key)
    assert store.record("i-1").state == "held"  # type: ignore[union-attr]
    # What was decided when it was held for something else holds for that.
    for attempt in ({"attempt": 0}, {"attempt": 2}, {}):
        earlier = {"do": "fail", "by": "me", "item": "i-1"} | attempt
        store.client.set(key, json.dumps(earlier))
        station._asked.decide(store.record("i-1"))
        assert not store.client.exists(key)
        assert store.record("i-1").state == "held"  # type: ignore[union-attr]
        assert "earlier interruption" in store.poisoned()[-1]["why"]
    store.client.set(key, json.dumps(decision | {"item": "i-1"}))
    station._asked.decide(store.record("i-1"))
    assert store.record("i-1").state == "failed"  # type: ignore[union-attr]


def test_what_was_decided_of_what_is_not_certain_is_recorded(
    station: Station, store: Store
) -> None:
    store.put_record(record("held"))
    key = "operando:decision:A1"
    decision = {"do": "resume", "by": "me", "item": "i-1", "attempt": 1}
    for wrong in ({"trust_log": "perhaps"}, {"assume_charge_mah_cm2": -1}, {"believe": True}):
        store.client.set(key, json.dumps(decision | {"decisions": wrong}))
        station._asked.decide(store.record("i-1"))
        assert not store.client.exists(key)
        assert store.record("i-1").state == "held"  # type: ignore[union-attr]
    store.client.set(key, json.dumps(decision | {"decisions": {"trust_log": True}}))
    station._asked.decide(store.record("i-1"))
    goes_on = store.record("i-1")
    assert goes_on is not None
    assert (goes_on.state, goes_on.attempts[-1].decisions) == ("starting", {"trust_log": True})


def test_a_decision_about_a_station_that_is_not_held_any_more_is_forgotten(
    station: Station, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station.process, "status", lambda: None)
    store.client.set("operando:decision:A1", json.dumps({"do": "resume", "item": None}))
    store.change_station("A1", wanted="open", since=1.0, state="idle")
    station.step()
    assert not store.client.exists("operando:decision:A1")


@pytest.fixture
def control(station: Station, monkeypatch: pytest.MonkeyPatch) -> Control:
    folder = station._house.data_dir
    (folder / "stations.yaml").write_text("stations: [{name: A1, bench: sim}]")
    monkeypatch.setenv("OPERANDO_STATIONS", str(folder / "stations.yaml"))
    monkeypatch.setattr("operando.queueing.control._CARRIED_OUT_WITHIN_S", 0.2)
    return Control(folder)


def test_who_decides_is_told_whether_it_was_carried_out(
    station: Station, store: Store, control: Control
) -> None:
    key = "operando:decision:A1"

    def meanwhile(action: Callable[[], object]) -> threading.Thread:
        """Do something as soon as somebody has decided."""

        def act() -> None:
            while not store.client.exists(key):
                time.sleep(0.005)
            assert store.client.ttl(key) > 0
            action()

        thread = threading.Thread(target=act)
        thread.start()
        return thread

    def taken() -> None:
        station._asked.decide(store.record("i-1"))

    def otherwise() -> None:
        station._outcomes.mains_are_back(record("held"))
        station._asked.forget_decision()

    def held() -> None:
        store.put_record(record("held"))
        store.change_station("A1", wanted="open", since=1.0, state="held", item="i-1")

    held()
    thread = meanwhile(taken)
    control.decide("A1", "resume", by="me", decisions={"trust_log": True})
    thread.join()
    for action in (otherwise, station._asked.forget_decision):
        held()
        thread = meanwhile(action)
        with pytest.raises(QueueError, match="not carried out"):
            control.decide("A1", "resume", by="me", decisions={"trust_log": True})
        thread.join()


def test_a_decision_that_nobody_takes_is_taken_back(
    station: Station, store: Store, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operando.queueing.control._DECIDED_WITHIN_S", 0.0)
    store.put_record(record("held"))
    store.change_station("A1", wanted="open", since=1.0, state="held", item="i-1")
    with pytest.raises(QueueError, match="taken back"):
        control.decide("A1", "resume", by="me", decisions={"trust_log": True})
    station._asked.decide(store.record("i-1"))
    assert store.record("i-1").state == "held"  # type: ignore[union-attr]


def test_what_is_decided_just_when_the_mains_are_back_goes_on_behind_a_look(
    station: Station, store: Store
) -> None:
    lost = Attempt(kind="run", began=1.0, ended=2.0, exit_status=MAINS, run_uid="u-1")
    one = record("held", attempts=(lost,))
    store.put_record(one)
    with JournalWriter(station._house.data_dir) as journal:
        start = {"uid": "u-1", "time": 1.0, "plan_name": "operando_plating_stripping"}
        start |= {"scan_id": 1, "sample": {"cell_id": "zn-1"}, "queue": {"item": "i-1"}}
        journal("start", start)
    decision = {"do": "resume", "item": "i-1", "attempt": 1, "decisions": {"trust_log": True}}
    store.client.set("operando:decision:A1", json.dumps(decision))
    station._asked.decide(one)
    after = store.record("i-1")
    assert after is not None
    assert (after.attempts[-1].reason, after.attempts[-1].decisions) == (
        LOOK_FIRST,
        {"trust_log": True},
    )
