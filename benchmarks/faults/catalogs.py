"""The catalog's service killed, doubled, away, and its files damaged: no row missing, none twice.

Rows are counted by comparing every run of the folder with its journal, value by value.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from event_model import compose_run

from benchmarks.faults.outcome import Effort, Outcome
from operando.catalog import (
    CatalogError,
    Verification,
    ensure_service,
    repair,
    status,
    stop_service,
    verify_runs,
    wait_until_ingested,
)
from operando.journal import JournalWriter, journal_path, list_runs

ROWS = 200
PAGE = 50
COLUMNS = ("t", "potential", "current", "cycle")
START_S = 120.0
INGEST_S = 300.0


def catalogs(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Try everything that befalls the catalog of one folder."""
    os.environ["TILED_PROFILES"] = str(folder / "profiles")
    return [
        _killed(folder / "killed", effort),
        _doubled(folder / "doubled"),
        _away(folder / "away"),
        *_damaged(folder / "damaged", effort),
    ]


def _record(folder: Path, rows: int = ROWS) -> tuple[str, float]:
    """Write a run; return its uid and the longest time that one document took, s."""
    run = compose_run()
    longest = 0.0
    with JournalWriter(folder) as journal:

        def write(name: str, doc: Any) -> None:
            nonlocal longest
            began = time.perf_counter()
            journal(name, doc)
            longest = max(longest, time.perf_counter() - began)

        write("start", run.start_doc)
        key = {"source": "trial", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
        stream = run.compose_descriptor(name="potentiostat", data_keys=dict.fromkeys(COLUMNS, key))
        write("descriptor", stream.descriptor_doc)
        for first in range(1, rows + 1, PAGE):
            numbers = list(range(first, min(first + PAGE, rows + 1)))
            stamps = [1.7e9 + number / 7 for number in numbers]
            page = stream.compose_event_page(
                data={key: [number / (7 + at) for number in numbers] for at, key in _numbered()},
                timestamps=dict.fromkeys(COLUMNS, stamps),
                seq_num=numbers,
                time=stamps,
                validate=False,
            )
            write("event_page", page)
        write("stop", run.compose_stop())
    return str(run.start_doc["uid"]), longest


def _numbered() -> list[tuple[int, str]]:
    return list(enumerate(COLUMNS))


def _compared(folder: Path, uids: Sequence[str]) -> tuple[int, list[Verification]]:
    """Return the rows of runs that differ from their journals, and the comparisons."""
    outcomes = list(verify_runs(uids, folder, timeout_s=INGEST_S))
    differing = [outcome for outcome in outcomes if not outcome.same]
    return sum(max(1, sum(outcome.rows.values())) for outcome in differing), outcomes


@contextmanager
def _ended(folder: Path) -> Any:
    try:
        yield
    finally:
        stop_service(folder)


def _killed(folder: Path, effort: Effort) -> Outcome:
    # A service takes 6-10 s until it answers; most of the kills are of runs, which take less.
    kills = max(2, effort.kills // 33)
    runs = 25 * kills
    random.seed(effort.seed)
    uids = [_record(folder)[0] for _ in range(runs)]
    uids.append(_record(folder, 100_000)[0])
    with _ended(folder):
        at = []
        for _ in range(kills):
            service = ensure_service(folder, wait_s=START_S)
            time.sleep(random.uniform(0.0, 3.0))
            told = status(folder)
            at.append(told.ingested)
            os.kill(service.pid, signal.SIGKILL)
        lost, outcomes = _compared(folder, uids)
    rows = sum(sum(outcome.rows.values()) for outcome in outcomes)
    return Outcome(
        f"the catalog's service killed {kills} times (kill -9) while it takes in {runs + 1} runs",
        "every row in the catalog once",
        f"{rows:,} rows compared; killed with {', '.join(map(str, at))} runs whole",
        lost,
    )


def _doubled(folder: Path) -> Outcome:
    uids = [_record(folder)[0] for _ in range(20)]
    refused = []
    with _ended(folder):
        ensure_service(folder)
        for _ in range(3):
            second = subprocess.run(
                [sys.executable, "-m", "operando.catalog.service", str(folder)],
                capture_output=True,
                text=True,
            )
            refused.append(second.returncode == 3 and "another catalog service" in second.stderr)
        lost, outcomes = _compared(folder, uids)
    return Outcome(
        "a second service is started on a folder, 3 times",
        "it refuses; every row once",
        f"{sum(refused)} of 3 refused; {sum(sum(o.rows.values()) for o in outcomes):,} rows once",
        lost,
        all(refused),
    )


def _away(folder: Path) -> Outcome:
    with _ended(folder):
        service = ensure_service(folder, wait_s=START_S)
        # Neither dead nor answering: the worst way to be away.
        os.kill(service.pid, signal.SIGSTOP)
        recorded = [_record(folder) for _ in range(25)]
        os.kill(service.pid, signal.SIGCONT)
        os.kill(service.pid, signal.SIGKILL)
        recorded += [_record(folder) for _ in range(25)]
        ensure_service(folder, wait_s=START_S)
        lost, _ = _compared(folder, [uid for uid, _ in recorded])
    longest = max(longest for _, longest in recorded)
    return Outcome(
        "the catalog does not answer, then is gone, while 50 runs are recorded",
        "no run waits or fails; the catalog catches up",
        f"the longest document took {1e3 * longest:.0f} ms; all 50 runs the same",
        lost,
        longest < 2.0,
    )


def _damaged(folder: Path, effort: Effort) -> list[Outcome]:
    random.seed(effort.seed)
    outcomes = []
    with _ended(folder):
        ensure_service(folder, wait_s=START_S)
        for fault, damage, under_the_service in (
            ("rows deleted from the catalog's table", _delete_rows, True),
            ("a value changed in the catalog's table", _change_a_value, True),
            ("the catalog's database cut to half its length", _truncate, False),
            ("the catalog's database overwritten with noise", _scribble, False),
            ("the catalog's tables deleted", _delete_tables, False),
        ):
            uids = _ingested(folder)
            if not under_the_service:
                stop_service(folder)
            damage(folder / "catalog")
            found, cured = _found_and_cured(folder, uids)
            lost, _ = _compared(folder, uids)
            outcomes.append(
                Outcome(
                    fault,
                    "found, and cured from the journals",
                    f"{found}; {cured}",
                    lost,
                    bool(found),
                )
            )
        outcomes.append(_journal_damaged(folder))
    return outcomes


def _ingested(folder: Path) -> list[str]:
    uids = [_record(folder)[0] for _ in range(3)]
    for uid in uids:
        wait_until_ingested(folder, uid, INGEST_S)
    return uids


def _journal_damaged(folder: Path) -> Outcome:
    """Damage a journal whose run is whole in the catalog, and have the catalog repaired."""
    uids = _ingested(folder)
    path = journal_path(folder, uids[0])
    with open(path, "r+b") as file:
        at = random.randrange(path.stat().st_size // 2, path.stat().st_size * 3 // 4)
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << random.randrange(8)]))
    before = next(iter(verify_runs(uids[:1], folder, timeout_s=INGEST_S)))
    told = [one for one in repair(folder, uids) if not one.cured]
    after = next(iter(verify_runs(uids[:1], folder, timeout_s=INGEST_S)))
    there = after.rows_there["potentiostat"]
    readable = after.rows["potentiostat"]
    return Outcome(
        "a bit flipped in the journal of a run that is whole in the catalog, then repair",
        "told; the catalog keeps every row",
        f"{readable} of {ROWS} rows in the journal, {there} in the catalog; "
        f"{'; '.join(one.done for one in told)}",
        ROWS - there,
        bool(before.damage and told) and readable < ROWS,
    )


