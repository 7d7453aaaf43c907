"""Processes to be killed: started quickly, watched by what they note, and found out about."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.recorder import COLUMNS, STREAM, row_values
from operando.journal import close_dead_run, documents, inspect

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Doomed:
    """One recording process.

    Attributes:
        data: Its data folder.
        notes: Its file of notes.
        pidfd: What stands for it, whoever gets its number afterwards.
    """

    data: Path
    notes: Path
    pidfd: int
    pid: int

    def lines(self) -> list[list[str]]:
        """Return what it noted so far, in words; a line without its end is left out."""
        if not self.notes.exists():
            return []
        return [line.split() for line in self.notes.read_text().rpartition("\n")[0].splitlines()]

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Wait until it has noted ``count`` lines of a kind."""
        deadline = time.monotonic() + PATIENCE_S
        while sum(line[0] == kind for line in self.lines()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {count} lines {kind!r} in {self.notes}: {self.lines()}")
            time.sleep(0.005)

    def kill(self) -> float:
        """Kill it, wait until it is gone, and return when that was ordered."""
        at = time.monotonic()
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self.wait()
        return at

    def end(self) -> None:
        """Have it end its run, and wait for it."""
        self.notes.with_name("end").touch()
        self.wait()

    def wait(self) -> None:
        """Wait until it is gone."""
        if not select.select([self.pidfd], [], [], PATIENCE_S)[0]:
            raise TimeoutError(f"process {self.pid} did not end")
        os.close(self.pidfd)

    @property
    def journal(self) -> Path:
        """Return its only journal."""
        (path,) = (self.data / "journal").rglob("*.opj")
        return path


@contextmanager
def nursery() -> Iterator["Nursery"]:
    """Yield what starts recording processes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.faults.recorder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield Nursery(process)
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        process.wait(timeout=PATIENCE_S)
        process.stdout.close()  # type: ignore[union-attr]


class Nursery:
    """Starts recording processes from one that has imported everything."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(self, folder: Path, how: str, data: Path | None = None, **order: Any) -> Doomed:
        """Start a process that records into ``folder/data``; ``how`` as in the recorder."""
        folder.mkdir(parents=True)
        data = data or folder / "data"
        notes = folder / "notes"
        order |= {"folder": str(data), "notes": str(notes), "how": how}
        self._process.stdin.write(json.dumps(order) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        pid = int(self._process.stdout.readline())  # type: ignore[union-attr]
        return Doomed(data, notes, os.pidfd_open(pid), pid)


@dataclass
class Kept:
    """What a journal holds, compared with what was noted.

    Attributes:
        rows: How many rows it holds.
        numbers: Their numbers.
        wrong: Rows that are there and are not what was received, or out of order.
        ended: Whether the last document is a stop.
    """

    rows: int = 0
    wrong: int = 0
    ended: bool = False
    names: list[str] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)


def kept_in(
    journal: Path,
    *,
    gaps: bool = False,
    read: Callable[[Path], Iterable[tuple[str, Any]]] = documents,
) -> Kept:
    """Read a journal and check every value of every row.

    Args:
        journal: The journal.
        gaps: Whether rows may be missing between others.
        read: How it is read.
    """
    kept = Kept()
    newest = 0
    for name, doc in read(journal):
        kept.names.append(name)
        kept.ended = name == "stop"
        if name not in ("event", "event_page"):
            continue
        single = name == "event"
        numbers = [doc["seq_num"]] if single else doc["seq_num"]
        columns = [doc["data"][f"{STREAM}_{key}"] for key in COLUMNS]
        rows = [tuple(columns)] if single else list(zip(*columns, strict=True))
        for number, row in zip(numbers, rows, strict=True):
            in_order = number > newest if gaps else number == newest + 1
            kept.wrong += not in_order or row != row_values(number)
            newest = number
            kept.rows += 1
            kept.numbers.add(number)
    return kept


def closed(journal: Path) -> tuple[Kept, bool]:
    """Close a dead run's journal; return what it holds and whether nothing else changed."""
    before = kept_in(journal, gaps=True)
    damage = inspect(journal).damage
    done = close_dead_run(journal)
    after, tail = kept_in(journal, gaps=True), inspect(journal)
    same = (after.numbers, after.wrong) == (before.numbers, before.wrong)
    return after, done and same and after.ended and (tail.reason, tail.damage) == ("", damage)
