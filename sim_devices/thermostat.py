"""A Huber circulator with a Pilot ONE, speaking PB commands on TCP, its bath around the cell.

A command is ten characters, ``{Maavvvv`` CR LF: the address in two hexadecimal digits, the value
in four (16 bits, two's complement), or ``****`` to read. The answer is ``{Saavvvv`` CR LF with the
value that is in force, also after a write that was not obeyed. What this model does not have is
answered with 7FFF; what is no command is not answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sim_devices.pty_server import ByteServer
from sim_devices.surroundings import TemperedCell, TruthWriter
from sim_devices.wire_faults import on_a_line

SETPOINT, INTERNAL, PRESSURE, ERROR, WARNING, PROCESS = 0x00, 0x01, 0x03, 0x05, 0x06, 0x07
STATUS, FILL, CONTROL, PUMP_SPEED = 0x0A, 0x0F, 0x14, 0x26
LOWEST_SETPOINT, HIGHEST_SETPOINT, PUMP_SETPOINT, MAINTENANCE = 0x30, 0x31, 0x48, 0x5C
NOT_AVAILABLE = 0x7FFF
WRITABLE = (SETPOINT, ERROR, WARNING, CONTROL, PUMP_SETPOINT)

_ZERO_CELSIUS_K = 273.15
_ROOM_K = 298.15
_LOWEST_C, _HIGHEST_C = -45.0, 150.0
_SLOWEST_RPM, _FASTEST_RPM = 1500, 4500
_COMMAND_CHARACTERS = 8
_LONGEST_LINE = 64
_HEXADECIMAL = set("0123456789ABCDEF")
_IMPOSSIBLE_C = -300.0

FAULTS = on_a_line(
    "a Huber thermostat",
    {
        "refuse": "refuses the next `count` (1) connections",
        "out-of-range": "tells the next `count` (1) temperatures of the bath as `value` (-300) "
        "degrees Celsius",
        "power-cycle": "has no power for `seconds` (1), and does not control then",
        "error": "reports `code` (-1) and ends the control",
        "warning": "reports `code` (-1)",
        "deafness": "answers what is written with what was in force before",
        "obedience": "ends the deafness",
        "process-sensor": "an external sensor is plugged in",
    },
    {"wrong-checksum": "PB commands have no checksum", "clock-jump": "it has no clock"},
)


class HuberPilot:
    """One circulator, switched on and not controlling; `HuberPilot.address` is where it listens.

    While it controls, the cell goes to its setpoint, with the cell's own overshoot; else to the
    room's 298.15 K.
    """

    def __init__(
        self,
        cell: TemperedCell,
        truth: TruthWriter,
        *,
        cell_time: Callable[[], float] = lambda: 0.0,
        seed: int = 0,
    ) -> None:
        """Listen on TCP.

        Args:
            cell: what stands in the bath.
            truth: gets ``thermostat`` events.
            cell_time: cell seconds, for the truth.
            seed: of injected faults.
        """
        self._cell = cell
        self._truth = truth
        self._cell_time = cell_time
        self._lock = threading.RLock()
        self._typed = bytearray()
        self._setpoint_c100 = 2000
        self._controls = False
        self._error = 0
        self._warning = 0
        self._pump_rpm = 2500
        self._obeys = True
        self._process_sensor = False
        self.line = ByteServer(
            self._receive,
            prefer_pty=False,
            on_fault=self._fault,
            faults=FAULTS,
            refuses_connections=True,
            seed=seed,
        )
        self.address = self.line.address

    def close(self) -> None:
        """Switch it off: the bath goes to the temperature of the room."""
        self.line.close()
        with self._lock:
            self._control(False)

    # ---- the language

    def _receive(self, data: bytes) -> bytes:
        """Answer each whole line."""
        answers = bytearray()
        for byte in data:
            if byte != 0x0A:
                if len(self._typed) < _LONGEST_LINE:
                    self._typed.append(byte)
                continue
            line = self._typed.decode("latin-1").removesuffix("\r")
            self._typed.clear()
            answers += self._answer(line)
        return bytes(answers)

    def _answer(self, line: str) -> bytes:
        address, value = line[2:4], line[4:8]
        if (
            len(line) != _COMMAND_CHARACTERS
            or not line.startswith("{M")
            or not set(address) <= _HEXADECIMAL
            or not (value == "****" or set(value) <= _HEXADECIMAL)
        ):
            return b""
        number = int(address, 16)
        with self._lock:
            if value != "****" and self._obeys:
                self._write(number, _signed(int(value, 16)))
            answer = self._read(number)
        return f"{{S{number:02X}{answer & 0xFFFF:04X}\r\n".encode("ascii")

    def _read(self, address: int) -> int:
        match address:
            case 0x00:
                return self._setpoint_c100
            case 0x01:
                return self._temperature_c100()
            case 0x07 if self._process_sensor:
                return self._temperature_c100()
            case 0x03:
                return 420 if self._controls else 0
            case 0x05:
                return self._error
            case 0x06:
                return self._warning
            case 0x0A:
                return self._status()
            case 0x0F:
                return 873
            case 0x14:
                return int(self._controls)
            case 0x26:
                return self._pump_rpm if self._controls else 0
            case 0x30:
                return round(100 * _LOWEST_C)
            case 0x31:
                return round(100 * _HIGHEST_C)
            case 0x48:
                return self._pump_rpm
            case 0x5C:
                return 338
        return NOT_AVAILABLE

    def _write(self, address: int, value: int) -> None:
        if address == SETPOINT and 100 * _LOWEST_C <= value <= 100 * _HIGHEST_C:
            self._setpoint_c100 = value
            self._temper()
        elif address == CONTROL and value in (0, 1) and not (value and self._error):
            self._control(bool(value))
        elif address == PUMP_SETPOINT and _SLOWEST_RPM <= value <= _FASTEST_RPM:
            self._pump_rpm = value
        elif address == ERROR and value == 1:
            self._error = 0
        elif address == WARNING and value == 1:
            self._warning = 0

    # ---- the bath

    def _temperature_c100(self) -> int:
        celsius = self._cell.temperature_k - _ZERO_CELSIUS_K
        return round(100 * self.line.broken.told(celsius, _IMPOSSIBLE_C))

    def _status(self) -> int:
        bits = 0b10011 if self._controls else 0  # controlling, circulating, pump
        return bits | (0x100 if self._error else 0) | (0x200 if self._warning else 0)

    def _control(self, on: bool) -> None:
        self._controls = on
        self._temper()

    def _temper(self) -> None:
        goes_to = self._setpoint_c100 / 100 + _ZERO_CELSIUS_K if self._controls else _ROOM_K
        if goes_to != self._cell.temperature_setpoint_k:
            self._cell.temperature_setpoint_k = goes_to
            self._truth.write(
                "thermostat",
                "setpoint",
                cell_t_s=self._cell_time(),
                temperature_k=self._cell.temperature_k,
                setpoint_k=goes_to,
                controls=self._controls,
            )

    # ---- for whoever breaks things

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        """Break the thermostat, where that is not the line's business."""
        code = options.get("code", -1)
        with self._lock:
            if fault == "error":
                self._error = int(str(code).removesuffix(".0"))
                self._control(False)
            elif fault == "warning":
                self._warning = int(str(code).removesuffix(".0"))
            elif fault in ("deafness", "obedience"):
                self._obeys = fault == "obedience"
            elif fault == "process-sensor":
                self._process_sensor = True
            elif fault == "power-cycle":
                self._typed.clear()
                self._control(False)


def _signed(value: int) -> int:
    return value - 0x10000 if value & 0x8000 else value
