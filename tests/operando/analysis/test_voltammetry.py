import numpy as np
import pytest

from operando.analysis.voltammetry import couples, one_ways, peaks, rate_exponent

STEP = 1e-3
RATE = 1e-4


def _voltammogram(
    shapes: list[tuple[float, float, float]], scans: int = 2, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two-way scans with a Gaussian up at the first and down at the second potential."""
    up = np.arange(2.4, 3.7, STEP)
    e = np.tile(np.concatenate((up, up[::-1])), scans)
    t = np.arange(len(e)) * STEP / RATE
    rising = np.tile(np.concatenate((np.ones(len(up)), -np.ones(len(up)))), scans)
    i = 2e-6 * rising + 1e-6 * (e - 3.0)
    for anodic, cathodic, height in shapes:
        i = i + np.where(
            rising > 0,
            height * np.exp(-(((e - anodic) / 0.02) ** 2)),
            -height * np.exp(-(((e - cathodic) / 0.02) ** 2)),
        )
    return t, e, i + noise * np.random.default_rng(0).normal(size=len(i))


SPINS = [(3.17, 3.12, 6e-5), (3.43, 3.31, 8e-5)]


def test_a_voltammogram_is_split_where_it_turns() -> None:
    t, e, i = _voltammogram(SPINS, scans=3)
    sweeps = one_ways(t, e + 2e-5 * np.random.default_rng(1).normal(size=len(e)), i)
    assert [sweep.direction for sweep in sweeps] == [1, -1, 1, -1, 1, -1]
    assert sum(len(sweep.t_s) for sweep in sweeps) == pytest.approx(len(t), abs=12)
    for sweep in sweeps:
        assert sweep.scan_rate_v_s == pytest.approx(RATE, rel=0.01)


def test_two_couples_come_back_with_their_potentials_and_separations() -> None:
    t, e, i = _voltammogram(SPINS, noise=2e-8)
    up, down = one_ways(t, e, i)[-2:]
    found = couples(peaks(up), peaks(down))
    assert [couple.anodic.potential_v for couple in found] == pytest.approx([3.17, 3.43], abs=2e-3)
    assert [couple.cathodic.potential_v for couple in found] == pytest.approx(
        [3.12, 3.31], abs=2e-3
    )
    assert [couple.separation_v for couple in found] == pytest.approx([0.05, 0.12], abs=3e-3)
    assert found[0].middle_v == pytest.approx(3.145, abs=2e-3)


def test_peak_currents_are_those_above_their_baseline() -> None:
    t, e, i = _voltammogram(SPINS)
    up, down = one_ways(t, e, i)[:2]
    assert [peak.current_a for peak in peaks(up)] == pytest.approx([6e-5, 8e-5], rel=0.02)
    assert [peak.current_a for peak in peaks(down)] == pytest.approx([-6e-5, -8e-5], rel=0.02)


def test_positions_err_by_no_more_than_they_say() -> None:
    inside = 0
    for seed in range(40):
        centre = 3.0 + 0.01 * np.random.default_rng(seed).uniform()
        t, e, i = _voltammogram([(centre, 2.9, 6e-5)], scans=1)
        i = i + 1e-6 * np.random.default_rng(seed).normal(size=len(i))
        (peak,) = peaks(one_ways(t, e, i)[0])
        inside += abs(peak.potential_v - centre) < 2 * peak.uncertainty_v
    assert inside >= 36


def test_what_rises_to_the_end_of_a_sweep_is_no_peak() -> None:
    t, e, _ = _voltammogram([])
    assert peaks(one_ways(t, e, 1e-6 * np.exp((e - 2.4) / 0.1))[0]) == ()


def test_noise_alone_is_no_peak() -> None:
    t, e, _ = _voltammogram([])
    for seed in range(5):
        noise = 1e-8 * np.random.default_rng(seed).normal(size=len(e))
        assert len(peaks(one_ways(t, e, noise)[0])) == 0


def test_an_anodic_peak_below_every_cathodic_one_stays_alone() -> None:
    t, e, i = _voltammogram([(2.9, 3.3, 6e-5)])
    up, down = one_ways(t, e, i)[:2]
    assert couples(peaks(up), peaks(down)) == ()


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_the_exponent_of_the_scan_rate_tells_diffusion_from_surface(exponent: float) -> None:
    rates = np.array([1e-4, 2e-4, 5e-4, 1e-3])
    found = rate_exponent(rates, 3e-3 * rates**exponent)
    assert found.exponent == pytest.approx(exponent)
    assert found.r2 == pytest.approx(1.0)


def test_two_rates_are_too_few_for_an_exponent() -> None:
    found = rate_exponent(np.array([1e-4, 1e-3, 1e-3]), np.array([1.0, 2.0, 2.1]))
    assert found.exponent is None
    assert "2 scan rates" in str(found.reason)
