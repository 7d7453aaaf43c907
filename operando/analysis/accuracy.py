"""What the instruments' own accuracy adds to a result (standard uncertainties, k = 1)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from operando.analysis.calibrations import Found, found, of_range

# A current that was set is read back this well at worst; a program is ended otherwise.
_READ_BACK_WITHIN = 0.05


@dataclass(frozen=True)
class CurrentRange:
    """On which range of a potentiostat a current ran that was set.

    Attributes:
        current_a: Magnitude of the current, A.
        range_a: Nominal current of the range, A.
    """

    current_a: float
    range_a: float


@dataclass(frozen=True)
class CurrentZero:
    """What a potentiostat reads for the current when none flows, in one of its ranges.

    Attributes:
        range_a: Nominal current of the range, A.
        current_a: The reading, A, positive oxidises the working electrode.
        uncertainty_a: Standard uncertainty, A; what it drifts by during a run is not in it.
        set_a: Magnitudes of the currents that were set on the range, A; empty where a record
            does not tell them: of older runs, in which ranges carried no more than their nominal
            values.
        gain: What is read of a current over the true one, as a calibration found it; 1 without.
        source: Whence the reading is: ``measured`` before the run, of a ``calibration``, or of
            ``none`` (only the gain is known).
    """

    range_a: float
    current_a: float
    uncertainty_a: float
    set_a: tuple[float, ...] = ()
    gain: float = 1.0
    source: Literal["measured", "calibration", "none"] = "measured"


def current_ranges(start: Mapping[str, Any]) -> tuple[CurrentRange, ...]:
    """Return on which range each set current of a run ran, as its start document tells it."""
    told = start.get("current_ranges") or ()
    return tuple(CurrentRange(float(one["current_a"]), float(one["range_a"])) for one in told)


def current_zeros(start: Mapping[str, Any]) -> tuple[CurrentZero, ...]:
    """Return what is known of the current by range, as a start document tells it; often nothing.

    A zero that was measured before the run holds, else that of a calibration; the gain is that of
    the calibration, if there is one.
    """
    told = start.get("current_zero") or {}
    calibration = start.get("calibration") or {}
    ran = current_ranges(start)
    gains = found(calibration, "potentiostat", "current_gain")
    offsets = found(calibration, "potentiostat", "current_offset")

    def known(range_a: float, zero_a: float, u: float, source: Any) -> CurrentZero:
        gain = of_range(gains, range_a)
        set_a = tuple(
            each.current_a for each in ran if math.isclose(each.range_a, range_a, rel_tol=1e-6)
        )
        return CurrentZero(range_a, zero_a, u, set_a, 1.0 if gain is None else gain.value, source)

    zeros = [
        known(
            float(one["range_a"]), float(one["current_a"]), float(one["uncertainty_a"]), "measured"
        )
        for one in told.get("measured", ())
    ]
    accuracy = CurrentAccuracy.from_calibration(calibration)
    for range_a in sorted({x.at for x in (*gains, *offsets) if x.at is not None}):
        if any(math.isclose(zero.range_a, range_a, rel_tol=1e-6) for zero in zeros):
            continue
        # As the instrument tells it, by which it is looked up.
        as_ran = (x.range_a for x in ran if math.isclose(x.range_a, range_a, rel_tol=1e-6))
        range_a = next(as_ran, range_a)
        offset = of_range(offsets, range_a)
        bound = accuracy.offset_a
        if bound is None:
            bound = accuracy.offset_of_range * range_a
        zeros.append(
            known(range_a, 0.0, bound, "none")
            if offset is None
            else known(
                range_a,
                offset.value,
                bound if offset.uncertainty is None else offset.uncertainty,
                "calibration",
            )
        )
    return tuple(zeros)


def range_of(current_a: float, ran: Sequence[CurrentRange]) -> float | None:
    """Return the range on which a current ran as it is read, A; None: no such current was set."""
    magnitude = abs(current_a)
    near = min(ran, key=lambda one: abs(one.current_a - magnitude), default=None)
    if near is None or abs(near.current_a - magnitude) > _READ_BACK_WITHIN * near.current_a:
        return None
    return near.range_a


def zero_of(current_a: float, zeros: Sequence[CurrentZero]) -> CurrentZero | None:
    """Return the zero of the range on which a current ran as it is read; None: not measured.

    Where no record tells the ranges, it is that of the smallest whose nominal value covers the
    current.
    """
    ran = [CurrentRange(each, one.range_a) for one in zeros for each in one.set_a]
    if ran:
        range_a = range_of(current_a, ran)
        return next((one for one in zeros if one.range_a == range_a), None)
    covering = [one for one in zeros if abs(current_a) <= one.range_a * (1 + 1e-6)]
    return min(covering, key=lambda one: one.range_a, default=None)


@dataclass(frozen=True)
class CurrentAccuracy:
    """How well a potentiostat knows its current, 1 standard deviation.

    Attributes:
        gain: Relative error of the reading; the same for all readings on one range.
        offset_of_range: Error at zero current as a share of the range.
        offset_a: Error at zero current, A, where it is known (the zero was measured); it
            then replaces ``offset_of_range``.
        zeros: What was measured before the run; with ``zeroed``, the zero was taken off a current,
            and only what is not known of it is an offset.
        ranges: On which range each current ran that was set, as it was recorded.
        gains: What a calibration found by range; with ``zeroed`` it was taken off too.

    Of a current that was not set, and of runs that did not record it, the range is taken to be the
    smallest decade that covers it.
    """

    gain: float = 1e-3
    offset_of_range: float = 1e-3
    offset_a: float | None = None
    zeros: tuple[CurrentZero, ...] = ()
    ranges: tuple[CurrentRange, ...] = ()
    gains: tuple[Found, ...] = ()

    @classmethod
    def from_start(cls, start: Mapping[str, Any]) -> "CurrentAccuracy":
        """Return the accuracy that a start document tells: its calibration, and measured zeros."""
        told = cls.from_calibration(start.get("calibration") or {})
        return replace(told, zeros=current_zeros(start), ranges=current_ranges(start))

    @classmethod
    def from_calibration(cls, calibration: Mapping[str, Any]) -> "CurrentAccuracy":
        """Return the accuracy told under ``potentiostat`` in a start document's calibration."""
        told = calibration.get("potentiostat") or {}
        gains = found(calibration, "potentiostat", "current_gain")
        # Where it is not known on which range a current ran, or the gain is not taken off.
        worst = max((_not_taken_off(one) for one in gains), default=cls.gain)
        return cls(
            gain=told.get("current_gain_uncertainty", worst),
            gains=gains,
            offset_of_range=told.get("current_offset_uncertainty_of_range", cls.offset_of_range),
            offset_a=told.get("current_offset_uncertainty_a"),
        )

    def range_a(self, current_a: float) -> float:
        """Return the nominal value of the range on which a current ran as it is read, A."""
        magnitude = abs(current_a)
        if magnitude == 0:
            return 0.0
        ran_on = range_of(magnitude, self.ranges)
        if ran_on is not None:
            return ran_on
        return 10.0 ** math.ceil(math.log10(magnitude) - 1e-9)

    def gain_of_range(self, range_a: float, *, zeroed: bool = True) -> float:
        """Return the relative standard uncertainty of the gain on a range.

        Without ``zeroed`` what a calibration found of the gain was not taken off, and is in it.
        """
        known = of_range(self.gains, range_a)
        if known is None or known.uncertainty is None:
            return self.gain
        return known.uncertainty / known.value if zeroed else _not_taken_off(known)

    def relative_offset(self, current_a: float, *, zeroed: bool = False) -> float:
        """Return the offset's standard uncertainty over ``|current_a|``."""
        if current_a == 0:
            return 0.0
        zero = zero_of(current_a, self.zeros) if zeroed else None
        offset_a = self.offset_a if zero is None else zero.uncertainty_a
        if offset_a is None:
            offset_a = self.offset_of_range * self.range_a(current_a)
        return offset_a / abs(current_a)

    def relative(self, current_a: float, *, zeroed: bool = False) -> float:
        """Return the relative standard uncertainty of one current or its charge."""
        gain = (
            self.gain_of_range(self.range_a(current_a), zeroed=zeroed) if self.gains else self.gain
        )
        return math.hypot(gain, self.relative_offset(current_a, zeroed=zeroed))

    def relative_of_ratio(self, current_a: float, other_a: float, *, zeroed: bool = False) -> float:
        """Return the relative uncertainty of the ratio of two charges of opposite sign.

        On one range the gain cancels and the offset, which adds to one charge and takes from the
        other, counts twice; on two ranges nothing cancels.
        """
        if self.range_a(current_a) == self.range_a(other_a):
            return sum(self.relative_offset(one, zeroed=zeroed) for one in (current_a, other_a))
        return math.hypot(*(self.relative(one, zeroed=zeroed) for one in (current_a, other_a)))


