"""Numbers against the cycle: coulombic efficiency, polarisation, capacities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from operando.analysis import Metric
from operando.plots._style import (
    FAINT,
    INK,
    PLATING,
    STRIPPING,
    dress,
    marker_size,
    size,
    tell_missing,
    whole_numbers,
)
from operando.plots.decimation import envelope
from operando.plots.evaluated import EvaluatedRun
from operando.report import number_text
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ERROR_BARS = 40  # with more cycles their uncertainty is a band


def numbered(metric: Metric) -> tuple[Floats, Floats, Floats]:
    """Return numbers from 1, values and uncertainties of a list's defined elements.

    Where no uncertainty was evaluated it is NaN.
    """
    if not isinstance(metric.value, list):
        return np.empty(0), np.empty(0), np.empty(0)
    values = np.array([np.nan if one is None else one for one in metric.value], dtype=np.float64)
    errors: Floats = np.full(len(values), np.nan)
    if isinstance(metric.uncertainty, list):
        errors = np.array(
            [np.nan if one is None else one for one in metric.uncertainty], dtype=np.float64
        )
    known = np.flatnonzero(np.isfinite(values))
    return (known + 1).astype(np.float64), values[known], errors[known]


def mark_formation(axes: "Axes", formation: Sequence[int]) -> None:
    """Shade the cycles that are formation, or left out of means, and say so."""
    spans: list[list[int]] = []
    for cycle in sorted(formation):
        if spans and cycle == spans[-1][1] + 1:
            spans[-1][1] = cycle
        else:
            spans.append([cycle, cycle])
    for number, (first, last) in enumerate(spans):
        axes.axvspan(
            first - 0.5, last + 0.5, color="#f0ead2", lw=0, zorder=-2,
            label="left out of means" if number == 0 else None,
        )  # fmt: skip


def _by_cycle(
    axes: "Axes", one: EvaluatedRun, name: str, colour: str, label: str | None = None
) -> tuple[float, float]:
    """Draw a metric by cycle with its uncertainty; return its lowest and highest end."""
    cycle, value, error = numbered(one.numbers[name])
    known = np.isfinite(error)
    spread = np.where(known, error, 0.0)
    if known.any() and len(cycle) < _ERROR_BARS:
        axes.errorbar(
            cycle, value, spread, fmt="none", ecolor=colour, alpha=0.45,
            elinewidth=size("lines.linewidth", 0.8),
        )  # fmt: skip
    elif known.any():
        axes.fill_between(cycle, value - spread, value + spread, color=colour, alpha=0.15, lw=0)
    counted = np.isin(cycle, list(one.formation), invert=True)
    markersize = size("lines.markersize", marker_size(len(cycle)))
    for chosen, face in ((counted, colour), (~counted, "white")):
        if chosen.any():
            axes.plot(
                *envelope(cycle[chosen], value[chosen]), "o", color=colour, ms=markersize,
                mfc=face, mew=0.0 if face == colour else size("lines.linewidth", 0.7),
                label=label if face == colour else None,
            )  # fmt: skip
    axes.set_xlim(0.5, max(float(cycle[-1]), 1.0) + 0.5)
    return float((value - spread).min()), float((value + spread).max())


def efficiency(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the coulombic efficiency against the cycle, not clipped at 100 %.

    Cycles left out of means are hollow, on a shade.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Coulombic efficiency"
    if not isinstance(one.numbers["ce_pct"].value, list):
        return tell_missing(axes, title, one.why_not("ce_pct"))
    axes.axhline(100, color=FAINT, lw=size("axes.linewidth"), zorder=0)
    low, high = _by_cycle(axes, one, "ce_pct", PLATING)
    mark_formation(axes, tuple(one.formation))
    dress(axes, title, "Cycle", "CE (%)")
    whole_numbers(axes)
    room = 0.12 * max(high - low, 0.5)
    axes.set_ylim(low - room, max(high, 100.0) + 3.2 * room)
    told = []
    for name, label in (("ce_mean_pct", "mean"), ("ce_mean_without_first_pct", "without first")):
        mean = one.numbers[name]
        if isinstance(mean.value, float) and isinstance(mean.uncertainty, float):
            told.append(f"{label} {number_text(mean.value, mean.uncertainty)} %")
    axes.text(
        0.98, 0.97, "\n".join(told), transform=axes.transAxes, ha="right", va="top", color=INK,
        fontsize="medium",
    )  # fmt: skip
    if one.formation:
        axes.legend(loc="lower right")
    return None


def polarisation(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw voltage hysteresis and plateau overpotential against the cycle.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Polarisation"
    symmetric = one.cell is not None and one.cell.symmetric
    hysteresis = "|E$_{plate}$| + |E$_{strip}$|" if symmetric else "E$_{strip}$ $-$ E$_{plate}$"
    ends: list[float] = []
    for name, colour, label in (
        ("polarisation_mv", STRIPPING, hysteresis),
        ("plateau_overpotential_mv", PLATING, "plateau of plating"),
    ):
        if isinstance(one.numbers[name].value, list):
            ends += _by_cycle(axes, one, name, colour, label)
    if not ends:
        return tell_missing(axes, title, one.why_not("polarisation_mv", "plateau_overpotential_mv"))
    mark_formation(axes, tuple(one.formation))
    dress(axes, title, "Cycle", "Overpotential (mV)")
    whole_numbers(axes)
    low, high = min(ends), max(ends)
    room = max(0.25 * (high - low), 0.05 * abs(high), 1e-3)
    axes.set_ylim(low - room, high + 1.6 * room)
    axes.legend(loc="upper right", ncols=2)
    return None
