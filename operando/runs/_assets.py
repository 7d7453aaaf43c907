"""Rows of a run that lie in files: frames, spectra, and columns of numbers."""

import errno
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from operando.journal import open_asset

logger = logging.getLogger(__name__)

# Data key of the row times of a stream whose columns lie in a file.
TIME_KEY = "time"

# What says nothing of a file, and much of this process at this moment.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}

Floats = NDArray[np.float64]
Document = Mapping[str, Any]


@dataclass(frozen=True)
class AssetPart:
    """Consecutive rows of one dataset in one HDF5 file, as they were announced."""

    path: Path
    dataset: str
    start: int
    stop: int


class Asset:
    """Rows that live in files: a lazy array of shape (rows, ...), read when indexed.

    Rows that were attached to a run, patterns or maps, may differ in shape among each other.

    Its length is the smaller of what was announced and what the files hold at this moment; a file
    that is gone or unreadable holds nothing. Where this process may open no more files, OSError is
    raised instead.
    """

    def __init__(self, key: str, parts: Sequence[AssetPart], gone: str = "") -> None:
        self.key = key
        self.parts = tuple(parts)
        self.gone = gone  # why rows are not here any more, and where they are

    @property
    def announced(self) -> int:
        """Return how many rows the documents have announced."""
        return rows_announced(self.parts)

    @property
    def _why(self) -> str:
        return f": {self.gone}" if self.gone else ""

    def parts_there(self) -> list[AssetPart]:
        """Return the parts of which there are rows: HDF5 files that hold the dataset announced."""
        return [part for part, count in self._present() if count]

    def __len__(self) -> int:
        return sum(count for _, count in self._present())

    def __getitem__(self, index: int | slice) -> NDArray[Any]:
        """Read one row, or a stack of rows; raises IndexError beyond the last present row."""
        present = self._present()
        length = sum(count for _, count in present)
        if isinstance(index, slice):
            wanted = range(length)[index]
            if not wanted:
                raise IndexError(f"{self.key}: {index} selects none of {length} rows{self._why}")
            rows = [self._read(present, row) for row in wanted]
            if len({one.shape for one in rows}) > 1:
                raise ValueError(
                    f"{self.key}: rows of {index} differ in shape ({rows[0].shape}, ...): take "
                    "them one by one, or by `alike`"
                )
            return np.stack(rows)
        row = index + length if index < 0 else index
        if not 0 <= row < length:
            raise IndexError(f"{self.key}: row {index} of {length}{self._why}")
        return self._read(present, row)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return self.rows()

    def rows(self, first: int = 0) -> Iterator[NDArray[Any]]:
        """Read one row after the other, from ``first`` on, opening each file once."""
        for part, count in self._present():
            skipped = min(first, count)
            first -= skipped
            if skipped == count:
                continue
            with open_asset(part.path) as file:
                dataset = _own(file, part.dataset)
                for row in range(part.start + skipped, part.start + count):
                    yield dataset[row]

    def alike(self) -> list[tuple[int, "Asset"]]:
        """Return the rows in parts of one shape and type, each with the number of its first row."""
        found: list[tuple[int, list[AssetPart]]] = []
        row, before = 0, None
        for part, count in self._present():
            if not count:
                continue
            with open_asset(part.path) as file:
                dataset = _own(file, part.dataset)
                kind = (dataset.shape[1:], dataset.dtype)
            if kind != before:
                found.append((row, []))
            found[-1][1].append(replace(part, stop=part.start + count))
            row, before = row + count, kind
        return [(first, Asset(self.key, parts, self.gone)) for first, parts in found]

    def _present(self) -> list[tuple[AssetPart, int]]:
        found = []
        for part in self.parts:
            count = max(0, min(part.stop, _rows_in_file(part)) - part.start)
            found.append((part, count))
            if count < part.stop - part.start:
                break  # what follows would carry the wrong row numbers
        return found

    def _read(self, present: list[tuple[AssetPart, int]], row: int) -> NDArray[Any]:
        for part, count in present:
            if row < count:
                with open_asset(part.path) as file:
                    return cast(NDArray[Any], _own(file, part.dataset)[part.start + row])
            row -= count
        raise IndexError(f"{self.key}: row out of range")


def _own(file: Any, name: str) -> Any:
    """Return a dataset whose rows lie in the file itself.

    HDF5 can take a dataset's bytes from any other file: who hands a record on must not have the
    reader's own files read, and exported, as frames.

    Raises:
        OSError: they lie elsewhere.
        KeyError: there is no such dataset.
    """
    dataset = file[name]
    if dataset.file.id != file.file.id or dataset.external or dataset.is_virtual:
        raise OSError(f"{file.filename}: the rows of {name} lie in other files, which are not read")
    return dataset


def _own_or_none(file: Any, part: AssetPart) -> Any:
    if part.dataset not in file:
        return ()
    try:
        return _own(file, part.dataset)
    except OSError as error:
        logger.warning("rows that were announced are not there: %s", error)
        return ()


def rows_announced(parts: Iterable[AssetPart]) -> int:
    return sum(part.stop - part.start for part in parts)


def _rows_in_file(part: AssetPart) -> int:
    try:
        with open_asset(part.path) as file:
            return int(_own(file, part.dataset).shape[0])
    except (OSError, KeyError, RuntimeError) as error:  # whatever h5py makes of damage
        if getattr(error, "errno", None) in _PASSING:
            raise
        return 0


def lies_in_columns(descriptor: Document) -> bool:
    """Return whether a stream's rows are numbers in the columns of a file, and none in events."""
    keys = descriptor["data_keys"].values()
    return bool(keys) and all(
        "external" in key and not key.get("shape") and key.get("dtype") in ("number", "integer")
        for key in keys
    )


def read_columns(parts: Mapping[str, Sequence[AssetPart]], first: int = 0) -> dict[str, Floats]:
    """Read columns of numbers that lie in files, from row ``first`` on.

    All have the same length: the rows that every one of them was announced with and that its file
    holds. A column may be longer in the file of a writer that was killed; a file that is gone
    holds nothing, which is logged.
    """
    found: dict[str, Floats] = {}
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}
        for key, its_parts in parts.items():
            pieces = [np.empty(0)]
            skip = first
            for part in its_parts:
                begin = part.start + min(skip, part.stop - part.start)
                skip -= begin - part.start
                if begin == part.stop:
                    continue
                if part.path not in opened:
                    opened[part.path] = _opened(part.path, stack)
                pieces.append(_column(opened[part.path], part, begin))
                if len(pieces[-1]) < part.stop - begin:
                    break  # what follows would carry the wrong row numbers
            found[key] = np.concatenate(pieces)
    length = min((len(values) for values in found.values()), default=0)
    return {key: values[:length] for key, values in found.items()}


def _column(file: Any, part: AssetPart, begin: int) -> Floats:
    try:
        dataset = _own_or_none(file, part)
        return np.asarray(dataset[begin : part.stop], dtype=np.float64)
    except (OSError, KeyError, RuntimeError) as error:
        if getattr(error, "errno", None) in _PASSING:
            raise
        logger.warning("rows that were announced in %s cannot be read: %s", part.path, error)
        return np.empty(0)


def _opened(path: Path, stack: ExitStack) -> Any:
    try:
        return stack.enter_context(open_asset(path))
    except OSError as error:
        if error.errno in _PASSING:
            raise
        logger.warning("rows that were announced in %s are not there: %s", path, error)
        return {}
