r"""Write a dialogue to a file, so that a bug report is a file; and read one back.

The file is text, one turn per line: seconds since opening, ``>`` sent or ``<`` received, and the
bytes as Python spells them::

    # dialogue with serial:///dev/ttyACM0, opened 2026-01-31T09:30:00+00:00
    0.000012 > b't\n'
    0.001530 < b'tes4_hr1100#Jan 28 2022 11:04:43'

Received lines are written without their terminator. Pages of a manual in ``tests/transcripts``
have the same form, where the time may be left out.
"""

import ast
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from instruments.errors import TransportError
from instruments.transport._contract import Transport

_TURN = re.compile(r"(?:(?P<time>\d+\.\d+)\s+)?(?P<way>[<>!])\s+(?P<data>.+)")


class Turn(NamedTuple):
    """One turn of a dialogue: ``>`` sent, ``<`` received."""

    way: Literal[">", "<"]
    data: bytes
    time_s: float | None = None


class RecordingTransport:
    """Pass everything on to another transport and write it down on the way."""

    def __init__(self, inner: Transport, path: Path) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._t0 = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="ascii")
        except OSError as error:
            inner.close()
            raise TransportError(f"{inner.address}: cannot record to {path}: {error}") from error
        opened = datetime.now(UTC).isoformat(timespec="seconds")
        self._file.write(f"# dialogue with {inner.address}, opened {opened}\n")
        self._file.flush()  # or a forked child would write it a second time

    @property
    def address(self) -> str:
        """The address of the transport behind."""
        return self._inner.address

    @property
    def arrival_ns(self) -> int:
        """The arrival stamp of the transport behind."""
        return self._inner.arrival_ns

    def write(self, data: bytes) -> None:
        self._note(">", repr(data))
        self._inner.write(data)

    def read_line(self, timeout_s: float) -> bytes:
        try:
            line = self._inner.read_line(timeout_s)
        except TransportError as error:
            self._note("!", str(error))
            raise
        self._note("<", repr(line))
        return line

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        try:
            data = self._inner.read_exactly(n, timeout_s)
        except TransportError as error:
            self._note("!", str(error))
            raise
        self._note("<", repr(data))
        return data

    def close(self) -> None:
        self._inner.close()
        with self._lock:
            self._file.close()

    def _note(self, way: str, text: str) -> None:
        with self._lock:
            if not self._file.closed:
                plain = text.encode("ascii", "backslashreplace").decode("ascii")
                plain = plain.replace("\n", "\\n")
                self._file.write(f"{time.monotonic() - self._t0:.6f} {way} {plain}\n")
                self._file.flush()


def read_dialogue(path: Path) -> Iterator[Turn]:
    """Yield the turns of a recorded dialogue; raises ValueError naming a line it cannot read."""
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _TURN.fullmatch(line)
        if found is None:
            raise ValueError(f"{path}, line {number} is not a turn of a dialogue: {line!r}")
        if found["way"] == "!":
            continue
        try:
            data = ast.literal_eval(found["data"])
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number} holds no bytes: {line!r:.200} ({error})"
            ) from error
        if not isinstance(data, bytes):
            raise ValueError(f"{path}, line {number} does not hold bytes: {line!r}")
        yield Turn(
            ">" if found["way"] == ">" else "<",
            data,
            None if found["time"] is None else float(found["time"]),
        )
