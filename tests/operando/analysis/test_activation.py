import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.analysis.activation import activation_energy, settled

TEMPERATURES = np.arange(273.15, 324.0, 10.0)
GAS = 8.314462618


def _resistances(kj_mol: float, temperature: np.ndarray = TEMPERATURES) -> np.ndarray:
    return temperature * np.exp(1e3 * kj_mol / (GAS * temperature)) * 1e-4


@pytest.mark.parametrize("kj_mol", [7.92, 11.75])
def test_the_form_with_t_over_r_gives_its_energy_back(kj_mol: float) -> None:
    found = activation_energy(TEMPERATURES, _resistances(kj_mol))
    assert found.kj_mol == pytest.approx(kj_mol, rel=1e-9)
    assert found.r2 == pytest.approx(1.0)
    assert found.form == "ln(T/R)"


@given(st.floats(3, 60))
def test_the_two_forms_differ_by_r_times_the_mean_temperature(kj_mol: float) -> None:
    # Identity A8b: 2.48 kJ/mol between 273 and 323 K, whatever the energy.
    resistances = _resistances(kj_mol)
    one = activation_energy(TEMPERATURES, resistances, form="ln(T/R)").kj_mol
    other = activation_energy(TEMPERATURES, resistances, form="ln(1/R)").kj_mol
    assert one is not None
    assert other is not None
    assert one - other == pytest.approx(2.48, abs=0.05)


@settings(max_examples=40, deadline=None)
@given(kj_mol=st.floats(4, 50), relative=st.floats(0.002, 0.05), seed=st.integers(0, 9999))
def test_the_standard_error_covers_the_truth(kj_mol: float, relative: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    clean = _resistances(kj_mol)
    resistances = clean * (1 + relative * random.normal(size=len(clean)))
    found = activation_energy(TEMPERATURES, resistances, relative * clean)
    assert found.kj_mol is not None
    assert found.uncertainty_kj_mol is not None
    assert abs(found.kj_mol - kj_mol) < 5 * found.uncertainty_kj_mol


def test_two_standard_errors_cover_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    clean = _resistances(7.92)
    inside = 0
    for _ in range(200):
        resistances = clean * (1 + 0.01 * random.normal(size=len(clean)))
        found = activation_energy(TEMPERATURES, resistances, 0.01 * clean)
        assert found.kj_mol is not None
        assert found.uncertainty_kj_mol is not None
        inside += abs(found.kj_mol - 7.92) < 2 * found.uncertainty_kj_mol
    assert 185 <= inside <= 200


def test_uncertain_temperatures_add_to_the_error() -> None:
    clean = _resistances(40.0)
    sure = activation_energy(TEMPERATURES, clean, 1e-3 * clean)
    unsure = activation_energy(TEMPERATURES, clean, 1e-3 * clean, temperature_uncertainty_k=0.3)
    assert unsure.uncertainty_kj_mol > 3 * sure.uncertainty_kj_mol  # type: ignore[operator]  # both are numbers


def test_three_temperatures_are_too_few_however_often_they_were_measured() -> None:
    temperatures = np.repeat([273.15, 298.15, 323.15], 3)
    found = activation_energy(temperatures, _resistances(8.0, temperatures))
    assert found.kj_mol is None
    assert found.reason == "3 temperatures, at least 4 are needed"


def test_resistances_that_are_no_numbers_are_left_out() -> None:
    resistances = _resistances(8.0)
    resistances[2] = math.nan
    assert activation_energy(TEMPERATURES, resistances).temperatures == 5
    assert activation_energy([], []).kj_mol is None


T = np.arange(0.0, 1800.0, 30.0)


def test_a_temperature_that_stands_at_its_set_point_has_settled() -> None:
    told = settled(T, np.full(60, 303.1), np.full(60, 303.0), 1500.0, 1770.0)
    assert told.reason is None
    assert told.temperature_k == pytest.approx(303.1)
    assert told.deviation_k == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("temperature", "told"),
    [
        (303.0 + 0.2 * T / 60, "drifted by 0.2 K/min"),
        (np.full(60, 303.5), "+0.5 K from its set point"),
        (np.full(60, math.nan), "no row of the thermostat lies near"),
    ],
)
def test_a_temperature_that_does_not_stand_is_told(temperature: np.ndarray, told: str) -> None:
    assert told in str(settled(T, temperature, np.full(60, 303.0), 1500.0, 1770.0).reason)


def test_rows_far_from_the_measurement_tell_nothing() -> None:
    told = settled(T, np.full(60, 303.0), None, 9000.0, 9100.0)
    assert told.temperature_k is None
