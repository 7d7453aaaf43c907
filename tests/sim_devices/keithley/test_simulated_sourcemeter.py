"""The simulated SourceMeter, asked by pyvisa and nothing of ours."""

import contextlib
import time
from pathlib import Path

import pytest
import pyvisa

from sim_devices import keithley
from sim_devices.cell import make_cell
from sim_devices.clock import SimulatedClock
from sim_devices.truth import Truth, read_truth

TRANSCRIPTS = Path(__file__).parents[2] / "transcripts" / "keithley"


def pages(language):
    blocks = (TRANSCRIPTS / f"manual_{language}.txt").read_text().split("\n\n")
    found = (block.removesuffix("\n").split("\n") for block in blocks)
    return {name.removeprefix("# "): turns for name, *turns in found}


@contextlib.contextmanager
def served(folder, language="TSP", cell="dummy-100ohm", factor=1000.0, **options):
    clock = SimulatedClock(factor)
    truth = Truth(folder)
    meter = keithley.serve(make_cell(cell, 1), clock, truth, 1, language=language, **options)
    host, _, port = meter.address.removeprefix("tcp://").partition(":")
    manager = pyvisa.ResourceManager("@py")
    resource = manager.open_resource(f"TCPIP::{host}::{port}::SOCKET")
    resource.read_termination = resource.write_termination = "\n"
    resource.timeout = 10_000
    try:
        yield meter, resource
    finally:
        resource.close()
        manager.close()
        clock.close()
        meter.close()
        truth.close()


def play(resource, turns):
    for turn in turns:
        way, text = turn[0], turn[2:]
        if way == ">":
            resource.write(text)
        else:
            assert resource.read() == text


@pytest.mark.parametrize("language", ["tsp", "scpi"])
def test_it_answers_as_the_manual_says(tmp_path, language):
    with served(tmp_path, language.upper(), perfect=True) as (_, resource):
        for turns in pages(language).values():
            play(resource, turns)
            resource.write("eventlog.clear()" if language == "tsp" else ":SYST:CLE")


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (":SENS:VOLT:NPLC", -109),
        (":NOSUCH:THING 1", -113),
        (":SOUR:CURR 99", -222),
        (":SENS:VOLT:NPLC 99", -222),
        (":OUTP MAYBE", -224),
        (":SOUR:CURR abc", -104),
        (':TRAC:DATA? 1,1,"defbuffer1",NOTHING', 1133),
        (":INIT", -221),
    ],
)
def test_what_is_wrong_with_a_command_stands_in_the_error_queue(scpi, command, number):
    scpi.write(command)
    answer = scpi.query(":SYST:ERR?")
    assert answer.startswith(f'{number},"')
    assert answer.count(";") == 2
    assert scpi.query(":SYST:ERR?").startswith('0,"No error;0;')


@pytest.fixture(scope="module")
def scpi(tmp_path_factory):
    with served(tmp_path_factory.mktemp("scpi"), "SCPI") as (_, resource):
        yield resource


def test_a_program_is_ended_by_abort_and_the_output_stays_as_it_was(tmp_path):
    with served(tmp_path, perfect=True, factor=10.0) as (_, resource):
        resource.write("reset() smu.source.level = 0.1 smu.source.output = smu.ON")
        resource.write("for n = 1, 1e6 do delay(1) end print('over')")
        resource.write("print('never said')")
        time.sleep(0.2)
        resource.write("abort")
        resource.write("print(smu.source.output)")
        assert resource.read() == "smu.ON"
        resource.write("pcall(function() delay(1e4) end) smu.source.output = smu.OFF")
        time.sleep(0.2)
        resource.write("abort")
        # What a program catches, it cannot catch this.
        assert resource.query("print(smu.source.output)") == "smu.ON"


def test_the_timer_counts_the_cells_seconds_with_the_error_of_its_crystal(tmp_path):
    with served(tmp_path) as (meter, resource):
        resource.write("timer.cleartime() delay(1000)")
        counted = float(resource.query("print(timer.gettime())"))
        assert counted == pytest.approx(1000, rel=1e-6)
        ppm = read_truth(tmp_path, "potentiostat")[0]["timer_ppm"]
        assert 0 < abs(ppm) <= 50
        assert meter.smu.rate == 1 + ppm * 1e-6


def test_each_range_has_errors_of_its_own(tmp_path):
    with served(tmp_path) as (_, resource):
        told = read_truth(tmp_path, "potentiostat")[0]
        resource.write("reset() smu.source.func = smu.FUNC_DC_CURRENT smu.source.level = 1e-3")
        resource.write("smu.measure.func = smu.FUNC_DC_VOLTAGE smu.measure.sense = smu.SENSE_4WIRE")
        resource.write("smu.source.range = 10e-3 smu.source.output = smu.ON smu.measure.nplc = 10")
        voltage, current = resource.query(
            "print(smu.measure.read(defbuffer1), defbuffer1.sourcevalues[1])"
        ).split()
        gain, offset = (told["set_current"][x]["0.01"] for x in ("gain", "offset"))
        true_a = (1e-3 - offset) / gain
        assert true_a != 1e-3
        read = {name: told["read_current"][name]["0.01"] for name in ("gain", "offset")}
        assert float(current) == pytest.approx(true_a * read["gain"] + read["offset"], abs=5e-8)
        read = {name: told["read_voltage"][name]["0.2"] for name in ("gain", "offset")}
        assert float(voltage) == pytest.approx(
            100 * true_a * read["gain"] + read["offset"], abs=2e-6
        )


def test_two_leads_see_the_cables_and_an_open_output_sees_nothing(tmp_path):
    with served(tmp_path, perfect=True) as (_, resource):
        resource.write("reset() smu.source.func = smu.FUNC_DC_CURRENT smu.source.level = 10e-3")
        resource.write("smu.source.offmode = smu.OFFMODE_HIGHZ smu.source.vlimit.level = 2")
        resource.write("smu.measure.func = smu.FUNC_DC_VOLTAGE smu.source.output = smu.ON")
        assert float(resource.query("print(smu.measure.read())")) == pytest.approx(1.002)
        resource.write("smu.measure.sense = smu.SENSE_4WIRE")
        assert resource.query("print(smu.source.output)") == "smu.OFF"
        assert float(resource.query("print(smu.measure.read())")) == 0.0
        assert resource.query("smu.measure.range = 0.2 print(smu.measure.range)") == "0.2"
        resource.write("smu.source.output = smu.ON")
        assert float(resource.query("print(smu.measure.read())")) == 9.91e37
