"""A comparison as text for a terminal and as CSV for a spreadsheet."""

import csv
import io
from collections.abc import Iterator

from operando.comparison._cells import Group
from operando.comparison._checklist import (
    SOURCES,
    checklist,
    missing_count,
    summary_text,
)
from operando.comparison._summary import LIVES, Comparison, GroupLives, alike
from operando.harmless import spreadsheet_cell
from operando.report import text_table

COLUMNS = (
    "level", "group", "cell", "runs", "quantity", "unit", "value", "standard_deviation",
    "standard_uncertainty", "n", "failed", "reason",
)  # fmt: skip


def comparison_csv(comparison: Comparison) -> str:
    """Return a comparison as one tidy table: a row per group and quantity, one per cell.

    ``level`` tells which: ``group`` (mean, standard deviation over n cells), ``cell`` (its value
    and standard uncertainty; what it rests on is its reason), ``group life`` (median life of n
    cells by Kaplan-Meier, failed of them), ``cell life`` (failed 0: the test's length, its life is
    longer; failed empty: nobody knows, and the cell is not among the n) or ``note`` (what must be
    known of the comparison, in its reason). What is not known is empty, and the reason told.
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(cell) for cell in row] for row in _rows(comparison))
    return target.getvalue()


def _harmless(value: object) -> object:
    """Keep a spreadsheet from taking a text of a user's for a formula of its own."""
    return spreadsheet_cell(value) if isinstance(value, str) else value


def _rows(comparison: Comparison) -> Iterator[tuple[object, ...]]:
    for quantity in comparison.quantities:
        for name, summary in comparison.summaries[quantity.name].items():
            yield (
                "group", name, "", "", quantity.name, quantity.unit, summary.mean, summary.sd, "",
                summary.count, "", summary.reason,
            )  # fmt: skip
            for cell in summary.cells:
                yield (
                    "cell", name, cell.cell, " ".join(cell.runs), quantity.name, quantity.unit,
                    cell.value, "", cell.uncertainty, "", "", cell.reason,
                )  # fmt: skip
    for kind in LIVES:
        for name, lives in comparison.lives[kind].items():
            median = None if lives.survival is None else lives.survival.median_h
            failed = sum(fell for _, fell in lives.cells.values()) if lives.cells else ""
            told = "; ".join(filter(None, (_no_median(lives), left_out_text(lives))))
            yield (
                "group life", name, "", "", f"{kind}_h", "h", median, "", "", len(lives.cells),
                failed, told,
            )  # fmt: skip
            for label, (life, fell) in lives.cells.items():
                yield (
                    "cell life", name, label, "", f"{kind}_h", "h", life, "", "", "", int(fell),
                    "" if fell else "stopped before it failed: its life is longer",
                )  # fmt: skip
            for label, why in lives.left_out.items():
                yield (
                    "cell life", name, label, "", f"{kind}_h", "h", None, "", "", "", "",
                    f"left out, whether it failed is not known: {why}",
                )  # fmt: skip
    for note in comparison.notes:
        yield ("note", "", "", "", "", "", "", "", "", "", "", note)


def _counted(group: Group) -> str:
    return f"{len(group.cells)} cell{'s' * (len(group.cells) > 1)}"


def _no_median(lives: GroupLives) -> str:
    if lives.survival is None or lives.survival.median_h is not None:
        return ""
    return "more than half of the cells had not failed when they were stopped"


def left_out_text(lives: GroupLives) -> str:
    """Return which cells of a group are in no estimate of its lives, and why; empty: none."""
    if not lives.left_out:
        return ""
    return f"left out, whether they failed is not known: {lives.reason}"


def life_text(lives: GroupLives) -> str:
    """Return the median life of a group, how many of its cells failed, how many are left out."""
    out = f"{len(lives.left_out)} left out" if lives.left_out else ""
    if lives.survival is None:
        return f"- ({out})" if out else "-"
    failed = sum(fell for _, fell in lives.cells.values())
    counted = ", ".join(filter(None, (f"{failed} of {len(lives.cells)} failed", out)))
    median = lives.survival.median_h
    if median is not None:
        return f"{median:.4g} ({counted})"
    longest = max(life for life, _ in lives.cells.values())
    return f"> {longest:.4g} ({counted})" if not failed else f"not reached ({counted})"


def _bases(comparison: Comparison) -> list[str]:
    """Return what the values of cells rest on, by quantity and group, alike ones once."""
    lines = []
    for quantity in comparison.quantities:
        for name, summary in comparison.summaries[quantity.name].items():
            told = {one.cell: one.reason for one in summary.cells if one.value is not None}
            told = {cell: reason for cell, reason in told.items() if reason}
            if told:
                lines.append(f"  {quantity.name}, {name}: {alike(told)}")
    return ["", "What the values rest on:", *lines] if lines else []


def comparison_text(comparison: Comparison) -> str:
    """Return a comparison as tables of text: means over cells, lives, what is missing."""
    names = [group.name for group in comparison.groups]
    lines = [
        f"By {comparison.by}: "
        + ", ".join(f"{group.name} ({_counted(group)})" for group in comparison.groups),
        *(f"Note: {note}" for note in comparison.notes),
        "",
    ]
    rows = [
        (
            quantity.name,
            "" if quantity.unit == "1" else quantity.unit,
            *(summary_text(comparison.summaries[quantity.name][name]) for name in names),
        )
        for quantity in comparison.quantities
    ]
    lines += text_table(("quantity", "unit", *names), rows)
    lines += ["", "Mean ± standard deviation over cells (n), never over pooled cycles."]
    lines += _bases(comparison)
    lives = [
        (f"{kind}_h", "h", *(life_text(comparison.lives[kind][name]) for name in names))
        for kind in LIVES
    ]
    if any(run.current_densities_ma_cm2 for group in comparison.groups for run in group.runs):
        lines += ["", *text_table(("life", "unit", *names), lives)]
        lines += ["", "Median by Kaplan-Meier; >: none had failed when the tests were stopped."]
        lines += [
            f"  {kind}_h, {name}: {left_out_text(comparison.lives[kind][name])}"
            for kind in LIVES
            for name in names
            if comparison.lives[kind][name].left_out
        ]
    items = checklist(comparison)
    absent = [one for one in items if any(text is None for text in one.told.values())]
    lines += ["", f"To report: {len(items) - missing_count(items)} of {len(items)} items are told."]
    for one in absent:
        where = [name for name, text in one.told.items() if text is None]
        of = "" if len(where) == len(names) else f" ({', '.join(where)})"
        lines.append(f"  missing: {one.item.text}{of}")
    lines += [f"  after {text}" for text in SOURCES.values()]
    return "\n".join(lines)
