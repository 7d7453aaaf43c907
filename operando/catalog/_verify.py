"""Is the catalog what the journals say it should be?"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from operando.journal import documents, journal_path, list_runs, page_of, row_times

from ._parts import RunParts
from ._places import Places
from ._read import read_run
from ._service import ask_status, is_running, read_ingested, wait_until_ingested


@dataclass(frozen=True)
class CatalogStatus:
    """How a data folder's record is doing.

    Attributes:
        running: whether a catalog service has the folder.
        ready: whether it answers.
        runs: number of runs in the journals.
        ingested: number of runs that are whole in the catalog.
        behind: uid -> bytes of its journal that are not in the catalog yet.
        errors: uid -> what keeps a run from being ingested.
        unfinished: uids of runs whose process died and that nobody closed yet.
        journal_bytes: size of all journals.
        catalog_bytes: size of the catalog's files.
        free_bytes: free space where the data folder is.
    """

    running: bool
    ready: bool
    runs: int
    ingested: int
    behind: dict[str, int]
    errors: dict[str, str]
    unfinished: list[str]
    journal_bytes: int
    catalog_bytes: int
    free_bytes: int


def status(data_dir: Path | str) -> CatalogStatus:
    """Return how the record of a data folder is doing, without starting or waiting for anything."""
    places = Places(data_dir)
    runs = list_runs(places.data_dir)
    told = ask_status(places)
    finished = read_ingested(places)
    reached = (told or {}).get("open", {})
    behind = {
        run.uid: run.path.stat().st_size - reached.get(run.uid, 0)
        for run in runs
        if run.uid not in finished
    }
    existing = next(p for p in (places.data_dir, *places.data_dir.parents) if p.exists())
    return CatalogStatus(
        running=is_running(places),
        ready=told is not None,
        runs=len(runs),
        ingested=sum(run.uid in finished for run in runs),
        behind={uid: missing for uid, missing in behind.items() if missing},
        errors=(told or {}).get("errors", {}),
        unfinished=[run.uid for run in runs if run.exit_status == "unfinished"],
        journal_bytes=sum(run.path.stat().st_size for run in runs),
        catalog_bytes=sum(f.stat().st_size for f in places.catalog.rglob("*") if f.is_file()),
        free_bytes=shutil.disk_usage(existing).free,
    )


@dataclass
class Verification:
    """The outcome of comparing a run's journal with the catalog.

    Attributes:
        uid: the run.
        rows: number of rows compared, by stream.
        frames: number of rows in files compared, by stream and key.
        differences: what differs, in sentences; empty if nothing does.
    """

    uid: str
    rows: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether journal and catalog tell the same."""
        return not self.differences


def verify(
    uid: str, data_dir: Path | str, *, timeout_s: float = 60.0, catalog: Any = None
) -> Verification:
    """Compare a run's journal with the catalog, every row and every value.

    Waits until what the journal holds now is ingested. Start, stop and descriptors are compared as
    far as JSON can hold them: NaN and infinities in metadata become null there.

    Args:
        uid: the run's whole uid.
        data_dir: the data folder.
        timeout_s: wait no longer than this for the run to be ingested [s].
        catalog: what `open_catalog` returned, to spare opening it again.

    Raises:
        CatalogError: if the run does not get into the catalog in time.
        LookupError: if there is no such run.
    """
    wait_until_ingested(data_dir, uid, timeout_s)
    parts = read_run(uid, data_dir, catalog=catalog)
    journal = _Expected.read(journal_path(Places(data_dir).data_dir, uid))
    outcome = Verification(uid)
    for name, here, there in (
        ("start", journal.start, parts.start),
        ("stop", journal.stop, parts.stop),
    ):
        if _as_json(here) != _as_json(there):
            outcome.differences.append(f"the {name} document differs")
    _compare_streams(journal, parts, outcome)
    return outcome


