"""Ocean HDX spectrometers by ``seabreeze`` in a process of its own, with a laser on a relay.

SOFTWARE ONLY: nothing but this software switches the laser, and the relay knows nothing of who
watches it. It is closed for the read-outs alone, read back before and after, and opened and read
back in any case. When this process dies in between, the child opens it as soon as the board's port
is free; when the child dies, this process does. When both die, are stopped, or the computer's power
goes while the board has its own, the laser stays on. An interlock and a key are needed.
"""

import contextlib
import logging
import threading
import time
from typing import Any, ClassVar

from instruments.abilities import Abilities, Span
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    TransportError,
    UnsupportedTechniqueError,
)
from instruments.raman._supervised import MARGIN_S, SupervisedSpectrometer
from instruments.raman.contract import Specification
from instruments.relay_board import Lamp
from instruments.relay_board.contract import RelayBoard

_LASER_TRIES = 3
_SOFTWARE_ONLY = (
    "its laser hangs on a relay, which this software alone switches; should it and its child "
    "process be killed together, or the computer stop, the laser stays on: have an interlock and a "
    "key"
)

_log = logging.getLogger(__name__)


class OceanSpectrometer(SupervisedSpectrometer):
    """One Ocean HDX on the network (``tcp://host:port``) and a laser that a relay switches.

    The axis is computed from the spectrometer's wavelengths and ``excitation_nm``; dark spectra are
    taken with the relay open. The detector tells no temperature, so darks only age.

    Args:
        address: ``tcp://host:port``, or ``published:`` one.
        board: the relay board; it is connected with this.
        relay: the relay that the laser hangs on.
        excitation_nm: wavelength of the laser, nm, in the medium of the spectrometer's calibration.
        laser_power_w: what the laser gives when it is on, W: told, for nothing can set or read it.
        laser_warm_up_s: from the relay to a steady laser, s.
        dark_max_age_s: a dark spectrum is used again for so long.
    """

    # Of this package: has the maker's library.
    extra: ClassVar[str] = "raman-ocean"
    _target = "instruments.raman._ocean_process:serve"

    def __init__(
        self,
        address: str,
        board: RelayBoard,
        relay: int,
        *,
        excitation_nm: float,
        laser_power_w: float = 0.05,
        laser_warm_up_s: float = 0.0,
        dark_max_age_s: float = 600.0,
    ) -> None:
        super().__init__(address, laser_power_w=laser_power_w, dark_max_age_s=dark_max_age_s)
        self._board = board
        self._relay = relay
        self._laser = Lamp(board, relay)
        self._excitation_nm = excitation_nm
        self._laser_warm_up_s = laser_warm_up_s
        self._switching = threading.Lock()
        self._interrupted = threading.Event()
        self._has_connected = False

    # -- opening and closing

    def connect(self) -> None:
        """Open the laser's relay, read it back, start the child, open the spectrometer; idempotent.

        Raises:
            TransportError: no library, no such spectrometer, or no such board.
            ProtocolError: the wavelength calibration is not credible.
            InstrumentFaultError: the relay does not open.
        """
        if self.connected:
            return
        self._interrupted.clear()
        self._board.connect()  # a bench opens its instruments beside each other
        self._switch_off()
        first, self._has_connected = not self._has_connected, True
        super().connect()
        if first:
            _log.warning(
                "raman %s: relay %d: SOFTWARE ONLY: %s", self.address, self._relay, _SOFTWARE_ONLY
            )

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Ocean HDX with another maker's laser on a relay",
                does=("take spectra", "take dark spectra", "switch the laser"),
                limits={"integration time": Span(None, None, "s")},
                limits_kept_by="software",
                limits_note=_SOFTWARE_ONLY,
            ),
        )

    def _child_arguments(self) -> dict[str, Any]:
        return {
            "excitation_nm": self._excitation_nm,
            "board": self._board.identify()["address"],
            "relay": self._relay,
        }

    def _specified(self, told: dict[str, Any]) -> Specification:
        power_w = self._laser_power_w
        return Specification(laser_power_min_w=power_w, laser_power_max_w=power_w, **told)

    def close(self) -> None:
        """Switch the laser off, release the spectrometer, end the child; idempotent."""
        if not self._has_connected:
            return
        try:
            super().close()
        finally:
            self._has_connected = False

    def _end_child(self) -> None:
        # The laser first: a child takes its time to end, and one that hangs takes seconds.
        try:
            if self._has_connected:
                self._switch_off()
        finally:
            super()._end_child()

    # -- the laser, as states

    def set_laser_power(self, power_w: float) -> float:
        """Return the power of the laser, W; raises UnsupportedTechniqueError for another one."""
        if power_w != self._laser_power_w:
            raise UnsupportedTechniqueError(
                f"raman {self.address}: laser power {power_w:g} W asked; a relay cannot set it, it "
                f"gives {self._laser_power_w:g} W (laser_power_w of the bench file)"
            )
        return power_w

    def arm(self) -> None:
        """Let spectra be taken again after ``safe_state``; switches nothing on."""
        self._interrupted.clear()

    def laser_on(self) -> None:
        """Let the laser shine, verified, until ``laser_off``; for alignment by hand."""
        self.arm()
        self._switch_on()

    def laser_off(self) -> None:
        """Switch the laser off, verified; raises InstrumentFaultError if it stays on."""
        self._switch_off()

    @property
    def is_on(self) -> bool:
        """Return whether the laser's relay is closed, asked of the board; also beside an exposure.

        False before it was connected: nothing of it was switched on.
        """
        return self._has_connected and self._laser.is_on

    def safe_state(self) -> None:
        """Switch the laser off now; an acquisition in another thread ends with an error.

        So does each that follows, until ``arm``. Idempotent; switches nothing before it was
        connected. Raises InstrumentFaultError if the relay does not open, TransportError if the
        board does not answer.
        """
        self._interrupted.set()
        if not self._has_connected:
            return
        try:
            self._switch_off()
        finally:
            with contextlib.suppress(TransportError):  # a child that is gone takes no spectrum
                self._call_beside("interrupt")

    def _switch_on(self) -> None:
        # First the child, which switches it off if this process dies right after.
        self._call("laser_may_be_on", MARGIN_S, on=True)
        with self._switching:
            if self._interrupted.is_set():
                raise self._was_interrupted()
            self._laser.on()

    def _switch_off(self) -> None:
        with self._switching:
            for left in reversed(range(_LASER_TRIES)):
                try:
                    self._laser.off()
                    break
                except InstrumentError as error:
                    if not left:
                        raise type(error)(
                            f"{error}; THE LASER MAY BE ON after {_LASER_TRIES} commands to switch "
                            "it off: turn its key"
                        ) from error
        with self._state:
            child = self._child
        if child is not None and child.alive:
            with contextlib.suppress(TransportError):  # told to whoever asks it next
                child.call_beside("laser_is_off", MARGIN_S)

    # -- spectra

    def _expose(
        self, integration_time_s: float, accumulations: int, with_laser: bool, timeout_s: float
    ) -> dict[str, Any]:
        if not self._has_connected:
            raise self._not_connected("acquire")
        told = {"integration_time_s": integration_time_s, "accumulations": accumulations}
        laser_time_s = 0.0
        if self._interrupted.is_set():
            raise self._was_interrupted()
        if not with_laser:
            self._switch_off()
            answer = self._call("acquire", timeout_s, **told)
            firing = self._laser.is_on
        else:
            since = time.monotonic()
            try:
                self._switch_on()
                if self._interrupted.wait(self._laser_warm_up_s):
                    raise self._was_interrupted()
                answer = self._call("acquire", timeout_s, **told)
                firing = self._laser.is_on
            finally:
                self._switch_off()
            laser_time_s = time.monotonic() - since
        if self._interrupted.is_set():
            raise self._was_interrupted()
        if firing != with_laser:
            raise InstrumentFaultError(
                f"raman {self.address}: the laser's relay went {'on' if firing else 'off'} during "
                "the acquisition: has another program got the board?"
            )
        power_w = self._laser_power_w if firing else 0.0
        told_by_child: dict[str, Any] = answer
        return told_by_child | {
            "laser_on": firing,
            "laser_power_w": power_w,
            "laser_time_s": laser_time_s,
        }

    def _has_drifted(self, temperature_c: float) -> bool:
        return False  # its temperature is not known

    def _was_interrupted(self) -> InstrumentFaultError:
        return InstrumentFaultError(
            f"raman {self.address}: interrupted by safe_state(); arm() lets it go on"
        )
