"""The distribution of relaxation times (DRT) of an impedance spectrum, without a circuit."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from operando.analysis._threads import one_thread
from operando.analysis.circuits import Complex
from operando.analysis.prominences import prominent_peaks
from operando.runs import Floats

POINTS_PER_DECADE = 12
# The times reach beyond those of the band, so that what lies outside has where to go.
BEYOND_DECADES = 0.5
# A peak stands this far out of its surroundings, as a share of the highest; what is smaller beside
# a narrow peak is mostly the ringing of the regularisation.
PROMINENCE = 0.1
# Its area is this many times its standard uncertainty.
SIGMAS = 3.0
# What a narrow peak between two of the times adds to a resistance, as a share of R_pol.
GRID_ERROR = 1e-3
# Makes cross-validation less fond of following the noise (Maradesa et al., J. Electrochem. Soc. 170
# (2023) 030502).
CAUTION = 1.3
# Where the regularisation is looked for, log10.
SMOOTHEST, ROUGHEST = 1.0, -7.0

# What usually relaxes so fast; a hint and no assignment.
_HINTS = (
    (1e-5, "contact or lead"),
    (1e-3, "film or contact"),
    (1.0, "charge transfer"),
    (math.inf, "diffusion"),
)


class RelaxationTimesError(ValueError):
    """A spectrum has no distribution of relaxation times; the message says why."""


@dataclass(frozen=True)
class RelaxationPeak:
    """One peak of a distribution.

    Attributes:
        tau_s: Its centre, the mean of log tau weighted with gamma, s.
        tau_uncertainty_s: Standard uncertainty of it, from the noise, s.
        area_ohm: Its area: a resistance, ohm.
        area_uncertainty_ohm: Standard uncertainty of it, from the noise, ohm.
        hint: What usually relaxes so fast; no assignment.
        inside: Whether its centre lies within the band that was measured.
    """

    tau_s: float
    tau_uncertainty_s: float
    area_ohm: float
    area_uncertainty_ohm: float
    hint: str
    inside: bool


@dataclass(frozen=True)
class RelaxationTimes:
    """A distribution gamma of relaxation times: Z = R_inf + jwL + int gamma/(1 + jw tau) dln tau.

    Attributes:
        tau_s: Relaxation times, s, ascending.
        gamma_ohm: The distribution at each, ohm per unit of ln tau, >= 0.
        series_ohm: R_inf, ohm.
        series_uncertainty_ohm: Its standard uncertainty, from the noise, ohm.
        polarisation_ohm: R_pol, the area of gamma, ohm.
        polarisation_uncertainty_ohm: Its standard uncertainty, from the noise, the grid of times
            and what may lie beyond the band, ohm.
        inductance_h: L, H, >= 0.
        regularisation: lambda, of the squared first derivative with respect to ln tau, both sides
            scaled with the median of |Z|.
        chosen_by: ``gcv`` (generalised cross-validation) or ``given``.
        residual: Root mean square of the residual over the median of |Z|.
        peaks: The peaks, fastest first; those whose area stands out of its uncertainty.
    """

    tau_s: Floats
    gamma_ohm: Floats
    series_ohm: float
    series_uncertainty_ohm: float
    polarisation_ohm: float
    polarisation_uncertainty_ohm: float
    inductance_h: float
    regularisation: float
    chosen_by: Literal["gcv", "given"]
    residual: float
    peaks: tuple[RelaxationPeak, ...]

    def impedance_ohm(self, frequency_hz: Floats) -> Complex:
        """Return the impedance of the distribution, ohm, by frequency."""
        jw = 2j * np.pi * np.asarray(frequency_hz, dtype=np.float64)
        width = math.log(self.tau_s[1] / self.tau_s[0])
        kernel = width / (1 + jw[:, None] * self.tau_s[None, :])
        return np.asarray(self.series_ohm + jw * self.inductance_h + kernel @ self.gamma_ohm)


def relaxation_times(
    frequency_hz: Floats, impedance_ohm: Complex, *, regularisation: float | None = None
) -> RelaxationTimes:
    """Return the distribution of relaxation times of a spectrum.

    Tikhonov regularisation of the first derivative with gamma, R_inf and L >= 0, on 12 times per
    decade that reach half a decade beyond the band on both sides (Wan et al., Electrochim. Acta
    184 (2015) 483). Without ``regularisation`` it is found by generalised cross-validation of the
    problem without the bounds (Golub, Heath and Wahba, Technometrics 21 (1979) 215). The spectrum
    should have passed the Kramers-Kronig test.

    Args:
        frequency_hz: Frequencies, Hz, any order.
        impedance_ohm: Impedance, ohm, negative imaginary when capacitive.
        regularisation: lambda, > 0; 1e-3 suits most spectra.

    Raises:
        RelaxationTimesError: Too few points, values that are not finite, or a lambda <= 0.
    """
    frequency = np.asarray(frequency_hz, dtype=np.float64)
    impedance = np.asarray(impedance_ohm, dtype=np.complex128)
    if len(frequency) < 8 or np.ptp(frequency) == 0:
        raise RelaxationTimesError(f"{len(frequency)} frequencies are too few, 8 are needed")
    if not (np.all(np.isfinite(impedance)) and np.all(frequency > 0)):
        raise RelaxationTimesError("the spectrum has values that are not finite, or f <= 0")
    if regularisation is not None and not regularisation > 0:
        raise RelaxationTimesError(f"a regularisation of {regularisation} is not above 0")
    with one_thread():
        return _found(frequency, impedance, regularisation)


def _found(frequency: Floats, impedance: Complex, regularisation: float | None) -> RelaxationTimes:
    from scipy.optimize import minimize_scalar, nnls

    omega = 2 * np.pi * frequency
    shortest, longest = 1 / float(omega.max()), 1 / float(omega.min())
    low, high = math.log10(shortest) - BEYOND_DECADES, math.log10(longest) + BEYOND_DECADES
    tau = np.logspace(low, high, round(POINTS_PER_DECADE * (high - low)) + 1)
    width = math.log(tau[1] / tau[0])
    scale = float(np.median(np.abs(impedance)))

    count = len(tau)
    kernel = width / (1 + 1j * omega[:, None] * tau[None, :])
    columns = np.column_stack((kernel, np.ones_like(omega), 1j * omega * shortest))
    design: Floats = np.concatenate((columns.real, columns.imag))
    parts = np.concatenate((impedance.real, impedance.imag))
    target = np.asarray(parts / scale, dtype=np.float64)
    slope = np.zeros((count - 1, count + 2))
    slope[:, :count] = np.diff(np.eye(count), axis=0) / math.sqrt(width)
    spectrum = _Regularised(design, slope, target)
    if regularisation is None:
        chosen = minimize_scalar(
            lambda x: math.log(spectrum.cross_validation(10**x)),
            bounds=(ROUGHEST, SMOOTHEST),
            method="bounded",
            options={"xatol": 0.02},
        )
        strength = 10 ** float(chosen.x)
    else:
        strength = regularisation
    stacked = np.concatenate((design, math.sqrt(strength) * slope))
    full = np.column_stack((stacked, np.append(target, np.zeros(count - 1))))
    # The triangle has the same solution in fewer rows.
    triangle = np.asarray(np.linalg.qr(full, "r"))
    found, _ = nnls(triangle[:, :-1], triangle[:, -1], maxiter=50 * count)
    misfit = target - design @ found
    covariance = spectrum.covariance(strength, found > 0, float(misfit @ misfit)) * scale**2
    gamma = found[:count] * scale
    area = np.full(count, width)
    polarisation = float(gamma.sum()) * width
    grid = GRID_ERROR * polarisation
    # As much as lies within half a decade inside the ends of the band may lie beyond, or not.
    inside = (tau >= shortest) & (tau <= longest)
    near = 10**BEYOND_DECADES
    ends = inside & ((tau < shortest * near) | (tau > longest / near))
    beyond = float(gamma[ends].sum()) * width
    return RelaxationTimes(
        tau_s=tau,
        gamma_ohm=gamma,
        series_ohm=float(found[count]) * scale,
        series_uncertainty_ohm=math.hypot(math.sqrt(float(covariance[count, count])), grid),
        polarisation_ohm=polarisation,
        polarisation_uncertainty_ohm=math.hypot(
            math.sqrt(float(area @ covariance[:count, :count] @ area)), grid, beyond
        ),
        inductance_h=float(found[count + 1]) * scale * shortest,
        regularisation=strength,
        chosen_by="gcv" if regularisation is None else "given",
        residual=math.sqrt(float(misfit @ misfit) / len(misfit)),
        peaks=_peaks(tau, gamma, covariance[:count, :count], (shortest, longest)),
    )


class _Regularised:
    """A linear problem and its penalty, made diagonal together: any lambda is then cheap."""

    def __init__(self, design: Floats, slope: Floats, target: Floats) -> None:
        from scipy.linalg import eigh

        self._normal, self._penalty = design.T @ design, slope.T @ slope
        self._rows = len(target)
        together = self._normal + self._penalty
        together[np.diag_indices_from(together)] += 1e-12 * np.trace(together) / len(together)
        shares, vectors = eigh(self._normal, together)
        self._shares = np.clip(shares, 0.0, 1.0)
        self._projected = vectors.T @ (design.T @ target)
        self._square = float(target @ target)

    def cross_validation(self, strength: float) -> float:
        """Return the generalised cross-validation of a lambda."""
        damped = self._shares + strength * (1 - self._shares)
        effective = float(np.sum(self._shares / damped))
        along = self._projected**2 / damped
        misfit = self._square - float(np.sum(along * (2 - self._shares / damped)))
        floor = 1e-15 * self._square
        return max(misfit, floor) / self._rows / (1 - CAUTION * effective / self._rows) ** 2

    def covariance(self, strength: float, positive: NDArray[np.bool_], misfit: float) -> Floats:
        """Return the covariance of the unknowns that are not held at 0, scaled with the misfit."""
        free = np.flatnonzero(positive)
        inner = np.ix_(free, free)
        inverse = np.linalg.pinv(
            self._normal[inner] + strength * self._penalty[inner], rcond=1e-14, hermitian=True
        )
        effective = float(np.sum(inverse * self._normal[inner]))
        variance = misfit / max(self._rows - effective, 1.0)
        covariance = np.zeros_like(self._normal)
        covariance[inner] = variance * inverse
        return covariance


def _peaks(
    tau: Floats, gamma: Floats, covariance: Floats, band: tuple[float, float]
) -> tuple[RelaxationPeak, ...]:
    if not gamma.max() > 0:
        return ()
    padded = np.concatenate(([0.0], gamma, [0.0]))
    tops = prominent_peaks(padded, PROMINENCE * gamma.max()) - 1
    edges = [0]
    for one, other in pairwise(tops):
        edges.append(int(one + np.argmin(gamma[one : other + 1])))
    edges.append(len(gamma))
    logarithm, width = np.log(tau), math.log(tau[1] / tau[0])
    found = []
    for first, stop in pairwise(edges):
        part = slice(first, stop)
        area = float(gamma[part].sum()) * width
        centre = float(gamma[part] @ logarithm[part]) * width / area
        inner = covariance[part, part]
        moment = (logarithm[part] - centre) * width / area
        tau_s = math.exp(centre)
        found.append(
            RelaxationPeak(
                tau_s=tau_s,
                tau_uncertainty_s=tau_s * math.sqrt(max(float(moment @ inner @ moment), 0.0)),
                area_ohm=area,
                area_uncertainty_ohm=math.hypot(
                    width * math.sqrt(max(float(inner.sum()), 0.0)),
                    GRID_ERROR * float(gamma.sum()) * width,
                ),
                hint=next(hint for until, hint in _HINTS if tau_s <= until),
                inside=band[0] <= tau_s <= band[1],
            )
        )
    return tuple(peak for peak in found if peak.area_ohm > SIGMAS * peak.area_uncertainty_ohm)
