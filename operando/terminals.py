"""How a cell lies between the terminals of a cycler: what charging it means."""

from dataclasses import dataclass
from typing import Literal

from techniques import Cell


@dataclass(frozen=True)
class Orientation:
    """Which electrode is the positive terminal, and so what charging the cell means.

    Attributes:
        positive: The electrode taken as the positive terminal.
        sign: Multiplies the recorded current and potential into those of BDF.
        charging: What happens on the metal electrode while positive current flows.
        reason: Why, in a sentence.
    """

    positive: Literal["WE", "CE"]
    sign: Literal[-1, 1]
    charging: Literal["stripping", "plating"]
    reason: str


def orientation(cell: Cell | None) -> Orientation:
    """Return how a cell lies between its terminals.

    The electrode of the active metal is the negative terminal, as its potential is the lower one:
    in a half cell the metal electrode is positive, plating discharges it and stripping charges it;
    in a cell with another counter electrode plating charges it. In a symmetric cell the metal
    electrode is positive by convention. With a reference electrode the working electrode against
    that reference is the test object, and nothing is turned round.
    """
    if cell is None:
        return Orientation(
            "WE", 1, "stripping", "no cell is described: the working electrode is taken as positive"
        )
    other = cell.counter_electrode if cell.metal_electrode == "WE" else cell.working_electrode
    metal_is_we = cell.metal_electrode == "WE"
    if cell.reference_electrode is not None:
        return Orientation(
            "WE",
            1,
            "stripping" if metal_is_we else "plating",
            f"a reference electrode ({cell.reference_electrode}): the test object is the working "
            "electrode against it",
        )
    metal_is_positive = other.metal == cell.metal
    positive: Literal["WE", "CE"] = "WE" if metal_is_positive == metal_is_we else "CE"
    if not metal_is_positive:
        why = (
            f"the other electrode ({other.material}) is not {cell.metal}: the metal electrode is "
            "the negative terminal, so plating charges the cell"
        )
    elif cell.symmetric:
        why = (
            "a symmetric cell has no positive terminal of its own: by convention it is the metal "
            "electrode, so plating discharges it"
        )
    else:
        why = (
            f"a half cell against {cell.metal}: the metal electrode is the positive terminal, so "
            "plating discharges it and stripping charges it"
        )
    return Orientation(
        positive,
        1 if positive == "WE" else -1,
        "stripping" if metal_is_positive else "plating",
        why,
    )
