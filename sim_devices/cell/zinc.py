"""Zinc cells in 2 mol/L ZnSO4: with five interphases, symmetric and on copper.

The numbers reproduce published ones through the simulated instruments. Lives and efficiencies are
calibrated: a reader of simulated data learns how well they are measured, not whether they are true.
Lives and polarisations are from the review of artificial interphases (Nanoscale 2021), efficiencies
from that of programmable interfaces (2025):

* ``zn-bare``: 55 h at 0.25 mA/cm2; its efficiency, 98.5 % at 1 mA/cm2, is chosen, and so is by how
  much newly plated metal exposes active sites, of which a review (Chem. Sci. 2024) tells the sign.
* ``zn-caco3``: porous nano-CaCO3 (Adv. Energy Mater. 2018, 8, 1801090): 80 mV that become 105 mV,
  836 h at 0.25 mA/cm2 for 0.05 mAh/cm2.
* ``zn-zro2``: ZrO2 (Adv. Funct. Mater. 2020, 30, 1908528): 24 mV, more than 3800 h at 0.25 mA/cm2
  and than 2100 h at 5 mA/cm2, in the median 1.3 times as long; 99.36 % at 5 mA/cm2.
* ``zn-lzs``: layered zinc silicate, Zn2SiO4 in the tables (Adv. Sci. 2024, 11, 2401629): 23.2 mV
  and 3300 h at 0.5 mA/cm2; 99.8 % at 2 mA/cm2.
* ``zn-znf2``: ZnF2 (Adv. Mater. 2021, 33, 2007388): 2500 h at 1 mA/cm2 in the one review, 800 h in
  the other, of which the first is followed; 99.8 %.

Textures of the deposits are chosen: basal planes, (002), prevail under the better interphases, as a
review (Chem. Sci. 2024) tells.
"""

from __future__ import annotations

import math
from dataclasses import replace

from sim_devices.cell.parameters import ZINC, CellParameters, ElectrodeParameters

_THERMAL_VOLTAGE_V = 0.025693  # 2RT/nF with n = 2 at 298.15 K
_CHARGE_TRANSFER_MV = 12.8465  # RT/nF with n = 2, so that R_ct [ohm cm2] = this / j0 [mA/cm2]


def hydrogen_and_dead(
    efficiency: float, hydrogen_share: float, current_ma_cm2: float, exchange_current_ma_cm2: float
) -> tuple[float, float]:
    """Split the loss behind a coulombic efficiency into hydrogen evolution and dead metal.

    Hydrogen evolves in both half-cycles.

    Returns:
        The hydrogen current at zero overpotential (mA/cm2) and the dead fraction of the metal
        dissolved.
    """
    overpotential = _THERMAL_VOLTAGE_V * math.asinh(current_ma_cm2 / 2 / exchange_current_ma_cm2)
    loss = 1 - efficiency
    decades = overpotential / 0.120
    hydrogen = hydrogen_share * loss * current_ma_cm2 / (10**decades + 10**-decades)
    return hydrogen, (1 - hydrogen_share) * loss / efficiency


