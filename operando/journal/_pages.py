"""The columns of an event page as bytes: what format 2 adds to msgpack.

A column whose values are all floats, or all integers of 64 bits, is one msgpack extension: the
values themselves, little-endian. A column of timestamps that equals another one of its page is the
name of that one. Every other column is the list that it is, so that each value comes back with the
type it had.
"""

import sys
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

import msgpack

from ._errors import JournalError

FLOATS = 1
INTEGERS = 2
SAME_AS = 3

_SWAPPED = sys.byteorder == "big"
_ONLY_FLOATS = {float}
_ONLY_INTEGERS = {int}
_KINDS = {FLOATS: "d", INTEGERS: "q"}
_LONG = 1 << 63


# What msgpack.ExtType(code, data) makes, without its checks, which cost more than all the rest.
_extension = partial(tuple.__new__, msgpack.ExtType)


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
    return isinstance(page.get("data"), dict) and isinstance(page.get("timestamps"), dict)


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
                same = _extension((SAME_AS, key.encode()))
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
        column: array[Any]
        if kinds == _ONLY_FLOATS:
            column, code = array("d", values), FLOATS
        elif kinds == _ONLY_INTEGERS:
            try:
                column, code = array("q", values), INTEGERS
            except OverflowError:
                return values
        else:
            return values
        if _SWAPPED:
            column.byteswap()
        return _extension((code, column.tobytes()))
    dtype = getattr(values, "dtype", None)
    if dtype is None or getattr(values, "ndim", 0) != 1 or not len(values):
        return values
    if dtype.kind == "f" and dtype.itemsize <= 8:
        return _extension((FLOATS, values.astype("<f8").tobytes()))
    if dtype.kind == "i" or (dtype.kind == "u" and dtype.itemsize < 8):
        return _extension((INTEGERS, values.astype("<i8").tobytes()))
    return values


def as_list(code: int, data: bytes) -> Any:
    """Return a stored column as a list (the ``ext_hook`` of msgpack)."""
    if code == SAME_AS:
        return data  # its name, until `restore`
    kind = _KINDS.get(code) or _refuse(code)
    values = array(kind, data)
    if _SWAPPED:
        values.byteswap()
    return values.tolist()


def array_hook() -> Callable[[int, bytes], Any]:
    """Return what turns a stored column into a read-only array (the ``ext_hook`` of msgpack)."""
    from numpy import dtype, frombuffer  # 0.1 s, which a writer of journals has no use for

    kinds = {FLOATS: dtype("<f8"), INTEGERS: dtype("<i8")}

    def as_array(code: int, data: bytes) -> Any:
        if code == SAME_AS:
            return data  # its name, until `restore`
        if code not in kinds:
            _refuse(code)
        return frombuffer(data, kinds[code])

    return as_array


def _refuse(code: int) -> NoReturn:
    raise JournalError(
        f"a column is stored in form {code}, which this program does not know: "
        "update operando to read it"
    )


def restore(page: dict[str, Any], *, arrays: bool) -> None:
    """Put in place what a page that was read has only names of, or lists instead of arrays."""
    if _has_columns(page):
        _put_same_columns(page)
        if arrays:
            _put_arrays(page)


def _put_same_columns(page: dict[str, Any]) -> None:
    stamps = page["timestamps"]
    for key, column in stamps.items():
        if type(column) is bytes:
            stamps[key] = stamps[column.decode()]


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
