import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from operando.analysis import metrics
from operando.analysis.band_shapes import BandShape, NoBandError, fit_band
from operando.analysis.raman import BANDS, Joint, despike
from operando.analysis.raman_axis import (
    NEON_NM,
    REFERENCE_LINES,
    REFRACTIVE_INDEX_OF_AIR,
    axis_shift,
    calibrate_by_lamp,
    out_of_sight,
    scattered_nm,
)
from operando.runs import Run

AXIS = np.linspace(150, 3900, 2048)
GAUSSIAN = math.sqrt(math.pi / (4 * math.log(2)))


def _clean(synthetic: Any, seed: int = 0, **bands: float) -> NDArray[np.float64]:
    counts: NDArray[np.float64] = despike(
        synthetic.spectrum_counts(AXIS, seed=seed, **bands)
    ).counts
    return counts - 100


def _band(
    axis: NDArray[np.float64], at: float, width: float, height: float, share: float
) -> NDArray[np.float64]:
    squared = ((axis - at) / width) ** 2
    lorentzian = 1 / (1 + 4 * squared)
    return height * (share * lorentzian + (1 - share) * np.exp(-4 * math.log(2) * squared))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("descending", [False, True])
def test_a_pseudo_voigt_returns_what_was_drawn(share: float, descending: bool) -> None:
    axis = np.linspace(900, 1060, 320)[:: -1 if descending else 1]
    spectrum = 300 + 0.2 * axis + _band(axis, 981.3, 9.0, 1000.0, share)
    found = fit_band(axis, spectrum, 930, 1030)
    assert found.position_cm1 == pytest.approx(981.3, abs=1e-3)
    assert found.width_cm1 == pytest.approx(9.0, rel=1e-3)
    assert found.height == pytest.approx(1000.0, rel=1e-3)
    assert found.lorentzian == pytest.approx(share, abs=5e-3)
    factor = share * math.pi / 2 + (1 - share) * GAUSSIAN
    assert found.area == pytest.approx(9000 * factor, rel=3e-3)


def test_standard_errors_are_what_repetition_shows(synthetic: Any) -> None:
    fits = [fit_band(AXIS, _clean(synthetic, seed), 955, 1006) for seed in range(40)]
    for value, error in (("position_cm1", "position_error_cm1"), ("area", "area_error")):
        spread = np.std([getattr(fit, value) for fit in fits])
        told = np.median([getattr(fit, error) for fit in fits])
        assert 0.5 * spread < told < 2.5 * spread
    mean = np.mean([fit.position_cm1 for fit in fits])
    assert mean == pytest.approx(980.5, abs=0.01)


def test_a_band_on_waters_shoulder_needs_a_parabola(synthetic: Any) -> None:
    areas = [
        fit_band(AXIS, _clean(synthetic, seed, film=0.5), 3590, 3680, curved=True).area
        for seed in range(20)
    ]
    assert np.mean(areas) == pytest.approx(0.5 * 2500 * 20 * GAUSSIAN, rel=0.05)


JOINT = BANDS["band_465"]
assert isinstance(JOINT, Joint)


def _at_465(spectrum: NDArray[np.float64]) -> BandShape:
    return fit_band(AXIS, spectrum, JOINT.low, JOINT.high, at=JOINT.wanted, beside=JOINT.neighbours)


@pytest.mark.parametrize(("width", "share"), [(10.0, 0.0), (15.0, 0.5), (24.0, 1.0)])
def test_a_band_among_known_neighbours_has_a_width_of_its_own(width: float, share: float) -> None:
    spectrum = 900 + 0.2 * AXIS + _band(AXIS, 466.0, width, 700.0, share)
    for where, wide in JOINT.neighbours:
        spectrum += _band(AXIS, where, wide, 600.0, 0.0)
    found = _at_465(spectrum)
    assert found.position_cm1 == pytest.approx(466.0, abs=0.02)
    assert found.width_cm1 == pytest.approx(width, rel=0.01)
    assert found.lorentzian == pytest.approx(share, abs=0.03)


