"""Metrics of finished experiments, kept so that they are computed once."""

import json
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from operando import __version__
from operando.journal import (
    JournalError,
    attachments,
    attachments_of,
    chain_of,
    deleted_raw,
    journal_path,
    summaries,
)
from operando.registry import ANALYSIS_VERSION, METRICS

from ._conditions import OF_LISTS, Condition

if TYPE_CHECKING:
    from operando.analysis import Metric
    from operando.runs import Run

logger = logging.getLogger(__name__)

STORE = "metrics.db"
SCHEMA = 4
PATIENCE_S = 2.0
TELL_EVERY_S = 5.0
_CREATE = f"""
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY, root TEXT UNIQUE, runs TEXT, analysis_version INTEGER,
    operando_version TEXT, time REAL, reason TEXT, files TEXT, damage TEXT
);
CREATE INDEX troubled ON evaluations (root) WHERE reason != '' OR damage != '';
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE metrics (
    name INTEGER, evaluation INTEGER, value REAL, uncertainty REAL,
    PRIMARY KEY (name, evaluation)
) WITHOUT ROWID;
CREATE TABLE reports (evaluation INTEGER PRIMARY KEY, rows TEXT, metrics BLOB);
PRAGMA user_version = {SCHEMA};
"""


def store_metrics(data_dir: Path | str, run: "Run", numbers: "Mapping[str, Metric]") -> bool:
    """Keep the metrics of a finished experiment for searches; return whether it did.

    One that goes on, and a part of one that was resumed, are not kept. Nothing is raised where
    the store cannot be written: that is logged.
    """
    data_dir = Path(data_dir)
    whole = chain_of(data_dir, run.chain[-1])
    if not run.complete or (*whole, *attachments_of(data_dir, whole)) != run.sources:
        return False
    with closing(Store(data_dir)) as store:
        return store.keep(run.sources, run, numbers, files=_files_of(data_dir, run.sources))


def stored_metrics(data_dir: Path | str, run: "Run") -> "dict[str, Metric] | None":
    """Return the metrics of a finished experiment as they were stored, None if they were not.

    They are those that `operando.analysis.metrics` would compute, bit for bit: by this version of
    the analysis, from as many rows of the same runs and of their files.
    """
    from operando.analysis import Metric

    if not run.complete:
        return None
    with closing(Store(Path(data_dir))) as store:
        told = store.report(run)
    if told is None or told.keys() != METRICS.keys():
        return None
    return {name: Metric(**told[name]) for name in METRICS}


def evaluate(data_dir: Path | str, uid: str) -> None:
    """Compute the metrics of the finished experiment that a run belongs to, and keep them.

    Where it cannot be evaluated, the reason is kept.

    Args:
        data_dir: The data folder.
        uid: The whole uid of any of its runs.
    """
    data_dir = Path(data_dir)
    with closing(Store(data_dir)) as store:
        store.complete([chain_of(data_dir, uid)])


def numbers_of(metrics: "Mapping[str, Metric]") -> dict[str, tuple[float, float | None]]:
    """Return what is kept of metrics: name -> (value, standard uncertainty).

    Of a list the first and the last number that is defined, and the mean of those that are.
    """
    found: dict[str, tuple[float, float | None]] = {}
    for name, metric in metrics.items():
        if isinstance(metric.value, list):
            defined = [value for value in metric.value if value is not None]
            if defined:
                found |= {f"{name}.{form}": (of(defined), None) for form, of in OF_LISTS.items()}
        elif metric.value is not None:
            error = metric.uncertainty
            found[name] = (metric.value, None if isinstance(error, list) else error)
    return found


_Numbers = Mapping[str, tuple[float, float | None]]


class _Kept(NamedTuple):
    """What is known of an experiment's numbers."""

    reason: str
    numbers: _Numbers
    damage: str = ""


