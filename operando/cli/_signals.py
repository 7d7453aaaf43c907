"""Signals that end a command end it in order."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class TerminatedError(BaseException):
    """A signal asks us to go; like KeyboardInterrupt it must pass every ``except Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Unwind on SIGTERM and SIGHUP, so that every ``with`` makes its instruments safe."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise TerminatedError(number)

    def ask_again(swallowed: "sys.UnraisableHookArgs") -> None:
        # Raised inside a finalizer or a weak reference's callback, where nothing can pass it on.
        if not isinstance(swallowed.exc_value, TerminatedError | KeyboardInterrupt):
            tell(swallowed)
            return
        number = getattr(swallowed.exc_value, "number", signal.SIGINT)
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()

    tell = sys.unraisablehook
    sys.unraisablehook = ask_again
    before: dict[int, Any] = {}
    # Signals reach the main thread only; elsewhere they are somebody else's business.
    if threading.current_thread() is threading.main_thread():
        for asked in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(asked) is not signal.SIG_IGN:  # ignored: by nohup, for example
                before[asked] = signal.signal(asked, terminate)
    try:
        yield
    finally:
        sys.unraisablehook = tell
        for number, handler in before.items():
            signal.signal(number, handler)
