"""Rows of the benchmark's table, and how repeated measurements become one."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was done.
        values: One value per repeat.
        unit: Of the values.
        ratio: How this compares with another line, in words; may be empty.
        wanted: What the median should be, ``>= 12,000`` or ``<= 0.1`` in the values' unit; may be
            empty.
        always: Whether every value should be so.
        without: How many more repeats gave no value.
    """

    what: str
    values: Sequence[float]
    unit: str
    ratio: str = ""
    wanted: str = ""
    always: bool = False
    without: int = 0

    @property
    def median(self) -> float:
        """Return the median of the repeats; raises ValueError if none gave a value."""
        return statistics.median(self.values)

    @property
    def met(self) -> str:
        """Return what was wanted and whether it was reached; empty if nothing was."""
        if not self.wanted:
            return ""
        sign, _, number = self.wanted.partition(" ")
        wanted = float(number.replace(",", ""))
        if not self.values or (self.always and self.without):
            return f"{self.wanted}: **no**"
        found = self.values if self.always else [self.median]
        reached = min(found) >= wanted if sign == ">=" else max(found) <= wanted
        return f"{self.wanted}: {'yes' if reached else '**no**'}"


# What a cost that does not grow may have grown by: single figures differ by a third by chance.
MOST_GROWTH = 1.5


@dataclass(frozen=True)
class Curve:
    """A cost over the number of what was there already.

    Attributes:
        over: What is counted, e.g. ``runs in the folder``.
        what: The cost.
        unit: Of the cost.
        counts: How many there were, rising.
        costs: What the next one cost, as many values.
        drawn: Whether the figure shows it.
    """

    over: str
    what: str
    unit: str
    counts: Sequence[float]
    costs: Sequence[float]
    drawn: bool = True

    @property
    def growth(self) -> Row:
        """Return the last cost over the first, which is not to be more than ``MOST_GROWTH``."""
        told = f"from {self.counts[0]:,} to {self.counts[-1]:,} {self.over}"
        ratio = self.costs[-1] / self.costs[0]
        return Row(f"{self.what}: growth", [ratio], "times", told, f"<= {MOST_GROWTH:g}")


@dataclass(frozen=True)
class Section:
    """Lines that were measured side by side, in the same minutes on the same machine."""

    title: str
    command: str
    rows: Sequence[Row]
    note: str = ""
    curves: Sequence[Curve] = ()


def markdown(section: Section) -> str:
    """Return a section as a heading and a table."""
    lines = [f"## {section.title}", "", f"`{section.command}`", ""]
    lines += ["| what | median | lowest to highest | repeats | wanted | |"]
    lines += ["|---|---:|---:|---:|---|---|"]
    for row in section.rows:
        repeats = str(len(row.values))
        if row.without:
            repeats += f" of {len(row.values) + row.without}"
        median, spread = "-", "-"
        if row.values:
            median = f"{figure_text(row.median)} {row.unit}"
            spread = f"{figure_text(min(row.values))} to {figure_text(max(row.values))}"
        lines.append(f"| {row.what} | {median} | {spread} | {repeats} | {row.met} | {row.ratio} |")
    if section.note:
        lines += ["", section.note]
    return "\n".join([*lines, ""])


def figure_text(value: float) -> str:
    """Return a value as a person reads it: three digits, thousands with commas."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes, s."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def interleaved(
    works: Mapping[str, Callable[[], float]], repeats: Mapping[str, int]
) -> dict[str, list[float]]:
    """Return each work's values; the works take turns, so that a busy minute hits all of them."""
    values: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(max(repeats.values())):
        for name, work in works.items():
            if turn < repeats[name]:
                values[name].append(work())
    return values
