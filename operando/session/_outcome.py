"""How the run that was begun last ended."""

from collections.abc import Mapping
from typing import Any


class LastRun:
    """Remembers which run was begun last and how it ended."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.uid = self.exit_status = self.reason = self.handling = ""

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self.clear()
            self.uid = doc["uid"]
        elif name == "stop":
            self.exit_status, self.reason = doc["exit_status"], doc.get("reason", "")
            self.handling = (doc.get("end_state") or {}).get("handling", "").removesuffix(".")
