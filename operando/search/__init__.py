"""Finding runs by what they were made of and by their numbers; and keeping those numbers.

What a list tells comes from the journals' index. Metrics of finished runs are kept in
``metrics.db`` of the data folder, computed once for each version of the analysis. Like the index it
is a cache: it can be deleted, and then the numbers are computed again when somebody asks for them.
"""

from ._conditions import OF_LISTS, Condition, SearchError, checked_name, parse_time
from ._find import STATUSES, find_runs
from ._found import FoundRun, FoundRuns, runs_table
from ._store import STORE, evaluate, numbers_of, store_metrics, stored_metrics

__all__ = [
    "OF_LISTS",
    "STATUSES",
    "STORE",
    "Condition",
    "FoundRun",
    "FoundRuns",
    "SearchError",
    "checked_name",
    "evaluate",
    "find_runs",
    "numbers_of",
    "parse_time",
    "runs_table",
    "store_metrics",
    "stored_metrics",
]
