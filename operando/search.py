"""Finding runs by what they were made of and by their numbers; and keeping those numbers.

What a list tells comes from the journals' index. Metrics of finished runs are kept in
``metrics.db`` of the data folder, computed once for each version of the analysis. Like the index it
is a cache: it can be deleted, and then the numbers are computed again when somebody asks for them.
"""

import datetime
import json
import logging
import math
import operator
import os
import re
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from operando import __version__
from operando.journal import (
    JournalError,
    RunSummary,
    chain_of,
    count_experiments,
    count_rows,
    journal_path,
    select_experiments,
    summaries,
)
from operando.registry import ANALYSIS_VERSION, METRICS
from operando.report import number_text

if TYPE_CHECKING:
    from operando.analysis import Metric
    from operando.runs import Run

logger = logging.getLogger(__name__)

STORE = "metrics.db"
SCHEMA = 4
PATIENCE_S = 2.0
# Counting the rows of runs without an end may take so long for one list; it goes on with the next.
COUNT_FOR_S = 0.2
TELL_EVERY_S = 5.0
# What is kept of a metric that is a list.
OF_LISTS: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"first": lambda v: v[0], "last": lambda v: v[-1], "mean": lambda v: math.fsum(v) / len(v)}
)
STATUSES = ("success", "abort", "fail", "running", "unfinished")
_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_CONDITION = re.compile(
    r"\s*(?P<name>[A-Za-z_][A-Za-z0-9_.]*)\s*(?P<sign><=|>=|==|!=|<|>|=)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>\S*)\s*"
)
_AGO = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>minute|hour|day|week)s?(?:\s+ago)?\s*")
_SECONDS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}
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


class SearchError(ValueError):
    """What was asked for cannot be searched; the message says what can."""


