"""The Keithley driver against pages of the manual."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from instruments.errors import (
    InstrumentError,
    InstrumentFaultError,
    ProtocolError,
    TransportError,
    TransportTimeout,
)
from instruments.potentiostat.contract import Potentiostat
from instruments.potentiostat.keithley import KeithleyPotentiostat
from instruments.potentiostat.keithley.dialogue import Dialogue

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


class Answering:
    """A wire that says a line for each question about the output, and then is silent."""

    address = "tcp://meter"
    arrival_ns = 0

    def __init__(self, *lines: bytes) -> None:
        self.lines = list(lines)
        self.to_say: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.to_say.append(self.lines.pop(0))

    def read_line(self, timeout_s: float) -> bytes:
        if self.to_say:
            return self.to_say.pop(0)
        raise TransportTimeout("tcp://meter: nothing came")

    def read_exactly(self, n: int, timeout_s: float) -> bytes:
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""


def test_an_output_that_a_damaged_line_tells_is_asked_for_again() -> None:
    damaged = b"operando-safe 1 smu.O\xc6F 0.25"
    wire = Answering(damaged, b"operando-safe 2 smu.OFF 0.25")
    dialogue = Dialogue(wire, lambda: "meter")
    dialogue.output_off()
    assert not wire.lines
    assert dialogue.confirmation(damaged) is None
    with pytest.raises(InstrumentFaultError, match=r"says 'smu\.ON'"):
        Dialogue(Answering(b"operando-safe 1 smu.ON 0.25"), lambda: "meter").output_off()


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
