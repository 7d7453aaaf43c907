"""Which labels of cells are known: of runs, of notes, of the queues and of cell files."""

import difflib
import logging
import re
from pathlib import Path

from operando.logbook import notes
from operando.queueing.errors import QueueError

logger = logging.getLogger(__name__)

# So many runs, the newest first, are looked through for labels like one that is not known.
_RUNS = 500


def check_label(data_dir: Path, cell_id: str) -> None:
    """Refuse the label of a cell of which nothing tells.

    Known are those of runs, of the log book, of what is mounted, queued or was queued, of the cell
    files and of their replicates. Where the queues cannot be asked, none is refused.

    Raises:
        QueueError: It is not known; with those that may be meant.
    """
    from operando.journal import select_runs

    if data_dir.is_dir() and select_runs(data_dir, "sample = ?", (cell_id,), limit=1):
        return
    known = {one.cell_id for one in notes(data_dir)}
    if cell_id in known:
        return
    if file_of(cell_id)[0]:
        return
    try:
        known |= _of_queues(data_dir)
    except QueueError as error:
        logger.warning("whether there is a cell %s in a queue is not known: %s", cell_id, error)
        return
    if cell_id in known:
        return
    if data_dir.is_dir():
        known |= {one.sample for one in select_runs(data_dir, limit=_RUNS)}
    of_files = _of_files()
    likely = sorted(one for one in known | set(of_files.values()) if one)
    close = difflib.get_close_matches(cell_id, likely, n=3, cutoff=0.6)
    if cell_id in of_files:
        close = [of_files[cell_id]]
    meant = f"; did you mean {', '.join(close)}?" if close else ""
    raise QueueError(
        f"no cell has the label {cell_id!r}: none of that label is mounted or queued, in a run or "
        f"in a cell file{meant}"
    )


def file_of(cell_id: str) -> tuple[str, str]:
    """Return the cell file of a label, by name, and which replicate it is of; else twice nothing.

    The label of a replicate is that of the file with its number behind it.
    """
    for name, label in _of_files().items():
        found = re.fullmatch(rf"{re.escape(label)}(?:-(\d+))?", cell_id)
        if found:
            return name, found[1] or ""
    return "", ""


def _of_files() -> dict[str, str]:
    """Return the labels in the cell files, by name of file; what cannot be read is left out."""
    from operando.configuration import ConfigurationError, load_cell, names

    found = {}
    try:
        for name in names("cell"):
            try:
                found[name] = load_cell(name).cell_id
            except ConfigurationError as error:
                logger.debug("cell file %s: %s", name, error)
    except FileNotFoundError:
        pass  # there is no configuration folder
    return found


def _of_queues(data_dir: Path) -> set[str]:
    """Return the labels of the cells that are mounted, wait in a queue or came out of one."""
    from operando.configuration import ConfigurationError, load_stations
    from operando.queueing import _redis
    from operando.queueing.sanitise import pending
    from operando.queueing.store import Store

    were = (data_dir / "state" / "queueing" / "redis").is_dir()
    try:
        stations = load_stations()
    except ConfigurationError as error:
        if were:
            raise QueueError(str(error)) from error
        return set()
    if stations.redis == "embedded" and not were:
        return set()
    store = Store(_redis.client(_redis.address(data_dir, stations)))
    found = {one.cell_id for one in store.mounts()}
    for name in {one.name for one in stations.stations} | set(store.record_stations()):
        found |= {one.cell_id for one in store.records(name)}
        for item in pending(store, name):
            sample = (item.get("kwargs") or {}).get("sample")
            found.add(str(sample.get("cell_id", "")) if isinstance(sample, dict) else "")
    return found
