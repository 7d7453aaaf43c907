"""Lists of runs: cheap, patient with damage, and never waiting for anybody."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from event_model import compose_run, compose_stream_resource

from operando.journal import (
    JournalError,
    JournalWriter,
    ScanNumbers,
    _index,
    _roots,
    _scan,
    chain_of,
    count_experiments,
    count_rows,
    journal_path,
    list_runs,
    resolve_uid,
    select_experiments,
    summaries,
)
from operando.journal._format import RecordReader
from operando.journal._roots import folder_of_journal
from operando.journal._scan import Scan


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


@pytest.mark.parametrize("in_bulk", [False, True])
def test_a_growing_journal_is_read_on_and_a_finished_one_not_again(tmp_path, monkeypatch, in_bulk):
    if in_bulk:
        monkeypatch.setattr(_scan, "_MUCH_BYTES", 0)
    writer = JournalWriter(tmp_path)
    run = compose_run()
    writer("start", run.start_doc)
    stream = run.compose_descriptor(
        name="primary", data_keys={"x": {"source": "t", "dtype": "number", "shape": []}}
    )
    writer("descriptor", stream.descriptor_doc)
    for expected in (1, 2, 52, 53):
        if expected == 52:
            rows = range(3, 53)
            page = stream.compose_event_page(
                data={"x": [0.0] * 50},
                timestamps={"x": [1.0] * 50},
                seq_num=list(rows),
                time=[float(row) for row in rows],
            )
            writer("event_page", page)
        else:
            event = stream.compose_event(data={"x": 0.0}, timestamps={"x": 1.0}, seq_num=expected)
            writer("event", event)
        assert list_runs(tmp_path)[0].rows == {"primary": expected}
        assert list_runs(tmp_path)[0].exit_status == "running"
    writer("stop", run.compose_stop())
    assert list_runs(tmp_path)[0].exit_status == "success"
    path = list_runs(tmp_path)[0].path
    # What is remembered is not read again: not even damage within the file is seen.
    damaged = bytearray(path.read_bytes())
    damaged[60] ^= 0xFF
    path.write_bytes(damaged)
    assert list_runs(tmp_path)[0].rows == {"primary": 53}


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


@pytest.mark.parametrize("in_bulk", [False, True])
@pytest.mark.parametrize("exit_status", ["success", "fail"])
def test_rows_in_files_are_counted_once_for_all_their_keys(
    tmp_path, monkeypatch, exit_status, in_bulk
):
    if in_bulk:
        monkeypatch.setattr(_scan, "_MUCH_BYTES", 0)
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


@pytest.mark.parametrize("version", [0, 1, 5, 99])
def test_an_index_of_another_version_is_built_anew(tmp_path, version):
    write_run(tmp_path, sample={"cell_id": "ZN-CU-7"})
    before = list_runs(tmp_path)
    assert before[0].sample == "ZN-CU-7"
    # What a version that knew no labels of cells remembered of the same journals.
    with closing(sqlite3.connect(tmp_path / "index.db")) as index, index:
        index.execute("UPDATE journals SET sample = ''")
        index.execute(f"PRAGMA user_version = {version}")
    assert list_runs(tmp_path) == before
    assert list_runs(tmp_path) == before


def test_an_index_without_the_tables_of_its_version_is_built_anew(tmp_path):
    write_run(tmp_path)
    before = list_runs(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.db")) as index, index:
        index.execute("DROP TABLE folders")
    assert list_runs(tmp_path) == before
    with closing(sqlite3.connect(tmp_path / "index.db")) as index:
        assert index.execute("SELECT count(*) FROM folders").fetchone() == (1,)


CELL = {
    "cell_id": "ZN-CU-7",
    "name": "not this",
    "working_electrode": {"material": "Cu", "coating": "Sn"},
    "counter_electrode": {"material": "Zn"},
    "electrolyte": {"composition": "2 mol/L ZnSO4", "volume_ul": 100},
}
TECHNIQUE = {
    "type": "sequence",
    "steps": [
        {"type": "open_circuit", "duration_s": 60},
        {"type": "repeat", "times": 3, "step": {"type": "galvanostatic"}},
        {"type": "open_circuit", "duration_s": 60},
    ],
}


def test_what_the_index_remembers_belongs_to_its_version(tmp_path):
    uid = "aaaa1111-0000-4000-8000-000000000000"
    write_run(
        tmp_path,
        frames=2,
        uid=uid,
        time=5.0,
        plan_name="cycling",
        protocol="zinc",
        sample=CELL,
        technique=TECHNIQUE,
        resume={"of": "bbbb", "root": "cccc"},
        replay_of="dddd",
        attachment_of="eeee",
        attachment={"supersedes": "ffff"},
    )
    list_runs(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.db")) as index:
        (version,) = index.execute("PRAGMA user_version").fetchone()
        index.row_factory = sqlite3.Row
        (row,) = index.execute("SELECT * FROM journals").fetchall()
    told = dict(row)
    assert told.pop("inode")
    assert told.pop("size") == (tmp_path / told["path"]).stat().st_size
    # If this differs, `SCHEMA` must be raised, or people keep seeing what older versions made of
    # their runs; then say here what the new version remembers.
    assert (version, told) == (
        10,
        {
            "path": f"journal/1970/01/{uid}.opj",
            "uid": uid,
            "time": 5.0,
            "scan_id": 0,  # of a RunEngine by itself, which numbers its own runs only
            "begun": 5.0,
            "plan_name": "cycling",
            "protocol": "zinc",
            "sample": "ZN-CU-7",
            "working_electrode": "Cu, Sn",
            "counter_electrode": "Zn",
            "electrolyte": "2 mol/L ZnSO4",
            "techniques": " galvanostatic open_circuit repeat sequence ",
            "resume_of": "bbbb",
            "root": "cccc",
            "replay_of": "dddd",
            "attachment_of": "eeee",
            "supersedes": "ffff",
            "exit_status": "success",
            "reason": "as planned",
            "rows": None,  # this plan counted no rows in files: they are counted when asked for
            "scan": None,
            "damage": "",
        },
    )
    (summary,) = list_runs(tmp_path)
    assert summary.rows == {"primary": 3, "camera": 2}
    count_rows(tmp_path, [summary])
    path = journal_path(tmp_path, uid)
    path.write_bytes(bytes(path.stat().st_size))  # not read again
    assert list_runs(tmp_path)[0].rows == {"primary": 3, "camera": 2}


def test_a_run_whose_protocol_was_changed_is_found_by_each_of_them(tmp_path):
    changed = {"protocol": {"name": "fast"}, "technique": {"type": "impedance_spectrum"}}
    uid = write_run(tmp_path, protocol="slow", technique=TECHNIQUE, amendments=[changed])
    (summary,) = list_runs(tmp_path)
    assert summary.protocol == "slow, then fast"
    assert "impedance_spectrum" in summary.techniques
    scan = Scan()
    scan.take("start", {"uid": uid, "time": 0.0, "protocol": "slow"})
    # A stop document tells names alone.
    told = {"amendments": [{"protocol": "fast"}, {"protocol": "slow"}], "time": 1.0}
    scan.take("stop", {"exit_status": "success", **told})
    assert scan.start["protocol"] == "slow, then fast, then slow"


def test_a_journal_that_was_put_in_place_of_another_is_read_anew(tmp_path):
    path = journal_path(tmp_path, write_run(tmp_path))
    other = journal_path(tmp_path / "other", write_run(tmp_path / "other", rows=5))
    list_runs(tmp_path)
    other.replace(path)
    assert list_runs(tmp_path)[0].rows == {"primary": 5}


def test_a_journal_that_comes_right_after_a_look_is_seen(tmp_path):
    for count in range(1, 6):
        write_run(tmp_path)
        assert len(list_runs(tmp_path)) == count


@pytest.fixture
def small_folders(monkeypatch):
    monkeypatch.setattr(_roots, "FULL", 3)


def test_a_full_folder_gets_no_more_and_its_month_goes_on_in_the_next(tmp_path, small_folders):
    written = [write_run(tmp_path, time=number + 1.0) for number in range(8)]
    january = tmp_path / "journal" / "1970"
    counts = {folder.name: len(os.listdir(folder)) for folder in january.iterdir()}
    assert counts == {"01": 3, "01-part002": 3, "01-part003": 2}
    assert [run.uid for run in list_runs(tmp_path)] == written[::-1]
    for uid in written:
        assert journal_path(tmp_path, uid).stem == uid
        assert folder_of_journal(journal_path(tmp_path, uid)) == tmp_path
    other = write_run(tmp_path, time=40 * 86400.0)
    assert journal_path(tmp_path, other).parent == january / "02"
    (january / "01-party").mkdir()  # of somebody else
    (january / "01-partner").mkdir()
    nine = write_run(tmp_path, time=9.0)
    assert journal_path(tmp_path, nine).parent == january / "01-part003"
    assert len(list_runs(tmp_path)) == 10


def test_a_uid_of_an_earlier_folder_of_the_month_is_not_new(tmp_path, small_folders):
    first, *_ = [write_run(tmp_path, time=1.0) for _ in range(4)]
    content = journal_path(tmp_path, first).read_bytes()
    with pytest.raises(JournalError, match="a run's uid must be new"):
        write_run(tmp_path, time=1.0, uid=first)
    assert journal_path(tmp_path, first).read_bytes() == content
    assert len(list_runs(tmp_path)) == 4


def test_only_the_folder_with_something_new_is_read(tmp_path, small_folders, monkeypatch):
    monkeypatch.setattr(_index, "CHANGE_STEP_NS", 20_000_000)
    for number in range(7):
        write_run(tmp_path, time=number + 1.0)
    time.sleep(0.05)
    list_runs(tmp_path)
    write_run(tmp_path, time=8.0)
    read = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: read.append(Path(path).name) or listdir(path))
    assert len(list_runs(tmp_path)) == 8
    assert read == ["01-part003"]


@pytest.fixture
def looked_at(tmp_path, monkeypatch):
    """Give a folder of two runs that was looked at long after its last change."""
    monkeypatch.setattr(_index, "CHANGE_STEP_NS", 20_000_000)
    write_run(tmp_path, time=1.0)
    write_run(tmp_path, time=2.0)
    time.sleep(0.05)
    list_runs(tmp_path)
    return tmp_path


def test_a_journal_copied_in_with_all_its_times_and_those_of_its_folder_is_seen(looked_at):
    other = journal_path(looked_at / "other", write_run(looked_at / "other"))
    month = looked_at / "journal" / "1970" / "01"
    before = month.stat()
    os.utime(other, ns=(0, 0))
    shutil.copy2(other, month)
    os.utime(month, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert month.stat().st_mtime_ns == before.st_mtime_ns
    assert other.stem in {run.uid for run in list_runs(looked_at)}
    assert len(list_runs(looked_at)) == 3


def test_a_folder_put_in_place_of_another_with_its_times_is_seen(looked_at):
    month = looked_at / "journal" / "1970" / "01"
    other = looked_at / "other" / "journal" / "1970" / "01"
    uid = write_run(looked_at / "other", time=3.0)
    before = month.stat()
    month.rename(looked_at / "aside")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(month)
    assert [run.uid for run in list_runs(looked_at)] == [uid]


def test_a_folder_that_was_moved_to_another_month_is_listed_from_there(looked_at):
    year = looked_at / "journal" / "1970"
    uids = [run.uid for run in list_runs(looked_at)]
    (year / "01").rename(year / "02")
    assert [(run.uid, run.path.parent.name) for run in list_runs(looked_at)] == [
        (uid, "02") for uid in uids
    ]


def test_a_folder_whose_last_change_lies_in_the_future_is_read_each_time(looked_at):
    month = looked_at / "journal" / "1970" / "01"
    ahead = time.time_ns() + 10**12  # a clock that was set back since
    for count in range(3, 6):
        other = looked_at / f"other-{count}"
        shutil.copy(journal_path(other, write_run(other)), month)
        os.utime(month, ns=(ahead, ahead))
        assert len(list_runs(looked_at)) == count


def test_a_month_that_is_gone_leaves_the_list(tmp_path):
    write_run(tmp_path, time=1.0)
    new = write_run(tmp_path)
    assert len(list_runs(tmp_path)) == 2
    shutil.rmtree(tmp_path / "journal" / "1970")
    assert [run.uid for run in list_runs(tmp_path)] == [new]
    assert [run.uid for run in list_runs(tmp_path)] == [new]


def test_a_stop_document_is_believed_only_if_it_ends_its_own_journal(tmp_path):
    path = journal_path(tmp_path, write_run(tmp_path))
    stranger = journal_path(tmp_path / "other", write_run(tmp_path / "other")).read_bytes()
    at = stranger.rindex(b"\x92\xa4stop") - 8
    whole = path.read_bytes()
    cut = whole[: whole.rindex(b"\x92\xa4stop") - 8]
    for content in (
        whole[:-1],  # cut within the stop document
        whole[:-1] + b"\xff",  # damaged
        cut,
        cut + stranger[at + 8 :],  # a stop document that is no record
    ):
        path.write_bytes(content)
        (tmp_path / "index.db").unlink(missing_ok=True)
        assert list_runs(tmp_path)[0].exit_status == "unfinished"
        assert list_runs(tmp_path)[0].rows == {"primary": 3}


def test_a_folder_that_cannot_be_written_is_listed_with_and_without_an_index(tmp_path):
    write_run(tmp_path)
    (tmp_path / "index.db").mkdir()  # nobody, not even root, writes a database there
    assert len(list_runs(tmp_path)) == 1
    (tmp_path / "index.db").rmdir()
    list_runs(tmp_path)
    write_run(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # others may read and not write
        assert len(list_runs(tmp_path)) == 2
        assert ScanNumbers(tmp_path).next() == 3


def test_several_programs_list_at_once(tmp_path):
    for number in range(20):
        write_run(tmp_path, time=float(number))
    code = (
        "import sys; from operando.journal import list_runs; "
        "print(all(len(list_runs(sys.argv[1])) == 20 for _ in range(20)))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["True"] * 3


def test_runs_are_numbered_over_all_programs(tmp_path):
    write_run(tmp_path)
    one = ScanNumbers(tmp_path)
    assert one.next() == 2
    write_run(tmp_path)
    other = ScanNumbers(tmp_path)
    assert [one.next(), other.next(), one.next()] == [3, 4, 5]
    (tmp_path / "index.db").unlink()
    assert [one.next(), one.next()] == [6, 7]
    assert ScanNumbers(tmp_path / "none").next() == 1


def test_a_run_and_those_that_continue_it_are_one_chain(tmp_path):
    uids = [f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abcde"]
    root, second, third, failed, alone = uids
    write_run(tmp_path, uid=root, time=1.0)
    write_run(tmp_path, uid=failed, time=2.0, resume={"of": root, "root": root})
    write_run(tmp_path, uid=second, time=3.0, resume={"of": root, "root": root})
    write_run(tmp_path, uid=third, time=4.0, resume={"of": second, "root": root})
    write_run(tmp_path, uid=alone, time=5.0)
    for uid in (root, second, third):
        assert chain_of(tmp_path, uid) == (root, second, third)
    assert chain_of(tmp_path, failed) == (root, failed)
    assert chain_of(tmp_path, alone) == (alone,)
    assert select_experiments(tmp_path) == [(alone,), (root, second, third)]
    assert select_experiments(tmp_path, "time < ?", [5.0]) == [(root, second, third)]
    assert list(summaries(tmp_path, [third, alone])) == [third, alone]
    journal_path(tmp_path, root).unlink()
    assert chain_of(tmp_path, third) == (second, third)


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


def test_what_cannot_be_read_hides_no_other_run(tmp_path, caplog):
    """A folder, a pipe, a file that may not be read: each is left out and named."""
    uid, closed = write_run(tmp_path, time=1.0), write_run(tmp_path, time=2.0)
    folder = journal_path(tmp_path, uid).parent
    (folder / "folder.opj").mkdir()
    os.mkfifo(folder / "pipe.opj")
    (folder / "nowhere.opj").symlink_to(tmp_path / "missing")
    (folder / "circle.opj").symlink_to(folder / "circle.opj")  # no user may follow that one
    journal_path(tmp_path, closed).chmod(0)
    known = {run.uid for run in list_runs(tmp_path)}
    assert known - {closed} == {uid}
    for name in ("folder.opj", "pipe.opj", "circle.opj"):
        assert name in caplog.text
    journal_path(tmp_path, closed).chmod(0o644)
    assert {run.uid for run in list_runs(tmp_path)} == {uid, closed}


def numbered_run(folder, number, time):
    """Write the run that a session begins as the number'th of its folder."""
    uid = f"{number:08d}-0000-4000-8000-{int(time):012d}"
    return write_run(folder, uid=uid, time=time, scan_id=number, operando_version="1")


