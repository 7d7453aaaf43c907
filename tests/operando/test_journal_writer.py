"""The writer under a real RunEngine: nothing that returned is lost, whatever happens next."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine
from event_model import compose_run, compose_stream_resource

from operando.journal import (
    JournalError,
    JournalWriter,
    documents,
    inspect,
    journal_path,
    list_runs,
    row_times,
)
from operando.journal import _open_run as open_run
from operando.journal._lock import is_locked
from operando.journal._open_run import refusal

pytestmark = pytest.mark.timeout(180)


def page(descriptor, first, count, columns=("x",)):
    """Return the documents of one event page whose values are the row numbers."""
    rows = list(range(first, first + count))
    return descriptor.compose_event_page(
        data={key: [float(row) for row in rows] for key in columns},
        timestamps={key: [1000.0 + row for row in rows] for key in columns},
        seq_num=rows,
        time=[5000.0] * count,
        validate=False,
    )


def start_run(writer, *, stream="primary", keys=("x",), **md):
    run = compose_run(metadata=md)
    writer("start", run.start_doc)
    descriptor = run.compose_descriptor(
        name=stream,
        data_keys={
            key: {"source": "test", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
            for key in keys
        },
    )
    writer("descriptor", descriptor.descriptor_doc)
    return run, descriptor


@pytest.fixture
def engine():
    run_engine = RunEngine({}, context_managers=[])
    yield run_engine
    run_engine.loop.call_soon_threadsafe(run_engine.loop.stop)
    run_engine._th.join(timeout=60)
    run_engine.loop.close()


class Counter:
    """A device of one number."""

    name = "counter"
    parent = None

    def __init__(self):
        self.value = 0.0

    def read(self):
        self.value += 1.0
        return {"counter": {"value": self.value, "timestamp": time.time()}}

    def describe(self):
        return {"counter": {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self):
        return {}

    def describe_configuration(self):
        return {}


@bpp.run_decorator(md={"sample": {"name": "Zn-07"}, "gain": np.float64(2)})
def count(device, number):
    for _ in range(number):
        yield from bps.create("primary")
        yield from bps.read(device)
        yield from bps.save()


def test_every_document_of_a_run_is_in_the_journal_in_order(tmp_path, engine):
    told = []
    with JournalWriter(tmp_path) as writer:
        engine.subscribe(writer)
        engine.subscribe(lambda name, doc: told.append((name, doc)))
        (uid,) = engine(count(Counter(), 5))
    read = list(documents(journal_path(tmp_path, uid)))
    assert [name for name, _ in read] == [name for name, _ in told]
    assert [doc["uid"] for _, doc in read] == [doc["uid"] for _, doc in told]
    assert read[0][1]["gain"] == 2.0
    assert inspect(journal_path(tmp_path, uid)).clean


def test_no_thread_runs_before_the_first_run_nor_after_the_last(tmp_path):
    before = set(threading.enumerate())
    with JournalWriter(tmp_path) as writer:
        assert set(threading.enumerate()) <= before
        run, _ = start_run(writer)
        (syncing,) = set(threading.enumerate()) - before
        assert syncing.name == "journal-sync"
        writer("stop", run.compose_stop())
        syncing.join(timeout=60)
        assert not syncing.is_alive()


def test_the_journal_is_locked_until_the_stop_document(tmp_path):
    with JournalWriter(tmp_path) as writer:
        run, _ = start_run(writer)
        path = journal_path(tmp_path, run.start_doc["uid"])
        assert is_locked(path)
        assert list_runs(tmp_path)[0].exit_status == "running"
        writer("stop", run.compose_stop())
        assert not is_locked(path)


def test_two_runs_at_once_go_to_two_journals(tmp_path):
    with JournalWriter(tmp_path) as writer:
        one, one_rows = start_run(writer, stream="one")
        two, two_rows = start_run(writer, stream="two")
        writer("event_page", page(two_rows, 1, 3))
        writer("event_page", page(one_rows, 1, 2))
        for run in (one, two):
            writer("stop", run.compose_stop())
    rows = {run.uid: run.rows for run in list_runs(tmp_path)}
    assert rows == {one.start_doc["uid"]: {"one": 2}, two.start_doc["uid"]: {"two": 3}}


def test_asset_paths_are_stored_as_a_token_and_come_back_with_the_folder(tmp_path):
    data = tmp_path / "data"
    with JournalWriter(data) as writer:
        run, _ = start_run(writer)
        for uri in (f"file://localhost{data}/assets/a.h5", "file://localhost/elsewhere/b.h5"):
            bundle = compose_stream_resource(
                mimetype="application/x-hdf5", uri=uri, data_key="image", parameters={}
            )
            writer("stream_resource", bundle.stream_resource_doc)
        writer("stop", run.compose_stop())
    uid = run.start_doc["uid"]
    assert b"file://localhost/$OPERANDO_DATA/assets/a.h5" in journal_path(data, uid).read_bytes()
    moved = data.rename(tmp_path / "moved")
    uris = [
        doc["uri"] for name, doc in documents(journal_path(moved, uid)) if name == "stream_resource"
    ]
    assert uris == [f"file://localhost{moved}/assets/a.h5", "file://localhost/elsewhere/b.h5"]
    elsewhere = [
        doc["uri"]
        for name, doc in documents(journal_path(moved, uid), expand="/other")
        if name == "stream_resource"
    ]
    assert elsewhere[0] == "file://localhost/other/assets/a.h5"


def test_metadata_that_cannot_be_stored_stops_the_plan_before_it_begins(tmp_path, engine):
    device = Counter()
    with JournalWriter(tmp_path) as writer:
        engine.subscribe(writer)
        with pytest.raises(JournalError, match="tags is a set"):
            engine(count(device, 2), tags={"a", "b"})
    assert device.value == 0.0
    assert list_runs(tmp_path) == []


def test_a_document_of_an_unknown_run_is_refused(tmp_path):
    with JournalWriter(tmp_path) as writer, JournalWriter(tmp_path / "other") as other:
        _, descriptor = start_run(other)
        with pytest.raises(JournalError, match="names no run of this writer"):
            writer("event_page", page(descriptor, 1, 1))


def test_a_row_has_the_time_it_was_measured_not_the_time_it_was_collected():
    stamps = {"a": [1.0, 2.0], "b": [1.5, 1.9]}
    assert row_times({"time": [9.0, 9.0], "timestamps": stamps}) == [1.5, 2.0]
    assert row_times({"time": [9.0, 9.0], "timestamps": {}}) == [9.0, 9.0]


KILLED = """
import os, sys, time
import bluesky.plan_stubs as bps, bluesky.preprocessors as bpp
from bluesky import RunEngine
from operando.journal import JournalWriter
class Counter:
    name = "counter"; parent = None; value = 0.0
    def read(self):
        self.value += 1.0
        return {"counter": {"value": self.value, "timestamp": time.time()}}
    def describe(self): return {"counter": {"source": "test", "dtype": "number", "shape": []}}
    def read_configuration(self): return {}
    def describe_configuration(self): return {}
