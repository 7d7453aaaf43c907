"""Which quantities are compared, and what stands for a cell where a metric is a list."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from operando.analysis import Metric
from operando.comparison._cells import ComparedRun
from operando.registry import METRICS

Form = Literal["value", "first", "last", "mean"]


@dataclass(frozen=True)
class Quantity:
    """One number of a cell.

    Attributes:
        name: The metric's name, with ``.first``, ``.last`` or ``.mean`` where it is a list.
        label: What people call it.
        metric: The metric.
        form: What stands for a list: its first or last defined element, or their mean; of a list
            by cycle without the cycles that are left out of means.
        unit: Its unit.
    """

    name: str
    label: str
    metric: str
    form: Form
    unit: str


# Beside the registry: the tip itself, of which the registry has the height above the plateau.
TIP = "tip_overpotential_mv"

_CHOSEN: tuple[tuple[str, str, Form], ...] = (
    ("Initial CE", "initial_ce_pct", "value"),
    ("Mean CE", "ce_mean_pct", "value"),
    ("Mean CE without first or formation", "ce_mean_without_first_pct", "value"),
    ("CE, ratio of sums", "ce_ratio_of_sums_pct", "value"),
    ("Scatter of CE over cycles", "ce_sd_pct", "value"),
    ("Reservoir CE", "reservoir_ce_pct", "value"),
    ("Initial loss", "initial_loss_mah_cm2", "value"),
    ("Cumulative irreversible charge", "cumulative_irreversible_mah_cm2", "value"),
    ("Nucleation overpotential", "eta_n_mv", "value"),
    ("Nucleation overpotential of the cell", "cell_eta_n_mv", "value"),
    ("Tip overpotential", TIP, "value"),
    ("Plateau overpotential, first plating", "plateau_overpotential_mv", "first"),
    ("Polarisation", "polarisation_mv", "mean"),
    ("Late strip rise", "late_strip_rise", "mean"),
    ("Series resistance, first", "series_resistance_ohm", "first"),
    ("Interfacial resistance, first", "interfacial_resistance_ohm", "first"),
    ("Interfacial resistance, last", "interfacial_resistance_ohm", "last"),
    ("Apparent exchange current density", "j0_apparent_ma_cm2", "value"),
    ("Exchange current density, linear", "j0_linear_ma_cm2", "value"),
    ("Activation energy, ln(T/R)", "activation_energy_kj_mol", "value"),
    ("Apparent transference number", "transference_number_apparent", "value"),
    ("Cumulative plated charge", "cumulative_plated_mah_cm2", "value"),
    ("Depth of discharge", "depth_of_discharge_pct", "value"),
    ("Compactness, last plating", "compactness", "last"),
    ("Roughness, last frame", "image_roughness_um", "last"),
    ("Highest tip, last frame", "image_tip_um", "last"),
    ("Hydrogen in all", "hydrogen_total_umol", "value"),
    ("Hydrogen's share of the charge", "hydrogen_faradaic_efficiency_pct", "value"),
    ("Film band at 3633 cm-1, change", "band_3633_change", "value"),
    ("Sulfate band at 980 cm-1, change", "band_980_change", "value"),
    ("Discharge capacity, first", "discharge_capacity_mah_g", "first"),
    ("Discharge capacity, last", "discharge_capacity_mah_g", "last"),
    ("Capacity retention", "capacity_retention_pct", "value"),
)

QUANTITIES: tuple[Quantity, ...] = tuple(
    Quantity(
        metric if form == "value" else f"{metric}.{form}",
        label,
        metric,
        form,
        "mV" if metric == TIP else METRICS[metric].unit,
    )
    for label, metric, form in _CHOSEN
    if metric == TIP or metric in METRICS
)

# The axes of the radar map of Chem. Sci. 2024, 15, 4833, Fig. 3g; less is better on all of them.
RADAR = (
    ("ΔE", "polarisation_mv.mean"),
    ("η$_t$", TIP),
    ("η$_p$", "plateau_overpotential_mv.first"),
    ("η$_n$", "cell_eta_n_mv"),
    ("initial loss", "initial_loss_mah_cm2"),
)


def value_of(run: ComparedRun, quantity: Quantity) -> tuple[float | None, float | None, str]:
    """Return a run's value of a quantity, its standard uncertainty, and why there is none."""
    if quantity.metric == TIP:
        return _tip(run.numbers)
    metric = run.numbers[quantity.metric]
    reason = metric.reason or ""
    if not isinstance(metric.value, list):
        error = metric.uncertainty if isinstance(metric.uncertainty, float) else None
        return metric.value, error, reason
    errors = metric.uncertainty if isinstance(metric.uncertainty, list) else ()
    errors = [*errors, *[None] * (len(metric.value) - len(errors))]
    by_cycle = METRICS[quantity.metric].shape == "by cycle"
    known = [
        (value, error)
        for number, (value, error) in enumerate(zip(metric.value, errors, strict=True), start=1)
        if value is not None
        and not (quantity.form == "mean" and by_cycle and number in run.left_out)
    ]
    if not known:
        return None, None, "every cycle is left out of means"
    if quantity.form == "first":
        return *known[0], ""
    if quantity.form == "last":
        return *known[-1], ""
    return math.fsum(value for value, _ in known) / len(known), None, ""


def _tip(numbers: Mapping[str, Metric]) -> tuple[float | None, float | None, str]:
    """Return the tip's overpotential: that of nucleation above the plateau of the same plating."""
    plateau = numbers["plateau_overpotential_mv"]
    for name in ("eta_n_mv", "cell_eta_n_mv"):
        above = numbers[name]
        if isinstance(above.value, float) and isinstance(plateau.value, list):
            if plateau.value[0] is None:
                return None, None, "the first plating has no plateau"
            error = above.uncertainty if isinstance(above.uncertainty, float) else None
            return above.value + plateau.value[0], error, ""
    return None, None, numbers["cell_eta_n_mv"].reason or "no tip"
