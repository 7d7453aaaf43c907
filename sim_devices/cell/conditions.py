"""Zinc cells made from what a review's table tells of a material: one condition, one cell.

A row of such a table is a life at a current density and capacity, and often a coulombic efficiency
at others. The dendrites are calibrated on the life, hydrogen and dead metal on the efficiency; what
the row does not tell is chosen and the same for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim_devices.cell.parameters import ZINC, CellParameters
from sim_devices.cell.zinc import zinc_cell

INTERFACES_2025 = "programmable interfaces for zinc (review, 2025)"
INTERFACE_2024 = "mechanisms of the zinc interface (review, Chem. Sci. 2024)"
INTERPHASES_2021 = "artificial interphases for zinc (review, Nanoscale 2021)"

SEPARATOR_UM = 260.0
# Chosen: no row tells them. An interphase that lets little hydrogen and hydroxide form.
_EXCHANGE_CURRENT_MA_CM2, _FILM_SHARE = 0.6, 0.3
_HYDROGEN_SHARE, _ZHS_YIELD, _ZHS_RESISTIVITY_OHM_CM = 0.05, 0.3, 2e4
_NUCLEATION_V = 0.025
_EFFICIENCY = 0.998  # of a row without one
_BEYOND_CENSORED = 1.3  # how much longer than its lower bound a censored cell lives, in the median


@dataclass(frozen=True)
class Condition:
    """One row of a table.

    Attributes:
        material: coating, additive or electrolyte.
        source: the review.
        table: of the review.
        reference: number in the review's list.
        current_ma_cm2: current density of the symmetric cell.
        charge_mah_cm2: charge of each of its half-cycles.
        life_h: how long it lived; None: not told.
        life_censored: it lived longer than that.
        efficiency_pct: mean coulombic efficiency of a half cell on copper; None: not told.
        efficiency_cycles: number of cycles of that mean.
        efficiency_current_ma_cm2: its current density.
        efficiency_charge_mah_cm2: its charge.
        nucleation_overpotential_mv: told in the text; None: not told.
        exchange_current_ma_cm2: calibrated on an overpotential told in the text; None: not told.
    """

    material: str
    source: str
    table: int
    reference: int
    current_ma_cm2: float
    charge_mah_cm2: float
    life_h: float | None
    life_censored: bool = False
    efficiency_pct: float | None = None
    efficiency_cycles: int | None = None
    efficiency_current_ma_cm2: float | None = None
    efficiency_charge_mah_cm2: float | None = None
    nucleation_overpotential_mv: float | None = None
    exchange_current_ma_cm2: float | None = None


def preset_from_condition(condition: Condition) -> CellParameters:
    """Return the symmetric cell that has, in the median, the life and the efficiency of a row.

    A tip that grows by `a` times the thickness plated reaches through the separator in the life L
    where ``a j L / 2`` times the thickness per charge is the separator's; the efficiency is that of
    the half cell (`sim_devices.cell.zinc.on_copper`).

    Raises:
        ValueError: the row tells neither, or contradicts itself: at the efficiency told, the foil
            (or what it can spare) is used up before the life told is over.
    """
    c = condition
    if c.life_h is None and c.efficiency_pct is None:
        raise ValueError(f"{c.material}: neither a life nor an efficiency is told")
    efficiency = _EFFICIENCY if c.efficiency_pct is None else c.efficiency_pct / 100
    at = c.efficiency_current_ma_cm2 or c.current_ma_cm2
    amplification = 0.0
    life_h = c.life_h
    if life_h is not None:
        if c.life_censored:
            life_h *= _BEYOND_CENSORED
        plated = c.current_ma_cm2 * life_h / 2
        amplification = SEPARATOR_UM / (ZINC.micrometre_per_mah_cm2 * plated)
    made = zinc_cell(
        c.exchange_current_ma_cm2 or _EXCHANGE_CURRENT_MA_CM2,
        _FILM_SHARE,
        efficiency=efficiency,
        hydrogen_share=_HYDROGEN_SHARE,
        efficiency_at_ma_cm2=at,
        zhs_yield=_ZHS_YIELD,
        zhs_resistivity_ohm_cm=_ZHS_RESISTIVITY_OHM_CM,
        dendrite_amplification=amplification,
        dendrite_current_ma_cm2=c.current_ma_cm2,
        nucleation_overpotential_v=(
            _NUCLEATION_V
            if c.nucleation_overpotential_mv is None
            else c.nucleation_overpotential_mv * 1e-3
        ),
    )
    if life_h is not None:
        dead = made.metal_electrode.dead_fraction * c.current_ma_cm2 * life_h / 2
        spare = made.metal_electrode.metal_mah_cm2 - c.charge_mah_cm2
        if not math.isfinite(dead) or dead > spare:
            raise ValueError(
                f"{c.material}: at an efficiency of {100 * efficiency:g} % {dead:.0f} mAh/cm2 are "
                f"dead after {life_h:g} h at {c.current_ma_cm2:g} mA/cm2, but the foil can spare "
                f"{spare:.0f}: the row contradicts itself"
            )
    return made


# The rows that are served as cells, by the name of the cell.
CONDITIONS: dict[str, Condition] = {
    "zn-cnf": Condition(
        "carbon nanofibres", INTERFACES_2025, 1, 85, 2, 2, 200, False, 98.3, 126, 0.5, 0.5
    ),
    "zn-noc": Condition(
        "N- and O-doped carbon", INTERFACES_2025, 1, 94, 30, 30, 136, False, 99.5, 800, 10, 1
    ),
    "zn-safe-mxene": Condition(
        "single-atom Fe on MXene", INTERFACES_2025, 1, 100, 1, 1, 1000, False, 99.8, 100, 1, 1,
        nucleation_overpotential_mv=19.0,
    ),
    "zn-pb": Condition("Pb", INTERFACES_2025, 2, 115, 4, 0.5, 400, False, 99.0, 370, 5, 2.5),
    "zn-ti": Condition("Ti", INTERFACES_2025, 2, 110, 2, 2, 1100, False, 99.6, 4000, 5, 1),
    "zn-ce": Condition("Ce", INTERFACES_2025, 2, 118, 2, 2, 4000, True, 99.8, 600, 5, 1),
    "zn-nb2o5": Condition(
        "Nb2O5", INTERFACES_2025, 3, 123, 1, 0.5, 1000, False, 98.01, 100, 1, 0.5
    ),
    # Its overpotential is told to be 55.9 % below that of bare zinc; that is taken at 1 mA/cm2.
    "zn-znb": Condition(
        "Zn(NbO3)2", INTERFACES_2025, 3, 130, 10, 10, 1000, False, 99.54, 1200, 1, 1,
        exchange_current_ma_cm2=0.52,
    ),
    "zn-zns": Condition("ZnS", INTERFACES_2025, 3, 135, 2, 2, 1100, False, 99.2, 200, 2, 1),
    "zn-zif8": Condition("ZIF-8", INTERFACES_2025, 4, 147, 2, 1, 1200, False, 99.4, 300, 5, 5),
    "zn-aan-cof": Condition(
        "Zn-AAn-COF", INTERFACES_2025, 4, 152, 20, 1, 300, False, 98.7, 600, 2, 1
    ),
    "zn-pi-dt-cof": Condition(
        "PI-DT-COF", INTERFACES_2025, 4, 154, 10, 1, 200, False, 99.0, 160, 10, 1
    ),
    "zn-sorbitol": Condition("500 mM sorbitol in 1 M ZnSO4", INTERFACE_2024, 1, 63, 5, 5, 480),
    "zn-silk-fibroin": Condition(
        "0.5 wt% silk fibroin in 1 M ZnSO4", INTERFACE_2024, 1, 77, 1, 1, 1600, True
    ),
    "zn-f-tio2": Condition("F-TiO2", INTERPHASES_2021, 1, 38, 2, 2, 280),
}  # fmt: skip
