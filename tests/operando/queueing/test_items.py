"""What an item of a queue is made of, and what is refused."""

import dataclasses
import datetime
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.configuration import (
    ConfigurationError,
    load_bench,
    load_bench_limits,
    load_cell,
    load_protocol,
    names,
)
from operando.queueing.decided import Decided
from operando.queueing.errors import QueueError
from operando.queueing.items import as_data, due_at, longest_s, told_time, validated
from operando.resume import Decisions
from techniques import (
    Cell,
    Electrode,
    Electrolyte,
    GalvanostaticStep,
    HalfCellCycling,
    Limit,
    OpenCircuit,
    Protocol,
    Repeat,
    Sequence,
)

CELL = Cell(
    cell_id="zn-1",
    metal="Zn",
    working_electrode=Electrode(material="Zn", area_cm2=1.0, metal="Zn"),
    counter_electrode=Electrode(material="Zn", area_cm2=1.0, metal="Zn"),
    electrolyte=Electrolyte(composition="2 M ZnSO4"),
)
REST = Protocol(name="rest", cell="zn-1", technique=OpenCircuit(duration_s=10.0))


def _item(**more: Any) -> dict[str, Any]:
    return {"protocol": as_data(REST), "sample": as_data(CELL)} | more


@pytest.mark.parametrize("name", names("protocol"))
def test_a_protocol_file_comes_out_of_a_queue_as_it_went_in(name: str) -> None:
    protocol = load_protocol(name)
    cell = load_cell(protocol.cell)
    item = json.loads(json.dumps({"protocol": as_data(protocol), "sample": as_data(cell)}))
    again, sample = validated(item, None, adding=True)
    assert (again, sample) == (protocol, cell)
    assert again.rules == protocol.rules
    assert again.rules_by_default == protocol.rules_by_default
    assert again.rules_on(sample) == protocol.rules_on(cell)
    assert again.failure_criteria_on(sample) == protocol.failure_criteria_on(cell)


def test_a_protocol_made_in_python_does_too() -> None:
    step = GalvanostaticStep(
        current_density_ma_cm2=1.0, role="plate", until=(Limit(quantity="time_s", value=60.0),)
    )
    for technique in (
        Sequence(steps=(OpenCircuit(duration_s=1.0), Repeat(times=3, step=step))),
        HalfCellCycling(current_density_ma_cm2=1.0, capacity_mah_cm2=1.0, cycles=3, cut_off_v=0.5),
    ):
        protocol = Protocol(name="typed", cell="zn-1", technique=technique)
        sample = as_data(load_cell("zn-bare-half"))
        item = json.loads(json.dumps({"protocol": as_data(protocol), "sample": sample}))
        assert validated(item, None)[0] == protocol


def test_limits_of_the_bench_hold() -> None:
    strong = {
        "type": "galvanostatic_step",
        "current_density_ma_cm2": 100_000.0,
        "until": [{"quantity": "time_s", "value": 1.0}],
    }
    item = _item(protocol=as_data(REST) | {"technique": strong})
    assert validated(item, None)
    for bench in (load_bench("sim"), load_bench_limits("sim")):
        with pytest.raises(QueueError, match="asks cell 'zn-1' for more than is allowed"):
            validated(item, bench)


@pytest.mark.parametrize("name", names("bench"))
def test_limits_of_a_bench_are_read_without_its_instruments(name: str) -> None:
    whole, light = load_bench(name), load_bench_limits(name)
    assert (light.name, light.limits) == (whole.name, whole.limits)


def test_a_bench_file_with_wrong_limits_is_explained_as_ever(tmp_path: Any) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: wrong\ninstruments: {}\nlimits: {current_max: 1}\n")
    with pytest.raises(ConfigurationError, match=r"line 3.*did you mean 'current_max_a'"):
        load_bench_limits(path)
    path.write_text("- no\n- mapping\n")
    with pytest.raises(ConfigurationError, match=r"wrong\.yaml"):
        load_bench_limits(path)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"protocol": {}}, r"the protocol has 3 mistakes:\n  name: is missing"),
        ({"protocol": 3}, r"the item, protocol: .*got 3"),
        ({"sample": {"cell_id": "zn-1"}}, r"the sample 'zn-1' has \d mistakes"),
        ({"priority": True}, "the item, priority: .*truth value"),
        ({"priority": "high"}, "the item, priority: .*'high'"),
        ({"priority": 10**9}, "the item, priority: "),
        ({"on_death": "pray"}, r"on_death: got 'pray'.*resume, skip, hold"),
        ({"holds": True}, "there is no such key; did you mean 'hold'"),
        ({"at": "tomorrow"}, r"at: 'tomorrow' is no time: write YYYY-MM-DD HH:MM"),
        ({"at": "2026-12-01"}, r"at: '2026-12-01' is a day: .* 2026-12-01 HH:MM"),
        ({"at": "2020-01-01T00:00:00+00:00"}, r"2020-01-01 .*is past: it is 20\d\d-"),
        ({"ticket": "x"}, "no ticket"),
        ({"label": "x" * 201}, "the item, label: "),
        ({"protocol": {"name": float("nan")}}, "no JSON"),
        ({"protocol": {"description": "x" * 1_000_001}}, "1 MB; more than 1 MB no protocol"),
        ({"sample": {"notes": {1, 2}}}, "no JSON"),
    ],
)
def test_what_is_wrong_is_told(more: dict[str, Any], told: str) -> None:
    with pytest.raises(QueueError, match=told):
        validated(_item(**more), None, adding=True)


