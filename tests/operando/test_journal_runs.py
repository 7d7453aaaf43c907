"""Lists of runs: cheap, patient with damage, and never waiting for anybody."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from event_model import compose_run, compose_stream_resource

from operando.journal import JournalWriter, journal_path, list_runs, resolve_uid


def write_run(folder, *, rows=3, stop=True, frames=0, uid=None, time=None, **md):
    writer = JournalWriter(folder)
    run = compose_run(uid=uid, time=time, metadata=md)
    writer("start", run.start_doc)
    key = {"source": "test", "dtype": "number", "shape": []}
    stream = run.compose_descriptor(name="primary", data_keys={"x": key})
    writer("descriptor", stream.descriptor_doc)
    for row in range(rows):
        writer("event", stream.compose_event(data={"x": row}, timestamps={"x": 1.0}))
    if frames:
        camera = run.compose_descriptor(
            name="camera",
            data_keys={
                "image": {"source": "t", "dtype": "array", "shape": [2, 2], "external": "STREAM:"}
            },
        )
        writer("descriptor", camera.descriptor_doc)
        bundle = compose_stream_resource(
            mimetype="application/x-hdf5", uri="file://localhost/x", data_key="image", parameters={}
        )
        writer("stream_resource", bundle.stream_resource_doc)
        datum = bundle.compose_stream_datum(
            indices={"start": 0, "stop": frames},
            seq_nums={"start": 1, "stop": frames + 1},
            descriptor=camera.descriptor_doc,
        )
        writer("stream_datum", datum)
    if stop:
        writer("stop", run.compose_stop(reason="as planned"))
    writer.close()
    return run.start_doc["uid"]


def test_runs_are_listed_newest_first_with_rows_per_stream(tmp_path):
    old = write_run(tmp_path, time=1_000_000.0, plan_name="cycling", sample="Zn-01")
    new = write_run(tmp_path, rows=7, stop=False, frames=4, sample={"name": "Zn-02", "area": 1})
    first, second = list_runs(tmp_path)
    assert (first.uid, first.sample, first.exit_status) == (new, "Zn-02", "unfinished")
    assert first.rows == {"primary": 7, "camera": 4}
    assert (second.uid, second.sample, second.plan_name) == (old, "Zn-01", "cycling")
    assert (second.exit_status, second.reason) == ("success", "as planned")
    assert second.rows == {"primary": 3}
    assert second.path == tmp_path / "journal" / "1970" / "01" / f"{old}.opj"


def test_a_growing_journal_is_read_on_and_a_finished_one_not_again(tmp_path):
    writer = JournalWriter(tmp_path)
    run = compose_run()
    writer("start", run.start_doc)
    stream = run.compose_descriptor(
        name="primary", data_keys={"x": {"source": "t", "dtype": "number", "shape": []}}
    )
    writer("descriptor", stream.descriptor_doc)
    for expected in range(1, 4):
        writer("event", stream.compose_event(data={"x": 0.0}, timestamps={"x": 1.0}))
        assert list_runs(tmp_path)[0].rows == {"primary": expected}
        assert list_runs(tmp_path)[0].exit_status == "running"
    writer("stop", run.compose_stop())
    assert list_runs(tmp_path)[0].exit_status == "success"
    path = list_runs(tmp_path)[0].path
    # What is remembered is not read again: not even damage within the file is seen.
    damaged = bytearray(path.read_bytes())
    damaged[60] ^= 0xFF
    path.write_bytes(damaged)
    assert list_runs(tmp_path)[0].rows == {"primary": 3}


def test_only_rows_that_are_present_are_listed_whatever_the_stop_claims(tmp_path):
    writer = JournalWriter(tmp_path)
    run = compose_run()
    writer("start", run.start_doc)
    key = {"source": "test", "dtype": "number", "shape": []}
    streams = {
        name: run.compose_descriptor(name=name, data_keys={name: key})
        for name in ("leader", "lost")
    }
    for stream in streams.values():
        writer("descriptor", stream.descriptor_doc)
    for number in (1, 2, 5):  # as an older version could leave it on a full disk
        event = streams["leader"].compose_event(
            data={"leader": 0.0}, timestamps={"leader": 1.0}, seq_num=number
        )
        writer("event", event)
    stop = {**run.compose_stop(exit_status="fail"), "num_events": {"leader": 1330, "lost": 4}}
    writer("stop", stop)
    (summary,) = list_runs(tmp_path)
    assert summary.rows == {"leader": 3, "lost": 0}
    assert list_runs(tmp_path)[0].rows == summary.rows


@pytest.mark.parametrize("exit_status", ["success", "fail"])
def test_rows_in_files_are_counted_once_for_all_their_keys(tmp_path, exit_status):
    with JournalWriter(tmp_path) as writer:
        run = compose_run()
        writer("start", run.start_doc)
        external = {"source": "t", "dtype": "array", "shape": [2], "external": "STREAM:"}
        keys = {"counts": external, "dark": external}
        raman = run.compose_descriptor(name="raman", data_keys=keys)
        writer("descriptor", raman.descriptor_doc)
        for key in ("counts", "dark"):
            for first in (0, 2):  # the second half of each lies in another file
                file = compose_stream_resource(
                    mimetype="application/x-hdf5",
                    uri=f"file://localhost/{key}{first}",
                    data_key=key,
                    parameters={},
                )
                writer("stream_resource", file.stream_resource_doc)
                datum = file.compose_stream_datum(
                    indices={"start": 0, "stop": 2},
                    seq_nums={"start": first + 1, "stop": first + 3},
                    descriptor=raman.descriptor_doc,
                )
                writer("stream_datum", datum)
                last = 4 if key == "dark" else first + 2
                assert list_runs(tmp_path)[0].rows == {"raman": last}
        writer("stop", run.compose_stop(exit_status=exit_status))
    (tmp_path / "index.db").unlink()
    assert list_runs(tmp_path)[0].rows == {"raman": 4}


def test_a_lost_or_damaged_index_is_built_anew(tmp_path):
    uid = write_run(tmp_path)
    before = list_runs(tmp_path)
    (tmp_path / "index.db").write_bytes(b"not a database at all" * 100)
    assert list_runs(tmp_path) == before
    (tmp_path / "index.db").unlink()
    assert list_runs(tmp_path) == before
    journal_path(tmp_path, uid).unlink()
    assert list_runs(tmp_path) == []


@pytest.mark.parametrize("version", [0, 1, 99])
def test_an_index_of_another_version_is_built_anew(tmp_path, version):
    write_run(tmp_path, sample={"cell_id": "ZN-CU-7"})
    before = list_runs(tmp_path)
    assert before[0].sample == "ZN-CU-7"
    # What a version that knew no labels of cells remembered of the same journals.
    with closing(sqlite3.connect(tmp_path / "index.db")) as index, index:
        (text,) = index.execute("SELECT scan FROM journals").fetchone()
        assert "ZN-CU-7" in text
        index.execute("UPDATE journals SET scan = ?", (text.replace("ZN-CU-7", ""),))
        index.execute(f"PRAGMA user_version = {version}")
    assert list_runs(tmp_path) == before
    assert list_runs(tmp_path) == before


def test_what_the_index_remembers_belongs_to_its_version(tmp_path):
    uid = "aaaa1111-0000-4000-8000-000000000000"
    sample = {"cell_id": "ZN-CU-7", "name": "not this"}
    write_run(tmp_path, frames=2, uid=uid, time=5.0, plan_name="cycling", sample=sample)
    list_runs(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.db")) as index:
        (version,) = index.execute("PRAGMA user_version").fetchone()
        (scan,) = index.execute("SELECT scan FROM journals").fetchone()
    told = json.loads(scan)
    for drawn in ("offset", "stream_of", "key_of", "newest"):
        assert told.pop(drawn)
    # If this differs, `_SCHEMA` must be raised, or people keep seeing what older versions made of
    # their runs; then say here what the new version remembers.
    assert (version, told) == (
        2,
        {
            "start": {"uid": uid, "time": 5.0, "plan_name": "cycling", "sample": "ZN-CU-7"},
            "stop": {"exit_status": "success", "reason": "as planned"},
            "rows": {"primary": 3, "camera": 2},
            "events": {},
            "frames": {"camera image": 2},
        },
    )


def test_a_locked_index_does_not_keep_anybody_waiting(tmp_path):
    write_run(tmp_path)
    list_runs(tmp_path)
    write_run(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert len(list_runs(tmp_path)) == 2


def test_a_foreign_file_among_the_journals_is_left_out(tmp_path, caplog):
    uid = write_run(tmp_path)
    folder = journal_path(tmp_path, uid).parent
    (folder / "copy.opj").write_text("a text somebody saved here, long enough")
    (folder / "empty.opj").touch()
    assert [run.uid for run in list_runs(tmp_path)] == [uid]
    assert "not a journal" in caplog.text


def test_an_empty_folder_has_no_runs_and_is_not_touched(tmp_path):
    assert list_runs(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert list_runs(tmp_path / "missing") == []


def test_a_uid_is_found_by_last_and_by_its_beginning(tmp_path):
    old = write_run(tmp_path, uid="aaaa1111-0000-4000-8000-000000000000", time=1.0)
    new = write_run(tmp_path, uid="aaaa2222-0000-4000-8000-000000000000", time=2.0)
    assert resolve_uid(tmp_path, "last") == new
    assert resolve_uid(tmp_path, "aaaa1") == old
    assert resolve_uid(tmp_path, old) == old
    with pytest.raises(LookupError, match="begins 2 runs"):
        resolve_uid(tmp_path, "aaaa")
    with pytest.raises(LookupError, match="the newest are aaaa2222, aaaa1111"):
        resolve_uid(tmp_path, "ffff")
    with pytest.raises(LookupError, match="holds no run yet"):
        resolve_uid(Path(tmp_path / "none"), "last")
