"""Thermostats: the temperature of the cell, set and told.

The device class is loaded on first use, so that drivers work without ophyd.
"""

from typing import TYPE_CHECKING, Any

from instruments.thermostat.contract import TemperatureLimitError, Thermostat, ThermostatState
from instruments.thermostat.huber_pb import HuberThermostat

if TYPE_CHECKING:
    from instruments.thermostat.device import ThermostatDevice

__all__ = [
    "HuberThermostat",
    "TemperatureLimitError",
    "Thermostat",
    "ThermostatDevice",
    "ThermostatState",
]


def __getattr__(name: str) -> Any:
    if name == "ThermostatDevice":
        from instruments.thermostat.device import ThermostatDevice

        return ThermostatDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
