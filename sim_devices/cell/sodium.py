"""Sodium cells in 1 mol/L NaPF6 diglyme: on four substrates, against foil and symmetric.

After Chem. Sci. 2024, 15, 4833 (silver-coated zinc): nucleation overpotentials and first coulombic
efficiencies; for Zn@Ag and zinc also mean efficiencies, resistances, activation energies and
thicknesses. What that paper does not tell of copper and aluminium (resistances, activation energy,
compactness, scatter) is chosen near bare zinc. Efficiencies are calibrated, not predicted.
"""

from __future__ import annotations

from dataclasses import replace

from sim_devices.cell.parameters import SODIUM, CellParameters, ElectrodeParameters

_CHARGE_TRANSFER_MV = 25.693  # RT/nF with n = 1, so that R_ct [ohm cm2] = this / j0 [mA/cm2]
_AREA_CM2 = 1.131


def sodium_cell(
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
    """Return a substrate against sodium foil.

    Args:
        fresh_resistance_ohm: of the substrate's interface before the first cycle, film and charge
            transfer by halves, in a cell of 1.131 cm2.
        resistance_ohm: the same when the interphase has formed.
        activation_j_mol: as in `CellParameters`.
        nucleation_overpotential_v: as in `ElectrodeParameters`, like all that follow.
        formation_charge_mah_cm2: of the interphase.
        loss: part of the sodium that dies in a cycle.
        dead_fraction_sd: scatter of that.
        compactness: of the deposit.
        coverage_charge_mah_cm2: below which the substrate shows.
    """
    counter_ohm, film_share = 0.6, 0.5
    per_area = _CHARGE_TRANSFER_MV / _AREA_CM2
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


ON: dict[str, CellParameters] = {
    "znag": sodium_cell(1.3, 1.2, 7920.0, 3.0e-3, 0.01203, 9.5e-4, 2e-4, 0.973, 0.01),
    "bare": sodium_cell(10.2, 4.3, 11750.0, 13.4e-3, 0.0435, 4e-3, 5e-3, 0.237, 0.06),
    "cu": sodium_cell(11.0, 5.0, 11.0e3, 16.0e-3, 0.01605, 3e-3, 4e-3, 0.5, 0.04),
    "al": sodium_cell(13.0, 7.0, 12.5e3, 24.7e-3, 0.0852, 8e-3, 8e-3, 0.3, 0.06),
}

# Sodium plated before the test, mAh/cm2: that of the published symmetric cells, and enough for the
# published rate test up to 5 mAh/cm2 against foil.
_SYMMETRIC_SODIUM_MAH_CM2, _SODIUM_AGAINST_FOIL_MAH_CM2 = 2.0, 6.0
# The published curves of bare zinc rise and fall irregularly; how much is not told.
_IRREGULAR = {"znag": 0.0, "bare": 0.25}


def predeposited(substrate: str, charge_mah_cm2: float) -> ElectrodeParameters:
    """Return a substrate that carries sodium; its interphase has formed."""
    return replace(
        ON[substrate].metal_electrode,
        predeposited_mah_cm2=charge_mah_cm2,
        formation_charge_mah_cm2=0.0,
        resistance_scatter=_IRREGULAR[substrate],
    )


def _symmetric_sodium(substrate: str) -> CellParameters:
    electrode = predeposited(substrate, _SYMMETRIC_SODIUM_MAH_CM2)
    return replace(ON[substrate], working=electrode, counter=electrode)


def _against_foil(substrate: str) -> CellParameters:
    electrode = predeposited(substrate, _SODIUM_AGAINST_FOIL_MAH_CM2)
    return replace(ON[substrate], working=electrode)


SODIUM_CELLS: dict[str, CellParameters] = {
    **{f"na-{name}-half": cell for name, cell in ON.items()},
    **{f"na-{name}-symmetric": _symmetric_sodium(name) for name in _IRREGULAR},
    **{f"na-{name}-predeposited": _against_foil(name) for name in _IRREGULAR},
}
