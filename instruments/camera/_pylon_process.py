"""The side of the pylon camera that runs in the child process: the only importer of pypylon."""

import importlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from instruments.camera._frame_file import FrameFile
from instruments.camera.contract import DeviceTimeSource
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    TransportError,
    TransportTimeout,
)

IMAGE_SUFFIXES = {".bmp", ".tif", ".tiff", ".png", ".jpg", ".jpeg"}
EMULATED_CLASS = "BaslerCamEmu"
# The emulation loads the picture inside the grab; a real camera answers within its exposure.
GRAB_MARGIN_S = 5.0
# The renderer makes 20 pictures a second or more.
SIDECAR_POLL_S = 0.002


def serve(arguments: dict[str, Any]) -> "PylonProcess":
    """Return the object whose methods the parent calls; opens nothing yet."""
    return PylonProcess(arguments["address"])


@dataclass(frozen=True)
class _Source:
    """The folder the emulation takes its pictures from."""

    folder: Path

    def picture(self) -> Path:
        """Return the one image file in the folder."""
        try:
            found = sorted(
                path
                for path in self.folder.iterdir()
                # A renderer writes beside the picture and renames; such a file is hidden.
                if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
            )
        except OSError as error:
            raise TransportError(
                f"camera emulation: folder {self.folder}: {error.strerror}; "
                "is the simulator running? start it with `operando sim`"
            ) from error
        if len(found) != 1:
            raise TransportError(
                f"camera emulation: {self.folder} must hold exactly one image file, it holds "
                f"{[path.name for path in found]}; is the simulator running?"
            )
        return found[0]

    def made_at(self) -> float | None:
        """Return when the picture was made, s since 1970; ``None`` if nobody says.

        The renderer replaces the picture first and this note second: what is read before the
        picture is loaded is never newer than the picture.
        """
        try:
            note = json.loads((self.folder / "frame.json").read_bytes())
            return float(note["host_time"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


class PylonProcess:
    """One camera held open, and the file its frames go to."""

    def __init__(self, address: str) -> None:
        self._address = address
        url = urlsplit(address)
        if url.scheme not in ("pylon", "pylon-emulation"):
            raise TransportError(
                f"camera {address}: not an address of a pylon camera; "
                "pylon://SERIAL, pylon:// and pylon-emulation:///folder are"
            )
        self._serial = url.netloc
        self._source = _Source(Path(unquote(url.path))) if url.scheme == "pylon-emulation" else None
        self._pylon: Any = None
        self._genicam: Any = None
        self._camera: Any = None
        self._handler: Any = None
        self._event_ticks: int | None = None
        self._tick_ns = 1.0
        self._chunks = False
        self._shape = (0, 0)
        self._exposure_time_s = 0.0
        self._frames = 0
        self._failed = 0
        self._file = FrameFile(f"camera {address}")

    # -- opening

    def connect(self) -> dict[str, str]:
        """Open the camera and return its identity."""
        if self._source is not None:
            self._source.picture()
            # Read once by the library, when its factory is made.
            os.environ["PYLON_CAMEMU"] = "1"
        try:
            self._pylon = importlib.import_module("pypylon.pylon")
            self._genicam = importlib.import_module("pypylon.genicam")
        except ImportError as error:
            raise TransportError(
                f"camera {self._address}: Basler's library is not installed ({error}); "
                "install the extra: pip install 'operando-anode[camera]'"
            ) from error
        try:
            info = self._find()
            self._open(info)
            identity = {
                "model": str(info.GetModelName()),
                "serial_number": str(info.GetSerialNumber()),
                "sdk_version": str(self._pylon.GetPylonVersionString()),
                "address": self._address,
            }
            self._set_up()
        except self._genicam.GenericException as error:
            raise self._told(error, "open the camera") from error
        return identity

    def _find(self) -> Any:
        devices = [
            device
            for device in self._pylon.TlFactory.GetInstance().EnumerateDevices()
            # PYLON_CAMEMU may be set by somebody else: a bench never measures an emulation.
            if (device.GetDeviceClass() == EMULATED_CLASS) == (self._source is not None)
        ]
        for device in devices:
            if self._serial in ("", device.GetSerialNumber()):
                return device
        found = [f"{device.GetModelName()} {device.GetSerialNumber()}" for device in devices]
        raise TransportError(
            f"camera {self._address}: not found; cameras found: {found or 'none'}. "
            "Check cable and power, and that no other program has it open"
        )

    def _open(self, info: Any) -> None:
        pylon = self._pylon
        camera = pylon.InstantCamera(pylon.TlFactory.GetInstance().CreateDevice(info))
        self._camera = camera
        camera.GrabCameraEvents.Value = True
        try:
            camera.Open()
        except self._genicam.GenericException:
            # A camera without an event channel refuses to open with one; a busy one refuses again.
            camera.GrabCameraEvents.Value = False
            camera.Open()

    def _set_up(self) -> None:
        for name, value in (
            ("TriggerSelector", "FrameStart"),
            ("TriggerMode", "Off"),
            ("ExposureAuto", "Off"),
            ("GainAuto", "Off"),
        ):
            self._set_if_possible(name, value)
        self._camera.PixelFormat.Value = "Mono8"
        for name in ("OffsetX", "OffsetY"):
            self._set_if_possible(name, 0)
        self._set_size(int(self._camera.Width.Max), int(self._camera.Height.Max))
        if self._source is not None:
            self._show(self._source.picture())
        self._listen_to_exposure_end()
        self._enable_chunk_time()
        frequency = self._node("GevTimestampTickFrequency")
        if frequency is not None and int(frequency.GetValue()) > 0:
            self._tick_ns = 1e9 / int(frequency.GetValue())

    def _show(self, picture: Path) -> None:
        """Make the emulation deliver ``picture``, and take its size from the first frame."""
        camera = self._camera
        camera.TestImageSelector.Value = "Off"
        camera.ImageFileMode.Value = "On"
        camera.ImageFilename.Value = str(picture)
        # The default paces frames at some 10 per second, a wait that no exposure asks for.
        self._set_if_possible("AcquisitionFrameRate", float(camera.AcquisitionFrameRate.Max))
        # A picture smaller than the region of interest shrinks the frame: so its size shows.
        result = self._grab_once()
        try:
            if not result.GrabSucceeded():
                raise self._fault(result)
            size = int(result.Width), int(result.Height)
        finally:
            result.Release()
        self._set_size(*size)
        if self._shape != (size[1], size[0]):
            raise InstrumentFaultError(
                f"camera {self._address}: a picture of {size[0]} x {size[1]} pixels cannot be "
                f"shown; the camera rounds to {self._shape[1]} x {self._shape[0]}"
            )

    def _set_size(self, width: int, height: int) -> None:
        self._camera.Width.Value = width
        self._camera.Height.Value = height
        self._shape = int(self._camera.Height.Value), int(self._camera.Width.Value)

    def _listen_to_exposure_end(self) -> None:
        pylon, process = self._pylon, self

        # The base is known only now that the library is imported.
        class Handler(pylon.CameraEventHandler):  # type: ignore[name-defined]
            def OnCameraEvent(self, camera: Any, user_id: Any, node: Any) -> None:  # noqa: N802 - pylon's name
                process.exposure_ended(int(node.GetValue()))

        if self._node("EventExposureEndTimestamp") is None or not self._set_if_possible(
            "EventSelector", "ExposureEnd"
        ):
            return
        self._handler = Handler()
        self._camera.RegisterCameraEventHandler(
            self._handler,
            "EventExposureEndTimestamp",
            1,
            pylon.RegistrationMode_Append,
            pylon.Cleanup_None,
        )
        self._set_if_possible("EventNotification", "On")

    def _enable_chunk_time(self) -> None:
        # The emulation has chunks switched by a node but no chunks: asking for one fails the grab.
        if self._node("ChunkSelector") is None or not self._set_if_possible(
            "ChunkModeActive", True
        ):
            return
        self._chunks = self._set_if_possible("ChunkSelector", "Timestamp") and (
            self._set_if_possible("ChunkEnable", True)
        )
        self._set_if_possible("BslChunkTimestampSelector", "ExposureStart")

    # -- settings

    def configure(self, exposure_time_s: float, pixel_format: str) -> dict[str, Any]:
        """Set, read back, and return what the camera says."""
        camera = self._opened()
        try:
            if pixel_format not in camera.PixelFormat.Symbolics:
                raise InstrumentFaultError(
                    f"camera {self._address}: no pixel format {pixel_format!r}; there are "
                    f"{list(camera.PixelFormat.Symbolics)}"
                )
            if pixel_format != "Mono8":
                raise InstrumentFaultError(
                    f"camera {self._address}: pixel format {pixel_format!r} is not recorded here; "
                    "frames are 8 bit monochrome (Mono8)"
                )
            camera.PixelFormat.Value = pixel_format
            node = self._node("ExposureTime")
            if node is None:  # GigE models before SFNC 2
                node = self._node("ExposureTimeAbs")
            low_s, high_s = node.GetMin() * 1e-6, node.GetMax() * 1e-6
            if not low_s <= exposure_time_s <= high_s:
                raise InstrumentFaultError(
                    f"camera {self._address}: exposure time {exposure_time_s} s asked for; "
                    f"the camera has {low_s:g} to {high_s:g} s"
                )
            node.SetValue(exposure_time_s * 1e6)
            self._exposure_time_s = node.GetValue() * 1e-6
            return {
                "exposure_time_s": self._exposure_time_s,
                "pixel_format": str(camera.PixelFormat.Value),
                "image_shape": list(self._shape),
            }
        except self._genicam.GenericException as error:
            raise self._told(error, f"expose for {exposure_time_s} s") from error

    # -- frames

    def grab(self, exposed_after_s: float | None, timeout_s: float) -> dict[str, Any]:
        """Expose one frame and return it."""
        image, exposure = self._expose(exposed_after_s, timeout_s)
        return {"image": image, **exposure}

    def record(self, exposed_after_s: float | None, timeout_s: float) -> dict[str, Any]:
        """Expose one frame, append it, and return its index with all but the pixels."""
        self._file.require()
        image, exposure = self._expose(exposed_after_s, timeout_s)
        index = self._file.append(image, exposure)
        return {"index": index, **exposure}

    def record_to(self, path: str, attributes: Mapping[str, Mapping[str, Any]]) -> None:
        """Create the file that ``record`` appends to."""
        self._opened()
        self._file.create(path, self._shape, "Mono8", attributes)

    def stop_recording(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def failed_buffers(self) -> int:
        """Return how many frames arrived damaged."""
        return self._failed

    def fail_next_buffers(self, count: int) -> None:
        """Have the emulation damage the next ``count`` frames (its own fault injection)."""
        camera = self._opened()
        camera.ForceFailedBufferCount.Value = count
        camera.ForceFailedBuffer.Execute()

    def safe_state(self) -> None:
        """Close the file; a camera can hurt nobody."""
        self.stop_recording()

    def close(self) -> None:
        """Release the camera; idempotent."""
        self.stop_recording()
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.Close()

    # -- one exposure

    def exposure_ended(self, time_ticks: int) -> None:
        """Note the camera's own time of the end of an exposure; called by the library's thread."""
        self._event_ticks = time_ticks

    def _expose(
        self, exposed_after_s: float | None, timeout_s: float
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        self._opened()
        made_at = self._await_picture(exposed_after_s, timeout_s)
        failed_reason = None
        try:
            for attempt in (1, 2):
                self._event_ticks = None
                before_ns = time.time_ns()
                result = self._grab_once()
                try:
                    after_ns = time.time_ns()
                    if result.GrabSucceeded():
                        image = self._pixels(result)
                        device_time_ns, source = self._device_time(result)
                        break
                    self._failed += 1
                    fault = self._fault(result)
                    failed_reason = str(result.ErrorDescription)
                    if attempt == 2:
                        raise fault
                finally:
                    result.Release()
        except self._genicam.GenericException as error:
            raise self._told(error, "expose a frame") from error
        index = self._frames
        self._frames += 1
        return image, {
            "frame_index": index,
            "device_time_ns": device_time_ns,
            "device_time_source": source,
            "host_before_ns": before_ns,
            "host_after_ns": after_ns,
            "exposure_time_s": self._exposure_time_s,
            "age_s": None if made_at is None else max(before_ns * 1e-9 - made_at, 0.0),
            "failed_reason": failed_reason,
        }

    def _await_picture(self, exposed_after_s: float | None, timeout_s: float) -> float | None:
        """Return when the emulation's picture was made, after waiting until it is new enough."""
        if self._source is None:
            return None
        deadline = time.monotonic() + timeout_s
        while True:
            made_at = self._source.made_at()
            if exposed_after_s is None or made_at is None or made_at > exposed_after_s:
                return made_at
            if time.monotonic() > deadline:
                raise TransportTimeout(
                    f"camera {self._address}: no new picture came into the folder within "
                    f"{timeout_s} s; the newest is {time.time() - made_at:.1f} s old. "
                    "Is the simulator still running?"
                )
            time.sleep(SIDECAR_POLL_S)

    def _grab_once(self) -> Any:
        return self._camera.GrabOne(int(1000 * (self._exposure_time_s + GRAB_MARGIN_S)))

    def _pixels(self, result: Any) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = result.Array
        if image.shape != self._shape or image.dtype != np.uint8:
            raise InstrumentFaultError(
                f"camera {self._address}: a frame of {self._shape[1]} x {self._shape[0]} pixels "
                f"was asked for, one of {result.Width} x {result.Height} ({image.dtype}) came; "
                "close the camera and connect again if its source has changed"
            )
        return image

    def _device_time(self, result: Any) -> tuple[int | None, DeviceTimeSource]:
        if self._chunks and result.IsChunkDataAvailable():
            node = result.GetChunkDataNodeMap().GetNode("ChunkTimestamp")
            if node is not None and int(node.GetValue()) > 0:
                return round(int(node.GetValue()) * self._tick_ns), "chunk"
        if int(result.TimeStamp) > 0:
            return round(int(result.TimeStamp) * self._tick_ns), "buffer"
        if self._event_ticks is not None:
            return round(self._event_ticks * self._tick_ns), "exposure_end_event"
        return None, "none"

    # -- nodes and errors

    def _opened(self) -> Any:
        if self._camera is None:
            raise TransportError(f"camera {self._address}: not open")
        return self._camera

    def _node(self, name: str) -> Any:
        """Return a feature of the camera, ``None`` if this model has none of that name."""
        node = self._camera.GetNodeMap().GetNode(name)
        # Some versions of the library answer an unknown name with a placeholder.
        return node if node is not None and self._genicam.IsImplemented(node) else None

    def _set_if_possible(self, name: str, value: Any) -> bool:
        """Set a node that not every model has; return whether it now has the value."""
        node = self._node(name)
        if node is None or not self._genicam.IsWritable(node):
            return False
        try:
            if isinstance(value, str):
                node.FromString(value)
            else:
                node.SetValue(value)
        except self._genicam.GenericException:
            # A model may have the node but not the value; what matters is read back elsewhere.
            return False
        return True

    def _fault(self, result: Any) -> InstrumentError:
        return InstrumentFaultError(
            f"camera {self._address}: the frame failed: {result.ErrorDescription} "
            f"(error code {int(result.ErrorCode):#x}); "
            + (
                "is the simulator still rendering?"
                if self._source is not None
                else "check the cable, the bandwidth limit and the packet size"
            )
        )

    def _told(self, error: Exception, asked: str) -> InstrumentError:
        text = f"camera {self._address}: asked to {asked}, Basler's library says: {error}"
        if isinstance(error, self._genicam.TimeoutException):
            return TransportTimeout(f"{text}; check trigger settings and cable")
        if self._camera is None or self._camera.IsCameraDeviceRemoved():
            return TransportError(f"{text}; the camera is gone: check cable and power")
        if not self._camera.IsOpen():
            return TransportError(f"{text}; is another program (pylon Viewer) using it?")
        return InstrumentFaultError(text)
