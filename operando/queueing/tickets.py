"""What supervisor and worker of a station hand each other in files: a ticket, and what came of it.

A worker drives nothing without the ticket of that execution, and each ticket is good for one: so
nothing but the supervisor starts anything, whoever can speak to the queue server.
"""

import contextlib
import hmac
import json
import secrets
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from operando.queueing.errors import QueueError
from operando.queueing.places import private, station_dir, write_private
from techniques._base import Data

# Run by path in each worker. In a folder of its own: a queue server puts the folder of its script
# first among those that are imported from, and afterwards forgets all modules below it.
STARTUP_SCRIPT = Path(__file__).resolve().parent / "_startup" / "station.py"

TICKET, REPORT, WORKER, BEAT, LOG = (
    "ticket.json",
    "report.json",
    "worker.json",
    "beat",
    "worker.log",
)

What = Literal["run_protocol", "resume_protocol", "look_at_cell"]


class Ticket(Data):
    """The right to one execution.

    Attributes:
        token: The secret.
        item: What it is of: the uid of an item; of a look at a cell, the token of its request.
        what: The plan.
        at: When it was issued, epoch, s.
        attempt: The how manieth of the item, from 1.
        mounted_at: When the cell was mounted, epoch, s; ``None``: it is not mounted yet.
        potentiostat: At which one that was, as `Mount` tells it.
    """

    token: str
    item: str
    station: str
    what: What
    at: float
    attempt: int = 1
    mounted_at: float | None = None
    potentiostat: str = ""
    label: str = ""
    campaign: str = ""


def issue(
    data_dir: Path,
    station: str,
    item: str,
    what: What,
    *,
    attempt: int = 1,
    mounted_at: float | None = None,
    potentiostat: str = "",
    label: str = "",
    campaign: str = "",
) -> str:
    """Give a station's worker the right to one execution; return the token that it asks for.

    One that was not used is void from now on. Raises QueueError if it cannot be written.
    """
    ticket = Ticket(
        token=secrets.token_urlsafe(24),
        item=item,
        station=station,
        what=what,
        at=time.time(),
        attempt=attempt,
        mounted_at=mounted_at,
        potentiostat=potentiostat,
        label=label,
        campaign=campaign,
    )
    folder = private(station_dir(data_dir, station))
    write_private(folder / TICKET, ticket.model_dump_json())
    return ticket.token


def redeem(data_dir: Path, station: str, what: What, token: str) -> Ticket:
    """Use a ticket up and return it.

    Raises QueueError, and nothing may be driven: there is none, it is of something else, or was
    used.
    """
    path = station_dir(data_dir, station) / TICKET
    only = "only the supervisor of a station starts anything there: add it to the queue"
    try:
        ticket = Ticket.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise QueueError(
            f"station {station}: {what} was asked for without a ticket; {only}"
        ) from None
    except (OSError, ValidationError, ValueError) as error:
        raise QueueError(f"station {station}: the ticket {path} cannot be read: {error}") from None
    if not hmac.compare_digest(ticket.token.encode(), str(token).encode()):
        raise QueueError(f"station {station}: {what} was asked for with a wrong ticket; {only}")
    if (ticket.station, ticket.what) != (station, what):
        raise QueueError(
            f"station {station}: {what} was asked for with the ticket of {ticket.what} in station "
            f"{ticket.station}; {only}"
        )
    used = path.with_name(f"{TICKET}.used")
    try:
        path.rename(used)  # of two, one succeeds
    except OSError as error:
        raise QueueError(f"station {station}: the ticket of {what} was used: {error}") from None
    return ticket


class AttemptReport(Data):
    """What a worker tells of an execution that it ended.

    Attributes:
        ticket: The token of its ticket.
        run_uid: The last run of it; ``None``: none was begun.
        exit_status: That of the run; ``refused``: nothing was begun, and ``reason`` says why. It is
            ``abort`` also where somebody ended it before a run was begun.
        stopped: Who asked for its end, and why (``by``, ``why``); ``None``: nobody.
        end_of_life: What says that nothing is to be run on the cell any more; ``None``: nothing.
        ended_early: The rule or limit that ended it before its time otherwise; empty: none did.
        shorted: Whether it left the cell with a hard short.
        refused: Why nothing was gone on with after a look at the cell; empty: it was.
        of_bench: Whether nothing was begun for a reason of the bench, or one that is not known: the
            next item would be refused as well.
        handling: How the bench was left, if it is not known to be safe, and how the cell is to be
            handled.
        environment: ``broken``: the worker is to be started anew before anything else.
        at: When, epoch, s.
    """

    ticket: str
    item: str
    what: What
    run_uid: str | None = None
    exit_status: Literal["success", "abort", "fail", "refused"]
    reason: str = ""
    stopped: dict[str, Any] | None = None
    end_of_life: dict[str, Any] | None = None
    ended_early: str = ""
    shorted: bool = False
    refused: str = ""
    of_bench: bool = False
    handling: str = ""
    environment: Literal["ok", "broken"] = "ok"
    at: float


def write_report(data_dir: Path, station: str, report: AttemptReport) -> None:
    """Keep what became of the last execution of a station; it is there whole or not at all."""
    write_private(station_dir(data_dir, station) / REPORT, report.model_dump_json())


def read_report(data_dir: Path, station: str) -> AttemptReport | None:
    """Return what became of the last execution that a station's worker ended; ``None``: none."""
    with contextlib.suppress(OSError, ValidationError, ValueError):
        path = station_dir(data_dir, station) / REPORT
        return AttemptReport.model_validate_json(path.read_bytes())
    return None


class WorkerNote(Data):
    """Which process drives a station."""

    pid: int
    started_ticks: int
    began: float


def write_worker(data_dir: Path, station: str, note: WorkerNote) -> Path:
    """Keep which process drives a station, and return the file."""
    path = station_dir(data_dir, station) / WORKER
    write_private(path, json.dumps(note.model_dump()))
    return path
