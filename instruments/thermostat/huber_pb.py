"""Huber circulators with a Pilot ONE: PB commands over TCP (or a serial line).

A command is ``{Maavvvv`` CR LF: the address in two hexadecimal digits and a value in four (16 bits,
two's complement), or ``****`` to read. Every command, also a write, is answered with ``{Saavvvv``
and the value that is in force; 7FFF means that this model does not have it. Temperatures are in
0.01 degC. The bath's sensor is controlled on; a process sensor, where there is one, is read besides
it.
"""

import logging
import re
from pathlib import Path

from instruments._driver import LineDriver, of_other_settings
from instruments.abilities import Abilities, Span
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportTimeout,
)
from instruments.thermostat.contract import COLDEST_K, TemperatureLimitError, ThermostatState

_log = logging.getLogger(__name__)

SETPOINT, INTERNAL, ERROR, WARNING, PROCESS = 0x00, 0x01, 0x05, 0x06, 0x07
STATUS, CONTROL, LOWEST_SETPOINT, HIGHEST_SETPOINT = 0x0A, 0x14, 0x30, 0x31

NOT_AVAILABLE = 0x7FFF
_TEMPERATURES = (SETPOINT, INTERNAL, PROCESS, LOWEST_SETPOINT, HIGHEST_SETPOINT)
ZERO_CELSIUS_K = 273.15
RESOLUTION_K = 0.01
# What the language can say; a model's own range is narrower.
LANGUAGE_RANGE_K = (122.15, 600.15)
# Some models give this for a sensor that is not there.
_NO_SENSOR = -15100

_CONTROLLING, _ERROR_BIT, _WARNING_BIT = 0, 8, 9
_ANSWER_S = 1.0
_QUIET_S = 0.05
# What stands before it is the rest of an answer that was cut off.
_ANSWER = re.compile(rb"\{S([0-9A-Fa-f]{2})([0-9A-Fa-f]{4})\r?\Z")


