"""Journals that are torn, or have a bit flipped."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.faults.doomed import closed, kept_in, nursery
from benchmarks.faults.outcome import Effort, Outcome
from operando.journal import JournalError, JournalReader, close_dead_run, damage_of, salvage


@dataclass(frozen=True)
class _Recorded:
    """A journal as it was written.

    Attributes:
        content: Its bytes.
        ends: Where its header and each of its records end.
        names: Of the documents.
        rows: The numbers of the rows in each.
    """

    content: bytes
    ends: Sequence[int]
    names: Sequence[str]
    rows: Sequence[frozenset[int]]

    @cached_property
    def all_rows(self) -> frozenset[int]:
        """Return the numbers of all rows."""
        return frozenset[int]().union(*self.rows)

    def at(self, position: int) -> int:
        """Return which record a byte belongs to; -1 for the header."""
        return sum(end <= position for end in self.ends) - 1


def damage(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Tear a recorded journal at every byte of its last record, and flip bits anywhere in it."""
    with nursery() as processes:
        doomed = processes.start(folder / "recorded", "pages")
        doomed.wait_for("doc", 20)
        doomed.end()
    ends, names, rows = [12], [], []
    reader = JournalReader(doomed.journal)
    for name, doc in reader:
        ends.append(reader.tail.offset)
        names.append(name)
        rows.append(frozenset(doc["seq_num"]) if name == "event_page" else frozenset[int]())
    recorded = _Recorded(doomed.journal.read_bytes(), ends, names, rows)
    journal = folder / "damaged.opj"
    return [_torn(journal, recorded), *_flipped(journal, recorded, effort)]


def _torn(journal: Path, recorded: _Recorded) -> Outcome:
    """Tear the stop off at every byte, and then the page before it."""
    lost = tried = repaired = 0
    count = len(recorded.names)
    kept_rows = [len(recorded.all_rows), len(recorded.all_rows - recorded.rows[-2])]
    for last, expected in zip((count, count - 1), kept_rows, strict=True):
        for size in range(recorded.ends[last - 1], recorded.ends[last]):
            journal.write_bytes(recorded.content[:size])
            kept = kept_in(journal)
            lost += expected - kept.rows + kept.wrong
            repaired += closed(journal)[1]
            tried += 1
    return Outcome(
        fault=f"torn at every byte of the last record, stop and page ({tried} journals)",
        expected="every record before is served, nothing else; closed as fail",
        observed=f"{repaired} of {tried} closed, all with {kept_rows[0]} or {kept_rows[1]} rows",
        rows_lost=lost,
        as_expected=repaired == tried,
    )


def _flipped(journal: Path, recorded: _Recorded, effort: Effort) -> Sequence[Outcome]:
    """Flip one bit at a time: of rows and the stop, and of what all rows depend on."""
    rng = random.Random(effort.seed)
    count = Counter[str]()
    for number in range(effort.flips):
        bit = rng.randrange(8 * len(recorded.content))
        damaged = bytearray(recorded.content)
        damaged[bit // 8] ^= 1 << bit % 8
        journal.write_bytes(damaged)
        hit = recorded.at(bit // 8)
        if hit < 0 or recorded.names[hit] not in ("event_page", "stop"):
            _described_by_what_is_lost(journal, recorded, hit, count)
            continue
        kept = kept_in(journal, gaps=True)
        count["flips"] += 1
        count["lost"] += len(recorded.all_rows - recorded.rows[hit] - kept.numbers) + kept.wrong
        told = damage_of(journal)
        count["told"] += [(d.offset, d.rows or 0) for d in told] == [
            (recorded.ends[hit], len(recorded.rows[hit]))
        ]
        if number % 10 == 0:
            count["to close"] += 2
            count["closed"] += _closed_at_most_once(journal, bytes(damaged), recorded, hit)
            count["closed"] += _closed_without_its_stop(journal, bytes(damaged), recorded, hit)
    return [
        Outcome(
            fault=f"one bit of a page or the stop flipped, {count['flips']} times "
            f"({len(recorded.content) / 1e3:.0f} kB)",
            expected="every row of the other records is served, nothing wrong; told where, and "
            "how many rows are missing; a run with its stop is not touched, one without is "
            "closed as fail, no byte before its end changed",
            observed=f"{count['told']} told; {count['closed']} of {count['to close']} right when "
            "to be closed",
            rows_lost=count["lost"],
            as_expected=count["told"] == count["flips"] and count["closed"] == count["to close"],
        ),
        Outcome(
            fault=f"one bit of the header, the start or the descriptor flipped, {count['heads']} "
            "times",
            expected="refused, or told how many rows nothing describes any more; "
            "`salvage` takes every row out",
            observed=f"{count['refused']} refused, {count['described']} told",
            rows_lost=count["not salvaged"],
            as_expected=count["refused"] + count["described"] == count["heads"],
        ),
    ]


def _described_by_what_is_lost(
    journal: Path, recorded: _Recorded, hit: int, count: Counter[str]
) -> None:
    count["heads"] += 1
    kept = kept_in(journal, read=salvage)
    count["not salvaged"] += len(recorded.all_rows - kept.numbers) + kept.wrong
    try:
        served = kept_in(journal)
    except JournalError:
        count["refused"] += hit <= 0
        return
    (told,) = damage_of(journal)
    count["described"] += hit > 0 and not served.rows and told.rows == len(recorded.all_rows)


def _closed_at_most_once(journal: Path, damaged: bytes, recorded: _Recorded, hit: int) -> bool:
    """Return whether a run is closed only if its stop is what is damaged."""
    if recorded.names[hit] != "stop":
        return not close_dead_run(journal) and journal.read_bytes() == damaged
    return closed(journal)[1] and _kept_aside(journal, damaged[recorded.ends[hit] :])


def _closed_without_its_stop(journal: Path, damaged: bytes, recorded: _Recorded, hit: int) -> bool:
    """Return whether a run without a stop is closed, and nothing before its end changed."""
    left = damaged[: recorded.ends[-2]]
    journal.write_bytes(left)
    whole = recorded.ends[hit] if hit == len(recorded.names) - 2 else len(left)
    done = closed(journal)[1] and journal.read_bytes()[:whole] == left[:whole]
    return _kept_aside(journal, left[whole:]) and done


def _kept_aside(journal: Path, content: bytes) -> bool:
    """Return whether this is beside a journal, if it is there, and remove it."""
    cut = journal.with_name(journal.name + ".cut")
    # A damaged length looks as if the record were torn.
    as_it_was = not cut.exists() or cut.read_bytes() == content
    cut.unlink(missing_ok=True)
    return as_it_was
