"""The figure of a day: a panel for each cell, all on the same scales."""

import io
import math
import textwrap
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
_GREY, _ALARM = "#777777", "#c0392b"
_SHADE = "#eef3f8"  # the day
_POINTS = 400
_WIDTHS_IN = {1: 7.0, 2: 9.0, 4: 13.3, 8: 26.6}


def draw_day(day: Day) -> bytes:
    """Return the figure as PNG: a slide for up to eight cells, a poster for 64."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = max(1, len(day.cells))
    across = min(count, 2) if count <= 4 else 4 if count <= 16 else 8
    down = math.ceil(count / across)
    with styled(1.45):
        figure = Figure(
            figsize=(_WIDTHS_IN[across], max(4.2, 0.8 + 3.1 * down)), layout="constrained"
        )
        FigureCanvasAgg(figure)
        figure.suptitle(day.title, x=0.01, ha="left", fontsize="x-large", color=INK)
        note = "shaded: these 24 h    dotted: planned    triangles: below the axis"
        figure.supxlabel(note, x=0.99, ha="right", fontsize="small", color=_GREY)
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
        figure.savefig(buffer, format="png", dpi=160 if across <= 4 else 110)
    return buffer.getvalue()


def _panel(axes: "Axes", one: CellDay, efficiency: tuple[float, float], above: float) -> None:
    from matplotlib.ticker import MaxNLocator

    values = one.eta_mv if one.symmetric else one.ce_pct
    known = np.isfinite(values)
    cycle, values = one.cycle[known], values[known]
    points = STRIPPING if one.symmetric else PLATING
    _heading(axes, one, float(values[-1]) if len(values) else None, points)
    if not len(values):
        axes.set_axis_off()
        why = "\n".join(textwrap.wrap(f"no numbers yet: {one.why or 'no cycle counts'}", 36))
        axes.text(
            0.0, 0.95, why, va="top", transform=axes.transAxes, color=_GREY, fontsize="small",
            parse_math=False,
        )  # fmt: skip
        return
    today = one.cycle[one.today]
    if len(today):
        axes.axvspan(today[0] - 0.5, today[-1] + 0.5, color=_SHADE, lw=0, zorder=-3)
    low, high = (0.0, above) if one.symmetric else efficiency
    if not one.symmetric:
        axes.axhline(100, color=FAINT, lw=size("axes.linewidth"), zorder=-1)
    markersize = size("lines.markersize", 1.3 if len(cycle) < 80 else 0.75)
    inside = values >= low
    shown = envelope(cycle[inside], np.minimum(values[inside], high), _POINTS)
    axes.plot(*shown, "o", color=points, ms=markersize)
    if not inside.all():
        # Far below the others: at the lower end of the axis, so many as can be told apart.
        at = cycle[~inside]
        apart = max(1, round(0.03 * float(cycle[-1])))
        at = at[np.unique(at // apart, return_index=True)[1]]
        axes.plot(
            at, np.full(len(at), low + 0.03 * (high - low)), "v", color=points,
            ms=size("lines.markersize", 1.5),
        )  # fmt: skip
    axes.set_ylim(low, high)
    # At the beginning of a long program what there is is not squeezed into a corner.
    end = max(float(cycle[-1]), min(float(one.planned or 0), max(10.0, 3 * float(cycle[-1]))))
    axes.set_xlim(0, end * 1.02 + 1)
    if one.planned is not None and one.planned <= end:
        axes.axvline(one.planned, color=_GREY, lw=size("axes.linewidth"), ls=":", zorder=-1)
    steps = [1, 2, 2.5, 5, 10]
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=steps))
    charge = one.capacity_mah_cm2[np.isfinite(one.capacity_mah_cm2)]
    axes.set_xlabel(f"Cycle ({charge[-1]:.3g} mAh cm$^{{-2}}$)" if len(charge) else "Cycle")
    axes.set_ylabel("$\\eta$ (mV)" if one.symmetric else "CE (%)")


def _heading(axes: "Axes", one: CellDay, newest: float | None, colour: str) -> None:
    """Write above a panel who it is and how it is doing, in three lines."""
    where = f"{one.station}  " if one.station else ""
    line = 1.3 * size("font.size")
    axes.set_title(f"{where}{one.cell_id}\n\n", loc="left", color="none", parse_math=False)

    def above(text: str, x: float, lines: float, **how: Any) -> None:
        axes.annotate(
            text, (x, 1.0), xytext=(0, line * lines), xycoords="axes fraction",
            textcoords="offset points", ha="left" if x == 0 else "right", va="bottom",
            annotation_clip=False, parse_math=False, **how,
        )  # fmt: skip

    name = f"{where}{one.cell_id}"
    # Beside it stands the number.
    fits = "large" if len(name) <= 14 else "medium" if len(name) <= 18 else "small"
    above(_cut(name, 24), 0.0, 2.1, fontweight="bold", fontsize=fits, color=INK)
    if newest is not None:
        told = f"{newest:.1f} mV" if one.symmetric else f"{newest:.2f} %"
        above(told, 1.0, 2.0, fontsize="x-large", color=colour)
    small: dict[str, Any] = {"fontsize": "small", "color": "#555555"}
    above(_cut(one.item, 26), 0.0, 1.15, **small)
    state = _COLOURS.get(one.state, _GREY)
    above(f"\u25cf {one.state}", 1.0, 1.1, fontsize="small", color=state, fontweight="bold")
    planned = f" of {one.planned}" if one.planned is not None else ""
    left = f", {_duration(one.hours_left)} left" if one.hours_left is not None else ""
    above(f"{one.cycles_done}{planned} cycles{left}", 0.0, 0.25, **small)
    if one.alarms:
        told = f"{len(one.alarms)} alarm{'s' * (len(one.alarms) != 1)}"
        above(told, 1.0, 0.25, fontsize="small", color=_ALARM, fontweight="bold")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.0f} d" if hours >= 240 else f"{hours / 24:.1f} d"
    return f"{hours:.0f} h" if hours >= 2 else f"{hours * 60:.0f} min"


def _scale(of_cells: list[Floats]) -> tuple[float, float]:
    """Return an axis for all efficiencies: what lies far below is marked at its lower end."""
    pooled = np.concatenate(of_cells) if of_cells else np.empty(0)
    pooled = pooled[np.isfinite(pooled)]
    if not len(pooled):
        return 0.0, 101.0
    # Each cell counts alike, however many cycles it has; one that is far below is marked there.
    lows = [np.percentile(one[np.isfinite(one)], 4) for one in of_cells if np.isfinite(one).any()]
    low = max(float(min(lows)), float(np.median(lows)) - 10.0)
    high = max(100.0, min(float(np.percentile(pooled, 99.5)), 110.0))
    room = max(0.12 * (high - low), 0.1)
    return max(low - room, 0.0), high + 0.6 * room


def _top(of_cells: list[Floats]) -> float:
    pooled = np.concatenate(of_cells) if of_cells else np.empty(0)
    pooled = pooled[np.isfinite(pooled)]
    return 1.4 * float(np.percentile(pooled, 98)) if len(pooled) else 100.0
