"""Impedance spectra: a test of validity first, then arcs and, where it is there, diffusion."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from operando.analysis._threads import one_thread
from operando.analysis.circuits import Circuit, CircuitError, CircuitFit, Complex, fit_circuit
from operando.analysis.impedance_validity import (
    ImpedanceFitError,
    KramersKronig,
    usable_points,
    valid_points,
)
from operando.runs import Floats

LARGEST_RELATIVE_ERROR = 0.5
# An arc whose top lies this many times below the lowest frequency is extrapolated, not measured.
FARTHEST_TOP = 10.0
# How much lower the Bayesian information criterion is where the evidence is very strong
# (Kass and Raftery, J. Am. Stat. Assoc. 90 (1995) 773).
EVIDENCE = 10.0
# Slower than charge transfer at metal anodes; what is faster is an arc.
FASTEST_DIFFUSION_S = 1.0
# Where arcs leave no more than this times the variance of the test's chain, nothing is missing.
NOISE_MARGIN = 1.1
# How often a circuit is evaluated before it is decided from which start to go on.
FIRST_STEPS = 12
# A spectrum whose imaginary part stays below this share of |Z| may be that of a resistor.
RESISTIVE = 0.2


@dataclass(frozen=True)
class Arc:
    """A resistance in parallel to a constant phase element.

    Attributes:
        resistance_ohm: R, ohm.
        resistance_uncertainty_ohm: Its standard error, ohm.
        time_constant_s: (R Q)^(1/a), s.
        exponent: a of the constant phase element, 1/(Q (jw)^a).
        capacitance_f: Its effective capacitance as a surface distribution, F:
            Q^(1/a) (1/R_s + 1/R)^((a-1)/a) (Brug et al., J. Electroanal. Chem. 176 (1984) 275).
        capacitance_uncertainty_f: Its standard error, F.
    """

    resistance_ohm: float
    resistance_uncertainty_ohm: float
    time_constant_s: float
    exponent: float
    capacitance_f: float
    capacitance_uncertainty_f: float


@dataclass(frozen=True)
class Diffusion:
    """A finite-length Warburg element in series to the arcs.

    Attributes:
        kind: ``short`` (tanh: a fixed concentration at the far side) or ``open`` (coth: a wall).
        resistance_ohm: R of R tanh(s)/s or R coth(s)/s, ohm.
        resistance_uncertainty_ohm: Its standard error, ohm.
        time_constant_s: tau of s = sqrt(jw tau), the layer's thickness squared over D, s.
        time_constant_uncertainty_s: Its standard error, s.
    """

    kind: Literal["short", "open"]
    resistance_ohm: float
    resistance_uncertainty_ohm: float
    time_constant_s: float
    time_constant_uncertainty_s: float


@dataclass(frozen=True)
class ArcFit:
    """A series resistance, one or two arcs, and what else a spectrum asks for.

    Attributes:
        series_ohm: R_s, ohm.
        series_uncertainty_ohm: Its standard error, ohm.
        interfacial_ohm: Sum of the arcs, ohm; both interfaces of a two-electrode cell, not halved.
            Diffusion is not in it.
        interfacial_uncertainty_ohm: Its standard error, ohm, correlations included.
        arcs: The arcs, fastest first; none if the spectrum is that of a resistor.
        diffusion: The Warburg element; None if the model has none.
        inductance_h: Series inductance, H; 0 if the model has none.
        fit: The circuit with each parameter's value and standard error.
        choice: Why this model, in words.
        kramers_kronig: Residual of the validity test that 95 % of the points stay below, over |Z|.
        dropped: Points left out because they alone violated the test.
    """

    series_ohm: float
    series_uncertainty_ohm: float
    interfacial_ohm: float
    interfacial_uncertainty_ohm: float
    arcs: tuple[Arc, ...]
    diffusion: Diffusion | None
    inductance_h: float
    fit: CircuitFit
    choice: str
    kramers_kronig: float
    dropped: int

    @property
    def model(self) -> str:
        """Return the circuit, e.g. ``R0-p(R1,CPE1)-p(R2,CPE2)``."""
        return self.fit.circuit.text

    @property
    def chi2_reduced(self) -> float:
        """Return the sum of squared relative residuals over degrees of freedom."""
        return self.fit.chi2_reduced

    def impedance_ohm(self, frequency_hz: Floats) -> Complex:
        """Return the fitted circuit's impedance, ohm, by frequency."""
        return self.fit.impedance_ohm(frequency_hz)


