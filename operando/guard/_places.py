"""Where guards are found: one small file for each, in a folder that is this user's alone."""

import contextlib
import getpass
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = "OPERANDO_GUARDS"


class GuardError(Exception):
    """The guard cannot be started; the message says what to do."""


def folder() -> Path:
    """Return the folder, made if need be: ``$OPERANDO_GUARDS``, or one in the runtime folder.

    Raises GuardError if it cannot be made, is somebody else's, or open to others: what lies in it
    is believed.
    """
    named = os.environ.get(FOLDER)
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    path = Path(named) if named else Path(base) / f"operando-guards-{getpass.getuser()}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise GuardError(f"no folder for guards: {error}; name another with {FOLDER}") from error
    if hasattr(os, "getuid"):
        told = path.lstat()
        if not stat.S_ISDIR(told.st_mode) or told.st_uid != os.getuid() or told.st_mode & 0o077:
            raise GuardError(
                f"{path} is not a folder of yours alone (mode 0700): remove it, or name another "
                f"with {FOLDER}"
            )
    return path


def announce(told: Mapping[str, Any]) -> Path:
    """Write a guard's file, readable by this user only, and return it."""
    path = folder() / f"{os.getpid()}.json"
    draft = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()  # of a process that had this number and was killed
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(dict(told), file)
    os.replace(draft, path)
    return path


def announced() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the files of guards and what they tell; of processes that are gone they are removed."""
    for path in sorted(folder().glob("*.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            os.kill(int(told["pid"]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it went meanwhile, or is none of ours
        else:
            yield path, told
