"""The append-only journal: one local file per run, written before anything else is told.

The journal is the truth; the catalog, the lists and the replays are made from it. The format is in
``docs/reference/journal.md``.
"""

from ._assets import open_asset
from ._bulk import BulkReader, documents_in_bulk
from ._cycles import TELLING, CycleIndex, cycle_index
from ._damage import Damage
from ._deleted import DeletedRaw, deleted_raw, note_deleted
from ._errors import JournalError
from ._format import Tail
from ._instrument_logs import log_may_go, start_documents
from ._lock import is_locked, take_lock, try_lock
from ._reader import (
    JournalReader,
    damage_of,
    documents,
    inspect,
    page_of,
    read_columns,
    row_times,
    salvage,
    telling_documents,
)
from ._repair import QUIET_S, close_dead_run, may_be_copied
from ._roots import journal_path
from ._runs import (
    RunSummary,
    ScanNumbers,
    attachments,
    attachments_of,
    chain_of,
    count_experiments,
    count_rows,
    list_runs,
    remember_damage,
    resolve_uid,
    select_experiments,
    select_runs,
    summaries,
)
from ._writable import check_writable, told
from ._writer import JournalWriter

__all__ = [
    "QUIET_S",
    "TELLING",
    "BulkReader",
    "CycleIndex",
    "Damage",
    "DeletedRaw",
    "JournalError",
    "JournalReader",
    "JournalWriter",
    "RunSummary",
    "ScanNumbers",
    "Tail",
    "attachments",
    "attachments_of",
    "chain_of",
    "check_writable",
    "close_dead_run",
    "count_experiments",
    "count_rows",
    "cycle_index",
    "damage_of",
    "deleted_raw",
    "documents",
    "documents_in_bulk",
    "inspect",
    "is_locked",
    "journal_path",
    "list_runs",
    "log_may_go",
    "may_be_copied",
    "note_deleted",
    "open_asset",
    "page_of",
    "read_columns",
    "remember_damage",
    "resolve_uid",
    "row_times",
    "salvage",
    "select_experiments",
    "select_runs",
    "start_documents",
    "summaries",
    "take_lock",
    "telling_documents",
    "told",
    "try_lock",
]
