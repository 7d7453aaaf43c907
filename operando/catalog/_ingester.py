"""Follows the journals of a data folder and writes them into the catalog.

The only state is the catalog itself: after a crash every journal that is not on the list of
finished runs is read from its beginning, and `RunWriter` passes over what is there.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from operando.journal import JournalReader, close_dead_run

from ._run_writer import RunWriter

logger = logging.getLogger(__name__)

POLL_S = 0.15
FLUSH_S = 0.5
# A folder's time stamp can miss a file made in the same tick; look without being told now and then.
LOOK_AGAIN_S = 5.0
# Somebody may be copying a journal into the folder, without holding its lock.
QUIET_BEFORE_CLOSING_S = 2.0
ROWS_AT_ONCE = 100_000
BACKLOG_SHARE_S = 0.5
LONGEST_BACKOFF_S = 300.0


@dataclass
class _Journal:
    """One journal on its way into the catalog."""

    path: Path
    uid: str
    reader: JournalReader
    writer: RunWriter | None = None
    ingested: int = 0  # bytes whose documents are all in the catalog
    flushed_at: float = 0.0
    size: int = -1
    grew_at: float = 0.0
    error: str = ""
    failures: int = 0
    retry_at: float = 0.0

    @property
    def pending(self) -> bool:
        """Whether there is or may come something to ingest."""
        if self.error:
            return False
        unread = self.size == -1 or (self.size > 0 and not self.reader.tail.reason)
        return self.writer is not None or unread

    def begin_again(self) -> None:
        self.reader = JournalReader(self.path)
        self.writer = None


@dataclass(frozen=True)
class Progress:
    """How far the ingester is, as it is told to those who ask.

    Attributes:
        open: uid -> bytes ingested, of every run that is not finished.
        errors: uid -> what keeps a run from being ingested.
        finished: number of runs that are whole in the catalog.
    """

    open: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    finished: int = 0


class Ingester:
    """Writes every journal below a data folder into a catalog, as it grows.

    Args:
        data_dir: the data folder.
        connect: returns a client of the catalog; called again after a failure.
        ingested: file that lists the runs which are whole in the catalog; it belongs to the
            catalog and goes with it.
    """

    def __init__(self, data_dir: Path, connect: Callable[[], Any], ingested: Path) -> None:
        self.data_dir = data_dir
        self.progress = Progress()
        self._connect = connect
        self._client: Any = None
        self._known: set[str] = set()
        self._list = ingested
        self._finished = set(ingested.read_text().split()) if ingested.exists() else set()
        self._journals: dict[str, _Journal] = {}
        self._folders: dict[Path, tuple[int, float]] = {}

    def is_finished(self, uid: str) -> bool:
        """Return whether a run is whole in the catalog."""
        return uid in self._finished

    @property
    def open_runs(self) -> int:
        """Number of journals that are not whole in the catalog and may still get there."""
        return sum(journal.pending for journal in list(self._journals.values()))

    def run(self, ended: threading.Event) -> None:
        """Follow the journals until the event is set."""
        while not ended.is_set():
            if not self.step():
                ended.wait(POLL_S)

    def step(self) -> bool:
        """Look at every journal once; return whether there was anything to do."""
        self._discover()
        now = time.monotonic()
        due = [journal for journal in self._journals.values() if journal.retry_at <= now]
        # Runs that are under way first: a backlog must not make them wait.
        due.sort(key=lambda journal: journal.writer is None)
        busy = False
        begun = 0
        for journal in due:
            if journal.writer is None:
                if begun and time.monotonic() - now > BACKLOG_SHARE_S:
                    busy = True
                    break
                begun += 1
            busy |= self._advance(journal)
        self.progress = Progress(
            {journal.uid: journal.ingested for journal in self._journals.values()},
            {journal.uid: journal.error for journal in self._journals.values() if journal.error},
            len(self._finished),
        )
        return busy

    def _discover(self) -> None:
        """Find journals that were not there before, newest first."""
        now = time.monotonic()
        for year in _subfolders(self.data_dir / "journal"):
            for month in _subfolders(year):
                changed = month.stat().st_mtime_ns
                seen, looked_at = self._folders.get(month, (0, 0.0))
                if changed == seen and now - looked_at < LOOK_AGAIN_S:
                    continue
                self._folders[month] = (changed, now)
                for entry in os.scandir(month):
                    uid, suffix = os.path.splitext(entry.name)
                    new = uid not in self._journals and uid not in self._finished
                    if suffix == ".opj" and new:
                        path = Path(entry.path)
                        self._journals[uid] = _Journal(path, uid, JournalReader(path))

    def _advance(self, journal: _Journal) -> bool:
        try:
            return self._take(journal)
        except Exception as error:
            # One run that cannot be ingested must not keep the others out, and a catalog that is
            # away comes back: the error is logged, told to whoever asks, and tried again later.
            journal.failures += 1
            wait_s = min(2.0**journal.failures, LONGEST_BACKOFF_S)
            journal.retry_at = time.monotonic() + wait_s
            journal.error = f"{type(error).__name__}: {error}"
            journal.begin_again()
            if isinstance(error, httpx.TransportError):
                self._disconnect()
            logger.exception("run %s not ingested; trying again in %.0f s", journal.uid, wait_s)
            return False

    def _take(self, journal: _Journal) -> bool:
        now = time.monotonic()
        try:
            size = journal.path.stat().st_size
        except FileNotFoundError:
            del self._journals[journal.uid]
            return False
        if size < journal.reader.tail.offset:  # cut by hand or replaced
            journal.begin_again()
        if size != journal.size:
            journal.size, journal.grew_at = size, now
        stopped = False
        more = False
        if size > journal.reader.tail.offset:
            stopped, more = self._read(journal)
        writer = journal.writer
        if writer is None:
            return more
        if stopped:
            self._finish(journal)
            return True
        due = more or now - journal.flushed_at >= FLUSH_S
        if writer.waiting and due:
            writer.flush()
            journal.flushed_at = now
        if not writer.waiting:
            journal.ingested = journal.reader.tail.offset
            journal.error, journal.failures = "", 0
        if not more and now - journal.grew_at > QUIET_BEFORE_CLOSING_S:
            journal.grew_at = now  # if it is alive, ask again after another quiet while
            if close_dead_run(journal.path):
                logger.warning("closed run %s, whose process died", journal.uid)
                return True
        return more

    def _disconnect(self) -> None:
        """Forget the catalog's client, and with it every run under way; both are begun again."""
        if self._client is not None:
            self._client.context.http_client.close()
            self._client = None
        for journal in self._journals.values():
            if journal.writer is not None:
                journal.begin_again()

    def _read(self, journal: _Journal) -> tuple[bool, bool]:
        """Hand new documents to the writer; return (stop seen, more to read)."""
        if self._client is None:
            self._client = self._connect().include_data_sources()
            self._known = set(self._client)
        rows = 0
        for name, doc in journal.reader:
            if name == "start":
                journal.writer = RunWriter(self._client, self._known)
            if journal.writer is None:
                raise ValueError(f"{journal.path} begins with a {name} document")
            journal.writer(name, doc)
            if name == "stop":
                return True, False
            rows += len(doc["seq_num"]) if name == "event_page" else 1
            if rows >= ROWS_AT_ONCE:
                return False, True
        return False, False

    def _finish(self, journal: _Journal) -> None:
        with open(self._list, "a", encoding="utf-8") as file:
            file.write(journal.uid + "\n")
        self._finished.add(journal.uid)
        del self._journals[journal.uid]


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((Path(e.path) for e in os.scandir(folder) if e.is_dir()), reverse=True)
