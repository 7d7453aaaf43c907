"""What runs in the stations and what is to come, as tables that people read."""

import dataclasses
import json
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from operando.harmless import one_line, printable
from operando.queueing._amended import protocol_names
from operando.queueing.items import due_at, longest_s, shown_time
from operando.queueing.model import DONE, Mount, Record, StationState
from operando.queueing.store import Store

SHOWN = 8  # characters of an id
# With less room beside the others the last column is written below them, in so many lines.
_LEAST_ROOM, _LINES_BELOW = 24, 2

Row = TypeVar("Row")


def short(item: str) -> str:
    """Return as much of an id as people are shown."""
    return item[:SHOWN]


@dataclasses.dataclass(frozen=True)
class QueuedItem:
    """One item that runs, is held, or is to come.

    Attributes:
        protocol: Its name; ``slow, then fast`` where it was changed while it ran.
        state: ``running``, ``starting``, ``held`` or ``pending``.
        waits: For what, in words; empty: for nothing.
        longest_s: How long it can last, s of cell time.
        ends: When it will have ended at the latest, s of the epoch, if all goes on by itself.
    """

    item: str
    station: str
    cell_id: str
    protocol: str
    state: str
    waits: str = ""
    priority: int = 0
    at: str = ""
    after: str = ""
    hold: bool = False
    on_death: str = ""
    label: str = ""
    campaign: str = ""
    by: str = ""
    began: float | None = None
    longest_s: float | None = None
    ends: float | None = None


class _Table(list[Row], Generic[Row]):
    """Rows that show themselves as a table, at a prompt as in a shell."""

    _empty = ""

    def __repr__(self) -> str:
        return self.text()

    def text(self, width: int | None = None) -> str:
        """Return the table, ``width`` characters wide at most: the last column is cut, or below."""
        return table(self._heads(), [self._cells(row) for row in self], width) or self._empty

    def _heads(self) -> Sequence[str]:
        raise NotImplementedError

    def _cells(self, row: Row) -> Sequence[str]:
        raise NotImplementedError


class Listing(_Table[QueuedItem]):
    """What runs and what is to come; `json` and, shown, a table."""

    _empty = "Nothing runs and nothing is queued."

    def json(self) -> str:
        """Return it as JSON: a list of objects with the attributes of `QueuedItem`."""
        return json.dumps([dataclasses.asdict(one) for one in self], indent=1)

    def _heads(self) -> Sequence[str]:
        return "item", "station", "sample", "protocol", "pri", "lasts", "ends", "state"

    def _cells(self, row: QueuedItem) -> Sequence[str]:
        name = row.label if row.label.startswith(row.protocol) else row.protocol
        label = f"; {row.label}" if row.label and name != row.label else ""
        return (
            short(row.item),
            row.station,
            row.cell_id,
            name,
            str(row.priority) if row.priority else "",
            "" if row.longest_s is None else f"≤ {_span(row.longest_s)}",
            "" if row.ends is None else shown_time(row.ends),
            (row.waits if row.state == "pending" else _with(row.state, row.waits)) + label,
        )


class Records(_Table[Record]):
    """What became of items; `json` and, shown, a table.

    Args:
        records: The items.
        protocols: The names of their protocols.
    """

    _empty = "Nothing was started yet."

    def __init__(self, records: Iterable[Record], protocols: Mapping[str, str]) -> None:
        super().__init__(records)
        self._protocols = protocols

    def json(self) -> str:
        """Return it as JSON: a list of records, each with the whole item as ``kwargs``."""
        return json.dumps([one.model_dump(mode="json") for one in self], indent=1)

    def _heads(self) -> Sequence[str]:
        return "item", "station", "sample", "protocol", "began", "took", "run", "state"

    def _cells(self, row: Record) -> Sequence[str]:
        took = None if row.began is None or row.ended is None else row.ended - row.began
        runs = [one.run_uid for one in row.attempts if one.run_uid]
        name = self._protocols.get(row.item, "")
        shown = row.label if row.label.startswith(name) and row.label else name
        resumed = len(row.attempts) - 1
        times = f" ({resumed} time{'s' if resumed > 1 else ''} resumed)" if resumed > 0 else ""
        return (
            short(row.item),
            row.station,
            row.cell_id,
            shown,
            "" if row.began is None else shown_time(row.began),
            "" if took is None else _span(took),
            short(runs[-1]) if runs else "",
            _with(row.state + times, row.reason)
            + (f"; {row.label}" if row.label and shown != row.label else ""),
        )


