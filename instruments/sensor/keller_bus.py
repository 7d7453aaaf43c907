"""KELLER's bus protocol of pressure transmitters of Series 30 (33X, 35X, 36X, 39X): short frames.

A request is address, function, what the function needs, and two bytes of CRC16, the high one first;
an answer likewise, its function with bit 7 set where it is a refusal: 1 no such function, 2 wrong
parameter, 3 wrong length, 32 not initialised. After each loss of its supply a transmitter refuses
everything with 32 until it has been asked function 48: so a power cut is seen. Function 69 tells
the serial number, 30 coefficients (80 and 81: the range of its sensor, bar), 73 one channel, and
with it a status byte: bit 1 pressure P1 could not be measured or computed, bit 4 neither could its
temperature, bit 7 it starts up. Address 250 is answered by whoever is there.

From the maker's "Description of the communication protocol for Series 30", version 3.0; converters
that have the host hear itself (K-114) are known from the maker's Python package.
"""

import logging
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from instruments._driver import LineDriver, of_other_settings, unanswered
from instruments.abilities import TELLS, Abilities
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)

_log = logging.getLogger(__name__)

ANYBODY = 250
PA_PER_BAR = 1e5
# Of air at sea level, kPa; the weather moves it by some 3 kPa.
ATMOSPHERE_KPA = 101.325
_ZERO_CELSIUS_K = 273.15

_COEFFICIENT, _INITIALISE, _SERIAL_NUMBER, _CHANNEL = 30, 48, 69, 73
# Bytes between the function and the CRC of what is answered.
_ANSWERED = {_COEFFICIENT: 4, _INITIALISE: 6, _SERIAL_NUMBER: 4, _CHANNEL: 5}
_P1, _TOB1 = 1, 4
_LOWEST_BAR, _HIGHEST_BAR = 80, 81
_P1_FAILED, _TOB1_FAILED, _STARTING = 1 << _P1, 1 << _TOB1, 1 << 7
_REFUSED = 0x80
_SERIES_30 = 5
_NOT_INITIALISED = 32
_REFUSALS = {
    1: "it has no such function",
    2: "a wrong parameter",
    3: "a wrong length",
    _NOT_INITIALISED: "it was without power and is not initialised",
}
_SHORTEST = 5
_ANSWER_S, _QUIET_S = 0.5, 0.02
# What a reading may be beyond the sensor's range, of its span, and still be told.
_BEYOND = 0.1


class _DamagedError(ProtocolError):
    """What came is no answer as it was sent: it is asked once more."""


class _ForgotError(InstrumentFaultError):
    """It was without power."""


