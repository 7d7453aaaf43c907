"""Which runs a data folder holds: read from the journals, remembered in ``index.db``."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ._index import next_number, opened, remember_rows
from ._lock import is_locked
from ._roots import journal_path
from ._scan import counted_rows

_SHOWN = (
    "uid",
    "time",
    "sample",
    "plan_name",
    "exit_status",
    "reason",
    "path",
    "working_electrode",
    "counter_electrode",
    "electrolyte",
    "techniques",
    "protocol",
    "resume_of",
    "root",
    "replay_of",
    "rows",
)
_SELECT = f"SELECT {', '.join(_SHOWN)} FROM journals"
_AT_ONCE = 500  # SQLite takes no more than 999 values in old versions
_REMEMBERED = "_rows_are_in_the_index"
_NEWEST_FIRST = "ORDER BY time DESC, path DESC"


@dataclass(frozen=True)
class RunSummary:
    """One line of a list of runs.

    Attributes:
        uid: the run's whole uid.
        time: start of the run [epoch s].
        sample: name of the sample, empty if the run has none.
        plan_name: the plan that ran.
        exit_status: ``success``, ``abort`` or ``fail`` as in the stop document; ``running`` while
            the journal's writer lives; ``unfinished`` when it died and nobody closed the run yet.
        reason: the stop document's reason.
        path: the journal.
        working_electrode: its material and coating; empty if not told, like the following.
        counter_electrode: its material and coating.
        electrolyte: its composition.
        techniques: types of the technique and of all it is made of.
        protocol: name of the protocol.
        resume_of: the run that this one continues.
        root: the run with which the experiment began; the run itself if it continues none.
        replay_of: the run that this one repeats, or whose cell it was run on.
    """

    uid: str
    time: float
    sample: str
    plan_name: str
    exit_status: str
    reason: str
    path: Path
    working_electrode: str = ""
    counter_electrode: str = ""
    electrolyte: str = ""
    techniques: tuple[str, ...] = ()
    protocol: str = ""
    resume_of: str = ""
    root: str = ""
    replay_of: str = ""

    @cached_property
    def rows(self) -> dict[str, int]:
        """Number of rows by stream: those in the journal, whatever the stop document claims.

        Where they must be counted, the journal is read when this is first asked for.
        """
        return counted_rows(self.path)


def list_runs(data_dir: Path | str) -> list[RunSummary]:
    """Return all runs of a data folder, newest first.

    Reads only what the journals gained since the last call; it needs no catalog and waits for
    nobody. Files that are not journals of ours are logged and left out.
    """
    return select_runs(data_dir)


def select_runs(
    data_dir: Path | str,
    where: str = "TRUE",
    values: Sequence[object] = (),
    limit: int | None = None,
) -> list[RunSummary]:
    """Return the runs for which an SQL condition on the index's columns holds, newest first."""
    data_dir = Path(data_dir)
    with opened(data_dir) as index:
        found = index.execute(
            f"{_SELECT} WHERE uid != '' AND ({where}) {_NEWEST_FIRST} LIMIT ?",
            (*values, -1 if limit is None else limit),
        ).fetchall()
    return [_summary(data_dir, row) for row in found]


def select_experiments(
    data_dir: Path | str, where: str = "TRUE", values: Sequence[object] = ()
) -> list[tuple[str, ...]]:
    """Return the experiments of a data folder, the one with the newest run first.

    An experiment is a run, or the runs of which each continues the one before (`chain_of`).

    Args:
        data_dir: the data folder.
        where: an SQL condition that the index's columns of the last run fulfil.
        values: for the question marks in it.

    Returns:
        By experiment the uids of its runs, from the first to the last.
    """
    with opened(Path(data_dir)) as index:
        found = index.execute(
            "SELECT root, uid, resume_of FROM journals AS run WHERE uid != '' AND NOT EXISTS ("
            "SELECT 1 FROM journals WHERE resume_of = run.uid AND resume_of != '') "
            f"AND ({where}) {_NEWEST_FIRST}",
            tuple(values),
        ).fetchall()
        resumed = dict(
            index.execute("SELECT uid, resume_of FROM journals WHERE resume_of != ''").fetchall()
        )
        present = {
            uid
            for first in set(resumed.values())
            for (uid,) in index.execute("SELECT uid FROM journals WHERE uid = ?", (first,))
        }
    experiments: list[tuple[str, ...]] = []
    seen = set[str]()
    for root, uid, resume_of in found:
        if root in seen:
            continue  # a run that was continued more than once, and not this way in the end
        if not resume_of:
            experiments.append((uid,))
            continue
        seen.add(root)
        chain = [uid]
        while (of := resumed.get(chain[0])) in present and of not in chain:
            chain.insert(0, of)
        experiments.append(tuple(chain))
    return experiments