@dataclass(frozen=True)
class Condition:
    """One condition on a metric, e.g. ``ce_mean_pct > 99.5``.

    Attributes:
        name: The metric; of a list metric with ``.first``, ``.last`` or ``.mean``.
        sign: ``<``, ``<=``, ``>``, ``>=``, ``=`` or ``!=``.
        number: In the metric's unit.
    """

    name: str
    sign: str
    number: float

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Return the condition written as ``NAME SIGN NUMBER``; a unit may follow.

        Raises:
            SearchError: It is written otherwise, there is no such metric, or the unit is another.
        """
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise SearchError(
                f"not a condition: {text!r}. It is a metric, one of < <= > >= = !=, and a number: "
                "'ce_mean_pct > 99.5'"
            )
        name = checked_name(found["name"])
        unit = METRICS[name.partition(".")[0]].unit
        if found["unit"] and found["unit"] != unit:
            raise SearchError(
                f"{text!r}: {name} is in {'no unit' if unit == '1' else unit}, "
                f"not in {found['unit']}; numbers are not converted"
            )
        return cls(name, found["sign"], float(found["number"]))

    def holds(self, value: float | None) -> bool:
        """Return whether a value fulfils it; one that is not defined fulfils none."""
        return value is not None and bool(_OPERATORS[self.sign](value, self.number))


def checked_name(name: str) -> str:
    """Return the name of a stored metric as it is stored.

    Raises:
        SearchError: There is no such metric; the message names those that are written alike.
    """
    metric, dot, of_list = name.partition(".")
    if metric not in METRICS:
        import difflib

        near = difflib.get_close_matches(metric, METRICS, n=4, cutoff=0.5)
        near += [known for known in METRICS if metric and metric in known and known not in near]
        raise SearchError(
            f"there is no metric {metric!r}"
            + (
                f"; did you mean {', '.join(near[:5])}?"
                if near
                else f". There are {', '.join(METRICS)}."
            )
        )
    shape = METRICS[metric].shape
    if shape == "scalar" and dot:
        raise SearchError(f"{metric} is one number: write it without .{of_list}")
    if shape != "scalar" and of_list not in OF_LISTS:
        forms = ", ".join(f"{metric}.{form}" for form in OF_LISTS)
        raise SearchError(f"{metric} is a list {shape}: search for {forms}")
    return name


def parse_time(text: str, *, end: bool = False, now_s: float | None = None) -> float:
    """Return what a date, a date with time, or an age means [epoch s].

    ``2026-11-26``, ``2026-11-26 14:30`` (local time unless a zone is written), ``today``,
    ``yesterday``, ``7 days``, ``12 hours``, ``2 weeks``: the last three are that long ago.

    Args:
        text: What was written.
        end: Whether a date alone means its end rather than its beginning.
        now_s: The present, epoch s; by default the clock's.

    Raises:
        SearchError: It is none of these.
    """
    now_s = time.time() if now_s is None else now_s
    ago = _AGO.fullmatch(text.lower())
    if ago is not None:
        return now_s - float(ago["number"]) * _SECONDS[ago["unit"]]
    today = datetime.date.fromtimestamp(now_s)
    days = {"today": today, "yesterday": today - datetime.timedelta(days=1)}
    day = days.get(text.strip().lower())
    try:
        moment = None if day else datetime.datetime.fromisoformat(text.strip())
        if day is None and re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip()):
            day = datetime.date.fromisoformat(text.strip())
    except ValueError:
        raise SearchError(
            f"not a time: {text!r}. Write a date (2026-11-26), a date and a time "
            "(2026-11-26 14:30), today, yesterday, or an age (7 days, 12 hours)"
        ) from None
    if day is not None:
        day += datetime.timedelta(days=1 if end else 0)
        moment = datetime.datetime.combine(day, datetime.time())
    assert moment is not None
    return moment.timestamp()


@dataclass(frozen=True)
class FoundRun:
    """One experiment that was found: a run, or the runs of one that was resumed.

    Attributes:
        first: Its first run, or its only one.
        last: Its last run.
        runs: The uids of its runs, from the first to the last.
        metrics: Those that were asked for: name -> value, None where it is not defined.
        uncertainties: The standard uncertainty of each that has one.
        not_evaluated: Why there are no metrics; empty where there are or none were asked for.
        counts: Rows by stream of each run, as far as they were counted.
        counting: Whether there may be more rows: those of long runs without an end are counted a
            little at each list.
        damage: What is damaged in the journals of its runs, or missing in their files; empty if
            nothing is known to be.
    """

    first: RunSummary
    last: RunSummary
    runs: tuple[str, ...]
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    uncertainties: Mapping[str, float] = field(default_factory=dict)
    not_evaluated: str = ""
    counts: tuple[Mapping[str, int], ...] = ()
    counting: bool = False
    damage: str = ""

    @property
    def uid(self) -> str:
        """Return the uid of its first run: it stands for the experiment."""
        return self.first.uid

    @property
    def time(self) -> float:
        """Return when it began, epoch s."""
        return self.first.time

    @property
    def sample(self) -> str:
        """Return the sample's name."""
        return self.first.sample

    @property
    def plan_name(self) -> str:
        """Return the plan that began it."""
        return self.first.plan_name

    @property
    def exit_status(self) -> str:
        """Return how its last run ended, or that it goes on."""
        return self.last.exit_status

    @property
    def reason(self) -> str:
        """Return the reason that its last run's stop document tells."""
        return self.last.reason

    @property
    def rows(self) -> dict[str, int]:
        """Return the rows by stream of all its runs."""
        total: dict[str, int] = {}
        for counts in self.counts or (self.first.rows,):
            for stream, count in counts.items():
                total[stream] = total.get(stream, 0) + count
        return total

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        first, last = self.first, self.last
        return {
            "uid": self.uid,
            "time": self.time,
            "sample": first.sample,
            "working_electrode": first.working_electrode,
            "counter_electrode": first.counter_electrode,
            "electrolyte": first.electrolyte,
            "techniques": list(first.techniques),
            "protocol": first.protocol,
            "plan_name": first.plan_name,
            "exit_status": last.exit_status,
            "reason": last.reason,
            "rows": self.rows,
            "rows_counted": not self.counting,
            "damage": self.damage or None,
            "runs": list(self.runs),
            "replay_of": first.replay_of or None,
            "metrics": dict(self.metrics),
            "not_evaluated": self.not_evaluated or None,
        }


