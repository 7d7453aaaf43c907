"""Where a moment told by another clock lies on the time base of a run."""

import math

import numpy as np
from numpy.typing import NDArray

from operando.runs import Run

Floats = NDArray[np.float64]
LEADER = "potentiostat"
# A clock that people set by hand is right to about this [s].
CLOCK_UNCERTAINTY_S = 1.0


def leader_times(
    run: Run, epoch_s: Floats | list[float], uncertainty_s: float = CLOCK_UNCERTAINTY_S
) -> tuple[Floats, Floats]:
    """Return between which times of the leader's clock moments lie, s.

    The leader's rows tell its own time and this computer's: the bracket goes from its last row
    before the moment to the first after it, the moment being known to ``uncertainty_s`` only.
    NaN where there is no such row: the moment lies before, or after, all of them.

    Args:
        run: The run.
        epoch_s: Moments on this computer's clock, declared offsets taken off.
        uncertainty_s: How well they are known, s.

    Returns:
        The time before and the time after, each of the moments' length.
    """
    moments = np.asarray(epoch_s, dtype=np.float64)
    leader = run.streams.get(LEADER)
    key = f"{LEADER}_t"
    nowhere = np.full(len(moments), math.nan)
    if leader is None or key not in leader.columns or not len(leader):
        return nowhere, nowhere.copy()
    host = np.maximum.accumulate(np.asarray(leader.time, dtype=np.float64))
    own = np.asarray(leader.columns[key], dtype=np.float64)
    first = np.searchsorted(host, moments - uncertainty_s, side="right") - 1
    last = np.searchsorted(host, moments + uncertainty_s, side="left")
    before = np.where(first >= 0, own[np.maximum(first, 0)], math.nan)
    after = np.where(last < len(own), own[np.minimum(last, len(own) - 1)], math.nan)
    return before, after
