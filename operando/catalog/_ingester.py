"""Follows the journals of a data folder and writes them into the catalog.

The only state is the catalog itself: after a crash every journal that is not on the list of
finished runs is read from its beginning, and `RunWriter` passes over what is there.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from operando.harmless import is_uid
from operando.journal import (
    QUIET_S,
    JournalReader,
    close_dead_run,
    damage_of,
    is_locked,
    journal_path,
)

from ._appends import UnderWay
from ._places import append_ingested, ingested_uids
from ._run_writer import RunWriter, UnsureAppendError
from ._tables import Tables

logger = logging.getLogger(__name__)

POLL_S = 0.15
FLUSH_S = 0.5
# A folder's time stamp can miss a file made in the same tick; look without being told now and then.
LOOK_AGAIN_S = 5.0
# A run that was being written and is so no more is closed after this; a journal that was never seen
# with its writer may be a copy in the making, and waits for `QUIET_S`.
QUIET_BEFORE_CLOSING_S = 2.0
ROWS_AT_ONCE = 25_000
BACKLOG_SHARE_S = 0.5
LONGEST_BACKOFF_S = 300.0
# A catalog that does not answer is asked again soon: it is not the run's fault.
LONGEST_ABSENCE_S = 10.0
UIDS_AT_ONCE = 100


@dataclass
class _Journal:
    """One journal on its way into the catalog."""

    path: Path
    uid: str
    reader: JournalReader
    writer: RunWriter | None = None
    # Whether the catalog must be asked for it: it may have been begun by somebody before.
    perhaps_there: bool = True
    remove_first: bool = False
    ingested: int = 0  # bytes whose documents are all in the catalog
    flushed_at: float = 0.0
    size: int = -1
    grew_at: float = 0.0
    seen_alive: bool = False  # whether its writer was seen
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


@dataclass(frozen=True)
class Progress:
    """How far the ingester is, as it is told to those who ask.

    Attributes:
        open: uid -> bytes ingested, of every run that is not finished.
        errors: uid -> what keeps a run from being ingested.
        finished: number of runs that are whole in the catalog.
        away: why the catalog as a whole cannot be written; empty while it can.
    """

    open: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    finished: int = 0
    away: str = ""


class Ingester:
    """Writes every journal below a data folder into a catalog, as it grows.

    Args:
        data_dir: the data folder.
        connect: returns a client of the catalog; called again after a failure.
        ingested: file that lists the runs which are whole in the catalog; it belongs to the
            catalog and goes with it.
        tables: the catalog's database of rows, if it lies on this computer.
        assets_at: where whoever serves the catalog sees the data folder; by default where it is.
    """

    def __init__(
        self,
        data_dir: Path,
        connect: Callable[[], Any],
        ingested: Path,
        *,
        tables: Tables | None = None,
        assets_at: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.progress = Progress()
        self._connect = connect
        self._client: Any = None
        self._there: dict[str, bool] = {}
        self._list = ingested
        self._finished = ingested_uids(ingested)
        self._journals: dict[str, _Journal] = {}
        self._folders: dict[Path, tuple[int, float]] = {}
        self._names: dict[Path, set[str]] = {}
        self._tables = tables
        self._assets_at = assets_at
        # Of a catalog served by this process, nothing is under way when it begins.
        noted = None if tables is not None else ingested.with_name("under-way.json")
        self._under_way = UnderWay(noted)
        self._to_take_again: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._awaited: set[str] = set()
        self._away = ""
        self._absences = 0
        self._ask_again_at = 0.0

    def is_finished(self, uid: str) -> bool:
        """Return whether a run is whole in the catalog."""
        return uid in self._finished and uid not in self._awaited

    def take_again(self, uid: str) -> None:
        """Have a run removed from the catalog and taken from its journal anew, soon.

        Raises:
            LookupError: if there is no journal of that name.
        """
        journal_path(self.data_dir, uid)
        self._awaited.add(uid)
        self._to_take_again.put(uid)

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
        self._begin_anew()
        now = time.monotonic()
        busy = now >= self._ask_again_at and self._look_at_all(now)
        if not self._journals:
            self._away = ""
        self.progress = Progress(
            {journal.uid: journal.ingested for journal in self._journals.values()},
            {journal.uid: journal.error for journal in self._journals.values() if journal.error},
            len(self._finished),
            self._away,
        )
        return busy

    def _look_at_all(self, now: float) -> bool:
        due = [journal for journal in self._journals.values() if journal.retry_at <= now]
        # Runs that are under way first: a backlog must not make them wait.
        due.sort(key=lambda journal: journal.writer is None)
        busy = False
        begun = 0
        for journal in due:
            if journal.writer is None:
                if begun and time.monotonic() - now > BACKLOG_SHARE_S:
                    return True
                begun += 1
            busy |= self._advance(journal)
            if self._away:
                return False
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
                names = set(os.listdir(month))
                for name in names - self._names.get(month, set()):
                    uid, suffix = os.path.splitext(name)
                    new = is_uid(uid) and uid not in self._journals and uid not in self._finished
                    if suffix == ".opj" and new:
                        # What appears while we are connected was written by nobody else.
                        self._add(month / name, uid, perhaps_there=self._client is None)
                self._names[month] = names

    def _add(self, path: Path, uid: str, *, perhaps_there: bool) -> _Journal:
        journal = _Journal(path, uid, self._reader(path), perhaps_there=perhaps_there)
        self._journals[uid] = journal
        return journal

    def _reader(self, path: Path) -> JournalReader:
        return JournalReader(path, expand=self.data_dir, arrays=True, count=True)

    def _begin_again(self, journal: _Journal) -> None:
        journal.reader = self._reader(journal.path)
        journal.writer = None
        journal.perhaps_there = True
        self._there.pop(journal.uid, None)

    def _begin_anew(self) -> None:
        """Take up what `take_again` asked for."""
        while not self._to_take_again.empty():
            uid = self._to_take_again.get_nowait()
            if uid in self._finished:
                append_ingested(self._list, f"-{uid}")
                self._finished.discard(uid)
            journal = self._journals.get(uid)
            if journal is None:
                path = journal_path(self.data_dir, uid)
                journal = self._add(path, uid, perhaps_there=True)
            self._begin_again(journal)
            journal.remove_first, journal.retry_at, journal.failures = True, 0.0, 0
            journal.ingested, journal.error = 0, ""
            self._awaited.discard(uid)
            logger.warning("run %s is removed from the catalog and taken in anew", uid)

    def _advance(self, journal: _Journal) -> bool:
        try:
            busy = self._take(journal)
        except (httpx.TransportError, _CatalogAwayError) as error:
            self._lose_catalog(error)
            return False
        except UnsureAppendError as error:
            # A table made anew is another table: what may still come does not get into it.
            damaged = damage_of(journal.path)
            self._back_off(journal)
            journal.remove_first = not damaged
            journal.error = f"{error}, and the journal is damaged" if damaged else ""
            done = "its rows there are kept" if damaged else "it is taken in anew"
            logger.warning("run %s: %s; %s", journal.uid, error, done)
            return False
        except Exception as error:
            # One run that cannot be ingested must not keep the others out: the error is logged,
            # told to whoever asks, and tried again later.
            wait_s = self._back_off(journal)
            journal.error = f"{type(error).__name__}: {error}"
            logger.exception("run %s not ingested; trying again in %.0f s", journal.uid, wait_s)
            return False
        return busy

    def _back_off(self, journal: _Journal) -> float:
        """Have a run begun again after a while, and return after which [s]."""
        journal.failures += 1
        wait_s = min(2.0**journal.failures, LONGEST_BACKOFF_S)
        journal.retry_at = time.monotonic() + wait_s
        self._begin_again(journal)
        return wait_s

    def _lose_catalog(self, error: Exception) -> None:
        """Forget the catalog's client, and with it every run under way; all are begun again."""
        if self._client is not None:
            self._client.context.http_client.close()
            self._client = None
        self._there.clear()
        for journal in self._journals.values():
            if journal.writer is not None:
                self._begin_again(journal)
            journal.perhaps_there = True
        self._absences += 1
        wait_s = min(0.5 * 2.0**self._absences, LONGEST_ABSENCE_S)
        self._ask_again_at = time.monotonic() + wait_s
        if not self._away:
            logger.warning("the catalog does not answer (%s); asking again until it does", error)
        self._away = f"{type(error).__name__}: {error}"

    def _take(self, journal: _Journal) -> bool:
        now = time.monotonic()
        try:
            size = journal.path.stat().st_size
        except FileNotFoundError:
            del self._journals[journal.uid]
            self._names.pop(journal.path.parent, None)  # it may come back under its name
            return False
        if size < journal.reader.tail.offset:  # cut by hand or replaced
            self._begin_again(journal)
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
            self._finish(journal, writer)
            return True
        if not journal.seen_alive and journal.grew_at == now:
            journal.seen_alive = is_locked(journal.path)
        due = more or now - journal.flushed_at >= FLUSH_S
        if writer.waiting and due:
            writer.flush()
            journal.flushed_at = now
        if not writer.waiting:
            journal.ingested = journal.reader.tail.offset
            journal.error, journal.failures = "", 0
        if not more and now - journal.grew_at > QUIET_BEFORE_CLOSING_S:
            journal.grew_at = now  # if it is alive, ask again after another quiet while
            quiet_s = 0.0 if journal.seen_alive else QUIET_S
            if close_dead_run(journal.path, quiet_s=quiet_s, reader=journal.reader):
                logger.warning("closed run %s, whose process died", journal.uid)
                return True
        return more

    def _connected(self) -> Any:
        """Return the catalog's client."""
        if self._client is None:
            try:
                self._client = self._connect().include_data_sources()
            except Exception as error:
                raise _CatalogAwayError(f"{type(error).__name__}: {error}") from error
        if self._away:
            logger.warning("the catalog answers again")
        self._away, self._absences = "", 0
        return self._client

    def _is_there(self, journal: _Journal) -> bool:
        """Return whether a run is in the catalog, asking for many at once."""
        if not journal.perhaps_there:
            return False
        if journal.uid not in self._there:
            from tiled.queries import KeysFilter

            wanted = [journal.uid]
            for other in self._journals.values():
                if len(wanted) == UIDS_AT_ONCE:
                    break
                if other.perhaps_there and other.writer is None and other is not journal:
                    wanted.append(other.uid)
            found = set(self._connected().search(KeysFilter(wanted)))
            self._there = {uid: uid in found for uid in wanted}
        return self._there.pop(journal.uid)

    def _read(self, journal: _Journal) -> tuple[bool, bool]:
        """Hand new documents to the writer; return (stop seen, more to read)."""
        rows = 0
        for name, doc in journal.reader:
            if name == "start":
                journal.writer = self._writer(journal)
            if journal.writer is None:
                raise ValueError(f"{journal.path} begins with a {name} document")
            journal.writer.gaps = bool(journal.reader.damage)
            journal.writer(name, doc)
            if name == "stop":
                return True, False
            rows += len(doc["seq_num"]) if name == "event_page" else 1
            if rows >= ROWS_AT_ONCE:
                return False, True
        return False, False

    def _writer(self, journal: _Journal) -> RunWriter:
        client = self._connected()
        there = self._is_there(journal)
        if there and journal.remove_first:
            client.delete_contents(journal.uid, recursive=True, external_only=False)
            there = False
        if not there:
            self._under_way.end(journal.uid)
        journal.remove_first = False
        # From here on it is: should this fail, look before beginning again.
        journal.perhaps_there = True
        return RunWriter(
            client,
            begun_before=there,
            tables=self._tables,
            moved=(self.data_dir, self._assets_at or self.data_dir),
            under_way=self._under_way,
        )

    def _finish(self, journal: _Journal, writer: RunWriter) -> None:
        append_ingested(self._list, journal.uid)
        if journal.reader.damage:
            append_ingested(self._list, f"!{journal.uid}")
        if writer.ahead:
            append_ingested(self._list, f"+{journal.uid}")
            logger.warning(
                "the catalog holds more of run %s than its journal: %s; both are kept",
                journal.uid,
                "; ".join(f"{s}: {j} and {c} rows" for s, (j, c) in writer.ahead.items()),
            )
        self._finished.add(journal.uid)
        del self._journals[journal.uid]


class _CatalogAwayError(Exception):
    """The catalog cannot be reached, or does not let us in."""


def _subfolders(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        return []
    return sorted((Path(e.path) for e in os.scandir(folder) if e.is_dir()), reverse=True)
