"""The techniques there are, and what they become on a cell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from techniques.cell import Cell
from techniques.experiments import (
    CorrosionRest,
    CurrentInterrupt,
    DummyCellRanges,
    Experiment,
    Formation,
    FullCellCycling,
    HalfCellCycling,
    ImpedanceSeries,
    NucleationSeries,
    Pulses,
    RateCapability,
    ReservoirEfficiency,
    SymmetricCycling,
    Tafel,
    Transference,
    Voltammetry,
    WettingRest,
)
from techniques.failure_policy import FailurePolicy
from techniques.programs import Block, Repeat, Sequence
from techniques.steps import ElementaryStep, GalvanostaticStep, PlateStripCycle, PotentiostaticStep

Technique = Annotated[
    ElementaryStep
    | PlateStripCycle
    | Sequence
    | Repeat
    | Block
    | WettingRest
    | Formation
    | SymmetricCycling
    | HalfCellCycling
    | ReservoirEfficiency
    | NucleationSeries
    | RateCapability
    | ImpedanceSeries
    | Tafel
    | Voltammetry
    | Transference
    | Pulses
    | FullCellCycling
    | CorrosionRest
    | CurrentInterrupt
    | DummyCellRanges,
    Field(discriminator="type"),
]
for _container in (Sequence, Repeat, Block, Formation):
    _container.model_rebuild(_types_namespace={"Technique": Technique})


def for_cell(technique: Technique, cell: Cell) -> Technique:
    """Return what runs on ``cell``: every experiment in ``technique`` as its program.

    The result consists of elementary steps, cycles, sequences, repeats and named parts; what
    consists of these already is returned unchanged. A failure policy of a part is told at every
    step in it that has none of its own.

    Raises:
        UnsuitableCellError: An experiment makes no sense on the cell; the message says why.
    """
    return _with_policy(_program(technique, cell), technique.on_failure)


def _program(technique: Technique, cell: Cell) -> Technique:
    match technique:
        case Experiment():
            return for_cell(technique.program(cell), cell)
        case Sequence():
            steps = tuple(for_cell(step, cell) for step in technique.steps)
            return technique.model_copy(update={"steps": steps})
        case Repeat() | Block():
            return technique.model_copy(update={"step": for_cell(technique.step, cell)})
    return technique


def _with_policy(technique: Technique, policy: FailurePolicy | None) -> Technique:
    """Return a program in which each step without a failure policy of its own has this one."""
    own = technique.on_failure or policy
    if own is None:
        return technique
    update: dict[str, Any] = {"on_failure": own}
    match technique:
        case Sequence():
            update["steps"] = tuple(_with_policy(step, own) for step in technique.steps)
        case Repeat() | Block():
            update["step"] = _with_policy(technique.step, own)
        case PlateStripCycle():
            names = ("plate", "plate_hold", "strip", "between")
            parts = {name: getattr(technique, name) for name in names}
            update |= {
                name: _with_policy(part, own) for name, part in parts.items() if part is not None
            }
    return technique.model_copy(update=update)


def experiments_in(technique: Technique) -> Iterator[Experiment]:
    """Yield the experiments in ``technique`` that no cell has made a program of yet."""
    match technique:
        case Experiment():
            yield technique
        case Sequence():
            for step in technique.steps:
                yield from experiments_in(step)
        case Repeat() | Block():
            yield from experiments_in(technique.step)


def unresolved(experiment: Experiment) -> str:
    """Return what is wrong where a program is needed and an experiment came."""
    name = getattr(experiment, "type", type(experiment).__name__)
    return f"{name} is no program yet: for_cell(technique, cell) makes it one"


@dataclass(frozen=True)
class NamedBlock:
    """A named part of a program, and which of its cycles and half-cycles it holds.

    Attributes:
        name: as written.
        in_means: whether its cycles count in means over cycles.
        first_cycle: number of its first plate/strip cycle.
        last_cycle: of its last; below ``first_cycle`` if it has none.
        first_half_cycle: number of its first half-cycle.
        last_half_cycle: of its last; below ``first_half_cycle`` if it has none.
    """

    name: str
    in_means: bool
    first_cycle: int
    last_cycle: int
    first_half_cycle: int
    last_half_cycle: int


def named_blocks(technique: Technique) -> tuple[NamedBlock, ...]:
    """Return the named parts of a program, in their order, outer ones before those inside.

    Numbers are as written: where a limit leaves a loop early, the later parts begin earlier than
    told here. Raises ValueError for an experiment that no cell has made a program of.
    """
    found: list[NamedBlock] = []
    _count(technique, 0, 0, found)
    return tuple(found)


def _count(
    technique: Technique, cycle: int, half_cycle: int, found: list[NamedBlock]
) -> tuple[int, int]:
    """Return the numbers of the last cycle and half-cycle after ``technique``; note its parts."""
    match technique:
        case Block():
            place = len(found)
            after = _count(technique.step, cycle, half_cycle, found)
            found.insert(
                place,
                NamedBlock(
                    technique.name,
                    technique.in_means,
                    cycle + 1,
                    after[0],
                    half_cycle + 1,
                    after[1],
                ),
            )
            return after
        case Sequence():
            for step in technique.steps:
                cycle, half_cycle = _count(step, cycle, half_cycle, found)
        case Repeat():
            for _ in range(technique.times):
                cycle, half_cycle = _count(technique.step, cycle, half_cycle, found)
        case PlateStripCycle():
            return cycle + technique.cycles, half_cycle + 2 * technique.cycles
        case GalvanostaticStep() if technique.role is not None:
            return cycle, half_cycle + 1
        case PotentiostaticStep() if technique.role is not None:
            return cycle, half_cycle + (not technique.continues_half_cycle)
        case Experiment():
            raise ValueError(unresolved(technique))
    return cycle, half_cycle
