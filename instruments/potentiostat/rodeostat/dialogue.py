"""Talk with one Rodeostat: a JSON object per line, commands answered by their name."""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from instruments._driver import of_other_settings, unanswered
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.transport import Transport

_log = logging.getLogger(__name__)

ANSWER_S = 2.0
# Also where its test goes on talking meanwhile.
_LONGEST_ANSWER_S = 10.0
_QUIET_S = 0.1
_MOST_UNREADABLE = 50
# Beyond what any variant can set and measure: a damaged digit, not a value. In ms, V, uA.
_LARGEST = (1e12, 20.0, 2e5)
_ONCE = ("runTest", "stopTest")
_RIGHT = "switched on, and at this port"
CELL_UNKNOWN = "the state of the cell is unknown: disconnect it"


class Point(NamedTuple):
    """One sample of a test: its own time (s), set potential (V), current (A), and the rest.

    ``limit`` is whether the current was at the end of its range.
    """

    t_s: float
    potential_v: float
    current_a: float
    limit: bool
    arrival_ns: int


class End(NamedTuple):
    """The empty object that ends a test."""

    arrival_ns: int


class Damaged(NamedTuple):
    """A line that is none of this language."""

    line: bytes


Heard = Point | End | Damaged


class Dialogue:
    """Commands and what is heard in between; one thread reads.

    Args:
        wire: the open port.
        who: names instrument and address, for messages.
    """

    def __init__(self, wire: Transport, who: Callable[[], str]) -> None:
        self.wire = wire
        self._who = who
        self._heard: deque[Heard] = deque()

    def say(self, command: str, **arguments: Any) -> None:
        """Send a command and do not wait; callable from any thread."""
        message = json.dumps({"command": command, **arguments}, separators=(",", ":"))
        self.wire.write(message.encode("ascii") + b"\n")

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its response; what comes in between is kept for `hear`.

        What is lost or damaged is asked once more: all but the start and the stop of a test are
        states or questions. Raises InstrumentFaultError if it is refused, ProtocolError if what
        came is no answer, TransportError if there is none.
        """
        asked = " ".join([command, *(f"{key}={value!r}" for key, value in arguments.items())])
        with self._asking(asked):
            self.say(command, **arguments)
            try:
                return self._answer(command, asked)
            except (TransportTimeout, ProtocolError) as error:
                if command in _ONCE:
                    raise
                _log.debug("%s: asking again after: %s", self._who(), error)
            # What could not be read was its answer, and no sample.
            self._heard = deque(x for x in self._heard if not isinstance(x, Damaged))
            self.say(command, **arguments)
            return self._answer(command, asked)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Let an error of the wire say who was asked what."""
        try:
            yield
        except TransportError as error:
            if self._who() in str(error):
                raise
            raise type(error)(f"{self._who()}: asked to {what}: {error}") from error

    def _answer(self, command: str, asked: str) -> dict[str, Any]:
        unreadable, last, line = 0, b"", b""
        end = time.monotonic() + _LONGEST_ANSWER_S
        while True:
            if time.monotonic() > end:
                raise TransportTimeout(
                    f"{self._who()}: asked to {asked}, no answer within {_LONGEST_ANSWER_S:g} s "
                    f"among what its test tells; {CELL_UNKNOWN}",
                    heard=line,
                )
            try:
                line = self.wire.read_line(ANSWER_S)
            except TransportTimeout as error:
                raise unanswered(self._who(), f"to {asked}", error, _RIGHT, last) from error
            told = _object(line)
            if told is None or "success" not in told:
                heard = _heard(told, line, self.wire.arrival_ns)
                if heard is None:
                    continue
                self._heard.append(heard)
                if isinstance(heard, Damaged):
                    unreadable, last = unreadable + 1, line
                if unreadable > _MOST_UNREADABLE:
                    raise ProtocolError(
                        f"{self._who()}: asked to {asked}, got {line!r}: this is no Rodeostat: "
                        f"is another instrument at this address?{of_other_settings(line)}"
                    )
                continue
            response = told.get("response")
            if not isinstance(response, dict):
                raise ProtocolError(f"{self._who()}: asked to {asked}, got {line!r}")
            if response.get("command") not in (command, None):
                continue  # the answer to another thread's stopTest
            if command == "stopTest" and "command" not in response:
                continue  # the empty line before it, or what it ended, is no command
            if told["success"] is not True:
                raise InstrumentFaultError(
                    f"{self._who()}: asked to {asked}, refused with "
                    f"{told.get('message', 'no reason')!r} ({line!r})"
                )
            return response

    def hear(self, timeout_s: float) -> Heard:
        """Return the next thing that a test says; raises TransportTimeout."""
        while not self._heard:
            line = self.wire.read_line(timeout_s)
            told = _object(line)
            if told is not None and "success" in told:
                continue  # the answer to another thread's stopTest
            heard = _heard(told, line, self.wire.arrival_ns)
            if heard is not None:
                return heard
        return self._heard.popleft()

    def stop(self, timeout_s: float) -> int:
        """Stop a test and hear its end; return the host clock of that.

        A test that had just ended by itself has said so already: what counts is the end after the
        answer. Raises TransportTimeout.
        """
        self.ask("stopTest")
        self._heard.clear()
        while not isinstance(heard := self.hear(timeout_s), End):
            continue
        return heard.arrival_ns

    def rest(self) -> None:
        """End whatever test runs; what was said before is forgotten.

        An empty line comes first: it ends a command that somebody left half written.
        """
        self.wire.write(b"\n")
        self.ask("stopTest")
        self.forget()

    def forget(self) -> None:
        """Wait until nothing more is said, and forget it."""
        try:
            for _ in range(100_000):
                self.wire.read_line(_QUIET_S)
        except TransportTimeout:
            self._heard.clear()
            return
        raise ProtocolError(f"{self._who()}: it goes on talking after stopTest; {CELL_UNKNOWN}")


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line.decode("utf-8"), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; one with a key twice is two that ran together, and none."""
    told = dict(pairs)
    if len(told) != len(pairs):
        raise ValueError("a key comes twice")
    return told


def _heard(told: dict[str, Any] | None, line: bytes, arrival_ns: int) -> Heard | None:
    if not line.strip():
        return None
    if told == {}:
        return End(arrival_ns)
    told = told or {}
    values: list[Any] = [told.get(key) for key in "tvi"]
    # A current that is no number passes no limit.
    believable = all(
        type(x) in (int, float) and abs(x) < largest
        for x, largest in zip(values, _LARGEST, strict=True)
    )
    if not believable or told.keys() - {"n", "le"} != {"t", "v", "i"}:
        return Damaged(line)
    t_ms, potential_v, microampere = values
    limit = bool(told.get("le"))
    return Point(t_ms * 1e-3, potential_v, microampere * 1e-6, limit, arrival_ns)


def must_be_disconnected(dialogue: Dialogue, who: str) -> None:
    """Raise InstrumentFaultError if counter or working electrode is read back connected."""
    for name, electrode in (("Ctr", "counter"), ("Wrk", "working")):
        told = dialogue.ask(f"get{name}ElectConnected").get("connected")
        if told is not False:
            raise InstrumentFaultError(
                f"{who}: asked to disconnect the electrodes, the {electrode} electrode is told as "
                f"{told!r}: take the cell off"
            )
