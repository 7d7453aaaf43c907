"""Which item of a queue is next, and what the others wait for."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from operando.queueing.items import shown_time
from operando.queueing.model import DONE, Mount, Record


@dataclass(frozen=True)
class Choice:
    """What is started next.

    Attributes:
        item: The item of the queue; ``None``: nothing can be started.
        waits: Why each of the others is not, by its uid.
        unmounted: The samples that somebody is to mount, so that something goes on.
        until: When the next one's time comes, s of the epoch; ``None``: none waits for a time.
    """

    item: Mapping[str, Any] | None
    waits: Mapping[str, str] = field(default_factory=dict)
    unmounted: tuple[str, ...] = ()
    until: float | None = None

    @property
    def told(self) -> str:
        """Return for what the items wait, in words: first what somebody can do something about."""
        mounts = [why for why in self.waits.values() if "to be mounted" in why]
        why = next(iter((*mounts, *self.waits.values())), "")
        several = len(self.waits) > 1
        return (
            f"{len(self.waits)} item{'s wait, one' if several else ' waits'} for {why}"
            if why
            else ""
        )


def choose(
    items: Sequence[Mapping[str, Any]],
    record: Callable[[str], Record | None],
    mount: Mount | None,
    now: float,
) -> Choice:
    """Return the item of highest priority that can be started; of equals the first.

    Args:
        items: The queue.
        record: Tells what became of an item, by its uid; ``None``: it was never started.
        mount: What is mounted in this station.
        now: The time, s of the epoch.
    """
    waits: dict[str, str] = {}
    times: list[float] = []
    unmounted: list[str] = []
    ready: list[tuple[int, int, Mapping[str, Any]]] = []
    for place, item in enumerate(items):
        uid, kwargs = str(item["item_uid"]), dict(item.get("kwargs") or {})
        begins = begins_at(kwargs)
        why = _waits_for(uid, kwargs, begins, record, now)
        if not why:
            cell = cell_of(kwargs)
            why = _cell_waits(cell, mount)
            if why and mount is None and cell not in unmounted:
                unmounted.append(cell)
        if why:
            waits[uid] = why
            if begins is not None and begins > now:
                times.append(begins)
        else:
            ready.append((-priority_of(kwargs), place, item))
    first = min(ready, key=lambda one: one[:2], default=None)
    for _, _, item in ready:
        if first is not None and item is not first[2]:
            waits[str(item["item_uid"])] = "its turn"
    return Choice(
        None if first is None else first[2],
        waits,
        tuple(unmounted),
        min(times, default=None),
    )


def cell_of(kwargs: Mapping[str, Any]) -> str:
    """Return the cell that an item is to run on; empty if it names none."""
    sample = kwargs.get("sample")
    return str(sample.get("cell_id", "")) if isinstance(sample, Mapping) else ""


def priority_of(kwargs: Mapping[str, Any]) -> int:
    """Return an item's priority, 0 if it has none."""
    told = kwargs.get("priority", 0)
    return told if isinstance(told, int) else 0


def begins_at(kwargs: Mapping[str, Any]) -> float | None:
    """Return when an item may begin, s of the epoch; ``None``: now, or what it says is no time."""
    told = kwargs.get("at") or ""
    try:
        return datetime.datetime.fromisoformat(str(told)).timestamp() if told else None
    except (ValueError, OverflowError, OSError):
        return None


def _waits_for(
    uid: str,
    kwargs: Mapping[str, Any],
    begins: float | None,
    record: Callable[[str], Record | None],
    now: float,
) -> str:
    if record(uid) is not None:
        # It was taken out of the queue already, or is about to be: nothing runs twice.
        return "nothing: it has been started before"
    if kwargs.get("hold"):
        return "its release (it is on hold)"
    if kwargs.get("at") and begins is None:
        return f"a time that is none: {kwargs['at']!r}"
    if begins is not None and begins > now:
        return f"its time, {shown_time(begins)}"
    after = str(kwargs.get("after") or "")
    if after:
        before = record(after)
        if before is None or before.state not in DONE:
            became = "" if before is None or not before.over else f", which was {before.state}"
            return f"item {after[:8]}{became}"
    return ""


def why_not_on(record: Record, mount: Mount | None) -> str:
    """Return why an item that was begun cannot be driven on what is mounted; empty: it can."""
    for cell in dict.fromkeys((record.cell_id, cell_of(record.kwargs))):
        if why := _cell_waits(cell, mount):
            return f"item {record.item[:8]} waits for {why}"
    return ""


def _cell_waits(cell: str, mount: Mount | None) -> str:
    if not cell:
        return "a sample: it names none"
    if mount is None:
        return f"its cell {cell} to be mounted"
    if mount.cell_id != cell:
        return f"its cell {cell} to be mounted: {mount.cell_id} is"
    if mount.state == "finished":
        return f"nothing: its cell {cell} is finished ({mount.why_finished})"
    return ""
