"""One station: its worker is opened, watched and closed, and given one item after the other."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from operando.queueing.errors import QueueError
from operando.queueing.mains import Mains
from operando.queueing.model import Record, StationState
from operando.queueing.store import manager_prefix, told
from techniques import StationEntry

from . import _deaths
from ._asked import Asked
from ._files import StationFiles, Ticket
from ._house import House
from ._items import Items
from ._journal import last_run
from ._manager_process import ManagerProcess
from ._outcomes import Outcomes
from ._processes import Process
from ._simulators import Simulator
from ._standing import Standing

_log = logging.getLogger(__name__)

_STEP_S = 0.5
# A supervisor that stood still itself has not listened.
_OWN_PAUSE_S = 2.0
_OPENS_WITHIN_S = 180.0
_CLOSES_WITHIN_S = 120.0
_DESTROYED_WITHIN_S = 30.0
_LEAVES_WITHIN_S = 30.0
_LEAVES_ON_BATTERY_WITHIN_S = 15.0
_RETRIES_S = (5.0, 15.0, 60.0)
_TOLD_AGAIN_S = 60.0
# Nobody hears of a worker without its queue server; so often is looked whether it drives a cell.
_ORPHAN_S = 120.0
# A manager takes note of the end of an item within a second.
_STUCK_S = 10.0
# Where nothing has changed everything is looked at again after so long.
_QUIET_S = 3.0


class Station:
    """Keeps one station going; `step` is called again and again, by one thread.

    What it knows it reads anew in each step: from Redis, from the station's files and from its
    manager. So it does not matter whether it, or a supervisor before, did the step before.

    Args:
        house: What all stations share.
        entry: The station.
    """

    def __init__(self, house: House, entry: StationEntry) -> None:
        self._house = house
        self.entry = entry
        self.name = entry.name
        self.files = StationFiles(house.data_dir, entry.name)
        self.process = ManagerProcess(house, entry, self.files)
        self.manager = self.process.manager
        self._mains = Mains(house.data_dir, entry)
        self._outcomes = outcomes = Outcomes(house, entry, self.files, self._mains)
        self._items = Items(house, self.files, self.manager, self._mains, outcomes)
        self._asked = Asked(house, self.name, self.files, self.manager, outcomes.finish_if_noted)
        self._opening_since: float | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._stepped_at = time.monotonic()
        self._said: tuple[str, float] = ("", 0.0)
        self._secured: tuple[Process, str] | None = None
        self._not_ended_told = ""
        self._standing = Standing(house, self.name, self.files)
        self._seen: tuple[Any, ...] = ()
        self._quiet_until = 0.0
        self._stuck_since: float | None = None
        self._unseen_since: float | None = None
        self._orphan_since: float | None = None
        self._failing_since: float | None = None

    def declare(self, entry: StationEntry) -> None:
        """Go by what is declared of the supply of the station now; all else is as it was."""
        self._mains.entry = entry

    def serve(self, stopping: threading.Event) -> None:
        """Step until ``stopping`` is set; whatever fails is tried again."""
        while not stopping.is_set():
            try:
                self.step()
                self._said = ("", 0.0)
                self._failing_since = None
            except QueueError as error:
                self._say(str(error))
                self._tell_failing(str(error))
                self._sanitise()
                self.process.doubt_connections()
            except Exception as error:
                # Any: this is what keeps a cell from being left alone.
                self._say(repr(error), traceback=True)
                self._tell_failing(repr(error))
            self._stepped_at = time.monotonic()
            stopping.wait(_STEP_S)

    def _tell_failing(self, why: str) -> None:
        """Tell somebody, once, that nothing can be done at this station for a while."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        elif 0 < self._failing_since < now - _TOLD_AGAIN_S:
            self._failing_since = -1.0
            what = "Nothing can be done at this station; what runs goes on"
            self._house.alerts.send("station_lost", what, why, station=self.name)

    def _say(self, text: str, *, traceback: bool = False) -> None:
        before, at = self._said
        now = time.monotonic()
        if text != before or now - at > _TOLD_AGAIN_S:
            _log.warning("station %s: %s", self.name, text, exc_info=traceback)
            self._said = (text, now)

    def _sanitise(self) -> None:
        """Move away what nobody can read, if that was it: the queue server breaks at it."""
        try:
            self._items.sanitise()
        except QueueError:
            pass  # Redis is gone, which is seen to

    # -- one step

    def step(self) -> None:
        """Look at everything once, and do what is to be done now. Raises QueueError."""
        if time.monotonic() - self._stepped_at > _OWN_PAUSE_S:
            self.files.begin_listening()
        self._mains.look(self._house.clock.wall(), self._house.clock.steady())
        worker = self.files.worker()
        wrong = _deaths.noticed(self.files, worker)
        if self._mains.out and worker is not None and not wrong:
            # Before the battery of whoever watches its limits is empty; Redis need not be there.
            worker.end(_LEAVES_ON_BATTERY_WITHIN_S)
            wrong = self._mains.why
        if wrong and worker is not None:
            self._dead(worker, wrong)
            return
        glance = self._glance()
        if glance == self._seen and time.monotonic() < self._quiet_until:
            return
        self._seen, self._quiet_until = glance, 0.0
        state = self._state()
        if state.wanted == "closed" and not state.since:
            self._quiet_until = time.monotonic() + _QUIET_S
            return  # nobody ever started it
        try:
            status = self.process.status()
        except QueueError as error:
            self._start_manager(str(error))
            return
        self.process.renew_connections(status)
        if self._is_stuck(status):
            _log.warning("station %s: its manager is stuck; it is started anew", self.name)
            self._stuck_since = None
            self.process.end_manager()
            return
        if self._lost_sight(state, worker, status):
            return
        record = self._record(state)
        if state.state == "held":
            # Also while the worker is opened again.
            held = self._held(state)
            if held is not None:
                self._items.see_to_cell(held)
                if self._outcomes.ended_as_wished(held):
                    return
            # First: what somebody has decided counts, before it goes on by itself.
            self._asked.decide(held)
            held = self._held(state)
            if held is not None and self._outcomes.may_go_on(held, state):
                self._outcomes.mains_are_back(held)
                return
        else:
            self._asked.forget_decision()
        if status is None:
            # Its watchdog is starting it anew; the worker goes on, and reports in a file.
            if record is not None:
                self._items.follow(record, None)
            return
        there = bool(status.get("worker_environment_exists"))
        if worker is not None and not there and status.get("manager_state") == "idle":
            self._orphan(worker, record)
        elif not there:
            if record is not None and worker is None and self._outcomes.ended_as_wished(record):
                return
            idle = status.get("manager_state") == "idle"
            if self._mains.out and idle and state.wanted == "open":
                self._without_mains(state, record)
            else:
                self._closed(state, status)
        elif record is not None:
            self._opening_since, self._failures = None, 0
            if self._items.follow(record, status):
                self._quiet_until = time.monotonic() + _QUIET_S
        else:
            self._open(state, status)

    def _glance(self) -> tuple[Any, ...]:
        """Return what is another one as soon as there is something to do; costs next to nothing."""
        with told():
            pipe = self._house.store.client.pipeline(transaction=False)
            pipe.get(f"operando:station:{self.name}")
            pipe.get(f"operando:mount:{self.name}")
            pipe.lrange(f"{manager_prefix(self.name)}_plan_queue", 0, -1)
            pipe.exists(f"operando:mounting:{self.name}", f"operando:decision:{self.name}")
            found = pipe.execute(raise_on_error=False)
        kept = (self.files.reported(), self._house.no_start, self._house.redis_starts)
        return (*map(str, found), *kept, self._mains.why, self._mains.out)

    def _state(self) -> StationState:
        return self._standing.read()

    def _is_stuck(self, status: Mapping[str, Any] | None) -> bool:
        """Return whether a manager has been at it for long, and its worker is at nothing.

        So it is left when Redis died in the moment in which it noted the end of an item.
        """
        stuck = False
        if status is not None and status.get("manager_state") == "executing_queue":
            ticket = self.files.ticket()
            reported = ticket is not None and self.files.report(ticket) is not None
            stuck = reported or status.get("worker_environment_state") == "idle"
        now = time.monotonic()
        self._stuck_since = (self._stuck_since or now) if stuck else None
        return self._stuck_since is not None and now - self._stuck_since > _STUCK_S

    def _record(self, state: StationState) -> Record | None:
        """Return the item that is under way; ``None``: none is."""
        if state.item is None:
            return None
        record = self._house.store.record(state.item)
        if record is None:
            record = self._items.rebuild(state.item, held=state.state == "held")
        if record is not None and record.state in ("starting", "running"):
            self._items.see_to_cell(record)
            return record
        if record is None or record.over:
            changes: dict[str, Any] = {"item": None}
            if state.state == "running":
                changes |= {"state": "idle", "why": ""}
            self._standing.tell(state, **changes)
        return None

    # -- the environment is not there

    def _closed(self, state: StationState, status: Mapping[str, Any]) -> None:
        now = time.monotonic()
        doing = status.get("manager_state")
        if doing in ("creating_environment", "destroying_environment"):
            # Also if it is to be closed: what is being opened is closed when it is open.
            if doing == "creating_environment":
                self._opening_since = self._opening_since or now
            if self._opening_since is not None and now - self._opening_since > _OPENS_WITHIN_S:
                self.manager.destroy()
            return
        if state.wanted == "closed":
            self._opening_since, self._failures, self._retry_at = None, 0, 0.0
            if state.state != "closed":
                self._standing.tell(state, state="closed", why="")
            self._quiet_until = time.monotonic() + _QUIET_S
            return
        if self._opening_since is not None:
            self._opening_since = None
            self._failures += 1
            wait_s = _RETRIES_S[min(self._failures, len(_RETRIES_S)) - 1]
            self._retry_at = now + wait_s
            why = f"the worker could not be opened: {self.files.last_words()}"
            self._house.alerts.send("station_lost", "The worker cannot be opened", why, self.name)
            if state.state != "held":  # nobody has decided yet
                self._standing.tell(state, state="lost", why=why)
        if now < self._retry_at:
            return
        if self.entry.simulate is not None:
            Simulator(self.files.folder, self.entry).ensure()
        if state.state not in ("held", "running") and self._failures == 0:
            self._standing.tell(state, state="opening", why="")
        self.files.forget_worker()
        self._opening_since = now
        self.manager.open()

    def _without_mains(self, state: StationState, record: Record | None) -> None:
        """Leave a station closed whose worker was ended, until the mains are back."""
        self._opening_since, self._failures, self._retry_at = None, 0, 0.0
        if record is not None:
            self._outcomes.after_death(record, self._mains.why)
        elif state.state != "held" and self._mains.why not in state.why:
            self._standing.tell(state, state="lost", why=self._mains.why)
        else:
            self._quiet_until = time.monotonic() + _QUIET_S

    def _start_manager(self, why: str) -> None:
        _log.info("station %s: %s; it is started", self.name, why)
        self._opening_since = None
        self.process.restart()

    def _orphan(self, worker: Process, record: Record | None) -> None:
        """Follow a worker of a queue server that is gone, and end it when its item has ended."""
        now = time.monotonic()
        self._orphan_since = self._orphan_since or now
        if record is not None:
            self._items.follow(record, None)
            if now - self._orphan_since < _ORPHAN_S:
                return
            # Once more after so long: is anything driven, or does it wait for who is gone?
            self._orphan_since = now
            run = last_run(self._house.data_dir, record.item)
            if run is not None and run.exit_status == "running":
                return
            _log.warning("station %s: its worker drives nothing, and is ended", self.name)
        self._orphan_since = None
        ticket = self.files.ticket()
        if ticket is not None and ticket.what == "look_at_cell":
            self._fail_look(ticket, "the station's queue server died meanwhile: try again")
        worker.end(_LEAVES_WITHIN_S)
        self.files.forget_worker()

    # -- the environment is there

    def _open(self, state: StationState, status: Mapping[str, Any]) -> None:
        self._opening_since, self._failures = None, 0
        busy = status.get("manager_state") != "idle"
        busy |= status.get("worker_environment_state") not in ("idle", "closed", None)
        if busy:
            return  # a cell is looked at, or it is still being opened or closed
        if state.wanted == "closed" or self.files.broken():
            self._close(state)
            return
        record = self._held(state)
        if state.state != "held" and (record is not None or self.files.held()):
            # Also where it was closed meanwhile.
            why = self.files.held() if record is None else record.reason
            self._standing.tell(state, state="held", why=why)
            return
        asked = self._asked.mounting_request()
        if asked is not None:
            self._look(asked)
            return
        if state.state == "held":
            return
        self._next(state)

    def _next(self, state: StationState) -> None:
        why = ""
        mount = self._house.store.mount(self.name)
        choice = self._items.choice(mount)
        if choice.item is None:
            why = choice.told
        if state.paused:
            # Who paused it, and why, is told by whoever did.
            if (state.state, state.why) != ("idle", ""):
                self._standing.tell(state, state="idle", why="")
            return
        self._items.ask_for(choice)
        if choice.item is not None and mount is not None:
            why = self._mains.why or self._house.no_start
            if not why:
                self._items.begin(choice.item, mount)
                return
        if (state.state, state.why) != ("idle", why):
            self._standing.tell(state, state="idle", why=why)
            return
        now = self._house.clock.wall()
        quiet_s = _QUIET_S if choice.until is None else min(_QUIET_S, choice.until - now)
        self._quiet_until = time.monotonic() + quiet_s

    def _held(self, state: StationState) -> Record | None:
        """Return the item that is held; ``None``: none is."""
        record = None if state.item is None else self._house.store.record(state.item)
        return record if record is not None and record.state == "held" else None

    def _look(self, asked: Mapping[str, Any]) -> None:
        cell_id = str(asked["sample"].get("cell_id", ""))
        if self.entry.simulate is not None:
            simulator = Simulator(self.files.folder, self.entry)
            if simulator.cell_id == "":
                simulator.call(cell_id)
            elif simulator.cell_id != cell_id:
                simulator.exchange(cell_id)
        self._asked.look(asked)

    def _close(self, state: StationState) -> None:
        if state.wanted == "closed":
            self._standing.tell(state, why="closing")
        self.manager.close()
        if not self._wait_for(False, _CLOSES_WITHIN_S):
            self.manager.destroy()
            self._wait_for(False, _DESTROYED_WITHIN_S)
        worker = self.files.worker()
        if worker is not None and worker.ended_within(_LEAVES_WITHIN_S):
            self.files.forget_worker()
        if state.wanted == "closed":
            self._standing.tell(state, state="closed", why="")

    def _wait_for(self, there: bool, timeout_s: float) -> bool:
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            status = self.process.status() or {}
            idle = status.get("manager_state") == "idle"
            if idle and bool(status.get("worker_environment_exists")) == there:
                return True
            time.sleep(0.1)
        return False

    # -- a death

    def _dead(self, worker: Process, what: str) -> None:
        """Do what is to be done for a worker that died or hangs; may be called again midway."""
        run = None
        if self._secured is None or self._secured[0] != worker:
            ticket = self.files.ticket()
            if ticket is not None and ticket.item and ticket.what != "look_at_cell":
                run = last_run(self._house.data_dir, ticket.item)
            try:
                done = _deaths.secure(
                    self._house.data_dir, self.entry, self.files.folder, worker, run
                )
            except _deaths.NotEndedError as error:
                self._not_ended(what, str(error))
                return
            self._secured = worker, done
            _log.warning("station %s: %s; %s", self.name, what, done)
            if what != self._mains.why or "NOT " in done:
                self._house.alerts.send("worker_died", what, done, station=self.name)
        done = self._secured[1]
        state = self._state()
        if not self._destroyed():
            return  # its manager does not answer now: it would take a dead worker for its own
        record = self._record(state)
        if record is not None:
            after = self._outcomes.after_death(record, what, done)
            if after.state in ("starting", "running"):
                self._standing.tell(state, state="running", why=f"{what}; {done}; it goes on")
        else:
            ticket = self.files.ticket()
            if ticket is not None and ticket.what == "look_at_cell":
                self._fail_look(ticket, f"{what}: try again")
            if state.state not in ("held", "closed"):
                self._standing.tell(state, state="lost", why=f"{what}; {done}")
        # Last: as long as it is there, this is done again by whoever comes after us.
        self.files.forget_worker()
        self.files.begin_listening()
        self._secured = None

    def _not_ended(self, what: str, why: str) -> None:
        """Tell of a worker that cannot be ended; it is tried again in the next step."""
        if why != self._not_ended_told:
            self._not_ended_told = why
            # First: Redis may be gone as well.
            self._house.alerts.send("station_lost", what, why, station=self.name)
        state = self._state()
        lost = {} if state.state in ("held", "closed") else {"state": "lost"}
        if state.why != why:
            self._standing.tell(state, why=why, **lost)

    def _destroyed(self) -> bool:
        """Have the manager notice that its worker is gone; return whether it has, or is gone."""
        try:
            status = self.process.status()
        except QueueError:
            self.process.end_all_but_worker()
            return True
        if status is None:
            return False
        if status.get("worker_environment_exists"):
            self.manager.destroy()
            if not self._wait_for(False, _DESTROYED_WITHIN_S):
                self.process.end_all_but_worker()
            self._opening_since = None
        return True

    def _lost_sight(
        self, state: StationState, worker: Process | None, status: Mapping[str, Any] | None
    ) -> bool:
        """Return whether a manager has a worker that does not tell of itself; that is ended then.

        Its file is gone, or the manager took no note of its end: nobody would notice its death.
        """
        unseen = (
            worker is None
            and status is not None
            and bool(status.get("worker_environment_exists"))
            and status.get("manager_state") != "creating_environment"
        )
        now = time.monotonic()
        self._unseen_since = (self._unseen_since or now) if unseen else None
        if self._unseen_since is None or now - self._unseen_since < _STUCK_S:
            return False
        what = "nothing tells of the worker that the queue server has"
        _log.warning("station %s: %s; it is ended", self.name, what)
        if not self._destroyed():
            return True
        self._unseen_since = None
        done = _deaths.make_safe(self._house.data_dir, self.entry, self.files.folder)
        self._house.alerts.send("worker_died", what, done, station=self.name)
        record = self._record(state)
        if record is not None:
            self._outcomes.after_death(record, what, done)
        return True

    def _fail_look(self, ticket: Ticket, why: str) -> None:
        if self.files.report(ticket) is None:
            self._asked.look_failed(ticket.item, why)
