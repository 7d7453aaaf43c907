"""Drive one Rodeostat: connect, run the tests that make up a technique, watch them, stop them.

The firmware knows no limits (`models.SOFTWARE_ONLY`): each sample is compared here, and where one
lies beyond a limit the test is stopped and the switches of the electrodes are read back open.
Between two steps the electrodes are disconnected for as long as the next takes to be set up.
"""

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    UnsupportedTechniqueError,
)
from instruments.potentiostat.contract import (
    OTHER,
    Capabilities,
    ImpedancePoint,
    ProgramEnd,
    ProgramLog,
    Sample,
    SetCurrent,
    ZeroCurrent,
)
from instruments.potentiostat.rodeostat.dialogue import (
    CELL_UNKNOWN,
    Dialogue,
    must_be_disconnected,
)
from instruments.potentiostat.rodeostat.models import SOFTWARE_ONLY, Model, model_of
from instruments.potentiostat.rodeostat.run import Run
from instruments.potentiostat.rodeostat.steps import check
from instruments.transport import SerialSettings, open_transport
from techniques import Assignment, Counters

_log = logging.getLogger(__name__)

_NO_LOG = "it has no memory for rows"
_FIRMWARE = (0, 1)


class RodeostatPotentiostat:
    """A Rodeostat with hardware V0.2, whose electrodes it can disconnect; two electrodes.

    Args:
        address: ``serial:///dev/ttyACM0``, ``tcp://host:port``, or ``published:`` one of these.
        abort_timeout_s: how long a test may take to end when it is told to, s.
        patience_s: added to the longest silence between two samples before it is given up, s.
        record_to: file to which the whole dialogue is appended.
    """

    verified_on: str | None = None

    def __init__(
        self,
        address: str,
        *,
        abort_timeout_s: float = 5.0,
        patience_s: float = 10.0,
        record_to: Path | None = None,
    ) -> None:
        self.address = address
        self._abort_timeout_s = abort_timeout_s
        self._patience_s = patience_s
        self._record_to = record_to
        self._dialogue: Dialogue | None = None
        self._model: Model | None = None
        self._identity: dict[str, str] = {}
        self._talking = threading.RLock()  # one command and its answer, while nothing runs
        self._state = threading.Lock()  # who reads, whether a program runs
        self._run: Run | None = None
        self._unread: Run | None = None
        self._newest_run: Run | None = None
        self._warned = False

    # -- connecting

    def connect(self) -> None:
        """Open the port, stop whatever runs, check who is there, and disconnect the electrodes.

        Raises InstrumentError, which says what to do; the port is free then.
        """
        with self._talking:
            if self._dialogue is not None:
                return
            settings = SerialSettings(baud_rate=115200)
            wire = open_transport(self.address, settings=settings, record_to=self._record_to)
            self._dialogue = dialogue = Dialogue(wire, self._who)
            try:
                dialogue.rest()
                self._recognise(dialogue)
                self._disconnect(dialogue)
            except InstrumentError:
                wire.close()
                self._dialogue = None
                raise
        if not self._warned:
            self._warned = True
            if self.verified_on is None:
                _log.warning(
                    "%s: this driver has not been confirmed on real hardware; watch the first runs",
                    self._who(),
                )
            _log.warning("%s: SOFTWARE ONLY: %s", self._who(), SOFTWARE_ONLY)

    def _recognise(self, dialogue: Dialogue) -> None:
        variant = dialogue.ask("getVariant").get("variant")
        firmware = dialogue.ask("getVersion").get("version")
        if not isinstance(variant, str) or not isinstance(firmware, str):
            raise ProtocolError(
                f"{self._who()}: asked who it is, it says {variant!r} and {firmware!r}: this is no "
                "Rodeostat"
            )
        try:
            self._model = model_of(variant)
        except (ProtocolError, UnsupportedTechniqueError) as error:
            raise type(error)(f"{self._who()}: {error}") from error
        if _version(firmware) < _FIRMWARE:
            raise ProtocolError(
                f"{self._who()}: its firmware is {firmware!r}, this driver needs FW0.1.0 or later: "
                "update it"
            )
        self._identity = {
            "model": f"Rodeostat {variant}",
            "firmware": firmware,
            "serial_number": str(dialogue.ask("getDeviceId").get("deviceId", "")),
            "address": dialogue.wire.address,
        }

    def close(self) -> None:
        """Disconnect the electrodes and release the port; safe to call twice.

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

        Keys ``model``, ``firmware``, ``serial_number`` (the number that its owner gave it) and
        ``address``.
        """
        self._open_dialogue()
        return dict(self._identity)

    def capabilities(self) -> Capabilities:
        """Return what the connected instrument can do, from the hardware it named."""
        return self._known().capabilities()

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
        """Return how many samples of the last program were sent but did not arrive whole."""
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
        """Return what a log would mean: nothing."""
        return ""

    def read_log(self, assignment: Assignment) -> ProgramLog | None:
        """Return None: it keeps no log."""
        return None

    def delete_log(self, name: str) -> None:
        """Do nothing: it keeps no log."""

    # -- running

    def check(self, assignment: Assignment) -> None:
        """Raise what is wrong with ``assignment`` for the connected instrument."""
        check(assignment, self._known())

    def current_ranges(self, assignment: Assignment) -> tuple[SetCurrent, ...]:
        """Return nothing: it sets no current."""
        self.check(assignment)
        return ()

    def measure_zero(self, assignment: Assignment) -> tuple[ZeroCurrent, ...]:
        """Return nothing: it sets no current."""
        self.check(assignment)
        return ()

    def start(self, assignment: Assignment) -> None:
        """Check ``assignment`` and begin its first step; return when that runs.

        Raises UnsupportedTechniqueError, SafetyLimitError or InstrumentFaultError with the
        electrodes disconnected; RuntimeError if a program runs already.
        """
        self.check(assignment)
        dialogue = self._open_dialogue()
        with self._talking:
            with self._state:
                if self._run is not None:
                    raise RuntimeError(f"{self._who()}: a program is running; abort it first")
            run = Run(assignment, self._known(), dialogue, self._who, self._patience_s)
            try:
                run.begin()
            except BaseException:
                self._leave_disconnected(dialogue)
                raise
            with self._state:
                self._run = self._unread = self._newest_run = run

    def samples(self) -> Iterator[Sample | ImpedancePoint]:
        """Yield rows until the program has ended; see ``Potentiostat.samples``.

        The program only goes on while somebody iterates: each step is begun, watched and stopped
        from here. Ends without an error when the program is complete, when a limit of the technique
        stopped it, or after ``abort``; ``stop_reason`` then says which.
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

    def _rows(self, run: Run) -> Generator[Sample]:
        try:
            for row in run.rows:
                if row is not None:
                    yield row
        except GeneratorExit:
            raise
        except BaseException as error:
            self._end(run)
            if isinstance(error, InstrumentFaultError | SafetyLimitError):
                raise  # the electrodes were read back disconnected, or it says that they are not
            told = self._leave_disconnected(self._open_dialogue())
            if isinstance(error, InstrumentError):
                raise type(error)(f"{error}; {told}") from error
            raise
        self._end(run)

    def _end(self, run: Run) -> None:
        with self._state:
            if self._run is run:
                self._run = None
        run.ended.set()

    def abort(self) -> None:
        """Stop the test and disconnect the electrodes; callable from any thread, in any state.

        Returns when they were read back disconnected, or at once in the thread that reads the
        samples, which then sees the end. Raises TransportError if it is not confirmed in time.
        """
        run, reader = self._send_abort()
        if run is None:
            # A start in another thread may be under way: it is through when it lets us talk.
            with self._talking:
                run, reader = self._send_abort()
                if run is None:
                    dialogue = self._open_dialogue()
                    dialogue.rest()
                    self._disconnect(dialogue)
                    return
        if reader is None:
            for _ in self._rows(run):
                pass
        elif reader == threading.get_ident():
            return
        elif not run.ended.wait(self._abort_timeout_s + self._patience_s):
            raise TransportError(
                f"{self._who()}: stopTest was not confirmed within "
                f"{self._abort_timeout_s + self._patience_s:g} s; {CELL_UNKNOWN}"
            )

    def _send_abort(self) -> tuple[Run | None, int | None]:
        """Tell the test to stop, if one runs; return the program and the thread that reads it.

        Without such a thread the caller reads to the end, and is noted as the reader.
        """
        with self._state:
            run = self._run
            if run is None:
                return None, None
            run.abort_asked = True
            try:
                self._open_dialogue().say("stopTest")
            except TransportError as error:
                raise TransportError(
                    f"{self._who()}: asked to stop: {error}; its test goes on until its own "
                    f"duration is over: disconnect the cell"
                ) from error
            reader = run.reader
            if reader is None:
                run.reader = threading.get_ident()
            return run, reader

    # -- the electrodes

    def _disconnect(self, dialogue: Dialogue) -> None:
        """Disconnect the electrodes, have that done after each test, and read both back."""
        dialogue.ask("setAllElectConnected", connected=False)
        dialogue.ask("setElectAutoConnect", autoConnect=True)
        must_be_disconnected(dialogue, self._who())

    def _leave_disconnected(self, dialogue: Dialogue) -> str:
        """Stop whatever runs and disconnect; return what came of it."""
        try:
            dialogue.rest()
            self._disconnect(dialogue)
        except InstrumentError as error:
            told = f"the electrodes could NOT be disconnected, take the cell off ({error})"
            _log.error("%s: %s", self._who(), told)
            return told
        return "the test was stopped and the electrodes are disconnected"

    # -- the rest

    def _known(self) -> Model:
        self._open_dialogue()
        if self._model is None:
            raise ProtocolError(f"{self.address}: the instrument has not said who it is")
        return self._model

    def _open_dialogue(self) -> Dialogue:
        if self._dialogue is None:
            raise TransportError(f"{self.address}: not connected; call connect() first")
        return self._dialogue

    def _who(self) -> str:
        return f"{self._identity.get('model', 'potentiostat')} at {self.address}"


def _version(firmware: str) -> tuple[int, ...]:
    digits = firmware.removeprefix("FW").split(".")
    return tuple(int(x) for x in digits[:2] if x.isdigit())
