"""Signals that end a plan, each once."""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from bluesky.run_engine import RunEngine

CONFIRM_WITHIN_S = 10.0


class StopOnSignal:
    """While a plan runs, the first of some signals aborts it; the instruments are made safe.

    Later ones change nothing: opening the cell must not be interrupted. With ``confirm`` the first
    one only shows that text, and a second within ten seconds aborts. Only the main thread can take
    signals; elsewhere this does nothing.
    """

    def __init__(
        self,
        engine: RunEngine,
        signals: tuple[str, ...],
        noted: Callable[[int], str],
        *,
        confirm: str | None = None,
    ) -> None:
        self._engine = engine
        self._confirm = confirm
        self._asked = -math.inf
        self._signals = [getattr(signal, name) for name in signals if hasattr(signal, name)]
        self._noted = noted
        self._before: dict[int, Any] = {}
        self._over = threading.Event()
        self._stopper: threading.Thread | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                # Ignored for us by nohup, or by a shell that put us in the background.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
            # Ctrl-Z would stop us, and who is stopped while a cell is driven is ended by the guard.
            stop = getattr(signal, "SIGTSTP", None)
            if stop is not None and stop not in self._before:
                self._before[stop] = signal.signal(stop, signal.SIG_IGN)

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._stopper is not None:
            self._stopper.join()
        for number, handler in self._before.items():
            # None: set by something that is not Python, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stopper is not None:
            return
        if self._confirm is not None and time.monotonic() - self._asked > CONFIRM_WITHIN_S:
            self._asked = time.monotonic()
            sys.stderr.write(self._confirm)
            sys.stderr.flush()
            return
        reason = self._noted(number)
        self._stopper = threading.Thread(
            target=self._stop, args=(reason,), name="stop-on-signal", daemon=True
        )
        self._stopper.start()

    def _stop(self, reason: str) -> None:
        # The signal may come before the plan's first message.
        while self._engine.state == "idle" and not self._over.wait(0.01):
            pass
        if self._engine.state in ("running", "paused"):
            self._engine.abort(reason)
