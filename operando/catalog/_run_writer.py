"""Writes one run into the catalog: the plugin's run writer with six changes.

1. Pages stay columns, instead of being taken apart into rows (40 times faster).
2. Column types come from the descriptor, so that a first value of 0 does not make a column of
   integers. 3. `flush` is called by the ingester's clock. 4. A run that is half in the catalog is
   attached to: as many rows as are there are passed over, so that reading its journal from the
   beginning again writes every row exactly once (sequence numbers do not tell: the RunEngine gives
   them again after a pause). 5. Rows in files are counted, not
   remembered one by one. 6. While a run lasts, its arrays do not share the dimension ``time`` with
   its table: they never grow in the same instant, and databroker refuses to put arrays of
   different length on one dimension. They share it from the stop on, if they are equally long.

The base class is private to ``bluesky_tiled_plugins``: its version is pinned, and a test guards the
attributes used here.
"""

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pyarrow as pa
from bluesky_tiled_plugins.utils import truncate_json_overflow
from bluesky_tiled_plugins.writing.consolidators import (
    ConsolidatorBase,
    Patch,
    consolidator_factory,
)
from bluesky_tiled_plugins.writing.tiled_writer import _RunWriter
from tiled.client.utils import ClientError
from tiled.structures.core import Spec

from operando.journal import page_of, row_times

from ._appends import Append, UnderWay
from ._parts import NOT_IN_METADATA, NUMBERS, lies_in_array, numpy_kind
from ._tables import Tables, Values, joined

logger = logging.getLogger(__name__)

# The chunks a catalog names are listed one by one with every announcement of new rows; a file's own
# (one image, often) would make that list as long as the run.
_CHUNK_BYTES = 16 << 20
_BY_JSON_TYPE = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
}
# A batch no clock-driven flush ever reaches: the base class must not write on its own.
_NEVER = 1 << 40
# A server that did not answer is mostly done a moment later.
SETTLE_S = 3.0
_ASK_AGAIN_S = 0.2


class UnsureAppendError(Exception):
    """Nobody can tell any more whether, or how often, rows are in the catalog's table."""


def column_type(data_key: Mapping[str, Any]) -> pa.DataType | None:
    """Return the table type of a data key; None if its values are arrays of numbers."""
    if data_key["dtype"] == "array":
        return None if lies_in_array(data_key) else pa.string()
    kind = numpy_kind(data_key)
    if kind and kind in NUMBERS:
        return pa.from_numpy_dtype(np.dtype(data_key["dtype_numpy"]))
    return _BY_JSON_TYPE.get(data_key["dtype"], pa.string())


class _Stream:
    """What one stream has waiting, and how far the catalog is."""

    def __init__(self, data_keys: Mapping[str, Mapping[str, Any]]) -> None:
        internal = {key: doc for key, doc in data_keys.items() if "external" not in doc}
        types = {key: column_type(doc) for key, doc in internal.items()}
        self.array_types = {
            key: np.dtype(internal[key].get("dtype_numpy") or "<f8")
            for key, kind in types.items()
            if kind is None
        }
        self.as_json = {key for key in types if internal[key]["dtype"] == "array"}
        self.schema = pa.schema(
            [
                ("seq_num", pa.int64()),
                ("time", pa.float64()),
                *((key, kind) for key, kind in types.items() if kind is not None),
                *((f"ts_{key}", pa.float64()) for key in internal),
            ]
        )
        self.waiting = 0  # rows for the table
        self.columns: dict[str, list[Values]] = {field.name: [] for field in self.schema}
        self.arrays: dict[str, list[Any]] = {key: [] for key in self.array_types}
        self.seen = 0  # rows of the journal, written or not, and those it has lost
        self.lost = 0
        self.newest = 0  # number of the row seen last
        self.rows_in_table = 0
        self.rows_in_array = dict.fromkeys(self.array_types, 0)
        # What an earlier service left behind, and need not be written.
        self.table_there = 0
        self.arrays_there = dict.fromkeys(self.array_types, 0)


