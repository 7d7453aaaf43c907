"""Sand's time: when a current above the limiting one has used up the salt at an electrode."""

import math
from dataclasses import dataclass

from techniques.metals import FARADAY_C_MOL


@dataclass(frozen=True)
class Transport:
    """How the salt of a cell gets through its separator.

    Attributes:
        salt_mol_l: Concentration of the metal's salt, mol/L.
        diffusion_cm2_s: Its diffusion coefficient in the free electrolyte, cm2/s.
        transference: Transference number of the metal ion.
        electrons: Charges of the metal ion.
        separator_um: Distance of the electrodes, um.
        porosity: Share of that which is electrolyte.
        tortuosity: How much longer the way is than the distance, as a factor on the resistance.
    """

    salt_mol_l: float
    diffusion_cm2_s: float
    transference: float
    electrons: int
    separator_um: float
    porosity: float
    tortuosity: float

    @property
    def limiting_ma_cm2(self) -> float:
        """Return the limiting current density, mA/cm2: 2 n F D (p/tau) c0 / (L (1 - t+))."""
        passed = self.diffusion_cm2_s * self.porosity / self.tortuosity
        length_cm = self.separator_um * 1e-4
        return 2e3 * self._charge * passed / (length_cm * (1 - self.transference))

    def sand_time_s(self, current_ma_cm2: float) -> float | None:
        """Return Sand's time, s; None below the limiting current, where there is none.

        pi (D/tau) (n F p c0 / (2 j (1 - t+)))^2: with porosity and tortuosity 1 the usual formula,
        with the half of the salt's anions that migration moves written as 1 - t+.
        """
        magnitude = abs(current_ma_cm2) * 1e-3
        if magnitude * 1e3 < self.limiting_ma_cm2:
            return None
        emptied = self._charge * self.porosity / (2 * magnitude * (1 - self.transference))
        return math.pi * self.diffusion_cm2_s / self.tortuosity * emptied**2

    @property
    def _charge(self) -> float:
        return self.electrons * FARADAY_C_MOL * self.salt_mol_l * 1e-3  # C/cm3
