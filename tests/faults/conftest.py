"""What the tests of faults share: a bench that can be broken, and what is left afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from operando.journal import documents, journal_path
from operando.simulation import SimulatedBench
from techniques import GalvanostaticStep, Limit, Protocol, Recording, Schedule

CELL = PRESET = "zn-bare-half"
PATIENCE_S = 40.0


class BrokenBench:
    """A simulated bench in a folder of its own, things to break it with, and its truth."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sim = folder / "sim"
        self.data = folder / "data"
        self.simulated: SimulatedBench | None = None

    def serve(self, *instruments: str, factor: float = 100.0) -> SimulatedBench:
        """Return a simulator of ``instruments``, to be entered."""
        self.simulated = SimulatedBench(
            PRESET, factor=factor, instruments=instruments, directory=self.sim, tolerance_s=5.0
        )
        return self.simulated

    def inject(self, instrument: str, fault: str, **options: float) -> None:
        """Break something in the running simulator."""
        with (self.sim / "faults").open("a") as file:
            file.write(json.dumps({"instrument": instrument, "fault": fault, **options}) + "\n")

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
        self, *arguments: str, code: str | None = None, **options: Any
    ) -> "subprocess.Popen[str]":
        """Start the command line in a process of its own; without a catalog service.

        With ``code`` that starts it, once it has prepared what is to happen.
        """
        self.data.mkdir(exist_ok=True)
        # In the way of the service: starting it takes longer than the run. That it cannot start
        # must not matter to a run anyway.
        (self.data / "state").touch()
        return subprocess.Popen(
            [
                sys.executable,
                *(["-m", "operando.cli"] if code is None else ["-c", code]),
                *arguments,
            ],
            env=os.environ | {"OPERANDO_DATA": str(self.data), "OPERANDO_SIM": str(self.sim)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    # -- what is left

    def stop_of(self, uid: str) -> dict[str, Any]:
        """Return the last document of a run, which must be its stop."""
        name, doc = list(documents(journal_path(self.data, uid)))[-1]
        assert name == "stop"
        return doc


@pytest.fixture(scope="session")
def make_broken() -> Callable[[Path], BrokenBench]:
    """Return what makes a bench in a folder, for fixtures that live longer than a test."""
    return BrokenBench


@pytest.fixture
def broken(tmp_path: Path) -> BrokenBench:
    return BrokenBench(tmp_path)


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
