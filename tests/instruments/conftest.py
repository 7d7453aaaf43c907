"""A simulated bench in a process of its own, and instruments that play pages of their manuals."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sim_devices.manual import Manual

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


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
        self.process.wait(50)
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


def read_pages(transcript: str) -> dict[str, list[str]]:
    """Return the turns of each page of ``tests/transcripts/<transcript>``.

    Pages are separated by empty lines: ``#`` names the page, the rest are turns of a ``Manual``.
    """
    pages: dict[str, list[str]] = {}
    for block in (TRANSCRIPTS / transcript).read_text(encoding="ascii").split("\n\n"):
        name, *turns = [line for line in block.split("\n") if line]
        pages[name.removeprefix("# ")] = turns
    return pages


@pytest.fixture
def play_pages() -> Iterator[Callable[..., Manual]]:
    """Start instruments that play pages; check at the end that all was as told.

    ``play_pages("thermostat/driver.txt", "it stops", line_end=b"\\r\\n")`` plays one page;
    ``answer_end`` is told where answers end otherwise than what is asked.
    """
    started: list[Manual] = []

    def play(
        transcript: str,
        *names: str,
        line_end: bytes = b"\r\n",
        answer_end: bytes | None = None,
    ) -> Manual:
        pages = read_pages(transcript)
        turns = [turn for name in names for turn in pages[name]]
        started.append(Manual(turns, line_end=line_end, answer_end=answer_end))
        return started[-1]

    yield play
    for instrument in started:
        instrument.close()
        assert instrument.wrong == []
