"""A technique assigned to a cell: all a driver needs to know."""

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator

from techniques._base import Data
from techniques.experiments import Experiment
from techniques.limits import SafetyLimits
from techniques.programs import Block, Repeat, Sequence
from techniques.reference import ReferenceBound
from techniques.steps import (
    CyclicVoltammetry,
    ElementaryStep,
    GalvanostaticStep,
    ImpedanceSpectrum,
    LinearSweep,
    OpenCircuit,
    PlateStripCycle,
    PotentiostaticStep,
)
from techniques.technique import Technique, experiments_in, unresolved

# How long the open circuit potential is measured before a step whose potential is told against it.
OPEN_CIRCUIT_BEFORE_S = 1.0

# How much charge a hold with a role may pass the other way before the instrument opens the cell.
WRONG_WAY_MAH_CM2 = 0.05

PotentialControlled = PotentiostaticStep | LinearSweep | CyclicVoltammetry


class Counters(Data):
    """The counters that the rows of a program go on from; zero unless an experiment goes on."""

    t_s: float = Field(default=0.0, ge=0, description="Time of the program's start, s.")
    cycle: int = Field(default=0, ge=0)
    half_cycle: int = Field(default=0, ge=0)
    step: int = Field(default=0, ge=0)
    spectrum: int = Field(default=0, ge=0)


