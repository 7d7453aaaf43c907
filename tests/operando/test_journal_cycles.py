"""Reading from a cycle on, and single columns: the same rows as reading everything."""

import errno
import os
import tempfile

import numpy as np
import pytest
from event_model import compose_run, compose_stream_resource

from operando.journal import (
    JournalWriter,
    close_dead_run,
    cycle_index,
    documents,
    inspect,
    journal_path,
    read_columns,
)
from operando.journal import _cycles as cycles_module

PAGE_ROWS = 7
ROWS_PER_CYCLE = 10


def cycle_of(row):
    return row // ROWS_PER_CYCLE


class Recorded:
    """A run of a potentiostat and a camera, being written row by row."""

    def __init__(self, folder):
        self.writer = JournalWriter(folder)
        run = compose_run()
        self.run = run
        self.writer("start", run.start_doc)
        number = {"source": "test", "dtype": "number", "shape": []}
        camera = run.compose_descriptor(name="camera", data_keys={"camera_cycle": dict(number)})
        keys = ("t", "half_cycle", "cycle", "note")
        self.stream = run.compose_descriptor(
            name="potentiostat",
            data_keys={f"potentiostat_{key}": dict(number) for key in keys},
        )
        self.camera = camera
        self.writer("descriptor", camera.descriptor_doc)
        self.writer("descriptor", self.stream.descriptor_doc)
        self.path = journal_path(folder, run.start_doc["uid"])
        self.rows = 0

    def write(self, rows, page_rows=PAGE_ROWS):
        while rows > 0:
            numbers = range(self.rows, self.rows + min(page_rows, rows))
            stamps = [1000.0 + n for n in numbers]
            data = {
                "potentiostat_t": [n / 2 for n in numbers],
                "potentiostat_half_cycle": [float(n) for n in numbers],
                "potentiostat_cycle": [float(cycle_of(n)) for n in numbers],
                "potentiostat_note": [None if n % 3 else n for n in numbers],
            }
            page = self.stream.compose_event_page(
                data=data,
                timestamps=dict.fromkeys(data, stamps),
                seq_num=[n + 1 for n in numbers],
                time=[9e9] * len(numbers),
                validate=False,
            )
            self.writer("event_page", page)
            event = self.camera.compose_event(
                data={"camera_cycle": 1.0}, timestamps={"camera_cycle": 1.0}
            )
            self.writer("event", event)
            self.rows += len(numbers)
            rows -= len(numbers)

    def end(self):
        self.writer("stop", self.run.compose_stop())
        self.writer.close()


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(cycles_module, "WORTH_SAVING_BYTES", 0)
    run = Recorded(tmp_path)
    yield run
    run.writer.close()


def leader_rows(docs, key="potentiostat_t"):
    return [
        value
        for name, doc in docs
        if name == "event_page"
        for value in np.asarray(doc["data"][key]).tolist()
    ]


@pytest.mark.parametrize("arrays", [False, True])
def test_reading_from_a_cycle_gives_its_first_row_and_everything_after(recorded, arrays):
    recorded.write(100)
    recorded.end()
    everything = list(documents(recorded.path))
    for cycle in range(10):
        part = list(documents(recorded.path, from_cycle=cycle, arrays=arrays))
        assert [name for name, _ in part[:3]] == ["start", "descriptor", "descriptor"]
        assert part[-1] == everything[-1]
        assert leader_rows(part) == leader_rows(everything)[cycle * ROWS_PER_CYCLE :]
        page = next(doc for name, doc in part if name == "event_page")
        assert {len(page[key]) for key in ("uid", "seq_num", "time")} == {len(page["seq_num"])}
        assert page["seq_num"][0] == cycle * ROWS_PER_CYCLE + 1


def test_the_index_tells_where_and_when_each_cycle_begins(recorded):
    recorded.write(45)
    index = cycle_index(recorded.path)
    assert (index.stream, index.key) == ("potentiostat", "potentiostat_cycle")
    assert index.cycles.tolist() == [0, 1, 2, 3, 4]
    assert index.rows.tolist() == [0, 10, 20, 30, 40]
    assert index.t.tolist() == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert index.time.tolist() == [1000.0, 1010.0, 1020.0, 1030.0, 1040.0]
    assert index.end == recorded.path.stat().st_size


def test_a_cycle_that_is_not_there_is_refused_by_name(recorded):
    recorded.write(45)
    with pytest.raises(LookupError, match="no cycle 5; potentiostat_cycle goes from 0 to 4"):
        list(documents(recorded.path, from_cycle=5))


