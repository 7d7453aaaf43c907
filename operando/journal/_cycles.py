"""Where each cycle of a run begins in its journal: a cache beside it, ``UID.cycles``.

The cycles are those of one column, a data key that ends in ``_cycle`` (not ``_half_cycle``): the
first such key of the stream ``potentiostat``, and if there is no such stream, of the first stream
that has one. Cycle 0 is what comes before the first. A run without such a column has no cycles.

The cache is made by the writer as the rows pass, and made or extended by whoever reads. It holds
offsets into its journal and no path, so it moves with the folder; it may be deleted at any time.
"""

import logging
import os
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
from isal.isal_zlib import crc32

from ._format import HEADER, RECORD, RecordReader
from ._pages import as_list, stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

LEADER = "potentiostat"
SUFFIX = ".cycles"
# Reading this much of a journal takes a few milliseconds: not worth a file.
WORTH_SAVING_BYTES = 1 << 20

_MAGIC = b"OPCYCLES"
_VERSION = 2
_HEAD = struct.Struct("<8sII")  # magic, version, CRC-32 of what follows
# Streams that tell under which protocol the rows behind them came: who begins to read in the
# middle of a run needs what they told before.
TELLING = ("requests", "programs")
_PREAMBLE = ("start", "descriptor", "stream_resource", "resource")


@dataclass(frozen=True)
class CycleIndex:
    """Where the cycles of a run begin, as far as its journal reached when it was read.

    Attributes:
        stream: the stream whose rows are counted; empty if the run has no cycles.
        key: the data key that holds the cycle's number.
        cycles: the numbers, in the order in which they were first met, shape (cycles,).
        offsets: byte offset of the record that holds the cycle's first row.
        rows: number of the stream's rows before the cycle's first row.
        t: the first row's value in the stream's column of time (the cycle's key with ``_t`` for
            ``_cycle``, e.g. ``potentiostat_t``) [s]; NaN where there is none.
        time: time stamp of the first row [epoch s].
        preamble: byte offsets of the start, the descriptors, the stream resources, and of the
            events of `TELLING`.
        end: up to which byte the journal was read.
    """

    stream: str
    key: str
    cycles: "NDArray[np.int64]"
    offsets: "NDArray[np.int64]"
    rows: "NDArray[np.int64]"
    t: "NDArray[np.float64]"
    time: "NDArray[np.float64]"
    preamble: tuple[int, ...]
    end: int

    def position_of(self, cycle: int) -> int:
        """Return where in the arrays a cycle is.

        Raises:
            LookupError: if the run has no such cycle; the message tells which it has.
        """
        found = (self.cycles == cycle).nonzero()[0]
        if len(found):
            return int(found[0])
        if not len(self.cycles):
            raise LookupError(
                f"no cycle {cycle!r}: no stream has a row with a data key that ends in _cycle"
            )
        raise LookupError(
            f"no cycle {cycle!r}; {self.key} goes from {self.cycles.min()} to {self.cycles.max()}"
        )

    def offset_of(self, cycle: int) -> int:
        """Return the byte offset of the record that holds a cycle's first row.

        Raises:
            LookupError: if the run has no such cycle.
        """
        return int(self.offsets[self.position_of(cycle)])


@dataclass
class Cycles:
    """An index being made: takes a journal's documents one by one, in their order."""

    stream: str = ""
    key: str = ""
    descriptors: set[str] = field(default_factory=set)
    telling: set[str] = field(default_factory=set)
    preamble: list[int] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    t: list[float] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    row_count: int = 0
    end: int = 0
    last: int = 0  # where the last record begins
    stopped: bool = False
    current: Any = None
    seen: set[int] = field(default_factory=set)

    def take(self, begin: int, end: int, name: str, doc: Mapping[str, Any]) -> None:
        """Learn what one document tells, whose record lies from byte ``begin`` to ``end``."""
        self.last, self.end = begin, end
        if name in ("event", "event_page") and doc["descriptor"] in self.telling:
            self.preamble.append(begin)
        if name == "event_page":
            if doc["descriptor"] in self.descriptors:
                self._page(begin, doc)
        elif name == "event":
            if doc["descriptor"] in self.descriptors:
                self._event(begin, doc)
        elif name in _PREAMBLE:
            self.preamble.append(begin)
            if name == "descriptor":
                self._describe(doc)
        elif name == "stop":
            self.stopped = True

    def _describe(self, doc: Mapping[str, Any]) -> None:
        stream, key = str(doc.get("name", "")), _cycle_key(doc)
        if stream in TELLING:
            self.telling.add(str(doc["uid"]))
        if not key:
            return
        if stream == LEADER != self.stream:
            self.stream, self.key = stream, key
            self.descriptors, self.row_count, self.current = set(), 0, None
            self.cycles, self.offsets, self.rows, self.t, self.time = [], [], [], [], []
            self.seen = set()
        elif not self.stream:
            self.stream, self.key = stream, key
        if (stream, key) == (self.stream, self.key):
            self.descriptors.add(str(doc["uid"]))

    def _page(self, begin: int, page: Mapping[str, Any]) -> None:
        column = page["data"].get(self.key, ())
        if hasattr(column, "tolist"):
            column = column.tolist()
        if column.count(self.current) != len(column):
            for row, value in enumerate(column):
                if value != self.current:
                    self._change(begin, row, value, page)
        self.row_count += len(page["seq_num"])

    def _event(self, begin: int, event: Mapping[str, Any]) -> None:
        value = event["data"].get(self.key)
        if value != self.current:
            page = {
                "data": {key: [value] for key, value in event["data"].items()},
                "timestamps": {key: [value] for key, value in event["timestamps"].items()},
                "time": [event["time"]],
            }
            self._change(begin, 0, value, page)
        self.row_count += 1

    def _change(self, begin: int, row: int, value: Any, page: Mapping[str, Any]) -> None:
        self.current = value
        value = _plain(value)
        # NaN and missing are no cycle; a number with a fraction is none either.
        if not isinstance(value, (int, float)) or value != value or value % 1:
            return
        cycle = int(value)
        if cycle in self.seen or not -(1 << 63) <= cycle < 1 << 63:
            return
        self.seen.add(cycle)
        t = page["data"].get(f"{self.key.removesuffix('cycle')}t")
        stamps = page["timestamps"].get(self.key)
        if stamps is None or not len(stamps):
            stamps = page["time"]
        self.cycles.append(cycle)
        self.offsets.append(begin)
        self.rows.append(self.row_count + row)
        self.t.append(_number(t, row))
        self.time.append(_number(stamps, row))

    def index(self) -> CycleIndex:
        """Return what is known by now."""
        import numpy as np

        return CycleIndex(
            stream=self.stream,
            key=self.key,
            cycles=np.array(self.cycles, np.int64),
            offsets=np.array(self.offsets, np.int64),
            rows=np.array(self.rows, np.int64),
            t=np.array(self.t, np.float64),
            time=np.array(self.time, np.float64),
            preamble=tuple(self.preamble),
            end=self.end,
        )


