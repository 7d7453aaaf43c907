"""The five-column record in QCoDeS, for the interpreter of the peers' own environment.

``write FOLDER ROWS BLOCK`` times one run, ``pace FOLDER ROWS_PER_S NOTES`` records until it is
killed and notes how many rows it has handed over, ``count FOLDER`` reads everything back. Each
prints JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from qcodes.dataset import (
    Measurement,
    initialise_or_create_database_at,
    load_by_id,
    load_or_create_experiment,
)

COLUMNS = ("t", "potential", "current", "charge", "temperature")


def measurement(folder: Path, kind: str = "numeric") -> Measurement:
    """Open the database below ``folder``; the dataset's settings are QCoDeS' own."""
    initialise_or_create_database_at(folder / "qcodes.db")
    found = Measurement(exp=load_or_create_experiment("benchmark", sample_name="benchmark"))
    found.register_custom_parameter("t", paramtype=kind)
    for name in COLUMNS[1:]:
        found.register_custom_parameter(name, setpoints=("t",), paramtype=kind)
    return found


def write(folder: Path, rows: int, block: int) -> dict[str, float]:
    """Record ``rows`` rows: a number, or from two rows on an array, with each ``add_result``."""
    measured = measurement(folder, "numeric" if block == 1 else "array")
    began = time.perf_counter()
    with measured.run() as saver:
        for first in range(0, rows, block):
            value = 0.001 * first if block == 1 else 0.001 * np.arange(first, first + block)
            saver.add_result(*((name, value) for name in COLUMNS))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows": count(folder)["rows"]}


def pace(folder: Path, rows_per_s: float, notes: Path) -> None:
    """Record at a steady rate until killed."""
    noted = os.open(notes, os.O_CREAT | os.O_WRONLY)
    with measurement(folder).run() as saver:
        began, row = time.perf_counter(), 0
        while True:
            saver.add_result(*((name, 0.001 * row) for name in COLUMNS))
            row += 1
            os.pwrite(noted, f"{row:12d}".encode("ascii"), 0)
            time.sleep(max(0.0, began + row / rows_per_s - time.perf_counter()))


def count(folder: Path) -> dict[str, int]:
    """Read the newest run back and count its points."""
    initialise_or_create_database_at(folder / "qcodes.db")
    found = load_by_id(_newest()).get_parameter_data("potential")["potential"]
    lengths = {values.size for values in found.values()}
    return {"rows": min(lengths, default=0)}


def _newest() -> int:
    from qcodes.dataset import load_last_experiment

    return int(load_last_experiment().last_counter)


if __name__ == "__main__":
    verb, where, *rest = sys.argv[1:]
    if verb == "write":
        told = write(Path(where), int(rest[0]), int(rest[1]))
    elif verb == "pace":
        pace(Path(where), float(rest[0]), Path(rest[1]))
    else:
        told = count(Path(where))
    sys.stdout.write("\n" + json.dumps(told) + "\n")
