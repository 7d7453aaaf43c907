"""The average coulombic efficiency against a reservoir of metal (Aurbach; Adams et al. 2018)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.coulombic import cut_off_share, told_unrecorded, unrecorded_share
from operando.analysis.failure import Failure, emptied
from operando.analysis.overpotential import NO_ZERO
from operando.analysis.segments import PLATE, STRIP, HalfCycle
from techniques import NamedBlock

_SAME_CHARGE = 0.02
# The part of a program that plates the reservoir, cycles on it and strips it.
RESERVOIR = "reservoir"
_SHORTS = ("soft_short", "soft_short_coulombic", "soft_short_spectrum", "hard_short")


@dataclass(frozen=True)
class ReservoirEfficiency:
    """One number, or why there is none.

    Attributes:
        percent: 100 (n Q_C + Q_S) / (n Q_C + Q_T); all charges measured.
        uncertainty_percent: Its standard uncertainty: from the current's accuracy, and from how
            closely it is known when the final strip passed its cut-off.
        reason: On what it rests, or why there is none.
        cycles: n.
    """

    percent: float | None
    uncertainty_percent: float | None
    reason: str
    cycles: int = 0


def reservoir_part(
    halves: Sequence[HalfCycle], blocks: Iterable[NamedBlock]
) -> tuple[tuple[HalfCycle, ...], int | None] | None:
    """Return the half-cycles from the reservoir's plating on, and how many are planned.

    By the program's part of that name; without one by the pattern: a plating, strips and platings
    of one smaller charge that end on the plateau, a strip that ends above it. None if there is
    neither.
    """
    block = next((one for one in blocks if one.name == RESERVOIR), None)
    if block is not None:
        first, last = block.first_half_cycle, block.last_half_cycle
        return tuple(h for h in halves if first <= h.number <= last), last - first + 1
    if len(halves) < 4 or halves[-1].role != STRIP or not emptied(halves[-1]):
        return None
    first = len(halves) - 1
    while (
        first >= 2
        and halves[first - 1].role == PLATE
        and not (halves[first - 2].role == STRIP and emptied(halves[first - 2]))
    ):
        first -= 2
    first -= 1
    if first < 0 or halves[first].role != PLATE:
        return None
    part = tuple(halves[first:])
    shallow = [half.capacity_mah_cm2 for half in part[1:-1]]
    if not shallow or part[0].capacity_mah_cm2 <= max(shallow) * (1 + _SAME_CHARGE):
        return None
    if max(shallow) > min(shallow) * (1 + _SAME_CHARGE):
        return None
    return part, None


def reservoir_efficiency(
    part: Sequence[HalfCycle],
    planned: int | None,
    failures: Iterable[Failure],
    accuracy: CurrentAccuracy,
) -> ReservoirEfficiency:
    """Return the efficiency of a reservoir and the cycles on it.

    Args:
        part: From the reservoir's plating to the final strip.
        planned: How many half-cycles were planned, if known.
        failures: What happened in the run.
        accuracy: The current's.
    """

    def none(reason: str) -> ReservoirEfficiency:
        return ReservoirEfficiency(None, None, reason)

    if not part:
        return none("the reservoir was not plated")
    if math.isnan(part[0].metal_v):
        return none(f"whether a strip came to its end cannot be told: {NO_ZERO}")
    numbers = {half.number for half in part}
    short = next((x for x in failures if x.kind in _SHORTS and x.half_cycle in numbers), None)
    if short is not None:
        return none(f"the cell was shorted in cycle {short.cycle}: {short.reason}")
    shallow = part[1:-1] if planned is None or len(part) == planned else part[1:]
    hit = next((half for half in shallow if half.role == STRIP and emptied(half)), None)
    if hit is not None:
        return none(f"the cut-off was hit within the cycles, in cycle {hit.cycle}")
    if planned is not None and len(part) < planned:
        return none(f"{len(part)} of {planned} half-cycles of the reservoir are in the run")
    if not all(half.ended for half in part):
        return none("the final strip has not ended as planned")
    if any(half.end_lost for half in part):
        return none("rows were lost at the end of a half-cycle of the reservoir")
    if not emptied(part[-1]):
        return none("the final strip did not reach its cut-off: not all metal was asked back")
    plated = math.fsum(half.capacity_mah_cm2 for half in part if half.role == PLATE)
    stripped = math.fsum(half.capacity_mah_cm2 for half in part if half.role == STRIP)
    if plated <= 0:
        return none("no charge was plated")
    relative = accuracy.relative_of_ratio(
        part[0].mean_current_a,
        part[-1].mean_current_a,
        zeroed=all(half.zero is not None for half in part),
    )
    missing = unrecorded_share(part, plated)
    if missing > relative:
        return none(told_unrecorded(part))
    percent = 100.0 * stripped / plated
    cycles = (len(part) - 2) // 2
    first, last = part[0].capacity_mah_cm2, part[-1].capacity_mah_cm2
    told = f"{cycles} cycles on {first:.4g} mAh/cm2, of which {last:.4g} came back at the end"
    told_u = math.hypot(relative, cut_off_share(part[-1:], stripped)) + missing
    return ReservoirEfficiency(percent, percent * told_u, told, cycles)
