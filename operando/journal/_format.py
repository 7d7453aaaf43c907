"""The journal's bytes: a header, then records that each carry their own length and checksum.

``OPJOURNL`` (8 bytes), format version (u32), then per document: payload length (u32), CRC-32 of
the payload (u32), payload. All integers little-endian; the payload is msgpack of ``[name, doc]``,
since version 2 with the columns of event pages as msgpack extensions (`_pages`). Nothing written
is ever rewritten, so a record that is short or fails its checksum is the end of what can be
trusted, unless a whole one follows (`_damage`).
"""

import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple

import msgpack
from isal.isal_zlib import crc32

from ._damage import LONGEST_PAYLOAD, RECORD, Damage, missing_start, whole_record_behind
from ._errors import JournalError
from ._pages import array_hook, as_list, packed, restore

logger = logging.getLogger(__name__)

MAGIC = b"OPJOURNL"
VERSION = 2
OLDER_VERSIONS = (1,)
HEADER = MAGIC + struct.pack("<I", VERSION)
HEADERS = (HEADER, *(MAGIC + struct.pack("<I", version) for version in OLDER_VERSIONS))
_LONG_PAYLOAD = 1 << 20

Document = dict[str, Any]


def encode(name: str, doc: Mapping[str, Any]) -> bytes:
    """Return one whole record: length, checksum and payload.

    numpy scalars and arrays become numbers and lists; NaN and infinities stay what they are. What
    msgpack has no word for (a set, an integer beyond 64 bits) is stored as text and logged: late
    in a run an odd value must not cost the run. The start document is checked before
    (`check_metadata`), where refusing is still free.

    Raises:
        JournalError: if the document is longer than 1 GiB.
    """
    if name == "event_page":
        doc = packed(doc)
    try:
        payload = msgpack.packb([name, doc], default=_plain, use_bin_type=True)
    except OverflowError:
        logger.warning("a %s document holds an integer beyond 64 bits; stored as text", name)
        payload = msgpack.packb(
            [name, _without_huge_integers(doc)], default=_plain, use_bin_type=True
        )
    if len(payload) > LONGEST_PAYLOAD:
        raise JournalError(
            f"a {name} document of {len(payload)} bytes is too long for one journal record "
            "(1 GiB); send arrays of this size as stream assets"
        )
    return RECORD.pack(len(payload), crc32(payload)) + payload


def decode(
    payload: bytes, hook: Callable[[int, bytes], Any] = as_list, *, arrays: bool = False
) -> tuple[str, Document]:
    """Return the name and the document of one payload, of any format that is known.

    Args:
        payload: msgpack of ``[name, doc]``.
        hook: makes something of a stored column, a list by default.
        arrays: whether uniform columns that are stored as lists are to be arrays, too.
    """
    name, doc = msgpack.unpackb(payload, strict_map_key=False, ext_hook=hook)
    if type(doc) is not dict:
        raise TypeError(f"a {name} document that is {type(doc).__name__}")
    if name == "event_page":
        restore(doc, arrays=arrays)
    return name, doc


def _plain(value: Any) -> Any:
    """Return a stored form of a value that msgpack does not know."""
    # ndarray.tolist() and generic.tolist() give Python numbers, nested lists, or a datetime.
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    logger.warning("stored %r as text: a journal has no other form for it", value)
    return repr(value)


def _without_huge_integers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_huge_integers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_huge_integers(item) for item in value]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    return value


def check_metadata(doc: Mapping[str, Any]) -> None:
    """Refuse a start document that would not come back as it went in.

    Allowed are text, numbers (integers within 64 bits), booleans, None, lists and dictionaries
    with text keys, and numpy numbers and arrays of numbers, which become the same.

    Raises:
        JournalError: naming the entry, its value and what to write instead.
    """
    problems = list(_problems(doc, ""))
    if problems:
        raise JournalError(
            "this run's metadata cannot be stored: "
            + "; ".join(problems)
            + ". Nothing was started; correct the md= entry and run again"
        )


