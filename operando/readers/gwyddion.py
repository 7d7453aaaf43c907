"""Height maps in Gwyddion's own format (.gwy), which its user guide documents.

``GWYP``, then a tree of objects: a name that ends with NUL, the length of what follows, and
components. A component is a name that ends with NUL, a letter that tells its type, and its value,
little-endian; capital letters are arrays, with their number of elements before them.
"""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.readers._table import ReaderError, Table, bytes_of

FORMAT = "gwy"
_MAGIC = b"GWYP"
_SIZES = {"b": ("<?", 1), "c": ("<c", 1), "i": ("<i", 4), "q": ("<q", 8), "d": ("<d", 8)}
_ARRAYS = {"C": "u1", "I": "<i4", "Q": "<i8", "D": "<f8"}
_DEEPEST = 16
# No microscope sees so far: a damaged number.
_LONGEST_M = 1.0
# What makers call the map of heights, the best first.
_HEIGHTS = ("zsensor", "height", "topography", "z")


@dataclass(frozen=True)
class _Object:
    name: str
    parts: Mapping[str, Any]


def read_gwy(path: Path | str) -> Table:
    """Read the heights of a file: ``x_m``, ``y_m``, ``height_m``, line after line from the top.

    Of several maps in metres it is the one whose title tells a height, else the first; ``channel``
    and ``channels`` are told, and ``rows`` and ``columns``.

    Args:
        path: The file.

    Raises:
        ReaderError: No such file, cut off, or without a map of heights.
    """
    path = Path(path)
    raw, source = bytes_of(path, FORMAT)
    if not raw.startswith(_MAGIC):
        raise ReaderError(f"{path}: does not begin with {_MAGIC.decode()}: no file of Gwyddion 2")
    try:
        top, _ = _object(raw, len(_MAGIC), _DEEPEST)
    except (struct.error, ValueError, IndexError, RecursionError) as error:
        raise ReaderError(
            f"{path}: ends or breaks in mid-object ({error}): is it cut off?"
        ) from None
    fields = {
        key: part
        for key, part in top.parts.items()
        if isinstance(part, _Object) and part.name == "GwyDataField" and key.endswith("/data")
    }
    titles = {key: str(top.parts.get(f"{key}/title", key)).strip() for key in fields}
    heights = [key for key, field in fields.items() if _unit(field, "si_unit_z") == "m"]
    if not heights:
        raise ReaderError(
            f"{path}: no map of heights in m; there are {', '.join(titles.values()) or 'no maps'}"
        )
    chosen = min(heights, key=_rank(titles))
    field = fields[chosen].parts
    try:
        columns, rows = int(field["xres"]), int(field["yres"])
        wide, high = float(field["xreal"]), float(field["yreal"])
        values: NDArray[np.float64] = np.array(field["data"], dtype=np.float64)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise ReaderError(f"{path}: the map {titles[chosen]!r} lacks {error}") from None
    if min(columns, rows) < 1 or not (0 < wide < _LONGEST_M and 0 < high < _LONGEST_M):
        raise ReaderError(
            f"{path}: the map {titles[chosen]!r} has {rows} lines of {columns}, and sides of "
            f"{wide:g} m and {high:g} m"
        )
    across = _unit(fields[chosen], "si_unit_xy")
    if len(values) != rows * columns or not len(values) or across != "m":
        raise ReaderError(
            f"{path}: the map {titles[chosen]!r} has {len(values)} values for {rows} lines of "
            f"{columns}, and its sides are told in {across!r}, not m"
        )
    if not (np.abs(values) < _LONGEST_M).all():
        raise ReaderError(f"{path}: the map {titles[chosen]!r} has heights that are none")
    x, y = np.meshgrid(
        (np.arange(columns) + 0.5) * wide / columns, (np.arange(rows) + 0.5) * high / rows
    )
    told = {
        "channel": titles[chosen],
        "channels": ", ".join(titles.values()),
        "rows": str(rows),
        "columns": str(columns),
    }
    return Table(
        {"x_m": x.ravel(), "y_m": y.ravel(), "height_m": values},
        dict.fromkeys(("x_m", "y_m", "height_m"), "m"),
        "AFM height map",
        "no current",
        source,
        told,
    )


def _rank(titles: Mapping[str, str]) -> Callable[[str], tuple[int, int]]:
    """Return what orders keys like ``/0/data`` by title, then by number."""

    def rank(key: str) -> tuple[int, int]:
        title = titles[key].lower()
        known = (n for n, name in enumerate(_HEIGHTS) if title.startswith(name))
        number = key.split("/")[1]
        return next(known, len(_HEIGHTS)), int(number) if re.fullmatch("[0-9]{1,9}", number) else 0

    return rank


def _unit(field: _Object, name: str) -> str:
    unit = field.parts.get(name)
    return str(unit.parts.get("unitstr", "")) if isinstance(unit, _Object) else ""


def _object(raw: bytes, at: int, deeper: int) -> tuple[_Object, int]:
    if not deeper:
        raise ValueError("objects within objects without end")
    name, at = _text(raw, at)
    (size,) = struct.unpack_from("<I", raw, at)
    at += 4
    end = at + size
    if end > len(raw):
        raise ValueError(f"{end - len(raw)} bytes of {name} are missing")
    parts: dict[str, Any] = {}
    while at < end:
        key, at = _text(raw, at)
        kind, at = chr(raw[at]), at + 1
        parts[key], at = _value(raw, at, kind, deeper)
    if at != end:
        raise ValueError(f"{name} is {at - end} bytes longer than it tells")
    return _Object(name, parts), end


def _value(raw: bytes, at: int, kind: str, deeper: int) -> tuple[Any, int]:
    if kind in _SIZES:
        form, size = _SIZES[kind]
        return struct.unpack_from(form, raw, at)[0], at + size
    if kind == "s":
        return _text(raw, at)
    if kind == "o":
        return _object(raw, at, deeper - 1)
    (count,) = struct.unpack_from("<I", raw, at)
    at += 4
    if kind in _ARRAYS:
        values = np.frombuffer(raw, dtype=_ARRAYS[kind], count=count, offset=at)
        return values, at + values.nbytes
    if kind in "SO":
        found = []
        for _ in range(count):
            one, at = _text(raw, at) if kind == "S" else _object(raw, at, deeper - 1)
            found.append(one)
        return found, at
    raise ValueError(f"a component of the unknown type {kind!r}")


def _text(raw: bytes, at: int) -> tuple[str, int]:
    end = raw.index(b"\0", at)
    return raw[at:end].decode("utf-8", "replace"), end + 1
