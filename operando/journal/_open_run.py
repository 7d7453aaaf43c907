"""One journal being written, and where its documents wait while the disk takes none."""

import errno
import logging
import math
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._cycles import Cycles, save_cycles
from ._errors import JournalError
from ._format import HEADER, RECORD, decode, encode

logger = logging.getLogger(__name__)

# From the beginning of one sync to that of the next. What came just after the one is to be on the
# disk 100 ms and the next one later; threads wait their turn, up to 30 ms on a busy computer.
SYNC_INTERVAL_S = 0.07
ALARM_EVERY_S = 10.0
# How much of what waited is written before the next document may come in between.
_WRITTEN_AT_ONCE = 4 << 20


def _sync(fd: int) -> None:
    # macOS has no fdatasync; there fsync does the same work and more.
    getattr(os, "fdatasync", os.fsync)(fd)


@dataclass(frozen=True)
class Patience:
    """How long documents wait in memory for room on the disk, and who is told.

    Attributes:
        seconds: since a document was last written; 0 refuses the first that does not fit.
        size: of all that waits in one run [bytes].
        on_alarm: called with the text of each alarm; may be None.
    """

    seconds: float
    size: int
    on_alarm: Callable[[str], object] | None = None

    def alarm(self, text: str, level: int = logging.ERROR) -> None:
        """Log a text and hand it to whoever shows alarms; what that raises is logged."""
        logger.log(level, "%s", text)
        if self.on_alarm is not None:
            try:
                self.on_alarm(text)
            except Exception:
                logger.exception("an alarm could not be shown")


