"""Drive one SourceMeter: connect, load and run a program, read its rows, abort."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from instruments.abilities import Abilities
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
)
from instruments.potentiostat._programmed import KeepsNoLog, ProgrammedPotentiostat
from instruments.potentiostat.contract import (
    SAFETY_LIMIT_PASSED,
    Sample,
    SetCurrent,
    ZeroCurrent,
)
from instruments.potentiostat.keithley.dialogue import Dialogue
from instruments.potentiostat.keithley.models import identified, models
from instruments.potentiostat.keithley.program import compile_program
from instruments.potentiostat.keithley.run import Run
from instruments.potentiostat.keithley.script import FAULT, SAFETY, STOP, Program, Wiring
from instruments.potentiostat.keithley.stream import OVERLOAD
from instruments.potentiostat.keithley.zero_current import zero_commands, zeros_of
from instruments.transport import Transport
from techniques import Assignment, SafetyLimits

_log = logging.getLogger(__name__)

_ANSWER_S = 3.0
# More lines damaged or lost among the last _DAMAGE_WINDOW: the wire is bad, the program is ended.
_DAMAGE_ALLOWED = 3
_DAMAGE_WINDOW = 1000
_SETPOINT_TOLERANCE = 0.05
# A change of current by the one moves the potential of a laboratory cell by more than the other: by
# less than 0.1 ohm, which would be a short of metal.
_ANSWERS_FROM_A, _ANSWER_V = 1e-3, 1e-4
_TIMES_ASKED = 3
_HELD_BY_THE_DEAD = (
    "If a program whose computer died may hold it: the key OUTPUT on its front ends a current, and "
    "a connection to its port 5030 ends those that are dead"
)


class KeithleyPotentiostat(KeepsNoLog, ProgrammedPotentiostat[Run]):
    """A Keithley 2450, 2460 or 2461 with its command set TSP.

    Connecting resets its settings and switches its output off. What it tells of itself also holds
    ``clock_ahead_s``: its UTC less that of this computer, in whole seconds.

    Args:
        address: ``visa:TCPIP::host::5025::SOCKET``, ``visa:GPIB0::18::INSTR``,
            ``visa:USB0::...::INSTR``, ``tcp://host:5025``, or ``published:`` one of these.
        wiring: how it is wired; the mains frequency is asked of the instrument.
        abort_timeout_s: how long an aborted program may take to end, s.
        patience_s: added to the longest silence that a step may keep before the instrument is given
            up, s.
        record_to: file to which the whole dialogue is appended.
    """

    _right = "switched on, and at this address"
    _left = "the output may be on: disconnect the cell"
    _abort_is = "abort"
    _if_taken = _HELD_BY_THE_DEAD
    _no_log = "its reading buffer is gone when it is switched off, and holds no numbers of steps"

    def __init__(
        self,
        address: str,
        *,
        wiring: Wiring | None = None,
        abort_timeout_s: float = 5.0,
        patience_s: float = 10.0,
        record_to: Path | None = None,
    ) -> None:
        super().__init__(
            address, abort_timeout_s=abort_timeout_s, patience_s=patience_s, record_to=record_to
        )
        self._wiring = wiring or Wiring()
        self._dialogue: Dialogue | None = None

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what each model can do that this driver knows."""
        return tuple(able.abilities() for able in models())

    # -- connecting

    def _prepare(self) -> None:
        self._dialogue = dialogue = Dialogue(self._wire(), self._who)
        dialogue.take_control()
        answer = dialogue.ask("*IDN?", r"KEITHLEY.*|.*,.*,.*,.*", "say who it is (*IDN?)")
        self._recognise(answer, dialogue)
        dialogue.output_off()

    def _recognise(self, answer: str, dialogue: Dialogue) -> None:
        try:
            self._capabilities, serial, firmware = identified(answer)
        except ProtocolError as error:
            raise ProtocolError(f"{self._who()}: {error}") from error
        if not firmware[:1].isdigit():
            _log.warning(
                "%s: its firmware %r tells no version: whether it is new enough is not known; it "
                "checks each program when it is loaded, with the output off",
                self._who(),
                firmware,
            )
        before = time.time()
        mains_hz, utc_s = dialogue.prepare()
        ahead_s = utc_s - (before + time.time()) / 2
        self._wiring = Wiring(
            mains_hz,
            self._wiring.four_wire,
            self._wiring.high_capacitance,
            self._wiring.edge_line,
        )
        self._identity = {
            "model": self._capabilities.model,
            "firmware": firmware,
            "serial_number": serial,
            "address": dialogue.wire.address,
            "clock_ahead_s": f"{ahead_s:.0f}",
        }

    def _release(self) -> None:
        self._dialogue = None
        super()._release()

    # -- of the last program

    @property
    def begun_utc_s(self) -> float | None:
        """Return what the instrument's clock showed at the last program's begin, s since 1970.

        Adding ``t_s`` of a row less that of the program's begin gives the row's UTC.
        """
        return self._newest_run.stream.begun_utc_s if self._newest_run is not None else None

    def meaning(self, assignment: Assignment) -> str:
        """Return a digest of what the numbers of its blocks mean."""
        return self._compile(assignment).meaning

    # -- running

    def check(self, assignment: Assignment) -> None:
        """Compile ``assignment`` for the connected instrument and raise what is wrong with it."""
        self._compile(assignment)

    def current_ranges(self, assignment: Assignment) -> tuple[SetCurrent, ...]:
        """Return each current that ``assignment`` sets with its range, ascending."""
        return self._compile(assignment).currents

    def measure_zero(self, assignment: Assignment) -> tuple[ZeroCurrent, ...]:
        """Read the current with the output off, in each range in which ``assignment`` sets one.

        Raises InstrumentFaultError if the instrument does not measure then, ProtocolError if what
        came is no set of readings. RuntimeError if a program runs.
        """
        ranges_a = self._compile(assignment).ranges_a
        if not ranges_a:
            return ()
        dialogue = self._open_dialogue()
        with self._lock:
            self._nothing_may_run()
            what = "measure its zero current with the output off"
            lines = dialogue.lines_of(zero_commands(ranges_a), what, self._added_patience_s)
            try:
                return zeros_of(lines, ranges_a)
            except InstrumentError as error:
                raise type(error)(f"{self._who()}: asked to {what}: {error}") from error
            finally:
                dialogue.output_off()

    def start(self, assignment: Assignment) -> None:
        """Load ``assignment``, let the instrument check it, and run it.

        Raises UnsupportedTechniqueError, SafetyLimitError or InstrumentFaultError with the cell
        untouched; RuntimeError if a program runs already.
        """
        program = self._compile(assignment)
        dialogue = self._open_dialogue()
        with self._lock:
            self._nothing_may_run()
            self._begun(self._begin(dialogue, program, assignment.bounds))

    def _begin(self, dialogue: Dialogue, program: Program, limits: SafetyLimits) -> Run:
        dialogue.load(program.text)
        run = Run(program, limits)
        try:
            dialogue.run()
            with dialogue.asking("run the program", "whether it runs is unknown"):
                line = dialogue.first_line(_ANSWER_S + self._added_patience_s)
            run.stream.feed(line, dialogue.wire.arrival_ns)
            if run.stream.begun_utc_s is None:
                raise ProtocolError(f"{self._who()}: asked to run the program, got {line!r}")
        except (ProtocolError, TransportTimeout):
            # It may be running after all: what was not understood may have been a yes.
            try:
                dialogue.abort_and_open()
            except InstrumentError as error:
                _log.error("%s: the output may be on, disconnect the cell: %s", self._who(), error)
            raise
        return run

    def _tell_abort(self) -> None:
        self._open_dialogue().send_abort()

    def _leave_open(self) -> None:
        self._open_dialogue().output_off()

    @property
    def _confirmed_within_s(self) -> float:
        return self._abort_timeout_s * _TIMES_ASKED

    def _drain(self, run: Run) -> None:
        """Read to the end of an aborted program whose samples nobody reads."""
        for _ in self._rows(run, judged=False):
            pass
        run.stop_reason = "aborted"

    # -- the program's lines

    def _rows(self, run: Run, *, judged: bool = True) -> Iterator[Sample]:
        stream = run.stream
        failure: InstrumentError | None = None
        asked = 0
        while not stream.over:
            try:
                row = self._next(run)
            except TransportTimeout as error:
                asked += 1
                if asked > _TIMES_ASKED:
                    self._forget(run)
                    raise TransportError(
                        f"{self._who()}: silent in step {stream.step}, also when asked to abort: "
                        "the output may be on, disconnect the cell; check the supply and the cable"
                    ) from (failure or error)
                if not run.abort_asked:
                    failure = self._silent(run)
                self._ask_abort(run)
                continue
            run.compare(row)
            if row is not None:
                yield row
                failure = failure or self._wrong_setpoint(run, row)
                failure = failure or self._no_answer(run, row)
            failure = failure or self._bad_line(run)
            if failure is not None and not run.abort_asked and not stream.over:
                # The cell is opened at once; rows that are still under way are kept.
                self._ask_abort(run)
        self._finish(run)
        if failure is not None and judged:
            raise failure
        if judged:
            self._verdict(run)

    def _next(self, run: Run) -> Sample | None:
        """Take one line; a failure of the wire ends the program and raises."""
        dialogue, stream = self._open_dialogue(), run.stream
        wire: Transport = dialogue.wire
        try:
            line = wire.read_line(
                self._abort_timeout_s
                if run.abort_asked
                else stream.silence_s + self._added_patience_s
            )
        except TransportTimeout:
            raise
        except TransportError as error:
            self._forget(run)
            raise TransportError(
                f"{self._who()}: lost while a program was running ({error}); the instrument may go "
                "on by itself within the program's limits: the state of the cell is unknown"
            ) from error
        confirmed = dialogue.confirmation(line)
        if confirmed is not None:
            if run.abort_asked:
                self._confirmed(run, *confirmed)
            return None
        run.lines += 1
        before = len(stream.damaged) + stream.dropped
        row = stream.feed(line, wire.arrival_ns)
        lost = len(stream.damaged) + stream.dropped - before
        if lost:
            run.damage.extend([run.lines] * lost)
            _log.warning("%s: %d lines were lost or left out before %r", self._who(), lost, line)
        return row

    def _confirmed(self, run: Run, output: str, t_s: float) -> None:
        run.stream.opened(t_s)
        if output != "smu.OFF":
            self._forget(run)
            raise InstrumentFaultError(
                f"{self._who()}: asked to switch its output off, it says {output!r}: disconnect "
                "the cell"
            )

    def _silent(self, run: Run) -> InstrumentError:
        step = run.stream.step
        waited_s = run.stream.silence_s + self._added_patience_s
        return TransportError(
            f"{self._who()}: no line within {waited_s:g} s in step {step}; the program was aborted "
            "and the output switched off. Its event log may say more (print(eventlog.next()))"
        )

    def _bad_line(self, run: Run) -> InstrumentError | None:
        """Return why the program must be ended for the sake of the record, if it must."""
        while run.damage and run.damage[0] <= run.lines - _DAMAGE_WINDOW:
            run.damage.popleft()
        if len(run.damage) <= _DAMAGE_ALLOWED:
            return None
        return ProtocolError(
            f"{self._who()}: more than {_DAMAGE_ALLOWED} lines damaged or lost among "
            f"{_DAMAGE_WINDOW}. {self._damage(run)}. The program was ended and the output switched "
            "off; check the cable"
        )

    def _damage(self, run: Run) -> str:
        stream = run.stream
        shown = ", ".join(repr(line) for line in stream.damaged[-3:])
        told = f"{len(stream.damaged)} damaged lines, {stream.lost} rows lost"
        return told + (f"; the last damaged: {shown}" if shown else "")

    def _wrong_setpoint(self, run: Run, row: Sample) -> InstrumentError | None:
        """Check the first current of each galvanostatic step against what was asked."""
        block = run.stream.block
        if block is None or row.step == run.checked:
            return None
        run.checked = row.step
        off_a = abs(row.current_a - block.current_a)
        if block.kind != "galvanostatic" or off_a <= _SETPOINT_TOLERANCE * abs(block.current_a):
            return None
        if row.flags & OVERLOAD:
            return None  # the source is held at its limit, which lies beyond the safety limits
        return InstrumentFaultError(
            f"{self._who()}: step {row.step} asked for {block.current_a * 1e3:.6g} mA, the "
            f"instrument measures {row.current_a * 1e3:.6g} mA at {row.potential_v:.6g} V; the "
            "program was ended and the output switched off: check cell and cables"
        )

    def _no_answer(self, run: Run, row: Sample) -> InstrumentError | None:
        """Ask that the potential answers where the current changes from one step to the next.

        With a sense lead off nothing that is compared with a limit is of the cell; near 0 V, as of
        two electrodes of one metal, that shows nowhere else.
        """
        before, run.last = run.last, None
        block = run.stream.block
        # The potential of the others is the one that is set, not one that is measured.
        if block is not None and block.kind in ("galvanostatic", "open_circuit"):
            run.last = row
        if not self._wiring.four_wire or before is None or run.last is None:
            return None
        if before.step == row.step:
            return None
        change_a = abs(row.current_a - before.current_a)
        change_v = abs(row.potential_v - before.potential_v)
        if change_a < _ANSWERS_FROM_A or not change_v <= _ANSWER_V:
            return None
        return InstrumentFaultError(
            f"{self._who()}: at the begin of step {row.step} the current went from "
            f"{before.current_a * 1e3:.6g} mA to {row.current_a * 1e3:.6g} mA, and the potential "
            f"stayed at {row.potential_v:.6g} V: a sense lead is off, or there is no resistance "
            "between the sense leads at all; the program was ended and the output switched off"
        )

    def _verdict(self, run: Run) -> None:
        """Say how the program ended: normally, with a reason, or with an error."""
        stream = run.stream
        step, ending = stream.step, stream.ending
        if ending is not None and stream.output != "smu.OFF":
            raise InstrumentFaultError(
                f"{self._who()}: at the program's end its output is {stream.output!r}: disconnect "
                "the cell"
            )
        if ending == FAULT:
            raise InstrumentFaultError(
                f"{self._who()}: the program ended in step {step}: {stream.told}; the output is off"
            )
        if ending == SAFETY:
            name, _, value = stream.told.partition(" ")
            raise SafetyLimitError(
                f"{self._who()}: {SAFETY_LIMIT_PASSED} {name} = {value} was passed in step "
                f"{step}; the instrument ended the program and switched its output off"
            )
        if ending == STOP:
            run.stop_reason = f"limit {stream.told} reached in step {step}"
        elif ending is None:
            run.stop_reason = "aborted"
        if stream.damaged or stream.lost:
            _log.warning("%s: %s", self._who(), self._damage(run))

    def _finish(self, run: Run) -> None:
        """Take the program as ended; what an abort that crossed its end brings is swallowed."""
        with self._state:
            if self._run is run:
                self._run = None
            crossed = run.abort_asked and not run.stream.aborted
        if crossed:
            try:
                self._open_dialogue().confirmed_off(_ANSWER_S)
            except InstrumentError as error:
                _log.debug("%s: an abort at the very end stayed unanswered: %s", self._who(), error)
        run.ended.set()

    # -- the rest

    def _compile(self, assignment: Assignment) -> Program:
        return compile_program(assignment, self.capabilities(), self._wiring)

    def _open_dialogue(self) -> Dialogue:
        if self._dialogue is None:
            raise TransportError(f"{self._who()}: not connected; call connect() first")
        return self._dialogue
