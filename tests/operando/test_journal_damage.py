"""Damage in the middle of a journal: the rest is read, what is lost is told, nothing is wrong."""

import logging
import os
import shutil
import time

import pytest
from event_model import compose_run, compose_stream_resource

from operando.journal import (
    QUIET_S,
    BulkReader,
    JournalError,
    JournalReader,
    JournalWriter,
    close_dead_run,
    cycle_index,
    damage_of,
    documents,
    documents_in_bulk,
    inspect,
    journal_path,
    list_runs,
    may_be_copied,
    read_columns,
    salvage,
)
from operando.journal._format import HEADER, RECORD, records_at
from operando.runs import Run

NUMBER = {"source": "test", "dtype": "number", "shape": []}
FILE = {"source": "test", "dtype": "number", "shape": [], "external": "STREAM:"}
PAGES, ROWS = 12, 5


def record(folder, *, stop=True):
    """Write a run of pages with a cycle, of two columns in files; return its journal."""
    run = compose_run(time=100.0)
    with JournalWriter(folder) as writer:
        writer("start", run.start_doc)
        keys = {"potentiostat_t": NUMBER, "potentiostat_cycle": NUMBER}
        pages = run.compose_descriptor(name="potentiostat", data_keys=keys, validate=False)
        files = run.compose_descriptor(name="fast", data_keys={"a": FILE, "b": FILE})
        writer("descriptor", pages.descriptor_doc)
        writer("descriptor", files.descriptor_doc)
        parts = []
        for key in ("a", "b"):
            part = compose_stream_resource(
                data_key=key,
                mimetype="application/x-hdf5",
                uri="file://localhost/x.h5",
                parameters={"dataset": key},
                start=run.start_doc,
            )
            writer("stream_resource", part.stream_resource_doc)
            parts.append(part)
        for page in range(PAGES):
            numbers = range(page * ROWS, (page + 1) * ROWS)
            data = {
                "potentiostat_t": [float(number) for number in numbers],
                "potentiostat_cycle": [float(number // 10) for number in numbers],
            }
            stamps = [1000.0 + number for number in numbers]
            for part in parts:
                datum = part.compose_stream_datum(
                    indices={"start": numbers.start, "stop": numbers.stop},
                    seq_nums={"start": numbers.start + 1, "stop": numbers.stop + 1},
                    descriptor=files.descriptor_doc,
                )
                writer("stream_datum", datum)
            writer(
                "event_page",
                pages.compose_event_page(
                    data=data,
                    timestamps=dict.fromkeys(data, stamps),
                    seq_num=[number + 1 for number in numbers],
                    time=stamps,
                    validate=False,
                ),
            )
        if stop:
            writer("stop", run.compose_stop())
    return journal_path(folder, run.start_doc["uid"])


def places(path, name):
    """Return (begin, end, document) of the records of a kind."""
    begin, found = len(HEADER), []
    reader = JournalReader(path)
    for kind, doc in reader:
        if kind == name:
            found.append((begin, reader.tail.offset, doc))
        begin = reader.tail.offset
    return found


def flip(path, place):
    """Damage a record by one bit; return the file's bytes."""
    begin, end, _ = place
    content = bytearray(path.read_bytes())
    content[(begin + RECORD.size + end) // 2] ^= 1
    path.write_bytes(content)
    return bytes(content)


def times(told):
    return [
        value
        for name, doc in told
        if name == "event_page"
        for value in list(doc["data"]["potentiostat_t"])
    ]


def without(*pages):
    return [float(row) for row in range(PAGES * ROWS) if row // ROWS not in pages]


def test_every_reader_serves_the_rows_behind_damage_and_says_what_is_missing(tmp_path, caplog):
    path = record(tmp_path)
    pages = places(path, "event_page")
    for number in (3, 4, 8):
        flip(path, pages[number])
    caplog.clear()
    expected = without(3, 4, 8)
    assert times(documents(path)) == times(documents(path, arrays=True)) == expected
    # Beside each page lie the announcements of its rows in files. Whoever reads it first tells.
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 3
    for number, text in zip((3, 4, 8), warnings, strict=True):
        begin, end, _ = pages[number]
        assert f"{path}: {end - begin} bytes from byte {begin} on are damaged" in text
    assert warnings[2].endswith("; 5 rows are missing; what follows is read")
    assert times(documents_in_bulk(path)) == expected
    assert read_columns(path, "potentiostat", ["potentiostat_t"])["potentiostat_t"].tolist() == (
        expected
    )
    assert times(documents(path, from_cycle=2)) == [t for t in expected if t >= 20]
    # Cycle 2 begins with page 4, which is lost, and goes on with page 5.
    assert cycle_index(path).cycles.tolist() == [0, 1, 2, 3, 4, 5]
    told = damage_of(path)
    assert [(d.offset, d.offset + d.size) for d in told] == [pages[n][:2] for n in (3, 4, 8)]
    assert sum(d.rows for d in told) == 15
    reader = JournalReader(path)
    list(reader)
    assert reader.damage == told
    assert not inspect(path).clean
    assert inspect(path).reason == ""


def test_a_whole_journal_has_no_damage_nor_has_one_that_is_torn(tmp_path, caplog):
    path = record(tmp_path)
    assert damage_of(path) == ()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)
    assert damage_of(path) == ()
    flip(path, (*places(path, "event_page")[-1][:2], None))
    (told,) = damage_of(path)  # nothing whole follows
    assert told.rows is None
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100, 500, 2000])
def test_nothing_is_passed_over_at_the_end_of_a_journal_that_grows(tmp_path, size):
    source = record(tmp_path / "source")
    content = source.read_bytes()
    path = tmp_path / "growing.opj"
    path.touch()
    reader = JournalReader(path)
    told = []
    for written in range(0, len(content) + size, size):
        with path.open("ab") as file:
            file.write(content[written : written + size])
        told += list(reader)
        assert reader.damage == ()
    assert told == list(documents(source))


def test_damage_is_passed_over_as_soon_as_a_whole_record_follows(tmp_path):
    source = record(tmp_path / "source")
    pages = places(source, "event_page")
    content = flip(source, pages[2])
    path = tmp_path / "growing.opj"
    path.write_bytes(content[: pages[2][1]])
    reader = JournalReader(path)
    assert times(reader) == without(*range(2, PAGES))
    assert reader.tail.reason.startswith("corrupt: checksum")
    for end in range(pages[2][1], pages[2][1] + 40):
        path.write_bytes(content[:end])
        assert list(reader) == []
    path.write_bytes(content)
    assert times(reader) == without(*range(3))
    (damage,) = reader.damage
    assert (damage.offset, damage.rows) == (pages[2][0], 5)


def test_a_length_that_leads_to_another_record_costs_none_between(tmp_path):
    path = record(tmp_path)
    pages = places(path, "event_page")
    content = bytearray(path.read_bytes())
    begin = pages[3][0]
    # As if the page reached to the end of the one after the next.
    content[begin : begin + 4] = (pages[5][1] - begin - RECORD.size).to_bytes(4, "little")
    path.write_bytes(content)
    assert times(documents(path)) == times(documents_in_bulk(path)) == without(3)


def test_rows_that_nothing_describes_any_more_are_passed_over_and_counted(tmp_path):
    path = record(tmp_path)
    flip(path, places(path, "descriptor")[0])
    run = Run.from_documents(documents_in_bulk(path))
    assert set(run.streams) == {"fast"}
    assert run.complete
    assert times(documents(path)) == []
    (damage,) = damage_of(path)
    assert damage.rows == PAGES * ROWS
    assert times(salvage(path)) == without()


def test_files_that_nothing_leads_to_are_passed_over_and_counted(tmp_path):
    path = record(tmp_path)
    flip(path, places(path, "stream_resource")[1])
    told = list(documents(path))
    resources = {doc["uid"] for name, doc in told if name == "stream_resource"}
    named = {doc["stream_resource"] for name, doc in told if name == "stream_datum"}
    assert resources == named
    assert len(resources) == 1
    (damage,) = damage_of(path)
    assert damage.rows == PAGES * ROWS


@pytest.mark.parametrize("read", [documents, documents_in_bulk])
def test_rows_in_files_whose_announcement_is_lost_are_announced_with_the_next(tmp_path, read):
    path = record(tmp_path)
    announced = places(path, "stream_datum")
    lost = announced[6]
    flip(path, lost)
    ranges = {}
    for name, doc in read(path):
        if name == "stream_datum":
            rows = range(doc["indices"]["start"], doc["indices"]["stop"])
            assert (doc["seq_nums"]["start"], doc["seq_nums"]["stop"]) == (
                rows.start + 1,
                rows.stop + 1,
            )
            ranges.setdefault(doc["stream_resource"], []).append(rows)
    assert len(ranges) == 2
    for parts in ranges.values():
        assert [row for part in parts for row in part] == list(range(PAGES * ROWS))


def test_a_journal_that_lost_its_start_says_what_can_be_done(tmp_path):
    path = record(tmp_path)
    flip(path, places(path, "start")[0])
    for read in (documents, documents_in_bulk, inspect, damage_of, cycle_index):
        with pytest.raises(JournalError, match=r"its start document is damaged.*salvage"):
            list(read(path))
    with pytest.raises(JournalError, match="start document is damaged"):
        list(documents(path, from_cycle=2))
    content = path.read_bytes()
    with pytest.raises(JournalError, match="start document is damaged"):
        close_dead_run(path)
    assert path.read_bytes() == content
    assert times(salvage(path)) == without()


def test_what_an_older_version_cut_off_can_be_taken_out(tmp_path):
    path = record(tmp_path)
    pages = places(path, "event_page")
    content = flip(path, pages[3])
    cut = path.with_name(path.name + ".cut")
    cut.write_bytes(content[pages[3][0] :])
    told = list(salvage(cut))
    assert times(told) == without(0, 1, 2, 3)
    assert told[-1][0] == "stop"


def test_a_record_within_a_damaged_one_is_not_taken_for_one_of_the_run(tmp_path):
    other = record(tmp_path / "other")
    inner = other.read_bytes()[len(HEADER) :]
    run = compose_run()
    with JournalWriter(tmp_path) as writer:
        writer("start", run.start_doc)
        stream = run.compose_descriptor(name="primary", data_keys={"x": NUMBER})
        writer("descriptor", stream.descriptor_doc)
        event = stream.compose_event(data={"x": 1.0}, timestamps={"x": 1.0})
        writer("event", {**event, "data": {"x": inner}})
        writer("event", stream.compose_event(data={"x": 2.0}, timestamps={"x": 2.0}))
    path = journal_path(tmp_path, run.start_doc["uid"])
    content = bytearray(path.read_bytes())
    content[content.index(inner) - 1] ^= 1
    path.write_bytes(content)
    told = list(documents(path))
    assert [name for name, _ in told if name in ("start", "stop")] == ["start"]
    assert [doc["data"]["x"] for name, doc in told if name == "event"] == [2.0]


def test_records_are_read_by_their_place_whichever_of_them_are_damaged(tmp_path):
    path = record(tmp_path)
    pages = places(path, "event_page")
    flip(path, pages[1])
    found = records_at(path, [begin for begin, *_ in pages[:3]])
    assert [record.doc["seq_num"][0] for record in found] == [1, 11]


def test_a_finished_run_is_never_closed_whatever_is_damaged_before_its_end(tmp_path):
    path = record(tmp_path)
    content = flip(path, places(path, "event_page")[3])
    assert not close_dead_run(path)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]
    assert list(documents(path))[-1][1]["exit_status"] == "success"


