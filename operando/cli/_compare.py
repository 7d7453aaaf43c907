"""The command compare: electrodes side by side."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ._arguments import AddCommand
from ._run_names import resolve_run
from ._terminal import FAILED, OK, say, write_whole

if TYPE_CHECKING:
    from operando.comparison import ComparedRun

_GROUPS = ("electrode", "pair", "electrolyte", "separator", "batch", "protocol", "cell", "all")


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "compare",
        _compare,
        "electrodes side by side: means over cells, lives, what is still to be reported",
        "Means and standard deviations are over cells, never over pooled cycles: runs on cells of "
        "one label (cell_id) count as one cell. Cells that were stopped before they failed count "
        "in lives as what they are. An experiment that was resumed is one run.",
    )
    sub.add_argument("runs", metavar="RUN", nargs="+", help="uids, the beginnings of some, or last")
    sub.add_argument(
        "--group",
        choices=_GROUPS,
        default="electrode",
        help="what the cells of a group have in common (%(default)s: material and coating of the "
        "metal electrode)",
    )
    sub.add_argument(
        "--cell-per-run",
        action="store_true",
        help="each run was made on a cell of its own, whatever its label",
    )
    sub.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write one table with every group and cell"
    )
    sub.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="also write one page with figures, tables and the checklist of what to report",
    )
    sub.add_argument(
        "--figures", type=Path, metavar="FOLDER", help="also write each figure by itself"
    )
    sub.add_argument(
        "--format",
        choices=("pdf", "png", "svg"),
        default="pdf",
        help="what --figures writes (%(default)s)",
    )


def _compare(arguments: argparse.Namespace) -> int:
    from operando.comparison import compare, comparison_csv, comparison_text
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uids = [resolve_run(folder, text) for text in arguments.runs]
    runs = [_loaded(folder, uid) for uid in uids]
    comparison = compare(runs, arguments.group, cell_per_run=arguments.cell_per_run)
    say(comparison_text(comparison))
    if arguments.csv is not None:
        write_whole(arguments.csv, comparison_csv(comparison).encode("utf-8"))
        say(f"Table written: {arguments.csv}")
    if arguments.html is not None:
        from operando.pages import comparison_page

        write_whole(arguments.html, comparison_page(comparison).encode("utf-8"))
        say(f"Page written: {arguments.html}")
    if arguments.figures is not None:
        from operando.plots.compared import compared_sheets

        for drawn in compared_sheets(comparison):
            if drawn.figure is None:
                say(f"No figure {drawn.sheet.name}: {drawn.reason}")
                continue
            path = arguments.figures / f"{drawn.sheet.name}.{arguments.format}"
            write_whole(path, drawn.saved(arguments.format))
            say(f"Drawn in {path}")
    return FAILED if any(run.damage for run in runs) else OK


def _loaded(folder: Path, uid: str) -> "ComparedRun":
    """Return what is compared of a run; its rows are let go before the next one is read."""
    from operando.analysis import metrics
    from operando.comparison import compared_run
    from operando.runs import Run
    from operando.search import store_metrics, stored_metrics

    run = Run.from_journal(uid, folder)
    numbers = stored_metrics(folder, run)
    if numbers is None:
        numbers = metrics(run)
        store_metrics(folder, run, numbers)
    return compared_run(run, numbers)
