"""PalmSens PSTrace session files (.pssession): JSON, usually UTF-16.

A session has measurements; a measurement has a dataset with all its arrays. Curves (one for each
scan of a voltammetry) and spectra restate some of them for plotting, and are read where a dataset
alone is no table.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from operando.readers._table import (
    LARGEST,
    Floats,
    ReaderError,
    Source,
    Table,
    standard,
    text_of,
)

FORMAT = "palmsens_pssession"
_MEANING = {
    "time": "time", "potential": "potential", "current": "current", "frequency": "frequency",
    "zre": "z_real", "zim": "z_imag", "charge": "charge",
}  # fmt: skip
# A unit's class names the quantity, and alone tells the prefix: of MicroAmpere the symbol is A.
_CLASSES = {
    "time": ("time", "s"), "volt": ("potential", "V"), "ampere": ("current", "A"),
    "hertz": ("frequency", "Hz"), "coulomb": ("charge", "C"),
    "zre": ("z_real", "ohm"), "zim": ("z_imag", "ohm"),
}  # fmt: skip
_PREFIXES = {"pico": "p", "nano": "n", "micro": "u", "milli": "m", "kilo": "k", "mega": "M"}
_SIGN = "oxidation at the working electrode positive; imaginary part turned to its own sign"

Json = Mapping[str, Any]


def read_palmsens(path: Path | str, measurement: int = 0, part: int = 0) -> Table:
    """Read one table of a session: its first, unless another one is asked for.

    Columns are those of the measurement's dataset: of a spectrum the impedance's, else time,
    potential, current and others. Oxidation at the working electrode is positive. Where the file
    calls the imaginary part -Z'' it is turned here. ``told`` says which of how many it is
    (``measurement``, ``part``).

    Args:
        path: The file.
        measurement: Which of its measurements, from 0.
        part: Which of the measurement's spectra, or of its curves (the scans of a voltammetry),
            from 0.

    Raises:
        ReaderError: It is no such file, is cut off, has no such measurement or part, a unit whose
            class and symbol contradict each other, or columns of different lengths.
    """
    path = Path(path)
    measurements, source = _measurements(path)
    if not 0 <= measurement < len(measurements):
        titles = ", ".join(repr(one.get("title")) for one in measurements if isinstance(one, dict))
        raise ReaderError(f"{path}: there is no measurement {measurement}; there are {titles}")
    tables = list(_tables(path, source, measurements, measurement, only=part))
    if not tables:
        parts = [title for title, _ in _parts_of(path, measurements[measurement], measurement)]
        if not parts:
            raise ReaderError(f"{path}: measurement {measurement} holds no data")
        there = ", ".join(map(repr, parts))
        raise ReaderError(f"{path}: measurement {measurement} has no part {part}; it has {there}")
    return tables[0]


def read_palmsens_session(path: Path | str) -> tuple[Table, ...]:
    """Read all tables of a session: every measurement, every spectrum and scan in it.

    Each is as `read_palmsens` gives it. Measurements without data are passed over.

    Args:
        path: The file.

    Raises:
        ReaderError: As `read_palmsens`, or no measurement holds data.
    """
    path = Path(path)
    measurements, source = _measurements(path)
    found = tuple(
        table
        for number in range(len(measurements))
        for table in _tables(path, source, measurements, number)
    )
    if not found:
        raise ReaderError(f"{path}: none of its {len(measurements)} measurements holds data")
    return found


def _measurements(path: Path) -> tuple[list[Any], Source]:
    text, source = text_of(path, FORMAT)
    try:
        session = _lower(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ReaderError(f"{path}: is no complete JSON ({error}): is it cut off?") from error
    measurements = session.get("measurements") if isinstance(session, dict) else None
    if not isinstance(measurements, list):
        raise ReaderError(f"{path}: a session has a list of measurements, this file has none")
    return measurements, source


def _lower(value: Any) -> Any:
    """Return a document with the keys in lower case: programs of different age differ in that."""
    if isinstance(value, dict):
        return {str(key).lower(): _lower(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_lower(one) for one in value]
    return value


def _tables(
    path: Path,
    source: Source,
    measurements: Sequence[Any],
    measurement: int,
    only: int | None = None,
) -> Iterator[Table]:
    """Yield the tables of a measurement, or the one of a number."""
    told = measurements[measurement]
    parts = _parts_of(path, told, measurement)
    for number, (title, arrays) in enumerate(parts):
        if only not in (None, number):
            continue
        where = f"measurement {measurement}"
        if len(parts) > 1:
            where += f", part {number} ({title})"
        try:
            columns, units = _columns(path, arrays)
        except ReaderError:
            raise
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ReaderError(f"{path}: {where} is not as expected ({error!r})") from error
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ReaderError(
                f"{path}: {where}: columns of different lengths, {lengths}: is it cut off?"
            )
        about = {key: str(told[key]) for key in ("title", "timestamp") if key in told}
        about |= {
            "measurement": f"{measurement} of {len(measurements)}",
            "part": f"{number} of {len(parts)}: {title}",
        }
        yield Table(columns, units, _technique(told), _SIGN, source, about)


def _technique(told: Json) -> str:
    method = str(told.get("method", ""))
    named = (line.split("=", 1)[1] for line in method.splitlines() if line.startswith("METHOD_ID="))
    return next(named, str(told.get("title", ""))).strip()


def _parts_of(path: Path, told: Any, measurement: int) -> list[tuple[str, list[Json]]]:
    try:
        return _parts(told)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ReaderError(
            f"{path}: measurement {measurement} is not as expected ({error!r})"
        ) from error


def _parts(told: Json) -> list[tuple[str, list[Json]]]:
    """Return title and arrays of each table of a measurement; none without data.

    Its spectra, else the dataset with what curves have beside it, else the curves: the scans of a
    voltammetry are of several lengths, or come under one name several times.
    """
    spectra = [
        (str(one.get("title") or f"spectrum {number}"), list(one["dataset"]["values"]))
        for number, one in enumerate(told.get("eisdatalist") or [], 1)
    ]
    if spectra:
        return [(title, arrays) for title, arrays in spectra if arrays]
    dataset = list((told.get("dataset") or {}).get("values") or [])
    curves = [
        (
            str(curve.get("title") or f"curve {number}"),
            [curve["xaxisdataarray"], curve["yaxisdataarray"]],
        )
        for number, curve in enumerate(told.get("curves") or [], 1)
    ]
    if not dataset or (curves and not _is_a_table(dataset)):
        return curves
    known = [_values(array) for array in dataset]
    beside = [
        (title, arrays)
        for title, arrays in curves
        if not all(_values(array) in known for array in arrays)
    ]
    return [(str(told.get("title") or "dataset"), dataset), *beside]


def _is_a_table(arrays: Sequence[Json]) -> bool:
    names = [(array.get("description"), array.get("type")) for array in arrays]
    lengths = {len(array["datavalues"]) for array in arrays}
    return len(lengths) == 1 and len(set(names)) == len(names)


def _values(array: Json) -> list[float]:
    return [float(one["v"]) for one in array["datavalues"]]


def _columns(path: Path, arrays: Sequence[Json]) -> tuple[dict[str, Floats], dict[str, str]]:
    columns: dict[str, Floats] = {}
    units: dict[str, str] = {}
    for array in arrays:
        values = np.array(_values(array), dtype=np.float64)
        if (np.abs(values) > LARGEST).any():
            raise ReaderError(f"{path}: an array holds a number that is none: {values.max()}")
        name = str(array.get("description") or array.get("type") or len(columns))
        told = array.get("unit") or {}
        symbol = str(told.get("s") or "").strip()
        quantity, unit = _unit(path, name, str(told.get("type", "")), symbol)
        key, unit_now, column = name, symbol or "?", values
        if quantity:
            turned = quantity == "z_imag" and str(told.get("q", "-")).startswith("-")
            factor = -1.0 if turned else 1.0
            standard_key, standard_unit, standard_values = standard(
                path, quantity, unit, values, factor=factor
            )
            if standard_key not in columns:
                key, unit_now, column = standard_key, standard_unit, standard_values
        while key in columns:
            key += "_"
        columns[key], units[key] = column, unit_now
    return columns, units


def _unit(path: Path, name: str, kind: str, symbol: str) -> tuple[str, str]:
    """Return the quantity of an array, empty if it is not known, and its unit."""
    named = kind.rsplit(".", 1)[-1].lower()
    prefix = next(
        (x for x in _PREFIXES if named.startswith(x) and named.removeprefix(x) in _CLASSES), ""
    )
    quantity, base = _CLASSES.get(
        named.removeprefix(prefix), (_MEANING.get(name.strip().lower(), ""), "")
    )
    if not prefix:
        return quantity, symbol or base
    unit = _PREFIXES[prefix] + base
    if symbol.replace("\u00b5", "u").replace("\u03bc", "u") not in ("", base, unit):
        raise ReaderError(f"{path}: the unit of {name} is {unit} by its class, and {symbol!r}")
    return quantity, unit
