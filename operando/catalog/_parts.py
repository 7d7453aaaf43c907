"""A run as it is read from the catalog: plain arrays, and where its files are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


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
