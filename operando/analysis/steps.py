"""Elementary steps: which rows belong to one, whatever it did."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from operando.analysis.segments import PLATE, STRIP
from operando.runs import Floats, Run

# Role codes of rows, as the drivers write them; the same numbers.
REST, IMPEDANCE, GALVANOSTATIC, HOLD, SWEEP, VOLTAMMOGRAM = 0, 2, 3, 4, 5, 6
# Roles at which the current is set, and those at which the potential is.
SET_CURRENT = (PLATE, STRIP, GALVANOSTATIC)
SET_POTENTIAL = (HOLD, SWEEP, VOLTAMMOGRAM)


@dataclass(frozen=True)
class StepRows:
    """The rows of one elementary step.

    Attributes:
        number: Counts the elementary steps that were executed, from 1.
        role: -1 plate, 0 rest, +1 strip, 3 galvanostatic without role, 4 potentiostatic hold,
            5 linear sweep, 6 cyclic voltammetry; a hold with a role has that role's.
        cycle: Cycle number; 0 outside of cycles.
        half_cycle: Number of the half-cycle; a step without role keeps the one before it.
        t_s: Time since the program's start, s.
        step_t_s: Time since the step's edge, s; NaN where it was not recorded.
        potential_v: Potential of the metal electrode against the other or the reference, V.
        current_a: Current, A, positive when it strips the metal electrode.
        instrument_potential_v: As the instrument measured it: of the working electrode, V.
        instrument_current_a: The same for the current: positive oxidises the working electrode, A.
        ended: Whether a later step began, or the run ended as planned.
    """

    number: int
    role: int
    cycle: int
    half_cycle: int
    t_s: Floats
    step_t_s: Floats
    potential_v: Floats
    current_a: Floats
    instrument_potential_v: Floats
    instrument_current_a: Floats
    ended: bool

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def edge_s(self) -> float:
        """Return when the step began, s; its first row's time if its edge was not recorded."""
        since = float(self.step_t_s[0])
        return float(self.t_s[0]) - (since if math.isfinite(since) else 0.0)


def recorded_steps(
    run: Run, *, stream: str = "potentiostat", device: str = "potentiostat"
) -> tuple[StepRows, ...]:
    """Return the elementary steps of a run in their order, finished or not.

    A step that was interrupted and resumed is one per part. Spectra, whose points are another
    stream's, are left out; rows without a finite time, potential or current are, too.

    Args:
        run: The run; without the stream it has no steps.
        stream: Name of the potentiostat's stream.
        device: Name of the potentiostat.
    """
    rows = run.streams.get(stream)
    if rows is None or not len(rows):
        return ()
    sample = run.start.get("sample") or {}
    mirror = -1.0 if sample.get("metal_electrode") == "CE" else 1.0
    columns = rows.columns
    t_s, potential, current, cycle, half_cycle, step, role = (
        columns[f"{device}_{name}"]
        for name in ("t", "potential", "current", "cycle", "half_cycle", "step", "role")
    )
    step_t_s = columns.get(f"{device}_step_t", np.full(len(t_s), math.nan))
    good = np.isfinite(t_s) & np.isfinite(potential) & np.isfinite(current)
    good &= (step > 0) & (role != IMPEDANCE)
    index = np.flatnonzero(good)
    if not len(index):
        return ()
    changed = np.diff(step[index]) != 0
    changed |= (np.diff(role[index]) != 0) | (np.diff(half_cycle[index]) != 0)
    for joint in rows.joints:
        changed |= (index[:-1] < joint) & (index[1:] >= joint)
    begins = [0, *(int(place) + 1 for place in np.flatnonzero(changed)), len(index)]
    succeeded = run.stop is not None and run.stop.get("exit_status") == "success"
    found = []
    for first, stop in pairwise(begins):
        part = index[first:stop]
        found.append(
            StepRows(
                number=int(step[part[0]]),
                role=int(role[part[0]]),
                cycle=int(cycle[part[0]]) if math.isfinite(cycle[part[0]]) else 0,
                half_cycle=int(half_cycle[part[0]]) if math.isfinite(half_cycle[part[0]]) else 0,
                t_s=t_s[part],
                step_t_s=step_t_s[part],
                potential_v=mirror * potential[part],
                current_a=mirror * current[part],
                instrument_potential_v=potential[part],
                instrument_current_a=current[part],
                ended=stop < len(index) or succeeded,
            )
        )
    return tuple(found)
