"""The search itself: by the journals' index first, by stored metrics then."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from operando.journal import (
    attachments,
    count_experiments,
    count_rows,
    select_experiments,
    summaries,
)

from ._conditions import Condition, SearchError, checked_name, parse_time
from ._found import FoundRun, FoundRuns, clipped
from ._store import Store

# Counting the rows of runs without an end may take so long for one list; it goes on with the next.
COUNT_FOR_S = 0.2
STATUSES = ("success", "abort", "fail", "running", "unfinished")


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
    with closing(Store(data_dir)) as store:
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
    attached = attachments(data_dir, refreshed=False)
    late = {one: tuple(x for uid in one for x in attached.get(uid, ())) for one in chosen}
    told = summaries(
        data_dir, (uid for one in chosen for uid in (*one, *late[one])), refreshed=False
    )
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
            attachments=late[one],
            counts=tuple(told[uid].rows_so_far for uid in (*one, *late[one]) if uid in told),
            counting=not all(told[uid].counted for uid in (*one, *late[one]) if uid in told),
            damage="; ".join(
                told[uid].damage for uid in (*one, *late[one]) if uid in told and told[uid].damage
            )
            or damage[one[0]],
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
    told = [clipped(why) + f" ({n} times)" * (n > 1) for why, n in counted.most_common(3)]
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
