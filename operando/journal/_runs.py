"""Which runs a data folder holds: read from the journals, remembered in ``index.db``.

The index is a cache and nothing else: it can be deleted at any time, and a folder whose index
cannot be written is listed all the same.
"""

import json
import logging
import os
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._errors import JournalError
from ._format import HEADER, HEADERS, RECORD, Document, Record, RecordReader, decode
from ._lock import is_locked
from ._roots import SUFFIX, journal_path, month_folders

logger = logging.getLogger(__name__)

# Raise it whenever `Scan` learns something else from a journal: what older versions remembered is
# then thrown away and read again.
_SCHEMA = 2
_LONGEST_NAME = 24


@dataclass(frozen=True)
class RunSummary:
    """One line of a list of runs.

    Attributes:
        uid: the run's whole uid.
        time: start of the run [epoch s].
        sample: name of the sample, empty if the run has none.
        plan_name: the plan that ran.
        exit_status: ``success``, ``abort`` or ``fail`` as in the stop document; ``running`` while
            the journal's writer lives; ``unfinished`` when it died and nobody closed the run yet.
        reason: the stop document's reason.
        rows: number of rows by stream: those that are in the journal, whatever the stop document
            claims.
        path: the journal.
    """

    uid: str
    time: float
    sample: str
    plan_name: str
    exit_status: str
    reason: str
    rows: dict[str, int]
    path: Path


@dataclass
class Scan:
    """What is known of one journal, and the offset up to which it was read."""

    offset: int = 0
    start: Document = field(default_factory=dict)
    stop: Document = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    stream_of: dict[str, str] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)  # stream -> rows of its table
    frames: dict[str, int] = field(default_factory=dict)  # "stream key" -> rows in its files
    key_of: dict[str, str] = field(default_factory=dict)  # stream resource -> data key
    newest: float = 0.0

    def take(self, name: str, doc: Document) -> None:
        """Learn what one document tells."""
        times = doc.get("time", self.newest)
        self.newest = max(self.newest, *times) if isinstance(times, list) else times
        if name == "start":
            self.start = {
                "uid": doc["uid"],
                "time": doc["time"],
                "plan_name": str(doc.get("plan_name", "")),
                "sample": _sample_name(doc.get("sample")),
            }
        elif name == "stop":
            self.stop = {"exit_status": doc["exit_status"], "reason": doc.get("reason", "")}
        elif name == "descriptor":
            self.stream_of[doc["uid"]] = doc["name"]
            self.rows.setdefault(doc["name"], 0)
        elif name == "stream_resource":
            self.key_of[doc["uid"]] = doc["data_key"]
        elif name in ("event", "event_page", "stream_datum"):
            self._count(name, doc)

    def _count(self, name: str, doc: Document) -> None:
        stream = self.stream_of.get(doc["descriptor"])
        if stream is None:
            return
        if name == "stream_datum":
            resource = doc["stream_resource"]
            place = f"{stream} {self.key_of.get(resource, resource)}"
            numbers = doc["seq_nums"]
            present = self.frames.get(place, 0) + numbers["stop"] - numbers["start"]
            self.frames[place] = present
        else:
            present = self.events.get(stream, 0) + (1 if name == "event" else len(doc["seq_num"]))
            self.events[stream] = present
        # A stream may have rows in its table, in files, or both.
        self.rows[stream] = max(self.rows[stream], present)


def _sample_name(sample: Any) -> str:
    if isinstance(sample, Mapping):
        # A cell calls itself by its label; other plans' samples have a name.
        return str(sample.get("cell_id") or sample.get("name", ""))
    return "" if sample is None else str(sample)


def list_runs(data_dir: Path | str) -> list[RunSummary]:
    """Return all runs of a data folder, newest first.

    Reads only what the journals gained since the last call; it needs no catalog and waits for
    nobody. Files that are not journals of ours are logged and left out.
    """
    data_dir = Path(data_dir)
    files = {
        entry.path: entry.stat().st_size
        for folder in month_folders(data_dir)
        for entry in os.scandir(folder)
        if entry.name.endswith(SUFFIX)
    }
    known = _load(data_dir)
    changed: dict[str, Scan] = {}
    runs = []
    for text, size in files.items():
        path = Path(text)
        key = path.relative_to(data_dir).as_posix()
        scan = known.get(key)
        # A journal only grows. One that shrank was cut or replaced and is read afresh.
        if scan is None or scan.offset != size:
            try:
                scan = _read(path, scan if scan and scan.offset < size else None)
            except (JournalError, FileNotFoundError) as error:
                logger.warning("left out of the list of runs: %s", error)
                continue
            changed[key] = scan
        if scan.start:
            runs.append(_summary(path, scan))
    gone = [key for key in known if str(data_dir / key) not in files]
    if changed or gone:
        _save(data_dir, changed, gone)
    return sorted(runs, key=lambda run: run.time, reverse=True)


