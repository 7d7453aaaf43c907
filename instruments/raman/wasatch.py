"""Wasatch Photonics spectrometers through the maker's library, in a process of its own.

Addresses: ``usb://`` (the only one plugged in), ``usb://24aa:1000``, ``usb://24aa:1000:BUS:ADDRESS``
and ``usb+tcp://host:port`` (see ``instruments.transport.usb_tcp``).

The laser is switched on, verified and switched off again by the child within one call, so that it
is off after every exchange whatever happens to this process. When the child itself dies in the
middle, another one is started to switch the laser off. What no program can do is done by the
interlock and the key.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instruments._child import Child
from instruments.errors import InstrumentError, TransportError
from instruments.raman.contract import Acquisition, Specification, require_bands
from instruments.transport import resolve

# Interpreter, library and nine pages of memory: 0.6 s here.
CONNECT_TIMEOUT_S = 30.0
# What a call may take beyond the exposures: the reads' own margin (2 s each), a warm-up (<= 255 s
# by the layout of the memory, seconds in practice), a busy machine.
MARGIN_S = 20.0
READ_OUT_MARGIN_S = 3.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Dark:
    counts: NDArray[np.float64]
    integration_time_s: float
    accumulations: int
    temperature_c: float
    taken: float  # monotonic


class WasatchSpectrometer:
    """One spectrometer of the FID family (``wasatch`` 2.5), laser included.

    Args:
        address: see the module; or ``published:`` any of these.
        laser_power_w: at the laser's exit; set and read back when connecting.
        dark_max_age_s: a dark spectrum is used again for so long,
        dark_max_drift_c: and while the detector's temperature stays within this.
    """

    verified_on: str | None = None

    def __init__(
        self,
        address: str,
        *,
        laser_power_w: float = 0.05,
        dark_max_age_s: float = 600.0,
        dark_max_drift_c: float = 1.0,
    ) -> None:
        self.address = address
        self._laser_power_w = laser_power_w
        self._dark_max_age_s = dark_max_age_s
        self._dark_max_drift_c = dark_max_drift_c
        self._temperature_c = float("nan")
        self._state = threading.Lock()  # guards _child
        self._child: Child | None = None
        self._warned = False
        self._identity: dict[str, str] | None = None
        self._specification: Specification | None = None
        self._axis: NDArray[np.float64] | None = None
        self._dark: _Dark | None = None

    # -- opening and closing

    def connect(self) -> None:
        """Start the child, open the spectrometer, laser off, power set; idempotent.

        Blocks for about a second.

        Raises:
            TransportError: no library, no such spectrometer, or somebody else has it.
            ProtocolError: its calibration memory is not credible.
            SafetyLimitError: the laser's power is outside what the maker allows.
        """
        if self.connected:
            return
        child, facts = self._start()
        self._identity = facts["identity"] | {"address": child.who.removeprefix("raman ")}
        self._specification = Specification(**facts["specification"])
        self._axis = facts["wavenumber_cm1"]
        self._dark = None
        with self._state:
            self._child = child
        try:
            self.set_laser_power(self._laser_power_w)
        except BaseException:
            self.close()
            raise
        if self.verified_on is None and not self._warned:
            self._warned = True
            _log.warning(
                "raman %s: this driver has not been confirmed on real hardware; "
                "watch the first runs, and the laser",
                self.address,
            )

    def _start(self) -> tuple[Child, dict[str, Any]]:
        address = resolve(self.address)
        child = Child(
            "instruments.raman._wasatch_process:serve",
            {"address": address},
            who=f"raman {address}",
        )
        try:
            return child, child.call("connect", CONNECT_TIMEOUT_S)
        except BaseException:
            child.close()
            raise

    @property
    def connected(self) -> bool:
        """Return whether it can be asked."""
        child = self._child
        return child is not None and child.alive

    def close(self) -> None:
        """Switch the laser off, release the spectrometer, end the child; idempotent."""
        with self._state:
            child, self._child = self._child, None
        if child is not None:
            child.close()

    # -- who and what

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``serial_number``, ``firmware``, ``address`` ... of who answered.

        Raises TransportError before connecting.
        """
        if self._identity is None:
            raise self._not_connected("identify")
        return dict(self._identity)

    @property
    def specification(self) -> Specification:
        """Return what the maker stored; raises TransportError before connecting."""
        if self._specification is None:
            raise self._not_connected("specification")
        return self._specification

    def wavenumber_axis(self) -> NDArray[np.float64]:
        """Return the Raman shift of each pixel, cm-1, ascending, shape (pixels,)."""
        if self._axis is None:
            raise self._not_connected("wavenumber_axis")
        return self._axis.copy()

    def require_bands(self, bands_cm1: Sequence[float]) -> None:
        """Raise UnsupportedTechniqueError if one of the bands does not lie on the axis."""
        require_bands(f"raman {self.address}", self.wavenumber_axis(), bands_cm1)

    # -- spectra

    def set_laser_power(self, power_w: float) -> float:
        """Set the power at which the laser will shine; return what was read back, W.

        Raises SafetyLimitError outside the range of ``specification``; 0 is not a power, the laser
        is off between acquisitions anyway.
        """
        answered_mw: float = self._call("set_laser_power", MARGIN_S, power_mw=power_w * 1e3)
        self._laser_power_w = power_w
        return answered_mw / 1e3

    def acquire(self, integration_time_s: float, accumulations: int) -> Acquisition:
        """Switch the laser on, read the detector out ``accumulations`` times, switch it off.

        Blocks for the exposures and some 20 ms. Nothing is subtracted or removed.

        Raises:
            InstrumentFaultError: the interlock is open, the laser refuses, went off meanwhile, or
                ``safe_state`` was called.
            UnsupportedTechniqueError: the integration time is out of range.
            TransportError: the spectrometer or its process is gone; connect again.
        """
        return self._acquire(integration_time_s, accumulations, with_laser=True)

    def acquire_dark(self, integration_time_s: float, accumulations: int) -> Acquisition:
        """Read the detector out with the laser off, verified; else as ``acquire``."""
        return self._acquire(integration_time_s, accumulations, with_laser=False)

    def dark(self, integration_time_s: float, accumulations: int) -> NDArray[np.float64]:
        """Return the mean dark counts for this integration time, shape (pixels,).

        Taken anew, laser off, when the integration time or the number of accumulations differs,
        after ``dark_max_age_s``, and when the detector's temperature has drifted.
        """
        dark = self._dark
        if (
            dark is None
            or dark.integration_time_s != integration_time_s
            or dark.accumulations != accumulations
            or time.monotonic() - dark.taken > self._dark_max_age_s
            # The newest temperature is that of the spectrum before.
            or not abs(self._temperature_c - dark.temperature_c) <= self._dark_max_drift_c
        ):
            taken = self.acquire_dark(integration_time_s, accumulations)
            dark = self._dark = _Dark(
                taken.counts.mean(axis=0),
                integration_time_s,
                accumulations,
                taken.detector_temperature_c,
                time.monotonic(),
            )
        return dark.counts

    def _acquire(
        self, integration_time_s: float, accumulations: int, *, with_laser: bool
    ) -> Acquisition:
        if accumulations < 1:
            raise ValueError(f"raman {self.address}: {accumulations} accumulations asked")
        answer = self._call(
            "acquire",
            accumulations * (integration_time_s + READ_OUT_MARGIN_S) + MARGIN_S,
            integration_time_s=integration_time_s,
            accumulations=accumulations,
            with_laser=with_laser,
        )
        self._temperature_c = answer["detector_temperature_c"]
        full = (answer["counts"] >= self.specification.saturation_counts).any(axis=0)
        taken = Acquisition(saturated_pixels=int(full.sum()), **answer)
        if taken.saturated_pixels:
            _log.warning(
                "raman %s: %d pixels are saturated at %g s and %g W: shorten the integration",
                *(self.address, taken.saturated_pixels),
                *(taken.integration_time_s, taken.laser_power_w),
            )
        return taken

    # -- the laser, as states

    def laser_on(self) -> None:
        """Let the laser shine, verified, until ``laser_off``; for alignment by hand.

        Raises InstrumentFaultError if the interlock is open or the laser refuses.
        """
        self._call("laser_on", MARGIN_S)

    def laser_off(self) -> None:
        """Switch the laser off, verified; raises InstrumentFaultError if it stays on."""
        self._call("laser_off", MARGIN_S)

    @property
    def is_on(self) -> bool:
        """Return whether the laser emits, read back; also beside an acquisition.

        False when not connected: closing switched it off, or an error said that it could not be.
        """
        with self._state:
            child = self._child
        if child is None or not child.alive:
            return False
        return bool(child.call_beside("is_firing", MARGIN_S))

    def safe_state(self) -> None:
        """Switch the laser off now; an acquisition in another thread ends with an error.

        Idempotent; does nothing when not connected (the laser is off then). Raises
        InstrumentFaultError if the laser stays on, TransportError if it cannot be told.
        """
        with self._state:
            child = self._child
        if child is not None and child.alive:
            child.call_beside("safe_state", MARGIN_S)

    # -- the child

    def _call(self, method: str, timeout_s: float, **arguments: Any) -> Any:
        with self._state:
            child = self._child
        if child is None:
            raise self._not_connected(method)
        try:
            return child.call(method, timeout_s, **arguments)
        except TransportError as error:
            died = not child.alive
            self.close()
            if died:
                self._switch_off_after_death(error)
            raise

    def _switch_off_after_death(self, error: TransportError) -> None:
        """Let a new child switch off a laser that the dead one may have left on."""
        try:
            child, _ = self._start()  # connecting switches the laser off first
        except InstrumentError as second:
            raise TransportError(
                f"{error}; the laser may be on, and could not be switched off ({second}): turn "
                "its key"
            ) from error
        child.close()

    def _not_connected(self, asked: str) -> TransportError:
        return TransportError(
            f"raman {self.address}: {asked} was asked for before connect() or after close()"
        )
