"""Reading many rows at once: the pages of a stream as one long page."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ._damage import Damage, Understood
from ._format import HEADERS, Document, RecordReader, Tail
from ._roots import expand as expand_uri
from ._roots import folder_of_journal

if TYPE_CHECKING:
    from ._alike import Pages

_HEADER_SIZE = len(HEADERS[0])
_READ_BYTES = 1 << 21


class BulkReader:
    """Yields the documents of `documents_in_bulk` and remembers where the whole records ended.

    Args:
        path: the journal.
        offset: where a record begins; 0 for the beginning.
        expand: as for `documents_in_bulk`.
    """

    def __init__(
        self, path: Path | str, offset: int = 0, *, expand: Path | str | None = None
    ) -> None:
        self.path = Path(path)
        self.offset = offset
        self._reason = ""
        self._whole_from_beginning = not offset
        self._data_dir = Path(expand).resolve() if expand else folder_of_journal(self.path)
        self._damage: list[Damage] = []
        self._understood = Understood(self.path)

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What was damaged in what was read so far, and how many rows are missing for it."""
        return self._understood.damage(self._damage)

    @property
    def tail(self) -> Tail:
        """Where the whole records read so far end, and what stopped the reader there."""
        return Tail(self.offset, self._reason, self.damage)

    def __iter__(self) -> Iterator[tuple[str, Document]]:
        if not self._whole_from_beginning:  # what the rows are may have been told before
            yield from self._all()
            return
        for name, doc in self._all():
            understood = self._understood.take(name, doc, self._damage)
            if understood is not None:
                yield name, understood
        self._understood.tell(self._damage)

    def _all(self) -> Iterator[tuple[str, Document]]:
        from ._alike import Pages  # numpy, which a list of few rows has no use for

        pages = Pages(self._data_dir)
        damaged = True
        while damaged:
            yield from self._until_damage(pages)
            yield from pages.rest()
            # The reader knows what to make of the end, of damage, and of what is no journal.
            reader = RecordReader(self.path, self.offset, arrays=True)
            damaged = False
            for record in reader:
                if reader.damage:
                    damaged = True
                    self._damage += reader.damage
                    self.offset = record.begin
                    break
                yield record.name, expand_uri(record.name, record.doc, self._data_dir)
                self.offset = record.end
        self.offset, self._reason = reader.tail.offset, reader.tail.reason

    def _until_damage(self, pages: "Pages") -> Iterator[tuple[str, Document]]:
        # Not mapped into memory: a file that is cut meanwhile would end the process.
        with open(self.path, "rb", buffering=0) as file:
            if self.offset == 0 and file.read(_HEADER_SIZE) in HEADERS:
                self.offset = _HEADER_SIZE
            if not self.offset:
                return
            file.seek(self.offset)
            buffer, rest, missing = bytearray(_READ_BYTES), b"", 0
            while missing >= 0:
                # A damaged length must not make room for a gigabyte that is not there.
                if missing > os.fstat(file.fileno()).st_size - file.tell():
                    return
                if len(buffer) < len(rest) + max(missing, _READ_BYTES):
                    buffer = bytearray(len(rest) + max(missing, _READ_BYTES))
                buffer[: len(rest)] = rest
                more = file.readinto(memoryview(buffer)[len(rest) :])
                if not more:
                    return
                content = memoryview(buffer)[: len(rest) + more]
                taken, missing = yield from pages.take(content)
                self.offset += taken
                rest = bytes(content[taken:])


def documents_in_bulk(
    path: Path | str, *, expand: Path | str | None = None
) -> Iterator[tuple[str, Document]]:
    """Yield the documents of a run with as many rows to a page as can be read together.

    As ``documents(path, arrays=True)``, but pages of one stream that follow each other are one
    page, without ``uid`` and ``filled``. Within a stream the order is kept; rows of one stream may
    come later than what other streams did after them.

    Args:
        path: the journal.
        expand: the data folder put in place of the token in asset URIs; by default the folder
            the journal lies in.

    Raises:
        JournalError: if the file is not a journal or of a newer format.
    """
    yield from BulkReader(path, expand=expand)