@bpp.run_decorator()
def endless(device):
    while True:
        yield from bps.create("primary"); yield from bps.read(device); yield from bps.save()
def record(folder, fd):
    RE = RunEngine({}, context_managers=[])
    RE.subscribe(JournalWriter(folder))
    def tell(name, doc):  # subscribed second: what it tells, the journal has been given before
        if name == "event":
            os.write(fd, f"{doc['seq_num']}\\n".encode())
    RE.subscribe(tell)
    RE(endless(Counter()))
for folder, fd in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    if (pid := os.fork()) == 0:
        record(folder, fd)
    os.close(fd)
    print(pid, flush=True)
for _ in sys.argv[1::2]:
    os.wait()
"""


def test_every_row_whose_callback_returned_survives_kill_9(tmp_path):
    root = Path(__file__).parents[2]
    folders = [tmp_path / str(number) for number in range(5)]
    pipes = [os.pipe() for _ in folders]
    words = [str(x) for folder, (_, fd) in zip(folders, pipes, strict=True) for x in (folder, fd)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *words],
        stdout=subprocess.PIPE,
        cwd=root,
        pass_fds=[fd for _, fd in pipes],
    ) as process:
        for _, fd in pipes:
            os.close(fd)
        pids = [int(process.stdout.readline()) for _ in folders]
        files = [open(fd, "rb") for fd, _ in pipes]
        rng = np.random.default_rng(1)
        told = []
        for file, pid in zip(files, pids, strict=True):
            told.append([file.readline() for _ in range(int(rng.integers(1, 120)))])
            os.kill(pid, signal.SIGKILL)
    for folder, file, lines in zip(folders, files, told, strict=True):
        with file:
            lines += file.read().splitlines(keepends=True)
        returned = [int(line) for line in lines if line.endswith(b"\n")]
        (run,) = list_runs(folder)
        assert run.exit_status == "unfinished"
        rows = [doc for name, doc in documents(run.path) if name == "event"]
        assert [row["seq_num"] for row in rows[: len(returned)]] == returned
        assert len(rows) - len(returned) in (0, 1)
        assert [row["data"]["counter"] for row in rows] == [float(r["seq_num"]) for r in rows]


def test_a_run_left_open_at_the_end_of_the_interpreter_is_torn_not_lost(tmp_path):
    program = (
        "import sys; from event_model import compose_run; from operando.journal import *\n"
        "writer = JournalWriter(sys.argv[1]); writer('start', compose_run().start_doc)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, cwd=root, check=True
    )
    assert done.stderr == b""
    (run,) = list_runs(tmp_path)
    assert run.exit_status == "unfinished"
    assert inspect(run.path).clean


@pytest.fixture
def small_files():
    """Let no file of this process grow beyond 20 kB while the test runs: a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_the_plan_and_costs_no_row_before(tmp_path, engine, small_files):
    device = Counter()
    with JournalWriter(tmp_path, patience_s=0) as writer:
        engine.subscribe(writer)
        with pytest.raises(JournalError, match=r"did not take an? (event|stop) document.*MB free"):
            engine(count(device, 1000))
        assert engine.state == "idle"
        (run,) = list_runs(tmp_path)
        assert not is_locked(run.path)
    assert inspect(run.path).clean
    values = [doc["data"]["counter"] for name, doc in documents(run.path) if name == "event"]
    # The row that did not fit is the last one read; the run was refused right there.
    assert values == [float(n) for n in range(1, int(device.value))]
    assert len(values) > 50


