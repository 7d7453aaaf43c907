"""A run of a million rows and more: opened, sought in, replayed and reported, in bare processes."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bluesky_tiled_plugins import TiledWriter

from benchmarks.recording import embedded_catalog
from benchmarks.runs import documents_of_a_run, record
from benchmarks.table import Row, Section

ROWS = 1_000_000
REPORTED_ROWS = 3_600_000
SINGLE_ROWS = 100_000  # as a run slower than ten rows a second has them: a page each
STOCK_ROWS = 20_000
REPEATS = 5

# Each of these runs in an interpreter of its own with FOLDER and UID, and prints JSON.
_BARE = """
import json, sys, time
from pathlib import Path
folder, uid = Path(sys.argv[1]), sys.argv[2]
def told(**found):
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(json.dumps({**found, "peak_mb": int(peak) * 1024 / 1e6}))
"""
_REPLAY = (
    _BARE
    + """
from operando.replay import replay
rows, first = 0, []
def take(name, doc):
    global rows
    if not first:
        first.append(time.perf_counter() - began)
    if name == "event_page":
        rows += len(doc["seq_num"])
began = time.perf_counter()
replay(uid, folder, take)
told(first_s=first[0], seconds=time.perf_counter() - began, rows=rows)
"""
)
_SEEK = (
    _BARE
    + """
import random
from operando.journal import documents, journal_path
def seek(cycle):
    began = time.perf_counter()
    for name, doc in documents(journal_path(folder, uid), from_cycle=cycle):
        if name == "event_page":
            break
    took = time.perf_counter() - began
    assert set(doc["data"]["potentiostat_cycle"][:1]) == {float(cycle)}, (cycle, doc)
    return took
