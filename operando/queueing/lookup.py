"""Finding stations, cells and items by what people call them, for the queues of people."""

import difflib
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from operando.configuration import (
    ConfigurationError,
    load_bench_limits,
    load_cell,
    load_protocol,
    load_stations,
)
from operando.queueing import _redis
from operando.queueing._labels import file_of
from operando.queueing.errors import QueueError
from operando.queueing.items import as_data
from operando.queueing.listing import short
from operando.queueing.mains import mark_of
from operando.queueing.managers import Manager
from operando.queueing.model import DONE, Record
from operando.queueing.sanitise import pending
from operando.queueing.store import Store
from operando.settings import data_dir as the_data_dir
from techniques import Cell, Protocol

if TYPE_CHECKING:
    from techniques import StationsFile


class Lookup:
    """What is known of the stations of a data folder; a context, for it holds on to Redis."""

    def __init__(
        self, data_dir: Path | str | None = None, stations: str | Path | None = None
    ) -> None:
        self.data_dir = the_data_dir() if data_dir is None else Path(data_dir).resolve()
        self._stations_name = stations
        self._file: StationsFile | None = None
        self._known_store: tuple[_redis.RedisAddress, Store] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of Redis; whatever is asked next takes hold of it again."""
        if self._known_store is not None:
            self._known_store[1].client.close()
            self._known_store = None

    def station_of(self, cell_or_station: str) -> str:
        """Return the station in which a cell is mounted, or the one of that name."""
        return self._store().mounted_at(cell_or_station) or self._known(cell_or_station)

    def _store(self) -> Store:
        where = _redis.address(self.data_dir, self._stations())
        if self._known_store is None or self._known_store[0] != where:
            self.close()
            self._known_store = where, Store(_redis.client(where))
        return self._known_store[1]

    def _stations(self) -> "StationsFile":
        if self._file is None:
            name = self._stations_name
            self._file = load_stations() if name is None else load_stations(name)
        return self._file

    def _names(self, station: str | None) -> list[str]:
        if station is not None:
            return [self._known(station)]
        told = [one.name for one in self._stations().stations]
        return told + [one.name for one in self._store().stations() if one.name not in told]

    def _known(self, station: str) -> str:
        known = [one.name for one in self._stations().stations]
        if station in known:
            return station
        known = self._names(None)
        if station in known:
            return station
        alike = [name for name in known if name.lower() == station.lower()]
        close = alike or difflib.get_close_matches(station, known, n=1, cutoff=0.5)
        raise QueueError(
            f"there is no station {station!r}; there are {', '.join(known)}"
            + (f"; did you mean {close[0]}?" if close else "")
        )

    def _elsewhere(self, station: str) -> str | None:
        """Return the other computer on which a station is; ``None``: it is on this one."""
        state = self._store().station(station)
        here = socket.gethostname()
        return state.host if state is not None and state.host not in ("", here) else None

    def _manager(self, station: str) -> Manager:
        host = self._elsewhere(station)
        if host is not None:
            raise QueueError(
                f"station {station} is on the computer {host}: change its queue there, or through "
                "its door (operando door)"
            )
        manager, state = Manager(self.data_dir, station), self._store().station(station)
        opens = state is not None and state.wanted == "open" and not state.is_open
        if opens and not manager.alive():
            raise QueueError(
                f"the queue of station {station} does not run yet: if the station is being opened "
                f"(operando station status {station}), try again in some seconds"
            )
        return manager

    def _limits(self, station: str) -> Any:
        entry = self._stations().station(station)
        return None if entry is None else load_bench_limits(entry.bench)

    def _without_mains(self, station: str) -> dict[str, str]:
        """Return that a station has lost its mains, and what becomes of what runs, in words."""
        entry = self._stations().station(station)
        try:
            lost = mark_of(self.data_dir, station)
        except OSError:
            return {}  # that is for its supervisor to tell
        if lost is None or entry is None:
            return {}
        return {"lost": lost.since, "becomes": lost.becomes(entry)}

    def _factor(self, station: str) -> float:
        entry = self._stations().station(station)
        return 1.0 if entry is None or entry.simulate is None else entry.simulate.factor

    def _protocol(self, told: str | Path | Protocol | Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(told, str | Path):
            told = load_protocol(told)
        return as_data(told) if isinstance(told, Protocol) else dict(told)

    def _sample(
        self, told: str | Path | Cell | Mapping[str, Any], replicate: int | None
    ) -> dict[str, Any]:
        if isinstance(told, str | Path):
            station = self._store().mounted_at(str(told)) if replicate is None else None
            mount = None if station is None else self._store().mount(station)
            if mount is not None and mount.cell_id == str(told):
                return dict(mount.sample)
            name = str(told)
            try:
                told = load_cell(told)
            except ConfigurationError as error:
                said = "" if Path(name).is_file() else self._no_sample(name, replicate)
                if said:
                    raise QueueError(said) from error
                raise
        data = as_data(told) if isinstance(told, Cell) else dict(told)
        if replicate is not None:
            data["cell_id"] = f"{data.get('cell_id')}-{replicate}"
        return data

    def _where(self, sample: dict[str, Any], station: str | None) -> tuple[str, dict[str, Any]]:
        cell_id = str(sample.get("cell_id", ""))
        mounted = self._store().mounted_at(cell_id)
        asked = None if station is None else self._known(station)
        if mounted is not None:
            if asked is not None and asked != mounted:
                raise QueueError(
                    f"cell {cell_id} is mounted in station {mounted}, not in {asked}: leave "
                    f"--station out, or operando unmount --station {mounted} first"
                )
            mount = self._store().mount(mounted)
            if mount is not None and mount.state == "finished":
                raise QueueError(
                    f"cell {cell_id} in station {mounted} is finished ({mount.why_finished}): "
                    "nothing more is run on it"
                )
            return mounted, sample
        if asked is None:
            names = self._names(None)
            if len(names) != 1:
                raise QueueError(
                    f"in which station is cell {cell_id} to run? It is mounted in none; there are "
                    f"{', '.join(names)} (--station)"
                )
            asked = names[0]
        return asked, sample

    def _no_sample(self, told: str, replicate: int | None) -> str:
        """Return what is said where a cell was meant by a label, and how it is meant.

        Empty: it is like none, and all has been told of the files that there are.
        """
        label = told if replicate is None else f"{told}-{replicate}"
        mounted = [mount.cell_id for mount in self._store().mounts()]
        if label in mounted:
            return f"cell {label} is mounted: name it by its label alone, --sample {label}"
        close = difflib.get_close_matches(label, mounted, n=3, cutoff=0.6)
        file, number = file_of(label)
        if not file and not close:
            return ""
        option = f" --replicate {number}" if number else ""
        meant = f"did you mean {', '.join(close)}? Or " if close else ""
        mount = (
            f"mount it: operando mount {file}{option} --station STATION; or name its file: "
            f"--sample {file}{option}"
            if file
            else "mount it first (operando mount), or name its file"
        )
        not_yet = f"no cell {label!r} is mounted, and a label counts only once its cell is"
        return f"{not_yet}: {meant}{mount}"

    def _not_mounted(self, cell_id: str) -> str:
        mounts = self._store().mounts()
        for mount in mounts:
            if mount.station == cell_id:
                return f"{cell_id} is a station: name its cell, {mount.cell_id}"
        known = [mount.cell_id for mount in mounts]
        close = difflib.get_close_matches(cell_id, known, n=1, cutoff=0.5)
        return f"no cell {cell_id!r} is mounted; mounted are {', '.join(known) or 'none'}" + (
            f"; did you mean {close[0]}?" if close else ""
        )

    def _pending(self, item: str) -> tuple[str, dict[str, Any]]:
        """Return the pending item of that id, or of that beginning of one, and its station."""
        if not item.strip():
            raise QueueError("which item? operando queue list shows their ids")
        found = [
            (name, one)
            for name in self._names(None)
            for one in pending(self._store(), name)
            if one["item_uid"].startswith(item)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            which = ", ".join(one["item_uid"][: len(item) + 4] for _, one in found[:5])
            raise QueueError(f"{len(found)} items begin with {item}: {which}, …; tell more of it")
        records = self._records_like(item)
        if len(records) == 1:
            record = records[0]
            raise QueueError(
                f"item {short(record.item)} of station {record.station} is not in the queue any "
                f"more: it is {record.state}{f' ({record.reason})' if record.reason else ''}"
                + ("" if record.over else f"; operando queue abort {record.station} ends it")
            )
        raise QueueError(f"there is no item {item}: operando queue list shows their ids")

    def _records_like(self, item: str) -> list[Record]:
        store = self._store()
        ids = [
            one
            for name in store.record_stations()
            for one in store.record_ids(name)
            if one.startswith(item)
        ]
        return [found for one in ids if (found := store.record(one)) is not None]

    def _awaited(self, item: str) -> str:
        """Return the id of an item that another one may wait for."""
        records = self._records_like(item) if item.strip() else []
        if len(records) == 1:
            record = records[0]
            if record.over and record.state not in DONE:
                raise QueueError(
                    f"item {short(record.item)} is {record.state}: what comes after it would wait "
                    "for ever"
                )
            return record.item
        return str(self._pending(item)[1]["item_uid"])

    def _running_record(self, station: str) -> Record | None:
        state = self._store().station(station)
        record = None
        if state is not None and state.item is not None:
            record = self._store().record(state.item)
        return record if record is not None and not record.over else None

    def _running(self, station: str) -> Record:
        record = self._running_record(station)
        if record is None:
            raise QueueError(f"nothing runs in station {station}: operando queue list")
        return record
