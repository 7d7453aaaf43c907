"""The potentiostat leads; camera, spectrometer, chromatograph, thermostat follow on its clock."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import (
    FailedStatus,
    Msg,
    MsgGenerator,
)

from instruments._follower import Follower, Phase
from instruments.camera.device import CameraDevice
from instruments.errors import InstrumentError, UnsupportedTechniqueError
from instruments.gas_chromatograph.device import GasChromatographDevice
from instruments.potentiostat.device import PotentiostatDevice
from instruments.raman.device import RamanDevice
from instruments.sensor.device import SensorDevice
from instruments.stage.device import StageDevice
from instruments.thermostat.device import ThermostatDevice
from plans.changes import Changes, refuse_other_watching
from plans.course import Course, new_log_name
from plans.ending import cause_of, close_failed, close_run, end_run, told_of_unsafe
from plans.guards import guard_rules, judged_guards, keep_headspace
from plans.reference import ReferenceWatch
from plans.requests import Requests
from plans.rules import MakeVerdicts, Watch
from plans.saving import COLLECT_EVERY_S, POLL_S, collect, record_held, save, wait_for
from plans.schedule import Due, half_cycle_ended
from plans.temperatures import climb_for
from techniques import (
    Assignment,
    Cell,
    FailureCriteria,
    Protocol,
    Rule,
    Schedule,
    TakeSpectrum,
    Technique,
    reference_bound,
)

logger = logging.getLogger(__name__)

# What the action of a sensor is called, before its name.
READING_OF = "reading of"
_FOLLOWERS = ("camera", "raman", "gas_chromatograph", "thermostat")


def operando_plating_stripping(
    potentiostat: PotentiostatDevice,
    camera: CameraDevice | None = None,
    raman: RamanDevice | None = None,
    gas_chromatograph: GasChromatographDevice | None = None,
    thermostat: ThermostatDevice | None = None,
    sensors: Sequence[SensorDevice] = (),
    *,
    protocol: Protocol | Mapping[str, Any],
    cell: Cell | Mapping[str, Any],
    every: Schedule | Mapping[str, Any] | None = None,
    verdicts: MakeVerdicts | None = None,
    requests: Requests | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator:
    """Run ``protocol`` on ``cell`` while the other instruments watch, as one run.

    Args:
        potentiostat: Leads; runs the whole technique by itself, its limits included.
        camera: Takes images as ``every`` says; ``None`` leaves it out.
        raman: Takes spectra, laser off in between; ``None`` leaves it out.
        gas_chromatograph: Injects; ``None`` leaves it out.
        thermostat: Tells its temperature, which stays as it is unless the protocol has
            temperatures; ``None`` leaves it out.
        sensors: Tell what they measure, each in a stream named like it.
        protocol: What to run (or the same as plain data).
        cell: On which cell (or the same as plain data); area, cable and limits come from it.
        every: When the followers act; by default as the protocol says.
        verdicts: Makes what judges the stream for the protocol's rules; the session gives it.
        requests: Hands on what people ask of the run while it goes on; ``None``: nothing.
        md: More metadata for the start document.

    One stream per instrument, named like it; spectra of the potentiostat are in ``impedance``,
    results of the gas chromatograph in ``chromatogram``. Whatever ends the plan, the cell is left
    open and the laser off, all samples are kept, and the stop document says why.

    Raises:
        UnsuitableCellError: An experiment of the protocol makes no sense on the cell.
        UnsupportedTechniqueError: The potentiostat cannot do it; nothing has moved.
        SafetyLimitError: The protocol asks for more than a safety limit allows, the bath is where
            the cell must not be, or a safety limit ended the program. A value beyond a limit that
            was met only in the very check in which a step's own limit ended the step raises
            nothing: the stop document's reason tells it.
        InstrumentError: A follower is not there any more; no run was opened.
        SettlingError: A temperature of the protocol was not reached in time.
        ReferenceElectrodeError: The reference electrode is absent, floating, or not the one that
            the cell file names; nothing was driven.
        ValueError: The protocol has rules and nothing judges them, or temperatures and there is no
            thermostat.
    """
    protocol = Protocol.model_validate(protocol)
    cell = Cell.model_validate(cell)
    by_default = protocol.rules_by_default
    protocol = protocol.model_copy(update={"rules": protocol.rules_on(cell)})
    schedule = protocol.every if every is None else Schedule.model_validate(every)
    limits = cell.limits.narrowed_by(protocol.limits)
    program = protocol.program(cell)
    assignment = Assignment(
        technique=program,
        area_cm2=cell.area_cm2,
        metal_electrode=cell.metal_electrode,
        reference=cell.reference_electrode is not None,
        reference_bound=reference_bound(cell),
        limits=limits,
        instrument_log=new_log_name(),
    )
    followers = followers_of(camera, raman, gas_chromatograph, thermostat, sensors)
    metadata = {
        "plan_name": "operando_plating_stripping",
        "protocol": protocol.name,
        **technique_told(protocol.technique, program),
        "every": schedule.model_dump(mode="json"),
        "sample": cell.model_dump(mode="json"),
        "limits": {
            "bench": potentiostat.limits.model_dump(mode="json"),
            "cell": cell.limits.model_dump(mode="json"),
            "protocol": protocol.limits.model_dump(mode="json"),
            "effective": limits.narrowed_by(potentiostat.limits).model_dump(mode="json"),
        },
        **protocol_told(protocol, cell),
        **(md or {}),
    }

    # Refused before a run is opened, let alone a cell closed.
    unjudged: dict[str, str] = {}
    if by_default and protocol.rules and verdicts is None:
        unjudged = {rule.name: "nothing judges the stream" for rule in protocol.rules}
        told = ", ".join(map(repr, unjudged))
        logger.warning("nothing judges the stream: the rules %s do nothing in this run", told)
        protocol = protocol.model_copy(update={"rules": ()})
        metadata.pop("rules")
    refuse_unjudged(protocol.rules, verdicts)
    guards = judged_guards(guard_rules(cell, sensors, schedule, protocol.rules), verdicts, metadata)
    headspace = keep_headspace(cell, assignment, sensors, schedule, judged=verdicts is not None)
    if headspace is not None:
        metadata["headspace"] = headspace
    yield from keep_temperature(thermostat, cell)
    yield from prepare(potentiostat, assignment, protocol.rules)
    metadata["current_ranges"] = potentiostat.current_ranges(assignment)
    metadata["current_zero"] = potentiostat.measure_zero(assignment)
    watch = watch_for((*protocol.rules, *guards), verdicts, metadata)
    criteria = protocol.failure_criteria_on(cell)
    changes = changes_of(
        requests, program, criteria, cell, followers, sensors, schedule, verdicts, metadata
    )
    course = Course(
        potentiostat, assignment, watch, changes=changes, reference=ReferenceWatch.of(cell)
    )
    if unjudged:
        metadata["rules_not_judged"] = unjudged
        course.remarks += [f"rule {name!r} did nothing: {why}" for name, why in unjudged.items()]
    if protocol.temperatures is not None:
        technique = protocol.technique_on(cell)
        course.climb = climb_for(thermostat, protocol.temperatures, technique)
        # All of it was checked; what is started first is the way to the first temperature.
        update = {"technique": course.climb.first_program}
        course.assignment = assignment.model_copy(update=update)
        yield from bps.prepare(potentiostat, course.assignment, wait=True)
    metadata["instrument_log"] = potentiostat.log_told
    return (yield from lead(course, followers, schedule, cell, metadata))


def changes_of(
    requests: Requests | None,
    technique: Technique,
    criteria: FailureCriteria | None,
    cell: Cell,
    followers: Iterable[str],
    sensors: Sequence[SensorDevice],
    schedule: Schedule,
    verdicts: MakeVerdicts | None,
    metadata: Mapping[str, Any],
) -> Changes | None:
    """Return what hears of requests to a run; ``metadata`` becomes its start document."""
    if requests is None:
        return None

    def admit(protocol: Protocol, assignment: Assignment) -> tuple[Rule, ...]:
        refuse_other_watching(protocol, followers, schedule, metadata)
        rules = protocol.rules_on(cell)
        refuse_unjudged(() if protocol.rules_by_default else rules, verdicts)
        keep_headspace(
            cell,
            assignment,
            sensors,
            schedule,
            judged=verdicts is not None,
            before=metadata.get("resume"),
        )
        if verdicts is None:
            return ()
        return (*rules, *guard_rules(cell, sensors, schedule, rules))

    def watch_anew(rules: tuple[Rule, ...]) -> Watch | None:
        return watch_for(rules, verdicts, _begun_before(metadata))

    return Changes(requests, cell, technique, criteria, admit, watch_anew)


def _begun_before(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a start document of which a judge knows that it has not seen how the test began."""
    unknown = {"half_cycle": 1, "plated_mah_cm2": None, "stripped_mah_cm2": None}
    return {**metadata, "resume": {**(metadata.get("resume") or {}), **unknown}}


