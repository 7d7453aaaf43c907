"""Reading one journal: every whole document, in order, with its original uids."""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._bulk import BulkReader, documents_in_bulk
from ._cycles import TELLING, CycleIndex, cycle_index
from ._damage import Damage, Understood, salvaged
from ._errors import JournalError
from ._format import Document, Record, RecordReader, Tail, decode, records_at
from ._roots import expand as expand_uri
from ._roots import folder_of_journal
from ._scan import Scan

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# What `read_columns` gives besides the data keys.
_OF_ROWS = ("time", "seq_num")


class JournalReader:
    """Yields the documents of one journal and remembers where and why it stopped.

    Iterating again continues behind the last whole document, so the journal of a run that lasts
    can be followed. `tail.offset` is where the last whole document ends, `tail.reason` says what
    is wrong behind it (empty when nothing is). What is damaged is passed over if a whole document
    follows, with rows that cannot be understood without it; `damage` tells of it, and so does the
    log.

    Args:
        path: the journal.
        expand: the data folder put in place of the token in asset URIs; by default the folder
            the journal lies in, so that a moved data folder needs no care.
        arrays: whether the columns of event pages are to be arrays, as for `documents`.
        count: whether to count what is read, for `close_dead_run`.

    Raises:
        JournalError: on iterating, if the file is not a journal, of a newer format, or has lost
            its start document.
        FileNotFoundError: on iterating, if there is no such file.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        expand: Path | str | None = None,
        arrays: bool = False,
        count: bool = False,
    ) -> None:
        self.path = Path(path)
        self.data_dir = Path(expand).resolve() if expand else folder_of_journal(self.path)
        self.counts = Scan() if count else None
        self._records = RecordReader(self.path, arrays=arrays)
        self._understood = Understood(self.path)

    @property
    def tail(self) -> Tail:
        """Where the whole documents read so far end, and what stopped the reader there."""
        return self._records.tail

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What was damaged in what was read so far, and how many rows are missing for it."""
        return self._understood.damage(self._records.damage)

    def __iter__(self) -> Iterator[tuple[str, Document]]:
        damage = self._records.damage
        for record in self._records:
            doc = self._understood.take(record.name, record.doc, damage)
            if doc is None:
                continue
            if self.counts is not None:
                self.counts.take(record.name, doc)
            if record.name == "stop":  # nobody need read on
                self._understood.tell(damage)
            yield record.name, expand_uri(record.name, doc, self.data_dir)
        self._understood.tell(damage)


def documents(
    path: Path | str,
    *,
    expand: Path | str | None = None,
    arrays: bool = False,
    from_cycle: int | None = None,
) -> Iterator[tuple[str, Document]]:
    """Yield ``(name, doc)`` for every whole document of a journal, in the order of the run.

    Ends without an error where no whole document follows. What is damaged before is passed over,
    with a warning in the log that says how much is missing; `damage_of` tells of it, too. Rows
    that cannot be understood without it are left out, and where the announcement of rows in files
    is lost, the next one of that file announces them. One document is in memory at a time.

    Args:
        path: the journal.
        expand: the data folder put in place of the token in asset URIs; by default the folder
            the journal lies in.
        arrays: False gives documents as they were emitted, columns of pages being lists. True
            gives columns of ``data``, ``timestamps``, ``seq_num`` and ``time`` of an event page
            as read-only arrays (float64 or int64) where all their values are floats or all are
            integers of 64 bits; equal columns of timestamps are the same array. Other columns
            stay lists.
        from_cycle: None begins with the run. N begins with the first row of cycle N (see
            `cycle_index`): before it come the start document, the descriptors and stream resources
            and what was told of requests and programs before, in their order; the page that holds
            the row lacks the rows before it. 0 is the whole run.

    Raises:
        JournalError: if the file is not a journal, of a newer format, or has lost its start
            document.
        LookupError: if the run has no such cycle; the message tells which it has.
    """
    if not from_cycle:
        yield from JournalReader(path, expand=expand, arrays=arrays)
        return
    path = Path(path)
    data_dir = Path(expand).resolve() if expand else folder_of_journal(path)
    for name, doc in _documents_from(path, from_cycle, arrays=arrays):
        yield name, expand_uri(name, doc, data_dir)


