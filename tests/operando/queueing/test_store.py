"""What stations share in Redis, and what becomes of entries that nobody can read."""

import json
import threading
import time

import pytest

from operando.queueing.errors import QueueError
from operando.queueing.model import Attempt, Command, Mount, Record, StationState
from operando.queueing.sanitise import pending, sanitise
from operando.queueing.store import Store


def _record(item: str, **more: object) -> Record:
    told = {"item": item, "station": "A1", "cell_id": "zn-1", "state": "starting"}
    return Record.model_validate(told | more)


def _mount(station: str, cell_id: str) -> Mount:
    return Mount(station=station, cell_id=cell_id, sample={"cell_id": cell_id}, by="anna", at=1.0)


def test_fields_of_a_state_that_others_changed_meanwhile_stay(store: Store) -> None:
    assert store.station("A1") is None
    store.change_station("A1", host="here", state="idle")

    def run() -> None:
        for n in range(50):
            store.change_station("A1", state="running" if n % 2 else "idle", item=str(n))

    thread = threading.Thread(target=run)
    thread.start()
    for n in range(50):
        store.change_station("A1", paused=bool(n % 2), why=str(n))
    thread.join()
    assert store.station("A1") == StationState(
        name="A1", host="here", state="running", item="49", paused=True, why="49"
    )
    assert [one.name for one in store.stations()] == ["A1"]
    with pytest.raises(ValueError, match="nonsense"):
        store.change_station("A1", nonsense=1)
    store.forget_station("A1")
    assert store.stations() == []


def test_a_cell_is_mounted_once_on_all_computers(store: Store) -> None:
    store.put_mount(_mount("A1", "zn-1"))
    with pytest.raises(QueueError, match=r"zn-1 is mounted in station A1.*operando unmount"):
        store.put_mount(_mount("A2", "zn-1"))
    with pytest.raises(QueueError, match=r"zn-1 is mounted in station A1.*before zn-2"):
        store.put_mount(_mount("A1", "zn-2"))
    assert store.mount("A2") is None
    finished = _mount("A1", "zn-1").model_copy(update={"state": "finished"})
    store.put_mount(finished)
    assert store.mount("A1") == finished
    assert store.mounted_at("zn-1") == "A1"
    assert store.mounts() == [finished]
    assert store.remove_mount("A1") == finished
    assert store.mounted_at("zn-1") is None
    assert store.remove_mount("A1") is None
    store.put_mount(_mount("A2", "zn-1"))


