"""Which exports were made of which runs, and whether they are still what they were.

``state/exports.jsonl`` of the data folder has a line for each export. Raw data are deleted only by
it, and only what an export that is still there holds.
"""

import hashlib
import json
import logging
import os
import stat
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from operando.runs import Run

logger = logging.getLogger(__name__)

_LEDGER = Path("state") / "exports.jsonl"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ExportEntry:
    """One export.

    Attributes:
        at: When, epoch, s.
        uid: The run that was exported.
        runs: All runs that are in it: those it continues, that continue it, late results.
        format: In which format.
        path: The file or folder, absolute.
        files: Name below ``path`` (empty: it is the file) -> SHA-256.
        raw: Files of images and spectra, by their names below the data folder, whose rows are in
            it, every one -> SHA-256 of the file when they were exported.
        complete: Whether ``raw`` are all that the runs have.
        why: Why it is not complete.
    """

    at: float
    uid: str
    runs: tuple[str, ...]
    format: str
    path: str
    files: Mapping[str, str]
    raw: Mapping[str, str] = field(default_factory=dict)
    complete: bool = False
    why: str = ""


def keep_entry(
    data_dir: Path, run: Run, format: str, written: Sequence[Path], *, link: bool
) -> ExportEntry | None:
    """Verify an export that was just written and remember it; ``None``: that cannot be."""
    try:
        entry = _entry(data_dir, run, format, written, link=link)
        place = data_dir / _LEDGER
        place.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(entry)) + "\n"
        fd = os.open(place, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, b"\n" * torn + line.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        logger.warning("the export is not remembered, its raw data stay here: %s", error)
        return None
    return entry


def exports(data_dir: Path) -> list[ExportEntry]:
    """Return what was exported, the oldest first; lines that tell nothing are passed over."""
    found = []
    try:
        lines = (data_dir / _LEDGER).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            told = json.loads(line)
            found.append(
                ExportEntry(
                    at=float(told["at"]),
                    uid=str(told["uid"]),
                    runs=tuple(map(str, told["runs"])),
                    format=str(told["format"]),
                    path=str(told["path"]),
                    files={str(name): str(one) for name, one in told["files"].items()},
                    raw={str(name): str(one) for name, one in told["raw"].items()},
                    complete=told["complete"] is True,
                    why=str(told["why"]),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found


def verify_export(entry: ExportEntry) -> str:
    """Return why an export is not any more what it was; empty: every byte is there.

    Reads all of it. What a link leads to is not in it.
    """
    root = Path(entry.path)
    if not entry.files:
        return "it has no files"
    for name, digest in entry.files.items():
        path = root / name if name else root
        try:
            if sha256_of(path) != digest:
                return f"{path} is not as it was written"
        except OSError as error:
            return f"{path}: {error.strerror or error}"
    return ""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file; OSError if it is none, a link included."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no regular file")
        return hashlib.file_digest(file, "sha256").hexdigest()


def raw_files(run: Run, data_dir: Path) -> dict[str, Path]:
    """Return the files that hold images and spectra of a run alone, by name below ``data_dir``.

    Files with columns of numbers are rows of the record and are not among them.
    """
    data_dir = data_dir.resolve()  # as paths of files are told
    columns = set(run.files) - {part.path for part in _parts(run)}
    found = {}
    for part in _parts(run):
        if part.path not in columns and part.path.is_relative_to(data_dir / "assets"):
            found[part.path.relative_to(data_dir).as_posix()] = part.path
    return found


def _parts(run: Run) -> Iterator[Any]:
    for stream in run.streams.values():
        for asset in stream.assets.values():
            yield from asset.parts


def _entry(
    data_dir: Path, run: Run, format: str, written: Sequence[Path], *, link: bool
) -> ExportEntry:
    root, files = _listed(written)
    raw: dict[str, str] = {}
    why = ""
    if format not in ("nexus", "rocrate"):
        why = f"{format} holds no images and spectra"
    elif link:
        why = "it only points at them"
    elif run.damage:
        why = "the journal is damaged"
    elif not run.complete:
        why = "the run had no end"
    else:
        missing = [
            f"{asset.announced - len(asset)} rows of {key}"
            for stream in run.streams.values()
            for key, asset in stream.assets.items()
            if len(asset) < asset.announced
        ]
        own = raw_files(run, data_dir)
        present = {name: sha256_of(path) for name, path in own.items() if path.is_file()}
        if missing or len(present) < len(own):
            why = f"not in their files any more: {', '.join(missing) or 'whole files'}"
        elif format == "rocrate":
            kept = set(files.values()) | set(_in_archives(root, files))
            raw = {name: digest for name, digest in present.items() if digest in kept}
            if len(raw) < len(present):
                why = "files of images and spectra are not in it as they are here"
        elif (differs := _rows_differ(run, root)) is not None:
            why = differs
        else:
            raw = present
    return ExportEntry(
        at=time.time(),
        uid=run.uid,
        runs=run.sources,
        format=format,
        path=str(root),
        files=files,
        raw=raw,
        complete=not why,
        why=why,
    )


def _listed(written: Sequence[Path]) -> tuple[Path, dict[str, str]]:
    """Return what all that was written lies in, and each file below it with its SHA-256."""
    paths = [path.absolute() for path in written]
    if len(paths) == 1 and not paths[0].is_dir():
        return paths[0], {"": sha256_of(paths[0])}
    root = paths[0] if len(paths) == 1 else Path(os.path.commonpath(paths))
    files: dict[str, str] = {}
    for path in paths:
        for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if one.is_file():
                files[one.relative_to(root).as_posix()] = sha256_of(one)
    return root, files


def _in_archives(root: Path, files: Mapping[str, str]) -> Iterator[str]:
    """Yield the SHA-256 of what is in the zip that an export is."""
    if set(files) != {""} or not zipfile.is_zipfile(root):
        return
    with zipfile.ZipFile(root) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                digest = hashlib.sha256()
                with archive.open(member) as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
                yield digest.hexdigest()


def _rows_differ(run: Run, path: Path) -> str | None:
    """Return which rows a NeXus file has not as they are; None: it has every one, bit by bit."""
    import h5py

    wanted: dict[tuple[str, tuple[int, ...]], dict[str, str]] = {}
    for stream in run.streams.values():
        for key, asset in stream.assets.items():
            for _, part in asset.alike():
                digest, kind = _digest_of(part.rows())
                wanted.setdefault(kind, {})[digest] = key
    found: set[str] = set()

    def look(_: str, dataset: Any) -> None:
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            return
        if (str(dataset.dtype), dataset.shape) in wanted:
            found.add(_digest_of(dataset[row] for row in range(len(dataset)))[0])

    with h5py.File(path, "r") as file:
        file.visititems(look)
    for digests in wanted.values():
        for digest, key in digests.items():
            if digest not in found:
                return f"the rows of {key} are not in it as they are here"
    return None


def _digest_of(rows: Iterator[Any]) -> tuple[str, tuple[str, tuple[int, ...]]]:
    """Return the SHA-256 of rows, and their type and shape together."""
    digest, count = hashlib.sha256(), 0
    dtype, shape = "", tuple[int, ...]()
    for row in rows:
        values = np.ascontiguousarray(row)
        dtype, shape = str(values.dtype), values.shape
        digest.update(values.tobytes())
        count += 1
    return digest.hexdigest(), (dtype, (count, *shape))
