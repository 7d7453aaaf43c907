"""Alerts that wait to be sent, on the disk, so that none is lost with the process."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from techniques._base import Data

Outcome = Literal["sent", "left_out", "summed", "given_up"]
_WAITING, _KEPT = 200, 100
_COMPACT_ABOVE = 256_000
_LONGEST_BODY = 8_000


class Alert(Data):
    """Something that somebody is told; times are s of the epoch, texts hold no secrets."""

    id: str
    at: float
    event: str
    title: str
    body: str = ""
    station: str | None = None
    attach: tuple[str, ...] = ()


class Told(Data):
    """What became of an alert.

    Attributes:
        to: Who has it, by name.
        state: ``None``: some have it, others not yet. ``left_out``: too many came;
            ``summed``: of these somebody was told how many.
        why: Of the last failure.
    """

    told: str
    at: float
    to: tuple[str, ...] = ()
    state: Outcome | None = None
    why: str = ""


class Spool:
    """A file of lines, each an alert or what became of one.

    Any process may add; one at a time, who holds `sender`, sends and shortens it. It is bounded:
    of what waits the newest are kept, of what is over a hundred.

    Args:
        path: The file; it and its folder are made, for their owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = 0
        self._inode = 0
        self.alerts: dict[str, Alert] = {}
        self.outcomes: dict[str, Told] = {}

    def add(self, entry: Alert | Told) -> None:
        """Append an entry; raises OSError where the disk takes none."""
        if isinstance(entry, Alert) and len(entry.body) > _LONGEST_BODY:
            entry = entry.model_copy(update={"body": entry.body[:_LONGEST_BODY] + " ..."})
        data = entry.model_dump_json(exclude_defaults=True).encode() + b"\n"
        with self._locked():
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if _ends_within_a_line(self.path):
                    data = b"\n" + data
                os.write(fd, data)
            finally:
                os.close(fd)

    def read(self) -> None:
        """Take in what was added since, by whomever; lines that are none are passed over."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._read_to:
                    self._inode, self._read_to = status.st_ino, 0
                file.seek(self._read_to)
                data = file.read()
        except OSError:
            return
        whole, _, rest = data.rpartition(b"\n")
        self._read_to += len(data) - len(rest)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, ValidationError, RecursionError):
                self.take(_entry(json.loads(line)))

    def take(self, entry: Alert | Told) -> None:
        """Know of an entry, whether or not the disk has it."""
        if isinstance(entry, Alert):
            self.alerts.setdefault(entry.id, entry)
            return
        before = self.outcomes.get(entry.told)
        to = entry.to if before is None else tuple(dict.fromkeys((*before.to, *entry.to)))
        self.outcomes[entry.told] = entry.model_copy(update={"to": to})

    def waiting(self) -> list[Alert]:
        """Return what is to be sent, the oldest first."""
        return [one for one in self.alerts.values() if self.state_of(one) is None]

    def state_of(self, alert: Alert) -> Outcome | None:
        """Return what became of an alert; ``None``: it waits."""
        outcome = self.outcomes.get(alert.id)
        return None if outcome is None else outcome.state

    def has(self, alert: Alert) -> tuple[str, ...]:
        """Return who was told of it already."""
        outcome = self.outcomes.get(alert.id)
        return () if outcome is None else outcome.to

    def shorten(self) -> None:
        """Drop what is long over; only who holds `sender` may."""
        try:
            if self.path.stat().st_size < _COMPACT_ABOVE:
                return
        except OSError:
            return
        with self._locked():
            self.read()
            open_: list[Alert] = []
            over: list[Alert] = []
            for alert in self.alerts.values():
                (open_ if self.state_of(alert) in (None, "left_out") else over).append(alert)
            beat = [one for one in over if one.event == "heartbeat"][-1:]
            kept = {one.id: one for one in (*beat, *over[-_KEPT:], *open_[-_WAITING:])}
            self.alerts = {key: one for key, one in self.alerts.items() if key in kept}
            self.outcomes = {key: one for key, one in self.outcomes.items() if key in kept}
            part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "wb") as file:
                    for entry in (*self.alerts.values(), *self.outcomes.values()):
                        file.write(entry.model_dump_json(exclude_defaults=True).encode() + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                    self._inode, self._read_to = os.fstat(file.fileno()).st_ino, file.tell()
                part.replace(self.path)
            finally:
                part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with _held(self.path.with_suffix(".lock"), fcntl.LOCK_EX):
            yield

    def sender(self) -> int | None:
        """Return an open file that says that this process sends; ``None``: another one does."""
        private_folder(self.path.parent)
        place = self.path.with_suffix(".sender")
        fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return fd


def private_folder(folder: Path) -> None:
    """Have a folder that only its owner reads."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def new_id() -> str:
    """Return a name for an alert, in order of time."""
    return f"{time.time_ns():x}-{os.urandom(3).hex()}"


@contextlib.contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    private_folder(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _entry(told: Any) -> Alert | Told:
    if isinstance(told, dict) and "told" in told:
        return Told.model_validate(told)
    return Alert.model_validate(told)
