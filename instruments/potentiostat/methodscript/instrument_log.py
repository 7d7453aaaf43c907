r"""The instrument's own log: the lines of a program, in a file of the instrument's file store.

What is documented: ``file_open "path" 2`` (a new file), ``set_script_output 3`` (line and file),
``file_close``; ``fs_dir`` ends with an empty line, ``fs_get`` with ``\x1c``, ``fs_info`` with
``kB``. What is not: how ``fs_dir`` and ``fs_info`` are laid out, what a full store does to a
running script, and how much of a file is lost when the power goes. So names and numbers are looked
for wherever they stand, a log is kept only where it is sure to fit, and one that just stops is told
as such.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator

from instruments._driver import is_plain
from instruments.errors import InstrumentFaultError, ProtocolError, TransportTimeout
from instruments.potentiostat.contract import COLLECTED, ImpedancePoint, ProgramLog, Sample
from instruments.potentiostat.methodscript.error_codes import parse_error
from instruments.potentiostat.methodscript.program import Program, log_path
from instruments.potentiostat.methodscript.stream import ProgramStream
from instruments.transport import Transport

_log = logging.getLogger(__name__)

_ANSWER_S = 5.0
# The maker's own code waits this long after an error before it speaks again.
_AFTER_ERROR_S = 0.1
_END_OF_FILE = b"\x1c"
_NO_SUCH_FILE = 0x009F
# Other files may grow meanwhile, and a file takes whole blocks.
_ROOM = 1.1
_RESERVE_BYTES = 65536

_FREE = re.compile(r"free\D*(\d{1,12})\s*kB", re.IGNORECASE)
_OURS = re.compile(re.escape(log_path("@")).lstrip("/").replace("@", r"([a-z0-9-]{1,32})"))


class FileStoreError(InstrumentFaultError):
    """The file store refused a command; ``code`` is the instrument's."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class InstrumentFiles:
    """The file store of one idle instrument, on its line."""

    def __init__(self, wire: Transport, who: str) -> None:
        self._wire = wire
        self._who = who

    def free_bytes(self) -> int | None:
        """Return how much room there is; ``None`` if the answer does not say."""
        answer = self._ask("fs_info")
        found = _FREE.search(answer) if is_plain(answer) else None
        return int(found[1]) * 1024 if found is not None else None

    def logs(self) -> list[str]:
        """Return the names of our logs, the oldest first: a name begins with its time."""
        names, line = [], self._ask("fs_dir /")
        while line:
            names += _OURS.findall(line)
            line = self._line()
        # The first line may be the bare acknowledgement or hold a name, and is never empty.
        return sorted(set(names))

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Return the whole lines of a log, to be read to their end; ``None`` if it is not there."""
        try:
            first = self._ask(f"fs_get {log_path(name)}")
        except FileStoreError as error:
            if error.code == _NO_SUCH_FILE:
                return None
            raise
        return self._content(first.removeprefix("f"))

    def delete(self, name: str) -> None:
        """Remove a log; one that is not there is no error."""
        try:
            self._ask(f"fs_del {log_path(name)}")
        except FileStoreError as error:
            if error.code != _NO_SUCH_FILE:
                raise

    def _content(self, joined: str) -> Iterator[bytes]:
        # Some firmware may join the acknowledgement and the first line.
        line = joined.encode("latin-1") or self._wire.read_line(_ANSWER_S)
        while not line.endswith(_END_OF_FILE):
            yield line
            line = self._wire.read_line(_ANSWER_S)
        # What stands between the last line end and the end of the file was never written whole.

    def _ask(self, command: str) -> str:
        self._wire.write(f"{command}\n".encode("ascii"))
        answer = self._line()
        if answer.startswith("f!"):
            time.sleep(_AFTER_ERROR_S)
            fault = parse_error(answer)
            raise FileStoreError(f"{self._who}: refused {command!r}: {fault.meaning}", fault.code)
        if not answer.startswith("f"):
            raise ProtocolError(f"{self._who}: sent {command!r}, got {answer!r}")
        return answer

    def _line(self) -> str:
        return self._wire.read_line(_ANSWER_S).decode("latin-1")


def make_room(
    files: InstrumentFiles, wanted_bytes: int, may_go: Callable[[str], bool], who: str
) -> str | None:
    """Remove old logs of ours until there is room; return why there is none, ``None`` if there is.

    A program must never meet a full store: what it would do then is not documented. ``may_go``
    tells whether a log may be removed; the oldest goes first.
    """
    wanted = round(wanted_bytes * _ROOM) + _RESERVE_BYTES
    free = files.free_bytes()
    if free is None:
        return "the instrument does not say how much room its file store has"
    kept = []
    for name in files.logs() if free < wanted else ():
        if not may_go(name):
            kept.append(name)
            continue
        _log.warning("%s: its log %s is removed to make room: its run is complete", who, name)
        files.delete(name)
        free = files.free_bytes() or 0
        if free >= wanted:
            break
    if free >= wanted:
        return None
    why = (
        f"the log may need up to {wanted / 1e6:.1f} MB, the instrument's file store has "
        f"{free / 1e6:.1f} MB left"
    )
    if kept:
        why += f"; it keeps {', '.join(kept)}, whose rows may be in no record"
    return why


def read_program(program: Program, lines: Iterable[bytes], who: str) -> ProgramLog:
    """Return what ``lines``, written while ``program`` ran, tell.

    A log that is damaged or cut off, empty, or that of another program, raises nothing: its
    ``damage`` says what is wrong with it, its rows are those that can be read, and its ending is
    ``unknown``, unless it tells of a safety limit.
    """
    stream = ProgramStream(program)
    rows: list[Sample | ImpedancePoint] = []
    damage: list[str] = []
    gap = False
    empty = True
    readable = 0  # damaged lines before the last row
    try:
        for line in lines:
            empty = False
            row = stream.feed(line, 0)
            if row is not None:
                readable = len(stream.damaged)
                rows.append(row._replace(flags=row.flags | COLLECTED))
    except (ProtocolError, TransportTimeout, FileStoreError) as error:
        damage.append(f"it could not be read to its end ({error})")
        gap = True
    if empty:
        damage.append("it is empty")
        gap = True
    elif stream.log != program.log:
        told = "without a name" if stream.log is None else f"as {stream.log}"
        why = f"{who}: the log {program.log} begins {told}: it is not that of the program"
        return unread(program, why)
    if stream.incomplete is not None:
        damage.append(stream.incomplete)
        gap = True
    if stream.damaged:
        damage.append(
            f"{len(stream.damaged)} lines cannot be read, the last {stream.damaged[-1]!r}"
        )
        gap = gap or len(stream.damaged) > readable
    ending, reason = "unknown", ""
    if stream.safety is not None:
        ending, reason = "safety", stream.safety
    elif damage:
        pass
    elif stream.stopped is not None:
        ending, reason = "stopped", stream.stopped
    elif stream.complete:
        ending = "complete"
    elif stream.opened_s is not None:
        ending = "opened"
    block = stream.block
    return ProgramLog(
        tuple(rows),
        ending,  # type: ignore[arg-type]
        reason,
        None if block is None else block.kind,
        0 if block is None else block.role,
        stream.counters,
        stream.step_s,
        stream.lost,
        f"{who}: the log {program.log} is damaged: {'; '.join(damage)}" if damage else "",
        gap,
    )


def unread(program: Program, why: str) -> ProgramLog:
    """Return the log of ``program``, of which nothing can be had."""
    return ProgramLog((), "unknown", "", None, 0, program.begin, 0.0, 0, why, True)
