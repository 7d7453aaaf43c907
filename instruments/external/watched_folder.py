"""A box of which nothing is known but the folder it writes to, and perhaps a start contact.

It follows like a sensor: asked, it closes its start line, where it has one, and tells how many of
its files are complete. What is in them is read when the run has ended, by the reader that the bench
file names.
"""

import errno
import fnmatch
import logging
import math
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from instruments.abilities import Abilities
from instruments.errors import TransportError
from instruments.relay_board import RelayBoard, leave_open
from instruments.transport import resolve

_log = logging.getLogger(__name__)

PULSE_S = 0.2
# Size, bytes, and time of the last writing, ns.
_State = tuple[int, int]


class WatchedFolder:
    """An external instrument, as a sensor.

    Args:
        address: ``folder:///path`` or ``published:`` one: where its files appear.
        pattern: which of them are its, as in a shell.
        board: closes its start line; None: it has none.
        start_relay: the relay of the board that does.
    """

    verified_on: str | None = None
    # How often it was started, and its files that are complete.
    quantities: ClassVar[Mapping[str, str]] = {"started": "", "files": ""}

    def __init__(
        self,
        address: str,
        *,
        pattern: str = "*",
        board: RelayBoard | None = None,
        start_relay: int = 0,
    ) -> None:
        self.address = address
        self._pattern = pattern
        self._board = board
        self._start_relay = start_relay
        self._last: dict[str, _State] = {}
        self._old: dict[str, _State] = {}
        self._device: int | None = None  # the file system it was on when it was connected
        self._gone: str | None = None
        self._remarks: list[str] = []

    def connect(self) -> None:
        """Look into the folder; what is there now is old. Its start relay is asked once.

        Raises TransportError if there is no such folder, what the board raises if it has no such
        relay.
        """
        if self._board is not None:
            self._board.relay(self._start_relay)
        self._device = None
        self._last = self._old = self._look()
        self._gone = None

    def check_ready(self) -> None:
        """Look whether the folder is still there, for a run that is about to begin.

        Raises TransportError if it is not. What was remarked of runs before is forgotten.
        """
        self._look()
        self._gone = None
        self._remarks.clear()

    @property
    def remarks(self) -> list[str]:
        """Return when the folder was gone, in sentences; empty if it never was."""
        still = f"{self._gone}; what appears there is attached when it is back (operando collect)"
        return [*self._remarks, *([still] if self._gone else [])]

    def close(self) -> None:
        """Do nothing: the board opens its contacts when its owner closes it."""

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                does=("pulse its start line", "count the files that it finished"),
                limits_kept_by="nobody",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return where its files appear; it cannot say more."""
        start = "none" if self._board is None else f"relay {self._start_relay}"
        return {
            "model": "an external instrument",
            "address": self.address,
            "pattern": self._pattern,
            "start_line": start,
        }

    def read(self) -> Mapping[str, float]:
        """Give a start, where there is a line for it, and count the new files that are complete.

        A file is complete when size and time are what they were at the look before, and new when
        they are not those of when it was connected: one that is written over and over counts once.
        A folder that is gone is waited for: the count is NaN. Blocks for the pulse, 0.2 s.
        """
        started = 0.0
        if self._board is not None:
            self._board.pulse(self._start_relay, PULSE_S)
            started = 1.0
        try:
            now = self._look()
        except TransportError as error:
            if self._gone is None:
                _log.warning("%s; waiting for it", error)
                since = time.strftime("%H:%M:%S")
                self._gone = f"{folder_of(self.address)} was gone at {since}"
            return {"started": started, "files": math.nan}
        if self._gone is not None:
            back = f"{self._gone} and back at {time.strftime('%H:%M:%S')}"
            _log.warning("%s: %s", self.address, back)
            self._remarks.append(back)
            self._gone = None
        complete = sum(
            state[0] > 0 and self._last.get(name) == state
            for name, state in now.items()
            if self._old.get(name) != state
        )
        self._last = now
        return {"started": started, "files": float(complete)}

    def safe_state(self) -> None:
        """Leave the start contact open; a no-op if there is none."""
        if self._board is not None:
            leave_open(self._board, self._start_relay)

    def _look(self) -> dict[str, _State]:
        folder = folder_of(self.address)
        try:
            device = folder.stat().st_dev
            found = {
                path.name: state
                for path in folder.iterdir()
                if not path.name.startswith(".")
                and fnmatch.fnmatch(path.name, self._pattern)
                and (state := _state_of(path)) is not None
            }
        except OSError as error:
            raise TransportError(
                f"external instrument at {self.address}: cannot look into {folder} "
                f"({error.strerror}): is the instrument's folder there, and mounted?"
            ) from error
        if self._device is not None and device != self._device and not found:
            # A place where nothing is mounted any more is an empty folder.
            raise TransportError(
                f"{self.address}: {folder} is on another file system than when it was connected, "
                f"and has no {self._pattern}: is the share unmounted?"
            )
        self._device = device
        return found


def _state_of(path: Path) -> _State | None:
    """Return size and time of a file; None if there is none, or not any more."""
    try:
        told = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None  # a link to nowhere, or renamed since it was listed
        raise
    return (told.st_size, told.st_mtime_ns) if stat.S_ISREG(told.st_mode) else None


def folder_of(address: str) -> Path:
    """Return the folder that an address means; raises TransportError if it means none."""
    url = urlsplit(resolve(address))
    if url.scheme != "folder":
        raise TransportError(
            f"external instrument at {address}: that is no folder: write it as folder:///path"
        )
    return Path(unquote(url.path))
