"""The documents of a run, made again from what the catalog holds of it.

A catalog keeps columns, not documents. Start, stop and descriptors come back as they were, uids
included; rows come back in event pages whose times are the rows' own. What the catalog does not
keep is made: uids of rows and of stream resources, from those of their descriptor, and where one
page ended and the next began.
"""

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from operando.journal import TELLING

from ._parts import AssetRef, journal_order, lies_in_array
from ._places import Places
from ._read import close_catalog, open_catalog, plain, refs_of

CHUNK_ROWS = 2048
_LEADER = "potentiostat"
_SQLITE = "sqlite"


def catalog_documents(
    uid: str,
    data_dir: Path | str,
    *,
    from_cycle: int | None = None,
    page_s: float | None = None,
    catalog: Any = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ``(name, doc)`` of a run in the catalog, in the order in which its rows were measured.

    Start, descriptors (also those of a device that was configured anew within the run, at their
    time), pages, stop. Rows of different streams come in the order of their times; a page ends
    where another stream has a row. Files are announced with the rows whose they are. Tables that
    lie in a file of this computer are read a few thousand rows at a time; those of a distant server
    come in one piece per stream.

    Args:
        uid: the run's whole uid.
        data_dir: the data folder.
        from_cycle: begin the rows with the first one of this cycle, in every stream; None, or 0,
            is the whole run.
        page_s: no page spans more than this, s; None: only the number of rows limits it.
        catalog: what `open_catalog` returned, to spare opening it again.

    Raises:
        LookupError: if the run is not in the catalog (yet), or has no such cycle.
        CatalogError: if the service does not come up.
    """
    if catalog is None:
        opened = open_catalog(data_dir)
        try:
            yield from catalog_documents(
                uid, data_dir, from_cycle=from_cycle, page_s=page_s, catalog=opened
            )
        finally:
            close_catalog(opened)
        return
    try:
        run = catalog[uid]
    except KeyError as error:
        raise LookupError(f"run {uid} is not in the catalog of {data_dir}") from error
    base = run.base.include_data_sources()
    start = plain({**run.metadata["start"]})
    stop = run.metadata.get("stop")
    places = Places(data_dir)
    streams = [_Stream.of(name, base[name], start["uid"], places) for name in base]
    streams.sort(key=lambda stream: stream.descriptors[0]["time"])
    if from_cycle:
        _seek(streams, from_cycle, uid)
    yield "start", start
    for stream in streams:
        yield "descriptor", stream.descriptors[0]
    yield from _merged(streams, math.inf if page_s is None else page_s)
    if stop is not None:
        yield "stop", plain(stop)


@dataclass
class _Stream:
    """One stream: what describes it, and what reads its rows a chunk at a time."""

    name: str
    descriptors: list[dict[str, Any]]
    keys: list[str]
    read: Callable[["_Stream"], Iterator["_Rows"]]
    arrays: dict[str, Any]
    assets: dict[str, tuple[Any, list[AssetRef]]]
    # Only rows from here on: (table column, least value).
    since: tuple[str, float] | None = None
    announced: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, name: str, node: Any, run_start: str, places: Places) -> "_Stream":
        base = getattr(node, "base", node)
        metadata = plain({**base.metadata})
        updates = metadata.pop("_config_updates", [])
        first = {**metadata, "name": name, "run_start": run_start}
        keys: dict[str, list[str]] = {}
        for key, told in first["data_keys"].items():
            if "object_name" in told:
                keys.setdefault(told["object_name"], []).append(key)
        first["object_keys"] = keys
        descriptors = [first]
        for update in updates:
            configuration = {**descriptors[-1]["configuration"], **update.get("configuration", {})}
            descriptors.append({**descriptors[-1], **update, "configuration": configuration})
        internal = [key for key, told in first["data_keys"].items() if "external" not in told]
        arrays: dict[str, Any] = {}
        assets: dict[str, tuple[Any, list[AssetRef]]] = {}
        read: Callable[[_Stream], Iterator[_Rows]] = _no_rows
        for key in base:
            child = base[key]
            (source,) = child.data_sources()
            if key == "internal":
                read = _table_reader(child, source)
            elif refs := refs_of(child, places):
                assets[key] = (source, refs)
            else:
                arrays[key] = child
        return cls(name, descriptors, internal, read, arrays, assets)

    def rows(self) -> Iterator["_Rows"]:
        return self.read(self)


@dataclass
class _Rows:
    """Consecutive rows of one stream, as columns."""

    seq_num: list[int]
    time: list[float]
    data: dict[str, list[Any]]
    stamps: dict[str, list[float]]

    def __len__(self) -> int:
        return len(self.seq_num)

    def part(self, first: int, last: int) -> "_Rows":
        if first == 0 and last >= len(self):
            return self
        shared: dict[int, list[float]] = {}

        def cut(column: list[float]) -> list[float]:
            return shared.setdefault(id(column), column[first:last])

        return _Rows(
            self.seq_num[first:last],
            self.time[first:last],
            {key: column[first:last] for key, column in self.data.items()},
            {key: cut(column) for key, column in self.stamps.items()},
        )


# -- reading


def _no_rows(stream: _Stream) -> Iterator[_Rows]:
    yield from ()


def _table_reader(child: Any, source: Any) -> Callable[[_Stream], Iterator[_Rows]]:
    """Return what reads a stream's table: from its file if that lies here, else from the server."""
    address = urlsplit(source.assets[0].data_uri) if source.assets else None
    if address is not None and address.scheme == _SQLITE:
        path = Path(unquote(address.path))
        # sqlite://localhost//absolute/path and sqlite:////absolute/path are both written.
        path = Path("/" + str(path).lstrip("/"))
        if path.exists():
            table, number = source.parameters["table_name"], int(source.parameters["dataset_id"])
            return lambda stream: _from_file(stream, path, table, number)
    return lambda stream: _from_server(stream, child)


def _columns(stream: _Stream) -> tuple[list[str], list[str]]:
    """Return the keys whose values are in the table, and those that have timestamps there."""
    data_keys = stream.descriptors[0]["data_keys"]
    values = [key for key in stream.keys if not lies_in_array(data_keys[key])]
    return values, list(stream.keys)


def _from_file(stream: _Stream, path: Path, table: str, number: int) -> Iterator[_Rows]:
    values, stamped = _columns(stream)
    stamps = [_quoted(f"ts_{key}") for key in stamped]
    # All keys of a row are stamped at once, as a rule: then one column of stamps is enough.
    alike = " AND ".join(f"{other} IS {stamps[0]}" for other in stamps[1:]) or "1"
    columns = [_quoted(name) for name in ("seq_num", "time", *values)] + (stamps[:1] or ["time"])
    condition, least = "", []
    if stream.since is not None:
        condition, least = f" AND {_quoted(stream.since[0])} >= ?", [stream.since[1]]
    rows = (
        f'FROM "{table}" WHERE _dataset_id = ? AND _partition_id = 0'
        f" AND rowid > ?{condition} ORDER BY rowid LIMIT {CHUNK_ROWS}"
    )
    last, row = -1, 0
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        while True:
            # A transaction of its own: a replay may last for weeks, and a reader that stays keeps
            # the writer's log from ever being shortened.
            begin = [number, last, *least]
            found = database.execute(
                f"SELECT {', '.join(columns)}, rowid, {alike} {rows}", begin
            ).fetchall()
            if not found:
                return
            seq_num, time, *data, one, rowids, same = zip(*found, strict=True)
            if stream.arrays and last < 0 and stream.since is not None:
                ((row,),) = database.execute(
                    f'SELECT count(*) FROM "{table}" WHERE _dataset_id = ? AND _partition_id = 0'
                    " AND rowid < ?",
                    (number, rowids[0]),
                )
            last = rowids[-1]
            if all(same):
                shared = list(one)
                told = dict.fromkeys(stamped, shared)
            else:
                apart = database.execute(f"SELECT {', '.join(stamps)} {rows}", begin).fetchall()
                told = dict(zip(stamped, map(list, zip(*apart, strict=True)), strict=True))
            yield _rows(
                stream, row, list(seq_num), list(time), dict(zip(values, data, strict=True)), told
            )
            row += len(found)
            if len(found) < CHUNK_ROWS:
                return


def _quoted(name: str) -> str:
    # The table's names are in lower case.
    return f'"{name.lower()}"'


def _from_server(stream: _Stream, child: Any) -> Iterator[_Rows]:
    values, stamped = _columns(stream)
    table = child.read()
    table = table.iloc[journal_order(table["seq_num"].to_numpy(), table["time"].to_numpy())]
    row = 0
    if stream.since is not None:
        later = (table[stream.since[0]] >= stream.since[1]).to_numpy()
        row = int(later.argmax())
        table = table[later]
    for first in range(0, len(table), CHUNK_ROWS):
        part = table.iloc[first : first + CHUNK_ROWS]
        told = {key: part[f"ts_{key}"].tolist() for key in stamped}
        one = next(iter(told.values()), None)
        if all(column == one for column in told.values()):
            told = dict.fromkeys(told, one)
        data = {key: part[key].tolist() for key in values}
        numbers, times = part["seq_num"].tolist(), part["time"].tolist()
        yield _rows(stream, row + first, numbers, times, data, told)


def _rows(
    stream: _Stream,
    first: int,
    seq_num: list[int],
    time: list[float],
    found: Mapping[str, Sequence[Any]],
    stamps: Mapping[str, list[float]],
) -> _Rows:
    data_keys = stream.descriptors[0]["data_keys"]
    data = {}
    for key in stream.keys:
        if key in found:
            data[key] = _values(found[key], data_keys[key])
        elif key in stream.arrays:
            data[key] = stream.arrays[key][first : first + len(seq_num)].tolist()
    return _Rows(seq_num, time, data, dict(stamps))


def _values(column: Sequence[Any], data_key: Mapping[str, Any]) -> list[Any]:
    kind = data_key["dtype"]
    if kind in ("number", "integer"):
        if None in column:  # how a table keeps NaN
            return [math.nan if value is None else value for value in column]
        return list(column)
    if kind == "array":
        return [json.loads(value) for value in column]
    if kind == "boolean":
        return [None if value is None else bool(value) for value in column]
    return list(column)


# -- seeking


def _seek(streams: list[_Stream], cycle: int, uid: str) -> None:
    """Let every stream begin where a cycle begins, as `operando.journal.cycle_index` counts."""
    counting = [
        (stream, key)
        for stream in sorted(streams, key=lambda stream: stream.name != _LEADER)
        for key in stream.keys
        if key.endswith("_cycle") and not key.endswith("half_cycle")
    ]
    if counting:
        stream, key = counting[0]
        stream.since = key, float(cycle)
        first = next(iter(stream.rows()), None)
        if first is not None and first.data[key][0] == cycle:
            for other in streams:
                # What was told of requests and programs before says of what the rows are.
                if other is not stream and other.name not in TELLING:
                    other.since = "time", first.time[0]
            return
    raise LookupError(f"run {uid} has no cycle {cycle} in the catalog")


# -- bringing the streams together


class _Head:
    """One stream's rows that were read and not yet handed on."""

    def __init__(self, stream: _Stream) -> None:
        self.stream = stream
        self._chunks = stream.rows()
        self._rows: _Rows | None = next(self._chunks, None)
        self._first = 0
        self.described = 0

    @property
    def time(self) -> float:
        """When the next row was measured; infinite: there is none."""
        return math.inf if self._rows is None else self._rows.time[self._first]

    def take(self, until: float, page_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield a page of rows up to a time, with the files it needs announced before it."""
        rows = self._rows
        assert rows is not None
        began = rows.time[self._first]
        later = [d["time"] for d in self.stream.descriptors[self.described + 1 :]]
        if later and later[0] <= began:
            self.described += 1
            yield "descriptor", self.stream.descriptors[self.described]
            later = later[1:]
        until = min([until, began + page_s, *later])
        last = self._first + 1
        while (
            last < len(rows)
            and rows.time[last] < until
            # Where rows are missing a page ends: no files are announced for them.
            and rows.seq_num[last] <= rows.seq_num[last - 1] + 1
        ):
            last += 1
        part = rows.part(self._first, last)
        self._first = last
        if last == len(rows):
            self._rows, self._first = next(self._chunks, None), 0
        descriptor = self.stream.descriptors[self.described]["uid"]
        yield from _announced(self.stream, descriptor, part.seq_num[0], part.seq_num[-1] + 1)
        yield (
            "event_page",
            {
                "descriptor": descriptor,
                "uid": [f"{descriptor}/{number}" for number in part.seq_num],
                "seq_num": part.seq_num,
                "time": part.time,
                "data": part.data,
                "timestamps": part.stamps,
                "filled": {},
            },
        )


def _merged(streams: list[_Stream], page_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
    heads = [_Head(stream) for stream in streams]
    waiting = [head for head in heads if head.time < math.inf]
    while waiting:
        waiting.sort(key=lambda head: head.time)
        until = waiting[1].time if len(waiting) > 1 else math.inf
        yield from waiting[0].take(until, page_s)
        waiting = [head for head in waiting if head.time < math.inf]
    for head in heads:
        for descriptor in head.stream.descriptors[head.described + 1 :]:
            yield "descriptor", descriptor
    for stream in streams:
        # Rows that are files and nothing else have no table to tell when each was measured.
        if not stream.keys and stream.since is None:
            announced = (sum(r.stop - r.start for r in refs) for _, refs in stream.assets.values())
            rows = max(announced, default=0)
            yield from _announced(stream, stream.descriptors[0]["uid"], 1, rows + 1)


def _announced(
    stream: _Stream, descriptor: str, first: int, last: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what tells of the rows ``first`` to before ``last`` in files, numbered from 1."""
    for key, (source, refs) in stream.assets.items():
        before = 1  # number of the file's first row
        for index, ref in enumerate(refs):
            count = ref.stop - ref.start
            begin, end = max(first, before), min(last, before + count)
            if begin < end:
                resource = f"{descriptor}/{key}/{index}"
                if resource not in stream.announced:
                    stream.announced.add(resource)
                    yield "stream_resource", _resource(stream, source, key, ref, resource)
                offset = ref.start - before
                yield (
                    "stream_datum",
                    {
                        "uid": f"{resource}/{begin}",
                        "stream_resource": resource,
                        "descriptor": descriptor,
                        "indices": {"start": begin + offset, "stop": end + offset},
                        "seq_nums": {"start": begin, "stop": end},
                    },
                )
            before += count


def _resource(stream: _Stream, source: Any, key: str, ref: AssetRef, uid: str) -> dict[str, Any]:
    return {
        "uid": uid,
        "data_key": key,
        "mimetype": source.mimetype,
        "uri": f"file://localhost{ref.path.as_posix()}",
        "parameters": plain({**source.parameters}),
        "run_start": stream.descriptors[0]["run_start"],
    }