def listed(
    store: Store,
    station: str,
    queued: Sequence[Mapping[str, Any]],
    *,
    alive: bool,
    factor: float = 1.0,
    lost: str = "",
    becomes: str = "",
) -> list[QueuedItem]:
    """Return what runs in a station and what is to come, in the order in which it will be started.

    Args:
        store: Where records are.
        station: Which.
        queued: Its pending items, as the queue server keeps them.
        alive: Whether its queue server answers.
        factor: Seconds of cell time per second.
        lost: That the station has lost its mains, in words; empty: it has them.
        becomes: What becomes of what runs then.
    """
    state, mount = store.station(station), store.mount(station)
    records = {one.item: one for one in store.records(station, last=20) if not one.over}
    if state is not None and state.item is not None and state.item not in records:
        # Many were removed since it began.
        running = store.record(state.item)
        records |= {} if running is None or running.over else {running.item: running}
    names = protocol_names(store, records.values())
    found = [
        dataclasses.replace(
            _begun(one, factor, store.amended(one.item)), protocol=names[one.item] or "?"
        )
        for one in records.values()
    ]
    if lost:
        found = [
            one
            if one.state == "held"
            else dataclasses.replace(one, waits=f"{lost}, it {becomes}", ends=None)
            for one in found
        ]
    known = {one.item for one in found}
    # By itself goes on what waits for nobody; from then on nothing can be told.
    free: float | None = max([time.time(), *(one.ends or 0.0 for one in found)])
    if any(one.state == "held" or one.ends is None for one in found):
        free = None
    order = sorted(queued, key=lambda one: -int(_argument(one, "priority", 0)))
    why_station, turn = _why_of_station(state, alive), "its turn" if found else "next"
    if lost and lost not in why_station:
        why_station = "; ".join(filter(None, (lost, why_station)))
    for item in order:
        if item["item_uid"] in known:
            continue
        waits, when = _waits(item, store, mount, known)
        waits = waits or why_station
        if not waits:
            waits, turn = turn, "its turn"
        lasts = _longest(item)
        goes = when is not None and not why_station and lasts is not None
        ends = None
        if free is not None and goes and when is not None and lasts is not None:
            ends = max(free, when) + lasts / factor
            free = ends
        known.add(item["item_uid"])
        found.append(to_come(item, station, waits, lasts, ends))
    return found


def _begun(record: Record, factor: float, protocol: Mapping[str, Any] | None = None) -> QueuedItem:
    kwargs = dict(record.kwargs) if protocol is None else {**record.kwargs, "protocol": protocol}
    item = {"item_uid": record.item, "kwargs": kwargs, "user": record.by}
    lasts = _longest(item)
    running = record.state in ("starting", "running")
    ends = None
    if running and lasts is not None and record.began is not None:
        ends = max(record.began + lasts / factor, time.time())
    told = to_come(item, record.station, record.reason, lasts, ends)
    return dataclasses.replace(told, state=record.state, began=record.began, cell_id=record.cell_id)


def to_come(
    item: Mapping[str, Any],
    station: str,
    waits: str = "",
    lasts: float | None = None,
    ends: float | None = None,
) -> QueuedItem:
    """Return a pending item, as its queue server keeps it, as people are shown it."""
    protocol, sample = _argument(item, "protocol", {}), _argument(item, "sample", {})
    return QueuedItem(
        item=item["item_uid"],
        station=station,
        cell_id=str(sample.get("cell_id", "?") if isinstance(sample, Mapping) else "?"),
        protocol=str(protocol.get("name", "?") if isinstance(protocol, Mapping) else "?"),
        state="pending",
        waits=waits,
        priority=int(_argument(item, "priority", 0)),
        at=str(_argument(item, "at", "")),
        after=str(_argument(item, "after", "")),
        hold=bool(_argument(item, "hold", False)),
        on_death=str(_argument(item, "on_death", "")),
        label=str(_argument(item, "label", "")),
        campaign=str(_argument(item, "campaign", "")),
        by=str(item.get("user", "")),
        longest_s=lasts,
        ends=ends,
    )


