"""Gas chromatographs: started by a contact, watched by a line, read from a folder of results.

The device class is loaded on first use, so that drivers work without ophyd.
"""

from typing import TYPE_CHECKING, Any

from instruments.gas_chromatograph.contact import ContactGasChromatograph
from instruments.gas_chromatograph.contract import (
    Chromatogram,
    GasChromatograph,
    Injection,
    Results,
)
from instruments.gas_chromatograph.results import (
    ResultFolder,
    parse_chromatogram,
    read_chromatogram,
)

if TYPE_CHECKING:
    from instruments.gas_chromatograph.device import GasChromatographDevice

__all__ = [
    "Chromatogram",
    "ContactGasChromatograph",
    "GasChromatograph",
    "GasChromatographDevice",
    "Injection",
    "ResultFolder",
    "Results",
    "parse_chromatogram",
    "read_chromatogram",
]


def __getattr__(name: str) -> Any:
    if name == "GasChromatographDevice":
        from instruments.gas_chromatograph.device import GasChromatographDevice

        return GasChromatographDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
