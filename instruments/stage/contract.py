"""What every motorised stage offers, whatever its wire language."""

from collections.abc import Mapping
from typing import Protocol

from instruments.errors import SafetyLimitError
from instruments.sensor.contract import Sensor


class TravelLimitError(SafetyLimitError):
    """A position is asked for that the stage or the bench file forbids."""


class Stage(Sensor, Protocol):
    """A driver of a stage: a sensor of where it is, which can be moved. Positions are in um.

    ``quantities`` are its axes, each in um; ``read`` tells where they are, NaN for an axis that has
    no reference position yet.
    """

    def limits_um(self) -> Mapping[str, tuple[float, float]]:
        """Return the lowest and the highest position of each axis, of stage and bench file, um."""
        ...

    def move_to(self, target_um: Mapping[str, float]) -> None:
        """Move some or all axes and return when they are there.

        Raises TravelLimitError before anything moves if one of them is beyond its limits,
        InstrumentFaultError if an axis has no reference position, faults, or ends elsewhere; all
        axes are stopped then.
        """
        ...

    def home(self) -> None:
        """Find the reference position of every axis: it runs to its end; clear the way first."""
        ...

    def stop(self) -> None:
        """Stop every axis."""
        ...
