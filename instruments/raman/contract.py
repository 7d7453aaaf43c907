"""What a driver of a Raman spectrometer offers, whoever makes the spectrometer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from instruments.errors import UnsupportedTechniqueError

COUNTS_DATASET = "/entry/data/counts"
DARK_DATASET = "/entry/data/dark"
SPECTRUM_DATASET = "/entry/data/spectrum"
WAVENUMBER_DATASET = "/entry/data/wavenumber"


@dataclass(frozen=True, kw_only=True)
class Specification:
    """What the maker stored in the spectrometer about what it can do.

    Powers are at the laser's exit, as calibrated by the maker. ``saturation_counts`` is the count
    at which the converter is full.
    """

    excitation_nm: float
    pixels: int
    laser_power_min_w: float
    laser_power_max_w: float
    integration_time_min_s: float
    integration_time_max_s: float
    saturation_counts: float = 65535.0


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Read-outs of the detector taken one after the other, with what was set and read back.

    Attributes:
        counts: raw, shape (accumulations, pixels), nothing subtracted and nothing removed.
        integration_time_s: of each read-out, read back.
        laser_on: whether the laser was read back as emitting, before the first read-out and again
            after the last.
        laser_power_w: what was set and read back; 0 when the laser was off.
        detector_temperature_c: after the last read-out.
        saturated_pixels: how many pixels were full in at least one read-out.
        host_before_ns: the computer's clock (ns since 1970) before the first read-out.
        host_after_ns: the same after the last.
        laser_time_s: how long the laser was on, warm-up included; NaN: it was not measured.
    """

    counts: NDArray[np.float64]
    integration_time_s: float
    laser_on: bool
    laser_power_w: float
    detector_temperature_c: float
    saturated_pixels: int
    host_before_ns: int
    host_after_ns: int
    laser_time_s: float = math.nan


class RamanSpectrometer(Protocol):
    """A spectrometer with its laser.

    All calls block and raise InstrumentError. The laser is off when any of them has returned or
    raised, except ``laser_on``; nothing but ``acquire`` and ``laser_on`` switches it on.
    """

    address: str
    verified_on: str | None

    def connect(self) -> None:
        """Open the spectrometer and switch its laser off; idempotent."""
        ...

    @property
    def connected(self) -> bool:
        """Return whether it can be asked."""
        ...

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``serial_number``, ``firmware``, ``address`` of who answered."""
        ...

    @property
    def specification(self) -> Specification:
        """Return what the maker stored."""
        ...

    def wavenumber_axis(self) -> NDArray[np.float64]:
        """Return the Raman shift of each pixel, cm-1, as the maker calibrated it."""
        ...

    def require_bands(self, bands_cm1: Sequence[float]) -> None:
        """Raise UnsupportedTechniqueError if one of the bands does not lie on the axis."""
        ...

    def set_laser_power(self, power_w: float) -> float:
        """Set the power at which the laser will shine; return what was read back, W."""
        ...

    def acquire(self, integration_time_s: float, accumulations: int) -> Acquisition:
        """Switch the laser on, read the detector out ``accumulations`` times, switch it off."""
        ...

    def dark(self, integration_time_s: float, accumulations: int) -> NDArray[np.float64]:
        """Return the mean dark counts for this integration time, shape (pixels,)."""
        ...

    def arm(self) -> None:
        """Let spectra be taken again after ``safe_state``; switches nothing on."""
        ...

    def laser_on(self) -> None:
        """Let the laser shine, verified, until ``laser_off``; for alignment by hand."""
        ...

    def laser_off(self) -> None:
        """Switch the laser off, verified."""
        ...

    @property
    def is_on(self) -> bool:
        """Return whether the laser emits, read back from the instrument."""
        ...

    def safe_state(self) -> None:
        """Switch the laser off, also beside a call that runs in another thread; idempotent.

        No spectrum is taken after it, also by a call that was about to begin, until ``arm``,
        ``laser_on`` or a new connection.
        """
        ...

    def close(self) -> None:
        """Switch the laser off and release the spectrometer; idempotent."""
        ...


def require_bands(
    who: str, wavenumber_cm1: NDArray[np.float64], bands_cm1: Sequence[float], margin_cm1: float = 5
) -> None:
    """Refuse bands that do not lie on an axis, at least ``margin_cm1`` from its ends.

    Raises UnsupportedTechniqueError naming all of them. (With 785 nm excitation the OH band at
    3633 cm-1 would be at 1098 nm, where silicon is blind.)
    """
    low, high = float(np.min(wavenumber_cm1)), float(np.max(wavenumber_cm1))
    outside = [band for band in bands_cm1 if not low + margin_cm1 <= band <= high - margin_cm1]
    if outside:
        listed = ", ".join(f"{band:g}" for band in outside)
        raise UnsupportedTechniqueError(
            f"{who}: bands asked at {listed} cm-1 are not on its axis, {low:.0f} to {high:.0f} "
            "cm-1; leave them out of bands_cm1, or use an excitation and grating that reach them"
        )
