from typing import Any

import numpy as np
import pytest

from operando.analysis.raman import (
    BANDS,
    BandError,
    area_weights,
    band_area,
    band_area_error,
    decision_factor,
    despike,
    trend,
)

AXIS = np.linspace(150, 3900, 2048)


def _areas(synthetic: Any, seed: int, **bands: float) -> dict[str, float]:
    counts = despike(synthetic.spectrum_counts(AXIS, seed=seed, **bands)).counts - 100
    return {name: band_area(AXIS, counts, name) for name in BANDS}


def _change(synthetic: Any, name: str, **bands: float) -> Any:
    blanks = [_areas(synthetic, seed)[name] for seed in range(20)]
    later = [_areas(synthetic, seed, **bands)[name] for seed in range(100, 106)]
    return trend(np.array(blanks), np.array(later))


@pytest.mark.parametrize(
    ("name", "bands", "direction"),
    [
        ("band_3633", {"film": 0.5}, 1),
        ("band_980", {"sulfate": 0.93}, -1),
        ("band_465", {"hydroxide": 0.05}, 1),
    ],
)
def test_each_band_moves_in_its_own_direction(
    synthetic: Any, name: str, bands: dict[str, float], direction: int
) -> None:
    moved = _change(synthetic, name, **bands)
    assert moved.change is not None
    assert np.sign(moved.change) == direction
    assert moved.blanks == 20


@pytest.mark.parametrize("name", list(BANDS))
def test_the_uncertainty_of_an_area_is_its_scatter(synthetic: Any, name: str) -> None:
    weights = area_weights(AXIS, name)
    areas, errors = [], []
    for seed in range(40):
        counts = despike(synthetic.spectrum_counts(AXIS, seed=seed)).counts - 100
        areas.append(band_area(AXIS, counts, name))
        errors.append(band_area_error(AXIS, counts, weights))
    assert np.mean(errors) == pytest.approx(np.std(areas, ddof=1), rel=0.4)


@pytest.mark.parametrize("name", list(BANDS))
def test_a_spectrum_like_the_blanks_shows_no_change_rather_than_zero(
    synthetic: Any, name: str
) -> None:
    moved = _change(synthetic, name)
    assert moved.change is None
    assert moved.reason is not None
    assert "decision limit" in moved.reason


def test_the_sulfate_neighbour_does_not_leak_into_band_465(synthetic: Any) -> None:
    few = _areas(synthetic, 1, sulfate=0.5)["band_465"]
    many = _areas(synthetic, 1, sulfate=1.5)["band_465"]
    assert many == pytest.approx(few, abs=3e-4)


def test_laser_power_cancels_against_water(synthetic: Any) -> None:
    counts = despike(synthetic.spectrum_counts(AXIS)).counts - 100
    for name in BANDS:
        assert band_area(AXIS, 1.3 * counts, name) == pytest.approx(band_area(AXIS, counts, name))


def test_cosmic_rays_are_replaced_and_counted(synthetic: Any) -> None:
    counts = synthetic.spectrum_counts(AXIS)
    clean = despike(counts).counts
    position = int(np.searchsorted(AXIS, 980.5))
    for accumulation, pixel in ((0, 300), (1, position), (2, 1900)):
        counts[accumulation, pixel] += 9000
        counts[accumulation, pixel + 1] += 3000
    healed = despike(counts)
    assert 6 <= healed.flagged <= 9
    np.testing.assert_allclose(healed.counts, clean, atol=250)


def test_a_healthy_spectrum_is_left_alone(synthetic: Any) -> None:
    counts = synthetic.spectrum_counts(AXIS)
    assert despike(counts).flagged == 0
    np.testing.assert_allclose(despike(counts).counts, counts.mean(axis=0))


def test_a_single_accumulation_is_taken_as_it_is() -> None:
    counts = np.arange(20.0)[None, :]
    np.testing.assert_array_equal(despike(counts).counts, counts[0])


def test_a_band_outside_the_axis_is_refused(synthetic: Any) -> None:
    short = np.linspace(150, 3400, 1024)
    with pytest.raises(BandError, match="outside the axis"):
        band_area(short, np.ones(1024), "band_3633")


def test_without_water_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(BandError, match="laser"):
        band_area(AXIS, np.zeros(2048), "band_980")


def test_fewer_blanks_ask_for_a_larger_change() -> None:
    factors = [decision_factor(count) for count in (5, 8, 12, 19)]
    assert factors == sorted(factors, reverse=True)
    assert decision_factor(20) == decision_factor(50) == 4.0
    assert factors[-1] == pytest.approx(4.0, abs=0.1)


def test_too_few_blanks_decide_nothing() -> None:
    moved = trend(np.array([0.1, 0.11]), np.array([0.5, 0.6]))
    assert moved.change is None
    assert moved.reason == "2 blank spectra before the first half-cycle, at least 5 needed"


def test_one_outlier_at_the_end_decides_nothing() -> None:
    blanks = np.random.default_rng(0).normal(0, 1, 20)
    assert trend(blanks, np.array([0.0, 0.1, 30.0])).change is None


def test_a_steady_rise_has_a_sign_over_the_run() -> None:
    blanks = np.random.default_rng(0).normal(0, 1, 20)
    assert trend(blanks, np.arange(12.0)).sign == 1
    assert trend(blanks, -np.arange(12.0)).sign == -1
    assert trend(blanks, np.zeros(12) + blanks[:12]).sign == 0
