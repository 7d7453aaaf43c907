import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operando.analysis.charge_transfer import (
    butler_volmer_ma_cm2,
    charge_transfer_ohm_cm2,
    fit_butler_volmer,
    linear_polarisation,
    overpotential_v,
    tafel,
)

ETA = np.linspace(-0.15, 0.15, 301)
VOLT = 8.314462618 * 298.15 / 96485.33212  # RT/F


def _with_series_v(eta: np.ndarray, j: np.ndarray, series_ohm_cm2: float) -> np.ndarray:
    return eta + 1e-3 * j * series_ohm_cm2


@given(j=st.floats(-50, 50), j0=st.floats(0.01, 10), n=st.integers(1, 2), t=st.floats(260, 340))
def test_the_overpotential_is_the_inverse_of_butler_volmer(
    j: float, j0: float, n: int, t: float
) -> None:
    eta = overpotential_v(j, j0, n, temperature_k=t)
    back = butler_volmer_ma_cm2(eta, j0, temperature_k=t, alpha_anodic=n / 2, alpha_cathodic=n / 2)
    assert float(back) == pytest.approx(j, rel=1e-9, abs=1e-9)


def test_the_published_exchange_currents_of_sodium_are_these_resistances() -> None:
    assert charge_transfer_ohm_cm2(2.36, 1) == pytest.approx(10.9, abs=0.05)
    assert charge_transfer_ohm_cm2(1.86, 1) == pytest.approx(13.8, abs=0.05)


@settings(max_examples=40, deadline=None)
@given(j0=st.floats(0.01, 5), alpha=st.floats(0.3, 1.5), seed=st.integers(0, 99))
def test_a_tafel_line_far_from_equilibrium_gives_j0_and_slope_back(
    j0: float, alpha: float, seed: int
) -> None:
    eta = np.linspace(0.15, 0.30, 151)
    j = butler_volmer_ma_cm2(eta, j0, alpha_anodic=alpha, alpha_cathodic=1.0)
    j = j * (1 + 1e-3 * np.random.default_rng(seed).normal(size=151))
    found = tafel(eta, j, window_v=(0.15, 0.30))
    assert found.j0_ma_cm2 is not None
    assert found.slope_mv_dec is not None
    assert found.j0_ma_cm2 == pytest.approx(j0, rel=0.03)
    assert found.slope_mv_dec == pytest.approx(1e3 * VOLT * math.log(10) / alpha, rel=0.01)
    assert found.r2 == pytest.approx(1.0, abs=1e-3)


def test_both_branches_have_their_own_slope() -> None:
    j = butler_volmer_ma_cm2(ETA, 0.1, alpha_anodic=1.5, alpha_cathodic=0.5)
    anodic = tafel(ETA, j, window_v=(0.06, 0.11))
    cathodic = tafel(ETA, j, window_v=(-0.11, -0.06))
    assert anodic.slope_mv_dec == pytest.approx(39.4, rel=0.02)
    assert cathodic.slope_mv_dec == pytest.approx(115, rel=0.05)


def test_an_uncompensated_sweep_reads_far_less_than_the_interface_has() -> None:
    # An interface of 2 ohm cm2 behind 10.7 ohm cm2: what such plots measure is the electrolyte.
    j_true = butler_volmer_ma_cm2(ETA, 13.0)
    e = _with_series_v(ETA, j_true, 10.7)
    apparent = tafel(e, j_true)
    corrected = tafel(e, j_true, series_ohm_cm2=10.7)
    assert not apparent.ir_corrected
    assert corrected.ir_corrected
    assert apparent.j0_ma_cm2 is not None
    assert apparent.j0_ma_cm2 < 0.25 * 13.0
    # So near to equilibrium the line itself is low by a sixth.
    assert corrected.j0_ma_cm2 == pytest.approx(13.0, rel=0.2)


