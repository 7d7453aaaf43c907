"""What a run had come to before whoever drove it died: a stop that was asked for, an end of life.

Both are on record before the cell is opened, and are in the stop document only if one was written.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operando.queueing.model import STOPPED_BY, Command, why_aborted, why_stopped


@dataclass(frozen=True)
class Noted:
    """What is on record of the end of a cell; everything ``None``: nothing is.

    Attributes:
        stopped: Who stopped the experiment on it, {"by", "why"}.
        end_of_life: The rule that ended its life, {"rule", "reason", "half_cycle"}.
    """

    stopped: Mapping[str, Any] | None = None
    end_of_life: Mapping[str, Any] | None = None

    @property
    def why(self) -> str:
        """Return why nothing is to be run on the cell any more; empty: it may."""
        if self.stopped is not None:
            return why_stopped(str(self.stopped.get("by")), str(self.stopped.get("why") or ""))
        if self.end_of_life is not None:
            return str(self.end_of_life.get("reason") or f"rule {self.end_of_life.get('rule')}")
        return ""


def noted(data_dir: Path, uid: str) -> Noted:
    """Return what a run, and those that it went on from, have on record of the end of their cell.

    A rule that is to open the cell and that the start document does not tell of was amended: the
    life of the cell is taken to be over.
    """
    from operando.journal import chain_of

    stopped, end_of_life = None, None
    for one in chain_of(data_dir, uid):
        start: Mapping[str, Any] = {}
        for name, told in _told(data_dir, one):
            if name == "start":
                start = told
            elif name == "stop":
                stopped = told.get("stopped") or stopped
                end_of_life = told.get("end_of_life") or end_of_life
            elif name == "requests" and told.get("request") == "stop":
                stopped = {"by": told.get("by"), "why": told.get("why")}
            elif name == "rules" and _ends_life(start, told):
                number = float(told.get("half_cycle") or math.nan)
                end_of_life = {
                    "rule": told.get("rule"),
                    "reason": told.get("reason"),
                    "half_cycle": int(number) if math.isfinite(number) else None,
                }
    return Noted(stopped, end_of_life)


def _told(data_dir: Path, uid: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield start and stop, and each row of the requests and of the rules by its stream."""
    from operando.journal import JournalError, documents, journal_path, page_of

    streams: dict[str, str] = {}
    with contextlib.suppress(LookupError, JournalError):
        for name, document in documents(journal_path(data_dir, uid)):
            told: Mapping[str, Any] = document
            if name in ("start", "stop"):
                yield name, told
            elif name == "descriptor" and told.get("name") in ("requests", "rules"):
                streams[told["uid"]] = told["name"]
            elif name in ("event", "event_page") and told.get("descriptor") in streams:
                stream = streams[told["descriptor"]]
                page: Any = document if name == "event_page" else page_of(document)
                data = {key.removeprefix(f"{stream}_"): rows for key, rows in page["data"].items()}
                for row in range(max(map(len, data.values()), default=0)):
                    yield stream, {key: rows[row] for key, rows in data.items()}


def _ends_life(start: Mapping[str, Any], fired: Mapping[str, Any]) -> bool:
    if "open_cell" not in str(fired.get("actions")):
        return False
    for rule in start.get("rules") or ():
        if rule.get("name") == fired.get("rule"):
            actions = rule.get("then") or ()
            return any(one.get("do") == "open_cell" and one.get("end_of_life") for one in actions)
    return True


def stop_of(why_finished: str, item: str, at: float) -> Command | None:
    """Return the stop that finished a cell, for an item on it; ``None``: something else did."""
    told, _, why = why_finished.partition(": ")
    by = told.removeprefix(STOPPED_BY)
    if by == told:
        return None
    return Command(do="stop", by=by, at=at, text=why, item=item)


def why_ended(wish: Command) -> str:
    """Return in words why an item was ended before it went on."""
    if wish.do == "stop":
        return why_stopped(wish.by, wish.text)
    return why_aborted(wish.by, wish.text)