def test_after_a_refused_document_only_the_end_of_the_run_is_taken(tmp_path, small_files):
    with JournalWriter(tmp_path, patience_s=0) as writer:
        run, descriptor = start_run(writer)
        writer("event_page", page(descriptor, 1, 10))
        with pytest.raises(JournalError, match="did not take an event_page document") as first:
            writer("event_page", page(descriptor, 11, 3000))
        other, rows_of_other = start_run(writer)
        late = run.compose_descriptor(
            name="late", data_keys={"y": {"source": "test", "dtype": "number", "shape": []}}
        )
        for name, document in (
            ("event_page", page(descriptor, 11, 10)),  # it would fit, and leave a hole behind it
            ("descriptor", late.descriptor_doc),
            ("event", late.compose_event(data={"y": 1.0}, timestamps={"y": 1.0})),
        ):
            with pytest.raises(JournalError) as again:
                writer(name, document)
            assert str(again.value) == str(first.value)
        # Another run has missed nothing.
        writer("event_page", page(rows_of_other, 1, 10))
        writer("stop", run.compose_stop(exit_status="fail", reason="disk full"))
        writer("stop", other.compose_stop())
    path = journal_path(tmp_path, run.start_doc["uid"])
    assert inspect(path).clean
    read = list(documents(path))
    assert [name for name, _ in read] == ["start", "descriptor", "event_page", "stop"]
    assert read[2][1]["seq_num"] == list(range(1, 11))
    assert read[3][1]["reason"] == "disk full"
    assert len(list(documents(journal_path(tmp_path, other.start_doc["uid"])))) == 4


