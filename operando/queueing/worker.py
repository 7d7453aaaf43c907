"""The worker of a station: the process of a queue server that has the bench, and drives it.

It executes three plans, each only with the ticket that the supervisor of its station has issued for
that execution: `run_protocol`, `resume_protocol` and `look_at_cell`. While it lives it beats; what
people ask of the item that runs it takes from Redis, and does without as long as Redis is gone.
"""

import contextlib
import logging
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bluesky.utils import MsgGenerator, RunEngineInterrupted

from operando.queueing._occupants import noted, refuse_another
from operando.queueing._refusals import AskedError, of_what_was_asked
from operando.queueing.commands import CommandTaker
from operando.queueing.errors import QueueError
from operando.queueing.places import private, station_dir
from operando.queueing.tickets import (
    BEAT,
    LOG,
    AttemptReport,
    Ticket,
    What,
    WorkerNote,
    redeem,
    write_report,
    write_worker,
)

if TYPE_CHECKING:
    import redis

    from instruments.potentiostat.device import PotentiostatDevice
    from operando.queueing.look import Look
    from operando.session import Session
    from techniques import Cell

logger = logging.getLogger(__name__)

STATION, DATA, CATALOG = "OPERANDO_STATION", "OPERANDO_DATA", "OPERANDO_STATION_CATALOG"
BEAT_EVERY_S = 0.5
_NOTHING: dict[str, Any] = {}
_LOG_BYTES, _LOGS = 1_000_000, 3
_REPORT_LENGTH = 4000


