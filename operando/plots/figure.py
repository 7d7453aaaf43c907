"""One figure of one run, fit for a slide: what was measured, by whom, in publication units."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from operando.analysis import Metric, metrics
from operando.analysis.images import Front, NoFrontError, front
from operando.analysis.impedance import ArcFit
from operando.analysis.metrics import half_cycles_of, impedance_fits, place, region_of
from operando.analysis.overpotential import PLATEAU, nucleation, plateau_v
from operando.analysis.raman import BANDS, FEWEST_BLANKS, decision_factor
from operando.analysis.segments import PLATE, HalfCycle
from operando.report import number_text
from operando.runs import Floats, Run, Stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLATING, STRIPPING, REST, INK = "#2166ac", "#c8502d", "#9a9a9a", "#222222"
BAND_COLOURS = {"band_3633": "#7b3294", "band_980": "#008060", "band_465": "#c07000"}
BAND_LABELS = {
    "band_3633": "3633 (O-H of film)",
    "band_980": "980 (sulfate)",
    "band_465": "465",
}
SIZE_INCH = (13.33, 7.5)
TITLE, LABEL, TICK, NOTE = 13.0, 11.5, 10.0, 9.5

Draw = Callable[["Axes"], None]


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

    numbers = metrics(run) if numbers is None else numbers
    halves = half_cycles_of(run)
    figure = Figure(figsize=SIZE_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.04)
    heading = figure.suptitle(_title(run), fontsize=TITLE + 2, x=0.012, ha="left", color=INK)
    heading.set_fontweight("bold")
    upper, lower = _panels(run, numbers, halves)
    if not upper and not lower:
        figure.text(0.5, 0.5, "nothing has been measured yet", ha="center", fontsize=TITLE)
        return figure
    bands = [band for band in (upper, lower) if band]
    outer = figure.add_gridspec(len(bands), 1, height_ratios=[1.0, 0.95][: len(bands)])
    for row, band in enumerate(bands):
        inner = outer[row].subgridspec(1, len(band), width_ratios=[width for width, _ in band])
        for column, (_, draw) in enumerate(band):
            if isinstance(draw, list):
                stack = inner[column].subgridspec(len(draw), 1, hspace=0.02)
                for position, one in enumerate(draw):
                    one(figure.add_subplot(stack[position]))
            else:
                draw(figure.add_subplot(inner[column]))
    return figure


_Band = list[tuple[float, Draw | list[Draw]]]


def _panels(
    run: Run, numbers: Mapping[str, Metric], halves: tuple[HalfCycle, ...]
) -> tuple[_Band, _Band]:
    """Return the panels of the upper and the lower band with their relative widths."""
    upper: _Band = []
    lower: _Band = []
    impedance: int | None = None
    leader = run.streams.get("potentiostat")
    if leader is not None and len(leader):
        upper.append((2.2, lambda axes: _potential(axes, run, leader, halves)))
    if any(half.role == PLATE for half in halves):
        upper.append((1.1, lambda axes: _nucleation(axes, run, halves, numbers)))
    thumbnails = _thumbnails(run, halves)
    if thumbnails:
        upper.append((1.25, thumbnails))
    for name, draw in (("ce_pct", _efficiency), ("polarisation_mv", _polarisation)):
        if isinstance(numbers[name].value, list):
            lower.append((1.0, _bound(draw, numbers)))
            break
    if impedance_fits(run):
        impedance = len(lower)
        lower.append((1.0, lambda axes: _nyquist(axes, run, numbers)))
    if any(isinstance(numbers[f"{name}_area"].value, list) for name in BANDS):
        lower.append((1.15, lambda axes: _bands(axes, run, numbers, halves)))
    if isinstance(numbers["hydrogen_cumulative_umol"].value, list):
        lower.append((1.0, lambda axes: _hydrogen(axes, run, numbers)))
    if len(lower) > 1 and impedance is not None:
        # Equal axes want a square; what is left over goes to the others.
        others = sum(width for k, (width, _) in enumerate(lower) if k != impedance)
        lower[impedance] = (0.34 * others, lower[impedance][1])
    return upper, lower


def _bound(
    draw: Callable[["Axes", Mapping[str, Metric]], None], numbers: Mapping[str, Metric]
) -> Draw:
    return lambda axes: draw(axes, numbers)


def _title(run: Run) -> str:
    sample = run.start.get("sample")
    parts = []
    if isinstance(sample, Mapping):
        working = (sample.get("working_electrode") or {}).get("material", "?")
        counter = (sample.get("counter_electrode") or {}).get("material", "?")
        parts.append(f"{sample.get('cell_id')}   {working} || {counter}")
        electrolyte = (sample.get("electrolyte") or {}).get("composition")
        if electrolyte:
            parts.append(str(electrolyte))
    told = run.start.get("protocol")
    if isinstance(told, str):
        parts.append(told)
    status = "" if run.complete else ", running"
    parts.append(f"run {run.uid[:8]}{status}")
    return "   ·   ".join(parts)


def _potential_label(run: Run, unit: str) -> str:
    sample = run.start.get("sample")
    reference = sample.get("reference_electrode") if isinstance(sample, Mapping) else None
    return f"E ({unit} vs {reference})" if reference else f"Cell potential E ({unit})"


def _dress(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=TITLE, loc="left", color=INK, pad=7)
    axes.set_xlabel(x, fontsize=LABEL, color=INK)
    axes.set_ylabel(y, fontsize=LABEL, color=INK)
    axes.tick_params(labelsize=TICK, colors=INK, direction="out", length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#666666")


def _time_unit(longest_s: float) -> tuple[float, str]:
    if longest_s > 3 * 86400:
        return 86400.0, "d"
    return (3600.0, "h") if longest_s > 2 * 3600 else (60.0, "min")


def _leader_time_unit(run: Run) -> tuple[float, str]:
    leader = run.streams.get("potentiostat")
    if leader is None or not len(leader):
        return _time_unit(0.0)
    return _time_unit(float(np.nanmax(leader.columns["potentiostat_t"])))


def _potential(axes: "Axes", run: Run, leader: Stream, halves: tuple[HalfCycle, ...]) -> None:
    scale, unit = _leader_time_unit(run)
    t = leader.columns["potentiostat_t"] / scale
    sample = run.start.get("sample")
    mirrored = isinstance(sample, Mapping) and sample.get("metal_electrode") == "CE"
    potential = leader.columns["potentiostat_potential"] * (-1.0 if mirrored else 1.0)
    low, high, cut = _potential_window(potential, halves)
    factor, volt = (1e3, "mV") if max(-low, high) < 0.2 else (1.0, "V")
    axes.axhline(0, color="#d8d8d8", lw=0.8, zorder=0)
    # Rests only, each by itself: a line across a spectrum would show what nobody measured.
    resting = np.where(leader.columns["potentiostat_role"] == 0, factor * potential, np.nan)
    breaks = np.flatnonzero(np.diff(leader.columns["potentiostat_step"])) + 1
    axes.plot(
        np.insert(t, breaks, np.nan), np.insert(resting, breaks, np.nan),
        color=REST, lw=0.8, zorder=1, label="rest",
    )  # fmt: skip
    for role, colour, label in ((PLATE, PLATING, "plating"), (-PLATE, STRIPPING, "stripping")):
        x, y = [np.empty(0)], [np.empty(0)]
        for half in halves:
            if half.role == role:
                x += [half.t_s / scale, np.array([np.nan])]
                y += [factor * half.potential_v, np.array([np.nan])]
        axes.plot(np.concatenate(x), np.concatenate(y), color=colour, lw=1.5, label=label)
    title = "Potential of the metal electrode" + (" (strip ends off scale)" if cut else "")
    _dress(axes, title, f"Time ({unit})", _potential_label(run, volt))
    axes.margins(x=0.01)
    axes.set_ylim(
        factor * (low - 0.08 * (high - low)),
        factor * (high + (0.24 if cut else 0.22) * (high - low)),
    )
    axes.legend(
        fontsize=NOTE, frameon=True, framealpha=1.0, edgecolor="white", ncols=3,
        loc="upper left", handlelength=1.4, borderaxespad=0.1,
    )  # fmt: skip


def _potential_window(
    potential: Floats, halves: tuple[HalfCycle, ...]
) -> tuple[float, float, bool]:
    """Return the lowest and highest potential to show, V, and whether strip ends leave it.

    The last row of a strip can lie volts above its plateau, which would flatten all the rest.
    """
    told = [plateau_v(half) for half in halves if half.capacity_mah_cm2 > 0]
    plateaus = [value for value in told if np.isfinite(value)]
    known = potential[np.isfinite(potential)]
    if not plateaus or not len(known):
        return (float(known.min()), float(known.max()), False) if len(known) else (-1.0, 1.0, False)
    low = min(float(half.potential_v.min()) for half in halves)
    high = max(float(half.potential_v.max()) for half in halves)
    widest = 4.0 * max(*plateaus, 1e-4)
    return max(low, -widest), min(high, widest), high > widest


def _nucleation(
    axes: "Axes", run: Run, halves: tuple[HalfCycle, ...], numbers: Mapping[str, Metric]
) -> None:
    first = next(half for half in halves if half.role == PLATE)
    total = first.capacity_mah_cm2
    tip = nucleation(halves)
    shown = first.charge_mah_cm2 <= 0.35 * total if total > 0 else np.ones(len(first.t_s), bool)
    negative = first.potential_v[shown] * 1e3
    axes.plot(first.charge_mah_cm2[shown], negative, "-o", color=PLATING, lw=1.3, ms=2.6, mew=0)
    axes.locator_params(axis="x", nbins=5)
    _dress(axes, "First plating", "Areal capacity (mAh cm$^{-2}$)", _potential_label(run, "mV"))
    metric = numbers["cell_eta_n_mv"]
    label = "cell $\\eta_n$"
    if metric.value is None and numbers["eta_n_mv"].value is not None:
        metric, label = numbers["eta_n_mv"], "$\\eta_n$"
    below = negative[negative < 0]
    if len(below):
        floor, level = float(below.min()), float(np.median(below))
        span = max(level - floor, 0.04 * -floor)
        axes.set_ylim(floor - 0.35 * span, level + 1.6 * span)
    if metric.value is None or tip.tip_v is None or tip.plateau_v is None:
        axes.text(
            0.97, 0.95, "no tip resolved", transform=axes.transAxes, ha="right", va="top",
            fontsize=NOTE, color="#666666",
        )  # fmt: skip
        return
    for level in (tip.tip_v, tip.plateau_v):
        axes.axhline(level * 1e3, color="#888888", lw=0.8, ls=(0, (4, 3)), zorder=0)
    at = 0.13 * total
    axes.annotate(
        "", (at, tip.tip_v * 1e3), (at, tip.plateau_v * 1e3),
        arrowprops={"arrowstyle": "<->", "color": INK, "lw": 1.0, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    uncertainty = metric.uncertainty if isinstance(metric.uncertainty, float) else None
    value = metric.value if isinstance(metric.value, float) else None
    axes.text(
        at + 0.012 * total, 0.5e3 * (tip.tip_v + tip.plateau_v),
        f"{label}\n{number_text(value, uncertainty)} mV",
        fontsize=NOTE + 0.5, va="center", color=INK,
    )  # fmt: skip
    axes.text(
        0.98, tip.plateau_v * 1e3,
        f"plateau ({PLATEAU[0] * 100:.0f} to {PLATEAU[1] * 100:.0f} %)",
        transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=NOTE - 1,
        color="#666666",
    )  # fmt: skip


def _numbered(values: Any) -> tuple[Floats, Floats]:
    """Return positions from 1 and values of a metric's list, without the undefined ones."""
    pairs = [(k, value) for k, value in enumerate(values, start=1) if value is not None]
    return np.array([k for k, _ in pairs], float), np.array([v for _, v in pairs], float)


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))


