"""A light on a relay."""

from instruments.relay_board.contract import RelayBoard


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

    @property
    def is_on(self) -> bool:
        """Return whether the relay is closed, asked of the board."""
        return self._board.relay(self._relay)
