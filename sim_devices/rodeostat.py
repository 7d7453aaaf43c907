"""A Rodeostat of IO Rodeo (hardware V0.2) on its serial line: JSON objects, one per line.

Written from the firmware's published source (FW0.1.0). A request names its ``command`` and is
answered by ``{"success":...,"response":{"command":...}}``, a refusal adds ``message``. While a test
runs its samples come as ``{"t":ms,"v":V,"i":uA}``, with ``"le":true`` where the current is at the
end of its range; ``{}`` ends it, and follows every ``stopTest``. Lines end with CR LF.

The electrodes hang on switches. With ``autoConnect`` they are connected when a test begins and
disconnected when it ends; nothing else limits what a test does.
"""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sim_devices.pty_server import ByteServer
from sim_devices.rodeostat_tests import (
    NAMES,
    Parameters,
    Test,
    defaults,
    is_number,
    is_whole,
    set_parameters,
)
from sim_devices.surroundings import DrivenCell, LeadingClock, TruthWriter
from sim_devices.wire_faults import number_of, on_a_line

FIRMWARE, HARDWARE = "FW0.1.0", "V0.2"
_VOLT_RANGES = {"1V": 1.0, "2V": 2.0, "5V": 5.0, "10V": 10.0}
_CURRENT_RANGES_UA = {
    "10V_microAmpV0.2": {"1uA": 1.0, "10uA": 10.0, "100uA": 100.0, "1000uA": 1000.0},
    "10V_10MilliAmpV0.2": {"10uA": 10.0, "100uA": 100.0, "1000uA": 1e3, "10000uA": 1e4},
    "10V_24MilliAmpV0.2": {
        "100uA": 100.0,
        "1000uA": 1000.0,
        "12000uA": 12024.0,
        "24000uA": 24048.0,
    },
}
_FIRST_CURRENT_RANGE = {"10V_microAmpV0.2": "10uA", "10V_10MilliAmpV0.2": "100uA"}
_DAC_STEPS, _ADC_STEPS = 4096, 65536
_LONGEST_LINE = 2000
_MOST_UNREAD_BYTES = 60_000
_IDLE_STRIDE_S = 0.1
_SUBSTEP_V, _MOST_SUBSTEPS = 1e-3, 50
_ELECTRODES = ("ref", "ctr", "wrk")
_IMPOSSIBLE_V = 1e6

FAULTS = on_a_line(
    "a Rodeostat",
    {
        "refuse": "refuses the next `count` (1) requests",
        "clock-jump": "its samples' times jump by `seconds` (60) in the test that runs, whose end "
        "they do not move",
        "out-of-range": "tells in the next `count` (1) samples a potential of `value` (1e6) V",
        "power-cycle": "has no power for `seconds` (1): its electrodes are disconnected, the test "
        "is over",
        "deaf": "answers settings with what was in force before",
        "stuck": "the switches of the electrodes stay as they are",
        "repaired": "ends both",
    },
    {"wrong-checksum": "its lines have no checksum"},
)


@dataclass
class _Errors:
    """What this instrument was born with; V and shares of the range."""

    applied_gain: float
    applied_offset_v: float
    read_gain: float
    read_offset_v: float
    current_gain: dict[str, float]
    current_offset_of_range: dict[str, float]
    noise_of_range: float
    noise_v: float
    timer: float
    steps: bool = True
    noise: random.Random = field(default_factory=random.Random, repr=False)

    @classmethod
    def draw(cls, ranges: dict[str, float], seed: int, perfect: bool) -> _Errors:
        draw = random.Random(f"rodeostat {seed}").gauss
        size = 0.0 if perfect else 1.0
        return cls(
            1 + draw(0, 5e-4) * size,
            draw(0, 2e-4) * size,
            1 + draw(0, 5e-4) * size,
            draw(0, 2e-4) * size,
            {name: 1 + draw(0, 1e-3) * size for name in ranges},
            {name: draw(0, 1e-4) * size for name in ranges},
            3e-5 * size,
            5e-5 * size,
            1 + draw(0, 2e-5) * size,
            not perfect,
            random.Random(f"rodeostat noise {seed}"),
        )


