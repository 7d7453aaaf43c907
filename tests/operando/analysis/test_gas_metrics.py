"""Chromatograms of whole runs: closed, swept, leaking, and of gases that check the instrument."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.analysis.accuracy import CurrentAccuracy
from operando.analysis.gas_calibration import LinearCalibration
from operando.analysis.hydrogen import (
    Calibration,
    Injection,
    Peak,
    PeakWindow,
    dissolved_umol,
    headspace_hydrogen,
    partial_current_ma,
    peak_area,
    swept_hydrogen,
)
from operando.runs import Run

SLOPE = 6.7e6
CLOSED = {"hydrogen_area_per_mole_fraction": SLOPE, "headspace_ml": 5.0}
SWEPT = {
    "hydrogen_area_per_mole_fraction": SLOPE,
    "headspace": "swept",
    "carrier_sccm": 5.0,
    "carrier_reference_k": 273.15,
}
FARADAY, R = 96485.33212, 8.314462618
Make = Callable[..., Any]


def _run(
    make_run: Make,
    synthetic: Any,
    areas: Sequence[float],
    at_s: Sequence[float],
    calibration: Any,
    *,
    rows: Any = None,
    check: Any = None,
    leak: float = 0.0,
    cell: Any = None,
) -> Any:
    sample = {**synthetic.HALF_CELL, **(cell or {})}
    sample["electrolyte"] = {**sample["electrolyte"], "volume_ul": 100.0}
    told = make_run(sample, calibration={"gas_chromatograph": calibration})
    if check is not None:
        told.documents[0][1]["gas_check"] = check
    columns = synthetic.galvanostatic((0.9, 0.98)) if rows is None else rows
    told.stream("potentiostat", "potentiostat", columns)
    numbers = np.arange(1.0, len(areas) + 1)
    when = np.asarray(at_s)
    asked = {"injection": numbers, "t_before": when - 1, "t_after": when + 1}
    told.stream("gas_chromatograph", "gas_chromatograph", {**asked, "missed": np.zeros(len(areas))})
    t = np.arange(0, 160, 0.02)
    air = [leak * n * np.exp(-0.5 * ((t - 69.12) / 1.1) ** 2) for n in range(len(areas))]
    traces = [synthetic.chromatogram(area, seed=n) for n, area in enumerate(areas)]
    told.stream(
        "chromatogram",
        "gas_chromatograph_result",
        {"injection": numbers, "sample_interval": np.full(len(areas), 0.02)},
        {"trace": np.stack(traces) + np.stack(air)},
    )
    told.stop()
    return metrics(Run.from_documents(told.documents))


def test_a_closed_headspace_tells_rates_shares_and_what_is_dissolved(
    make_run: Make, synthetic: Any
) -> None:
    areas, at_s = [3000.0, 9000.0], [900.0, 1800.0]
    found = _run(make_run, synthetic, areas, at_s, CLOSED)
    per_area = 101325 * 5e-6 / (R * 298.15) * 1e6 / SLOPE
    rates = found["hydrogen_rate_nmol_s"].value
    assert rates == pytest.approx(
        [3000 * per_area * 1e3 / 900, 6000 * per_area * 1e3 / 900], rel=0.01
    )
    currents = found["hydrogen_partial_current_ma"].value
    assert currents == pytest.approx([2 * FARADAY * rate * 1e-6 for rate in rates])
    # 1 mA/cm2 over 1.131 cm2 flows all that time.
    shares = found["hydrogen_interval_fe_pct"].value
    assert shares == pytest.approx([100 * current / 1.131 for current in currents], rel=0.01)
    amounts = found["hydrogen_umol"]
    of_charge = CurrentAccuracy().relative(1.131e-3)
    for share, error, amount, of_amount in zip(
        shares,
        found["hydrogen_interval_fe_pct"].uncertainty,
        amounts.value,
        amounts.uncertainty,
        strict=True,
    ):
        assert 0.005 < of_amount / amount < 0.02
        assert error / share == pytest.approx(math.hypot(of_amount / amount, of_charge))
    assert found["hydrogen_mole_fraction_ppm"].value == pytest.approx(
        [area / SLOPE * 1e6 for area in areas], rel=0.01
    )
    dissolved = found["hydrogen_dissolved_umol"]
    assert dissolved.value[1] == pytest.approx(7.8e-4 * 9000 / SLOPE * 100, rel=0.01)
    assert "not part of the amounts" in str(dissolved.reason)
    assert found["hydrogen_peak_retention_s"].value == pytest.approx([52.06] * 2, abs=0.05)
    assert found["hydrogen_peak_asymmetry"].value == pytest.approx([1.0] * 2, abs=0.1)
    ratio = 9000 / (0.8 * math.sqrt(2 * math.pi)) / 4
    assert found["hydrogen_peak_signal_to_noise"].value[1] == pytest.approx(ratio, rel=0.15)
    assert found["oxygen_area"].value == pytest.approx([1340] * 2, rel=0.1)
    assert found["nitrogen_area"].value == pytest.approx([5360] * 2, rel=0.05)
    assert "oxygen_area_per_mole_fraction" in str(found["oxygen_ppm"].reason)
    assert found["hydrogen_recovery_pct"].value is None


def test_what_corroded_in_a_rest_before_is_in_no_rate_of_the_current(
    make_run: Make, synthetic: Any
) -> None:
    rows = synthetic.galvanostatic((0.9, 0.98))
    rows["t"] = rows["t"] + 3600.0
    per_area = 101325 * 5e-6 / (R * 298.15) * 1e6 / SLOPE
    names = ("hydrogen_rate_nmol_s", "hydrogen_partial_current_ma", "hydrogen_interval_fe_pct")
    found = _run(make_run, synthetic, [3000.0, 9000.0], [4500.0, 5400.0], CLOSED, rows=rows)
    for name in names:
        assert found[name].value[0] is None
        assert found[name].value[1] is not None
        assert "injection 1 has all hydrogen since the headspace was closed, 3600 s of rest" in str(
            found[name].reason
        )
    rate = 6000 * per_area * 1e3 / 900
    assert found[names[0]].value[1] == pytest.approx(rate, rel=0.01)
    assert found["hydrogen_umol"].value[0] is not None
    # An injection just before the current tells what the rest had made.
    found = _run(make_run, synthetic, [3000.0, 9000.0], [3570.0, 4470.0], CLOSED, rows=rows)
    assert found[names[0]].value == [None, pytest.approx(rate, rel=0.01)]
    assert found[names[2]].value[1] is not None


def test_an_interval_that_is_mostly_the_rest_before_the_current_has_no_share_of_its_charge(
    make_run: Make, synthetic: Any
) -> None:
    # Zinc corrodes all the time; a minute after the current began comes the third injection.
    rows = synthetic.galvanostatic((0.9, 0.98))
    rows["t"] = rows["t"] + 3600.0
    areas, at_s = [1000.0, 2000.0, 3000.0, 4000.0], [1860.0, 2760.0, 3660.0, 4560.0]
    found = _run(make_run, synthetic, areas, at_s, CLOSED, rows=rows)
    per_area = 101325 * 5e-6 / (R * 298.15) * 1e6 / SLOPE
    rate = 1000 * per_area * 1e3 / 900
    rates, shares = found["hydrogen_rate_nmol_s"], found["hydrogen_interval_fe_pct"]
    assert rates.value == [None, *[pytest.approx(rate, rel=0.05)] * 3]
    share = 100 * partial_current_ma(rate) / 1.131
    assert shares.value == [None, None, None, pytest.approx(share, rel=0.05)]
    assert (
        "injection 3 has hydrogen of the 840 s of rest between the injection before it and the "
        "current: no share"
    ) in str(shares.reason)
    assert "no share" not in str(rates.reason)


def test_a_swept_cell_gives_rates_with_the_declared_reference_temperature(
    make_run: Make, synthetic: Any
) -> None:
    areas, at_s = [20000.0, 20000.0, 40000.0], [600.0, 1200.0, 1800.0]
    found = _run(make_run, synthetic, areas, at_s, SWEPT)
    flow = 5e-6 / 60 * 101325 / (R * 273.15)
    expected = [area / SLOPE * flow * 1e9 for area in areas]
    assert found["hydrogen_rate_nmol_s"].value == pytest.approx(expected, rel=0.005)
    total = 0.6 * expected[0] + 0.6 * 1.5 * expected[0]
    assert found["hydrogen_total_umol"].value == pytest.approx(total, rel=0.005)
    assert found["hydrogen_umol"].value[0] is None
    warmer = _run(make_run, synthetic, areas, at_s, {**SWEPT, "carrier_reference_k": 293.15})
    ratio = warmer["hydrogen_total_umol"].value / found["hydrogen_total_umol"].value
    assert ratio == pytest.approx(273.15 / 293.15)
    vague = {**SWEPT, "carrier_reference_k": None}
    told = _run(make_run, synthetic, areas, at_s, vague)["hydrogen_rate_nmol_s"]
    assert told.value is None
    assert "carrier_reference_k" in str(told.reason)


@pytest.mark.parametrize("headspace", ["closed", "swept"])
def test_uncertainties_of_amounts_are_how_they_scatter(headspace: str) -> None:
    """Draw what a run shares (slope, intercept, gas) and what each peak has for itself."""
    line = LinearCalibration(SLOPE, 0.0, 0.01 * SLOPE, 25.0, 0.0, 1.0, False, 4, 0.0)
    true = Calibration(
        SLOPE, 5.0, headspace, sample_loop_ml=1.0, slope_uncertainty=0.01, gas_uncertainty=0.02,
        levels=line, carrier_mol_s=4e-6,
    )  # fmt: skip
    areas, noise, at_s = (3000.0, 5000.0, 6000.0, 9000.0), 30.0, (0.0, 900.0, 2000.0, 2500.0)
    random = np.random.default_rng(5)

    def injections(calibration: Calibration, scatter: Sequence[float]) -> tuple[Injection, ...]:
        peaks = [Peak(area + one, noise) for area, one in zip(areas, scatter, strict=True)]
        if headspace == "closed":
            return headspace_hydrogen(peaks, calibration)
        return swept_hydrogen(peaks, at_s, calibration)

    drawn = []
    for _ in range(1500):
        slope, gas, intercept = random.normal(size=3)
        wrong = replace(
            true,
            hydrogen_area_per_mole_fraction=SLOPE * (1 + 0.01 * slope),
            intercept=25.0 * intercept,
            headspace_ml=5.0 * (1 + 0.02 * gas),
            sample_loop_ml=1.0 * (1 + 0.02 * gas),
            carrier_mol_s=4e-6 * (1 + 0.02 * gas),
        )
        drawn.append(injections(wrong, 30.0 * random.normal(size=4)))
    told = injections(true, (0.0,) * 4)
    for number, one in enumerate(told):
        for value, error in (
            ("since_start_umol", "uncertainty_umol"),
            ("since_last_umol", "since_last_uncertainty_umol"),
            ("rate_nmol_s", "rate_uncertainty_nmol_s"),
        ):
            values = [getattr(found[number], value) for found in drawn]
            if values[0] is None:
                assert getattr(one, error) is None
            else:
                told_u = getattr(one, error)
                assert told_u == pytest.approx(np.std(values), rel=0.08), (number, value)


def test_what_lies_between_injections_below_the_limit_is_not_counted() -> None:
    calibration = Calibration.from_document(SWEPT)
    peaks = [Peak(1e4, 5.0), Peak(1e4, 5.0), Peak(1.0, 5.0), Peak(1e4, 5.0)]
    found = swept_hydrogen(peaks, [0.0, 100.0, 200.0, 300.0], calibration)
    assert found[1].since_start_umol == found[3].since_start_umol
    assert found[2].rate_nmol_s is None
    assert "limit of detection" in str(found[2].reason)


def test_all_charge_of_a_run_without_half_cycles_into_hydrogen_is_a_recovery_of_100_percent(
    make_run: Make, synthetic: Any
) -> None:
    t = np.arange(1.0, 3601.0)
    rows = {name: np.zeros(3600) for name in synthetic.LEADER}
    rows |= {"t": t, "current": np.full(3600, -1e-3), "role": np.full(3600, 3.0)}
    rows |= {"step": np.ones(3600), "potential": np.full(3600, -0.9), "step_t": t}
    made_umol = 1e-3 * 1800 / (2 * FARADAY) * 1e6
    area = made_umol / (101325 * 5e-6 / (R * 298.15) * 1e6 / SLOPE)
    found = _run(make_run, synthetic, [area], [1800.0], CLOSED, rows=rows)
    assert found["hydrogen_recovery_pct"].value == pytest.approx(100.0, rel=0.005)
    assert found["hydrogen_recovery_pct"].uncertainty < 2
    assert found["hydrogen_faradaic_efficiency_pct"].value == pytest.approx(100.0, rel=0.005)


def test_nitrogen_that_rises_is_a_leak(make_run: Make, synthetic: Any) -> None:
    told = {
        **CLOSED,
        "nitrogen_area_per_mole_fraction": SLOPE,
        "oxygen_area_per_mole_fraction": SLOPE,
    }
    at_s = [0.0, 900.0, 1800.0, 2700.0]
    check = {"kind": "leak_test"}
    found = _run(make_run, synthetic, [0.0] * 4, at_s, told, check=check, leak=400.0)
    step_ppm = 400 * 1.1 * math.sqrt(2 * math.pi) / SLOPE * 1e6
    rise = found["nitrogen_rise_ppm_h"]
    assert rise.value == pytest.approx(4 * step_ppm, rel=0.05)
    assert rise.value > 5 * rise.uncertainty
    still = found["oxygen_rise_ppm_h"]
    assert abs(still.value) < max(4 * still.uncertainty, 10)
    assert found["hydrogen_total_umol"].value is None


def test_a_calibration_gas_gives_the_response_and_a_blank_what_is_found_in_nothing(
    make_run: Make, synthetic: Any
) -> None:
    at_s = [0.0, 300.0, 600.0]
    check = {"kind": "calibration", "mole_fractions": {"H2": 1e-3}}
    found = _run(make_run, synthetic, [6700.0] * 3, at_s, CLOSED, check=check)
    response = found["hydrogen_response_area"]
    assert response.value == pytest.approx(SLOPE, rel=0.005)
    assert 0 < response.uncertainty < 0.005 * SLOPE
    assert found["hydrogen_total_umol"].value is None
    assert "calibration gas, not the cell's" in str(found["hydrogen_total_umol"].reason)
    found = _run(make_run, synthetic, [0.0] * 3, at_s, CLOSED, check={"kind": "blank"})
    assert abs(found["hydrogen_blank_area"].value) < 30
    assert found["hydrogen_response_area"].value is None


def test_a_chromatograph_without_a_calibration_tells_areas_and_no_amount(
    make_run: Make, synthetic: Any
) -> None:
    # What a bench file without a slope tells: so it is before the first calibration gas.
    bare = {"headspace": "closed"}
    found = _run(make_run, synthetic, [3000.0, 9000.0], [900.0, 1800.0], bare)
    for name in (
        "hydrogen_umol",
        "hydrogen_total_umol",
        "hydrogen_rate_nmol_s",
        "hydrogen_lod_ppm",
    ):
        assert found[name].value is None
        assert "not calibrated" in str(found[name].reason)
        assert "gas-calibration" in str(found[name].reason)
    assert found["hydrogen_peak_retention_s"].value == pytest.approx([52.06] * 2, abs=0.05)
    check = {"kind": "calibration", "mole_fractions": {"H2": 1e-3}}
    found = _run(make_run, synthetic, [6700.0] * 3, [0.0, 300.0, 600.0], bare, check=check)
    response = found["hydrogen_response_area"]
    assert response.value == pytest.approx(SLOPE, rel=0.005)
    assert "by default: window 47.5 to 56.5 s" in str(response.reason)
    window = {"left": [40.0, 48.0], "peak": [47.5, 56.5], "right": [55.6, 57.0]}
    told = {**bare, "column": "Porapak Q", "hydrogen_window_s": window}
    found = _run(make_run, synthetic, [6700.0] * 3, [0.0, 300.0, 600.0], told, check=check)
    assert "by default" not in str(found["hydrogen_response_area"].reason)


def test_levels_make_the_calibration_and_tell_how_well(make_run: Make, synthetic: Any) -> None:
    levels = [
        {"mole_fraction": y, "area": 40 + SLOPE * y + wrong}
        for y, wrong in ((0.0, 5.0), (1e-4, -5.0), (5e-4, -3.0), (1e-3, 3.0))
    ]
    told = {"levels": levels, "through_zero": False, "headspace_ml": 5.0}
    found = _run(make_run, synthetic, [6740.0], [900.0], told)
    assert found["hydrogen_mole_fraction_ppm"].value == pytest.approx([1000.0], rel=0.005)
    assert found["hydrogen_calibration_r2"].value == pytest.approx(1.0, abs=1e-4)
    assert "not forced through zero" in str(found["hydrogen_calibration_r2"].reason)
    assert 1 < found["hydrogen_calibration_lod_ppm"].value < 5


def test_a_tailing_peak_is_asymmetric_and_noise_has_no_retention(synthetic: Any) -> None:
    t = np.arange(0, 160, 0.02)
    wide = np.where(t < 51.0, 0.6, 1.2)
    trace = 30 + 3000 * np.exp(-0.5 * ((t - 51.0) / wide) ** 2)
    found = peak_area(trace, 0.02, PeakWindow())
    assert found.asymmetry == pytest.approx(2.0, rel=0.02)
    assert found.retention_s == pytest.approx(51.0, abs=0.02)
    for seed in range(30):
        noise = peak_area(synthetic.chromatogram(0.0, seed=seed), 0.02, PeakWindow())
        assert noise.retention_s is None
        assert noise.asymmetry is None


def test_constants_of_henry_and_faraday() -> None:
    assert dissolved_umol(1.0, 101325.0, 1000.0) == pytest.approx(0.78)
    assert partial_current_ma(1.0) == pytest.approx(0.19297, rel=1e-4)


@pytest.mark.parametrize(
    ("separated", "told"),
    [
        (None, "gas of both electrodes (headspace_separated is not told): no bound of 1 - CE"),
        (False, "gas of both electrodes (shared headspace): no bound of 1 - CE"),
        (True, "gas of the metal electrode alone: a lower bound of 1 - CE"),
    ],
)
def test_whose_gas_it_is_and_what_follows_is_told(
    make_run: Make, synthetic: Any, separated: bool | None, told: str
) -> None:
    cell = {"headspace_separated": separated}
    found = _run(make_run, synthetic, [9000.0], [1800.0], CLOSED, cell=cell)
    assert told in str(found["hydrogen_faradaic_efficiency_pct"].reason)


def test_each_default_of_a_calibration_is_named_until_it_is_told(
    make_run: Make, synthetic: Any
) -> None:
    found = _run(make_run, synthetic, [9000.0], [1800.0], CLOSED)
    for name in ("hydrogen_total_umol", "hydrogen_faradaic_efficiency_pct", "hydrogen_umol"):
        assert str(found[name].reason).endswith(
            "by default: window 47.5 to 56.5 s, 1 atm, 298.15 K, no sample loop, u(slope) 0.5 %, "
            "no u of the headspace"
        )
    window = {"left": [40.0, 48.0], "peak": [47.5, 56.5], "right": [55.6, 57.0]}
    told = {**CLOSED, "hydrogen_window_s": window, "temperature_k": 300.0, "sample_loop_ml": 0.25}
    told |= {"slope_uncertainty": 0.02, "column": "molecular sieve 5A", "gas_uncertainty": 0.03}
    cell = {"headspace_kpa": 90.0, "make_up_gas": "argon"}
    better = _run(make_run, synthetic, [9000.0], [1800.0], told, cell=cell)["hydrogen_total_umol"]
    assert "by default" not in str(better.reason)
    assert "made up for by argon" in str(better.reason)
    ratio = better.value / found["hydrogen_total_umol"].value
    assert ratio == pytest.approx(90 / 101.325 * 298.15 / 300)
    assert better.uncertainty / better.value == pytest.approx(math.hypot(0.02, 0.03), rel=0.05)


def test_another_column_without_a_window_tells_nothing(make_run: Make, synthetic: Any) -> None:
    told = {**CLOSED, "column": "Porapak Q"}
    found = _run(make_run, synthetic, [9000.0], [1800.0], told)["hydrogen_total_umol"]
    assert found.value is None
    assert "column 'Porapak Q' lacks hydrogen_window_s" in str(found.reason)


def test_oxygen_that_was_not_removed_is_booked(make_run: Make, synthetic: Any) -> None:
    # 2.58e-4 mol/L in 100 uL, four electrons each, over 1.131 cm2.
    dissolved = 2.58e-8 * 4 * FARADAY / 3.6 / 1.131
    # 5 mL of air hold a thousand times as much.
    above = 0.2095 * 101325 * 5e-6 / (R * 298.15) * 4 * FARADAY / 3.6 / 1.131
    looped = {**CLOSED, "sample_loop_ml": 0.5}
    for calibration, cell, expected, told in (
        (CLOSED, {"atmosphere": "argon"}, dissolved, "5 mL of argon above it"),
        (CLOSED, {"atmosphere": "air"}, dissolved + above, "5 mL of air above it"),
        (CLOSED, {}, dissolved + above, "not told (atmosphere), taken for air"),
        (SWEPT, {"atmosphere": "air"}, dissolved, "no oxygen from the gas that sweeps it"),
        (CLOSED, {"atmosphere": "argon", "deaerated": True}, 0.0, "n(ZHS) <= n(H2)/3"),
        (CLOSED, {"atmosphere": "air", "deaerated": True}, above, "deaerated, but 5 mL of air"),
        (looped, {"deaerated": True}, 0.0, "not told (make_up_gas), taken for one without oxygen"),
        (
            looped,
            {"atmosphere": "O2-free argon", "deaerated": True, "make_up_gas": "air"},
            0.1 * above,
            "0.5 mL of air for what injections take",
        ),
    ):
        found = _run(make_run, synthetic, [9000.0], [1800.0], calibration, cell=cell)
        booked = found["oxygen_reduction_bound_mah_cm2"]
        assert booked.value == pytest.approx(expected), (cell, booked.reason)
        assert told in str(booked.reason)
        assert "what leaks in is not in it" in str(booked.reason)
        assert ("OH- is made without hydrogen" in str(booked.reason)) == (expected > 0)
