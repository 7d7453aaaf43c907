"""Making the catalog right again where it is not what the journals say."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from operando.journal import QUIET_S, JournalError, close_dead_run, list_runs, may_be_copied

from ._errors import CatalogError
from ._files import put_aside
from ._places import Places
from ._read import close_catalog, open_catalog
from ._service import START_TIMEOUT_S, ensure_service, stop_service, take_again
from ._surplus import why_kept
from ._verify import Verification, verify


@dataclass(frozen=True)
class Repaired:
    """One thing that was wrong.

    Attributes:
        uid: the run; empty if it concerns the catalog as a whole.
        found: what was wrong.
        done: what was done about it.
        cured: whether it is right now.
    """

    uid: str
    found: str
    done: str
    cured: bool


def repair(
    data_dir: Path | str, uids: Sequence[str] | None = None, *, timeout_s: float = 600.0
) -> Iterator[Repaired]:
    """Make the catalog what the journals say, telling one by one what was wrong.

    Closes runs whose process died, begins the catalog anew if its files are damaged (the damaged
    ones are kept), and takes in anew every run that differs. A run of which the catalog holds what
    its journal lacks, because that is damaged or lost its end in a power cut, is left as it is and
    told of. Runs that are being written are not touched. It may be called at any time: nothing
    that a journal or the catalog holds is lost.

    Args:
        data_dir: the data folder.
        uids: the runs to look at, by their whole uids; by default all.
        timeout_s: wait no longer than this for one run to be taken in [s].

    Raises:
        CatalogError: if there is no such folder, or the service does not come up.
        LookupError: if there is no such run.
    """
    places = Places(data_dir)
    places.require()
    runs = [run for run in list_runs(places.data_dir) if uids is None or run.uid in uids]
    left = set[str]()
    for run in runs:
        closed = _close(run.uid, run.path) if run.exit_status == "unfinished" else None
        if closed is not None:
            yield closed
            left |= set() if closed.cured else {run.uid}
    damage = "" if places.shared else _damage(places)
    if damage:
        yield _begin_anew(places, damage)
    looked_at = [run.uid for run in runs] if uids is None else uids
    looked_at = [uid for uid in looked_at if uid not in left]
    if not looked_at:
        return
    catalog = open_catalog(data_dir)
    try:
        for uid in looked_at:
            outcome = _verified(uid, data_dir, timeout_s, catalog)
            if not outcome.same:
                yield _take_again(places, outcome, timeout_s, catalog)
    finally:
        close_catalog(catalog)


def left_by_repair(outcomes: Sequence[Verification], data_dir: Path | str) -> dict[str, bool]:
    """Return the runs that `repair` would leave as they are.

    Args:
        outcomes: what `verify` found of runs that differ.
        data_dir: the data folder.

    Returns:
        By uid, whether the catalog holds rows that the journal lacks; else it holds just what can
        be read of a damaged journal.

    Raises:
        CatalogError: if the service does not come up.
    """
    places, left = Places(data_dir), dict[str, bool]()
    if not outcomes:
        return left
    catalog = open_catalog(data_dir)
    try:
        for outcome in outcomes:
            held = bool(why_kept(outcome.uid, places, catalog))
            if held or not outcome.differences:
                left[outcome.uid] = held
    finally:
        close_catalog(catalog)
    return left


def _close(uid: str, path: Path) -> Repaired | None:
    """Close a run without an end; None if its writer lives, or the service was faster."""
    found = "its process died before the run's stop"
    try:
        if close_dead_run(path, by="operando catalog repair", quiet_s=QUIET_S):
            return Repaired(uid, found, "closed as failed; every whole row is kept", True)
    except (OSError, JournalError) as error:
        return Repaired(uid, found, f"the journal cannot be closed: {error}", False)
    if may_be_copied(path):
        waiting = f"nothing yet: it may still be copied; repair again in {QUIET_S:.0f} s"
        return Repaired(uid, found, waiting, False)
    return None


def _damage(places: Places) -> str:
    """Return what is wrong with the catalog's files, empty if nothing is or there are none."""
    for path in (places.metadata_db, places.tables_db):
        if not path.exists():
            if places.catalog.exists() and places.ingested.exists():
                return f"{path.name} is missing"
            continue
        try:
            with closing(sqlite3.connect(path, timeout=10)) as database:
                (told,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                continue
            return f"{path.name}: {error}"
        except sqlite3.DatabaseError as error:
            return f"{path.name}: {error}"
        if told != "ok":
            return f"{path.name}: {told}"
    return _missing_tables(places)


def _missing_tables(places: Places) -> str:
    """Return what is wrong if the rows that runs point at have no table at all."""
    if not (places.metadata_db.exists() and places.tables_db.exists()):
        return ""
    with (
        closing(sqlite3.connect(places.metadata_db, timeout=10)) as runs,
        closing(sqlite3.connect(f"{places.tables_db.as_uri()}?mode=ro", uri=True)) as rows,
    ):
        try:
            named = runs.execute(
                "SELECT DISTINCT json_extract(parameters, '$.table_name') FROM data_sources"
            ).fetchall()
        except sqlite3.OperationalError:  # a new catalog, without tables of its own yet
            return ""
        present = rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    missing = {name for (name,) in named if name} - {name for (name,) in present}
    return f"{places.tables_db.name}: {len(missing)} tables are missing" if missing else ""


def _begin_anew(places: Places, damage: str) -> Repaired:
    stop_service(places.data_dir)
    aside = put_aside(places)
    ensure_service(places.data_dir, wait_s=START_TIMEOUT_S)
    return Repaired(
        "",
        f"the catalog is damaged ({damage})",
        f"put aside as {aside.name}; a new one is made from the journals",
        True,
    )


def _verified(uid: str, data_dir: Path | str, timeout_s: float, catalog: object) -> Verification:
    try:
        return verify(uid, data_dir, timeout_s=timeout_s, catalog=catalog)
    except CatalogError as error:
        return Verification(uid, differences=[str(error)])


def _take_again(
    places: Places, outcome: Verification, timeout_s: float, catalog: object
) -> Repaired:
    uid, found = outcome.uid, "; ".join(outcome.damage + outcome.differences)
    if outcome.lasts:
        return Repaired(uid, found, "nothing: the run is being written", False)
    kept = why_kept(uid, places, catalog)
    if kept:
        return Repaired(uid, found, kept, False)
    if not outcome.differences:
        done = "nothing: the catalog holds what can be read of the journal"
        return Repaired(uid, found, done, False)
    take_again(places, uid)
    after = _verified(uid, places.data_dir, timeout_s, catalog)
    if after.same:
        return Repaired(uid, found, "taken in anew from its journal", True)
    if not after.differences:
        done = "taken in anew, as far as its journal can be read"
        return Repaired(uid, found, done, False)
    return Repaired(uid, found, f"taken in anew; still {'; '.join(after.differences)}", False)
