"""A bench connected to a RunEngine, with everything that is kept and shown beside it."""

import asyncio
import atexit
import inspect
import logging
import os
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.run_engine import RunEngine
from bluesky.utils import FailedStatus, MsgGenerator, RunEngineInterrupted
from ophyd import Device

from instruments.bench import Bench
from instruments.bench_file import BenchFile, shared_as
from instruments.lending import Lender
from operando import configuration
from operando.configuration import check_limits, load_bench, load_cell, load_protocol, program_of
from operando.guard import Guard, GuardError, Lent, Taken, let_go_on, settle, take_back, wanted
from operando.journal import JournalWriter, ScanNumbers, check_writable, log_may_go
from operando.late import check_readers, collect_quietly, places_of
from operando.live import Aside, LiveTable
from operando.logbook import LogNote, write_note
from operando.run_failed import RunFailedError
from operando.session._as_plan import Conductor
from operando.session._end_state import EndStates, ToldBesides
from operando.session._engine import (
    LEADER,
    guarded,
    leaving_safe,
    run_engine,
    with_assets,
    with_calibrations,
    with_reason,
    without_pause,
)
from operando.session._outcome import LastRun
from operando.session._records import LazyCatalog, Records
from operando.session._requests import RequestBox
from operando.settings import data_dir as default_data_dir
from operando.settings import journal_patience_s
from techniques import Cell, Protocol, Schedule

if TYPE_CHECKING:
    from operando.analysis.live_verdicts import Verdicts
    from operando.checking import Report

logger = logging.getLogger(__name__)

ABORT_TIMEOUT_S = 60.0
# How long a session that is closed waits for what is being attached.
LATE_RESULTS_S = 60.0
ABORTED_BY_HAND = "aborted by the operator"