@pytest.mark.parametrize(
    ("window", "told"),
    [
        ((-0.01, 0.05), "both branches"),
        ((0.4, 0.5), "0 rows lie in the window of 400 to 500 mV"),
    ],
)
def test_a_window_that_tells_nothing_is_none_with_a_reason(
    window: tuple[float, float], told: str
) -> None:
    found = tafel(ETA, butler_volmer_ma_cm2(ETA, 1.0), window_v=window)
    assert found.j0_ma_cm2 is None
    assert told in str(found.reason)


def test_a_current_of_the_wrong_sign_is_none_with_a_reason() -> None:
    found = tafel(ETA, -butler_volmer_ma_cm2(ETA, 1.0))
    assert found.j0_ma_cm2 is None
    assert "other sign" in str(found.reason)


@settings(max_examples=40, deadline=None)
@given(
    j0=st.floats(0.05, 10),
    n=st.integers(1, 2),
    series=st.floats(1, 20),
    interfaces=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_the_slope_at_rest_gives_j0_back_when_the_series_resistance_is_taken_off(
    j0: float, n: int, series: float, interfaces: int, seed: int
) -> None:
    limit = 0.005 if n == 1 else 0.003
    eta = np.linspace(-limit, limit, 101)
    j = butler_volmer_ma_cm2(eta, j0, alpha_anodic=n / 2, alpha_cathodic=n / 2)
    noise = 1e-6 * np.random.default_rng(seed).normal(size=101)
    e = _with_series_v(interfaces * eta, j, series) + noise
    found = linear_polarisation(
        e, j, n, limit_v=limit, interfaces=interfaces, series_ohm_cm2=series
    )
    assert found.j0_ma_cm2 is not None
    assert found.j0_ma_cm2 == pytest.approx(j0, rel=0.01)
    assert found.ir_corrected


def test_without_the_series_resistance_j0_is_lower_and_told_as_such() -> None:
    eta = np.linspace(-0.02, 0.02, 401)
    j = butler_volmer_ma_cm2(eta, 2.0)
    found = linear_polarisation(_with_series_v(eta, j, 10.0), j, 1, limit_v=0.005)
    assert not found.ir_corrected
    assert found.j0_ma_cm2 is not None
    assert found.resistance_ohm_cm2 == pytest.approx(
        10.0 + charge_transfer_ohm_cm2(2.0, 1), rel=0.01
    )


def test_a_series_resistance_that_is_too_large_is_none_with_a_reason() -> None:
    eta = np.linspace(-0.005, 0.005, 101)
    j = butler_volmer_ma_cm2(eta, 2.0)
    found = linear_polarisation(eta, j, 1, limit_v=0.005, series_ohm_cm2=20.0)
    assert found.j0_ma_cm2 is None
    assert "too large" in str(found.reason)


@settings(max_examples=25, deadline=None)
@given(
    j0=st.floats(0.05, 5),
    anodic=st.floats(0.4, 1.6),
    cathodic=st.floats(0.4, 1.6),
    seed=st.integers(0, 999),
)
def test_fitted_transfer_coefficients_cover_the_truth(
    j0: float, anodic: float, cathodic: float, seed: int
) -> None:
    j = butler_volmer_ma_cm2(ETA, j0, alpha_anodic=anodic, alpha_cathodic=cathodic)
    j = j * (1 + 5e-3 * np.random.default_rng(seed).normal(size=len(ETA)))
    fit = fit_butler_volmer(ETA, j)
    assert fit.alpha_anodic == pytest.approx(anodic, abs=5 * fit.alpha_anodic_uncertainty)
    assert fit.alpha_cathodic == pytest.approx(cathodic, abs=5 * fit.alpha_cathodic_uncertainty)
    assert fit.j0_ma_cm2 == pytest.approx(j0, abs=5 * fit.j0_uncertainty_ma_cm2)
    assert fit.alpha_anodic_uncertainty < 0.05 * anodic


def test_one_branch_is_not_enough_for_both_coefficients() -> None:
    with pytest.raises(ValueError, match="both branches"):
        fit_butler_volmer(ETA[160:], butler_volmer_ma_cm2(ETA[160:], 1.0))
