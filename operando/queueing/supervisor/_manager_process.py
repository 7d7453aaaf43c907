"""The queue server of a station as a process: adopted, started, started anew."""

import logging
import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from operando.queueing.errors import QueueError
from operando.queueing.managers import Manager, start_manager, wait_for_manager
from techniques import StationEntry

from ._files import StationFiles, process_in, write_whole
from ._house import House
from ._processes import Process, end_group_of, members, started_ticks
from ._simulators import Simulator

_log = logging.getLogger(__name__)

# Its watchdog starts a manager that died anew within 5 s; that takes some seconds more.
_SILENT_S = 20.0
_CONNECTIONS = 8


class ManagerProcess:
    """Keeps the queue server of one station running.

    It is two processes and the worker: a watchdog, whose number we know, and its children. If the
    watchdog is gone the rest but the worker is ended, and started anew; the worker goes on with its
    run, and only its files tell of it from then on.
    """

    def __init__(self, house: House, entry: StationEntry, files: StationFiles) -> None:
        self._house = house
        self._entry = entry
        self._files = files
        self._path = files.folder / "manager.json"
        self._child: subprocess.Popen[bytes] | None = None
        self._heard_at = time.monotonic()
        # To which of the Redis that were started it is known to be connected.
        self._redis_starts: int | None = house.redis_starts
        self.manager = Manager(house.data_dir, entry.name)

    @property
    def process(self) -> Process | None:
        """Return the watchdog; ``None``: it does not run."""
        if self._child is not None:
            self._child.poll()
        found = process_in(self._path)
        return found if found is not None and found.alive else None

    def status(self) -> dict[str, Any] | None:
        """Return what the manager tells; ``None``: it does not, which it may do for some seconds.

        Raises QueueError if it is to be started anew: `restart`.
        """
        if self.process is None:
            raise QueueError(f"the queue server of station {self._entry.name} is gone")
        try:
            told = self.manager.status()
        except QueueError:
            if time.monotonic() - self._heard_at > _SILENT_S:
                raise
            return None
        self._heard_at = time.monotonic()
        return told

    def renew_connections(self, status: Mapping[str, Any] | None) -> None:
        """Have the manager connect to a Redis that was started again, before people ask it.

        What it does first on a connection that is dead fails.
        """
        if status is None or self._redis_starts == self._house.redis_starts:
            return
        starts = self._house.redis_starts
        for _ in range(_CONNECTIONS):
            try:
                self.manager.items()
            except QueueError as error:
                _log.info("station %s: %s", self._entry.name, error)
            else:
                self._redis_starts = starts
                return

    def doubt_connections(self) -> None:
        """Have them looked at in the next step: something has failed."""
        self._redis_starts = None

    def restart(self) -> None:
        """Start it anew, with what is left of an earlier one ended, but for its worker.

        Blocks until it answers. Raises QueueError if it does not.
        """
        self.end_all_but_worker()
        self._end_unknown()
        environ: dict[str, str] = {}
        if self._entry.simulate is not None:
            simulator = Simulator(self._files.folder, self._entry)
            simulator.ensure()
            environ |= simulator.environment
        child = start_manager(self._house.data_dir, self._entry, self._house.where, environ)
        self._child = child
        told = {"pid": child.pid, "started_ticks": Process.of(child.pid).started_ticks}
        write_whole(self._path, told)
        wait_for_manager(self._house.data_dir, self._entry.name, child)
        self._heard_at = time.monotonic()
        self.manager.lock()

    def _end_unknown(self) -> None:
        """End one that answers though we did not note it: who started it died before it could."""
        pid = self.manager.answering_pid()
        if pid is None:
            return
        try:
            group = os.getpgid(pid)
        except ProcessLookupError:
            return
        if group in (pid, os.getpgid(0)):
            self.manager.stop()  # it was not started by us
            return
        # Its watchdog leads the group.
        write_whole(self._path, {"pid": group, "started_ticks": started_ticks(group)})
        self.end_all_but_worker()

    def end_manager(self) -> None:
        """End the manager alone: its watchdog starts it anew, and it finds its worker again."""
        watchdog, worker = self.process, self._files.worker()
        if watchdog is None:
            return
        for pid, parent in members(watchdog.pid):
            if parent == watchdog.pid and (worker is None or pid != worker.pid):
                Process.of(pid).kill()

    def end_all_but_worker(self) -> None:
        """End watchdog and manager; a worker that lives goes on."""
        group = process_in(self._path)
        worker = self._files.worker()
        spared = worker.pid if worker is not None and worker.alive else None
        if group is not None:
            # Its watchdog may be gone: it led the group, and its number is not given to another
            # process as long as there is a member.
            end_group_of(group, spared)
        if self._child is not None:
            self._child.poll()