class HuberThermostat(LineDriver):
    """A Huber circulator.

    Connecting asks for temperature, setpoint and range; it changes nothing, and raises
    InstrumentFaultError if the circulator reports an error that nobody has acknowledged.

    Args:
        address: ``tcp://host:8101``, ``serial:///dev/...`` (9600 baud) or ``published:`` one of
            these.
        safe_temperature_k: where it goes when it is left alone after it was moved; ``None``: it
            stops controlling.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "thermostat"
    _left = "It goes on with the setpoint it has"
    _right = "switched on, and at this address (PB commands, port 8101; on a serial line 9600 baud)"

    def __init__(
        self,
        address: str,
        *,
        safe_temperature_k: float | None = None,
        record_to: Path | None = None,
    ) -> None:
        super().__init__(address, record_to=record_to)
        self.safe_temperature_k = safe_temperature_k
        self._range_k = LANGUAGE_RANGE_K
        self._moved = False
        self._of_process = False
        self._warning_told = 0

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Huber circulators, Pilot ONE",
                does=("go to a temperature", "stop"),
                limits={"setpoint": Span(*LANGUAGE_RANGE_K, "K")},
                limits_kept_by="instrument",
                limits_note="the circulator's own range is narrower and asked for when it is "
                "connected; those of bench file and cell file are kept by this software",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return the kind of instrument, its range, and whose temperature it told last.

        PB commands tell no model.
        """
        low, high = self._range_k
        return {
            "model": "Huber circulator, Pilot ONE",
            "address": self._wire().address,
            "setpoint_range_k": f"{low:g} to {high:g}",
            "temperature_of": "process sensor" if self._of_process else "bath",
        }

    def setpoint_range_k(self) -> tuple[float, float]:
        """Return the lowest and the highest setpoint, K; before ``connect`` the language's own."""
        return self._range_k

    def state(self) -> ThermostatState:
        """Return temperature, setpoint and whether it controls; three exchanges, 10 ms each.

        The temperature is the process sensor's where there is one, else the bath's, which
        ``of_process`` tells. Raises
        InstrumentFaultError with the circulator's own error number if it reports one; a warning is
        logged once.
        """
        with self._lock:
            status = self._read(STATUS)
            if status is not None:
                self._heed(status & 0xFFFF)
            told = self._read(PROCESS)
            self._of_process = told is not None and told != _NO_SENSOR
            if told is None or told == _NO_SENSOR:
                told = self._needed(INTERNAL, "the bath's temperature")
            setpoint = self._needed(SETPOINT, "the setpoint")
            if status is None:
                controlling = bool(self._needed(CONTROL, "whether it controls"))
            else:
                controlling = bool(status >> _CONTROLLING & 1)
            of_process = self._of_process
        return ThermostatState(_kelvin(told), _kelvin(setpoint), controlling, of_process)

    def go_to(self, temperature_k: float) -> float:
        """Set the setpoint, start to control, and return the setpoint in force, K.

        Raises TemperatureLimitError before anything is sent if the circulator's range forbids it;
        InstrumentFaultError if another value is in force afterwards, or it does not control.
        """
        low, high = self._range_k
        if not low <= temperature_k <= high:
            raise TemperatureLimitError(
                f"{self._who()}: asked for {temperature_k:g} K, it takes {low:g} K to {high:g} K; "
                "its setpoint is unchanged"
            )
        wanted = round((temperature_k - ZERO_CELSIUS_K) / RESOLUTION_K)
        with self._lock:
            self._moved = True
            in_force = self._write(SETPOINT, wanted)
            if in_force != wanted:
                raise self._disobeyed(f"set {_kelvin(wanted):.2f} K", f"{_kelvin(in_force):.2f} K")
            if self._write(CONTROL, 1) != 1:
                status = self._read(STATUS)
                if status is not None:
                    self._heed(status & 0xFFFF)
                raise self._disobeyed("to control", "not controlling")
        return _kelvin(in_force)

    def confirm_setpoint(self) -> float:
        """Write the setpoint that it has once more and return what is in force, K; two exchanges.

        Raises InstrumentFaultError if that is another value.
        """
        with self._lock:
            had = self._needed(SETPOINT, "the setpoint")
            in_force = self._write(SETPOINT, had)
        if in_force != had:
            raise self._disobeyed(f"to keep {_kelvin(had):.2f} K", f"{_kelvin(in_force):.2f} K")
        return _kelvin(in_force)

    def stop(self) -> None:
        """Stop controlling; raises InstrumentFaultError if it goes on."""
        with self._lock:
            if self._write(CONTROL, 0) != 0:
                raise self._disobeyed("to stop controlling", "controlling")
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

    # -- dialogue

    def _prepare(self) -> None:
        self._synchronise()
        self._range_k = self._told_range()
        self.state()

    def _told_range(self) -> tuple[float, float]:
        """Return the model's range, or what the language can say where the model does not tell."""
        low, high = self._read(LOWEST_SETPOINT), self._read(HIGHEST_SETPOINT)
        if low is None or high is None:
            return LANGUAGE_RANGE_K
        if low >= high:
            raise ProtocolError(
                f"{self._who()}: its range of setpoints is {low / 100:g} to {high / 100:g} degC"
            )
        return _kelvin(low), _kelvin(high)

    def _heed(self, status: int) -> None:
        """Raise the error that the status announces, and log a warning once."""
        if status >> _ERROR_BIT & 1:
            code = self._read(ERROR)
            raise InstrumentFaultError(
                f"{self._who()}: it reports error {code if code is not None else '(no number)'} "
                "and may not control; look it up in its manual, and acknowledge it on its panel"
            )
        if status >> _WARNING_BIT & 1:
            code = self._read(WARNING) or 0
            if code != self._warning_told:
                _log.warning("%s: it reports warning %d", self._who(), code)
            self._warning_told = code
        else:
            self._warning_told = 0

    def _disobeyed(self, asked: str, found: str) -> InstrumentFaultError:
        return InstrumentFaultError(
            f"{self._who()}: asked {asked}, in force is {found}: is it locked, or limited on its "
            "panel?"
        )

    def _needed(self, address: int, what: str) -> int:
        value = self._read(address)
        if value is None:
            raise ProtocolError(
                f"{self._who()}: it does not tell {what} (address {address:02X} is not available)"
            )
        return value

    def _read(self, address: int) -> int | None:
        """Return a value, ``None`` if this model does not have it."""
        return self._exchange(address, f"{{M{address:02X}****")

    def _write(self, address: int, value: int) -> int:
        answer = self._exchange(address, f"{{M{address:02X}{value & 0xFFFF:04X}")
        if answer is None:
            raise ProtocolError(f"{self._who()}: address {address:02X} cannot be written")
        return answer

    def _exchange(self, address: int, command: str) -> int | None:
        """Send one command; return the answer's value.

        All commands are states, so one whose answer is lost or damaged is sent once more.
        """
        with self._lock:
            try:
                return self._value(address, command, self._dialogue(command))
            except (TransportTimeout, ProtocolError) as error:
                _log.debug("%s: asking again after: %s", self._who(), error)
                self._synchronise()
                return self._value(address, command, self._dialogue(command))

    def _dialogue(self, command: str) -> bytes:
        self._say(command.encode("ascii") + b"\r\n", repr(command))
        return self._heard(_ANSWER_S, repr(command))

    def _value(self, address: int, command: str, line: bytes) -> int | None:
        found = _ANSWER.search(line)
        if found is None or int(found[1], 16) != address:
            raise ProtocolError(
                f"{self._who()}: asked {command!r}, got {line!r}, not {{S{address:02X} and four "
                "hexadecimal digits: is a Huber circulator at this address?"
                f"{of_other_settings(line)}"
            )
        value = int(found[2], 16)
        if value == NOT_AVAILABLE:
            return None
        signed = value - 0x10000 if value & 0x8000 else value
        if address in _TEMPERATURES and _kelvin(signed) < COLDEST_K:
            raise ProtocolError(
                f"{self._who()}: asked {command!r}, got {line!r}: {_kelvin(signed):.2f} K is no "
                "temperature of a bath: the answer is damaged"
            )
        return signed

    def _synchronise(self) -> None:
        """Read what is still on its way, so that an answer is that of its question."""
        self._forget_input(_QUIET_S)
        # It may have the beginning of a line, which ends here.
        self._say(b"\r\n", "nothing")


def _kelvin(value: int) -> float:
    """Return a temperature in 0.01 degC as K, without the rounding of the sum."""
    return round(value * RESOLUTION_K + ZERO_CELSIUS_K, 2)
