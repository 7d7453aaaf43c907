"""``index.db``: what is known of the journals of a data folder, kept between programs.

The index is a cache and nothing else: it can be deleted at any time. One that is damaged or of
another version is built anew; one that cannot be written, or that somebody else holds, is copied
into memory and brought up to date there. Nobody waits for it.
"""

import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ._errors import JournalError
from ._roots import SUFFIX, month_folders
from ._scan import Scan, read_on

logger = logging.getLogger(__name__)

INDEX = "index.db"
# Raise it whenever a scan learns something else from a journal: what older versions remembered is
# then thrown away and read again.
SCHEMA = 5
PATIENCE_S = 0.2
# A folder that changed so shortly before it was looked at may have changed again unseen.
MTIME_STEP_NS = 2_000_000_000

COLUMNS = (
    "path",  # below the data folder
    "inode",
    "offset",
    "uid",
    "time",
    "plan_name",
    "protocol",
    "sample",
    "working_electrode",
    "counter_electrode",
    "electrolyte",
    "techniques",  # " type type "
    "resume_of",
    "root",
    "replay_of",
    "exit_status",  # empty: no stop document yet
    "reason",
    "rows",  # JSON; NULL: not counted yet
    "scan",  # JSON of what is needed to read on; NULL: the run is over
)
_CREATE = f"""
CREATE TABLE journals ({COLUMNS[0]} TEXT PRIMARY KEY, {", ".join(COLUMNS[1:])});
CREATE INDEX by_time ON journals (time);
CREATE INDEX by_uid ON journals (uid);
CREATE INDEX by_root ON journals (root) WHERE resume_of != '';
CREATE INDEX listing ON journals (path, inode);
CREATE INDEX by_resume ON journals (resume_of) WHERE resume_of != '';
CREATE INDEX going_on ON journals (path) WHERE exit_status = '';
CREATE TABLE folders (path TEXT PRIMARY KEY, mtime_ns INTEGER, looked_ns INTEGER);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER);
PRAGMA user_version = {SCHEMA};
"""

# Held by somebody, read-only, no room: nothing is wrong with the index itself.
_NOT_NOW = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


@contextmanager
def opened(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """Give the index of a data folder, brought up to date with its journals."""
    index = _refreshed(data_dir)
    try:
        yield index
    finally:
        index.close()


def _refreshed(data_dir: Path) -> sqlite3.Connection:
    path = data_dir / INDEX
    if path.exists() or any(month_folders(data_dir)):
        try:
            return _in_file(data_dir)
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            if getattr(error, "sqlite_errorcode", None) in _NOT_NOW:
                logger.info("index of runs not written: %s", error)
                return _in_memory(data_dir)
            logger.warning("index of runs is damaged (%s); building a new one", error)
            try:
                path.unlink(missing_ok=True)
                return _in_file(data_dir)
            except (OSError, sqlite3.Error) as refused:
                logger.info("index of runs not written: %s", refused)
    return _in_memory(data_dir)


def _in_file(data_dir: Path) -> sqlite3.Connection:
    index = sqlite3.connect(data_dir / INDEX, timeout=PATIENCE_S, isolation_level=None)
    try:
        if _schema(index) != SCHEMA:
            index.execute("BEGIN IMMEDIATE")
            if _schema(index) != SCHEMA:  # nobody else did it meanwhile
                _create(index)
            index.execute("COMMIT")
        _refresh(index, data_dir)
    except BaseException:
        index.close()
        raise
    return index


def _in_memory(data_dir: Path) -> sqlite3.Connection:
    index = sqlite3.connect(":memory:", isolation_level=None)
    path = data_dir / INDEX
    try:
        if path.exists():
            saved = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.0)
            try:
                # Held for reading first: `backup` would wait for ever for somebody who writes.
                saved.execute("BEGIN")
                saved.execute("SELECT count(*) FROM sqlite_master").fetchone()
                saved.backup(index)
            finally:
                saved.close()
        if _schema(index) == SCHEMA:
            _refresh(index, data_dir)
            return index
    except sqlite3.Error as error:
        logger.info("index of runs not read: %s", error)
    index.close()
    index = sqlite3.connect(":memory:", isolation_level=None)
    _create(index)
    _refresh(index, data_dir)
    return index


def _schema(index: sqlite3.Connection) -> int:
    return int(index.execute("PRAGMA user_version").fetchone()[0])


def _create(index: sqlite3.Connection) -> None:
    tables = index.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in tables:
        index.execute(f'DROP TABLE "{name}"')
    for statement in filter(str.strip, _CREATE.split(";")):
        index.execute(statement)


