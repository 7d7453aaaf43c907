"""A journal that cannot be read whole: told wherever its numbers are, and never taken for whole."""

import datetime
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from operando import cli
from operando.analysis import metrics
from operando.analysis.metrics import half_cycles_of
from operando.journal import JournalWriter, journal_path, list_runs
from operando.runs import Run
from operando.search import find_runs, store_metrics, stored_metrics

ROWS = 10
Recorded = Callable[..., str]


@pytest.fixture(name="data")
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture(name="recorded")
def _recorded(data: Path, synthetic: Any, tmp_path: Path) -> Recorded:
    """Record three cycles in pages of ten rows, with a camera if asked for."""
    count = 0

    def record(*, camera: bool = False, **start: Any) -> str:
        nonlocal count
        count += 1
        folder = tmp_path / f"files{count}"
        folder.mkdir()
        told = synthetic.RunDocuments(folder, synthetic.HALF_CELL, page=ROWS)
        uid = f"{count:08d}-0000-4000-8000-000000000000"
        told.documents[0][1].update({"uid": uid, "time": 1.7e9 + count, **start})
        columns = synthetic.galvanostatic((0.9, 0.95, 0.99), rows=40)
        told.stream("potentiostat", "potentiostat", columns)
        if camera:
            images = np.arange(30.0)[:, None, None] * np.ones((1, 2, 2))
            times = {name: np.arange(30.0) for name in ("t_before", "t_after", "number")}
            told.stream("camera", "camera", times, assets={"image": images})
        told.stop()
        stop = told.documents[-1][1]
        stop["num_events"] = {"potentiostat": len(columns["t"])} | (
            {"camera": 30} if camera else {}
        )
        with JournalWriter(data) as journal:
            for name, doc in told.documents:
                journal(name, doc)
        return uid

    return record


def _records(path: Path) -> list[tuple[int, int, str]]:
    """Return begin, end and name of the document of each record."""
    content, at, found = path.read_bytes(), 12, []
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        name, _ = msgpack.unpackb(content[at + 8 : at + 8 + length], strict_map_key=False)
        found.append((at, at + 8 + length, name))
        at += 8 + length
    return found


