"""Groups of cells side by side: radar map, lives, efficiency by cycle, every cell as a point."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from operando.comparison import LIVES, RADAR, ComparedRun, Comparison, Quantity, Summary
from operando.plots._style import (
    DOUBLE_MM,
    FAINT,
    GROUPS,
    MARKERS,
    SINGLE_MM,
    dress,
    marker_size,
    size,
    tell_missing,
    whole_numbers,
)
from operando.plots.evaluated import plain
from operando.plots.sheets import DrawnSheet, Sheet, draw
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN = 6  # quantities whose cells are shown as points


def _coloured(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    """Yield each group's name, colour and marker."""
    for number, group in enumerate(comparison.groups):
        yield group.name, GROUPS[number % len(GROUPS)], MARKERS[number % len(MARKERS)]


def radar(axes: Any, comparison: Comparison) -> str | None:
    """Draw the radar map of the groups: less is better on every axis.

    Polarisation, tip, plateau and nucleation overpotential, initial loss (after Chem. Sci. 2024,
    15, 4833, Fig. 3g); each axis ends at the largest mean, which is written there. An axis that a
    group has no value for is left out.

    Args:
        axes: With an angle for an axis (polar).
        comparison: The groups.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Radar map"
    names = [name for name, _, _ in _coloured(comparison)]
    shown: list[tuple[str, Quantity, list[float]]] = []
    missing = []
    by_name = {quantity.name: quantity for quantity in comparison.quantities}
    for label, name in RADAR:
        of_groups = comparison.summaries.get(name, {})
        means = [of_groups[group].mean for group in names if group in of_groups]
        known = [mean for mean in means if mean is not None]
        if len(known) == len(names) and max(known) > 0:
            shown.append((label, by_name[name], known))
        else:
            missing.append(label)
    told = ", ".join(label.replace("$_", "").replace("$", "") for label in missing)
    if len(shown) < 3:
        return tell_missing(
            axes, title, f"needs three axes that every group has a value for; without: {told}"
        )
    angles = np.linspace(0, 2 * np.pi, len(shown), endpoint=False)
    closed = np.append(angles, angles[0])
    for number, (name, colour, marker) in enumerate(_coloured(comparison)):
        shares = [means[number] / max(means) for _, _, means in shown]
        shares.append(shares[0])
        axes.plot(closed, shares, marker=marker, color=colour, label=plain(name))
        axes.fill(closed, shares, color=colour, alpha=0.12, lw=0)
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_xticks(angles)
    axes.set_xticklabels(
        [
            "\n".join((label, f"{max(means):.3g}", _unit(quantity.unit)))
            if "/" in quantity.unit
            else f"{label}\n{max(means):.3g} {_unit(quantity.unit)}"
            for label, quantity, means in shown
        ]
    )
    for text, angle in zip(axes.get_xticklabels(), angles, strict=True):
        # A label on a side begins, or ends, where its axis does.
        side = np.sin(angle)
        text.set_horizontalalignment(
            "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        )
    axes.set_ylim(0, 1.05)
    axes.set_yticks([0.25, 0.5, 0.75, 1.0])
    axes.set_yticklabels([])
    axes.grid(color=FAINT, lw=size("axes.linewidth"))
    axes.spines["polar"].set_visible(False)
    axes.tick_params(labelsize=size("xtick.labelsize"), pad=size("font.size", 0.3))
    axes.set_title(title, loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4)
    if told:
        axes.text(
            0.0, 0.0, f"without {told}:\nnot every group has a value", fontsize="small",
            transform=axes.transAxes, ha="left", va="top", color="#666666",
        )  # fmt: skip
    return None


def _unit(unit: str) -> str:
    return {"1": "", "ohm": r"$\Omega$", "um": "µm", "umol": "µmol"}.get(
        unit, unit.replace("/cm2", " cm$^{-2}$").replace("/mol", " mol$^{-1}$")
    )


def lives(axes: "Axes", comparison: Comparison, kind: str) -> str | None:
    """Draw the share of cells that have not failed against time (Kaplan and Meier).

    Ticks: cells that were stopped before they failed. ``kind`` is one of `LIVES`.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = f"Until {LIVES[kind]}"
    of_groups = comparison.lives[kind]
    known = {name: told.survival for name, told in of_groups.items() if told.survival is not None}
    if not known:
        return tell_missing(axes, title, next(iter(of_groups.values())).reason)
    for name, colour, _ in _coloured(comparison):
        estimate = known.get(name)
        if estimate is None:
            continue
        longest = max((*estimate.times_h, *estimate.censored_h))
        times = np.array([0.0, *estimate.times_h, longest])
        shares = np.array([1.0, *estimate.surviving])
        shares = np.append(shares, shares[-1])
        out = len(of_groups[name].left_out)
        label = f"{plain(name)} ({sum(estimate.failed)} of {estimate.cells} failed"
        label += f", {out} left out)" if out else ")"
        axes.step(times, 100 * shares, where="post", color=colour, label=label)
        low = [100.0, *(np.nan if one is None else 100 * one for one in estimate.low)]
        high = [100.0, *(np.nan if one is None else 100 * one for one in estimate.high)]
        axes.fill_between(
            times, [*low, low[-1]], [*high, high[-1]], step="post", color=colour, alpha=0.12, lw=0
        )
        stopped = np.array(estimate.censored_h)
        if len(stopped):
            at = [100 * estimate.share_at(time) for time in stopped]
            axes.plot(
                stopped, at, "|", color=colour, ms=size("lines.markersize", 2.0),
                mew=size("lines.linewidth"),
            )  # fmt: skip
    dress(axes, title, "Time (h)", "Cells that have not failed (%)")
    axes.set_ylim(0, 108)
    axes.set_xlim(left=0)
    unknown = [plain(name) for name, _, _ in _coloured(comparison) if name not in known]
    axes.legend(
        loc="lower left", title=f"not known: {', '.join(unknown)}" if unknown else None,
        alignment="left",
    )  # fmt: skip
    return None


