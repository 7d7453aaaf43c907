"""Run rows and print the table: ``python -m operando.acceptance [ROW ...]``."""

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from operando.acceptance import makers
from operando.acceptance.campaign import JOBS, Found, Tell, clock_text, expected_s, run_all
from operando.acceptance.evidence import EVIDENCE_ROWS
from operando.acceptance.full_cells import FULL_CELL_ROWS
from operando.acceptance.measures import Outcome
from operando.acceptance.rows import Row, Verdict, judge
from operando.acceptance.rows_of_identities import IDENTITY_ROWS
from operando.acceptance.running import POTENTIOSTATS, STANDARD_POTENTIOSTAT
from operando.acceptance.sodium import SODIUM_ROWS
from operando.acceptance.table import (
    NO_HARDWARE,
    TITLE,
    WHAT_IT_IS,
    closing,
    csv_table,
    markdown,
    row_text,
    side_by_side,
    text_table,
)
from operando.acceptance.zinc import ZINC_ROWS
from operando.catalog import ensure_service
from operando.settings import data_dir

ROWS: tuple[Row, ...] = (
    *SODIUM_ROWS,
    *FULL_CELL_ROWS,
    *ZINC_ROWS,
    *IDENTITY_ROWS,
    *EVIDENCE_ROWS,
)
SEEDS = 20
MEDIAN_TOLERANCE = 0.15


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Run the rows that are asked for.

    Returns:
        0 if every row that is tried lies within its tolerance; 1 if one missed, or a part of the
        project that it needs is not there, or makers' potentiostats do not agree; 2 if there is no
        such row.
    """
    out = out or sys.stdout
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.potentiostats and options.csv is not None:
        parser.error("--potentiostats writes no --csv; it writes --markdown")
    rows = lives(options.seeds) if options.long else list(ROWS)
    unknown = {name.upper() for name in options.rows} - {row.id.upper() for row in rows}
    if unknown:
        sys.stderr.write(f"no row is called {', '.join(sorted(unknown))}; --list tells them\n")
        return 2
    if options.rows:
        wanted = {name.upper() for name in options.rows}
        rows = [row for row in rows if row.id.upper() in wanted]
    if options.list:
        out.write(_listed(rows) + "\n")
        return 0
    return _run(rows, options, out)


def _run(rows: Sequence[Row], options: argparse.Namespace, out: TextIO) -> int:
    lock = threading.Lock()

    def tell(line: str) -> None:
        with lock:
            out.write(line + "\n")
            out.flush()

    begun = time.monotonic()
    folder = (options.data or _folder()).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    ensure_service(folder)
    if options.potentiostats:
        return _on_each(rows, folder, tell, options)
    seeds = tuple(range(options.seeds)) if options.long else (options.seed,)
    wanted = _wanted(rows, seeds)
    expected = clock_text(expected_s(wanted, options.jobs))
    tell(
        f"{len(wanted)} simulated experiments, {options.jobs} at a time and one that waits for its "
        f"clock; about {expected} on two quiet cores;"
    )
    tell(f"runs, and what really happened in them (sim_truth), are kept in {folder}")
    if options.potentiostat != STANDARD_POTENTIOSTAT:
        return _beside(rows, wanted, seeds, folder, tell, options)
    judging = _Judging(rows, seeds, tell)
    outcomes = run_all(wanted, folder, tell, options.jobs, judging)
    verdicts = [judge(row, outcomes, seeds) for row in rows]
    tell("")
    tell(TITLE)
    tell(WHAT_IT_IS)
    tell("")
    tell(text_table(verdicts))
    for line in closing(verdicts)[:-1]:
        tell(line)
    tell(f"in {clock_text(time.monotonic() - begun)}")
    tell(closing(verdicts)[-1])
    for path, made in ((options.markdown, markdown), (options.csv, csv_table)):
        if path is not None:
            path.write_text(made(verdicts), encoding="utf-8")
    return 1 if any(verdict.word in ("MISSED", "not yet", "refused") for verdict in verdicts) else 0


def _beside(
    rows: Sequence[Row],
    wanted: Sequence[tuple[str, int]],
    seeds: tuple[int, ...],
    folder: Path,
    tell: Tell,
    options: argparse.Namespace,
) -> int:
    """Run everything on the standard potentiostat and on another; tell both side by side.

    Neither measures the spectra that only come between half-cycles, so that both run the same.
    Returns 1 if a row that the other can measure missed.
    """
    verdicts: dict[str, list[Verdict]] = {}
    for potentiostat in (STANDARD_POTENTIOSTAT, options.potentiostat):
        tell(f"on {potentiostat}:")
        leader = ("--potentiostat", potentiostat, "--without-spectra")
        found = run_all(wanted, folder, tell, options.jobs, leader=leader)
        verdicts[potentiostat] = [judge(row, found, seeds) for row in rows]
    tell("")
    tell(f"{TITLE}, on two makers' potentiostats")
    tell("")
    tell(side_by_side(verdicts))
    return int(any(verdict.word == "MISSED" for each in verdicts.values() for verdict in each))


def _on_each(rows: Sequence[Row], folder: Path, tell: Tell, options: argparse.Namespace) -> int:
    """Ask every maker's potentiostat for every short row; tell all side by side.

    Numbers that are not made of spectra come from runs without those that can be left out, on each
    of them: an instrument that measures none can run the rest. Returns 1 if a row missed, or two
    of them do not agree.
    """
    begun = time.monotonic()
    kept, left = makers.chosen(rows)
    seeds = (options.seed,)
    parts = (
        ([row for row in kept if not makers.needs_spectra(row)], ("--without-spectra",)),
        ([row for row in kept if makers.needs_spectra(row)], ()),
    )
    total_s = sum(expected_s(_wanted(part, seeds), options.jobs) for part, _ in parts)
    tell(
        f"{len(kept)} rows on each of {', '.join(POTENTIOSTATS)}; some "
        f"{clock_text(len(POTENTIOSTATS) * total_s)} on two quiet cores, less what they refuse;"
    )
    tell(f"runs, and what really happened in them (sim_truth), are kept in {folder}")
    found: dict[int, dict[str, dict[tuple[str, int], Outcome]]] = {0: {}, 1: {}}
    for name in POTENTIOSTATS:
        for number, (part, without) in enumerate(parts):
            tell(f"on {name}, {'spectra' if number else 'what needs no spectrum'}:")
            leader = ("--potentiostat", name, *without)
            wanted = _wanted(part, seeds)
            found[number][name] = run_all(wanted, folder, tell, options.jobs, leader=leader)
    told: list[makers.Compared] = []
    for row in kept:
        outcomes = found[int(makers.needs_spectra(row))]
        verdicts = {name: judge(row, outcomes[name], seeds) for name in POTENTIOSTATS}
        told.append(makers.compared(row, verdicts, outcomes))
    title = f"{TITLE}, on each maker's potentiostat"
    below = [*makers.closing(told, left), NO_HARDWARE]
    for line in ("", title, "", makers.table(told), "", *below):
        tell(line)
    tell(f"in {clock_text(time.monotonic() - begun)}")
    if options.markdown is not None:
        options.markdown.write_text(makers.markdown(title, told, below), encoding="utf-8")
    return int(any(one.failed for one in told))


class _Judging:
    """Tells each row as soon as all of its experiments have ended."""

    def __init__(self, rows: Sequence[Row], seeds: tuple[int, ...], tell: Tell) -> None:
        self._waiting = [row for row in rows if row.measure is not None]
        self._seeds, self._tell = seeds, tell

    def __call__(self, outcomes: Found) -> None:
        ready = [
            row for row in self._waiting if outcomes.keys() >= set(_wanted([row], self._seeds))
        ]
        for row in ready:
            self._waiting.remove(row)
            verdict: Verdict = judge(row, outcomes, self._seeds)
            self._tell(row_text(verdict))


def _wanted(rows: Sequence[Row], seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Return which experiments rows need, and with which seeds, each once."""
    wanted = [
        (name, seed)
        for row in rows
        for name in row.experiments
        for seed in (range(row.seeds) if row.seeds > 1 else seeds)
    ]
    return list(dict.fromkeys(wanted))


