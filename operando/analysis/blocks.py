"""The named parts of a run's program, as its start document tells them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from operando.runs import Run
from techniques import NamedBlock, Technique, named_blocks

_TECHNIQUE: TypeAdapter[Technique] = TypeAdapter(Technique)


def recorded_blocks(technique: object) -> tuple[NamedBlock, ...]:
    """Return the named parts of a stored program with their cycles; none if it is not understood.

    Numbers are as written: where a limit left a loop early, later parts began earlier.
    """
    try:
        return named_blocks(_TECHNIQUE.validate_python(technique))
    except ValueError:  # of pydantic, too: a newer version's, or none at all
        return ()


def blocks_of(run: Run) -> tuple[NamedBlock, ...]:
    """Return the named parts of a run's program as far as it was under it.

    Where its protocol was changed while it ran, each technique counts for its own cycles.
    """
    told = [(1, 1, run.start.get("technique"))]
    told += [(one.cycle + 1, one.half_cycle, one.technique) for one in run.amendments]
    ends = [*((cycle - 1, half - 1) for cycle, half, _ in told[1:]), (None, None)]
    found = []
    for (cycle, half, technique), (last_cycle, last_half) in zip(told, ends, strict=True):
        for block in recorded_blocks(technique):
            part = replace(
                block,
                first_cycle=max(block.first_cycle, cycle),
                last_cycle=min(block.last_cycle, last_cycle or block.last_cycle),
                first_half_cycle=max(block.first_half_cycle, half),
                last_half_cycle=min(block.last_half_cycle, last_half or block.last_half_cycle),
            )
            if part.first_half_cycle <= part.last_half_cycle or part == block:
                found.append(part)
    return tuple(found)


def left_out_of_run(run: Run) -> dict[int, str]:
    """Return the cycles that a run's program leaves out of means, and the part each belongs to."""
    return _left_out(blocks_of(run))


def left_out_of_means(technique: object) -> dict[int, str]:
    """Return the cycles that a stored program leaves out of means, and the part each belongs to."""
    return _left_out(recorded_blocks(technique))


def _left_out(blocks: Iterable[NamedBlock]) -> dict[int, str]:
    return {
        cycle: block.name
        for block in blocks
        if not block.in_means
        for cycle in range(block.first_cycle, block.last_cycle + 1)
    }


def temperatures_of_cycles_k(start: Mapping[str, Any]) -> dict[int, float]:
    """Return the temperature that a run's program has for each cycle, K; none where it has one.

    Args:
        start: Its start document, whose ``temperatures`` name parts of its program.
    """
    by_name = {f"{value:g} K": value for value in _kelvin(start)}
    return {
        cycle: by_name[block.name]
        for block in recorded_blocks(start.get("technique"))
        if block.name in by_name
        for cycle in range(block.first_cycle, block.last_cycle + 1)
    }


def compared_temperatures_k(start: Mapping[str, Any]) -> dict[int, float] | None:
    """Return the temperature of each cycle, K, for what compares cycles at one temperature.

    ``None`` where the program has not several. It tells of no cycle where a limit may leave a loop,
    for later cycles then have other numbers, and where metal is plated or stripped outside cycles.

    Args:
        start: As of `temperatures_of_cycles_k`.
    """
    if len(set(_kelvin(start))) < 2:
        return None
    if _counts_otherwise(start.get("technique")):
        return {}
    return temperatures_of_cycles_k(start)


def _kelvin(start: Mapping[str, Any]) -> list[float]:
    told = start.get("temperatures")
    kelvin = told.get("kelvin") if isinstance(told, Mapping) else None
    return [float(value) for value in kelvin] if isinstance(kelvin, list | tuple) else []


def _counts_otherwise(part: object, *, in_cycle: bool = False) -> bool:
    """Return whether the numbers of cycles do not tell where in a stored program a row is."""
    if isinstance(part, Mapping):
        if part.get("action") == "end_loop" or (part.get("role") and not in_cycle):
            return True
        in_cycle = in_cycle or part.get("type") == "plate_strip_cycle"
        part = list(part.values())
    if not isinstance(part, list | tuple):
        return False
    return any(_counts_otherwise(one, in_cycle=in_cycle) for one in part)
