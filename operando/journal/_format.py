"""The journal's bytes: a header, then records that each carry their own length and checksum.

``OPJOURNL`` (8 bytes), format version (u32), then per document: payload length (u32), CRC-32 of
the payload (u32), payload. All integers little-endian; the payload is msgpack of ``[name, doc]``,
since version 2 with the columns of event pages as msgpack extensions (`_pages`). Nothing written
is ever rewritten, so the first record that is short or fails its checksum is the end of what can
be trusted.
"""

import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import msgpack

from ._errors import JournalError
from ._pages import array_hook, as_list, packed, restore

logger = logging.getLogger(__name__)

MAGIC = b"OPJOURNL"
VERSION = 2
OLDER_VERSIONS = (1,)
HEADER = MAGIC + struct.pack("<I", VERSION)
HEADERS = (HEADER, *(MAGIC + struct.pack("<I", version) for version in OLDER_VERSIONS))
RECORD = struct.Struct("<II")
LONGEST_PAYLOAD = 1 << 30
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
    return RECORD.pack(len(payload), zlib.crc32(payload)) + payload


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
    """Where the whole records of a journal end, and why there.

    Attributes:
        offset: bytes of header and whole records; what follows cannot be trusted.
        reason: empty when the file ends with a whole record, else what was found.
    """

    offset: int
    reason: str = ""

    @property
    def clean(self) -> bool:
        """Whether the file ends with a whole record."""
        return not self.reason


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
    """Yield the records that begin at these bytes; ends early if one of them is not whole."""
    with open(path, "rb") as file:
        for begin in offsets:
            file.seek(begin)
            head = file.read(RECORD.size)
            if len(head) < RECORD.size:
                return
            length, checksum = RECORD.unpack(head)
            payload = file.read(length) if length <= LONGEST_PAYLOAD else b""
            if not payload or len(payload) < length or zlib.crc32(payload) != checksum:
                return
            name, doc = decode(payload)
            yield Record(begin + RECORD.size + length, name, doc, begin)


class RecordReader:
    """Reads whole records of one journal and remembers where and why it stopped.

    Iterating yields `Record`s from `offset` on, one in memory at a time; afterwards `tail` tells
    where the whole records end. Iterating again continues there, so a growing journal is followed
    by iterating once in a while.

    Args:
        path: the journal.
        offset: where a record begins; 0 for the beginning.
        arrays: whether uniform columns of event pages are to be numpy arrays instead of lists.

    Raises:
        JournalError: on iterating, if the file is not a journal, of a newer format, or holds a
            whole record that no journal writer wrote.
    """

    def __init__(self, path: Path, offset: int = 0, *, arrays: bool = False) -> None:
        self.path = path
        self._offset = offset
        self._reason = ""
        self._arrays = arrays
        self._hook = array_hook() if arrays else as_list

    @property
    def tail(self) -> Tail:
        """Where the whole records read so far end, and what stopped the reader there."""
        return Tail(self._offset, self._reason)

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
        offset, self._reason = self._offset, ""
        with open(self.path, "rb", buffering=1 << 20) as file:
            if offset < len(HEADER):
                if not self._header(file.read(len(HEADER))):
                    return
                offset = self._offset = len(HEADER)
            file.seek(offset)
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
                    self._reason = f"torn: {len(payload)} of {length} bytes of a record's payload"
                    return
                if zlib.crc32(payload) != checksum:
                    self._reason = f"corrupt: checksum of a record of {length} bytes"
                    return
                # Set before the caller sees the record: a caller may stop iterating here.
                offset = self._offset = offset + RECORD.size + length
                yield offset, payload

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
