"""Soft shorts seen in the potential: it falls in one step while the current stays."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operando.analysis.overpotential import noise_v
from operando.analysis.segments import HalfCycle
from operando.runs import Floats
from techniques import DropCriteria


@dataclass(frozen=True)
class Drop:
    """One event.

    Attributes:
        t_s: Time of the first row after the fall, s.
        sure_s: Time of the row that confirmed it, s.
        before_v: Driving potential before, V: the rolling median.
        after_v: Mean of the two rows after it, V.
        current_a: Current, A, magnitude.
    """

    t_s: float
    sure_s: float
    before_v: float
    after_v: float
    current_a: float

    @property
    def share_left(self) -> float:
        """Return what is left of the driving potential, 0 to 1."""
        return self.after_v / self.before_v

    @property
    def resistance_ohm(self) -> float | None:
        """Return the resistance of the short beside a cell taken as linear, ohm.

        Of the current i, i E'/E still goes through the cell: R_sh = E' / (i (1 - E'/E)). None where
        the potential fell to zero or beyond.
        """
        through = self.current_a * (1 - self.share_left)
        return self.after_v / through if self.after_v > 0 and through > 0 else None


class StepDropDetector:
    """Finds sudden falls of the driving potential in the rows of half-cycles, as they come.

    The driving potential is that of the metal electrode against the other (against a reference:
    less the metal's own) with the sign of its current: positive where the current has to be driven.
    What is found does not depend on how the rows are grouped: each is judged by itself, those
    before it and the one after it. After an event no other is told before the potential has
    recovered.
    """

    def __init__(self, criteria: DropCriteria | None = None) -> None:
        self.criteria = DropCriteria() if criteria is None else criteria
        told_v = self.criteria.least_v
        self._least_v = _LEAST_V if told_v is None else told_v
        self.edge()

    def edge(self) -> None:
        """Begin a half-cycle, or go on with one that was interrupted."""
        self._kept = np.empty((3, 0))  # time, driving potential and current of the last rows
        self._known = 0  # rows since the edge that are no longer kept
        self._before_v: float | None = None  # while the potential is down
        self._recovered_v = math.nan
        self._rolling_from = 0

    def add(self, t_s: Floats, drive_v: Floats, current_a: Floats) -> list[Drop]:
        """Take rows and return the events that they made sure.

        Args:
            t_s: Time, s.
            drive_v: Driving potential, V.
            current_a: Current, A, of any sign.
        """
        new = np.stack((t_s, drive_v, np.abs(current_a)))
        begin = max(self._kept.shape[1] - 1, 0)  # the last row waits for the one after it
        rows = new if not self._kept.shape[1] else np.concatenate((self._kept, new), axis=1)
        found = list(self._judged(rows, begin)) if rows.shape[1] - begin > 1 else []
        spare = rows.shape[1] - self.criteria.window - 2
        if spare > 0:
            self._known += spare
            rows = rows[:, spare:]
        self._kept = rows if rows.base is None else rows.copy()
        return found

    def _judged(self, rows: NDArray[np.float64], begin: int) -> Iterator[Drop]:
        t_s, drive_v, current_a = rows
        end = len(t_s) - 1
        candidates = self._candidates(drive_v, begin, end)
        row = begin
        while row < end:
            if self._before_v is not None:
                level = self.criteria.recovered * self._before_v
                back = np.flatnonzero(drive_v[row:end] >= level)
                if not len(back):
                    return
                row += int(back[0]) + 1
                self._recovered_v, self._before_v = self._before_v, None
                self._rolling_from = self._known + row + self.criteria.after_edge - 1
                continue
            if self._known + row < self._rolling_from:
                median = self._recovered_v
            else:
                after = np.searchsorted(candidates, row)
                if after == len(candidates):
                    return
                row = int(candidates[after])
                median = float(np.median(drive_v[max(row - self.criteria.window, 0) : row]))
            if self._falls(rows, row, median):
                self._before_v = median
                yield Drop(
                    t_s=float(t_s[row]),
                    sure_s=float(t_s[row + 1]),
                    before_v=median,
                    after_v=0.5 * float(drive_v[row] + drive_v[row + 1]),
                    current_a=float(current_a[row]),
                )
            row += 1

    def _candidates(self, drive_v: Floats, begin: int, end: int) -> NDArray[np.int64]:
        """Return the rows that fell below the threshold; their median is at most the maximum."""
        left, window = 1 - self.criteria.drop, self.criteria.window
        highest = _highest_before(drive_v, window)
        below = drive_v < left * highest
        below[: max(begin, self.criteria.after_edge - self._known)] = False
        below[end:] = False
        rows = np.flatnonzero(below)
        full = rows[rows >= window]
        if not len(full):
            return rows
        windows = np.lib.stride_tricks.sliding_window_view(drive_v, window)
        fallen = [
            chunk[drive_v[chunk] < left * np.median(windows[chunk - window], axis=1)]
            for chunk in np.split(full, range(_AT_ONCE, len(full), _AT_ONCE))
        ]
        return np.concatenate((rows[rows < window], *fallen))

    def _falls(self, rows: NDArray[np.float64], row: int, median: float) -> bool:
        t_s, drive_v, current_a = rows
        told = self.criteria
        low = (1 - told.drop) * median
        if median <= self._least_v or drive_v[row] >= low or drive_v[row + 1] >= low:
            return False
        first = max(row - told.window, 0)
        usual_a = float(np.median(current_a[first:row]))
        if np.any(np.abs(current_a[row : row + 2] - usual_a) > told.current_within * usual_a):
            return False
        before = drive_v[first:row]
        if median - float(drive_v[row]) < told.noise_sigmas * noise_v(before):
            return False
        # The two steps before: the potential may have been read while it fell.
        last = slice(row - 2, row + 1)
        fell_v_s = float(np.max(-np.diff(drive_v[last]) / np.maximum(np.diff(t_s[last]), 1e-9)))
        highest = first + int(np.argmax(drive_v[first : row - 1]))
        usual_s = float(t_s[row - 2] - t_s[highest])
        usual_v = float(drive_v[highest] - drive_v[row - 2])
        return usual_s <= 0 or fell_v_s * usual_s >= told.suddenness * usual_v


_AT_ONCE = 50_000
# As large may look a potential that is zero, where nobody tells more.
_LEAST_V = 1e-3


def _highest_before(values: Floats, window: int) -> Floats:
    """Return the largest of at least ``window`` values before each; -inf before the first."""
    highest = np.concatenate(([-np.inf], values[:-1]))
    span = 1
    while span < window:
        highest[span:] = np.maximum(highest[span:], highest[:-span])
        span *= 2
    return highest


def step_drops(half: HalfCycle, criteria: DropCriteria | None = None) -> list[Drop]:
    """Return the soft shorts of one half-cycle that show as a sudden fall of the potential."""
    detector = StepDropDetector(criteria)
    drive_v = half.role * half.overpotential_v
    if not half.interruptions:
        return detector.add(half.t_s, drive_v, half.current_a)
    found: list[Drop] = []
    stops = [int(np.searchsorted(half.t_s, gap.at_s, "right")) for gap in half.interruptions]
    for first, stop in zip([0, *stops], [*stops, len(half.t_s)], strict=True):
        detector.edge()
        part = slice(first, stop)
        found += detector.add(half.t_s[part], drive_v[part], half.current_a[part])
    return found
