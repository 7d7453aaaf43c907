"""An insertion electrode, phenomenological: two Gaussian peaks of dQ/dE, and capacities as told.

Nothing of it is predicted. Each redox couple holds a share of the capacity as a Gaussian in the
potential, at one place while it is oxidised and at a lower one while it is reduced; between the two
nothing flows but a slow relaxation to their middle. Rate, temperature and age take a share of the
capacity out of reach at the reduced end.
"""

from __future__ import annotations

from math import erf, exp, log, pi, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sim_devices.cell.electrode import Interface
from sim_devices.cell.parameters import (
    COULOMB_PER_MAH,
    GAS_CONSTANT,
    REFERENCE_TEMPERATURE_K,
    CellParameters,
    InsertionParameters,
)

_LN10 = log(10.0)
_WALL_TAFEL_V = 0.06
_OXIDISED_AT_V, _REDUCED_AT_V = 4.6, 1.0  # the electrolyte, at 1 mA/cm2
_LOWEST_V, _HIGHEST_V = -1.0, 6.0
_LONGEST_NEWTON_STEP_V = 0.3
_RESOLUTION_V = 1e-10
_FARTHEST = 8.0  # from a couple's centre, in its widths
_RELAXATION_PER_H = 1e-3  # of a couple to the middle of its two curves
_LEAST_CAPACITY_MAH_CM2_V = 1e-6
# What its surface stores, like a capacitor: couples that have nothing left let the potential go,
# but not at once.
SURFACE_MAH_CM2_V = 1e-3
_RATE_S = 300.0  # in which the capacity out of reach follows the current
_LEAST_IN_REACH = 0.05
_LARGEST_SHARE_OF_A_STEP = 0.02
_AN_INSTANT_S = 1e-3  # a couple that has nothing left carries no current, however short it is asked
_NO_CURRENT_MAH_CM2 = 1e-12
_STANDARD = NormalDist()


