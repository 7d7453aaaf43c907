"""Hydrogen from the chromatograms of a run, air that leaks in, and checks of the instrument."""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from operando.analysis import hydrogen as gas
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    listed,
    metric,
    placed_rows,
    summary,
    undefined,
)
from operando.analysis.coulombic import told_unrecorded, unrecorded_share
from operando.analysis.segments import COULOMB_PER_MAH
from operando.analysis.steps import GALVANOSTATIC, HOLD, recorded_steps
from operando.analysis.straight_lines import slope_per_hour
from operando.runs import Floats, Run, Stream
from techniques import Cell

_BY_INJECTION = ("hydrogen_umol", "hydrogen_cumulative_umol")
_SCALARS = ("hydrogen_total_umol", "hydrogen_faradaic_efficiency_pct", "hydrogen_recovery_pct")
_RATES = ("hydrogen_rate_nmol_s", "hydrogen_partial_current_ma", "hydrogen_interval_fe_pct")
_GAS = ("hydrogen_mole_fraction_ppm", "hydrogen_dissolved_umol")
_LOD = "hydrogen_lod_ppm"
_PEAK = (
    "hydrogen_peak_retention_s",
    "hydrogen_peak_asymmetry",
    "hydrogen_peak_signal_to_noise",
)
_NO_PEAK = "no hydrogen peak stands out of the noise"
_LINE = ("hydrogen_calibration_r2", "hydrogen_calibration_lod_ppm")
_TRACERS = {"oxygen": ("O2", gas.OXYGEN_WINDOW), "nitrogen": ("N2", gas.NITROGEN_WINDOW)}
_AIR = tuple(f"{name}_{what}" for name in _TRACERS for what in ("area", "ppm", "rise_ppm_h"))
_OXYGEN = "oxygen_reduction_bound_mah_cm2"
_CHECKS = ("hydrogen_response_area", "hydrogen_blank_area")
# Of a gas that is not the cell's no amounts are told.
_FOREIGN = ("blank", "calibration")
_NO_RECOVERY = "a recovery is of a run without half-cycles"
_FEWEST_FOR_A_RISE = 3
# Of the time between injections: what corroded in a longer rest is no share of the current's.
SHORT_REST = 0.05
_BLOCK = 65536  # rows integrated at once


