"""The simulated mass spectrometer: files that grow, on a clock of their own."""

import contextlib
import csv
import time
from datetime import datetime

import pytest

from sim_devices.cell import Cell
from sim_devices.dems import BACKGROUND_A, CLOCK_AHEAD_S, Dems
from sim_devices.truth import Truth


@pytest.fixture
def cell():
    return Cell("zn-bare", seed=1)


@pytest.fixture
def box(cell, tmp_path):
    with Truth(tmp_path / "truth") as truth:
        with contextlib.closing(Dems(cell, truth, tmp_path / "files", seed=1)) as box:
            yield box


def rows_of(box, at_least):
    end = time.monotonic() + 50
    while time.monotonic() < end:
        files = sorted(box.folder.iterdir())
        if files:
            lines = files[0].read_text().splitlines()
            rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
            if len(rows) >= at_least:
                return lines[0], rows
        time.sleep(0.02)
    raise AssertionError(f"{len(files)} files, and none of {at_least} rows")


def test_the_ions_of_hydrogen_rise_with_what_the_cell_gives_off(cell, box):
    head, rows = rows_of(box, 2)
    before = float(rows[-1]["m/z 2 (A)"])
    assert before == pytest.approx(BACKGROUND_A, rel=0.1)
    for _ in range(120):
        with cell.lock:
            cell.advance(10.0, "i", -1.0)
    _, rows = rows_of(box, len(rows) + 3)
    assert float(rows[-1]["m/z 2 (A)"]) > 2 * before
    assert float(rows[-1]["m/z 18 (A)"]) == pytest.approx(2e-10, rel=0.1)
    times = [float(row["Time (s)"]) for row in rows]
    assert times == sorted(times)
    own = datetime.fromisoformat(head.removeprefix("# started: ")).timestamp()
    assert own - CLOCK_AHEAD_S <= time.time()
    assert own > time.time()


def test_it_can_stop_in_mid_file(box):
    rows_of(box, 2)
    box.inject("stall")
    (file,) = box.folder.iterdir()
    size, end = -1, time.monotonic() + 50
    while file.stat().st_size != size:  # a row was on its way
        assert time.monotonic() < end
        size = file.stat().st_size
        time.sleep(0.3)
    box.inject("resume")
    with pytest.raises(ValueError, match="no fault"):
        box.inject("fire")


def test_its_lines_its_clock_and_its_folder_can_be_broken(box):
    rows_of(box, 1)
    box.inject("out-of-range", value=-3)
    box.inject("clock-jump", seconds=1e9)
    box.inject("merge", hold_s=0.3, seconds=0.5)
    _, rows = rows_of(box, 10)
    assert [float(row["m/z 2 (A)"]) for row in rows].count(-3.0) == 1
    box.inject("power-cycle", seconds=0.01)
    end = time.monotonic() + 50
    while not (second := box.folder / "dems-0002.csv").exists() or not second.stat().st_size:
        assert time.monotonic() < end
        time.sleep(0.01)
    stamp = second.read_text().splitlines()[0].removeprefix("# started: ")
    assert datetime.fromisoformat(stamp).timestamp() > time.time() + 9e8
    box.inject("disconnect", seconds=3600)
    assert not box.folder.exists()
    box.inject("disconnect", seconds=0.01)
    while not box.folder.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
