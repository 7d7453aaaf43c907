"""A picture of costs that must not grow."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from benchmarks.table import Curve


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw each cost over the number of runs or rows there were, both axes logarithmic."""
    kinds = list(dict.fromkeys(curve.over for curve in curves))
    figure, axes = pyplot.subplots(
        1, len(kinds), figsize=(5.5 * len(kinds), 3.6), squeeze=False, layout="constrained"
    )
    for axis, kind in zip(axes[0], kinds, strict=True):
        for curve in curves:
            if curve.over == kind:
                label = f"{curve.what} / {curve.unit}"
                axis.plot(curve.counts, curve.costs, "o-", label=label)
        axis.set(xscale="log", yscale="log", xlabel=kind, ylabel="cost of one more")
        low, high = axis.get_ylim()
        axis.set_ylim(low / 3, high * 3)
        axis.grid(which="major", alpha=0.3)
        axis.legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
