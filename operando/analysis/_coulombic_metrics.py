"""Coulombic efficiency of a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    enumerated,
    interruptions,
    metric,
    summary,
    undefined,
    zeros_taken_off,
)
from operando.analysis.blocks import blocks_of, left_out_of_run
from operando.analysis.coulombic import CoulombicEfficiency, coulombic_efficiency
from operando.analysis.endings import CUT_OFF_WITHIN_V, strip_cut_offs_v
from operando.analysis.failure import emptied
from operando.analysis.reservoir import reservoir_efficiency, reservoir_part
from operando.analysis.segments import PLATE, STRIP, HalfCycle
from techniques import Cell

_CE = (
    "ce_pct",
    "ce_mean_pct",
    "ce_mean_without_first_pct",
    "ce_ratio_of_sums_pct",
    "ce_sd_pct",
    "initial_ce_pct",
    "initial_loss_mah_cm2",
    "cumulative_irreversible_mah_cm2",
    "ce_last_cycle_above_95",
    "reservoir_ce_pct",
)
_HIGH_PCT = 95.0
_SHORTED = "from the hard short on"


def coulombic_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the coulombic efficiencies of a half cell and what the cycles lost."""
    cell = found.cell
    if cell is None or not found.halves:
        return undefined(_CE, found.no_halves)
    if cell.symmetric:
        return undefined(
            _CE,
            "undefined for a symmetric cell: the other electrode supplies what is lost",
        )
    if cell.electrode.metal == cell.metal and not cell.full_cell:
        return undefined(
            _CE,
            f"the {cell.electrode.material} electrode is made of {cell.metal}: a strip takes of it "
            "what it is asked for, whatever came back of what was plated",
        )
    reservoir, part = _reservoir(found)
    return _by_cycle(found, cell, part) | reservoir


def _reservoir(found: Evaluation) -> tuple[dict[str, Metric], tuple[HalfCycle, ...]]:
    """Return the efficiency against a reservoir, and the half-cycles that belong to it."""
    name = "reservoir_ce_pct"
    assert found.cell is not None  # it has half-cycles
    if found.cell.full_cell:
        return undefined((name,), "a full cell has no reservoir of metal"), ()
    blocks = blocks_of(found.run)
    part = reservoir_part(found.halves, blocks)
    if part is None:
        return undefined((name,), "the half-cycles are not those of a reservoir protocol"), ()
    before = [half for half in found.halves if half.number < part[0][0].number] if part[0] else []
    emptied_before = any(half.role == STRIP and half.ended and emptied(half) for half in before)
    if found.cell.electrode.predeposited_mah_cm2 and not emptied_before:
        held = "the electrode held metal before the reservoir was plated, which no strip had taken"
        return undefined((name,), held), part[0]
    if found.criteria_problem is not None:
        return undefined((name,), found.criteria_problem), part[0]
    told = reservoir_efficiency(*part, found.failures[1], found.accuracy)
    return {name: metric(name, told.percent, told.uncertainty_percent, told.reason)}, part[0]