def hydrogen_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return hydrogen by injection and in all, its share of the charge, air, and checks."""
    of_cell = (*_BY_INJECTION, *_SCALARS, *_RATES, *_GAS, _OXYGEN)
    names = (*of_cell, _LOD, *_PEAK, *_LINE, *_AIR, *_CHECKS)
    asked = found.run.streams.get("gas_chromatograph")
    if asked is None or not len(asked):
        return undefined(names, "the run has no injection")
    told_gas = found.calibration.get("gas_chromatograph")
    if not told_gas:
        return undefined(names, "the gas chromatograph is not calibrated")
    try:
        window = gas.hydrogen_window(told_gas)
    except (ValueError, TypeError, KeyError) as error:
        return undefined(names, str(error))
    peaks = _peaks(found.run, asked, window)
    t_s = _injected_s(asked, len(peaks))
    # Areas are there before any calibration: it is made of them.
    checks = _of_checks(found, peaks)
    if not told_gas.get("hydrogen_window_s"):
        checks = {name: _remarked(one, [gas.window_by_default()]) for name, one in checks.items()}
    told = {
        **_of_peaks(peaks),
        **_of_air(found, asked, t_s, told_gas),
        **checks,
    }
    try:
        calibration = _calibration(found.cell, told_gas)
    except (ValueError, TypeError, KeyError) as error:
        return undefined(names, str(error)) | told
    if calibration.headspace not in ("closed", "swept"):
        return undefined(
            names, f"only a closed or swept headspace is evaluated, not {calibration.headspace!r}"
        )
    told |= {
        **_of_line(calibration),
        _LOD: _of_each(_LOD, peaks, lambda peak: calibration.lod(peak) * 1e6, _NO_PEAK),
    }
    check = (found.run.start.get("gas_check") or {}).get("kind")
    if check in _FOREIGN:
        return told | undefined(of_cell, f"the run injects a {check} gas, not the cell's")
    if calibration.headspace == "closed":
        injections = gas.headspace_hydrogen(peaks, calibration)
    else:
        injections = gas.swept_hydrogen(peaks, t_s.tolist(), calibration)
    of_gas = {
        **_amounts(found, injections, t_s),
        **_rates(found, injections, t_s),
        **_in_the_gas(found, injections, calibration),
    }
    remarks = [*_gas_remarks(found.cell, calibration)]
    of_gas = {name: _remarked(one, remarks) for name, one in of_gas.items()}
    return {**of_gas, _OXYGEN: _oxygen(found.cell, calibration, len(peaks)), **told}


def _calibration(cell: Cell | None, told: Mapping[str, Any]) -> gas.Calibration:
    kpa = None if cell is None else cell.headspace_kpa
    return gas.Calibration.from_document(
        told,
        None if cell is None else cell.headspace_ml,
        None if kpa is None else 1e3 * kpa,
    )


def _gas_remarks(cell: Cell | None, calibration: gas.Calibration) -> list[str]:
    """Return what amounts rest on that nobody measured, and how gas was made up for."""
    told = []
    if calibration.assumed:
        told.append(f"by default: {', '.join(calibration.assumed)}")
    if cell is not None and calibration.headspace == "closed" and calibration.sample_loop_ml > 0:
        gas_told = cell.make_up_gas or "a gas that is not told (make_up_gas)"
        told.append(f"what injections take away is made up for by {gas_told}")
    return told


def _remarked(one: Metric, remarks: Sequence[str]) -> Metric:
    if one.value is None or not remarks:
        return one
    return replace(one, reason="; ".join([*([one.reason] if one.reason else []), *remarks]))


def _of_which_electrode(cell: Cell) -> str:
    """Return whose gas a headspace holds, and what follows for the coulombic efficiency."""
    match cell.headspace_separated:
        case True:
            return "gas of the metal electrode alone: a lower bound of 1 - CE"
        case False:
            return "gas of both electrodes (shared headspace): no bound of 1 - CE"
        case _:
            return "gas of both electrodes (headspace_separated is not told): no bound of 1 - CE"


def _oxygen(cell: Cell | None, calibration: gas.Calibration, injections: int) -> Metric:
    """Return the charge that oxygen in the cell can have taken: dissolved, above it, let in.

    The bound is of what was in a closed cell, and of what came in place of the gas of injections.
    A leak, or a cell that is open to the air, supplies oxygen without end: no charge bounds that.
    """
    if cell is None:
        return metric(_OXYGEN, None, reason="the start document describes no cell")
    of_gas, supplied = _oxygen_from_gas(cell, calibration, injections)
    in_gas_mah_cm2 = gas.oxygen_charge_mah_cm2(of_gas, cell.area_cm2)
    bounds = "what leaks in is not in it (oxygen_rise_ppm_h)"
    if cell.deaerated and not of_gas:
        told = f"deaerated, {supplied}: all OH- is hydrogen's, n(ZHS) <= n(H2)/3"
        return metric(_OXYGEN, 0.0, reason=f"{told}; {bounds}")
    without = "OH- is made without hydrogen, so that hydrogen bounds no film"
    if cell.deaerated:
        told = f"deaerated, but {supplied}: {without}"
        return metric(_OXYGEN, in_gas_mah_cm2, reason=f"{told}; {bounds}")
    volume = cell.electrolyte.volume_ul
    if volume is None:
        why = "not deaerated, and the cell file tells no volume_ul of its electrolyte"
        return metric(_OXYGEN, None, reason=why)
    dissolved = gas.oxygen_reduction_mah_cm2(volume, cell.area_cm2)
    told = (
        f"not deaerated: {volume:g} uL taken for saturated with air ({dissolved:.3g} mAh/cm2), "
        f"{supplied} ({in_gas_mah_cm2:.3g} mAh/cm2): {without}"
    )
    return metric(_OXYGEN, dissolved + in_gas_mah_cm2, reason=f"{told}; {bounds}")


def _oxygen_from_gas(
    cell: Cell, calibration: gas.Calibration, injections: int
) -> tuple[float, str]:
    """Return how much oxygen the gas above an electrolyte can supply, mol, and from where."""
    if calibration.headspace != "closed":
        return 0.0, "no oxygen from the gas that sweeps it"
    share, told = _oxygen_share(cell.atmosphere, "atmosphere", deaerated=cell.deaerated)
    amount = share * calibration.headspace_ml * calibration.moles_per_ml()
    supplied = f"{calibration.headspace_ml:g} mL of {told} above it"
    taken_ml = injections * calibration.sample_loop_ml
    if taken_ml > 0:
        share, told = _oxygen_share(cell.make_up_gas, "make_up_gas", deaerated=cell.deaerated)
        amount += share * taken_ml * calibration.moles_per_ml()
        supplied += f" and {taken_ml:g} mL of {told} for what injections take"
    return amount, supplied


_WITHOUT_OXYGEN = {"argon", "ar", "nitrogen", "n2", "helium", "he", "hydrogen", "h2"}


def _oxygen_share(told: str | None, key: str, *, deaerated: bool) -> tuple[float, str]:
    """Return the most oxygen that a gas so called holds, mole fraction, and its name."""
    if told is None:
        share, taken = (0.0, "one without oxygen") if deaerated else (gas.OXYGEN_IN_AIR, "air")
        return share, f"a gas that is not told ({key}), taken for {taken},"
    words = set(re.findall(r"[a-z0-9]+", re.sub(r"(oxygen|o2)[- ]free", "", told.lower())))
    if words & {"oxygen", "o2"}:
        return 1.0, told
    if words & _WITHOUT_OXYGEN:
        return 0.0, told
    return gas.OXYGEN_IN_AIR, told if "air" in words else f"{told}, taken for air,"


def _injected_s(asked: Stream, count: int) -> Floats:
    """Return when each injection was, by number from 1; NaN where that is not known."""
    t_s = np.full(count, np.nan)
    numbers = asked.columns["gas_chromatograph_injection"].astype(np.int64)
    middle = placed_rows(asked, "gas_chromatograph").middle_s
    inside = (numbers >= 1) & (numbers <= count)
    t_s[numbers[inside] - 1] = middle[inside]
    return t_s


def _amounts(
    found: Evaluation, injections: Sequence[gas.Injection], t_s: Floats
) -> dict[str, Metric]:
    notes = [injection.reason for injection in injections]
    told = {
        "hydrogen_umol": listed(
            "hydrogen_umol",
            [one.since_last_umol for one in injections],
            [one.since_last_uncertainty_umol for one in injections],
            notes,
        ),
        "hydrogen_cumulative_umol": listed(
            "hydrogen_cumulative_umol",
            [one.since_start_umol for one in injections],
            [one.uncertainty_umol for one in injections],
            notes,
        ),
    }
    last = next((one for one in reversed(injections) if one.since_start_umol is not None), None)
    if last is None or last.since_start_umol is None or last.uncertainty_umol is None:
        reason = summary(notes) or "no injection found hydrogen"
        return told | undefined(_SCALARS, reason)
    told["hydrogen_total_umol"] = metric(
        "hydrogen_total_umol",
        last.since_start_umol,
        last.uncertainty_umol,
        f"injection {last.number} of {len(injections)}",
    )
    if not last.since_start_umol > 0:
        return told | undefined(_SCALARS[1:], "a rate at one injection is no amount yet")
    at_s = float(t_s[last.number - 1])
    return told | _shares(found, last, at_s)


def _shares(found: Evaluation, last: gas.Injection, at_s: float) -> dict[str, Metric]:
    efficiency, recovery = _SCALARS[1:]
    amount, error = last.since_start_umol, last.uncertainty_umol
    assert amount is not None
    assert error is not None
    if found.cell is None or math.isnan(at_s):
        why = found.no_halves if found.cell is None else "when that injection was is not known"
        return undefined((efficiency, recovery), why)

    def share(name: str, charge_c: float, of_charge: float, basis: str) -> Metric:
        if not charge_c > 0:
            return metric(name, None, reason="no charge had passed at the last injection")
        value = gas.faradaic_efficiency_pct(amount, charge_c)
        relative = math.hypot(error / amount, of_charge)
        return metric(name, value, relative * value, basis)

    if found.halves:
        charge = found.ledger.passed_c(found.cell.area_cm2, at_s)
        of_charge = _charge_uncertainty(found, -math.inf, at_s, charge)
        if isinstance(of_charge, str):
            return undefined((efficiency,), of_charge) | undefined((recovery,), _NO_RECOVERY)
        basis = f"{_of_which_electrode(found.cell)}; charge of both directions"
        return {
            efficiency: share(efficiency, charge, of_charge, basis),
            recovery: metric(recovery, None, reason=_NO_RECOVERY),
        }
    charge, longest_s = _charge_without_role(found.run, at_s)
    relative = found.accuracy.relative(charge / longest_s if longest_s > 0 else 0.0)
    basis = f"charge of steps without a role; {_of_which_electrode(found.cell)}"
    return {name: share(name, charge, relative, basis) for name in (efficiency, recovery)}


def _charge_uncertainty(
    found: Evaluation, begin_s: float, end_s: float, passed_c: float
) -> float | str:
    """Return the relative standard uncertainty of the charge between two times, or why none is.

    That of the least certain current that flowed then, and what may have passed unrecorded.
    """
    assert found.cell is not None  # it has half-cycles
    begins, ends = found.spans_s
    flowed = found.halves[bisect_right(ends, begin_s) : bisect_left(begins, end_s)]
    missing = unrecorded_share(flowed, passed_c / found.cell.area_cm2 / COULOMB_PER_MAH)
    if math.isinf(missing):
        doubted = [half for half in flowed if half.unrecorded_mah_cm2 != 0.0]
        return f"the charge is not known: {told_unrecorded(doubted)}"
    relative = [
        found.accuracy.relative(half.mean_current_a, zeroed=half.zero is not None)
        for half in flowed
    ]
    return max(relative, default=0.0) + missing


def _charge_without_role(run: Run, until_s: float) -> tuple[float, float]:
    """Return the charge that steps without a role passed until a time, C, and how long, s."""
    charge = lasted = 0.0
    for step in recorded_steps(run):
        if step.role not in (GALVANOSTATIC, HOLD) or not len(step) or step.edge_s >= until_s:
            continue
        stop = int(np.searchsorted(step.t_s, until_s, "right"))
        first = float(step.t_s[0])
        # From the edge to the first row the current is the first row's.
        charge += abs(float(step.instrument_current_a[0])) * (min(first, until_s) - step.edge_s)
        for begin in range(0, max(stop - 1, 0), _BLOCK):
            part = slice(begin, min(begin + _BLOCK + 1, stop))
            charge += float(np.trapezoid(np.abs(step.instrument_current_a[part]), step.t_s[part]))
        if 0 < stop < len(step) and until_s > step.t_s[stop - 1]:
            charge += abs(float(step.instrument_current_a[stop])) * (
                until_s - float(step.t_s[stop - 1])
            )
        lasted += min(until_s, float(step.t_s[-1])) - step.edge_s
    return charge, lasted


def _rates(
    found: Evaluation, injections: Sequence[gas.Injection], t_s: Floats
) -> dict[str, Metric]:
    charge = _charge_until(found)
    rates: list[tuple[Number, Number]] = []
    shares: list[tuple[Number, Number]] = []
    notes: list[str | None] = [one.reason for one in injections]
    doubts: list[str | None] = []
    last_s = found.begin_s if found.halves else math.nan
    rested_s, found_before = _rested_s(found), False  # which is when the current began
    for one, at_s in zip(injections, t_s.tolist(), strict=True):
        rate: tuple[Number, Number] = (one.rate_nmol_s, one.rate_uncertainty_nmol_s)
        share: tuple[Number, Number] = (None, None)
        since, error = one.since_last_umol, one.since_last_uncertainty_umol
        apart = at_s - last_s
        first = since is not None and one.rate_nmol_s is None and not found_before
        if first and rested_s > SHORT_REST * apart:
            since = None
            notes.append(
                f"injection {one.number} has all hydrogen since the headspace was closed, "
                f"{rested_s:.0f} s of rest among it: no rate"
            )
        found_before |= one.since_start_umol is not None
        if since is not None and error is not None and math.isfinite(apart) and apart > 0:
            if one.rate_nmol_s is None:
                rate = (since * 1e3 / apart, error * 1e3 / apart)
            passed = 0.0 if charge is None else charge(at_s) - charge(last_s)
            if passed > 0 and rested_s - last_s > SHORT_REST * apart:
                doubts.append(
                    f"injection {one.number} has hydrogen of the {rested_s - last_s:.0f} s of rest "
                    "between the injection before it and the current: no share"
                )
            elif passed > 0:
                relative = _charge_uncertainty(found, last_s, at_s, passed)
                if isinstance(relative, str):
                    doubts.append(f"injection {one.number}: {relative}")
                else:
                    value = gas.faradaic_efficiency_pct(since, passed)
                    of_amount = gas.faradaic_efficiency_pct(error, passed)
                    share = (value, math.hypot(of_amount, relative * value))
        if one.since_start_umol is not None:
            last_s = at_s
        rates.append(rate)
        shares.append(share)
    if charge is None:
        notes.append(found.no_halves)
    currents = [(_milliampere(rate), _milliampere(error)) for rate, error in rates]
    otherwise = "no two injections with hydrogen and charge between them"
    return {
        name: listed(
            name, [pair[0] for pair in pairs], [pair[1] for pair in pairs], told, otherwise
        )
        for name, pairs, told in (
            (_RATES[0], rates, notes),
            (_RATES[1], currents, notes),
            (_RATES[2], shares, [*notes, *doubts]),
        )
    }


def _rested_s(found: Evaluation) -> float:
    """Return how long the program ran before its first half-cycle began, s."""
    if not found.halves:
        return math.inf
    return found.begin_s - (found.halves[0].since_edge_s or 0.0)


def _milliampere(rate_nmol_s: Number) -> Number:
    return None if rate_nmol_s is None else gas.partial_current_ma(rate_nmol_s)


def _charge_until(found: Evaluation) -> Callable[[float], float] | None:
    cell = found.cell
    if cell is None or not found.halves:
        return None
    return lambda at_s: found.ledger.passed_c(cell.area_cm2, at_s)


def _in_the_gas(
    found: Evaluation, injections: Sequence[gas.Injection], calibration: gas.Calibration
) -> dict[str, Metric]:
    notes = [one.reason for one in injections]
    fractions = [one.mole_fraction for one in injections]
    ppm, dissolved = _GAS
    told = {ppm: listed(ppm, [None if y is None else y * 1e6 for y in fractions], None, notes)}
    volume = None if found.cell is None else found.cell.electrolyte.volume_ul
    if volume is None or calibration.headspace != "closed":
        why = "the cell file tells no volume_ul of its electrolyte"
        if calibration.headspace != "closed":
            why = "a swept electrolyte is not in equilibrium with its gas"
        return told | undefined((dissolved,), why)
    amounts = [
        None if y is None else gas.dissolved_umol(y, calibration.pressure_pa, volume)
        for y in fractions
    ]
    basis = f"in {volume:g} uL, in equilibrium; not part of the amounts"
    return told | {dissolved: listed(dissolved, amounts, None, [*notes, basis])}


def _of_each(
    name: str,
    peaks: Sequence[gas.Peak | str],
    number: Callable[[gas.Peak], Number],
    otherwise: str,
) -> Metric:
    """Return a number of each peak; `otherwise` says why a peak has none."""
    notes = [f"injection {n}: {one}" for n, one in enumerate(peaks, 1) if isinstance(one, str)]
    values = [None if isinstance(peak, str) else number(peak) for peak in peaks]
    missing = sum(value is None for value in values) - len(notes)
    told = [*notes, otherwise] if missing else notes
    return listed(name, values, None, told, otherwise)


def _of_peaks(peaks: Sequence[gas.Peak | str]) -> dict[str, Metric]:
    retention, asymmetry, ratio = _PEAK
    return {
        retention: _of_each(retention, peaks, lambda peak: peak.retention_s, _NO_PEAK),
        asymmetry: _of_each(asymmetry, peaks, lambda peak: peak.asymmetry, _NO_PEAK),
        ratio: _of_each(
            ratio,
            peaks,
            lambda peak: peak.signal_to_noise if math.isfinite(peak.signal_to_noise) else None,
            "a trace without noise",
        ),
    }


def _of_line(calibration: gas.Calibration) -> dict[str, Metric]:
    line = calibration.levels
    if line is None:
        return undefined(_LINE, "the calibration tells a slope, but no levels")
    basis = f"{line.levels} levels, {'' if line.forced else 'not '}forced through zero"
    r2, lod = _LINE
    return {r2: metric(r2, line.r2, reason=basis), lod: metric(lod, line.lod * 1e6, reason=basis)}


def _of_air(found: Evaluation, asked: Stream, t_s: Floats, told: object) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {}
    for name, (_, window) in _TRACERS.items():
        area, ppm, rise = (f"{name}_{what}" for what in ("area", "ppm", "rise_ppm_h"))
        peaks = _peaks(found.run, asked, window)
        notes = [f"injection {n}: {one}" for n, one in enumerate(peaks, 1) if isinstance(one, str)]
        areas = [None if isinstance(peak, str) else peak.area for peak in peaks]
        errors = [None if isinstance(peak, str) else peak.noise for peak in peaks]
        metrics[area] = listed(area, areas, errors, notes)
        slope = told.get(f"{name}_area_per_mole_fraction") if isinstance(told, Mapping) else None
        if not slope:
            why = f"the calibration tells no {name}_area_per_mole_fraction"
            metrics |= undefined((ppm, rise), why)
            continue
        fractions = [None if value is None else value / slope * 1e6 for value in areas]
        metrics[ppm] = listed(ppm, fractions, None, notes)
        known = [
            (at, value)
            for at, value in zip(t_s.tolist(), fractions, strict=True)
            if value is not None and math.isfinite(at)
        ]
        if len(known) < _FEWEST_FOR_A_RISE:
            why = f"fewer than {_FEWEST_FOR_A_RISE} injections tell it"
            metrics[rise] = metric(rise, None, reason=why)
        else:
            at_s, values = (np.array(column) for column in zip(*known, strict=True))
            metrics[rise] = metric(rise, *slope_per_hour(at_s, values))
    return metrics


def _of_checks(found: Evaluation, peaks: Sequence[gas.Peak | str]) -> dict[str, Metric]:
    check = found.run.start.get("gas_check") or {}
    areas = np.array([peak.area for peak in peaks if isinstance(peak, gas.Peak)])
    response, blank = _CHECKS
    told = undefined((response,), "the run injects no calibration gas")
    told |= undefined((blank,), "the run injects no blank gas")
    fraction = (check.get("mole_fractions") or {}).get("H2")
    if check.get("kind") == "blank":
        told[blank] = _mean(blank, areas)
    elif check.get("kind") == "calibration" and fraction:
        told[response] = _mean(response, areas / fraction)
    elif check.get("kind") == "calibration":
        told |= undefined((response,), "the calibration gas holds no H2")
    return told


def _mean(name: str, values: Floats) -> Metric:
    if not len(values):
        return metric(name, None, reason="no chromatogram")
    if len(values) == 1:
        return metric(name, float(values[0]), reason="one injection")
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return metric(name, float(values.mean()), error, f"mean of {len(values)} injections")


def _peaks(run: Run, asked: Stream, window: gas.PeakWindow) -> list[gas.Peak | str]:
    results = run.streams.get("chromatogram")
    row_of: dict[int, int] = {}
    key = "gas_chromatograph_result_trace"
    if results is not None and key in results.assets:
        present = min(len(results), len(results.asset(key)))
        numbers = results.columns["gas_chromatograph_result_injection"][:present]
        row_of = {int(number): row for row, number in enumerate(numbers)}
    missed = asked.columns["gas_chromatograph_missed"]
    peaks: list[gas.Peak | str] = []
    numbers_asked = asked.columns["gas_chromatograph_injection"]
    state = {int(n): m for n, m in zip(numbers_asked.tolist(), missed.tolist(), strict=True)}
    for number in range(1, max(state) + 1):
        if number not in state:
            peaks.append("was not asked for")
        elif state[number] == 1:
            peaks.append("missed, the instrument was not ready")
        elif number not in row_of or results is None:
            peaks.append("its chromatogram has not arrived")
        else:
            peaks.append(_remembered_peak(run, results, row_of[number], window))
    return peaks


def _remembered_peak(run: Run, results: Stream, row: int, window: gas.PeakWindow) -> gas.Peak | str:
    def compute() -> gas.Peak | str:
        trace = np.asarray(results.asset("gas_chromatograph_result_trace")[row], dtype=np.float64)
        interval = float(results.columns["gas_chromatograph_result_sample_interval"][row])
        try:
            return gas.peak_area(trace, interval, window)
        except ValueError as error:
            return str(error)

    return run.remembered(("peak", row, window), compute)
