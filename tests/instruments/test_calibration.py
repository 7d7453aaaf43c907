"""Calibrations as records of a bench file: one form, one value at a time, too old or missing."""

import datetime
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from instruments.bench import tell_calibrations
from instruments.bench_file import BenchFile
from instruments.calibration import Calibration, newest

TODAY = datetime.date(2026, 6, 1)
GAIN = {"of": "current_gain", "at": 1e-3, "value": 1.002, "uncertainty": 2e-4, "unit": "1"}
ENTRIES: dict[str, dict[str, Any]] = {
    "potentiostat": {"language": "methodscript", "address": "tcp://a:1"},
    "camera": {"language": "pylon", "address": "pylon://"},
    "raman": {
        "language": "wasatch",
        "address": "usb://1:2",
        "laser_power_w": 0.1,
        "integration_time_s": 1,
    },
    "thermostat": {"language": "huber_pb", "address": "tcp://b:1"},
    "gas_chromatograph": {"language": "fusion", "address": "http://c"},
}


def record(*values: Mapping[str, Any], date: str = "2026-05-01", **more: Any) -> dict[str, Any]:
    return {"date": date, "by": "the laboratory", "values": list(values), **more}


def bench(kind: str, **told: Any) -> BenchFile:
    entry = {"kind": kind, **ENTRIES[kind], **told}
    return BenchFile.model_validate({"name": "one", "instruments": {kind: entry}})


