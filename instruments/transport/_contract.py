"""The contract between a driver and its wire."""

from typing import Protocol


class Transport(Protocol):
    """One exclusive conversation with one instrument.

    One thread reads; any thread may write or close. Every failure is a TransportError, a silence
    a TransportTimeout.
    """

    @property
    def address(self) -> str:
        """Return the address as it was opened, for messages."""
        ...

    @property
    def arrival_ns(self) -> int:
        """Return the clock of the read that completed the last answer, ns; one stamp per read.

        The clock is CLOCK_BOOTTIME where it exists, else the monotonic clock.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send all of ``data``; blocks until the system has taken it."""
        ...

    def read_line(self, timeout_s: float) -> bytes:
        """Return the next line without its terminator.

        A part of a line that is there when the time is over is kept for the next call.
        Raises TransportTimeout after ``timeout_s`` seconds.
        """
        ...

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        """Return the next ``n`` bytes; fewer are kept for the next call, as in ``read_line``."""
        ...

    def close(self) -> None:
        """Release the port; safe to call twice and while another thread reads.

        The reader then gets a TransportError within 0.3 s.
        """
        ...