def keep_temperature(thermostat: ThermostatDevice | None, cell: Cell) -> MsgGenerator:
    """Keep a thermostat to what a cell allows.

    Raises SafetyLimitError if it is beyond already, or the cell must not stand in its liquid.
    """
    if thermostat is not None:
        if cell.dummy is None:
            thermostat.receive(cell.metal)
        thermostat.allow(cell.temperature_min_k, cell.temperature_max_k)
    yield from bps.null()


def prepare(
    potentiostat: PotentiostatDevice, assignment: Assignment, rules: Sequence[Rule]
) -> MsgGenerator:
    """Prepare a program, and have everything refused that its rules might ask for and not get.

    Raises UnsupportedTechniqueError or SafetyLimitError; nothing has moved.
    """
    spectra = {
        action.spectrum
        for rule in rules
        for action in rule.then
        if isinstance(action, TakeSpectrum)
    }
    for spectrum in spectra:
        update = {"technique": spectrum, "instrument_log": None}
        yield from bps.prepare(potentiostat, assignment.model_copy(update=update), wait=True)
    yield from bps.prepare(potentiostat, assignment, wait=True)
    if spectra and potentiostat.in_columns:
        raise UnsupportedTechniqueError(
            f"{potentiostat.name}: a program that records so fast cannot be interrupted for the "
            "spectrum of a rule: record more seldom, or leave the rule out"
        )


