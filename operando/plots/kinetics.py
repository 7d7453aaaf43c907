"""Relaxation times, Tafel lines, Arrhenius lines, cyclic voltammograms."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from operando.analysis.activation import activation_energy
from operando.analysis.metrics import (
    interface_curve,
    last_relaxation_times,
    last_scans,
    tafel_window_v,
    temperature_points,
)
from operando.analysis.relaxation_times import RelaxationTimes
from operando.analysis.thickness import GAS_CONSTANT_J_MOL_K
from operando.plots._style import (
    FAINT,
    INK,
    PLATING,
    STRIPPING,
    dress,
    shades,
    size,
    tell_missing,
)
from operando.plots.decimation import envelope
from operando.plots.evaluated import EvaluatedRun
from operando.report import number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# By form: its metric, colour and marker.
_FORMS = {
    "ln(T/R)": ("activation_energy_kj_mol", PLATING, "o"),
    "ln(1/R)": ("activation_energy_ln_inverse_r_kj_mol", STRIPPING, "s"),
}
_FLOOR = 1e-4  # of the largest current: below it a logarithmic axis shows the noise


def relaxation(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the distribution of relaxation times of the last valid spectrum, its peaks named.

    The area over ln(tau) is the polarisation resistance; the hints at a peak are hints.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Relaxation times"
    told = last_relaxation_times(one.run)
    if not isinstance(told, RelaxationTimes):
        return tell_missing(axes, title, told)
    axes.semilogx(told.tau_s, told.gamma_ohm, color=PLATING)
    axes.fill_between(told.tau_s, told.gamma_ohm, color=PLATING, alpha=0.12, lw=0)
    top = float(told.gamma_ohm.max(initial=0.0)) or 1.0
    for peak in told.peaks:
        near = np.abs(np.log10(told.tau_s / peak.tau_s)) < 0.3
        height = float(told.gamma_ohm[near].max(initial=0.0))
        hint = "" if peak.inside else "\n(beyond the band)"
        axes.text(
            peak.tau_s, height + 0.04 * top,
            f"{number_text(peak.area_ohm, peak.area_uncertainty_ohm)} $\\Omega${hint}",
            ha="center", va="bottom", fontsize="small",
            bbox={"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 0.5},
        )  # fmt: skip
    dress(axes, title, "$\\tau$ (s)", "$\\gamma$($\\ln\\tau$) ($\\Omega$)")
    axes.set_ylim(0, 1.35 * top)
    axes.margins(x=0.0)
    chosen = "cross-validation" if told.chosen_by == "gcv" else "given"
    digits, power = f"{told.regularisation:.1e}".split("e")
    axes.text(
        0.98, 0.97, f"$\\lambda$ = {digits}$\\times$10$^{{{int(power)}}}$ ({chosen})",
        ha="right", va="top", transform=axes.transAxes, fontsize="small", color="#666666",
    )  # fmt: skip
    return None


def tafel(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw log |j| of the last linear sweep against the overpotential, with the fitted lines.

    The lines are drawn solid in the window in which they were fitted, which is shaded.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Tafel plot"
    if one.cell is None:
        return tell_missing(axes, title, one.why_not("j0_apparent_ma_cm2"))
    told_curve = interface_curve(one.run, one.cell, one.steps)
    if isinstance(told_curve, str):
        return tell_missing(axes, title, told_curve)
    curve, _ = told_curve
    kind = "apparent " if curve.series_ohm_cm2 is None else ""
    order = np.argsort(curve.eta_v, kind="stable")
    eta, density = 1e3 * curve.eta_v[order], np.abs(curve.j_ma_cm2[order])
    highest = float(density.max(initial=0.0))
    if not highest > 0:
        return tell_missing(axes, title, "no current flowed in the linear sweep")
    shown = density > _FLOOR * highest
    axes.semilogy(*envelope(eta[shown], density[shown]), color=INK)
    told = []
    for sign, slope_name, j0_name, colour, branch in (
        (1, "tafel_slope_mv_dec", "j0_apparent_ma_cm2", STRIPPING, "anodic"),
        (-1, "tafel_slope_cathodic_mv_dec", "j0_apparent_cathodic_ma_cm2", PLATING, "cathodic"),
    ):
        slope, j0 = one.numbers[slope_name], one.numbers[j0_name]
        window = sorted(1e3 * sign * limit for limit in tafel_window_v(one.run))
        if not isinstance(slope.value, float) or not isinstance(j0.value, float):
            continue
        axes.axvspan(window[0], window[1], ymax=0.84, color=colour, alpha=0.1, lw=0, zorder=-1)
        for ends, style, width in (
            ([0.0, window[0 if sign < 0 else 1]], "--", 0.7),
            (window, "-", 1.3),
        ):
            x = np.array(sorted(ends))
            axes.semilogy(
                x, j0.value * 10 ** (sign * x / slope.value), style, color=colour,
                lw=size("lines.linewidth", width),
            )  # fmt: skip
        error = j0.uncertainty if isinstance(j0.uncertainty, float) else None
        told.append(
            f"{branch}: $j_0$ {kind}{number_text(j0.value, error)} mA cm$^{{-2}}$, "
            f"{slope.value:.0f} mV/decade"
        )
    dress(axes, title, "Overpotential (mV)", "|j| (mA cm$^{-2}$)")
    axes.set_ylim(_FLOOR * highest if not told else None, 8 * highest)
    axes.text(
        0.5, 0.98, "\n".join(told) or one.why_not("j0_apparent_ma_cm2"), ha="center", va="top",
        transform=axes.transAxes, fontsize="small",
    )  # fmt: skip
    return None


def arrhenius(
    axes: "Axes", one: EvaluatedRun, form: Literal["ln(T/R)", "ln(1/R)"] = "ln(T/R)"
) -> str | None:
    """Draw ln(T/R) or ln(1/R) of spectra at several temperatures against 1000/T, with its line.

    The two forms give different energies by definition; each has a panel of its own, since they lie
    farther apart than either rises.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    name, colour, marker = _FORMS[form]
    title = f"Arrhenius plot, {form}"
    points, _ = temperature_points(one.run)
    if not points:
        return tell_missing(axes, title, one.why_not("temperature_k"))
    temperature = np.array([point.temperature_k for point in points])
    resistance = np.array([point.resistance_ohm for point in points])
    error_ohm = np.array([point.uncertainty_ohm for point in points])
    reciprocal = 1e3 / temperature
    value = np.log(temperature / resistance) if form == "ln(T/R)" else -np.log(resistance)
    metric = one.numbers[name]
    label = one.why_not(name)
    # The fit that is reported: weighted by what each spectrum tells of its resistance.
    fit = activation_energy(temperature, resistance, error_ohm, form=form)
    if isinstance(metric.value, float) and fit.intercept is not None and fit.kj_mol is not None:
        error = metric.uncertainty if isinstance(metric.uncertainty, float) else None
        label = f"$E_a$ = {number_text(metric.value, error)} kJ mol$^{{-1}}$"
        ends = np.array([reciprocal.min(), reciprocal.max()])
        line = fit.intercept - fit.kj_mol * 1e3 / GAS_CONSTANT_J_MOL_K * ends * 1e-3
        axes.plot(ends, line, color=colour, lw=size("lines.linewidth", 0.8))
    axes.errorbar(reciprocal, value, error_ohm / resistance, fmt=marker, color=colour, label=label)
    dress(axes, title, "1000/T (K$^{-1}$)", f"{form} (T in K, R in $\\Omega$)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.15 * (high - low))
    axes.legend(loc="upper right", handlelength=1.0)
    return None


def voltammogram(axes: "Axes", one: EvaluatedRun) -> str | None:
    """Draw the last scan of each cyclic voltammetry; the scan rate is in the legend.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Cyclic voltammetry"
    if one.cell is None:
        return tell_missing(axes, title, one.why_not("cv_anodic_peak_v"))
    scans = last_scans(one.cell, one.steps)
    if not scans:
        return tell_missing(axes, title, one.why_not("cv_anodic_peak_v"))
    scans = sorted(scans, key=lambda scan: scan[0])
    area = one.cell.area_cm2
    for colour, (rate, up, down) in zip(shades(len(scans)), scans, strict=True):
        for number, way in enumerate((up, down)):
            order = np.argsort(way.potential_v, kind="stable")
            axes.plot(
                *envelope(way.potential_v[order], 1e3 * way.current_a[order] / area), color=colour,
                label=f"{1e3 * rate:.3g} mV s$^{{-1}}$" if number == 0 else None,
            )  # fmt: skip
    axes.axhline(0, color=FAINT, lw=size("axes.linewidth"), zorder=0)
    for name, colour in (("cv_anodic_peak_v", STRIPPING), ("cv_cathodic_peak_v", PLATING)):
        value = one.numbers[name].value
        for peak in value if isinstance(value, list) else ():
            if peak is not None:
                axes.axvline(
                    peak, color=colour, lw=size("axes.linewidth"), ls=(0, (4, 3)), zorder=0
                )
    full = one.cell.full_cell
    label = "Cell voltage (V)" if full else one.potential_label("V")
    dress(axes, title, label, "j (mA cm$^{-2}$)")
    axes.legend(
        loc="upper left",
        title="last scans" if len(scans) > 1 else "last scan",
        alignment="left",
    )
    return None
