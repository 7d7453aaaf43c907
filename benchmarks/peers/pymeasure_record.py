"""The five-column record in PyMeasure, for the interpreter of the peers' own environment.

The verbs are those of ``qcodes_record.py``. Rows go through a Worker into Results, which writes CSV
and flushes each row; it never syncs, so the file is synced before the clock stops.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from pymeasure.experiment import FloatParameter, Procedure, Results, Worker

COLUMNS = ("t", "potential", "current", "charge", "temperature")


class Record(Procedure):
    """Emit rows, as many or as often as asked for."""

    rows = FloatParameter("rows", default=0)
    rows_per_s = FloatParameter("rows_per_s", default=0)
    DATA_COLUMNS: ClassVar[list[str]] = list(COLUMNS)
    notes: int | None = None

    def execute(self) -> None:
        """Emit until the rows are told, or for ever."""
        began, row = time.perf_counter(), 0
        while not self.rows or row < self.rows:
            self.emit("results", dict.fromkeys(COLUMNS, 0.001 * row))
            row += 1
            if Record.notes is not None:
                os.pwrite(Record.notes, f"{row:12d}".encode("ascii"), 0)
                time.sleep(max(0.0, began + row / self.rows_per_s - time.perf_counter()))


def run(folder: Path, **settings: Any) -> None:
    """Run the procedure into ``folder`` until it ends."""
    procedure = Record()
    for name, value in settings.items():
        setattr(procedure, name, value)
    worker = Worker(Results(procedure, str(folder / "results.csv")))
    worker.start()
    worker.join(timeout=3600)


def write(folder: Path, rows: int) -> dict[str, float]:
    """Record ``rows`` rows."""
    began = time.perf_counter()
    run(folder, rows=rows)
    with open(folder / "results.csv", "ab") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows": count(folder)["rows"]}


def count(folder: Path) -> dict[str, int]:
    """Count the whole rows of the file; its heading and comments are not rows."""
    with open(folder / "results.csv", encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n") and not line.startswith("#")]
    return {"rows": len([line for line in lines[1:] if line.count(",") == len(COLUMNS) - 1])}


if __name__ == "__main__":
    verb, where, *rest = sys.argv[1:]
    if verb == "write":
        told = write(Path(where), int(rest[0]))
    elif verb == "pace":
        Record.notes = os.open(rest[1], os.O_CREAT | os.O_WRONLY)
        run(Path(where), rows=0, rows_per_s=float(rest[0]))
        told = {}
    else:
        told = count(Path(where))
    sys.stdout.write("\n" + json.dumps(told) + "\n")
