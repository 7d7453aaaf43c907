"""When and how a cell fails: hard and soft shorts, polarisation, and the baseline they refer to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.endings import CUT_OFF_WITHIN_V
from operando.analysis.overpotential import PLATEAU
from operando.analysis.segments import PLATE, HalfCycle
from operando.analysis.step_drops import Drop
from operando.runs import Floats
from techniques import FailureCriteria

Kind = Literal[
    "soft_short",
    "soft_short_noise",
    "soft_short_coulombic",
    "soft_short_spectrum",
    "square_wave",
    "hard_short",
    "polarisation_failure",
]
# A strip that ends this many times above its own plateau was asked for the last of the metal.
_EMPTIED = 3.0
_NOT_PLACED = (
    "half-cycles at several temperatures whose cycles do not tell at which they were are compared "
    "with none"
)


@dataclass(frozen=True)
class Failure:
    """One event.

    Attributes:
        kind: Which rule.
        t_s: When it began, s since the program's start.
        sure_s: Time of the row with which it became sure, s.
        half_cycle: Number of the half-cycle in which it began.
        cycle: Its cycle.
        value: What the rule compares: the share of |E| left, the ratio to the baseline or to the
            threshold, the charge that came back, %, the resistance in parallel, ohm, or |E|, V, at
            the limit at which the cell is given up.
        reason: That in words.
        resistance_ohm: Of the short, where it can be told.
    """

    kind: Kind
    t_s: float
    sure_s: float
    half_cycle: int
    cycle: int
    value: float
    reason: str
    resistance_ohm: float | None = None


def criteria_of(start: Mapping[str, Any]) -> FailureCriteria:
    """Return the thresholds that a start document tells, the defaults where it tells none.

    Raises ValueError if they are not valid, saying what is wrong.
    """
    told = start.get("failure_criteria")
    if told is None:
        return FailureCriteria()
    try:
        return FailureCriteria.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("failure_criteria", *first["loc"])))
        raise ValueError(f"the start document's {where} is not valid: {first['msg']}") from error


@dataclass(frozen=True)
class PotentialWindow:
    """Potentials of the metal electrode against the other beyond which a cell is given up, V."""

    low_v: float = -math.inf
    high_v: float = math.inf

    def in_half_cycle(self, number: int) -> "PotentialWindow":
        """Return those that held in a half-cycle: these, in all."""
        return self

    def first_beyond(self, potential_v: Floats) -> int | None:
        """Return the first row on or beyond one of the limits."""
        if self == PotentialWindow():
            return None
        beyond = (potential_v >= self.high_v) | (potential_v <= self.low_v)
        return int(np.argmax(beyond)) if beyond.any() else None


@dataclass(frozen=True)
class PotentialWindows:
    """The same where the protocol was changed: each from its first half-cycle on, in their order.

    Attributes:
        by_half_cycle: The number of the first half-cycle and the potentials of each; the first one
            from the beginning.
    """

    by_half_cycle: tuple[tuple[int, PotentialWindow], ...]

    def in_half_cycle(self, number: int) -> PotentialWindow:
        """Return those that held in a half-cycle."""
        found = self.by_half_cycle[0][1]
        for first, window in self.by_half_cycle[1:]:
            found = window if number >= first else found
        return found

    def changed(self, first: int, window: PotentialWindow) -> "PotentialWindows":
        """Return these and others from a half-cycle on."""
        return PotentialWindows((*self.by_half_cycle, (first, window)))


@dataclass
class _Level:
    """Half-cycles of one current and temperature: their number, and what makes their baseline."""

    current_a: float
    kelvin: float | None = None
    count: int = 0
    plateaus_v: list[float] = field(default_factory=list)
    arcs_v: list[float] = field(default_factory=list)

    baseline_v: float | None = None
    highest_v: float = 0.0
    fallen_to_v: float | None = None
    compared: bool = False

    @property
    def reference_v(self) -> float | None:
        """Return what a short is told by, V: the baseline, or what there is of it so far."""
        if self.baseline_v is not None or not self.plateaus_v:
            return self.baseline_v
        return float(np.median(self.plateaus_v))

    def follow(self, plateau_v: float, share: float, offset_v: float, *, early: bool) -> None:
        """Keep whether the potential fell below a share of what it was in the first half-cycles."""
        if early:
            self.highest_v = max(self.highest_v, plateau_v)
        if share * self.highest_v < offset_v or plateau_v >= share * self.highest_v:
            self.fallen_to_v = None
        elif early:
            self.fallen_to_v = plateau_v

    def add(self, plateau_v: float, arcs_v: float, least: int) -> None:
        self.plateaus_v.append(plateau_v)
        self.arcs_v.append(arcs_v)
        if len(self.plateaus_v) >= least:
            self.baseline_v = float(np.median(self.plateaus_v))


@dataclass(frozen=True)
class _Seen:
    """|E| of a half-cycle as it is compared with the baseline.

    Attributes:
        half: The half-cycle.
        volt: |E|, V.
        error_v: By how much the potential's offset may falsify it, V.
        zero_v: What the potential reads where it is zero, as far as that was found, V.
    """

    half: HalfCycle
    volt: float
    error_v: float
    zero_v: float = 0.0

    def ohm(self, volt: float) -> float:
        """Return what a voltage is at the half-cycle's current, ohm."""
        return volt / abs(self.half.mean_current_a)