def telling_documents(path: Path | str) -> Iterator[tuple[str, Document]]:
    """Yield the documents that tell under which protocols a run came, without reading its rows.

    The start document, and descriptors and events of the streams `TELLING`, in their order. They
    are found by the index of cycles (see `cycle_index`).

    Raises:
        JournalError: if the file is not a journal, of a newer format, or has lost its start
            document.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    next(RecordReader(path).payloads(), None)  # raises if the start is lost
    streams = set()
    for record in records_at(path, cycle_index(path).preamble):
        name, doc = record.name, record.doc
        if name == "descriptor" and doc.get("name") in TELLING:
            streams.add(doc["uid"])
        elif name != "start" and doc.get("descriptor") not in streams:
            continue
        yield name, doc


def _documents_from(path: Path, cycle: int, *, arrays: bool) -> Iterator[tuple[str, Document]]:
    """Yield the documents that tell what the rows are, then those from a cycle's first row on."""
    next(RecordReader(path).payloads(), None)  # raises if the start is lost
    index = cycle_index(path)
    reader, first, row = _seek(path, index, cycle, arrays=arrays)
    if row is None:
        # What is kept beside a journal is only a cache: the journal has the last word.
        index = cycle_index(path, afresh=True)
        reader, first, row = _seek(path, index, cycle, arrays=arrays)
    if first is None or row is None:
        return  # the journal was cut or damaged meanwhile
    before = records_at(path, (begin for begin in index.preamble if begin < first.begin))
    at_first = first if not row else Record(first.end, first.name, _without_rows(first.doc, row))
    understood = Understood(path, partial=True)
    for record in itertools.chain(before, (at_first,), reader):
        doc = understood.take(record.name, record.doc, reader.damage)
        if doc is not None:
            yield record.name, doc
    understood.tell(reader.damage)


def _seek(
    path: Path, index: CycleIndex, cycle: int, *, arrays: bool
) -> tuple[RecordReader, Record | None, int | None]:
    """Return a reader behind the record that should hold a cycle, that record, and its row."""
    try:
        offset = index.offset_of(cycle)
    except LookupError as error:
        raise LookupError(f"{path}: {error}") from None
    reader = RecordReader(path, offset, arrays=arrays)
    first = next(iter(reader), None)
    return reader, first, None if first is None else _row_of(first, index.key, cycle)


def _row_of(record: Record, key: str, cycle: int) -> int | None:
    """Return the first row of an event or event page that is of a cycle; None if none is."""
    if record.name not in ("event", "event_page"):
        return None
    column = record.doc["data"].get(key)
    if record.name == "event":
        column = [column]
    elif hasattr(column, "tolist"):
        column = column.tolist()
    return next((row for row, value in enumerate(column or ()) if value == cycle), None)


def _without_rows(page: Document, count: int) -> Document:
    """Return an event page without its first rows."""
    kept = {id(column): column[count:] for column in page["timestamps"].values()}
    return {
        **page,
        **{key: page[key][count:] for key in ("uid", "seq_num", "time") if key in page},
        "data": {key: column[count:] for key, column in page["data"].items()},
        "timestamps": {key: kept[id(column)] for key, column in page["timestamps"].items()},
        "filled": {key: column[count:] for key, column in page.get("filled", {}).items()},
    }


def read_columns(path: Path | str, stream: str, keys: Sequence[str]) -> "dict[str, NDArray[Any]]":
    """Return columns of one stream, all its rows so far, read from the events alone.

    Args:
        path: the journal.
        stream: the stream's name.
        keys: data keys; besides them ``time`` (when each row was measured [epoch s], as
            `row_times`) and ``seq_num``.

    Returns:
        Key -> array of shape (rows, ...): int64 where every value is an integer of 64 bits, bool
        where every value is one, float64 where they are numbers or missing (NaN), else objects.

    Raises:
        LookupError: if there is no such stream, or it has no such key; the message lists them.
        JournalError: if the file is not a journal or of a newer format.
    """
    known: dict[str, set[str]] = {}
    wanted: set[str] = set()
    parts: dict[str, list[Any]] = {key: [] for key in keys}
    for name, doc in documents_in_bulk(path):
        if name == "descriptor":
            internal = {key for key, told in doc["data_keys"].items() if "external" not in told}
            known.setdefault(doc["name"], set()).update(internal)
            if doc["name"] == stream:
                wanted.add(doc["uid"])
        elif name in ("event", "event_page") and doc["descriptor"] in wanted:
            page = doc if name == "event_page" else page_of(doc)
            for key, column in parts.items():
                if key in page["data"]:
                    column.append(page["data"][key])
                elif key in _OF_ROWS:
                    column.append(row_times(page) if key == "time" else page["seq_num"])
                else:
                    column.append([None] * len(page["seq_num"]))
    if stream not in known:
        raise LookupError(f"{path} has no stream {stream!r}; it has {sorted(known)}")
    unknown = [key for key in keys if key not in known[stream] and key not in _OF_ROWS]
    if unknown:
        raise LookupError(
            f"stream {stream!r} of {path} has no column {', '.join(map(repr, unknown))}; "
            f"it has {sorted(known[stream])}, time and seq_num"
        )
    return {key: _joined(column) for key, column in parts.items()}


