"""Reading many pages as one: the same rows, whatever the pages look like and wherever they end."""

import itertools
import math
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.journal import (
    BulkReader,
    JournalError,
    JournalWriter,
    _bulk,
    damage_of,
    documents,
    documents_in_bulk,
    journal_path,
    read_columns,
)
from operando.runs import Run, RunBuilder

UID = "aaaa1111-0000-4000-8000-000000000000"
KEYS = {"leader": ("t", "current"), "camera": ("lamp",)}
floats = st.floats(allow_nan=True, allow_infinity=True)
columns = st.one_of(
    st.lists(floats, min_size=1, max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
    st.lists(
        st.one_of(floats, st.none(), st.booleans(), st.integers(0, 9)), min_size=1, max_size=3
    ),
)


@st.composite
def _told(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """Draw the documents of a run with two streams whose pages come in any order."""
    documents: list[tuple[str, dict[str, Any]]] = [("start", {"uid": UID, "time": 0.0})]
    for name, keys in KEYS.items():
        data_keys = {key: {"source": "t", "dtype": "number", "shape": []} for key in keys}
        descriptor = {"uid": f"d-{name}", "name": name, "run_start": UID, "data_keys": data_keys}
        documents.append(("descriptor", {**descriptor, "configuration": {}, "time": 0.0}))
    rows = dict.fromkeys(KEYS, 0)
    for name, column, single, own_stamps in draw(
        st.lists(st.tuples(st.sampled_from(sorted(KEYS)), columns, st.booleans(), st.booleans()))
    ):
        count = 1 if single else len(column)
        seq = list(range(rows[name] + 1, rows[name] + count + 1))
        rows[name] += count
        stamps = [float(number) for number in seq]
        page: dict[str, Any] = {
            "descriptor": f"d-{name}",
            "uid": [f"{name}-{number:06d}" for number in seq],
            "seq_num": seq,
            "time": stamps,
            "data": dict.fromkeys(KEYS[name], column[:count]),
            "timestamps": {
                key: [stamp + number * own_stamps for stamp in stamps]
                for number, key in enumerate(KEYS[name])
            },
            "filled": {},
        }
        if single:
            page |= {key: page[key][0] for key in ("uid", "seq_num", "time")}
            page["data"] = {key: values[0] for key, values in page["data"].items()}
            page["timestamps"] = {key: values[0] for key, values in page["timestamps"].items()}
        documents.append(("event" if single else "event_page", page))
    return documents


def _arrays(run: Run) -> dict[str, Any]:
    return {
        f"{name} {key}": np.asarray(column, dtype=np.float64).tobytes()
        for name, stream in run.streams.items()
        for key, column in (*stream.columns.items(), ("time", stream.time))
    }


@settings(max_examples=60, deadline=None)
@given(told=_told(), cut=st.integers(0, 200))
def test_a_run_read_in_bulk_has_the_bits_of_one_built_live(
    tmp_path_factory: pytest.TempPathFactory, told: Any, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("data")
    live = RunBuilder()
    with JournalWriter(folder) as journal:
        for name, doc in told:
            journal(name, doc)
            live(name, doc)
    path = journal_path(folder, UID)
    assert _arrays(Run.from_documents(documents_in_bulk(path))) == _arrays(live.run)
    # Cut anywhere, both readers serve the same whole records.
    path.write_bytes(path.read_bytes()[: max(path.stat().st_size - cut, 0)])
    page_by_page = Run.from_documents(documents(path, arrays=True))
    assert _arrays(Run.from_documents(documents_in_bulk(path))) == _arrays(page_by_page)


def _journal(folder: Any, pages: int, rows: int) -> Any:
    """Write pages of one length whose values tell their row."""
    with JournalWriter(folder) as journal:
        journal("start", {"uid": UID, "time": 0.0})
        keys = {"x": {"source": "t", "dtype": "number", "shape": []}}
        journal("descriptor", {"uid": "d", "name": "s", "run_start": UID, "data_keys": keys})
        for page in range(pages):
            numbers = range(page * rows, (page + 1) * rows)
            values = [float(number) for number in numbers]
            told = {
                "descriptor": "d",
                "uid": [f"{number:08d}" for number in numbers],
                "seq_num": [number + 1 for number in numbers],
                "time": values,
                "data": {"x": values},
                "timestamps": {"x": values},
                "filled": {},
            }
            journal("event_page", told)
    return journal_path(folder, UID)


def test_pages_that_look_alike_become_long_ones(tmp_path: Any) -> None:
    path = _journal(tmp_path, pages=5000, rows=7)
    pages = [doc for name, doc in documents_in_bulk(path) if name == "event_page"]
    assert len(pages) < 5
    x = np.concatenate([page["data"]["x"] for page in pages])
    np.testing.assert_array_equal(x, np.arange(35_000.0))
    numbers = np.concatenate([page["seq_num"] for page in pages])
    np.testing.assert_array_equal(numbers, np.arange(1, 35_001))


@pytest.mark.parametrize("piece", [1, 100, 1000])
def test_what_is_read_does_not_depend_on_the_pieces_it_is_read_in(
    tmp_path: Any, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _journal(tmp_path, pages=100, rows=2)
    monkeypatch.setattr(_bulk, "_READ_BYTES", piece)
    stream = Run.from_documents(documents_in_bulk(path)).streams["s"]
    np.testing.assert_array_equal(stream.columns["x"], np.arange(200.0))


@pytest.mark.parametrize("turns", [[1], [20], [3, 9, 1, 50]])
def test_streams_whose_pages_are_equally_long_are_not_mixed_up(
    tmp_path: Any, turns: list[int]
) -> None:
    expected: dict[str, list[float]] = {"a": [], "b": []}
    with JournalWriter(tmp_path) as journal:
        journal("start", {"uid": UID, "time": 0.0})
        for name in expected:
            keys = {"x": {"source": "t", "dtype": "number", "shape": []}}
            told = {"uid": f"d{name}", "name": name, "run_start": UID, "data_keys": keys}
            journal("descriptor", told)
        for number, turn in enumerate(itertools.islice(itertools.cycle(turns), 40)):
            name = "ab"[number % 2]
            for _ in range(turn):
                rows = expected[name]
                rows.append(float(1000 * number + len(rows)))
                page = {
                    "descriptor": f"d{name}",
                    "uid": [f"{name}{len(rows):08d}"],
                    "seq_num": [len(rows)],
                    "time": [0.0],
                    "data": {"x": rows[-1:]},
                    "timestamps": {"x": rows[-1:]},
                    "filled": {},
                }
                journal("event_page", page)
    run = Run.from_documents(documents_in_bulk(journal_path(tmp_path, UID)))
    found = {name: stream.columns["x"].tolist() for name, stream in run.streams.items()}
    assert found == expected


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9])
def test_damaged_pages_are_passed_over_in_bulk_as_by_every_reader(
    tmp_path: Any, where: float
) -> None:
    path = _journal(tmp_path, pages=200, rows=3)
    damaged = bytearray(path.read_bytes())
    lost = set[float]()
    for row in (math.floor(where * 600), 300):
        damaged[damaged.index(struct.pack("<d", row))] ^= 1
        lost |= {float(row // 3 * 3 + part) for part in range(3)}
    path.write_bytes(damaged)
    reader = BulkReader(path)
    served = Run.from_documents(reader).streams["s"].columns["x"].tolist()
    assert served == [float(row) for row in range(600) if row not in lost]
    assert served == Run.from_documents(documents(path)).streams["s"].columns["x"].tolist()
    assert sum(damage.rows or 0 for damage in reader.damage) == len(lost)
    assert reader.damage == damage_of(path)
    assert served == read_columns(path, "s", ["x"])["x"].tolist()


def test_a_damaged_length_makes_no_room_for_what_is_not_there(tmp_path: Any) -> None:
    path = _journal(tmp_path, pages=200, rows=3)
    content = bytearray(path.read_bytes())
    page = content.index(struct.pack("<d", 300.0))
    head = content.rindex(b"\x92\xaaevent_page", 0, page) - 8
    content[head + 3] ^= 0x30  # 800 MB
    path.write_bytes(content)
    tracemalloc.start()
    try:
        rows = len(Run.from_documents(documents_in_bulk(path)).streams["s"])
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert rows == 597


def test_what_is_no_journal_is_refused_in_bulk_too(tmp_path: Any) -> None:
    (tmp_path / "text.opj").write_text("a text somebody saved here")
    with pytest.raises(JournalError, match="is not a journal"):
        list(documents_in_bulk(tmp_path / "text.opj"))
    (tmp_path / "empty.opj").touch()
    assert list(documents_in_bulk(tmp_path / "empty.opj")) == []
