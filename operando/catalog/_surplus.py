"""What a catalog holds of a run and its journal does not: it must not be thrown away."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operando.journal import (
    JournalError,
    JournalReader,
    damage_of,
    journal_path,
    page_of,
    row_times,
)

from ._errors import CatalogError
from ._places import Places
from ._read import refs_of
from ._rows import ServedRows
from ._tables import Tables


def journal_damage(path: Path) -> list[str]:
    """Return what of a run's journal cannot be read, in words; empty if nothing is wrong.

    That includes what older versions moved out of it, into a file ``UID.opj.cut`` beside it.

    Raises:
        JournalError: if the file is not a journal, of a newer format, or has lost its start.
    """
    told = [str(damage) for damage in damage_of(path)]
    return told + [f"what was damaged lies in {cut.name}" for cut in cuts_of(path)]


def why_kept(uid: str, places: Places, catalog: Any) -> str:
    """Return why a run must not be taken in anew, in words; empty if it may be."""
    try:
        beyond = only_in_catalog(uid, places, catalog)
    except (CatalogError, JournalError) as error:
        return f"nothing, lest rows be lost: {error}"
    if not beyond:
        return ""
    return (
        f"left as it is: the catalog holds {', '.join(beyond)} that the journal lacks; read them "
        "from the catalog (operando report --from catalog, databroker)"
    )


def cuts_of(path: Path) -> list[Path]:
    """Return the files beside a journal that hold what was cut off it as damaged."""
    return sorted(path.parent.glob(f"{path.name}.cut*"))


def only_in_catalog(uid: str, places: Places, catalog: Any) -> list[str]:
    """Return what the catalog holds of a run and its journal lacks, in words.

    Rows are the same if they have the same number and time. Whoever can be told apart by nothing
    else, because a journal that is sound has as many rows, counts as changed, not as missing.

    Args:
        uid: the run.
        places: the data folder.
        catalog: what `open_catalog` returned.

    Raises:
        CatalogError: if the catalog cannot be read.
        JournalError: if the journal cannot be read at all.
    """
    import httpx
    from tiled.client.utils import ClientError

    path = journal_path(places.data_dir, uid)
    rows, frames = _in_journal(path)
    sound = not journal_damage(path)
    try:
        node = catalog[uid]
    except KeyError:
        return []
    try:
        return _beyond(node.base.include_data_sources(), places, rows, frames, sound=sound)
    except (ClientError, httpx.HTTPError) as error:
        if sound:  # then nothing is there that is not in the journal, and it can be made again
            return []
        raise CatalogError(f"run {uid}: the catalog cannot be read: {error}") from error


def _in_journal(path: Path) -> tuple[dict[str, NDArray[np.complex128]], dict[tuple[str, str], int]]:
    """Return every stream's rows, as number and time, and how many rows its files have by key."""
    rows: dict[str, list[NDArray[np.complex128]]] = {}
    frames: dict[tuple[str, str], int] = {}
    stream_of: dict[str, str] = {}
    key_of: dict[str, str] = {}
    for name, doc in JournalReader(path, arrays=True):
        if name == "descriptor":
            stream_of[doc["uid"]] = doc["name"]
            rows.setdefault(doc["name"], [])
        elif name in ("event", "event_page"):
            page = doc if name == "event_page" else page_of(doc)
            rows[stream_of[doc["descriptor"]]].append(_keys(page["seq_num"], row_times(page)))
        elif name == "stream_resource":
            key_of[doc["uid"]] = doc["data_key"]
        elif name == "stream_datum" and doc["stream_resource"] in key_of:
            place = (stream_of[doc["descriptor"]], key_of[doc["stream_resource"]])
            count = doc["indices"]["stop"] - doc["indices"]["start"]
            frames[place] = frames.get(place, 0) + count
    return {
        name: np.concatenate([np.empty(0, np.complex128), *parts]) for name, parts in rows.items()
    }, frames


def _keys(numbers: Any, times: Any) -> NDArray[np.complex128]:
    """Return rows as values that can be compared: the number, and the time beside it."""
    return np.asarray(numbers, np.float64) + 1j * np.asarray(times, np.float64)


def _beyond(
    base: Any,
    places: Places,
    rows: Mapping[str, NDArray[np.complex128]],
    frames: Mapping[tuple[str, str], int],
    *,
    sound: bool,
) -> list[str]:
    tables = None if places.shared else Tables(places.tables_db)
    told = []
    for name in base:
        node = getattr(base[name], "base", base[name])
        here = rows.get(name, np.empty(0, np.complex128))
        for key in node:
            child = node[key]
            if key == "internal":
                source = child.data_sources()[0].parameters
                read = ServedRows(child).rows if tables is None else tables.rows
                total = beyond = 0
                for piece in read(source, ("seq_num", "time")):
                    there = _keys(piece["seq_num"], piece["time"])
                    total += len(there)
                    beyond += int((~np.isin(there, here)).sum())
                if beyond and not (sound and total <= len(here)):
                    told.append(f"{beyond} rows of {name}")
                continue
            if refs_of(child, places):
                lacking = child.shape[0] - frames.get((name, key), 0)
            else:  # written behind the table's rows: of a sound journal, the table tells
                lacking = 0 if sound else child.shape[0] - len(here)
            if lacking > 0:
                told.append(f"{lacking} rows of {name}, {key}")
    return told
