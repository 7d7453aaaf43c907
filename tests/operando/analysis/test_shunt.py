"""Identity C11: a resistance in parallel to the cell comes back from its spectrum."""

from typing import Any

import numpy as np
import pytest

from operando.analysis.impedance import ArcFit, fit_arcs
from operando.analysis.shunt import high_frequency_intercept_ohm, shunt

FREQUENCY = np.logspace(5, -1, 61)


def _noisy(z: Any, seed: int) -> Any:
    random = np.random.default_rng(seed)
    return z * (1 + 1e-3 * (random.normal(size=61) + 1j * random.normal(size=61)))


@pytest.fixture
def healthy(synthetic: Any) -> Any:
    return synthetic.arcs_ohm(FREQUENCY, 10.0, (20, 3e-5, 0.95), (30, 5e-3, 0.9))


@pytest.fixture
def before(healthy: Any) -> ArcFit:
    z = _noisy(healthy, 100)
    return fit_arcs(FREQUENCY, z.real, z.imag)


@pytest.mark.parametrize("resistance", [100.0, 30.0, 5.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_resistance_in_parallel_is_found_within_five_per_cent(
    healthy: Any, before: ArcFit, resistance: float, seed: int
) -> None:
    z = _noisy(healthy * resistance / (healthy + resistance), seed)
    found = shunt(before, FREQUENCY, z.real, z.imag)
    assert found.resistance_ohm == pytest.approx(resistance, rel=0.05)
    assert found.uncertainty_ohm is not None
    assert abs(found.resistance_ohm - resistance) < 4 * found.uncertainty_ohm
    assert found.interfacial_change == pytest.approx(0.0, abs=0.02)


def test_a_short_is_told_apart_from_interfaces_that_grew(healthy: Any, before: ArcFit) -> None:
    grown = 10.0 + 1.2 * (healthy - 10.0)
    z = _noisy(grown * 30 / (grown + 30), 1)
    found = shunt(before, FREQUENCY, z.real, z.imag)
    assert found.resistance_ohm == pytest.approx(30.0, rel=0.05)
    assert found.interfacial_change == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
@pytest.mark.parametrize("seed", range(3))
def test_interfaces_that_changed_alone_are_no_short(
    healthy: Any, before: ArcFit, factor: float, seed: int
) -> None:
    z = _noisy(10.0 + factor * (healthy - 10.0), seed)
    found = shunt(before, FREQUENCY, z.real, z.imag)
    assert found.resistance_ohm is None
    assert found.reason is not None
    assert "no conductance in parallel stands out" in found.reason


def test_the_intercept_lies_on_the_real_axis(synthetic: Any) -> None:
    frequency = np.logspace(6, -1, 71)
    z = synthetic.arcs_ohm(frequency, 10.0, (50, 1e-2, 0.9))
    assert high_frequency_intercept_ohm(frequency, z.real, z.imag) == pytest.approx(z.real[0])
    z = z + 2j * np.pi * frequency * 1e-6
    assert high_frequency_intercept_ohm(frequency, z.real, z.imag) == pytest.approx(10.0, rel=0.03)


def test_a_spectrum_of_other_frequencies_is_compared_with_the_circuit(
    synthetic: Any, before: ArcFit
) -> None:
    frequency = np.logspace(4.9, -0.9, 47)
    z = synthetic.arcs_ohm(frequency, 10.0, (20, 3e-5, 0.95), (30, 5e-3, 0.9))
    z = z * 30 / (z + 30)
    found = shunt(before, frequency, z.real, z.imag)
    assert found.resistance_ohm == pytest.approx(30.0, rel=0.01)
