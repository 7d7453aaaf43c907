"""Which runs the logs belong to that an instrument keeps of its own, and whether they may go."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ._reader import documents
from ._runs import RunSummary, chain_of, select_runs, summaries

# A log's name begins with the time it was made, s since the epoch in hexadecimal. The run that
# names it starts soon after, on the same clock.
_STARTS_WITHIN_S = 3600.0


def start_documents(
    data_dir: Path | str, where: str = "TRUE", values: Iterable[object] = ()
) -> Iterator[tuple[RunSummary, dict[str, Any]]]:
    """Yield runs for which an SQL condition on the index's columns holds, with their starts."""
    for run in select_runs(data_dir, where, tuple(values)):
        found = next(iter(documents(run.path)), None)
        if found is not None and found[0] == "start":
            yield run, found[1]


def log_may_go(data_dir: Path | str, name: str) -> bool:
    """Return whether an instrument may forget its log: every row of it is in the record.

    That is so if the run that names it ended as planned, or if a later run of its experiment ended
    as planned or holds the rows that were collected from it. A log that no run of this folder
    names may belong to a run of another folder.
    """
    try:
        made_s = float(int(name.partition("-")[0], 16))
    except ValueError:
        return False
    window = (made_s - 60.0, made_s + _STARTS_WITHIN_S)
    for run, start in start_documents(data_dir, "time BETWEEN ? AND ?", window):
        if (start.get("instrument_log") or {}).get("name") == name:
            return run.exit_status == "success" or _is_collected(data_dir, run.uid)
    return False


def _is_collected(data_dir: Path | str, uid: str) -> bool:
    chain = chain_of(data_dir, uid)
    later = chain[chain.index(uid) + 1 :]
    told = summaries(data_dir, later)
    for run in (told[member] for member in later if member in told):
        if run.exit_status == "success":
            return True
        first = next(iter(documents(run.path)), None)
        resume = {} if first is None else first[1].get("resume") or {}
        wanted = resume.get("collected_rows", 0)
        present = sum(run.rows.get(stream, 0) for stream in ("potentiostat", "impedance"))
        # Rows that were collected are the first of a run, and complete before a program begins.
        if resume.get("of") == uid and 0 < wanted <= present:
            return True
    return False
