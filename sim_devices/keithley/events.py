"""The event log: errors, warnings and messages, until they are read."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

ERROR, WARNING, INFORMATION = 1, 2, 4
_KEPT = 1000


class Event(NamedTuple):
    """One event.

    Attributes:
        number: as the manual lists it.
        text: what happened.
        severity: ``ERROR``, ``WARNING`` or ``INFORMATION``.
        utc_s: the instrument's clock, s since 1970.
    """

    number: int
    text: str
    severity: int
    utc_s: float


class RefusedError(Exception):
    """A command is refused with an event; nothing has changed."""

    def __init__(self, number: int, text: str) -> None:
        """Tell the event's number and text."""
        super().__init__(f"{number}, {text}")
        self.number, self.text = number, text


class EventLog:
    """Events that nobody has read yet."""

    def __init__(self) -> None:
        """Start without any."""
        self._unread: deque[Event] = deque(maxlen=_KEPT)

    def post(self, number: int, text: str, utc_s: float, severity: int = ERROR) -> None:
        """Note that something happened."""
        self._unread.append(Event(number, text, severity, utc_s))

    def count(self, severities: int = ERROR | WARNING | INFORMATION) -> int:
        """Return how many there are of these severities."""
        return sum(1 for event in self._unread if event.severity & severities)

    def next(self, severities: int = ERROR | WARNING | INFORMATION) -> Event | None:
        """Return the oldest of these severities and take it out; None: there is none."""
        for event in self._unread:
            if event.severity & severities:
                self._unread.remove(event)
                return event
        return None

    def clear(self) -> None:
        """Forget all of them."""
        self._unread.clear()


OUT_OF_RANGE = (-222, "Parameter data out of range")
ILLEGAL_VALUE = (-224, "Illegal parameter value")
