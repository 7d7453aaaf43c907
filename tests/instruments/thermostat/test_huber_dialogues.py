"""The driver against pages of the manual: every answer, every error answer."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
)
from instruments.thermostat import HuberThermostat
from instruments.thermostat.contract import Thermostat, ThermostatState
from instruments.transport import read_dialogue

AT_REST = "connecting to a circulator at rest"


@pytest.fixture
def connected(manual: Callable[..., Any]) -> Iterator[Callable[..., HuberThermostat]]:
    drivers: list[HuberThermostat] = []

    def connect(*pages: str, first: str = AT_REST, **more: Any) -> HuberThermostat:
        drivers.append(HuberThermostat(manual(first, *pages).address, **more))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        if driver._transport is not None:
            driver._transport.close()


def test_the_driver_is_a_thermostat_that_nobody_has_confirmed_on_hardware(
    connected: Callable[..., HuberThermostat], caplog: pytest.LogCaptureFixture
) -> None:
    driver: Thermostat = connected()
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    assert driver.setpoint_range_k() == (228.15, 423.15)
    told = driver.identify()
    assert told["model"] == "Huber circulator, Pilot ONE"
    assert told["setpoint_range_k"] == "228.15 to 423.15"


def test_a_model_that_tells_less_is_taken_as_it_is(
    connected: Callable[..., HuberThermostat],
) -> None:
    first = "connecting to a model that tells no range, no status, and has a process sensor"
    driver = connected(first=first)
    assert driver.setpoint_range_k() == (122.15, 600.15)
    assert driver.identify()["temperature_of"] == "process sensor"


def test_a_sensor_that_is_not_there_is_never_a_temperature(
    connected: Callable[..., HuberThermostat],
) -> None:
    driver = connected(
        first="connecting to a model that says -151 degC for a sensor that is not there"
    )
    assert driver.identify()["temperature_of"] == "bath"


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("a model without a bath sensor", ProtocolError, "bath's temperature"),
        ("one whose range is upside down", ProtocolError, "150 to -45 degC"),
        ("one that reports an error", InstrumentFaultError, "reports error -1"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    manual: Callable[..., Any], page: str, error: type[Exception], complaint: str
) -> None:
    driver = HuberThermostat(manual(f"connecting to {page}").address)
    with pytest.raises(error, match=complaint):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.state()


@pytest.mark.parametrize(
    ("page", "kelvin"), [("40 degC", 313.15), ("-10 degC", 263.15), ("25 degC", 298.15)]
)
def test_a_setpoint_is_sent_in_hundredths_of_a_degree_and_read_back(
    connected: Callable[..., HuberThermostat], page: str, kelvin: float
) -> None:
    assert connected(f"it goes to {page}").go_to(kelvin) == kelvin


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("another setpoint is in force", InstrumentFaultError, r"asked set 313\.15 K.*293\.15 K"),
        ("it does not control, for an error", InstrumentFaultError, "reports error -10"),
        (
            "it does not control, and does not say why",
            InstrumentFaultError,
            "in force is not controlling",
        ),
        ("the setpoint cannot be written", ProtocolError, "00 cannot be written"),
    ],
)
def test_a_setpoint_that_is_not_in_force_is_an_error(
    connected: Callable[..., HuberThermostat], page: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        connected(page).go_to(313.15)


@pytest.mark.parametrize("kelvin", [228.0, 423.16, 25.0])
def test_a_setpoint_beyond_its_range_is_refused_before_anything_is_sent(
    connected: Callable[..., HuberThermostat], kelvin: float
) -> None:
    with pytest.raises(SafetyLimitError, match=r"takes 228\.15 K to 423\.15 K.*unchanged"):
        connected().go_to(kelvin)


def test_it_stops_and_says_so_when_it_does_not(connected: Callable[..., HuberThermostat]) -> None:
    connected("it stops").stop()
    with pytest.raises(InstrumentFaultError, match="in force is controlling"):
        connected("it does not stop").stop()


def test_left_alone_it_does_what_the_bench_file_says_and_only_if_it_was_moved(
    connected: Callable[..., HuberThermostat],
) -> None:
    connected().close()
    stopping = connected("it goes to 40 degC", "it stops")
    stopping.go_to(313.15)
    stopping.safe_state()
    stopping.safe_state()
    going = connected("it goes to 40 degC", "it goes to 25 degC", safe_temperature_k=298.15)
    going.go_to(313.15)
    going.close()
    going.close()


def test_a_warning_is_told_once(
    connected: Callable[..., HuberThermostat], caplog: pytest.LogCaptureFixture
) -> None:
    driver = connected("its state with a warning", "its state with the same warning")
    with caplog.at_level(logging.WARNING):
        assert driver.state() == driver.state() == ThermostatState(313.05, 313.15, True)
    assert caplog.text.count("reports warning -45") == 1


@pytest.mark.parametrize("page", ["an answer that was damaged", "the answer to another question"])
def test_a_damaged_answer_is_asked_for_again_and_never_taken(
    connected: Callable[..., HuberThermostat], page: str
) -> None:
    assert connected(f"its state after {page}").state() == ThermostatState(313.05, 313.15, True)


def test_an_answer_that_was_cut_off_is_asked_for_again(
    connected: Callable[..., HuberThermostat],
) -> None:
    driver = connected("its state after an answer that was cut off")
    assert driver.state() == ThermostatState(313.05, 313.15, True)


def test_nonsense_is_told_as_it_came(connected: Callable[..., HuberThermostat]) -> None:
    with pytest.raises(ProtocolError, match=r"asked '\{M0A\*\*\*\*', got b'what\?\\r'"):
        connected("nonsense twice").state()


def test_a_connection_that_is_closed_says_what_the_bath_does_now(
    connected: Callable[..., HuberThermostat],
) -> None:
    with pytest.raises(TransportError, match="goes on with the setpoint it has"):
        connected("the connection is closed").state()


def test_silence_is_a_timeout_that_says_where_to_look(manual: Callable[..., Any]) -> None:
    driver = HuberThermostat(manual("connecting to a circulator at rest").address)
    driver.connect()
    transport = driver._transport
    assert transport is not None
    silent = HuberThermostat(manual("silence").address)
    try:
        with pytest.raises(TransportTimeout, match="PB commands, port 8101"):
            silent.connect()
    finally:
        transport.close()


def test_the_dialogue_can_be_kept_as_a_file(
    connected: Callable[..., HuberThermostat], tmp_path: Any
) -> None:
    connected(record_to=tmp_path / "dialogue.txt")
    said = [turn.data for turn in read_dialogue(tmp_path / "dialogue.txt")]
    assert b"{M30****\r\n" in said


def test_a_setpoint_is_written_as_it_is_and_read_back(
    connected: Callable[..., HuberThermostat],
) -> None:
    assert connected("it keeps its setpoint").confirm_setpoint() == 313.15
    with pytest.raises(InstrumentFaultError, match=r"keep 313\.15 K, in force is 298\.15 K"):
        connected("it keeps another setpoint").confirm_setpoint()
