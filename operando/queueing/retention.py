"""Deleting images and spectra that were exported: never others, never a journal.

A file goes only if its run, and all runs of the same experiment, ended as planned and long enough
ago, no item of a queue has to do with them, and a complete export of them that was verified when it
was written is still there, every byte of it, and holds this file as it is now.
"""

import contextlib
import getpass
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from operando.export import ExportEntry, exports, raw_files, sha256_of, verify_export
from operando.journal import (
    DeletedRaw,
    JournalError,
    RunSummary,
    attachments_of,
    chain_of,
    is_locked,
    list_runs,
    note_deleted,
    summaries,
)
from operando.queueing._known_records import known_records
from operando.runs import read_journal
from techniques.queueing import StationsFile

_DAY_S = 86400.0


@dataclass(frozen=True)
class Verdict:
    """What becomes of the images and spectra of a run.

    Attributes:
        run: Which.
        files: Those that are there, by name below the data folder, with their sizes in bytes.
        sha256: By name, of those that may go.
        export: The export that holds them; ``None``: they stay.
        why: Why they stay; empty: they may go.
    """

    run: RunSummary
    files: Mapping[str, int]
    sha256: Mapping[str, str]
    export: ExportEntry | None
    why: str

    @property
    def bytes(self) -> int:
        """Return how much room they take."""
        return sum(self.files.values())


def judge(
    data_dir: Path,
    after_days: float | None,
    in_use: Collection[str] | None = (),
    *,
    now: Callable[[], float] = time.time,
) -> Iterator[Verdict]:
    """Yield of each run that has images or spectra here whether they may go, the oldest first.

    An export is read whole before anything is judged by it.

    Args:
        data_dir: The data folder.
        after_days: How long ago a run must have ended; ``None``: nothing may ever go.
        in_use: Runs of items that are not over; ``None``: nobody could be asked, and every run
            of a queue counts as one.
        now: The time, s of the epoch.
    """
    data_dir = data_dir.resolve()
    told = exports(data_dir)
    verified: dict[str, str] = {}
    for run in reversed(list_runs(data_dir)):
        try:
            recorded, _ = read_journal(run.path, expand=data_dir)
        except (JournalError, OSError):
            continue
        files = {}
        for name in raw_files(recorded, data_dir):
            with contextlib.suppress(OSError, ValueError):
                files[name] = _size_inside(data_dir, name)
        if not files:
            continue
        queued = isinstance(recorded.start.get("queue"), Mapping)
        why = _not_over(data_dir, run, after_days, in_use, now(), queued=queued)
        if why:
            yield Verdict(run, files, {}, None, why)
        else:
            yield _exported(data_dir, run, files, told, verified)


def delete(
    data_dir: Path, verdict: Verdict, *, by: str | None = None, now: Callable[[], float] = time.time
) -> int:
    """Delete what a verdict allows, after a note of it lies beside the journal; return the bytes.

    Each file is compared once more with what the export holds; one that differs stays.
    """
    data_dir = data_dir.resolve()
    if verdict.why or verdict.export is None or is_locked(verdict.run.path):
        return 0
    note = DeletedRaw(
        files=dict(verdict.files),
        sha256=dict(verdict.sha256),
        exported_to=verdict.export.path,
        format=verdict.export.format,
        at=now(),
        by=by or getpass.getuser(),
    )
    note_deleted(verdict.run.path, note)
    freed = 0
    for name, size in verdict.files.items():
        with contextlib.suppress(OSError, ValueError):
            if _unlink_inside(data_dir, name, verdict.sha256[name]):
                freed += size
    return freed