last = int(sys.argv[3])
first_s = seek(last // 2)
told(first_s=first_s, later_s=[seek(random.randint(1, last)) for _ in range(20)])
"""
)
_COLUMN = (
    _BARE
    + """
from operando.journal import journal_path, read_columns
import numpy
began = time.perf_counter()
found = read_columns(journal_path(folder, uid), "potentiostat", ["potentiostat_potential"])
told(seconds=time.perf_counter() - began, rows=len(found["potentiostat_potential"]))
"""
)
_OPEN = (
    _BARE
    + """
from operando.runs import Run
import numpy
began = time.perf_counter()
run = Run.from_journal(uid, folder)
told(seconds=time.perf_counter() - began, rows=len(run.streams["potentiostat"]))
"""
)
# `operando report`; what the system tells of an ended child counts its parent's memory in.
_REPORT = """
import json, sys, time
from operando.cli import main
code = main()
status = open("/proc/self/status").read().splitlines()
peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
told = {"cpu_s": time.process_time(), "peak_mb": int(peak) * 1024 / 1e6}
print(json.dumps(told), file=sys.stderr)
sys.exit(code)
"""
_STOCK = (
    _BARE
    + """
from benchmarks.recording import embedded_catalog
run = embedded_catalog(folder)[uid]
rows, first = 0, []
began = time.perf_counter()
for name, doc in run.documents():
    if not first:
        first.append(time.perf_counter() - began)
    if name == "event":
        rows += 1
    elif name == "event_page":
        rows += len(doc["seq_num"])
told(first_s=first[0], seconds=time.perf_counter() - began, rows=rows)
"""
)


def large(folder: Path, scale: float = 1.0) -> Section:
    """Measure what a user does with a run that was long."""
    rows = round(ROWS * scale)
    uid = record(folder, rows)
    cycles = rows // 3600
    replayed = [_bare(_REPLAY, folder, uid, rows=rows) for _ in range(REPEATS)]
    lines = [
        _row("replay, first document", [x["first_s"] for x in replayed], "s", "<= 0.1"),
        _row("replay", [rows / x["seconds"] for x in replayed], "rows/s", ">= 1,000,000"),
        _row("replay, most memory", [x["peak_mb"] for x in replayed], "MB", "<= 100"),
    ]
    tenth = record(folder, rows // 10)
    memory = [_bare(_REPLAY, folder, tenth)["peak_mb"] for _ in range(REPEATS)]
    lines.append(_row("the same with a tenth of the rows", memory, "MB"))
    sought = _bare(_SEEK, folder, uid, cycles)
    lines += [
        _row("seek to a cycle, the index being made", [1e3 * sought["first_s"]], "ms"),
        _row("seek to a cycle", [1e3 * x for x in sought["later_s"]], "ms", "<= 10"),
    ]
    columns = [_bare(_COLUMN, folder, uid, rows=rows)["seconds"] for _ in range(REPEATS)]
    lines.append(_row("one column", columns, "s", "<= 0.5"))
    opened = [_bare(_OPEN, folder, uid, rows=rows)["seconds"] for _ in range(REPEATS)]
    lines.append(_row("all columns, as a Run", opened, "s"))
    lines += _reported(folder, scale)
    lines += _single(folder, scale)
    lines += _stock(folder / "stock", scale, lines[0], lines[1])
    return Section(
        f"A run of {rows:,} rows of nine columns in {cycles:,} cycles, pages of 100 rows",
        "python -m benchmarks large",
        lines,
        "Each in an interpreter of its own; memory is its peak. Pages of 100 rows are those of "
        "1000 rows/s; a run slower than ten rows/s has a row a page, and its journal is read at "
        "the rates of those lines.",
    )


def _row(what: str, values: Sequence[float], unit: str, wanted: str = "", told: str = "") -> Row:
    return Row(what, list(values), unit, told, wanted)


def _reported(folder: Path, scale: float) -> list[Row]:
    rows = round(REPORTED_ROWS * scale)
    uid = record(folder, rows)
    afresh = [_report(folder, uid, afresh=True) for _ in range(3)]
    again = [_report(folder, uid) for _ in range(3)]
    size = f"{rows:,} rows, {rows // 3600:,} cycles"
    return [
        *_report_rows(f"`operando report`, {size}", afresh),
        _row("the same once more", [each.seconds for each in again], "s"),
    ]


@dataclass(frozen=True)
class _Told:
    """What a report took: wall time, processor time of the process, and its most memory."""

    seconds: float
    cpu_s: float
    peak_mb: float


def _report_rows(what: str, reports: Sequence[_Told]) -> list[Row]:
    told = "nothing computed before"
    return [
        _row(what, [each.seconds for each in reports], "s", "<= 5", told),
        _row(f"{what}: processor time", [each.cpu_s for each in reports], "s"),
        _row(f"{what}: most memory", [each.peak_mb for each in reports], "MB", "<= 500"),
    ]


def _report(folder: Path, uid: str, *, afresh: bool = False) -> _Told:
    if afresh:
        for kept in ("metrics.db", "index.db"):
            for path in folder.glob(f"{kept}*"):
                path.unlink()
    environment = {**os.environ, "OPERANDO_DATA": str(folder)}
    command = [sys.executable, "-c", _REPORT, "report", uid]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    took = time.perf_counter() - began
    if "ce_mean_pct" not in done.stdout:
        raise AssertionError(f"no efficiency was reported:\n{done.stdout}")
    told = json.loads(done.stderr.splitlines()[-1])
    return _Told(took, told["cpu_s"], told["peak_mb"])


def _single(folder: Path, scale: float) -> list[Row]:
    rows = round(SINGLE_ROWS * scale)
    uid = record(folder, rows, page_rows=1)
    replayed = [_bare(_REPLAY, folder, uid, rows=rows) for _ in range(3)]
    opened = [_bare(_OPEN, folder, uid, rows=rows)["seconds"] for _ in range(3)]
    told = f"{rows:,} rows"
    long_rows = round(REPORTED_ROWS * scale)
    long = record(folder, long_rows, page_rows=1)
    report = [_report(folder, long, afresh=True) for _ in range(3)]
    return [
        *_report_rows(f"a row a page: `operando report`, {long_rows:,} rows", report),
        _row("a row a page: replay", [rows / x["seconds"] for x in replayed], "rows/s", "", told),
        _row("a row a page: all columns, as a Run", [rows / x for x in opened], "rows/s", "", told),
    ]


def _stock(folder: Path, scale: float, first: Row, rate: Row) -> list[Row]:
    """Measure the same of a run that TiledWriter stored: documents() of its client."""
    rows = round(STOCK_ROWS * scale)
    client = embedded_catalog(folder)
    writer = TiledWriter(client)
    told = list(documents_of_a_run(rows))
    for name, doc in told:
        writer(name, doc)
    uid = told[0][1]["uid"]
    found = [_bare(_STOCK, folder, uid, rows=rows) for _ in range(3)]
    stock_first = statistics.median(x["first_s"] for x in found)
    stock_rate = statistics.median(rows / x["seconds"] for x in found)
    return [
        _row(
            f"stock path, databroker's documents() of {rows:,} rows: first document",
            [x["first_s"] for x in found],
            "s",
            "",
            f"ours comes {stock_first / first.median:.3g} times as soon, of {ROWS:,} rows",
        ),
        _row(
            "the same, all of them",
            [rows / x["seconds"] for x in found],
            "rows/s",
            "",
            f"ours is {rate.median / stock_rate:.3g} times as fast",
        ),
        _row("the same, most memory", [x["peak_mb"] for x in found], "MB"),
    ]


def _bare(code: str, folder: Path, uid: str, *more: object, rows: int | None = None) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(folder), uid, *map(str, more)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    if rows is not None and found["rows"] != rows:
        raise AssertionError(f"{found['rows']} rows came back of {rows}")
    return found
