"""Potentiostats at a resistor: an EmStat4 at 100 ohm, a Rodeostat at 10 kohm."""

import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.clients.bare import labmcp, path_of


def methodscript(address: str, folder: Path) -> dict[str, Any]:
    """Ask LabMCP's driver: its own scripts, and its own reading of what comes."""
    del folder
    labmcp()
    from labmcp import InstrumentProtocolError
    from labmcp.transports.serial import SerialTransport
    from labmcp_palmsens.driver import MethodScriptDevice, build_script

    device = MethodScriptDevice(SerialTransport(path_of(address), baudrate=921600))
    told = device.identify()
    found: dict[str, Any] = {key: told[key] for key in ("model", "device_code", "firmware")}

    def run(technique: str, *, timer: bool = False) -> list[list[float]]:
        script = build_script(
            technique,
            begin_potential_v=0.0,
            e_min=-0.5,
            e_max=0.5,
            pgstat_mode=2,
            bandwidth_hz=60,
            current_range_a=1e-3,
            autorange=False,
            equilibration_s=0.2,
            with_timer=timer,
        )
        result = device.execute(script, 60)
        if result.error or result.malformed:
            raise RuntimeError(f"{technique}: {result.error} {result.malformed}")
        return [[each.value for each in variables] for _, variables in result.packets]

    swept = run("meas_loop_lsv p c -100m 100m 10m 1")
    found["points of a sweep"] = len(swept)
    found["amperes at its ends"] = [swept[0][1], swept[-1][1]]
    scans = run("meas_loop_cv p c 0 100m -100m 10m 1 nscans(2)")
    found["highest and lowest potential of two scans"] = [
        max(row[0] for row in scans),
        min(row[0] for row in scans),
    ]
    held = run("meas_loop_ca p c 100m 100m 2", timer=True)
    found["seconds and amperes at the end of a hold"] = [held[-1][0], held[-1][2]]
    spectrum = device.execute(
        [
            *("var f", "var zr", "var zi", "set_pgstat_chan 0", "set_pgstat_mode 3"),
            *("set_max_bandwidth 200k", "set_range_minmax da 0 0", "set_range ba 1m"),
            *("set_autoranging ba 1m 1m", "set_e 0", "cell_on"),
            "meas_loop_eis f zr zi 10m 10k 100 11 0",
            *("pck_start", "pck_add f", "pck_add zr", "pck_add zi", "pck_end", "endloop"),
            *("on_finished:", "cell_off"),
        ],
        60,
    )
    found["frequencies of a spectrum"] = len(spectrum.packets)
    found["ohm of a spectrum"] = spectrum.packets[-1][1][1].value
    try:
        device.execute(["var p", "no_such_command 3"], 5)
    except InstrumentProtocolError as error:
        found["a command that there is not"] = str(error).partition(". ")[0]
    divided = device.execute(["var p", "store_var p 1i ja", "div_var p 0i"], 5)
    found["a division by zero"] = str(divided.error)
    aborted: dict[str, Any] = {}

    def abort() -> None:
        time.sleep(0.5)
        aborted.update(device.abort())

    thread = threading.Thread(target=abort)
    thread.start()
    run("meas_loop_ca p c 100m 100m 100000")
    thread.join()
    found["aborted"] = [aborted["was_running"], aborted["stopped"], aborted["note"]]
    device.t.close()
    return found


def rodeostat(address: str, folder: Path) -> dict[str, Any]:
    """Ask its maker's own package."""
    del folder
    from potentiostat import Potentiostat

    device = Potentiostat(path_of(address))
    found: dict[str, Any] = {
        "variant": device.hardware_variant,
        "firmware": device.firmware_version,
        "hardware": device.hardware_version,
        "current range": device.set_curr_range("100uA"),
        "voltage range": device.set_volt_range("1V"),
    }
    device.set_sample_rate(50)
    found["samples per second"] = device.get_sample_rate()
    device.set_all_elect_connected(True)
    found["connected"] = device.get_all_elect_connected()
    device.set_volt(0.2)
    found["microamperes at 0.2 V"] = device.get_curr()
    device.set_all_elect_connected(False)
    cyclic = {"quietValue": 0.0, "quietTime": 100, "amplitude": 0.2, "offset": 0.0}
    device.set_param("cyclic", cyclic | {"period": 2000, "numCycles": 2, "shift": 0.0})
    found["milliseconds of two cycles"] = device.get_test_done_time("cyclic")
    _, volts, microamperes = device.run_test("cyclic", display=None)
    found["samples of two cycles"] = len(volts)
    found["its extremes"] = [max(volts), min(volts), max(microamperes), min(microamperes)]
    sweep = {"quietValue": -0.1, "quietTime": 100, "startValue": -0.1, "finalValue": 0.1}
    device.set_param("linearSweep", sweep | {"duration": 1000})
    _, volts, microamperes = device.run_test("linearSweep", display=None)
    found["the ends of a sweep"] = [volts[0], volts[-1], microamperes[0], microamperes[-1]]
    device.set_param("constant", {"quietValue": 0.0, "quietTime": 0, "value": 0.1, "duration": 500})
    _, _, microamperes = device.run_test("constant", display=None)
    found["microamperes at a constant 0.1 V"] = microamperes[-1]
    steps = {"quietValue": 0.0, "quietTime": 100, "step": [[400, 0.1], [400, -0.1]]}
    device.set_param("chronoamp", steps)
    _, volts, microamperes = device.run_test("chronoamp", display=None)
    found["two steps"] = [max(volts), min(volts), max(microamperes), microamperes[-1]]
    sine = {"quietValue": 0.0, "quietTime": 0, "amplitude": 0.2, "offset": 0.0, "shift": 0.0}
    device.set_param("sinusoid", sine | {"period": 1000, "numCycles": 1})
    _, volts, _ = device.run_test("sinusoid", display=None)
    found["extremes of a sinusoid"] = [max(volts), min(volts)]
    try:
        device.get_param("no such test")
    except OSError as error:
        found["a test that there is not"] = str(error).partition(",")[0]
    device.close()
    return found
