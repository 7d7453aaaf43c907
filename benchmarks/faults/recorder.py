"""Processes that record rows through a RunEngine, or without one, until somebody ends them.

``python -m benchmarks.faults.recorder`` reads orders from standard input, one JSON object per line,
and forks a process for each: what is slow to import is imported once. It answers each with the
process's number. The processes write what they know, the moment they know it, into a file of notes:

- ``row N T``: the driver received row N.
- ``doc NAME FIRST LAST T``: the journal's callback has returned, for a document with these rows.
- ``write SIZE T`` and ``sync SIZE BEGAN ENDED``: the journal is this long, or was put on the disk
  up to here; ``folder PATH ENDED``: so was a folder. Only if the order says ``log``.
- ``alarm TEXT``, ``raised TEXT``, ``end``: how it went on.

T is the monotonic clock, in seconds, which all processes of a computer share.
"""

import json
import logging
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import StreamAsset
from bluesky.run_engine import RunEngine
from bluesky.utils import MsgGenerator
from event_model import DataKey, compose_run
from ophyd.sim import NullStatus

from instruments._columns import Columns, described
from instruments.errors import InstrumentError
from operando.journal import JournalError, JournalWriter

COLUMNS = ("t", "potential", "current", "cycle")
STREAM = "potentiostat"
ROW_EVERY_S = 0.005
COLLECT_EVERY_S = 0.1
ROWS_PER_CYCLE = 50


