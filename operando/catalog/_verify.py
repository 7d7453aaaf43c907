"""Is the catalog what the journals say it should be?"""

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from operando.journal import (
    JournalError,
    JournalReader,
    deleted_raw,
    is_locked,
    journal_path,
    list_runs,
    page_of,
    row_times,
)

from ._errors import CatalogError
from ._parts import NOT_IN_METADATA, AssetRef
from ._places import Places, ingested_uids
from ._read import close_catalog, open_catalog, plain, refs_of
from ._rows import ServedRows
from ._service import ask_status, is_running, read_ingested, wait_until_ingested
from ._surplus import cuts_of
from ._tables import Tables, Values, joined

# Rows of one stream compared at once.
ROWS_AT_ONCE = 20_000


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
        away: why the catalog as a whole cannot be written; empty while it can.
        shared: address of the shared catalog the runs go to; empty if the folder has its own.
        unfinished: uids of runs whose process died and that nobody closed yet.
        more: uids of runs of which the catalog holds more than their journals; both are kept.
        damaged: uids of runs whose journals were damaged when they were taken in.
        cuts: files beside journals that hold what was cut off them as damaged.
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
    away: str
    shared: str
    unfinished: list[str]
    more: list[str]
    damaged: list[str]
    cuts: list[str]
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
        away=(told or {}).get("away", ""),
        shared=places.shared.uri if places.shared else "",
        unfinished=[run.uid for run in runs if run.exit_status == "unfinished"],
        more=sorted(ingested_uids(places.ingested, "+")),
        damaged=sorted(ingested_uids(places.ingested, "!")),
        cuts=sorted(str(cut) for cut in places.data_dir.glob("journal/*/*/*.opj.cut*")),
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
        rows_there: number of rows in the catalog, by stream; none of a run that lasts.
        frames: number of rows in files compared, by stream and key.
        differences: what differs, in sentences; empty if nothing does.
        damage: what of the journal cannot be read, in sentences; empty if nothing is damaged.
        lasts: whether the run was being written; then only what was there is compared.
    """

    uid: str
    rows: dict[str, int] = field(default_factory=dict)
    rows_there: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    lasts: bool = False

    @property
    def same(self) -> bool:
        """Whether journal and catalog tell the same, and all of the journal can be read."""
        return not self.differences and not self.damage


def verify(
    uid: str, data_dir: Path | str, *, timeout_s: float = 60.0, catalog: Any = None
) -> Verification:
    """Compare a run's journal with the catalog, every row and every value.

    Waits until what the journal holds now is ingested. Start, stop and descriptors, also later ones
    of a stream, are compared as far as JSON can hold them: NaN and infinities in metadata become
    null there. Not compared is what the catalog does not keep: uids of events and of stream
    resources, and where one page ended. Some ten thousand rows are in memory at a time, however
    long the run.

    Args:
        uid: the run's whole uid.
        data_dir: the data folder.
        timeout_s: wait no longer than this for the run to be ingested [s].
        catalog: what `open_catalog` returned, to spare opening it again.

    Raises:
        CatalogError: if the run does not get into the catalog in time.
        LookupError: if there is no such run.
    """
    places = Places(data_dir)
    path = journal_path(places.data_dir, uid)
    size = path.stat().st_size
    wait_until_ingested(data_dir, uid, timeout_s)
    if catalog is None:
        opened = open_catalog(data_dir)
        try:
            return _Comparison(places, uid, opened).run(path, size)
        finally:
            close_catalog(opened)
    return _Comparison(places, uid, catalog).run(path, size)


def verify_runs(
    uids: Iterable[str], data_dir: Path | str, *, timeout_s: float = 60.0
) -> Iterator[Verification]:
    """Compare several runs with the catalog, one after the other.

    A run that does not get into the catalog, or cannot be read there, differs; the difference says
    why.

    Raises:
        CatalogError: if the catalog's service does not come up.
        LookupError: if there is no such run.
    """
    opened = open_catalog(data_dir)
    try:
        for uid in uids:
            try:
                yield verify(uid, data_dir, timeout_s=timeout_s, catalog=opened)
            except CatalogError as error:
                yield Verification(uid, differences=[str(error)])
    finally:
        close_catalog(opened)


class _Comparison:
    """Reads a journal once, and beside it what the catalog has of the run."""

    def __init__(self, places: Places, uid: str, catalog: Any) -> None:
        self._places = places
        self._catalog = catalog
        self._outcome = Verification(uid)
        self._differences = self._outcome.differences
        self._tables = None if places.shared else Tables(places.tables_db)
        self._streams: dict[str, _StreamComparison] = {}

    def run(self, path: Path, size: int) -> Verification:
        import httpx
        from tiled.client.utils import ClientError

        try:
            try:
                node = self._catalog[self._outcome.uid]
            except KeyError:
                self._differences.append("the run is not in the catalog")
                return self._outcome
            base = node.base.include_data_sources()
            self._compare(path, size, node, base)
        except (ClientError, httpx.HTTPStatusError) as error:
            self._differences.append(f"the catalog cannot be read: {_first_line(error)}")
        except _UnreadableError as error:
            self._differences.append(str(error))
        except JournalError as error:
            self._outcome.damage.append(str(error))
        return self._outcome

    def _compare(self, path: Path, size: int, node: Any, base: Any) -> None:
        there = set(base)
        stream_of: dict[str, str] = {}
        resources: dict[str, dict[str, Any]] = {}
        stop: dict[str, Any] | None = None
        self._outcome.lasts = is_locked(path)
        reader = JournalReader(path, arrays=True)
        self._outcome.damage += [f"what was damaged lies in {cut.name}" for cut in cuts_of(path)]
        for name, doc in reader:
            if name == "start":
                self._document(name, doc, node.metadata.get("start"))
            elif name == "stop":
                stop = doc
            elif name == "descriptor":
                stream = stream_of[doc["uid"]] = doc["name"]
                self._descriptor(stream, doc, base if stream in there else None)
            elif name in ("event", "event_page"):
                page = doc if name == "event_page" else page_of(doc)
                self._streams[stream_of[doc["descriptor"]]].take(page)
            elif name == "stream_resource":
                resources[doc["uid"]] = doc
            elif name == "stream_datum":
                resource = resources.get(doc["stream_resource"])
                if resource is not None:  # else a damaged journal has lost it
                    self._streams[stream_of[doc["descriptor"]]].announce(resource, doc["indices"])
            if reader.tail.offset >= size:  # more may have come since
                break
        self._outcome.damage += [f"the journal is damaged: {damage}" for damage in reader.damage]
        if stop is not None or not (self._outcome.lasts or path.stat().st_size > size):
            self._document("stop", stop, node.metadata.get("stop"))
        if there - set(self._streams):
            self._differences.append(
                f"streams: {sorted(self._streams)} in the journal, {sorted(there)} in the catalog"
            )
        for name, comparison in self._streams.items():
            comparison.finish()
            self._outcome.rows[name] = comparison.rows

    def _document(self, name: str, here: Any, there: Any) -> None:
        if _as_json(here) != _as_json(plain(there)):
            self._differences.append(f"the {name} document differs")

    def _descriptor(self, stream: str, doc: Mapping[str, Any], base: Any) -> None:
        if stream in self._streams:
            self._streams[stream].configure(doc)
            return
        node = None if base is None else getattr(base[stream], "base", base[stream])
        if node is None:
            self._differences.append(f"{stream}: the stream is missing in the catalog")
        self._streams[stream] = _StreamComparison(
            stream, doc, node, self._tables, self._places, self._outcome
        )


class _StreamComparison:
    """Compares one stream piece by piece; after the first difference in its rows only counts."""

    def __init__(
        self,
        name: str,
        descriptor: Mapping[str, Any],
        node: Any,
        tables: Tables | None,
        places: Places,
        outcome: Verification,
    ) -> None:
        self.rows = 0
        self._name = name
        self._places = places
        self._outcome = outcome
        self._differences = outcome.differences
        self._told: set[str] = set()
        self._there = {} if node is None else {key: node[key] for key in node}
        self._compared = node is not None
        self._updates: list[dict[str, Any]] = []
        self._updates_there: list[Any] = []
        data_keys = descriptor["data_keys"]
        if node is not None:
            self._compare_descriptor(descriptor, plain({**node.metadata}))
        self._singles = {
            key: np.dtype(numpy_type)
            for key, doc in data_keys.items()
            if (numpy_type := doc.get("dtype_numpy")) in ("<f4", ">f4", "=f4", "f4")
        }
        self._external = [key for key, doc in data_keys.items() if "external" in doc]
        self._waiting: dict[str, list[Values]] = {}
        self._waiting_rows = 0
        self._pieces: dict[str, list[tuple[str, int]]] = {}
        table = self._there.get("internal")
        self._columns = [] if table is None else list(table.columns)
        self._table = _Pieces(iter(()))
        if table is not None:
            source = table.data_sources()[0].parameters
            read = ServedRows(table).rows if tables is None else tables.rows
            self._table = _Pieces(read(source, self._columns))

    def _compare_descriptor(self, here: Mapping[str, Any], there: dict[str, Any]) -> None:
        self._updates_there = there.pop("_config_updates", [])
        here = {key: value for key, value in here.items() if key not in NOT_IN_METADATA}
        if (ours := _as_json(here)) == (theirs := _as_json(there)):
            return
        if ours["data_keys"] != theirs.get("data_keys"):
            self._differ("the descriptors' data keys differ")
            self._compared = False
            return
        keys = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
        self._differ(f"the descriptors differ in {', '.join(keys)}")

    def configure(self, doc: Mapping[str, Any]) -> None:
        """Take a later descriptor of the stream: a device was configured anew within the run."""
        self._updates.append(
            {key: doc[key] for key in ("uid", "time", "configuration") if key in doc}
        )

    def take(self, page: Mapping[str, Any]) -> None:
        """Take a page of the journal."""
        count = len(page["seq_num"])
        self.rows += count
        if not self._compared:
            return
        columns = {"seq_num": page["seq_num"], "time": row_times(page), **page["data"]}
        columns |= {f"ts_{key}": stamps for key, stamps in page["timestamps"].items()}
        for key, values in columns.items():
            self._waiting.setdefault(key, []).append(values)
        self._waiting_rows += count
        if self._waiting_rows >= ROWS_AT_ONCE:
            self._compare_rows()

    def announce(self, resource: Mapping[str, Any], indices: Mapping[str, int]) -> None:
        """Take an announcement of rows in a file."""
        pieces = self._pieces.setdefault(resource["data_key"], [])
        count = indices["stop"] - indices["start"]
        uri = unquote(resource["uri"])
        if pieces and pieces[-1][0] == uri:
            pieces[-1] = (uri, pieces[-1][1] + count)
        else:
            pieces.append((uri, count))

    def finish(self) -> None:
        """Compare what is left, and what the catalog has beyond."""
        if self._compared and self._waiting_rows:
            self._compare_rows()
        if not self._outcome.lasts:
            beyond = self._table.rest()
            self._outcome.rows_there[self._name] = self._table.given
            if self._compared and beyond:
                self._differ(
                    f"{self.rows} rows in the journal, {self.rows + beyond} in the catalog"
                )
            for key, array in self._there.items():
                inside = key != "internal" and key not in self._external
                if self._compared and inside and array.shape[0] > self.rows:
                    self._differ(
                        f"{key} has {self.rows} rows in the journal, "
                        f"{array.shape[0]} in the catalog"
                    )
        there = self._updates_there
        if self._outcome.lasts:
            there = there[: len(self._updates)]
        if _as_json(self._updates) != _as_json(there):
            self._differ("the later descriptors, of devices configured anew, differ")
        for key in self._external:
            self._compare_files(key, self._pieces.get(key, []))

    def _differ(self, what: str) -> None:
        self._differences.append(f"{self._name}: {what}")

    def _compare_rows(self) -> None:
        count, first = self._waiting_rows, self.rows - self._waiting_rows
        here = {key: joined(chunks) for key, chunks in self._waiting.items()}
        self._waiting, self._waiting_rows = {}, 0
        there = self._table.take(count)
        found = len(there["seq_num"]) if there else 0
        numbers = [int(number) for number in there["seq_num"]] if there else []
        wanted = [int(number) for number in here["seq_num"]]
        if numbers != wanted:
            self._compared = False
            pairs = zip(wanted, numbers, strict=False)
            same = next((row for row, (a, b) in enumerate(pairs) if a != b), found)
            missing = "is missing" if same >= found else f"is row {numbers[same]}"
            self._differ(
                f"row {wanted[same]} of the journal {missing} in the catalog, which has "
                f"{first + found + self._table.rest()} rows"
            )
            return
        for key, values in here.items():
            if key in self._told:
                continue
            stored = there.get(key)
            if stored is None and key in self._there:
                stored = self._there[key][first : first + count]
            if stored is None:
                self._told.add(key)
                self._differ(f"{key} is missing in the catalog")
            elif (row := _first_difference(values, stored, self._singles.get(key))) is not None:
                self._told.add(key)
                shown = "times" if key == "time" else key
                self._differ(
                    f"{shown} differs from row {first + row + 1} on: {_shown(values, row)} in the "
                    f"journal, {_shown(stored, row)} in the catalog"
                )

    def _compare_files(self, key: str, pieces: list[tuple[str, int]]) -> None:
        refs: list[AssetRef] = []
        if key in self._there:
            refs = refs_of(self._there[key], self._places)
        count = sum(rows for _, rows in pieces)
        self._outcome.frames[f"{self._name}.{key}"] = count
        found = sum(ref.stop - ref.start for ref in refs)
        if [uri for uri, _ in pieces] != [f"file://localhost{ref.path}" for ref in refs]:
            self._differ(f"{key} names other files in the catalog")
        elif count > found or (count < found and not self._outcome.lasts):
            self._differ(f"{key} has {count} rows in the journal, {found} in the catalog")
        for ref in refs:
            if not ref.path.exists() and not self._was_exported(ref.path):
                self._differ(f"{ref.path} is missing")

    def _was_exported(self, path: Path) -> bool:
        """Return whether a file of raw data was deleted here after an export, as is noted."""
        folder = self._places.data_dir
        note = deleted_raw(journal_path(folder, self._outcome.uid))
        return note is not None and any(folder / name == path for name in note.files)


class _Pieces:
    """Pieces of rows as they come, handed out in pieces of the length that is wanted."""

    def __init__(self, source: Iterator[dict[str, NDArray[Any]]]) -> None:
        self.given = 0
        self._source = source
        self._rest: dict[str, NDArray[Any]] = {}

    def take(self, count: int) -> dict[str, NDArray[Any]]:
        """Return the next rows, fewer at the end, nothing behind it."""
        taken: list[dict[str, NDArray[Any]]] = []
        while count > 0:
            if not self._rest:
                self._rest = self._next()
                if not self._rest:
                    break
            length = len(self._rest["seq_num"])
            part = {key: values[:count] for key, values in self._rest.items()}
            self._rest = (
                {key: values[count:] for key, values in self._rest.items()}
                if length > count
                else {}
            )
            taken.append(part)
            count -= min(length, count)
        if len(taken) <= 1:
            return taken[0] if taken else {}
        return {key: np.concatenate([part[key] for part in taken]) for key in taken[0]}

    def rest(self) -> int:
        """Return how many rows are left, and forget them."""
        left = len(self._rest["seq_num"]) if self._rest else 0
        self._rest = {}
        while piece := self._next():
            left += len(piece["seq_num"])
        return left

    def _next(self) -> dict[str, NDArray[Any]]:
        import sqlite3

        try:
            piece = next(self._source, {})
            self.given += len(piece["seq_num"]) if piece else 0
            return piece
        except sqlite3.DatabaseError as error:
            raise _UnreadableError(f"the catalog's rows cannot be read: {error}") from error


class _UnreadableError(Exception):
    """The catalog's files are damaged."""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _shown(values: Any, row: int) -> str:
    value = values[row] if row < len(values) else "nothing"
    return repr(value.item() if isinstance(value, np.generic) else value)