class FoundRuns(list[FoundRun]):
    """Experiments that were found, newest first; shown as a table at a prompt.

    Attributes:
        left_out: How many more there are, older than these.
        notes: Sentences on runs whose numbers are not there, or not those of the whole run.
    """

    left_out: int = 0
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        more = f"\n... and {self.left_out} older" if self.left_out else ""
        return "\n".join([(runs_table(self) if self else "No runs.") + more, *self.notes])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


def find_runs(
    data_dir: Path | str,
    *,
    sample: str | None = None,
    electrode: str | None = None,
    electrolyte: str | None = None,
    technique: str | None = None,
    protocol: str | None = None,
    status: str | None = None,
    since: str | float | None = None,
    until: str | float | None = None,
    where: str | Sequence[str] = (),
    columns: Sequence[str] = (),
    limit: int | None = None,
    recompute: bool = False,
    damaged: bool = False,
    tell: Callable[[str], object] | None = None,
) -> FoundRuns:
    """Return the experiments that fulfil every condition, the one with the newest run first.

    Texts are looked for anywhere and in any case, as a pattern if they hold ``*`` or ``?``. An
    experiment that was resumed is found once, by its last run; its metrics are those of all its
    runs together.

    Args:
        data_dir: The data folder.
        sample: Name of the sample.
        electrode: Material or coating of the working or the counter electrode.
        electrolyte: Its composition.
        technique: Type of the technique or of a part of it, e.g. ``plate_strip_cycle``.
        protocol: Name of the protocol or the plan.
        status: How it ended: one of `STATUSES`.
        since: Begun at or after; as `parse_time`, or epoch s.
        until: Begun before; a date alone is meant with all its hours.
        where: Conditions on metrics (`Condition`), all of which must hold. Metrics that were not
            stored yet are computed, which takes as long as the runs are long.
        columns: Names of metrics to tell of what is found.
        limit: How many at most; None: all.
        recompute: Whether to compute metrics even where they are stored.
        damaged: Whether conditions on metrics may hold for runs that could not be read whole.
            Without it these are left out, and `FoundRuns.notes` says how many.
        tell: Is told in sentences what takes time.

    Raises:
        SearchError: A condition cannot be understood.
    """
    data_dir = Path(data_dir)
    conditions = [Condition.parse(one) for one in ([where] if isinstance(where, str) else where)]
    shown = [checked_name(name) for name in columns]
    sql, values = _index_condition(
        sample=sample,
        electrode=electrode,
        electrolyte=electrolyte,
        technique=technique,
        protocol=protocol,
        status=status,
        since=None if since is None else _moment(since),
        until=None if until is None else _moment(until, end=True),
    )
    by_index = not (conditions or recompute) and status not in ("running", "unfinished")
    experiments = select_experiments(data_dir, sql, values, limit if by_index else None)
    if status in ("running", "unfinished"):
        # The index cannot know whether a writer lives; there are never many of these.
        told = summaries(data_dir, (chain[-1] for chain in experiments), refreshed=False)
        experiments = [one for one in experiments if told[one[-1]].exit_status == status]
    names = list(dict.fromkeys([*(condition.name for condition in conditions), *shown]))
    notes: list[str] = []
    with closing(_Store(data_dir)) as store:
        if conditions or recompute:
            store.complete(experiments, recompute=recompute, tell=tell)
            looked_at = experiments
            if conditions:
                fulfilling = [store.fulfilling(condition) for condition in conditions]
                experiments = [one for one in experiments if all(one[0] in f for f in fulfilling)]
            if conditions and not damaged:
                whole = [one for one in experiments if not store.damage(one[0])]
                notes += _left_out_note(len(experiments) - len(whole))
                experiments = whole
            notes = [*_not_evaluated_note(map(store.reason, (one[0] for one in looked_at))), *notes]
        chosen = experiments if limit is None else experiments[:limit]
        if shown:
            store.complete(chosen, tell=tell)
            if not conditions and not recompute:
                notes += _not_evaluated_note(store.reason(one[0]) for one in chosen)
        numbers = {one[0]: store.numbers(one[0], names) for one in chosen} if names else {}
        reasons = {one[0]: store.reason(one[0]) for one in chosen} if names else {}
        damage = {one[0]: store.damage(one[0]) for one in chosen}
    told = summaries(data_dir, (uid for one in chosen for uid in one), refreshed=False)
    present = [one for one in chosen if told.keys() >= set(one)]  # none was deleted meanwhile
    if status is not None:  # one that has changed since it was looked at ended otherwise
        present = [one for one in present if told[one[-1]].exit_status == status]
    count_rows(data_dir, told.values(), within_s=COUNT_FOR_S)
    found = FoundRuns(
        FoundRun(
            first=told[one[0]],
            last=told[one[-1]],
            runs=one,
            metrics={name: numbers[one[0]].get(name, (None, None))[0] for name in names},
            uncertainties={
                name: error
                for name, (_, error) in numbers.get(one[0], {}).items()
                if error is not None
            },
            not_evaluated=reasons.get(one[0], ""),
            counts=tuple(told[uid].rows_so_far for uid in one),
            counting=not all(told[uid].counted for uid in one),
            damage="; ".join(filter(None, (told[uid].damage for uid in one))) or damage[one[0]],
        )
        for one in present
    )
    if not by_index:
        found.left_out = len(experiments) - len(chosen)
    elif len(chosen) == limit:
        found.left_out = count_experiments(data_dir, sql, values) - len(chosen)
    found.notes = tuple(notes)
    return found


