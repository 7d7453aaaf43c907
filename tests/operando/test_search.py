"""Finding runs by what they were made of and by their numbers, which are computed once."""

import datetime
import json
import math
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.analysis import metrics
from operando.journal import JournalWriter, journal_path
from operando.registry import ANALYSIS_VERSION, METRICS
from operando.runs import Run
from operando.search import (
    Condition,
    SearchError,
    _find,
    _store,
    evaluate,
    find_runs,
    numbers_of,
    parse_time,
    runs_table,
    store_metrics,
    stored_metrics,
)

DAY_S = 86400.0
Record = Callable[..., str]


@pytest.fixture(name="record")
def _record(synthetic: Any, tmp_path: Path) -> Record:
    """Record a run whose coulombic efficiencies, sample and time are as asked."""
    count = 0

    def record(
        efficiencies: tuple[float, ...] = (0.9, 0.98),
        *,
        sample: Mapping[str, Any] = synthetic.HALF_CELL,
        days: float = 0.0,
        columns: Mapping[str, Any] | None = None,
        stop: str | None = "success",
        **start: Any,
    ) -> str:
        nonlocal count
        count += 1
        told = synthetic.RunDocuments(tmp_path, sample)
        uid = f"{count:08d}-0000-4000-8000-000000000000"
        told.documents[0][1].update(
            {"uid": uid, "time": 1.7e9 + days * DAY_S + count, "protocol": "zinc", **start}
        )
        if columns is None:
            columns = synthetic.galvanostatic(efficiencies, rows=40)
        told.stream("potentiostat", "potentiostat", columns)
        if stop is not None:
            told.stop(stop)
        with JournalWriter(tmp_path / "data") as journal:
            for name, doc in told.documents:
                journal(name, doc)
        return uid

    return record


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def _records(content: bytes, uid: str, other: str) -> bytes:
    """Return a journal's bytes with another run's uid, and the checksums that belong to it."""
    at, records = 12, [content[:12]]
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        payload = content[at + 8 : at + 8 + length].replace(uid.encode(), other.encode())
        records.append(struct.pack("<II", length, zlib.crc32(payload)) + payload)
        at += 8 + length
    return b"".join(records)


def _uids(found: Any) -> list[str]:
    return [run.uid for run in found]


def test_runs_are_found_by_what_they_were_made_of(
    record: Record, data: Path, synthetic: Any
) -> None:
    cell = {**synthetic.HALF_CELL, "cell_id": "NA-[7]_b"}
    cell["electrolyte"] = {"composition": "1 mol/L NaPF6 in diglyme"}
    cell["working_electrode"] = {**synthetic.COPPER, "material": "Al", "coating": "carbon"}
    plain = record(technique={"type": "sequence", "steps": [{"type": "open_circuit"}]})
    other = record(sample=cell, protocol="sodium", stop="fail", days=10.0)
    both = [other, plain]
    for filters, expected in (
        ({}, both),
        ({"sample": "na-[7]_B"}, [other]),
        ({"sample": "ZN*"}, [plain]),
        ({"sample": "*7*"}, [other]),
        ({"sample": "%"}, []),
        ({"electrode": "al"}, [other]),
        ({"electrode": "carbon"}, [other]),
        ({"electrode": "zn"}, both),
        ({"electrode": "steel"}, []),
        ({"electrolyte": "ZnSO4"}, [plain]),
        ({"technique": "open_circuit"}, [plain]),
        ({"protocol": "sodium"}, [other]),
        ({"status": "fail"}, [other]),
        ({"since": 1.7e9 + 5 * DAY_S}, [other]),
        ({"until": 1.7e9 + 5 * DAY_S}, [plain]),
        ({"since": "2023-11-20"}, [other]),
        ({"until": "2023-11-14"}, [plain]),
        ({"sample": "ZN*", "status": "fail"}, []),
    ):
        assert _uids(find_runs(data, **filters)) == expected, filters


def test_the_newest_are_told_and_how_many_more_there_are(record: Record, data: Path) -> None:
    uids = [record() for _ in range(4)]
    found = find_runs(data, limit=3)
    assert _uids(found) == uids[:0:-1]
    assert found.left_out == 1
    assert repr(found) == runs_table(found) + "\n... and 1 older"
    assert find_runs(data / "none").left_out == 0
    assert repr(find_runs(data / "none")) == "No runs."
    assert not (data / "none").exists()


