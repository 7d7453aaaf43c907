"""Whether a data folder can be written, asked before anything is connected or begun."""

import errno
import tempfile
from pathlib import Path

from ._errors import JournalError

# What a run writes into; the catalog's folders are not needed to record one.
_FOLDERS = ("journal", "assets")
_REMEDIES = {
    errno.ENOSPC: "free space on this disk",
    errno.EDQUOT: "raise the quota or free space of this user",
    errno.EACCES: "allow this user to read and write there",
    errno.EPERM: "allow this user to read and write there",
    errno.EROFS: "make this file system writable",
    errno.ENOTDIR: "move the file away that is where a folder is needed",
    errno.EEXIST: "move the file away that is where a folder is needed",
}


def check_writable(data_dir: Path | str) -> None:
    """Make the folders that runs are recorded in, and try to write there.

    Raises:
        JournalError: if that fails; the message names the path that is in the way and what to do.
    """
    data_dir = Path(data_dir).expanduser().resolve()
    for name in _FOLDERS:
        folder = data_dir / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise JournalError(
                f"runs cannot be recorded in the data folder {data_dir}: "
                f"{told(error, folder)}, or point OPERANDO_DATA at another folder"
            ) from error


def told(error: OSError, path: Path | str) -> str:
    """Return an error of the operating system as a sentence: path, what is wrong, what to do."""
    path = _in_the_way(Path(path)) if error.errno in (errno.ENOTDIR, errno.EEXIST) else path
    remedy = _REMEDIES.get(error.errno or 0, "check this path")
    return f"{path}: {error.strerror or error}. To go on: {remedy}"


def _in_the_way(path: Path) -> Path:
    """Return the part of a path that is a file and should be a folder."""
    return next((part for part in reversed([path, *path.parents]) if part.is_file()), path)
