"""The named parts of a run's program, as its start document tells them."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

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


def left_out_of_means(technique: object) -> dict[int, str]:
    """Return the cycles that a stored program leaves out of means, and the part each belongs to."""
    return {
        cycle: block.name
        for block in recorded_blocks(technique)
        if not block.in_means
        for cycle in range(block.first_cycle, block.last_cycle + 1)
    }


def temperatures_of_cycles_k(start: Mapping[str, Any]) -> dict[int, float]:
    """Return the temperature that a run's program has for each cycle, K; none where it has one.

    Args:
        start: Its start document, whose ``temperatures`` name parts of its program.
    """
    told = start.get("temperatures")
    kelvin = told.get("kelvin") if isinstance(told, Mapping) else None
    if not isinstance(kelvin, list | tuple):
        return {}
    by_name = {f"{value:g} K": float(value) for value in kelvin}
    return {
        cycle: by_name[block.name]
        for block in recorded_blocks(start.get("technique"))
        if block.name in by_name
        for cycle in range(block.first_cycle, block.last_cycle + 1)
    }
