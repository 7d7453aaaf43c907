"""What several families of metrics share: the value, its makers, and one run's rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import ValidationError

from operando.analysis import overpotential
from operando.analysis._refused_streams import refused_streams
from operando.analysis.accuracy import (
    CurrentAccuracy,
    CurrentZero,
    current_zeros,
    potential_offset_v,
)
from operando.analysis.blocks import compared_temperatures_k
from operando.analysis.failure import Failure, FailureWatch, criteria_of
from operando.analysis.inventory import (
    given_up_beyond_of,
    metal_at_start_mah_cm2,
    metal_potential_v,
)
from operando.analysis.lives import failures_of
from operando.analysis.potential_noise import potential_noise_v_s
from operando.analysis.segments import PLATE, REST, ChargeLedger, HalfCycle, recorded_half_cycles
from operando.analysis.shunt import high_frequency_intercept_ohm
from operando.registry import METRICS
from operando.runs import Floats, Run, Stream
from techniques import Cell, FailureCriteria

Number = float | None
Value = float | list[Number] | None


@dataclass(frozen=True)
class Metric:
    """One metric of one run.

    Attributes:
        value: A number, a list of numbers (None where an element is undefined), or None.
        unit: The unit, as the registry says.
        uncertainty: Standard uncertainty (k = 1), shaped like the value; None if not evaluated.
        reason: Why there is no value or why elements are missing; else what it rests on.
    """

    value: Value
    unit: str
    uncertainty: Value = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for number in flat(self.value) + flat(self.uncertainty):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"a metric is a finite number or None, not {number!r}")
        if self.value is None and not self.reason:
            raise ValueError("a metric without a value tells a reason")


def flat(value: Value) -> list[Number]:
    return value if isinstance(value, list) else [value]


def metric(name: str, value: Value, uncertainty: Value = None, reason: str | None = None) -> Metric:
    return Metric(value, METRICS[name].unit, uncertainty, reason)


def undefined(names: Iterable[str], reason: str) -> dict[str, Metric]:
    return {name: metric(name, None, reason=reason) for name in names}


def listed(
    name: str,
    values: Sequence[Number],
    uncertainties: Sequence[Number] | None = None,
    reasons: Sequence[str | None] = (),
    otherwise: str = "nothing was measured",
) -> Metric:
    """Return a metric by element; all elements undefined make it undefined."""
    reason = summary(reasons)
    if all(value is None for value in values):
        return metric(name, None, reason=reason or otherwise)
    return metric(
        name, list(values), None if uncertainties is None else list(uncertainties), reason
    )


def summary(reasons: Sequence[str | None]) -> str | None:
    counted: dict[str, int] = {}
    for reason in reasons:
        if reason:
            counted[reason] = counted.get(reason, 0) + 1
    told = [text if count == 1 else f"{text} ({count} times)" for text, count in counted.items()]
    if len(told) > 3:
        told = [*told[:3], f"and {len(told) - 3} more"]
    return "; ".join(told) or None


def finite(value: float) -> Number:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Placed:
    """Rows of a follower on the leader's time; rows before the program lie at -inf.

    Attributes:
        before_s: Leader's time just before each row, s.
        after_s: Leader's time just after, s.
        middle_s: The best single time, s.
    """

    before_s: Floats
    after_s: Floats
    middle_s: Floats


def place(before_s: Floats, after_s: Floats) -> Placed:
    """Place a follower's rows between the leader's rows.

    NaN before: the leader had not begun; NaN after: it had finished; both: before its first row
    if no earlier row has a time, else after its last.
    """
    known_before, known_after = np.isfinite(before_s), np.isfinite(after_s)
    begun = np.cumsum(known_before | known_after) > 0
    neither = ~(known_before | known_after)
    edge = np.where(begun, np.inf, -np.inf)
    low = np.where(known_before, before_s, np.where(neither, edge, -np.inf))
    high = np.where(known_after, after_s, np.where(known_before, before_s, edge))
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isfinite(low) & np.isfinite(high), 0.5 * (low + high), high)
    return Placed(low, high, middle)


@dataclass(frozen=True)
class Spectrum:
    """One impedance spectrum as it was recorded; its arrays are empty if it was not."""

    t_s: Floats
    half_cycle: Floats
    frequency_hz: Floats
    z_real_ohm: Floats
    z_imag_ohm: Floats

    @property
    def intercept_ohm(self) -> float | None:
        """Return its intercept at high frequency, ohm."""
        return finite(
            high_frequency_intercept_ohm(self.frequency_hz, self.z_real_ohm, self.z_imag_ohm)
        )


@dataclass
class Evaluation:
    """What several families of metrics need of one run, each computed once."""

    run: Run
    problem: str | None = field(default=None, init=False)
    # Stream -> why no number is made of it; ``run`` is without these streams.
    refused: Mapping[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.refused = refused_streams(self.run)
        if self.refused:
            kept = {k: one for k, one in self.run.streams.items() if k not in self.refused}
            self.run = replace(self.run, streams=kept)

    @cached_property
    def cell(self) -> Cell | None:
        sample = self.run.start.get("sample")
        try:
            return Cell.model_validate(sample)
        except ValidationError as error:
            self.problem = (
                "the start document describes no cell"
                if not isinstance(sample, Mapping)
                else f"the start document's cell is not valid: {error.errors()[0]['msg']}"
            )
            return None

    @cached_property
    def calibration(self) -> Mapping[str, Any]:
        return self.run.start.get("calibration") or {}

    @cached_property
    def accuracy(self) -> CurrentAccuracy:
        """Return the current's accuracy; of zeros of several runs the least certain by range."""
        worst: dict[float, CurrentZero] = {}
        for start in self.run.members or (self.run.start,):
            for zero in current_zeros(start):
                known = worst.setdefault(zero.range_a, zero)
                if zero.uncertainty_a > known.uncertainty_a:
                    worst[zero.range_a] = zero
        return replace(CurrentAccuracy.from_start(self.run.start), zeros=tuple(worst.values()))

    @cached_property
    def halves(self) -> tuple[HalfCycle, ...]:
        stream = self.run.streams.get("potentiostat")
        if stream is None or self.cell is None or not len(stream):
            return ()
        return recorded_half_cycles(
            self.run,
            area_cm2=self.cell.area_cm2,
            metal_electrode=self.cell.metal_electrode,
            metal_v=metal_potential_v(self.cell)[0],
        )

    @cached_property
    def no_zero(self) -> str | None:
        """Return why it is not known from which potential |E| counts; None if it is."""
        return None if self.cell is None else metal_potential_v(self.cell)[1]

    @cached_property
    def criteria(self) -> FailureCriteria:
        """Return the thresholds of the rules; the defaults where `criteria_problem` says why."""
        return FailureCriteria() if self.criteria_problem else criteria_of(self.run.start)

    @cached_property
    def criteria_problem(self) -> str | None:
        """Return what is wrong with the thresholds that the start document tells, if anything."""
        try:
            criteria_of(self.run.start)
        except ValueError as error:
            return str(error)
        return None

    @cached_property
    def failures(self) -> tuple[FailureWatch, tuple[Failure, ...]]:
        """Return what judged the run's half-cycles, and what it found."""
        cell = self.cell
        assert cell is not None  # a run without a cell has no half-cycles to be judged
        at_start, _ = metal_at_start_mah_cm2(cell)
        watch = FailureWatch(
            self.criteria,
            potential_offset_v=potential_offset_v(self.calibration),
            accuracy=self.accuracy,
            substrate=at_start == 0.0,
            symmetric=cell.symmetric,
            full_cell=cell.full_cell,
            window=given_up_beyond_of(self.run, cell),
            no_zero=self.no_zero,
            temperatures_k=compared_temperatures_k(self.run.start),
        )
        intercepts = None
        if cell.symmetric and self.spectra:
            recorded = [one for one in self.spectra if len(one.t_s)]
            told = [None, *(one.intercept_ohm for one in recorded)]
            ends_s = [float(half.t_s[-1]) for half in self.halves]
            before = np.searchsorted([one.t_s[0] for one in recorded], ends_s)
            intercepts = [told[index] for index in before.tolist()]
        return watch, failures_of(
            self.halves, watch, noises_v_s=self.noises_v_s, intercepts_ohm=intercepts
        )

    @cached_property
    def hard_short_cycle(self) -> int | None:
        """Return the cycle in which the first hard short began; None: none is known.

        From it on a cycle tells of the short, and counts in no mean.
        """
        if not self.halves or self.criteria_problem is not None:
            return None
        begins_s = [one.t_s for one in self.failures[1] if one.kind == "hard_short"]
        if not begins_s:
            return None
        after = (half.cycle for half in self.halves if half.t_s[-1] > min(begins_s))
        return next(after, self.halves[-1].cycle)

    @cached_property
    def rests_after_v(self) -> tuple[float | None, ...]:
        """Return the last potential at rest after each half-cycle, V; None without a rest."""
        cell = self.cell
        if cell is None or not self.halves:
            return ()
        columns = self.run.streams["potentiostat"].columns
        t_s, role = columns["potentiostat_t"], columns["potentiostat_role"]
        mirror = 1.0 if cell.metal_electrode == "WE" else -1.0
        begins_s = [*(float(half.t_s[0]) for half in self.halves[1:]), math.inf]
        ends_s = [float(half.t_s[-1]) for half in self.halves]
        first = np.searchsorted(t_s, ends_s, "right")
        stop = np.searchsorted(t_s, begins_s, "left")
        found: list[float | None] = []
        for begin, end in zip(first.tolist(), stop.tolist(), strict=True):
            rest = columns["potentiostat_potential"][begin:end][role[begin:end] == REST]
            known = rest[np.isfinite(rest)]
            found.append(mirror * float(known[-1]) if len(known) else None)
        return tuple(found)

    @cached_property
    def noises_v_s(self) -> tuple[float | None, ...]:
        """Return how restless the potential of each half-cycle is, V/s."""
        return tuple(map(potential_noise_v_s, self.halves))

    @cached_property
    def spectra(self) -> tuple[Spectrum, ...]:
        """Return the impedance spectra by number, from 1; those without points are empty."""
        stream = self.run.streams.get("impedance")
        if stream is None or not len(stream):
            return ()
        prefix = "potentiostat_impedance_"
        numbers = stream.columns[f"{prefix}spectrum"]
        names = ("t", "half_cycle", "frequency", "z_real", "z_imag")
        found = []
        for number in range(1, int(numbers.max()) + 1):
            rows = numbers == number
            found.append(Spectrum(*(stream.columns[prefix + name][rows] for name in names)))
        return tuple(found)

    @cached_property
    def ledger(self) -> ChargeLedger:
        return ChargeLedger(self.halves)

    @cached_property
    def no_halves(self) -> str:
        if self.cell is None:
            return self.problem or "the start document describes no cell"
        if "potentiostat" in self.refused:
            return self.refused["potentiostat"]
        if "potentiostat" not in self.run.streams:
            return "the run has no stream potentiostat"
        return "the run has no plating or stripping half-cycle"

    @cached_property
    def cycles(self) -> dict[int, tuple[HalfCycle | None, HalfCycle | None]]:
        found = overpotential.by_cycle(self.halves)
        last = max(found, default=0)
        return {number: found.get(number, (None, None)) for number in range(1, last + 1)}

    @cached_property
    def spans_s(self) -> tuple[list[float], list[float]]:
        """Return when the half-cycles began and when they ended: their first and last rows, s."""
        return (
            [float(half.t_s[0]) for half in self.halves],
            [float(half.t_s[-1]) for half in self.halves],
        )

    @cached_property
    def begin_s(self) -> float:
        """Return when the first half-cycle began, s."""
        return float(self.halves[0].t_s[0]) if self.halves else math.inf