class FailureWatch:
    """Judges half-cycles one after the other, each by itself and those before it.

    Args:
        criteria: The thresholds; a soft short needs at least the potential's offset where they tell
            no `drops.least_v`.
        potential_offset_v: How large a potential may look while it is zero, V.
        accuracy: What the current's accuracy adds.
        substrate: Whether the metal is plated on a foreign substrate, so that what is stripped can
            be no more than what was plated.
        symmetric: Whether both electrodes are of the metal.
        full_cell: Whether a cathode is opposite: the steps of its voltage are no noise.
        window: Where the cell is given up.
        no_zero: Why it is not known from which potential |E| counts: then only `window` and what
            needs no |E| is judged.
        temperatures_k: Cycle -> temperature, K, where the program has several: half-cycles are
            compared with those of the same one, and those of other cycles with none.
    """

    # Half-cycles of currents closer than this are compared with each other, at one temperature.
    SAME_CURRENT = 0.03

    def __init__(
        self,
        criteria: FailureCriteria | None = None,
        *,
        potential_offset_v: float = 1e-3,
        accuracy: CurrentAccuracy | None = None,
        substrate: bool = False,
        symmetric: bool = False,
        full_cell: bool = False,
        window: PotentialWindow | PotentialWindows | None = None,
        no_zero: str | None = None,
        temperatures_k: Mapping[int, float] | None = None,
    ) -> None:
        criteria = FailureCriteria() if criteria is None else criteria
        if criteria.drops.least_v is None:
            drops = criteria.drops.model_copy(update={"least_v": potential_offset_v})
            criteria = criteria.model_copy(update={"drops": drops})
        self.criteria = criteria
        self.potential_offset_v = potential_offset_v
        self.accuracy = CurrentAccuracy() if accuracy is None else accuracy
        self.substrate, self.symmetric, self.full_cell = substrate, symmetric, full_cell
        self.window: PotentialWindow | PotentialWindows = window or PotentialWindow()
        self.no_zero = no_zero
        self.temperatures_k = temperatures_k
        self.judged_hard = False
        self._below_offset_v: float | None = None
        self._levels: list[_Level] = []
        self._low: list[tuple[_Seen, float]] = []
        self._before: tuple[HalfCycle, ...] = ()  # the last one first
        self._before_low: tuple[HalfCycle, ...] = ()
        self._hard = self._polarised = self._noisy = self._square = False
        self._metal_mah_cm2 = 0.0
        self._noise_powers: list[float] = []
        self._noise_current_a: float | None = None
        self._unplaced = False

    @property
    def why_not_judged(self) -> str | None:
        """Return why it cannot be said that no half-cycle was shorted; None if it can.

        Either none could be compared with a baseline, or the potential fell among those of which
        the baseline is made: what it refers to may be the short.
        """
        if self._hard and not self.judged_hard:
            return "the cell was shorted before there was a baseline"
        never = self.why_never_judged
        if never is not None or self.judged_hard or self._unplaced:
            return never or (None if self._hard else self.why_not_everywhere)
        return (
            f"no baseline: fewer than {self.criteria.baseline_from + self.criteria.baseline_least} "
            "half-cycles of one current"
        )

    @property
    def why_never_judged(self) -> str | None:
        """Return why a hard short cannot be told of this cell; None if it can, or not yet."""
        if self.no_zero is not None:
            return self.no_zero
        if self.temperatures_k is not None and not self.temperatures_k:
            return _NOT_PLACED
        for level in self._levels:
            if level.fallen_to_v is not None and not self._hard:
                return (
                    f"|E| fell from {level.highest_v * 1e3:.3g} to {level.fallen_to_v * 1e3:.3g} "
                    f"mV within the first {self.criteria.baseline_to} half-cycles, as a short "
                    "does, and the baseline is made of these: it may be that of a shorted cell"
                )
        if not self.judged_hard and self._below_offset_v is not None:
            return (
                f"{100 * self.criteria.hard_share:.3g} % of the baseline of "
                f"{self._below_offset_v * 1e3:.3g} mV is below the "
                f"potential's offset of {self.potential_offset_v * 1e3:.3g} mV"
            )
        return None

    @property
    def has_baseline(self) -> bool:
        """Return whether there is a baseline of any current."""
        return any(one.baseline_v for one in self._levels)

    @property
    def why_not_everywhere(self) -> str | None:
        """Return why some temperatures of the program tell nothing; None if each tells."""
        if self._unplaced:
            return _NOT_PLACED
        at_k = {one.kelvin for one in self._levels if one.kelvin is not None}
        without_k = at_k - {one.kelvin for one in self._levels if one.compared}
        if not without_k:
            return None
        told = ", ".join(f"{kelvin:g}" for kelvin in sorted(without_k))
        least = self.criteria.baseline_from + self.criteria.baseline_least
        return (
            f"no half-cycle at {told} K could be compared with a baseline of that temperature, "
            f"which takes {least} of one current"
        )

    def half_cycle(
        self,
        half: HalfCycle,
        *,
        noise_v_s: float | None = None,
        intercept_ohm: float | None = None,
    ) -> list[Failure]:
        """Judge a half-cycle that is over.

        Args:
            half: The half-cycle.
            noise_v_s: Its `potential_noise_v_s`; None: there is none.
            intercept_ohm: High-frequency intercept of the last spectrum, ohm.
        """
        plateau = middle_v(half)
        found = [*self._beyond(half), *self._coulombic(half)]
        if math.isfinite(plateau) and not self._is_placed(half):
            self._unplaced = True
        elif math.isfinite(plateau):
            level = self._level(half)
            level.count += 1
            baseline, reference = level.baseline_v, level.reference_v
            arcs = _arcs_v(half)
            early = level.count <= self.criteria.baseline_to
            share = self.criteria.hard_share
            level.follow(plateau, share, self.potential_offset_v, early=early)
            healthy = True
            if reference is not None:
                seen = self._seen(half, plateau, reference)
                # Of fewer half-cycles than a baseline has a fall is told, but not that none was.
                self.judged_hard |= seen is not None and baseline is not None
                level.compared |= seen is not None and baseline is not None
                low = seen is not None and seen.volt < share * reference
                found += self._hard_short(seen if low else None, reference)
                healthy = not low
            if baseline is not None:
                found += self._polarisation(half, plateau, baseline)
                found += self._square_wave(half, plateau, arcs, level, intercept_ohm)
                healthy &= plateau <= self.criteria.polarisation_factor * baseline
            if self.criteria.baseline_from <= level.count and early and healthy:
                level.add(plateau, arcs, self.criteria.baseline_least)
        found += self._restless(half, noise_v_s)
        self._before = (half, *self._before[:1])
        return sorted(found, key=lambda one: one.sure_s)

    def unfinished(self, half: HalfCycle) -> list[Failure]:
        """Judge a half-cycle that is going on, or was cut off, by what needs no whole one."""
        return [*self._beyond(half), *self._coulombic(half)]

    def go_on(self, other: "FailureWatch") -> None:
        """Go on in a run that resumes the one before, with what is known of it.

        What half-cycles are compared with stays. A failure that was told is told again if it is
        still there. Whether all metal was asked back is not known any more.

        Args:
            other: Made for that run; its accuracies and its window hold from now on.
        """
        self.accuracy, self.potential_offset_v = other.accuracy, other.potential_offset_v
        self.window, self.substrate = other.window, other.substrate
        self._hard = self._polarised = False
        self._low = []

    def _level(self, half: HalfCycle) -> _Level:
        current_a, kelvin = abs(half.mean_current_a), self._at_k(half)
        for level in self._levels:
            if level.kelvin == kelvin and self._is_same(level.current_a, current_a):
                return level
        self._levels.append(_Level(current_a, kelvin))
        return self._levels[-1]

    def _is_placed(self, half: HalfCycle) -> bool:
        return self.temperatures_k is None or half.cycle in self.temperatures_k

    def _at_k(self, half: HalfCycle) -> float | None:
        return None if self.temperatures_k is None else self.temperatures_k.get(half.cycle)

    @classmethod
    def _is_same(cls, current_a: float, other_a: float) -> bool:
        return abs(current_a - other_a) <= cls.SAME_CURRENT * current_a

    def _beyond(self, half: HalfCycle) -> list[Failure]:
        row = self.window.in_half_cycle(half.number).first_beyond(half.potential_v)
        if row is None or self._polarised:
            return []
        self._polarised = True
        at_v, at_s = float(half.potential_v[row]), float(half.t_s[row])
        told = f"the potential was {at_v:.3g} V, at the limit at which the cell is given up"
        return [_failure("polarisation_failure", half, at_s, at_s, abs(at_v), told)]

    def _seen(self, half: HalfCycle, plateau: float, baseline: float) -> _Seen | None:
        """Return what is compared with a share of the baseline; None: the offset hides it.

        The potential's offset is the same in both directions: it cancels in half the difference of
        two half-cycles in a row.
        """
        threshold, offset_v = self.criteria.hard_share * baseline, self.potential_offset_v
        if threshold >= offset_v:
            return _Seen(half, plateau, offset_v)
        self._below_offset_v = baseline
        changes_v = self.criteria.zero_share * offset_v
        before = self._before[0] if self._before else None
        if threshold < changes_v or before is None or before.role == half.role:
            return None
        forth_v, back_v = _signed_middle_v(before), _signed_middle_v(half)
        same = self._is_same(abs(before.mean_current_a), abs(half.mean_current_a))
        if not same or self._at_k(before) != self._at_k(half) or not math.isfinite(forth_v):
            return None
        return _Seen(half, abs(back_v - forth_v) / 2, changes_v, (back_v + forth_v) / 2)

    def _hard_short(self, low: _Seen | None, baseline: float) -> list[Failure]:
        if self._hard:
            return []
        if low is not None and not self._low:
            self._before_low = self._before
        self._low = [] if low is None else [*self._low, (low, baseline)]
        wanted = self.criteria.hard_half_cycles
        if low is None or len(self._low) < wanted:
            return []
        last = [one for one, _ in self._low[-wanted:]]
        ohms = [one.ohm(one.volt) for one in last]
        error_ohm = max(one.ohm(2 * one.error_v) for one in last)
        if max(ohms) - min(ohms) > self.criteria.ohmic_within * max(ohms) + error_ohm:
            return []
        self._hard = True
        before = self._before_low if len(self._low) == wanted else ()
        threshold_v = self.criteria.hard_share * self._low[-wanted][1]
        onset_s = _fell_s((last[0].half, *before), threshold_v, last[0].zero_v)
        share, ohm = low.volt / baseline, float(np.mean(ohms))
        told = (
            f"|E| is {share:.1%} of its baseline of {baseline * 1e3:.3g} mV in {wanted} "
            "half-cycles in a row, |E|/|i| the same in them"
        )
        sure_s = float(low.half.t_s[-1])
        return [_failure("hard_short", last[0].half, onset_s, sure_s, share, told, ohm)]

    def _polarisation(self, half: HalfCycle, plateau: float, baseline: float) -> list[Failure]:
        over = plateau > self.criteria.polarisation_factor * baseline
        if not over or self._polarised:
            return []
        self._polarised = True
        ratio = plateau / baseline
        above = half.role * half.overpotential_v > self.criteria.polarisation_factor * baseline
        onset_s = float(half.t_s[np.argmax(above)])
        told = f"|E| is {ratio:.3g} times its baseline of {baseline * 1e3:.3g} mV"
        end_s = float(half.t_s[-1])
        return [_failure("polarisation_failure", half, onset_s, end_s, ratio, told)]

    def _square_wave(
        self,
        half: HalfCycle,
        plateau: float,
        arcs: float,
        level: _Level,
        intercept_ohm: float | None,
    ) -> list[Failure]:
        if not self.symmetric or intercept_ohm is None or intercept_ohm <= 0:
            return []
        usual = float(np.median(level.arcs_v))
        ratio = plateau / abs(half.mean_current_a) / intercept_ohm
        square = (
            arcs < self.criteria.flat_share * usual
            and abs(ratio - 1) <= self.criteria.intercept_within
        )
        told = self._square
        self._square = square
        if not square or told:
            return []
        reason = (
            f"the arcs of the potential, {usual * 1e3:.3g} mV at first, are {arcs * 1e3:.2g} mV "
            f"and |E|/|i| is {ratio:.2f} times the high-frequency intercept"
        )
        begin_s, end_s = float(half.t_s[0]), float(half.t_s[-1])
        return [_failure("square_wave", half, begin_s, end_s, ratio, reason)]

    def _coulombic(self, half: HalfCycle) -> list[Failure]:
        charge = half.capacity_mah_cm2
        if not self.substrate or self.no_zero is not None or half.unrecorded_mah_cm2 != 0.0:
            return []
        if half.role == PLATE:
            self._metal_mah_cm2 += charge
            return []
        there = self._metal_mah_cm2
        # A strip that ends on its plateau was not asked for all metal: the rest is still there.
        self._metal_mah_cm2 = 0.0 if emptied(half) else max(there - charge, 0.0)
        if there <= 0:
            return []
        percent = 100 * charge / there
        current_a = half.mean_current_a
        error = percent * self.accuracy.relative_of_ratio(
            current_a, -current_a, zeroed=half.zero is not None
        )
        if percent <= self.criteria.ce_above_pct or percent - 2 * error <= 100:
            return []
        more = half.charge_mah_cm2 > there
        at_s = float(half.t_s[np.argmax(more)])
        told = f"{percent:.4g} % of the metal that was there came back"
        end_s = float(half.t_s[-1])
        return [_failure("soft_short_coulombic", half, at_s, end_s, percent, told)]

    def _restless(self, half: HalfCycle, noise_v_s: float | None) -> list[Failure]:
        if noise_v_s is None or self.full_cell:
            return []
        current_a = abs(half.mean_current_a)
        if self._noise_current_a is None:
            self._noise_current_a = current_a
        if abs(current_a - self._noise_current_a) > self.SAME_CURRENT * self._noise_current_a:
            return []
        if half.cycle <= self.criteria.noise_cycles:
            self._noise_powers.append(noise_v_s**2)
            return []
        if not self._noise_powers:
            return []
        threshold = self._noise_threshold_v_s()
        noisy, before = noise_v_s > threshold, self._noisy
        self._noisy = noisy
        if not noisy or before:
            return []
        told = (
            f"dE/dt between 0.01 and 0.5 Hz is {noise_v_s * 1e3:.3g} mV/s rms, the threshold from "
            f"the first {self.criteria.noise_cycles} cycles {threshold * 1e3:.3g} mV/s"
        )
        begin_s, end_s = float(half.t_s[0]), float(half.t_s[-1])
        ratio = (noise_v_s / threshold) ** 2
        return [_failure("soft_short_noise", half, begin_s, end_s, ratio, told)]

    def _noise_threshold_v_s(self) -> float:
        powers = np.array(self._noise_powers)
        usual = float(np.median(powers))
        deviation = 1.4826 * float(np.median(np.abs(powers - usual)))
        told = self.criteria
        power = max(usual + told.noise_factor * deviation, told.noise_ratio * usual)
        return max(math.sqrt(power), told.noise_least_v_s)


