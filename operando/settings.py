"""Where configuration and data are found."""

import getpass
import os
import tempfile
from pathlib import Path


def config_dir() -> Path:
    """Return the configuration folder: ``$OPERANDO_CONFIG``, the checkout's, or the wheel's."""
    here = Path(__file__).resolve().parent
    candidates = [Path(p) for p in (os.environ.get("OPERANDO_CONFIG"),) if p]
    candidates += [here.parent / "config", here / "_config"]
    for path in candidates:
        if path.is_dir():
            return path
    raise FileNotFoundError(
        f"no configuration folder: looked for {', '.join(str(path) for path in candidates)}; "
        "set OPERANDO_CONFIG to the folder that holds sim.yaml, bench.yaml, cells/ and protocols/"
    )


def data_dir() -> Path:
    """Return the data folder: ``$OPERANDO_DATA``, by default ``data/`` in the working folder.

    The path is absolute; the folder is not created.
    """
    return Path(os.environ.get("OPERANDO_DATA") or "data").expanduser().resolve()


class NoDataFolderError(Exception):
    """Where a record should be read there is no data folder; the message says what to do."""


def existing_data_dir() -> Path:
    """Return the data folder to read from: `data_dir`, which must be there.

    Raises:
        NoDataFolderError: it does not exist, or is no folder.
    """
    path = data_dir()
    if path.is_dir():
        return path
    named = os.environ.get("OPERANDO_DATA")
    origin = f"OPERANDO_DATA is {named}" if named else "OPERANDO_DATA is not set, so it is ./data"
    if path.exists():
        raise NoDataFolderError(
            f"cannot read the data folder {path}: Not a directory. To go on: move the file away, "
            f"or point OPERANDO_DATA at the folder that holds your runs ({origin})"
        )
    raise NoDataFolderError(
        f"there is no data folder {path} ({origin}). To go on: point OPERANDO_DATA at the folder "
        "that holds your runs, or go to where it lies; operando run makes a new one"
    )


def simulator_dir() -> Path:
    """Return the folder where a simulated bench publishes its addresses (``$OPERANDO_SIM``)."""
    named = os.environ.get("OPERANDO_SIM")
    if named:
        return Path(named).expanduser().resolve()
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base).resolve() / f"operando-sim-{getpass.getuser()}"


def journal_patience_s() -> float | None:
    """Return how long a run goes on while its disk is full, s: ``$OPERANDO_JOURNAL_PATIENCE_S``.

    None if it is not set: the journal's writer then has its own.

    Raises:
        ValueError: it is set to something that is not a number of seconds.
    """
    told = os.environ.get("OPERANDO_JOURNAL_PATIENCE_S")
    if not told:
        return None
    try:
        seconds = float(told)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(
            f"OPERANDO_JOURNAL_PATIENCE_S is how long a run goes on while its disk is full, in "
            f"seconds, 0 or more; it is {told!r}"
        )
    return seconds
