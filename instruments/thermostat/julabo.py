"""Julabo circulators: lines of text over a serial line (4800 baud, 7 data bits, even parity).

A command is its name, perhaps a space and a number, and CR. ``in_...``, ``status`` and ``version``
are answered by a line that ends with LF, or CR LF; ``out_...`` is never answered, obeyed or not,
and only heard while the circulator is in remote mode. So ``status`` and the value in force are
asked for behind every one of them. It needs 250 ms after an ``out_``, and 10 ms after an answer.
"""

import logging
import re
import time
from pathlib import Path

from instruments._driver import PADDING, LineDriver
from instruments.abilities import Abilities, Span
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportTimeout,
)
from instruments.thermostat.contract import (
    COLDEST_K,
    HOTTEST_K,
    TemperatureLimitError,
    ThermostatState,
)
from instruments.transport import SerialSettings

_log = logging.getLogger(__name__)

_ZERO_CELSIUS_K = 273.15
# No model goes beyond; it does not tell its own range, and refuses with a status what exceeds it.
LANGUAGE_RANGE_K = (173.15, 673.15)
_RESOLUTION_K = 0.01
_ANSWER_S = 1.0
_AFTER_SETTING_S, _AFTER_ANSWER_S = 0.26, 0.012
_STATUS = re.compile(r"(-?\d{2})(?:\s+(.*))?\Z")
_MODE, _ANYTHING = re.compile(r"[01]\Z"), re.compile("")
_NUMBER = re.compile(r"[-+]?\d{1,4}(?:\.\d+)?\Z")

_BY_HAND, _REMOTE = (0, 1), (2, 3)
_ALARMS = {
    -1: "low level alarm: fill up its bath",
    -5: "its working sensor is broken or short-circuited",
    -6: "working sensor and safety sensor differ by more than it allows",
    -7: "its internal bus (I2C) failed",
}
_WARNINGS = {-3: "its bath is above the high temperature that it was told to warn of"}
_NOT_UNDERSTOOD = {-8: "invalid command"}
_NOT_NOW = {-9: "command not allowed in its current operating mode"}
_OUT_OF_RANGE = {
    -10: "value too small",
    -11: "value too large",
    -13: "value outside of its limits",
}