def summaries(data_dir: Path | str, uids: Iterable[str]) -> dict[str, RunSummary]:
    """Return what a list tells of each of some runs, by uid."""
    data_dir, asked = Path(data_dir), list(uids)
    found: dict[str, RunSummary] = {}
    with opened(data_dir) as index:
        for first in range(0, len(asked), _AT_ONCE):
            some = asked[first : first + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            for row in index.execute(f"{_SELECT} WHERE uid IN ({marks})", some):
                found[row[0]] = _summary(data_dir, row)
    return found


def count_rows(data_dir: Path | str, runs: Iterable[RunSummary]) -> None:
    """Count the rows of runs where that was not done yet, and remember those of finished ones."""
    counted = [(run.uid, run.rows) for run in runs if _REMEMBERED not in vars(run)]
    if counted:
        remember_rows(Path(data_dir), counted)


def count_runs(data_dir: Path | str) -> int:
    """Return how many runs a data folder holds."""
    with opened(Path(data_dir)) as index:
        return int(index.execute("SELECT count(*) FROM journals WHERE uid != ''").fetchone()[0])


class ScanNumbers:
    """Numbers the runs of a data folder, over all programs that record into it.

    The folder is looked through once; after that a number costs the same however many runs there
    are. Where the index cannot be written, the runs begun here are counted.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self._data_dir = Path(data_dir)
        self._last: int | None = None

    def next(self) -> int:
        """Return how many runs the folder will have with the next one, or more."""
        if self._last is None:
            self._last = count_runs(self._data_dir)
        number = next_number(self._data_dir, "scan_id", self._last + 1)
        self._last = self._last + 1 if number is None else number
        return self._last


def resolve_uid(data_dir: Path | str, text: str) -> str:
    """Return the whole uid meant by ``last``, by a whole uid, or by the beginning of one.

    Raises:
        LookupError: if no run, or more than one, begins like this; the message lists them.
    """
    data_dir = Path(data_dir)
    if text != "last" and len(text) >= 36:
        journal_path(data_dir, text)
        return text
    with opened(data_dir) as index:

        def uids(where: str, *values: object) -> list[str]:
            query = f"SELECT uid FROM journals WHERE uid != '' AND {where} {_NEWEST_FIRST} LIMIT 6"
            return [uid for (uid,) in index.execute(query, values)]

        newest = uids("TRUE")
        if text == "last" and newest:
            return newest[0]
        found = uids("uid >= ? AND uid < ?", text, f"{text}\U0010ffff") if text else []
        if len(found) > 1:
            (count,) = index.execute(
                "SELECT count(*) FROM journals WHERE uid >= ? AND uid < ?",
                (text, f"{text}\U0010ffff"),
            ).fetchone()
            raise LookupError(f"{text!r} begins {count} runs: {', '.join(found[:5])}")
    if found:
        return found[0]
    known = ", ".join(uid[:8] for uid in newest[:5])
    raise LookupError(
        f"no run {text!r} in {data_dir / 'journal'}"
        + (f"; the newest are {known}" if known else ", which holds no run yet")
    )


def chain_of(data_dir: Path | str, uid: str) -> tuple[str, ...]:
    """Return the runs of the experiment that a run belongs to, from the first to the last.

    Where a run was continued more than once, the way goes over the run asked for, and over the
    newest of the runs that continue it. It begins with the first run that the folder holds.

    Args:
        data_dir: the data folder.
        uid: the run's whole uid.
    """
    data_dir = Path(data_dir)
    with opened(data_dir) as index:
        found = index.execute("SELECT root FROM journals WHERE uid = ?", (uid,)).fetchone()
        if found is None:
            return (uid,)
        members = index.execute(
            "SELECT uid, resume_of FROM journals WHERE root = ? AND resume_of != '' ORDER BY time",
            found,
        ).fetchall()
        present = {uid for uid, _ in members}
        roots = "SELECT uid FROM journals WHERE uid = ?"
        present |= {uid for (uid,) in index.execute(roots, found)}
    before = {member: of for member, of in members if of in present}
    after = {of: member for member, of in members}  # of several the newest
    chain = [uid]
    while (of := before.get(chain[0])) and of not in chain:
        chain.insert(0, of)
    while (next_uid := after.get(chain[-1])) and next_uid not in chain:
        chain.append(next_uid)
    return tuple(chain)


def _summary(data_dir: Path, values: Sequence[object]) -> RunSummary:
    told = dict(zip(_SHOWN, values, strict=True))
    rows = told.pop("rows")
    told["path"] = path = data_dir / str(told["path"])
    told["techniques"] = tuple(str(told["techniques"]).split())
    if not told["exit_status"]:
        told["exit_status"] = "running" if is_locked(path) else "unfinished"
    summary = RunSummary(**told)  # type: ignore[arg-type]  # a row of the table above
    if rows is not None:
        vars(summary).update({"rows": json.loads(str(rows)), _REMEMBERED: True})
    return summary
