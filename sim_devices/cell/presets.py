"""Cells by name: zinc with five interphases, symmetric and on copper, and two of sodium.

The numbers reproduce published ones through the simulated instruments: overpotentials, interfacial
resistances, coulombic efficiencies and lives of coated zinc (reviews of artificial interphases 2021
and of programmable interfaces 2025) and of sodium on silver-coated zinc in 1 mol/L NaPF6 diglyme
(2024). Lives and efficiencies are calibrated: a reader of simulated data learns how well they are
measured, not whether they are true.
"""

from __future__ import annotations

import math
from dataclasses import replace

from sim_devices.cell.parameters import SODIUM, ZINC, CellParameters, ElectrodeParameters

_ZINC_THERMAL_VOLTAGE_V = 0.025693  # 2RT/nF with n = 2 at 298.15 K
_ZINC_CHARGE_TRANSFER_MV = 12.8465  # RT/nF with n = 2, so that R_ct [ohm cm2] = this / j0 [mA/cm2]
_SODIUM_CHARGE_TRANSFER_MV = 25.693
_AREA_CM2 = 1.131


def _hydrogen_and_dead(
    efficiency: float, hydrogen_share: float, current_ma_cm2: float, exchange_current_ma_cm2: float
) -> tuple[float, float]:
    """Split the loss behind a coulombic efficiency into hydrogen evolution and dead metal.

    Hydrogen evolves in both half-cycles.

    Returns:
        The hydrogen current at zero overpotential (mA/cm2) and the dead fraction of the metal
        dissolved.
    """
    overpotential = _ZINC_THERMAL_VOLTAGE_V * math.asinh(
        current_ma_cm2 / 2 / exchange_current_ma_cm2
    )
    loss = 1 - efficiency
    decades = overpotential / 0.120
    hydrogen = hydrogen_share * loss * current_ma_cm2 / (10**decades + 10**-decades)
    return hydrogen, (1 - hydrogen_share) * loss / efficiency


def _zinc(
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
) -> CellParameters:
    hydrogen, dead = _hydrogen_and_dead(
        efficiency, hydrogen_share, efficiency_at_ma_cm2, exchange_current_ma_cm2
    )
    charge_transfer_ohm_cm2 = _ZINC_CHARGE_TRANSFER_MV / exchange_current_ma_cm2
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
        cell, working=replace(cell.working, metal_mah_cm2=0.0, formation_charge_mah_cm2=0.002)
    )


def _sodium(
    fresh_resistance_ohm: float,
    resistance_ohm: float,
    activation_j_mol: float,
    nucleation_overpotential_v: float,
    formation_charge_mah_cm2: float,
    loss: float,
    dead_fraction_sd: float,
    compactness: float,
    coverage_charge_mah_cm2: float,
) -> CellParameters:
    counter_ohm, film_share = 0.6, 0.5
    per_area = _SODIUM_CHARGE_TRANSFER_MV / _AREA_CM2
    film_cpe, double_layer_cpe = 6e-5 / _AREA_CM2, 5e-3 / _AREA_CM2
    working = ElectrodeParameters(
        per_area / (resistance_ohm * film_share),
        resistance_ohm * film_share * _AREA_CM2,
        metal_mah_cm2=0.0,
        fresh_exchange_current_ma_cm2=per_area / (fresh_resistance_ohm * film_share),
        fresh_film_resistance_ohm_cm2=fresh_resistance_ohm * film_share * _AREA_CM2,
        dead_fraction=loss / (1 - loss),
        dead_fraction_sd=dead_fraction_sd,
        nucleation_overpotential_v=nucleation_overpotential_v,
        formation_charge_mah_cm2=formation_charge_mah_cm2,
        coverage_charge_mah_cm2=coverage_charge_mah_cm2,
        compactness=compactness,
        film_cpe=film_cpe,
        double_layer_cpe=double_layer_cpe,
    )
    counter = ElectrodeParameters(
        per_area / (counter_ohm * film_share),
        counter_ohm * film_share * _AREA_CM2,
        film_cpe=film_cpe,
        double_layer_cpe=double_layer_cpe,
    )
    return CellParameters(
        SODIUM,
        working,
        counter,
        electrolyte_resistance_ohm_cm2=9.45 * _AREA_CM2,
        interface_activation_j_mol=activation_j_mol,
        limiting_current_ma_cm2=1000.0,
        oxidation_potential_v=3.8,
        electrolyte_activation_j_mol=0.0,
    )


_SYMMETRIC = {
    "zn-bare": _zinc(
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
    ),
    "zn-caco3": _zinc(
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
    ),
    "zn-zro2": _zinc(
        0.390,
        0.3,
        efficiency=0.9936,
        hydrogen_share=0.05,
        efficiency_at_ma_cm2=5.0,
        zhs_yield=0.3,
        zhs_resistivity_ohm_cm=2e4,
        dendrite_amplification=0.32,
        dendrite_exponent=-0.80,
        dendrite_current_ma_cm2=0.25,
        nucleation_overpotential_v=0.025,
    ),
    "zn-lzs": _zinc(
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
    ),
    "zn-znf2": _zinc(
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
    ),
}

PRESETS: dict[str, CellParameters] = {
    **_SYMMETRIC,
    **{f"{name}-half": on_copper(cell) for name, cell in _SYMMETRIC.items()},
    "na-znag": _sodium(1.3, 1.2, 7920.0, 3.0e-3, 0.01203, 9.5e-4, 2e-4, 0.973, 0.01),
    "na-bare": _sodium(10.2, 4.3, 11750.0, 13.4e-3, 0.0435, 4e-3, 5e-3, 0.237, 0.06),
}


def preset(name: str) -> CellParameters:
    """Return the parameters of a cell by name.

    E.g. ``zn-zro2``, ``zn-bare-half`` (on copper), ``na-znag``.

    Raises:
        ValueError: there is no such cell; the message lists all names.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"no cell is called {name!r}; there are {', '.join(PRESETS)}") from None
