"""Opening the files that rows are written to while they are read."""

import errno
from pathlib import Path
from typing import Any

_LOCKED = (errno.EAGAIN, errno.EACCES)


def open_asset(path: Path) -> Any:
    """Open an HDF5 file to read it, also one that is still written, or whose writer was killed.

    Raises OSError if there is none, or it is damaged.
    """
    import h5py
    import hdf5plugin  # noqa: F401  registers the filters that compressed images need

    try:
        return h5py.File(path, "r")
    except OSError as error:
        # As one that is being written only where it says so: opened like that, a file that is
        # damaged is read again and again, with pauses that double, for ever (HDF5 1.14).
        if "already open for write" not in str(error) and error.errno not in _LOCKED:
            raise
    return h5py.File(path, "r", libver="latest", swmr=True)