def crc16(frame: bytes) -> bytes:
    """Return the CRC16 of a frame, high byte first: polynomial 0xA001, beginning with 0xFFFF."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "big")


class KellerBusPressure(LineDriver):
    """A pressure transmitter in the headspace of the cell.

    ``pressure`` is absolute, ``overpressure`` what it is above the atmosphere, both Pa;
    ``transmitter_temperature`` is that of its sensor, K, and not of the cell. One of them is NaN,
    with a warning, where the transmitter says that it cannot tell it or tells what is beyond its
    range. What is damaged or not answered is asked once more, and so is what it refuses after a
    power cut, which is a warning.

    Connecting raises ProtocolError if somebody else answers, InstrumentFaultError if it tells a
    range that is none.

    Args:
        address: ``serial:///dev/...`` (9600 baud, or ``?baud_rate=115200``), ``tcp://host:port`` or
            ``published:`` one of these.
        device: its address on the bus, 1 to 249; 250 if it is there alone.
        measures: ``absolute`` (33X, 35X as PAA: zero is vacuum) or ``gauge`` (PR, PA: zero is the
            atmosphere).
        ambient_kpa: pressure of the atmosphere, which the one that is not measured follows from.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "pressure transmitter"
    _right = "powered, its two wires not exchanged, and at 9600 baud"
    quantities: ClassVar[Mapping[str, str]] = {
        "pressure": "Pa",
        "overpressure": "Pa",
        "transmitter_temperature": "K",
    }

    def __init__(
        self,
        address: str,
        *,
        device: int = ANYBODY,
        measures: Literal["absolute", "gauge"] = "absolute",
        ambient_kpa: float = ATMOSPHERE_KPA,
        record_to: Path | None = None,
    ) -> None:
        if not 1 <= device <= ANYBODY:
            raise ValueError(
                f"device {device}: addresses are 1 to 249, and 250 for whoever is there"
            )
        super().__init__(address, record_to=record_to)
        self._device = device
        self._absolute = measures == "absolute"
        self._ambient_pa = 1e3 * ambient_kpa
        self._told: dict[str, str] = {}
        self._range_bar = (-math.inf, math.inf)
        self._hears_itself = False
        self._doubt = ""

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is; its range it tells itself."""
        return (
            Abilities(
                model="KELLER Series 30 (33X, 35X, 36X)",
                does=(TELLS,),
                limits_kept_by="nobody",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return model, firmware, serial number and range."""
        return {"address": self._wire().address, **self._told}

    def read(self) -> Mapping[str, float]:
        """Return the pressures and the transmitter's temperature; see the class for NaN."""
        with self._lock:
            bar, why = self._value(_P1, _P1_FAILED)
            celsius, _ = self._value(_TOB1, _TOB1_FAILED)
            low, high = self._range_bar
            slack = _BEYOND * (high - low)
            if not why and not low - slack <= bar <= high + slack:
                why = f"it tells {bar:g} bar, and its sensor is one of {low:g} to {high:g} bar"
                bar = math.nan
            if why and why != self._doubt:
                _log.warning("%s: no pressure: %s", self._who(), why)
            self._doubt = why
        measured_pa = bar * PA_PER_BAR
        pressure_pa = measured_pa + (0.0 if self._absolute else self._ambient_pa)
        return {
            "pressure": pressure_pa,
            "overpressure": pressure_pa - self._ambient_pa,
            "transmitter_temperature": celsius + _ZERO_CELSIUS_K,
        }

    # -- dialogue

    def _prepare(self) -> None:
        self._hears_itself = False
        who = self._asked(_INITIALISE)
        if who[0] != _SERIES_30:
            raise ProtocolError(
                f"{self._who()}: asked who it is, got class {who[0]} group {who[1]}: no "
                "transmitter of Series 30 (class 5): connect it, or correct the address"
            )
        serial_number = int.from_bytes(self._asked(_SERIAL_NUMBER), "big")
        low, high = (self._coefficient(number) for number in (_LOWEST_BAR, _HIGHEST_BAR))
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InstrumentFaultError(
                f"{self._who()}: its sensor is told to be one of {low:g} to {high:g} bar: it is "
                "damaged, or not what it says"
            )
        self._range_bar = low, high
        self._told = {
            "model": f"KELLER Series 30, class {who[0]}.{who[1]}",
            "firmware": f"{who[0]}.{who[1]}-{who[2]}.{who[3]}",
            "serial_number": str(serial_number),
            "range_bar": f"{low:g} to {high:g}",
        }

    def _value(self, channel: int, failed: int) -> tuple[float, str]:
        """Return a channel's value, and why it is NaN where it is."""
        answer = self._asked(_CHANNEL, channel)
        (value,) = struct.unpack(">f", answer[:4])
        status = answer[4]
        if status & _STARTING:
            return math.nan, f"it starts up (status {status})"
        if status & failed or not math.isfinite(value):
            return math.nan, f"it could not measure or compute it (status {status}, {value:g})"
        return float(value), ""

    def _coefficient(self, number: int) -> float:
        (value,) = struct.unpack(">f", self._asked(_COEFFICIENT, number))
        return float(value)

    def _asked(self, function: int, *parameters: int) -> bytes:
        """Return what lies between function and CRC of the answer."""
        try:
            return self._dialogue(function, *parameters)
        except _ForgotError:
            if function == _INITIALISE:
                raise
            _log.warning("%s: it was without power; it is initialised anew", self._who())
            self._dialogue(_INITIALISE)
            self._is_the_same()
        except (_DamagedError, TransportTimeout) as error:
            _log.debug("%s: asking again after: %s", self._who(), error)
        return self._dialogue(function, *parameters)

    def _is_the_same(self) -> None:
        """Raise InstrumentFaultError if another one has taken its place."""
        before = self._told.get("serial_number")
        now = str(int.from_bytes(self._dialogue(_SERIAL_NUMBER), "big"))
        if before not in (None, now):
            raise InstrumentFaultError(
                f"{self._who()}: serial number {now} answers where {before} was: another "
                "transmitter; its readings are not taken"
            )

    def _dialogue(self, function: int, *parameters: int) -> bytes:
        request = bytes((self._device, function, *parameters))
        request += crc16(request)
        asked = f"function {function}" + "".join(f" {one}" for one in parameters)
        self._forget_input()
        self._say(request, asked)
        head = self._bytes(len(request), asked)
        if head == request and (self._hears_itself or function == _INITIALISE):
            self._hears_itself = True
            head = b""
        head += self._bytes(_SHORTEST - len(head), asked)
        if not head[1] & _REFUSED:
            head += self._bytes(4 + _ANSWERED[function] - len(head), asked)
        return self._checked(function, asked, head)

    def _checked(self, function: int, asked: str, frame: bytes) -> bytes:
        if crc16(frame[:-2]) != frame[-2:]:
            self._forget_input(_QUIET_S)
            raise _DamagedError(
                f"{self._who()}: asked {asked}, got {frame!r}, whose checksum is wrong: is it set "
                f"to another baud rate, or are two at one address?{of_other_settings(frame)}"
            )
        if self._device not in (frame[0], ANYBODY) or frame[1] & ~_REFUSED != function:
            raise _DamagedError(
                f"{self._who()}: asked {asked} of device {self._device}, got {frame!r}: an answer "
                "to something else"
            )
        if frame[1] & _REFUSED:
            code = frame[2]
            told = f"{self._who()}: asked {asked}, refused with {code}: "
            told += _REFUSALS.get(code, "a refusal that is not documented")
            raise (_ForgotError if code == _NOT_INITIALISED else InstrumentFaultError)(told)
        return frame[2:-2]

    def _bytes(self, count: int, asked: str) -> bytes:
        if count <= 0:
            return b""
        try:
            return self._wire().read_exactly(count, _ANSWER_S)
        except TransportTimeout as error:
            raise unanswered(self._who(), asked, error, self._right) from error
        except TransportError as error:
            raise self._lost(asked, error) from error
