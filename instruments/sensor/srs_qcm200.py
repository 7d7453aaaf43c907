"""Stanford Research Systems' QCM200 quartz microbalance: single letters over a serial line.

A command is a letter, perhaps a number or ``?``, and CR. A letter alone asks (``I``, ``F``, ``R``,
``B``), as one with ``?`` does, and is answered by a line that ends with CR; a letter with a number
sets and is not answered, so it is asked for afterwards. ``B`` tells in bits what is new (1
resistance, 2 frequency), whether the frequency is over (4) or under (8) what is counted, and
whether a command was not understood (16); reading it clears it.

Mass per area follows from frequency by the Sauerbrey equation, dm = -df / C: rigid layers of up to
some per cent of the crystal's own mass. In a liquid df also has what the liquid's viscosity does;
the resistance tells whether that changed.
"""

import logging
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from instruments._driver import PADDING, LineDriver, is_plain, number_in, of_other_settings
from instruments.abilities import TELLS, Abilities, Span
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportTimeout,
)

_log = logging.getLogger(__name__)

# Of a crystal of 5 MHz, AT cut: 2 f0^2 / sqrt(density times shear modulus), Sauerbrey 1959.
SENSITIVITY_HZ_CM2_UG = 56.6
GATES_S = (0.1, 1.0, 10.0)

_NEW_RESISTANCE, _NEW_FREQUENCY, _OVER, _UNDER, _NOT_UNDERSTOOD = 1, 2, 4, 8, 16
# Of any crystal that it drives, with room.
_LOWEST_HZ, _HIGHEST_HZ = 0.5e6, 15e6
_ANSWER_S = 1.0
_POLL_S = 0.05
_LATE_S = 2.0


