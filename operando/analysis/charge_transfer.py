"""Kinetics of the charge transfer: Butler-Volmer, Tafel lines, exchange current densities.

Overpotentials are in V and current densities in mA/cm2, both positive when the metal dissolves.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from operando.analysis._threads import one_thread
from operando.analysis.lines import Line, fit_line
from operando.analysis.thickness import GAS_CONSTANT_J_MOL_K
from operando.runs import Floats
from techniques.metals import FARADAY_C_MOL

TAFEL_WINDOW_V = (0.060, 0.110)
FEWEST_POINTS = 5


def butler_volmer_ma_cm2(
    eta_v: ArrayLike,
    j0_ma_cm2: float,
    *,
    temperature_k: float = 298.15,
    alpha_anodic: float = 0.5,
    alpha_cathodic: float = 0.5,
) -> Floats:
    """Return j = j0 [exp(alpha_a F eta/RT) - exp(-alpha_c F eta/RT)], mA/cm2.

    The transfer coefficients are those of the whole reaction: for an elementary transfer of n
    electrons with symmetry 0.5 both are n/2. Source: any textbook of electrode kinetics.
    """
    f = FARADAY_C_MOL / (GAS_CONSTANT_J_MOL_K * temperature_k)
    eta = np.asarray(eta_v, dtype=np.float64)
    return np.asarray(
        j0_ma_cm2 * (np.exp(alpha_anodic * f * eta) - np.exp(-alpha_cathodic * f * eta))
    )


def overpotential_v(
    j_ma_cm2: ArrayLike, j0_ma_cm2: float, electrons: int, *, temperature_k: float = 298.15
) -> Floats:
    """Return the overpotential at a current density, V, for symmetric transfer coefficients.

    eta = (2RT/nF) asinh(j/2j0), the inverse of Butler-Volmer with alpha_a = alpha_c = n/2.
    """
    scale = 2 * GAS_CONSTANT_J_MOL_K * temperature_k / (electrons * FARADAY_C_MOL)
    return np.asarray(scale * np.arcsinh(np.asarray(j_ma_cm2) / (2 * j0_ma_cm2)))


def charge_transfer_ohm_cm2(
    j0_ma_cm2: float, electrons: int, *, temperature_k: float = 298.15
) -> float:
    """Return the small-signal resistance of one interface, R_ct = RT/(nF j0), ohm cm2."""
    volt = GAS_CONSTANT_J_MOL_K * temperature_k / (electrons * FARADAY_C_MOL)
    return volt / (j0_ma_cm2 * 1e-3)


@dataclass(frozen=True)
class Tafel:
    """A Tafel line.

    Attributes:
        j0_ma_cm2: Exchange current density: the line at eta = 0, mA/cm2; None if there is none.
        j0_uncertainty_ma_cm2: Its standard error, mA/cm2.
        slope_mv_dec: |d eta / d log10 |j||, mV per decade.
        slope_uncertainty_mv_dec: Its standard error, mV per decade.
        r2: Coefficient of determination.
        points: Number of rows in the window.
        window_v: The window of overpotentials, V; negative: the cathodic branch.
        ir_corrected: Whether i R_s was taken off the potential; if not, the line is ``apparent``.
        reason: Why there is no line.
    """

    j0_ma_cm2: float | None
    j0_uncertainty_ma_cm2: float | None
    slope_mv_dec: float | None
    slope_uncertainty_mv_dec: float | None
    r2: float | None
    points: int
    window_v: tuple[float, float]
    ir_corrected: bool
    reason: str | None = None


def tafel(
    eta_v: Floats,
    j_ma_cm2: Floats,
    *,
    window_v: tuple[float, float] = TAFEL_WINDOW_V,
    series_ohm_cm2: float | None = None,
) -> Tafel:
    """Fit log10 |j| against eta within a window: its value at eta = 0 is j0, its slope Tafel's.

    Without ``series_ohm_cm2`` the potential holds i R_s and the result is apparent: at metal
    anodes of small interfacial resistance it tells the electrolyte more than the interface.

    Args:
        eta_v: Potential less that of open circuit, V.
        j_ma_cm2: Current density, mA/cm2.
        window_v: Lowest and highest overpotential, V; both negative for the cathodic branch.
        series_ohm_cm2: Measured series resistance times the area, ohm cm2; taken off if given.
    """
    low, high = sorted(window_v)
    corrected = series_ohm_cm2 is not None
    eta = eta_v - 1e-3 * j_ma_cm2 * series_ohm_cm2 if series_ohm_cm2 is not None else eta_v
    sign = 1.0 if low + high > 0 else -1.0
    within = (eta >= low) & (eta <= high) & np.isfinite(j_ma_cm2)

    def none(reason: str) -> Tafel:
        points = int(np.count_nonzero(within))
        return Tafel(None, None, None, None, None, points, (low, high), corrected, reason)

    told = f"the window of {low * 1e3:g} to {high * 1e3:g} mV"
    if low < 0 < high:
        return none(f"{told} holds both branches")
    if np.count_nonzero(within) < FEWEST_POINTS:
        return none(f"{np.count_nonzero(within)} rows lie in {told}, {FEWEST_POINTS} are needed")
    if np.any(sign * j_ma_cm2[within] <= 0):
        return none(f"in {told} the current has the other sign")
    try:
        line = fit_line(eta[within], np.log10(np.abs(j_ma_cm2[within])))
    except ValueError as error:
        return none(f"in {told} {error}")
    if sign * line.slope <= 0:
        return none(f"in {told} the current does not grow with the overpotential")
    slope = 1e3 / abs(line.slope)
    j0 = 10**line.intercept
    return Tafel(
        j0_ma_cm2=j0,
        j0_uncertainty_ma_cm2=j0 * math.log(10.0) * line.intercept_uncertainty,
        slope_mv_dec=slope,
        slope_uncertainty_mv_dec=slope * line.slope_uncertainty / abs(line.slope),
        r2=line.r2,
        points=line.points,
        window_v=(low, high),
        ir_corrected=corrected,
    )


@dataclass(frozen=True)
class LinearPolarisation:
    """What the slope of j against eta at small overpotentials tells.

    Attributes:
        j0_ma_cm2: Exchange current density RT/(nF) dj/deta, mA/cm2; None if it cannot be told.
        j0_uncertainty_ma_cm2: Its standard error, mA/cm2.
        resistance_ohm_cm2: d eta/d j, ohm cm2, of one interface.
        r2: Coefficient of determination of the line.
        points: Number of rows within the limit.
        limit_v: Largest |eta| used, V.
        ir_corrected: Whether i R_s was taken off; if not, R_s is part of the resistance.
        reason: Why there is none.
        largest_ma_cm2: Largest |j| of these rows, mA/cm2.
    """

    j0_ma_cm2: float | None
    j0_uncertainty_ma_cm2: float | None
    resistance_ohm_cm2: float | None
    r2: float | None
    points: int
    limit_v: float
    ir_corrected: bool
    reason: str | None = None
    largest_ma_cm2: float = 0.0


def linear_polarisation(
    eta_v: Floats,
    j_ma_cm2: Floats,
    electrons: int,
    *,
    limit_v: float,
    temperature_k: float = 298.15,
    interfaces: int = 1,
    series_ohm_cm2: float | None = None,
    series_uncertainty_ohm_cm2: float = 0.0,
) -> LinearPolarisation:
    """Return j0 = RT/(nF) dj/deta from the rows with a small overpotential.

    Args:
        eta_v: Potential less that of open circuit, V: of both interfaces of a symmetric cell.
        j_ma_cm2: Current density, mA/cm2.
        electrons: n.
        limit_v: Largest |eta| of one interface, V: 5 mV for n = 1, 3 mV for n = 2.
        temperature_k: Temperature, K.
        interfaces: 2 in a symmetric cell: eta of one is half of what i R_s leaves.
        series_ohm_cm2: Measured series resistance times the area, ohm cm2; taken off if given.
        series_uncertainty_ohm_cm2: Its standard uncertainty, ohm cm2.
    """
    corrected = series_ohm_cm2 is not None
    series = series_ohm_cm2 or 0.0
    eta = (eta_v - 1e-3 * j_ma_cm2 * series) / interfaces
    within = (np.abs(eta) < limit_v) & np.isfinite(j_ma_cm2)

    def none(reason: str) -> LinearPolarisation:
        points = int(np.count_nonzero(within))
        return LinearPolarisation(None, None, None, None, points, limit_v, corrected, reason)

    if np.count_nonzero(within) < FEWEST_POINTS:
        return none(
            f"{np.count_nonzero(within)} rows lie within {limit_v * 1e3:g} mV of open circuit, "
            f"{FEWEST_POINTS} are needed"
        )
    if not (eta[within].min() < 0 < eta[within].max()):
        return none(f"the rows within {limit_v * 1e3:g} mV lie on one side of open circuit")
    line: Line = fit_line(j_ma_cm2[within] * 1e-3, eta[within])
    if line.slope <= 0:
        return none("i R_s is more than the potential moves: the series resistance is too large")
    error = math.hypot(line.slope_uncertainty, series_uncertainty_ohm_cm2 / interfaces)
    volt = GAS_CONSTANT_J_MOL_K * temperature_k / (electrons * FARADAY_C_MOL)
    j0 = 1e3 * volt / line.slope
    return LinearPolarisation(
        j0,
        j0 * error / line.slope,
        line.slope,
        line.r2,
        line.points,
        limit_v,
        corrected,
        largest_ma_cm2=float(np.abs(j_ma_cm2[within]).max()),
    )


@dataclass(frozen=True)
class ButlerVolmerFit:
    """Butler-Volmer fitted to a polarisation curve.

    Attributes:
        j0_ma_cm2: Exchange current density, mA/cm2.
        j0_uncertainty_ma_cm2: Its standard error, mA/cm2.
        alpha_anodic: Transfer coefficient of the dissolution.
        alpha_anodic_uncertainty: Its standard error.
        alpha_cathodic: Transfer coefficient of the deposition.
        alpha_cathodic_uncertainty: Its standard error.
        residual_ma_cm2: Root mean square of the residuals, mA/cm2.
        ir_corrected: Whether i R_s was taken off the potential.
    """

    j0_ma_cm2: float
    j0_uncertainty_ma_cm2: float
    alpha_anodic: float
    alpha_anodic_uncertainty: float
    alpha_cathodic: float
    alpha_cathodic_uncertainty: float
    residual_ma_cm2: float
    ir_corrected: bool


def fit_butler_volmer(
    eta_v: Floats,
    j_ma_cm2: Floats,
    *,
    temperature_k: float = 298.15,
    series_ohm_cm2: float | None = None,
) -> ButlerVolmerFit:
    """Fit j0 and both transfer coefficients to a curve with both branches.

    Least squares of asinh(j/s), with s a tenth of the median |j|, so that large currents do not
    outweigh the small ones.

    Args:
        eta_v: Potential less that of open circuit, V, of one interface.
        j_ma_cm2: Current density, mA/cm2.
        temperature_k: Temperature, K.
        series_ohm_cm2: Measured series resistance times the area, ohm cm2; taken off if given.

    Raises:
        ValueError: Fewer than 8 rows, one branch only, or no fit.
    """
    from scipy.optimize import least_squares

    eta = eta_v - 1e-3 * j_ma_cm2 * series_ohm_cm2 if series_ohm_cm2 is not None else eta_v
    good = np.isfinite(eta) & np.isfinite(j_ma_cm2)
    eta, j = eta[good], j_ma_cm2[good]
    if len(j) < 8 or not (eta.min() < 0 < eta.max()):
        raise ValueError(f"{len(j)} rows, and both branches and 8 rows are needed")
    f = FARADAY_C_MOL / (GAS_CONSTANT_J_MOL_K * temperature_k)
    scale = 0.1 * float(np.median(np.abs(j)))
    if not scale > 0:
        raise ValueError("no current flows")

    def model(x: Floats) -> Floats:
        a, c = np.exp(x[1:]) * f
        return np.asarray(
            math.exp(x[0])
            * (np.exp(np.clip(a * eta, -300, 300)) - np.exp(np.clip(-c * eta, -300, 300)))
        )

    def residual(x: Floats) -> Floats:
        return np.asarray(np.arcsinh(model(x) / scale) - np.arcsinh(j / scale))

    slope = abs(float(np.polyfit(eta, j, 1)[0]))
    begin = np.array([math.log(max(slope / f, 1e-9)), math.log(0.5), math.log(0.5)])
    with one_thread():
        found = least_squares(residual, begin, method="lm")
        variance = 2 * float(found.cost) / (len(j) - 3)
        covariance = np.linalg.pinv(found.jac.T @ found.jac) * variance
    if found.status <= 0:
        raise ValueError("Butler-Volmer could not be fitted")
    j0, anodic, cathodic = (float(value) for value in np.exp(found.x))
    errors = [float(error) for error in np.sqrt(np.diag(covariance))]
    return ButlerVolmerFit(
        j0_ma_cm2=j0,
        j0_uncertainty_ma_cm2=j0 * errors[0],
        alpha_anodic=anodic,
        alpha_anodic_uncertainty=anodic * errors[1],
        alpha_cathodic=cathodic,
        alpha_cathodic_uncertainty=cathodic * errors[2],
        residual_ma_cm2=float(np.sqrt(np.mean((model(found.x) - j) ** 2))),
        ir_corrected=series_ohm_cm2 is not None,
    )
