"""The charge that had passed in an interrupted step."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import numpy as np

from instruments.potentiostat.contract import IMPEDANCE, PLATE, REST, STRIP, Sample
from operando.analysis.accuracy import current_zeros, zero_of
from operando.analysis.segments import COULOMB_PER_MAH
from operando.resume._program import Program, RowWithTime, all_rows
from operando.runs import Run
from techniques import Cell, ElementaryStep, GalvanostaticStep, PotentiostaticStep


class ChargeIn:
    """The charge that a step had passed at a time, mAh/cm2, magnitude.

    At a set current that is a time. At a set potential it lies under the rows; after the last of
    them the current is taken to have stayed, which it can only have done or fallen below, unless
    the cell was shorted. Of sweeps, which are repeated, and of all else nothing counts.

    Attributes:
        step: Which.
        potential_v: What was set on the metal electrode, V; ``None``: nothing was, or it is not
            known.
        last_ma_cm2: Magnitude of the current in its last row.
    """

    def __init__(self, program: Program, cell: Cell, step: ElementaryStep, number: int) -> None:
        """Look at the rows of the step with this number."""
        self.step = step
        self.potential_v: float | None = None
        self.last_ma_cm2 = 0.0
        self._t_s = np.zeros(1)
        self._charge = np.zeros(1)
        rows = program.rows.samples
        if isinstance(step, GalvanostaticStep):
            self.last_ma_cm2 = abs(step.current_density_ma_cm2)
        own = rows["step"] == number
        if not isinstance(step, PotentiostaticStep) or not own.any():
            return
        t_s = rows["step_t"][own]
        density = np.abs(rows["current"][own]) * 1e3 / cell.area_cm2
        self.potential_v = mirror_of(cell) * float(rows["potential"][own][-1])
        self.last_ma_cm2 = float(density[-1])
        # Before the first row the current is taken for that of it.
        self._t_s = np.concatenate(([0.0], t_s))
        density = np.concatenate((density[:1], density))
        parts = np.diff(self._t_s) * (density[1:] + density[:-1]) / 2 / 3600
        self._charge = np.concatenate(([0.0], np.cumsum(parts)))

    def __call__(self, elapsed_s: float) -> float:
        """Return the charge that had passed after a time, mAh/cm2."""
        after_s = max(0.0, elapsed_s - float(self._t_s[-1]))
        under_rows = float(np.interp(elapsed_s, self._t_s, self._charge))
        return under_rows + self.last_ma_cm2 * after_s / 3600

    def elapsed_s(self, charge_mah_cm2: float) -> float:
        """Return after which time it had passed a charge that its rows do not reach, s."""
        more = charge_mah_cm2 - float(self._charge[-1])
        return float(self._t_s[-1]) + more * 3600 / self.last_ma_cm2


def charge_of_earlier_parts(
    runs: Sequence[Run], program: Program, cell: Cell, half_cycle: int, number: int
) -> float:
    """Return the charge under the rows of a half-cycle before its step ``number``, mAh/cm2.

    A half-cycle has several parts where it is held at a potential after a current, and where a
    rule or an earlier death interrupted it. What no row shows is not in it.
    """
    tables = [(all_rows(run).samples, program.begin.step) for run in runs]
    charge = 0.0
    for rows, last in [*tables, (program.rows.samples, number - 1)]:
        own = (rows["half_cycle"] == half_cycle) & (rows["step"] <= last)
        own &= ~np.isin(rows["role"], (REST, IMPEDANCE))
        for step in np.unique(rows["step"][own]):
            part = own & (rows["step"] == step)
            density = np.abs(rows["current"][part]) * 1e3 / cell.area_cm2
            t_s = np.concatenate(([0.0], rows["step_t"][part]))
            density = np.concatenate((density[:1], density))
            charge += float(np.sum(np.diff(t_s) * (density[1:] + density[:-1]) / 2 / 3600))
    return charge


def mirror_of(cell: Cell) -> int:
    """Return +1 if the metal hangs on the working electrode's cable, else -1."""
    return 1 if cell.metal_electrode == "WE" else -1


