"""Which runs a data folder holds: read from the journals, remembered in ``index.db``."""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

from ._errors import JournalError
from ._index import known_of, look_again, next_number, opened, remember
from ._lock import is_locked
from ._roots import SUFFIX, journal_path, month_folders
from ._scan import Scan, count_on, counted_rows

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
    "attachment_of",
    "damage",
    "rows",
    "inode",
    "size",
    "scan",
)
_STATUS = _SHOWN.index("exit_status")
_PLACES = itemgetter(*map(_SHOWN.index, ("path", "inode", "size", "scan")))
_SELECT = f"SELECT {', '.join(_SHOWN)} FROM journals"
_SCAN, _KEPT = "_scan", "_rows_are_in_the_index"
_SO_FAR = "_rows_so_far"
_AT_ONCE = 500  # SQLite takes no more than 999 values in old versions
_NEWEST_FIRST = "ORDER BY begun DESC, scan_id DESC, path DESC"
_NOT_CONTINUED = (
    "attachment_of = '' AND uid NOT IN (SELECT resume_of FROM journals WHERE resume_of != '')"
)
# One that its writer could not end holds a part only, and is made anew.
_ATTACHED = "attachment_of != '' AND exit_status = 'success'"
_CURRENT = (
    f"{_ATTACHED} AND uid NOT IN "
    "(SELECT supersedes FROM journals WHERE supersedes != '' AND exit_status = 'success')"
)


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
        protocol: name of the protocol; of a run whose protocol was changed all, in their order.
        resume_of: the run that this one continues.
        root: the run with which the experiment began; the run itself if it continues none.
        replay_of: the run that this one repeats, or whose cell it was run on.
        attachment_of: the run whose late results this one holds; else it is a run of its own.
        damage: what is known to be damaged in its journal; empty if nothing is, or if nobody has
            read all of it since the index was made.
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
    attachment_of: str = ""
    damage: str = ""

    @cached_property
    def rows(self) -> dict[str, int]:
        """Number of rows by stream: those in the journal, whatever the stop document claims.

        Where they must be counted, the journal is read when this is first asked for. `counted`
        tells whether that is so.
        """
        return counted_rows(self.path)

    @property
    def counted(self) -> bool:
        """Whether `rows` is known already."""
        return "rows" in vars(self)

    @property
    def rows_so_far(self) -> dict[str, int]:
        """Number of rows by stream as far as they were counted."""
        return self.rows if self.counted else dict(vars(self).get(_SO_FAR, {}))


