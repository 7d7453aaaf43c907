"""The items of one station: which is begun, and how it is followed.

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
from operando.queueing.model import Attempt, Mount, Record
from operando.queueing.sanitise import drop, pending, sanitise
from operando.queueing.store import manager_prefix, told

from ._choice import Choice, cell_of, choose, why_not_on
from ._deaths import LOOK_FIRST, MAINS
from ._endings import stop_of
from ._files import StationFiles, Ticket, What
from ._house import House
from ._journal import last_run
from ._outcomes import Outcomes, is_of
from ._rebuilt import mounted_anew, rebuilt

_log = logging.getLogger(__name__)

# The manager tells that it is idle for an instant before it is not, and after it was not.
_QUIET_S = 3.0
_REFUSALS = 3
_JOURNAL_CLOSED_WITHIN_S = 120.0
# Of what it executed a queue server tells its own clients so many.
_EXECUTED_KEPT = 100


class Items:
    """Chooses, begins and follows the items of one station.

    Args:
        house: What all stations share.
        files: The files of the station.
        manager: Its queue server.
        mains: Its mains.
        outcomes: Notes what the items become.
    """

    def __init__(
        self,
        house: House,
        files: StationFiles,
        manager: Manager,
        mains: Mains,
        outcomes: Outcomes,
    ) -> None:
        self._house = house
        self._store = house.store
        self._name = manager.station
        self._files = files
        self._manager = manager
        self._mains = mains
        self._outcomes = outcomes
        # Which attempt the queue server refused, and how often.
        self._refused: tuple[tuple[str, int], int] = ("", 0), 0
        self._idle_since: float | None = None
        self._journal_since: float | None = None
        self._wanted: str = ""

    # -- choosing

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
        there = self._store.records_of([uid for uid in dict.fromkeys(named) if uid])
        record = {one.item: one for one in there}.get
        # A cell at another computer is not in the instruments of this one.
        mount = None if self._house.elsewhere(mount) else mount
        choice = choose(items, record, mount, self._house.clock.wall())
        for item in items:
            if record(str(item["item_uid"])) is not None:
                # Whoever began it died before it was taken out.
                self._take_out(str(item["item_uid"]))
        return choice

    def sanitise(self) -> None:
        """Move away what is no item of the queue. Raises QueueError."""
        sanitise(self._store, self._name)

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
            self._outcomes.tell_campaign(skipped)
        return kept

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

    # -- beginning

    def begin(self, item: Mapping[str, Any], mount: Mount) -> None:
        """Begin an item of the queue: it is recorded, taken out, and then executed.

        Unless somebody removed or held it, or paused the station, since it was chosen.
        """
        self._trim()
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
            if state.paused or self._store.record(uid) is not None:
                self._store.change_station(self._name, item=None, state="idle")
            # Else it had one that was lost: it is made anew, and not begun.
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
            self._outcomes.end(record, "held", "somebody held it as it was about to begin")
            return
        self._execute(record)

    def _trim(self) -> None:
        """Have the queue server forget what it executed long ago: records are kept by us."""
        try:
            self._manager.trim_history(_EXECUTED_KEPT)
        except QueueError as error:
            _log.info("station %s: %s", self._name, error)

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
            self._outcomes.end(record, "held", why)
            return
        if self._outcomes.ended_as_wished(record) or self._is_settled(record):
            return
        if self._mains.why:
            self._outcomes.end(record, "held", self._mains.why, exit_status=MAINS)
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
                self._outcomes.end(
                    record, "held", "it is to go on, and there is no run of it any more"
                )
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
            potentiostat="" if mounted is None else mounted.potentiostat,
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
            self._outcomes.end(
                record, "held", f"it could not be begun: {error}", exit_status="refused"
            )
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
            self._outcomes.end(record, "held", why)
            return True
        if self._outcomes.begun(record) is None:
            return False
        self._outcomes.after_death(record, "it had begun before, and who began it is gone")
        return True

    def _journal_waited_for(self) -> bool:
        """Return whether a journal that somebody still holds was waited for long enough."""
        now = time.monotonic()
        self._journal_since = self._journal_since or now
        return now - self._journal_since > _JOURNAL_CLOSED_WITHIN_S

    # -- what was lost

    def rebuild(self, item: str, *, held: bool) -> Record | None:
        """Return, made anew, the record of an item that cannot be read; ``None``: it had none."""
        now, ticket = self._house.clock.wall(), self._files.ticket()
        record = rebuilt(
            self._store, self._house.data_dir, self._name, item, ticket, held=held, now=now
        )
        if record is not None:
            self._store.put_record(record)
            if record.state == "held":
                self._outcomes.tell_held(record)
        return record

    def see_to_cell(self, record: Record) -> None:
        """Make good what the cell of an item that is under way was not told.

        A mount that nobody could read is made anew: as long as an item is under way on a cell it is
        not taken out. And who stops a cell while nobody can say what runs on it has finished it
        alone: its item is to end as well.
        """
        mount = self._store.mount(self._name)
        if mount is None and record.cell_id:
            where = self._store.mounted_at(record.cell_id)
            # Also where that is lost as well, if the cell is being driven.
            if where == self._name or (where is None and record.state == "running"):
                mount = mounted_anew(self._store, self._house.data_dir, record)
        if mount is None or (mount.cell_id, mount.state) != (record.cell_id, "finished"):
            return
        wish = stop_of(mount.why_finished, record.item, self._house.clock.wall())
        if wish is not None and self._store.wish(self._name, record.item) is None:
            self._store.keep_wish(self._name, wish)

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
        if not is_of(ticket, record):
            if status is not None and _idle(status):
                self._execute(record)
            return False
        report = self._files.report(cast(Ticket, ticket))
        if report is not None:
            self._idle_since = None
            self._outcomes.finish(record, cast(Ticket, ticket), report)
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
                self._outcomes.end(
                    record, "held", "its run has no end, and the worker does nothing"
                )
            else:
                self._outcomes.as_recorded(record, run)
            return
        if record.state == "starting":
            self._execute(record)  # it was never begun: the ticket before is void
            return
        # Nobody knows why nothing was driven: the next item would not be run either.
        self._outcomes.end(record, "held", self._what_the_manager_says(), exit_status="refused")

    def _what_the_manager_says(self) -> str:
        for item in reversed(self._manager.history()[-3:]):
            said = str((item.get("result") or {}).get("msg") or "")
            if said:
                return f"the worker did not run it: {said}"
        return "the worker did not run it, and does not say why"


def _idle(status: Mapping[str, Any]) -> bool:
    return (
        status.get("manager_state") == "idle" and status.get("worker_environment_state") == "idle"
    )