def _folder() -> Path:
    """Return a data folder of its own beside the user's: nobody looks for these runs in theirs."""
    own = data_dir()
    return own.with_name(f"{own.name}-acceptance")


def lives(seeds: int = SEEDS) -> list[Row]:
    """Return the rows whose medians over many seeds are compared, with the tolerance of those.

    A life that was told as a lower bound stays one.
    """
    return [
        replace(
            row,
            tolerance=MEDIAN_TOLERANCE if row.compared == "equal" else 0.0,
            quantity=f"{row.quantity}, median of {seeds} seeds",
            remark="",
        )
        for row in ROWS
        if row.life
    ]


def _listed(rows: Sequence[Row]) -> str:
    lines = [
        (row.id, row.protocol, row.sample, row.quantity, ", ".join(row.experiments) or "-")
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join(field.ljust(width) for field, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m operando.acceptance", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="e.g. A1 B3; by default all")
    parser.add_argument("--list", action="store_true", help="tell the rows and end")
    parser.add_argument("--long", action="store_true", help="lives, as medians of many seeds")
    parser.add_argument("--seeds", type=_count, default=SEEDS, help="how many, with --long")
    parser.add_argument("--seed", type=int, default=0, help="of cells and instruments")
    parser.add_argument(
        "--jobs", type=_count, default=JOBS, help="experiments that compute at a time"
    )
    parser.add_argument(
        "--potentiostat",
        choices=POTENTIOSTATS,
        default=STANDARD_POTENTIOSTAT,
        help="another maker's: runs on it as well as on the standard one, told side by side",
    )
    parser.add_argument(
        "--potentiostats",
        action="store_true",
        help="the short rows on every maker's, side by side, and whether these agree",
    )
    parser.add_argument("--data", type=Path, help="data folder; by default one beside yours")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--csv", type=Path, help="also write it as comma-separated values")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is none; give 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
