"""The simulated pH circuit, asked by pyserial and nothing of ours."""

import contextlib
from pathlib import Path

import pytest
import serial

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.ezo_ph import EzoPh, bulk_ph

PAGES = Path(__file__).parents[1] / "transcripts" / "atlas_ezo_ph" / "manual.txt"


@pytest.fixture
def cell():
    return Cell("zn-bare", seed=1)


@pytest.fixture
def circuit(cell):
    with contextlib.closing(EzoPh(cell, SimulatedClock(), perfect=True)) as circuit:
        yield circuit


@pytest.fixture
def port(circuit):
    path = circuit.address.removeprefix("serial://")
    with serial.Serial(path, 9600, timeout=50) as port:
        yield port


def line(port):
    return port.read_until(b"\r").decode().removesuffix("\r")


def say(port, text):
    port.write(text.encode() + b"\r")


def quiet(port):
    """End the continuous mode; readings may come before it is acknowledged."""
    say(port, "C,0")
    while line(port) != "*OK":
        pass


def pages():
    blocks = PAGES.read_text().split("\n\n")
    return {name: turns for name, *turns in (block.strip().split("\n") for block in blocks)}


@pytest.mark.parametrize("page", pages())
def test_it_answers_as_the_data_sheet_says(port, page):
    quiet(port)
    for turn in pages()[page]:
        way, text = turn[0], turn[2:]
        if way == ">":
            say(port, text)
        else:
            assert line(port) == text


def test_it_streams_until_it_is_told_not_to(port):
    assert float(line(port)) == pytest.approx(4.4)
    assert float(line(port)) == pytest.approx(4.4)
    quiet(port)
    say(port, "R")
    assert float(line(port)) == pytest.approx(4.4)
    assert line(port) == "*OK"


def test_a_circuit_that_is_told_another_temperature_tells_another_ph_until_it_is_calibrated(
    port, cell
):
    quiet(port)
    say(port, "RT,0")
    expected = 7 - (7 - bulk_ph(cell)) * cell.temperature_k / 273.15
    assert float(line(port)) == pytest.approx(expected, abs=0.0015)
    assert expected - bulk_ph(cell) == pytest.approx(-0.238, abs=0.001)
    assert line(port) == "*OK"
    say(port, "Cal,mid,7.00")
    assert line(port) == "*OK"
    say(port, "R")
    assert float(line(port)) == pytest.approx(7.0, abs=0.0015)


def test_the_ph_follows_the_hydrogen(cell):
    before = bulk_ph(cell)
    for _ in range(60):
        cell.advance(60.0, "i", -1.0)
    assert cell.hydrogen_evolved_mol > 0
    assert before < bulk_ph(cell) < before + 1


def test_the_film_takes_hydroxide_out_of_the_electrolyte(cell):
    for _ in range(60):
        cell.advance(60.0, "i", -1.0)
    hydroxide = 2 * cell.hydrogen_evolved_mol
    assert 0 < 6 * cell.zhs_mol < hydroxide
