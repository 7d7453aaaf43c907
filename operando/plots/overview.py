"""One picture of one run, fit for a slide: what was measured, in publication units."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from operando.analysis import Metric
from operando.analysis.raman import BANDS
from operando.analysis.segments import PLATE
from operando.plots._style import styled
from operando.plots.cycles import efficiency, polarisation
from operando.plots.deposit import shown_frames, thumbnails
from operando.plots.evaluated import EvaluatedRun, plain
from operando.plots.gas import hydrogen
from operando.plots.potential import nucleation, potential
from operando.plots.raman import bands
from operando.plots.spectra import nyquist
from operando.runs import Run, told_protocols

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE_INCH = (13.33, 7.5)
_SCALE = 1.45  # a slide is read from farther away than a page
_HEIGHTS = (1.0, 0.95)


@dataclass(frozen=True)
class _Panel:
    """A panel of the overview, or several one above the other."""

    width: float
    draw: Callable[[Sequence["Axes"], EvaluatedRun], object]
    count: int = 1


def _alone(width: float, draw: Callable[["Axes", EvaluatedRun], object]) -> _Panel:
    return _Panel(width, lambda axes, one: draw(axes[0], one))


def run_figure(run: Run, numbers: Mapping[str, Metric] | None = None) -> "Figure":
    """Draw a run: potential, nucleation, efficiency, impedance, images, spectra, hydrogen.

    Only what was measured gets a panel; a run that goes on can be drawn at any time. Potentials
    are those of the metal electrode, so that plating lies below zero on either cable.

    Args:
        run: The run, finished or not.
        numbers: Its metrics if they are known already.

    Returns:
        A figure that belongs to no window; save it with ``savefig``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    one = EvaluatedRun(run, numbers)
    with styled(_SCALE):
        figure = Figure(figsize=SIZE_INCH)
        FigureCanvasAgg(figure)
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.04)
        figure.suptitle(heading(run), fontsize="x-large", fontweight="bold", x=0.012, ha="left")
        rows = [row for row in (_upper(one), _lower(one)) if row]
        if not rows:
            figure.text(0.5, 0.5, "nothing has been measured yet", ha="center", fontsize="large")
            return figure
        outer = figure.add_gridspec(len(rows), 1, height_ratios=_HEIGHTS[: len(rows)])
        for number, row in enumerate(rows):
            widths = [panel.width for panel in row]
            inner = outer[number].subgridspec(1, len(row), width_ratios=widths)
            for column, panel in enumerate(row):
                stack = inner[column].subgridspec(panel.count, 1, hspace=0.02)
                panel.draw([figure.add_subplot(stack[k]) for k in range(panel.count)], one)
    return figure


def _upper(one: EvaluatedRun) -> list[_Panel]:
    panels = []
    if one.leader is not None:
        panels.append(_alone(2.2, potential))
    if any(span.role == PLATE for span in one.spans):
        panels.append(_alone(1.1, nucleation))
    count = len(shown_frames(one, 2).frames)
    if count:
        panels.append(_Panel(1.25, thumbnails, count))
    return panels


def _lower(one: EvaluatedRun) -> list[_Panel]:
    panels = []
    for name, draw in (("ce_pct", efficiency), ("polarisation_mv", polarisation)):
        if isinstance(one.numbers[name].value, list):
            panels.append(_alone(1.0, draw))
            break
    impedance = len(panels)
    if one.rows_of("impedance") is not None:
        panels.append(_alone(1.0, nyquist))
    if any(isinstance(one.numbers[f"{name}_area"].value, list) for name in BANDS):
        panels.append(_alone(1.15, bands))
    if isinstance(one.numbers["hydrogen_cumulative_umol"].value, list):
        panels.append(_alone(1.0, hydrogen))
    if len(panels) > 1 and one.rows_of("impedance") is not None:
        # Equal axes want a square; what is left over goes to the others.
        others = sum(panel.width for k, panel in enumerate(panels) if k != impedance)
        panels[impedance] = replace(panels[impedance], width=0.34 * others)
    return panels


def heading(run: Run) -> str:
    """Return a line that says which run of which sample this is."""
    sample = run.start.get("sample")
    parts = []
    if isinstance(sample, Mapping):
        working = (sample.get("working_electrode") or {}).get("material", "?")
        counter = (sample.get("counter_electrode") or {}).get("material", "?")
        parts.append(f"{sample.get('cell_id')}   {working} || {counter}")
        electrolyte = (sample.get("electrolyte") or {}).get("composition")
        if electrolyte:
            parts.append(str(electrolyte))
    if isinstance(run.start.get("protocol"), str):
        parts.append(told_protocols(run.asked))
    status = "" if run.complete else ", running"
    parts.append(f"run {run.uid[:8]}{status}")
    return plain("   ·   ".join(parts))
