"""A run turned into every metric of the registry."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from operando.analysis._activation_metrics import activation_metrics, temperature_points
from operando.analysis._charge_metrics import charge_metrics
from operando.analysis._coulombic_metrics import coulombic_metrics
from operando.analysis._evaluation import Evaluation, Metric, Number, Placed, Value, place
from operando.analysis._external_metrics import external_metrics
from operando.analysis._failure_metrics import failure_metrics
from operando.analysis._full_cell_metrics import full_cell_metrics
from operando.analysis._hydrogen_metrics import hydrogen_metrics
from operando.analysis._image_metrics import END_OF_PLATING_SHARE, image_metrics, region_of
from operando.analysis._impedance_metrics import (
    impedance_fits,
    impedance_metrics,
    last_relaxation_times,
)
from operando.analysis._kinetics_metrics import (
    kinetics_metrics,
    last_scans,
)
from operando.analysis._light_metrics import light_metrics
from operando.analysis._microbalance_metrics import microbalance_metrics
from operando.analysis._overpotential_metrics import overpotential_metrics
from operando.analysis._raman_metrics import band_areas, raman_metrics
from operando.analysis._reference_metrics import reference_metrics
from operando.analysis._sweep_metrics import (
    declared_tafel_window_v,
    interface_curve,
    tafel_window_v,
)
from operando.analysis.segments import HalfCycle
from operando.registry import METRICS
from operando.runs import Run, in_half_cycle, told_protocols

__all__ = [
    "END_OF_PLATING_SHARE",
    "Metric",
    "Number",
    "Placed",
    "Value",
    "band_areas",
    "declared_tafel_window_v",
    "half_cycles_of",
    "impedance_fits",
    "interface_curve",
    "last_relaxation_times",
    "last_scans",
    "metrics",
    "place",
    "region_of",
    "tafel_window_v",
    "temperature_points",
]

# What families that begin with other things than half-cycles are made of.
_MADE_OF = {
    overpotential_metrics: ("impedance",),
    reference_metrics: ("potentiostat",),
    impedance_metrics: ("impedance",),
    activation_metrics: ("impedance", "thermostat"),
    kinetics_metrics: ("potentiostat", "impedance", "thermostat"),
    image_metrics: ("camera",),
    raman_metrics: ("raman",),
    light_metrics: ("raman",),
    hydrogen_metrics: ("gas_chromatograph", "chromatogram"),
}
_FAMILIES = (
    coulombic_metrics,
    overpotential_metrics,
    reference_metrics,
    charge_metrics,
    microbalance_metrics,
    failure_metrics,
    full_cell_metrics,
    impedance_metrics,
    activation_metrics,
    kinetics_metrics,
    image_metrics,
    raman_metrics,
    light_metrics,
    hydrogen_metrics,
    external_metrics,
)


def metrics(run: Run) -> dict[str, Metric]:
    """Compute every metric of the registry from a run, finished or not.

    Args:
        run: From documents, a journal or the catalog; all give the same bits.

    Returns:
        Name -> metric, in the order of the registry, each name once.
    """
    evaluation = Evaluation(run)
    found: dict[str, Metric] = {}
    for family in _FAMILIES:
        told = family(evaluation)
        refused = [
            evaluation.refused[stream]
            for stream in _MADE_OF.get(family, ())
            if stream in evaluation.refused
        ]
        if refused:
            told = {name: _of_refused(metric, refused) for name, metric in told.items()}
        found.update(told)
    found |= _of_several_protocols(evaluation, found)
    if run.damage:
        found = {name: _of_damaged(metric) for name, metric in found.items()}
    return {name: found[name] for name in METRICS}


# One number of many half-cycles, in which those of another protocol are if there was another.
_OF_MANY = (
    "ce_mean_pct",
    "ce_mean_without_first_pct",
    "ce_ratio_of_sums_pct",
    "ce_sd_pct",
    "cumulative_irreversible_mah_cm2",
    "reservoir_ce_pct",
    "cumulative_plated_mah_cm2",
    "depth_of_discharge_pct",
    "capacity_retention_pct",
    "hydrogen_faradaic_efficiency_pct",
    *(name for name in METRICS if name.startswith("life_") and name.endswith("_h")),
)


def _of_several_protocols(found: Evaluation, numbers: Mapping[str, Metric]) -> Mapping[str, Metric]:
    """Return the numbers of many half-cycles saying so, if these were under several protocols."""
    asked = found.run.asked
    if len(asked) == 1:
        return {}
    held = {in_half_cycle(asked, half.number).begin_s for half in found.halves}
    under = [one for one in asked if one.begin_s in held]
    if len(under) < 2:
        return {}
    told = f"under several protocols: {told_protocols(under)}"
    return {
        name: replace(one, reason=f"{told}; {one.reason}" if one.reason else told)
        for name, one in numbers.items()
        if name in _OF_MANY and one.value is not None
    }


def _of_refused(metric: Metric, refused: Sequence[str]) -> Metric:
    """Say of a metric without a value that a stream it may be made of was refused, and why."""
    if metric.value is not None:
        return metric
    others = [] if metric.reason is None or metric.reason in refused else [metric.reason]
    return replace(metric, reason="; ".join([*refused, *others]))


def _of_damaged(metric: Metric) -> Metric:
    """Say of a metric that rows may be missing in it, whatever else it says."""
    told = "the record is damaged, rows may be missing"
    return replace(metric, reason=f"{told}; {metric.reason}" if metric.reason else told)


def half_cycles_of(run: Run) -> tuple[HalfCycle, ...]:
    """Return the half-cycles of a run; empty if it has none, or describes no cell."""
    return Evaluation(run).halves
