"""Where the cell stands before objective and laser, which do not move."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Displacement(NamedTuple):
    """How far the cell is from where it was at the start, um.

    Attributes:
        x_um: to the right in the picture.
        y_um: up in the picture.
        z_um: towards the objective.
    """

    x_um: float
    y_um: float
    z_um: float


def _unmoved() -> Displacement:
    return Displacement(0.0, 0.0, 0.0)


class Whereabouts:
    """Asked by whoever looks at the cell; a stage that carries it answers."""

    def __init__(self, carrier: Callable[[], Displacement] = _unmoved) -> None:
        """Stand where ``carrier`` says; by default where it always was."""
        self.carrier = carrier

    def now(self) -> Displacement:
        """Return how far the cell is from where it was at the start."""
        return self.carrier()