def zinc_cell(
    exchange_current_ma_cm2: float,
    film_share: float,
    *,
    efficiency: float,
    hydrogen_share: float,
    efficiency_at_ma_cm2: float,
    zhs_yield: float,
    zhs_resistivity_ohm_cm: float,
    dendrite_amplification: float,
    dendrite_current_ma_cm2: float,
    nucleation_overpotential_v: float,
    dead_fraction_sd: float = 2e-4,
    dendrite_exponent: float = 0.0,
    coverage_charge_mah_cm2: float = 0.01,
    compactness: float = 0.9,
    exposure: float = 0.0,
    texture: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3),
) -> CellParameters:
    """Return a symmetric zinc cell.

    Args:
        exchange_current_ma_cm2: j0.
        film_share: part of the interfacial resistance that is the film's.
        efficiency: coulombic efficiency, 0..1, at `efficiency_at_ma_cm2`.
        hydrogen_share: part of the loss that is hydrogen; the rest is dead metal.
        efficiency_at_ma_cm2: where the efficiency is given.
        zhs_yield: as in `ElectrodeParameters`, like all that follow.
        zhs_resistivity_ohm_cm: of the hydroxide film.
        dendrite_amplification: as in `CellParameters`.
        dendrite_current_ma_cm2: where that is given.
        nucleation_overpotential_v: on a substrate.
        dead_fraction_sd: scatter of the dead metal.
        dendrite_exponent: of the amplification.
        coverage_charge_mah_cm2: below which the substrate shows.
        compactness: of the deposit.
        exposure: active sites of what is newly plated.
        texture: of the deposit.
    """
    hydrogen, dead = hydrogen_and_dead(
        efficiency, hydrogen_share, efficiency_at_ma_cm2, exchange_current_ma_cm2
    )
    charge_transfer_ohm_cm2 = _CHARGE_TRANSFER_MV / exchange_current_ma_cm2
    electrode = ElectrodeParameters(
        exchange_current_ma_cm2,
        charge_transfer_ohm_cm2 * film_share / (1 - film_share),
        hydrogen_current_ma_cm2=hydrogen,
        dead_fraction=dead,
        dead_fraction_sd=dead_fraction_sd,
        zhs_yield=zhs_yield,
        zhs_resistivity_ohm_cm=zhs_resistivity_ohm_cm,
        nucleation_overpotential_v=nucleation_overpotential_v,
        coverage_charge_mah_cm2=coverage_charge_mah_cm2,
        compactness=compactness,
        exposure=exposure,
        texture=texture,
    )
    return CellParameters(
        ZINC,
        electrode,
        electrode,
        dendrite_amplification=dendrite_amplification,
        dendrite_exponent=dendrite_exponent,
        dendrite_current_ma_cm2=dendrite_current_ma_cm2,
    )


def on_copper(cell: CellParameters) -> CellParameters:
    """Return the half cell of a symmetric one: its working electrode starts as bare copper."""
    return replace(
        cell,
        # All of its metal is newly plated: the exchange current is told for that.
        working=replace(
            cell.metal_electrode, metal_mah_cm2=0.0, formation_charge_mah_cm2=0.002, exposure=0.0
        ),
    )


SYMMETRIC: dict[str, CellParameters] = {
    "zn-bare": zinc_cell(
        0.30,
        0.5,
        efficiency=0.985,
        hydrogen_share=0.60,
        efficiency_at_ma_cm2=1.0,
        zhs_yield=0.9,
        zhs_resistivity_ohm_cm=1.2e5,
        dendrite_amplification=22.1,
        dendrite_current_ma_cm2=0.25,
        nucleation_overpotential_v=0.045,
        dead_fraction_sd=1.5e-3,
        coverage_charge_mah_cm2=0.03,
        compactness=0.55,
        exposure=0.1,
        texture=(0.20, 0.30, 0.50),
    ),
    "zn-caco3": zinc_cell(
        0.155,
        0.5,
        efficiency=0.995,
        hydrogen_share=0.20,
        efficiency_at_ma_cm2=1.0,
        zhs_yield=0.3,
        zhs_resistivity_ohm_cm=4.29e5,
        dendrite_amplification=1.46,
        dendrite_current_ma_cm2=0.25,
        nucleation_overpotential_v=0.030,
        compactness=0.8,
        texture=(0.35, 0.28, 0.37),
    ),
    "zn-zro2": zinc_cell(
        0.390,
        0.3,
        efficiency=0.9936,
        hydrogen_share=0.05,
        efficiency_at_ma_cm2=5.0,
        zhs_yield=0.3,
        zhs_resistivity_ohm_cm=2e4,
        dendrite_amplification=0.246,
        dendrite_exponent=-0.80,
        dendrite_current_ma_cm2=0.25,
        nucleation_overpotential_v=0.025,
        texture=(0.55, 0.20, 0.25),
    ),
    "zn-lzs": zinc_cell(
        0.837,
        0.3,
        efficiency=0.998,
        hydrogen_share=0.05,
        efficiency_at_ma_cm2=2.0,
        zhs_yield=0.3,
        zhs_resistivity_ohm_cm=2e4,
        dendrite_amplification=0.185,
        dendrite_current_ma_cm2=0.5,
        nucleation_overpotential_v=0.020,
        texture=(0.50, 0.22, 0.28),
    ),
    "zn-znf2": zinc_cell(
        0.83,
        0.3,
        efficiency=0.998,
        hydrogen_share=0.05,
        efficiency_at_ma_cm2=2.0,
        zhs_yield=0.3,
        zhs_resistivity_ohm_cm=2e4,
        dendrite_amplification=0.122,
        dendrite_current_ma_cm2=1.0,
        nucleation_overpotential_v=0.020,
        texture=(0.62, 0.16, 0.22),
    ),
}
