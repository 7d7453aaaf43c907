"""What cameras have in common whose library runs in a process of its own."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from instruments._child import Child
from instruments.camera.contract import CameraSettings, Frame, RecordedFrame
from instruments.errors import TransportError
from instruments.transport import resolve

_log = logging.getLogger(__name__)

# Import of the library and enumeration of the buses: 0.5 s here, several with many GigE ports.
CONNECT_TIMEOUT_S = 60.0
# What a call may take beyond the exposure and the wait: file system, compression, a busy machine.
MARGIN_S = 10.0


class SupervisedCamera:
    """One camera behind a child process, which also writes the file; subclasses know the library.

    Args:
        address: of the camera, or ``published:`` one.
        exposure_time_s: set when connecting; the camera rounds it to its own grid.
        pixel_format: one of `BITS_OF`.
    """

    verified_on: str | None = None
    # The function of the child, as "module:function".
    _target: ClassVar[str]
    # What an address begins with at which there is an emulation, not a camera.
    _emulated: ClassVar[str | None] = None

    def __init__(
        self, address: str, *, exposure_time_s: float = 0.01, pixel_format: str = "Mono8"
    ) -> None:
        self.address = address
        self._pixel_format = pixel_format
        self._exposure_time_s = exposure_time_s
        self._child: Child | None = None
        self._identity: dict[str, str] | None = None
        self._settings: CameraSettings | None = None

    def connect(self) -> None:
        """Start the child, open the camera, set it up; idempotent, and anew if the child died.

        Blocks for about a second (starting an interpreter and the library).

        Raises:
            TransportError: the library is not installed, or there is no such camera, or somebody
                else has it.
            InstrumentFaultError: the camera refuses a setting.
        """
        if self._child is not None and self._child.alive:
            return
        self.close()
        address = resolve(self.address)
        emulated = self._emulated is not None and address.startswith(self._emulated)
        child = Child(
            self._target,
            {"address": address, **self._fixed()},
            who=f"camera {self.address}",
        )
        try:
            self._identity = child.call("connect", CONNECT_TIMEOUT_S)
            self._child = child
            self.configure(exposure_time_s=self._exposure_time_s, pixel_format=self._pixel_format)
            if self.verified_on is None and not emulated:
                _log.warning(
                    "camera %s: nobody has confirmed this driver on a real camera yet; "
                    "look at the first frames and their times before you rely on them",
                    self.address,
                )
        except BaseException:
            self._child = None
            child.close(MARGIN_S)
            raise

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``serial_number``, ``sdk_version`` and ``address`` of who answered.

        Known since connecting; raises TransportError before that.
        """
        if self._identity is None:
            raise self._not_connected("identify")
        return dict(self._identity)

    @property
    def settings(self) -> CameraSettings:
        """Return the settings last read back; raises TransportError before connecting."""
        if self._settings is None:
            raise self._not_connected("settings")
        return self._settings

    def configure(
        self, *, exposure_time_s: float, pixel_format: str | None = None
    ) -> CameraSettings:
        """Set exposure time and pixel format, automatic exposure and gain off; read back.

        Without a pixel format it stays as it is.

        Raises:
            InstrumentFaultError: the camera has no such format or exposure time; it says which
                ones it has.
        """
        answer = self._call(
            "configure",
            MARGIN_S,
            exposure_time_s=exposure_time_s,
            pixel_format=pixel_format or self._pixel_format,
        )
        pairs: dict[str, Any] = {
            key: tuple(answer.pop(key)) for key in ("image_shape", "offset_px") if key in answer
        }
        self._settings = CameraSettings(**pairs, **answer)
        self._exposure_time_s = self._settings.exposure_time_s
        self._pixel_format = self._settings.pixel_format
        return self._settings

    def grab(self, *, exposed_after_s: float | None = None, timeout_s: float = 5.0) -> Frame:
        """Expose one frame and return its pixels.

        Args:
            exposed_after_s: time (s since 1970) after which the exposure must have begun. A real
                camera exposes when asked; an emulation waits for a picture made after it.
            timeout_s: how long to wait for such a frame, beyond the exposure time.

        Raises:
            TransportTimeout: no frame, or none made after ``exposed_after_s``.
            InstrumentFaultError: two attempts failed, or the picture's size has changed.
            TransportError: the camera or its child is gone.
        """
        return Frame(**self._expose("grab", exposed_after_s, timeout_s))

    def record_to(
        self, path: str | Path, attributes: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Create the HDF5 file that ``record`` appends to; the one before is closed.

        Args:
            path: the file; it must not exist.
            attributes: HDF5 name -> attributes, besides those every such file has.

        Raises:
            TransportError: the file cannot be created.
        """
        self._call("record_to", MARGIN_S, path=str(path), attributes=dict(attributes or {}))

    def record(
        self, *, exposed_after_s: float | None = None, timeout_s: float = 5.0
    ) -> RecordedFrame:
        """Expose one frame and append it to the file; arguments and errors as ``grab``.

        When this returns the frame is readable by other processes.
        """
        return RecordedFrame(**self._expose("record", exposed_after_s, timeout_s))

    def stop_recording(self) -> None:
        """Close the file; idempotent, also when the camera is closed."""
        if self._child is not None:
            self._call("stop_recording", MARGIN_S)

    def safe_state(self) -> None:
        """Close the file; a camera can hurt nobody, and its lamp is on a relay. Idempotent."""
        self.stop_recording()

    @property
    def failed_buffers(self) -> int:
        """Return how many frames arrived damaged since connecting (each was asked for again)."""
        failed: int = self._call("failed_buffers", MARGIN_S)
        return failed

    @property
    def child_pid(self) -> int:
        """Return the process that holds the camera."""
        if self._child is None:
            raise self._not_connected("child_pid")
        return self._child.pid

    def close(self) -> None:
        """Release the camera and end the child; idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.close(MARGIN_S)

    def _fixed(self) -> dict[str, Any]:
        """Return what the child is given besides the address."""
        return {}

    def _expose(
        self, method: str, exposed_after_s: float | None, timeout_s: float
    ) -> dict[str, Any]:
        answer: dict[str, Any] = self._call(
            method,
            # Twice, because a damaged frame is asked for again.
            2 * (self._exposure_time_s + timeout_s) + MARGIN_S,
            exposed_after_s=exposed_after_s,
            timeout_s=timeout_s,
        )
        return answer

    def _call(self, method: str, within_s: float, **arguments: Any) -> Any:
        if self._child is None:
            raise self._not_connected(method)
        return self._child.call(method, within_s, **arguments)

    def _not_connected(self, asked: str) -> TransportError:
        return TransportError(
            f"camera {self.address}: {asked} was asked for before connect() or after close()"
        )
