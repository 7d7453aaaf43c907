"""What time it is, whether the clock was set, and whether the computer was started anew."""

import json
import os
import time
from pathlib import Path

# Names a file that shifts the clock and renames the boot, for trying what happens then.
VARIABLE = "OPERANDO_CLOCK"
STEP_S = 60.0


class Clock:
    """The clock of the wall, against one that nobody sets.

    ``$OPERANDO_CLOCK`` names a JSON file ``{"shift_s": SECONDS, "boot": TEXT}`` that is read again
    whenever it changes: a step of the clock, or a boot, to be tried without one.
    """

    def __init__(self) -> None:
        named = os.environ.get(VARIABLE)
        self._path = Path(named) if named else None
        self._stamp: tuple[int, int] | None = None
        self._injected: dict[str, object] = {}
        self._offset_s = self.wall() - self.steady()

    def wall(self) -> float:
        """Return the time of the wall clock, s of the epoch."""
        return time.time() + self._shift_s()

    @staticmethod
    def steady() -> float:
        """Return seconds that also pass while the computer sleeps, and that nobody sets."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def step_s(self) -> float | None:
        """Return by how much the wall clock was set since this was asked last, s; None: it was not.

        Less than a minute is none: clocks are kept right all the time.
        """
        offset_s = self.wall() - self.steady()
        step_s, self._offset_s = offset_s - self._offset_s, offset_s
        return step_s if abs(step_s) > STEP_S else None

    def boot(self) -> str:
        """Return what is another text after each start of the computer."""
        told = self._told().get("boot")
        if told:
            return str(told)
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return f"{time.time() - self.steady():.0f}"

    def _shift_s(self) -> float:
        told = self._told().get("shift_s", 0.0)
        return float(told) if isinstance(told, int | float) else 0.0

    def _told(self) -> dict[str, object]:
        if self._path is None:
            return {}
        try:
            seen = self._path.stat()
            stamp = (seen.st_mtime_ns, seen.st_size)
            if stamp != self._stamp:
                self._injected = dict(json.loads(self._path.read_text(encoding="utf-8")))
                self._stamp = stamp
        except FileNotFoundError:
            self._injected, self._stamp = {}, None
        except (OSError, ValueError, TypeError):
            pass  # it is being written
        return self._injected
