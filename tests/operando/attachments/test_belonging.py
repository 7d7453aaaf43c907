"""To which run a late file belongs, and what becomes of files that are odd."""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from instruments.external.entry import ExternalEntry
from operando.attachments import (
    Collected,
    FileClock,
    FolderResults,
    SourceFile,
    _files,
    attached_to,
    collect,
    file_parts,
)
from operando.attachments import _collect as collecting
from operando.cli import main
from operando.journal import JournalWriter
from operando.late import ExternalPlace
from operando.runs import Run

A, B, C = (f"7d1f0a52-0000-4000-8000-00000000000{one}" for one in "abc")
BEGAN_S = 1.7e9
RunOf = Callable[..., Path]


@pytest.fixture(name="run_of")
def _run_of(tmp_path: Path) -> RunOf:
    """Record a run of a diffractometer from one second to another; return the data folder."""

    def record(uid: str, begin: float, end: float, *instruments: str, **start: object) -> Path:
        data = tmp_path / "data"
        told = {one: {} for one in instruments or ("xrd",)}
        run = {"uid": uid, "time": BEGAN_S + begin, "bench": {"instruments": told}, **start}
        stop = {"uid": f"{uid}-stop", "run_start": uid, "exit_status": "success"}
        with JournalWriter(data) as journal:
            journal("start", {"operando_version": "0", **run})
            journal("stop", {**stop, "time": BEGAN_S + end})
        return data

    return record


@pytest.fixture(name="place")
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderResults:
    monkeypatch.setattr(_files, "_SECOND_LOOK_S", 0.01)
    (tmp_path / "watched").mkdir()
    return FolderResults(tmp_path / "watched", "xrd", stream="xrd_data", pattern="*")


def _pattern(path: Path, modified: float, first: int = 10) -> Path:
    path.write_text("".join(f"{30 + n}.00 {first + n}\n" for n in range(20)))
    os.utime(path, (BEGAN_S + modified,) * 2)
    return path


def _ions(path: Path, begun: float, rows: int, step: float = 1.0) -> Path:
    stamp = datetime.fromtimestamp(BEGAN_S + begun, UTC).isoformat()
    table = "".join(f"{step * n},{n}e-12\n" for n in range(rows))
    path.write_text(f"# started: {stamp}\nTime (s),m/z 2 (A)\n{table}")
    return path


def _told(found: list[Collected]) -> list[tuple[str, str]]:
    return [(one.outcome, one.uid) for one in found]


def test_a_file_between_two_runs_is_given_to_neither_unless_one_alone_is_near(
    run_of: RunOf, place: FolderResults
) -> None:
    run_of(A, 0, 1000)
    data = run_of(C, 1050, 2000)
    _pattern(place.folder / "after.xy", 1001)
    (one,), _ = collect(data, [place])
    assert one.outcome == "unexpected"
    assert f"{A[:8]} (1 s away) or {C[:8]} (49 s away)" in one.reason
    _pattern(place.folder / "after.xy", 2059, first=99)
    (one,), _ = collect(data, [place])
    assert (one.outcome, one.uid) == ("attached", C)


def test_a_run_without_the_instrument_is_near_to_nothing(
    run_of: RunOf, place: FolderResults
) -> None:
    run_of(A, 0, 1000)
    data = run_of(C, 1050, 2000, "camera")
    _pattern(place.folder / "after.xy", 1001)
    assert _told(collect(data, [place])[0]) == [("attached", A)]


def test_another_measurement_of_the_same_name_and_size_is_read_and_both_are_kept(
    run_of: RunOf, place: FolderResults
) -> None:
    data = run_of(A, 0, 1000)
    path = _pattern(place.folder / "scan.xy", 100)
    assert _told(collect(data, [place])[0]) == [("attached", A)]
    size = path.stat().st_size
    _pattern(path, 500, first=70)
    assert path.stat().st_size == size
    assert _told(collect(data, [place])[0]) == [("attached", A)]
    assert collect(data, [place])[0] == []
    intensities = Run.from_journal(A, data).streams["xrd_data"].asset("xrd_intensity")
    assert [row[0] for row in intensities.rows()] == [10.0, 70.0]


