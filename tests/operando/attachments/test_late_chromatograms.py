"""What a gas chromatograph's data system writes after a run is joined to the run's injections."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from instruments.bench_file import BenchFile
from instruments.gas_chromatograph import Chromatogram
from operando.attachments import FileClock, collect, file_parts
from operando.configuration import ConfigurationError
from operando.journal import JournalWriter
from operando.late import ChromatogramPlace, check_readers, collect_late, collect_quietly
from operando.report import told_attachments
from operando.runs import Run
from techniques.injections import injection_label

UID = "7d1f0a52-0000-4000-8000-000000000001"
BEGAN_S = 1.7e9


@pytest.fixture(name="data")
def _data(synthetic: Any, tmp_path: Path) -> Path:
    told = synthetic.RunDocuments(tmp_path, synthetic.HALF_CELL)
    told.documents[0][1]["bench"] = {"instruments": {"gc": {}}}
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=10))
    told.stream(
        "gc",
        "gc",
        {
            "injection": [1.0, 2.0],
            "missed": [0.0, 0.0],
            "host_before": [BEGAN_S + 100, BEGAN_S + 300],
        },
    )
    told.stop()
    told.documents[-1][1]["time"] = BEGAN_S + 1000
    with JournalWriter(tmp_path / "data") as journal:
        for name, doc in told.documents:
            journal(name, doc)
    return tmp_path / "data"


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> BenchFile:
    (tmp_path / "results").mkdir()
    return BenchFile.model_validate(
        {
            "name": "with-gc",
            "instruments": {
                "relays": {
                    "kind": "relay_board", "language": "numato", "address": "serial:///dev/null"
                },
                "gc": {
                    "kind": "gas_chromatograph",
                    "language": "contact",
                    "board": "relays",
                    "start_relay": 0,
                    "ready_gpio": 0,
                    "hydrogen_area_per_mole_fraction": 1.0,
                    "clock_offset_s": 7200.0,
                    "results": f"folder://{tmp_path / 'results'}",
                },
            },
        }
    )  # fmt: skip


def _write(
    folder: Path, name: str, started: float, label: str = "", values: tuple[int, ...] = (1, 2, 3)
) -> None:
    detector = {"nValuesPerSecond": 50, "nValuesExpected": len(values), "values": values}
    result = {
        "runTimeStamp": datetime.fromtimestamp(started, UTC).isoformat(),
        "methodName": "H2",
        "annotations": {"name": label},
        "detectors": {"a": detector},
    }
    (folder / name).write_text(json.dumps(result))


def test_results_join_by_their_name_else_by_time_on_the_declared_clock(
    data: Path, bench: BenchFile, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    _write(results, "a.json", BEGAN_S + 101 + 7200)
    _write(results, "b.json", BEGAN_S + 4e6, injection_label(UID, 2))
    _write(results, "c.json", BEGAN_S + 600 + 7200)
    _write(results, "d.json", BEGAN_S, injection_label(UID.replace("7d", "8d"), 1))
    found, troubles = collect_late(data, bench)
    assert troubles == []
    told = {one.name: (one.outcome, one.uid) for one in found}
    assert told == {
        "a.json": ("attached", UID),
        "b.json": ("attached", UID),
        "c.json": ("unexpected", UID),
        "d.json": ("unexpected", ""),
    }
    reasons = {one.name: one.reason for one in found}
    assert "the nearest is -300 s away" in reasons["c.json"]
    assert "which is not in" in reasons["d.json"]
    run = Run.from_journal(UID, data)
    rows = run.streams["chromatogram"]
    assert rows.columns["gc_result_injection"].tolist() == [1.0, 2.0]
    assert rows.asset("gc_result_trace")[1].tolist() == [1.0, 2.0, 3.0]
    assert run.attachments[0]["attachment"]["clock_offset_s"] == 7200.0
    again, _ = collect_late(data, bench)
    assert {one.outcome for one in again} == {"unexpected"}


class Kept:
    """Results that an instrument keeps: name -> its bytes."""

    def __init__(self, *, names_runs: bool = False, detector: str | None = None) -> None:
        self.names_runs = names_runs
        self.detector = detector
        self.time_zone: str | None = None
        self.kept: dict[str, bytes] = {}

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def new(self) -> list[Chromatogram]:
        return []

    def put(self, name: str, started: float | str, *values: float, label: str = "") -> None:
        """Keep a result whose detectors saw one value each, three times."""
        seen = {
            f"d{n}": {"nValuesPerSecond": 1, "values": [value] * 3}
            for n, value in enumerate(values)
        }
        told = {"runTimeStamp": started, "annotations": {"name": label}, "detectors": seen}
        self.kept[name] = json.dumps(told).encode()

    def listed(self) -> dict[str, int]:
        return {name: len(content) for name, content in self.kept.items()}

    def content(self, name: str) -> bytes:
        return self.kept[name]


def _rows(data: Path) -> dict[int, float]:
    """Return what each injection's chromatogram shows."""
    rows = Run.from_journal(UID, data).streams["chromatogram"]
    trace = rows.asset("gc_result_trace")
    numbers = rows.columns["gc_result_injection"].tolist()
    assert len(numbers) == len(set(numbers)) == len(trace)
    return {int(number): float(trace[row][0]) for row, number in enumerate(numbers)}


