"""What the record knows of a cell: how it was left, its resistance, whether it is finished."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operando.journal import JournalError, cycle_index, documents, select_runs
from operando.logbook import NoteError, notes
from operando.queueing.model import why_stopped

logger = logging.getLogger(__name__)

# What notes begin with of cells whose experiment is over, and what those contain of cells that were
# mounted all the same.
OVER, AGAIN = "nothing is run on this cell any more: ", "; mounted again: "
# So many of the newest runs of a cell are looked through.
_RUNS = 50


@dataclass(frozen=True)
class Known:
    """What the runs of a cell in the data folder tell of it; ``None``: they do not tell.

    Attributes:
        run: The newest run of it that is not a look at it, by uid.
        open_circuit_v: At rest at the end of that run, V.
        metal_mah_cm2: Metal on each electrode at most as that run left it, mAh/cm2.
        series_ohm: Series resistance at the newest look that found one, ohm.
        series_run: The run of that look.
        finished: What ended its life, in words; empty: nothing did.
    """

    run: str | None = None
    open_circuit_v: float | None = None
    metal_mah_cm2: tuple[tuple[str, float], ...] = ()
    series_ohm: float | None = None
    series_run: str | None = None
    finished: str = ""


def known_of(data_dir: Path, cell_id: str) -> Known:
    """Return what is known of a cell; nothing of one that was never measured here."""
    run = series_run = None
    state: dict[str, Any] = {}
    series_ohm = None
    # Redis may have been lost; the log book and the runs remain.
    finished, again_at = _noted(data_dir, cell_id)
    judged = False
    for one in select_runs(data_dir, "sample = ?", (cell_id,), limit=_RUNS):
        try:
            if one.plan_name == "look_at_cell":
                if series_ohm is None:
                    series_ohm = _series_ohm(data_dir, one.uid)
                    series_run = None if series_ohm is None else one.uid
                continue
            if run is not None and (finished or one.time < again_at):
                continue
            stop = _stop_of(one.path)
        except (JournalError, LookupError) as error:
            logger.warning("run %s of cell %s cannot be read: %s", one.uid[:8], cell_id, error)
            continue
        if run is None:
            run, state = one.uid, stop.get("end_state") or {}
        if not finished and one.time >= again_at:
            why = _why_over(stop, shorted=not judged)
            finished = f"run {one.uid[:8]}: {why}" if why else ""
        # A short that a later run has not seen any more has healed.
        judged |= (stop.get("end_state") or {}).get("shorted") is not None
    metal = tuple((k, float(x)) for k, x in (state.get("metal_mah_cm2") or {}).items() if x)
    return Known(run, state.get("open_circuit_v"), metal, series_ohm, series_run, finished)


def _noted(data_dir: Path, cell_id: str) -> tuple[str, float]:
    """Return what the log book says of a cell's end, and when it was mounted all the same.

    The newer of the two holds: the reason is empty where it was mounted after that.
    """
    try:
        told = notes(data_dir, cell_id=cell_id)
    except NoteError as error:
        logger.warning("the notes of cell %s cannot be read: %s", cell_id, error)
        return "", -math.inf
    for note in reversed(told):
        if note.text.startswith(OVER):
            return note.text.removeprefix(OVER), -math.inf
        if note.text.startswith("mounted: ") and AGAIN in note.text:
            return "", note.at
    return "", -math.inf


def _why_over(stop: Mapping[str, Any], *, shorted: bool) -> str:
    """Return why nothing is to be run on a cell after a run; empty: its stop document says nothing.

    Args:
        stop: That document.
        shorted: Whether the run was the last that could tell a short.
    """
    life, stopped = stop.get("end_of_life"), stop.get("stopped")
    if life:
        return str(life.get("reason") or life.get("rule"))
    if stopped:
        return why_stopped(str(stopped.get("by")), str(stopped.get("why") or ""))
    if shorted and (stop.get("end_state") or {}).get("shorted"):
        return "it left the cell shorted"
    return ""


def _stop_of(path: Path) -> dict[str, Any]:
    """Return the stop document of a run without reading all its rows; empty: it has none."""
    cycles = cycle_index(path).cycles
    last = int(cycles[-1]) if len(cycles) else 0
    doc: dict[str, Any] = {}
    for name, doc in documents(path, arrays=True, from_cycle=last if last > 0 else None):
        if name == "stop":
            return doc
    return {}


def _series_ohm(data_dir: Path, uid: str) -> float | None:
    from operando.queueing.look import look_of
    from operando.runs import Run

    return look_of(Run.from_journal(uid, data_dir, chain=False)).series_ohm


def open_run_of(
    data_dir: Path, *, station: str | None = None, cell_id: str | None = None
) -> str | None:
    """Return the run that goes on in a station or on a cell, by uid; ``None``: none does."""
    for one in select_runs(data_dir, "exit_status = ''"):
        if one.exit_status != "running":
            continue
        if cell_id is not None and one.sample == cell_id:
            return one.uid
        if station is not None:
            start = next((doc for name, doc in documents(one.path) if name == "start"), {})
            if (start.get("queue") or {}).get("station") == station:
                return one.uid
    return None
