"""Potential against time, and the nucleation at the first plating."""

from typing import TYPE_CHECKING

import numpy as np

from operando.analysis.overpotential import PLATEAU, plateau_v
from operando.analysis.overpotential import nucleation as nucleation_of
from operando.analysis.segments import PLATE, STRIP
from operando.plots._style import (
    CONTROLLED,
    FAINT,
    INK,
    PLATING,
    REST,
    STRIPPING,
    dress,
    size,
    tell_missing,
)
from operando.plots.decimation import broken, envelope
from operando.plots.evaluated import EvaluatedRun
from operando.report import number_text
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = (
    (frozenset({0}), REST, 0.6, "rest"),
    (frozenset({3, 4, 5, 6}), CONTROLLED, 0.9, "hold, sweep"),
    (frozenset({PLATE}), PLATING, 1.2, "plating"),
    (frozenset({STRIP}), STRIPPING, 1.2, "stripping"),
)
_IN_FULL_CELLS = {"plating": "charge", "stripping": "discharge"}
_PAST_CUT_OFF = 2  # rows at the end of a half-cycle that may lie beyond its cut-off
_SHOWN_OF_FIRST = 0.35  # share of the first plating in which its nucleation shows


def potential(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the potential of the metal electrode against time, plating below zero.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    full = one.cell is not None and one.cell.full_cell
    title = "Cell voltage" if full else "Potential"
    leader = one.leader
    if leader is None or not np.isfinite(one.potential_v).any():
        return tell_missing(axes, title, "the potentiostat has recorded no rows")
    scale, unit = one.time_unit
    t = leader.columns["potentiostat_t"] / scale
    role = leader.columns["potentiostat_role"]
    low, high, cut = _window(one)
    if full:  # told as such cells are: the cathode against the anode
        low, high = -high, -low
    factor, volt = (1e3, "mV") if max(-low, high) < 0.2 else (1.0, "V")
    axes.axhline(0, color=FAINT, lw=size("axes.linewidth"), zorder=0)
    # A line from one step to the next, across a spectrum, would show what nobody measured.
    steps = leader.columns.get("potentiostat_step", role)
    breaks = np.flatnonzero(np.diff(steps)) + 1
    for roles, colour, width, label in _PARTS:
        mine = np.isin(role, list(roles))
        if mine.any():
            y = np.where(mine, (-factor if full else factor) * one.potential_v, np.nan)
            axes.plot(
                *envelope(*broken(t, y, breaks)), color=colour, lw=size("lines.linewidth", width),
                label=_IN_FULL_CELLS.get(label, label) if full else label,
                zorder=1 if label == "rest" else 2,
            )  # fmt: skip
    dress(
        axes,
        title + (f" ({'' if full else 'strip '}ends off scale)" if cut else ""),
        f"Time ({unit})",
        f"Cell voltage ({volt})" if full else one.potential_label(volt),
    )
    axes.margins(x=0.01)
    room = 0.08 * (high - low) or 1e-3
    axes.set_ylim(factor * (low - room), factor * (high + room))
    axes.legend(
        ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0, borderpad=0.3
    )
    return None


def _window(one: EvaluatedRun) -> tuple[float, float, bool]:
    """Return the lowest and highest potential to show, V, and whether strip ends leave it.

    The last row of a strip can lie volts above its plateau, which would flatten all the rest.
    """
    known = one.potential_v[np.isfinite(one.potential_v)]
    low, high = float(known.min()), float(known.max())
    told = [plateau_v(half) for half in one.halves if half.capacity_mah_cm2 > 0]
    plateaus = [value for value in told if np.isfinite(value)]
    if not plateaus:
        return low, high, False
    if one.cell is not None and one.cell.full_cell:
        within = [half.potential_v[:-_PAST_CUT_OFF] for half in one.halves]
        within = [values for values in within if len(values)]
        if not within:
            return low, high, False
        inner_low = min(float(values.min()) for values in within)
        inner_high = max(float(values.max()) for values in within)
        return inner_low, inner_high, inner_low > low or inner_high < high
    low = min(float(half.potential_v.min()) for half in one.halves)
    high = max(float(half.potential_v.max()) for half in one.halves)
    widest = 4.0 * max(*plateaus, 1e-4)
    return max(low, -widest), min(high, widest), high > widest


def nucleation(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the begin of the first plating against its charge, with tip and plateau.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "First plating"
    if one.cell is not None and one.cell.full_cell:
        return tell_missing(axes, title, "opposite the metal stands a cathode: no tip is known")
    first = next((half for half in one.halves if half.role == PLATE), None)
    if first is None:
        return tell_missing(axes, title, one.why_not("cell_eta_n_mv"))
    total = first.capacity_mah_cm2
    shown = first.charge_mah_cm2 <= _SHOWN_OF_FIRST * total
    if total <= 0 or not shown.any():
        shown = np.ones(len(first.t_s), dtype=bool)
    charge, potential_mv = envelope(first.charge_mah_cm2[shown], 1e3 * first.potential_v[shown])
    few = len(charge) < 200
    axes.plot(
        charge, potential_mv, "-o" if few else "-", color=PLATING,
        ms=size("lines.markersize", 0.6),
    )  # fmt: skip
    axes.locator_params(axis="x", nbins=5)
    dress(axes, title, "Areal capacity (mAh cm$^{-2}$)", one.potential_label("mV"))
    _zoom(axes, potential_mv)
    _tip(axes, one, total)
    return None


def _zoom(axes: "Axes", potential_mv: Floats) -> None:
    below = potential_mv[potential_mv < 0]
    if len(below):
        floor, level = float(below.min()), float(np.median(below))
        span = max(level - floor, 0.04 * -floor)
        axes.set_ylim(floor - 0.35 * span, level + 1.6 * span)


def _tip(axes: "Axes", one: EvaluatedRun, total_mah_cm2: float) -> None:
    """Mark tip and plateau and what lies between them; or say why there is no tip."""
    tip = nucleation_of(one.halves)
    name = next(
        (name for name in ("eta_n_mv", "cell_eta_n_mv") if one.numbers[name].value is not None), ""
    )
    if not name or tip.tip_v is None or tip.plateau_v is None:
        axes.text(
            0.98, 0.96, "no tip resolved", transform=axes.transAxes, ha="right", va="top",
            fontsize="small", color="#666666",
        )  # fmt: skip
        return
    for level in (tip.tip_v, tip.plateau_v):
        axes.axhline(
            level * 1e3, color="#888888", lw=size("axes.linewidth"), ls=(0, (4, 3)), zorder=0
        )
    at = 0.13 * total_mah_cm2
    axes.annotate(
        "", (at, tip.tip_v * 1e3), (at, tip.plateau_v * 1e3),
        arrowprops={
            "arrowstyle": "<->", "color": INK, "lw": size("axes.linewidth", 1.3), "shrinkA": 0,
            "shrinkB": 0, "mutation_scale": size("font.size", 0.9),
        },
    )  # fmt: skip
    metric = one.numbers[name]
    symbol = "$\\eta_n$" if name == "eta_n_mv" else "cell $\\eta_n$"
    value = metric.value if isinstance(metric.value, float) else None
    error = metric.uncertainty if isinstance(metric.uncertainty, float) else None
    axes.text(
        at + 0.012 * total_mah_cm2, 0.5e3 * (tip.tip_v + tip.plateau_v),
        f"{symbol}\n{number_text(value, error)} mV", va="center",
    )  # fmt: skip
    axes.text(
        0.98, tip.plateau_v * 1e3,
        f"plateau ({PLATEAU[0] * 100:.0f} to {PLATEAU[1] * 100:.0f} %)",
        transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize="small",
        color="#666666",
    )  # fmt: skip