class Assignment(Data):
    """What to run, on how large an electrode, hanging on which cable, within which limits."""

    technique: Technique
    area_cm2: float = Field(gt=0, description="Geometric area of the metal electrode, cm2.")
    metal_electrode: Literal["WE", "CE"] = "WE"
    reference: bool = Field(
        default=False,
        description="A reference electrode is connected: potentials are told against it, and the "
        "window of the safety limits also holds for E_WE - E_CE, which is measured besides.",
    )
    reference_bound: ReferenceBound | None = Field(
        default=None,
        description="What the reference must show at the end of the open circuit with which the "
        "program begins, or nothing is driven; none: it is not asked.",
    )
    limits: SafetyLimits = SafetyLimits()
    begin: Counters = Counters()
    instrument_log: str | None = Field(
        default=None,
        pattern=r"[a-z0-9-]{1,32}",
        description="Name under which the instrument keeps the rows as well; none: it does not.",
    )

    @field_validator("technique")
    @classmethod
    def _is_a_program(cls, technique: Technique) -> Technique:
        for experiment in experiments_in(technique):
            raise ValueError(unresolved(experiment))
        return technique

    @property
    def mirror(self) -> int:
        """Return +1 if the metal hangs on the working electrode's cable, else -1.

        Multiplies a current or potential told for the metal electrode into the instrument's.
        """
        return 1 if self.metal_electrode == "WE" else -1

    def current_a(self, step: GalvanostaticStep) -> float:
        """Return the current the instrument sets, A, IUPAC sign at the working electrode."""
        return self.mirror * step.signed_current_density_ma_cm2 * self.area_cm2 * 1e-3

    @property
    def bounds(self) -> SafetyLimits:
        """Return the limits as they act here: without a reference, |E_WE - E_CE| is the window's.

        Raises ValueError if its limit and the window leave no potential.
        """
        limits, most = self.limits, self.limits.cell_potential_max_v
        if self.reference or most is None:
            return limits
        both_ways = SafetyLimits(potential_min_v=-most, potential_max_v=most)
        return limits.model_copy(update={"cell_potential_max_v": None}).narrowed_by(both_ways)

    def violations(self) -> list[str]:
        """Return what the technique asks beyond the limits; empty if nothing.

        Only what can be known beforehand: currents, charges, potential limits, duration; of
        spectra the swing around a bias and the peak current. A spectrum at a bias is refused where
        ``current_max_a`` flowing all the time could exceed ``charge_max_mah_cm2``; a hold or a
        sweep likewise, unless limits of its own on the current or the charge forbid it.
        """
        try:
            bounds = self.bounds
        except ValueError:
            low, high = self.limits.potential_min_v, self.limits.potential_max_v
            return [
                f"cell_potential_max_v {self.limits.cell_potential_max_v} V leaves nothing of the "
                f"safety limits {low} V to {high} V"
            ]
        if bounds != self.limits:
            return self.model_copy(update={"limits": bounds}).violations()
        limits, found = self.limits, list[str]()
        if self.reference and self.metal_electrode == "CE":
            found.append(
                "with a reference electrode the potential of the working electrode is measured: "
                "hang the metal electrode on WE"
            )
        for step in elementary_steps(self.technique):
            if isinstance(step, ImpedanceSpectrum):
                found += self._spectrum_outside(step)
            if isinstance(step, PotentialControlled):
                found += self._controlled_potential_outside(step)
            if not isinstance(step, GalvanostaticStep):
                continue
            current = abs(self.current_a(step))
            if limits.current_max_a is not None and current > limits.current_max_a * (1 + 1e-9):
                found.append(
                    f"{_name(step)}: {step.current_density_ma_cm2} mA/cm2 on {self.area_cm2} cm2 "
                    f"is {current * 1e3:.4g} mA, the limit is {limits.current_max_a * 1e3:.4g} mA"
                )
            charge = abs(step.current_density_ma_cm2) * step.expected_s / 3600
            most = limits.charge_max_mah_cm2
            if most is not None and charge > most * (1 + 1e-9):
                found.append(
                    f"{_name(step)}: up to {charge:.4g} mAh/cm2, the limit is {most:.4g} mAh/cm2"
                )
            found += self._potentials_outside(step) + self._window_missing()
        found += self._deposits_outside()
        longest = longest_duration_s(self.technique)
        if limits.duration_max_s is not None and longest > limits.duration_max_s:
            found.append(
                f"the program may last {longest:.0f} s, the limit is {limits.duration_max_s:.0f} s"
            )
        return list(dict.fromkeys(found))

    def current_bound_a(self, step: PotentialControlled) -> float:
        """Return the largest current that a hold or sweep may pass before it ends, A; or inf."""
        most = self.limits.current_max_a
        bounds = [math.inf if most is None else most]
        bounds += [
            limit.value * self.area_cm2 * 1e-3
            for limit in step.until
            if limit.quantity == "abs_current_above_ma_cm2"
        ]
        return min(bounds)

    def charge_bound_mah_cm2(self, step: PotentialControlled) -> float:
        """Return the largest charge that a hold or sweep may pass before it ends, mAh/cm2."""
        density = self.current_bound_a(step) * 1e3 / self.area_cm2
        bounds = [density * step.expected_s / 3600]
        bounds += [limit.value for limit in step.until if limit.quantity == "charge_mah_cm2"]
        return min(bounds)

    def _window_missing(self) -> list[str]:
        if None not in (self.limits.potential_min_v, self.limits.potential_max_v):
            return []
        return [
            "no potential limits: give potential_min_v and potential_max_v in the bench or cell "
            "file"
        ]

    def _controlled_potential_outside(self, step: PotentialControlled) -> list[str]:
        limits, found = self.limits, self._window_missing()
        name = step.type.replace("_", " ")
        if limits.current_max_a is None:
            found.append(
                f"{name}: no current limit: give current_max_a in the bench or cell file, for the "
                "current of this step is not set"
            )
        low = -math.inf if limits.potential_min_v is None else limits.potential_min_v
        high = math.inf if limits.potential_max_v is None else limits.potential_max_v
        window = f"the safety limits {limits.potential_min_v} V to {limits.potential_max_v} V"
        wanted = (step.potential_v,) if isinstance(step, PotentiostaticStep) else step.turns_v
        if step.versus == "open_circuit":
            if max(wanted) - min(wanted) > high - low:
                found.append(
                    f"{name}: from {min(wanted):g} V to {max(wanted):g} V against open circuit is "
                    f"wider than {window}"
                )
        else:
            found += [
                f"{name}: {value:g} V lies outside {window}"
                for value in wanted
                if not low <= value * self.mirror <= high
            ]
        charge, most = self.charge_bound_mah_cm2(step), limits.charge_max_mah_cm2
        if most is not None and charge > most * (1 + 1e-9):
            found.append(
                f"{name}: {self.current_bound_a(step) * 1e3:.4g} mA for {step.expected_s:.4g} s "
                f"would be {charge:.4g} mAh/cm2, the limit is {most:.4g} mAh/cm2: end it by "
                "charge_mah_cm2 or by abs_current_above_ma_cm2"
            )
        return found

    def _potentials_outside(self, step: GalvanostaticStep) -> list[str]:
        low, high = self.limits.potential_min_v, self.limits.potential_max_v
        found = []
        for limit in step.until:
            # An |E| limit wider than the window is no violation: the window acts first.
            if limit.quantity not in ("potential_above_v", "potential_below_v"):
                continue
            value = limit.value * self.mirror
            if (low is not None and value < low) or (high is not None and value > high):
                found.append(
                    f"{_name(step)}: {limit.quantity} {limit.value} V lies outside the "
                    f"safety limits {low} V to {high} V"
                )
        return found

    def _deposits_outside(self) -> list[str]:
        """Return where steps that each keep to the charge limit exceed it together."""
        most = self.limits.charge_max_mah_cm2
        if most is None:
            return []
        found = []
        for electrode, on_metal in (("metal electrode", True), ("other electrode", False)):
            _, peak = self._deposit(self.technique, 0.0, on_metal)
            if peak > most * (1 + 1e-9):
                found.append(
                    f"steps together: up to {peak:.4g} mAh/cm2 would be plated on the {electrode}, "
                    f"the limit is {most:.4g} mAh/cm2"
                )
        return found

    def _deposit(self, technique: Technique, before: float, on_metal: bool) -> tuple[float, float]:
        """Return the largest deposit after ``technique`` and the largest during it, mAh/cm2.

        Every step counts with the most it can pass by its time and charge limits. On the metal
        electrode a strip takes its charge off again, to zero at most: where its potential ends it
        earlier, nothing is left to strip, and only its potential does where its charge and time
        would not go on with the next step. On the other electrode the strips since the last plate
        are added up. Rests change nothing; a spectrum at a bias adds what it could pass. So do
        holds and sweeps: with a role on the electrode that it names, for the instrument ends a hold
        whose charge goes the other way (``WRONG_WAY_MAH_CM2``), else on both. Where a limit can
        leave a loop, the largest deposit on the way counts as its end.
        """
        match technique:
            case GalvanostaticStep():
                density = technique.signed_current_density_ma_cm2
                charge = abs(density) * technique.expected_s / 3600
                if (density < 0) == on_metal:
                    after = before + charge
                elif on_metal and not _ends_by_potential(technique):
                    after = max(0.0, before - charge)
                else:
                    after = 0.0
                return after, max(before, after)
            case ImpedanceSpectrum():
                after = before + self.bias_charge_mah_cm2(technique)
                return after, after
            case PotentiostaticStep() if technique.role == ("strip" if on_metal else "plate"):
                return before, before
            case PotentiostaticStep() | LinearSweep() | CyclicVoltammetry():
                after = before + self.charge_bound_mah_cm2(technique)
                return after, after
            case Sequence():
                return self._deposit_of_all(technique.steps, before, on_metal)
            case Repeat():
                return self._deposit_of_loop(technique.times, (technique.step,), before, on_metal)
            case Block():
                return self._deposit(technique.step, before, on_metal)
            case PlateStripCycle():
                steps = tuple(elementary_steps(technique))
                return self._deposit_of_loop(technique.cycles, steps, before, on_metal)
        return before, before

    def _deposit_of_all(
        self, steps: tuple[Technique, ...], before: float, on_metal: bool
    ) -> tuple[float, float]:
        after = peak = before
        for step in steps:
            after, most = self._deposit(step, after, on_metal)
            peak = max(peak, most)
        return after, peak

    def _deposit_of_loop(
        self, times: int, steps: tuple[Technique, ...], before: float, on_metal: bool
    ) -> tuple[float, float]:
        after, peak = self._deposit_of_all(steps, before, on_metal)
        if times > 1:
            first = after
            after, most = self._deposit_of_all(steps, first, on_metal)
            # From the second pass on each adds the same, or none adds anything.
            growth = max(0.0, after - first) * (times - 2) if times > 2 else 0.0
            after, peak = after + growth, max(peak, most + growth)
        leaves = any(
            limit.action == "end_loop"
            for step in steps
            for inner in elementary_steps(step)
            if isinstance(inner, GalvanostaticStep | PotentialControlled)
            for limit in inner.until
        )
        return (peak if leaves else after), peak

    def _spectrum_outside(self, step: ImpedanceSpectrum) -> list[str]:
        limits, found = self.limits, list[str]()
        low = -math.inf if limits.potential_min_v is None else limits.potential_min_v
        high = math.inf if limits.potential_max_v is None else limits.potential_max_v
        window = f"the safety limits {limits.potential_min_v} V to {limits.potential_max_v} V"
        swing = (step.amplitude_rms_v or 0.0) * math.sqrt(2)
        if 2 * swing > high - low:
            found.append(f"impedance spectrum: its swing of +-{swing:.4g} V is wider than {window}")
        elif step.potential_v is not None:
            bias = step.potential_v * self.mirror
            if bias - swing < low or bias + swing > high:
                found.append(
                    f"impedance spectrum: the bias {bias:g} V +- {swing:.4g} V is outside {window}"
                )
        peak = (step.amplitude_rms_ma_cm2 or 0.0) * math.sqrt(2) * self.area_cm2 * 1e-3
        if limits.current_max_a is not None and peak > limits.current_max_a * (1 + 1e-9):
            found.append(
                f"impedance spectrum: its peak current is {peak * 1e3:.4g} mA, the limit is "
                f"{limits.current_max_a * 1e3:.4g} mA"
            )
        charge, most = self.bias_charge_mah_cm2(step), limits.charge_max_mah_cm2
        if most is not None and charge > most * (1 + 1e-9):
            found.append(
                "impedance spectrum at a bias: no current_max_a bounds its charge"
                if limits.current_max_a is None
                else f"impedance spectrum at a bias: {limits.current_max_a * 1e3:.4g} mA all the "
                f"time would be {charge:.4g} mAh/cm2, the limit is {most:.4g} mAh/cm2"
            )
        return found

    def bias_charge_mah_cm2(self, step: ImpedanceSpectrum) -> float:
        """Return the charge that a spectrum away from open circuit could pass, mAh/cm2."""
        if step.potential_v is None:
            return 0.0
        if self.limits.current_max_a is None:
            return math.inf
        # Three periods a frequency, and the holds before and after it.
        duration_s = 1.5 * longest_duration_s(step) + 2.0
        return self.limits.current_max_a * 1e3 * duration_s / 3600 / self.area_cm2