def list_runs(data_dir: Path | str) -> list[RunSummary]:
    """Return all runs of a data folder, newest first, those that hold late results among them.

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
    query = f"{_SELECT} WHERE uid != '' AND ({where}) {_NEWEST_FIRST} LIMIT ?"
    asked = (*values, -1 if limit is None else limit)
    with opened(data_dir) as index:
        found = index.execute(query, asked).fetchall()
        if _changed(index, data_dir, found):
            found = index.execute(query, asked).fetchall()
    return [_summary(data_dir, row) for row in found]


def _changed(index: sqlite3.Connection, data_dir: Path, found: Iterable[Sequence[Any]]) -> bool:
    """Look again at journals whose run is over and whose size is another one nevertheless."""
    over = [_PLACES(row) for row in found if row[_STATUS]]
    try:
        return look_again(index, data_dir, over)
    except sqlite3.Error:
        return False  # the index cannot be written now


def select_experiments(
    data_dir: Path | str,
    where: str = "TRUE",
    values: Sequence[object] = (),
    limit: int | None = None,
) -> list[tuple[str, ...]]:
    """Return the experiments of a data folder, the one with the newest run first.

    An experiment is a run, or the runs of which each continues the one before (`chain_of`).

    Args:
        data_dir: the data folder.
        where: an SQL condition that the index's columns of the last run fulfil.
        values: for the question marks in it.
        limit: how many at most; None: all.

    Returns:
        By experiment the uids of its runs, from the first to the last.
    """
    experiments: list[tuple[str, ...]] = []
    seen = set[str]()
    with opened(Path(data_dir)) as index:
        found = index.execute(
            "SELECT root, uid, resume_of FROM journals WHERE uid != '' "
            f"AND {_NOT_CONTINUED} AND ({where}) {_NEWEST_FIRST}",
            tuple(values),
        )
        for root, uid, resume_of in found:
            if len(experiments) == limit:
                break
            if root in seen:
                continue  # a run that was continued more than once, and not this way in the end
            if not resume_of:
                experiments.append((uid,))
                continue
            seen.add(root)
            experiments.append(_back_from(index, uid, resume_of))
    return experiments


def _back_from(index: sqlite3.Connection, uid: str, resume_of: str) -> tuple[str, ...]:
    """Return a run and those before it, as far as the folder holds them, from the first on."""
    chain = [uid]
    while resume_of and resume_of not in chain:
        before = index.execute(
            "SELECT uid, resume_of FROM journals WHERE uid = ?", (resume_of,)
        ).fetchone()
        if before is None:
            break
        chain.insert(0, before[0])
        resume_of = before[1]
    return tuple(chain)


def count_experiments(
    data_dir: Path | str, where: str = "TRUE", values: Sequence[object] = ()
) -> int:
    """Return how many experiments `select_experiments` would give; just after it was asked."""
    with opened(Path(data_dir), refreshed=False) as index:
        query = (
            "SELECT count({}) FROM journals WHERE uid != '' AND resume_of {} '' "
            f"AND {_NOT_CONTINUED} AND ({where})"
        )
        (alone,) = index.execute(query.format("*", "="), tuple(values)).fetchone()
        (resumed,) = index.execute(query.format("DISTINCT root", "!="), tuple(values)).fetchone()
    return int(alone + resumed)


def summaries(
    data_dir: Path | str, uids: Iterable[str], *, refreshed: bool = True
) -> dict[str, RunSummary]:
    """Return what a list tells of each of some runs, by uid.

    Args:
        data_dir: the data folder.
        uids: whole uids; runs that are not there are left out.
        refreshed: False where the folder has just been looked through.
    """
    data_dir, asked = Path(data_dir), list(uids)
    found: dict[str, RunSummary] = {}
    with opened(data_dir, refreshed=refreshed) as index:
        for first in range(0, len(asked), _AT_ONCE):
            some = asked[first : first + _AT_ONCE]
            query = f"{_SELECT} WHERE uid IN ({', '.join('?' * len(some))})"
            rows = index.execute(query, some).fetchall()
            if _changed(index, data_dir, rows):
                rows = index.execute(query, some).fetchall()
            found |= {row[0]: _summary(data_dir, row) for row in rows}
    return found


def count_rows(
    data_dir: Path | str, runs: Iterable[RunSummary], *, within_s: float | None = None
) -> None:
    """Count the rows of runs where that was not done yet, and remember them.

    Args:
        data_dir: the data folder.
        runs: what `summaries` or `list_runs` gave.
        within_s: how long it may take; what is not done then goes on with the next call, and
            `RunSummary.counted` is False until it is. None: as long as it takes.
    """
    until_s = None if within_s is None else time.monotonic() + within_s
    learnt: list[dict[str, str | None]] = []
    for run in runs:
        if _KEPT in vars(run) or (until_s is not None and time.monotonic() > until_s):
            continue
        if run.counted:
            learnt.append({"uid": run.uid, "rows": json.dumps(run.rows)})
            continue
        scan = Scan(**json.loads(vars(run).get(_SCAN) or "{}"))
        try:
            count_on(run.path, scan, until_s)
        except (JournalError, OSError):
            continue  # gone meanwhile, or told when the folder is looked through
        vars(run)["rows" if scan.counted else _SO_FAR] = dict(scan.rows)
        learnt.append(
            {
                "uid": run.uid,
                "rows": json.dumps(scan.rows) if scan.counted else None,
                "scan": json.dumps(asdict(scan)),
            }
        )
    if learnt:
        remember(Path(data_dir), learnt)


def remember_damage(data_dir: Path | str, uid: str, damage: str, rows: dict[str, int]) -> None:
    """Keep for lists what was found when a journal was read whole.

    Args:
        data_dir: the data folder.
        uid: the run's whole uid.
        damage: what is damaged, in a few words; empty: nothing.
        rows: the rows that could be read, by stream.
    """
    data_dir = Path(data_dir)
    if known_of(data_dir, uid, "damage") not in (None, damage):
        told = {"uid": uid, "damage": damage, "rows": json.dumps(rows)}
        remember(data_dir, [told])


def count_journals(data_dir: Path | str) -> int:
    """Return how many journals a data folder holds, by their names alone."""
    return sum(
        name.endswith(SUFFIX)
        for folder in month_folders(Path(data_dir))
        for name in os.listdir(folder)
    )


class ScanNumbers:
    """Numbers the runs of a data folder, over all programs that record into it.

    The folder's names are counted once, and no journal is read; after that a number costs the same
    however many runs there are. Where the index cannot be written, the runs begun here are counted.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self._data_dir = Path(data_dir)
        self._last: int | None = None

    def next(self) -> int:
        """Return how many runs the folder will have with the next one, or more."""
        if self._last is None:
            self._last = count_journals(self._data_dir)
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

        newest = uids("attachment_of = ''")
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
            "SELECT uid, resume_of FROM journals WHERE root = ? AND resume_of != '' "
            "ORDER BY begun, scan_id",
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


