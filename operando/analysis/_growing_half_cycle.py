"""The rows of a half-cycle that is going on, as they come."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from operando.analysis.accuracy import CurrentZero
from operando.analysis.segments import COULOMB_PER_MAH, EDGE_APART_S, HalfCycle, half_cycles
from operando.runs import Floats

# Columns of the potentiostat that are needed, and those that are used where they are there.
NEEDED = ("t", "potential", "current", "cycle", "half_cycle", "role")
OTHER = ("step_t", "flags")
# Status bit of a row whose reading is beyond the range: what is told is less than what was.
OVERLOAD = 2


@dataclass
class GrowingHalfCycle:
    """The rows of the half-cycle that is going on.

    Attributes:
        number: Its number.
        role: -1 plating, +1 stripping.
        overrun: Whether it was told that it strips more than there was.
        parts: Rows that can be read, as they came.
        all_parts: All rows.
        cycle: Its cycle.
        joints: Rows, of those that can be read, with which it went on after an interruption.
        rows: How many there are.
        doubtful: How many of them cannot be read (no time, potential or current) or are overloaded.
    """

    number: int
    role: int
    overrun: bool = False
    parts: list[Mapping[str, Floats]] = field(default_factory=list)
    all_parts: list[Mapping[str, Floats]] = field(default_factory=list)
    cycle: int = 0
    joints: list[int] = field(default_factory=list)
    rows: int = 0
    doubtful: int = 0
    _charge_c: float = 0.0
    _count: int = 0
    _largest_a: float = 0.0

    def keep(self, part: Mapping[str, Floats]) -> NDArray[np.bool_]:
        """Keep rows as they came; return which of them can be read."""
        self.all_parts.append(part)
        readable = _readable(part)
        self.rows += len(readable)
        overloaded = np.nan_to_num(part["flags"]).astype(int) & OVERLOAD if "flags" in part else 0
        self.doubtful += int(np.count_nonzero(~readable | (overloaded != 0)))
        return readable

    def charge_mah_cm2(self, area_cm2: float) -> float:
        """Return the charge under the rows so far, mAh/cm2."""
        return self._charge_c / COULOMB_PER_MAH / area_cm2

    def edges(self, part: Mapping[str, Floats]) -> list[int]:
        """Return the rows that begin a step of their own: the half-cycle was interrupted."""
        if "step_t" not in part or not len(part["t"]):
            return []
        before_s = np.concatenate((self.parts[-1]["t"][-1:] if self.parts else [], part["t"][:-1]))
        edge_s = (part["t"] - part["step_t"])[len(part["t"]) - len(before_s) :]
        rows = np.flatnonzero(edge_s > before_s + EDGE_APART_S) + len(part["t"]) - len(before_s)
        return [int(row) for row in rows]

    def take(
        self, part: Mapping[str, Floats], area_cm2: float, *, edge: bool
    ) -> tuple[Floats, Floats]:
        """Keep rows; return the charge until each, mAh/cm2, and the largest current until then, A.

        What passed before an ``edge`` is not known, and not counted.
        """
        t_s, current_a = part["t"], np.abs(part["current"])
        if not self.parts or edge:
            if edge:
                self.joints.append(self._count)
            cycle = float(part["cycle"][0])
            self.cycle = int(cycle) if math.isfinite(cycle) else 0
            since_s = float(part["step_t"][0]) if "step_t" in part else math.nan
            first_c = current_a[0] * max(since_s, 0.0) if math.isfinite(since_s) else 0.0
        else:
            last = self.parts[-1]
            mean_a = 0.5 * (current_a[0] + abs(float(last["current"][-1])))
            first_c = mean_a * (t_s[0] - last["t"][-1])
        steps_c = 0.5 * (current_a[1:] + current_a[:-1]) * np.diff(t_s)
        # From what passed before on, so that how rows are grouped rounds nothing differently.
        charge_c = np.cumsum(np.concatenate(([self._charge_c, first_c], steps_c)))[1:]
        self._charge_c = float(charge_c[-1])
        self.parts.append(part)
        self._count += len(t_s)
        largest_a = np.maximum.accumulate(np.maximum(current_a, self._largest_a))
        self._largest_a = float(largest_a[-1])
        return np.asarray(charge_c / COULOMB_PER_MAH / area_cm2), largest_a

    def half_cycle(
        self,
        following: Mapping[str, Floats],
        area_cm2: float,
        mirror: float,
        metal_v: float,
        zeros: Sequence[CurrentZero],
    ) -> HalfCycle | None:
        """Return the half-cycle as the analysis afterwards makes it of its rows and the next."""
        columns = {
            name: np.concatenate(
                [part.get(name, np.full(len(part["t"]), math.nan)) for part in self.all_parts]
                + [following.get(name, np.full(len(following["t"]), math.nan))[:1]]
            )
            for name in (*NEEDED, *OTHER)
        }
        # Joints count rows that can be read.
        read = np.flatnonzero(_readable(columns))
        found = half_cycles(
            *(columns[name] for name in NEEDED),
            area_cm2=area_cm2,
            metal_electrode="WE" if mirror > 0 else "CE",
            metal_v=metal_v,
            finished=False,
            step_t_s=columns["step_t"],
            flags=columns["flags"],
            joints=[int(read[joint]) for joint in self.joints],
            zeros=zeros,
        )
        return next((half for half in found if half.number == self.number), None)


def _readable(columns: Mapping[str, Floats]) -> NDArray[np.bool_]:
    return np.isfinite(columns["t"] + columns["potential"] + columns["current"])