def soft_short(number: int, cycle: int, drop: Drop) -> Failure:
    """Return a sudden fall of the potential within a half-cycle as the failure that it is."""
    told = f"|E| fell from {drop.before_v * 1e3:.3g} to {drop.after_v * 1e3:.3g} mV at one current"
    share, ohm = drop.share_left, drop.resistance_ohm
    return Failure("soft_short", drop.t_s, drop.sure_s, number, cycle, share, told, ohm)


def _failure(
    kind: Kind,
    half: HalfCycle,
    t_s: float,
    sure_s: float,
    value: float,
    reason: str,
    resistance_ohm: float | None = None,
) -> Failure:
    return Failure(kind, t_s, sure_s, half.number, half.cycle, value, reason, resistance_ohm)


def emptied(half: HalfCycle) -> bool:
    """Return whether a strip ended in the rise that shows the last of the metal.

    At the potential above which its technique ends it. Where that tells none, or none is stored,
    three times above its own plateau.
    """
    end_v = float(half.potential_v[-1])
    if half.cut_off_v is not None:
        return end_v >= half.cut_off_v - CUT_OFF_WITHIN_V
    return end_v - half.metal_v >= _EMPTIED * middle_v(half)


def middle_v(half: HalfCycle) -> float:
    """Return the median |E| of the rows between 40 and 90 % of the charge, V; NaN without charge.

    It counts from the metal's own potential, and is NaN too where that is not known. It is cheaper
    than the plateau overpotential, in which rows count by their charge.
    """
    return abs(_signed_middle_v(half))


