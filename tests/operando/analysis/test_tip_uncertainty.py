"""Why a tip less a plateau is uncertain: synthetic platings whose parts are known."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from operando.analysis import metrics
from operando.analysis.overpotential import Nucleation, nucleation
from operando.analysis.segments import HalfCycle, half_cycles
from operando.analysis.tip_uncertainty import (
    Rest,
    grown_on_the_plateau_v,
    missed_v,
    relaxed_v,
    resolution_v,
)
from operando.runs import Run
from sim_devices.cell.blind import blind_cell

Array = NDArray[np.float64]
AREA = 1.131
LENGTH_S = 900.0
TIP_S = 18.0
ETA_V, RESISTANCE_V = 0.040, 0.050
TAU_S, SALT_V, FILM_V = 45.0, 2e-4, 3e-4
PLATEAU_S = 0.65 * LENGTH_S


def plating(
    *,
    row_s: float = 0.5,
    salt_v: float = SALT_V,
    film_v: float = FILM_V,
    ohmic_v: float = RESISTANCE_V,
    noise_v: float = 0.0,
) -> tuple[HalfCycle, ...]:
    """Return a plating at 1 mA/cm2: a nucleation, an exponential, a line and a constant."""
    t_s = np.arange(0.0, LENGTH_S + 0.5 * row_s, row_s)
    share = t_s / TIP_S
    magnitude = ohmic_v + ETA_V * share * np.exp(1 - share)
    magnitude += salt_v * (1 - np.exp(-t_s / TAU_S)) + film_v * t_s / LENGTH_S
    magnitude += np.random.default_rng(3).normal(0.0, noise_v, len(t_s))
    one = np.ones(len(t_s))
    return half_cycles(t_s, -magnitude, -1e-3 * AREA * one, one, one, -one, area_cm2=AREA)


def rest(*, length_s: float = 900.0, row_s: float = 1.0, offset_v: float = 0.0) -> Rest:
    """Return the rest after it: the exponential fades, the line stays where it is."""
    since_s = np.arange(row_s, length_s + 0.5 * row_s, row_s)
    return Rest(since_s, -SALT_V * np.exp(-since_s / TAU_S) - offset_v)


def told(found: Nucleation) -> tuple[float, float]:
    assert found.overpotential_v is not None
    assert found.uncertainty_v is not None
    return found.overpotential_v, found.uncertainty_v


def test_a_plateau_on_a_line_grows_by_its_slope_times_the_way_from_the_tip() -> None:
    charge = np.linspace(0.1, 0.225, 40)
    line = 0.1 + 0.002 * charge
    grown, u = grown_on_the_plateau_v(charge, line, 0.005, 0.1625, noise_v=3e-5)
    assert grown == pytest.approx(0.002 * 0.1575, rel=1e-9)
    spread = 0.125 * math.sqrt(40 * 41 / 39 / 12)  # of 40 even steps, about their mean
    assert u == pytest.approx(3e-5 * 0.1575 / spread, rel=1e-6)


def test_a_rest_tells_what_an_exponential_loses_between_two_times() -> None:
    exact = SALT_V * (math.exp(-TIP_S / TAU_S) - math.exp(-PLATEAU_S / TAU_S))
    for offset_v in (0.0, 0.3):
        found = relaxed_v(rest(offset_v=offset_v), TIP_S, PLATEAU_S)
        assert found is not None
        assert found[0] == pytest.approx(exact, rel=0.01)
        assert found[1] == 0.0


def test_what_may_fade_after_the_end_of_a_rest_is_in_its_uncertainty() -> None:
    found = relaxed_v(rest(length_s=120.0), TIP_S, PLATEAU_S)
    assert found is not None
    left = [SALT_V * math.exp(-t_s / TAU_S) for t_s in (TIP_S, 69.0, 108.0)]
    assert found[0] == pytest.approx(left[0] - left[2], rel=0.02)
    assert found[1] == pytest.approx((left[1] - left[2]) / math.sqrt(3), rel=0.02)
    assert left[2] < 2 * found[1]


def test_noise_of_a_rest_is_that_of_medians() -> None:
    found = relaxed_v(rest(row_s=2.0), 20.0, 800.0, noise_v=1e-5)
    assert found is not None
    of_medians = 1e-5 * math.sqrt(0.5 * math.pi * (1 / 5 + 1 / 131))
    assert found[1] == pytest.approx(of_medians, rel=1e-6)


def test_a_rest_hardly_longer_than_the_way_to_the_tip_tells_nothing() -> None:
    assert relaxed_v(rest(length_s=35.0), TIP_S, PLATEAU_S) is None
    assert relaxed_v(rest(length_s=37.0), TIP_S, PLATEAU_S) is not None
    assert relaxed_v(Rest(np.array([60.0]), np.array([-1e-3])), TIP_S, PLATEAU_S) is None
    assert relaxed_v(None, TIP_S, PLATEAU_S) is None


@pytest.mark.parametrize("aside", [0.0, 0.25, 0.5])
def test_what_rows_miss_of_a_parabola_is_at_most_its_fall_over_one_distance(aside: float) -> None:
    spacing, fall_v = 2e-4, 3e-5
    charge = 4e-3 + spacing * np.arange(-5.0, 6.0)
    away = (charge - 4e-3) / spacing - aside
    magnitude = 0.1 - fall_v * away**2
    tip = 5
    assert missed_v(charge, magnitude, tip, spacing) == pytest.approx(fall_v, rel=1e-6)
    smoothed = float(np.sort(magnitude[tip - 1 : tip + 2])[1])
    assert 0.1 - smoothed <= fall_v * (1 + 1e-9)


def test_readings_in_steps_are_uncertain_by_the_step_over_the_root_of_twelve() -> None:
    step = 45e-6
    ramp = np.linspace(0.1, 0.102, 400)
    assert resolution_v(np.round(ramp / step) * step) == pytest.approx(step / math.sqrt(12))
    scattered = ramp + np.random.default_rng(1).normal(0, 2e-5, 400)
    assert resolution_v(scattered) < 2e-6
    assert resolution_v(np.full(9, 0.1)) == 0.0


def test_what_polarises_between_tip_and_plateau_is_in_the_uncertainty_and_no_more() -> None:
    value, u = told(nucleation(plating(), rest=rest()))
    salt_v = SALT_V * math.exp(-TIP_S / TAU_S)
    film_v = FILM_V * (PLATEAU_S - TIP_S) / LENGTH_S
    off_v = ETA_V - value
    assert off_v == pytest.approx(salt_v + film_v, abs=5e-5)
    assert u == pytest.approx(0.5 * (salt_v + film_v) + 1e-3 * value, abs=1e-5)
    assert off_v <= 2 * u <= 1.35 * off_v


def test_without_a_rest_only_the_slope_of_the_plateau_is_in_it() -> None:
    found = nucleation(plating())
    assert found.relaxed_v is None
    assert found.grown_v == pytest.approx(FILM_V * (PLATEAU_S - TIP_S) / LENGTH_S, rel=0.02)
    _, with_rest = told(nucleation(plating(), rest=rest()))
    assert told(found)[1] < 0.8 * with_rest


def test_an_even_plateau_leaves_noise_and_gain() -> None:
    quiet = plating(salt_v=0.0, film_v=0.0, noise_v=2e-5)
    value, u = told(nucleation(quiet, potential_gain=0.0))
    assert value == pytest.approx(ETA_V, abs=2 * u)
    assert 2e-5 < u < 5e-5
    _, u_of_gain = told(nucleation(quiet, potential_gain=5e-3))
    assert u_of_gain - u == pytest.approx(5e-3 * value, rel=0.2)


def test_the_resistance_of_leads_changes_neither_the_number_nor_its_uncertainty() -> None:
    plain = told(nucleation(plating(), rest=rest()))
    behind_leads = told(nucleation(plating(ohmic_v=2 * RESISTANCE_V), rest=rest()))
    assert behind_leads == pytest.approx(plain, rel=1e-9)


def test_rows_that_are_apart_make_the_tip_more_uncertain() -> None:
    fine = told(nucleation(plating(salt_v=0.0, film_v=0.0), potential_gain=0.0))
    coarse = told(nucleation(plating(row_s=1.5, salt_v=0.0, film_v=0.0), potential_gain=0.0))
    assert coarse[1] > 5 * fine[1]
    assert abs(coarse[0] - ETA_V) <= 2 * coarse[1]


def _run(make_run: Callable[..., Any], sample: Any, rest_s: float, sign: float) -> Run:
    half = plating(row_s=1.0)[0]
    after = rest(length_s=rest_s)
    t_s = np.concatenate((half.t_s, half.t_s[-1] + after.since_s))
    resting = t_s > half.t_s[-1]
    told = make_run(sample)
    told.stream(
        "potentiostat",
        "potentiostat",
        {
            "t": t_s,
            "potential": sign * np.concatenate((half.potential_v, after.potential_v)),
            "current": np.where(resting, 1e-6, sign * half.current_a[0]),
            "cycle": np.ones(len(t_s)),
            "half_cycle": np.ones(len(t_s)),
            "step": np.where(resting, 2.0, 1.0),
            "role": np.where(resting, 0.0, -1.0),
            "flags": np.zeros(len(t_s)),
        },
    )
    told.stop()
    return Run.from_documents(told.documents)


def test_the_rest_of_a_run_is_found_whichever_electrode_is_plated(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    direct = nucleation(plating(row_s=1.0), rest=rest(length_s=300.0))
    _, u = told(direct)
    for sample, sign in ((synthetic.HALF_CELL, 1.0), (synthetic.MIRRORED_CELL, -1.0)):
        found = metrics(_run(make_run, sample, 300.0, sign))["cell_eta_n_mv"]
        assert found.uncertainty == pytest.approx(1e3 * u, rel=1e-3)
        assert found.reason is None


def test_a_rest_too_short_to_tell_is_told(make_run: Callable[..., Any], synthetic: Any) -> None:
    found = metrics(_run(make_run, synthetic.HALF_CELL, 20.0, 1.0))["cell_eta_n_mv"]
    assert found.value is not None
    assert "no rest long enough" in str(found.reason)


def test_a_calibration_tells_the_gain_of_the_potential(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    told = make_run(
        synthetic.HALF_CELL, calibration={"potentiostat": {"potential_gain_uncertainty": 0.02}}
    )
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic(rows=2000))
    told.stop()
    found = metrics(Run.from_documents(told.documents))["cell_eta_n_mv"]
    assert found.uncertainty == pytest.approx(0.02 * 15.0, rel=0.05)


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_the_nucleation_of_a_cell_drawn_blind_lies_within_twice_the_uncertainty(seed: int) -> None:
    cell = blind_cell(seed)
    rows, after = [], []
    while cell.t < LENGTH_S - 1e-6:
        _, potential_v, _ = cell.advance(0.5 if cell.t < 60 else 5.0, "i", -1.0)
        rows.append((cell.t, potential_v, -1e-3 * AREA, 1, 1, -1))
    while cell.t < LENGTH_S + 120 - 1e-6:
        _, potential_v, _ = cell.advance(2.0, "i", 0.0)
        after.append((cell.t - LENGTH_S, potential_v))
    source = np.random.default_rng(seed)
    columns, relaxing = np.array(rows, dtype=np.float64).T, np.array(after).T
    columns[1] += source.normal(0, 2e-5, columns.shape[1])
    relaxing[1] += source.normal(0, 2e-5, relaxing.shape[1])
    found = nucleation(half_cycles(*columns, area_cm2=AREA), rest=Rest(*relaxing))
    eta_v = cell.parameters.metal_electrode.nucleation_overpotential_v * 1.1 * 4 / 4.1
    value, u = told(found)
    assert abs(value - eta_v) <= 2 * u
    assert 2 * u < abs(value - eta_v) + 2.5e-4
