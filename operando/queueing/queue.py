"""What people do with the queues of their stations: the same from a shell and from IPython.

Whatever is added was validated before a queue sees it. Pending items are kept by the stations'
queue servers, what became of them in Redis; see `operando.queueing`.
"""

import contextlib
import difflib
import getpass
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from operando.configuration import load_bench_limits, load_cell, load_protocol, load_stations
from operando.queueing import _redis
from operando.queueing.errors import QueueError
from operando.queueing.items import as_data, told_time, validated
from operando.queueing.listing import Listing, Records, listed, short
from operando.queueing.managers import Manager
from operando.queueing.model import DONE, Command, Record, StationState
from operando.queueing.sanitise import adopt, pending, sanitise
from operando.queueing.store import Store
from operando.settings import data_dir as the_data_dir
from techniques import Cell, Protocol

if TYPE_CHECKING:
    from operando.logbook import LogNote
    from techniques import StationsFile

# The class has a method of that name.
Ids = list[str]
Found = list[Record]
OnDeath = Literal["", "resume", "skip", "hold"]
_MOST_REPEATS = 1000


class Queue:
    """The queues of all stations of a data folder.

    Every method raises QueueError where something cannot be, and ConfigurationError for a file that
    is wrong; the message says what to do, and nothing was changed. Items are named by their ids or
    by the beginning of one.

    Args:
        data_dir: The data folder; by default ``$OPERANDO_DATA``.
        stations: The file of stations, or its name; by default the usual one.
    """

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

    def __repr__(self) -> str:
        try:
            return repr(self.list())
        except Exception as error:
            return f"<the queues of {self.data_dir}: {error}>"

    # -- adding

    def add(
        self,
        protocol: str | Path | Protocol | Mapping[str, Any],
        sample: str | Path | Cell | Mapping[str, Any],
        station: str | None = None,
        at: str | datetime | None = None,
        after: str | None = None,
        priority: int = 0,
        repeat: int = 1,
        hold: bool = False,
        on_death: OnDeath = "",
        label: str = "",
        campaign: str = "",
        by: str | None = None,
        replicate: int | None = None,
    ) -> Ids:
        """Add a protocol on a sample to a station's queue; return the ids of the items.

        Args:
            protocol: A file, a name in the configuration folder, or what one describes. The item
                keeps the data: to change the file later changes nothing that is queued.
            sample: A cell file or name, the cell_id of a mounted cell, or what one describes.
            station: By default the one in which the sample is mounted, else the only one.
            at: Not before that time, ``YYYY-MM-DD HH:MM`` local or ISO 8601.
            after: Not before that item has ended as done.
            priority: More is earlier.
            repeat: So many alike items, one after the other; their labels end with k/n.
            hold: They stay until they are released.
            on_death: If the worker dies; by default what the station says.
            label: For people.
            campaign: To which they belong.
            by: Who adds them; by default the user of this computer.
            replicate: -N is put behind the label of the sample.
        """
        if not 1 <= repeat <= _MOST_REPEATS:
            raise QueueError(f"repeat is {repeat}: 1 to {_MOST_REPEATS} items can be added at once")
        data = self._protocol(protocol)
        where, cell = self._where(self._sample(sample, replicate), station)
        kwargs = {
            "protocol": data,
            "sample": cell,
            "at": "" if at is None else told_time(at),
            "after": "" if after is None else self._awaited(after),
            "priority": priority,
            "hold": hold,
            "on_death": on_death,
            "label": label,
            "campaign": campaign,
        }
        # Redis keeps what differs from the defaults, and is read by people as well.
        kwargs = {
            key: value
            for key, value in kwargs.items()
            if key in ("protocol", "sample") or value not in ("", 0, False)
        }
        validated(kwargs, self._limits(where), adding=True)
        several = [kwargs]
        if repeat > 1:
            name = label or str(data.get("name", ""))
            several = [kwargs | {"label": f"{name} {k}/{repeat}"} for k in range(1, repeat + 1)]
        return self._manager(where).add_all(several, by or _user())

    # -- looking

    def list(self, station: str | None = None) -> Listing:
        """Return what runs and what is to come, of one station or of all, in that order."""
        names = self._names(station)
        return Listing(
            one
            for name in names
            for one in listed(
                self._store(),
                name,
                pending(self._store(), name),
                alive=self._elsewhere(name) is not None or Manager(self.data_dir, name).alive(),
                factor=self._factor(name),
            )
        )

    def history(self, station: str | None = None, last: int | None = None) -> Records:
        """Return what became of items, of one station or of all, in the order of their starts."""
        names = self._store().record_stations()
        if station is not None:
            names = [station if station in names else self._known(station)]
        # Of each station a few more: items that were removed have never begun.
        some = None if last is None else last + 100
        found = [one for name in names for one in self._store().records(name, some)]
        found.sort(key=lambda record: record.began or record.ended or record.added or 0.0)
        return Records(found if last is None else found[-last:] if last else [])

    # -- changing what is pending

    def move(self, item: str, to: str, beside: str | None = None) -> None:
        """Move a pending item: to ``front``, ``back``, ``before X`` or ``after X``.

        Of items with different priorities the higher is started first, wherever it stands.
        """
        station, found = self._pending(item)
        word, _, named = to.strip().partition(" ")
        other = beside or named.strip()
        if word in ("front", "back") and not other:
            self._change(station, found, lambda m: m.move(found["item_uid"], word))  # type: ignore[arg-type]
            return
        if word not in ("before", "after") or not other:
            raise QueueError(f"to move an item {to!r}: allowed are front, back, before X, after X")
        there, next_to = self._pending(other)
        if there != station:
            raise QueueError(
                f"item {short(item)} is in the queue of station {station}, {short(other)} in that "
                f"of {there}: items stay in their station; remove it and add it there"
            )
        if next_to["item_uid"] == found["item_uid"]:
            raise QueueError(f"item {short(item)} cannot be moved {word} itself")
        place = {word: next_to["item_uid"]}
        self._change(station, found, lambda m: m.move(found["item_uid"], **place))

    def hold(self, item: str) -> None:
        """Keep a pending item from being started until it is released."""
        self._set_hold(item, True)

    def release(self, item: str) -> None:
        """Let an item that is held be started when its turn comes."""
        self._set_hold(item, False)

    def remove(self, item: str, by: str | None = None) -> None:
        """Take a pending item out of its queue; what it was stays in the history."""
        station, found = self._pending(item)
        taken = self._change(station, found, lambda m: m.remove(found["item_uid"]))
        kwargs, by = taken.get("kwargs", {}), by or _user()
        self._store().put_record(
            Record(
                item=taken["item_uid"],
                station=station,
                cell_id=str(kwargs.get("sample", {}).get("cell_id", "")),
                label=str(kwargs.get("label", "")),
                campaign=str(kwargs.get("campaign", "")),
                state="removed",
                reason=f"removed by {by}",
                kwargs=kwargs,
                ended=time.time(),
                by=str(taken.get("user", "")),
            )
        )

    # -- stations

    def pause(self, station: str, why: str = "", by: str | None = None) -> StationState:
        """Start no further item in a station; what runs goes on."""
        told = f"paused by {by or _user()}" + (f": {why}" if why else "")
        return self._store().change_station(self._known(station), paused=True, why=told)

    def resume(self, station: str) -> StationState:
        """Let a paused station start items again.

        Raises:
            QueueError: it is held after a failure, and somebody has to decide.
        """
        name = self._known(station)
        state = self._store().station(name)
        if state is not None and state.state == "held":
            raise QueueError(
                f"station {name} is held ({state.why}): look at the cell, then operando station "
                f"decide {name} resume|skip|fail"
            )
        return self._store().change_station(name, paused=False, why="")

    # -- what is asked of a running item

    def abort(self, station: str, why: str = "", by: str | None = None) -> Command:
        """End the item that runs in a station; the cell is opened."""
        name = self._known(station)
        return self._ask(name, self._running(name), "abort", why, by)

    def stop(self, cell_id: str, why: str = "", by: str | None = None) -> Command | None:
        """End the experiment on a cell, this one only: what runs on it, and all that is to come.

        Return what was asked of its station; ``None``: nothing runs on the cell, and nothing will.
        """
        store = self._store()
        station = store.mounted_at(cell_id)
        mount = None if station is None else store.mount(station)
        if station is None or mount is None or mount.cell_id != cell_id:
            raise QueueError(self._not_mounted(cell_id))
        running = self._running_record(station)
        if running is not None and running.cell_id == cell_id:
            return self._ask(station, running, "stop", why, by)
        if mount.state == "finished":
            raise QueueError(f"cell {cell_id} is finished already: {mount.why_finished}")
        told = f"stopped by {by or _user()}" + (f": {why}" if why else "")
        store.put_mount(mount.model_copy(update={"state": "finished", "why_finished": told}))
        return None

    def skip_step(self, station: str, by: str | None = None) -> Command:
        """End the step that runs in a station, and go on with the next one."""
        name = self._known(station)
        return self._ask(name, self._running(name), "skip_step", "", by)

    def amend(
        self,
        station_or_cell: str,
        protocol: str | Path | Protocol | Mapping[str, Any],
        why: str = "",
        by: str | None = None,
    ) -> Command:
        """Go on with a changed protocol from the next half-cycle on; it is validated before."""
        name = self.station_of(station_or_cell)
        record = self._running(name)
        data = self._protocol(protocol)
        validated({"protocol": data, "sample": record.kwargs.get("sample", {})}, self._limits(name))
        return self._ask(name, record, "amend", why, by, protocol=data)

    def answer(self, station: str, command: Command, timeout_s: float = 10.0) -> str:
        """Wait for what the worker says to something that was asked; return that.

        Raises:
            QueueError: it was refused, or nothing was said in time.
        """
        import json

        key = f"operando:answered:{station}:{command.at!r}"
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            text = self._store().text(key)
            if text is not None:
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    said = json.loads(text)
                    if not said["taken"]:
                        raise QueueError(f"station {station} refused: {said['told']}")
                    return str(said["told"])
            time.sleep(0.05)
        raise QueueError(
            f"station {station} did not answer within {timeout_s:g} s; what was asked is kept, and "
            "done if its worker takes it: operando station status"
        )

    def note(self, item: str, text: str, by: str | None = None) -> "LogNote":
        """Write a note of the cell of an item, pending or begun, into the log book."""
        from operando.queueing.noting import note

        records = self._records_like(item) if item.strip() else []
        if len(records) == 1:
            station, cell_id = records[0].station, records[0].cell_id
        else:
            station, one = self._pending(item)
            cell_id = str(one["kwargs"]["sample"]["cell_id"])
        return note(self.data_dir, text, by or _user(), station, cell_id)

    # -- finding

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

    def _names(self, station: str | None) -> Ids:
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
        return Manager(self.data_dir, station)

    def _limits(self, station: str) -> Any:
        entry = self._stations().station(station)
        return None if entry is None else load_bench_limits(entry.bench)

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
            told = load_cell(told)
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

    def _not_mounted(self, cell_id: str) -> str:
        known = [mount.cell_id for mount in self._store().mounts()]
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
            )
        raise QueueError(f"there is no item {item}: operando queue list shows their ids")

    def _records_like(self, item: str) -> Found:
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

    # -- changing

    def _change(
        self, station: str, item: Mapping[str, Any], change: Callable[[Manager], Any]
    ) -> Any:
        """Change a pending item; where that fails tell whether somebody was faster."""
        manager = self._manager(station)
        try:
            return change(manager)
        except QueueError as error:
            store = self._store()
            moved = sanitise(store, station)
            there = [one for one in pending(store, station) if one["item_uid"] == item["item_uid"]]
            if there and moved:
                return change(manager)
            new = adopt(store, manager).get(item["item_uid"]) if there else None
            if new is not None:
                raise QueueError(
                    f"item {short(item['item_uid'])} had been lost by the queue server, and is now "
                    f"item {short(new)}: try again"
                ) from error
            if there or not manager.alive():
                raise
            record = store.record(item["item_uid"])
            what = "removed by somebody else" if record is None else record.state
            raise QueueError(
                f"item {short(item['item_uid'])} is not in the queue of station {station} any "
                f"more: meanwhile it is {what}"
            ) from error

    def _set_hold(self, item: str, hold: bool) -> None:
        station, found = self._pending(item)
        if bool(found.get("kwargs", {}).get("hold", False)) == hold:
            return
        changed = found | {"kwargs": found["kwargs"] | {"hold": hold}}
        self._change(station, found, lambda m: m.update(changed))

    def _ask(
        self,
        station: str,
        record: Record,
        do: Literal["stop", "skip_step", "amend", "abort"],
        why: str,
        by: str | None,
        protocol: Mapping[str, Any] | None = None,
    ) -> Command:
        command = Command(
            do=do, by=by or _user(), at=time.time(), text=why, item=record.item, protocol=protocol
        )
        self._store().push_command(station, command)
        return command


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
