"""How long a cell lived, and what happened in its test: censored where it had not failed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from operando.analysis.failure import Failure, FailureWatch, Kind, soft_short
from operando.analysis.potential_noise import potential_noise_v_s
from operando.analysis.segments import HalfCycle
from operando.analysis.step_drops import step_drops


@dataclass(frozen=True)
class Life:
    """How long a cell lived.

    Attributes:
        hours: Until it failed, or as long as it was tested, h since its first half-cycle began;
            None if it cannot be told.
        observed: Whether it failed; else the hours are a lower bound (censored).
        reason: By what it failed; that it did not; or why that cannot be told.
    """

    hours: float | None
    observed: bool
    reason: str


def life(
    halves: Sequence[HalfCycle],
    failures: Iterable[Failure],
    kinds: Iterable[Kind],
    undefined: str | None = None,
) -> Life:
    """Return the life until the first failure of one of some kinds.

    Args:
        halves: The half-cycles of the test.
        failures: What happened in it.
        kinds: Which of that ends the life.
        undefined: Why no such failure could be seen, if that is so.
    """
    if not halves:
        return Life(None, False, "no half-cycle")
    begin_s = float(halves[0].t_s[0]) - (halves[0].since_edge_s or 0.0)
    wanted = set(kinds)
    first = min(
        (one for one in failures if one.kind in wanted), key=lambda one: one.t_s, default=None
    )
    if first is not None:
        hours = max(first.t_s - begin_s, 0.0) / 3600
        return Life(hours, True, f"cycle {first.cycle}: {first.reason}")
    if undefined is not None:
        return Life(None, False, undefined)
    hours = (float(halves[-1].t_s[-1]) - begin_s) / 3600
    return Life(hours, False, "censored: the cell had not failed when the test ended")


def failures_of(
    halves: Sequence[HalfCycle],
    watch: FailureWatch,
    *,
    noises_v_s: Sequence[float | None] | None = None,
    intercepts_ohm: Sequence[float | None] | None = None,
) -> tuple[Failure, ...]:
    """Return all failures of a test, by the time at which they became sure.

    Args:
        halves: Its half-cycles; the last one may be going on.
        watch: A fresh one, which tells afterwards what it could not judge.
        noises_v_s: Their `potential_noise_v_s`, if known.
        intercepts_ohm: High-frequency intercepts of the last spectrum before each, ohm.
    """
    found: list[Failure] = []
    for index, half in enumerate(halves):
        drops = step_drops(half, watch.criteria.drops)
        found += [soft_short(half.number, half.cycle, drop) for drop in drops]
        if not half.ended and index == len(halves) - 1:
            found += watch.unfinished(half)
            continue
        found += watch.half_cycle(
            half,
            noise_v_s=potential_noise_v_s(half) if noises_v_s is None else noises_v_s[index],
            intercept_ohm=None if intercepts_ohm is None else intercepts_ohm[index],
        )
    return tuple(sorted(found, key=lambda one: (one.sure_s, one.kind)))
