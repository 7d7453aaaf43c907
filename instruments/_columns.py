"""Rows that come too fast for events: columns of one SWMR file, announced once they are readable.

An event costs the RunEngine 55 us for each row of five columns, whatever they hold; a block of
rows in a file costs it the same as one row. The stream's name and keys do not tell the
difference: each quantity is a dataset of its own, one number a row, and ``time`` is one of them.
"""

import errno
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
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

# How long, and how much, is kept in memory while the disk is full.
PATIENCE_S = 120.0
MOST_KEPT_BYTES = 256 * 2**20
_ALARM_EVERY_S = 10.0
# How long a row that was written may not be on the disk yet, beside the time the disk takes.
SYNC_INTERVAL_S = 0.1


class Columns:
    """One file of columns, written in blocks; nothing is announced that cannot be read yet.

    What was written is on the disk about 100 ms later: a thread syncs it. While the disk is full,
    rows wait in memory; that is logged as an error at once and every 10 s.

    Args:
        folder: where the file is made; its name is ``name`` and something unique.
        name: the device, prefix of the event keys.
        units: quantity -> unit of each column, in the order in which ``write`` gets them.
        patience_s: how long rows wait for room; by default ``PATIENCE_S``.

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
    ) -> None:
        self._name = name
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
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
        self._full_since: float | None = None
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
        """Return how many rows wait in memory because the disk is full."""
        return len(self._waiting)

    def write(self, rows: ArrayLike) -> None:
        """Write rows of shape (n, 1 + quantities), time first, and what waits; then flush.

        Blocks for the write, about 1 ms; to be called by one thread at a time.

        Raises:
            TransportError: the disk has been full for ``patience_s`` or the rows that wait are more
                than ``MOST_KEPT_BYTES``, or the file cannot be written for another reason. The
                rows are still kept, and the next call tries again.
        """
        block = np.asarray(rows, dtype=np.float64).reshape(-1, len(self._datasets))
        self._waiting = np.concatenate([self._waiting, block]) if self.waiting else block
        if not self.waiting:
            return
        try:
            self._file.extend(dict(zip(self._datasets, self._waiting.T, strict=True)))
        except OSError as error:
            self._keep(error)
            return
        if self._full_since is not None:
            _log.warning("%s: there is room again; all rows were written", self._name)
            self._full_since = None
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
        told = f"{self._name}: cannot record {self.waiting} rows: {error}"
        if error.errno != errno.ENOSPC:
            raise TransportError(told) from error
        if self._full_since is None:
            self._full_since, self._alarmed = now, -np.inf
        for_s = now - self._full_since
        if for_s > self._patience_s or self._waiting.nbytes > MOST_KEPT_BYTES:
            raise TransportError(f"{told} (tried for {for_s:.0f} s)") from error
        if now - self._alarmed >= _ALARM_EVERY_S:
            self._alarmed = now
            _log.error(
                "%s. They are kept in memory for %.0f s more, then the experiment is ended",
                told,
                self._patience_s - for_s,
            )

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
        """Close the file; idempotent. Rows that still wait are lost, which is logged."""
        if self.waiting:
            _log.error("%s: %d rows could not be recorded", self._name, self.waiting)
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