class Rodeostat:
    """One instrument, its electrodes disconnected; `Rodeostat.address` is where it listens."""

    def __init__(
        self,
        cell: DrivenCell,
        clock: LeadingClock,
        truth: TruthWriter,
        seed: int = 0,
        *,
        prefer_pty: bool = True,
        perfect: bool = False,
        variant: str = "10V_24MilliAmpV0.2",
        firmware: str = FIRMWARE,
    ) -> None:
        """Switch it on.

        Args:
            cell: at its leads; only this instrument advances it.
            clock: this instrument leads it.
            truth: gets its errors, its tests and its switches, as instrument ``potentiostat``.
            seed: of its errors and noise, and of injected faults.
            prefer_pty: use a pseudo-terminal where there is one, else TCP.
            perfect: no errors, no noise, no steps.
            variant: hardware variant, as it names itself.
            firmware: as it names it.
        """
        self._cell, self._clock, self._truth = cell, clock, truth
        self._variant, self._firmware = variant, firmware
        self._ranges_ua = _CURRENT_RANGES_UA[variant]
        self._errors = _Errors.draw(self._ranges_ua, seed, perfect)
        self._device_id = seed % 100_000
        self._true_v = 0.0  # potential of the cell at the end of its last step
        self._changed = threading.Condition(threading.RLock())
        self._typed = bytearray()
        self._closed = False
        self._deaf = self._stuck = False
        self._parameters: dict[str, Parameters] = defaults()
        self._reset()
        truth.write(
            "potentiostat",
            "instrument",
            variant=variant,
            seed=seed,
            applied_gain=self._errors.applied_gain,
            applied_offset_v=self._errors.applied_offset_v,
            current_gain=self._errors.current_gain,
            current_offset_of_range=self._errors.current_offset_of_range,
        )
        self.line = ByteServer(
            self._receive,
            prefer_pty=prefer_pty,
            on_fault=self._fault,
            faults=FAULTS,
            seed=seed,
        )
        self.address = self.line.address
        self._worker = threading.Thread(target=self._work, name="rodeostat", daemon=True)
        self._worker.start()

    @property
    def drives_cell(self) -> bool:
        """Return whether a test runs, or the electrodes are switched through."""
        return self._test is not None or self._drives

    def close(self) -> None:
        """Switch it off; may be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._clock.wake()
        self.line.close()
        self._worker.join()

    def _reset(self) -> None:
        self._test: Test | None = None
        self._connected = dict.fromkeys(_ELECTRODES, False)
        self._auto_connect = True
        self._volt = 0.0
        self._volt_range = self._ref_range = "1V"
        self._current_range = _FIRST_CURRENT_RANGE.get(self._variant, "1000uA")
        self._period_ms = 10
        self._clock_ahead_ms = 0

    # ---- the language: called in the server's thread

    def _receive(self, data: bytes) -> bytes:
        answer = bytearray()
        for byte in data:
            if byte != 0x0A:
                if len(self._typed) < _LONGEST_LINE:
                    self._typed.append(byte)
                continue
            text = self._typed.decode("latin-1")
            self._typed.clear()
            answer += self._answer(text)
        return bytes(answer)

    def _answer(self, text: str) -> bytes:
        response: dict[str, Any] = {}
        message, ends = "", False
        try:
            asked = json.loads(text)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            message = "unable to parse json"
        elif "command" not in asked:
            message = "CommandTable: command not found"
        else:
            command = str(asked["command"]).strip()
            if self.line.broken.due("refuse"):
                message = "unable to comply"
            else:
                with self._changed:
                    message = self._perform(command, asked, response)
                ends = command == "stopTest"
        told: dict[str, Any] = {"success": not message}
        if message:
            told["message"] = message
        told["response"] = response
        return _line(told) + (_line({}) if ends else b"")

    def _perform(self, command: str, asked: dict[str, Any], response: dict[str, Any]) -> str:
        """Do what a command says and fill the response; return why not, empty if it was done."""
        if "Mux" in command and command != "getMuxEnabled":
            response["command"] = command
            return "multiplexer hardware not supported"
        plain: dict[str, tuple[str, Callable[[], Any]]] = {
            "getVersion": ("version", lambda: self._firmware),
            "getVariant": ("variant", lambda: self._variant),
            "getHardwareVersion": ("version", lambda: HARDWARE),
            "getDeviceId": ("deviceId", lambda: self._device_id),
            "getVolt": ("v", lambda: self._applied(self._volt)),
            "getCurr": ("i", self._current_ua),
            "getRefVolt": ("r", self._reference_v),
            "getVoltRange": ("voltRange", lambda: self._volt_range),
            "getRefElectVoltRange": ("voltRange", lambda: self._ref_range),
            "getCurrRange": ("currRange", lambda: self._current_range),
            "getSamplePeriod": ("samplePeriod", lambda: self._period_ms),
            "getElectAutoConnect": ("autoConnect", lambda: self._auto_connect),
            "getMuxEnabled": ("muxEnabled", lambda: False),
            "getTestNames": ("testNames", lambda: list(NAMES)),
            "getAllElectConnected": ("connected", lambda: all(self._connected.values())),
            **{
                f"get{name.capitalize()}ElectConnected": (
                    "connected",
                    _given(self._connected, name),
                )
                for name in _ELECTRODES
            },
        }
        setters: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
            "setVolt": self._set_volt,
            "setVoltRange": lambda a, r: self._set_range("_volt_range", "voltRange", a, r),
            "setRefElectVoltRange": lambda a, r: self._set_range("_ref_range", "voltRange", a, r),
            "setCurrRange": lambda a, r: self._set_range("_current_range", "currRange", a, r),
            "setSamplePeriod": self._set_period,
            "setDeviceId": self._set_device_id,
            "setElectAutoConnect": self._set_auto_connect,
            "setAllElectConnected": lambda a, r: self._set_connected(_ELECTRODES, a, r),
            **{
                f"set{name.capitalize()}ElectConnected": _connecting(self._set_connected, name)
                for name in _ELECTRODES
            },
            "setParam": self._set_parameters,
            "getParam": self._get_parameters,
            "getTestDoneTime": self._done_time,
            "runTest": self._run_test,
        }
        if command not in plain and command not in setters and command != "stopTest":
            return f"command, {command}, not found"
        response["command"] = asked["command"]
        if command == "stopTest":
            self._stop_test()
            return ""
        if command in plain:
            key, value = plain[command]
            response[key] = value()
            return ""
        return setters[command](asked, response)

    def _set_volt(self, asked: dict[str, Any], response: dict[str, Any]) -> str:
        if "v" not in asked:
            return "json does not contain key: v"
        if not is_number(asked["v"]):
            return "unable to convert volt to float"
        if not self._deaf:
            self._volt = float(asked["v"])
        response["v"] = self._applied(self._volt)
        return ""

    def _set_range(
        self, attribute: str, key: str, asked: dict[str, Any], response: dict[str, Any]
    ) -> str:
        if key not in asked:
            return f"json does not contain key: {key}"
        known = self._ranges_ua if key == "currRange" else _VOLT_RANGES
        found = asked[key] in known
        if found and not self._deaf:
            setattr(self, attribute, asked[key])
        response[key] = getattr(self, attribute)
        return "" if found else f"{key}, {asked[key]}, not found"

    def _set_period(self, asked: dict[str, Any], response: dict[str, Any]) -> str:
        if "samplePeriod" not in asked:
            return "json does not contain key: samplePeriod"
        period = asked["samplePeriod"]
        if not is_whole(period):
            return "json samplePeriod value is not uin32_t"
        if not 1 <= period <= 1000:
            return f"json samplePeriod value is too {'large' if period > 1000 else 'small'}"
        if not self._deaf:
            self._period_ms = period
        response["samplePeriod"] = self._period_ms
        return ""

    def _set_device_id(self, asked: dict[str, Any], response: dict[str, Any]) -> str:
        if "deviceId" not in asked:
            return "json does not contain key: deviceId"
        if not is_whole(asked["deviceId"]):
            return "deviceId is not integer"
        self._device_id = response["deviceId"] = asked["deviceId"]
        return ""

    def _set_auto_connect(self, asked: dict[str, Any], response: dict[str, Any]) -> str:
        if "autoConnect" not in asked:
            return "json does not contain key: autoConnect"
        if not isinstance(asked["autoConnect"], bool):
            return "unable to convert 'autoConnect' to bool"
        if not self._deaf:
            self._auto_connect = asked["autoConnect"]
        response["autoConnect"] = self._auto_connect
        return ""

    def _set_connected(
        self, electrodes: tuple[str, ...], asked: dict[str, Any], response: dict[str, Any]
    ) -> str:
        if "connected" not in asked:
            return "json does not contain key: connected"
        if not isinstance(asked["connected"], bool):
            return "unable to convert 'connected' to bool"
        self._switch(electrodes, asked["connected"])
        response["connected"] = all(self._connected[name] for name in electrodes)
        return ""

    def _test_asked(self, asked: dict[str, Any]) -> str:
        if "test" not in asked:
            return "json does not contain key: test"
        return "" if asked["test"] in self._parameters else "test not found"

    def _set_parameters(self, asked: dict[str, Any], response: dict[str, Any]) -> str:
        if "test" not in asked:
            return "test key not found"
        if self._test_asked(asked):
            return "test not found"
        response["test"] = asked["test"]
        if "param" not in asked:
            return "key param missing"
        if not isinstance(asked["param"], dict):
            return "param not JsonObject"
        told = response["param"] = {}
        kept = self._parameters[asked["test"]]
        return set_parameters(asked["test"], kept, asked["param"], told, deaf=self._deaf)

    def _get_parameters(self, asked: dict[str, Any], response: dict[str, Any]) -> str:
        refused = self._test_asked(asked)
        if not refused:
            response |= {"test": asked["test"], "param": dict(self._parameters[asked["test"]])}
        return refused

    def _done_time(self, asked: dict[str, Any], response: dict[str, Any]) -> str:
        if "test" not in asked:
            return "test key not found"
        if self._test_asked(asked):
            return "test not found"
        name = asked["test"]
        test = Test(name, self._parameters[name], 1)
        response |= {"test": name, "testDoneTime": int(test.done_ms)}
        return ""

    def _run_test(self, asked: dict[str, Any], response: dict[str, Any]) -> str:
        refused = self._test_asked(asked)
        if "test" in asked:
            response["test"] = asked["test"]
        if refused:
            return refused
        name = asked["test"]
        test = Test(name, dict(self._parameters[name]), self._period_ms)
        low, high = test.span_v
        for range_name, end_v in reversed(_VOLT_RANGES.items()):
            if -end_v <= low and high <= end_v:
                self._volt_range = self._ref_range = range_name
        self._volt = test.potential_v(0)
        if self._auto_connect:
            self._switch(_ELECTRODES, True)
        self._test = test
        self._clock_ahead_ms = 0
        self._changed.notify_all()
        self._clock.wake()
        return ""

    def _stop_test(self) -> None:
        """End the test; the condition is held."""
        test, self._test = self._test, None
        if self._auto_connect:
            self._switch(_ELECTRODES, False)
        if test is not None:
            with self._cell.lock:
                t = self._cell.t
                ledger = getattr(self._cell, "ledger", None)
                told = {} if ledger is None else {"working": ledger("WE")}
            self._truth.write("potentiostat", "test_end", cell_t_s=t, name=test.name, **told)
        self._changed.notify_all()
        self._clock.wake()

    def _switch(self, electrodes: tuple[str, ...], connected: bool) -> None:
        was = self._drives
        for name in electrodes:
            if not self._stuck:
                self._connected[name] = connected
        if self._drives != was:
            with self._cell.lock:
                t = self._cell.t
            self._truth.write("potentiostat", "cell_on" if self._drives else "cell_off", cell_t_s=t)

    # ---- the analogue side; the condition is held

    @property
    def _drives(self) -> bool:
        return all(self._connected.values())

    def _applied(self, volt: float) -> float:
        """Return what the converter is set to, V."""
        end_v = _VOLT_RANGES[self._volt_range]
        volt = min(max(volt, -end_v), end_v)
        if self._errors.steps:
            step = 2 * end_v / _DAC_STEPS
            volt = round(volt / step) * step
        return volt

    def _drive(self, volt: float) -> tuple[Literal["i", "E"], float]:
        if not self._drives:
            return "i", 0.0
        errors = self._errors
        return "E", self._applied(volt) * errors.applied_gain + errors.applied_offset_v

    def _current_ua(self) -> float:
        density = 0.0
        if self._drives:
            with self._cell.lock:
                _, density = self._cell.potential(*self._drive(self._volt))
        return self._read_current(density)[0]

    def _read_current(self, density_ma_cm2: float) -> tuple[float, bool]:
        """Return the reading, uA, and whether it is at the end of the range."""
        errors, name = self._errors, self._current_range
        end_ua = self._ranges_ua[name]
        reading = density_ma_cm2 * self._cell.area_cm2 * 1e3 * errors.current_gain[name]
        reading += errors.current_offset_of_range[name] * end_ua
        reading += errors.noise.gauss(0, errors.noise_of_range) * end_ua
        if errors.steps:
            step = 2 * end_ua / _ADC_STEPS
            reading = round(reading / step) * step
        return min(max(reading, -end_ua), end_ua), abs(reading) >= end_ua

    def _reference_v(self) -> float:
        errors, end_v = self._errors, _VOLT_RANGES[self._ref_range]
        # An input without its electrode reads nothing.
        seen = self._connected["ref"] and self._connected["wrk"]
        true_v = self._true_v if seen else 0.0
        reading = true_v * errors.read_gain + errors.read_offset_v
        reading += errors.noise.gauss(0, errors.noise_v)
        if errors.steps:
            step = 2 * end_v / _ADC_STEPS
            reading = round(reading / step) * step
        return min(max(reading, -end_v), end_v)

    # ---- time: the worker leads the clock

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                test = self._test
            if test is None:
                if not self._pass_idle():
                    return
            else:
                with self._clock.hurry("test"):
                    self._run(test)

    def _pass_idle(self) -> bool:
        """Let the cell live while no test runs; return whether time goes on."""
        with self._changed:
            drive = self._drive(self._volt)
        with self._cell.lock:
            stand_by = getattr(self._cell, "stand_by", self._cell.advance)
            _, self._true_v, _ = stand_by(_IDLE_STRIDE_S, *drive)
            until = self._cell.t
        arrived = self._clock.wait_until(until, self._is_wanted)
        return arrived or self._is_wanted()

    def _is_wanted(self) -> bool:
        return self._closed or self._test is not None

    def _run(self, test: Test) -> None:
        # Only now: the cell may have been on its way while the test was begun.
        test.began_s = self._cell.t
        self._truth.write(
            "potentiostat",
            "test",
            cell_t_s=test.began_s,
            name=test.name,
            parameters=test.parameters,
        )
        while self._test is test and not self._closed:
            test.samples += 1
            t_ms = test.samples * test.period_ms
            before_ms = t_ms - test.period_ms
            end_ms = test.done_ms
            if t_ms > end_ms:
                self._advance(test, before_ms, end_ms)
                self._end(test)
                return
            density = self._advance(test, before_ms, t_ms)
            if not self._clock.wait_until(self._cell.t, lambda: self._test is not test):
                if self._closed or self._test is test:
                    return
                continue
            with self._changed:
                if self._test is not test:
                    return
                reading, limit = self._read_current(density)
                volt = self.line.broken.told(test.potential_v(t_ms), _IMPOSSIBLE_V)
                told = {"t": t_ms + self._clock_ahead_ms, "v": volt, "i": reading}
            if limit:
                told["le"] = True
            self._say(test, told)
            if t_ms >= end_ms:
                self._end(test)
                return

    def _advance(self, test: Test, from_ms: float, to_ms: float) -> float:
        """Let the cell go through a part of the test; return the current density at its end."""
        way_v = abs(test.potential_v(to_ms) - test.potential_v(from_ms))
        parts = min(max(1, math.ceil(way_v / _SUBSTEP_V)), _MOST_SUBSTEPS)
        began_s, density = test.began_s or 0.0, 0.0
        for part in range(1, parts + 1):
            t_ms = from_ms + (to_ms - from_ms) * part / parts
            with self._changed:
                self._volt = test.potential_v(t_ms)
                drive = self._drive(self._volt)
            until = began_s + t_ms * 1e-3 * self._errors.timer
            with self._cell.lock:
                left = until - self._cell.t
                if left > 0:
                    _, self._true_v, density = self._cell.advance(left, *drive)
        return density

    def _say(self, test: Test, told: dict[str, Any]) -> None:
        with self._changed:
            if self._test is test:
                self._tell(_line(told))

    def _end(self, test: Test) -> None:
        with self._changed:
            if self._test is test:
                self._stop_test()
                self._tell(_line({}))

    def _tell(self, line: bytes) -> None:
        """Say something that nobody asked for; its USB port gives up on a host that reads nothing.

        Waiting for that host, with the condition held, would leave it deaf as well.
        """
        if self.line.pending_bytes < _MOST_UNREAD_BYTES:
            self.line.send(line)

    # ---- for whoever breaks things

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        """Break it, where that is not the line's business."""
        with self._changed:
            if fault == "power-cycle":
                self._typed.clear()
                stuck, self._stuck = self._stuck, False
                self._switch(_ELECTRODES, False)
                self._stuck = stuck
                self._reset()
                self._clock.wake()
            elif fault in ("deaf", "stuck"):
                self._deaf |= fault == "deaf"
                self._stuck |= fault == "stuck"
            elif fault == "repaired":
                self._deaf = self._stuck = False
            elif fault == "clock-jump":
                self._clock_ahead_ms += round(1e3 * number_of(options, "seconds", 60.0))


def _given(connected: dict[str, bool], name: str) -> Callable[[], bool]:
    return lambda: connected[name]


def _connecting(
    set_connected: Callable[[tuple[str, ...], dict[str, Any], dict[str, Any]], str], name: str
) -> Callable[[dict[str, Any], dict[str, Any]], str]:
    return lambda asked, response: set_connected((name,), asked, response)


def _line(told: dict[str, Any]) -> bytes:
    return f"{_text(told)}\r\n".encode("ascii")


def _text(value: Any) -> str:
    """Return JSON as the firmware writes it: no blanks, floats with up to nine decimals."""
    if isinstance(value, dict):
        return "{" + ",".join(f'"{key}":{_text(x)}' for key, x in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, float):
        mantissa, exponent = value, 0
        if value and not 1e-5 < abs(value) < 1e7:
            exponent = math.floor(math.log10(abs(value)))
            mantissa = value / 10.0**exponent
        digits = f"{mantissa:.9f}".rstrip("0").rstrip(".")
        return f"{digits}e{exponent}" if exponent else digits
    return json.dumps(value)
