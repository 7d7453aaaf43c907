"""What people do with stations: start, stop, look at them, decide; the same for shell and page."""

import difflib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from operando.configuration import load_stations, stations_path
from operando.queueing import _redis, mains
from operando.queueing.decided import Decided, came_true, decision_key, held_as, take
from operando.queueing.errors import QueueError
from operando.queueing.model import Command, StationState
from operando.queueing.places import station_dir
from operando.queueing.sanitise import pending
from operando.queueing.store import Store, told
from techniques import StationEntry

_OPENS_WITHIN_S = 180.0
_CLOSES_WITHIN_S = 180.0
_LOOK_S = 0.1
_DECIDED_WITHIN_S = 60.0
# Also if whoever decided has gone: nobody looks again at what he saw.
_DECISION_KEPT_S = 120
_CARRIED_OUT_WITHIN_S = 5.0


@dataclass(frozen=True)
class Shown:
    """How a station is, for people.

    Attributes:
        since: Since when its state is what it is, s of the epoch; 0: not known.
        cell: The mounted cell; empty: none.
        item: The item that is under way.
        waiting: How many items are in its queue.
        why: In words; what is to be done, if something is.
        paused: Whether somebody said that no further item is to be started.
    """

    name: str
    state: str
    since: float
    cell: str
    item: str | None
    waiting: int
    why: str
    paused: bool
    host: str

    @property
    def is_open(self) -> bool:
        """Return whether its worker is open."""
        return self.state in ("idle", "running", "held")

    @property
    def told(self) -> str:
        """Return state and reason as one text."""
        return f"{self.state}{': ' if self.why else ''}{self.why}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


