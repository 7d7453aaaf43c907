"""Preparing the catalog's files before the server opens them."""

import asyncio
import importlib.metadata
import itertools
import json
import logging
import shutil
import sqlite3
import sys
import time
import types
from contextlib import closing
from pathlib import Path
from typing import Any

from ._places import Places
from ._tables import Tables

logger = logging.getLogger(__name__)


def import_without_sparse() -> None:
    """Import tiled's server, and dask for it, without ``sparse``.

    They import it for the names of types. It brings numba and LLVM, 190 MB and a good part of a
    start, for arrays this catalog does not hold; an installation may leave it out.
    """
    if not {"sparse", "tiled.adapters.protocols"} & set(sys.modules):
        modules: dict[str, Any] = sys.modules
        modules["sparse"] = None  # whoever looks for it does without
        try:
            import dask.array
            import dask.dataframe  # noqa: F401

            named = types.ModuleType("sparse")
            vars(named)["COO"] = object
            modules["sparse"] = named
            import tiled.adapters.protocols  # noqa: F401
        finally:
            del sys.modules["sparse"]


def import_server_without_graph() -> Any:
    """Return tiled's module of its server, imported without the graph of links it can serve.

    Nothing here asks for that. What it is made with takes a fifth of the service's start.
    """
    if "tiled.server.app" not in sys.modules:
        import fastapi

        named = types.ModuleType("tiled.graph.router")
        vars(named)["create_router"] = lambda settings: fastapi.APIRouter()
        sys.modules[named.__name__] = named
        try:
            import tiled.server.app  # noqa: F401
        finally:
            del sys.modules[named.__name__]
    return sys.modules["tiled.server.app"]


def prepare_files(places: Places) -> None:
    """Make the catalog's files ready: created, in write-ahead mode, and knowing where they are.

    A catalog that is damaged or of another version of tiled is put aside as
    ``catalog-unreadable-<time>`` and a new one begun, which is then filled from the journals.

    Raises:
        sqlite3.OperationalError: if the files are locked or the disk is full.
    """
    import_without_sparse()
    from sqlalchemy.exc import DatabaseError, OperationalError
    from tiled.alembic_utils import DatabaseUpgradeNeeded, UnrecognizedDatabase

    try:
        _prepare(places)
    except (sqlite3.OperationalError, OperationalError):
        raise  # locked or no room: nothing is wrong with the catalog
    except (
        sqlite3.DatabaseError,
        DatabaseError,
        DatabaseUpgradeNeeded,
        UnrecognizedDatabase,
        ValueError,
    ) as error:
        aside = put_aside(places)
        logger.error("the catalog cannot be opened (%s); put aside as %s", error, aside.name)
        _prepare(places)


def put_aside(places: Places, why: str = "unreadable") -> Path:
    """Move a catalog out of the way and return where it is now; no service may run."""
    stem = f"catalog-{why}-{time.strftime('%Y%m%dT%H%M%S')}"
    names = itertools.chain([stem], (f"{stem}-{count}" for count in itertools.count(2)))
    aside = next(path for name in names if not (path := places.data_dir / name).exists())
    shutil.move(places.catalog, aside)
    return aside


def _prepare(places: Places) -> None:
    places.arrays.mkdir(parents=True, exist_ok=True)
    for path in (places.metadata_db, places.tables_db):
        # Before tiled sees the file: its own attempt does not take, and without write-ahead
        # mode a reader locks the writer out.
        with closing(sqlite3.connect(path, timeout=1)) as database:
            (mode,) = database.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise ValueError(f"{path} does not take write-ahead mode: {mode}")
    _create_tables(places)
    follow_a_move(places)
    sweep(places)
    Tables(places.tables_db).index()


def _create_tables(places: Places) -> None:
    """Create the tables of a new catalog here: tiled would start another Python for it (10 s)."""
    from sqlalchemy.ext.asyncio import create_async_engine
    from tiled.alembic_utils import UninitializedDatabase, check_database, stamp_head
    from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
    from tiled.catalog.core import ALL_REVISIONS, REQUIRED_REVISION, initialize_database

    uri = f"sqlite+aiosqlite:///{places.metadata_db}"

    async def create() -> bool:
        engine = create_async_engine(uri)
        try:
            await check_database(engine, REQUIRED_REVISION, ALL_REVISIONS)
        except UninitializedDatabase:
            await initialize_database(engine)
            return True
        finally:
            await engine.dispose()
        return False

    if asyncio.run(create()):
        stamp_head(ALEMBIC_INI_TEMPLATE_PATH, ALEMBIC_DIR, uri)


def follow_a_move(places: Places) -> None:
    """Rewrite the absolute paths in the catalog when the data folder lies elsewhere than last."""
    here = str(places.data_dir)
    before = _recorded_root(places)
    if before is not None and before != here:
        with closing(sqlite3.connect(places.metadata_db)) as database, database:
            for prefix in ("file://localhost", "sqlite://localhost/", "sqlite:///"):
                old, new = f"{prefix}{before}/", f"{prefix}{here}/"
                database.execute(
                    "UPDATE assets SET data_uri = ? || substr(data_uri, ?) "
                    "WHERE substr(data_uri, 1, ?) = ?",
                    (new, len(old) + 1, len(old), old),
                )
        logger.warning("the data folder moved from %s to %s; the catalog follows", before, here)
    if before != here:
        places.root.write_text(
            json.dumps({"root": here, "tiled": importlib.metadata.version("tiled")})
        )


def _recorded_root(places: Places) -> str | None:
    if not places.root.exists():
        return None
    found: dict[str, Any] = json.loads(places.root.read_text())
    return str(found["root"])


def sweep(places: Places) -> None:
    """Forget the shapes that growing arrays had before: tiled keeps every one."""
    with closing(sqlite3.connect(places.metadata_db, timeout=10)) as database, database:
        database.execute(
            "DELETE FROM structures WHERE id NOT IN "
            "(SELECT structure_id FROM data_sources WHERE structure_id IS NOT NULL)"
        )


def settle_files(places: Places) -> None:
    """Bring the databases' write-ahead files in, so that the folder can be copied file by file."""
    for path in (places.metadata_db, places.tables_db):
        with closing(sqlite3.connect(path, timeout=2)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
