"""Thermostats, a pH circuit, a microbalance, a pressure transmitter, a relay board, a stage."""

import asyncio
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.clients.bare import host_of, labmcp, path_of


def huber(address: str, folder: Path) -> dict[str, Any]:
    """Ask numat's driver of Huber's baths."""
    del folder
    from huber import Bath

    async def ask() -> dict[str, Any]:
        host, Bath.port = host_of(address)
        async with Bath(host) as bath:
            found: dict[str, Any] = {"everything": await bath.get()}
            await bath.set_setpoint(35.5)
            found["setpoint, C"] = await bath.get_setpoint()
            await bath.start()
            await bath.set_pump_speed(3000)
            found["while it controls"] = await bath.get_status()
            found["pump, 1/min"] = await bath.get_pump_speed()
            found["error and warning"] = [await bath.get_error(), await bath.get_warning()]
            try:
                await bath.set_setpoint(-100.0)
            except OSError as error:
                found["a setpoint beyond its range"] = str(error)
            await bath.stop()
            found["afterwards"] = await bath.get_status()
            return found

    return asyncio.run(ask())


def julabo(address: str, folder: Path) -> dict[str, Any]:
    """Ask LabMCP's driver of Julabo's circulators."""
    del folder
    labmcp()
    from labmcp import InstrumentProtocolError
    from labmcp.transports.tcp import TCPTransport
    from labmcp_julabo.driver import JulaboCirculator

    ends = {"read_termination": "\r\n", "write_termination": "\r"}
    bath = JulaboCirculator(TCPTransport(*host_of(address), **ends))
    found: dict[str, Any] = {
        "version": bath.version(),
        "status": bath.status().label,
        "bath, C": bath.bath_temperature_c(),
        "warning limits, C": list(bath.warning_limits_c()),
        "setpoint, C": bath.setpoint_c(),
    }
    bath.set_setpoint(40.0)
    bath.start()
    found["status while it controls"] = bath.status().label
    try:
        bath.set_setpoint(400.0)
    except InstrumentProtocolError as error:
        found["a setpoint beyond its range"] = str(error)
    found["setpoint afterwards, C"] = bath.setpoint_c()
    found["stopped"] = bath.stop()
    bath.close()
    return found


def ezo(address: str, folder: Path) -> dict[str, Any]:
    """Ask LabMCP's driver of Atlas Scientific's circuits."""
    del folder
    labmcp()
    from labmcp import InstrumentProtocolError
    from labmcp.transports.serial import SerialTransport
    from labmcp_atlas_ezo.driver import EZOCircuit

    ends = {"read_termination": "\r", "write_termination": "\r"}
    circuit = EZOCircuit(SerialTransport(path_of(address), baudrate=9600, **ends))
    circuit.initialise()
    found: dict[str, Any] = {
        "model": circuit.identify()["model"],
        "pH": circuit.read().values["ph"],
        "status": circuit.status()[0],
        "calibration points": circuit.calibration_points(),
        "slope": circuit.slope(),
        "compensated to, C": circuit.set_temperature_compensation(30.0),
        "name": circuit.name(),
    }
    circuit.set_led(False)
    found["its light"] = circuit.led()
    circuit.clear_calibration()
    found["points when cleared"] = circuit.calibration_points()
    circuit.calibrate("mid", 7.0)
    found["points after one"] = circuit.calibration_points()
    found["pH then"] = circuit.read().values["ph"]
    try:
        circuit.command("hello")
    except InstrumentProtocolError as error:
        found["what it does not know"] = str(error).partition(":")[0]
    circuit.close()
    return found


def qcm200(address: str, folder: Path) -> dict[str, Any]:
    """Ask its maker's own package."""
    del folder
    from srsinst.qcm.instruments.qcm200.qcm import QCM200

    balance = QCM200("serial", path_of(address), 9600)
    found: dict[str, Any] = {
        "identity": list(balance.check_id()),
        "status": balance.get_status(),
        "frequency, Hz": balance.cmd.frequency,
        "resistance, ohm": balance.cmd.resistance,
        "timebase": balance.cmd.timebase,
    }
    balance.cmd.gate_time = 0.1
    found["gate, s"] = balance.cmd.gate_time
    balance.cmd.display_mode = "rel. F"
    found["display"] = balance.cmd.display_mode
    balance.cmd.reset_frequency_offset()
    found["offset, Hz"] = balance.cmd.frequency_offset
    until = time.monotonic() + 10.0
    while (both := balance.get_data_if_both_new()) is None and time.monotonic() < until:
        time.sleep(0.05)
    found["both when new"] = both
    balance.disconnect()
    return found


