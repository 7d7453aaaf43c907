"""The reference electrode of a cell: what is known against it, and how it is checked.

At open circuit a metal in a solution of its ions has a potential that does not depend on its
surface: against a reference of the same metal 0, against another one what the cell file tells. An
electrode of that metal shows by it whether the reference is what it is said to be: its *offset* is
its potential against the reference less what is known of it. The counter electrode's potential is
the difference of what is measured, E_CE = E_WE - (E_WE - E_CE), E_WE against the reference.
"""

import math
import re
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from techniques._base import Data
from techniques.programs import Block, Sequence
from techniques.steps import OpenCircuit

if TYPE_CHECKING:
    from techniques.cell import Cell
    from techniques.technique import Technique

_NAMES = {"Zn": "zinc", "Na": "sodium"}
# From how far on a potential against the reference says that it is absent or floating, V.
_REFUSE_ABOVE_V = 0.200
# Of a potential, V, whatever its sign.
Threshold = Annotated[float, Field(gt=0)]


class ReferenceCheck(Data):
    """How the reference electrode is checked, at open circuit, before a program and after it.

    The offset is the potential of the metal counter electrode (of the working electrode where only
    that one bears metal) against the reference, less what is known of it. On the sign: a reference
    whose own potential rises lets every offset fall.
    """

    look_s: float = Field(
        default=10.0,
        ge=3.0,
        description="How long the open circuit is looked at where a program does not itself begin "
        "or end with one as long, s. Longer where the counter electrode relaxes slowly.",
    )
    remark_above_v: Threshold = Field(
        default=0.010,
        description="An offset before the program, or a drift until after it, of a larger "
        "magnitude is remarked in the run's stop document, V.",
    )
    refuse_above_v: Threshold = Field(
        default=_REFUSE_ABOVE_V,
        description="With a larger offset, or none that is a number, the instrument ends the "
        "program before anything is driven: the reference is absent or floating, V.",
    )

    noise_max_v: Threshold = Field(
        default=0.050,
        description="A noise of E_WE about its course, over a window, of a larger root mean "
        "square ends the run with the cell open: the reference floats, or its lead is off, V.",
    )
    noise_window_rows: int = Field(
        default=20, ge=8, le=1000, description="Rows of one step that make up the window."
    )
    overload_s: float = Field(
        default=2.0,
        gt=0,
        description="Rows that the instrument marks as overloaded, one after the other for so "
        "long, end the run with the cell open: nothing is controlled any more, s.",
    )


class ReferenceBound(Data):
    """What the instrument demands of the reference before it drives the cell.

    Where no potential against the reference is known only a reading at the end of what the
    instrument can measure, or none that is a number, is refused.
    """

    name: str = Field(description="What the reference electrode is.")
    electrode: Literal["WE", "CE"] | None = Field(
        default=None, description="The electrode whose potential against it is known."
    )
    expected_v: float = Field(default=0.0, description="That potential at open circuit, V.")
    within_v: Threshold = Field(
        default=_REFUSE_ABOVE_V, description="How far it may be from it, V."
    )


@dataclass(frozen=True)
class KnownPotential:
    """An electrode of a three-electrode cell whose potential at open circuit is known.

    Attributes:
        electrode: Which.
        expected_v: Its potential against the reference, V.
    """

    electrode: Literal["WE", "CE"]
    expected_v: float

    def offset_v(self, potential_v: float, cell_potential_v: float) -> float:
        """Return its potential against the reference less what is known of it, V.

        Args:
            potential_v: E_WE against the reference, V.
            cell_potential_v: E_WE - E_CE, V.
        """
        own_v = potential_v - cell_potential_v if self.electrode == "CE" else potential_v
        return own_v - self.expected_v


def metal_vs_reference_v(cell: "Cell") -> float | str:
    """Return the potential of the cell's metal against its reference, V; or why it is not known."""
    reference = cell.reference_electrode
    if reference is None:
        return "a two-electrode cell: it has no reference electrode"
    if cell.metal_vs_reference_v is not None:
        return cell.metal_vs_reference_v
    if _is_of(cell.metal, reference):
        return 0.0
    return (
        f"the potential of {cell.metal} against {reference} is not known: give "
        "metal_vs_reference_v in the cell file"
    )


def known_potential(cell: "Cell") -> KnownPotential | str:
    """Return the electrode by which the reference is checked; where there is none, why.

    The counter electrode if it holds the metal, else the working electrode if it does.
    """
    expected_v = metal_vs_reference_v(cell)
    if isinstance(expected_v, str):
        return expected_v
    if cell.holds_metal(cell.counter_electrode):
        return KnownPotential("CE", expected_v)
    if cell.holds_metal(cell.working_electrode):
        return KnownPotential("WE", expected_v)
    return (
        f"neither electrode holds {cell.metal} when the experiment begins, whose potential against "
        f"{cell.reference_electrode} would be known"
    )


def reference_bound(cell: "Cell") -> ReferenceBound | None:
    """Return what the instrument demands of the cell's reference; ``None``: it has none."""
    if cell.reference_electrode is None:
        return None
    known, name = known_potential(cell), cell.reference_electrode
    if isinstance(known, str):
        return ReferenceBound(name=name)
    return ReferenceBound(
        name=name,
        electrode=known.electrode,
        expected_v=known.expected_v,
        within_v=cell.reference_check.refuse_above_v,
    )


def with_looks(technique: "Technique", cell: "Cell") -> "Technique":
    """Return a program that begins and ends with an open circuit, for the sake of the reference.

    On a two-electrode cell, and where the program does so itself, it is returned unchanged. A rest
    inside a cycle or a repeat, which a limit may leave before it, counts as none.
    """
    if cell.reference_electrode is None:
        return technique
    look = OpenCircuit(duration_s=cell.reference_check.look_s)
    steps: list[Technique] = [technique]
    if _rest_s(technique, 0) < look.duration_s:
        steps.insert(0, look)
    if _rest_s(technique, -1) < look.duration_s:
        steps.append(look)
    return technique if len(steps) == 1 else Sequence(steps=tuple(steps))


def middle(values: Rows[float]) -> tuple[float, float]:
    """Return the median of values and its standard uncertainty, by their scatter.

    Of normally scattered values the median of n is uncertain by sqrt(pi/2) times their standard
    deviation over sqrt(n). Of one value the scatter is not known: 0.
    """
    ordered = sorted(values)
    count = len(ordered)
    median = 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
    if count < 2:
        return median, 0.0
    mean = math.fsum(ordered) / count
    variance = math.fsum((value - mean) ** 2 for value in ordered) / (count - 1)
    return median, math.sqrt(0.5 * math.pi * variance / count)


def _rest_s(technique: "Technique", end: Literal[0, -1]) -> float:
    """Return how long the open circuit is with which a program begins (0) or ends (-1), s."""
    match technique:
        case OpenCircuit():
            return technique.duration_s
        case Sequence():
            return _rest_s(technique.steps[end], end)
        case Block():
            return _rest_s(technique.step, end)
    return 0.0


def _is_of(metal: str, reference: str) -> bool:
    """Return whether a reference is said to be of a metal: Zn wire, zinc, Na ring, sodium."""
    found = re.match(r"[^\s,;/(]+", reference.strip())
    # "Zn/Zn2+" is, "Na3Bi", "Zn-Hg" and "Hg/HgO" are not.
    return found is not None and (found[0] == metal or found[0].lower() == _NAMES[metal])
