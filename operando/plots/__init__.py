"""Figures of runs, drawn without a window and without touching pyplot's state."""

from operando.plots.figure import run_figure

__all__ = ["run_figure"]
