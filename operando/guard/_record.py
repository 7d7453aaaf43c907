"""Write down what the guard did: into the journal of the run, and into a log of its own.

All of it happens in a thread of its own: a disk that hangs keeps no cell waiting.
"""

import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from operando.journal import JournalError, close_dead_run, journal_path, try_lock

LOG = "guard.jsonl"
_RETRY_S = 1.0
# Somebody else may be closing the journal; who holds it for longer is not going to.
_LOCK_PATIENCE_S = 120.0


class Recorder:
    """Takes what is to be written, and writes it as soon as the disk lets it.

    Args:
        data_dir: the data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._jobs: queue.SimpleQueue[Callable[[], bool]] = queue.SimpleQueue()
        self._pending = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="record", daemon=True).start()

    def log(self, **told: Any) -> None:
        """Append one line to the guard's log in the data folder, if there is room for it."""
        line = json.dumps({"time": time.time(), "guard": os.getpid(), **told}) + "\n"
        self._later(lambda: self._append(line))

    def run(self, uid: str) -> "RunOfTheDead":
        """Return the run that was open; its journal is locked as soon as that can be done."""
        run = RunOfTheDead(self._data_dir, uid)
        self._later(run.lock)
        return run

    def close_run(self, run: "RunOfTheDead", reason: str, told: Mapping[str, Any]) -> None:
        """Append the stop document, again and again until there is room for it."""
        self._later(lambda: run.close(reason, told))

    def wait(self, timeout_s: float) -> bool:
        """Wait until all is written; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, timeout_s)

    def _later(self, job: Callable[[], bool]) -> None:
        with self._changed:
            self._pending += 1
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            while not job():
                time.sleep(_RETRY_S)
            with self._changed:
                self._pending -= 1
                self._changed.notify_all()

    def _append(self, line: str) -> bool:
        with contextlib.suppress(OSError):  # a full disk: what matters is the instruments
            (self._data_dir / "state").mkdir(parents=True, exist_ok=True)
            with open(self._data_dir / "state" / LOG, "a", encoding="utf-8") as file:
                file.write(line)
        return True


class RunOfTheDead:
    """The journal of the run that was open when its owner died."""

    def __init__(self, data_dir: Path, uid: str) -> None:
        self.uid = uid
        self._data_dir = data_dir
        self._path: Path | None = None
        self._fd: int | None = None
        self._locked = False
        self._give_up = time.monotonic() + _LOCK_PATIENCE_S

    def lock(self) -> bool:
        """Take its lock at once, so that nobody closes it before the guard tells what it did."""
        try:
            self._path = journal_path(self._data_dir, self.uid) if self.uid else None
            if self._path is not None:
                self._fd = os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0))
                self._locked = try_lock(self._fd)
        except (OSError, LookupError):
            self._let_go()
        return True

    def close(self, reason: str, told: Mapping[str, Any]) -> bool:
        """Append the stop document; return whether it is there now, or somebody else's is.

        ``False``: the disk has no room, or refuses; to be tried again.
        """
        if self._path is None or self._fd is None:
            return True
        try:
            self._locked = self._locked or try_lock(self._fd)
            if not self._locked:
                return time.monotonic() > self._give_up
            close_dead_run(self._path, by="the guard", held=self._fd, because=reason, told=told)
        except JournalError:
            pass  # it is no journal any more: nothing can be appended to it
        except OSError:
            return False
        self._let_go()
        return True

    def _let_go(self) -> None:
        self._path = None
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