class SrsQcm200(LineDriver):
    """A QCM200 with its crystal.

    Connecting sets the gate, and raises InstrumentFaultError if another one is in force then; the
    first frequency it tells is that of no mass. ``mass`` is what was added since, ug/cm2;
    ``frequency`` is as it was told.

    Args:
        address: ``serial:///dev/...`` (9600 baud) or ``published:`` one.
        sensitivity_hz_cm2_ug: by how much the frequency falls per mass and area, Hz cm2/ug.
        gate_s: how long each frequency is counted: 0.1, 1 or 10 s.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "microbalance"
    _right = "powered, and at 9600 baud"
    _terminator = b"\r"
    quantities: ClassVar[Mapping[str, str]] = {
        "frequency": "Hz",
        "resistance": "ohm",
        "mass": "ug/cm2",
    }

    def __init__(
        self,
        address: str,
        *,
        sensitivity_hz_cm2_ug: float = SENSITIVITY_HZ_CM2_UG,
        gate_s: float = 1.0,
        record_to: Path | None = None,
    ) -> None:
        if gate_s not in GATES_S or not sensitivity_hz_cm2_ug > 0:
            raise ValueError(
                f"a gate of {gate_s} s and {sensitivity_hz_cm2_ug} Hz cm2/ug: gates are "
                f"{', '.join(f'{x:g}' for x in GATES_S)} s, and a sensitivity is positive"
            )
        super().__init__(address, record_to=record_to)
        self._sensitivity = sensitivity_hz_cm2_ug
        self._gate_s = gate_s
        self._told: dict[str, str] = {}
        self._zero_hz = math.nan
        self._out_told = 0

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Stanford Research Systems QCM200",
                does=(TELLS,),
                limits={"gate": Span(GATES_S[0], GATES_S[-1], "s")},
                limits_kept_by="nobody",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return model, firmware, serial number and how long it counts."""
        return {"address": self._wire().address, **self._told}

    def read(self) -> Mapping[str, float]:
        """Return the next frequency and resistance, and the mass; blocks for one gate or two.

        Frequency and mass are NaN, with a warning, while the frequency is beyond what is counted:
        the crystal does not oscillate, or is loaded too much. Raises TransportTimeout if nothing
        new comes.
        """
        with self._lock:
            out = self._wait_for_new()
            frequency = math.nan if out else self._frequency()
            resistance = self._number("R")
            if out and out != self._out_told:
                _log.warning(
                    "%s: its frequency is %s range: does the crystal oscillate, is it wetted "
                    "on one side only, and not loaded too much?",
                    self._who(),
                    "over" if out == _OVER else "under",
                )
            self._out_told = out
            if math.isnan(self._zero_hz):
                self._zero_hz = frequency
            mass = (self._zero_hz - frequency) / self._sensitivity
        return {"frequency": frequency, "resistance": resistance, "mass": mass}

    # -- dialogue

    def _prepare(self) -> None:
        who = self._asked("I")
        fields = who.split("_")
        if len(fields) != 4 or not fields[0].upper().startswith("QCM200"):
            raise ProtocolError(
                f"{self._who()}: asked 'I', got {who!r}, which is no QCM200: connect it, or "
                f"correct the address{of_other_settings(who)}"
            )
        gate = GATES_S.index(self._gate_s)
        self._send(f"P{gate}")
        in_force = self._gate_in_force()
        if in_force != str(gate):
            raise InstrumentFaultError(
                f"{self._who()}: told gate {gate} ({self._gate_s:g} s), in force is {in_force!r}"
            )
        self._told = {
            "model": fields[0],
            "firmware": fields[1],
            "serial_number": fields[3],
            "gate_s": f"{self._gate_s:g}",
        }

    def _gate_in_force(self) -> str:
        """Return the digit of its gate: asked as the maker's library does, or by letter."""
        try:
            return self._dialogue("P?")
        except TransportTimeout as error:
            _log.debug("%s: asking 'P' after: %s", self._who(), error)
            return self._asked("P")

    def _wait_for_new(self) -> int:
        """Wait for values that were counted from now on; return whether they are out of range."""
        new = _NEW_FREQUENCY | _NEW_RESISTANCE
        self._status()  # what is new already was counted before
        seen = 0
        end = time.monotonic() + 2 * self._gate_s + _LATE_S
        while seen & new != new:
            if seen & (_OVER | _UNDER):
                break  # a crystal that does not oscillate tells no frequency
            if time.monotonic() > end:
                raise TransportTimeout(
                    f"{self._who()}: no new frequency and resistance within "
                    f"{2 * self._gate_s + _LATE_S:g} s (its status: {seen}): is its sensor plugged "
                    "in?"
                )
            time.sleep(_POLL_S)
            seen |= self._status()
        return seen & _OVER or seen & _UNDER

    def _frequency(self) -> float:
        """Return the frequency, Hz; one that no crystal has is asked for once more."""
        for _ in range(2):
            frequency = self._number("F")
            if _LOWEST_HZ <= frequency <= _HIGHEST_HZ:
                return frequency
        raise ProtocolError(
            f"{self._who()}: asked 'F', got {frequency:g} Hz: no crystal that it drives has this"
        )

    def _status(self) -> int:
        line = self._asked("B")
        if re.fullmatch("[0-9]{1,3}", line) is None or int(line) > 255:
            raise ProtocolError(f"{self._who()}: asked 'B', got {line!r}: no status byte")
        status = int(line)
        if status & _NOT_UNDERSTOOD:
            _log.warning("%s: it did not understand a command (status %d)", self._who(), status)
        return status

    def _number(self, letter: str) -> float:
        line = self._asked(letter)
        value = number_in(line)
        if value is None:
            raise ProtocolError(f"{self._who()}: asked {letter!r}, got {line!r}: no number")
        return value

    def _asked(self, letter: str) -> str:
        """Ask, once more where the answer is lost or damaged; return the line that came."""
        try:
            return self._dialogue(letter)
        except (TransportTimeout, ProtocolError) as error:
            _log.debug("%s: asking again after: %s", self._who(), error)
            return self._dialogue(letter)

    def _dialogue(self, letter: str) -> str:
        self._forget_input()
        self._send(letter)
        line = self._heard(_ANSWER_S, repr(letter)).decode("latin-1").strip(PADDING)
        if not is_plain(line):
            raise ProtocolError(
                f"{self._who()}: asked {letter!r}, got {line!r}, which is damaged"
                f"{of_other_settings(line)}"
            )
        return line

    def _send(self, command: str) -> None:
        self._say(command.encode("ascii") + b"\r", repr(command))
