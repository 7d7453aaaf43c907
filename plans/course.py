"""The course of one run: its programs, one after the other, and what rules do meanwhile.

A program runs on the instrument by itself and can take nothing in between. Where a rule asks for a
spectrum the program is ended, the spectrum is a program of its own, and what is left of the first
one is the next program, with counters that go on: the rows of all of them are one stream.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Reading
from bluesky.utils import FailedStatus, Msg, MsgGenerator, RunEngineControlException
from event_model import DataKey

from instruments._follower import Follower, LeaderRow, Phase
from instruments.errors import InstrumentError, SafetyLimitError
from instruments.potentiostat.contract import LOOK, REST, ImpedancePoint, Sample
from instruments.potentiostat.device import PotentiostatDevice
from plans.progress import Progress
from plans.reference import ReferenceWatch
from plans.requests import Requests
from plans.rules import Fired, Watch
from plans.temperatures import Climb
from techniques import (
    Assignment,
    Counters,
    Inject,
    OpenCell,
    OpenCircuit,
    PositionError,
    TakeImages,
    TakeRamanSpectra,
    TakeSpectrum,
    Technique,
)

logger = logging.getLogger(__name__)

# What a follower is asked for, by what a schedule calls its action.
_ASKED = {"image": "images", "spectrum": "Raman spectra", "injection": "injections"}
# Streams of what rules did, and of the programs that they made necessary.
RULES, PROGRAMS = "rules", "programs"
# The uses of instruments that stations share.
LEASES = "leases"
# How often is asked whether a look at the cell is over, and how long one may take to end, s.
LOOK_POLL_S, LOOK_END_S = 0.02, 10.0
# What came before a program is on the disk, beyond a power cut, before it starts.
ON_DISK_S = 0.25


def new_log_name() -> str:
    """Return a name for the instrument's own log: the time first, so that the oldest is known."""
    return f"{int(time.time()):08x}-{secrets.token_hex(4)}"


class Note:
    """Words and numbers that a plan puts into the record as one event.

    Args:
        name: Name of the stream, and prefix of its keys.
        columns: Key -> units; ``None`` for words.
    """

    parent = None

    def __init__(self, name: str, columns: Mapping[str, str | None]) -> None:
        self.name = name
        self._columns = columns
        self._told: Mapping[str, float | str] = {}

    def tell(self, **told: float | str) -> MsgGenerator:
        """Record one event."""
        self._told = told
        yield from bps.create(name=self.name)
        yield from bps.read(self)
        yield from bps.save()

    def read(self) -> dict[str, Reading[Any]]:
        """Return what is to be recorded."""
        now = time.time()
        return {
            f"{self.name}_{key}": {"value": self._told[key], "timestamp": now}
            for key in self._columns
        }

    def describe(self) -> dict[str, DataKey]:
        """Return the data keys."""
        keys: dict[str, DataKey] = {}
        for key, units in self._columns.items():
            described = DataKey(source="plan", dtype="string", shape=[])
            if units is not None:
                described = DataKey(
                    source="plan", dtype="number", dtype_numpy="<f8", shape=[], units=units
                )
            keys[f"{self.name}_{key}"] = described
        return keys

    def read_configuration(self) -> dict[str, Reading[Any]]:
        """Return nothing."""
        return {}

    def describe_configuration(self) -> dict[str, DataKey]:
        """Return nothing."""
        return {}

    @property
    def hints(self) -> dict[str, Any]:
        """Return nothing to be plotted."""
        return {"fields": []}


@dataclass
class _Series:
    """Exchanges of one follower that rules have asked for."""

    left: int
    every_s: float | None
    next_s: float = float("-inf")


