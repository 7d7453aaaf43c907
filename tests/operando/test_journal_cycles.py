"""Reading from a cycle on, and single columns: the same rows as reading everything."""

import numpy as np
import pytest
from event_model import compose_run

from operando.journal import (
    JournalWriter,
    cycle_index,
    documents,
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
