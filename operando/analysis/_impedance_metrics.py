"""Resistances from the impedance spectra of a run."""

import math

from operando.analysis import impedance
from operando.analysis._evaluation import Evaluation, Metric, listed, undefined
from operando.runs import Run, Stream


def impedance_metrics(found: Evaluation) -> dict[str, Metric]:
    """Return the resistances of the fitted circuit by spectrum."""
    names = ("series_resistance_ohm", "interfacial_resistance_ohm")
    stream = found.run.streams.get("impedance")
    if stream is None or not len(stream):
        return undefined(names, "the run has no impedance spectrum")
    told_fits = impedance_fits(found.run)
    fits = [fit if isinstance(fit, impedance.ArcFit) else None for fit in told_fits]
    notes = [
        f"model {fit.model}" if isinstance(fit, impedance.ArcFit) else f"spectrum {number}: {fit}"
        for number, fit in enumerate(told_fits, start=1)
    ]
    # The scale of |Z| is that of the current; it adds to what the fit tells.
    gain = found.accuracy.gain
    told = {}
    for name, value, error in (
        (names[0], "series_ohm", "series_uncertainty_ohm"),
        (names[1], "interfacial_ohm", "interfacial_uncertainty_ohm"),
    ):
        told[name] = listed(
            name,
            [None if fit is None else getattr(fit, value) for fit in fits],
            [
                None if fit is None else math.hypot(getattr(fit, error), gain * getattr(fit, value))
                for fit in fits
            ],
            notes,
        )
    return told


def impedance_fits(run: Run) -> list[impedance.ArcFit | str]:
    """Return the fit of each impedance spectrum of a run, or why there is none."""
    stream = run.streams.get("impedance")
    if stream is None or not len(stream):
        return []
    last = int(stream.columns["potentiostat_impedance_spectrum"].max())
    return [_fitted(run, stream, spectrum) for spectrum in range(1, last + 1)]


def _fitted(run: Run, stream: Stream, spectrum: int) -> impedance.ArcFit | str:
    rows = stream.columns["potentiostat_impedance_spectrum"] == spectrum

    def compute() -> impedance.ArcFit | str:
        names = ("frequency", "z_real", "z_imag")
        columns = [stream.columns[f"potentiostat_impedance_{name}"][rows] for name in names]
        try:
            return impedance.fit_arcs(*columns)
        except impedance.ImpedanceFitError as error:
            return str(error)

    return run.remembered(("impedance", spectrum, int(rows.sum())), compute)
