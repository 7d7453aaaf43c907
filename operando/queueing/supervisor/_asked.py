"""What people ask of a station between its items: to look at a cell, and how it is to go on."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter

from operando.queueing.commands import look_key
from operando.queueing.decided import Decided, decision_key, held_as, take
from operando.queueing.errors import QueueError
from operando.queueing.managers import Manager
from operando.queueing.model import Record
from operando.queueing.store import told

from ._deaths import MAINS, again
from ._files import StationFiles
from ._house import House
from ._journal import last_run

_LOOK_KEPT_S = 600
_LOOK_WAITED_FOR_S = 150.0
_DECISIONS = ("resume", "skip", "fail")


class Asked:
    """Takes what people ask of one station.

    Args:
        house: What all stations share.
        name: The station.
        files: Its files.
        manager: Its queue server.
        not_gone_on_with: Is told of an item that somebody decided not to go on with.
    """

    def __init__(
        self,
        house: House,
        name: str,
        files: StationFiles,
        manager: Manager,
        not_gone_on_with: Callable[[Record], None],
    ) -> None:
        self._house = house
        self._store = house.store
        self._name = name
        self._files = files
        self._manager = manager
        self._not_gone_on_with = not_gone_on_with

    # -- deciding

    def decide(self, record: Record | None) -> None:
        """Take what somebody decided of a station that is held, if somebody did."""
        key = decision_key(self._name)
        text = self._store.text(key)
        if text is None:
            return
        held = held_as(record)
        try:
            decision = dict(json.loads(text))
            do, by = str(decision["do"]), str(decision.get("by", ""))
            decisions = TypeAdapter(Decided).validate_python(decision.get("decisions") or {})
            if do not in _DECISIONS:
                raise ValueError(f"{do!r} is none of {', '.join(_DECISIONS)}")
            if decision.get("item") != held["item"]:
                raise ValueError("it is of another item than the one that is held")
            if decision.get("attempt", 0) != held["attempt"]:
                raise ValueError("it is of an earlier interruption than it is held for now")
        except (ValueError, KeyError, TypeError) as error:
            self._store.poison(key, text, f"it is no decision: {error}")
            take(self._store, key, text)
            return
        if not take(self._store, key, text):
            return  # who decided has taken it back
        now = self._house.clock.wall()
        if record is not None and record.state == "held":
            if do == "resume":
                run = last_run(self._house.data_dir, record.item)
                # From now on: the deaths before are forgiven.
                told_too = {name: value for name, value in decisions.items() if value is not None}
                # Whatever is decided of what was ended without mains, its cell is looked at.
                look_first = record.attempts[-1].exit_status == MAINS and run is not None
                after = again(record, run, now=now, look_first=look_first, decisions=told_too)
                # What its record here tells of goes on here, whatever the computer was called.
                here = self._house.here if run is not None else {}
                self._store.put_record(after.model_copy(update=here))
            else:
                state = "skipped" if do == "skip" else "failed"
                why = f"{record.reason}; {by or 'somebody'} decided: {do}"
                self._not_gone_on_with(record)
                self._store.change_record(record.item, state=state, reason=why, ended=now)
        self._files.forget_held()
        self._store.change_station(self._name, state="idle", why="", since=now)

    def forget_decision(self) -> None:
        """Forget what was decided of a station that is not held any more."""
        with told():
            self._store.client.delete(decision_key(self._name))

    # -- looking at a cell that is being mounted

    def mounting_request(self) -> dict[str, Any] | None:
        """Take a request to look at a cell that is being mounted; ``None``: there is none."""
        key = f"operando:mounting:{self._name}"
        text = self._store.take(key)
        if text is None:
            return None
        try:
            asked = json.loads(text)
            request = {"token": str(asked["token"]), "sample": dict(asked["sample"])}
            # Whoever asked has gone.
            late = time.time() - float(asked.get("at") or time.time()) > _LOOK_WAITED_FOR_S
            return None if late else request
        except (ValueError, KeyError, TypeError) as error:
            self._store.poison(key, text, f"it is no request to mount a cell: {error!r}")
            return None

    def look(self, asked: Mapping[str, Any]) -> None:
        """Have the worker look at a cell that is being mounted."""
        ticket = self._files.give_ticket(
            asked["token"], 1, "look_at_cell", boot=self._house.clock.boot()
        )
        try:
            self._manager.execute(
                "look_at_cell", {"sample": asked["sample"], "ticket": ticket.token}
            )
        except QueueError as error:
            self.look_failed(asked["token"], str(error))

    def look_failed(self, token: str, why: str) -> None:
        """Tell whoever waits for a look at a cell that there will be none."""
        from operando.queueing.look import Look

        text = Look(exit_status="refused", reason=why).model_dump_json()
        with told():
            self._store.client.set(look_key(token), text, nx=True, ex=_LOOK_KEPT_S)
