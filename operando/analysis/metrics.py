"""A run turned into every metric of the registry."""

from dataclasses import replace

from operando.analysis._activation_metrics import activation_metrics
from operando.analysis._charge_metrics import charge_metrics
from operando.analysis._coulombic_metrics import coulombic_metrics
from operando.analysis._evaluation import Evaluation, Metric, Number, Placed, Value, place
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
from operando.analysis._overpotential_metrics import overpotential_metrics
from operando.analysis._raman_metrics import raman_metrics
from operando.analysis._reference_metrics import reference_metrics
from operando.analysis._sweep_metrics import interface_curve, tafel_window_v
from operando.analysis.segments import HalfCycle
from operando.registry import METRICS
from operando.runs import Run

__all__ = [
    "END_OF_PLATING_SHARE",
    "Metric",
    "Number",
    "Placed",
    "Value",
    "half_cycles_of",
    "impedance_fits",
    "interface_curve",
    "last_relaxation_times",
    "last_scans",
    "metrics",
    "place",
    "region_of",
    "tafel_window_v",
]

_FAMILIES = (
    coulombic_metrics,
    overpotential_metrics,
    reference_metrics,
    charge_metrics,
    failure_metrics,
    full_cell_metrics,
    impedance_metrics,
    activation_metrics,
    kinetics_metrics,
    image_metrics,
    raman_metrics,
    hydrogen_metrics,
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
        found.update(family(evaluation))
    if run.damage:
        found = {name: _of_damaged(metric) for name, metric in found.items()}
    return {name: found[name] for name in METRICS}


def _of_damaged(metric: Metric) -> Metric:
    """Say of a metric that rows may be missing in it, whatever else it says."""
    told = "the record is damaged, rows may be missing"
    return replace(metric, reason=f"{told}; {metric.reason}" if metric.reason else told)


def half_cycles_of(run: Run) -> tuple[HalfCycle, ...]:
    """Return the half-cycles of a run; empty if it has none, or describes no cell."""
    return Evaluation(run).halves
