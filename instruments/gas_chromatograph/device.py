"""The gas chromatograph in a plan: injections follow the leader, results come when they come."""

import logging
import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bluesky.protocols import Reading, StreamAsset
from event_model import DataKey

from instruments._assets import AssetStream
from instruments._follower import Follower
from instruments._ophyd import InstrumentDevice
from instruments._swmr import SwmrFile
from instruments.errors import InstrumentError
from instruments.gas_chromatograph.contract import Chromatogram, GasChromatograph, Results
from instruments.gas_chromatograph.results import Joiner
from instruments.lending import LeaseTimeoutError
from techniques.injections import injection_label, labelled_injection

_log = logging.getLogger(__name__)

TRACE_DATASET = "/entry/trace"
_LOOK_EVERY_S = 0.1
# A result may be found before the start that made it has been confirmed.
_CLAIM_WITHIN_S = 10.0
# A shared one is asked so often whether the run of another station is over.
_READY_EVERY_S = 0.2
# After its run a result is written and copied; then it is no longer waited for.
_GRACE_S = 60.0


@dataclass
class _ResultRow:
    injection: int
    index: int
    sample_interval_s: float
    arrived: float
    trace: tuple[float, ...] = ()


class ResultDevice(InstrumentDevice):
    """The results of a gas chromatograph: one row for each file that was joined to an injection.

    ``pending`` rows can be read now; ``expected`` says whether more will come.
    """

    def __init__(
        self,
        results: Results,
        *,
        name: str,
        run_time_s: float,
        values_per_second: float,
        clock_offset_s: float | None = None,
    ) -> None:
        super().__init__(name=name)
        self.assets_dir: Path | None = None
        # The run that is open, by whose name results are known where they can carry one.
        self.run_uid = ""
        self._results = results
        self._run_time_s = run_time_s
        # One trace has one more value where both of its ends are sampled.
        self._length = round(run_time_s * values_per_second)
        self._lock = threading.Lock()
        self._clock_offset_s = clock_offset_s
        self._joiner = Joiner(offset_s=clock_offset_s)
        self._due: dict[int, float] = {}
        self._rows: deque[_ResultRow] = deque()
        self._current: _ResultRow | None = None
        self._failure: InstrumentError | None = None
        self._file: SwmrFile | None = None
        self._assets: AssetStream | None = None
        self._watching = threading.Event()
        self._watcher: threading.Thread | None = None

    # -- what the plan asks

    def begin(self) -> None:
        """Make the file for the traces and watch for results from now on.

        Raises RuntimeError if ``assets_dir`` is not set, TransportError if the folder of results is
        not there.
        """
        if self.assets_dir is None:
            raise RuntimeError(f"{self.name}: set assets_dir before staging")
        self._results.begin()
        path = Path(self.assets_dir).resolve() / f"{self.name}-{uuid.uuid4().hex[:8]}.h5"
        self._file = SwmrFile(path, {TRACE_DATASET: ((self._length,), "<f8")})
        self._assets = AssetStream(path, {f"{self.name}_trace": (TRACE_DATASET, (self._length,))})
        with self._lock:
            self._joiner = Joiner(offset_s=self._clock_offset_s)
            self._due.clear()
            self._rows.clear()
            self._current = None
            self._failure = None
        self._watching.set()
        self._watcher = threading.Thread(
            target=self._watch, name=f"{self.name}-watcher", daemon=True
        )
        self._watcher.start()

    def end(self) -> None:
        """Stop watching and close the file; idempotent."""
        self.close_worker()
        self._results.end()
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            # It came when nobody asked for results any more.
            _log.error("%s", failure)
        if self._file is not None:
            self._file.close()
            self._file = None

    def close_worker(self, timeout_s: float = 10.0) -> None:
        """End the watching thread."""
        self._watching.clear()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.join(timeout_s)

    def injected(self, number: int, started: float, *, confirmed: bool) -> None:
        """Expect the result of injection ``number``; an unconfirmed one is not waited for."""
        with self._lock:
            self._joiner.injected(number, started)
            if confirmed:
                self._due[number] = started + self._run_time_s + _GRACE_S

    def pending(self) -> int:
        """Return how many results can be read now; raises, once, what kept one from its file."""
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return len(self._rows)

    @property
    def trace(self) -> tuple[float, ...]:
        """Return the trace of the result that was read last, which lies in a file; NaN fills it."""
        return () if self._current is None else self._current.trace

    @property
    def missing(self) -> list[int]:
        """Return the injections whose result has not come, in their order."""
        with self._lock:
            return sorted(self._due)

    def expected(self) -> bool:
        """Return whether a result is still on its way, or not read yet."""
        now = time.time()
        with self._lock:
            return bool(self._rows) or any(due > now for due in self._due.values())

    def read(self) -> dict[str, Reading[Any]]:
        """Hand out the oldest result; raises RuntimeError if there is none."""
        with self._lock:
            if not self._rows:
                raise RuntimeError(f"{self.name}: no result is there; ask pending() first")
            self._current = row = self._rows.popleft()
        values = {
            "injection": float(row.injection),
            "sample_interval": row.sample_interval_s,
            "arrived": row.arrived,
        }
        return {
            f"{self.name}_{key}": {"value": value, "timestamp": row.arrived}
            for key, value in values.items()
        }

    def describe(self) -> dict[str, DataKey]:
        units = {"injection": "", "sample_interval": "s", "arrived": "s"}
        keys = {
            f"{self.name}_{key}": DataKey(
                source=f"driver:{self.name}",
                dtype="number",
                dtype_numpy="<f8",
                shape=[],
                units=unit,
            )
            for key, unit in units.items()
        }
        keys[f"{self.name}_trace"] = DataKey(
            source=f"driver:{self.name}",
            dtype="array",
            dtype_numpy="<f8",
            shape=[self._length],
            external="STREAM:",
            units="",
        )
        return keys

    def get_index(self) -> int:
        """Return how many rows of the traces have been handed out."""
        return self._current.index + 1 if self._current is not None else 0

    def collect_asset_docs(self, index: int | None = None) -> Iterator[StreamAsset]:
        """Yield the documents that announce the trace of the row read last."""
        if self._current is not None and self._assets is not None:
            yield from self._assets.documents(self._current.index, self._current.index + 1)

    # -- the watcher

    def _watch(self) -> None:
        complained = False
        unclaimed: list[tuple[float, Chromatogram]] = []
        while self._watching.is_set():
            try:
                deadline = time.monotonic() + _CLAIM_WITHIN_S
                unclaimed += [(deadline, result) for result in self._results.new()]
                complained = False
            except InstrumentError as error:
                # The folder may be on a network drive: it comes back.
                if not complained:
                    _log.warning("%s: %s", self.name, error)
                complained = True
            except Exception:
                # Whatever it is, results that come later are wanted.
                if not complained:
                    _log.exception("%s: results could not be looked for", self.name)
                complained = True
            unclaimed = [item for item in unclaimed if not self._settled(*item)]
            time.sleep(_LOOK_EVERY_S)

    def _settled(self, deadline: float, result: Chromatogram) -> bool:
        """Take a result, as `_take`; one with which something odd goes wrong is done with."""
        try:
            return self._take(deadline, result)
        except Exception:
            _log.exception("%s: %s is left out (operando collect)", self.name, result.path)
            return True

    def _take(self, deadline: float, result: Chromatogram) -> bool:
        """Make a row of ``result``; return whether it is done with."""
        named = labelled_injection(result.label)
        if named is not None and named[0] != self.run_uid:
            _log.info("%s: %s is of run %s", self.name, result.path, named[0])
            return True
        if named is None and self.run_uid and self._results.names_runs:
            # Ours carry our name: this was started at the panel, by whoever it was.
            _log.warning(
                "%s: %s carries no name of ours: a run of somebody else, which is left out",
                self.name,
                result.path,
            )
            return True
        with self._lock:
            number = self._joiner.join(result) if named is None else self._joiner.named(named[1])
        if number is None:
            if time.monotonic() < deadline:
                return False
            _log.warning("%s: %s belongs to no injection of this run", self.name, result.path)
            return True
        trace = list(result.trace)
        if len(trace) > self._length:
            _log.warning(
                "%s: %s has %d values, the bench file's run_time_s gives room for %d: the trace is "
                "left out, the file keeps it",
                self.name,
                result.path,
                len(trace),
                self._length,
            )
            trace = []
        trace += [math.nan] * (self._length - len(trace))
        assert self._file is not None  # told to the type checker; the watcher lives between
        try:
            index = self._file.append({TRACE_DATASET: trace})
        except (OSError, InstrumentError) as error:
            with self._lock:
                self._due.pop(number, None)
                self._failure = InstrumentError(
                    f"{self.name}: the result of injection {number} could not be recorded in "
                    f"{self._file.path}: {error}. The data system's file {result.path} keeps it"
                )
            return True
        row = _ResultRow(number, index, result.sample_interval_s, time.time(), tuple(trace))
        with self._lock:
            self._rows.append(row)
            self._due.pop(number, None)
        return True


