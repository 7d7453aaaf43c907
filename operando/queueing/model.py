"""What is kept of stations, mounted cells and items, as data; times are seconds of the epoch."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from techniques._base import Data

ItemState = Literal[
    "starting",
    "running",
    "done",
    "resumed",
    "failed",
    "stopped",
    "held",
    "skipped",
    "removed",
]
# Nothing becomes of these any more.
ENDED: frozenset[str] = frozenset(("done", "resumed", "failed", "stopped", "skipped", "removed"))
# Behind these what was to come `after` them goes on.
DONE: frozenset[str] = frozenset(("done", "resumed"))

# What is said of an item that a rule or a limit ended, and whose cell somebody is to look at.
EARLY = "ended before its time"
# So the reason of a cell begins that somebody has stopped.
STOPPED_BY = "stopped by "

# Behind this the key of the protocol that an item has come under while it ran.
AMENDED = "operando:amended:"


def why_stopped(by: str, why: str) -> str:
    """Return in words that somebody has stopped the experiment on a cell."""
    return f"{STOPPED_BY}{by}" + (f": {why}" if why else "")


def why_aborted(by: str, why: str) -> str:
    """Return in words that somebody has ended an item."""
    return f"aborted by {by}" + (f": {why}" if why else "")


class Attempt(Data):
    """One execution of an item.

    Attributes:
        kind: A first run, or one that goes on with it.
        began: When it was started.
        ended: When it was known to have ended; ``None``: it goes on.
        run_uid: The last run of it; ``None``: it has none.
        exit_status: That of the run; ``lost``: the worker died or hung; ``mains``: it is held
            until the mains are back.
        reason: Why it ended as it did.
        decisions: What somebody decided of what is not certain, as `operando.resume.Decisions`.
    """

    kind: Literal["run", "resume"]
    began: float
    ended: float | None = None
    run_uid: str | None = None
    exit_status: str = ""
    reason: str = ""
    decisions: Mapping[str, Any] = Field(default_factory=dict)


class Record(Data):
    """What became of an item, from its start on; ``kwargs`` is the whole item.

    ``host`` and ``data_dir`` tell where it was begun; empty: not known.
    """

    item: str
    station: str
    cell_id: str
    label: str = ""
    campaign: str = ""
    state: ItemState
    reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    kwargs: Mapping[str, Any] = Field(default_factory=dict)
    added: float | None = None
    began: float | None = None
    ended: float | None = None
    by: str = ""
    host: str = ""
    data_dir: str = ""

    @property
    def over(self) -> bool:
        """Return whether nothing becomes of it any more."""
        return self.state in ENDED

    @property
    def waits_for_mains(self) -> bool:
        """Return whether it is held for nothing but that the mains were lost."""
        last = [one.exit_status for one in self.attempts[-1:]]
        return self.state == "held" and last == ["mains"]


class Mount(Data):
    """Which cell is in a station, who says so, and what was measured when it came.

    Attributes:
        ocv_v: Open circuit potential, V; ``None``: not measured.
        series_ohm: Series resistance, ohm; ``None``: not measured.
        expected: What the cell's record or file says of them.
        findings: What differed, in words.
        accepted: Whether somebody accepted that.
        state: ``finished``: nothing is run on it any more.
        host: The computer at which it was mounted; empty: not known.
        data_dir: The data folder of the station in which it is; empty: not known.
        potentiostat: At which one it was looked at, by model and serial number: no other one
            drives it. Empty: not known.
    """

    station: str
    cell_id: str
    sample: Mapping[str, Any]
    by: str
    at: float
    ocv_v: float | None = None
    series_ohm: float | None = None
    expected: Mapping[str, Any] = Field(default_factory=dict)
    findings: tuple[str, ...] = ()
    accepted: bool = False
    state: Literal["mounted", "finished"] = "mounted"
    why_finished: str = ""
    host: str = ""
    data_dir: str = ""
    potentiostat: str = ""


class StationState(Data):
    """How a station is, as its supervisor tells.

    Attributes:
        wanted: Whether it is to be open.
        state: ``held``: nothing is started until somebody decides; ``lost``: its supervisor or
            worker is gone.
        paused: No further item is started; the running one goes on.
        paused_why: Who or what paused it, and why; nothing but a resume takes that back.
        why: Why its state is what it is, in words.
        item: The item that runs.
        since: Since when it is so.
    """

    name: str
    host: str = ""
    wanted: Literal["open", "closed"] = "closed"
    state: Literal["closed", "opening", "idle", "running", "held", "lost"] = "closed"
    paused: bool = False
    paused_why: str = ""
    why: str = ""
    item: str | None = None
    supervisor_pid: int | None = None
    since: float = 0.0

    @property
    def is_open(self) -> bool:
        """Return whether its worker is open."""
        return self.state in ("idle", "running", "held")

    @property
    def why_paused(self) -> str:
        """Return why no further item is started, in words; empty: they are."""
        if not self.paused:
            return ""
        why = self.paused_why
        return why if why.startswith("paused") else f"paused: {why}" if why else "paused"

    @property
    def told_why(self) -> str:
        """Return why its state is what it is, and why it is paused; empty: neither is known."""
        return "; ".join(filter(None, (self.why, self.why_paused)))


class Command(Data):
    """What somebody asks of a station while it runs.

    Attributes:
        do: ``abort`` ends the item; ``stop`` ends the experiment on this cell.
        item: The item meant; a command for another one than runs does nothing.
        protocol: Of ``amend``.
    """

    do: Literal["stop", "skip_step", "amend", "abort"]
    by: str
    at: float
    text: str = ""
    item: str | None = None
    protocol: Mapping[str, Any] | None = None
