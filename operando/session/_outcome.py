"""How the run that was begun last ended."""

from collections.abc import Mapping
from typing import Any

from operando.run_failed import why_not_gone_on


class LastRun:
    """Remembers which run was begun last and how it ended.

    Attributes:
        uid: Of the run; empty: none was begun.
        exit_status: As its stop document has it; empty: it has none yet.
        reason: As its stop document has it.
        handling: How to handle the cell as it was left.
        stopped: Who asked for its end, and why (``by``, ``why``); ``None``: nobody.
        end_of_life: What says that nothing is to be run on the cell any more; ``None``: nothing.
        ended_early: The rule or limit that ended it before its time otherwise; empty: none did.
        shorted: Whether it left the cell with a hard short.
        refused: Why nothing was gone on with after a look at the cell; empty: it was.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Know of no run."""
        self.uid = self.exit_status = self.reason = self.handling = ""
        self.end_of_life: dict[str, Any] | None = None
        self.stopped: dict[str, Any] | None = None
        self.ended_early = self.refused = ""
        self.shorted = False

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self.clear()
            self.uid = doc["uid"]
            self.refused = why_not_gone_on(doc)
        elif name == "stop":
            self.exit_status, self.reason = doc["exit_status"], doc.get("reason", "")
            self.handling = (doc.get("end_state") or {}).get("handling", "").removesuffix(".")
            self.end_of_life, self.stopped = doc.get("end_of_life"), doc.get("stopped")
            self.ended_early = doc.get("ended_early") or ""
            self.shorted = bool((doc.get("end_state") or {}).get("shorted"))
