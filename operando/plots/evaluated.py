"""What every figure of a run needs, each computed once."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from pydantic import ValidationError

from operando.analysis import Metric, metrics
from operando.analysis.blocks import left_out_of_means
from operando.analysis.metrics import half_cycles_of
from operando.analysis.segments import HalfCycle
from operando.analysis.steps import StepRows, recorded_steps
from operando.runs import Floats, Run, Stream
from techniques import Cell

_NEEDED = {f"potentiostat_{name}" for name in ("t", "potential", "role")}


_OF_STEPS = {f"potentiostat_{name}" for name in ("current", "cycle", "half_cycle", "step")}


class EvaluatedRun:
    """A run with its metrics and half-cycles, for drawing.

    Attributes:
        run: The run, finished or not.
        numbers: Its metrics, by name.
    """

    def __init__(self, run: Run, numbers: Mapping[str, Metric] | None = None) -> None:
        """Take a run, and its metrics if they are known already."""
        self.run = run
        self.numbers = metrics(run) if numbers is None else numbers

    @cached_property
    def halves(self) -> tuple[HalfCycle, ...]:
        """Return the half-cycles, potentials and currents of the metal electrode."""
        return half_cycles_of(self.run)

    @cached_property
    def cell(self) -> Cell | None:
        """Return the cell that the start document describes, None if it describes none."""
        try:
            return Cell.model_validate(self.run.start.get("sample"))
        except ValidationError:
            return None

    @cached_property
    def steps(self) -> tuple[StepRows, ...]:
        """Return the elementary steps of the program, spectra left out; none if not recorded."""
        if self.leader is None or not self.leader.columns.keys() >= _OF_STEPS:
            return ()
        return recorded_steps(self.run)

    @property
    def leader(self) -> Stream | None:
        """Return the potentiostat's stream, None if it has no rows, or not those of one of ours."""
        stream = self.rows_of("potentiostat")
        return stream if stream is not None and stream.columns.keys() >= _NEEDED else None

    def rows_of(self, stream: str) -> Stream | None:
        """Return a stream, None if it is not there or has no rows."""
        found = self.run.streams.get(stream)
        return found if found is not None and len(found) else None

    @cached_property
    def potential_v(self) -> Floats:
        """Return the leader's potentials, of the metal electrode against the other, V, by row."""
        if self.leader is None:
            return np.empty(0)
        potential = self.leader.columns["potentiostat_potential"]
        mirrored = self.cell is not None and self.cell.metal_electrode == "CE"
        return -potential if mirrored else potential

    @cached_property
    def time_unit(self) -> tuple[float, str]:
        """Return the unit of the leader's time: seconds in it, and its symbol."""
        if self.leader is None:
            return 60.0, "min"
        longest_s = float(np.nanmax(self.leader.columns["potentiostat_t"], initial=0.0))
        if longest_s > 100 * 3600:
            return 86400.0, "d"
        return (3600.0, "h") if longest_s > 2 * 3600 else (60.0, "min")

    def moment(self, at_s: float) -> str:
        """Return a time since the program's begin in words."""
        if not np.isfinite(at_s):
            return "before the start" if at_s < 0 else "after the end"
        scale, unit = self.time_unit
        return f"{at_s:.0f} s" if abs(at_s) < 100 else f"{at_s / scale:.2f} {unit}"

    @cached_property
    def formation(self) -> frozenset[int]:
        """Return the cycles that are formation or left out of means by the program."""
        declared = 0 if self.cell is None else self.cell.formation_cycles
        left_out = left_out_of_means(self.run.start.get("technique"))
        return frozenset((*range(1, declared + 1), *left_out))

    def potential_label(self, unit: str) -> str:
        """Return an axis label that says what a potential is measured against."""
        reference = None if self.cell is None else self.cell.reference_electrode
        return f"E ({unit} vs {plain(reference)})" if reference else f"Cell potential E ({unit})"

    def why_not(self, *names: str) -> str:
        """Return why metrics have no value, each reason once."""
        reasons = (self.numbers[name].reason for name in names if name in self.numbers)
        return "; ".join(dict.fromkeys(filter(None, reasons))) or "nothing was measured"


def plain(text: object) -> str:
    """Return a text of a user's as matplotlib shows it letter by letter: $ begins no formula."""
    return str(text).replace("$", r"\$")
