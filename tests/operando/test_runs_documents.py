from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from operando.journal import JournalWriter
from operando.runs import Run, RunBuilder


def _columns(synthetic: Any) -> dict[str, Any]:
    return synthetic.galvanostatic(rows=40)


def test_columns_carry_names_units_and_every_row(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run()
    columns = _columns(synthetic)
    told.stream("potentiostat", "potentiostat", columns)
    told.stop()
    run = Run.from_documents(told.documents)
    stream = run.streams["potentiostat"]
    assert len(stream) == len(columns["t"])
    np.testing.assert_array_equal(stream.columns["potentiostat_t"], columns["t"])
    assert stream.units["potentiostat_current"] == "A"
    assert run.complete
    assert run.uid.startswith("7d1f0a52")


def test_rows_carry_their_own_time_and_not_their_page_s(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run()
    told.stream("potentiostat", "potentiostat", _columns(synthetic))
    time = Run.from_documents(told.documents).streams["potentiostat"].time
    np.testing.assert_array_equal(np.diff(time), 1.0)


def test_a_run_is_valid_after_every_single_document(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run(page=7)
    told.stream("potentiostat", "potentiostat", _columns(synthetic))
    told.stop()
    builder = RunBuilder()
    seen = 0
    for name, doc in told.documents:
        builder(name, doc)
        rows = sum(len(stream) for stream in builder.run.streams.values())
        assert rows >= seen
        seen = rows
    assert builder.run.complete


def test_a_view_does_not_change_when_more_documents_arrive(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run(page=7)
    told.stream("potentiostat", "potentiostat", _columns(synthetic))
    builder = RunBuilder()
    for name, doc in told.documents[:5]:
        builder(name, doc)
    before = builder.run.streams["potentiostat"]
    kept = before.columns["potentiostat_t"].copy()
    for name, doc in told.documents[5:]:
        builder(name, doc)
    np.testing.assert_array_equal(before.columns["potentiostat_t"], kept)
    assert len(builder.run.streams["potentiostat"]) > len(kept)


def test_single_events_and_pages_give_the_same_columns(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run(page=11)
    told.stream("potentiostat", "potentiostat", _columns(synthetic))
    singles = []
    for name, doc in told.documents:
        if name != "event_page":
            singles.append((name, doc))
            continue
        for row in range(len(doc["seq_num"])):
            event = {
                "uid": doc["uid"][row],
                "seq_num": doc["seq_num"][row],
                "descriptor": doc["descriptor"],
                "time": doc["time"][row],
                "data": {key: values[row] for key, values in doc["data"].items()},
                "timestamps": {key: values[row] for key, values in doc["timestamps"].items()},
            }
            singles.append(("event", event))
    one, other = Run.from_documents(singles), Run.from_documents(told.documents)
    for key, column in other.streams["potentiostat"].columns.items():
        np.testing.assert_array_equal(column, one.streams["potentiostat"].columns[key])


def _with_images(told: Any, count: int) -> NDArray[np.uint8]:
    frames = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
    told.stream("camera", "camera", {"lamp": np.ones(count)}, {"image": frames})
    return frames


def test_files_are_read_row_by_row_slice_and_from_the_end(make_run: Callable[..., Any]) -> None:
    told = make_run()
    frames = _with_images(told, 5)
    asset = Run.from_documents(told.documents).streams["camera"].asset("camera_image")
    assert len(asset) == asset.announced == 5
    np.testing.assert_array_equal(asset[1], frames[1])
    np.testing.assert_array_equal(asset[-1], frames[-1])
    np.testing.assert_array_equal(asset[1:4], frames[1:4])
    np.testing.assert_array_equal(np.stack(list(asset.rows(2))), frames[2:])
    with pytest.raises(IndexError, match="row 5 of 5"):
        asset[5]


def test_what_was_announced_but_is_not_in_the_file_does_not_count(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    told = make_run()
    _with_images(told, 5)
    with h5py.File(tmp_path / "camera-image.h5", "r+") as file:
        kept = file["entry/image"][:3]
        del file["entry/image"]
        file.create_dataset("entry/image", data=kept)
    asset = Run.from_documents(told.documents).streams["camera"].asset("camera_image")
    assert (len(asset), asset.announced) == (3, 5)


def test_what_is_in_the_file_but_was_not_announced_does_not_count(
    make_run: Callable[..., Any],
) -> None:
    told = make_run()
    _with_images(told, 5)
    documents = [
        pair
        for pair in told.documents
        if pair[0] != "stream_datum" or pair[1]["indices"]["start"] < 2
    ]
    assert len(Run.from_documents(documents).streams["camera"].asset("camera_image")) == 2


def test_a_lost_file_is_an_asset_without_rows(make_run: Callable[..., Any], tmp_path: Path) -> None:
    told = make_run()
    _with_images(told, 5)
    (tmp_path / "camera-image.h5").unlink()
    asset = Run.from_documents(told.documents).streams["camera"].asset("camera_image")
    assert len(asset) == 0
    assert list(asset) == []


def test_a_file_that_is_still_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    with h5py.File(path, "w", libver="latest") as file:
        dataset = file.create_dataset(
            "entry/image", (0, 2), maxshape=(None, 2), chunks=(1, 2), dtype="u1"
        )
        file.swmr_mode = True
        dataset.resize(3, 0)
        dataset.flush()
        builder = RunBuilder()
        builder("start", {"uid": "u", "time": 0.0})
        keys = {"camera_image": {"external": "STREAM:"}}
        builder("descriptor", {"uid": "d", "name": "camera", "data_keys": keys})
        resource = {"uri": f"file://localhost{path}", "parameters": {"dataset": "/entry/image"}}
        builder("stream_resource", {"uid": "r", "data_key": "camera_image", **resource})
        indices = {"start": 0, "stop": 2}
        builder("stream_datum", {"stream_resource": "r", "descriptor": "d", "indices": indices})
        assert len(builder.run.streams["camera"].asset("camera_image")) == 2


def test_an_unknown_asset_is_named(make_run: Callable[..., Any]) -> None:
    told = make_run()
    _with_images(told, 1)
    stream = Run.from_documents(told.documents).streams["camera"]
    with pytest.raises(KeyError, match="camera_depth"):
        stream.asset("camera_depth")


def test_a_run_read_from_its_journal_is_the_run_that_was_written(
    make_run: Callable[..., Any], synthetic: Any, tmp_path: Path
) -> None:
    told = make_run()
    told.stream("potentiostat", "potentiostat", _columns(synthetic))
    _with_images(told, 3)
    told.stop()
    writer = JournalWriter(tmp_path / "data")
    try:
        for name, doc in told.documents:
            writer(name, doc)
    finally:
        writer.close()
    direct = Run.from_documents(told.documents)
    for uid in ("last", "7d1f0a52", direct.uid):
        run = Run.from_journal(uid, tmp_path / "data")
        assert run.start == direct.start
        for name, stream in direct.streams.items():
            for key, column in stream.columns.items():
                assert column.tobytes() == run.streams[name].columns[key].tobytes()
        assert len(run.streams["camera"].asset("camera_image")) == 3


class _ColumnsInAFile:
    """The documents of a stream whose rows lie in the columns of one SWMR file."""

    def __init__(self, folder: Path, *keys: str) -> None:
        self.path = folder / "potentiostat.h5"
        self.keys = keys
        self.file = h5py.File(self.path, "w", libver="latest")
        self._datasets = {
            key: self.file.create_dataset(key, (0,), "<f8", maxshape=(None,), chunks=(16,))
            for key in keys
        }
        self.file.swmr_mode = True
        self.start = {"uid": "7d1f0a52-0000-4000-8000-000000000002", "time": 1.7e9}
        self._announced = 0

    def write(self, rows: int, *keys: str) -> None:
        """Let these columns (by default all) hold ``rows`` rows; told by `values`."""
        for key in keys or self.keys:
            dataset = self._datasets[key]
            dataset.resize(rows, axis=0)
            dataset[:] = self.values(key, rows)
            dataset.flush()

    def values(self, key: str, rows: int) -> NDArray[np.float64]:
        return np.arange(rows) + 1000.0 * self.keys.index(key)

    def opening(self) -> list[tuple[str, dict[str, Any]]]:
        key = {"source": "synthetic", "dtype": "number", "shape": [], "external": "STREAM:"}
        descriptor = {
            "uid": "d",
            "name": "potentiostat",
            "run_start": self.start["uid"],
            "time": 1.7e9,
            "data_keys": {name: {**key, "units": "s"} for name in self.keys},
            "object_keys": {"potentiostat": list(self.keys)},
            "configuration": {},
        }
        resources = [
            {
                "uid": f"r-{name}",
                "data_key": name,
                "mimetype": "application/x-hdf5",
                "uri": f"file://localhost{self.path.as_posix()}",
                "parameters": {"dataset": name, "chunk_shape": [16], "swmr": True},
                "run_start": self.start["uid"],
            }
            for name in self.keys
        ]
        return [
            ("start", self.start),
            ("descriptor", descriptor),
            *(("stream_resource", resource) for resource in resources),
        ]

    def announce(self, rows: int) -> list[tuple[str, dict[str, Any]]]:
        first, self._announced = self._announced, rows
        return [
            (
                "stream_datum",
                {
                    "uid": f"r-{name}/{first}",
                    "stream_resource": f"r-{name}",
                    "descriptor": "d",
                    "indices": {"start": first, "stop": rows},
                    "seq_nums": {"start": first + 1, "stop": rows + 1},
                },
            )
            for name in self.keys
        ]


def test_columns_in_a_file_are_ordinary_columns_that_grow_with_what_is_announced(
    tmp_path: Path,
) -> None:
    told = _ColumnsInAFile(tmp_path, "potentiostat_t", "potentiostat_potential", "time")
    builder = RunBuilder()
    for name, doc in told.opening():
        builder(name, doc)
    assert len(builder.run.streams["potentiostat"]) == 0
    seen = [0]
    for rows in (5, 30, 31):
        told.write(rows + 4)
        for name, doc in told.announce(rows):
            builder(name, doc)
            assert len(builder.run.streams["potentiostat"]) in (seen[-1], rows)
        stream = builder.run.streams["potentiostat"]
        seen.append(len(stream))
        for key in ("potentiostat_t", "potentiostat_potential"):
            np.testing.assert_array_equal(stream.columns[key], told.values(key, rows))
        np.testing.assert_array_equal(stream.time, told.values("time", rows))
        assert set(stream.columns) == {"potentiostat_t", "potentiostat_potential"}
        assert not stream.assets
    assert seen == [0, 5, 30, 31]
    assert stream.units["potentiostat_t"] == "s"


def test_columns_that_a_killed_writer_left_unequal_are_cut_to_what_was_announced(
    tmp_path: Path,
) -> None:
    told = _ColumnsInAFile(tmp_path, "potentiostat_t", "potentiostat_potential", "time")
    told.write(20)
    documents = [*told.opening(), *told.announce(20)]
    told.write(25, "potentiostat_t")
    stream = Run.from_documents(documents).streams["potentiostat"]
    assert {len(values) for values in stream.columns.values()} == {len(stream)} == {20}


def test_columns_whose_file_holds_less_than_was_announced_are_cut_to_the_shortest(
    tmp_path: Path,
) -> None:
    """A power cut may take what was flushed but not yet on the disk."""
    told = _ColumnsInAFile(tmp_path, "potentiostat_t", "potentiostat_potential", "time")
    told.write(20)
    told.write(30, "potentiostat_t", "time")
    stream = Run.from_documents([*told.opening(), *told.announce(30)]).streams["potentiostat"]
    assert {len(values) for values in stream.columns.values()} == {len(stream)} == {20}


def test_columns_whose_file_is_gone_are_empty_and_that_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = _ColumnsInAFile(tmp_path, "potentiostat_t", "time")
    told.write(20)
    told.file.close()
    told.path.unlink()
    run = Run.from_documents([*told.opening(), *told.announce(20)])
    assert len(run.streams["potentiostat"]) == 0
    assert caplog.text.count(str(told.path)) >= 1
