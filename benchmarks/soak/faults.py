"""What is broken while the stations work, by process ids and files of this soak only."""

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.world import World
from operando.queueing._redis import RedisServer, client
from operando.queueing.errors import QueueError
from operando.queueing.places import queueing_dir, station_dir
from operando.queueing.supervisor._serve import ensure_supervisor, supervisor_process

_STEP_S = 3600.0
_STARTS_AGAIN_S = 60.0


@dataclass(frozen=True)
class Done:
    """One fault: what, when, where, and what was found there."""

    kind: str
    at: float
    station: str
    told: str


@dataclass
class Faults:
    """Breaks things, one after the other, in an order that follows from a seed.

    Every kind comes once before any comes again.
    """

    world: World
    seed: int
    done: list[Done] = field(default_factory=list)
    _order: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._shift_s, self._boots = 0.0, 0
        self._tell_clock()

    @property
    def kinds(self) -> dict[str, Callable[[str], str]]:
        """Return what can be done to a station, by name."""
        return {
            "worker killed": lambda station: self._signal_worker(station, signal.SIGKILL),
            "worker stopped": lambda station: self._signal_worker(station, signal.SIGSTOP),
            "manager killed": self._kill_manager,
            "Redis killed": self._kill_redis,
            "supervisor killed": self._kill_supervisor,
            "reboot": self._reboot,
            "clock set": self._set_clock,
            "mains lost": self._lose_mains,
        }

    def choose(self, running: list[str]) -> tuple[str, str]:
        """Return the next fault, and one of the stations in which something runs."""
        if not self._order:
            self._order = list(self.kinds)
            self._random.shuffle(self._order)
        return self._order.pop(), self._random.choice(running or list(self.world.stations))

    def next(self, running: list[str]) -> Done:
        """Do the next fault, at one of the stations in which something runs."""
        kind, station = self.choose(running)
        at = time.time()
        self.done.append(Done(kind, at, station, self.kinds[kind](station)))
        return self.done[-1]

    def keep_supervised(self) -> None:
        """Do what a service manager does: start a supervisor where there is none."""
        if supervisor_process(self.world.data) is None:
            with contextlib.suppress(QueueError):
                ensure_supervisor(self.world.data)

    def end_all(self) -> None:
        """End what is left of the processes of this soak, the simulators too."""
        self._kill_all()
        left = self.processes(simulators=True)
        for pid in left:
            _send(pid, signal.SIGTERM)
        _wait_for_end(left)

    # -- kinds

    def _signal_worker(self, station: str, number: signal.Signals) -> str:
        pid = _pid_in(station_dir(self.world.data, station) / "worker.json")
        if pid is None:
            return "there was no worker"
        return f"process {pid}" if _send(pid, number) else "it had just ended"

    def _kill_manager(self, station: str) -> str:
        pid = _pid_in(station_dir(self.world.data, station) / "manager.json")
        if pid is None:
            return "there was no manager"
        worker = _pid_in(station_dir(self.world.data, station) / "worker.json")
        killed = [pid] if _send(pid, signal.SIGKILL) else []
        # The watchdog's child is the queue server itself; the worker goes on.
        for child in _members(pid):
            if child != worker and _send(child, signal.SIGKILL):
                killed.append(child)
        return f"processes {', '.join(map(str, killed)) or 'none'}"

    def _kill_redis(self, station: str) -> str:
        del station
        try:
            with client(RedisServer(self.world.data).address()) as one:
                pid = int(one.info("server")["process_id"])
        except Exception as error:
            return f"it did not answer: {error}"
        _send(pid, signal.SIGKILL)
        return f"process {pid}"

    def _kill_supervisor(self, station: str) -> str:
        del station
        found = supervisor_process(self.world.data)
        if found is None:
            return "there was none"
        _send(found.pid, signal.SIGKILL)
        _wait_for_end([found.pid])
        self.keep_supervised()
        return f"process {found.pid}; another was started"

    def _reboot(self, station: str) -> str:
        del station
        killed = self._kill_all()
        self._boots += 1
        self._tell_clock()
        self.keep_supervised()
        return f"{killed} processes at once, guards among them; the simulated cells live on"

    def _lose_mains(self, station: str) -> str:
        killed = self._kill_all()
        # What hangs on the mains is off as well; what hangs on a UPS is not.
        off = [name for n, name in enumerate(self.world.stations) if n % 2 == 0]
        for name in off:
            faults = station_dir(self.world.data, name) / "sim" / "faults"
            with faults.open("a") as file:
                told = {"instrument": "potentiostat", "fault": "power-cycle", "seconds": 0.2}
                file.write(json.dumps(told) + "\n")
        self.world.power_went.update(off)
        time.sleep(1.0)
        self._boots += 1
        self._tell_clock()
        self.keep_supervised()
        return f"{killed} processes, and the potentiostats of {', '.join(off)}"

    def _set_clock(self, station: str) -> str:
        del station
        self._shift_s += self._random.choice((-_STEP_S, _STEP_S))
        self._tell_clock()
        return f"it is {self._shift_s:+.0f} s off now"

    # -- how

    def _tell_clock(self) -> None:
        told = {"shift_s": self._shift_s, "boot": f"boot-{self._boots}"}
        part = self.world.clock.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.replace(self.world.clock)

    def _kill_all(self) -> int:
        """Kill every process of this soak but the simulators, all of them at once."""
        pids = self.processes()
        for pid in pids:
            _send(pid, signal.SIGSTOP)  # so that none starts another one meanwhile
        for pid in pids:
            _send(pid, signal.SIGKILL)
        _wait_for_end(pids)
        return len(pids)

    def processes(self, *, simulators: bool = False) -> list[int]:
        """Return the processes of this soak: those that work in its data folder."""
        wanted = f"OPERANDO_DATA={self.world.data}"
        folder = str(queueing_dir(self.world.data))
        found = []
        for pid in _living():
            with contextlib.suppress(OSError):
                line = _read(pid, "cmdline").replace("\0", " ")
                # Redis calls itself something else, and has no environment to speak of.
                works_in = os.readlink(f"/proc/{pid}/cwd")
                mine = wanted in _read(pid, "environ").split("\0") or folder in (line + works_in)
                if mine and ("sim_devices" in line) == simulators and pid != os.getpid():
                    found.append(pid)
        return found


