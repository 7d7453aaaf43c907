"""Run programs on one MethodSCRIPT instrument: load, read the rows, abort, and leave it open."""

import logging
import time
from collections.abc import Iterator

from instruments.abilities import Abilities
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
    SAFETY_LIMIT_PASSED,
    ImpedancePoint,
    Sample,
    SetCurrent,
)
from instruments.potentiostat.methodscript.dialogue import CELL_UNKNOWN
from instruments.potentiostat.methodscript.instrument import MethodScriptInstrument
from instruments.potentiostat.methodscript.judging import (
    bad_line,
    damage_of,
    no_reference,
    wrong_setpoint,
)
from instruments.potentiostat.methodscript.models import models
from instruments.potentiostat.methodscript.program import Program
from instruments.potentiostat.methodscript.range_reach import beyond_nominal, in_words, reach_script
from instruments.potentiostat.methodscript.reference import refused_by_instrument
from instruments.potentiostat.methodscript.run import Run
from instruments.potentiostat.methodscript.zero_current import currents_and_ranges
from techniques import Assignment, SafetyLimits

_log = logging.getLogger(__name__)

_ANSWER_S = 2.0
# What is behind an empty line that ended a program comes with it, or is late by a burst.
_BEHIND_AN_END_S = 0.5


class MethodScriptPotentiostat(MethodScriptInstrument):
    """A potentiostat that runs MethodSCRIPT, EmStat4 HR first; arguments as its base."""

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what each model can do that this driver knows."""
        return tuple(able.abilities() for able in models())

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

    def start(self, assignment: Assignment) -> None:
        """Load ``assignment``, let the instrument check it, and run it.

        Raises UnsupportedTechniqueError, SafetyLimitError or InstrumentFaultError with the cell
        untouched; RuntimeError if a program runs already.
        """
        program = self._compile(assignment)
        self._wire()
        with self._lock:
            self._nothing_may_run()
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
            self._begun(run)

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
            self._open_dialogue().hear_out()
            _log.warning("%s: the log %s may be a stub: %s", self._who(), name, error)

    def _begin(self, program: Program, limits: SafetyLimits) -> Run:
        """Load a program and run it; with a log, return when the instrument keeps it."""
        dialogue, wire = self._open_dialogue(), self._wire()
        try:
            dialogue.load(program.text)
            rest = dialogue.run(program.text)
            run = Run(program, limits)
            if rest:
                # Some firmware joins the acknowledgement and the first line.
                run.stream.feed(rest, wire.arrival_ns)
            if program.log is not None:
                self._hear_of_log(run)
        except (ProtocolError, TransportTimeout):
            # It may be running after all: what was not understood may have been a yes.
            self._open_dialogue().rest_with_open_cell()
            raise
        return run

    def _hear_of_log(self, run: Run) -> None:
        """Read up to the line that says that the log is open; a refusal ends the program."""
        stream, wire = run.stream, self._wire()
        while stream.log is None and stream.block is None and not stream.over:
            with self._open_dialogue().asking("open its log"):
                line = wire.read_line(_ANSWER_S)
            # No row can come before the first header.
            stream.feed(line, wire.arrival_ns)
            if stream.fault is not None:
                self._after_fault(run)

    def _tell_abort(self) -> None:
        dialogue = self._open_dialogue()
        with dialogue.asking("abort (Z)", CELL_UNKNOWN):
            dialogue.wire.write(b"Z\n")

    def _leave_open(self) -> None:
        self._open_dialogue().open_cell()

    # -- the program's lines

    def _rows(self, run: Run) -> Iterator[Sample | ImpedancePoint]:
        stream = run.stream
        failure: InstrumentError | None = None
        while not stream.over or self._goes_on(run):
            try:
                row = self._next(run)
            except TransportTimeout as error:
                failure = self._silent(run, failure, error)
                continue
            run.compare(row)
            if row is not None:
                yield row
                who = self._who()
                failure = failure or wrong_setpoint(run, row, who) or no_reference(run, row, who)
            failure = failure or bad_line(run, self._who())
            if failure is not None and not run.abort_asked and not stream.over:
                # The cell is opened at once; rows that are still under way are kept.
                self._ask_abort(run)
        self._finish(run)
        if failure is not None:
            raise failure
        self._verdict(run)

    def _goes_on(self, run: Run) -> bool:
        """Return whether the empty line that ended a program was the rest of a damaged one.

        A program says that it ends; behind one that did not, the lines that follow are awaited.
        """
        stream = run.stream
        if stream.complete or stream.aborted or stream.fault is not None or run.abort_asked:
            return False
        try:
            run.behind_its_end = self._wire().read_line(_BEHIND_AN_END_S)
        except TransportError:
            return False
        stream.go_on()
        return True

    def _next(self, run: Run) -> Sample | ImpedancePoint | None:
        """Take one line; a failure of the wire or the instrument ends the program and raises."""
        wire, stream = self._wire(), run.stream
        try:
            line, run.behind_its_end = run.behind_its_end, None
            if line is None:
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
            run.stop_reason = f"limit {stream.stopped} reached in step {stream.step}"
        elif run.abort_asked or stream.aborted:
            run.stop_reason = "aborted"
        elif not stream.complete:
            # The blank line may itself be damage, and the program run on.
            with self._lock:
                self._open_dialogue().rest()
                self._open_dialogue().open_cell()
            raise ProtocolError(
                f"{self._who()}: the program ended without its end mark in step {stream.step}: "
                f"rows may be missing. {damage_of(stream)}. The cell was opened"
            )
        if stream.damaged or stream.dropped:
            _log.warning("%s: %s", self._who(), damage_of(stream))

    # -- ends that are not normal

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
            with self._lock:
                self._open_dialogue().rest()
                self._open_dialogue().open_cell()
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
            with self._lock:
                self._open_dialogue().open_cell()
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
        run.stop_reason = "aborted"

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
