"""Files that are there whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Room that is left on a disk: HDF5 cannot close a file in order once a write has failed.
KEPT_FREE_BYTES = 16_000_000


class ExportError(Exception):
    """An export was refused or failed; nothing half-done is left, the message says what to do."""


class Staging:
    """A hidden folder beside the place of the files to come.

    Args:
        folder: Where the files go.
        hidden: Where they are written, on the same disk.
        force: Whether what has their names may be replaced.
    """

    def __init__(self, folder: Path, hidden: Path, *, force: bool) -> None:
        self.folder = folder
        self._hidden = hidden
        self._force = force
        self._names: list[str] = []

    def path(self, name: str) -> Path:
        """Return where to write the file or folder ``name``; raises ExportError if it exists."""
        target = self.folder / name
        if target.exists() and not self._force:
            raise ExportError(f"{target} exists; give another --output, or --force to replace it")
        self._names.append(name)
        return self._hidden / name

    def publish(self) -> list[Path]:
        """Move everything to its place, and return the places."""
        replaced = self._hidden / ".replaced"
        for name in self._names:
            target = self.folder / name
            if target.exists() and not self._force:  # somebody else was faster
                raise ExportError(f"{target} exists; give another --output, or --force")
            if target.is_dir() or (self._hidden / name).is_dir():
                replaced.mkdir(exist_ok=True)
                if target.exists():
                    os.rename(target, replaced / name)
                try:
                    os.rename(self._hidden / name, target)
                except OSError:
                    if (replaced / name).exists():
                        os.rename(replaced / name, target)
                    raise
            else:
                os.replace(self._hidden / name, target)
        return [self.folder / name for name in self._names]


@contextlib.contextmanager
def staging(folder: Path, *, force: bool = False) -> Iterator[Staging]:
    """Write files in a hidden folder and move them to ``folder`` when all are whole.

    Whatever goes wrong, the hidden folder is removed, and so are folders made for it.

    Raises:
        ExportError: a file exists already and ``force`` is not set; the folder cannot be made or
            written; the disk is full.
    """
    folder = folder.expanduser().absolute()
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".export-", dir=folder))
    except OSError as error:
        _remove(made)
        raise ExportError(
            f"cannot write in {folder}: {error.strerror or error}; give another --output"
        ) from error
    stage = Staging(folder, hidden, force=force)
    done = False
    try:
        yield stage
        stage.publish()
        done = True
    except OSError as error:
        where = error.filename if error.filename and str(hidden) not in str(error.filename) else ""
        raise ExportError(
            f"the export to {folder} failed: {error.strerror or error}{where and f' ({where})'}. "
            "Nothing of it was kept. Free space on that disk, or give another --output"
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if not done:
            _remove(made)


def _remove(made: list[Path]) -> None:
    for path in made:
        with contextlib.suppress(OSError):  # not made, or somebody put something into it
            path.rmdir()