def test_band_465_is_fitted_with_its_neighbours_and_its_errors_are_what_repetition_shows(
    synthetic: Any,
) -> None:
    fits = [_at_465(_clean(synthetic, seed, hydroxide=0.06)) for seed in range(40)]
    for value, error in (("position_cm1", "position_error_cm1"), ("area", "area_error")):
        spread = np.std([getattr(fit, value) for fit in fits])
        told = np.median([getattr(fit, error) for fit in fits])
        assert 0.5 * spread < told < 2.5 * spread
    assert np.mean([fit.position_cm1 for fit in fits]) == pytest.approx(465.0, abs=0.2)
    assert np.mean([fit.width_cm1 for fit in fits]) == pytest.approx(15.0, rel=0.05)
    # More sulfate beside it changes neither its place nor its area.
    more = [_at_465(_clean(synthetic, seed, hydroxide=0.06, sulfate=1.5)) for seed in range(40)]
    area = np.mean([fit.area for fit in fits])
    assert np.mean([fit.area for fit in more]) == pytest.approx(area, rel=0.05)


def test_without_band_465_its_neighbours_are_not_taken_for_it(synthetic: Any) -> None:
    for seed in range(40):
        with pytest.raises(NoBandError, match=r"between 415 and 515|not told apart"):
            _at_465(_clean(synthetic, seed))


def test_without_a_band_there_is_no_number_but_a_limit(synthetic: Any) -> None:
    for seed in range(20):
        with pytest.raises(NoBandError, match=r"limit of detection|none could|no max"):
            fit_band(AXIS, _clean(synthetic, seed), 3590, 3680, curved=True)


def test_a_window_outside_the_axis_or_with_few_pixels_is_refused() -> None:
    with pytest.raises(NoBandError, match="outside the axis"):
        fit_band(AXIS, np.ones(2048), 3800, 4000)
    coarse = np.linspace(0, 4000, 100)
    with pytest.raises(NoBandError, match="only 1 pixels"):
        fit_band(coarse, np.ones(100), 960, 1000)


@pytest.mark.parametrize("line", list(REFERENCE_LINES.values()))
def test_the_shift_of_a_reference_line_returns(line: float) -> None:
    axis = np.linspace(200, 1800, 800)
    random = np.random.default_rng(0)
    spectrum = 500 + _band(axis, line + 1.7, 6.0, 4000.0, 0.5) + random.normal(0, 20, 800)
    found = axis_shift(axis, spectrum, line)
    assert found.shift_cm1 == pytest.approx(1.7, abs=max(4 * found.error_cm1, 0.02))


def test_a_lamp_puts_an_axis_right() -> None:
    true = np.linspace(120, 2300, 1000)
    lamp = np.full(1000, 1100.0)
    for line_nm in NEON_NM:
        at = 1e7 / 785.0 - 1e7 / (line_nm * REFRACTIVE_INDEX_OF_AIR)
        lamp += _band(true, at, 13.0, 5000.0, 0.2)
    told = true + 2.0 + 5e-4 * (true - 1000)
    found = calibrate_by_lamp(told, lamp + np.random.default_rng(0).normal(0, 5, 1000), 785.0)
    assert found.lines >= 5
    np.testing.assert_allclose(found.axis_cm1, true, atol=0.1)
    with pytest.raises(NoBandError, match="lines of the lamp"):
        calibrate_by_lamp(told, np.random.default_rng(0).normal(1000, 5, 1000), 785.0)


def test_the_oh_band_is_out_of_sight_at_785_nm() -> None:
    assert scattered_nm(785.0, 3633.0) == pytest.approx(1098, abs=1)
    assert "1098 nm, beyond silicon" in str(out_of_sight(785.0, 3633.0))
    assert out_of_sight(532.0, 3633.0) is None
    assert out_of_sight(785.0, 980.0) is None
    assert out_of_sight(None, 3633.0) is None
    # Nobody looks at 1064 nm with silicon: the axis tells what can be seen.
    assert out_of_sight(1064.0, 3633.0) is None


