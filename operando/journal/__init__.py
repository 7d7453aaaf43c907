"""The append-only journal: one local file per run, written before anything else is told.

The journal is the truth; the catalog, the lists and the replays are made from it. The format is in
``docs/reference/journal.md``.
"""

from ._bulk import documents_in_bulk
from ._cycles import CycleIndex, cycle_index
from ._errors import JournalError
from ._format import Tail
from ._lock import try_lock
from ._reader import JournalReader, documents, inspect, page_of, read_columns, row_times
from ._repair import close_dead_run
from ._roots import journal_path
from ._runs import (
    RunSummary,
    ScanNumbers,
    chain_of,
    count_rows,
    list_runs,
    resolve_uid,
    select_experiments,
    select_runs,
    summaries,
)
from ._writable import check_writable, told
from ._writer import JournalWriter

__all__ = [
    "CycleIndex",
    "JournalError",
    "JournalReader",
    "JournalWriter",
    "RunSummary",
    "ScanNumbers",
    "Tail",
    "chain_of",
    "check_writable",
    "close_dead_run",
    "count_rows",
    "cycle_index",
    "documents",
    "documents_in_bulk",
    "inspect",
    "journal_path",
    "list_runs",
    "page_of",
    "read_columns",
    "resolve_uid",
    "row_times",
    "select_experiments",
    "select_runs",
    "summaries",
    "told",
    "try_lock",
]
