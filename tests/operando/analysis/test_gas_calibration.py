import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operando.analysis.gas_calibration import calibrate

LEVELS = [0.0, 1e-4, 2e-4, 5e-4, 1e-3]


@given(st.floats(1e3, 1e8), st.floats(-100, 100))
def test_a_line_without_noise_returns(slope: float, intercept: float) -> None:
    areas = [slope * level + intercept for level in LEVELS]
    found = calibrate(LEVELS, areas, through_zero=False)
    assert found.slope == pytest.approx(slope, rel=1e-6)
    assert found.intercept == pytest.approx(intercept, rel=1e-6, abs=1e-6)
    assert found.r2 == pytest.approx(1.0)
    assert found.mole_fraction(areas[2])[0] == pytest.approx(2e-4, rel=1e-6)


def test_errors_and_limit_of_detection_are_what_repetition_shows() -> None:
    random = np.random.default_rng(0)
    levels = LEVELS * 3
    fits = []
    for _ in range(300):
        areas = 6.7e6 * np.array(levels) + random.normal(0, 20.0, len(levels))
        fits.append(calibrate(levels, areas, through_zero=True))
    assert np.std([fit.slope for fit in fits]) == pytest.approx(
        np.mean([fit.slope_error for fit in fits]), rel=0.15
    )
    assert np.mean([fit.lod for fit in fits]) == pytest.approx(3 * 20 / 6.7e6, rel=0.05)


def test_forcing_through_zero_is_declared_and_changes_the_slope() -> None:
    areas = [50 + 6.7e6 * level for level in LEVELS]
    free, forced = (calibrate(LEVELS, areas, through_zero=zero) for zero in (False, True))
    assert free.slope == pytest.approx(6.7e6)
    assert forced.slope > 6.7e6
    assert (free.forced, forced.forced) == (False, True)
    assert forced.intercept == forced.intercept_error == 0.0


@pytest.mark.parametrize(
    ("levels", "areas", "zero", "why"),
    [
        ([1e-3], [5.0], True, "needs 2"),
        ([0.0, 1e-3], [0.0, 5.0], False, "needs 3"),
        ([1e-3] * 3, [4.0, 5.0, 6.0], False, "same"),
        ([1e-3, 2e-3, 3e-3], [6.0, 5.0, 4.0], False, "do not rise"),
        ([0.0, 1e-3, 2.0], [0.0, 5.0, 7.0], False, "between 0 and 1"),
        ([0.0, 1e-3, 2e-3], [0.0, float("nan"), 7.0], False, "finite"),
    ],
)
def test_what_is_no_calibration_is_refused(
    levels: list[float], areas: list[float], zero: bool, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        calibrate(levels, areas, through_zero=zero)
