"""A run as named arrays with units, however its documents arrive.

`RunBuilder` takes documents one by one (live, from a journal, from a replay) and offers a valid
`Run` at any time; `Run.from_catalog` gives the same arrays from the catalog. Nothing here depends
on how rows were grouped into pages.
"""

import errno
import logging
import math
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import accumulate, chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from operando.journal import (
    BulkReader,
    JournalError,
    Tail,
    inspect,
    journal_path,
    page_of,
    row_times,
)
from operando.journal import read_columns as read_numbers

if TYPE_CHECKING:
    from operando.catalog import RunParts

logger = logging.getLogger(__name__)

# Data key of the row times of a stream whose columns lie in a file.
TIME_KEY = "time"

# What says nothing of a file, and much of this process at this moment.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}

# Rows of a column that wait to be put into their place together.
ROWS_AT_ONCE = 8192

Floats = NDArray[np.float64]
Document = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class AssetPart:
    """Consecutive rows of one dataset in one HDF5 file, as they were announced."""

    path: Path
    dataset: str
    start: int
    stop: int


class Asset:
    """Rows that live in files: a lazy array of shape (rows, ...), read when indexed.

    Its length is the smaller of what was announced and what the files hold at this moment; a file
    that is gone or unreadable holds nothing. Where this process may open no more files, OSError is
    raised instead.
    """

    def __init__(self, key: str, parts: Sequence[AssetPart]) -> None:
        self.key = key
        self.parts = tuple(parts)

    @property
    def announced(self) -> int:
        """Return how many rows the documents have announced."""
        return _announced(self.parts)

    def __len__(self) -> int:
        return sum(count for _, count in self._present())

    def __getitem__(self, index: int | slice) -> NDArray[Any]:
        """Read one row, or a stack of rows; raises IndexError beyond the last present row."""
        present = self._present()
        length = sum(count for _, count in present)
        if isinstance(index, slice):
            wanted = range(length)[index]
            if not wanted:
                raise IndexError(f"{self.key}: {index} selects none of {length} rows")
            return np.stack([self._read(present, row) for row in wanted])
        row = index + length if index < 0 else index
        if not 0 <= row < length:
            raise IndexError(f"{self.key}: row {index} of {length}")
        return self._read(present, row)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return self.rows()

    def rows(self, first: int = 0) -> Iterator[NDArray[Any]]:
        """Read one row after the other, from ``first`` on, opening each file once."""
        for part, count in self._present():
            skipped = min(first, count)
            first -= skipped
            if skipped == count:
                continue
            with _open(part.path) as file:
                dataset = file[part.dataset]
                for row in range(part.start + skipped, part.start + count):
                    yield dataset[row]

    def _present(self) -> list[tuple[AssetPart, int]]:
        found = []
        for part in self.parts:
            count = max(0, min(part.stop, _rows_in_file(part)) - part.start)
            found.append((part, count))
            if count < part.stop - part.start:
                break  # what follows would carry the wrong row numbers
        return found

    def _read(self, present: list[tuple[AssetPart, int]], row: int) -> NDArray[Any]:
        for part, count in present:
            if row < count:
                with _open(part.path) as file:
                    return cast(NDArray[Any], file[part.dataset][part.start + row])
            row -= count
        raise IndexError(f"{self.key}: row out of range")


def _open(path: Path) -> Any:
    """Open an HDF5 file that may still be written, or whose writer was killed."""
    import h5py
    import hdf5plugin  # noqa: F401  registers the filters that compressed images need

    try:
        return h5py.File(path, "r", libver="latest", swmr=True)
    except (OSError, ValueError):
        return h5py.File(path, "r")


def _announced(parts: Iterable[AssetPart]) -> int:
    return sum(part.stop - part.start for part in parts)


def _rows_in_file(part: AssetPart) -> int:
    try:
        with _open(part.path) as file:
            return int(file[part.dataset].shape[0])
    except (OSError, KeyError) as error:
        if getattr(error, "errno", None) in _PASSING:
            raise
        return 0


def lies_in_columns(descriptor: Document) -> bool:
    """Return whether a stream's rows are numbers in the columns of a file, and none in events."""
    keys = descriptor["data_keys"].values()
    return bool(keys) and all(
        "external" in key and not key.get("shape") and key.get("dtype") in ("number", "integer")
        for key in keys
    )