def test_what_is_wrong_in_a_step_is_told_by_its_place() -> None:
    steps = [{"type": "open_circuit", "duration_s": 1.0}, {"type": "open_circuit", "duration_s": 0}]
    technique = {"type": "sequence", "steps": [*steps, {"type": "open_circiut"}]}
    item = _item(protocol={"name": "p", "cell": "c", "technique": technique})
    with pytest.raises(QueueError) as refused:
        validated(item, None)
    text = str(refused.value)
    assert "technique.steps[1].duration_s: " in text
    assert "technique.steps[2].type: got 'open_circiut'; did you mean 'open_circuit'?" in text


def test_alike_mistakes_in_several_places_are_all_told() -> None:
    step = {"type": "open_circuit", "duration_s": 0}
    technique = {"type": "sequence", "steps": [step, step]}
    with pytest.raises(QueueError, match="2 mistakes"):
        validated(_item(protocol={"name": "p", "cell": "c", "technique": technique}), None)


def test_nesting_without_end_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"technique": deep}
    with pytest.raises(QueueError, match="nested deeper"):
        validated(_item(protocol=deep), None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=10,
)
keys = st.sampled_from(["protocol", "sample", "at", "after", "priority", "hold", "x", "label"])


@settings(max_examples=50)
@given(st.dictionaries(keys, json_values), st.booleans())
def test_whatever_comes_is_refused_in_words(kwargs: dict[str, Any], adding: bool) -> None:
    with pytest.raises(QueueError):
        validated(kwargs, None, adding=adding)


def test_a_time_that_has_come_is_no_mistake_of_an_item_in_the_queue() -> None:
    assert validated(_item(at="2020-01-01T00:00:00+00:00", ticket="x"), None)


def test_times_are_local_unless_they_say_otherwise() -> None:
    soon = time.time() + 7200
    local = time.strftime("%Y-%m-%d %H:%M", time.localtime(soon))
    assert due_at(told_time(local)) == soon // 60 * 60
    aware = datetime.datetime.fromtimestamp(soon, datetime.UTC).replace(microsecond=0)
    assert due_at(told_time(aware.isoformat())) == aware.timestamp()
    assert due_at(told_time(aware)) == aware.timestamp()
    assert told_time(time.strftime("%Y-%m-%d %H:%M"))  # the minute that is told is now


@pytest.mark.parametrize("told", ["22:00", "in 2h", "2026-02-30 10:00", "", "0001-01-01 00:00"])
def test_what_is_no_time_is_refused(told: str) -> None:
    with pytest.raises(QueueError, match=r"is no time|is past"):
        told_time(told)


def test_a_mistyped_year_is_noticed() -> None:
    year = datetime.datetime.now().year + 100
    with pytest.raises(QueueError, match="is the year right"):
        told_time(f"{year}-12-01 22:00")


def test_the_length_of_an_item_is_that_of_its_program() -> None:
    assert longest_s(_item()) == 10.0
    assert longest_s(_item(sample={})) is None


def test_a_time_that_comes_twice_or_never_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        with pytest.raises(ValueError, match=r"write 2026-10-25 02:30\+02:00 or .*02:30\+01:00"):
            due_at("2026-10-25 02:30")
        with pytest.raises(ValueError, match="does not come, for the clocks are set forward"):
            due_at("2027-03-28 02:30")
        assert due_at("2026-10-25 02:30+01:00") - due_at("2026-10-25 02:30+02:00") == 3600
        assert due_at("2026-10-25 03:30") - due_at("2026-10-25 01:30") == 3 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_can_be_decided_of_a_held_item_is_what_a_resume_takes() -> None:
    assert list(Decided.__annotations__) == [one.name for one in dataclasses.fields(Decisions)]
