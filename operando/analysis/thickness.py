"""The Faraday ledger: charge to amount, mass and thickness of a metal."""

from techniques.metals import (
    COULOMB_PER_MAH,
    FARADAY_C_MOL,
    METALS,
    Metal,
    foil_capacity_mah_cm2,
)

__all__ = [
    "COULOMB_PER_MAH",
    "FARADAY_C_MOL",
    "GAS_CONSTANT_J_MOL_K",
    "METALS",
    "Metal",
    "foil_capacity_mah_cm2",
    "hydrogen_mol",
    "theoretical_thickness_um",
]

GAS_CONSTANT_J_MOL_K = 8.314462618


def theoretical_thickness_um(charge_mah_cm2: float, metal: Metal) -> float:
    """Return the thickness of ``charge_mah_cm2`` plated dense and without loss, um."""
    return charge_mah_cm2 * metal.micrometre_per_mah_cm2


def hydrogen_mol(charge_c: float) -> float:
    """Return the hydrogen that a charge makes, mol: two electrons per molecule."""
    return charge_c / (2 * FARADAY_C_MOL)
