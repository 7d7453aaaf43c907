"""What a bench file tells of a thermostat."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from instruments.abilities import Span
from instruments.calibration import Quantity
from instruments.entry import AddressedEntry, CalibratedEntry
from instruments.thermostat.contract import Thermostat

# Water freezes in the bath as well as in a cell, and boils.
_WATER_K = (275.15, 368.15)


class ThermostatEntry(AddressedEntry, CalibratedEntry):
    """A thermostat: the temperature of the cell; each wire language has its own entry."""

    unreached_means: ClassVar[str] = "it goes on with the setpoint that it has"

    _quantities: ClassVar[Mapping[str, Quantity]] = {
        "temperature_offset": Quantity(
            "K",
            "What its thermometer reads less the true temperature of the cell: taken off, between "
            "two temperatures in proportion, beyond them as at the nearest.",
            "K",
            "the true temperature, K",
            expected=True,
        )
    }

    kind: Literal["thermostat"]
    bath_liquid: Literal["water", "water-glycol", "ethanol", "silicone oil", "dry"] | None = Field(
        default=None,
        description="What the cell stands in; dry: air, or a block of metal. Cells of sodium are "
        "refused in water and water-glycol; where it is not told there is a warning. Setpoints "
        "of water are 275.15 to 368.15 K.",
    )
    safe_temperature_k: float | None = Field(
        default=298.15,
        gt=0,
        description="Where it goes when the bench is left; none: it stops controlling.",
    )
    temperature_min_k: float | None = Field(
        default=None, gt=0, description="Lowest setpoint, for its liquid, K."
    )
    temperature_max_k: float | None = Field(
        default=None, gt=0, description="Highest setpoint, for its liquid, K."
    )

    @property
    def limits_k(self) -> tuple[float | None, float | None]:
        """Return the lowest and the highest setpoint for bench and liquid, K."""
        low, high = self.temperature_min_k, self.temperature_max_k
        if self.bath_liquid == "water":
            low = _WATER_K[0] if low is None else max(low, _WATER_K[0])
            high = _WATER_K[1] if high is None else min(high, _WATER_K[1])
        return low, high

    def bounds(self) -> Mapping[str, Span]:
        limits = self.limits_k
        return {} if limits == (None, None) else {"setpoint": Span(*limits, "K")}

    @model_validator(mode="after")
    def _temperatures_agree(self) -> Self:
        low, high = self.limits_k
        if low is not None and high is not None and low >= high:
            raise ValueError(f"temperature_min_k {low} K is not below temperature_max_k {high} K")
        safe = self.safe_temperature_k
        if safe is not None and not (low or 0.0) <= safe <= (high or float("inf")):
            raise ValueError(f"safe_temperature_k {safe} K is beyond its own limits")
        return self

    def driver(self) -> Thermostat:
        """Return the driver, nothing of it connected."""
        raise NotImplementedError


class HuberEntry(ThermostatEntry):
    """A Huber circulator with a Pilot ONE."""

    language: Literal["huber_pb"]

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.thermostat.huber_pb import HuberThermostat

        return HuberThermostat

    def driver(self) -> Thermostat:
        from instruments.thermostat.huber_pb import HuberThermostat

        return HuberThermostat(self.address, safe_temperature_k=self.safe_temperature_k)


class JulaboEntry(ThermostatEntry):
    """A Julabo circulator on a serial line, in remote mode."""

    language: Literal["julabo"]

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.thermostat.julabo import JulaboThermostat

        return JulaboThermostat

    def driver(self) -> Thermostat:
        from instruments.thermostat.julabo import JulaboThermostat

        return JulaboThermostat(self.address, safe_temperature_k=self.safe_temperature_k)
