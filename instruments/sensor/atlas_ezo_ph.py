"""Atlas Scientific EZO pH circuits: lines of text over a serial line.

A command ends with CR. What is answered are lines that end with CR: a number, or ``?`` and what was
asked for, and then a code: ``*OK``, or ``*ER`` for a command that it does not know. Lines nobody
asked for may come at any time: readings of its continuous mode, and ``*OV``, ``*UV``, ``*RS``,
``*RE``, ``*SL``, ``*WA`` (supply too high, too low, reset, started, asleep, awake). So lines are
told apart by what they are and not by their order.

A probe gives (7 - pH) times a voltage that is proportional to the absolute temperature, so the
circuit must know it: one that is told 298.15 K and stands in 273.15 K tells a pH of 4.40 as 4.62.
"""

import contextlib
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from instruments._driver import PADDING, LineDriver, is_plain, of_other_settings
from instruments.abilities import TELLS, Abilities, Span
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportTimeout,
)

_log = logging.getLogger(__name__)

_ZERO_CELSIUS_K = 273.15
# A reading takes 0.9 s, everything else 0.3 s.
_READING_S, _ANSWER_S, _QUIET_S = 2.0, 1.5, 0.05
_MANY_LINES = 50
_NUMBER = re.compile(r"\d{1,2}\.\d{1,3}\Z")
_LOWEST_PH, _HIGHEST_PH = 0.001, 14.0
# It tells its temperature to 0.1 degC; that much is 0.001 at pH 4.
_ROUNDED_C, _FOLLOWED_C = 0.051, 0.1
_SUPPLY = {"*OV": "its supply voltage is too high", "*UV": "its supply voltage is too low"}
_STARTED = ("*RS", "*RE", "*WA", "*SL")


class _NotKnownError(InstrumentFaultError):
    """It does not know a command: it has no such one, or a byte of it was damaged."""


