"""Scribner ZPlot and ZView impedance files (.z)."""

import re
from pathlib import Path

import numpy as np

from operando.readers._table import Floats, ReaderError, Table, rows_of, standard, text_of

FORMAT = "zplot_z"
_END = "end comments"
# Where a header names no columns, these are the first ones.
_ORDER = ("Freq(Hz)", "Ampl", "Bias", "Time(Sec)", "Z'(a)", "Z''(b)", "GD", "Err", "Range")
_MEANING = {
    "Freq(Hz)": ("frequency", "Hz"), "Time(Sec)": ("time", "s"),
    "Z'(a)": ("z_real", "ohm"), "Z''(b)": ("z_imag", "ohm"),
}  # fmt: skip


def read_zplot(path: Path | str) -> Table:
    """Read a .z file: frequency, both parts of the impedance, amplitude, bias, time.

    The imaginary part has its own sign: capacitive is negative.

    Raises:
        ReaderError: There is no line "End Comments", or a row is cut off.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    lines = text.split("\n")
    ends = [n for n, line in enumerate(lines) if line.strip().lower().strip('"') == _END]
    if not ends:
        raise ReaderError(f"{path}: a .z file has a line 'End Comments' before its numbers")
    end = ends[0]
    header = list(_ORDER)
    for line in lines[:end]:
        if "Freq" in line and "Z'" in line:
            header = [cell for cell in re.split(r"[\s,]+", line.strip().strip('"')) if cell]
    rows = [
        (number + 1, _cells(lines[number]))
        for number in range(end + 1, len(lines))
        if lines[number].strip()
    ]
    for number, cells in rows:
        if "," in lines[number - 1] and len(cells) > len(header):
            raise ReaderError(
                f"{path}: line {number} has {len(cells)} cells for {len(header)} columns: does a "
                "comma part thousands or decimals there?"
            )
    needed = header.index("Z''(b)") + 1 if "Z''(b)" in header else len(header)
    width = min(max((len(cells) for _, cells in rows), default=needed), len(header))
    values = rows_of(path, rows, max(width, needed), range(max(width, needed)))
    columns: dict[str, Floats] = {}
    units: dict[str, str] = {}
    for index, name in enumerate(header[: values.shape[1]]):
        if name in _MEANING:
            key, unit, column = standard(path, *_MEANING[name], values[:, index])
        else:
            key, unit, column = name, {"Ampl": "V", "Bias": "V"}.get(name, "?"), values[:, index]
        columns[key], units[key] = np.array(column), unit
    told = {}
    for line in lines[:end]:
        name, separator, value = line.partition(":")
        if separator and name.strip():
            told[name.strip()] = value.strip()
    sign = "no current; imaginary part as it is, capacitive negative"
    return Table(columns, units, "impedance", sign, source, told)


def _cells(line: str) -> list[str]:
    """Split a row at tabs, blanks, or commas that are not decimal."""
    if "\t" in line.strip():
        return [cell.strip() for cell in line.strip().split("\t")]
    if re.search(r",\s", line) or re.search(r"\d\.\d[^\s]*,", line):
        return [cell.strip() for cell in line.strip().rstrip(",").split(",")]
    return line.split()
