"""Cells with chemistry by name.

Where their numbers are from is told in `zinc`, `conditions`, `sodium`, `prussian_blue` and
`platinum`.
"""

from __future__ import annotations

from dataclasses import replace

from sim_devices.cell.conditions import CONDITIONS, preset_from_condition
from sim_devices.cell.parameters import CellParameters
from sim_devices.cell.platinum import PLATINUM
from sim_devices.cell.prussian_blue import FULL_CELLS
from sim_devices.cell.sodium import SODIUM_CELLS
from sim_devices.cell.zinc import SYMMETRIC, on_copper

_ZINC = SYMMETRIC | {name: preset_from_condition(row) for name, row in CONDITIONS.items()}

PRESETS: dict[str, CellParameters] = {
    **_ZINC,
    **{f"{name}-half": on_copper(cell) for name, cell in _ZINC.items()},
    "na-znag": SODIUM_CELLS["na-znag-half"],
    "na-bare": SODIUM_CELLS["na-bare-half"],
    **SODIUM_CELLS,
    **FULL_CELLS,
    **PLATINUM,
}
# Three electrodes: a zinc wire beside the working electrode.
PRESETS["zn-bare-half-reference"] = replace(PRESETS["zn-bare-half"], reference_share=0.25)
# The same with a wire that is not as clean as it was told to be, and gets worse.
PRESETS["zn-bare-half-bad-reference"] = replace(
    PRESETS["zn-bare-half-reference"], reference_offset_v=0.015, reference_drift_v_h=0.05
)


def preset(name: str) -> CellParameters:
    """Return the parameters of a cell by name.

    E.g. ``zn-zro2``, ``zn-bare-half`` (on copper), ``na-znag-half`` (on silvered zinc, against
    sodium foil; also ``na-znag``), ``na-znag-symmetric`` (2 mAh/cm2 of sodium on both sides),
    ``na-znag-predeposited`` (6 mAh/cm2 against foil), ``pb-znag-anodefree`` (Prussian blue).

    Raises:
        ValueError: there is no such cell; the message lists all names.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"no cell is called {name!r}; there are {', '.join(PRESETS)}") from None
