"""A simulated bench in a process of its own, and instruments that play pages of their manuals."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


def read_pages(transcript: str) -> dict[str, list[str]]:
    """Return the turns of each page of ``tests/transcripts/<transcript>``.

    Pages are separated by empty lines: ``#`` names the page, ``>`` is a line the host sends, ``<``
    the next line answered, ``<~`` one that is answered without its end, ``x`` closes the
    connection.
    """
    pages: dict[str, list[str]] = {}
    for block in (TRANSCRIPTS / transcript).read_text(encoding="ascii").split("\n\n"):
        name, *turns = [line for line in block.split("\n") if line]
        pages[name.removeprefix("# ")] = turns
    return pages


class Manual:
    """Plays pages one after the other; ``wrong`` holds what the host should not have said."""

    def __init__(
        self,
        pages: dict[str, list[str]],
        names: tuple[str, ...],
        line_end: bytes = b"\r\n",
        answer_end: bytes | None = None,
    ) -> None:
        self._turns = [turn for name in names for turn in pages[name]]
        self._line_end = line_end
        self._answer_end = line_end if answer_end is None else answer_end
        self.wrong: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        client, _ = self._listener.accept()
        with client:
            client.settimeout(20)
            heard = self._lines(client)
            for turn in self._turns:
                way, text = turn[:2].strip(), turn[2:].removeprefix(" ")
                if way == "x":
                    return
                if way == ">":
                    line = next(heard, None)
                    if line != text.encode():
                        self.wrong.append(f"heard {line!r}, the manual says {text!r}")
                        return
                else:
                    client.sendall(text.encode() + (b"" if way == "<~" else self._answer_end))
            for line in heard:
                self.wrong.append(f"heard {line!r} after the page's end")

    def _lines(self, client: socket.socket) -> Iterator[bytes]:
        kept = b""
        while data := client.recv(4096):
            *whole, kept = (kept + data).split(self._line_end)
            yield from whole
        if kept:
            self.wrong.append(f"heard {kept!r}, which does not end")

    def close(self) -> None:
        self._thread.join(30)
        self._listener.close()


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
        started.append(Manual(read_pages(transcript), names, line_end, answer_end))
        return started[-1]

    yield play
    for instrument in started:
        instrument.close()
        assert instrument.wrong == []
