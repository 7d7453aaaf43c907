"""Sensors: instruments that tell one or a few numbers when they are asked.

The device class is loaded on first use, so that drivers work without ophyd.
"""

from typing import TYPE_CHECKING, Any

from instruments.sensor.contract import Sensor

if TYPE_CHECKING:
    from instruments.sensor.device import SensorDevice

__all__ = ["Sensor", "SensorDevice"]


def __getattr__(name: str) -> Any:
    if name == "SensorDevice":
        from instruments.sensor.device import SensorDevice

        return SensorDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
