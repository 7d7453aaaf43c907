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


def is_connected(board: RelayBoard) -> bool:
    """Return whether a board is connected, as far as its driver tells."""
    return bool(getattr(board, "connected", True))


def leave_open(board: RelayBoard, relay: int) -> None:
    """Open a contact if it is closed; a no-op where the board is not connected.

    A board that was closed has opened what it had closed. Raises InstrumentError if one that is
    connected does not confirm.
    """
    if is_connected(board) and board.relay(relay):
        board.set_relay(relay, False)
