"""The one clock of a simulated bench: cell seconds, faster than the host's where it may be.

The potentiostat *leads*: it computes the cell to a time and then waits for the clock to get there.
All other instruments follow. The clock never shows a time that the leader has not reached.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

# How long, in host seconds, an instrument that follows may look away (serial round trip,
# scheduling, a rendered frame). With followers the clock factor is capped so that the cell moves
# less than the schedule's tolerance in that time.
FOLLOWER_LATENCY_S = 0.02

# A sleep of the host costs about 0.1 ms and is late by as much again, so the leader may be this far
# ahead.
_LEAD_S = 0.002

# A leader that wakes up late catches up; one that is later than this cannot keep the pace, and the
# clock waits for it.
_CATCH_UP_S = 0.05

# Cell seconds per host second while the clock is held: nothing that lasts comes to its end.
_HELD_RATE = 1e-4

# How often a follower looks whether a leader that is late has come, in host seconds.
_FOLLOWER_POLL_S = 0.005


class Wall(Protocol):
    """Where a clock takes host time from; tests inject one that they move by hand."""

    def now(self) -> float:
        """Return host seconds that never go back."""

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        """Wait on a held condition until it is notified or the time is over."""


class HostWall:
    """The host's monotonic clock."""

    def now(self) -> float:
        """Return the host's monotonic seconds."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        """Wait on a held condition until it is notified or the time is over."""
        condition.wait(timeout_s)


class SimulatedClock:
    """Cell seconds, shared by every instrument of one simulated bench; safe to use from any thread.

    The clock runs at factor 1 unless somebody is in a hurry (`hurry`: a script runs, a chromatogram
    is being recorded), and always at factor 1 while an exchange with a slow instrument is open
    (`exchange`): the lamp is on, the laser is on.

    Without a leader (nobody ever called `wait_until`) it runs freely. From the first `wait_until`
    on it is bound to the leader: `now` never passes the time that the leader waits for, or last
    waited for. A leader that is up to 50 ms of host time late catches up; beyond that the lost time
    is lost: the clock slips.
    """

    def __init__(
        self, factor: float = 1.0, *, tolerance_s: float | None = None, wall: Wall | None = None
    ) -> None:
        """Start at 0 cell seconds.

        Args:
            factor: cell seconds per host second while somebody hurries; 1 is real time.
            tolerance_s: how late a follower's exchange may be, in cell seconds; caps the factor at
                ``tolerance_s / FOLLOWER_LATENCY_S``. None: nobody follows, no cap.
            wall: source of host time.

        Raises:
            ValueError: the factor or the tolerance is not positive.
        """
        if factor <= 0 or (tolerance_s is not None and tolerance_s <= 0):
            raise ValueError(f"factor {factor} and tolerance {tolerance_s} must be positive")
        self.factor = factor
        self.tolerance_s = tolerance_s
        self._wall = wall or HostWall()
        self._condition = threading.Condition()
        self._hurries: Counter[str] = Counter()
        self._exchanges: Counter[str] = Counter()
        self._holds: Counter[str] = Counter()
        self._held_from: dict[str, tuple[float, Callable[[], None]]] = {}
        self._anchor_wall = self._wall.now()
        self._anchor_cell = 0.0
        self._rate = 1.0
        self._bound: float | None = None  # where the leader is; None: nobody leads
        self._closed = False

    # ---- reading

    def now(self) -> float:
        """Return cell seconds since the start; never decreases and is never ahead of the leader."""
        with self._condition:
            return self._now()

    @property
    def rate(self) -> float:
        """Cell seconds per host second at this moment."""
        with self._condition:
            return self._rate

    @property
    def open_exchanges(self) -> tuple[str, ...]:
        """The reasons for which the clock is held at factor 1 at this moment."""
        with self._condition:
            return tuple(sorted(self._exchanges))

    # ---- waiting

    def wait_until(self, cell_time_s: float, unless: Callable[[], bool] | None = None) -> bool:
        """Wait, as the leader, until the clock shows this time.

        The cell has already been computed to it.

        It sleeps only when the leader is more than 2 ms of host time ahead. A leader that comes
        more than 50 ms late makes the clock slip to `cell_time_s`. When the clock is slowed down
        during the wait (an exchange opens), the wait ends at once and the clock shows
        `cell_time_s`: whoever opened the exchange looks at the cell as the leader has computed it.

        Args:
            cell_time_s: cell seconds; a time in the past returns at once.
            unless: asked after every `wake`; the wait ends early when it returns True.

        Returns:
            True when the time has come, False when the wait was ended by `unless` or `close`.
        """
        with self._condition:
            if self._bound is None:  # a leader takes over a free clock where it stands
                self._anchor_cell, self._anchor_wall = self._now(), self._wall.now()
            self._bound = max(cell_time_s, self._now())
            for reason, (begin, reached) in list(self._held_from.items()):
                if begin <= self._bound:
                    del self._held_from[reason]
                    self._count(self._holds, reason, +1)
                    reached()
            rate = self._rate
            while True:
                wall = self._wall.now()
                ahead_s = (cell_time_s - self._running(wall)) / self._rate
                if ahead_s <= _LEAD_S:
                    if ahead_s < -_CATCH_UP_S:
                        self._anchor_cell, self._anchor_wall = self._bound, wall
                    return True
                if self._closed or (unless is not None and unless()):
                    return False
                if self._rate < rate:
                    self._anchor_cell, self._anchor_wall = self._bound, wall
                    return True
                rate = self._rate
                self._wall.wait(self._condition, ahead_s)

    def follow_until(self, cell_time_s: float, unless: Callable[[], bool] | None = None) -> bool:
        """Wait, as a follower, until the clock shows this time; never moves the clock.

        Args:
            cell_time_s: cell seconds.
            unless: asked after every `wake`; the wait ends early when it returns True.

        Returns:
            True when the time has come, False when the wait was ended by `unless` or `close`.
        """
        with self._condition:
            while True:
                left = cell_time_s - self._now()
                if left <= 0.0:
                    return True
                if self._closed or (unless is not None and unless()):
                    return False
                # The leader may be slow to get there, so a follower looks again soon after the
                # earliest possible time.
                self._wall.wait(self._condition, max(left / self._rate, _FOLLOWER_POLL_S))

    def wake(self) -> None:
        """Make every waiting thread ask its `unless` again."""
        with self._condition:
            self._condition.notify_all()

    def close(self) -> None:
        """End every wait, now and from now on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    # ---- the governor

    @contextmanager
    def hurry(self, reason: str) -> Iterator[None]:
        """Let the clock run at its factor while the block runs."""
        self._count(self._hurries, reason, +1)
        try:
            yield
        finally:
            self._count(self._hurries, reason, -1)

    @contextmanager
    def exchange(self, reason: str) -> Iterator[None]:
        """Hold the clock at factor 1 while the block runs."""
        self.open_exchange(reason)
        try:
            yield
        finally:
            self.close_exchange(reason)

    @contextmanager
    def held(self, reason: str) -> Iterator[None]:
        """Let the clock all but stand still while the block runs, whoever hurries."""
        self._count(self._holds, reason, +1)
        try:
            yield
        finally:
            self._count(self._holds, reason, -1)

    @contextmanager
    def held_from(
        self, cell_time_s: float, reason: str, reached: Callable[[], None]
    ) -> Iterator[None]:
        """As `held`, from the moment on at which the leader waits for ``cell_time_s`` or later.

        ``reached`` is called in that moment, in the leader's thread.
        """
        with self._condition:
            self._held_from[reason] = cell_time_s, reached
        try:
            yield
        finally:
            with self._condition:
                if self._held_from.pop(reason, None) is None:
                    self._count(self._holds, reason, -1)

    def open_exchange(self, reason: str) -> None:
        """Hold the clock at factor 1 until `close_exchange` was called as often for this reason."""
        self._count(self._exchanges, reason, +1)

    def close_exchange(self, reason: str) -> None:
        """Undo one `open_exchange`.

        Raises:
            ValueError: no exchange is open for this reason.
        """
        self._count(self._exchanges, reason, -1)

    # ---- inside, the condition is held

    def _running(self, wall: float) -> float:
        return self._anchor_cell + (wall - self._anchor_wall) * self._rate

    def _now(self) -> float:
        running = self._running(self._wall.now())
        return running if self._bound is None else min(running, self._bound)

    def _count(self, counter: Counter[str], reason: str, change: int) -> None:
        with self._condition:
            if counter[reason] + change < 0:
                raise ValueError(f"nothing is open for {reason!r}")
            counter[reason] += change
            if not counter[reason]:
                del counter[reason]
            rate = self._allowed_rate()
            if rate != self._rate:
                wall = self._wall.now()
                self._anchor_cell, self._anchor_wall = self._running(wall), wall
                self._rate = rate
                self._condition.notify_all()

    def _allowed_rate(self) -> float:
        if self._holds:
            return _HELD_RATE
        if self._exchanges or not self._hurries:
            return 1.0
        if self.tolerance_s is None:
            return self.factor
        return min(self.factor, max(1.0, self.tolerance_s / FOLLOWER_LATENCY_S))
