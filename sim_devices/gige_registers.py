"""The registers of a GigE Vision camera: what they hold, and what cannot be written to them."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

from sim_devices import gige_vision as wire
from sim_devices.genicam import (
    LARGEST_PACKET,
    PIXEL_FORMATS,
    SMALLEST_PACKET,
    TEXTS,
    Feature,
    description,
    features,
)
from sim_devices.gige_vision import Refused, Sender

VENDOR, MODEL = "Operando", "Simulated-GigE"
TICKS_PER_S = 1_000_000_000
STREAM_PORT = 0xD00
_URL, _URL_BYTES, _XML = 0x0200, 512, 0x0010_0000
_PACKET, _DELAY, _STREAM_ADDRESS, _SOURCE_PORT = 0xD04, 0xD08, 0xD18, 0xD1C
_TIMESTAMP_CONTROL, _TIMESTAMP = 0x0944, 0x0948
_FIRE_TEST_PACKET, _DO_NOT_FRAGMENT = 1 << 31, 1 << 30
_LATCH, _RESET = 0x2, 0x1
_WRITABLE = {wire.HEARTBEAT_TIMEOUT, STREAM_PORT, _DELAY, _STREAM_ADDRESS}
_SHORTEST_HEARTBEAT_MS = 500


class CameraRegisters:
    """What is at the camera's addresses; hold `lock` where several of them have to agree."""

    def __init__(
        self,
        ip_address: str,
        serial_number: str,
        sensor: tuple[int, int],
        *,
        source_port: int,
        command: Callable[[str], None],
        fire_test_packet: Callable[[int], None],
    ) -> None:
        """Hold what a camera holds when it is switched on.

        Args:
            ip_address: its own.
            serial_number: as it tells it, up to 16 characters.
            sensor: columns and rows, multiples of 4.
            source_port: from which its stream comes.
            command: is told of a command by its feature's name, under `lock`.
            fire_test_packet: is asked for a packet of so many bytes, its IP header among them.
        """
        self.lock = threading.RLock()
        self.acquiring = False  # while it is, what shapes a frame is write protected
        self._features = features(*sensor)
        self._names = {feature.address: name for name, feature in self._features.items()}
        self._source_port = source_port
        self._command, self._fire_test_packet = command, fire_test_packet
        self._fixed = self._bootstrap(ip_address, serial_number)
        self.reset()

    def read(self, address: int, length: int) -> bytes:
        """Return what is there; raises `Refused`."""
        with self.lock:
            for start, data in self._fixed.items():
                if start <= address and address + length <= start + len(data):
                    return data[address - start : address - start + length]
            words = [self._word(address + 4 * n) for n in range(length // 4)]
        return struct.pack(f">{len(words)}I", *words)

    def write(self, address: int, data: bytes) -> None:
        """Put it there; raises `Refused`."""
        for start in range(0, len(data), 4):
            (value,) = struct.unpack_from(">I", data, start)
            self._set(address + start, value)

    def close_stream(self) -> None:
        """Send the stream nowhere from now on."""
        self._registers[STREAM_PORT] = 0

    def reset(self) -> None:
        """Hold again what it held when it was switched on."""
        with self.lock:
            self._registers = {
                0x0600: 1,  # network interfaces
                0x0900: 0,  # message channels
                0x0904: 1,  # stream channels
                0x0934: 0x0000_0007,  # packet resend, write memory, several registers at once
                wire.HEARTBEAT_TIMEOUT: 3000,
                0x093C: 0,
                0x0940: TICKS_PER_S,
                _TIMESTAMP_CONTROL: 0,
                _TIMESTAMP: 0,
                _TIMESTAMP + 4: 0,
                STREAM_PORT: 0,
                _PACKET: 1500 | _DO_NOT_FRAGMENT,
                _DELAY: 0,
                _STREAM_ADDRESS: 0,
                _SOURCE_PORT: self._source_port,
            }
            for feature in self._features.values():
                self._registers[feature.address] = _raw(feature, feature.start)
            self._started_s = time.monotonic()

    def target(self) -> Sender | None:
        """Return where the stream goes; None: nowhere."""
        port = self._registers[STREAM_PORT]
        address = socket.inet_ntoa(struct.pack(">I", self._registers[_STREAM_ADDRESS]))
        return (address, port) if port and self._registers[_STREAM_ADDRESS] else None

    @property
    def packet_bytes(self) -> int:
        """How large a packet of the stream is, its IP header among it."""
        return self._registers[_PACKET] & 0xFFFF

    @property
    def packet_delay_s(self) -> float:
        """How long the stream waits after each packet."""
        return self._registers[_DELAY] / TICKS_PER_S

    def _bootstrap(self, ip_address: str, serial_number: str) -> dict[int, bytes]:
        """Return what stands fast: who it is, where it is, and its description."""
        xml = description(MODEL, VENDOR, self._features)
        page = bytearray(wire.DISCOVERY_BYTES)
        ip = socket.inet_aton(ip_address)
        for at, value in (
            (0x0000, 0x0001_0002),  # GigE Vision 1.2
            (0x0004, 0x8000_0001),  # most significant byte first, UTF-8
            (0x0008, 0x0000_0200),  # a locally administered MAC address, by the IP address
            (0x0010, 0x0000_0004),  # of the ways to get an address it knows link-local only
            (0x0014, 0x0000_0004),
            (0x0034, 0xFF00_0000),
        ):
            struct.pack_into(">I", page, at, value)
        page[0x000C:0x0010] = page[0x0024:0x0028] = ip
        texts = {
            "DeviceVendorName": VENDOR,
            "DeviceModelName": MODEL,
            "DeviceVersion": "1.0",
            "DeviceManufacturerInfo": "a simulated microscope",
            "DeviceSerialNumber": serial_number,
        }
        for name, text in texts.items():
            start, length = TEXTS[name]
            data = text.encode("ascii")[:length]
            page[start : start + len(data)] = data
        url = f"Local:simulated_gige.xml;{_XML:X};{len(xml):X}".encode("ascii")
        return {
            0x0000: bytes(page),
            _URL: url.ljust(_URL_BYTES, b"\0"),
            _URL + _URL_BYTES: bytes(_URL_BYTES),
            _XML: xml + bytes(-len(xml) % 4),
        }

    def _word(self, address: int) -> int:
        name = self._names.get(address)
        if name is not None and self._features[name].access == "WO":
            raise Refused(wire.ACCESS_DENIED)
        if name == "PayloadSize":
            return self.number("Width") * self.number("Height") * self._bytes_per_pixel()
        if address not in self._registers:
            raise Refused(wire.INVALID_ADDRESS)
        return self._registers[address]

    def number(self, name: str) -> int:
        """Return what the register of a feature holds."""
        return self._registers[self._features[name].address]

    def real(self, name: str) -> float:
        """Return the value of a feature that is no whole number."""
        (value,) = struct.unpack(">f", struct.pack(">I", self.number(name)))
        return float(value)

    def pixel_format(self) -> str:
        """Return the name of the present pixel format."""
        code = self.number("PixelFormat")
        return next(name for name, known in PIXEL_FORMATS.items() if known == code)

    def _bytes_per_pixel(self) -> int:
        return 1 if self.pixel_format() == "Mono8" else 2

    def _set(self, address: int, value: int) -> None:
        with self.lock:
            name = self._names.get(address)
            if name is not None:
                self._set_feature(name, value)
            elif address == _PACKET:
                self._set_packet_size(value)
            elif address == _TIMESTAMP_CONTROL:
                self._control_timestamp(value)
            elif address in _WRITABLE:
                if address == wire.HEARTBEAT_TIMEOUT:
                    value = max(value, _SHORTEST_HEARTBEAT_MS)
                self._registers[address] = value & (0xFFFF if address == STREAM_PORT else ~0)
            elif address in self._registers or any(
                start <= address < start + len(data) for start, data in self._fixed.items()
            ):
                raise Refused(wire.WRITE_PROTECT)
            else:
                raise Refused(wire.INVALID_ADDRESS)

    def _set_feature(self, name: str, value: int) -> None:
        feature = self._features[name]
        if feature.access == "RO" or (feature.still and self.acquiring):
            raise Refused(wire.WRITE_PROTECT)
        if feature.kind == "Command":
            if value:
                self._command(name)
            return
        number: float = value
        if feature.kind == "Float":
            (number,) = struct.unpack(">f", struct.pack(">I", value))
        if not feature.takes(number):
            raise Refused(wire.INVALID_PARAMETER)
        before = self._registers[feature.address]
        # The shutter opens for whole microseconds.
        whole = name == "ExposureTime"
        self._registers[feature.address] = _raw(feature, round(number) if whole else number)
        for offset, size, sensor in (
            ("OffsetX", "Width", "SensorWidth"),
            ("OffsetY", "Height", "SensorHeight"),
        ):
            if self.number(offset) + self.number(size) > self.number(sensor):
                self._registers[feature.address] = before
                raise Refused(wire.INVALID_PARAMETER)

    def _set_packet_size(self, value: int) -> None:
        size = min(max(value & 0xFFFF, SMALLEST_PACKET), LARGEST_PACKET) // 4 * 4
        self._registers[_PACKET] = size | (value & _DO_NOT_FRAGMENT)
        if value & _FIRE_TEST_PACKET:
            self._fire_test_packet(size)

    def _control_timestamp(self, value: int) -> None:
        if value & _LATCH:
            ticks = self.ticks()
            self._registers[_TIMESTAMP] = ticks >> 32
            self._registers[_TIMESTAMP + 4] = ticks & 0xFFFFFFFF
        if value & _RESET:
            self._started_s = time.monotonic()

    def set_time_forward(self, seconds: float) -> None:
        """Let the camera's own time jump; it does not go back behind its beginning."""
        self._started_s = min(self._started_s - seconds, time.monotonic())

    def ticks(self) -> int:
        """Return the camera's own time, ticks since it was switched on."""
        return int((time.monotonic() - self._started_s) * TICKS_PER_S)


def _raw(feature: Feature, value: float) -> int:
    if feature.kind != "Float":
        return int(value)
    (raw,) = struct.unpack(">I", struct.pack(">f", value))
    return int(raw)
