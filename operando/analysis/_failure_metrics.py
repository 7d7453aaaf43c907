"""How a cell failed, and when."""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace

from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    listed,
    metric,
    summary,
    undefined,
)
from operando.analysis._impedance_metrics import impedance_fits, shunts
from operando.analysis.ends_of_life import (
    EFFICIENCY,
    POLARISATION,
    LifeWatch,
    conditions_told,
    first_met,
)
from operando.analysis.failure import Failure, Kind
from operando.analysis.impedance import ArcFit
from operando.analysis.lives import Life, life
from operando.analysis.sand import Transport
from operando.analysis.segments import PLATE, STRIP
from operando.analysis.thickness import METALS
from techniques import Condition
from techniques.rules import Event

_SOFT: tuple[Kind, ...] = ("soft_short", "soft_short_coulombic", "soft_short_spectrum")
_LIVES: dict[str, tuple[Kind, ...]] = {
    "life_first_soft_short": _SOFT,
    "life_hard_short": ("hard_short",),
    "life_polarisation": ("polarisation_failure",),
}
_BOUNDS: dict[str, Event] = {
    "life_coulombic_efficiency": EFFICIENCY,
    "life_polarisation_limit": POLARISATION,
}
_FAILURE = (
    *(f"{name}_{what}" for name in (*_LIVES, *_BOUNDS) for what in ("h", "observed")),
    "hard_short_cycle",
    "soft_short_count",
    "soft_short_time_h",
    "soft_short_resistance_ohm",
    "soft_short_noise_cycle",
    "soft_short_coulombic_cycle",
    "square_wave_cycle",
    "potential_noise_mv_s",
    "rest_after_strip_mv",
    "sand_time_s",
)
# Thresholds by what they decide; `drops` stands for all of its own.
_BASELINE = ("baseline_from", "baseline_to", "baseline_least")
_DECIDED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("life_first_soft_short_h", "life_first_soft_short_observed"), ("drops", "ce_above_pct")
    ),
    **dict.fromkeys(
        ("life_hard_short_h", "life_hard_short_observed", "hard_short_cycle"),
        (*_BASELINE, "hard_share", "hard_half_cycles", "ohmic_within", "zero_share"),
    ),
    **dict.fromkeys(
        ("life_polarisation_h", "life_polarisation_observed"), (*_BASELINE, "polarisation_factor")
    ),
    **dict.fromkeys(
        ("soft_short_count", "soft_short_time_h", "soft_short_resistance_ohm"), ("drops",)
    ),
    "soft_short_noise_cycle": ("noise_factor", "noise_ratio", "noise_least_v_s", "noise_cycles"),
    "soft_short_coulombic_cycle": ("ce_above_pct",),
    "square_wave_cycle": (*_BASELINE, "flat_share", "intercept_within"),
}


