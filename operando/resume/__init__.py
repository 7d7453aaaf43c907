"""Going on with an experiment that a death of computer, program or power has interrupted.

Never by itself: ``operando resume RUN``, or ``resume(session, "last")``. What the instrument did
alone is collected from its own log, where the experiment stood is worked out from the rows, the
cell is looked at (open circuit potential, series resistance), and what is left of the technique
runs as a new run that says which one it continues. Whenever something is not certain, nothing is
driven: the message says what is not known and what the operator can decide. The decision is
recorded.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

from pydantic import TypeAdapter

from instruments.errors import SafetyLimitError, UnsupportedTechniqueError
from instruments.potentiostat import ImpedancePoint, PotentiostatDevice, Sample
from instruments.potentiostat.contract import LOOK
from operando.configuration import ConfigurationError, load_cell, names
from operando.resume._cell import (
    OPEN_CIRCUIT,
    SPECTRUM,
    judge,
    may_be_modulated,
    open_circuit_v,
    reference_before_v,
    spectrum_of,
)
from operando.resume._charge import deposit_so_far, plated_and_stripped
from operando.resume._failed_step import FailedStep, failed_step
from operando.resume._judge import judges_going_on, without_rules
from operando.resume._position import Position, position_of
from operando.resume._program import (
    Program,
    RowWithTime,
    all_rows,
    fired_rules,
    fresh_rows,
    last_heard,
    last_program,
    limits_at_the_end,
    program_of,
    seconds_per_second,
    with_rows,
)
from operando.resume._record import (
    LEADER,
    Decisions,
    Experiment,
    OtherInstrumentError,
    ResumeError,
    interrupted_experiment,
    refuse_other_instrument,
)
from operando.runs import Run, join
from plans.resume import Continuation, continue_plating_stripping, tell_of_a_failure
from plans.synchronised import followers_among
from techniques import (
    Assignment,
    Cell,
    Counters,
    Remaining,
    SafetyLimits,
    Schedule,
    Technique,
    first_step,
    reference_bound,
    without_first_step,
)
from techniques.remaining import name_of

__all__ = [
    "Decisions",
    "Experiment",
    "FailedStep",
    "OtherInstrumentError",
    "ResumeError",
    "continue_experiment",
    "end_failed",
    "failed_step",
    "interrupted_experiment",
    "refuse_other_instrument",
    "resume",
    "spectrum_of",
]

logger = logging.getLogger(__name__)

_TECHNIQUE: TypeAdapter[Technique] = TypeAdapter(Technique)

# What a start document gets anew with every run; the rest is the experiment's.
_OF_ONE_RUN = {
    "uid",
    "time",
    "scan_id",
    "plan_name",
    "plan_type",
    "every",
    "sample",
    "hints",
    "instrument_log",
    "recovery",
    "remaining_technique",
    "resume",
    "resume_of",
    "replay_of",
    "provenance",
}


class Door(Protocol):
    """What is needed of a session: `operando.session.Session` has it."""

    data_dir: Path
    RE: Any
    bench: Any

    @property
    def devices(self) -> Mapping[str, Any]:
        """Return the devices by name."""
        ...

    def run(self, plan: Any) -> str:
        """Run a plan and return the uid of its run."""
        ...

    def carry_out(self, begin: Callable[[], str]) -> str:
        """Run what ``begin`` runs, under the failure policy that its record tells."""
        ...

    def regain_guard(self) -> None:
        """Have a guard again where the one that there was has ended."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait; raises KeyboardInterrupt if somebody ends what is carried out."""
        ...

    @property
    def requests(self) -> Any:
        """Return what hands on what is asked of the run that goes on; ``None``: nothing is."""
        ...

    def verdicts(self, start: Mapping[str, Any]) -> Any:
        """Return what judges a run's stream for its rules."""
        ...


