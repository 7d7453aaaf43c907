"""A process that appends numbered rows and acknowledges each on stdout, until it is killed."""

import sys

import numpy as np

from instruments._swmr import SwmrFile


def main(path: str) -> None:
    """Append without end."""
    file = SwmrFile(
        path,
        {
            "/entry/data/data": ((120, 160), "u1"),
            "/entry/data/spectrum": ((64,), "<f8"),
            "/entry/data/number": ((), "<f8"),
        },
    )
    number = 0
    while True:
        index = file.append(
            {
                "/entry/data/data": np.full((120, 160), number % 256, "u1"),
                "/entry/data/spectrum": np.full(64, float(number)),
                "/entry/data/number": float(number),
            }
        )
        sys.stdout.write(f"{index}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    main(sys.argv[1])
