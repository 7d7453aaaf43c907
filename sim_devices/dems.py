"""A mass spectrometer behind a membrane that only writes files: ion currents of the cell's gas.

It samples what leaves the electrolyte all the time and writes a CSV file of ``LINES`` lines, then
the next. Its own clock is ahead: nobody set it. A file that is being written grows line by line.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sim_devices.wire_faults import WIRE_FAULTS, FaultsOf

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
        folder.mkdir(parents=True, exist_ok=True)
        self._random = np.random.default_rng(seed)
        self._stop = threading.Event()
        self._stalled = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dems", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Switch off; the file that is being written stays short."""
        self._stop.set()
        self._thread.join()

    def inject(self, fault: str, **options: object) -> None:
        """Break something: ``stall`` stops in mid-file until ``resume``.

        Raises:
            ValueError: no such fault.
        """
        if fault not in ("stall", "resume"):
            raise ValueError(f"a mass spectrometer has no fault {fault!r}")
        (self._stalled.set if fault == "stall" else self._stalled.clear)()

    def _work(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            self._write(number)

    def _write(self, number: int) -> None:
        began = time.time()
        stamp = datetime.fromtimestamp(began + CLOCK_AHEAD_S, UTC).isoformat(
            timespec="milliseconds"
        )
        path = self.folder / f"dems-{number:04d}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write(f"# started: {stamp}\nTime (s),m/z 2 (A),m/z 18 (A)\n")
            for _ in range(LINES):
                while not self._stop.wait(EVERY_S) and self._stalled.is_set():
                    pass
                if self._stop.is_set():
                    return
                hydrogen_a = BACKGROUND_A + AMPERE_PER_MOL_S * self._rate_mol_s()
                two, water = (
                    value * (1 + _NOISE * self._random.normal()) for value in (hydrogen_a, _WATER_A)
                )
                file.write(f"{time.time() - began:.3f},{two:.5e},{water:.5e}\n")
                file.flush()
        self._truth.write("dems", "file", name=path.name, host_time_s=began)

    def _rate_mol_s(self) -> float:
        with self._cell.lock:
            return self._cell.hydrogen_dissolved_mol / self._cell.parameters.gas_release_s