@pytest.mark.parametrize("one_by_one", [False, True])
def test_the_last_run_is_the_one_begun_last_also_when_the_clock_was_set_back(tmp_path, one_by_one):
    uids = []
    for number, time_s in enumerate((1000.0, 5000.0, 2000.0, 2100.0), start=1):
        uids.append(numbered_run(tmp_path, number, time_s))
        if one_by_one:
            assert resolve_uid(tmp_path, "last") == uids[-1]
    assert [run.uid for run in list_runs(tmp_path)] == uids[::-1]
    assert select_experiments(tmp_path, limit=1) == [(uids[-1],)]
    assert [run.time for run in list_runs(tmp_path)][:2] == [2100.0, 2000.0]
    # One without a number lies where its time is.
    plain = write_run(tmp_path, time=6000.0)
    assert resolve_uid(tmp_path, "last") == plain


def test_numbers_of_folders_that_were_put_together_do_not_order_runs(tmp_path):
    newest = numbered_run(tmp_path, 1, 9000.0)
    older = [numbered_run(tmp_path, number, 1000.0 + number) for number in (1, 2, 3)]
    assert [run.uid for run in list_runs(tmp_path)] == [newest, *older[::-1]]


def test_a_plan_run_by_a_runengine_of_its_own_is_ordered_by_time(tmp_path):
    uids = [write_run(tmp_path, time=float(time), scan_id=1) for time in (10, 20)]
    newest = write_run(tmp_path, time=30.0, scan_id=1)
    later = [numbered_run(tmp_path, number, 40.0 + number) for number in (7, 8)]
    assert [run.uid for run in list_runs(tmp_path)] == [*later[::-1], newest, *uids[::-1]]


