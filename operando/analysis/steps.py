"""Elementary steps: which rows belong to one, whatever it did."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

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
        instrument_potential_v: Potential of the working electrode against the other or the
            reference, as the instrument measured it, V.
        instrument_current_a: Current, positive oxidises the working electrode, A.
        mirrored: Whether the metal electrode is the counter electrode.
        ended: Whether a later step began, or the run ended as planned.
    """

    number: int
    role: int
    cycle: int
    half_cycle: int
    t_s: Floats
    step_t_s: Floats
    instrument_potential_v: Floats
    instrument_current_a: Floats
    mirrored: bool
    ended: bool

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def potential_v(self) -> Floats:
        """Return the potential of the metal electrode, V."""
        return -self.instrument_potential_v if self.mirrored else self.instrument_potential_v

    @property
    def current_a(self) -> Floats:
        """Return the current, A, positive when it strips the metal electrode."""
        return -self.instrument_current_a if self.mirrored else self.instrument_current_a

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
    mirrored = (run.start.get("sample") or {}).get("metal_electrode") == "CE"
    columns = rows.columns
    t_s, potential, current, cycle, half_cycle, step, role = (
        columns[f"{device}_{name}"]
        for name in ("t", "potential", "current", "cycle", "half_cycle", "step", "role")
    )
    step_t_s = columns.get(f"{device}_step_t")
    changed = np.zeros(len(t_s) - 1, dtype=np.bool_)
    for column in (step, role, half_cycle):
        changed |= column[1:] != column[:-1]
    inner = [joint - 1 for joint in rows.joints if 0 < joint < len(t_s)]
    changed[inner] = True
    begins = [0, *(int(place) + 1 for place in np.flatnonzero(changed)), len(t_s)]
    succeeded = run.stop is not None and run.stop.get("exit_status") == "success"
    found = []
    for first, stop in pairwise(begins):
        part: slice | NDArray[np.int64] = slice(first, stop)
        if not step[first] > 0 or role[first] == IMPEDANCE or not math.isfinite(role[first]):
            continue
        good = np.isfinite(t_s[part]) & np.isfinite(potential[part]) & np.isfinite(current[part])
        if not good.all():
            part = first + np.flatnonzero(good)
            if not len(part):
                continue
        found.append(
            StepRows(
                number=int(step[first]),
                role=int(role[first]),
                cycle=int(cycle[first]) if math.isfinite(cycle[first]) else 0,
                half_cycle=int(half_cycle[first]) if math.isfinite(half_cycle[first]) else 0,
                t_s=t_s[part],
                step_t_s=np.full(stop - first, math.nan) if step_t_s is None else step_t_s[part],
                instrument_potential_v=potential[part],
                instrument_current_a=current[part],
                mirrored=mirrored,
                ended=stop < len(t_s) or succeeded,
            )
        )
    return tuple(found)
