"""The camera as a bluesky device that follows the potentiostat."""

import contextlib
import logging
import math
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bluesky.protocols import Reading, Status, StreamAsset
from event_model import DataKey

from instruments._assets import AssetStream
from instruments._follower import Follower, Phase
from instruments.camera._recording_here import RecordingHere
from instruments.camera.contract import IMAGE_DATASET, Camera, Lamp, Laser
from instruments.errors import InstrumentError, InstrumentFaultError, TransportError
from instruments.lending import Sharing

_log = logging.getLogger(__name__)


class CameraDevice(Follower):
    """A microscope camera: frames in a file of their own, one event row per frame.

    ``trigger`` and ``burst`` return at once; the frame is taken in the device's worker thread:
    light lock, lamp on, a frame exposed entirely after that, frame into the file, lamp off. The
    file is made by ``stage`` in ``assets_dir`` and closed by ``unstage``; stage once per run,
    since a file is announced in one run only. Rows that are not saved yet can be saved after
    ``unstage``, until the next ``stage``.

    Args:
        driver: the camera.
        name: prefix of the event keys.
        lamp: what lights the sample, switched on for each frame or burst; ``None`` if nothing is
            switched (the column ``lamp`` is then NaN).
        laser: what else may shine on it; a frame is refused while it is on (``None``: the column
            ``laser`` is NaN).
        light_lock: held while the lamp is on; give the same one to the spectrometer's device, and
            lamp and laser are never on together.
        micrometre_per_pixel: scale in the sample plane; ``None`` if the bench does not know it.
        lamp_settle_s: from "lamp on" to steady light (the contacts of a relay bounce for 10 ms).
        frame_timeout_s: how long to wait for a frame, beyond its exposure.
    """

    _columns: ClassVar[Mapping[str, str | None]] = {
        "frame_index": None,
        "exposure_time": "s",
        "lamp": None,
        "laser": None,
        "device_time": "ns",
        "age": "s",
    }

    def __init__(
        self,
        driver: Camera,
        *,
        name: str = "camera",
        lamp: Lamp | None = None,
        laser: Laser | None = None,
        light_lock: contextlib.AbstractContextManager[Any] | None = None,
        micrometre_per_pixel: float | None = None,
        lamp_settle_s: float = 0.02,
        frame_timeout_s: float = 5.0,
    ) -> None:
        super().__init__(name=name)
        self.driver = driver
        self.assets_dir: Path | None = None
        self.micrometre_per_pixel = micrometre_per_pixel
        self._lamp = lamp
        self._laser = laser
        self._light_lock = light_lock if light_lock is not None else threading.Lock()
        self._lamp_settle_s = lamp_settle_s
        self._frame_timeout_s = frame_timeout_s
        self._recorder: Camera | RecordingHere = driver
        self._frames: AssetStream | None = None
        self._ending = threading.Event()
        self._ending.set()

    # -- bluesky

    def connect(self) -> None:
        """Open the camera; blocks about a second, raises what the driver raises."""
        self.driver.connect()

    def check_ready(self) -> None:
        """Open the camera anew if its process died in the run before; raises what that raises."""
        if not self.comes_and_goes:
            self.driver.connect()

    def share(self, sharing: Sharing | None) -> None:
        super().share(sharing)
        # A frame that is not ours any more must not reach the file, nor the file end with a loan.
        here = sharing is not None
        self._recorder = RecordingHere(self.driver, self._require_lease) if here else self.driver

    def stage(self) -> list[object]:
        """Make the file for the frames to come.

        Raises:
            RuntimeError: ``assets_dir`` is not set, or the device is staged already.
            TransportError: the camera is not connected or the file cannot be made.
        """
        staged: list[object] = super().stage()
        try:
            if self.assets_dir is None:
                raise RuntimeError(f"{self.name}: set assets_dir before staging")
            self.drop_unsaved()
            path = Path(self.assets_dir).resolve() / f"{self.name}-{uuid.uuid4().hex[:8]}.h5"
            scale = self.micrometre_per_pixel
            self._recorder.record_to(
                path, {IMAGE_DATASET: {} if scale is None else {"micrometre_per_pixel": scale}}
            )
            self._frames = AssetStream(
                path, {f"{self.name}_image": (IMAGE_DATASET, self.driver.settings.image_shape)}
            )
            self._phase = Phase.REGULAR
            self._ending.clear()
        except BaseException:
            super().unstage()
            raise
        return staged

    def unstage(self) -> list[object]:
        """End what is under way after its present frame, and close the file; idempotent."""
        self._ending.set()
        self.close_worker(2 * (self._frame_timeout_s + self._exposure_time_s()) + 10.0)
        try:
            self._recorder.stop_recording()
        except TransportError as error:
            # The camera's process is gone and its file with it; what it acknowledged is there.
            _log.warning("%s: the file was not closed in order: %s", self.name, error)
        unstaged: list[object] = super().unstage()
        return unstaged

    def burst(self, count: int, interval_s: float) -> Status:
        """Take ``count`` frames, ``interval_s`` apart, without waiting; callable from any thread.

        The lamp stays on throughout, so the spectrometer waits until the end. Intervals are
        counted from the first frame and are the computer's seconds; an interval shorter than a
        frame takes gives frames as fast as they come. Rows have phase 1. A failed frame ends the
        burst and fails the status; the frames before it are rows.
        """
        if count < 1 or not interval_s >= 0:
            raise ValueError(f"{self.name}: a burst of {count} frames every {interval_s} s")
        return self.trigger(phase=Phase.BURST, count=count, interval_s=interval_s)

    def describe_configuration(self) -> dict[str, DataKey]:
        def key(dtype: Any, units: str = "") -> DataKey:
            return DataKey(source=f"driver:{self.name}", dtype=dtype, shape=[], units=units)

        keys = {
            f"{self.name}_micrometre_per_pixel": key("number", "um"),
            f"{self.name}_model": key("string"),
            f"{self.name}_serial_number": key("string"),
            f"{self.name}_sdk_version": key("string"),
            f"{self.name}_pixel_format": key("string"),
        }
        return keys | {f"{self.name}_{name}": key("number") for name in self._told_settings()}

    def read_configuration(self) -> dict[str, Reading[Any]]:
        identity = self.driver.identify()
        scale = self.micrometre_per_pixel
        now = time.time()
        return {
            f"{self.name}_{key}": {"value": value, "timestamp": now}
            for key, value in {
                "micrometre_per_pixel": math.nan if scale is None else scale,
                "model": identity["model"],
                "serial_number": identity["serial_number"],
                "sdk_version": identity["sdk_version"],
                "pixel_format": self.driver.settings.pixel_format,
                **self._told_settings(),
            }.items()
        }

    def _told_settings(self) -> dict[str, float]:
        """Return what only some drivers know of a camera's settings."""
        settings = self.driver.settings
        told: dict[str, float] = {} if settings.gain is None else {"gain": settings.gain}
        if settings.offset_px is not None:
            told["offset_x"], told["offset_y"] = settings.offset_px
        return told

    def safe_state(self) -> None:
        """Switch the lamp off and end a burst; idempotent, callable from any thread."""
        self._ending.set()
        self.call_off()
        if self._lamp is not None:
            self._lamp.leave_off()

    def close(self) -> None:
        """End the worker and release the camera; idempotent."""
        self._ending.set()
        self.close_worker()
        self.driver.close()

    # -- what Follower asks for

    def _exchange(self, request: dict[str, Any]) -> None:
        """Take the frames of one request under one light."""
        phase, count = request["phase"], request.get("count", 1)
        self._go_on()
        with self._light():
            start = time.monotonic()
            for number in range(count):
                due = start + number * request.get("interval_s", 0.0)
                if number and self._ending.wait(max(due - time.monotonic(), 0.0)):
                    return
                try:
                    super()._exchange({"phase": phase})
                except InstrumentFaultError:
                    if self._ending.is_set():
                        return  # a frame that was cut short on purpose, lamp off, is left out
                    raise

    def _acquire(self, **request: Any) -> tuple[dict[str, float], int]:
        laser = self._laser_is_on()
        # The moment asked for lies after the leader's row that the base class has just noted.
        frame = self._recorder.record(exposed_after_s=time.time(), timeout_s=self._frame_timeout_s)
        if frame.failed_reason is not None:
            _log.warning("%s: a frame failed and was repeated: %s", self.name, frame.failed_reason)
        stamp, age = frame.device_time_ns, frame.age_s
        return {
            "host_before": frame.host_before_ns * 1e-9,
            "host_after": frame.host_after_ns * 1e-9,
            "frame_index": float(frame.frame_index),
            "exposure_time": frame.exposure_time_s,
            "lamp": self._lit(),
            "laser": laser,
            "device_time": math.nan if stamp is None else float(stamp),
            "age": math.nan if age is None else age,
        }, frame.index

    def _describe_assets(self) -> dict[str, DataKey]:
        height, width = self.driver.settings.image_shape
        return {
            f"{self.name}_image": DataKey(
                source=f"driver:{self.name}",
                dtype="array",
                dtype_numpy=self.driver.settings.dtype,
                shape=[height, width],
                external="STREAM:",
                units="",
            )
        }

    def _asset_docs(self, index: int) -> Iterator[StreamAsset]:
        if self._frames is not None:
            yield from self._frames.documents(index, index + 1)

    # -- light

    @contextlib.contextmanager
    def _light(self) -> Iterator[None]:
        """Own the light, lamp on; off again whatever happens."""
        with self._light_lock:
            if self._laser_is_on() == 1.0:
                raise InstrumentError(
                    f"{self.name}: no frame while the laser is on; switch it off first"
                )
            if self._lamp is None:
                yield
                return
            try:
                self._lamp.on()
                self._ending.wait(self._lamp_settle_s)
                yield
            finally:
                self._lamp.off()

    def _lit(self) -> float:
        """Return 1 if the lamp is on still, NaN if there is none; raises if it went off."""
        if self._lamp is None:
            return math.nan
        if not self._lamp.is_on:
            raise InstrumentFaultError(
                f"{self.name}: the lamp went off while a frame was exposed, which is left out: has "
                "what switches it lost its supply?"
            )
        return 1.0

    def _laser_is_on(self) -> float:
        return math.nan if self._laser is None else float(self._laser.is_on)

    def _go_on(self) -> None:
        if self._ending.is_set():
            raise InstrumentError(f"{self.name}: no frames outside stage() and unstage()")

    def _exposure_time_s(self) -> float:
        try:
            return self.driver.settings.exposure_time_s
        except TransportError:
            return 0.0