class GasChromatographDevice(Follower):
    """A gas chromatograph that follows the leader: ``trigger`` asks for an injection.

    An injection that is due while the instrument is not ready is *missed*: recorded, not made. The
    results are rows of the child ``result``, to be declared and saved as a stream of its own.

    Args:
        driver: starts runs.
        results: where the data system puts its files.
        name: prefix of the event keys.
        run_time_s: length of one chromatogram, s.
        values_per_second: rate of the detector's trace, 1/s.
        clock_offset_s: how far the data system's clock is ahead, s; None: it was not declared.
    """

    _columns: ClassVar[Mapping[str, str | None]] = {
        "injection": None,
        "ready": None,
        "confirmed": None,
        "missed": None,
    }

    def __init__(
        self,
        driver: GasChromatograph,
        results: Results,
        *,
        name: str = "gas_chromatograph",
        run_time_s: float = 160.0,
        values_per_second: float = 50.0,
        clock_offset_s: float | None = None,
    ) -> None:
        super().__init__(name=name)
        self.result = ResultDevice(
            results,
            name=f"{name}_result",
            run_time_s=run_time_s,
            values_per_second=values_per_second,
            clock_offset_s=clock_offset_s,
        )
        self._driver = driver
        self._asked = 0

    @property
    def assets_dir(self) -> Path | None:
        """The folder for the file of traces; set it before staging."""
        return self.result.assets_dir

    @assets_dir.setter
    def assets_dir(self, folder: Path | None) -> None:
        self.result.assets_dir = folder

    @property
    def run_uid(self) -> str:
        """The run that is open; injections are called by it, where the instrument keeps names."""
        return self.result.run_uid

    @run_uid.setter
    def run_uid(self, uid: str) -> None:
        self.result.run_uid = uid

    def stage(self) -> list[object]:
        """Number injections from 1 and watch for results; raises what ``result.begin`` raises."""
        staged: list[object] = super().stage()
        try:
            self.result.begin()
        except BaseException:
            super().unstage()
            raise
        self._asked = 0
        return staged

    def unstage(self) -> list[object]:
        """End the exchange that is open, and stop watching."""
        self.close_worker()
        self.result.end()
        unstaged: list[object] = super().unstage()
        return unstaged

    @property
    def notes(self) -> list[str]:
        """Return what must be told of the run, results that have not come included."""
        told = super().notes
        if missing := self.result.missing:
            numbers = ", ".join(map(str, missing))
            told.append(
                f"{self.name}: no result of injection {numbers} has come that could be read; what "
                "comes later `operando collect` attaches"
            )
        return told

    def safe_state(self) -> None:
        """Leave the start contact open."""
        self.call_off()
        self._driver.safe_state()

    def close_worker(self, timeout_s: float = 10.0) -> None:
        """End the worker after the exchange that is open, and the watching thread."""
        super().close_worker(timeout_s)
        self.result.close_worker(timeout_s)

    def _exchange(self, request: dict[str, Any]) -> None:
        """Inject; where it is shared, when the run that another station began is over."""
        if self.shared:
            self._await_ready()
        super()._exchange(request)

    def _longest_use_s(self) -> float:
        # It is waited for while it is had, too.
        waits_s = 0.0 if self._sharing is None else self._sharing.timeout_s
        return super()._longest_use_s() + waits_s

    def _await_ready(self) -> None:
        sharing, lease = self._sharing, self._lease
        if sharing is None or lease is None:
            return
        began = time.monotonic()
        while not self._driver.ready():
            waited_s = lease.waited_s + time.monotonic() - began
            if waited_s >= sharing.timeout_s or self._called_off.wait(_READY_EVERY_S):
                raise LeaseTimeoutError(
                    f"{self.name}: it was had after {lease.waited_s:.1f} s, and was not ready "
                    f"{waited_s:.1f} s after it was asked for: the run of another station goes on; "
                    "inject more seldom, or give it a longer lease_timeout_s",
                    waited_s,
                )

    def _acquire(self, **request: Any) -> tuple[dict[str, float], int]:
        self._asked += 1
        label = injection_label(self.run_uid, self._asked) if self.run_uid else ""
        injection = self._driver.inject(label)
        self._require_lease()
        if injection.ready:
            self.result.injected(self._asked, injection.host_before, confirmed=injection.confirmed)
            if not injection.confirmed:
                _log.warning(
                    "%s: injection %d was started, and nothing confirms it (Ready did not go low, "
                    "or no answer came): check wires and network",
                    self.name,
                    self._asked,
                )
        return {
            "injection": float(self._asked),
            "ready": float(injection.ready),
            "confirmed": float(injection.confirmed),
            "missed": float(not injection.ready),
            "host_before": injection.host_before,
            "host_after": injection.host_after,
        }, 0
