"""Instruments that a simulated bench serves when it is asked for them by name.

Each has a function here that starts it, wired to the bench's one cell and one clock; adding an
instrument adds its function and its line in `STARTERS`. Packages of others bring theirs as entry
points.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim_devices.whereabouts import Whereabouts

if TYPE_CHECKING:
    from sim_devices.cell import Cell, DummyCell
    from sim_devices.clock import SimulatedClock
    from sim_devices.lights import Lights
    from sim_devices.recorded_cell import RecordedCell
    from sim_devices.truth import Truth

_log = logging.getLogger(__name__)

# The relays of the interlock: in the lead of the cell, and in the interlock circuit of the laser.
CELL_INTERLOCK, LASER_INTERLOCK = 0, 1
_OPEN_OHM = 1e9


@dataclass(frozen=True)
class Wiring:
    """What a simulated instrument is wired to.

    Attributes:
        cell: the one cell; look at it under its lock.
        clock: cell seconds, shared.
        truth: where it is written what really happened.
        lights: what shines on the cell.
        seed: of this instrument's random streams.
        prefer_pty: whether a serial instrument gets a pseudo-terminal.
        perfect: whether it has neither errors nor noise.
        folder: where the bench publishes; an instrument that writes files makes a folder in it.
        instruments: those that were started before, by name; the chromatograph among them.
        whereabouts: where the cell stands before objective and laser.
        start_lines: names of those that a contact of the relay board starts.
        laser_interlock: told whether the circuit of the laser's interlock is closed.
    """

    cell: Cell | DummyCell | RecordedCell
    clock: SimulatedClock
    truth: Truth
    lights: Lights
    seed: int
    prefer_pty: bool
    perfect: bool
    folder: Path
    instruments: Mapping[str, Any] = field(default_factory=dict)
    whereabouts: Whereabouts = field(default_factory=Whereabouts)
    start_lines: frozenset[str] = frozenset()
    laser_interlock: Callable[[bool], None] = lambda closed: None

    def simulated_cell(self, what: str) -> Cell:
        """Return the cell; raises ValueError if it is none of which ``what`` could tell anything.

        A dummy has no electrolyte, and a recorded cell tells only what was recorded.
        """
        from sim_devices.cell import Cell

        if not isinstance(self.cell, Cell):
            raise ValueError(f"this cell has nothing for {what}: leave it out")
        return self.cell


# Returns the instrument, which has ``close`` and perhaps ``line`` or ``inject``, and its address.
Starter = Callable[[Wiring], tuple[Any, str]]


def _gige_camera(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.gige_camera import GigECamera
    from sim_devices.micrograph import SideView, View
    from sim_devices.recorded_cell import RecordedCell
    from sim_devices.recorded_views import RecordedView

    view: View
    if isinstance(wiring.cell, RecordedCell):
        view = RecordedView(wiring.cell)
    else:
        cell = wiring.simulated_cell("a camera")
        view = SideView(cell, wiring.seed, whereabouts=wiring.whereabouts)
    camera = GigECamera(view, wiring.clock, wiring.lights, wiring.truth, seed=wiring.seed)
    return camera, camera.address


def cell_lead(cell: Cell | DummyCell) -> Callable[[bool], None]:
    """Return what a contact in the lead of a cell does to it: where it is open nothing flows."""
    closed_ohm = cell.contact_ohm

    def switch(closed: bool) -> None:
        nonlocal closed_ohm
        with cell.lock:
            if not closed:
                closed_ohm = cell.contact_ohm
                cell.inject("contact", ohm=_OPEN_OHM)
            elif cell.contact_ohm == _OPEN_OHM:
                cell.inject("contact", ohm=closed_ohm)

    return switch


def _interlock(wiring: Wiring) -> tuple[Any, str]:
    """Start the relay module: relay 0 in the cell's lead, relay 1 in the laser's interlock."""
    from sim_devices.cell import Cell, DummyCell
    from sim_devices.dcon import DconRelays

    cell = wiring.cell
    contacts = {CELL_INTERLOCK: cell_lead(cell)} if isinstance(cell, Cell | DummyCell) else {}
    module = DconRelays(
        on_relay={**contacts, LASER_INTERLOCK: wiring.laser_interlock},
        truth=wiring.truth,
        cell_time=lambda: cell.t,
        prefer_pty=wiring.prefer_pty,
        seed=wiring.seed,
    )
    return module, module.address


def _julabo(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.julabo import Julabo

    cell = wiring.cell
    thermostat = Julabo(
        cell,
        wiring.truth,
        cell_time=lambda: cell.t,
        prefer_pty=wiring.prefer_pty,
        seed=wiring.seed,
    )
    return thermostat, thermostat.address


def _microbalance(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.qcm200 import Qcm200

    balance = Qcm200(
        wiring.simulated_cell("a microbalance"),
        wiring.clock,
        prefer_pty=wiring.prefer_pty,
        seed=wiring.seed,
        perfect=wiring.perfect,
    )
    return balance, balance.address


def _ph_meter(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.ezo_ph import EzoPh

    circuit = EzoPh(
        wiring.simulated_cell("a pH circuit"),
        wiring.clock,
        prefer_pty=wiring.prefer_pty,
        seed=wiring.seed,
        perfect=wiring.perfect,
    )
    return circuit, circuit.address


def _keithley(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices import keithley

    meter = keithley.serve(
        wiring.cell, wiring.clock, wiring.truth, wiring.seed, perfect=wiring.perfect
    )
    return meter, meter.address


def _sampling_valve(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.chromatograph import Chromatograph
    from sim_devices.vici import ViciActuator

    chromatograph = wiring.instruments.get("chromatograph")

    def turn(position: str) -> None:
        if isinstance(chromatograph, Chromatograph):
            chromatograph.turn_loop(position == "B")

    if isinstance(chromatograph, Chromatograph):
        chromatograph.fit_loop()
    valve = ViciActuator(
        wiring.clock,
        wiring.truth,
        on_turn=turn,
        prefer_pty=wiring.prefer_pty,
        seed=wiring.seed,
    )
    return valve, valve.address


def _stage(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.zaber import ZaberStage

    stage = ZaberStage(
        wiring.clock,
        whereabouts=wiring.whereabouts,
        prefer_pty=wiring.prefer_pty,
        seed=wiring.seed,
    )
    return stage, stage.address


def _fusion(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.chromatograph import Chromatograph
    from sim_devices.fusion import FusionServer

    instrument = Chromatograph(
        wiring.simulated_cell("a gas chromatograph"),
        wiring.clock,
        wiring.truth,
        wiring.folder / "fusion_files",
        seed=wiring.seed,
    )
    server = FusionServer(instrument, wiring.clock)
    return server, server.address


def _dems(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.dems import Dems

    box = Dems(
        wiring.simulated_cell("a mass spectrometer"),
        wiring.truth,
        wiring.folder / "dems_files",
        seed=wiring.seed,
    )
    return box, f"folder://{box.folder.resolve()}"


def _writer(kind: str) -> Starter:
    """Return what starts a box that only writes files."""

    def start(wiring: Wiring) -> tuple[Any, str]:
        from sim_devices.writers import WritingBox

        box = WritingBox(
            kind,
            wiring.simulated_cell(f"a box of {kind}"),
            wiring.truth,
            wiring.folder / f"{kind}_files",
            seed=wiring.seed,
            start_line=kind in wiring.start_lines,
        )
        return box, f"folder://{box.folder.resolve()}"

    return start


def _pressure(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.keller import KellerTransmitter

    transmitter = KellerTransmitter(
        wiring.simulated_cell("a pressure transmitter"),
        prefer_pty=wiring.prefer_pty,
        seed=wiring.seed,
        perfect=wiring.perfect,
    )
    return transmitter, transmitter.address


def _rodeostat(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.rodeostat import Rodeostat

    rodeostat = Rodeostat(
        wiring.cell,
        wiring.clock,
        wiring.truth,
        wiring.seed,
        prefer_pty=wiring.prefer_pty,
        perfect=wiring.perfect,
    )
    return rodeostat, rodeostat.address


def _raman_ocean(wiring: Wiring) -> tuple[Any, str]:
    from sim_devices.ocean_hdx import OceanHdx
    from sim_devices.spectrum import RamanScene

    cell = wiring.simulated_cell("a Raman spectrometer")
    scene = RamanScene(cell, wiring.seed, wiring.whereabouts)
    spectrometer = OceanHdx(scene, wiring.clock, wiring.lights, truth=wiring.truth)
    return spectrometer, spectrometer.address


STARTERS: Mapping[str, Starter] = {
    "afm": _writer("afm"),
    "dems": _dems,
    "ftir": _writer("ftir"),
    "fusion": _fusion,
    "gige_camera": _gige_camera,
    "interlock": _interlock,
    "julabo": _julabo,
    "keithley": _keithley,
    "microbalance": _microbalance,
    "ph_meter": _ph_meter,
    "pressure": _pressure,
    "raman_ocean": _raman_ocean,
    "rodeostat": _rodeostat,
    "sampling_valve": _sampling_valve,
    "stage": _stage,
    "ultrasound": _writer("ultrasound"),
    "xrd": _writer("xrd"),
}
# The relay of the board that closes the start line of each of these.
START_LINES: Mapping[str, int] = {"ftir": 4, "xrd": 5, "afm": 6, "ultrasound": 7}
# Those of them that move the cell: a bench has one, the ``potentiostat`` or one of these.
LEADERS: frozenset[str] = frozenset({"keithley", "rodeostat"})
# The group of entry points by which packages bring simulated instruments of their own: the name is
# that under which one is served, what it leads to a `Starter`.
GROUP = "operando.simulators"


def _brought() -> Iterator[tuple[str, Starter]]:
    for point in entry_points(group=GROUP):
        if point.name in STARTERS:
            _log.warning(
                "the simulated instrument %r (%s) is left out: there is one of that name",
                point.name,
                point.value,
            )
        else:
            yield point.name, partial(_start_brought, point)


def _start_brought(point: EntryPoint, wiring: Wiring) -> tuple[Any, str]:
    try:
        starter: Starter = point.load()
    except Exception as error:
        raise ValueError(
            f"the simulated instrument {point.name!r} ({point.value}) cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    return starter(wiring)


# All that there are; those of other packages are loaded when they are asked for.
SERVED: Mapping[str, Starter] = {**STARTERS, **dict(_brought())}
