"""What tiled's server needs to open a data folder's catalog, in the service or without it.

The profile that the service leaves behind names `tree` and `RowsAdapter` in a copy of this file
beside it, so that a Python without operando opens the catalog too. It therefore imports nothing of
operando's.
"""

from pathlib import Path
from typing import Any

from tiled.adapters.sql import SQLAdapter

# Rows that SQLite's driver looks at before it takes a column for whole numbers.
_ALL_ROWS = 1 << 30


class RowsAdapter(SQLAdapter):
    """Reads the rows of a run, also where a column begins with a thousand missing values.

    The driver guesses a column's type from its first 1024 values, takes one that is missing for a
    whole number, and fails at the first value with a fraction behind them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.storage: Any = _Storage(self.storage)


class _Storage:
    """A storage whose connections look at all rows of a column before they say what it is."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def connect(self) -> Any:
        return _Connection(self._storage.connect())


class _Connection:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Any:
        cursor = self._connection.cursor()
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(_ALL_ROWS)})
        return cursor


def tree(data_dir: str, **arguments: Any) -> Any:
    """Return tiled's tree of a data folder's catalog files, read-only.

    Args:
        data_dir: the data folder.
        arguments: tiled's own arguments for such a tree.

    Raises:
        FileNotFoundError: if the folder or its catalog is gone; SQLite would only say that it is
            unable to open some database file.
    """
    remedy = (
        "Set OPERANDO_DATA to the data folder you mean, or go where its data/ is, and run "
        "`operando catalog start`: this name then opens that folder"
    )
    if not Path(data_dir).is_dir():
        raise FileNotFoundError(f"the data folder {data_dir} is gone, or its disk. {remedy}")
    catalog = Path(data_dir, "catalog")
    if not (Path(catalog, "catalog.db").is_file() and Path(catalog, "tables.db").is_file()):
        raise FileNotFoundError(
            f"the data folder {data_dir} has no catalog any more; it is made from the journals "
            f"when its service starts. {remedy}"
        )
    from tiled.catalog import from_uri

    return from_uri(**arguments)
