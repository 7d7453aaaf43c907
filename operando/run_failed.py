"""What is told of a run that began and did not end as planned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class RunFailedError(Exception):
    """A run began and did not end as planned; what it measured is kept.

    Attributes:
        uid: The run's uid.
        exit_status: ``abort`` (somebody stopped it) or ``fail``.
        reason: Why, in the words of the stop document.
        left: How bench and cell were left, in words; empty if that is not known.
    """

    def __init__(
        self, uid: str, exit_status: str, reason: str, kept_in: Path, left: str = ""
    ) -> None:
        parts = [f"run {uid} ended as {exit_status!r}: {reason or 'no reason was given'}", left]
        parts.append(f"Everything measured until then is kept in {kept_in}")
        super().__init__(". ".join(part for part in parts if part))
        self.uid = uid
        self.exit_status = exit_status
        self.reason = reason
        self.left = left


def why_not_gone_on(start: Mapping[str, Any]) -> str:
    """Return why a run only looked at its cell, and went on with nothing; empty: it is none such.

    Args:
        start: Its start document.
    """
    resumed = start.get("resume")
    if not isinstance(resumed, Mapping) or "checks" not in resumed:
        return ""
    return str(resumed.get("refused") or "")
