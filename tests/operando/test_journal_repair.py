"""Closing the journals of the dead, and leaving those of the living alone."""

import os

from event_model import compose_run

from operando.journal import JournalWriter, close_dead_run, documents, inspect, journal_path
from operando.journal._format import HEADER, encode


def dead_run(folder, rows=5):
    """Write a run without a stop whose writer is gone, and return its journal."""
    with JournalWriter(folder) as writer:
        run = compose_run(time=100.0)
        writer("start", run.start_doc)
        key = {"source": "test", "dtype": "number", "shape": []}
        stream = run.compose_descriptor(name="primary", data_keys={"x": key}, time=100.0)
        writer("descriptor", stream.descriptor_doc)
        for row in range(rows):
            event = stream.compose_event(data={"x": row}, timestamps={"x": 1.0}, time=101.0 + row)
            writer("event", event)
    return journal_path(folder, run.start_doc["uid"])


def test_a_dead_run_ends_as_failed_at_its_last_row(tmp_path):
    path = dead_run(tmp_path)
    assert close_dead_run(path)
    name, stop = list(documents(path))[-1]
    assert name == "stop"
    assert (stop["exit_status"], stop["num_events"], stop["time"]) == (
        "fail",
        {"primary": 5},
        105.0,
    )
    assert stop["run_start"] == path.stem
    assert "the acquisition process died" in stop["reason"]
    whole = path.read_bytes()
    assert not close_dead_run(path)
    assert path.read_bytes() == whole


def test_a_torn_record_is_cut_off_wherever_it_was_torn(tmp_path):
    path = dead_run(tmp_path)
    whole = path.read_bytes()
    record = encode("event", {"seq_num": 6})
    for cut in range(1, len(record)):
        path.write_bytes(whole + record[:cut])
        assert close_dead_run(path)
        assert inspect(path).clean
        assert [name for name, _ in documents(path)][-2:] == ["event", "stop"]
    assert not path.with_name(path.name + ".cut").exists()


def test_a_run_with_damage_in_its_middle_ends_behind_its_last_whole_row(tmp_path):
    path = dead_run(tmp_path)
    damaged = bytearray(path.read_bytes())
    record = encode("event", [doc for name, doc in documents(path) if name == "event"][2])
    begin = damaged.index(record)
    damaged[begin + 20] ^= 0xFF
    path.write_bytes(damaged)
    assert close_dead_run(path)
    assert path.read_bytes()[: len(damaged)] == damaged
    assert os.listdir(path.parent) == [path.name]
    told = list(documents(path))
    assert [doc["seq_num"] for name, doc in told if name == "event"] == [1, 2, 4, 5]
    stop = told[-1][1]
    assert (stop["exit_status"], stop["num_events"]) == ("fail", {"primary": 4})
    assert f"{len(record)} bytes from byte {begin} on are damaged" in stop["reason"]
    assert "1 row is missing" in stop["reason"]


def test_what_was_cut_off_before_is_not_overwritten(tmp_path):
    path = dead_run(tmp_path)
    whole = path.read_bytes()
    for name in ("cut", "cut2", "cut3"):
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) + name.encode())
        assert close_dead_run(path)
        assert path.with_name(f"{path.name}.{name}").read_bytes().endswith(name.encode())


def test_a_dead_run_of_the_older_format_is_closed_in_that_format(tmp_path, write_format_1):
    path = dead_run(tmp_path)
    started = list(documents(path))
    write_format_1(path, started)
    with path.open("ab") as file:
        file.write(encode("event", {"seq_num": 6})[:-3])
    assert close_dead_run(path)
    assert path.read_bytes()[8:12] == b"\x01\0\0\0"
    closed = list(documents(path))
    assert closed[:-1] == started
    name, stop = closed[-1]
    assert (name, stop["exit_status"], stop["num_events"]) == ("stop", "fail", {"primary": 5})


def test_the_zeros_a_power_cut_leaves_are_not_taken_for_records(tmp_path):
    path = dead_run(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert inspect(path).reason == "corrupt: an empty record"
    assert close_dead_run(path)
    assert len([name for name, _ in documents(path) if name == "event"]) == 5


def test_a_living_run_an_empty_file_and_a_torn_start_are_left_alone(tmp_path):
    with JournalWriter(tmp_path) as writer:
        run = compose_run()
        writer("start", run.start_doc)
        path = journal_path(tmp_path, run.start_doc["uid"])
        before = path.read_bytes()
        assert not close_dead_run(path)
        assert path.read_bytes() == before
    start = encode("start", {"uid": "a", "time": 1.0})
    for content in (b"", HEADER[:7], HEADER, HEADER + start[:-1]):
        path = tmp_path / "begun.opj"
        path.write_bytes(content)
        assert not close_dead_run(path)
        assert path.read_bytes() == content