def fit_arcs(frequency_hz: Floats, z_real_ohm: Floats, z_imag_ohm: Floats) -> ArcFit:
    """Fit R_s and one or two arcs, with or without a series inductance and a Warburg element.

    Least squares in the logarithms of the parameters, residuals over |Z|, 0.5 <= a <= 1. The
    model with the lowest Bayesian information criterion is taken; one with a Warburg element only
    if it is lower by more than 10 than without, if its time constant is 1 s or more and the band
    determines it, and it is not tried where the arcs already follow the spectrum as well as the
    chain of the validity test. A resistor has no arc. Standard errors come from the covariance,
    scaled with the residuals found; to those of R_s and of the sum of the arcs is added what the
    choice of the circuit and the arcs beyond the band may do to them.

    Args:
        frequency_hz: Frequencies, Hz, any order.
        z_real_ohm: Real part, ohm.
        z_imag_ohm: Imaginary part, ohm, negative when capacitive.

    Raises:
        ImpedanceFitError: Too few points, residuals of the validity test above 1 % of |Z| in more
            than 5 % of the points, or arcs that the band does not determine.
    """
    frequency, impedance = usable_points(frequency_hz, z_real_ohm, z_imag_ohm)
    with one_thread():
        return _fitted(*valid_points(frequency, impedance))


def _fitted(frequency: Floats, impedance: Complex, test: KramersKronig, dropped: int) -> ArcFit:
    plain = _plain_models(frequency, impedance)
    if not plain:
        raise ImpedanceFitError("no model converged")
    best = min(plain, key=_criterion)
    others = plain
    if best.chi2_reduced > NOISE_MARGIN * test.variance:
        diffusive = _diffusive_models(frequency, impedance, plain)
        others = [*plain, *diffusive]
        if diffusive:
            slow = min(diffusive, key=_criterion)
            if slow.criterion < best.criterion - EVIDENCE:
                best = slow
    runner_up = min((fit for fit in others if fit is not best), key=_criterion, default=None)
    choice = f"of {len(others)} models"
    if runner_up is not None:
        choice += (
            f", by {runner_up.criterion - best.criterion:.3g} in the Bayesian information "
            f"criterion before {runner_up.circuit.text}"
        )
    doubt = _doubt(frequency, impedance, best)
    return _told(_fastest_first(best), float(frequency.min()), choice, doubt, test, dropped)


_ARCS = ("p(R1,CPE1)", "p(R1,CPE1)-p(R2,CPE2)")
_DIFFUSION: Mapping[str, Literal["short", "open"]] = {"Ws1": "short", "Wo1": "open"}


def _criterion(fit: CircuitFit) -> float:
    return fit.criterion


def _tried(
    text: str, frequency: Floats, impedance: Complex, start: Sequence[float], most: int = 200
) -> CircuitFit | None:
    try:
        return fit_circuit(text, frequency, impedance, start, evaluations=most)
    except CircuitError:
        return None


def _plain_models(frequency: Floats, impedance: Complex) -> list[CircuitFit]:
    """Fit one and two arcs, each with an inductance and then, from there, without."""
    found = []
    real = float(np.median(impedance.real))
    if real > 0 and float(np.abs(impedance.imag / impedance).max()) < RESISTIVE:
        inductance = 1e-3 * real / (2 * math.pi * float(frequency.max()))
        for text, start in (("R0", (real,)), ("L0-R0", (inductance, real))):
            fit = _tried(text, frequency, impedance, start)
            if fit is not None:
                found.append(fit)
    for arcs, text in enumerate(_ARCS, 1):
        # Each start goes a little way, the one that came closest goes on to the end.
        begun = [
            _tried(f"L0-R0-{text}", frequency, impedance, start, FIRST_STEPS)
            for start in _starts(frequency, impedance, arcs)
        ]
        nearest = min((fit for fit in begun if fit is not None), key=_criterion, default=None)
        if nearest is None:
            continue
        full = _tried(nearest.circuit.text, frequency, impedance, nearest.values)
        found.append(full if full is not None else nearest)
        without = _tried(f"R0-{text}", frequency, impedance, found[-1].values[1:])
        if without is not None:
            found.append(without)
    return found


