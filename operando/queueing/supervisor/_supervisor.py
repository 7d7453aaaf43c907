"""The supervisor of a computer's stations: one process that keeps everything else running."""

import contextlib
import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operando.queueing import _redis
from operando.queueing.desk import Desk
from operando.queueing.errors import QueueError
from operando.queueing.places import private, queueing_dir
from operando.queueing.store import Store, told
from techniques import StationsFile

from ._clock import Clock
from ._files import write_whole
from ._house import House
from ._processes import Process
from ._simulators import bury
from ._standing import restored
from ._station import Station
from ._surroundings import Surroundings
from ._ups import UpsWatch

_log = logging.getLogger(__name__)

_LOOP_S = 1.0
_CLAIM_EVERY_S, _CLAIM_HOLDS_S = 5.0, 30
_RETRY_S = 2.0
LOCK, TOLD = "supervisor.lock", "supervisor.json"


@dataclass(frozen=True)
class _Served:
    """A station that is ours, and the thread that steps it until ``stopping`` is set."""

    station: Station
    thread: threading.Thread
    stopping: threading.Event

    @classmethod
    def begun(cls, station: Station) -> "_Served":
        stopping = threading.Event()
        thread = threading.Thread(
            target=station.serve, args=(stopping,), name=f"station {station.name}"
        )
        thread.start()
        return cls(station, thread, stopping)


