"""One instrument, one fault, one phase: run it, and say in which state it ended."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.wires_bench import CELL, ROW_S, TOLERANCE_S, Subject
from benchmarks.faults.wires_told import (
    ASSETS,
    LANGUAGES,
    WRITERS,
    Told,
    never_made,
    never_written,
    not_taken,
    told_by,
    truth,
    unlike,
)
from instruments.errors import InstrumentError
from instruments.gas_chromatograph.device import GasChromatographDevice
from instruments.potentiostat.device import PotentiostatDevice
from operando.attachments import attached_to
from operando.configuration import load_cell
from operando.journal import documents, journal_path
from operando.runs import Run
from operando.session import RunFailedError, Session
from operando.simulation import SimulatedBench

# A fault that was asked for is found by the simulator within a tenth of a second.
_PATIENCE_S = 60.0
# The shortest of the timeouts for which an instrument may be waited for, host seconds.
_WAITED_S = 1.5
_IMPATIENT_S = 4.0
_CUTS, _ON_ITS_WAY_S = ("unplug", "disconnect"), 0.06
_RUNNING_ROWS, _FINISHING = 0.35, 0.85
# The clock of the bench waits for a fault so long behind the row at which it is due.
_HELD_AFTER_S = 1.5 * ROW_S
_LEADER = "potentiostat"
# The phase of a follower's row at the end of a half-cycle, as the record has it.
END = 2


class Phase(StrEnum):
    """When the wire is broken."""

    CONNECT = "connect"
    PREPARE = "prepare"
    RUNNING = "running"
    FINISHING = "finishing"


class State(StrEnum):
    """How a case ended; the last three are none in which one may end."""

    FINISHED = "finished"
    TOLD = "finished, and said what is missing"
    WITHOUT = "went on without it"
    REFUSED = "refused before anything moved"
    FAILED = "failed with its reason"
    UNNAMED = "ended with no error of ours"
    SILENT = "failed without a reason"
    HUNG = "did not end"

    @property
    def named(self) -> bool:
        """Return whether a case may end so."""
        return self not in (State.UNNAMED, State.SILENT, State.HUNG)


@dataclass(frozen=True)
class Case:
    """What is to be tried.

    Attributes:
        instrument: a key of `SUBJECTS`.
        fault: what its simulator's ``inject`` knows.
        phase: when.
        options: of the fault.
    """

    instrument: str
    fault: str
    phase: Phase
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the fault with its options."""
        told = ", ".join(f"{key} {value:g}" for key, value in self.options.items())
        return f"{self.fault} ({told})" if told else self.fault


@dataclass
class Ending:
    """What came of a case.

    Attributes:
        state: how it ended.
        words: the first of the error, or of the stop document's reason.
        injected: whether the fault came about; else the simulator's reason.
        cell_closed: whether current could flow at the end, from the truth.
        laser_mw: that shines at the end, from the truth.
        said_unsafe: whether it said that the instrument is not known to be safe.
        delivered: rows that were put on the wire whole; None: this wire is not read.
        recorded: rows in the record.
        lost: rows that were delivered and are not in the record; None: nobody compared.
        wrong: rows, arrays or files in the record that were never delivered; None: nobody compared.
        end_missing: whether the reading that is due when the plating ends is not in the record.
        leader_gap_s: longest time between two rows of the leader, host seconds.
        by_stander_late_s: how late one that has nothing to do with it was, cell seconds.
        took_s: from connecting to closing.
    """

    state: State
    words: str = ""
    injected: str = ""
    cell_closed: bool = False
    laser_mw: float = 0.0
    said_unsafe: bool = False
    delivered: int | None = None
    recorded: int = 0
    lost: int | None = None
    wrong: int | None = None
    end_missing: bool = False
    leader_gap_s: float = 0.0
    by_stander_late_s: float = 0.0
    took_s: float = 0.0

    def broken_promises(self, subject: Subject, *, timed: bool = True) -> list[str]:
        """Return what does not hold, in words; empty if all does.

        ``timed`` is whether it is looked at how long others waited: a computer that is busy with
        something else makes them wait as well.
        """
        found = []
        if not self.state.named:
            found.append(f"the state: {self.state}")
        if self.state in (State.REFUSED, State.FAILED) and not any(
            name in self.words for name in (subject.told_as, subject.stream)
        ):
            found.append(f"nobody is named: no {subject.told_as}")
        if self.injected != "injected":
            found.append(f"the fault did not come about: {self.injected or 'not asked for'}")
        if self.cell_closed and not self.said_unsafe:
            found.append("the cell is closed and nothing says so")
        if self.laser_mw and not self.said_unsafe:
            found.append("the laser is on and nothing says so")
        if self.lost:
            found.append(f"{self.lost} rows lost")
        if self.wrong:
            found.append(f"{self.wrong} wrong values")
        if self.end_missing:
            found.append("the reading at the end is missing")
        if timed and not subject.leads:
            if self.leader_gap_s > ROW_S + _WAITED_S:
                found.append(f"the leader waited {self.leader_gap_s:.1f} s")
            if self.by_stander_late_s > TOLERANCE_S + _WAITED_S * subject.factor:
                found.append(f"another follower was {self.by_stander_late_s:.0f} s late")
        return found

    def as_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Ending":
        """Read it back."""
        told = json.loads(line)
        return cls(**{**told, "state": State(told["state"])})


