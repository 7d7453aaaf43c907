"""Playing a stored run again: the same documents, in the same order, to any callback."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from operando.journal import JournalWriter, documents, journal_path, resolve_uid

Callback = Callable[[str, dict[str, Any]], object]


def replay(
    uid: str,
    data_dir: Path | str,
    callbacks: Callback | Iterable[Callback],
    speed: float | None = None,
) -> int:
    """Hand the stored documents of a run to callbacks and return how many there were.

    The documents come from the run's journal with their original uids; pages stay pages. A
    callback cannot tell a replay from the experiment, except by the clock. Nothing is written: a
    replay goes neither into a journal nor into the catalog. Of a run that lasts, what was written
    when the reader arrived at its end is replayed.

    Args:
        uid: whole uid, beginning of a uid, or ``last``.
        data_dir: the data folder.
        callbacks: one callback or several; each document goes to them in this order. What they
            raise ends the replay.
        speed: None hands the documents on as fast as possible (millions of rows a second); N
            keeps the pauses between the documents as they were, N times shorter. A callback that
            is too slow is not waited for twice: the replay catches up.

    Raises:
        LookupError: if there is no such run.
        ValueError: if the speed is not above 0, or a callback writes a record.
    """
    called = [callbacks] if callable(callbacks) else list(callbacks)
    if speed is not None and not speed > 0:
        raise ValueError(f"a replay's speed is above 0, or None for no pauses; got {speed!r}")
    for callback in called:
        _refuse_writers(callback)
    path = journal_path(Path(data_dir), resolve_uid(data_dir, uid))
    count = 0
    began = time.monotonic()
    first: float | None = None
    for name, doc in documents(path):
        if speed is not None and (at := _time_of(doc)) is not None:
            first = at if first is None else first
            pause = (at - first) / speed - (time.monotonic() - began)
            if pause > 0:
                time.sleep(pause)
        for callback in called:
            callback(name, doc)
        count += 1
    return count


def _time_of(doc: Mapping[str, Any]) -> float | None:
    """Return when a document was emitted [epoch s]; None for those that do not say."""
    stamp = doc.get("time")
    if isinstance(stamp, list):
        return stamp[-1] if stamp else None
    return stamp


def _refuse_writers(callback: Callback) -> None:
    # By name, so that replaying does not import the catalog's client (4 s).
    kinds = {kind.__name__ for kind in type(callback).__mro__}
    if isinstance(callback, JournalWriter) or "TiledWriter" in kinds:
        raise ValueError(
            f"{type(callback).__name__} would store this run a second time under the same uid; "
            "a replay is never stored"
        )
