"""Impedance spectra: a test of validity first, then one or two depressed arcs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats

Complex = NDArray[np.complex128]
# A spectrum is a linear, stable, causal response if a chain of RC elements follows it this well.
KRAMERS_KRONIG_LIMIT = 0.01
LARGEST_SHARE_DROPPED = 0.1
FEWEST_POINTS = 8
EXPONENT = (0.5, 1.0)
LARGEST_RELATIVE_ERROR = 0.5
# An arc whose top lies this many times below the lowest frequency is extrapolated, not measured.
FARTHEST_TOP = 10.0


@dataclass(frozen=True)
class KramersKronig:
    """How well a chain of RC elements follows a spectrum.

    Attributes:
        elements: Number of RC elements used.
        residual_real: (measured - chain) / |Z| of the real part, by frequency.
        residual_imag: The same of the imaginary part.
    """

    elements: int
    residual_real: Floats
    residual_imag: Floats

    @property
    def residual(self) -> Floats:
        """Return the larger residual of both parts, by frequency."""
        return np.maximum(np.abs(self.residual_real), np.abs(self.residual_imag))

    @property
    def worst(self) -> float:
        """Return the largest residual over |Z|."""
        return float(self.residual.max())

    @property
    def typical_worst(self) -> float:
        """Return the residual over |Z| that 95 % of the points stay below."""
        return float(np.quantile(self.residual, 0.95))


@dataclass(frozen=True)
class ArcFit:
    """A series resistance and one or two resistances in parallel to constant phase elements.

    Attributes:
        series_ohm: R_s, ohm.
        series_uncertainty_ohm: Its standard error, ohm.
        interfacial_ohm: Sum of the arcs, ohm; both interfaces of the cell, not halved.
        interfacial_uncertainty_ohm: Its standard error, ohm, correlations included.
        arcs_ohm: The arcs, fastest first, ohm.
        time_constants_s: (R Q)^(1/a) of each arc, s.
        exponents: a of each constant phase element, 1/(Q (jw)^a).
        inductance_h: Series inductance, H; 0 if the model has none.
        chi2_reduced: Sum of squared relative residuals over degrees of freedom.
        model: The circuit, e.g. ``R0-p(R1,CPE1)-p(R2,CPE2)``.
        kramers_kronig: Residual of the validity test that 95 % of the points stay below, over |Z|.
        dropped: Points left out because they alone violated the test.
    """

    series_ohm: float
    series_uncertainty_ohm: float
    interfacial_ohm: float
    interfacial_uncertainty_ohm: float
    arcs_ohm: tuple[float, ...]
    time_constants_s: tuple[float, ...]
    exponents: tuple[float, ...]
    inductance_h: float
    chi2_reduced: float
    model: str
    kramers_kronig: float
    dropped: int

    def impedance_ohm(self, frequency_hz: Floats) -> Complex:
        """Return the fitted circuit's impedance, ohm, by frequency."""
        omega = 2 * np.pi * frequency_hz
        total = np.full(omega.shape, self.series_ohm, dtype=np.complex128)
        total += 1j * omega * self.inductance_h
        arcs = zip(self.arcs_ohm, self.time_constants_s, self.exponents, strict=True)
        for resistance, scale, exponent in arcs:
            total += resistance / (1 + (1j * omega * scale) ** exponent)
        return total


class ImpedanceFitError(ValueError):
    """A spectrum cannot be evaluated; the message says why."""


