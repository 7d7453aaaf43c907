"""Overpotentials of a run."""

import numpy as np

from operando.analysis import overpotential
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    finite,
    listed,
    metric,
    summary,
    undefined,
)
from operando.analysis._impedance_metrics import impedance_fits
from operando.analysis.full_cell import NO_CELL_VOLTAGE, mean_voltage_v
from operando.analysis.impedance import ArcFit
from operando.analysis.inventory import metal_potential_v
from operando.analysis.segments import PLATE, REST
from operando.analysis.tip_uncertainty import POTENTIAL_GAIN, Rest
from techniques import Cell

_OVERPOTENTIALS = (
    "cell_eta_n_mv",
    "eta_n_mv",
    "plateau_overpotential_mv",
    "polarisation_mv",
    "late_strip_rise",
    "overpotential_mv",
    "voltage_hysteresis_mv",
    "electrode_overpotential_mv",
)
_OF_ONE_METAL = ("cell_eta_n_mv", "eta_n_mv", "plateau_overpotential_mv", "late_strip_rise")
_BETWEEN_ELECTRODES = ("polarisation_mv", "overpotential_mv", "voltage_hysteresis_mv")
_NO_REST = "no rest long enough to tell what built up since the tip: not in the uncertainty"
# Of the plating's current: less may be an instrument's zero, more is no rest.
_NO_CURRENT = 0.1


