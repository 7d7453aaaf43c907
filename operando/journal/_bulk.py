"""Reading many rows at once: the pages of a stream as one long page.

A run's pages look alike: the same bytes around columns of the same length. What was found out
about one page therefore tells where the columns of others lie; that the bytes around them are the
same, and that its checksum holds, is checked for each.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from ._format import HEADERS, LONGEST_PAYLOAD, RECORD, Document, RecordReader, decode
from ._pages import FLOATS, INTEGERS, SAME_AS, array_hook
from ._roots import expand as expand_uri
from ._roots import folder_of_journal

ROWS_AT_ONCE = 1 << 14
_PAGE = b"\x92\xaaevent_page"
_DTYPES = {FLOATS: "<f8", INTEGERS: "<i8"}
_UID = "uid"
# Who records otherwise than in pages that look alike gains nothing; trying has a price.
_MOST_REFUSALS = 100


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
    path = Path(path)
    data_dir = Path(expand).resolve() if expand else folder_of_journal(path)
    pages = _Pages()
    offset = 0
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > len(HEADERS[0]):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content[: len(HEADERS[0])] in HEADERS:
                    offset = len(HEADERS[0])
                for end, payload in _payloads(content, offset):
                    offset = end
                    yield from pages.take(payload, data_dir)
    yield from pages.rest()
    # The reader knows what to make of the end, and of what is no journal.
    for record in RecordReader(path, offset, arrays=True):
        yield record.name, expand_uri(record.name, record.doc, data_dir)


def _payloads(content: mmap.mmap, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield whole records until one is not."""
    size = len(content)
    while 0 < offset <= size - RECORD.size:
        length, checksum = RECORD.unpack_from(content, offset)
        begin = offset + RECORD.size
        offset = begin + length
        if not 0 < length <= LONGEST_PAYLOAD or offset > size:
            return
        payload = content[begin:offset]
        if zlib.crc32(payload) != checksum:
            return
        yield offset, payload


@dataclass(frozen=True)
class _Layout:
    """Where the columns lie in pages that look alike.

    Attributes:
        fields: unpacks a payload into the bytes around columns, and the columns, in turn.
        around: the former.
        columns: by column: part of the page, key, type.
        same: key -> key of the equal column of timestamps.
        descriptor: the pages' descriptor.
        rows: rows of a page.
    """

    fields: struct.Struct
    around: tuple[bytes, ...]
    columns: tuple[tuple[str, str, int], ...]
    same: tuple[tuple[str, str], ...]
    descriptor: str
    rows: int

    @classmethod
    def of(cls, payload: bytes) -> "_Layout | None":
        """Return the layout of one page; None if not all its columns are stored as such."""
        name, page = msgpack.unpackb(payload, ext_hook=msgpack.ExtType, strict_map_key=False)
        if msgpack.packb([name, page], use_bin_type=True) != payload:
            return None
        marks: list[tuple[str, str, int, bytes]] = []

        def marked(part: str, key: str, column: Any) -> Any:
            if column.code == SAME_AS:
                return column
            # The same page with bytes that occur nowhere else shows where they went.
            marks.append((part, key, column.code, os.urandom(len(column.data))))
            return msgpack.ExtType(column.code, marks[-1][-1])

        try:
            uids = [os.urandom(len(uid)).hex()[: len(uid)] for uid in page[_UID]]
            other = {
                **page,
                _UID: uids,
                "seq_num": marked("seq_num", "", page["seq_num"]),
                "time": marked("time", "", page["time"]),
                **{
                    part: {key: marked(part, key, column) for key, column in page[part].items()}
                    for part in ("data", "timestamps")
                },
            }
        except (AttributeError, KeyError, TypeError):
            return None
        example = msgpack.packb([name, other], use_bin_type=True)
        places = [
            (example.index(mark), len(mark), part, key, code) for part, key, code, mark in marks
        ]
        first, last = example.index(uids[0].encode()), example.index(uids[-1].encode())
        places.append((first, last + len(uids[-1]) - first, _UID, "", 0))
        if page.get("filled") or len(example) != len(payload):
            return None
        # A uid of a few letters may occur elsewhere by chance.
        if any(example.count(uid.encode()) != 1 for uid in (uids[0], uids[-1])):
            return None
        places.sort()
        formats, at = "<", 0
        for begin, length, *_ in places:
            formats += f"{begin - at}s{length}s"
            at = begin + length
        fields = struct.Struct(f"{formats}{len(payload) - at}s")
        return cls(
            fields=fields,
            around=fields.unpack(payload)[::2],
            columns=tuple((part, key, code) for _, _, part, key, code in places),
            same=tuple(
                (key, column.data.decode())
                for key, column in page["timestamps"].items()
                if column.code == SAME_AS
            ),
            descriptor=page["descriptor"],
            rows=len(uids),
        )