def read_columns(parts: Mapping[str, Sequence[AssetPart]], first: int = 0) -> dict[str, Floats]:
    """Read columns of numbers that lie in files, from row ``first`` on.

    All have the same length: the rows that every one of them was announced with and that its file
    holds. A column may be longer in the file of a writer that was killed; a file that is gone
    holds nothing, which is logged.
    """
    found: dict[str, Floats] = {}
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}
        for key, its_parts in parts.items():
            pieces = [np.empty(0)]
            skip = first
            for part in its_parts:
                begin = part.start + min(skip, part.stop - part.start)
                skip -= begin - part.start
                if begin == part.stop:
                    continue
                if part.path not in opened:
                    opened[part.path] = _opened(part.path, stack)
                dataset = opened[part.path].get(part.dataset, ())
                pieces.append(np.asarray(dataset[begin : part.stop], dtype=np.float64))
                if len(pieces[-1]) < part.stop - begin:
                    break  # what follows would carry the wrong row numbers
            found[key] = np.concatenate(pieces)
    length = min((len(values) for values in found.values()), default=0)
    return {key: values[:length] for key, values in found.items()}


def _opened(path: Path, stack: ExitStack) -> Any:
    try:
        return stack.enter_context(_open(path))
    except OSError as error:
        if error.errno in _PASSING:
            raise
        logger.warning("rows that were announced in %s are not there: %s", path, error)
        return {}


@dataclass(frozen=True)
class Stream:
    """One stream of a run.

    Attributes:
        name: The stream's name, e.g. ``potentiostat``.
        columns: Event key -> values by row, float64, shape (rows, ...); it does not show whether
            they came in events or lay in the columns of a file.
        units: Event key -> units as the descriptor tells them; absent if it tells none.
        time: When each row was taken, s since the epoch (host clock).
        configuration: Configuration key -> value, of all devices of the stream.
        assets: Event key -> rows in files.
        joints: Rows with which a later run of the same experiment begins; none in a run by itself.
        begins: Rows with which the runs of an experiment begin, by `Run.members`; a run without
            rows has that of the next one. None in a run by itself.
        holes: Rows before which others are missing, because a journal is damaged; the number of
            rows where they are missing at the end.
    """

    name: str
    columns: Mapping[str, NDArray[Any]]
    units: Mapping[str, str]
    time: Floats
    configuration: Mapping[str, Any]
    assets: Mapping[str, Asset]
    joints: tuple[int, ...] = ()
    holes: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    def asset(self, key: str) -> Asset:
        """Return the rows of ``key`` that live in files; raises KeyError if it has none."""
        try:
            return self.assets[key]
        except KeyError:
            raise KeyError(
                f"stream {self.name!r} has no files for {key!r}; it has {sorted(self.assets)}"
            ) from None