def failure_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the lives, the shorts, the noise, and when diffusion alone would make dendrites."""
    if found.cell is None or not found.halves:
        return undefined(_FAILURE, found.no_halves)
    if found.criteria_problem is not None:
        return undefined(_FAILURE, found.criteria_problem)
    told: dict[str, Metric] = {}
    watch, failures = found.failures
    criteria = watch.criteria
    failures = tuple(sorted((*failures, *_shorts_of(found)), key=lambda one: one.t_s))
    for name, kinds in _LIVES.items():
        why = watch.why_not_judged if name == "life_hard_short" else None
        if name == "life_polarisation":
            why = watch.why_not_everywhere if watch.has_baseline else watch.why_not_judged
        if name == "life_first_soft_short":
            why = _unseen(found)
        told |= _life(name, life(found.halves, failures, kinds, why), found)
    for name, kind in _BOUNDS.items():
        told |= _life(name, _to_the_bound(found, kind), found)
    told["hard_short_cycle"] = _hard_short(found)
    told |= _soft_shorts(found, failures)
    told["potential_noise_mv_s"] = _noise(found)
    told["rest_after_strip_mv"] = _rests(found, substrate=watch.substrate)
    told["sand_time_s"] = _sand(found)
    for kind, otherwise in (
        (
            "soft_short_noise",
            f"the potential was no more restless than in the first {criteria.noise_cycles} cycles",
        ),
        (
            "soft_short_coulombic",
            f"in no cycle more than {criteria.ce_above_pct:.4g} % of the metal came back",
        ),
        ("square_wave", "no half-cycle was rectangular at the high-frequency intercept"),
    ):
        these = [one for one in failures if one.kind == kind]
        if kind == "square_wave" and not found.spectra:
            otherwise = "needs a symmetric cell and an impedance spectrum for its intercept"
        elif kind == "soft_short_noise" and watch.full_cell:
            otherwise = "not told of a full cell: the steps of its voltage are no noise"
        elif kind == "soft_short_noise" and max(found.cycles) <= criteria.noise_cycles:
            otherwise = f"needs more cycles than the first {criteria.noise_cycles}"
        elif kind == "soft_short_coulombic" and not watch.substrate:
            otherwise = "needs a half cell: here the electrode holds more than was plated"
        if kind != "soft_short_noise" and found.no_zero is not None:
            otherwise = found.no_zero
        told[f"{kind}_cycle"] = listed(
            f"{kind}_cycle",
            [float(one.cycle) for one in these],
            None,
            [one.reason for one in these],
            otherwise,
        )
    return {name: _by_its_thresholds(name, one, found) for name, one in told.items()}


def _by_its_thresholds(name: str, told: Metric, found: Evaluation) -> Metric:
    """Say of a metric by which thresholds it was judged, where they are not the default."""
    other = found.criteria.not_default(_DECIDED_BY.get(name, ()))
    if not other:
        return told
    own = found.cell is not None and found.cell.failure_criteria is not None
    by = f"judged by {'the cell file and ' if own else ''}the protocol's {', '.join(other)}"
    return replace(told, reason=f"{told.reason}; {by}" if told.reason else by)


def _life(name: str, told: Life, found: Evaluation) -> dict[str, Metric]:
    hours, observed = f"{name}_h", f"{name}_observed"
    if told.hours is None:
        return undefined((hours, observed), told.reason)
    gaps = [gap for half in found.halves for gap in half.interruptions]
    notes = [told.reason]
    if gaps:
        lost_h = math.fsum(gap.for_s for gap in gaps) / 3600
        notes.append(f"it was interrupted {len(gaps)} times, for {lost_h:.3g} h in all")
    return {
        hours: metric(hours, told.hours, reason=summary(notes)),
        observed: metric(observed, float(told.observed), reason=told.reason),
    }


def _to_the_bound(found: Evaluation, kind: Event) -> Life:
    """Return the life until the bound that a rule of the protocol sets.

    Where the protocol was changed, the bound that its rules set in each half-cycle.
    """
    asked = found.run.asked
    bounds = [
        next((x for x in conditions_told(one.rules) if x.event == kind), None) for one in asked
    ]
    if not any(bounds):
        return Life(None, False, "no rule of the protocol sets a bound")
    assert found.cell is not None  # it has half-cycles
    watch = LifeWatch.of(
        found.run.start,
        found.cell,
        found.accuracy,
        [one for one in bounds[:1] if one],
        no_zero=found.no_zero,
    )
    for one, bound in zip(asked[1:], bounds[1:], strict=True):
        watch.change(one.first_half_cycle, one.technique, [bound] if bound else [])
    if kind in watch.why:
        return Life(None, False, watch.why[kind])
    firsts = [one.first_half_cycle for one in asked]

    def holding(number: int) -> Condition | None:
        return bounds[bisect(firsts, number) - 1]

    row = first_met(found.halves, watch, holding)
    begin_s = float(found.halves[0].t_s[0]) - (found.halves[0].since_edge_s or 0.0)
    if row is not None:
        hours = max(row.begin_s - begin_s, 0.0) / 3600
        return Life(hours, True, f"cycle {row.cycle}: {row.reason}")
    return life(found.halves, (), ())


def _hard_short(found: Evaluation) -> Metric:
    name, cycle = "hard_short_cycle", found.hard_short_cycle
    if cycle is not None:
        return metric(name, float(cycle), reason="from it on no cycle counts in means")
    why = found.failures[0].why_not_judged
    return metric(name, None, reason=why or "no half-cycle was shorted")


def _soft_shorts(found: Evaluation, failures: Sequence[Failure]) -> dict[str, Metric]:
    first = found.halves[0]
    begin_s = float(first.t_s[0]) - (first.since_edge_s or 0.0)
    events = [one for one in failures if one.kind == "soft_short"]
    reasons = [f"cycle {one.cycle}: {one.reason}" for one in events]
    unseen = _unseen(found)
    drop = found.failures[0].criteria.drops.drop
    none = unseen or f"the potential never fell in one step by {100 * drop:.3g} % at one current"
    if unseen and not events:
        return undefined(
            ("soft_short_count", "soft_short_time_h", "soft_short_resistance_ohm"), unseen
        )
    return {
        "soft_short_count": metric(
            "soft_short_count", float(len(events)), reason=None if events else none
        ),
        "soft_short_time_h": listed(
            "soft_short_time_h",
            [(one.t_s - begin_s) / 3600 for one in events],
            None,
            reasons,
            none,
        ),
        "soft_short_resistance_ohm": listed(
            "soft_short_resistance_ohm",
            [one.resistance_ohm for one in events],
            None,
            ["the cell beside the short taken as linear"] if events else [],
            none,
        ),
    }


def _unseen(found: Evaluation) -> str | None:
    """Return why no step of the potential can be seen in any half-cycle; None if it can."""
    if found.no_zero is not None:
        return found.no_zero
    needed = found.failures[0].criteria.drops.after_edge + 2
    if any(len(half.t_s) >= needed for half in found.halves):
        return None
    return f"recorded too coarsely: no half-cycle has {needed} rows"


def _noise(found: Evaluation) -> Metric:
    """Return the larger noise of each cycle's two half-cycles."""
    by_cycle: dict[int, float] = {}
    for half, noise in zip(found.halves, found.noises_v_s, strict=True):
        if noise is not None:
            by_cycle[half.cycle] = max(by_cycle.get(half.cycle, 0.0), noise)
    values: list[Number] = [
        by_cycle[cycle] * 1e3 if cycle in by_cycle else None for cycle in found.cycles
    ]
    few = "needs 128 rows, no more than 10 s apart, within 20-90 % of a half-cycle"
    return listed("potential_noise_mv_s", values, None, (), few)


