"""Looking at the runs of a data folder."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from operando.export import Exported, Format
    from operando.search import FoundRuns

logger = logging.getLogger(__name__)


class Records:
    """What a session offers to look at runs with.

    Attributes:
        data_dir: The data folder.
    """

    data_dir: Path

    def runs(self, limit: int | None = 50, **filters: Any) -> "FoundRuns":
        """Return the experiments of the data folder, newest first; they show as a table.

        Args:
            limit: How many at most; None: all.
            filters: As for `operando.search.find_runs`: ``sample="ZN*"``, ``since="7 days"``,
                ``where="ce_mean_pct > 99.5"``, ``columns=["ce_mean_pct"]``, ...

        Raises SearchError if a filter cannot be understood.
        """
        from operando.search import find_runs

        return find_runs(self.data_dir, limit=limit, tell=logger.warning, **filters)

    def report(self, uid: str = "last", *, alone: bool = False) -> str:
        """Return the numbers of a run as a table; ``uid`` may be ``last`` or the beginning of one.

        An experiment that was resumed is one, whichever of its runs is named, unless ``alone``.
        Raises LookupError if there is no such run.
        """
        from operando.analysis import metrics
        from operando.report import text_report
        from operando.runs import Run
        from operando.search import store_metrics, stored_metrics

        run = Run.from_journal(uid, self.data_dir, chain=not alone)
        numbers = stored_metrics(self.data_dir, run)
        if numbers is None:
            numbers = metrics(run)
            store_metrics(self.data_dir, run, numbers)
        return text_report(run, numbers)

    def export(self, uid: str = "last", *, to: "Format", **options: Any) -> "Exported":
        """Write a run in another format and return what was written.

        Arguments, results and errors are those of `operando.export.export_run`.
        """
        from operando.export import export_run

        return export_run(uid, self.data_dir, to=to, **options)


class LazyCatalog:
    """The databroker catalog of a data folder, opened when first used (it costs seconds)."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._opened: Any = None

    def _open(self) -> Any:
        if self._opened is None:
            from operando.catalog import open_catalog

            self._opened = open_catalog(self._data_dir)
        return self._opened

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # IPython asks for many; none is worth starting a service
        return getattr(self._open(), name)

    def __getitem__(self, key: Any) -> Any:
        return self._open()[key]

    def __len__(self) -> int:
        return len(self._open())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._open())

    def __repr__(self) -> str:
        if self._opened is None:
            return f"<catalog of {self._data_dir}, not opened yet: cat[-1] is the newest run>"
        return repr(self._opened)