def _not_evaluated_note(reasons: Iterable[str]) -> list[str]:
    """Say how many runs have no numbers, and why; nothing if all have."""
    counted = Counter(filter(None, reasons))
    if not counted:
        return []
    told = [_clipped(why) + f" ({n} times)" * (n > 1) for why, n in counted.most_common(3)]
    told += ["..."] * (len(counted) > 3)
    total = counted.total()
    return [f"{total} run{'s' * (total != 1)} could not be evaluated ({'; '.join(told)})"]


def _left_out_note(count: int) -> list[str]:
    if not count:
        return []
    one = count == 1
    return [
        f"{count} run{'s' * (not one)} that would be found {'was' if one else 'were'} left out: "
        f"{'its' if one else 'their'} record is damaged, and {'its' if one else 'their'} numbers "
        "are not those of the whole run (--damaged shows them too)"
    ]


def _moment(asked: str | float, *, end: bool = False) -> float:
    return parse_time(asked, end=end) if isinstance(asked, str) else float(asked)


def _index_condition(
    *, status: str | None, since: float | None, until: float | None, **texts: str | None
) -> tuple[str, list[object]]:
    """Return the SQL condition on the index's columns, and its values."""
    columns = {
        "sample": "sample",
        "electrode": "working_electrode || char(10) || counter_electrode",
        "electrolyte": "electrolyte",
        "technique": "techniques",
        "protocol": "protocol || char(10) || plan_name",
    }
    parts, values = ["TRUE"], list[object]()
    for name, text in texts.items():
        if text is not None:
            # GLOB is the one of SQLite that needs no escape characters; it minds case.
            pattern = re.sub(r"\[", "[[]", text.lower())
            parts.append(f"lower({columns[name]}) GLOB ?")
            values.append(pattern if set("*?") & set(text) else f"*{pattern}*")
    if status is not None:
        if status not in STATUSES:
            raise SearchError(f"there is no status {status!r}; there are {', '.join(STATUSES)}")
        parts.append("exit_status = ?")
        values.append("" if status in ("running", "unfinished") else status)
    if since is not None:
        parts.append("time >= ?")
        values.append(since)
    if until is not None:
        parts.append("time < ?")
        values.append(until)
    return " AND ".join(parts), values


def store_metrics(data_dir: Path | str, run: "Run", numbers: "Mapping[str, Metric]") -> bool:
    """Keep the metrics of a finished experiment for searches; return whether it did.

    One that goes on, and a part of one that was resumed, are not kept. Nothing is raised where
    the store cannot be written: that is logged.
    """
    data_dir = Path(data_dir)
    if not run.complete or chain_of(data_dir, run.chain[-1]) != run.chain:
        return False
    with closing(_Store(data_dir)) as store:
        return store.keep(run.chain, run, numbers, files=_files_of(data_dir, run.chain))


