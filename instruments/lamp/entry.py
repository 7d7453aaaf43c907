"""What a bench file tells of a lamp that is switched by itself."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from instruments.entry import InstrumentEntry
from instruments.lamp.relay import SwitchedLamp
from instruments.relay_board import RelayBoard


class SwitchedLampEntry(InstrumentEntry):
    """A lamp on a relay, also without a camera; cameras that name none use it."""

    unreached_means: ClassVar[str] = "the lamp may be on"

    kind: Literal["lamp"]
    language: Literal["relay"]
    board: str = Field(description="Name of a relay_board of this bench.")
    relay: int = Field(ge=0)

    @property
    def boards(self) -> tuple[str, ...]:
        return (self.board,)

    @property
    def relays(self) -> tuple[tuple[str, int], ...]:
        return ((self.board, self.relay),)

    @classmethod
    def driver_class(cls) -> type[SwitchedLamp]:
        return SwitchedLamp

    def driver(self, boards: Mapping[str, RelayBoard]) -> SwitchedLamp:
        """Return the driver; ``boards`` are those of the bench."""
        return SwitchedLamp(boards[self.board], self.relay)
