"""What people ask of a run that goes on: heard and checked here, and done by its course."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bluesky.utils import MsgGenerator

from instruments.errors import InstrumentError
from instruments.potentiostat.device import COLUMNS_FROM_INTERVAL_S
from plans.noting import Note
from plans.requests import Asked, Requests
from plans.rules import Watch
from techniques import (
    Amend,
    Assignment,
    Cell,
    FailureCriteria,
    GalvanostaticStep,
    Limit,
    PositionError,
    Protocol,
    Rule,
    SafetyLimits,
    Schedule,
    Sequence,
    SkipStep,
    StopCell,
    TakeSpectrum,
    Technique,
    finest_row_interval_s,
    without_first_step,
)
from techniques.amended import behind as program_behind
from techniques.amended import half_cycle_begun, half_cycles_of
from techniques.remaining import name_of
from techniques.requests import AMENDED, NOT_AMENDED, NOTHING_LEFT, SKIPPED

if TYPE_CHECKING:
    from plans.course import Course

# Stream of what was asked.
REQUESTS = "requests"
# Of what `Assignment.violations` says, what a deposit that is there already may change.
_DEPOSITS = "steps together"


class NotDoneError(Exception):
    """A request is not done; the message says why."""


@dataclass(frozen=True)
class Amendment:
    """A change of the technique that was checked, and takes effect at the end of a half-cycle.

    Attributes:
        asked: Who asked for it, and why.
        technique: All that the new protocol runs on the cell.
        limits: Those of cell and new protocol.
        effective: These within those of the bench.
        rules: All that hold then, guards included.
        behind: The half-cycle during which, or behind which, it was asked for.
    """

    asked: Amend
    technique: Technique
    limits: SafetyLimits
    effective: SafetyLimits
    rules: tuple[Rule, ...]
    behind: int


@dataclass
class Changes:
    """What was asked of one run, and what became of it.

    Attributes:
        requests: Hands on what is asked.
        cell: The cell.
        technique: All of what the run does; after a change what the new protocol does.
        criteria: From when on the cell counts as failed, which no change alters.
        admit: Returns all rules that hold under a protocol, or raises why it must not run;
            it is given the assignment of its whole program.
        watch_anew: Makes what watches rules where nothing did so far.
        begun: The number of the half-cycle that was begun last.
        carried: A change that was accepted before the run that goes on, and not yet made.
        skip: The step that is to be skipped, by its number, and who asked.
        amendment: The change that is to be made.
        made: The changes that were made, for the stop document.
        dropped: One that was accepted and cannot be made, and why, until that is on record.
        stopped: Who had the run ended, for the stop document; ``None``: nobody.
    """

    requests: Requests
    cell: Cell
    technique: Technique
    criteria: FailureCriteria | None
    admit: Callable[[Protocol, Assignment], tuple[Rule, ...]]
    watch_anew: Callable[[tuple[Rule, ...]], Watch | None]
    begun: int = 0
    carried: Amend | None = None
    skip: tuple[int, SkipStep] | None = None
    amendment: Amendment | None = None
    made: list[dict[str, Any]] = field(default_factory=list)
    dropped: tuple[Amend, str] | None = None
    stopped: dict[str, Any] | None = None
    _note: Note = field(
        default_factory=lambda: Note(
            REQUESTS,
            {
                "t": "s",
                "half_cycle": "",
                "request": None,
                "by": None,
                "why": None,
                "protocol": None,
                "technique": None,
                "before": None,
                "limits": None,
            },
        )
    )

    def hear(self, course: "Course") -> MsgGenerator:
        """Take what was asked since the last call, and answer it; nothing here waits."""
        newest = course.potentiostat.latest()
        if newest is not None:
            self.begun = max(self.begun, newest.half_cycle)
        carried, self.carried = self.carried, None
        if carried is not None:
            yield from self._go_on_with(carried, course)
        while (asked := self.requests.take()) is not None:
            try:
                yield from self._take(asked, course)
            except NotDoneError as why:
                asked.refuse(f"not done: {why}. The run goes on as it was")

    def _take(self, asked: Asked, course: "Course") -> MsgGenerator:
        request = asked.request
        if course.ended_by:
            raise NotDoneError(f"the run is being ended ({course.ended_by})")
        match request:
            case StopCell():
                told = told_of_stop(request)
                # It is on record before it is done: should the computer die, nothing goes on.
                yield from self._record(request, course)
                course.ended_by = told
                self.stopped = {"by": request.by, "why": request.why}
                asked.accept("the program is ended and the cell opened; what was measured is kept")
            case SkipStep():
                step, number = self._skippable(course)
                yield from self._record(request, course)
                self.skip = (number, request)
                asked.accept(f"the {step} ends where it stands, and what is behind it goes on")
            case Amend():
                amendment = self._checked(request, course)
                yield from self._record(request, course, amendment)
                self.amendment = amendment
                asked.accept(self._told_of(amendment))

    def _go_on_with(self, carried: Amend, course: "Course") -> MsgGenerator:
        try:
            amendment = self._checked(carried, course)
        except NotDoneError as why:
            self.drop(carried, str(why), course)
            yield from self.tell_dropped(course)
            return
        yield from self._record(carried, course, amendment)
        self.amendment = amendment

    def drop(self, asked: Amend, why: str, course: "Course") -> None:
        """Give up a change that was accepted; `tell_dropped` is to follow."""
        course.remark(f"the protocol was not {AMENDED} {asked.by}: {why}")
        self.dropped = asked, why

    def tell_dropped(self, course: "Course") -> MsgGenerator:
        """Record that a change was given up, or a resume would make it; nothing if none was."""
        if self.dropped is None:
            return
        (asked, why), self.dropped = self.dropped, None
        told = asked.model_copy(update={"why": why})
        yield from self._record(told, course, told_as=NOT_AMENDED)

    def _record(
        self,
        request: StopCell | SkipStep | Amend,
        course: "Course",
        amendment: Amendment | None = None,
        told_as: str = "",
    ) -> MsgGenerator:
        newest = course.potentiostat.latest()
        begin = course.assignment.begin
        told = amendment is not None
        yield from self._note.tell(
            t=begin.t_s if newest is None else newest.t_s,
            half_cycle=float(begin.half_cycle if newest is None else newest.half_cycle),
            request=told_as or request.request,
            by=request.by,
            why=request.why,
            protocol=_told_protocol(request.protocol) if isinstance(request, Amend) else "",
            technique=amendment.technique.model_dump_json() if amendment is not None else "",
            before=self.technique.model_dump_json() if told else "",
            limits=amendment.effective.model_dump_json() if amendment is not None else "",
        )

    # -- what can be done

    def _interruptible(self, course: "Course") -> None:
        if course.climb is not None:
            raise NotDoneError("a run through several temperatures can be stopped, and not changed")
        if course.potentiostat.in_columns:
            raise NotDoneError("a program that records so fast cannot be interrupted")

    def _skippable(self, course: "Course") -> tuple[str, int]:
        """Return what the present step is called, and its number."""
        self._interruptible(course)
        if self.skip is not None:
            raise NotDoneError(f"a step is being skipped for {self.skip[1].by}")
        if course.potentiostat.finished or course.progress is None:
            raise NotDoneError("no program runs at the moment: ask again")
        try:
            now = course.progress.now()
            left = course.progress.stood(now).left
        except PositionError as error:
            raise NotDoneError(f"where the program stands is not certain: {error}") from error
        if left.step is None:
            raise NotDoneError("the step is just over: ask again")
        rest = without_first_step(left).technique
        if rest is not None:
            within = left.step_is_half_cycle
            there = course.deposit_mah_cm2 if within else course.deposit_behind(self.begun)
            refuse_too_thick(course, there, rest)
        name = f"{name_of(left.step)} (cycle {now.counters.cycle}"
        return f"{name}, half-cycle {now.counters.half_cycle})", now.counters.step

    def _checked(self, request: Amend, course: "Course") -> Amendment:
        """Return a change that was checked against cell, bench and instrument."""
        self._interruptible(course)
        protocol, cell = request.protocol, self.cell
        if protocol.temperatures is not None:
            raise NotDoneError(f"protocol {protocol.name!r} goes through several temperatures")
        try:
            criteria = protocol.failure_criteria_on(cell)
        except ValueError as error:
            raise NotDoneError(str(error)) from error
        if (criteria or FailureCriteria()) != (self.criteria or FailureCriteria()):
            raise NotDoneError(
                f"the failure_criteria of protocol {protocol.name!r} are others than those of the "
                "run, which hold for the whole of it: give it the same"
            )
        try:
            technique = protocol.program(cell)
            limits = cell.limits.narrowed_by(protocol.limits)
            update = {"technique": technique, "limits": limits}
            assignment = course.assignment.model_copy(update=update)
            rules = self.admit(protocol, assignment)
            effective = course.potentiostat.check(assignment)
            for spectrum in spectra_of(rules):
                alone = {"technique": spectrum, "instrument_log": None}
                course.potentiostat.check(assignment.model_copy(update=alone))
        except (InstrumentError, ValueError) as error:
            raise NotDoneError(f"protocol {protocol.name!r}: {error}") from error
        if finest_row_interval_s(technique) <= COLUMNS_FROM_INTERVAL_S:
            raise NotDoneError(f"protocol {protocol.name!r} records so fast that a run begins so")
        behind = self.begun
        self._refuse_other_half_cycles(protocol, technique, behind)
        # What is plated until then is not known yet: it is asked again when the change is made.
        rest = program_behind(technique, behind)
        if rest is not None:
            refuse_too_thick(course, course.deposit_behind(behind), rest, limits)
        return Amendment(request, technique, limits, effective, rules, behind)

    def _refuse_other_half_cycles(
        self, protocol: Protocol, technique: Technique, behind: int
    ) -> None:
        """Refuse where half-cycles cannot be matched by their numbers."""
        for what, one in (("the run", self.technique), (f"protocol {protocol.name!r}", technique)):
            if not half_cycles_of(one):
                raise NotDoneError(f"{what} has no half-cycles between which to go on: stop it")
        steps = [half_cycle_begun(one, behind + 1) for one in (self.technique, technique)]
        roles = [getattr(step, "role", None) for step in steps]
        if None not in roles and roles[0] != roles[1]:
            raise NotDoneError(
                f"half-cycle {behind + 1} is to {roles[0]}, and protocol {protocol.name!r} would "
                f"{roles[1]} there: ask again in the next half-cycle, or let it begin with the "
                "other half-cycle"
            )

    def _told_of(self, amendment: Amendment) -> str:
        name, technique = amendment.asked.protocol.name, amendment.technique
        count = half_cycles_of(technique)
        if count <= amendment.behind:
            return (
                f"protocol {name!r} has {count} half-cycles: the experiment ends behind half-cycle "
                f"{amendment.behind}, unless it is amended once more before"
            )
        return (
            f"from half-cycle {amendment.behind + 1} on it goes on as protocol {name!r} does "
            f"there, to half-cycle {count}; when the followers act stays as it was"
        )

    def made_at(self, amendment: Amendment, half_cycle: int, t_s: float) -> None:
        """Note that a change was made, from that half-cycle on."""
        self.technique = amendment.technique
        asked = amendment.asked
        self.made.append(
            {
                "by": asked.by,
                "why": asked.why,
                "protocol": asked.protocol.name,
                "half_cycle": half_cycle,
                "t": t_s,
            }
        )


def _told_protocol(protocol: Protocol) -> str:
    # Its rules by default follow from the cell, and when the followers act from the run; told, they
    # would be its own.
    return protocol.model_dump_json(exclude={"rules", "every"} - protocol.model_fields_set)


# What of a schedule matters where a follower is there, by what its action is called.
_ASKED_OF = {
    "image": ("image_s", "burst_for_s", "burst_every_s"),
    "spectrum": ("spectrum_s", "integration_time_s", "accumulations", "fresh_spots"),
    "injection": ("injection_s",),
    "temperature": ("temperature_s",),
}
_ASKED_OF_SENSORS = ("reading_s",)
_ASKED_OF_ALL = ("at_half_cycle_ends", "tolerance_s")


def refuse_other_watching(
    protocol: Protocol,
    followers: Iterable[str],
    schedule: Schedule,
    metadata: Mapping[str, Any],
) -> None:
    """Refuse a protocol under which a run would be watched otherwise, which no change alters.

    What it does not say of the followers stays as it is, and so does what it says of those that
    are not there.

    Args:
        protocol: To which the run is to be changed.
        followers: Those there are, by what a schedule calls their action.
        schedule: When they act.
        metadata: The start document of the run.

    Raises:
        ValueError: What would be otherwise.
    """
    if metadata.get("temperatures"):
        raise ValueError(
            "the run goes through several temperatures, and its protocol cannot be changed"
        )
    if "every" in protocol.model_fields_set:
        names = {name for one in followers for name in _ASKED_OF.get(one, _ASKED_OF_SENSORS)}
        told = [
            f"{name} {_told(new)} instead of {_told(now)}"
            for name in Schedule.model_fields
            if name in names or (names and name in _ASKED_OF_ALL)
            if (new := getattr(protocol.every, name)) != (now := getattr(schedule, name))
        ]
        if told:
            raise ValueError(
                f"its followers would act otherwise (every: {', '.join(told)}), and when they act "
                "is set for a whole run: give it the same, or leave `every` out"
            )
    check = None if protocol.gas_check is None else protocol.gas_check.model_dump(mode="json")
    if check != (metadata.get("gas_check") or None):
        raise ValueError(
            "its gas_check is another than that of the run, which holds for the whole of it: give "
            "it the same"
        )


def _told(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def told_of_stop(request: StopCell) -> str:
    """Return what a stop document says of a run that somebody had ended."""
    return f"stopped by {request.by}{_because(request.why)}"


def told_of_change(asked: Amend, half_cycle: int, *, cut: bool = False) -> str:
    """Return what the record says of a change, from that half-cycle on.

    With ``cut`` the half-cycle before had begun, and nothing was left of it.
    """
    told = (
        f"{AMENDED} {asked.by} to protocol {asked.protocol.name!r} from half-cycle {half_cycle} on"
        f"{_because(asked.why)}"
    )
    return f"{told} (half-cycle {half_cycle - 1} {NOTHING_LEFT}" if cut else told


def told_of_skip(asked: SkipStep, step: str) -> str:
    """Return what the record says of a step that was skipped."""
    return f"{step}{SKIPPED}{asked.by}{_because(asked.why)}"


def refuse_too_thick(
    course: "Course", there: float, rest: Technique, limits: SafetyLimits | None = None
) -> None:
    """Refuse if with the metal that is there already more would be plated than is allowed.

    Args:
        course: The course of the run.
        there: What is there, mAh/cm2.
        rest: What the run would go on with.
        limits: Those of cell and protocol; ``None``: as they are.

    Raises:
        NotDoneError: How much there would be.
    """
    if there <= 0:
        return
    assignment = course.assignment
    try:
        limits = (limits or assignment.limits).narrowed_by(course.potentiostat.limits)
    except ValueError as error:
        raise NotDoneError(str(error)) from error
    most = limits.charge_max_mah_cm2
    # What is there cannot be undone, and a strip may follow; only more of it is refused.
    limit = Limit(quantity="charge_mah_cm2", value=there if most is None else min(there, most))
    plated = GalvanostaticStep(role="plate", current_density_ma_cm2=1e-3, until=(limit,))
    update = {"technique": Sequence(steps=(plated, rest)), "limits": limits}
    for one in assignment.model_copy(update=update).violations():
        if one.startswith(_DEPOSITS):
            raise NotDoneError(
                f"{there:.4g} mAh/cm2 of metal are there, and with what is behind the step: {one}"
            )


def spectra_of(rules: tuple[Rule, ...]) -> set[Technique]:
    """Return the spectra that rules may ask for."""
    return {one.spectrum for rule in rules for one in rule.then if isinstance(one, TakeSpectrum)}


def _because(why: str) -> str:
    return f": {why}" if why else ""
