"""How a station is: as Redis tells it, or else as it was last."""

from typing import Any

from operando.queueing.model import StationState
from operando.queueing.store import Store

from ._files import StationFiles
from ._house import House


def restored(store: Store, name: str, kept: StationState | None) -> StationState | None:
    """Return how a station is; ``None``: nobody knows.

    Where Redis has lost it, it is as it was last: who claims a station or pauses it writes a new
    one, which is since never.

    Args:
        store: Redis.
        name: The station.
        kept: How it was last; ``None``: not known.
    """
    state = store.station(name)
    if kept is None or not kept.since or (state is not None and state.since):
        return state
    known = kept.model_dump(exclude={"name"})
    if state is not None:
        known |= {"host": state.host, "supervisor_pid": state.supervisor_pid}
        known |= {"paused": True, "paused_why": state.paused_why} if state.paused else {}
    return store.change_station(name, **known)


class Standing:
    """What is known of how one station is, and told of it.

    Args:
        house: What all stations share.
        name: The station.
        files: Its files, of which one tells how it was last.
    """

    def __init__(self, house: House, name: str, files: StationFiles) -> None:
        self._house = house
        self._name = name
        self._files = files
        self._known = files.state() or StationState(name=name, host=house.host)
        self._adopted = False

    def read(self) -> StationState:
        """Return how the station is; what could not be read any more is as it was last."""
        state = restored(self._house.store, self._name, self._known)
        if state is None:
            state = self._house.store.change_station(self._name, host=self._known.host)
        if not self._adopted:
            state = self._adopt(state)
            self._adopted = True
        if state != self._known:
            self._files.keep_state(state)
        self._known = state
        return state

    def _adopt(self, state: StationState) -> StationState:
        """Return the state with the item that is under way: its record is the truth, not this."""
        store, ticket = self._house.store, self._files.ticket()
        named = None if state.item is None else store.record(state.item)
        if state.item is not None and (named is None or not named.over):
            return state
        under_way = [one.item for one in store.unfinished(self._name)]
        if ticket is not None and store.record(ticket.item) is None:
            # A look at a cell that is being mounted is of no item.
            of_item = ticket.what != "look_at_cell" or store.is_listed(self._name, ticket.item)
            under_way += [ticket.item] if of_item else []
        if not under_way:
            return state
        given = ticket is not None and ticket.item in under_way
        changes: dict[str, Any] = {"item": ticket.item if ticket and given else under_way[-1]}
        if not state.since:
            # Nothing is known of the station. It was open, and whether it was paused nobody knows.
            why = "its state was lost: look at the cell, then operando queue resume " + self._name
            now = self._house.clock.wall()
            changes |= {"wanted": "open", "paused": True, "paused_why": why, "since": now}
        return store.change_station(self._name, **changes)

    def tell(self, known: StationState, /, **changes: Any) -> None:
        """Change fields of the state, and since when it is so if it is another state."""
        now = self._house.clock.wall()
        if changes.get("state", known.state) != known.state:
            changes.setdefault("since", now)
        self._house.store.change_station(self._name, **changes)
