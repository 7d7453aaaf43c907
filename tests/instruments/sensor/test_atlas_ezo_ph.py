"""The pH circuit's driver against pages of its data sheet, and against the simulated circuit."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.sensor.atlas_ezo_ph import AtlasEzoPh
from instruments.sensor.contract import Sensor

Connect = Callable[..., AtlasEzoPh]


@pytest.fixture
def connected(play_pages: Callable[..., Any]) -> Iterator[Connect]:
    drivers: list[AtlasEzoPh] = []

    def connect(*pages: str, first: str = "connecting") -> AtlasEzoPh:
        circuit = play_pages("atlas_ezo_ph/driver.txt", first, *pages, line_end=b"\r")
        drivers.append(AtlasEzoPh(circuit.address))
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
    assert told["model"] == "Atlas EZO pH"
    assert told["firmware"] == "2.14"
    assert told["calibration_points"] == "3"
    assert told["slope"] == "99.7,100.3,-0.89"
    driver.safe_state()


def test_readings_that_it_streams_are_not_answers(connected: Connect) -> None:
    driver = connected("a reading", first="connecting while it streams")
    assert driver.read() == {"ph": 9.56}


def test_without_a_probe_there_is_no_ph(connected: Connect) -> None:
    assert math.isnan(connected("a reading without a probe").read()["ph"])


def test_what_was_read_before_it_was_prepared_anew_does_not_count(connected: Connect) -> None:
    page = "a reading before which it was woken and a line was garbled"
    assert connected(page).read() == {"ph": 7.002}


def test_a_probe_that_is_not_calibrated_is_a_warning(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connected(first="connecting to one whose probe is not calibrated")
    assert "is not calibrated" in caplog.text


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("a circuit for oxygen", ProtocolError, r"circuit for 'D\.O\.' and not for pH"),
        ("one that keeps another temperature", InstrumentFaultError, "in force is 19.5 degC"),
        ("one that does not know C", InstrumentFaultError, "does not know 'C,0'"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    play_pages: Callable[..., Any], page: str, error: type[Exception], complaint: str
) -> None:
    circuit = play_pages("atlas_ezo_ph/driver.txt", f"connecting to {page}", line_end=b"\r")
    driver = AtlasEzoPh(circuit.address)
    with pytest.raises(error, match=complaint):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.read()


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("its supply is too low", InstrumentFaultError, "supply voltage is too low"),
        ("its supply is too high", InstrumentFaultError, "supply voltage is too high"),
        ("it does not know the command", InstrumentFaultError, "does not know 'R'"),
        ("it acknowledges and tells nothing", TransportTimeout, "asked 'R'"),
        ("it falls silent", TransportTimeout, "is it powered"),
    ],
)
def test_an_answer_that_is_no_reading_is_an_error(
    connected: Connect, page: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        connected(page).read()


def test_the_simulated_circuit_reads_the_ph_of_its_cell_whatever_happens_to_its_supply(
    simulate: Callable[..., Any],
) -> None:
    bench = simulate("zn-bare", "ph_meter")
    driver = AtlasEzoPh(bench.address("ph_meter"), temperature_k=292.65)
    driver.connect()
    try:
        assert driver.read()["ph"] == pytest.approx(4.4, abs=0.05)
        bench.break_something(instrument="ph_meter", fault="power-cycle", seconds=0.2)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                assert driver.read()["ph"] == pytest.approx(4.4, abs=0.05)
                break
            except TransportTimeout:
                continue
    finally:
        driver.close()
