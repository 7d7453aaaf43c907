"""A simulated bench in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class SimulatedBench:
    """The process, its published addresses and its faults; what it did is in ``truth``."""

    def __init__(
        self, folder: Path, cell: str, instruments: str, factor: float, *more: str
    ) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "sim_devices", "--publish", str(folder), "--cell", cell]
        command += ["--instruments", instruments, "--factor", str(factor), *more]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()  # it is ready, or has failed
        if not (folder / "ready").exists():
            self.stop()
            raise RuntimeError(f"the simulator did not start: {' '.join(command)}")

    def address(self, name: str) -> str:
        return f"published:{self.folder / name}"

    def truth(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / "sim_truth" / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def break_something(self, **fault: Any) -> None:
        with (self.folder / "faults").open("a") as file:
            file.write(json.dumps(fault) + "\n")

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(15)
        self.process.stdout.close()


Simulate = Callable[..., SimulatedBench]


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Simulate]:
    """Start benches; they are ended with the test."""
    benches: list[SimulatedBench] = []

    def start(
        cell: str = "zn-bare-half",
        instruments: str = "potentiostat",
        factor: float = 1000.0,
        *more: str,
    ) -> SimulatedBench:
        folder = tmp_path / f"bench-{len(benches)}"
        benches.append(SimulatedBench(folder, cell, instruments, factor, *more))
        return benches[-1]

    yield start
    for bench in benches:
        bench.stop()
