"""What the laser brought to the sample, and what the potential did meanwhile."""

from typing import TYPE_CHECKING

import numpy as np

from operando.analysis.metrics import place
from operando.plots._style import FAINT, GROUPS, INK, dress, size, tell_missing
from operando.plots.evaluated import EvaluatedRun
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dose(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the energy that had reached the sample by each spectrum: usual spot, fresh spots.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Dose of light"
    stream = one.rows_of("raman")
    per_area = one.numbers["laser_exposure_j_cm2"].value is not None
    name = "laser_exposure_j_cm2" if per_area else "laser_exposure_mj"
    energy = _numbers(one, name)
    if stream is None or not len(energy):
        return tell_missing(axes, title, one.why_not("laser_exposure_mj"))
    energy = np.where(np.isfinite(energy), energy, 0.0)
    at, unit = _when(one, len(energy))
    spot = stream.columns.get("raman_spot")
    fresh = np.zeros(len(energy), dtype=bool) if spot is None else spot[: len(energy)] > 0
    usual = np.cumsum(np.where(fresh, 0.0, energy))
    axes.step(at[~fresh], usual[~fresh], where="post", color=INK, label="usual spot")
    if fresh.any():
        axes.plot(at[fresh], energy[fresh], "o", color=GROUPS[1], label="fresh spots")
        axes.legend(loc="upper left", borderaxespad=0.1)
    dress(axes, title, f"Time ({unit})", "Energy (J cm$^{-2}$)" if per_area else "Energy (mJ)")
    axes.set_ylim(0, 1.3 * float(usual.max(initial=1e-9)))
    return None


def potential_step(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw by how much the potential rose in each exposure, and the mean of all.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Potential while the laser is on"
    step = _numbers(one, "laser_step_mv")
    if not np.isfinite(step).any():
        return tell_missing(axes, title, one.why_not("laser_step_mv"))
    errors = one.numbers["laser_step_mv"].uncertainty
    told = errors if isinstance(errors, list) else [None] * len(step)
    error = np.array([0.0 if each is None else each for each in told])
    at, unit = _when(one, len(step))
    known = np.isfinite(step)
    axes.errorbar(at[known], step[known], error[known], fmt="o", color=INK)
    axes.axhline(0, color=FAINT, lw=size("axes.linewidth"), zorder=0)
    mean = one.numbers["laser_step_mean_mv"].value
    if isinstance(mean, float):
        axes.axhline(mean, color=GROUPS[1], lw=size("axes.linewidth"), ls=(0, (4, 3)), zorder=0)
    dress(axes, title, f"Time ({unit})", "Step of the potential (mV)")
    return None


def _numbers(one: EvaluatedRun, name: str) -> Floats:
    value = one.numbers[name].value
    values = value if isinstance(value, list) else []
    return np.array([np.nan if each is None else each for each in values], dtype=np.float64)


def _when(one: EvaluatedRun, count: int) -> tuple[Floats, str]:
    """Return when each spectrum was taken, in the figure's unit; blanks at the beginning."""
    stream = one.rows_of("raman")
    assert stream is not None  # there are spectra
    placed = place(stream.columns["raman_t_before"], stream.columns["raman_t_after"])
    scale, unit = one.time_unit
    at = placed.middle_s[:count]
    return np.where(np.isfinite(at), at, 0.0) / scale, unit
