"""A camera that comes and goes within a run: its frames are written here, not where it is held."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from instruments.camera._frame_file import FrameFile
from instruments.camera.contract import Camera, RecordedFrame


class RecordingHere:
    """Frames of a camera in a file of this process, which stays open while the camera is away.

    Args:
        driver: the camera; connected for ``record`` only.
        check: called between a frame and its way into the file; what it raises keeps it out.
    """

    def __init__(self, driver: Camera, check: Callable[[], None]) -> None:
        self._driver = driver
        self._check = check
        self._file = FrameFile(f"camera {driver.address}")

    def record_to(
        self, path: str | Path, attributes: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Create the file; the one before is closed. Raises TransportError."""
        settings = self._driver.settings  # of when it was connected last
        self._file.create(
            str(path), settings.image_shape, settings.pixel_format, dict(attributes or {})
        )

    def record(
        self, *, exposed_after_s: float | None = None, timeout_s: float = 5.0
    ) -> RecordedFrame:
        """Expose a frame and append it; raises what the camera raises, and what ``check`` does."""
        self._file.require()
        frame = self._driver.grab(exposed_after_s=exposed_after_s, timeout_s=timeout_s)
        told = asdict(frame)
        image = told.pop("image")
        self._check()
        return RecordedFrame(index=self._file.append(image, told), **told)

    def stop_recording(self) -> None:
        """Close the file; idempotent."""
        self._file.close()
