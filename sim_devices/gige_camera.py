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
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim_devices import gige_vision as wire
from sim_devices.clock import SimulatedClock
from sim_devices.genicam import PIXEL_FORMATS
from sim_devices.gige_registers import CameraRegisters
from sim_devices.gige_vision import Block, ControlChannel, Sender
from sim_devices.lights import Lights
from sim_devices.micrograph import BARE_COLUMNS, View
from sim_devices.truth import Truth
from sim_devices.wire_faults import WIRE_FAULTS, FaultsOf, WireFaults, number_of

# At which the view's brightness is as it draws it.
REFERENCE_EXPOSURE_US = 5000.0
_DARK_GREY = 4.0
_BITS = {"Mono8": 8, "Mono12": 12, "Mono16": 16}
_SENSOR_BITS = 12
_LINK_BYTES_PER_S = 125e6  # a gigabit
_PACED_BYTES = 65536
_KEPT_BLOCKS = 4  # for packets that are asked for again
_IMPOSSIBLE_ROWS = 65536
_WHOLE = "a datagram comes as it was sent, or not at all"

FAULTS = FaultsOf(
    "a GigE camera",
    {
        "stall": "answers nothing that it is asked in `seconds` (without: until `resume`); frames "
        "wait",
        "resume": WIRE_FAULTS["resume"],
        "drop": "of the next `count` (1) frames `packets` (3) packets are lost on their way; they "
        "may be asked for again",
        "lose": "the same, and the camera has them no more",
        "skip": "the next `count` (1) triggers give no frame",
        "stray": "before each of the next `count` (1) frames comes what is no packet of one",
        "refuse": "answers the next `count` (1) requests with `status` (0x8007, busy)",
        "steal": "another program takes control",
        "disconnect": "is deaf and silent for `seconds` (1), and in nobody's control then",
        "power-cycle": "has no power for `seconds` (0): its registers are those of the start",
        "clock-jump": "sets its time forward by `seconds` (60), back if negative",
        "slow": "answers each request `delay_s` (0.5) late for `seconds` (without: until `resume`)",
        "out-of-range": "sends the next `count` (1) frames as `value` (65536) pixels high, which "
        "its sensor is not",
    },
    {
        "garble": f"{_WHOLE}: UDP has a checksum",
        "garble-in": f"{_WHOLE}: UDP has a checksum",
        "wrong-checksum": "its language has none",
        "drop-bytes": _WHOLE,
        "split": _WHOLE,
        "merge": _WHOLE,
    },
)