def _cycle_key(descriptor: Mapping[str, Any]) -> str:
    for key, told in descriptor.get("data_keys", {}).items():
        if not key.endswith("_cycle") or key.endswith("half_cycle"):
            continue
        if told.get("dtype") in ("number", "integer") and "external" not in told:
            return str(key)
    return ""


def _number(column: Any, row: int) -> float:
    value = _plain(column[row]) if column is not None and row < len(column) else None
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _plain(value: Any) -> Any:
    """Return a number of numpy as one of Python."""
    return value.item() if hasattr(value, "item") else value


def cycle_index(path: Path | str, *, afresh: bool = False) -> CycleIndex:
    """Return where each cycle of a run begins, reading only what its journal gained.

    What is kept beside the journal is used if it belongs to it, extended by what was written
    since, and kept again if that was much; where it cannot be written it is done without. The
    journal of a run that lasts may be read while it grows.

    Args:
        path: the journal.
        afresh: whether to read the whole journal, whatever is kept beside it.

    Raises:
        JournalError: if the file is not a journal or of a newer format.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    cycles = (None if afresh else _load(path)) or Cycles()
    known = cycles.end
    for record in RecordReader(path, known):
        cycles.take(record.begin, record.end, record.name, record.doc)
    if cycles.end - known > (WORTH_SAVING_BYTES if known and not cycles.stopped else 0):
        save_cycles(path, cycles)
    return cycles.index()


def save_cycles(path: Path, cycles: Cycles) -> None:
    """Keep an index beside its journal, unless it is quicker to make it again or there is no room.

    The file is replaced as a whole, so that readers see the old one or the new one.
    """
    if not cycles.cycles or cycles.end < WORTH_SAVING_BYTES:
        return
    try:
        content = msgpack.packb(
            {
                "mark": _mark(path, cycles.last),
                **{key: stored(value) for key, value in vars(cycles).items() if key != "seen"},
                "descriptors": sorted(cycles.descriptors),
                "telling": sorted(cycles.telling),
            }
        )
        head = _HEAD.pack(_MAGIC, _VERSION, crc32(content))
        handle, made = tempfile.mkstemp(prefix=path.stem, suffix=f"{SUFFIX}.new", dir=path.parent)
        try:
            with open(handle, "wb") as file:
                file.write(head + content)
            os.chmod(made, path.stat().st_mode & 0o777)
            os.replace(made, _beside(path))
        except OSError:
            os.unlink(made)
            raise
    except OSError as error:
        logger.info("%s: index of cycles not kept (%s)", path, error)


def _load(path: Path) -> Cycles | None:
    """Return what is kept beside a journal; None if it is damaged or of another journal."""
    try:
        data = _beside(path).read_bytes()
        magic, version, checksum = _HEAD.unpack_from(data)
        content = data[_HEAD.size :]
        if (magic, version) != (_MAGIC, _VERSION) or crc32(content) != checksum:
            raise ValueError("damaged, or of another version")
        kept = msgpack.unpackb(content, ext_hook=as_list)
        mark = kept.pop("mark")
        cycles = Cycles(**kept)
        cycles.seen = set(cycles.cycles)
        cycles.descriptors = set(cycles.descriptors)
        cycles.telling = set(cycles.telling)
        if mark != _mark(path, cycles.last) or path.stat().st_size < cycles.end:
            raise ValueError("of another journal, or one that was cut")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, struct.error) as error:
        logger.info("%s: index of cycles not used (%s); making a new one", path, error)
        return None
    return cycles


def _mark(path: Path, last: int) -> bytes:
    """Return what tells a journal from others: the heads of its first and last indexed record."""
    with open(path, "rb") as file:
        first = file.read(len(HEADER) + RECORD.size)
        file.seek(last)
        return first + file.read(RECORD.size)


def _beside(path: Path) -> Path:
    return path.with_suffix(SUFFIX)
