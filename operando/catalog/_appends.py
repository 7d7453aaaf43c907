"""Appends whose answer is not here yet.

An append is not repeated blindly: a server that did not answer may have written the rows, or be
about to. What was asked is noted until the answer comes, for a shared catalog on the disk, because
its server goes on when the service that asked is killed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ._places import write_private


@dataclass(frozen=True)
class Append:
    """Rows that were sent to be appended.

    Attributes:
        stream: the stream.
        before: how many rows its table had before.
        rows: how many were sent.
    """

    stream: str
    before: int
    rows: int


class UnderWay:
    """The appends whose answer is not here yet, at most one for each run.

    Args:
        path: where they are kept; None keeps them in memory, for a server that lives and dies with
            this process.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._of: dict[str, Append] = {}
        if path is not None and path.exists():
            found = json.loads(path.read_text())
            self._of = {uid: Append(**told) for uid, told in found.items()}

    def of(self, uid: str) -> Append | None:
        """Return what was sent for a run and not answered."""
        return self._of.get(uid)

    def begin(self, uid: str, append: Append) -> None:
        """Note what is about to be sent."""
        self._of[uid] = append
        self._save()

    def end(self, uid: str) -> None:
        """Forget what was sent for a run: it was answered, or its table is no more."""
        if self._of.pop(uid, None) is not None:
            self._save()

    def _save(self) -> None:
        if self._path is not None:
            told = {uid: asdict(append) for uid, append in self._of.items()}
            write_private(self._path, json.dumps(told))
