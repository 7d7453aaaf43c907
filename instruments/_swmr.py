"""HDF5 files that can be read while they grow and that survive the death of their writer.

Images and spectra go here, one row per acquisition, and transients too fast for events, many rows
at a time; the run's documents only point at them. The file is written in HDF5's
single-writer-multiple-reader (SWMR) mode and flushed with every write: rows that ``append`` or
``extend`` has returned are readable by another process from then on, also after the writer was
killed. (The bytes are then in the operating system's cache; until ``sync`` a power cut can lose
them, a killed process cannot.) Such a file opens with ``swmr=True`` only.
"""

import errno
import logging
import math
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

if TYPE_CHECKING:
    import h5py

logger = logging.getLogger(__name__)

# Scalars share a chunk: one chunk of eight bytes per row would be mostly index.
SCALARS_PER_CHUNK = 1024
# HDF5 cannot close a file in order once a write has failed for want of room: it then ends the
# whole process with SIGSEGV, measured with HDF5 1.14. So rows stop before the disk is full, and
# the run's journal finds room to say why.
KEPT_FREE_BYTES = 16_000_000
# Beside the rows themselves: what HDF5 writes on how they lie.
_METADATA_BYTES = 64_000
# macOS has no fdatasync; there fsync does the same work and more.
_sync = getattr(os, "fdatasync", os.fsync)


