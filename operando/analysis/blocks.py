"""The named parts of a run's program, as its start document tells them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from operando.runs import Asked, Run
from techniques import NamedBlock, Technique, named_blocks
from techniques.amended import cycles_begun

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

    Where its protocol was changed while it ran, each technique counts for its own half-cycles, and
    a part that both have at that place is one. Cycles are numbered as in the rows of the run.
    """
    asked = run.asked
    if len(asked) == 1:
        return recorded_blocks(asked[0].technique)
    found: list[NamedBlock] = []
    for one in asked:
        shift = 0
        if one.by:
            # Where the other protocol plated outside cycles, its cycles have other numbers.
            shift = one.first_cycle - 1 - _cycles_begun(one.technique, one.first_half_cycle - 1)
        for block in recorded_blocks(one.technique):
            part = _within(block, one, shift)
            if part.first_half_cycle > part.last_half_cycle:
                continue
            before = next(
                (
                    k
                    for k, other in enumerate(found)
                    if (other.name, other.in_means) == (part.name, part.in_means)
                    and other.last_half_cycle == one.first_half_cycle - 1
                    and block.first_half_cycle < one.first_half_cycle
                ),
                None,
            )
            if before is None:
                found.append(part)
            else:
                found[before] = replace(
                    found[before], last_cycle=part.last_cycle, last_half_cycle=part.last_half_cycle
                )
    return tuple(found)


def _within(block: NamedBlock, asked: Asked, shift: int) -> NamedBlock:
    """Return what of a part lies in the half-cycles of a protocol, its cycles counted on."""
    last_half, last_cycle = asked.last_half_cycle, asked.last_cycle
    first, last = block.first_cycle + shift, block.last_cycle + shift
    return replace(
        block,
        first_cycle=max(first, asked.first_cycle),
        last_cycle=last if last_cycle is None else min(last, last_cycle),
        first_half_cycle=max(block.first_half_cycle, asked.first_half_cycle),
        last_half_cycle=block.last_half_cycle
        if last_half is None
        else min(block.last_half_cycle, last_half),
    )


def _cycles_begun(technique: object, half_cycles: int) -> int:
    try:
        return cycles_begun(_TECHNIQUE.validate_python(technique), half_cycles)
    except ValueError:
        return 0


def left_out_of_run(run: Run) -> dict[int, str]:
    """Return the cycles that a run's program leaves out of means, and the part each belongs to."""
    return _left_out(blocks_of(run))


def left_out_of_means(technique: object) -> dict[int, str]:
    """Return the cycles that a stored program leaves out of means, and the part each belongs to.

    As if it had run from its beginning to its end: for a run, `left_out_of_run` tells.
    """
    return _left_out(recorded_blocks(technique))


def _left_out(blocks: Iterable[NamedBlock]) -> dict[int, str]:
    return {
        cycle: block.name
        for block in blocks
        if not block.in_means
        for cycle in range(block.first_cycle, block.last_cycle + 1)
    }


def half_cycles_left_out(technique: object) -> tuple[range, ...]:
    """Return the half-cycles of a stored program that are left out of means."""
    return tuple(
        range(block.first_half_cycle, block.last_half_cycle + 1)
        for block in recorded_blocks(technique)
        if not block.in_means
    )


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
