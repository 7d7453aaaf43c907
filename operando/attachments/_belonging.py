"""Which run, or which runs, a result belongs to."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from operando.attachments._files import Late
from operando.attachments._write import Part
from operando.journal import JournalError, RunSummary, documents, select_runs, summaries
from operando.runs import Run

# A result may be begun a little before its run is recorded, or just after its last row.
AROUND_S = 60.0
# Of the runs begun before a result so many are asked.
_CANDIDATES = 5

Outcome = Literal["attached", "present", "waiting", "unexpected", "unreadable", "older"]


@dataclass(frozen=True)
class Belongs:
    """What is to become of a result, in one run.

    Attributes:
        outcome: ``attached``: it is to be attached; else why not, as of what was collected.
        uid: The run; empty if it belongs to none.
        reason: Why, in a sentence; empty where that is plain.
        between: Between which moments its rows are those of this run, epoch s; None: all are.
    """

    outcome: Outcome
    uid: str = ""
    reason: str = ""
    between: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Span:
    """When a run with the instrument lasted; one that goes on has no end."""

    uid: str
    root: str
    begin: float
    end: float

    def away(self, begun: float, ended: float) -> float:
        """Return by how much it lies before or after, s; 0 where it overlaps."""
        return max(self.begin - ended, begun - self.end, 0.0)


def belonging(
    data_dir: Path, instrument: str, late: Late, runs: dict[str, Run]
) -> Sequence[Belongs]:
    """Return to which runs a result is to be attached, or why to none; never none at all.

    One that names its run belongs to that. Of others the time decides: one measurement belongs to
    the run in which it was begun, or that it missed by less than 60 s if that is one run only; a
    table with times to every run that it has rows of, to each with the rows from the end of the
    run before to 60 s behind it, or the beginning of the next.

    Args:
        data_dir: The data folder.
        instrument: Whose result it is; runs without it are no candidates.
        late: The result.
        runs: Runs that were read; those it is to be attached to are added.
    """
    if late.uid:
        return [_named(data_dir, late.uid, runs)]
    if late.started is None:
        return [Belongs("unexpected", reason="nothing tells when it was begun")]
    found = _by_time(data_dir, instrument, late, late.started, runs)
    if found[0].uid or not late.shifted_s:
        return found
    # It may be this computer that dates the files of that folder.
    begun = late.started + late.shifted_s
    ended = None if late.ended is None else late.ended + late.shifted_s
    moved = replace(late, started=begun, ended=ended)
    there = _by_time(data_dir, instrument, moved, begun, runs)[0]
    if not there.uid:
        return found
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(late.started))
    return [
        Belongs(
            "unexpected",
            reason=f"it was begun at {when} if the clock of its instrument says when it was "
            f"written, in no run; by this computer's it is of run {there.uid[:8]}: say whose clock "
            "dates its folder (files_dated_by)",
        )
    ]


def _by_time(
    data_dir: Path, instrument: str, late: Late, begun: float, runs: dict[str, Run]
) -> Sequence[Belongs]:
    ended = begun if late.ended is None else max(late.ended, begun)
    earliest = select_runs(data_dir, "attachment_of = '' AND time <= ?", (ended + AROUND_S,), 1)
    if not earliest:
        return [Belongs("older", reason="it was begun before the first run here")]
    spans = _spans(data_dir, instrument, begun, ended, runs)
    inside = [one for one in spans if one.away(begun, ended) == 0.0]
    near = inside or [one for one in spans if one.away(begun, ended) <= AROUND_S]
    told = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(begun))
    if not near:
        return [
            Belongs("unexpected", reason=f"it was begun at {told}, in no run with {instrument}")
        ]
    if len(near) > 1 and (late.ended is None or not inside):
        names = " or ".join(
            f"{one.uid[:8]}" + (f" ({away:.0f} s away)" if (away := one.away(begun, ended)) else "")
            for one in near
        )
        return [
            Belongs(
                "unexpected",
                reason=f"it was begun at {told}: it may belong to run {names}; say to which "
                "(operando attach RUN FILE)",
            )
        ]
    found = []
    for one in near:
        if one.end == math.inf:
            found.append(Belongs("waiting", one.uid, f"run {one.uid[:8]} goes on"))
        else:
            between = None if late.ended is None else _between(one, spans, begun, ended)
            reason = "" if len(near) == 1 else f"the rows of this run, one of {len(near)}"
            found.append(Belongs("attached", one.uid, reason, between))
    return found


def missed_by_s(late: Late, run: Run) -> float:
    """Return by how much a result lies before or after a run that has ended, s; 0: it does not.

    One that names its run is not asked for its time.
    """
    if late.uid or late.started is None or run.stop is None:
        return 0.0
    span = _Span(run.uid, run.uid, float(run.start["time"]), float(run.stop["time"]))
    return span.away(late.started, max(late.ended or late.started, late.started))


def within(parts: Sequence[Part], between: tuple[float, float] | None) -> Sequence[Part]:
    """Return rows that were taken between two moments, epoch s; all of them if there are none."""
    if between is None:
        return parts
    found = []
    for part in parts:
        rows = [n for n, moment in enumerate(part.time) if between[0] <= moment <= between[1]]
        if rows:
            columns = {key: [values[n] for n in rows] for key, values in part.columns.items()}
            arrays = {key: values[rows] for key, values in part.arrays.items()}
            times = [part.time[n] for n in rows]
            found.append(replace(part, columns=columns, arrays=arrays, time=times))
    return found


def _between(
    run: _Span, spans: Sequence[_Span], begun: float, ended: float
) -> tuple[float, float] | None:
    """Return from when until when rows are those of a run; None if all of a table's are.

    It is infinite on a side on which the table ends by itself. A run has what precedes it, from the
    end of the one before, and what follows it within 60 s, until the next begins. Of one that is
    continued it is all until then, and once: the next has its own rows from its beginning on.
    """
    others = [one for one in spans if one.uid != run.uid]
    first = max((one.end for one in others if one.end <= run.begin), default=-math.inf)
    if any(one.root == run.root and one.end == first for one in others):
        first = run.begin
    last = run.end + AROUND_S
    following = [one for one in others if one.begin >= run.end]
    if following:
        after = min(following, key=lambda one: one.begin)
        last = after.begin if after.root == run.root else min(last, after.begin)
    first = first if first > begun else -math.inf
    last = last if last < ended else math.inf
    return None if math.inf == last == -first else (first, last)


def _named(data_dir: Path, uid: str, runs: dict[str, Run]) -> Belongs:
    told = summaries(data_dir, [uid]).get(uid)
    if told is None:
        return Belongs("unexpected", reason=f"it names run {uid}, which is not in {data_dir}")
    if told.exit_status in ("running", "unfinished"):
        return Belongs("waiting", uid, f"run {uid[:8]} is {told.exit_status}")
    ended_run(data_dir, uid, runs)
    return Belongs("attached", uid)


def _spans(
    data_dir: Path, instrument: str, begun: float, ended: float, runs: dict[str, Run]
) -> list[_Span]:
    """Return when the runs with an instrument lasted that may have to do with some time."""
    later = "attachment_of = '' AND time > ? AND time <= ?"
    earlier = "attachment_of = '' AND time <= ?"
    border = begun - AROUND_S
    found = []
    for one in select_runs(data_dir, later, (border, ended + AROUND_S)):
        found += _span(data_dir, one, instrument, runs)
    for one in select_runs(data_dir, earlier, (border,), _CANDIDATES):
        found += (span := _span(data_dir, one, instrument, runs))
        if span and span[0].end < border:
            break  # an instrument is in one run after the other
    return sorted(found, key=lambda one: one.begin)


def _span(data_dir: Path, told: RunSummary, instrument: str, runs: dict[str, Run]) -> list[_Span]:
    """Return when a run lasted; nothing if it has not the instrument, or nobody closed it."""
    end = math.inf
    if told.exit_status == "running":
        start = _first(told)
    else:
        run = ended_run(data_dir, told.uid, runs)
        if run.stop is None:
            return []
        start, end = dict(run.start), float(run.stop["time"])
    instruments = (start.get("bench") or {}).get("instruments") or {}
    return [_Span(told.uid, told.root, told.time, end)] if instrument in instruments else []


def _first(run: RunSummary) -> dict[str, Any]:
    try:
        first = next(iter(documents(run.path)), None)
    except JournalError:
        return {}
    return dict(first[1]) if first is not None and first[0] == "start" else {}


def ended_run(data_dir: Path, uid: str, runs: dict[str, Run]) -> Run:
    """Return a run that has ended, read once; one that cannot be read has no start and no stop."""
    if uid not in runs:
        try:
            runs[uid] = Run.from_journal(uid, data_dir, chain=False)
        except JournalError:
            runs[uid] = Run({}, None, {})
    return runs[uid]
