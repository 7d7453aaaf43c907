"""The process of a box: asked on standard input, it writes a file slowly and tells when it is done.

``python -m sim_devices.writers KIND FOLDER SEED``. Each line that comes is an object with
``number``, ``host_time_s`` and ``seen`` (a `Look`); each that it tells is what the truth says, with
the digest of the file as it was meant, before anything was broken in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sim_devices.writers import afm, ftir, ultrasound, xrd
from sim_devices.writers.look import Look

# Returns the file's text and what is true of it.
Measure = Callable[[Look, datetime, np.random.Generator], tuple[str, dict[str, float]]]

_BOXES: dict[str, tuple[Measure, str, float]] = {
    "ftir": (ftir.measure, ".dx", ftir.CLOCK_AHEAD_S),
    "xrd": (xrd.measure, ".xy", xrd.CLOCK_AHEAD_S),
    "afm": (afm.measure, ".xyz", afm.CLOCK_AHEAD_S),
    "ultrasound": (ultrasound.measure, ".csv", ultrasound.CLOCK_AHEAD_S),
}
_NUMBER = re.compile(r"-?\b\d+(\.\d+)?([eE][-+]?\d+)?\b")
_PIECES = 8
_PIECE_S = 0.05  # host time between two of them


def main(kind: str, folder: Path, seed: int) -> None:
    """Measure and write as often as asked, until standard input ends."""
    measure, ending, ahead_s = _BOXES[kind]
    random = np.random.default_rng(seed)
    for line in sys.stdin:
        asked = json.loads(line)
        broken: dict[str, float] = asked.get("broken", {})
        ahead_now_s = ahead_s + broken.get("ahead_s", 0.0)
        began = datetime.fromtimestamp(asked["host_time_s"] + ahead_now_s, UTC)
        look = Look.of(asked["seen"])
        text, truth = measure(look, began, random)
        path = folder / f"{kind}-{asked['number']:04d}{ending}"
        told: dict[str, object] = {
            "cell_t_s": look.cell_t_s,
            "host_time_s": asked["host_time_s"],
            **truth,
        }
        told["sha256"] = hashlib.sha256(text.encode("utf-8")).hexdigest()
        try:
            if "drop" in broken:
                told["lost"] = "drop"
            else:
                content = damaged(text, broken, random)
                write_slowly(path, content, _PIECE_S + broken.get("late_s", 0.0))
        except OSError as error:
            told["lost"] = str(error)
        sys.stdout.write(json.dumps({"name": path.name, **told}) + "\n")
        sys.stdout.flush()


def damaged(text: str, broken: dict[str, float], random: np.random.Generator) -> bytes:
    """Return a file's bytes, with what is broken in them."""
    if "out-of-range" in broken:
        numbers = list(_NUMBER.finditer(text))
        one = numbers[3 * len(numbers) // 4]  # behind its head
        text = f"{text[: one.start()]}{broken['out-of-range']:g}{text[one.end() :]}"
    content = text.encode("utf-8")
    if "garble" in broken:
        where = int(random.integers(len(content)))
        flipped = content[where] ^ 1 << int(broken["garble"])
        content = content[:where] + bytes([flipped]) + content[where + 1 :]
    if "drop-bytes" in broken:
        middle = len(content) // 2
        content = content[:middle] + content[middle + int(broken["drop-bytes"]) :]
    return content


def write_slowly(path: Path, content: bytes, piece_s: float = _PIECE_S) -> None:
    """Write a file in pieces, so that who looks too soon finds a part of it."""
    with path.open("wb", buffering=0) as file:
        for piece in range(_PIECES):
            begin, end = (len(content) * at // _PIECES for at in (piece, piece + 1))
            file.write(content[begin:end])
            time.sleep(piece_s)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
