"""What a bench file tells of a Raman spectrometer."""

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from instruments.calibration import CalibrationFlag, Quantity, newest
from instruments.entry import AddressedEntry, CalibratedEntry
from instruments.lending import Shareable
from instruments.raman.contract import RamanSpectrometer
from instruments.relay_board.contract import RelayBoard
from techniques._base import Data

_NO_SHARE = ("laser_power_share", "missing")


class RamanEntry(AddressedEntry, CalibratedEntry, Shareable):
    """A Raman spectrometer with its laser; each wire language has its own entry."""

    unreached_means: ClassVar[str] = "THE LASER MAY BE ON: turn its key"

    _quantities: ClassVar[Mapping[str, Quantity]] = {
        "axis_shift": Quantity(
            "cm-1",
            "How far a reference line was found above where it lies (silicon 520.5, polystyrene "
            "1001.4): taken off the positions of bands, between two lines in proportion.",
            "cm-1",
            "where the line lies, cm-1",
            expected=True,
        ),
        "axis_scatter": Quantity(
            "cm-1", "Standard deviation of repeated positions of one line.", positive=True
        ),
        "laser_power_share": Quantity(
            "1",
            "Power found at the sample with a power meter, over the power that is set.",
            expected=True,
            positive=True,
        ),
        "laser_power": Quantity(
            "W",
            "Power found at the sample with a power meter, for a power that is set; others in "
            "proportion to the nearest.",
            "W",
            "the power that was set, W",
            positive=True,
        ),
        "spot_diameter": Quantity("um", "Diameter of the laser's spot.", positive=True),
    }

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
        line = {"reference_line_cm1"} if self.reference_line_cm1 is not None else ()
        return super().calibration_told() | self._told(line)

    def calibration_flags(self, name: str, today: datetime.date) -> tuple[CalibrationFlag, ...]:
        flags = super().calibration_flags(name, today)
        # One way to tell the power at the sample is enough.
        if any(newest(self.calibrations, "laser_power")):
            flags = tuple(x for x in flags if (x.quantity, x.flag) != _NO_SHARE)
        return flags

    def driver(self, boards: Mapping[str, RelayBoard]) -> RamanSpectrometer:
        """Return the driver, nothing of it connected; ``boards`` are those of the bench."""
        raise NotImplementedError


class WasatchEntry(RamanEntry):
    """A Wasatch spectrometer with the laser that it drives itself, over USB."""

    language: Literal["wasatch"]

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.raman.wasatch import WasatchSpectrometer

        return WasatchSpectrometer

    def driver(self, boards: Mapping[str, RelayBoard]) -> RamanSpectrometer:
        from instruments.raman.wasatch import WasatchSpectrometer

        return WasatchSpectrometer(self.address, laser_power_w=self.laser_power_w)


class RelayLaserEntry(Data):
    """A laser that a relay switches: nothing but this software keeps it off."""

    board: str = Field(description="Name of a relay_board of this bench.")
    relay: int = Field(ge=0)
    warm_up_s: float = Field(
        default=0.0, ge=0, le=60, description="From the relay to a steady laser, s."
    )


class OceanEntry(RamanEntry):
    """An Ocean HDX on the network; its laser is another maker's, on a relay.

    ``laser_power_w`` is what that laser gives: nothing sets or reads it.
    """

    language: Literal["ocean"]
    excitation_nm: float = Field(
        gt=200,
        lt=2000,
        description="Wavelength of the laser, nm, in the medium (air or vacuum) of the "
        "spectrometer's calibration.",
    )
    laser: RelayLaserEntry

    @property
    def boards(self) -> tuple[str, ...]:
        return (self.laser.board,)

    @property
    def relays(self) -> tuple[tuple[str, int], ...]:
        return ((self.laser.board, self.laser.relay),)

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.raman.ocean import OceanSpectrometer

        return OceanSpectrometer

    def driver(self, boards: Mapping[str, RelayBoard]) -> RamanSpectrometer:
        from instruments.raman.ocean import OceanSpectrometer

        return OceanSpectrometer(
            self.address,
            boards[self.laser.board],
            self.laser.relay,
            excitation_nm=self.excitation_nm,
            laser_power_w=self.laser_power_w,
            laser_warm_up_s=self.laser.warm_up_s,
        )
