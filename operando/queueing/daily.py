"""The day at all stations: one figure and one table, of runs that go on as well."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from operando.analysis import overpotential
from operando.analysis.coulombic import coulombic_efficiency
from operando.analysis.metrics import half_cycles_of
from operando.analysis.segments import HalfCycle
from operando.journal import (
    JournalError,
    RunSummary,
    chain_of,
    cycle_index,
    documents,
    journal_path,
    list_runs,
)
from operando.queueing.alerts import EVENTS, recent
from operando.queueing.errors import QueueError
from operando.queueing.model import Record
from operando.runs import Floats, Run, RunBuilder
from techniques import Cell, Technique
from techniques.programs import Block, Repeat
from techniques.programs import Sequence as Steps
from techniques.steps import GalvanostaticStep, PotentiostaticStep

_TECHNIQUE: TypeAdapter[Technique] = TypeAdapter(Technique)
_DAY_S = 86400.0
_LOOK = "look_at_cell"
# A row takes some hundred bytes: of more than three million rows only some cycles are read.
THIN_ABOVE_BYTES = 300_000_000
_CYCLES_SPREAD, _CYCLES_LAST = 60, 10
_STATES = {"success": "done", "abort": "stopped", "fail": "failed", "unfinished": "lost"}


@dataclass(frozen=True)
class CellDay:
    """One cell's day, and how it came there.

    Attributes:
        cell_id: The sample.
        station: Where it is; empty: not at a station.
        item: What was run, in words.
        run: Uid of the newest run.
        state: ``running``, ``done``, ``failed``, ...
        symmetric: Whether it has no coulombic efficiency.
        cycle: Numbers of the cycles that are complete, shape (cycles,).
        ended: When each of them ended, epoch, s.
        ce_pct: Coulombic efficiency by cycle, %; NaN where there is none.
        eta_mv: Overpotential by cycle, half of the distance between plating and stripping at half
            their charge, mV.
        capacity_mah_cm2: Charge that was stripped by cycle, mAh/cm2.
        planned: How many cycles its protocol has; ``None``: that is not told.
        thinned: Whether only some of its cycles were read.
        began: When its experiment began, epoch, s.
        alarms: What was told of it within the day, in words.
        hours_left: Until its protocol ends, h, by its last cycles; ``None``: not known, or over.
        since, until: The day, epoch, s.
        why: Why numbers are missing.
    """

    cell_id: str
    station: str
    item: str
    run: str
    state: str
    symmetric: bool
    cycle: Floats
    ended: Floats
    ce_pct: Floats
    eta_mv: Floats
    capacity_mah_cm2: Floats
    planned: int | None
    since: float
    until: float
    began: float = 0.0
    thinned: bool = False
    alarms: tuple[str, ...] = ()
    hours_left: float | None = None
    why: str = ""

    @property
    def cycles_done(self) -> int:
        """Return the number of the last complete cycle."""
        return int(self.cycle[-1]) if len(self.cycle) else 0

    @property
    def today(self) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Return which of the cycles ended within the day."""
        return (self.ended >= self.since) & (self.ended < self.until)

    @property
    def ce_last_pct(self) -> float | None:
        """Return the newest coulombic efficiency, %."""
        return _last(self.ce_pct)

    @property
    def ce_mean_pct(self) -> float | None:
        """Return the arithmetic mean of the day's coulombic efficiencies, %."""
        values = self.ce_pct[self.today]
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else None

    @property
    def eta_last_mv(self) -> float | None:
        """Return the newest overpotential, mV."""
        return _last(self.eta_mv)


