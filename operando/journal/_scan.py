"""What one journal tells of its run: at both its ends, and in all of it."""

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isal.isal_zlib import crc32

from operando.harmless import is_uid

from ._bulk import BulkReader
from ._errors import JournalError
from ._format import HEADERS, RECORD, Document, Record, RecordReader, decode

logger = logging.getLogger(__name__)

HEADER_SIZE = len(HEADERS[0])
_HEAD_BYTES = 1 << 14
# Mostly the first of these holds the last record.
_TAILS_BYTES = (1 << 12, 1 << 20)
# From here on reading in bulk gains more than loading numpy costs.
_MUCH_BYTES = 1 << 21
_NESTED = {dict, list}
# msgpack of ["stop", ...: an array of two, a text of four bytes.
_STOP = b"\x92\xa4stop"


@dataclass
class Scan:
    """What is known of one journal, and the offset up to which it was read.

    Attributes:
        offset: bytes that were taken into account.
        start: what a list tells of the start document; empty if there is none.
        stop: the same of the stop document.
        rows: rows by stream; what was counted so far if ``counted``, else not known.
        counted: whether ``rows`` is what the journal holds.
    """

    offset: int = 0
    start: Document = field(default_factory=dict)
    stop: Document = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    stream_of: dict[str, str] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)  # stream -> rows of its table
    frames: dict[str, int] = field(default_factory=dict)  # "stream key" -> rows in its files
    key_of: dict[str, str] = field(default_factory=dict)  # stream resource -> data key
    newest: float = 0.0
    counted: bool = True

    def take(self, name: str, doc: Document) -> None:
        """Learn what one document tells."""
        times = doc.get("time", self.newest)
        if name == "event_page":
            latest = times.max() if hasattr(times, "max") else max(times, default=self.newest)
            times = float(latest)
        self.newest = max(self.newest, times)
        if name == "start":
            self.start = _told_of_start(doc)
        elif name == "stop":
            self.stop = {"exit_status": doc["exit_status"], "reason": doc.get("reason") or ""}
            if "protocol" in self.start:
                # Of a run under several protocols all are told.
                self.start["protocol"] = _protocols(self.start["protocol"], doc)
        elif name == "descriptor":
            self.stream_of[doc["uid"]] = doc["name"]
            self.rows.setdefault(doc["name"], 0)
        elif name == "stream_resource":
            self.key_of[doc["uid"]] = doc["data_key"]
        elif name in ("event", "event_page", "stream_datum"):
            self._count(name, doc)

    def _count(self, name: str, doc: Document) -> None:
        stream = self.stream_of.get(doc["descriptor"])
        if stream is None:
            return
        if name == "stream_datum":
            resource = doc["stream_resource"]
            place = f"{stream} {self.key_of.get(resource, resource)}"
            numbers = doc["seq_nums"]
            present = self.frames.get(place, 0) + numbers["stop"] - numbers["start"]
            self.frames[place] = present
        else:
            present = self.events.get(stream, 0) + (1 if name == "event" else len(doc["seq_num"]))
            self.events[stream] = present
        # A stream may have rows in its table, in files, or both.
        self.rows[stream] = max(self.rows[stream], present)


def _told_of_start(doc: Document) -> Document:
    sample = doc.get("sample")
    resume = doc.get("resume")
    resumed = resume if isinstance(resume, dict) else {}
    attachment = doc.get("attachment")
    attached = attachment if isinstance(attachment, dict) else {}
    if not is_uid(doc["uid"]):
        raise JournalError(f"its run calls itself {str(doc['uid'])[:80]!r}, which is no uid")
    return {
        "uid": doc["uid"],
        "time": doc["time"],
        "scan_id": _scan_id(doc),
        "plan_name": str(doc.get("plan_name", "")),
        "protocol": _protocols(_text(doc.get("protocol")), doc),
        "sample": _sample_name(sample),
        "working_electrode": _material(sample, "working_electrode"),
        "counter_electrode": _material(sample, "counter_electrode"),
        "electrolyte": _electrolyte(sample),
        "techniques": sorted(
            _technique_types(
                [
                    doc.get("technique"),
                    doc.get("technique_as_written"),
                    *(one.get("technique") for one in _told_changes(doc)),
                ]
            )
        ),
        "resume_of": _text(resumed.get("of") or doc.get("resume_of")),
        "root": _text(resumed.get("root") or doc.get("resume_of")) or doc["uid"],
        "replay_of": _text(doc.get("replay_of")),
        "attachment_of": _text(doc.get("attachment_of")),
        "supersedes": _text(attached.get("supersedes")),
    }


def _told_changes(doc: Document) -> list[Document]:
    """Return the changes of its protocol that a start or a stop document tells of."""
    told = doc.get("amendments")
    listed = told if isinstance(told, list) else []
    return [one for one in listed if isinstance(one, dict) and one.get("protocol")]


def _protocols(first: str, doc: Document) -> str:
    """Return the names of the protocols that a run came under, one after the other."""
    later = [one["protocol"] for one in _told_changes(doc)]
    # The start document of a run that goes on tells the whole protocol, a stop document its name.
    names = [one.get("name", "?") if isinstance(one, dict) else one for one in later]
    return ", then ".join((first, *map(str, names)))


def _scan_id(doc: Document) -> int:
    """Return the run's number in its data folder; 0 if that is not what it tells.

    A RunEngine by itself counts its own runs, from 1 in every program.
    """
    number = doc.get("scan_id")
    return number if "operando_version" in doc and type(number) is int and number > 0 else 0


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _sample_name(sample: Any) -> str:
    if isinstance(sample, dict):
        # A cell calls itself by its label; other plans' samples have a name.
        return str(sample.get("cell_id") or sample.get("name", ""))
    return "" if sample is None else str(sample)


