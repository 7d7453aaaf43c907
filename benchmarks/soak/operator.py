"""The person who puts the next cell in, and decides what is held or why a station is paused."""

import contextlib
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.soak.world import World
from operando.queueing.control import Control
from operando.queueing.decided import Decided
from operando.queueing.errors import QueueError
from operando.queueing.model import EARLY, ENDED, Record
from operando.queueing.mounting import Mounting
from operando.queueing.queue import Queue
from operando.queueing.sanitise import pending
from operando.queueing.store import Store
from techniques import Cell

_LOOKS_EVERY_S = 1.0
_BY = "operator"
# A held item is tried again so often; then it counts as failed.
_TRIES = 3
_PASSED = re.compile(r"between ([\d.]+) and ([\d.]+) mAh/cm2 have passed")


@dataclass
class Operator:
    """Goes round the stations until it is told to stop."""

    world: World
    store: Store
    done: list[str] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._mounting = Mounting(self.world.data)
        self._control = Control(self.world.data)
        self._queue = Queue(self.world.data)
        self._tried: Counter[str] = Counter()
        self._passed: dict[str, float] = {}
        self._thread = threading.Thread(target=self._go_round, name="operator", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is under way."""
        self._stop.set()
        self._thread.join(180.0)

    def _go_round(self) -> None:
        while not self._stop.wait(_LOOKS_EVERY_S):
            for station in self.world.stations:
                try:
                    self._look_at(station)
                except QueueError as error:
                    # A fault is under way; next time.
                    self.troubles[str(error).split(":")[0][:80]] += 1

    def _look_at(self, station: str) -> None:
        state = self.store.station(station)
        if state is None:
            return
        if state.state == "held":
            self._decide(station, state.item or "")
            return
        if state.state != "idle":
            return
        if state.paused:
            self._go_on(station, state.paused_why)
            return
        mount = self.store.mount(station)
        wanted = self._next_cell(station)
        if wanted is None or (mount is not None and mount.cell_id == wanted.cell_id):
            return
        if mount is not None:
            self._mounting.unmount(station, _BY, "the next one is to come")
        outcome = self._mounting.mount(wanted, station, _BY, accept=True)
        found = (
            f" although {'; '.join(outcome.verdict.findings)}" if outcome.verdict.findings else ""
        )
        self.done.append(f"{time.time():.0f} mounted {wanted.cell_id} in {station}{found}")

    def _next_cell(self, station: str) -> Cell | None:
        """Return the first cell of which an item is still to come; ``None``: there is none."""
        waiting = {
            str((entry.get("kwargs", {}).get("sample") or {}).get("cell_id"))
            for entry in pending(self.store, station)
        }
        open_now = {
            record.cell_id for record in self.store.records(station) if record.state not in ENDED
        }
        for cell in self.world.cells(station):
            if cell.cell_id in waiting | open_now:
                return cell
        return None

    def _decisions(self, station: str, item: str) -> Decided:
        """Return what is decided of what is not certain after a power cut; else nothing.

        A log that just stops tells nobody why; whoever saw the lights go out knows. Between two
        rows of a sparse record more charge may have passed than a resume takes upon itself.
        """
        if station not in self.world.power_went:
            return Decided()
        why, decisions = self._why(item), Decided(trust_log=True)
        if bounds := _PASSED.search(why):
            at_least, at_most = map(float, bounds.groups())
            self._passed[item] = at_least + 0.1 * (at_most - at_least)
        elif "--assume-charge" in why and item in self._passed:
            decisions["assume_charge_mah_cm2"] = self._passed[item]
        return decisions

    def _why(self, item: str) -> str:
        record = self.store.record(item) if item else None
        return "" if record is None else record.reason

    def _go_on(self, station: str, why: str) -> None:
        """Look why a station is paused, end a cell whose item ended early, and let it go on."""
        mount = self.store.mount(station)
        ended = self.store.records(station, last=1)
        if (
            EARLY in why
            and mount is not None
            and mount.state == "mounted"
            and any(one.cell_id == mount.cell_id for one in ended)
        ):
            self._queue.stop(mount.cell_id, why="its item ended before its time", by=_BY)
            self.done.append(f"{time.time():.0f} stopped {mount.cell_id} in {station}: {why}")
        self._queue.resume(station)
        self.done.append(f"{time.time():.0f} resumed {station}, which was paused: {why}")

    def _decide(self, station: str, item: str) -> None:
        self._tried[item] += 1
        what = "resume" if self._tried[item] <= _TRIES else "fail"
        with contextlib.suppress(QueueError):
            decisions = self._decisions(station, item) if what == "resume" else Decided()
            self._control.decide(station, what, by=_BY, decisions=decisions)  # type: ignore[arg-type]
            self.done.append(f"{time.time():.0f} decided {what} in {station}, item {item[:8]}")


def records_of(store: Store, world: World) -> list[Record]:
    """Return the records of all items that were ever begun."""
    return [record for station in world.stations for record in store.records(station)]
