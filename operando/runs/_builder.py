"""A run from its documents one by one, or from what the catalog has of it."""

import math
import threading
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from operando.journal import page_of, row_times
from operando.runs._assets import (
    TIME_KEY,
    Asset,
    AssetPart,
    Document,
    Floats,
    lies_in_columns,
    read_columns,
    rows_announced,
)
from operando.runs._run import Run, Stream

# Rows of a column that wait to be put into their place together.
ROWS_AT_ONCE = 8192


def of_parts(parts: Any) -> Run:
    """Return a run from what the catalog has of it."""
    streams = {}
    for name, told in parts.streams.items():
        columns = {key: _column(values) for key, values in told["columns"].items()}
        assets = {
            key: Asset(
                key,
                [AssetPart(Path(r.path), r.dataset, r.start, r.stop) for r in references],
            )
            for key, references in told["assets"].items()
        }
        time = _column(told["time"])
        if lies_in_columns(told["descriptor"]):
            columns = read_columns({key: asset.parts for key, asset in assets.items()})
            time = _time_of(columns)
            columns.pop(TIME_KEY, None)
            assets = {}
        streams[name] = Stream(
            name=name,
            columns=MappingProxyType(columns),
            units=MappingProxyType(_units(told["descriptor"])),
            time=time,
            configuration=MappingProxyType(_configuration(told["descriptor"])),
            assets=MappingProxyType(assets),
        )
    files = {
        Path(one.path)
        for told in parts.streams.values()
        for references in told["assets"].values()
        for one in references
    }
    return Run(
        start=parts.start,
        stop=parts.stop,
        streams=MappingProxyType(streams),
        files=tuple(sorted(files)),
    )