def _efficiency(axes: "Axes", numbers: Mapping[str, Metric]) -> None:
    metric = numbers["ce_pct"]
    cycle, value = _numbered(metric.value)
    _, error = _numbered(metric.uncertainty)
    axes.axhline(100, color="#d8d8d8", lw=0.8, zorder=0)
    few = len(cycle) < 40
    if few:
        axes.errorbar(cycle, value, error, fmt="none", capsize=2.5, lw=1.0, ecolor="#88aacc")
    else:
        axes.fill_between(cycle, value - error, value + error, color=PLATING, alpha=0.15, lw=0)
    axes.plot(cycle, value, "o", color=PLATING, ms=6 if few else 3, mew=0)
    _dress(axes, "Coulombic efficiency", "Cycle", "CE (%)")
    _whole_numbers(axes)
    low, high = float((value - error).min()), float((value + error).max())
    room = 0.12 * max(high - low, 0.5)
    axes.set_ylim(low - room, max(high, 100.0) + 3.2 * room)
    axes.set_xlim(0.5, cycle[-1] + 0.5)
    mean = numbers["ce_mean_pct"]
    if isinstance(mean.value, float) and isinstance(mean.uncertainty, float):
        axes.text(
            0.97, 0.96, f"mean {number_text(mean.value, mean.uncertainty)} %",
            transform=axes.transAxes, ha="right", va="top", fontsize=NOTE + 0.5, color=INK,
        )  # fmt: skip


