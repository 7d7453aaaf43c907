"""``index.db``: what is known of the journals of a data folder, kept between programs.

The index is a cache and nothing else: it can be deleted at any time. One that is damaged or of
another version is built anew; one that cannot be written, or that somebody else holds, is copied
into memory and brought up to date there. Nobody waits for it.
"""

import json
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._errors import JournalError
from ._roots import SUFFIX, month_folders
from ._scan import look_at

logger = logging.getLogger(__name__)

INDEX = "index.db"
# Raise it whenever a scan learns something else from a journal: what older versions remembered is
# then thrown away and read again.
SCHEMA = 10
PATIENCE_S = 0.2
# A folder that changed so shortly before it was looked at may have changed again unseen.
CHANGE_STEP_NS = 2_000_000_000

COLUMNS = (
    "path",  # below the data folder
    "inode",
    "size",  # of the file when it was looked at
    "uid",
    "time",
    "scan_id",  # in its data folder; 0: not told
    "begun",  # what runs are ordered by: the time, put right where the clock was set back
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
    "attachment_of",  # the run whose late results it holds
    "supersedes",  # the attachment whose place it takes
    "exit_status",  # empty: no stop document yet
    "reason",
    "rows",  # JSON; NULL: not counted yet
    "scan",  # JSON of how far its rows were counted; NULL: not begun, or done
    "damage",  # what is known to be damaged in it; empty: nothing
)
_CREATE = f"""
CREATE TABLE journals ({COLUMNS[0]} TEXT PRIMARY KEY, {", ".join(COLUMNS[1:])});
CREATE INDEX by_begun ON journals (begun, scan_id, path);
CREATE INDEX by_scan_id ON journals (scan_id, begun) WHERE scan_id > 0;
CREATE INDEX by_uid ON journals (uid);
CREATE INDEX by_root ON journals (root) WHERE resume_of != '';
CREATE INDEX alone ON journals (uid)
    WHERE uid != '' AND resume_of = '' AND attachment_of = '';
CREATE INDEX by_resume ON journals (resume_of) WHERE resume_of != '';
CREATE INDEX attached ON journals (attachment_of) WHERE attachment_of != '';
CREATE INDEX superseding ON journals (supersedes) WHERE supersedes != '';
CREATE INDEX going_on ON journals (path) WHERE exit_status = '';
CREATE TABLE folders (path TEXT PRIMARY KEY, stamp TEXT, looked_ns INTEGER);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER);
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
def opened(data_dir: Path, *, refreshed: bool = True) -> Iterator[sqlite3.Connection]:
    """Give the index of a data folder, brought up to date with its journals.

    Who has just had that done may do without.
    """
    index = (None if refreshed else _as_it_is(data_dir)) or _refreshed(data_dir)
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


def _as_it_is(data_dir: Path) -> sqlite3.Connection | None:
    path = data_dir / INDEX
    try:
        index = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0.0, isolation_level=None
        )
        try:
            if _schema(index) == SCHEMA:
                return index
        except sqlite3.Error:
            index.close()
            raise
        index.close()
    except sqlite3.Error as error:
        logger.info("index of runs not read: %s", error)
    return None


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
        if name != "counters":  # a number once given is not given again
            index.execute(f'DROP TABLE "{name}"')
    for statement in filter(str.strip, _CREATE.split(";")):
        index.execute(statement)


def _refresh(index: sqlite3.Connection, data_dir: Path) -> None:
    """Learn which journals came and went, and what became of those that still grow.

    Folders that have not changed since they were looked at are not listed again, and journals
    with a stop document are not even asked for their size.
    """
    changes = _changes(index, data_dir)
    if any(vars(changes).values()):
        _apply(index, changes)


def _apply(index: sqlite3.Connection, changes: "_Changes") -> None:
    index.execute("BEGIN IMMEDIATE")
    names = ", ".join(f":{name}" for name in COLUMNS)
    index.executemany(f"INSERT OR REPLACE INTO journals VALUES ({names})", changes.rows)
    index.executemany("DELETE FROM journals WHERE path = ?", [(path,) for path in changes.gone])
    index.executemany("INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", changes.folders)
    index.executemany("DELETE FROM folders WHERE path = ?", [(key,) for key in changes.lost])
    numbered = [row["scan_id"] for row in changes.rows if row["scan_id"]]
    if numbered:
        _put_in_order(index, min(numbered))
    index.execute("COMMIT")


def _put_in_order(index: sqlite3.Connection, first: int) -> None:
    """Let no run have begun before those with lower numbers: a clock may have been set back.

    Numbers that occur twice come from several folders that were put together, and say nothing.
    """
    latest = "SELECT max(begun) FROM journals WHERE scan_id > 0 AND scan_id < ?"
    (begun,) = index.execute(latest, (first,)).fetchone()
    begun, later = begun or 0.0, list[tuple[float, str]]()
    for path, time_s, known in index.execute(
        "SELECT path, time, begun FROM journals WHERE scan_id > 0 AND scan_id >= ? "
        "ORDER BY scan_id",
        (first,),
    ).fetchall():
        begun = max(begun, time_s)
        if begun != known:
            later.append((begun, path))
    if not later:
        return
    (repeated,) = index.execute(
        "SELECT count(*) - count(DISTINCT scan_id) FROM journals WHERE scan_id > 0"
    ).fetchone()
    if repeated:
        index.execute("UPDATE journals SET begun = time WHERE begun != time")
    else:
        index.executemany("UPDATE journals SET begun = ? WHERE path = ?", later)


@dataclass
class _Changes:
    rows: list[dict[str, Any]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    folders: list[tuple[str, str, int]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def _changes(index: sqlite3.Connection, data_dir: Path) -> _Changes:
    found = _Changes()
    known_folders = {
        key: (stamp, looked)
        for key, stamp, looked in index.execute("SELECT path, stamp, looked_ns FROM folders")
    }
    for folder in month_folders(data_dir):
        key = "/".join(folder.parts[-3:])
        now, (stamp, changed) = time.time_ns(), _stamp(folder)
        before, looked = known_folders.pop(key, ("", 0))
        if stamp == before and looked - changed > CHANGE_STEP_NS:
            continue
        known = _known_in(index, key)
        present = {name for name in os.listdir(folder) if name.endswith(SUFFIX)}
        readable = True
        for name in sorted(present - known):
            row = _read(data_dir, f"{key}/{name}")
            found.rows += row or ()
            readable &= row is not None
        found.gone += [f"{key}/{name}" for name in known - present]
        if not readable:
            found.folders.append((key, "", now))  # what kept it from being read may pass
        elif stamp != before or now - changed > CHANGE_STEP_NS:
            found.folders.append((key, stamp, now))
    for key in known_folders:
        found.gone += [f"{key}/{name}" for name in _known_in(index, key)]
        found.lost.append(key)
    for path, inode, size, scan in index.execute(
        "SELECT path, inode, size, scan FROM journals WHERE exit_status = ''"
    ).fetchall():
        found.rows += _looked_at_again(data_dir, path, inode, size, scan)
    return found


def _stamp(folder: Path) -> tuple[str, int]:
    """Return what is another one after each change of a folder's names, and when that was [ns].

    Who copies a folder with its times sets the time of its last modification, and nobody that of
    its last change; a folder that was put in another one's place has its own number.
    """
    told = os.stat(folder)
    stamp = f"{told.st_mtime_ns} {told.st_ctime_ns} {told.st_ino}"
    return stamp, max(told.st_mtime_ns, told.st_ctime_ns)


def _known_in(index: sqlite3.Connection, folder: str) -> set[str]:
    """Return the names of the journals of a folder that are known."""
    # As one text: thousands of rows by themselves take several times as long.
    (names,) = index.execute(
        "SELECT group_concat(substr(path, ?), '/') FROM journals WHERE path >= ? AND path < ?",
        (len(folder) + 2, f"{folder}/", f"{folder}0"),  # 0 follows / in ASCII
    ).fetchone()
    return set(names.split("/")) if names else set()


def look_again(index: sqlite3.Connection, data_dir: Path, runs: Iterable[Sequence[Any]]) -> bool:
    """Look at journals, (path, inode, size, scan), that changed; return whether any had."""
    changes = _Changes()
    for path, inode, size, scan in runs:
        changes.rows += _looked_at_again(data_dir, path, inode, size, scan)
    if changes.rows:
        _apply(index, changes)
    return bool(changes.rows)


def _looked_at_again(
    data_dir: Path, path: str, inode: int, size: int, scan: str | None
) -> Iterable[dict[str, Any]]:
    try:
        told = os.stat(data_dir / path)
    except OSError:
        return []  # its folder has changed: it is gone
    if (told.st_size, told.st_ino) == (size, inode):
        return []
    # A journal only grows. One that shrank was cut or replaced: what was counted is void.
    grown = told.st_size > size and told.st_ino == inode
    return _read(data_dir, path, scan if grown else None) or ()


def _read(data_dir: Path, path: str, scan: str | None = None) -> list[dict[str, Any]] | None:
    """Return the row of one journal; none if it is not a journal, None if it cannot be read."""
    try:
        told = os.stat(data_dir / path)
        if not stat.S_ISREG(told.st_mode):
            logger.warning("left out of the list of runs: %s is no file", data_dir / path)
            return []
        seen = look_at(data_dir / path)
    except FileNotFoundError:
        return []
    except JournalError as error:
        logger.warning("left out of the list of runs: %s", error)
        return []
    except OSError as error:
        logger.warning(
            "left out of the list of runs: %s cannot be read (%s)", data_dir / path, error.strerror
        )
        return None
    # One without a start document yet has a row without a uid, so that it is looked at again.
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"time": 0.0, "scan_id": 0} | seen.start
    row["techniques"] = f" {' '.join(seen.start.get('techniques', ()))} "
    row |= {
        "path": path,
        "inode": told.st_ino,
        "size": told.st_size,
        "begun": row["time"],
        "exit_status": seen.stop.get("exit_status", ""),
        "reason": seen.stop.get("reason", ""),
        "rows": json.dumps(seen.rows) if seen.counted else None,
        "scan": None if seen.counted else scan,
    }
    return [row]


def known_of(data_dir: Path, uid: str, column: str) -> Any:
    """Return what the index tells of a run as it is; None if it tells nothing."""
    try:
        index = sqlite3.connect(
            f"{(data_dir / INDEX).absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE_S
        )
        try:
            if _schema(index) != SCHEMA:
                return None
            query = f"SELECT {column} FROM journals WHERE uid = ?"
            return (index.execute(query, (uid,)).fetchone() or (None,))[0]
        finally:
            index.close()
    except sqlite3.Error as error:
        logger.info("index of runs not read: %s", error)
        return None


def remember(data_dir: Path, told: Iterable[Mapping[str, Any]]) -> None:
    """Keep what was learnt of runs, if the index can be written.

    Args:
        data_dir: the data folder.
        told: by run its ``uid`` and the columns to set.
    """
    try:
        index = sqlite3.connect(
            f"{(data_dir / INDEX).absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE_S
        )
        try:
            if _schema(index) != SCHEMA:
                return
            with index:
                for one in told:
                    columns = ", ".join(f"{name} = :{name}" for name in one if name != "uid")
                    index.execute(f"UPDATE journals SET {columns} WHERE uid = :uid", one)
        finally:
            index.close()
    except sqlite3.Error as error:
        logger.info("index of runs not written: %s", error)


def next_number(data_dir: Path, name: str, at_least: int) -> int | None:
    """Count one up in the index, over all programs; None if it cannot be written.

    It costs the same however many runs there are. An index that is missing is begun; who lists
    runs fills it.
    """
    try:
        index = sqlite3.connect(data_dir / INDEX, timeout=PATIENCE_S, isolation_level=None)
        try:
            index.execute("BEGIN IMMEDIATE")
            if _schema(index) != SCHEMA:
                _create(index)
            found = index.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
            (seen,) = index.execute(
                "SELECT max(scan_id) FROM journals WHERE scan_id > 0"
            ).fetchone()
            value = max(found[0] if found else 0, seen or 0, at_least - 1) + 1
            index.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
            index.execute("COMMIT")
            return value
        finally:
            index.close()
    except sqlite3.Error as error:
        logger.info("index of runs not written: %s", error)
        return None