def test_damage_without_a_whole_record_behind_it_is_kept_beside_the_journal(tmp_path):
    path = record(tmp_path, stop=False)
    pages = places(path, "event_page")
    flip(path, pages[4])
    content = flip(path, pages[-1])
    assert close_dead_run(path, by="somebody")
    end = pages[-1][0]
    assert path.read_bytes()[:end] == content[:end]
    assert path.with_name(path.name + ".cut").read_bytes() == content[end:]
    told = list(documents(path))
    assert times(told) == without(4, PAGES - 1)
    stop = told[-1][1]
    assert stop["num_events"]["potentiostat"] == (PAGES - 2) * ROWS
    assert "somebody closed the run" in stop["reason"]
    assert f"from byte {pages[4][0]} on are damaged" in stop["reason"]
    assert f"at byte {end}, the rest is in {path.name}.cut" in stop["reason"]


def test_who_has_read_a_journal_need_not_read_it_again_to_close_it(tmp_path):
    path = record(tmp_path, stop=False)
    pages = places(path, "event_page")
    content = flip(path, pages[4])
    path.write_bytes(content[: pages[-2][0]])
    reader = JournalReader(path, arrays=True, count=True)
    list(reader)
    path.write_bytes(content)
    # Were the beginning read again, it would be refused.
    flip(path, places(path, "start")[0])
    with path.open("ab") as torn:
        torn.write(b"\x40\0\0\0\1")
    assert close_dead_run(path, reader=reader)
    begin = path.read_bytes()[len(content) :]
    path.write_bytes(content + begin)
    name, stop = list(documents(path))[-1]
    assert (name, stop["exit_status"]) == ("stop", "fail")
    assert stop["num_events"]["potentiostat"] == (PAGES - 1) * ROWS
    assert "5 rows are missing" in stop["reason"]


