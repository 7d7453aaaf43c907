"""What serial, TCP and VISA share: one buffer, one reader, one stamp per read."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from instruments.errors import TransportError, TransportTimeout
from instruments.forked import keep_from_children, lead_nowhere
from instruments.transport._clock import clock_ns

# A wait is cut into slices so that close() from another thread is noticed in any case.
SLICE_S = 0.2
# A line longer than this is not a line: the speed or the instrument is wrong.
LONGEST_LINE = 1 << 20


class BufferedTransport(ABC):
    """Keep what arrived, hand out lines; subclasses only move bytes."""

    def __init__(self, address: str, terminator: bytes) -> None:
        if not terminator:
            raise ValueError("a line needs a terminator")
        self.address = address
        self.arrival_ns = 0
        self._terminator = terminator
        self._buffer = bytearray()
        self._closing = False
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        keep_from_children(self)

    @abstractmethod
    def _receive(self, timeout_s: float) -> bytes:
        """Return what is there, waiting up to ``timeout_s``; ``b""`` is silence.

        Raises TransportError when nothing can come any more.
        """

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Send all of ``data``; raises TransportError."""

    @abstractmethod
    def _wake(self) -> None:
        """End a ``_receive`` that another thread is in; may do nothing."""

    @abstractmethod
    def _release(self) -> None:
        """Give the port back; called once, while nobody reads."""

    @abstractmethod
    def _descriptors(self) -> Iterable[int]:
        """Return the file descriptors of the port, as far as it is open."""

    def let_go_in_child(self) -> None:
        """Leave the port to the parent: in a forked child it is closed, and nothing is sent."""
        self._closing = True
        for fd in self._descriptors():
            lead_nowhere(fd)

    def write(self, data: bytes) -> None:
        with self._writing:
            self._must_be_open()
            self._send(data)

    def read_line(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        searched = 0
        with self._reading:
            while (end := self._buffer.find(self._terminator, searched)) < 0:
                # The terminator may have been cut in two by a read.
                searched = max(0, len(self._buffer) - len(self._terminator) + 1)
                if len(self._buffer) > LONGEST_LINE:
                    raise TransportError(
                        f"{self.address}: {LONGEST_LINE} bytes without {self._terminator!r}, "
                        f"beginning with {bytes(self._buffer[:40])!r}: is the line speed right, "
                        "and is this the right instrument?"
                    )
                self._fill(deadline, timeout_s, "a line")
            line = bytes(self._buffer[:end])
            del self._buffer[: end + len(self._terminator)]
            return line

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        with self._reading:
            while len(self._buffer) < n:
                self._fill(deadline, timeout_s, f"{n} bytes")
            data = bytes(self._buffer[:n])
            del self._buffer[:n]
            return data

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._wake()
        with self._reading, self._writing:
            self._release()

    def _fill(self, deadline: float, timeout_s: float, wanted: str) -> None:
        self._must_be_open()
        left = deadline - time.monotonic()
        data = self._receive(max(0.0, min(left, SLICE_S)))
        if data:
            self.arrival_ns = clock_ns()
            self._buffer += data
        elif left <= 0:
            self._must_be_open()
            heard = bytes(self._buffer[:80])
            came = f"only {heard!r} came" if heard else "nothing came"
            raise TransportTimeout(
                f"{self.address}: expected {wanted} within {timeout_s:g} s, {came}", heard=heard
            )

    def _must_be_open(self) -> None:
        if self._closing:
            raise TransportError(f"{self.address}: the connection has been closed")