class JulaboThermostat(LineDriver):
    """A Julabo circulator.

    Connecting asks what it is and what it does; it changes nothing, and raises
    InstrumentFaultError with the circulator's own status if it is in alarm.

    Args:
        address: ``serial:///dev/...`` (4800 baud, 7 data bits, even parity, hardware handshake;
            ``?baud_rate=9600`` and so on where its menu says otherwise), or ``published:`` one.
        safe_temperature_k: where it goes when it is left alone after it was moved; ``None``: it
            stops controlling.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "thermostat"
    _left = "It goes on with the setpoint it has"
    _right = (
        "switched on, and at 4800 baud, 7 data bits, even parity, hardware handshake (its menu "
        "says)"
    )
    _settings = SerialSettings(
        baud_rate=4800, byte_size=7, parity="E", rts_cts=True, drop_flow_control=True
    )

    def __init__(
        self,
        address: str,
        *,
        safe_temperature_k: float | None = None,
        record_to: Path | None = None,
    ) -> None:
        super().__init__(address, record_to=record_to)
        self.safe_temperature_k = safe_temperature_k
        self._version = ""
        self._not_before = 0.0
        self._moved = False
        self._warning_told: int | None = None

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Julabo circulators in remote mode",
                does=("go to a temperature", "stop"),
                limits={"setpoint": Span(*LANGUAGE_RANGE_K, "K")},
                limits_kept_by="instrument",
                limits_note="the circulator refuses what is beyond its own range, which it does "
                "not tell; those of bench file and cell file are kept by this software",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return what it tells of itself."""
        return {"model": self._version, "address": self._wire().address}

    def setpoint_range_k(self) -> tuple[float, float]:
        """Return what the language can say, K; the model's own range it does not tell."""
        return LANGUAGE_RANGE_K

    def state(self) -> ThermostatState:
        """Return bath temperature, setpoint and whether it controls; four exchanges, 0.2 s in all.

        Raises InstrumentFaultError with the circulator's status if that is an alarm; a warning is
        logged once.
        """
        with self._lock:
            self._heed(*self._status())
            bath = self._kelvin("in_pv_00")
            setpoint = self._kelvin("in_sp_00")
            controlling = self._controls()
        return ThermostatState(bath, setpoint, controlling)

    def go_to(self, temperature_k: float) -> float:
        """Set the setpoint, start, and return the setpoint in force, K; blocks 1 s.

        Raises TemperatureLimitError if the circulator refuses the value (it keeps the one before),
        InstrumentFaultError if it is not in remote mode, in alarm, or if something else is in force
        afterwards.
        """
        low, high = LANGUAGE_RANGE_K
        if not low <= temperature_k <= high:
            raise TemperatureLimitError(
                f"{self._who()}: asked for {temperature_k:g} K; {low:g} K to {high:g} K can be "
                "told; its setpoint is unchanged"
            )
        wanted = round(temperature_k - _ZERO_CELSIUS_K, 2)
        with self._lock:
            self._needs_remote(*self._status())
            self._moved = True
            self._tell(f"out_sp_00 {wanted:.2f}")
            in_force = self._kelvin("in_sp_00")
            if abs(in_force - _ZERO_CELSIUS_K - wanted) > _RESOLUTION_K:
                raise self._disobeyed(f"out_sp_00 {wanted:.2f}", f"{in_force:.2f} K")
            self._tell("out_mode_05 1")
            if not self._controls():
                raise self._disobeyed("out_mode_05 1", "stopped")
        return in_force

    def confirm_setpoint(self) -> float:
        """Write the setpoint that it has once more and return what is in force, K; blocks 1 s.

        Raises InstrumentFaultError if it is not in remote mode, in alarm, or if another value is in
        force afterwards.
        """
        with self._lock:
            self._needs_remote(*self._status())
            had = self._kelvin("in_sp_00")
            wanted = round(had - _ZERO_CELSIUS_K, 2)
            self._tell(f"out_sp_00 {wanted:.2f}")
            in_force = self._kelvin("in_sp_00")
            if abs(in_force - had) > _RESOLUTION_K:
                raise self._disobeyed(f"out_sp_00 {wanted:.2f}", f"{in_force:.2f} K")
        return in_force

    def stop(self) -> None:
        """Stop controlling; raises InstrumentFaultError if it goes on, blocks 0.4 s."""
        with self._lock:
            self._tell("out_mode_05 0")
            if self._controls():
                raise self._disobeyed("out_mode_05 0", "started")
            self._moved = False

    def safe_state(self) -> None:
        """Go to the safe temperature, or stop where there is none.

        Nothing is done if nothing was moved, or it has been stopped since.
        """
        with self._lock:
            if not self._moved:
                return
            if self.safe_temperature_k is None:
                self.stop()
            else:
                self.go_to(self.safe_temperature_k)
            self._moved = False

    # -- what it says

    def _prepare(self) -> None:
        self._version = self._asked("version")
        if "julabo" not in self._version.lower():
            raise ProtocolError(
                f"{self._who()}: asked 'version', got {self._version!r}, which is no Julabo: "
                "connect the circulator, or correct the address or the language"
            )
        self._needs_celsius()
        self.state()

    def _status(self) -> tuple[int, str]:
        """Return its status, number and words."""
        line = self._asked("status", _STATUS)
        found = _STATUS.match(line)
        if found is None:
            raise ProtocolError(f"{self._who()}: asked 'status', got {line!r}: no status")
        return int(found[1]), line

    def _heed(self, code: int, line: str) -> None:
        """Raise what a status means for whoever only looks."""
        if code in _ALARMS:
            raise InstrumentFaultError(
                f"{self._who()}: in alarm, {line!r}: {_ALARMS[code]}; it does not control"
            )
        if code >= 0:
            self._warning_told = None
            return
        # Also what a command of somebody else has left, and what this list does not know.
        if code != self._warning_told:
            _log.warning("%s: its status is %r%s", self._who(), line, _meaning(code))
        self._warning_told = code

    def _needs_celsius(self) -> None:
        """Refuse one that is set to Fahrenheit; models that have no other unit do not answer."""
        try:
            unit = self._dialogue("in_sp_06")
        except (TransportTimeout, ProtocolError) as error:
            _log.debug("%s: taken for degC, it does not tell its unit: %s", self._who(), error)
            return
        if unit == "1":
            raise InstrumentFaultError(
                f"{self._who()}: it is set to Fahrenheit: switch it to Celsius in its menu"
            )

    def _needs_remote(self, code: int, line: str) -> None:
        self._heed(code, line)
        if code in _BY_HAND:
            raise InstrumentFaultError(
                f"{self._who()}: its status is {line!r}: it takes no commands; switch it to remote "
                "control (RS232 or USB) in its menu. Its setpoint is unchanged"
            )

    def _tell(self, command: str) -> None:
        """Give a command that is not answered, and raise what its status says of it."""
        self._send(command)
        self._not_before = time.monotonic() + _AFTER_SETTING_S
        code, line = self._status()
        if code in _OUT_OF_RANGE:
            raise TemperatureLimitError(
                f"{self._who()}: asked {command!r}, it refuses with {line!r}; it keeps the "
                "setpoint it had. Its limits are in its menu"
            )
        if code in _NOT_UNDERSTOOD | _NOT_NOW:
            raise InstrumentFaultError(
                f"{self._who()}: asked {command!r}, it refuses with {line!r}: is it in remote mode?"
            )
        self._needs_remote(code, line)

    def _controls(self) -> bool:
        line = self._asked("in_mode_05", _MODE)
        if line not in ("0", "1"):
            raise ProtocolError(f"{self._who()}: asked 'in_mode_05', got {line!r}, not 0 or 1")
        return line == "1"

    def _kelvin(self, command: str) -> float:
        line = self._asked(command, _NUMBER)
        if not _NUMBER.match(line):
            raise ProtocolError(f"{self._who()}: asked {command!r}, got {line!r}: no temperature")
        kelvin = round(float(line) + _ZERO_CELSIUS_K, 2)
        if not COLDEST_K <= kelvin <= HOTTEST_K:
            raise ProtocolError(
                f"{self._who()}: asked {command!r}, got {line!r}: no bath is at {kelvin:g} K: the "
                "answer is damaged"
            )
        return kelvin

    def _disobeyed(self, command: str, found: str) -> InstrumentFaultError:
        return InstrumentFaultError(
            f"{self._who()}: asked {command!r}, in force is {found}: is it in remote mode, and not "
            "limited in its menu?"
        )

    # -- dialogue

    def _asked(self, command: str, wanted: re.Pattern[str] = _ANYTHING) -> str:
        """Ask, and return the line that answers.

        Asked once more if it is lost, damaged, or not of the form that is wanted.
        """
        with self._lock:
            try:
                line = self._dialogue(command)
                if wanted.match(line):
                    return line
                _log.debug("%s: asking again after %r", self._who(), line)
            except (TransportTimeout, ProtocolError) as error:
                _log.debug("%s: asking again after: %s", self._who(), error)
            return self._dialogue(command)

    def _dialogue(self, command: str) -> str:
        self._forget_input()
        self._send(command)
        line = self._heard(_ANSWER_S, repr(command))
        self._not_before = time.monotonic() + _AFTER_ANSWER_S
        text = line.decode("latin-1").strip(PADDING)
        if not text.isascii() or not text.isprintable() or not text:
            raise ProtocolError(
                f"{self._who()}: asked {command!r}, got {line!r}, which is damaged: do baud rate "
                "and parity agree (4800 baud, 7 data bits, even parity)?"
            )
        return text

    def _send(self, command: str) -> None:
        time.sleep(max(self._not_before - time.monotonic(), 0.0))
        self._say(command.encode("ascii") + b"\r", repr(command))


def _meaning(code: int) -> str:
    told = (_WARNINGS | _NOT_UNDERSTOOD | _NOT_NOW | _OUT_OF_RANGE).get(code)
    return "" if told is None else f" ({told})"
