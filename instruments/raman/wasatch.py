"""Wasatch Photonics spectrometers through the maker's library, in a process of its own.

Addresses: ``usb://`` (the only one plugged in), ``usb://24aa:1000``, ``usb://24aa:1000:BUS:ADDRESS``
and ``usb+tcp://host:port`` (see ``instruments.transport.usb_tcp``).

The laser is switched on, verified and switched off again by the child within one call, so that it
is off after every exchange whatever happens to this process. When the child itself dies in the
middle, another one is started to switch the laser off. What no program can do is done by the
interlock and the key.
"""

from typing import Any, ClassVar

from instruments.abilities import Abilities, Span
from instruments.errors import InstrumentError, StrangerError, TransportError
from instruments.raman._supervised import MARGIN_S, SupervisedSpectrometer
from instruments.strangers import mark_of

# What the child says of a laser that it could not switch off.
_NOT_OFF = "could not be switched off"


class WasatchSpectrometer(SupervisedSpectrometer):
    """One spectrometer of the FID family (``wasatch`` 2.5), laser included.

    Args:
        address: see the module; or ``published:`` any of these.
        laser_power_w: at the laser's exit; set and read back when connecting.
        dark_max_age_s: a dark spectrum is used again for so long,
        dark_max_drift_c: and while the detector's temperature stays within this.
    """

    # Of this package: has the maker's library.
    extra: ClassVar[str] = "raman"
    _target = "instruments.raman._wasatch_process:serve"
    _left_on = ""  # of which spectrometer the laser may be, although nobody is connected

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Wasatch spectrometers with their own laser",
                does=("take spectra", "take dark spectra", "set the laser's power"),
                limits={
                    "laser power": Span(None, None, "W"),
                    "integration time": Span(None, None, "s"),
                },
                limits_kept_by="instrument",
                limits_note="as the maker stored them in the spectrometer; what is beyond is "
                "refused before the laser is switched on",
            ),
        )

    def _connected_well(self) -> None:
        answers = mark_of(self.identify())
        if self._left_on not in ("", answers):
            raise self._another(answers, self._left_on)
        self._left_on = ""  # connecting has switched it off
        self.set_laser_power(self._laser_power_w)

    # -- the laser, as states

    def set_laser_power(self, power_w: float) -> float:
        """Set the power at which the laser will shine; return what was read back, W.

        Raises SafetyLimitError outside the range of ``specification``; 0 is not a power, the laser
        is off between acquisitions anyway.
        """
        answered_mw: float = self._call("set_laser_power", MARGIN_S, power_mw=power_w * 1e3)
        self._laser_power_w = power_w
        return answered_mw / 1e3

    def arm(self) -> None:
        """Let spectra be taken again after ``safe_state``; switches nothing on."""
        if self.connected:  # a new connection is armed
            self._call("arm", MARGIN_S)

    def laser_on(self) -> None:
        """Let the laser shine, verified, until ``laser_off``; for alignment by hand.

        Raises InstrumentFaultError if the interlock is open or the laser refuses.
        """
        self.arm()
        self._call("laser_on", MARGIN_S)

    def laser_off(self) -> None:
        """Switch the laser off, verified; raises InstrumentFaultError if it stays on."""
        self._call("laser_off", MARGIN_S)

    @property
    def is_on(self) -> bool:
        """Return whether the laser emits, read back; also beside an acquisition.

        False when not connected: closing switched it off, or an error said that it could not be.
        """
        return bool(self._call_beside("is_firing"))

    def safe_state(self) -> None:
        """Switch the laser off now; an acquisition in another thread ends with an error.

        So does each that follows, until ``arm``. Idempotent; does nothing when not connected (the
        laser is off then), unless it could not be switched off when the spectrometer was lost:
        then that is tried again. Raises InstrumentFaultError if the laser stays on, TransportError
        if it cannot be told.
        """
        if self._left_on and not self.connected:
            try:
                self.connect()
            except InstrumentError as error:
                raise TransportError(
                    f"raman {self.address}: its laser could not be switched off when it was lost, "
                    f"and it cannot be reached now ({error}): turn its key"
                ) from error
        self._call_beside("safe_state")

    # -- the child

    def _call(self, method: str, timeout_s: float, **arguments: Any) -> Any:
        try:
            return super()._call(method, timeout_s, **arguments)
        except InstrumentError as error:
            if _NOT_OFF in str(error) and self._identity is not None:
                self._left_on = mark_of(self._identity)
            raise

    def _died(self, error: TransportError) -> None:
        """Let a new child switch off a laser that the dead one may have left on."""
        lost = mark_of(self._identity or {})
        try:
            child, facts = self._start()  # connecting switches the laser off first
        except InstrumentError as second:
            raise TransportError(
                f"{error}; the laser may be on, and could not be switched off ({second}): turn "
                "its key"
            ) from error
        child.close()
        answers = mark_of(facts["identity"])
        if answers != lost:
            raise self._another(answers, lost) from error

    def _another(self, answers: str, lost: str) -> StrangerError:
        return StrangerError(
            f"raman {self.address}: another spectrometer ({answers} instead of {lost}) answers; "
            f"the laser of {lost} may be on, and {_NOT_OFF}: turn its key"
        )
