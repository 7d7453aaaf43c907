"""What every relay board offers, whatever its wire language."""

from typing import Protocol


class RelayBoard(Protocol):
    """Contacts that close and lines that are read; callable from any thread.

    Every failure is an InstrumentError. A relay is open when the board is powered up.
    """

    @property
    def verified_on(self) -> str | None:
        """Return when and with which firmware this driver was confirmed on hardware, or None."""
        ...

    def connect(self) -> None:
        """Open the port and check who is there."""
        ...

    def close(self) -> None:
        """Open every relay that was closed here, and release the port; safe to call twice."""
        ...

    def identify(self) -> dict[str, str]:
        """Return ``model``, ``firmware``, ``serial_number`` and ``address`` of what answered."""
        ...

    def set_relay(self, n: int, closed: bool) -> None:
        """Close or open the contact of relay ``n``; returns when it has been read back so."""
        ...

    def relay(self, n: int) -> bool:
        """Return whether the contact of relay ``n`` is closed, asked of the board."""
        ...

    def gpio(self, n: int) -> bool:
        """Return whether the digital input ``n`` is high."""
        ...

    def pulse(self, n: int, duration_s: float) -> None:
        """Close relay ``n`` for ``duration_s`` and open it whatever happens in between."""
        ...
