"""The RunEngine's first and only callback: it writes what happened before anybody else sees it."""

import errno
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ._errors import JournalError
from ._format import HEADER, check_metadata, encode
from ._lock import take_lock
from ._roots import fold, new_journal_path

logger = logging.getLogger(__name__)

SYNC_INTERVAL_S = 0.1
# macOS has no fdatasync; there fsync does the same work and more.
_sync = getattr(os, "fdatasync", os.fsync)


class _OpenRun:
    """One journal being written: its file, how much of it is whole, and what is not yet on disk."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.whole = 0
        self.dirty = False
        self.torn = False
        self.sync_error: OSError | None = None
        # Why a document was refused; nothing but the run's stop is taken from then on.
        self.refused: JournalError | None = None
        # Held while syncing, so that the descriptor cannot be closed, and its number given to
        # another file, in between. Writing does not take it: a slow disk must not hold up a row.
        self.sync_lock = threading.Lock()

    def append(self, data: bytes) -> None:
        """Write the bytes whole; on failure cut the file back to where it was and raise OSError."""
        view = memoryview(data)
        try:
            if self.torn:
                self._cut()
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError:
            self.torn = True
            try:
                self._cut()
            except OSError as error:
                # The reader stops at the torn record anyway; the rows before it are safe.
                logger.error("%s: could not cut the torn record off: %s", self.path, error)
            raise
        self.whole += len(data)

    def _cut(self) -> None:
        os.ftruncate(self.fd, self.whole)
        self.torn = False

    def sync(self) -> None:
        with self.sync_lock:
            if self.fd >= 0:
                self.dirty = False
                _sync(self.fd)

    def close(self) -> None:
        with self.sync_lock:
            if self.fd >= 0:
                fd, self.fd = self.fd, -1
                try:
                    if self.dirty:
                        _sync(fd)
                finally:
                    os.close(fd)


def _sync_while_open(runs: dict[str, _OpenRun], ended: threading.Event) -> None:
    while not ended.wait(SYNC_INTERVAL_S):
        for run in list(runs.values()):
            if run.dirty:
                try:
                    run.sync()
                except OSError as error:
                    run.sync_error = error


def _close_all(runs: dict[str, _OpenRun], ended: list[threading.Event]) -> None:
    for event in ended:
        event.set()
    while runs:
        _, run = runs.popitem()
        try:
            run.close()
        except OSError as error:
            logger.error("%s: %s while closing", run.path, error)


class JournalWriter:
    """Writes every document of every run to its journal below a data folder.

    Subscribe it first, and alone on the RunEngine's thread:
    ``RE.subscribe(JournalWriter(folder))``. When a call returns, the document is in the operating
    system's hands and survives the death of this process by any means; start, descriptors and
    stop are on the disk, other documents reach it within about 100 ms. The writer holds the
    journal's lock until the stop document, so that anybody can tell a run that lasts from a run
    whose process died.

    A thread that syncs lives while a run is open. A run that is open when the writer is closed, or
    when the interpreter ends, stays without a stop document; the catalog service closes it as
    failed.

    Args:
        data_dir: the data folder; its journals are ``journal/YYYY/MM/UID.opj``.

    Raises:
        JournalError: on a call, if the metadata of a start document cannot be stored or the disk
            refuses a document. The journal then ends with its last whole document: every further
            document of that run raises the same error, also where it would fit, so that no row is
            missing between others. Only the run's stop is still taken if there is room for it.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self.data_dir = Path(data_dir).expanduser().resolve()
        self._runs: dict[str, _OpenRun] = {}
        self._run_of: dict[str, str] = {}
        self._ended: list[threading.Event] = []
        self._lock = threading.RLock()
        # Runs when the writer is forgotten and when the interpreter ends.
        self._finalizer = weakref.finalize(self, _close_all, self._runs, self._ended)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        with self._lock:
            if name == "start":
                self._start(doc)
                return
            uid = self._uid_of_run(name, doc)
            run = self._runs.get(uid)
            if run is None:
                raise JournalError(
                    f"{_article(name)} {name} document arrived for run {uid}, which this writer "
                    "has not open: subscribe the journal before the run starts"
                )
            try:
                self._take(run, name, doc)
            finally:
                # Also when the stop was refused: with the lock gone, the catalog service can
                # close the run as failed once there is room.
                if name == "stop":
                    self._forget(uid)

    def close(self) -> None:
        """Close every journal that is still open, without a stop document."""
        with self._lock:
            _close_all(self._runs, self._ended)
            self._ended.clear()
            self._run_of.clear()

    def __enter__(self) -> "JournalWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, doc: Mapping[str, Any]) -> None:
        check_metadata(doc)
        uid = str(doc["uid"])
        path = new_journal_path(self.data_dir, uid, float(doc["time"]))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | getattr(os, "O_BINARY", 0)
            run = _OpenRun(path, os.open(path, flags, 0o644))
        except FileExistsError as error:
            raise JournalError(f"{path} exists: a run's uid must be new") from error
        except OSError as error:
            raise self._refused(path, "start", error) from error
        try:
            if not take_lock(run.fd, timeout_s=2.0):
                raise JournalError(f"{path} was just created and is locked by another process")
        except (OSError, JournalError) as error:
            run.close()
            path.unlink(missing_ok=True)
            raise JournalError(
                f"{path} cannot be locked ({error}): keep the data folder on a local disk"
            ) from error
        try:
            self._write(run, "start", HEADER + encode("start", doc))
            _sync_folder(path.parent)
        except (OSError, JournalError):
            run.close()
            path.unlink(missing_ok=True)
            raise
        self._runs[uid] = run
        if len(self._runs) == 1:
            self._sync_in_background()

    def _uid_of_run(self, name: str, doc: Mapping[str, Any]) -> str:
        """Return the run a document belongs to, learning the ties that later documents need."""
        if "run_start" in doc:  # descriptor, stop, resource, stream_resource
            uid = str(doc["run_start"])
            self._run_of[str(doc["uid"])] = uid
            return uid
        for tie in ("descriptor", "stream_resource", "resource"):
            if doc.get(tie) in self._run_of:
                return self._run_of[doc[tie]]
        # Resources may come without run_start; with one run open there is no doubt.
        if len(self._runs) == 1 and name in ("stream_resource", "resource"):
            uid = next(iter(self._runs))
            self._run_of[str(doc["uid"])] = uid
            return uid
        raise JournalError(
            f"{_article(name)} {name} document names no run of this writer "
            f"(keys {', '.join(sorted(doc))}); {len(self._runs)} runs are open"
        )

    def _take(self, run: _OpenRun, name: str, doc: Mapping[str, Any]) -> None:
        """Write a document, unless one before it was refused and this is not the run's end."""
        # A smaller document may fit where one was refused: it would hide the hole before it.
        if run.refused is not None and name != "stop":
            # A new one each time: an exception that is raised again grows its traceback.
            raise JournalError(str(run.refused)) from run.refused.__cause__
        try:
            self._write(run, name, encode(name, fold(name, doc, self.data_dir)))
        except JournalError as error:
            run.refused = error
            # What the background could not sync is told by now; the stop is tried all the same.
            run.sync_error = None
            raise

    def _write(self, run: _OpenRun, name: str, data: bytes) -> None:
        try:
            if run.sync_error is not None:
                raise run.sync_error
            run.append(data)
            if name in ("start", "descriptor", "stop"):
                run.sync()
            else:
                run.dirty = True
        except OSError as error:
            raise self._refused(run.path, name, error) from error

    def _refused(self, path: Path, name: str, error: OSError) -> JournalError:
        try:
            folder = next(folder for folder in path.parents if folder.exists())
            free = f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free"
        except OSError as unknown:
            free = f"free space unknown ({unknown})"
        remedy = {
            errno.ENOSPC: "free space on this disk, or point OPERANDO_DATA at another one",
            errno.EDQUOT: "raise the quota or free space of this user",
            errno.EFBIG: "raise the limit of file size of this process (ulimit -f)",
            errno.EIO: "the disk fails: point OPERANDO_DATA at another disk",
            errno.EROFS: "the file system is read-only: point OPERANDO_DATA at another folder",
            errno.EACCES: "allow writing, or point OPERANDO_DATA at another folder",
        }.get(error.errno or 0, "check the disk, or point OPERANDO_DATA at another folder")
        return JournalError(
            f"the journal {path} did not take {_article(name)} {name} document: "
            f"{error.strerror or error}; "
            f"{free}. Everything written before is safe. To go on: {remedy}"
        )

    def _forget(self, uid: str) -> None:
        self._runs.pop(uid).close()
        self._run_of = {key: run for key, run in self._run_of.items() if run != uid}
        if not self._runs:
            for event in self._ended:
                event.set()
            self._ended.clear()

    def _sync_in_background(self) -> None:
        ended = threading.Event()
        self._ended.append(ended)
        threading.Thread(
            target=_sync_while_open, args=(self._runs, ended), name="journal-sync", daemon=True
        ).start()


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _sync_folder(folder: Path) -> None:
    """Make the new file's name survive a power cut; Windows cannot and need not."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
