"""A QCM200 quartz microbalance on a serial line, its crystal the metal electrode of the cell.

Commands are a letter, perhaps a number or ``?``, and end with CR: a letter alone, or with ``?``,
asks and is answered by a line that ends with CR, one with a number sets and is not answered (``G``
and ``S`` alone take what is measured now as zero). Frequency and resistance
are new once per gate; ``B`` tells so, and forgets it.

The crystal feels what lies on it, by the Sauerbrey equation (56.6 Hz cm2/ug at 5 MHz, AT cut): the
metal, metal that is dead, and zinc hydroxide sulfate; and the electrolyte on its one side, by the
root of density times viscosity (Kanazawa and Gordon 1985), which falls as it gets warm. What is
rough, soft or far from 5 MHz would need more than that and is not in it.
"""

from __future__ import annotations

import threading
import time
from math import exp, sqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sim_devices.cell.parameters import (
    COULOMB_PER_MAH,
    FARADAY,
    GAS_CONSTANT,
    REFERENCE_TEMPERATURE_K,
    ZHS_MOLAR_MASS_G_MOL,
)
from sim_devices.pty_server import ByteServer
from sim_devices.wire_faults import on_a_line

if TYPE_CHECKING:
    from sim_devices.cell.electrode import Electrode
    from sim_devices.cell.parameters import CellParameters
    from sim_devices.clock import SimulatedClock

_CRYSTAL_HZ = 5.0e6
_HZ_CM2_UG = 56.6
# One side in water: -713 Hz and 375 ohm, with a density of 1 g/cm3 and 0.89 mPa s at 298.15 K.
_IN_WATER_HZ, _IN_WATER_OHM, _DRY_OHM = 713.0, 375.0, 10.0
# Chosen, not looked up: 2 mol/L ZnSO4 is heavier and more viscous than water by these together.
_TIMES_WATER = 3.6
_VISCOSITY_J_MOL = 16e3
_NOISE_HZ, _NOISE_OHM = 0.1, 0.05
# What its counter takes: chosen.
_LOWEST_HZ, _HIGHEST_HZ = 1.0e6, 6.0e6

_GATES_S = (0.1, 1.0, 10.0)
_NEW_R, _NEW_F, _OVER, _UNDER, _NOT_UNDERSTOOD = 1, 2, 4, 8, 16
_HIGHEST = {"D": 6, "V": 6, "P": 2, "T": 1}
_IDENTITY = "QCM200_1.06_0_154021"
_IMPOSSIBLE_HZ = 99_999_999.0

FAULTS = on_a_line(
    "a quartz microbalance",
    {
        "refuse": "does not understand the next `count` (1) commands: bit 4 of its status",
        "out-of-range": "tells the next `count` (1) frequencies as `value` (99999999) Hz",
        "power-cycle": "has no power for `seconds` (1), and has its first settings then",
        "stopped": "the crystal does not oscillate any more",
        "oscillates": "ends that",
    },
    {"wrong-checksum": "its lines have no checksum", "clock-jump": "it tells no time"},
)


class CoatedCell(Protocol):
    """What the microbalance needs of a cell."""

    lock: threading.RLock
    parameters: CellParameters

    @property
    def temperature_k(self) -> float:
        """Temperature now, K."""

    @property
    def metal_electrode(self) -> Electrode:
        """The electrode that is the crystal's."""


def mass_ug_cm2(cell: CoatedCell) -> float:
    """Return what lies on the electrode, ug/cm2: metal, dead metal, zinc hydroxide sulfate."""
    metal = cell.parameters.metal
    electrode = cell.metal_electrode
    per_mah = COULOMB_PER_MAH / (metal.electrons * FARADAY) * metal.molar_mass_g_mol * 1e6
    film = electrode.zhs_mol_cm2 * ZHS_MOLAR_MASS_G_MOL * 1e6
    return (electrode.metal + electrode.dead) * per_mah + film


