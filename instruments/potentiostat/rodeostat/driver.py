"""Drive one Rodeostat: connect, run the tests that make up a technique, watch them, stop them.

The firmware knows no limits (`models.SOFTWARE_ONLY`): each sample is compared here, and where one
lies beyond a limit the test is stopped and the switches of the electrodes are read back open.
Between two steps the electrodes are disconnected for as long as the next takes to be set up.
"""

import logging
from collections.abc import Generator
from pathlib import Path

from instruments.abilities import Abilities
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    UnsupportedTechniqueError,
)
from instruments.potentiostat._programmed import KeepsNoLog, ProgrammedPotentiostat
from instruments.potentiostat.contract import (
    Sample,
    SetCurrent,
    ZeroCurrent,
)
from instruments.potentiostat.rodeostat.dialogue import (
    CELL_UNKNOWN,
    Dialogue,
    must_be_disconnected,
)
from instruments.potentiostat.rodeostat.models import SOFTWARE_ONLY, Model, model_of, models
from instruments.potentiostat.rodeostat.run import Run
from instruments.potentiostat.rodeostat.steps import check
from instruments.transport import SerialSettings
from techniques import Assignment

_log = logging.getLogger(__name__)

_FIRMWARE = (0, 1)


class RodeostatPotentiostat(KeepsNoLog, ProgrammedPotentiostat[Run]):
    """A Rodeostat with hardware V0.2, whose electrodes it can disconnect; two electrodes.

    Connecting stops whatever runs and disconnects the electrodes. A program only goes on while
    somebody iterates over its ``samples``: each step is begun, watched and stopped from there. Its
    ``serial_number`` is the number that its owner gave it.

    Args:
        address: ``serial:///dev/ttyACM0``, ``tcp://host:port``, or ``published:`` one of these.
        abort_timeout_s: how long a test may take to end when it is told to, s.
        patience_s: added to the longest silence between two samples before it is given up, s.
        record_to: file to which the whole dialogue is appended.
    """

    _right = "switched on, and at this port"
    _left = CELL_UNKNOWN
    _settings = SerialSettings(baud_rate=115200)
    _abort_is = "stop (stopTest)"
    _no_log = "it has no memory for rows"

    def __init__(
        self,
        address: str,
        *,
        abort_timeout_s: float = 5.0,
        patience_s: float = 10.0,
        record_to: Path | None = None,
    ) -> None:
        super().__init__(
            address, abort_timeout_s=abort_timeout_s, patience_s=patience_s, record_to=record_to
        )
        self._dialogue: Dialogue | None = None
        self._model: Model | None = None

    @classmethod
    def abilities(cls) -> tuple[Abilities, ...]:
        """Return what each model can do that this driver knows."""
        return tuple(able.abilities() for able in models())

    # -- connecting

    def _prepare(self) -> None:
        self._dialogue = dialogue = Dialogue(self._wire(), self._who)
        dialogue.rest()
        self._recognise(dialogue)
        self._disconnect(dialogue)

    def _warn(self) -> None:
        super()._warn()
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
            self._capabilities = self._model.capabilities()
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

    def _release(self) -> None:
        self._dialogue = None
        super()._release()

    # -- running

    def meaning(self, assignment: Assignment) -> str:
        """Return what a log would mean: nothing."""
        return ""

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
        with self._lock:
            self._nothing_may_run()
            run = Run(assignment, self._known(), dialogue, self._who, self._added_patience_s)
            try:
                run.begin()
            except BaseException:
                self._leave_disconnected(dialogue)
                raise
            self._begun(run)

    def _rows(self, run: Run) -> Generator[Sample]:
        try:
            for row in run.rows:
                if row is not None:
                    yield row
        except GeneratorExit:
            raise
        except BaseException as error:
            self._forget(run)
            if isinstance(error, InstrumentFaultError | SafetyLimitError):
                raise  # the electrodes were read back disconnected, or it says that they are not
            told = self._leave_disconnected(self._open_dialogue())
            if isinstance(error, InstrumentError):
                raise type(error)(f"{error}; {told}") from error
            raise
        self._forget(run)

    def _drain(self, run: Run) -> None:
        for _ in self._rows(run):
            pass

    @property
    def _confirmed_within_s(self) -> float:
        return self._abort_timeout_s + self._added_patience_s

    def _tell_abort(self) -> None:
        try:
            self._open_dialogue().say("stopTest")
        except TransportError as error:
            raise TransportError(
                f"{self._who()}: asked to stop: {error}; its test goes on until its own duration "
                "is over: disconnect the cell"
            ) from error

    def _leave_open(self) -> None:
        dialogue = self._open_dialogue()
        dialogue.rest()
        self._disconnect(dialogue)

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
            raise ProtocolError(f"{self._who()}: the instrument has not said who it is")
        return self._model

    def _open_dialogue(self) -> Dialogue:
        if self._dialogue is None:
            raise TransportError(f"{self._who()}: not connected; call connect() first")
        return self._dialogue


def _version(firmware: str) -> tuple[int, ...]:
    digits = firmware.removeprefix("FW").split(".")
    return tuple(int(x) for x in digits[:2] if x.isdigit())
