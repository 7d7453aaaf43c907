"""The side of a GenICam camera that runs in the child process: the only user of libaravis."""

import time
from collections.abc import Mapping, Sequence
from ctypes import c_int
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.camera._frame_file import FrameFile
from instruments.camera._libaravis import CLEARED, CONTINUOUS, OFF, STATUSES, Aravis, AravisError
from instruments.camera.contract import BITS_OF, DeviceTimeSource, pixel_dtype
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    TransportError,
    TransportTimeout,
    UnsupportedTechniqueError,
)

SCHEME = "aravis://"
BUFFERS = 4
# Of the stream of a GigE camera: frames come one at a time, so packets can be waited for (us), and
# any share of a frame may be asked for again.
STREAM_PROPERTIES: Mapping[str, float] = {"frame-retention": 1_000_000, "packet-request-ratio": 1.0}
# A camera rounds an exposure to its own grid: a line takes 10 to 30 us.
EXPOSURE_SHARE, EXPOSURE_STEP_S = 0.02, 50e-6
_LOOPBACK = "127."
# GigE Vision's usual heartbeat; a camera is free again so long after who controlled it has died.
HEARTBEAT_S, CONTROL_POLL_S = 3.5, 0.25


def serve(arguments: dict[str, Any]) -> "AravisProcess":
    """Return the object whose methods the parent calls; opens nothing yet."""
    return AravisProcess(arguments["address"], arguments["gain"], arguments["region"])