class RunWriter(_RunWriter):
    """Writes the documents of one run into the catalog, exactly once however often it is begun.

    Args:
        client: client of the catalog, with data sources included.
        begun_before: whether the run is in the catalog already, in part or whole.
        tables: the catalog's database of rows, if it lies on this computer.
        moved: the data folder, and where whoever serves the catalog sees it.
        under_way: where an append is noted until its answer is here.

    Attributes:
        uid: the run, from its start document on.
        waiting: rows and files not flushed yet.
        gaps: whether the journal is damaged, so that numbers which jump tell of rows that are lost
            there; the catalog may have them.
        ahead: stream -> (rows in the journal, rows in the catalog), of every stream of which the
            catalog has more; filled by the stop document.
    """

    def __init__(
        self,
        client: Any,
        *,
        begun_before: bool,
        tables: Tables | None = None,
        moved: tuple[Path, Path] | None = None,
        under_way: UnderWay | None = None,
    ) -> None:
        super().__init__(client, batch_size=_NEVER)
        self._moved = moved
        self.uid = ""
        self.waiting = 0
        self.gaps = False
        self.ahead: dict[str, tuple[int, int]] = {}
        self._under_way = under_way or UnderWay()
        self._streams: dict[str, _Stream] = {}
        self._attached: dict[str, Any] = {}
        self._begun_before = begun_before
        self._tables = tables

    def start(self, doc: Mapping[str, Any]) -> None:
        self.uid = doc["uid"]
        if self._begun_before:
            node = self.client[self.uid]
            self.root_node = getattr(node, "base", node)
        else:
            super().start(dict(doc))

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        name = doc["name"]
        if name in self._streams:
            self._reconfigured(name, doc)
            return
        self._streams[name] = _Stream(doc["data_keys"])
        if self._begun_before and name in self.root_node:
            self._attach(name, doc)
            return
        self.data_keys.update(doc["data_keys"])
        node = self.root_node.create_container(
            key=name,
            metadata=truncate_json_overflow(
                {key: value for key, value in doc.items() if key not in NOT_IN_METADATA}
            ),
            specs=[Spec("BlueskyEventStream", version="3.0"), Spec("composite")],
            access_tags=self.access_tags,
        ).base
        self._desc_nodes[doc["uid"]] = self._desc_nodes[name] = node

    def _reconfigured(self, name: str, doc: Mapping[str, Any]) -> None:
        node = self._desc_nodes[name]
        updates = list(node.metadata.get("_config_updates", []))
        if doc["uid"] not in [update["uid"] for update in updates]:
            updates.append(
                {key: doc[key] for key in ("uid", "time", "configuration") if key in doc}
            )
            node.update_metadata(
                metadata={"_config_updates": truncate_json_overflow(updates)}, drop_revision=True
            )
            node.refresh()
        self._desc_nodes[doc["uid"]] = node

    def _attach(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take up a stream where an earlier service left it."""
        node = self.root_node[name]
        node = getattr(node, "base", node)
        self._desc_nodes[name] = self._desc_nodes[doc["uid"]] = node
        self.data_keys.update(doc["data_keys"])
        stream = self._streams[name]
        for key in node:
            if key == "internal":
                table = self._internal_tables[name] = node[key]
                stream.table_there = stream.rows_in_table = self._settled(name, table)
            elif key in stream.array_types:
                array = self._internal_arrays[f"{name}/{key}"] = node[key]
                # An array is made before its first chunk is written: what has one is written again.
                if array.shape[0] > array.chunks[0][0]:
                    stream.arrays_there[key] = stream.rows_in_array[key] = array.shape[0]
            else:
                self._attached[f"{name}_{key}"] = node[key]

    def event(self, doc: Mapping[str, Any]) -> None:
        self.event_page(page_of(doc))

    def event_page(self, doc: Mapping[str, Any]) -> None:
        stream = self._streams[self._desc_nodes[doc["descriptor"]].item["id"]]
        count = len(doc["seq_num"])
        if not count:
            return
        if self.gaps:
            lost = max(0, int(doc["seq_num"][0]) - stream.newest - 1)
            stream.seen += lost
            stream.lost += lost
        stream.newest = int(doc["seq_num"][-1])
        skip = min(count, max(0, stream.table_there - stream.seen))
        if skip < count:
            columns = stream.columns
            columns["seq_num"].append(doc["seq_num"][skip:])
            columns["time"].append(row_times(doc)[skip:])
            for key, values in doc["data"].items():
                if key in stream.as_json and key in columns:
                    columns[key].append([json.dumps(value) for value in values[skip:]])
                elif key in columns:
                    columns[key].append(values[skip:])
            for key, stamps in doc["timestamps"].items():
                if f"ts_{key}" in columns:
                    columns[f"ts_{key}"].append(stamps[skip:])
            stream.waiting += count - skip
            self.waiting += count - skip
        for key, waiting in stream.arrays.items():
            waiting += doc["data"][key][max(0, stream.arrays_there[key] - stream.seen) :]
        stream.seen += count

    def stream_resource(self, doc: Mapping[str, Any]) -> None:
        # tiled takes the path of a file URI literally.
        uri = unquote(doc["uri"])
        if self._moved is not None:
            here, there = (f"file://localhost{path.as_posix()}/" for path in self._moved)
            if uri.startswith(here):
                uri = there + uri[len(here) :]
        super().stream_resource({**doc, "uri": uri})

    def stream_datum(self, doc: Mapping[str, Any]) -> None:
        if doc["stream_resource"] not in self._stream_resource_cache:
            # A damaged journal may have lost what says where they are.
            logger.warning("run %s: rows in a file that nothing names are left out", self.uid)
            return
        super().stream_datum(doc)
        self.waiting += 1

    def get_sres_node(self, sres_uid: str, desc_uid: str | None = None) -> tuple[Any, Any]:
        """Return node and consolidator of a stream resource, rebuilding them after an attach."""
        resource = self._stream_resource_cache.get(sres_uid)
        if resource is None or sres_uid in self._sres_nodes or not desc_uid:
            return super().get_sres_node(sres_uid, desc_uid)
        stream = self._desc_nodes[desc_uid]
        key = f"{stream.item['id']}_{resource['data_key']}"
        if key not in self._consolidators:
            made = consolidator_factory(resource, stream.metadata)
            _lay_out(made)
            if key in self._attached:
                node = self._attached[key]
            else:
                source = made.get_data_source()
                node = stream.new(
                    key=made.data_key,
                    structure_family=source.structure_family,
                    data_sources=[source],
                    metadata={},
                    specs=[],
                    access_tags=self.access_tags,
                )
            self._consolidators[key] = self._consolidators[sres_uid] = made
            self._sres_nodes[key] = self._sres_nodes[sres_uid] = node
        return super().get_sres_node(sres_uid, desc_uid)

    def _update_consolidator(self, doc: Mapping[str, Any]) -> tuple[Any, Any, Patch]:
        node, consolidator = self.get_sres_node(doc["stream_resource"], doc["descriptor"])
        if type(consolidator).consume_stream_datum is not ConsolidatorBase.consume_stream_datum:
            return node, consolidator, consolidator.consume_stream_datum(doc)
        # The base class remembers every row's number in a dictionary; files here have all rows.
        before = consolidator.shape
        count = doc["indices"]["stop"] - doc["indices"]["start"]
        consolidator._num_rows += count  # noqa: SLF001
        grown = consolidator.shape[0] - before[0]
        return (
            node,
            consolidator,
            Patch(offset=(before[0], *(0 for _ in before[1:])), shape=(grown, *before[1:])),
        )

    def _write_external_data(self, doc: Mapping[str, Any]) -> None:
        node, consolidator, patch = self._update_consolidator(doc)
        # Read again from the journal's beginning, a file must not seem to shrink.
        there = self._attached.get(f"{node.path_parts[-2]}_{node.path_parts[-1]}")
        if there is None or consolidator.shape[0] > there.shape[0]:
            self._update_data_source_for_node(node, consolidator.get_data_source(), patch)

    def flush(self) -> None:
        """Write everything that waits; on return it is in the catalog.

        Raises:
            ValueError: if a value does not fit the type its descriptor declares.
        """
        for name, stream in self._streams.items():
            if stream.waiting:
                self._flush_table(name, stream)
            for key, waiting in stream.arrays.items():
                if waiting:
                    self._flush_array(name, key, stream)
        for datum in list(self._external_data_cache.values()):
            self._write_external_data(datum)
        self._external_data_cache.clear()
        self.waiting = 0

    def _flush_table(self, name: str, stream: _Stream) -> None:
        arrays = []
        for field in stream.schema:
            chunks = stream.columns[field.name]
            values = joined(chunks) if chunks else [None] * stream.waiting
            try:
                arrays.append(_array(values, field.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise ValueError(
                    f"stream {name}, key {field.name}: declared {field.type}, got "
                    f"{_odd_one(values, field.type)!r} ({error})"
                ) from error
        table = pa.table(arrays, schema=stream.schema)
        if name not in self._internal_tables:
            node = self._desc_nodes[name].create_appendable_table(
                schema=stream.schema,
                key="internal",
                metadata=truncate_json_overflow(
                    {key: doc for key, doc in self.data_keys.items() if key in table.column_names}
                ),
                access_tags=self.access_tags,
            )
            self._internal_tables[name] = node
            if self._tables is not None:
                self._tables.index(node.data_sources()[0].parameters["table_name"])
        self._append(name, table, stream)
        stream.rows_in_table += stream.waiting
        stream.waiting = 0
        for chunks in stream.columns.values():
            chunks.clear()

    def _append(self, name: str, table: pa.Table, stream: _Stream) -> None:
        """Append rows, noting it as long as nobody can tell whether they are in the catalog."""
        self._under_way.begin(self.uid, Append(name, stream.rows_in_table, len(table)))
        try:
            self._internal_tables[name].append_partition(0, table)
        except _NOT_TAKEN:
            self._under_way.end(self.uid)
            raise
        self._under_way.end(self.uid)

    def _settled(self, name: str, table: Any) -> int:
        """Return the number of rows in a table, once it is certain that it stays that number.

        Raises:
            UnsureAppendError: if rows whose append was not answered may still come.
        """
        rows = self._count(table)
        asked = self._under_way.of(self.uid)
        if asked is None or asked.stream != name:
            return rows
        give_up = time.monotonic() + SETTLE_S
        while rows == asked.before and time.monotonic() < give_up:
            time.sleep(_ASK_AGAIN_S)
            rows = self._count(table)
        if rows != asked.before + asked.rows:
            raise UnsureAppendError(
                f"stream {name}: {asked.rows} rows behind row {asked.before} were sent and not "
                f"answered; {rows} rows are there"
            )
        self._under_way.end(self.uid)
        return rows

    def _count(self, table: Any) -> int:
        """Return the number of rows in a table."""
        if self._tables is not None:
            return self._tables.count(table.data_sources()[0].parameters)
        # Not `read`: the description of a column tells its length without sending it.
        return int(table["seq_num"].shape[0])

    def _flush_array(self, name: str, key: str, stream: _Stream) -> None:
        values = np.array(stream.arrays[key], dtype=stream.array_types[key])
        place = f"{name}/{key}"
        if place not in self._internal_arrays:
            self._internal_arrays[place] = self._desc_nodes[name].write_array(
                values,
                key=key,
                metadata=truncate_json_overflow(self.data_keys[key]),
                dims=_dims(key, values.ndim),
                access_tags=self.access_tags,
            )
        else:
            self._internal_arrays[place].patch(
                values, offset=(stream.rows_in_array[key],), extend=True
            )
        stream.rows_in_array[key] += len(values)
        stream.arrays[key].clear()

    def stop(self, doc: Mapping[str, Any]) -> None:
        self.flush()
        self._compare_counts()
        for name, stream in self._streams.items():
            self._align(name, stream)
        super().stop(dict(doc))

    def _compare_counts(self) -> None:
        """See whether the catalog has as many rows as the journal.

        Raises:
            UnsureAppendError: if it has others than were written.
        """
        for name, table in self._internal_tables.items():
            stream = self._streams[name]
            if self._tables is None and (found := self._count(table)) != stream.rows_in_table:
                raise UnsureAppendError(
                    f"stream {name}: {found} rows are there, {stream.rows_in_table} were written"
                )
            if stream.rows_in_table > stream.seen - stream.lost:
                self.ahead[name] = (stream.seen - stream.lost, stream.rows_in_table)
        if self._begun_before:
            for name in set(self.root_node) - set(self._streams):
                node = self.root_node[name]
                node = getattr(node, "base", node)
                self.ahead[name] = (0, self._count(node["internal"]) if "internal" in node else 0)

    def _align(self, name: str, stream: _Stream) -> None:
        """Put a stream's arrays on the dimension ``time`` if all its parts are equally long."""
        files = [
            (self._sres_nodes[place], made)
            for key in self._desc_nodes[name].metadata["data_keys"]
            if (made := self._consolidators.get(place := f"{name}_{key}")) is not None
        ]
        arrays = {
            key: self._internal_arrays[place]
            for key in stream.arrays
            if (place := f"{name}/{key}") in self._internal_arrays
        }
        lengths = {made.shape[0] for _, made in files}
        lengths |= {stream.rows_in_array[key] for key in arrays}
        if name in self._internal_tables:
            lengths.add(stream.rows_in_table)
        if len(lengths) != 1:
            return
        for node, made in files:
            made.dims = ("time", *made.dims[1:])
            self._update_data_source_for_node(node, made.get_data_source())
        for node in arrays.values():
            (source,) = node.refresh().data_sources()
            source.structure = {**source.structure, "dims": ["time", *node.dims[1:]]}
            self._update_data_source_for_node(node, source)

    def _close_stream_tree(self) -> None:
        """Skip the base class's requests to end streaming: this server streams nothing."""


# What an append fails with if its server did not see it, or refused it.
_NOT_TAKEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, ClientError)


