"""What is said to a SourceMeter, and what of its answers is understood.

``abort`` is acted on at once, whatever runs; everything else waits until what runs has ended.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from instruments._driver import number_in, of_other_settings, unanswered
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.potentiostat.keithley.script import SCRIPT
from instruments.transport import Transport

_ANSWER_S = 3.0
_LANGUAGE_S = 2.0
_LOADING_S = 15.0
_TIMES_ASKED = 3
_SAFE, _LOADED, _EVENT, _SAYS = "operando-safe", "operando-loaded", "operando-event", "operando"
_RIGHT = "switched on, and at this address"
_CELL_UNKNOWN = "the output may be on: disconnect the cell"
_LANGUAGES = ("TSP", "SCPI", "SCPI2400")
# An output as it is told.
_OUTPUT = re.compile(r"smu\.\w+", re.ASCII)


class Dialogue:
    """One conversation; ``who`` says with whom, for messages."""

    def __init__(self, wire: Transport, who: Callable[[], str]) -> None:
        self.wire = wire
        self._who = who
        self._asked = 0

    # -- connecting

    def take_control(self) -> None:
        """End whatever runs and check that the instrument understands TSP."""
        what = "say which command set it has (*LANG?)"
        with self.asking(what):
            self._say("abort")
            self._say("*LANG?")
            try:
                language = self._first("|".join(_LANGUAGES), what, _LANGUAGE_S)
            except (TransportTimeout, ProtocolError):
                # What came right behind the abort may have been thrown away with the rest.
                self._say("*LANG?")
                language = self._first("|".join(_LANGUAGES), what, _LANGUAGE_S)
        if language != "TSP":
            raise ProtocolError(
                f"{self._who()}: its command set is {language}, and programs that go on without "
                "this computer need TSP: send it `*LANG TSP` (or choose TSP in its menu, System, "
                "Settings, Command Set) and switch it off and on"
            )

    def prepare(self) -> tuple[float, float]:
        """Reset it; return the frequency of the mains, Hz, and its clock, s since 1970."""
        with self.asking("reset itself"):
            self._say("reset()")
            self._say("localnode.prompts = localnode.DISABLE")
            self._say("localnode.showevents = 0")
            self._say("eventlog.clear()")
            for function in ("CURRENT", "VOLTAGE"):
                self._say(f"smu.source.func = smu.FUNC_DC_{function}")
                self._say("smu.source.offmode = smu.OFFMODE_HIGHZ")
        what = "tell the frequency of the mains and its clock"
        query = f'print("{_SAYS}", localnode.linefreq, localnode.gettime())'
        answer = self.ask(query, rf"{_SAYS}\s.*", what)
        mains_hz, utc_s = [*map(number_in, answer.split()[1:]), None, None][:2]
        if len(answer.split()) != 3 or mains_hz is None or utc_s is None or not 0 <= utc_s < 1e11:
            raise ProtocolError(f"{self._who()}: asked to {what}, got {answer!r}")
        if not 40 < mains_hz < 70:
            raise ProtocolError(f"{self._who()}: says that the mains have {mains_hz:g} Hz")
        return mains_hz, utc_s

    # -- the output

    def send_abort(self) -> None:
        """Ask to end what runs, to switch the output off and to tell that it is."""
        with self.asking("abort", _CELL_UNKNOWN):
            # On its own, first: it throws away what the instrument has not begun with.
            self._say("abort")
            self._ask_off()

    def _ask_off(self) -> None:
        self._asked += 1
        self._say(
            "smu.source.output = smu.OFF if operando_last then operando_last() end "
            f'print("{_SAFE}", {self._asked}, smu.source.output, timer.gettime())'
        )

    def confirmation(self, line: bytes) -> tuple[str, float] | None:
        """Return (output, timer in s) if a line tells that the output was asked to go off.

        One that was damaged on its way tells nothing: the output is asked for again.
        """
        words = line.decode("ascii", "backslashreplace").split()
        if len(words) != 4 or words[0] != _SAFE or not _OUTPUT.fullmatch(words[2]):
            return None
        timer_s = number_in(words[3])
        return None if timer_s is None else (words[2], timer_s)

    def output_off(self) -> None:
        """Switch the output off while nothing runs; raises if that is not read back."""
        with self.asking("switch its output off", _CELL_UNKNOWN):
            self._confirm_off(self._ask_off, 2)

    def abort_and_open(self) -> None:
        """End whatever runs and switch the output off, asking as often as it may take."""
        self._confirm_off(self.send_abort, _TIMES_ASKED)

    def _confirm_off(self, ask: Callable[[], None], times: int) -> None:
        for attempt in range(1, times + 1):
            ask()
            try:
                self.confirmed_off(_ANSWER_S)
                return
            except TransportTimeout:
                if attempt == times:
                    raise

    def confirmed_off(self, timeout_s: float) -> None:
        """Read up to the answer to the last question about the output; it must be off."""
        deadline = time.monotonic() + timeout_s
        while True:
            line = self.wire.read_line(max(0.0, deadline - time.monotonic()))
            words = line.decode("ascii", "backslashreplace").split()
            if len(words) != 4 or words[0] != _SAFE or number_in(words[1]) != self._asked:
                continue
            if not _OUTPUT.fullmatch(words[2]):
                continue  # damaged on its way
            if words[2] != "smu.OFF":
                raise InstrumentFaultError(
                    f"{self._who()}: asked to switch its output off, it says {words[2]!r}: "
                    "disconnect the cell"
                )
            return

    # -- programs

    def load(self, text: str) -> None:
        """Load a script; raises InstrumentFaultError if it is refused."""
        with self.asking("load a program"):
            self._say("eventlog.clear()")
            self._say(f'if {SCRIPT} then script.delete("{SCRIPT}") {SCRIPT} = nil end')
            self._say("eventlog.clear()")
            self.wire.write(f"loadscript {SCRIPT}\n{text}\nendscript\n".encode("ascii"))
        query = f'print("{_LOADED}", {SCRIPT} ~= nil, eventlog.getcount(eventlog.SEV_ERROR))'
        answer = self.ask(query, rf"{_LOADED}\s.*", "load a program", _LOADING_S)
        words = answer.split()
        if words[1:2] == ["true"] and len(words) == 3 and number_in(words[2]) == 0:
            return
        event = self.ask(
            f'print("{_EVENT}", eventlog.next(eventlog.SEV_ERROR))', rf"{_EVENT}\s.*", "say why"
        )
        raise InstrumentFaultError(
            f"{self._who()}: refused a program ({answer!r}): "
            f"{event.removeprefix(_EVENT).strip()}; the cell has not been touched"
        )

    def run(self) -> None:
        """Run the script that was loaded."""
        with self.asking("run the program"):
            self._say(f"{SCRIPT}()")

    def first_line(self, timeout_s: float) -> bytes:
        """Return the next line that is no late answer about the output."""
        while self.confirmation(line := self.wire.read_line(timeout_s)) is not None:
            continue
        return line

    def lines_of(self, commands: list[str], what: str, patience_s: float) -> Iterator[str]:
        """Say commands; yield the lines that they print."""
        with self.asking(what):
            for command in commands:
                self._say(command)
            end = f"{_SAYS}-end"
            self._say(f'print("{end}")')
            while (line := self._line(_ANSWER_S + patience_s)) != end:
                yield line

    # -- pieces

    def ask(self, command: str, pattern: str, what: str, timeout_s: float = _ANSWER_S) -> str:
        """Return the first line that has the form of an answer; others were meant for others."""
        with self.asking(what):
            self._say(command)
            return self._first(pattern, what, timeout_s)

    def _first(self, pattern: str, what: str, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        last = b""
        while True:
            try:
                raw = self.wire.read_line(max(0.0, deadline - time.monotonic()))
            except TransportTimeout as error:
                if not last:
                    raise unanswered(self._who(), f"to {what}", error, _RIGHT) from error
                raise ProtocolError(
                    f"{self._who()}: asked to {what}, the last it said was {last!r}: is this a "
                    f"SourceMeter?{of_other_settings(last)}"
                ) from error
            line = raw.decode("ascii", "backslashreplace").strip("\r")
            if re.fullmatch(pattern, line, re.S):
                return line
            last = raw or last

    @contextmanager
    def asking(self, what: str, consequence: str = "") -> Iterator[None]:
        """Let an error of the wire say who was asked what, and what follows from it."""
        try:
            yield
        except TransportError as error:
            if self._who() in str(error):
                raise
            told = f"{self._who()}: asked to {what}: {error}"
            raise type(error)(f"{told}; {consequence}" if consequence else told) from error

    def _say(self, command: str) -> None:
        self.wire.write(command.encode("ascii") + b"\n")

    def _line(self, timeout_s: float) -> str:
        return self.wire.read_line(timeout_s).decode("ascii", "backslashreplace").strip("\r")
