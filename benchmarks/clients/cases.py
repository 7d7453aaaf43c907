"""Which client asks which simulated instrument, and what it has to read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class About:
    """A number, or several, within a tolerance."""

    numbers: tuple[float, ...]
    within: float

    def __eq__(self, other: object) -> bool:
        found = other if isinstance(other, list) else [other]
        return len(found) == len(self.numbers) and all(
            isinstance(one, int | float) and math.isclose(one, wanted, abs_tol=self.within)
            for one, wanted in zip(found, self.numbers, strict=True)
        )

    def __hash__(self) -> int:
        return hash((self.numbers, self.within))

    def __str__(self) -> str:
        return f"{', '.join(f'{one:g}' for one in self.numbers)} (within {self.within:g})"


def about(*numbers: float, within: float) -> Any:
    """Return what equals these numbers within a tolerance."""
    return About(numbers, within)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        instrument: what is simulated.
        client: its function in `benchmarks.peers.clients`.
        served: its name in `benchmarks.clients.served`; empty: nothing is served, the client
            reads files.
        package: the client's distribution.
        by: whose it is.
        did: what it was let do.
        expected: by what is asked, what has to come; the rest of what came is told only.
        remarks: what there is to know besides.
    """

    instrument: str
    client: str
    served: str
    package: str
    by: str
    did: str
    expected: Mapping[str, object] = field(default_factory=dict)
    remarks: str = ""

    def wrong(self, found: Mapping[str, Any]) -> list[str]:
        """Return what did not come as it has to."""
        return [
            f"{asked}: {found.get(asked)!r} came, not {wanted}"
            for asked, wanted in self.expected.items()
            if asked not in found or not wanted == found[asked]
        ]


_OFF = {"controlling": False, "circulating": False, "pumping": False}
_ON = dict.fromkeys(_OFF, True)
_WELL = {"error": False, "warning": False}

