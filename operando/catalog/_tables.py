"""The catalog's tables of rows, read past the server: flat in memory, and out of its way."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values of one key as a page has them: an array, or a list where they are not all of one kind.
Values = Sequence[Any] | NDArray[Any]
ROWS_AT_ONCE = 50_000
_BUSY_S = 10.0


class Tables:
    """The database in which the embedded catalog keeps the rows of all runs.

    All runs whose streams have the same columns share one table; a run's rows are told apart by
    their ``dataset_id``. Both are in the parameters of a table's data source.

    Args:
        path: ``tables.db``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._indexed: set[str] = set()

    def count(self, source: Mapping[str, Any]) -> int:
        """Return the number of a run's rows.

        For the process of the service; `rows` is for others.

        Args:
            source: the parameters of the table's data source.
        """
        ((found,),) = self._ask(
            f"SELECT count(*) FROM {_quoted(source['table_name'])} WHERE _dataset_id = "
            f"{int(source['dataset_id'])} AND _partition_id = 0"
        )
        return int(found)

    def rows(
        self, source: Mapping[str, Any], columns: Sequence[str]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield a run's rows in the order they were written, some ten thousand at a time.

        For any process but the service's.

        Args:
            source: the parameters of the table's data source.
            columns: the columns; floats are float64 with NaN where a value is missing, text and
                whole numbers are objects.
        """
        # tiled's tables have lower-case columns, whatever the keys are.
        chosen = ", ".join(_quoted(column.lower()) for column in columns)
        where = f"{self._path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(where, uri=True, timeout=_BUSY_S)) as database:
            found = database.execute(
                f"SELECT {chosen} FROM {_quoted(source['table_name'])} "
                "WHERE _dataset_id = ? AND _partition_id = 0 ORDER BY rowid",
                (source["dataset_id"],),
            )
            while rows := found.fetchmany(ROWS_AT_ONCE):
                yield {
                    column: _array(values)
                    for column, values in zip(columns, zip(*rows, strict=True), strict=True)
                }

    def index(self, table: str | None = None) -> None:
        """Index a table, or all, by run.

        tiled gives its index one name for all tables, so that only the first one ever made gets
        it; reading a run from any other searches the rows of all runs.
        """
        if table in self._indexed:
            return
        tables = [table] if table else [str(name) for (name,) in self._ask(_TABLES_OF_ROWS)]
        for name in tables:
            if not self._ask(
                f"SELECT 1 FROM sqlite_master WHERE type = 'index' AND tbl_name = {_text(name)}"
            ):
                self._ask(
                    f"CREATE INDEX IF NOT EXISTS {_quoted('rows_of_' + name)} "
                    f"ON {_quoted(name)} (_dataset_id, _partition_id)"
                )
            self._indexed.add(name)

    def _ask(self, statement: str) -> list[Any]:
        """Run a statement through the library tiled's server uses for this file.

        Python's own ``sqlite3`` must not touch it in the same process: it is a second copy of
        SQLite, and the locks of the two, which belong to the process, undo each other. Its last
        connection would even delete the write-ahead file from under the server.
        """
        import adbc_driver_sqlite.dbapi

        with (
            closing(adbc_driver_sqlite.dbapi.connect(str(self._path))) as database,
            closing(database.cursor()) as cursor,
        ):
            cursor.execute(statement)
            found = cursor.fetchall()
            database.commit()
        return found


_TABLES_OF_ROWS = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'table_%'"


def joined(chunks: Sequence[Values]) -> Values:
    """Return the values of several pages as one array, or as a list if their kinds differ."""
    first = chunks[0]
    if len(chunks) == 1:
        return first
    if isinstance(first, np.ndarray) and all(
        isinstance(chunk, np.ndarray) and chunk.dtype == first.dtype for chunk in chunks
    ):
        return np.concatenate(chunks)
    values: list[Any] = []
    for chunk in chunks:
        values += chunk.tolist() if isinstance(chunk, np.ndarray) else chunk
    return values


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _array(values: Sequence[Any]) -> NDArray[Any]:
    """Return a column as floats where it has any, else as it is."""
    if any(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    if any(isinstance(value, int) for value in values):  # floats would lose digits
        return np.array(values, dtype=object)
    return np.array(values, dtype=np.float64)
