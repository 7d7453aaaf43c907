"""VICI Valco actuators of two-position valves: commands and CR over a serial line (9600 baud).

``CP`` asks for the position and is answered ``CPA`` or ``CPB`` (``CP = A`` in another setting).
``GOA`` and ``GOB`` turn the valve; depending on a setting (``IFM``) nothing answers, or something
does, and where it stands already nothing happens. So the position is asked for until it is right.
"""

import logging
import re
import time
from pathlib import Path

from instruments._driver import PADDING, LineDriver, of_other_settings
from instruments.abilities import Abilities
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportTimeout,
)
from instruments.sampling_valve.contract import Position

_log = logging.getLogger(__name__)

_ANSWER_S = 0.5
_QUIET_S = 0.03
_POLL_S = 0.05
# A microelectric actuator takes 0.15 s, a universal one up to 2 s.
_TURN_S = 4.0
_MANY_LINES = 10
_POSITION = re.compile(r"(?:/?[0-9A-Z])?(?:CP|Position is) *=? *\"?([AB]|[0-9]{1,2})\"?\Z", re.I)


class ViciValve(LineDriver):
    """A valve of two positions on a VICI actuator.

    Connecting asks for firmware and position; it moves nothing. Closing goes to where it rests
    (``rests_at``), or back to where it was found.

    Args:
        address: ``serial:///dev/...`` (9600 baud) or ``published:`` one.
        unit: the actuator's ID, where one is set; the line is its own all the same.
        turn_s: how long it may take to get there, s.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "sampling valve"
    _left = "Where the valve stands is unknown"
    _right = "powered, at 9600 baud, and of this ID"
    _terminator = b"\r"

    def __init__(
        self,
        address: str,
        *,
        unit: str | None = None,
        turn_s: float = _TURN_S,
        record_to: Path | None = None,
    ) -> None:
        super().__init__(address, record_to=record_to)
        self._prefix = "" if unit is None else f"/{unit}"
        self._turn_s = turn_s
        self._found_at: Position | None = None
        self._rest: Position | None = None
        self._moved = False
        self._firmware = ""

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="VICI two-position actuators",
                does=("turn to A or B",),
                limits_kept_by="nobody",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return what it tells of itself."""
        return {
            "model": "VICI two-position actuator",
            "firmware": self._firmware,
            "address": self._wire().address,
        }

    def position(self) -> Position:
        """Return where it stands, asked of the actuator.

        Raises ProtocolError if it has more than two positions, or while it is in between.
        """
        with self._lock:
            try:
                return self._told_position()
            except TransportTimeout as error:
                # The answer, or the question, is lost or damaged.
                _log.debug("%s: asking again after: %s", self._who(), error)
                return self._told_position()

    def _told_position(self) -> Position:
        command = f"{self._prefix}CP"
        self._forget_input(_QUIET_S)
        self._send(command)
        line = ""
        for _ in range(_MANY_LINES):
            line = self._line(command, line)
            self._heed(command, line)
            found = _POSITION.match(line)
            if found is None:
                continue  # an echo, or the answer to an action
            if found[1] in ("A", "a"):
                return "A"
            if found[1] in ("B", "b"):
                return "B"
            raise ProtocolError(
                f"{self._who()}: asked {command!r}, got {line!r}: it has more than two "
                "positions; a sampling valve has two (mode AM1 of a universal actuator)"
            )
        raise ProtocolError(
            f"{self._who()}: asked {command!r}, {_MANY_LINES} lines came and none is a position, "
            f"the last {line!r}: is another instrument at this address?{of_other_settings(line)}"
        )

    def go_to(self, position: Position) -> None:
        """Turn it and wait until it tells that it is there; up to 4 s.

        Raises InstrumentFaultError if it does not get there, ValueError for another position.
        """
        if position not in ("A", "B"):
            raise ValueError(
                f"{self._who()}: asked for position {position!r}: a sampling valve has A and B; it "
                "has not moved"
            )
        with self._lock:
            if self.position() == position:
                return
            self._moved = True
            command = f"{self._prefix}GO{position}"
            self._forget_input(_QUIET_S)
            self._send(command)
            self._heed_answers(command)
            end = time.monotonic() + self._turn_s
            found: str = "nothing"
            while True:
                time.sleep(_POLL_S)
                try:
                    found = self.position()
                except (TransportTimeout, ProtocolError) as error:
                    # While it turns some tell nothing, or something else.
                    found = str(error)
                if found == position:
                    return
                if time.monotonic() > end:
                    raise InstrumentFaultError(
                        f"{self._who()}: asked {command!r}, and after {self._turn_s:g} s its "
                        f"position is: {found}. Is the valve stuck, or its motor unplugged?"
                    )

    def rests_at(self, position: Position) -> None:
        """Say where it is to be left, wherever it was found; moves nothing."""
        self._rest = position

    def safe_state(self) -> None:
        """Go to where it rests, also if somebody else moved it; nothing before it was connected.

        Where nobody said where it rests it goes back to where it was found, if it was moved.
        """
        with self._lock:
            if self._rest is not None:
                if self._in_use:
                    self.go_to(self._rest)
            elif self._moved and self._found_at is not None:
                self.go_to(self._found_at)
            self._moved = False

    # -- dialogue

    def _prepare(self) -> None:
        self._found_at = self.position()
        self._firmware = self._asked_version()
        self._moved = False

    def _asked_version(self) -> str:
        command = f"{self._prefix}VR"
        self._forget_input(_QUIET_S)
        self._send(command)
        # Some tell it in several lines.
        line = next((x for x in (self._line(command) for _ in range(_MANY_LINES)) if x), "")
        self._heed(command, line)
        return line

    def _heed(self, command: str, line: str) -> None:
        if "bad command" in line.lower():
            raise InstrumentFaultError(
                f"{self._who()}: asked {command!r}, it answers {line!r}: is it a VICI actuator of "
                "this language, and is its ID right?"
            )

    def _heed_answers(self, command: str) -> None:
        """Look at what an action is answered with, if it is."""
        try:
            while True:
                line = self._heard(_QUIET_S, repr(command)).decode("latin-1").strip(PADDING)
                self._heed(command, line)
        except TransportTimeout:
            pass

    def _line(self, command: str, before: str = "") -> str:
        heard = before.encode("latin-1")
        return self._heard(_ANSWER_S, repr(command), heard).decode("latin-1").strip(PADDING)

    def _send(self, command: str) -> None:
        self._say(command.encode("ascii") + b"\r", repr(command))
