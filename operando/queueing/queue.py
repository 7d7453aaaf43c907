"""What people do with the queues of their stations: the same from a shell and from IPython.

Whatever is added was validated before a queue sees it. Pending items are kept by the stations'
queue servers, what became of them in Redis; see `operando.queueing`.
"""

import getpass
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from operando.queueing._amended import protocol_names
from operando.queueing.errors import GoneError, QueueError
from operando.queueing.items import told_time, validated
from operando.queueing.listing import Listing, Records, listed, short, to_come
from operando.queueing.lookup import Lookup
from operando.queueing.managers import Manager
from operando.queueing.model import AMENDED, Command, Record, StationState, why_stopped
from operando.queueing.sanitise import adopt, pending, sanitise
from techniques import Cell, Protocol

if TYPE_CHECKING:
    from operando.logbook import LogNote

# The class has a method of that name.
Ids = list[str]
OnDeath = Literal["", "resume", "skip", "hold"]
_MOST_REPEATS = 1000


class Queue(Lookup):
    """The queues of all stations of a data folder.

    Every method raises QueueError where something cannot be, and ConfigurationError for a file that
    is wrong; the message says what to do, and nothing was changed. Items are named by their ids or
    by the beginning of one.

    Args:
        data_dir: The data folder; by default ``$OPERANDO_DATA``.
        stations: The file of stations, or its name; by default the usual one.
    """

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
                **self._without_mains(name),
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
        shown = found if last is None else found[-last:] if last else []
        return Records(shown, protocol_names(self._store(), shown))

    # -- changing what is pending

    def move(self, item: str, to: str, beside: str | None = None) -> str:
        """Move a pending item: to ``front``, ``back``, ``before X`` or ``after X``.

        Return which it was, in words.
        Of items with different priorities the higher is started first, wherever it stands.
        """
        station, found = self._pending(item)
        word, _, named = to.strip().partition(" ")
        other = beside or named.strip()
        if word in ("front", "back") and not other:
            self._change(station, found, lambda m: m.move(found["item_uid"], word))  # type: ignore[arg-type]
            return _of_station(found, station)
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
        return _of_station(found, station)

    def hold(self, item: str) -> str:
        """Keep a pending item from being started until it is released; return which, in words."""
        return self._set_hold(item, True)

    def release(self, item: str) -> str:
        """Let an item that is held be started when its turn comes; return which, in words."""
        return self._set_hold(item, False)

    def remove(self, item: str, by: str | None = None) -> str:
        """Take a pending item out of its queue, and return which, in words.

        What it was stays in the history.
        """
        station, found = self._pending(item)
        manager, store = self._manager(station), self._store()
        kwargs, by = found.get("kwargs", {}), by or _user()
        sample = kwargs.get("sample")
        record = Record(
            item=found["item_uid"],
            station=station,
            cell_id=str(sample.get("cell_id", "")) if isinstance(sample, Mapping) else "",
            label=str(kwargs.get("label", "")),
            campaign=str(kwargs.get("campaign", "")),
            state="removed",
            reason=f"removed by {by}",
            kwargs=kwargs,
            ended=time.time(),
            by=str(found.get("user", "")),
        )
        manager.status()  # who does not answer takes nothing out
        # Whoever has the record first has the item: it is removed, or it is begun.
        if not store.add_record(record):
            self._pending(item)  # says what became of it, if it has left the queue
            other = store.record(record.item)
            told = "begun" if other is None else other.state
            raise QueueError(
                f"item {short(record.item)} of station {station} is {told}, and leaves the queue"
            )
        try:
            self._change(station, found, lambda m: m.remove(record.item))
        except GoneError:
            pass  # its supervisor takes out what has such a record
        except QueueError:
            store.forget_record(record)
            raise
        return _of_station(found, station)

    # -- stations

    def pause(self, station: str, why: str = "", by: str | None = None) -> StationState:
        """Start no further item in a station; what runs goes on."""
        told = f"paused by {by or _user()}" + (f": {why}" if why else "")
        return self._store().pause_station(self._known(station), told)

    def resume(self, station: str) -> StationState:
        """Let a paused station start items again, and what waited for the mains only go on.

        Raises:
            QueueError: it is held after a failure, and somebody has to decide.
        """
        name = self._known(station)
        state = self._store().station(name)
        if state is not None and state.paused and state.state == "held" and state.item:
            record = self._store().record(state.item)
            if record is not None and record.waits_for_mains:
                return self._store().resume_station(name)
        self._refuse_held(name)
        return self._store().resume_station(name)

    # -- what is asked of a running item

    def abort(self, station_or_cell: str, why: str = "", by: str | None = None) -> Command:
        """End the item that runs in a station; the cell is opened."""
        name = self.station_of(station_or_cell)
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
        from operando.queueing.mounting import finish  # slow to import

        told = why_stopped(by or _user(), why)
        finish(store, station, told, self.data_dir, by or _user())
        # Meanwhile an item may have begun.
        running = self._running_record(station)
        if running is not None and running.cell_id == cell_id:
            return self._ask(station, running, "stop", why, by)
        return None

    def skip_step(self, station_or_cell: str, by: str | None = None) -> Command:
        """End the step that runs in a station, and go on with the next one."""
        name = self.station_of(station_or_cell)
        self._refuse_held(name)
        return self._ask(name, self._running(name), "skip_step", "", by)

    def amend(
        self,
        station_or_cell: str,
        protocol: str | Path | Protocol | Mapping[str, Any],
        why: str = "",
        by: str | None = None,
    ) -> Command:
        """Go on with a changed protocol from the next half-cycle on; it is validated before.

        Raises:
            QueueError: also if the item runs by just this protocol already.
        """
        name = self.station_of(station_or_cell)
        self._refuse_held(name)
        record = self._running(name)
        data = self._protocol(protocol)
        validated({"protocol": data, "sample": record.kwargs.get("sample", {})}, self._limits(name))
        amended = self._store().text(f"{AMENDED}{record.item}")
        if data == (record.kwargs.get("protocol") if amended is None else json.loads(amended)):
            raise QueueError(
                f"item {short(record.item)} of station {name} runs by this protocol already, word "
                "for word: is it the right file, and was it saved?"
            )
        return self._ask(name, record, "amend", why, by, protocol=data)

    def answer(self, station: str, command: Command, timeout_s: float = 10.0) -> str:
        """Wait for what the worker says to something that was asked; return that.

        Raises:
            QueueError: it was refused, or nothing was said in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answer = self._store().answered(station, command)
            if answer is not None:
                taken, said = answer
                if not taken:
                    raise QueueError(f"station {station} refused: {said}")
                return said
            time.sleep(0.05)
        kept = command.do in ("stop", "abort") and self._store().wish(station, command.item or "")
        lost = self._without_mains(station).get("lost", "")
        raise QueueError(
            f"station {station} did not answer within {timeout_s:g} s"
            + (f" ({lost}); " if lost else "; ")
            + (
                f"that item {short(command.item or '')} is to end is kept, and done before it "
                "goes on: operando station status"
                if kept
                else "it may still be done, and is lost if its worker dies: operando queue list"
            )
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
            raise GoneError(
                f"item {short(item['item_uid'])} is not in the queue of station {station} any "
                f"more: meanwhile it is {what}"
            ) from error

    def _set_hold(self, item: str, hold: bool) -> str:
        station, found = self._pending(item)
        if bool(found.get("kwargs", {}).get("hold", False)) != hold:
            changed = found | {"kwargs": found["kwargs"] | {"hold": hold}}
            self._change(station, found, lambda m: m.update(changed))
        return _of_station(found, station)

    def _refuse_held(self, station: str) -> None:
        state = self._store().station(station)
        if state is not None and state.state == "held":
            raise QueueError(
                f"station {station} is held ({state.why}): look at the cell, then operando station "
                f"decide {station} resume|skip|fail"
            )

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
        if do in ("stop", "abort"):
            # First: between two workers nobody takes commands.
            self._store().keep_wish(station, command)
        self._store().push_command(station, command)
        return command


def _of_station(item: Mapping[str, Any], station: str) -> str:
    told = to_come(item, station)
    return f"Item {short(told.item)} ({told.protocol} on {told.cell_id}) of station {station}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
