"""All simulated cells by name, whatever their kind."""

from __future__ import annotations

from sim_devices.cell.dummy import DUMMIES, DummyCell
from sim_devices.cell.model import Cell
from sim_devices.cell.presets import PRESETS

NAMES: tuple[str, ...] = (*PRESETS, *DUMMIES)


def make_cell(name: str, seed: int = 0) -> Cell | DummyCell:
    """Assemble the cell of a name.

    Args:
        name: one of `NAMES`.
        seed: of the cell's random streams.

    Raises:
        ValueError: there is no such cell; the message lists all names.
    """
    if name in DUMMIES:
        return DummyCell(DUMMIES[name])
    if name in PRESETS:
        return Cell(name, seed=seed)
    raise ValueError(f"no cell is called {name!r}; there are {', '.join(NAMES)}")
