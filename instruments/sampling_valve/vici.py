"""VICI Valco actuators of two-position valves: commands and CR over a serial line (9600 baud).

``CP`` asks for the position and is answered ``CPA`` or ``CPB`` (``CP = A`` in another setting).
``GOA`` and ``GOB`` turn the valve; depending on a setting (``IFM``) nothing answers, or something
does, and where it stands already nothing happens. So the position is asked for until it is right.
"""

import logging
import re
import threading
import time
from pathlib import Path

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.sampling_valve.contract import Position
from instruments.transport import SerialSettings, Transport, open_transport

_log = logging.getLogger(__name__)

_ANSWER_S = 0.5
_QUIET_S = 0.03
_POLL_S = 0.05
# A microelectric actuator takes 0.15 s, a universal one up to 2 s.
_TURN_S = 4.0
_MANY_LINES = 10
_POSITION = re.compile(r"(?:/?[0-9A-Z])?(?:CP|Position is)\s*=?\s*\"?([AB]|\d{1,2})\"?\Z", re.I)


class ViciValve:
    """A valve of two positions on a VICI actuator.

    Args:
        address: ``serial:///dev/...`` (9600 baud) or ``published:`` one.
        unit: the actuator's ID, where several share one line.
        turn_s: how long it may take to get there, s.
        record_to: file to which the whole dialogue is appended.
    """

    verified_on: str | None = None

    def __init__(
        self,
        address: str,
        *,
        unit: str | None = None,
        turn_s: float = _TURN_S,
        record_to: Path | None = None,
    ) -> None:
        self.address = address
        self._prefix = "" if unit is None else f"/{unit}"
        self._turn_s = turn_s
        self._record_to = record_to
        self._transport: Transport | None = None
        self._lock = threading.RLock()
        self._found_at: Position | None = None
        self._moved = False
        self._firmware = ""

    def connect(self) -> None:
        """Ask for firmware and position; moves nothing.

        Raises TransportError, ProtocolError if it is no two-position actuator.
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
                self._found_at = self.position()
                self._firmware = self._asked_version()
            except InstrumentError:
                self._transport.close()
                self._transport = None
                raise
            self._moved = False
        if self.verified_on is None:
            _log.warning(
                "%s: this driver has not been confirmed on real hardware; watch the first runs",
                self._who(),
            )

    def close(self) -> None:
        """Go back to where it was found and release the port; safe to call twice."""
        with self._lock:
            if self._transport is None:
                return
            try:
                self.safe_state()
            finally:
                transport, self._transport = self._transport, None
                transport.close()

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
        command = f"{self._prefix}CP"
        with self._lock:
            self._forget_lines()
            self._send(command)
            for _ in range(_MANY_LINES):
                line = self._line(command)
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
            f"{self._who()}: asked {command!r}, {_MANY_LINES} lines came and none is a position"
        )

    def go_to(self, position: Position) -> None:
        """Turn it and wait until it tells that it is there; up to 4 s.

        Raises InstrumentFaultError if it does not get there.
        """
        with self._lock:
            if self.position() == position:
                return
            self._moved = True
            command = f"{self._prefix}GO{position}"
            self._forget_lines()
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

    def safe_state(self) -> None:
        """Go back to where it was found when it was connected; nothing if nothing was moved."""
        with self._lock:
            if self._moved and self._found_at is not None:
                self.go_to(self._found_at)
            self._moved = False

    # -- dialogue

    def _asked_version(self) -> str:
        command = f"{self._prefix}VR"
        self._forget_lines()
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
                line = self._wire().read_line(_QUIET_S).decode("latin-1").strip()
                self._heed(command, line)
        except TransportTimeout:
            pass
        except TransportError as error:
            raise self._lost(command, error) from error

    def _line(self, command: str) -> str:
        try:
            return self._wire().read_line(_ANSWER_S).decode("latin-1").strip()
        except TransportTimeout as error:
            raise TransportTimeout(
                f"{self._who()}: asked {command!r}: {error}: is it powered, at 9600 baud, and is "
                "its ID right?"
            ) from error
        except TransportError as error:
            raise self._lost(command, error) from error

    def _send(self, command: str) -> None:
        try:
            self._wire().write(command.encode("ascii") + b"\r")
        except TransportError as error:
            raise self._lost(command, error) from error

    def _lost(self, command: str, error: TransportError) -> TransportError:
        return TransportError(
            f"{self._who()}: asked {command!r}: {error}. Where the valve stands is unknown"
        )

    def _forget_lines(self) -> None:
        """Read what an action was answered with, if it was, so that it answers no question."""
        wire = self._wire()
        try:
            while True:
                wire.read_exactly(1, _QUIET_S)
        except TransportTimeout:
            pass

    def _wire(self) -> Transport:
        if self._transport is None:
            raise TransportError(f"{self.address}: not connected; call connect() first")
        return self._transport

    def _who(self) -> str:
        return f"sampling valve at {self.address}"
