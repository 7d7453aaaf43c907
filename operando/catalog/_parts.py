"""A run as it is read from the catalog: plain arrays, and where its files are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

NUMBERS = "fiub"
# Of a descriptor, what the catalog tells by a stream's place and its data keys.
NOT_IN_METADATA = ("name", "object_keys", "run_start")


def numpy_kind(data_key: Mapping[str, Any]) -> str:
    """Return the kind of number a data key declares, as numpy abbreviates it; empty if none."""
    numpy_type = data_key.get("dtype_numpy")
    return np.dtype(numpy_type).kind if isinstance(numpy_type, str) else ""


def lies_in_array(data_key: Mapping[str, Any]) -> bool:
    """Return whether the values of an internal key are an array of their own beside the table.

    Arrays of text, of varying or of no length are stored as JSON text in the table: SQLite's tables
    know no lists, and zarr neither objects nor empty axes.
    """
    shape = data_key.get("shape", [])
    fixed = bool(shape) and None not in shape and 0 not in shape
    kind = numpy_kind(data_key)
    return data_key["dtype"] == "array" and fixed and (not kind or kind in NUMBERS)


def journal_order(numbers: NDArray[Any], times: NDArray[Any]) -> NDArray[np.intp]:
    """Return what puts rows of no particular order into that of their journal.

    That is the order of their numbers, unless numbers were given again, as the RunEngine does
    after a pause; then it is that of their times.
    """
    order = np.argsort(numbers, kind="stable")
    if (np.diff(numbers[order]) == 0).any():
        return np.lexsort((numbers, times))
    return order


@dataclass(frozen=True)
class AssetRef:
    """Rows of one stream that lie in a file.

    Attributes:
        path: the HDF5 file.
        dataset: path of the dataset in the file; its first axis counts rows.
        start: first row of the dataset that belongs to the run.
        stop: one behind the last row that was announced; the file may hold more.
        swmr: whether the file must be opened as ``h5py.File(path, "r", libver="latest",
            swmr=True)``, because somebody may be writing it, or was killed while writing.
    """

    path: Path
    dataset: str
    start: int
    stop: int
    swmr: bool


class StreamParts(TypedDict):
    """One stream of a run.

    ``descriptor`` is the event descriptor; ``columns`` the values by key, one array each with
    rows along the first axis, floats as float64 and a missing value as NaN; ``time`` when each
    row was measured [epoch s]; ``seq_num`` the rows' numbers from 1; ``assets`` the files by key,
    in order. A declared key of a stream without rows has a column of length 0, or no files.
    """

    descriptor: dict[str, Any]
    columns: dict[str, NDArray[Any]]
    time: NDArray[np.float64]
    seq_num: NDArray[np.int64]
    assets: dict[str, list[AssetRef]]


@dataclass(frozen=True)
class RunParts:
    """A run read from the catalog.

    Attributes:
        start: the start document.
        stop: the stop document, None while the run lasts.
        streams: the streams by name.
    """

    start: dict[str, Any]
    stop: dict[str, Any] | None
    streams: dict[str, StreamParts]
