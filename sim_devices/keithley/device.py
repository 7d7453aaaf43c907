"""The simulated SourceMeter on its socket: lines in, lines out, and one command after the other.

A command waits until the one before has ended, except ``abort`` under TSP, which ends what runs and
throws away what waits. Which of the two command sets is understood is chosen by ``*LANG``, from the
next time it is switched on.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

from sim_devices.keithley.electronics import MAKES, PERFECT, Electronics, Imperfection
from sim_devices.keithley.events import EventLog
from sim_devices.keithley.scpi import Scpi
from sim_devices.keithley.smu import (
    AbortedError,
    Smu,
    host_utc_s,
)
from sim_devices.keithley.tables import Identity
from sim_devices.keithley.tsp import SYNTAX, Tsp, lua
from sim_devices.pty_server import ByteServer, PatientSender
from sim_devices.surroundings import LeadingClock, MeasuredCell, TruthWriter
from sim_devices.wire_faults import number_of, on_a_line

FIRMWARE = "1.7.12b"
LANGUAGES = ("TSP", "SCPI", "SCPI2400")

_log = logging.getLogger(__name__)

_IDLE_STRIDE_S = 0.1
# How long a command that says something waits for a host that does not read; then it is lost.
_HOST_PATIENCE_S = 2.0
_LONGEST_LINE = 65536
_CLOSING_S = 5.0
_LEADS = {"sense-lead-off": True, "sense-lead-on": False}
_IMPOSSIBLE = 9.91e37  # not-a-number, as these instruments tell it

FAULTS = on_a_line(
    "a SourceMeter",
    {
        "refuse": "refuses the next `count` (1) connections",
        "clock-jump": "sets its clock, which readings and timers show, forward by `seconds` (60), "
        "back if negative",
        "out-of-range": "measures `value` (9.91e37, its not-a-number) in the next `count` (1) "
        "readings",
        "power-cycle": "has no power for `seconds` (1): the output is off",
        "sense-lead-off": "a sense lead falls off",
        "sense-lead-on": "and is put back",
    },
    {"wrong-checksum": "its lines have no checksum"},
)


class SourceMeter:
    """One instrument on one socket, from construction to `close`.

    Attributes:
        address: where it listens.
        line: the socket, for injecting faults.
        smu: the unit itself.
        language: the command set that is understood now.
    """

    def __init__(
        self,
        cell: MeasuredCell,
        clock: LeadingClock,
        truth: TruthWriter,
        seed: int = 0,
        *,
        model: str = "2450",
        language: str = "TSP",
        firmware: str = FIRMWARE,
        imperfection: Imperfection | None = None,
        perfect: bool = False,
    ) -> None:
        """Switch it on, with its output off.

        Args:
            cell: the cell at its leads; only this instrument advances it.
            clock: this instrument leads it.
            truth: gets the instrument's errors, what was applied, and the ledgers.
            seed: of the instrument's errors and noise, and of injected faults.
            model: ``2450`` or ``2460``.
            language: its command set.
            firmware: as it tells it.
            imperfection: how good the instrument is; None: as its make is.
            perfect: neither errors nor noise.

        Raises:
            ValueError: there is no Lua for it.
        """
        lua()
        if imperfection is None:
            imperfection = PERFECT if perfect else Imperfection()
        electronics = Electronics(imperfection, seed, MAKES[model])
        self._identity = Identity(model, f"{seed % 100_000_000:08d}", firmware)
        self._clock = clock
        truth.write(
            "potentiostat",
            "instrument",
            serial_number=self._identity.serial_number,
            seed=seed,
            **electronics.told(),
        )
        self.smu = Smu(cell, clock, truth, electronics, host_utc_s())
        self.smu.before_wait = self._flush
        self._said: list[str] = []
        self._typed = bytearray()
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._busy = False
        self._closed = False
        self._power_was_cut = False
        self._sender = PatientSender(
            patience_s=_HOST_PATIENCE_S, on_loss=self._lost, closed=lambda: self._closed
        )
        self.language = self._next_language = language
        self._switch_on()
        self.line = self._sender.line = ByteServer(
            self._receive,
            prefer_pty=False,
            on_fault=self._fault,
            faults=FAULTS,
            refuses_connections=True,
            seed=seed,
        )
        self.address = self.line.address
        self.smu.measured = self._measured
        self._worker = threading.Thread(target=self._work, name="keithley", daemon=True)
        self._worker.start()

    def close(self) -> None:
        """Switch it off and close its socket; may be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self.smu.abort()
            self._changed.notify_all()
        self.line.close()
        self._clock.wake()
        self._worker.join(_CLOSING_S)
        self.smu.close()

    @property
    def drives_cell(self) -> bool:
        """Return whether the output is on."""
        return self.smu.output

    def inject(self, fault: str, **options: object) -> None:
        """Break something: see `sim_devices.pty_server.ByteServer.inject`."""
        self.line.inject(fault, **options)

    def _switch_on(self) -> None:
        self.language = self._next_language
        self.events = EventLog()
        self._script: tuple[str, list[str]] | None = None
        self._model: Iterator[None] | None = None
        self._tsp = Tsp(self.smu, self.events, self._identity, self._say)
        self._scpi = Scpi(self.smu, self.events, self._identity)

    # ---- the worker: commands, and the time between them

    def _work(self) -> None:
        lives_on = True
        while True:
            with self._changed:
                if not lives_on:
                    self._changed.wait_for(self._is_wanted)
                if self._closed:
                    return
                if self._power_was_cut:
                    self._power_was_cut = False
                    self.smu.ready()
                    self.smu.reset()
                    self._switch_on()
                self._busy = bool(self._lines)
                text = self._lines.popleft() if self._lines else None
                self.smu.ready()
            if text is not None:
                with self._clock.hurry("script"):
                    self._obey(text)
                self._flush()
            elif self._scpi.is_running:
                with self._clock.hurry("script"):
                    self._take_a_step()
                self._flush()
            else:
                arrived = self.smu.idle(_IDLE_STRIDE_S, self._is_wanted)
                # A clock that was closed does not make anybody wait: nothing may move any more.
                lives_on = arrived or self._is_wanted()

    def _is_wanted(self) -> bool:
        return self._closed or self._power_was_cut or bool(self._lines)

    def _obey(self, text: str) -> None:
        try:
            if self.language == "TSP":
                self._obey_tsp(text)
            else:
                for answer in self._scpi.answers(text, self._common):
                    self._say(answer)
        except AbortedError:
            self._script = None
        except Exception as error:  # a fault of the simulation must not look like a dead instrument
            _log.exception("the simulated SourceMeter failed on %r", text)
            self.events.post(SYNTAX, f"simulation failed: {error}", self.smu.utc_s())
        with self._changed:
            self._busy = False

    def _take_a_step(self) -> None:
        try:
            self._scpi.step()
        except AbortedError:
            self._scpi.stop()

    def _obey_tsp(self, text: str) -> None:
        if self._script is not None:
            name, lines = self._script
            if text.strip() == "endscript":
                self._script = None
                self._tsp.load(name, "\n".join(lines))
            else:
                lines.append(text)
            return
        word, _, rest = text.strip().partition(" ")
        if word in ("loadscript", "loadandrunscript"):
            self._script = (rest.strip() or "script", [])
        elif word.startswith("*"):
            answer = self._common(text.strip())
            if answer is None:
                self.events.post(SYNTAX, f"TSP Syntax error: {word}", self.smu.utc_s())
            elif answer:
                self._say(answer)
        elif word and word != "abort":
            self._tsp.execute(text)

    def _common(self, text: str) -> str | None:
        """Obey a common command; return its answer, "" without one, None if there is no such."""
        word, _, rest = text.upper().partition(" ")
        match word:
            case "*IDN?":
                who = self._identity
                return f"KEITHLEY INSTRUMENTS,MODEL {who.model},{who.serial_number},{who.firmware}"
            case "*LANG?":
                return self.language
            case "*LANG" if rest.strip() in LANGUAGES:
                self._next_language = rest.strip()
                return ""
            case "*RST":
                self.smu.reset()
                return ""
            case "*CLS":
                self.events.clear()
                return ""
            case "*OPC?":
                self._scpi.finish()
                self.smu.settle()
                return "1"
            case "*WAI":
                self._scpi.finish()
                self.smu.settle()
                return ""
            case "*TST?" | "*ESR?" | "*STB?" | "*SRE?" | "*ESE?":
                return "0"
            case "*TRG" | "*OPC" | "*SRE" | "*ESE":
                return ""
        return None

    # ---- output

    def _say(self, text: str) -> None:
        self._said.append(text)

    def _flush(self) -> None:
        if not self._said:
            return
        data = "".join(f"{line}\n" for line in self._said).encode("ascii", "replace")
        self._said.clear()
        self._sender.send(data)

    def _measured(self, value: float) -> float:
        return self.line.broken.told(value, _IMPOSSIBLE)

    def _lost(self) -> None:
        self.smu.write_truth("output_lost")

    # ---- the line: called in the server's thread

    def _receive(self, data: bytes) -> bytes:
        self._typed += data
        *whole, rest = bytes(self._typed).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            rest = b""
        self._typed[:] = rest
        for line in whole:
            self._take(line.decode("latin-1").rstrip("\r"))
        return b""

    def _take(self, text: str) -> None:
        with self._changed:
            self._sender.heard()
            word = text.strip().lower()
            if self.language == "TSP" and word == "abort":
                self._lines.clear()
                self._script = None
                if self._busy:
                    self.smu.abort()
            elif self.language != "TSP" and word.lstrip(":") in ("abor", "abort"):
                self._scpi.abort_asked = True
                if self._busy or self._scpi.is_running:
                    self.smu.abort()
            else:
                self._lines.append(text)
            self._changed.notify_all()
        self._clock.wake()

    # ---- faults

    def _fault(self, fault: str, options: dict[str, object]) -> None:
        if fault in _LEADS:
            self.smu.lose_sense_lead(lost=_LEADS[fault])
        if fault == "clock-jump":
            self.smu.set_clock_forward(number_of(options, "seconds", 60.0))
        if fault != "power-cycle":
            return
        with self._changed:
            self._lines.clear()
            self._typed.clear()
            self._said.clear()
            self._power_was_cut = True
            self.smu.abort()
            self._changed.notify_all()
        self._clock.wake()


def serve(
    cell: MeasuredCell,
    clock: LeadingClock,
    truth: TruthWriter,
    seed: int = 0,
    *,
    perfect: bool = False,
    language: str = "TSP",
    model: str = "2450",
    on_digital: Callable[[float, int], None] | None = None,
) -> SourceMeter:
    """Start a simulated Keithley SourceMeter.

    Args:
        cell: the cell at its leads.
        clock: led by the instrument.
        truth: gets what really happened.
        seed: of the instrument's errors and noise.
        perfect: neither errors nor noise.
        language: its command set.
        model: ``2450`` or ``2460``.
        on_digital: called with (cell time s, line) when a digital line pulses.

    Returns:
        The instrument: ``.address``, ``.inject(fault)``, ``.close()``.
    """
    meter = SourceMeter(cell, clock, truth, seed, perfect=perfect, language=language, model=model)
    meter.smu.on_digital = on_digital
    return meter