def _not_over(
    data_dir: Path,
    run: RunSummary,
    after_days: float | None,
    in_use: Collection[str] | None,
    now: float,
    *,
    queued: bool,
) -> str:
    """Return why raw data must stay whatever was exported; empty: they need not."""
    if after_days is None:
        return "delete_exported_after_days is not set: nothing is ever deleted"
    of = run.attachment_of or run.uid
    try:
        chain = chain_of(data_dir, of)
        whole = {*chain, *attachments_of(data_dir, chain), run.uid, of}
        told = summaries(data_dir, whole)
    except (LookupError, JournalError) as error:
        return f"its experiment is not known: {error}"
    tip = told.get(chain[-1])
    if whole - set(told) or tip is None:
        return "runs of its experiment are not here"
    if any(is_locked(one.path) or one.exit_status == "running" for one in told.values()):
        return "it is going on"
    if tip.exit_status != "success":
        return f"it ended as {tip.exit_status or 'unfinished'} and can be resumed"
    if in_use is None and queued:
        return "the queue cannot be asked whether its item is over"
    if in_use is not None and whole & set(in_use):
        return "its item of the queue is not over"
    for one in told.values():
        try:
            ended = max(one.time, one.path.stat().st_mtime)
        except OSError:
            return "runs of its experiment are not here"
        if now - ended < after_days * _DAY_S:
            return f"it ended less than {after_days:g} days ago"
    return ""


def _exported(
    data_dir: Path,
    run: RunSummary,
    files: Mapping[str, int],
    told: Collection[ExportEntry],
    verified: dict[str, str],
) -> Verdict:
    why = "it was never exported"
    for entry in reversed(list(told)):
        if run.uid not in entry.runs:
            continue
        if not entry.complete:
            why = f"its export to {entry.path} is not complete: {entry.why}"
            continue
        if not set(files) <= set(entry.raw):
            why = f"its export to {entry.path} lacks files that are here"
            continue
        key = f"{entry.path} {entry.at}"
        if key not in verified:
            verified[key] = _inside_assets(data_dir, entry) or verify_export(entry)
        if verified[key]:
            why = f"its export does not hold any more: {verified[key]}"
            continue
        try:
            digests = {name: _digest_inside(data_dir, name) for name in files}
        except (OSError, ValueError) as error:
            why = f"its files cannot be read: {error}"
            continue
        if any(entry.raw[name] != digest for name, digest in digests.items()):
            why = f"its files are not as they were exported to {entry.path}"
            continue
        return Verdict(run, files, digests, entry, "")
    return Verdict(run, files, {}, None, why)


def _inside_assets(data_dir: Path, entry: ExportEntry) -> str:
    """Return why an export is none: it would go with what it stands for."""
    assets = os.path.realpath(data_dir / "assets")
    root = Path(entry.path)
    for name in entry.files:
        real = os.path.realpath(root / name if name else root)
        if real == assets or real.startswith(assets + os.sep):
            return f"{root / name} lies among the raw data"
    return ""


# -- files below the data folder, reached without following a link


@contextlib.contextmanager
def _folder_of(data_dir: Path, name: str) -> Iterator[tuple[int, str]]:
    """Open the folder of a file below ``assets``, component by component; no link is followed."""
    *folders, last = name.split("/")
    if folders[:1] != ["assets"] or {"", ".", ".."} & {*folders, last}:
        raise ValueError(f"{name} is no file of raw data")
    fd = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            how = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(folder, how, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd, last
    finally:
        os.close(fd)


def _size_inside(data_dir: Path, name: str) -> int:
    with _folder_of(data_dir, name) as (folder, last):
        told = os.stat(last, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(told.st_mode):
        raise ValueError(f"{name} is no regular file")
    return told.st_size


def _digest_inside(data_dir: Path, name: str) -> str:
    _size_inside(data_dir, name)
    return sha256_of(data_dir / name)


def _unlink_inside(data_dir: Path, name: str, digest: str) -> bool:
    """Delete a file if it still is what was exported; return whether it was."""
    if _digest_inside(data_dir, name) != digest:
        return False
    with _folder_of(data_dir, name) as (folder, last):
        os.unlink(last, dir_fd=folder)
    with contextlib.suppress(OSError):  # others lie there, too
        (data_dir / name).parent.rmdir()
    return True


def runs_in_use(data_dir: Path, stations: StationsFile) -> tuple[set[str] | None, str]:
    """Return the runs of items that are not over, and why they are not known (``None``)."""
    records, problem = known_records(data_dir, stations)
    if records is None:
        return None, f"runs of queues stay: {problem}"
    attempts = (one for record in records.values() if not record.over for one in record.attempts)
    return {one.run_uid for one in attempts if one.run_uid is not None}, ""
