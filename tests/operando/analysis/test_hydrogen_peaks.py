from typing import Any

import numpy as np
import pytest

from operando.analysis.hydrogen import (
    Calibration,
    Peak,
    PeakWindow,
    faradaic_efficiency_pct,
    headspace_hydrogen,
    peak_area,
)

CALIBRATION = Calibration(hydrogen_area_per_mole_fraction=6.7e6, headspace_ml=5.0)


@pytest.mark.parametrize("area", [200.0, 6.7e3, 1e5])
def test_the_area_of_a_peak_returns_beside_oxygen_and_drift(synthetic: Any, area: float) -> None:
    found = peak_area(synthetic.chromatogram(area), 0.02, PeakWindow())
    assert found.area == pytest.approx(area, abs=4 * found.noise + 1e-4 * area)


def test_the_noise_of_an_area_is_what_repetition_shows(synthetic: Any) -> None:
    peaks = [peak_area(synthetic.chromatogram(0, seed=k), 0.02, PeakWindow()) for k in range(60)]
    spread = np.std([peak.area for peak in peaks])
    assert np.mean([peak.noise for peak in peaks]) == pytest.approx(spread, rel=0.4)


def test_a_trace_that_ends_too_early_is_refused(synthetic: Any) -> None:
    with pytest.raises(ValueError, match="lasts 40"):
        peak_area(synthetic.chromatogram(100)[:2000], 0.02, PeakWindow())


def test_the_ideal_gas_turns_a_mole_fraction_into_moles() -> None:
    (found,) = headspace_hydrogen([Peak(6.7e3, 5.0)], CALIBRATION)
    assert found.mole_fraction == pytest.approx(1e-3)
    expected = 1e-3 * 101325 * 5e-6 / (8.314462618 * 298.15) * 1e6
    assert found.since_start_umol == pytest.approx(expected)


def test_what_an_injection_took_away_is_added_to_the_next() -> None:
    loop = Calibration(6.7e6, 5.0, sample_loop_ml=0.5)
    first, second = headspace_hydrogen([Peak(6.7e3, 5.0), Peak(6.03e3, 5.0)], loop)
    # A tenth of the headspace was taken; the rest holds nine tenths: nothing new was formed.
    assert second.since_start_umol == pytest.approx(first.since_start_umol)
    assert second.since_last_umol == pytest.approx(0.0, abs=1e-9)


def test_below_the_limit_of_detection_is_not_zero() -> None:
    found = headspace_hydrogen([Peak(10.0, 5.0), Peak(900.0, 5.0)], CALIBRATION)
    assert found[0].since_start_umol is None
    assert found[0].reason is not None
    assert "limit of detection" in found[0].reason
    assert found[1].since_last_umol == found[1].since_start_umol


def test_an_injection_without_a_result_keeps_its_place() -> None:
    found = headspace_hydrogen([Peak(900.0, 5.0), "missed", Peak(1800.0, 5.0)], CALIBRATION)
    assert [one.number for one in found] == [1, 2, 3]
    assert found[1].reason == "injection 2: missed"
    assert found[2].since_last_umol == pytest.approx(found[0].since_start_umol)


def test_all_charge_into_hydrogen_is_100_percent() -> None:
    assert faradaic_efficiency_pct(18.656, 3.6) == pytest.approx(100.0, rel=1e-4)


def test_the_calibration_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="headspace_ml"):
        Calibration.from_document({"hydrogen_area_per_mole_fraction": 1.0})
    assert (
        Calibration.from_document({"hydrogen_area_per_mole_fraction": 1.0}, 7.0).headspace_ml == 7.0
    )
