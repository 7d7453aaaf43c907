"""The pH circuit's driver against pages of its data sheet, and against the simulated circuit."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import serial

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.sensor.atlas_ezo_ph import AtlasEzoPh
from instruments.sensor.contract import Sensor
from instruments.transport import read_dialogue
from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.ezo_ph import EzoPh

Connect = Callable[..., AtlasEzoPh]


@pytest.fixture
def connected(play_pages: Callable[..., Any]) -> Iterator[Connect]:
    drivers: list[AtlasEzoPh] = []

    def connect(*pages: str, first: str = "connecting", **more: Any) -> AtlasEzoPh:
        circuit = play_pages("atlas_ezo_ph/driver.txt", first, *pages, line_end=b"\r")
        drivers.append(AtlasEzoPh(circuit.address, **more))
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
    assert driver.read() == {"ph": 9.56, "compensation_k": 298.15}


def test_without_a_probe_there_is_no_ph(connected: Connect) -> None:
    assert math.isnan(connected("a reading without a probe").read()["ph"])


def test_what_was_read_before_it_was_prepared_anew_does_not_count(connected: Connect) -> None:
    page = "a reading before which it was woken and a line was garbled"
    assert connected(page).read()["ph"] == 7.002


@pytest.mark.parametrize(
    "damaged",
    [
        "a reading of which a byte was damaged",
        "a reading whose acknowledgement was damaged",
        "a reading of which a byte was damaged on its way there",
    ],
)
def test_what_was_damaged_is_asked_once_more(connected: Connect, damaged: str) -> None:
    assert connected(damaged).read()["ph"] == 4.52


def test_the_temperature_in_force_follows_that_of_the_bath_and_is_told(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    pages = "a reading", "a reading in a bath of 0 degC", "a reading", "a reading"
    answers: list[float | InstrumentError] = [
        298.2,  # so near that nothing is sent
        273.15,
        InstrumentError("the thermostat is gone"),
        InstrumentError("it still is"),
    ]

    def bath() -> float:
        answer = answers.pop(0)
        if isinstance(answer, InstrumentError):
            raise answer
        return answer

    driver = connected(*pages, temperature_of=bath)
    told = [driver.read()["compensation_k"] for _ in pages]
    assert told == [298.15, 273.15, 273.15, 273.15]
    assert caplog.text.count("goes on with 0.0 degC") == 1
    (remark,) = driver.remarks
    assert "at 2 readings the temperature" in remark
    assert "last: it still is" in remark
    driver.check_ready()
    assert driver.remarks == []


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
        ("it acknowledges and tells nothing", ProtocolError, "asked 'R', it acknowledges and"),
        ("it falls silent", TransportTimeout, "is it powered"),
    ],
)
def test_an_answer_that_is_no_reading_is_an_error(
    connected: Connect, page: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        connected(page).read()


def test_a_circuit_that_somebody_told_not_to_acknowledge_is_connected() -> None:
    with closing(EzoPh(Cell("zn-bare"), SimulatedClock())) as circuit:
        with serial.Serial(circuit.address.removeprefix("serial://"), 9600, timeout=5) as port:
            port.write(b"*OK,0\r*OK,?\r")
            while b"?*OK,0" not in port.read_until(b"\r"):
                pass
        driver = AtlasEzoPh(circuit.address)
        driver.connect()
        driver.close()


def test_readings_that_it_streams_do_not_prolong_the_wait_for_an_answer_that_was_lost(
    tmp_path: Path,
) -> None:
    dialogue = tmp_path / "dialogue"
    with closing(EzoPh(Cell("zn-bare"), SimulatedClock())) as circuit:
        circuit.line.inject("garble")
        driver = AtlasEzoPh(circuit.address, record_to=dialogue)
        driver.connect()
        driver.close()
    said = list(read_dialogue(dialogue))
    again = next(n for n, turn in enumerate(said) if n and turn.data == b"*OK,1\r")
    assert sum(turn.way == "<" for turn in said[:again]) < 10  # readings come once a second


def test_a_circuit_that_calls_its_acknowledgement_otherwise_is_connected(
    connected: Connect,
) -> None:
    page = "connecting to one that has another command for its acknowledgement"
    assert connected("a reading", first=page).read()["ph"] == 9.56


@pytest.mark.long
def test_the_simulated_circuit_reads_the_ph_of_its_cell_whatever_happens_to_its_supply(
    simulate: Callable[..., Any],
) -> None:
    bench = simulate("zn-bare", "ph_meter")
    driver = AtlasEzoPh(bench.address("ph_meter"))
    driver.connect()
    try:
        assert driver.read()["ph"] == pytest.approx(4.4, abs=0.05)
        bench.break_something(instrument="ph_meter", fault="power-cycle", seconds=0.2)
        end = time.monotonic() + 50
        while time.monotonic() < end:
            try:
                assert driver.read()["ph"] == pytest.approx(4.4, abs=0.05)
                break
            except TransportTimeout:
                continue
    finally:
        driver.close()