def by_cycle(axes: "Axes", comparison: Comparison, name: str, title: str, label: str) -> str | None:
    """Draw a metric by cycle: the mean over the cells of each group, its standard deviation shaded.

    A cell counts until it ends or is shorted. Where not all cells of a group count the line is
    dashed: the mean of those that are left is no mean of the group.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    drawn = 0
    reasons: dict[str, None] = {}
    for group, (_, colour, marker) in zip(comparison.groups, _coloured(comparison), strict=True):
        rows = [
            np.array([np.nan if one is None else one for one in values], dtype=np.float64)
            for values in (_until_shorted(runs, name) for runs in group.cells.values())
            if values
        ]
        if not rows:
            told = group.runs[0].numbers[name].reason
            reasons[told or "nothing was measured"] = None
            continue
        mean, sd, count = _over_cells(rows)
        cycle = np.arange(1.0, len(mean) + 1)
        drawn = max(drawn, len(mean))
        many = count >= 2
        axes.fill_between(
            cycle, np.where(many, mean - sd, np.nan), np.where(many, mean + sd, np.nan),
            color=colour, alpha=0.15, lw=0,
        )  # fmt: skip
        whole, fewer = count == len(rows), (count > 0) & (count < len(rows))
        line: dict[str, Any] = {"color": colour, "lw": size("lines.linewidth", 0.6)}
        note = ", dashed: fewer" if fewer.any() else ""
        axes.plot(
            cycle, np.where(whole, mean, np.nan), marker=marker,
            ms=size("lines.markersize", marker_size(len(mean))),
            label=f"{plain(group.name)} (n = {len(rows)}{note})", **line,
        )  # fmt: skip
        if fewer.any():
            axes.plot(cycle, np.where(_beside(fewer), mean, np.nan), ls="--", **line)
    if not drawn:
        return tell_missing(axes, title, "; ".join(reasons))
    dress(axes, title, "Cycle", label)
    whole_numbers(axes)
    axes.set_xlim(0.5, drawn + 0.5)
    _keep_free(axes, 0.09 * (1 + len(comparison.groups)), below=name.startswith("ce_"))
    return None


def _keep_free(axes: "Axes", share: float, *, below: bool) -> None:
    """Put the legend at the right, below or above the lines, and keep it free of them.

    Below efficiencies, since above them is nothing that could be one. ``share`` is that of the
    panel's height which the legend takes.
    """
    low, high = axes.get_ylim()
    half = 0.5 * sum(axes.get_xlim())
    points = np.vstack([np.asarray(line.get_xydata(), dtype=np.float64) for line in axes.lines])
    right = points[(points[:, 0] > half) & np.isfinite(points[:, 1]), 1]
    if below:
        nearest = min(right, default=low)
        low = min(low, (nearest - share * high) / (1 - share))
    else:
        nearest = max(right, default=high)
        high = max(high, (nearest - share * low) / (1 - share))
    axes.set_ylim(low, high)
    axes.legend(loc="lower right" if below else "upper right")


def _until_shorted(runs: Sequence[ComparedRun], name: str) -> list[float | None] | None:
    """Return a metric by cycle, of the first of a cell's runs that has it, until a hard short."""
    for run in runs:
        values = run.numbers[name].value
        if isinstance(values, list):
            shorted = run.hard_short_cycle
            return values if shorted is None else values[: shorted - 1]
    return None


