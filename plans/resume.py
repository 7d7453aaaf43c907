"""Going on with an experiment that was interrupted, as a run of its own."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator
from pydantic import TypeAdapter

from instruments._follower import Follower
from instruments.camera.device import CameraDevice
from instruments.errors import InstrumentError
from instruments.gas_chromatograph.device import GasChromatographDevice
from instruments.potentiostat.contract import ImpedancePoint, Sample
from instruments.potentiostat.device import PotentiostatDevice
from instruments.raman.device import RamanDevice
from instruments.sensor.device import SensorDevice
from instruments.thermostat.device import ThermostatDevice
from plans.course import Course, new_log_name
from plans.deposit import Deposit
from plans.guards import guard_rules, judged_guards, keep_headspace
from plans.reference import ReferenceWatch
from plans.requests import Requests
from plans.rules import MakeVerdicts
from plans.saving import record_held
from plans.synchronised import (
    changes_of,
    followers_of,
    forget_logs,
    keep_temperature,
    lead,
    prepare,
    refuse_unjudged,
    watch_for,
)
from techniques import (
    Amend,
    Assignment,
    Cell,
    Counters,
    FailureCriteria,
    Rule,
    SafetyLimits,
    Schedule,
    Technique,
    first_step,
    reference_bound,
)

_TECHNIQUE: TypeAdapter[Technique] = TypeAdapter(Technique)
_RULES: TypeAdapter[tuple[Rule, ...]] = TypeAdapter(tuple[Rule, ...])


class CellNotAsLeftError(InstrumentError):
    """The cell is not as the interrupted run left it; it was left open."""


@dataclass(frozen=True)
class Continuation:
    """What an interrupted experiment goes on with.

    Attributes:
        technique: What is left; ``None``: nothing, the run only takes in what was collected.
        begin: The counters it goes on from, ``t_s`` as of ``begin_at_s``.
        begin_at_s: When that was, on ``time.monotonic``.
        cell: The cell, as the record has it.
        limits: The limits that were in force, those of the bench at that time included.
        every: When the followers act.
        record: What the start document takes over from the first run, and what ``resume`` says.
        refusal: Why the experiment must not go on; the run then takes in rows and fails with it.
        ended: How the program ended by itself where nothing is left, for the stop document.
        logs: Logs of the instrument that are of no use once this run has succeeded.
        rows: What was measured before (epoch of arrival in s, row); the first rows of the run.
        fired: The rules that fired before, by name, and the leader's time when they did, s.
        reference_before_v: The offset of the reference before the first run drove anything, V.
        whole: The technique of which this is left, where it was changed; else that of the record.
        amend: A change that was asked for, and not made yet.
    """

    technique: Technique | None
    begin: Counters
    begin_at_s: float
    cell: Cell
    limits: SafetyLimits
    every: Schedule
    record: Mapping[str, Any]
    refusal: str | None = None
    ended: str = ""
    logs: tuple[str, ...] = ()
    rows: tuple[tuple[float, Sample | ImpedancePoint], ...] = ()
    fired: tuple[tuple[str, float], ...] = ()
    reference_before_v: float | None = None
    whole: Technique | None = None
    amend: Amend | None = None


def continue_plating_stripping(
    potentiostat: PotentiostatDevice,
    camera: CameraDevice | None = None,
    raman: RamanDevice | None = None,
    gas_chromatograph: GasChromatographDevice | None = None,
    thermostat: ThermostatDevice | None = None,
    sensors: Sequence[SensorDevice] = (),
    *,
    continuation: Continuation,
    verdicts: MakeVerdicts | None = None,
    requests: Requests | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator:
    """Go on with an interrupted experiment where it stood, as one run.

    Rows that the continuation brings are the first of the run. Streams, followers and whatever
    ends the plan are as in ``operando_plating_stripping``.

    Args:
        potentiostat: Leads.
        camera: Takes images as the schedule says; ``None`` leaves it out.
        raman: Takes spectra; ``None`` leaves it out.
        gas_chromatograph: Injects; ``None`` leaves it out.
        thermostat: Tells its temperature; ``None`` leaves it out.
        sensors: Tell what they measure.
        continuation: With what, and from where; ``operando.resume`` finds it out.
        verdicts: Makes what judges the stream for the rules that the record has.
        requests: Hands on what people ask of the run while it goes on; ``None``: nothing.
        md: More metadata for the start document.

    Raises:
        CellNotAsLeftError: The continuation carries a refusal.
        UnsupportedTechniqueError: The potentiostat cannot do it; nothing has moved.
        SafetyLimitError: As in ``operando_plating_stripping``.
    """
    going_on = continuation
    technique = None if going_on.refusal is not None else going_on.technique
    effective = going_on.limits.narrowed_by(potentiostat.limits)
    metadata = {
        **going_on.record,
        "plan_name": "continue_plating_stripping",
        "every": going_on.every.model_dump(mode="json"),
        "sample": going_on.cell.model_dump(mode="json"),
        "remaining_technique": None
        if going_on.technique is None
        else going_on.technique.model_dump(mode="json"),
        **(md or {}),
    }
    metadata["limits"] = {
        **metadata.get("limits", {}),
        "bench": potentiostat.limits.model_dump(mode="json"),
        "effective": effective.model_dump(mode="json"),
    }
    potentiostat.hold_rows(going_on.rows)
    try:
        if technique is None:
            return (yield from _take_in(potentiostat, going_on, metadata))
        followers = followers_of(camera, raman, gas_chromatograph, thermostat, sensors)
        yield from keep_temperature(thermostat, going_on.cell)
        return (
            yield from _go_on(
                potentiostat, followers, sensors, going_on, technique, metadata, verdicts, requests
            )
        )
    finally:
        # Whatever ended it, these are rows of no other run.
        potentiostat.hold_rows(())


def _go_on(
    potentiostat: PotentiostatDevice,
    followers: Mapping[str, Follower],
    sensors: Sequence[SensorDevice],
    going_on: Continuation,
    technique: Technique,
    metadata: dict[str, Any],
    verdicts: MakeVerdicts | None,
    requests: Requests | None,
) -> MsgGenerator:
    rules = _RULES.validate_python(metadata.get("rules", ()))
    refuse_unjudged(rules, verdicts)
    assignment = Assignment(
        technique=technique,
        area_cm2=going_on.cell.area_cm2,
        metal_electrode=going_on.cell.metal_electrode,
        reference=going_on.cell.reference_electrode is not None,
        reference_bound=reference_bound(going_on.cell),
        limits=going_on.limits,
        begin=going_on.begin,
        instrument_log=new_log_name(),
    )
    guards = guard_rules(going_on.cell, sensors, going_on.every, rules)
    guards = judged_guards(guards, verdicts, metadata)
    headspace = keep_headspace(
        going_on.cell,
        assignment,
        sensors,
        going_on.every,
        judged=verdicts is not None,
        before=metadata.get("resume"),
    )
    metadata.pop("headspace", None)
    if headspace is not None:
        metadata["headspace"] = headspace
    metadata["current_ranges"] = potentiostat.current_ranges(assignment)
    metadata["current_zero"] = potentiostat.measure_zero(assignment)
    watch = watch_for((*rules, *guards), verdicts, metadata)
    changes = changes_of(
        requests,
        _TECHNIQUE.validate_python(going_on.whole or metadata["technique"]),
        FailureCriteria.model_validate(metadata.get("failure_criteria") or {}),
        going_on.cell,
        followers,
        sensors,
        going_on.every,
        verdicts,
        metadata,
    )
    if changes is not None:
        changes.carried = going_on.amend
        changes.begun = int(metadata["resume"]["half_cycle"])
    first = first_step(technique)
    deposit = Deposit.as_left(
        going_on.cell.area_cm2,
        metadata["resume"],
        going_on.begin.half_cycle,
        getattr(first, "role", None),
    )
    reference = ReferenceWatch.of(going_on.cell)
    if reference is not None:
        reference.go_on(going_on.reference_before_v, [row for _, row in going_on.rows])
    if watch is not None:
        watch.go_on_from(going_on.fired)
    # The clock went on while the cell was looked at.
    begin = going_on.begin.model_copy(
        update={"t_s": going_on.begin.t_s + time.monotonic() - going_on.begin_at_s}
    )
    assignment = assignment.model_copy(update={"begin": begin})
    yield from prepare(potentiostat, assignment, rules)
    metadata["resume"] = {**metadata["resume"], "begin": begin.model_dump()}
    metadata["instrument_log"] = potentiostat.log_told
    return (
        yield from lead(
            Course(
                potentiostat,
                assignment,
                watch,
                reference=reference,
                changes=changes,
                deposit=deposit,
            ),
            followers,
            going_on.every,
            going_on.cell,
            metadata,
            logs=going_on.logs,
        )
    )


def tell_of_a_failure(
    metadata: Mapping[str, Any], reason: str, *, by_hand: bool = False
) -> MsgGenerator:
    """Make a run without rows of which the stop document tells why nothing went on.

    Args:
        metadata: Becomes the start document.
        reason: For the stop document.
        by_hand: Whether somebody stopped it; else it failed.
    """
    uid = yield from bps.open_run(metadata)
    yield from bps.close_run("abort" if by_hand else "fail", reason)
    return uid


def _take_in(
    potentiostat: PotentiostatDevice, going_on: Continuation, metadata: dict[str, Any]
) -> MsgGenerator:
    """Make a run of the rows that are held, and start nothing."""
    metadata["instrument_log"] = {"name": None, "reason": "no program was started"}
    potentiostat.take_in_pages()

    def rows() -> MsgGenerator:
        yield from bps.declare_stream(potentiostat, name=potentiostat.name, collect=True)
        yield from bps.declare_stream(potentiostat.impedance, name="impedance", collect=True)
        yield from record_held(potentiostat)
        if going_on.refusal is not None:
            raise CellNotAsLeftError(going_on.refusal)

    @bpp.stage_decorator([potentiostat])
    def run() -> MsgGenerator:
        uid = yield from bps.open_run(metadata)
        yield from bpp.contingency_wrapper(
            rows(),
            except_plan=lambda error: bps.close_run("fail", str(error)),
            else_plan=lambda: _close_taken_in(going_on),
        )
        yield from forget_logs(potentiostat, going_on.logs)
        return uid

    return (yield from run())


def _close_taken_in(going_on: Continuation) -> MsgGenerator:
    """Close a run in which nothing was left to do; a session tells what is told besides."""
    told = {"ended_early": going_on.ended} if going_on.ended else {}
    return (yield Msg("close_run", None, exit_status="success", reason=going_on.ended, **told))
