"""Bad input to every driver, with real simulators: each is refused and says who, what and why.

Asked all at once, for most of it is waiting: each simulator is started once and asked by one thread
after the other, all simulators beside each other; the tests then look at what came.
"""

import json
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from instruments.errors import (
    InstrumentFaultError,
    ProtocolError,
    SafetyLimitError,
    TransportError,
    TransportTimeout,
    UnsupportedTechniqueError,
)
from instruments.external import WatchedFolder
from instruments.gas_chromatograph.contact import ContactGasChromatograph
from instruments.gas_chromatograph.fusion import Fusion
from instruments.gas_chromatograph.results import ResultFolder
from instruments.interlock import DconInterlock
from instruments.lamp import SwitchedLamp
from instruments.potentiostat.keithley import KeithleyPotentiostat
from instruments.potentiostat.methodscript import MethodScriptPotentiostat
from instruments.potentiostat.rodeostat import RodeostatPotentiostat
from instruments.raman.ocean import OceanSpectrometer
from instruments.raman.wasatch import WasatchSpectrometer
from instruments.relay_board import NumatoRelayBoard
from instruments.sampling_valve.vici import ViciValve
from instruments.sensor.atlas_ezo_ph import AtlasEzoPh
from instruments.sensor.keller_bus import KellerBusPressure
from instruments.sensor.srs_qcm200 import SrsQcm200
from instruments.stage.contract import TravelLimitError
from instruments.stage.zaber_ascii import Axis, ZaberStage
from instruments.thermostat.contract import TemperatureLimitError
from instruments.thermostat.huber_pb import HuberThermostat
from instruments.thermostat.julabo import JulaboThermostat
from instruments.transport import open_transport
from sim_devices import keithley, methodscript, rodeostat, wasatch_fid
from sim_devices import zaber as zaber_stages
from sim_devices.cell import Cell, make_cell
from sim_devices.chromatograph import Chromatograph
from sim_devices.clock import SimulatedClock
from sim_devices.dcon import DconRelays
from sim_devices.ezo_ph import EzoPh
from sim_devices.fusion import FusionServer
from sim_devices.julabo import Julabo
from sim_devices.keller import KellerTransmitter
from sim_devices.lights import Lights
from sim_devices.ocean_hdx import OceanHdx
from sim_devices.qcm200 import Qcm200
from sim_devices.relay_board import GPIOS, RELAYS, RelayBoard
from sim_devices.spectrum import RamanScene
from sim_devices.thermostat import HuberPilot
from sim_devices.truth import Truth
from sim_devices.vici import ViciActuator
from techniques import Assignment

MODEL, FIRMWARE, BAUD, PARITY = "wrong model", "wrong firmware", "wrong baud", "wrong parity"
TWICE, RANGE, FOLDER = "two programs", "setpoint out of range", "a folder that vanishes"


