"""A note into the log book, completed by what is known of where it belongs."""

import logging
from pathlib import Path

from operando.logbook import LogNote, write_note
from operando.queueing._known import open_run_of
from operando.queueing.errors import QueueError

logger = logging.getLogger(__name__)


def note(
    data_dir: Path,
    text: str,
    by: str | None = None,
    station: str | None = None,
    cell_id: str | None = None,
    run: str | None = None,
) -> LogNote:
    """Write a note, as `operando.logbook.write_note`; of the cell in its station, and of its run.

    What is told is taken as it is. Of a station alone the mounted cell is added; of a station or a
    cell the run that goes on there; of a run its cell. Where that cannot be found out, the note is
    written without.
    """
    if run is not None and cell_id is None:
        cell_id = _cell_of(data_dir, run)
    if run is None and (station is not None or cell_id is not None):
        run = open_run_of(data_dir, station=station, cell_id=cell_id)
    if station is not None and cell_id is None:
        cell_id = _mounted_in(data_dir, station)
        if cell_id is None and run is not None:
            cell_id = _cell_of(data_dir, run)
    return write_note(data_dir, text, by, station, cell_id, run)


def _cell_of(data_dir: Path, run: str) -> str | None:
    from operando.journal import select_runs

    found = select_runs(data_dir, "uid = ?", (run,), limit=1)
    return (found[0].sample or None) if found else None


def _mounted_in(data_dir: Path, station: str) -> str | None:
    from operando.configuration import ConfigurationError, load_stations
    from operando.queueing import _redis
    from operando.queueing.store import Store

    try:
        where = _redis.address(data_dir, load_stations())
        mount = Store(_redis.client(where)).mount(station)
    except (QueueError, ConfigurationError) as error:
        logger.warning("which cell is in station %s is not known: %s", station, error)
        return None
    return None if mount is None else mount.cell_id