def _signed_middle_v(half: HalfCycle) -> float:
    total = half.capacity_mah_cm2
    if total <= 0:
        return math.nan
    first, stop = half.charge_mah_cm2.searchsorted((PLATEAU[0] * total, PLATEAU[1] * total))
    rows = half.potential_v[first : max(stop, first + 1)]
    return float(np.median(rows)) - half.metal_v


def _arcs_v(half: HalfCycle) -> float:
    """Return by how much the driving potential varies in the first 90 % of the time, V."""
    t_s = half.t_s
    length_s = t_s[-1] - t_s[0]
    first, stop = np.searchsorted(t_s, (t_s[0] + 0.02 * length_s, t_s[0] + 0.9 * length_s))
    part = half.potential_v[first:stop]
    return float(part.max() - part.min()) if len(part) else 0.0


def _fell_s(halves: Sequence[HalfCycle], threshold_v: float, zero_v: float) -> float:
    """Return when |E| was above a threshold for the last time before a half-cycle below it, s.

    Args:
        halves: That half-cycle, and those before it, backwards, which may have been above.
        threshold_v: The threshold.
        zero_v: What the potential reads where it is zero.
    """
    begin_s = float(halves[0].t_s[0])
    for number, half in enumerate(halves):
        above = np.flatnonzero(np.abs(half.overpotential_v - zero_v) >= threshold_v)
        if not number and len(above) and above[-1] >= PLATEAU[1] * len(half.t_s):
            continue  # that is how it ends, after it had been below
        if len(above):
            return float(half.t_s[min(above[-1] + 1, len(half.t_s) - 1)])
        begin_s = float(half.t_s[0])
    return begin_s