def row_values(number: int) -> tuple[float, ...]:
    """Return the values of a row, which anybody can compute again."""
    return number * 0.005, 0.1 + number / 7, -number / 3, float(number // ROWS_PER_CYCLE)


class Notes:
    """A file of notes; what is noted outlives the process."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._write = os.write

    def __call__(self, text: str) -> None:
        """Note one line."""
        self._write(self._fd, text.encode() + b"\n")


def log_the_disk(notes: Notes) -> None:
    """Note each write and sync of a journal, by putting something around the system's functions."""
    write, fdatasync, fsync = os.write, os.fdatasync, os.fsync

    def is_journal(fd: int) -> bool:
        return os.readlink(f"/proc/self/fd/{fd}").endswith(".opj")

    def logged_write(fd: int, data: Any) -> int:
        count = write(fd, data)
        if is_journal(fd):
            notes(f"write {os.fstat(fd).st_size} {time.monotonic()!r}")
        return count

    def logged_sync(fd: int) -> None:
        told = os.fstat(fd)
        began = time.monotonic()
        (fsync if stat.S_ISDIR(told.st_mode) else fdatasync)(fd)
        if stat.S_ISDIR(told.st_mode):
            notes(f"folder {os.readlink(f'/proc/self/fd/{fd}')} {time.monotonic()!r}")
        elif is_journal(fd):
            notes(f"sync {told.st_size} {began!r} {time.monotonic()!r}")

    os.write, os.fdatasync, os.fsync = logged_write, logged_sync, logged_sync


class Driver:
    """Receives rows in a thread of its own and hands them out as a flyer does."""

    name = STREAM
    parent = None

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._rows: SimpleQueue[tuple[int, float]] = SimpleQueue()
        self.ended = threading.Event()
        self.received = 0

    def _receive(self) -> None:
        while not self.ended.wait(ROW_EVERY_S):
            self.received += 1
            self._notes(f"row {self.received} {time.monotonic()!r}")
            self._rows.put((self.received, time.time()))

    def _taken(self) -> Iterator[tuple[int, float]]:
        while True:
            try:
                yield self._rows.get_nowait()
            except Empty:
                return

    def kickoff(self) -> NullStatus:
        """Begin."""
        threading.Thread(target=self._receive, daemon=True).start()
        return NullStatus()

    def complete(self) -> NullStatus:
        """End."""
        self.ended.set()
        return NullStatus()

    def describe_collect(self) -> dict[str, DataKey]:
        """Return the columns."""
        return data_keys()

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """Yield what has come."""
        rows = list(self._taken())
        if rows:
            stamps = [stamp for _, stamp in rows]
            columns = zip(*(row_values(number) for number, _ in rows), strict=True)
            yield {
                "time": stamps,
                "data": dict(zip(data_keys(), map(list, columns), strict=True)),
                "timestamps": dict.fromkeys(data_keys(), stamps),
            }


def data_keys() -> dict[str, DataKey]:
    """Return the columns, described."""
    return {
        f"{STREAM}_{key}": DataKey(source="trial", dtype="number", dtype_numpy="<f8", shape=[])
        for key in COLUMNS
    }


class Fast(Driver):
    """The same rows, in the columns of a file."""

    def __init__(self, notes: Notes, folder: Path, patience_s: float | None) -> None:
        super().__init__(notes)
        self._columns = Columns(folder, STREAM, dict.fromkeys(COLUMNS, ""), patience_s=patience_s)

    def describe_collect(self) -> dict[str, DataKey]:
        """Return the columns and the rows' time."""
        return described(STREAM, dict.fromkeys(COLUMNS, ""))

    def get_index(self) -> int:
        """Return how many rows can be read."""
        return self._columns.rows

    def collect_asset_docs(self, index: int | None = None) -> Iterator[StreamAsset]:
        """Write what has come and announce what is written."""
        rows = list(self._taken())
        self._columns.write([(stamp, *row_values(number)) for number, stamp in rows])
        yield from self._columns.documents(index)

    @property
    def waiting(self) -> int:
        """Return how many rows wait for room on the disk."""
        return self._columns.waiting

    def close(self) -> None:
        """Close the file."""
        self._columns.close()


class Single:
    """A device of the same columns, read one row at a time."""

    name = STREAM
    parent = None

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._number = 0

    def describe(self) -> dict[str, DataKey]:
        """Return the columns."""
        return data_keys()

    def read(self) -> dict[str, Any]:
        """Receive a row."""
        self._number += 1
        self._notes(f"row {self._number} {time.monotonic()!r}")
        values = zip(data_keys(), row_values(self._number), strict=True)
        return {key: {"value": value, "timestamp": time.time()} for key, value in values}

    def read_configuration(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    describe_configuration = read_configuration


class _Noted(logging.Handler):
    """Notes what is logged as an error."""

    def __init__(self, notes: Notes) -> None:
        super().__init__(logging.ERROR)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Note one message."""
        self._notes(f"alarm {record.getMessage()}")


def record(order: Mapping[str, Any]) -> None:
    """Record until killed, or until the file ``end`` is beside the notes."""
    folder = Path(order["folder"])
    notes = Notes(Path(order["notes"]))
    if order.get("log"):
        log_the_disk(notes)
    limits = {key: order[key] for key in ("patience_s", "patience_bytes") if key in order}
    writer = JournalWriter(folder, on_alarm=lambda text: notes(f"alarm {text}"), **limits)
    end = Path(order["notes"]).with_name("end")
    try:
        if order["how"] == "no engine":
            _without_engine(writer, notes, end)
        elif order["how"] == "columns":
            _in_columns(writer, notes, end, folder / "assets", order.get("patience_s"))
        else:
            _with_engine(writer, notes, end, order["how"])
    except (JournalError, InstrumentError) as error:
        notes(f"raised {error}")
        while not end.exists():
            time.sleep(0.01)
    finally:
        writer.close()
        notes("end")


def _with_engine(writer: JournalWriter, notes: Notes, end: Path, how: str) -> None:
    engine = RunEngine({}, context_managers=[])
    engine.ignore_callback_exceptions = False
    engine.subscribe(writer)

    def returned(name: str, doc: Mapping[str, Any]) -> None:
        # Subscribed second: the journal's callback has returned.
        numbers = doc.get("seq_num", ()) if name == "event_page" else [doc.get("seq_num")]
        if name in ("event", "event_page") and len(numbers):
            notes(f"doc {name} {numbers[0]} {numbers[-1]} {time.monotonic()!r}")
        else:
            notes(f"doc {name} 0 0 {time.monotonic()!r}")

    engine.subscribe(returned)

    @bpp.run_decorator(md={"sample": "trial"})
    def paged() -> MsgGenerator:
        driver = Driver(notes)
        yield from bps.declare_stream(driver, name=STREAM, collect=True)
        yield from bps.kickoff(driver, wait=True)
        while not end.exists():
            yield from bps.sleep(COLLECT_EVERY_S)
            yield from bps.collect(driver, name=STREAM, return_payload=False)
        yield from bps.complete(driver, wait=True)
        yield from bps.sleep(4 * ROW_EVERY_S)
        yield from bps.collect(driver, name=STREAM, return_payload=False)

    @bpp.run_decorator(md={"sample": "trial"})
    def single() -> MsgGenerator:
        device = Single(notes)
        while not end.exists():
            yield from bps.create(STREAM)
            yield from bps.read(device)
            yield from bps.save()

    engine(paged() if how == "pages" else single())


def _in_columns(
    writer: JournalWriter, notes: Notes, end: Path, folder: Path, patience_s: float | None
) -> None:
    """Record into the columns of a file; a document is noted when all columns are announced."""
    engine = RunEngine({}, context_managers=[])
    engine.ignore_callback_exceptions = False
    engine.subscribe(writer)
    last = f"{STREAM}_{COLUMNS[-1]}"
    of_last: set[str] = set()

    def returned(name: str, doc: Mapping[str, Any]) -> None:
        if name == "stream_resource" and doc["data_key"] == last:
            of_last.add(doc["uid"])
        elif name == "stream_datum" and doc["stream_resource"] in of_last:
            notes(f"doc {name} {doc['indices']['start'] + 1} {doc['indices']['stop']} 0")

    engine.subscribe(returned)
    logging.disable(logging.NOTSET)
    logging.getLogger("bluesky").disabled = True
    logging.getLogger("instruments").addHandler(_Noted(notes))
    logging.getLogger("instruments").propagate = False
    driver = Fast(notes, folder, patience_s)

    @bpp.run_decorator(md={"sample": "trial"})
    def run() -> MsgGenerator:
        yield from bps.declare_stream(driver, name=STREAM, collect=True)
        yield from bps.kickoff(driver, wait=True)
        while not end.exists():
            yield from bps.sleep(COLLECT_EVERY_S)
            yield from bps.collect(driver, name=STREAM, return_payload=False)
        yield from bps.complete(driver, wait=True)
        yield from bps.sleep(4 * ROW_EVERY_S)
        yield from bps.collect(driver, name=STREAM, return_payload=False)
        while driver.waiting:
            yield from bps.sleep(COLLECT_EVERY_S)
            yield from bps.collect(driver, name=STREAM, return_payload=False)

    try:
        engine(run())
    finally:
        driver.ended.set()
        driver.close()


def _without_engine(writer: JournalWriter, notes: Notes, end: Path) -> None:
    """Write pages as fast as the journal takes them."""
    run = compose_run(metadata={"sample": "trial"})
    stream = run.compose_descriptor(name=STREAM, data_keys=data_keys())
    writer("start", run.start_doc)
    writer("descriptor", stream.descriptor_doc)
    first = 1
    while not end.exists():
        numbers = list(range(first, first + 100))
        columns = zip(*map(row_values, numbers), strict=True)
        stamps = [time.time()] * len(numbers)
        page = stream.compose_event_page(
            data=dict(zip(data_keys(), map(list, columns), strict=True)),
            timestamps=dict.fromkeys(data_keys(), stamps),
            seq_num=numbers,
            time=stamps,
            validate=False,
        )
        writer("event_page", page)
        notes(f"doc event_page {numbers[0]} {numbers[-1]} {time.monotonic()!r}")
        first += 100
    writer("stop", run.compose_stop())


def main() -> None:
    """Fork a process for each order on standard input; they end with this one's input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    logging.disable()  # what is told is noted
    for line in sys.stdin:
        number = os.fork()
        if not number:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            try:
                record(json.loads(line))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
