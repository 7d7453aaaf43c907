"""Boxes that only write files, each a process of its own, that look at the bench's one cell.

A box has a start line, a contact that closes; without one it begins again by itself. It looks at
the cell when it starts, and writes its file slowly: it is opened, partly there, and whole at last.
Its clock is its own, and wrong. What it does with what it saw is in the module of its name, a
function without state; the process is in ``__main__``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim_devices.wire_faults import FaultsOf
from sim_devices.writers.look import look_at

if TYPE_CHECKING:
    from sim_devices.cell import Cell
    from sim_devices.truth import Truth

KINDS = ("ftir", "xrd", "afm", "ultrasound")
# How long a box without a start line waits between two files, host s.
EVERY_S = 0.5
_ENDS_S = 5.0

FAULTS = FaultsOf(
    "a box that writes files",
    {
        "stall": "stops in mid-file for `seconds` (without: until `resume`)",
        "resume": "ends what lasts",
        "garble": "flips bit `bit` (7) of one byte of each of the next `count` (1) files",
        "drop-bytes": "the next `count` (1) files lack `bytes` (1) bytes in the middle",
        "drop": "the next `count` (1) files never appear",
        "refuse": "does not start the next `count` (1) times",
        "disconnect": "its folder is gone for `seconds` (1), as a share of the network may be",
        "power-cycle": "has no power for `seconds` (1): its file stays short",
        "clock-jump": "sets its clock forward by `seconds` (60), back if negative",
        "slow": "writes its pieces `delay_s` (0.5) late for `seconds` (without: until `resume`)",
        "out-of-range": "writes `value` (9e99) for one number of the next `count` (1) files",
        "die": "ends in mid-file, for good",
    },
    {
        "split": "it always writes a file in pieces",
        "merge": "it begins a file when the one before is whole",
        "wrong-checksum": "its files have no checksum",
        "garble-in": "a contact is closed or open",
    },
)


class WritingBox:
    """A box switched on; `folder` has its files."""

    def __init__(
        self,
        kind: str,
        cell: Cell,
        truth: Truth,
        folder: Path,
        *,
        seed: int = 0,
        start_line: bool = True,
    ) -> None:
        """Start its process.

        Args:
            kind: one of `KINDS`.
            cell: what it looks at.
            truth: gets a line per file, ``file``, and one per start that came too soon, ``missed``.
            folder: made if need be.
            seed: of its noise.
            start_line: whether it waits for `contact`; else it begins again by itself.
        """
        self.kind = kind
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._cell = cell
        self._truth = truth
        self._start_line = start_line
        self._lock = threading.Lock()
        self._busy = False
        self._started = 0
        self._closed = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sim_devices.writers", kind, str(folder), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asks, self._tells = self._process.stdin, self._process.stdout
        self._reader = threading.Thread(target=self._read, name=kind, daemon=True)
        self._reader.start()
        # Its process may not be there yet: it finds in the pipe what it is asked meanwhile.
        if not start_line:
            self.start()

    def contact(self, closed: bool) -> None:
        """Take an edge of the start line: it starts when the contact closes."""
        if closed and self._start_line:
            self.start()

    def start(self) -> bool:
        """Look at the cell and begin a file; return False if it is still busy with the last."""
        began = time.time()
        with self._lock:
            missed, self._busy = self._busy, True
            if not missed:
                self._started += 1
        seen = look_at(self._cell)
        if missed:
            self._truth.write(self.kind, "missed", cell_t_s=seen["cell_t_s"], host_time_s=began)
            return False
        asked = {"number": self._started, "host_time_s": began, "seen": seen}
        try:
            self._asks.write(json.dumps(asked) + "\n")
            self._asks.flush()
        except OSError:
            return False  # its process is gone, and it stays busy for ever
        return True

    def inject(self, fault: str, **options: object) -> None:
        """Break something: ``stall`` stops in mid-file until ``resume``; ``die`` ends it there.

        Raises:
            ValueError: no such fault.
        """
        signals = {"stall": signal.SIGSTOP, "resume": signal.SIGCONT, "die": signal.SIGKILL}
        if fault not in signals or options:
            raise ValueError(f"a box that writes files has no fault {fault!r} with {options}")
        os.kill(self._process.pid, signals[fault])

    def close(self) -> None:
        """Switch off; the file that is being written stays short."""
        self._closed.set()
        self._process.kill()
        self._process.wait(_ENDS_S)
        self._reader.join()
        self._tells.close()
        try:
            self._asks.close()
        except OSError:
            pass  # what it was asked last, nobody reads

    def _read(self) -> None:
        """Write down what it has written, until its process is gone."""
        for line in self._tells:
            told: dict[str, Any] = json.loads(line)
            self._truth.write(self.kind, "file", **told)
            with self._lock:
                self._busy = False
            if not self._start_line and not self._closed.wait(EVERY_S):
                self.start()
