"""The box into which requests to a run that goes on are put, from any thread."""

import threading
from collections import deque

from techniques.requests import Request

_NO_RUN = "no run goes on that could do it"


class RequestRefusedError(Exception):
    """What was asked of a run is not done; the run goes on as it was."""


class PendingRequest:
    """A request and what became of it.

    Attributes:
        request: What was asked.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self._answered = threading.Event()
        self._told = ""
        self._refused = False

    def accept(self, told: str) -> None:
        """Say what will be done; only the first answer counts."""
        self._answer(told, refused=False)

    def refuse(self, why: str) -> None:
        """Say why nothing is done; only the first answer counts."""
        self._answer(why, refused=True)

    def _answer(self, told: str, *, refused: bool) -> None:
        if not self._answered.is_set():
            self._told, self._refused = told, refused
            self._answered.set()

    def answer(self, timeout_s: float | None = None) -> str:
        """Return what will be done, in words; blocks until the run has said so.

        Raises RequestRefusedError if it will not be done, and TimeoutError if the run has not said
        anything within ``timeout_s``: then it may still do it.
        """
        if not self._answered.wait(timeout_s):
            raise TimeoutError(
                f"the run has not answered the request {self.request.request!r} of "
                f"{self.request.by} within {timeout_s:g} s: it may still do it"
            )
        if self._refused:
            raise RequestRefusedError(self._told)
        return self._told


class RequestBox:
    """Takes requests to the run that goes on; it is empty while there is none.

    What is asked while nothing runs is refused at once: it must not meet the next cell.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[PendingRequest] = deque()
        self._why_closed: str | None = _NO_RUN

    def put(self, request: Request) -> PendingRequest:
        """Ask; ``answer`` of what is returned says what will be done. Never blocks."""
        pending = PendingRequest(request)
        with self._lock:
            why = self._why_closed
            if why is None:
                self._waiting.append(pending)
        if why is not None:
            pending.refuse(why)
        return pending

    def begin(self) -> None:
        """Keep requests from now on, for the run that begins."""
        with self._lock:
            self._why_closed = None

    def take(self) -> PendingRequest | None:
        """Return the oldest request that was not taken; ``None``: there is none."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def end(self, why: str = _NO_RUN) -> None:
        """Refuse what was not taken, and what comes until the next ``begin``; callable twice."""
        with self._lock:
            self._why_closed = why
            left, self._waiting = self._waiting, deque()
        for pending in left:
            pending.refuse(why)
