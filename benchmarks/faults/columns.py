"""Rows in the columns of a file: their writer killed, and their disk full."""

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.faults.disks import SmallDisk, small_disk
from benchmarks.faults.doomed import Doomed, Nursery, nursery
from benchmarks.faults.outcome import Effort, Outcome
from benchmarks.faults.recorder import COLUMNS, STREAM, row_values
from instruments._swmr import KEPT_FREE_BYTES
from operando.journal import close_dead_run, documents
from operando.runs import Run

_SIZE_BYTES = KEPT_FREE_BYTES + (16 << 20)
FULL_FOR_S = 2.0
PATIENCE_S = 1.5


def full_columns(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Fill the disks of writers of columns."""
    with nursery() as processes:
        return [
            _full_for_a_while(folder / "while", processes),
            _full_to_the_brim(folder / "brim", processes),
        ]


def killed_columns(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Kill writers of columns, a quarter as often as other recorders."""
    rng = random.Random(effort.seed)
    times = max(1, effort.kills // 4)
    lost = read = closed = 0
    with nursery() as processes:
        for number in range(times):
            place = folder / f"kill-{number}"
            doomed = processes.start(place, "columns")
            doomed.wait_for("doc", 2)
            time.sleep(rng.uniform(0.0, 0.8))
            doomed.kill()
            rows, wrong = _kept(doomed)
            lost += max(0, _announced(doomed) - rows) + wrong
            closed += close_dead_run(doomed.journal)
            again, wrong = _kept(doomed)
            lost += abs(again - rows) + wrong
            read += rows
            shutil.rmtree(place)
    return [
        Outcome(
            fault=f"kill -9, {times} times: RunEngine, columns of a file at 10 Hz, 200 rows/s",
            expected="every row whose announcement the journal had taken; closed as fail",
            observed=f"{read} rows read back, {closed} closed",
            rows_lost=lost,
            as_expected=closed == times,
        )
    ]


def _full_for_a_while(folder: Path, processes: Nursery) -> Outcome:
    with small_disk(folder / "disk", _SIZE_BYTES) as disk:
        doomed = _begun(processes, folder, disk)
        disk.fill(but_bytes=KEPT_FREE_BYTES // 2)
        doomed.wait_for("alarm")
        before = _kept(doomed)[0]
        time.sleep(FULL_FOR_S)
        meanwhile = _kept(doomed)[0] - before
        disk.free()
        time.sleep(0.3)
        doomed.end()
        (rows, wrong), received = _kept(doomed), _received(doomed)
        alarms = _count(doomed, "alarm")
    return Outcome(
        fault=f"too little room for {FULL_FOR_S:g} s under columns of 200 rows/s",
        expected="an alarm at once; rows wait in memory; every row the driver received is written "
        "when there is room",
        observed=f"{alarms} alarms; {received} rows received, {before} written before, "
        f"{meanwhile} meanwhile, {rows} at the end",
        rows_lost=received - rows + wrong,
        as_expected=alarms == 1 and not _count(doomed, "raised") and meanwhile == 0,
    )


def _full_to_the_brim(folder: Path, processes: Nursery) -> Outcome:
    """HDF5 ends its process if a write fails for want of room; so none may be tried."""
    with small_disk(folder / "disk", _SIZE_BYTES) as disk:
        doomed = _begun(processes, folder, disk, patience_s=PATIENCE_S)
        disk.fill()
        doomed.wait_for("raised")
        announced = _announced(doomed)
        doomed.end()
        (rows, wrong), survived = _kept(doomed), _count(doomed, "end") == 1
    return Outcome(
        fault=f"disk full to the last byte under columns, for longer than is waited "
        f"({PATIENCE_S:g} s)",
        expected="alarm, then the plan is stopped; the process lives and closes its file; every "
        "row announced before is there",
        observed=f"{announced} rows announced, {rows} read back; the process "
        + ("lived" if survived else "DIED"),
        rows_lost=max(0, announced - rows) + wrong,
        as_expected=survived and _count(doomed, "alarm") >= 1 and announced > 0,
    )


def _begun(processes: Nursery, folder: Path, disk: SmallDisk, **order: float) -> Doomed:
    doomed = processes.start(folder / "process", "columns", data=disk.data, **order)
    doomed.wait_for("doc", 3)
    return doomed


def _kept(doomed: Doomed) -> tuple[int, int]:
    """Return how many rows can be read, and how many of them are not what was received."""
    stream = Run.from_documents(documents(doomed.journal)).streams[STREAM]
    found = np.stack([stream.columns[f"{STREAM}_{key}"] for key in COLUMNS], axis=1)
    wanted = [row_values(number) for number in range(1, len(found) + 1)]
    wrong = np.any(found != np.reshape(wanted, found.shape), axis=1)
    return len(stream), int(np.sum(wrong))


def _announced(doomed: Doomed) -> int:
    return max(int(line[3]) for line in doomed.lines() if line[0] == "doc")


def _received(doomed: Doomed) -> int:
    return max(int(line[1]) for line in doomed.lines() if line[0] == "row")


def _count(doomed: Doomed, kind: str) -> int:
    return sum(line[0] == kind for line in doomed.lines())
