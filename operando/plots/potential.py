"""Potential against time, and the nucleation at the first plating."""

from typing import TYPE_CHECKING

import numpy as np

from operando.analysis.overpotential import PLATEAU
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
from operando.plots.decimation import COLUMNS, broken, envelope
from operando.plots.evaluated import EvaluatedRun
from operando.report import number_text
from operando.runs import Floats, Stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = (
    ((0,), REST, 0.6, "rest"),
    ((3, 4, 5, 6), CONTROLLED, 0.9, "hold, sweep"),
    ((PLATE,), PLATING, 1.2, "plating"),
    ((STRIP,), STRIPPING, 1.2, "stripping"),
)
_IN_FULL_CELLS = {"plating": "charge", "stripping": "discharge"}
_AT_ONCE = 400_000  # rows
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
    low, high, cut = _window(one)
    if full:  # told as such cells are: the cathode against the anode
        low, high = -high, -low
    factor, volt = (1e3, "mV") if max(-low, high) < 0.2 else (1.0, "V")
    zero = 0.0 if full else factor * one.metal_v
    axes.axhline(zero, color=FAINT, lw=size("axes.linewidth"), zorder=0)
    sign = -factor if full else factor
    for roles, colour, width, label in _PARTS:
        t_s, potential_v = _thinned(one, leader, roles)
        if len(t_s):
            axes.plot(
                t_s / scale, sign * potential_v, color=colour, lw=size("lines.linewidth", width),
                label=_IN_FULL_CELLS.get(label, label) if full else label,
                zorder=1 if label == "rest" else 2,
            )  # fmt: skip
    dress(
        axes,
        title + (f" ({cut})" if cut else ""),
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


def _thinned(one: EvaluatedRun, leader: Stream, roles: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return time (s) and potential (V) of the rows of some roles, as many as can be seen.

    A line from one step to the next, across a spectrum, would show what nobody measured: there it
    is interrupted. Some rows at a time, so that long runs do not need twice their memory.
    """
    t_s, role = leader.columns["potentiostat_t"], leader.columns["potentiostat_role"]
    steps = leader.columns.get("potentiostat_step", role)
    pieces = [(np.empty(0), np.empty(0))]
    before = -2
    for first in range(0, len(t_s), _AT_ONCE):
        part = role[first : first + _AT_ONCE]
        rows = first + np.flatnonzero(np.logical_or.reduce([part == code for code in roles]))
        if not len(rows):
            continue
        joined = np.concatenate(([before], rows)) if before >= 0 else rows
        apart = (np.diff(joined) > 1) | (np.diff(steps[joined]) != 0)
        breaks = np.flatnonzero(apart) + (0 if before >= 0 else 1)
        columns = max(1, COLUMNS * len(part) // len(t_s))
        pieces.append(envelope(*broken(t_s[rows], one.potential_v[rows], breaks), columns=columns))
        before = int(rows[-1])
    x, y = zip(*pieces, strict=True)
    return np.concatenate(x), np.concatenate(y)


def _window(one: EvaluatedRun) -> tuple[float, float, str]:
    """Return the lowest and highest potential to show, V, and what leaves it.

    The last row of a strip can lie volts above its plateau, which would flatten all the rest.
    """
    low, high = float(np.nanmin(one.potential_v)), float(np.nanmax(one.potential_v))
    plateaus = _plateaus_v(one)
    if not plateaus or one.leader is None:
        return low, high, ""
    role = one.leader.columns["potentiostat_role"]
    working = (role == PLATE) | (role == STRIP)
    full = one.cell is not None and one.cell.full_cell
    if full:
        ends = np.flatnonzero(np.diff(role) != 0)
        for back in range(_PAST_CUT_OFF):
            working[ends[ends >= back] - back] = False
        working[-_PAST_CUT_OFF:] = False
    inner_low = float(np.fmin.reduce(one.potential_v, where=working, initial=np.inf))
    inner_high = float(np.fmax.reduce(one.potential_v, where=working, initial=-np.inf))
    if not inner_low < inner_high:
        return low, high, ""
    if full:
        told = "ends off scale" if inner_low > low or inner_high < high else ""
        return inner_low, inner_high, told
    widest, zero_v = 4.0 * max(*plateaus, 1e-4), one.metal_v
    cut = "strip ends off scale" if inner_high > zero_v + widest else ""
    if inner_low < zero_v - widest:
        cut = "extremes off scale"
    return max(inner_low, zero_v - widest), min(inner_high, zero_v + widest), cut


def _plateaus_v(one: EvaluatedRun) -> list[float]:
    """Return |E| of plateaus, V: of platings, and what stripping adds to it in the middle."""
    plate = one.numbers["plateau_overpotential_mv"].value
    both = one.numbers["polarisation_mv"].value
    found = [value for value in plate if value is not None] if isinstance(plate, list) else []
    if isinstance(plate, list) and isinstance(both, list):
        found += [
            total - value
            for total, value in zip(both, plate, strict=False)
            if total is not None and value is not None
        ]
    return [abs(value) * 1e-3 for value in found]


def nucleation(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the begin of the first plating against its charge, with tip and plateau.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "First plating"
    if one.cell is not None and one.cell.full_cell:
        return tell_missing(axes, title, "opposite the metal stands a cathode: no tip is known")
    first = next((half for half in one.first_plating if half.role == PLATE), None)
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
    _zoom(axes, potential_mv, 1e3 * one.metal_v)
    _tip(axes, one, total)
    return None


def _zoom(axes: "Axes", potential_mv: Floats, zero_mv: float) -> None:
    below = potential_mv[potential_mv < zero_mv]
    if len(below):
        floor, level = float(below.min()), float(np.median(below))
        span = max(level - floor, 0.04 * (zero_mv - floor))
        axes.set_ylim(floor - 0.35 * span, level + 1.6 * span)


def _tip(axes: "Axes", one: EvaluatedRun, total_mah_cm2: float) -> None:
    """Mark tip and plateau and what lies between them; or say why there is no tip."""
    tip = nucleation_of(one.first_plating)
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
