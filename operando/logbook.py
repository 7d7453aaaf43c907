"""The log book: what people note of cells and stations, with the time.

One file of the data folder, ``state/logbook.jsonl``, with one note a line; a note that was written
is on the disk. Nothing is ever changed or removed in it. A line that cannot be read, such as the
torn last one of a power cut, is told in a warning and left out.
"""

import contextlib
import fcntl
import getpass
import json
import logging
import os
import time
from pathlib import Path

from pydantic import Field, ValidationError

from techniques._base import Data

logger = logging.getLogger(__name__)

LONGEST = 10_000
_FILE = Path("state") / "logbook.jsonl"


class NoteError(Exception):
    """A note is not taken; the message says why."""


class LogNote(Data):
    """One note.

    Attributes:
        at: When it was written, epoch, s.
        text: What was noted.
        by: Who did.
        station: The station that it is of; ``None``: of none.
        cell_id: The cell that it is of; ``None``: of none.
        run: The run that went on; ``None``: none, or it is not known.
    """

    at: float
    text: str = Field(min_length=1, max_length=LONGEST)
    by: str
    station: str | None = None
    cell_id: str | None = None
    run: str | None = None

    @property
    def line(self) -> str:
        """Return it as a line: when, of what, by whom, the text."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at))
        run = None if self.run is None else f"run {self.run[:8]}"
        of = ", ".join(filter(None, (self.cell_id, self.station, run)))
        return f"{when}  {of + '  ' if of else ''}{self.text} ({self.by})"


def write_note(
    data_dir: Path,
    text: str,
    by: str | None = None,
    station: str | None = None,
    cell_id: str | None = None,
    run: str | None = None,
) -> LogNote:
    """Write a note into the log book, and return it when it is on the disk.

    Args:
        data_dir: The data folder; made if it is not there.
        text: What is noted.
        by: Who notes it; by default the user of this computer.
        station: The station that it is of.
        cell_id: The cell that it is of.
        run: The run that it is of, by its uid.

    Raises:
        NoteError: There is no text, too much of it, or it could not be written.
    """
    if not text.strip():
        raise NoteError("a note without a text is none")
    try:
        note = LogNote(
            at=time.time(),
            text=text.strip(),
            by=by or getpass.getuser(),
            station=station,
            cell_id=cell_id,
            run=run,
        )
    except ValidationError:
        raise NoteError(
            f"a note has {LONGEST} characters at most, this one {len(text)}: attach a file to the "
            "run instead (operando attach)"
        ) from None
    path = data_dir / _FILE
    # Non-ASCII as escapes: no cut within a character makes the rest of a line unreadable.
    line = json.dumps(note.model_dump(exclude_none=True)).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write_whole(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NoteError(f"the note could not be written into {path}: {error}") from error
    return note


def _write_whole(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line  # behind a line that was torn
    try:
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def notes(
    data_dir: Path,
    cell_id: str | None = None,
    station: str | None = None,
    since: float | None = None,
) -> list[LogNote]:
    """Return the notes of the log book, the oldest first; none if there is no log book.

    Args:
        data_dir: The data folder.
        cell_id: Only those of this cell.
        station: Only those of this station.
        since: Only those since then, epoch, s.

    Raises:
        NoteError: The log book cannot be read.
    """
    found = []
    try:
        content = (data_dir / _FILE).read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise NoteError(f"the log book {data_dir / _FILE} cannot be read: {error}") from error
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            note = LogNote.model_validate_json(line)
        except (ValidationError, ValueError):
            logger.warning("line %d of %s is no note and is left out", number, data_dir / _FILE)
            continue
        if cell_id is not None and note.cell_id != cell_id:
            continue
        if station is not None and note.station != station:
            continue
        if since is not None and note.at < since:
            continue
        found.append(note)
    return sorted(found, key=lambda one: one.at)


def notes_of_run(
    data_dir: Path, runs: tuple[str, ...], cell_id: str | None, begun: float, ended: float | None
) -> list[LogNote]:
    """Return the notes of an experiment: those of its runs, and those of its cell in its time.

    Args:
        data_dir: The data folder.
        runs: Its runs, by uid.
        cell_id: Its cell; ``None``: it has none.
        begun: When the first began, epoch, s.
        ended: When the last ended, epoch, s; ``None``: it goes on.
    """
    return [
        note
        for note in notes(data_dir)
        if note.run in runs
        or (
            cell_id is not None
            and note.cell_id == cell_id
            and begun <= note.at
            and (ended is None or note.at <= ended)
        )
    ]
