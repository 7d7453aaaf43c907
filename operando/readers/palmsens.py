"""PalmSens PSTrace session files (.pssession): JSON, usually UTF-16."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from operando.readers._table import Floats, ReaderError, Table, standard, text_of

FORMAT = "palmsens_pssession"
_MEANING = {
    "time": "time", "potential": "potential", "current": "current", "frequency": "frequency",
    "zre": "z_real", "zim": "z_imag", "charge": "charge",
}  # fmt: skip
# Older files name the class of the unit, not its quantity and symbol.
_CLASSES = {
    "time": ("time", "s"), "volt": ("potential", "V"), "ampere": ("current", "A"),
    "microampere": ("current", "uA"), "hertz": ("frequency", "Hz"), "coulomb": ("charge", "C"),
    "zre": ("z_real", "ohm"), "zim": ("z_imag", "ohm"),
}  # fmt: skip


def read_palmsens(path: Path | str, measurement: int = 0) -> Table:
    """Read one measurement of a session.

    Columns are those of the measurement's dataset: of a spectrum the impedance's, else time,
    potential, current and others. Oxidation at the working electrode is positive. Where the file
    calls the imaginary part -Z'' it is turned here.

    Args:
        path: The file.
        measurement: Which of its measurements, from 0.

    Raises:
        ReaderError: It is no such file, is cut off, has no such measurement, or columns of
            different lengths.
    """
    path = Path(path)
    text, source = text_of(path, FORMAT)
    try:
        session = _lower(json.loads(text))
    except json.JSONDecodeError as error:
        raise ReaderError(f"{path}: is no complete JSON ({error}): is it cut off?") from error
    measurements = session.get("measurements") if isinstance(session, dict) else None
    if not isinstance(measurements, list):
        raise ReaderError(f"{path}: a session has a list of measurements, this file has none")
    if not 0 <= measurement < len(measurements):
        titles = ", ".join(repr(one.get("title")) for one in measurements if isinstance(one, dict))
        raise ReaderError(f"{path}: there is no measurement {measurement}; there are {titles}")
    told = measurements[measurement]
    try:
        arrays = _arrays(told)
        columns, units = _columns(path, arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise ReaderError(
            f"{path}: measurement {measurement} is not as expected ({error!r})"
        ) from error
    if not columns:
        raise ReaderError(f"{path}: measurement {measurement} holds no data")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ReaderError(f"{path}: columns of different lengths, {lengths}: is it cut off?")
    sign = "oxidation at the working electrode positive; imaginary part turned to its own sign"
    about = {key: str(told[key]) for key in ("title", "timestamp") if key in told}
    method = str(told.get("method", ""))
    technique = next(
        (line.split("=", 1)[1] for line in method.splitlines() if line.startswith("METHOD_ID=")),
        str(told.get("title", "")),
    )
    return Table(columns, units, technique.strip(), sign, source, about)


def _lower(value: Any) -> Any:
    """Return a document with the keys in lower case: programs of different age differ in that."""
    if isinstance(value, dict):
        return {str(key).lower(): _lower(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_lower(one) for one in value]
    return value


def _arrays(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    spectra = told.get("eisdatalist") or []
    if spectra:
        return list(spectra[0]["dataset"]["values"])
    if told.get("dataset"):
        return list(told["dataset"]["values"])
    arrays = []
    for curve in (told.get("curves") or [])[:1]:
        arrays += [curve["xaxisdataarray"], curve["yaxisdataarray"]]
    return arrays


def _columns(
    path: Path, arrays: list[Mapping[str, Any]]
) -> tuple[dict[str, Floats], dict[str, str]]:
    columns: dict[str, Floats] = {}
    units: dict[str, str] = {}
    for array in arrays:
        values = np.array([float(one["v"]) for one in array["datavalues"]], dtype=np.float64)
        name = str(array.get("description") or array.get("type") or len(columns))
        told = array.get("unit") or {}
        kind = str(told.get("type", "")).rsplit(".", 1)[-1].lower()
        symbol = str(told.get("s") or "").strip()
        quantity, unit = _CLASSES.get(kind, (_MEANING.get(name.strip().lower(), ""), symbol))
        key, unit_now, column = name, symbol or "?", values
        if quantity:
            turned = quantity == "z_imag" and str(told.get("q", "-")).startswith("-")
            factor = -1.0 if turned else 1.0
            standard_key, standard_unit, standard_values = standard(
                path, quantity, symbol or unit, values, factor=factor
            )
            if standard_key not in columns:
                key, unit_now, column = standard_key, standard_unit, standard_values
        while key in columns:
            key += "_"
        columns[key], units[key] = column, unit_now
    return columns, units
