"""Drive one MethodSCRIPT instrument: connect, load and run a program, read its rows, abort."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from instruments._driver import of_other_settings
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    ReferenceElectrodeError,
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
from instruments.potentiostat.methodscript.error_codes import parse_error
from instruments.potentiostat.methodscript.instrument_log import (
    FileStoreError,
    InstrumentFiles,
    make_room,
    read_program,
    unread,
)
from instruments.potentiostat.methodscript.models import capabilities_of
from instruments.potentiostat.methodscript.program import Program, compile_program
from instruments.potentiostat.methodscript.range_reach import beyond_nominal, in_words, reach_script
from instruments.potentiostat.methodscript.reference import refused_by_instrument, refused_by_rows
from instruments.potentiostat.methodscript.run import Run
from instruments.potentiostat.methodscript.stream import ProgramStream
from instruments.potentiostat.methodscript.zero_current import (
    currents_and_ranges,
    zero_script,
    zeros_of,
)
from instruments.transport import SerialSettings, Transport, open_transport
from techniques import Assignment, Counters, SafetyLimits

_log = logging.getLogger(__name__)

_ANSWER_S = 2.0
_ANSWER_TO_REPETITION_S = 1.0
_LOADING_S = 10.0
# The maker's own code waits this long after an error before it speaks again.
_AFTER_ERROR_S = 0.1
# What is asked of an instrument that may be in any state, until it says that it is at rest. The
# empty line ends a script that is being loaded; the error in such half a script makes the
# instrument deaf for a moment, also for the abort behind it.
_TO_REST = (b"\n", b"Z\n"), (b"Z\n",), (b"\n", b"Z\n")
# More lines damaged or lost among the last _DAMAGE_WINDOW: the wire is bad, the program is ended.
_DAMAGE_ALLOWED = 3
_DAMAGE_WINDOW = 1000
_SETPOINT_TOLERANCE = 0.05
_CELL_UNKNOWN = "the state of the cell is unknown: disconnect it"
_OPEN_CELL = b"e\ncell_off\n\n"

_Made = TypeVar("_Made")

# The language's manual that the scripts were written from.
_KNOWN_SCRIPTS = (1, 8)

_IDENTITY = re.compile(r"t(?P<id>.{6})(?P<version>\d{4}|\d{2})#(?P<build>.*)")


class MethodScriptPotentiostat:
    """A potentiostat that runs MethodSCRIPT, EmStat4 HR first.

    Args:
        address: ``serial:///dev/ttyACM0`` (``?baud_rate=230400`` for an EmStat Pico),
            ``tcp://host:port``, or ``published:`` one of these.
        mains_frequency_hz: 50 or 60; the instrument averages over whole periods of it.
        abort_timeout_s: how long an aborted program may take to end, s.
        patience_s: added to the longest silence that a step may keep before the instrument is given
            up, s: the computer, not the instrument, may be slow.
        current_range_reach: how many times its nominal value a current range carries, 1 to 2.4;
            ``None``: what the maker tells of the model.
        record_to: file to which the whole dialogue is appended.
    """

    verified_on: str | None = None

    def __init__(
        self,
        address: str,
        *,
        mains_frequency_hz: int = 50,
        abort_timeout_s: float = 5.0,
        patience_s: float = 10.0,
        current_range_reach: float | None = None,
        record_to: Path | None = None,
    ) -> None:
        self.address = address
        self._abort_timeout_s = abort_timeout_s
        self._added_patience_s = patience_s
        self._mains_frequency_hz = mains_frequency_hz
        self._record_to = record_to
        if current_range_reach is not None and not 1 <= current_range_reach <= 2.4:
            raise ValueError(f"current_range_reach must be 1 to 2.4, got {current_range_reach:g}")
        self._current_range_reach = current_range_reach
        self._transport: Transport | None = None
        self._identity: dict[str, str] = {}
        self._capabilities: Capabilities | None = None
        self._dialogue = threading.RLock()  # one command and its answer
        self._state = threading.Lock()  # who reads, whether a program runs
        self._run: Run | None = None
        self._unread: Run | None = None
        self._stop_reason: str | None = None
        self._newest_run: Run | None = None
        self._warned = False
        self._ended_another = False

    # -- connecting

    def connect(self) -> None:
        """Open the port, end whatever runs, ask who is there, and open the cell.

        Whoever had the instrument before may have left it in any state. Raises InstrumentError,
        which says what to do; the port is free then.
        """
        with self._dialogue:
            if self._transport is not None:
                return
            self._ended_another = False
            settings = SerialSettings(baud_rate=921600, drop_flow_control=True)
            self._transport = open_transport(
                self.address, settings=settings, record_to=self._record_to
            )
            try:
                self._synchronise()
                self._ask_identity()
                # Idle is not open: a program that ended with an error leaves the cell as it was.
                self._open_cell()
                if self._ended_another:
                    _log.warning(
                        "%s: a program was running on it, and was ended by connecting; the cell "
                        "is open. What it wrote to a log of its own is kept: an experiment whose "
                        "host died can be resumed",
                        self._who(),
                    )
            except InstrumentError:
                self._transport.close()
                self._transport = None
                raise
        if self.verified_on is None and not self._warned:
            self._warned = True
            _log.warning(
                "%s: this driver has not been confirmed on real hardware; watch the first runs",
                self._who(),
            )

    def close(self) -> None:
        """Open the cell and release the port; safe to call twice.

        A failure to open the cell is raised after the port has been released.
        """
        if self._transport is None:
            return
        try:
            self.abort()
        finally:
            transport, self._transport = self._transport, None
            transport.close()

    def identify(self) -> dict[str, str]:
        """Return who answered when the connection was opened.

        Keys ``model``, ``firmware``, ``serial_number``, ``script_version``, ``address``.
        """
        self._wire()
        return dict(self._identity)

    def capabilities(self) -> Capabilities:
        """Return what the connected instrument can do, from the name it gave."""
        self._wire()
        if self._capabilities is None:
            raise ProtocolError(f"{self.address}: the instrument has not said who it is")
        return self._capabilities

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

    # -- the instrument's own log

    @property
    def log_kept(self) -> bool:
        """Return whether the instrument has said that it keeps the log of the last program."""
        return self._newest_run is not None and self._newest_run.stream.log is not None

    def prepare_log(
        self, assignment: Assignment, may_go: Callable[[str], bool] = lambda name: False
    ) -> str | None:
        """Make room for the log that ``assignment`` names; return why there will be none.

        Logs for which ``may_go`` holds are removed, the oldest first, as far as room is needed.
        """
        if not self.capabilities().keeps_log:
            return f"{self.capabilities().model} keeps no log"
        with self._dialogue:
            try:
                wanted = self._compile(assignment).longest_log_bytes
                return make_room(self._files(), wanted, may_go, self._who())
            except InstrumentFaultError as error:
                return f"the instrument's file store cannot be used: {error}"

    def meaning(self, assignment: Assignment) -> str:
        """Return a digest of how rows of ``assignment`` are written down."""
        return self._compile(assignment).meaning

    def read_log(self, assignment: Assignment) -> ProgramLog | None:
        """Return what the instrument kept of ``assignment``; ``None`` if it has no such log.

        A log that is not whole, or that the file store refuses, says so in its ``damage``. Raises
        RuntimeError while a program runs, and TransportError if nothing answers.
        """
        name = assignment.instrument_log
        if name is None:
            return None
        program = self._compile(assignment)
        with self._dialogue, self._asking(f"send the log {name}"):
            with self._state:
                if self._run is not None:
                    raise RuntimeError(f"{self._who()}: a program is running; abort it first")
            try:
                lines = self._files().lines(name)
            except (FileStoreError, ProtocolError) as error:
                self._hear_out()
                return unread(program, f"the log {program.log} cannot be had: {error}")
            if lines is None:
                return None
            found = read_program(program, lines, self._who())
            if found.damage:
                # Lines that are still under way would be taken for the answer to the next command.
                self._hear_out()
            return found

    def delete_log(self, name: str) -> None:
        """Forget the log of that name, if there is one."""
        with self._dialogue, self._asking(f"delete the log {name}"):
            self._files().delete(name)

    def _files(self) -> InstrumentFiles:
        return InstrumentFiles(self._wire(), self._who())

    # -- running

    def check(self, assignment: Assignment) -> None:
        """Compile ``assignment`` for the connected instrument and raise what is wrong with it."""
        self._compile(assignment)

    def measure_zero(self, assignment: Assignment) -> tuple[ZeroCurrent, ...]:
        """Read the current with the cell open, in each range in which ``assignment`` sets one.

        Raises InstrumentFaultError if the instrument refuses, ProtocolError if what came is no
        set of readings, TransportError if nothing answers; the cell is open all the time.
        RuntimeError if a program runs.
        """
        program = self._compile(assignment)
        runs_on = currents_and_ranges(program, self.capabilities())
        ranges_a = tuple(sorted({one.range_a for one in runs_on}))
        if not ranges_a:
            return ()
        text = zero_script(ranges_a, self._mains_frequency_hz)
        what = "measure its zero current with the cell open"
        return self._run_with_open_cell(text, what, lambda lines: zeros_of(lines, ranges_a))

    def current_ranges(self, assignment: Assignment) -> tuple[SetCurrent, ...]:
        """Return each current that ``assignment`` sets with its range, ascending."""
        return currents_and_ranges(self._compile(assignment), self.capabilities())

    def _must_set(self, runs_on: tuple[SetCurrent, ...]) -> None:
        """Have currents beyond the nominal value of their range set while the cell is open."""
        beyond = beyond_nominal(runs_on)
        if not beyond:
            return
        try:
            self._run_with_open_cell(reach_script(beyond), f"set {in_words(beyond)}", list)
        except InstrumentFaultError as error:
            raise InstrumentFaultError(
                f"{error}; the cell was open all the time. If such currents shall run on the range "
                "above, set current_range_reach: 1.0 for this instrument in the bench file"
            ) from error

    def _run_with_open_cell(
        self, text: str, what: str, read: Callable[[Iterable[str]], _Made]
    ) -> _Made:
        """Run a short script that leaves the cell open, and return what is made of its lines."""
        with self._dialogue:
            with self._state:
                if self._run is not None:
                    raise RuntimeError(f"{self._who()}: a program is running; abort it first")
            try:
                with self._asking(what):
                    self._wire().write(f"l\n{text}\n\n".encode("ascii"))
                    self._accepted("l", what, _LOADING_S, text)
                    self._wire().write(b"r\n")
                    rest = self._accepted("r", what, _ANSWER_S, text)
                    return read(self._lines_of(text, rest, what))
            except (ProtocolError, TransportTimeout) as error:
                self._rest_with_open_cell()
                if self._who() in str(error):
                    raise
                raise type(error)(f"{self._who()}: asked to {what}: {error}") from error

    def _lines_of(self, text: str, first: bytes, what: str) -> Iterator[str]:
        """Yield the lines of a short script up to the empty one that ends it."""
        line = first.decode("ascii", "backslashreplace") or self._line(self._silence_s())
        while line:
            if re.match(r"[A-Za-z]*!", line):
                fault = parse_error(line).told_with(text)
                self._hear_out()
                self._open_cell()
                raise InstrumentFaultError(f"{self._who()}: asked to {what}: {fault}")
            yield line
            line = self._line(self._silence_s())

    def _silence_s(self) -> float:
        return _ANSWER_S + self._added_patience_s

    def start(self, assignment: Assignment) -> None:
        """Load ``assignment``, let the instrument check it, and run it.

        Raises UnsupportedTechniqueError, SafetyLimitError or InstrumentFaultError with the cell
        untouched; RuntimeError if a program runs already.
        """
        program = self._compile(assignment)
        self._wire()
        with self._dialogue:
            with self._state:
                if self._run is not None:
                    raise RuntimeError(f"{self._who()}: a program is running; abort it first")
            self._stop_reason = None
            self._must_set(currents_and_ranges(program, self.capabilities()))
            try:
                run = self._begin_with_log(program, assignment)
            except InstrumentFaultError as error:
                if not assignment.reference:
                    raise
                raise InstrumentFaultError(
                    f"{error}. For the reference electrode of this cell the script measures E_WE - "
                    "E_CE besides (add_meas), which not every firmware can: if that was refused, "
                    "update it, or leave reference_electrode out of the cell file and tell its "
                    "potentials against the counter electrode"
                ) from error
            with self._state:
                self._run = self._unread = self._newest_run = run

    def _begin_with_log(self, program: Program, assignment: Assignment) -> Run:
        """Run a program, without a log of its own if the instrument refuses it with one."""
        try:
            return self._begin(program, assignment.bounds)
        except InstrumentFaultError as error:
            if program.log is None:
                raise
            # Firmware without a file store, or one that is in no state to be written to.
            _log.warning("%s: runs without a log of its own: %s", self._who(), error)
            self._remove_stub(assignment.instrument_log)
            without = self._compile(assignment.model_copy(update={"instrument_log": None}))
            return self._begin(without, assignment.bounds)

    def _remove_stub(self, name: str | None) -> None:
        """Remove the beginning of a log that was refused: it must never be taken for a whole one.

        What has more lines than the first is the log of another program.
        """
        if name is None:
            return
        files = self._files()
        try:
            lines = files.lines(name)
            if lines is not None and len(list(lines)) <= 1:
                files.delete(name)
        except InstrumentError as error:
            self._hear_out()
            _log.warning("%s: the log %s may be a stub: %s", self._who(), name, error)

    def _begin(self, program: Program, limits: SafetyLimits) -> Run:
        """Load a program and run it; with a log, return when the instrument keeps it."""
        wire = self._wire()
        # `l` then `r`, not `e`: a program that is refused has then not touched the cell.
        with self._asking("load a program"):
            wire.write(f"l\n{program.text}\n\n".encode("ascii"))
        try:
            self._accepted("l", "load a program", _LOADING_S, program.text)
            with self._asking("run the program", "whether it runs is unknown"):
                wire.write(b"r\n")
            rest = self._accepted("r", "run the program", _ANSWER_S, program.text)
            run = Run(program, limits)
            if rest:
                # Some firmware joins the acknowledgement and the first line.
                run.stream.feed(rest, wire.arrival_ns)
            if program.log is not None:
                self._hear_of_log(run)
        except (ProtocolError, TransportTimeout):
            # It may be running after all: what was not understood may have been a yes.
            self._rest_with_open_cell()
            raise
        return run

    def _hear_of_log(self, run: Run) -> None:
        """Read up to the line that says that the log is open; a refusal ends the program."""
        stream, wire = run.stream, self._wire()
        while stream.log is None and stream.block is None and not stream.over:
            with self._asking("open its log"):
                line = wire.read_line(_ANSWER_S)
            # No row can come before the first header.
            stream.feed(line, wire.arrival_ns)
            if stream.fault is not None:
                self._after_fault(run)

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
        """End the program and open the cell; callable from any thread, in any state.

        Returns when the instrument has confirmed it, or at once in the thread that reads the
        samples, which then sees the end. Raises TransportError if it does not confirm in time.
        """
        run, reader = self._send_abort()
        if run is None:
            # A start in another thread may be under way: it holds the dialogue until it is through.
            with self._dialogue:
                run, reader = self._send_abort()
                if run is None:
                    self._open_cell()
                    return
        if reader is None:
            self._drain(run)
        elif reader == threading.get_ident():
            return
        elif not run.ended.wait(self._abort_timeout_s):
            raise TransportError(
                f"{self._who()}: abort (Z) was not confirmed within {self._abort_timeout_s:g} s; "
                "the state of the cell is unknown: disconnect it"
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
            wire = self._wire()
            with self._asking("abort (Z)", _CELL_UNKNOWN):
                wire.write(b"Z\n")
            reader = run.reader
            if reader is None:
                run.reader = threading.get_ident()
            return run, reader

    # -- the program's lines

    def _rows(self, run: Run) -> Iterator[Sample | ImpedancePoint]:
        stream = run.stream
        failure: InstrumentError | None = None
        while not stream.over:
            try:
                row = self._next(run)
            except TransportTimeout as error:
                failure = self._silent(run, failure, error)
                continue
            run.compare(row)
            if row is not None:
                yield row
                failure = failure or self._wrong_setpoint(run, row) or self._no_reference(run, row)
            failure = failure or self._bad_line(run)
            if failure is not None and not run.abort_asked and not stream.over:
                # The cell is opened at once; rows that are still under way are kept.
                self._ask_abort(run)
        self._finish(run)
        if failure is not None:
            raise failure
        self._verdict(run)

    def _next(self, run: Run) -> Sample | ImpedancePoint | None:
        """Take one line; a failure of the wire or the instrument ends the program and raises."""
        wire, stream = self._wire(), run.stream
        try:
            line = wire.read_line(
                self._abort_timeout_s if run.abort_asked else self._patience_s(run)
            )
        except TransportTimeout:
            raise
        except TransportError as error:
            self._forget(run)
            raise TransportError(
                f"{self._who()}: lost while a program was running ({error}); the instrument goes "
                "on by itself within the program's limits: the state of the cell is unknown"
            ) from error
        if run.abort_asked and line.startswith(b"Z!"):
            self._found_idle(run)
            return None
        run.lines += 1
        before = len(stream.damaged) + stream.dropped
        row = stream.feed(line, wire.arrival_ns)
        lost = len(stream.damaged) + stream.dropped - before
        if lost:
            run.damage.extend([run.lines] * lost)
            _log.warning("%s: %d lines were lost or left out before %r", self._who(), lost, line)
        if stream.fault is not None:
            self._after_fault(run)
        return row

    def _patience_s(self, run: Run) -> float:
        return run.stream.silence_s + self._added_patience_s

    def _bad_line(self, run: Run) -> InstrumentError | None:
        """Return why the program must be ended for the sake of the record, if it must."""
        while run.damage and run.damage[0] <= run.lines - _DAMAGE_WINDOW:
            run.damage.popleft()
        stream = run.stream
        if stream.incomplete is not None:
            return ProtocolError(
                f"{self._who()}: rows are missing: {stream.incomplete}. {self._damage(stream)}. "
                "The program was ended and the cell opened; check the cable"
            )
        if len(run.damage) > _DAMAGE_ALLOWED:
            return ProtocolError(
                f"{self._who()}: more than {_DAMAGE_ALLOWED} lines damaged or lost among "
                f"{_DAMAGE_WINDOW}. {self._damage(stream)}. The program was ended and the cell "
                "opened; check the cable"
            )
        return None

    def _wrong_setpoint(self, run: Run, row: Sample | ImpedancePoint) -> InstrumentError | None:
        """Check the first current of each galvanostatic step against what was asked."""
        block = run.stream.block
        if not isinstance(row, Sample) or block is None or row.step in run.checked:
            return None
        run.checked = {row.step}
        if block.kind != "galvanostatic" or abs(row.current_a - block.current_a) <= (
            _SETPOINT_TOLERANCE * abs(block.current_a)
        ):
            return None
        return InstrumentFaultError(
            f"{self._who()}: step {row.step} asked for {block.current_a * 1e3:.6g} mA, the "
            f"instrument measures {row.current_a * 1e3:.6g} mA at {row.potential_v:.6g} V (status "
            f"bits {row.flags}); the program was ended and the cell opened: check cell and cables"
        )

    def _no_reference(self, run: Run, row: Sample | ImpedancePoint) -> InstrumentError | None:
        told = refused_by_rows(run, row)
        return None if told is None else ReferenceElectrodeError(f"{self._who()}: {told}")

    def _verdict(self, run: Run) -> None:
        """Say how the program ended: normally, with a reason, or with an error."""
        stream = run.stream
        refused = refused_by_instrument(run)
        if refused is not None:
            raise ReferenceElectrodeError(f"{self._who()}: {refused}")
        if stream.safety is not None:
            name, _, value = stream.safety.partition(" ")
            raise SafetyLimitError(
                f"{self._who()}: {SAFETY_LIMIT_PASSED} {name} = {value} was passed in step "
                f"{stream.step}; the instrument ended the program and opened the cell"
            )
        if stream.stopped is not None:
            self._stop_reason = f"limit {stream.stopped} reached in step {stream.step}"
        elif run.abort_asked or stream.aborted:
            self._stop_reason = "aborted"
        elif not stream.complete:
            # The blank line may itself be damage, and the program run on.
            with self._dialogue:
                self._synchronise()
                self._open_cell()
            raise ProtocolError(
                f"{self._who()}: the program ended without its end mark in step {stream.step}: "
                f"rows may be missing. {self._damage(stream)}. The cell was opened"
            )
        if stream.damaged or stream.dropped:
            _log.warning("%s: %s", self._who(), self._damage(stream))

    def _damage(self, stream: ProgramStream) -> str:
        shown = ", ".join(repr(line) for line in stream.damaged[-3:])
        told = f"{len(stream.damaged)} damaged lines, {stream.dropped} rows lost"
        return told + (f"; the last damaged: {shown}" if shown else "")

    # -- ends that are not normal

    def _ask_abort(self, run: Run) -> None:
        with self._state:
            run.abort_asked = True
            try:
                self._wire().write(b"Z\n")
            except TransportError as error:
                # The next read tells that the wire is gone, and what that means.
                _log.warning("%s: abort could not be sent: %s", self._who(), error)

    def _silent(
        self, run: Run, failure: InstrumentError | None, error: TransportTimeout
    ) -> InstrumentError:
        """Abort an instrument that fell silent; the second time, raise."""
        step = run.stream.step
        if not run.abort_asked:
            self._ask_abort(run)
            return TransportError(
                f"{self._who()}: no line within {self._patience_s(run):g} s in step {step}; the "
                "program was aborted and the cell opened"
            )
        try:
            self._recover(run)
        except InstrumentError as unheard:
            raise TransportError(
                f"{self._who()}: silent in step {step}, also when asked to abort (Z); the state of "
                f"the cell is unknown: disconnect it ({unheard})"
            ) from (failure or error)
        raise TransportError(
            f"{self._who()}: silent in step {step}, and the program never ended: perhaps the "
            "instrument restarted (power cycle?). It answers again, and the cell was opened; check "
            "its supply and the cable"
        ) from (failure or error)

    def _found_idle(self, run: Run) -> None:
        """Take an abort's answer that says that nothing runs; raise if the program had no end."""
        stream = run.stream
        if stream.complete or stream.aborted:
            # It did end, only the empty line after it was lost.
            stream.over = True
            return
        step = stream.step
        self._recover(run)
        raise InstrumentFaultError(
            f"{self._who()}: asked to abort (Z) in step {step}, it says that nothing runs, and the "
            "program never ended: it has restarted (power cycle?), and the rest of the program is "
            "lost. The cell is open: a restarted instrument has it open, and it was opened once "
            "more. Check the instrument's supply"
        )

    def _recover(self, run: Run) -> None:
        """Bring an instrument that lost its program to rest and open the cell; the run is over."""
        try:
            with self._dialogue:
                self._synchronise()
                self._open_cell()
        finally:
            self._forget(run)

    def _after_fault(self, run: Run) -> None:
        """Open the cell after a run-time error, which does not run ``on_finished``; raise it."""
        fault, stream, wire = run.stream.fault, run.stream, self._wire()
        assert fault is not None  # told to the type checker; the caller has asked
        deadline = time.monotonic() + 1.0
        # Some firmware sends the blank line after an error, some does not.
        while not stream.over and (left := deadline - time.monotonic()) > 0:
            try:
                stream.feed(wire.read_line(left), wire.arrival_ns)
            except TransportTimeout:
                break
        cell = "the cell was opened"
        try:
            self._finish(run)
            with self._dialogue:
                self._open_cell()
        except InstrumentError as error:
            cell = f"the cell could NOT be opened, disconnect it ({error})"
        raise InstrumentFaultError(
            f"{self._who()}: {fault.told_with(run.program.text)}, in step {stream.step}; {cell}"
        )

    def _drain(self, run: Run) -> None:
        """Read to the end of an aborted program whose samples nobody reads."""
        deadline = time.monotonic() + self._abort_timeout_s
        wire = self._wire()
        try:
            while not run.stream.over:
                line = wire.read_line(max(0.0, deadline - time.monotonic()))
                if line.startswith(b"Z!"):
                    break
                run.stream.feed(line, wire.arrival_ns)
        except TransportTimeout as error:
            _log.warning("%s: an abort (Z) was not confirmed: %s", self._who(), error)
        except TransportError as error:
            self._forget(run)
            raise TransportError(
                f"{self._who()}: lost while asked to abort (Z): {error}; the state of the cell is "
                "unknown: disconnect it"
            ) from error
        if run.stream.over:
            self._finish(run)
        else:
            _log.warning(
                "%s: the program never ended, perhaps the instrument restarted (power cycle?); "
                "the cell is opened",
                self._who(),
            )
            self._recover(run)
        self._stop_reason = "aborted"

    def _finish(self, run: Run) -> None:
        """Take the program as ended; an abort that crossed its end on the wire is swallowed."""
        with self._state:
            if self._run is run:
                self._run = None
            crossed = run.abort_asked and not run.stream.aborted and run.stream.over
        if crossed:
            try:
                self._wire().read_line(0.5)
            except TransportTimeout:
                _log.debug("%s: an abort at the very end stayed unanswered", self._who())
        run.ended.set()

    def _forget(self, run: Run) -> None:
        with self._state:
            if self._run is run:
                self._run = None
        run.ended.set()

    # -- dialogue while nothing runs

    def _synchronise(self) -> None:
        """Bring a conversation in any state to rest: the maker's recipe, repeated where it fails.

        The line that ends a program may be lost, with other output that nobody read: then only
        an instrument that answers as one does at rest tells that it is over.
        """
        with self._asking("come to rest (Z)", _CELL_UNKNOWN):
            self._ask_to_rest()

    def _ask_to_rest(self) -> None:
        wire = self._wire()
        heard = b""
        patience_s = _ANSWER_S
        for commands in _TO_REST:
            for command in commands:
                wire.write(command)
            at_rest, last = self._comes_to_rest(patience_s)
            heard = last or heard
            patience_s = _ANSWER_TO_REPETITION_S
            if at_rest:
                self._hear_out()
                return
        # The last resort: what tells who it is can be told to open the cell.
        wire.write(b"t\n")
        try:
            while _IDENTITY.fullmatch(answer := self._line(patience_s)) is None:
                heard = answer.encode("ascii", "backslashreplace")
        except TransportTimeout as error:
            heard = heard or error.heard
            came = f"the last it said was {heard!r}" if heard else "nothing came"
            raise TransportTimeout(
                f"{self._who()}: asked to come to rest (Z, three times) and who it is (t), {came} "
                f"({error}): is this the right port, and is the instrument switched on, and at "
                "this baud rate (?baud_rate=230400 for an EmStat Pico)? If a program may be "
                f"running, disconnect the cell{of_other_settings(heard)}",
                heard=heard,
            ) from error
        self._hear_out()
        self._open_cell()

    def _comes_to_rest(self, patience_s: float) -> tuple[bool, bytes]:
        """Read what follows a ``Z``: whether the instrument is at rest now, and its last words."""
        wire = self._wire()
        acknowledged, last = False, b""
        # Rows that were not read yet come first.
        deadline = time.monotonic() + max(patience_s, self._abort_timeout_s)
        try:
            while (left := deadline - time.monotonic()) > 0:
                line = wire.read_line(left if acknowledged else min(left, patience_s))
                if line.startswith(b"Z!") or (acknowledged and line == b""):
                    return True, line
                if line == b"Z" and not acknowledged:
                    acknowledged = self._ended_another = True
                    deadline = time.monotonic() + self._abort_timeout_s
                last = line or last
        except TransportTimeout:
            _log.debug("%s: not at rest yet, it last said %r", self._who(), last)
        return False, last

    def _hear_out(self) -> None:
        """Wait as long as it takes to be heard again; answers that come late are dropped."""
        wire = self._wire()
        deadline = time.monotonic() + _ANSWER_S
        try:
            while time.monotonic() < deadline:
                late = wire.read_line(_AFTER_ERROR_S)
                _log.debug("%s: said late: %r", self._who(), late)
        except TransportTimeout:
            return

    def _ask_identity(self) -> None:
        first = self._ask(b"t\n", "t")
        found = _IDENTITY.fullmatch(first)
        last = self._line(_ANSWER_S) if not first.endswith("*") else first
        if found is None or not last.endswith("*"):
            raise ProtocolError(
                f"{self._who()}: asked who it is (t), got {first!r}, {last!r}: this is not a "
                "MethodSCRIPT instrument, or its line runs at other settings (?baud_rate= of the "
                "address)"
            )
        try:
            able, reach = capabilities_of(found["id"]), self._current_range_reach
        except ProtocolError as error:
            raise ProtocolError(
                f"{self._who()}: asked who it is (t), got {first!r}: {error}: is it a potentiostat "
                "that runs MethodSCRIPT?"
            ) from error
        self._capabilities = able if reach is None else replace(able, current_range_reach=reach)
        version = found["version"]
        firmware = f"{version[0]}.{version[1]}" + (f".{version[2:]}" if version[2:] else "")
        self._identity = {
            "model": self._capabilities.model,
            "firmware": f"{firmware} {last.removesuffix('*')} {found['build']}".strip(),
            "serial_number": self._ask(b"i\n", "i")[1:],
            "script_version": self._ask(b"v\n", "v")[1:],
            "address": self._wire().address,
        }
        if _numbers(self._identity["script_version"]) < _KNOWN_SCRIPTS:
            _log.warning(
                "%s: its MethodSCRIPT is version %r, and the scripts are written for %s: it checks "
                "each when it is loaded, with the cell open, and refuses what it does not know; "
                "update its firmware",
                self._who(),
                self._identity["script_version"],
                ".".join(map(str, _KNOWN_SCRIPTS)),
            )

    def _ask(self, command: bytes, echo: str) -> str:
        """Send an idle command and return its one line; raises what an error reply says."""
        with self._asking(f"answer {command!r}"):
            self._wire().write(command)
            answer = self._line(_ANSWER_S)
        if not answer.startswith(echo):
            raise ProtocolError(f"{self._who()}: sent {command!r}, got {answer!r}")
        if answer.startswith(echo + "!"):
            time.sleep(_AFTER_ERROR_S)
            raise InstrumentFaultError(
                f"{self._who()}: refused {command!r}: {parse_error(answer).meaning}"
            )
        return answer

    def _accepted(self, echo: str, what: str, timeout_s: float, script: str) -> bytes:
        """Read the acknowledgement of ``l`` or ``r``; return what was joined to it."""
        try:
            answer = self._line(timeout_s)
        except TransportTimeout as error:
            raise TransportTimeout(
                f"{self._who()}: asked to {what}, no answer ({error})"
            ) from error
        if answer.startswith(echo + "!"):
            fault = parse_error(answer)
            time.sleep(_AFTER_ERROR_S)
            self._synchronise()
            raise InstrumentFaultError(
                f"{self._who()}: asked to {what}, refused with {fault.told_with(script)} "
                f"({answer!r}); the cell has not been touched"
            )
        if not answer.startswith(echo) or (echo == "l" and answer != echo):
            raise ProtocolError(f"{self._who()}: asked to {what}, got {answer!r}")
        return answer.removeprefix(echo).encode("ascii")

    def _rest_with_open_cell(self) -> None:
        """End whatever runs and open the cell, as far as the instrument can still be reached."""
        try:
            self._synchronise()
            self._open_cell()
        except InstrumentError as error:
            _log.error(
                "%s: the cell may be closed, disconnect it: it could not be opened (%s)",
                self._who(),
                error,
            )

    def _open_cell(self) -> None:
        """Open the cell while nothing runs; raises if the instrument does not confirm."""
        wire = self._wire()
        with self._asking("open the cell (cell_off)", _CELL_UNKNOWN):
            self._tell_to_open_cell(wire)

    def _tell_to_open_cell(self, wire: Transport) -> None:
        wire.write(_OPEN_CELL)
        answer = self._line(_ANSWER_S)
        # An abort may have crossed the end of the program before it.
        while answer.startswith("Z"):
            if answer.startswith("Z!"):
                # After an error it does not listen for a while, and may not have heard us.
                self._hear_out()
                wire.write(_OPEN_CELL)
            answer = self._line(_ANSWER_S)
        if answer.startswith("e!") or not answer.startswith("e"):
            raise InstrumentFaultError(
                f"{self._who()}: asked to open the cell (cell_off), got {answer!r}: the cell may "
                "be closed, disconnect it"
            )
        while answer != "":
            answer = self._line(_ANSWER_S)
            if answer.startswith("!"):
                raise InstrumentFaultError(
                    f"{self._who()}: asked to open the cell (cell_off), got "
                    f"{parse_error(answer).meaning} ({answer!r}): the cell may be closed, "
                    "disconnect it"
                )

    @contextmanager
    def _asking(self, what: str, consequence: str = "") -> Iterator[None]:
        """Let an error of the wire say who was asked what, and what follows from it."""
        try:
            yield
        except TransportError as error:
            if self._who() in str(error):
                raise
            told = f"{self._who()}: asked to {what}: {error}"
            raise type(error)(f"{told}; {consequence}" if consequence else told) from error

    def _line(self, timeout_s: float) -> str:
        return self._wire().read_line(timeout_s).decode("ascii", "backslashreplace")

    def _compile(self, assignment: Assignment) -> Program:
        return compile_program(
            assignment, self.capabilities(), mains_frequency_hz=self._mains_frequency_hz
        )

    def _wire(self) -> Transport:
        if self._transport is None:
            raise TransportError(f"{self.address}: not connected; call connect() first")
        return self._transport

    def _who(self) -> str:
        return f"{self._identity.get('model', 'potentiostat')} at {self.address}"


def _numbers(version: str) -> tuple[int, ...]:
    """Return ``01.09.00`` as (1, 9, 0); empty if it is no version."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(x.isdigit() for x in parts) else ()
