"""Drive one SourceMeter: connect, load and run a program, read its rows, abort."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
)
from instruments.potentiostat.contract import (
    OTHER,
    SAFETY_LIMIT_PASSED,
    Capabilities,
    ImpedancePoint,
    ProgramEnd,
    ProgramLog,
    Sample,
    SetCurrent,
    ZeroCurrent,
)
from instruments.potentiostat.keithley.dialogue import Dialogue
from instruments.potentiostat.keithley.models import identified
from instruments.potentiostat.keithley.program import compile_program
from instruments.potentiostat.keithley.run import Run
from instruments.potentiostat.keithley.script import FAULT, SAFETY, STOP, Program, Wiring
from instruments.potentiostat.keithley.stream import OVERLOAD
from instruments.potentiostat.keithley.zero_current import zero_commands, zeros_of
from instruments.transport import Transport, open_transport
from techniques import Assignment, Counters, SafetyLimits

_log = logging.getLogger(__name__)

_ANSWER_S = 3.0
# More lines damaged or lost among the last _DAMAGE_WINDOW: the wire is bad, the program is ended.
_DAMAGE_ALLOWED = 3
_DAMAGE_WINDOW = 1000
_SETPOINT_TOLERANCE = 0.05
_TIMES_ASKED = 3
_HELD_BY_THE_DEAD = (
    "If a program whose computer died may hold it: the key OUTPUT on its front ends a current, and "
    "a connection to its port 5030 ends those that are dead"
)
_NO_LOG = "its reading buffer is gone when it is switched off, and holds no numbers of steps"


class KeithleyPotentiostat:
    """A Keithley 2450, 2460 or 2461 with its command set TSP.

    Args:
        address: ``visa:TCPIP::host::5025::SOCKET``, ``visa:GPIB0::18::INSTR``,
            ``visa:USB0::...::INSTR``, ``tcp://host:5025``, or ``published:`` one of these.
        wiring: how it is wired; the mains frequency is asked of the instrument.
        abort_timeout_s: how long an aborted program may take to end, s.
        patience_s: added to the longest silence that a step may keep before the instrument is given
            up, s.
        record_to: file to which the whole dialogue is appended.
    """

    verified_on: str | None = None

    def __init__(
        self,
        address: str,
        *,
        wiring: Wiring | None = None,
        abort_timeout_s: float = 5.0,
        patience_s: float = 10.0,
        record_to: Path | None = None,
    ) -> None:
        self.address = address
        self._wiring = wiring or Wiring()
        self._abort_timeout_s = abort_timeout_s
        self._added_patience_s = patience_s
        self._record_to = record_to
        self._dialogue: Dialogue | None = None
        self._identity: dict[str, str] = {}
        self._capabilities: Capabilities | None = None
        self._talking = threading.RLock()  # one command and its answer
        self._state = threading.Lock()  # who reads, whether a program runs
        self._run: Run | None = None
        self._unread: Run | None = None
        self._newest_run: Run | None = None
        self._stop_reason: str | None = None
        self._warned = False

    # -- connecting

    def connect(self) -> None:
        """Open the port, end whatever runs, check who is there, and switch the output off.

        Its settings are reset. Raises InstrumentError, which says what to do; the port is free
        then.
        """
        with self._talking:
            if self._dialogue is not None:
                return
            try:
                wire = open_transport(self.address, record_to=self._record_to)
            except TransportError as error:
                raise type(error)(f"{error} {_HELD_BY_THE_DEAD}") from error
            self._dialogue = dialogue = Dialogue(wire, self._who)
            try:
                dialogue.take_control()
                answer = dialogue.ask("*IDN?", r"KEITHLEY.*|.*,.*,.*,.*", "say who it is (*IDN?)")
                self._recognise(answer, dialogue)
                dialogue.output_off()
            except InstrumentError:
                wire.close()
                self._dialogue = None
                raise
        if self.verified_on is None and not self._warned:
            self._warned = True
            _log.warning(
                "%s: this driver has not been confirmed on real hardware; watch the first runs",
                self._who(),
            )

    def _recognise(self, answer: str, dialogue: Dialogue) -> None:
        try:
            self._capabilities, serial, firmware = identified(answer)
        except ProtocolError as error:
            raise ProtocolError(f"{self._who()}: {error}") from error
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

    def close(self) -> None:
        """Switch the output off and release the port; safe to call twice.

        A failure to do so is raised after the port has been released.
        """
        if self._dialogue is None:
            return
        try:
            self.abort()
        finally:
            dialogue, self._dialogue = self._dialogue, None
            dialogue.wire.close()

    def identify(self) -> dict[str, str]:
        """Return who answered when the connection was opened.

        Keys ``model``, ``firmware``, ``serial_number``, ``address``, and ``clock_ahead_s``: its
        UTC less that of this computer, in whole seconds.
        """
        self._open_dialogue()
        return dict(self._identity)

    def capabilities(self) -> Capabilities:
        """Return what the connected instrument can do, from the name it gave."""
        self._open_dialogue()
        if self._capabilities is None:
            raise ProtocolError(f"{self.address}: the instrument has not said who it is")
        return self._capabilities

    # -- of the last program

    @property
    def stop_reason(self) -> str | None:
        """Return why the last program ended before its last step, ``None`` if it did not."""
        return self._stop_reason

    @property
    def notes(self) -> list[str]:
        """Return what must be said of the last program although it did not fail, each once."""
        return self._newest_run.notes() if self._newest_run is not None else []

    @property
    def lost_rows(self) -> int:
        """Return how many rows of the last program were sent but did not arrive whole."""
        return self._newest_run.stream.lost if self._newest_run is not None else 0

    @property
    def counters(self) -> Counters:
        """Return where the last program stood at its end; zero before the first."""
        return self._newest_run.stream.counters if self._newest_run is not None else Counters()

    @property
    def program_end(self) -> ProgramEnd:
        """Return where the last program stood; see ``Potentiostat.program_end``."""
        if self._newest_run is None:
            return ProgramEnd("unknown", None, OTHER, Counters(), 0.0)
        return self._newest_run.stream.end

    @property
    def begun_utc_s(self) -> float | None:
        """Return what the instrument's clock showed at the last program's begin, s since 1970.

        Adding ``t_s`` of a row less that of the program's begin gives the row's UTC.
        """
        return self._newest_run.stream.begun_utc_s if self._newest_run is not None else None

    # -- a log that it does not keep

    @property
    def log_kept(self) -> bool:
        """Return False: it keeps none."""
        return False

    def prepare_log(
        self, assignment: Assignment, may_go: Callable[[str], bool] = lambda name: False
    ) -> str | None:
        """Return why there will be no log."""
        return _NO_LOG

    def meaning(self, assignment: Assignment) -> str:
        """Return a digest of what the numbers of its blocks mean."""
        return self._compile(assignment).meaning

    def read_log(self, assignment: Assignment) -> ProgramLog | None:
        """Return None: it keeps no log."""
        return None

    def delete_log(self, name: str) -> None:
        """Do nothing: it keeps no log."""

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
        with self._talking:
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
        with self._talking:
            self._nothing_may_run()
            self._stop_reason = None
            run = self._begin(dialogue, program, assignment.bounds)
            with self._state:
                self._run = self._unread = self._newest_run = run

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

    def _nothing_may_run(self) -> None:
        with self._state:
            if self._run is not None:
                raise RuntimeError(f"{self._who()}: a program is running; abort it first")

    def samples(self) -> Iterator[Sample | ImpedancePoint]:
        """Yield rows until the program has ended; see ``Potentiostat.samples``.

        Ends without an error when the program is complete, when a limit of the technique stopped
        it, or after ``abort``; ``stop_reason`` then says which.
        """
        with self._state:
            run, self._unread = self._unread, None
            if run is None:
                raise RuntimeError(f"{self._who()}: nothing to read; start a technique first")
            drained = run.reader is not None or run.ended.is_set()
            if not drained:
                run.reader = threading.get_ident()
        if drained:
            # An abort came before the first row was asked for, and reads to the end itself.
            run.ended.wait(self._abort_timeout_s)
            return
        try:
            yield from self._rows(run)
        finally:
            with self._state:
                run.reader = None
                if not run.ended.is_set():
                    self._unread = run

    def abort(self) -> None:
        """End the program and switch the output off; callable from any thread, in any state.

        Returns when the output was read back as off, or at once in the thread that reads the
        samples, which then sees the end. Raises TransportError if it is not confirmed in time.
        """
        run, reader = self._send_abort()
        if run is None:
            # A start in another thread may be under way: it is through when it lets us talk.
            with self._talking:
                run, reader = self._send_abort()
                if run is None:
                    self._open_dialogue().output_off()
                    return
        if reader is None:
            self._drain(run)
        elif reader == threading.get_ident():
            return
        elif not run.ended.wait(self._abort_timeout_s * _TIMES_ASKED):
            raise TransportError(
                f"{self._who()}: abort was not confirmed within "
                f"{self._abort_timeout_s * _TIMES_ASKED:g} s; the output may be on: disconnect the "
                "cell"
            )

    def _send_abort(self) -> tuple[Run | None, int | None]:
        """Send an abort to the program, if one runs; return it and the thread that reads it.

        Without such a thread the caller reads to the end, and is noted as the reader.
        """
        with self._state:
            run = self._run
            if run is None:
                return None, None
            run.abort_asked = True
            self._open_dialogue().send_abort()
            reader = run.reader
            if reader is None:
                run.reader = threading.get_ident()
            return run, reader

    def _drain(self, run: Run) -> None:
        """Read to the end of an aborted program whose samples nobody reads."""
        for _ in self._rows(run, judged=False):
            pass
        self._stop_reason = "aborted"

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
            self._stop_reason = f"limit {stream.told} reached in step {step}"
        elif ending is None:
            self._stop_reason = "aborted"
        if stream.damaged or stream.lost:
            _log.warning("%s: %s", self._who(), self._damage(run))

    def _ask_abort(self, run: Run) -> None:
        with self._state:
            run.abort_asked = True
            try:
                self._open_dialogue().send_abort()
            except TransportError as error:
                # The next read tells that the wire is gone, and what that means.
                _log.warning("%s: abort could not be sent: %s", self._who(), error)

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

    def _forget(self, run: Run) -> None:
        with self._state:
            if self._run is run:
                self._run = None
        run.ended.set()

    # -- the rest

    def _compile(self, assignment: Assignment) -> Program:
        return compile_program(assignment, self.capabilities(), self._wiring)

    def _open_dialogue(self) -> Dialogue:
        if self._dialogue is None:
            raise TransportError(f"{self.address}: not connected; call connect() first")
        return self._dialogue

    def _who(self) -> str:
        return f"{self._identity.get('model', 'potentiostat')} at {self.address}"