def plated_and_stripped(
    runs: Sequence[Run],
    fresh: Sequence[RowWithTime],
    cell: Cell,
    interrupted: tuple[int, tuple[float, float]],
) -> tuple[float, float]:
    """Return what was plated on the metal electrode and stripped from it so far, mAh/cm2.

    It lies under the rows of each step, without the zero of the current where that was measured
    before the run, and over its gain where that was calibrated, as charges are told afterwards.
    Of the step that was interrupted more may have passed than its rows show: as a plating it counts
    with the least, as a strip with the most, so that a strip of more than there was is rather seen
    too early.

    Args:
        runs: All runs of the experiment.
        fresh: Rows that only the instrument had.
        cell: Of which the area and the cable are asked.
        interrupted: The number of that step, and the least and the most that passed in it, mAh/cm2.
    """
    passed = {PLATE: 0.0, STRIP: 0.0}
    for step, _, sign, charge in _charges(runs, fresh, cell):
        if step == interrupted[0]:
            least, most = interrupted[1]
            charge = max(charge, most if sign == STRIP else least)
        passed[sign] += charge
    return passed[PLATE], passed[STRIP]


def deposit_so_far(
    runs: Sequence[Run],
    fresh: Sequence[RowWithTime],
    cell: Cell,
    interrupted: tuple[int, float],
    skipped: Collection[int],
    over: int,
) -> float:
    """Return the metal that is there of the platings since the last whole strip, mAh/cm2.

    As `plans.deposit.Deposit` has it of a run that goes on. Of the step that was interrupted more
    may have passed than its rows show: as a plating it counts with the most, as a strip with what
    they show, so that too much metal is rather seen too early.

    Args:
        runs: All runs of the experiment.
        fresh: Rows that only the instrument had.
        cell: Of which the area and the cable are asked.
        interrupted: The number of that step, and the most that passed in it, mAh/cm2.
        skipped: Half-cycles that did not come to their end, because it was left out.
        over: The half-cycle behind which it goes on.
    """
    there, last, role = 0.0, 0, 0
    for step, half_cycle, sign, charge in _charges(runs, fresh, cell):
        if half_cycle > last:
            there = there if role == PLATE or last in skipped else 0.0
        last, role = half_cycle, sign
        if step == interrupted[0] and sign == PLATE:
            charge = max(charge, interrupted[1])
        there = max(0.0, there - sign * charge)
    return 0.0 if role == STRIP and over >= last and last not in skipped else there


def _charges(
    runs: Sequence[Run], fresh: Sequence[RowWithTime], cell: Cell
) -> Iterator[tuple[int, int, int, float]]:
    """Yield step, half-cycle, role and charge (mAh/cm2) of all that plated or stripped."""
    names = ("step", "step_t", "current", "role", "half_cycle")
    tables = [{name: all_rows(run).samples[name] for name in names} for run in runs]
    late = [row for _, row in fresh if isinstance(row, Sample)]
    values = [(row.step, row.step_t_s, row.current_a, row.role, row.half_cycle) for row in late]
    told = np.array(values, dtype=float).reshape(-1, len(names))
    tables.append(dict(zip(names, told.T, strict=True)))
    member = np.repeat(np.arange(len(tables)), [len(table["step"]) for table in tables])
    rows = {name: np.concatenate([table[name] for table in tables]) for name in names}
    chosen = np.isin(rows["role"], (PLATE, STRIP)) & np.isfinite(rows["step_t"] + rows["current"])
    order = np.flatnonzero(chosen)[np.lexsort((rows["step_t"][chosen], rows["step"][chosen]))]
    step, t_s, current_a, role, half = (rows[name][order] for name in names)
    zeros = [current_zeros(run.start) for run in (*runs, runs[-1])]
    bounds = [0, *(np.flatnonzero(np.diff(step)) + 1).tolist(), len(step)]
    for first, stop in pairwise(bounds):
        if first == stop:
            continue
        sign = int(role[first])
        magnitude = np.abs(current_a[first:stop])
        typical_a = float(np.median(magnitude))
        zero = zero_of(typical_a, zeros[member[order[first]]]) if typical_a else None
        if zero is not None:
            magnitude = (magnitude - sign * mirror_of(cell) * zero.current_a) / zero.gain
        times = np.concatenate(([0.0], t_s[first:stop]))
        magnitude = np.concatenate((magnitude[:1], magnitude))
        charge_c = np.sum(np.diff(times) * (magnitude[1:] + magnitude[:-1]) / 2)
        charge = float(charge_c) / COULOMB_PER_MAH / cell.area_cm2
        yield int(step[first]), int(half[first]), sign, charge
