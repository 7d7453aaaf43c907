"""Acceptance: rows of published values returned through the whole chain (``make acceptance``)."""

import sys
import time
from typing import TextIO

from operando.catalog import ensure_service
from operando.demo import SODIUM, ZINC_RAMAN, compare, read_back, run_experiment
from operando.report import ComparisonRow, comparison_table
from operando.settings import data_dir


def main(out: TextIO | None = None) -> int:
    """Run rows A1, A3, A6 (sodium, both electrodes) and B12 (zinc); return 0 if all came back."""
    out = out or sys.stdout
    folder = data_dir()
    ensure_service(folder)
    started = time.monotonic()
    lines: list[ComparisonRow] = []
    for experiment in [*SODIUM, ZINC_RAMAN]:
        uid = run_experiment(experiment, folder, out=out)
        lines += compare(experiment.rows, read_back(uid, folder)[1])
    out.write("\n" + comparison_table(lines) + "\n")
    missed = [line for line in lines if not line.agrees]
    out.write(f"{len(lines) - len(missed)} of {len(lines)} rows returned")
    out.write(f" in {time.monotonic() - started:.0f} s\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
