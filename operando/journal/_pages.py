"""The columns of an event page as bytes: what format 2 adds to msgpack.

A column whose values are all floats, or all integers of 64 bits, is one msgpack extension: the
values themselves, little-endian. A column of timestamps that equals another one of its page is the
name of that one. Every other column is the list that it is, so that each value comes back with the
type it had.
"""

import sys
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from ._errors import JournalError

FLOATS = 1
INTEGERS = 2
SAME_AS = 3

_SWAPPED = sys.byteorder == "big"
_ONLY_FLOATS = {float}
_ONLY_INTEGERS = {int}
_LONG = 1 << 63


class _SameAs(str):
    """Stands for a column of timestamps until the one it names is known."""


def packed(page: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event page with its columns in their stored form."""
    if not _has_columns(page):
        return dict(page)
    new = dict(page)
    for key in ("seq_num", "time"):
        if key in page:
            new[key] = stored(page[key])
    new["data"] = {key: stored(column) for key, column in page["data"].items()}
    new["timestamps"] = _timestamps(page["timestamps"])
    return new


def _has_columns(page: Mapping[str, Any]) -> bool:
    return all(isinstance(page.get(key), Mapping) for key in ("data", "timestamps"))


def _timestamps(stamps: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    by_identity: dict[int, msgpack.ExtType] = {}
    by_content: dict[msgpack.ExtType, msgpack.ExtType] = {}
    for key, column in stamps.items():
        # Devices mostly give one list for all keys.
        same = by_identity.get(id(column))
        if same is None:
            new = stored(column)
            if not isinstance(new, msgpack.ExtType) or not isinstance(key, str):
                result[key] = new
                continue
            # Bytes and kind are compared, not values: 0.0 is not -0.0, nor 1 the same as 1.0.
            same = by_content.get(new)
            if same is None:
                same = msgpack.ExtType(SAME_AS, key.encode())
                by_content[new] = by_identity[id(column)] = same
                result[key] = new
                continue
            by_identity[id(column)] = same
        result[key] = same
    return result


def stored(values: Any) -> Any:
    """Return a column in its stored form: an extension if it is uniform, else as it is."""
    if isinstance(values, (list, tuple)):
        kinds = set(map(type, values))
        if kinds == _ONLY_FLOATS:
            return msgpack.ExtType(FLOATS, _bytes(array("d", values)))
        if kinds == _ONLY_INTEGERS:
            try:
                return msgpack.ExtType(INTEGERS, _bytes(array("q", values)))
            except OverflowError:
                return values
        return values
    dtype = getattr(values, "dtype", None)
    if dtype is None or getattr(values, "ndim", 0) != 1 or not len(values):
        return values
    if dtype.kind == "f" and dtype.itemsize <= 8:
        return msgpack.ExtType(FLOATS, values.astype("<f8").tobytes())
    if dtype.kind == "i" or (dtype.kind == "u" and dtype.itemsize < 8):
        return msgpack.ExtType(INTEGERS, values.astype("<i8").tobytes())
    return values


def _bytes(values: "array[Any]") -> bytes:
    if _SWAPPED:
        values.byteswap()
    return values.tobytes()


def as_list(code: int, data: bytes) -> Any:
    """Return a stored column as a list (the ``ext_hook`` of msgpack)."""
    if code in (FLOATS, INTEGERS):
        values = array("d" if code == FLOATS else "q", data)
        if _SWAPPED:
            values.byteswap()
        return values.tolist()
    return _name(code, data)


def array_hook() -> Callable[[int, bytes], Any]:
    """Return what turns a stored column into a read-only array (the ``ext_hook`` of msgpack)."""
    from numpy import dtype, frombuffer  # 0.1 s, which a writer of journals has no use for

    kinds = {FLOATS: dtype("<f8"), INTEGERS: dtype("<i8")}

    def as_array(code: int, data: bytes) -> Any:
        if code in kinds:
            return frombuffer(data, kinds[code])
        return _name(code, data)

    return as_array


def _name(code: int, data: bytes) -> _SameAs:
    if code != SAME_AS:
        raise JournalError(
            f"a column is stored in form {code}, which this program does not know: "
            "update operando to read it"
        )
    return _SameAs(data, "utf-8")


def restore(page: dict[str, Any], *, arrays: bool) -> None:
    """Put in place what a page that was read has only names of, or lists instead of arrays."""
    if _has_columns(page):
        _put_same_columns(page)
        if arrays:
            _put_arrays(page)


def _put_same_columns(page: dict[str, Any]) -> None:
    stamps = page["timestamps"]
    for key, column in stamps.items():
        if type(column) is _SameAs:
            stamps[key] = stamps[str(column)]


def _put_arrays(page: dict[str, Any]) -> None:
    # Format 1 stores uniform columns as lists, too.
    for key in ("seq_num", "time"):
        if isinstance(page.get(key), list):
            page[key] = _array(page[key])
    data = page["data"]
    for key, column in data.items():
        if type(column) is list:
            data[key] = _array(column)
    stamps = page["timestamps"]
    by_content: dict[tuple[Any, bytes], Any] = {}
    for key, column in stamps.items():
        if type(column) is list:
            new = _array(column)
            if new is not column:
                new = by_content.setdefault((new.dtype, new.tobytes()), new)
            stamps[key] = new


def _array(values: list[Any]) -> Any:
    import numpy as np

    kinds = set(map(type, values))
    if kinds == _ONLY_FLOATS:
        column = np.array(values, np.float64)
    elif kinds == _ONLY_INTEGERS and -_LONG <= min(values) and max(values) < _LONG:
        column = np.array(values, np.int64)
    else:
        return values
    column.flags.writeable = False
    return column
