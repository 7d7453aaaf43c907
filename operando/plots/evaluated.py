"""What every figure of a run needs, each computed once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from pydantic import ValidationError

from operando.analysis import Metric, metrics
from operando.analysis.blocks import left_out_of_run
from operando.analysis.inventory import metal_potential_v
from operando.analysis.metrics import half_cycles_of
from operando.analysis.segments import PLATE, STRIP, HalfCycle
from operando.analysis.steps import StepRows, recorded_steps
from operando.runs import Floats, Run, Stream
from techniques import Cell

_NEEDED = ("t", "potential", "role")


_OF_STEPS = ("current", "cycle", "half_cycle", "step")


@dataclass(frozen=True)
class Span:
    """When a half-cycle was: what a figure needs of one of thousands.

    Attributes:
        cycle: The cycle it belongs to.
        role: -1 plating, +1 stripping.
        begin_s: Time of its first row, s.
        end_s: Time of its last row, s.
        current_a: Magnitude of the current in its middle, A.
    """

    cycle: int
    role: int
    begin_s: float
    end_s: float
    current_a: float


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
        """Return the half-cycles, potentials and currents of the metal electrode.

        They hold every row once more: only what needs the charge at any time asks for them.
        """
        return half_cycles_of(self.run)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Return when each half-cycle was; none without a cell."""
        if self.leader is None or self.cell is None or not _has(self.leader, *_OF_STEPS):
            return ()
        columns = self.leader.columns
        role, half_cycle, t_s, current, cycle = (
            columns[f"potentiostat_{name}"]
            for name in ("role", "half_cycle", "t", "current", "cycle")
        )
        # Of millions of rows only those where something changes are looked at.
        changed = (half_cycle[1:] != half_cycle[:-1]) | (role[1:] != role[:-1])
        edges = [0, *(np.flatnonzero(changed) + 1).tolist(), len(role)]
        parts: dict[float, list[tuple[int, int]]] = {}
        for first, stop in pairwise(edges):
            if role[first] in (PLATE, STRIP) and half_cycle[first] > 0:
                parts.setdefault(float(half_cycle[first]), []).append((first, stop))
        found = []
        for number, stretches in enumerate(parts.values()):
            first, last = stretches[0][0], stretches[-1][1] - 1
            begin, stop = max(stretches, key=lambda part: part[1] - part[0])
            # A program that counts no cycles: plating and stripping are paired.
            told = int(cycle[first]) if cycle[first] > 0 else 1 + number // 2
            ampere = abs(float(current[(begin + stop) // 2]))
            found.append(Span(told, int(role[first]), float(t_s[first]), float(t_s[last]), ampere))
        return tuple(found)

    @cached_property
    def first_plating(self) -> tuple[HalfCycle, ...]:
        """Return the half-cycles until the first plating has ended; without one, none."""
        end_s = next((span.end_s for span in self.spans if span.role == PLATE), None)
        if end_s is None or self.leader is None:
            return ()
        # The rows that follow need not be taken apart for it.
        stop = int(np.argmax(self.leader.columns["potentiostat_t"] > end_s)) or len(self.leader)
        begin = replace(
            self.leader,
            columns={key: values[: stop + 1] for key, values in self.leader.columns.items()},
            time=self.leader.time[: stop + 1],
            joints=tuple(joint for joint in self.leader.joints if joint <= stop),
            holes=tuple(hole for hole in self.leader.holes if hole <= stop),
        )
        halves = half_cycles_of(
            replace(self.run, streams={**self.run.streams, "potentiostat": begin})
        )
        return tuple(half for half in halves if half.t_s[0] <= end_s)

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
        if self.leader is None or not _has(self.leader, *_OF_STEPS):
            return ()
        return recorded_steps(self.run)

    @property
    def leader(self) -> Stream | None:
        """Return the potentiostat's stream, None if it has no rows, or not those of one of ours."""
        stream = self.rows_of("potentiostat")
        return stream if stream is not None and _has(stream, *_NEEDED) else None

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
    def metal_v(self) -> float:
        """Return the potential of the metal among those potentials, V; 0 where it is not known."""
        known_v = 0.0 if self.cell is None else metal_potential_v(self.cell)[0]
        return known_v if np.isfinite(known_v) else 0.0

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
        left_out = left_out_of_run(self.run)
        return frozenset((*range(1, declared + 1), *left_out))

    def potential_label(self, unit: str) -> str:
        """Return an axis label that says what a potential is measured against."""
        reference = None if self.cell is None else self.cell.reference_electrode
        return f"E ({unit} vs {plain(reference)})" if reference else f"Cell potential E ({unit})"

    def why_not(self, *names: str) -> str:
        """Return why metrics have no value, each reason once."""
        reasons = (self.numbers[name].reason for name in names if name in self.numbers)
        return "; ".join(dict.fromkeys(filter(None, reasons))) or "nothing was measured"


def _has(stream: Stream, *names: str) -> bool:
    return all(f"potentiostat_{name}" in stream.columns for name in names)


def plain(text: object) -> str:
    """Return a text of a user's as matplotlib shows it letter by letter: $ begins no formula."""
    return str(text).replace("$", r"\$")
