"""What the instruments' own accuracy adds to a result (standard uncertainties, k = 1)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CurrentAccuracy:
    """How well a potentiostat knows its current, 1 standard deviation.

    Attributes:
        gain: Relative error of the reading; the same for all readings on one range.
        offset_of_range: Error at zero current as a share of the range.
        offset_a: Error at zero current, A, where it is known (the zero was measured); it
            then replaces ``offset_of_range``.

    The ranges are decades, and a measurement uses the smallest that covers its current.
    """

    gain: float = 1e-3
    offset_of_range: float = 1e-3
    offset_a: float | None = None

    @classmethod
    def from_calibration(cls, calibration: Mapping[str, Any]) -> "CurrentAccuracy":
        """Return the accuracy told under ``potentiostat`` in a start document's calibration."""
        told = calibration.get("potentiostat") or {}
        return cls(
            gain=told.get("current_gain_uncertainty", cls.gain),
            offset_of_range=told.get("current_offset_uncertainty_of_range", cls.offset_of_range),
            offset_a=told.get("current_offset_uncertainty_a"),
        )

    @staticmethod
    def range_a(current_a: float) -> float:
        """Return the smallest decade that covers ``|current_a|``, A."""
        magnitude = abs(current_a)
        if magnitude == 0:
            return 0.0
        return 10.0 ** math.ceil(math.log10(magnitude) - 1e-9)

    def relative_offset(self, current_a: float) -> float:
        """Return the offset's standard uncertainty over ``|current_a|``."""
        if current_a == 0:
            return 0.0
        offset_a = self.offset_a
        if offset_a is None:
            offset_a = self.offset_of_range * self.range_a(current_a)
        return offset_a / abs(current_a)

    def relative(self, current_a: float) -> float:
        """Return the relative standard uncertainty of one current or its charge."""
        return math.hypot(self.gain, self.relative_offset(current_a))

    def relative_of_ratio(self, current_a: float, other_a: float) -> float:
        """Return the relative uncertainty of the ratio of two charges of opposite sign.

        On one range the gain cancels and the offset, which adds to one charge and takes from the
        other, counts twice; on two ranges nothing cancels.
        """
        if self.range_a(current_a) == self.range_a(other_a):
            return self.relative_offset(current_a) + self.relative_offset(other_a)
        return math.hypot(self.relative(current_a), self.relative(other_a))


def potential_offset_v(calibration: Mapping[str, Any]) -> float:
    """Return how large a potential may look while it is zero, V; 1 mV unless it is told.

    Args:
        calibration: That of a start document; ``potential_offset_uncertainty_v`` under
            ``potentiostat`` tells it.
    """
    told = calibration.get("potentiostat") or {}
    return float(told.get("potential_offset_uncertainty_v", 1e-3))
