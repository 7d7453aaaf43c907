"""What a bench file tells of a Raman spectrometer."""

from typing import Any, Literal

from pydantic import Field

from instruments.entry import AddressedEntry
from instruments.raman.contract import RamanSpectrometer


class RamanEntry(AddressedEntry):
    """A Raman spectrometer with its laser; each wire language has its own entry."""

    kind: Literal["raman"]
    laser_power_w: float = Field(gt=0, le=0.5, description="Laser power, W.")
    integration_time_s: float = Field(gt=0, le=600)
    accumulations: int = Field(default=3, ge=1)
    bands_cm1: tuple[float, ...] = Field(
        default=(), description="Bands that must lie on the axis, cm-1."
    )
    reference_line_cm1: float | None = Field(
        default=None,
        gt=0,
        description="A line in every spectrum that lies where it lies, e.g. 520.5 of a silicon chip"
        " in view, cm-1: the axis is checked against it.",
    )

    def calibration_told(self) -> dict[str, Any]:
        return self._told({"reference_line_cm1"} if self.reference_line_cm1 is not None else ())

    def driver(self) -> RamanSpectrometer:
        """Return the driver, nothing of it connected."""
        raise NotImplementedError


class WasatchEntry(RamanEntry):
    """A Wasatch spectrometer with the laser that it drives itself, over USB."""

    language: Literal["wasatch"]

    def driver(self) -> RamanSpectrometer:
        from instruments.raman.wasatch import WasatchSpectrometer

        return WasatchSpectrometer(self.address, laser_power_w=self.laser_power_w)
