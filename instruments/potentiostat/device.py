"""The potentiostat in a plan: a flyer whose rows travel as event pages, and the leader.

A program that records too fast for events puts its rows into the columns of a file instead; stream
and keys stay the same.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from bluesky.protocols import Status, StreamAsset
from event_model import DataKey, PartialEventPage
from ophyd import Component, Signal
from ophyd.status import DeviceStatus

from instruments._columns import Columns, described
from instruments._follower import LeaderRow
from instruments._ophyd import InstrumentDevice
from instruments.errors import InstrumentError, SafetyLimitError
from instruments.potentiostat.contract import (
    IMPEDANCE,
    Capabilities,
    ImpedancePoint,
    Potentiostat,
    ProgramEnd,
    ProgramLog,
    Sample,
)
from instruments.transport import clock_ns
from techniques import Assignment, Counters, SafetyLimits, finest_row_interval_s

_log = logging.getLogger(__name__)

# Rows of one page: enough to be cheap, few enough for the RunEngine's loop to breathe.
_PAGE_ROWS = 5000

# A program that may record a row this often puts all its rows into columns. Where event_model looks
# at every cell, a row in a page costs the RunEngine's process 0.16 ms; slower programs leave it
# five sixths of its time even then.
COLUMNS_FROM_INTERVAL_S = 1e-3

# Faster rows are not written to the instrument's own log as well: how fast its file store takes
# lines is not documented, and a program must not fall behind for its sake.
LOG_FROM_INTERVAL_S = 0.01

_SAMPLE_UNITS = {
    "t": "s",
    "step_t": "s",
    "potential": "V",
    "current": "A",
    "cycle": "",
    "half_cycle": "",
    "step": "",
    "role": "",
    "flags": "",
}
# E_WE - E_CE, beside E_WE - E_reference.
_REFERENCE_UNITS = {"potential_cell": "V"}
_IMPEDANCE_UNITS = {
    "t": "s",
    "spectrum": "",
    "cycle": "",
    "half_cycle": "",
    "step": "",
    "frequency": "Hz",
    "z_real": "ohm",
    "z_imag": "ohm",
    "flags": "",
}


class _Pages(InstrumentDevice):
    """Rows in from the reader thread, event pages out to the RunEngine."""

    def __init__(self, *, name: str, units: dict[str, str], **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self._units = units
        # A SimpleQueue, not a list that is swapped: that loses rows while another thread appends.
        self._rows: SimpleQueue[tuple[float, tuple[float, ...]]] = SimpleQueue()
        self._given = 0

    @property
    def given_rows(self) -> int:
        """Return how many rows were given to be recorded so far, in pages or in columns."""
        return self._given

    def describe_collect(self) -> dict[str, DataKey]:
        """Return the data keys of the rows, flat: one stream."""
        return {
            f"{self.name}_{quantity}": DataKey(
                source=f"driver:{self.name}",
                dtype="number",
                dtype_numpy="<f8",
                shape=[],
                units=unit,
            )
            for quantity, unit in self._units.items()
        }

    def collect_pages(self) -> Iterator[PartialEventPage]:
        """Yield what has arrived since the last call; the row's arrival is in ``timestamps``."""
        keys = [f"{self.name}_{quantity}" for quantity in self._units]
        while rows := self._take(_PAGE_ROWS):
            stamps = [stamp for stamp, _ in rows]
            columns = zip(*(values for _, values in rows), strict=True)
            yield {
                "time": stamps,
                "data": {key: list(column) for key, column in zip(keys, columns, strict=True)},
                "timestamps": dict.fromkeys(keys, stamps),
            }
            # Only when the next page is asked for was this one taken.
            self._given += len(rows)

    def close_worker(self, timeout_s: float = 10.0) -> None:
        """End the threads of this device; it has none."""

    def add_row(self, stamp: float, values: tuple[float, ...]) -> None:
        """Take one row that arrived at ``stamp`` (epoch, s); callable from any thread."""
        self._rows.put((stamp, values))

    def _take(self, most: int) -> list[tuple[float, tuple[float, ...]]]:
        rows: list[tuple[float, tuple[float, ...]]] = []
        try:
            while len(rows) < most:
                rows.append(self._rows.get_nowait())
        except Empty:
            pass
        return rows

    def drop_rows(self) -> None:
        """Forget rows that nobody has collected."""
        while self._take(_PAGE_ROWS):
            pass