class Session(Records):
    """A bench, a RunEngine and the record of what they do.

    Building it opens no port. ``connect`` (or ``with``) connects every instrument and starts the
    catalog service in the background; ``close`` leaves every instrument safe, whatever happened.

    Args:
        bench: Name or path of a bench file, or its content.
        data_dir: The data folder; by default ``operando.settings.data_dir()``.
        out: Where the live table goes; ``None`` shows nothing.
        interactive: Whether somebody sits at a prompt: Ctrl-C then pauses a plan as bluesky does
            (twice: at once), and long waits show progress. Else Ctrl-C ends the run.
        catalog: Whether the catalog service is to run.
        lender: Who lends instruments that other stations use as well; ``None``: they are used as
            if they were this bench's own.

    Attributes:
        RE: The RunEngine; anything it runs is recorded.
        bench: The instruments.
        data_dir: The data folder.
        requests: Takes what is asked of the run that goes on, from any thread.
        guard_left: Process id of the guard that goes on trying what ``close`` could not make safe.
        taken_back: What guards of the bench had done before they let its instruments go.
    """

    def __init__(
        self,
        bench: str | Path | BenchFile,
        data_dir: Path | None = None,
        out: TextIO | None = None,
        *,
        interactive: bool = False,
        catalog: bool = True,
        lender: Lender | None = None,
    ) -> None:
        file = bench if isinstance(bench, BenchFile) else load_bench(bench)
        self._pid = os.getpid()
        self.data_dir = (data_dir or default_data_dir()).expanduser().resolve()
        self._lending = None if lender is None else Lent(lender, self._left_unsafe)
        self.bench = Bench(file, self._lending)
        if self._lending is not None:
            self._lending.names = [x for x in file.instruments if self.bench.comes_and_goes(x)]
        self._catalog_wanted = catalog
        self._interactive = interactive
        try:
            patience_s = journal_patience_s()
        except ValueError as error:
            raise configuration.ConfigurationError(str(error)) from None
        self._journal = JournalWriter(
            self.data_dir, patience_s=patience_s, on_alarm=self._show_alarm
        )
        self._scan_numbers = ScanNumbers(self.data_dir)
        self._last = LastRun()
        self.requests = RequestBox()
        self._out = out
        self._aside = Aside(LiveTable(out)) if out is not None else None
        # Called with each alarm, in the thread that raises it; must return at once.
        self.on_alarm: Callable[[str], object] | None = None
        self._service: threading.Thread | None = None
        self._late: threading.Thread | None = None
        self._guard: Guard | None = None
        self.guard_left: int | None = None
        self._lent: list[Taken] = []
        self.taken_back: list[Taken] = []
        for device in self.bench.devices.values():
            if hasattr(device, "on_alarm"):
                device.on_alarm = self._show_alarm
        self._connected = False
        self._loop = asyncio.new_event_loop()
        self._stop_signal: int | None = None
        self._why_aborted = ABORTED_BY_HAND
        self.RE = self._run_engine()
        # Of a thread that carries something out inside a call of the RunEngine: what executes it.
        self._within = threading.local()
        # However the interpreter ends, short of being killed, the cell is opened.
        self._at_exit = _close_at_exit(self)

    def _run_engine(self) -> RunEngine:
        besides = ToldBesides()
        engine = run_engine(
            self._loop,
            interactive=self._interactive,
            noted=self._note_signal,
            preprocessors=[
                *self._around_each_plan(),
                besides.listening,
                partial(with_reason, lambda: self._why_aborted),
                without_pause,
                partial(guarded, self.guard_state),
                partial(with_calibrations, self.bench.file),
            ],
            scan_id_source=self._next_scan_id,
        )
        # First: the journal keeps what it adds.
        engine.subscribe(EndStates(self.devices, LEADER, self._not_safe))
        engine.subscribe(besides)
        engine.subscribe(self._journal)
        engine.subscribe(self._last)
        engine.subscribe(self._tell_run, "start")
        engine.subscribe(self._tell_run, "stop")
        if self._aside is not None:
            engine.subscribe(self._aside)
        return engine

    def _around_each_plan(self) -> list[Callable[[MsgGenerator], MsgGenerator]]:
        """Return what is put around each plan, also where one call of the RunEngine has several."""
        return [
            partial(with_assets, self.devices, self.data_dir),
            partial(leaving_safe, self.bench),
        ]

    def _tell_run(self, name: str, doc: Mapping[str, Any]) -> None:
        """Tell which run is open those instruments whose results carry its name."""
        if self._guard is not None:
            if name == "start":
                kept = (doc.get("instrument_log") or {}).get("name") is not None
                self._guard.run_opened(str(doc["uid"]), finishes=kept)
            else:
                self._guard.run_ended()
        if name == "stop":
            if any(entry.kind == "external" for entry in self.bench.file.instruments.values()):
                self._look_for_late_results()
            return
        for device in self.bench.devices.values():
            if hasattr(device, "run_uid"):
                device.run_uid = str(doc["uid"])

    # -- connecting

    @property
    def devices(self) -> dict[str, Device]:
        """Return the devices by name."""
        return self.bench.devices

    @property
    def connected(self) -> bool:
        """Return whether the instruments are connected."""
        return self._connected

    def connect(self) -> None:
        """Connect every instrument, if runs can be recorded.

        Raises JournalError if the data folder cannot be written, ConfigurationError if a file of
        the bench is to be read by no reader that there is, before any port is opened, and
        BenchConnectionError telling every failure at once; GuardError if the process that makes the
        bench safe when this one dies cannot be started.

        The catalog service is started in the background; that it cannot start is a warning in the
        log, since the journal is the record.
        """
        if self._connected:
            return
        check_writable(self.data_dir)
        check_readers(self.bench.file)
        self.taken_back = self._lent = take_back(self.bench.file, self.data_dir)
        try:
            self._start_guard()
            self.bench.connect()
            self._connected = True
            # Whoever answered has its cell open, or its laser off; what else there is follows.
            failed = self.bench.settle({x for one in self.taken_back for x in one.unsafe})
            if failed:
                raise failed[0]
            self._lent = settle(self.taken_back, self.bench.marks())
            self._tell_strangers()
            if self._guard is not None:
                self._guard.wait()
            self.RE.md.update(self.bench.metadata())
            self._tell_cell_behind()
            leader = self.devices.get(LEADER)
            if leader is not None and hasattr(leader, "log_may_go"):
                leader.log_may_go = partial(log_may_go, self.data_dir)
        except BaseException:
            self.close()
            raise
        self._start_catalog()
        self._look_for_late_results()

    def _start_guard(self) -> None:
        if not wanted():
            held = [n for n, x in self.bench.file.instruments.items() if x.kind == "interlock"]
            if held:
                raise GuardError(
                    f"nobody holds the interlock {held[0]} closed without a guard: unset "
                    "OPERANDO_GUARD, or take the interlock out of the bench file"
                )
            logger.warning(
                "no guard: when this process dies, instruments go on as they were "
                "(OPERANDO_GUARD is off)"
            )
            return
        self._guard = Guard(
            self.bench.file,
            self.data_dir,
            self._loop,
            self._unguarded,
            self.bench.answered_for,
            self._lending,
        )
        self._guard.start()

    def _left_unsafe(self, shared: str) -> bool:
        """Return whether something of a shared instrument could not be left safe."""
        instruments = self.bench.file.instruments
        return any(shared_as(instruments[name]) == shared for name in self.bench.unsafe)

    def _not_safe(self) -> set[str]:
        return {*self.bench.unsafe, *self.bench.strangers()}

    def _tell_strangers(self) -> None:
        """Tell where another instrument answers than one that a guard could not make safe.

        Raises GuardError where that is a potentiostat and an interlock would connect it to a cell.
        """
        found = [x for one in self._lent for x in one.strangers(self.bench.marks()).items()]
        for name, text in found:
            logger.error("%s", text)
            self._show_alarm(text)
            kinds = {entry.kind for entry in self.bench.file.instruments.values()}
            if self.bench.file.instruments[name].kind == "potentiostat" and "interlock" in kinds:
                raise GuardError(
                    f"the interlock is not closed, it may connect the cell to a potentiostat that "
                    f"nobody has seen to: {text}. Plug that one in again and connect anew; or take "
                    "it off the cell, and end that guard (kill -9)"
                )

    def _unguarded(self, why: str) -> None:
        """End what runs: nobody would make the bench safe if this process died."""
        logger.error("%s", why)
        self._show_alarm(why)
        if self.RE.state in ("running", "paused"):
            self._abort(why)

    def regain_guard(self) -> None:
        """Start another guard in place of one that has ended; it closes an interlock again.

        Only while nothing runs, every instrument is safe and answers. Raises GuardError.
        """
        guard = self._guard
        if guard is None or not guard.state()["ended"]:
            return
        if self._plan_state != "idle":
            raise GuardError(f"a plan is {self._plan_state}: no guard is started beside it")
        strangers = self.bench.strangers()
        if strangers:
            raise GuardError(
                "no guard is started, which would close the interlock: "
                + "; ".join(f"{name}: {error}" for name, error in strangers.items())
            )
        guard.close()
        self._guard = None
        self._start_guard()
        if self._guard is not None:
            self._guard.wait()

    def guard_state(self) -> dict[str, Any] | None:
        """Return ``pid``, ``ready``, and why it ``ended``, of the guard; ``None``: no guard."""
        return None if self._guard is None else self._guard.state()

    def _look_for_late_results(self) -> None:
        """Attach what arrived since the last session, beside whatever is done here."""
        if not places_of(self.bench.file):
            return
        before = self._late

        def look() -> None:
            if before is not None:
                before.join()  # one after the other
            collect_quietly(self.data_dir, self.bench.file)

        self._late = threading.Thread(target=look, name="late-results", daemon=True)
        self._late.start()

    def _tell_cell_behind(self) -> None:
        """Let every run say that its cell is recorded or simulated, which no driver can know."""
        from operando.history import replayed_cell, simulated_cell

        for key in ("replay_of", "provenance", "simulated_cell"):
            self.RE.md.pop(key, None)
        leader = self.bench.file.instruments.get(LEADER)
        address = str(getattr(leader, "address", ""))
        simulated = simulated_cell(address)
        if simulated is not None:
            self.RE.md["simulated_cell"] = simulated
        found = replayed_cell(address)
        if found is not None:
            self.RE.md["provenance"] = {"kind": "replayed_cell", "of": found["of"]}
            if found["uid"]:
                self.RE.md["replay_of"] = found["uid"]

    def close(self) -> None:
        """Leave every instrument safe, release it, and end what runs beside; callable twice.

        In a child that was forked it does nothing: the instruments are the parent's.
        """
        if os.getpid() != self._pid:
            return
        atexit.unregister(self._at_exit)
        if self.RE.state not in ("idle", "panicked"):
            try:
                self._abort("the session was closed")
                _wait_until(lambda: self.RE.state == "idle", ABORT_TIMEOUT_S)
            except Exception:
                # Whatever the plan's own end made of it, the instruments are made safe below.
                logger.exception("the plan that was still running did not end properly")
        try:
            self.bench.close()
        finally:
            self._connected = False
            guard, self._guard = self._guard, None
            if guard is not None:
                # What could not be made safe it goes on trying, also when we are gone.
                self.guard_left = guard.pid if self.bench.unsafe else None
                guard.close(self.bench.unsafe)
            # So is what a guard had not made safe yet, and was not reached here either.
            lent, self._lent = self._lent, []
            for pid in let_go_on(lent):
                self.guard_left = pid
            try:
                # What waits for room on a full disk waits on; every instrument is safe by now.
                self._journal.close()
            finally:
                if self._aside is not None:
                    self._aside.close()
                if self._late is not None:
                    self._late.join(timeout=LATE_RESULTS_S)
                    if self._late.is_alive():
                        logger.warning(
                            "late results are still being attached; what is left at the end of "
                            "this program `operando collect` attaches"
                        )
                    self._late = None
                if self._service is not None:
                    self._service.join(timeout=1.0)
                    self._service = None
                self._end_loop()

    def _end_loop(self) -> None:
        """End the event loop's thread, which the RunEngine itself never does."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            if _wait_until(lambda: not self._loop.is_running(), 5.0):
                self._loop.close()

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start_catalog(self) -> None:
        if not self._catalog_wanted:
            return

        def start() -> None:
            from operando.catalog import CatalogError, ensure_service

            try:
                ensure_service(self.data_dir)
            except (CatalogError, OSError, subprocess.SubprocessError) as error:
                logger.warning(
                    "the catalog service did not start (%s); runs are recorded in the journal "
                    "all the same and enter the catalog when it next starts",
                    error,
                )

        self._service = threading.Thread(target=start, name="catalog-start", daemon=True)
        self._service.start()

    # -- running

    def run_protocol(
        self,
        protocol: Protocol | str | Path,
        cell: Cell | str | Path | None = None,
        every: Schedule | None = None,
        md: Mapping[str, Any] | None = None,
    ) -> str:
        """Run a protocol with every follower of the bench that its schedule names; return the uid.

        Args:
            protocol: A protocol, or the name or path of one.
            cell: The cell it runs on; by default the one the protocol names.
            every: When the followers act; by default as the protocol says.
            md: More metadata for the start document.

        Blocks until the experiment has ended: also while its failure policy waits, or asks.

        Raises:
            RunFailedError: The run began and did not end as planned.
            ConfigurationError: A file is wrong, or the limits leave nothing.
            InstrumentError: Refused before the run began.
            JournalError: The run could not be recorded.
        """
        from plans import followers_among, operando_plating_stripping

        folder = None
        if not isinstance(protocol, Protocol):
            folder = configuration.protocol_path(protocol).parent
            protocol = load_protocol(protocol)
        if not isinstance(cell, Cell):
            cell = load_cell(protocol.cell if cell is None else cell, beside=folder)
        check_limits(self.bench.file, cell, protocol)
        program_of(protocol, cell)
        leader = self.devices.get(LEADER)
        if leader is None:
            raise configuration.ConfigurationError(
                f"bench {self.bench.file.name!r} has no {LEADER}; it has "
                f"{', '.join(self.devices) or 'no instruments'}"
            )
        plan = operando_plating_stripping(
            leader,
            protocol=protocol,
            cell=cell,
            every=every,
            verdicts=self.verdicts,
            requests=self.requests,
            md=md,
            **followers_among(self.devices),
        )
        return self.carry_out(lambda: self.run(plan))

    def carry_out(self, begin: Callable[[], str]) -> str:
        """Run what ``begin`` runs, and do what its failure policy says where it fails.

        Returns the uid of the last run of the experiment; raises as ``run_protocol``.
        """
        try:
            return begin()
        except RunFailedError as error:
            from operando.recovery import Recovery

            return Recovery(self, self._tell).after(error)

    def note(
        self,
        text: str,
        *,
        cell: Cell | str | None = None,
        run: str | None = None,
        by: str | None = None,
    ) -> LogNote:
        """Write a note into the log book of the data folder, and return it.

        Args:
            text: What is noted.
            cell: The cell that it is of, or its label.
            run: The run that it is of, by its whole uid; without run and cell the one that goes on
                in this session, or was the last one.
            by: Who notes it; by default the user of this computer.

        Raises NoteError if it cannot be written.
        """
        if run is None and cell is None:
            run = self._last.uid or None
        cell_id = cell.cell_id if isinstance(cell, Cell) else cell
        return write_note(self.data_dir, text, by, None, cell_id, run)

    def _tell(self, text: str) -> None:
        if self._out is None:
            logger.warning("%s", text)
        else:
            self._out.write(f"{text}\n")
            self._out.flush()

    def check(self, protocol: Protocol | None = None, cell: Cell | None = None) -> "Report":
        """Look whether the bench is fit for a run; as `operando.checking.check_connected`.

        Blocks for some seconds. Raises RuntimeError while a plan runs.
        """
        from operando.checking import check_connected

        if self._plan_state != "idle":
            raise RuntimeError(f"a plan is {self._plan_state}: the bench is checked between plans")
        return check_connected(
            self.bench,
            data_dir=self.data_dir,
            protocol=protocol,
            cell=cell,
            guard=self.guard_state(),
        )

    def verdicts(self, start: Mapping[str, Any]) -> "Verdicts":
        """Return what judges a run's stream for its rules: the analysis itself.

        ``start`` is what the plan will tell in the start document; what the session adds is added.
        """
        from operando.analysis.live_verdicts import Verdicts

        return Verdicts({**self.RE.md, **start})

    def as_plan(self, begin: Callable[[], Any]) -> MsgGenerator:
        """Carry out ``begin`` as one plan, which executes what it runs; return its result.

        For who calls the RunEngine once for a whole experiment, as a queue server does. ``begin``
        is called in a thread of its own: what it runs, its failure policies and waits included, is
        as it is without this, document for document. No pause is possible; an abort ends the run,
        and whatever ``begin`` waits for meanwhile.

        Raises in the plan what ``begin`` raised.
        """
        conductor = Conductor(self.RE, begin, self._wrapped)

        def start(carry_out: Callable[[], None]) -> None:
            def conducted() -> None:
                self._within.conductor = conductor
                carry_out()

            threading.Thread(target=conducted, name="carries-out", daemon=True).start()

        return conductor.plan(start)

    def _wrapped(self, plan: MsgGenerator) -> MsgGenerator:
        for around in self._around_each_plan():
            plan = around(plan)
        return plan

    @property
    def _conductor(self) -> Conductor | None:
        """Return what executes the plans of this thread; ``None``: the RunEngine, when called."""
        return getattr(self._within, "conductor", None)

    @property
    def _plan_state(self) -> str:
        # Who carries something out inside a plan is between two plans whenever it asks.
        return "idle" if self._conductor is not None else str(self.RE.state)

    def wait(self, seconds: float) -> None:
        """Wait; raises KeyboardInterrupt if somebody ends meanwhile what is carried out."""
        if self._conductor is not None:
            self._conductor.wait(seconds)
        else:
            threading.Event().wait(seconds)

    def abort(self, why: str) -> None:
        """End what the RunEngine executes, cell open, for a reason that the stop document tells.

        Returns when it has been told; from any thread but that of the RunEngine's loop.
        """
        if self.RE.state in ("running", "paused"):
            self._abort(why)

    def run(self, plan: MsgGenerator) -> str:
        """Run a plan that makes one run and return its uid; raises as ``run_protocol``."""
        conductor = self._conductor
        self._last.clear()
        if conductor is None or not conductor.interrupted:
            self._stop_signal = None
            self._why_aborted = ABORTED_BY_HAND
        self._tell_cell_behind()  # it may have been changed since the last run
        try:
            if conductor is None:
                self.RE(plan)
            else:
                conductor.run(plan)
        except RunEngineInterrupted as error:
            if self.RE.state == "paused":
                self._abort("paused, and nobody there to resume it")
            raise self._failure() or error from None
        except FailedStatus as error:
            cause = error.__cause__ or error
            raise self._failure(cause) or cause from cause
        except Exception as error:
            failure = self._failure(error)
            if failure is None:
                raise
            raise failure from error
        finally:
            if self._aside is not None:
                self._aside.flush()
        failure = self._failure()
        if failure is not None:
            raise failure
        return self._last.uid

    @property
    def last_run(self) -> LastRun:
        """Return which run was begun last, and how it ended."""
        return self._last

    @property
    def why_aborted(self) -> str:
        """Return the reason of the last abort, as stop documents tell it."""
        return self._why_aborted

    @property
    def handling(self) -> str:
        """Return how to handle the cell as the last run left it; empty if that is not known."""
        return self._last.handling

    @property
    def stop_signal(self) -> int | None:
        """Return the signal that ended the last run, if one did."""
        return self._stop_signal

    def _note_signal(self, number: int) -> str:
        self._stop_signal = number
        if self._interactive and number == signal.SIGINT:
            return self._why_aborted
        self._why_aborted = f"stopped by {signal.Signals(number).name}"
        return self._why_aborted

    def _abort(self, why: str) -> None:
        self._why_aborted = why
        self.RE.abort(why)

    def _failure(self, error: BaseException | None = None) -> RunFailedError | None:
        """Return what to tell of a run that began and did not end as planned.

        ``error`` is the reason where the stop document could not tell one: the disk was full.
        """
        last = self._last
        if not last.uid or last.exit_status == "success":
            return None
        return RunFailedError(
            last.uid,
            last.exit_status or "fail",
            last.reason or (str(error) if error is not None else ""),
            self.data_dir / "journal",
            ". ".join(filter(None, (self._left_safe(), last.handling))),
        )

    def _left_safe(self) -> str:
        """Make every instrument safe once more and say how they are left; ask, do not believe."""
        unsafe: dict[str, str] = {}
        for name, device in self.devices.items():
            try:
                device.safe_state()
            except Exception as error:
                # Any: the next one may be the one at the cell.
                unsafe[name] = f"{name} ({str(error) or repr(error)})"
        # Also what was given back to other stations and did not confirm it.
        for text in self.bench.left_unsafe:
            unsafe.setdefault(text.partition(":")[0], text)
        for name, doubt in self.bench.doubts().items():
            unsafe.setdefault(name, f"{name} ({doubt})")
        if unsafe:
            if self._guard is not None:
                self._guard.trip(unsafe)
            return (
                f"NOT known to be safe: {'; '.join(unsafe.values())}: disconnect the cell and "
                "switch the light off by hand"
            )
        return "The cell is open" if LEADER in self.devices else ""

    def _show_alarm(self, text: str) -> None:
        if self._aside is not None:
            self._aside("alarm", {"text": text})
        if self.on_alarm is not None:
            try:
                self.on_alarm(text)
            except Exception:
                # Any: who is told must not end what runs.
                logger.exception("nobody was told of the alarm: %s", text)

    def _next_scan_id(self, md: dict[str, Any]) -> int:
        """Return how many runs the data folder will have with the next one."""
        return self._scan_numbers.next()

    def namespace(self) -> dict[str, Any]:
        """Return what an IPython prompt or notebook gets to work with.

        RE, the devices and plans by name, ``bps``, ``bp`` and ``bpp``, ``cat`` (the catalog,
        opened when first used), ``protocol(name)``, ``cell(name)``, ``run_protocol``,
        ``runs(sample=..., where=...)``, ``report(uid)``, ``export(uid, to=...)``, ``note(text)``
        and the session itself. Plans whose rules need a judge have the session's: what is typed
        there ends a shorted cell as ``run_protocol`` does.
        """
        import bluesky.plans as bp

        import plans
        import techniques

        names: dict[str, Any] = {name: getattr(techniques, name) for name in techniques.__all__}
        names |= {name: self._judged(getattr(plans, name)) for name in plans.__all__}
        names |= {
            "RE": self.RE,
            "session": self,
            "bps": bps,
            "bp": bp,
            "bpp": bpp,
            "cat": LazyCatalog(self.data_dir),
            "protocol": load_protocol,
            "cell": load_cell,
            "run_protocol": self.run_protocol,
            "runs": self.runs,
            "report": self.report,
            "export": self.export,
            "note": self.note,
        }
        # Devices last: a device called like a technique is what the bench file asked for.
        return names | self.devices

    def _judged(self, plan: Callable[..., Any]) -> Callable[..., Any]:
        """Return a plan that has the session judge its stream, unless it is told otherwise.

        It also hears of what is asked of it.
        """
        ours = {"verdicts": self.verdicts, "requests": self.requests}
        given = {name: one for name, one in ours.items() if name in _parameters(plan)}
        if not given:
            return plan
        judged = partial(plan, **given)
        # Help and completion of a prompt show the plan's own.
        return update_wrapper(judged, plan)


def _parameters(plan: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(plan).parameters


def _close_at_exit(session: Session) -> Callable[[], None]:
    """Register and return what closes ``session`` at exit without keeping it alive."""
    reference = weakref.ref(session)

    def close() -> None:
        living = reference()
        if living is not None:
            living.close()

    atexit.register(close)
    return close


def _wait_until(reached: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
