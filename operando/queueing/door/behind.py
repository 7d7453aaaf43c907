"""What is behind a door: the queue, the cell and the records of a station, as the door asks."""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operando import configuration
from operando.queueing import _redis
from operando.queueing.errors import QueueError
from operando.queueing.model import DONE
from operando.queueing.sanitise import pending
from operando.queueing.store import Store

from .refusals import RefusedError

if TYPE_CHECKING:
    from techniques._base import Data

_LAST_RECORDS = 20


class Behind:
    """One station, as its door sees it.

    Args:
        data_dir: The data folder.
        station: A station of ``config/stations.yaml``.

    Raises:
        QueueError: there is none of that name, or no Redis was ever started.
    """

    def __init__(self, data_dir: Path, station: str) -> None:
        self.data_dir = data_dir
        self.station = station
        self._stations = configuration.load_stations()
        entry = self._stations.station(station)
        if entry is None:
            known = ", ".join(one.name for one in self._stations.stations)
            raise QueueError(f"no station is called {station}: the file of stations has {known}")
        self.bench = configuration.load_bench(entry.bench)

    @cached_property
    def store(self) -> Store:
        return Store(_redis.client(_redis.address(self.data_dir, self._stations)))

    def pending_item(self, uid: str) -> dict[str, Any]:
        """Return an item that waits, as the queue server keeps it; ``user`` added it.

        Raises:
            RefusedError: none of that id waits here.
            QueueError: Redis is gone.
        """
        for item in pending(self.store, self.station):
            if item["item_uid"] == uid:
                return item
        record = self.store.record(uid)
        what = f"it is {record.state}" if record else "nor is anything known of it"
        raise RefusedError(404, f"no item {uid[:8]} waits in the queue of {self.station}; {what}")

    def check_cell(self, cell_id: str) -> None:
        """Refuse an item for a cell that is mounted elsewhere, or finished.

        Raises:
            QueueError: it is; or Redis is gone.
        """
        where = self.store.mounted_at(cell_id)
        if where is None:
            return
        if where != self.station:
            raise QueueError(
                f"cell {cell_id} is mounted in station {where}: this is the door of {self.station}"
            )
        mount = self.store.mount(where)
        if mount is not None and mount.cell_id == cell_id and mount.state == "finished":
            raise QueueError(
                f"cell {cell_id} is finished ({mount.why_finished}): nothing more is run on it"
            )

    def check_after(self, uid: str) -> None:
        """Refuse to wait for an item that is not known, or will never be done.

        Raises:
            QueueError: it would wait for ever; or Redis is gone.
        """
        record = self.store.record(uid)
        if record is not None:
            if record.over and record.state not in DONE:
                raise QueueError(
                    f"item {uid[:8]} is {record.state}: what comes after it would wait for ever"
                )
        elif not any(
            item["item_uid"] == uid
            for name in {self.station, *(one.name for one in self._stations.stations)}
            for item in pending(self.store, name)
        ):
            raise QueueError(f"after: no item has the id {uid[:64]!r} (the whole id is needed)")

    def expect_here(self, cell_id: str) -> None:
        """Refuse what is asked of a cell that is not in this station.

        Raises:
            RefusedError: it is elsewhere, or nowhere.
            QueueError: Redis is gone.
        """
        where = self.store.mounted_at(cell_id)
        if where != self.station:
            there = f"in {where}: ask its door" if where else "mounted nowhere"
            raise RefusedError(404, f"this is the door of {self.station}; {cell_id} is {there}")

    def state(self) -> dict[str, Any]:
        """Return how all stations are that share the Redis, as JSON.

        For each: its state, the cell that is mounted, what waits, the last records, and the ledger:
        how many items ended how.

        Raises:
            QueueError: Redis is gone.
        """
        mounts = {mount.station: mount for mount in self.store.mounts()}
        states = {state.name: state for state in self.store.stations()}
        told = []
        for name in sorted({*states, *mounts, self.station}):
            records = self.store.records(name)
            mount, state = mounts.get(name), states.get(name)
            told.append(
                {
                    "station": name,
                    "state": None if state is None else _plain(state),
                    "mount": None if mount is None else _plain(mount, "sample", "expected"),
                    "waiting": [_waiting(item) for item in pending(self.store, name)],
                    "ledger": dict(Counter(record.state for record in records)),
                    "records": [_plain(one, "kwargs") for one in records[-_LAST_RECORDS:]],
                }
            )
        return {"door_of": self.station, "stations": told}


_SHOWN = ("at", "after", "priority", "hold", "on_death", "label", "campaign")


def _waiting(item: dict[str, Any]) -> dict[str, Any]:
    kwargs = item.get("kwargs") or {}
    return {
        "item": item["item_uid"],
        "by": item.get("user"),
        "protocol": (kwargs.get("protocol") or {}).get("name"),
        "cell_id": (kwargs.get("sample") or {}).get("cell_id"),
        **{key: kwargs[key] for key in _SHOWN if key in kwargs},
    }


def _plain(one: "Data", *without: str) -> dict[str, Any]:
    return one.model_dump(mode="json", exclude=set(without))