def _found_and_cured(folder: Path, uids: Sequence[str]) -> tuple[str, str]:
    before = set(folder.glob("catalog-unreadable-*"))
    try:
        differing = sum(not outcome.same for outcome in verify_runs(uids, folder, timeout_s=30))
        found = f"{differing} runs differed" if differing else ""
    except CatalogError:
        found = "the catalog could not be opened"
    anew = set(folder.glob("catalog-unreadable-*")) - before
    if anew:
        return found or "damage found as the service began", "catalog begun anew"
    done = list(repair(folder))
    anew = set(folder.glob("catalog-unreadable-*")) - before
    if anew:
        return found or "damage found by repair", "catalog begun anew"
    return found, f"{sum(one.cured for one in done)} of {len(list_runs(folder))} runs taken in anew"


def _table(catalog: Path) -> tuple[sqlite3.Connection, str]:
    database = sqlite3.connect(catalog / "tables.db")
    (name,) = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'table_%'"
    ).fetchone()
    return database, name


def _delete_rows(catalog: Path) -> None:
    database, name = _table(catalog)
    with closing(database), database:
        database.execute(f'DELETE FROM "{name}" WHERE seq_num > {random.randrange(1, ROWS)}')


def _change_a_value(catalog: Path) -> None:
    database, name = _table(catalog)
    with closing(database), database:
        row = random.randrange(1, ROWS)
        database.execute(f'UPDATE "{name}" SET potential = potential + 1 WHERE seq_num = {row}')


def _truncate(catalog: Path) -> None:
    os.truncate(catalog / "catalog.db", (catalog / "catalog.db").stat().st_size // 2)


def _scribble(catalog: Path) -> None:
    path = catalog / "catalog.db"
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(random.randbytes(size - 4096))


def _delete_tables(catalog: Path) -> None:
    (catalog / "tables.db").unlink()
