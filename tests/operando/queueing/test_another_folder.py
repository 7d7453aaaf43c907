"""Two data folders, or computers, that name a station alike and share a Redis."""

import json
from pathlib import Path

import pytest

from operando.queueing._redis import RedisServer
from operando.queueing.model import Attempt, Mount, Record
from operando.queueing.places import station_dir
from operando.queueing.store import Store, manager_prefix
from operando.queueing.supervisor._house import House
from operando.queueing.supervisor._station import Station
from operando.queueing.supervisor._supervisor import Supervisor, claim_key
from techniques import StationEntry, StationsFile

STATIONS = StationsFile(stations=(StationEntry(name="A1", bench="bench"),))
THERE = {"host": "elsewhere", "data_dir": "/data"}
SAMPLE = {"cell_id": "zn-1"}


class Silent:
    """Tells nobody."""

    def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None: ...


@pytest.fixture
def house(folder: Path, server: RedisServer, store: Store) -> House:
    return House(
        data_dir=folder, stations=STATIONS, where=server.address(), store=store, alerts=Silent()
    )


@pytest.fixture
def station(house: House) -> Station:
    return Station(house, STATIONS.stations[0])


def record(**where: str) -> Record:
    return Record(
        item="i-1",
        station="A1",
        cell_id="zn-1",
        state="starting",
        attempts=(Attempt(kind="run", began=1.0),),
        kwargs={"sample": SAMPLE},
        **where,
    )


def mount(**where: str) -> Mount:
    return Mount(station="A1", cell_id="zn-1", sample=SAMPLE, by="me", at=1.0, **where)


def test_an_item_that_was_begun_elsewhere_is_held_and_not_driven(
    station: Station, store: Store
) -> None:
    store.put_mount(mount())
    store.put_record(record(**THERE))
    for _ in range(2):
        station._items._execute(record(**THERE))
        found = store.record("i-1")
        assert found is not None
        assert found.state == "held"
        assert "the computer elsewhere (data folder /data)" in found.reason
        assert station.files.ticket() is None
        key = "operando:decision:A1"
        decision = {"do": "resume", "by": "me", "item": "i-1", "attempt": len(found.attempts)}
        store.client.set(key, json.dumps(decision))
        station._asked.decide(found)


def test_a_cell_that_was_mounted_elsewhere_is_not_in_this_station(
    station: Station, house: House, store: Store
) -> None:
    item = {"item_uid": "i-1", "kwargs": {"sample": SAMPLE}}
    store.client.rpush(f"{manager_prefix('A1')}_plan_queue", json.dumps(item))
    for where in (THERE, {**house.here, "data_dir": "/data"}):
        choice = station._items.choice(mount(**where))
        assert choice.item is None
        assert choice.unmounted == ("zn-1",)
    for where in (house.here, {}):
        assert station._items.choice(mount(**where)).item is not None


def test_a_station_whose_claim_is_lost_is_let_go_until_it_is_free_again(
    house: House, folder: Path, store: Store
) -> None:
    supervisor = Supervisor(folder, STATIONS)
    supervisor._claim(house)
    mine, first = store.client.get(claim_key("A1")), supervisor._served["A1"]
    try:
        assert first.thread.is_alive()
        store.client.set(claim_key("A1"), json.dumps({**THERE, "pid": 1}))
        supervisor._claimed_at = 0.0
        supervisor._claim(house)
        first.thread.join(10.0)
        assert not first.thread.is_alive()
        store.client.delete(claim_key("A1"))
        supervisor._claimed_at = 0.0
        supervisor._claim(house)
        assert store.client.get(claim_key("A1")) == mine
        assert supervisor._served["A1"].thread.is_alive()
    finally:
        for one in (first, supervisor._served["A1"]):
            one.stopping.set()
            one.thread.join(10.0)


def test_a_station_whose_folder_cannot_be_used_keeps_no_other_one_from_being_served(
    folder: Path, server: RedisServer, store: Store
) -> None:
    told: list[str] = []

    class Told:
        def send(self, event: str, title: str, body: str = "", station: str | None = None) -> None:
            del title
            told.append(f"{event} {station}: {body}")

    two = StationsFile(stations=tuple(StationEntry(name=x, bench="b") for x in ("A1", "A2")))
    house = House(data_dir=folder, stations=two, where=server.address(), store=store, alerts=Told())
    spoiled = station_dir(folder, "A1")
    spoiled.parent.mkdir(parents=True, exist_ok=True)
    spoiled.write_text("somebody's")
    store.change_station("A1", wanted="open", state="idle")
    supervisor = Supervisor(folder, two)
    try:
        for _ in range(2):
            supervisor._claimed_at = 0.0
            supervisor._claim(house)
            assert list(supervisor._served) == ["A2"]
            assert store.client.ttl(claim_key("A2")) > 0
        assert len(told) == 1
        assert "station_lost A1: station A1 cannot be served: the folder" in told[0]
        state = store.change_station("A1")
        assert (state.state, "cannot be served" in state.why) == ("lost", True)
        spoiled.unlink()
        store.change_station("A1", wanted="closed")  # no queue server is needed here
        supervisor._claimed_at = 0.0
        supervisor._claim(house)
        assert list(supervisor._served) == ["A2", "A1"]
        assert "cannot be served" not in store.change_station("A1").why
    finally:
        for one in supervisor._served.values():
            one.stopping.set()
            one.thread.join(10.0)