class Control:
    """What people do with the stations of a data folder.

    Args:
        data_dir: The data folder.

    Raises:
        ConfigurationError: there is no file of stations, or it is wrong.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = stations_path()
        self.file = load_stations(self._path)
        self._opened: Store | None = None

    @property
    def supervisor_lives(self) -> bool:
        """Return whether a supervisor of this data folder runs on this computer."""
        from operando.queueing.supervisor._serve import supervisor_process

        return supervisor_process(self._data_dir) is not None

    def known(self, names: Sequence[str]) -> list[str]:
        """Return the stations that are meant, by default all. Raises QueueError."""
        all_names = [one.name for one in self.file.stations]
        for name in names:
            if name not in all_names:
                near = difflib.get_close_matches(name, all_names, 1, 0.4)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(all_names)}"
                raise QueueError(f"there is no station {name!r} in {self._path}: {hint}")
        return list(dict.fromkeys(names)) or all_names

    # -- starting

    def start(self, names: Sequence[str]) -> bool:
        """Have stations opened and kept open; return whether a supervisor had to be started.

        Raises QueueError: another computer serves one of them, or no supervisor can be started.
        """
        from operando.queueing.supervisor._files import StationFiles
        from operando.queueing.supervisor._serve import ensure_supervisor
        from operando.queueing.supervisor._standing import restored

        started = ensure_supervisor(self._data_dir)
        store = self._wait_for_store()
        for name in names:
            self._refuse_elsewhere(store, name)
        now = time.time()
        for name in names:
            state = restored(store, name, StationFiles(self._data_dir, name).state())
            if state is None or state.wanted != "open":
                # What it was is over; what it becomes its supervisor tells.
                store.change_station(name, wanted="open", state="opening", why="", since=now)
        return started

    def wait_until_open(self, name: str) -> Shown:
        """Return how a station is when it has opened, or when that did not succeed."""
        give_up = time.monotonic() + _OPENS_WITHIN_S
        while True:
            shown = self.shown(name)
            if shown.is_open or shown.state == "lost" or time.monotonic() > give_up:
                return shown
            time.sleep(_LOOK_S)

    def _refuse_elsewhere(self, store: Store, name: str) -> None:
        import socket

        from operando.queueing.supervisor._supervisor import claim_key, parsed_claim

        claim = parsed_claim(store.text(claim_key(name)))
        if not claim:
            return
        here = {"host": socket.gethostname(), "data_dir": str(self._data_dir)}
        if {key: claim.get(key) for key in here} != here:
            raise QueueError(
                f"station {name} is served by the computer {claim.get('host')} (data folder "
                f"{claim.get('data_dir')}): stop it there (operando station stop {name}), or give "
                f"it another name in {self._path}"
            )

    # -- stopping

    def stop(self, names: Sequence[str], *, abort: bool, by: str) -> None:
        """Have stations closed; returns when they are.

        Raises QueueError: an item runs and ``abort`` is not told, or no supervisor is there to
        close them.
        """
        store = self._store()
        busy = [state for name in names if (state := store.station(name)) and _is_busy(state)]
        if busy and not abort:
            which = ", ".join(f"{x.name} ({(x.item or '')[:8]})" for x in busy)
            raise QueueError(
                f"an item runs in {which}: wait until it has ended (operando queue pause STATION "
                "starts no other), or end it now with --abort"
            )
        if not self.supervisor_lives:
            raise QueueError("no supervisor runs that could close stations: operando station start")
        begun = {name: item for name in names if (item := _under_way(store, name))}
        ending = begun if abort else {}
        for name, item in ending.items():
            asked = Command(do="abort", by=by, at=time.time(), item=item)
            # First: if its worker dies, or died, the item is ended all the same.
            store.keep_wish(name, asked)
            store.push_command(name, asked)
        for name in names:
            if store.station(name) is not None:
                store.change_station(name, wanted="closed")
        give_up = time.monotonic() + _CLOSES_WITHIN_S
        while not_yet := [
            x
            for name in names
            if (x := store.station(name)) and not (_closed(x) and _has_ended(store, ending, name))
        ]:
            if time.monotonic() > give_up:
                which = ", ".join(f"{x.name} ({x.state}: {x.why})" for x in not_yet)
                raise QueueError(
                    f"not closed within {_CLOSES_WITHIN_S:g} s: {which}"
                    + ("; that their items are to end is kept" if ending else "")
                )
            time.sleep(_LOOK_S)

    def stop_all(self, *, abort: bool, by: str, say: Callable[[str], object]) -> None:
        """Close all stations, and end every process that was started for them.

        Raises QueueError as `stop`; then nothing has ended but what could be closed.
        """
        from operando.queueing.supervisor import _serve
        from operando.queueing.supervisor._files import StationFiles, process_in
        from operando.queueing.supervisor._processes import end_group_of
        from operando.queueing.supervisor._simulators import Simulator

        supervisor = _serve.supervisor_process(self._data_dir)
        if supervisor is not None:
            self._wait_for_store()
            self.stop([one.name for one in self.file.stations], abort=abort, by=by)
            supervisor.end(60.0)
            say("    supervisor   ended")
        for entry in self.file.stations:
            if not station_dir(self._data_dir, entry.name).is_dir():
                continue
            files = StationFiles(self._data_dir, entry.name)
            worker = files.worker()
            if worker is not None and worker.alive:
                raise QueueError(
                    f"the worker of station {entry.name} (process {worker.pid}) lives, and no "
                    "supervisor closes it: operando station start, and stop it then"
                )
            server = process_in(files.folder / "manager.json")
            if server is not None:
                end_group_of(server)
                (files.folder / "manager.json").unlink(missing_ok=True)
            if entry.simulate is not None:
                Simulator(files.folder, entry).stop()
        if self.file.redis == "embedded":
            _redis.RedisServer(self._data_dir).stop()

    # -- looking, deciding

    def shown(self, name: str) -> Shown:
        """Return how a station is. Raises QueueError if Redis is gone."""
        store = self._store()
        state = store.station(name) or StationState(name=name)
        mount = store.mount(name)
        cell = "" if mount is None else mount.cell_id
        why, told_state = state.why, state.state
        if told_state != "closed" and not self._is_served(store, name):
            told_state, why = "lost", "no supervisor serves it: operando station start"
        elif state.paused:
            go_on = f"operando queue resume {name}"
            why = state.told_why + ("" if go_on in state.told_why else f"; {go_on} goes on")
        lost = mains.mark_of(self._data_dir, name)
        if lost is not None and told_state != "closed":
            if why.startswith(lost.since):
                # Its supervisor tells the same, or did before the UPS told more, and what it did.
                why = why.partition(mains.back(name))[2].removeprefix("; ")
            entry = self._entry(name)
            meant = lost.meant(entry) if _is_busy(state) else lost.next(entry)
            why = "; ".join(filter(None, (lost.told, meant, why)))
        if mount is not None and mount.state == "finished":
            cell += " (finished)"
        return Shown(
            name=name,
            state=told_state,
            since=state.since,
            cell=cell,
            item=state.item,
            waiting=len(pending(store, name)),
            why=why,
            paused=state.paused,
            host=state.host,
        )

    def _is_served(self, store: Store, name: str) -> bool:
        from operando.queueing.supervisor._supervisor import claim_key, parsed_claim

        if self.supervisor_lives:
            return True
        claim = parsed_claim(store.text(claim_key(name)))
        # One of this computer that was killed is claimed for some seconds still.
        return bool(claim) and claim["data_dir"] != str(self._data_dir)

    def decide(
        self,
        name: str,
        do: Literal["resume", "skip", "fail"],
        *,
        by: str,
        decisions: Decided | None = None,
    ) -> None:
        """Say how a station that is held goes on; returns when its supervisor has carried it out.

        What no supervisor takes within a minute is taken back.

        Args:
            name: The station.
            do: Go on with its item, leave it out, or count it as failed.
            by: Who decided.
            decisions: Of ``resume``: what of the interrupted run is to be taken for certain.

        Raises QueueError: it is not held, nobody takes it, or it went on otherwise meanwhile.
        """
        if decisions and do != "resume":
            raise QueueError(f"to {do} needs no decisions: {', '.join(decisions)}")
        store = self._store()
        lost = mains.mark_of(self._data_dir, name)
        if lost is not None and do == "resume":
            raise QueueError(
                f"station {name}: {lost.told}; when they are back: {mains.back(name)}. What waits "
                "for nothing else goes on by itself then"
            )
        state = store.station(name)
        if state is None or state.state != "held":
            how = "closed" if state is None else state.state
            raise QueueError(f"station {name} is {how}: there is nothing to decide")
        record = None if state.item is None else store.record(state.item)
        if record is not None and record.state != "held":
            record = None  # it has ended, and the station is held for something else
        key, of, given = decision_key(name), held_as(record), dict(decisions or {})
        decision = {"do": do, "by": by, "at": time.time(), **of, "decisions": given}
        text = json.dumps(decision)
        with told():
            store.client.set(key, text, ex=_DECISION_KEPT_S)
        try:
            gone = _first(_DECIDED_WITHIN_S, lambda: store.text(key) != text or None)
        except KeyboardInterrupt:
            take(store, key, text)
            raise
        look = f"operando station status {name}"
        if not gone and take(store, key, text):
            raise QueueError(
                f"no supervisor has taken it within {_DECIDED_WITHIN_S:g} s, and it is taken back: "
                f"nothing was decided of station {name}; {look}"
            )

        def came() -> bool | None:
            if record is not None:
                return came_true(store.record(record.item), int(of["attempt"]), do, given)
            now = store.station(name)
            return True if now is not None and now.state != "held" else None

        if not _first(_CARRIED_OUT_WITHIN_S, came):
            raise QueueError(
                f"that was not carried out: station {name} is not held for what it was any more, "
                f"or somebody else has decided; {look}"
            )

    # -- mains

    def mains_lost(
        self,
        names: Sequence[str],
        *,
        by: str,
        why: str = "",
        low: bool = False,
        battery_min: float | None = None,
    ) -> list[str]:
        """Say that stations are without mains: nothing begins there before they are back.

        What runs goes on as their ``supply`` and ``hold_after_s`` tell, or is ended, its cell
        opened. Needs neither Redis nor a supervisor.

        Args:
            names: The stations.
            by: Who says so.
            why: In words.
            low: Whether the battery is about to be empty: everything is ended.
            battery_min: How long it lasts from now on, min, as the UPS tells.

        Returns:
            What could not be told to people or noted.

        Raises:
            QueueError: A station could not be told.
        """
        return mains.say_lost(
            self._data_dir,
            [self._entry(name) for name in names],
            self._cell_in,
            by=by,
            why=why,
            low=low,
            battery_min=battery_min,
        )

    def mains_back(self, names: Sequence[str], *, by: str, why: str = "") -> list[str]:
        """Say that the mains are back: held items go on, after a look at their cells.

        Returns as `mains_lost` does. Raises QueueError: a station could not be told.
        """
        entries = [self._entry(name) for name in names]
        return mains.say_back(self._data_dir, entries, self._cell_in, by=by, why=why)

    def _cell_in(self, name: str) -> str:
        mount = self._store().mount(name)
        return "" if mount is None else mount.cell_id

    def _entry(self, name: str) -> StationEntry:
        return next(one for one in self.file.stations if one.name == name)

    def _store(self) -> Store:
        if self._opened is None:
            self._opened = Store(_redis.client(_redis.address(self._data_dir, self.file)))
        return self._opened

    def _wait_for_store(self) -> Store:
        """Return the store as soon as it answers: who was just started starts Redis first."""
        give_up = time.monotonic() + 20.0
        while True:
            try:
                store = self._store()
                with told():
                    store.client.ping()
                return store
            except QueueError:
                self._opened = None
                if time.monotonic() > give_up:
                    raise
                time.sleep(_LOOK_S)


def _first(within_s: float, ask: Callable[[], bool | None]) -> bool | None:
    """Ask again and again; return the first answer that is one, ``None``: none came in time."""
    give_up = time.monotonic() + within_s
    while (answer := ask()) is None and time.monotonic() < give_up:
        time.sleep(_LOOK_S)
    return answer


def _is_busy(state: StationState) -> bool:
    return state.item is not None and state.state not in ("held", "closed")


def _under_way(store: Store, name: str) -> str | None:
    """Return the item that a station has begun and that has not ended; held ones wait."""
    state = store.station(name)
    record = None if state is None or state.item is None else store.record(state.item)
    return record.item if record is not None and record.state in ("starting", "running") else None


def _has_ended(store: Store, ending: Mapping[str, str], name: str) -> bool:
    return name not in ending or _under_way(store, name) != ending[name]


def _closed(state: StationState) -> bool:
    return state.state == "closed" or (state.wanted == "closed" and state.state == "lost")
