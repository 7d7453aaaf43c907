"""Keithley 2450 at a resistor of 100 ohm."""

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Any

from benchmarks.peers.clients.bare import host_of


def _resource(address: str) -> str:
    host, port = host_of(address)
    return f"TCPIP::{host}::{port}::SOCKET"


def qcodes(address: str, folder: Path) -> dict[str, Any]:
    """Ask QCoDeS' own driver, which speaks SCPI."""
    from qcodes.instrument_drivers.Keithley import Keithley2450

    meter = Keithley2450("meter", _resource(address), visalib="@py", timeout=10)
    meter.reset()
    found: dict[str, Any] = {"model": meter.IDN()["model"]}
    meter.source_function("current")
    meter.sense_function("voltage")
    meter.source.range(1e-2)
    meter.source.limit(2.0)
    meter.source.auto_delay(False)
    meter.sense.four_wire_measurement(True)
    meter.source.current(1e-3)
    meter.output_enabled(True)
    found["volts at 1 mA"] = meter.sense.voltage()
    found["at its limit"] = bool(meter.source.limit_tripped())
    meter.output_enabled(False)
    meter.source_function("voltage")
    meter.sense_function("current")
    meter.source.limit(0.05)
    buffer = meter.buffer("swept", size=100)
    buffer.elements(["relative_time", "measurement", "source_value", "timestamp"])
    meter.source.sweep_setup(-0.1, 0.1, 21, buffer_name="swept")
    swept = meter.sense.sweep()
    found["points of a sweep"] = len(swept)
    found["amperes at its ends"] = [float(swept[0]), float(swept[-1])]
    found["output after it"] = meter.output_enabled()
    buffer.delete()
    found["error queue"] = meter.ask(":SYST:ERR?")
    meter.close()
    return found


def pymeasure(address: str, folder: Path) -> dict[str, Any]:
    """Ask PyMeasure's own driver, which speaks SCPI as a 2400 does."""
    from pymeasure.instruments.keithley import Keithley2450

    ends = {"read_termination": "\n", "write_termination": "\n"}
    meter = Keithley2450(_resource(address), visa_library="@py", timeout=10_000, **ends)
    found: dict[str, Any] = {"model": meter.id}
    meter.reset()
    meter.apply_current(current_range=10e-3, compliance_voltage=2)
    meter.current_output_off_state = "HIMP"
    meter.measure_voltage(nplc=1, voltage=2.0, auto_range=False)
    meter.enable_source()
    meter.ramp_to_current(1e-3, steps=3, pause=0.01)
    found["volts at 1 mA"] = meter.voltage
    meter.apply_voltage(voltage_range=2, compliance_current=0.05)
    meter.measure_current(nplc=1, current=0.01, auto_range=False)
    meter.source_voltage = 0.1
    meter.enable_source()
    found["amperes at 0.1 V"] = meter.current
    meter.measure_resistance()
    found["ohm"] = meter.resistance
    found["errors"] = [str(error) for error in meter.check_errors()]
    meter.config_buffer(10)
    meter.start_buffer()
    found["errors of its buffer"] = [str(error) for error in meter.check_errors()]
    meter.shutdown()
    return found


def tektronix(address: str, folder: Path) -> dict[str, Any]:
    """Ask the maker's own library, which speaks TSP."""
    del folder
    warnings.simplefilter("ignore")  # a socket has no status byte
    from tm_devices import DeviceManager
    from tm_devices.helpers import PYVISA_PY_BACKEND

    host, port = host_of(address)
    with contextlib.redirect_stdout(sys.stderr), DeviceManager(verbose=False) as manager:
        manager.visa_library = PYVISA_PY_BACKEND
        meter = manager.add_smu(host, connection_type="SOCKET", port=port)
        commands = meter.commands
        found: dict[str, Any] = {"driver": type(meter).__name__, "model": commands.localnode.model}
        meter.reset()
        source, measure = commands.smu.source, commands.smu.measure
        source.func = "smu.FUNC_DC_CURRENT"
        source.range = 1e-2
        source.vlimit.level = 2.0
        source.level = 1e-3
        measure.func = "smu.FUNC_DC_VOLTAGE"
        measure.sense = "smu.SENSE_4WIRE"
        measure.range = 2
        found["NPLC set and checked"] = float(meter.set_and_check("smu.measure.nplc", 1.0))
        source.output = "smu.ON"
        found["volts at 1 mA"] = float(measure.read())
        found["at its limit"] = source.vlimit.tripped
        meter.write("mine = buffer.make(100, buffer.STYLE_FULL)")
        measure.count = 5
        measure.read("mine")
        buffers = meter.get_buffers("mine.readings", "mine.sourcevalues", "mine.units")
        found["readings of a buffer"] = len(buffers["mine.readings"])
        found["its mean source, A"] = sum(buffers["mine.sourcevalues"]) / 5
        found["its unit"] = buffers["mine.units"][0]
        source.output = "smu.OFF"
        found["output"] = source.output
        script = "print(6 * 7)\nprint(smu.source.output)"
        meter.load_script("answer", script_body=script)
        meter.run_script("answer")
        found["a script of its own"] = [meter.read(), meter.read()]
        for line in range(1, 7):
            commands.digio.line[line].mode = "digio.MODE_DIGITAL_OUT"
        commands.digio.writeport(0b000101)
        found["digital lines"] = [
            int(float(commands.digio.readport())),
            commands.digio.line[3].state,
        ]
        meter.write("smu.source.nonsense = 3")
        found["events of a mistake"] = int(float(meter.query("print(eventlog.getcount())")))
        found["which"] = commands.eventlog.next().split("\t")[0]
    return found
