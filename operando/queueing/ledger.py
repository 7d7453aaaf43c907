"""The account of a queue: what became of each item, and each half-cycle of each cell once.

A pure function of records and of what the runs show (`operando.queueing.seen` reads both). What
does not add up is a finding: a half-cycle that ran twice, that is missing, or that was left half by
an item that is told to be done; runs nobody knows of; items that ended without a reason.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from operando.queueing.listing import table
from operando.queueing.model import DONE, ENDED, Record

Kind = Literal[
    "doubled",
    "missing",
    "half",
    "too much charge",
    "begun anew",
    "unknown run",
    "no run",
    "no reason",
    "left behind",
]
# The measured charge may be above what was set by the error of the current, and by one check.
_CHARGE_WITHIN = 0.02


@dataclass(frozen=True)
class HalfSeen:
    """One half-cycle as the runs of an item show it.

    Attributes:
        number: Counts all plating and stripping of the item, from 1.
        role: -1 plating, +1 stripping.
        whole: Whether it came to its own end.
        runs: The runs that have rows of it, in their order.
        charge_mah_cm2: Charge passed, mAh/cm2, magnitude.
        most_mah_cm2: The most it was to pass, mAh/cm2; ``None``: not known.
        unrecorded_mah_cm2: How much may have passed at a death that no row shows, at most, mAh/cm2;
            ``None``: not known.
        skipped: Whether somebody asked to leave the rest of it out.
    """

    number: int
    role: int
    whole: bool
    runs: tuple[str, ...]
    charge_mah_cm2: float = 0.0
    most_mah_cm2: float | None = None
    unrecorded_mah_cm2: float | None = 0.0
    skipped: bool = False


@dataclass(frozen=True)
class ExperimentSeen:
    """The runs of one experiment that an item began, each going on with the one before.

    Attributes:
        item: As the start document tells it.
        station: Where it ran.
        cell_id: On what.
        runs: Their uids, from the first to the last.
        exit_status: Of the last one; empty while it runs, or where its end is not known.
        halves: Its half-cycles in the order in which they ran; one that ran twice is there twice.
        planned: How many half-cycles its program has, that to which it was changed if it was;
            ``None``: not known.
        ended_early: Whether a rule or somebody ended the program before its end.
        waited_s: How long shared instruments were waited for in all, s.
        missed: How many uses of shared instruments were missed.
        trouble: Why it could not be read; empty if it could.
    """

    item: str
    station: str
    cell_id: str
    runs: tuple[str, ...]
    exit_status: str = ""
    halves: tuple[HalfSeen, ...] = ()
    planned: int | None = None
    ended_early: bool = False
    waited_s: float = 0.0
    missed: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that does not add up, in a kind and in words."""

    kind: Kind
    item: str
    station: str
    cell_id: str
    text: str


@dataclass(frozen=True)
class Line:
    """What became of one item.

    Attributes:
        planned: Half-cycles of its program; ``None``: not known.
        whole: Half-cycles that came to their own end.
        parts: Half-cycles that were left before it.
        deaths: Attempts whose worker died or hung.
        resumes: Attempts that went on with it.
    """

    item: str
    station: str
    cell_id: str
    label: str
    state: str
    reason: str
    runs: tuple[str, ...]
    planned: int | None
    whole: int
    parts: int
    deaths: int
    resumes: int
    waited_s: float
    missed: int
    began: float | None
    ended: float | None


@dataclass(frozen=True)
class Account:
    """The account of all stations.

    Attributes:
        lines: One per item, in the order in which they were begun, or ended without that.
        findings: What does not add up; empty if everything does.
    """

    lines: tuple[Line, ...]
    findings: tuple[Finding, ...] = ()
    stations: tuple[str, ...] = field(default=())

    def of(self, station: str) -> "Account":
        """Return the account of one station."""
        return Account(
            tuple(one for one in self.lines if one.station == station),
            tuple(one for one in self.findings if one.station == station),
            (station,),
        )

    def states(self) -> Counter[str]:
        """Return how many items ended, or are, in each state."""
        return Counter(one.state for one in self.lines)

    def samples(self) -> dict[str, tuple[Line, ...]]:
        """Return the lines by cell."""
        cells = dict.fromkeys(one.cell_id for one in self.lines)
        return {cell: tuple(x for x in self.lines if x.cell_id == cell) for cell in cells}

    @property
    def open_items(self) -> tuple[Line, ...]:
        """Return the items of which something may still become."""
        return tuple(one for one in self.lines if one.state not in ENDED)


