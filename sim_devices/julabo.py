"""A Julabo circulator on a serial line, its bath around the cell.

A command ends with CR, in capitals or not. ``in_...``, ``status`` and ``version`` are answered by a
line that ends with CR LF. ``out_...`` is never answered: what is not obeyed shows only in
``status``, until the next command that is. It hears nothing for 250 ms after an ``out_`` (here:
200 ms, the host's clock and this one's are not the same). The 10 ms that a real one wants after an
answer this one does not insist on.

A real one runs at 4800 baud, seven data bits and even parity with hardware handshake: a
pseudo-terminal has neither speed nor frame nor handshake lines, so these are not simulated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sim_devices.pty_server import ByteServer
from sim_devices.surroundings import TemperedCell, TruthWriter
from sim_devices.wire_faults import on_a_line

_VERSION = "JULABO TOPTECH-SERIES MC-2 VERSION 3.0"
_ZERO_CELSIUS_K = 273.15
_ROOM_K = 298.15
_STORED_C = 25.0
_LOWEST_C, _HIGHEST_C = -50.0, 200.0
_AFTER_SETTING_S = 0.2
_LONGEST_LINE = 64

_ALARMS = {
    -1: "LOW LEVEL ALARM",
    -5: "WORKING SENSOR ALARM",
    -6: "SENSOR DIFFERENCE ALARM",
    -7: "I2C-BUS ERROR",
}
_REFUSALS = {
    -8: "INVALID COMMAND",
    -9: "COMMAND NOT ALLOWED IN CURRENT OPERATING MODE",
    -10: "VALUE TOO SMALL",
    -11: "VALUE TOO LARGE",
    -13: "VALUE EXCEEDS TEMPERATURE LIMITS",
}
_EXCESS_TEMPERATURE = "-03 EXCESS TEMPERATURE WARNING"
_STATES = ("MANUAL STOP", "MANUAL START", "REMOTE STOP", "REMOTE START")
_IMPOSSIBLE_C = -999.99

FAULTS = on_a_line(
    "a Julabo thermostat",
    {
        "refuse": "does not obey the next `count` (1) settings: -09 in its status",
        "out-of-range": "tells the next `count` (1) temperatures of the bath as `value` (-999.99) "
        "degrees Celsius",
        "power-cycle": "has no power for `seconds` (1), and is stopped then, with the setpoint "
        "that is stored in its menu",
        "alarm": "reports `code` (-1), and ends the control",
        "no-alarm": "ends the alarm",
        "manual": "somebody takes it out of remote control",
        "remote": "and back",
        "fahrenheit": "somebody has it show degrees Fahrenheit; it says so, its numbers stay",
        "celsius": "and back",
        "deafness": "takes settings, and keeps what it had",
        "obedience": "ends the deafness",
    },
    {"wrong-checksum": "its lines have no checksum", "clock-jump": "it has no clock"},
)


class Julabo:
    """One circulator in remote mode, stopped; `Julabo.address` is where it listens.

    While it controls, the cell goes to its setpoint, with the cell's own overshoot; else to the
    room's 298.15 K.
    """

    def __init__(
        self,
        cell: TemperedCell,
        truth: TruthWriter,
        *,
        cell_time: Callable[[], float] = lambda: 0.0,
        prefer_pty: bool = True,
        seed: int = 0,
    ) -> None:
        """Switch it on.

        Args:
            cell: what stands in the bath.
            truth: gets ``thermostat`` events.
            cell_time: cell seconds, for the truth.
            prefer_pty: use a pseudo-terminal where there is one, else TCP.
            seed: of injected faults.
        """
        self._cell = cell
        self._truth = truth
        self._cell_time = cell_time
        self._lock = threading.RLock()
        self._typed = bytearray()
        self._not_before = 0.0
        self._remote = True
        self._obeys = True
        self._alarm = 0
        self._fahrenheit = False
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
        """Switch it off: the bath goes to the temperature of the room."""
        self.line.close()
        with self._lock:
            self._run(False)

    def _reset(self) -> None:
        self._typed.clear()
        self._setpoint_c = _STORED_C
        self._warn_high_c, self._warn_low_c = _HIGHEST_C, _LOWEST_C
        self._control = {"06": 10.0, "07": 60.0, "08": 10.0}
        self._external = False
        self._runs = False
        self._refusal = 0

    # ---- the language

    def _receive(self, data: bytes) -> bytes:
        answers = bytearray()
        for byte in data:
            if byte != 0x0D:
                if byte != 0x0A and len(self._typed) < _LONGEST_LINE:
                    self._typed.append(byte)
                continue
            line = self._typed.decode("latin-1").strip().lower()
            self._typed.clear()
            if time.monotonic() < self._not_before:
                continue  # it is still busy with what came before
            with self._lock:
                answer = self._take(line)
            if answer is None:
                self._not_before = time.monotonic() + _AFTER_SETTING_S
            else:
                answers += f"{answer}\r\n".encode("ascii")
        return bytes(answers)

    def _take(self, line: str) -> str | None:
        """Return what is answered, ``None`` where nothing is."""
        name, _, value = line.partition(" ")
        if name == "status":
            return self._status()
        answer = self._told(line)
        if answer is not None:
            self._refusal = 0
            return answer
        if not name.startswith("out_"):
            self._refusal = -8
        elif not self._remote or self.line.broken.due("refuse"):
            self._refusal = -9
        elif self._obeys:
            self._refusal = self._set(name, value.strip())
        return None

    def _status(self) -> str:
        if self._alarm:
            return f"{self._alarm:03d} {_ALARMS[self._alarm]}"
        if self._refusal:
            return f"{self._refusal:03d} {_REFUSALS[self._refusal]}"
        if self._bath_c() > self._warn_high_c:
            return _EXCESS_TEMPERATURE
        state = 2 * self._remote + self._runs
        return f"{state:02d} {_STATES[state]}"

    def _told(self, line: str) -> str | None:
        match line:
            case "version":
                return _VERSION
            case "in_pv_00" | "in_pv_02" | "in_pv_03":
                return f"{self.line.broken.told(self._bath_c(), _IMPOSSIBLE_C):.2f}"
            case "in_pv_04":
                return f"{_HIGHEST_C:.2f}"
            case "in_pv_01":
                return "35" if self._runs else "0"
            case "in_sp_00":
                return f"{self._setpoint_c:.2f}"
            case "in_sp_01" | "in_sp_02":
                return f"{_STORED_C:.2f}"
            case "in_sp_03":
                return f"{self._warn_high_c:.2f}"
            case "in_sp_04":
                return f"{self._warn_low_c:.2f}"
            case "in_sp_06":
                return str(int(self._fahrenheit))
            case "in_mode_01":
                return "0"  # the first of three setpoints is the one in force
            case "in_mode_05":
                return str(int(self._runs))
            case "in_mode_04":
                return str(int(self._external))
        return None

    def _set(self, name: str, text: str) -> int:
        """Do what an ``out_`` asks; return how it is refused, 0 if it is not."""
        try:
            value = float(text)
        except ValueError:
            return -8
        match name:
            case "out_sp_00":
                if not _LOWEST_C <= value <= _HIGHEST_C:
                    return -10 if value < _LOWEST_C else -11
                if not self._warn_low_c <= value <= self._warn_high_c:
                    return -13
                self._setpoint_c = round(value, 2)
                self._temper()
            case "out_sp_03":
                self._warn_high_c = value
            case "out_sp_04":
                self._warn_low_c = value
            case "out_mode_05" if value in (0, 1):
                self._run(bool(value) and not self._alarm)
            case "out_mode_04" if value in (0, 1):
                self._external = bool(value)
            case "out_par_06" | "out_par_07" | "out_par_08":
                self._control[name[-2:]] = value
            case _:
                return -8
        return 0

    # ---- the bath

    def _bath_c(self) -> float:
        return self._cell.temperature_k - _ZERO_CELSIUS_K

    def _run(self, on: bool) -> None:
        self._runs = on
        self._temper()

    def _temper(self) -> None:
        goes_to = self._setpoint_c + _ZERO_CELSIUS_K if self._runs else _ROOM_K
        if goes_to != self._cell.temperature_setpoint_k:
            self._cell.temperature_setpoint_k = goes_to
            self._truth.write(
                "thermostat",
                "setpoint",
                cell_t_s=self._cell_time(),
                temperature_k=self._cell.temperature_k,
                setpoint_k=goes_to,
                controls=self._runs,
            )

    # ---- for whoever breaks things

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        """Break the thermostat, where that is not the line's business."""
        with self._lock:
            if fault == "alarm":
                code = int(float(str(options.get("code", -1))))
                if code not in _ALARMS:
                    raise ValueError(f"a Julabo has no alarm {code}; it has {sorted(_ALARMS)}")
                self._alarm = code
                self._run(False)
            elif fault == "no-alarm":
                self._alarm = 0
            elif fault in ("fahrenheit", "celsius"):
                self._fahrenheit = fault == "fahrenheit"
            elif fault in ("manual", "remote"):
                self._remote = fault == "remote"
            elif fault in ("deafness", "obedience"):
                self._obeys = fault == "obedience"
            elif fault == "power-cycle":
                self._reset()
                self._run(False)
