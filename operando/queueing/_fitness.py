"""Is what hangs in a station the cell that it should be, and are its leads on as they should be?"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from operando.checking import judged_at_rest
from operando.queueing._known import Known
from operando.queueing.look import Look
from techniques import Cell, SafetyLimits

# A cell at rest goes on to drift; contacts that were made anew change its resistance.
DRIFT_V = 0.3
POLARITY_V = 0.2
SERIES_FACTOR, SERIES_OHM = 2.0, 0.5
# Below this charge a substrate may be bare, and shows a potential of its own.
COVERED_MAH_CM2 = 0.02
# A cell has its electrolyte: less, without any arc, is a piece of metal between the leads.
SHORTED_OHM_CM2, NO_ARC_SHARE = 1.0, 0.1
# Against this no cell of the kind can be driven: a lead is off, or there is no electrolyte.
OPEN_OHM_CM2 = 2e4
# A lead that hangs in the air reads anything.
UNSTEADY_V = 0.05
OVERLOADED_SHARE = 0.2
# So much of the potential window the current may take in the electrolyte.
SHARE_OF_WINDOW = 0.5


@dataclass
class Verdict:
    """What was found of a cell that was mounted.

    Attributes:
        findings: What speaks against it, sentence by sentence; empty: it may be driven.
        told: What was seen, and what could not be judged.
        expected: What was expected of it, as numbers and where they are from.
    """

    findings: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    expected: dict[str, Any] = field(default_factory=dict)


def judged(cell: Cell, look: Look, known: Known, limits: SafetyLimits) -> Verdict:
    """Compare what a look has shown of a cell with its record, else with what its file implies.

    Args:
        cell: As its file tells it.
        look: What was seen of it.
        known: What its record tells.
        limits: Those of cell and bench.
    """
    verdict = Verdict()
    if look.ocv_v is None:
        why = look.reason or "the instrument told none"
        verdict.findings.append(f"no open circuit potential was measured: {why}")
        return verdict
    if look.exit_status != "success":
        verdict.findings.append(f"the look at the cell ended early: {look.reason}")
    if look.overloaded > OVERLOADED_SHARE:
        verdict.findings.append(
            f"the instrument was overloaded in {look.overloaded:.0%} of the rows: is every lead on "
            "the cell?"
        )
    if look.ocv_spread_v is not None and look.ocv_spread_v > UNSTEADY_V:
        verdict.findings.append(
            f"the open circuit potential moved by {look.ocv_spread_v * 1e3:.3g} mV in 5 s: is "
            "every lead on the cell, and did it rest?"
        )
    _judge_potential(cell, look, known, verdict)
    _judge_resistance(cell, look, known, limits, verdict)
    return verdict


def _judge_potential(cell: Cell, look: Look, known: Known, verdict: Verdict) -> None:
    assert look.ocv_v is not None  # told to the type checker
    before_v = known.open_circuit_v
    if before_v is not None:
        verdict.expected |= {"ocv_v": before_v, "ocv_run": known.run}
        told = (
            f"{look.ocv_v:.4f} V at open circuit, {before_v:.4f} V when run {_short(known)} ended"
        )
        swapped = cell.reference_electrode is None and look.ocv_v * before_v < 0
        if swapped and min(abs(before_v), abs(look.ocv_v)) > POLARITY_V:
            verdict.findings.append(f"{told}: are the cables of the two electrodes exchanged?")
        elif abs(look.ocv_v - before_v) > DRIFT_V:
            verdict.findings.append(f"{told}: is it the same cell, and did nothing happen to it?")
        else:
            verdict.told.append(told)
        if not cell.symmetric:
            return
    cell_v = float("nan") if look.cell_ocv_v is None else look.cell_ocv_v
    item = judged_at_rest("open circuit", cell, look.ocv_v, cell_v)
    covered = any(amount > COVERED_MAH_CM2 for _, amount in known.metal_mah_cm2)
    if item.status == "failed" or (item.status == "warning" and not (known.run and covered)):
        verdict.findings.append(f"open circuit: {item.told}" + (f"; {item.do}" if item.do else ""))
    else:
        verdict.told.append(f"open circuit: {item.told}")
        if cell.symmetric:
            verdict.told.append("open circuit tells no polarity of a symmetric cell")


def _judge_resistance(
    cell: Cell, look: Look, known: Known, limits: SafetyLimits, verdict: Verdict
) -> None:
    series = look.series_ohm
    if look.lowest_ohm is None:
        why = look.no_spectrum or look.reason or "the run has no spectrum"
        verdict.told.append(f"the series resistance was not measured: {why}")
        return
    if series is None or not series > 0:
        verdict.findings.append(
            "the impedance shows no series resistance: is every lead on the cell?"
        )
        return
    verdict.findings += _leads(cell, look, series, limits)
    before = known.series_ohm
    if before is None:
        verdict.told.append(f"series resistance {series:.4g} ohm; the record has none to compare")
        return
    verdict.expected |= {"series_ohm": before, "series_run": known.series_run}
    least, most = before / SERIES_FACTOR - SERIES_OHM, before * SERIES_FACTOR + SERIES_OHM
    told = f"series resistance {series:.4g} ohm, it was {before:.4g} ohm"
    if least <= series <= most:
        verdict.told.append(told)
    else:
        verdict.findings.append(
            f"{told} and may be {max(least, 0):.3g} to {most:.3g} ohm: is it the same cell, are "
            "its contacts clean?"
        )


def _leads(cell: Cell, look: Look, series: float, limits: SafetyLimits) -> Iterator[str]:
    """Yield what says that leads are off, or touch each other."""
    assert look.lowest_ohm is not None  # asked before
    if series * cell.area_cm2 > OPEN_OHM_CM2:
        yield f"a series resistance of {series:.4g} ohm is that of an open circuit: is a lead off?"
        return
    low, high, most_a = limits.potential_min_v, limits.potential_max_v, limits.current_max_a
    if low is not None and high is not None and most_a is not None:
        drop_v = most_a * series
        if drop_v > SHARE_OF_WINDOW * (high - low):
            yield (
                f"a series resistance of {series:.4g} ohm takes {drop_v:.3g} V at the largest "
                f"current allowed, {most_a * 1e3:.4g} mA, more than half of the potential window: "
                "is a lead off, is the cell dry?"
            )
    arc = look.lowest_ohm - series
    if look.lowest_ohm * cell.area_cm2 < SHORTED_OHM_CM2 and arc < NO_ARC_SHARE * look.lowest_ohm:
        yield (
            f"the impedance is {look.lowest_ohm:.3g} ohm at {look.lowest_hz:.4g} Hz and has no "
            "arc: do the leads touch each other, is the cell shorted?"
        )


def _short(known: Known) -> str:
    return (known.run or "")[:8]
