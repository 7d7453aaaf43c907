"""Hydrogen: how much, when, and which share of the charge made it."""

from typing import TYPE_CHECKING

import numpy as np

from operando.analysis.hydrogen import faradaic_efficiency_pct
from operando.analysis.metrics import place
from operando.analysis.segments import ChargeLedger
from operando.plots._style import INK, PLATING, STRIPPING, dress, size, tell_missing
from operando.plots.cycles import numbered
from operando.plots.evaluated import EvaluatedRun
from operando.report import number_text
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def hydrogen(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the hydrogen found by each injection, in all and since the last.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Hydrogen by injection"
    at, value, error = _found(one)
    if not len(at):
        return tell_missing(axes, title, one.why_not("hydrogen_cumulative_umol"))
    unit = one.time_unit[1]
    # Each bar spans the time in which its hydrogen was formed.
    since = np.concatenate(([min(0.0, float(at[0]))], at[:-1]))
    axes.bar(
        since, np.diff(value, prepend=0.0), width=at - since, align="edge", color="#c9d7e8",
        edgecolor="white", lw=size("axes.linewidth"), label="since the last",
    )  # fmt: skip
    axes.errorbar(at, value, error, fmt="o-", color=INK, label="in all")
    dress(axes, title, f"Time ({unit})", "H$_2$ (µmol)")
    axes.set_ylim(0, 1.4 * float((value + error).max(initial=1e-6)))
    axes.legend(loc="upper left", borderaxespad=0.1)
    return None


def faradaic_efficiency(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the share of the charge passed until each injection that made hydrogen.

    Gas of both electrodes over the charge of both directions, as the metric has it.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Hydrogen's share of the charge"
    at, value, _ = _found(one)
    metric = one.numbers["hydrogen_faradaic_efficiency_pct"]
    if not len(at) or metric.value is None or one.cell is None:
        return tell_missing(axes, title, one.why_not("hydrogen_faradaic_efficiency_pct"))
    scale, unit = one.time_unit
    ledger = ChargeLedger(one.halves)
    charge = np.array([ledger.passed_c(one.cell.area_cm2, when * scale) for when in at])
    passed = charge > 0
    shares = [
        faradaic_efficiency_pct(amount, coulomb)
        for amount, coulomb in zip(value[passed], charge[passed], strict=True)
    ]
    axes.plot(at[passed], shares, "o-", color=PLATING, label="until then")
    number, interval, error = numbered(one.numbers["hydrogen_interval_fe_pct"])
    when = _moments(one)
    between = np.array([when.get(int(n), np.nan) for n in number])
    if len(interval):
        axes.errorbar(
            between, interval, np.where(np.isfinite(error), error, 0.0), fmt="s", color=STRIPPING,
            mfc="white", mew=size("lines.linewidth", 0.7), label="since the last",
        )  # fmt: skip
    dress(axes, title, f"Time ({unit})", "Faradaic efficiency of H$_2$ (%)")
    axes.set_xlim(left=min(0.0, float(at[0])))
    axes.set_ylim(0, 1.35 * max([*shares, *interval], default=1.0))
    axes.legend(loc="upper left")
    if isinstance(metric.value, float) and isinstance(metric.uncertainty, float):
        told = number_text(metric.value, metric.uncertainty)
        axes.text(
            0.98, 0.97, f"last {told} %", transform=axes.transAxes, ha="right", va="top",
        )  # fmt: skip
    return None


def _found(one: EvaluatedRun) -> tuple[Floats, Floats, Floats]:
    """Return time (in the run's unit), amount and its uncertainty (umol) of each injection."""
    stream = one.rows_of("gas_chromatograph")
    number, value, error = numbered(one.numbers["hydrogen_cumulative_umol"])
    if stream is None or not len(number):
        return np.empty(0), np.empty(0), np.empty(0)
    when = _moments(one)
    at = np.array([when.get(int(n), np.nan) for n in number])
    shown = np.isfinite(at)
    return at[shown], value[shown], np.where(np.isfinite(error), error, 0.0)[shown]


def _moments(one: EvaluatedRun) -> dict[int, float]:
    """Return when each injection was made, in the run's unit of time."""
    stream = one.rows_of("gas_chromatograph")
    if stream is None:
        return {}
    columns = stream.columns
    placed = place(columns["gas_chromatograph_t_before"], columns["gas_chromatograph_t_after"])
    scale = one.time_unit[0]
    injections = columns["gas_chromatograph_injection"]
    return {int(n): t / scale for n, t in zip(injections, placed.middle_s, strict=True)}
