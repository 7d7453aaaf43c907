"""Journals that are torn, or have a bit flipped."""

import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.doomed import closed, kept_in, nursery
from benchmarks.faults.outcome import Effort, Outcome
from operando.journal import JournalError, JournalReader, documents


def damage(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Tear a recorded journal at every byte of its last record, and flip bits anywhere in it."""
    with nursery() as processes:
        doomed = processes.start(folder / "recorded", "pages")
        doomed.wait_for("doc", 20)
        doomed.end()
    whole = doomed.journal.read_bytes()
    reader = JournalReader(doomed.journal)
    ends, rows = [12], [0]
    for name, doc in reader:
        ends.append(reader.tail.offset)
        rows.append(rows[-1] + (len(doc["seq_num"]) if name == "event_page" else 0))
    journal = folder / "damaged.opj"
    return [
        _torn(journal, whole, ends, rows),
        _flipped(journal, whole, ends, rows, effort),
    ]


def _torn(journal: Path, whole: bytes, ends: list[int], rows: list[int]) -> Outcome:
    """Tear the stop off at every byte, and then the page before it."""
    lost = tried = repaired = 0
    for last in (len(ends) - 1, len(ends) - 2):
        for size in range(ends[last - 1], ends[last]):
            journal.write_bytes(whole[:size])
            kept = kept_in(journal)
            lost += rows[last - 1] - kept.rows + kept.wrong
            repaired += closed(journal)[1]
            tried += 1
    return Outcome(
        fault=f"torn at every byte of the last record, stop and page ({tried} journals)",
        expected="every record before is served, nothing else; closed as fail",
        observed=f"{repaired} of {tried} closed, all with {rows[-1]} or {rows[-3]} rows",
        rows_lost=lost,
        as_expected=repaired == tried,
    )


def _flipped(
    journal: Path, whole: bytes, ends: list[int], rows: list[int], effort: Effort
) -> Outcome:
    rng = random.Random(effort.seed)
    lost = wrong = refused = repaired = 0
    for number in range(effort.flips):
        damaged = bytearray(whole)
        bit = rng.randrange(8 * len(whole))
        damaged[bit // 8] ^= 1 << bit % 8
        journal.write_bytes(damaged)
        before = sum(end <= bit // 8 for end in ends) - 1
        try:
            served = len(list(documents(journal)))
        except JournalError:
            refused += 1  # of the header, before which there is nothing
            wrong += before >= 0
            continue
        kept = kept_in(journal)
        wrong += kept.wrong + (served != before)
        lost += rows[before] - kept.rows
        if number % 10 == 0 and before:
            cut = journal.with_name(journal.name + ".cut")
            done = closed(journal)[1]
            tail = damaged[ends[before] :]
            repaired += done and (not cut.exists() or cut.read_bytes() == tail)
            wrong += not done
            cut.unlink(missing_ok=True)
    return Outcome(
        fault=f"one bit flipped anywhere, {effort.flips} times ({len(whole) / 1e3:.0f} kB)",
        expected="every record before is served, nothing wrong; closed as fail, the rest kept in "
        "UID.opj.cut",
        observed=f"{wrong} times something else; a damaged header refused {refused} times; "
        f"{repaired} closed",
        rows_lost=lost + wrong,
    )
