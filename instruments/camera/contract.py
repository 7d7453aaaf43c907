"""What a camera driver offers, whoever makes the camera."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

DeviceTimeSource = Literal["chunk", "buffer", "exposure_end_event", "none"]

IMAGE_DATASET = "/entry/data/data"
DETECTOR_GROUP = "/entry/instrument/detector"
NO_DEVICE_TIME = -1
# Pixel formats that are recorded, and how many bits they have. More than 8 are kept as 16 with the
# low ones 0, so that all deeper frames have one scale: 256 of theirs are one grey level of 8 bits.
BITS_OF = {"Mono8": 8, "Mono10": 10, "Mono12": 12, "Mono14": 14, "Mono16": 16}


def pixel_dtype(pixel_format: str) -> str:
    """Return numpy's name of a recorded pixel."""
    return "|u1" if BITS_OF[pixel_format] == 8 else "<u2"


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """What the camera says it is set to, read back from it.

    ``gain`` (in the camera's unit, by GenICam's naming convention usually dB) and ``offset_px``
    (columns, rows: where the region begins on the sensor) are ``None`` if the driver neither sets
    nor reads them.
    """

    exposure_time_s: float
    pixel_format: str
    image_shape: tuple[int, int]
    gain: float | None = None
    offset_px: tuple[int, int] | None = None

    @property
    def dtype(self) -> str:
        """Return numpy's name of a pixel: ``|u1``, or ``<u2`` for more than 8 bits."""
        return pixel_dtype(self.pixel_format)


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """All that is known of one exposure, except its pixels.

    ``device_time_ns`` is the camera's own clock (unknown origin, ``None`` if it gives none) and
    ``device_time_source`` says which of its stamps it is. ``host_before_ns`` and ``host_after_ns``
    are the computer's clock (ns since 1970) just before the frame was asked for and just after it
    had arrived. ``age_s`` is how long before ``host_before_ns`` the picture was made, where the
    address says so (camera emulation), else ``None``: a real camera exposes when asked.
    ``failed_reason`` says why the first attempt failed when this is the second.
    """

    frame_index: int
    device_time_ns: int | None
    device_time_source: DeviceTimeSource
    host_before_ns: int
    host_after_ns: int
    exposure_time_s: float
    age_s: float | None = None
    failed_reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Frame(Exposure):
    """One exposure with its pixels: shape (rows, columns), row 0 is the top.

    8 bits, or 16 of which the high ones are the camera's (`BITS_OF`).
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class RecordedFrame(Exposure):
    """One exposure whose pixels are row ``index`` of the file being recorded to."""

    index: int


class Camera(Protocol):
    """A monochrome camera that exposes when asked.

    All calls block and raise InstrumentError; none but ``connect`` opens anything.
    """

    address: str
    verified_on: str | None

    def connect(self) -> None:
        """Open the camera; exclusive where the maker's library is."""
        ...

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``serial_number``, ``sdk_version`` and ``address`` of who answers."""
        ...

    @property
    def settings(self) -> CameraSettings:
        """Return the settings last read back from the camera."""
        ...

    def configure(
        self, *, exposure_time_s: float, pixel_format: str | None = None
    ) -> CameraSettings:
        """Set and read back; without a pixel format it stays as it is."""
        ...

    def grab(self, *, exposed_after_s: float | None = None, timeout_s: float = 5.0) -> Frame:
        """Expose one frame, entirely after ``exposed_after_s`` (s since 1970) if given."""
        ...

    def record_to(
        self, path: str | Path, attributes: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Create the file that ``record`` appends to."""
        ...

    def record(
        self, *, exposed_after_s: float | None = None, timeout_s: float = 5.0
    ) -> RecordedFrame:
        """Expose one frame and append it; it can be read by others when this returns."""
        ...

    def stop_recording(self) -> None:
        """Close the file; idempotent."""
        ...

    def close(self) -> None:
        """Release the camera; idempotent."""
        ...


class Lamp(Protocol):
    """The light of the microscope, as states."""

    def on(self) -> None:
        """Be on when this returns."""
        ...

    def off(self) -> None:
        """Be off when this returns."""
        ...

    def leave_off(self) -> None:
        """Be off when this returns, if anything is connected that could be on."""
        ...

    @property
    def is_on(self) -> bool:
        """Return whether it shines."""
        ...


class Laser(Protocol):
    """What the camera needs to know of a laser that shines on the same spot."""

    @property
    def is_on(self) -> bool:
        """Return whether it emits."""
        ...
