"""What a box sees of the cell at one moment, as numbers that a pipe can carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim_devices.cell import Cell

SYMBOLS = {"Zn": "zinc", "Na": "sodium"}


@dataclass(frozen=True)
class Look:
    """The metal electrode and what is before it.

    Attributes:
        cell_t_s: cell time.
        metal: ``zinc`` or ``sodium``.
        on_foil: whether the deposit lies on foil of its own metal; else on copper.
        deposit_um: mean thickness of the metal plated, its pores included.
        film_um: thickness of the hydroxide sulfate film on it, as if it were compact.
        compactness: volume of metal per volume of deposit.
        texture: relative texture coefficients of the deposit, of (002), (100) and (101).
        bubbles_umol_cm2: hydrogen that has not left the electrolyte yet, per area.
        temperature_k: of the cell.
    """

    cell_t_s: float
    metal: str
    on_foil: bool
    deposit_um: float
    film_um: float
    compactness: float
    texture: tuple[float, float, float]
    bubbles_umol_cm2: float
    temperature_k: float

    @classmethod
    def of(cls, told: dict[str, Any]) -> Look:
        """Return what `look_at` told."""
        return cls(**{**told, "texture": tuple(told["texture"])})

    @property
    def thickness_um(self) -> float:
        """Of deposit and film, as a microscope sees it from the side."""
        return self.deposit_um + self.film_um


def look_at(cell: Cell) -> dict[str, Any]:
    """Return the fields of a `Look` at a cell now."""
    with cell.lock:
        electrode = cell.metal_electrode
        p = electrode.parameters
        plated_um = electrode.deposit_mah_cm2 * cell.micrometre_per_mah_cm2 / p.compactness
        return {
            "cell_t_s": cell.t,
            "metal": SYMBOLS[cell.parameters.metal.symbol],
            "on_foil": p.metal_mah_cm2 > 0,
            "deposit_um": max(plated_um, 0.0),
            "film_um": electrode.zhs_um,
            "compactness": p.compactness,
            "texture": p.texture,
            "bubbles_umol_cm2": 1e6 * cell.hydrogen_dissolved_mol / cell.area_cm2,
            "temperature_k": cell.temperature_k,
        }
