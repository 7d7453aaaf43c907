"""Followers: instruments that act on the clock of the leader, the potentiostat.

A follower never makes the leader wait. ``trigger`` hands an exchange to the follower's own worker
thread and returns; when the exchange is over and the leader has shown a row later than its end,
the result is a *row* that the plan saves as one event (create, read, save). Each row carries the
leader's time just before and just after, which is what analysis places it by.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from queue import SimpleQueue
from typing import Any, ClassVar, NamedTuple, Protocol

from bluesky.protocols import Reading, Status, StreamAsset
from event_model import DataKey
from ophyd.status import DeviceStatus

from instruments._ophyd import InstrumentDevice
from instruments.errors import InstrumentError, SafetyLimitError, TransportError
from instruments.lending import LONGEST_S, Lease, LeaseLostError, LeaseTimeoutError, Loan, Sharing

_log = logging.getLogger(__name__)

# A leader's row that arrives sooner than this after the end of an exchange may have been measured
# before it: a line takes 3-5 ms (p99) through a pty or USB, and more on a busy computer.
LATENCY_S = 0.025
# One whose cable is loose is told so often in a run.
_OUTAGES_TOLD = 5


class Phase(IntEnum):
    """Why a follower acted; stored with its row."""

    REGULAR = 0
    BURST = 1
    END = 2
    BLANK = 3
    RULE = 4


class LeaderRow(NamedTuple):
    """What followers need to know of one row of the leader."""

    t_s: float
    half_cycle: int
    role: int
    step: int


class Leader(Protocol):
    """What followers and plans need of the instrument that leads."""

    @property
    def finished(self) -> bool:
        """Return whether no more rows will come."""
        ...

    def latest(self) -> LeaderRow | None:
        """Return the newest row, ``None`` before the first."""
        ...

    def on_row(self, callback: Callable[[LeaderRow], None]) -> Callable[[], None]:
        """Call ``callback`` from the reader thread with each row; returns the unsubscriber."""
        ...


@dataclass
class _Row:
    values: dict[str, float]
    index: int
    ended: float  # monotonic
    stamp: float  # epoch


class Follower(InstrumentDevice):
    """Base of every device that follows: queue of exchanges in, rows out.

    Subclasses give ``_columns`` (suffix of the event key -> units or ``None``) and ``_acquire``.
    """

    # Whether what it does goes on from one run to the next; the bench's end ends it.
    outlasts_runs: ClassVar[bool] = False
    _columns: ClassVar[Mapping[str, str | None]] = {}
    _placed: ClassVar[Mapping[str, str | None]] = {
        "t_before": "s",
        "t_after": "s",
        "host_before": "s",
        "host_after": "s",
        "phase": None,
    }
    # Of one that is shared: how long it was waited for, and which loan of it that was.
    _borrowed: ClassVar[Mapping[str, str | None]] = {"waited": "s", "lease": None}

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name)
        self._leader: Leader | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._requests: SimpleQueue[tuple[DeviceStatus, dict[str, Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._open: deque[_Row] = deque()
        self._ready: deque[_Row] = deque()
        self._current: _Row | None = None
        self._worker: threading.Thread | None = None
        self._busy = 0
        self._phase = Phase.REGULAR
        self._notes: list[str] = []
        # Whether a run goes on where this one fails.
        self.outlived = False
        self._lost = False
        self._outages = 0
        self._failure: Exception | None = None
        self._sharing: Sharing | None = None
        self._lease: Lease | None = None
        self._called_off = threading.Event()
        self._loans: deque[Loan] = deque()

    # -- what subclasses give

    @classmethod
    def columns(cls) -> Mapping[str, str | None]:
        """Return suffix of the event key -> units or ``None``, as far as the device decides."""
        return cls._columns

    def _quantities(self) -> Mapping[str, str | None]:
        """Return suffix of the event key -> units or ``None``; by default ``_columns``."""
        return self._columns

    def _acquire(self, **request: Any) -> tuple[dict[str, float], int]:
        """Do one exchange; return the values of ``_columns`` and the row's index in the assets.

        Runs in the worker thread; raises InstrumentError.
        """
        raise NotImplementedError

    def _describe_assets(self) -> dict[str, DataKey]:
        """Return the data keys that live in files."""
        return {}

    def _asset_docs(self, index: int) -> Iterator[StreamAsset]:
        """Yield the stream documents announcing row ``index``; empty if there are no assets."""
        return iter(())

    def check_ready(self) -> None:
        """Raise InstrumentError if it cannot follow a run that is about to begin."""

    # -- sharing it with other benches

    def share(self, sharing: Sharing | None) -> None:
        """Have the instrument lent for each use from now on; ``None``: it is this bench's own."""
        self._sharing = sharing

    @property
    def shared(self) -> bool:
        """Return whether it is lent to this bench for each use."""
        return self._sharing is not None

    @property
    def comes_and_goes(self) -> bool:
        """Return whether it is connected while it is used only."""
        return self._sharing is not None and not self._sharing.keeps_open

    def call_off(self) -> None:
        """Wait for a shared instrument no longer, until the next run; from any thread."""
        self._called_off.set()

    def next_loan(self) -> Loan | None:
        """Return what became of a use of the shared instrument, the oldest first, each once."""
        return self._loans.popleft() if self._loans else None

    def _require_lease(self) -> None:
        """Raise LeaseLostError if the instrument is another's by now.

        To be asked when something was measured, before it is recorded.
        """
        lease = self._lease
        if lease is not None and not lease.held():
            raise LeaseLostError(
                f"{self.name}: its lease {lease.number} ran out while it was used: what it told is "
                "not recorded, since another station may have had it meanwhile"
            )

    # -- the plan's side

    @property
    def hints(self) -> dict[str, Any]:
        """Return nothing: a best-effort table has no use for images and spectra."""
        return {"fields": []}

    def follow(self, leader: Leader) -> None:
        """Place the rows to come on the time of ``leader``; what was noted before is forgotten."""
        self.unfollow()
        self._notes = []
        self._loans.clear()
        self._called_off.clear()
        self._outages = 0
        self._failure = None
        if self._lost:
            self._note("it was lost in the run before; it is looked for at each reading")
        self._leader = leader
        self._unsubscribe = leader.on_row(self._on_leader_row)

    def unfollow(self) -> None:
        """Stop listening to the leader; rows still waiting for it become ready as they are."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._unsubscribe = self._leader = None
        self._release(lambda row: True, math.nan)

    def prepare(self, value: int) -> Status:
        """Say why the exchanges to come are made: a ``Phase``, stored with their rows.

        Raises ValueError for a number that is no phase.
        """
        try:
            self._phase = Phase(value)
        except ValueError:
            phases = ", ".join(f"{phase.value} {phase.name.lower()}" for phase in Phase)
            raise ValueError(f"{self.name}: no phase {value!r}; there are {phases}") from None
        return self._finished()

    def trigger(self, **request: Any) -> Status:
        """Start one exchange without waiting; the status is done when the exchange is over.

        The phase is what ``prepare`` said last: the RunEngine warns of arguments to ``trigger``.
        """
        status = DeviceStatus(self)
        request = {"phase": self._phase, **request}
        with self._lock:
            # The reader thread of the leader may ask at the same instant as the RunEngine's.
            if self._worker is None or not self._worker.is_alive():
                self._called_off.clear()
                self._worker = threading.Thread(
                    target=self._work, name=f"{self.name}-worker", daemon=True
                )
                self._worker.start()
            self._busy += 1
        self._requests.put((status, request))
        return status

    @property
    def notes(self) -> list[str]:
        """Return what must be told of the run although nothing failed, each once."""
        return list(self._notes)

    def _note(self, text: str) -> None:
        """Tell at once, and in the stop document."""
        told = f"{self.name}: {text}"
        if told not in self._notes:
            self._notes.append(told)
            _log.warning("%s", told)

    @property
    def failure(self) -> Exception | None:
        """Return the first failure of an exchange since it follows; ``None``: none failed.

        Its status carries it as well, but a plan at its end may be over before it hears of that.
        """
        return self._failure

    @property
    def busy(self) -> bool:
        """Return whether an exchange is queued or open."""
        return self._busy > 0

    def pending(self) -> int:
        """Return how many rows can be saved now."""
        leader = self._leader
        if leader is None or leader.finished:
            self._release(lambda row: True, math.nan)
        return len(self._ready)

    def waiting(self) -> int:
        """Return how many rows exist that are not saved yet, ready or not."""
        return len(self._ready) + len(self._open)

    def read(self) -> dict[str, Reading[Any]]:
        """Hand out the oldest ready row; raises RuntimeError if there is none."""
        with self._lock:
            if not self._ready:
                raise RuntimeError(f"{self.name}: no row is ready; ask pending() first")
            self._current = row = self._ready.popleft()
        return {
            f"{self.name}_{key}": {"value": value, "timestamp": row.stamp}
            for key, value in row.values.items()
        }

    def describe(self) -> dict[str, DataKey]:
        keys = {
            f"{self.name}_{key}": DataKey(
                source=f"driver:{self.name}",
                dtype="number",
                dtype_numpy="<f8",
                shape=[],
                units=unit or "",
            )
            for key, unit in {
                **self._placed,
                **(self._borrowed if self.shared else {}),
                **self._quantities(),
            }.items()
        }
        return keys | self._describe_assets()

    def get_index(self) -> int:
        """Return how many rows of the assets have been handed out."""
        return self._current.index + 1 if self._current is not None else 0

    def collect_asset_docs(self, index: int | None = None) -> Iterator[StreamAsset]:
        """Yield the documents that announce the assets of the row read last."""
        if self._current is not None:
            yield from self._asset_docs(self._current.index)

    def drop_unsaved(self) -> None:
        """Forget rows that nobody saved; what they point at stays in its file."""
        self._release(lambda row: True, math.nan)
        with self._lock:
            left = len(self._ready)
            self._ready.clear()
            self._current = None
        if left:
            _log.warning("%s: %d rows of the run before were never saved", self.name, left)

    def close_worker(self, timeout_s: float = 10.0) -> None:
        """End the worker thread after the exchange that is open; raises nothing."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self.call_off()
            self._requests.put(None)
            worker.join(timeout_s)

    # -- the worker's side

    def _work(self) -> None:
        while (item := self._requests.get()) is not None:
            status, request = item
            try:
                self._use(request)
            except Exception as error:
                named = self._named(error) if isinstance(error, InstrumentError) else error
                self._failure = self._failure or named
                status.set_exception(named)
            else:
                status.set_finished()
            finally:
                with self._lock:
                    self._busy -= 1

    def _named(self, error: InstrumentError) -> InstrumentError:
        """Say which device failed where only the wire did: several may hang on one board."""
        if self.name in str(error):
            return error
        named = type(error)(f"{self.name}: {error}")
        named.__cause__ = error
        return named

    def _use(self, request: dict[str, Any]) -> None:
        """Do one exchange, with an instrument that is shared when it is ours.

        That it cannot be had or was lost meanwhile ends no run: that use is missed, and told.
        """
        sharing = self._sharing
        if sharing is None:
            self._exchange(request)
            return
        leader = self._leader
        newest = leader.latest() if leader is not None else None
        asked_s = newest.t_s if newest is not None else math.nan
        try:
            lease = sharing.lender.borrow(
                sharing.name,
                timeout_s=sharing.timeout_s,
                longest_s=self._longest_use_s(),
                called_off=self._called_off.is_set,
            )
        except LeaseTimeoutError as error:
            self._missed(Loan(asked_s, error.waited_s, math.nan, "missed", str(error)))
            return
        outcome, reason = "used", ""
        self._lease = lease
        try:
            try:
                sharing.connect()
            except TransportError as error:
                outcome, reason = "missed", str(error)
            else:
                self._exchange(request)
        except LeaseLostError as error:
            outcome, reason = "fenced", str(error)
        except LeaseTimeoutError as error:
            outcome, reason = "missed", str(error)
        except Exception as error:
            outcome, reason = "failed", str(error)
            raise
        finally:
            waited_s = lease.waited_s
            try:
                sharing.release()
            finally:
                self._lease = None
                lease.give_back()
                loan = Loan(asked_s, waited_s, float(lease.number), outcome, reason)
                if outcome in ("missed", "fenced"):
                    self._missed(loan)
                else:
                    self._loans.append(loan)

    def _longest_use_s(self) -> float:
        """Return for how long a shared instrument is kept at most, s; beyond it, it hangs."""
        return LONGEST_S

    def _missed(self, loan: Loan) -> None:
        self._loans.append(loan)
        if sum(1 for note in self._notes if note.startswith(f"{self.name}: a use")) < _OUTAGES_TOLD:
            self._note(f"a use of it was {loan.outcome}, the run goes on: {loan.reason}")

    def _exchange(self, request: dict[str, Any]) -> None:
        phase = request.pop("phase")
        leader = self._leader
        newest = leader.latest() if leader is not None else None
        t_before = newest.t_s if newest is not None else math.nan
        host_before = time.time()
        values, index = self._reading(request)
        host_after = time.time()
        placed = {
            "t_before": t_before,
            "t_after": math.nan,
            "host_before": host_before,
            "host_after": host_after,
            "phase": float(phase),
        }
        if self.shared:
            lease = self._lease
            placed["waited"] = math.nan if lease is None else lease.waited_s
            placed["lease"] = math.nan if lease is None else float(lease.number)
        row = _Row(placed | values, index, time.monotonic(), host_after)
        with self._lock:
            self._open.append(row)

    def _reading(self, request: dict[str, Any]) -> tuple[dict[str, float], int]:
        """Return what ``_acquire`` returns; NaN for all of it where a failure is to be noted only.

        A reading that is missing is never filled in.
        """
        if not self.outlived:
            return self._acquire(**request)
        try:
            if self._lost:
                self._find_again()
            acquired = self._acquire(**request)
        except (SafetyLimitError, LeaseLostError, LeaseTimeoutError):
            raise  # a limit is not a reading that is missing
        except InstrumentError as error:
            if not self._lost:
                self._outages += 1
                if self._outages <= _OUTAGES_TOLD:
                    self._note(f"no reading, the run goes on without: {error}")
            self._lost = True
            return dict.fromkeys(self._quantities(), math.nan), 0
        self._lost = False
        return acquired

    def _find_again(self) -> None:
        """Connect once more after a failure; raises InstrumentError if it is not there."""

    def _on_leader_row(self, leader_row: LeaderRow) -> None:
        now = time.monotonic()
        self._release(lambda row: now >= row.ended + LATENCY_S, leader_row.t_s)

    def _release(self, over: Callable[[_Row], bool], t_after: float) -> None:
        with self._lock:
            while self._open and over(self._open[0]):
                row = self._open.popleft()
                row.values["t_after"] = t_after
                self._ready.append(row)
