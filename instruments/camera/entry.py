"""What a bench file tells of a camera and its lamp."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from instruments.calibration import Quantity, newest
from instruments.camera.contract import Camera
from instruments.entry import AddressedEntry, CalibratedEntry
from instruments.lending import Shareable
from techniques._base import Data


class LampEntry(Data):
    """The microscope's lamp, on a relay."""

    board: str = Field(description="Name of a relay_board of this bench.")
    relay: int = Field(ge=0)


class CameraEntry(AddressedEntry, CalibratedEntry, Shareable):
    """A microscope camera; each wire language has its own entry."""

    _calibrating: ClassVar[frozenset[str]] = frozenset(
        {
            "micrometre_per_pixel",
            "micrometre_per_pixel_uncertainty",
            "margin_columns",
            "deposit_columns",
        }
    )

    _quantities: ClassVar[Mapping[str, Quantity]] = {
        "micrometre_per_pixel": Quantity(
            "um/px", "The scale, from a stage micrometer.", expected=True, positive=True
        )
    }

    kind: Literal["camera"]
    micrometre_per_pixel: float | None = Field(
        default=None,
        gt=0,
        description="From a stage micrometer; none: the camera is not calibrated, and pictures tell"
        " no lengths.",
    )
    micrometre_per_pixel_uncertainty: float | None = Field(
        default=None,
        gt=0,
        description="Its standard uncertainty, um per pixel; none: lengths are told without it.",
    )
    margin_columns: tuple[int, int] | None = Field(
        default=None,
        description="First column of the picture that stays bare (masked before plating), and the"
        " column after the last: heights count from there. Without it there are none.",
    )
    deposit_columns: tuple[int, int] | None = Field(
        default=None,
        description="Columns in which the deposit is measured; none: all, or all right of a margin"
        " at the left edge.",
    )
    exposure_time_s: float = Field(default=0.005, gt=0)
    lamp: LampEntry | None = None

    @model_validator(mode="after")
    def _the_scale_is_known_well_enough(self) -> Self:
        scale, error = self.micrometre_per_pixel, self.micrometre_per_pixel_uncertainty
        if error is not None and (scale is None or error >= scale):
            raise ValueError(
                f"micrometre_per_pixel_uncertainty is {error:g}, micrometre_per_pixel "
                f"{'not told' if scale is None else format(scale, 'g')}: it is the standard "
                "uncertainty of that scale, in um per pixel"
            )
        return self

    @model_validator(mode="after")
    def _the_scale_is_told_once(self) -> Self:
        if self.micrometre_per_pixel is not None and any(self._found_scale):
            raise ValueError(
                "micrometre_per_pixel is told by itself and in calibrations: keep the one that "
                "holds"
            )
        return self

    @property
    def _found_scale(self) -> tuple[float | None, float | None]:
        for _, one in newest(self.calibrations, "micrometre_per_pixel"):
            return one.value, one.uncertainty
        return None, None

    @property
    def scale_um_px(self) -> float | None:
        """Return micrometre per pixel, by whichever form tells it; ``None``: not calibrated."""
        return self.micrometre_per_pixel or self._found_scale[0]

    def calibration_told(self) -> dict[str, Any]:
        names = ("micrometre_per_pixel", "micrometre_per_pixel_uncertainty")
        found = zip(names, self._found_scale, strict=True)
        # An uncertainty of zero is none that anybody found.
        return super().calibration_told() | {name: value for name, value in found if value}

    def _undated(self) -> frozenset[str]:
        return frozenset(() if self.micrometre_per_pixel is None else ("micrometre_per_pixel",))

    @model_validator(mode="after")
    def _columns_are_apart(self) -> Self:
        told = {"margin_columns": self.margin_columns, "deposit_columns": self.deposit_columns}
        for name, columns in told.items():
            if columns is not None and not 0 <= columns[0] < columns[1]:
                raise ValueError(
                    f"{name} is {list(columns)}: the first column comes first, from 0 at the left"
                )
        margin, deposit = self.margin_columns, self.deposit_columns
        if margin and deposit and margin[0] < deposit[1] and deposit[0] < margin[1]:
            raise ValueError(
                f"margin_columns {list(margin)} and deposit_columns {list(deposit)} overlap: "
                "what is bare carries no deposit"
            )
        if margin and margin[0] > 0 and deposit is None:
            raise ValueError(
                f"margin_columns {list(margin)} do not begin at the left edge: tell in which "
                "deposit_columns the deposit is"
            )
        return self

    @property
    def boards(self) -> tuple[str, ...]:
        return () if self.lamp is None else (self.lamp.board,)

    @property
    def relays(self) -> tuple[tuple[str, int], ...]:
        return () if self.lamp is None else ((self.lamp.board, self.lamp.relay),)

    def driver(self) -> Camera:
        """Return the driver, nothing of it connected."""
        raise NotImplementedError


class AravisEntry(CameraEntry):
    """A GenICam camera of any maker, on GigE Vision or USB3 Vision."""

    language: Literal["aravis"]
    pixel_format: Literal["Mono8", "Mono10", "Mono12", "Mono14", "Mono16"] = Field(
        default="Mono8",
        description="Of those that the camera has. More than 8 bits are recorded as 16, the high"
        " ones of which are the camera's.",
    )
    gain: float | None = Field(
        default=None,
        description="In the camera's unit, usually dB; none: it stays as it is.",
    )
    region: tuple[int, int, int, int] | None = Field(
        default=None,
        description="First column, first row, width and height of what is read of the sensor,"
        " pixels; none: all of it. margin_columns and deposit_columns count from its left edge.",
    )

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.camera.aravis import AravisCamera

        return AravisCamera

    def driver(self) -> Camera:
        from instruments.camera.aravis import AravisCamera

        return AravisCamera(
            self.address,
            exposure_time_s=self.exposure_time_s,
            pixel_format=self.pixel_format,
            gain=self.gain,
            region=self.region,
        )


class PylonEntry(CameraEntry):
    """A Basler camera."""

    language: Literal["pylon"]

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.camera.pylon import PylonCamera

        return PylonCamera

    def driver(self) -> Camera:
        from instruments.camera.pylon import PylonCamera

        return PylonCamera(self.address, exposure_time_s=self.exposure_time_s)
