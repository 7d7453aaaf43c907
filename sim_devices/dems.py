"""A mass spectrometer behind a membrane that only writes files: ion currents of the cell's gas.

It samples what leaves the electrolyte all the time and writes a CSV file of ``LINES`` lines, then
the next. Its own clock is ahead: nobody set it. A file that is being written grows line by line.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sim_devices.result_files import ResultFolder
from sim_devices.wire_faults import WIRE_FAULTS, FaultsOf, WireFaults, number_of

if TYPE_CHECKING:
    from sim_devices.cell import Cell
    from sim_devices.truth import Truth

LINES = 40
EVERY_S = 0.05  # host time: the box knows no other
CLOCK_AHEAD_S = 120.0
AMPERE_PER_MOL_S = 2.0  # of hydrogen at the membrane, m/z 2
BACKGROUND_A = 5e-12
_WATER_A = 2e-10  # m/z 18
_NOISE = 0.01
_IMPOSSIBLE_A = -1.0

FAULTS = FaultsOf(
    "a mass spectrometer that writes files",
    {
        **{
            name: WIRE_FAULTS[name]
            for name in ("resume", "garble", "drop-bytes", "drop", "split", "merge")
        },
        "stall": "stops in mid-file for `seconds` (without: until `resume`)",
        "disconnect": "its folder is gone for `seconds` (1), as a share of the network may be",
        "power-cycle": "has no power for `seconds` (1): its file stays short, and it begins "
        "another",
        "clock-jump": "sets its clock forward by `seconds` (60), back if negative: what the next "
        "file begins with",
        "slow": "lines come `delay_s` (0.5) late for `seconds` (without: until `resume`)",
        "out-of-range": "writes `value` (-1) A for hydrogen in the next `count` (1) lines",
    },
    {
        "refuse": "it asks nobody, and nobody asks it",
        "wrong-checksum": "its files have no checksum",
        "garble-in": "it hears nobody",
    },
)


class Dems:
    """The box; `folder` has its files."""

    def __init__(self, cell: Cell, truth: Truth, folder: Path, *, seed: int = 0) -> None:
        """Switch on and write.

        Args:
            cell: whose gas is looked at.
            truth: gets a line per file.
            folder: made if need be.
            seed: of the noise.
        """
        self._cell = cell
        self._truth = truth
        self.folder = folder
        self.broken = WireFaults(FAULTS)
        self._results = ResultFolder(folder, self.broken)
        self._random = np.random.default_rng(seed)
        self._stop = threading.Event()
        self._clock_ahead_s = CLOCK_AHEAD_S
        self._power_cuts = 0
        self._thread = threading.Thread(target=self._work, name="dems", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Switch off; the file that is being written stays short."""
        self._stop.set()
        self._results.close()
        self._thread.join()

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        self.broken.take(fault, options)
        if fault == "clock-jump":
            self._clock_ahead_s += number_of(options, "seconds", 60.0)
        elif fault == "power-cycle":
            self._power_cuts += 1
        elif fault == "disconnect":
            self._results.leave()

    def _work(self) -> None:
        number = 0
        # While its folder is gone, or it has no power, it begins nothing.
        while not self._stop.is_set() and self.broken.pause(time.monotonic(), stalls=False):
            number += 1
            try:
                self._write(number)
            except FileNotFoundError:
                self._stop.wait(EVERY_S)

    def _write(self, number: int) -> None:
        began, cuts = time.time(), self._power_cuts
        stamp = datetime.fromtimestamp(began + self._clock_ahead_s, UTC).isoformat(
            timespec="milliseconds"
        )
        path = self.folder / f"dems-{number:04d}.csv"
        waiting: deque[tuple[float, bytes]] = deque()
        with path.open("wb", buffering=0) as file:
            file.write(f"# started: {stamp}\nTime (s),m/z 2 (A),m/z 18 (A)\n".encode())
            for _ in range(LINES):
                self._stop.wait(EVERY_S)
                if not self.broken.pause(time.monotonic(), stalls=True):
                    return
                if self._stop.is_set() or cuts != self._power_cuts:
                    return
                line = self.broken.on_its_way(self._line(time.time() - began))
                waiting.append((self.broken.ready_at(), line))
                while waiting and waiting[0][0] <= time.monotonic():
                    self._put(file, waiting.popleft()[1])
            for at, line in waiting:
                if not self.broken.pause(at) or cuts != self._power_cuts:
                    return
                self._put(file, line)
        self._truth.write("dems", "file", name=path.name, host_time_s=began)

    def _line(self, time_s: float) -> bytes:
        hydrogen_a = BACKGROUND_A + AMPERE_PER_MOL_S * self._rate_mol_s()
        two, water = (
            value * (1 + _NOISE * self._random.normal()) for value in (hydrogen_a, _WATER_A)
        )
        return f"{time_s:.3f},{self.broken.told(two, _IMPOSSIBLE_A):.5e},{water:.5e}\n".encode()

    def _put(self, file: RawIOBase, line: bytes) -> None:
        while line:
            size, pause_s = self.broken.piece(len(line))
            file.write(line[:size])
            line = line[size:]
            self._stop.wait(pause_s)

    def _rate_mol_s(self) -> float:
        with self._cell.lock:
            return self._cell.hydrogen_dissolved_mol / self._cell.parameters.gas_release_s
