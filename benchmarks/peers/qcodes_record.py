"""The five-column record in QCoDeS, for the interpreter of the peers' own environment.

``write FOLDER ROWS`` times one run, ``pace FOLDER ROWS_PER_S NOTES`` records until it is killed and
notes how many rows it has handed over, ``count FOLDER`` reads everything back. Each prints JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

from qcodes.dataset import (
    Measurement,
    initialise_or_create_database_at,
    load_by_id,
    load_or_create_experiment,
)

COLUMNS = ("t", "potential", "current", "charge", "temperature")


def measurement(folder: Path) -> Measurement:
    """Open the database below ``folder``; the dataset's settings are QCoDeS' own."""
    initialise_or_create_database_at(folder / "qcodes.db")
    found = Measurement(exp=load_or_create_experiment("benchmark", sample_name="benchmark"))
    found.register_custom_parameter("t")
    for name in COLUMNS[1:]:
        found.register_custom_parameter(name, setpoints=("t",))
    return found


def write(folder: Path, rows: int) -> dict[str, float]:
    """Record ``rows`` points, one ``add_result`` each."""
    measured = measurement(folder)
    began = time.perf_counter()
    with measured.run() as saver:
        for row in range(rows):
            value = 0.001 * row
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
    lengths = {len(values) for values in found.values()}
    return {"rows": min(lengths, default=0)}


def _newest() -> int:
    from qcodes.dataset import load_last_experiment

    return int(load_last_experiment().last_counter)


if __name__ == "__main__":
    verb, where, *rest = sys.argv[1:]
    if verb == "write":
        told = write(Path(where), int(rest[0]))
    elif verb == "pace":
        pace(Path(where), float(rest[0]), Path(rest[1]))
    else:
        told = count(Path(where))
    sys.stdout.write("\n" + json.dumps(told) + "\n")