def watch_for(
    rules: Sequence[Rule], verdicts: MakeVerdicts | None, metadata: dict[str, Any]
) -> Watch | None:
    """Return what watches the rules of a run; ``metadata`` becomes its start document.

    Rules whose events cannot be seen in it are told there as ``rules_not_judged``.
    """
    refuse_unjudged(rules, verdicts)
    metadata.pop("rules_not_judged", None)  # of the run that is resumed
    if not rules or verdicts is None:
        return None
    begun = _begun_before(metadata)
    watch = Watch(tuple(rules), verdicts(metadata), anew=lambda: verdicts(begun))
    not_judged = watch.not_judged()
    if not_judged:
        metadata["rules_not_judged"] = not_judged
    return watch


def refuse_unjudged(rules: Sequence[Rule], verdicts: MakeVerdicts | None) -> None:
    """Raise ValueError if there are rules and nothing judges the stream."""
    if rules and verdicts is None:
        raise ValueError(
            "the protocol has rules, and nothing judges the stream: run it with a session, or give "
            "verdicts (operando.analysis.live_verdicts.Verdicts)"
        )


def lead(
    course: Course,
    followers: Mapping[str, Follower],
    schedule: Schedule,
    cell: Cell,
    metadata: Mapping[str, Any],
    *,
    logs: tuple[str, ...] = (),
) -> MsgGenerator:
    """Run the program that the potentiostat is prepared for, watched by ``followers``.

    ``metadata`` becomes the start document. After a success the instrument may forget its log of
    the program, and the other ``logs``: everything in them is in the run. It keeps the log of a
    program of which rows were lost on the line.
    """
    raman = followers.get("spectrum")
    potentiostat = course.potentiostat
    for follower in followers.values():
        follower.check_ready()

    @bpp.stage_decorator([potentiostat, *followers.values()])
    def run() -> MsgGenerator:
        uid = yield from bps.open_run(metadata)
        unsafe: list[str] = []  # what failed while the run was being ended
        yield from bpp.contingency_wrapper(
            _lead_and_follow(course, followers, schedule, unsafe),
            except_plan=lambda error: close_failed(course, error, cell, unsafe),
            # A limit of the technique that ends the program is success, and is told.
            else_plan=lambda: close_run(course, "success", course.told),
        )
        course.finish_program()
        yield from forget_logs(potentiostat, (*logs, *course.logs))
        return uid

    with _spectra_as(schedule, raman, followers.values()):
        try:
            return (yield from run())
        except FailedStatus as error:
            raise cause_of(error) from None


