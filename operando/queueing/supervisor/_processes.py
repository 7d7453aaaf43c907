"""Other processes, by number and start and never by name: do they live, and how are they ended."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LOOK_S = 0.02


@dataclass(frozen=True)
class Process:
    """A process of this computer.

    Attributes:
        pid: Its number.
        started_ticks: When it started, as the system counts, so that another process that has its
            number by now is not taken for it; ``None``: the system does not tell.
    """

    pid: int
    started_ticks: int | None = None

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Return the process that has this number now."""
        return cls(pid, started_ticks(pid))

    @property
    def alive(self) -> bool:
        """Return whether it has not ended; one that only waits to be buried has."""
        if sys.platform != "linux":
            return _answers(self.pid)
        fields = _fields(self.pid)
        if fields is None or fields[0] in "ZX":
            return False
        return self.started_ticks is None or int(fields[19]) == self.started_ticks

    @property
    def waits_for_disk(self) -> bool:
        """Return whether one of its threads waits for a disk, or another device, uninterruptibly.

        Such a process can do nothing else, and cannot be ended either. A wait is short and comes
        again: asked once, it may be missed.
        """
        try:
            threads = [int(one.name) for one in Path(f"/proc/{self.pid}/task").iterdir()]
        except OSError:
            return False
        return self.alive and any((_fields(one) or " ")[0] == "D" for one in threads)

    def send(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass  # it has ended, and another one has its number

    def kill(self, timeout_s: float = 5.0) -> bool:
        """End it for good; return whether it has ended within the time."""
        self.send(getattr(signal, "SIGKILL", signal.SIGTERM))
        return self.ended_within(timeout_s)

    def end(self, timeout_s: float) -> bool:
        """Ask it to end, and end it when it does not; return whether it ended by itself."""
        self.send(signal.SIGTERM)
        if self.ended_within(timeout_s):
            return True
        self.kill()
        return False

    def ended_within(self, timeout_s: float) -> bool:
        """Wait until it has ended; return whether it has."""
        give_up = time.monotonic() + timeout_s
        while self.alive:
            if time.monotonic() > give_up:
                return False
            time.sleep(_LOOK_S)
        return True


def started_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; ``None``: it is gone, or not known."""
    fields = _fields(pid)
    return None if fields is None else int(fields[19])


def members(group: int) -> Iterator[tuple[int, int]]:
    """Yield the processes of a process group with their parents, (pid, parent)."""
    for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))) is not None:
            if int(fields[2]) == group:
                yield int(entry.name), int(fields[1])


def end_group_of(leader: Process, spare: int | None = None) -> None:
    """End the group of a leader that was noted before, which itself may have ended, as `end_group`.

    Nothing is ended where another process has its number by now: numbers begin anew with each boot.
    """
    now = started_ticks(leader.pid)
    if leader.pid == os.getpgid(0) or (now is not None and now != leader.started_ticks):
        return
    end_group(leader.pid, spare)


def end_group(group: int, spare: int | None = None) -> None:
    """End the processes of a group, but for one and all that descend from it."""
    found = dict(members(group))
    for pid in found:
        if not _descends(pid, spare, found):
            Process.of(pid).kill()


def _descends(pid: int, ancestor: int | None, parents: dict[int, int]) -> bool:
    seen = set[int]()
    while pid not in seen:
        if pid == ancestor:
            return True
        seen.add(pid)
        pid = parents.get(pid, pid)
    return False


def _fields(pid: int | str) -> list[str] | None:
    """Return what the system tells of a process behind its name: state, parent, group and so on."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return told.rpartition(")")[2].split()


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
