"""Zaber linear stages on one serial line: x, y and z, each a controller of one axis.

After Zaber's ASCII Protocol Manual (firmware 7). A command is ``/``, perhaps the number of a
device, of an axis and of the message, words, perhaps ``:`` and a checksum, and LF or CR; without a
number, or with 0, all devices take it. It is answered by ``@01 1 OK IDLE -- 0`` CR LF, with the
message's number behind that of the axis if it had one; with a wrong checksum it is not. Rejected
are, with ``RJ``, ``BADCOMMAND``, ``BADDATA`` (out of range) and ``BADAXIS``. After power-up an axis
has no reference position (``WR``) until it is homed, and ``move abs`` is rejected with
``BADCOMMAND`` then.

The cell stands on it: the first axis moves it to the right before the microscope, the second up,
the third towards the objective.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim_devices.pty_server import ByteServer
from sim_devices.whereabouts import Displacement
from sim_devices.wire_faults import on_a_line

if TYPE_CHECKING:
    from sim_devices.clock import SimulatedClock
    from sim_devices.whereabouts import Whereabouts

MICROMETRE_PER_STEP = 0.047625
_LIMIT_STEPS = 533_333  # 25.4 mm
_SPEED_STEPS_S = 20_000 / MICROMETRE_PER_STEP
# What a program asks of a controller that it meets; ``device.id`` had no point before firmware 7,
# and has kept that name too. Speeds are in microsteps per 1.6384 s.
_SETTINGS = {
    "comm.alert": "1",
    "comm.checksum": "0",
    "device.id": "50105",
    "deviceid": "50105",
    "maxspeed": str(round(_SPEED_STEPS_S * 1.6384)),
    "system.access": "1",
    "system.axiscount": "1",
    "version": "7.35",
    "version.build": "16442",
}
_LONGEST_LINE = 80
_DEVICES = 3
_START_STEPS = 12_000.0
_IMPOSSIBLE_STEPS = 99_999_999.0

FAULTS = on_a_line(
    "a stage",
    {
        "refuse": "rejects the next `count` (1) commands as STATUSBUSY",
        "wrong-checksum": "says the next `count` (1) answers with a checksum that is not theirs",
        "out-of-range": "tells the next `count` (1) positions as `value` (99999999) steps",
        "power-cycle": "has no power for `seconds` (1): the axes stay where they are, without a "
        "reference position",
        "stalled": "the axis of `device` (1) stops and tells FS until `warnings clear`",
        "alert": "says something of `device` (1) that nobody asked for",
    },
    {"clock-jump": "it has no clock"},
)


@dataclass
class _Axis:
    """One axis: it goes from ``begin`` at ``since`` to ``target``, steps and host seconds."""

    begin: float = _START_STEPS
    target: float = _START_STEPS
    since: float = 0.0
    referenced: bool = False
    homing: bool = False
    fault: str = ""
    note: str = ""

    def position(self, now: float) -> float:
        way = self.target - self.begin
        gone = min((now - self.since) * _SPEED_STEPS_S, abs(way))
        return self.begin + (gone if way > 0 else -gone)

    def busy(self, now: float) -> bool:
        moving = (now - self.since) * _SPEED_STEPS_S < abs(self.target - self.begin)
        if not moving and self.homing:
            self.homing, self.referenced = False, True
        return moving

    def go(self, target: float, now: float) -> None:
        self.begin, self.target, self.since = self.position(now), target, now

    def flags(self) -> list[str]:
        """Return what is wrong with it, the gravest first."""
        told = (self.fault, "" if self.referenced else "WR", self.note)
        return [flag for flag in told if flag]

    def halt(self, now: float) -> None:
        here = self.position(now)
        self.homing = False
        self.begin = self.target = here


class ZaberStage:
    """Three axes, powered up; `ZaberStage.address` is where they are."""

    def __init__(
        self,
        clock: SimulatedClock,
        *,
        whereabouts: Whereabouts | None = None,
        prefer_pty: bool = True,
        seed: int = 0,
        firmware: str = _SETTINGS["version"],
    ) -> None:
        """Switch them on.

        Args:
            clock: held while an axis moves.
            whereabouts: of the cell that stands on it; None: nothing does.
            prefer_pty: use a pseudo-terminal where there is one, else TCP.
            seed: of injected faults.
            firmware: as they tell it; before 7 ``device.id`` was only called ``deviceid``.
        """
        self._clock = clock
        self._settings = _SETTINGS | {"version": firmware}
        if float(firmware) < 7:
            del self._settings["device.id"]
        self._wake = threading.Condition()
        self._closed = False
        self._axes = [_Axis() for _ in range(_DEVICES)]
        if whereabouts is not None:
            whereabouts.carrier = self.moved
        self._typed = bytearray()
        self.line = ByteServer(
            self._receive,
            prefer_pty=prefer_pty,
            on_fault=self._fault,
            faults=FAULTS,
            seed=seed,
        )
        self.address = self.line.address
        self._worker = threading.Thread(target=self._work, name="stage", daemon=True)
        self._worker.start()

    def moved(self) -> Displacement:
        """Return how far each axis is from where it was when it was switched on."""
        with self._wake:
            now = time.monotonic()
            steps = [axis.position(now) - _START_STEPS for axis in self._axes]
        return Displacement(*(MICROMETRE_PER_STEP * one for one in steps))

    def close(self) -> None:
        """Switch them off where they are."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._worker.join()
        self.line.close()

    def _work(self) -> None:
        """Hold the clock while an axis moves."""
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._moves())
                if self._closed:
                    return
            with self._clock.exchange("stage"), self._wake:
                while self._moves() and not self._closed:
                    self._wake.wait(0.01)

    def _moves(self) -> bool:
        now = time.monotonic()
        return any(axis.busy(now) for axis in self._axes)

    # ---- the language

    def _receive(self, data: bytes) -> bytes:
        answers = bytearray()
        for byte in data:
            if byte not in (0x0A, 0x0D):
                if len(self._typed) < _LONGEST_LINE:
                    self._typed.append(byte)
                continue
            line = self._typed.decode("latin-1").strip()
            self._typed.clear()
            command = _checked(line)
            if command is not None:
                with self._wake:
                    answers += "".join(self._answers(command.split())).encode("ascii")
                    self._wake.notify_all()
        return bytes(answers)

    def _answers(self, words: list[str]) -> list[str]:
        numbers: list[str] = []
        while words and words[0].isdigit() and len(numbers) < 3:
            numbers.append(words.pop(0))
        device, axis = (int(number) for number in [*numbers, "0", "0"][:2])
        message = f"{numbers[2]} " if len(numbers) == 3 else ""
        called = range(1, _DEVICES + 1) if device == 0 else [device]
        return [self._answer(n, axis, message, words) for n in called if 1 <= n <= _DEVICES]

    def _answer(self, device: int, axis: int, message: str, words: list[str]) -> str:
        now = time.monotonic()
        one = self._axes[device - 1]
        if self.line.broken.due("refuse"):
            told, data = "RJ", "STATUSBUSY"
        elif axis > 1:
            told, data = "RJ", "BADAXIS"
        else:
            told, data = self._take(one, words, now)
        busy = "BUSY" if one.busy(now) else "IDLE"
        flag = next(iter(one.flags()), "--")
        answer = f"{device:02d} {axis} {message}{told} {busy} {flag} {data}"
        if self.line.broken.due("wrong-checksum"):
            answer += f":{(1 - sum(answer.encode())) % 256:02X}"  # one too many
        return f"@{answer}\r\n"

    def _take(self, one: _Axis, words: list[str], now: float) -> tuple[str, str]:
        match words:
            case []:
                return "OK", "0"
            case ["get", "pos"]:
                steps = self.line.broken.told(one.position(now), _IMPOSSIBLE_STEPS)
                return "OK", str(round(steps))
            case ["get", "limit.min"]:
                return "OK", "0"
            case ["get", "limit.max"]:
                return "OK", str(_LIMIT_STEPS)
            case ["get", setting] if setting in self._settings:
                return "OK", self._settings[setting]
            case ["warnings"] | ["warnings", "clear"]:
                flags = one.flags()
                if words[1:]:
                    one.fault = one.note = ""
                return "OK", " ".join([f"{len(flags):02d}", *flags])
            case ["home"]:
                one.note, one.homing, one.referenced = "", True, False
                one.go(0.0, now)
                return "OK", "0"
            case ["stop"]:
                if one.busy(now):
                    one.note = "NI"
                one.halt(now)
                return "OK", "0"
            case ["move", ("abs" | "rel") as how, number] if one.referenced:
                return self._move(one, how, number, now)
        return "RJ", "BADCOMMAND"

    def _move(self, one: _Axis, how: str, number: str, now: float) -> tuple[str, str]:
        try:
            target = int(number) + (round(one.position(now)) if how == "rel" else 0)
        except ValueError:
            return "RJ", "BADDATA"
        if not 0 <= target <= _LIMIT_STEPS:
            return "RJ", "BADDATA"
        one.note = ""
        if not one.fault:
            one.go(float(target), now)
        return "OK", "0"

    # ---- for whoever breaks things

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        """Break it, where that is not the line's business."""
        device = int(float(str(options.get("device", 1))))
        now = time.monotonic()
        with self._wake:
            if fault == "stalled":
                self._axes[device - 1].halt(now)
                self._axes[device - 1].fault = "FS"
            elif fault == "alert":
                self.line.send(f"!{device:02d} 1 IDLE --\r\n".encode("ascii"))
            elif fault == "power-cycle":
                self._typed.clear()
                for one in self._axes:
                    one.halt(now)
                    one.referenced, one.fault, one.note = False, "", ""


def _checked(line: str) -> str | None:
    """Return what is behind the ``/``, without its checksum; None if it is no command.

    The checksum and the bytes between ``/`` and ``:`` add up to a multiple of 256.
    """
    if not line.startswith("/"):
        return None
    command, colon, checksum = line[1:].partition(":")
    if not colon:
        return command
    try:
        right = (sum(command.encode("latin-1")) + int(checksum, 16)) % 256 == 0
    except ValueError:
        return None
    return command if right else None
