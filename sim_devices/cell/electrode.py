"""One electrode: its state, its interface, and what a step of current does to it."""

from __future__ import annotations

from math import exp, log

import numpy as np
import numpy.typing as npt

from sim_devices.cell.parameters import (
    COULOMB_PER_MAH,
    FARADAY,
    GAS_CONSTANT,
    REFERENCE_TEMPERATURE_K,
    ZHS_DENSITY_G_CM3,
    ZHS_MOLAR_MASS_G_MOL,
    CellParameters,
    ElectrodeParameters,
)

# Overpotential (V), then current densities (mA/cm2, anodic positive) of metal, hydrogen, substrate
# or electrolyte oxidation and formation, then the differential conductance (mA/cm2 per V) and the
# film resistance (ohm cm2). A plain tuple: it is made 2e5 times a second.
Interface = tuple[float, float, float, float, float, float, float]

_LN10 = log(10.0)
_LOWEST_V, _HIGHEST_V = (
    -2.5,
    3.0,
)  # where the overpotential is clamped: the instrument shows an overload there
_LONGEST_NEWTON_STEP_V = 0.12
_OVER_THE_KINK_V = 1e-7
_FORMATION_TAFEL_V = 0.06
_FORMATION_CURRENT_MA_CM2 = 5.0  # at the formation potential
_FORMATION_DONE = 1e-6  # part of the formation charge below which formation is over
_LEAK_MA_CM2_V = 1e-4  # gives a bare substrate an open-circuit potential
_BARE_MAH_CM2 = 1e-9
# The interphase forms before it begins to differ from plating to plating.
_FORMED_AFTER_CYCLES = 5
_TIP_SD = 0.15  # of the logarithm of the tip growth, per plating segment
_SMALLEST_SURFACE_CONCENTRATION = 1e-6
_NO_CURRENT_MAH_CM2 = 1e-12
ZHS_CM_CM2_MOL = ZHS_MOLAR_MASS_G_MOL / ZHS_DENSITY_G_CM3  # film thickness in cm per mol/cm2


