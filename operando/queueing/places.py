"""Where the files of stations and queues lie, below the data folder."""

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from operando.queueing.errors import QueueError

# A socket's path must fit into the 108 bytes that the system has for it.
_LONGEST_SOCKET = 90


def queueing_dir(data_dir: Path) -> Path:
    """Return the folder of all that is kept of stations and queues; it may not be there."""
    return data_dir / "state" / "queueing"


def station_dir(data_dir: Path, station: str) -> Path:
    """Return the folder of one station; it may not be there."""
    return queueing_dir(data_dir) / "stations" / station


def private(folder: Path) -> Path:
    """Return ``folder``, made if it was not there, for its owner only.

    Raises:
        QueueError: it cannot be made, or is somebody else's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        # Looked at before it is touched: a link may lead to a folder of yours.
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise QueueError(
                f"{folder} is not a folder of yours, and the sockets in it could be anybody's: "
                "move it away"
            )
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise QueueError(f"the folder {folder} cannot be used: {error.strerror}") from error
    return folder


def socket_dir(data_dir: Path, station: str) -> Path:
    """Return a private folder for the sockets of a station, made if it was not there.

    That of the station; a short one beside the temporary files if its path is too long for sockets.
    """
    folder = station_dir(data_dir, station)
    short = _short(folder)
    return private(folder if short is None else short)


def desk_socket(data_dir: Path, *, make: bool = False) -> Path:
    """Return the socket at which items are taken at once; with ``make`` its folder is made."""
    folder = queueing_dir(data_dir)
    folder = _short(folder) or folder
    return (private(folder) if make else folder) / "desk.sock"


def _short(folder: Path) -> Path | None:
    """Return a folder with a short path in place of one; ``None``: it is short enough."""
    if len(os.fsencode(folder / "control.sock")) <= _LONGEST_SOCKET:
        return None
    told = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108 - a private folder in it
    if len(os.fsencode(base)) > _LONGEST_SOCKET - 45:
        base = tempfile.gettempdir()
    return Path(base) / f"operando-{os.getuid()}-{told}"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, so that it is there whole or not at all.

    Raises:
        QueueError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o600)
        temporary.replace(path)
        # Redis survives a power cut: what it tells of this file must not be ahead of it.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise QueueError(f"{path} cannot be written: {error.strerror}") from error


def whereabouts(data_dir: Path) -> dict[str, str]:
    """Return the computer and the data folder, which records and mounts tell."""
    return {"host": socket.gethostname(), "data_dir": str(data_dir.resolve())}