def resume(
    session: Door,
    run: str = "last",
    *,
    accept_check: bool = False,
    assume_charge_mah_cm2: float | None = None,
    trust_log: bool = False,
    same_cell: bool = False,
    say: Callable[[str], object] = lambda text: None,
) -> str:
    """Go on with an interrupted experiment; return the uid of the new run.

    Blocks until the experiment has ended.

    Args:
        session: Connected, with the potentiostat that the experiment ran on.
        run: Any run of the experiment: a uid, the beginning of one, or ``last``.
        accept_check: Go on although open circuit potential or series resistance are not as they
            were; recorded.
        assume_charge_mah_cm2: The charge that had passed in the interrupted part of the
            half-cycle, without the parts before it, where the record cannot tell, mAh/cm2;
            recorded.
        trust_log: Take the end of the instrument's log for the end of the program; recorded.
        same_cell: Go on although other runs were made on the cell or the potentiostat since;
            recorded.
        say: Is told what is found, sentence by sentence.

    Raises:
        ResumeError: It is not certain where the experiment stood, or it cannot go on; the message
            says what can be decided. Nothing was driven, the cell is open.
        RunFailedError: The new run began and did not end as planned; also if the cell is not as it
            was left.
        LookupError: There is no such run.
        InstrumentError: The instrument refused, or fell silent, before the run began.
    """
    decisions = Decisions(accept_check, assume_charge_mah_cm2, trust_log, same_cell)
    with interrupted_experiment(session.data_dir, run, decisions) as experiment:
        say(experiment.told)
        device = session.devices.get(LEADER)
        there = session.bench.metadata()["bench"]["instruments"].get(LEADER, {})
        if "identity_missing" in there or isinstance(getattr(device, "failure", None), Exception):
            # The same shell as before: its line may be that of a cable that was pulled.
            session.bench.reconnect(LEADER)
        return session.carry_out(lambda: continue_experiment(session, experiment, decisions, say))


def continue_experiment(
    session: Door,
    experiment: Experiment,
    decisions: Decisions,
    say: Callable[[str], object] = lambda text: None,
    *,
    skip: bool = False,
    recovery: Mapping[str, Any] | None = None,
    unwatched_s: float | None = None,
) -> str:
    """Go on with an experiment that `interrupted_experiment` found; as `resume`.

    Without a failure policy: what holds of it is done by who calls. With ``skip`` the step is left
    out with which it would go on. ``recovery`` is told in the start document. ``unwatched_s`` is
    how long after its last row the program may have gone on at most, s of this computer; ``None``:
    that is not known.
    """
    device = session.devices.get(LEADER)
    if device is None:
        raise ResumeError(f"the bench has no {LEADER}: connect the one the experiment ran on")
    refuse_other_instrument(experiment, session.bench.metadata())
    todays = _limits_of_cell_file(experiment.cell)
    now_s = time.time()
    program = last_program(experiment, device)
    fresh = fresh_rows(program, now_s) if program is not None else []
    if program is not None:
        program = with_rows(program, fresh)
        position = position_of(experiment, program, decisions, unwatched_s)
        if position.refusal and not fresh:
            raise ResumeError(position.refusal)
    else:
        if experiment.root.start.get("temperatures"):
            raise ResumeError(
                "its program had not begun, and a resume sets no temperatures: begin it anew, with "
                "operando run"
            )
        technique, begin = program_of(experiment.root)
        assert technique is not None  # a first run has one
        left = Remaining(technique, begin.cycle, begin.half_cycle)
        position = Position(left, 0, 0, 0, (0.0, 0.0), (0.0, 0.0), 0.0, "opened")
    say(f"Run {experiment.tip.uid[:8]} stood {position.told}.")
    told: dict[str, Any] = {} if recovery is None else {"recovery": dict(recovery)}
    if skip and position.left.technique is not None:
        left_out = first_step(position.left.technique)
        position = replace(position, left=without_first_step(position.left))
        told["skipped"] = left_out.model_dump(mode="json")
        say(f"Left out: {name_of(left_out)} (cycle {position.cycle}).")
    if fresh:
        say(f"{len(fresh)} rows were collected from the instrument's own log.")
    if silent := without_rules(experiment.root):
        say(silent)
    # Before the cell is looked at: it has not to wait then.
    verdicts = judges_going_on(session.verdicts, experiment.runs, fresh)
    continuation = _look_at_the_cell(
        session, device, experiment, program, position, decisions, fresh, todays, now_s, say
    )
    resumed = continuation.record["resume"]
    if "skipped" in told:
        resumed["skipped"] = told.pop("skipped")
    resumes = [resumed, *(run.start.get("resume") or {} for run in experiment.runs)]
    skipped = {int(one["half_cycle"]) for one in resumes if "skipped" in one}
    resumed["deposit_mah_cm2"] = deposit_so_far(
        experiment.runs,
        fresh,
        experiment.cell,
        (position.step, position.charge_mah_cm2[1]),
        skipped | set(join(experiment.runs).skipped),
        position.left.half_cycle,
    )
    plan = continue_plating_stripping(
        device,
        continuation=replace(continuation, record={**continuation.record, **told}),
        verdicts=verdicts,
        requests=session.requests,
        **followers_among(session.devices),
    )
    return session.run(plan)


