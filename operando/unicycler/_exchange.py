"""What both ways share: the signs of a cell, and what is told of a protocol carried over."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from operando.terminals import orientation
from techniques import Cell

Made = TypeVar("Made")

# A hold or a charge without an end of its own is stopped there when it is imported.
LONGEST_HOLD_S = 86_400.0
OVERCHARGE = 1.25


class ExchangeError(Exception):
    """A protocol cannot be carried over as it is; the message names the step."""


@dataclass(frozen=True)
class Exchanged(Generic[Made]):
    """A protocol carried over.

    Attributes:
        protocol: What came of it.
        told: What was not carried over, or was added, a sentence each.
    """

    protocol: Made
    told: tuple[str, ...]


def sign_of(cell: Cell) -> int:
    """Return what turns a current or potential of the metal electrode into one of the terminals.

    +1: the metal electrode is the positive terminal, stripping charges the cell; -1: the other one
    is, plating charges it.
    """
    mirror = 1 if cell.metal_electrode == "WE" else -1
    return orientation(cell).sign * mirror
