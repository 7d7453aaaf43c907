"""Damage in the middle of a journal: where it ends, and what can be understood behind it.

A record that is short or fails its checksum ends what can be trusted only if no whole record
follows. One that follows is found by how its payload begins, and by its checksum; nothing else
decides, so that nothing wrong is ever served.
"""

import logging
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isal.isal_zlib import crc32

logger = logging.getLogger(__name__)

RECORD = struct.Struct("<II")
LONGEST_PAYLOAD = 1 << 30

# A start document is never behind anything.
_NAMES = (
    "stop",
    "descriptor",
    "event",
    "event_page",
    "stream_resource",
    "stream_datum",
    "resource",
    "datum",
    "datum_page",
    "bulk_events",
    "bulk_datum",
)
# msgpack of [name, ...: an array of two, a text of so many bytes.
_BEGINNINGS = re.compile(
    b"\x92(?:" + b"|".join(bytes([0xA0 | len(name)]) + name.encode() for name in _NAMES) + b")"
)
_START = b"\x92\xa5start"
_LONGEST_BEGINNING = 2 + max(map(len, _NAMES))
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Damage:
    """A stretch of a journal that cannot be read.

    Attributes:
        offset: where it begins.
        size: its length in bytes.
        reason: what was found there.
        rows: rows that are missing for it, by the gaps it leaves in the numbers of the rows, or
            that cannot be understood without it; None where nobody counted.
    """

    offset: int
    size: int
    reason: str
    rows: int | None = None

    def __str__(self) -> str:
        told = f"{self.size} bytes from byte {self.offset} on are damaged ({self.reason})"
        if self.rows is None:
            return told
        return f"{told}; {'1 row is' if self.rows == 1 else f'{self.rows} rows are'} missing"