@dataclass
class Course:
    """The course of one run.

    Attributes:
        potentiostat: Leads.
        assignment: The program that runs, or is to run.
        watch: Judges the stream; ``None``: there are no rules.
        remarks: What must be told of programs that are over.
        logs: Logs of the instrument that are of no use once the run has succeeded.
        ended_by: What ended the experiment before its time, for the stop document.
        stop_when: Whether the present program is to be ended, asked again and again.
        climb: Takes the run through temperatures; ``None``: there is one temperature.
        readers: Who looks at the followers' events, by stream and reading.
        reference: Watches the reference electrode; ``None``: there is none to be checked.
        requests: Hands on what people ask of the run; ``None``: nothing.
        ended_with: The error or the request that ended the programs; ``None``: they ended.
    """

    potentiostat: PotentiostatDevice
    assignment: Assignment
    watch: Watch | None = None
    _reference_unseen: Callable[[], None] | None = None
    remarks: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    ended_by: str = ""
    stop_when: Callable[[], bool] | None = None
    climb: Climb | None = None
    readers: list[Callable[[str, Mapping[str, Any]], None]] = field(default_factory=list)
    reference: ReferenceWatch | None = None
    requests: Requests | None = None
    ended_with: BaseException | None = None
    _wish: TakeSpectrum | None = None
    _because: str = ""
    _may_interrupt: bool = True
    _stopped: bool = False
    _ended_at_s: float | None = None
    _finished: bool = False
    _told: tuple[list[str], str | None] | None = None
    _rest: Technique | None = None
    _series: dict[str, _Series] = field(default_factory=dict)
    _progress: Progress | None = None
    _unsubscribe: Callable[[], None] | None = None
    _rules_note: Note = field(
        default_factory=lambda: Note(
            RULES,
            {
                "t": "s",
                "half_cycle": "",
                "value": "",
                "rule": None,
                "event": None,
                "reason": None,
                "actions": None,
            },
        )
    )
    _programs_note: Note = field(
        default_factory=lambda: Note(
            PROGRAMS,
            {
                "t": "s",
                "reason": None,
                "technique": None,
                "begin": None,
                "then": None,
                "then_begin": None,
                "instrument_log": None,
            },
        )
    )

    _loans_note: Note = field(
        default_factory=lambda: Note(
            LEASES,
            {
                "t": "s",
                "waited": "s",
                "lease": "",
                "instrument": None,
                "outcome": None,
                "reason": None,
            },
        )
    )

    # -- before and after

    def declare(self, *, shares: bool = False) -> MsgGenerator:
        """Declare the streams of rules and of further programs, if there may be any.

        ``shares``: also that of the uses of instruments that are shared with other stations.
        """
        if shares:
            yield from bps.declare_stream(self._loans_note, name=LEASES)
        if self.watch is not None:
            yield from bps.declare_stream(self._rules_note, name=RULES)
        if self.watch is not None or self.climb is not None:
            yield from bps.declare_stream(self._programs_note, name=PROGRAMS)

    def begin(self) -> None:
        """Watch the program that is about to start."""
        if self.watch is not None:
            self.watch.begin(self.potentiostat)
            self.readers.append(self.watch.read)
        if self.reference is not None:
            self._reference_unseen = self.potentiostat.on_measured(self.reference.take)
        self._follow()

    def end(self) -> None:
        """Stop watching; callable twice."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._reference_unseen is not None:
            self._reference_unseen()
        if self.watch is not None:
            self.watch.end()
            if self.watch.trouble:
                self._remark(self.watch.trouble)
            for name, why in self.watch.not_judged().items():
                self._remark(f"rule {name!r} did nothing: {why}")
            for doubt in self.watch.doubts:
                self._remark(doubt)

    @property
    def told(self) -> str:
        """Return what a stop document says of a run without a failure."""
        device = self.potentiostat
        remarks, stop_reason = self._told or (device.remarks, device.stop_reason)
        said = [*self.remarks, *remarks]
        said += [] if self.reference is None else self.reference.remarks
        if self.ended_by:
            # In place of what the instrument says of it: that it was aborted.
            said = [self.ended_by, *(one for one in said if one != stop_reason)]
        return "; ".join(dict.fromkeys(said))

    def _remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)

    @property
    def failed(self) -> str:
        """Return why the program was ended as a failure: nothing judged its rules any more."""
        died = "" if self.watch is None else self.watch.died
        return died if self._stopped and died == self.ended_by else ""

    def _follow(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self.watch is not None:
            told = self.assignment
            self._progress = Progress(told.technique, told.begin, told.area_cm2, told.mirror)
            self._unsubscribe = self.potentiostat.on_measured(self._progress.take)

    # -- while a program runs

    def act(self, followers: Mapping[str, Follower]) -> MsgGenerator:
        """Do what rules whose event was seen ask for; nothing here waits."""
        if self.watch is None:
            return
        if self.watch.died:
            self.ended_by = self.ended_by or self.watch.died
        for fired in self.watch.fired():
            yield from self._record(fired)
            for action in fired.rule.then:
                match action:
                    case TakeImages():
                        self._series["image"] = _Series(action.count, action.every_s)
                    case TakeRamanSpectra():
                        self._series["spectrum"] = _Series(action.count, None)
                    case Inject():
                        self._series["injection"] = _Series(1, None)
                    case TakeSpectrum():
                        self._wish, self._because = action, _told(fired)
                    case OpenCell():
                        self.ended_by = self.ended_by or _told(fired)
        newest = self.potentiostat.latest()
        for kind, series in list(self._series.items()):
            follower = followers.get(kind)
            if follower is None:
                self.remarks.append(
                    f"rules asked for {_ASKED[kind]}, and no instrument of this run takes them"
                )
            if follower is None or series.left <= 0:
                del self._series[kind]
            elif not follower.busy and (newest is None or newest.t_s >= series.next_s):
                series.left -= 1
                if series.every_s is not None and newest is not None:
                    series.next_s = newest.t_s + series.every_s
                yield Msg("prepare", follower, int(Phase.RULE), group=None)
                yield Msg("trigger", follower, group=None)

    def _record(self, fired: Fired) -> MsgGenerator:
        verdict = fired.verdict
        yield from self._rules_note.tell(
            t=verdict.t_s,
            half_cycle=float(verdict.half_cycle),
            value=float("nan") if verdict.value is None else float(verdict.value),
            rule=fired.rule.name,
            event=verdict.kind,
            reason=verdict.reason,
            actions=", ".join(action.do for action in fired.rule.then),
        )

    def note_loans(self, followers: Mapping[str, Follower]) -> MsgGenerator:
        """Record what became of each use of a shared instrument; nothing where none is shared."""
        for follower in followers.values():
            while follower.shared and (loan := follower.next_loan()) is not None:
                yield from self._loans_note.tell(
                    t=loan.t_s,
                    waited=loan.waited_s,
                    lease=loan.number,
                    instrument=follower.name,
                    outcome=loan.outcome,
                    reason=loan.reason,
                )

    def read(self, stream: str, reading: Mapping[str, Any]) -> None:
        """Look at one event of a follower that was just recorded."""
        for look in self.readers:
            look(stream, reading)

    def stop_if_wanted(self, newest: LeaderRow | None) -> MsgGenerator:
        """End the program where a rule wants it to end."""
        if self._stopped:
            return
        wish = self._wish
        at_rest = newest is not None and newest.role == REST
        wanted = wish is not None and self._may_interrupt and (wish.when == "at_once" or at_rest)
        settled = self._may_interrupt and self.stop_when is not None and self.stop_when()
        if self.ended_by or wanted or settled:
            self._stopped = True
            yield from bps.stop(self.potentiostat)

    # -- between programs

    def program_over(self) -> None:
        """Note when a program ended: the cell's time goes on until the next one begins."""
        if self._ended_at_s is None:
            self._ended_at_s = time.monotonic()

    def go_on(self, run_program: Callable[[], MsgGenerator]) -> MsgGenerator:
        """Run what rules ended a program for, and what was left of it, until one ends by itself.

        ``run_program`` leads and follows the program that was started, to its end. Raises
        InstrumentError if where the program stood is not certain: the run must then end.
        """
        while self._stopped and self._wish is not None and not self.ended_by:
            if self.potentiostat.program_end.ending in ("complete", "stopped"):
                return  # it came to its own end just then
            wish, why, left = self._wish, self._because, self._left()
            self._wish = None
            begin = self.potentiostat.counters
            self._may_interrupt = False
            yield from self.start(wish.spectrum, begin, f"a spectrum: {why}", self._rest, left)
            yield from run_program()
            self._may_interrupt = True
            if self._rest is None or self.ended_by:
                return
            ended = self.potentiostat.counters
            begin = ended.model_copy(update={"cycle": left.cycle, "half_cycle": left.half_cycle})
            yield from self.start(self._rest, begin, "what was left of the program")
            yield from run_program()

    def look_at_reference(self) -> MsgGenerator:
        """Look at the reference electrode after a program that did not come to its own end.

        The cell is open, and stays so. A request to stop ends the look. The rows are the last of
        the run, and marked as no part of its program; that there can be none is remarked.
        """
        device, by_hand = self.potentiostat, isinstance(self.ended_with, RunEngineControlException)
        wanted = self.ended_with is None or isinstance(self.ended_with, SafetyLimitError) or by_hand
        opened = device.program_end.ending in ("stopped", "safety", "opened")
        if self.reference is None or not wanted or not opened:
            return
        look_s = self.reference.look_after_s(hurried=by_hand)
        if look_s is None:
            return
        # What is told of the program is not what is told of the look.
        self._told = (device.remarks, device.stop_reason)
        self.finish_program()
        counters = device.counters
        since_s = time.monotonic() - (self._ended_at_s or time.monotonic())
        update = {
            "technique": OpenCircuit(duration_s=look_s),
            "begin": counters.model_copy(update={"t_s": counters.t_s + since_s}),
            "reference_bound": None,
            "instrument_log": None,
        }
        rows = yield from _measured(device, self.assignment.model_copy(update=update), self._remark)
        for _, row in rows:
            self.reference.take(row)
        device.hold_rows([(stamp, row._replace(flags=row.flags | LOOK)) for stamp, row in rows])
        device.release_rows()

    def finish_program(self) -> None:
        """Note of a program that is over what must be told, and whether its log is needed."""
        if self._finished:
            return
        self._finished = True
        device = self.potentiostat
        own = device.log_told["name"]
        if device.lost_rows and own is not None:
            logger.warning(
                "%d rows were lost on the line; the instrument keeps them in its log %s",
                device.lost_rows,
                own,
            )
        elif own is not None:
            self.logs.append(own)

    def _left(self) -> Counters:
        """Note what is left of the program; return the cycle and half-cycle it goes on from."""
        assert self._progress is not None  # a rule had a wish
        try:
            left = self._progress.left(self.potentiostat.program_end)
        except PositionError as error:
            raise InstrumentError(
                f"the program was ended for a rule, and where it stood is not certain: {error}. "
                "It does not go on; everything measured is kept"
            ) from error
        self._rest = left.technique
        return Counters(cycle=left.cycle, half_cycle=left.half_cycle)

    def start(
        self,
        technique: Technique,
        begin: Counters,
        why: str,
        then: Technique | None = None,
        then_begin: Counters | None = None,
    ) -> MsgGenerator:
        """Start a further program of the run; its time goes on with that of the cell.

        Args:
            technique: What it does.
            begin: The counters it goes on from, as the last program left them.
            why: In words, for the record.
            then: What comes after it, if that is decided.
            then_begin: From which cycle and half-cycle.
        """
        device = self.potentiostat
        self.remarks += [one for one in device.remarks if one != device.stop_reason]
        self.finish_program()
        since_s = time.monotonic() - (self._ended_at_s or time.monotonic()) + ON_DISK_S
        self._ended_at_s = None
        begin = begin.model_copy(update={"t_s": begin.t_s + since_s})
        self._stopped = False
        self._finished = False
        self.assignment = self.assignment.model_copy(
            update={"technique": technique, "begin": begin, "instrument_log": new_log_name()}
        )
        yield from bps.prepare(device, self.assignment, wait=True)
        yield from self._programs_note.tell(
            t=begin.t_s,
            reason=why,
            technique=technique.model_dump_json(),
            begin=begin.model_dump_json(),
            then="" if then is None else then.model_dump_json(),
            then_begin="" if then_begin is None else then_begin.model_dump_json(),
            instrument_log=json.dumps(device.log_told),
        )
        # A resume must know of it, or take it for one that never began.
        yield from bps.sleep(ON_DISK_S)
        self._follow()
        yield from bps.kickoff(device, wait=True)


def _measured(
    device: PotentiostatDevice, assignment: Assignment, remark: Callable[[str], None]
) -> Generator[Msg, Any, list[tuple[float, Sample | ImpedancePoint]]]:
    """Have a short program measured beside the plan, and return its rows."""
    rows: list[tuple[float, Sample | ImpedancePoint]] = []

    def measure() -> None:
        try:
            device.measure(assignment, rows)
        except Exception as error:
            remark(f"the reference electrode could not be looked at after the program: {error}")

    thread = threading.Thread(target=measure, name="look-at-reference", daemon=True)
    thread.start()
    while thread.is_alive():
        try:
            yield from bps.sleep(LOOK_POLL_S)
        except FailedStatus:
            continue  # of what went on before
        except RunEngineControlException:
            device.safe_state()
            break
    thread.join(LOOK_END_S)
    return list(rows)


def _told(fired: Fired) -> str:
    return f"rule {fired.rule.name!r}: {fired.verdict.reason}"