@pytest.mark.parametrize("ago_s", [0.0, QUIET_S - 20, 20 - QUIET_S])
def test_a_journal_that_may_be_copied_is_left_alone_until_it_was_quiet(tmp_path, ago_s):
    path = record(tmp_path, stop=False)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    now = time.time()
    os.utime(path, (now, now - ago_s))
    assert may_be_copied(path)
    assert not close_dead_run(path, quiet_s=QUIET_S)
    assert path.read_bytes() == content
    os.utime(path, (now, now - QUIET_S - 1))
    assert not may_be_copied(path)
    assert close_dead_run(path, quiet_s=QUIET_S)
    assert list_runs(tmp_path)[0].exit_status == "fail"
    assert not may_be_copied(path)


def test_the_writers_own_file_is_told_from_a_copy_that_has_all_its_attributes(tmp_path):
    path = record(tmp_path, stop=False)
    copy = tmp_path / "copy.opj"
    shutil.copy2(path, copy)
    os.utime(copy)
    assert may_be_copied(copy)
    assert not close_dead_run(copy, quiet_s=QUIET_S)
    # Some file systems have no extended attributes: there both wait.
    marked = hasattr(os, "listxattr") and bool(os.listxattr(path))
    assert may_be_copied(path) is not marked
    assert close_dead_run(path, quiet_s=QUIET_S) is marked


def test_bulk_reading_goes_on_behind_damage_without_reading_rows_one_by_one(tmp_path):
    path = record(tmp_path)
    reader = BulkReader(path)
    list(reader)
    assert (reader.damage, reader.tail.offset) == ((), path.stat().st_size)
    flip(path, places(path, "event_page")[3])
    reader = BulkReader(path)
    assert times(reader) == without(3)
    assert reader.tail.offset == path.stat().st_size
    assert len(reader.damage) == 1