class RunBuilder:
    """Callback for documents of one run, in the order in which they are emitted.

    ``builder(name, doc)`` may be subscribed to a RunEngine; ``builder.run`` is valid at any time
    and from any thread. A start document begins a new run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin({})

    def _begin(self, start: Document) -> None:
        self._start = start
        self._stop: Document | None = None
        self._streams: dict[str, _GrowingStream] = {}
        self._by_descriptor: dict[str, _GrowingStream] = {}
        self._resources: dict[str, Document] = {}
        self._memory: dict[Hashable, Any] = {}

    def __call__(self, name: str, doc: Document) -> None:
        """Take one document; kinds that carry no rows of ours are passed over."""
        with self._lock:
            if name == "start":
                self._begin(doc)
            elif name == "stop":
                self._stop = doc
            elif name == "descriptor":
                stream = self._streams.setdefault(doc["name"], _GrowingStream(doc["name"]))
                stream.describe(doc)
                self._by_descriptor[doc["uid"]] = stream
            elif name == "event_page":
                self._by_descriptor[doc["descriptor"]].extend(doc)
            elif name == "event":
                self._by_descriptor[doc["descriptor"]].extend(page_of(doc))
            elif name == "stream_resource":
                self._resources[doc["uid"]] = doc
            elif name == "stream_datum":
                resource = self._resources[doc["stream_resource"]]
                self._by_descriptor[doc["descriptor"]].announce(resource, doc["indices"])

    @property
    def run(self) -> Run:
        """Return the run as it is known now; later documents do not change it."""
        with self._lock:
            return Run(
                start=MappingProxyType(dict(self._start)),
                stop=None if self._stop is None else MappingProxyType(dict(self._stop)),
                streams=MappingProxyType(
                    {name: stream.view() for name, stream in self._streams.items()}
                ),
                files=tuple(dict.fromkeys(map(_path_of, self._resources.values()))),
                _memory=self._memory,
            )


def _path_of(resource: Document) -> Path:
    return Path(url2pathname(urlsplit(resource["uri"]).path))


class _GrowingStream:
    def __init__(self, name: str) -> None:
        self._name = name
        self._columns: dict[str, _GrowingColumn] = {}
        self._time = _GrowingColumn()
        self._units: dict[str, str] = {}
        self._configuration: dict[str, Any] = {}
        self._assets: dict[str, list[AssetPart]] = {}
        self._in_columns: dict[str, _GrowingColumn] = {}
        self._parts: dict[str, list[AssetPart]] = {}
        self._waiting: list[Document] = []
        self._rows_waiting = 0

    def describe(self, descriptor: Document) -> None:
        self._settle()
        self._units.update(_units(descriptor))
        self._configuration.update(_configuration(descriptor))
        if lies_in_columns(descriptor):
            for key in descriptor["data_keys"]:
                self._in_columns.setdefault(key, _GrowingColumn())
        for key, data_key in descriptor["data_keys"].items():
            if key in self._in_columns:
                self._parts.setdefault(key, [])
            elif "external" in data_key:
                self._assets.setdefault(key, [])
            else:
                self._columns.setdefault(key, _GrowingColumn())

    def extend(self, page: Document) -> None:
        self._waiting.append(page)
        self._rows_waiting += len(page["seq_num"])
        if self._rows_waiting >= ROWS_AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        """Put waiting pages into the columns: one by one costs more than all their rows."""
        pages, self._waiting, self._rows_waiting = self._waiting, [], 0
        if pages:
            tables = [page["data"] for page in pages]
            for key, column in self._columns.items():
                column.extend([table[key] for table in tables])
            self._time.extend([_times_of(page) for page in pages])

    def announce(self, resource: Document, indices: Mapping[str, int]) -> None:
        path = _path_of(resource)
        dataset = resource["parameters"]["dataset"]
        key = resource["data_key"]
        parts = (self._parts if key in self._in_columns else self._assets).setdefault(key, [])
        part = AssetPart(path, dataset, indices["start"], indices["stop"])
        last = parts[-1] if parts else None
        if last and (last.path, last.dataset, last.stop) == (path, dataset, part.start):
            parts[-1] = AssetPart(path, dataset, last.start, part.stop)
        else:
            parts.append(part)

    def _read_announced(self) -> None:
        """Read the rows of columns in files that were announced since the last time."""
        known = min((len(column) for column in self._in_columns.values()), default=0)
        announced = min((rows_announced(parts) for parts in self._parts.values()), default=0)
        if announced > known:
            for key, values in read_columns(self._parts, known).items():
                self._in_columns[key].extend([values[: announced - known]])

    def view(self) -> Stream:
        self._settle()
        self._read_announced()
        columns = {k: c.view() for k, c in (self._columns | self._in_columns).items()}
        time = _time_of(columns) if self._in_columns else self._time.view()
        columns.pop(TIME_KEY if self._in_columns else "", None)
        return Stream(
            name=self._name,
            columns=MappingProxyType(columns),
            units=MappingProxyType(dict(self._units)),
            time=time,
            configuration=MappingProxyType(dict(self._configuration)),
            assets=MappingProxyType({k: Asset(k, parts) for k, parts in self._assets.items()}),
        )


class _GrowingColumn:
    """An array that doubles when full; views of its first rows stay valid for ever."""

    def __init__(self) -> None:
        self._values: NDArray[Any] = np.empty(0)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def extend(self, pages: Sequence[Sequence[Any] | NDArray[Any]]) -> None:
        new = _joined(pages)
        if not len(new):
            return
        if not self._rows:
            self._values = new[:0]
        needed = self._rows + len(new)
        if needed > len(self._values):
            grown = np.empty((max(needed, 2 * len(self._values), 64), *new.shape[1:]), new.dtype)
            grown[: self._rows] = self._values[: self._rows]
            self._values = grown
        self._values[self._rows : needed] = new
        self._rows = needed

    def view(self) -> NDArray[Any]:
        view = self._values[: self._rows]
        view.flags.writeable = False
        return view


def _joined(pages: Sequence[Sequence[Any] | NDArray[Any]]) -> NDArray[Any]:
    """Return the rows of several pages as one column, as each page by itself would give them."""
    if len(pages) == 1:
        return _column(pages[0])
    kinds = set(map(type, pages))
    if kinds == {np.ndarray}:
        joined = np.concatenate(pages)
        if joined.dtype.kind in "biuf":
            return _column(joined)
    elif kinds == {list}:
        rows = list(chain.from_iterable(pages))
        if set(map(type, rows)) == {float}:
            return np.array(rows)
    found = [column for column in map(_column, pages) if len(column)]
    return np.concatenate(found) if found else np.empty(0)


def _times_of(page: Document) -> Sequence[float] | Floats:
    """Return `row_times` of a page; the columns' stamps are mostly one and the same."""
    stamps = iter(page["timestamps"].values())
    first = next(stamps, ())
    if len(first) and all(each is first or _same(each, first) for each in stamps):
        return cast("Sequence[float] | Floats", first)
    return row_times(page)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


def _column(values: Any) -> NDArray[Any]:
    """Return values as contiguous floats (None becomes NaN), or as objects if they are text."""
    array = np.asarray(values)
    if array.dtype == object:
        array = np.asarray([math.nan if value is None else value for value in values])
    if array.dtype.kind in "biuf":
        return np.ascontiguousarray(array, dtype=np.float64)
    return np.asarray(array, dtype=object)


def _time_of(columns: Mapping[str, NDArray[Any]]) -> Floats:
    """Return the row times among the columns of a file; NaN where it has none."""
    rows = min((len(values) for values in columns.values()), default=0)
    return columns.get(TIME_KEY, np.full(rows, math.nan))


def _units(descriptor: Document) -> dict[str, str]:
    keys = descriptor["data_keys"]
    units = {key: told["units"] for key, told in keys.items() if told.get("units")}
    if lies_in_columns(descriptor):
        units.pop(TIME_KEY, None)
    return units


def _configuration(descriptor: Document) -> dict[str, Any]:
    configuration: dict[str, Any] = {}
    for device in descriptor.get("configuration", {}).values():
        configuration.update(device.get("data", {}))
    return configuration
