"""What a cell starts with, and the potentials at which it is given up."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from operando.analysis.failure import PotentialWindow, PotentialWindows
from operando.runs import Asked, Run
from techniques import Cell
from techniques.reference import metal_vs_reference_v

_ABOVE, _BELOW, _EITHER = "potential_above_v", "potential_below_v", "abs_potential_above_v"


def metal_at_start_mah_cm2(cell: Cell) -> tuple[float | None, str | None]:
    """Return the metal on the metal electrode before a test, mAh/cm2, or None and why.

    Its foil's and what was deposited on it; 0 on a bare substrate.
    """
    if cell.full_cell:
        return None, "the metal of a full cell comes from its cathode"
    inventory = cell.inventory_mah_cm2(cell.electrode)
    if inventory is None:
        return None, "the thickness of the metal electrode's foil is not declared"
    return inventory, None


def metal_potential_v(cell: Cell) -> tuple[float, str | None]:
    """Return the potential from which |E| of the metal electrode counts, V, or NaN and why.

    0 against the other electrode, of which nothing is known by itself; against a reference that of
    the metal in equilibrium.
    """
    if cell.reference_electrode is None:
        return 0.0, None
    if cell.metal_electrode == "CE":
        return math.nan, (
            "the potential of the working electrode was measured against the reference, and the "
            "metal is on the counter electrode"
        )
    told = metal_vs_reference_v(cell)
    return (math.nan, told) if isinstance(told, str) else (told, None)


def given_up_beyond(start: Mapping[str, Any], cell: Cell) -> PotentialWindow:
    """Return the potentials of the metal electrode at which a run's cell is given up.

    They are the effective safety limits and the technique's limits with the action ``stop``, as
    they were told: against the reference, where there is one. A side
    on which half-cycles end at a cut-off has none: where the last metal goes the potential rises so
    steeply that the last row may lie far beyond the cut-off.
    """
    limits = (start.get("limits") or {}).get("effective") or {}
    low, high = limits.get("potential_min_v"), limits.get("potential_max_v")
    if cell.metal_electrode == "CE":
        low, high = (None if high is None else -high), (None if low is None else -low)
    lows = [-math.inf if low is None else float(low)]
    highs = [math.inf if high is None else float(high)]
    ended_above = ended_below = False
    for limit in _limits(start.get("technique")):
        quantity, value = limit.get("quantity"), limit.get("value")
        if quantity not in (_ABOVE, _BELOW, _EITHER) or not isinstance(value, int | float):
            continue
        if limit.get("action") != "stop":
            ended_above |= quantity != _BELOW
            ended_below |= quantity != _ABOVE
        elif quantity == _EITHER:
            highs.append(float(value))
            lows.append(-float(value))
        elif quantity == _ABOVE:
            highs.append(float(value))
        else:
            lows.append(float(value))
    return PotentialWindow(
        -math.inf if ended_below else max(lows), math.inf if ended_above else min(highs)
    )


def given_up_beyond_of(run: Run, cell: Cell) -> PotentialWindows:
    """Return the potentials at which the cell of a run was given up, by half-cycle."""
    return PotentialWindows(
        tuple((one.first_half_cycle, given_up_beyond(told_of(one), cell)) for one in run.asked)
    )


def told_of(asked: Asked) -> dict[str, Any]:
    """Return what was asked for as a start document tells it."""
    return {"technique": asked.technique, "limits": {"effective": asked.limits}}


def _limits(technique: object) -> Iterator[Mapping[str, Any]]:
    """Yield the limits of all steps of a stored technique."""
    if isinstance(technique, Mapping):
        until = technique.get("until")
        if isinstance(until, list | tuple):
            yield from (limit for limit in until if isinstance(limit, Mapping))
        for value in technique.values():
            yield from _limits(value)
    elif isinstance(technique, list | tuple):
        for value in technique:
            yield from _limits(value)