class PotentiostatDevice(_Pages):
    """A potentiostat in a plan: prepare an assignment, kick it off, collect its rows.

    It leads: followers ask ``latest`` and subscribe with ``on_row``. Spectra are rows of the child
    ``impedance``, to be declared and collected as a stream of its own.

    A program that may record a row every ``COLUMNS_FROM_INTERVAL_S`` has its rows in a file, which
    ``kickoff`` makes in ``assets_dir``; prepare it before its stream is declared. When the disk
    does not take them, ``on_alarm`` is called with a text that says so.

    Args:
        driver: any Potentiostat.
        name: prefix of all event keys.
        limits: what the bench forbids; every assignment is narrowed by it.
    """

    # bluesky takes a device that has these two for one that never makes events: `prepare` gives
    # them to the device for a program whose rows lie in columns, and takes them away again.
    get_index: Callable[[], int]
    collect_asset_docs: Callable[..., Iterator[StreamAsset]]

    model = Component(Signal, value="", kind="config")
    firmware = Component(Signal, value="", kind="config")
    serial_number = Component(Signal, value="", kind="config")

    def __init__(
        self, driver: Potentiostat, *, name: str, limits: SafetyLimits | None = None
    ) -> None:
        super().__init__(name=name, units=_SAMPLE_UNITS)
        self.limits = limits or SafetyLimits()
        self.assets_dir: Path | None = None
        self.on_alarm: Callable[[str], object] | None = None
        self.impedance = _Pages(name=f"{name}_impedance", units=_IMPEDANCE_UNITS)
        self._driver = driver
        self._assignment: Assignment | None = None
        self._in_columns = False
        self._columns: Columns | None = None
        self._drained: DeviceStatus | None = None
        self._reader: threading.Thread | None = None
        self._newest: LeaderRow | None = None
        # When the last row of the last program arrived, and when the cell was known to be open.
        self._heard_ns: int | None = None
        self._opened_ns: int | None = None
        self._callbacks: tuple[Callable[[LeaderRow], None], ...] = ()
        self._measured: tuple[Callable[[Sample | ImpedancePoint], None], ...] = ()
        self._running = False
        self._finished_rows = True
        self._stopped_as_failure = False
        self._no_log: str | None = None
        self._held: list[tuple[float, Sample | ImpedancePoint]] = []
        # Tells whether a log of the instrument may go where room is needed; not known: it stays.
        self.log_may_go: Callable[[str], bool] = lambda name: False

    @classmethod
    def columns(cls) -> Mapping[str, str | None]:
        """Return suffix of the event key -> units."""
        return dict(_SAMPLE_UNITS)

    # -- what the plan asks

    def stage(self) -> list[object]:
        """Note who the instrument is; raises InstrumentError if it is not connected."""
        identity = self._driver.identify()
        for signal in (self.model, self.firmware, self.serial_number):
            signal.put(identity.get(signal.attr_name, ""))
        return super().stage()

    def unstage(self) -> list[object]:
        """Open the cell if a program still runs."""
        try:
            self._end_program()
        finally:
            self._close_columns()
            # Rows of another run may come before anything is prepared for it.
            self.take_in_pages()
        return super().unstage()

    def prepare(self, value: Assignment) -> Status:
        """Check ``value`` against instrument and limits; nothing moves.

        Raises UnsupportedTechniqueError or SafetyLimitError at once. The value is kept for
        ``kickoff``, narrowed by the limits of the bench. If it names a log of the instrument, room
        is made for it; that there will be none is told by ``log_told`` and fails nothing.
        """
        narrowed = self._narrowed(value)
        self._driver.check(narrowed)
        self._no_log = self._prepare_log(narrowed)
        if self._no_log is not None:
            narrowed = narrowed.model_copy(update={"instrument_log": None})
        self._assignment = narrowed
        self._units = _SAMPLE_UNITS | (_REFERENCE_UNITS if narrowed.reference else {})
        self._newest = None
        self._finished_rows = False
        self._record_in_columns(finest_row_interval_s(value.technique) <= COLUMNS_FROM_INTERVAL_S)
        return self._finished()

    def check(self, value: Assignment) -> SafetyLimits:
        """Return the limits within which ``value`` would run; nothing is prepared or moves.

        Raises as ``prepare`` does; callable while a program runs.
        """
        narrowed = self._narrowed(value)
        self._driver.check(narrowed)
        return narrowed.limits

    def _narrowed(self, assignment: Assignment) -> Assignment:
        """Return ``assignment`` within the limits of the bench; raises SafetyLimitError."""
        try:
            limits = assignment.limits.narrowed_by(self.limits)
        except ValueError as error:
            raise SafetyLimitError(f"{self.name}: {error}") from error
        return assignment.model_copy(update={"limits": limits})

    def _prepare_log(self, assignment: Assignment) -> str | None:
        if assignment.instrument_log is None:
            return "not asked for"
        if finest_row_interval_s(assignment.technique) < LOG_FROM_INTERVAL_S:
            return f"rows may come more often than every {LOG_FROM_INTERVAL_S:g} s"
        try:
            why = self._driver.prepare_log(assignment, self.log_may_go)
        except InstrumentError as error:
            why = str(error)
        if why is not None:
            _log.warning(
                "%s: it keeps no log of its own of this run: %s. Should this computer die, what "
                "the instrument does alone is recorded nowhere",
                self.name,
                why,
            )
        return why

    def _record_in_columns(self, in_columns: bool) -> None:
        self._in_columns = in_columns
        if in_columns:
            self.get_index = self._write_columns
            self.collect_asset_docs = self._announce_columns
        else:
            self.__dict__.pop("get_index", None)
            self.__dict__.pop("collect_asset_docs", None)

    def describe_collect(self) -> dict[str, DataKey]:
        """Return the data keys of the rows of what was prepared, flat: one stream."""
        if self._in_columns:
            return described(self.name, self._units)
        return super().describe_collect()

    def kickoff(self) -> Status:
        """Start the prepared program; done when the instrument has accepted it.

        Raises TransportError at once, and nothing starts, if its rows are to lie in a file that
        cannot be made.
        """
        if self._assignment is None:
            raise RuntimeError(f"{self.name}: prepare an assignment before kickoff")
        if self._running:
            raise RuntimeError(f"{self.name}: a program is running")
        self.drop_rows()
        self.impedance.drop_rows()
        self._close_columns()
        if self._in_columns:
            if self.assets_dir is None:
                raise RuntimeError(f"{self.name}: set assets_dir before kickoff")
            self._columns = Columns(self.assets_dir, self.name, self._units, on_alarm=self.on_alarm)
        self.release_rows()
        self._running = True
        self._newest = None
        self._finished_rows = False
        self._stopped_as_failure = False
        self._heard_ns = self._opened_ns = None
        self._drained = drained = DeviceStatus(self)
        assignment = self._assignment
        return self._in_thread(lambda: self._start(assignment, drained))

    def complete(self) -> Status:
        """Return the status of the whole program; an error of the instrument fails it."""
        if self._drained is None:
            raise RuntimeError(f"{self.name}: kickoff before complete")
        return self._drained

    def stop(self, *, success: bool = True) -> None:
        """End the program and open the cell; blocks until the instrument has confirmed it.

        With ``success=False`` the status of ``complete`` fails. Does nothing when nothing runs.
        """
        if self._running and not success:
            self._stopped_as_failure = True
        self._end_program()

    def safe_state(self) -> None:
        """Open the cell, whatever the device believes; raises InstrumentError if that fails.

        Where nothing is connected nothing was begun from here, and nothing is done.
        """
        leave: Callable[[], None] = getattr(self._driver, "safe_state", self._driver.abort)
        leave()
        if self._opened_ns is None and getattr(self._driver, "connected", True):
            self._opened_ns = clock_ns()

    def close_worker(self, timeout_s: float = 10.0) -> None:
        """Wait for the reader thread, which ends with the program."""
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(timeout_s)

    @property
    def capabilities(self) -> Capabilities:
        """Return what the connected instrument can do."""
        return self._driver.capabilities()

    @property
    def stop_reason(self) -> str | None:
        """Return why the last program ended before its last step, ``None`` if it did not."""
        return self._driver.stop_reason

    @property
    def failure(self) -> BaseException | None:
        """Return the error with which the last program failed; ``None``: it did not by itself."""
        status = self._drained
        if status is None or not status.done or self._stopped_as_failure:
            return None
        return status.exception(timeout=0)

    @property
    def unwatched_s(self) -> float | None:
        """Return from the last row of the last program until the cell was known to be open, s.

        On this computer's clock, which nobody sets; ``None``: there was no row, or ``safe_state``
        has not been confirmed since.
        """
        if self._heard_ns is None or self._opened_ns is None:
            return None
        return max(0.0, (self._opened_ns - self._heard_ns) / 1e9)

    @property
    def lost_rows(self) -> int:
        """Return how many rows of the last program were lost on the line."""
        return self._driver.lost_rows

    @property
    def notes(self) -> list[str]:
        """Return what the driver notes of the last program, each once."""
        return self._driver.notes

    @property
    def remarks(self) -> list[str]:
        """Return what must be said of a program that ended without a failure; empty if nothing."""
        said = [self.stop_reason] if self.stop_reason else []
        if self.lost_rows:
            address = self._driver.identify()["address"]
            rows = "1 row" if self.lost_rows == 1 else f"{self.lost_rows} rows"
            were = "was" if self.lost_rows == 1 else "were"
            said.append(f"{rows} of the {self.name} {were} lost on the line ({address})")
        wanted = self._assignment is not None and self._assignment.instrument_log is not None
        if wanted and not self._driver.log_kept:
            said.append("the instrument refused to keep a log of its own")
        return said + self.notes

    @property
    def unsaved_rows(self) -> int:
        """Return how many rows wait to be collected, or wait in memory for room on the disk."""
        return self._rows.qsize() + (self._columns.waiting if self._columns is not None else 0)

    # -- the instrument's own log, and rows from before the program

    @property
    def log_told(self) -> dict[str, str | None]:
        """Return what a start document says of the log of the prepared program.

        ``name`` of the log and a digest of the ``meaning`` of its lines; or no name and the
        ``reason``.
        """
        assignment = self._assignment
        if assignment is None or assignment.instrument_log is None:
            return {"name": None, "reason": self._no_log or "nothing is prepared"}
        return {
            "name": assignment.instrument_log,
            "meaning": self._driver.meaning(assignment),
        }

    @property
    def counters(self) -> Counters:
        """Return where the last program stood at its end."""
        return self._driver.counters

    @property
    def program_end(self) -> ProgramEnd:
        """Return where the last program stood when it ended."""
        return self._driver.program_end

    def measure_zero(self, assignment: Assignment) -> dict[str, Any]:
        """Measure the zero of the current for what is to be run; return what is told of it.

        Blocks about 1 s per range of the current; the cell stays open. A start document tells it
        as ``current_zero``: ``measured``, a list of ``range_a``, ``current_a`` and
        ``uncertainty_a``, and the ``reason`` why there is none. That it cannot be had is warned of
        and fails nothing.
        """
        try:
            zeros = self._driver.measure_zero(self._narrowed(assignment))
        except InstrumentError as error:
            _log.warning(
                "%s: the zero of its current was not measured; efficiencies are as uncertain as "
                "the offset of its ranges: %s",
                self.name,
                error,
            )
            return {"measured": [], "reason": str(error)}
        reason = None if zeros else "no step sets a current"
        return {"measured": [zero._asdict() for zero in zeros], "reason": reason}

    def current_ranges(self, assignment: Assignment) -> list[dict[str, float]]:
        """Return on which range each current runs that is to be set, ascending.

        A start document tells it as ``current_ranges``: ``current_a``, a magnitude, and
        ``range_a``, the nominal current of its range.
        """
        found = self._driver.current_ranges(self._narrowed(assignment))
        return [one._asdict() for one in found]

    def discard_log(self, name: str) -> None:
        """Have the instrument forget a log; raises InstrumentError if it does not."""
        self._driver.delete_log(name)

    def read_log(self, assignment: Assignment, meaning: str | None) -> ProgramLog | None:
        """Return what the instrument kept of a program that has ended; ``None``: no such log.

        The assignment's limits are those it ran within. ``meaning`` is what was told of the log
        when it was begun. Raises InstrumentError if the log
        cannot be had, or if this version of the software would read it as something else.
        """
        # As it ran: today's limits of the bench are no part of it, and reading drives nothing.
        found = self._driver.read_log(assignment)
        if found is not None and meaning not in (None, self._driver.meaning(assignment)):
            raise InstrumentError(
                f"{self.name}: the log {assignment.instrument_log} was written for another version "
                "of this software, whose numbers of steps mean something else: collect it with "
                "that version"
            )
        return found

    def measure(
        self, assignment: Assignment, rows: list[tuple[float, Sample | ImpedancePoint]]
    ) -> None:
        """Run ``assignment`` to its end and add its rows with their arrival (epoch, s) to ``rows``.

        Blocks; not for plans. Whatever ends it, the cell is open afterwards and what was measured
        is in ``rows``. Raises as ``prepare`` and ``complete`` do.
        """
        self._driver.start(self._narrowed(assignment))
        try:
            for row in self._driver.samples():
                rows.append((_arrived(row), row))
        finally:
            self._driver.abort()

    def hold_rows(self, rows: Sequence[tuple[float, Sample | ImpedancePoint]]) -> None:
        """Keep rows (epoch of their arrival in s, row) that go into the next run, first of all.

        They take the place of rows that are held already; none: nothing is held any more.
        """
        self._held = list(rows)
        # Without a program to come nothing else tells whether there was a reference electrode.
        samples = (row for _, row in rows if isinstance(row, Sample))
        reference = any(not math.isnan(row.cell_potential_v) for row in samples)
        if reference:
            self._units = _SAMPLE_UNITS | _REFERENCE_UNITS

    def release_rows(self) -> int:
        """Let the rows that were held be collected; return how many there were.

        The next ``kickoff`` does so as well: rows in columns have no place before it.
        """
        held, self._held = self._held, []
        for stamp, row in held:
            pages = self if isinstance(row, Sample) else self.impedance
            pages.add_row(stamp, _values(row, self._units))
        return len(held)

    def take_in_pages(self) -> None:
        """Let rows travel as event pages, whatever the program before recorded into columns."""
        self._record_in_columns(False)

    @property
    def in_columns(self) -> bool:
        """Return whether the rows of the prepared program will lie in the columns of a file."""
        return self._in_columns

    # -- rows in columns

    def _write_columns(self) -> int:
        """Write the rows that have arrived; return how many can be read by others."""
        if self._columns is None:
            return 0
        while rows := self._take(_PAGE_ROWS):
            self._columns.write([(stamp, *values) for stamp, values in rows])
            self._given += len(rows)
        if self._columns.waiting:
            self._columns.write([])
        return self._columns.rows

    def _announce_columns(self, index: int | None = None) -> Iterator[StreamAsset]:
        """Yield the documents of rows that can be read by others and were not announced yet."""
        self._write_columns()
        if self._columns is not None:
            yield from self._columns.documents(index)

    def _close_columns(self) -> None:
        columns, self._columns = self._columns, None
        if columns is not None:
            columns.close()

    # -- what followers ask

    @property
    def finished(self) -> bool:
        """Return whether no more rows will come."""
        return self._finished_rows

    def latest(self) -> LeaderRow | None:
        """Return the newest row, ``None`` before the first."""
        return self._newest

    def on_measured(
        self, callback: Callable[[Sample | ImpedancePoint], None]
    ) -> Callable[[], None]:
        """Call ``callback`` from the reader thread with each row as measured; as ``on_row``."""
        self._measured = (*self._measured, callback)

        def unsubscribe() -> None:
            self._measured = tuple(x for x in self._measured if x != callback)

        return unsubscribe

    def on_row(self, callback: Callable[[LeaderRow], None]) -> Callable[[], None]:
        """Call ``callback`` from the reader thread with each row; returns the unsubscriber.

        It must return within milliseconds: it is in the way of the rows.
        """
        self._callbacks = (*self._callbacks, callback)

        def unsubscribe() -> None:
            # Equality, not identity: bound methods are made anew at each access.
            self._callbacks = tuple(x for x in self._callbacks if x != callback)

        return unsubscribe

    # -- threads

    def _start(self, assignment: Assignment, status: DeviceStatus) -> None:
        try:
            self._driver.start(assignment)
        except Exception as error:
            self._running = False
            self._finished_rows = True
            status.set_exception(error)
            raise
        self._reader = threading.Thread(
            target=self._read, args=(status,), name=f"{self.name}-reader", daemon=True
        )
        self._reader.start()

    def _read(self, status: DeviceStatus) -> None:
        failure: Exception | None = None
        try:
            for row in self._driver.samples():
                self._take_row(row)
        except Exception as error:  # whatever it is, the plan hears of it through the status
            failure = error
        self._running = False
        self._finished_rows = True
        if failure is None and self._stopped_as_failure:
            confirmed = self._driver.program_end.ending != "unknown"
            cell = "the cell is open" if confirmed else "it did not tell that it opened the cell"
            failure = InstrumentError(f"{self.name}: the program was stopped, {cell}")
        if failure is None:
            status.set_finished()
        else:
            status.set_exception(failure)

    def _take_row(self, row: Sample | ImpedancePoint) -> None:
        stamp = _arrived(row)
        self._heard_ns = row.arrival_ns
        if isinstance(row, Sample):
            self.add_row(stamp, _values(row, self._units))
            role = row.role
        else:
            self.impedance.add_row(stamp, _values(row, self._units))
            role = IMPEDANCE
        self._newest = newest = LeaderRow(row.t_s, row.half_cycle, role, row.step)
        for callback in self._callbacks:
            callback(newest)
        for measured in self._measured:
            measured(row)

    def _end_program(self) -> None:
        if not self._running:
            return
        try:
            self._driver.abort()
        except InstrumentError:
            # If the reader has failed as well, its error is the cause and is told by complete().
            if self._running:
                raise
        self.close_worker()


def _arrived(row: Sample | ImpedancePoint) -> float:
    """Return when a row arrived, on the clock of day: it may have waited for its reader."""
    return time.time() - (clock_ns() - row.arrival_ns) / 1e9


def _values(row: Sample | ImpedancePoint, units: Collection[str]) -> tuple[float, ...]:
    """Return what a row says of each quantity, in their order; the arrival is none of them."""
    if isinstance(row, ImpedancePoint):
        return tuple(float(x) for x in row[: len(_IMPEDANCE_UNITS)])
    values = tuple(float(x) for x in row[: len(_SAMPLE_UNITS)])
    return (*values, row.cell_potential_v) if len(units) > len(values) else values
