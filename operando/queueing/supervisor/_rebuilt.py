"""What cannot be read any more of an item that is under way, made anew of what else tells of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from operando.queueing.model import Attempt, Mount, Record
from operando.queueing.sanitise import pending
from operando.queueing.store import Store

from ._deaths import LOOK_FIRST
from ._files import Ticket
from ._journal import LastRun, last_run

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
    left, mount = _left_of(store, item), store.mount(station)
    begun = ticket is not None and ticket.item == item
    run = last_run(data_dir, item, "" if mount is None else mount.cell_id)
    if run is None and not begun and not store.is_listed(station, item):
        return None
    attempts: tuple[Attempt, ...] = ()
    if ticket is not None and begun:
        before = [Attempt(kind="run", began=now, ended=now, reason=_UNREADABLE)]
        looks = ticket.what == "look_at_cell"
        kind: Literal["run", "resume"] = "run" if ticket.what == "run_protocol" else "resume"
        last = Attempt(kind=kind, began=now, reason=LOOK_FIRST if looks else "")
        attempts = (*(before * (ticket.attempt - 1)), last)
    else:
        attempts = (Attempt(kind="run" if run is None else "resume", began=now),)
    waiting = (x.get("kwargs") for x in pending(store, station) if x["item_uid"] == item)
    kwargs = left.get("kwargs") or next(waiting, None)
    return Record(
        item=item,
        station=station,
        cell_id=_text(left, "cell_id") or str(_sample_of(mount, run).get("cell_id", "")),
        label=_text(left, "label"),
        campaign=_text(left, "campaign"),
        state="running" if begun and not held else "held",
        reason=_UNREADABLE if held or not begun else "",
        attempts=attempts,
        kwargs=kwargs if isinstance(kwargs, dict) else {"sample": _sample_of(mount, run)},
        began=now,
        by=_text(left, "by"),
        host=_text(left, "host"),
        data_dir=_text(left, "data_dir"),
    )


def mounted_anew(store: Store, data_dir: Path, record: Record) -> Mount | None:
    """Keep and return the mount of the cell of an item that is under way; ``None``: it has none.

    Of a cell that is finished it says so. It is since when the run tells, for the instrument that
    was there then is the one that may drive it.
    """
    from operando.queueing.mounting import finished_key  # slow to import

    sample = record.kwargs.get("sample")
    if not isinstance(sample, Mapping):
        return None
    over = store.text(finished_key(record.cell_id))
    run = last_run(data_dir, record.item, record.cell_id)
    at = None if run is None else run.mounted_at
    mount = Mount(
        station=record.station,
        cell_id=record.cell_id,
        sample=dict(sample),
        by=record.by,
        at=record.began or 0.0 if at is None else at,
        state="mounted" if over is None else "finished",
        why_finished="" if over is None else _why(over),
        host=record.host,
        data_dir=record.data_dir,
    )
    store.put_mount(mount)
    return mount


def _why(over: str) -> str:
    try:
        return str(json.loads(over)["why"])
    except (ValueError, KeyError, TypeError):
        return "nobody can say why any more"


def _sample_of(mount: Mount | None, run: LastRun | None) -> dict[str, Any]:
    if run is not None and run.sample:
        return dict(run.sample)
    return {} if mount is None else {"cell_id": mount.cell_id, **mount.sample}


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
