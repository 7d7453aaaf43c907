"""Closing the journal of a run whose process died."""

import itertools
import os
import time
import uuid
from pathlib import Path

from ._format import RecordReader, encode
from ._lock import try_lock
from ._roots import sync_folder
from ._scan import row_counts

_BLOCK_BYTES = 1 << 20


def close_dead_run(path: Path | str) -> bool:
    """Complete the journal of a run whose writer is gone; return whether it did.

    Cuts a torn record off the end and appends a stop document: ``exit_status`` fail, the reason,
    the rows per stream, and the time of the last document. If a whole record is damaged (which a
    killed process does not leave, but a failing disk does), everything behind it is kept beside
    the journal as ``UID.opj.cut`` (``.cut2`` and so on where that exists). A journal that is being
    written, has a stop, or holds no run yet is left alone.

    Raises:
        OSError: if the disk refuses; the journal then is as it was, or cut to its whole records.
        JournalError: if the file is not a journal or of a newer format.
    """
    path = Path(path)
    fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        if not try_lock(fd):
            return False
        reader = RecordReader(path)
        counts = row_counts(reader)
        if not counts.start or counts.stop:
            return False
        tail = reader.tail
        size = os.fstat(fd).st_size
        reason = (
            "the acquisition process died before its stop document; "
            "the catalog service closed the run"
        )
        if size > tail.offset:
            if not tail.reason.startswith("torn"):
                cut = _keep_rest(path, fd, tail.offset)
                reason += f"; {tail.reason} at byte {tail.offset}, the rest is in {cut.name}"
            os.ftruncate(fd, tail.offset)
        stop = encode(
            "stop",
            {
                "uid": str(uuid.uuid4()),
                "time": counts.newest or time.time(),
                "run_start": counts.start["uid"],
                "exit_status": "fail",
                "reason": reason,
                "num_events": counts.rows,
            },
        )
        os.lseek(fd, tail.offset, os.SEEK_SET)
        try:
            written = 0
            while written < len(stop):
                written += os.write(fd, stop[written:])
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, tail.offset)
            raise
    finally:
        os.close(fd)
    return True


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