def keller(address: str, folder: Path) -> dict[str, Any]:
    """Ask its maker's own package, which opens the port for each request."""
    del folder
    from keller_protocol.keller_protocol import KellerProtocol

    bus, device = KellerProtocol(path_of(address), 9600, 0.3, echo=False), 1
    found: dict[str, Any] = {
        "firmware": bus.f48(device),
        "serial number": bus.f69(device),
        "range, bar": [bus.f30(device, 80), bus.f30(device, 81)],
        "pressure, bar": bus.f73(device, 1),
        "temperature, C": bus.f73(device, 4),
        "pressure, Pa": bus.f74(device, 1),
        "configuration": [bus.f32(device, 3), list(bus.f100(device, 0))],
        "address": bus.f66(250, 0),
    }
    bus.f95(device, 0, 2.5)
    found["pressure when it was set, bar"] = bus.f73(device, 1)
    bus.f95(device, 1)
    found["and taken back, bar"] = bus.f73(device, 1)
    try:
        bus.f73(device, 9)
    except Exception as error:  # it raises no other kind
        found["a channel that it has not"] = str(error)
    return found


def numato(address: str, folder: Path) -> dict[str, Any]:
    """Ask Numato's own package for relay boards, which opens the port for each command."""
    del folder
    from numato_usb_relay.relay import Relay

    board = Relay(numberRelays=16, port=path_of(address), timeout=0.3, name="board")

    def settled(act: Any, *arguments: Any) -> Any:
        # It closes the port before the echo has come, which the next opening would find.
        done = act(*arguments)
        time.sleep(0.1)
        return done

    found: dict[str, Any] = {
        "version": settled(board.ver),
        "id": settled(board.id_get),
        "relay 2": settled(board.relay_read, 2),
    }
    settled(board.relay_on, 2)
    found["relay 2 when on"] = settled(board.relay_read, 2)
    settled(board.relay_on, "A")
    found["all"] = settled(board.relay_readall)
    settled(board.relay_writeall, "0005")
    found["all when written"] = settled(board.relay_readall)
    found["GPIO 3"] = settled(board.gpio_read, 3)
    settled(board.reset)
    found["all when reset"] = settled(board.relay_readall)
    return found


def zaber(address: str, folder: Path) -> dict[str, Any]:
    """Ask Zaber's own library; without the network it does not identify models."""
    del folder
    from zaber_motion import MotionLibException
    from zaber_motion.ascii import Connection

    with Connection.open_serial_port(path_of(address)) as line:
        devices = line.detect_devices(identify_devices=False)
        settings = ("device.id", "version", "version.build", "system.axiscount", "maxspeed")
        found: dict[str, Any] = {
            "devices": len(devices),
            "settings": {name: devices[0].settings.get(name) for name in settings},
        }
        axis = devices[0].get_axis(1)
        found["homed before"] = axis.is_homed()
        found["warnings before"] = sorted(axis.warnings.get_flags())
        axis.home()
        found["homed"] = axis.is_homed()
        axis.move_absolute(10_000)
        axis.move_relative(-2_000)
        found["position, steps"] = axis.get_position()
        axis.move_absolute(500_000, wait_until_idle=False)
        found["moves"] = axis.is_busy()
        axis.stop()
        found["stopped before its end"] = 8_000 < axis.get_position() < 500_000
        for what, act in (
            ("beyond its end", lambda: axis.move_absolute(10**9)),
            ("what it does not know", lambda: devices[0].generic_command("hello")),
        ):
            try:
                act()
            except MotionLibException as error:
                found[what] = type(error).__name__
    return found