def _refresh(index: sqlite3.Connection, data_dir: Path) -> None:
    """Learn which journals came and went, and what those that still grow have gained.

    Folders that have not changed since they were looked at are not listed again, and journals
    with a stop document are not even asked for their size.
    """
    changes = _changes(index, data_dir)
    if not any(vars(changes).values()):
        return
    index.execute("BEGIN IMMEDIATE")
    names = ", ".join(f":{name}" for name in COLUMNS)
    index.executemany(f"INSERT OR REPLACE INTO journals VALUES ({names})", changes.rows)
    index.executemany("DELETE FROM journals WHERE path = ?", [(path,) for path in changes.gone])
    index.executemany("INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", changes.folders)
    index.executemany("DELETE FROM folders WHERE path = ?", [(key,) for key in changes.lost])
    index.execute("COMMIT")


@dataclass
class _Changes:
    rows: list[dict[str, Any]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    folders: list[tuple[str, int, int]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def _changes(index: sqlite3.Connection, data_dir: Path) -> _Changes:
    found = _Changes()
    known_folders = {
        key: (mtime, looked)
        for key, mtime, looked in index.execute("SELECT path, mtime_ns, looked_ns FROM folders")
    }
    for folder in month_folders(data_dir):
        key = folder.relative_to(data_dir).as_posix()
        now, mtime = time.time_ns(), os.stat(folder).st_mtime_ns
        before, looked = known_folders.pop(key, (0, 0))
        if mtime == before and looked - mtime > MTIME_STEP_NS:
            continue
        if mtime != before or now - mtime > MTIME_STEP_NS:
            found.folders.append((key, mtime, now))
        known = _known_in(index, key)
        present = {
            f"{key}/{entry.name}": entry.inode()
            for entry in os.scandir(folder)
            if entry.name.endswith(SUFFIX)
        }
        for path, inode in sorted(present.items() - known.items()):
            found.rows += _read(data_dir, path, inode)
        found.gone += known.keys() - present.keys()
    for key in known_folders:
        found.gone += _known_in(index, key)
        found.lost.append(key)
    for path, inode, offset, scan in index.execute(
        "SELECT path, inode, offset, scan FROM journals WHERE exit_status = ''"
    ):
        try:
            size = os.stat(data_dir / path).st_size
        except FileNotFoundError:
            continue  # its folder has changed: it is gone, or read anew
        if size != offset:
            # A journal only grows. One that shrank was cut or replaced and is read afresh.
            found.rows += _read(data_dir, path, inode, scan if size > offset else None)
    return found


def _known_in(index: sqlite3.Connection, folder: str) -> dict[str, int]:
    """Return path -> inode of the journals of a folder."""
    between = (f"{folder}/", f"{folder}0")  # 0 follows / in ASCII
    return dict(
        index.execute("SELECT path, inode FROM journals WHERE path >= ? AND path < ?", between)
    )


def _read(
    data_dir: Path, path: str, inode: int, known: str | None = None
) -> Iterable[dict[str, Any]]:
    """Return the row of one journal; none if it is not a journal."""
    try:
        scan = read_on(data_dir / path, None if known is None else Scan(**json.loads(known)))
    except (JournalError, FileNotFoundError) as error:
        logger.warning("left out of the list of runs: %s", error)
        return []
    # One without a start document yet has a row without a uid, so that it is looked at again.
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"time": 0.0} | scan.start
    row["techniques"] = f" {' '.join(scan.start.get('techniques', ()))} "
    row |= {
        "path": path,
        "inode": inode,
        "offset": scan.offset,
        "exit_status": scan.stop.get("exit_status", ""),
        "reason": scan.stop.get("reason", ""),
        "rows": json.dumps(scan.rows) if scan.counted else None,
        "scan": None if scan.stop else json.dumps(asdict(scan)),
    }
    return [row]


def remember_rows(data_dir: Path, rows: Iterable[tuple[str, dict[str, int]]]) -> None:
    """Keep the rows by stream of runs, (uid, rows), that were counted; if it can be written."""
    try:
        index = sqlite3.connect(data_dir / INDEX, timeout=PATIENCE_S)
        try:
            with index:
                index.executemany(
                    "UPDATE journals SET rows = ? WHERE uid = ? AND rows IS NULL",
                    [(json.dumps(counts), uid) for uid, counts in rows],
                )
        finally:
            index.close()
    except sqlite3.Error as error:
        logger.info("index of runs not written: %s", error)


def next_number(data_dir: Path, name: str, at_least: int) -> int | None:
    """Count one up in the index, over all programs; None if it cannot be written.

    It costs the same however many runs there are.
    """
    try:
        index = sqlite3.connect(
            f"{(data_dir / INDEX).absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=PATIENCE_S,
            isolation_level=None,
        )
        try:
            if _schema(index) != SCHEMA:
                return None
            index.execute("BEGIN IMMEDIATE")
            found = index.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
            value = max(found[0] if found else 0, at_least - 1) + 1
            index.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
            index.execute("COMMIT")
            return value
        finally:
            index.close()
    except sqlite3.Error as error:
        logger.info("index of runs not written: %s", error)
        return None
