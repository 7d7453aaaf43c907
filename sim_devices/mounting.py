"""Another cell in the leads of a simulated bench while its instruments stay powered.

Who wants one appends a line of JSON to the file ``mount`` beside the addresses, ``{"cell": PRESET,
"seed": NUMBER, "ask": TEXT}``; a line with the same ``ask`` in the file ``mounted`` says what came
of it: ``{"ask": ..., "number": ..., "cell": ..., "seed": ...}``, or why it was ``refused``.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOUNT_FILE, MOUNTED_FILE = "mount", "mounted"
_POLL_S = 0.02


class MountRefusedError(Exception):
    """No other cell was put into the leads; the message says why."""


class LineFile:
    """A file to which others append lines, read as far as it was not read before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def new(self) -> list[str]:
        """Return the whole lines that came since the last call; from its begin if it is shorter."""
        try:
            with self.path.open("rb") as file:
                if self._read > file.seek(0, os.SEEK_END):
                    self._read = 0
                file.seek(self._read)
                # A line without its end is still being written.
                lines = [line for line in file.readlines() if line.endswith(b"\n")]
        except FileNotFoundError:
            self._read = 0
            return []
        self._read += sum(len(line) for line in lines)
        return [line.decode("utf-8", "replace") for line in lines]


class Mounting:
    """Takes what is asked of a bench in its publish folder, and answers.

    Args:
        folder: the publish folder.
        mount: puts a cell (name, seed) into the leads and returns its number; raises
            MountRefusedError.
    """

    def __init__(self, folder: Path, mount: Callable[[str, int], int]) -> None:
        self._asked = LineFile(folder / MOUNT_FILE)
        self._answers = folder / MOUNTED_FILE
        self._mount = mount

    @property
    def files(self) -> Iterator[Path]:
        """Yield what is to go with the addresses."""
        yield from (self._asked.path, self._answers)

    def serve(self) -> None:
        """Do what was asked since the last call."""
        for line in self._asked.new():
            ask: Any = None
            told: dict[str, Any]
            try:
                asked = json.loads(line)
                ask = asked.get("ask")
                name, seed = str(asked["cell"]), int(asked.get("seed", 0))
            except (AttributeError, KeyError, TypeError, ValueError):
                told = {"refused": f"not a cell to be mounted: {line.strip()!r}"}
            else:
                try:
                    told = {"number": self._mount(name, seed), "cell": name, "seed": seed}
                except MountRefusedError as error:
                    told = {"refused": str(error)}
            with self._answers.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"ask": ask, **told}) + "\n")


def ask_for_mount(folder: Path, cell: str, seed: int, timeout_s: float = 10.0) -> int:
    """Have another cell put into the leads of the bench that publishes in ``folder``.

    Returns its number: the cell that the bench began with is 1. Raises MountRefusedError, also if
    nobody answers in time.
    """
    ask = secrets.token_hex(8)
    with (folder / MOUNT_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"cell": cell, "seed": seed, "ask": ask}) + "\n")
    answers = LineFile(folder / MOUNTED_FILE)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        for line in answers.new():
            told = json.loads(line)
            if told["ask"] != ask:
                continue
            if "refused" in told:
                raise MountRefusedError(told["refused"])
            return int(told["number"])
        time.sleep(_POLL_S)
    raise MountRefusedError(f"no simulator in {folder} has answered within {timeout_s:g} s")
