"""Commands that read the record: runs, report, replay, export."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arguments import AddCommand, add_run, count, positive
from ._run_names import NoSuchRunError, resolve_run
from ._terminal import FAILED, OK, complain, say, write_whole

if TYPE_CHECKING:
    from operando.analysis import Metric
    from operando.export import Author
    from operando.runs import Run

SHOWN_RUNS = 50


def declare(add: AddCommand) -> None:
    """Add the commands."""
    _add_runs(
        add(
            "runs",
            _runs,
            "find what has been recorded, newest first",
            "Conditions add up. An experiment that was resumed is one line, named by its first "
            "run. Metrics are those of the report, stored when a report or the end of a run has "
            "computed them; --where and --columns compute what is missing, once.",
        )
    )

    sub = add(
        "report",
        _report,
        "the numbers of a run: efficiencies, overpotentials, resistances, ...",
        "What cannot be told from a run is shown as missing, with the reason. An experiment that "
        "was resumed is one, whichever of its runs is named.",
    )
    add_run(sub)
    _add_alone(sub)
    sub.add_argument(
        "--recompute",
        action="store_true",
        help="compute the numbers anew, also where those of the finished run are stored",
    )
    sub.add_argument("--json", action="store_true", help="as one object")
    sub.add_argument("--figure", type=Path, metavar="FILE", help="also draw the run (png, pdf)")
    sub.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="also write one page with everything in it: sample, figures, metrics, provenance",
    )
    sub.add_argument(
        "--figures",
        type=Path,
        metavar="FOLDER",
        help="also write each figure of the run at the width of a journal's columns",
    )
    sub.add_argument(
        "--format",
        choices=("pdf", "png", "svg"),
        default="pdf",
        help="what --figures writes (%(default)s; png: 300 dots per inch)",
    )
    _add_source(sub)

    sub = add(
        "replay",
        _replay,
        "see a recorded run happen again, then its numbers",
        "Nothing is written: neither journal nor catalog is touched.",
    )
    add_run(sub)
    sub.add_argument(
        "--speed",
        type=positive,
        metavar="N",
        help="times real time of the recording; by default as fast as it can be read",
    )
    sub.add_argument(
        "--cycle", type=int, metavar="N", help="begin with the first row of this cycle"
    )
    _add_alone(sub)
    _add_source(sub)
    sub.add_argument("--json", action="store_true", help="only the numbers, as report --json")
    sub.add_argument("--figure", type=Path, metavar="FILE", help="also draw the run (png, pdf)")

    sub = add(
        "export",
        _export,
        "write a run in another format: bdf, nexus, parquet, csv, rocrate",
        "A run that continues others is exported with them; one that still grows as far as it has "
        "come. Nothing is overwritten, and nothing half-done is left.",
    )
    add_run(sub)
    sub.add_argument(
        "--to", required=True, choices=("bdf", "nexus", "parquet", "csv", "rocrate"), help="which"
    )
    sub.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="where to: a file for nexus (.nxs), a folder otherwise; a .bdf.csv, .bdf.parquet or "
        "a crate's .zip is a file, too (by default a name of its own in the working folder)",
    )
    sub.add_argument("--force", action="store_true", help="replace what exists")
    sub.add_argument("--table", choices=("csv", "parquet"), help="bdf: which kind of table (csv)")
    sub.add_argument(
        "--institution",
        metavar="CODE",
        default=os.environ.get("OPERANDO_INSTITUTION"),
        help="bdf, rocrate: the institution's code in the table's name ($OPERANDO_INSTITUTION)",
    )
    sub.add_argument(
        "--license",
        metavar="SPDX",
        help="rocrate: an SPDX identifier like CC-BY-4.0, or an address",
    )
    sub.add_argument(
        "--author",
        metavar="NAME, ORCID, AFFILIATION",
        type=_author,
        action="append",
        default=[],
        help="rocrate, nexus: who made the data; may be given several times",
    )
    sub.add_argument(
        "--link",
        action="store_true",
        help="nexus: point at the files of frames and spectra instead of copying them",
    )


def _add_runs(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--sample", metavar="TEXT", help="name of the sample; texts may hold * and ?")
    sub.add_argument("--electrode", metavar="TEXT", help="material of one of the electrodes")
    sub.add_argument("--electrolyte", metavar="TEXT", help="composition of the electrolyte")
    sub.add_argument("--technique", metavar="TEXT", help="type of technique: plate_strip_cycle")
    sub.add_argument("--protocol", metavar="TEXT", help="name of the protocol or plan")
    sub.add_argument(
        "--status", metavar="STATUS", help="success, abort, fail, running or unfinished"
    )
    sub.add_argument(
        "--since", metavar="WHEN", help="2026-11-26, '2026-11-26 14:30', yesterday, '7 days'"
    )
    sub.add_argument("--until", metavar="WHEN", help="the same; a date means its end")
    sub.add_argument(
        "--where",
        metavar="CONDITION",
        action="append",
        default=[],
        help="a condition on a metric, 'ce_mean_pct > 99.5'; of a list .first, .last or .mean; "
        "may be repeated",
    )
    sub.add_argument(
        "--columns",
        metavar="NAMES",
        action="append",
        default=[],
        help="metrics to show, separated by commas",
    )
    sub.add_argument("-n", "--newest", type=count, metavar="N", help="so many, else 50")
    sub.add_argument("--all", action="store_true", help="all that are found")
    sub.add_argument("--recompute", action="store_true", help="compute stored metrics anew")
    sub.add_argument(
        "--damaged",
        action="store_true",
        help="with --where: also runs whose record is damaged, by the numbers of what is left",
    )
    sub.add_argument("--json", action="store_true", help="all as a list of objects")


def _add_alone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--alone",
        action="store_true",
        help="of this run alone, without those it continues or that continue it",
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="source",
        choices=("journal", "catalog"),
        default="journal",
        help="where the run is read from; both hold the same (%(default)s)",
    )


def _author(text: str) -> "Author":
    from operando.export import Author

    try:
        return Author.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _runs(arguments: argparse.Namespace) -> int:
    from operando.search import find_runs, runs_table
    from operando.settings import existing_data_dir

    limit = arguments.newest
    if limit is None and not (arguments.all or arguments.json):
        limit = SHOWN_RUNS
    asked = ("sample", "electrode", "electrolyte", "technique", "protocol", "status")
    folder = existing_data_dir()
    found = find_runs(
        folder,
        **{name: getattr(arguments, name) for name in asked},
        since=arguments.since,
        until=arguments.until,
        where=arguments.where,
        columns=[name for each in arguments.columns for name in each.split(",") if name],
        limit=limit,
        recompute=arguments.recompute,
        damaged=arguments.damaged,
        tell=complain,
    )
    for note in found.notes:
        complain(note)
    if arguments.json:
        say(json.dumps([run.as_json() for run in found], indent=2, allow_nan=False))
        return OK
    if found:
        say(runs_table(found))
        if found.left_out:
            say(f"... and {found.left_out} older (--all)")
        return OK
    filters = [*(getattr(arguments, name) for name in asked), arguments.since, arguments.until]
    if arguments.where or any(filters):
        say(f"No runs in {folder} are like this.")
    else:
        say(f"No runs in {folder} yet.")
    return OK


def _report(arguments: argparse.Namespace) -> int:
    from operando.analysis import metrics
    from operando.runs import Run
    from operando.search import store_metrics, stored_metrics
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uid = resolve_run(folder, arguments.run)
    if arguments.source == "catalog":
        _wait_for_catalog(folder, uid, alone=arguments.alone)
        run = Run.from_catalog(uid, folder, chain=not arguments.alone)
    else:
        run = Run.from_journal(uid, folder, chain=not arguments.alone)
    numbers = None if arguments.recompute else stored_metrics(folder, run)
    if numbers is None:
        numbers = metrics(run)
        store_metrics(folder, run, numbers)
    return _say_numbers(run, numbers, arguments)


def _replay(arguments: argparse.Namespace) -> int:
    from operando.analysis import metrics
    from operando.journal import journal_path
    from operando.live import LiveTable
    from operando.replay import replay
    from operando.runs import (
        RunBuilder,
        join,
        told_catalog_damage,
        told_damage,
        with_attachments,
    )
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    uid = resolve_run(folder, arguments.run)
    builders: list[RunBuilder] = []

    def build(name: str, doc: "Mapping[str, Any]") -> None:
        if name == "start":
            builders.append(RunBuilder())
        builders[-1](name, doc)

    callbacks: list[Callable[[str, Mapping[str, Any]], object]] = [build]
    if not arguments.json:
        callbacks.append(LiveTable(sys.stdout))
    if arguments.source == "catalog":
        _wait_for_catalog(folder, uid, alone=arguments.alone)
    try:
        replay(
            uid,
            folder,
            callbacks,
            speed=arguments.speed,
            source=arguments.source,
            from_cycle=arguments.cycle,
            chain=not arguments.alone,
        )
    except LookupError as error:  # no such cycle
        raise NoSuchRunError(str(error)) from error
    runs = [builder.run for builder in builders]
    whole = arguments.cycle is None
    if arguments.source == "journal":
        runs = [told_damage(run, journal_path(folder, run.uid), whole=whole) for run in runs]
    else:
        runs = [told_catalog_damage(run, folder, whole=whole) for run in runs]
    own = [run for run in runs if "attachment_of" not in run.start]
    run = with_attachments(join(own), [one for one in runs if "attachment_of" in one.start])
    return _say_numbers(run, metrics(run), arguments)


def _wait_for_catalog(folder: Path, uid: str, *, alone: bool) -> None:
    from operando.catalog import wait_until_ingested
    from operando.journal import attachments_of, chain_of

    members = (uid,) if alone else chain_of(folder, uid)
    for member in (*members, *attachments_of(folder, members)):
        wait_until_ingested(folder, member)


def _say_numbers(run: "Run", numbers: "Mapping[str, Metric]", arguments: argparse.Namespace) -> int:
    """Show a run's numbers; return the exit status, which tells if they are of the whole run."""
    _say_report(run, numbers, as_json=arguments.json)
    if arguments.figure is not None:
        from operando.plots import run_figure

        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        run_figure(run, numbers).savefig(arguments.figure, dpi=150)
        if not arguments.json:
            say(f"Drawn in {arguments.figure}")
    _write_pages(run, numbers, arguments)
    if arguments.json:
        for sentence in run.damage:
            complain(sentence)
    return FAILED if run.damage else OK


