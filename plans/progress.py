"""How far a program that runs on the instrument has come, by its rows, and what is left of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from instruments.potentiostat.contract import (
    HOLD,
    IMPEDANCE,
    OTHER,
    PLATE,
    REST,
    STRIP,
    SWEEP,
    VOLTAMMOGRAM,
    ImpedancePoint,
    ProgramEnd,
    Sample,
)
from techniques import (
    Counters,
    ElementaryStep,
    ExecutedStep,
    GalvanostaticStep,
    ImpedanceSpectrum,
    Interrupted,
    OpenCircuit,
    PositionError,
    PotentiostaticStep,
    Remaining,
    Technique,
    remaining,
)
from techniques.remaining import how_it_ended, last_step

_KIND = {
    REST: "open_circuit",
    IMPEDANCE: "impedance_spectrum",
    OTHER: "galvanostatic_step",
    HOLD: "potentiostatic_step",
    SWEEP: "linear_sweep",
    VOLTAMMOGRAM: "cyclic_voltammetry",
}
_ROLE = {PLATE: "plate", STRIP: "strip"}
_COULOMB_PER_MAH = 3.6


@dataclass
class _Step:
    """The newest of a step's rows that is known, and the charge until it."""

    number: int
    role: int
    cycle: int
    half_cycle: int
    t_s: float = 0.0
    step_t_s: float | None = None
    potential_v: float | None = None
    current_a: float = 0.0
    charge_c: float = 0.0


@dataclass(frozen=True)
class Stood:
    """Where a program stood.

    Attributes:
        left: What is left of it.
        since: Types of the steps that were begun behind the last half-cycle: rests, spectra.
        interrupted: How far the step that was begun last had come; ``None``: it had ended.
    """

    left: Remaining
    since: tuple[str, ...]
    interrupted: Interrupted | None


@dataclass
class Progress:
    """What one program has done.

    Attributes:
        technique: What it was to do.
        begin: The counters it began with.
        area_cm2: Area of the metal electrode, cm2.
        mirror: +1 if that is the working electrode, else -1.
    """

    technique: Technique
    begin: Counters
    area_cm2: float
    mirror: int
    _steps: list[_Step] = field(default_factory=list)

    def take(self, row: Sample | ImpedancePoint) -> None:
        """Take one row; they come in their order, in one thread."""
        role = row.role if isinstance(row, Sample) else IMPEDANCE
        last = self._steps[-1] if self._steps else None
        if last is None or last.number != row.step:
            last = _Step(row.step, role, row.cycle, row.half_cycle, row.t_s)
            if isinstance(row, Sample):
                last.current_a = row.current_a
                last.charge_c = abs(row.current_a) * row.step_t_s
            self._steps.append(last)
        if isinstance(row, Sample):
            mean_a = 0.5 * (abs(row.current_a) + abs(last.current_a))
            last.charge_c += mean_a * (row.t_s - last.t_s)
            last.t_s, last.step_t_s = row.t_s, row.step_t_s
            last.potential_v, last.current_a = row.potential_v, row.current_a

    def left(self, end: ProgramEnd) -> Remaining:
        """Return what is left after the program was ended where ``end`` tells; as ``stood``."""
        return self.stood(end).left

    def now(self) -> ProgramEnd:
        """Return an end as if the program were ended with its newest row.

        Raises PositionError if there is no row yet.
        """
        if not self._steps:
            raise PositionError("no row of the program has arrived yet")
        at = self._steps[-1]
        counters = Counters(t_s=at.t_s, cycle=at.cycle, half_cycle=at.half_cycle, step=at.number)
        return ProgramEnd("opened", None, at.role, counters, at.step_t_s or 0.0)

    def stood(self, end: ProgramEnd) -> Stood:
        """Return where the program stood when it was ended where ``end`` tells.

        Raises PositionError if that is not certain: the instrument did not tell when it opened the
        cell, or no row of some step arrived.
        """
        if end.ending != "opened":
            raise PositionError("the instrument did not tell when it opened the cell")
        steps = [*self._steps]
        if not steps or end.counters.step > steps[-1].number:
            # A step of which only the header has come.
            at = end.counters
            steps.append(_Step(at.step, end.role, at.cycle, at.half_cycle))
            if end.kind == "impedance":
                steps[-1].role = IMPEDANCE
        for expected, step in enumerate(steps, self.begin.step + 1):
            if step.number != expected:
                raise PositionError(f"no row of step {expected} arrived")
        executed = [self._executed(step) for step in steps]
        cycle, half = self.begin.cycle, self.begin.half_cycle
        written = last_step(self.technique, executed, cycle=cycle, half_cycle=half)
        since = _since_half_cycle(executed)
        if _has_ended(written, executed[-1], end.step_s):
            left = remaining(self.technique, executed, cycle=cycle, half_cycle=half)
            return Stood(left, since, None)
        charge = steps[-1].charge_c / _COULOMB_PER_MAH / self.area_cm2
        if isinstance(written, GalvanostaticStep):
            charge = abs(written.current_density_ma_cm2) * end.step_s / 3600
        held_v = executed[-1].potential_v if isinstance(written, PotentiostaticStep) else None
        interrupted = Interrupted(end.step_s, charge, held_v)
        left = remaining(self.technique, executed, interrupted, cycle=cycle, half_cycle=half)
        return Stood(left, since, interrupted)

    def behind_the_end(self) -> tuple[str, ...]:
        """Return the types of the steps behind the last half-cycle of a program that is complete.

        Of those of which there were rows.
        """
        return _since_half_cycle([self._executed(step) for step in self._steps])

    def _executed(self, step: _Step) -> ExecutedStep:
        action: Any = "next" if step.role in (REST, IMPEDANCE) else None
        return ExecutedStep(
            # What plates or strips may do it at a set current or at a set potential.
            cast(Any, _KIND.get(step.role)),
            cast(Any, _ROLE.get(step.role)),
            step.cycle,
            step.half_cycle,
            action,
            step.step_t_s,
            None if step.potential_v is None else self.mirror * step.potential_v,
            abs(step.current_a) * 1e3 / self.area_cm2,
        )


def _since_half_cycle(executed: Sequence[ExecutedStep]) -> tuple[str, ...]:
    """Return the types of the steps behind the last half-cycle; a hold that ends it is none."""
    since: list[str] = []
    before = 0
    for number, step in enumerate(executed):
        begun = step.role is not None and (step.half_cycle > before or not number)
        if begun:
            since = []
        elif step.role is None or since:
            since.append(step.kind or "potentiostatic_step")
        before = step.half_cycle
    return tuple(since)


def _has_ended(step: ElementaryStep, seen: ExecutedStep, step_s: float) -> bool:
    """Return whether a step had come to its end just when the cell was opened."""
    match step:
        case ImpedanceSpectrum():
            return False  # it is measured again
        case OpenCircuit():
            return step_s >= step.duration_s * (1 - 1e-6)
    if seen.elapsed_s is None:
        return False
    return how_it_ended(step, step_s, seen.potential_v, seen.current_ma_cm2) is not None
