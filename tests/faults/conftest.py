"""What the tests of faults share: a bench that can be broken, and what is left afterwards."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from operando.journal import documents, journal_path, list_runs
from operando.simulation import SimulatedBench
from techniques import GalvanostaticStep, Limit, Protocol, Recording, Schedule

CELL = PRESET = "zn-bare-half"
PATIENCE_S = 60.0
COMMAND_LINES = Path(__file__).with_name("command_line_process.py")
TOLD_BYTES = 16


class CommandLine:
    """A command line in a process of its own; what `subprocess.Popen` has, as far as it is needed.

    It is forked from a process that has imported it: importing takes longer than most runs here.
    """

    def __init__(
        self, orders: socket.socket, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> None:
        output, errors, told = (os.pipe() for _ in range(3))
        order = {"arguments": arguments, "environment": environment, "folder": os.getcwd()}
        ours, theirs = zip(output, errors, told, strict=True)
        socket.send_fds(orders, [json.dumps(order).encode()], theirs)
        for file in theirs:
            os.close(file)
        *self._unread, self._told = ours
        self._texts = dict.fromkeys(self._unread, b"")
        self.returncode: int | None = None
        self.pid = self._number()

    def _number(self) -> int:
        return int(os.read(self._told, TOLD_BYTES))

    def poll(self) -> int | None:
        return self._status(0.0)

    def wait(self, timeout: float = PATIENCE_S) -> int:
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("operando", timeout)
        return status

    def _status(self, timeout: float) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = self._number()
            os.close(self._told)
        return self.returncode

    def communicate(self, timeout: float = PATIENCE_S) -> tuple[str, str]:
        give_up = time.monotonic() + timeout
        while self._unread:
            left = give_up - time.monotonic()
            readable = select.select(self._unread, [], [], max(0.0, left))[0]
            if not readable:
                raise subprocess.TimeoutExpired("operando", timeout)
            for file in readable:
                if block := os.read(file, 65536):
                    self._texts[file] += block
                else:
                    self._unread.remove(file)
                    os.close(file)
        self.wait(max(0.0, give_up - time.monotonic()))
        told, complained = (text.decode() for text in self._texts.values())
        return told, complained

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class BrokenBench:
    """A simulated bench in a folder of its own, things to break it with, and its truth.

    ``orders`` returns the socket on which command lines are ordered.
    """

    def __init__(self, orders: Callable[[], socket.socket], folder: Path) -> None:
        self._orders = orders
        self.folder = folder
        self.sim = folder / "sim"
        self.data = folder / "data"
        self.simulated: SimulatedBench | None = None
        self._kept: list[int] = []

    def serve(
        self, *instruments: str, factor: float = 100.0, preset: str = PRESET
    ) -> SimulatedBench:
        """Return a simulator of ``instruments``, to be entered."""
        self.simulated = SimulatedBench(
            preset, factor=factor, instruments=instruments, directory=self.sim, tolerance_s=5.0
        )
        return self.simulated

    def kill_simulator(self) -> None:
        """Kill it, and keep the numbers of its lines.

        A number that is free is given to the instrument of another test, which would be found at
        this one's address.
        """
        assert self.simulated is not None
        assert self.simulated.pid is not None
        for path in self.sim.iterdir():
            if path.is_file() and path.read_bytes().startswith(b"serial://"):
                line = path.read_text().strip().removeprefix("serial://")
                self._kept.append(os.open(line, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
        os.kill(self.simulated.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let the numbers go that are kept."""
        while self._kept:
            os.close(self._kept.pop())

    def inject(self, instrument: str, fault: str, *, held: bool = False, **options: float) -> None:
        """Break something in the running simulator; in the moment in which a `hold` ends."""
        lines = [{"instrument": instrument, "fault": fault, **options}]
        if held:
            lines.insert(0, {"instrument": "potentiostat", "fault": "resume"})
        with (self.sim / "faults").open("a") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))

    def truth(self, instrument: str, event: str | None = None) -> list[dict[str, Any]]:
        """Return what the simulator wrote down so far, one kind of event or all."""
        path = self.sim / "sim_truth" / f"{instrument}.jsonl"
        if not path.exists():
            return []
        # A line without its end is still being written.
        lines = [json.loads(line) for line in path.read_text().rpartition("\n")[0].splitlines()]
        return [line for line in lines if event is None or line["event"] == event]

    def cell_is_on(self) -> bool:
        """Return whether the simulated potentiostat has the cell connected."""
        told = {"cell_on": True, "cell_off": False}
        state = False
        for line in self.truth("potentiostat"):
            state = line.get("cell_is_on", told.get(line["event"], state))
        return state

    def laser_mw(self) -> float:
        """Return the power that the simulated laser shines with."""
        powers = [line["power_mw"] for line in self.truth("raman", "laser")]
        return float(powers[-1]) if powers else 0.0

    # -- a process of its own

    def write_protocol(self, protocol: Protocol) -> Path:
        """Write ``protocol`` as the YAML file that a user would write."""
        path = self.folder / "protocol.yaml"
        path.write_text(yaml.safe_dump(protocol.model_dump(mode="json")))
        return path

    def operando(
        self, *arguments: str, code: str | None = None, doom: Sequence[Any] | None = None
    ) -> Any:
        """Start the command line in a process of its own; without a catalog service.

        With ``code`` that starts it, once it has prepared what is to happen. ``doom``: when it dies
        of itself, as `command_line_process` tells.
        """
        self.data.mkdir(exist_ok=True)
        # In the way of the service: starting it takes longer than the run. That it cannot start
        # must not matter to a run anyway.
        (self.data / "state").touch()
        environment = os.environ | {
            "OPERANDO_DATA": str(self.data),
            "OPERANDO_SIM": str(self.sim),
        }
        if doom is not None:
            environment["DOOM"] = json.dumps(doom)
        if code is None:
            return CommandLine(self._orders(), arguments, environment)
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hold(self, **options: float) -> None:
        """Let the cell's time stand still in a program, as options tell, until it is aborted.

        However busy the computer is, the instrument is still there then.
        """
        before = self._came_about()
        self.inject("potentiostat", "hold", **options)
        wait_for(lambda: self._came_about() > before, "it is not to be held")

    def die(
        self,
        *arguments: str,
        after: Sequence[tuple[str, int, int | None]],
        hold: Mapping[str, float] | None = None,
        faults: Sequence[Mapping[str, Any]] = (),
        number: int = signal.SIGKILL,
    ) -> str:
        """Let the command line die of itself in a run, and come about what it breaks.

        Args:
            arguments: of the command line.
            after: what it has recorded then: (stream, rows, role or None), one after the other; of
                the leader, rows of the run's own program.
            hold: where the cell's time is to stand still, behind these rows; as for `hold`.
            faults: what it breaks when it dies; as for `inject`.
            number: of the signal that it sends itself.

        Returns:
            The uid of its run.
        """
        held = self._held()
        if hold is not None:
            self.hold(**hold)
        before = self._came_about()
        process = self.operando(*arguments, doom=(after, faults, int(number)))
        told = process.communicate()
        assert process.returncode in (-number, 128 + number), told
        wait_for(lambda: self._came_about() == before + len(faults), f"not broken: {faults}")
        if hold is not None:
            wait_for(lambda: self._held() > held or self.program_is_over(), "the clock is not held")
            if self._held() == held:  # let a later one go on
                self.inject("potentiostat", "resume")
                wait_for(lambda: self._came_about() > before + len(faults), "it may be held yet")
        return list_runs(self.data)[0].uid

    def program_is_over(self) -> bool:
        """Return whether every program of the potentiostat that was begun has ended."""
        begun, ended = (self.truth("potentiostat", event) for event in ("script", "script_end"))
        return len(begun) == len(ended)

    def _came_about(self) -> int:
        return sum(line["outcome"] == "injected" for line in self.truth("bench", "fault"))

    def _held(self) -> int:
        return len(self.truth("potentiostat", "held"))

    # -- what is left

    def stop_of(self, uid: str) -> dict[str, Any]:
        """Return the last document of a run, which must be its stop."""
        name, doc = list(documents(journal_path(self.data, uid)))[-1]
        assert name == "stop"
        return doc