def _diffusive_models(
    frequency: Floats, impedance: Complex, plain: Sequence[CircuitFit]
) -> list[CircuitFit]:
    """Fit a Warburg element behind one and two arcs; those that the band determines.

    What two arcs have taken for a second one may be the diffusion: one arc also starts from the
    faster of them.
    """
    lowest_s = 1 / (2 * math.pi * float(frequency.min()))
    size = 0.2 * float(np.abs(impedance[-1]))
    found = []
    for arcs, text in enumerate(_ARCS, 1):
        begins = []
        for fit in plain:
            at = _places(fit)
            if (arcs == 1 and "R2" in at) or f"R{arcs}" in at:
                kept = _fastest_first(fit).values[: at[f"CPE{arcs}_a"] + 1]
                begins.append((fit, kept))
        for element in _DIFFUSION:
            tried = [
                _tried(
                    f"{'L0-' if 'L0' in fit.circuit.names else ''}R0-{text}-{element}",
                    frequency,
                    impedance,
                    (*kept, size, max(lowest_s, FASTEST_DIFFUSION_S)),
                )
                for fit, kept in _lowest_each(begins)
            ]
            found += [fit for fit in tried if fit is not None and _is_diffusion(fit)]
    return found


def _lowest_each(
    begins: Sequence[tuple[CircuitFit, tuple[float, ...]]],
) -> list[tuple[CircuitFit, tuple[float, ...]]]:
    """Return of the fits with the same number of arcs the one with the lowest criterion."""
    best: dict[bool, tuple[CircuitFit, tuple[float, ...]]] = {}
    for one in begins:
        two = "R2" in one[0].circuit.names
        if two not in best or one[0].criterion < best[two][0].criterion:
            best[two] = one
    return list(best.values())


def _is_diffusion(fit: CircuitFit) -> bool:
    told = [one for one in fit.parameters if one.name.startswith(("R1", "R2", "W"))]
    return fit.parameters[-1].value >= FASTEST_DIFFUSION_S and all(
        one.uncertainty <= LARGEST_RELATIVE_ERROR * one.value for one in told
    )


def _starts(frequency: Floats, impedance: Complex, arcs: int) -> Iterator[tuple[float, ...]]:
    """Yield starting values from the geometry of the arcs."""
    omega = 2 * np.pi * frequency
    magnitude = float(np.abs(impedance).max())
    series = max(float(impedance.real.min()), 1e-4 * magnitude)
    total = max(float(impedance.real.max()) - series, 1e-3 * magnitude)
    top = 1 / float(omega[int(np.argmax(-impedance.imag))])
    ends = (1e-3 * series / float(omega.max()), series)
    exponent = 0.9
    if arcs == 1:
        yield *ends, total, top**exponent / total, exponent
        return
    for share, fast, slow in ((0.5, 0.2, 5.0), (0.3, 0.03, 1.0), (0.7, 1.0, 30.0)):
        pieces = ((share * total, fast * top), ((1 - share) * total, slow * top))
        told = [(size, time**exponent / size, exponent) for size, time in pieces]
        yield *ends, *told[0], *told[1]


def _places(fit: CircuitFit) -> dict[str, int]:
    return {name: place for place, name in enumerate(fit.circuit.names)}


def _doubt(frequency: Floats, impedance: Complex, best: CircuitFit) -> tuple[float, float]:
    """Return what R_s and the sum of the arcs owe to the choice of the model, ohm.

    That is how far they move when it gets one more arc, where the band determines that, and what
    the arcs have beyond the band: it is extrapolated, and known to within itself.
    """
    told = dict(zip(best.circuit.names, best.values, strict=True))
    fast, slow = (
        math.fsum(
            (
                Circuit.parse("p(R1,CPE1)").impedance_ohm(
                    np.array([at]), [told[f"R{n}"], told[f"CPE{n}_Q"], told[f"CPE{n}_a"]]
                )
            )[0].real
            for n in (1, 2)
            if f"R{n}" in told
        )
        for at in (frequency.max(), frequency.min())
    )
    total = _sum_of_arcs(best)
    if total == 0.0:
        return 0.0, 0.0
    series = fast / math.sqrt(3.0)
    arcs = math.hypot(fast, total - slow) / math.sqrt(3.0)
    begun = [
        _tried(
            f"{best.circuit.text}-p(R3,CPE3)",
            frequency,
            impedance,
            (*best.values, 0.1 * total, time**0.9 / (0.1 * total), 0.9),
            FIRST_STEPS,
        )
        for time in 1 / (2 * np.pi * np.quantile(frequency, (0.2, 0.5, 0.8)))
    ]
    nearest = min((fit for fit in begun if fit is not None), key=_criterion, default=None)
    if nearest is None:
        return series, arcs
    more = _tried(nearest.circuit.text, frequency, impedance, nearest.values) or nearest
    inside = 1 / (2 * np.pi * frequency.max()), 1 / (2 * np.pi * frequency.min())
    numbers = [n for n in (1, 2, 3) if f"R{n}" in more.circuit.names]
    if all(inside[0] <= _time_constant_s(more, n) <= inside[1] for n in numbers):
        moved = abs(more.values[_places(more)["R0"]] - told["R0"])
        return math.hypot(series, moved), math.hypot(arcs, abs(_sum_of_arcs(more) - total))
    return series, arcs