def test_runs_are_found_by_their_numbers_and_these_are_told(record: Record, data: Path) -> None:
    good = record((0.90, 0.99, 0.99))
    poor = record((0.90, 0.95, 0.95))
    assert _uids(find_runs(data, where="ce_mean_without_first_pct > 98")) == [good]
    assert _uids(find_runs(data, where="ce_mean_without_first_pct <= 98 %")) == [poor]
    assert _uids(find_runs(data, where=["ce_mean_pct>90", "ce_pct.last < 96"])) == [poor]
    assert _uids(find_runs(data, where="ce_pct.first > 90.01")) == []
    (found,) = find_runs(data, where="ce_pct.last > 98", columns=["ce_mean_pct", "eta_n_mv"])
    expected = metrics(Run.from_journal(good, data))
    assert found.metrics["ce_mean_pct"] == expected["ce_mean_pct"].value
    assert found.uncertainties["ce_mean_pct"] == expected["ce_mean_pct"].uncertainty
    assert found.metrics["eta_n_mv"] is None
    table = runs_table([found])
    assert "ce_pct.last 99 %" in table
    assert "eta_n_mv -" in table


def test_numbers_are_computed_once_and_again_when_asked_or_of_another_version(
    record: Record, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = record()
    record(sample={"cell_id": "other"})
    told: list[str] = []
    asked: dict[str, Any] = {"where": "ce_mean_pct > 0", "tell": told.append}
    assert _uids(find_runs(data, **asked)) == [uid]
    assert told == ["computing the metrics of 2 runs, once ..."]
    journal = journal_path(data, uid)
    away = journal.rename(data / "away")
    journal.write_bytes(b"")  # what is stored needs no journal: the index has not looked again
    away.rename(journal)
    with closing(sqlite3.connect(data / "metrics.db")) as store, store:
        store.execute(
            "UPDATE metrics SET value = 1.0 "
            "WHERE name = (SELECT id FROM names WHERE name = 'ce_mean_pct')"
        )
    told.clear()
    assert _uids(find_runs(data, where="ce_mean_pct = 1", tell=told.append)) == [uid]
    assert told == []
    assert _uids(find_runs(data, **asked, recompute=True)) == [uid]
    assert _uids(find_runs(data, where="ce_mean_pct = 1")) == []
    told.clear()
    monkeypatch.setattr(_store, "ANALYSIS_VERSION", ANALYSIS_VERSION + 1)
    assert _uids(find_runs(data, **asked)) == [uid]
    assert told == ["computing the metrics of 2 runs, once ..."]


def test_a_run_that_cannot_be_evaluated_says_why_and_hides_no_other(
    record: Record, data: Path, synthetic: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good = record()
    columns = synthetic.galvanostatic((0.9,), rows=40)
    columns["cycle"] = np.full(len(columns["cycle"]), math.nan)
    bad = record(columns=columns)
    assert _uids(find_runs(data, where="ce_mean_pct > 0")) == [good]
    assert f"run {bad} cannot be evaluated" in caplog.text
    told = {run.uid: run.not_evaluated for run in find_runs(data, columns=["ce_mean_pct"])}
    assert told == {good: "", bad: "ValueError: cannot convert float NaN to integer"}


def test_a_run_that_goes_on_is_not_evaluated(record: Record, data: Path) -> None:
    uid = record(stop=None)
    assert find_runs(data, where="ce_mean_pct > 0") == []
    (found,) = find_runs(data, columns=["ce_mean_pct"])
    assert (found.uid, found.not_evaluated) == (uid, "it is unfinished")
    assert not (data / "metrics.db").exists()
    evaluate(data, uid)
    assert store_metrics(data, Run.from_journal(uid, data), {}) is False


def test_a_resumed_experiment_is_found_once_with_the_numbers_of_all_its_runs(
    record: Record, data: Path, synthetic: Any
) -> None:
    columns = synthetic.galvanostatic((0.9, 0.95, 0.99), rows=40)
    cut = 90  # the first plating and stripping, and their rests
    first = {key: values[:cut] for key, values in columns.items()}
    second = {key: values[cut:] for key, values in columns.items()}
    root = record(columns=first, stop="fail")
    assert find_runs(data, columns=["ce_pct.last"])[0].metrics["ce_pct.last"] == pytest.approx(90)
    tip = record(columns=second, resume={"of": root, "root": root}, days=3.0)
    alone = record(days=4.0)
    found = find_runs(data, columns=["ce_pct.last"])
    assert [run.runs for run in found] == [(alone,), (root, tip)]
    experiment = found[1]
    assert (experiment.uid, experiment.exit_status) == (root, "success")
    assert experiment.rows == {"potentiostat": len(columns["t"])}
    assert experiment.metrics["ce_pct.last"] == pytest.approx(99)
    assert "resumed once" in runs_table([experiment])
    assert _uids(find_runs(data, where="ce_mean_pct > 94.6", until=1.7e9 + 3.5 * DAY_S)) == [root]
    part = Run.from_journal(tip, data, chain=False)
    assert store_metrics(data, part, metrics(part)) is False
    assert find_runs(data, columns=["ce_pct.first"])[1].metrics["ce_pct.first"] == pytest.approx(90)


def test_a_report_tells_stored_numbers_bit_for_bit_while_the_run_is_the_same(
    record: Record, data: Path, synthetic: Any, tmp_path: Path
) -> None:
    uid = record()
    run = Run.from_journal(uid, data)
    assert stored_metrics(data, run) is None
    computed = metrics(run)
    assert store_metrics(data, run, computed) is True
    assert stored_metrics(data, run) == computed
    # What was made of more rows, or of files that are gone, is not told any more.
    fewer = synthetic.RunDocuments(tmp_path, synthetic.HALF_CELL)
    fewer.documents[0][1]["uid"] = uid
    fewer.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,), rows=20))
    fewer.stop()
    assert stored_metrics(data, Run.from_documents(fewer.documents)) is None
    with closing(sqlite3.connect(data / "metrics.db")) as store, store:
        store.execute("UPDATE evaluations SET analysis_version = 0")
    assert stored_metrics(data, run) is None


