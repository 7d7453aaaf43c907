"""Tables as comma-, semicolon- or tab-separated text, Battery Data Format among them."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from operando.readers._table import Floats, ReaderError, Table, number, rows_of, standard, text_of

BDF, CSV = "bdf_csv", "csv"
_BDF_SIGN = "positive current charges the cell (Battery Data Format)"
# Labels of the format, as machines and as people write them.
_BDF: Mapping[str, tuple[str, str]] = {
    "test_time_second": ("time", "s"),
    "voltage_volt": ("potential", "V"),
    "current_ampere": ("current", "A"),
    "frequency_hertz": ("frequency", "Hz"),
    "real_impedance_ohm": ("z_real", "ohm"),
    "imaginary_impedance_ohm": ("z_imag", "ohm"),
    "ambient_temperature_celsius": ("temperature", "C"),
    "net_capacity_ah": ("charge", "Ah"),
}
_BDF_LABELS = {
    "test time / s": "test_time_second", "voltage / v": "voltage_volt",
    "current / a": "current_ampere", "frequency / hz": "frequency_hertz",
    "real impedance / ohm": "real_impedance_ohm",
    "imaginary impedance / ohm": "imaginary_impedance_ohm",
    "ambient temperature / degc": "ambient_temperature_celsius",
    "net capacity / ah": "net_capacity_ah",
}  # fmt: skip
_BDF_NEEDED = ("test_time_second", "voltage_volt", "current_ampere")
_NAMES = {
    "time": "time", "t": "time", "test time": "time", "elapsed time": "time",
    "potential": "potential", "voltage": "potential", "e": "potential", "ewe": "potential",
    "ecell": "potential", "vf": "potential", "current": "current", "i": "current", "im": "current",
    "frequency": "frequency", "freq": "frequency", "f": "frequency", "z'": "z_real",
    "re(z)": "z_real", "zreal": "z_real", "zre": "z_real", "z''": "z_imag", "im(z)": "z_imag",
    "zimag": "z_imag", "zim": "z_imag", "-z''": "-z_imag", "-im(z)": "-z_imag",
    "temperature": "temperature", "charge": "charge", "capacity": "charge",
}  # fmt: skip
_UNIT = re.compile(
    r"^(?P<name>.+?)\s*(?:/\s*(?P<a>[^/()\[\]]+)|\((?P<b>[^()]+)\)|\[(?P<c>[^\]]+)\])$"
)


def read_bdf(path: Path | str) -> Table:
    """Read a Battery Data Format table: time, voltage, current and whatever else is in it.

    Raises:
        ReaderError: One of those three is missing, or a row is cut off.
    """
    path = Path(path)
    text, source = text_of(path, BDF)
    header, rows, by_comma = _split(path, text)
    keys = [_BDF_LABELS.get(name.lower(), name) for name in header]
    missing = [name for name in _BDF_NEEDED if name not in keys]
    if missing:
        raise ReaderError(f"{path}: a BDF table has {', '.join(missing)}; there are {header}")
    values = rows_of(path, rows, len(header), range(len(header)), commas_separate=by_comma)
    columns: dict[str, Floats] = {}
    units: dict[str, str] = {}
    for index, key in enumerate(keys):
        if key in _BDF:
            name, unit, column = standard(path, *_BDF[key], values[:, index])
        else:
            name, unit = key, "1" if key.endswith(("index", "count")) else "?"
            column = values[:, index].copy()
        columns[name], units[name] = column, unit
    return Table(columns, units, "cycling", _BDF_SIGN, source)


def read_csv(path: Path | str, sign: str) -> Table:
    """Read a table whose header names each column with its unit.

    ``time / s``, ``potential (V)`` and ``current [mA]`` are all understood. Columns with a name
    that is not known keep it.

    Args:
        path: The file.
        sign: What positive current means in it; a table like this never tells, so that it has to
            be said: ``positive oxidises the working electrode``.

    Raises:
        ReaderError: A known column has no unit or one that is not known, or a row is cut off.
    """
    path = Path(path)
    if not sign.strip():
        raise ReaderError(f"{path}: say what positive current means in it")
    text, source = text_of(path, CSV)
    header, rows, by_comma = _split(path, text)
    values = rows_of(path, rows, len(header), range(len(header)), commas_separate=by_comma)
    columns: dict[str, Floats] = {}
    units: dict[str, str] = {}
    for index, label in enumerate(header):
        found = _UNIT.match(label)
        name = (found["name"] if found else label).strip()
        unit = (found["a"] or found["b"] or found["c"]).strip() if found else ""
        quantity = _NAMES.get(name.lower(), "")
        key, column = name, values[:, index].copy()
        if quantity and not unit:
            raise ReaderError(
                f"{path}: column {label!r} tells no unit; write it as '{name} / unit'"
            )
        if quantity:
            factor = -1.0 if quantity.startswith("-") else 1.0
            key, unit, column = standard(path, quantity.lstrip("-"), unit, column, factor=factor)
        if key in columns:
            raise ReaderError(f"{path}: two columns are {key}")
        columns[key], units[key] = column, unit or "?"
    return Table(columns, units, "", sign, source)


def _split(path: Path, text: str) -> tuple[list[str], list[tuple[int, list[str]]], bool]:
    """Return the header, the rows with their numbers, and whether commas part the cells."""
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    header_line = lines[first]
    separator = max("\t;,", key=header_line.count)
    if not header_line.count(separator):
        raise ReaderError(f"{path}: line {first + 1} names a single column: {header_line!r:.60}")
    try:
        header, *table = list(csv.reader(lines[first:], delimiter=separator))
    except csv.Error as error:
        raise ReaderError(f"{path}: holds no table ({error})") from error
    header = [cell.strip() for cell in header]
    if all(_numeric(cell) for cell in header):
        raise ReaderError(f"{path}: has no header: what its columns are is not told")
    rows = [
        (n, cells)
        for n, cells in enumerate(table, first + 2)
        if any(cell.strip() for cell in cells)
    ]
    return header, rows, separator == ","


def _numeric(cell: str) -> bool:
    try:
        return bool(np.isfinite(number(cell)))
    except ValueError:
        return False