def _rests(found: Evaluation, *, substrate: bool) -> Metric:
    name = "rest_after_strip_mv"
    if not substrate:
        return metric(name, None, reason="needs a half cell: elsewhere metal is left on both sides")
    if found.no_zero is not None:
        return metric(name, None, reason=found.no_zero)
    by_cycle = {
        half.cycle: 1e3 * (rest - half.metal_v)
        for half, rest in zip(found.halves, found.rests_after_v, strict=True)
        if half.role == STRIP and half.ended and rest is not None
    }
    values = [by_cycle.get(cycle) for cycle in found.cycles]
    return listed(name, values, None, (), "no rest was recorded after a strip")


def _shorts_of(found: Evaluation) -> list[Failure]:
    """Return the first of consecutive spectra that show a short as the failure it is.

    Like a step of the potential it is one where the cell's resistance falls by 20 %.
    """
    fits = impedance_fits(found.run)
    whole = next((fit for fit in fits if isinstance(fit, ArcFit)), None)
    if whole is None:
        return []
    drop = found.failures[0].criteria.drops.drop
    least_ohm = (whole.series_ohm + whole.interfacial_ohm) * (1 - drop) / drop
    failures: list[Failure] = []
    before = False
    for spectrum, one in zip(found.spectra, shunts(found.run), strict=True):
        ohm = None if isinstance(one, str) else one.resistance_ohm
        shorted = ohm is not None and ohm < least_ohm
        if ohm is not None and shorted and not before:
            at_s, half_cycle = float(spectrum.t_s[0]), int(spectrum.half_cycle[0])
            told = f"intercept and arc fell together: {ohm:.3g} ohm in parallel"
            cycle = _cycle_of(found, half_cycle)
            failures.append(
                Failure("soft_short_spectrum", at_s, at_s, half_cycle, cycle, ohm, told, ohm)
            )
        before = shorted
    return failures


def _cycle_of(found: Evaluation, half_cycle: int) -> int:
    """Return the cycle of the last half-cycle until a number; before all of them the first one."""
    until = [half.cycle for half in found.halves if half.number <= half_cycle]
    return until[-1] if until else found.halves[0].cycle


def _sand(found: Evaluation) -> Metric:
    name, cell = "sand_time_s", found.cell
    assert cell is not None  # it has half-cycles
    told = {
        "electrolyte.salt_mol_l": cell.electrolyte.salt_mol_l,
        "electrolyte.diffusion_cm2_s": cell.electrolyte.diffusion_cm2_s,
        "electrolyte.cation_transference": cell.electrolyte.cation_transference,
        "separator_um": cell.separator_um,
        "separator_porosity": cell.separator_porosity,
        "separator_tortuosity": cell.separator_tortuosity,
    }
    missing = [field for field, value in told.items() if value is None]
    if missing:
        return metric(name, None, reason=f"the cell does not declare {', '.join(missing)}")
    salt, diffusion, transference, length, porosity, tortuosity = (
        float(value) for value in told.values() if value is not None
    )
    electrons = METALS[cell.metal].electrons
    transport = Transport(salt, diffusion, transference, electrons, length, porosity, tortuosity)
    platings = [abs(half.mean_current_a) for half in found.halves if half.role == PLATE]
    if not platings:
        return metric(name, None, reason="no plating half-cycle")
    current = max(platings) * 1e3 / cell.area_cm2
    limit = f"{transport.limiting_ma_cm2:.3g} mA/cm2"
    time_s = transport.sand_time_s(current)
    if time_s is None:
        return metric(
            name, None, reason=f"{current:.3g} mA/cm2 is below the limiting current of {limit}"
        )
    return metric(name, time_s, reason=f"at {current:.3g} mA/cm2, the limiting current is {limit}")
