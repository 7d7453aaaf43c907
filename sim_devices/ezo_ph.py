"""An Atlas Scientific EZO pH circuit on a serial line, its probe in the electrolyte of the cell.

Commands end with CR, in capitals or not; lines that are answered end with CR. ``R`` is answered
after 0.9 s by the pH and ``*OK``, setters after 0.3 s by ``*OK``, what is unknown by ``*ER``. When
it has been switched on it streams a reading every second until ``C,0``. Whether it acknowledges
with ``*OK`` it knows also after a power cut. ``Cal,mid`` begins a calibration: it forgets the
points at ``low`` and ``high``, and what is read is then what was told, at the temperature that
the circuit was told; these two count as points only, a slope is not simulated.

Its probe gives (7 - pH) times a voltage proportional to the temperature of the cell (Nernst), and
the circuit divides by that of the temperature it was told.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sim_devices.pty_server import ByteServer
from sim_devices.wire_faults import on_a_line

if TYPE_CHECKING:
    from sim_devices.clock import SimulatedClock

_READING_S, _SETTER_S = 0.9, 0.3
_FIRMWARE = "2.14"
_LONGEST_NAME = 16
_NOISE_PH = 0.002
_ZERO_CELSIUS_K = 273.15
_ZERO_POINT_PH = 7.0
# Chosen, not looked up: 2 mol/L ZnSO4 hydrolyses to this; it buffers little; a probe chamber.
_FRESH_PH, _BUFFER_MOL_L, _VOLUME_L = 4.40, 2e-3, 5e-4
_HYDROXIDE_PER_H2, _HYDROXIDE_PER_ZHS = 2.0, 6.0
_IMPOSSIBLE_PH = 19.0

FAULTS = on_a_line(
    "a pH circuit",
    {
        "refuse": "answers the next `count` (1) commands by *ER",
        "out-of-range": "tells the next `count` (1) readings as pH `value` (19)",
        "power-cycle": "has no power for `seconds` (1); then it says *RS and *RE and streams",
        "clear-calibration": "has forgotten its calibration",
        "say": "says `line` (*UV) without being asked",
    },
    {"wrong-checksum": "its lines have no checksum", "clock-jump": "it has no clock"},
)


class Electrolyte(Protocol):
    """What the probe needs of a cell."""

    lock: threading.RLock
    t: float
    hydrogen_evolved_mol: float

    @property
    def temperature_k(self) -> float:
        """Temperature now, K."""

    @property
    def zhs_mol(self) -> float:
        """Zinc hydroxide sulfate on both electrodes, mol."""


def bulk_ph(cell: Electrolyte) -> float:
    """Return the pH of the electrolyte: hydrogen leaves hydroxide, the film takes some of it."""
    hydroxide = _HYDROXIDE_PER_H2 * cell.hydrogen_evolved_mol - _HYDROXIDE_PER_ZHS * cell.zhs_mol
    return _FRESH_PH + hydroxide / (_BUFFER_MOL_L * _VOLUME_L)


class EzoPh:
    """One circuit; `EzoPh.address` is where it is."""

    def __init__(
        self,
        cell: Electrolyte,
        clock: SimulatedClock,
        *,
        prefer_pty: bool = True,
        seed: int = 0,
        perfect: bool = False,
        circuit: str = "pH",
    ) -> None:
        """Switch it on.

        Args:
            cell: whose electrolyte the probe is in.
            clock: held while a reading is taken.
            prefer_pty: use a pseudo-terminal where there is one, else TCP.
            seed: of its noise, of its offset and of injected faults.
            perfect: neither noise nor offset.
            circuit: what it says it is for; another one than pH is another of the maker's.
        """
        self._cell = cell
        self._clock = clock
        self._circuit = circuit
        self._random = np.random.default_rng(seed)
        self._noise = 0.0 if perfect else _NOISE_PH
        # What two buffers leave of a probe's error.
        self._offset = 0.0 if perfect else float(self._random.normal(0, 0.01))
        self._typed = bytearray()
        self._wake = threading.Condition()
        self._commands: list[str] = []
        self._closed = False
        # What outlives a power cycle.
        self._points = {"MID", "LOW", "HIGH"}
        self._name = ""
        self._light = True
        self._acknowledges = True
        self._reset()
        self.line = ByteServer(
            self._receive,
            prefer_pty=prefer_pty,
            on_fault=self._fault,
            faults=FAULTS,
            seed=seed,
        )
        self.address = self.line.address
        self._worker = threading.Thread(target=self._work, name="ezo-ph", daemon=True)
        self._worker.start()

    def close(self) -> None:
        """Switch it off."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._worker.join()
        self.line.close()

    def _reset(self) -> None:
        self._every_s = 1
        self._celsius = 25.0
        self._streaming_due = False

    # ---- the language

    def _receive(self, data: bytes) -> None:
        for byte in data:
            if byte != 0x0D:
                self._typed.append(byte)
                continue
            with self._wake:
                self._commands.append(self._typed.decode("latin-1").strip())
                self._wake.notify_all()
            self._typed.clear()

    def _work(self) -> None:
        """Take one command after the other; in between, stream."""
        while True:
            with self._wake:
                if not self._commands and not self._closed:
                    self._wake.wait(self._every_s or None)
                if self._closed:
                    return
                command = self._commands.pop(0) if self._commands else None
            if command is not None:
                self._say(*self._answer(command))
            elif self._every_s:
                self._say(self._reading())

    def _say(self, *lines: str) -> None:
        self.line.send("".join(f"{line}\r" for line in lines).encode("ascii"))

    def _answer(self, command: str) -> tuple[str, ...]:
        name, _, value = command.upper().partition(",")
        self._pause(_READING_S if name in ("R", "RT") else _SETTER_S)
        ok = ("*OK",) if self._acknowledges else ()
        if self.line.broken.due("refuse"):
            return ("*ER",)
        match name, value:
            case "R", "":
                return (self._reading(), *ok)
            case "RT", _ if _is_number(value):
                self._celsius = float(value)
                return (self._reading(), *ok)
            case "I", "":
                return (f"?I,{self._circuit},{_FIRMWARE}", *ok)
            case "C", "?":
                return (f"?C,{self._every_s}", *ok)
            case "C", _ if value.isdigit() and int(value) < 100:
                self._every_s = int(value)
                return ok
            case "T", "?":
                return (f"?T,{self._celsius:.1f}", *ok)
            case "T", _ if _is_number(value):
                self._celsius = float(value)
                return ok
            case "CAL", "?":
                return (f"?CAL,{len(self._points)}", *ok)
            case "CAL", "CLEAR":
                self._points = set()
                return ok
            case "CAL", _ if self._calibrated(*value.partition(",")[::2]):
                return ok
            case "L", "?":
                return (f"?L,{int(self._light)}", *ok)
            case "L", ("0" | "1"):
                self._light = value == "1"
                return ok
            case "NAME", "?":
                return (f"?NAME,{self._name}", *ok)
            case "NAME", _ if len(value) <= _LONGEST_NAME and value.isascii():
                self._name = command.partition(",")[2]
                return ok
            case "SLOPE", "?":
                return ("?SLOPE,99.7,100.3,-0.89", *ok)
            case "STATUS", "":
                return ("?STATUS,P,5.038", *ok)
            case "*OK", "?":
                return (f"?*OK,{int(self._acknowledges)}",)
            case "*OK", ("0" | "1"):
                self._acknowledges = value == "1"
                return ("*OK",) if self._acknowledges else ()
        return ("*ER",)

    def _calibrated(self, point: str, told: str) -> bool:
        """Take a calibration point; return whether it is one."""
        if point not in ("MID", "LOW", "HIGH") or not _is_number(told):
            return False
        if point == "MID":
            self._points = set()
            self._offset = float(told) - self._compensated()
        self._points.add(point)
        return True

    def _pause(self, seconds: float) -> None:
        """Take the time that it takes; the cell does not run away meanwhile."""
        with self._clock.exchange("ph"), self._wake:
            self._wake.wait_for(lambda: self._closed, seconds)

    def _compensated(self) -> float:
        """Return the pH by the temperature that was told, before any calibration."""
        with self._cell.lock:
            value, kelvin = bulk_ph(self._cell), self._cell.temperature_k
        told_k = self._celsius + _ZERO_CELSIUS_K
        return _ZERO_POINT_PH + (value - _ZERO_POINT_PH) * kelvin / told_k

    def _reading(self) -> str:
        value = self._compensated() + self._offset + float(self._random.normal(0, self._noise))
        return f"{self.line.broken.told(min(max(value, 0.0), 14.0), _IMPOSSIBLE_PH):.3f}"

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        if fault == "power-cycle":
            self._reset()
            self._say("*RS", "*RE")
        elif fault == "clear-calibration":
            self._points = set()
        elif fault == "say":
            self._say(str(options.get("line", "*UV")))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