class StationWorker:
    """One station in this process.

    Args:
        name: The station.
        data_dir: The data folder.
        session: Connected.
        commands: Hands on what people ask of the item that runs; ``None``: nothing does.
    """

    def __init__(
        self,
        name: str,
        data_dir: Path,
        session: "Session",
        commands: CommandTaker | None = None,
    ) -> None:
        self.name = name
        self.session = session
        self._data_dir = data_dir
        self._folder = station_dir(data_dir, name)
        self._commands = commands
        self._note: Path | None = None
        self._closed = threading.Event()
        self._pid = os.getpid()

    # -- plans

    def plans(self) -> dict[str, Any]:
        """Return the plans that the queue server is to find, by name."""

        # The queue server reads these signatures; those of the queue's files are the same.
        def run_protocol(
            protocol: dict,
            sample: dict,
            at: str = "",
            after: str = "",
            priority: int = 0,
            hold: bool = False,
            on_death: str = "",
            label: str = "",
            campaign: str = "",
            ticket: str = "",
        ) -> MsgGenerator:
            """Run a protocol on a mounted cell."""
            return (
                yield from self._executed(
                    "run_protocol", ticket, lambda told: self._run(protocol, sample)
                )
            )

        def resume_protocol(run: str, ticket: str, decisions: dict = _NOTHING) -> MsgGenerator:
            """Go on with a run that was interrupted."""
            return (
                yield from self._executed(
                    "resume_protocol", ticket, lambda told: self._resume(run, decisions)
                )
            )

        def look_at_cell(sample: dict, ticket: str) -> MsgGenerator:
            """Measure open circuit and series resistance of a cell."""
            return (
                yield from self._executed(
                    "look_at_cell", ticket, lambda told: self._look(sample, told.item)
                )
            )

        return {
            "run_protocol": run_protocol,
            "resume_protocol": resume_protocol,
            "look_at_cell": look_at_cell,
        }

    def _executed(self, what: What, token: str, do: Callable[[Ticket], str]) -> MsgGenerator:
        """Execute ``do`` with a ticket, and report; return the uid of the last run."""

        def begin() -> str:
            ticket = redeem(self._data_dir, self.name, what, token)
            return self._attempt(ticket, do)

        return (yield from self.session.as_plan(begin))

    def _attempt(self, ticket: Ticket, do: Callable[[Ticket], str]) -> str:
        from operando.run_failed import RunFailedError

        session = self.session
        session.last_run.clear()
        session.RE.md["queue"] = {
            "item": ticket.item,
            "station": self.name,
            "label": ticket.label,
            "campaign": ticket.campaign,
            "attempt": ticket.attempt,
            "mounted_at": ticket.mounted_at,
        }
        if self._commands is not None:
            self._commands.begin(ticket.item)
        error: BaseException | None = None
        broken = ""
        try:
            broken = self._reconnected()
            if broken:
                raise QueueError(f"station {self.name}: {broken}; nothing was begun")
            were = self.note_potentiostat()
            if were:  # the look before a cell is gone on with modulates it as well
                refuse_another(were, ticket.mounted_at, self.name, ticket.potentiostat)
            return do(ticket)
        except BaseException as caught:
            error = caught
            known = isinstance(caught, (RunFailedError, QueueError, RunEngineInterrupted))
            logger.warning("item %s: %s", ticket.item, caught, exc_info=not known)
            raise
        finally:
            if self._commands is not None:
                self._commands.end()
            session.RE.md.pop("queue", None)
            report = self._reported(ticket, error, broken=bool(broken))
            # The next may come as soon as it is there: not before the RunEngine has ended this.
            threading.Thread(
                target=self._report, args=(report,), name="reports", daemon=False
            ).start()

    def _reported(
        self, ticket: Ticket, error: BaseException | None, *, broken: bool
    ) -> AttemptReport:
        last = self.session.last_run
        if last.uid:
            # A run whose end could not be written is closed as a failure when it is read.
            exit_status, reason = last.exit_status or "fail", last.reason
        elif isinstance(error, Exception) and not isinstance(error, RunEngineInterrupted):
            exit_status, reason = "refused", str(error) or type(error).__name__
        else:
            # Who ends an item by hand wants nothing else on the cell, also before it has a run.
            by_hand = self.session.stop_signal is None
            exit_status = "abort" if by_hand else "refused"
            reason = self.session.why_aborted
        if error is not None and not reason:
            reason = str(error)
        if error is not None and exit_status == "success":
            exit_status, reason = "fail", str(error)
        of_bench = exit_status == "refused" and not of_what_was_asked(error)
        return AttemptReport.model_validate(
            {
                "ticket": ticket.token,
                "item": ticket.item,
                "what": ticket.what,
                "run_uid": last.uid or None,
                "exit_status": exit_status,
                "reason": reason[:_REPORT_LENGTH],
                "stopped": last.stopped,
                "end_of_life": last.end_of_life,
                "ended_early": last.ended_early[:_REPORT_LENGTH],
                "shorted": last.shorted,
                "refused": last.refused[:_REPORT_LENGTH],
                "of_bench": of_bench,
                "handling": getattr(error, "left", "") or last.handling,
                "environment": "broken" if broken else "ok",
                "at": time.time(),
            }
        )

    def _report(self, report: AttemptReport) -> None:
        state = ""
        while not self._closed.is_set():
            state = str(self.session.RE.state)
            if state in ("idle", "panicked"):
                break
            time.sleep(0.02)
        if state == "panicked":
            report = report.model_copy(update={"environment": "broken"})
        try:
            write_report(self._data_dir, self.name, report)
        except QueueError:
            logger.exception("what became of item %s cannot be told", report.item)
        if self.session.stop_signal is not None:
            # Who was told to end while a plan ran has ended that; now it ends itself.
            os.kill(os.getpid(), signal.SIGTERM)

    def note_potentiostat(self) -> list[tuple[float, str]]:
        """Note which one is in the station; return since when which was. Raises QueueError."""
        from operando.session import LEADER

        mark = self.session.bench.marks().get(LEADER)
        return [] if mark is None else noted(self._folder, mark)

    # -- what the plans do

    def _reconnected(self) -> str:
        """Connect anew what does not answer, and have a guard; return what cannot be, in words."""
        from instruments.errors import InstrumentError
        from operando.guard import GuardError

        session = self.session
        gone = [
            name
            for name, device in session.devices.items()
            if not session.bench.comes_and_goes(name) and not _answers(device)
        ]
        try:
            for name in gone:
                session.bench.reconnect(name)
            for name, stranger in session.bench.strangers().items():
                return f"{name}: {stranger}"
            if gone:
                session.RE.md.update(session.bench.metadata())
            session.regain_guard()
        except (InstrumentError, GuardError) as error:
            return str(error)
        return ""

    def _run(self, protocol: Mapping[str, Any], sample: Mapping[str, Any]) -> str:
        from operando.checking import CheckFailedError, recorded
        from operando.queueing.items import validated

        session = self.session
        kwargs = {"protocol": protocol, "sample": sample}
        try:
            asked, cell = validated(kwargs, session.bench.file)
        except QueueError as error:
            raise AskedError(str(error)) from error
        report = session.check(asked, cell)
        if not report.passed:
            raise CheckFailedError(report)
        return session.run_protocol(asked, cell=cell, md={"check": recorded(report)})

    def _resume(self, run: str, decisions: Mapping[str, Any]) -> str:
        from operando.resume import resume

        return resume(self.session, run, say=logger.info, **decisions)

    def _look(self, sample: Mapping[str, Any], token: str) -> str:
        from operando.queueing.look import Look

        found: list[Look] = []
        try:
            return self._looked_at(sample, found)
        except BaseException as error:
            if not found:
                reason = str(error) or self.session.why_aborted
                found.append(Look(exit_status="refused", reason=reason))
            raise
        finally:
            if found and self._commands is not None:
                self._commands.tell_look(token, found[0].model_dump_json())

    def _looked_at(self, sample: Mapping[str, Any], found: "list[Look]") -> str:
        from instruments.errors import UnsupportedTechniqueError
        from operando.queueing.look import look_of
        from operando.run_failed import RunFailedError
        from operando.runs import Run
        from operando.session import LEADER
        from plans.look import look_at_cell
        from techniques import Cell

        session, cell = self.session, Cell.model_validate(sample)
        leader = session.devices.get(LEADER)
        if leader is None:
            raise QueueError(f"the bench of station {self.name} has no {LEADER}")
        uid = ""
        no_spectrum = _why_no_spectrum(leader, cell)
        try:
            try:
                uid = session.run(look_at_cell(leader, cell=cell, spectrum=not no_spectrum))
            except UnsupportedTechniqueError as error:
                no_spectrum = str(error)
                uid = session.run(look_at_cell(leader, cell=cell, spectrum=False))
        except RunFailedError as error:
            uid = error.uid
            raise
        finally:
            if uid:
                run = Run.from_journal(uid, session.data_dir, chain=False)
                who = session.bench.marks().get(LEADER, "")
                found.append(look_of(run, no_spectrum).model_copy(update={"potentiostat": who}))
        return uid

    # -- life

    def live(self) -> None:
        """Tell who drives the station, and begin to beat and to take commands."""
        self._note = write_worker(
            self._data_dir,
            self.name,
            WorkerNote(pid=os.getpid(), started_ticks=_started_ticks(), began=time.time()),
        )
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        if self._commands is not None:
            self._commands.start()

    def _beat(self) -> None:
        """Count up in a file as long as the event loop answers; a disk that fails is tried again.

        One that is full or read-only for a while ends no run, so it must not end the beat.
        """
        count, failing = 0, False
        with contextlib.suppress(OSError):
            self._write_beat(count)
        while not self._closed.is_set():
            answers = threading.Event()
            try:
                self.session.RE.loop.call_soon_threadsafe(answers.set)
            except RuntimeError:
                return  # the loop has ended
            while not answers.wait(BEAT_EVERY_S):
                if self._closed.is_set():
                    return
            count += 1
            try:
                self._write_beat(count)
                failing = False
            except OSError as error:
                if not failing:
                    logger.warning("station %s: its beat cannot be written: %s", self.name, error)
                failing = True
            self._closed.wait(BEAT_EVERY_S)

    def _write_beat(self, count: int) -> None:
        descriptor = os.open(self._folder / BEAT, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, struct.pack("<Q", count), 0)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Leave the bench safe and end; callable twice. In a forked child it does nothing."""
        if os.getpid() != self._pid or self._closed.is_set():
            return
        if self._commands is not None:
            self._commands.close()
        try:
            self.session.close()
        finally:
            self._closed.set()
            if self._note is not None:
                self._note.unlink(missing_ok=True)


def open_station() -> dict[str, Any]:
    """Open the station of ``$OPERANDO_STATION``; return ``RE`` and its plans.

    The bench is that of the file of stations, the data folder ``$OPERANDO_DATA``. What is
    logged goes to ``worker.log`` in the folder of the station, and not to the queue server.

    Raises:
        QueueError: There is no such station.
        BenchConnectionError: Instruments do not answer.
    """
    from operando.configuration import load_bench, load_stations
    from operando.queueing import _redis
    from operando.queueing.leases import Leases
    from operando.session import Session
    from operando.settings import data_dir

    name, folder = os.environ.get(STATION, ""), data_dir()
    stations = load_stations()
    entry = stations.station(name)
    if entry is None:
        known = ", ".join(one.name for one in stations.stations)
        raise QueueError(f"there is no station {name!r} (${STATION}); there are {known}")
    private(station_dir(folder, name))
    _log_to(station_dir(folder, name) / LOG)
    # Before anything is connected: a signal that this process inherited does other things.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)

    def client() -> "redis.Redis":
        return _redis.client(_redis.address(folder, stations))

    session = Session(
        load_bench(entry.bench),
        folder,
        catalog=os.environ.get(CATALOG, "on") != "off",
        lender=Leases(client(), name, entry.lease_priority),
    )
    commands = CommandTaker(name, session, client)
    worker = StationWorker(name, folder, session, commands)
    # A forked process runs nothing at its exit, but it waits for its threads.
    closes = threading.Thread(target=_close_at_the_end, args=(worker,), name="closes", daemon=False)
    closes.start()
    worker.live()
    try:
        session.connect()
    except BaseException:
        logger.exception("station %s cannot be opened", name)
        worker.close()
        raise
    with contextlib.suppress(QueueError):  # it is told where it matters, before an item
        worker.note_potentiostat()
    logger.info("station %s is open, process %d", name, os.getpid())
    return {"RE": session.RE, **worker.plans()}


def _close_at_the_end(worker: StationWorker) -> None:
    threading.main_thread().join()
    worker.close()


def _end(number: int, frame: object) -> None:
    sys.exit(0)


def _log_to(path: Path) -> None:
    """Keep what is logged in a file of bounded size, and print nothing of it."""
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_LOGS, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for one in list(root.handlers):
        if type(one) is logging.StreamHandler:
            root.removeHandler(one)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # A RunEngine tells each abort with its whole traceback; what ended a run is in its record.
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)
    logging.getLogger("ophyd").setLevel(logging.WARNING)


def _answers(device: Any) -> bool:
    """Make an instrument safe, as it should be between two items; return whether it answered."""
    from instruments.errors import InstrumentError

    if isinstance(getattr(device, "failure", None), InstrumentError):
        return False  # its line may be that of a cable that was pulled
    try:
        device.safe_state()
    except InstrumentError:
        return False
    return True


def _why_no_spectrum(leader: "PotentiostatDevice", cell: "Cell") -> str:
    """Return why a spectrum of the cell as it rests would pass a limit; empty: it would not.

    Open circuit drives nothing, and a bare substrate may rest beyond its potential window.
    """
    from operando.resume._cell import OPEN_CIRCUIT, may_be_modulated, open_circuit_v
    from techniques import Assignment, reference_bound

    rows: list[Any] = []
    assignment = Assignment(
        technique=OPEN_CIRCUIT,
        area_cm2=cell.area_cm2,
        metal_electrode=cell.metal_electrode,
        reference=cell.reference_electrode is not None,
        reference_bound=reference_bound(cell),
        limits=cell.limits,
    )
    leader.measure(assignment, rows)
    if may_be_modulated(open_circuit_v(rows), cell.limits.narrowed_by(leader.limits)):
        return ""
    return "at this potential a spectrum would pass a safety limit"


def _started_ticks() -> int:
    told = Path("/proc/self/stat").read_text()
    return int(told.rpartition(")")[2].split()[19])
