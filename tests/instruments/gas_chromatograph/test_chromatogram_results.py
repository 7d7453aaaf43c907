"""Result files: found, complete, read, and joined to the right injection."""

import json
import math
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.errors import ProtocolError, TransportError
from instruments.gas_chromatograph import Chromatogram, ResultFolder, read_chromatogram
from instruments.gas_chromatograph.device import ResultDevice
from instruments.gas_chromatograph.results import Joiner
from techniques.injections import injection_label


def result(stamp: Any = "2026-01-31T09:30:00.000Z", **more: Any) -> dict[str, Any]:
    detector = {
        "nValuesPerSecond": 50,
        "nValuesExpected": 4,
        "values": [30.0, 31.5, 29.0, 30.0],
        "analysis": {"peaks": [{"label": "H2", "area": 4543.2, "height": 640.1, "top": 52.1}]},
    }
    return {
        "runTimeStamp": stamp,
        "methodName": "H2",
        "softwareVersion": {"version": "3.3.5"},
        "detectors": {"moduleA:tcd": detector | more},
    }


def write(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data) if not isinstance(data, str) else data)
    return path


def run(started: float) -> Chromatogram:
    return Chromatogram(Path("run.json"), started, "", 0.02, (1.0,), {})


def test_a_result_is_read(tmp_path: Path) -> None:
    found = read_chromatogram(write(tmp_path / "a.json", result()))
    assert found.started == pytest.approx(1769851800.0)
    assert found.sample_interval_s == 0.02
    assert found.trace == (30.0, 31.5, 29.0, 30.0)
    assert found.areas == {"H2": 4543.2}
    assert found.method == "H2"


@pytest.mark.parametrize(
    "stamp", [1769851800.0, "2026-01-31T09:30:00", "2026-01-31T10:30:00+01:00"]
)
def test_the_start_may_be_told_in_several_ways(tmp_path: Path, stamp: Any) -> None:
    path = write(tmp_path / "a.json", result(stamp))
    assert read_chromatogram(path, time_zone="UTC").started == 1769851800.0


def test_a_time_without_a_zone_is_in_the_declared_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", result("2026-07-31T11:30:00"))
    assert read_chromatogram(path, time_zone="Europe/Berlin").started == 1785490200.0
    here = datetime(2026, 7, 31, 11, 30).timestamp()
    assert read_chromatogram(path).started == here


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps(result())[:-20],
        {**result(), "detectors": {}},
        {**result(), "runTimeStamp": "yesterday"},
        {**result(), "runTimeStamp": None},
        result(values=[1.0, "x", 3.0, 4.0]),
        result(values=[1.0]),
        result(values=[], nValuesExpected=0),
        result(nValuesPerSecond=0),
        result(nValuesPerSecond=math.nan),
        result(nValuesExpected=math.inf),
        result(values=[1.0, math.inf, 3.0, 4.0]),
        result(math.nan),
        result(10**400),
        "[" * 100_000,
        result(analysis={"peaks": [{"label": "H2"}]}),
    ],
)
def test_what_is_no_complete_result_is_refused_by_name(tmp_path: Path, data: Any) -> None:
    with pytest.raises(ProtocolError, match=r"a\.json"):
        read_chromatogram(write(tmp_path / "a.json", data))


def test_a_result_that_has_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"none\.json"):
        read_chromatogram(tmp_path / "none.json")


def test_only_new_and_complete_files_are_read(tmp_path: Path) -> None:
    write(tmp_path / "old.json", result())
    folder = ResultFolder(f"folder://{tmp_path}")
    folder.begin()
    assert folder.new() == []
    write(tmp_path / "b.json", result("2026-01-31T10:00:00Z"))
    write(tmp_path / "a.json", result("2026-01-31T11:00:00Z"))
    write(tmp_path / ".hidden.json", result())
    write(tmp_path / "c.json.part", result())
    assert folder.new() == [], "a size is seen twice before a file is read"
    assert [x.path.name for x in folder.new()] == ["b.json", "a.json"]
    assert folder.new() == []


def test_a_file_that_is_being_written_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ResultFolder(f"folder://{tmp_path}")
    folder.begin()
    text = json.dumps(result())
    path = tmp_path / "a.json"
    for size in (0, 50, 100, len(text) - 1):
        write(path, text[:size])
        assert folder.new() == []
    for _ in range(3):
        assert folder.new() == []
    assert caplog.text.count("not a complete result") == 1
    write(path, text)
    assert folder.new() == []
    assert len(folder.new()) == 1


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    folder = ResultFolder(f"folder://{tmp_path}/none")
    with pytest.raises(TransportError, match="mounted"):
        folder.begin()
    with pytest.raises(TransportError, match="folder:///path"):
        ResultFolder(f"file://{tmp_path}").begin()


def test_a_published_folder_is_followed(tmp_path: Path) -> None:
    results = tmp_path / "with a space"
    results.mkdir()
    write(tmp_path / "chromatograms", f"folder://{results}".replace(" ", "%20"))
    folder = ResultFolder(f"published:{tmp_path}/chromatograms")
    folder.begin()
    write(results / "a.json", result())
    assert (folder.new(), len(folder.new())) == ([], 1)


