"""The microbalance's driver against pages of its manual, and against the simulated one."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.bench_file import BenchFile
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.sensor.contract import Sensor
from instruments.sensor.srs_qcm200 import SrsQcm200

Connect = Callable[..., SrsQcm200]
PAGES = "srs_qcm200/driver.txt"


@pytest.fixture
def connected(play_pages: Callable[..., Any]) -> Iterator[Connect]:
    drivers: list[SrsQcm200] = []

    def connect(*pages: str, **more: Any) -> SrsQcm200:
        balance = play_pages(PAGES, "connecting", *pages, line_end=b"\r")
        drivers.append(SrsQcm200(balance.address, **more))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        driver.close()


def test_the_driver_is_a_sensor_that_nobody_has_confirmed_on_hardware(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    driver: Sensor = connected()
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    told = driver.identify()
    assert (told["model"], told["firmware"], told["serial_number"]) == ("QCM200", "1.06", "154021")
    driver.safe_state()


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("connecting to something else", ProtocolError, r"got '\?I,pH,2\.14', which is no QCM200"),
        ("connecting to one that keeps its gate", InstrumentFaultError, "in force is '2'"),
        ("silence", TransportTimeout, "at 9600 baud"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    play_pages: Callable[..., Any], page: str, error: type[Exception], complaint: str
) -> None:
    driver = SrsQcm200(play_pages(PAGES, page, line_end=b"\r").address)
    with pytest.raises(error, match=complaint):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.read()


def test_the_gate_is_also_told_by_one_that_is_asked_by_the_letter_alone(
    play_pages: Callable[..., Any],
) -> None:
    page = "connecting to one that is asked by the letter alone"
    driver = SrsQcm200(play_pages(PAGES, page, line_end=b"\r").address)
    driver.connect()
    assert driver.identify()["gate_s"] == "1"
    driver.close()


def test_a_reading_is_of_values_that_are_both_new_and_its_mass_that_of_sauerbrey(
    connected: Connect,
) -> None:
    driver = connected("a first reading", "a later reading")
    first = driver.read()
    assert first == {"frequency": 4998647.10, "resistance": 721.50, "mass": 0.0}
    later = driver.read()
    assert later["frequency"] == 4998081.10
    assert later["mass"] == pytest.approx(10.0)  # 566 Hz by 56.6 Hz cm2/ug


def test_another_crystal_has_another_sensitivity(connected: Connect) -> None:
    driver = connected("a first reading", "a later reading", sensitivity_hz_cm2_ug=28.3)
    driver.read()
    assert driver.read()["mass"] == pytest.approx(20.0)


@pytest.mark.parametrize("which", ["under", "over"])
def test_a_crystal_that_does_not_oscillate_has_no_frequency_and_no_mass(
    connected: Connect, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    driver = connected(f"{which} range", f"{which} range", "a first reading")
    with caplog.at_level(logging.WARNING):
        readings = [driver.read() for _ in range(2)]
    assert all(math.isnan(x["frequency"]) and math.isnan(x["mass"]) for x in readings)
    assert caplog.text.count(f"its frequency is {which} range") == 1
    assert driver.read()["mass"] == 0.0


def test_a_command_that_was_not_understood_is_told(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connected("a command was not understood").read()
    assert "did not understand a command" in caplog.text


def test_the_beginning_of_a_lost_answer_is_not_put_before_the_next(connected: Connect) -> None:
    assert connected("an answer that was cut off").read()["frequency"] == 4998647.10


def test_a_frequency_that_no_crystal_has_is_asked_once_more(connected: Connect) -> None:
    page = "a frequency that no crystal has, once"
    assert connected(page).read()["frequency"] == 4998647.10


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("no status", ProtocolError, r"asked 'B', got '3\.5': no status"),
        ("a frequency that no crystal has", ProtocolError, r"got 1e\+08 Hz: no crystal"),
        ("no number", ProtocolError, "asked 'F', got 'nan': no number"),
        ("the connection is closed", TransportError, "asked .B.: tcp:"),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    connected: Connect, page: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        connected(page).read()


def test_a_gate_that_it_does_not_have_is_refused_in_the_bench_file() -> None:
    entry = {"kind": "sensor", "language": "srs_qcm200", "address": "tcp://x:1", "gate_s": 2}
    with pytest.raises(ValueError, match=r"gate_s is 0\.1, 1 or 10 s, not 2 s"):
        BenchFile.model_validate({"name": "one", "instruments": {"microbalance": entry}})


def test_its_sensitivity_is_told_as_a_calibration() -> None:
    entry = {"kind": "sensor", "language": "srs_qcm200", "address": "tcp://x:1"}
    file = BenchFile.model_validate({"name": "one", "instruments": {"microbalance": entry}})
    assert file.calibration() == {"microbalance": {"sensitivity_hz_cm2_ug": 56.6}}


def test_the_simulated_one_stands_in_its_liquid_and_tells_a_crystal_that_stops(
    simulate: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    bench = simulate("zn-bare", "microbalance")
    driver = SrsQcm200(bench.address("microbalance"), gate_s=0.1)
    driver.connect()
    try:
        reading = driver.read()
        assert 4.99e6 < reading["frequency"] < 4.9995e6
        assert reading["resistance"] > 375
        assert reading["mass"] == 0.0
        assert driver.read()["mass"] == pytest.approx(0.0, abs=0.02)
        bench.break_something(instrument="microbalance", fault="stopped")
        readings = (driver.read() for _ in range(50))
        assert any(math.isnan(reading["mass"]) for reading in readings)
        assert "under range" in caplog.text
    finally:
        driver.close()