def account(
    records: Iterable[Record],
    experiments: Iterable[ExperimentSeen],
    stations: Sequence[str] = (),
) -> Account:
    """Return what became of each item, and what does not add up.

    Args:
        records: Of the items that were ever begun.
        experiments: What their runs show.
        stations: Names that are told also if nothing ran there.
    """
    known = {record.item: record for record in records}
    of_item: dict[str, list[ExperimentSeen]] = {item: [] for item in known}
    findings: list[Finding] = []
    for one in experiments:
        if one.item in of_item:
            of_item[one.item].append(one)
            continue
        findings.append(
            Finding(
                "unknown run",
                one.item,
                one.station,
                one.cell_id,
                f"run {one.runs[0][:8]} was begun for item {one.item[:8]}, of which there is no "
                "record",
            )
        )
    lines = []
    for item, record in sorted(known.items(), key=lambda pair: (_when(pair[1]), pair[0])):
        own = of_item[item]
        lines.append(_line(record, own))
        findings += [
            Finding(kind, item, record.station, record.cell_id, text)
            for kind, text in _findings(record, own)
        ]
    findings += _left_behind(known.values())
    names = dict.fromkeys([*stations, *sorted({one.station for one in lines})])
    return Account(tuple(lines), tuple(findings), tuple(names))


def _when(record: Record) -> float:
    # What was skipped or removed never began.
    return record.began or record.ended or record.added or 0.0


def _line(record: Record, experiments: Sequence[ExperimentSeen]) -> Line:
    halves = [half for one in experiments for half in one.halves]
    planned = experiments[0].planned if len(experiments) == 1 else None
    return Line(
        item=record.item,
        station=record.station,
        cell_id=record.cell_id,
        label=record.label,
        state=record.state,
        reason=record.reason,
        runs=tuple(uid for one in experiments for uid in one.runs),
        planned=planned,
        whole=sum(half.whole for half in halves),
        parts=sum(not half.whole for half in halves),
        deaths=sum(attempt.exit_status == "lost" for attempt in record.attempts),
        resumes=sum(attempt.kind == "resume" for attempt in record.attempts),
        waited_s=sum(one.waited_s for one in experiments),
        missed=sum(one.missed for one in experiments),
        began=record.began,
        ended=record.ended,
    )


def _findings(record: Record, experiments: Sequence[ExperimentSeen]) -> Iterable[tuple[Kind, str]]:
    if record.state in ("failed", "stopped", "skipped", "held") and not record.reason.strip():
        yield "no reason", f"it is {record.state}, and nothing says why"
    if record.state in DONE and not experiments:
        yield "no run", f"it is {record.state}, and no run was begun for it"
    if len(experiments) > 1:
        told = ", ".join(one.runs[0][:8] for one in experiments)
        yield "begun anew", f"it was begun {len(experiments)} times, by the runs {told}"
    for one in experiments:
        if one.trouble:
            yield "missing", f"run {one.runs[-1][:8]} cannot be read: {one.trouble}"
            continue
        yield from _of_halves(one, done=record.state in DONE)


def _left_behind(records: Iterable[Record]) -> Iterable[Finding]:
    """Yield what is told to be under way although its station has begun another item since."""
    newest: dict[str, float] = {}
    under_way = []
    for record in records:
        began = record.began or 0.0
        newest[record.station] = max(newest.get(record.station, 0.0), began)
        if record.state in ("starting", "running"):
            under_way.append(record)
    for record in under_way:
        if (record.began or 0.0) < newest[record.station]:
            text = f"it is told to be {record.state}, and its station has begun another item since"
            yield Finding("left behind", record.item, record.station, record.cell_id, text)


def _of_halves(experiment: ExperimentSeen, *, done: bool) -> Iterable[tuple[Kind, str]]:
    halves = experiment.halves
    times = Counter(half.number for half in halves)
    for number, count in sorted(times.items()):
        if count > 1:
            runs = ", ".join(
                uid[:8] for half in halves if half.number == number for uid in half.runs
            )
            yield "doubled", f"half-cycle {number} ran {count} times, in the runs {runs}"
    # Of a program that came to its end all of them ran; of another one those before the last.
    last = max(times, default=0)
    if done and not experiment.ended_early:
        last = max(last, experiment.planned or 0)
    for begin, end in _spans(number for number in range(1, last + 1) if number not in times):
        told = f"{begin}" if begin == end else f"{begin} to {end}"
        yield "missing", f"half-cycle {told} of {last} did not run"
    if experiment.planned is not None:
        for number in sorted(number for number in times if number > experiment.planned):
            yield "doubled", f"half-cycle {number} ran, and there are {experiment.planned}"
    for place, half in enumerate(halves):
        may_be_part = place == len(halves) - 1 and (not done or experiment.ended_early)
        if not (half.whole or half.skipped or may_be_part):
            yield "half", f"half-cycle {half.number} did not come to its end, and others follow"
        excess = _excess(half)
        if excess is not None:
            yield (
                "too much charge",
                f"half-cycle {half.number} passed {half.charge_mah_cm2:.6g} mAh/cm2, and was to "
                f"pass {half.most_mah_cm2:.6g} at most",
            )