class InsertionElectrode:
    """State of an insertion electrode; charges in mAh/cm2, all potentials against the metal.

    It begins reduced (a sodium cathode full of sodium: discharged). The ledger is exact by
    construction: charge_anodic - charge_cathodic counts extraction, the surface, oxidation and
    reduction.
    """

    tip_um = 0.0  # nothing grows on it

    def __init__(self, parameters: InsertionParameters) -> None:
        """Make a fresh, discharged electrode."""
        self.parameters = parameters
        self.extracted = [0.0 for _ in parameters.couples]
        self.stored = 0.0
        self.oxidised = 0.0
        self.reduced = 0.0
        self.charge_anodic = 0.0
        self.charge_cathodic = 0.0
        self.cycle = 0
        self.direction = 0  # +1 while and after charging, -1 while and after discharging, 0 before
        self.rate_ma_cm2 = 0.0  # follows the magnitude of the current
        self.overpotential_v = (
            0.5
            * sum(couple.reduced_at_v + couple.oxidised_at_v for couple in parameters.couples)
            / len(parameters.couples)
        )
        self._cold_loss = 0.0
        self._conductance = 0.0  # mA/cm2 per V
        self._film = 0.0

    def set_temperature(self, temperature_k: float, cell: CellParameters) -> None:
        """Take the constants to a temperature."""
        del cell
        p = self.parameters
        inverse = (1 / temperature_k - 1 / REFERENCE_TEMPERATURE_K) / GAS_CONSTANT
        factor = exp(p.activation_j_mol * inverse)
        self._conductance = 1e3 / (p.charge_transfer_ohm_cm2 * factor)
        self._film = p.film_resistance_ohm_cm2 * factor
        self._cold_loss = p.cold_loss_per_k * max(0.0, REFERENCE_TEMPERATURE_K - temperature_k)

    def in_reach(self, current: float, step_s: float) -> float:
        """Return the share of the capacity in reach at the end of a step at a current density."""
        p = self.parameters
        kept = exp(-step_s / _RATE_S)
        rate = abs(current) + (self.rate_ma_cm2 - abs(current)) * kept
        beyond = max(0.0, rate / p.active_mass_mg_cm2 * 1e3 - p.rate_reference_ma_g)
        share: float = (1 - p.rate_loss_per_ma_g * beyond) * (1 - self._cold_loss)
        return max(_LEAST_IN_REACH, share * p.retention_per_cycle**self.cycle)

    # ---- the interface

    def interface(self, current: float, step_s: float) -> Interface:
        """Find the potential at which all branches together carry a current density (mA/cm2).

        The state does not change. The couples are taken at the end of the step (implicit, so any
        step is stable). Newton's method with a bracket: every branch rises with the potential.
        """
        hours = max(step_s, _AN_INSTANT_S) / 3600
        surface = SURFACE_MAH_CM2_V * 3600 / step_s if step_s else 0.0  # mA/cm2 per V
        reach = self.in_reach(current, step_s)
        places = self._places(reach)
        e = self.overpotential_v
        low, high = _LOWEST_V, _HIGHEST_V
        couples = oxidation = reduction = slope = 0.0
        for _ in range(200):
            flowing = self._flowing(e, places, hours)
            couples, oxidation, reduction, slope = self._branches(e, flowing)
            slope += surface
            excess = (
                couples + oxidation + reduction - current + surface * (e - self.overpotential_v)
            )
            if excess > 0:
                high = e
            else:
                low = e
            change = excess / max(slope, 1e-12)
            if abs(change) < _RESOLUTION_V or high - low < _RESOLUTION_V:
                break
            after = e - min(max(change, -_LONGEST_NEWTON_STEP_V), _LONGEST_NEWTON_STEP_V)
            e = after if low < after < high else 0.5 * (low + high)
        return e, couples, 0.0, oxidation, reduction, max(slope, 1e-12), self._film

    def _places(self, reach: float) -> list[tuple[float, float, float, float]]:
        """Return what each couple can do.

        Its capacity, where it is on its curves of oxidation and of reduction (in widths from the
        centre), and the capacity in reach of reduction.
        """
        places = []
        for couple, extracted in zip(self.parameters.couples, self.extracted, strict=True):
            capacity = couple.share * self.parameters.capacity_mah_cm2
            reducible = capacity * reach
            left = (extracted - (capacity - reducible)) / reducible
            places.append((capacity, _quantile(extracted / capacity), _quantile(left), reducible))
        return places

    def _flowing(
        self, e: float, places: list[tuple[float, float, float, float]], hours: float
    ) -> list[tuple[float, float]]:
        """Return current density (mA/cm2) and slope (mA/cm2 per V) of each couple."""
        flowing = []
        for couple, extracted, (capacity, z_oxidised, z_reduced, reducible) in zip(
            self.parameters.couples, self.extracted, places, strict=True
        ):
            g = self._conductance * couple.share
            width = couple.width_v
            to_oxidised = e - couple.oxidised_at_v - width * z_oxidised
            to_reduced = e - couple.reduced_at_v - width * z_reduced
            middle = 0.5 * (z_oxidised + z_reduced)
            leak = _RELAXATION_PER_H * (
                capacity * _density(middle) / width + _LEAST_CAPACITY_MAH_CM2_V
            )
            away, half_gap = 0.5 * (to_oxidised + to_reduced), 0.5 * (to_reduced - to_oxidised)
            current, slope = leak * away, leak
            if abs(away) > half_gap:  # there the couple reacts, or has nothing left to relax
                current, slope = leak * half_gap * (1 if away > 0 else -1), 0.0
            if to_oxidised > 0:
                more = _react(to_oxidised, g, width, capacity, z_oxidised, hours)
            elif to_reduced < 0:
                more = _react(to_reduced, g, width, reducible, z_reduced, hours)
            else:
                more = 0.0, 0.0
            current, slope = current + more[0], slope + more[1]
            # What reacts ends at the couple's end by itself; what relaxes beside it does not.
            fullest = max(0.0, capacity - extracted) / hours
            emptiest = -max(0.0, extracted - (capacity - reducible)) / hours
            if not emptiest <= current <= fullest:
                current, slope = min(max(current, emptiest), fullest), 0.0
            flowing.append((current, slope))
        return flowing

    def _branches(
        self, e: float, flowing: list[tuple[float, float]]
    ) -> tuple[float, float, float, float]:
        """Return the currents of couples, oxidation and reduction, and the slope of all."""
        share = self.parameters.parasitic_share
        couples = slope = 0.0
        charging = charging_slope = 0.0
        for current, one_slope in flowing:
            couples += current
            slope += one_slope
            if current > 0:
                charging += current
                charging_slope += one_slope
        oxidation = charging * share / (1 - share)
        slope += charging_slope * share / (1 - share)
        wall = exp(min(50.0, (e - _OXIDISED_AT_V) * _LN10 / _WALL_TAFEL_V))
        reduction = -exp(min(50.0, (_REDUCED_AT_V - e) * _LN10 / _WALL_TAFEL_V))
        slope += (wall - reduction) * _LN10 / _WALL_TAFEL_V
        return couples, oxidation + wall, reduction, slope

    def nucleation_v(self, metal_current: float) -> float:
        """Return 0: nothing nucleates here."""
        del metal_current
        return 0.0

    def impedance(
        self, omega: npt.NDArray[np.complex128], current: float, transport_time_s: float
    ) -> npt.NDArray[np.complex128]:
        """Return the electrode's part of the impedance, ohm cm2: it blocks at low frequency.

        Args:
            omega: j times the angular frequency, 1/s.
            current: direct current density, mA/cm2.
            transport_time_s: of the separator, which is not limiting here.
        """
        del transport_time_s
        p = self.parameters
        capacity = SURFACE_MAH_CM2_V
        for couple, (whole, z, _, _) in zip(
            p.couples, self._places(self.in_reach(current, 0.0)), strict=True
        ):
            capacity += whole * _density(z) / couple.width_v
        inserting = 1 / (omega * capacity * COULOMB_PER_MAH)
        charge_transfer = 1e3 / self._conductance
        found: npt.NDArray[np.complex128] = 1 / (
            omega**p.film_cpe_exponent * p.film_cpe + 1 / self._film
        ) + 1 / (
            omega**p.double_layer_cpe_exponent * p.double_layer_cpe
            + 1 / (charge_transfer + inserting)
        )
        return found

    def interface_resistance(self, current: float) -> float:
        """Return film and charge transfer in series, ohm cm2; the current does not matter."""
        del current
        return 1e3 / self._conductance + self._film

    # ---- what limits a step, and what a step does

    def longest_step(self, current: float, step_s: float) -> float:
        """Return the part of a step (s) over which the implicit scheme stays accurate."""
        if not current:
            return step_s
        charge = _LARGEST_SHARE_OF_A_STEP * self.parameters.capacity_mah_cm2
        return min(step_s, max(charge * 3600 / abs(current), 1e-2))

    def commit(self, current: float, interface: Interface, step_s: float) -> float:
        """Let the solved currents flow for a step; return the hydrogen, which is none."""
        e, _, _, oxidation, reduction, _, _ = interface
        hours = step_s / 3600
        flowing = self._flowing(e, self._places(self.in_reach(current, step_s)), hours)
        charges = [one * hours for one, _ in flowing]
        charge, oxidised, reduced = current * hours, oxidation * hours, -reduction * hours
        # The surface by difference, so that the ledger is exact.
        self.stored += charge - oxidised + reduced - sum(charges)
        for k, one in enumerate(charges):
            self.extracted[k] += one
        self.oxidised += oxidised
        self.reduced += reduced
        if charge > 0:
            self.charge_anodic += charge
        else:
            self.charge_cathodic -= charge
        if charge > _NO_CURRENT_MAH_CM2:
            if self.direction == -1:
                self.cycle += 1
            self.direction = 1
        elif charge < -_NO_CURRENT_MAH_CM2:
            self.direction = -1
        kept = exp(-step_s / _RATE_S)
        self.rate_ma_cm2 = abs(current) + (self.rate_ma_cm2 - abs(current)) * kept
        self.overpotential_v = e
        return 0.0

    # ---- derived quantities

    def ledger_residual(self) -> float:
        """Return the charge (mAh/cm2) that the ledger cannot account for: rounding only."""
        net = self.charge_anodic - self.charge_cathodic
        return net - (sum(self.extracted) + self.stored + self.oxidised - self.reduced)

    def ledger(self) -> dict[str, float]:
        """Return where the charge went since the start, mAh/cm2."""
        return {
            "charge_cathodic": self.charge_cathodic,
            "charge_anodic": self.charge_anodic,
            "extracted": sum(self.extracted),
            "stored": self.stored,
            "oxidised": self.oxidised,
            "reduced": self.reduced,
            "residual": self.ledger_residual(),
        }


