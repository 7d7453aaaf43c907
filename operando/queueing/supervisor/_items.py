"""The items of one station: which is begun, how it is followed, and what it becomes.

Whatever is about to be done is written first, into Redis (the record of the item) or a file (the
ticket). After a death at any point the next supervisor reads from these how far it came.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, cast

from operando.queueing.errors import NotKnownError, QueueError
from operando.queueing.mains import Mains
from operando.queueing.managers import Manager
from operando.queueing.model import EARLY, Attempt, Command, Mount, Record
from operando.queueing.sanitise import drop, pending, sanitise
from operando.queueing.store import manager_prefix, told
from techniques import StationEntry
from techniques.queueing import OnDeath

from ._choice import Choice, cell_of, choose, why_not_on
from ._deaths import LOOK_FIRST, MAINS, again, decided
from ._endings import Noted, noted, why_ended, why_stopped
from ._ends import ended_early, left_shorted
from ._files import StationFiles, Ticket, What
from ._house import House
from ._journal import LastRun, last_run, told_to_end
from ._rebuilt import rebuilt

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
        mains: Its mains.
    """

    def __init__(
        self,
        house: House,
        entry: StationEntry,
        files: StationFiles,
        manager: Manager,
        mains: Mains,
    ) -> None:
        self._house = house
        self._store = house.store
        self._entry = entry
        self._name = entry.name
        self._files = files
        self._manager = manager
        self._mains = mains
        # Which attempt the queue server refused, and how often.
        self._refused: tuple[tuple[str, int], int] = ("", 0), 0
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
        # A cell at another computer is not in the instruments of this one.
        mount = None if self._house.elsewhere(mount) else mount
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

    def begin(self, item: Mapping[str, Any], mount: Mount) -> None:
        """Begin an item of the queue: it is recorded, taken out, and then executed.

        Unless somebody removed or held it, or paused the station, since it was chosen.
        """
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
            host=self._house.here["host"],
            data_dir=self._house.here["data_dir"],
        )
        self._store.clear_commands(self._name)
        # In this order: an item that the station names and that has no record was not begun.
        state = self._store.change_station(self._name, item=uid, state="running", since=now)
        # Whoever has the record first has the item: it is begun, or it was removed.
        if state.paused or not self._store.add_record(record):
            self._store.change_station(self._name, item=None, state="idle")
            return
        self._store.change_station(self._name, why="")
        taken = self._take_out(uid)
        if taken is None:
            why = "it was taken out of the queue as it was about to begin"
            self._store.change_record(uid, state="removed", reason=why, attempts=(), ended=now)
            return
        kwargs = dict(taken.get("kwargs") or kwargs)
        kept = {key: value for key, value in kwargs.items() if key != "ticket"}
        record = self._store.change_record(uid, kwargs=kept)
        if kwargs.get("hold"):
            self._end(record, "held", "somebody held it as it was about to begin")
            return
        self._execute(record)

    def _take_out(self, uid: str) -> Mapping[str, Any] | None:
        """Take an item out of the queue and return it; ``None``: it was not in there any more.

        Nothing in it: it is gone, and maybe it was us who took it.
        """
        try:
            return self._manager.remove(uid)
        except QueueError as error:
            there = [one for one in pending(self._store, self._name) if one["item_uid"] == uid]
            if there and "is not in the queue" in str(error):
                # Redis died while it was added: it is kept, and its manager was never told.
                drop(self._store, self._name, uid)
                return there[0]
            if there:
                raise
            return {} if isinstance(error, NotKnownError) else None

    def _execute(self, record: Record) -> None:
        """Have the worker carry out the attempt that the record ends with."""
        where = self._house.elsewhere(record)
        if where:
            why = f"it was begun at {where}, and may be driven there still: it is not driven here"
            self._end(record, "held", why)
            return
        if self.ended_as_wished(record) or self._is_settled(record):
            return
        if self._mains.why:
            self._end(record, "held", self._mains.why, exit_status=MAINS)
            return
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
        except NotKnownError:
            raise  # it may run: that is found out by following it
        except QueueError as error:
            of, count = self._refused
            self._refused = (record.item, number), count + 1 if of == (record.item, number) else 1
            if self._refused[1] < _REFUSALS:
                raise
            self._end(record, "held", f"it could not be begun: {error}", exit_status="refused")
            return
        self._idle_since = None
        self._store.change_record(record.item, state="running")
        self._store.change_station(self._name, state="running", item=record.item)

    def _is_settled(self, record: Record) -> bool:
        """Return whether an attempt is not to be executed, and what became of it was noted.

        Of no item a cell is driven that is not there, and none is begun that had begun.
        """
        mount = self._store.mount(self._name)
        why = why_not_on(record, None if self._house.elsewhere(mount) else mount)
        if why:
            self._end(record, "held", why)
            return True
        if self._begun(record) is None:
            return False
        self.after_death(record, "it had begun before, and who began it is gone")
        return True

    def _begun(self, record: Record) -> LastRun | None:
        """Return the run of an attempt that was begun although no ticket tells it; ``None``: none.

        The ticket is lost with its file, and the attempts of an item with an older Redis.
        """
        run = last_run(self._house.data_dir, record.item, record.cell_id)
        if record.attempts[-1].kind == "run" or run is None:
            return run
        # A resume goes on with whatever was interrupted last; what it has ended is not resumed.
        known = any(one.run_uid == run.uid for one in record.attempts[:-1])
        return None if known or run.interrupted else run

    def _journal_waited_for(self) -> bool:
        """Return whether a journal that somebody still holds was waited for long enough."""
        now = time.monotonic()
        self._journal_since = self._journal_since or now
        return now - self._journal_since > _JOURNAL_CLOSED_WITHIN_S

    def rebuild(self, item: str, *, held: bool) -> Record | None:
        """Return, made anew, the record of an item that cannot be read; ``None``: it had none."""
        now, ticket = self._house.clock.wall(), self._files.ticket()
        record = rebuilt(
            self._store, self._house.data_dir, self._name, item, ticket, held=held, now=now
        )
        if record is not None:
            self._store.put_record(record)
            self._house.alerts.send(
                "poisoned",
                f"The record of item {item[:8]} could not be read",
                "It was made anew of ticket, journal and mounted cell; the item is "
                + ("held" if record.state == "held" else "followed on"),
                station=self._name,
            )
            if record.state == "held":
                self._tell_held(record)
        return record

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
        if told_to_end(status, reason):
            self.after_death(record, f"the worker was told to end ({reason})")
            return
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
        if state == "failed" and self._mains.lost is not None:
            # Of that maybe; nobody but people can tell.
            state, reason = "held", f"{self._mains.lost.told}, and its run failed: {reason}"
        wish = self._store.wish(self._name, record.item)
        if wish is not None and state in ("held", "stopped"):
            if state == "held":
                # It need not go on any more.
                state, reason = "stopped", f"{why_ended(wish)}; {reason}"
            if wish.do == "stop":
                report = {**report, "stopped": {"by": wish.by, "why": wish.text}}
        # First what follows from it: once the record is closed nobody comes back to this.
        self._conclude(record, state, reason, report, end_of_life)
        if wish is not None and wish.do == "stop":
            self._finish_mine(record, why_stopped(wish.by, wish.text))
        self._end(record, state, reason, exit_status=status, run_uid=run_uid)
        self._wish_came_true(record, wish, state)
        late = self._store.wish(self._name, record.item) if wish is None else None
        if late is not None and state != "held":
            # It came while this was written down.
            if late.do == "stop":
                self._finish_mine(record, why_stopped(late.by, late.text))
            self._wish_came_true(record, late, state)
        if state == "failed":
            self._hold_after_failures()

    # -- ending what nobody drives

    def ended_as_wished(self, record: Record, run: LastRun | None = None) -> bool:
        """End an item that nobody drives if somebody wants it to end; return whether it was.

        Args:
            record: The item.
            run: Its last run, if it was lost just now; what that has on record counts as well.
        """
        wish = self._store.wish(self._name, record.item)
        found = Noted() if run is None else noted(self._house.data_dir, run.uid)
        if wish is None and found.stopped is None:
            return False
        stopped = found.stopped
        if wish is not None and (stopped is None or wish.do == "stop"):
            stopped = {"by": wish.by, "why": wish.text} if wish.do == "stop" else None
        reason = Noted(stopped).why if wish is None or stopped is not None else why_ended(wish)
        why = f"{reason}; {record.reason}" if record.reason else reason
        self._conclude(record, "stopped", reason, {"stopped": stopped}, None)
        if record.state == "held":
            now = self._house.clock.wall()
            state = self._store.station(self._name)
            told_why = state.why if state is not None and state.paused else ""
            self._store.change_station(self._name, state="idle", why=told_why, since=now)
        self._end(record, "stopped", why, exit_status=record.attempts[-1].exit_status)
        self._wish_came_true(record, wish, "stopped")
        return True

    def finish_if_noted(self, record: Record) -> None:
        """Finish the cell of an item that does not go on, if its last run says so."""
        run = last_run(self._house.data_dir, record.item)
        if run is not None:
            self._finish_mine(record, noted(self._house.data_dir, run.uid).why)

    def _finish_mine(self, record: Record, why: str) -> None:
        mount = self._store.mount(self._name)
        mine = mount is not None and mount.cell_id == record.cell_id
        if why and mine and cast(Mount, mount).state != "finished":
            self.finish_cell(cast(Mount, mount), why)

    def _wish_came_true(self, record: Record, wish: Command | None, state: str) -> None:
        if wish is None:
            return
        said = f"item {record.item[:8]} has ended ({state})"
        if wish.do == "stop":
            said += f", and nothing more is run on cell {record.cell_id}"
        self._store.answer(self._name, wish, said)
        self._store.forget_wish(self._name, record.item)

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
        ended = report is not None and told_to_end(
            str(report.get("exit_status")), str(report.get("reason") or "")
        )
        if report is not None and not ended:
            self.finish(record, cast(Ticket, ticket), report)
            return self._store.record(record.item) or record
        given = _is_of(ticket, record)
        if not given and self._begun(record) is None:
            if not self._mains.why:
                return record  # it was not begun: it will be
            self._end(record, "held", self._mains.why, exit_status=MAINS)
            return self._store.record(record.item) or record
        run = last_run(self._house.data_dir, record.item)
        lost = self._lost(record, what, run)
        if (run is None or run.interrupted) and self.ended_as_wished(lost, run):
            return self._store.record(record.item) or record
        policy = cast(OnDeath, record.kwargs.get("on_death") or self._entry.on_death)
        other_boot = not given or cast(Ticket, ticket).boot != self._house.clock.boot()
        without_current = other_boot and self._entry.supply == "mains"
        without_current |= record.attempts[-1].reason == LOOK_FIRST
        after = decided(
            record,
            what,
            run,
            policy=policy,
            look_first=without_current and run is not None,
            now=self._house.clock.wall(),
            mains=self._mains.why,
        )
        wish = self._store.wish(self._name, record.item)
        if after.over and run is not None and not run.interrupted:
            end_of_life = (run.stop or {}).get("end_of_life")
            self._conclude(after, after.state, run.reason, run.stop or {}, end_of_life)
            if wish is not None and wish.do == "stop":
                self._finish_mine(after, why_stopped(wish.by, wish.text))
        elif after.over:
            self.finish_if_noted(after)
        self._store.put_record(after)
        if after.over:
            self._wish_came_true(after, wish, after.state)
        if after.state == "held":
            self._tell_held(after)
        return after

    def waits_for_mains(self, record: Record) -> bool:
        """Return whether an item is held for nothing but that the mains were lost."""
        last = record.attempts[-1:]
        return record.state == "held" and [one.exit_status for one in last] == [MAINS]

    def mains_are_back(self, record: Record) -> None:
        """Have an item go on that waited for the mains: its cell is looked at first."""
        run, now = last_run(self._house.data_dir, record.item), self._house.clock.wall()
        decisions = record.attempts[-1].decisions
        self._store.put_record(
            again(record, run, now=now, look_first=run is not None, decisions=decisions)
        )
        self._store.change_station(self._name, state="idle", why="", since=now)

    def _lost(self, record: Record, what: str, run: LastRun | None) -> Record:
        """Return an item whose last attempt is told to have been lost."""
        last = record.attempts[-1].model_copy(
            update={
                "exit_status": "lost",
                "reason": what,
                "run_uid": None if run is None else run.uid,
            }
        )
        return record.model_copy(update={"reason": what, "attempts": (*record.attempts[:-1], last)})

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
        if self.waits_for_mains(record):
            return  # who told of the mains has told of this
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
