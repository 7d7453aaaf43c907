"""From arrays to numbers: pure functions, and `metrics` for a whole run."""

from operando.analysis.metrics import Metric, metrics
from operando.registry import METRICS, Definition

__all__ = ["METRICS", "Definition", "Metric", "metrics"]
