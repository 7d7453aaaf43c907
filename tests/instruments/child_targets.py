"""What the tests let a child serve: objects that stand for vendor's libraries of every manner."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from instruments.errors import InstrumentFaultError, SafetyLimitError


class Served:
    def __init__(self, diary: str) -> None:
        self._diary = Path(diary)
        self._write("served")

    def _write(self, line: str) -> None:
        with self._diary.open("a") as file:
            file.write(line + "\n")

    def echo(self, value: Any) -> Any:
        return value

    def image(self, rows: int, columns: int) -> dict[str, Any]:
        return {"image": np.arange(rows * columns, dtype="u2").reshape(rows, columns), "n": rows}

    def noisy(self) -> str:
        print("libraries print")
        os.write(1, b"and write to descriptor 1\n")
        os.system("echo their own children too")
        sys.stdout.flush()
        return sys.stdin.read()

    def sleep(self, duration_s: float) -> None:
        time.sleep(duration_s)

    def exit(self) -> None:
        print("the last words", file=sys.stderr, flush=True)
        os._exit(7)

    def refuse(self) -> None:
        raise SafetyLimitError("raman usb://1: laser asked, interlock open; close the lid")

    def stumble(self) -> None:
        raise KeyError("excitation")

    def unsendable(self) -> object:
        return object()

    def safe_state(self) -> None:
        self._write("safe")

    def close(self) -> None:
        self._write("closed")


def serve(arguments: dict[str, Any]) -> Served:
    return Served(arguments["diary"])


def serve_nothing(arguments: dict[str, Any]) -> Served:
    raise InstrumentFaultError(f"{arguments['address']}: no such spectrometer")


def own_and_wait(diary: str) -> None:
    """Own a child, tell its process id, and wait to be killed."""
    from instruments._child import Child

    child = Child("child_targets:serve", {"diary": diary})
    pipe = child._process.stdin
    assert pipe is not None
    # It inherits the control pipe, as a forked worker of the owner would: no end-of-file comes.
    heir = subprocess.Popen(["sleep", "600"], pass_fds=[pipe.fileno()], stdout=subprocess.DEVNULL)
    print(child.pid, heir.pid, flush=True)
    child.call("sleep", 600.0, duration_s=600.0)


if __name__ == "__main__":
    own_and_wait(sys.argv[1])
