"""Where guards are found: one small file for each, in a folder that is this user's alone."""

import contextlib
import getpass
import json
import os
import re
import socket
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


def beside(data_dir: Path) -> Path:
    """Return the folder of marks in a data folder: the runtime folder may be emptied meanwhile."""
    return data_dir / "state" / "guards"


def announce(told: Mapping[str, Any], place: Path) -> Path:
    """Write a guard's file into a folder, readable by this user only, and return it.

    It tells this host beside what is ``told``: a data folder may be one of several computers, each
    with processes of the same number.
    """
    host = socket.gethostname()
    path = place / f"{re.sub(r'[^A-Za-z0-9.-]', '-', host)}-{os.getpid()}.json"
    draft = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()  # of a process that had this number and was killed
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump({**told, "host": host}, file)
    os.replace(draft, path)
    return path


def announced(data_dir: Path | None = None) -> Iterator[dict[str, Any]]:
    """Yield what guards of this host tell of themselves; marks of those that are gone are removed.

    Those of other hosts are passed over: nobody here knows whether their processes live, and the
    port that they name is another's here.

    Raises GuardError if the folder of marks is not to be believed.
    """
    places = [] if data_dir is None else [beside(data_dir)]
    seen = set()
    here = socket.gethostname()
    for path in sorted(x for place in (*places, folder()) for x in place.glob("*.json")):
        try:
            if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
                continue  # somebody else's, in a data folder of several
            told = dict(json.loads(path.read_text(encoding="utf-8")))
            if told.get("host", here) != here:
                continue
            pid = int(told["pid"])
            os.kill(pid, 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it went meanwhile, or is none of ours
        else:
            if pid not in seen:
                seen.add(pid)
                yield told
