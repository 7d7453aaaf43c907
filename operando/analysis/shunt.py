"""What a spectrum tells of a short: the intercept at high frequency, a resistance in parallel."""

import math
from dataclasses import dataclass

import numpy as np

from operando.analysis._threads import one_thread
from operando.analysis.impedance import ArcFit
from operando.analysis.impedance_validity import usable_points, valid_points
from operando.runs import Floats

# A conductance is there if it is this many times its standard error.
SIGMAS = 3.0
# Without one, the spectrum must be told better with it by more than this in the Bayesian criterion.
EVIDENCE = 10.0


@dataclass(frozen=True)
class Shunt:
    """A resistance in parallel to a cell, fitted to its spectrum.

    Attributes:
        resistance_ohm: R_sh, ohm; None if there is none, or it cannot be told.
        uncertainty_ohm: Its standard error, ohm.
        reason: Why there is none.
        interfacial_change: Fitted arcs over those before, less 1: the share by which the
            interfaces themselves have changed; None if it was not fitted.
        chi2_reduced: Sum of squared relative residuals over degrees of freedom.
    """

    resistance_ohm: float | None
    uncertainty_ohm: float | None
    reason: str | None
    interfacial_change: float | None
    chi2_reduced: float | None


def high_frequency_intercept_ohm(frequency_hz: Floats, z_real: Floats, z_imag: Floats) -> float:
    """Return where a spectrum crosses the real axis at high frequency, ohm.

    Where it is not inductive at its highest frequency, that point's real part. NaN without points.
    """
    order = np.argsort(-frequency_hz)
    real, imaginary = z_real[order], z_imag[order]
    good = np.isfinite(real) & np.isfinite(imaginary)
    real, imaginary = real[good], imaginary[good]
    if not len(real):
        return math.nan
    capacitive = np.flatnonzero(imaginary <= 0)
    if not len(capacitive) or capacitive[0] == 0:
        return float(real[0])
    row = int(capacitive[0])
    share = imaginary[row - 1] / (imaginary[row - 1] - imaginary[row])
    return float(real[row - 1] + share * (real[row] - real[row - 1]))


def shunt(before: ArcFit, frequency_hz: Floats, z_real_ohm: Floats, z_imag_ohm: Floats) -> Shunt:
    """Fit a resistance in parallel to a cell of which a spectrum is known from before.

    Z = Z_cell R_sh/(Z_cell + R_sh), with Z_cell the circuit fitted to the spectrum before, whose
    arcs may all have changed by one factor since; R_s has not. High-frequency intercept and arcs
    then fall together, which a change of the interfaces alone does not do (Menkin et al., J.
    Electrochem. Soc. 170 (2023)). Least squares of the residuals over ``|Z|``; standard errors are
    scaled with the residuals found, and the standard error of R_s before adds to them.

    Args:
        before: The fit of a spectrum of the healthy cell.
        frequency_hz: Frequencies of the spectrum to be judged, Hz.
        z_real_ohm: Its real part, ohm.
        z_imag_ohm: Its imaginary part, ohm, negative when capacitive.

    Raises:
        ImpedanceFitError: Too few points, or the Kramers-Kronig test does not hold.
    """
    from scipy.optimize import least_squares

    frequency, impedance = usable_points(frequency_hz, z_real_ohm, z_imag_ohm)
    with one_thread():
        frequency, impedance, _, _ = valid_points(frequency, impedance)
    jw = 2j * np.pi * frequency
    ends = before.series_ohm + jw * before.inductance_h
    arcs = before.impedance_ohm(frequency) - ends
    magnitude = np.abs(impedance)
    scale = float(np.median(1 / magnitude))

    def residual(x: Floats) -> Floats:
        healthy = ends + arcs * math.exp(x[0])
        difference = (healthy / (1 + x[1] * scale * healthy) - impedance) / magnitude
        return np.concatenate((difference.real, difference.imag))

    begin = np.array([0.0, 0.0])
    alone = least_squares(lambda x: residual(np.array([x[0], 0.0])), begin[:1])
    ratio = before.series_ohm / max(float(impedance[0].real), 1e-3 * before.series_ohm)
    guess = max(ratio - 1, 0.0) / before.series_ohm / scale
    starts = [begin, np.array([0.0, guess])]
    both = min((least_squares(residual, start) for start in starts), key=lambda fit: fit.cost)
    points = 2 * len(frequency)
    change, conductance = math.expm1(both.x[0]), float(both.x[1]) * scale
    reduced = 2 * float(both.cost) / (points - 2)
    gained = points * math.log(max(float(alone.cost), 1e-300) / max(float(both.cost), 1e-300))
    covariance = np.linalg.pinv(both.jac.T @ both.jac) * reduced
    # What R_s is wrong by looks like a conductance; what the arcs make good does not count.
    series = next(one for one in before.fit.parameters if one.name == "R0")
    doubt = series.uncertainty / series.value**2
    error = math.hypot(math.sqrt(float(covariance[1, 1])) * scale, doubt)
    if conductance <= SIGMAS * error or gained - math.log(points) <= EVIDENCE:
        told = f"no conductance in parallel stands out: {conductance:.2g} S, standard error "
        return Shunt(None, None, f"{told}{error:.2g} S", change, reduced)
    return Shunt(1 / conductance, error / conductance**2, None, change, reduced)
