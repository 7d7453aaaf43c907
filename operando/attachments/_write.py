"""Writing an attachment: one journal, its arrays in one file, a copy of what it was read from."""

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from operando import __version__
from operando.journal import (
    JournalError,
    JournalWriter,
    ScanNumbers,
    attachments_of,
    chain_of,
    documents,
    journal_path,
    summaries,
)

PLAN = "attach"
# Of an attachment: between which moments rows of its file are those of its run, epoch s.
ROWS_BETWEEN = "rows_between"
# Of an attachment without rows: whose place it takes is no part of its run any more.
WITHDRAWN = "withdrawn"
_GROUP = "/entry"
# Of a larger file only the digest is kept, not a copy.
_COPIED_BYTES = 256 << 20


class AttachmentError(Exception):
    """Nothing was attached; the message says what was asked, what is there and what to do."""


class AlreadyAttachedError(AttachmentError):
    """The same bytes are attached to that experiment already."""


@dataclass(frozen=True)
class SourceFile:
    """What an attachment was read from.

    Attributes:
        name: The file's name, or how its instrument calls the result.
        size: Its length, bytes.
        sha256: Digest of its bytes.
        content: Its bytes, as they were when they were read.
        path: Where it lay; None if it was not a file.
        modified: When it was last written, epoch s of the clock that dates files there; None if it
            was not a file.
    """

    name: str
    size: int
    sha256: str
    content: bytes
    path: Path | None = None
    modified: float | None = None

    @classmethod
    def of(cls, path: Path) -> "SourceFile":
        """Return what a file is; raises OSError if it cannot be read."""
        # Written between the two, it would be dated later than what was read.
        modified = path.stat().st_mtime
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return cls(path.name, len(content), digest, content, path, modified)

    @classmethod
    def of_content(cls, name: str, content: bytes) -> "SourceFile":
        """Return what bytes are that an instrument handed over."""
        return cls(name, len(content), hashlib.sha256(content).hexdigest(), content)

    def copy_to(self, path: Path) -> None:
        """Write its bytes to a file, whose folder is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        if self.modified is not None:
            os.utime(path, (self.modified, self.modified))

    def continues(self, source: Mapping[str, Any]) -> bool:
        """Return whether it is another file, as the record tells it, and goes on behind its end."""
        size, digest = source.get("size"), source.get("sha256")
        if not isinstance(size, int) or not 0 < size < self.size:
            return False
        return hashlib.sha256(self.content[:size]).hexdigest() == digest


@dataclass(frozen=True)
class Part:
    """Rows of one stream.

    Attributes:
        stream: The stream that they are added to, or begin.
        device: The instrument, as in the keys.
        columns: Event key -> values by row.
        units: Event key -> unit; absent where there is none.
        time: When each row was taken, epoch s of this computer's clock.
        arrays: Event key -> values of shape (rows, ...), which go to a file.
        configuration: Configuration key -> value.
    """

    stream: str
    device: str
    columns: Mapping[str, Sequence[float]]
    units: Mapping[str, str]
    time: Sequence[float]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)


def attached_to(
    data_dir: Path | str, uid: str, *, superseded: bool = False
) -> list[dict[str, Any]]:
    """Return the start documents of what is attached to an experiment, oldest first.

    Args:
        data_dir: The data folder.
        uid: The whole uid of a run of it.
        superseded: Whether those count whose place a later one has taken.
    """
    data_dir = Path(data_dir)
    found = []
    for one in attachments_of(data_dir, chain_of(data_dir, uid), superseded=superseded):
        try:
            found.append(_start_of(journal_path(data_dir, one)))
        except (JournalError, LookupError):
            continue  # told where the run is read
    return found


@lru_cache(maxsize=10_000)
def _start_of(journal: Path) -> dict[str, Any]:
    """Return the start document of a journal that has its stop: it never changes."""
    name, doc = next(iter(documents(journal)))
    if name != "start":
        raise JournalError(f"{journal} begins with a {name}")
    return doc


def attach(
    data_dir: Path | str,
    uid: str,
    parts: Sequence[Part],
    source: SourceFile,
    *,
    kind: str,
    instrument: str = "",
    clock_offset_s: float = 0.0,
    told: Mapping[str, Any] | None = None,
    by_hand: bool = True,
    instead_of: str = "",
) -> str:
    """Attach rows to a run that has ended; return the uid of the attachment.

    What is known better takes the place of what was attached before: ``supersedes`` of the new
    attachment names that, whose record and bytes stay; only the new rows are the run's. That is
    so for later content of a file, which goes on behind what was attached or tells that it was
    begun at the same time; and for the same bytes that are read, or placed in time, in another
    way. Other content under the same name is another measurement.

    Args:
        data_dir: The data folder.
        uid: The whole uid of the run.
        parts: The rows.
        source: What they were read from; it is copied into the record.
        kind: The reader's name.
        instrument: Name of the instrument in the bench file; empty if a person attached it.
        clock_offset_s: How far the instrument's clock was declared ahead of this computer's, s.
        told: What else is known of it, as data.
        by_hand: Whether a person says so; what a person attached, only a person attaches in
            another way.
        instead_of: The attachment, of any run, whose place it takes.

    Raises:
        AlreadyAttachedError: The same bytes are attached to its experiment already.
        AttachmentError: There is no such run, it goes on, or it is an attachment itself; or
            ``instead_of`` is no attachment that counts.
        JournalError: It cannot be written.
    """
    data_dir = Path(data_dir).expanduser().resolve()
    with _one_at_a_time(data_dir):
        _check(data_dir, uid, source)
        now = time.time()
        attachment: dict[str, Any] = {
            "kind": kind,
            "instrument": instrument,
            "source": _told_of(source),
            "clock_offset_s": float(clock_offset_s),
            "streams": sorted({part.stream for part in parts}),
            **dict(told or {}),
        }
        if by_hand:
            attachment["by_hand"] = True
        before = _superseded(data_dir, uid, attachment, source)
        if instead_of:
            before = _known(data_dir, source, instead_of)
        if before:
            attachment["supersedes"] = before
        start: dict[str, Any] = {
            "uid": str(uuid.uuid4()),
            "time": now,
            "scan_id": ScanNumbers(data_dir).next(),
            "plan_name": PLAN,
            "operando_version": __version__,
            "attachment_of": uid,
            "attachment": attachment,
        }
        folder = data_dir / "assets" / str(start["uid"])
        try:
            _keep(source, folder)
            rows = {part.stream: len(part.time) for part in parts}
            with JournalWriter(data_dir) as journal:
                journal("start", start)
                for part in parts:
                    for name, doc in _documents(part, str(start["uid"]), folder, now):
                        journal(name, doc)
                journal("stop", _stop(str(start["uid"]), rows))
        except BaseException:
            # Without a stop of a success nobody takes it for an attachment.
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return str(start["uid"])


def _told_of(source: SourceFile) -> dict[str, Any]:
    told = {"name": source.name, "size": source.size, "sha256": source.sha256}
    return told if source.path is None else told | {"path": str(source.path.absolute())}


def _superseded(data_dir: Path, uid: str, attachment: Mapping[str, Any], source: SourceFile) -> str:
    """Return the attachment whose place another one takes; empty if there is none.

    Raises AlreadyAttachedError if there is nothing new in it.
    """
    current = {one["uid"] for one in attached_to(data_dir, uid)}
    all_of_them = reversed(attached_to(data_dir, uid, superseded=True))
    newest_first = sorted(all_of_them, key=lambda one: one["uid"] not in current)
    for one in newest_first:
        before = one["attachment"]
        if before["source"]["sha256"] != source.sha256 or _of_another_run(one, uid, attachment):
            continue
        theirs = bool(before.get("by_hand")) and not attachment.get("by_hand")
        if theirs or _read_alike(before, attachment):
            raise AlreadyAttachedError(
                f"{source.name}: its bytes are attached to run {uid[:8]} already, as "
                f"{one['uid'][:8]} from {before['source']['name']}"
            )
        if one["uid"] in current:
            return str(one["uid"])
    path = attachment["source"].get("path")
    begun = _begun(attachment)
    for one in newest_first:
        before = one["attachment"]
        alike = all(before.get(key) == attachment[key] for key in ("kind", "instrument"))
        if one["uid"] not in current or _of_another_run(one, uid, attachment):
            continue
        if not path or not alike or before["source"].get("path") != path:
            continue
        if (begun and begun == _begun(before)) or source.continues(before["source"]):
            return str(one["uid"])
    return ""


def _of_another_run(one: Mapping[str, Any], uid: str, attachment: Mapping[str, Any]) -> bool:
    """Return whether it holds the rows of a file that were taken in another run alone."""
    parted = ROWS_BETWEEN in attachment and ROWS_BETWEEN in one["attachment"]
    return parted and one["attachment_of"] != uid


def _read_alike(before: Mapping[str, Any], attachment: Mapping[str, Any]) -> bool:
    """Return whether the same bytes became the same rows, as far as the older record tells."""
    for key in ("kind", "clock_offset_s"):
        if before.get(key) != attachment.get(key):
            return False
    declared = [one.get("declared") for one in (before, attachment)]
    if all(declared) and declared[0] != declared[1]:
        return False
    streams = [one.get("streams") for one in (before, attachment)]
    return not all(streams) or streams[0] == streams[1]


def _known(data_dir: Path, source: SourceFile, uid: str) -> str:
    """Return an attachment that is to be replaced; raises AttachmentError if it is none."""
    told = summaries(data_dir, [uid]).get(uid)
    if told is None or uid not in attachments_of(data_dir, chain_of(data_dir, told.attachment_of)):
        raise AttachmentError(
            f"{source.name}: {uid[:8]} is no attachment whose place can be taken; operando report "
            "RUN lists those of a run"
        )
    return uid


def _begun(attachment: Mapping[str, Any]) -> str:
    """Return when a file says that it was begun, as it says it; empty if it does not."""
    return str((attachment.get("told") or {}).get("started") or "")


def _stop(uid: str, rows: Mapping[str, int]) -> dict[str, Any]:
    return {
        "uid": str(uuid.uuid4()),
        "run_start": uid,
        "time": time.time(),
        "exit_status": "success",
        "reason": "",
        "num_events": dict(rows),
    }


def _check(data_dir: Path, uid: str, source: SourceFile) -> None:
    run = summaries(data_dir, [uid]).get(uid)
    if run is None:
        raise AttachmentError(f"{source.name}: there is no run {uid} in {data_dir} to attach it to")
    if run.attachment_of:
        raise AttachmentError(
            f"{source.name}: {uid[:8]} is an attachment itself; attach it to the run "
            f"{run.attachment_of[:8]}"
        )
    if run.exit_status in ("running", "unfinished"):
        raise AttachmentError(
            f"{source.name}: run {uid[:8]} is {run.exit_status}; a file is attached to a run that "
            "has ended" + (" (operando catalog repair closes it)" * (run.exit_status != "running"))
        )


@contextmanager
def _one_at_a_time(data_dir: Path) -> Iterator[None]:
    """Keep two programs from attaching the same file at the same moment."""
    path = data_dir / "state" / "attach.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _keep(source: SourceFile, folder: Path) -> None:
    if source.size <= _COPIED_BYTES:
        source.copy_to(folder / Path(source.name).name)


def _documents(
    part: Part, run: str, folder: Path, now: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    descriptor = str(uuid.uuid4())
    rows = len(part.time)
    keys: dict[str, Any] = {
        key: {
            "source": f"file:{part.device}",
            "dtype": "number",
            "dtype_numpy": "<f8",
            "shape": [],
            "units": part.units.get(key, ""),
        }
        for key in part.columns
    }
    for key, values in part.arrays.items():
        keys[key] = {
            "source": f"file:{part.device}",
            "dtype": "array",
            "dtype_numpy": "<f8",
            "shape": list(values.shape[1:]),
            "external": "STREAM:",
            "units": part.units.get(key, ""),
        }
    told = dict(part.configuration)
    configuration = {
        "data": told,
        "timestamps": dict.fromkeys(told, now),
        "data_keys": {key: _described(part.device, value) for key, value in told.items()},
    }
    yield (
        "descriptor",
        {
            "uid": descriptor,
            "name": part.stream,
            "run_start": run,
            "time": now,
            "data_keys": keys,
            "configuration": {part.device: configuration},
            "object_keys": {part.device: list(keys)},
            "hints": {},
        },
    )
    if part.arrays:
        yield from _announced(part, run, descriptor, folder)
    if part.columns and rows:
        data = {key: [float(one) for one in values] for key, values in part.columns.items()}
        stamps = [float(one) for one in part.time]
        yield (
            "event_page",
            {
                "uid": [str(uuid.uuid4()) for _ in range(rows)],
                "descriptor": descriptor,
                "seq_num": list(range(1, rows + 1)),
                "time": stamps,
                "data": data,
                "timestamps": dict.fromkeys(data, stamps),
                "filled": {},
            },
        )


def _described(device: str, value: Any) -> dict[str, Any]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"source": f"file:{device}", "dtype": "number", "shape": []}
    if isinstance(value, (list, tuple)):
        return {"source": f"file:{device}", "dtype": "array", "shape": [len(value)]}
    return {"source": f"file:{device}", "dtype": "string", "shape": []}


def _announced(
    part: Part, run: str, descriptor: str, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    import h5py

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part.stream}.h5"
    with h5py.File(path, "x", libver="latest") as file:
        for key, values in part.arrays.items():
            file.create_dataset(
                f"{_GROUP}/{key}",
                data=np.asarray(values, dtype=np.float64),
                chunks=(1, *values.shape[1:]),
                maxshape=(None, *values.shape[1:]),
            )
        file.flush()
        os.fsync(file.id.get_vfd_handle())
    for key, values in part.arrays.items():
        resource = str(uuid.uuid4())
        yield (
            "stream_resource",
            {
                "uid": resource,
                "data_key": key,
                "mimetype": "application/x-hdf5",
                "uri": "file://localhost" + quote(path.as_posix(), safe="/:"),
                "parameters": {
                    "dataset": f"{_GROUP}/{key}",
                    "chunk_shape": [1, *values.shape[1:]],
                    "swmr": True,
                },
                "run_start": run,
            },
        )
        yield (
            "stream_datum",
            {
                "uid": f"{resource}/0",
                "stream_resource": resource,
                "descriptor": descriptor,
                "indices": {"start": 0, "stop": len(values)},
                "seq_nums": {"start": 1, "stop": len(values) + 1},
            },
        )
