"""What every sampling valve offers, whatever its wire language."""

from typing import Literal, Protocol

Position = Literal["A", "B"]


class SamplingValve(Protocol):
    """A valve of two positions; callable from any thread, one exchange at a time.

    Every failure is an InstrumentError.
    """

    @property
    def verified_on(self) -> str | None:
        """Return when and with which firmware this driver was confirmed on hardware, or None."""
        ...

    def connect(self) -> None:
        """Open the port and check who is there; moves nothing."""
        ...

    def close(self) -> None:
        """Go to the safe state and release the port; safe to call twice."""
        ...

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``address`` and what else the actuator tells of itself."""
        ...

    def position(self) -> Position:
        """Return where it stands."""
        ...

    def go_to(self, position: Position) -> None:
        """Turn it; returns when it has told that it is there, at once if it is already.

        Raises InstrumentFaultError if it does not get there.
        """
        ...

    def rests_at(self, position: Position) -> None:
        """Say where it is to be left, wherever it was found; moves nothing."""
        ...

    def safe_state(self) -> None:
        """Go to where it rests, or back to where it was found where nobody said that."""
        ...
