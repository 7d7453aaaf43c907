"""The items of one station: which is begun, how it is followed, and what it becomes.

Whatever is about to be done is written first, into Redis (the record of the item) or a file (the
ticket). After a death at any point the next supervisor reads from these how far it came.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, cast

from operando.queueing.errors import QueueError
from operando.queueing.managers import Manager
from operando.queueing.model import EARLY, Attempt, Mount, Record
from operando.queueing.sanitise import pending, sanitise
from operando.queueing.store import manager_prefix, told
from techniques import StationEntry
from techniques.queueing import OnDeath

from ._choice import Choice, cell_of, choose
from ._deaths import LOOK_FIRST, decided
from ._ends import ended_early, left_shorted
from ._files import StationFiles, Ticket, What
from ._house import House
from ._journal import LastRun, last_run

_log = logging.getLogger(__name__)

# The manager tells that it is idle for an instant before it is not, and after it was not.
_QUIET_S = 3.0
_REFUSALS = 3
_FAILURES_IN_A_ROW = 3
_JOURNAL_CLOSED_WITHIN_S = 120.0


class Items:
    """What is done with the items of one station.

    Args:
        house: What all stations share.
        entry: The station.
        files: Its files.
        manager: Its queue server.
    """

    def __init__(
        self, house: House, entry: StationEntry, files: StationFiles, manager: Manager
    ) -> None:
        self._house = house
        self._store = house.store
        self._entry = entry
        self._name = entry.name
        self._files = files
        self._manager = manager
        self._refusals = 0
        self._idle_since: float | None = None
        self._journal_since: float | None = None
        self._wanted: str = ""

    # -- beginning

    def choice(self, mount: Mount | None) -> Choice:
        """Return which item is next, and what the others wait for; items of a finished cell go."""
        items = pending(self._store, self._name)
        with told():
            kept = self._store.client.llen(f"{manager_prefix(self._name)}_plan_queue")
        if kept != len(items):
            self.sanitise()
        if mount is not None and mount.state == "finished":
            items = self._skip_items_of(mount, items)
        named = [str(item["item_uid"]) for item in items]
        named += [str((item.get("kwargs") or {}).get("after") or "") for item in items]
        known = self._records([uid for uid in dict.fromkeys(named) if uid])
        record = known.get
        choice = choose(items, record, mount, self._house.clock.wall())
        for item in items:
            if record(str(item["item_uid"])) is not None:
                # Whoever began it died before it was taken out.
                self._take_out(str(item["item_uid"]))
        return choice

    def _records(self, items: list[str]) -> dict[str, Record]:
        """Return the records of items that have one; of most there is none."""
        if not items:
            return {}
        with told():
            there = self._store.client.mget([f"operando:record:{uid}" for uid in items])
        found = zip(items, cast(list[str | None], there), strict=True)
        records = {uid: self._store.record(uid) for uid, text in found if text is not None}
        return {uid: record for uid, record in records.items() if record is not None}

    def sanitise(self) -> None:
        """Move away what is no item of the queue, and tell of it. Raises QueueError."""
        moved = sanitise(self._store, self._name)
        if moved:
            self._house.alerts.send(
                "poisoned",
                "What could not be read was moved out of the queue",
                "; ".join(moved),
                station=self._name,
            )

    def begin(self, item: Mapping[str, Any], mount: Mount) -> Record:
        """Begin an item of the queue: it is recorded, taken out, and then executed."""
        uid, kwargs = str(item["item_uid"]), dict(item.get("kwargs") or {})
        now = self._house.clock.wall()
        record = Record(
            item=uid,
            station=self._name,
            cell_id=mount.cell_id,
            label=str(kwargs.get("label", "")),
            campaign=str(kwargs.get("campaign", "")),
            state="starting",
            attempts=(Attempt(kind="run", began=now),),
            kwargs={key: value for key, value in kwargs.items() if key != "ticket"},
            began=now,
            by=str(item.get("user", "")),
        )
        self._store.clear_commands(self._name)
        # In this order: an item that the station names and that has no record was not begun.
        self._store.change_station(self._name, item=uid, state="running", why="", since=now)
        self._store.put_record(record)
        self._take_out(uid)
        self._execute(record)
        return record

    def _take_out(self, uid: str) -> None:
        try:
            self._manager.remove(uid)
        except QueueError:
            if any(one["item_uid"] == uid for one in pending(self._store, self._name)):
                raise

    def _execute(self, record: Record) -> None:
        """Have the worker carry out the attempt that the record ends with."""
        attempt, number = record.attempts[-1], len(record.attempts)
        plan: What
        kwargs: dict[str, Any]
        mounted = self._store.mount(self._name)
        if attempt.reason == LOOK_FIRST:
            plan, kwargs = "look_at_cell", {"sample": dict(record.kwargs["sample"])}
        elif attempt.kind == "resume":
            run = last_run(self._house.data_dir, record.item)
            if run is None:
                self._end(record, "held", "it is to go on, and there is no run of it any more")
                return
            if run.exit_status == "running" and not self._journal_waited_for():
                return
            decisions = dict(attempt.decisions)
            plan, kwargs = "resume_protocol", {"run": run.uid, "decisions": decisions}
        else:
            plan, kwargs = "run_protocol", dict(record.kwargs)
        self._journal_since = None
        ticket = self._files.give_ticket(
            record.item,
            number,
            plan,
            boot=self._house.clock.boot(),
            mounted_at=None if mounted is None else mounted.at,
            label=record.label,
            campaign=record.campaign,
        )
        try:
            self._manager.execute(plan, kwargs | {"ticket": ticket.token})
        except QueueError as error:
            self._refusals += 1
            if self._refusals < _REFUSALS:
                raise
            self._refusals = 0
            self._end(record, "held", f"it could not be begun: {error}", exit_status="refused")
            return
        self._refusals = 0
        self._idle_since = None
        self._store.change_record(record.item, state="running")
        self._store.change_station(self._name, state="running", item=record.item)

    def _journal_waited_for(self) -> bool:
        """Return whether a journal that somebody still holds was waited for long enough."""
        now = time.monotonic()
        self._journal_since = self._journal_since or now
        return now - self._journal_since > _JOURNAL_CLOSED_WITHIN_S

    # -- following

    def follow(self, record: Record, status: Mapping[str, Any] | None) -> bool:
        """Look what became of the attempt that a record ends with; the worker lives.

        Return whether it simply goes on.

        Args:
            record: The item that runs.
            status: What the manager tells; ``None``: nothing, a new one knows nothing of a worker
                that an older one left.
        """
        ticket = self._files.ticket()
        if not _is_of(ticket, record):
            if status is not None and _idle(status):
                self._execute(record)
            return False
        report = self._files.report(cast(Ticket, ticket))
        if report is not None:
            self._idle_since = None
            self.finish(record, cast(Ticket, ticket), report)
            return False
        if status is not None and _idle(status):
            now = time.monotonic()
            self._idle_since = self._idle_since or now
            if now - self._idle_since > _QUIET_S:
                self._idle_since = None
                self._ended_silently(record)
            return False
        self._idle_since = None
        if record.state == "starting" and status is not None:
            # Whoever had it executed died before it was noted.
            self._store.change_record(record.item, state="running")
        return True

    def _ended_silently(self, record: Record) -> None:
        """Decide what became of an attempt that nobody reports of; the worker does nothing."""
        run = last_run(self._house.data_dir, record.item)
        ended_before = {one.run_uid for one in record.attempts[:-1]}
        if run is not None and run.uid not in ended_before:
            if run.interrupted:
                self._end(record, "held", "its run has no end, and the worker does nothing")
            else:
                self._as_recorded(record, run)
            return
        if record.state == "starting":
            self._execute(record)  # it was never begun: the ticket before is void
            return
        why = self._what_the_manager_says()
        held = record.attempts[-1].kind == "resume"
        self._end(record, "held" if held else "failed", why, exit_status="refused")

    def _what_the_manager_says(self) -> str:
        for item in reversed(self._manager.history()[-3:]):
            said = str((item.get("result") or {}).get("msg") or "")
            if said:
                return f"the worker did not run it: {said}"
        return "the worker did not run it, and does not say why"

    def finish(self, record: Record, ticket: Ticket, report: Mapping[str, Any]) -> None:
        """Take note of how an attempt has ended, as the worker reports."""
        status, reason = str(report.get("exit_status", "fail")), str(report.get("reason") or "")
        run_uid = report.get("run_uid") or None
        if ticket.what == "look_at_cell":
            if status == "success":
                attempts = (*record.attempts[:-1], record.attempts[-1].model_copy(
                    update={"reason": ""}))  # fmt: skip
                # The cell is as it was found; going on looks at it against the record.
                self._store.change_record(record.item, attempts=attempts, state="starting")
            else:
                self._end(record, "held", f"the cell could not be looked at: {reason}")
            return
        kind = record.attempts[-1].kind
        end_of_life = report.get("end_of_life")
        drove = run_uid is not None and not report.get("refused")
        state = _state_of(record, status, kind, drove=drove)
        early = report.get("stopped") or ended_early(report)
        if early and state in ("done", "resumed"):
            state = "stopped"
        reason = reason or (str((end_of_life or {}).get("reason", "")))
        # First what follows from it: once the record is closed nobody comes back to this.
        self._conclude(record, state, reason, report, end_of_life)
        self._end(record, state, reason, exit_status=status, run_uid=run_uid)
        if state == "failed":
            self._hold_after_failures()

    def _conclude(
        self,
        record: Record,
        state: str,
        reason: str,
        report: Mapping[str, Any],
        end_of_life: Mapping[str, Any] | None,
    ) -> None:
        """Draw the conclusions for what is next: for this cell, and for the station."""
        mount = self._store.mount(self._name)
        mine = mount is not None and mount.cell_id == record.cell_id
        stopped = report.get("stopped")
        if mine and end_of_life:
            self.finish_cell(cast(Mount, mount), str(end_of_life.get("reason") or reason))
        elif mine and stopped:
            why = f"stopped by {stopped.get('by')}: {stopped.get('why') or 'no reason given'}"
            self.finish_cell(cast(Mount, mount), why)
        elif mine and left_shorted(report) and not _short_allowed(record):
            self.finish_cell(cast(Mount, mount), f"it was left shorted ({reason})")
        elif state == "stopped" and ended_early(report):
            self._pause_after_early_end(record, ended_early(report))
        elif state == "stopped":
            why = f"item {record.item[:8]} was ended by hand ({reason})"
            self._store.change_station(self._name, paused=True, why=why)
        if state == "failed":
            handling = f"{reason} {report.get('handling') or ''}"
            if "NOT known to be safe" in handling:
                self.hold(f"the cell may not be safe: {handling}")

    def _pause_after_early_end(self, record: Record, reason: str) -> None:
        """Have somebody look at a cell whose item a rule or a limit ended before its time."""
        why = (
            f"item {record.item[:8]} on {record.cell_id} {EARLY} ({reason}): look at "
            f"the cell; operando queue resume {self._name} goes on with what is queued, operando "
            f"queue stop {record.cell_id} ends it"
        )
        self._store.change_station(self._name, paused=True, why=why)
        self._house.alerts.send(
            "item_held",
            f"Item {record.item[:8]} on {record.cell_id} {EARLY}",
            why,
            station=self._name,
        )

    def _hold_after_failures(self) -> None:
        last = self._store.records(self._name, last=_FAILURES_IN_A_ROW)
        if len(last) == _FAILURES_IN_A_ROW and all(one.state == "failed" for one in last):
            self.hold(
                f"the last {len(last)} items failed, the last one: {last[-1].reason}. When the "
                f"bench is in order: operando station decide {self._name} resume"
            )

    def finish_cell(self, mount: Mount, why: str) -> None:
        """Mark the mounted cell as finished; nothing is run on it any more."""
        from operando.queueing.mounting import finish

        finish(self._store, self._name, why, self._house.data_dir)
        self._house.alerts.send(
            "cell_finished",
            f"Cell {mount.cell_id} is finished: mount the next one",
            f"{why}. operando unmount --station {self._name}, then operando mount CELL --station "
            f"{self._name}",
            station=self._name,
        )

    def _skip_items_of(self, mount: Mount, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept, skipped = [], None
        for item in items:
            uid, kwargs = str(item["item_uid"]), dict(item.get("kwargs") or {})
            if cell_of(kwargs) != mount.cell_id:
                kept.append(item)
                continue
            if self._store.record(uid) is None:
                why = f"its cell {mount.cell_id} is finished: {mount.why_finished}"
                now = self._house.clock.wall()
                skipped = Record(
                    item=uid,
                    station=self._name,
                    cell_id=mount.cell_id,
                    label=str(kwargs.get("label", "")),
                    campaign=str(kwargs.get("campaign", "")),
                    state="skipped",
                    reason=why,
                    kwargs=kwargs,
                    ended=now,
                    by=str(item.get("user", "")),
                )
                self._store.put_record(skipped)
            self._take_out(uid)
        if skipped is not None:
            self._tell_campaign(skipped)
        return kept

    # -- deaths

    def after_death(self, record: Record, what: str) -> Record:
        """Decide what becomes of the item in which the worker died, and note it."""
        ticket = self._files.ticket()
        report = self._files.report(cast(Ticket, ticket)) if _is_of(ticket, record) else None
        if report is not None:
            self.finish(record, cast(Ticket, ticket), report)
            return self._store.record(record.item) or record
        if not _is_of(ticket, record):
            return record  # it was not begun: it will be
        run = last_run(self._house.data_dir, record.item)
        policy = cast(OnDeath, record.kwargs.get("on_death") or self._entry.on_death)
        other_boot = cast(Ticket, ticket).boot != self._house.clock.boot()
        without_current = other_boot and self._entry.supply == "mains"
        without_current |= record.attempts[-1].reason == LOOK_FIRST
        after = decided(
            record,
            what,
            run,
            policy=policy,
            look_first=without_current and run is not None,
            now=self._house.clock.wall(),
        )
        if after.over and run is not None and not run.interrupted:
            end_of_life = (run.stop or {}).get("end_of_life")
            self._conclude(after, after.state, run.reason, run.stop or {}, end_of_life)
        self._store.put_record(after)
        if after.state == "held":
            self._tell_held(after)
        return after

    def hold(self, why: str) -> None:
        """Start nothing further until somebody decides."""
        now = self._house.clock.wall()
        self._store.change_station(self._name, state="held", why=why, since=now)
        self._house.alerts.send("item_held", "Nothing is started", why, station=self._name)

    # -- telling

    def ask_for(self, choice: Choice) -> None:
        """Ask, once, for the cells that items wait for to be mounted."""
        wanted = ", ".join(choice.unmounted)
        if wanted and wanted != self._wanted:
            self._house.alerts.send(
                "cell_wanted",
                f"Mount {choice.unmounted[0]}",
                f"Items wait for: {wanted}. operando mount CELL --station {self._name}",
                station=self._name,
            )
        self._wanted = wanted

    def _as_recorded(self, record: Record, run: LastRun) -> None:
        report = {
            "exit_status": run.exit_status,
            "reason": run.reason,
            "run_uid": run.uid,
            "refused": run.refused,
        }
        ticket = self._files.ticket()
        self.finish(record, cast(Ticket, ticket), report | dict(run.stop or {}) | report)

    def _end(
        self,
        record: Record,
        state: str,
        reason: str,
        *,
        exit_status: str = "",
        run_uid: str | None = None,
    ) -> None:
        now = self._house.clock.wall()
        last = record.attempts[-1].model_copy(
            update={
                "ended": now,
                "exit_status": exit_status,
                "reason": reason,
                "run_uid": run_uid or record.attempts[-1].run_uid,
            }
        )
        after = record.model_copy(
            update={
                "state": state,
                "reason": reason,
                "attempts": (*record.attempts[:-1], last),
                "ended": None if state == "held" else now,
            }
        )
        self._store.put_record(after)
        self._tell_campaign(after)
        if state == "held":
            self._tell_held(after)
        elif state == "failed":
            self._house.alerts.send(
                "item_failed",
                f"Item {record.item[:8]} on {record.cell_id} failed",
                reason,
                station=self._name,
            )

    def _tell_campaign(self, record: Record) -> None:
        """Tell when nothing of a campaign is left in any station of this computer."""
        campaign = record.campaign
        if not campaign or not record.over:
            return
        for entry in self._house.stations.stations:
            items = pending(self._store, entry.name)
            if any((one.get("kwargs") or {}).get("campaign") == campaign for one in items):
                return
            state = self._store.station(entry.name)
            other = None if state is None or not state.item else self._store.record(state.item)
            if other is not None and not other.over and other.campaign == campaign:
                return
        self._house.alerts.send(
            "campaign_done",
            f"Campaign {campaign} is done",
            f"What became of its items: operando queue history. The last was {record.item[:8]} "
            f"on {record.cell_id} ({record.state})",
        )

    def _tell_held(self, record: Record) -> None:
        now = self._house.clock.wall()
        self._store.change_station(self._name, state="held", why=record.reason, since=now)
        self._house.alerts.send(
            "item_held",
            f"Item {record.item[:8]} on {record.cell_id} is held",
            f"{record.reason}. operando station decide {self._name} resume|skip|fail",
            station=self._name,
        )


def _is_of(ticket: Ticket | None, record: Record) -> bool:
    """Return whether a ticket was given for the attempt that a record ends with."""
    return (
        ticket is not None
        and ticket.item == record.item
        and ticket.attempt == len(record.attempts)
        and (ticket.what == "look_at_cell") == (record.attempts[-1].reason == LOOK_FIRST)
    )


def _short_allowed(record: Record) -> bool:
    """Return whether its protocol says that a hard short ends no life of a cell."""
    protocol = record.kwargs.get("protocol")
    told = protocol.get("end_of_life") if isinstance(protocol, Mapping) else None
    return isinstance(told, Mapping) and told.get("hard_short") is False


def _idle(status: Mapping[str, Any]) -> bool:
    return (
        status.get("manager_state") == "idle" and status.get("worker_environment_state") == "idle"
    )


def _state_of(record: Record, status: str, kind: str, *, drove: bool) -> str:
    """Return what an item becomes by how its attempt ended."""
    if status == "success":
        before = any(one.kind == "resume" for one in record.attempts)
        return "resumed" if before or kind == "resume" else "done"
    if status == "abort":
        return "stopped"
    # Going on was refused, nothing was driven: somebody has to decide.
    return "held" if kind == "resume" and not drove else "failed"