def test_a_damaged_or_older_store_is_built_anew(record: Record, data: Path) -> None:
    uid = record()
    asked = "ce_mean_pct > 0"
    assert _uids(find_runs(data, where=asked)) == [uid]
    (data / "metrics.db").write_bytes(b"no database at all" * 100)
    assert _uids(find_runs(data, where=asked)) == [uid]
    with closing(sqlite3.connect(data / "metrics.db")) as store:
        store.execute("PRAGMA user_version = 99")
    assert _uids(find_runs(data, where=asked)) == [uid]


def test_a_store_that_cannot_be_written_does_not_keep_anybody_from_searching(
    record: Record, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = record()
    monkeypatch.setattr(_store, "PATIENCE_S", 0.05)
    (data / "metrics.db").mkdir()
    assert _uids(find_runs(data, where="ce_mean_pct > 0")) == [uid]
    (data / "metrics.db").rmdir()
    find_runs(data, where="ce_mean_pct > 0")
    newer = record()
    with closing(sqlite3.connect(data / "metrics.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert _uids(find_runs(data, where="ce_mean_pct > 0")) == [newer, uid]


def test_only_numbers_of_the_registry_are_kept(record: Record, data: Path) -> None:
    kept = numbers_of(metrics(Run.from_journal(record(), data)))
    assert {name.partition(".")[0] for name in kept} <= set(METRICS)
    assert kept["ce_pct.mean"][0] == pytest.approx(kept["ce_mean_pct"][0])
    assert "ce_pct" not in kept


@given(
    name=st.sampled_from([name for name, told in METRICS.items() if told.shape == "scalar"]),
    sign=st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
    number=st.floats(allow_nan=False, allow_infinity=False),
    space=st.sampled_from(["", " ", "  "]),
)
def test_a_condition_is_read_as_it_is_written(
    name: str, sign: str, number: float, space: str
) -> None:
    unit = METRICS[name].unit
    for text in (f"{name}{space}{sign}{space}{number!r}", f"{name} {sign} {number!r} {unit}"):
        if unit != "1" or not text.endswith(" 1"):
            assert Condition.parse(text) == Condition(name, sign, number)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ce_mean > 99", "did you mean ce_mean_pct"),
        ("resistance > 1", "series_resistance_ohm"),
        ("ce_mean_pct > high", "not a condition"),
        ("ce_mean_pct", "not a condition"),
        ("ce_mean_pct > 1 and 1", "not a condition"),
        ("ce_mean_pct > 1); DROP TABLE metrics", "not a condition"),
        ("ce_mean_pct > 0.99 mV", "ce_mean_pct is in %, not in mV"),
        ("ce_mean_pct.first > 99", "one number"),
        ("ce_pct > 99", "ce_pct.first, ce_pct.last, ce_pct.mean"),
        ("ce_pct.median > 99", "is a list by cycle"),
    ],
)
def test_a_condition_that_cannot_be_understood_is_refused(
    text: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(SearchError) as refused:
        find_runs(tmp_path, where=text)
    assert told in str(refused.value)


def test_times_are_read_as_people_write_them() -> None:
    now = datetime.datetime(2026, 11, 26, 15, 30).timestamp()

    def read(text: str, **options: Any) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(parse_time(text, now_s=now, **options))

    assert read("2026-11-01") == datetime.datetime(2026, 11, 1)
    assert read("2026-11-01", end=True) == datetime.datetime(2026, 11, 2)
    assert read("2026-11-01 14:30", end=True) == datetime.datetime(2026, 11, 1, 14, 30)
    assert read("today") == datetime.datetime(2026, 11, 26)
    assert read("yesterday", end=True) == datetime.datetime(2026, 11, 26)
    assert read("7 days") == datetime.datetime(2026, 11, 19, 15, 30)
    assert read("1 hour ago") == datetime.datetime(2026, 11, 26, 14, 30)
    assert parse_time("2026-11-01T00:00:00+00:00") == 1793491200.0
    for text in ("", "soon", "2026-13-01", "7", "days"):
        with pytest.raises(SearchError, match="not a time"):
            parse_time(text)


def test_an_unknown_status_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="success, abort, fail, running, unfinished"):
        find_runs(tmp_path, status="failed")


def test_what_was_found_is_plain_data(record: Record, data: Path, synthetic: Any) -> None:
    uid = record(replay_of="cccc")
    (found,) = find_runs(data, columns=["ce_mean_pct"])
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert told["uid"] == uid
    assert told["working_electrode"] == synthetic.COPPER["material"]
    assert told["replay_of"] == "cccc"
    assert told["metrics"].keys() == {"ce_mean_pct"}
    assert "repeats cccc" in runs_table([found])


def test_runs_that_could_not_be_evaluated_are_told_and_looked_at_again(
    record: Record, data: Path
) -> None:
    """No more files can be opened: next time they can, and the numbers are there."""
    uid = record()
    find_runs(data)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import operando.analysis, operando.runs\n"
        "from operando.search import find_runs\n"
        "from operando.search import _store\n"
        "whole = _store.Store._evaluate\n"
        "def evaluate(store, *experiment):\n"
        "    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))\n"
        "    try:\n"
        "        whole(store, *experiment)\n"
        "    finally:\n"
        "        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))\n"
        "_store.Store._evaluate = evaluate\n"
        "found = find_runs(Path(sys.argv[1]), where='ce_mean_pct > 0')\n"
        "print(len(found), *found.notes)\n"
        "found = find_runs(Path(sys.argv[1]), columns=['ce_mean_pct'])\n"
        "print(repr(found))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, data], capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith(
        "0 1 run could not be evaluated (OSError: [Errno 24] Too many open files"
    )
    assert "ce_mean_pct -; not evaluated (OSError" in told
    assert _uids(find_runs(data, where="ce_mean_pct > 0")) == [uid]
    assert find_runs(data, where="ce_mean_pct > 0").notes == ()