def _ends_by_potential(step: GalvanostaticStep) -> bool:
    """Return whether the next step only comes if a potential has ended this one."""
    others = [x.action for x in step.until if x.quantity in ("time_s", "charge_mah_cm2")]
    return len(others) < len(step.until) and "next" not in others


def _name(step: GalvanostaticStep) -> str:
    return f"{step.role or 'galvanostatic'} step"


def elementary_steps(technique: Technique) -> Iterator[ElementaryStep]:
    """Yield each elementary step written in ``technique`` once, however often it is repeated."""
    match technique:
        case Sequence():
            for step in technique.steps:
                yield from elementary_steps(step)
        case Repeat() | Block():
            yield from elementary_steps(technique.step)
        case PlateStripCycle():
            first, second = technique.halves
            yield from technique.goes_on_with(first)
            if technique.between is not None:
                yield technique.between
            yield from technique.goes_on_with(second)
        case Experiment():
            raise ValueError(unresolved(technique))
        case _:
            yield technique


def finest_row_interval_s(technique: Technique) -> float:
    """Return the shortest time between two rows that ``technique`` may record, in s.

    Where a change of what is measured makes a row due, that is the interval of the checks. The
    first and the last row of a step do not count, nor does an impedance spectrum.
    """
    finest = math.inf
    for step in elementary_steps(technique):
        if isinstance(step, ImpedanceSpectrum):
            continue
        if isinstance(step, LinearSweep | CyclicVoltammetry):
            finest = min(finest, step.row_step_v / step.scan_rate_v_s)
            continue
        record = step.record
        intervals = [record.dt_s]
        if record.edge_for_s > 0:
            intervals.append(record.edge_dt_s)
        if isinstance(step, OpenCircuit):
            finest = min(finest, *intervals)
            continue
        checks_s = record.check_interval_s(step.expected_s)
        if isinstance(step, PotentiostaticStep):
            if record.dq_mah_cm2 is not None or record.di_ma_cm2 is not None:
                intervals.append(checks_s)
            finest = min(finest, max(checks_s, min(intervals)))
            continue
        if record.dq_mah_cm2 is not None:
            intervals.append(record.dq_mah_cm2 * 3600 / abs(step.current_density_ma_cm2))
        if record.de_v is not None:
            intervals.append(checks_s)
        finest = min(finest, max(checks_s, min(intervals)))
    return finest