def end_failed(
    session: Door,
    experiment: Experiment,
    why: str,
    recovery: Mapping[str, Any],
    *,
    by_hand: bool,
) -> NoReturn:
    """Record, as a run of the experiment without rows, that nothing went on.

    Raises RunFailedError, of that run.

    Args:
        session: Connected or not; no instrument is asked.
        experiment: As `interrupted_experiment` found it.
        why: Nothing went on; the stop document says it after the failure.
        recovery: What was tried, for the start document; its ``failure`` is why the run failed.
        by_hand: Whether somebody stopped it.
    """
    root, tip = experiment.root, experiment.tip
    resumed = {"of": tip.uid, "root": root.uid, "refused": why}
    metadata = {
        **_taken_over(session, experiment),
        "plan_name": continue_plating_stripping.__name__,
        "every": root.start["every"],
        "sample": root.start["sample"],
        "remaining_technique": None,
        "instrument_log": {"name": None, "reason": "no program was started"},
        "resume": resumed,
        "resume_of": tip.uid,
        "recovery": dict(recovery),
    }
    reason = f"{recovery['failure']}. By its failure policy: {why}"
    session.run(tell_of_a_failure(metadata, reason, by_hand=by_hand))
    raise AssertionError("a run that tells of a failure ended as a success")


def _taken_over(session: Door, experiment: Experiment) -> dict[str, Any]:
    """Return what the start document of a further run takes over from the first."""
    taken = {
        key: value
        for key, value in experiment.root.start.items()
        if key not in _OF_ONE_RUN and key not in session.RE.md
    }
    protocol = experiment.protocol
    if protocol is not None:
        rules = [rule.model_dump(mode="json") for rule in protocol.rules_on(experiment.cell)]
        taken |= {
            "rules": rules,
            "on_failure": protocol.on_failure.model_dump(mode="json"),
            "amendments": [one.as_data() for one in experiment.amendments],
        }
    return taken


def _technique_of(experiment: Experiment) -> Technique | None:
    """Return the technique that it had come under; ``None``: that of its first run."""
    made = experiment.amendments
    return _TECHNIQUE.validate_python(made[-1].technique) if made else None


def _limits_so_far(experiment: Experiment) -> SafetyLimits:
    """Return the narrowest limits of its runs; a change of the protocol brought its own."""
    recorded = SafetyLimits()
    for run in experiment.runs:
        recorded = recorded.narrowed_by(
            SafetyLimits.model_validate(run.start["limits"]["effective"])
        )
        if len(run.amendments) > len(run.start.get("amendments") or ()):
            recorded = limits_at_the_end(run)
    return recorded


def _limits_of_cell_file(cell: Cell) -> SafetyLimits:
    """Return the limits that the file of this cell gives today, if there is one.

    Raises ResumeError if it says something else of the cell, or allows more than it did.
    """
    for other in _cells_with_files():
        if other.cell_id != cell.cell_id:
            continue
        then, now = cell.model_dump(), other.model_dump()
        changed = [key for key in then if then[key] != now[key]]
        tightened = changed == ["limits"] and other.limits == _narrowed(cell.limits, other.limits)
        if changed and not tightened:
            raise ResumeError(
                f"the file of cell {cell.cell_id!r} has changed since the experiment began "
                f"({', '.join(changed)}): is it the same cell? Put the file back as it was"
            )
        return other.limits
    return SafetyLimits()


def _cells_with_files() -> Iterator[Cell]:
    try:
        known = names("cell")
    except FileNotFoundError:
        return
    for name in known:
        try:
            yield load_cell(name)
        except ConfigurationError as error:
            # Somebody else's, most likely: it must not stop this experiment.
            logger.warning("the cell file %s cannot be compared: %s", name, error)


