"""The bytes of a journal: what goes in comes out, and nothing damaged comes out."""

import itertools
import math
import os
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.journal import (
    JournalError,
    JournalReader,
    close_dead_run,
    damage_of,
    documents,
    inspect,
    read_columns,
    salvage,
)
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


integers_64 = st.integers(-(2**63), 2**63 - 1)
KINDS = {
    "floats": st.floats(),
    "integers": integers_64,
    "huge": st.integers(-(2**63), 2**64 - 1),
    "booleans": st.booleans(),
    "texts": st.text(max_size=5),
    "numbers": st.floats() | integers_64,
    "holes": st.none() | st.floats(),
    "anything": values,
}


@st.composite
def pages(draw):
    """Draw an event page: columns of one kind or mixed, some of the timestamps equal."""
    rows = draw(st.integers(0, 5))

    def column(kind):
        return st.lists(KINDS[kind], min_size=rows, max_size=rows)

    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5))
    data = {f"{kind}{n}": draw(column(kind)) for n, kind in enumerate(kinds)}
    stamps = {key: draw(column("floats")) for key in data}
    for key in data:
        same = draw(st.none() | st.sampled_from(sorted(data)))
        if same:
            stamps[key] = stamps[same] if draw(st.booleans()) else list(stamps[same])
    return {
        "descriptor": "d",
        "uid": [str(n) for n in range(rows)],
        "seq_num": draw(column("integers")),
        "time": draw(column("numbers")),
        "data": data,
        "timestamps": stamps,
        "filled": {},
    }