def _living() -> list[int]:
    """Return the processes there are, but for those that have ended and wait to be collected."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, IndexError):
            if name.isdigit() and _stat(int(name))[0] != "Z":
                found.append(int(name))
    return found


def _stat(pid: int) -> list[str]:
    """Return what the system tells of a process, from its state on."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")


@dataclass
class Cost:
    """What processes use, looked at now and then; those that ended in between count until then."""

    seconds: dict[int, float] = field(default_factory=dict)
    megabytes: list[float] = field(default_factory=list)

    def look(self, pids: list[int]) -> None:
        """Take the processor time and resident memory of processes."""
        pages = 0
        for pid in pids:
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = _stat(pid)
                ticks = int(stat[11]) + int(stat[12])
                self.seconds[pid] = ticks / os.sysconf("SC_CLK_TCK")
                pages += int(stat[21])
        self.megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    @property
    def total_s(self) -> float:
        """Return the processor time in all, s."""
        return sum(self.seconds.values())


def _pid_in(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _members(pid: int) -> list[int]:
    """Return the processes of a group but its leader."""
    found = []
    for one in _living():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if one != pid and os.getpgid(one) == pid:
                found.append(one)
    return found


def _send(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _wait_for_end(pids: list[int]) -> None:
    end = time.monotonic() + _STARTS_AGAIN_S
    while time.monotonic() < end:
        if not set(pids) & set(_living()):
            return
        time.sleep(0.02)
