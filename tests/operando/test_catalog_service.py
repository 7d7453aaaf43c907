"""The catalog through its real service: what is in the journal is in databroker, exactly once."""

import math
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from event_model import compose_run, compose_stream_resource

from operando.analysis import metrics
from operando.catalog import (
    CatalogError,
    catalog_documents,
    close_catalog,
    ensure_service,
    open_catalog,
    read_run,
    status,
    stop_service,
    verify,
    wait_until_ingested,
)
from operando.catalog._places import Places
from operando.catalog._profile import can_read_files
from operando.catalog._service import is_running
from operando.journal import JournalWriter, documents, inspect, journal_path, list_runs
from operando.report import json_report
from operando.runs import Run as ArraysOfRun

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
NUMBER = {"source": "test", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
EPOCH = 1.7e9


def number_rows(stream, first, count):
    """Return an event page of a stream of two numbers, with a NaN in every tenth row."""
    rows = list(range(first, first + count))
    stamps = [EPOCH + row / 7 for row in rows]
    return stream.compose_event_page(
        data={
            "potential": [math.nan if row % 10 == 3 else row / 3 for row in rows],
            "cycle": [float(row // 100) for row in rows],
        },
        timestamps={"potential": stamps, "cycle": stamps},
        seq_num=rows,
        time=[EPOCH + 5000] * count,
        validate=False,
    )


class Run:
    """A run being written to a journal, document by document."""

    def __init__(self, folder, **md):
        self.writer = JournalWriter(folder)
        self.folder = folder
        self.run = compose_run(metadata=md)
        self.uid = self.run.start_doc["uid"]
        self.writer("start", self.run.start_doc)
        self.rows = 0

    def stream(self, name, keys, **kwargs):
        bundle = self.run.compose_descriptor(name=name, data_keys=keys, **kwargs)
        self.writer("descriptor", bundle.descriptor_doc)
        return bundle

    def add_rows(self, stream, count, per_page=100):
        while count > 0:
            take = min(count, per_page)
            self.writer("event_page", number_rows(stream, self.rows + 1, take))
            self.rows += take
            count -= take

    def stop(self, **kwargs):
        self.writer("stop", self.run.compose_stop(**kwargs))
        self.writer.close()


def numbers(run):
    return run.stream("potentiostat", {"potential": NUMBER, "cycle": NUMBER})


class Frames:
    """A camera's file of images and spectra in SWMR mode, announced row by row."""

    def __init__(self, run, name="camera"):
        self.run = run
        self.path = run.folder / "assets" / run.uid / f"{name}-0123abcd.h5"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = h5py.File(self.path, "w", libver="latest")
        self.images = self.file.create_dataset(
            "/entry/image",
            shape=(0, 6, 8),
            maxshape=(None, 6, 8),
            dtype="u1",
            chunks=(1, 6, 8),
            **hdf5plugin.Zstd(clevel=1),
        )
        self.traces = self.file.create_dataset(
            "/entry/trace", shape=(0, 5), maxshape=(None, 5), dtype="f8", chunks=(1, 5)
        )
        self.file.swmr_mode = True
        external = {"source": "test", "dtype": "array", "external": "STREAM:"}
        self.bundle = run.stream(
            name,
            {
                f"{name}_image": {**external, "shape": [6, 8], "dtype_numpy": "|u1"},
                f"{name}_trace": {**external, "shape": [5], "dtype_numpy": "<f8"},
                f"{name}_t_before": NUMBER,
            },
        )
        self.name = name
        self.resources = []
        for key, dataset in ((f"{name}_image", "/entry/image"), (f"{name}_trace", "/entry/trace")):
            resource = compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{self.path}",
                data_key=key,
                parameters={"dataset": dataset, "chunk_shape": [1], "swmr": True},
            )
            run.writer("stream_resource", {**resource.stream_resource_doc, "run_start": run.uid})
            self.resources.append(resource)
        self.count = 0

    def add(self, count):
        for _ in range(count):
            index = self.count
            for dataset, value in ((self.images, index % 256), (self.traces, index / 3)):
                dataset.resize(index + 1, axis=0)
                dataset[index] = value
                dataset.flush()
            for resource in self.resources:
                datum = resource.compose_stream_datum(
                    indices={"start": index, "stop": index + 1},
                    seq_nums={"start": index + 1, "stop": index + 2},
                    descriptor=self.bundle.descriptor_doc,
                )
                self.run.writer("stream_datum", datum)
            key = f"{self.name}_t_before"
            event = self.bundle.compose_event(
                data={key: float(index)}, timestamps={key: EPOCH + index}
            )
            self.run.writer("event", event)
            self.count += 1


STARTED = []


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A data folder with a running catalog service and a private folder of profiles."""
    folder = tmp_path_factory.mktemp("record") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILED_PROFILES", str(folder.parent / "profiles"))
        patch.setenv("OPERANDO_DATA", str(folder))
        # Three at once, as when several programs begin together; the first test looks at them.
        starters = [
            threading.Thread(target=lambda: STARTED.append(ensure_service(folder, wait_s=50)))
            for _ in range(3)
        ]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        yield folder
        stop_service(folder)


def test_three_starters_at_once_get_one_service(record):
    assert len(STARTED) == 3
    assert all(service.ready for service in STARTED)
    assert len({(service.pid, service.uri) for service in STARTED}) == 1
    assert sum(service.started for service in STARTED) == 1
    assert not ensure_service(record).started


def test_a_finished_run_reads_back_value_for_value(record, catalog):
    run = Run(record, sample={"name": "Zn-07"}, dose=0.1, undefined=math.nan)
    stream = numbers(run)
    run.add_rows(stream, 1234)
    run.stop(reason="as planned")
    wait_until_ingested(record, run.uid)
    parts = read_run(run.uid, record, catalog=catalog)
    assert parts.start["sample"] == {"name": "Zn-07"}
    assert parts.stop["reason"] == "as planned"
    table = parts.streams["potentiostat"]
    assert table["descriptor"]["name"] == "potentiostat"
    rows = np.arange(1, 1235)
    assert table["seq_num"].tolist() == rows.tolist()
    expected = np.where(rows % 10 == 3, np.nan, rows / 3)
    np.testing.assert_array_equal(table["columns"]["potential"], expected)
    assert table["columns"]["cycle"].dtype == np.float64
    # Each row has the time it was measured at, not the time its page was collected at.
    np.testing.assert_array_equal(table["time"], EPOCH + rows / 7)
    outcome = verify(run.uid, record, catalog=catalog)
    assert outcome.same, outcome.differences
    assert outcome.rows == {"potentiostat": 1234}


def test_a_first_value_of_zero_does_not_make_a_column_of_integers(record, catalog):
    run = Run(record)
    stream = run.stream("primary", {"x": {"source": "test", "dtype": "number", "shape": []}})
    for value in (0, 0.5, -1.25):
        run.writer("event", stream.compose_event(data={"x": value}, timestamps={"x": EPOCH}))
        wait_until_ingested(record, run.uid)
    run.stop()
    wait_until_ingested(record, run.uid)
    (column,) = read_run(run.uid, record, catalog=catalog).streams["primary"]["columns"].values()
    assert column.tolist() == [0.0, 0.5, -1.25]


def test_columns_of_every_kind_come_back(record, catalog):
    keys = {
        "integer": {"source": "test", "dtype": "integer", "shape": []},
        "flag": {"source": "test", "dtype": "boolean", "shape": []},
        "text": {"source": "test", "dtype": "string", "shape": []},
        "matrix": {"source": "test", "dtype": "array", "shape": [2, 20], "dtype_numpy": "<f8"},
        "words": {"source": "test", "dtype": "array", "shape": [2], "dtype_numpy": "<U9"},
        "ragged": {"source": "test", "dtype": "array", "shape": [None], "dtype_numpy": "<f8"},
    }
    run = Run(record)
    stream = run.stream("mixed", keys)
    matrix = np.arange(40.0).reshape(2, 20)
    for row in range(3):
        data = {
            "integer": 2**40 + row,
            "flag": row == 1,
            "text": f"row {row}, größer",
            "matrix": matrix + row,
            "words": ["a", "b" * row],
            "ragged": [0.5] * row,
        }
        event = stream.compose_event(data=data, timestamps=dict.fromkeys(keys, EPOCH))
        run.writer("event", event)
        wait_until_ingested(record, run.uid)
    run.stop()
    outcome = verify(run.uid, record, catalog=catalog)
    assert outcome.same, outcome.differences
    columns = read_run(run.uid, record, catalog=catalog).streams["mixed"]["columns"]
    assert columns["integer"].tolist() == [2**40, 2**40 + 1, 2**40 + 2]
    assert columns["flag"].tolist() == [False, True, False]
    assert columns["text"].tolist() == [f"row {row}, größer" for row in range(3)]
    np.testing.assert_array_equal(columns["matrix"], [matrix, matrix + 1, matrix + 2])


def test_a_stream_without_rows_is_the_same_from_journal_and_catalog(record, catalog):
    names = ("t", "potential", "current", "cycle", "half_cycle", "step", "role", "flags")
    keys = {f"potentiostat_{name}": NUMBER for name in names}
    vector = {"source": "test", "dtype": "array", "shape": [3], "dtype_numpy": "<f8"}
    text = {"source": "test", "dtype": "string", "shape": []}
    image = {"source": "test", "dtype": "array", "shape": [6, 8], "external": "STREAM:"}
    run = Run(record, sample={"cell_id": "ZN-CU-7", "metal": "Zn"})
    run.stream("potentiostat", {**keys, "vector": vector, "text": text})
    run.stream("camera", {"camera_image": image, "camera_t_before": NUMBER})
    run.stop(exit_status="fail", reason="ended before the first row")
    wait_until_ingested(record, run.uid)
    written = ArraysOfRun.from_journal(run.uid, record)
    ingested = ArraysOfRun.from_catalog(run.uid, record)
    assert set(written.streams) == set(ingested.streams) == {"potentiostat", "camera"}
    for name, stream in written.streams.items():
        other = ingested.streams[name]
        assert len(stream) == len(other) == 0
        assert set(stream.columns) == set(other.columns)
        assert set(stream.assets) == set(other.assets)
        for key, column in stream.columns.items():
            assert column.shape == other.columns[key].shape == (0,)
            assert column.dtype == other.columns[key].dtype
        assert [len(asset) for asset in other.assets.values()] == [0] * len(other.assets)
    assert "potentiostat_t" in ingested.streams["potentiostat"].columns
    assert list(ingested.streams["camera"].assets) == ["camera_image"]
    assert json_report(written, metrics(written)) == json_report(ingested, metrics(ingested))
    assert verify(run.uid, record, catalog=catalog).same


def test_a_stream_whose_configuration_changed_is_ingested(record, catalog):
    run = Run(record)
    numbers(run)
    again = run.run.compose_descriptor(
        name="potentiostat",
        data_keys={"potential": NUMBER, "cycle": NUMBER},
        configuration={"potentiostat": {"data": {"gain": 2}, "timestamps": {}, "data_keys": {}}},
    )
    run.writer("descriptor", again.descriptor_doc)
    run.add_rows(again, 10)
    run.stop()
    outcome = verify(run.uid, record, catalog=catalog)
    assert outcome.rows == {"potentiostat": 10}
    assert outcome.same, outcome.differences
    for read in (ArraysOfRun.from_journal, ArraysOfRun.from_catalog):
        assert read(run.uid, record).streams["potentiostat"].configuration == {"gain": 2}


def test_an_experiment_of_two_runs_is_the_same_from_journal_and_catalog(record, catalog):
    first = Run(record, sample={"cell_id": "ZN-CU-7"})
    first.add_rows(numbers(first), 250)
    frames = Frames(first)
    frames.add(2)
    first.stop(exit_status="fail")
    second = Run(record, resume={"of": first.uid, "root": first.uid})
    second.add_rows(numbers(second), 120)
    frames = Frames(second)
    frames.add(3)
    second.stop()
    for uid in (first.uid, second.uid):
        wait_until_ingested(record, uid)
    written = ArraysOfRun.from_journal(first.uid, record)
    ingested = ArraysOfRun.from_catalog(second.uid[:12], record)
    assert written.chain == ingested.chain == (first.uid, second.uid)
    assert written.start == ingested.start
    for name, stream in written.streams.items():
        other = ingested.streams[name]
        assert stream.joints == other.joints == ({"potentiostat": 250, "camera": 2}[name],)
        assert stream.time.tobytes() == other.time.tobytes()
        for key, column in stream.columns.items():
            assert column.tobytes() == other.columns[key].tobytes()
        for key, asset in stream.assets.items():
            assert [frame.tolist() for frame in asset] == [
                frame.tolist() for frame in other.assets[key]
            ]
    assert json_report(written, metrics(written)) == json_report(ingested, metrics(ingested))


def test_the_documents_made_from_the_catalog_tell_the_same_run_in_the_same_order(record, catalog):
    run = Run(record)
    keys = {
        "potentiostat_cycle": NUMBER,
        "potentiostat_half_cycle": NUMBER,
        "potentiostat_role": {"source": "test", "dtype": "integer", "shape": []},
        "text": {"source": "test", "dtype": "string", "shape": []},
        "matrix": {"source": "test", "dtype": "array", "shape": [2, 20], "dtype_numpy": "<f8"},
        "ragged": {"source": "test", "dtype": "array", "shape": [None], "dtype_numpy": "<f8"},
    }
    stream = run.stream("potentiostat", keys)
    frames = Frames(run)  # a frame at EPOCH + 0, 1, 2 ...
    for row in range(8):  # rows at EPOCH + 0.25, 0.75 ...
        data = {
            "potentiostat_cycle": float(row // 4),
            "potentiostat_half_cycle": math.nan if row == 2 else float(row // 2),
            "potentiostat_role": row,
            "text": f"row {row}",
            "matrix": (np.arange(40.0).reshape(2, 20) + row).tolist(),
            "ragged": [0.5, row / 2],
        }
        stamps = dict.fromkeys(keys, EPOCH + 0.25 + row / 2)
        stamps["text"] -= 0.1
        run.writer("event", stream.compose_event(data=data, timestamps=stamps))
        if row % 2 == 0:
            frames.add(1)
    run.stop()
    wait_until_ingested(record, run.uid)
    told = list(catalog_documents(run.uid, record, catalog=catalog))
    written = list(documents(journal_path(record, run.uid)))
    for name in ("start", "descriptor", "stop"):
        assert [doc for n, doc in told if n == name] == [doc for n, doc in written if n == name]
    # A page ends where the other stream has a row, and its frames are announced before it.
    assert [
        (name, doc.get("time", doc.get("seq_nums"))) for name, doc in told if name != "stream_datum"
    ][5:-1] == [
        ("event_page", [EPOCH + at])
        if isinstance(at, int)
        else ("event_page", [EPOCH + first for first in at])
        for at in (0, (0.25, 0.75), 1, (1.25, 1.75), 2, (2.25, 2.75), 3, (3.25, 3.75))
    ]
    here, there = (ArraysOfRun.from_documents(docs).streams for docs in (written, told))
    for name in ("potentiostat", "camera"):
        np.testing.assert_array_equal(there[name].time, here[name].time)
        for key, column in here[name].columns.items():
            assert repr(there[name].columns[key].tolist()) == repr(column.tolist())
        for key, asset in here[name].assets.items():
            assert there[name].assets[key].parts == asset.parts
    pages = [doc for name, doc in told if name == "event_page" and "text" in doc["data"]]
    assert pages[0]["timestamps"]["text"] == [EPOCH + 0.15, EPOCH + 0.65]
    later = list(catalog_documents(run.uid, record, from_cycle=1, catalog=catalog))
    assert [name for name, _ in later[:3]] == ["start", "descriptor", "descriptor"]
    found = ArraysOfRun.from_documents(later).streams
    assert found["potentiostat"].columns["potentiostat_role"].tolist() == [4, 5, 6, 7]
    assert found["camera"].columns["camera_t_before"].tolist() == [3]
    with pytest.raises(LookupError, match="no cycle 2"):
        list(catalog_documents(run.uid, record, from_cycle=2, catalog=catalog))


def test_images_and_spectra_are_readable_while_the_run_lasts(record, catalog):
    run = Run(record)
    frames = Frames(run)
    frames.add(3)
    wait_until_ingested(record, run.uid)
    parts = read_run(run.uid, record, catalog=catalog)
    assert parts.stop is None
    (image,) = parts.streams["camera"]["assets"]["camera_image"]
    assert (image.path, image.dataset) == (frames.path, "/entry/image")
    assert (image.start, image.stop, image.swmr) == (0, 3, True)
    frames.add(4)
    wait_until_ingested(record, run.uid)
    stream = catalog[run.uid]["camera"]
    images = stream["camera_image"].read()
    assert images.shape == (7, 6, 8)
    assert images[:, 0, 0].tolist() == list(range(7))
    traces = stream["camera_trace"].read()
    np.testing.assert_array_equal(traces[:, 4], np.arange(7) / 3)
    run.stop()
    outcome = verify(run.uid, record, catalog=catalog)
    assert outcome.same, outcome.differences
    assert outcome.frames == {"camera.camera_image": 7, "camera.camera_trace": 7}
    frames.file.close()


@pytest.mark.long
def test_any_python_opens_the_catalog_by_its_name(record):
    run = Run(record)
    stream = numbers(run)
    run.add_rows(stream, 10)
    frames = Frames(run)
    frames.add(2)
    frames.file.close()
    run.stop()
    wait_until_ingested(record, run.uid)
    program = (
        "import sys, databroker\n"
        "run = databroker.catalog['operando'][sys.argv[1]]\n"
        "print(run['potentiostat']['potential'].read().tolist())\n"
        "print(run['camera']['camera_image'].read()[:, 0, 0].tolist())\n"
        "print(run.start['uid'], run.stop['exit_status'])\n"
    )
    read = subprocess.run(
        [sys.executable, "-c", program, run.uid],
        capture_output=True,
        text=True,
        check=True,
        cwd=record.parent,
    )
    values = [math.nan if row == 3 else row / 3 for row in range(1, 11)]
    assert read.stdout.splitlines() == [str(values), "[0, 1]", f"{run.uid} success"]


def test_profile_and_key_are_readable_by_their_owner_only(record, catalog):
    places = Places(record)
    profile = record.parent / "profiles" / "operando.yml"
    for path in (profile, places.key, places.address):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_stranger_without_the_key_is_not_let_in(record, catalog):
    import httpx

    uri = ensure_service(record).uri
    with httpx.Client(trust_env=False, timeout=60) as client:
        assert client.get(f"{uri}/api/v1/metadata/").status_code == 401
        assert client.get(f"{uri}/operando/status").status_code == 401


def test_the_service_leaves_out_what_takes_long_to_import_and_nobody_asks_for(record):
    import httpx

    service = ensure_service(record)
    assert "llvmlite" not in Path(f"/proc/{service.pid}/maps").read_text()
    with httpx.Client(trust_env=False, timeout=60, params={"api_key": service.key}) as client:
        assert client.get(f"{service.uri}/api/v1/metadata/").status_code == 200
        assert client.get(f"{service.uri}/api/graphql").status_code == 404


DYING = """
import os, signal, sys, time
from event_model import compose_run
from operando.journal import JournalWriter, journal_path
writer = JournalWriter(sys.argv[1])
run = compose_run()
writer("start", run.start_doc)
key = {"source": "test", "dtype": "number", "shape": []}
stream = run.compose_descriptor(name="primary", data_keys={"x": key})
writer("descriptor", stream.descriptor_doc)
for row in range(25):
    writer("event", stream.compose_event(data={"x": row / 4}, timestamps={"x": 1.7e9 + row}))
with open(journal_path(writer.data_dir, run.start_doc["uid"]), "ab") as torn:
    torn.write(bytes.fromhex(sys.argv[2]))
print(run.start_doc["uid"], flush=True)
time.sleep(600)
"""


def test_a_run_whose_process_was_killed_is_closed_as_failed_with_all_its_rows(record, catalog):
    with subprocess.Popen(
        [sys.executable, "-c", DYING, str(record), "400000000102030405"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as dying:
        uid = dying.stdout.readline().strip()
        give_up = time.monotonic() + 60
        while status(record).behind.get(uid) != 9:  # its torn end is never taken in
            assert dying.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.05)
        dying.kill()
    assert list_runs(record)[0].exit_status in ("unfinished", "fail")
    give_up = time.monotonic() + 60
    while (run := list_runs(record)[0]).exit_status != "fail" and time.monotonic() < give_up:
        time.sleep(0.05)
    assert (run.uid, run.exit_status, run.rows) == (uid, "fail", {"primary": 25})
    assert "the acquisition process died" in run.reason
    assert inspect(run.path).clean
    outcome = verify(uid, record, catalog=catalog)
    assert outcome.same, outcome.differences
    assert outcome.rows == {"primary": 25}
    assert read_run(uid, record, catalog=catalog).stop["num_events"] == {"primary": 25}


def test_a_run_that_cannot_be_ingested_says_why_and_keeps_nobody_out(record, catalog):
    odd = Run(record)
    stream = odd.stream("primary", {"n": {"source": "test", "dtype": "integer", "shape": []}})
    odd.writer("event", stream.compose_event(data={"n": 0.5}, timestamps={"n": EPOCH}))
    odd.stop()
    why = ""
    while "key n: declared int64, got 0.5" not in why:
        with pytest.raises(CatalogError) as refused:
            wait_until_ingested(record, odd.uid, timeout_s=1)
        why = str(refused.value)
    after = Run(record)
    after.add_rows(numbers(after), 10)
    after.stop()
    assert verify(after.uid, record, catalog=catalog).same
    told = status(record)
    assert "got 0.5" in told.errors[odd.uid]
    assert told.behind[odd.uid] > 0
    journal_path(record, odd.uid).unlink()


def test_verify_tells_a_value_that_differs(record, catalog):
    run = Run(record)
    run.add_rows(numbers(run), 10)
    run.stop()
    wait_until_ingested(record, run.uid)
    # Another journal under the same uid, as if the catalog had been tampered with.
    path = journal_path(record, run.uid)
    whole = path.read_bytes()
    path.unlink()
    other = JournalWriter(record)
    other("start", run.run.start_doc)
    stream = run.run.compose_descriptor(
        name="potentiostat", data_keys={"potential": NUMBER, "cycle": NUMBER}, validate=False
    )
    other("descriptor", stream.descriptor_doc)
    page = number_rows(stream, 1, 10)
    page["data"]["potential"][6] += 1e-12
    other("event_page", page)
    other.close()
    changed = journal_path(record, run.uid)
    outcome = verify(run.uid, record, catalog=catalog)
    changed.write_bytes(whole)
    assert not outcome.same
    assert any("potential differs from row 7 on" in told for told in outcome.differences)
    assert any("stop document differs" in told for told in outcome.differences)


def test_a_service_killed_in_the_middle_repeats_nothing_and_loses_nothing(record, catalog):
    before = ensure_service(record, wait_s=50)
    lasting = Run(record)
    lasting_rows = numbers(lasting)
    lasting.add_rows(lasting_rows, 50)
    camera = Frames(lasting)
    camera.add(3)
    wait_until_ingested(record, lasting.uid)
    small = Run(record)
    small.add_rows(numbers(small), 20)
    small.stop()
    big = Run(record)
    rows_of_big = numbers(big)
    big.add_rows(rows_of_big, 75_000, per_page=500)
    path = journal_path(record, big.uid)
    size = missing = path.stat().st_size
    give_up = time.monotonic() + 60
    while not 0 < missing < size:
        assert time.monotonic() < give_up
        if missing == 0:  # it was faster than we could look
            big.add_rows(rows_of_big, 75_000, per_page=500)
            size = path.stat().st_size
        time.sleep(0.01)
        missing = status(record).behind.get(big.uid, 0)
    os.kill(before.pid, signal.SIGKILL)
    big.stop()
    lasting.add_rows(lasting_rows, 70)
    camera.add(2)
    after = ensure_service(record, wait_s=50)
    assert after.pid != before.pid
    # What others hold of the catalog, a profile or a client, stays good.
    assert (after.uri, after.key) == (before.uri, before.key)
    lasting.add_rows(lasting_rows, 30)
    lasting.stop()
    camera.file.close()
    for run in (lasting, big, small):
        outcome = verify(run.uid, record, catalog=catalog)
        assert outcome.same, outcome.differences
        assert outcome.rows["potentiostat"] == run.rows
    assert outcome.uid not in status(record).behind


CLOSED = """
import os, sys, databroker
folder = sys.argv[1]
catalog = databroker.catalog['operando']
print(sys.argv[2] in list(catalog))
print(catalog[sys.argv[2]]['potentiostat']['cycle'].read().tolist())
os.rename(folder, folder + ' elsewhere')
try:
    databroker.catalog['operando']
except Exception as error:
    print(error)
finally:
    os.rename(folder + ' elsewhere', folder)
"""


@pytest.mark.long
def test_the_name_opens_the_catalog_without_its_service_and_says_when_it_is_gone(record, catalog):
    run = Run(record)
    run.add_rows(numbers(run), 10)
    run.stop()
    wait_until_ingested(record, run.uid)
    stop_service(record)
    profile = record.parent / "profiles" / "operando.yml"
    if not can_read_files():  # the whole of tiled is not installed: the name needs the service
        assert '"uri"' in profile.read_text()
        return
    assert '"direct"' in profile.read_text()
    read = subprocess.run(
        [sys.executable, "-c", CLOSED, str(record), run.uid],
        capture_output=True,
        text=True,
        cwd=record.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert read.returncode == 0, read.stderr
    listed, column, gone = read.stdout.splitlines()[-3:]
    assert (listed, column) == ("True", str([0.0] * 10))
    assert gone.startswith(f"the data folder {record} is gone")
    assert "operando catalog start" in gone


@pytest.mark.long
def test_a_moved_folder_is_served_from_its_new_place_until_nobody_needs_it(record, catalog):
    run = Run(record)
    run.add_rows(numbers(run), 10)
    frames = Frames(run)
    frames.add(2)
    frames.file.close()
    vector = {"source": "test", "dtype": "array", "shape": [3], "dtype_numpy": "<f8"}
    stream = run.stream("vectors", {"vector": vector})
    for row in range(3):
        event = stream.compose_event(data={"vector": [row, 0.5, 2]}, timestamps={"vector": EPOCH})
        run.writer("event", event)
    run.stop()
    wait_until_ingested(record, run.uid)
    left = ensure_service(record).pid
    moved = record.rename(record.parent / "moved here")
    try:
        give_up = time.monotonic() + 100
        while Path(f"/proc/{left}").exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        assert not record.exists()
        assert "the data folder is gone" in Places(moved).log.read_text()
        # No name is left that opens nothing.
        assert not (record.parent / "profiles" / "operando.yml").exists()
        ensure_service(moved, wait_s=100, idle_s=5.0)
        opened = open_catalog(moved)
        outcome = verify(run.uid, moved, catalog=opened)
        assert outcome.same, outcome.differences
        images = opened[run.uid]["camera"]["camera_image"].read()
        close_catalog(opened)
        assert images[:, 0, 0].tolist() == [0, 1]
        give_up = time.monotonic() + 100
        while is_running(Places(moved)) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert not is_running(Places(moved))
        assert "nobody needed the catalog" in Places(moved).log.read_text()
    finally:
        stop_service(moved)
        moved.rename(record)


ASKED_IN_A_CALLBACK = """
import os, signal, sys, time, weakref
from pathlib import Path
{at}

class Referent: pass

def in_a_callback(*args, **kwargs):
    referent = Referent()
    asked = weakref.ref(referent, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    del referent
    time.sleep(600)

{hook}
sys.exit(service.main([sys.argv[1], "--idle-s", "600"]))
"""
WHILE_STARTING = {
    "at": "from operando.catalog import service",
    "hook": "service.serve = in_a_callback",
}
BEFORE_SERVING = {
    "at": "from operando.catalog import service\nimport uvicorn",
    "hook": "\n".join(
        [
            "run, sleep = uvicorn.Server.run, time.sleep",
            "def late(*args, **kwargs):",
            "    time.sleep = lambda s: None",
            "    in_a_callback()",
            "    time.sleep = sleep",
            "    run(*args, **kwargs)",
            "uvicorn.Server.run = late",
        ]
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("when", [WHILE_STARTING, BEFORE_SERVING], ids=["importing", "serving"])
def test_a_service_that_is_asked_to_end_while_it_starts_ends(when, tmp_path):
    # What a signal's handler raises inside a weak reference's callback is swallowed.
    environment = os.environ | {
        "TILED_PROFILES": str(tmp_path / "profiles"),
        "PYTHONPATH": str(ROOT),
    }
    ended = subprocess.run(
        [sys.executable, "-c", ASKED_IN_A_CALLBACK.format(**when), str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,  # its imports alone may take half a minute
    )
    assert ended.returncode == 0, ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert not is_running(Places(tmp_path / "data"))
