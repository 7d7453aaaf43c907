"""Hold the interlock of a bench closed, as long as all is well."""

import threading
from collections.abc import Callable

from instruments.bench_file import BenchFile
from instruments.errors import InstrumentError
from instruments.interlock.entry import InterlockEntry
from instruments.making_safe import Resort

# So often within the watchdog's time: one beat may be late, and one more lost.
_BEATS_PER_WATCHDOG = 4


class Keeper:
    """Beats to the module's watchdog until it is told to open, or the module says that it has.

    Args:
        name: of the interlock in the bench file.
        entry: its entry.
        tripped: called once, from a thread, with the reason when its relays opened by themselves,
            or may have.
    """

    def __init__(self, name: str, entry: InterlockEntry, tripped: Callable[[str], None]) -> None:
        self.name = name
        self._driver = entry.driver()
        self._every_s = entry.watchdog_s / _BEATS_PER_WATCHDOG
        self._means = entry.unreached_means
        self._tripped = tripped
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, file: BenchFile, tripped: Callable[[str], None]) -> "Keeper | None":
        """Return the keeper of a bench's interlock, nothing connected; ``None`` if it has none."""
        for name, entry in file.instruments.items():
            if isinstance(entry, InterlockEntry):
                return cls(name, entry, tripped)
        return None

    def hold(self) -> None:
        """Close the relays and begin to beat; raises InstrumentError."""
        self._driver.connect()
        try:
            self._driver.hold()
        except InstrumentError:
            self._driver.close()
            raise
        self._thread = threading.Thread(target=self._beat, name="interlock", daemon=True)
        self._thread.start()

    def open(self) -> str:
        """Open the relays and tell so; raises what the driver raises, and may be called again."""
        self._stop()
        self._driver.connect()  # which opens all relays, if the line was lost meanwhile
        self._driver.open()
        return "relays open"

    def close(self) -> None:
        """Open the relays and let the port go; raises nothing."""
        self._stop()
        try:
            self._driver.close()
        except InstrumentError:
            return  # its watchdog opens them

    def resort(self) -> Resort:
        """Return what opens it, as of any instrument."""
        return Resort(self.name, "interlock", self.open, self.close, self._means)

    def _stop(self) -> None:
        self._over.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._driver.beat()
            except InstrumentError as error:
                if not self._over.is_set():
                    self._over.set()
                    self._tripped(f"the interlock {self.name} does not hold any more: {error}")
                return