CASES = (
    Case(
        "Keithley 2450, SCPI",
        "qcodes",
        "keithley, SCPI",
        "qcodes",
        "QCoDeS",
        "reset, set current and measure four-wire, sweep the voltage into a buffer, error queue",
        {
            "model": "2450",
            "volts at 1 mA": about(0.1, within=3e-4),
            "at its limit": False,
            "points of a sweep": 21,
            "amperes at its ends": about(-1e-3, 1e-3, within=3e-6),
            "output after it": False,
        },
    ),
    Case(
        "Keithley 2450, SCPI of a 2400",
        "pymeasure",
        "keithley, SCPI2400",
        "pymeasure",
        "PyMeasure",
        "ramp a current, measure voltage, current and resistance, fill a buffer, shut down",
        {
            "volts at 1 mA": about(0.1, within=3e-4),
            "amperes at 0.1 V": about(1e-3, within=3e-6),
            "ohm": about(100.0, within=0.5),
            "errors": [],
        },
        "the arm and trigger layers of a 2400 are not simulated: its `start_buffer` gets -221",
    ),
    Case(
        "Keithley 2450, TSP",
        "tektronix",
        "keithley, TSP",
        "tm-devices",
        "Tektronix",
        "reset, set and check, set current and measure four-wire, a buffer, a script of its own, "
        "digital lines, a wrong command",
        {
            "driver": "SMU2450",
            "model": "2450",
            "NPLC set and checked": about(1.0, within=1e-9),
            "volts at 1 mA": about(0.1, within=3e-4),
            "at its limit": "smu.OFF",
            "readings of a buffer": 5,
            "its mean source, A": about(1e-3, within=1e-6),
            "its unit": "Volt DC",
            "output": "smu.OFF",
            "a script of its own": ["42", "smu.OFF"],
            "digital lines": [5, "digio.STATE_HIGH"],
            "events of a mistake": 1,
            "which": "-286",
        },
        "found: `digio.readport`, `digio.writeport` and the styles of buffers were missing; the "
        "trigger model, `status` and sweeps of TSP are not simulated",
    ),
    Case(
        "EmStat4 HR, MethodSCRIPT",
        "methodscript",
        "emstat",
        "labmcp-palmsens",
        "K-Dense LabMCP",
        "its own scripts: sweep, two scans, hold, spectrum; a wrong command, a run-time error, "
        "abort while a hold runs",
        {
            "model": "EmStat4 HR",
            "points of a sweep": 21,
            "amperes at its ends": about(-1e-3, 1e-3, within=5e-6),
            "highest and lowest potential of two scans": about(0.1, -0.1, within=2e-4),
            "seconds and amperes at the end of a hold": about(2.0, 1e-3, within=5e-6),
            "frequencies of a spectrum": 11,
            "ohm of a spectrum": about(100.0, within=0.5),
            "a division by zero": "error 0x0028 at script line 3: variable divided by zero",
            "aborted": [True, True, "cell switched off"],
        },
        "its driver, without its server; pulse techniques are refused as not supported (001B): "
        "they are not simulated",
    ),
    Case(
        "every script of our driver",
        "grammar",
        "",
        "pypalmsens",
        "PalmSens",
        "the maker's ANTLR grammar parses what is written for each protocol on each cell, each "
        "technique, the zero of the current and the reach of a range, for four instruments: one "
        "of those that differ in numbers only",
        {"refused": {}, "let pass": [], "our simulator refuses": []},
        "the grammar checks commands, blocks, names and literals, not the number of arguments; "
        "damaged scripts are refused by it and by the simulated instrument",
    ),
    Case(
        "Rodeostat",
        "rodeostat",
        "rodeostat",
        "iorodeo-potentiostat",
        "IO Rodeo",
        "ranges, sample rate, switches, a potential by hand, two cycles, a sweep, a "
        "hold, two steps, a sinusoid",
        {
            "hardware": "V0.2",
            "samples per second": about(50.0, within=1e-9),
            "connected": True,
            "microamperes at 0.2 V": about(20.0, within=0.2),
            "milliseconds of two cycles": 4100,
            "samples of two cycles": 205,
            "its extremes": about(0.2, -0.2, 20.0, -20.0, within=0.2),
            "the ends of a sweep": about(-0.1, 0.1, -10.0, 10.0, within=0.3),
            "microamperes at a constant 0.1 V": about(10.0, within=0.1),
            "two steps": about(0.1, -0.1, 10.0, -10.0, within=0.2),
            "extremes of a sinusoid": about(0.2, -0.2, within=1e-3),
            "a test that there is not": "test not found",
        },
        "found: tests that it named it did not know; steps and sinusoid are there now, square "
        "wave and differential pulse are not simulated",
    ),
    Case(
        "Ocean HDX, OBP over TCP",
        "seabreeze",
        "ocean",
        "seabreeze",
        "python-seabreeze",
        "find it, its limits and axis, set the integration time, take a spectrum in the dark",
        {
            "model": "HDX",
            "pixels": 2068,
            "microseconds allowed": [6000, 10_000_000],
            "saturation": 65535.0,
            "counts in the dark": about(100.0, within=3.0),
        },
        "its backend in Python; it looks for the computer's USB first",
    ),
    Case(
        "Wasatch WP-532, USB",
        "wasatch",
        "wasatch",
        "wasatch",
        "Wasatch Photonics",
        "connect, read the calibration memory, integrate, set the laser's power, a spectrum with "
        "and without it, cool the detector",
        {
            "connected": True,
            "model": "WP-532-C",
            "pixels": 2048,
            "excitation, nm": about(532.0, within=1e-3),
            "laser while it is on": [True, True],
            "strongest between 900 and 1060, 1/cm": about(981.0, within=3.0),
            "laser afterwards": False,
        },
        "its `WasatchDevice`; the cable is our pyusb backend that carries transfers over TCP, "
        "what is transferred is theirs. Found: 2.2 also reads the laser's converters, which were "
        "missing",
    ),
    Case(
        "Micro GC Fusion, HTTP",
        "fusion",
        "fusion",
        "microgcfusionapi",
        "INFICON",
        "who it is, load a method, a run with name and tag, its state until it is done, results, "
        "bake out, abort",
        {
            "connected": True,
            "modules": ["moduleA"],
            "methods": ["H2_molecular_sieve", "Standby"],
            "state before a method": {
                "sequence": "public:sequence-not-loaded",
                "system": "public:ready",
            },
            "state of a run": {
                "sequence": "public:sequence-loaded",
                "system": "public:method-running",
            },
            "compounds": ["H2", "N2", "O2"],
            "runs": 1,
            "the last one again": True,
            "state of a bake-out": {
                "sequence": "public:sequence-loaded",
                "system": "public:bakeout",
            },
        },
        "found: modules are counted from 0 (our driver refused an instrument with one), and what "
        "the instrument tells of itself was missing; heaters, pressures and valves are not "
        "simulated",
    ),
    Case(
        "Micro GC Fusion, result",
        "yadg",
        "fusion",
        "yadg",
        "yadg",
        "its command reads the JSON of a run as served",
        {
            "method": "H2_molecular_sieve",
            "species": ["H2", "N2", "O2"],
            "areas as served": True,
            "points of the trace": {"moduleA:tcd": 8000},
        },
    ),
    Case(
        "VICI actuator",
        "vicivalve",
        "sampling_valve",
        "vicivalve",
        "Hein group",
        "to B, to A, toggle, home, learn its stops",
        {
            "position": "A",
            "position after B": "B",
            "position after A": "A",
            "toggled to": "B",
            "homed": True,
            "learned": True,
        },
        "found: `HM` and `LRN` were missing. It takes its own command for the answer to a move, "
        "where its other moves take the position",
    ),
    Case(
        "Huber Pilot ONE, PB commands",
        "huber",
        "huber",
        "huber",
        "numat",
        "read everything, setpoint, pump, start, a setpoint beyond the range, stop",
        {
            "setpoint, C": about(35.5, within=0.01),
            "while it controls": _ON | _WELL,
            "pump, 1/min": 3000,
            "error and warning": [None, None],
            "a setpoint beyond its range": "Could not set temperature.setpoint. "
            "(Received response, but did not change)",
            "afterwards": _OFF | _WELL,
        },
    ),
    Case(
        "Julabo circulator",
        "julabo",
        "julabo",
        "labmcp-julabo",
        "K-Dense LabMCP",
        "who it is, limits, setpoint, start, a setpoint beyond the range, stop",
        {
            "status": "02 REMOTE STOP",
            "bath, C": about(25.0, within=0.1),
            "status while it controls": "03 REMOTE START",
            "setpoint afterwards, C": about(40.0, within=0.01),
            "stopped": True,
        },
        "its driver, without its server; over TCP: a pseudo-terminal has no seven bits with parity",
    ),
    Case(
        "Atlas Scientific EZO pH",
        "ezo",
        "ph_meter",
        "labmcp-atlas-ezo",
        "K-Dense LabMCP",
        "end the stream, read, slope, compensate, name, light, clear and begin a calibration, an "
        "unknown command",
        {
            "model": "EZO-pH",
            "pH": about(4.4, within=0.05),
            "status": "P",
            "calibration points": 3,
            "its light": False,
            "points when cleared": 0,
            "points after one": 1,
            "pH then": about(7.0, within=0.02),
            "what it does not know": "EZO circuit replied *ER to 'hello'",
        },
        "found: `Cal,mid`, `Cal,low`, `Cal,high`, `L` and `Name` were missing",
    ),
    Case(
        "SRS QCM200",
        "qcm200",
        "microbalance",
        "srsinst-qcm",
        "SRS",
        "identity, status, frequency and resistance, gate, display, zero, both when new",
        {
            "identity": ["QCM200", "154021", "1.06"],
            "status": "OK",
            "frequency, Hz": about(4_998_600.0, within=500.0),
            "timebase": "int. TCXO",
            "gate, s": about(0.1, within=1e-9),
            "display": "rel. F",
        },
        "it asks for the gate by its name; its test of new values looks at the resistance twice",
    ),
    Case(
        "KELLER Series 30",
        "keller",
        "pressure",
        "keller-protocol",
        "KELLER",
        "firmware, serial number, coefficients, pressure and temperature as numbers of both kinds, "
        "configuration, address, zero set and taken back, a channel that it has not",
        {
            "firmware": "5.20-12.28",
            "serial number": 133445,
            "range, bar": [0.0, 3.0],
            "pressure, bar": about(1.01325, within=1e-3),
            "temperature, C": about(25.0, within=0.1),
            "pressure when it was set, bar": about(2.5, within=1e-3),
            "and taken back, bar": about(1.01325, within=1e-3),
            "a channel that it has not": "Device Error number: 201",
        },
        "it tells the function of a refusal (73 + 128) and not its code",
    ),
    Case(
        "Numato relay board",
        "numato",
        "relay_board",
        "numato-usb-relay",
        "Numato",
        "version, relays one by one and all, an input, reset",
        {
            "version": "00000009",
            "relay 2": "off",
            "relay 2 when on": "on",
            "all": "0404",
            "all when written": "0005",
            "GPIO 3": "1",
            "all when reset": "0000",
        },
        "it closes the port before the echo has come, so 0.1 s pass between its commands",
    ),
    Case(
        "Zaber stage, ASCII",
        "zaber",
        "stage",
        "zaber-motion",
        "Zaber",
        "find the devices, settings, home, absolute and relative moves, stop on the way, a target "
        "beyond the end",
        {
            "devices": 3,
            "warnings before": ["WR"],
            "homed": True,
            "position, steps": about(8000.0, within=0.5),
            "stopped before its end": True,
            "beyond its end": "BadDataException",
            "what it does not know": "BadCommandException",
        },
        "found: `deviceid`, `version.build`, `system.access`, `system.axiscount`, `comm.alert`, "
        "`comm.checksum` and `maxspeed` were missing. It looks models up in the network, so "
        "models are not identified here",
    ),
)
