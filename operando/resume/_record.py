"""Which runs are one experiment, and whether it can go on at all. Nothing is connected here."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from instruments.forked import keep_from_children, lead_nowhere
from operando.journal import (
    chain_of,
    close_dead_run,
    journal_path,
    resolve_uid,
    start_documents,
    try_lock,
)
from operando.runs import Amendment, Run, join, pending_requests
from techniques import Amend, Cell, Protocol

LEADER = "potentiostat"
PLANS = ("operando_plating_stripping", "continue_plating_stripping")
LOOK_AT_CELL = "look_at_cell"


class ResumeError(Exception):
    """An experiment is not continued; nothing was driven, and the cell is as it was or open."""


class OtherInstrumentError(ResumeError):
    """Another instrument is at the address: never gone on with, whatever anybody decides."""


@dataclass(frozen=True)
class Decisions:
    """What an operator may decide where the record cannot.

    Attributes:
        accept_check: Go on although the cell is not as it was left.
        assume_charge_mah_cm2: This much had passed in the interrupted part of the half-cycle,
            mAh/cm2.
        trust_log: The log of the instrument ends where the program ended.
        same_cell: The cell that is connected is that of the experiment, although other runs were
            made on it, or on the potentiostat, since.
    """

    accept_check: bool = False
    assume_charge_mah_cm2: float | None = None
    trust_log: bool = False
    same_cell: bool = False


@dataclass(frozen=True)
class Experiment:
    """The runs of one experiment, the last of which did not reach its end.

    Attributes:
        runs: From the first to the newest.
        data_dir: Where they are.
        since: Runs of others on the same cell or potentiostat since it was interrupted.
    """

    runs: tuple[Run, ...]
    data_dir: Path
    since: tuple[str, ...] = ()

    @property
    def root(self) -> Run:
        """Return the first run."""
        return self.runs[0]

    @property
    def tip(self) -> Run:
        """Return the newest run: the one that is continued."""
        return self.runs[-1]

    @cached_property
    def whole(self) -> Run:
        """Return its runs as one."""
        return join(self.runs)

    @property
    def amendments(self) -> tuple[Amendment, ...]:
        """Return the changes of its protocol that took effect, in their order."""
        return self.whole.amendments

    @property
    def protocol(self) -> Protocol | None:
        """Return the protocol it had come under; ``None``: that of its first run."""
        made = self.amendments
        return Protocol.model_validate(made[-1].protocol) if made else None

    @property
    def pending(self) -> Amend | None:
        """Return a change of its protocol that was accepted and not made; ``None``: there is none.

        The last one, if there are several.
        """
        asked = [one for one in pending_requests(self.whole) if one["request"] == "amend"]
        if not asked:
            return None
        protocol = Protocol.model_validate_json(str(asked[-1]["protocol"]))
        return Amend(by=str(asked[-1]["by"]), why=str(asked[-1]["why"]), protocol=protocol)

    @property
    def told(self) -> str:
        """Return in one line which experiment it is."""
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(self.root.start["time"])))
        runs = f"{len(self.runs)} runs so far, the last " if len(self.runs) > 1 else "run "
        return (
            f"Cell {self.cell.cell_id!r}, protocol {self.root.start.get('protocol')!r}, begun "
            f"{begun}; {runs}{self.tip.uid[:8]}."
        )

    @property
    def cell(self) -> Cell:
        """Return the cell, as the record has it."""
        return Cell.model_validate(self.root.start["sample"])

    def passed_before(self, run: Run, half_cycle: int) -> tuple[float, float]:
        """Return the charge that earlier parts of a half-cycle of ``run`` passed, mAh/cm2.

        What is known of it, and how much of it is not.
        """
        parts = {}
        until = [member.uid for member in self.runs].index(run.uid)
        for earlier in self.runs[: until + 1]:
            told = earlier.start.get("resume")
            # One that could not even look at where it stood tells no half-cycle.
            if told is not None and told.get("half_cycle") == half_cycle:
                # By the step that was interrupted: a resume that was refused tells it once more.
                low, high = told["passed_charge_bounds_mah_cm2"]
                parts[told["step"]] = (low, high - low)
        return sum(low for low, _ in parts.values()), sum(part for _, part in parts.values())


@contextmanager
def interrupted_experiment(
    data_dir: Path, run: str = "last", decisions: Decisions = Decisions()
) -> Iterator[Experiment]:
    """Find the experiment that ``run`` belongs to, and keep others from resuming it meanwhile.

    Nothing is connected. The journal of a run whose writer died is closed.

    Args:
        data_dir: The data folder.
        run: A uid, the beginning of one, or ``last``; any run of the experiment.
        decisions: What the operator has decided.

    Raises:
        LookupError: There is no such run.
        ResumeError: The experiment is going on, is complete, is being resumed, is not one that
            can be resumed, or something else was run on its cell since.
    """
    uid = resolve_uid(data_dir, run)
    with _locked_tip(data_dir, uid) as chain:
        runs = tuple(_read(data_dir, member) for member in chain)
        _refuse_what_cannot_go_on(runs)
        since = runs_since(runs, data_dir)
        if since and not decisions.same_cell:
            raise ResumeError(
                f"since run {runs[-1].uid[:8]} there were other runs on its cell or potentiostat: "
                f"{'; '.join(since.values())}. What they did to the cell is in no record of this "
                "experiment, and another cell may be connected. If the cell is as it was, say "
                "--same-cell"
            )
        yield Experiment(runs, data_dir, tuple(since))


@contextmanager
def _locked_tip(data_dir: Path, uid: str) -> Iterator[tuple[str, ...]]:
    while True:
        chain = chain_of(data_dir, uid)
        path = journal_path(data_dir, chain[-1])
        close_dead_run(path, by="operando resume")
        held = _Held(path)
        try:
            if not try_lock(held.fd):
                raise ResumeError(
                    f"run {chain[-1][:8]} is being recorded, or resumed, by a process that lives: "
                    "wait for its end, or end that process"
                )
            # Another process may have continued the experiment before we had the lock.
            if chain_of(data_dir, uid) == chain:
                yield chain
                return
        finally:
            os.close(held.fd)


class _Held:
    """A journal that is locked by this process, and not by its children."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR)
        keep_from_children(self)

    def let_go_in_child(self) -> None:
        lead_nowhere(self.fd)