@pytest.mark.parametrize("wrong_s", [-200.0, 200.0])
def test_a_clock_that_is_declared_later_puts_every_result_right(data: Path, wrong_s: float) -> None:
    results = Kept()
    results.put("r1", BEGAN_S + 100 + wrong_s, 1)
    results.put("r2", BEGAN_S + 300 + wrong_s, 2)
    found, _ = collect(data, [ChromatogramPlace("gc", "a", results, 0.0)])
    assert [one.outcome for one in found].count("attached") == 1
    assert _rows(data) == ({1: 2.0} if wrong_s < 0 else {2: 1.0})
    right = ChromatogramPlace("gc", "a", results, wrong_s)
    found, _ = collect(data, [right])
    assert [one.outcome for one in found] == ["attached", "attached"]
    assert _rows(data) == {1: 1.0, 2: 2.0}
    assert collect(data, [right]) == ([], [])


def test_what_is_of_no_injection_any_more_is_withdrawn_and_may_come_back(data: Path) -> None:
    results = Kept()
    results.put("r1", BEGAN_S + 100, 1)
    results.put("r2", BEGAN_S + 300, 2)
    places = [ChromatogramPlace("gc", "a", results, offset_s) for offset_s in (0.0, 200.0, 0.0)]
    collect(data, places[:1])
    found, _ = collect(data, places[1:2])
    assert [one.outcome for one in found] == ["older", "attached"]
    assert "it is no row of run 7d1f0a52 any more" in found[0].reason
    assert _rows(data) == {1: 2.0}
    report = told_attachments(Run.from_journal(UID, data))
    assert [line.split()[0] for line in report] == ["Withdrawn", "Attached"]
    collect(data, places[2:])
    assert _rows(data) == {1: 1.0, 2: 2.0}
    # Far from every run, too.
    collect(data, [ChromatogramPlace("gc", "a", results, -9e6)])
    assert "chromatogram" not in Run.from_journal(UID, data).streams


def test_a_run_of_somebody_else_takes_no_injection_where_ours_carry_a_name(data: Path) -> None:
    results = Kept(names_runs=True)
    results.put("r1", BEGAN_S + 105, 1)
    results.put("r2", BEGAN_S + 300, 2, label="blank at the panel")
    results.put("r3", BEGAN_S + 9e5, 3, label=injection_label(UID, 1))
    found, _ = collect(data, [ChromatogramPlace("gc", "a", results, 0.0)])
    assert [one.outcome for one in found] == ["unexpected", "unexpected", "attached"]
    assert "r1 carries no name" in found[0].reason
    assert "r2 is called 'blank at the panel'" in found[1].reason
    assert _rows(data) == {1: 3.0}


