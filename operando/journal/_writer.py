"""The RunEngine's first and only callback: it writes what happened before anybody else sees it."""

import itertools
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ._errors import JournalError
from ._format import HEADER, check_metadata, encode
from ._lock import mark_as_written_here, take_lock
from ._open_run import OpenRun, Patience, article, attend, refusal
from ._roots import fold, new_journal_path, sync_folder

PATIENCE_S = 120.0
PATIENCE_BYTES = 256 << 20


# Writers whose journals a forked child must not keep open, and with that locked.
_writers: "weakref.WeakSet[JournalWriter]" = weakref.WeakSet()


def _let_go_in_child() -> None:
    for writer in list(_writers):
        writer.let_go_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


def _close_all(runs: dict[str, OpenRun], ended: list[threading.Event]) -> None:
    for event in ended:
        event.set()
    while runs:
        runs.popitem()[1].close()


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

    On a full disk, or one that became read-only, documents wait in memory and the experiment goes
    on; an alarm says so at once and every 10 s. When there is room again they are written in their
    order and nothing is lost. When it takes too long, or too much waits, documents are refused.

    Args:
        data_dir: the data folder; its journals are ``journal/YYYY/MM/UID.opj``, or below
            ``MM-part002`` and so on in a month of many.
        patience_s: how long documents wait for room, since one was last written [s]; by default
            120. 0 refuses at once.
        patience_bytes: how much may wait in one run; by default 256 MiB.
        on_alarm: called with the text of each alarm, besides logging it; from the RunEngine's
            thread or the writer's own, and must return at once.

    Raises:
        JournalError: on a call, if the metadata of a start document cannot be stored, the disk has
            no room for a start document, or refuses others for too long. The journal then ends
            with its last whole document: every further document of that run raises the same error,
            also where it would fit, so that no row is missing between others. Only the run's stop
            is still taken, and what waits is still written if room comes before the writer is
            closed.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        patience_s: float | None = None,
        patience_bytes: int | None = None,
        on_alarm: Callable[[str], object] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).expanduser().resolve()
        self._patience = Patience(
            PATIENCE_S if patience_s is None else patience_s,
            PATIENCE_BYTES if patience_bytes is None else patience_bytes,
            on_alarm,
        )
        self._runs: dict[str, OpenRun] = {}
        self._run_of: dict[str, str] = {}
        self._ended: list[threading.Event] = []
        self._lock = threading.RLock()
        # Runs when the writer is forgotten and when the interpreter ends.
        self._finalizer = weakref.finalize(self, _close_all, self._runs, self._ended)
        _writers.add(self)

    def let_go_in_child(self) -> None:
        """Leave every open journal to the parent; called in a forked child.

        No document is taken there, and nothing is written: neither what waits nor at the end.
        """
        self._lock = threading.RLock()  # the other one may be held by a thread that is not there
        self._ended.clear()
        self._run_of.clear()
        while self._runs:
            self._runs.popitem()[1].abandon()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        with self._lock:
            if name == "start":
                self._start(doc)
                return
            uid = self._uid_of_run(name, doc)
            run = self._runs.get(uid)
            if run is None or run.ended:
                raise JournalError(
                    f"{article(name)} {name} document arrived for run {uid}, which this writer "
                    "has not open: subscribe the journal before the run starts"
                )
            try:
                self._take(run, name, doc)
            finally:
                # Also when the stop was refused: with the lock gone, the catalog service can
                # close the run as failed once there is room.
                if name == "stop" and not run.waiting:
                    self._forget(uid)

    def close(self) -> None:
        """Close every journal that is still open, without a stop document.

        If documents wait for room on the disk, this returns when they are written or the time is
        over, and then tells, by log and alarm, what was not written.
        """
        with self._lock:
            try:
                for run in list(self._runs.values()):
                    run.wait_for_room()
            finally:
                self._close_all()

    def _close_all(self) -> None:
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
            new_names = [path, *itertools.takewhile(lambda p: not p.exists(), path.parents)]
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
            run = OpenRun(path, os.open(path, flags, 0o644), self._patience)
        except FileExistsError as error:
            raise JournalError(f"{path} exists: a run's uid must be new") from error
        except OSError as error:
            raise refusal(path, "start", error) from error
        try:
            if not take_lock(run.fd, timeout_s=2.0):
                raise JournalError(f"{path} was just created and is locked by another process")
            mark_as_written_here(run.fd)
        except (OSError, JournalError) as error:
            run.abandon()
            path.unlink(missing_ok=True)
            raise JournalError(
                f"{path} cannot be locked ({error}): keep the data folder on a local disk"
            ) from error
        try:
            self._write(run, "start", HEADER + encode("start", doc), doc)
            if run.waiting:
                raise refusal(path, "start", run.full)
            for new in new_names:
                sync_folder(new.parent)
        except (OSError, JournalError):
            run.abandon()
            path.unlink(missing_ok=True)
            raise
        self._run_of = {key: uid for key, uid in self._run_of.items() if uid in self._runs}
        self._runs[uid] = run
        if len(self._runs) == 1:
            self._attend_in_background()

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
        lasting = [uid for uid, run in self._runs.items() if not run.ended]
        if len(lasting) == 1 and name in ("stream_resource", "resource"):
            (uid,) = lasting
            self._run_of[str(doc["uid"])] = uid
            return uid
        raise JournalError(
            f"{article(name)} {name} document names no run of this writer "
            f"(keys {', '.join(sorted(doc))}); {len(lasting)} runs are open"
        )

    def _take(self, run: OpenRun, name: str, doc: Mapping[str, Any]) -> None:
        """Write a document, unless one before it was refused and this is not the run's end."""
        # A smaller document may fit where one was refused: it would hide the hole before it.
        if run.refused is not None and name != "stop":
            # A new one each time: an exception that is raised again grows its traceback.
            raise JournalError(str(run.refused)) from run.refused.__cause__
        try:
            stored = fold(name, doc, self.data_dir)
            self._write(run, name, encode(name, stored), stored)
        except JournalError as error:
            run.refused = error
            raise

    def _write(self, run: OpenRun, name: str, data: bytes, doc: Mapping[str, Any]) -> None:
        try:
            if run.append(name, data, doc) and name in ("start", "descriptor", "stop"):
                run.sync()
        except OSError as error:
            raise refusal(run.path, name, error) from error

    def _forget(self, uid: str) -> None:
        run = self._runs.pop(uid, None)
        if run is not None:  # else the writer's thread wrote the last of it and closed it
            run.close()
        self._run_of = {key: owner for key, owner in self._run_of.items() if owner != uid}
        if not self._runs:
            for event in self._ended:
                event.set()
            self._ended.clear()

    def _attend_in_background(self) -> None:
        ended = threading.Event()
        self._ended.append(ended)
        threading.Thread(
            target=attend, args=(self._runs, ended), name="journal-sync", daemon=True
        ).start()