def _write_pages(
    run: "Run", numbers: "Mapping[str, Metric]", arguments: argparse.Namespace
) -> None:
    """Write the page of a run and its figures, where they were asked for."""
    tell = complain if arguments.json else say
    if getattr(arguments, "html", None) is not None:
        from operando.pages import report_page

        write_whole(arguments.html, report_page(run, numbers).encode("utf-8"))
        tell(f"Page written: {arguments.html}")
    if getattr(arguments, "figures", None) is not None:
        from operando.plots import EvaluatedRun, drawn_sheets

        for drawn in drawn_sheets(EvaluatedRun(run, numbers)):
            name = drawn.sheet.name
            if drawn.figure is None:
                tell(f"No figure {name}: {drawn.reason}")
                continue
            path = arguments.figures / f"{name}.{arguments.format}"
            write_whole(path, drawn.saved(arguments.format))
            tell(f"Drawn in {path}")


def _say_report(run: "Run", numbers: "Mapping[str, Metric]", *, as_json: bool) -> None:
    from operando.report import json_report, text_report

    say(json_report(run, numbers) if as_json else text_report(run, numbers))


def _export(arguments: argparse.Namespace) -> int:
    from operando.export import export_run
    from operando.settings import existing_data_dir

    folder = existing_data_dir()
    written = export_run(
        resolve_run(folder, arguments.run),
        folder,
        to=arguments.to,
        output=arguments.output,
        force=arguments.force,
        table=arguments.table,
        institution=arguments.institution,
        license=arguments.license,
        authors=arguments.author,
        link=arguments.link,
    )
    for path in written:
        say(str(path))
    return FAILED if written.damage else OK