def test_a_search_by_numbers_looks_at_what_they_were_made_of_like_a_report(
    record: Record, data: Path
) -> None:
    """A run that has other rows than when it was evaluated is evaluated again."""
    uid, other = record((0.9, 0.9)), record((0.99, 0.99, 0.99))
    assert _uids(find_runs(data, where="ce_mean_pct > 95")) == [other]
    # In its place now lies a run with other numbers, of another length.
    content = journal_path(data, other).read_bytes()
    journal_path(data, uid).write_bytes(_records(content, other, uid))
    assert sorted(_uids(find_runs(data, where="ce_mean_pct > 95"))) == [uid, other]


def test_numbers_of_a_run_whose_files_are_gone_are_not_found_as_if_whole(
    data: Path, synthetic: Any, tmp_path: Path
) -> None:
    told = synthetic.RunDocuments(tmp_path, synthetic.HALF_CELL)
    uid = told.documents[0][1]["uid"]
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9, 0.98), rows=40))
    images = {"image": np.zeros((4, 2, 2))}
    times = {name: np.arange(4.0) for name in ("t_before", "t_after")}
    told.stream("camera", "camera", times, assets=images)
    told.stop()
    with JournalWriter(data) as journal:
        for name, doc in told.documents:
            journal(name, doc)
    asked = "cumulative_plated_mah_cm2 > 0"
    assert _uids(find_runs(data, where=asked)) == [uid]
    (file,) = tmp_path.glob("**/*.h5")
    away = file.rename(tmp_path / "away")
    found = find_runs(data, where=asked)
    assert found == []
    assert "1 run that would be found was left out" in found.notes[0]
    (found_too,) = find_runs(data, where=asked, damaged=True)
    assert "4 rows of camera, camera_image are not in their files" in found_too.damage
    assert ", damaged" in runs_table([found_too])
    away.rename(file)
    assert _uids(find_runs(data, where=asked)) == [uid]


def test_rows_of_a_long_run_without_an_end_are_counted_a_little_at_each_list(
    data: Path, synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = synthetic.RunDocuments(tmp_path, synthetic.HALF_CELL)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,) * 20, rows=40))
    with JournalWriter(data) as journal:
        for name, doc in told.documents:
            journal(name, doc)
    monkeypatch.setattr(_find, "COUNT_FOR_S", 0.0)
    (found,) = find_runs(data)
    assert found.counting
    assert "counting rows, no rows so far" in runs_table([found])
    assert found.as_json()["rows_counted"] is False
    monkeypatch.setattr(_find, "COUNT_FOR_S", 60.0)
    (found,) = find_runs(data)
    assert not found.counting
    assert found.rows == {"potentiostat": len(synthetic.galvanostatic((0.9,) * 20, rows=40)["t"])}