def _not_taken_off(gain: Found) -> float:
    """Return the relative uncertainty of what is not divided by a gain that was found."""
    return math.hypot(gain.value - 1.0, 1e-3 if gain.uncertainty is None else gain.uncertainty)


def potential_offset_v(calibration: Mapping[str, Any]) -> float:
    """Return how large a potential may look while it is zero, V; 1 mV unless it is told.

    Args:
        calibration: That of a start document; ``potential_offset_uncertainty_v`` under
            ``potentiostat`` tells it. What a calibration found is not taken off: it adds to what
            is not known of it.
    """
    told = calibration.get("potentiostat") or {}
    for offset in found(calibration, "potentiostat", "potential_offset"):
        return math.hypot(offset.value, 1e-3 if offset.uncertainty is None else offset.uncertainty)
    return float(told.get("potential_offset_uncertainty_v", 1e-3))


# Of a reading: 0.2 % at most is what makers say of potentiostats, and that over the root of three.
POTENTIAL_GAIN = 1e-3


@dataclass(frozen=True)
class PotentialAccuracy:
    """How well a potentiostat knows a potential, 1 standard deviation.

    Attributes:
        offset_v: Error where the potential is zero, V; the same in both directions.
        gain: Relative error of a difference of two potentials.
    """

    offset_v: float = 1e-3
    gain: float = POTENTIAL_GAIN

    @classmethod
    def from_calibration(cls, calibration: Mapping[str, Any]) -> "PotentialAccuracy":
        """Return the accuracy told under ``potentiostat`` in a start document's calibration."""
        told = calibration.get("potentiostat") or {}
        gain = float(told.get("potential_gain_uncertainty", POTENTIAL_GAIN))
        for one in found(calibration, "potentiostat", "potential_gain"):
            gain = _not_taken_off(one)
        return cls(potential_offset_v(calibration), gain)