class OpenRun:
    """A journal that is open for writing: its file, and the documents that wait for room in it."""

    def __init__(self, path: Path, fd: int, patience: Patience) -> None:
        self.path = path
        self.fd = fd
        self.dirty = False
        # Why a document was refused; nothing but the run's stop is taken from then on.
        self.refused: JournalError | None = None
        # Whether the stop document waits, or waited.
        self.ended = False
        self._patience = patience
        # Where the next document belongs, and where the whole records in the file end: behind that
        # if the disk did not keep what was written, which is then written again in its place.
        self._whole = 0
        self._present = 0
        self._torn = False
        # Written and not yet known to be on the disk: where each ends, its name, its bytes.
        self._unsynced: deque[tuple[int, str, bytes]] = deque()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        # What the disk said last; since when nothing more reached it, None while all is well.
        self.full: OSError | None = None
        self._full_since: float | None = None
        self._alarmed_at = 0.0
        self._cycles: Cycles | None = Cycles()
        # Held while syncing, so that the descriptor cannot be closed, and its number given to
        # another file, in between. Writing does not take it: a slow disk must not hold up a row.
        self._sync_lock = threading.Lock()
        self._write_lock = threading.RLock()

    @property
    def waiting(self) -> bool:
        """Whether documents wait in memory."""
        return bool(self._waiting)

    @property
    def done(self) -> bool:
        """Whether the run has ended after some waiting and all of it is on the disk."""
        return self.ended and not self._waiting and self._full_since is None

    @property
    def _waited_s(self) -> float:
        return 0.0 if self._full_since is None else time.monotonic() - self._full_since

    def _failed(self, error: OSError) -> None:
        self.full = error
        if self._full_since is None:
            self._full_since = time.monotonic()
            self._alarmed_at = -math.inf

    def append(self, name: str, data: bytes, doc: Mapping[str, Any]) -> bool:
        """Write one record, or have it wait if the disk is full; return whether it was written.

        Raises:
            OSError: if it is not to wait; the file ends with the record before.
            JournalError: if too much waits already, or for too long.
        """
        with self._write_lock:
            if not self._waiting:
                try:
                    self._write(name, data, doc)
                except OSError as error:
                    if not self._may_wait(name, len(data)):
                        raise
                    self._failed(error)
                else:
                    return True
            elif name != "stop" and not self._may_wait(name, len(data)):
                raise self.given_up(name)
            self._waiting.append((name, data))
            self._waiting_bytes += len(data)
            self.ended = name == "stop"
            self._alarm_if_due()
            return False

    def _may_wait(self, name: str, size: int) -> bool:
        if name == "start" or self.refused is not None or self._patience.seconds <= 0:
            return False
        if self._waiting_bytes + size > self._patience.size:
            return False
        return not self._waiting or self._waited_s <= self._patience.seconds

    def _write(self, name: str, data: bytes, doc: Mapping[str, Any]) -> None:
        """Write the bytes whole; on failure cut a torn record off the file and raise OSError."""
        if self._torn:
            self._cut()
        end = self._whole + len(data)
        self._torn = end > self._present
        try:
            os.lseek(self.fd, self._whole, os.SEEK_SET)
            written = os.write(self.fd, data)
            while written < len(data):
                written += os.write(self.fd, memoryview(data)[written:])
        except OSError:
            try:
                self._cut()
            except OSError as error:
                # The reader stops at the torn record anyway; the rows before it are safe.
                logger.error("%s: could not cut the torn record off: %s", self.path, error)
            raise
        self._torn = False
        # The header is written with the start document.
        begin, self._whole = self._whole or len(HEADER), end
        self._present = max(self._present, end)
        self._unsynced.append((end, name, data))
        self.dirty = True
        self._index(begin, name, doc)

    def _index(self, begin: int, name: str, doc: Mapping[str, Any]) -> None:
        if self._cycles is None or begin < self._cycles.end:  # written for the second time
            return
        try:
            self._cycles.take(begin, self._whole, name, doc)
        except Exception:
            # Whatever is odd about a document that is safe in the journal: an index that anybody
            # can make again must not cost the run.
            logger.exception("%s: no index of cycles is made", self.path)
            self._cycles = None

    def _cut(self) -> None:
        if self._torn:
            os.ftruncate(self.fd, self._present)
            self._torn = False

    def attend(self) -> None:
        """Do what is due: write what waits, put on the disk what is written, tell what is wrong."""
        if self._waiting:
            with self._write_lock:
                if not self._write_waiting(_WRITTEN_AT_ONCE):
                    self._alarm_if_due()
        if self.dirty:
            self.sync()

    def _write_waiting(self, at_most: int) -> bool:
        """Write what waits, in order; return whether nothing waits any more."""
        limit = self._waiting_bytes - at_most
        while self._waiting and self._waiting_bytes > limit:
            name, data = self._waiting[0]
            try:
                self._write(name, data, decode(data[RECORD.size :])[1])
            except OSError as error:
                self._failed(error)
                return False
            self._waiting.popleft()
            self._waiting_bytes -= len(data)
        return not self._waiting

    def _tell_that_it_waits(self) -> None:
        self._alarmed_at = time.monotonic()
        left_s = self._patience.seconds - self._waited_s
        count = "1 document" if len(self._waiting) == 1 else f"{len(self._waiting)} documents"
        if self.ended:
            then = f"The run has ended; its program waits for room, {max(left_s, 0):.0f} s more"
        elif left_s > 0:
            then = (
                f"The experiment goes on for {left_s:.0f} s more, or until "
                f"{self._patience.size / 1e6:.0f} MB wait, and is then stopped"
            )
        else:
            then = "The experiment is stopped"
        self._patience.alarm(
            f"DISK: the journal {self.path} takes no more: {why(self.full)}; "
            f"{room(self.path)}. {count} of {self._waiting_bytes / 1e6:.3g} MB in memory. {then}. "
            f"To lose nothing, now: {remedy(self.full)}"
        )

    def _alarm_if_due(self) -> None:
        if time.monotonic() - self._alarmed_at >= ALARM_EVERY_S:
            self._tell_that_it_waits()

    def given_up(self, name: str) -> JournalError:
        """Return what to raise for a document that is not taken because others wait."""
        waited = (
            f"{len(self._waiting)} documents of {self._waiting_bytes / 1e6:.3g} MB have waited "
            f"{self._waited_s:.0f} s for room and are written if it comes before the program ends. "
        )
        return refusal(self.path, name, self.full, waited)

    def sync(self) -> bool:
        """Put on the disk what is written; return whether the disk did.

        If not, it may have lost what was written since it last did: that waits, and is written
        again.
        """
        with self._sync_lock:
            if self.fd < 0:
                return True
            self.dirty = False
            size = self._whole
            try:
                _sync(self.fd)
            except OSError as error:
                self._take_back(error)
                return False
            with self._write_lock:
                while self._unsynced and self._unsynced[0][0] <= size:
                    self._unsynced.popleft()
                if self._full_since is not None:
                    self._recover()
            return True

    def _recover(self) -> None:
        if self._waiting:
            self._full_since = time.monotonic()  # there was some room
            return
        self._full_since = None
        self._patience.alarm(
            f"the journal {self.path} is written again: nothing that waited is lost",
            logging.WARNING,
        )

    def _take_back(self, error: OSError) -> None:
        with self._write_lock:
            if not self._unsynced:
                return
            self._failed(error)
            begun = self._unsynced[0][1] != "start"  # else it is refused, and nothing is to wait
            while self._unsynced:
                end, name, data = self._unsynced.pop()
                self._whole = end - len(data)
                self._waiting.appendleft((name, data))
                self._waiting_bytes += len(data)
                self.ended |= name == "stop"
            if begun:
                self._alarm_if_due()

    def wait_for_room(self) -> None:
        """Return when nothing waits any more, or the time to wait is over."""
        while self._full_since is not None and self._waited_s <= self._patience.seconds:
            self.attend()
            if self._full_since is not None:
                time.sleep(SYNC_INTERVAL_S)

    def abandon(self) -> None:
        """Close the file as it is: it was just begun, or is another process's."""
        self._waiting.clear()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Write what waits if there is room now, tell what could not be, and close the file."""
        with self._write_lock:
            if self.fd < 0:
                return
            self._write_waiting(self._waiting_bytes)
        if self.dirty and not self.sync():
            with self._write_lock:
                self._write_waiting(self._waiting_bytes)
            self.sync()
        with self._write_lock:
            if self._waiting:
                self._lose()
        with self._sync_lock:
            if self.dirty:
                try:
                    _sync(self.fd)
                except OSError:
                    pass  # what is not known to be on the disk was told
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)
        if self._cycles is not None and self._cycles.stopped:
            save_cycles(self.path, self._cycles)

    def _lose(self) -> None:
        """Give up what waits, write a stop that says so if there is room, and tell of it.

        What is in the file and perhaps not on the disk stays where it is.
        """
        unsure = self._take_what_is_present()
        lost = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._full_since = None
        told = ". ".join(filter(None, (_not_written(lost, self.full), _unsure(unsure, self.full))))
        closed = "it has no stop document"
        name, data = (lost or unsure)[-1]
        if name == "stop":
            stop = decode(data[RECORD.size :])[1]
            # A stop of success would vouch for rows that are not there.
            others = any(name != "stop" for name, _ in (*lost, *unsure))
            stop["exit_status"] = "fail" if others else stop["exit_status"]
            stop["reason"] = ". ".join(filter(None, (stop.get("reason"), told)))
            try:
                if not lost:  # the stop as it was is in the file
                    self._whole -= len(data)
                    self._present = self._whole
                    self._torn = True
                self._write(name, encode(name, stop), stop)
                closed = f"it ends as {stop['exit_status']!r}"
            except OSError:
                pass  # whoever repairs journals closes the run once there is room
        self._patience.alarm(f"the journal {self.path} is closed, {closed}. {told}")

    def _take_what_is_present(self) -> list[tuple[str, bytes]]:
        """Return what of that which waits is in the file, and let it wait no more."""
        present = []
        while self._waiting and self._whole + len(self._waiting[0][1]) <= self._present:
            present.append(self._waiting.popleft())
            self._whole += len(present[-1][1])
        return present


def _not_written(lost: list[tuple[str, bytes]], error: OSError | None) -> str:
    counted = _counted(lost)
    return f"{counted} were NOT written: {why(error)}" if counted else ""


def _unsure(unsure: list[tuple[str, bytes]], error: OSError | None) -> str:
    counted = _counted(unsure)
    if not counted:
        return ""
    return f"{counted} are written, but not known to be on the disk: {why(error)}"


def _counted(records: list[tuple[str, bytes]]) -> str:
    """Return how many documents and rows these are, the stop apart; empty if there are none."""
    told = [decode(data[RECORD.size :]) for name, data in records if name != "stop"]
    rows = sum(
        len(doc["seq_num"]) if name == "event_page" else 1
        for name, doc in told
        if name in ("event", "event_page")
    )
    return f"{len(told)} documents with {rows} rows" if told else ""


def attend(runs: dict[str, OpenRun], ended: threading.Event) -> None:
    """Attend to every open run again and again, until told to end."""
    pause_s = SYNC_INTERVAL_S
    while not ended.wait(pause_s):
        began = time.monotonic()
        for uid, run in list(runs.items()):
            run.attend()
            if run.done:
                runs.pop(uid, None)
                run.close()
                if not runs:
                    ended.set()
        pause_s = max(0.0, SYNC_INTERVAL_S - (time.monotonic() - began))


def refusal(path: Path, name: str, error: OSError | None, waited: str = "") -> JournalError:
    """Return what to raise when a document is refused: where, why, what is safe, what to do."""
    return JournalError(
        f"the journal {path} did not take {article(name)} {name} document: {why(error)}; "
        f"{room(path)}. {waited}Everything written before is safe. To go on: {remedy(error)}"
    )


def why(error: OSError | None) -> str:
    """Return what the operating system said."""
    return "unknown" if error is None else str(error.strerror or error)


def room(path: Path) -> str:
    """Return how much is free where a file is, or is to be."""
    try:
        folder = next(folder for folder in path.parents if folder.exists())
        return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free"
    except OSError as error:
        return f"free space unknown ({error})"


def remedy(error: OSError | None) -> str:
    """Return what to do about an error of the operating system."""
    number = None if error is None else error.errno
    return {
        errno.ENOSPC: "free space on this disk, or point OPERANDO_DATA at another one",
        errno.EDQUOT: "raise the quota or free space of this user",
        errno.EFBIG: "raise the limit of file size of this process (ulimit -f)",
        errno.EIO: "the disk fails: point OPERANDO_DATA at another disk",
        errno.EROFS: "the file system is read-only: point OPERANDO_DATA at another folder",
        errno.EPERM: "allow writing, or point OPERANDO_DATA at another folder",
        errno.EACCES: "allow writing, or point OPERANDO_DATA at another folder",
    }.get(number or 0, "check the disk, or point OPERANDO_DATA at another folder")


def article(name: str) -> str:
    """Return the article that goes before a document's name."""
    return "an" if name[0] in "aeiou" else "a"