def _read(data_dir: Path, uid: str) -> Run:
    return Run.from_journal(uid, data_dir, chain=False)


def _refuse_what_cannot_go_on(runs: Sequence[Run]) -> None:
    root, tip = runs[0], runs[-1]
    if root.start.get("resume_of") is not None:
        raise ResumeError(
            f"run {root.uid[:8]} continues {root.start['resume_of'][:8]}, which is not in this "
            "data folder: bring the whole experiment together"
        )
    name = f"run {tip.uid[:8]}"
    for run in runs:
        if run.start.get("plan_name") not in PLANS or "technique" not in run.start:
            raise ResumeError(
                f"run {run.uid[:8]} was made by the plan {run.start.get('plan_name')!r}: only runs "
                f"of {' and '.join(PLANS)} say what is left of them"
            )
    if tip.stop is None:
        raise ResumeError(f"{name} has no end, and its journal could not be closed")
    if tip.stop["exit_status"] == "success":
        raise ResumeError(
            f"{name} ended as planned{_because(tip.stop.get('reason'))}: nothing is left to resume"
        )
    for asked in pending_requests(join(runs)):
        if asked["request"] == "stop":
            raise ResumeError(
                f"{asked['by']} had asked to stop {name}{_because(asked['why'])} before it died: "
                "it does not go on"
            )
    if Cell.model_validate(root.start["sample"]) != Cell.model_validate(tip.start["sample"]):
        raise ResumeError(f"{name} and {root.uid[:8]} are of different samples: not one experiment")


def runs_since(runs: Sequence[Run], data_dir: Path) -> dict[str, str]:
    """Return the runs made on the cell or the potentiostat of an experiment since it stopped.

    By uid, with what tells them. The number of a run is asked beside its time: the clock may have
    been set.
    """
    members = {run.uid for run in runs}
    begun = [run for run in runs if not (run.start.get("resume") or {}).get("refused")]
    last = begun[-1] if begun else runs[0]
    number, time_s = last.start.get("scan_id", 0), float(last.start["time"])
    cell_id = (runs[0].start.get("sample") or {}).get("cell_id")
    serial = serial_number(last.start)
    found = {}
    # What another clock dates back is found at least if it tells the same sample.
    for run, start in start_documents(data_dir, "time >= ? OR sample = ?", (time_s, cell_id)):
        if run.uid in members or not (
            run.time >= time_s or int(start.get("scan_id") or 0) > int(number or 0)
        ):
            continue
        same_cell = cell_id is not None and run.sample == cell_id
        if same_cell and start.get("plan_name") == LOOK_AT_CELL:
            continue  # it drives nothing
        if same_cell or (serial is not None and serial_number(start) == serial):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.time))
            found[run.uid] = f"{run.uid[:8]} ({run.sample or 'no sample'}, {when})"
    return found


def refuse_other_instrument(experiment: Experiment, metadata: Mapping[str, Any]) -> None:
    """Raise OtherInstrumentError if another potentiostat is on the bench than the experiment's.

    ``metadata`` is that of the bench, or what a start document tells of it.
    """
    then, now = serial_number(experiment.root.start), serial_number(metadata)
    if then is not None and then != now:
        raise OtherInstrumentError(
            f"the experiment ran on the potentiostat {then}, this one is {now}: its log and its "
            "calibration are not those of the experiment. Nothing was driven"
        )


def serial_number(metadata: Mapping[str, Any]) -> str | None:
    """Return the serial number of the potentiostat that a start document or a bench tells."""
    instruments = (metadata.get("bench") or {}).get("instruments") or {}
    identity = (instruments.get(LEADER) or {}).get("identity") or {}
    return identity.get("serial_number")


def _because(reason: object) -> str:
    return f" ({reason})" if reason else ""
