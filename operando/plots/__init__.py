"""Figures of runs, drawn without a window and without touching pyplot's state.

`run_figure` is the one picture of a run for a slide; `SHEETS` are its figures for a page, each
85 or 178 mm wide, drawn by `draw` or all by `drawn_sheets`. The functions that draw one panel into
axes of your own are in the modules: ``potential``, ``cycles``, ``spectra``, ``deposit``, ``raman``,
``gas``. Each says in the panel what is missing, with the reason of the metric.
"""

from operando.plots.evaluated import EvaluatedRun
from operando.plots.overview import run_figure
from operando.plots.sheets import DOUBLE_MM, FORMATS, SHEETS, DrawnSheet, Sheet, draw, drawn_sheets

__all__ = [
    "DOUBLE_MM",
    "FORMATS",
    "SHEETS",
    "DrawnSheet",
    "EvaluatedRun",
    "Sheet",
    "draw",
    "drawn_sheets",
    "run_figure",
]
