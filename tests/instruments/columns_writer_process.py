"""A process that writes numbered rows into columns and tells what it may announce; to be killed."""

import sys
from pathlib import Path

import numpy as np

from instruments._columns import Columns


def main(folder: str) -> None:
    """Write without end: first the file's name, then how many rows were announced."""
    columns = Columns(Path(folder), "potentiostat", {"t": "s", "potential": "V"})
    sys.stdout.write(f"{columns.path}\n")
    first = 0
    while True:
        # Blocks of all sizes, chunks of 1024 rows.
        rows = np.arange(first, first + 1 + first % 700, dtype=float)
        columns.write(np.stack([rows + 1e9, rows, -rows], axis=1))
        documents = list(columns.documents())
        first = documents[-1][1]["indices"]["stop"]
        sys.stdout.write(f"{first}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