class Electrode:
    """State and kinetics of one electrode; all quantities per geometric area.

    Every charge is in mAh/cm2. The ledger is exact by construction: charge_anodic - charge_cathodic
    counts metal, dead metal, hydrogen, formation and oxidation (`ledger_residual`).
    """

    __slots__ = (
        "_base_exchange_current",
        "_charge_transfer_slope",
        "_efficiency_stream",
        "_exchange_current",
        "_exchange_factor",
        "_film_base",
        "_film_factor",
        "_film_per_zhs",
        "_hydrogen_current",
        "_hydrogen_slope",
        "_limiting_current",
        "_nucleation_current",
        "_oxidation_potential",
        "_oxidation_slope",
        "_relaxation",
        "_relaxation_step",
        "_resistance_factor",
        "_scatter_stream",
        "_tip_exponent",
        "_tip_growth",
        "_tip_reference",
        "_tip_stream",
        "_transport_time",
        "charge_anodic",
        "charge_cathodic",
        "cycle",
        "dead",
        "dead_fraction",
        "direction",
        "formation_left",
        "hydrogen",
        "metal",
        "overpotential_v",
        "oxidised",
        "parameters",
        "plated_in_segment",
        "surface_concentration",
        "tip_factor",
        "tip_um",
        "zhs_mol_cm2",
    )

    def __init__(
        self,
        parameters: ElectrodeParameters,
        cell: CellParameters,
        tip_growth_um_per_mah_cm2: float,
        efficiency_stream: np.random.Generator,
        tip_stream: np.random.Generator,
        scatter_stream: np.random.Generator,
    ) -> None:
        """Make a fresh electrode; its cell's electrodes share the cell's random streams."""
        self.parameters = parameters
        self.metal = parameters.metal_mah_cm2 + parameters.predeposited_mah_cm2
        self.dead = 0.0
        self.hydrogen = 0.0
        self.oxidised = 0.0
        self.formation_left = parameters.formation_charge_mah_cm2
        self.charge_cathodic = 0.0
        self.charge_anodic = 0.0
        self.zhs_mol_cm2 = 0.0
        self.tip_um = 0.0
        self.cycle = 0
        self.direction = (
            0  # -1 while and after plating, +1 while and after stripping that, 0 before
        )
        self.plated_in_segment = 0.0
        self.dead_fraction = parameters.dead_fraction
        self.tip_factor = 1.0
        self.surface_concentration = 1.0  # relative to the bulk
        self.overpotential_v = 0.0
        self._tip_growth = tip_growth_um_per_mah_cm2
        self._tip_exponent = cell.dendrite_exponent
        self._tip_reference = cell.dendrite_current_ma_cm2
        self._efficiency_stream = efficiency_stream
        self._tip_stream = tip_stream
        self._scatter_stream = scatter_stream
        self._resistance_factor = 1.0
        self._limiting_current = cell.limiting_current_ma_cm2
        self._transport_time = cell.transport_time_s
        self._nucleation_current = cell.nucleation_current_ma_cm2
        self._oxidation_potential = cell.oxidation_potential_v
        self._oxidation_slope = _LN10 / cell.oxidation_tafel_v
        self._hydrogen_slope = _LN10 / cell.hydrogen_tafel_v
        self._relaxation_step = 0.0
        self._relaxation = 1.0
        self.set_temperature(REFERENCE_TEMPERATURE_K, cell)

    def set_temperature(self, temperature_k: float, cell: CellParameters) -> None:
        """Take the constants to a temperature: Arrhenius, the film as T exp(+Ea/RT)."""
        inverse = (1 / temperature_k - 1 / REFERENCE_TEMPERATURE_K) / GAS_CONSTANT
        self._charge_transfer_slope = (
            cell.metal.electrons * FARADAY / (2 * GAS_CONSTANT * temperature_k)
        )
        self._exchange_factor = exp(-cell.interface_activation_j_mol * inverse)
        self._film_factor = (
            temperature_k / REFERENCE_TEMPERATURE_K * exp(cell.interface_activation_j_mol * inverse)
        )
        self._hydrogen_current = self.parameters.hydrogen_current_ma_cm2 * exp(
            -cell.hydrogen_activation_j_mol * inverse
        )
        self._refresh_formation()

    def _refresh_formation(self) -> None:
        """Exchange current and film relax to their later values with the cycles."""
        p = self.parameters
        resistance, film = 1 / p.exchange_current_ma_cm2, p.film_resistance_ohm_cm2
        if p.fresh_exchange_current_ma_cm2:
            fresh = exp(-self.cycle / p.formation_cycles)
            resistance += (1 / p.fresh_exchange_current_ma_cm2 - resistance) * fresh
            film += (p.fresh_film_resistance_ohm_cm2 - film) * fresh
        self._base_exchange_current = self._exchange_factor / resistance / self._resistance_factor
        self._expose()
        self._film_base = film * self._film_factor * self._resistance_factor
        self._film_per_zhs = p.zhs_resistivity_ohm_cm * ZHS_CM_CM2_MOL * self._film_factor

    def _expose(self) -> None:
        """Metal plated on top of what there was at the start exposes active sites of its own."""
        p = self.parameters
        plated = self.metal - p.metal_mah_cm2 - p.predeposited_mah_cm2
        self._exchange_current = self._base_exchange_current
        if p.exposure and plated > 0:
            self._exchange_current *= 1 + p.exposure * (
                1 - exp(-plated / p.exposure_charge_mah_cm2)
            )

    def _relax(self, step_s: float) -> float:
        """Return what is left of a deviation of the surface concentration after a step."""
        if step_s != self._relaxation_step:
            self._relaxation_step = step_s
            self._relaxation = exp(-step_s / self._transport_time)
        return self._relaxation

    # ---- the interface

    def interface(self, current: float, step_s: float) -> Interface:
        """Find the overpotential at which all branches together carry a current density.

        The state does not change.

        Newton's method with a bracket; every branch rises with the overpotential. Surface
        concentration, coverage near the end of stripping and formation are taken at the end of the
        step (implicit, so any step is stable).

        Args:
            current: mA/cm2 into this electrode, positive oxidises it.
            step_s: length of the step; 0 asks for the instantaneous relation.
        """
        p = self.parameters
        slope_m, slope_h, slope_s = (
            self._charge_transfer_slope,
            self._hydrogen_slope,
            self._oxidation_slope,
        )
        j0, jh0, e_s = self._exchange_current, self._hydrogen_current, self._oxidation_potential
        q_ref = p.coverage_charge_mah_cm2
        hours = step_s / 3600
        metal_left = self.metal if self.metal > 0.0 else 0.0
        uncovers_at = metal_left - q_ref  # charge that leaves the electrode just covered
        coverage = metal_left / q_ref
        dissolved_per_current = hours * (1 + self.dead_fraction)
        uncovering = dissolved_per_current * j0 / q_ref
        kept = self._relax(step_s) if step_s else 1.0
        c_surface = kept * self.surface_concentration + 1 - kept
        depletion = (1 - kept) * j0 / self._limiting_current
        formation_left = self.formation_left
        e_f = slope_f = 0.0
        forming = formation_left > _FORMATION_DONE * p.formation_charge_mah_cm2
        if forming:
            e_f = p.formation_potential_v * formation_left / p.formation_charge_mah_cm2
            slope_f = _LN10 / _FORMATION_TAFEL_V
        leaks = metal_left < _BARE_MAH_CM2
        e = self.overpotential_v
        low, high = _LOWEST_V, _HIGHEST_V
        j_metal = j_hydrogen = j_substrate = j_formation = slope = 0.0
        for _ in range(80):
            anodic = exp(e * slope_m)
            cathodic = 1 / anodic
            drive = anodic - c_surface * cathodic
            damping = 1 + depletion * cathodic
            drive_slope = anodic + c_surface * cathodic
            j_metal = j0 * drive / damping
            if drive > 0 and j_metal * dissolved_per_current > uncovers_at:
                damping += uncovering * drive
                j_metal = coverage * j0 * drive / damping
                slope = (
                    coverage * j0 * drive_slope
                    - j_metal * (uncovering * drive_slope - depletion * cathodic)
                ) / damping
            else:
                slope = (j0 * drive_slope + j_metal * depletion * cathodic) / damping
            slope *= slope_m
            excess = j_metal - current
            if jh0:
                j_hydrogen = -jh0 * exp(-e * slope_h)
                excess += j_hydrogen
                slope -= j_hydrogen * slope_h
            exponent = (e - e_s) * slope_s
            if exponent > -30:
                j_substrate = exp(exponent)
                excess += j_substrate
                slope += j_substrate * slope_s
            else:
                j_substrate = 0.0
            if forming:
                rate = _FORMATION_CURRENT_MA_CM2 * exp(min(60.0, (e_f - e) * slope_f))
                exhausted = 1 / (1 + rate * hours / formation_left)
                j_formation = -rate * exhausted
                excess += j_formation
                slope -= j_formation * slope_f * exhausted
            if leaks:
                leak = _LEAK_MA_CM2_V * (e - p.formation_potential_v)
                j_substrate += leak
                excess += leak
                slope += _LEAK_MA_CM2_V
            if excess > 0:
                high = e
            else:
                low = e
            if slope > 1e-30:
                change = excess / slope
            else:
                change = _LONGEST_NEWTON_STEP_V if excess > 0 else -_LONGEST_NEWTON_STEP_V
            if high - low < 1e-11:
                break
            if -1e-9 < change < 1e-9:
                # Just below where a substrate with little metal begins to dissolve it, the slope
                # is that of plating: it tells nothing of the other side, where there is a plateau.
                if uncovers_at >= 0 or not -1e-6 * anodic < drive <= 0 or excess > -1e-12:
                    break
                change = -_OVER_THE_KINK_V
            if change > _LONGEST_NEWTON_STEP_V:
                change = _LONGEST_NEWTON_STEP_V
            elif change < -_LONGEST_NEWTON_STEP_V:
                change = -_LONGEST_NEWTON_STEP_V
            after = e - change
            if not low < after < high:
                if high < _HIGHEST_V and low > _LOWEST_V:
                    after = 0.5 * (low + high)
                else:
                    after = min(max(after, _LOWEST_V), _HIGHEST_V)
            e = after
        film = self._film_base + self._film_per_zhs * self.zhs_mol_cm2
        return e, j_metal, j_hydrogen, j_substrate, j_formation, max(slope, 1e-12), film

    def nucleation_v(self, metal_current: float) -> float:
        """Return the extra overpotential of nucleation, V (negative), at mA/cm2 of metal."""
        if metal_current >= 0:
            return 0.0
        p = self.parameters
        if not p.nucleation_overpotential_v:
            return 0.0
        x = self.plated_in_segment / p.nucleation_charge_mah_cm2
        if x > 30:
            return 0.0
        # The square gives zero slope at rest, so that nucleation does not show in the impedance.
        square = (metal_current / self._nucleation_current) ** 2
        if p.metal_mah_cm2 > 0 or p.predeposited_mah_cm2 > 0:
            scale = 0.1  # on its own foil
        else:
            scale = 1.0 if self.cycle == 0 else 0.6  # first and later platings on a substrate
        return (
            -p.nucleation_overpotential_v * scale * x * exp(1 - x) * 1.1 * square / (square + 0.1)
        )

    def steady_conductance(self, current: float) -> float:
        """Return the slope with the surface concentration relaxed, mA/cm2 per V."""
        overpotential, _, hydrogen, _, _, slope, _ = self.interface(current, 0.0)
        oxidation = 0.0
        if (exponent := (overpotential - self._oxidation_potential) * self._oxidation_slope) > -30:
            oxidation = exp(exponent) * self._oxidation_slope
        without_transport = -hydrogen * self._hydrogen_slope + oxidation
        depletion = self._exchange_current / self._limiting_current
        cathodic = exp(-overpotential * self._charge_transfer_slope)
        return (slope - without_transport) / (1 + depletion * cathodic) + without_transport

    def impedance(
        self, omega: npt.NDArray[np.complex128], current: float, transport_time_s: float
    ) -> npt.NDArray[np.complex128]:
        """Return the electrode's part of the impedance, ohm cm2.

        Film and double layer are constant phase elements; transport is a finite-length Warburg
        element whose resistance follows from the limiting current.

        Args:
            omega: j times the angular frequency, 1/s.
            current: direct current density into this electrode, mA/cm2.
            transport_time_s: of the separator.
        """
        p = self.parameters
        *_, slope, film = self.interface(current, 0.0)
        charge_transfer = 1e3 / slope
        transport = max(0.0, 1e3 / self.steady_conductance(current) - charge_transfer)
        root = np.sqrt(omega * transport_time_s)
        warburg = transport * np.tanh(root) / root
        found: npt.NDArray[np.complex128] = 1 / (
            omega**p.double_layer_cpe_exponent * p.double_layer_cpe
            + 1 / (charge_transfer + warburg)
        )
        if film > 0:
            found = found + 1 / (omega**p.film_cpe_exponent * p.film_cpe + 1 / film)
        return found

    def interface_resistance(self, current: float) -> float:
        """Return film and charge transfer in series, ohm cm2, at a current density into it."""
        *_, slope, film = self.interface(current, 0.0)
        return 1e3 / slope + film

    # ---- what limits a step, and what a step does

    def longest_step(self, current: float, step_s: float) -> float:
        """Return the part of a step (s) over which the implicit scheme stays accurate."""
        p = self.parameters
        if current < 0:
            formation = p.formation_charge_mah_cm2
            if self.formation_left > _FORMATION_DONE * formation:
                return min(step_s, max(0.02 * formation * 3600 / -current, 0.01))
        elif current > 0:
            metal, q_ref = self.metal, p.coverage_charge_mah_cm2
            if 1e-5 < metal < current * step_s / 3600 + 3 * q_ref:
                usable = metal - 0.3 * q_ref if metal > 2 * q_ref else metal
                return min(step_s, max(0.15 * max(usable, 1e-6) * 3600 / current, 2e-3))
        return step_s

    def commit(self, current: float, interface: Interface, step_s: float) -> float:
        """Let the solved currents flow for a step.

        Returns:
            The charge of hydrogen evolved, mAh/cm2.
        """
        self.overpotential_v, j_metal, j_hydrogen, j_substrate, j_formation, _, _ = interface
        hours = step_s / 3600
        charge = current * hours
        hydrogen = -j_hydrogen * hours
        formed = -j_formation * hours
        oxidised = j_substrate * hours
        metal = charge + formed + hydrogen - oxidised  # by difference, so that the ledger is exact
        if charge < 0:
            self.charge_cathodic -= charge
        else:
            self.charge_anodic += charge
        self.formation_left -= formed
        if metal > 0:
            lost = metal * (1 + self.dead_fraction)
            if lost > self.metal:
                dissolved = self.metal / (1 + self.dead_fraction)
                self.dead += self.metal - dissolved
                oxidised += metal - dissolved
                self.metal = 0.0
            else:
                self.metal -= lost
                self.dead += metal * self.dead_fraction
        else:
            self.metal -= metal
            if charge < -_NO_CURRENT_MAH_CM2 and self.direction != -1:
                self._start_plating()
            if self.direction == -1:
                self.plated_in_segment -= metal
                if self._tip_growth:
                    relative = max(1e-3, abs(current) / self._tip_reference)
                    self.tip_um -= (
                        self._tip_growth * relative**self._tip_exponent * metal * self.tip_factor
                    )
        if charge > _NO_CURRENT_MAH_CM2 and self.direction == -1:
            self.direction = 1
            self.cycle += 1
            self._refresh_formation()
        if self.parameters.exposure:
            self._expose()
        self.hydrogen += hydrogen
        self.oxidised += oxidised
        if hydrogen:
            # Two hydroxide per H2, six per Zn4SO4(OH)6: at most a third of the hydrogen's moles.
            self.zhs_mol_cm2 += (
                self.parameters.zhs_yield * hydrogen * COULOMB_PER_MAH / (2 * FARADAY) / 3
            )
        kept = self._relax(step_s)
        relaxed = kept * self.surface_concentration + (1 - kept) * (
            1 + j_metal / self._limiting_current
        )
        self.surface_concentration = max(_SMALLEST_SURFACE_CONCENTRATION, relaxed)
        return hydrogen

    def _start_plating(self) -> None:
        p = self.parameters
        self.direction = -1
        self.plated_in_segment = 0.0
        if p.dead_fraction_sd:
            scatter = float(self._efficiency_stream.normal(0, p.dead_fraction_sd))
            # No scatter in the first cycle, else a published first-cycle efficiency depends on the
            # seed.
            self.dead_fraction = (
                max(0.0, p.dead_fraction + scatter) if self.cycle else p.dead_fraction
            )
        if p.resistance_scatter and self.cycle > _FORMED_AFTER_CYCLES:
            self._resistance_factor = float(self._scatter_stream.lognormal(0, p.resistance_scatter))
            self._refresh_formation()
        if self._tip_growth:
            self.tip_factor = float(self._tip_stream.lognormal(-0.5 * _TIP_SD**2, _TIP_SD))

    # ---- derived quantities

    @property
    def zhs_um(self) -> float:
        """Thickness of the hydroxide sulfate film, um."""
        return self.zhs_mol_cm2 * ZHS_CM_CM2_MOL * 1e4

    @property
    def deposit_mah_cm2(self) -> float:
        """Metal on top of foil or substrate, what is dead and what was predeposited included."""
        return self.metal + self.dead - self.parameters.metal_mah_cm2

    def ledger_residual(self) -> float:
        """Return the charge (mAh/cm2) that the ledger cannot account for: rounding only."""
        p = self.parameters
        net = self.charge_cathodic - self.charge_anodic
        formed = p.formation_charge_mah_cm2 - self.formation_left
        deposited = self.deposit_mah_cm2 - p.predeposited_mah_cm2
        return net - (deposited + self.hydrogen + formed - self.oxidised)

    def ledger(self) -> dict[str, float]:
        """Return where the charge went since the start, mAh/cm2, and the film in mol/cm2."""
        return {
            "charge_cathodic": self.charge_cathodic,
            "charge_anodic": self.charge_anodic,
            "metal": self.metal,
            "dead": self.dead,
            "hydrogen": self.hydrogen,
            "formed": self.parameters.formation_charge_mah_cm2 - self.formation_left,
            "oxidised": self.oxidised,
            "zhs_mol_cm2": self.zhs_mol_cm2,
            "residual": self.ledger_residual(),
        }
