"""Opening the files that rows are written to while they are read."""

import ctypes
import errno
import os
from functools import cache
from pathlib import Path
from typing import Any

_LOCKED = (errno.EAGAIN, errno.EACCES)
# What a writer is just changing is whole again within microseconds; HDF5 waits a nanosecond, then
# twice as long at each attempt, in all half a second. Its own 100 attempts are longer than a life.
_ATTEMPTS = 28


def open_asset(path: Path) -> Any:
    """Open an HDF5 file to read it, also one that is still written, or whose writer was killed.

    Raises OSError if there is none, or it is damaged.
    """
    import h5py
    import hdf5plugin  # noqa: F401  registers the filters that compressed images need

    try:
        return h5py.File(path, "r")
    except OSError as error:
        # As one that is being written only where it says so: what is damaged takes longer then.
        if "already open for write" not in str(error) and error.errno not in _LOCKED:
            raise
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    if (library := _hdf5()) is not None:
        library.H5Pset_metadata_read_attempts(ctypes.c_int64(access.id), _ATTEMPTS)
    flags = h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ
    try:
        return h5py.File(h5py.h5f.open(os.fsencode(path), flags, fapl=access))
    except RuntimeError as error:
        raise OSError(f"{path}: damaged ({error})") from error


@cache
def _hdf5() -> ctypes.CDLL | None:
    """Return the HDF5 that h5py has loaded, which offers no more of this; None where unknown."""
    try:
        loaded = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None  # not Linux
    names = {line.split(maxsplit=5)[-1] for line in loaded if "/libhdf5" in line}
    names = {name for name in names if "_hl" not in name and "plugin" not in name}
    if len(names) != 1:
        return None
    library = ctypes.CDLL(names.pop())
    return library if hasattr(library, "H5Pset_metadata_read_attempts") else None
