"""A lamp on a relay of a board, as an instrument of its own: a sensor of whether it is on."""

from collections.abc import Mapping
from typing import ClassVar

from instruments.abilities import Abilities
from instruments.relay_board import Lamp, RelayBoard, is_connected


class SwitchedLamp(Lamp):
    """A lamp that hangs on one relay of a board, which is connected by its owner.

    Every method raises what the board raises.
    """

    verified_on: str | None = None
    quantities: ClassVar[Mapping[str, str]] = {"on": ""}

    def __init__(self, board: RelayBoard, relay: int) -> None:
        super().__init__(board, relay)
        self._hangs_on = board
        self._number = relay

    def connect(self) -> None:
        """Ask once whether it is on."""
        self.read()

    def close(self) -> None:
        """Do nothing: the board opens its contacts when its owner closes it."""

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what it can do, whichever model it is."""
        return (
            Abilities(
                does=("switch on", "switch off"),
                limits_kept_by="nobody",
            ),
        )

    def identify(self) -> dict[str, str]:
        """Return how it is wired; it cannot say more."""
        told = {f"board_{key}": value for key, value in self._hangs_on.identify().items()}
        return {"model": "lamp on a relay", "relay": str(self._number), **told}

    def read(self) -> Mapping[str, float]:
        """Return 1 if it is on, else 0, asked of the board."""
        return {"on": float(self.is_on)}

    def safe_state(self) -> None:
        """Switch it off; a no-op if it is off, or its board is not connected."""
        if is_connected(self._hangs_on) and self.is_on:
            self.off()
