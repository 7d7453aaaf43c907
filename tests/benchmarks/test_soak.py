"""What a soak prepares is what stations can run, and its faults come in an order of their own."""

import json
from pathlib import Path

import pytest

from benchmarks.soak.faults import Faults
from benchmarks.soak.operator import Operator
from benchmarks.soak.world import make
from operando.configuration import check_technique, load_bench, load_stations
from operando.queueing._redis import RedisServer, client
from operando.queueing.model import EARLY, Mount, Record
from operando.queueing.store import Store
from operando.queueing.supervisor._clock import Clock


def test_each_station_gets_items_that_suit_its_cell_and_last_as_long_as_was_asked(
    tmp_path: Path,
) -> None:
    world = make(tmp_path / "soak", 3, 20, 240.0, 1000.0, seed=1)
    told = load_stations(tmp_path / "soak" / "stations.yaml")
    assert tuple(one.name for one in told.stations) == world.stations
    assert [len(world.items[name]) for name in world.stations] == [7, 7, 6]
    assert {one.supply for one in told.stations} == {"mains", "ups"}
    bench = load_bench(told.stations[0].bench)
    for name, items in world.items.items():
        assert [cell.cell_id for cell in world.cells(name)] == [f"{name}-cell-1", f"{name}-cell-2"]
        for item in items:
            check_technique(bench, item.sample, item.protocol)
        cycles = sum(int(item.protocol.name.removeprefix("soak-")) for item in items)
        assert 2 * cycles * (1 + 60 / 3600) == pytest.approx(240.0, rel=0.1)


def test_every_fault_comes_once_before_one_comes_again_and_a_seed_decides_the_order(
    tmp_path: Path,
) -> None:
    world = make(tmp_path / "soak", 2, 2, 10.0, 1000.0, seed=1)
    first, second = Faults(world, seed=4), Faults(world, seed=4)
    order = [first.choose(["S02"]) for _ in range(16)]
    assert order == [second.choose(["S02"]) for _ in range(16)]
    assert {station for _, station in order} == {"S02"}
    for eight in (order[:8], order[8:]):
        assert sorted(kind for kind, _ in eight) == sorted(first.kinds)


def test_the_clock_of_a_soak_is_read_by_the_supervisors_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(tmp_path / "soak", 1, 1, 10.0, 1000.0, seed=1)
    faults = Faults(world, seed=4)
    monkeypatch.setenv("OPERANDO_CLOCK", str(world.clock))
    clock = Clock()
    assert clock.step_s() is None
    faults._set_clock("S01")
    step_s = clock.step_s()
    assert step_s is not None
    assert abs(step_s) == pytest.approx(3600.0, abs=1.0)
    assert clock.boot() == "boot-0"
    assert json.loads(world.clock.read_text())["boot"] == "boot-0"


def test_what_a_reboot_ends_is_every_process_of_the_soak_and_no_other(tmp_path: Path) -> None:
    world = make(tmp_path / "soak", 1, 1, 10.0, 1000.0, seed=1)
    other = make(tmp_path / "other", 1, 1, 10.0, 1000.0, seed=1)
    servers = [RedisServer(one.data) for one in (world, other)]
    for server in servers:
        server.ensure()
    try:
        faults = Faults(world, seed=4)
        assert len(faults.processes()) == 1
        faults.end_all()
        assert faults.processes() == []
        assert [server.alive() for server in servers] == [False, True]
    finally:
        for server in servers:
            server.stop()


def test_who_finds_a_station_paused_ends_the_cell_or_lets_it_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(tmp_path / "soak", 1, 1, 10.0, 1000.0, seed=1)
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    server = RedisServer(world.data)
    server.ensure()
    try:
        store = Store(client(server.address()))
        cell = world.cells("S01")[0].cell_id
        store.put_mount(Mount(station="S01", cell_id=cell, sample={}, by="me", at=1.0))
        store.put_record(Record(item="i-1", station="S01", cell_id=cell, state="stopped"))
        operator = Operator(world, store)
        for why, state in (
            ("item i-1 was ended by hand", "mounted"),
            (f"item i-1 {EARLY} (limit charge_mah_cm2 1.05 reached)", "finished"),
        ):
            store.change_station("S01", wanted="open", state="idle")
            store.pause_station("S01", why)
            operator._look_at("S01")
            after, mount = store.station("S01"), store.mount("S01")
            assert after is not None
            assert mount is not None
            assert (after.paused, mount.state) == (False, state)
    finally:
        server.stop()
