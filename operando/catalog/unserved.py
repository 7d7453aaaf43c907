"""The catalog of a data folder whose service does not run, opened within the reader's process.

The profile that the service leaves behind names `tree`; nobody calls it by hand.
"""

from pathlib import Path
from typing import Any

from ._errors import CatalogError
from ._places import Places


def tree(data_dir: str, **arguments: Any) -> Any:
    """Return tiled's tree of a data folder's catalog files, read-only.

    Args:
        data_dir: the data folder.
        arguments: tiled's own arguments for such a tree.

    Raises:
        CatalogError: if the folder or its catalog is gone; SQLite would only say that it is unable
            to open some database file.
    """
    places = Places(data_dir)
    remedy = (
        "Set OPERANDO_DATA to the data folder you mean, or go where its data/ is, and run "
        "`operando catalog start`: this name then opens that folder"
    )
    if not Path(data_dir).is_dir():
        raise CatalogError(f"the data folder {data_dir} is gone, or its disk. {remedy}")
    if not (places.metadata_db.is_file() and places.tables_db.is_file()):
        raise CatalogError(
            f"the data folder {data_dir} has no catalog any more; it is made from the journals "
            f"when its service starts. {remedy}"
        )
    from tiled.catalog import from_uri

    return from_uri(**arguments)