class AravisProcess:
    """One camera held open, and the file its frames go to."""

    def __init__(self, address: str, gain: float | None, region: Sequence[int] | None) -> None:
        self._who = f"camera {address}"
        self._address = address
        if not address.startswith(SCHEME):
            raise TransportError(
                f"{self._who}: not an address of a GenICam camera; aravis://192.168.1.20, "
                "aravis://SERIAL and aravis:// are"
            )
        self._name = address.removeprefix(SCHEME).strip("/")
        self._gain, self._region = gain, region
        self._library: Aravis | None = None
        self._camera: int | None = None
        self._stream: int | None = None
        self._running = False
        self._has_clock = False
        self._settings: dict[str, Any] = {}
        self._frames = 0
        self._failed = 0
        self._file = FrameFile(self._who)

    # -- opening

    def connect(self) -> dict[str, str]:
        """Open the camera, take control of it, and return its identity."""
        try:
            self._library = arv = Aravis()
        except TransportError as error:
            raise TransportError(f"{self._who}: {error}") from error
        found = self._find(arv)
        try:
            self._camera = camera = int(arv("camera_new", found.encode()))
        except AravisError as error:
            raise TransportError(
                f"{self._who}: cannot be opened: {error}. Check cable, power and IP address; it "
                "must be in the subnet of one of this computer's interfaces"
            ) from error
        self._take_control(arv, camera)
        try:
            self._set_up(arv, camera)
            return {
                "model": " ".join(
                    arv.text(f"camera_get_{name}_name", camera) for name in ("vendor", "model")
                ),
                "serial_number": self._serial_number(arv, camera),
                "sdk_version": f"Aravis {arv.version}",
                "address": self._address,
            }
        except AravisError as error:
            raise self._told(error, "be set up") from error

    def _find(self, arv: Aravis) -> str:
        """Return the name by which the library opens the camera that the address names."""
        if self._name and self._name.replace(".", "").isdigit() and self._name.count(".") == 3:
            return self._name  # an IP address is asked directly
        arv("update_device_list")
        named = {}
        for number in range(arv("get_n_devices")):
            known = {arv.text(f"get_device_{what}", number) for what in ("id", "serial_nbr")}
            address = arv.text("get_device_address", number)
            if self._name in known or not (self._name or address.startswith(_LOOPBACK)):
                named[arv.text("get_device_id", number)] = address
        if len(named) == 1:
            return next(iter(named))
        if named:
            told = ", ".join(f"{name} at {address}" for name, address in named.items())
            raise TransportError(f"{self._who}: which one? There are {told}; name one of them")
        others = [arv.text("get_device_id", number) for number in range(arv("get_n_devices"))]
        raise TransportError(
            f"{self._who}: not found; cameras found: {others or 'none'}. Check cable and power; a "
            "GigE camera must be in the subnet of one of this computer's interfaces, and a "
            "firewall lets nothing through to it; a USB camera needs a udev rule"
        )

    def _take_control(self, arv: Aravis, camera: int) -> None:
        """Take control, waiting until the heartbeat of a program that was killed has ended."""
        until = time.monotonic() + HEARTBEAT_S
        while not self._in_control() and time.monotonic() < until:
            time.sleep(CONTROL_POLL_S)
            try:
                arv("gv_device_take_control", arv("camera_get_device", camera))
            except AravisError:
                continue  # somebody still has it
        self._require_control("open")

    @staticmethod
    def _serial_number(arv: Aravis, camera: int) -> str:
        try:
            return arv.text("camera_get_device_serial_number", camera)
        except AravisError:
            return ""  # not every model tells one

    def _set_up(self, arv: Aravis, camera: int) -> None:
        if not arv("camera_is_software_trigger_supported", camera):
            raise UnsupportedTechniqueError(
                f"{self._who}: it has no software trigger (TriggerSoftware), by which frames are "
                "exposed here"
            )
        arv("camera_set_acquisition_mode", camera, CONTINUOUS)
        arv("camera_set_trigger", camera, b"Software")
        if arv("camera_is_exposure_auto_available", camera):
            arv("camera_set_exposure_time_auto", camera, OFF)
        if arv("camera_is_gain_auto_available", camera):
            arv("camera_set_gain_auto", camera, OFF)
        self._set_gain(arv, camera)
        self._set_region(arv, camera)
        if arv("camera_is_gv_device", camera):
            # The largest that reaches this computer: fewer are lost than of small ones.
            arv("camera_gv_auto_packet_size", camera)
            device = arv("camera_get_device", camera)
            self._has_clock = arv("gv_device_get_timestamp_tick_frequency", device) > 0
        else:
            self._has_clock = True  # of USB3 Vision the unit is a nanosecond

    def _set_gain(self, arv: Aravis, camera: int) -> None:
        if self._gain is None:
            return
        if not arv("camera_is_gain_available", camera):
            raise InstrumentFaultError(
                f"{self._who}: a gain of {self._gain:g} was asked for; it has none that can be set"
            )
        low, high = arv.pair("camera_get_gain_bounds", camera)
        if not low <= self._gain <= high:
            raise InstrumentFaultError(
                f"{self._who}: a gain of {self._gain:g} was asked for; it has {low:g} to {high:g}"
            )
        arv("camera_set_gain", camera, self._gain)
        # Steps of a gain are small beside its range, whatever they are.
        self._require_near("a gain", self._gain, self._read_gain(), 0.02 * (high - low), "")

    def _set_region(self, arv: Aravis, camera: int) -> None:
        if self._region is None:
            arv("camera_set_region", camera, 0, 0, -1, -1)  # the size can be largest from there
            width, height = (
                arv.pair(f"camera_get_{size}_bounds", camera, c_int)[1]
                for size in ("width", "height")
            )
            arv("camera_set_region", camera, 0, 0, width, height)
            return
        sensor = arv.pair("camera_get_sensor_size", camera, c_int)
        left, top, width, height = wanted = tuple(self._region)
        if min(wanted) < 0 or left + width > sensor[0] or top + height > sensor[1]:
            raise InstrumentFaultError(
                f"{self._who}: {width} x {height} pixels from column {left} and row {top} were "
                f"asked for; its sensor has {sensor[0]} x {sensor[1]}"
            )
        try:
            arv("camera_set_region", camera, *wanted)
            told = list(arv.region(camera))
        except AravisError as error:
            raise InstrumentFaultError(
                f"{self._who}: the region {list(wanted)} was asked for, Aravis says: {error}; take "
                "one on the camera's grid"
            ) from error
        if told != list(wanted):
            raise InstrumentFaultError(
                f"{self._who}: the region {list(wanted)} was asked for; it says {told}: take one "
                "on its grid"
            )

    # -- settings

    def configure(self, exposure_time_s: float, pixel_format: str) -> dict[str, Any]:
        """Set, read back, and return what the camera says."""
        arv, camera = self._opened()
        if self._file.is_open and pixel_format != self._settings.get("pixel_format"):
            raise InstrumentFaultError(
                f"{self._who}: pixel format {pixel_format} was asked for while frames of another "
                "are recorded; stop recording first"
            )
        try:
            self._stop()
            self._set_pixel_format(arv, camera, pixel_format)
            told_s = self._set_exposure(arv, camera, exposure_time_s)
            left, top, width, height = arv.region(camera)
            self._settings = {
                "exposure_time_s": told_s,
                "pixel_format": pixel_format,
                "image_shape": [height, width],
                "offset_px": [left, top],
                "gain": self._read_gain(),
            }
            return dict(self._settings)
        except AravisError as error:
            raise self._told(error, f"expose for {exposure_time_s} s") from error

    def _set_pixel_format(self, arv: Aravis, camera: int, pixel_format: str) -> None:
        there = arv.pixel_formats(camera)
        if pixel_format not in there or pixel_format not in BITS_OF:
            recorded = [name for name in there if name in BITS_OF]
            raise InstrumentFaultError(
                f"{self._who}: pixel format {pixel_format!r} was asked for; it has {there}, of "
                f"which {recorded or 'none'} can be recorded here"
            )
        arv("camera_set_pixel_format_from_string", camera, pixel_format.encode())
        told = arv.text("camera_get_pixel_format_as_string", camera)
        if told != pixel_format:
            raise InstrumentFaultError(
                f"{self._who}: pixel format {pixel_format} was asked for; it says {told}"
            )

    def _set_exposure(self, arv: Aravis, camera: int, exposure_time_s: float) -> float:
        low_us, high_us = arv.pair("camera_get_exposure_time_bounds", camera)
        if not low_us <= exposure_time_s * 1e6 <= high_us:
            raise InstrumentFaultError(
                f"{self._who}: exposure time {exposure_time_s} s asked for; the camera has "
                f"{low_us * 1e-6:g} to {high_us * 1e-6:g} s"
            )
        arv("camera_set_exposure_time", camera, exposure_time_s * 1e6)
        told_s = float(arv("camera_get_exposure_time", camera)) * 1e-6
        tolerance_s = EXPOSURE_SHARE * exposure_time_s + EXPOSURE_STEP_S
        self._require_near("an exposure time", exposure_time_s, told_s, tolerance_s, " s")
        return told_s

    def _read_gain(self) -> float | None:
        arv, camera = self._opened()
        if not arv("camera_is_gain_available", camera):
            return None
        return float(arv("camera_get_gain", camera))

    def _require_near(
        self, what: str, wanted: float, told: float | None, tolerance: float, unit: str
    ) -> None:
        if told is None or abs(told - wanted) > tolerance:
            raise InstrumentFaultError(
                f"{self._who}: {what} of {wanted:g}{unit} was asked for; it says {told}{unit}"
            )

    # -- frames

    def grab(self, exposed_after_s: float | None, timeout_s: float) -> dict[str, Any]:
        """Expose one frame and return it."""
        image, exposure = self._expose(timeout_s)
        return {"image": image, **exposure}

    def record(self, exposed_after_s: float | None, timeout_s: float) -> dict[str, Any]:
        """Expose one frame, append it, and return its index with all but the pixels."""
        self._file.require()
        image, exposure = self._expose(timeout_s)
        return {"index": self._file.append(image, exposure), **exposure}

    def record_to(self, path: str, attributes: Mapping[str, Mapping[str, Any]]) -> None:
        """Create the file that ``record`` appends to."""
        self._opened()
        height, width = self._settings["image_shape"]
        self._file.create(path, (height, width), self._settings["pixel_format"], attributes)

    def stop_recording(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def failed_buffers(self) -> int:
        """Return how many frames arrived damaged, or not at all."""
        return self._failed

    def safe_state(self) -> None:
        """Close the file; a camera can hurt nobody."""
        self.stop_recording()

    def close(self) -> None:
        """Release the camera; idempotent."""
        self.stop_recording()
        camera, self._camera = self._camera, None
        if camera is None or self._library is None:
            return
        try:
            if self._running:
                self._library("camera_stop_acquisition", camera)
        except AravisError:
            pass  # it has gone by itself
        if self._stream is not None:
            self._library.release(self._stream)
        self._library.release(camera)

    # -- one exposure

    def _expose(self, timeout_s: float) -> tuple[NDArray[Any], dict[str, Any]]:
        arv, camera = self._opened()
        failed_reason = None
        try:
            for attempt in (1, 2):
                self._start(arv, camera)
                before_ns = time.time_ns()
                arv("camera_software_trigger", camera)
                wait_s = self._settings["exposure_time_s"] + timeout_s
                buffer = self._await_buffer(arv, wait_s)
                after_ns = time.time_ns()
                if buffer is None:
                    why = f"no frame came within {wait_s:g} s of its trigger"
                    error: InstrumentError = TransportTimeout(
                        f"{self._who}: {why}; check cable, trigger settings, and that a firewall "
                        "lets its packets through"
                    )
                else:
                    taken, why = self._take(arv, buffer)
                    if taken is not None:
                        image = taken
                        break
                    error = InstrumentFaultError(
                        f"{self._who}: the frame failed: {why}; check the cable, and the packet "
                        "size that the network takes"
                    )
                self._failed += 1
                failed_reason = why
                # What may still come of it is not taken for the next frame.
                self._stop()
                self._require_control("expose a frame")
                if attempt == 2:
                    raise error
        except AravisError as error:
            raise self._told(error, "expose a frame") from error
        index = self._frames
        self._frames += 1
        return image, {
            "frame_index": index,
            "device_time_ns": self._device_time_ns,
            "device_time_source": self._device_time_source,
            "host_before_ns": before_ns,
            "host_after_ns": after_ns,
            "exposure_time_s": self._settings["exposure_time_s"],
            "age_s": None,
            "failed_reason": failed_reason,
        }

    def _await_buffer(self, arv: Aravis, wait_s: float) -> int | None:
        """Return the next buffer that a frame went to, whole or not; None: none came."""
        until = time.monotonic() + wait_s
        while (left_s := until - time.monotonic()) > 0:
            buffer: int | None = arv("stream_timeout_pop_buffer", self._stream, int(left_s * 1e6))
            if buffer is None:
                return None
            if arv("buffer_get_status", buffer) != CLEARED:
                return buffer
            # Something came that is no packet of a frame: late, for who had the port before.
            arv("stream_push_buffer", self._stream, buffer)
        return None

    def _start(self, arv: Aravis, camera: int) -> None:
        if self._running:
            return
        size = arv("camera_get_payload", camera)
        self._stream = int(arv("camera_create_stream", camera, None, None))
        if arv("camera_is_gv_device", camera):
            for name, value in STREAM_PROPERTIES.items():
                arv.set_property(self._stream, name, value)
        for _ in range(BUFFERS):
            arv("stream_push_buffer", self._stream, arv("buffer_new_allocate", size))
        arv("camera_start_acquisition", camera)
        self._running = True

    def _stop(self) -> None:
        """Stop acquisition and drop what was not taken."""
        arv, camera = self._opened()
        if not self._running:
            return
        self._running = False
        stream, self._stream = self._stream, None
        try:
            arv("camera_stop_acquisition", camera)
        finally:
            if stream is not None:
                arv.release(stream)

    def _take(self, arv: Aravis, buffer: int) -> tuple[NDArray[Any] | None, str]:
        """Return the pixels of a buffer, or None and what is wrong with it; give it back."""
        try:
            status = arv("buffer_get_status", buffer)
            if status != 0:
                return None, STATUSES.get(status, f"status {status}")
            height, width = self._settings["image_shape"]
            came = arv("buffer_get_image_width", buffer), arv("buffer_get_image_height", buffer)
            pixel_format = self._settings["pixel_format"]
            kind = np.dtype(pixel_dtype(pixel_format))
            data = arv.data(buffer)
            if came != (width, height) or len(data) < width * height * kind.itemsize:
                return None, (
                    f"{width} x {height} pixels were asked for, {came[0]} x {came[1]} came "
                    f"({len(data)} bytes)"
                )
            image = np.frombuffer(data, kind, width * height).reshape(height, width)
            if kind.itemsize > 1:
                image = image << np.uint16(16 - BITS_OF[pixel_format])
            self._note_device_time(arv("buffer_get_timestamp", buffer))
            return image, ""
        finally:
            arv("stream_push_buffer", self._stream, buffer)

    def _note_device_time(self, stamp_ns: int) -> None:
        known = self._has_clock and stamp_ns > 0
        self._device_time_ns = int(stamp_ns) if known else None
        self._device_time_source: DeviceTimeSource = "buffer" if known else "none"

    # -- errors

    def _opened(self) -> tuple[Aravis, int]:
        if self._camera is None or self._library is None:
            raise TransportError(f"{self._who}: not open")
        return self._library, self._camera

    def _in_control(self) -> bool:
        arv, camera = self._opened()
        if not arv("camera_is_gv_device", camera):
            return True  # the operating system gives a USB device to one program only
        return bool(arv("gv_device_is_controller", arv("camera_get_device", camera)))

    def _require_control(self, asked: str) -> None:
        if not self._in_control():
            raise TransportError(
                f"{self._who}: asked to {asked}, but another program controls it, or it was gone "
                "for a while; close the other program (viewers, too), and connect again"
            )

    def _told(self, error: AravisError, asked: str) -> InstrumentError:
        text = f"{self._who}: asked to {asked}, Aravis says: {error}"
        said = str(error).lower()
        if "timeout" in said:
            return TransportTimeout(f"{text}; the camera does not answer: check cable and power")
        if "access-denied" in said or not self._in_control():
            return TransportError(f"{text}; another program has taken control of it")
        return InstrumentFaultError(text)
