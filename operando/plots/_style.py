"""How figures look: sizes of a printed page, type of 7 to 8 points, and nothing that tells nothing.

Sizes of type, lines and markers stand in matplotlib's parameters while a figure is made, so that
the same drawing serves a column of a paper and a slide.
"""

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SINGLE_MM, DOUBLE_MM = 85.0, 178.0
MM_PER_INCH = 25.4
PLATING, STRIPPING, REST, INK, FAINT = "#2166ac", "#c8502d", "#9a9a9a", "#222222", "#d8d8d8"
CONTROLLED = "#7b3294"  # holds, sweeps: the potential is what was asked for
# Of groups and samples: told apart also by those who see fewer colours (Okabe and Ito).
GROUPS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
MARKERS = "osD^vP*"

_PAPER = {
    "font.size": 7.5,
    "axes.titlesize": 8.0,
    "axes.titlepad": 4.0,
    "axes.labelsize": 7.5,
    "axes.labelpad": 2.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.title_fontsize": 7.0,
    "lines.linewidth": 0.9,
    "lines.markersize": 3.0,
    "axes.linewidth": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
}
_PLAIN: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "axes.titlelocation": "left",
    "mathtext.fontset": "dejavusans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "legend.frameon": False,
    "legend.borderaxespad": 0.2,
    "legend.handlelength": 1.4,
    "legend.labelspacing": 0.25,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "lines.markeredgewidth": 0.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Numbers of an axis are text: set as formulas they took half of the time of a page. Nor is
    # anything taken off them, as 99.99 off efficiencies.
    "axes.formatter.use_mathtext": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-6, 7),
    "axes.unicode_minus": True,
    "svg.fonttype": "path",  # looks the same where the font is not there
    "svg.hashsalt": "operando",  # the same figure is the same file
    "pdf.fonttype": 42,  # text of a PDF stays text in a drawing program
}


@contextlib.contextmanager
def styled(scale: float = 1.0) -> Iterator[None]:
    """Draw within this in type of 7 to 8 points times ``scale``, whatever the user's settings."""
    from matplotlib import style

    sizes = {name: scale * value for name, value in _PAPER.items()}
    # Without the defaults a user's own settings could turn a figure into something else.
    with style.context(["default", {**_PLAIN, **sizes}]):
        yield


def dress(axes: "Axes", title: str, x: str, y: str) -> None:
    """Set a panel's title and what stands on its axes."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    # Ticks are made when a figure is saved, in the style of that moment, unless they are told one.
    for kind in ("major", "minor"):
        axes.tick_params(
            which=kind, colors=INK, direction="out", labelsize=size("xtick.labelsize"),
            length=size(f"xtick.{kind}.size"), width=size(f"xtick.{kind}.width"),
        )  # fmt: skip


def tell_missing(axes: "Axes", title: str, reason: str) -> str:
    """Say in a panel why there is nothing in it; return the reason."""
    axes.set_title(title, loc="left")
    axes.set_axis_off()
    told = "\n".join(textwrap.wrap(f"not shown: {reason}", 42, max_lines=6, placeholder=" ..."))
    axes.text(
        0.02, 0.95, told, transform=axes.transAxes, va="top", color="#777777",
        fontsize="small", parse_math=False,
    )  # fmt: skip
    return reason


def whole_numbers(axes: "Axes") -> None:
    """Let the horizontal axis count, also where it shows one or two numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))


def marker_size(count: int) -> float:
    """Return how large markers are, in units of the style's, where there are ``count`` of them."""
    return 1.4 if count < 12 else 1.0 if count < 60 else 0.6


def spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` positions out of ``count``, the first and the last included."""
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


def shades(count: int) -> Sequence[Any]:
    """Return colours of a sequence, from dark to bright, none too bright to be seen on white."""
    import numpy as np
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0.05, 0.8, count)))


def size(name: str, factor: float = 1.0) -> float:
    """Return one of the style's sizes times a factor."""
    from matplotlib import rcParams

    settings: Any = rcParams
    return factor * float(settings[name])
