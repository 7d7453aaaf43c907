"""The simulated stage, asked by pyserial and nothing of ours."""

import contextlib
import time
from pathlib import Path

import pytest
import serial

from sim_devices.bench import Bench
from sim_devices.clock import SimulatedClock
from sim_devices.truth import read_truth
from sim_devices.zaber import ZaberStage

PAGES = Path(__file__).parents[1] / "transcripts" / "zaber" / "manual.txt"


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def stage(clock):
    with contextlib.closing(ZaberStage(clock)) as stage:
        yield stage


@pytest.fixture
def port(stage):
    with serial.Serial(stage.address.removeprefix("serial://"), 115200, timeout=50) as port:
        yield port


def ask(port, text):
    port.write(text.encode() + b"\n")
    return line(port)


def line(port):
    return port.read_until(b"\r\n").decode().removesuffix("\r\n")


def pages():
    blocks = PAGES.read_text().split("\n\n")
    return {name: turns for name, *turns in (block.strip().split("\n") for block in blocks)}


@pytest.mark.parametrize("page", pages())
def test_it_answers_as_the_manual_says(port, page):
    for turn in pages()[page]:
        if turn == ".":
            time.sleep(0.15)
        elif turn[0] == ">":
            port.write(turn[2:].encode() + b"\n")
        else:
            assert line(port) == turn[2:]


def test_the_clock_is_held_while_it_moves(port, clock):
    ask(port, "/1 1 home")
    time.sleep(0.15)
    assert " BUSY " in ask(port, "/1 1 move abs 533333")
    end = time.monotonic() + 50
    while clock.open_exchanges != ("stage",):
        assert time.monotonic() < end
        time.sleep(0.01)
    ask(port, "/1 1 stop")
    while clock.open_exchanges:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stalled_axis_tells_so_and_a_power_cut_takes_the_reference(stage, port):
    ask(port, "/1 1 home")
    time.sleep(0.15)
    stage.line.inject("stalled", device=1)
    assert ask(port, "/1 1") == "@01 1 OK IDLE FS 0"
    stage.line.inject("alert", device=2)
    assert line(port) == "!02 1 IDLE --"
    stage.line.inject("power-cycle", seconds=0.05)
    time.sleep(0.1)
    assert ask(port, "/1 1") == "@01 1 OK IDLE WR 0"


def test_the_cell_of_the_bench_is_carried_before_camera_and_laser(tmp_path):
    with contextlib.closing(Bench(tmp_path, "zn-bare", instruments=["camera", "stage"])) as bench:
        address = (tmp_path / "stage").read_text().strip().removeprefix("serial://")
        with serial.Serial(address, 115200, timeout=50) as port:
            assert bench.whereabouts.now() == (0.0, 0.0, 0.0)
            for turn in ("/1 1 home", "/1 1 move abs 12840"):
                ask(port, turn)
                while " BUSY " in ask(port, "/1 1"):
                    time.sleep(0.01)
        assert bench.whereabouts.now() == pytest.approx((840 * 0.047625, 0.0, 0.0))
        bench.lights.lamp = True
        end = time.monotonic() + 50
        while not (frames := read_truth(tmp_path / "sim_truth", "camera")[1:]):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert frames[0]["x_um"] == pytest.approx(40.005)
