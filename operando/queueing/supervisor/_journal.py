"""What the record tells of an item: how far it came, whatever became of who ran it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operando.run_failed import why_not_gone_on

# What the reason of a run begins with that somebody else closed.
_LOOK = "look_at_cell"
_DIED = "the acquisition process died"
# ... or whoever drove it, when it was told to end: the computer was being shut down.
_TOLD_TO_END = "stopped by SIG"


@dataclass(frozen=True)
class LastRun:
    """The last run of an item.

    Attributes:
        uid: Its uid.
        exit_status: As in its stop document; ``unfinished`` or ``running``: it has none.
        reason: That of the stop document.
        stop: The stop document, if there is one.
        refused: Why nothing was gone on with after a look at the cell; empty: it was.
        sample: The cell, as the first run of the item tells it.
        mounted_at: When that was mounted, s of the epoch; ``None``: it does not tell.
    """

    uid: str
    exit_status: str
    reason: str
    stop: dict[str, Any] | None = None
    refused: str = ""
    sample: Mapping[str, Any] = field(default_factory=dict)
    mounted_at: float | None = None

    @property
    def interrupted(self) -> bool:
        """Return whether whoever drove it died in it: nobody had ended it."""
        if self.exit_status in ("unfinished", "running"):
            return True
        if told_to_end(self.exit_status, self.reason):
            return True
        return self.exit_status == "fail" and self.reason.startswith(_DIED)


def told_to_end(exit_status: str, reason: str) -> bool:
    """Return whether a worker ended its run because a signal had it end; nobody decided that."""
    return exit_status in ("abort", "refused") and reason.startswith(_TOLD_TO_END)


def last_run(data_dir: Path, item: str, cell_id: str = "") -> LastRun | None:
    """Return the last run of an item, also if a failure policy went on with it.

    ``None``: none was begun. All runs of the folder are looked at, the newest first: while a cell
    cycles for weeks the other stations begin any number of them. With ``cell_id`` those of that
    cell are, which is quick also where there is none.
    """
    from operando.journal import chain_of, documents, select_runs, summaries

    # A look at the cell in between is no part of the experiment.
    where, values = "plan_name != ?", [_LOOK]
    if cell_id:
        where, values = f"{where} AND sample = ?", [*values, cell_id]
    for run in select_runs(data_dir, where, values):
        first = next(iter(documents(run.path)), None)
        if first is None or first[0] != "start":
            continue
        told = first[1].get("queue")
        if not isinstance(told, dict) or told.get("item") != item:
            continue
        uid = chain_of(data_dir, run.uid)[-1]
        tip = summaries(data_dir, [uid]).get(uid, run)
        stop, refused = None, ""
        if tip.exit_status not in ("unfinished", "running"):
            for name, document in documents(tip.path):
                if name == "start":
                    refused = why_not_gone_on(document)
                elif name == "stop":
                    stop = dict(document)
        sample = first[1].get("sample")
        sample = sample if isinstance(sample, dict) else {}
        at = told.get("mounted_at")
        at = float(at) if isinstance(at, int | float) else None
        return LastRun(tip.uid, tip.exit_status, tip.reason, stop, refused, sample, at)
    return None
