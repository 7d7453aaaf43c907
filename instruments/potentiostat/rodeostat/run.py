"""One program: its steps begun one after the other, each of their samples compared with limits."""

import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Literal

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
)
from instruments.potentiostat.contract import (
    LOST_BEFORE,
    SAFETY_LIMIT_PASSED,
    ProgramEnd,
    Sample,
)
from instruments.potentiostat.rodeostat.dialogue import (
    CELL_UNKNOWN,
    Damaged,
    Dialogue,
    End,
    Point,
    must_be_disconnected,
)
from instruments.potentiostat.rodeostat.models import SOFTWARE_ONLY, Model
from instruments.potentiostat.rodeostat.rows import Drift, Due, Gaps
from instruments.potentiostat.rodeostat.steps import (
    Bound,
    DeviceTest,
    Limits,
    device_test,
    kind_of,
    open_circuit_before,
    role_of,
)
from instruments.transport import clock_ns
from techniques import (
    Assignment,
    Block,
    Counters,
    ElementaryStep,
    OpenCircuit,
    PotentialControlled,
    PotentiostaticStep,
    Repeat,
    Sequence,
    Technique,
)

_OVERLOAD = 2
# More samples damaged or lost among the last _DAMAGE_WINDOW: limits are not compared as they should
# be, the program is ended.
_DAMAGE_ALLOWED = 3
_DAMAGE_WINDOW = 1000
_STOP_TRIES = 3
_LARGEST_V = 1e3
_STOP_S = 2.0

Outcome = Literal["next", "end_loop", "stop"]
Rows = Generator[Sample | None, None, Outcome]