class _Watch:
    """Counts the rows of a run and breaks the wire when it has come to a phase."""

    def __init__(self, subject: Subject, phase: Phase, action: Callable[[], None]) -> None:
        self._subject = subject
        self._action = action
        part = _RUNNING_ROWS if phase is Phase.RUNNING else _FINISHING
        self._after_s = subject.long_s * part
        self._waits = phase in (Phase.RUNNING, Phase.FINISHING)
        # Another leader's clock cannot be held.
        self._holds = self._waits and _LEADER in subject.serves()
        self._leader: set[str] = set()
        self.arrivals: list[float] = []

    @property
    def before(self) -> list[dict[str, Any]]:
        """What the simulator is told before the run, so that it waits for what is broken in it."""
        held = {"instrument": _LEADER, "fault": "hold", "after_s": self._after_s + _HELD_AFTER_S}
        return [held] if self._holds else []

    @property
    def first(self) -> list[dict[str, Any]]:
        """What it is told just before the fault."""
        return [{"instrument": _LEADER, "fault": "resume"}] if self._holds else []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "descriptor" and doc["name"] == "potentiostat":
            self._leader.add(doc["uid"])
        elif name == "event_page" and doc["descriptor"] in self._leader:
            self.arrivals += doc["timestamps"]["potentiostat_t"]
            if self._waits and doc["data"]["potentiostat_t"][-1] >= self._after_s:
                self._waits = False
                self._action()


def run_case(case: Case, subject: Subject, folder: Path) -> Ending:
    """Serve the bench, break it, run the protocol, and compare the record with the truth."""
    simulated, data = folder / "sim", folder / "data"
    shutil.rmtree(folder, ignore_errors=True)
    bench = subject.bench_file()
    served = SimulatedBench(
        CELL,
        factor=subject.factor,
        instruments=subject.serves(),
        directory=simulated,
        tolerance_s=TOLERANCE_S,
        wires=True,
    )

    def tell(faults: list[dict[str, Any]]) -> None:
        with (simulated / "faults").open("a") as file:
            file.write("".join(json.dumps(fault) + "\n" for fault in faults))

    def break_it() -> None:
        fault = {"instrument": case.instrument, "fault": case.fault, **case.options}
        tell([*watch.first, fault])

    def break_now() -> None:
        break_it()
        deadline = time.monotonic() + _PATIENCE_S
        while not _faults(simulated) and time.monotonic() < deadline:
            time.sleep(0.01)

    ending = Ending(State.FINISHED)
    watch = _Watch(subject, case.phase, break_it)
    uid = ""
    with served:
        tell(watch.before)
        if case.phase is Phase.CONNECT:
            break_now()
        began = time.monotonic()
        session = Session(bench, data, catalog=False)
        _be_impatient(session)
        try:
            session.RE.subscribe(watch)
            session.connect()
            if case.instrument == "stage" and case.phase is not Phase.CONNECT:
                session.devices["stage"].driver.home()  # else it knows no position
            if case.phase is Phase.PREPARE:
                break_now()
            uid = session.run_protocol(subject.protocol(), cell=load_cell(CELL))
        except RunFailedError as error:
            uid = error.uid
            ending.state = State.FAILED if error.reason else State.SILENT
            ending.words = error.reason
            ending.said_unsafe = "NOT known to be safe" in str(error)
        except InstrumentError as error:
            ending.state, ending.words = State.REFUSED, str(error)
        except Exception as error:
            ending.state, ending.words = State.UNNAMED, f"{type(error).__name__}: {error}"
        finally:
            session.close()
        ending.took_s = time.monotonic() - began
        if session.bench.left_unsafe or "could not be switched off" in ending.words:
            ending.said_unsafe = True
        _look(ending, simulated)
        if uid:
            _compare(ending, case, subject, simulated, data, uid)
    ending.leader_gap_s = float(max(np.diff(watch.arrivals), default=0.0))
    return ending


def _be_impatient(session: Session) -> None:
    """Wait less long for what will not come; for the sake of the many cases."""
    for device in session.devices.values():
        if isinstance(device, PotentiostatDevice):
            driver: Any = device._driver  # noqa: SLF001 - as a test would
            driver._added_patience_s = _IMPATIENT_S  # noqa: SLF001
        if isinstance(device, GasChromatographDevice):
            # A minute of grace comes on top.
            device.result._run_time_s = _IMPATIENT_S - 60.0  # noqa: SLF001