def _beside(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return them with their neighbours, to which a line is drawn."""
    found = chosen.copy()
    found[:-1] |= chosen[1:]
    found[1:] |= chosen[:-1]
    return found


def _over_cells(rows: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """Return mean, standard deviation and number of cells by cycle; NaN where there is none."""
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    count = np.isfinite(table).sum(axis=0).astype(np.float64)
    total = np.nansum(table, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / np.where(count > 0, count, np.nan)
        spread = np.nansum((table - mean) ** 2, axis=0)
        sd = np.sqrt(spread / np.where(count > 1, count - 1, np.nan))
    return mean, np.where(np.isfinite(sd), sd, 0.0), count


def cells(axes: "Axes", comparison: Comparison, quantity: Quantity) -> str | None:
    """Draw every cell of each group as a point, beside the mean and the standard deviation.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    summaries: Mapping[str, Summary] = comparison.summaries[quantity.name]
    ticks = []
    for number, (name, colour, marker) in enumerate(_coloured(comparison)):
        summary = summaries[name]
        values = [one.value for one in summary.cells if one.value is not None]
        ticks.append(f"{plain(name)}\nn = {len(values)}")
        if summary.mean is None:
            continue
        beside = np.linspace(-0.2, 0.04, len(values)) if len(values) > 1 else [-0.08]
        axes.plot(
            number + np.asarray(beside), values, marker, color=colour, alpha=0.75,
            ms=size("lines.markersize", 1.2),
        )  # fmt: skip
        axes.errorbar(
            number + 0.3, summary.mean, summary.sd, fmt="_", color=colour,
            ms=size("lines.markersize", 3.0), mew=size("lines.linewidth", 1.4),
        )  # fmt: skip
    unit = _unit(quantity.unit)
    label = "\n".join(textwrap.wrap(f"{quantity.label} ({unit})" if unit else quantity.label, 30))
    dress(axes, quantity.label, "", label)
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlim(-0.5, len(ticks) - 0.3)
    axes.margins(y=0.18)
    return None


def compared_sheets(comparison: Comparison) -> Iterator[DrawnSheet]:
    """Yield the figures of a comparison, in the order of a page."""
    yield draw(
        Sheet(
            "radar",
            "Overpotentials and initial loss of the groups: means over cells",
            SINGLE_MM,
            72.0,
            ["a"],
            _panels(a=radar),
            "Less is better; each axis ends at the largest mean, which stands there.",
            polar="a",
        ),
        comparison,
    )
    yield draw(
        Sheet(
            "cycles",
            "By cycle: mean over the cells of a group",
            DOUBLE_MM,
            62.0,
            ["ab"],
            _panels(
                a=lambda axes, one: by_cycle(axes, one, "ce_pct", "Coulombic efficiency", "CE (%)"),
                b=lambda axes, one: by_cycle(
                    axes, one, "polarisation_mv", "Polarisation", "Hysteresis (mV)"
                ),
            ),
            "Shaded: standard deviation over cells. Dashed: not all cells of the group; a cell "
            "counts until it ends or is shorted.",
        ),
        comparison,
    )
    yield draw(
        Sheet(
            "lives",
            "Lives of the cells",
            DOUBLE_MM,
            60.0,
            ["abc"],
            _panels(
                **{
                    letter: (lambda axes, one, kind=kind: lives(axes, one, kind))
                    for letter, kind in zip("abc", LIVES, strict=True)
                }
            ),
            "Product-limit estimate (Kaplan and Meier) with the pointwise interval of 95 %; "
            "ticks: cells that were stopped before they failed. Left out: cells of which nobody "
            "knows whether they failed.",
        ),
        comparison,
    )
    shown = _worth_showing(comparison)
    if shown:
        rows = [shown[:3], shown[3:]] if len(shown) > 3 else [shown]
        letters = "abcdef"[: len(shown)]
        mosaic = [letters[:3], letters[3:].ljust(3, ".")] if len(rows) > 1 else [letters]
        yield draw(
            Sheet(
                "cells",
                "Every cell",
                DOUBLE_MM,
                52.0 * len(rows),
                mosaic,
                _panels(
                    **{
                        letter: (lambda axes, one, quantity=quantity: cells(axes, one, quantity))
                        for letter, quantity in zip(letters, shown, strict=True)
                    }
                ),
                "Points: cells; bar: mean and standard deviation over cells, where there are two "
                "or more.",
            ),
            comparison,
        )


def _worth_showing(comparison: Comparison) -> list[Quantity]:
    """Return the quantities to show cell by cell: the first that every group has."""
    whole = [
        quantity
        for quantity in comparison.quantities
        if all(summary.count for summary in comparison.summaries[quantity.name].values())
    ]
    wanted = [quantity for quantity in whole if quantity.name in _FIRST]
    rest = [quantity for quantity in whole if quantity not in wanted]
    return (wanted + rest)[:_SHOWN]


_FIRST = (
    "initial_ce_pct", "ce_mean_without_first_pct", "reservoir_ce_pct", "cell_eta_n_mv",
    "polarisation_mv.mean", "interfacial_resistance_ohm.last", "capacity_retention_pct",
    "hydrogen_faradaic_efficiency_pct",
)  # fmt: skip


def _panels(**panels: Callable[[Any, Comparison], str | None]) -> Any:
    def drawn(axes: Mapping[str, Any], one: Comparison) -> Mapping[str, str | None]:
        return {key: panel(axes[key], one) for key, panel in panels.items()}

    return drawn