def _polarisation(axes: "Axes", numbers: Mapping[str, Metric]) -> None:
    cycle, value = _numbered(numbers["polarisation_mv"].value)
    axes.plot(cycle, value, "o-", color=PLATING, ms=5 if len(cycle) < 40 else 3, mew=0, lw=0.8)
    _dress(axes, "Polarisation", "Cycle", "|E$_{plate}$| + |E$_{strip}$| (mV)")
    _whole_numbers(axes)
    axes.set_xlim(0.5, cycle[-1] + 0.5)
    low, high = float(value.min()), float(value.max())
    room = max(0.25 * (high - low), 0.05 * high)
    axes.set_ylim(low - room, high + room)


def _nyquist(axes: "Axes", run: Run, numbers: Mapping[str, Metric]) -> None:
    from matplotlib import colormaps

    stream = run.streams["impedance"]
    number = stream.columns["potentiostat_impedance_spectrum"]
    fits = impedance_fits(run)
    shown = _spread(len(fits), 4)
    colours = colormaps["viridis"](np.linspace(0.05, 0.8, len(shown)))
    peak = right = 0.0
    left = np.inf
    for colour, position in zip(colours, shown, strict=True):
        rows = number == position + 1
        if not rows.any():
            continue
        real = stream.columns["potentiostat_impedance_z_real"][rows]
        imaginary = -stream.columns["potentiostat_impedance_z_imag"][rows]
        cycle = int(stream.columns["potentiostat_impedance_cycle"][rows][0])
        fit = fits[position]
        label = f"cycle {cycle}"
        axes.plot(real, imaginary, "o", color=colour, ms=3.6, mew=0, label=label)
        peak, right = max(peak, float(imaginary.max())), max(right, float(real.max()))
        left = min(left, float(real.min()))
        if isinstance(fit, ArcFit):
            frequency = stream.columns["potentiostat_impedance_frequency"][rows]
            fine = np.geomspace(frequency.min(), frequency.max(), 200)
            curve = fit.impedance_ohm(fine)
            axes.plot(curve.real, -curve.imag, "-", color=colour, lw=1.1, alpha=0.8)
    axes.set_aspect("equal", adjustable="box")
    axes.set_anchor("SW")
    _dress(axes, "Impedance", "Re Z ($\\Omega$)", "$-$Im Z ($\\Omega$)")
    axes.axhline(0, color="#d8d8d8", lw=0.8, zorder=0)
    if left < 0.4 * right:
        left = 0.0  # the series resistance is seen against the origin
    span = max(right - left, 1.5 * peak)
    axes.set_xlim(left - 0.05 * span, left + 1.06 * span)
    axes.set_ylim(-0.06 * span, 1.12 * span)
    told = numbers["interfacial_resistance_ohm"].value
    text = ""
    if isinstance(told, list):
        ends = [told[position] for position in (shown[0], shown[-1])]
        text = " → ".join(number_text(value) for value in dict.fromkeys(ends)) + " $\\Omega$"
    legend = axes.legend(
        fontsize=NOTE, frameon=False, loc="upper left", handletextpad=0.1, borderaxespad=0.1,
        title="R$_{int}$ " + text if text else None, title_fontsize=NOTE + 0.5,
        alignment="left",
    )  # fmt: skip
    legend.get_title().set_color(INK)