class World:
    """The simulators, each started when it is first asked for, and their common surroundings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.truth = self.stack.enter_context(Truth(folder / "truth"))
        self._clock = self.clock()
        self._lights = Lights(self._clock)
        self._cell = Cell("zn-bare")
        self._started: dict[str, Any] = {}

    def clock(self) -> SimulatedClock:
        clock = SimulatedClock(1e3)
        self.stack.callback(clock.close)
        return clock

    def start(self, name: str) -> Any:
        self._started[name] = one = self._make(name)
        self.stack.callback(one.close)
        return one

    def __getitem__(self, name: str) -> Any:
        return self._started[name]

    def address(self, name: str) -> str:
        address: str = self[name].address
        return address

    def board(self) -> str:
        """Return where there is a relay board that nobody has."""
        board = RelayBoard()
        self.stack.callback(board.close)
        return board.address

    def _leader(self) -> tuple[Any, SimulatedClock, Truth, int]:
        return make_cell("dummy-100ohm", 1), self.clock(), self.truth, 1

    def _running_rodeostat(self) -> Any:
        """Return one whose test a program began that is gone: it tells of it all the time."""
        simulated = rodeostat.Rodeostat(*self._leader())
        for_long = {"value": 0.1, "duration": 2_000_000_000}
        with closing(open_transport(simulated.address)) as gone:
            for asked in (
                {"command": "setParam", "test": "constant", "param": for_long},
                {"command": "runTest", "test": "constant"},
            ):
                gone.write(json.dumps(asked).encode() + b"\n")
                gone.read_line(5.0)
        return simulated

    def _make(self, name: str) -> Any:
        clock, scene = self._clock, RamanScene(self._cell, 1)
        made: dict[str, Callable[[], Any]] = {
            "methodscript": lambda: methodscript.serve(*self._leader()),
            "methodscript of no known kind": lambda: methodscript.serve(
                *self._leader(), firmware="es9_xx1300#Nov 17 2024 10:12:31"
            ),
            "methodscript of before": lambda: methodscript.serve(
                *self._leader(), script_version="01.05.00"
            ),
            "keithley": lambda: keithley.serve(*self._leader()),
            "keithley of before": lambda: keithley.SourceMeter(*self._leader(), firmware="1.2.0c"),
            "keithley of SCPI": lambda: keithley.serve(*self._leader(), language="SCPI"),
            "rodeostat": lambda: rodeostat.Rodeostat(*self._leader()),
            "rodeostat of before": lambda: rodeostat.Rodeostat(*self._leader(), firmware="FW0.0.9"),
            "rodeostat that runs": self._running_rodeostat,
            "zaber": lambda: zaber_stages.ZaberStage(clock),
            "zaber of before": lambda: zaber_stages.ZaberStage(clock, firmware="6.18"),
            "ezo": lambda: EzoPh(self._cell, clock, perfect=True),
            "ezo of oxygen": lambda: EzoPh(self._cell, clock, circuit="DO"),
            "qcm200": lambda: Qcm200(self._cell, clock),
            "keller": lambda: KellerTransmitter(self._cell),
            "keller of another class": lambda: KellerTransmitter(self._cell, device_class=9),
            "julabo": lambda: Julabo(Cell("zn-bare"), self.truth),
            "huber": lambda: HuberPilot(Cell("zn-bare"), self.truth),
            "vici": lambda: ViciActuator(clock, self.truth),
            "numato": lambda: RelayBoard(),
            "dcon": lambda: DconRelays(),
            "wasatch": lambda: wasatch_fid.serve(scene, clock, self.truth, self._lights),
            "ocean": lambda: OceanHdx(scene, clock, self._lights, truth=self.truth),
            "fusion": lambda: FusionServer(
                Chromatograph(self._cell, clock, self.truth, self.folder / "gc", seed=1), clock
            ),
        }
        return made[name]()


AXES = {"x": Axis(1, 1, zaber_stages.MICROMETRE_PER_STEP, 0.0, 20_000.0)}


def driver_of(kind: str, world: World, at: str) -> Any:
    """Return a driver of a kind for the simulator ``at``, whatever language that speaks."""
    address = world.address(at)
    place = address.split("//")[-1]
    match kind:
        case "methodscript":
            return MethodScriptPotentiostat(address)
        case "keithley":
            return KeithleyPotentiostat(address)
        case "rodeostat":
            return RodeostatPotentiostat(address)
        case "ezo":
            return AtlasEzoPh(address)
        case "qcm200":
            return SrsQcm200(address)
        case "keller":
            return KellerBusPressure(address)
        case "julabo":
            return JulaboThermostat(address)
        case "huber":
            return HuberThermostat(address)
        case "vici":
            return ViciValve(address)
        case "zaber":
            return ZaberStage(address, AXES)
        case "numato":
            return NumatoRelayBoard(address)
        case "dcon":
            return DconInterlock(address, relays={"potentiostat": 0})
        case "wasatch":
            return WasatchSpectrometer(f"usb+tcp://{place}")
        case "ocean":
            board = NumatoRelayBoard(world.board())
            return OceanSpectrometer(f"tcp://{place}", board, 1, excitation_nm=532.0)
        case "fusion":
            return Fusion(f"http://{place}", method="H2_molecular_sieve")
    raise AssertionError(kind)


@dataclass(frozen=True)
class Case:
    """One bad input: what is done at one simulator, and what its refusal must tell."""

    driver: str
    bad: str
    at: str
    error: type[Exception]
    asked: str
    came: str
    do: str
    who: str = ""
    act: Callable[[Any], object] | None = None  # on the connected driver; None: connecting
    still: Callable[[Any], object] | None = None  # what must not have changed

    def __str__(self) -> str:
        return f"{self.driver}: {self.bad}" + (f" ({self.at})" if self.at != self.driver else "")


SILENT = "nothing came"
NO_TEXT = "do baud rate and parity agree"
OTHER = "another instrument at this address"
POTENTIOSTAT, THERMOSTAT = "potentiostat at", "thermostat at"
BUSY = (r"cannot open", r"busy: python.* has it open", "end that program first")


def at_once(*, current_ma: float = 0.0, potential_v: float | None = None) -> Assignment:
    step: dict[str, Any] = {"type": "galvanostatic_step", "current_density_ma_cm2": current_ma}
    if potential_v is not None:
        step = {"type": "potentiostatic_step", "potential_v": potential_v}
    until = {"quantity": "time_s", "value": 1.0, "action": "next"}
    step |= {"until": [until], "record": {"dt_s": 0.5}}
    limits = {"potential_min_v": -50.0, "potential_max_v": 50.0, "current_max_a": 50.0}
    return Assignment.model_validate({"technique": step, "area_cm2": 1.0, "limits": limits})


CASES = [
    # -- another instrument really answers there
    Case("methodscript", MODEL, "rodeostat", TransportTimeout, "who it is", "unable to parse json",
         "is this the right port", POTENTIOSTAT),
    Case("keithley", MODEL, "methodscript", ProtocolError, "command set", r"[a*]!0003",
         "is this a SourceMeter", POTENTIOSTAT),
    Case("rodeostat", MODEL, "numato", TransportTimeout, "stopTest", '{"command":"stopTest"}',
         OTHER, POTENTIOSTAT),
    Case("ezo", MODEL, "vici", TransportTimeout, r"'\*OK,1'", "OK,1 = Bad command", OTHER,
         "pH circuit"),
    Case("qcm200", MODEL, "ezo", ProtocolError, "'I'", r"\?I,pH,2\.14", "correct the address",
         "microbalance"),
    Case("keller", MODEL, "qcm200", TransportTimeout, "function 48", SILENT, "two wires not ex",
         "pressure transmitter at"),
    Case("julabo", MODEL, "qcm200", TransportTimeout, "'version'", SILENT, "4800 baud", THERMOSTAT),
    Case("huber", MODEL, "rodeostat", ProtocolError, r"'\{M30", "unable to parse json",
         "is a Huber circulator at", THERMOSTAT),
    Case("vici", MODEL, "numato", TransportTimeout, "'CP'", "only b'.*>' came", OTHER, "valve"),
    Case("zaber", MODEL, "methodscript", ProtocolError, "get pos", "!0003", "or another instrument",
         "stage at"),
    Case("numato", MODEL, "ezo", TransportTimeout, "prompt", r"\*ER", OTHER, "relay board"),
    Case("dcon", MODEL, "numato", ProtocolError, r"'\$01M'", r"got b'\$01M", "none of its answers",
         "interlock at"),
    Case("wasatch", MODEL, "huber", TransportError, "connect", "the device is gone",
         "is a Wasatch spectrometer at this address", "raman"),
    Case("ocean", MODEL, "fusion", TransportTimeout, "say who it is", "no answer in time",
         "is an Ocean HDX at this address", "raman"),
    Case("fusion", MODEL, "ocean", TransportError, "numberOfModules", "cannot be reached",
         "at this address", "gas chromatograph at"),
    Case("vici", MODEL, "rodeostat that runs", ProtocolError, "talking by itself|'CP'", '"[tvi]"',
         "another instrument", "valve"),
    # -- firmware of which it is known that it cannot be worked with
    Case("methodscript", FIRMWARE, "methodscript of no known kind", ProtocolError, "who it is",
         "'es9_xx' is not known here", "known are es4_hr", POTENTIOSTAT),
    Case("keithley", FIRMWARE, "keithley of before", ProtocolError, "the programs need 1.5",
         r"1\.2\.0c", "update it", POTENTIOSTAT),
    Case("keithley", FIRMWARE, "keithley of SCPI", ProtocolError, "programs .* need TSP",
         "command set is SCPI", r"send it `\*LANG TSP`", POTENTIOSTAT),
    Case("rodeostat", FIRMWARE, "rodeostat of before", ProtocolError, r"needs FW0\.1\.0",
         r"FW0\.0\.9", "update it", POTENTIOSTAT),
    Case("zaber", FIRMWARE, "zaber of before", ProtocolError, "get version", r"6\.18",
         "update the controller", "stage at"),
    Case("ezo", FIRMWARE, "ezo of oxygen", ProtocolError, "'i'", "circuit for 'DO'",
         "connect the other one", "pH circuit"),
    Case("keller", FIRMWARE, "keller of another class", ProtocolError, "who it is",
         "class 9 group 20", "correct the address", "pressure transmitter at"),
    # -- a line at another speed: only noise, or nothing, gets through
    Case("methodscript", BAUD, "methodscript", TransportTimeout, "who it is", SILENT, "baud_rate=",
         POTENTIOSTAT),
    Case("keithley", BAUD, "keithley", TransportTimeout, "command set", SILENT, "at this address",
         POTENTIOSTAT),
    Case("rodeostat", BAUD, "rodeostat", TransportTimeout, "stopTest", SILENT, "at this port",
         POTENTIOSTAT),
    Case("ezo", BAUD, "ezo", TransportTimeout, r"'\*OK,1'", "came", "9600 baud",
         "pH circuit"),
    Case("qcm200", BAUD, "qcm200", TransportTimeout, "'I'", SILENT, "9600 baud", "microbalance"),
    Case("keller", BAUD, "keller", TransportTimeout, "function 48", SILENT, "9600 baud",
         "pressure transmitter at"),
    Case("julabo", BAUD, "julabo", TransportTimeout, "'version'", SILENT, "4800 baud", THERMOSTAT),
    Case("huber", BAUD, "huber", TransportTimeout, r"'\{M30", SILENT, "9600 baud", THERMOSTAT),
    Case("vici", BAUD, "vici", TransportTimeout, "'CP'", SILENT, "9600 baud", "valve"),
    Case("zaber", BAUD, "zaber", TransportTimeout, "get pos", SILENT, "115200 baud", "stage at"),
    Case("numato", BAUD, "numato", TransportTimeout, "prompt", "came", "at this port",
         "relay board"),
    Case("dcon", BAUD, "dcon", TransportTimeout, r"'\$01M'", SILENT, "9600 baud", "interlock at"),
    # -- eight bits read where seven and a parity are sent
    Case("methodscript", PARITY, "methodscript", ProtocolError, "who it is", r"xf3",
         "other settings", POTENTIOSTAT),
    Case("keithley", PARITY, "keithley", ProtocolError, "command set", r"\\xd4SP", NO_TEXT,
         POTENTIOSTAT),
    Case("rodeostat", PARITY, "rodeostat", TransportTimeout, "stopTest", r"\\x", "set otherwise",
         POTENTIOSTAT),
    Case("ezo", PARITY, "ezo", TransportTimeout, r"'\*OK,1'", r"only b'.*\\x8d' came",
         "set otherwise", "pH circuit"),
    Case("qcm200", PARITY, "qcm200", TransportTimeout, "'I'", r"only b'\\xd1\\xc3M", "set other",
         "microbalance"),
    Case("keller", PARITY, "keller", ProtocolError, "function 48", "checksum is wrong",
         "another baud rate", "pressure transmitter at"),
    Case("julabo", PARITY, "julabo", ProtocolError, "'version'", r"got b'\\xcaU", "parity agree",
         THERMOSTAT),
    Case("huber", PARITY, "huber", ProtocolError, r"'\{M30", r"got b'\{S30", NO_TEXT, THERMOSTAT),
    Case("vici", PARITY, "vici", TransportTimeout, "'CP'", r"only b'\\xc3PA", "set otherwise",
         "valve"),
    Case("zaber", PARITY, "zaber", ProtocolError, "get pos", "got 'À0", NO_TEXT, "stage at"),
    Case("numato", PARITY, "numato", TransportTimeout, "prompt", r"\\xbe", "set otherwise",
         "relay board"),
    Case("dcon", PARITY, "dcon", TransportTimeout, r"'\$01M'", r"\\xb1", "set otherwise",
         "interlock at"),
    # -- a second program, or a second entry of the bench file, on a line that is owned
    *(
        Case(kind, TWICE, kind, TransportError, *BUSY, who)
        for kind, who in (
            ("methodscript", POTENTIOSTAT), ("rodeostat", POTENTIOSTAT), ("ezo", "pH circuit"),
            ("qcm200", "microbalance"), ("keller", "pressure tr"), ("julabo", THERMOSTAT),
            ("vici", "valve"), ("zaber", "stage at"), ("numato", "relay board"),
            ("dcon", "interlock at"),
        )
    ),
    # These listen on a network: what they do with a second one is theirs, here they say nothing.
    Case("keithley", TWICE, "keithley", TransportTimeout, "command set", SILENT,
         "nobody else connected", POTENTIOSTAT),
    Case("huber", TWICE, "huber", TransportTimeout, r"'\{M30", SILENT, "nobody else connected",
         THERMOSTAT),
    Case("ocean", TWICE, "ocean", TransportTimeout, "say who it is", "no answer in time",
         "no other program hold it", "raman"),
    Case("wasatch", TWICE, "wasatch", TransportError, "connect", "Device or resource busy",
         "another program has it", "raman"),
    # -- what the instrument does not do: before anything moves
    Case("methodscript", RANGE, "methodscript", UnsupportedTechniqueError, "10000 mA", "200 mA",
         "nothing was sent", "EmStat4 HR ", act=lambda x: x.check(at_once(current_ma=1e4))),
    Case("methodscript", RANGE, "methodscript", UnsupportedTechniqueError, "9 V", "6 V",
         "nothing was sent", "EmStat4 HR ", act=lambda x: x.check(at_once(potential_v=9.0))),
    Case("keithley", RANGE, "keithley", UnsupportedTechniqueError, "10000 mA", "1050 mA",
         "nothing was sent", "Keithley 2450 ", act=lambda x: x.check(at_once(current_ma=1e4))),
    Case("rodeostat", RANGE, "rodeostat", UnsupportedTechniqueError, "12 V", "10 V",
         "nothing was sent", "Rodeostat ", act=lambda x: x.check(at_once(potential_v=12.0))),
    Case("huber", RANGE, "huber", TemperatureLimitError, "1000 K", "228.15 K to 423.15 K",
         "its setpoint is unchanged", THERMOSTAT, lambda x: x.go_to(1000.0), lambda x: x.state()),
    Case("julabo", RANGE, "julabo", TemperatureLimitError, "1000 K", "673.15 K can be told",
         "its setpoint is unchanged", THERMOSTAT, lambda x: x.go_to(1000.0),
         lambda x: x.state().setpoint_k),
    Case("julabo", RANGE, "julabo", TemperatureLimitError, r"out_sp_00 3", "VALUE TOO LARGE",
         "limits are in its menu", THERMOSTAT, lambda x: x.go_to(650.0),
         lambda x: x.state().setpoint_k),
    Case("zaber", RANGE, "zaber", TravelLimitError, "x = 25000 um", "0 um to 20000 um",
         "nothing has moved", "stage at", lambda x: x.move_to({"x": 25_000.0}),
         lambda x: x._asked("x", "get pos").data),
    Case("vici", RANGE, "vici", ValueError, "position 'C'", "has A and B", "has not moved", "valve",
         lambda x: x.go_to("C"), lambda x: x.position()),
    Case("numato", RANGE, "numato", ProtocolError, f"relay read {'G'}", r"got \[\]",
         "does the module have this channel", "relay board", lambda x: x.set_relay(RELAYS, True)),
    Case("lamp", RANGE, "numato", ProtocolError, "relay read G", r"got \[\]",
         "does the module have this channel", "relay board",
         lambda x: SwitchedLamp(x, RELAYS).connect()),
    Case("external", RANGE, "numato", ProtocolError, "relay read G", r"got \[\]",
         "does the module have this channel", "relay board",
         lambda x: WatchedFolder("folder:///tmp", board=x, start_relay=RELAYS).connect()),
    Case("contact GC", RANGE, "numato", ProtocolError, "gpio read A", r"got \[\]",
         "does the module have this channel", "relay board",
         lambda x: ContactGasChromatograph(x, start_relay=0, ready_gpio=GPIOS).connect()),
    Case("wasatch", RANGE, "wasatch", SafetyLimitError, "5000 mW asked", "the maker allows",
         "a laser at no power is one that is off", "raman", lambda x: x.set_laser_power(5.0)),
    Case("wasatch", RANGE, "wasatch", UnsupportedTechniqueError, "1e\\+06 s asked", "it takes",
         "the laser is off", "raman", lambda x: x.acquire_dark(1e6, 1)),
    Case("ocean", RANGE, "ocean", UnsupportedTechniqueError, "5 W asked", "it gives 0.05 W",
         "laser_power_w of the bench file", "raman", lambda x: x.set_laser_power(5.0)),
    Case("ocean", RANGE, "ocean", UnsupportedTechniqueError, "1000 s asked", "less than 10 s",
         "", "raman", lambda x: x.acquire_dark(1e3, 1)),
    Case("fusion", RANGE, "fusion", InstrumentFaultError, "load the method 'Nothing'", "HTTP 500",
         "is there a method of this name", "gas chromatograph at",
         lambda x: Fusion(x.address, method="Nothing").connect()),
]  # fmt: skip
# What is done last, as it leaves the simulator with its driver, or at another speed.
LAST = (TWICE, RANGE, PARITY, BAUD)
FAULTS = {BAUD: "wrong-speed", PARITY: "wrong-parity"}


@dataclass
class Came:
    """What a case brought: the error, and what must not have changed before and after it."""

    error: BaseException | None = None
    before: object = None
    after: object = None


@dataclass
class Answers:
    """What all cases brought, and what was warned of meanwhile."""

    came: dict[int, Came] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def attempt(act: Callable[[], object]) -> BaseException | None:
    try:
        act()
    except Exception as error:
        return error
    return None


def ask_all(world: World, at: str, answers: Answers) -> None:
    """Do what is wrong at one simulator, one after the other."""
    mine = [(n, case) for n, case in enumerate(CASES) if case.at == at]
    mine.sort(key=lambda one: LAST.index(one[1].bad) if one[1].bad in LAST else -1)
    owner: Any = None
    for number, case in mine:
        came = answers.came[number] = Came()
        if case.act is None and case.bad != TWICE:
            if case.bad in FAULTS:
                if owner is not None:
                    owner.close()
                    owner = None
                world[at].line.inject(FAULTS[case.bad])
            stranger = driver_of(case.driver, world, at)
            came.error = attempt(stranger.connect)
            stranger.close()
            continue
        if owner is None:
            owner = driver_of(at if case.act else case.driver, world, at)
            owner.connect()
        if case.act is None:
            came.error = attempt(driver_of(case.driver, world, at).connect)
            continue
        came.before = case.still(owner) if case.still else None
        came.error = attempt(lambda act=case.act, x=owner: act(x))  # type: ignore[misc]
        came.after = case.still(owner) if case.still else None
    if owner is not None:
        owner.close()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    world, found = World(tmp_path_factory.mktemp("refusals")), Answers()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.warnings.append(record.getMessage())

    listener = Listener(logging.WARNING)
    logging.getLogger("instruments").addHandler(listener)
    with world.stack:
        names = list(dict.fromkeys(case.at for case in CASES))
        for name in (*names, "methodscript of before"):
            world.start(name)
        with ThreadPoolExecutor(len(names) + 1) as beside:
            jobs = [beside.submit(ask_all, world, name, found) for name in names]
            jobs.append(beside.submit(tolerate_old_scripts, world))
            for job in jobs:
                job.result()
    logging.getLogger("instruments").removeHandler(listener)
    return found


def tolerate_old_scripts(world: World) -> None:
    driver = driver_of("methodscript", world, "methodscript of before")
    driver.connect()
    driver.close()


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_bad_input_is_refused_by_who_what_was_asked_what_came_and_what_to_do(
    answers: Answers, number: int
) -> None:
    case, came = CASES[number], answers.came[number]
    assert isinstance(came.error, case.error), repr(came.error)
    told = str(came.error)
    print(f"{case}: {type(came.error).__name__}: {told}")
    for part in (case.who, case.asked, case.came, case.do):
        assert re.search(part, told), f"{part!r} is not in {told!r}"
    assert came.before == came.after


def test_scripts_of_an_older_language_are_warned_of(answers: Answers) -> None:
    told = [text for text in answers.warnings if "MethodSCRIPT is version '01.05.00'" in text]
    assert len(told) == 1
    assert "update its firmware" in told[0]


@pytest.mark.parametrize(
    ("look", "who"),
    [
        (lambda address: WatchedFolder(address).connect(), "external instrument at folder:"),
        (lambda address: ResultFolder(address).begin(), "results of a gas chromatograph at folder"),
    ],
    ids=["external", "results of a gas chromatograph"],
)
def test_a_folder_that_is_not_there_is_refused(
    tmp_path: Path, look: Callable[[str], None], who: str
) -> None:
    with pytest.raises(TransportError) as refused:
        look(f"folder://{tmp_path / 'unmounted'}")
    for part in (who, "cannot look into", "No such file or directory", r"mounted\?"):
        assert re.search(part, str(refused.value))