def _excess(half: HalfSeen) -> float | None:
    if half.most_mah_cm2 is None or half.unrecorded_mah_cm2 is None:
        return None
    excess = half.charge_mah_cm2 - half.most_mah_cm2 * (1 + _CHARGE_WITHIN)
    return excess if excess > 0 else None


def _spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return spans


# ---- in words

_ALWAYS = ("station", "cells", "items", "done", "half-cycles", "findings")
_COLUMNS = ("done", "resumed", "failed", "stopped", "skipped", "held", "removed", "open")


def told(
    account: Account,
    *,
    items: bool = False,
    faults: Mapping[str, int] | None = None,
    width: int | None = None,
) -> str:
    """Return the account as text: a row per station, a sum, and what does not add up.

    Args:
        account: The account.
        items: Whether each item is listed as well.
        faults: How often what was broken on purpose, if anything was.
        width: Of the terminal, in characters: if need be columns of noughts are left out.
    """
    rows = [_row(name, account.of(name)) for name in account.stations]
    head: tuple[str, ...] = ("station", "cells", "items", *_COLUMNS)
    head += ("half-cycles", "in parts", "resumes", "waited h", "missed", "findings")
    if len(rows) != 1:
        rows.append(_row("all", account))
    text = _table(head, rows)
    if width is not None and len(text.split("\n", 1)[0]) > width:
        kept = [
            place
            for place, name in enumerate(head)
            if name in _ALWAYS or any(row[place] not in ("0", "0.00") for row in rows)
        ]
        text = _table([head[x] for x in kept], [[row[x] for x in kept] for row in rows])
    parts = [text]
    if items:
        lines: list[tuple[str, ...]] = [
            (
                one.item[:8],
                one.station,
                one.cell_id,
                one.label,
                one.state,
                _of(one),
                str(one.deaths or ""),
                one.reason,
            )
            for one in account.lines
        ]
        head = ("item", "station", "cell", "label", "state", "half-cycles", "deaths", "reason")
        parts.append(table(head, lines, width))
    if faults:
        lost = sum(one.deaths for one in account.lines)
        counted = ", ".join(f"{name} {count}" for name, count in faults.items())
        parts.append(f"Faults: {sum(faults.values())} ({counted}); workers lost in an item: {lost}")
    if account.findings:
        parts.append(
            "\n".join(
                f"{one.kind.upper()}: {one.station}, cell {one.cell_id}, item {one.item[:8]}: "
                f"{one.text}"
                for one in account.findings
            )
        )
    else:
        whole = sum(one.whole for one in account.lines)
        parts.append(f"Everything adds up: {whole} half-cycles, each of them once.")
    return "\n\n".join(parts)


def _row(name: str, account: Account) -> tuple[str, ...]:
    states = account.states()
    states["open"] = len(account.open_items) - states["held"]
    done = [one for one in account.lines if one.state in DONE]
    planned = [one.planned for one in done]
    expected = "" if None in planned or not done else f" of {sum(x or 0 for x in planned)}"
    whole = sum(one.whole for one in done)
    others = sum(one.whole for one in account.lines) - whole
    halves = f"{whole}{expected}" + (f" + {others}" if others else "") if done else f"{others}"
    return (
        name,
        str(len(account.samples())),
        str(len(account.lines)),
        *(str(states[state]) for state in _COLUMNS),
        halves,
        str(sum(one.parts for one in account.lines)),
        str(sum(one.resumes for one in account.lines)),
        f"{sum(one.waited_s for one in account.lines) / 3600:.2f}",
        str(sum(one.missed for one in account.lines)),
        str(len(account.findings)),
    )


def _of(line: Line) -> str:
    whole = f"{line.whole} of {line.planned}" if line.planned is not None else f"{line.whole}"
    return f"{whole} + {line.parts} in part" if line.parts else whole


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    )


def as_data(account: Account) -> dict[str, Any]:
    """Return the account as JSON can hold it."""
    return {
        "stations": list(account.stations),
        "states": dict(account.states()),
        "items": [vars(one) | {"runs": list(one.runs)} for one in account.lines],
        "findings": [dict(vars(one)) for one in account.findings],
    }