def interruptions(found: Evaluation, among: Sequence[int] | None = None) -> list[str]:
    """Say which half-cycles were interrupted and resumed, and which lack rows.

    What passed during an interruption is not counted; where rows are missing it is interpolated.
    """
    told = []
    for half in found.halves:
        if among is None or half.cycle in among:
            which = f"the {'plating' if half.role == PLATE else 'stripping'} of cycle {half.cycle}"
            told += [
                f"{which} was interrupted at {gap.at_s:.0f} s for {gap.for_s:.0f} s"
                for gap in half.interruptions
            ]
            told += [
                f"{which} lacks rows between {begin:.0f} s and {end:.0f} s, its charge there is "
                "interpolated"
                for begin, end in half.missing_s
            ]
            told += [f"{which}: {doubt}" for doubt in half.doubts]
    return told


def zeros_taken_off(found: Evaluation) -> str | None:
    """Say which zeros of the current the charges are without, and which gains.

    None if none was measured before the run and no calibration tells any.
    """
    zeros = {half.zero for half in found.halves if half.zero is not None}
    said = []
    for source, when in (("measured", "measured before the run"), ("calibration", "calibrated")):
        told = " and ".join(
            f"{zero.current_a * 1e6:.3g} uA (range {zero.range_a * 1e3:g} mA)"
            for zero in sorted(zeros, key=lambda zero: zero.range_a)
            if zero.source == source
        )
        if told:
            said.append(f"the zero of the current, {told}, {when}, is taken off")
    gains = sorted({(zero.range_a, zero.gain) for zero in zeros if zero.gain != 1.0})
    if gains:
        told = " and ".join(f"{gain:.6g} (range {range_a * 1e3:g} mA)" for range_a, gain in gains)
        said.append(f"charges are divided by the current's gain, {told}, as it was calibrated")
    return "; ".join(said) or None


def enumerated(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


def placed_rows(stream: Stream, device: str) -> Placed:
    return place(stream.columns[f"{device}_t_before"], stream.columns[f"{device}_t_after"])
