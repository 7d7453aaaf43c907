"""Activation energies from resistances at several temperatures, and whether those stood."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from operando.analysis.lines import fit_line
from operando.analysis.thickness import GAS_CONSTANT_J_MOL_K
from operando.runs import Floats

# What is plotted against 1/T. An energy of one form does not compare with one of the other.
Form = Literal["ln(T/R)", "ln(1/R)"]
FEWEST_TEMPERATURES = 4
# Temperatures closer than this are one.
SAME_WITHIN_K = 1.0
# A temperature stands when it changes by less per minute and is no further from its set point.
LARGEST_DRIFT_K_MIN = 0.1
LARGEST_DEVIATION_K = 0.3
# The drift is that of the last minutes.
DRIFT_WINDOW_S = 300.0


@dataclass(frozen=True)
class ActivationEnergy:
    """An activation energy.

    Attributes:
        kj_mol: E_a, kJ/mol; None if there is none.
        uncertainty_kj_mol: Its standard error, kJ/mol.
        intercept: ln A: the form's value at 1/T = 0, with R in ohm and T in K.
        r2: Coefficient of determination.
        temperatures: Number of different temperatures.
        form: What was fitted against 1/T.
        reason: Why there is none.
    """

    kj_mol: float | None
    uncertainty_kj_mol: float | None
    intercept: float | None
    r2: float | None
    temperatures: int
    form: Form
    reason: str | None = None


def activation_energy(
    temperature_k: ArrayLike,
    resistance_ohm: ArrayLike,
    uncertainty_ohm: ArrayLike | None = None,
    *,
    form: Form = "ln(T/R)",
    temperature_uncertainty_k: float = 0.0,
) -> ActivationEnergy:
    """Fit ln(T/R) or ln(1/R) against 1/T; E_a = -R_gas times the slope.

    For the same data the second form gives less by R_gas times the mean temperature: 2.48 kJ/mol
    between 273 and 323 K.

    Args:
        temperature_k: Temperatures, K; several resistances may belong to one.
        resistance_ohm: Resistances, ohm, or ohm cm2.
        uncertainty_ohm: Their standard uncertainties; None: only the scatter tells.
        form: Which of the two.
        temperature_uncertainty_k: Standard uncertainty of each temperature, K.
    """
    temperature = np.asarray(temperature_k, dtype=np.float64)
    resistance = np.asarray(resistance_ohm, dtype=np.float64)
    good = np.isfinite(temperature) & np.isfinite(resistance) & (temperature > 0) & (resistance > 0)
    if uncertainty_ohm is not None:
        errors = np.asarray(uncertainty_ohm, dtype=np.float64)
        good &= np.isfinite(errors) & (errors > 0)
    temperature, resistance = temperature[good], resistance[good]
    distinct = 1 + int(np.count_nonzero(np.diff(np.sort(temperature)) > SAME_WITHIN_K))
    if not len(temperature) or distinct < FEWEST_TEMPERATURES:
        count = distinct if len(temperature) else 0
        told = f"{count} temperatures, at least {FEWEST_TEMPERATURES} are needed"
        return ActivationEnergy(None, None, None, None, count, form, told)
    inverse = 1 / temperature
    value = np.log(temperature / resistance) if form == "ln(T/R)" else -np.log(resistance)
    line = fit_line(inverse, value)
    if uncertainty_ohm is not None:
        relative = errors[good] / resistance
        # A temperature that is wrong moves the point along the line.
        moved = line.slope * temperature_uncertainty_k * inverse**2
        line = fit_line(inverse, value, np.hypot(relative, moved))
    return ActivationEnergy(
        kj_mol=-GAS_CONSTANT_J_MOL_K * line.slope * 1e-3,
        uncertainty_kj_mol=GAS_CONSTANT_J_MOL_K * line.slope_uncertainty * 1e-3,
        intercept=line.intercept,
        r2=line.r2,
        temperatures=distinct,
        form=form,
    )


@dataclass(frozen=True)
class Settled:
    """Whether a temperature stood while something was measured.

    Attributes:
        temperature_k: Its mean meanwhile, K; None without rows.
        drift_k_min: Its slope from five minutes before until the end, K/min; None with fewer than
            three rows.
        deviation_k: The mean less the set point, K; None without one.
        reason: Why it did not stand; None if it did.
    """

    temperature_k: float | None
    drift_k_min: float | None
    deviation_k: float | None
    reason: str | None


def settled(
    t_s: Floats,
    temperature_k: Floats,
    setpoint_k: Floats | None,
    begin_s: float,
    end_s: float,
) -> Settled:
    """Judge by |dT/dt| < 0.1 K/min and |T - T_set| < 0.3 K whether a temperature stood.

    Args:
        t_s: Time of the rows of the thermostat, s.
        temperature_k: Temperature, K.
        setpoint_k: Set point, K; None if it was not recorded.
        begin_s: When the measurement began, s.
        end_s: When it ended, s.
    """
    known = np.isfinite(t_s) & np.isfinite(temperature_k)
    near = known & (t_s >= begin_s - DRIFT_WINDOW_S) & (t_s <= max(end_s, begin_s))
    if not near.any():
        return Settled(None, None, None, "no row of the thermostat lies near")
    during = near & (t_s >= begin_s)
    if not during.any():
        during = near & (t_s == t_s[near].max())
    mean = float(temperature_k[during].mean())
    drift = None
    if np.count_nonzero(near) >= 3 and np.ptp(t_s[near]) > 0:
        drift = 60 * fit_line(t_s[near] - begin_s, temperature_k[near]).slope
    deviation = None
    if setpoint_k is not None and np.isfinite(setpoint_k[during]).any():
        deviation = mean - float(np.nanmean(setpoint_k[during]))
    reason = None
    if drift is None:
        reason = "too few rows of the thermostat to tell its drift"
    elif not abs(drift) < LARGEST_DRIFT_K_MIN:
        reason = f"the temperature drifted by {drift:.2g} K/min"
    elif deviation is not None and not abs(deviation) < LARGEST_DEVIATION_K:
        reason = f"the temperature was {deviation:+.2g} K from its set point"
    if not math.isfinite(mean):
        return Settled(None, drift, deviation, "the thermostat told no temperature")
    return Settled(mean, drift, deviation, reason)