def _density(z: float) -> float:
    return exp(-0.5 * z * z) / sqrt(2 * pi)


def _cumulative(z: float) -> float:
    return 0.5 * (1 + erf(z / sqrt(2)))


def _quantile(share: float) -> float:
    if share <= 1e-15:
        return -_FARTHEST
    if share >= 1 - 1e-15:
        return _FARTHEST
    return min(max(_STANDARD.inv_cdf(share), -_FARTHEST), _FARTHEST)


def _react(
    driving_v: float, g: float, width_v: float, capacity: float, z_before: float, hours: float
) -> tuple[float, float]:
    """Return current density and slope of a couple that is driven beyond its own potential.

    ``j = g (E - U(q + j h))`` with U the couple's curve, solved for where it ends on that curve.
    """
    stiffness = hours * g * width_v
    farthest = driving_v / width_v  # as far as it goes, in widths
    wanted = hours * g * driving_v
    begin = _cumulative(z_before)
    low, high = (0.0, farthest) if farthest > 0 else (farthest, 0.0)
    moved = 0.0
    for _ in range(60):
        z = z_before + moved
        excess = capacity * (_cumulative(z) - begin) + stiffness * moved - wanted
        if excess > 0:
            high = moved
        else:
            low = moved
        slope = capacity * _density(z) + stiffness
        after = moved - excess / slope
        if not low <= after <= high:
            after = 0.5 * (low + high)
        if abs(after - moved) < 1e-13 * (1 + abs(moved)):
            moved = after
            break
        moved = after
    resisting = capacity * _density(z_before + moved)
    return g * (driving_v - width_v * moved), g * resisting / (resisting + stiffness)
