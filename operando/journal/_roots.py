"""Where journals lie, and the token that stands for the data folder inside them."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from operando.harmless import is_uid

from ._errors import JournalError
from ._format import Document

TOKEN = "file://localhost/$OPERANDO_DATA/"
SUFFIX = ".opj"
# Names that a folder of journals holds before the next one is begun.
FULL = 256
_PART = "-part"


def data_uri_prefix(data_dir: Path) -> str:
    """Return the beginning of the URI of every file below the data folder."""
    return f"file://localhost{quote(data_dir.as_posix().rstrip('/'))}/"


def fold(name: str, doc: Mapping[str, Any], data_dir: Path) -> Mapping[str, Any]:
    """Return the document with the data folder's path replaced by its token."""
    if name == "stream_resource":
        # Some writers of URIs do not quote spaces; both forms mean the same file.
        for prefix in (data_uri_prefix(data_dir), f"file://localhost{data_dir.as_posix()}/"):
            if str(doc.get("uri", "")).startswith(prefix):
                return {**doc, "uri": TOKEN + doc["uri"][len(prefix) :]}
    return doc


def expand(name: str, doc: Document, data_dir: Path) -> Document:
    """Return the document with the token replaced by the path of the data folder."""
    if name == "stream_resource" and str(doc.get("uri", "")).startswith(TOKEN):
        return {**doc, "uri": data_uri_prefix(data_dir) + doc["uri"][len(TOKEN) :]}
    return doc


def folder_of_journal(path: Path) -> Path:
    """Return the data folder a journal lies in; for a journal lying elsewhere, its own folder."""
    parents = path.resolve().parents
    if len(parents) > 3 and parents[2].name == "journal":
        return parents[3]
    return parents[0]


def new_journal_path(data_dir: Path, uid: str, time_s: float) -> Path:
    """Return where a run's journal is written: ``journal/YYYY/MM/UID.opj`` by UTC start time.

    A folder that holds ``FULL`` files gets no more: the month goes on in ``MM-part002`` and so on.
    Whoever looks at a folder in which something is new then reads no more names than that. A uid
    that the month has already is told by its path, which exists.

    Raises:
        JournalError: no file can be called like this run.
    """
    if not is_uid(uid):
        raise JournalError(
            f"a run cannot be called {uid[:80]!r}: letters, digits, -, _ and . make a uid, no path"
        )
    started = time.gmtime(time_s)
    year = data_dir / "journal" / f"{started.tm_year:04d}"
    month, name = f"{started.tm_mon:02d}", f"{uid}{SUFFIX}"
    parts = _parts(year, month)
    for part in parts:
        if os.path.exists(f"{year}/{part}/{name}"):  # a Path for each takes longer than asking
            return year / part / name
    newest = parts[-1] if parts else month
    if len(_names(year / newest)) >= FULL:
        number = int(newest.partition(_PART)[2] or 1) + 1
        newest = f"{month}{_PART}{number:03d}"
    return year / newest / name


def _parts(year: Path, month: str) -> list[str]:
    """Return the names of the folders of a month, the oldest first."""
    numbers = {}
    for name in _names(year):
        before, part, number = name.partition(_PART)
        if before == month and (number.isdecimal() if part else True):
            numbers[name] = int(number or 1)
    return sorted(numbers, key=lambda name: (numbers[name], name))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # who then makes a file there is told what is wrong


def month_folders(data_dir: Path) -> Iterator[Path]:
    """Yield the folders that hold journals, newest month first."""
    journal = data_dir / "journal"
    if journal.is_dir():
        for year in _subfolders(journal):
            yield from _subfolders(year)


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return [folder / name for name in sorted(names, reverse=True)]


def journal_path(data_dir: Path, uid: str) -> Path:
    """Return the file that holds a run, given its whole uid.

    Raises:
        LookupError: if the data folder has no such run.
    """
    for folder in month_folders(data_dir) if is_uid(uid) else ():
        path = folder / f"{uid}{SUFFIX}"
        if path.is_file():
            return path
    told = uid if is_uid(uid) else repr(uid)
    raise LookupError(f"no run {told} in {data_dir / 'journal'}")


def sync_folder(folder: Path) -> None:
    """Make the name of a new file survive a power cut; Windows cannot and need not."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
