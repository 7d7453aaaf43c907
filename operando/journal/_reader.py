"""Reading one journal: every whole document, in order, with its original uids."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ._format import Document, RecordReader, Tail
from ._roots import expand as expand_uri
from ._roots import folder_of_journal


class JournalReader:
    """Yields the documents of one journal and remembers where and why it stopped.

    Iterating again continues behind the last whole document, so the journal of a run that lasts
    can be followed. `tail.offset` is the number of bytes that can be trusted, `tail.reason` says
    what is wrong behind them (empty when nothing is).

    Args:
        path: the journal.
        expand: the data folder put in place of the token in asset URIs; by default the folder
            the journal lies in, so that a moved data folder needs no care.

    Raises:
        JournalError: on iterating, if the file is not a journal or of a newer format.
        FileNotFoundError: on iterating, if there is no such file.
    """

    def __init__(self, path: Path | str, *, expand: Path | str | None = None) -> None:
        self.path = Path(path)
        self.data_dir = Path(expand).resolve() if expand else folder_of_journal(self.path)
        self._records = RecordReader(self.path)

    @property
    def tail(self) -> Tail:
        """Where the whole documents read so far end, and what stopped the reader there."""
        return self._records.tail

    def __iter__(self) -> Iterator[tuple[str, Document]]:
        for record in self._records:
            yield record.name, expand_uri(record.name, record.doc, self.data_dir)


def documents(
    path: Path | str, *, expand: Path | str | None = None
) -> Iterator[tuple[str, Document]]:
    """Yield ``(name, doc)`` for every whole document of a journal, in the order of the run.

    Stops at the first torn or corrupt record without an error; `JournalReader` and `inspect`
    tell where that was and why. One document is in memory at a time.

    Args:
        path: the journal.
        expand: the data folder put in place of the token in asset URIs; by default the folder
            the journal lies in.

    Raises:
        JournalError: if the file is not a journal or of a newer format.
    """
    yield from JournalReader(path, expand=expand)


def inspect(path: Path | str) -> Tail:
    """Return where the whole records of a journal end and why, without decoding them."""
    reader = RecordReader(Path(path))
    for _ in reader.payloads():
        pass
    return reader.tail


def row_times(page: Mapping[str, Any]) -> list[float]:
    """Return the time of every row of an event page [epoch s].

    The RunEngine stamps a whole page with one time, the moment it was collected; when each row
    was measured is in its own timestamps. A row's time is the latest of them, and the page's only
    where a row has none.
    """
    columns = [column for column in page["timestamps"].values() if len(column)]
    if not columns:
        return list(page["time"])
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
