"""Electrodes side by side: means over cells, lives of which some were cut short, what is reported.

Metrics in, numbers and tables out; nothing here draws, reads rows or asks an instrument.
"""

from operando.comparison._cells import (
    GROUPS,
    ComparedRun,
    ComparisonError,
    Group,
    compared_run,
)
from operando.comparison._checklist import (
    CHECKLIST,
    SOURCES,
    CheckedItem,
    Item,
    checklist,
    summary_text,
)
from operando.comparison._quantities import QUANTITIES, RADAR, Quantity
from operando.comparison._summary import LIVES, Comparison, GroupLives, Summary, compare
from operando.comparison._tables import comparison_csv, comparison_text, life_text

__all__ = [
    "CHECKLIST",
    "GROUPS",
    "LIVES",
    "QUANTITIES",
    "RADAR",
    "SOURCES",
    "CheckedItem",
    "ComparedRun",
    "Comparison",
    "ComparisonError",
    "Group",
    "GroupLives",
    "Item",
    "Quantity",
    "Summary",
    "checklist",
    "compare",
    "compared_run",
    "comparison_csv",
    "comparison_text",
    "life_text",
    "summary_text",
]
