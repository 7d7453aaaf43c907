"""What a metric is called and what it means."""

from dataclasses import dataclass
from typing import Literal

Shape = Literal[
    "scalar",
    "by cycle",
    "by injection",
    "by frame",
    "by spectrum",
    "by spot",
    "by event",
    "by step",
    "by rate",
    "by temperature",
    "by peak",
    "by map",
    "by waveform",
]


@dataclass(frozen=True)
class Definition:
    """What a metric is called, its unit, and what it means.

    Attributes:
        name: The one name it has in code, reports and documents.
        unit: Its unit; ``1`` for a ratio.
        shape: One number, or a list: by cycle, injection, frame, spectrum and so on, each from the
            first.
        meaning: How it is defined, in a sentence or two.
        source: Where the definition comes from.
    """

    name: str
    unit: str
    shape: Shape
    meaning: str
    source: str