_LARGEST_WHOLE = (1 << 53) - 1


def _first_difference(here: Values, there: Any, single: Any = None) -> int | None:
    """Return the first row in which two columns differ; None and NaN are the same.

    ``single`` is the type of a column stored in less than double precision.
    """
    there = np.asarray(there)
    if there.dtype.kind != "O":
        try:
            ours = np.array(here, dtype=np.float64)
        except (TypeError, ValueError):
            return 0
        if single is not None:
            ours = ours.astype(single).astype(np.float64)
        if ours.shape != there.shape:
            return min(len(ours), len(there)) if ours.ndim == there.ndim == 1 else 0
        theirs = there.astype(np.float64)
        differ = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
        rows = np.nonzero(differ)[0]
        return int(rows[0]) if len(rows) else None
    values = here.tolist() if isinstance(here, np.ndarray) else here
    for row, (ours_value, theirs_value) in enumerate(zip(values, there, strict=True)):
        if not _same(ours_value, theirs_value):
            return row
    return None


def _same(ours: Any, theirs: Any) -> bool:
    """Return whether a value is the same as its stored form: arrays are kept as JSON text."""
    if isinstance(ours, (list, tuple)):
        ours = json.dumps(ours)
    missing = ours is None or ours != ours
    return bool(missing and (theirs is None or theirs != theirs)) or bool(ours == theirs)


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