def kramers_kronig(frequency_hz: Floats, impedance_ohm: Complex) -> KramersKronig:
    """Test a spectrum against a chain of RC elements with logarithmically spaced time constants.

    A linear fit (Boukamp, J. Electrochem. Soc. 142 (1995) 1885) in which a series resistance,
    inductance and capacitance take part; such a chain can follow a response only if it is causal,
    stable and linear. The number of elements is the smallest that follows the spectrum as well,
    per degree of freedom, as any number does within 10 %.
    """
    omega = 2 * np.pi * frequency_hz
    magnitude = np.abs(impedance_ohm)
    longest, shortest = 1 / omega.min(), 1 / omega.max()
    target = np.concatenate((impedance_ohm.real / magnitude, impedance_ohm.imag / magnitude))
    tried: list[tuple[float, int, Floats]] = []
    for elements in range(3, max(4, 2 * len(omega) // 3), 2):
        tau = np.logspace(math.log10(shortest), math.log10(longest), elements)
        chain = 1 / (1 + 1j * omega[:, None] * tau[None, :])
        ends = (np.ones_like(omega), 1j * omega * shortest, 1 / (1j * omega * longest))
        columns = np.column_stack((*ends, chain)) / magnitude[:, None]
        design = np.concatenate((columns.real, columns.imag))
        residual = target - design @ np.linalg.lstsq(design, target, rcond=1e-12)[0]
        variance = float(residual @ residual) / (len(target) - design.shape[1])
        tried.append((variance, elements, residual))
    allowed = 1.1 * min(variance for variance, _, _ in tried)
    _, elements, residual = next(one for one in tried if one[0] <= allowed)
    return KramersKronig(elements, residual[: len(omega)], residual[len(omega) :])


def fit_arcs(frequency_hz: Floats, z_real_ohm: Floats, z_imag_ohm: Floats) -> ArcFit:
    """Fit R_s and one or two arcs, with or without a series inductance.

    Least squares in the logarithms of the parameters, residuals over |Z|, 0.5 <= a <= 1; of the
    four models the one with the lowest Bayesian information criterion is taken. Standard errors
    come from the covariance, scaled with the residuals found.

    Args:
        frequency_hz: Frequencies, Hz, any order.
        z_real_ohm: Real part, ohm.
        z_imag_ohm: Imaginary part, ohm, negative when capacitive.

    Raises:
        ImpedanceFitError: Too few points, residuals of the validity test above 1 % of |Z| in more
            than 5 % of the points, or arcs that the band does not determine.
    """
    good = np.isfinite(frequency_hz) & np.isfinite(z_real_ohm) & np.isfinite(z_imag_ohm)
    good &= frequency_hz > 0
    order = np.argsort(-frequency_hz[good], kind="stable")
    frequency = frequency_hz[good][order]
    impedance = (z_real_ohm[good] + 1j * z_imag_ohm[good])[order]
    if len(frequency) < FEWEST_POINTS or np.abs(impedance).min() <= 0:
        raise ImpedanceFitError(f"{len(frequency)} usable points, at least {FEWEST_POINTS} needed")
    frequency, impedance, worst, dropped = _valid_points(frequency, impedance)
    omega = 2 * np.pi * frequency
    candidates = [
        _fit_model(omega, impedance, arcs, inductive) for arcs in (1, 2) for inductive in (0, 1)
    ]
    best = min((c for c in candidates if c is not None), key=lambda c: c.criterion, default=None)
    if best is None:
        raise ImpedanceFitError("no model converged")
    return best.told(worst, dropped)


def _valid_points(frequency: Floats, impedance: Complex) -> tuple[Floats, Complex, float, int]:
    """Drop single spikes (mains), the largest first, then insist on the limit."""
    test = kramers_kronig(frequency, impedance)
    dropped = 0
    while dropped + 1 <= LARGEST_SHARE_DROPPED * (len(frequency) + dropped):
        allowed = max(KRAMERS_KRONIG_LIMIT, 6 * 1.4826 * float(np.median(test.residual)))
        if test.worst <= allowed:
            break
        keep = np.arange(len(frequency)) != int(np.argmax(test.residual))
        frequency, impedance, dropped = frequency[keep], impedance[keep], dropped + 1
        test = kramers_kronig(frequency, impedance)
    if test.typical_worst > KRAMERS_KRONIG_LIMIT:
        raise ImpedanceFitError(
            f"not a linear, stable response: the Kramers-Kronig test leaves "
            f"{test.typical_worst:.1%} of |Z|, {KRAMERS_KRONIG_LIMIT:.0%} is allowed"
        )
    return frequency, impedance, test.typical_worst, dropped


@dataclass(frozen=True)
class _Candidate:
    arcs: int
    inductive: int
    lowest_omega: float
    parameters: Floats
    covariance: Floats
    chi2_reduced: float
    criterion: float

    def told(self, worst: float, dropped: int) -> ArcFit:
        series, arcs, scales, exponents, inductance = _unpack(
            self.parameters, self.arcs, self.inductive
        )
        total = float(arcs.sum())
        gradient = np.zeros(len(self.parameters))
        gradient[1 : 1 + self.arcs] = arcs  # d(sum R)/d(log R)
        variance = float(gradient @ self.covariance @ gradient)
        error = math.sqrt(max(variance, 0.0))
        beyond = float(scales.max()) * self.lowest_omega > FARTHEST_TOP
        if beyond or not error <= LARGEST_RELATIVE_ERROR * total:
            raise ImpedanceFitError(
                f"the band does not determine the arcs: {total:.3g} ohm with a standard error of "
                f"{error:.2g} ohm"
            )
        order = np.argsort(scales)
        names = "-".join(f"p(R{k},CPE{k})" for k in range(1, self.arcs + 1))
        return ArcFit(
            series_ohm=series,
            series_uncertainty_ohm=series * math.sqrt(max(float(self.covariance[0, 0]), 0.0)),
            interfacial_ohm=total,
            interfacial_uncertainty_ohm=error,
            arcs_ohm=tuple(float(arcs[k]) for k in order),
            time_constants_s=tuple(float(scales[k]) for k in order),
            exponents=tuple(float(exponents[k]) for k in order),
            inductance_h=inductance,
            chi2_reduced=self.chi2_reduced,
            model=("L0-" if self.inductive else "") + f"R0-{names}",
            kramers_kronig=worst,
            dropped=dropped,
        )


def _unpack(
    parameters: Floats, arcs: int, inductive: int
) -> tuple[float, Floats, Floats, Floats, float]:
    """Return R_s, arc resistances, time constants, exponents, inductance.

    Time constants stand for the Q: R and tau are far less correlated than R and Q.
    """
    values = np.exp(parameters)
    resistances = values[1 : 1 + arcs]
    scales = values[1 + arcs : 1 + 2 * arcs]
    exponents = values[1 + 2 * arcs : 1 + 3 * arcs]
    return float(values[0]), resistances, scales, exponents, float(values[-1]) * inductive


def _model(parameters: Floats, omega: Floats, arcs: int, inductive: int) -> Complex:
    series, resistances, scales, exponents, inductance = _unpack(parameters, arcs, inductive)
    total = np.full(len(omega), series, dtype=np.complex128)
    for resistance, scale, exponent in zip(resistances, scales, exponents, strict=True):
        total += resistance / (1 + (1j * omega * scale) ** exponent)
    return total + 1j * omega * inductance if inductive else total


def _starts(omega: Floats, impedance: Complex, arcs: int, inductive: int) -> Iterator[Floats]:
    """Yield starting values from the geometry of the arcs."""
    magnitude = float(np.abs(impedance).max())
    series = max(float(impedance.real.min()), 1e-4 * magnitude)
    total = max(float(impedance.real.max()) - series, 1e-3 * magnitude)
    peak = 1 / float(omega[int(np.argmax(-impedance.imag))])
    end = [math.log(1e-3 * series / float(omega.max()))] if inductive else []
    if arcs == 1:
        yield np.array([math.log(series), math.log(total), math.log(peak), math.log(0.9), *end])
        return
    for share, fast, slow in ((0.5, 0.2, 5.0), (0.3, 0.03, 1.0), (0.7, 1.0, 30.0)):
        yield np.array(
            [
                math.log(series),
                math.log(share * total),
                math.log((1 - share) * total),
                math.log(fast * peak),
                math.log(slow * peak),
                math.log(0.9),
                math.log(0.9),
                *end,
            ]
        )


def _fit_model(omega: Floats, impedance: Complex, arcs: int, inductive: int) -> _Candidate | None:
    from scipy.optimize import least_squares

    magnitude = np.abs(impedance)
    count = 1 + 3 * arcs + inductive
    points = 2 * len(omega)
    if points <= count + 2:
        return None

    def residual(parameters: Floats) -> Floats:
        difference = (_model(parameters, omega, arcs, inductive) - impedance) / magnitude
        return np.concatenate((difference.real, difference.imag))

    low = np.full(count, -60.0)
    high = np.full(count, 60.0)
    low[1 + arcs : 1 + 2 * arcs] = math.log(1e-3 / float(omega.max()))
    # Far beyond the band: an arc that the band does not determine shall show in its error.
    high[1 + arcs : 1 + 2 * arcs] = math.log(1e6 / float(omega.min()))
    low[1 + 2 * arcs : 1 + 3 * arcs] = math.log(EXPONENT[0])
    high[1 + 2 * arcs : 1 + 3 * arcs] = math.log(EXPONENT[1])
    best: Any = None
    for start in _starts(omega, impedance, arcs, inductive):
        start = np.clip(start, low + 1e-6, high - 1e-6)
        found = least_squares(residual, start, bounds=(low, high), x_scale=1.0, max_nfev=200)
        if found.status >= 0 and (best is None or found.cost < best.cost):
            best = found
    if best is None:
        return None
    chi2 = 2 * float(best.cost)
    reduced = chi2 / (points - count)
    covariance = np.linalg.pinv(best.jac.T @ best.jac, rcond=1e-14) * reduced
    # The floor keeps the choice finite on spectra without noise.
    criterion = points * math.log(max(chi2 / points, 1e-16)) + count * math.log(points)
    lowest = float(omega.min())
    return _Candidate(arcs, inductive, lowest, best.x, covariance, reduced, criterion)