def test_a_place_that_another_holds_is_told_each_time(data: Path) -> None:
    results = Kept()
    results.put("r1", BEGAN_S + 100, 1)
    place = ChromatogramPlace("gc", "a", results, 0.0)
    collect(data, [place])
    results.put("r2", BEGAN_S + 105, 2)
    for _ in range(2):
        (one,), _ = collect(data, [place])
        assert one.outcome == "unexpected"
        assert "another chromatogram of injection 1 already" in one.reason
    # Its place is not free either where the file of the first is gone.
    del results.kept["r1"]
    (one,), _ = collect(data, [ChromatogramPlace("gc", "a", results, 1.0)])
    assert one.outcome == "unexpected"
    assert _rows(data) == {1: 1.0}


@pytest.mark.parametrize(
    ("stamp", "zone"),
    [
        ("2023-07-14T12:00:00", "Europe/Berlin"),
        ("2023-07-14T12:00:00", "America/New_York"),
        ("2023-07-14T12:00:00", None),
        ("2023-07-14T12:00:00+05:00", "Europe/Berlin"),
        (1689328800.5, "Europe/Berlin"),
    ],
)
def test_a_result_means_one_moment_however_it_arrives(
    tmp_path: Path, stamp: str | float, zone: str | None
) -> None:
    results = Kept()
    results.time_zone = zone
    results.put("r1", stamp, 1)
    place = ChromatogramPlace("gc", "a", results, 60.0)
    (tmp_path / "r1.json").write_bytes(results.kept["r1"])
    clock = FileClock(offset_s=60.0, time_zone=zone)
    late = file_parts(tmp_path / "r1.json", device="gc", clock=clock)
    assert place.fetch("r1").started == late.started


def test_a_time_zone_that_is_declared_later_is_taken(data: Path) -> None:
    results = Kept()
    # At the end of 2023 New York is 5 h behind UTC.
    results.put("r1", datetime.fromtimestamp(BEGAN_S + 100 - 5 * 3600, UTC).isoformat()[:-6], 1)
    for zone, outcome in (("Asia/Tokyo", "older"), ("America/New_York", "attached")):
        results.time_zone = zone
        (one,), _ = collect(data, [ChromatogramPlace("gc", "a", results, 0.0)])
        assert one.outcome == outcome


def test_a_detector_that_is_named_later_is_read_anew(data: Path) -> None:
    results = Kept(detector="d0")
    results.put("r1", BEGAN_S + 100, 1, 7)
    collect(data, [ChromatogramPlace("gc", "a", results, 0.0)])
    assert _rows(data) == {1: 1.0}
    results.detector = "d1"
    collect(data, [ChromatogramPlace("gc", "a", results, 0.0)])
    assert _rows(data) == {1: 7.0}


def test_a_reader_that_there_is_not_is_refused() -> None:
    box = {"kind": "external", "language": "folder", "address": "folder:///x", "reader": "xls"}
    bench = BenchFile.model_validate({"name": "b", "instruments": {"box": box}})
    with pytest.raises(ConfigurationError, match=r"box is to be read by 'xls'.*dems_csv"):
        check_readers(bench)


def test_a_session_tells_what_it_found_and_never_fails(
    data: Path, bench: BenchFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    _write(tmp_path / "results", "a.json", BEGAN_S + 101 + 7200)
    _write(tmp_path / "results", "c.json", BEGAN_S + 600 + 7200)
    collect_quietly(data, bench)
    assert "a.json attached to run 7d1f0a52" in caplog.text
    assert "c.json is unexpected" in caplog.text
    (tmp_path / "results").rename(tmp_path / "gone")
    collect_quietly(data, bench)
    assert "cannot look into" in caplog.text


def test_one_chromatogram_is_not_of_two_injections(
    data: Path, bench: BenchFile, tmp_path: Path
) -> None:
    results, trace = tmp_path / "results", tuple(range(12))
    _write(results, "a.json", BEGAN_S + 101 + 7200, values=trace)
    _write(results, "copied.json", BEGAN_S + 301 + 7200, values=trace)
    found, _ = collect_late(data, bench)
    outcomes = {one.name: (one.outcome, one.reason) for one in found}
    assert outcomes["a.json"][0] == "attached"
    assert outcomes["copied.json"][0] == "unexpected"
    assert "has this chromatogram as injection 1" in outcomes["copied.json"][1]
