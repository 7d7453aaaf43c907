"""What is damaged in the journal of a run, and which of its rows are missing for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from operando.journal import (
    BulkReader,
    JournalError,
    Tail,
    deleted_raw,
    inspect,
    journal_path,
)
from operando.journal import read_columns as read_numbers
from operando.runs._assets import Asset, AssetPart
from operando.runs._run import Run, Stream

if TYPE_CHECKING:
    from operando.catalog import RunParts


def read_journal(path: Path, *, expand: Path | None = None) -> tuple[Run, str]:
    """Read one run from its journal; return it, and its damage in a few words.

    Args:
        path: The journal.
        expand: As for `operando.journal.documents`.
    """
    reader = BulkReader(path, expand=expand)
    run = Run.from_documents(reader)
    return with_damage(run, path, reader.tail)


def told_damage(run: Run, path: Path, *, whole: bool = True) -> Run:
    """Return a run that came from a journal in another way with what is damaged in that.

    Args:
        run: The run.
        path: Its journal.
        whole: Whether the run has all rows of the journal; else only the sentences are taken.
    """
    tail = _tail(path)
    if tail.clean:
        return run
    told, _ = with_damage(run, path, tail)
    if whole:
        return told
    return replace(run, notes=told.notes, damage=told.damage)


def with_deleted(run: Run, data_dir: Path) -> Run:
    """Return a run with what was deleted of its raw data after an export, if anything was.

    Whoever asks for such a row is told where it is.
    """
    try:
        note = deleted_raw(journal_path(data_dir, run.uid))
    except LookupError:
        return run
    if note is None:
        return run
    gone = {data_dir.resolve() / name for name in note.files}
    streams = {
        name: replace(
            stream,
            assets=MappingProxyType(
                {
                    key: Asset(key, asset.parts, gone=str(note))
                    if any(part.path in gone for part in asset.parts)
                    else asset
                    for key, asset in stream.assets.items()
                }
            ),
        )
        for name, stream in run.streams.items()
    }
    told = f"run {run.uid[:8]}: {note}"
    return replace(run, notes=(*run.notes, told), streams=MappingProxyType(streams))


def _tail(path: Path) -> Tail:
    """Return what a reader of a whole journal tells at its end, missing rows included."""
    tail = inspect(path)
    if tail.damage:
        reader = BulkReader(path)
        for _ in reader:
            pass
        tail = reader.tail
    return tail


def told_catalog_damage(
    run: Run, data_dir: Path, *, parts: "RunParts | None" = None, whole: bool = True
) -> Run:
    """Return a run that came from the catalog with what is damaged in its journal.

    The catalog is made from the journal: rows that this has lost are missing there, too, unless
    they were taken in before. Then the run is whole, and the damage is no more than a note.

    Args:
        run: The run.
        data_dir: The data folder of catalog and journal.
        parts: What the catalog has of it, if the run was made from that; else, from documents, it
            is read where it is needed.
        whole: Whether the run has all rows of the catalog; else only the sentences are taken.
    """
    from operando import catalog

    path = journal_path(data_dir, run.uid)
    try:
        tail = _tail(path)
        told, _ = _told_of_journal(path, tail)
        open_end = tail.reason.startswith("corrupt") and not run.complete
    except JournalError as error:  # nothing of it can be read any more
        told, open_end = [str(error)], not run.complete
    was_damaged = catalog.taken_in_damaged(run.uid, data_dir)
    if not told and not was_damaged:
        return run
    there = catalog.read_run(run.uid, data_dir) if parts is None else parts
    # The documents of a replay announce no files for rows that are missing.
    streams, missing = _with_holes(
        run, there.streams.__getitem__, open_end=open_end, in_files=parts is not None
    )
    if run.complete and not was_damaged and not missing:
        since = "; the catalog took the run in before that and holds it whole"
        return replace(run, notes=(*run.notes, *(one + since for one in told)))
    if not told:
        told = [f"{path.name} was damaged when the catalog took it in (operando catalog repair)"]
    damaged = _with_sentences(run, [*told, *missing])
    return replace(damaged, streams=streams) if whole else damaged


def with_damage(run: Run, path: Path, tail: Tail) -> tuple[Run, str]:
    """Return a run with what is damaged in its journal, and that in a few words.

    Args:
        run: The run as it was read from it.
        path: Its journal.
        tail: What its reader told at its end.
    """
    told, few = _told_of_journal(path, tail)
    if not told:
        return run, ""
    streams, missing = _with_holes(
        run,
        lambda name: read_numbers(path, name, ["seq_num", "time"]),
        open_end=tail.reason.startswith("corrupt"),
    )
    return replace(_with_sentences(run, [*told, *missing]), streams=streams), few


def _with_sentences(run: Run, told: Sequence[str]) -> Run:
    return replace(run, notes=(*run.notes, *told), damage=(*run.damage, *told))


def _told_of_journal(path: Path, tail: Tail) -> tuple[list[str], str]:
    """Return what is damaged in a journal, in sentences and in a few words; empty if nothing is."""
    # A process that was killed leaves a record that is torn, and a run without an end.
    corrupt = tail.reason.startswith("corrupt")
    if not tail.damage and not corrupt:
        return [], ""
    told, few = [], []
    for damage in tail.damage:
        told.append(f"{path.name} is damaged: {damage}")
        few.append(f"{damage.size} bytes from byte {damage.offset} on")
    if corrupt:
        left = path.stat().st_size - tail.offset
        told.append(
            f"{path.name} is damaged: nothing can be read of its last {left} bytes "
            f"({tail.reason.partition(': ')[2]})"
        )
        few.append(f"the last {left} bytes")
    return told, f"{path.name}: {', '.join(few)}"


def _with_holes(
    run: Run,
    rows_of: Callable[[str], Mapping[str, Any]],
    *,
    open_end: bool,
    in_files: bool = True,
) -> tuple[Mapping[str, Stream], list[str]]:
    """Return the streams of a run with the rows before which others are missing, and sentences.

    Args:
        run: The run.
        rows_of: Returns ``seq_num`` and ``time`` of a stream's rows; raises LookupError if
            nothing is left that describes it.
        open_end: Whether there may have been more rows at its end.
        in_files: Whether its files are announced for missing rows, too.
    """
    told = []
    streams = dict(run.streams)
    numbers = (run.stop or {}).get("num_events") or {}
    for name, stream in sorted(run.streams.items()):  # journal and catalog order them otherwise
        try:
            rows = rows_of(name)
        except LookupError:
            continue
        holes, sentences = _holes(name, rows, numbers.get(name), len(stream), open_end=open_end)
        assets = {
            key: Asset(key, _of_numbers(asset.parts, rows["seq_num"]))
            if holes and in_files and len(rows["seq_num"])
            else asset
            for key, asset in stream.assets.items()
        }
        streams[name] = replace(stream, holes=holes, assets=MappingProxyType(assets))
        told += sentences
    for name in sorted(set(numbers) - set(streams)):
        if numbers[name]:
            told.append(f"all {numbers[name]} rows of {name} are missing")
    return MappingProxyType(streams), told


def _holes(
    name: str,
    rows: Mapping[str, NDArray[Any]],
    count: int | None,
    length: int,
    *,
    open_end: bool,
) -> tuple[tuple[int, ...], list[str]]:
    """Return the rows of a stream before which others are missing, and sentences on them."""
    numbers, times = rows["seq_num"].astype(np.int64), rows["time"]
    if not len(numbers):  # all its rows lie in files
        missing = (count or 0) - length
        return (), [_missing_rows(name, missing) + " at its end"] if missing > 0 else []
    # A plan that was paused takes rows anew, with numbers it has used: those go back.
    jumps = np.diff(numbers, prepend=0) - 1
    holes, told = [], []
    for row in np.flatnonzero(jumps > 0):
        holes.append(int(row))
        before = f"between {_moment(times[row - 1])} and" if row else "before"
        told.append(_missing_rows(name, int(jumps[row])) + f" {before} {_moment(times[row])}")
    last = int(numbers.max())
    if count is not None and count > last:
        holes.append(len(numbers))
        told.append(_missing_rows(name, count - last) + f" after {_moment(times[-1])}")
    elif open_end:
        holes.append(len(numbers))
    return tuple(holes), told


def _of_numbers(parts: Sequence[AssetPart], numbers: NDArray[Any]) -> list[AssetPart]:
    """Return where those rows lie in files that have these numbers, from 1: the others are lost."""
    found: list[AssetPart] = []
    rows = numbers.astype(np.int64) - 1
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        first, last, begin = int(run[0]), int(run[-1]) + 1, 0
        for part in parts:
            end = begin + part.stop - part.start
            low, high = max(first, begin), min(last, end)
            if low < high:
                start = part.start + low - begin
                found.append(AssetPart(part.path, part.dataset, start, start + high - low))
            begin = end
    return found


def _missing_rows(name: str, count: int) -> str:
    return f"{count} row{'s' * (count != 1)} of {name} {'are' if count != 1 else 'is'} missing"


def _moment(epoch_s: float) -> str:
    return datetime.fromtimestamp(float(epoch_s), UTC).isoformat(timespec="milliseconds")
