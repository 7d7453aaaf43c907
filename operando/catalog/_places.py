"""Where a data folder keeps what its catalog service needs."""

import hashlib
import json
import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from operando import settings

from ._errors import CatalogError

if TYPE_CHECKING:
    from ._shared import SharedCatalog


class Places:
    """The paths of one data folder's catalog.

    ``catalog/`` holds what can be rebuilt from the journals; ``state/`` what must stay: the
    service's lock, its key, and the address it was last seen at.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self.data_dir = Path(data_dir).expanduser().resolve()
        self.catalog = self.data_dir / "catalog"
        self.metadata_db = self.catalog / "catalog.db"
        self.tables_db = self.catalog / "tables.db"
        self.arrays = self.catalog / "arrays"
        self.root = self.catalog / "root.json"
        self.state = self.data_dir / "state"
        self.lock = self.state / "catalog.lock"
        self.address = self.state / "catalog.json"
        self.key = self.state / "catalog.key"
        self.log = self.state / "catalog.log"

    def require(self) -> None:
        """Raise CatalogError if there is no data folder; one that is misspelt is not created."""
        if not self.data_dir.is_dir():
            raise CatalogError(
                f"there is no data folder {self.data_dir}: name the one that holds the journals"
            )

    @cached_property
    def shared(self) -> "SharedCatalog | None":
        """The shared catalog this folder's runs go to; None if it has its own.

        Raises:
            CatalogError: if the file that names one is wrong.
        """
        from ._shared import find_shared_catalog

        return find_shared_catalog(self.data_dir)

    @property
    def ingested(self) -> Path:
        """The list of the runs that are whole in the catalog; each catalog has its own."""
        if self.shared is None:
            return self.catalog / "ingested"
        digest = hashlib.sha256(self.shared.uri.encode()).hexdigest()[:12]
        return self.catalog / f"shared-{digest}" / "ingested"


def append_ingested(path: Path, line: str) -> None:
    """Add a line to the list of runs that are whole in a catalog.

    That is a uid, ``-uid`` for one that is whole no more, ``+uid`` for one of which the catalog
    holds more than its journal, or ``!uid`` for one whose journal is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def ingested_uids(path: Path, mark: str = "") -> set[str]:
    """Return the uids of the runs that are whole in a catalog, by its list.

    With a mark, ``+`` or ``!``, only of those that have it.
    """
    found: dict[str, set[str]] = {"": set(), "+": set(), "!": set()}
    if path.exists():
        for line in path.read_text().split():
            uid = line.lstrip("-+!")
            if line.startswith("-"):
                for uids in found.values():
                    uids.discard(uid)
            else:
                found[line.removesuffix(uid)].add(uid)
    return found[mark]


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step: readers see the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(draft, path)


def service_key(places: Places) -> str:
    """Return the catalog's key, drawn once per data folder so that profiles stay valid."""
    if not places.key.exists():
        write_private(places.key, secrets.token_hex(32))
    return places.key.read_text().strip()


def read_address(places: Places) -> dict[str, object]:
    """Return the address the service wrote last, empty if it never ran."""
    try:
        found = json.loads(places.address.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def profile_name(data_dir: Path | str) -> str:
    """Return the tiled profile of a data folder: ``operando``, for other folders with their name.

    ``operando`` is the folder of ``operando.settings.data_dir()``. Others are called after their
    folder, or after its parent where the folder is just called ``data``.
    """
    folder = Path(data_dir).expanduser().resolve()
    if folder == settings.data_dir():
        return "operando"
    name = folder.parent.name if folder.name == "data" and folder.parent.name else folder.name
    return f"operando-{name}"
