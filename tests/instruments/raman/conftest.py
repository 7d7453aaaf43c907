"""A simulated spectrometer that can be told of faults and can be unplugged."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from instruments.raman.wasatch import WasatchSpectrometer
from sim_devices.truth import read_truth

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parents[2])}


def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
    )


def wait_for(condition: Callable[[], bool], within_s: float = 50.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@dataclass
class SimulatedSpectrometer:
    process: "subprocess.Popen[str]"
    folder: Path
    address: str = ""

    def __post_init__(self) -> None:
        self.address = self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, what: str) -> None:
        assert self.process.stdin is not None
        print(what, file=self.process.stdin, flush=True)
        assert self.line() == "done"

    def truth(self, event: str) -> list[dict[str, Any]]:
        return [line for line in read_truth(self.folder, "raman") if line["event"] == event]

    def laser_mw(self) -> float:
        changes = self.truth("laser")
        return float(changes[-1]["power_mw"]) if changes else 0.0

    def unplug(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[SimulatedSpectrometer]:
    folder = tmp_path / "truth"
    with start("wasatch_simulator_process.py", str(folder)) as process:
        yield SimulatedSpectrometer(process, folder)
        assert process.stdin is not None
        if process.poll() is None:
            process.stdin.close()
            process.wait(50)


@pytest.fixture
def spectrometer(simulated: SimulatedSpectrometer) -> Iterator[WasatchSpectrometer]:
    driver = WasatchSpectrometer(simulated.address, laser_power_w=0.05)
    driver.connect()
    yield driver
    driver.close()
