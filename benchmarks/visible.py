"""How soon others see a row, and what the catalog's service costs while a run goes on.

``python -m benchmarks.visible FOLDER ROWS_PER_S SECONDS NOTES`` is the process that records,
through a RunEngine into the journal.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bluesky.run_engine import RunEngine

from benchmarks.flyers import STREAM
from benchmarks.killed import PacedPages, PacedRows, collected
from benchmarks.table import Row, Section
from operando import page_validation
from operando.catalog import close_catalog, ensure_service, open_catalog, stop_service
from operando.journal import JournalReader, JournalWriter, journal_path, list_runs, row_times

RATES = (100.0, 1000.0, 5000.0)
SECONDS = 20.0
SHARES = 3  # one after the other: what else the machine does shows in twenty seconds
SETTLE_S = 4.0
SAMPLE_EVERY_S = 0.05


def visible(folder: Path, scale: float = 1.0) -> Section:
    """Measure the newest row's age in another process, and the service's processor time."""
    seconds = max(4.0, SECONDS * scale)
    rows: list[Row] = []
    fastest = RATES[-1]
    service = ensure_service(folder, wait_s=120, idle_s=600)
    try:
        with _recording(folder, fastest, seconds) as uid:
            rows.append(
                _ages("the newest row's age, by journal", _by_journal(folder, uid), seconds)
            )
        catalog = open_catalog(folder)
        try:
            with _recording(folder, fastest, seconds) as uid:
                rows.append(_ages("the same, by catalog", _by_catalog(catalog, uid), seconds))
        finally:
            close_catalog(catalog)
        for rate in RATES:
            with _recording(folder, rate, SHARES * seconds):
                shares = [100 * _processor_share(service.pid, seconds) for _ in range(SHARES)]
            what = f"processor of the service, {rate:g} rows/s, nobody reading"
            rows.append(Row(what, shares, "% of a core", "", "<= 10"))
    finally:
        stop_service(folder)
    return Section(
        f"A run under way: five columns in ten pages a second, {fastest:g} rows/s where not said",
        "python -m benchmarks visible",
        rows,
        f"Ages are looked at every {SAMPLE_EVERY_S * 1e3:g} ms for {seconds:g} s: now less the "
        "moment at which the newest row that can be read was due.",
    )


@contextmanager
def _recording(folder: Path, rate: float, seconds: float) -> Iterator[str]:
    """Record in another process; begins when the run has begun and its first seconds are over."""
    before = {run.uid for run in list_runs(folder)}
    lasts = seconds + SETTLE_S + 5.0
    arguments = [str(folder), str(rate), str(lasts), os.devnull]
    with subprocess.Popen([sys.executable, "-m", "benchmarks.visible", *arguments]) as process:
        try:
            while not (new := {run.uid for run in list_runs(folder)} - before):
                if process.poll() is not None:
                    raise RuntimeError("the process that records ended")
                time.sleep(0.05)
            time.sleep(SETTLE_S)
            yield new.pop()
        finally:
            process.wait(timeout=60)


def _ages(what: str, newest: Callable[[], float], seconds: float) -> Row:
    ages = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        seen = newest()
        ages.append(time.time() - seen)
        time.sleep(SAMPLE_EVERY_S)
    return Row(what, ages, "s", "", "<= 1", always=True)


def _by_journal(folder: Path, uid: str) -> Callable[[], float]:
    reader = JournalReader(journal_path(folder, uid))
    newest = 0.0

    def look() -> float:
        nonlocal newest
        for name, doc in reader:
            if name == "event_page":
                newest = max(newest, row_times(doc)[-1])
        return newest

    return look


def _by_catalog(catalog: Any, uid: str) -> Callable[[], float]:
    table: list[Any] = []

    def look() -> float:
        if not table:
            table.append(catalog[uid].base[STREAM].base["internal"])
        return float(table[0].read(["time"])["time"].max())

    return look


def _processor_share(pid: int, seconds: float) -> float:
    before, began = _processor_s(pid), time.monotonic()
    time.sleep(seconds)
    return (_processor_s(pid) - before) / (time.monotonic() - began)


def _processor_s(pid: int) -> float:
    """Return the processor time a process has used, its threads included, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(folder: Path, rows_per_s: float, seconds: float, notes: Path) -> None:
    """Record for a while."""
    page_validation.use()
    engine = RunEngine({})
    engine.subscribe(JournalWriter(folder))
    engine(collected(PacedPages(PacedRows(rows_per_s, notes)), seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