class Store:
    """Stored metrics of a data folder; what cannot be written is known here only."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / STORE
        self._database: sqlite3.Connection | None = None
        self._unsaved: dict[str, _Kept] = {}
        self._texts: dict[str, _Kept] | None = None  # root -> what keeps it from being whole
        if self._path.exists():
            self._open()

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def _open(self, *, again: bool = True) -> None:
        try:
            database = sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None)
            try:
                if database.execute("PRAGMA user_version").fetchone() != (SCHEMA,):
                    _create(database)
            except sqlite3.Error:
                database.close()
                raise
            self._database = database
        except sqlite3.DatabaseError as error:
            if again and error.sqlite_errorcode in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                logger.warning("the store of metrics is damaged (%s); building a new one", error)
                self._path.unlink(missing_ok=True)
                self._open(again=False)
            else:
                logger.info("store of metrics not opened: %s", error)

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        if self._database is None:
            return []
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            logger.info("store of metrics not read: %s", error)
            return []

    def complete(
        self,
        experiments: Sequence[tuple[str, ...]],
        *,
        recompute: bool = False,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        """Compute what is missing of finished experiments, and keep it as it comes."""
        kept = {
            root: (runs, files)
            for root, runs, files in self._rows(
                "SELECT root, runs, files FROM evaluations WHERE analysis_version = ?",
                ANALYSIS_VERSION,
            )
        }
        attached = attachments(self._data_dir, refreshed=False)

        def sources(experiment: tuple[str, ...]) -> tuple[str, ...]:
            return (*experiment, *(one for uid in experiment for one in attached.get(uid, ())))

        missing = [
            one
            for one in experiments
            if one[0] not in self._unsaved
            and (recompute or not self._is_the_same(sources(one), *kept.get(one[0], ("", ""))))
        ]
        if not missing:
            return
        last = summaries(self._data_dir, (one[-1] for one in missing))
        missing = [one for one in missing if one[-1] in last]  # none was deleted meanwhile
        over = [
            one for one in missing if last[one[-1]].exit_status not in ("running", "unfinished")
        ]
        for one in missing:
            if one not in over:
                self._unsaved[one[0]] = _Kept(f"it is {last[one[-1]].exit_status}", {})
        if tell is not None and over:
            tell(f"computing the metrics of {len(over)} run{'s' * (len(over) > 1)}, once ...")
        told_at = time.monotonic()
        for number, one in enumerate(over, start=1):
            self._evaluate(one, sources(one))
            if (
                tell is not None
                and time.monotonic() - told_at > TELL_EVERY_S
                and number < len(over)
            ):
                told_at = time.monotonic()
                tell(f"{number} of {len(over)} are done")

    def _is_the_same(self, experiment: tuple[str, ...], runs: str, files: str) -> bool:
        """Return whether numbers that were made of these runs and files still are the run's."""
        if runs != " ".join(experiment):
            return False
        changed = {
            name: size for name, size in json.loads(files) if _size(self._data_dir / name) != size
        }
        # What was deleted after an export is what it was: numbers of it are kept.
        return not changed or changed.items() <= self._deleted_sizes(experiment).items()

    def _deleted_sizes(self, uids: Iterable[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for uid in uids:
            try:
                note = deleted_raw(journal_path(self._data_dir, uid))
            except LookupError:
                continue
            if note is not None:
                gone = note.files.items()
                found |= {n: size for n, size in gone if not (self._data_dir / n).exists()}
        return found

    def _evaluate(self, experiment: tuple[str, ...], sources: tuple[str, ...]) -> None:
        # Whatever is wrong with one run must not hide the others.
        try:
            from operando.analysis import metrics
            from operando.runs import Run

            files = _files_of(self._data_dir, sources)
            run = Run.from_journal(experiment[-1], self._data_dir, chain=len(experiment) > 1)
            numbers = metrics(run)
        except (KeyError, IndexError, ArithmeticError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            self.keep(sources, None, {}, reason, files=files)
        except (JournalError, OSError, LookupError, MemoryError, ImportError) as error:
            # That may be otherwise the next time.
            reason = f"{type(error).__name__}: {error}"
            self._unsaved[experiment[0]] = _Kept(reason, {})
        else:
            self.keep(sources, run, numbers, files=files)
            return
        logger.warning("run %s cannot be evaluated: %s", experiment[-1], reason)

    def keep(
        self,
        experiment: Sequence[str],
        run: "Run | None",
        metrics: "Mapping[str, Metric]",
        reason: str = "",
        *,
        files: list[list[Any]],
    ) -> bool:
        """Keep the metrics of an experiment, or why there are none; return if it is on disk.

        Args:
            experiment: The uids of its runs, and of those attached to it.
            run: All of them as one; None if it could not be evaluated.
            metrics: Its metrics.
            reason: Why there are none.
            files: Its journals, with their sizes before they were read.
        """
        self._texts = None
        numbers = numbers_of(metrics)
        damage = "" if run is None else _incomplete(run)
        if run is not None:
            known = {name for name, _ in files}
            more = {_below(self._data_dir, path): _size(path) for path in run.files}
            files = [*files, *([name, size] for name, size in more.items() if name not in known)]
        if self._database is None:
            self._open()
        root = experiment[0]
        try:
            if self._database is None:
                raise sqlite3.OperationalError(f"{self._path} cannot be opened")
            with self._database as database:
                database.execute("BEGIN IMMEDIATE")
                row = database.execute(
                    "INSERT INTO evaluations VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (root) DO UPDATE "
                    "SET runs = excluded.runs, reason = excluded.reason, "
                    "files = excluded.files, damage = excluded.damage, "
                    "analysis_version = excluded.analysis_version, time = excluded.time, "
                    "operando_version = excluded.operando_version RETURNING id",
                    (
                        root,
                        " ".join(experiment),
                        ANALYSIS_VERSION,
                        __version__,
                        time.time(),
                        reason,
                        json.dumps(files),
                        damage,
                    ),
                ).fetchone()
                number = row[0]
                database.execute(
                    "DELETE FROM metrics WHERE name IN (SELECT id FROM names) AND evaluation = ?",
                    (number,),
                )
                database.execute("DELETE FROM reports WHERE evaluation = ?", (number,))
                if run is not None:
                    told = json.dumps({name: vars(metric) for name, metric in metrics.items()})
                    database.execute(
                        "INSERT INTO reports VALUES (?, ?, ?)",
                        (number, _rows_of(run), zlib.compress(told.encode())),
                    )
                database.executemany(
                    "INSERT OR IGNORE INTO names (name) VALUES (?)", [(name,) for name in numbers]
                )
                database.executemany(
                    "INSERT INTO metrics SELECT id, ?, ?, ? FROM names WHERE name = ?",
                    [(number, value, error, name) for name, (value, error) in numbers.items()],
                )
        except sqlite3.Error as error:
            logger.info("metrics of run %s not stored: %s", root, error)
            self._unsaved[root] = _Kept(reason, numbers, damage)
            return False
        return True

    def report(self, run: "Run") -> dict[str, dict[str, Any]] | None:
        """Return all that was stored of an experiment's metrics, if it still is the same."""
        found = self._rows(
            "SELECT metrics FROM reports JOIN evaluations ON id = evaluation "
            "WHERE root = ? AND runs = ? AND analysis_version = ? AND reports.rows = ?",
            *(run.chain[0], " ".join(run.sources), ANALYSIS_VERSION, _rows_of(run)),
        )
        if not found:
            return None
        told: dict[str, dict[str, Any]] = json.loads(zlib.decompress(found[0][0]))
        return told

    def fulfilling(self, condition: Condition) -> set[str]:
        """Return the experiments whose metric fulfils a condition."""
        sign = {"==": "="}.get(condition.sign, condition.sign)
        found = {
            root
            for (root,) in self._rows(
                "SELECT root FROM metrics JOIN evaluations ON id = evaluation "
                f"WHERE name = (SELECT id FROM names WHERE name = ?) AND value {sign} ?",
                condition.name,
                condition.number,
            )
        }
        found -= self._unsaved.keys()
        for root, kept in self._unsaved.items():
            if condition.holds(kept.numbers.get(condition.name, (None, None))[0]):
                found.add(root)
        return found

    def numbers(self, root: str, names: Sequence[str]) -> _Numbers:
        """Return name -> (value, uncertainty) of those metrics that are defined."""
        if root in self._unsaved:
            return self._unsaved[root].numbers
        marks = ", ".join("?" * len(names))
        query = (
            "SELECT names.name, value, uncertainty FROM metrics "
            "JOIN names ON names.id = metrics.name "
            f"WHERE names.name IN ({marks}) "
            "AND evaluation = (SELECT id FROM evaluations WHERE root = ?)"
        )
        return {name: (value, error) for name, value, error in self._rows(query, *names, root)}

    def reason(self, root: str) -> str:
        """Return why an experiment has no metrics; empty if it has."""
        return self._told(root).reason

    def damage(self, root: str) -> str:
        """Return what was missing when an experiment was evaluated; empty if nothing was."""
        return self._told(root).damage

    def _told(self, root: str) -> _Kept:
        if root in self._unsaved:
            return self._unsaved[root]
        if self._texts is None:
            self._texts = {
                one: _Kept(reason, {}, damage)
                for one, reason, damage in self._rows(
                    "SELECT root, reason, damage FROM evaluations "
                    "WHERE reason != '' OR damage != ''"
                )
            }
        return self._texts.get(root, _Kept("", {}))


def _create(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    for table in ("evaluations", "names", "metrics", "reports"):
        database.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in filter(str.strip, _CREATE.split(";")):
        database.execute(statement)
    database.execute("COMMIT")


def _rows_of(run: "Run") -> str:
    """Return the rows of each stream, and of each of its files as far as they are there.

    Those that were deleted after they had been exported whole count as if they were.
    """
    rows = {
        name: [
            len(stream),
            *(one.announced if one.gone else len(one) for one in stream.assets.values()),
        ]
        for name, stream in run.streams.items()
    }
    return json.dumps([rows, run.damage])


def _incomplete(run: "Run") -> str:
    """Return what is missing in a run as it was read; empty if nothing is."""
    missing = list(run.damage)
    for name, stream in run.streams.items():
        for key, asset in stream.assets.items():
            if len(asset) < asset.announced:
                missing.append(
                    f"{asset.announced - len(asset)} rows of {name}, {key} are not in their files"
                )
    return "; ".join(missing)


def _files_of(data_dir: Path, runs: Iterable[str], more: Iterable[Path] = ()) -> list[list[Any]]:
    """Return the files that an experiment's numbers come from, each with its size in bytes."""
    paths = [journal_path(data_dir, uid) for uid in runs]
    return [[_below(data_dir, path), _size(path)] for path in (*paths, *sorted(set(more)))]


def _below(data_dir: Path, path: Path) -> str:
    return str(path.relative_to(data_dir) if path.is_relative_to(data_dir) else path)


def _size(path: Path) -> int:
    """Return the size of a file that may be read, in bytes; -1 of one that is not there."""
    try:
        return os.stat(path).st_size if os.access(path, os.R_OK) else -1
    except OSError:
        return -1