def test_of_two_that_mount_a_cell_at_once_one_does(store: Store) -> None:
    refused = []
    barrier = threading.Barrier(8)

    def mount(station: str) -> None:
        barrier.wait()
        try:
            store.put_mount(_mount(station, "zn-1"))
        except QueueError as error:
            refused.append(error)

    threads = [threading.Thread(target=mount, args=(f"A{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    assert [one.station for one in store.mounts()] == [store.mounted_at("zn-1")]


def test_records_stay_in_the_order_of_their_starts(store: Store) -> None:
    for item in ("c", "a", "b"):
        store.put_record(_record(item))
    store.put_record(_record("a", state="running"))
    changed = store.change_record(
        "c", state="done", attempts=(Attempt(kind="run", began=1.0, run_uid="u"),)
    )
    assert [one.item for one in store.records("A1")] == ["c", "a", "b"]
    assert [one.item for one in store.records("A1", last=2)] == ["a", "b"]
    assert store.records("A1")[0] == changed == store.record("c")
    assert changed.over
    assert store.record_stations() == ["A1"]
    assert store.records("A2") == []
    with pytest.raises(QueueError, match="no record of item x"):
        store.change_record("x", state="done")


def test_commands_are_taken_in_their_order_and_the_unreadable_ones_left_out(store: Store) -> None:
    first = Command(do="skip_step", by="anna", at=1.0)
    second = Command(do="amend", by="ben", at=2.0, item="i", protocol={"name": "p"})
    store.push_command("A1", first)
    store.client.rpush("operando:commands:A1", '{"do": "rm -rf /"}')
    store.push_command("A1", second)
    assert store.pop_command("A2") is None
    assert [store.pop_command("A1"), store.pop_command("A1")] == [first, second]
    assert store.pop_command("A1") is None
    (moved,) = store.poisoned()
    assert moved["text"] == '{"do": "rm -rf /"}'
    assert moved["at"] == pytest.approx(time.time(), abs=60)
    assert "do" in moved["why"]
    store.push_command("A1", first)
    store.clear_commands("A1")
    assert store.pop_command("A1") is None


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"name": 3}', "\udcff\udcfe", '{"name": "A1", "x": 1}']
)
def test_an_entry_of_ours_that_nobody_can_read_is_moved_away(store: Store, text: str) -> None:
    key = "operando:station:A1"
    store.client.set(key, text.encode("utf-8", "surrogateescape"))
    assert store.station("A1") is None
    assert not store.client.exists(key)
    (moved,) = store.poisoned()
    assert (moved["key"], moved["text"]) == (key, text)
    store.client.set(key, text.encode("utf-8", "surrogateescape"))
    assert store.stations() == []
    store.client.set(key, text.encode("utf-8", "surrogateescape"))
    assert store.change_station("A1", paused=True) == StationState(name="A1", paused=True)


def test_an_entry_of_another_kind_is_moved_away(store: Store) -> None:
    store.client.rpush("operando:mount:A1", "a list")
    assert store.mount("A1") is None
    assert store.client.lrange("operando:poisoned:operando:mount:A1", 0, -1) == ["a list"]
    store.put_mount(_mount("A1", "zn-1"))
    assert store.mounts() == [_mount("A1", "zn-1")]
    # Where it cannot be read the cell can be taken out all the same, and mounted elsewhere.
    store.client.set("operando:mount:A1", "{torn")
    assert store.remove_mount("A1") is None
    store.put_mount(_mount("A2", "zn-1"))


def test_what_is_of_another_kind_is_moved_away_and_made_anew_where_that_can_be(
    store: Store,
) -> None:
    store.put_mount(_mount("A1", "zn-1"))
    for number, item in enumerate(("b", "a", "c")):
        store.put_record(_record(item, began=float(number)))
    command = Command(do="stop", by="Ada", at=1.0, item="a")
    wrong = ("commands:A1", "wishes:A1", "records:A1", "poisoned")
    for key in wrong:
        store.client.delete(f"operando:{key}")
        store.client.set(f"operando:{key}", "no list")
    for key in ("mounted:zn-1", "record:c"):
        store.client.delete(f"operando:{key}")
        store.client.sadd(f"operando:{key}", "no text")
    store.push_command("A1", command)
    assert store.pop_command("A1") == command
    store.keep_wish("A1", command)
    assert store.wish("A1", "a") == command
    store.forget_wish("A1", "a")
    assert [one.item for one in store.records("A1")] == ["b", "a"]
    assert store.mounted_at("zn-1") == "A1"
    kept = {one["key"] for one in store.poisoned()}
    assert kept == {f"operando:{key}" for key in (*wrong, "mounted:zn-1", "record:c")}
    assert store.client.get("operando:poisoned:operando:wishes:A1") == "no list"


def test_an_item_whose_record_was_lost_is_given_no_other_one(store: Store) -> None:
    store.put_record(_record("a"))
    store.client.set("operando:record:a", "{torn")
    assert store.record("a") is None
    assert not store.add_record(_record("a"))
    assert store.add_record(_record("b"))


def test_of_each_entry_that_was_moved_away_somebody_is_told_once(store: Store) -> None:
    assert store.newly_poisoned("me") == []
    store.poison("operando:mount:A1", "x", "it is no Mount")
    store.client.rpush("operando:poisoned", "no entry", "[]", '{"at": "now"}')
    assert [one["key"] for one in store.newly_poisoned("me")] == ["operando:mount:A1"]
    store.poison("operando:commands:A1", "x", "it is no Command")
    store.poison("operando:decision:A1", "x", "it is no decision")
    found = [one["key"] for one in Store(store.client).newly_poisoned("me")]
    assert found == ["operando:commands:A1", "operando:decision:A1"]
    assert store.newly_poisoned("me") == []
    assert len(store.poisoned()) == 3


def _item(uid: str) -> str:
    return json.dumps({"item_uid": uid, "item_type": "plan", "kwargs": {}})


def test_what_is_no_item_is_moved_out_of_a_queue(store: Store) -> None:
    key = "operando_qs_A1_plan_queue"
    poison = {
        "\udcff\udcfe": "no JSON object",
        "no JSON": "no JSON object",
        "[1]": "no JSON object",
        "{}": "no item_uid",
        '{"item_uid": 3}': "no item_uid",
        '{"item_uid":"spaced"}': "not written by the queue server",
        _item("b"): "twice",
    }
    raw = [text.encode("utf-8", "surrogateescape") for text in poison]
    store.client.rpush(key, _item("a"), _item("b"), *raw, _item("c"))
    store.client.set("operando_qs_A1_running_plan", "{")
    store.client.set("operando_qs_A1_lock_info", "{}")
    store.client.rpush("operando_qs_A1_plan_history", "x", "{}", _item("a"), _item("a"))
    store.client.set("operando_qs_A1_plan_queue_mode", '"default"')
    store.client.set("operando_qs_A2_plan_queue", "no list")
    assert [one["item_uid"] for one in pending(store, "A1")] == ["a", "b", "c"]
    assert pending(store, "A2") == []
    moved = sanitise(store, "A1") + sanitise(store, "A2")
    for why in poison.values():
        assert any(why in one for one in moved)
    assert store.client.lrange(key, 0, -1) == [_item("a"), _item("b"), _item("c")]
    assert store.client.lrange("operando_qs_A1_plan_history", 0, -1) == [_item("a"), _item("a")]
    assert not store.client.exists("operando_qs_A1_running_plan", "operando_qs_A1_plan_queue_mode")
    assert store.client.exists("operando_qs_A1_lock_info")
    assert [one["text"] for one in store.poisoned()][: len(poison)] == list(poison)
    assert sanitise(store, "A1") == sanitise(store, "A2") == []
