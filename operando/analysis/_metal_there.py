"""How much metal can be there to strip, as half-cycles pass, and how well that is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.segments import COULOMB_PER_MAH, PLATE, HalfCycle
from operando.runs import Floats

# More than was there may seem to be stripped, by this share of the most that ever was there.
OVERRUN_MARGIN = 0.05
# Where nothing ever was there: what a bare substrate and its double layer may give, mAh/cm2.
LEAST_MARGIN_MAH_CM2 = 0.02
# A zero that was measured before the run moves with the laboratory's temperature; by how much is
# told nowhere. This share of what makers allow for the zero itself is believed of it (k = 1).
ZERO_DRIFT_OF_BOUND = 0.5


@dataclass
class _OnRange:
    """What passed on one range: charges and times, by how the zero is known."""

    plated: float = 0.0
    stripped: float = 0.0
    zeroed_s: float = 0.0
    unzeroed_s: float = 0.0


@dataclass
class MetalThere:
    """Cumulates what was plated and stripped, mAh/cm2.

    The gain of a range cancels between what was plated and what was stripped on it, and not
    between two ranges; an offset adds to the one and takes from the other, so it counts for the
    time of both.

    Args:
        at_start: Metal before the first half-cycle.
        accuracy: Of the current.
        area_cm2: Of the electrode.
        before_plated: What earlier runs of the experiment plated; its current is taken for that of
            the first plating here, else of the strip that is judged.
        before_stripped: The same of what they stripped.
    """

    at_start: float
    accuracy: CurrentAccuracy
    area_cm2: float
    before_plated: float = 0.0
    before_stripped: float = 0.0
    _ranges: dict[float, _OnRange] = field(default_factory=dict)
    _offsets_a: dict[float, tuple[float, float]] = field(default_factory=dict)
    _plated: float = 0.0
    _stripped: float = 0.0
    _most: float = 0.0
    _plating_a: float | None = None

    def passed(self, half: HalfCycle) -> None:
        """Count a half-cycle that is over."""
        charge, lasted_s = half.capacity_mah_cm2, half.lasted_s
        if not charge > 0:
            return
        current_a = charge * COULOMB_PER_MAH * self.area_cm2 / lasted_s if lasted_s > 0 else 0.0
        # As it is read, where rows tell it: the range is found by it.
        read = np.abs(half.current_a[np.isfinite(half.current_a)])
        current_a = float(np.max(read)) if len(read) else current_a
        on = self._on(current_a)
        if half.role == PLATE:
            on.plated += charge
            self._plated += charge
            self._plating_a = current_a
        else:
            on.stripped += charge
            self._stripped += charge
        if half.zero is not None:
            on.zeroed_s += lasted_s
        else:
            on.unzeroed_s += lasted_s
        self._most = max(self._most, self.there)

    @property
    def there(self) -> float:
        """Return how much metal can be there now, by the charges as they were measured."""
        before = self.before_plated - self.before_stripped
        return self.at_start + before + self._plated - self._stripped

    @property
    def most(self) -> float:
        """Return the most that ever was there: the inventory of which margins are shares."""
        return max(self._most, self.at_start, self.there)

    def uncertainty(self, charge: float, current_a: float) -> float:
        """Return the standard uncertainty of what is left after a strip of ``charge``, mAh/cm2.

        Args:
            charge: Stripped in the half-cycle that goes on, mAh/cm2.
            current_a: Its current, A.
        """
        strip_range = self._known(current_a)
        plating_a = current_a if self._plating_a is None else self._plating_a
        plate_range = self._known(plating_a)
        gains: dict[float, float] = {
            range_a: on.stripped - on.plated for range_a, on in self._ranges.items()
        }
        for range_a, more in (
            (strip_range, self.before_stripped + charge),
            (plate_range, -self.before_plated),
        ):
            gains[range_a] = gains.get(range_a, 0.0) + more
        # What was there at the start was not measured here; a gain does not act on it.
        gain = math.hypot(
            *(self.accuracy.gain_of_range(range_a) * value for range_a, value in gains.items())
        )
        seconds = {r: (on.zeroed_s, on.unzeroed_s) for r, on in self._ranges.items()}
        offset = sum(self._offset(r, *both) for r, both in seconds.items())
        # Of the earlier runs and of the strip that goes on it is not known whether there is a zero.
        offset += self._offset(
            strip_range, 0.0, self._time(self.before_stripped + charge, current_a)
        )
        offset += self._offset(plate_range, 0.0, self._time(self.before_plated, plating_a))
        return math.hypot(gain, offset)

    def first_beyond(
        self, charge: Floats, current_a: Callable[[int], float]
    ) -> tuple[int, float] | None:
        """Return the first row by which more was stripped than can have been there, and how much.

        Args:
            charge: Stripped until each row, mAh/cm2.
            current_a: Row -> the largest current until then, A.
        """
        there = self.there
        margin = OVERRUN_MARGIN * self.most if self.most > 0 else LEAST_MARGIN_MAH_CM2
        for row in np.flatnonzero(np.asarray(charge) - there > margin).tolist():
            beyond = float(charge[row]) - there
            if beyond > margin + 2 * self.uncertainty(float(charge[row]), current_a(row)):
                return row, beyond
        return None

    @property
    def why_useless(self) -> str | None:
        """Return why no overrun can be told any more: the currents are not known well enough."""
        if self._plating_a is None or self.most <= 0:
            return None
        blurred = 2 * self.uncertainty(0.0, self._plating_a)
        if blurred <= self.most:
            return None
        return (
            f"the uncertainty of the current adds up to {blurred:.3g} mAh/cm2 by now, more than "
            f"the {self.most:.3g} that were there at most: metal from nowhere could not be told"
        )

    def _on(self, current_a: float) -> _OnRange:
        return self._ranges.setdefault(self._known(current_a), _OnRange())

    def _known(self, current_a: float) -> float:
        """Return the range of a current, having noted what is known of its offset."""
        range_a = self.accuracy.range_a(current_a)
        if range_a not in self._offsets_a:
            bound = self.accuracy.relative_offset(current_a) * abs(current_a)
            zeroed = self.accuracy.relative_offset(current_a, zeroed=True) * abs(current_a)
            measured = (
                zeroed if zeroed == bound else math.hypot(zeroed, ZERO_DRIFT_OF_BOUND * bound)
            )
            self._offsets_a[range_a] = measured, bound
        return range_a

    def _offset(self, range_a: float, zeroed_s: float, unzeroed_s: float) -> float:
        measured, bound = self._offsets_a[range_a]
        ampere_seconds = measured * zeroed_s + bound * unzeroed_s
        return ampere_seconds / COULOMB_PER_MAH / self.area_cm2

    def _time(self, charge: float, current_a: float) -> float:
        if current_a == 0:
            return 0.0
        return charge * COULOMB_PER_MAH * self.area_cm2 / abs(current_a)


def largest(currents_a: ArrayLike) -> Callable[[int], float]:
    """Return what tells the current of a row."""
    values = np.asarray(currents_a, dtype=np.float64)
    return lambda row: float(values[row])