def test_single_columns_come_as_arrays_of_their_kind(recorded):
    recorded.write(30)
    columns = read_columns(
        recorded.path, "potentiostat", ["potentiostat_t", "potentiostat_note", "time", "seq_num"]
    )
    assert columns["potentiostat_t"].tolist() == [n / 2 for n in range(30)]
    assert columns["time"].tolist() == [1000.0 + n for n in range(30)]
    assert columns["seq_num"].dtype == np.int64
    assert columns["seq_num"].tolist() == list(range(1, 31))
    note = columns["potentiostat_note"]
    np.testing.assert_array_equal(note, [np.nan if n % 3 else n for n in range(30)])
    with pytest.raises(LookupError, match=r"no column 'x'; it has \['potentiostat_cycle'"):
        read_columns(recorded.path, "potentiostat", ["x"])
    with pytest.raises(LookupError, match=r"no stream 'raman'; it has \['camera', 'potent"):
        read_columns(recorded.path, "raman", ["x"])


def kept(path):
    return path.with_suffix(".cycles")


def offsets(path, **options):
    return cycle_index(path, **options).offsets.tolist()


def test_the_writer_leaves_the_index_beside_the_journal_and_it_is_the_same_as_a_new_one(recorded):
    recorded.write(100)
    assert not kept(recorded.path).exists()
    recorded.end()
    assert kept(recorded.path).exists()
    made = cycle_index(recorded.path)
    new = cycle_index(recorded.path, afresh=True)
    for name in ("cycles", "offsets", "rows", "t", "time"):
        np.testing.assert_array_equal(getattr(made, name), getattr(new, name))
    assert (made.preamble, made.end) == (new.preamble, new.end)


def test_a_small_journal_needs_no_file_beside_it(tmp_path):
    run = Recorded(tmp_path)
    run.write(100)
    run.end()
    assert len(cycle_index(run.path).cycles) == 10
    assert os.listdir(run.path.parent) == [run.path.name]