def _waits(
    item: Mapping[str, Any], store: Store, mount: Mount | None, before: Iterable[str]
) -> tuple[str, float | None]:
    """Return what an item waits for, in words, and when that has come; ``None``: nobody knows."""
    if _argument(item, "hold", False):
        return "on hold", None
    sample = _argument(item, "sample", {})
    cell_id = sample.get("cell_id", "?") if isinstance(sample, Mapping) else "?"
    after = str(_argument(item, "after", ""))
    if after:
        record = store.record(after)
        if record is not None and record.over and record.state not in DONE:
            return f"for ever: {short(after)} is {record.state}", None
    if mount is not None and mount.cell_id == cell_id and mount.state == "finished":
        return f"for ever: {cell_id} is finished ({mount.why_finished})", None
    told, when = "", time.time()
    known = True
    at = str(_argument(item, "at", ""))
    try:
        due = due_at(at) if at else 0.0
    except ValueError:
        return f"for ever: {at!r} is no time", None
    if due > when:
        told, when = f"until {shown_time(due)}", due
    if after and (record is None or record.state not in DONE):
        told = _with(f"after {short(after)}", told)
        # Of an item before it in this queue it is known when that will have ended.
        known = after in before
    if mount is None or mount.cell_id != cell_id:
        told, known = ", ".join(filter(None, (f"for {cell_id} to be mounted", told))), False
    return told, when if known else None


def _why_of_station(state: StationState | None, alive: bool) -> str:
    if not alive:
        return "station not running"
    if state is None or state.state in ("closed", "opening", "lost"):
        return f"station {'closed' if state is None else state.state}"
    if state.state == "held":
        return _with("station held", state.why)
    return state.why_paused


def _longest(item: Mapping[str, Any]) -> float | None:
    try:
        return longest_s(item["kwargs"])
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _argument(item: Mapping[str, Any], name: str, default: Any) -> Any:
    kwargs = item.get("kwargs")
    found = kwargs.get(name, default) if isinstance(kwargs, Mapping) else default
    return found if isinstance(found, type(default)) or isinstance(default, dict) else default


def _with(told: str, more: str) -> str:
    return f"{told}: {more}" if told and more else told or more


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else f"{hours:.0f} h"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows under their heads; columns in which nothing stands are left out.

    Args:
        heads: The names of the columns.
        rows: What stands in them.
        width: Of the terminal, in characters: the last column is cut, or written below the others
            where too little room is left for it; ``None``: it is none.
    """
    if not rows:
        return ""
    used = [n for n, _ in enumerate(heads) if any(row[n] for row in rows)]
    told = [[printable(one_line(row[n])) for n in used] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    room = 0 if width is None else width - sum(one + 2 for one in widths[:-1])
    below = width is not None and room < min(widths[-1], _LEAST_ROOM)
    lines = []
    for *row, last in told:
        line = "  ".join(cell.ljust(one) for cell, one in zip(row, widths, strict=False))
        if not below:
            lines.append(_cut(f"{line}  {last}".strip(), width))
            continue
        lines.append(_cut(line, width))
        if last:
            indent = " " * (SHOWN + 2)
            lines.append(
                textwrap.fill(
                    last,
                    width or 0,
                    initial_indent=indent,
                    subsequent_indent=indent,
                    max_lines=_LINES_BELOW,
                    placeholder=" …",
                )
            )
    return "\n".join(lines)


def _cut(line: str, width: int | None) -> str:
    line = line.rstrip()
    return line if width is None or len(line) <= width else line[: width - 1] + "…"