@dataclass
class _Faults:
    """What is broken: how many of the next, and how."""

    skipped: int = 0
    damaged: int = 0
    stray: int = 0
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
        self._channel = ControlChannel(self)
        self.ip_address = self._channel.address
        self.address = f"aravis://{self.ip_address}"
        self._faults = _Faults()
        self.broken = WireFaults(FAULTS)
        self._blocks: dict[int, tuple[Block, set[int]]] = {}
        self._number = self._frames = 0
        self._exposing = False
        self._triggers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._session = 0
        self._closed = threading.Event()
        self._stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stream.bind((self.ip_address, 0))
        self._registers = CameraRegisters(
            self.ip_address,
            serial_number,
            (columns // 4 * 4, rows // 4 * 4),
            source_port=self._stream.getsockname()[1],
            command=self._command,
            fire_test_packet=self._fire_test_packet,
        )
        self._lock = self._registers.lock  # of blocks and faults, too
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
        """Break something of `FAULTS`.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        if fault == "power-cycle":
            options = {"seconds": 0.0, **options}
        self.broken.take(fault, options)
        count = int(number_of(options, "count", 1))
        with self._lock:
            match fault:
                case "drop" | "lose":
                    self._faults.damaged, self._faults.resent = count, fault == "drop"
                    self._faults.packets = int(number_of(options, "packets", 3))
                case "skip":
                    self._faults.skipped = count
                case "stray":
                    self._faults.stray = count
                case "resume":
                    self._faults = _Faults()
                case "clock-jump":
                    self._registers.set_time_forward(number_of(options, "seconds", 60.0))
        if fault == "steal":
            self._channel.release(wire.CONTROL, ("192.0.2.1", 1))
        elif fault in ("power-cycle", "disconnect"):
            self._channel.release()
        if fault == "power-cycle":
            with self._lock:
                self._registers.reset()
                self._blocks.clear()

    def close(self) -> None:
        """Switch it off; may be called twice."""
        self._closed.set()
        self.broken.stop()
        self._triggers.put(None)
        self._channel.close()
        self._thread.join()
        self._stream.close()

    # ---- what the control channel asks

    def read(self, address: int, length: int) -> bytes:
        return self._registers.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        self._registers.write(address, data)

    def resend(self, block: int, first: int, last: int) -> None:
        with self._lock:
            kept, gone = self._blocks.get(block, (None, set()))
            target = self._registers.target()
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
            self._registers.acquiring = False
            self._session += 1
            self._registers.close_stream()
        told = None if controller is None else f"{controller[0]}:{controller[1]}"
        self._truth.write("camera", "control", by=told)

    def _judge(self, command: int) -> int | None:
        if self.broken.silent_s() or not self.broken.pause(self.broken.ready_at()):
            return None
        if command != wire.DISCOVERY and self.broken.due("refuse"):
            return int(self.broken.option("refuse", "status", wire.BUSY))
        return wire.SUCCESS

    # ---- acquisition

    def _command(self, name: str) -> None:
        if name == "AcquisitionStart":
            if not self._registers.acquiring:
                self._registers.acquiring = True
                self._session += 1
                self._number = 0
                if not self._registers.number("TriggerMode"):
                    self._triggers.put(self._session)
        elif name == "AcquisitionStop":
            self._registers.acquiring = False
            self._session += 1
        elif self._waits_for_software():
            if self._faults.skipped > 0:
                self._faults.skipped -= 1
            else:
                self._exposing = True
                self._triggers.put(self._session)

    def _fire_test_packet(self, size: int) -> None:
        target = self._registers.target()
        if target is not None:
            header = wire.stream_header(wire.SUCCESS, 0, wire.PAYLOAD, 0)
            self._stream.sendto(header.ljust(size - wire.IP_AND_UDP_BYTES, b"\xa5"), target)

    def _waits_for_software(self) -> bool:
        """Return whether a software trigger has a frame exposed: one at a time."""
        return (
            self._registers.acquiring
            and self._registers.number("TriggerMode") == 1
            and self._registers.number("TriggerSource") == 0
            and not self._exposing
        )

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
                free = not self._registers.number("TriggerMode")
                period_s = 1 / self._registers.real("AcquisitionFrameRate") if free else 0.0
            began = time.monotonic()
            with self._clock.exchange("camera frame"):
                block = self._frame(session)
            self._exposing = False
            if block is not None:
                self._send(block)
            with self._lock:
                if self._registers.number("AcquisitionMode") == 1 and session == self._session:
                    self._registers.acquiring = False
                    self._session += 1
            if not free or self._closed.wait(max(0.0, began + period_s - time.monotonic())):
                return

    def _frame(self, session: int) -> Block | None:
        host_time, ticks = time.time(), self._registers.ticks()
        with self._lock:
            exposure_us, gain_db = (
                self._registers.real("ExposureTime"),
                self._registers.real("Gain"),
            )
            left, top = self._registers.number("OffsetX"), self._registers.number("OffsetY")
            width, height = self._registers.number("Width"), self._registers.number("Height")
            pixel_format = self._registers.pixel_format()
            packet = self._registers.packet_bytes
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
                int(self.broken.told(height, _IMPOSSIBLE_ROWS)),
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
            crc32=zlib.crc32(pixels.tobytes()),
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
            target, delay = self._registers.target(), self._registers.packet_delay_s
            missing: set[int] = set()
            if self._faults.damaged > 0:
                self._faults.damaged -= 1
                inner = range(1, block.packets - 1)
                missing = set(self._random.sample(inner, min(self._faults.packets, len(inner))))
            resent = self._faults.resent
            stray, self._faults.stray = self._faults.stray > 0, max(0, self._faults.stray - 1)
            self._blocks[block.number] = block, set() if resent else missing
            while len(self._blocks) > _KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        away = self.broken.off_s() > 0
        if away or not self.broken.pause(time.monotonic()) or target is None:
            return
        if stray:
            # An answer of the control channel, as one sees it who has taken over its port.
            self._stream.sendto(struct.pack(">HHHHI", 0, 0x0085, 4, 1, 0), target)
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
        # In steps of the sensor: a share that is rounded up would be another grey level.
        below = 2 ** (_SENSOR_BITS - 8)
        grey += noise.integers(0, below, picture.shape, np.uint8) / np.float32(below)
    counts = (_DARK_GREY + (grey - _DARK_GREY) * scale) * 2 ** (_SENSOR_BITS - 8)
    full = np.clip(counts, 0, 2**_SENSOR_BITS - 1).astype(np.uint16)
    if pixel_format == "Mono8":
        return (full >> _SENSOR_BITS - 8).astype(np.uint8)
    return full << np.uint16(_BITS[pixel_format] - _SENSOR_BITS)