def _run(
    make_run: Callable[..., Any],
    synthetic: Any,
    configuration: dict[str, Any],
    accumulations: int = 3,
    **calibration: Any,
) -> Any:
    """Evaluate a run of 20 blanks and six spectra with a film that appears after the second."""
    told = make_run(calibration=calibration)
    told.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9,)))
    spectra = [synthetic.spectrum_counts(AXIS, seed=k) for k in range(22)]
    spectra += [synthetic.spectrum_counts(AXIS, seed=k, film=0.6) for k in range(50, 54)]
    when = np.array([math.nan] * 20 + [200.0, 500.0, 800.0, 1100.0, 1400.0, 1700.0])
    told.stream(
        "raman",
        "raman",
        {
            "t_before": when,
            "t_after": when + 10,
            "laser": np.ones(26),
            "accumulations": np.full(26, float(accumulations)),
        },
        {"counts": np.stack(spectra)[:, :accumulations], "dark": np.full((26, 2048), 100.0)},
        {"raman_wavenumber": AXIS.tolist(), **configuration},
    )
    told.stop()
    return metrics(Run.from_documents(told.documents))


def test_a_film_is_detected_by_its_second_spectrum_and_has_a_shape_from_its_first(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    found = _run(make_run, synthetic, {"raman_excitation": 532.0})
    assert found["band_3633_detected_h"].value == pytest.approx(1105 / 3600)
    assert found["band_980_detected_h"].value is None
    assert "below the decision limit" in str(found["band_980_detected_h"].reason)
    assert 0 < found["band_3633_decision_limit"].value < found["band_3633_change"].value
    positions = found["band_3633_position_cm1"].value
    assert positions[:22] == [None] * 22
    assert positions[22:] == [pytest.approx(3633, abs=1.0)] * 4
    assert "no band between 3590 and 3680 cm-1 (22 times)" in str(
        found["band_3633_position_cm1"].reason
    )
    assert found["band_980_width_cm1"].value == pytest.approx([8.0] * 26, abs=0.2)
    assert found["band_980_fit_area"].value == pytest.approx(found["band_980_area"].value, rel=0.05)
    expected = 12000 * 8 / (1500 * 30)
    assert found["band_980_to_390"].value == pytest.approx([expected] * 26, rel=0.06)
    assert "reference_line_cm1" in str(found["raman_axis_shift_cm1"].reason)
    assert found["band_465_width_cm1"].value is None
    assert "no band between 415 and 515 cm-1" in str(found["band_465_width_cm1"].reason)


def test_at_785_nm_the_oh_band_is_refused_and_the_axis_is_checked_on_a_declared_line(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    raman = {"reference_line_cm1": 979.0}
    found = _run(make_run, synthetic, {"raman_excitation": 785.0}, raman=raman)
    for name in ("band_3633_area", "band_3633_position_cm1", "band_3633_change"):
        assert found[name].value is None
        assert "beyond silicon" in str(found[name].reason)
    assert found["band_980_change"].reason is not None
    assert found["raman_axis_shift_cm1"].value == pytest.approx([1.5] * 26, abs=0.1)


def test_spectra_of_one_accumulation_say_that_cosmic_rays_were_not_taken_out(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    silent = "cosmic rays are not taken out"
    found = _run(make_run, synthetic, {"raman_excitation": 532.0}, accumulations=1)
    for name in ("band_980_area", "band_980_to_390", "band_980_fit_area"):
        assert found[name].value is not None
        assert silent in str(found[name].reason)
    usual = _run(make_run, synthetic, {"raman_excitation": 532.0})
    assert silent not in str(usual["band_980_area"].reason)
