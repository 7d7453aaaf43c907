"""What grows when runs and rows become many: lists, numbers, journals, the catalog's service."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.runs import documents_of_a_run
from benchmarks.table import Curve, Row, Section, seconds
from operando.catalog import ensure_service, stop_service, wait_until_ingested
from operando.journal import JournalWriter, ScanNumbers, journal_path, list_runs, select_runs

RUNS = 10_000
ROWS_PER_RUN = 100
ROWS = 10_000_000
LOOKS = (100, 300, 1000, 3000, 10_000)  # fewer than twenty would make shorter lists
LOOKED_AT = 20  # runs measured from each count of runs on
COMMANDS = 5


def runs(folder: Path, scale: float = 1.0) -> Section:
    """Measure the list of many runs, and what one more run costs when there are so many."""
    total = round(RUNS * scale)
    numbers = ScanNumbers(folder)
    looks = [there for there in LOOKS if there <= total]
    costs: list[list[Row]] = []
    with JournalWriter(folder) as journal:
        made = 0
        for there in looks:
            while made < there:
                _one_run(journal)
                made += 1
            costs.append(_cost_of_one_more(folder, journal, numbers, made))
            made += LOOKED_AT
    cold, warm = _listed(folder, afresh="index.db"), _listed(folder)
    condition = ("--where", "ce_mean_pct > 99", "--newest", "20")
    first, found = _listed(folder, *condition, times=1), _listed(folder, *condition)
    curves = [
        Curve(
            "runs in the folder",
            costs[0][kind].what.partition(", beside")[0],
            costs[0][kind].unit,
            looks,
            [rows[kind].median for rows in costs],
            drawn,
        )
        for kind, drawn in enumerate((True, False, True, True))
    ]
    lines = [
        *(row for rows in costs for row in rows),
        *(curve.growth for curve in curves),
        Row(f"`operando runs`, {made:,} runs, no index", cold, "s", "", "<= 1.5"),
        Row(f"`operando runs`, {made:,} runs, again", warm, "s", "", "<= 0.3"),
        Row("the same `--where 'ce_mean_pct > 99'`, no metrics stored", first, "s"),
        Row("the same once more", found, "s"),
    ]
    return Section(
        f"Many runs, {ROWS_PER_RUN} rows each",
        "python -m benchmarks runs",
        lines,
        f"One more run is looked at {LOOKED_AT} times at each count. Writing it syncs the disk "
        "four times, which is most of it. Growth is the last median over the first.",
        curves,
    )


def _one_run(journal: JournalWriter) -> str:
    told = list(documents_of_a_run(ROWS_PER_RUN, rows_per_cycle=ROWS_PER_RUN))
    for name, doc in told:
        journal(name, doc)
    return str(told[0][1]["uid"])


def _cost_of_one_more(
    folder: Path, journal: JournalWriter, numbers: ScanNumbers, there: int
) -> list[Row]:
    list_runs(folder)
    costs: dict[str, list[float]] = {"written": [], "numbered": [], "listed": []}
    sizes: list[float] = []
    for _ in range(LOOKED_AT):
        told = list(documents_of_a_run(ROWS_PER_RUN, rows_per_cycle=ROWS_PER_RUN))

        def write(told: list[tuple[str, dict[str, object]]] = told) -> None:
            for name, doc in told:
                journal(name, doc)

        costs["numbered"].append(1e3 * seconds(numbers.next))
        costs["written"].append(1e3 * seconds(write))
        costs["listed"].append(1e3 * seconds(lambda: select_runs(folder, limit=20)))
        sizes.append(float(journal_path(folder, str(told[0][1]["uid"])).stat().st_size))
    beside = f"beside {there:,} others"
    return [
        Row(f"a run written, {beside}", costs["written"], "ms"),
        Row(f"a run's number, {beside}", costs["numbered"], "ms"),
        Row(f"a run taken in and the newest 20 listed, {beside}", costs["listed"], "ms"),
        Row(f"a run's journal, {beside}", sizes, "bytes"),
    ]


def _listed(folder: Path, *arguments: str, afresh: str = "", times: int = COMMANDS) -> list[float]:
    """Return how long `operando runs` takes; ``afresh`` names the database to forget before."""
    environment = {**os.environ, "OPERANDO_DATA": str(folder)}
    command = [sys.executable, "-m", "operando.cli", "runs", *arguments]
    took = []
    for _ in range(times):
        for path in folder.glob(f"{afresh}*") if afresh else ():
            path.unlink()
        began = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        took.append(time.perf_counter() - began)
        if done.stdout.count("\n") < LOOKED_AT:
            raise AssertionError(f"runs are missing:\n{done.stdout}")
    return took


def growth(folder: Path, scale: float = 1.0) -> Section:
    """Measure what a row costs, from the first to the ten-millionth of one run."""
    total = round(ROWS * scale)
    looks = sorted({10_000, 100_000, 1_000_000, total})
    service = ensure_service(folder, wait_s=120, idle_s=600)
    lines: list[Row] = []
    counts: list[int] = []
    memory = [Row("the service's memory at rest", [_resident_mb(service.pid)], "MB")]
    try:
        with JournalWriter(folder) as journal:
            told = documents_of_a_run(total)
            name, start = next(told)
            journal(name, start)
            uid = str(start["uid"])
            path = journal_path(folder, uid)
            rows = looked = 0
            took, size = 0.0, path.stat().st_size
            for name, doc in told:
                began = time.perf_counter()
                journal(name, doc)
                took += time.perf_counter() - began
                if name != "event_page":
                    continue
                rows += len(doc["seq_num"])
                if rows not in looks:
                    continue
                new, grown = rows - looked, path.stat().st_size - size
                to = f"rows {looked + 1:,} to {rows:,}"
                newest = 1e3 * _median(lambda: select_runs(folder, limit=20), 5)
                wait_until_ingested(folder, uid, timeout_s=1200)
                counts.append(rows)
                lines += [
                    Row(f"a row written, {to}", [1e6 * took / new], "us"),
                    Row(f"a row in the journal, {to}", [grown / new], "bytes"),
                    Row(f"the newest 20 runs listed, {rows:,} rows on", [newest], "ms"),
                ]
                what = f"the same, {rows:,} rows ingested"
                memory.append(Row(what, [_resident_mb(service.pid)], "MB"))
                looked, took, size = rows, 0.0, path.stat().st_size
        ends = seconds(lambda: wait_until_ingested(folder, uid, timeout_s=1200))
        memory.append(Row("the run's end in the catalog, after its stop", [ends], "s"))
    finally:
        stop_service(folder)
    titles = ("a row written", "a row in the journal", "the newest 20 runs listed")
    curves = [
        Curve(
            "rows in the run", title, row.unit, counts, [x.median for x in lines[kind::3]], kind < 2
        )
        for kind, (title, row) in enumerate(zip(titles, lines, strict=False))
    ]
    resident = [row.median for row in memory[1 : 1 + len(counts)]]
    curves.append(Curve("rows in the run", "the service's memory", "MB", counts, resident))
    return Section(
        f"One run of {total:,} rows of nine columns in pages of 100, ingested while it is written",
        "python -m benchmarks growth",
        [*lines, *memory, *(curve.growth for curve in curves)],
        "Memory is what is resident, after the service has caught up with so many rows. Growth is "
        "the last figure over the first.",
        curves,
    )


def _median(work: Callable[[], object], times: int) -> float:
    return statistics.median(seconds(work) for _ in range(times))


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} tells no memory")
