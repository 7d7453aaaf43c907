"""In which step of its technique an experiment failed, and what is to be done then."""

from dataclasses import dataclass
from typing import cast

from instruments.potentiostat import PotentiostatDevice
from operando.resume._position import executed, has_ended
from operando.resume._program import last_program, program_of
from operando.resume._record import Experiment, ResumeError
from techniques import FailurePolicy, PositionError, first_step, remaining
from techniques.remaining import ElementaryStep, last_step, name_of


@dataclass(frozen=True)
class FailedStep:
    """The step in which the newest run of an experiment failed.

    Attributes:
        name: What it is called, with its cycle and half-cycle.
        policy: What is done about it.
    """

    name: str
    policy: FailurePolicy


class _Silent:
    """An instrument that cannot be asked for its log."""

    def read_log(self, assignment: object, meaning: object) -> None:
        """Return None."""


def failed_step(experiment: Experiment) -> FailedStep:
    """Return the step in which the newest run failed, as far as its rows tell.

    Nothing is asked of the instrument. Where the rows do not tell the step, the policy is that of
    the protocol.
    """
    told = experiment.root.start.get("on_failure")
    default = FailurePolicy() if told is None else FailurePolicy.model_validate(told)
    if experiment.protocol is not None:
        default = experiment.protocol.on_failure
    try:
        step, cycle, half_cycle = _step_of(experiment)
    except (PositionError, ResumeError):
        return FailedStep("a step that its rows do not tell", default)
    if step is None:
        return FailedStep("the end of the technique", default)
    name = f"{name_of(step)} (cycle {cycle}, half-cycle {half_cycle})"
    return FailedStep(name, step.on_failure or default)


def _step_of(experiment: Experiment) -> tuple[ElementaryStep | None, int, int]:
    program = last_program(experiment, cast(PotentiostatDevice, _Silent()))
    if program is None:
        technique, begin = program_of(experiment.root)
        assert technique is not None  # a first run has one
        return first_step(technique), begin.cycle, begin.half_cycle
    begin = program.begin
    seen = executed(program, experiment.cell)
    if not seen.steps:
        return first_step(program.technique), begin.cycle, begin.half_cycle
    newest = seen.steps[-1]
    cycle, half = begin.cycle, begin.half_cycle
    step = last_step(program.technique, seen.steps, cycle=cycle, half_cycle=half)
    if not has_ended(step, newest, seen.points):
        return step, newest.cycle, newest.half_cycle
    left = remaining(program.technique, seen.steps, cycle=cycle, half_cycle=half)
    following = None if left.technique is None else first_step(left.technique)
    return following, newest.cycle, newest.half_cycle
