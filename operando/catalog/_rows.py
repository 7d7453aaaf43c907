"""The rows of a run read through its server, without holding them all."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ._parts import journal_order
from ._tables import ROWS_AT_ONCE


class ServedRows:
    """A table that lies on another computer.

    Args:
        table: tiled's client of the table.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def rows(
        self, source: Mapping[str, Any], columns: Sequence[str]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the run's rows in the order of the journal, some ten thousand at a time.

        ``seq_num`` and ``time`` must be among the columns.

        They are fetched into a file and read from there: the answer to one request is one state of
        the table, and PostgreSQL gives rows in no particular order.
        """
        from tiled.client.utils import handle_error

        with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
            with self._table.context.http_client.stream(
                "GET",
                self._table.item["links"]["partition"].format(index=0),
                params={"partition": 0, "column": list(columns)},
                headers={
                    "Accept": "application/vnd.apache.arrow.file",
                    "Accept-Encoding": "identity",
                },
            ) as answer:
                if answer.is_error:
                    answer.read()
                handle_error(answer)
                for block in answer.iter_bytes():
                    file.write(block)
            file.flush()
            with pa.memory_map(file.name) as mapped:
                found = pa.ipc.open_file(mapped).read_all()
                numbers = found["seq_num"].to_numpy()
                order = journal_order(numbers, found["time"].to_numpy())
                in_order = bool((np.diff(order) == 1).all())
                for first in range(0, len(numbers), ROWS_AT_ONCE):
                    if in_order:
                        part = found.slice(first, ROWS_AT_ONCE)
                    else:
                        part = found.take(order[first : first + ROWS_AT_ONCE])
                    yield {column: _array(part[column]) for column in columns}


def _array(values: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column as floats where it has any, else as objects."""
    if pa.types.is_floating(values.type):
        return np.asarray(values.to_numpy(), dtype=np.float64)
    return np.array(values.to_pylist(), dtype=object)
