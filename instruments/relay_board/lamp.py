"""Lights on relays."""

from collections.abc import Iterable

from instruments.errors import InstrumentError
from instruments.relay_board.contract import RelayBoard, is_connected


class Lamp:
    """The light that hangs on one relay of a board: states, not toggles.

    Every method raises InstrumentError if the board does not confirm.
    """

    def __init__(self, board: RelayBoard, relay: int) -> None:
        self._board = board
        self._relay = relay

    def on(self) -> None:
        """Switch the light on; returns when the relay has been read back closed."""
        self._board.set_relay(self._relay, True)

    def off(self) -> None:
        """Switch the light off; returns when the relay has been read back open."""
        self._board.set_relay(self._relay, False)

    def leave_off(self) -> None:
        """Switch the light off if it may be on: not where the board is not connected.

        A board that was closed has opened the relays that it had closed.
        """
        if is_connected(self._board):
            self.off()

    @property
    def is_on(self) -> bool:
        """Return whether the relay is closed, asked of the board."""
        return self._board.relay(self._relay)


class AllLamps:
    """Every light of a bench, to be dark for a spectrum."""

    def __init__(self, lamps: Iterable[Lamp]) -> None:
        self._lamps = tuple(lamps)

    def off(self) -> None:
        """Switch them off, each tried whatever becomes of the others; raises the first failure."""
        first: InstrumentError | None = None
        for lamp in self._lamps:
            try:
                lamp.off()
            except InstrumentError as error:
                first = first or error
        if first is not None:
            raise first