def _faults(simulated: Path) -> list[dict[str, Any]]:
    told = [x for x in truth(simulated, "bench") if x["event"] == "fault"]
    return [x for x in told if x.get("fault") not in ("hold", "resume")]


def _look(ending: Ending, simulated: Path) -> None:
    """See in the truth whether the fault came about, and how cell and laser are left."""
    faults = _faults(simulated)
    ending.injected = faults[0]["outcome"] if faults else ""
    told = {"cell_on": True, "cell_off": False}
    for line in truth(simulated, "potentiostat"):
        ending.cell_closed = line.get("cell_is_on", told.get(line["event"], ending.cell_closed))
    for line in truth(simulated, "raman"):
        if line["event"] == "laser":
            ending.laser_mw = line["power_mw"]


def _compare(
    ending: Ending, case: Case, subject: Subject, simulated: Path, data: Path, uid: str
) -> None:
    """Compare the rows of the record with those that were delivered."""
    *_, (name, stop) = documents(journal_path(data, uid))
    run = Run.from_journal(uid, data)
    stream = run.streams.get(subject.stream)
    rows = 0 if stream is None else len(stream)
    ending.recorded = rows
    if ending.state is State.FINISHED and name == "stop" and stop.get("reason"):
        ending.state, ending.words = State.TOLD, stop["reason"]
    if subject.by_stander is not None and (other := run.streams.get(subject.by_stander)):
        period_s = subject.protocol().every.temperature_s
        late = np.diff(other.columns[f"{subject.by_stander}_t_before"])
        ending.by_stander_late_s = float(max(late, default=0.0) - (period_s or 0))
    if stream is not None and not subject.leads and ending.state is State.FINISHED:
        # The reading at the end of the plating is due whatever the others took.
        at_end = subject.protocol().every.at_half_cycle_ends
        phases = stream.columns[f"{subject.stream}_phase"]
        ending.end_missing = bool(at_end and (not rows or phases[-1] != END))
    if case.instrument in ASSETS:
        ending.wrong = never_made(simulated, case.instrument, run.streams)
    if case.instrument in WRITERS:
        digests = [x["attachment"]["source"]["sha256"] for x in attached_to(data, uid)]
        ending.wrong = never_written(simulated, case.instrument, digests)
    if stream is None or subject.wire not in LANGUAGES:
        return
    language = LANGUAGES[subject.wire]
    recorded = np.column_stack(
        [stream.columns[f"{subject.stream}_{column}"] for column in language.columns]
    )
    if np.any(np.isnan(recorded)) and ending.state is State.TOLD:
        ending.state = State.WITHOUT
    delivered = told_by(simulated, subject.wire)
    values = np.array([one.values[language.first :] for one in delivered])
    values = values.reshape(-1, len(language.columns))
    ending.delivered = len(values)
    ending.wrong = unlike(recorded, values)
    if case.fault in _CUTS:
        # What was on its way into the port when that was taken away did not arrive anywhere. What
        # a program of the leader says to whoever comes back is of no run any more: its log has it.
        cut_s = _faults(simulated)[0]["host_s"]
        back_s = float("inf") if subject.leads else cut_s + 0.01
        arrived = [not cut_s - _ON_ITS_WAY_S < x.host_s < back_s for x in delivered]
        values = values[arrived]
        delivered = [one for one, there in zip(delivered, arrived, strict=True) if there]
    if language.each_once:
        ending.lost = unlike(values, recorded)
    elif subject.leads:
        ended = ending.state in (State.FINISHED, State.TOLD)
        ending.lost = not_taken(values[:, 0], recorded[:, 0], ROW_S, to_the_end=ended)
    elif rows:
        told = _unused(delivered, stream, subject.stream, language.columns[0])
        ending.delivered, ending.lost = told


def _unused(delivered: list[Told], stream: Any, name: str, column: str) -> tuple[int, int]:
    """Return how many answers fell into the time of the rows, and how many are in none of them.

    A row takes one answer, perhaps after asking again. What comes behind the last row, or behind
    one without a reading, was asked for by an exchange that failed.
    """
    # Whoever is interrupted between the two takes the clocks for further apart.
    offset_s = max(time.time() - time.monotonic() for _ in range(100))
    begins = stream.columns[f"{name}_host_before"] - offset_s - 0.01
    ends = stream.columns[f"{name}_host_after"] - offset_s + 0.01
    missing = np.isnan(stream.columns[f"{name}_{column}"])
    until = np.where(missing, np.append(begins[1:], ends[-1]), ends)
    when = [one.host_s for one in delivered if begins[0] <= one.host_s <= ends[-1]]
    taken = [any((begins <= t) & (t <= until)) for t in when]
    return len(when), len(when) - sum(taken)


def quiet() -> None:
    """Keep what drivers tell of faults out of the way: it is compared, not read."""
    logging.getLogger().setLevel(logging.CRITICAL)
    threading.excepthook = lambda arguments: None
