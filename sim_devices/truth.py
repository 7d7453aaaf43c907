"""What really happened in a simulated bench, for tests to compare with; no analysis may read it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any


class Truth:
    """Append-only JSON lines, one file per instrument: ``<folder>/<instrument>.jsonl``.

    Safe to use from any thread. Each line is flushed when it is written, so that what a killed
    simulator knew is on disk.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder; nothing is opened before the first line.

        Args:
            folder: made with its parents if need be. Files that are there are continued.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._files: dict[str, IO[str]] = {}
        self._closed = False

    def write(self, instrument: str, event: str, **values: Any) -> None:
        """Append one line ``{"event": event, **values}``.

        Args:
            instrument: name of the file.
            event: what happened, in snake case.
            values: what JSON can hold; say the unit in the name.
        """
        line = json.dumps({"event": event, **values})
        with self._lock:
            if self._closed:
                return
            file = self._files.get(instrument)
            if file is None:
                path = self.folder / f"{instrument}.jsonl"
                file = self._files[instrument] = path.open("a", encoding="utf-8")
            file.write(line + "\n")
            file.flush()

    def close(self) -> None:
        """Close all files; what is written afterwards is lost."""
        with self._lock:
            self._closed = True
            for file in self._files.values():
                file.close()
            self._files.clear()

    def __enter__(self) -> Truth:
        """Return this truth."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all files."""
        self.close()


def read_truth(folder: Path, instrument: str) -> list[dict[str, Any]]:
    """Return the lines written so far for one instrument; an empty list when there are none."""
    path = folder / f"{instrument}.jsonl"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]