class Run:
    """One program on the instrument; nothing is sent before `begin`.

    Args:
        assignment: what to do; it was checked.
        model: which instrument.
        dialogue: with it.
        who: names it, for messages.
        patience_s: added to the longest silence between two samples.

    Attributes:
        rows: the rows; ``None`` where the first step has been accepted. To be iterated by one
            thread.
        reader: the thread that iterates, if one does.
        ended: set when it is over.
        abort_asked: whether somebody has sent ``stopTest``.
        stop_reason: why it ended before its last step.
        lost: how many samples did not arrive whole.
    """

    def __init__(
        self,
        assignment: Assignment,
        model: Model,
        dialogue: Dialogue,
        who: Callable[[], str],
        patience_s: float,
    ) -> None:
        self._assignment = assignment
        self._model = model
        self._dialogue = dialogue
        self._who = who
        self._patience_s = patience_s
        self.rows = self._program()
        self.reader: int | None = None
        self.ended = threading.Event()
        self.abort_asked = False
        self.stop_reason: str | None = None
        self.lost = 0
        begin = assignment.begin
        self._counters = begin
        self.end = ProgramEnd("unknown", None, 0, begin, 0.0)
        self._zero_s = begin.t_s  # of the running test's clock, s of the program
        self._edge_s = begin.t_s
        self._now_s = begin.t_s
        self._left_ns: int | None = None  # host clock of the last thing that was heard
        self._samples = 0
        self._damage: deque[int] = deque()
        self._opened = 0
        self._beyond_a = 0.0
        self._tolerated = 0
        self._just_damaged = 0
        self._step: ElementaryStep | None = None

    # -- what the driver asks

    def begin(self) -> None:
        """Begin the first step; what the instrument refuses is raised."""
        next(self.rows)

    @property
    def counters(self) -> Counters:
        """Return where it stands."""
        return self._counters.model_copy(update={"t_s": self._now_s})

    def notes(self) -> list[str]:
        """Return what must be said of it although it did not fail."""
        notes = [f"limits were SOFTWARE ONLY: {SOFTWARE_ONLY}"]
        if self._opened > 1:
            notes.append(
                f"the electrodes were disconnected between its {self._opened} steps while the next "
                "was set up"
            )
        if self._tolerated:
            steps = "1 step" if self._tolerated == 1 else f"{self._tolerated} steps"
            notes.append(
                f"current_max_a {self._assignment.bounds.current_max_a:g} A was passed at the end "
                f"of {steps} (highest {self._beyond_a:.4g} A) before the step's own limit ended it"
            )
        return notes

    # -- the technique

    def _program(self) -> Rows:
        outcome = yield from self._technique(self._assignment.technique)
        complete = self.stop_reason is None
        self._ends("complete" if complete else "opened" if self.abort_asked else "stopped")
        return outcome

    def _technique(self, technique: Technique) -> Rows:
        match technique:
            case Sequence():
                for step in technique.steps:
                    outcome = yield from self._technique(step)
                    if outcome != "next":
                        return outcome
                return "next"
            case Repeat():
                for _ in range(technique.times):
                    outcome = yield from self._technique(technique.step)
                    if outcome == "stop":
                        return outcome
                    if outcome == "end_loop":
                        break
                return "next"
            case Block():
                return (yield from self._technique(technique.step))
            case OpenCircuit():
                return (yield from self._open_circuit(technique))
        assert isinstance(technique, PotentialControlled)  # others were refused
        return (yield from self._driven(technique))

    def _open_circuit(self, step: OpenCircuit) -> Rows:
        test = device_test(step, self._assignment, self._model)
        due = Due(step.record, 1, self._assignment.area_cm2)
        drift = Drift(step.drift_below_v_s, step.drift_window_s)
        self._counts(step)
        self._begin_clock(test)
        yield None
        last: Sample | None = None
        for point, lost in self._points(test):
            potential_v = self._reference_potential()
            row = self._row(point, potential_v, 0.0, step, lost)
            last = row
            if due.due(point.t_s, potential_v, 0.0, 0.0):
                last = None
                yield row
            if drift.is_over(point.t_s, potential_v):
                self._stop(test)
                break
        if last is not None:
            yield last
        self._after(test)
        return "stop" if self.abort_asked else "next"

    def _potential_before(self) -> Generator[None, None, float]:
        """Return the open circuit potential, measured for a second."""
        test = open_circuit_before(self._model)
        self._begin_clock(test)
        yield None
        found = float("nan")
        for _ in self._points(test):
            found = self._reference_potential()
        self._after(test)
        return found

    def _driven(self, step: PotentialControlled) -> Rows:
        against_v = 0.0
        if step.versus == "open_circuit":
            against_v = yield from self._potential_before()
            if self.abort_asked:
                return "stop"
        assignment = self._assignment
        test = device_test(step, assignment, self._model, against_v)
        limits = Limits(assignment, step, self._model.current_ranges[-1][1])
        record = step.record if isinstance(step, PotentiostaticStep) else None
        due = Due(record, test.every, assignment.area_cm2)
        self._counts(step)
        self._begin_test(test, limits.above.value)
        yield None
        bound: Bound | None = None
        last: Sample | None = None
        for point, lost in self._points(test):
            row = self._row(point, point.potential_v, point.current_a, step, lost)
            bound = limits.passed(point.t_s, point.current_a)
            if point.limit and bound is None:
                bound = replace(limits.above, action=None, name="range of the current")
            last = row
            if due.due(point.t_s, point.potential_v, point.current_a, limits.charge_c):
                last = None
                yield row
            if bound is not None:
                self._stop(test)
                break
        if last is not None:
            yield last
        self._after(test)
        if self.abort_asked:
            return "stop"
        return self._follows(bound or limits.at_time(), limits)

    def _follows(self, bound: Bound, limits: Limits) -> Outcome:
        step = self._counters.step
        if bound.action is None:
            self._ends("safety")
            raise SafetyLimitError(
                f"{self._who()}: {SAFETY_LIMIT_PASSED} {bound.name} = {bound.asked:g} was passed "
                f"in step {step} ({limits.most_a * 1e3:.6g} mA at most); this computer stopped the "
                "test, and the electrodes are disconnected"
            )
        most_a = self._assignment.bounds.current_max_a
        if most_a is not None and limits.most_a > most_a:
            self._tolerated += 1
            self._beyond_a = max(self._beyond_a, limits.most_a)
        if bound.action == "stop":
            self.stop_reason = f"limit {bound.name} {bound.asked:g} reached in step {step}"
        return bound.action

    # -- one test of the instrument

    def _begin_test(self, test: DeviceTest, largest_a: float) -> None:
        """Set everything that a driven test needs, read it back, and run it."""
        self._set_up(test)
        name, _ = self._model.range_for(largest_a)
        self._told("setCurrRange", "currRange", name)
        self._told("setElectAutoConnect", "autoConnect", True)
        self._run_test(test)

    def _begin_clock(self, test: DeviceTest) -> None:
        """Run a test with the counter electrode disconnected; only its clock is wanted."""
        dialogue = self._dialogue
        self._set_up(test)
        self._told("setElectAutoConnect", "autoConnect", False)
        self._told("setCtrElectConnected", "connected", False)
        self._told("setRefElectConnected", "connected", True)
        self._told("setWrkElectConnected", "connected", True)
        told = dialogue.ask("getCtrElectConnected").get("connected")
        if told is not False:
            raise InstrumentFaultError(
                f"{self._who()}: at open circuit the counter electrode is told as {told!r}: take "
                "the cell off"
            )
        self._run_test(test)
        # A test sets this range for its own potentials.
        self._told("setRefElectVoltRange", "voltRange", self._model.voltage_range)

    def _set_up(self, test: DeviceTest) -> None:
        told = self._dialogue.ask("setParam", test=test.name, param=test.param).get("param")
        for key, wanted in test.param.items():
            came = told.get(key) if isinstance(told, dict) else None
            if not _agree(came, wanted):
                raise InstrumentFaultError(
                    f"{self._who()}: asked for {key} = {wanted!r} in its test {test.name!r}, in "
                    f"force is {came!r}; the electrodes are disconnected"
                )
        self._told("setSamplePeriod", "samplePeriod", test.period_ms)

    def _told(self, command: str, key: str, wanted: object) -> None:
        came = self._dialogue.ask(command, **{key: wanted}).get(key)
        if not _agree(came, wanted):
            raise InstrumentFaultError(
                f"{self._who()}: asked to {command} {wanted!r}, in force is {came!r}"
            )

    def _run_test(self, test: DeviceTest) -> None:
        if self.abort_asked:
            return
        self._dialogue.ask("runTest", test=test.name)
        now_ns = clock_ns()
        if self._left_ns is not None:
            # No clock of the instrument runs between two tests.
            self._now_s += (now_ns - self._left_ns) * 1e-9
        self._zero_s = self._edge_s = self._now_s
        self._opened += 1
        if self.abort_asked:
            # The stop of another thread may have come just before.
            self._dialogue.say("stopTest")

    def _points(self, test: DeviceTest) -> Generator[tuple[Point, int]]:
        """Yield each sample with the number of those lost before it, until the test has ended."""
        gaps = Gaps(test.period_ms)
        last_s = 0.0
        if self.abort_asked:
            self._stop(test)
            return
        while True:
            try:
                heard = self._dialogue.hear(test.period_ms * 1e-3 + self._patience_s)
            except TransportTimeout as error:
                if last_s + 1.5e-3 * test.period_ms >= test.duration_s:
                    return  # only the end was lost
                raise TransportError(
                    f"{self._who()}: no sample within "
                    f"{test.period_ms * 1e-3 + self._patience_s:g} s in step "
                    f"{self._counters.step}: perhaps it restarted; check its supply and the cable"
                ) from error
            except TransportError as error:
                raise TransportError(
                    f"{self._who()}: lost while a test was running ({error}). Nothing compares its "
                    "samples with the limits any more, and it goes on until its own "
                    f"{test.duration_s:g} s are over: disconnect the cell"
                ) from error
            match heard:
                case End():
                    self._left_ns = heard.arrival_ns
                    if not self.abort_asked and last_s + 1.5e-3 * test.period_ms < test.duration_s:
                        raise InstrumentFaultError(
                            f"{self._who()}: the test of step {self._counters.step} ended after "
                            f"{last_s:g} s of {test.duration_s:g} s and nobody stopped it: has "
                            "another program got the port?"
                        )
                    return
                case Damaged():
                    self._just_damaged += 1
                    self._lose(1, repr(heard.line))
                case Point():
                    if heard.t_s <= last_s:
                        self._lose(1, f"a time of {heard.t_s:g} s after {last_s:g} s")
                        continue
                    last_s = heard.t_s
                    lost = gaps.before(heard.t_s)
                    # What came damaged was counted then.
                    self._lose(max(0, lost - self._just_damaged), "a gap in the times")
                    self._just_damaged = 0
                    self._samples += 1
                    self._now_s = self._zero_s + heard.t_s
                    self._left_ns = heard.arrival_ns
                    yield heard, lost
                    if self.abort_asked:
                        self._stop(test)
                        return

    def _lose(self, count: int, what: str) -> None:
        if not count:
            return
        self.lost += count
        self._damage.extend([self._samples] * count)
        while self._damage and self._damage[0] <= self._samples - _DAMAGE_WINDOW:
            self._damage.popleft()
        if len(self._damage) > _DAMAGE_ALLOWED:
            raise ProtocolError(
                f"{self._who()}: more than {_DAMAGE_ALLOWED} samples damaged or lost among "
                f"{_DAMAGE_WINDOW}, the last: {what}; limits cannot be compared any more"
            )

    def _stop(self, test: DeviceTest) -> None:
        """Have the test stopped; returns when its end was heard."""
        for _ in range(_STOP_TRIES):
            try:
                self._left_ns = self._dialogue.stop(_STOP_S)
            except TransportTimeout:
                continue
            return
        raise TransportError(
            f"{self._who()}: told to stop {_STOP_TRIES} times, its test {test.name!r} does not "
            f"end; {CELL_UNKNOWN}"
        )

    def _after(self, test: DeviceTest) -> None:
        """Read back that the electrodes are disconnected."""
        dialogue = self._dialogue
        if self.abort_asked:
            # Its answers may still be under way.
            dialogue.rest()
        dialogue.ask("setAllElectConnected", connected=False)
        must_be_disconnected(dialogue, self._who())
        if self.abort_asked and self.stop_reason is None:
            self.stop_reason = "aborted"

    def _reference_potential(self) -> float:
        told: Any = self._dialogue.ask("getRefVolt").get("r")
        if type(told) not in (int, float) or not abs(told) < _LARGEST_V:
            raise ProtocolError(f"{self._who()}: asked for the potential, got {told!r}")
        return float(told)

    # -- rows

    def _counts(self, step: ElementaryStep) -> None:
        counters = self._counters
        half = counters.half_cycle
        if isinstance(step, PotentiostaticStep) and step.role is not None:
            half += not step.continues_half_cycle
        update = {"step": counters.step + 1, "half_cycle": half}
        self._counters = counters.model_copy(update=update)
        self._step = step

    def _row(
        self, point: Point, potential_v: float, current_a: float, step: ElementaryStep, lost: int
    ) -> Sample:
        counters = self._counters
        flags = (_OVERLOAD if point.limit else 0) | (LOST_BEFORE if lost else 0)
        return Sample(
            t_s=self._now_s,
            step_t_s=point.t_s,
            potential_v=potential_v,
            current_a=current_a,
            cycle=counters.cycle,
            half_cycle=counters.half_cycle,
            step=counters.step,
            role=role_of(step),
            flags=flags,
            arrival_ns=point.arrival_ns,
        )

    def _ends(self, ending: Literal["complete", "stopped", "safety", "opened"]) -> None:
        step = self._step
        self.end = ProgramEnd(
            ending,
            None if step is None else kind_of(step),
            0 if step is None else role_of(step),
            self.counters,
            self._now_s - self._edge_s,
        )


def _agree(came: object, wanted: object) -> bool:
    """Return whether what is in force is what was asked for; numbers travel as 32-bit floats."""
    if isinstance(wanted, float):
        if not isinstance(came, int | float) or isinstance(came, bool):
            return False
        return abs(came - wanted) <= 1e-6 * max(1.0, abs(wanted))
    return came == wanted and type(came) is type(wanted)
