"""Write down what the guard did: into the journal of the run, and into a log of its own."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from operando.journal import JournalError, close_dead_run, journal_path, try_lock

LOG = "guard.jsonl"


class RunOfTheDead:
    """The journal of the run that was open when its owner died.

    Its lock is taken at once, so that nobody closes it before the guard has told what it did.
    """

    def __init__(self, data_dir: Path, uid: str) -> None:
        self.uid = uid
        self._path: Path | None = None
        self._fd: int | None = None
        try:
            self._path = journal_path(data_dir, uid) if uid else None
            if self._path is not None:
                self._fd = os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0))
                if not try_lock(self._fd):
                    self._let_go()
        except (OSError, LookupError):
            self._let_go()

    def close(self, reason: str, told: Mapping[str, Any]) -> bool:
        """Append the stop document; return whether it is there now, or somebody else's is.

        ``False``: the disk has no room, or refuses; to be tried again.
        """
        if self._path is None:
            return True
        try:
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


def log(data_dir: Path, **told: Any) -> None:
    """Append one line to the guard's log in the data folder, if there is room for it."""
    line = json.dumps({"time": time.time(), "guard": os.getpid(), **told}) + "\n"
    try:
        (data_dir / "state").mkdir(parents=True, exist_ok=True)
        with open(data_dir / "state" / LOG, "a", encoding="utf-8") as file:
            file.write(line)
    except OSError:
        return  # a full disk: what matters is the instruments
