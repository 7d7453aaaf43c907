"""All simulated cells by name, whatever their kind."""

from __future__ import annotations

from sim_devices.cell.blind import NAME as BLIND
from sim_devices.cell.blind import blind_cell
from sim_devices.cell.blind_sodium import NAME as BLIND_SODIUM
from sim_devices.cell.blind_sodium import blind_sodium_cell
from sim_devices.cell.dummy import DUMMIES, DummyCell
from sim_devices.cell.model import Cell
from sim_devices.cell.presets import PRESETS

NAMES: tuple[str, ...] = (*PRESETS, *DUMMIES, BLIND, BLIND_SODIUM)


def make_cell(name: str, seed: int = 0) -> Cell | DummyCell:
    """Assemble the cell of a name.

    Args:
        name: one of `NAMES`.
        seed: of the cell's random streams; of a blind cell also what it is.

    Raises:
        ValueError: there is no such cell; the message lists all names.
    """
    if name in DUMMIES:
        return DummyCell(DUMMIES[name])
    if name == BLIND:
        return blind_cell(seed)
    if name == BLIND_SODIUM:
        return blind_sodium_cell(seed)
    if name in PRESETS:
        return Cell(name, seed=seed)
    raise ValueError(f"no cell is called {name!r}; there are {', '.join(NAMES)}")