def stored_metrics(data_dir: Path | str, run: "Run") -> "dict[str, Metric] | None":
    """Return the metrics of a finished experiment as they were stored, None if they were not.

    They are those that `operando.analysis.metrics` would compute, bit for bit: by this version of
    the analysis, from as many rows of the same runs and of their files.
    """
    from operando.analysis import Metric

    if not run.complete:
        return None
    with closing(_Store(Path(data_dir))) as store:
        told = store.report(run)
    if told is None or told.keys() != METRICS.keys():
        return None
    return {name: Metric(**told[name]) for name in METRICS}


def _rows_of(run: "Run") -> str:
    """Return the rows of each stream, and of each of its files as far as they are there."""
    rows = {
        name: [len(stream), *(len(asset) for asset in stream.assets.values())]
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


def evaluate(data_dir: Path | str, uid: str) -> None:
    """Compute the metrics of the finished experiment that a run belongs to, and keep them.

    Where it cannot be evaluated, the reason is kept.

    Args:
        data_dir: The data folder.
        uid: The whole uid of any of its runs.
    """
    data_dir = Path(data_dir)
    with closing(_Store(data_dir)) as store:
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


class _Store:
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
        missing = [
            one
            for one in experiments
            if one[0] not in self._unsaved
            and (recompute or not self._is_the_same(one, *kept.get(one[0], ("", ""))))
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
            self._evaluate(one)
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
        return all(_size(self._data_dir / name) == size for name, size in json.loads(files))

    def _evaluate(self, experiment: tuple[str, ...]) -> None:
        # Whatever is wrong with one run must not hide the others.
        try:
            from operando.analysis import metrics
            from operando.runs import Run

            files = _files_of(self._data_dir, experiment)
            run = Run.from_journal(experiment[-1], self._data_dir, chain=len(experiment) > 1)
            numbers = metrics(run)
        except (KeyError, IndexError, ArithmeticError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            self.keep(experiment, None, {}, reason, files=files)
        except (JournalError, OSError, LookupError, MemoryError, ImportError) as error:
            # That may be otherwise the next time.
            reason = f"{type(error).__name__}: {error}"
            self._unsaved[experiment[0]] = _Kept(reason, {})
        else:
            self.keep(experiment, run, numbers, files=files)
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
            experiment: The uids of its runs.
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
            *(run.chain[0], " ".join(run.chain), ANALYSIS_VERSION, _rows_of(run)),
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


def runs_table(found: Sequence[FoundRun]) -> str:
    """Return a line of text for each experiment: when, which sample, how it ended, its rows."""
    names = list(dict.fromkeys(name for one in found for name in one.metrics))
    lines = []
    for one in found:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.time))
        rows = ", ".join(f"{count} {stream}" for stream, count in one.rows.items()) or "no rows"
        if one.counting:
            rows = f"counting rows, {rows} so far"
        told = one.exit_status
        if one.reason:
            told += f" ({_clipped(one.reason)})"
        if len(one.runs) > 1:
            told += (
                f", resumed {len(one.runs) - 1} times" if len(one.runs) > 2 else ", resumed once"
            )
        if one.damage:
            told += ", damaged"
        if one.first.replay_of:
            told += f", repeats {one.first.replay_of[:8]}"
        numbers = "".join(f"; {name} {_number(one, name)}" for name in names)
        if one.not_evaluated:
            numbers += f"; not evaluated ({_clipped(one.not_evaluated)})"
        lines.append(f"{one.uid[:8]}  {started}  {one.sample:<14} {told}; {rows}{numbers}")
    return "\n".join(lines)


def _number(one: FoundRun, name: str) -> str:
    value = one.metrics.get(name)
    if value is None:
        return "-"
    unit = METRICS[name.partition(".")[0]].unit
    text = number_text(value, one.uncertainties.get(name))
    return text if unit == "1" else f"{text} {unit}"


def _clipped(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