def exactly(value):
    """Return a form in which only the same value of the same type is equal: also -0.0 and NaN."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [exactly(item) for item in value]
    return (type(value), struct.pack("<d", value) if isinstance(value, float) else value)


@given(pages())
@settings(max_examples=150, deadline=None)
def test_every_column_of_a_page_comes_back_as_it_was(page):
    name, back = decode(encode("event_page", page)[RECORD.size :])
    assert name == "event_page"
    assert list(back) == list(page)
    assert exactly(back) == exactly(page)


@given(pages())
@settings(max_examples=80, deadline=None)
def test_arrays_hold_the_same_values_in_either_format(tmp_path_factory, write_format_1, page):
    folder = tmp_path_factory.mktemp("arrays")
    (folder / "2.opj").write_bytes(HEADER + encode("event_page", page))
    write_format_1(folder / "1.opj", [("event_page", page)])
    for path in (folder / "1.opj", folder / "2.opj"):
        ((_, lists),) = documents(path)
        assert exactly(lists) == exactly(page)
        ((_, arrays),) = documents(path, arrays=True)
        columns = [(arrays[key], page[key]) for key in ("seq_num", "time") if page[key] is not None]
        for part in ("data", "timestamps"):
            columns += [(arrays[part][key], page[part][key]) for key in page[part]]
        for found, given_values in columns:
            kinds = set(map(type, given_values))
            within = all(-(2**63) <= v < 2**63 for v in given_values if type(v) is int)
            if kinds in ({float}, {int}) and within:
                assert found.dtype == (np.float64 if kinds == {float} else np.int64)
                assert not found.flags.writeable
                assert exactly(found.tolist()) == exactly(given_values)
            else:
                assert exactly(found) == exactly(given_values)
        for one, two in itertools.combinations(page["timestamps"], 2):
            same = exactly(page["timestamps"][one]) == exactly(page["timestamps"][two])
            if same and page["uid"]:
                assert arrays["timestamps"][one] is arrays["timestamps"][two]


@pytest.mark.parametrize("kind", ["<f8", ">f8", "<f4", "<i8", ">i4", "u1", "u8", "?"])
def test_a_column_that_comes_as_an_array_is_stored_as_the_list_it_stands_for(kind):
    column = np.arange(3).astype(kind)
    page = {"data": {"x": column}, "timestamps": {"x": np.array([1.0, 2.0, 3.0])}}
    back = decode(encode("event_page", page)[RECORD.size :])[1]
    assert exactly(back["data"]["x"]) == exactly(column.tolist())
    assert back["timestamps"]["x"] == [1.0, 2.0, 3.0]


def test_a_page_without_columns_is_stored_as_it_is():
    for page in ({}, {"data": None, "timestamps": {}}, {"data": {}}):
        assert decode(encode("event_page", page)[RECORD.size :]) == ("event_page", page)


def test_the_bytes_of_a_page_are_those_that_are_documented():
    page = {"data": {"x": [1.0, -2.0], "n": [1, -1]}, "timestamps": {"x": [3.0], "n": [3.0]}}
    x, n, stamp = struct.pack("<dd", 1, -2), struct.pack("<qq", 1, -1), struct.pack("<d", 3)
    payload = encode("event_page", page)[RECORD.size :]
    assert payload == (
        b"\x92\xaaevent_page\x82"
        b"\xa4data\x82\xa1x\xd8\x01" + x + b"\xa1n\xd8\x02" + n + b"\xaatimestamps\x82\xa1x\xd7\x01"
        + stamp + b"\xa1n\xd4\x03x"
    )  # fmt: skip


def test_a_whole_record_that_no_writer_wrote_is_told_by_its_place(tmp_path):
    path = tmp_path / "x.opj"
    for payload, told in (
        (b"\xc1", "the record at byte 12 is whole and cannot be read"),
        (msgpack.packb(["event_page", 5]), "the record at byte 12 is whole and cannot be read"),
        (msgpack.packb(["event", msgpack.ExtType(9, b"")]), "form 9, which this program"),
    ):
        path.write_bytes(HEADER + RECORD.pack(len(payload), zlib.crc32(payload)) + payload)
        with pytest.raises(JournalError, match=told):
            list(documents(path))


def small_run():
    """Return the documents of a run of two pages."""
    page = {
        "descriptor": "d",
        "uid": ["a", "b"],
        "seq_num": [1, 2],
        "time": [5.0, 6.0],
        "data": {"x": [0.5, -0.0]},
        "timestamps": {"x": [5.0, 6.0]},
    }
    return [
        ("start", {"uid": "s", "time": 1.0}),
        ("descriptor", {"uid": "d", "run_start": "s", "name": "primary", "data_keys": {"x": {}}}),
        ("event_page", page),
        ("event_page", page | {"seq_num": [3, 4]}),
    ]


def test_any_flipped_bit_costs_its_own_document_and_no_other(tmp_path):
    run = [*small_run(), ("stop", {"uid": "e", "run_start": "s", "exit_status": "success"})]
    records = [encode(name, doc) for name, doc in run]
    whole = HEADER + b"".join(records)
    ends = list(itertools.accumulate(map(len, records), initial=len(HEADER)))
    path = tmp_path / "flipped.opj"
    for position, bit in itertools.product(range(len(whole)), range(8)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)
        number = sum(end <= position for end in ends) - 1
        if number < 1:
            # Without its header or its start it is no run; what is whole can be taken out.
            with pytest.raises(JournalError):
                list(documents(path))
            assert list(salvage(path)) == run[number + 1 :]
            continue
        # Nobody can tell what rows are whose descriptor is lost.
        kept = [run[0], run[-1]] if number == 1 else [*run[:number], *run[number + 1 :]]
        assert list(documents(path)) == list(JournalReader(path)) == kept
        tail = inspect(path)
        assert not tail.clean
        if number == len(run) - 1:
            assert (tail.offset, tail.damage) == (ends[number], ())
            assert tail.reason
            continue
        assert (tail.offset, tail.reason) == (len(whole), "")
        (damage,) = damage_of(path)
        assert (damage.offset, damage.offset + damage.size) == (ends[number], ends[number + 1])
        assert damage.rows == (4 if number == 1 else 2 if number == 2 else 0)


def test_columns_and_documents_agree_about_a_damaged_journal(tmp_path):
    records = [encode(name, doc) for name, doc in small_run()]
    path = tmp_path / "damaged.opj"
    path.write_bytes(HEADER + b"".join(records)[:-1])
    assert read_columns(path, "primary", ["x"])["x"].tolist() == [0.5, -0.0]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_byte_never_yields_a_wrong_document(tmp_path_factory, data):
    run = small_run()[:2]
    for n in range(1, 9):
        run.append(("event", {"descriptor": "d", "seq_num": n, "data": {"x": n / 3}}))
    records = [encode(name, doc) for name, doc in run]
    begin = len(HEADER + records[0])
    whole = bytearray(HEADER + b"".join(records))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(begin, len(whole) - 1))
        whole[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.opj"
    path.write_bytes(whole)
    ends = list(itertools.accumulate(map(len, records), initial=len(HEADER)))
    kept = [
        told
        for told, first, record in zip(run, ends, records, strict=False)
        if whole[first : first + len(record)] == record
    ]
    assert list(documents(path)) == (kept if run[1] in kept else kept[:1])


@pytest.mark.parametrize("last", ["event_page", "stop"])
def test_a_journal_torn_at_any_byte_of_its_last_record_keeps_every_record_before(tmp_path, last):
    run = small_run()
    if last == "stop":
        stop = {"uid": "e", "run_start": "s", "time": 9.0, "exit_status": "success"}
        run.append(("stop", stop))
    *records, torn = [encode(name, doc) for name, doc in run]
    before = HEADER + b"".join(records)
    path = tmp_path / "torn.opj"
    for cut in range(len(torn)):
        path.write_bytes(before + torn[:cut])
        reader = JournalReader(path)
        assert list(reader) == run[:-1]
        assert reader.tail.offset == len(before)
        assert reader.tail.clean == (cut == 0)
        assert inspect(path) == reader.tail
        assert close_dead_run(path)
        *kept, (name, doc) = documents(path)
        assert (kept, name, doc["exit_status"]) == (run[:-1], "stop", "fail")
    assert os.listdir(tmp_path) == [path.name]


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
    longer = bytearray(record)
    longer[1] ^= 1
    path.write_bytes(HEADER + record + longer)
    length = len(record) - RECORD.size
    told = f"a record of {length} bytes claims {length + 256}"
    assert inspect(path).reason == f"corrupt: {told}"
    (damage,) = damage_of(path)
    assert (damage.offset, damage.size, damage.reason) == (12 + len(record), len(record), told)
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