def test_a_table_belongs_to_each_run_that_it_has_rows_of(
    run_of: RunOf, place: FolderResults
) -> None:
    run_of(A, 100, 200)
    run_of(B, 300, 350)
    data = run_of(C, 400, 500)
    # It records all day, from before the first run on.
    _ions(place.folder / "day.csv", 0, 36, 10.0)
    found, _ = collect(data, [place])
    assert _told(found) == [("attached", A), ("attached", B)]
    assert "one of 2" in found[0].reason
    seconds = [
        Run.from_journal(uid, data).streams["xrd_data"].columns["xrd_time_s"].tolist()
        for uid in (A, B)
    ]
    # What lies before each is its background; behind A a minute counts, which is in both.
    assert seconds[0] == [10.0 * n for n in range(27)]
    assert seconds[1] == [200.0 + 10 * n for n in range(16)]
    # It goes on: who has all its rows keeps them, who has not gets the rest.
    _ions(place.folder / "day.csv", 0, 46, 10.0)
    found, _ = collect(data, [place])
    assert _told(found) == [("present", A), ("attached", B), ("attached", C)]
    assert "takes the place of" in found[1].reason
    assert "takes the place of" not in found[2].reason
    assert len(Run.from_journal(B, data).streams["xrd_data"]) == 21
    assert collect(data, [place])[0] == []


def test_a_table_that_goes_on_behind_the_last_run_is_attached_until_a_minute_behind_it(
    run_of: RunOf, place: FolderResults
) -> None:
    data = run_of(A, 0, 100)
    outcomes = []
    for rows in (11, 14, 40, 80):
        _ions(place.folder / "day.csv", 0, rows, 10.0)
        outcomes += _told(collect(data, [place])[0])
    assert outcomes == [("attached", A)] * 3 + [("present", A)]
    assert len(Run.from_journal(A, data).streams["xrd_data"]) == 17
    # Nor does another run change what is of this one.
    run_of(B, 900, 1000)
    _ions(place.folder / "day.csv", 0, 95, 10.0)
    assert _told(collect(data, [place])[0]) == [("present", A), ("attached", B)]
    assert Run.from_journal(B, data).streams["xrd_data"].columns["xrd_time_s"][0] == 100.0


def test_the_rows_of_a_table_are_once_in_a_run_and_the_one_that_continues_it(
    run_of: RunOf, place: FolderResults
) -> None:
    run_of(A, 0, 100)
    data = run_of(B, 200, 300, resume={"of": A, "root": A}, resume_of=A)
    _ions(place.folder / "day.csv", 0, 31, 10.0)
    assert _told(collect(data, [place])[0]) == [("attached", A), ("attached", B)]
    joined = Run.from_journal(A, data).streams["xrd_data"].columns["xrd_time_s"]
    assert joined.tolist() == [10.0 * n for n in range(21)] + [200.0 + 10 * n for n in range(11)]


def test_a_clock_that_is_put_right_moves_what_was_attached(
    run_of: RunOf, place: FolderResults
) -> None:
    run_of(A, 0, 1000)
    data = run_of(C, 4000, 5000)
    _pattern(place.folder / "scan.xy", 500)
    _pattern(place.folder / "other.xy", 4700, first=30)
    assert _told(collect(data, [place])[0]) == [("attached", C), ("attached", A)]
    (first,) = attached_to(data, A)
    # The box was an hour behind, and a minute.
    put_right = FolderResults(
        place.folder, "xrd", stream="xrd_data", pattern="*", clock=FileClock(-3660.0)
    )
    found, _ = collect(data, [put_right])
    assert [one.outcome for one in found] == ["unexpected", "attached"]
    assert f"still attached to run {C[:8]}" in found[0].reason
    assert found[1].uid == C
    assert f"the place of {first['uid'][:8]}" in found[1].reason
    assert attached_to(data, A) == []
    assert len(attached_to(data, A, superseded=True)) == 1
    # Within the same run, too.
    nearly = FolderResults(
        place.folder, "xrd", stream="xrd_data", pattern="scan*", clock=FileClock(-3670.0)
    )
    (one,), _ = collect(data, [nearly])
    assert (one.outcome, one.uid) == ("attached", C)
    assert "which was placed or read in another way" in one.reason
    current = [one["attachment"]["clock_offset_s"] for one in attached_to(data, C)]
    assert sorted(current) == [-3670.0, 0.0]


def test_one_odd_file_keeps_no_other_from_its_run(
    run_of: RunOf, place: FolderResults, caplog: pytest.LogCaptureFixture
) -> None:
    data = run_of(A, 0, 1000)
    _pattern(place.folder / "b.xy", 500)
    odd = _pattern(place.folder / "a.xy", 500, first=50)
    fetch = place.fetch

    def failing(key: str) -> object:
        if key == odd.name:
            raise OSError("the share is gone")
        return fetch(key)

    place.fetch = failing  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.ERROR):
        found, _ = collect(data, [place])
    assert [(one.name, one.outcome) for one in found] == [
        ("a.xy", "unreadable"),
        ("b.xy", "attached"),
    ]
    assert "the share is gone" in found[0].reason
    assert "a.xy" in caplog.text
    # The other is remembered; this one is tried again, also by who does not ask.
    place.fetch = fetch  # type: ignore[method-assign]
    assert [one.name for one in collect(data, [place], again=False)[0]] == ["a.xy"]


