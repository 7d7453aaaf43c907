"""A picture of costs that must not grow, to be read at a width of 800 pixels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.path import Path as Line
from matplotlib.text import Annotation
from matplotlib.ticker import EngFormatter, NullLocator
from matplotlib.transforms import Bbox

from benchmarks.table import MOST_GROWTH, Curve, figure_text

WIDTH_IN = 8.0  # 100 pixels each where it is shown, twice as many in the file
ROW_HEIGHT_IN = 2.6
COLUMNS = 3
UNITS = {"us": "\N{GREEK SMALL LETTER MU}s"}
INK, WITHIN, BEYOND = "#1f4e79", "#e3efe3", "#b03a2e"
# Where a figure may stand beside its point, the first that is free [points].
_PLACES = ((7, "bottom"), (-7, "top"), (18, "bottom"), (-18, "top"))


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw each cost over the number of rows or runs there were, in a panel of its own.

    The horizontal axes are logarithmic; the vertical ones begin at 0, so that growth looks like
    what it is. The shaded band is how far a cost may rise above its first figure.
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
        shown: list[tuple[Axes, Curve]] = []
        for places, drawn in zip(axes, rows, strict=True):
            for axis in places[len(drawn) :]:
                axis.set_axis_off()
            shown += zip(places, drawn, strict=False)
        for axis, curve in shown:
            _panel(axis, curve)
        band = Patch(color=WITHIN, label=f"what is allowed: {MOST_GROWTH:g} times the first figure")
        figure.legend(handles=[band], loc="outside lower right", frameon=False)
        figure.draw_without_rendering()  # where labels are free is known when all has its place
        for axis, curve in shown:
            _figures(axis, curve)
        figure.savefig(path, dpi=200)
        pyplot.close(figure)


def _panel(axis: Axes, curve: Curve) -> None:
    most, ratio = MOST_GROWTH * curve.costs[0], curve.growth.median
    axis.axhspan(0, most, color=WITHIN, linewidth=0, zorder=0)
    axis.plot(curve.counts, curve.costs, "o-", color=INK, markersize=4)
    axis.set(xscale="log", xlabel=curve.over, ylabel=UNITS.get(curve.unit, curve.unit))
    axis.set_ylim(0, 1.3 * max(most, *curve.costs))
    axis.set_xlim(curve.counts[0] / 1.8, curve.counts[-1] * 1.8)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axis.yaxis.set_major_formatter(lambda value, position: figure_text(value))
    axis.set_title(fill(curve.what, 26), loc="left", fontweight="bold")
    axis.text(
        0.04,
        0.97,
        f"\N{MULTIPLICATION SIGN} {figure_text(ratio)} from first to last",
        transform=axis.transAxes,
        va="top",
        fontsize=8,
        color=INK if ratio <= MOST_GROWTH else BEYOND,
    )
    axis.spines[["top", "right"]].set_visible(False)


def _figures(axis: Axes, curve: Curve) -> None:
    """Write the first and the last cost beside their points, where nothing else is."""
    for index, align in ((0, "left"), (-1, "right")):
        label = axis.annotate(
            figure_text(curve.costs[index]),
            (curve.counts[index], curve.costs[index]),
            xytext=(0, 0),
            textcoords="offset points",
            ha=align,
            color=INK,
        )
        for offset, side in (*_PLACES, _PLACES[0]):
            label.xyann = (0, offset)
            label.set_verticalalignment(side)
            if _is_free(axis, curve, label):
                break


def _is_free(axis: Axes, curve: Curve, label: Annotation) -> bool:
    box = label.get_window_extent().padded(1)
    inside = axis.get_window_extent()
    if box.y0 < inside.y0 or box.y1 > inside.y1:
        return False
    points = axis.transData.transform(list(zip(curve.counts, curve.costs, strict=True)))
    if Line(points).intersects_bbox(box, filled=False):
        return False
    edge = axis.transData.transform((curve.counts[0], MOST_GROWTH * curve.costs[0]))[1]
    if box.y0 < edge < box.y1:
        return False
    return not any(Bbox.intersection(box, other) for other in _written(axis, label))


def _written(axis: Axes, label: Annotation) -> Iterator[Bbox]:
    for text in axis.texts:
        if text is not label:
            yield text.get_window_extent()