def read_at(fd: int, offset: int, length: int) -> bytes:
    """Return bytes of an open file; fewer at its end."""
    os.lseek(fd, offset, os.SEEK_SET)
    parts = []
    while length and (part := os.read(fd, length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def is_whole(fd: int, offset: int, size: int) -> bool:
    """Return whether a record with the right checksum begins here, in a file of this size."""
    head = read_at(fd, offset, RECORD.size)
    if len(head) < RECORD.size:
        return False
    left, checksum = RECORD.unpack(head)
    if not 0 < left <= min(LONGEST_PAYLOAD, size - offset - RECORD.size):
        return False
    found = 0
    while left and (block := os.read(fd, min(left, _BLOCK_BYTES))):
        found = crc32(block, found)
        left -= len(block)
    return not left and found == checksum


def whole_record_behind(path: Path, offset: int, *, start: bool = False) -> int | None:
    """Return where the first whole record begins at or behind a byte; None if there is none.

    It may begin right there: what was torn a moment ago is whole by now if its writer lives.

    Args:
        path: the journal.
        offset: where to begin.
        start: whether a start document may be found elsewhere than right there, too.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(fd).st_size
        return next(_whole_records(fd, offset, size, start=start), None)
    finally:
        os.close(fd)


def _whole_records(fd: int, offset: int, size: int, *, start: bool) -> Iterator[int]:
    if is_whole(fd, offset, size):
        yield offset
    # Not first where the damaged record claims to end: its length may be what is damaged, and the
    # whole records between would be lost.
    begin = offset + 1
    while True:
        block = read_at(fd, begin, _BLOCK_BYTES)
        places = [found.start() for found in _BEGINNINGS.finditer(block)]
        if start:
            places += [found.start() for found in re.finditer(re.escape(_START), block)]
        for place in sorted(places):
            head = begin + place - RECORD.size
            if head > offset and is_whole(fd, head, size):
                yield head
        if len(block) < _BLOCK_BYTES:
            return
        begin += len(block) - _LONGEST_BEGINNING + 1


# What was told already, by journal: one process reads it for one answer again and again.
_warned: dict[Path, set[str]] = {}


class Understood:
    """Passes documents on where some may be missing: those that can be understood.

    As long as nothing is damaged all are. Behind damage a row is passed over if what describes it
    is lost; and where the announcement of rows in files is lost, the next one of the same file
    announces them too: they are in the file. How many rows are missing is counted by their numbers.

    Args:
        path: the journal.
        partial: whether documents are left out on purpose, besides those that describe rows.
    """

    def __init__(self, path: Path, *, partial: bool = False) -> None:
        self._path = path
        self._partial = partial
        self._run = ""
        self._streams: dict[str, str] = {}  # descriptor -> stream
        self._resources = set[str]()
        self._newest: dict[str, int] = {}  # stream -> number of its last row
        self._announced: dict[str, tuple[int, int]] = {}  # resource -> number and index to come
        self._in_files = set[str]()  # streams
        self._not_announced: dict[str, int] = {}  # descriptor -> number of its last lost row
        self._seen = 0
        self._uncertain = set[str]()  # streams not met yet since the last damage
        self._rows: list[int] = []
        self._told = 0

    def damage(self, found: Sequence[Damage]) -> tuple[Damage, ...]:
        """Return damage with the rows that are missing for it."""
        rows = [*self._rows, *[0] * (len(found) - len(self._rows))]
        return tuple(replace(damage, rows=count) for damage, count in zip(found, rows, strict=True))

    def take(
        self, name: str, doc: dict[str, Any], found: Sequence[Damage]
    ) -> dict[str, Any] | None:
        """Return the document, perhaps with more rows announced; None if it says nothing now.

        Args:
            name: the document's name.
            doc: the document.
            found: the damage that lies before it.
        """
        if len(found) > self._seen:
            self._seen = len(found)
            self._rows += [0] * (len(found) - len(self._rows))
            self._uncertain = {*self._streams.values()}
        damaged = bool(found)
        if name in ("event", "event_page"):
            numbers = doc.get("seq_num", ())
            count = 1 if name == "event" else len(numbers)
            stream = self._streams.get(doc.get("descriptor", ""))
            if stream is None:
                if not (damaged or self._partial):
                    return doc
                if damaged:
                    self._rows[-1] += count
                return None
            if count:
                first, last = (numbers, numbers) if name == "event" else (numbers[0], numbers[-1])
                if stream in self._uncertain:
                    self._close_gap(stream, int(first) - 1)
                self._newest[stream] = int(last)
        elif name == "stream_datum":
            if doc["stream_resource"] in self._resources and doc["descriptor"] in self._streams:
                return self._announce(doc, mend=damaged)
            if not (damaged or self._partial):
                return doc
            if damaged:
                self._count_in_files(doc)
            return None
        elif name == "descriptor":
            self._streams[doc.get("uid", "")] = doc.get("name", "")
            if damaged and doc.get("name", "") not in self._newest:
                self._uncertain.add(doc.get("name", ""))
        elif name == "stream_resource":
            self._resources.add(doc.get("uid", ""))
        elif name == "start":
            self._run = doc.get("uid", "")
        elif name == "stop":
            if damaged and doc.get("run_start") != self._run:
                return None
            for stream, count in (doc.get("num_events") or {}).items():
                in_table = stream in self._newest or stream not in self._in_files
                if stream in self._uncertain and in_table:
                    self._close_gap(stream, int(count))
        return doc

    def _close_gap(self, stream: str, before: int) -> None:
        self._uncertain.discard(stream)
        if self._partial and stream not in self._newest:
            return
        self._rows[-1] += max(0, before - self._newest.get(stream, 0))

    def _count_in_files(self, doc: dict[str, Any]) -> None:
        """Count rows in files that nothing leads to, each once whatever the number of files."""
        numbers, stream = doc["seq_nums"], doc["descriptor"]
        last = max(self._not_announced.get(stream, 0), numbers["start"] - 1)
        self._rows[-1] += max(0, numbers["stop"] - 1 - last)
        self._not_announced[stream] = max(last, numbers["stop"] - 1)

    def _announce(self, doc: dict[str, Any], *, mend: bool) -> dict[str, Any]:
        uid, numbers, indices = doc["stream_resource"], doc["seq_nums"], doc["indices"]
        self._in_files.add(self._streams[doc["descriptor"]])
        number, index = self._announced.get(uid, (1, indices["start"] - numbers["start"] + 1))
        self._announced[uid] = (numbers["stop"], indices["stop"])
        gap = numbers["start"] - number
        if mend and gap > 0 and 0 <= index == indices["start"] - gap:
            return doc | {
                "seq_nums": dict(numbers, start=number),
                "indices": dict(indices, start=index),
            }
        return doc

    def tell(self, found: Sequence[Damage]) -> None:
        """Log a warning for each damage that this process was not told of yet."""
        for damage in self.damage(found)[self._told :]:
            warned = _warned.setdefault(self._path.absolute(), set())
            if str(damage) not in warned:
                warned.add(str(damage))
                logger.warning("%s: %s; what follows is read", self._path, damage)
        self._told = len(found)


def missing_start(path: Path, behind: int, size: int) -> str:
    """Return the sentence for a journal whose first record is damaged."""
    return (
        f"{path} cannot be read: its start document is damaged, and nothing says any more what "
        f"was measured. Whole documents follow from byte {behind} of {size} on: bring back a copy "
        "of this file, or take its rows out with operando.journal.salvage"
    )


def salvaged(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield offset and payload of every whole record of a file, wherever it begins."""
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(fd).st_size
        offset = 0
        while (head := next(_whole_records(fd, offset, size, start=True), None)) is not None:
            length, _ = RECORD.unpack(read_at(fd, head, RECORD.size))
            yield head, read_at(fd, head + RECORD.size, length)
            offset = head + RECORD.size + length
    finally:
        os.close(fd)
