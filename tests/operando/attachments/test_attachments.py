"""What arrives after a run has ended is a run of its own, and read as part of the one it is of."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import event_model
import numpy as np
import pytest

from operando.analysis import metrics
from operando.attachments import (
    AlreadyAttachedError,
    AttachmentError,
    FileClock,
    FolderResults,
    Part,
    SourceFile,
    attach,
    attached_to,
    chromatogram_parts,
    collect,
    file_parts,
    leader_times,
)
from operando.cli import main
from operando.export import export_run
from operando.journal import (
    JournalWriter,
    attachments_of,
    chain_of,
    documents,
    journal_path,
    list_runs,
    resolve_uid,
)
from operando.replay import replay
from operando.report import report_json, text_report
from operando.runs import Run
from operando.search import find_runs, runs_table, store_metrics, stored_metrics
from techniques.injections import injection_label, labelled_injection

UID = "7d1f0a52-0000-4000-8000-000000000001"
BEGAN_S = 1.7e9
SOURCE = SourceFile.of_content("ftir.dx", b"what the instrument wrote")
Record = Callable[..., Path]


@pytest.fixture(name="record")
def _record(synthetic: Any, tmp_path: Path) -> Record:
    """Record a run with injections, of which some results have arrived; return the data folder."""

    def record(uid: str = UID, *, stop: bool = True, arrived: int = 1, **start: Any) -> Path:
        calibration = {"gas_chromatograph": {"hydrogen_area_per_mole_fraction": 6.7e6}}
        cell = {**synthetic.HALF_CELL, "headspace_ml": 5.0}
        told = synthetic.RunDocuments(tmp_path, cell, calibration, uid=uid)
        told.documents[0][1].update(
            {
                "bench": {"instruments": {"gas_chromatograph": {}, "ftir": {}}},
                "operando_version": "0",
                **start,
            }
        )
        columns = synthetic.galvanostatic((0.9, 0.95), rows=40)
        told.stream("potentiostat", "potentiostat", columns)
        numbers = np.arange(1.0, 4.0)
        told.stream(
            "gas_chromatograph",
            "gas_chromatograph",
            {
                "injection": numbers,
                "ready": [1.0, 1.0, 0.0],
                "confirmed": [1.0, 1.0, 0.0],
                "missed": [0.0, 0.0, 1.0],
                "t_before": numbers,
                "t_after": numbers + 1,
                "host_before": BEGAN_S + 100 * numbers,
                "host_after": BEGAN_S + 100 * numbers + 1,
            },
        )
        told.stream(
            "chromatogram",
            "gas_chromatograph_result",
            {
                "injection": numbers[:arrived],
                "sample_interval": [0.02] * arrived,
                "arrived": BEGAN_S + 100 * numbers[:arrived] + 50,
            },
            {"trace": np.array([_trace(100.0)] * arrived).reshape(arrived, -1)},
        )
        if stop:
            told.stop()
            told.documents[-1][1]["time"] = BEGAN_S + 1000
        with JournalWriter(tmp_path / "data") as journal:
            for name, doc in told.documents:
                journal(name, doc)
        return tmp_path / "data"

    return record


def _trace(height: float) -> Any:
    t = np.arange(8000) / 50
    return 30 + height * np.exp(-0.5 * ((t - 52.06) / 0.8) ** 2)


def _second(
    run: Run, number: int | None = 2, started: float = BEGAN_S + 200, height: float = 200.0
) -> list[Part]:
    return chromatogram_parts(
        run,
        "gas_chromatograph",
        number=number,
        started=started,
        arrived=BEGAN_S + 5 * 86400,
        sample_interval_s=0.02,
        trace=list(_trace(height)),
    )


def _attach_second(data: Path) -> str:
    run = Run.from_journal(UID, data)
    return attach(data, UID, _second(run), SOURCE, kind="chromatogram", instrument="gc")


def test_a_result_that_arrives_late_counts_as_if_it_had_arrived_within_the_run(
    record: Record,
) -> None:
    data = record()
    before = Run.from_journal(UID, data)
    kept = journal_path(data, UID).read_bytes()
    uid = _attach_second(data)
    run = Run.from_journal(UID, data)
    assert journal_path(data, UID).read_bytes() == kept
    assert len(before.streams["chromatogram"]) == 1
    stream = run.streams["chromatogram"]
    assert stream.columns["gas_chromatograph_result_injection"].tolist() == [1.0, 2.0]
    traces = stream.asset("gas_chromatograph_result_trace")
    np.testing.assert_array_equal(traces[1], _trace(200.0))
    np.testing.assert_array_equal(traces[0], _trace(100.0))
    assert stream.joints == ()
    assert run.chain == (UID,)
    assert run.start == before.start
    assert run.stop == before.stop
    assert [one["uid"] for one in run.attachments] == [uid]
    assert run.sources == (UID, uid)
    told = run.attachments[0]["attachment"]
    assert told["source"] == {"name": "ftir.dx", "size": SOURCE.size, "sha256": SOURCE.sha256}
    assert (data / "assets" / uid / "ftir.dx").read_bytes() == SOURCE.content
    # Twice the height of the other: the mean of both is one and a half times that of the first.
    name = "hydrogen_mole_fraction_ppm"
    one, two = (metrics(each)[name].value for each in (before, run))
    assert isinstance(one, list)
    assert isinstance(two, list)
    assert one[1] is None
    assert two[1] == pytest.approx(2 * two[0], rel=1e-6)


def test_the_documents_of_an_attachment_are_those_of_any_run(record: Record) -> None:
    data = record()
    uid = _attach_second(data)
    told = list(documents(journal_path(data, uid)))
    assert [name for name, _ in told] == [
        "start", "descriptor", "stream_resource", "stream_datum", "event_page", "stop"
    ]  # fmt: skip
    for name, doc in told:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    assert told[0][1]["attachment_of"] == UID


def test_a_list_counts_what_is_attached_and_does_not_list_it(record: Record) -> None:
    data = record()
    _attach_second(data)
    (found,) = find_runs(data)
    assert found.uid == UID
    assert len(found.attachments) == 1
    assert found.rows["chromatogram"] == 2
    assert "1 attached" in runs_table([found])
    assert found.as_json()["attachments"] == [*attachments_of(data, [UID])]
    assert resolve_uid(data, "last") == UID
    assert chain_of(data, UID) == (UID,)
    assert {run.attachment_of for run in list_runs(data)} == {"", UID}
    find = find_runs(data, limit=1)
    assert find.left_out == 0


def test_stored_numbers_are_made_anew_when_something_is_attached(record: Record) -> None:
    data = record()
    before = Run.from_journal(UID, data)
    assert store_metrics(data, before, metrics(before))
    assert stored_metrics(data, before) is not None
    _attach_second(data)
    run = Run.from_journal(UID, data)
    assert stored_metrics(data, run) is None
    # What was read before it was attached is not the whole any more.
    assert not store_metrics(data, before, metrics(before))
    name = "hydrogen_mole_fraction_ppm.last"
    (found,) = find_runs(data, columns=[name])
    values = metrics(run)["hydrogen_mole_fraction_ppm"].value
    assert isinstance(values, list)
    assert found.metrics[name] == pytest.approx([one for one in values if one is not None][-1])
    assert stored_metrics(data, run) == metrics(run)


def test_report_replay_and_export_follow(record: Record, tmp_path: Path) -> None:
    data = record()
    uid = _attach_second(data)
    run = Run.from_journal(UID, data)
    assert f"chromatogram from ftir.dx of gc ({uid[:8]})" in text_report(run)
    assert report_json(run)["attachments"][0]["source"]["sha256"] == SOURCE.sha256
    starts: list[str] = []
    # The years between the run and its attachment are not waited for, at any speed.
    replay(UID, data, lambda name, doc: starts.append(doc["uid"]) if name == "start" else None,
           speed=1e6)  # fmt: skip
    assert starts == [UID, uid]
    crate = tmp_path / "crate"
    export_run(UID, data, to="rocrate", output=crate)
    assert len(list(crate.rglob("*.opj"))) == 2
    export_run(UID, data, to="csv", output=tmp_path / "csv")
    told = "".join(path.read_text() for path in (tmp_path / "csv").glob("*chromatogram*.csv"))
    assert len(told.strip().splitlines()) >= 3


def test_the_command_line_shows_the_rows_of_both(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = record()
    _attach_second(data)
    monkeypatch.setenv("OPERANDO_DATA", str(data))
    assert main(["report", "last", "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert main(["replay", "last", "--json"]) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert reported == replayed
    assert len(reported["attachments"]) == 1


def test_attaching_the_same_bytes_twice_is_refused(record: Record) -> None:
    data = record()
    uid = _attach_second(data)
    with pytest.raises(AlreadyAttachedError, match=f"already, as {uid[:8]}"):
        _attach_second_again(data)
    assert len(attached_to(data, UID)) == 1


def _attach_second_again(data: Path) -> str:
    return attach(data, UID, [], SOURCE, kind="chromatogram")


def test_what_cannot_be_attached_is_refused_and_leaves_nothing(record: Record) -> None:
    data = record()
    uid = _attach_second(data)
    other = SourceFile.of_content("other", b"other")
    with pytest.raises(AttachmentError, match="is an attachment itself"):
        attach(data, uid, [], other, kind="x")
    with pytest.raises(AttachmentError, match="there is no run"):
        attach(data, UID.replace("7", "8"), [], other, kind="x")
    open_uid = UID.replace("7d", "8d")
    record(open_uid, stop=False)
    with pytest.raises(AttachmentError, match="unfinished"):
        attach(data, open_uid, [], other, kind="x")
    part = Part("x", "x", {"x_a": [object()]}, {}, [1.0])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        attach(data, UID, [part], other, kind="x")
    # The writer has ended without a stop: what it wrote of it does not count.
    assert len(attached_to(data, UID)) == 1
    assert Run.from_journal(UID, data).sources == (UID, uid)


def test_an_injection_gets_one_result_by_its_name_or_by_its_time(record: Record) -> None:
    run = Run.from_journal(UID, record())
    assert labelled_injection(f"Monday {injection_label(UID, 7)}, again") == (UID, 7)
    assert labelled_injection("injection 7") is None
    assert _second(run, number=None)[0].columns["gas_chromatograph_result_injection"] == [2.0]
    there = BEGAN_S + 101
    assert _second(run, number=None, started=there, height=100.0) == []
    with pytest.raises(AttachmentError, match="another chromatogram of injection 1 already"):
        _second(run, number=None, started=there)
    with pytest.raises(AttachmentError, match="made no injection 3"):
        _second(run, number=3)  # it was missed
    with pytest.raises(AttachmentError, match=r"the nearest is -300 s away.*clock_offset_s"):
        _second(run, number=None, started=BEGAN_S + 500)


def test_a_moment_lies_between_two_rows_of_the_leader_wider_by_what_is_not_known(
    record: Record,
) -> None:
    run = Run.from_journal(UID, record())
    own = run.streams["potentiostat"].columns["potentiostat_t"]
    host = run.streams["potentiostat"].time
    before, after = leader_times(run, [host[5] + 0.5, host[0] - 9, host[-1] + 9], 0.1)
    assert (before[0], after[0]) == (own[5], own[6])
    assert np.isnan(before[1])
    assert after[1] == own[0]
    assert before[2] == own[-1]
    assert np.isnan(after[2])
    wide_before, wide_after = leader_times(run, [host[5] + 0.5], 1.0)
    assert wide_before[0] < before[0]
    assert wide_after[0] > after[0]


def _bdf(path: Path, modified: float) -> Path:
    shutil.copy(Path(__file__).parent / "table.bdf.csv", path)
    os.utime(path, (modified, modified))
    return path


def test_files_of_a_folder_are_attached_once_and_the_unexpected_is_kept_and_told(
    record: Record, tmp_path: Path
) -> None:
    data = record()
    watched = tmp_path / "watched"
    watched.mkdir()
    place = FolderResults(watched, "ftir", pattern="*.csv", format="bdf_csv")
    _bdf(watched / "mine.csv", BEGAN_S + 500)
    strange = _bdf(watched / "strange.csv", BEGAN_S + 9e5)
    strange.write_text(strange.read_text() + "9,9,9\n")
    os.utime(strange, (BEGAN_S + 9e5, BEGAN_S + 9e5))
    (watched / "other.txt").write_text("not looked at")
    (watched / "broken.csv").write_text("no table")
    os.utime(watched / "broken.csv", (BEGAN_S, BEGAN_S))
    found, troubles = collect(data, [place])
    assert troubles == []
    outcomes = {one.name: one.outcome for one in found}
    assert outcomes == {
        "mine.csv": "attached", "strange.csv": "unexpected", "broken.csv": "unreadable"
    }  # fmt: skip
    run = Run.from_journal(UID, data)
    stream = run.streams["ftir"]
    assert stream.columns["ftir_potential_v"].tolist() == [0.1, 0.2, 0.3]
    assert stream.time[-1] == pytest.approx(BEGAN_S + 500)
    (kept,) = (data / "state" / "unexpected").iterdir()
    assert kept.read_bytes() == strange.read_bytes()
    again, _ = collect(data, [place])
    assert {one.name: one.outcome for one in again} == {
        "strange.csv": "unexpected", "broken.csv": "unreadable"
    }  # fmt: skip
    assert collect(data, [place], again=False) == ([], [])
    shutil.rmtree(data / "state")  # the memory is lost; the record is not
    once_more, _ = collect(data, [place])
    assert {one.name: one.outcome for one in once_more}["mine.csv"] == "present"
    assert len(Run.from_journal(UID, data).attachments) == 1


DEMS = "{begun}Time (s),m/z 2 (A)\n"
ROW = "{},{}e-12\n"


def _ions(path: Path, rows: int, *, begun: float | None = None, modified: float) -> Path:
    stamp = "" if begun is None else datetime.fromtimestamp(begun, UTC).isoformat()
    head = DEMS.format(begun=f"# started: {stamp}\n" if stamp else "")
    path.write_text(head + "".join(ROW.format(n, n + 1) for n in range(rows)))
    os.utime(path, (modified, modified))
    return path


@pytest.mark.parametrize("begun", [BEGAN_S + 500, None])
def test_a_file_that_goes_on_after_a_pause_takes_the_place_of_what_it_was(
    record: Record, tmp_path: Path, begun: float | None
) -> None:
    data = record()
    watched = tmp_path / "watched"
    watched.mkdir()
    place = FolderResults(watched, "ftir", stream="ions", pattern="*.csv")
    path = _ions(watched / "pauses.csv", 3, begun=begun, modified=BEGAN_S + 503)
    part = path.read_bytes()
    (first,), _ = collect(data, [place])
    before = attached_to(data, UID)[-1]
    # Without a time of its own it seems to be begun when it was written: long after the run.
    _ions(path, 9, begun=begun, modified=BEGAN_S + 9e5)
    (second,), _ = collect(data, [place])
    assert (first.outcome, second.outcome) == ("attached", "attached")
    assert f"takes the place of {before['uid'][:8]}" in second.reason
    run = Run.from_journal(UID, data)
    assert run.streams["ions"].columns["ftir_ion_current_mz2_a"] == pytest.approx(
        np.arange(1, 10) * 1e-12
    )
    (current,) = run.attachments
    assert current["attachment"]["supersedes"] == before["uid"]
    assert f"in place of {before['uid'][:8]}" in text_report(run)
    (found,) = find_runs(data)
    assert found.attachments == (current["uid"],)
    # Nothing is lost: both are there, with their bytes.
    assert [one["uid"] for one in attached_to(data, UID, superseded=True)] == [
        before["uid"],
        current["uid"],
    ]
    assert (data / "assets" / before["uid"] / "pauses.csv").read_bytes() == part
    # What it was is known also when it comes back.
    path.write_bytes(part)
    os.utime(path, (BEGAN_S + 503, BEGAN_S + 503))
    (third,), _ = collect(data, [place])
    assert third.outcome == "present"
    assert len(Run.from_journal(UID, data).attachments) == 1


def test_a_file_that_is_written_anew_in_a_later_run_is_of_that_one(
    record: Record, tmp_path: Path
) -> None:
    data = record()
    watched = tmp_path / "watched"
    watched.mkdir()
    place = FolderResults(watched, "ftir", stream="ions", pattern="*.csv")
    path = _ions(watched / "latest.csv", 3, modified=BEGAN_S + 503)
    (first,), _ = collect(data, [place])
    later = UID.replace("7d", "8d")
    told = {"uid": later, "time": BEGAN_S + 5000, "bench": {"instruments": {"ftir": {}}}}
    stop = {"uid": "s", "run_start": later, "time": BEGAN_S + 6000, "exit_status": "success"}
    with JournalWriter(data) as journal:
        journal("start", told)
        journal("stop", stop)
    _ions(path, 9, modified=BEGAN_S + 5500)
    path.write_text(path.read_text().replace("0,1e-12", "0,7e-12"))  # it does not go on
    os.utime(path, (BEGAN_S + 5500, BEGAN_S + 5500))
    (second,), _ = collect(data, [place])
    assert (first.uid, second.uid) == (UID, later)
    assert second.reason == ""
    # What goes on is of the run that it was begun in, whatever lasts meanwhile.
    path.write_text(path.read_text() + ROW.format(9, 10))
    os.utime(path, (BEGAN_S + 9e5, BEGAN_S + 9e5))
    (third,), _ = collect(data, [place])
    assert third.uid == later
    assert "takes the place of" in third.reason
    assert [len(attached_to(data, uid)) for uid in (UID, later)] == [1, 1]


def test_of_an_instrument_that_wrote_much_a_report_has_one_line(
    record: Record, tmp_path: Path
) -> None:
    data = record()
    watched = tmp_path / "watched"
    watched.mkdir()
    for number in range(5):
        began = BEGAN_S + 100 * number
        _ions(watched / f"ions-{number}.csv", 3 + number, begun=began, modified=began + 9)
    collect(data, [FolderResults(watched, "ftir", stream="ions", clock=FileClock(2.0))])
    told = [line for line in text_report(Run.from_journal(UID, data)).splitlines()
            if line.startswith("Attached")]  # fmt: skip
    assert len(told) == 1
    assert told[0].endswith("5 dems_csv, ions-0.csv to ions-4.csv of ftir, its clock +2 s")


def test_another_measurement_under_the_same_name_takes_no_place(
    record: Record, tmp_path: Path
) -> None:
    data = record()
    watched = tmp_path / "watched"
    watched.mkdir()
    place = FolderResults(watched, "ftir", stream="ions", pattern="*.csv")
    for number in (1, 2):
        began = BEGAN_S + 200 * number
        _ions(watched / "latest.csv", 2 + number, begun=began, modified=began + 9)
        (one,), _ = collect(data, [place])
        assert (one.outcome, one.reason) == ("attached", "")
    assert len(Run.from_journal(UID, data).attachments) == 2
    # In another folder it is another file.
    other = tmp_path / "other"
    other.mkdir()
    _ions(other / "latest.csv", 9, begun=began, modified=began + 9)
    (one,), _ = collect(data, [FolderResults(other, "ftir", stream="ions")])
    assert (one.outcome, one.reason) == ("attached", "")


def test_a_folder_that_is_gone_is_told_and_hides_no_other(record: Record, tmp_path: Path) -> None:
    data = record()
    watched = tmp_path / "watched"
    watched.mkdir()
    _bdf(watched / "mine.csv", BEGAN_S + 500)
    gone = FolderResults(tmp_path / "gone", "xrd")
    found, troubles = collect(data, [gone, FolderResults(watched, "ftir", format="bdf_csv")])
    assert len(troubles) == 1
    assert "xrd: cannot look into" in troubles[0]
    assert [one.outcome for one in found] == ["attached"]


def test_a_result_of_a_run_that_goes_on_waits(record: Record, tmp_path: Path) -> None:
    data = record()
    watched = tmp_path / "watched"
    watched.mkdir()
    lasting = UID.replace("7d", "9d")
    told = {"uid": lasting, "time": BEGAN_S + 5000}
    _bdf(watched / "mine.csv", BEGAN_S + 5100)
    place = FolderResults(watched, "ftir", format="bdf_csv")
    with JournalWriter(data) as journal:
        journal("start", {**told, "bench": {"instruments": {"ftir": {}}}})
        (one,), _ = collect(data, [place])
        assert (one.outcome, one.uid) == ("waiting", lasting)
        stop = {"uid": "s", "run_start": lasting, "time": BEGAN_S + 6000, "exit_status": "success"}
        journal("stop", stop)
    (one,), _ = collect(data, [place])
    assert (one.outcome, one.uid) == ("attached", lasting)


def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    place = FolderResults(watched, "ftir")
    grows = watched / "grows.csv"
    grows.write_text("begun")
    (watched / "empty.csv").touch()
    _bdf(watched / "done.csv", BEGAN_S)
    looked = place._look

    def grown() -> dict[str, str]:
        seen = looked()
        # However old it seems to be by the clock of the computer that it is written by.
        grows.write_text(grows.read_text() + "more")
        os.utime(grows, (BEGAN_S, BEGAN_S))
        return seen

    place._look = grown  # type: ignore[method-assign]
    assert place.keys().keys() == {"done.csv"}
    # What is known already is looked at once.
    looks = [{"done.csv": "8 1"}]
    place._look = looks.pop  # type: ignore[method-assign]
    assert place.keys({"done.csv": "8 1"}) == {"done.csv": "8 1"}


def test_the_declared_clock_is_taken_off_what_a_file_tells(tmp_path: Path) -> None:
    path = tmp_path / "gc.json"
    stamp = "2023-11-14T22:15:00+00:00"
    values = {"nValuesPerSecond": 50, "nValuesExpected": 2, "values": [1, 2]}
    path.write_text(json.dumps({"runTimeStamp": stamp, "detectors": {"a": values}}))
    late = file_parts(path, device="gc", clock=FileClock(3600))
    assert late.started == 1_700_000_100 - 3600
    (part,) = late.parts(Run({}, None, {}))
    assert part.arrays["gc_signal"].shape == (1, 2)


def _fusion_file(path: Path, started: float, label: str = "") -> Path:
    stamp = datetime.fromtimestamp(started, UTC).isoformat()
    values = {"nValuesPerSecond": 50, "nValuesExpected": 2, "values": [1, 2]}
    told = {"runTimeStamp": stamp, "annotations": {"name": label}, "detectors": {"a": values}}
    path.write_text(json.dumps(told))
    return path


def test_a_person_attaches_a_file_by_hand(
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = record()
    monkeypatch.setenv("OPERANDO_DATA", str(data))
    path = _bdf(tmp_path / "other-cell.bdf", BEGAN_S + 10)
    assert main(["attach", "last", str(path), "--name", "second_potentiostat"]) == 0
    assert "3 rows of second_potentiostat" in capsys.readouterr().out
    assert len(Run.from_journal(UID, data).streams["second_potentiostat"]) == 3
    assert main(["attach", "last", str(path), "--name", "second_potentiostat"]) == 2
    assert "attached to run 7d1f0a52 already" in capsys.readouterr().err
    result = _fusion_file(tmp_path / "two.json", BEGAN_S + 200)
    assert main(["attach", "last", str(result)]) == 0
    assert "1 rows of chromatogram" in capsys.readouterr().out
    assert main(["attach", "last", str(result)]) == 0
    assert "among the rows of run 7d1f0a52 already" in capsys.readouterr().out
    result = _fusion_file(tmp_path / "one.json", BEGAN_S + 100)
    assert main(["attach", "last", str(result)]) == 2
    assert "another chromatogram of injection 1 already" in capsys.readouterr().err
    result = _fusion_file(tmp_path / "two-again.json", BEGAN_S + 201)
    (two,) = (one for one in attached_to(data, UID) if one["attachment"]["kind"] == "fusion_json")
    assert main(["attach", "last", str(result), "--instead-of", two["uid"]]) == 0
    run = Run.from_journal(UID, data)
    rows = run.streams["chromatogram"].columns["gas_chromatograph_result_injection"]
    assert rows.tolist() == [1.0, 2.0]
    assert main(["attach", "last", str(tmp_path / "gone.bdf")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_name_that_a_file_carries_counts_however_it_arrives(
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = record()
    monkeypatch.setenv("OPERANDO_DATA", str(data))
    watched = tmp_path / "watched"
    watched.mkdir()
    # Its clock is wrong by years: by its time it would be of no run, or of injection 1.
    ours = _fusion_file(watched / "ours.json", BEGAN_S - 9e8, injection_label(UID, 2))
    late = file_parts(ours, device="box", format="fusion_json")
    (part,) = late.parts(Run.from_journal(UID, data))
    assert part.columns["gas_chromatograph_result_injection"] == [2.0]
    assert main(["attach", "last", str(ours)]) == 0
    strange = injection_label(UID.replace("7d", "8d"), 1)
    theirs = _fusion_file(watched / "theirs.json", BEGAN_S + 200, strange)
    assert main(["attach", "last", str(theirs)]) == 2
    assert f"says that it is injection 1 of run {strange[:36]}" in capsys.readouterr().err
    found, _ = collect(data, [FolderResults(watched, "box", format="fusion_json")])
    assert {one.name: one.outcome for one in found} == {
        "ours.json": "present", "theirs.json": "unexpected"
    }  # fmt: skip


def test_an_attachment_that_cannot_be_read_is_missing_in_a_run_that_can(record: Record) -> None:
    data = record()
    uid = _attach_second(data)
    path = journal_path(data, uid)
    size = path.stat().st_size
    assert len(find_runs(data)) == 1  # it is in the index
    path.write_bytes(b"no journal".ljust(size, b"."))
    run = Run.from_journal(UID, data)
    assert run.sources == (UID,)
    assert len(run.streams["chromatogram"]) == 1
    assert f"late results of {uid[:8]} are missing" in run.damage[0]


def test_rows_of_another_kind_are_a_stream_of_their_own(record: Record, tmp_path: Path) -> None:
    data = record()
    spectrum = (
        "##TITLE=x\n##JCAMP-DX=4.24\n##XUNITS=1/CM\n##YUNITS={}\n##FIRSTX=1\n##LASTX=2\n"
        "##XYDATA=(X++(Y..Y))\n1 {} 0.2\n##END=\n"
    )
    for number, unit in enumerate(("ABSORBANCE", "TRANSMITTANCE", "ABSORBANCE"), 1):
        path = tmp_path / f"{number}.dx"
        path.write_text(spectrum.format(unit, number / 10))
        run = Run.from_journal(UID, data)
        late = file_parts(path, device="ftir")
        attach(data, UID, late.parts(run), late.source, kind=late.kind)
    streams = Run.from_journal(UID, data).streams
    absorbance, transmittance = streams["ftir"], streams["ftir_2"]
    assert [row[0] for row in absorbance.asset("ftir_absorbance").rows()] == [0.1, 0.3]
    assert [row[0] for row in transmittance.asset("ftir_transmittance").rows()] == [0.2]
    assert (len(absorbance), len(transmittance), transmittance.name) == (2, 1, "ftir_2")