def _sum_of_arcs(fit: CircuitFit) -> float:
    at = _places(fit)
    return math.fsum(fit.values[at[f"R{n}"]] for n in (1, 2, 3) if f"R{n}" in at)


def _fastest_first(fit: CircuitFit) -> CircuitFit:
    """Return the fit with its arcs numbered from the fastest on."""
    at = _places(fit)
    if "R2" not in at or _time_constant_s(fit, 1) <= _time_constant_s(fit, 2):
        return fit
    order = list(range(len(fit.values)))
    for one in ("R", "CPE_Q", "CPE_a"):
        first, second = (at[one.replace("R", f"R{n}").replace("CPE", f"CPE{n}")] for n in (1, 2))
        order[first], order[second] = second, first
    values = tuple(fit.values[place] for place in order)
    return replace(fit, values=values, covariance=fit.covariance[np.ix_(order, order)])


def _time_constant_s(fit: CircuitFit, arc: int) -> float:
    told = dict(zip(fit.circuit.names, fit.values, strict=True))
    return float((told[f"R{arc}"] * told[f"CPE{arc}_Q"]) ** (1 / told[f"CPE{arc}_a"]))


def _told(
    fit: CircuitFit,
    lowest_hz: float,
    choice: str,
    doubt: tuple[float, float],
    test: KramersKronig,
    dropped: int,
) -> ArcFit:
    told = {parameter.name: parameter for parameter in fit.parameters}
    at = _places(fit)
    numbers = [n for n in (1, 2) if f"R{n}" in told]
    places = [at[f"R{n}"] for n in numbers]
    sizes = np.array([told[f"R{n}"].value for n in numbers])
    total = float(sizes.sum())
    # d(sum R)/d(log R) is R
    error = math.sqrt(max(float(sizes @ fit.covariance[np.ix_(places, places)] @ sizes), 0.0))
    slowest_s = max((_time_constant_s(fit, n) for n in numbers), default=0.0)
    beyond = slowest_s * 2 * math.pi * lowest_hz > FARTHEST_TOP
    if beyond or not error <= LARGEST_RELATIVE_ERROR * total:
        raise ImpedanceFitError(
            f"the band does not determine the arcs: {total:.3g} ohm with a standard error of "
            f"{error:.2g} ohm"
        )
    element = next((name for name in _DIFFUSION if f"{name}_R" in told), None)
    diffusion = None
    if element is not None:
        resistance, time = told[f"{element}_R"], told[f"{element}_tau"]
        diffusion = Diffusion(
            _DIFFUSION[element],
            resistance.value,
            resistance.uncertainty,
            time.value,
            time.uncertainty,
        )
    return ArcFit(
        series_ohm=told["R0"].value,
        series_uncertainty_ohm=math.hypot(told["R0"].uncertainty, doubt[0]),
        interfacial_ohm=total,
        interfacial_uncertainty_ohm=math.hypot(error, doubt[1]),
        arcs=tuple(_arc(fit, n) for n in numbers),
        diffusion=diffusion,
        inductance_h=told["L0"].value if "L0" in told else 0.0,
        fit=fit,
        choice=choice,
        kramers_kronig=test.typical_worst,
        dropped=dropped,
    )


def _arc(fit: CircuitFit, number: int) -> Arc:
    names = ("R0", f"R{number}", f"CPE{number}_Q", f"CPE{number}_a")
    places = [_places(fit)[name] for name in names]
    series, size, q, a = (fit.values[place] for place in places)
    conductance = 1 / series + 1 / size
    capacitance = q ** (1 / a) * conductance ** ((a - 1) / a)
    # of log C with respect to log R_s, log R, log Q and a
    slopes = np.array(
        [
            (1 - a) / a / series / conductance,
            (1 - a) / a / size / conductance,
            1 / a,
            (math.log(conductance) - math.log(q)) / a**2,
        ]
    )
    covariance = fit.covariance[np.ix_(places, places)]
    return Arc(
        resistance_ohm=size,
        resistance_uncertainty_ohm=size * math.sqrt(max(float(covariance[1, 1]), 0.0)),
        time_constant_s=_time_constant_s(fit, number),
        exponent=a,
        capacitance_f=capacitance,
        capacitance_uncertainty_f=capacitance
        * math.sqrt(max(float(slopes @ covariance @ slopes), 0.0)),
    )