def _flip(path: Path, name: str, which: int) -> None:
    """Turn over one bit in the payload of one record of a kind; its size stays."""
    begin, end, _ = [one for one in _records(path) if one[2] == name][which]
    with open(path, "r+b") as file:
        file.seek((begin + 8 + end) // 2)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0x10]))


def test_the_rows_of_a_damaged_page_are_told_with_their_bytes_and_times(
    recorded: Recorded, data: Path
) -> None:
    uid = recorded()
    path = journal_path(data, uid)
    whole = Run.from_journal(uid, data)
    assert (whole.damage, whole.notes) == ((), ())
    begin = [one for one in _records(path) if one[2] == "event_page"][3][0]
    _flip(path, "event_page", 3)
    run = Run.from_journal(uid, data)
    stream = run.streams["potentiostat"]
    assert len(stream) == len(whole.streams["potentiostat"]) - ROWS
    assert stream.holes == (3 * ROWS,)
    assert run.notes == run.damage
    assert f"from byte {begin} on are damaged" in run.damage[0]
    assert run.damage[1] == (f"10 rows of potentiostat are missing between {_at(29)} and {_at(40)}")


def test_a_report_warns_of_damage_once_however_often_the_journal_is_read(
    recorded: Recorded, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uid = recorded()
    _flip(journal_path(data, uid), "event_page", 3)
    _flip(journal_path(data, uid), "event_page", 5)
    caplog.clear()
    assert cli.main(["report", uid]) == cli.FAILED
    warned = [one.message for one in caplog.records if "are damaged" in one.message]
    assert len(warned) == len(set(warned)) == 2


def _at(row: int) -> str:
    told = datetime.datetime.fromtimestamp(1.7e9 + row, datetime.UTC)
    return told.isoformat(timespec="milliseconds")


def test_a_half_cycle_that_lacks_rows_at_its_end_counts_in_no_efficiency(
    recorded: Recorded, data: Path
) -> None:
    uid = recorded()
    whole = half_cycles_of(Run.from_journal(uid, data))
    rows = sum(len(half.t_s) for half in whole[:1])
    _flip(journal_path(data, uid), "event_page", rows // ROWS)  # across the end of a plating
    run = Run.from_journal(uid, data)
    numbers = metrics(run)
    cut = half_cycles_of(run)[0]
    assert cut.end_lost
    assert numbers["ce_pct"].value is not None
    assert isinstance(numbers["ce_pct"].value, list)
    assert numbers["ce_pct"].value[0] is None
    assert "rows were lost at the end of its plating" in str(numbers["ce_pct"].reason)
    for name, metric in numbers.items():
        assert str(metric.reason).startswith("the record is damaged"), name


def test_a_charge_across_missing_rows_is_interpolated_and_says_so(
    recorded: Recorded, data: Path
) -> None:
    uid = recorded()
    whole = half_cycles_of(Run.from_journal(uid, data))
    _flip(journal_path(data, uid), "event_page", 1)  # within the first plating
    run = Run.from_journal(uid, data)
    half = half_cycles_of(run)[0]
    assert len(half.t_s) == len(whole[0].t_s) - ROWS
    assert not half.end_lost
    assert half.missing_s == ((float(whole[0].t_s[ROWS - 1]), float(whole[0].t_s[2 * ROWS])),)
    assert half.capacity_mah_cm2 == pytest.approx(whole[0].capacity_mah_cm2)
    for name in ("ce_pct", "plated_capacity_mah_cm2", "cumulative_plated_mah_cm2"):
        assert "the plating of cycle 1 lacks rows between" in str(metrics(run)[name].reason)


def test_rows_missing_at_the_end_leave_the_last_half_cycle_without_one(
    recorded: Recorded, data: Path
) -> None:
    uid = recorded()
    count = len(Run.from_journal(uid, data).streams["potentiostat"])
    _flip(journal_path(data, uid), "event_page", -1)
    run = Run.from_journal(uid, data)
    stream = run.streams["potentiostat"]
    assert stream.holes == (len(stream),)
    assert f"{count - len(stream)} row" in run.damage[1]
    assert " after " in run.damage[1]
    assert half_cycles_of(run)[-1].end_lost


def test_pictures_stay_with_their_rows_where_rows_are_missing(
    recorded: Recorded, data: Path
) -> None:
    uid = recorded(camera=True)
    path = journal_path(data, uid)
    pages = [one for one in _records(path) if one[2] == "event_page"]
    _flip(path, "event_page", len(pages) - 2)  # the second of three of the camera
    camera = Run.from_journal(uid, data).streams["camera"]
    numbers = [*range(10), *range(20, 30)]
    assert camera.columns["camera_number"].tolist() == numbers
    images = camera.assets["camera_image"]
    assert [images[row][0, 0] for row in range(len(images))] == numbers


def test_damage_in_one_run_is_damage_of_the_experiment(recorded: Recorded, data: Path) -> None:
    root = recorded()
    tip = recorded(resume={"of": root, "root": root})
    length = len(Run.from_journal(root, data, chain=False).streams["potentiostat"])
    _flip(journal_path(data, tip), "event_page", 2)
    run = Run.from_journal(root, data)
    assert run.chain == (root, tip)
    assert run.streams["potentiostat"].holes == (length + 2 * ROWS,)
    assert len(run.damage) == 2


def test_a_report_of_a_damaged_record_says_so_first_and_ends_with_1(
    recorded: Recorded, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = recorded()
    assert cli.main(["report", uid]) == 0
    assert "DAMAGED" not in capsys.readouterr().out
    _flip(journal_path(data, uid), "event_page", 3)
    for command in ("report", "replay"):
        assert cli.main([command, uid]) == 1
        told = capsys.readouterr().out
        assert "DAMAGED: 10 rows of potentiostat are missing between" in told
        assert "ce_mean_pct" in told
        assert cli.main([command, uid, "--json"]) == 1
        said = capsys.readouterr()
        assert "10 rows of potentiostat are missing" in said.err
        shown = json.loads(said.out)
        assert len(shown["damage"]) == 2
        assert shown["metrics"]["ce_mean_pct"]["value"] is not None
    assert cli.main(["replay", uid, "--cycle", "2", "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["damage"]) == 2


def test_a_list_marks_a_damaged_run_once_somebody_has_read_it(
    recorded: Recorded, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = recorded()
    path = journal_path(data, uid)
    content = path.read_bytes()
    rows = list_runs(data)[0].rows["potentiostat"]
    _flip(path, "event_page", 3)
    cli.main(["report", uid])
    capsys.readouterr()
    assert cli.main(["runs"]) == 0
    assert "success, damaged" in capsys.readouterr().out
    assert list_runs(data)[0].damage.startswith(path.name)
    assert list_runs(data)[0].rows == {"potentiostat": rows - ROWS}
    path.write_bytes(content)  # a copy was brought back
    assert cli.main(["report", uid]) == 0
    capsys.readouterr()
    assert cli.main(["runs"]) == 0
    assert "damaged" not in capsys.readouterr().out
    assert list_runs(data)[0].rows == {"potentiostat": rows}


def test_numbers_of_a_damaged_record_are_not_found_as_if_whole(
    recorded: Recorded, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, uid = recorded(), recorded()
    _flip(journal_path(data, uid), "event_page", 3)
    asked = ["runs", "--where", "ce_mean_pct > 0"]
    for _ in range(2):  # computed, and then stored
        assert cli.main(asked) == 0
        said = capsys.readouterr()
        assert [line[:8] for line in said.out.splitlines()] == [whole[:8]]
        assert "1 run that would be found was left out: its record is damaged" in said.err
    assert cli.main([*asked, "--damaged"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in shown] == [uid[:8], whole[:8]]
    assert ", damaged" in shown[0]
    assert ", damaged" not in shown[1]
    (marked,) = [run for run in find_runs(data, columns=["ce_mean_pct"]) if run.uid == uid]
    assert marked.damage


def test_stored_numbers_of_the_whole_run_are_not_those_of_the_damaged_one(
    recorded: Recorded, data: Path
) -> None:
    uid = recorded()
    run = Run.from_journal(uid, data)
    assert store_metrics(data, run, metrics(run)) is True
    _flip(journal_path(data, uid), "event_page", 3)
    damaged = Run.from_journal(uid, data)
    assert stored_metrics(data, damaged) is None
    numbers = metrics(damaged)
    assert store_metrics(data, damaged, numbers) is True
    assert stored_metrics(data, damaged) == numbers
    assert stored_metrics(data, run) is None


def test_an_end_that_cannot_be_read_is_damage_and_a_torn_one_is_none(
    recorded: Recorded, data: Path
) -> None:
    uid = recorded()
    path = journal_path(data, uid)
    content = path.read_bytes()
    path.write_bytes(content[:-3])  # as a killed process leaves it
    assert Run.from_journal(uid, data).damage == ()
    path.write_bytes(content)
    _flip(path, "stop", 0)
    run = Run.from_journal(uid, data)
    assert run.stop is None
    assert "nothing can be read of its last" in run.damage[0]
    assert list_runs(data)[0].exit_status == "unfinished"


@pytest.mark.parametrize("to", ["csv", "bdf", "nexus", "rocrate"])
def test_an_export_of_a_damaged_record_is_marked_as_incomplete_and_ends_with_1(
    to: str, recorded: Recorded, data: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    uid = recorded()
    whole = tmp_path / ("whole.nxs" if to == "nexus" else "whole")
    assert cli.main(["export", uid, "--to", to, "--output", str(whole)]) == cli.OK
    _flip(journal_path(data, uid), "event_page", 3)
    place = tmp_path / ("export.nxs" if to == "nexus" else "export")
    assert cli.main(["export", uid, "--to", to, "--output", str(place)]) == cli.FAILED
    assert f"the export of run {uid[:8]} is incomplete: 10 rows of potentiostat" in caplog.text
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]
    told = b"".join(one.read_bytes() for one in files)
    assert b"damaged" in told
    assert b"INCOMPLETE" in told or b'"complete": false' in told
