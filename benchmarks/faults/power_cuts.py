"""Power cuts: what was written and not yet synced is lost, wholly, in part, or turned to zeros.

A recording process notes each write and sync of its journal. For any instant, the notes tell what
the disk must have kept and what it may have lost; the journal is made so, read and closed. That a
sync keeps its promise is the disk's business and is not tried here.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.faults.doomed import closed, kept_in, nursery
from benchmarks.faults.outcome import Effort, Outcome

CUTS_PER_RECORDING = 20
SYNC_INTERVAL_S = 0.1
ROWS_DRIVER_HAD_S = 0.25
_BLOCK = 4096
_FORGOTTEN = (
    "is lost",
    "is kept up to a random byte",
    "is zeros",
    "is kept in random blocks, the others are zeros",
)


def power_cuts(folder: Path, effort: Effort) -> Sequence[Outcome]:
    """Cut the power at random instants; count documents and rows that had to be kept."""
    rng = random.Random(effort.seed)
    counts = {forgotten: Counter[str]() for forgotten in _FORGOTTEN}
    oldest_doc, oldest_row = dict.fromkeys(_FORGOTTEN, 0.0), dict.fromkeys(_FORGOTTEN, 0.0)
    longest_sync = 0.0
    names_synced = True
    with nursery() as processes:
        for number in range(-(-effort.power_cuts // CUTS_PER_RECORDING)):
            how = "events" if number % 4 == 3 else "pages"
            doomed = processes.start(folder / f"recording-{number}", how, log=True)
            doomed.wait_for("doc", 15 if how == "pages" else 500)
            killed = doomed.kill()
            lines = doomed.lines()
            content = doomed.journal.read_bytes()
            names_synced &= _names_are_synced(doomed.journal, doomed.data, lines)
            begun = next(float(x[4]) for x in lines if x[:2] == ["doc", "start"])
            syncs = [(int(x[1]), float(x[2]), float(x[3])) for x in lines if x[0] == "sync"]
            longest = max(ended - began for _, began, ended in syncs)
            longest_sync = max(longest_sync, longest)
            for cut_number in range(CUTS_PER_RECORDING):
                cut = rng.uniform(begun, killed)
                written = max(int(x[1]) for x in lines if x[0] == "write" and float(x[2]) <= cut)
                synced = max(size for size, _, ended in syncs if ended <= cut)
                for forgotten, left in _left(content[:written], synced, rng):
                    place = folder / f"cut-{number}-{cut_number}" / str(_FORGOTTEN.index(forgotten))
                    place.mkdir(parents=True)
                    journal = place / doomed.journal.name
                    journal.write_bytes(left)
                    kept = kept_in(journal, gaps=True)
                    count = counts[forgotten]
                    count["cuts"] += 1
                    count["wrong"] += kept.wrong
                    for line in lines:
                        missing = _rows_of(line) - kept.numbers
                        if line[0] == "doc" and missing:
                            age = cut - float(line[4])
                            oldest_doc[forgotten] = max(oldest_doc[forgotten], age)
                            late = age > SYNC_INTERVAL_S + longest + effort.grace_s
                            count["lost"] += late * len(missing)
                        elif line[0] == "doc" and line[3] == "0" and float(line[4]) <= cut:
                            count["incomplete"] += line[1] not in kept.names
                        elif line[0] == "row" and missing:
                            age = cut - float(line[2])
                            oldest_row[forgotten] = max(oldest_row[forgotten], age)
                            count["old"] += age > ROWS_DRIVER_HAD_S + effort.grace_s
                    count["closed"] += closed(journal)[1]
                    journal.unlink()
    return [
        Outcome(
            fault=f"power cut, {count['cuts']} times: what is not synced {forgotten}",
            expected="start and descriptors; documents up to 100 ms and one sync before; rows the "
            "driver had 250 ms before; nothing wrong; closed as fail",
            observed=f"oldest document missing {oldest_doc[forgotten] * 1e3:.0f} ms, oldest row "
            f"{oldest_row[forgotten] * 1e3:.0f} ms, longest sync {longest_sync * 1e3:.0f} ms; "
            f"{count['closed']} closed",
            rows_lost=count["lost"] + count["old"] + count["wrong"],
            as_expected=names_synced
            and not count["incomplete"]
            and count["closed"] == count["cuts"],
        )
        for forgotten, count in counts.items()
    ]


def _rows_of(line: Sequence[str]) -> set[int]:
    """Return the numbers of the rows that a note is about."""
    if line[0] == "row":
        return {int(line[1])}
    if line[0] == "doc" and line[3] != "0":
        return set(range(int(line[2]), int(line[3]) + 1))
    return set()


def _left(written: bytes, synced: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield what a disk may have kept of a file: all that was synced, and what it likes."""
    safe, rest = written[:synced], written[synced:]
    blocks = bytearray(rest)
    # Blocks of the file, not of what was lost.
    for begin in range(-(synced % _BLOCK), len(rest), _BLOCK):
        if rng.random() < 0.5:
            low, high = max(begin, 0), min(begin + _BLOCK, len(rest))
            blocks[low:high] = bytes(high - low)
    yield "is lost", safe
    yield "is kept up to a random byte", safe + rest[: rng.randint(0, len(rest))]
    yield "is zeros", safe + bytes(len(rest))
    yield "is kept in random blocks, the others are zeros", safe + bytes(blocks)


def _names_are_synced(journal: Path, data: Path, lines: list[list[str]]) -> bool:
    """Return whether each folder made for a journal was synced before its start was taken."""
    started = next(float(x[4]) for x in lines if x[:2] == ["doc", "start"])
    synced = {x[1] for x in lines if x[0] == "folder" and float(x[2]) <= started}
    made = [folder for folder in journal.parents if data in (folder, *folder.parents)]
    return {str(folder) for folder in (*made, data.parent)} <= synced
