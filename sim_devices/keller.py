"""A KELLER pressure transmitter of Series 30 in the closed headspace of the cell, on its bus.

Frames are address, function, parameters, CRC16 with the high byte first; one whose CRC is wrong, or
that is for somebody else, is not answered, nor is a broadcast (address 0). It answers its own
address and 250. Until function 48 it refuses everything with 32, and again after each power cycle.
Functions: 30 coefficients, 32 configuration, 48, 66 address, 69 serial number, 73 and 74 channels,
95 zero of P1 (0 set, 1 reset), 100 configuration. P1 and its temperature TOB1 are there; other
channels are not active and tell NaN with their bit in the status.

It feels the gas that the cell gave off on top of what was in the headspace, all of it ideal and at
the cell's temperature; what a chromatograph takes away is not missed.
"""

from __future__ import annotations

import math
import struct
import threading
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sim_devices.cell.parameters import GAS_CONSTANT
from sim_devices.pty_server import ByteServer
from sim_devices.wire_faults import on_a_line

if TYPE_CHECKING:
    from sim_devices.cell.parameters import CellParameters

_CLASS, _GROUP, _YEAR, _WEEK, _BUFFER = 5, 20, 12, 28, 10
_SERIAL_NUMBER = 133445
_ANYBODY, _BROADCAST = 250, 0
_GAP_S = 0.05  # of silence, after which what came is no part of a frame any more
_LONGEST = 12
_COEFFICIENTS, _CONFIGURATIONS, _CHANNELS, _INDICES = 111, 13, 5, 8
_NO_FUNCTION, _NO_PARAMETER, _NO_LENGTH, _INVALID, _NOT_INITIALISED = 1, 2, 3, 4, 32
_P1, _TOB1 = 1, 4
# Of one for 3 bar absolute; 0.05 % of its span is the maker's promise, its noise is less.
_LOWEST_BAR, _HIGHEST_BAR, _NOISE_BAR = 0.0, 3.0, 5e-5
_AMBIENT_BAR, _PA_PER_BAR, _M3_PER_L = 1.01325, 1e5, 1e-3
_ZERO_CELSIUS_K = 273.15
_IMPOSSIBLE_BAR = 99.0

FAULTS = on_a_line(
    "a pressure transmitter",
    {
        "refuse": "answers the next `count` (1) requests by refusal 1, no such function",
        "wrong-checksum": "says the next `count` (1) answers with a checksum that is not theirs",
        "out-of-range": "tells the next `count` (1) pressures as `value` (99) bar",
        "power-cycle": "has no power for `seconds` (1): it refuses everything with 32 until it is "
        "initialised",
        "broken": "its sensor fails: P1 is no number, and its bit is set in the status",
        "mended": "ends that",
    },
    {"clock-jump": "it has no clock"},
)
# Parameters that each function needs, in bytes.
_NEEDS = {
    30: (1,),
    32: (1,),
    48: (0,),
    66: (1,),
    69: (0,),
    73: (1,),
    74: (1,),
    95: (1, 5),
    100: (1,),
}


class Headspace(Protocol):
    """What the transmitter needs of a cell."""

    lock: threading.RLock
    parameters: CellParameters

    @property
    def temperature_k(self) -> float:
        """Temperature now, K."""

    @property
    def hydrogen_gas_mol(self) -> float:
        """Hydrogen in the headspace, mol."""


def headspace_bar(cell: Headspace) -> float:
    """Return the absolute pressure in the headspace, bar: that of the atmosphere, and hydrogen."""
    volume_m3 = cell.parameters.headspace_l * _M3_PER_L
    hydrogen_pa = cell.hydrogen_gas_mol * GAS_CONSTANT * cell.temperature_k / volume_m3
    return _AMBIENT_BAR + hydrogen_pa / _PA_PER_BAR


