"""The simulated cell, which knows what happened in it, against what the analysis finds."""

import numpy as np
import pytest
from numpy.typing import NDArray

from operando.analysis.coulombic import coulombic_efficiency
from operando.analysis.failure import FailureWatch
from operando.analysis.lives import failures_of, life
from operando.analysis.overpotential import nucleation
from operando.analysis.segments import HalfCycle, half_cycles
from sim_devices.cell.model import Cell

Array = NDArray[np.float64]
NOISE_V = 1e-4


def record(
    cell: Cell,
    halves: int,
    *,
    current_ma_cm2: float,
    charge_mah_cm2: float,
    interval_s: float,
    cut_off_v: float | None = None,
) -> Array:
    """Return rows (t, E, i, cycle, half-cycle, role) of a cell that is plated and stripped."""
    rows = []
    area_cm2 = cell.parameters.area_cm2
    length_s = charge_mah_cm2 / current_ma_cm2 * 3600
    for number in range(1, halves + 1):
        role = -1 if number % 2 else 1
        # A cut-off has time to be met; without one each half-cycle passes the same charge.
        left_s = length_s * (1.2 if role > 0 and cut_off_v is not None else 1.0)
        limit_v = cut_off_v if role > 0 and cut_off_v is not None else 1e9
        potential_v = 0.0
        while left_s > 1e-6 and potential_v < limit_v:
            used_s, potential_v, _ = cell.advance(
                min(interval_s, left_s), "i", role * current_ma_cm2, e_max=limit_v
            )
            left_s -= used_s
            current_a = role * current_ma_cm2 * area_cm2 * 1e-3
            rows.append((cell.t, potential_v, current_a, (number + 1) // 2, number, role))
    found = np.array(rows, dtype=np.float64)
    found[:, 1] += np.random.default_rng(0).normal(0, NOISE_V, len(found))
    return found


def split(rows: Array, cell: Cell) -> tuple[HalfCycle, ...]:
    since_s = rows[:, 0] - np.concatenate(([0.0], rows[:-1, 0]))
    first = np.concatenate(([True], np.diff(rows[:, 4]) != 0))
    return half_cycles(
        *rows.T,
        area_cm2=cell.parameters.area_cm2,
        step_t_s=np.where(first, since_s, np.nan),
    )


def halved(rows: Array) -> Array:
    """Return every other row, and the last of each half-cycle, which is always recorded."""
    last = np.concatenate((np.diff(rows[:, 4]) != 0, [True]))
    return rows[(np.arange(len(rows)) % 2 == 1) | last]


@pytest.mark.parametrize("name", ["na-znag-half", "na-bare-half", "zn-zro2-half"])
def test_half_the_row_rate_changes_neither_the_efficiency_nor_the_nucleation(name: str) -> None:
    cell = Cell(name, seed=1)
    rows = record(cell, 4, current_ma_cm2=0.5, charge_mah_cm2=0.25, interval_s=1.0, cut_off_v=0.5)
    fine, coarse = split(rows, cell), split(halved(rows), cell)
    efficiencies = [coulombic_efficiency(halves).percent for halves in (fine, coarse)]
    assert len(efficiencies[0]) == 2
    assert efficiencies[1] == pytest.approx(efficiencies[0], abs=0.05)
    tips = [nucleation(halves).overpotential_v for halves in (fine, coarse)]
    assert tips[0] is not None
    assert tips[1] == pytest.approx(tips[0], abs=0.3e-3)


def test_the_lives_of_a_cell_are_those_that_it_knows() -> None:
    cell = Cell("zn-bare", seed=2)
    interval_s = 10.0
    rows = record(cell, 272, current_ma_cm2=0.25, charge_mah_cm2=0.05, interval_s=interval_s)
    hard_s = next(at_s for at_s, kind in cell.shorts if kind == "hard")
    told = [
        (at_s, detail["ohm"])
        for (at_s, kind), detail in zip(cell.shorts, cell.short_details, strict=True)
        if kind == "soft" and detail["ends_s"] - at_s > 2 * interval_s
    ]
    halves = split(rows, cell)
    watch = FailureWatch(symmetric=True)
    failures = failures_of(halves, watch)
    found = [one for one in failures if one.kind == "soft_short" and one.t_s < hard_s]
    assert len(found) >= len(told) - 1 > 0  # one may lie in the first rows of a half-cycle
    for one in found:
        near = [ohm for at_s, ohm in told if 0 <= one.t_s - at_s <= 2 * interval_s]
        assert near, f"nothing happened at {one.t_s} s"
        assert one.resistance_ohm == pytest.approx(near[0], rel=0.1)
    hard = life(halves, failures, ["hard_short"], watch.why_not_judged)
    assert hard.observed
    assert hard.hours == pytest.approx(hard_s / 3600, abs=2 * interval_s / 3600)


def test_a_healthy_cell_fails_in_no_way() -> None:
    cell = Cell("zn-zro2", seed=0)
    rows = record(cell, 100, current_ma_cm2=0.25, charge_mah_cm2=0.125, interval_s=10.0)
    assert not cell.shorts
    assert failures_of(split(rows, cell), FailureWatch(symmetric=True)) == ()
