"""Is the bench fit to be run: one report of everything that can be looked at beforehand.

``check`` connects a bench for it, ``check_connected`` is the quick part before a run on one that is
connected. ``limits_of`` tells who keeps which limit.
"""

from operando.checking._cell import judged as judged_at_rest
from operando.checking._check import (
    check,
    check_connected,
    left_out,
    recorded,
)
from operando.checking._guarding import guard_item
from operando.checking._limits import KeptLimit, limits_of, limits_table
from operando.checking._report import CheckFailedError, Item, Report
from operando.room import Estimate, Part, estimate, size_text

__all__ = [
    "CheckFailedError",
    "Estimate",
    "Item",
    "KeptLimit",
    "Part",
    "Report",
    "check",
    "check_connected",
    "estimate",
    "guard_item",
    "judged_at_rest",
    "left_out",
    "limits_of",
    "limits_table",
    "recorded",
    "size_text",
]