def _joined(parts: list[Any]) -> "NDArray[Any]":
    import numpy as np

    arrays = [part if isinstance(part, np.ndarray) else _values(part) for part in parts]
    arrays = [part for part in arrays if len(part)]
    if not arrays:
        return np.empty(0)
    kinds = {part.dtype.kind for part in arrays}
    if "O" in kinds or len({part.shape[1:] for part in arrays}) > 1:
        return np.fromiter((value for part in arrays for value in part.tolist()), object)
    if len(kinds) > 1:
        arrays = [part.astype(np.float64) for part in arrays]
    return np.concatenate(arrays)


def _values(column: list[Any]) -> "NDArray[Any]":
    """Return a column whose values are not all floats, nor all integers of 64 bits."""
    import numpy as np

    kinds = set(map(type, column))
    if kinds and kinds <= {int, float, bool, type(None)}:
        if kinds == {bool}:
            return np.array(column, bool)
        if kinds != {int}:
            return np.array(column, np.float64)
        if all(-(1 << 63) <= value < 1 << 63 for value in column):
            return np.array(column, np.int64)
    if kinds == {list}:
        try:
            array = np.array(column)
        except ValueError:  # lists of different lengths
            pass
        else:
            if array.dtype.kind in "biuf":
                return array
    # Not np.array: it makes a table of lists of equal length.
    return np.fromiter(column, object, len(column))


def inspect(path: Path | str) -> Tail:
    """Return where the whole records of a journal end and what is damaged, without decoding them.

    Raises:
        JournalError: if the file is not a journal, of a newer format, or has lost its start
            document.
    """
    reader = RecordReader(Path(path))
    for _ in reader.payloads():
        pass
    return reader.tail


def damage_of(path: Path | str) -> tuple[Damage, ...]:
    """Return what of a journal cannot be read, and how many rows are missing for it.

    A record that is being written, or was when its writer died, is not damage. The whole journal
    is read; who reads it anyway has the same from `BulkReader.damage` or `JournalReader.damage`.

    Raises:
        JournalError: if the file is not a journal, of a newer format, or has lost its start
            document.
    """
    path = Path(path)
    tail = inspect(path)
    found = tail.damage
    if found:
        reader = BulkReader(path)
        for _ in reader:
            pass
        found, tail = reader.damage, reader.tail
    if tail.reason.startswith("corrupt"):
        size = path.stat().st_size - tail.offset
        found = (*found, Damage(tail.offset, size, tail.reason.removeprefix("corrupt: ")))
    return found


def salvage(path: Path | str) -> Iterator[tuple[str, Document]]:
    """Yield every whole document found in a file, whatever the file is and misses.

    For a journal that has lost its header or its start document, and for what older versions
    kept beside a journal as ``UID.opj.cut``. The documents are as they were stored; what
    describes them may be missing.
    """
    for offset, payload in salvaged(Path(path)):
        try:
            yield decode(payload)
        except (ValueError, TypeError, KeyError, JournalError) as error:
            logger.warning("%s: the record at byte %d is no document: %r", path, offset, error)


def row_times(page: Mapping[str, Any]) -> "list[float] | NDArray[Any]":
    """Return the time of every row of an event page [epoch s].

    The RunEngine stamps a whole page with one time, the moment it was collected; when each row
    was measured is in its own timestamps. A row's time is the latest of them, and the page's only
    where a row has none. An array if all columns of the page's timestamps are arrays, else a list.
    """
    # Mostly all keys share one column, and then nothing need be compared.
    distinct = {id(column): column for column in page["timestamps"].values() if len(column)}
    columns = list(distinct.values())
    if not columns:
        columns = [page["time"]]
    if all(hasattr(column, "dtype") for column in columns):
        if len(columns) == 1:
            return columns[0]
        from numpy import fmax

        return fmax.reduce(columns)
    if len(columns) == 1:
        return list(columns[0])
    return [max(stamps) for stamps in zip(*columns, strict=True)]


def page_of(event: Mapping[str, Any]) -> Document:
    """Return an event as an event page of one row."""
    return {
        **event,
        "uid": [event["uid"]],
        "seq_num": [event["seq_num"]],
        "time": [event["time"]],
        "data": {key: [value] for key, value in event["data"].items()},
        "timestamps": {key: [value] for key, value in event["timestamps"].items()},
    }
