"""An Ocean HDX spectrometer on TCP, speaking OBP, with a separate laser that hangs on a relay.

A message is a header of 44 bytes, a payload, a checksum of 16 bytes and a footer, little-endian; a
payload of up to 16 bytes travels in the header. What it does not know, or cannot do, it answers
with a NACK and an error code.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sim_devices.clock import SimulatedClock
from sim_devices.doors import Door, damaged, deliver
from sim_devices.lights import Lights
from sim_devices.spectrum import Light
from sim_devices.truth import Truth
from sim_devices.wire_faults import WIRE_FAULTS, FaultsOf, WireFaults, number_of

START, VERSION, FOOTER = 0xC0C1, 0x1100, 0xC2C3C4C5
RESPONSE, ACK, ACK_REQUESTED, NACK = 0x01, 0x02, 0x04, 0x08
BAD_PROTOCOL, UNKNOWN_MESSAGE, BAD_CHECKSUM, TOO_LARGE = 1, 2, 3, 4
WRONG_LENGTH, WRONG_DATA, NOT_READY = 5, 6, 7
PIXELS, EXCITATION_NM = 2068, 532.0
# 536 nm to 679 nm: 140 to 4080 cm-1 from 532 nm.
WAVELENGTH_COEFFICIENTS = (536.0, 7.15e-2, -1.1e-6, 2.0e-11)
NONLINEARITY_COEFFICIENTS = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
PRODUCT_ID, VENDOR_ID = 0x2003, 0x2457
_SHORTEST_US, _LONGEST_US = 6000, 10_000_000
_TRIGGER_MODES = (0, 1, 3, 255)
_HEADER = struct.Struct("<HHHHII6sBB16sI")
_TRAILER = struct.Struct("<16sI")
_LARGEST_PAYLOAD = 4096
_MD5 = 1
_CHECKSUM_TYPE, _FOOTER_BYTES = 22, 4  # where it is said of which kind the checksum is
_IMPOSSIBLE_PIXELS = 1024
_LASER_POLL_S = 0.005

FAULTS = FaultsOf(
    "an Ocean spectrometer",
    {
        **{name: WIRE_FAULTS[name] for name in ("stall", "resume", "split", "disconnect", "slow")},
        "garble": "flips bit `bit` (7) of a byte of the footer in each of the next `count` (1) "
        "answers",
        "drop-bytes": "loses `bytes` (1) bytes in the middle of each of the next `count` (1) "
        "answers",
        "drop": "loses the next `count` (1) answers",
        "refuse": "answers the next `count` (1) requests by a NACK with `code` (7, not ready)",
        "power-cycle": "hangs up and has no power for `seconds` (0): its settings are those of the "
        "start",
        "wrong-checksum": "says the next `count` (1) answers with an MD5 that is not theirs",
        "out-of-range": "sends the next `count` (1) spectra with `value` (1024) pixels, which it "
        "does not have",
        "garble-in": "hears the footer of each of the next `count` (1) requests with bit `bit` (7) "
        "of a byte flipped",
        "cut": "the next `count` (1) answers stop in their middle",
        "nack": "the same as `refuse`",
        "late": "the same as `slow`, by `seconds` (1)",
        "hang-up": "closes the connection",
    },
    {
        "merge": "one request, one answer, in turn: there is nothing that it could come with",
        "clock-jump": "it tells no time",
    },
)


class _Message(NamedTuple):
    """What arrived: its type, payload, flags, and the error it deserves (0: none)."""

    kind: int
    payload: bytes
    flags: int
    regarding: int
    error: int


class _Refused(Exception):  # noqa: N818 - a NACK is an answer
    """A request is answered by a NACK with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class OceanHdx:
    """One spectrometer, listening at `OceanHdx.address`; it serves one client at a time.

    An integration takes its time on the cell's clock, which is held at factor 1 for it. What shines
    is what `Lights` say: the laser hangs on a relay, and this spectrometer knows nothing of it.
    """

    def __init__(
        self,
        scene: Light,
        clock: SimulatedClock,
        lights: Lights,
        *,
        truth: Truth | None = None,
        serial_number: str = "HDX00042",
        wavelength_coefficients: Sequence[float] = WAVELENGTH_COEFFICIENTS,
    ) -> None:
        """Switch it on.

        Args:
            scene: the light on the detector.
            clock: cell time.
            lights: asked for laser and lamp.
            truth: is told of every integration, as instrument ``raman``.
            serial_number: as it tells it, up to 16 characters.
            wavelength_coefficients: nm, of the powers of the pixel's number.
        """
        self._scene, self._clock, self._lights, self._truth = scene, clock, lights, truth
        self._serial = serial_number.encode("ascii")
        self._coefficients = tuple(wavelength_coefficients)
        powers = np.polynomial.polynomial.polyval(
            np.arange(PIXELS, dtype=float), np.asarray(self._coefficients, np.float32).astype(float)
        )
        self._axis = 1e7 / EXCITATION_NM - 1e7 / powers
        self._integration_us = 10_000
        self._trigger_mode = 0
        self.broken = WireFaults(FAULTS)
        self._cut = 0  # answers that stop in their middle
        self._lock = threading.Lock()
        self._one_client = threading.Lock()
        self._closed = threading.Event()
        self._handlers: dict[int, Callable[[bytes], bytes]] = {
            0x00000100: lambda payload: self._serial,
            0x00000101: lambda payload: bytes([len(self._serial)]),
            0x00000E00: lambda payload: struct.pack("<H", VENDOR_ID),
            0x00000E01: lambda payload: struct.pack("<H", PRODUCT_ID),
            0x00180100: lambda payload: bytes([len(self._coefficients)]),
            0x00180101: lambda payload: _coefficient(self._coefficients, payload),
            0x00181100: lambda payload: bytes([len(NONLINEARITY_COEFFICIENTS)]),
            0x00181101: lambda payload: _coefficient(NONLINEARITY_COEFFICIENTS, payload),
            0x00110010: self._set_integration_time,
            0x00110110: self._set_trigger_mode,
            0x00101000: self._spectrum,
        }
        self._payload_bytes = {0x00180101: 1, 0x00181101: 1, 0x00110010: 4, 0x00110110: 1}
        self._door = Door(self._serve, self.broken, name="ocean-hdx")
        self.address = f"tcp://{self._door.host}:{self._door.port}"

    @property
    def wavenumber_cm1(self) -> np.ndarray:
        """The true axis for 532 nm, cm-1."""
        return self._axis.copy()

    def close(self) -> None:
        """Switch it off; may be called twice."""
        self._closed.set()
        self._clock.wake()
        self._door.close()

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        match fault:
            case "nack":
                fault = "refuse"
            case "late":
                fault, options = "slow", {"delay_s": options.get("seconds", 1.0)}
            case "power-cycle":
                options = {"seconds": 0.0, **options}
        self.broken.take(fault, options)
        if fault in ("cut", "resume"):
            with self._lock:
                self._cut = int(number_of(options, "count", 1)) if fault == "cut" else 0
        elif fault == "power-cycle":
            self._integration_us, self._trigger_mode = 10_000, 0
        if fault == "hang-up":
            self._door.hang_up()
        elif fault in ("power-cycle", "disconnect"):
            self._door.shut()

    # ---- the line

    def _serve(self, client: socket.socket) -> None:
        with self._one_client:
            while (message := _read(client)) is not None:
                self._answer(client, message)

    def _answer(self, client: socket.socket, message: _Message) -> None:
        broken = self.broken
        if broken.due("garble-in"):
            message = message._replace(error=BAD_PROTOCOL)  # the footer is not one
        try:
            if broken.due("refuse"):
                raise _Refused(int(broken.option("refuse", "code", NOT_READY)))
            answer = self._perform(message)
            flags = RESPONSE | (ACK if message.flags & ACK_REQUESTED else 0)
            error = 0
        except _Refused as refused:
            answer, flags, error = b"", RESPONSE | NACK, refused.code
        if not answer and not error and not message.flags & ACK_REQUESTED:
            return
        data = _message(message.kind, answer, flags, error, message.regarding)
        if broken.due("wrong-checksum"):
            data = data[:_CHECKSUM_TYPE] + bytes([_MD5]) + data[_CHECKSUM_TYPE + 1 :]
        data = damaged(data, broken, flips=slice(-_FOOTER_BYTES, None))
        with self._lock:
            cut, self._cut = self._cut > 0, max(0, self._cut - 1)
        deliver(client, data[: len(data) // 2] if cut else data, broken)

    def _perform(self, message: _Message) -> bytes:
        if message.error:
            raise _Refused(message.error)
        handler = self._handlers.get(message.kind)
        if handler is None:
            raise _Refused(UNKNOWN_MESSAGE)
        if len(message.payload) != self._payload_bytes.get(message.kind, 0):
            raise _Refused(WRONG_LENGTH)
        return handler(message.payload)

    # ---- the messages

    def _set_integration_time(self, payload: bytes) -> bytes:
        (microseconds,) = struct.unpack("<I", payload)
        if not _SHORTEST_US <= microseconds <= _LONGEST_US:
            raise _Refused(WRONG_DATA)
        self._integration_us = microseconds
        return b""

    def _set_trigger_mode(self, payload: bytes) -> bytes:
        if payload[0] not in _TRIGGER_MODES:
            raise _Refused(WRONG_DATA)
        self._trigger_mode = payload[0]
        return b""

    def _spectrum(self, payload: bytes) -> bytes:
        del payload
        with self._clock.exchange("raman integration"):
            counts = self._integrate(self._integration_us / 1e6)
        pixels = int(self.broken.told(len(counts), _IMPOSSIBLE_PIXELS))
        data: bytes = np.resize(counts, pixels).astype("<u2").tobytes()
        return data

    def _integrate(self, integration_s: float) -> np.ndarray:
        clock, lights = self._clock, self._lights
        started = now = clock.now()
        begun_s = time.monotonic()
        energy_mj, lamp = 0.0, lights.lamp
        while now < started + integration_s and not self._closed.is_set():
            power_mw = lights.laser_mw
            clock.follow_until(
                min(now + _LASER_POLL_S, started + integration_s), self._closed.is_set
            )
            before, now = now, clock.now()
            energy_mj += 0.5 * (power_mw + lights.laser_mw) * (now - before)
            lamp = lamp or lights.lamp
        # The cell's clock slips where its leader is late; no detector is read before its time.
        self._closed.wait(max(0.0, begun_s + integration_s - time.monotonic()))
        power_mw = energy_mj / max(now - started, 1e-9)
        counts = self._scene.counts(self._axis, power_mw, integration_s, lamp=lamp)
        if self._truth is not None:
            self._truth.write(
                "raman",
                "spectrum",
                cell_t_s=started,
                integration_s=integration_s,
                laser_mj=energy_mj,
                lamp=lamp,
                crc32=zlib.crc32(counts.astype("<u2").tobytes()),
            )
        return counts


def _coefficient(coefficients: Sequence[float], payload: bytes) -> bytes:
    if payload[0] >= len(coefficients):
        raise _Refused(WRONG_DATA)
    return struct.pack("<f", coefficients[payload[0]])


def _message(kind: int, payload: bytes, flags: int, error: int, regarding: int) -> bytes:
    immediate, long = (payload, b"") if len(payload) <= 16 else (b"", payload)
    remaining = len(long) + _TRAILER.size
    head = _HEADER.pack(
        START,
        VERSION,
        flags,
        error,
        kind,
        regarding,
        b"",
        0,
        len(immediate),
        immediate,
        remaining,
    )
    return head + long + _TRAILER.pack(b"", FOOTER)


def _read(client: socket.socket) -> _Message | None:
    """Read one message; None when the client has gone, or talks something else."""
    head = _exactly(client, _HEADER.size)
    if head is None:
        return None
    (start, version, flags, _, kind, regarding, _, checksum_type, length, immediate, remaining) = (
        _HEADER.unpack(head)
    )
    if start != START or remaining < _TRAILER.size:
        return None
    if remaining > _LARGEST_PAYLOAD + _TRAILER.size:
        return None
    rest = _exactly(client, remaining)
    if rest is None:
        return None
    payload = rest[: -_TRAILER.size]
    checksum, footer = _TRAILER.unpack(rest[-_TRAILER.size :])
    error = 0
    if version != VERSION or footer != FOOTER:
        error = BAD_PROTOCOL
    elif checksum_type == _MD5 and hashlib.md5(head + payload).digest() != checksum:
        error = BAD_CHECKSUM
    elif checksum_type > _MD5:
        error = 8
    elif length > 16:
        error = WRONG_LENGTH
    return _Message(kind, payload or immediate[:length], flags, regarding, error)


def _exactly(client: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            return None
        data += part
    return data
