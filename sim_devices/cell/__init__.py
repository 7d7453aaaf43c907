"""The simulated cell: one electrochemical state that every simulated instrument looks at.

It is a zero-dimensional model of a metal anode cell (zinc in aqueous sulfate, sodium in diglyme):
two interfaces with Butler-Volmer kinetics, a growing film, hydrogen evolution, dead metal,
nucleation, dendrites and shorts, in series with an electrolyte. Coulombic efficiencies,
overpotentials and lives are inputs or calibrated on published numbers, not predicted. Signs are
IUPAC: positive current oxidises the working electrode, E = E_WE - E_CE.
"""

from sim_devices.cell.catalogue import NAMES, make_cell
from sim_devices.cell.conditions import CONDITIONS, Condition, preset_from_condition
from sim_devices.cell.dummy import DUMMIES, DummyCell, DummyParameters
from sim_devices.cell.model import Cell
from sim_devices.cell.parameters import CellParameters, ElectrodeParameters
from sim_devices.cell.presets import PRESETS, preset

__all__ = [
    "CONDITIONS",
    "DUMMIES",
    "NAMES",
    "PRESETS",
    "Cell",
    "CellParameters",
    "Condition",
    "DummyCell",
    "DummyParameters",
    "ElectrodeParameters",
    "make_cell",
    "preset",
    "preset_from_condition",
]
