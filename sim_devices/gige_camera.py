"""A microscope's camera that speaks GigE Vision: it exposes the cell when it is triggered.

It stands at an address of its own within this computer (127.62.0.1, ...), at the port that GigE
Vision has, so that any GenICam library finds and reads it. Its pictures are the bench's one view;
their brightness follows exposure time and gain.
"""

from __future__ import annotations

import queue
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim_devices import gige_vision as wire
from sim_devices.clock import SimulatedClock
from sim_devices.genicam import (
    LARGEST_PACKET,
    PIXEL_FORMATS,
    SMALLEST_PACKET,
    TEXTS,
    Feature,
    description,
    features,
)
from sim_devices.gige_vision import Block, ControlChannel, Refused, Sender
from sim_devices.lights import Lights
from sim_devices.micrograph import BARE_COLUMNS, View
from sim_devices.truth import Truth

VENDOR, MODEL = "Operando", "Simulated-GigE"
# At which the view's brightness is as it draws it.
REFERENCE_EXPOSURE_US = 5000.0
_DARK_GREY = 4.0
_BITS = {"Mono8": 8, "Mono12": 12, "Mono16": 16}
_SENSOR_BITS = 12
_LINK_BYTES_PER_S = 125e6  # a gigabit
_PACED_BYTES = 65536
_KEPT_BLOCKS = 4  # for packets that are asked for again
_TICKS_PER_S = 1_000_000_000
_URL, _URL_BYTES, _XML = 0x0200, 512, 0x0010_0000
_STREAM_PORT, _PACKET, _DELAY, _STREAM_ADDRESS, _SOURCE_PORT = 0xD00, 0xD04, 0xD08, 0xD18, 0xD1C
_TIMESTAMP_CONTROL, _TIMESTAMP = 0x0944, 0x0948
_FIRE_TEST_PACKET, _DO_NOT_FRAGMENT = 1 << 31, 1 << 30
_LATCH, _RESET = 0x2, 0x1
_WRITABLE = {wire.HEARTBEAT_TIMEOUT, _STREAM_PORT, _DELAY, _STREAM_ADDRESS}


@dataclass
class _Faults:
    """What is broken: how many of the next, and how."""

    silent: bool = False
    refused: int = 0
    status: int = wire.BUSY
    skipped: int = 0
    damaged: int = 0
    packets: int = 3
    resent: bool = True


