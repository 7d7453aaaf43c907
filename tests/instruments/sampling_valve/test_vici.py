"""The valve's driver against pages of its manuals, and the simulated actuator."""

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
from instruments.sampling_valve import SamplingValve
from instruments.sampling_valve.vici import ViciValve

Connect = Callable[..., ViciValve]
PAGES = "vici/driver.txt"


@pytest.fixture
def connected(play_pages: Callable[..., Any]) -> Iterator[Connect]:
    drivers: list[ViciValve] = []

    def connect(*pages: str, first: str = "connecting", **more: Any) -> ViciValve:
        actuator = play_pages(PAGES, first, *pages, line_end=b"\r")
        drivers.append(ViciValve(actuator.address, **more))
        drivers[-1].connect()
        return drivers[-1]

    yield connect
    for driver in drivers:
        if driver._transport is not None:
            driver._transport.close()


def test_the_driver_is_a_valve_that_nobody_has_confirmed_on_hardware(
    connected: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    driver: SamplingValve = connected()
    assert driver.verified_on is None
    assert "has not been confirmed on real hardware" in caplog.text
    assert driver.identify()["firmware"] == "I-PD-UMTN88RD1"
    driver.safe_state()  # nothing was moved


@pytest.mark.parametrize("how", ["one in another setting, at B", "one that tells in words"])
def test_a_position_may_be_told_in_several_ways(connected: Connect, how: str) -> None:
    assert connected(first=f"connecting to {how}").identify()["firmware"] == "EUTA-CE"


def test_an_actuator_among_others_is_spoken_to_by_its_id(connected: Connect) -> None:
    connected(first="connecting to one with an ID", unit="1")


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("connecting to one of ten positions", ProtocolError, "more than two positions"),
        ("connecting to something else", InstrumentFaultError, "'CP = Bad command'"),
        ("silence", TransportTimeout, "at 9600 baud, and of this ID"),
    ],
)
def test_what_cannot_be_worked_with_is_not_connected(
    play_pages: Callable[..., Any], page: str, error: type[Exception], complaint: str
) -> None:
    driver = ViciValve(play_pages(PAGES, page, line_end=b"\r").address)
    with pytest.raises(error, match=complaint):
        driver.connect()
    with pytest.raises(TransportError, match="not connected"):
        driver.position()


@pytest.mark.parametrize("page", ["to B, and nothing answers", "to B, and it answers"])
def test_a_turn_is_over_when_the_position_is_told(connected: Connect, page: str) -> None:
    connected(page).go_to("B")


def test_where_it_stands_it_is_not_asked_to_go(connected: Connect) -> None:
    connected("to A, where it stands").go_to("A")


def test_left_alone_it_goes_back_to_where_it_was_found(connected: Connect) -> None:
    driver = connected("to B, and nothing answers", "back to A")
    driver.go_to("B")
    driver.close()
    driver.close()


def test_an_echo_is_no_position(connected: Connect) -> None:
    assert connected("it echoes").position() == "A"


def test_a_position_that_was_damaged_on_its_way_is_asked_for_once_more(connected: Connect) -> None:
    page = "where it stands, told by a line that was damaged and by a whole one"
    assert connected(page).position() == "A"


def test_a_command_that_is_refused_is_an_error(connected: Connect) -> None:
    with pytest.raises(InstrumentFaultError, match="'GOB = Bad command'"):
        connected("to B, and it does not know that").go_to("B")


@pytest.mark.parametrize(
    ("page", "error", "complaint"),
    [
        ("many lines and no position", ProtocolError, "none is a position"),
        ("the connection is closed", TransportError, "Where the valve stands is unknown"),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    connected: Connect, page: str, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        connected(page).position()


def test_a_simulated_valve_that_is_stuck_is_told(simulate: Callable[..., Any]) -> None:
    bench = simulate("zn-bare-half", "potentiostat,sampling_valve")
    driver = ViciValve(bench.address("sampling_valve"))
    driver.connect()
    driver.go_to("B")
    assert driver.position() == "B"
    driver._turn_s = 0.6  # it would be waited for longer, for the sake of those that turn
    bench.break_something(instrument="sampling_valve", fault="stuck")
    end = time.monotonic() + 50
    while not any(line["event"] == "fault" for line in bench.truth("bench")):
        assert time.monotonic() < end
        time.sleep(0.01)
    with pytest.raises(InstrumentFaultError, match=r"asked 'GOA'.*its position is: B.*stuck"):
        driver.go_to("A")
    with pytest.raises(InstrumentFaultError, match="stuck"):
        driver.close()
    assert driver._transport is None