def protocol_told(protocol: Protocol, cell: Cell) -> dict[str, Any]:
    """Return what a start document tells of a protocol beside its technique, where it has it.

    ``failure_criteria`` are those that hold on the cell; where it tells its own,
    ``failure_criteria_of_protocol`` are the protocol's, which hold on another one. That there are
    no rules is told as well: it is not the same as nothing said of rules. ``on_failure`` is what
    holds in steps that do not tell it themselves.
    """
    names = {"rules", "gas_check", "temperatures", "on_failure"}
    told = protocol.model_dump(mode="json", include=names)
    criteria = {"failure_criteria": protocol.failure_criteria_on(cell)}
    if cell.failure_criteria is not None:
        criteria["failure_criteria_of_protocol"] = protocol.failure_criteria
    told |= {key: one.model_dump(mode="json") for key, one in criteria.items() if one is not None}
    return {key: value for key, value in told.items() if value or key == "rules"}


def technique_told(as_written: Technique, program: Technique) -> dict[str, Any]:
    """Return what a start document tells of a technique.

    ``technique`` is what runs; ``technique_as_written``, where that is something else, the
    experiment as it was told: on another cell it may become another program.
    """
    told = {"technique": program.model_dump(mode="json")}
    if program != as_written:
        told["technique_as_written"] = as_written.model_dump(mode="json")
    return told


def followers_of(
    camera: CameraDevice | None,
    raman: RamanDevice | None,
    gas_chromatograph: GasChromatographDevice | None,
    thermostat: ThermostatDevice | None = None,
    sensors: Sequence[SensorDevice] = (),
) -> dict[str, Follower]:
    """Return the followers there are, by what a schedule calls their action.

    There may be several sensors: the action of each is called ``reading of`` and its name.
    """
    devices: dict[str, Follower | None] = {
        "image": camera,
        "spectrum": raman,
        "injection": gas_chromatograph,
        "temperature": thermostat,
    }
    there = {kind: device for kind, device in devices.items() if device is not None}
    return there | {f"{READING_OF} {sensor.name}": sensor for sensor in sensors}


