"""The table: as text, as Markdown, as CSV; always generated, never typed."""

import csv
import io
import math
from collections.abc import Mapping, Sequence

from operando.acceptance.conflicts import CONFLICTS
from operando.acceptance.rows import Verdict
from operando.report import number_text

HEADINGS = (
    "id",
    "protocol",
    "sample",
    "quantity",
    "measured",
    "published",
    "tolerance",
    "unit",
    "verdict",
    "value is",
    "kind",
)
TITLE = "Published values through plan, wire, journal, catalog and analysis"
WHAT_IT_IS = (
    "A test of the software path on simulated instruments, not of electrochemistry. `value is` "
    "tells whether the simulated cell was given the value (input), adjusted until it returned it "
    "(calibrated), or returned it by itself (emergent); an identity needs no paper. measured is "
    "+- one standard uncertainty, where the analysis evaluates one. kind: P a model returns it, "
    "I phenomenological input, C consistency, E other evidence, X contradicted by its own source, "
    "or not told how it was measured: never compared."
)
NO_HARDWARE = "hardware evidence: none"


def cells(verdict: Verdict) -> tuple[str, ...]:
    """Return a row's fields as they are printed."""
    row = verdict.row
    measured = verdict.measured
    return (
        row.id,
        row.protocol,
        row.sample,
        row.quantity,
        "-" if measured is None else number_text(measured.value, measured.uncertainty),
        row.published_text,
        row.allowed if row.measure is not None else "-",
        "" if row.unit == "1" else row.unit,
        verdict.word,
        row.value_is,
        row.kind,
    )


def row_text(verdict: Verdict) -> str:
    """Return a row as one line, for the time while others are still measured."""
    row, measured = verdict.row, verdict.measured
    value = "-" if measured is None else number_text(measured.value, measured.uncertainty)
    unit = "" if row.unit == "1" else f" {row.unit}"
    told = f"{row.id} {row.sample}, {row.quantity}: {value}{unit}"
    return f"{told} ({row.published_text}, {row.allowed}): {verdict.word}"


def text_table(verdicts: Sequence[Verdict]) -> str:
    """Return the table for a terminal."""
    lines = [HEADINGS, *(cells(verdict) for verdict in verdicts)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    told = [
        "  ".join(field.ljust(width) for field, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    told.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(told)


def side_by_side(verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """Return a table of what each potentiostat returned of the same rows.

    ``apart`` is the difference of the second from the first in units of their combined standard
    uncertainty; ``-`` where the analysis evaluates none.
    """
    names = list(verdicts)
    lines = [
        ("id", "sample", "quantity", *names, "apart", "published", "tolerance", "unit", "verdicts")
    ]
    for each in zip(*verdicts.values(), strict=True):
        row = each[0].row
        values = [
            "-" if x.measured is None else number_text(x.measured.value, x.measured.uncertainty)
            for x in each
        ]
        words = ", ".join(verdict.word for verdict in each)
        told = (row.published_text, row.allowed, "" if row.unit == "1" else row.unit, words)
        lines.append((row.id, row.sample, row.quantity, *values, _apart(each), *told))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = [
        "  ".join(field.ljust(width) for field, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    why = [f"{x.row.id}: {x.why}" for each in verdicts.values() for x in each if x.word != "ok"]
    return "\n".join([*shown, *dict.fromkeys(why)])


def _apart(each: Sequence[Verdict]) -> str:
    found = [verdict.measured for verdict in each if verdict.measured is not None]
    values = [one.value for one in found if one.value is not None]
    errors = [one.uncertainty for one in found if one.uncertainty is not None]
    if len(values) < 2 or len(errors) < 2 or not any(errors):
        return "-"
    return f"{abs(values[1] - values[0]) / math.hypot(*errors):.1f} u"


def _markdown_table(verdicts: Sequence[Verdict]) -> str:
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(cells(verdict) for verdict in verdicts)]
    return "\n".join(
        "| " + " | ".join(field.replace("|", "\\|") for field in line) + " |" for line in lines
    )


def csv_table(verdicts: Sequence[Verdict]) -> str:
    """Return the rows as comma-separated values, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("id", "protocol", "sample", "quantity", "measured", "standard_uncertainty", "published",
         "tolerance", "unit", "verdict", "value_is", "kind", "source", "why", "remark")
    )  # fmt: skip
    for verdict in verdicts:
        row, measured = verdict.row, verdict.measured
        writer.writerow(
            (
                row.id,
                row.protocol,
                row.sample,
                row.quantity,
                "" if measured is None or measured.value is None else repr(measured.value),
                ""
                if measured is None or measured.uncertainty is None
                else repr(measured.uncertainty),
                row.published_text if row.published is not None else "",
                row.allowed,
                row.unit,
                verdict.word,
                row.value_is,
                row.kind,
                row.source,
                verdict.why,
                row.remark,
            )
        )
    return out.getvalue()


def explained(verdicts: Sequence[Verdict]) -> list[str]:
    """Return a line for each row that is not ok, with why."""
    return [
        f"{verdict.row.id} {verdict.row.sample}, {verdict.row.quantity}: {verdict.word}"
        + (f": {verdict.why}" if verdict.why else "")
        for verdict in verdicts
        if verdict.word != "ok"
    ]


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many rows came out, and how many did not and are not there."""
    words = [verdict.word for verdict in verdicts]
    tried = len(words) - words.count("not tried") - words.count("conflict")
    told = f"{words.count('ok')} of {tried} rows within their tolerance"
    for word in ("MISSED", "not yet", "refused"):
        if word in words:
            told += f", {words.count(word)} {word}"
    return told


def closing(verdicts: Sequence[Verdict]) -> list[str]:
    """Return what stands below the table: what is not ok and why, conflicts, evidence."""
    lines = []
    reasons = explained(verdicts)
    if reasons:
        lines += ["", "Not within tolerance, not there, not tried, or contradicted by its source:"]
        lines += [f"  {line}" for line in reasons]
    rests = [
        f"  {verdict.row.id} {verdict.row.quantity}: {verdict.measured.reason}"
        for verdict in verdicts
        if verdict.row.told and verdict.measured is not None and verdict.measured.reason
    ]
    if rests:
        lines += ["", "What shares rest on:", *rests]
    lines += ["", "Where the sources contradict each other or themselves; told, never fitted:"]
    lines += [f"  {line}" for line in CONFLICTS]
    lines += ["", summary(verdicts), NO_HARDWARE]
    return lines


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the whole table as a Markdown document."""
    lines = [f"# {TITLE}", "", WHAT_IT_IS, "", _markdown_table(verdicts)]
    for line in closing(verdicts):
        lines.append(f"- {line.strip()}" if line.startswith("  ") else line)
        if line.endswith(":"):
            lines.append("")
    return "\n".join(lines) + "\n"
