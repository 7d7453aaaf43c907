"""What potentiostats have in common that run a program and tell of it row by row."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from instruments._driver import LineDriver
from instruments.errors import ProtocolError, TransportError
from instruments.potentiostat.contract import (
    OTHER,
    Capabilities,
    ImpedancePoint,
    ProgramEnd,
    ProgramLog,
    Sample,
)
from techniques import Assignment, Counters

_log = logging.getLogger(__name__)


class ProgramRun(Protocol):
    """One program on the instrument, as far as it is known here.

    Attributes:
        reader: the thread that reads its rows, if one does.
        ended: set when it is over.
        abort_asked: whether somebody has asked it to end.
        stop_reason: why it ended before its last step, ``None`` if it did not.
    """

    reader: int | None
    ended: threading.Event
    abort_asked: bool
    stop_reason: str | None

    @property
    def lost(self) -> int:
        """Return how many rows were sent but did not arrive whole."""
        ...

    @property
    def counters(self) -> Counters:
        """Return where it stands."""
        ...

    @property
    def end(self) -> ProgramEnd:
        """Return where it stood; see ``Potentiostat.program_end``."""
        ...

    def notes(self) -> list[str]:
        """Return what must be said of it although it did not fail."""
        ...


RunT = TypeVar("RunT", bound=ProgramRun)


class ProgrammedPotentiostat(LineDriver, Generic[RunT]):
    """One potentiostat, and the one program that may run on it.

    One thread reads the rows; any may abort. Connecting ends whatever runs and leaves the cell
    open, closing aborts.

    Args:
        address: of the line.
        abort_timeout_s: how long an aborted program may take to end, s.
        patience_s: added to the longest silence that a step may keep before the instrument is given
            up, s: the computer, not the instrument, may be slow.
        record_to: file to which the whole dialogue is appended.
    """

    _kind = "potentiostat"

    def __init__(
        self,
        address: str,
        *,
        abort_timeout_s: float = 5.0,
        patience_s: float = 10.0,
        record_to: Path | None = None,
    ) -> None:
        super().__init__(address, record_to=record_to)
        self._abort_timeout_s = abort_timeout_s
        self._added_patience_s = patience_s
        self._identity: dict[str, str] = {}
        self._capabilities: Capabilities | None = None
        self._state = threading.Lock()  # who reads, whether a program runs
        self._run: RunT | None = None
        self._unread: RunT | None = None
        self._newest_run: RunT | None = None
        # Serial numbers of those that were left without confirming that their cell is open.
        self._left_behind: set[str] = set()

    # -- connecting

    def close(self) -> None:
        """Open the cell and release the line; safe to call twice.

        A failure to open the cell is raised after the line has been released.
        """
        if self._transport is None:
            return
        self._left_behind.add(self._serial_number)
        try:
            self.abort()
            self._left_behind.discard(self._serial_number)
        finally:
            self._release()

    def safe_state(self) -> None:
        """End what runs and open the cell, as ``abort``; nothing where it is not connected.

        One that was closed without confirming that its cell is open says so, also where another one
        answers at its address since: TransportError.
        """
        if self.connected:
            self.abort()
            self._left_behind.discard(self._serial_number)
            if self._left_behind:
                raise TransportError(
                    f"{self._who()}: its cell is open, but it is another instrument than "
                    f"{' and '.join(sorted(self._left_behind))}, which was left at this address "
                    f"without confirming that its cell is open; {self._left}"
                )
        elif self._left_behind:
            raise TransportError(
                f"{self._who()}: it is not connected, and when it was left it did not confirm that "
                f"its cell is open; {self._left}"
            )

    @property
    def _serial_number(self) -> str:
        return self._identity.get("serial_number", "one without a serial number")

    def identify(self) -> dict[str, str]:
        """Return who answered when the connection was opened.

        Keys ``model``, ``firmware``, ``serial_number``, ``address``, and what else this one tells.
        """
        self._wire()
        return dict(self._identity)

    def capabilities(self) -> Capabilities:
        """Return what the connected instrument can do, from the name it gave."""
        self._wire()
        if self._capabilities is None:
            raise ProtocolError(f"{self._who()}: the instrument has not said who it is")
        return self._capabilities

    def _who(self) -> str:
        return f"{self._identity.get('model', self._kind)} at {self.address}"

    # -- of the last program

    @property
    def stop_reason(self) -> str | None:
        """Return why the last program ended before its last step, ``None`` if it did not."""
        return self._newest_run.stop_reason if self._newest_run is not None else None

    @property
    def notes(self) -> list[str]:
        """Return what must be said of the last program although it did not fail, each once."""
        return self._newest_run.notes() if self._newest_run is not None else []

    @property
    def lost_rows(self) -> int:
        """Return how many rows of the last program were sent but did not arrive whole."""
        return self._newest_run.lost if self._newest_run is not None else 0

    @property
    def counters(self) -> Counters:
        """Return where the last program stood at its end; zero before the first."""
        return self._newest_run.counters if self._newest_run is not None else Counters()

    @property
    def program_end(self) -> ProgramEnd:
        """Return where the last program stood; see ``Potentiostat.program_end``."""
        if self._newest_run is None:
            return ProgramEnd("unknown", None, OTHER, Counters(), 0.0)
        return self._newest_run.end

    # -- running

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
            # A start in another thread may be under way: it is through when it lets us talk.
            with self._lock:
                run, reader = self._send_abort()
                if run is None:
                    self._leave_open()
                    return
        if reader is None:
            self._drain(run)
        elif reader == threading.get_ident():
            return
        elif not run.ended.wait(self._confirmed_within_s):
            raise TransportError(
                f"{self._who()}: asked to {self._abort_is}, it was not confirmed within "
                f"{self._confirmed_within_s:g} s; {self._left}"
            )

    def _send_abort(self) -> tuple[RunT | None, int | None]:
        """Send an abort to the program, if one runs; return it and the thread that reads it.

        Without such a thread the caller reads to the end, and is noted as the reader.
        """
        with self._state:
            run = self._run
            if run is None:
                return None, None
            run.abort_asked = True
            self._tell_abort()
            reader = run.reader
            if reader is None:
                run.reader = threading.get_ident()
            return run, reader

    def _ask_abort(self, run: RunT) -> None:
        """Have a program ended by the thread that reads it."""
        with self._state:
            run.abort_asked = True
            try:
                self._tell_abort()
            except TransportError as error:
                # The next read tells that the wire is gone, and what that means.
                _log.warning("%s: abort could not be sent: %s", self._who(), error)

    def _nothing_may_run(self) -> None:
        with self._state:
            if self._run is not None:
                raise RuntimeError(f"{self._who()}: a program is running; abort it first")

    def _begun(self, run: RunT) -> None:
        with self._state:
            self._run = self._unread = self._newest_run = run

    def _forget(self, run: RunT) -> None:
        """Take a program as over."""
        with self._state:
            if self._run is run:
                self._run = None
        run.ended.set()

    # -- what subclasses say

    # How it is asked to end a program.
    _abort_is: str

    @property
    def _confirmed_within_s(self) -> float:
        """How long another thread may take to read up to the end of an aborted program, s."""
        return self._abort_timeout_s

    def _rows(self, run: RunT) -> Iterator[Sample | ImpedancePoint]:
        """Yield the rows of a program up to its end, and raise what ended it."""
        raise NotImplementedError

    def _drain(self, run: RunT) -> None:
        """Read to the end of an aborted program whose samples nobody reads."""
        raise NotImplementedError

    def _tell_abort(self) -> None:
        """Send the abort and wait for nothing."""
        raise NotImplementedError

    def _leave_open(self) -> None:
        """Open the cell while nothing runs; raises if that is not confirmed."""
        raise NotImplementedError


class KeepsNoLog:
    """A potentiostat without a memory for rows that outlasts its host."""

    # Why there is none.
    _no_log: str

    @property
    def log_kept(self) -> bool:
        """Return False: it keeps none."""
        return False

    def prepare_log(
        self, assignment: Assignment, may_go: Callable[[str], bool] = lambda name: False
    ) -> str | None:
        """Return why there will be no log."""
        return self._no_log

    def read_log(self, assignment: Assignment) -> ProgramLog | None:
        """Return None: it keeps no log."""
        return None

    def delete_log(self, name: str) -> None:
        """Do nothing: it keeps no log."""


def times_left_out(rows: int) -> list[str]:
    """Return what must be said of rows that were left out because their time cannot be."""
    if not rows:
        return []
    were = "1 row was" if rows == 1 else f"{rows} rows were"
    return [
        f"{were} left out whose time cannot be: the instrument's clock jumped, or a digit was "
        "damaged; rows behind may be further apart than asked"
    ]
