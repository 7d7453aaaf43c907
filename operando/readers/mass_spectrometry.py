"""Ion currents of a differential electrochemical mass spectrometer (DEMS), as separated text."""

import re
from pathlib import Path

from operando.readers._table import Floats, ReaderError, Table, rows_of, separated, text_of

FORMAT = "dems_csv"
_TIME = re.compile(
    r"^(?:relative |rel\. |elapsed )?(?:time|t)\b[^\[(/]*[\[(/]\s*([^\])]+?)\s*[\])]?$",
    re.IGNORECASE,
)
_ION = re.compile(r"(?:m\s*/\s*z|mass|amu|ion)\D*(\d+(?:[.,]\d+)?)", re.IGNORECASE)
_UNIT = re.compile(r"[\[(]\s*([pnuµμm]?A)\s*[\])]")
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}
_AMPERE = {"A": 1.0, "mA": 1e-3, "uA": 1e-6, "\u00b5A": 1e-6, "\u03bcA": 1e-6, "nA": 1e-9,
           "pA": 1e-12}  # fmt: skip
_STARTED = re.compile(r"^#?\s*(?:started|start time|start)\s*[:=,;]\s*(.+)$", re.IGNORECASE)


def read_dems(path: Path | str) -> Table:
    """Read ion currents: ``time_s`` and, by its mass-to-charge ratio, ``ion_current_mz2_a``.

    The header names each column and its unit, ``Time (s),m/z 2 (A),m/z 44 (A)``; a line before it
    may tell when it was begun, ``# started: 2026-11-26T12:00:00+00:00``.

    Args:
        path: The file.

    Raises:
        ReaderError: No such header, a unit that is not known, or a row cut off.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    told: dict[str, str] = {}
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, line in lines:
        separator = next((one for one in "\t;," if one in line), None)
        cells = line.split(separator) if separator else [line]
        columns = _columns(path, [cell.strip().strip('"') for cell in cells])
        if columns is not None:
            break
        begun = _STARTED.match(line.replace('"', ""))
        if begun:
            told["started"] = begun[1].strip(" ,;")
        else:
            told[f"line {number}"] = line.strip("#, ;")
    else:
        raise ReaderError(
            f"{path}: no line names the columns; expected e.g. 'Time (s),m/z 2 (A),m/z 44 (A)'"
        )
    table = [(n, line) for n, line in lines if n > number and line[0] != "#"]
    index = [place for place, _, _ in columns]
    separator = separator or ","
    rows, width = separated(path, table, separator, cells, max(index) + 1)
    values = rows_of(path, rows, width, index, commas_separate=separator == ",")
    found: dict[str, Floats] = {
        name: values[:, place] * factor for place, (_, name, factor) in enumerate(columns)
    }
    units = {name: "s" if name == "time_s" else "A" for name in found}
    return Table(found, units, "DEMS", "ion currents of the detector, positive", source, told)


def _columns(path: Path, cells: list[str]) -> list[tuple[int, str, float]] | None:
    """Return (place, name, factor) of the columns that a header names; None if it is none."""
    time = next((n for n, cell in enumerate(cells) if _TIME.match(cell)), None)
    ions = {n: found[1] for n, cell in enumerate(cells) if (found := _ION.search(cell))}
    if time is None or not ions:
        return None
    match = _TIME.match(cells[time])
    unit = match[1].strip() if match else ""
    if unit not in _SECONDS:
        raise ReaderError(f"{path}: the unit of time is {unit!r}, not one of {', '.join(_SECONDS)}")
    columns = [(time, "time_s", _SECONDS[unit])]
    for place, mass in ions.items():
        found = _UNIT.search(cells[place])
        if found is None:
            raise ReaderError(
                f"{path}: column {cells[place]!r} tells no unit of its current, e.g. 'm/z 2 (A)'"
            )
        name = f"ion_current_mz{mass.replace(',', '.').replace('.', 'p')}_a"
        columns.append((place, name, _AMPERE[found[1]]))
    return columns
