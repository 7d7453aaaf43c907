"""What spectrometers have in common whose maker's library runs in a process of its own."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from instruments._child import Child
from instruments.errors import TransportError
from instruments.raman.contract import Acquisition, Specification, require_bands
from instruments.transport import resolve

# Interpreter and library: below a second on an idle computer.
CONNECT_TIMEOUT_S = 30.0
# What a call may take beyond the exposures: the reads' own margin (2 s each), a warm-up, a busy
# machine.
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


class SupervisedSpectrometer:
    """One spectrometer behind a child process; subclasses know the library and the laser.

    Args:
        address: of the spectrometer; or ``published:`` one.
        laser_power_w: at the laser's exit.
        dark_max_age_s: a dark spectrum is used again for so long,
        dark_max_drift_c: and while the detector's temperature stays within this.
    """

    verified_on: str | None = None
    # The function of the child, as "module:function".
    _target: ClassVar[str]

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

    # -- what subclasses say

    def _child_arguments(self) -> dict[str, Any]:
        """Return what the child is told beside the address."""
        return {}

    def _specified(self, told: dict[str, Any]) -> Specification:
        """Return the specification from what the child told."""
        return Specification(**told)

    def _connected_well(self) -> None:
        """Do what is to be done when the child has connected."""

    def _died(self, error: TransportError) -> None:
        """Do what is to be done when the child has died; raises what is to be told instead."""

    # -- opening and closing

    def connect(self) -> None:
        """Start the child, open the spectrometer, laser off; idempotent.

        Blocks for about a second.

        Raises:
            TransportError: no library, no such spectrometer, or somebody else has it.
            ProtocolError: its calibration is not credible.
            SafetyLimitError: the laser's power is outside what the maker allows.
        """
        if self.connected:
            return
        child, facts = self._start()
        self._identity = facts["identity"] | {"address": child.who.removeprefix("raman ")}
        self._specification = self._specified(facts["specification"])
        self._axis = facts["wavenumber_cm1"]
        self._dark = None
        with self._state:
            self._child = child
        try:
            self._connected_well()
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
            self._target,
            {"address": address} | self._child_arguments(),
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
        self._end_child()

    def _end_child(self) -> None:
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

    def acquire(self, integration_time_s: float, accumulations: int) -> Acquisition:
        """Switch the laser on, read the detector out ``accumulations`` times, switch it off.

        Blocks for the exposures and some 20 ms. Nothing is subtracted or removed.

        Raises:
            InstrumentFaultError: the laser refuses, went off meanwhile, or ``safe_state`` was
                called.
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
            or self._has_drifted(dark.temperature_c)
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

    def _has_drifted(self, temperature_c: float) -> bool:
        # The newest temperature is that of the spectrum before.
        return not abs(self._temperature_c - temperature_c) <= self._dark_max_drift_c

    def _acquire(
        self, integration_time_s: float, accumulations: int, *, with_laser: bool
    ) -> Acquisition:
        if accumulations < 1:
            raise ValueError(f"raman {self.address}: {accumulations} accumulations asked")
        timeout_s = accumulations * (integration_time_s + READ_OUT_MARGIN_S) + MARGIN_S
        answer = self._expose(integration_time_s, accumulations, with_laser, timeout_s)
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

    def _expose(
        self, integration_time_s: float, accumulations: int, with_laser: bool, timeout_s: float
    ) -> dict[str, Any]:
        """Return all of an Acquisition but ``saturated_pixels``; the laser is off after."""
        answer: dict[str, Any] = self._call(
            "acquire",
            timeout_s,
            integration_time_s=integration_time_s,
            accumulations=accumulations,
            with_laser=with_laser,
        )
        return answer

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
            self._end_child()
            if died:
                self._died(error)
            raise

    def _call_beside(self, method: str) -> Any:
        """Return what a method says that runs beside an acquisition; None when not connected."""
        with self._state:
            child = self._child
        if child is None or not child.alive:
            return None
        return child.call_beside(method, MARGIN_S)

    def _not_connected(self, asked: str) -> TransportError:
        return TransportError(
            f"raman {self.address}: {asked} was asked for before connect() or after close()"
        )
