"""The simulated microbalance, asked by pyserial and nothing of ours."""

import contextlib
from pathlib import Path

import pytest
import serial

from sim_devices.cell import Cell
from sim_devices.clock import SimulatedClock
from sim_devices.qcm200 import Qcm200, mass_ug_cm2

PAGES = Path(__file__).parents[1] / "transcripts" / "srs_qcm200" / "manual.txt"
FARADAY = 96485.33212


@pytest.fixture
def cell():
    return Cell("zn-bare", seed=1)


@pytest.fixture
def balance(cell):
    with contextlib.closing(Qcm200(cell, SimulatedClock(), perfect=True)) as balance:
        yield balance


@pytest.fixture
def port(balance):
    with serial.Serial(balance.address.removeprefix("serial://"), 9600, timeout=50) as port:
        yield port


def ask(port, letter):
    port.write(letter.encode() + b"\r")
    return port.read_until(b"\r").decode().removesuffix("\r")


def new_frequency(port):
    ask(port, "B")
    seen = 0
    while seen & 3 != 3:
        seen |= int(ask(port, "B"))
    return float(ask(port, "F"))


def pages():
    blocks = PAGES.read_text().split("\n\n")
    return {name: turns for name, *turns in (block.strip().split("\n") for block in blocks)}


@pytest.mark.parametrize("page", pages())
def test_it_answers_as_the_manual_says(port, page):
    for turn in pages()[page]:
        way, text = turn[0], turn[2:]
        if way == ">":
            port.write(text.encode() + b"\r")
        else:
            assert port.read_until(b"\r").decode().removesuffix("\r") == text


def test_a_value_is_new_once_per_gate(port):
    port.write(b"P0\r")
    new_frequency(port)
    assert int(ask(port, "B")) in (0, 3)
    assert new_frequency(port) == pytest.approx(4998647, abs=1)


def test_the_frequency_falls_by_the_mass_of_the_metal(cell, port):
    port.write(b"P0\r")
    bare = new_frequency(port)
    start = cell.ledger("WE")
    mass = mass_ug_cm2(cell)
    for _ in range(36):
        cell.advance(10.0, "i", -1.0)
    gained = mass_ug_cm2(cell) - mass
    end = cell.ledger("WE")
    plated_mc = 3600.0 * (end["metal"] + end["dead"] - start["metal"] - start["dead"])
    of_metal = 65.38 / (2 * FARADAY) * 1e3 * plated_mc
    assert 0.3388 * plated_mc == pytest.approx(of_metal, rel=1e-3)
    assert of_metal <= gained < 1.1 * of_metal  # the film comes on top
    assert bare - new_frequency(port) == pytest.approx(56.6 * gained, rel=1e-3)


def test_a_warm_electrolyte_loads_it_less(cell, port):
    port.write(b"P0\r")
    cold, cold_ohm, coat = new_frequency(port), float(ask(port, "R")), mass_ug_cm2(cell)
    cell.temperature_setpoint_k = 318.15
    for _ in range(100):
        cell.advance(10.0, "i", 0.0)
    # At rest it corrodes, and the film that this makes weighs, too.
    coat = mass_ug_cm2(cell) - coat
    assert new_frequency(port) == pytest.approx(cold - 56.6 * coat + 248, abs=10)
    assert float(ask(port, "R")) < cold_ohm - 50


def test_a_crystal_that_stops_is_told_by_the_status(balance, port):
    port.write(b"P0\r")
    balance.line.inject("stopped")
    seen = 0
    while not seen & 8:
        seen |= int(ask(port, "B"))
    balance.line.inject("oscillates")
    assert new_frequency(port) > 4.9e6
