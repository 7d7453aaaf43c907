"""The simulated SourceMeter, asked by pyvisa and nothing of ours."""

import contextlib
import sys
import time
from pathlib import Path

import pytest
import pyvisa

from sim_devices import keithley
from sim_devices.bench import Bench
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


def test_one_cell_hangs_on_one_potentiostat(tmp_path):
    with pytest.raises(ValueError, match="one cell hangs on one of them"):
        Bench(tmp_path, "zn-bare", instruments=("potentiostat", "keithley"))


def test_without_lua_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lupa.lua51", None)
    with pytest.raises(ValueError, match="install lupa"):
        keithley.serve(make_cell("dummy-100ohm", 1), SimulatedClock(), Truth(tmp_path))


def test_a_sweep_is_ended_by_abort(tmp_path):
    with served(tmp_path, "SCPI", factor=1.0) as (_, resource):
        resource.write("*RST;:SOUR:VOLT:ILIM 0.1;:OUTP:VOLT:SMOD HIMP")
        resource.write(":SOUR:SWE:VOLT:LIN 0, 0.1, 1000, 0.1")
        resource.write(":INIT")
        assert resource.query(":TRIG:STAT?").startswith("RUNNING")
        resource.write(":ABOR")
        assert resource.query(":TRIG:STAT?") == "ABORTED;ABORTED;1"
        assert resource.query(":OUTP?") == "1"  # as it was: whoever ends it switches it off


@pytest.mark.parametrize(("mode", "left"), [("HIGHZ", 0.74), ("NORMAL", 0.0)])
def test_what_the_terminals_are_while_the_output_is_off_is_chosen(tmp_path, mode, left):
    with served(tmp_path, cell="dummy-2rc", perfect=True) as (meter, resource):
        resource.write("reset() smu.source.func = smu.FUNC_DC_CURRENT smu.source.range = 1")
        resource.write("smu.source.func = smu.FUNC_DC_VOLTAGE smu.source.level = 0.2")
        resource.write(f"smu.source.offmode = smu.OFFMODE_{mode} smu.source.ilimit.level = 0.1")
        # 5 mF beside 200 ohm: by itself it is empty after some seconds.
        resource.write("smu.source.output = smu.ON delay(20) smu.source.output = smu.OFF")
        charged, _ = meter.smu.cell.potential() if resource.query("print(1)") == "1" else (0, 0)
        resource.write("delay(0.3) waitcomplete() print(2)")
        assert resource.read() == "2"
        now, _ = meter.smu.cell.potential()
        assert charged > 0.01
        assert now == pytest.approx(left * charged, abs=0.2 * charged)


def test_without_a_sense_lead_nothing_but_the_protection_holds_the_force_leads(tmp_path):
    with served(tmp_path, perfect=True) as (meter, resource):
        for line in (
            "smu.source.func = smu.FUNC_DC_CURRENT",
            "smu.measure.func = smu.FUNC_DC_VOLTAGE",
            "smu.measure.sense = smu.SENSE_4WIRE",
            "smu.source.range = 0.1",
            "smu.source.vlimit.level = 2",
            "smu.source.level = 0.05",
            "smu.source.output = smu.ON",
        ):
            resource.write(line)
        sensed = "print(string.format('%.3f', smu.measure.read()))"
        assert resource.query(sensed) == "2.000"  # 50 mA through 100 ohm, held at the limit
        meter.inject("sense-lead-off")
        assert resource.query(sensed) == "0.020"
        assert meter.smu._potential_v == pytest.approx(5.0)
        resource.write("smu.source.protect.level = smu.PROTECT_2V")
        assert resource.query("smu.measure.read() print(smu.source.protect.tripped)") == "smu.ON"
        assert meter.smu._potential_v == pytest.approx(2.0)
        resource.write("smu.source.func = smu.FUNC_DC_VOLTAGE")
        assert resource.query("print(smu.source.protect.level)") == "smu.PROTECT_NONE"


def test_a_range_of_the_meter_that_its_limit_does_not_reach_is_refused(tmp_path):
    with served(tmp_path, perfect=True) as (_, resource):
        resource.write("smu.measure.func = smu.FUNC_DC_CURRENT")
        resource.write("smu.measure.range = 0.1")  # the limit is 0.105 mA
        assert resource.query("print(eventlog.getcount(eventlog.SEV_ERROR))").startswith("1")
        resource.write("smu.source.ilimit.level = 0.1")
        resource.write("smu.measure.range = 0.1")
        assert float(resource.query("print(smu.measure.range)")) == 0.1


def test_a_reading_that_cannot_be_and_a_clock_that_jumps(tmp_path):
    with served(tmp_path, perfect=True, factor=1.0) as (meter, resource):
        meter.inject("out-of-range")
        assert float(resource.query("print(smu.measure.read())")) == 9.91e37
        assert abs(float(resource.query("print(smu.measure.read())"))) < 10
        meter.inject("out-of-range", value=-1e12)
        assert float(resource.query("print(smu.measure.read())")) == -1e12
        before = float(resource.query("print(localnode.gettime())"))
        meter.inject("clock-jump", seconds=-1e6)
        assert float(resource.query("print(localnode.gettime())")) < before - 9e5