def attachments_of(
    data_dir: Path | str, uids: Iterable[str], *, superseded: bool = False
) -> tuple[str, ...]:
    """Return the runs that hold late results of some runs, in the order they were attached.

    Args:
        data_dir: the data folder.
        uids: whole uids, e.g. those of `chain_of`.
        superseded: whether those count whose place a later one has taken.
    """
    asked = list(dict.fromkeys(uids))
    marks = ", ".join("?" * len(asked))
    with opened(Path(data_dir)) as index:
        found = index.execute(
            f"SELECT uid FROM journals WHERE {_ATTACHED if superseded else _CURRENT} "
            f"AND attachment_of IN ({marks}) "
            "ORDER BY begun, scan_id, path",
            asked,
        )
        return tuple(uid for (uid,) in found)


def attachments(data_dir: Path | str, *, refreshed: bool = True) -> dict[str, tuple[str, ...]]:
    """Return the runs that hold late results, by the run that these belong to, oldest first.

    Those whose place a later one has taken are left out.

    Args:
        data_dir: the data folder.
        refreshed: False where the folder has just been looked through.
    """
    found: dict[str, tuple[str, ...]] = {}
    with opened(Path(data_dir), refreshed=refreshed) as index:
        for uid, of in index.execute(
            f"SELECT uid, attachment_of FROM journals WHERE {_CURRENT} "
            "ORDER BY begun, scan_id, path"
        ):
            found[of] = (*found.get(of, ()), uid)
    return found


def _summary(data_dir: Path, values: Sequence[object]) -> RunSummary:
    told = dict(zip(_SHOWN, values, strict=True))
    rows, scan = told.pop("rows"), told.pop("scan")
    del told["inode"], told["size"]
    told["path"] = path = data_dir / str(told["path"])
    told["techniques"] = tuple(str(told["techniques"]).split())
    if not told["exit_status"]:
        told["exit_status"] = "running" if _is_written(path) else "unfinished"
    summary = RunSummary(**told)  # type: ignore[arg-type]  # a row of the table above
    if rows is not None:
        vars(summary).update({"rows": json.loads(str(rows)), _KEPT: True})
    elif scan:
        vars(summary).update({_SCAN: scan, _SO_FAR: json.loads(str(scan))["rows"]})
    return summary


def _is_written(path: Path) -> bool:
    try:
        return is_locked(path)
    except OSError:
        return False  # it may not be opened any more
