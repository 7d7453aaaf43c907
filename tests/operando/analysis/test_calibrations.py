"""Calibrations in what is computed: taken off once, told, and raw values left as they are."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from operando.analysis import metrics
from operando.analysis.accuracy import (
    CurrentAccuracy,
    PotentialAccuracy,
    current_zeros,
    potential_offset_v,
)
from operando.analysis.calibrations import between, found, thermometer
from operando.analysis.live_verdicts import Verdicts
from operando.analysis.metrics import half_cycles_of
from operando.runs import Run

RANGE_A, GAIN, GAIN_U, OFFSET_A, OFFSET_U = 1e-2, 1.004, 2e-4, 3e-6, 1e-8
CURRENT_A = 1.131e-3


def told(instrument: str, *values: Mapping[str, Any], date: str = "2026-05-01") -> dict[str, Any]:
    return {instrument: {"records": [{"date": date, "by": "us", "values": list(values)}]}}


def value(
    of: str, number: float, u: float | None = None, at: float | None = None
) -> dict[str, Any]:
    whole = {"of": of, "value": number, "uncertainty": u, "at": at}
    return {key: one for key, one in whole.items() if one is not None}


OF_RANGE = (
    value("current_gain", GAIN, GAIN_U, RANGE_A),
    value("current_offset", OFFSET_A, OFFSET_U, RANGE_A),
)


def a_run(make_run: Callable[..., Any], synthetic: Any, start: Mapping[str, Any]) -> Run:
    made = make_run(calibration=start.get("calibration") or {})
    made.documents[0][1].update(
        {"current_ranges": [{"current_a": CURRENT_A, "range_a": RANGE_A}]} | dict(start)
    )
    made.stream("potentiostat", "potentiostat", synthetic.galvanostatic((0.9, 0.9), rows=100))
    made.stop()
    return Run.from_documents(made.documents)


def test_gain_and_offset_of_the_range_are_taken_off_the_charge_once(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    run = a_run(make_run, synthetic, {"calibration": told("potentiostat", *OF_RANGE)})
    plating, strip = half_cycles_of(run)[:2]
    raw = a_run(make_run, synthetic, {})
    assert plating.capacity_mah_cm2 == pytest.approx(
        0.5 * (1 + OFFSET_A / CURRENT_A) / GAIN, rel=1e-9
    )
    assert strip.capacity_mah_cm2 == pytest.approx(
        0.45 * (1 - OFFSET_A / CURRENT_A) / GAIN, rel=1e-9
    )
    # What was read stays what was read.
    assert np.array_equal(plating.current_a, half_cycles_of(raw)[0].current_a)
    numbers = metrics(run)
    # On one range the gain cancels in an efficiency, the offset does not.
    expected = 90 * (1 - OFFSET_A / CURRENT_A) / (1 + OFFSET_A / CURRENT_A)
    assert numbers["ce_mean_without_first_pct"].value == pytest.approx(expected, rel=1e-6)
    reason = str(numbers["plated_capacity_mah_cm2"].reason or numbers["ce_pct"].reason)
    assert "3 uA (range 10 mA), calibrated, is taken off" in reason
    assert "divided by the current's gain, 1.004 (range 10 mA)" in reason
    assert "of its calibration" in str(numbers["current_zero_ua"].reason)


def test_a_zero_that_was_measured_before_the_run_holds_in_place_of_the_calibrated_one() -> None:
    start = {
        "calibration": told("potentiostat", *OF_RANGE),
        "current_zero": {
            "measured": [{"range_a": RANGE_A, "current_a": 5e-6, "uncertainty_a": 2e-8}]
        },
    }
    (zero,) = current_zeros(start)
    assert (zero.current_a, zero.uncertainty_a, zero.source) == (5e-6, 2e-8, "measured")
    assert zero.gain == GAIN


def test_a_gain_alone_says_nothing_of_the_zero(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    run = a_run(make_run, synthetic, {"calibration": told("potentiostat", OF_RANGE[0])})
    assert half_cycles_of(run)[0].capacity_mah_cm2 == pytest.approx(0.5 / GAIN, rel=1e-9)
    numbers = metrics(run)
    assert numbers["current_zero_ua"].value is None
    assert "is taken off" not in str(numbers["ce_pct"].reason)


def test_uncertainties_are_those_of_the_range(make_run: Callable[..., Any], synthetic: Any) -> None:
    accuracy = CurrentAccuracy.from_start(
        {
            "calibration": told("potentiostat", *OF_RANGE),
            "current_ranges": [{"current_a": CURRENT_A, "range_a": RANGE_A}],
        }
    )
    relative = accuracy.relative(CURRENT_A, zeroed=True)
    assert relative == pytest.approx(math.hypot(GAIN_U / GAIN, OFFSET_U / CURRENT_A))
    # A charge from which nothing was taken off carries what is known to be wrong with it.
    assert accuracy.relative(CURRENT_A) == pytest.approx(
        math.hypot(GAIN - 1, GAIN_U, 1e-3 * RANGE_A / CURRENT_A)
    )
    # Nothing was found of another range.
    assert accuracy.gain_of_range(1e-4) == pytest.approx(math.hypot(GAIN - 1, GAIN_U))
    numbers = metrics(a_run(make_run, synthetic, {"calibration": told("potentiostat", *OF_RANGE)}))
    capacity = numbers["plated_capacity_mah_cm2"]
    assert isinstance(capacity.value, list)
    assert isinstance(capacity.uncertainty, list)
    assert capacity.uncertainty[0] == pytest.approx(relative * float(capacity.value[0] or 0))


def test_live_verdicts_know_the_same_of_the_current(synthetic: Any) -> None:
    start = {
        "sample": synthetic.HALF_CELL,
        "calibration": told("potentiostat", *OF_RANGE),
        "current_ranges": [{"current_a": CURRENT_A, "range_a": RANGE_A}],
    }
    judge = Verdicts(start)
    assert judge._watch.accuracy.zeros == current_zeros(start)


def test_what_is_not_taken_off_a_potential_is_in_its_uncertainty() -> None:
    calibration = told(
        "potentiostat", value("potential_offset", 3e-4, 4e-4), value("potential_gain", 1.0003, 4e-4)
    )
    assert potential_offset_v(calibration) == pytest.approx(5e-4)
    assert PotentialAccuracy.from_calibration(calibration).gain == pytest.approx(5e-4)


def test_the_newest_of_several_records_holds() -> None:
    older = told("raman", value("axis_shift", 2.0, 0.1, 520.5), date="2025-01-01")["raman"]
    newer = told("raman", value("axis_shift", 1.0, 0.1, 520.5), date="2026-01-01")["raman"]
    records = {"raman": {"records": newer["records"] + older["records"]}}
    assert [one.value for one in found(records, "raman", "axis_shift")] == [1.0]
    assert found({}, "raman", "axis_shift") == ()


@pytest.mark.parametrize(
    ("at", "expected"), [(280.0, 0.1), (290.0, 0.1), (300.0, 0.2), (310.0, 0.3), (330.0, 0.3)]
)
def test_between_two_values_it_is_in_proportion_and_beyond_them_constant(
    at: float, expected: float
) -> None:
    calibration = told(
        "thermostat",
        value("temperature_offset", 0.1, 0.02, 290.0),
        value("temperature_offset", 0.3, 0.05, 310.0),
    )
    one = between(found(calibration, "thermostat", "temperature_offset"), at)
    assert one is not None
    assert one.value == pytest.approx(expected)
    kelvin, u, said = thermometer(calibration, at)
    assert kelvin == pytest.approx(at - expected)
    assert u == pytest.approx(0.02 if at <= 290 else 0.05)
    assert "calibration of 2026-05-01 by us" in str(said)


def test_without_a_calibration_a_temperature_is_what_was_read() -> None:
    assert thermometer({}, 300.0) == (300.0, 0.0, None)


def test_the_shift_of_a_raman_axis_is_taken_off_positions_and_nothing_else(
    make_run: Callable[..., Any], synthetic: Any
) -> None:
    axis = np.linspace(150, 3900, 2048)

    def positions(calibration: dict[str, Any]) -> Any:
        made = make_run(calibration=calibration)
        columns = {"t_before": [1.0], "t_after": [2.0], "laser": [1.0], "accumulations": [3.0]}
        assets = {
            "counts": synthetic.spectrum_counts(axis)[None],
            "dark": np.full((1, len(axis)), 100.0),
        }
        settings = {"raman_wavenumber": axis.tolist(), "raman_excitation": 532.0}
        made.stream("raman", "raman", columns, assets, settings)
        made.stop()
        return metrics(Run.from_documents(made.documents))

    raw = positions({})
    right = positions(
        told("raman", value("axis_shift", 0.4, 0.05, 1001.4), value("axis_scatter", 0.12))
    )
    name = "band_980_position_cm1"
    assert right[name].value == pytest.approx([raw[name].value[0] - 0.4])
    assert right[name].uncertainty == pytest.approx(
        [math.hypot(raw[name].uncertainty[0], 0.05, 0.12)]
    )
    assert "+0.4 cm-1 taken off the axis (calibration of 2026-05-01 by us)" in right[name].reason
    assert right["band_980_area"] == raw["band_980_area"]
    assert right["band_980_width_cm1"] == raw["band_980_width_cm1"]
