"""The figure of a day: a panel for each cell, all on the same scales."""

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operando.plots._style import FAINT, INK, PLATING, STRIPPING, size, styled
from operando.plots.decimation import envelope
from operando.queueing.daily import CellDay, Day
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "running": "#009e73",
    "done": "#0072b2",
    "resumed": "#0072b2",
    "failed": "#d55e00",
    "lost": "#d55e00",
    "held": "#e69f00",
}
_GREY = "#777777"
_SHADE = "#eef3f8"  # the day
_POINTS = 400


def draw_day(day: Day, dpi: int = 160) -> bytes:
    """Return the figure as PNG: the width of a slide, higher with more than eight cells."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = max(1, len(day.cells))
    across = 1 if count == 1 else 2 if count <= 4 else 4 if count <= 16 else 6
    down = math.ceil(count / across)
    with styled(1.45):
        figure = Figure(figsize=(13.3, max(3.6, 0.9 + 2.75 * down)), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(day.title, x=0.01, ha="left", fontsize="x-large", color=INK)
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.08, h_pad=0.1, wspace=0.03, hspace=0.05)
        grid = figure.subplots(down, across, squeeze=False)
        panels = [axes for row in grid for axes in row]
        efficiency = _scale([one.ce_pct for one in day.cells if not one.symmetric])
        above = _top([one.eta_mv for one in day.cells])
        for axes, one in zip(panels, day.cells, strict=False):
            _panel(axes, one, efficiency, above)
        for axes in panels[len(day.cells) :]:
            axes.set_axis_off()
        if not day.cells:
            panels[0].text(0.0, 0.9, "Nothing ran in these 24 hours.", color=_GREY)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _panel(axes: "Axes", one: CellDay, efficiency: tuple[float, float], above: float) -> None:
    from matplotlib.ticker import MaxNLocator

    colour = _COLOURS.get(one.state, _GREY)
    where = f"{one.station}  " if one.station else ""
    axes.set_title(f"{where}{one.cell_id}", loc="left", parse_math=False, fontweight="bold")
    axes.set_title(f"\u25cf {one.state}", loc="right", color=colour, fontsize="medium")
    values = one.eta_mv if one.symmetric else one.ce_pct
    known = np.isfinite(values)
    if not known.any():
        axes.set_axis_off()
        axes.text(
            0.0, 0.9, f"no numbers yet: {one.why or 'no cycle counts'}", va="top",
            transform=axes.transAxes, color=_GREY, fontsize="small", wrap=True,
        )  # fmt: skip
        return
    cycle, values = one.cycle[known], values[known]
    today = one.cycle[one.today]
    if len(today):
        axes.axvspan(today[0] - 0.5, today[-1] + 0.5, color=_SHADE, lw=0, zorder=-3)
    low, high = (0.0, above) if one.symmetric else efficiency
    points = STRIPPING if one.symmetric else PLATING
    if not one.symmetric:
        axes.axhline(100, color=FAINT, lw=size("axes.linewidth"), zorder=-1)
    shown = np.clip(values, low, high)
    markersize = size("lines.markersize", 1.3 if len(cycle) < 80 else 0.75)
    axes.plot(*envelope(cycle, shown, _POINTS), "o", color=points, ms=markersize)
    beyond = values < low
    if beyond.any():
        at = cycle[beyond]
        axes.plot(
            *envelope(at, np.full(len(at), low), 60), "v", color=points, ms=markersize * 1.6,
            clip_on=False, zorder=5,
        )  # fmt: skip
    axes.set_ylim(low, high)
    end = max(float(one.planned or 0), float(cycle[-1]))
    axes.set_xlim(0, end * 1.02 + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_xlabel("Cycle")
    axes.set_ylabel("$\\eta$ (mV)" if one.symmetric else "CE (%)")
    if one.planned is not None and one.state == "running":
        axes.axvline(one.planned, color=_GREY, lw=size("axes.linewidth"), ls=":", zorder=-1)
    unit = "mV" if one.symmetric else "%"
    form = ".1f" if one.symmetric else ".2f"
    # Overpotentials rise from below, efficiencies fall from above: the other side is free.
    side = 0.97 if one.symmetric else 0.05
    axes.text(
        0.03, side, f"{format(float(values[-1]), form)} {unit}", transform=axes.transAxes,
        ha="left", va="top" if one.symmetric else "bottom", fontsize="xx-large", color=points,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1.0},
    )  # fmt: skip
    axes.text(
        0.985, side, _small(one), transform=axes.transAxes, ha="right",
        va="top" if one.symmetric else "bottom", fontsize="small", color="#555555",
        linespacing=1.35, parse_math=False,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1.0},
    )  # fmt: skip


def _small(one: CellDay) -> str:
    """Return what stands small in a panel: item, cycles, charge, time left, alarms."""
    lines = [one.item] if one.item else []
    planned = f" of {one.planned}" if one.planned is not None else ""
    left = f", {_duration(one.hours_left)} left" if one.hours_left is not None else ""
    lines.append(f"cycle {one.cycles_done}{planned}{left}")
    capacity = one.capacity_mah_cm2[np.isfinite(one.capacity_mah_cm2)]
    if len(capacity):
        eta = one.eta_last_mv
        beside = "" if one.symmetric or eta is None else f",  {eta:.1f} mV"
        lines.append(f"{capacity[-1]:.3f} mAh/cm²{beside}")
    if one.alarms:
        lines.append(f"{len(one.alarms)} alarm{'s' * (len(one.alarms) != 1)} in 24 h")
    return "\n".join(lines)


def _duration(hours: float) -> str:
    return (
        f"{hours / 24:.1f} d"
        if hours >= 48
        else f"{hours:.0f} h"
        if hours >= 2
        else (f"{hours * 60:.0f} min")
    )


def _scale(of_cells: list[Floats]) -> tuple[float, float]:
    """Return an axis for all efficiencies: what lies far below is marked at its lower end."""
    pooled = np.concatenate(of_cells) if of_cells else np.empty(0)
    pooled = pooled[np.isfinite(pooled)]
    if not len(pooled):
        return 0.0, 101.0
    # Each cell counts alike, however many cycles it has.
    lows = [np.percentile(one[np.isfinite(one)], 5) for one in of_cells if np.isfinite(one).any()]
    low = min(float(np.median(lows)) - 1.0, 99.0)
    low = max(min(low, float(min(lows)) + 0.0) if min(lows) > 85 else low - 4.0, 0.0)
    high = max(100.0, min(float(np.percentile(pooled, 99.5)), 110.0))
    low -= 0.35 * (high - low)  # numbers stand below the points
    return max(low, 0.0), high + 0.06 * (high - low)


def _top(of_cells: list[Floats]) -> float:
    pooled = np.concatenate(of_cells) if of_cells else np.empty(0)
    pooled = pooled[np.isfinite(pooled)]
    return 1.9 * float(np.percentile(pooled, 98)) if len(pooled) else 100.0