class AtlasEzoPh(LineDriver):
    """An EZO pH circuit with its probe.

    Connecting has it acknowledge its commands, ends its continuous mode and tells it the
    temperature, within 3 s; it raises ProtocolError if it is a circuit for something else,
    InstrumentFaultError if it refuses something. A probe that nobody has calibrated is a warning.
    What is not answered, or damaged, is asked once more.

    Args:
        address: ``serial:///dev/...`` (9600 baud) or ``published:`` one.
        temperature_k: of the solution, for the slope of the probe, K.
        temperature_of: asked for the temperature before each reading, K; ``None``: it stays
            ``temperature_k``, which also holds until it has told one.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "pH circuit"
    _right = "powered, set to UART, and at 9600 baud"
    _terminator = b"\r"
    quantities: ClassVar[Mapping[str, str]] = {"ph": "", "compensation_k": "K"}

    def __init__(
        self,
        address: str,
        *,
        temperature_k: float = 298.15,
        temperature_of: Callable[[], float] | None = None,
        record_to: Path | None = None,
    ) -> None:
        super().__init__(address, record_to=record_to)
        self._celsius = temperature_k - _ZERO_CELSIUS_K
        self._temperature_of = temperature_of
        self._temperature_missed = False
        self._without, self._why_without = 0, ""
        self._in_force_k = math.nan
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

    def check_ready(self) -> None:
        """Forget what was remarked of runs before: one is about to begin."""
        self._without = 0

    @property
    def remarks(self) -> list[str]:
        """Return how many readings were taken without asking the temperature; empty if none was."""
        if not self._without:
            return []
        return [
            f"at {self._without} readings the temperature of the solution could not be had, last: "
            f"{self._why_without}; they are of the one known before (compensation_k)"
        ]

    def read(self) -> Mapping[str, float]:
        """Return the pH and the temperature that it is of, K; blocks 0.9 s, 1.5 s if that changes.

        The pH is NaN where it tells a value outside 0.001 to 14: the probe is dry, or not there.
        The temperature is the one in force in the circuit, read back.
        """
        with self._lock:
            celsius = self._celsius_now()
            if abs(celsius - self._celsius) >= _FOLLOWED_C:
                self._compensate(celsius)
            value = float(self._asked("R", _NUMBER, _READING_S))
            if self._started:
                # It may have forgotten the temperature: the reading is taken anew.
                self._prepare()
                value = float(self._asked("R", _NUMBER, _READING_S))
        ph = value if _LOWEST_PH <= value <= _HIGHEST_PH else math.nan
        return {"ph": ph, "compensation_k": self._in_force_k}

    def _celsius_now(self) -> float:
        """Return the temperature of the solution; the one before where it cannot be had."""
        if self._temperature_of is None:
            return self._celsius
        try:
            celsius = self._temperature_of() - _ZERO_CELSIUS_K
        except InstrumentError as error:
            self._without, self._why_without = self._without + 1, str(error)
            if not self._temperature_missed:
                _log.warning(
                    "%s: goes on with %.1f degC, its temperature cannot be had: %s",
                    *(self._who(), self._celsius, error),
                )
            self._temperature_missed = True
            return self._celsius
        self._temperature_missed = False
        return celsius

    # -- dialogue

    def _prepare(self) -> None:
        self._started = False
        # Whether it acknowledges is kept without supply: somebody may have switched it off.
        # Firmware that calls it otherwise does not know this; then the next answer shows it.
        with contextlib.suppress(_NotKnownError):
            self._asked("*OK,1", None, _ANSWER_S)
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
        self._compensate(self._celsius)
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

    def _compensate(self, celsius: float) -> None:
        """Tell it the temperature and read back which one is in force."""
        self._asked(f"T,{celsius:.2f}", None, _ANSWER_S)
        in_force = float(
            self._asked("T,?", re.compile(r"\?T,(-?\d+(?:\.\d+)?)\Z", re.I), _ANSWER_S)
        )
        if abs(in_force - celsius) > _ROUNDED_C:
            raise InstrumentFaultError(
                f"{self._who()}: told a temperature of {celsius:.2f} degC, in force is "
                f"{in_force:g} degC"
            )
        self._celsius = celsius
        self._in_force_k = round(in_force + _ZERO_CELSIUS_K, 2)

    def _asked(self, command: str, wanted: re.Pattern[str] | None, timeout_s: float) -> str:
        """Ask, and return what ``_dialogue`` does; once more if something is lost or damaged.

        All commands are states or questions, so one more changes nothing.
        """
        self._forget_lines()
        try:
            return self._dialogue(command, wanted, timeout_s)
        except (TransportTimeout, ProtocolError, _NotKnownError) as error:
            _log.debug("%s: asking again after: %s", self._who(), error)
        self._forget_lines()
        return self._dialogue(command, wanted, timeout_s)

    def _dialogue(self, command: str, wanted: re.Pattern[str] | None, timeout_s: float) -> str:
        """Send a command; return what its answer holds, nothing where only ``*OK`` is wanted."""
        self._say(command.encode("ascii") + b"\r", repr(command))
        found: str | None = None
        strange = ""
        # Of the whole answer: readings of its continuous mode come more often than any timeout.
        end = time.monotonic() + timeout_s
        for _ in range(_MANY_LINES):
            left_s = max(_QUIET_S, round(end - time.monotonic(), 2))
            line = self._line(command, left_s, strange)
            match = wanted.match(line) if wanted is not None and is_plain(line) else None
            if match is not None:
                found = match[1] if match.groups() else match[0]
            elif line == "*OK":
                if wanted is None or found is not None:
                    return found or ""
                told = f"only {strange!r} before" if strange else "nothing before"
                raise ProtocolError(
                    f"{self._who()}: asked {command!r}, it acknowledges and tells {told}: is its "
                    f"line disturbed?{of_other_settings(strange)}"
                )
            elif line == "*ER":
                raise _NotKnownError(f"{self._who()}: it does not know {command!r}")
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
        return (
            self._heard(timeout_s, repr(command), heard).decode("ascii", "replace").strip(PADDING)
        )

    def _forget_lines(self) -> None:
        """Read what came by itself, so that a reading is that of its question."""
        for line in self._forget_input(_QUIET_S).split(b"\r"):
            self._heed(line.decode("ascii", "replace").strip(PADDING))
