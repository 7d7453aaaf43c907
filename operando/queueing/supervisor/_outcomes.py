"""What the items of one station become, and what follows for the cell, the station and people.

What follows is done first, the record of the item is closed last: once it is closed nobody comes
back to this.
"""

from collections.abc import Mapping
from typing import Any, cast

from operando.queueing.mains import Mains
from operando.queueing.model import EARLY, Command, Mount, Record, StationState, why_stopped
from operando.queueing.sanitise import pending
from techniques import StationEntry
from techniques.queueing import OnDeath

from ._deaths import LOOK_FIRST, MAINS, again, decided
from ._endings import Noted, noted, why_ended
from ._ends import ended_early, left_shorted
from ._files import StationFiles, Ticket
from ._house import House
from ._journal import LastRun, last_run, told_to_end

_FAILURES_IN_A_ROW, _LOOKED_BACK = 3, 100
# What a session tells of a bench that it could not leave safe.
_UNSAFE = "NOT known to be safe"


class Outcomes:
    """Notes what the items of one station become.

    Args:
        house: What all stations share.
        entry: The station.
        files: Its files.
        mains: Its mains.
    """

    def __init__(
        self, house: House, entry: StationEntry, files: StationFiles, mains: Mains
    ) -> None:
        self._house = house
        self._store = house.store
        self._entry = entry
        self._name = entry.name
        self._files = files
        self._mains = mains

    # -- how an attempt ended

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
                self.end(record, "held", f"the cell could not be looked at: {reason}")
            return
        kind = record.attempts[-1].kind
        end_of_life = report.get("end_of_life")
        drove = run_uid is not None and not report.get("refused")
        state = _state_of(record, status, kind, drove=drove)
        if state == "failed" and not drove and report.get("of_bench"):
            # The items behind it would be refused as well, one after the other.
            state, reason = "held", f"nothing was driven: {reason}"
        early = report.get("stopped") or ended_early(report)
        if early and state in ("done", "resumed"):
            state = "stopped"
        reason = reason or (str((end_of_life or {}).get("reason", "")))
        if state == "failed" and self._mains.lost is not None:
            # Of that maybe; nobody but people can tell.
            state, reason = "held", f"{self._mains.lost.told}, and its run failed: {reason}"
        handling = str(report.get("handling") or "")
        if state == "held" and _UNSAFE in handling and _UNSAFE not in reason:
            reason = f"{reason}; {handling}"
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
        self.end(record, state, reason, exit_status=status, run_uid=run_uid)
        self._wish_came_true(record, wish, state)
        late = self._store.wish(self._name, record.item) if wish is None else None
        if late is not None and state != "held":
            # It came while this was written down.
            if late.do == "stop":
                self._finish_mine(record, why_stopped(late.by, late.text))
            self._wish_came_true(record, late, state)
        if state == "failed":
            self._hold_after_failures()

    def as_recorded(self, record: Record, run: LastRun) -> None:
        """Take note of how an attempt has ended of which nobody reports, as its run tells."""
        report = {
            "exit_status": run.exit_status,
            "reason": run.reason,
            "run_uid": run.uid,
            "refused": run.refused,
        }
        ticket = self._files.ticket()
        self.finish(record, cast(Ticket, ticket), report | dict(run.stop or {}) | report)

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
            self._store.change_station(self._name, state="idle", why="", since=now)
        self.end(record, "stopped", why, exit_status=record.attempts[-1].exit_status)
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

    # -- what follows for the cell and the station

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
            why = why_stopped(str(stopped.get("by")), str(stopped.get("why") or ""))
            self.finish_cell(cast(Mount, mount), why)
        elif mine and left_shorted(report) and not self._short_allowed(record):
            self.finish_cell(cast(Mount, mount), f"it was left shorted ({reason})")
        elif state == "stopped" and ended_early(report):
            self._pause_after_early_end(record, ended_early(report))
        elif state == "stopped":
            why = f"item {record.item[:8]} was ended by hand ({reason})"
            self._store.pause_station(self._name, why)
        handling = str(report.get("handling") or "")
        if _UNSAFE in reason or _UNSAFE in handling:
            told = reason if handling in reason else f"{reason} {handling}"
            self.hold(f"the cell may not be safe: {told}")

    def _pause_after_early_end(self, record: Record, reason: str) -> None:
        """Have somebody look at a cell whose item a rule or a limit ended before its time."""
        why = (
            f"item {record.item[:8]} on {record.cell_id} {EARLY} ({reason}): look at "
            f"the cell; operando queue resume {self._name} goes on with what is queued, operando "
            f"queue stop {record.cell_id} ends it"
        )
        self._store.pause_station(self._name, why)
        self._house.alerts.send(
            "item_held",
            f"Item {record.item[:8]} on {record.cell_id} {EARLY}",
            why,
            station=self._name,
        )

    def _hold_after_failures(self) -> None:
        # What was removed or skipped meanwhile has shown nothing of the bench.
        known = self._store.records(self._name, last=_LOOKED_BACK)
        last = [one for one in known if one.attempts][-_FAILURES_IN_A_ROW:]
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

    # -- deaths

    def after_death(self, record: Record, what: str, done: str = "") -> Record:
        """Decide what becomes of the item in which the worker died, and note it.

        Args:
            record: The item.
            what: What happened.
            done: What was done for its cell since; empty: nothing was.
        """
        ticket = self._files.ticket()
        report = self._files.report(cast(Ticket, ticket)) if is_of(ticket, record) else None
        ended = report is not None and told_to_end(
            str(report.get("exit_status")), str(report.get("reason") or "")
        )
        if report is not None and not ended:
            self.finish(record, cast(Ticket, ticket), report)
            return self._store.record(record.item) or record
        handling = str((report or {}).get("handling") or "")
        if _UNSAFE in handling and (not done or "NOT " in done):
            done = "; ".join(filter(None, (handling, done)))
        what = "; ".join(filter(None, (what, done)))
        given = is_of(ticket, record)
        if not given and self.begun(record) is None:
            if not self._mains.why:
                return record  # it was not begun: it will be
            self.end(record, "held", self._mains.why, exit_status=MAINS)
            return self._store.record(record.item) or record
        run = last_run(self._house.data_dir, record.item)
        lost = self._lost(record, what, run)
        if (run is None or run.interrupted) and self.ended_as_wished(lost, run):
            return self._store.record(record.item) or record
        policy = cast(OnDeath, record.kwargs.get("on_death") or self._entry.on_death)
        other_boot = not given or cast(Ticket, ticket).boot != self._house.clock.boot()
        without_current = other_boot and self._mains.entry.supply == "mains"
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
            self.tell_held(after)
        return after

    def begun(self, record: Record) -> LastRun | None:
        """Return the run of an attempt that was begun although no ticket tells it; ``None``: none.

        The ticket is lost with its file, and the attempts of an item with an older Redis.
        """
        run = last_run(self._house.data_dir, record.item, record.cell_id)
        if record.attempts[-1].kind == "run" or run is None:
            return run
        # A resume goes on with whatever was interrupted last; what it has ended is not resumed.
        known = any(one.run_uid == run.uid for one in record.attempts[:-1])
        return None if known or run.interrupted else run

    def waits_for_mains(self, record: Record) -> bool:
        """Return whether an item is held for nothing but that the mains were lost."""
        return record.waits_for_mains

    def may_go_on(self, record: Record, state: StationState) -> bool:
        """Return whether an item that waited for nothing but the mains goes on by itself now."""
        return record.waits_for_mains and self._mains.lost is None and not state.paused

    def mains_are_back(self, record: Record) -> None:
        """Have an item go on that waited for the mains: its cell is looked at first.

        What somebody decided holds for the interruption that he saw: not once it was gone on with.
        """
        run, now = last_run(self._house.data_dir, record.item), self._house.clock.wall()
        seen = run is not None and any(one.run_uid == run.uid for one in record.attempts[:-1])
        decisions = record.attempts[-1].decisions if seen else {}
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
        self._files.keep_held(why)
        now = self._house.clock.wall()
        self._store.change_station(self._name, state="held", why=why, since=now)
        self._house.alerts.send("item_held", "Nothing is started", why, station=self._name)

    # -- writing down, and telling

    def end(
        self,
        record: Record,
        state: str,
        reason: str,
        *,
        exit_status: str = "",
        run_uid: str | None = None,
    ) -> None:
        """Note what the attempt that a record ends with, and with it the item, has become."""
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
        self.tell_campaign(after)
        if state == "held":
            self.tell_held(after)
        elif state == "failed":
            self._house.alerts.send(
                "item_failed",
                f"Item {record.item[:8]} on {record.cell_id} failed",
                reason,
                station=self._name,
            )

    def tell_campaign(self, record: Record) -> None:
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

    def tell_held(self, record: Record) -> None:
        """Hold the station with an item that is held, and tell people."""
        now = self._house.clock.wall()
        self._store.change_station(self._name, state="held", why=record.reason, since=now)
        if self.waits_for_mains(record):
            # Who told of the mains has told of this.
            if _UNSAFE in record.reason:
                what = "The cell may not be safe"
                self._house.alerts.send("item_held", what, record.reason, station=self._name)
            return
        self._house.alerts.send(
            "item_held",
            f"Item {record.item[:8]} on {record.cell_id} is held",
            f"{record.reason}. operando station decide {self._name} resume|skip|fail",
            station=self._name,
        )

    def _short_allowed(self, record: Record) -> bool:
        """Return whether its protocol says that a hard short ends no life of a cell.

        So must the one to which it was changed while it ran, if it was.
        """
        own, amended = record.kwargs.get("protocol"), self._store.amended(record.item)
        return _allows_a_short(own) and (amended is None or _allows_a_short(amended))


def _allows_a_short(protocol: object) -> bool:
    told = protocol.get("end_of_life") if isinstance(protocol, Mapping) else None
    return isinstance(told, Mapping) and told.get("hard_short") is False


def is_of(ticket: Ticket | None, record: Record) -> bool:
    """Return whether a ticket was given for the attempt that a record ends with."""
    return (
        ticket is not None
        and ticket.item == record.item
        and ticket.attempt == len(record.attempts)
        and (ticket.what == "look_at_cell") == (record.attempts[-1].reason == LOOK_FIRST)
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
