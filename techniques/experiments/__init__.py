"""Experiments of the papers, as data: what is told in a methods section, and no more.

Each knows with ``program(cell)`` what the instrument is to run on a cell.
"""

from techniques.experiments._parts import Experiment, UnsuitableCellError
from techniques.experiments.characterisation import (
    CorrosionRest,
    CurrentInterrupt,
    DummyCellRanges,
    ImpedanceSeries,
    Tafel,
    Transference,
    Voltammetry,
    WettingRest,
)
from techniques.experiments.cycling import (
    Formation,
    HalfCellCycling,
    NucleationSeries,
    Pulses,
    RateCapability,
    ReservoirEfficiency,
    SymmetricCycling,
)
from techniques.experiments.full_cells import FullCellCycling

__all__ = [
    "CorrosionRest",
    "CurrentInterrupt",
    "DummyCellRanges",
    "Experiment",
    "Formation",
    "FullCellCycling",
    "HalfCellCycling",
    "ImpedanceSeries",
    "NucleationSeries",
    "Pulses",
    "RateCapability",
    "ReservoirEfficiency",
    "SymmetricCycling",
    "Tafel",
    "Transference",
    "UnsuitableCellError",
    "Voltammetry",
    "WettingRest",
]