def flags(file: BenchFile) -> set[tuple[str, str]]:
    return {(one.quantity, one.flag) for one in file.calibration_flags(TODAY)}


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        ("potentiostat", {**GAIN, "of": "gain"}, "cannot be calibrated here; what can is: current"),
        ("potentiostat", {**GAIN, "unit": "A"}, "told in '1', not in 'A'"),
        ("potentiostat", {**GAIN, "at": None}, "the nominal value of the range, A"),
        ("potentiostat", {**GAIN, "value": 0.0}, "above zero"),
        ("camera", {"of": "micrometre_per_pixel", "at": 1, "value": 0.5, "unit": "um/px"}, "out"),
    ],
)
def test_what_is_no_calibration_of_an_instrument_is_refused(
    kind: str, value: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        bench(kind, calibrations=[record(value)])


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"due": "2026-04-01"}, "lies before its date"),
        ({"due": "2027-01-01", "valid_days": 3}, "not both"),
        ({"values": [GAIN, {**GAIN, "value": 1.0}]}, "stands twice"),
        ({"values": []}, "at least 1 item"),
        ({"date": "yesterday"}, "valid date"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Calibration.model_validate(record(GAIN) | more)


def test_two_records_of_one_day_with_the_same_value_are_refused() -> None:
    with pytest.raises(ValidationError, match="keep the one that holds"):
        bench("potentiostat", calibrations=[record(GAIN), record({**GAIN, "value": 1.0})])


@pytest.mark.parametrize(
    ("kind", "told", "complaint"),
    [
        (
            "camera",
            {
                "micrometre_per_pixel": 0.5,
                "calibrations": [
                    record({"of": "micrometre_per_pixel", "value": 0.5, "unit": "um/px"})
                ],
            },
            "keep the one that holds",
        ),
        (
            "potentiostat",
            {
                "calibration": {"date": "2026-05-01", "by": "x", "current_gain_uncertainty": 1e-3},
                "calibrations": [record(GAIN)],
            },
            "keep one",
        ),
        (
            "gas_chromatograph",
            {
                "levels": [{"mole_fraction": 1e-3, "area": 6700}],
                "calibrations": [
                    record({"of": "hydrogen_area", "at": 1e-3, "value": 6700, "unit": "area"})
                ],
            },
            "keep one",
        ),
    ],
)
def test_a_value_that_is_told_in_two_forms_is_refused(
    kind: str, told: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        bench(kind, **told)


def test_the_newest_value_holds_and_the_older_one_stays_in_the_record() -> None:
    older = record({**GAIN, "value": 1.0}, date="2025-05-01")
    file = bench("potentiostat", calibrations=[record(GAIN), older])
    entry = file.instruments["potentiostat"]
    holding = [one.value for _, one in newest(entry.calibrations, "current_gain")]
    assert holding == [1.002]
    told = file.calibration()["potentiostat"]["records"]
    assert [one["values"][0]["value"] for one in told] == [1.002, 1.0]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, set()),
        ({"valid_days": 31}, set()),
        ({"valid_days": 30}, {("current_gain", "expired")}),
        ({"due": "2026-06-01"}, set()),
        ({"due": "2026-05-31"}, {("current_gain", "expired")}),
        ({"date": "2026-06-03"}, {("current_gain", "expired")}),
    ],
)
def test_a_calibration_is_believed_until_its_last_day(
    more: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    file = bench("potentiostat", calibrations=[record(GAIN) | more])
    assert flags(file) == expected


def test_the_record_tells_the_last_day() -> None:
    file = bench("potentiostat", calibrations=[record(GAIN, valid_days=365)])
    assert file.calibration()["potentiostat"]["records"][0]["due"] == "2027-05-01"


def test_the_older_form_of_a_potentiostat_counts_and_can_be_too_old() -> None:
    told = {"date": "2026-05-01", "by": "x", "current_gain_uncertainty": 5e-4}
    assert flags(bench("potentiostat", calibration=told)) == set()
    assert flags(bench("potentiostat", calibration=told | {"valid_days": 5})) == {
        ("current_gain", "expired")
    }
    with pytest.raises(ValidationError, match="tells at least one of"):
        bench("potentiostat", calibration={"date": "2026-05-01", "by": "x", "valid_days": 5})


def test_values_without_a_date_and_without_a_value_are_missing() -> None:
    assert flags(bench("camera")) == {("micrometre_per_pixel", "missing")}
    undated = bench("camera", micrometre_per_pixel=0.5).calibration_flags(TODAY)
    assert [one.told for one in undated] == ["camera: micrometre per pixel is told without a date"]
    assert flags(bench("thermostat")) == {("temperature_offset", "missing")}
    power = record({"of": "laser_power", "at": 0.1, "value": 0.04, "unit": "W"})
    assert flags(bench("raman", calibrations=[power])) == {("axis_shift", "missing")}
    levels = record({"of": "hydrogen_area", "at": 1e-3, "value": 6700, "unit": "area"})
    assert flags(bench("gas_chromatograph", calibrations=[levels])) == set()


def test_a_record_gives_the_metrics_what_an_undated_value_gave_them() -> None:
    scale = {"of": "micrometre_per_pixel", "value": 0.5, "uncertainty": 0.01, "unit": "um/px"}
    file = bench("camera", calibrations=[record(scale)])
    told = file.calibration()["camera"]
    assert told["micrometre_per_pixel"] == 0.5
    assert told["micrometre_per_pixel_uncertainty"] == 0.01
    assert file.instruments["camera"].scale_um_px == 0.5
    slope = {
        "of": "hydrogen_area_per_mole_fraction",
        "value": 6.7e6,
        "uncertainty": 6.7e4,
        "unit": "area",
    }
    told = bench("gas_chromatograph", calibrations=[record(slope)]).calibration()
    assert told["gas_chromatograph"]["hydrogen_area_per_mole_fraction"] == 6.7e6
    assert told["gas_chromatograph"]["slope_uncertainty"] == pytest.approx(0.01)
    areas = [
        {"of": "hydrogen_area", "at": at, "value": 6.7e6 * at, "unit": "area"}
        for at in (1e-3, 1e-4)
    ]
    told = bench("gas_chromatograph", calibrations=[record(*areas)]).calibration()
    assert told["gas_chromatograph"]["levels"] == [
        {"mole_fraction": 1e-4, "area": pytest.approx(670)},
        {"mole_fraction": 1e-3, "area": pytest.approx(6700)},
    ]


def test_simulated_instruments_that_nobody_calibrated_do_not_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    real = bench("thermostat").instruments["thermostat"]
    simulated = bench("camera", address="published:${OPERANDO_SIM}/camera").instruments["camera"]
    for instruments, level in (
        ({"camera": simulated}, logging.INFO),
        ({"thermostat": real}, logging.WARNING),
        ({"camera": simulated, "thermostat": real}, logging.WARNING),
    ):
        file = BenchFile(name="one", instruments=instruments)
        assert file.calibration_flags()
        caplog.clear()
        tell_calibrations(file)
        (said,) = caplog.records
        assert said.levelno == level
        assert all(flag.told in said.message for flag in file.calibration_flags())
