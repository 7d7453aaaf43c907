"""Numbers against the cycle: coulombic efficiency, polarisation, capacities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from operando.analysis import Metric
from operando.analysis.segments import PLATE, STRIP
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
    floor = low - room
    # Its upper fifth is for the means, which no line crosses.
    axes.set_ylim(floor, floor + (max(high, 100.0) - floor) / 0.8)
    told = []
    for name, label in (("ce_mean_pct", "mean"), ("ce_mean_without_first_pct", "without first")):
        mean = one.numbers[name]
        if isinstance(mean.value, float) and isinstance(mean.uncertainty, float):
            told.append(f"{label} {number_text(mean.value, mean.uncertainty)} %")
    axes.text(
        0.98, 0.97, "\n".join(told), transform=axes.transAxes, ha="right", va="top", color=INK,
        fontsize="small",
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


def capacity(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw charge and discharge capacity of a full cell per mass of cathode against the cycle.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Capacity"
    ends: list[float] = []
    for name, colour, label in (
        ("charge_capacity_mah_g", PLATING, "charge"),
        ("discharge_capacity_mah_g", STRIPPING, "discharge"),
    ):
        if isinstance(one.numbers[name].value, list):
            ends += _by_cycle(axes, one, name, colour, label)
    if not ends:
        return tell_missing(axes, title, one.why_not("discharge_capacity_mah_g"))
    mark_formation(axes, tuple(one.formation))
    dress(axes, title, "Cycle", "Capacity (mAh g$^{-1}$)")
    whole_numbers(axes)
    low, high = min(ends), max(ends)
    room = max(0.15 * (high - low), 0.03 * abs(high))
    axes.set_ylim(low - room, high + 2.5 * room)
    retention = one.numbers["capacity_retention_pct"]
    if isinstance(retention.value, float):
        error = retention.uncertainty if isinstance(retention.uncertainty, float) else None
        # Of which cycles: with several currents it is not what the eye compares.
        told = f"retention {number_text(retention.value, error)} %\n{retention.reason or ''}"
        axes.text(0.98, 0.97, told.strip(), ha="right", va="top", transform=axes.transAxes)
    axes.legend(loc="upper left", ncols=2)
    return None


def rate(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw what a cell gives at several currents: capacity of a full cell, else polarisation.

    By cycle; each stretch of one current is labelled with it. A full cell's rates are those of the
    metrics, any other's the current densities of its platings.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Rate capability"
    full = one.cell is not None and one.cell.full_cell
    name = "discharge_capacity_mah_g" if full else "polarisation_mv"
    cycle, value, _ = numbered(one.numbers[name])
    if not len(cycle) or one.cell is None:
        return tell_missing(axes, title, one.why_not(name))
    density = {
        span.cycle: float(f"{1e3 * span.current_a / one.cell.area_cm2:.2g}")
        for span in one.spans
        if span.role == (STRIP if full else PLATE)
    }
    at = np.array([density.get(int(number), np.nan) for number in cycle])
    begins = np.flatnonzero(np.diff(at, prepend=-1.0))
    if len(begins) < 2:
        return tell_missing(axes, title, "the run was cycled at one current density only")
    top = float(value.max())
    room = 0.22 * (top - min(0.0, float(value.min())))
    for number, (first, stop) in enumerate(
        zip(begins, np.append(begins[1:], len(cycle)), strict=True)
    ):
        colour = PLATING if number % 2 == 0 else STRIPPING
        part = slice(int(first), int(stop))
        axes.plot(*envelope(cycle[part], value[part]), "o", color=colour)
        axes.text(
            float(cycle[part].mean()), float(value[part].max()) + 0.2 * room, f"{at[first]:g}",
            ha="center", va="bottom", color=colour, fontsize="small",
        )  # fmt: skip
    label = "Discharge capacity (mAh g$^{-1}$)" if full else "Polarisation (mV)"
    dress(axes, title, "Cycle", label)
    whole_numbers(axes)
    axes.set_xlim(0.5, float(cycle[-1]) + 0.5)
    axes.set_ylim(min(0.0, float(value.min())), top + 1.5 * room)
    axes.text(
        0.98, 0.98, "numbers: mA cm$^{-2}$", transform=axes.transAxes, ha="right", va="top",
        fontsize="small", color="#666666",
    )  # fmt: skip
    return None
