"""Acceptance: published values sent through plan, wire, record and analysis, and compared.

It tests the software path, not electrochemistry: simulated cells were given or calibrated on most
of the values, so what a row proves is that driver, plan, journal, catalog and analysis lose nothing
on the way. ``python -m operando.acceptance --list`` tells the rows.
"""

from operando.acceptance.measures import Combined, Measured, Numbers, Outcome, Value
from operando.acceptance.rows import Row, Verdict, judge

__all__ = ["Combined", "Measured", "Numbers", "Outcome", "Row", "Value", "Verdict", "judge"]
