"""Atlas Scientific EZO pH circuits: lines of text over a serial line.

A command ends with CR. What is answered are lines that end with CR: a number, or ``?`` and what was
asked for, and then a code: ``*OK``, or ``*ER`` for a command that it does not know. Lines nobody
asked for may come at any time: readings of its continuous mode, and ``*OV``, ``*UV``, ``*RS``,
``*RE``, ``*SL``, ``*WA`` (supply too high, too low, reset, started, asleep, awake). So lines are
told apart by what they are and not by their order.
"""

import logging
import math
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.transport import SerialSettings, Transport, open_transport

_log = logging.getLogger(__name__)

_ZERO_CELSIUS_K = 273.15
# A reading takes 0.9 s, everything else 0.3 s.
_READING_S, _ANSWER_S, _QUIET_S = 2.5, 1.5, 0.05
_MANY_LINES = 50
_NUMBER = re.compile(r"\d{1,2}\.\d{1,3}\Z")
_LOWEST_PH, _HIGHEST_PH = 0.001, 14.0
_SUPPLY = {"*OV": "its supply voltage is too high", "*UV": "its supply voltage is too low"}
_STARTED = ("*RS", "*RE", "*WA", "*SL")


class AtlasEzoPh:
    """An EZO pH circuit with its probe.

    Args:
        address: ``serial:///dev/...`` (9600 baud) or ``published:`` one.
        temperature_k: of the solution, for the slope of the probe, K.
        record_to: file to which the whole dialogue is appended.
    """

    verified_on: str | None = None
    quantities: ClassVar[Mapping[str, str]] = {"ph": ""}

    def __init__(
        self, address: str, *, temperature_k: float = 298.15, record_to: Path | None = None
    ) -> None:
        self.address = address
        self._celsius = temperature_k - _ZERO_CELSIUS_K
        self._record_to = record_to
        self._transport: Transport | None = None
        self._lock = threading.RLock()
        self._told: dict[str, str] = {}
        self._started = False

    def connect(self) -> None:
        """End the continuous mode, check who is there, and tell it the temperature; up to 3 s.

        Raises TransportError, ProtocolError if it is another circuit, InstrumentFaultError if it
        refuses something. A probe that nobody has calibrated is a warning.
        """
        with self._lock:
            if self._transport is not None:
                return
            self._transport = open_transport(
                self.address,
                terminator=b"\r",
                settings=SerialSettings(baud_rate=9600),
                record_to=self._record_to,
            )
            try:
                self._prepare()
            except InstrumentError:
                self._transport.close()
                self._transport = None
                raise
        if self.verified_on is None:
            _log.warning(
                "%s: this driver has not been confirmed on real hardware; watch the first runs",
                self._who(),
            )

    def close(self) -> None:
        """Release the port; safe to call twice."""
        with self._lock:
            transport, self._transport = self._transport, None
            if transport is not None:
                transport.close()

    def identify(self) -> dict[str, str]:
        """Return model, firmware, and how the probe was calibrated when it was connected."""
        return {"model": "Atlas EZO pH", "address": self._wire().address, **self._told}

    def read(self) -> Mapping[str, float]:
        """Return the pH; blocks 0.9 s.

        NaN where it tells a value outside 0.001 to 14: the probe is dry, or not there.
        """
        with self._lock:
            value = float(self._asked("R", _NUMBER, _READING_S))
            if self._started:
                # It may have forgotten the temperature: the reading is taken anew.
                self._prepare()
                value = float(self._asked("R", _NUMBER, _READING_S))
        return {"ph": value if _LOWEST_PH <= value <= _HIGHEST_PH else math.nan}

    def safe_state(self) -> None:
        """Do nothing: it drives nothing."""

    # -- dialogue

    def _prepare(self) -> None:
        self._started = False
        self._asked("C,0", None, _ANSWER_S)
        self._forget_lines()
        circuit, firmware = self._asked("i", re.compile(r"\?I,(.+)\Z", re.I), _ANSWER_S).split(",")
        if circuit.strip().lower() != "ph":
            raise ProtocolError(
                f"{self._who()}: it is a circuit for {circuit.strip()!r} and not for pH: connect "
                "the other one, or correct the address"
            )
        points = self._asked("Cal,?", re.compile(r"\?CAL,(\d)\Z", re.I), _ANSWER_S)
        slope = self._asked("Slope,?", re.compile(r"\?SLOPE,(.+)\Z", re.I), _ANSWER_S)
        self._asked(f"T,{self._celsius:.2f}", None, _ANSWER_S)
        in_force = float(
            self._asked("T,?", re.compile(r"\?T,(-?\d+(?:\.\d+)?)\Z", re.I), _ANSWER_S)
        )
        if abs(in_force - self._celsius) > 0.051:
            raise InstrumentFaultError(
                f"{self._who()}: told a temperature of {self._celsius:.2f} degC, in force is "
                f"{in_force:g} degC"
            )
        if points == "0":
            _log.warning(
                "%s: its probe is not calibrated (Cal,? tells no points): its pH is only a guess",
                self._who(),
            )
        self._told = {
            "firmware": firmware.strip(),
            "calibration_points": points,
            "slope": slope.strip(),
        }

    def _asked(self, command: str, wanted: re.Pattern[str] | None, timeout_s: float) -> str:
        """Send a command; return what its answer holds, nothing where only ``*OK`` is wanted."""
        self._forget_lines()
        self._wire().write(command.encode("ascii") + b"\r")
        found: str | None = None
        for _ in range(_MANY_LINES):
            line = self._line(command, timeout_s)
            match = wanted.match(line) if wanted is not None else None
            if match is not None:
                found = match[1] if match.groups() else match[0]
            elif line == "*OK":
                if wanted is None or found is not None:
                    return found or ""
            elif line == "*ER":
                raise InstrumentFaultError(f"{self._who()}: it does not know {command!r}")
            else:
                self._heed(line)
        raise ProtocolError(
            f"{self._who()}: asked {command!r}, {_MANY_LINES} lines came and none answers it"
        )

    def _heed(self, line: str) -> None:
        """Look at a line that nobody asked for."""
        if line in _SUPPLY:
            raise InstrumentFaultError(f"{self._who()}: {_SUPPLY[line]} ({line})")
        if line in _STARTED:
            self._started = True
        elif line and not _NUMBER.match(line):
            _log.debug("%s: passed over %r", self._who(), line)

    def _line(self, command: str, timeout_s: float) -> str:
        try:
            return self._wire().read_line(timeout_s).decode("ascii", "replace").strip()
        except TransportTimeout as error:
            raise TransportTimeout(
                f"{self._who()}: asked {command!r}: {error}: is it powered, set to UART, and at "
                "9600 baud?"
            ) from error

    def _forget_lines(self) -> None:
        """Read what came by itself, so that a reading is that of its question."""
        try:
            while True:
                self._heed(self._wire().read_line(_QUIET_S).decode("ascii", "replace").strip())
        except TransportTimeout:
            pass

    def _wire(self) -> Transport:
        if self._transport is None:
            raise TransportError(f"{self.address}: not connected; call connect() first")
        return self._transport

    def _who(self) -> str:
        return f"pH circuit at {self.address}"
