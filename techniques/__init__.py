"""What an instrument can be asked to do, and to what, as plain data (no I/O, no bluesky)."""

from techniques.assignment import (
    Assignment,
    Counters,
    PotentialControlled,
    elementary_steps,
    finest_row_interval_s,
    longest_duration_s,
)
from techniques.cell import Cell, Electrode, Electrolyte
from techniques.limits import Limit, SafetyLimits
from techniques.protocol import Protocol, Schedule
from techniques.recording import Recording
from techniques.remaining import (
    ExecutedStep,
    Interrupted,
    PositionError,
    Remaining,
    remaining,
)
from techniques.steps import (
    CyclicVoltammetry,
    ElementaryStep,
    GalvanostaticStep,
    ImpedanceSpectrum,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
    Repeat,
    Sequence,
    Technique,
)

__all__ = [
    "Assignment",
    "Cell",
    "Counters",
    "CyclicVoltammetry",
    "Electrode",
    "Electrolyte",
    "ElementaryStep",
    "ExecutedStep",
    "GalvanostaticStep",
    "ImpedanceSpectrum",
    "Interrupted",
    "Limit",
    "LinearSweep",
    "OpenCircuit",
    "PlateStripCycle",
    "PositionError",
    "PotentialControlled",
    "PotentiostaticStep",
    "Protocol",
    "Recording",
    "Remaining",
    "Repeat",
    "SafetyLimits",
    "Schedule",
    "Sequence",
    "Technique",
    "elementary_steps",
    "finest_row_interval_s",
    "longest_duration_s",
    "remaining",
]