def _dims(key: str, count: int) -> tuple[str, ...]:
    """Return names of an array's dimensions that no other array has."""
    return (f"{key}_row", *(f"{key}_{axis}" for axis in range(1, count)))


def _lay_out(consolidator: Any) -> None:
    """Give rows in files their own dimensions, and chunks that stay few."""
    own = _dims(consolidator.data_key, len(consolidator.shape))
    consolidator.dims = (own[0], *(consolidator.dims[1:] or own[1:]))
    if consolidator.chunk_shape:
        item = np.dtype(consolidator.data_type.to_numpy_dtype()).itemsize
        row_bytes = max(1, item * math.prod(consolidator.shape[1:]))
        rows = max(consolidator.chunk_shape[0], _CHUNK_BYTES // row_bytes, 1)
        consolidator.chunk_shape = (rows, *consolidator.chunk_shape[1:])


def _array(values: Values, kind: pa.DataType) -> pa.Array:
    """Return values as a column; a value is never changed to make it fit."""
    if isinstance(values, np.ndarray):
        if pa.types.is_floating(kind):
            return pa.array(values).cast(kind)
        if pa.types.is_integer(kind) and values.dtype.kind == "f":
            return pa.array(values, mask=np.isnan(values)).cast(kind)
        if pa.types.is_integer(kind):
            return pa.array(values).cast(kind)
        values = values.tolist()
    if pa.types.is_floating(kind):
        return pa.array(values, kind)
    # A missing value is written as NaN also where integers are declared.
    values = [None if value != value else value for value in values]
    if pa.types.is_integer(kind):
        # Told the type at once, pyarrow makes 0 of 0.5 without a word.
        return pa.array(values).cast(kind)
    return pa.array(values, kind)


def _odd_one(values: Values, kind: pa.DataType) -> Any:
    """Return the first value that does not fit a type."""
    for value in values.tolist() if isinstance(values, np.ndarray) else values:
        try:
            _array([value], kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return value
    return None