def longest_duration_s(technique: Technique) -> float:
    """Return the longest time ``technique`` can last, in s (impedance: two periods a point)."""
    match technique:
        case Sequence():
            return sum(longest_duration_s(step) for step in technique.steps)
        case Repeat():
            return technique.times * longest_duration_s(technique.step)
        case Block():
            return longest_duration_s(technique.step)
        case PlateStripCycle():
            once = technique.plate.expected_s + technique.strip.expected_s + 2 * technique.rest_s
            if technique.plate_hold is not None:
                once += longest_duration_s(technique.plate_hold)
            if technique.between is None:
                return technique.cycles * once
            between = technique.times_between * longest_duration_s(technique.between)
            return technique.cycles * once + between
        case GalvanostaticStep():
            return technique.expected_s
        case PotentiostaticStep():
            return technique.expected_s + _before_s(technique)
        case LinearSweep() | CyclicVoltammetry():
            step_s = technique.row_step_v / technique.scan_rate_v_s
            return technique.expected_s + step_s + _before_s(technique)
        case OpenCircuit():
            return technique.duration_s
        case ImpedanceSpectrum():
            ratio = 10 ** (1 / technique.points_per_decade)
            return 2 / technique.frequency_min_hz / (1 - 1 / ratio) + 0.2
    raise TypeError(f"not a technique: {technique!r}")


def _before_s(step: PotentialControlled) -> float:
    return OPEN_CIRCUIT_BEFORE_S if step.versus == "open_circuit" else 0.0