class KellerTransmitter:
    """One transmitter; `KellerTransmitter.address` is where it is."""

    def __init__(
        self,
        cell: Headspace,
        *,
        device: int = 1,
        prefer_pty: bool = True,
        seed: int = 0,
        perfect: bool = False,
        echo: bool = False,
        device_class: int = _CLASS,
    ) -> None:
        """Switch it on.

        Args:
            cell: in whose headspace it is.
            device: its address on the bus.
            prefer_pty: use a pseudo-terminal where there is one, else TCP.
            seed: of its noise and of injected faults.
            perfect: no noise.
            echo: whether the converter has the host hear itself.
            device_class: another one than 5 is not of Series 30.
        """
        self._cell = cell
        self._device = device
        self._random = np.random.default_rng(seed)
        self._noise = 0.0 if perfect else _NOISE_BAR
        self._echo = echo
        self._class = device_class
        self._zero_bar = 0.0
        self._initialised = False
        self._heard = bytearray()
        self._heard_at = 0.0
        self._broken = False
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

    # ---- frames

    def _receive(self, data: bytes) -> bytes:
        now = time.monotonic()
        if now - self._heard_at > _GAP_S:
            self._heard.clear()
        self._heard_at = now
        self._heard += data
        said = bytearray(data if self._echo else b"")
        frame = bytes(self._heard)
        if len(frame) >= 4 and _crc(frame[:-2]) == frame[-2:]:
            self._heard.clear()
            said += self._answered(frame[:-2])
        elif len(frame) > _LONGEST:
            self._heard.clear()
        return bytes(said)

    def _answered(self, request: bytes) -> bytes:
        device, function, parameters = request[0], request[1], request[2:]
        if device not in (self._device, _ANYBODY) or device == _BROADCAST:
            return b""
        refused = self.line.broken.due("refuse")
        answer = _NO_FUNCTION if refused else self._answer(function, parameters)
        head = bytes((device, function))
        if isinstance(answer, int):
            frame = bytes((device, function | 0x80, answer))
        else:
            frame = head + answer
        crc = _crc(frame)
        if self.line.broken.due("wrong-checksum"):
            crc = bytes((crc[0] ^ 0x10, crc[1]))
        return frame + crc

    def _answer(self, function: int, parameters: bytes) -> bytes | int:
        """Return what is answered, or the code of a refusal."""
        if function not in _NEEDS:
            return _NO_FUNCTION
        if len(parameters) not in _NEEDS[function]:
            return _NO_LENGTH
        if function == 48:
            before, self._initialised = self._initialised, True
            return bytes((self._class, _GROUP, _YEAR, _WEEK, _BUFFER, int(before)))
        if not self._initialised:
            return _NOT_INITIALISED
        number = parameters[0] if parameters else 0
        match function:
            case 30:
                return _NO_PARAMETER if number > _COEFFICIENTS else self._coefficient(number)
            case 32:
                return _NO_PARAMETER if number > _CONFIGURATIONS else bytes((0,))
            case 66:
                if number:
                    self._device = number
                return bytes((self._device,))
            case 69:
                return _SERIAL_NUMBER.to_bytes(4, "big")
            case 95:
                return self._zeroed(number, parameters[1:])
            case 100:
                return _NO_PARAMETER if number > _INDICES else bytes(5)
        if number > _CHANNELS:
            return _NO_PARAMETER
        value, status = self._channel(number)
        if function == 73:
            return struct.pack(">f", value) + bytes((status,))
        if math.isnan(value):
            return _INVALID
        per = _PA_PER_BAR if number == _P1 else 100.0
        return round(value * per).to_bytes(4, "big", signed=True) + bytes((status,))

    def _coefficient(self, number: int) -> bytes:
        told = {64: self._zero_bar, 65: 1.0, 80: _LOWEST_BAR, 81: _HIGHEST_BAR, 84: -10.0, 85: 80.0}
        return struct.pack(">f", told.get(number, 0.0))

    def _zeroed(self, command: int, value: bytes) -> bytes | int:
        if command not in (0, 1):
            return _NO_PARAMETER
        wanted = struct.unpack(">f", value)[0] if value else 0.0
        self._zero_bar = 0.0
        if command == 0:
            self._zero_bar = wanted - self._measured(_P1)
        return bytes((0,))

    # ---- the sensor

    def _measured(self, channel: int) -> float:
        with self._cell.lock:
            if channel == _TOB1:
                return self._cell.temperature_k - _ZERO_CELSIUS_K
            return headspace_bar(self._cell) + self._zero_bar

    def _channel(self, channel: int) -> tuple[float, int]:
        status = (1 << _P1) if self._broken else 0
        if channel not in (_P1, _TOB1):
            return math.nan, status | (1 << channel)
        if channel == _P1 and self._broken:
            return math.nan, status
        if channel == _P1 and self.line.broken.is_due("out-of-range"):
            return self.line.broken.told(0.0, _IMPOSSIBLE_BAR), status
        value = self._measured(channel)
        if channel == _P1:
            value += float(self._random.normal(0, self._noise))
            if value > _HIGHEST_BAR + 0.1 * (_HIGHEST_BAR - _LOWEST_BAR):
                return math.inf, status | (1 << _P1)
        return value, status

    # ---- for whoever breaks things

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        """Break it, where that is not the line's business."""
        del options
        if fault == "power-cycle":
            self._initialised = False
            self._heard.clear()
        elif fault in ("broken", "mended"):
            self._broken = fault == "broken"


def _crc(frame: bytes) -> bytes:
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            odd = crc & 1
            crc >>= 1
            if odd:
                crc ^= 0xA001
    return bytes((crc >> 8, crc & 0xFF))