def _problems(value: Any, where: str) -> Iterator[str]:
    if value is None or isinstance(value, (str, bool, float)):
        return
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 64:
            yield f"{where} is an integer beyond 64 bits (write it as text)"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where or 'the start document'} has the key {key!r}, which is not text"
            else:
                yield from _problems(item, f"{where}.{key}" if where else key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _problems(item, f"{where}[{index}]")
    elif hasattr(value, "tolist") and hasattr(value, "dtype"):
        yield from _problems(value.tolist(), where)
    elif isinstance(value, (set, frozenset)):
        yield f"{where} is a set (write a list)"
    else:
        yield f"{where} is {type(value).__name__} {value!r} (write text or a number)"


@dataclass(frozen=True)
class Tail:
    """Where the last whole record of a journal ends, what is behind it, and what is wrong before.

    Attributes:
        offset: the byte behind the last whole record; what follows cannot be trusted.
        reason: empty when the file ends with a whole record, else what was found.
        damage: stretches before ``offset`` that cannot be read, in their order.
    """

    offset: int
    reason: str = ""
    damage: tuple[Damage, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the journal is whole records from its beginning to its end."""
        return not self.reason and not self.damage


class Record(NamedTuple):
    """One whole record and the byte offset behind it.

    Attributes:
        end: the byte offset behind it.
        name: the document's name.
        doc: the document.
        begin: the byte offset of its head.
    """

    end: int
    name: str
    doc: Document
    begin: int = 0


def records_at(path: Path, offsets: Iterable[int]) -> Iterator[Record]:
    """Yield the records that begin at these bytes, without those that are not whole."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for begin in offsets:
            file.seek(begin)
            head = file.read(RECORD.size)
            if len(head) < RECORD.size:
                continue
            length, checksum = RECORD.unpack(head)
            payload = file.read(length) if length <= size - begin else b""
            if not payload or len(payload) < length or crc32(payload) != checksum:
                continue
            name, doc = decode(payload)
            yield Record(begin + RECORD.size + length, name, doc, begin)


class RecordReader:
    """Reads whole records of one journal and remembers where and why it stopped.

    Iterating yields `Record`s from `offset` on, one in memory at a time; afterwards `tail` tells
    where the whole records end. Iterating again continues there, so a growing journal is followed
    by iterating once in a while. What is damaged is passed over if a whole record follows, and
    told by `damage`.

    Args:
        path: the journal.
        offset: where a record begins; 0 for the beginning.
        arrays: whether uniform columns of event pages are to be numpy arrays instead of lists.

    Raises:
        JournalError: on iterating, if the file is not a journal, of a newer format, holds a
            whole record that no journal writer wrote, or has lost its start document.
    """

    def __init__(self, path: Path, offset: int = 0, *, arrays: bool = False) -> None:
        self.path = path
        self.damage: list[Damage] = []
        self._offset = offset
        self._reason = ""
        self._searched = (-1, -1)  # behind which byte nothing whole was found, at which size
        self._arrays = arrays
        self._hook = array_hook() if arrays else as_list

    @property
    def tail(self) -> Tail:
        """Where the whole records read so far end, and what stopped the reader there."""
        return Tail(self._offset, self._reason, tuple(self.damage))

    def __iter__(self) -> Iterator[Record]:
        for end, payload in self.payloads():
            begin = end - RECORD.size - len(payload)
            try:
                name, doc = decode(payload, self._hook, arrays=self._arrays)
            except (ValueError, TypeError, KeyError) as error:
                raise JournalError(
                    f"{self.path}: the record at byte {begin} is whole and cannot be read "
                    f"({error!r}): it was written by something else than a journal writer"
                ) from error
            yield Record(end, name, doc, begin)

    def payloads(self) -> Iterator[tuple[int, bytes]]:
        """Yield the offset behind each whole record and its undecoded payload."""
        self._reason = ""
        with open(self.path, "rb", buffering=1 << 20) as file:
            if self._offset < len(HEADER):
                if not self._header(file.read(len(HEADER))):
                    return
                self._offset = len(HEADER)
            file.seek(self._offset)
            while True:
                yield from self._whole_ones(file)
                if not self._reason or not self._step_over(file):
                    return

    def _whole_ones(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        """Yield records until one is not whole, or the file ends."""
        offset, self._reason = self._offset, ""
        while head := file.read(RECORD.size):
            if len(head) < RECORD.size:
                self._reason = f"torn: {len(head)} of 8 bytes of a record's head"
                return
            length, checksum = RECORD.unpack(head)
            if length == 0:  # a power cut can leave zeros, whose checksum is right
                self._reason = "corrupt: an empty record"
                return
            if length > LONGEST_PAYLOAD:
                self._reason = f"corrupt: a record claims {length} bytes"
                return
            present = length
            if length > _LONG_PAYLOAD:
                # A damaged length must not make room for a gigabyte that is not there.
                left = os.fstat(file.fileno()).st_size - offset - RECORD.size
                present = max(0, min(length, left))
            payload = file.read(present)
            if len(payload) < length:
                self._reason = (
                    f"corrupt: a record of {len(payload)} bytes claims {length}"
                    if payload and crc32(payload) == checksum
                    else f"torn: {len(payload)} of {length} bytes of a record's payload"
                )
                return
            if crc32(payload) != checksum:
                self._reason = f"corrupt: checksum of a record of {length} bytes"
                return
            # Set before the caller sees the record: a caller may stop iterating here.
            offset = self._offset = offset + RECORD.size + length
            yield offset, payload

    def _step_over(self, file: BinaryIO) -> bool:
        """Go on behind what is damaged; False if nothing whole is there yet."""
        size = os.fstat(file.fileno()).st_size
        if self._searched == (self._offset, size):
            return False
        found = whole_record_behind(self.path, self._offset)
        if found is None:
            self._searched = (self._offset, size)
            return False
        if found > self._offset:
            if self._offset == len(HEADER):
                raise JournalError(missing_start(self.path, found, size))
            reason = self._reason.partition(": ")[2]
            self.damage.append(Damage(self._offset, found - self._offset, reason))
            self._offset = found
        file.seek(0, os.SEEK_END)  # else what was read before is not read again
        file.seek(self._offset)
        return True

    def _header(self, header: bytes) -> bool:
        if header in HEADERS:
            return True
        if any(known.startswith(header) for known in HEADERS):
            self._offset = 0
            self._reason = f"torn: {len(header)} of {len(HEADER)} bytes of the file's header"
            return False
        if header.startswith(MAGIC) and len(header) == len(HEADER):
            (version,) = struct.unpack("<I", header[len(MAGIC) :])
            remedy = (
                "update operando to read it"
                if version > VERSION
                else "there never was such a format; the file is damaged"
            )
            known = " and ".join(str(number) for number in (*OLDER_VERSIONS, VERSION))
            raise JournalError(
                f"{self.path} has journal format {version}, this program reads {known}: {remedy}"
            )
        raise JournalError(f"{self.path} is not a journal: it begins with {header!r}")
