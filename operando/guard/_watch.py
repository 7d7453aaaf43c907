"""Is the owner alive? What its heart, its process and the system say of it."""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from instruments.guarding import GuardSettings

_SLICE_S = 0.1
_DIES_WITHIN_S = 5.0
# Who looks ten times a second and finds so much time gone by was not running itself.
_OWN_PAUSE_S = 0.6


class Owner:
    """The process that owns the bench, held by a descriptor where the system has such.

    A number alone could be that of another process by the time it is killed.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.command, self.group = b"", -1
        with contextlib.suppress(OSError):
            self.group = os.getpgid(pid)
            self.command = Path(f"/proc/{pid}/cmdline").read_bytes()
        self._fd: int | None = None
        if hasattr(os, "pidfd_open"):
            # Not on a kernel before 5.3, and not in every container.
            with contextlib.suppress(OSError):
                self._fd = os.pidfd_open(pid)

    @property
    def descriptor(self) -> int | None:
        """Return what becomes readable when the process ends."""
        return self._fd

    def state(self) -> str:
        """Return the letter the system has for its state; ``X``: it is gone, ``?``: not known."""
        if sys.platform != "linux":
            return "?" if self.alive else "X"
        try:
            told = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return "X"
        return told.rpartition(")")[2].split()[0]

    @property
    def alive(self) -> bool:
        """Return whether it has not ended."""
        if self._fd is not None:
            return not select.select([self._fd], [], [], 0)[0]
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def fence(self) -> bool:
        """End it for good, and return whether it has ended; the system then frees its ports.

        One that waits for a device in the system may not end: its ports stay busy then.
        """
        try:
            if self._fd is not None:
                signal.pidfd_send_signal(self._fd, signal.SIGKILL)
            else:
                os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        except ProcessLookupError:
            return True
        except PermissionError:
            return False  # it has become somebody else's; the instruments tell who has them
        end = time.monotonic() + _DIES_WITHIN_S
        while self.alive and time.monotonic() < end:
            time.sleep(0.002)
        return not self.alive


def fence_copies(of: Owner, ports: AbstractSet[str], run: str) -> list[int]:
    """End the processes that the owner has forked and that hold what it held; return which.

    A fork that runs no other program has its parent's command line and process group, and its ports
    and locks. To be asked when the owner has just died, and not again: a session that somebody
    starts later may have the same command line.

    Args:
        of: the owner, as it was.
        ports: paths of the bench's devices.
        run: uid of the run whose journal it wrote, empty if none was open.
    """
    ended = []
    for process in Path("/proc").glob("[0-9]*") if of.command else ():
        pid = int(process.name)
        if pid in (of.pid, os.getpid()):
            continue
        try:
            if (process / "cmdline").read_bytes() != of.command or os.getpgid(pid) != of.group:
                continue
            held = [os.readlink(fd) for fd in (process / "fd").iterdir()]
            if not any(x in ports or (run and x.endswith(f"{run}.opj")) for x in held):
                continue
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue  # it ended, or is somebody else's
        ended.append(pid)
    return ended


class Heart:
    """Listens to the owner until it says goodbye, or is taken for dead.

    Attributes:
        run: uid of the run that is open, empty if none is.
        finishes: whether that run's program can end by itself and keep its rows.
        unsafe: instruments that the owner could not make safe, when it said goodbye.
        hold: whether the owner has seen the cell open, so that an interlock can be closed.
        who: marks of those whose safety is to be told, by name of the instrument.
        loans: numbers of the loans that the owner has of shared instruments, by what they are of.
    """

    def __init__(
        self, orders: int, owner: Owner, settings: GuardSettings, heard: bytes = b""
    ) -> None:
        self._orders = orders
        self._owner = owner
        self._settings = settings
        self._heard = heard
        self.run = ""
        self.finishes = False
        self.unsafe: tuple[str, ...] = ()
        self.trips: list[str] = []
        self.hold = False
        self.who: dict[str, frozenset[str]] = {}
        self.loans: dict[str, int] = {}
        self._goodbye = False
        self._engine_s = 0.0
        self._beat_at = self._looked_at = time.monotonic()

    def listen(self) -> str | None:
        """Wait a moment; return why the owner is taken for dead, ``None`` if it is not.

        ``"goodbye"``: it has left, properly.
        """
        watched = [self._orders]
        if self._owner.descriptor is not None:
            watched.append(self._owner.descriptor)
        ready = select.select(watched, [], [], _SLICE_S)[0]
        ended = False
        if self._orders in ready:
            part = os.read(self._orders, 65536)
            ended = not part
            self._hear(part)
        if self._goodbye:
            return "goodbye"
        if ended or (len(watched) > 1 and watched[1] in ready) or not self._owner.alive:
            return "its process ended"
        return self._silence()

    def _hear(self, part: bytes) -> None:
        *lines, self._heard = (self._heard + part).split(b"\n")
        for line in lines:
            self._beat_at = time.monotonic()
            # What is none of its lines is a sign of life all the same.
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                self._take(json.loads(line))

    def _take(self, told: dict[str, Any]) -> None:
        self._engine_s = float(told.get("engine_s", self._engine_s))
        if "run" in told:
            self.run = str(told["run"])
            self.finishes = bool(told.get("finishes", False))
        self.hold = self.hold or bool(told.get("hold"))
        if "who" in told:
            self.who = {str(name): frozenset(map(str, x)) for name, x in told["who"].items()}
        if "loans" in told:
            self.loans = {str(name): int(number) for name, number in told["loans"].items()}
        if "trip" in told:
            self.trips += [str(name) for name in told["trip"]]
        if "goodbye" in told:
            self.unsafe = tuple(map(str, told.get("unsafe", ())))
            self._goodbye = True

    def _silence(self) -> str | None:
        now = time.monotonic()
        if now - self._looked_at > _OWN_PAUSE_S:
            # It was the guard, or the whole computer, that stood still.
            self._beat_at, self._engine_s = now, 0.0
        self._looked_at = now
        silent_s = now - self._beat_at
        if self.run and self._engine_s > self._settings.engine_s:
            return f"its RunEngine has handled nothing for {self._engine_s:.0f} s"
        if not self.run or silent_s < self._settings.silence_s:
            # Between runs nothing drives the cell: a process that was stopped there may stay.
            return None
        if self._owner.state() in ("T", "t"):
            return f"its process was stopped, and silent for {silent_s:.1f} s"
        if silent_s >= self._settings.busy_s:
            return f"its process hangs: it has been silent for {silent_s:.1f} s"
        return None
