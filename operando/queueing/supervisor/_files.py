"""The files between supervisor and worker, in ``state/queueing/stations/NAME`` of the data folder.

The supervisor writes ``ticket.json``; the worker ``worker.json``, ``beat`` and ``report.json``.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from operando.queueing.errors import QueueError
from operando.queueing.model import StationState
from operando.queueing.places import private, station_dir, write_private
from operando.queueing.tickets import BEAT, REPORT, WORKER, issue

from ._processes import Process

_log = logging.getLogger(__name__)

# Waits for a disk come one after the other: so often is looked, and so long in between, s.
_LOOKS, _LOOK_S = 10, 0.02
_PROBE = "probe"
# How the station was last, and why nothing is started in it until somebody decides.
_STATE, _HELD = "station.json", "held.json"

What = Literal["run_protocol", "resume_protocol", "look_at_cell"]
HUNG_S = 4.0
# What waits for a disk is given longer, and longer than a journal waits for room on a full one.
DISK_S = 130.0


def write_whole(path: Path, told: Mapping[str, Any]) -> None:
    """Write a file that only its owner reads, and that is there as a whole or as it was before."""
    write_private(path, json.dumps(told))


def read(path: Path) -> dict[str, Any] | None:
    """Return what a file tells; ``None``: it is not there, or tells nothing."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def process_in(path: Path) -> Process | None:
    """Return the process that a file names; ``None``: it names none."""
    told = read(path)
    if told is None or not isinstance(told.get("pid"), int):
        return None
    ticks = told.get("started_ticks")
    return Process(told["pid"], ticks if isinstance(ticks, int) else None)


@dataclass(frozen=True)
class Ticket:
    """Leave for the worker to drive the cell once.

    Attributes:
        token: What the plan is given, and what its report names.
        item: Of which item; empty for looking at a cell.
        attempt: Which attempt of the item, from 1.
        boot: The boot of the computer in which it was given.
    """

    token: str
    item: str
    attempt: int
    what: What
    boot: str


class StationFiles:
    """The files of one station."""

    def __init__(self, data_dir: Path, name: str) -> None:
        self._data_dir = data_dir
        self.folder = private(station_dir(data_dir, name))
        self._name = name
        self._beat: tuple[bytes, int] = (b"", 0)
        self._beat_at = time.monotonic()
        self._disk_at: float | None = None

    def give_ticket(
        self,
        item: str,
        attempt: int,
        what: What,
        *,
        boot: str,
        mounted_at: float | None = None,
        potentiostat: str = "",
        label: str = "",
        campaign: str = "",
    ) -> Ticket:
        """Write and return a new ticket; any other is void from now on."""
        token = issue(
            self._data_dir,
            self._name,
            item,
            what,
            attempt=attempt,
            mounted_at=mounted_at,
            potentiostat=potentiostat,
            label=label,
            campaign=campaign,
        )
        ticket = Ticket(token, item, attempt, what, boot)
        # The worker takes the ticket away with it; what was given is known all the same.
        write_private(self.folder / "given.json", json.dumps(dataclasses.asdict(ticket)))
        return ticket

    def ticket(self) -> Ticket | None:
        """Return the ticket that was given last."""
        told = read(self.folder / "given.json")
        if told is None:
            return None
        try:
            return Ticket(
                str(told["token"]),
                str(told["item"]),
                int(told["attempt"]),
                told["what"],
                str(told["boot"]),
            )
        except (KeyError, ValueError, TypeError):
            return None

    def keep_state(self, state: StationState) -> None:
        """Keep how the station is, for when Redis cannot tell it any more."""
        self._mark(_STATE, state.model_dump())

    def state(self) -> StationState | None:
        """Return how the station was last; ``None``: that is not known."""
        told = read(self.folder / _STATE)
        try:
            return None if told is None else StationState.model_validate(told)
        except ValueError:
            return None

    def keep_held(self, why: str) -> None:
        """Keep why nothing is started here; that outlasts a station that is closed meanwhile."""
        self._mark(_HELD, {"why": why, "at": time.time()})

    def held(self) -> str:
        """Return why nothing is started here until somebody decides; empty: nothing says so."""
        if not (self.folder / _HELD).exists():
            return ""
        why = (read(self.folder / _HELD) or {}).get("why")
        return str(why or f"{self.folder / _HELD} cannot be read, and nobody knows why")

    def forget_held(self) -> None:
        """Forget why nothing is started here: somebody decided."""
        (self.folder / _HELD).unlink(missing_ok=True)

    def _mark(self, name: str, told: Mapping[str, Any]) -> None:
        try:
            write_whole(self.folder / name, told)
        except QueueError as error:  # a full disk; Redis tells it all the same
            _log.warning("station %s: %s", self._name, error)

    def report(self, ticket: Ticket) -> dict[str, Any] | None:
        """Return what the worker reports of what it was given this ticket for."""
        told = read(self.folder / REPORT)
        return told if told is not None and told.get("ticket") == ticket.token else None

    def worker(self) -> Process | None:
        """Return the worker, living or dead; ``None``: there was none, or it has left in order."""
        return process_in(self.folder / WORKER)

    def last_words(self) -> str:
        """Return what the worker said last before it gave up."""
        for name in ("worker.log", "manager.log"):
            try:
                text = (self.folder / name).read_text(errors="replace")[-20000:]
            except OSError:
                continue
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            told = [x for x in lines if "Error" in x or "error" in x]
            if told:
                return told[-1][-500:]
        return f"see {self.folder / 'manager.log'}"

    def reported(self) -> int:
        """Return what is another number after each report."""
        try:
            return (self.folder / REPORT).stat().st_mtime_ns
        except OSError:
            return 0

    def broken(self) -> bool:
        """Return whether the worker that lives says that it is to be opened anew."""
        report, worker = read(self.folder / REPORT) or {}, read(self.folder / WORKER) or {}
        if report.get("environment") != "broken":
            return False
        return float(report.get("at", 0.0)) > float(worker.get("began", 0.0))

    def forget_worker(self) -> None:
        """Take the traces of a worker away that has ended."""
        for name in (WORKER, BEAT):
            (self.folder / name).unlink(missing_ok=True)

    def silent_s(self) -> float:
        """Return for how long the worker has not beaten, as far as we have looked, s."""
        path, now = self.folder / BEAT, time.monotonic()
        try:
            beat = path.read_bytes(), path.stat().st_mtime_ns
        except OSError:
            beat = b"", time.monotonic_ns()  # it has not begun to
        if beat != self._beat:
            self._beat, self._beat_at = beat, now
            self._disk_at = None
        return now - self._beat_at

    def waits_for_disk(self, worker: Process) -> bool:
        """Return whether a silent worker is silent because of a disk, seen within `HUNG_S`.

        Either it waits for one just now, or nothing can be written in the folder of the station.
        """
        now = time.monotonic()
        for _ in range(_LOOKS):
            if worker.waits_for_disk or not self._takes():
                if self._disk_at is None:
                    _log.warning(
                        "station %s: the worker (process %d) is silent and waits for its disk: it "
                        "is given %g s",
                        self._name,
                        worker.pid,
                        DISK_S,
                    )
                self._disk_at = now
                break
            time.sleep(_LOOK_S)
        return self._disk_at is not None and now - self._disk_at < HUNG_S

    def _takes(self) -> bool:
        path = self.folder / _PROBE
        try:
            path.write_bytes(b"1")
            path.unlink()
        except OSError:
            return False
        return True

    def begin_listening(self) -> None:
        """Count the silence of the worker from now."""
        self._beat_at = time.monotonic()
