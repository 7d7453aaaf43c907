"""Rows that come too fast for events: columns of one SWMR file, announced once they are readable.

A page of events costs the RunEngine for every row, a block of rows in a file the same as one row.
The stream's name and keys do not tell the difference: each quantity is a dataset of its own, one
number a row, and ``time`` is one of them.
"""

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from bluesky.protocols import StreamAsset
from event_model import DataKey
from numpy.typing import ArrayLike, NDArray

from instruments._assets import AssetStream
from instruments._swmr import SwmrFile
from instruments.errors import TransportError

_log = logging.getLogger(__name__)

# Key and dataset of the moment a row arrived, in seconds since the epoch.
TIME = "time"
_GROUP = "/entry/data"

# How long, and how much, is kept in memory while the disk is full or fails.
PATIENCE_S = 120.0
MOST_KEPT_BYTES = 256 * 2**20
_ALARM_EVERY_S = 10.0
# How long a row that was written may not be on the disk yet, beside the time the disk takes.
SYNC_INTERVAL_S = 0.1


class Columns:
    """One file of columns, written in blocks; nothing is announced that cannot be read yet.

    What was written is on the disk about 100 ms later: a thread syncs it. While the disk is full
    or takes nothing for another reason, rows wait in memory; an alarm tells it at once and every
    10 s, as for the run's journal.

    Args:
        folder: where the file is made; its name is ``name`` and something unique.
        name: the device, prefix of the event keys.
        units: quantity -> unit of each column, in the order in which ``write`` gets them.
        patience_s: how long rows wait for the disk; by default ``PATIENCE_S``.
        on_alarm: called with the text of each alarm, besides logging it, by the thread that calls
            ``write`` or ``close``; what it raises is logged.

    Raises:
        TransportError: the file cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        units: Mapping[str, str],
        *,
        patience_s: float | None = None,
        on_alarm: Callable[[str], object] | None = None,
    ) -> None:
        self._name = name
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._on_alarm = on_alarm
        self._datasets = [f"{_GROUP}/{quantity}" for quantity in (TIME, *units)]
        path = folder.resolve() / f"{name}-{uuid.uuid4().hex[:8]}.h5"
        all_units = {TIME: "s", **units}
        try:
            self._file = SwmrFile(
                path,
                dict.fromkeys(self._datasets, ((), "<f8")),
                attributes={
                    "/entry": {"NX_class": "NXentry"},
                    _GROUP: {"NX_class": "NXdata", "axes": TIME},
                    **{f"{_GROUP}/{x}": {"units": unit} for x, unit in all_units.items() if unit},
                },
            )
        except OSError as error:
            raise TransportError(f"{name}: cannot record rows: {error}") from error
        keys = [TIME, *(f"{name}_{quantity}" for quantity in units)]
        self._stream = AssetStream(
            path, {key: (dataset, ()) for key, dataset in zip(keys, self._datasets, strict=True)}
        )
        self._waiting: NDArray[np.float64] = np.empty((0, len(keys)))
        self._announced = 0
        self._stuck_since: float | None = None
        self._alarmed = 0.0
        self._dirty = self._sync_failed = False
        self._ended = threading.Event()
        self._syncer = threading.Thread(
            target=self._sync_while_open, name=f"{name}-sync", daemon=True
        )
        self._syncer.start()

    @property
    def path(self) -> Path:
        """Return the file."""
        return self._file.path

    @property
    def rows(self) -> int:
        """Return how many rows can be read by others."""
        return self._file.rows

    @property
    def waiting(self) -> int:
        """Return how many rows wait in memory because the disk takes none."""
        return len(self._waiting)

    def write(self, rows: ArrayLike) -> None:
        """Write rows of shape (n, 1 + quantities), time first, and what waits; then flush.

        Blocks for the write, about 1 ms; to be called by one thread at a time.

        Raises:
            TransportError: the disk has taken nothing for ``patience_s``, the rows that wait are
                more than ``MOST_KEPT_BYTES``, or a write failed half-way, which ends the file. The
                rows are still kept, and the next call tries again.
        """
        block = np.asarray(rows, dtype=np.float64).reshape(-1, len(self._datasets))
        self._waiting = np.concatenate([self._waiting, block]) if self.waiting else block
        if not self.waiting:
            return
        try:
            self._write_waiting()
        except OSError as error:
            self._keep(error)

    def _write_waiting(self) -> None:
        self._file.extend(dict(zip(self._datasets, self._waiting.T, strict=True)))
        if self._stuck_since is not None:
            told = f"{self._name}: the disk takes rows again; all of them were written"
            self._alarm(told, logging.WARNING)
            self._stuck_since = None
        self._waiting = self._waiting[:0]
        self._dirty = True

    def _sync_while_open(self) -> None:
        while not self._ended.wait(SYNC_INTERVAL_S):
            if self._dirty:
                self._sync()

    def _sync(self) -> None:
        self._dirty = False
        try:
            self._file.sync()
        except OSError as error:
            # The rows are readable; told once, since the disk will not get better by telling.
            if not self._sync_failed:
                _log.error("%s: %s could not be synced: %s", self._name, self.path, error)
            self._sync_failed = True

    def _keep(self, error: OSError) -> None:
        now = time.monotonic()
        if self._stuck_since is None:
            self._stuck_since, self._alarmed = now, -math.inf
        for_s = now - self._stuck_since
        told = f"{self._name}: cannot record {self.waiting} rows: {error}"
        no_use = self._file.failed is not None or self._waiting.nbytes > MOST_KEPT_BYTES
        if no_use or for_s > self._patience_s:
            raise TransportError(f"{told} (tried for {for_s:.0f} s)") from error
        if now - self._alarmed >= _ALARM_EVERY_S:
            self._alarmed = now
            self._alarm(
                f"{told}. They are kept in memory for {self._patience_s - for_s:.0f} s more, then "
                "the experiment is ended"
            )

    def _alarm(self, text: str, level: int = logging.ERROR) -> None:
        _log.log(level, "%s", text)
        if self._on_alarm is not None:
            try:
                self._on_alarm(text)
            except Exception:
                _log.exception("an alarm could not be shown")

    def documents(self, index: int | None = None) -> Iterator[StreamAsset]:
        """Yield the documents of the rows that are readable and not announced yet.

        Args:
            index: announce rows before this one only.
        """
        stop = self.rows if index is None else min(index, self.rows)
        first, self._announced = self._announced, max(stop, self._announced)
        if stop > first:
            yield from self._stream.documents(first, stop)

    def close(self) -> None:
        """Write what waits, if the disk takes it now, and close the file; idempotent.

        Rows that it still does not take are lost, which an alarm tells.
        """
        if self.waiting:
            try:
                self._write_waiting()
            except OSError as error:
                self._alarm(f"{self._name}: {self.waiting} rows could not be recorded: {error}")
                self._waiting = self._waiting[:0]
        self._ended.set()
        self._syncer.join()
        self._sync()
        self._file.close()


def described(name: str, units: Mapping[str, str]) -> dict[str, DataKey]:
    """Return the data keys of a stream whose rows ``Columns`` writes."""

    def key(unit: str) -> DataKey:
        return DataKey(
            source=f"driver:{name}",
            dtype="number",
            dtype_numpy="<f8",
            shape=[],
            units=unit,
            external="STREAM:",
        )

    return {
        **{f"{name}_{quantity}": key(unit) for quantity, unit in units.items()},
        TIME: key("s"),
    }
