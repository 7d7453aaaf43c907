"""What a bench file tells of a sensor."""

from typing import Literal

from pydantic import Field

from instruments.entry import AddressedEntry
from instruments.sensor.contract import Sensor


class SensorEntry(AddressedEntry):
    """A sensor; each wire language has its own entry."""

    kind: Literal["sensor"]

    def driver(self) -> Sensor:
        """Return the driver, nothing of it connected."""
        raise NotImplementedError


class AtlasEzoPhEntry(SensorEntry):
    """A pH probe on an Atlas Scientific EZO circuit."""

    language: Literal["atlas_ezo_ph"]
    temperature_k: float = Field(
        default=298.15, gt=263, lt=373, description="Of the solution, for the probe's slope, K."
    )

    def driver(self) -> Sensor:
        from instruments.sensor.atlas_ezo_ph import AtlasEzoPh

        return AtlasEzoPh(self.address, temperature_k=self.temperature_k)
