"""Diffraction patterns as two columns (.xy)."""

import re
from pathlib import Path

from operando.readers._table import ReaderError, Table, rises, rows_of, text_of

FORMAT = "xrd_xy"
_NUMBER = re.compile(r"^[+-]?(?:\d|\.\d)")
_STARTED = re.compile(
    r"(?:started|date|time)\s*[:=]\s*(\d{4}-\d\d-\d\d)[T ]"
    r"(\d\d:\d\d:\d\d(?:[.,]\d+)?)\s*(Z|UTC|[+-]\d\d:?\d\d)?",
    re.IGNORECASE,
)


def read_xy(path: Path | str) -> Table:
    """Read a pattern: ``two_theta_deg`` and ``intensity``, in the file's order.

    Lines that begin with no number come before the table, and are told; a third column (the
    uncertainty of .xye) is left out.

    Args:
        path: The file.

    Raises:
        ReaderError: No table of two columns, or angles that do not rise.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    told: dict[str, str] = {}
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line:
            continue
        if not _NUMBER.match(line):
            if rows:
                raise ReaderError(f"{path}: line {number} holds no number: {line[:40]!r}")
            told[f"line {number}"] = line.strip("#;_' ")
            begun = _STARTED.search(line)
            if begun:
                told["started"] = f"{begun[1]}T{begun[2]}{begun[3] or ''}"
            continue
        rows.append((number, re.split(r"[\s;,]+", line)))
    values = rows_of(path, rows, 2, (0, 1))
    if not rises(values[:, 0]):
        raise ReaderError(f"{path}: the angles of a pattern rise, these do not")
    return Table(
        {"two_theta_deg": values[:, 0].copy(), "intensity": values[:, 1].copy()},
        {"two_theta_deg": "deg", "intensity": "?"},
        "X-ray diffraction",
        "no current; counts or counts per second",
        source,
        told,
    )