def test_a_file_taken_away_between_two_looks_is_no_error(tmp_path: Path) -> None:
    folder = ResultFolder(f"folder://{tmp_path}")
    folder.begin()
    os.symlink(tmp_path / "nowhere", tmp_path / "a.json")
    assert folder.new() == []


def test_results_join_by_time_when_one_is_missing() -> None:
    joiner = Joiner()
    for number, at in enumerate((1000.0, 1900.0, 2800.0), 1):
        joiner.injected(number, at)
    assert joiner.join(run(1001.0)) == 1
    assert joiner.join(run(2801.5)) == 3
    assert set(joiner.waiting()) == {2}


def test_a_clock_that_is_wrong_by_hours_joins_by_order_and_is_learned() -> None:
    joiner = Joiner()
    for number, at in enumerate((1000.0, 1900.0, 2800.0), 1):
        joiner.injected(number, at)
    wrong = 7 * 3600.0
    assert joiner.join(run(1000.0 + wrong)) == 1
    assert joiner.join(run(2803.0 + wrong)) == 3
    assert joiner.join(run(1900.0 + wrong)) == 2


def test_somebody_elses_result_belongs_to_no_injection() -> None:
    joiner = Joiner()
    assert joiner.join(run(500.0)) is None
    joiner.injected(1, 1000.0)
    joiner.injected(2, 1900.0)
    assert joiner.join(run(1000.5)) == 1
    assert joiner.join(run(1400.0)) is None
    assert joiner.join(run(1901.0)) == 2


@given(
    st.lists(st.booleans(), min_size=2, max_size=20),
    st.floats(-1e5, 1e5),
    st.floats(-5e-5, 5e-5),
)
def test_no_result_joins_a_wrong_injection(
    arrives: list[bool], offset_s: float, drift: float
) -> None:
    # The first arrives: with a wrong clock it is what tells by how much.
    arrives[0] = True
    joiner = Joiner()
    for number, came in enumerate(arrives, 1):
        at = number * 900.0
        joiner.injected(number, at)
        if came:
            assert joiner.join(run(at * (1 + drift) + offset_s)) == number


def test_where_the_clock_was_declared_nothing_joins_by_order() -> None:
    joiner = Joiner(offset_s=3600.0)
    joiner.injected(1, 1000.0)
    assert joiner.join(run(900.0)) is None  # somebody's, from before
    assert joiner.join(run(1001.0)) is None  # whose clock is not the data system's
    assert joiner.join(run(4602.0)) == 1


def test_of_several_detectors_the_one_that_was_named_is_taken(tmp_path: Path) -> None:
    told = result()
    (one,) = told["detectors"].values()
    told["detectors"] = {"moduleA:tcd": one, "moduleB:tcd": one | {"values": one["values"][::-1]}}
    path = write(tmp_path / "a.json", told)
    assert read_chromatogram(path, "moduleB:tcd").trace == tuple(one["values"][::-1])
    with pytest.raises(ProtocolError, match=r"moduleA:tcd, moduleB:tcd; none is named: name the"):
        read_chromatogram(path)
    with pytest.raises(ProtocolError, match="asked for 'moduleC:tcd'"):
        read_chromatogram(path, "moduleC:tcd")


def test_a_result_without_our_name_is_not_taken_where_results_carry_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uid, now = "7d1f0a52-0000-4000-8000-000000000001", time.time()

    class Named(ResultFolder):
        """As results of an instrument that keeps names."""

        names_runs = True

    device = ResultDevice(
        Named(f"folder://{tmp_path}"), name="gc", run_time_s=4, values_per_second=1
    )
    device.assets_dir, device.run_uid = tmp_path, uid
    device.begin()
    device.injected(1, now, confirmed=True)
    told = result()
    write(tmp_path / "blank.json", told | {"runTimeStamp": now - 700})
    ours = told | {"runTimeStamp": now, "annotations": {"name": injection_label(uid, 1)}}
    write(tmp_path / "ours.json", ours)
    end = time.monotonic() + 50
    while not device.pending() and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.3)
    device.end()
    assert device.pending() == 1
    assert "blank.json carries no name of ours" in caplog.text
    assert "ours.json" not in caplog.text


def test_what_nobody_foresaw_in_one_look_ends_no_watching(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time()

    class Odd(ResultFolder):
        """A place that fails at its first look, and hands over one odd result at its second."""

        looks = 0

        def new(self) -> list[Chromatogram]:
            self.looks += 1
            if self.looks == 1:
                raise LookupError("nobody foresaw it")
            if self.looks == 2:
                return [Chromatogram(Path("odd.json"), now, "", 1, None, {})]  # type: ignore[arg-type]
            return [run(now + 20)] if self.looks == 3 else []

    device = ResultDevice(
        Odd(f"folder://{tmp_path}"), name="gc", run_time_s=4, values_per_second=1,
        clock_offset_s=0.0,
    )  # fmt: skip
    device.assets_dir = tmp_path
    device.begin()
    device.injected(1, now, confirmed=True)
    device.injected(2, now + 20, confirmed=True)
    end = time.monotonic() + 50
    while not device.pending() and time.monotonic() < end:
        time.sleep(0.02)
    assert device.pending() == 1
    assert device.read()["gc_injection"]["value"] == 2.0
    device.end()
    assert "gc: results could not be looked for" in caplog.text
    assert "gc: odd.json is left out" in caplog.text
