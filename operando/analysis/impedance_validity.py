"""Whether an impedance spectrum is the response of something linear, stable and causal."""

import math
from dataclasses import dataclass

import numpy as np

from operando.analysis.circuits import Complex
from operando.runs import Floats

# A spectrum is a linear, stable, causal response if a chain of RC elements follows it this well.
KRAMERS_KRONIG_LIMIT = 0.01
LARGEST_SHARE_DROPPED = 0.1
FEWEST_POINTS = 8


class ImpedanceFitError(ValueError):
    """A spectrum cannot be evaluated; the message says why."""


@dataclass(frozen=True)
class KramersKronig:
    """How well a chain of RC elements follows a spectrum.

    Attributes:
        elements: Number of RC elements used.
        residual_real: (measured - chain) / |Z| of the real part, by frequency.
        residual_imag: The same of the imaginary part.
        variance: Mean square of both per degree of freedom: the noise, where the test holds.
        mu: 1 less the sum of the negative over the sum of the positive resistances.
    """

    elements: int
    residual_real: Floats
    residual_imag: Floats
    variance: float
    mu: float

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


def kramers_kronig(
    frequency_hz: Floats, impedance_ohm: Complex, *, mu_below: float | None = None
) -> KramersKronig:
    """Test a spectrum against a chain of RC elements with logarithmically spaced time constants.

    A linear fit (Boukamp, J. Electrochem. Soc. 142 (1995) 1885) in which a series resistance,
    inductance and capacitance take part; such a chain can follow a response only if it is causal,
    stable and linear.

    Args:
        frequency_hz: Frequencies, Hz.
        impedance_ohm: Impedance, ohm.
        mu_below: How the number of elements is found. None: the smallest that follows the spectrum
            as well, per degree of freedom, as any number does within 10 %. Else the first with
            mu below this (lin-KK: Schoenleber et al., Electrochim. Acta 131 (2014) 20), where mu is
            1 less the sum of the negative over that of the positive resistances.
    """
    omega = 2 * np.pi * frequency_hz
    magnitude = np.abs(impedance_ohm)
    target = np.concatenate((impedance_ohm.real / magnitude, impedance_ohm.imag / magnitude))
    most = max(4, 2 * len(omega) // 3)
    tried: list[KramersKronig] = []
    for elements in range(1, most) if mu_below is not None else range(3, most, 2):
        tried.append(_chain(omega, magnitude, target, elements))
        if mu_below is not None and tried[-1].mu < mu_below:
            return tried[-1]
    allowed = 1.1 * min(one.variance for one in tried)
    return next(one for one in tried if one.variance <= allowed)


def _chain(omega: Floats, magnitude: Floats, target: Floats, elements: int) -> KramersKronig:
    longest, shortest = 1 / omega.min(), 1 / omega.max()
    tau = np.logspace(math.log10(shortest), math.log10(longest), elements)
    chain = 1 / (1 + 1j * omega[:, None] * tau[None, :])
    ends = (np.ones_like(omega), 1j * omega * shortest, 1 / (1j * omega * longest))
    columns = np.column_stack((*ends, chain)) / magnitude[:, None]
    design = np.concatenate((columns.real, columns.imag))
    found = np.linalg.lstsq(design, target, rcond=1e-12)[0]
    residual = target - design @ found
    variance = float(residual @ residual) / (len(target) - design.shape[1])
    resistances = found[len(ends) :]
    positive = float(resistances[resistances > 0].sum())
    negative = -float(resistances[resistances < 0].sum())
    mu = 1 - negative / positive if positive > 0 else -math.inf
    points = len(omega)
    return KramersKronig(elements, residual[:points], residual[points:], variance, mu)


def usable_points(
    frequency_hz: Floats, z_real_ohm: Floats, z_imag_ohm: Floats
) -> tuple[Floats, Complex]:
    """Return the finite points of a spectrum, highest frequency first.

    Raises ImpedanceFitError where there are too few.
    """
    good = np.isfinite(frequency_hz) & np.isfinite(z_real_ohm) & np.isfinite(z_imag_ohm)
    good &= frequency_hz > 0
    order = np.argsort(-frequency_hz[good], kind="stable")
    frequency = frequency_hz[good][order]
    impedance = (z_real_ohm[good] + 1j * z_imag_ohm[good])[order]
    if len(frequency) < FEWEST_POINTS or np.abs(impedance).min() <= 0:
        raise ImpedanceFitError(f"{len(frequency)} usable points, at least {FEWEST_POINTS} needed")
    return frequency, impedance


def valid_points(
    frequency: Floats, impedance: Complex
) -> tuple[Floats, Complex, KramersKronig, int]:
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
    return frequency, impedance, test, dropped