def _narrowed(limits: SafetyLimits, other: SafetyLimits) -> SafetyLimits | None:
    try:
        return limits.narrowed_by(other)
    except ValueError:
        return None


def _look_at_the_cell(
    session: Door,
    device: PotentiostatDevice,
    experiment: Experiment,
    program: Program | None,
    position: Position,
    decisions: Decisions,
    fresh: Sequence[RowWithTime],
    todays: SafetyLimits,
    now_s: float,
    say: Callable[[str], object],
) -> Continuation:
    """Measure the cell and say with what the experiment goes on; nothing else is driven."""
    root, tip = experiment.root, experiment.tip
    # Never wider than they were: those of the bench at that time stay in force.
    recorded = _limits_so_far(experiment)
    try:
        recorded = recorded.narrowed_by(todays)
        limits = recorded.narrowed_by(device.limits)
    except ValueError as error:
        raise ResumeError(
            f"the limits of bench and cell leave nothing of those of the experiment: {error}. "
            "Nothing was driven"
        ) from error
    t_s, spectra = _newest(experiment, program, position)
    heard_s = _host_time_s(program, position, root, now_s)
    gap_s = max(0.0, time.time() - heard_s)
    begin = Counters(
        t_s=max(t_s, position.t_s + gap_s),
        cycle=position.cycle,
        half_cycle=position.half_cycle,
        step=_newest_step(experiment, program, position),
        spectrum=spectra,
    )
    refusal: str | None = position.refusal or None
    checks: dict[str, Any] = {"passed": True, "failures": [], "notes": ["nothing is driven"]}
    rows: list[RowWithTime] = []
    after = begin
    if position.left.technique is not None:
        refusal, checks, rows, after = _checked(
            device, experiment, program, position, decisions, limits, begin, say
        )
    left = position.left
    going_on = after.model_copy(update={"cycle": left.cycle, "half_cycle": left.half_cycle})
    lost_power = position.lost_power
    unpowered_s = None if lost_power is None else gap_s if lost_power else 0.0
    so_far = plated_and_stripped(
        experiment.runs, fresh, experiment.cell, (position.step, position.charge_mah_cm2)
    )
    resumed = {
        "of": tip.uid,
        "root": root.uid,
        "t_offset_s": begin.t_s,
        "cycle": position.cycle,
        "half_cycle": position.half_cycle,
        "step": position.step,
        "passed_charge_mah_cm2": sum(position.charge_mah_cm2) / 2,
        "passed_charge_bounds_mah_cm2": list(position.charge_mah_cm2),
        "unrecorded_charge_mah_cm2": position.unrecorded_mah_cm2,
        "plated_mah_cm2": so_far[0],
        "stripped_mah_cm2": so_far[1],
        "elapsed_s": sum(position.elapsed_s) / 2,
        "ending": position.ending,
        "gap_s": gap_s,
        "unpowered_s": unpowered_s,
        "unpowered_bounds_s": [0.0, 0.0 if lost_power is False else gap_s],
        "collected_rows": len(fresh),
        "checks": checks,
        "decisions": {
            key: value
            for key, value in vars(decisions).items()
            if value is not None and value is not False
        },
        "runs_since": list(experiment.since),
        "begin": going_on.model_dump(),
        "refused": refusal,
    }
    every = Schedule.model_validate(root.start["every"])
    if position.step:
        # What the spectrometer sees now is no blank.
        every = every.model_copy(update={"blank_spectra": 0})
    logs = tuple(_whole_logs(program))
    reason = f"limit {position.reason} reached" if position.ending == "stopped" else ""
    return Continuation(
        technique=left.technique,
        begin=going_on,
        begin_at_s=time.monotonic(),
        cell=experiment.cell,
        limits=recorded,
        every=every,
        record={**_taken_over(session, experiment), "resume": resumed, "resume_of": tip.uid},
        refusal=refusal,
        ended=reason,
        logs=logs,
        rows=(*fresh, *rows),
        fired=tuple(fired_rules(experiment.runs)),
        reference_before_v=reference_before_v(experiment),
        whole=_technique_of(experiment),
        amend=experiment.pending,
    )