def followers_among(devices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the devices of a bench that follow, as the arguments of the plans here."""
    told: dict[str, Any] = {name: devices[name] for name in _FOLLOWERS if name in devices}
    sensors = tuple(x for x in devices.values() if isinstance(x, SensorDevice))
    return told | ({"sensors": sensors} if sensors else {})


def forget_logs(potentiostat: PotentiostatDevice, names: Iterable[str | None]) -> MsgGenerator:
    """Have the instrument forget logs of which every row is in a run that was closed."""
    for name in names:
        if name is not None:
            try:
                potentiostat.discard_log(name)
            except InstrumentError as error:
                # It makes room for later ones itself, the oldest first.
                logger.warning("a log that is not needed any more stays: %s", error)
    yield from bps.null()


@contextmanager
def _spectra_as(schedule: Schedule, raman: Any, followers: Iterable[Follower]) -> Iterator[None]:
    """Give the spectra of one run what its schedule asks for, and the bench's own after it."""
    if raman is None:
        if schedule.fresh_spots is not None:
            raise ValueError("the protocol asks for fresh spots, and there is no spectrometer")
        yield
        return
    stages = [one.stage_driver for one in followers if isinstance(one, StageDevice)]
    raman.watch_spots(next(iter(stages), None), schedule.fresh_spots)
    before = raman.integration_time_s, raman.accumulations
    raman.integration_time_s = schedule.integration_time_s or raman.integration_time_s
    raman.accumulations = schedule.accumulations or raman.accumulations
    try:
        yield
    finally:
        raman.integration_time_s, raman.accumulations = before
        raman.watch_spots(None)


def _lead_and_follow(
    course: Course,
    followers: Mapping[str, Follower],
    every: Schedule,
    unsafe: list[str],
) -> MsgGenerator:
    potentiostat = course.potentiostat
    yield from bps.declare_stream(potentiostat, name=potentiostat.name, collect=True)
    yield from bps.declare_stream(potentiostat.impedance, name="impedance", collect=True)
    yield from course.declare(shares=any(one.shared for one in followers.values()))
    for follower in followers.values():
        yield from bps.declare_stream(follower, name=follower.name)
        follower.follow(potentiostat)
        result = getattr(follower, "result", None)
        if result is not None:
            yield from bps.declare_stream(result, name="chromatogram")
    yield from bpp.finalize_wrapper(
        _noting_its_end(_experiment(course, followers, every), course),
        lambda: end_run(course, followers, unsafe),
    )
    if unsafe:
        raise InstrumentError(told_of_unsafe(unsafe))
    if course.failed:
        raise InstrumentError(course.failed)


def _noting_its_end(plan: MsgGenerator, course: Course) -> MsgGenerator:
    try:
        yield from plan
    except Exception as error:
        course.ended_with = cause_of(error)
        raise


def _experiment(course: Course, followers: Mapping[str, Follower], every: Schedule) -> MsgGenerator:
    potentiostat = course.potentiostat
    course.listen()
    spectrometer = followers.get("spectrum")
    if spectrometer is not None:
        for _ in range(every.blank_spectra):
            yield from _trigger(spectrometer, Phase.BLANK)
        while spectrometer.busy:
            yield from bps.sleep(POLL_S)

    due = Due(
        every,
        image="image" in followers,
        spectrum="spectrum" in followers,
        injection="injection" in followers,
        temperature="temperature" in followers,
        readings=tuple(name for name in followers if name.startswith(READING_OF)),
    )
    if not potentiostat.in_columns:
        yield from record_held(potentiostat)
    course.begin()
    if course.climb is not None:
        yield from course.climb.begin(course)
    yield from bps.kickoff(potentiostat, wait=True)
    # The program runs by itself: nothing before this point can be done again after a pause.
    yield from bps.clear_checkpoint()
    run_program = partial(_one_program, course, followers, due)
    if course.climb is None:
        yield from run_program()
        yield from course.go_on(run_program)
    else:
        yield from course.climb.run(course, run_program)
    if half_cycle_ended(potentiostat.latest(), None) and every.at_half_cycle_ends:
        for follower in followers.values():
            yield from _trigger(follower, Phase.END)
    yield from wait_for(followers, course)


def _one_program(course: Course, followers: Mapping[str, Follower], due: Due) -> MsgGenerator:
    """Follow a program that was started, to its end."""
    potentiostat = course.potentiostat
    done = yield from bps.complete(potentiostat, wait=False)
    seen = collected = 0.0
    while True:
        over = done.done
        newest = potentiostat.latest()
        if newest is not None and newest.t_s != seen:
            seen = newest.t_s
            for kind, phase in due.actions(newest):
                # A follower that is still busy is not asked again: late is better than a queue.
                if not followers[kind].busy or phase is Phase.END:
                    yield from _trigger(followers[kind], phase)
        yield from course.act(followers)
        if not over:
            yield from course.stop_if_wanted(newest)
        collected += POLL_S
        if over or collected >= COLLECT_EVERY_S:
            collected = 0.0
            yield from collect(potentiostat)
            if not potentiostat.finished:
                yield from save(followers, course)
        # Rows for which the disk has no room are waited for; the device ends the wait.
        if over and not potentiostat.unsaved_rows:
            break
        yield from bps.sleep(POLL_S)
    course.program_over()
    due.program_over()
    if done.exception(timeout=0) is not None:
        raise done.exception(timeout=0)


def _trigger(follower: Follower, phase: Phase) -> MsgGenerator:
    yield Msg("prepare", follower, int(phase), group=None)
    yield Msg("trigger", follower, group=None)
