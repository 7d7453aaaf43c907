"""Impedance spectra with what was fitted to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operando.analysis.impedance import ArcFit
from operando.analysis.metrics import impedance_fits
from operando.plots._style import (
    FAINT,
    dress,
    shades,
    size,
    spread,
    tell_missing,
)
from operando.plots.evaluated import EvaluatedRun
from operando.report import number_text
from operando.runs import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_SPECTRA = 5
_FEW_TIMES = 8.0
_ELEMENTS = "potentiostat_impedance"


@dataclass(frozen=True)
class Spectrum:
    """One spectrum that is shown.

    Attributes:
        number: Which of the run, from 1.
        label: Its cycle, for the legend.
        frequency_hz: Frequencies, descending, Hz.
        impedance_ohm: Impedance, ohm, imaginary part negative when capacitive.
        fit: What was fitted, or why nothing was.
    """

    number: int
    label: str
    frequency_hz: Floats
    impedance_ohm: Any
    fit: ArcFit | str


def shown_spectra(one: EvaluatedRun, most: int = _MOST_SPECTRA) -> list[Spectrum]:
    """Return spectra of a run, the first and the last and at most ``most`` in all."""
    return list(_spectra(one, most))


def _spectra(one: EvaluatedRun, most: int) -> Iterator[Spectrum]:
    stream = one.rows_of("impedance")
    if stream is None:
        return
    columns = {key.removeprefix(f"{_ELEMENTS}_"): rows for key, rows in stream.columns.items()}
    fits = impedance_fits(one.run)
    present = [n for n in range(1, len(fits) + 1) if (columns["spectrum"] == n).any()]
    several = len({int(columns["cycle"][columns["spectrum"] == n][0]) for n in present}) > 1
    for position in spread(len(present), most):
        number = present[position]
        rows = np.flatnonzero(columns["spectrum"] == number)
        rows = rows[np.argsort(-columns["frequency"][rows], kind="stable")]
        cycle = int(columns["cycle"][rows][0])
        yield Spectrum(
            number,
            (f"cycle {cycle}" if cycle else "before cycle 1") if several else f"spectrum {number}",
            columns["frequency"][rows],
            columns["z_real"][rows] + 1j * columns["z_imag"][rows],
            fits[number - 1],
        )


def nyquist(axes: "Axes", one: EvaluatedRun, tall: float = 1.06) -> str | None:
    """Draw spectra in the complex plane, both axes alike, with the fitted circuit as a line.

    Args:
        axes: The panel.
        one: The run.
        tall: Its height over its width: as much of the plane is shown as fills it.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    title = "Nyquist plot"
    spectra = shown_spectra(one)
    if not spectra:
        return tell_missing(axes, title, one.why_not("interfacial_resistance_ohm"))
    peak = right = 0.0
    left = np.inf
    for spectrum, colour in zip(spectra, shades(len(spectra)), strict=True):
        real, imaginary = spectrum.impedance_ohm.real, -spectrum.impedance_ohm.imag
        axes.plot(real, imaginary, "o", color=colour, label=spectrum.label)
        peak, right = max(peak, float(imaginary.max())), max(right, float(real.max()))
        left = min(left, float(real.min()))
        if isinstance(spectrum.fit, ArcFit):
            curve = spectrum.fit.impedance_ohm(_fine(spectrum))
            axes.plot(curve.real, -curve.imag, "-", color=colour, alpha=0.8)
    axes.set_aspect("equal", adjustable="box")
    axes.set_anchor("SW")
    dress(axes, title, "Re Z ($\\Omega$)", "$-$Im Z ($\\Omega$)")
    axes.axhline(0, color=FAINT, lw=size("axes.linewidth"), zorder=0)
    if left < 0.4 * right:
        left = 0.0  # the series resistance is seen against the origin
    # Above the arcs is room for what they are.
    span = max(right - left, 1.5 * peak / min(tall, 1.0))
    axes.set_xlim(left - 0.05 * span, left + 1.06 * span)
    axes.set_ylim(-0.06 * span, (1.11 * tall - 0.06) * span)
    told = one.numbers["interfacial_resistance_ohm"]
    text = None
    if isinstance(told.value, list):
        errors = (
            told.uncertainty if isinstance(told.uncertainty, list) else [None] * len(told.value)
        )
        ends = [
            number_text(told.value[spectrum.number - 1], errors[spectrum.number - 1])
            for spectrum in (spectra[0], spectra[-1])
        ]
        # A line each: with their uncertainties both are wider than a small panel.
        told_ends = " →\n".join(dict.fromkeys(ends))
        text = f"R$_{{int}}$ {told_ends} $\\Omega$"
    axes.legend(
        loc="upper left", handletextpad=0.1, borderaxespad=0.1, title=text, alignment="left"
    )
    return None


def bode(magnitude: "Axes", phase: "Axes", one: EvaluatedRun) -> str | None:
    """Draw magnitude and phase of spectra against frequency, with the fitted circuit as a line.

    Returns:
        Why there is nothing to draw, which is written there instead; None where there is.
    """
    spectra = shown_spectra(one)
    if not spectra:
        phase.set_axis_off()
        return tell_missing(magnitude, "Bode plot", one.why_not("interfacial_resistance_ohm"))
    for spectrum, colour in zip(spectra, shades(len(spectra)), strict=True):
        curves = [(spectrum.frequency_hz, spectrum.impedance_ohm, "o")]
        if isinstance(spectrum.fit, ArcFit):
            fine = _fine(spectrum)
            curves.append((fine, spectrum.fit.impedance_ohm(fine), "-"))
        for frequency, impedance, style in curves:
            magnitude.semilogx(frequency, np.abs(impedance), style, color=colour)
            phase.semilogx(frequency, -np.angle(impedance, deg=True), style, color=colour)
    sizes = np.concatenate([np.abs(spectrum.impedance_ohm) for spectrum in spectra])
    if sizes.max() > _FEW_TIMES * sizes.min():  # a logarithmic axis of less has no labels
        magnitude.set_yscale("log")
    dress(magnitude, "Bode plot", "", "|Z| ($\\Omega$)")
    dress(phase, "", "Frequency (Hz)", "$-$Phase (°)")
    magnitude.tick_params(labelbottom=False)
    phase.sharex(magnitude)
    return None


def _fine(spectrum: Spectrum) -> Floats:
    frequency = spectrum.frequency_hz[spectrum.frequency_hz > 0]
    return np.geomspace(frequency.min(), frequency.max(), 200)
