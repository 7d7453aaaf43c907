"""Overpotentials of a run."""

from operando.analysis import overpotential
from operando.analysis._evaluation import (
    Evaluation,
    Metric,
    Number,
    finite,
    listed,
    metric,
    undefined,
)

_OVERPOTENTIALS = (
    "cell_eta_n_mv",
    "eta_n_mv",
    "plateau_overpotential_mv",
    "polarisation_mv",
    "late_strip_rise",
)


def overpotential_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the nucleation overpotential, and plateau, polarisation and late rise by cycle."""
    cell = found.cell
    if cell is None or not found.halves:
        return undefined(_OVERPOTENTIALS, found.no_halves)
    told: dict[str, Metric] = {}
    tip = overpotential.nucleation(found.halves)
    measured = {
        "value": None if tip.overpotential_v is None else tip.overpotential_v * 1e3,
        "uncertainty": None if tip.uncertainty_v is None else tip.uncertainty_v * 1e3,
        "reason": tip.reason,
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
    for name, values in (
        ("plateau_overpotential_mv", plateaus),
        ("polarisation_mv", gaps),
        ("late_strip_rise", rises),
    ):
        told[name] = listed(name, values, None, [running], "no complete half-cycle")
    return told
