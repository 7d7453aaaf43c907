"""Whether the disk has room for what a run will write."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from operando.checking._report import Item
from operando.room import Estimate, size_text

# What is left on the disk afterwards, whatever runs: other programs write as well.
RESERVE_B = 500_000_000


def free_space(folder: Path, needed: Estimate | None) -> Iterator[Item]:
    """Yield whether the disk of a data folder, or of the folder it will lie in, has room.

    Args:
        folder: The data folder; need not be there.
        needed: What is planned; ``None``: nobody told.
    """
    there = next(part for part in (folder, *folder.parents) if part.exists())
    free = shutil.disk_usage(there).free
    told = f"{size_text(free)} free at {there}"
    if needed is None:
        if free < RESERVE_B:
            yield Item(
                "disk", "failed", f"{told}: less than {size_text(RESERVE_B)}", "free some space"
            )
        else:
            yield Item("disk", "ok", f"{told}; how much will be written was not told")
        return
    told += f"; a run writes at most {needed.text()}"
    if free < needed.bytes + RESERVE_B:
        yield Item(
            "disk",
            "failed",
            f"{told}; {size_text(RESERVE_B)} are to be left besides",
            "free some space, point OPERANDO_DATA at another disk, or have fewer images and rows "
            "(every, record)",
        )
    elif free < 2 * needed.bytes + RESERVE_B:
        yield Item("disk", "warning", told, "a second such run would not find room")
    else:
        yield Item("disk", "ok", told)
