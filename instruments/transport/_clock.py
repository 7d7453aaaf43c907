"""The host clock that arrivals are stamped with."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock_ns() -> int:
    """Return CLOCK_BOOTTIME in ns where it exists (it counts on in suspend), else monotonic."""
    return time.clock_gettime_ns(_CLOCK)
