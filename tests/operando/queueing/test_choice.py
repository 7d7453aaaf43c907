"""Which item of a queue is next, and what the others are told to wait for."""

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.queueing.model import Mount, Record
from operando.queueing.supervisor._choice import begins_at, choose

NOW = 1_800_000_000.0


def item(uid: str, cell: str = "zn-1", **kwargs: Any) -> dict[str, Any]:
    return {"item_uid": uid, "kwargs": {"sample": {"cell_id": cell}, **kwargs}}


def mounted(cell: str = "zn-1", **more: Any) -> Mount:
    return Mount(station="A1", cell_id=cell, sample={}, by="me", at=NOW, **more)


def recorded(uid: str, state: Any) -> Record:
    return Record(item=uid, station="A1", cell_id="zn-1", state=state)


def iso(time_s: float) -> str:
    return datetime.datetime.fromtimestamp(time_s).isoformat()


def test_the_item_of_highest_priority_is_next_and_of_equals_the_first() -> None:
    items = [item("a"), item("b", priority=2), item("c", priority=2), item("d", priority=-1)]
    choice = choose(items, lambda uid: None, mounted(), NOW)
    assert choice.item == items[1]
    assert choice.waits == {"a": "its turn", "c": "its turn", "d": "its turn"}


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"hold": True}, "its release (it is on hold)"),
        ({"at": iso(NOW + 60)}, "its time"),
        ({"at": "tomorrow"}, "a time that is none"),
        ({"after": "before-it"}, "item before-i"),
        ({"cell": "zn-2"}, "its cell zn-2 to be mounted: zn-1 is"),
        ({"cell": ""}, "a sample: it names none"),
    ],
)
def test_an_item_that_cannot_be_started_is_told_what_it_waits_for(
    kwargs: dict[str, Any], told: str
) -> None:
    choice = choose([item("a", **kwargs)], lambda uid: None, mounted(), NOW)
    assert choice.item is None
    assert choice.waits["a"].startswith(told)


def test_an_item_goes_past_one_that_waits() -> None:
    items = [item("a", at=iso(NOW + 3600)), item("b")]
    choice = choose(items, lambda uid: None, mounted(), NOW)
    assert choice.item == items[1]
    assert choice.until == pytest.approx(NOW + 3600)


@pytest.mark.parametrize("state", ["done", "resumed"])
def test_what_comes_after_an_item_goes_on_behind_its_end(state: str) -> None:
    records = {"b": recorded("b", state)}
    assert choose([item("a", after="b")], records.get, mounted(), NOW).item is not None


@pytest.mark.parametrize("state", ["running", "held", "failed", "stopped", "skipped", "removed"])
def test_what_comes_after_an_item_waits_for_it_and_says_what_became_of_it(state: str) -> None:
    records = {"b": recorded("b", state)}
    choice = choose([item("a", after="b")], records.get, mounted(), NOW)
    assert choice.item is None
    assert state in choice.waits["a"] or not records["b"].over


def test_without_a_mounted_cell_nothing_is_started_and_cells_are_asked_for_once_each() -> None:
    items = [item("a", "zn-1"), item("b", "zn-2"), item("c", "zn-1")]
    choice = choose(items, lambda uid: None, None, NOW)
    assert choice.item is None
    assert choice.unmounted == ("zn-1", "zn-2")


def test_nothing_is_started_on_a_finished_cell() -> None:
    mount = mounted(state="finished", why_finished="hard short")
    choice = choose([item("a")], lambda uid: None, mount, NOW)
    assert choice.item is None
    assert "hard short" in choice.waits["a"]


@given(st.sampled_from(["starting", "running", "held", "done", "failed", "skipped"]))
def test_an_item_that_was_started_is_never_started_from_the_queue_again(state: Any) -> None:
    records = {"a": recorded("a", state)}
    assert choose([item("a")], records.get, mounted(), NOW).item is None


@given(st.floats(min_value=-1e6, max_value=1e6), st.floats(min_value=-1e6, max_value=1e6))
def test_whatever_the_clock_says_a_started_item_is_not_started_twice(
    set_by_s: float, begins_s: float
) -> None:
    items = [item("a", at=iso(NOW + begins_s))]
    first = choose(items, lambda uid: None, mounted(), NOW).item
    records = {} if first is None else {"a": recorded("a", "running")}
    again = choose(items, records.get, mounted(), NOW + set_by_s).item
    assert first is None or again is None


def test_times_are_local_unless_they_say_otherwise() -> None:
    assert begins_at({"at": iso(NOW)}) == NOW
    assert begins_at({"at": "2026-12-01T22:00:00+00:00"}) == 1_796_162_400.0
    assert begins_at({"at": ""}) is None


def test_of_what_items_wait_for_a_mount_is_told_first() -> None:
    items = [item("a", at=iso(NOW + 60)), item("b", cell="zn-2")]
    assert choose(items, lambda uid: None, None, NOW).told == (
        "2 items wait, one for its cell zn-2 to be mounted"
    )
    assert choose(items[:1], lambda uid: None, mounted(), NOW).told.startswith(
        "1 item waits for its time"
    )
    held = [item("a", hold=True), item("b", cell="zn-2")]
    assert choose(held, lambda uid: None, mounted(), NOW).told == (
        "2 items wait, one for its cell zn-2 to be mounted: zn-1 is"
    )
    assert choose([], lambda uid: None, None, NOW).told == ""
