"""Sodium half cells whose parameters are drawn, never published: can an analysis find them?

As `blind` for zinc: drawn from the seed, told in the truth.
"""

from __future__ import annotations

import random
from dataclasses import replace
from math import exp, log

from sim_devices.cell.model import Cell
from sim_devices.cell.parameters import CellParameters
from sim_devices.cell.sodium import sodium_cell

NAME = "blind-na-half"


def blind_sodium_parameters(seed: int) -> CellParameters:
    """Return the parameters of a seed: sodium on some substrate, within what such cells show."""
    source = random.Random(f"blind sodium {seed}")

    def between(low: float, high: float) -> float:
        return exp(source.uniform(log(low), log(high)))

    cycled_ohm = between(1.0, 8.0)
    loss = between(5e-4, 8e-3)
    made = sodium_cell(
        cycled_ohm * between(1.02, 2.5),
        cycled_ohm,
        source.uniform(6e3, 18e3),
        between(2e-3, 30e-3),
        between(8e-3, 8e-2),
        loss,
        loss * source.uniform(0.1, 0.4),
        source.uniform(0.2, 0.95),
        between(0.01, 0.06),
    )
    foil_ohm = between(0.5, 2.0)  # relative to that of the published cells
    foil = replace(
        made.counter,
        exchange_current_ma_cm2=made.counter.exchange_current_ma_cm2 / foil_ohm,
        film_resistance_ohm_cm2=made.counter.film_resistance_ohm_cm2 * foil_ohm,
    )
    return replace(
        made,
        counter=foil,
        electrolyte_resistance_ohm_cm2=between(5.0, 18.0),
        inductance_h=between(5e-8, 5e-7),
    )


def blind_sodium_cell(seed: int) -> Cell:
    """Assemble the cell of a seed; its leads have a resistance, 0 to 1 ohm, too."""
    cell = Cell(blind_sodium_parameters(seed), seed=seed)
    cell.inject("contact", ohm=random.Random(f"sodium leads {seed}").uniform(0.0, 1.0))
    return cell
