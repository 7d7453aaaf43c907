"""The Keithley driver against pages of the manual."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
)
from instruments.potentiostat.contract import Potentiostat
from instruments.potentiostat.keithley import KeithleyPotentiostat

Connect = Callable[..., KeithleyPotentiostat]


@pytest.fixture
def connected(play_pages: Callable[..., Any]) -> Iterator[Connect]:
    drivers: list[KeithleyPotentiostat] = []

    def connect(first: str = "connecting") -> KeithleyPotentiostat:
        meter = play_pages("keithley/driver.txt", first, "closing", line_end=b"\n")
        drivers.append(KeithleyPotentiostat(meter.address))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        driver.close()


def test_the_driver_is_a_potentiostat_that_nobody_has_confirmed_on_hardware(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    driver: Potentiostat = connected()
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    told = driver.identify()
    assert told["model"] == "Keithley 2450"
    assert (told["firmware"], told["serial_number"]) == ("1.7.0i", "01234567")
    able = driver.capabilities()
    assert "impedance_spectrum" not in able.techniques
    assert able.frequency_max_hz == 0
    assert not able.keeps_log
    assert driver.prepare_log(None, lambda name: True) is not None  # type: ignore[arg-type]
    assert driver.program_end.ending == "unknown"


def test_newer_firmware_names_itself_otherwise(connected: Connect) -> None:
    driver = connected("connecting to newer firmware in a country of 60 Hz")
    assert driver.identify()["model"] == "Keithley 2460"
    assert driver.capabilities().current_max_a == 7.35


def test_what_a_program_before_has_said_is_no_answer(connected: Connect) -> None:
    assert connected("connecting while a program of somebody runs").identify()["firmware"]


def test_what_an_abort_has_thrown_away_is_asked_again(connected: Connect) -> None:
    page = "connecting to one that throws away what comes behind an abort"
    assert connected(page).identify()["firmware"]


def test_an_output_that_a_damaged_line_tells_is_asked_for_again(
    play_pages: Callable[..., Any],
) -> None:
    page = "connecting to one whose first confirmation is damaged"
    driver = KeithleyPotentiostat(play_pages("keithley/driver.txt", page, line_end=b"\n").address)
    driver.connect()
    assert driver.identify()["serial_number"] == "01234567"
    with contextlib.suppress(TransportError):
        driver.close()  # nobody answers any more


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("its command set is SCPI", ProtocolError, r"command set is SCPI.*\*LANG TSP"),
        ("it is a digital multimeter", ProtocolError, "no SourceMeter 2450, 2460, 2461"),
        ("it is somebody else's", ProtocolError, "is this the right address"),
        ("its firmware is old", ProtocolError, "'1.0.0i', the programs need 1.5"),
        ("its clock is no number", ProtocolError, "got 'operando"),
        ("it has another idea of the mains", ProtocolError, "the mains have 400 Hz"),
        ("its output stays on", InstrumentFaultError, "says 'smu.ON': disconnect the cell"),
        ("it hangs up", TransportError, "closed the connection"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    play_pages: Callable[..., Any], page: str, error: type[InstrumentError], complaint: str
) -> None:
    meter = play_pages("keithley/driver.txt", page, line_end=b"\n")
    driver = KeithleyPotentiostat(meter.address)
    with pytest.raises(error, match=complaint) as caught:
        driver.connect()
    assert meter.address in str(caught.value)
    with pytest.raises(TransportError, match="not connected"):
        driver.identify()
    driver.close()