def test_what_was_settled_is_remembered_when_the_looking_is_interrupted(
    run_of: RunOf, place: FolderResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = run_of(A, 0, 1000)
    _pattern(place.folder / "a.xy", 500)
    _pattern(place.folder / "b.xy", 510, first=40)
    collected = collecting._collected

    def interrupted(*args: object) -> list[Collected]:
        if args[2] == "b.xy":
            raise KeyboardInterrupt
        return collected(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(collecting, "_collected", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(data, [place])
    (known,) = json.loads((data / "state" / "attachments.json").read_text()).values()
    assert list(known) == ["a.xy"]


def test_a_link_to_nowhere_hides_no_other_file(run_of: RunOf, place: FolderResults) -> None:
    data = run_of(A, 0, 1000)
    _pattern(place.folder / "b.xy", 500)
    (place.folder / "a.xy").symlink_to("/nowhere")
    (place.folder / "c.xy").symlink_to("c.xy")
    found, troubles = collect(data, [place])
    assert troubles == []
    assert _told(found) == [("attached", A)]


def test_the_clock_of_who_dates_the_files_is_taken_off(tmp_path: Path) -> None:
    path = _pattern(tmp_path / "scan.xy", 3600)
    box = file_parts(path, device="xrd", clock=FileClock(3600, duration_s=600))
    assert box.started == BEGAN_S - 600
    here = FileClock(3600, files_dated_by="computer")
    late = file_parts(path, device="xrd", clock=here)
    assert late.started == BEGAN_S + 3600
    assert "by this computer's clock" in late.told["time_from"]
    assert "how long it took was not declared" in late.told["time_from"]


def test_whose_clock_dates_a_folder_is_asked_where_it_matters(
    run_of: RunOf, place: FolderResults
) -> None:
    data = run_of(A, 0, 1000)
    _pattern(place.folder / "scan.xy", 500)
    ahead = FolderResults(place.folder, "xrd", stream="xrd_data", clock=FileClock(3600.0))
    (one,), _ = collect(data, [ahead])
    assert one.outcome == "unexpected"
    assert f"by this computer's it is of run {A[:8]}" in one.reason
    clock = FileClock(3600.0, files_dated_by="computer")
    here = FolderResults(place.folder, "xrd", stream="xrd_data", clock=clock)
    assert _told(collect(data, [here])[0]) == [("attached", A)]


def test_a_measurement_that_lasts_lies_between_the_rows_around_all_of_it(
    tmp_path: Path, synthetic: Any
) -> None:
    told = synthetic.RunDocuments(tmp_path, synthetic.HALF_CELL)
    seconds = [10.0 * n for n in range(50)]
    told.stream("potentiostat", "potentiostat", {"t": seconds})
    told.stop()
    run = Run.from_documents(told.documents)
    page = run.streams["potentiostat"].time
    path = _pattern(tmp_path / "scan.xy", 0)
    os.utime(path, (page[40], page[40]))
    late = file_parts(path, device="xrd", clock=FileClock(duration_s=20.0, uncertainty_s=0.5))
    (part,) = late.parts(run)
    assert part.columns["xrd_t_before"] == [190.0]
    assert part.columns["xrd_t_after"] == [410.0]


@pytest.mark.parametrize(
    ("stamp", "zone", "expected", "by"),
    [
        ("2023-11-14T22:13:20+00:00", "Europe/Berlin", BEGAN_S, "the file"),
        ("2023-11-14 23:13:20 +0100", "UTC", BEGAN_S, "the file"),
        ("2023-11-14 22:13:20 UTC", "Europe/Berlin", BEGAN_S, "the file"),
        ("2023-11-14T23:13:20", "Europe/Berlin", BEGAN_S, "taken as Europe/Berlin"),
        ("2023-06-14T23:13:20", "Europe/Berlin", 1686777200.0, "taken as Europe/Berlin"),
        ("2023-10-29T02:30:00", "Europe/Berlin", 1698539400.0, "that hour twice"),
        ("2023-11-14T22:13:20", None, BEGAN_S, "the zone of this computer"),
        ("14.11.2023 22:13", "UTC", BEGAN_S + 5, "'14.11.2023 22:13', which it tells"),
        ("2023-11-14", "UTC", BEGAN_S + 5, "which it tells, is no time"),
    ],
)
def test_a_time_without_a_zone_is_of_the_declared_one(
    tmp_path: Path, stamp: str, zone: str | None, expected: float, by: str
) -> None:
    path = tmp_path / "wave.csv"
    path.write_text(f"# started: {stamp}\nTime (us),Amplitude (mV)\n0,1\n1,2\n")
    os.utime(path, (BEGAN_S + 5,) * 2)
    late = file_parts(path, device="us", clock=FileClock(time_zone=zone))
    local = datetime.fromtimestamp(expected).replace(tzinfo=UTC).timestamp() - expected
    assert late.started == expected - (local if zone is None else 0)
    assert by in late.told["time_from"]


def test_what_is_copied_is_what_was_read(tmp_path: Path) -> None:
    path = _pattern(tmp_path / "scan.xy", 0)
    source = SourceFile.of(path)
    read = path.read_bytes()
    path.write_bytes(read + b"99.0 1\n")
    source.copy_to(tmp_path / "kept" / "scan.xy")
    assert (tmp_path / "kept" / "scan.xy").read_bytes() == read
    assert (tmp_path / "kept" / "scan.xy").stat().st_mtime == BEGAN_S


def test_a_file_of_another_time_is_attached_by_hand_only_when_asked_twice(
    run_of: RunOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = run_of(A, 0, 1000)
    monkeypatch.setenv("OPERANDO_DATA", str(data))
    path = _ions(tmp_path / "late.csv", 4600, 3)
    command = ["attach", "last", str(path), "--name", "ms"]
    assert main(command) == 1
    assert f"3600 s away from run {A[:8]}" in capsys.readouterr().err
    assert attached_to(data, A) == []
    assert main([*command, "--anyway"]) == 0
    (first,) = attached_to(data, A)
    assert main([*command, "--clock-offset", "3700"]) == 0
    assert f"in place of {first['uid'][:8]}" in capsys.readouterr().out
    (second,) = attached_to(data, A)
    assert second["attachment"]["supersedes"] == first["uid"]
    run_of(C, 4600, 5000)
    last = ["attach", C, str(path), "--name", "ms", "--instead-of", second["uid"]]
    assert main([*last[:-1], A]) == 2
    assert "is no attachment whose place" in capsys.readouterr().err
    assert main(last) == 0
    assert attached_to(data, A) == []
    assert main(["attach", "last", str(path), "--time-zone", "Mars/Base"]) == 1
    assert "no time zone 'Mars/Base'" in capsys.readouterr().err


def test_what_a_person_attached_in_another_way_stays(
    run_of: RunOf, place: FolderResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = run_of(A, 0, 1000)
    monkeypatch.setenv("OPERANDO_DATA", str(data))
    path = _pattern(place.folder / "scan.xy", 500)
    assert main(["attach", "last", str(path), "--name", "xrd", "--clock-offset", "30"]) == 0
    assert _told(collect(data, [place])[0]) == [("present", A)]
    (one,) = attached_to(data, A)
    assert one["attachment"]["clock_offset_s"] == 30.0


def test_a_table_without_a_finite_time_is_begun_when_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ions.csv"
    path.write_text("Time (s),m/z 2 (A)\n,1e-9\n,2e-9\n")
    os.utime(path, (BEGAN_S,) * 2)
    late = file_parts(path, device="ms")
    assert (late.started, late.ended) == (BEGAN_S, BEGAN_S)


def test_what_a_bench_declares_of_a_box_is_how_its_files_are_read(tmp_path: Path) -> None:
    entry = {"kind": "external", "language": "folder", "address": f"folder://{tmp_path}"}
    declared = {"time_zone": "Europe/Berlin", "duration_s": 60.0, "wavelength_angstrom": 1.5418}
    place = ExternalPlace("xrd", ExternalEntry.model_validate({**entry, **declared}))
    assert declared.items() <= place.declared.items()
    path = tmp_path / "scan.xy"
    path.write_text("# date: 2023-11-14 23:13:20\n30.0 1\n31.0 2\n")
    late = place.fetch("scan.xy")
    assert late.started == BEGAN_S
    (part,) = late.parts(Run({}, None, {}))
    assert part.configuration["xrd_wavelength_angstrom"] == 1.5418
    assert part.stream == "xrd_data"
    with pytest.raises(ValidationError, match="'Berlin' is no zone of the tz database"):
        ExternalEntry.model_validate({**entry, "time_zone": "Berlin"})