class Supervisor:
    """Keeps Redis, queue servers and workers of all stations of this computer alive.

    It can be ended, and killed, at any time: workers go on, and the next one takes over.

    Args:
        data_dir: The data folder.
        stations_file: The stations.
        path: Where they are from; stations that are added to this file later are served, too.
    """

    def __init__(
        self, data_dir: Path, stations_file: StationsFile, path: Path | None = None
    ) -> None:
        self._data_dir = data_dir
        self._file = stations_file
        self._path, self._stamp = path, _stamp(path)
        self._folder = private(queueing_dir(data_dir))
        self._server = _redis.RedisServer(data_dir) if stations_file.redis == "embedded" else None
        self._clock = Clock()
        self._stopping = threading.Event()
        self._served: dict[str, _Served] = {}
        self._claimed_at = 0.0
        self._told = ""
        # Stations that cannot be served, and why.
        self._unserved: dict[str, str] = {}
        self._where: _redis.RedisAddress | None = None
        # Which UPS is listened to, and what ends that.
        self._heard: tuple[str, threading.Event] | None = None

    def stop(self) -> None:
        """Have `run` return; may be called from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Supervise until `stop` is called.

        Raises:
            QueueError: another supervisor serves this data folder.
        """
        from operando.journal import try_lock

        fd = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not try_lock(fd):
                raise QueueError(
                    f"another supervisor serves {self._data_dir} already: operando station status"
                )
            me = Process.of(os.getpid())
            try:
                write_whole(
                    self._folder / TOLD,
                    {"pid": me.pid, "started_ticks": me.started_ticks, "at": time.time()},
                )
                with contextlib.ExitStack() as stack:
                    try:
                        stack.enter_context(Desk(self._data_dir))
                    except (OSError, QueueError) as error:
                        _log.warning("there is no desk, so that adding items is slower: %s", error)
                    self._watch_ups()
                    self._supervise()
            finally:
                (self._folder / TOLD).unlink(missing_ok=True)
        finally:
            os.close(fd)

    def _watch_ups(self) -> None:
        """Listen to the UPS that the file names now, if it does, also while Redis is gone."""
        ups, heard = self._file.ups, self._heard
        if ups == (None if heard is None else heard[0]):
            return
        if heard is not None:
            heard[1].set()
        self._heard = None
        if ups is not None:
            self._heard = ups, threading.Event()
            watch = UpsWatch(self._data_dir, ups, lambda: self._file)
            threading.Thread(
                target=watch.serve, args=(self._heard[1],), name=f"ups {ups}", daemon=True
            ).start()

    def _supervise(self) -> None:
        house: House | None = None
        surroundings: Surroundings | None = None
        try:
            while not self._stopping.is_set():
                try:
                    started = self._keep_redis()
                    if house is not None and started:
                        self._tell_stations(house)
                    if house is None and self._where is not None:
                        house = self._house(self._where)
                        surroundings = Surroundings(house)
                    if house is not None and surroundings is not None:
                        self._claim(house)
                        surroundings.look()
                    self._told = ""
                except QueueError as error:
                    self._say(str(error))
                except Exception as error:
                    # Any: what a worker's death would do is worse.
                    self._say(repr(error), traceback=True)
                bury()
                self._stopping.wait(_LOOP_S)
        finally:
            self._stopping.set()
            if self._heard is not None:
                self._heard[1].set()
            for served in self._served.values():
                served.stopping.set()
            for served in self._served.values():
                served.thread.join()
            if surroundings is not None:
                surroundings.close()
            if house is not None:
                self._release(house)

    def _say(self, text: str, *, traceback: bool = False) -> None:
        if text != self._told:
            _log.warning("%s", text, exc_info=traceback)
            self._told = text

    # -- Redis

    def _keep_redis(self) -> bool:
        """Start Redis if it is ours and is gone; return whether it was. Raises QueueError."""
        if self._server is None:
            self._where = self._where or _redis.address(self._data_dir, self._file)
        elif self._where is None or not self._server.alive():
            began = self._where is None
            self._where = self._server.ensure()
            if not began:
                _log.warning("Redis was gone; it was started again")
                return True
        return False

    def _tell_stations(self, house: House) -> None:
        """Tell stations that Redis was started again, maybe elsewhere: its port may be taken."""
        if self._where is not None and house.where != self._where:
            _log.warning("Redis is at %s now; the queue servers are started anew", self._where)
            house.where = self._where
            house.store.client = _redis.client(self._where)
            for served in self._served.values():
                if not served.stopping.is_set():
                    served.station.process.end_all_but_worker()
        house.redis_starts += 1

    def _house(self, where: _redis.RedisAddress) -> House:
        from ._surroundings import alerts_of

        store = Store(_redis.client(where))
        with told():
            store.client.ping()
        house = House(
            data_dir=self._data_dir,
            stations=self._file,
            where=where,
            store=store,
            alerts=alerts_of(self._file.alerts, self._data_dir, store),
            clock=self._clock,
        )
        return house

    # -- stations

    def _claim(self, house: House) -> None:
        """Serve every station that no other computer serves, and say so to the others."""
        now = time.monotonic()
        if now - self._claimed_at < _CLAIM_EVERY_S:
            return
        self._read_again()
        for entry in self._file.stations:
            served = self._served.get(entry.name)
            if not self._claimed(house, entry.name):
                if served is not None and not served.stopping.is_set():
                    _log.warning("station %s is another's now; it is let go", entry.name)
                    served.stopping.set()
                continue
            if served is not None and (served.thread.is_alive() or not served.stopping.is_set()):
                continue
            try:
                station = Station(house, entry)
                kept = station.files.state()
            except Exception as error:
                # Any: the other stations have cells in them as well.
                self._not_served(house, entry.name, error)
                continue
            restored(house.store, entry.name, kept)
            house.store.change_station(entry.name, host=house.host, supervisor_pid=os.getpid())
            self._served[entry.name] = _Served.begun(station)
            self._served_again(house, entry.name)
        self._claimed_at = now

    def _not_served(self, house: House, name: str, error: Exception) -> None:
        """Tell, once, that a station cannot be served; it is tried again with the next claim."""
        why = f"{error}" if isinstance(error, QueueError) else repr(error)
        why = f"station {name} cannot be served: {why}; what runs there goes on, and nobody watches"
        if self._unserved.get(name) == why:
            return
        self._unserved[name] = why
        _log.warning("%s", why, exc_info=not isinstance(error, (QueueError, OSError)))
        # First: Redis may be gone as well.
        house.alerts.send("station_lost", "A station cannot be served", why, station=name)
        state = house.store.station(name)
        if state is None or state.wanted != "open" or state.paused or state.state == "held":
            return  # what is told of it is to be told still
        lost = {"state": "lost"} if state.item is None else {}
        house.store.change_station(name, why=why, **lost)

    def _served_again(self, house: House, name: str) -> None:
        why, state = self._unserved.pop(name, None), house.store.station(name)
        if why is not None and state is not None and state.why == why:
            house.store.change_station(name, why="")

    def _read_again(self) -> None:
        """Learn of stations that were added, and of what feeds all.

        Else one that runs is as it was when it was started.
        """
        from operando.configuration import ConfigurationError, load_stations

        stamp = _stamp(self._path)
        if self._path is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._file = load_stations(self._path)
        except ConfigurationError as error:
            self._say(str(error))
            return
        for entry in self._file.stations:
            if entry.name in self._served:
                self._served[entry.name].station.declare(entry)
        self._watch_ups()

    def _claimed(self, house: House, name: str) -> bool:
        """Claim a station for the next half minute; return whether it is ours."""
        key, mine = claim_key(name), self._mine(house)
        text = json.dumps(mine)
        client = house.store.client
        with told():
            if client.set(key, text, nx=True, ex=_CLAIM_HOLDS_S):
                return True
            found = house.store.text(key)
            other = parsed_claim(found)
            if not other:
                if found is not None:
                    house.store.poison(key, found, "it tells no computer")
                    client.delete(key)
                # Whoever serves it says so first, also if that is another one.
                served = self._served.get(name)
                if served is None or served.stopping.is_set():
                    return False
            elif {**mine, "pid": 0} != {**other, "pid": 0}:
                self._say(
                    f"station {name} is served by {other.get('host')} "
                    f"({other.get('data_dir')}): stop it there, or give it another name here"
                )
                return False
            client.set(key, text, ex=_CLAIM_HOLDS_S)
        return True

    def _release(self, house: House) -> None:
        for name in self._served:
            try:
                with told():
                    if parsed_claim(house.store.text(claim_key(name))) == self._mine(house):
                        house.store.client.delete(claim_key(name))
            except QueueError:
                return  # it ends by itself

    def _mine(self, house: House) -> dict[str, Any]:
        return {"host": house.host, "data_dir": str(self._data_dir), "pid": os.getpid()}


def _stamp(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_mtime_ns
    except OSError:
        return 0


def claim_key(station: str) -> str:
    """Return the key that tells which computer serves a station."""
    return f"operando:supervisor:{station}"


def parsed_claim(text: str | None) -> dict[str, Any]:
    """Return which computer claims a station, "host" and "data_dir"; empty: nobody can say."""
    try:
        told = dict(json.loads(text or "{}"))
    except (ValueError, TypeError, RecursionError):
        return {}
    return told if all(isinstance(told.get(x), str) for x in ("host", "data_dir")) else {}