def _checked(
    device: PotentiostatDevice,
    experiment: Experiment,
    program: Program | None,
    position: Position,
    decisions: Decisions,
    limits: SafetyLimits,
    begin: Counters,
    say: Callable[[str], object],
) -> tuple[str | None, dict[str, Any], list[RowWithTime], Counters]:
    """Return why the experiment must not go on, what was checked, its rows, and the counters."""
    cell = experiment.cell
    rows: list[RowWithTime] = []
    safety: SafetyLimitError | None = None
    no_spectrum = ""
    after = begin
    try:
        for technique in (OPEN_CIRCUIT, SPECTRUM):
            if technique is SPECTRUM and not may_be_modulated(open_circuit_v(rows), limits):
                break
            assignment = Assignment(
                technique=technique,
                area_cm2=cell.area_cm2,
                metal_electrode=cell.metal_electrode,
                reference=cell.reference_electrode is not None,
                reference_bound=reference_bound(cell),
                limits=limits,
                begin=after,
            )
            try:
                device.measure(assignment, rows)
            except UnsupportedTechniqueError as error:
                if technique is not SPECTRUM:
                    raise
                no_spectrum = str(error)
                break
            after = device.counters
    except SafetyLimitError as error:
        safety, after = error, device.counters
    rows = [(stamp, _of_the_look(row)) for stamp, row in rows]
    # The experiment's own spectra are counted on as if there had been no look.
    after = after.model_copy(update={"spectrum": begin.spectrum})
    checks = judge(experiment, program, position, rows, limits, no_spectrum)
    failures: list[str] = checks["failures"]
    if safety is not None:
        failures.append(str(safety))
    overrulable = safety is None and not checks.get("outside_limits")
    checks["passed"] = not failures
    checks["accepted"] = bool(failures) and decisions.accept_check and overrulable
    told = ", ".join(
        f"{words} {checks[key]:.4g} {unit}"
        for words, key, unit in (
            ("open circuit potential", "open_circuit_v", "V"),
            ("series resistance", "series_resistance_ohm", "ohm"),
        )
        if checks.get(key) is not None
    )
    say(f"The cell: {told}." if told else "Nothing was seen of the cell.")
    refusal = None
    if failures and not checks["accepted"]:
        refusal = (
            f"the cell is not as it was left: {'; '.join(failures)} (nothing but this look, of a "
            "few mV, was driven)"
        )
        if overrulable:
            refusal += "; --accept-check goes on all the same, and records that you said so"
    return refusal, checks, rows, after


def _whole_logs(program: Program | None) -> Iterator[str]:
    """Yield the logs that this run makes superfluous: of others rows may be read some day."""
    while program is not None:
        if program.own_log is not None and program.log is not None and not program.log.damage:
            yield program.own_log
        program = program.earlier


def _of_the_look(row: Sample | ImpedancePoint) -> Sample | ImpedancePoint:
    """Return a row marked as no part of the experiment; its spectrum is none of it either."""
    marked = row._replace(flags=row.flags | LOOK)
    return marked._replace(spectrum=0) if isinstance(marked, ImpedancePoint) else marked


def _newest(
    experiment: Experiment, program: Program | None, position: Position
) -> tuple[float, int]:
    """Return the latest time of the instrument in the record, s, and the number of spectra."""
    times, spectra = [position.t_s], [0]
    for run in experiment.runs:
        rows = all_rows(run)
        times += [float(part["t"].max()) for part in (rows.samples, rows.points) if len(part["t"])]
        spectra += [int(x) for x in rows.points["spectrum"]]
    if program is not None:
        spectra += [int(x) for x in program.rows.points["spectrum"]]
        if program.log is not None:
            spectra.append(program.log.counters.spectrum)
    return max(times), max(spectra)


def _newest_step(experiment: Experiment, program: Program | None, position: Position) -> int:
    steps = [position.step]
    for run in experiment.runs:
        rows = all_rows(run)
        steps += [int(part["step"].max()) for part in (rows.samples, rows.points) if len(part["t"])]
    if program is not None and program.log is not None:
        steps.append(program.log.counters.step)
    return max(steps)


def _host_time_s(program: Program | None, position: Position, root: Run, now_s: float) -> float:
    """Return when the last that is known happened, on the host's clock of day, s."""
    if program is None:
        return min(now_s, float(root.start["time"]))
    t_s, time_s = last_heard(program)
    return min(now_s, time_s + seconds_per_second(program) * max(0.0, position.t_s - t_s))
