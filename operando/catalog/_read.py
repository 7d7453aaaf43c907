"""Reading a run through the catalog."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.journal import open_asset

from ._parts import AssetRef, RunParts, StreamParts, journal_order
from ._places import Places
from ._profile import served_profile
from ._service import START_TIMEOUT_S, ensure_service


def open_catalog(data_dir: Path | str, *, timeout_s: float = START_TIMEOUT_S) -> Any:
    """Return the data folder's catalog, as ``databroker.catalog[profile]`` does.

    Starts the catalog service and waits for it (7-20 s) if there is none. If the folder's runs go
    to a shared catalog, returns that, with the runs of all computers. The first call in a
    process costs about 4 s of imports. Programs end it with `close_catalog`.

    Raises:
        CatalogError: if the service does not come up.
    """
    service = ensure_service(data_dir, wait_s=timeout_s)
    import databroker
    from tiled.profiles import load_profiles

    wanted = served_profile(Places(data_dir))
    # tiled reads its profiles once per process; the service may have a new address since.
    load_profiles.cache_clear()
    _, content = load_profiles().get(service.profile, (None, {}))
    if content == wanted:
        return databroker.catalog[service.profile]
    # The profile went to another folder ($TILED_PROFILES differs where the service was started),
    # or the name is another folder's by now. The same client, then, without a profile.
    from tiled.client import from_uri

    return from_uri(wanted["uri"])


def close_catalog(catalog: Any) -> None:
    """Close the connections of what `open_catalog` returned; interactive use need not."""
    catalog.context.http_client.close()


def read_run(uid: str, data_dir: Path | str, *, catalog: Any = None) -> RunParts:
    """Return a run from the catalog, whether it has ended or not.

    Each stream's table is read in one piece: reading single columns of a table that grows fails
    now and then.

    Args:
        uid: the run's whole uid.
        data_dir: the data folder.
        catalog: what `open_catalog` returned, to spare opening it again.

    Raises:
        LookupError: if the run is not in the catalog (yet; see `wait_until_ingested`).
        CatalogError: if the service does not come up.
    """
    if catalog is None:
        opened = open_catalog(data_dir)
        try:
            return read_run(uid, data_dir, catalog=opened)
        finally:
            close_catalog(opened)
    try:
        run = catalog[uid]
    except KeyError as error:
        raise LookupError(f"run {uid} is not in the catalog of {data_dir}") from error
    base = run.base.include_data_sources()
    start = {**run.metadata["start"]}
    stop = run.metadata.get("stop")
    return RunParts(
        start=plain(start),
        stop=None if stop is None else plain(stop),
        streams={name: _stream(name, base[name], Places(data_dir)) for name in base},
    )


def _stream(name: str, node: Any, places: Places) -> StreamParts:
    base = getattr(node, "base", node)
    columns: dict[str, NDArray[Any]] = {}
    time = np.empty(0)
    numbers = np.empty(0, dtype=np.int64)
    assets: dict[str, list[AssetRef]] = {}
    for key in base:
        child = base[key]
        if key == "internal":
            table = child.read()
            if places.shared is not None:  # files keep the order in which rows were written
                table = table.iloc[
                    journal_order(table["seq_num"].to_numpy(), table["time"].to_numpy())
                ]
            numbers = table["seq_num"].to_numpy(dtype=np.int64)
            time = table["time"].to_numpy(dtype=np.float64)
            columns |= {
                column: table[column].to_numpy()
                for column in table.columns
                if column not in ("seq_num", "time") and not column.startswith("ts_")
            }
            continue
        refs = refs_of(child, places)
        if refs:
            assets[key] = refs
        else:
            # By its bounds: whole, it would be refused where it has grown since it was looked up.
            columns[key] = np.asarray(child[0 : child.shape[0]])
    metadata = {key: value for key, value in base.metadata.items() if key != "_config_updates"}
    # A device that was configured anew within the run: its last configuration, as in the journal.
    for update in base.metadata.get("_config_updates", []):
        metadata["configuration"] = {
            **metadata.get("configuration", {}),
            **update.get("configuration", {}),
        }
    # A table begins with its first row and a file's array with its first announcement; what was
    # declared is there all the same.
    for key, data_key in metadata["data_keys"].items():
        if "external" in data_key:
            assets.setdefault(key, [])
        elif not len(numbers):
            columns.setdefault(key, np.empty(0))
    return StreamParts(
        descriptor={**plain(metadata), "name": name},
        columns=columns,
        time=time,
        seq_num=numbers,
        assets=assets,
    )


def refs_of(node: Any, places: Places) -> list[AssetRef]:
    """Return the files behind an array, each with the rows it holds; none if it has no files.

    Args:
        node: tiled's client of the array.
        places: the data folder, where the files are looked for if it is theirs.
    """
    (source,) = node.data_sources()
    if str(getattr(source.management, "value", source.management)) != "external":
        return []
    rows = node.shape[0]
    dataset = source.parameters["dataset"]
    swmr = bool(source.parameters.get("swmr", True))
    paths = [
        _here(Path(asset.data_uri.removeprefix("file://localhost")), places)
        for asset in _in_order(source.assets)
    ]
    refs = []
    for index, path in enumerate(paths):
        # The catalog knows only how many rows all files hold together; with several files, each
        # but the last is read to its end.
        last = index == len(paths) - 1
        count = rows if last else min(rows, _length(path, dataset))
        refs.append(AssetRef(path, dataset, 0, count, swmr))
        rows -= count
    return refs


def _here(path: Path, places: Places) -> Path:
    """Return where a file is that the server of a shared catalog sees elsewhere."""
    there = places.shared.assets_at if places.shared else None
    if there is not None and path.is_relative_to(there):
        return places.data_dir / path.relative_to(there)
    return path


def _in_order(assets: list[Any]) -> list[Any]:
    return sorted(assets, key=lambda asset: asset.num or 0)


def _length(path: Path, dataset: str) -> int:
    with open_asset(path) as file:
        return int(file[dataset].shape[0])


def plain(value: Any) -> Any:
    """Return tiled's read-only views of metadata as plain dictionaries and lists."""
    if hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) or type(value).__name__ == "ListView":
        return [plain(item) for item in value]
    return value