def test_an_index_is_extended_while_its_journal_grows(recorded, monkeypatch):
    recorded.write(25)
    assert cycle_index(recorded.path).cycles.tolist() == [0, 1, 2]
    assert kept(recorded.path).exists()
    begun = recorded.path.stat().st_size
    recorded.write(40)
    # What was indexed is not read again; a page of cycle 1 is damaged there.
    with recorded.path.open("r+b") as file:
        file.seek(begun // 2)
        damaged = bytes(byte ^ 0xFF for byte in file.read(8))
        file.seek(begun // 2)
        file.write(damaged)
    assert cycle_index(recorded.path).cycles.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert leader_rows(documents(recorded.path, from_cycle=4))[0] == 20.0
    assert cycle_index(recorded.path, afresh=True).cycles.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_an_index_reaches_to_the_last_whole_record_of_a_journal_being_written(recorded):
    recorded.write(25)
    whole = recorded.path.read_bytes()
    recorded.write(40)
    end = recorded.path.read_bytes()
    for size in range(len(whole), len(end), 97):
        recorded.path.write_bytes(end[:size])
        index = cycle_index(recorded.path)
        assert index.end == inspect(recorded.path).offset
        rows = leader_rows(documents(recorded.path))
        assert index.cycles.tolist() == sorted({cycle_of(round(2 * t)) for t in rows})
    recorded.path.write_bytes(end)
    assert offsets(recorded.path) == offsets(recorded.path, afresh=True)


@pytest.mark.parametrize("kind", [np.float64, np.int64])
@pytest.mark.parametrize("stamped", [True, False])
def test_the_writer_indexes_columns_of_numpy_as_any_other(recorded, kind, stamped, caplog):
    numbers = np.arange(40)
    data = {
        "potentiostat_t": numbers / 2,
        "potentiostat_half_cycle": numbers / 1,
        "potentiostat_cycle": (numbers // ROWS_PER_CYCLE).astype(kind),
        "potentiostat_note": list(numbers // 3),
    }
    page = {
        "descriptor": recorded.stream.descriptor_doc["uid"],
        "uid": [str(number) for number in numbers],
        "seq_num": numbers + 1,
        "time": np.full(40, 9e9),
        "data": data,
        "timestamps": dict.fromkeys(data, 1000.0 + numbers if stamped else np.empty(0)),
        "filled": {},
    }
    recorded.writer("event_page", page)
    recorded.end()
    made = cycles_module._load(recorded.path).index()
    found = cycle_index(recorded.path, afresh=True)
    for key in ("cycles", "offsets", "rows", "t", "time"):
        np.testing.assert_array_equal(getattr(made, key), getattr(found, key))
    assert made.cycles.tolist() == [0, 1, 2, 3]
    assert made.t.tolist() == [0.0, 5.0, 10.0, 15.0]
    assert made.time[1] == (1010.0 if stamped else 9e9)
    assert not caplog.records


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "older", "foreign"])
def test_an_index_that_is_wrong_is_made_again(recorded, damage):
    recorded.write(100)
    recorded.end()
    right = offsets(recorded.path)
    data = bytearray(kept(recorded.path).read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "other":  # of a run that looks the same
        other = Recorded(recorded.path.parent / "other")
        other.write(100)
        other.end()
        data = bytearray(kept(other.path).read_bytes())
    elif damage == "older":
        data[8] = 0
    contents = {"cut": data[:-9], "empty": b"", "foreign": b"%PDF-1.7, or something else"}
    kept(recorded.path).write_bytes(contents.get(damage, data))
    assert offsets(recorded.path) == right
    assert leader_rows(documents(recorded.path, from_cycle=7))[0] == 35.0
    assert kept(recorded.path).read_bytes() != contents.get(damage, data)


def test_an_index_of_a_journal_that_was_cut_is_made_again(recorded):
    recorded.write(100)
    recorded.writer.close()
    assert cycle_index(recorded.path).cycles.tolist() == list(range(10))
    page = cycle_index(recorded.path).offsets[5]
    with recorded.path.open("r+b") as file:
        file.truncate(page + 20)
    assert close_dead_run(recorded.path)
    assert cycle_index(recorded.path).cycles.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(LookupError, match="no cycle 5"):
        list(documents(recorded.path, from_cycle=5))


def test_an_index_that_names_a_wrong_place_is_not_believed(recorded):
    recorded.write(100)
    recorded.end()
    loaded = cycles_module._load(recorded.path)
    loaded.offsets = [loaded.offsets[0]] * len(loaded.offsets)
    cycles_module.save_cycles(recorded.path, loaded)
    assert leader_rows(documents(recorded.path, from_cycle=7))[0] == 35.0


def test_where_the_index_cannot_be_written_it_is_done_without(recorded, monkeypatch, caplog):
    recorded.write(100)
    (recorded.path.parent / "x").mkdir()

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    with caplog.at_level("INFO"), monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", refuse)
        assert leader_rows(documents(recorded.path, from_cycle=7))[0] == 35.0
        recorded.end()
    assert not kept(recorded.path).exists()
    assert "index of cycles not kept" in caplog.text


def test_the_index_moves_with_the_data_folder(recorded, tmp_path):
    recorded.write(100)
    recorded.end()
    moved = recorded.path.parent.rename(tmp_path / "moved") / recorded.path.name
    before = kept(moved).read_bytes()
    assert str(tmp_path).encode() not in before
    assert leader_rows(documents(moved, from_cycle=7))[0] == 35.0
    assert kept(moved).read_bytes() == before


def test_a_journal_of_the_older_format_is_read_from_a_cycle_on(recorded, write_format_1):
    recorded.write(100)
    recorded.end()
    run = list(documents(recorded.path))
    write_format_1(recorded.path, run)
    assert list(documents(recorded.path)) == run
    assert leader_rows(documents(recorded.path, from_cycle=7))[0] == 35.0


def test_single_events_have_cycles_too_and_other_columns_have_none(tmp_path):
    run = compose_run()
    number = {"source": "test", "dtype": "number", "shape": []}
    keys = {key: dict(number) for key in ("x_half_cycle", "x_cycle")}
    keys["duty_cycle"] = dict(number, dtype="string")
    stream = run.compose_descriptor(name="x", data_keys=keys)
    with JournalWriter(tmp_path) as writer:
        writer("start", run.start_doc)
        writer("descriptor", stream.descriptor_doc)
        for row, cycle in enumerate([0, 0, 1, float("nan"), 1, None, 1.5, 2, 1, 3]):
            data = {"x_half_cycle": row, "x_cycle": cycle, "duty_cycle": "9"}
            writer("event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, 1.0)))
        writer("stop", run.compose_stop())
    path = journal_path(tmp_path, run.start_doc["uid"])
    index = cycle_index(path)
    assert (index.key, index.cycles.tolist()) == ("x_cycle", [0, 1, 2, 3])
    assert index.rows.tolist() == [0, 2, 7, 9]
    part = [
        doc["data"]["x_half_cycle"]
        for name, doc in documents(path, from_cycle=2)
        if name == "event"
    ]
    assert part == [7, 8, 9]


def test_a_run_without_cycles_says_so_and_is_read_whole_from_cycle_0(tmp_path):
    run = compose_run()
    with JournalWriter(tmp_path) as writer:
        writer("start", run.start_doc)
        writer("stop", run.compose_stop())
    path = journal_path(tmp_path, run.start_doc["uid"])
    assert [name for name, _ in documents(path, from_cycle=0)] == ["start", "stop"]
    with pytest.raises(LookupError, match="no cycle 1: no stream has a row"):
        list(documents(path, from_cycle=1))


def test_documents_before_a_cycle_that_tell_of_files_come_first(recorded):
    bundle = compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{recorded.writer.data_dir}/assets/a.h5",
        data_key="image",
        parameters={},
    )
    recorded.write(30)
    recorded.writer("stream_resource", bundle.stream_resource_doc)
    recorded.write(30)
    recorded.end()
    early = [name for name, _ in documents(recorded.path, from_cycle=2)]
    assert early[3] == "event_page"
    assert "stream_resource" in early
    late = list(documents(recorded.path, from_cycle=5))
    assert [name for name, _ in late[:4]] == [
        "start",
        "descriptor",
        "descriptor",
        "stream_resource",
    ]
    assert late[3][1]["uri"].endswith("/assets/a.h5")
    assert "$OPERANDO_DATA" not in late[3][1]["uri"]


def test_columns_that_are_not_all_numbers_keep_what_they_hold(tmp_path):
    run = compose_run()
    number = {"source": "test", "dtype": "number", "shape": []}
    columns = {
        "flag": [True, False],
        "mixed": [1, 2.5],
        "huge": [1, 2**64 - 1],
        "text": ["a", None],
        "spectrum": [[1.0, 2.0], [3.0, 4.0]],
        "ragged": [[1.0], [3.0, 4.0]],
        "names": [["a", "b"], ["c", "d"]],
        "integer": [1, -(2**63)],
    }
    stream = run.compose_descriptor(name="x", data_keys={key: dict(number) for key in columns})
    with JournalWriter(tmp_path) as writer:
        writer("start", run.start_doc)
        writer("descriptor", stream.descriptor_doc)
        stamps = {key: [1.0, 2.0] for key in columns}
        page = {"data": columns, "timestamps": stamps, "seq_num": [1, 2], "time": [9.0, 9.0]}
        writer(
            "event_page", {"descriptor": stream.descriptor_doc["uid"], "uid": ["a", "b"], **page}
        )
        row = {key: column[0] for key, column in columns.items()}
        writer("event", stream.compose_event(data=row, timestamps=dict.fromkeys(columns, 3.0)))
    path = journal_path(tmp_path, run.start_doc["uid"])
    read = read_columns(path, "x", [*columns, "time"])
    assert {key: column.dtype for key, column in read.items()} == {
        "flag": bool,
        "mixed": float,
        "huge": object,
        "text": object,
        "spectrum": float,
        "ragged": object,
        "names": object,
        "integer": np.int64,
        "time": float,
    }
    for key, column in columns.items():
        assert read[key].tolist() == [*column, column[0]]
    assert read["spectrum"].shape == (3, 2)
    assert read["time"].tolist() == [1.0, 2.0, 3.0]


def test_a_document_that_the_index_makes_nothing_of_does_not_cost_the_run(recorded, caplog):
    recorded.write(20)
    odd = {
        "descriptor": recorded.stream.descriptor_doc["uid"],
        "data": {"potentiostat_cycle": [np.zeros(2)]},
        "timestamps": {},
        "uid": ["a"],
        "time": [1.0],
        "seq_num": [21],
    }
    recorded.writer("event_page", odd)
    recorded.write(20)
    recorded.end()
    assert "no index of cycles is made" in caplog.text
    pages = [doc for name, doc in documents(recorded.path) if name == "event_page"]
    assert [page["seq_num"] for page in pages if page["uid"] == ["a"]] == [[21]]
    assert pages[-1]["seq_num"][-1] == 40
    assert not kept(recorded.path).exists()
