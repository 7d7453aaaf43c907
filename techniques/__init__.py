"""What an instrument can be asked to do, and to what, as plain data (no I/O, no bluesky)."""

from techniques.assignment import (
    Assignment,
    elementary_steps,
    finest_row_interval_s,
    longest_duration_s,
)
from techniques.cell import Cell, Electrode, Electrolyte
from techniques.limits import Limit, SafetyLimits
from techniques.protocol import Protocol, Schedule
from techniques.recording import Recording
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
    "Electrode",
    "Electrolyte",
    "GalvanostaticStep",
    "ImpedanceSpectrum",
    "Limit",
    "OpenCircuit",
    "PlateStripCycle",
    "Protocol",
    "Recording",
    "Repeat",
    "SafetyLimits",
    "Schedule",
    "Sequence",
    "Technique",
    "elementary_steps",
    "finest_row_interval_s",
    "longest_duration_s",
]
