"""The charge that passed the metal electrode in each direction, row by row as rows come."""

import math
from collections.abc import Mapping

import numpy as np

from operando.analysis.segments import COULOMB_PER_MAH
from operando.runs import Floats

# Of rows of a look at the cell, which are of no step of the experiment; and of rows that were
# collected from the instrument's log.
LOOK, COLLECTED = 64, 32


class PassedCharge:
    """Adds up what reduced the metal electrode and what oxidised it, mAh.

    Between two rows of a step the trapezoid of each direction counts, from a step's begin to its
    first row that row's current: what happened between steps, a spectrum or rows that were lost
    there, counts nothing. Rows without a time or a current are passed over.

    Args:
        mirror: 1 where positive current oxidises the metal electrode, else -1.
        goes_on: Whether the rows are of a run that goes on with another one: what was collected is
            then among what is told of that one.

    Attributes:
        plated_mah: By which it was reduced.
        stripped_mah: By which it was oxidised.
        least_net_mah: The least there was of the first less the second, at any row; 0 at the begin.
        most_net_mah: The most.
    """

    def __init__(self, mirror: float, *, goes_on: bool = False) -> None:
        self._mirror = mirror
        self._left_out = LOOK | COLLECTED if goes_on else LOOK
        self.plated_mah = self.stripped_mah = 0.0
        self.least_net_mah = self.most_net_mah = 0.0
        self._last: tuple[float, float, float] | None = None  # time, current, step

    def add(self, columns: Mapping[str, Floats]) -> None:
        """Take rows: ``t`` and ``current``; ``step``, ``step_t``, ``flags`` if they are told."""
        t_s, current = columns["t"], self._mirror * columns["current"]
        step = columns.get("step", np.zeros(len(t_s)))
        step_t = columns.get("step_t", np.full(len(t_s), math.nan))
        known = np.isfinite(t_s) & np.isfinite(current)
        if "flags" in columns:
            known &= (np.nan_to_num(columns["flags"]).astype(np.int64) & self._left_out) == 0
        t_s, current, step, step_t = (x[known] for x in (t_s, current, step, step_t))
        if not len(t_s):
            return
        before = self._last or (t_s[0], current[0], math.nan)
        t_s, current, step = (
            np.concatenate(([first], rest))
            for first, rest in zip(before, (t_s, current, step), strict=True)
        )
        self._last = float(t_s[-1]), float(current[-1]), float(step[-1])
        dt_s = np.diff(t_s)
        same = np.diff(step) == 0
        into_s = np.minimum(np.where(np.isfinite(step_t), step_t, 0.0), np.maximum(dt_s, 0.0))
        if math.isnan(before[2]):
            into_s[0] = step_t[0] if np.isfinite(step_t[0]) else 0.0
        lasts_s = np.where(same, np.maximum(dt_s, 0.0), np.maximum(into_s, 0.0))
        net_mah = np.full(len(lasts_s), self.plated_mah - self.stripped_mah)
        for sign in (-1.0, 1.0):
            one_way = np.maximum(sign * current, 0.0)
            mean = np.where(same, (one_way[:-1] + one_way[1:]) / 2, one_way[1:])
            charge = float(np.sum(mean * lasts_s)) / COULOMB_PER_MAH
            net_mah -= sign * np.cumsum(mean * lasts_s) / COULOMB_PER_MAH
            if sign < 0:
                self.plated_mah += charge
            else:
                self.stripped_mah += charge
        self.least_net_mah = min(self.least_net_mah, float(net_mah.min()))
        self.most_net_mah = max(self.most_net_mah, float(net_mah.max()))