class Qcm200:
    """One microbalance, a fresh crystal in it; `Qcm200.address` is where it is."""

    def __init__(
        self,
        cell: CoatedCell,
        clock: SimulatedClock,
        *,
        prefer_pty: bool = True,
        seed: int = 0,
        perfect: bool = False,
    ) -> None:
        """Switch it on.

        Args:
            cell: whose metal electrode is the crystal's; what lies on it now is the crystal's own.
            clock: gates are counted on it; while it stands still, on the host's.
            prefer_pty: use a pseudo-terminal where there is one, else TCP.
            seed: of its noise and of injected faults.
            perfect: no noise.
        """
        self._cell = cell
        self._clock = clock
        self._random = np.random.default_rng(seed)
        self._perfect = perfect
        with cell.lock:
            self._bare_ug_cm2 = mass_ug_cm2(cell)
        self._lock = threading.RLock()
        self._typed = bytearray()
        self._oscillates = True
        self._settings: dict[str, int] = {}
        self._reset()
        self.line = ByteServer(
            self._receive,
            prefer_pty=prefer_pty,
            on_fault=self._fault,
            faults=FAULTS,
            seed=seed,
        )
        self.address = self.line.address

    def close(self) -> None:
        """Switch it off."""
        self.line.close()

    def _reset(self) -> None:
        self._settings = {"D": 0, "V": 0, "P": 1, "T": 0}
        self._offset_hz = self._offset_ohm = 0.0
        self._flags = 0
        self._counted = (time.monotonic(), self._clock.now())
        self._newest = self._measure()

    # ---- the crystal

    def _measure(self) -> tuple[float, float]:
        """Return frequency and resistance now, Hz and ohm."""
        with self._cell.lock:
            coat = mass_ug_cm2(self._cell) - self._bare_ug_cm2
            kelvin = self._cell.temperature_k
        thinner = exp(_VISCOSITY_J_MOL / GAS_CONSTANT * (1 / kelvin - 1 / REFERENCE_TEMPERATURE_K))
        load = sqrt(_TIMES_WATER * thinner)
        hertz = _CRYSTAL_HZ - _IN_WATER_HZ * load - _HZ_CM2_UG * coat
        ohm = _DRY_OHM + _IN_WATER_OHM * load
        if not self._perfect:
            hertz += float(self._random.normal(0, _NOISE_HZ))
            ohm += float(self._random.normal(0, _NOISE_OHM))
        return (hertz, ohm) if self._oscillates else (0.0, ohm)

    def _count(self) -> None:
        """Make a new value if a gate is over."""
        gate = _GATES_S[self._settings["P"]]
        host, cell = time.monotonic(), self._clock.now()
        if max(host - self._counted[0], cell - self._counted[1]) < gate:
            return
        self._counted = host, cell
        self._newest = self._measure()
        self._flags |= _NEW_R
        if self._newest[0] > _HIGHEST_HZ:
            self._flags |= _OVER
        elif self._newest[0] < _LOWEST_HZ:
            self._flags |= _UNDER
        else:
            self._flags |= _NEW_F

    # ---- the language

    def _receive(self, data: bytes) -> bytes:
        answers = bytearray()
        for byte in data:
            if byte != 0x0D:
                self._typed.append(byte)
                continue
            command = self._typed.decode("latin-1").strip()
            self._typed.clear()
            if not command:
                continue
            with self._lock:
                self._count()
                answer = self._answer(command)
            if answer is not None:
                answers += f"{answer}\r".encode("ascii")
        return bytes(answers)

    def _answer(self, command: str) -> str | None:
        letter, number = command[:1].upper(), command[1:].strip()
        if self.line.broken.due("refuse"):
            self._flags |= _NOT_UNDERSTOOD
            return None
        if number in ("", "?"):
            answer = self._told(letter, asked=number == "?")
            if answer is not None or (letter in "GS" and not number and letter):
                return answer
        elif letter in _HIGHEST and number.isdigit() and int(number) <= _HIGHEST[letter]:
            self._settings[letter] = int(number)
            return None
        self._flags |= _NOT_UNDERSTOOD
        return None

    def _told(self, letter: str, *, asked: bool) -> str | None:
        hertz, ohm = self._newest
        match letter:
            case "I":
                return _IDENTITY
            case "F":
                return f"{self.line.broken.told(hertz - self._offset_hz, _IMPOSSIBLE_HZ):.2f}"
            case "R":
                return f"{ohm - self._offset_ohm:.2f}"
            case "B":
                flags, self._flags = self._flags, 0
                return str(flags)
            case "G" if asked:
                return f"{self._offset_hz:.2f}"
            case "S" if asked:
                return f"{self._offset_ohm:.2f}"
            case "G":
                self._offset_hz = hertz
            case "S":
                self._offset_ohm = ohm
            case _ if letter in self._settings:
                return str(self._settings[letter])
        return None

    # ---- for whoever breaks things

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        """Break it, where that is not the line's business."""
        del options
        with self._lock:
            if fault in ("stopped", "oscillates"):
                self._oscillates = fault == "oscillates"
            elif fault == "power-cycle":
                self._typed.clear()
                self._reset()
