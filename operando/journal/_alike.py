"""Pages of one stream that look alike, read together.

A run's pages look alike: the same bytes around columns of the same length. What was found out
about one page therefore tells where the columns of others lie; that the bytes around them are the
same, and that its checksum holds, is checked for each.
"""

import os
import struct
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from isal.isal_zlib import crc32
from numpy.typing import NDArray

from ._format import LONGEST_PAYLOAD, RECORD, Document, decode
from ._pages import FLOATS, INTEGERS, SAME_AS, array_hook
from ._roots import expand as expand_uri

ROWS_AT_ONCE = 1 << 14
_PAGE = b"\x92\xaaevent_page"
_DTYPES = {FLOATS: "<f8", INTEGERS: "<i8"}
_UID = "uid"
# Fewer records that look alike are read one by one, and so are the next ones, so many of them.
_FEWEST, _PAUSE = 8, 64
_SHORT = 2048
# Who records otherwise than in pages that look alike gains nothing; trying has a price.
_MOST_REFUSALS = 100


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
        edges: where the fields begin, and where the last one ends.
    """

    fields: struct.Struct
    around: tuple[bytes, ...]
    columns: tuple[tuple[str, str, int], ...]
    same: tuple[tuple[str, str], ...]
    descriptor: str
    rows: int
    edges: tuple[int, ...]

    def columns_of(self, payload: bytes) -> tuple[bytes, ...] | None:
        """Return the columns of a page; None if it does not look like this."""
        fields = self.fields.unpack(payload)
        return fields[1::2] if fields[::2] == self.around else None

    def alike(self, records: "_Records") -> int:
        """Return how many of some records have a payload like this before one does not."""
        count = records.count
        for begin, around in zip(self.edges[::2], self.around, strict=True):
            parts = records.parts(count, begin, len(around))
            if parts != around * count:
                length = len(around)
                count = next(
                    n for n in range(count) if parts[n * length : (n + 1) * length] != around
                )
        return count

    def columns_in(self, records: "_Records", count: int) -> tuple[bytes, ...]:
        """Return the columns of the first ``count`` records, which look like this."""
        spans = zip(self.edges[1::2], self.edges[2::2], self.columns, strict=False)
        return tuple(
            records.parts(count, begin, end - begin) if code else b""
            for begin, end, (_, _, code) in spans
        )

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
        edges = [0]
        for begin, length, *_ in places:
            edges += [begin, begin + length]
        edges.append(len(payload))
        lengths = (end - begin for begin, end in pairwise(edges))
        fields = struct.Struct("<" + "".join(f"{length}s" for length in lengths))
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
            edges=tuple(edges),
        )


@dataclass(frozen=True)
class _Records:
    """Records of one length that follow each other.

    Attributes:
        content: what they lie in.
        begin: where the first one's head begins.
        length: of the payload of each.
        count: how many they are.
    """

    content: memoryview
    begin: int
    length: int
    count: int

    @classmethod
    def at(cls, content: memoryview, begin: int, length: int) -> "_Records":
        """Return the records from a byte on that claim to be as long as the first one is."""
        stride = RECORD.size + length
        most = (len(content) - begin) // stride
        lengths = np.ndarray((most,), "<u4", content, begin, (stride,))
        different = lengths != length
        count = int(different.argmax()) if different.any() else most
        return cls(content, begin, length, count)

    def parts(self, count: int, begin: int, length: int) -> bytes:
        """Return the same bytes of the first ``count`` payloads, one after the other."""
        return self._payloads(count, begin, length).tobytes()

    def _payloads(self, count: int, begin: int, length: int) -> NDArray[np.void]:
        # One item by row: a row of single bytes takes several times as long to copy.
        offset, stride = self.begin + RECORD.size + begin, RECORD.size + self.length
        return np.ndarray((count,), f"V{length}", self.content, offset, (stride,))

    def whole(self, count: int) -> int:
        """Return how many of the first ``count`` have the right checksum before one has not."""
        stride = RECORD.size + self.length
        told = np.ndarray((count,), "<u4", self.content, self.begin + 4, (stride,)).tolist()
        found = list(map(crc32, self._each(count)))
        if found == told:
            return count
        return next(n for n, pair in enumerate(zip(found, told, strict=True)) if pair[0] != pair[1])

    def _each(self, count: int) -> Sequence[bytes | memoryview]:
        if self.length < _SHORT:  # copying it costs less than a view of it
            return self._payloads(count, 0, self.length).tolist()
        begin, stride = self.begin + RECORD.size, RECORD.size + self.length
        begins = range(begin, begin + count * stride, stride)
        return [self.content[begin : begin + self.length] for begin in begins]


class Pages:
    """Puts pages of one stream together."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._hook = array_hook()
        self._layouts: dict[int, list[_Layout]] = {}
        self._refusals = 0
        self._waiting: dict[str, list[tuple[_Layout, tuple[bytes, ...]]]] = {}
        self._rows: dict[str, int] = {}
        self._one_by_one = 0  # records until it is worth looking again for many that look alike

    def take(self, content: memoryview) -> Generator[tuple[str, Document], None, tuple[int, int]]:
        """Take the whole records at the beginning of some bytes and yield what is complete.

        Returns:
            How many bytes were taken, and how many are missing in the record that follows; less
            than 0 if that is damaged.
        """
        at, size = 0, len(content)
        while size - at >= RECORD.size:
            length, checksum = RECORD.unpack_from(content, at)
            end = at + RECORD.size + length
            if not 0 < length <= LONGEST_PAYLOAD:
                return at, -1
            if end > size:
                return at, end - size
            alike = self._alike(content, at, length)
            if alike is not None:
                layout, columns, count = alike
                yield from self._put(layout, columns, count * layout.rows)
                at += count * (RECORD.size + length)
                continue
            payload = bytes(content[at + RECORD.size : end])
            if crc32(payload) != checksum:
                return at, -1
            yield from self._take_one(payload)
            at = end
        return at, 0

    def _alike(
        self, content: memoryview, at: int, length: int
    ) -> tuple[_Layout, tuple[bytes, ...], int] | None:
        """Return what the records from here on look like, their columns and how many they are.

        None if they are too few for this to be worth while.
        """
        if self._one_by_one:
            self._one_by_one -= 1
            return None
        if len(content) - at < _FEWEST * (RECORD.size + length) or not self._layouts.get(length):
            return None
        records = _Records.at(content, at, length)
        if records.count >= _FEWEST:
            for layout in self._layouts[length]:
                count = records.whole(layout.alike(records))
                if count >= _FEWEST:
                    return layout, layout.columns_in(records, count), count
        self._one_by_one = _PAUSE
        return None

    def _take_one(self, payload: bytes) -> Iterator[tuple[str, Document]]:
        if payload.startswith(_PAGE):
            known = self._layouts.setdefault(len(payload), [])
            for layout in known:
                columns = layout.columns_of(payload)
                if columns is not None:
                    yield from self._put(layout, columns, layout.rows)
                    return
            found = _Layout.of(payload) if self._refusals <= _MOST_REFUSALS else None
            columns = None if found is None else found.columns_of(payload)
            if found is not None and columns is not None:
                known.append(found)
                yield from self._put(found, columns, found.rows)
                return
            self._refusals += 1
        name, doc = decode(payload, self._hook, arrays=True)
        if name in ("event", "event_page"):
            yield from self._flushed(doc["descriptor"])
        elif name not in ("stream_resource", "stream_datum"):
            yield from self.rest()
        yield name, expand_uri(name, doc, self.data_dir)

    def rest(self) -> Iterator[tuple[str, Document]]:
        """Yield all pages that wait for more."""
        for descriptor in list(self._waiting):
            yield from self._flushed(descriptor)

    def _put(
        self, layout: _Layout, columns: tuple[bytes, ...], rows: int
    ) -> Iterator[tuple[str, Document]]:
        key = layout.descriptor
        waiting = self._waiting.setdefault(key, [])
        if waiting:
            before = waiting[0][0]
            if before.columns != layout.columns or before.same != layout.same:
                yield from self._flushed(key)
                waiting = self._waiting.setdefault(key, [])
        waiting.append((layout, columns))
        self._rows[key] = self._rows.get(key, 0) + rows
        if self._rows[key] >= ROWS_AT_ONCE:
            yield from self._flushed(key)

    def _flushed(self, descriptor: str) -> Iterator[tuple[str, Document]]:
        waiting = self._waiting.pop(descriptor, None)
        self._rows.pop(descriptor, None)
        if not waiting:
            return
        layout = waiting[0][0]
        page: Document = {"descriptor": descriptor, "data": {}, "timestamps": {}}
        for number, (part, key, code) in enumerate(layout.columns):
            if code:
                joined = b"".join([columns[number] for _, columns in waiting])
                values = np.frombuffer(joined, _DTYPES[code])
                if part in ("data", "timestamps"):
                    page[part][key] = values
                else:
                    page[part] = values
        stamps = page["timestamps"]
        stamps |= {key: stamps[other] for key, other in layout.same}
        yield "event_page", page
