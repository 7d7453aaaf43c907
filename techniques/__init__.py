"""What an instrument can be asked to do, and to what, as plain data (no I/O, no bluesky)."""

from techniques.assignment import (
    Assignment,
    Counters,
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
    GalvanostaticStep,
    ImpedanceSpectrum,
    OpenCircuit,
    PlateStripCycle,
    Repeat,
    Sequence,
    Technique,
)

__all__ = [
    "Assignment",
    "Cell",
    "Counters",
    "Electrode",
    "Electrolyte",
    "ExecutedStep",
    "GalvanostaticStep",
    "ImpedanceSpectrum",
    "Interrupted",
    "Limit",
    "OpenCircuit",
    "PlateStripCycle",
    "PositionError",
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
