"""What a bench file tells of a sensor."""

from collections.abc import Callable, Mapping, Set
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from instruments.calibration import Quantity
from instruments.entry import AddressedEntry, CalibratedEntry, OnFailure
from instruments.sensor.contract import Sensor


class SensorEntry(AddressedEntry, CalibratedEntry):
    """A sensor; each wire language has its own entry."""

    kind: Literal["sensor"]
    on_failure: OnFailure = "note"

    def driver(self, temperature_of: Callable[[], float] | None = None) -> Sensor:
        """Return the driver, nothing of it connected; by default it needs the address alone.

        ``temperature_of`` tells the temperature of its thermostat now, K; ``None``: it has none.
        """
        sensor: Sensor = self.driver_class()(self.address)
        return sensor


class AtlasEzoPhEntry(SensorEntry):
    """A pH probe on an Atlas Scientific EZO circuit."""

    _calibrating: ClassVar[frozenset[str]] = frozenset({"temperature_k", "compensated_by"})
    _quantities: ClassVar[Mapping[str, Quantity]] = {
        "ph_offset": Quantity(
            "1",
            "What it reads less the pH of a buffer; told, not taken off: the circuit has a "
            "calibration of its own.",
            "1",
            "the pH of the buffer",
        ),
        "temperature_offset": Quantity(
            "K",
            "What the thermometer that compensates it reads less the true temperature; told, not "
            "taken off.",
            "K",
            "the true temperature, K",
        ),
    }

    language: Literal["atlas_ezo_ph"]
    temperature_k: float = Field(
        default=298.15,
        gt=263,
        lt=373,
        description="Of the solution, for the probe's slope, K; held where nothing else tells it.",
    )
    compensated_by: str | None = Field(
        default=None,
        description="The thermostat that is asked for the temperature of the solution before each "
        "reading; none: it is temperature_k.",
    )

    @property
    def thermostats(self) -> tuple[str, ...]:
        return () if self.compensated_by is None else (self.compensated_by,)

    def without(self, thermostats: Set[str]) -> Self:
        if self.compensated_by not in thermostats:
            return self
        return self.model_copy(update={"compensated_by": None})

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.sensor.atlas_ezo_ph import AtlasEzoPh

        return AtlasEzoPh

    def driver(self, temperature_of: Callable[[], float] | None = None) -> Sensor:
        from instruments.sensor.atlas_ezo_ph import AtlasEzoPh

        return AtlasEzoPh(
            self.address, temperature_k=self.temperature_k, temperature_of=temperature_of
        )


class KellerBusEntry(SensorEntry):
    """A pressure transmitter of KELLER's Series 30 (33X, 35X, 36X) in the cell's headspace."""

    language: Literal["keller_bus"]
    device: int = Field(
        default=250,
        ge=1,
        le=250,
        description="Its address on the bus, 1 to 249; 250: it is there alone.",
    )
    measures: Literal["absolute", "gauge"] = Field(
        default="absolute",
        description="What it counts from: absolute (PAA) from vacuum, gauge (PR, PA) from the "
        "atmosphere.",
    )
    ambient_kpa: float = Field(
        default=101.325,
        gt=50,
        lt=120,
        description="Pressure of the atmosphere, kPa: overpressure counts from it.",
    )

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.sensor.keller_bus import KellerBusPressure

        return KellerBusPressure

    def driver(self, temperature_of: Callable[[], float] | None = None) -> Sensor:
        from instruments.sensor.keller_bus import KellerBusPressure

        return KellerBusPressure(
            self.address,
            device=self.device,
            measures=self.measures,
            ambient_kpa=self.ambient_kpa,
        )


class SrsQcm200Entry(SensorEntry):
    """A quartz microbalance of Stanford Research Systems, its crystal the working electrode."""

    _calibrating: ClassVar[frozenset[str]] = frozenset({"sensitivity_hz_cm2_ug"})
    _quantities: ClassVar[Mapping[str, Quantity]] = {
        "sensitivity_share": Quantity(
            "1",
            "Mass per charge that was found over that of the metal alone, where its efficiency is "
            "known; told, not taken off.",
            positive=True,
        )
    }

    language: Literal["srs_qcm200"]
    sensitivity_hz_cm2_ug: float = Field(
        default=56.6,
        gt=0,
        description="By how much the frequency falls per mass and area (Sauerbrey), Hz cm2/ug; "
        "56.6 is that of a crystal of 5 MHz, AT cut.",
    )
    gate_s: float = Field(
        default=1.0, description="How long each frequency is counted: 0.1, 1 or 10 s."
    )

    @field_validator("gate_s")
    @classmethod
    def _there_is_such_a_gate(cls, value: float) -> float:
        if value not in (0.1, 1.0, 10.0):
            raise ValueError(f"gate_s is 0.1, 1 or 10 s, not {value:g} s")
        return value

    @classmethod
    def driver_class(cls) -> Any:
        from instruments.sensor.srs_qcm200 import SrsQcm200

        return SrsQcm200

    def driver(self, temperature_of: Callable[[], float] | None = None) -> Sensor:
        from instruments.sensor.srs_qcm200 import SrsQcm200

        return SrsQcm200(
            self.address,
            sensitivity_hz_cm2_ug=self.sensitivity_hz_cm2_ug,
            gate_s=self.gate_s,
        )
