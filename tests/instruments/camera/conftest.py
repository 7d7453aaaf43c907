"""The microscope of these tests: a process that replaces one picture at a steady rate."""

import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

RENDERER = Path(__file__).with_name("frame_renderer_process.py")
HEIGHT, WIDTH = 120, 160


class Microscope:
    """The process, its folder, and its lamp (a file in the folder)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"pylon-emulation://{folder}"
        self._module = runpy.run_path(str(RENDERER))
        self._lock = threading.Lock()
        self.history: list[str] = []
        self.loses_supply = False  # the lamp goes off as soon as it is on
        self._process = subprocess.Popen(
            [sys.executable, str(RENDERER), str(folder), str(HEIGHT), str(WIDTH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # the first picture is there
        self._drain = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._drain.start()

    def on(self) -> None:
        with self._lock:
            if not self.loses_supply:
                (self.folder / "lamp").touch()
            self.history.append("on")

    def off(self) -> None:
        with self._lock:
            (self.folder / "lamp").unlink(missing_ok=True)
            self.history.append("off")

    leave_off = off

    @property
    def lit(self) -> bool:
        return (self.folder / "lamp").exists()

    @property
    def is_on(self) -> bool:
        return self.lit

    def number(self, image: NDArray[np.uint8]) -> int:
        return self._module["number_in"](image)

    def picture(self, number: int, *, lit: bool = False) -> NDArray[np.uint8]:
        return self._module["picture"](number, HEIGHT, WIDTH, lit)

    def put(self, **arguments: Any) -> None:
        """Put one picture of another kind; stop the process first."""
        self._module["render"](self.folder, **arguments)

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(50)
        self._drain.join(50)
        self._process.stdout.close()


@pytest.fixture
def microscope(tmp_path: Path) -> Iterator[Microscope]:
    folder = tmp_path / "frames"
    folder.mkdir()
    microscope = Microscope(folder)
    yield microscope
    microscope.stop()


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Return a function that tells whether a process has ended (a zombie has)."""

    def ended(pid: int) -> bool:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            return Path("/proc").is_dir()
        return status.rpartition(")")[2].split()[0] == "Z"

    return ended
