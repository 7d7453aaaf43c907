"""The file that frames go to, written by the process that holds the camera."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments._swmr import SwmrFile
from instruments.camera.contract import (
    BITS_OF,
    DETECTOR_GROUP,
    IMAGE_DATASET,
    NO_DEVICE_TIME,
    pixel_dtype,
)
from instruments.errors import TransportError


class FrameFile:
    """The present file of a camera, if there is one: a frame and all that is known of it per row.

    Args:
        who: the camera, for messages.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._file: SwmrFile | None = None

    def create(
        self,
        path: str,
        shape: tuple[int, int],
        pixel_format: str,
        attributes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Create the file for frames of ``shape`` (rows, columns); the one before is closed.

        Raises:
            TransportError: it cannot be created.
        """
        self.close()
        seconds = {"units": "s", "origin": "1970-01-01T00:00:00Z"}
        told: dict[str, dict[str, Any]] = {
            "/": {"default": "entry"},
            "/entry": {"NX_class": "NXentry", "default": "data"},
            "/entry/data": {"NX_class": "NXdata", "signal": "data"},
            IMAGE_DATASET: {
                "pixel_format": pixel_format,
                "significant_bits": BITS_OF[pixel_format],
            },
            "/entry/instrument": {"NX_class": "NXinstrument"},
            DETECTOR_GROUP: {"NX_class": "NXdetector"},
            f"{DETECTOR_GROUP}/device_time": {"units": "ns", "missing": NO_DEVICE_TIME},
            f"{DETECTOR_GROUP}/host_before": seconds,
            f"{DETECTOR_GROUP}/host_after": seconds,
            f"{DETECTOR_GROUP}/count_time": {"units": "s"},
            f"{DETECTOR_GROUP}/age": {"units": "s"},
        }
        for name, pairs in attributes.items():
            told[name] = told.get(name, {}) | dict(pairs)
        try:
            self._file = SwmrFile(
                path,
                {
                    IMAGE_DATASET: (shape, pixel_dtype(pixel_format)),
                    f"{DETECTOR_GROUP}/device_time": ((), "<i8"),
                    f"{DETECTOR_GROUP}/host_before": ((), "<f8"),
                    f"{DETECTOR_GROUP}/host_after": ((), "<f8"),
                    f"{DETECTOR_GROUP}/frame_index": ((), "<i8"),
                    f"{DETECTOR_GROUP}/count_time": ((), "<f8"),
                    f"{DETECTOR_GROUP}/age": ((), "<f8"),
                },
                attributes=told,
            )
        except OSError as error:
            raise TransportError(f"{self._who}: cannot record to {path}: {error}") from error

    @property
    def is_open(self) -> bool:
        """Return whether there is a file."""
        return self._file is not None

    def require(self) -> None:
        """Raise TransportError if there is no file."""
        if self._file is None:
            raise TransportError(
                f"{self._who}: record was asked for without a file; record_to() first"
            )

    def append(self, image: NDArray[Any], exposure: Mapping[str, Any]) -> int:
        """Write one frame and what is told of its exposure; return its row.

        Raises:
            TransportError: there is no file, or it cannot be written.
        """
        self.require()
        file = self._file
        assert file is not None
        stamp, age = exposure["device_time_ns"], exposure["age_s"]
        try:
            return file.append(
                {
                    IMAGE_DATASET: image,
                    f"{DETECTOR_GROUP}/device_time": NO_DEVICE_TIME if stamp is None else stamp,
                    f"{DETECTOR_GROUP}/host_before": exposure["host_before_ns"] * 1e-9,
                    f"{DETECTOR_GROUP}/host_after": exposure["host_after_ns"] * 1e-9,
                    f"{DETECTOR_GROUP}/frame_index": exposure["frame_index"],
                    f"{DETECTOR_GROUP}/count_time": exposure["exposure_time_s"],
                    f"{DETECTOR_GROUP}/age": np.nan if age is None else age,
                }
            )
        except OSError as error:
            raise TransportError(f"{self._who}: {file.path}: {error}") from error

    def close(self) -> None:
        """Close the file; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
