"""The metals that are plated and stripped: charge to amount, mass and thickness."""

from dataclasses import dataclass
from types import MappingProxyType

FARADAY_C_MOL = 96485.33212
COULOMB_PER_MAH = 3.6


@dataclass(frozen=True)
class Metal:
    """A metal that is plated and stripped.

    Attributes:
        symbol: Chemical symbol.
        electrons: Electrons per atom.
        molar_mass_g_mol: Molar mass, g/mol.
        density_g_cm3: Density, g/cm3.
    """

    symbol: str
    electrons: int
    molar_mass_g_mol: float
    density_g_cm3: float

    @property
    def micrometre_per_mah_cm2(self) -> float:
        """Return the thickness of the dense metal per charge, um per mAh/cm2."""
        grams = COULOMB_PER_MAH * self.molar_mass_g_mol / (self.electrons * FARADAY_C_MOL)
        return grams / self.density_g_cm3 * 1e4

    @property
    def capacity_mah_g(self) -> float:
        """Return the gravimetric capacity, mAh/g."""
        return self.electrons * FARADAY_C_MOL / (COULOMB_PER_MAH * self.molar_mass_g_mol)

    @property
    def capacity_mah_cm3(self) -> float:
        """Return the volumetric capacity, mAh/cm3."""
        return self.capacity_mah_g * self.density_g_cm3

    @property
    def micromole_per_mah(self) -> float:
        """Return the amount of metal per charge, umol/mAh."""
        return COULOMB_PER_MAH / (self.electrons * FARADAY_C_MOL) * 1e6


METALS = MappingProxyType(
    {
        "Zn": Metal("Zn", 2, 65.38, 7.14),
        "Na": Metal("Na", 1, 22.98977, 0.968),
    }
)


def foil_capacity_mah_cm2(thickness_um: float, metal: Metal) -> float:
    """Return the charge that a foil can give, mAh/cm2."""
    return thickness_um / metal.micrometre_per_mah_cm2
