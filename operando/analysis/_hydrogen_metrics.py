"""Hydrogen from the chromatograms of a run."""

import math

import numpy as np

from operando.analysis import hydrogen as gas
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    listed,
    metric,
    placed_rows,
    summary,
    undefined,
)
from operando.runs import Run, Stream

_HYDROGEN = (
    "hydrogen_umol",
    "hydrogen_cumulative_umol",
    "hydrogen_total_umol",
    "hydrogen_faradaic_efficiency_pct",
)


def hydrogen_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the hydrogen by injection, its total and its faradaic efficiency."""
    asked = found.run.streams.get("gas_chromatograph")
    if asked is None or not len(asked):
        return undefined(_HYDROGEN, "the run has no injection")
    told_gas = found.calibration.get("gas_chromatograph")
    if not told_gas:
        return undefined(_HYDROGEN, "the gas chromatograph is not calibrated")
    try:
        headspace_ml = None if found.cell is None else found.cell.headspace_ml
        calibration = gas.Calibration.from_document(told_gas, headspace_ml)
    except ValueError as error:
        return undefined(_HYDROGEN, str(error))
    if calibration.headspace != "closed":
        return undefined(
            _HYDROGEN, f"only a closed headspace is evaluated, not {calibration.headspace!r}"
        )
    peaks = _peaks(found.run, asked, calibration.window)
    injections = gas.headspace_hydrogen(peaks, calibration)
    notes = [injection.reason for injection in injections]
    told = {
        "hydrogen_umol": listed(
            "hydrogen_umol", [one.since_last_umol for one in injections], None, notes
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
        return told | undefined(_HYDROGEN[2:], reason)
    told["hydrogen_total_umol"] = metric(
        "hydrogen_total_umol",
        last.since_start_umol,
        last.uncertainty_umol,
        f"injection {last.number} of {len(injections)}",
    )
    told["hydrogen_faradaic_efficiency_pct"] = _faradaic(found, asked, last)
    return told


def _faradaic(found: Evaluation, asked: Stream, last: gas.Injection) -> Metric:
    name = "hydrogen_faradaic_efficiency_pct"
    if found.cell is None or not found.halves:
        return metric(name, None, reason=found.no_halves)
    row = int(np.flatnonzero(asked.columns["gas_chromatograph_injection"] == last.number)[-1])
    at = float(placed_rows(asked, "gas_chromatograph").middle_s[row])
    charge = found.ledger.passed_c(found.cell.area_cm2, at)
    if charge <= 0:
        return metric(name, None, reason="no charge had passed at the last injection")
    assert last.since_start_umol is not None
    assert last.uncertainty_umol is not None
    value = gas.faradaic_efficiency_pct(last.since_start_umol, charge)
    relative = math.hypot(
        last.uncertainty_umol / last.since_start_umol,
        found.accuracy.relative(found.halves[-1].mean_current_a),
    )
    return metric(
        name, value, relative * value, "gas of both electrodes, charge of both directions"
    )


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
