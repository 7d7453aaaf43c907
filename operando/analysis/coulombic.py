"""Coulombic efficiency: what comes back of the metal that was plated."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.endings import EndedBy
from operando.analysis.failure import emptied
from operando.analysis.segments import PLATE, STRIP, HalfCycle

_HELD = "the electrode held metal before the plating, which the strip may have taken"
_AS_ASKED: Mapping[EndedBy, str] = {
    "charge": "the strip ended by its charge or time, not by a potential: the ratio is what was "
    "asked for",
    "guard": "the strip did not come to its cut-off, a guard ended it: the ratio is the guard's "
    "setting",
}


@dataclass(frozen=True)
class CoulombicEfficiency:
    """Coulombic efficiency of a half cell.

    Attributes:
        cycles: The cycles that count, by the number of their plating.
        percent: 100 * stripped / plated charge, by cycle; never clipped.
        uncertainty_percent: Its standard uncertainty, by cycle: from the current's accuracy, and
            from when a potential passed its cut-off, see `segments.with_ending`.
        plated_mah_cm2: Plated charge by cycle, mAh/cm2.
        stripped_mah_cm2: Stripped charge by cycle, mAh/cm2.
        strip_end_v: Last potential of the stripping by cycle, V.
        left_out: Why cycles that began are missing.
        end_lost: Of these, the cycles of which charge is missing: rows were lost at the end of a
            half-cycle, or it was interrupted and more may have passed than its uncertainty.
    """

    cycles: tuple[int, ...]
    percent: tuple[float, ...]
    uncertainty_percent: tuple[float, ...]
    plated_mah_cm2: tuple[float, ...]
    stripped_mah_cm2: tuple[float, ...]
    strip_end_v: tuple[float, ...]
    left_out: tuple[str, ...]
    end_lost: tuple[int, ...]

    def without(self, cycles: Collection[int]) -> "CoulombicEfficiency":
        """Return it for the cycles that are not among ``cycles``."""
        kept = [place for place, number in enumerate(self.cycles) if number not in cycles]
        columns = (
            "cycles",
            "percent",
            "uncertainty_percent",
            "plated_mah_cm2",
            "stripped_mah_cm2",
            "strip_end_v",
        )
        chosen: dict[str, Any] = {
            name: tuple(getattr(self, name)[place] for place in kept) for name in columns
        }
        return replace(self, **chosen)

    def mean(self, skip: int = 0) -> tuple[float, float] | None:
        """Return the arithmetic mean and its standard uncertainty, %, without cycles 1 to ``skip``.

        The uncertainty adds the scatter of the mean, and what all cycles share: the current's
        accuracy, and that a cut-off is only ever noticed too late.
        """
        counted = np.asarray(self.cycles, dtype=np.int64) > skip
        values = np.asarray(self.percent)[counted]
        if not len(values):
            return None
        shared = float(np.mean(np.asarray(self.uncertainty_percent)[counted]))
        scatter = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
        return float(np.mean(values)), math.hypot(shared, scatter)

    def standard_deviation(self, skip: int = 0) -> float | None:
        """Return the standard deviation over cycles, %, from cycle ``skip + 1``; None below two."""
        values = [p for n, p in zip(self.cycles, self.percent, strict=True) if n > skip]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def ratio_of_sums(self) -> tuple[float, float] | None:
        """Return all stripped over all plated charge, %, and its standard uncertainty."""
        plated = math.fsum(self.plated_mah_cm2)
        if plated <= 0:
            return None
        shared = float(np.mean(self.uncertainty_percent))
        return 100.0 * math.fsum(self.stripped_mah_cm2) / plated, shared

    def initial_loss_mah_cm2(self) -> float | None:
        """Return the charge that the first cycle lost, mAh/cm2."""
        return self.plated_mah_cm2[0] - self.stripped_mah_cm2[0] if self.cycles else None

    def cumulative_irreversible_mah_cm2(self) -> float | None:
        """Return the charge that all cycles lost, mAh/cm2."""
        if not self.cycles:
            return None
        return math.fsum(self.plated_mah_cm2) - math.fsum(self.stripped_mah_cm2)


def coulombic_efficiency(
    halves: tuple[HalfCycle, ...],
    accuracy: CurrentAccuracy | None = None,
    *,
    holds_metal: bool = False,
) -> CoulombicEfficiency:
    """Return the coulombic efficiency of each plating and the stripping that follows it.

    A cycle counts when both its half-cycles have ended; one that is still going on, or was cut
    off by an abort, is left out with a reason. What may have passed unrecorded where a half-cycle
    was interrupted adds to the uncertainty; where it is more than that, the cycle is left out.

    A strip that ended by its charge or its time gives back what it was asked for and no efficiency:
    its cycle is left out too, as is one whose strip had to be ended by a guard. Where a technique
    does not tell, a strip that has ended counts.

    Args:
        halves: The half-cycles of a run.
        accuracy: The current's; the default one by default.
        holds_metal: Whether metal was on the electrode before the first half-cycle. Then, and
            after a strip that ended by its charge or did not come to its end, cycles count again
            once a strip took all of it.
    """
    if accuracy is None:
        accuracy = CurrentAccuracy()
    cycles: list[int] = []
    percent: list[float] = []
    uncertainty: list[float] = []
    plated: list[float] = []
    stripped: list[float] = []
    strip_end_v: list[float] = []
    left_out: list[str] = []
    end_lost: list[int] = []
    as_asked: dict[str, list[int]] = {}
    bare = not holds_metal
    groups = _alternating(halves)
    for position, group in enumerate(groups):
        if group[0].role != PLATE:
            if group[-1].ended_by == "charge" or not group[-1].ended:
                bare = False
            elif emptied(group[-1]):
                bare = True
            continue
        number = group[0].cycle
        partner = groups[position + 1] if position + 1 < len(groups) else ()
        if not partner or partner[0].role != STRIP:
            left_out.append(f"cycle {number} is left out: no stripping followed its plating")
            continue
        if not partner[-1].ended:
            left_out.append(f"cycle {number} is left out: its stripping has not ended as planned")
            continue
        lost = [half for half in (*group, *partner) if half.end_lost]
        if lost:
            ends = " and ".join("plating" if half.role == PLATE else "stripping" for half in lost)
            left_out.append(f"cycle {number} is left out: rows were lost at the end of its {ends}")
            end_lost.append(number)
            continue
        by = partner[-1].ended_by
        why = _AS_ASKED.get(by) if by is not None else None
        if why is None and not bare:
            why = _HELD
        if why is not None:
            as_asked.setdefault(why, []).append(number)
            continue
        q_plate = math.fsum(half.capacity_mah_cm2 for half in group)
        q_strip = math.fsum(half.capacity_mah_cm2 for half in partner)
        relative = accuracy.relative_of_ratio(
            group[0].mean_current_a,
            partner[0].mean_current_a,
            zeroed=all(half.zero is not None for half in (*group, *partner)),
        )
        missing = unrecorded_share(group, q_plate) + unrecorded_share(partner, q_strip)
        if missing > relative:
            left_out.append(f"cycle {number} is left out: {told_unrecorded((*group, *partner))}")
            end_lost.append(number)
            continue
        if q_plate <= 0:
            left_out.append(f"cycle {number} is left out: no charge was plated")
            continue
        value = 100.0 * q_strip / q_plate
        cycles.append(number)
        percent.append(value)
        plated.append(q_plate)
        stripped.append(q_strip)
        strip_end_v.append(float(partner[-1].potential_v[-1]))
        cut_off = math.hypot(cut_off_share(group, q_plate), cut_off_share(partner, q_strip))
        uncertainty.append(value * (math.hypot(relative, cut_off) + missing))
    left_out += [f"cycle {_first_of(these)} left out: {why}" for why, these in as_asked.items()]
    return CoulombicEfficiency(
        tuple(cycles),
        tuple(percent),
        tuple(uncertainty),
        tuple(plated),
        tuple(stripped),
        tuple(strip_end_v),
        tuple(left_out),
        tuple(end_lost),
    )


def _first_of(numbers: Sequence[int]) -> str:
    told = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return f"{told} {'are' if len(numbers) > 1 else 'is'}"


def cut_off_share(halves: Sequence[HalfCycle], charge_mah_cm2: float) -> float:
    """Return the standard uncertainty of a charge up to cut-offs of the potential, as a share."""
    u = math.hypot(*(half.cut_off_u_mah_cm2 for half in halves))
    return u / charge_mah_cm2 if charge_mah_cm2 > 0 else 0.0


def unrecorded_share(halves: Sequence[HalfCycle], charge_mah_cm2: float) -> float:
    """Return how much of a charge may be missing that no row shows; infinite if not known."""
    parts = [half.unrecorded_mah_cm2 for half in halves]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return math.inf
    total = math.fsum(known)
    if total == 0.0:
        return 0.0
    return total / charge_mah_cm2 if charge_mah_cm2 > 0 else math.inf


def told_unrecorded(halves: Sequence[HalfCycle]) -> str:
    """Say why the charge of half-cycles is not known, and how much may be missing."""
    told = []
    for half in halves:
        if half.unrecorded_mah_cm2 == 0.0:
            continue
        name = "plating" if half.role == PLATE else "stripping"
        if half.doubts:
            told.append(f"of its {name}: {', and '.join(half.doubts)}")
        if half.doubts and not half.interruptions:
            continue
        much = (
            "an unknown charge"
            if half.unrecorded_mah_cm2 is None
            else f"up to {half.unrecorded_mah_cm2:.3g} mAh/cm2"
        )
        told.append(f"{much} of its {name} may have passed unrecorded when it was interrupted")
    return " and ".join(told)


def _alternating(halves: tuple[HalfCycle, ...]) -> list[tuple[HalfCycle, ...]]:
    """Group neighbouring half-cycles of one role: a plating in two steps is one plating."""
    groups: list[tuple[HalfCycle, ...]] = []
    for half in halves:
        if groups and groups[-1][0].role == half.role:
            groups[-1] = (*groups[-1], half)
        else:
            groups.append((half,))
    return groups
