"""Which quantities are compared, and what stands for a cell where a metric is a list."""

import math
from collections.abc import Mapping, Sequence
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
        form: What stands for a list: its first or last element, or their mean; of a list by cycle
            without the cycles that are left out of means, and those from a hard short on.
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
    ("Apparent exchange current density, linear", "j0_linear_apparent_ma_cm2", "value"),
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
    """Return a run's value of a quantity, its standard uncertainty, and its reason.

    That is why there is none, or what it rests on. What is called first is the first element, or
    nothing: never a later one. The last is the last element; of a list by cycle the one before it,
    which is then named, where that has none (its cycle may not have ended), or before a hard short.
    """
    if quantity.metric == TIP:
        return _tip(run.numbers)
    metric = run.numbers[quantity.metric]
    reason = metric.reason or ""
    if not isinstance(metric.value, list):
        error = metric.uncertainty if isinstance(metric.uncertainty, float) else None
        return metric.value, error, reason
    errors = metric.uncertainty if isinstance(metric.uncertainty, list) else ()
    errors = [*errors, *[None] * (len(metric.value) - len(errors))]
    each = list(zip(metric.value, errors, strict=True))
    by_cycle = METRICS[quantity.metric].shape == "by cycle"
    if quantity.form == "mean":
        return _mean(run, each, reason, by_cycle=by_cycle)
    if quantity.form == "first":
        if not each or each[0][0] is None:
            return None, None, _joined("the first one has no value", reason)
        return *each[0], reason
    until, shorted = "", run.hard_short_cycle if by_cycle else None
    if shorted is not None and shorted <= len(each):
        # From then on the numbers are those of the short.
        each = each[: shorted - 1]
        until = f"hard short in cycle {shorted}"
        if each and each[-1][0] is not None:
            return *each[-1], _joined(f"of cycle {len(each)}: {until}", reason)
    if each and each[-1][0] is not None:
        return *each[-1], reason
    if by_cycle and len(each) > 1 and each[-2][0] is not None:
        which = f"of cycle {len(each) - 1}: cycle {len(each)} has no value"
        return *each[-2], _joined(which, until, reason)
    return None, None, _joined("the last one has no value", until, reason)


def _mean(
    run: ComparedRun,
    each: Sequence[tuple[float | None, float | None]],
    reason: str,
    *,
    by_cycle: bool,
) -> tuple[float | None, float | None, str]:
    """Return the mean over elements; of a list by cycle over those that count in means."""
    shorted = run.hard_short_cycle if by_cycle else None
    known = [
        (value, error)
        for number, (value, error) in enumerate(each, start=1)
        if value is not None
        and not (by_cycle and number in run.left_out)
        and (shorted is None or number < shorted)
    ]
    until = "" if shorted is None else f", until the hard short of cycle {shorted}"
    if not known:
        return None, None, f"every cycle is left out of means{until}"
    errors = [error for _, error in known if error is not None]
    # An offset or a gain is the same in all of them: it does not average out.
    shared = math.fsum(errors) / len(errors) if len(errors) == len(known) else None
    mean = math.fsum(value for value, _ in known) / len(known)
    what = "cycle" if by_cycle else "value"
    basis = f"mean of {len(known)} {what}{'s' * (len(known) > 1)}{until}"
    return mean, shared, _joined(basis, reason)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _tip(numbers: Mapping[str, Metric]) -> tuple[float | None, float | None, str]:
    """Return the tip's overpotential: that of nucleation above the plateau of the same plating."""
    plateau = numbers["plateau_overpotential_mv"]
    for name in ("eta_n_mv", "cell_eta_n_mv"):
        above = numbers[name]
        if isinstance(above.value, float) and isinstance(plateau.value, list):
            if plateau.value[0] is None:
                return None, None, "the first plating has no plateau"
            error = above.uncertainty if isinstance(above.uncertainty, float) else None
            if error is not None and isinstance(plateau.uncertainty, list):
                error = math.hypot(error, plateau.uncertainty[0] or 0.0)
            return above.value + plateau.value[0], error, above.reason or ""
    return None, None, numbers["cell_eta_n_mv"].reason or "no tip"