def chunk_shape(row_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the HDF5 chunk of a dataset: one row, or a block of rows where a row is a scalar."""
    return (1, *row_shape) if row_shape else (SCALARS_PER_CHUNK,)


class SwmrFile:
    """A growing HDF5 file whose datasets always gain the same number of rows.

    Args:
        path: the file to create; its folder is created too, an existing file is refused.
        datasets: absolute HDF5 name -> (shape of one row, dtype). A row of two dimensions is an
            image and is compressed with zstd level 1 (measured on 1600 x 1200 micrographs: two
            thirds of the size at 200 frames/s).
        attributes: absolute HDF5 name of a group or dataset -> its attributes. They must be known
            at the start: SWMR allows none later.
        constants: absolute HDF5 name -> array that does not grow, such as an axis.

    Raises:
        FileExistsError: the file is there already.
        OSError: the file cannot be created, or less than ``KEPT_FREE_BYTES`` would stay free.
    """

    def __init__(
        self,
        path: str | Path,
        datasets: Mapping[str, tuple[tuple[int, ...], DTypeLike]],
        *,
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
        constants: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        import h5py

        if not datasets:
            raise ValueError(f"{path}: a file needs at least one dataset")
        self.path = Path(path).resolve()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            raise FileExistsError(
                f"{self.path} exists; a file of measured rows is never overwritten"
            )
        self._check_room(0)
        self._lock = threading.Lock()
        # Held while syncing, which takes as long as the disk does: rows do not wait for it.
        self._sync_lock = threading.Lock()
        self._fd = -1
        self._rows = 0
        # Why nothing more is written: a write failed within HDF5, and trying again would succeed
        # and leave rows of zeros (measured with HDF5 1.14).
        self.failed: OSError | None = None
        self._shapes = {name: tuple(shape) for name, (shape, _) in datasets.items()}
        self._file: h5py.File | None = h5py.File(self.path, "x", libver="latest")
        try:
            if os.name == "posix":
                # Its own: HDF5 closes the other one when it likes.
                self._fd = os.dup(self._file.id.get_vfd_handle())
            self._datasets = {
                name: self._create(self._file, name, tuple(shape), dtype)
                for name, (shape, dtype) in datasets.items()
            }
            for name, values in (constants or {}).items():
                self._file.create_dataset(name, data=np.asarray(values))
            for name, pairs in (attributes or {}).items():
                self._file[name].attrs.update(pairs)
            self._file.swmr_mode = True
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _create(
        file: "h5py.File", name: str, shape: tuple[int, ...], dtype: DTypeLike
    ) -> "h5py.Dataset":
        filters: dict[str, Any] = {}
        if len(shape) == 2:
            import hdf5plugin

            filters = dict(hdf5plugin.Zstd(clevel=1))
        return file.create_dataset(
            name,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=chunk_shape(shape),
            dtype=dtype,
            **filters,
        )

    @property
    def rows(self) -> int:
        """Return how many rows can be read by others."""
        return self._rows

    def append(self, row: Mapping[str, ArrayLike]) -> int:
        """Write one row to every dataset, flush, and return its index (from 0).

        Blocks for the compression and the write (about 5 ms for 1600 x 1200 bytes); callable from
        any thread. When a row is refused nothing of it is written.

        Raises:
            ValueError: a dataset is missing or unknown, a shape differs, or the file is closed.
            OSError: less than ``KEPT_FREE_BYTES`` would stay free on the disk, or the disk does not
                set the room aside: it is full, over quota, read-only or gone. Nothing of the row
                was written and it may be given again, unless ``failed`` is set.
        """
        return self.extend({name: np.asarray(value)[np.newaxis] for name, value in row.items()})

    def extend(self, rows: Mapping[str, ArrayLike]) -> int:
        """Write as many rows to every dataset, flush once, and return the index of the first.

        Blocks and raises as ``append``; each value has one axis more than a row, the first. When
        rows are refused nothing of them is written.
        """
        if set(rows) != set(self._datasets):
            raise ValueError(
                f"{self.path}: a row must give {sorted(self._datasets)}, got {sorted(rows)}"
            )
        values = {name: np.asarray(value) for name, value in rows.items()}
        for name, value in values.items():
            if value.shape[1:] != self._shapes[name] or not value.ndim:
                raise ValueError(
                    f"{self.path}: {name} takes rows of shape {self._shapes[name]},"
                    f" got {value.shape[1:]}"
                )
        counts = {len(value) for value in values.values()}
        if len(counts) > 1:
            raise ValueError(f"{self.path}: all datasets gain as many rows, got {sorted(counts)}")
        with self._lock:
            if self._file is None:
                raise ValueError(f"{self.path}: the file is closed")
            index = self._rows
            after = index + counts.pop()
            if self.failed is not None:
                raise self.failed
            size = sum(value.nbytes for value in values.values())
            self._check_room(size)
            self._set_aside(self._file, size)
            try:
                for name, value in values.items():
                    dataset = self._datasets[name]
                    dataset.resize(after, axis=0)
                    dataset[index:after] = value
                for dataset in self._datasets.values():
                    dataset.flush()
            except (OSError, RuntimeError) as error:  # what h5py makes of a failed write or flush
                self.failed = OSError(
                    errno.EIO,
                    f"its rows from {index} on cannot be trusted: {error}",
                    str(self.path),
                )
                raise self.failed from error
            self._rows = after
            return index

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free - size < KEPT_FREE_BYTES:
            raise OSError(
                errno.ENOSPC,
                f"{free / 1e6:.1f} MB are free, and {KEPT_FREE_BYTES / 1e6:.0f} MB are kept free; "
                "free space on this disk, or point OPERANDO_DATA at another one",
                str(self.path),
            )

    def _set_aside(self, file: "h5py.File", size: int) -> None:
        """Have the disk set room for ``size`` bytes of rows aside, or say that it does not.

        What can fail is to fail here: a write that fails within HDF5 ends the file.
        """
        if self._fd < 0:
            return
        chunks = sum(
            dataset.dtype.itemsize * math.prod(dataset.chunks)
            for dataset in self._datasets.values()
        )
        try:
            os.posix_fallocate(self._fd, file.id.get_filesize(), size + chunks + _METADATA_BYTES)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                return  # this file system cannot
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self.path)) from None

    def sync(self) -> None:
        """Put what was written on the disk; blocks as long as the disk does, from any thread.

        Does nothing once the file is closed. Raises OSError if the disk fails.
        """
        with self._sync_lock:
            if self._fd >= 0:
                _sync(self._fd)

    def close(self) -> None:
        """Close the file; idempotent, callable from any thread."""
        with self._lock:
            file, self._file = self._file, None
            try:
                if file is not None:
                    file.close()
            except (OSError, RuntimeError) as error:
                if self.failed is None:
                    raise
                logger.error("%s could not be closed: %s", self.path, error)
        with self._sync_lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)