def resolve_uid(data_dir: Path | str, text: str) -> str:
    """Return the whole uid meant by ``last``, by a whole uid, or by the beginning of one.

    Raises:
        LookupError: if no run, or more than one, begins like this; the message lists them.
    """
    data_dir = Path(data_dir)
    if text != "last" and len(text) >= 36:
        journal_path(data_dir, text)
        return text
    runs = list_runs(data_dir)
    if text == "last" and runs:
        return runs[0].uid
    found = [run.uid for run in runs if text and run.uid.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise LookupError(f"{text!r} begins {len(found)} runs: {', '.join(found[:5])}")
    newest = ", ".join(run.uid[:8] for run in runs[:5])
    raise LookupError(
        f"no run {text!r} in {data_dir / 'journal'}"
        + (f"; the newest are {newest}" if newest else ", which holds no run yet")
    )


def _summary(path: Path, scan: Scan) -> RunSummary:
    if scan.stop:
        status = scan.stop["exit_status"]
    else:
        status = "running" if is_locked(path) else "unfinished"
    return RunSummary(
        uid=scan.start["uid"],
        time=scan.start["time"],
        sample=scan.start["sample"],
        plan_name=scan.start["plan_name"],
        exit_status=status,
        reason=scan.stop.get("reason", ""),
        rows=dict(scan.rows),
        path=path,
    )


def row_counts(records: Iterable[Record]) -> Scan:
    """Return what a journal's records tell of its run, rows counted one by one."""
    scan = Scan()
    for record in records:
        scan.take(record.name, record.doc)
    return scan


def _read(path: Path, scan: Scan | None) -> Scan:
    """Read a journal on from where a scan ended; without decoding the tables of a success."""
    if scan is None:
        finished = _read_finished(path)
        if finished is not None:
            return finished
        scan = Scan()
    reader = RecordReader(path, scan.offset)
    for record in reader:
        scan.take(record.name, record.doc)
    scan.offset = reader.tail.offset
    return scan


def _read_finished(path: Path) -> Scan | None:
    """Return the scan of a journal that ends with success, skipping its tables; None otherwise.

    The stop document then tells how many rows they have. That of a run that failed may count rows
    that were refused, or be from somebody who only guessed.
    """
    scan = Scan()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(HEADER)) not in HEADERS:
            return None
        offset = len(HEADER)
        while offset < size:
            head = file.read(RECORD.size + _LONGEST_NAME)
            if len(head) < RECORD.size:
                return None
            length, checksum = RECORD.unpack(head[: RECORD.size])
            end = offset + RECORD.size + length
            if end > size:
                return None
            if _name_of(head[RECORD.size :]) not in ("event", "event_page"):
                file.seek(offset + RECORD.size)
                payload = file.read(length)
                if zlib.crc32(payload) != checksum:
                    return None
                name, doc = decode(payload)
                scan.take(name, doc)
                if name == "stop":
                    if doc["exit_status"] != "success" or "num_events" not in doc:
                        return None
                    for stream, count in doc["num_events"].items():
                        scan.rows[stream] = max(scan.rows.get(stream, 0), count)
            offset = end
            file.seek(offset)
    scan.offset = offset
    return scan if scan.start and scan.stop else None


def _name_of(payload: bytes) -> str:
    """Return the document name a payload begins with, empty if it does not begin with one."""
    # msgpack: 0x92 is an array of two, 0xa0 + n a text of n < 32 bytes.
    if len(payload) < 2 or payload[0] != 0x92 or not 0xA0 <= payload[1] <= 0xBF:
        return ""
    return payload[2 : 2 + payload[1] - 0xA0].decode("ascii", "replace")


def _database(data_dir: Path) -> sqlite3.Connection:
    database = sqlite3.connect(data_dir / "index.db", timeout=0.2)
    try:
        (schema,) = database.execute("PRAGMA user_version").fetchone()
        if schema != _SCHEMA:
            with database:
                database.execute("DROP TABLE IF EXISTS journals")
                database.execute(
                    "CREATE TABLE journals (path TEXT PRIMARY KEY, scan TEXT NOT NULL)"
                )
                database.execute(f"PRAGMA user_version = {_SCHEMA}")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _load(data_dir: Path) -> dict[str, Scan]:
    if not (data_dir / "index.db").exists():
        return {}
    try:
        with closing(_database(data_dir)) as database:
            rows = database.execute("SELECT path, scan FROM journals").fetchall()
        return {path: Scan(**json.loads(scan)) for path, scan in rows}
    except sqlite3.OperationalError as error:  # locked or read-only: do without
        logger.info("index of runs not read: %s", error)
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        logger.warning("index of runs is damaged (%s); building a new one", error)
        (data_dir / "index.db").unlink(missing_ok=True)
    return {}


def _save(data_dir: Path, changed: Mapping[str, Scan], gone: list[str]) -> None:
    try:
        with closing(_database(data_dir)) as database, database:
            database.executemany(
                "INSERT OR REPLACE INTO journals VALUES (?, ?)",
                [(path, json.dumps(vars(scan))) for path, scan in changed.items()],
            )
            database.executemany("DELETE FROM journals WHERE path = ?", [(key,) for key in gone])
    except sqlite3.Error as error:
        logger.info("index of runs not saved: %s", error)