@dataclass
class _Expected:
    """What a journal says the catalog should hold."""

    start: dict[str, Any] = field(default_factory=dict)
    stop: dict[str, Any] | None = None
    data_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    columns: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    frames: dict[tuple[str, str], list[tuple[str, int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "_Expected":
        found = cls()
        stream_of: dict[str, str] = {}
        resources: dict[str, dict[str, Any]] = {}
        for name, doc in documents(path):
            if name == "start":
                found.start = doc
            elif name == "stop":
                found.stop = doc
            elif name == "descriptor":
                stream = stream_of[doc["uid"]] = doc["name"]
                found.data_keys.setdefault(stream, doc["data_keys"])
                found.numbers.setdefault(stream, [])
                found.times.setdefault(stream, [])
                found.columns.setdefault(stream, {})
            elif name in ("event", "event_page"):
                page = doc if name == "event_page" else page_of(doc)
                stream = stream_of[doc["descriptor"]]
                found.numbers[stream] += page["seq_num"]
                found.times[stream] += row_times(page)
                for key, values in page["data"].items():
                    found.columns[stream].setdefault(key, []).extend(values)
            elif name == "stream_resource":
                resources[doc["uid"]] = doc
            elif name == "stream_datum":
                resource = resources[doc["stream_resource"]]
                place = (stream_of[doc["descriptor"]], resource["data_key"])
                found.frames.setdefault(place, []).append(
                    (unquote(resource["uri"]), doc["indices"]["stop"] - doc["indices"]["start"])
                )
        return found


def _compare_streams(journal: _Expected, parts: RunParts, outcome: Verification) -> None:
    differences = outcome.differences
    if set(journal.numbers) != set(parts.streams):
        differences.append(
            f"streams: {sorted(journal.numbers)} in the journal, {sorted(parts.streams)} in the "
            "catalog"
        )
    for stream, numbers in journal.numbers.items():
        if stream not in parts.streams:
            continue
        there = parts.streams[stream]
        outcome.rows[stream] = len(numbers)
        if _as_json(journal.data_keys[stream]) != _as_json(there["descriptor"]["data_keys"]):
            differences.append(f"{stream}: the descriptors' data keys differ")
        if numbers != there["seq_num"].tolist():
            differences.append(
                f"{stream}: rows 1..{len(numbers)} in the journal, {len(there['seq_num'])} rows "
                f"in the catalog, {len(set(there['seq_num'].tolist()))} of them different"
            )
            continue
        if journal.times[stream] != there["time"].tolist():
            differences.append(f"{stream}: times of rows differ")
        for key, values in journal.columns[stream].items():
            if key not in there["columns"]:
                differences.append(f"{stream}: {key} is missing in the catalog")
            elif (row := _first_difference(values, there["columns"][key])) is not None:
                differences.append(
                    f"{stream}: {key} differs from row {row + 1} on: {values[row]!r} in the "
                    f"journal, {there['columns'][key][row]!r} in the catalog"
                )
    for (stream, key), pieces in journal.frames.items():
        refs = parts.streams[stream]["assets"].get(key, []) if stream in parts.streams else []
        count = sum(rows for _, rows in pieces)
        outcome.frames[f"{stream}.{key}"] = count
        uris = list(dict.fromkeys(uri for uri, _ in pieces))
        if uris != [f"file://localhost{ref.path}" for ref in refs]:
            differences.append(f"{stream}: {key} names other files in the catalog")
        elif count != sum(ref.stop - ref.start for ref in refs):
            differences.append(
                f"{stream}: {key} has {count} rows in the journal, "
                f"{sum(ref.stop - ref.start for ref in refs)} in the catalog"
            )
        differences += [f"{stream}: {ref.path} is missing" for ref in refs if not ref.path.exists()]


_LARGEST_WHOLE = (1 << 53) - 1


def _first_difference(here: list[Any], there: Any) -> int | None:
    """Return the first row in which two columns differ; None and NaN are the same."""
    try:
        ours = np.array(here, dtype=np.float64)
        theirs = np.asarray(there, dtype=np.float64)
    except (TypeError, ValueError):  # text, or arrays of varying length kept as JSON text
        import json

        ours_text = [item if isinstance(item, str) else json.dumps(item) for item in here]
        pairs = zip(ours_text, there, strict=True)
        return next((row for row, (a, b) in enumerate(pairs) if a != b), None)
    if ours.shape != theirs.shape:
        return 0
    if not len(ours):
        return None
    differ = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    rows = [int(row) for row in np.flatnonzero(differ.reshape(len(differ), -1).any(axis=1))]
    return rows[0] if rows else None


def _as_json(value: Any) -> Any:
    """Return a document as the catalog's JSON holds it."""
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # The writer clips whole numbers to 53 bits and floats to the largest; NaN becomes null.
        if math.isnan(value):
            return None
        if value % 1 == 0 or math.isinf(value):
            return max(min(value, _LARGEST_WHOLE), -_LARGEST_WHOLE)
    return value
