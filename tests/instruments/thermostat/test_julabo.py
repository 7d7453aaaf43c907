"""The Julabo's driver: pages of its manuals, every status, and the simulated circulator."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from instruments.bench import Bench
from instruments.bench_file import BenchFile
from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.thermostat.contract import (
    TemperatureLimitError,
    Thermostat,
    ThermostatState,
)
from instruments.thermostat.julabo import JulaboThermostat

Connect = Callable[..., JulaboThermostat]


@pytest.fixture
def manual(play_pages: Callable[..., Any]) -> Callable[..., Any]:
    """Start a circulator that plays the pages of the given names."""
    return partial(play_pages, "julabo/driver.txt", line_end=b"\r", answer_end=b"\r\n")


@pytest.fixture
def connected(manual: Callable[..., Any]) -> Iterator[Connect]:
    drivers: list[JulaboThermostat] = []

    def connect(*pages: str, first: str = "connecting", **more: Any) -> JulaboThermostat:
        drivers.append(JulaboThermostat(manual(first, *pages).address, **more))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        if driver._transport is not None:
            driver._transport.close()


def test_the_driver_is_a_thermostat_that_nobody_has_confirmed_on_hardware(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    driver: Thermostat = connected()
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    assert driver.identify()["model"] == "JULABO TOPTECH-SERIES MC-2 VERSION 3.0"
    driver.safe_state()  # nothing was moved


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("something else", ProtocolError, "'IKA RC 2 lite', which is no Julabo"),
        ("one in Fahrenheit", InstrumentFaultError, "switch it to Celsius"),
        ("one in alarm", InstrumentFaultError, "-01 LOW LEVEL ALARM.*fill up"),
        ("one whose sensor broke", InstrumentFaultError, "-05 WORKING SENSOR.*broken"),
        ("one whose sensors differ", InstrumentFaultError, "-06 SENSOR DIFFERENCE.*differ"),
        ("one whose bus failed", InstrumentFaultError, "-07 I2C-BUS.*I2C"),
        ("one that tells no status", ProtocolError, "got 'fine': no status"),
        ("one without a bath sensor", ProtocolError, "no temperature"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    manual: Callable[..., Any], page: str, error: type[Exception], complaint: str
) -> None:
    driver = JulaboThermostat(manual(f"connecting to {page}").address)
    with pytest.raises(error, match=complaint):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.state()


def test_a_first_question_that_is_lost_and_a_model_without_units_are_taken_as_they_are(
    connected: Connect,
) -> None:
    connected(first="connecting to one that is slow at first and has one unit only")


def test_silence_says_how_the_line_has_to_run(manual: Callable[..., Any]) -> None:
    with pytest.raises(TransportTimeout, match="4800 baud, 7 data bits, even parity"):
        JulaboThermostat(manual("silence").address).connect()


@pytest.mark.parametrize(
    ("page", "kelvin"), [("40 degC", 313.15), ("25 degC", 298.15), ("-10 degC", 263.15)]
)
def test_a_setpoint_is_told_and_read_back_though_nothing_answers_it(
    connected: Connect, page: str, kelvin: float
) -> None:
    assert connected(f"it goes to {page}").go_to(kelvin) == kelvin


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("the value is too large", TemperatureLimitError, "-11 VALUE TOO LARGE.*keeps"),
        ("the value is too small", TemperatureLimitError, "-10 VALUE TOO SMALL.*keeps"),
        ("the value is outside of its limits", TemperatureLimitError, "-13 VALUE EXCEEDS"),
        ("it does not know the command", InstrumentFaultError, "-08 INVALID COMMAND"),
        ("the command is not allowed", InstrumentFaultError, "-09 COMMAND NOT ALLOWED.*remote"),
        ("it is in manual mode", InstrumentFaultError, "00 MANUAL STOP.*switch it to remote"),
        ("somebody takes it back meanwhile", InstrumentFaultError, "01 MANUAL START"),
        ("another setpoint is in force", InstrumentFaultError, r"in force is 298\.15 K"),
        ("it does not start", InstrumentFaultError, "asked 'out_mode_05 1', in force is stopped"),
    ],
)
def test_a_setpoint_that_is_not_in_force_is_an_error(
    connected: Connect, page: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        connected(page).go_to(313.15)


@pytest.mark.parametrize("kelvin", [25.0, 700.0])
def test_what_cannot_be_told_is_refused_before_anything_is_sent(
    connected: Connect, kelvin: float
) -> None:
    with pytest.raises(TemperatureLimitError, match="its setpoint is unchanged"):
        connected().go_to(kelvin)


def test_it_stops_and_says_so_when_it_does_not(connected: Connect) -> None:
    connected("it stops").stop()
    with pytest.raises(InstrumentFaultError, match="in force is started"):
        connected("it does not stop").stop()


def test_left_alone_it_does_what_the_bench_file_says(connected: Connect) -> None:
    going = connected("it goes to 40 degC", "it goes to 25 degC", safe_temperature_k=298.15)
    going.go_to(313.15)
    going.close()
    going.close()
    stopping = connected("it goes to 40 degC", "it stops")
    stopping.go_to(313.15)
    stopping.safe_state()
    stopping.safe_state()


@pytest.mark.parametrize("page", ["a warning", "what somebody else's command has left"])
def test_a_status_that_is_no_alarm_is_told_and_the_temperature_read(
    connected: Connect, caplog: pytest.LogCaptureFixture, page: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert connected(f"its state with {page}").state() == ThermostatState(313.05, 313.15, True)
    assert "its status is" in caplog.text


def test_the_beginning_of_a_lost_answer_is_not_put_before_the_next(connected: Connect) -> None:
    driver = connected("its state after an answer that was cut off")
    assert driver.state() == ThermostatState(313.05, 313.15, True)


def test_an_answer_of_which_a_byte_was_lost_is_asked_once_more(connected: Connect) -> None:
    driver = connected("its state of which a byte was lost in two answers")
    assert driver.state() == ThermostatState(313.05, 313.15, True)


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("nonsense", ProtocolError, "got 'maybe', not 0 or 1"),
        ("the connection is closed", TransportError, "goes on with the setpoint it has"),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    connected: Connect, page: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        connected(page).state()


def test_on_the_simulated_bench_it_is_a_thermostat_like_any_other(
    simulate: Callable[..., Any],
) -> None:
    bench = simulate("na-znag-symmetric", "potentiostat,julabo")
    entry = {
        "kind": "thermostat",
        "language": "julabo",
        "address": bench.address("julabo"),
        "safe_temperature_k": 296.15,
    }
    made = Bench(BenchFile.model_validate({"name": "one", "instruments": {"thermostat": entry}}))
    made.connect()
    device = made.devices["thermostat"]
    assert made.metadata()["bench"]["instruments"]["thermostat"]["language"] == "julabo"
    device.set(313.15).wait(50)
    assert device.driver.state()[1:3] == (313.15, True)
    with pytest.raises(TemperatureLimitError, match="-11 VALUE TOO LARGE"):
        device.driver.go_to(573.15)
    assert device.driver.state().setpoint_k == 313.15
    bench.break_something(instrument="julabo", fault="alarm", code=-1)
    end = time.monotonic() + 50
    while not any(line["event"] == "fault" for line in bench.truth("bench")):
        assert time.monotonic() < end
        time.sleep(0.01)
    with pytest.raises(InstrumentFaultError, match="LOW LEVEL ALARM"):
        device.trigger().wait(50)
    bench.break_something(instrument="julabo", fault="no-alarm")
    while sum(line["event"] == "fault" for line in bench.truth("bench")) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    made.close()
    assert bench.truth("thermostat")[-1]["setpoint_k"] == 296.15


def test_a_setpoint_is_written_as_it_is_and_read_back(connected: Connect) -> None:
    assert connected("it keeps its setpoint").confirm_setpoint() == 298.15
    with pytest.raises(InstrumentFaultError, match=r"out_sp_00 25\.00.*293\.15 K"):
        connected("it keeps another setpoint").confirm_setpoint()