class GigECamera:
    """One camera, at `address`, until `close`."""

    def __init__(
        self,
        view: View,
        clock: SimulatedClock,
        lights: Lights,
        truth: Truth,
        *,
        seed: int = 0,
        serial_number: str = "SG00042",
    ) -> None:
        """Switch it on.

        Args:
            view: what it looks at; its pictures' size is the sensor's, down to a multiple of 4.
            clock: held at factor 1 while a frame is exposed and sent.
            lights: of the bench.
            truth: is told of every frame, as instrument ``camera``.
            seed: of the packets that a fault drops, and of a deeper pixel's low bits.
            serial_number: as it tells it, up to 16 characters.
        """
        self._view, self._clock, self._lights, self._truth = view, clock, lights, truth
        self._random = random.Random(seed)
        self._noise = np.random.default_rng(seed)
        rows, columns = view.frame(lamp=False)[0].shape
        self._features = features(columns // 4 * 4, rows // 4 * 4)
        self._at = {feature.address: feature for feature in self._features.values()}
        self._channel = ControlChannel(self)
        self.ip_address = self._channel.address
        self.address = f"aravis://{self.ip_address}"
        self._fixed = self._bootstrap(serial_number)
        self._lock = threading.RLock()  # registers, blocks and faults
        self._registers: dict[int, int] = {}
        self._faults = _Faults()
        self._blocks: dict[int, tuple[Block, set[int]]] = {}
        self._number = self._frames = 0
        self._acquiring = False
        self._exposing = False
        self._triggers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._session = 0
        self._closed = threading.Event()
        self._stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stream.bind((self.ip_address, 0))
        self._reset()
        truth.write(
            "camera",
            "mounted",
            micrometre_per_pixel=view.micrometre_per_pixel,
            bare_columns=BARE_COLUMNS,
        )
        self._channel.judge = self._judge
        self._thread = threading.Thread(target=self._work, name="gige-camera", daemon=True)
        self._thread.start()
        self._channel.start()

    def inject(self, fault: str, **options: object) -> None:
        """Break something.

        Args:
            fault: ``drop`` (of the next `count` frames `packets` packets are lost on their way; the
                client may ask for them again), ``lose`` (the same, and the camera has them no
                more), ``skip`` (the next `count` triggers give no frame), ``refuse`` (the next
                `count` requests are answered with `status`), ``steal`` (another program takes
                control), ``power-cycle``, ``stall`` (it says nothing any more) or ``resume``.
            options: of the fault, numbers.

        Raises:
            ValueError: there is no such fault.
        """
        number = {name: int(float(str(value))) for name, value in options.items()}
        count = number.get("count", 1)
        match fault:
            case "drop" | "lose":
                with self._lock:
                    self._faults.damaged, self._faults.resent = count, fault == "drop"
                    self._faults.packets = number.get("packets", 3)
            case "skip":
                with self._lock:
                    self._faults.skipped = count
            case "refuse":
                with self._lock:
                    self._faults.refused = count
                    self._faults.status = number.get("status", wire.BUSY)
            case "steal":
                self._channel.release(wire.CONTROL, ("192.0.2.1", 1))
            case "power-cycle":
                self._channel.release()
                self._reset()
            case "stall" | "resume":
                with self._lock:
                    self._faults = _Faults(silent=fault == "stall")
            case _:
                raise ValueError(f"the camera has no fault {fault!r}")

    def close(self) -> None:
        """Switch it off; may be called twice."""
        self._closed.set()
        self._triggers.put(None)
        self._channel.close()
        self._thread.join()
        self._stream.close()

    # ---- what the control channel asks

    def read(self, address: int, length: int) -> bytes:
        with self._lock:
            for start, data in self._fixed.items():
                if start <= address and address + length <= start + len(data):
                    return data[address - start : address - start + length]
            words = [self._word(address + 4 * n) for n in range(length // 4)]
        return struct.pack(f">{len(words)}I", *words)

    def write(self, address: int, data: bytes) -> None:
        for start in range(0, len(data), 4):
            (value,) = struct.unpack_from(">I", data, start)
            self._set(address + start, value)

    def resend(self, block: int, first: int, last: int) -> None:
        with self._lock:
            kept, gone = self._blocks.get(block, (None, set()))
            target = self._target()
        if target is None:
            return
        for number in range(first, min(last, first + 4096) + 1):
            if kept is None or number in gone or number >= kept.packets:
                status = wire.PACKET_UNAVAILABLE
                packet = wire.stream_header(status, block, wire.PAYLOAD, number)
            else:
                packet = kept.packet(number)
            self._stream.sendto(packet, target)

    def control_changed(self, controller: Sender | None) -> None:
        with self._lock:
            self._acquiring = False
            self._session += 1
            self._registers[_STREAM_PORT] = 0
        told = None if controller is None else f"{controller[0]}:{controller[1]}"
        self._truth.write("camera", "control", by=told)

    def _judge(self, command: int) -> int | None:
        with self._lock:
            if self._faults.silent:
                return None
            if self._faults.refused > 0 and command != wire.DISCOVERY:
                self._faults.refused -= 1
                return self._faults.status
        return wire.SUCCESS

    # ---- registers

    def _bootstrap(self, serial_number: str) -> dict[int, bytes]:
        """Return what stands fast: who it is, where it is, and its description."""
        xml = description(MODEL, VENDOR, self._features)
        page = bytearray(wire.DISCOVERY_BYTES)
        ip = socket.inet_aton(self.ip_address)
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

    def _reset(self) -> None:
        with self._lock:
            self._registers = {
                0x0600: 1,  # network interfaces
                0x0900: 0,  # message channels
                0x0904: 1,  # stream channels
                0x0934: 0x0000_0007,  # packet resend, write memory, several registers at once
                wire.HEARTBEAT_TIMEOUT: 3000,
                0x093C: 0,
                0x0940: _TICKS_PER_S,
                _TIMESTAMP_CONTROL: 0,
                _TIMESTAMP: 0,
                _TIMESTAMP + 4: 0,
                _STREAM_PORT: 0,
                _PACKET: 1500 | _DO_NOT_FRAGMENT,
                _DELAY: 0,
                _STREAM_ADDRESS: 0,
                _SOURCE_PORT: self._stream.getsockname()[1],
            }
            for feature in self._features.values():
                self._registers[feature.address] = _raw(feature, feature.start)
            self._acquiring = False
            self._session += 1
            self._blocks.clear()
            self._number = 0
            self._started_s = time.monotonic()

    def _word(self, address: int) -> int:
        feature = self._at.get(address)
        if feature is not None and feature.access == "WO":
            raise Refused(wire.ACCESS_DENIED)
        if address == self._features["PayloadSize"].address:
            return self._number_of("Width") * self._number_of("Height") * self._bytes_per_pixel()
        if address not in self._registers:
            raise Refused(wire.INVALID_ADDRESS)
        return self._registers[address]

    def _number_of(self, name: str) -> int:
        return self._registers[self._features[name].address]

    def _float_of(self, name: str) -> float:
        (value,) = struct.unpack(">f", struct.pack(">I", self._number_of(name)))
        return float(value)

    def _pixel_format(self) -> str:
        code = self._number_of("PixelFormat")
        return next(name for name, known in PIXEL_FORMATS.items() if known == code)

    def _bytes_per_pixel(self) -> int:
        return 1 if self._pixel_format() == "Mono8" else 2

    def _set(self, address: int, value: int) -> None:
        with self._lock:
            feature = self._at.get(address)
            if feature is not None:
                self._set_feature(feature, value)
            elif address == _PACKET:
                self._set_packet_size(value)
            elif address == _TIMESTAMP_CONTROL:
                self._control_timestamp(value)
            elif address in _WRITABLE:
                if address == wire.HEARTBEAT_TIMEOUT:
                    value = max(value, 500)
                self._registers[address] = value & (0xFFFF if address == _STREAM_PORT else ~0)
            elif address in self._registers or any(
                start <= address < start + len(data) for start, data in self._fixed.items()
            ):
                raise Refused(wire.WRITE_PROTECT)
            else:
                raise Refused(wire.INVALID_ADDRESS)

    def _set_feature(self, feature: Feature, value: int) -> None:
        if feature.access == "RO" or (feature.still and self._acquiring):
            raise Refused(wire.WRITE_PROTECT)
        if feature.kind == "Command":
            if value:
                self._command(feature)
            return
        number: float = value
        if feature.kind == "Float":
            (number,) = struct.unpack(">f", struct.pack(">I", value))
        if not feature.takes(number):
            raise Refused(wire.INVALID_PARAMETER)
        before = self._registers[feature.address]
        # The shutter opens for whole microseconds.
        whole = feature is self._features["ExposureTime"]
        self._registers[feature.address] = _raw(feature, round(number) if whole else number)
        for offset, size, sensor in (
            ("OffsetX", "Width", "SensorWidth"),
            ("OffsetY", "Height", "SensorHeight"),
        ):
            if self._number_of(offset) + self._number_of(size) > self._number_of(sensor):
                self._registers[feature.address] = before
                raise Refused(wire.INVALID_PARAMETER)

    def _set_packet_size(self, value: int) -> None:
        size = min(max(value & 0xFFFF, SMALLEST_PACKET), LARGEST_PACKET) // 4 * 4
        self._registers[_PACKET] = size | (value & _DO_NOT_FRAGMENT)
        target = self._target()
        if value & _FIRE_TEST_PACKET and target is not None:
            header = wire.stream_header(wire.SUCCESS, 0, wire.PAYLOAD, 0)
            payload = size - wire.IP_AND_UDP_BYTES
            self._stream.sendto(header.ljust(payload, b"\xa5"), target)

    def _control_timestamp(self, value: int) -> None:
        if value & _LATCH:
            ticks = self._ticks()
            self._registers[_TIMESTAMP] = ticks >> 32
            self._registers[_TIMESTAMP + 4] = ticks & 0xFFFFFFFF
        if value & _RESET:
            self._started_s = time.monotonic()

    def _ticks(self) -> int:
        return int((time.monotonic() - self._started_s) * _TICKS_PER_S)

    def _command(self, feature: Feature) -> None:
        named = self._features
        if feature is named["AcquisitionStart"]:
            if not self._acquiring:
                self._acquiring = True
                self._session += 1
                self._number = 0
                if not self._number_of("TriggerMode"):
                    self._triggers.put(self._session)
        elif feature is named["AcquisitionStop"]:
            self._acquiring = False
            self._session += 1
        elif self._waits_for_software():
            if self._faults.skipped > 0:
                self._faults.skipped -= 1
            else:
                self._exposing = True
                self._triggers.put(self._session)

    def _waits_for_software(self) -> bool:
        """Return whether a software trigger has a frame exposed: one at a time."""
        return (
            self._acquiring
            and self._number_of("TriggerMode") == 1
            and self._number_of("TriggerSource") == 0
            and not self._exposing
        )

    def _target(self) -> Sender | None:
        port = self._registers[_STREAM_PORT]
        address = socket.inet_ntoa(struct.pack(">I", self._registers[_STREAM_ADDRESS]))
        return (address, port) if port and self._registers[_STREAM_ADDRESS] else None

    # ---- frames

    def _work(self) -> None:
        while (session := self._triggers.get()) is not None:
            try:
                self._expose(session)
            except OSError:
                continue  # nobody hears the stream
            finally:
                self._exposing = False

    def _expose(self, session: int) -> None:
        """Expose a frame and send it; without a trigger, go on until acquisition stops."""
        while True:
            with self._lock:
                if session != self._session or self._closed.is_set():
                    return
                free = not self._number_of("TriggerMode")
                period_s = 1 / self._float_of("AcquisitionFrameRate") if free else 0.0
            began = time.monotonic()
            with self._clock.exchange("camera frame"):
                block = self._frame(session)
            self._exposing = False
            if block is not None:
                self._send(block)
            with self._lock:
                if self._number_of("AcquisitionMode") == 1 and session == self._session:
                    self._acquiring = False
                    self._session += 1
            if not free or self._closed.wait(max(0.0, began + period_s - time.monotonic())):
                return

    def _frame(self, session: int) -> Block | None:
        host_time, ticks = time.time(), self._ticks()
        with self._lock:
            exposure_us, gain_db = self._float_of("ExposureTime"), self._float_of("Gain")
            left, top = self._number_of("OffsetX"), self._number_of("OffsetY")
            width, height = self._number_of("Width"), self._number_of("Height")
            pixel_format = self._pixel_format()
            packet = self._registers[_PACKET] & 0xFFFF
        lamp, laser = self._lights.lamp, self._lights.laser_mw > 0
        began = time.monotonic()
        picture, scene = self._view.frame(lamp=lamp, laser=laser)
        window = picture[top : top + height, left : left + width]
        pixels = exposed(window, exposure_us, gain_db, pixel_format, self._noise)
        self._closed.wait(max(0.0, began + exposure_us / 1e6 - time.monotonic()))
        with self._lock:
            if session != self._session:
                return None
            self._number = self._number % 0xFFFF + 1
            self._frames += 1
            block = Block(
                self._number,
                ticks,
                PIXEL_FORMATS[pixel_format],
                width,
                height,
                left,
                top,
                pixels.tobytes(),
                packet - wire.IP_AND_UDP_BYTES - wire.STREAM_HEADER_BYTES,
            )
            frames = self._frames
        self._truth.write(
            "camera",
            "frame",
            number=frames,
            cell_t=scene.cell_t,
            host_time=host_time,
            ticks=ticks,
            lamp=lamp,
            laser=laser,
            exposure_s=exposure_us / 1e6,
            gain_db=gain_db,
            **scene.told(),
        )
        return block

    def _send(self, block: Block) -> None:
        with self._lock:
            target, delay = self._target(), self._registers[_DELAY] / _TICKS_PER_S
            missing: set[int] = set()
            if self._faults.damaged > 0:
                self._faults.damaged -= 1
                inner = range(1, block.packets - 1)
                missing = set(self._random.sample(inner, min(self._faults.packets, len(inner))))
            resent = self._faults.resent
            self._blocks[block.number] = block, set() if resent else missing
            while len(self._blocks) > _KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        if target is None:
            return
        began, sent, paced = time.monotonic(), 0, _PACED_BYTES
        for number in range(block.packets):
            packet = block.packet(number)
            if number not in missing:
                self._stream.sendto(packet, target)
            sent += len(packet) + int(delay * _LINK_BYTES_PER_S)
            if sent > paced:
                # A link takes its time, and a receiver has but a small buffer.
                paced += _PACED_BYTES
                time.sleep(max(0.0, began + sent / _LINK_BYTES_PER_S - time.monotonic()))


def exposed(
    picture: npt.NDArray[np.uint8],
    exposure_us: float,
    gain_db: float,
    pixel_format: str,
    noise: np.random.Generator,
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return the pixels that a sensor of 12 bits makes of a picture.

    Args:
        picture: grey values as at 5 ms and 0 dB.
        exposure_us: light above the dark level grows with it, up to saturation,
        gain_db: and with this.
        pixel_format: ``Mono8``, ``Mono12`` (in 16 bits), or ``Mono16`` (its low 4 bits are 0).
        noise: of the bits below those of the picture.
    """
    scale = exposure_us / REFERENCE_EXPOSURE_US * 10 ** (gain_db / 20)
    if pixel_format == "Mono8" and scale == 1.0:
        return picture
    grey = picture.astype(np.float32)
    if pixel_format != "Mono8":
        grey += noise.random(picture.shape, dtype=np.float32)
    counts = (_DARK_GREY + (grey - _DARK_GREY) * scale) * 2 ** (_SENSOR_BITS - 8)
    full = np.clip(counts, 0, 2**_SENSOR_BITS - 1).astype(np.uint16)
    if pixel_format == "Mono8":
        return (full >> _SENSOR_BITS - 8).astype(np.uint8)
    return full << np.uint16(_BITS[pixel_format] - _SENSOR_BITS)


def _raw(feature: Feature, value: float) -> int:
    if feature.kind != "Float":
        return int(value)
    (raw,) = struct.unpack(">I", struct.pack(">f", value))
    return int(raw)