def test_a_number_is_not_given_twice_when_runs_or_the_index_are_gone(tmp_path):
    write_run(tmp_path, scan_id=41, operando_version="1")
    list_runs(tmp_path)
    assert ScanNumbers(tmp_path).next() == 42
    with closing(sqlite3.connect(tmp_path / "index.db")) as index, index:
        index.execute("PRAGMA user_version = 5")
    assert ScanNumbers(tmp_path).next() == 43
    (tmp_path / "index.db").unlink()
    list_runs(tmp_path)
    assert ScanNumbers(tmp_path).next() == 42


def test_neither_a_list_nor_a_number_reads_the_rows_of_a_run(tmp_path, monkeypatch):
    """The rows of runs without an end are counted when asked for, and a little at a time."""
    uid = write_run(tmp_path, rows=3000, stop=False)
    failed = write_run(tmp_path, rows=3000, stop=False, time=1.0)
    read = []
    plain = RecordReader.payloads

    def payloads(self):
        for end, payload in plain(self):
            read.append(end)
            yield end, payload

    monkeypatch.setattr(RecordReader, "payloads", payloads)
    assert ScanNumbers(tmp_path).next() == 3
    assert read == []
    first, second = list_runs(tmp_path)
    assert (first.uid, first.exit_status, second.uid) == (uid, "unfinished", failed)
    assert len(read) == 2  # the start documents
    assert not first.counted
    assert first.rows_so_far == {}
    seen = []
    while not first.counted:
        count_rows(tmp_path, [first], within_s=0.001)
        (first,) = summaries(tmp_path, [uid]).values()
        seen.append(first.rows_so_far.get("primary", 0))
    assert seen == sorted(seen)
    assert seen[-1] == first.rows["primary"] == 3000
    assert len(seen) > 1
    # What was counted of one that goes on is not counted again.
    with open(journal_path(tmp_path, uid), "ab") as file:
        file.write(b"\0")
    read.clear()
    count_rows(tmp_path, summaries(tmp_path, [uid]).values())
    assert len(read) == 1  # the start document


