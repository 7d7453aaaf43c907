import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.analysis import Metric, metrics
from operando.analysis.relaxation_times import RelaxationTimesError, relaxation_times
from operando.runs import Run

FREQUENCY = np.logspace(5, -3, 81)


def _zarc(series: float, *arcs: tuple[float, float, float]) -> Any:
    jw = 2j * np.pi * FREQUENCY
    z = np.full(81, series, dtype=np.complex128)
    for resistance, tau, exponent in arcs:
        z += resistance / (1 + (jw * tau) ** exponent)
    return z


def _noisy(z: Any, relative: float, seed: int) -> Any:
    random = np.random.default_rng(seed)
    return z * (1 + relative * (random.normal(size=81) + 1j * random.normal(size=81)))


def test_one_zarc_is_one_peak_with_its_resistance_and_time() -> None:
    found = relaxation_times(FREQUENCY, _noisy(_zarc(10, (50, 0.1, 0.8)), 1e-4, 0))
    assert found.series_ohm == pytest.approx(10, rel=0.01)
    assert found.polarisation_ohm == pytest.approx(50, rel=0.01)
    assert len(found.peaks) == 1
    assert found.peaks[0].tau_s == pytest.approx(0.1, rel=0.01)
    assert found.peaks[0].area_ohm == pytest.approx(50, rel=0.01)
    assert found.chosen_by == "gcv"


@settings(max_examples=30, deadline=None)
@given(
    series=st.floats(1, 30),
    polarisation=st.floats(10, 300),
    log_tau=st.floats(-3, 0),
    exponent=st.floats(0.75, 1.0),
    seed=st.integers(0, 1000),
)
def test_the_area_is_the_polarisation_within_its_uncertainty(
    series: float, polarisation: float, log_tau: float, exponent: float, seed: int
) -> None:
    z = _noisy(_zarc(series, (polarisation, 10**log_tau, exponent)), 1e-3, seed)
    found = relaxation_times(FREQUENCY, z)
    error = found.polarisation_ohm - polarisation
    assert abs(error) < 5 * found.polarisation_uncertainty_ohm
    assert abs(error) < 0.02 * (polarisation + series)


def test_two_processes_are_two_peaks_fastest_first_with_hints() -> None:
    z = _noisy(_zarc(5, (40, 2e-4, 0.95), (90, 0.2, 0.9)), 1e-3, 1)
    peaks = relaxation_times(FREQUENCY, z).peaks
    assert [peak.hint for peak in peaks] == ["film or contact", "charge transfer"]
    assert [peak.area_ohm for peak in peaks] == pytest.approx([40, 90], rel=0.05)
    assert [peak.tau_s for peak in peaks] == pytest.approx([2e-4, 0.2], rel=0.1)


def test_an_inductance_is_told_apart_and_enters_no_resistance() -> None:
    z = _zarc(9.45, (20, 5e-3, 0.9)) + 2j * np.pi * FREQUENCY * 3e-7
    found = relaxation_times(FREQUENCY, z)
    assert found.inductance_h == pytest.approx(3e-7, rel=0.02)
    assert found.series_ohm == pytest.approx(9.45, rel=0.005)
    assert found.polarisation_ohm == pytest.approx(20, rel=0.005)


def test_the_distribution_is_never_negative_and_gives_the_spectrum_back() -> None:
    z = _noisy(_zarc(5, (40, 2e-4, 0.95), (90, 0.2, 0.9)), 1e-3, 2)
    found = relaxation_times(FREQUENCY, z)
    assert found.gamma_ohm.min() >= 0
    assert np.max(np.abs(found.impedance_ohm(FREQUENCY) - z) / np.abs(z)) < 0.02


def test_a_given_regularisation_is_used_and_told() -> None:
    found = relaxation_times(FREQUENCY, _zarc(10, (50, 0.1, 0.8)), regularisation=1e-3)
    assert (found.regularisation, found.chosen_by) == (1e-3, "given")


def test_the_order_of_the_points_does_not_matter() -> None:
    z = _noisy(_zarc(10, (50, 0.1, 0.8)), 1e-3, 3)
    one, other = relaxation_times(FREQUENCY, z), relaxation_times(FREQUENCY[::-1], z[::-1])
    assert one.polarisation_ohm == pytest.approx(other.polarisation_ohm, rel=1e-6)


def test_what_lies_below_the_band_is_told_as_outside() -> None:
    z = _zarc(10, (50, 1e-2, 0.9), (200, 400.0, 1.0))
    assert not relaxation_times(FREQUENCY, z).peaks[-1].inside


@pytest.mark.parametrize(
    ("points", "value", "strength", "told"),
    [
        (5, 1.0, None, "5 frequencies are too few"),
        (20, math.nan, None, "not finite"),
        (20, 1.0, 0.0, "not above 0"),
    ],
)
def test_bad_spectra_and_bad_regularisations_are_refused(
    points: int, value: float, strength: float | None, told: str
) -> None:
    z = np.full(points, value, dtype=np.complex128)
    with pytest.raises(RelaxationTimesError, match=told):
        relaxation_times(FREQUENCY[:points], z, regularisation=strength)


def test_a_resistor_has_no_peak() -> None:
    for seed in range(5):
        found = relaxation_times(FREQUENCY, _noisy(np.full(81, 100.0 + 0j), 1e-3, seed))
        assert found.peaks == ()
        assert found.series_ohm == pytest.approx(100.0, rel=2e-3)


def test_a_spike_of_the_mains_that_the_fit_leaves_out_is_no_peak_of_the_distribution(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    frequency = np.logspace(5, -1, 61)

    def found(spike: float) -> dict[str, Metric]:
        z = synthetic.arcs_ohm(frequency, 9.0, (40.0, 1e-3, 0.9))
        z[np.argmin(np.abs(frequency - 50))] *= 1 + spike
        told = make_run()
        columns = {name: np.ones(61) for name in ("spectrum", "t", "cycle", "half_cycle", "step")}
        columns |= {"frequency": frequency, "z_real": z.real, "z_imag": z.imag}
        told.stream("impedance", "potentiostat_impedance", columns)
        told.stop()
        return metrics(Run.from_documents(told.documents))

    clean, spiked = found(0.0), found(0.3)
    assert spiked["interfacial_resistance_ohm"].value == pytest.approx([40.0], rel=0.01)
    for name in ("drt_tau_s", "drt_area_ohm"):
        assert spiked[name].value == pytest.approx(clean[name].value, rel=0.03)
