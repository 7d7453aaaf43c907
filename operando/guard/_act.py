"""Make the instruments safe, each as soon as it can be reached, and know how far that is."""

import re
import threading
import time
from collections.abc import Callable, Collection, Sequence

from instruments.lending import LeaseTimeoutError
from instruments.making_safe import Resort

from ._loans import Loans

_NUMBERS = re.compile(r"\d+")
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0


class Acting:
    """Tries until everything is safe, or somebody wants the instruments back.

    What hangs on one board is done one after the other, everything else side by side: a silent
    spectrometer keeps no cell waiting.

    Args:
        groups: what makes the instruments safe.
        only: these instruments; ``None``: all of them.
        told: called with (name, what became of it, whether it is safe) when that is new; from
            several threads.
        given_up: set by `stop`; potentiostats that are left to their program's end know it too.
        loans: how instruments are had that other benches use as well; ``None``: there are none.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[Resort]],
        only: Collection[str] | None,
        told: Callable[[str, str, bool], None],
        given_up: threading.Event,
        loans: Loans | None = None,
    ) -> None:
        self._told = told
        self._given_up = given_up
        self._loans = loans
        self._lock = threading.Lock()
        self._became: dict[str, str] = {}
        self._unsafe: set[str] = set()
        self._means: dict[str, str] = {}
        wanted = [
            [resort for resort in group if only is None or resort.name in only or _is_board(resort)]
            for group in groups
        ]
        self._threads: list[threading.Thread] = []
        idle: list[Sequence[Resort]] = []
        for group in wanted:
            if not any(only is None or resort.name in only for resort in group):
                continue
            for resort in group:
                self._unsafe.add(resort.name)
                self._means[resort.name] = resort.means
            shared = self._shared(group)
            if only is None and shared and loans is not None and not loans.in_use(shared):
                # Nothing of it was on, or another bench has switched it on since.
                idle.append(group)
                continue
            self._threads.append(
                threading.Thread(
                    target=self._try, args=(group,), name=f"safe {group[0].name}", daemon=True
                )
            )
        self.began = time.monotonic()
        for resort in (one for group in idle for one in group):
            self._note(resort.name, "shared, and not in use here", safe=True)
        for thread in self._threads:
            thread.start()

    @property
    def became(self) -> dict[str, str]:
        """Return what became of each instrument so far, in words, by name."""
        with self._lock:
            return dict(self._became)

    @property
    def unsafe(self) -> list[str]:
        """Return which instruments did not confirm yet that they are safe."""
        with self._lock:
            return sorted(self._unsafe)

    def means(self, name: str) -> str:
        """Return what an instrument may be doing that is not reached."""
        return self._means.get(name, "")

    def wait(self, timeout_s: float) -> bool:
        """Wait until all is done; return whether it is."""
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self, timeout_s: float) -> None:
        """Let every port go, whatever was reached."""
        self._given_up.set()
        self.wait(timeout_s)

    def _try(self, group: Sequence[Resort]) -> None:
        pending = list(group)
        wait_s = _FIRST_WAIT_S
        while pending and not self._given_up.is_set():
            left = self._round(group, pending)
            if left and len(left) == len(pending) and _is_board(left[0]):
                # The line itself may be dead: all that hangs on it is opened anew.
                for resort in reversed(group):
                    resort.release()
            pending = left
            if self._given_up.wait(wait_s if pending else 0.0):
                break
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        for resort in reversed(group):
            resort.release()

    def _round(self, group: Sequence[Resort], pending: Sequence[Resort]) -> list[Resort]:
        """Try each once; return what is left to do."""
        shared = self._shared(group)
        if not shared or self._loans is None:
            return [resort for resort in pending if not self._attempt(resort)]
        try:
            with self._loans.had(shared, self._given_up):
                try:
                    return [resort for resort in pending if not self._attempt(resort)]
                finally:
                    # Also what could not be reached: others may reach it, and settle it by that.
                    for resort in reversed(group):
                        resort.release()
        except LeaseTimeoutError as error:
            for resort in pending:
                self._means[resort.name] = "another bench has it, and gives it back"
                self._note(resort.name, str(error), safe=False)
            return list(pending)

    def _shared(self, group: Sequence[Resort]) -> str:
        """Return what the instruments of a group are called that are lent for each use."""
        lent = frozenset() if self._loans is None else self._loans.names
        return next((one.shared for one in group if one.name in lent and one.shared), "")

    def _attempt(self, resort: Resort) -> bool:
        if resort.meanwhile:
            self._note(resort.name, resort.meanwhile, safe=False)
        try:
            became = resort.make_safe()
        except Exception as error:
            # Any: whatever a driver raises, it is tried again, and the others as well.
            resort.release()
            self._note(resort.name, str(error) or repr(error), safe=False)
            return False
        after_s = time.monotonic() - self.began
        if became == resort.meanwhile:  # and somebody wants the line now
            return True
        self._note(resort.name, f"{became} after {after_s:.2f} s", safe=True)
        return True

    def _note(self, name: str, became: str, *, safe: bool) -> None:
        with self._lock:
            # The numbers in a failure change with each try.
            new = _NUMBERS.sub("", self._became.get(name, "")) != _NUMBERS.sub("", became)
            self._became[name] = became
            if safe:
                self._unsafe.discard(name)
        if new:
            self._told(name, became, safe)


def _is_board(resort: Resort) -> bool:
    return resort.kind == "relay_board"