@dataclass(frozen=True)
class Run:
    """A run, finished or not: its documents' data as arrays.

    An experiment that was interrupted and resumed is several runs, and read as one: the streams
    joined in the order of the runs, the first one's start document and the last one's stop.

    Attributes:
        start: The start document; empty if it has not arrived. Of several runs the first one's,
            with their uids as ``chain``.
        stop: The stop document; None while the run goes on or when its writer died.
        streams: Name -> stream; a stream that was never declared is absent.
        members: The start documents of the runs it is made of, in their order.
        notes: What does not fit together in these runs, and their damage, in sentences.
        damage: What is damaged in their journals, and which rows are missing for it, in sentences;
            empty if they could be read whole.
        files: The files that rows of theirs lie in.
    """

    start: Document
    stop: Document | None
    streams: Mapping[str, Stream]
    members: tuple[Document, ...] = ()
    notes: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    # What was computed from rows that never change again; shared by the views of one builder.
    _memory: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def uid(self) -> str:
        """Return the run's identifier; empty before the start document."""
        return str(self.start.get("uid", ""))

    @property
    def chain(self) -> tuple[str, ...]:
        """Return the uids of the runs it is made of, in their order."""
        return tuple(str(member.get("uid", "")) for member in self.members) or (self.uid,)

    @property
    def complete(self) -> bool:
        """Return whether the stop document has arrived."""
        return self.stop is not None

    def remembered(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return ``compute()``, computed once for this run and the later views of it.

        ``key`` must name everything the result depends on, rows included.
        """
        if key not in self._memory:
            self._memory[key] = compute()
        return cast(T, self._memory[key])

    def continued(
        self, key: Hashable, more: Callable[[tuple[T, ...]], Iterable[T]]
    ) -> tuple[T, ...]:
        """Return one result per row, computing only those of rows that are new.

        ``more`` takes the results known so far and returns those that follow; as rows never
        change, results are kept for the later views of this run.
        """
        known = cast(tuple[T, ...], self._memory.get(key, ()))
        results = (*known, *more(known))
        self._memory[key] = results
        return results

    @classmethod
    def from_documents(cls, documents: Iterable[tuple[str, Document]]) -> "Run":
        """Return the run that ``documents``, pairs of name and document, tell of."""
        builder = RunBuilder()
        for name, doc in documents:
            builder(name, doc)
        return builder.run

    @classmethod
    def from_journal(
        cls, uid: str = "last", data_dir: Path | None = None, *, chain: bool = True
    ) -> "Run":
        """Read a run from its journal.

        Args:
            uid: A uid, the beginning of one, or ``last``.
            data_dir: The data folder; by default the configured one.
            chain: Whether the runs that it continues, and that continue it, belong to it.
        """
        from operando import journal

        def read(uid: str, folder: Path) -> Run:
            run, damage = read_journal(journal.journal_path(folder, uid), expand=folder)
            rows = {name: len(stream) for name, stream in run.streams.items()}
            journal.remember_damage(folder, uid, damage, rows)
            return run

        return cls._from(read, uid, data_dir, chain=chain)

    @classmethod
    def from_catalog(cls, uid: str, data_dir: Path | None = None, *, chain: bool = True) -> "Run":
        """Read a run from the catalog, through databroker; arguments as for `from_journal`."""
        from operando import catalog

        def read(uid: str, folder: Path) -> Run:
            parts = catalog.read_run(uid, folder)
            return told_catalog_damage(_of_parts(parts), folder, parts=parts)

        return cls._from(read, uid, data_dir, chain=chain)

    @classmethod
    def _from(
        cls,
        read: Callable[[str, Path], "Run"],
        uid: str,
        data_dir: Path | None,
        *,
        chain: bool,
    ) -> "Run":
        from operando import journal, settings

        folder = settings.data_dir() if data_dir is None else data_dir
        whole = journal.resolve_uid(folder, uid)
        members = journal.chain_of(folder, whole) if chain else (whole,)
        return join([read(member, folder) for member in members])


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


def join(runs: Sequence[Run]) -> Run:
    """Return the runs of one experiment, each continuing the one before, as one run.

    Rows follow each other as they are: a run that continues another goes on with its time and its
    counters. A key that some of the runs lack is NaN in their rows. Of the streams' configuration
    the last counts; an instrument that is not the same any more is noted.

    Args:
        runs: One or more, from the first to the last.
    """
    if len(runs) == 1:
        return runs[0]
    members = tuple(run.start for run in runs)
    names = list(dict.fromkeys(name for run in runs for name in run.streams))
    uids = [run.uid for run in runs]
    return Run(
        start=MappingProxyType({**runs[0].start, "chain": uids}),
        stop=runs[-1].stop,
        streams=MappingProxyType(
            {name: _joined_stream(name, [run.streams.get(name) for run in runs]) for name in names}
        ),
        members=members,
        notes=(
            *_changes_of_identity(members),
            *_times_that_go_back(runs),
            *(note for run in runs for note in run.notes),
        ),
        damage=tuple(one for run in runs for one in run.damage),
        files=tuple(path for run in runs for path in run.files),
    )


def _joined_stream(name: str, streams: Sequence[Stream | None]) -> Stream:
    present = [stream for stream in streams if stream is not None]
    rows = [0 if stream is None else len(stream) for stream in streams]
    keys = dict.fromkeys(key for stream in present for key in stream.columns)
    asset_keys = dict.fromkeys(key for stream in present for key in stream.assets)
    units: dict[str, str] = {}
    configuration: dict[str, Any] = {}
    for stream in present:
        units |= stream.units
        configuration |= stream.configuration
    return Stream(
        name=name,
        columns=MappingProxyType({key: _joined_column(key, present) for key in keys}),
        units=MappingProxyType(units),
        time=np.concatenate([stream.time for stream in present]),
        configuration=MappingProxyType(configuration),
        assets=MappingProxyType({key: _joined_asset(key, present) for key in asset_keys}),
        joints=tuple(dict.fromkeys(row for row in accumulate(rows[:-1]) if 0 < row < sum(rows))),
        holes=tuple(
            dict.fromkeys(
                before + hole
                for before, stream in zip(accumulate(rows, initial=0), streams, strict=False)
                if stream is not None
                for hole in stream.holes
            )
        ),
        begins=(0, *accumulate(rows[:-1])),
    )


def _joined_column(key: str, streams: Sequence[Stream]) -> NDArray[Any]:
    columns = [stream.columns.get(key) for stream in streams]
    shape = next(column.shape[1:] for column in columns if column is not None)
    parts = [
        np.full((len(stream), *shape), math.nan) if column is None else column
        for column, stream in zip(columns, streams, strict=True)
    ]
    filled = [part for part in parts if len(part)]
    joined = np.concatenate(filled) if filled else parts[0]
    joined.flags.writeable = False
    return joined


def _joined_asset(key: str, streams: Sequence[Stream]) -> Asset:
    """Join the rows in files so that each keeps the number of its stream's row."""
    parts: list[AssetPart] = []
    for number, stream in enumerate(streams):
        asset = stream.assets.get(key)
        own = list(asset.parts) if asset is not None else []
        last = number == len(streams) - 1
        if len(stream) and not last:
            own = _of_length(own, len(stream))
        parts += own
    return Asset(key, parts)


def _of_length(parts: list[AssetPart], rows: int) -> list[AssetPart]:
    """Cut what was stored and has no row; what was lost keeps its place, without a file."""
    kept: list[AssetPart] = []
    for part in parts:
        count = min(rows, part.stop - part.start)
        if count:
            kept.append(AssetPart(part.path, part.dataset, part.start, part.start + count))
        rows -= count
    return [*kept, AssetPart(Path("lost"), "", 0, rows)] if rows else kept


def _times_that_go_back(runs: Sequence[Run]) -> Iterator[str]:
    """Say which runs begin before the end of the one before: rows of theirs may be there twice."""
    newest = -math.inf
    for run in runs:
        times = (
            run.streams["potentiostat"].columns.get("potentiostat_t")
            if ("potentiostat" in run.streams)
            else None
        )
        if times is None or not np.isfinite(times).any():
            continue
        if np.nanmin(times) < newest:
            yield (
                f"run {run.uid[:8]} has rows of before {newest:.6g} s, when the run before it "
                "ended: some may be there twice"
            )
        newest = max(newest, float(np.nanmax(times)))


def _changes_of_identity(members: Sequence[Document]) -> Iterator[str]:
    """Say which instruments tell something else of themselves than in the run before."""
    before: dict[tuple[str, str], object] = {}
    for member in members:
        instruments = (member.get("bench") or {}).get("instruments") or {}
        for device, told in instruments.items():
            for key, value in ((told or {}).get("identity") or {}).items():
                known = before.setdefault((device, key), value)
                if known != value and key != "address":
                    yield (
                        f"{device} is not the same in run {str(member.get('uid'))[:8]}: its {key} "
                        f"was {known!r} and is {value!r}"
                    )
                before[device, key] = value


def _of_parts(parts: Any) -> Run:
    """Return a run from what the catalog has of it."""
    streams = {}
    for name, told in parts.streams.items():
        columns = {key: _column(values) for key, values in told["columns"].items()}
        assets = {
            key: Asset(
                key,
                [AssetPart(Path(r.path), r.dataset, r.start, r.stop) for r in references],
            )
            for key, references in told["assets"].items()
        }
        time = _column(told["time"])
        if lies_in_columns(told["descriptor"]):
            columns = read_columns({key: asset.parts for key, asset in assets.items()})
            time = _time_of(columns)
            columns.pop(TIME_KEY, None)
            assets = {}
        streams[name] = Stream(
            name=name,
            columns=MappingProxyType(columns),
            units=MappingProxyType(_units(told["descriptor"])),
            time=time,
            configuration=MappingProxyType(_configuration(told["descriptor"])),
            assets=MappingProxyType(assets),
        )
    files = {
        Path(one.path)
        for told in parts.streams.values()
        for references in told["assets"].values()
        for one in references
    }
    return Run(
        start=parts.start,
        stop=parts.stop,
        streams=MappingProxyType(streams),
        files=tuple(sorted(files)),
    )


class RunBuilder:
    """Callback for documents of one run, in the order in which they are emitted.

    ``builder(name, doc)`` may be subscribed to a RunEngine; ``builder.run`` is valid at any time
    and from any thread. A start document begins a new run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin({})

    def _begin(self, start: Document) -> None:
        self._start = start
        self._stop: Document | None = None
        self._streams: dict[str, _GrowingStream] = {}
        self._by_descriptor: dict[str, _GrowingStream] = {}
        self._resources: dict[str, Document] = {}
        self._memory: dict[Hashable, Any] = {}

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document; kinds that carry no rows of ours are passed over."""
        with self._lock:
            if name == "start":
                self._begin(doc)
            elif name == "stop":
                self._stop = doc
            elif name == "descriptor":
                stream = self._streams.setdefault(doc["name"], _GrowingStream(doc["name"]))
                stream.describe(doc)
                self._by_descriptor[doc["uid"]] = stream
            elif name == "event_page":
                self._by_descriptor[doc["descriptor"]].extend(doc)
            elif name == "event":
                self._by_descriptor[doc["descriptor"]].extend(page_of(doc))
            elif name == "stream_resource":
                self._resources[doc["uid"]] = doc
            elif name == "stream_datum":
                resource = self._resources[doc["stream_resource"]]
                self._by_descriptor[doc["descriptor"]].announce(resource, doc["indices"])

    @property
    def run(self) -> Run:
        """Return the run as it is known now; later documents do not change it."""
        with self._lock:
            return Run(
                start=MappingProxyType(dict(self._start)),
                stop=None if self._stop is None else MappingProxyType(dict(self._stop)),
                streams=MappingProxyType(
                    {name: stream.view() for name, stream in self._streams.items()}
                ),
                files=tuple(dict.fromkeys(map(_path_of, self._resources.values()))),
                _memory=self._memory,
            )


def _path_of(resource: Document) -> Path:
    return Path(url2pathname(urlsplit(resource["uri"]).path))


class _GrowingStream:
    def __init__(self, name: str) -> None:
        self._name = name
        self._columns: dict[str, _GrowingColumn] = {}
        self._time = _GrowingColumn()
        self._units: dict[str, str] = {}
        self._configuration: dict[str, Any] = {}
        self._assets: dict[str, list[AssetPart]] = {}
        self._in_columns: dict[str, _GrowingColumn] = {}
        self._parts: dict[str, list[AssetPart]] = {}
        self._waiting: list[Document] = []
        self._rows_waiting = 0

    def describe(self, descriptor: Document) -> None:
        self._settle()
        self._units.update(_units(descriptor))
        self._configuration.update(_configuration(descriptor))
        if lies_in_columns(descriptor):
            for key in descriptor["data_keys"]:
                self._in_columns.setdefault(key, _GrowingColumn())
        for key, data_key in descriptor["data_keys"].items():
            if key in self._in_columns:
                self._parts.setdefault(key, [])
            elif "external" in data_key:
                self._assets.setdefault(key, [])
            else:
                self._columns.setdefault(key, _GrowingColumn())

    def extend(self, page: Document) -> None:
        self._waiting.append(page)
        self._rows_waiting += len(page["seq_num"])
        if self._rows_waiting >= ROWS_AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        """Put waiting pages into the columns: one by one costs more than all their rows."""
        pages, self._waiting, self._rows_waiting = self._waiting, [], 0
        if pages:
            tables = [page["data"] for page in pages]
            for key, column in self._columns.items():
                column.extend([table[key] for table in tables])
            self._time.extend([_times_of(page) for page in pages])

    def announce(self, resource: Document, indices: Mapping[str, int]) -> None:
        path = _path_of(resource)
        dataset = resource["parameters"]["dataset"]
        key = resource["data_key"]
        parts = (self._parts if key in self._in_columns else self._assets).setdefault(key, [])
        part = AssetPart(path, dataset, indices["start"], indices["stop"])
        last = parts[-1] if parts else None
        if last and (last.path, last.dataset, last.stop) == (path, dataset, part.start):
            parts[-1] = AssetPart(path, dataset, last.start, part.stop)
        else:
            parts.append(part)

    def _read_announced(self) -> None:
        """Read the rows of columns in files that were announced since the last time."""
        known = min((len(column) for column in self._in_columns.values()), default=0)
        announced = min((_announced(parts) for parts in self._parts.values()), default=0)
        if announced > known:
            for key, values in read_columns(self._parts, known).items():
                self._in_columns[key].extend([values[: announced - known]])

    def view(self) -> Stream:
        self._settle()
        self._read_announced()
        columns = {k: c.view() for k, c in (self._columns | self._in_columns).items()}
        time = _time_of(columns) if self._in_columns else self._time.view()
        columns.pop(TIME_KEY if self._in_columns else "", None)
        return Stream(
            name=self._name,
            columns=MappingProxyType(columns),
            units=MappingProxyType(dict(self._units)),
            time=time,
            configuration=MappingProxyType(dict(self._configuration)),
            assets=MappingProxyType({k: Asset(k, parts) for k, parts in self._assets.items()}),
        )


class _GrowingColumn:
    """An array that doubles when full; views of its first rows stay valid for ever."""

    def __init__(self) -> None:
        self._values: NDArray[Any] = np.empty(0)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def extend(self, pages: Sequence[Sequence[Any] | NDArray[Any]]) -> None:
        new = _joined(pages)
        if not len(new):
            return
        if not self._rows:
            self._values = new[:0]
        needed = self._rows + len(new)
        if needed > len(self._values):
            grown = np.empty((max(needed, 2 * len(self._values), 64), *new.shape[1:]), new.dtype)
            grown[: self._rows] = self._values[: self._rows]
            self._values = grown
        self._values[self._rows : needed] = new
        self._rows = needed

    def view(self) -> NDArray[Any]:
        view = self._values[: self._rows]
        view.flags.writeable = False
        return view


def _joined(pages: Sequence[Sequence[Any] | NDArray[Any]]) -> NDArray[Any]:
    """Return the rows of several pages as one column, as each page by itself would give them."""
    if len(pages) == 1:
        return _column(pages[0])
    kinds = set(map(type, pages))
    if kinds == {np.ndarray}:
        joined = np.concatenate(pages)
        if joined.dtype.kind in "biuf":
            return _column(joined)
    elif kinds == {list}:
        rows = list(chain.from_iterable(pages))
        if set(map(type, rows)) == {float}:
            return np.array(rows)
    found = [column for column in map(_column, pages) if len(column)]
    return np.concatenate(found) if found else np.empty(0)


def _times_of(page: Document) -> Sequence[float] | Floats:
    """Return `row_times` of a page; the columns' stamps are mostly one and the same."""
    stamps = iter(page["timestamps"].values())
    first = next(stamps, ())
    if len(first) and all(each is first or _same(each, first) for each in stamps):
        return cast("Sequence[float] | Floats", first)
    return row_times(page)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


def _column(values: Any) -> NDArray[Any]:
    """Return values as contiguous floats (None becomes NaN), or as objects if they are text."""
    array = np.asarray(values)
    if array.dtype == object:
        array = np.asarray([math.nan if value is None else value for value in values])
    if array.dtype.kind in "biuf":
        return np.ascontiguousarray(array, dtype=np.float64)
    return np.asarray(array, dtype=object)


def _time_of(columns: Mapping[str, NDArray[Any]]) -> Floats:
    """Return the row times among the columns of a file; NaN where it has none."""
    rows = min((len(values) for values in columns.values()), default=0)
    return columns.get(TIME_KEY, np.full(rows, math.nan))


def _units(descriptor: Document) -> dict[str, str]:
    keys = descriptor["data_keys"]
    units = {key: told["units"] for key, told in keys.items() if told.get("units")}
    if lies_in_columns(descriptor):
        units.pop(TIME_KEY, None)
    return units


def _configuration(descriptor: Document) -> dict[str, Any]:
    configuration: dict[str, Any] = {}
    for device in descriptor.get("configuration", {}).values():
        configuration.update(device.get("data", {}))
    return configuration
