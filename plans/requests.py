"""What people ask of a run that goes on, as a plan hears of it; `operando.session` has the box."""

from typing import Protocol

from techniques.requests import Request


class Asked(Protocol):
    """One request, whose asker waits to hear what becomes of it."""

    @property
    def request(self) -> Request:
        """Return what was asked."""

    def accept(self, told: str) -> None:
        """Say what will be done."""

    def refuse(self, why: str) -> None:
        """Say why nothing is done; the run goes on as it was."""


class Requests(Protocol):
    """Hands a plan what was asked; callable from the plan's thread, never blocks."""

    def begin(self) -> None:
        """Hear of requests from now on: a run goes on that can do something about them."""

    def take(self) -> Asked | None:
        """Return the oldest request that was not taken; ``None``: there is none."""

    def end(self, why: str) -> None:
        """Refuse what was not taken, and what comes until the next ``begin``; callable twice."""
