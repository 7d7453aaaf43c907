"""A picture of costs that must not grow, to be read at a width of 800 pixels."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmarks.table import MOST_GROWTH, Curve, figure_text

WIDTH_IN = 8.0  # 100 pixels each where it is shown, twice as many in the file
ROW_HEIGHT_IN = 2.4
COLUMNS = 3
UNITS = {"us": "\N{GREEK SMALL LETTER MU}s"}
INK, FAINT = "#1f4e79", "#8c8c8c"


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw each cost over the number of rows or runs there were, in a panel of its own.

    The horizontal axes are logarithmic; the vertical ones begin at 0, so that growth looks like
    what it is. A dashed line is how far a cost may rise above its first figure.
    """
    kinds = list(dict.fromkeys(curve.over for curve in curves))
    rows = [[c for c in curves if c.over == kind and c.drawn][:COLUMNS] for kind in kinds]
    with pyplot.rc_context({"font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9}):
        figure, axes = pyplot.subplots(
            len(rows),
            COLUMNS,
            figsize=(WIDTH_IN, ROW_HEIGHT_IN * len(rows)),
            squeeze=False,
            layout="constrained",
        )
        for places, drawn in zip(axes, rows, strict=True):
            for axis in places[len(drawn) :]:
                axis.set_axis_off()
            for axis, curve in zip(places, drawn, strict=False):
                _panel(axis, curve)
        figure.savefig(path, dpi=200)
        pyplot.close(figure)


def _panel(axis: Axes, curve: Curve) -> None:
    most = MOST_GROWTH * curve.costs[0]
    axis.plot(curve.counts, curve.costs, "o-", color=INK, markersize=4)
    axis.axhline(most, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axis.set(xscale="log", xlabel=curve.over, ylabel=UNITS.get(curve.unit, curve.unit))
    axis.set_ylim(0, 1.25 * max(most, *curve.costs))
    axis.set_xlim(curve.counts[0] / 1.8, curve.counts[-1] * 1.8)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda value, position: figure_text(value))
    axis.set_title(fill(curve.what, 26), loc="left", fontweight="bold")
    axis.spines[["top", "right"]].set_visible(False)
    axis.annotate(
        f"{MOST_GROWTH:g} times the first",
        (curve.counts[0], most),
        xytext=(0, 3),
        textcoords="offset points",
        color=FAINT,
        fontsize=8,
    )
    for index, beside, align in ((0, 1, "left"), (-1, -2, "right")):
        here = curve.costs[index]
        above = curve.costs[beside] < here  # where the line is not
        axis.annotate(
            figure_text(here),
            (curve.counts[index], here),
            xytext=(0, 6 if above else -14),
            textcoords="offset points",
            ha=align,
            color=INK,
        )
