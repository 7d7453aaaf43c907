"""The bytes of a journal: what goes in comes out, and nothing damaged comes out."""

import math
import struct
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.journal import JournalError, JournalReader, documents, inspect
from operando.journal._format import HEADER, MAGIC, RECORD, check_metadata, decode, encode

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(["start", "event_page", "stop"]), st.dictionaries(st.text(), values))
@settings(max_examples=80, deadline=None)
def test_a_document_comes_back_as_it_went_in(name, doc):
    assert decode(encode(name, doc)[RECORD.size :]) == (name, doc)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_byte_never_yields_a_wrong_document(tmp_path_factory, data):
    records = [encode("event", {"seq_num": n, "data": {"x": n / 3}}) for n in range(4)]
    whole = bytearray(HEADER + b"".join(records))
    position = data.draw(st.integers(len(HEADER), len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.opj"
    path.write_bytes(whole)
    read = [doc for _, doc in documents(path)]
    assert read == [decode(record[RECORD.size :])[1] for record in records[: len(read)]]
    assert len(read) < 4


def test_a_journal_torn_at_any_byte_of_its_last_record_keeps_every_record_before(tmp_path):
    first = encode("start", {"uid": "a", "time": 1.0})
    last = encode("event", {"seq_num": 1, "data": {"x": 0.5}})
    path = tmp_path / "torn.opj"
    for cut in range(len(last)):
        path.write_bytes(HEADER + first + last[:cut])
        reader = JournalReader(path)
        assert [name for name, _ in reader] == ["start"]
        assert reader.tail.offset == len(HEADER) + len(first)
        assert reader.tail.clean == (cut == 0)
        assert inspect(path) == reader.tail


def test_the_reader_says_where_and_why_it_stopped(tmp_path):
    path = tmp_path / "x.opj"
    record = encode("start", {"uid": "a"})
    path.write_bytes(HEADER + record + record[:-1])
    assert inspect(path).reason.startswith("torn: ")
    flipped = bytearray(record)
    flipped[-1] ^= 1
    path.write_bytes(HEADER + record + flipped)
    assert inspect(path).reason.startswith("corrupt: checksum")
    path.write_bytes(HEADER + record + b"\xff" * 8)
    assert inspect(path).reason.startswith("corrupt: a record claims")
    path.write_bytes(HEADER[:5])
    assert inspect(path).reason.startswith("torn: 5 of 12 bytes of the file's header")
    path.write_bytes(HEADER + record)
    assert inspect(path).clean


def test_a_foreign_file_and_a_newer_format_are_refused_by_name(tmp_path):
    path = tmp_path / "x.opj"
    path.write_bytes(b"%PDF-1.7 and so on")
    with pytest.raises(JournalError, match="is not a journal: it begins with"):
        list(documents(path))
    path.write_bytes(MAGIC + struct.pack("<I", 3))
    with pytest.raises(JournalError, match="format 3, this program reads 1 and 2: update operando"):
        list(documents(path))


def test_nan_and_infinities_survive():
    doc = {"data": [math.nan, math.inf, -math.inf, -0.0]}
    back = decode(encode("event", doc)[RECORD.size :])[1]["data"]
    assert math.isnan(back[0])
    assert back[1:3] == [math.inf, -math.inf]
    assert math.copysign(1, back[3]) == -1


def test_numpy_numbers_and_arrays_become_numbers_and_lists():
    doc = {
        "scalar": np.float32(0.5),
        "integer": np.int64(7),
        "flag": np.bool_(True),
        "text": np.str_("a"),
        "array": np.arange(6, dtype="<f8").reshape(2, 3),
        "complex path": PurePosixPath("/a/b"),
        "when": datetime(2025, 1, 2, tzinfo=UTC),
    }
    assert decode(encode("event", doc)[RECORD.size :])[1] == {
        "scalar": 0.5,
        "integer": 7,
        "flag": True,
        "text": "a",
        "array": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "complex path": "/a/b",
        "when": "2025-01-02T00:00:00+00:00",
    }


def test_an_odd_value_late_in_a_run_is_stored_as_text_and_does_not_cost_the_run(caplog):
    doc = {"huge": 2**70, "set": {1}, "fine": [1.5]}
    back = decode(encode("event", doc)[RECORD.size :])[1]
    assert back == {"huge": str(2**70), "set": "{1}", "fine": [1.5]}
    assert "stored" in caplog.text


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"tags": {"a"}}, "tags is a set"),
        ({"n": 2**64}, "n is an integer beyond 64 bits"),
        ({"deep": {"list": [1, {"x": b"raw"}]}}, r"deep\.list\[1\]\.x is bytes"),
        ({"when": datetime(2025, 1, 2, tzinfo=UTC)}, "when is datetime"),
        ({"map": {1: 2}}, "map has the key 1"),
        ({"file": Path("/a")}, "file is PosixPath|file is WindowsPath"),
    ],
)
def test_metadata_that_would_not_come_back_is_refused_by_name(entry, told):
    with pytest.raises(JournalError, match=told):
        check_metadata({"uid": "a", "time": 1.0, **entry})


def test_metadata_of_text_numbers_lists_and_arrays_is_taken():
    check_metadata({"a": [1, 2.5, None, True, ("x", {"y": np.arange(3)})], "b": np.float64(1)})