def test_a_run_whose_journal_changed_after_its_end_is_looked_at_again(tmp_path):
    uid = write_run(tmp_path)
    assert list_runs(tmp_path)[0].exit_status == "success"
    path = journal_path(tmp_path, uid)
    content = path.read_bytes()
    with open(path, "r+b") as file:  # in its place: the folder does not change
        file.truncate(len(content) - 5)
    assert list_runs(tmp_path)[0].exit_status == "unfinished"
    path.write_bytes(content)
    assert summaries(tmp_path, [uid])[uid].exit_status == "success"
    with open(path, "r+b") as file:
        file.truncate(len(content) - 5)
    with closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert summaries(tmp_path, [uid]).keys() == {uid}  # nobody waits for the index


def test_experiments_are_counted_without_being_made(tmp_path):
    uids = [f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abcdef"]
    root, failed, second, third, alone, orphan = uids
    write_run(tmp_path, uid=root, time=1.0)
    write_run(tmp_path, uid=failed, time=2.0, resume={"of": root, "root": root})
    write_run(tmp_path, uid=second, time=3.0, resume={"of": root, "root": root})
    write_run(tmp_path, uid=third, time=4.0, resume={"of": second, "root": root})
    write_run(tmp_path, uid=alone, time=5.0)
    write_run(tmp_path, uid=orphan, time=6.0, resume={"of": "gone", "root": "gone"})
    for where, values in (("TRUE", []), ("time < ?", [4.5]), ("time < ?", [2.5])):
        found = select_experiments(tmp_path, where, values)
        assert count_experiments(tmp_path, where, values) == len(found)
        assert select_experiments(tmp_path, where, values, limit=2) == found[:2]
