"""The simulated Julabo, asked by pyserial and nothing of ours."""

import contextlib
import time
from pathlib import Path

import pytest
import serial

from sim_devices.cell import Cell
from sim_devices.julabo import Julabo
from sim_devices.truth import Truth

PAGES = Path(__file__).parents[1] / "transcripts" / "julabo" / "manual.txt"
AFTER_SETTING_S, AFTER_ANSWER_S = 0.26, 0.012


@pytest.fixture
def cell():
    return Cell("na-znag-symmetric", seed=1)


@pytest.fixture
def circulator(cell, tmp_path):
    with contextlib.closing(Truth(tmp_path)) as truth:
        with contextlib.closing(Julabo(cell, truth)) as circulator:
            yield circulator


@pytest.fixture
def port(circulator):
    with serial.Serial(circulator.address.removeprefix("serial://"), timeout=50) as port:
        yield port


def ask(port, text):
    port.write(text.encode() + b"\r")
    line = port.read_until(b"\r\n").decode().removesuffix("\r\n")
    time.sleep(AFTER_ANSWER_S)
    return line


def tell(port, text, wait_s=AFTER_SETTING_S):
    port.write(text.encode() + b"\r")
    time.sleep(wait_s)
    assert port.in_waiting == 0


def pages():
    blocks = PAGES.read_text().split("\n\n")
    return {name: turns for name, *turns in (block.strip().split("\n") for block in blocks)}


@pytest.mark.parametrize("page", pages())
def test_it_answers_as_the_manuals_say(port, page):
    turns = [(turn[0], turn[2:]) for turn in pages()[page]]
    for (way, text), (next_way, answer) in zip(turns, [*turns[1:], (">", "")], strict=True):
        if way == ">" and next_way == "<":
            assert ask(port, text) == answer
        elif way == ">":
            tell(port, text)


def test_what_comes_too_soon_after_a_setting_is_not_heard(port):
    took_s = 1.0
    while took_s > 0.2:  # who is too slow himself does not come too soon
        tell(port, "out_mode_05 0")
        began = time.monotonic()
        tell(port, "out_sp_00 40.00", wait_s=0.02)
        port.write(b"out_mode_05 1\r")
        took_s = time.monotonic() - began
        time.sleep(AFTER_SETTING_S)
    assert ask(port, "in_sp_00") == "40.00"
    assert ask(port, "in_mode_05") == "0"


def test_in_manual_mode_it_tells_and_takes_nothing(circulator, port):
    circulator.line.inject("manual")
    tell(port, "out_sp_00 40.00")
    assert ask(port, "status") == "-09 COMMAND NOT ALLOWED IN CURRENT OPERATING MODE"
    assert ask(port, "in_sp_00") == "25.00"
    assert ask(port, "status") == "00 MANUAL STOP"


@pytest.mark.parametrize("code", [-1, -5, -6, -7])
def test_an_alarm_ends_the_control(circulator, port, code):
    tell(port, "out_mode_05 1")
    circulator.line.inject("alarm", code=code)
    assert ask(port, "status").startswith(f"{code:03d} ")
    assert ask(port, "in_mode_05") == "0"


def test_the_bath_overshoots_and_settles_around_the_cell(cell, port):
    tell(port, "out_sp_00 35.00")
    tell(port, "out_mode_05 1")
    highest = 0.0
    for _ in range(90):
        cell.advance(10.0, "i", 0.0)
        highest = max(highest, cell.temperature_k)
    assert highest > 308.15 + 0.1
    assert float(ask(port, "in_pv_00")) == pytest.approx(35.0, abs=0.02)


def test_after_a_power_cut_setpoint_and_start_have_to_be_told_again(cell, circulator, port):
    tell(port, "out_sp_00 35.00")
    tell(port, "out_mode_05 1")
    circulator.line.inject("power-cycle", seconds=0.05)
    time.sleep(0.1)
    assert ask(port, "status") == "02 REMOTE STOP"
    assert ask(port, "in_sp_00") == "25.00"
    assert cell.temperature_setpoint_k == 298.15