def _spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` positions out of ``count``, the first and the last included."""
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


def _bands(
    axes: "Axes", run: Run, numbers: Mapping[str, Metric], halves: tuple[HalfCycle, ...]
) -> None:
    stream = run.streams["raman"]
    placed = place(stream.columns["raman_t_before"], stream.columns["raman_t_after"])
    begin = float(halves[0].t_s[0]) if halves else np.inf
    scale, unit = _leader_time_unit(run)
    highest, lowest = 1.3, -1.3
    decided = int((placed.after_s <= begin).sum()) >= FEWEST_BLANKS
    for name in BANDS:
        value = numbers[f"{name}_area"].value
        if not isinstance(value, list):
            continue
        area = np.array([np.nan if one is None else one for one in value])
        blank = placed.after_s[: len(area)] <= begin
        known = np.isfinite(area)
        blanks = area[blank & known]
        zero = float(blanks.mean()) if len(blanks) else float(area[known][0])
        at = placed.middle_s[: len(area)]
        at = np.where(np.isfinite(at), at, 0.0) / scale
        limit = _decision_limit(blanks) if decided else 1e-3
        change = (area - zero) / limit
        highest = max(highest, float(np.nanmax(change)))
        lowest = min(lowest, float(np.nanmin(change)))
        colour = BAND_COLOURS[name]
        axes.plot(at[~blank], change[~blank], "o-", color=colour, ms=4, mew=0, lw=0.9, alpha=0.9)
        axes.plot(at[blank], change[blank], "o", ms=4, mfc="white", mec=colour, mew=0.8)
    axes.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
    scaled = "Change (decision limits)" if decided else "Change (10$^{-3}$ of water)"
    if decided:
        axes.axhspan(-1, 1, color="#eeeeee", lw=0, zorder=-1)
    _dress(axes, "Raman bands against blanks", f"Time ({unit})", scaled)
    axes.set_ylim(1.15 * lowest, highest + 0.75 * (highest - lowest))
    handles = [
        axes.plot([], [], "o-", color=BAND_COLOURS[name], ms=4, mew=0, lw=0.9)[0] for name in BANDS
    ]
    axes.legend(
        handles, [f"{BAND_LABELS[name]}" for name in BANDS], fontsize=NOTE, frameon=False,
        loc="upper left", handlelength=1.3, borderaxespad=0.1, labelspacing=0.25,
        title="cm$^{-1}$; within grey: undecided" if decided else "cm$^{-1}$",
        title_fontsize=NOTE, alignment="left",
    )  # fmt: skip


def _decision_limit(blanks: Floats) -> float:
    if len(blanks) < 2 or not blanks.std() > 0:
        return 1e-3
    return decision_factor(len(blanks)) * float(blanks.std(ddof=1))


def _hydrogen(axes: "Axes", run: Run, numbers: Mapping[str, Metric]) -> None:
    stream = run.streams["gas_chromatograph"]
    placed = place(
        stream.columns["gas_chromatograph_t_before"], stream.columns["gas_chromatograph_t_after"]
    )
    scale, unit = _leader_time_unit(run)
    total = numbers["hydrogen_cumulative_umol"]
    number, value = _numbered(total.value)
    _, error = _numbered(total.uncertainty)
    asked = stream.columns["gas_chromatograph_injection"]
    when = {int(n): t / scale for n, t in zip(asked, placed.middle_s, strict=True)}
    at = np.array([when[int(n)] for n in number])
    shown = np.isfinite(at)
    at, value, error = at[shown], value[shown], error[shown]
    if len(at):
        # Each bar spans the time in which its hydrogen was formed.
        since = np.concatenate(([min(0.0, float(at[0]))], at[:-1]))
        axes.bar(
            since, np.diff(value, prepend=0.0), width=at - since, align="edge", color="#c9d7e8",
            edgecolor="white", lw=0.8, label="since the last",
        )  # fmt: skip
    axes.errorbar(
        at, value, error, fmt="o-", color=INK, ms=4.5, mew=0, lw=1.0, capsize=2.5, label="in all"
    )
    _dress(axes, "Hydrogen by injection", f"Time ({unit})", "H$_2$ (µmol)")
    axes.set_ylim(0, 1.45 * float((value + error).max(initial=1e-6)))
    efficiency = numbers["hydrogen_faradaic_efficiency_pct"]
    title = None
    if isinstance(efficiency.value, float) and isinstance(efficiency.uncertainty, float):
        share = number_text(efficiency.value, efficiency.uncertainty)
        title = f"faradaic efficiency {share} %"
    axes.legend(
        fontsize=NOTE, frameon=False, loc="upper left", title=title, title_fontsize=NOTE + 0.5,
        alignment="left", borderaxespad=0.1,
    )  # fmt: skip


def _thumbnails(run: Run, halves: tuple[HalfCycle, ...]) -> list[Draw]:
    """Return panels of the first frame and of the one at the end of the last plating."""
    stream = run.streams.get("camera")
    told = (run.start.get("calibration") or {}).get("camera") or {}
    scale = told.get("micrometre_per_pixel")
    if stream is None or "camera_image" not in stream.assets or not scale:
        return []
    asset = stream.asset("camera_image")
    count = min(len(asset), len(stream))
    if not count:
        return []
    placed = place(stream.columns["camera_t_before"], stream.columns["camera_t_after"])
    usable = (stream.columns["camera_lamp"][:count] != 0) & (
        stream.columns["camera_laser"][:count] != 1
    )
    rows = np.flatnonzero(usable)
    if not len(rows):
        return []
    first = last = int(rows[0])
    platings = [half for half in halves if half.role == PLATE]
    if platings:
        distance = np.abs(placed.middle_s[rows] - platings[-1].t_s[-1])
        last = int(rows[int(np.argmin(distance))])
    chosen = [first] if last == first else [first, last]
    frames = [np.asarray(asset[row]) for row in chosen]
    fronts: list[Front | None] = []
    for frame in frames:
        try:
            fronts.append(front(frame, float(scale), region_of(told)))
        except NoFrontError:
            fronts.append(None)
    return [
        _thumbnail(frame, seen, fronts[-1], float(scale), _moment(run, placed.middle_s[row], name))
        for frame, seen, row, name in zip(
            frames, fronts, chosen, ("Start", "End of plating"), strict=False
        )
    ]


def _moment(run: Run, at_s: float, name: str) -> str:
    scale, unit = _leader_time_unit(run)
    return f"{name}, {at_s / scale:.1f} {unit}" if np.isfinite(at_s) else f"{name}"


def _thumbnail(
    frame: Any, seen: Front | None, last: Front | None, scale: float, title: str
) -> Draw:
    """Draw one frame cut to the neighbourhood of the highest point of the last one."""

    def draw(axes: "Axes") -> None:
        rows, columns = frame.shape
        high_um = 0.0 if last is None else last.thickness_um + last.tip_um
        height = min(rows, round(max(80.0, 1.9 * high_um) / scale))
        width = min(columns, round(2.4 * height))
        centre = columns // 2 if last is None else last.tip_column
        left = min(max(0, centre - width // 2), columns - width)
        base = rows if seen is None else round(seen.reference_row + 0.22 * height)
        bottom = min(max(base, height), rows)
        cut = frame[bottom - height : bottom, left : left + width]
        axes.imshow(
            cut, cmap="gray", vmin=0, vmax=float(np.percentile(frame, 99.8)), aspect="equal",
            extent=(0, width * scale, 0, height * scale), interpolation="antialiased",
        )  # fmt: skip
        if seen is not None:
            level = (bottom - seen.reference_row) * scale
            axes.axhline(level, color="#ffd24d", lw=0.9, ls=(0, (4, 3)))
        bar = _round_length(0.25 * width * scale)
        x, y = 0.96 * width * scale - bar, 0.07 * height * scale
        axes.plot([x, x + bar], [y, y], color="white", lw=2.5, solid_capstyle="butt")
        axes.text(
            x + bar / 2, y + 0.03 * height * scale, f"{bar:g} µm", color="white", ha="center",
            va="bottom", fontsize=NOTE - 0.5,
        )  # fmt: skip
        note = ""
        if seen is not None:
            note = f"mean height {round(seen.thickness_um, 1) + 0.0:.1f} µm"
        axes.set_title(title, fontsize=LABEL, loc="left", color=INK, pad=4)
        axes.text(
            0.02, 0.95, note, transform=axes.transAxes, ha="left", va="top", fontsize=NOTE,
            color=INK,
        )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)

    return draw


def _round_length(length_um: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten below a length."""
    power = 10.0 ** np.floor(np.log10(length_um))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step * power <= length_um))
