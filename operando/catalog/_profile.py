"""The tiled profile through which any Python opens the catalog: ``databroker.catalog[name]``."""

import importlib.util
import json
import logging
import os
from pathlib import Path
from typing import Any

from ._errors import CatalogError
from ._places import Places, profile_name, read_address, service_key, write_private

logger = logging.getLogger(__name__)

# What a profile of files names: a module beside it, which tiled imports from there.
UNSERVED = "operando_unserved"


def profile_folder() -> Path:
    """Return where tiled looks first for profiles: ``$TILED_PROFILES`` or the user's folder."""
    named = os.environ.get("TILED_PROFILES")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_config_dir("tiled"), "profiles")


def write_profile(
    data_dir: Path | str, *, name: str | None = None, directory: Path | None = None
) -> Path:
    """Write the tiled profile of a data folder and return its file.

    While the catalog service runs, the profile names its address and key, so the file is readable
    by its owner only. While it does not run, the profile opens the catalog's files read-only
    within the reader's own process, which shows what had been ingested by then; where tiled was
    installed without ``sparse`` that cannot be, and the service must be started first. The profile
    of a folder whose runs go to a shared catalog names that. None of them needs operando.

    Args:
        data_dir: the data folder.
        name: name of the profile; by default ``operando`` for the default data folder and
            ``operando-<name>`` for others.
        directory: where the profile goes; by default where tiled looks first.

    Raises:
        CatalogError: if the service does not run and the files cannot be opened without it.
    """
    places = Places(data_dir)
    from ._service import follow_a_move, is_running  # the service's module writes profiles too

    if places.shared is not None or (is_running(places) and read_address(places)):
        content = served_profile(places)
    elif places.metadata_db.exists() and can_read_files():
        follow_a_move(places)
        content = file_profile(places)
    else:
        raise CatalogError(
            f"the catalog of {places.data_dir} cannot be opened without its service: start it "
            "(operando.catalog.ensure_service) and write the profile then"
        )
    name = name or profile_name(places.data_dir)
    tell_who_had(name, places, directory)
    return save_profile(content, name, directory)


def tell_who_had(name: str, places: Places, directory: Path | None = None) -> None:
    """Warn if a name, which is about to be written, is another data folder's."""
    path = (directory or profile_folder()) / f"{name}.yml"
    try:
        content = json.loads(path.read_text())[name]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return  # nobody's, or written by hand
    if "direct" in content:
        theirs = content["direct"]["trees"][0]["args"].get("data_dir")
        ours = theirs == str(places.data_dir)
    else:
        # A folder keeps its key, whatever its address; a shared catalog is many folders'.
        uri = str(content.get("uri"))
        theirs = uri.partition("?")[0]
        ours = places.shared is not None or service_key(places) in uri
    if not ours:
        logger.warning(
            "the name %r was that of %s; from now on it is that of %s. To keep both, give one a "
            "name of its own: operando.catalog.write_profile(data_dir, name=...)",
            name,
            theirs,
            places.data_dir,
        )


def served_profile(places: Places) -> dict[str, Any]:
    """Return the profile of a running service, or of the shared catalog."""
    # The key must be part of the address: a profile with `api_key:` is invalid and silently
    # dropped, and one with an Authorization header still asks for a login.
    if places.shared is not None:
        return {"uri": f"{places.shared.uri}?api_key={places.shared.key()}"}
    address = read_address(places)
    return {"uri": f"{address['uri']}/api/v1?api_key={address['key']}"}


def file_profile(places: Places) -> dict[str, Any]:
    """Return a profile that reads the catalog's files without a service.

    It runs tiled's server within the reader, so it needs the whole of tiled; see `can_read_files`.
    """
    return {
        "direct": {
            "authentication": {"allow_anonymous_access": True},
            "trees": [catalog_tree(places, writable=False)],
            "media_types": MEDIA_TYPES,
        }
    }


def can_read_files() -> bool:
    """Return whether tiled's server can be imported as it is, with all it asks for."""
    return importlib.util.find_spec("sparse") is not None


def save_profile(content: dict[str, Any], name: str, directory: Path | None = None) -> Path:
    """Write one profile to its file, readable by its owner only, and return the file."""
    path = (directory or profile_folder()) / f"{name}.yml"
    if "direct" in content:
        source = Path(__file__).with_name("unserved.py").read_text("utf-8")
        write_private(path.with_name(f"{UNSERVED}.py"), source)
    # JSON is YAML, and needs no care for quoting.
    write_private(path, json.dumps({name: content}, indent=2) + "\n")
    return path


def hand_over_profile(name: str, ours: dict[str, Any], then: dict[str, Any] | None) -> None:
    """Put another profile in the place of ours, or none; not if somebody else took the name."""
    path = profile_folder() / f"{name}.yml"
    try:
        found = json.loads(path.read_text()).get(name)
    except FileNotFoundError:
        found = ours
    except (ValueError, AttributeError):  # edited by hand
        return
    if found != ours:
        return
    if then is None:
        path.unlink(missing_ok=True)
    else:
        save_profile(then, name)


MEDIA_TYPES = {
    "BlueskyRun": {"application/json-seq": "bluesky_tiled_plugins.exporters:json_seq_exporter"}
}


def catalog_tree(places: Places, *, writable: bool) -> dict[str, Any]:
    """Return tiled's description of the catalog's files."""
    tables = f"sqlite:///{places.tables_db}"
    arguments: dict[str, Any] = {
        "uri": f"sqlite:///{places.metadata_db}",
        "readable_storage": [str(places.data_dir)],
        "specs": [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
    }
    module = "operando.catalog.unserved" if writable else UNSERVED
    arguments["adapters_by_mimetype"] = {"application/x-tiled-sql-table": f"{module}:RowsAdapter"}
    if writable:
        arguments["writable_storage"] = [str(places.arrays), tables]
        return {"path": "/", "tree": "catalog", "args": arguments}
    arguments["readable_storage"].append(tables)
    arguments["data_dir"] = str(places.data_dir)
    return {"path": "/", "tree": f"{UNSERVED}:tree", "args": arguments}
