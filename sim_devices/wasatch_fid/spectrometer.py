"""The spectrometer's language: vendor requests of ENG-0001 on the control endpoint.

The laser is what matters most. Its enable register stays as it is when the computer goes away; what
shines is the register and the closed interlock, at the duty cycle of the modulation. Values of the
cooler are plausible, not measured.
"""

from __future__ import annotations

import math
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from sim_devices.clock import SimulatedClock
from sim_devices.lights import Lights
from sim_devices.spectrum import Light
from sim_devices.truth import Truth
from sim_devices.wasatch_fid.eeprom import PAGES, Calibration
from sim_devices.wasatch_fid.usb_server import NO_DEVICE, STALL, TIMED_OUT, UsbServer, UsbStatus
from sim_devices.wire_faults import WIRE_FAULTS, FaultsOf, WireFaults

VENDOR_ID, PRODUCT_ID = 0x24AA, 0x1000
ENDPOINTS = (0x82, 0x86)  # the lower and the upper half of the pixels
_FIRMWARE = (10, 0, 0, 12)
_FPGA = b"027-012"
_ROOM_C = 25.0
# What its two converters read, chosen: the laser's thermistor (10 kohm) at 25 C, and a photodiode
# that is at the end of its range when the laser shines at full power.
_LASER_THERMISTOR_RAW, _PHOTODIODE_FULL_RAW = 1302, 0xFFF
_COOLER_S = 15.0  # time constant of the detector's temperature
_SECOND_TIER = 0xFF
_MICROSECONDS_40_BIT = 5
_IMPOSSIBLE_RAW = 0xFFFF
_CRC = "USB checks every packet, and repeats it: nothing damaged arrives"

FAULTS = FaultsOf(
    "a Wasatch spectrometer",
    {
        **{name: WIRE_FAULTS[name] for name in ("resume", "split", "slow", "disconnect")},
        "stall": "answers no transfer for `seconds` (without: until `resume`): each times out",
        "drop-bytes": "ends the next `count` (1) blocks of pixels `bytes` (1) bytes too early",
        "drop": "the next `count` (1) spectra never come",
        "refuse": "refuses the next `count` (1) requests: the endpoint stalls",
        "power-cycle": "is off the bus for `seconds` (0): laser off, settings those of the start",
        "out-of-range": "tells the next `count` (1) temperatures of its detector as `value` "
        "(65535), of a converter that has 12 bits",
        "no-spectra": "takes spectra that never arrive, until `power-cycle`; all else works",
        "open-interlock": "opens the laser's interlock",
        "close-interlock": "and closes it",
        "laser-refuses": "its laser's enable register cannot be set any more",
        "garble-eeprom": "its calibration memory holds something else",
        "unplug": "is gone for good",
    },
    {
        "garble": _CRC,
        "garble-in": _CRC,
        "wrong-checksum": _CRC,
        "merge": "one transfer, one answer, in turn: there is nothing that it could come with",
        "clock-jump": "it has no clock",
    },
)

Setter = Callable[[int, int, bytes], None]
Getter = Callable[[int], bytes]


