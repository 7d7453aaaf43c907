"""Basler cameras and their emulation, through the maker's library in a process of its own.

The library (`pypylon`, an optional extra: proprietary, 240 MB) hangs and spins when a cable is
pulled, so it lives in a child process and is never imported here.

The child also writes the file. That was decided on three grounds. The process whose reader thread
must keep up with the potentiostat spends 0.2 ms per frame (measured, 1600 x 1200 pixels); taking
the pixels over the pipe would cost it 3 ms and compressing them 4 more. A frame is acknowledged
after its flush, so a kill -9 of either process leaves every acknowledged frame readable. And when
the RunEngine's process dies, the child reads end-of-file on its pipe and closes the file in order.
The price: a child that dies ends its file, and recording goes on only in a new one.

Addresses: ``pylon://SERIAL``, ``pylon://`` (the first camera found), and
``pylon-emulation:///folder``: the maker's camera emulation, whose pictures are the one image file
in that folder, read anew for every frame. If a ``frame.json`` ({"host_time": s since 1970}) lies
beside it, it says when the picture now in the folder was made.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruments._child import Child
from instruments.camera.contract import (
    CameraSettings,
    Frame,
    RecordedFrame,
)
from instruments.errors import TransportError
from instruments.transport import resolve

_log = logging.getLogger(__name__)

# Import of the library and enumeration of the buses: 0.5 s here, several with many GigE ports.
CONNECT_TIMEOUT_S = 60.0
# What a call may take beyond the exposure and the wait: file system, compression, a busy machine.
MARGIN_S = 10.0


class PylonCamera:
    """One Basler camera, or one emulated by the maker's library.

    Args:
        address: ``pylon://SERIAL``, ``pylon://``, ``pylon-emulation:///folder``, or ``published:``
            any of these.
        exposure_time_s: set when connecting; the camera rounds it to its own grid.
    """

    verified_on: str | None = None

    def __init__(self, address: str, *, exposure_time_s: float = 0.01) -> None:
        self.address = address
        self._exposure_time_s = exposure_time_s
        self._child: Child | None = None
        self._identity: dict[str, str] | None = None
        self._settings: CameraSettings | None = None

    def connect(self) -> None:
        """Start the child, open the camera, set it up; idempotent.

        Blocks for about a second (starting an interpreter and the library).

        Raises:
            TransportError: the library is not installed, or there is no such camera, or somebody
                else has it, or the emulation's folder holds no picture.
            InstrumentFaultError: the camera refuses a setting.
        """
        if self._child is not None:
            return
        address = resolve(self.address)
        emulated = address.startswith("pylon-emulation:")
        child = Child(
            "instruments.camera._pylon_process:serve",
            {"address": address},
            who=f"camera {self.address}",
        )
        try:
            self._identity = child.call("connect", CONNECT_TIMEOUT_S)
            self._child = child
            self.configure(exposure_time_s=self._exposure_time_s)
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

    def configure(self, *, exposure_time_s: float, pixel_format: str = "Mono8") -> CameraSettings:
        """Set exposure time and pixel format, automatic exposure and gain off; read back.

        Raises:
            InstrumentFaultError: the camera has no such format or exposure time; it says which
                ones it has.
        """
        answer = self._call(
            "configure",
            MARGIN_S,
            exposure_time_s=exposure_time_s,
            pixel_format=pixel_format,
        )
        height, width = answer.pop("image_shape")
        self._settings = CameraSettings(image_shape=(height, width), **answer)
        self._exposure_time_s = self._settings.exposure_time_s
        return self._settings

    def grab(self, *, exposed_after_s: float | None = None, timeout_s: float = 5.0) -> Frame:
        """Expose one frame and return its pixels.

        Args:
            exposed_after_s: time (s since 1970) after which the exposure must have begun. A real
                camera exposes when asked; the emulation waits for a picture made after it.
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
