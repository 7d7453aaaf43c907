"""The record of an item that cannot be read any more, made anew of what else tells of the item."""

import json
from pathlib import Path
from typing import Any, Literal

from operando.queueing.model import Attempt, Mount, Record
from operando.queueing.store import Store

from ._deaths import LOOK_FIRST
from ._files import Ticket
from ._journal import last_run

_UNREADABLE = "its record could not be read"


def rebuilt(
    store: Store,
    data_dir: Path,
    station: str,
    item: str,
    ticket: Ticket | None,
    *,
    held: bool,
    now: float,
) -> Record | None:
    """Return the record of an item that was begun; ``None``: there never was one.

    It tells what could be read of the one that was moved away, else what the mounted cell tells.
    What its ticket says was begun is followed; what was not, or was held, waits for a decision.

    Args:
        store: Redis.
        data_dir: The data folder.
        station: The station that names the item.
        item: The item.
        ticket: The ticket that was given last in this station.
        held: Whether it was held.
        now: The time, s of the epoch.
    """
    if item not in store.record_ids(station):
        return None
    left, mount = _left_of(store, item), store.mount(station)
    begun = ticket is not None and ticket.item == item
    attempts: tuple[Attempt, ...] = ()
    if ticket is not None and begun:
        before = [Attempt(kind="run", began=now, ended=now, reason=_UNREADABLE)]
        looks = ticket.what == "look_at_cell"
        kind: Literal["run", "resume"] = "run" if ticket.what == "run_protocol" else "resume"
        last = Attempt(kind=kind, began=now, reason=LOOK_FIRST if looks else "")
        attempts = (*(before * (ticket.attempt - 1)), last)
    else:
        run = last_run(data_dir, item)
        attempts = (Attempt(kind="run" if run is None else "resume", began=now),)
    kwargs = left.get("kwargs")
    return Record(
        item=item,
        station=station,
        cell_id=_text(left, "cell_id") or ("" if mount is None else mount.cell_id),
        label=_text(left, "label"),
        campaign=_text(left, "campaign"),
        state="running" if begun and not held else "held",
        reason=_UNREADABLE if held or not begun else "",
        attempts=attempts,
        kwargs=kwargs if isinstance(kwargs, dict) else _sample_of(mount),
        began=now,
        by=_text(left, "by"),
        host=_text(left, "host"),
        data_dir=_text(left, "data_dir"),
    )


def _sample_of(mount: Mount | None) -> dict[str, Any]:
    return {} if mount is None else {"sample": dict(mount.sample)}


def _left_of(store: Store, item: str) -> dict[str, Any]:
    """Return what can be read of the record that was moved away last."""
    for entry in reversed(store.poisoned()):
        if entry.get("key") == f"operando:record:{item}":
            try:
                found = json.loads(entry["text"])
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(found, dict):
                return found
    return {}


def _text(left: dict[str, Any], name: str) -> str:
    found = left.get(name)
    return found if isinstance(found, str) else ""
