"""Playing a stored run again: the same documents, in the same order, to any callback."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain as one_after_the_other
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from operando.journal import (
    TELLING,
    JournalWriter,
    attachments_of,
    chain_of,
    documents,
    journal_path,
    resolve_uid,
)

Callback = Callable[[str, dict[str, Any]], object]
Source = Literal["journal", "catalog"]
Reader = Callable[[str, int | None], Iterator[tuple[str, dict[str, Any]]]]

# Replayed at a speed, rows come as often as they do live [wall time].
PAGE_S = 0.1
# Who stores documents, by name: importing them costs seconds. Their subclasses are meant, too.
_STORES = {"TiledWriter", "_RunWriter", "RunEngine", "Broker"}
_DEEPEST = 8


def replay(
    uid: str,
    data_dir: Path | str,
    callbacks: Callback | Iterable[Callback],
    speed: float | None = None,
    *,
    source: Source = "journal",
    from_cycle: int | None = None,
    chain: bool = True,
) -> int:
    """Hand the stored documents of a run to callbacks and return how many there were.

    From the journal they are the documents themselves: pages stay pages, with their uids. From the
    catalog they are made again (`operando.catalog.catalog_documents`): start, descriptors and stop
    with their uids, rows in pages by the rows' own times. A callback cannot tell a replay from the
    experiment, except by the clock. Nothing is written: a replay goes neither into a journal nor
    into the catalog. Of a run that lasts, what was written when the reader arrived at its end is
    replayed. Of an experiment in several runs each run's documents come in order, from the first
    run's start to the last one's stop. What was attached after its end comes last, each with a
    start document that tells ``attachment_of``, and without the days in between.

    Args:
        uid: whole uid, beginning of a uid, or ``last``.
        data_dir: the data folder.
        callbacks: one callback or several; each document goes to them in this order. What they
            raise ends the replay.
        speed: None hands the documents on as fast as possible (millions of rows a second); N
            keeps the pauses between the documents as they were, N times shorter. A callback that
            is too slow is not waited for twice: the replay catches up.
        source: where the run is read from.
        from_cycle: begin with the first row of this cycle; what describes the run comes before.
            None, or 0, is the whole run. Runs of the experiment that ended before it are left out.
        chain: whether the runs that it continues, and that continue it, belong to it.

    Raises:
        LookupError: if there is no such run, or it has no such cycle.
        ValueError: if the speed is not above 0, or a callback writes a record.
    """
    called = [callbacks] if callable(callbacks) else list(callbacks)
    if speed is not None and not speed > 0:
        raise ValueError(f"a replay's speed is above 0, or None for no pauses; got {speed!r}")
    for callback in called:
        _refuse_writers(callback)
    whole = resolve_uid(data_dir, uid)
    members = chain_of(data_dir, whole) if chain else (whole,)
    told = _documents(members, Path(data_dir), source, from_cycle, speed)
    if speed is not None:
        told = _paced(told, speed, described_at_once=bool(from_cycle))
    attached = _documents(attachments_of(data_dir, members), Path(data_dir), source, None, speed)
    count = 0
    for name, doc in one_after_the_other(told, attached):
        for callback in called:
            callback(name, doc)
        count += 1
    return count


def _documents(
    members: Iterable[str],
    data_dir: Path,
    source: Source,
    from_cycle: int | None,
    speed: float | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the documents of runs, one after the other, from the one on that has the cycle."""
    with contextlib.ExitStack() as stack:
        read = _journals(data_dir) if source == "journal" else _catalog(data_dir, speed, stack)
        sought, missing = from_cycle, None
        for member in members:
            told = read(member, sought)
            try:
                first = next(told, None)
            except LookupError as error:
                if not sought:
                    raise
                missing = error
                continue
            if first is not None:
                sought = missing = None
                yield first
                yield from told
        if missing is not None:
            raise missing


def _journals(data_dir: Path) -> Reader:
    return lambda uid, cycle: documents(journal_path(data_dir, uid), from_cycle=cycle)


def _catalog(data_dir: Path, speed: float | None, stack: contextlib.ExitStack) -> Reader:
    from operando.catalog import catalog_documents, close_catalog, open_catalog

    catalog = open_catalog(data_dir)
    stack.callback(close_catalog, catalog)
    page_s = None if speed is None else PAGE_S * speed

    def read(uid: str, cycle: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
        return catalog_documents(uid, data_dir, from_cycle=cycle, page_s=page_s, catalog=catalog)

    return read


def _paced(
    told: Iterable[tuple[str, dict[str, Any]]], speed: float, *, described_at_once: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield documents when they are due; with ``described_at_once`` time begins with the rows."""
    began = time.monotonic()
    first: float | None = None
    telling: set[str] = set()
    for name, doc in told:
        at = _time_of(doc)
        if name == "descriptor" and doc.get("name") in TELLING:
            telling.add(str(doc["uid"]))
        describes = name in ("start", "descriptor") or doc.get("descriptor") in telling
        if described_at_once and first is None and describes:
            at = None
        if at is not None:
            first = at if first is None else first
            pause = (at - first) / speed - (time.monotonic() - began)
            if pause > 0:
                time.sleep(pause)
        yield name, doc


def _time_of(doc: Mapping[str, Any]) -> float | None:
    """Return when a document was emitted [epoch s]; None for those that do not say."""
    stamp = doc.get("time")
    if isinstance(stamp, list):
        return stamp[-1] if stamp else None
    return stamp


def _refuse_writers(callback: Callback) -> None:
    """Raise ValueError if documents given to ``callback`` would be stored a second time."""
    for one in _inside(callback):
        kinds = {kind.__name__ for kind in type(one).__mro__}
        if isinstance(one, JournalWriter) or kinds & _STORES:
            raise ValueError(
                f"{type(one).__name__} would store this run a second time under the same uid; "
                "a replay is never stored"
            )


def _inside(callback: Any) -> Iterator[Any]:
    """Yield a callback and what it may hand its documents on to, as far as Python tells.

    The object of a bound method, the function within a partial or a decorator, what a closure
    holds, and the callables among an object's attributes, alone or in lists.
    """
    seen: set[int] = set()
    layer = [callback]
    for _ in range(_DEEPEST):
        layer = [one for one in layer if id(one) not in seen]
        seen |= {id(one) for one in layer}
        yield from layer
        layer = [inner for one in layer for inner in _held(one)]


def _held(one: Any) -> Iterator[Any]:
    for name in ("__self__", "__wrapped__"):
        if hasattr(one, name):
            yield getattr(one, name)
    if isinstance(one, partial):
        yield from (one.func, *one.args, *one.keywords.values())
    for cell in getattr(one, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not bound yet
            continue
    if isinstance(one, (list, tuple, set)):
        yield from one
    elif not isinstance(one, (type, ModuleType)):
        for value in getattr(one, "__dict__", {}).values():
            if callable(value) or isinstance(value, (list, tuple)):
                yield value