@pytest.fixture(scope="session", name="orders")
def _orders() -> Iterator[Callable[[], socket.socket]]:
    """Return what returns the socket on which command lines are ordered."""
    started: list[tuple[socket.socket, subprocess.Popen[bytes]]] = []

    def first() -> socket.socket:
        if not started:
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with there:
                process = subprocess.Popen([sys.executable, str(COMMAND_LINES)], stdin=there)
            started.append((here, process))
        return started[0][0]

    yield first
    for here, process in started:
        here.close()
        process.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def make_broken(orders: Callable[[], socket.socket]) -> Callable[[Path], BrokenBench]:
    """Return what makes a bench in a folder, for fixtures that live longer than a test."""
    return partial(BrokenBench, orders)


@pytest.fixture
def broken(make_broken: Callable[[Path], BrokenBench], tmp_path: Path) -> Iterator[BrokenBench]:
    bench = make_broken(tmp_path)
    yield bench
    bench.close()


def plating(duration_s: float = 3600.0, dt_s: float = 0.5, **every: Any) -> Protocol:
    """Return a long plating at 1 mA/cm2; followers as ``every`` says."""
    step = GalvanostaticStep(
        role="plate",
        current_density_ma_cm2=1.0,
        until=(Limit(quantity="time_s", value=duration_s),),
        record=Recording(dt_s=dt_s, edge_dt_s=dt_s),
    )
    schedule = Schedule.model_validate({"burst_for_s": 0, "tolerance_s": 5.0} | every)
    return Protocol(name="long plating", cell=CELL, technique=step, every=schedule)


@pytest.fixture(scope="session", name="plating")
def _plating() -> Callable[..., Protocol]:
    return plating


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until ``condition`` holds; fail saying ``what`` did not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session", name="wait_for")
def _wait_for() -> Callable[..., None]:
    return wait_for


@pytest.fixture
def tidy() -> Iterator[list["subprocess.Popen[str]"]]:
    """Collect processes; what a failed test leaves of them is killed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


def children_of(pid: int) -> list[int]:
    """Return the living processes that ``pid`` started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold anything; what follows it is plain.
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


@pytest.fixture(scope="session", name="children_of")
def _children_of() -> Callable[[int], list[int]]:
    return children_of
