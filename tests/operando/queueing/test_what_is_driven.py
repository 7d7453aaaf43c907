"""Before a cell is driven: whether it is there, and whether the item had begun already."""

from pathlib import Path
from typing import Any

import pytest

from operando.journal import JournalWriter
from operando.queueing._redis import RedisServer
from operando.queueing.errors import QueueError
from operando.queueing.model import Attempt, Mount, Record
from operando.queueing.mounting import Mounting, finish
from operando.queueing.store import Store
from operando.queueing.supervisor._house import House
from operando.queueing.supervisor._station import Station
from techniques import Cell, StationEntry, StationsFile

CELL = {"cell_id": "zn-1"}
DIED = "the acquisition process died before its stop document"


class Told:
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None:
        del title, body, station
        self.events.append(event)


@pytest.fixture
def station(folder: Path, server: RedisServer, store: Store) -> Station:
    entry = StationEntry(name="A1", bench="bench", supply="ups")
    stations = StationsFile(stations=(entry,))
    house = House(
        data_dir=folder, stations=stations, where=server.address(), store=store, alerts=Told()
    )
    return Station(house, entry)


def mount(store: Store, cell_id: str = "zn-1") -> Mount:
    one = Mount(station="A1", cell_id=cell_id, sample={"cell_id": cell_id}, by="me", at=1.0)
    store.put_mount(one)
    return one


def begun(store: Store, *attempts: Attempt, state: str = "starting") -> Record:
    one = Record.model_validate(
        {
            "item": "i-1",
            "station": "A1",
            "cell_id": "zn-1",
            "state": state,
            "attempts": attempts or (Attempt(kind="run", began=1.0),),
            "kwargs": {"sample": CELL, "protocol": {}},
        }
    )
    store.put_record(one)
    store.change_station("A1", item="i-1", wanted="open", state="running", since=1.0)
    return one


def kept(store: Store) -> Record:
    one = store.record("i-1")
    assert one is not None
    return one


def journal(folder: Path, uid: str, exit_status: str, reason: str, **more: Any) -> None:
    start = {"uid": uid, "time": 1.0, "plan_name": "operando_plating_stripping", "scan_id": 1}
    with JournalWriter(folder) as writer:
        writer("start", start | {"sample": CELL, "queue": {"item": "i-1", "station": "A1"}} | more)
        stop = {"uid": f"{uid}-end", "run_start": uid, "time": 2.0, "exit_status": exit_status}
        writer("stop", stop | {"reason": reason, "num_events": {}})


# -- an item that had begun


@pytest.mark.parametrize("ticket", ["none", "that of another"])
def test_an_item_with_a_run_is_not_begun_anew_though_its_ticket_is_lost(
    station: Station, store: Store, folder: Path, ticket: str
) -> None:
    mount(store)
    one = begun(store, state="running")
    journal(folder, "u-1", "fail", DIED)
    if ticket != "none":
        station.files.give_ticket("i-0", 1, "run_protocol", boot="b")
    before = station.files.ticket()
    station._items.follow(one, {"manager_state": "idle", "worker_environment_state": "idle"})
    assert station.files.ticket() == before  # nothing was given to the worker
    found = kept(store)
    assert [(x.kind, x.run_uid) for x in found.attempts] == [("run", "u-1"), ("resume", None)]


def test_after_a_death_the_record_is_asked_where_the_ticket_is_lost(
    station: Station, store: Store, folder: Path
) -> None:
    mount(store)
    one = begun(store, state="running")
    journal(folder, "u-1", "fail", DIED)
    after = station._outcomes.after_death(one, "the worker has died")
    assert [x.kind for x in after.attempts] == ["run", "resume"]
    assert kept(store) == after


def test_an_item_that_had_ended_is_not_begun_by_an_older_queue(
    station: Station, store: Store, folder: Path
) -> None:
    mount(store)
    one = begun(store)
    journal(folder, "u-1", "success", "")
    station._items._execute(one)
    assert (kept(store).state, station.files.ticket()) == ("done", None)


def test_a_resume_that_had_ended_is_not_gone_on_with(
    station: Station, store: Store, folder: Path
) -> None:
    mount(store)
    lost = Attempt(kind="run", began=1.0, exit_status="lost", run_uid="u-0")
    one = begun(store, lost, Attempt(kind="resume", began=2.0))
    journal(folder, "u-1", "success", "")
    station._items._execute(one)
    assert (kept(store).state, station.files.ticket()) == ("resumed", None)


# -- a cell that is not there


def test_nothing_is_driven_on_a_cell_that_is_not_mounted(
    station: Station, store: Store, folder: Path
) -> None:
    for cell in (None, "zn-2", "zn-1"):
        if cell is not None:
            mount(store, cell)
        if cell == "zn-1":
            finish(store, "A1", "hard short", folder)
        station._items._execute(begun(store))
        found = kept(store)
        assert found.state == "held"
        assert "its cell zn-1" in found.reason
        assert station.files.ticket() is None
        store.remove_mount("A1")


def test_a_cell_stays_where_an_item_waits_for_how_it_goes_on(
    folder: Path, server: RedisServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    (folder / "stations.yaml").write_text("stations: [{name: A1, bench: sim}]")
    monkeypatch.setenv("OPERANDO_STATIONS", str(folder / "stations.yaml"))
    mount(store)
    begun(store, state="held")
    store.change_station("A1", state="held")
    mounting = Mounting(folder)
    with pytest.raises(QueueError, match=r"i-1 .*is held.*decide first"):
        mounting.unmount("A1", "me")
    store.remove_mount("A1")
    with pytest.raises(QueueError, match=r"i-1 .*is held.*decide first"):
        mounting.refuse(cell("zn-2"), "A1")
    mounting.refuse(cell("zn-1"), "A1")  # it was taken from Redis, and not from the station
    mount(store)
    store.change_record("i-1", state="failed")
    assert mounting.unmount("A1", "me").cell_id == "zn-1"


def cell(cell_id: str) -> Cell:
    from operando.configuration import load_cell

    return load_cell("zn-bare").model_copy(update={"cell_id": cell_id})
