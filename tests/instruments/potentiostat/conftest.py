"""An instrument that answers as the pages of its manual say, on a real pseudo-terminal."""

import contextlib
import fcntl
import os
import pty
import select
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from instruments.errors import InstrumentError
from instruments.potentiostat.methodscript import MethodScriptPotentiostat

FOLDER = Path(__file__).parents[2] / "transcripts" / "potentiostat"


def read_pages() -> dict[str, list[str]]:
    pages: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("*.txt")):
        for block in path.read_text(encoding="ascii").split("\n\n"):
            name, *turns = [line for line in block.split("\n") if line]
            pages[name.removeprefix("# ")] = turns
    return pages


class Manual:
    """Plays pages one after the other; ``wrong`` holds what the host should not have said."""

    def __init__(self, pages: dict[str, list[str]], names: list[str]) -> None:
        self._turns = [turn for name in names for turn in pages[name]]
        self.wrong: list[str] = []
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        # Non-blocking through the test's own pipe: closing a pty does not end a read of it.
        self._stop_read, self._stop_write = os.pipe()
        self.address = f"serial://{os.ttyname(self._slave)}"
        self._heard = b""
        self._thread = threading.Thread(target=self._play)
        self._thread.start()

    def _play(self) -> None:
        for turn in self._turns:
            way, text = turn[:2].strip(), turn[2:].removeprefix(" ")
            if way == "x":
                # What is not read when the line goes is lost with it.
                while int.from_bytes(
                    fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4)), "little"
                ):
                    time.sleep(0.005)
                time.sleep(0.05)  # and is taken up
                self._unplug()
                return
            if way == ">":
                if text == "...":
                    while (line := self._line()) not in ("", None):
                        pass
                elif (line := self._line()) != text:
                    if line is not None:
                        self.wrong.append(f"heard {line!r}, the manual says {text!r}")
                    else:
                        self.wrong.append(f"the host never said {text!r}")
                    return
            elif way == "<~":
                os.write(self._master, text.encode())
            else:
                os.write(self._master, text.encode() + b"\n")
        while (line := self._line()) is not None:
            self.wrong.append(f"heard {line!r} after the page's end")

    def _line(self) -> str | None:
        """Return the next line, ``None`` when the test is over."""
        while b"\n" not in self._heard:
            readable, _, _ = select.select([self._master, self._stop_read], [], [], 50)
            if self._master not in readable:
                return None
            self._heard += os.read(self._master, 65536)
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def _unplug(self) -> None:
        """Be gone; the number stays taken, or another test's instrument would be found there."""
        os.close(self._master)
        self._master = -1

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join(50)
        if self._master >= 0:
            self._unplug()
        os.close(self._slave)
        os.close(self._stop_read)
        os.close(self._stop_write)


@pytest.fixture
def manual() -> Iterator[Callable[..., Manual]]:
    """Start an instrument that plays the pages of the given names; check that all was as told."""
    pages = read_pages()
    started: list[Manual] = []

    def play(*names: str) -> Manual:
        started.append(Manual(pages, list(names)))
        return started[-1]

    yield play
    for instrument in started:
        instrument.close()
        assert instrument.wrong == []


@pytest.fixture
def connect(simulate: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Start a simulated instrument on a cell; return its connected driver, and the bench.

    ``broken`` is a fault that the bench has before the driver connects; times are the driver's.
    """
    drivers: list[MethodScriptPotentiostat] = []

    def start(
        cell: str = "zn-bare-half",
        factor: float = 1e5,
        *more: str,
        broken: Mapping[str, Any] | None = None,
        **times_s: float,
    ) -> tuple[MethodScriptPotentiostat, Any]:
        bench = simulate(cell, "potentiostat", factor, *more)
        if broken is not None:
            bench.break_something(**broken)
            while not [line for line in bench.truth("bench") if line["event"] == "fault"]:
                time.sleep(0.02)
        driver = MethodScriptPotentiostat(bench.address("potentiostat"), **times_s)
        drivers.append(driver)
        driver.connect()
        return driver, bench

    yield start
    for driver in drivers:
        # A test that has pulled the cable has no cell left to open.
        with contextlib.suppress(InstrumentError):
            driver.close()