def _by_cycle(found: Evaluation, cell: Cell, reserved: Sequence[HalfCycle]) -> dict[str, Metric]:
    """Return all but the reservoir's, whose cycles have no efficiency each."""
    numbers_reserved = {half.number for half in reserved}
    halves = tuple(half for half in found.halves if half.number not in numbers_reserved)
    names = tuple(name for name in _CE if name != "reservoir_ce_pct")
    held = not cell.full_cell and bool(cell.electrode.predeposited_mah_cm2)
    ce = coulombic_efficiency(halves, found.accuracy, holds_metal=held)
    if numbers_reserved:
        begin, end = reserved[0].cycle, reserved[-1].cycle
        told_apart = f"cycle {begin} to {end} left out: see reservoir_ce_pct"
        ce = replace(ce, left_out=(*ce.left_out, told_apart))
    if not ce.cycles:
        return undefined(names, summary(ce.left_out) or "no complete cycle")
    short = [*_short_of_cut_off(found, ce, ce.cycles), *interruptions(found)]
    zero = zeros_taken_off(found)
    notes = summary([*ce.left_out, *short, zero])
    skip = max(1, cell.formation_cycles)
    by_number = {
        number: (value, error)
        for number, value, error in zip(ce.cycles, ce.percent, ce.uncertainty_percent, strict=True)
    }
    numbers = range(1, max(*ce.cycles, *ce.end_lost, 1) + 1)
    told: dict[str, Metric] = {
        "ce_pct": metric(
            "ce_pct",
            [by_number[n][0] if n in by_number else None for n in numbers],
            [by_number[n][1] if n in by_number else None for n in numbers],
            notes,
        )
    }
    apart = left_out_of_run(found.run)
    shorted = found.hard_short_cycle
    short_ones = {n for n in ce.cycles if shorted is not None and n >= shorted}
    sound = ce.without(short_ones)
    counted = sound.without(apart)
    apart |= dict.fromkeys(short_ones, _SHORTED)
    parts = _told_parts({n: name for n, name in apart.items() if n in ce.cycles})
    of_shorts = _told_parts(dict.fromkeys(short_ones, _SHORTED))
    mean = counted.mean()
    if mean is None:
        told |= undefined(("ce_mean_pct",), f"no cycle counts in means: {', '.join(parts)}")
    else:
        told["ce_mean_pct"] = metric(
            "ce_mean_pct",
            *mean,
            summary([f"{len(counted.cycles)} cycles", *parts, *ce.left_out, *short, zero]),
        )
    later = counted.mean(skip)
    if later is None:
        few = f"{len(counted.cycles)} complete cycles, the first {skip} left out"
        told |= undefined(("ce_mean_without_first_pct",), few)
    else:
        rest = [number for number in counted.cycles if number > skip]
        basis = f"{len(rest)} cycles, the first {skip} left out"
        told["ce_mean_without_first_pct"] = metric(
            "ce_mean_without_first_pct",
            *later,
            summary(
                [
                    basis,
                    *parts,
                    *ce.left_out,
                    *_short_of_cut_off(found, ce, rest),
                    *interruptions(found, rest),
                ]
            ),
        )
    deviation = counted.standard_deviation(skip)
    if deviation is None:
        told |= undefined(("ce_sd_pct",), f"needs two cycles after the first {skip}")
    else:
        told["ce_sd_pct"] = metric("ce_sd_pct", deviation, reason=summary([*parts, notes]))
    ratio = counted.ratio_of_sums()
    if ratio is None:
        told |= undefined(
            ("ce_ratio_of_sums_pct",), f"no cycle counts in means: {', '.join(parts)}"
        )
    else:
        told["ce_ratio_of_sums_pct"] = metric(
            "ce_ratio_of_sums_pct", *ratio, summary([*parts, notes])
        )
    first_plated = next(half.cycle for half in found.halves if half.role == PLATE)
    if first_plated in short_ones:
        told |= undefined(("initial_ce_pct", "initial_loss_mah_cm2"), "the cell was shorted in it")
    elif ce.cycles[0] == first_plated:
        plated, error = ce.plated_mah_cm2[0], ce.uncertainty_percent[0]
        first = summary(
            [
                *_short_of_cut_off(found, ce, ce.cycles[:1]),
                *interruptions(found, ce.cycles[:1]),
            ]
        )
        told["initial_ce_pct"] = metric("initial_ce_pct", ce.percent[0], error, first)
        told["initial_loss_mah_cm2"] = metric(
            "initial_loss_mah_cm2", ce.initial_loss_mah_cm2(), error / 100 * plated, first
        )
    else:
        its = (f"cycle {first_plated} ", f"cycle {first_plated},")
        missing = next((one for one in ce.left_out if one.startswith(its)), f"{its[0]}is left out")
        told |= undefined(("initial_ce_pct", "initial_loss_mah_cm2"), missing)
    shared = math.fsum(
        q * u / 100 for q, u in zip(sound.plated_mah_cm2, sound.uncertainty_percent, strict=True)
    )
    name, lost = "cumulative_irreversible_mah_cm2", sound.cumulative_irreversible_mah_cm2()
    told[name] = metric(
        name,
        lost,
        None if lost is None else shared,
        summary([*of_shorts, notes]) if lost is not None else "the cell was shorted in all cycles",
    )
    name = "ce_last_cycle_above_95"
    above = [
        n for n, percent in zip(sound.cycles, sound.percent, strict=True) if percent > _HIGH_PCT
    ]
    if above:
        told[name] = metric(
            name,
            float(above[-1]),
            reason=summary([f"of {len(ce.cycles)} cycles", *of_shorts]),
        )
    else:
        told |= undefined((name,), "no cycle was above 95 %")
    return told


def _told_parts(apart: Mapping[int, str]) -> list[str]:
    """Say which cycles belong to parts that the protocol leaves out of means."""
    by_name: dict[str, list[int]] = {}
    for number, name in sorted(apart.items()):
        by_name.setdefault(name, []).append(number)
    return [
        f"cycle {enumerated(numbers)} ({name}) not counted" for name, numbers in by_name.items()
    ]


def _short_of_cut_off(
    found: Evaluation, ce: CoulombicEfficiency, among: Sequence[int]
) -> list[str]:
    """Say which strips ended before their cut-off potential: not all metal was asked back.

    That is no lower bound: through a soft short more can come back than was plated.
    """
    cut_offs = _strip_cut_offs_v(found)
    counted = set(among)
    short = [
        (number, percent, cut_off)
        for number, percent, end_v in zip(ce.cycles, ce.percent, ce.strip_end_v, strict=True)
        if (cut_off := cut_offs.get(number)) is not None
        and number in counted
        and end_v < cut_off - CUT_OFF_WITHIN_V
    ]
    told = []
    for cut_off in dict.fromkeys(cut_off for _, _, cut_off in short):
        which = enumerated([number for number, _, one in short if one == cut_off])
        told.append(f"the strip ended before its cut-off of {cut_off:g} V in cycle {which}")
    above = [number for number, percent, _ in short if percent > 100.0]
    if above:
        told.append(f"more than 100 % without it in cycle {enumerated(above)}: maybe a soft short")
    return told


def _strip_cut_offs_v(found: Evaluation) -> dict[int, float]:
    """Return by cycle the lowest potential at which any strip of its protocol ends, V.

    That of the protocol under which the last strip of the cycle was.
    """
    lowest = {
        one.first_half_cycle: min(
            strip_cut_offs_v(one.technique, one.first_half_cycle, one.last_half_cycle),
            default=None,
        )
        for one in found.run.asked
    }
    by_cycle: dict[int, float] = {}
    before: HalfCycle | None = None
    cycle = 0
    for half in found.halves:
        if half.role == PLATE and (before is None or before.role != PLATE):
            cycle = half.cycle
        elif half.role == STRIP:
            first = max(first for first in lowest if first <= half.number)
            cut_off = lowest[first]
            by_cycle.pop(cycle, None)
            if cut_off is not None:
                by_cycle[cycle] = cut_off
        before = half
    return by_cycle
