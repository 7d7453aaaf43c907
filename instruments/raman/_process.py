"""What the child processes of spectrometers have in common, whichever library they import."""

import importlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments.errors import InstrumentFaultError, TransportError

# What an answer may take beyond the integration.
READ_MARGIN_S = 2.0
# A spectrum that comes sooner than this share of its integration time is of an earlier request.
EARLIEST = 0.9


class SpectrometerProcess:
    """One spectrometer held open.

    Args:
        address: of the spectrometer.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._who = f"raman {address}"
        self._pixels = 0
        self._stopped = threading.Event()

    def _interrupted(self) -> InstrumentFaultError:
        return InstrumentFaultError(f"{self._who}: interrupted by safe_state()")


def import_library(name: str, maker: str, extra: str) -> Any:
    """Return a module of a maker's library, which only this process may import.

    Raises TransportError naming the extra that brings it where it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TransportError(
            f"the library for {maker} spectrometers is not installed ({error}); install the extra: "
            f"pip install 'operando-anode[{extra}]'"
        ) from error


def wrong_in_wavelengths(wavelength_nm: NDArray[np.float64]) -> str:
    """Return what cannot be true of the wavelength of each pixel; empty if nothing is."""
    if len(wavelength_nm) < 2 or not np.all(np.isfinite(wavelength_nm)):
        return f"{len(wavelength_nm)} wavelengths, not all of them numbers"
    beyond = wavelength_nm.min() < 150 or wavelength_nm.max() > 5000
    if beyond or not np.all(np.diff(wavelength_nm) > 0):
        return f"wavelengths from {wavelength_nm[0]:g} to {wavelength_nm[-1]:g} nm, not ascending"
    return ""
