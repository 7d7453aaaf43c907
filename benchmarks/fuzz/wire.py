"""A wire that says what it is given."""

from collections.abc import Callable, Iterable

from instruments.transport._buffered import BufferedTransport


class FedWire(BufferedTransport):
    """A transport whose other side answers at once; where it says nothing, that is told at once.

    Lines are found and cut as on every other wire; only the waiting is left out, so that ten
    thousand answers that never end do not take hours.

    Args:
        answer: what is answered to what is written.
        terminator: where lines end.
    """

    def __init__(self, answer: Callable[[bytes], bytes], terminator: bytes = b"\n") -> None:
        super().__init__("fed://", terminator)
        self._answer = answer
        self._waiting = b""

    def _receive(self, timeout_s: float) -> bytes:
        data, self._waiting = self._waiting, b""
        return data

    def _send(self, data: bytes) -> None:
        self._waiting += self._answer(data)

    def _descriptors(self) -> Iterable[int]:
        return ()

    def _wake(self) -> None:
        """Nobody waits."""

    def _release(self) -> None:
        self._waiting = b""

    def _fill(self, deadline: float, timeout_s: float, wanted: str) -> None:
        super()._fill(0.0, timeout_s, wanted)
