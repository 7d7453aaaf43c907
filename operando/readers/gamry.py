"""Gamry Framework data files (.DTA): one experiment with its tables as tab-separated text."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from operando.readers._table import Floats, ReaderError, Table, number, rows_of, standard, text_of

FORMAT = "gamry_dta"
_MEANING = {
    "T": "time", "Time": "time", "Vf": "potential", "Im": "current", "Freq": "frequency",
    "Zreal": "z_real", "Zimag": "z_imag", "Temp": "temperature",
}  # fmt: skip
_UNITLESS = {"#": "1", "bits": "1", "": "?"}


def read_gamry(path: Path | str) -> Table:
    """Read the main table of a .DTA file: ZCURVE of a spectrum, else all CURVEs one after another.

    Curves of a voltammetry are told apart by the column ``curve``, from 1. Gamry writes anodic
    currents positive, as IUPAC has it, unless its software was set otherwise.

    Raises:
        ReaderError: It is no .DTA file, has none of these tables, tells no units, or is cut off.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    lines = text.split("\n")
    if lines[0].strip() != "EXPLAIN":
        raise ReaderError(f"{path}: a .DTA file begins with EXPLAIN, not with {lines[0]!r:.60}")
    told = _told(lines)
    tables = [number for number, line in enumerate(lines) if line.split("\t")[1:2] == ["TABLE"]]
    names = {number: lines[number].split("\t")[0] for number in tables}
    wanted = [n for n in tables if names[n] == "ZCURVE"] or [
        n for n in tables if names[n].startswith("CURVE")
    ]
    if not wanted:
        there = ", ".join(names.values()) or "none"
        raise ReaderError(
            f"{path}: {told.get('TAG', 'the experiment')} has no table CURVE or ZCURVE, but {there}"
        )
    parts = [_table(path, lines, number) for number in wanted]
    header, units, _ = parts[0]
    for other, *_ in parts[1:]:
        if other != header:
            raise ReaderError(f"{path}: its tables have different columns: {header} and {other}")
    values = np.concatenate([part for *_, part in parts])
    columns: dict[str, Floats] = {}
    names_of: dict[str, str] = {}
    for index, (name, unit) in enumerate(zip(header, units, strict=True)):
        if name in _MEANING and not (name == "Temp" and (values[:, index] < -273.15).any()):
            key, unit_now, column = standard(path, _MEANING[name], unit, values[:, index])
        else:
            key, unit_now, column = name, _UNITLESS.get(unit, unit), values[:, index].copy()
        columns[key], names_of[key] = column, unit_now
    if len(parts) > 1:
        counts = [len(part) for *_, part in parts]
        columns["curve"] = np.repeat(np.arange(1.0, len(parts) + 1), counts)
        names_of["curve"] = "1"
    sign = "anodic current positive (the program's default); imaginary part as it is"
    return Table(columns, names_of, told.get("TAG", ""), sign, source, told)


def _told(lines: list[str]) -> Mapping[str, str]:
    told = {}
    for line in lines:
        cells = line.split("\t")
        if len(cells) >= 3 and cells[0] and cells[1] != "TABLE":
            told[cells[0]] = cells[2].strip()
        elif len(cells) == 2 and cells[0] == "TAG":
            told["TAG"] = cells[1].strip()
    return told


def _table(path: Path, lines: list[str], at: int) -> tuple[list[str], list[str], Floats]:
    """Return names, units and values of the table whose first line is at an index."""
    if len(lines) < at + 4:
        raise ReaderError(f"{path}: ends within the header of a table: it is cut off")
    header = [cell.strip() for cell in lines[at + 1].split("\t")[1:]]
    units = [cell.strip() for cell in lines[at + 2].split("\t")[1:]]
    if len(header) != len(units):
        raise ReaderError(f"{path}: line {at + 3} has {len(units)} units of {len(header)} columns")
    rows = []
    for place in range(at + 3, len(lines)):
        line = lines[place]
        if not line.startswith("\t"):
            break
        rows.append((place + 1, line.split("\t")[1:]))
    # Text such as the flags of an overload is no column of numbers.
    first = rows[0][1] if rows else []
    numeric = [index for index, cell in enumerate(first) if _is_number(cell)]
    if rows and (not numeric or numeric[-1] >= len(header)):
        raise ReaderError(
            f"{path}: line {rows[0][0]} has {len(first)} cells for {len(header)} columns, "
            f"{len(numeric)} of them numbers: is it damaged?"
        )
    values = rows_of(path, rows, len(header), numeric)
    declared = lines[at].split("\t")[2:3]
    if (
        declared
        and re.fullmatch(r"[0-9]{1,9}", declared[0].strip())
        and len(values) < int(declared[0])
    ):
        raise ReaderError(
            f"{path}: the table at line {at + 1} announces {declared[0]} rows and has "
            f"{len(values)}: it is cut off"
        )
    return [header[i] for i in numeric], [units[i] for i in numeric], values


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return bool(cell.strip())