def overpotential_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the nucleation overpotential, and plateau, polarisation and late rise by cycle."""
    cell = found.cell
    if cell is None or not found.halves:
        return undefined(_OVERPOTENTIALS, found.no_halves)
    told: dict[str, Metric] = {}
    potentiostat = found.calibration.get("potentiostat") or {}
    tip = overpotential.nucleation(
        found.halves,
        rest=_rest_after_first_plating(found),
        potential_gain=float(potentiostat.get("potential_gain_uncertainty", POTENTIAL_GAIN)),
    )
    untold = _NO_REST if tip.overpotential_v is not None and tip.relaxed_v is None else None
    measured = {
        "value": None if tip.overpotential_v is None else tip.overpotential_v * 1e3,
        "uncertainty": None if tip.uncertainty_v is None else tip.uncertainty_v * 1e3,
        "reason": summary([found.no_zero or tip.reason, untold]),
    }
    if cell.reference_electrode is None:
        told["cell_eta_n_mv"] = metric("cell_eta_n_mv", **measured)  # type: ignore[arg-type]  # one dict of three kinds
        told |= undefined(("eta_n_mv",), "needs a reference electrode; see cell_eta_n_mv")
    else:
        told["eta_n_mv"] = metric("eta_n_mv", **measured)  # type: ignore[arg-type]  # as above
        told |= undefined(("cell_eta_n_mv",), "measured against a reference; see eta_n_mv")
    plateaus: list[Number] = []
    gaps: list[Number] = []
    rises: list[Number] = []
    for plating, stripping in found.cycles.values():
        plateaus.append(
            finite(1e3 * overpotential.plateau_v(plating))
            if plating is not None and plating.ended
            else None
        )
        gaps.append(
            finite(1e3 * overpotential.polarisation_v(plating, stripping, symmetric=cell.symmetric))
            if plating is not None and stripping is not None and stripping.ended
            else None
        )
        rises.append(
            overpotential.late_rise(stripping)
            if stripping is not None and stripping.ended and not stripping.end_lost
            else None
        )
    running = None
    if not found.halves[-1].ended:
        running = f"cycle {found.halves[-1].cycle} has not ended"
    halved = [None if gap is None else 0.5 * gap for gap in gaps]
    for name, values in (
        ("plateau_overpotential_mv", plateaus),
        ("polarisation_mv", gaps),
        ("late_strip_rise", rises),
        ("overpotential_mv", halved),
        ("voltage_hysteresis_mv", _mean_gaps(found) if cell.full_cell else gaps),
    ):
        # The difference of two potentials of a half cell does not depend on the reference.
        counts_from_metal = name in _OF_ONE_METAL or cell.symmetric
        zero = found.no_zero or _counted_from(cell) if counts_from_metal else None
        told[name] = listed(name, values, None, [zero, running], "no complete half-cycle")
    if cell.full_cell:
        against = "its cathode" if cell.reference_electrode is None else "a reference"
        told |= undefined(_OF_ONE_METAL, f"a full cell: the potential is that against {against}")
        if cell.reference_electrode is not None:
            told |= undefined(_BETWEEN_ELECTRODES, NO_CELL_VOLTAGE)
    told["electrode_overpotential_mv"] = _of_one_electrode(found, plateaus)
    return told


def _counted_from(cell: Cell) -> str | None:
    """Say from which potential |E| counts where that is another than 0."""
    metal_v, why = metal_potential_v(cell)
    if why is not None or metal_v == 0:
        return None
    return f"|E| counts from {metal_v:g} V, {cell.metal} against {cell.reference_electrode}"


def _rest_after_first_plating(found: Evaluation) -> Rest | None:
    """Return what was recorded at rest right after the first plating; None if nothing was."""
    number = next((n for n, half in enumerate(found.halves) if half.role == PLATE), None)
    if number is None:
        return None
    half = found.halves[number]
    columns = found.run.streams["potentiostat"].columns
    t_s, current_a = columns["potentiostat_t"], columns["potentiostat_current"]
    first = int(np.searchsorted(t_s, half.t_s[-1], "right"))
    stop = len(t_s)
    if number + 1 < len(found.halves):
        stop = int(np.searchsorted(t_s, found.halves[number + 1].t_s[0], "left"))
    flowing = np.abs(current_a[first:stop]) > _NO_CURRENT * abs(half.mean_current_a)
    broken = np.flatnonzero(flowing | (columns["potentiostat_role"][first:stop] != REST))
    stop = first + int(broken[0]) if len(broken) else stop
    potential_v = columns["potentiostat_potential"][first:stop]
    known = np.isfinite(potential_v)
    if not known.any():
        return None
    assert found.cell is not None  # it has half-cycles
    mirror = 1.0 if found.cell.metal_electrode == "WE" else -1.0
    return Rest((t_s[first:stop] - half.t_s[-1])[known], mirror * potential_v[known])


def _mean_gaps(found: Evaluation) -> list[Number]:
    """Return the mean voltage of charge less that of discharge by cycle, mV."""
    gaps: list[Number] = []
    for charge, discharge in found.cycles.values():
        both = [
            mean_voltage_v(half) if half is not None and half.ended else None
            for half in (charge, discharge)
        ]
        gaps.append(None if both[0] is None or both[1] is None else 1e3 * (both[0] - both[1]))
    return gaps


def _of_one_electrode(found: Evaluation, plateaus: list[Number]) -> Metric:
    """Return |E| - |i| R_s by cycle, half of it without a reference; R_s of the last spectrum."""
    name, cell = "electrode_overpotential_mv", found.cell
    assert cell is not None  # it has half-cycles
    if found.no_zero is not None:
        return metric(name, None, reason=found.no_zero)
    share = 0.5 if cell.reference_electrode is None else 1.0
    if cell.reference_electrode is None and not cell.symmetric:
        return metric(name, None, reason="needs a symmetric cell: both electrodes alike")
    fits = [
        (int(spectrum.half_cycle[0]), fit)
        for spectrum, fit in zip(found.spectra, impedance_fits(found.run), strict=True)
        if len(spectrum.t_s) and isinstance(fit, ArcFit)
    ]
    if not fits:
        return metric(name, None, reason="R_s is not known: no impedance spectrum could be fitted")
    values: list[Number] = []
    errors: list[Number] = []
    for (plating, _), plateau in zip(found.cycles.values(), plateaus, strict=True):
        if plating is None or plateau is None:
            values.append(None)
            errors.append(None)
            continue
        before = [fit for half_cycle, fit in fits if half_cycle < plating.number]
        fit = before[-1] if before else fits[0][1]
        current_a = abs(plating.mean_current_a)
        value = share * (plateau - 1e3 * current_a * fit.series_ohm)
        # Below i R_s that resistance is no longer the cell's: it is shorted.
        values.append(value if value > 0 else None)
        errors.append(share * 1e3 * current_a * fit.series_uncertainty_ohm if value > 0 else None)
    first_ohm = fits[0][1].series_ohm
    below = sum(value is None for value in values) - sum(one is None for one in plateaus)
    lower = f"|E| below i R_s in {below} cycles" if below else None
    basis = f"R_s of the last spectrum before, {first_ohm:.3g} ohm at first"
    alone = None
    if cell.reference_electrode is not None:
        alone = f"of the working electrode alone, against {cell.reference_electrode}: not halved"
    return listed(name, values, errors, [alone, basis, lower], "no complete plating")
