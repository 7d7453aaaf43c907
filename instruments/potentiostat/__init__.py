"""Potentiostats: one contract, one module per wire language, one device.

The device class is loaded on first use, so that drivers work without ophyd.
"""

from typing import TYPE_CHECKING, Any

from instruments.potentiostat.contract import (
    Capabilities,
    ImpedancePoint,
    Potentiostat,
    ProgramEnd,
    ProgramLog,
    Sample,
)

if TYPE_CHECKING:
    from instruments.potentiostat.device import PotentiostatDevice

__all__ = [
    "Capabilities",
    "ImpedancePoint",
    "Potentiostat",
    "PotentiostatDevice",
    "ProgramEnd",
    "ProgramLog",
    "Sample",
]


def __getattr__(name: str) -> Any:
    if name == "PotentiostatDevice":
        from instruments.potentiostat.device import PotentiostatDevice

        return PotentiostatDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
