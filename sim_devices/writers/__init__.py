"""Boxes that only write files, each a process of its own, that look at the bench's one cell.

A box has a start line, a contact that closes; without one it begins again by itself. It looks at
the cell when it starts, and writes its file slowly: it is opened, partly there, and whole at last.
Its clock is its own, and wrong. What it does with what it saw is in the module of its name, a
function without state; the process is in ``__main__``.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sim_devices.result_files import ResultFolder
from sim_devices.wire_faults import WIRE_FAULTS, FaultsOf, WireFaults, number_of
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
        "resume": WIRE_FAULTS["resume"],
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
        self.broken = WireFaults(FAULTS)
        self._results = ResultFolder(folder, self.broken)
        self._cell = cell
        self._truth = truth
        self._start_line = start_line
        self._lock = threading.Lock()
        self._busy = False
        self._started = 0
        self._closed = threading.Event()
        self._clock_ahead_s = 0.0
        self._command = [sys.executable, "-m", "sim_devices.writers", kind, str(folder), str(seed)]
        self._switch_on()
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
        if self.broken.off_s() or self.broken.due("refuse"):
            return False
        with self._lock:
            missed, self._busy = self._busy, True
            if not missed:
                self._started += 1
        seen = look_at(self._cell)
        if missed:
            self._truth.write(self.kind, "missed", cell_t_s=seen["cell_t_s"], host_time_s=began)
            return False
        asked = {
            "number": self._started,
            "host_time_s": began,
            "seen": seen,
            "broken": self._broken_in_the_next(),
        }
        try:
            self._asks.write(json.dumps(asked) + "\n")
            self._asks.flush()
        except OSError:
            return False  # its process is gone, and it stays busy for ever
        return True

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        self.broken.take(fault, options)
        match fault:
            case "stall":
                self._signal(signal.SIGSTOP)
                self._results.later(self._end_stall)
            case "resume":
                self._signal(signal.SIGCONT)
            case "die":
                self._signal(signal.SIGKILL)
            case "clock-jump":
                self._clock_ahead_s += number_of(options, "seconds", 60.0)
            case "disconnect":
                self._results.leave()
            case "power-cycle":
                self._signal(signal.SIGKILL)
                self._results.later(self._switch_on_again)

    def _signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def _end_stall(self) -> None:
        if self.broken.pause(time.monotonic()):
            self._signal(signal.SIGCONT)

    def _broken_in_the_next(self) -> dict[str, float]:
        """Return what is to be broken in the file that begins, as its process takes it."""
        broken = self.broken
        told = {"ahead_s": self._clock_ahead_s}
        if broken.lasts("slow"):
            told["late_s"] = broken.option("slow", "delay_s", 0.5)
        for fault, name, default in (
            ("drop", "count", 1.0),
            ("drop-bytes", "bytes", 1.0),
            ("garble", "bit", 7.0),
            ("out-of-range", "value", 9e99),
        ):
            if broken.due(fault):
                told[fault] = broken.option(fault, name, default)
        return told

    # ---- its process

    def _switch_on(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asks, self._tells = self._process.stdin, self._process.stdout
        self._reader = threading.Thread(
            target=self._read, args=(self._tells,), name=self.kind, daemon=True
        )
        self._reader.start()

    def _switch_off(self) -> None:
        self._process.kill()
        self._process.wait(_ENDS_S)
        self._reader.join()
        self._tells.close()
        try:
            self._asks.close()
        except OSError:
            pass  # what it was asked last, nobody reads

    def _switch_on_again(self) -> None:
        if not self.broken.pause(time.monotonic(), stalls=False):
            return
        self._switch_off()
        with self._lock:
            if self._closed.is_set():
                return
            self._busy = False
            self._switch_on()
        if not self._start_line:
            self.start()

    def close(self) -> None:
        """Switch off; the file that is being written stays short."""
        with self._lock:
            self._closed.set()
        self._results.close()
        self._switch_off()

    def _read(self, tells: IO[str]) -> None:
        """Write down what it has written, until its process is gone."""
        for line in tells:
            told: dict[str, Any] = json.loads(line)
            self._truth.write(self.kind, "file", **told)
            with self._lock:
                self._busy = False
            if not self._start_line and not self._closed.wait(EVERY_S):
                self.start()
