"""Agilent chromatograms as comma-separated text: two columns, or points with a header."""

import re
from pathlib import Path

from operando.readers._table import ReaderError, Table, rises, rows_of, standard, text_of

FORMAT = "agilent_csv"
_HEADER = re.compile(r"X\s*\((?P<x>[^)]*)\)\s*[,;\t]\s*Y\s*\((?P<y>[^)]*)\)", re.IGNORECASE)


def read_agilent(path: Path | str, time_unit: str | None = None) -> Table:
    """Read an exported chromatogram: ``retention_s`` and ``signal``.

    Two shapes are known: lines of two numbers without a header (ChemStation, usually UTF-16), and
    ``#Point,X(Minutes),Y(Counts)`` with three (MassHunter). The first tells no unit of its times:
    it must be given.

    Args:
        path: The file.
        time_unit: ``min`` or ``s``, where the file tells none.

    Raises:
        ReaderError: No such file, no unit of time, times that do not rise, or a row cut off.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise ReaderError(f"{path}: is empty")
    told: dict[str, str] = {}
    unit, unit_of_signal, begin, index = time_unit, "?", 0, 0
    for position, (_, line) in enumerate(lines):
        header = _HEADER.search(line)
        if header:
            unit = header["x"].strip()
            unit_of_signal, begin, index = header["y"].strip(), position + 1, 1
            break
        if line.startswith("#"):
            told[f"line {position + 1}"] = line.strip('#"')
            begin = position + 1
        else:
            break
    separator = ";" if ";" in lines[begin if begin < len(lines) else 0][1] else ","
    if "\t" in lines[begin if begin < len(lines) else 0][1]:
        separator = "\t"
    rows = [(n, line.split(separator)) for n, line in lines[begin:] if not line.startswith("#")]
    values = rows_of(path, rows, index + 2, (index, index + 1))
    if unit is None:
        raise ReaderError(
            f"{path}: tells no unit of its times; give time_unit: 'min' (ChemStation) or 's'"
        )
    name, unit_now, times = standard(path, "retention", unit, values[:, 0])
    if not rises(times):
        raise ReaderError(f"{path}: the times of a chromatogram rise, these do not")
    return Table(
        {name: times, "signal": values[:, 1].copy()},
        {name: unit_now, "signal": unit_of_signal},
        "chromatogram",
        "no current; the detector's own unit",
        source,
        told,
    )
