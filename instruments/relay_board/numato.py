"""Numato USB relay modules: ASCII over USB-CDC, command and CR, echo, value, prompt ``>``."""

import logging
import re
import time
from pathlib import Path

from instruments._driver import LineDriver, is_plain
from instruments.abilities import Abilities, Span
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
)
from instruments.transport import SerialSettings

_log = logging.getLogger(__name__)

_PROMPT = b">"
_ANSWER_S = 1.0
_QUIET_S = 0.1
_CHANNELS = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_LINE_ENDS = re.compile(r"[\r\n]+")


class NumatoRelayBoard(LineDriver):
    """A Numato relay module with GPIO; channels above 9 are spoken as letters.

    Closing opens every relay that was closed here.

    Args:
        address: ``serial:///dev/ttyACM0``, ``tcp://host:port``, or ``published:`` one of these.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "relay board"
    _left = "How its relays stand is unknown: check the module, its cable and what it switches"
    _right = "powered, and at this port"
    _terminator = _PROMPT
    _settings = SerialSettings(baud_rate=19200)

    def __init__(self, address: str, *, record_to: Path | None = None) -> None:
        super().__init__(address, record_to=record_to)
        self._closed_here: set[int] = set()
        self._there: set[int] = set()
        self._identity: dict[str, str] = {}

    def safe_state(self) -> None:
        """Open every relay that was closed here; raises the first failure after trying all."""
        first: InstrumentError | None = None
        for n in sorted(self._closed_here):
            try:
                self.set_relay(n, False)
            except InstrumentError as error:
                first = first or error
        if first is not None:
            raise first

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                model="Numato relay modules with GPIO",
                does=("close and open a relay", "pulse a relay", "read a digital input"),
                limits={"channel": Span(0, len(_CHANNELS) - 1, "")},
                limits_kept_by="nobody",
                limits_note="the module keeps a relay closed until it is told otherwise, also "
                "when this computer is gone",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return who answered when the connection was opened."""
        self._wire()
        return dict(self._identity)

    def set_relay(self, n: int, closed: bool) -> None:
        """Close or open the contact of relay ``n``.

        Raises InstrumentFaultError if it reads back otherwise, ProtocolError before anything is
        switched if the module says nothing of this relay: it does not have it.
        """
        command = f"relay {'on' if closed else 'off'} {_channel(n)}"
        with self._lock:
            if closed:
                if n not in self._there:
                    self.relay(n)  # a channel that it does not have is refused by this
                self._closed_here.add(n)
            self._exchange(command)
            if self.relay(n) != closed:
                raise InstrumentFaultError(
                    f"{self._who()}: asked relay {n} to {'close' if closed else 'open'}, it reads "
                    f"back {'open' if closed else 'closed'}: check the module and its supply"
                )
            if not closed:
                self._closed_here.discard(n)

    def relay(self, n: int) -> bool:
        """Return whether the contact of relay ``n`` is closed, asked of the module."""
        command = f"relay read {_channel(n)}"
        value = self._value(command)
        if value not in ("on", "off"):
            raise ProtocolError(f"{self._who()}: asked {command!r}, got {value!r}, not on or off")
        self._there.add(n)
        return value == "on"

    def gpio(self, n: int) -> bool:
        """Return whether GPIO ``n`` is high; reading makes it an input."""
        command = f"gpio read {_channel(n)}"
        value = self._value(command)
        if value not in ("0", "1"):
            raise ProtocolError(f"{self._who()}: asked {command!r}, got {value!r}, not 0 or 1")
        return value == "1"

    def pulse(self, n: int, duration_s: float) -> None:
        """Close relay ``n`` for ``duration_s`` and open it whatever happens in between.

        Others may talk to the module meanwhile. Raises InstrumentError if the relay could not be
        closed or, worse, not opened.
        """
        if duration_s <= 0:
            raise ValueError(f"a pulse of {duration_s} s is none")
        try:
            self.set_relay(n, True)
            time.sleep(duration_s)
        finally:
            self.set_relay(n, False)

    # -- dialogue

    def _prepare(self) -> None:
        self._synchronise()
        self._identity = {
            "model": "Numato relay module",
            "firmware": self._value("ver"),
            "serial_number": self._value("id get"),
            "address": self._wire().address,
        }

    def _synchronise(self) -> None:
        """Bring the line to rest: end a half-typed command, then read until it is quiet."""
        self._say(b"\r", "for its prompt")
        self._heard(_ANSWER_S, "for its prompt")
        self._forget_input(_QUIET_S)

    def _value(self, command: str) -> str:
        answer = self._exchange(command)
        if len(answer) != 1:
            raise ProtocolError(
                f"{self._who()}: asked {command!r}, got {answer!r} instead of one value: does the "
                "module have this channel?"
            )
        if not is_plain(answer[0]):
            raise ProtocolError(f"{self._who()}: asked {command!r}, got {answer!r}: it is damaged")
        return answer[0]

    def _exchange(self, command: str) -> list[str]:
        """Send one command; return the lines of its answer after the echo.

        A wrong echo is the rest of a dialogue that was interrupted: all commands are states, so
        it is sent once more.
        """
        with self._lock:
            for _ in range(2):
                lines, raw = self._dialogue(command)
                if lines[:1] == [command]:
                    return lines[1:]
                self._synchronise()
            raise ProtocolError(
                f"{self._who()}: asked {command!r}, got {raw!r}, which does not begin with the "
                "echo: is another program talking to the module?"
            )

    def _dialogue(self, command: str) -> tuple[list[str], bytes]:
        self._say(command.encode("ascii") + b"\r", repr(command))
        raw = self._heard(_ANSWER_S, repr(command))
        text = raw.decode("latin-1")
        return [line for line in _LINE_ENDS.split(text) if line], raw


def _channel(n: int) -> str:
    if not 0 <= n < len(_CHANNELS):
        raise ValueError(f"there is no channel {n}; 0 to {len(_CHANNELS) - 1} can be spoken")
    return _CHANNELS[n]
