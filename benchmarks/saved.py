"""The curves of a table that was written before, so that its figure can be drawn anew."""

import re
from collections.abc import Iterator

from benchmarks.table import Curve

# What is counted; how a line of the table names a cost and a count; the name of the cost, if the
# line says "the same"; whether the figure shows it. As `benchmarks.many` writes them.
_LINES = (
    ("runs in the folder", re.compile(r"(a run's number), beside ([\d,]+) others"), "", False),
    ("runs in the folder", re.compile(r"(a run.*), beside ([\d,]+) others"), "", True),
    ("rows in the run", re.compile(r"(a row.*), rows [\d,]+ to ([\d,]+)"), "", True),
    ("rows in the run", re.compile(r"(the newest .*), ([\d,]+) rows on"), "", False),
    (
        "rows in the run",
        re.compile(r"(the same), ([\d,]+) rows ingested"),
        "the service's memory",
        True,
    ),
)


def curves_in(table: str) -> list[Curve]:
    """Return the curves of the sections runs and growth of a table, with its rounded figures.

    Args:
        table: what ``--figure`` wrote beside the figure.

    Raises:
        ValueError: if no line of it belongs to a curve.
    """
    found: dict[tuple[str, str], list[tuple[int, float, str, bool]]] = {}
    for what, figure, unit in _figures(table):
        for over, pattern, name, drawn in _LINES:
            if (told := pattern.fullmatch(what)) is not None:
                count = int(told[2].replace(",", ""))
                found.setdefault((over, name or told[1]), []).append((count, figure, unit, drawn))
                break
    if not found:
        raise ValueError("the table has no line of the sections runs and growth")
    return [
        Curve(
            over,
            what,
            points[0][2],
            [count for count, *_ in points],
            [cost for _, cost, *_ in points],
            points[0][3],
        )
        for (over, what), points in found.items()
    ]


def _figures(table: str) -> Iterator[tuple[str, float, str]]:
    """Yield by line what was measured, its median, and the unit."""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        number, _, unit = cells[1].partition(" ") if len(cells) > 1 else ("", "", "")
        if line.startswith("|") and re.fullmatch(r"[\d,.e+-]*\d", number):
            yield cells[0], _number(number), unit


def _number(text: str) -> float:
    return float(text.replace(",", ""))
