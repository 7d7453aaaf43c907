"""What a MethodSCRIPT instrument is asked while no program runs: who it is, its logs, its zero."""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.potentiostat._programmed import ProgrammedPotentiostat
from instruments.potentiostat.contract import (
    ProgramLog,
    SetCurrent,
    ZeroCurrent,
)
from instruments.potentiostat.methodscript.dialogue import CELL_UNKNOWN, Dialogue
from instruments.potentiostat.methodscript.instrument_log import (
    FileStoreError,
    InstrumentFiles,
    make_room,
    read_program,
    unread,
)
from instruments.potentiostat.methodscript.models import capabilities_of
from instruments.potentiostat.methodscript.outlasting import outlast
from instruments.potentiostat.methodscript.program import Program, compile_program
from instruments.potentiostat.methodscript.run import Run
from instruments.potentiostat.methodscript.zero_current import (
    currents_and_ranges,
    zero_script,
    zeros_of,
)
from instruments.transport import SerialSettings, open_transport
from techniques import Assignment

_log = logging.getLogger(__name__)

_ANSWER_S = 2.0
_Made = TypeVar("_Made")

# The language's manual that the scripts were written from.
_KNOWN_SCRIPTS = (1, 8)


class MethodScriptInstrument(ProgrammedPotentiostat[Run]):
    """A potentiostat that runs MethodSCRIPT, EmStat4 HR first.

    Whoever had the instrument before may have left it in any state: connecting ends whatever runs,
    and opens the cell. What it tells of itself also holds ``script_version``.

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

    _settings = SerialSettings(baud_rate=921600, drop_flow_control=True)
    _right = "switched on, and at this port"
    _left = CELL_UNKNOWN
    _abort_is = "abort (Z)"

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
        super().__init__(
            address, abort_timeout_s=abort_timeout_s, patience_s=patience_s, record_to=record_to
        )
        self._mains_frequency_hz = mains_frequency_hz
        if current_range_reach is not None and not 1 <= current_range_reach <= 2.4:
            raise ValueError(f"current_range_reach must be 1 to 2.4, got {current_range_reach:g}")
        self._current_range_reach = current_range_reach
        self._dialogue: Dialogue | None = None

    # -- connecting

    def _prepare(self) -> None:
        self._dialogue = dialogue = Dialogue(self._wire(), self._who, self._abort_timeout_s)
        dialogue.rest()
        self._recognise(dialogue)
        # Idle is not open: a program that ended with an error leaves the cell as it was.
        dialogue.open_cell()
        if dialogue.ended_another:
            _log.warning(
                "%s: a program was running on it, and was ended by connecting; the cell is open. "
                "What it wrote to a log of its own is kept: an experiment whose host died can be "
                "resumed",
                self._who(),
            )

    def _recognise(self, dialogue: Dialogue) -> None:
        device_id, firmware = dialogue.kind()
        try:
            able, reach = capabilities_of(device_id), self._current_range_reach
        except ProtocolError as error:
            raise ProtocolError(
                f"{self._who()}: asked who it is (t): {error}: is it a potentiostat that runs "
                "MethodSCRIPT?"
            ) from error
        self._capabilities = able if reach is None else replace(able, current_range_reach=reach)
        told = dialogue.identity()
        self._identity = {"model": self._capabilities.model, "firmware": firmware, **told}
        if _numbers(told["script_version"]) < _KNOWN_SCRIPTS:
            _log.warning(
                "%s: its MethodSCRIPT is version %r, and the scripts are written for %s: it checks "
                "each when it is loaded, with the cell open, and refuses what it does not know; "
                "update its firmware",
                self._who(),
                told["script_version"],
                ".".join(map(str, _KNOWN_SCRIPTS)),
            )

    def _release(self) -> None:
        self._dialogue = None
        super()._release()

    def outlast(self, given_up: threading.Event) -> str:
        """Let the program that runs end by itself, open the cell then, and release the line.

        For a program whose host died: it is not connected to, since that would end it. Returns what
        became of it, or that it still runs where ``given_up`` was set. Raises TransportError if the
        line cannot be had or is lost, InstrumentError if the cell could not be opened.
        """
        with self._lock:
            wire = open_transport(
                self.address,
                terminator=self._terminator,
                settings=self._settings,
                record_to=self._record_to,
            )
            try:
                return outlast(wire, self._who, given_up, self._abort_timeout_s)
            finally:
                wire.close()

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
        with self._lock:
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
        with self._lock, self._open_dialogue().asking(f"send the log {name}"):
            self._nothing_may_run()
            try:
                lines = self._files().lines(name)
            except (FileStoreError, ProtocolError) as error:
                self._open_dialogue().hear_out()
                return unread(program, f"the log {program.log} cannot be had: {error}")
            if lines is None:
                return None
            found = read_program(program, lines, self._who())
            if found.damage:
                # Lines that are still under way would be taken for the answer to the next command.
                self._open_dialogue().hear_out()
            return found

    def delete_log(self, name: str) -> None:
        """Forget the log of that name, if there is one."""
        with self._lock, self._open_dialogue().asking(f"delete the log {name}"):
            self._files().delete(name)

    def _files(self) -> InstrumentFiles:
        return InstrumentFiles(self._wire(), self._who())

    # -- with the cell open

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

    def _run_with_open_cell(
        self, text: str, what: str, read: Callable[[Iterable[str]], _Made]
    ) -> _Made:
        """Run a short script that leaves the cell open, and return what is made of its lines."""
        dialogue = self._open_dialogue()
        with self._lock:
            self._nothing_may_run()
            try:
                with dialogue.asking(what):
                    return read(dialogue.lines_with_open_cell(text, what, self._silence_s()))
            except (ProtocolError, TransportTimeout) as error:
                dialogue.rest_with_open_cell()
                if self._who() in str(error):
                    raise
                raise type(error)(f"{self._who()}: asked to {what}: {error}") from error

    def _silence_s(self) -> float:
        return _ANSWER_S + self._added_patience_s

    # -- the rest

    def _compile(self, assignment: Assignment) -> Program:
        return compile_program(
            assignment, self.capabilities(), mains_frequency_hz=self._mains_frequency_hz
        )

    def _open_dialogue(self) -> Dialogue:
        if self._dialogue is None:
            raise TransportError(f"{self._who()}: not connected; call connect() first")
        return self._dialogue


def _numbers(version: str) -> tuple[int, ...]:
    """Return ``01.09.00`` as (1, 9, 0); empty if it is no version."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(x.isdigit() for x in parts) else ()