class _Pages:
    """Puts pages of one stream together."""

    def __init__(self) -> None:
        self._hook = array_hook()
        self._layouts: dict[int, list[_Layout]] = {}
        self._refusals = 0
        self._waiting: dict[str, list[tuple[_Layout, tuple[bytes, ...]]]] = {}
        self._rows: dict[str, int] = {}

    def take(self, payload: bytes, data_dir: Path) -> Iterator[tuple[str, Document]]:
        """Take one record and yield what is complete with it."""
        if payload.startswith(_PAGE):
            fitting = self._fitting(payload)
            if fitting is not None:
                yield from self._put(*fitting)
                return
        name, doc = decode(payload, self._hook, arrays=True)
        if name in ("event", "event_page"):
            yield from self._flushed(doc["descriptor"])
        elif name not in ("stream_resource", "stream_datum"):
            yield from self.rest()
        yield name, expand_uri(name, doc, data_dir)

    def rest(self) -> Iterator[tuple[str, Document]]:
        """Yield all pages that wait for more."""
        for descriptor in list(self._waiting):
            yield from self._flushed(descriptor)

    def _fitting(self, payload: bytes) -> tuple[_Layout, tuple[bytes, ...]] | None:
        known = self._layouts.setdefault(len(payload), [])
        for layout in known:
            fields = layout.fields.unpack(payload)
            if fields[::2] == layout.around:
                return layout, fields
        if self._refusals > _MOST_REFUSALS:
            return None
        found = _Layout.of(payload)
        if found is None:
            self._refusals += 1
            return None
        known.append(found)
        return found, found.fields.unpack(payload)

    def _put(self, layout: _Layout, fields: tuple[bytes, ...]) -> Iterator[tuple[str, Document]]:
        key = layout.descriptor
        waiting = self._waiting.setdefault(key, [])
        if waiting:
            before = waiting[0][0]
            if before.columns != layout.columns or before.same != layout.same:
                yield from self._flushed(key)
                waiting = self._waiting.setdefault(key, [])
        waiting.append((layout, fields))
        self._rows[key] = self._rows.get(key, 0) + layout.rows
        if self._rows[key] >= ROWS_AT_ONCE:
            yield from self._flushed(key)

    def _flushed(self, descriptor: str) -> Iterator[tuple[str, Document]]:
        waiting = self._waiting.pop(descriptor, None)
        self._rows.pop(descriptor, None)
        if not waiting:
            return
        from numpy import frombuffer

        layout = waiting[0][0]
        page: Document = {"descriptor": descriptor, "data": {}, "timestamps": {}}
        for number, (part, key, code) in enumerate(layout.columns):
            if code:
                joined = b"".join([fields[2 * number + 1] for _, fields in waiting])
                values = frombuffer(joined, _DTYPES[code])
                if key or part in ("data", "timestamps"):
                    page[part][key] = values
                else:
                    page[part] = values
        stamps = page["timestamps"]
        stamps |= {key: stamps[other] for key, other in layout.same}
        yield "event_page", page
