"""Closing the journal of a run whose process died."""

import copy
import itertools
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._bulk import BulkReader
from ._damage import Damage
from ._format import Document, Tail, encode
from ._lock import is_locked, is_written_here, try_lock
from ._reader import JournalReader
from ._roots import sync_folder
from ._scan import Scan, glance

# Somebody may be copying a journal into the folder, without holding its lock, and pause meanwhile.
QUIET_S = 60.0
_BLOCK_BYTES = 1 << 20


def close_dead_run(
    path: Path | str,
    *,
    by: str = "the catalog service",
    quiet_s: float = 0.0,
    reader: JournalReader | None = None,
    held: int | None = None,
    because: str = "",
    told: Mapping[str, Any] | None = None,
) -> bool:
    """Complete the journal of a run whose writer is gone; return whether it did.

    Cuts off its end what no whole record follows, and appends a stop document: ``exit_status``
    fail, the reason, the rows per stream, and the time of the last document. What is cut is a
    record that was torn when the process died; anything else (a killed process does not leave it,
    but a failing disk does) is kept beside the journal as ``UID.opj.cut`` (``.cut2`` and so on
    where that exists). What is damaged before the last whole record stays where it is, and the
    reason tells of it. A journal that is being written, ends with its run's stop, or holds no run
    yet is left alone.

    Args:
        path: the journal.
        by: who closes it, for the reason.
        quiet_s: leave it alone if it was changed so shortly before [s] and does not carry its
            writer's mark. 0 for who knows that its writer died; `QUIET_S` for who cannot tell it
            from a journal that is being copied.
        reader: has read the journal and counted what it read; only what came since is read.
        held: the journal, open for writing, whose lock the caller holds already; left open.
        because: what else is to stand in the reason.
        told: more keys of the stop document.

    Raises:
        OSError: if the disk refuses; the journal then is as it was, or cut to its whole records.
        JournalError: if the file is not a journal, of a newer format, or has lost its start
            document.
    """
    path = Path(path)
    fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0)) if held is None else held
    try:
        if not (held is not None or try_lock(fd)) or _is_young(fd, quiet_s) or _has_ended(path):
            return False
        size = os.fstat(fd).st_size
        counts, tail, damage = _counted(path, reader)
        if not counts.start or counts.stop or os.fstat(fd).st_size != size:
            return False
        reasons = [
            f"the acquisition process died before its stop document; {by} closed the run",
            *filter(None, [because]),
            *map(str, damage),
        ]
        if size > tail.offset:
            if not tail.reason.startswith("torn"):
                cut = _keep_rest(path, fd, tail.offset)
                reasons.append(f"{tail.reason} at byte {tail.offset}, the rest is in {cut.name}")
            os.ftruncate(fd, tail.offset)
        stop = {**_stop(counts, "; ".join(reasons)), **(told or {})}
        _append(fd, tail.offset, stop)
    finally:
        if held is None:
            os.close(fd)
    return True


def may_be_copied(path: Path | str) -> bool:
    """Return whether a journal without an end was changed so lately that it may be a copy.

    One that is being written is not.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        young = _is_young(fd, QUIET_S)
    finally:
        os.close(fd)
    return young and not is_locked(path) and not _has_ended(Path(path))


def _is_young(fd: int, quiet_s: float) -> bool:
    """Return whether a file that may be a copy was changed so shortly before."""
    # A time in the future is of a clock that was set since, or of another computer.
    return abs(time.time() - os.fstat(fd).st_mtime) < quiet_s and not is_written_here(fd)


def _has_ended(path: Path) -> bool:
    """Return whether the file ends with the stop of its run, whatever is wrong before."""
    try:
        return glance(path) is not None
    except (ValueError, TypeError, KeyError, AttributeError):
        return False  # not what a journal writer writes; the reader tells what is wrong


def _counted(path: Path, reader: JournalReader | None) -> tuple[Scan, Tail, tuple[Damage, ...]]:
    counts, offset = Scan(), 0
    damage: tuple[Damage, ...] = ()
    if reader is not None and reader.counts is not None:
        counts, offset = copy.deepcopy(reader.counts), reader.tail.offset
        damage = reader.damage
    rest = BulkReader(path, offset)
    for name, doc in rest:
        counts.take(name, doc)
    return counts, rest.tail, (*damage, *rest.damage)


def _stop(counts: Scan, reason: str) -> Document:
    return {
        "uid": str(uuid.uuid4()),
        "time": counts.newest or time.time(),
        "run_start": counts.start["uid"],
        "exit_status": "fail",
        "reason": reason,
        "num_events": counts.rows,
    }


def _append(fd: int, offset: int, stop: Document) -> None:
    record = encode("stop", stop)
    os.lseek(fd, offset, os.SEEK_SET)
    try:
        written = 0
        while written < len(record):
            written += os.write(fd, record[written:])
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, offset)
        raise


def _keep_rest(path: Path, fd: int, offset: int) -> Path:
    """Copy what lies behind ``offset`` beside the journal, on the disk, and return where."""
    numbers = itertools.count(2)
    cut = path.with_name(path.name + ".cut")
    while cut.exists():
        cut = path.with_name(f"{path.name}.cut{next(numbers)}")
    try:
        with open(cut, "xb") as kept:
            os.lseek(fd, offset, os.SEEK_SET)
            while block := os.read(fd, _BLOCK_BYTES):
                kept.write(block)
            kept.flush()
            os.fsync(kept.fileno())
        sync_folder(path.parent)
    except OSError:
        cut.unlink(missing_ok=True)
        raise
    return cut