@dataclass(frozen=True)
class Day:
    """The day of all cells that ran in it, by station."""

    since: float
    until: float
    cells: tuple[CellDay, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """Return when it was and how many cells ran, are done and so on."""
        when = time.strftime("%d %b %Y %H:%M", time.localtime(self.until))
        states: dict[str, int] = {}
        for one in self.cells:
            states[one.state] = states.get(one.state, 0) + 1
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        count = f"{len(self.cells)} cell{'s' * (len(self.cells) != 1)}"
        return f"24 h until {when}: {count}" + (f" ({told})" if told else "")


def the_day(
    data_dir: Path,
    date: str | None = None,
    *,
    records: Mapping[str, Record] | None = None,
    now: float | None = None,
) -> Day:
    """Read what ran within a day.

    Args:
        data_dir: The data folder.
        date: ``2026-11-27``, local time; by default the 24 hours until now.
        records: What the queues tell of their items, by item.
        now: The time, epoch, s.

    Raises:
        QueueError: the date is none.
    """
    now = time.time() if now is None else now
    since, until = _window(date, now)
    newest: dict[str, RunSummary] = {}
    for run in list_runs(data_dir):  # newest first
        # A look at a cell that was mounted is no experiment, and hides none.
        if run.attachment_of or run.time >= until or run.plan_name == _LOOK:
            continue
        with contextlib.suppress(OSError):
            if run.exit_status == "running" or run.path.stat().st_mtime >= since:
                newest.setdefault(run.sample or run.uid, run)
    cells, notes = [], []
    told = _alarms(data_dir, since, until)
    for run in newest.values():
        try:
            cells.append(_cell_day(data_dir, run, since, until, records or {}))
        except (JournalError, OSError, LookupError, ValueError) as error:
            notes.append(f"run {run.uid[:8]} of {run.sample}: {error}")
    cells.sort(key=lambda one: (one.station == "", one.station, one.began, one.cell_id))
    return Day(since, until, tuple(_with_alarms(cells, told)), tuple(notes))


def table(day: Day) -> str:
    """Return the table of a day, for a terminal or a mail."""
    head = (
        "station", "cell", "item", "state", "cycles", "CE last", "CE mean", "eta", "capacity",
        "left", "alarms",
    )  # fmt: skip
    units = ("", "", "", "", "", "%", "%", "mV", "mAh/cm2", "h", "")
    rows = [head, units]
    for one in day.cells:
        planned = f"/{one.planned}" if one.planned is not None else ""
        rows.append(
            (
                one.station or "-",
                one.cell_id,
                one.item or "-",
                one.state,
                f"{one.cycles_done}{planned}",
                _text(one.ce_last_pct, ".2f"),
                _text(one.ce_mean_pct, ".2f"),
                _text(one.eta_last_mv, ".1f"),
                _text(_last(one.capacity_mah_cm2), ".3f"),
                _text(one.hours_left, ".1f"),
                str(len(one.alarms)) if one.alarms else "-",
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    left = (0, 1, 2, 3)
    lines = [
        "  ".join(
            text.ljust(width) if place in left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(0, day.title)
    lines += [f"{one.cell_id}: {alarm}" for one in day.cells for alarm in one.alarms]
    lines += [
        f"{one.cell_id}: only some cycles were read, the record is long"
        for one in day.cells
        if one.thinned
    ]
    return "\n".join([*lines, *day.notes])


def write_day(
    data_dir: Path,
    date: str | None = None,
    out: Path | None = None,
    *,
    records: Mapping[str, Record] | None = None,
    now: float | None = None,
) -> tuple[Day, Path, Path]:
    """Write figure and table of a day; return it and both files.

    Args:
        data_dir: The data folder.
        date: As for `the_day`.
        out: A folder; by default ``state/daily`` of the data folder.
        records: As for `the_day`.
        now: As for `the_day`.
    """
    from operando.queueing._daily_figure import draw_day

    day = the_day(data_dir, date, records=records, now=now)
    folder = data_dir / "state" / "daily" if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    # A whole day is named by itself, the 24 hours until now by when they end.
    name = date or time.strftime("%Y-%m-%d-%H%M", time.localtime(day.until))
    figure, text = folder / f"{name}.png", folder / f"{name}.txt"
    for path, content in ((figure, draw_day(day)), (text, f"{table(day)}\n".encode())):
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)
    return day, figure, text


def planned_cycles(technique: Technique) -> int:
    """Return how many platings a technique has if nothing ends it before."""
    match technique:
        case Steps():
            return sum(planned_cycles(step) for step in technique.steps)
        case Repeat():
            return technique.times * planned_cycles(technique.step)
        case Block():
            return planned_cycles(technique.step)
        case GalvanostaticStep() | PotentiostaticStep():
            return int(technique.role == "plate")
    cycles = getattr(technique, "cycles", None)
    return int(cycles) if isinstance(cycles, int) else 0


def _cell_day(
    data_dir: Path,
    newest: RunSummary,
    since: float,
    until: float,
    records: Mapping[str, Record],
) -> CellDay:
    chain = chain_of(data_dir, newest.uid)
    paths = [journal_path(data_dir, uid) for uid in chain]
    start = next(documents(paths[0]))[1]
    queue = start.get("queue")
    queue = queue if isinstance(queue, Mapping) else {}
    record = records.get(str(queue.get("item", "")))
    station = str(queue.get("station", ""))
    state = _STATES.get(newest.exit_status, newest.exit_status)
    if record is not None and state != "running":
        state = record.state
    alarms = [newest.reason] if state in ("failed", "lost", "held") and newest.reason else []
    try:
        cell = Cell.model_validate(start.get("sample"))
    except ValidationError:
        cell = None
    day = CellDay(
        cell_id=newest.sample or newest.uid[:8],
        station=station,
        item=str(queue.get("label") or newest.protocol or newest.plan_name),
        run=newest.uid,
        state=state,
        symmetric=cell is not None and cell.symmetric,
        cycle=np.empty(0),
        ended=np.empty(0),
        ce_pct=np.empty(0),
        eta_mv=np.empty(0),
        capacity_mah_cm2=np.empty(0),
        planned=_planned(start.get("technique")),
        since=since,
        until=until,
        began=float(start["time"]),
        alarms=tuple(alarms),
    )
    if cell is None:
        return replace(day, why="the start document describes no cell")
    thin = sum(path.stat().st_size for path in paths) > THIN_ABOVE_BYTES
    if thin:
        cycles = list(_of_some_cycles(data_dir, paths, cell))
        run = _last_rows(paths[-1], data_dir)
    else:
        run = Run.from_journal(newest.uid, data_dir)
        cycles = list(_of_halves(half_cycles_of(run), run, cell))
    day = replace(day, planned=_planned(run.asked[-1].technique))
    cycles = sorted({one[0]: one for one in cycles if one[1] < until}.values())
    if not cycles:
        return replace(day, thinned=thin, why="no cycle is complete")
    columns = np.array(cycles, dtype=np.float64).T
    day = replace(
        day,
        cycle=columns[0],
        ended=columns[1],
        ce_pct=columns[2],
        eta_mv=columns[3],
        capacity_mah_cm2=columns[4],
        thinned=thin,
    )
    return replace(day, hours_left=_hours_left(day) if state == "running" else None)


_Row = tuple[float, float, float, float, float]


def _of_halves(halves: tuple[HalfCycle, ...], run: Run, cell: Cell) -> Iterator[_Row]:
    """Yield number, end, efficiency, overpotential and capacity of each complete cycle."""
    stream = run.streams.get("potentiostat")
    if stream is None or not halves:
        return
    efficiencies: dict[int, float] = {}
    if not cell.symmetric and (cell.full_cell or cell.electrode.metal != cell.metal):
        held = not cell.full_cell and bool(cell.electrode.predeposited_mah_cm2)
        ce = coulombic_efficiency(halves, holds_metal=held)
        efficiencies = dict(zip(ce.cycles, ce.percent, strict=True))
    t_s = stream.columns["potentiostat_t"]
    for number, (plating, stripping) in overpotential.by_cycle(halves).items():
        if plating is None or stripping is None or not (plating.ended and stripping.ended):
            continue
        last = max(float(plating.t_s[-1]), float(stripping.t_s[-1]))
        row = min(int(np.searchsorted(t_s, last)), len(stream) - 1)
        gap = overpotential.polarisation_v(plating, stripping, symmetric=cell.symmetric)
        yield (
            float(number),
            float(stream.time[row]),
            efficiencies.get(number, np.nan),
            500.0 * gap,
            stripping.capacity_mah_cm2,
        )


def _of_some_cycles(data_dir: Path, paths: Iterable[Path], cell: Cell) -> Iterator[_Row]:
    """Yield the same of some cycles, each read by itself: some spread over all, and the last."""
    where: list[tuple[Path, int]] = []
    for path in paths:
        numbers = [int(one) for one in cycle_index(path).cycles if one > 0]
        # A run that continues another begins within a cycle.
        where += [(path, number) for number in (numbers[1:] if where else numbers)]
    places = set(range(max(0, len(where) - _CYCLES_LAST - 1), len(where)))
    places |= {round(one) for one in np.linspace(0, max(0, len(where) - 1), _CYCLES_SPREAD)}
    for place in sorted(places & set(range(len(where)))):
        path, number = where[place]
        builder = RunBuilder()
        for name, doc in documents(path, expand=data_dir, arrays=True, from_cycle=number):
            builder(name, doc)
            counted = doc["data"].get("potentiostat_cycle") if name == "event_page" else None
            if counted is not None and max(counted, default=0) > number:
                break
        run = builder.run
        halves = tuple(half for half in half_cycles_of(run) if half.cycle == number)
        yield from _of_halves(halves, run, cell)


def _last_rows(path: Path, data_dir: Path) -> Run:
    """Return the last cycle of a run, with what it was asked for before."""
    cycles = cycle_index(path).cycles
    last = int(cycles[-1]) if len(cycles) else 0
    return Run.from_documents(documents(path, expand=data_dir, arrays=True, from_cycle=last))


def _planned(technique: object) -> int | None:
    try:
        return planned_cycles(_TECHNIQUE.validate_python(technique)) or None
    except ValidationError:
        return None


def _hours_left(day: CellDay) -> float | None:
    """Return how long the cycles that are planned take if each takes as long as the last ones."""
    if day.planned is None or len(day.cycle) < 2:
        return None
    last = slice(-10, None)
    each_s = np.diff(day.ended[last]) / np.maximum(np.diff(day.cycle[last]), 1)
    # Since the last one ended some time has passed already.
    passed_s = max(0.0, day.until - float(day.ended[-1]))
    left_s = max(0, day.planned - day.cycles_done) * float(np.median(each_s)) - passed_s
    return max(0.0, left_s) / 3600


def _with_alarms(
    cells: Sequence[CellDay], told: Sequence[tuple[str, float, str]]
) -> Iterator[CellDay]:
    """Yield the cells, sorted by station and begin, each with what was told while it was there."""
    for place, one in enumerate(cells):
        others = [other for other in cells if other.station == one.station]
        # What is told before the first of the day has begun is of that one.
        begins = -np.inf if others[0] is one else one.began
        ends = np.inf if others[-1] is one else cells[place + 1].began
        alarms = [
            text
            for station, at, text in told
            if one.station and station == one.station and begins <= at < ends
        ]
        yield replace(one, alarms=(*alarms, *one.alarms))


def _alarms(data_dir: Path, since: float, until: float) -> list[tuple[str, float, str]]:
    """Return what people were told of stations within the day: station, time and title."""
    quiet = {name for name, event in EVENTS.items() if event.severity in ("info", "success")}
    quiet.add("cell_wanted")  # work for somebody, and nothing wrong with a cell
    return [
        (shown.alert.station, shown.alert.at, shown.alert.title)
        for shown in recent(data_dir, 1000)
        if shown.alert.station is not None
        and shown.alert.event not in quiet
        and since <= shown.alert.at < until
    ]


def _window(date: str | None, now: float) -> tuple[float, float]:
    if date is None:
        return now - _DAY_S, now + 1.0
    try:
        begin = datetime.strptime(date, "%Y-%m-%d")
    except ValueError:
        raise QueueError(f"no date: {date!r}; write it as 2026-11-27") from None
    if begin.timestamp() > now:
        raise QueueError(f"{date} is to come: there is nothing to tell of it yet")
    end = begin + timedelta(days=1)  # with the change of the hour a day has 23 h or 25 h
    return begin.timestamp(), end.timestamp()


def _last(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else None


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
