"""Zinc half cells whose parameters are drawn, never published: can an analysis find them?

A cell that was given published values returns them also through an analysis that was tuned on them.
These are drawn from the seed; the truth tells what was drawn.
"""

from __future__ import annotations

import random
from dataclasses import replace
from math import exp, log

from sim_devices.cell.model import Cell
from sim_devices.cell.parameters import CellParameters
from sim_devices.cell.zinc import zinc_cell

NAME = "blind-zn-half"


def blind_parameters(seed: int) -> CellParameters:
    """Return the parameters of a seed: zinc on copper, within what zinc cells show."""
    source = random.Random(f"blind {seed}")

    def between(low: float, high: float) -> float:
        return exp(source.uniform(log(low), log(high)))

    made = zinc_cell(
        between(0.15, 1.5),
        source.uniform(0.25, 0.6),
        efficiency=1 - between(0.002, 0.04),
        hydrogen_share=source.uniform(0.05, 0.6),
        efficiency_at_ma_cm2=1.0,
        zhs_yield=source.uniform(0.1, 0.9),
        zhs_resistivity_ohm_cm=between(2e4, 2e5),
        dendrite_amplification=0.0,
        dendrite_current_ma_cm2=1.0,
        nucleation_overpotential_v=between(0.010, 0.060),
        dead_fraction_sd=between(1e-4, 1e-3),
        compactness=source.uniform(0.5, 0.95),
    )
    zinc = made.counter
    electrode = replace(
        zinc,
        film_cpe=zinc.film_cpe * between(0.5, 2.0),
        film_cpe_exponent=source.uniform(0.90, 0.98),
        double_layer_cpe=zinc.double_layer_cpe * between(0.5, 2.0),
        double_layer_cpe_exponent=source.uniform(0.85, 0.95),
    )
    bare = replace(electrode, metal_mah_cm2=0.0, formation_charge_mah_cm2=between(5e-4, 5e-3))
    return replace(
        made,
        working=bare,
        counter=electrode,
        electrolyte_resistance_ohm_cm2=between(1.5, 8.0),
        inductance_h=between(5e-8, 5e-7),
    )


def blind_cell(seed: int) -> Cell:
    """Assemble the cell of a seed; its leads have a resistance, 0 to 1 ohm, too."""
    cell = Cell(blind_parameters(seed), seed=seed)
    cell.inject("contact", ohm=random.Random(f"leads {seed}").uniform(0.0, 1.0))
    return cell
