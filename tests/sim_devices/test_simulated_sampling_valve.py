"""The simulated valve, asked by pyserial and nothing of ours."""

import contextlib
import time
from pathlib import Path

import pytest
import serial

from sim_devices.cell import Cell
from sim_devices.chromatograph import Chromatograph
from sim_devices.clock import SimulatedClock
from sim_devices.truth import Truth
from sim_devices.vici import ViciActuator

PAGES = Path(__file__).parents[1] / "transcripts" / "vici" / "manual.txt"


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def open_valve(clock, tmp_path):
    with contextlib.ExitStack() as stack:
        truth = stack.enter_context(contextlib.closing(Truth(tmp_path)))

        def start(**more):
            valve = ViciActuator(clock, truth, **more)
            stack.enter_context(contextlib.closing(valve))
            port = serial.Serial(valve.address.removeprefix("serial://"), 9600, timeout=50)
            return valve, stack.enter_context(port)

        yield start


def say(port, text):
    port.write(text.encode() + b"\r")


def line(port):
    return port.read_until(b"\r").decode().removesuffix("\r")


def pages():
    blocks = PAGES.read_text().split("\n\n")
    return {name: turns for name, *turns in (block.strip().split("\n") for block in blocks)}


@pytest.mark.parametrize("page", pages())
def test_it_answers_as_the_manuals_say(open_valve, page):
    _, port = open_valve()
    for turn in pages()[page]:
        if turn == ".":
            time.sleep(0.5)
        elif turn[0] == ">":
            say(port, turn[2:])
        else:
            assert line(port) == turn[2:]


def test_with_an_id_it_hears_only_its_own(open_valve):
    _, port = open_valve(unit="Z")
    say(port, "CP")
    say(port, "/1CP")
    say(port, "/zCP")
    assert line(port) == "/ZCPA"


def test_while_it_turns_it_tells_where_it_was_and_the_clock_is_held(open_valve, clock):
    turned = []
    # Asked by the valve itself, at the end of a turn: when it is over for the host depends on both.
    _, port = open_valve(on_turn=lambda position: turned.append((position, clock.open_exchanges)))
    say(port, "GOB\rCP")
    assert line(port) == "CPA"
    end = time.monotonic() + 50
    while not turned:
        assert time.monotonic() < end
        time.sleep(0.01)
    say(port, "GOA")
    while len(turned) < 2 or clock.open_exchanges:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert turned == [("B", ("sampling valve",)), ("A", ("sampling valve",))]


def test_a_valve_that_is_stuck_stays_where_it_is(open_valve):
    valve, port = open_valve()
    valve.line.inject("stuck")
    say(port, "GOB")
    time.sleep(0.5)
    say(port, "CP")
    assert line(port) == "CPA"


def test_without_the_loop_in_the_carrier_no_gas_goes_over_the_column(clock, tmp_path):
    with contextlib.ExitStack() as stack:
        truth = stack.enter_context(contextlib.closing(Truth(tmp_path / "truth")))
        made = Chromatograph(Cell("pt-hydrogen"), clock, truth, tmp_path / "runs")
        chromatograph = stack.enter_context(contextlib.closing(made))
        chromatograph.inject("bottle", hydrogen=0.01)
        chromatograph.fit_loop()
        assert chromatograph.take_in()[0]["mole_fraction"] == 0.0
        chromatograph.turn_loop(True)
        chromatograph.inject("bottle", hydrogen=0.5)  # the loop is filled already
        assert chromatograph.take_in()[0]["mole_fraction"] == 0.01
        chromatograph.turn_loop(False)
        assert chromatograph.take_in()[0]["mole_fraction"] == 0.0