def _material(sample: Any, electrode: str) -> str:
    told = sample.get(electrode) if isinstance(sample, dict) else None
    if isinstance(told, dict):
        parts = (told.get("material"), told.get("coating"))
        return ", ".join(str(part) for part in parts if part)
    return _text(told)


def _electrolyte(sample: Any) -> str:
    told = sample.get("electrolyte") if isinstance(sample, dict) else None
    if isinstance(told, dict):
        return _text(told.get("composition"))
    return _text(told)


def _technique_types(technique: Any) -> set[str]:
    """Return the types of a technique and of all it is made of."""
    found = set()
    left = [technique]
    while left:
        part = left.pop()
        if type(part) is dict:  # a decoded document has no other mapping, and there are many
            if type(part.get("type")) is str:
                found.add(part["type"])
            left += [value for value in part.values() if type(value) in _NESTED]
        elif type(part) is list:
            left += part
    return found


def row_counts(records: Iterable[Record]) -> Scan:
    """Return what a journal's records tell of its run, rows counted one by one."""
    scan = Scan()
    for record in records:
        scan.take(record.name, record.doc)
    return scan


def look_at(path: Path) -> Scan:
    """Return what a journal tells at its ends, however long it is.

    Its rows are not counted, unless it ends with the stop document of a success.

    Raises:
        JournalError: if the file is not a journal or of a newer format.
        OSError: if it cannot be read.
    """
    try:
        glanced = glance(path)
    except (ValueError, TypeError, KeyError, AttributeError):
        glanced = None  # not what a journal writer writes; the reader tells what is wrong
    if glanced is not None:
        return glanced
    scan = Scan(counted=False)
    first = next(iter(RecordReader(path)), None)
    if first is not None and first.name == "start":
        scan.take(first.name, first.doc)
    elif first is not None:
        logger.warning("left out of the list of runs: %s has no start document", path)
    return scan


def count_on(path: Path, scan: Scan, until_s: float | None = None) -> Scan:
    """Count a journal's rows from where a scan ended; `Scan.counted` tells if that was finished.

    Args:
        path: the journal.
        scan: what is known of it, ``Scan()`` for nothing; it goes on from there.
        until_s: when to leave off, `time.monotonic` s; None: at the journal's end.

    Raises:
        JournalError: if the file is not a journal or of a newer format.
        OSError: if it cannot be read.
    """
    much = path.stat().st_size - scan.offset > _MUCH_BYTES
    reader = RecordReader(path, scan.offset, arrays=much)
    scan.counted = False
    for record in reader:
        scan.take(record.name, record.doc)
        scan.offset = record.end
        if until_s is not None and time.monotonic() > until_s:
            return scan
    scan.offset, scan.counted = reader.tail.offset, True
    return scan


def glance(path: Path) -> Scan | None:
    """Return the scan of a journal that ends with its stop document; None if it does not.

    Only the first record and the last are read. The last one is taken for what it is if its
    length leads to the end of the file, its checksum holds and it names the run. How many rows
    there are is believed to the stop document of a success alone: that of a run that failed may
    count rows that were refused, or be from somebody who only guessed; and not every plan counts
    rows that lie in files.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(fd).st_size
        head = _read_at(fd, 0, min(size, _HEAD_BYTES))
        if head[:HEADER_SIZE] not in HEADERS:
            return None
        first = _first_record(fd, head, size)
        if first is None or first[0] != "start":
            return None
        stop = _last_record(fd, head, size)
        if stop is None:
            return None
        name, stop_doc = decode(stop)
    finally:
        os.close(fd)
    scan = Scan(offset=size)
    scan.take("start", first[1])
    if name != "stop" or stop_doc.get("run_start") != scan.start["uid"]:
        return None
    scan.take("stop", stop_doc)
    counts = dict(stop_doc.get("num_events") or {})
    scan.counted = stop_doc["exit_status"] == "success" and bool(counts) and all(counts.values())
    if scan.counted:
        scan.rows = counts
    return scan


def _first_record(fd: int, head: bytes, size: int) -> tuple[str, Document] | None:
    """Return the first record if it is whole, from the bytes at hand where they suffice."""
    if len(head) < HEADER_SIZE + RECORD.size:
        return None
    length, checksum = RECORD.unpack_from(head, HEADER_SIZE)
    begin = HEADER_SIZE + RECORD.size
    if not length or begin + length > size:
        return None
    payload = head[begin : begin + length]
    if len(payload) < length:
        payload = _read_at(fd, begin, length)
    return decode(payload) if crc32(payload) == checksum else None


def _last_record(fd: int, head: bytes, size: int) -> bytes | None:
    """Return the payload of a stop document that ends the file; None if none does."""
    for looked_at in _TAILS_BYTES:
        begin = max(size - looked_at, HEADER_SIZE)
        tail = head[begin:size] if size <= len(head) else _read_at(fd, begin, size - begin)
        at = tail.rfind(_STOP)
        while at >= RECORD.size:
            length, checksum = RECORD.unpack_from(tail, at - RECORD.size)
            if at + length == len(tail) and crc32(tail[at:]) == checksum:
                return tail[at:]
            at = tail.rfind(_STOP, 0, at)
        if begin == HEADER_SIZE:
            return None
    return None


def _read_at(fd: int, offset: int, length: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    parts = []
    while length and (part := os.read(fd, length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def counted_rows(path: Path) -> dict[str, int]:
    """Return how many rows of each stream a journal holds, all of them counted."""
    if path.stat().st_size <= _MUCH_BYTES:
        return row_counts(RecordReader(path)).rows
    scan = Scan()
    for name, doc in BulkReader(path):
        scan.take(name, doc)
    return scan.rows
