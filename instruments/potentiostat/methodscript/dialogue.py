"""Talk with a MethodSCRIPT instrument while no program of ours runs on it."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from instruments._driver import is_plain, of_other_settings
from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.potentiostat.methodscript.error_codes import parse_error
from instruments.transport import Transport

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
OPEN_CELL = b"e\ncell_off\n\n"
CELL_UNKNOWN = "the state of the cell is unknown: disconnect it"

_IDENTITY = re.compile(r"t(?P<id>.{6})(?P<version>\d{4}|\d{2})#(?P<build>.*)")


class Dialogue:
    """One conversation.

    Args:
        wire: the open line.
        who: names instrument and address, for messages.
        abort_timeout_s: how long an aborted program may take to end, s.

    Attributes:
        ended_another: whether a program ran that `rest` has ended.
    """

    def __init__(self, wire: Transport, who: Callable[[], str], abort_timeout_s: float) -> None:
        self.wire = wire
        self._who = who
        self._abort_timeout_s = abort_timeout_s
        self.ended_another = False

    def load(self, text: str) -> None:
        """Load a script; the instrument checks it and raises what is wrong, the cell untouched."""
        # `l` then `r`, not `e`: a program that is refused has then not touched the cell.
        with self.asking("load a program"):
            self.wire.write(f"l\n{text}\n\n".encode("ascii"))
        self.accepted("l", "load a program", _LOADING_S, text)

    def run(self, text: str) -> bytes:
        """Run the script that was loaded; return what came on the line of the acknowledgement."""
        with self.asking("run the program", "whether it runs is unknown"):
            self.wire.write(b"r\n")
        return self.accepted("r", "run the program", _ANSWER_S, text)

    def lines_with_open_cell(self, text: str, what: str, silence_s: float) -> Iterator[str]:
        """Run a short script that leaves the cell open; yield its lines."""
        self.wire.write(f"l\n{text}\n\n".encode("ascii"))
        self.accepted("l", what, _LOADING_S, text)
        self.wire.write(b"r\n")
        first = self.accepted("r", what, _ANSWER_S, text)
        yield from self.lines_of(text, first, what, silence_s)

    def rest(self) -> None:
        """Bring a conversation in any state to rest: the maker's recipe, repeated where it fails.

        The line that ends a program may be lost, with other output that nobody read: then only
        an instrument that answers as one does at rest tells that it is over.
        """
        with self.asking("come to rest (Z)", CELL_UNKNOWN):
            self._ask_to_rest()

    def _ask_to_rest(self) -> None:
        wire = self.wire
        heard = b""
        patience_s = _ANSWER_S
        for commands in _TO_REST:
            for command in commands:
                wire.write(command)
            at_rest, last = self._comes_to_rest(patience_s)
            heard = last or heard
            patience_s = _ANSWER_TO_REPETITION_S
            if at_rest:
                self.hear_out()
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
        self.hear_out()
        self.open_cell()

    def _comes_to_rest(self, patience_s: float) -> tuple[bool, bytes]:
        """Read what follows a ``Z``: whether the instrument is at rest now, and its last words."""
        wire = self.wire
        acknowledged, last = False, b""
        # Rows that were not read yet come first.
        deadline = time.monotonic() + max(patience_s, self._abort_timeout_s)
        try:
            while (left := deadline - time.monotonic()) > 0:
                line = wire.read_line(left if acknowledged else min(left, patience_s))
                if line.startswith(b"Z!") or (acknowledged and line == b""):
                    return True, line
                if line == b"Z" and not acknowledged:
                    acknowledged = self.ended_another = True
                    deadline = time.monotonic() + self._abort_timeout_s
                last = line or last
        except TransportTimeout:
            _log.debug("%s: not at rest yet, it last said %r", self._who(), last)
        return False, last

    def hear_out(self) -> None:
        """Wait as long as it takes to be heard again; answers that come late are dropped."""
        wire = self.wire
        deadline = time.monotonic() + _ANSWER_S
        try:
            while time.monotonic() < deadline:
                late = wire.read_line(_AFTER_ERROR_S)
                _log.debug("%s: said late: %r", self._who(), late)
        except TransportTimeout:
            return

    def kind(self) -> tuple[str, str]:
        """Return the instrument's six letters and its firmware; raises if it is none of these."""
        first = self._ask(b"t\n", "t")
        found = _IDENTITY.fullmatch(first)
        last = self._line(_ANSWER_S) if not first.endswith("*") else first
        if found is None or not last.endswith("*") or not is_plain(last):
            raise ProtocolError(
                f"{self._who()}: asked who it is (t), got {first!r}, {last!r}: this is not a "
                "MethodSCRIPT instrument, or its line runs at other settings (?baud_rate= of the "
                "address)"
            )
        version = found["version"]
        firmware = f"{version[0]}.{version[1]}" + (f".{version[2:]}" if version[2:] else "")
        return found["id"], f"{firmware} {last.removesuffix('*')} {found['build']}".strip()

    def identity(self) -> dict[str, str]:
        """Return what else it tells of itself."""
        return {
            "serial_number": self._ask(b"i\n", "i")[1:],
            "script_version": self._ask(b"v\n", "v")[1:],
            "address": self.wire.address,
        }

    def _ask(self, command: bytes, echo: str) -> str:
        """Send an idle command and return its one line; raises what an error reply says."""
        with self.asking(f"answer {command!r}"):
            self.wire.write(command)
            answer = self._line(_ANSWER_S)
        damaged = "\\" in answer or not is_plain(answer) or answer == echo
        if not answer.startswith(echo) or damaged:
            raise ProtocolError(
                f"{self._who()}: asked who it is ({command!r}), got {answer!r}"
                f"{of_other_settings(answer)}: this is not a MethodSCRIPT instrument, or its line "
                "runs at other settings (?baud_rate= of the address)"
            )
        if answer.startswith(echo + "!"):
            time.sleep(_AFTER_ERROR_S)
            raise InstrumentFaultError(
                f"{self._who()}: refused {command!r}: {parse_error(answer).meaning}"
            )
        return answer

    def accepted(self, echo: str, what: str, timeout_s: float, script: str) -> bytes:
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
            self.rest()
            raise InstrumentFaultError(
                f"{self._who()}: asked to {what}, refused with {fault.told_with(script)} "
                f"({answer!r}); the cell has not been touched"
            )
        if not answer.startswith(echo) or (echo == "l" and answer != echo):
            raise ProtocolError(f"{self._who()}: asked to {what}, got {answer!r}")
        return answer.removeprefix(echo).encode("ascii")

    def rest_with_open_cell(self) -> None:
        """End whatever runs and open the cell, as far as the instrument can still be reached."""
        try:
            self.rest()
            self.open_cell()
        except InstrumentError as error:
            _log.error(
                "%s: the cell may be closed, disconnect it: it could not be opened (%s)",
                self._who(),
                error,
            )

    def open_cell(self) -> None:
        """Open the cell while nothing runs; raises if the instrument does not confirm."""
        with self.asking("open the cell (cell_off)", CELL_UNKNOWN):
            self._tell_to_open_cell()

    def _tell_to_open_cell(self) -> None:
        self.wire.write(OPEN_CELL)
        answer = self._line(_ANSWER_S)
        # An abort may have crossed the end of the program before it.
        while answer.startswith("Z"):
            if answer.startswith("Z!"):
                # After an error it does not listen for a while, and may not have heard us.
                self.hear_out()
                self.wire.write(OPEN_CELL)
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
    def asking(self, what: str, consequence: str = "") -> Iterator[None]:
        """Let an error of the wire say who was asked what, and what follows from it."""
        try:
            yield
        except TransportError as error:
            if self._who() in str(error):
                raise
            told = f"{self._who()}: asked to {what}: {error}"
            raise type(error)(f"{told}; {consequence}" if consequence else told) from error

    def _line(self, timeout_s: float) -> str:
        return self.wire.read_line(timeout_s).decode("ascii", "backslashreplace")

    def lines_of(self, text: str, first: bytes, what: str, silence_s: float) -> Iterator[str]:
        """Yield the lines of a short script up to the empty one that ends it."""
        line = first.decode("ascii", "backslashreplace") or self._line(silence_s)
        while line:
            if re.match(r"[A-Za-z]*!", line):
                fault = parse_error(line).told_with(text)
                self.hear_out()
                self.open_cell()
                raise InstrumentFaultError(f"{self._who()}: asked to {what}: {fault}")
            yield line
            line = self._line(silence_s)
