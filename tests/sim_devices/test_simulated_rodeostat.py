"""The simulated Rodeostat, asked by pyserial and nothing of ours."""

import contextlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
import serial

from sim_devices.cell import make_cell
from sim_devices.clock import SimulatedClock
from sim_devices.rodeostat import Rodeostat
from sim_devices.truth import Truth, read_truth

PAGES = Path(__file__).parents[1] / "transcripts" / "rodeostat" / "manual.txt"


@contextlib.contextmanager
def served(folder, cell="dummy-100ohm", factor=100.0, **options):
    clock, truth = SimulatedClock(factor), Truth(folder)
    instrument = Rodeostat(make_cell(cell, 1), clock, truth, 1, **options)
    try:
        path = instrument.address.removeprefix("serial://")
        with serial.Serial(path, 115200, timeout=50) as port:
            yield instrument, port
    finally:
        clock.close()
        instrument.close()
        truth.close()


def pages():
    blocks = PAGES.read_text().split("\n\n")
    found = (block.removesuffix("\n").split("\n") for block in blocks)
    return {name.removeprefix("# "): turns for name, *turns in found}


def say(port, **message):
    port.write(json.dumps(message).encode() + b"\n")


def hear(port):
    line = port.readline()
    assert line.endswith(b"\r\n"), line
    return json.loads(line)


def ask(port, **message):
    say(port, **message)
    answer = hear(port)
    assert answer["success"], answer
    return answer["response"]


def run(port, test, **param):
    ask(port, command="setParam", test=test, param={"quietTime": 0, "quietValue": 0.0} | param)
    ask(port, command="runTest", test=test)
    rows = []
    while row := hear(port):
        rows.append(row)
    return {key: np.array([row[key] for row in rows]) for key in "tvi"}


@pytest.mark.parametrize("page", pages())
def test_it_answers_as_its_firmware_does(tmp_path, page):
    with served(tmp_path, perfect=True) as (_, port):
        for turn in pages()[page]:
            way, text = turn[0], turn[2:]
            if way == ">":
                port.write(text.encode() + b"\n")
            else:
                assert port.readline().decode() == f"{text}\r\n"


def test_a_sinusoid_begins_in_the_middle(tmp_path):
    with served(tmp_path, perfect=True) as (_, port):
        told = {"amplitude": 0.4, "offset": 0.1, "period": 800, "numCycles": 1, "shift": 0.0}
        rows = run(port, "sinusoid", **told)
        assert rows["v"] == pytest.approx(0.1 + 0.4 * np.sin(rows["t"] / 800 * 2 * np.pi), abs=1e-6)


def test_a_triangle_begins_where_its_shift_says(tmp_path):
    with served(tmp_path, perfect=True) as (_, port):
        told = {"amplitude": 0.4, "offset": 0.1, "period": 800, "numCycles": 2}
        rows = run(port, "cyclic", **told, shift=0.25)
        assert rows["t"][-1] == 1600
        assert rows["v"].max() == pytest.approx(0.5)
        assert rows["v"].min() == pytest.approx(-0.3)
        assert rows["v"][0] == pytest.approx(0.1 + 0.4 * 10 / 200)
        assert np.all(np.abs(np.diff(rows["v"])) < 0.0201)


def test_its_errors_are_those_it_told_the_truth(tmp_path):
    with served(tmp_path) as (_, port):
        ask(port, command="setCurrRange", currRange="12000uA")
        rows = run(port, "constant", value=0.5, duration=1000)
        (born,) = (x for x in read_truth(tmp_path, "potentiostat") if x["event"] == "instrument")
    # The converter's step on its range of 1 V is 0.5 mV.
    applied = 0.5 * born["applied_gain"] + born["applied_offset_v"]
    expected = applied / 100 * 1e6 * born["current_gain"]["12000uA"]
    expected += born["current_offset_of_range"]["12000uA"] * 12024
    assert rows["i"].mean() == pytest.approx(expected, abs=0.5)
    assert rows["i"].std() == pytest.approx(3e-5 * 12024, rel=0.5)


def test_a_test_that_nobody_stops_goes_on_to_its_end_and_disconnects(tmp_path):
    with served(tmp_path, perfect=True) as (instrument, port):
        ask(
            port,
            command="setParam",
            test="constant",
            param={"quietTime": 0, "value": 0.5, "duration": 20_000},
        )
        ask(port, command="runTest", test="constant")
        port.close()  # the host is gone
        instrument._worker.join(0.0)
        while not [x for x in read_truth(tmp_path, "potentiostat") if x["event"] == "cell_off"]:
            time.sleep(0.01)
        events = read_truth(tmp_path, "potentiostat")
        (on,), (off,) = (
            [x["cell_t_s"] for x in events if x["event"] == event]
            for event in ("cell_on", "cell_off")
        )
    assert off - on == pytest.approx(20.0, abs=0.2)


def test_it_hears_a_host_that_has_long_read_nothing(tmp_path):
    with served(tmp_path, factor=1e4, perfect=True) as (instrument, port):
        param = {"quietTime": 0, "value": 0.5, "duration": 2_000_000_000}
        ask(port, command="setParam", test="constant", param=param)
        ask(port, command="runTest", test="constant")
        while instrument.line.pending_bytes < 60_000:
            time.sleep(0.01)
        say(port, command="stopTest")
        while b'"stopTest"' not in (line := port.readline()):
            assert line
        assert [x for x in read_truth(tmp_path, "potentiostat") if x["event"] == "cell_off"]


def test_a_power_cycle_disconnects_and_says_nothing(tmp_path):
    with served(tmp_path, factor=1.0, perfect=True) as (instrument, port):
        ask(port, command="runTest", test="constant")
        assert hear(port)["t"] == 10
        instrument.line.inject("power-cycle", seconds=0.1)
        port.timeout = 0.3
        while port.readline():
            continue
        answer = {}
        while "response" not in answer:
            say(port, command="getAllElectConnected")
            answer = json.loads(port.readline() or b"{}")
        assert answer["response"]["connected"] is False
        with pytest.raises(ValueError, match="no fault"):
            instrument.line.inject("hunger")


def test_it_refuses_tells_what_cannot_be_and_loses_count_of_time(tmp_path):
    with served(tmp_path, factor=1.0, perfect=True) as (instrument, port):
        instrument.line.inject("refuse")
        say(port, command="getVersion")
        assert hear(port) == {"success": False, "message": "unable to comply", "response": {}}
        instrument.line.inject("out-of-range", count=2)
        ask(port, command="runTest", test="constant")
        assert [hear(port)["v"] for _ in range(3)] == [1e6, 1e6, 0.0]
        instrument.line.inject("clock-jump", seconds=100)
        while (row := hear(port))["t"] < 100_000:
            assert row["t"] < 10_000
        assert row["t"] < 110_000
