"""Who reads the catalog: any Python of the machine, and any time, also while a run grows."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from event_model import compose_run, compose_stream_resource

from operando.catalog import (
    ensure_service,
    read_run,
    stop_service,
    verify,
    wait_until_ingested,
    write_profile,
)
from operando.catalog._places import Places
from operando.catalog._profile import can_read_files
from operando.catalog.service import as_it_was
from operando.journal import JournalWriter
from operando.runs import Run

NUMBER = {"source": "test", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}


# -- a Python without operando

STRANGER = """
import json, sys
sys.path[:0] = sys.argv[1:2]
try:
    import operando.catalog
except ImportError:
    import databroker
else:
    raise SystemExit("operando is installed here")
from tiled.profiles import load_profiles
for asked in sys.stdin:
    load_profiles.cache_clear()
    try:
        run = databroker.catalog["operando"][sys.argv[2]]
        told = [
            run["potentiostat"]["cycle"].read().tolist(),
            float(run["potentiostat"].read()["potential"].sum()),
            run.metadata["stop"]["exit_status"],
        ]
    except FileNotFoundError as error:
        told = str(error)
    print(json.dumps(told), flush=True)
"""


@contextmanager
def stranger(record, uid):
    """Yield what reads a run in a Python that has the installed packages, and of operando nothing.

    Another one than before, which reads as often as it is asked.
    """
    # Given by hand, site-packages brings no .pth files, through which a checkout is installed.
    packages = sysconfig.get_path("purelib")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", STRANGER, packages, uid],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=record.parent,
        env={"TILED_PROFILES": os.environ["TILED_PROFILES"], "HOME": str(record.parent)},
    ) as process:

        def read():
            process.stdin.write("once more\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield read
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_python_without_operando_reads_served_unserved_and_moved_runs(record, record_run):
    uid = record_run(record, 250)
    wait_until_ingested(record, uid)
    cycles = [float(row // 100) for row in range(1, 251)]
    total = sum(row / 3 for row in range(1, 251) if row % 10 != 3)
    with stranger(record, uid) as read:
        served = read()
    found, summed, status = served
    assert (found, status) == (cycles, "success")
    assert summed == pytest.approx(total)
    stop_service(record)
    if not can_read_files():  # tiled was installed without what its server asks for
        return
    with stranger(record, uid) as read:
        assert read() == served
        moved = record.rename(record.parent / "another disk")
        assert read().startswith(f"the data folder {record} is gone, or its disk")
        # No service has seen the folder at its new place.
        write_profile(moved, name="operando")
        assert read() == served
    moved.rename(record)
    ensure_service(record, wait_s=50)
    assert verify(uid, record).same


# -- a run that grows


class Growing:
    """A run of a table, and of a camera whose frames lie in a file beside its rows."""

    def __init__(self, folder):
        self.write = JournalWriter(folder)
        self.run = compose_run()
        self.uid = self.run.start_doc["uid"]
        self.write("start", self.run.start_doc)
        self.rows = self.frames = 0
        self.leader = self.stream("potentiostat", {"potential": NUMBER, "cycle": NUMBER})
        external = {"source": "test", "external": "STREAM:", "dtype_numpy": "<f8"}
        self.camera = self.stream(
            "camera",
            {
                "image": {**external, "dtype": "array", "shape": [3, 4]},
                "vector": {**NUMBER, "dtype": "array", "shape": [2]},
                "age": NUMBER,
            },
        )
        self.burst = self.stream(
            "burst",
            {
                key: {**external, "dtype": "number", "shape": []}
                for key in ("time", "burst_potential")
            },
        )
        path = folder / "assets" / self.uid / "files.h5"
        path.parent.mkdir(parents=True)
        self.file = h5py.File(path, "w", libver="latest")
        self.sets = {
            "image": self.file.create_dataset("i", (0, 3, 4), "f8", maxshape=(None, 3, 4)),
            "time": self.file.create_dataset("t", (0,), "f8", maxshape=(None,), chunks=(64,)),
            "burst_potential": self.file.create_dataset(
                "p", (0,), "f8", maxshape=(None,), chunks=(64,)
            ),
        }
        self.file.swmr_mode = True
        self.resources = {}
        for key, dataset in self.sets.items():
            chunk = [1] if key == "image" else [64]
            resource = compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{path}",
                data_key=key,
                parameters={"dataset": dataset.name, "chunk_shape": chunk, "swmr": True},
            )
            self.resources[key] = resource
            doc = {**resource.stream_resource_doc, "run_start": self.uid}
            self.write("stream_resource", doc)

    def stream(self, name, keys):
        bundle = self.run.compose_descriptor(name=name, data_keys=keys)
        self.write("descriptor", bundle.descriptor_doc)
        return bundle

    def add_rows(self, count):
        rows = range(self.rows + 1, self.rows + count + 1)
        stamps = [1.7e9 + row for row in rows]
        data = {"potential": [row / 3 for row in rows], "cycle": [float(row) for row in rows]}
        page = self.leader.compose_event_page(
            data=data,
            timestamps=dict.fromkeys(data, stamps),
            seq_num=list(rows),
            time=stamps,
            validate=False,
        )
        self.write("event_page", page)
        self.rows += count

    def announce(self, key, stream, first, count):
        dataset = self.sets[key]
        dataset.resize(first + count, axis=0)
        rows = np.arange(first, first + count)
        dataset[first:] = rows[:, None, None] if dataset.ndim > 1 else rows / 7
        dataset.flush()
        datum = self.resources[key].compose_stream_datum(
            indices={"start": first, "stop": first + count},
            seq_nums={"start": first + 1, "stop": first + count + 1},
            descriptor=stream.descriptor_doc,
        )
        self.write("stream_datum", datum)

    def add_frame(self, *, with_row=True):
        row = self.frames
        self.announce("image", self.camera, row, 1)
        if with_row:
            data = {"age": float(row), "vector": [row, -row]}
            stamps = dict.fromkeys(data, 1.7e9 + row)
            self.write("event", self.camera.compose_event(data=data, timestamps=stamps))
        self.frames += 1

    def add_burst(self, count):
        first = self.sets["time"].shape[0]
        for key in ("time", "burst_potential"):
            self.announce(key, self.burst, first, count)

    def stop(self):
        self.write("stop", self.run.compose_stop())
        self.write.close()
        self.file.close()


@pytest.mark.long
@pytest.mark.timeout(120)
def test_reading_a_run_that_grows_never_fails(record, catalog):
    """With databroker as it is: single columns, whole streams, images, slices."""
    run = Growing(record)
    ended = threading.Event()

    def grow():
        while not ended.wait(0.1):
            run.add_rows(20)
            run.add_frame()
            run.add_burst(10)

    run.add_rows(20)
    run.add_frame()
    run.add_burst(10)
    wait_until_ingested(record, run.uid)
    thread = threading.Thread(target=grow)
    thread.start()
    lengths = []
    try:
        while len(lengths) < 2 or lengths[-1][0] == lengths[0][0]:
            node = catalog[run.uid]
            column = node["potentiostat"]["potential"].read()
            whole = node["potentiostat"].read()
            np.testing.assert_array_equal(column, np.arange(1, len(column) + 1) / 3)
            assert len(whole["cycle"]) == len(whole["potential"]) >= len(column)
            camera = node["camera"].read()
            images = node["camera"]["image"].read()
            assert images[:, 0, 0].tolist() == list(range(len(images)))
            assert node["camera"]["image"][-1][0, 0] >= len(images) - 1
            assert set(camera) >= {"image", "vector", "age"}
            burst = node["burst"].read()
            np.testing.assert_array_equal(burst["burst_potential"][:10], np.arange(10) / 7)
            parts = read_run(run.uid, record, catalog=catalog)
            assert len(parts.streams["potentiostat"]["time"]) >= len(column)
            lengths.append((len(column), len(images)))
    finally:
        ended.set()
        thread.join()
    run.stop()
    assert lengths[-1][1] > lengths[0][1]
    outcome = verify(run.uid, record, catalog=catalog)
    assert outcome.same, outcome.differences
    node = catalog[run.uid]
    whole = node["camera"].read()
    # From the stop on images and rows share the dimension, and time is a coordinate.
    assert whole["image"].dims[0] == whole["age"].dims[0] == whole["vector"].dims[0] == "time"
    burst = node["burst"].read()
    assert burst["burst_potential"].dims == ("time",)
    np.testing.assert_array_equal(burst["time"], np.arange(burst.sizes["time"]) / 7)
    written, ingested = Run.from_journal(run.uid, record), Run.from_catalog(run.uid, record)
    for name, stream in written.streams.items():
        other = ingested.streams[name]
        assert set(stream.columns) == set(other.columns)
        for key, column in stream.columns.items():
            np.testing.assert_array_equal(column, other.columns[key])
        np.testing.assert_array_equal(stream.time, other.time)


def test_a_stream_with_a_frame_more_than_rows_is_read_all_the_same(record, catalog):
    run = Growing(record)
    run.add_frame()
    run.add_frame(with_row=False)  # as a kill between the frame and its row leaves it
    run.stop()
    wait_until_ingested(record, run.uid)
    camera = catalog[run.uid]["camera"].read()
    assert (camera["image"].shape[0], camera["age"].shape[0]) == (2, 1)
    assert verify(run.uid, record, catalog=catalog).same


def test_a_column_that_begins_with_thousands_of_missing_values_is_read(record, catalog):
    run = Growing(record)
    count = 5000
    stamps = [1.7e9 + row for row in range(count)]
    values = [None] * (count - 2) + [0.5, 1.5]
    page = run.leader.compose_event_page(
        data={"potential": values, "cycle": [0.0] * count},
        timestamps={"potential": stamps, "cycle": stamps},
        seq_num=list(range(1, count + 1)),
        time=stamps,
        validate=False,
    )
    run.write("event_page", page)
    run.stop()
    wait_until_ingested(record, run.uid)
    column = catalog[run.uid]["potentiostat"]["potential"].read()
    assert column[-2:].tolist() == [0.5, 1.5]
    assert np.isnan(column[:-2]).all()
    assert verify(run.uid, record, catalog=catalog).same


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_copied_folder_serves_its_own_files(record, record_run, tmp_path):
    uid = record_run(record, 30)
    wait_until_ingested(record, uid)
    stop_service(record)
    copy = tmp_path / "copy"
    shutil.copytree(record, copy, ignore=shutil.ignore_patterns("state"))
    Places(record).tables_db.rename(Places(record).tables_db.with_suffix(".away"))
    try:
        assert verify(uid, copy).same
    finally:
        stop_service(copy)
        Places(record).tables_db.with_suffix(".away").rename(Places(record).tables_db)


@pytest.mark.parametrize(
    ("path", "query", "sent"),
    [
        ("/api/v1/array/full/a/b", "expected_shape=7,6", "expected_shape=7,6&slice=%3A7%2C%3A6"),
        (
            "/api/v1/array/block/a/b",
            "block=0&expected_shape=7",
            "block=0&expected_shape=7&slice=%3A7",
        ),
        ("/api/v1/array/full/a/b", "expected_shape=2&slice=3:5", "expected_shape=2&slice=3:5"),
        ("/api/v1/array/full/a/b", "expected_shape=scalar", "expected_shape=scalar"),
        ("/api/v1/array/full/a/b", "", ""),
        ("/api/v1/table/full/a/b", "expected_shape=7", "expected_shape=7"),
    ],
)
def test_a_whole_array_is_asked_for_by_the_rows_its_client_knows(path, query, sent):
    scope = {"type": "http", "path": path, "query_string": query.encode()}
    assert as_it_was(scope)["query_string"] == sent.encode()
