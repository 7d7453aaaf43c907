"""What the trials at the wires count: rows that were due, and only what somebody compared."""

import struct
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import wires
from benchmarks.faults.outcome import table
from benchmarks.faults.wires import outcome, run_all, summary, total
from benchmarks.faults.wires_case import Case, Ending, Phase, State
from benchmarks.faults.wires_told import crc16, never_written, not_taken, told_by
from sim_devices.truth import Truth

SAMPLES = np.arange(20) * 0.1


def test_a_sample_that_was_due_and_is_no_row_is_lost() -> None:
    rows = np.array([0.0, 0.5, 1.0, 1.5])
    assert not_taken(SAMPLES, rows, 0.5, to_the_end=True) == 0
    assert not_taken(SAMPLES, np.delete(rows, 1), 0.5, to_the_end=True) == 1
    assert not_taken(SAMPLES, np.delete(rows, 0), 0.5, to_the_end=True) == 1
    # Behind the last row of a run that failed nothing was due any more.
    assert not_taken(SAMPLES, rows[:2], 0.5, to_the_end=True) == 2
    assert not_taken(SAMPLES, rows[:2], 0.5, to_the_end=False) == 0
    # A line that was damaged moves what is due behind it.
    later = np.array([0.0, 0.6, 1.1, 1.6])
    assert not_taken(np.delete(SAMPLES, 5), later, 0.5, to_the_end=True) == 0
    assert not_taken(np.append(SAMPLES, SAMPLES), rows, 0.5, to_the_end=True) == 0


def test_what_was_not_compared_is_no_zero() -> None:
    case = Case("dems", "drop", Phase.RUNNING)
    nothing = Ending(State.FINISHED, injected="injected")
    clean = Ending(State.FINISHED, injected="injected", lost=0, wrong=0)
    bad = Ending(State.FINISHED, injected="injected", wrong=2)
    assert [total(one, "wrong") for one in ([], [nothing], [nothing, clean], [clean, bad])] == [
        None,
        None,
        0,
        2,
    ]
    assert "| - | - | 0.0 |" in summary([(case, nothing)])
    assert "| 0 | 0 | 0.0 |" in summary([(case, clean)])
    told = outcome("dems", [nothing])
    assert told.held
    assert told.rows_lost is None
    assert "nothing lost" not in told.expected
    assert "no rows compared" in told.observed
    assert "| - | held |" in table([told])
    told = outcome("dems", [clean, bad])
    assert not told.held
    assert told.rows_lost == 2
    assert "compared: lost in 1, wrong in 2" in told.observed


def test_who_waits_for_cases_hears_that_they_cannot_be_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wires.sys, "executable", "/nowhere/python")
    with pytest.raises(RuntimeError, match=r"a case could not be tried: .*/nowhere/python"):
        list(run_all([Case("dems", "drop", Phase.RUNNING)] * 3, side_by_side=2))


def test_pressures_are_read_off_the_wire_by_their_checksum(tmp_path: Path) -> None:
    def frame(value: float) -> bytes:
        body = b"\x01\x49" + struct.pack(">fB", value, 0)
        return body + crc16(body).to_bytes(2, "big")

    # A temperature, one that was damaged on its way, and one cut in two.
    damaged = frame(1.25)[:-1] + b"\x00"
    whole = frame(1.5)
    with Truth(tmp_path / "sim_truth") as truth:
        for at, data in enumerate([frame(25.0), damaged, whole[:4], whole[4:]]):
            truth.write("wire-pressure", "sent", host_s=float(at), text=data.decode("latin-1"))
    assert told_by(tmp_path, "pressure") == [(3.0, (150000.0,))]


def test_a_file_that_no_box_meant_to_write_is_wrong(tmp_path: Path) -> None:
    with Truth(tmp_path / "sim_truth") as truth:
        truth.write("xrd", "file", name="xrd-0001.xy", sha256="as meant")
        truth.write("xrd", "missed", cell_t_s=1.0)
    assert never_written(tmp_path, "xrd", ["as meant", "of something else"]) == 1