class WasatchSpectrometer:
    """A 532 nm spectrometer of the X series, listening at `address`.

    An integration takes its time on the cell's clock, which is held at factor 1 for it; so is it
    while the laser shines.
    """

    def __init__(
        self,
        scene: Light,
        clock: SimulatedClock,
        lights: Lights,
        *,
        truth: Truth | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Power the spectrometer, laser off, interlock closed.

        Args:
            scene: the light on the detector.
            clock: cell time.
            lights: told of the laser, asked for the lamp.
            truth: is told of every change of the laser and of every integration.
            calibration: what the maker stored.
        """
        self.calibration = calibration or Calibration()
        self._scene = scene
        self._clock = clock
        self._lights = lights
        self._truth = truth
        self._lock = threading.RLock()
        self._axis = self.calibration.wavenumber_cm1()
        self._pages = self.calibration.pages()
        self._integration_ms = self.calibration.start_integration_ms
        self._gain_raw = self._offset_raw = self._converter = 0
        self._external_trigger = False
        self._laser_enabled = False
        self._modulated = False
        self._period_us, self._width_us = 100, 100
        self._interlock_closed = True
        self._laser_refuses = False
        self._silent = False
        self._visits = 0  # to the bus
        self.broken = WireFaults(FAULTS)
        self._exposure_mj, self._power_mw, self._since = 0.0, 0.0, clock.now()
        self._cooler_on = False
        self._cooler_dac = 0
        self._detector_c, self._detector_at = _ROOM_C, clock.now()
        self._pixels: dict[int, deque[bytes]] = {endpoint: deque() for endpoint in ENDPOINTS}
        self._arrived = threading.Condition(self._lock)
        self._acquisitions: SimpleQueue[bool] = SimpleQueue()
        self._number = 0
        self._closed = False
        self._setters = self._make_setters()
        self._getters = self._make_getters()
        self._detector = threading.Thread(target=self._expose, name="wasatch-detector", daemon=True)
        self._detector.start()
        self._server = UsbServer(self, self.broken)
        self.address = self._server.address

    def close(self) -> None:
        """Take the power away: the laser is off, the connections break; idempotent."""
        with self._lock:
            self._closed = True
            self._laser_enabled = False
            self._apply_laser()
        self._acquisitions.put(False)
        self._clock.wake()
        self._server.close()
        self._detector.join(5.0)

    @property
    def laser_mw(self) -> float:
        """Power that shines at this moment, mW."""
        return self._power_mw

    def inject(self, fault: str, **options: object) -> None:
        """Break something of `FAULTS`.

        Raises:
            ValueError: there is no such fault, it cannot happen, or an option is no number.
        """
        if fault == "power-cycle":
            options = {"seconds": 0.0, **options}
        self.broken.take(fault, options)
        with self._lock:
            match fault:
                case "open-interlock" | "close-interlock":
                    self._interlock_closed = fault == "close-interlock"
                case "laser-refuses":
                    self._laser_refuses, self._laser_enabled = True, False
                case "garble-eeprom":
                    self._pages = [bytes((7 * i * i + 13) % 251 for i in range(64))] * PAGES
                case "no-spectra":
                    self._silent = True
                case "power-cycle":
                    self._laser_enabled = self._modulated = self._cooler_on = False
                    self._external_trigger = self._silent = False
                    self._integration_ms = self.calibration.start_integration_ms
                    self.reset()
            self._apply_laser()
            if fault in ("power-cycle", "disconnect"):
                self._visits += 1
                self._arrived.notify_all()
        if fault == "unplug":
            self._server.close()
        elif fault in ("power-cycle", "disconnect"):
            self._server.disconnect()

    # ---- what the server asks for

    def control(
        self, request_type: int, request: int, value: int, index: int, length: int, data: bytes
    ) -> bytes:
        """Perform a control transfer; what is not in the manual stalls."""
        del length
        with self._lock:
            if self._closed:
                raise UsbStatus(NO_DEVICE)
            if self.broken.due("refuse"):
                raise UsbStatus(STALL)
            if request_type in (0x00, 0x80):
                return self._standard(request_type, request, value)
            second_tier = request == _SECOND_TIER
            code = (request, value) if second_tier else (request,)
            if request_type == 0x40 and code in self._setters:
                self._setters[code](value, index, data)
                return b""
            if request_type == 0xC0 and code in self._getters:
                return self._getters[code](index)
        raise UsbStatus(STALL)

    def bulk_in(self, endpoint: int, length: int, timeout_s: float) -> bytes:
        """Return the next block of an endpoint."""
        if endpoint not in self._pixels:
            raise UsbStatus(STALL)
        with self._arrived:
            blocks, visit = self._pixels[endpoint], self._visits

            def gone() -> bool:
                return self._closed or visit != self._visits

            if not self._arrived.wait_for(lambda: blocks or gone(), timeout_s):
                raise UsbStatus(TIMED_OUT)
            if gone():
                raise UsbStatus(NO_DEVICE)
            block = blocks.popleft()
            if len(block) > length:
                blocks.appendleft(block[length:])
            return block[:length]

    def reset(self) -> None:
        """Forget what nobody fetched; a bus reset does not touch the laser."""
        with self._lock:
            self._number += 1
            for blocks in self._pixels.values():
                blocks.clear()

    # ---- requests

    def _standard(self, request_type: int, request: int, value: int) -> bytes:
        """Answer the requests that every USB device knows (USB 2.0, section 9.4)."""
        if (request_type, request) == (0x00, 0x09):  # SET_CONFIGURATION
            return b""
        kind, index = divmod(value, 256)
        if (request_type, request) != (0x80, 0x06) or index:
            raise UsbStatus(STALL)
        if kind == 1:
            return struct.pack(
                "<BBHBBBBHHHBBBB",
                *(18, 1, 0x200, 0xFF, 0, 0, 64, VENDOR_ID, PRODUCT_ID, 0x100, 0, 0, 0, 1),
            )
        if kind == 2:
            endpoints = [struct.pack("<BBBBHB", 7, 5, number, 2, 512, 0) for number in ENDPOINTS]
            total = 9 + 9 + sum(map(len, endpoints))
            return (
                struct.pack("<BBHBBBBB", 9, 2, total, 1, 1, 0, 0x80, 250)
                + struct.pack("<BBBBBBBBB", 9, 4, 0, 0, len(endpoints), 0xFF, 0, 0, 0)
                + b"".join(endpoints)
            )
        raise UsbStatus(STALL)  # it has no strings

    def _make_setters(self) -> dict[tuple[int, ...], Setter]:
        return {
            (0xAD,): self._acquire,
            (0xB2,): self._set_integration_time,
            (0xB6,): lambda value, index, data: setattr(self, "_offset_raw", value),
            (0xB7,): lambda value, index, data: setattr(self, "_gain_raw", value),
            (0xBD,): self._set_modulation,
            (0xBE,): self._set_laser,
            (0xC7,): self._set_period,
            (0xD2,): lambda value, index, data: setattr(self, "_external_trigger", bool(value)),
            (0xD6,): self._set_cooler,
            (0xD8,): self._set_cooler_dac,
            (0xDB,): self._set_width,
            (0xED,): lambda value, index, data: setattr(self, "_converter", value & 1),
        }

    def _make_getters(self) -> dict[tuple[int, ...], Getter]:
        return {
            (0xB4,): lambda index: _FPGA,
            (0xBF,): lambda index: self._integration_ms.to_bytes(3, "little"),
            (0xC0,): lambda index: bytes(reversed(_FIRMWARE)),
            (0xC5,): lambda index: self._gain_raw.to_bytes(2, "little"),
            (0xCB,): lambda index: self._period_us.to_bytes(_MICROSECONDS_40_BIT, "little"),
            (0xD5,): lambda index: self._converted().to_bytes(2, "little"),
            (0xD7,): lambda index: self._temperature_told().to_bytes(2, "big"),
            (0xD9,): lambda index: self._cooler_dac.to_bytes(2, "little"),
            (0xDA,): lambda index: bytes([self._cooler_on]),
            (0xDC,): lambda index: self._width_us.to_bytes(_MICROSECONDS_40_BIT, "little"),
            (0xE2,): lambda index: bytes([self._laser_enabled]),
            (0xE3,): lambda index: bytes([self._modulated]),
            (0xEE,): lambda index: bytes([self._converter]),
            (0xEF,): lambda index: bytes([self._interlock_closed]),
            (_SECOND_TIER, 0x01): self._page,
            (_SECOND_TIER, 0x04): lambda index: bytes(3),  # FPGA built without options
            (_SECOND_TIER, 0x08): lambda index: b"\x01",  # there is a laser
            (_SECOND_TIER, 0x0D): lambda index: bytes([self._power_mw > 0]),
        }

    def _page(self, index: int) -> bytes:
        if index >= PAGES:
            raise UsbStatus(STALL)
        return self._pages[index]

    def _set_integration_time(self, value: int, index: int, data: bytes) -> None:
        self._integration_ms = max(value | (index & 0xFF) << 16, 1)

    def _set_modulation(self, value: int, index: int, data: bytes) -> None:
        self._modulated = bool(value)
        self._apply_laser()

    def _set_period(self, value: int, index: int, data: bytes) -> None:
        self._period_us = _microseconds(value, index, data)
        self._apply_laser()

    def _set_width(self, value: int, index: int, data: bytes) -> None:
        self._width_us = _microseconds(value, index, data)
        self._apply_laser()

    def _set_laser(self, value: int, index: int, data: bytes) -> None:
        self._laser_enabled = bool(value) and not self._laser_refuses
        self._apply_laser()

    def _set_cooler(self, value: int, index: int, data: bytes) -> None:
        self._temperature_raw()
        self._cooler_on = bool(value)

    def _set_cooler_dac(self, value: int, index: int, data: bytes) -> None:
        self._temperature_raw()
        self._cooler_dac = value & 0xFFF

    # ---- the laser

    def _apply_laser(self) -> None:
        """Let the laser shine as its registers, its modulation and the interlock say."""
        duty = min(self._width_us / max(self._period_us, 1), 1.0) if self._modulated else 1.0
        on = self._laser_enabled and self._interlock_closed
        power_mw = self.calibration.laser_full_mw * duty if on else 0.0
        if power_mw == self._power_mw:
            return
        self._exposure_until_now()
        self._power_mw = power_mw
        self._lights.laser_mw = power_mw
        if self._truth is not None:
            self._truth.write("raman", "laser", cell_t_s=self._since, power_mw=power_mw)

    def _exposure_until_now(self) -> float:
        """Return the laser's energy since the start, mJ."""
        now = self._clock.now()
        self._exposure_mj += self._power_mw * (now - self._since)
        self._since = now
        return self._exposure_mj

    def _converted(self) -> int:
        """Return what the selected converter reads: thermistor or photodiode."""
        if not self._converter:
            return _LASER_THERMISTOR_RAW
        return round(_PHOTODIODE_FULL_RAW * self._power_mw / self.calibration.laser_full_mw)

    # ---- the detector

    def _temperature_raw(self) -> int:
        """Let the detector relax to its cooler's temperature; return the sensor's reading."""
        now = self._clock.now()
        c0, c1, _ = self.calibration.dac_of_temperature
        goal = (self._cooler_dac - c0) / c1 if self._cooler_on else _ROOM_C
        kept = math.exp(-(now - self._detector_at) / _COOLER_S)
        self._detector_c, self._detector_at = goal + (self._detector_c - goal) * kept, now
        a0, a1, _ = self.calibration.temperature_of_adc
        return max(0, min(round((self._detector_c - a0) / a1), 0xFFF))

    def _temperature_told(self) -> int:
        return int(self.broken.told(self._temperature_raw(), _IMPOSSIBLE_RAW)) & 0xFFFF

    def _acquire(self, value: int, index: int, data: bytes) -> None:
        if not self._external_trigger:  # else it waits for an edge, and nobody is wired to it
            self._acquisitions.put(True)

    def _expose(self) -> None:
        while self._acquisitions.get():
            with self._clock.exchange("raman integration"):
                self._integrate()

    def _integrate(self) -> None:
        with self._lock:
            number = self._number
            integration_s = self._integration_ms / 1e3
            energy_mj, started, lamp = self._exposure_until_now(), self._since, self._lights.lamp
        if not self._clock.follow_until(started + integration_s, unless=lambda: self._closed):
            return
        with self._lock:
            energy_mj, ended = self._exposure_until_now() - energy_mj, self._since
            lamp = lamp or self._lights.lamp
            power_mw = energy_mj / (ended - started)
        counts = self._scene.counts(self._axis, power_mw, integration_s, lamp=lamp)
        data = counts.astype("<u2").tobytes()
        half = len(data) // len(ENDPOINTS)
        # Before anybody can have the spectrum: who has it finds it in the truth.
        if self._truth is not None:
            self._truth.write(
                "raman",
                "spectrum",
                cell_t_s=started,
                integration_s=integration_s,
                laser_mj=energy_mj,
                lamp=lamp,
                crc32=zlib.crc32(data),
            )
        with self._arrived:
            lost = self._silent or self.broken.due("drop")
            if number == self._number and not lost and not self._closed:
                for i, blocks in enumerate(self._pixels.values()):
                    early = 0
                    if self.broken.due("drop-bytes"):
                        early = int(self.broken.option("drop-bytes", "bytes", 1))
                    blocks.append(data[i * half : (i + 1) * half - early])
                self._arrived.notify_all()


def _microseconds(value: int, index: int, data: bytes) -> int:
    return value | index << 16 | (data[0] if data else 0) << 32