def test_a_torn_record_that_could_not_be_cut_off_is_cut_before_the_stop(
    tmp_path, small_files, monkeypatch
):
    with JournalWriter(tmp_path, patience_s=0) as writer:
        run, descriptor = start_run(writer)
        path = journal_path(tmp_path, run.start_doc["uid"])

        def fail(fd, length):
            raise OSError(errno.EIO, "the disk fails")

        with monkeypatch.context() as patch:
            patch.setattr(os, "ftruncate", fail)
            with pytest.raises(JournalError):
                writer("event_page", page(descriptor, 1, 3000))
        assert not inspect(path).clean
        with pytest.raises(JournalError, match="did not take an event_page"):
            writer("event_page", page(descriptor, 1, 1))
        # Room is there only when the torn record is gone.
        writer("stop", run.compose_stop(exit_status="fail"))
    assert inspect(path).clean
    assert [name for name, _ in documents(path)] == ["start", "descriptor", "stop"]


class FullDisk:
    """A limit to the size of this process's files, which a test moves: a disk that is full."""

    def __init__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def leave(self, path, size):
        """Leave room for so many bytes behind the end of a file."""
        limit = path.stat().st_size + size
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, self.before[1]))

    def free(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


@pytest.fixture
def disk():
    full_disk = FullDisk()
    yield full_disk
    full_disk.free()


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lose_patience(writer, path):
    """Wait for room no longer than until now."""
    open_run = next(run for run in writer._runs.values() if run.path == path)
    open_run._patience = replace(open_run._patience, seconds=1e-3)


def row_numbers(path):
    return [
        number for name, doc in documents(path) if name == "event_page" for number in doc["seq_num"]
    ]


def test_on_a_full_disk_documents_wait_and_are_written_in_order_when_there_is_room(
    tmp_path, disk, caplog
):
    alarms = []
    with JournalWriter(tmp_path, on_alarm=alarms.append) as writer:
        run, descriptor = start_run(writer)
        path = journal_path(tmp_path, run.start_doc["uid"])
        disk.leave(path, 1000)
        for first in range(1, 101, 10):  # the first fits
            writer("event_page", page(descriptor, first, 10))
        late = run.compose_descriptor(
            name="late", data_keys={"y": {"source": "test", "dtype": "number", "shape": []}}
        )
        writer("descriptor", late.descriptor_doc)
        assert row_numbers(path) == list(range(1, 11))
        assert inspect(path).clean
        (alarm,) = alarms
        assert f"the journal {path} takes no more: File too large" in alarm
        assert "goes on for 120 s more, or until 268 MB wait" in alarm
        assert "To lose nothing, now: raise the limit of file size" in alarm
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        disk.free()
        # The writer's own thread writes them, also if nothing more comes.
        wait_for(lambda: len(alarms) == 2)
        assert "is written again: nothing that waited is lost" in alarms[1]
        writer("event_page", page(descriptor, 101, 10))
        writer("stop", run.compose_stop())
    read = list(documents(path))
    assert [name for name, _ in read[-3:]] == ["descriptor", "event_page", "stop"]
    assert row_numbers(path) == list(range(1, 111))
    assert list_runs(tmp_path)[0].exit_status == "success"


def test_an_alarm_is_repeated_and_one_that_cannot_be_shown_costs_nothing(
    tmp_path, disk, monkeypatch, caplog
):
    monkeypatch.setattr(open_run, "ALARM_EVERY_S", 0.05)

    def break_down(text):
        raise ValueError("no screen")

    with JournalWriter(tmp_path, on_alarm=break_down) as writer:
        run, descriptor = start_run(writer)
        path = journal_path(tmp_path, run.start_doc["uid"])
        disk.leave(path, 0)
        writer("event_page", page(descriptor, 1, 10))
        wait_for(lambda: caplog.text.count("takes no more") > 2)
        disk.free()
        writer("stop", run.compose_stop())
    assert "an alarm could not be shown" in caplog.text
    assert row_numbers(path) == list(range(1, 11))


@pytest.mark.parametrize("limits", [{"patience_s": 0.2}, {"patience_bytes": 5000}])
def test_when_it_takes_too_long_the_plan_stops_and_what_waited_is_still_written(
    tmp_path, disk, limits
):
    with JournalWriter(tmp_path, **limits) as writer:
        run, descriptor = start_run(writer)
        path = journal_path(tmp_path, run.start_doc["uid"])
        disk.leave(path, 0)
        numbers = iter(range(1, 2000, 10))

        def write_on():
            for first in numbers:
                writer("event_page", page(descriptor, first, 10))
                time.sleep(0.01)

        with pytest.raises(JournalError, match=r"documents of .* MB have waited .* if it comes"):
            write_on()
        taken = next(numbers) - 11
        assert taken > 0
        with pytest.raises(JournalError, match="did not take an event_page document"):
            writer("event_page", page(descriptor, taken + 11, 1))
        writer("stop", run.compose_stop(exit_status="fail", reason="disk full"))
        assert row_numbers(path) == []
        assert is_locked(path)
        disk.free()
        wait_for(lambda: not is_locked(path))
        assert row_numbers(path) == list(range(1, taken + 1))
        wait_for(lambda: "journal-sync" not in {thread.name for thread in threading.enumerate()})
    name, stop = list(documents(path))[-1]
    assert (name, stop["reason"]) == ("stop", "disk full")


def test_what_a_disk_failed_to_keep_is_written_again(tmp_path, monkeypatch):
    """A failed sync may have lost what was written since the one before."""
    alarms = []
    refused = threading.Event()

    def fail(fd):
        refused.set()
        raise OSError(errno.EIO, "the disk fails")

    with JournalWriter(tmp_path, on_alarm=alarms.append) as writer:
        run, descriptor = start_run(writer)
        path = journal_path(tmp_path, run.start_doc["uid"])
        synced = path.stat().st_size
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            for first in range(1, 101, 10):
                writer("event_page", page(descriptor, first, 10))
            refused.wait(timeout=60)
            wait_for(lambda: alarms)
            writer("event_page", page(descriptor, 101, 10))
            os.truncate(path, synced)  # what the disk makes of it
        wait_for(lambda: len(alarms) == 2)
        writer("event_page", page(descriptor, 111, 10))
        writer("stop", run.compose_stop())
    assert "takes no more: the disk fails" in alarms[0]
    assert "is written again" in alarms[1]
    assert row_numbers(path) == list(range(1, 121))
    assert inspect(path).clean
    assert list_runs(tmp_path)[0].exit_status == "success"


def test_a_start_that_the_disk_fails_to_keep_is_refused_and_leaves_no_file(tmp_path, monkeypatch):
    def fail(fd):
        raise OSError(errno.EIO, "the disk fails")

    alarms = []
    with JournalWriter(tmp_path, on_alarm=alarms.append) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            with pytest.raises(JournalError, match="did not take a start document: the disk fails"):
                start_run(writer)
        assert not list(tmp_path.rglob("*.opj"))
        assert not alarms
        start_run(writer)


def test_a_disk_that_fails_for_ever_stops_the_plan_too(tmp_path, monkeypatch):
    def fail(fd):
        raise OSError(errno.EROFS, "Read-only file system")

    with JournalWriter(tmp_path, patience_s=0.3) as writer:
        run, descriptor = start_run(writer)
        numbers = iter(range(1, 2000, 10))

        def write_on():
            for first in numbers:
                writer("event_page", page(descriptor, first, 10))
                time.sleep(0.02)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            with pytest.raises(JournalError, match=r"have waited .*the file system is read-only"):
                write_on()
    taken = next(numbers) - 11
    assert row_numbers(journal_path(tmp_path, run.start_doc["uid"])) == list(range(1, taken + 1))


@pytest.mark.parametrize("stopped", [True, False])
def test_a_disk_that_keeps_nothing_any_more_costs_no_row_that_is_in_the_file(
    tmp_path, monkeypatch, stopped
):
    def fail(fd):
        raise OSError(errno.EIO, "the disk fails")

    alarms = []
    shortest = []
    writer = JournalWriter(tmp_path, on_alarm=alarms.append)
    run, descriptor = start_run(writer)
    path = journal_path(tmp_path, run.start_doc["uid"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        for first in range(1, 51, 10):
            writer("event_page", page(descriptor, first, 10))
            assert row_numbers(path) == list(range(1, first + 10))
        wait_for(lambda: alarms)
        for first in range(51, 101, 10):
            writer("event_page", page(descriptor, first, 10))
            shortest.append(len(row_numbers(path)))
        if stopped:
            writer("stop", run.compose_stop())
        lose_patience(writer, path)
        writer.close()
    told = "10 documents with 100 rows are written, but not known to be on the disk: the disk fails"
    # What is in the file stays there all the time.
    assert min(shortest) >= 50
    assert row_numbers(path) == list(range(1, 101))
    assert told in alarms[-1]
    assert "NOT" not in alarms[-1]
    assert inspect(path).clean
    (summary,) = list_runs(tmp_path)
    assert (summary.exit_status, summary.reason) == (
        ("fail", told) if stopped else ("unfinished", "")
    )


def test_a_run_that_ends_on_a_full_disk_is_whole_as_soon_as_there_is_room(tmp_path, disk):
    writer = JournalWriter(tmp_path)
    run, descriptor = start_run(writer)
    path = journal_path(tmp_path, run.start_doc["uid"])
    disk.leave(path, 0)
    writer("event_page", page(descriptor, 1, 10))
    writer("stop", run.compose_stop())
    assert list_runs(tmp_path)[0].exit_status == "running"
    # Whoever closes the writer waits for room; every instrument is safe by then.
    closing = threading.Thread(target=writer.close)
    closing.start()
    disk.free()
    closing.join(timeout=60)
    assert not closing.is_alive()
    assert row_numbers(path) == list(range(1, 11))
    assert list_runs(tmp_path)[0].exit_status == "success"


def test_closing_tells_what_was_not_written_and_the_stop_does_not_vouch_for_it(tmp_path, disk):
    alarms = []
    with JournalWriter(tmp_path, on_alarm=alarms.append) as writer:
        run, descriptor = start_run(writer)
        path = journal_path(tmp_path, run.start_doc["uid"])
        disk.leave(path, 1000)  # room for a stop, not for a page
        for first in (1, 101):
            writer("event_page", page(descriptor, first, 100))
        writer("stop", run.compose_stop())
        lose_patience(writer, path)
    lost = "2 documents with 200 rows were NOT written: File too large"
    assert f"the journal {path} is closed, it ends as 'fail'. {lost}" in alarms[-1]
    names = [name for name, _ in documents(path)]
    assert names == ["start", "descriptor", "stop"]
    (told,) = list_runs(tmp_path)
    assert (told.exit_status, told.reason, told.rows) == ("fail", lost, {"primary": 0})
    assert not is_locked(path)


def test_the_next_run_is_refused_while_there_is_no_room(tmp_path, disk):
    with JournalWriter(tmp_path) as writer:
        run, descriptor = start_run(writer)
        path = journal_path(tmp_path, run.start_doc["uid"])
        disk.leave(path, 0)
        writer("event_page", page(descriptor, 1, 10))
        writer("stop", run.compose_stop())
        disk.leave(tmp_path / "journal", -(tmp_path / "journal").stat().st_size)
        with pytest.raises(JournalError, match="did not take a start document"):
            start_run(writer)
        disk.free()
    assert row_numbers(path) == list(range(1, 11))
    assert len(list_runs(tmp_path)) == 1


def test_a_start_that_does_not_fit_leaves_no_file(tmp_path, small_files):
    with (
        JournalWriter(tmp_path, patience_s=0) as writer,
        pytest.raises(JournalError, match="did not take a start document"),
    ):
        writer("start", compose_run(metadata={"notes": "x" * 30_000}).start_doc)
    assert not list(tmp_path.rglob("*.opj"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_the_message_says_what_to_do(tmp_path, number):
    message = str(refusal(tmp_path / "x", "event", OSError(number, "")))
    assert "OPERANDO_DATA" in message
    assert "MB free" in message


@pytest.mark.parametrize("mode", [0o500])
def test_a_folder_that_cannot_be_written_says_so(tmp_path, mode):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "journal").write_text("a file where a folder is needed")
    with (
        JournalWriter(folder) as writer,
        pytest.raises(JournalError, match="did not take a start document"),
    ):
        writer("start", compose_run().start_doc)
    assert os.listdir(folder) == ["journal"]
