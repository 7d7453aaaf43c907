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
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from instruments._driver import LineDriver
from instruments.abilities import TELLS, Abilities, Span
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
)

_log = logging.getLogger(__name__)

_ZERO_CELSIUS_K = 273.15
# A reading takes 0.9 s, everything else 0.3 s.
_READING_S, _ANSWER_S, _QUIET_S = 2.5, 1.5, 0.05
_MANY_LINES = 50
_NUMBER = re.compile(r"\d{1,2}\.\d{1,3}\Z")
_LOWEST_PH, _HIGHEST_PH = 0.001, 14.0
_SUPPLY = {"*OV": "its supply voltage is too high", "*UV": "its supply voltage is too low"}
_STARTED = ("*RS", "*RE", "*WA", "*SL")


class AtlasEzoPh(LineDriver):
    """An EZO pH circuit with its probe.

    Connecting ends its continuous mode and tells it the temperature, within 3 s; it raises
    ProtocolError if it is a circuit for something else, InstrumentFaultError if it refuses
    something. A probe that nobody has calibrated is a warning.

    Args:
        address: ``serial:///dev/...`` (9600 baud) or ``published:`` one.
        temperature_k: of the solution, for the slope of the probe, K.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "pH circuit"
    _right = "powered, set to UART, and at 9600 baud"
    _terminator = b"\r"
    quantities: ClassVar[Mapping[str, str]] = {"ph": ""}

    def __init__(
        self, address: str, *, temperature_k: float = 298.15, record_to: Path | None = None
    ) -> None:
        super().__init__(address, record_to=record_to)
        self._celsius = temperature_k - _ZERO_CELSIUS_K
        self._told: dict[str, str] = {}
        self._started = False

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Atlas Scientific EZO pH circuits",
                does=(TELLS,),
                limits={"ph": Span(_LOWEST_PH, _HIGHEST_PH, "")},
                limits_kept_by="nobody",
                limits_note="what it tells beyond is NaN: the probe is dry, or not there",
            ),
        )

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

    # -- dialogue

    def _prepare(self) -> None:
        self._started = False
        self._asked("C,0", None, _ANSWER_S)
        self._forget_lines()
        told = self._asked("i", re.compile(r"\?I,(.+)\Z", re.I), _ANSWER_S)
        circuit, _, firmware = told.partition(",")
        if circuit.strip().lower() != "ph":
            raise ProtocolError(
                f"{self._who()}: asked 'i', got '?I,{told}': it is a circuit for "
                f"{circuit.strip()!r} and not for pH: connect the other one, or correct the address"
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
        self._say(command.encode("ascii") + b"\r", repr(command))
        found: str | None = None
        strange = ""
        for _ in range(_MANY_LINES):
            line = self._line(command, timeout_s, strange)
            match = wanted.match(line) if wanted is not None else None
            if match is not None:
                found = match[1] if match.groups() else match[0]
            elif line == "*OK":
                if wanted is None or found is not None:
                    return found or ""
            elif line == "*ER":
                raise InstrumentFaultError(f"{self._who()}: it does not know {command!r}")
            else:
                strange = line
                self._heed(line)
        raise ProtocolError(
            f"{self._who()}: asked {command!r}, {_MANY_LINES} lines came and none answers it, "
            f"the last {strange!r}: is another instrument at this address?"
        )

    def _heed(self, line: str) -> None:
        """Look at a line that nobody asked for."""
        if line in _SUPPLY:
            raise InstrumentFaultError(f"{self._who()}: {_SUPPLY[line]} ({line})")
        if line in _STARTED:
            self._started = True
        elif line and not _NUMBER.match(line):
            _log.debug("%s: passed over %r", self._who(), line)

    def _line(self, command: str, timeout_s: float, before: str) -> str:
        heard = before.encode("ascii", "replace")
        return self._heard(timeout_s, repr(command), heard).decode("ascii", "replace").strip()

    def _forget_lines(self) -> None:
        """Read what came by itself, so that a reading is that of its question."""
        for line in self._forget_input(_QUIET_S).split(b"\r"):
            self._heed(line.decode("ascii", "replace").strip())
